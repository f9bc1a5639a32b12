/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault rules: kept in the shared state, met by every opener's commands. Nothing here is reached while no rule is
 * set: the gate's bit sends commands this way. A rule decides once, before the command takes any lock; what it
 * decided travels in a struct zd_hit to the places that carry it out.
 */
#include "internal.h"

#include <stdio.h>
#include <time.h>

#define BIT(cmd) (1u << (cmd))
#define DATA_CMDS (BIT(ZD_CMD_READ) | BIT(ZD_CMD_WRITE) | BIT(ZD_CMD_APPEND))
#define WRITES (BIT(ZD_CMD_WRITE) | BIT(ZD_CMD_APPEND))
#define ONE_ZONE (BIT(ZD_CMD_OPEN) | BIT(ZD_CMD_CLOSE) | BIT(ZD_CMD_FINISH) | BIT(ZD_CMD_RESET))
#define ALL_FORMS (BIT(ZD_CMD_OPEN_ALL) | BIT(ZD_CMD_CLOSE_ALL) | BIT(ZD_CMD_FINISH_ALL) | BIT(ZD_CMD_RESET_ALL))
#define FLUSH BIT(ZD_CMD_FLUSH)

static const struct {
	const char *name;
	uint32_t commands;
} kinds[ZD_NR_FAULT_KINDS] = {
	[ZD_FAULT_MEDIUM] = { "a medium error", DATA_CMDS | ONE_ZONE | ALL_FORMS | FLUSH },
	[ZD_FAULT_TORN] = { "a torn write", WRITES },
	[ZD_FAULT_LOST] = { "a lost write", WRITES },
	[ZD_FAULT_FLUSH_ERROR] = { "an error at the next flush", WRITES },
	[ZD_FAULT_FLIP_READ] = { "a bit flip on read", BIT(ZD_CMD_READ) },
	[ZD_FAULT_FLIP_MEDIA] = { "a bit flip on the media", WRITES },
	[ZD_FAULT_READ_ONLY] = { "a zone going read-only", DATA_CMDS | ONE_ZONE },
	[ZD_FAULT_OFFLINE] = { "a zone going offline", DATA_CMDS | ONE_ZONE },
	[ZD_FAULT_LATENCY] = { "latency", DATA_CMDS | ONE_ZONE | ALL_FORMS | FLUSH },
	[ZD_FAULT_HANG] = { "a hang", DATA_CMDS | ONE_ZONE | ALL_FORMS | FLUSH },
	[ZD_FAULT_LIMIT] = { "a limit error", WRITES | BIT(ZD_CMD_OPEN) | BIT(ZD_CMD_OPEN_ALL) | BIT(ZD_CMD_FINISH) },
	[ZD_FAULT_POWER_CUT] = { "a power cut", DATA_CMDS | ONE_ZONE | ALL_FORMS | FLUSH },
};

static const char *const names[ZD_NR_CMDS] = {
	[ZD_CMD_READ] = "read", [ZD_CMD_WRITE] = "write", [ZD_CMD_APPEND] = "append", [ZD_CMD_OPEN] = "open",
	[ZD_CMD_CLOSE] = "close", [ZD_CMD_FINISH] = "finish", [ZD_CMD_RESET] = "reset", [ZD_CMD_OPEN_ALL] = "open-all",
	[ZD_CMD_CLOSE_ALL] = "close-all", [ZD_CMD_FINISH_ALL] = "finish-all", [ZD_CMD_RESET_ALL] = "reset-all",
	[ZD_CMD_POWER_CYCLE] = "power-cycle", [ZD_CMD_SET_EMPTY] = "set-condition", [ZD_CMD_SET_READ_ONLY] = "set-condition",
	[ZD_CMD_SET_OFFLINE] = "set-condition", [ZD_CMD_FLUSH] = "flush",
};

uint32_t zd_fault_commands(int kind)
{
	return kind > 0 && kind < ZD_NR_FAULT_KINDS ? kinds[kind].commands : 0;
}

uint64_t zd_splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15u;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

void zd_fault_mark(struct zd_error *err, uint32_t id, const char *label)
{
	if (!err)
		return;
	err->injected = 1;
	err->fault = id;
	snprintf(err->text, sizeof(err->text), "%s", label);
}

/* With the disk's locks held; but whoever is refused for want of power holds none, and reads meanwhile. */
void zd_fault_name_power(zd_dev *dev, uint32_t id, const char *label)
{
	char bytes[sizeof(dev->faults->power_label)] = { 0 };
	uint64_t word;

	if (label)
		memcpy(bytes, label, strnlen(label, sizeof(bytes) - 1));
	atomic_store(&dev->faults->power_fault, 0);
	for (size_t i = 0; i < sizeof(bytes) / sizeof(word); i++) {
		memcpy(&word, bytes + i * sizeof(word), sizeof(word));
		atomic_store_explicit(&dev->faults->power_label[i], word, memory_order_release);
	}
	atomic_store(&dev->faults->power_fault, id);
}

/* A label is the rule's if its number stands before and behind it: no number is given twice. */
void zd_fault_mark_power(zd_dev *dev, struct zd_error *err)
{
	uint32_t id = atomic_load(&dev->faults->power_fault);
	char bytes[sizeof(dev->faults->power_label)];
	uint64_t word;

	if (!id)
		return;
	for (size_t i = 0; i < sizeof(bytes) / sizeof(word); i++) {
		word = atomic_load_explicit(&dev->faults->power_label[i], memory_order_acquire);
		memcpy(bytes + i * sizeof(word), &word, sizeof(word));
	}
	bytes[sizeof(bytes) - 1] = 0; /* whoever may write the image may write this, too */
	if (atomic_load(&dev->faults->power_fault) == id)
		zd_fault_mark(err, id, bytes);
}

static int lock(zd_dev *dev)
{
	int r = zd_mutex_lock(dev, &dev->faults->lock);

	/* Its owner died between simple stores: at worst one count is behind. */
	return r == -EOWNERDEAD ? -pthread_mutex_consistent(&dev->faults->lock) : r;
}

/* For what has happened already, or must not be left half-way; false: not held. */
static bool lock_surely(zd_dev *dev)
{
	int r = zd_mutex_lock_surely(dev, &dev->faults->lock, NULL);

	if (r == -EOWNERDEAD)
		r = -pthread_mutex_consistent(&dev->faults->lock);
	return r == 0;
}

static int lock_or_say(zd_dev *dev, struct zd_error *err)
{
	int r = lock(dev);

	return r ? zd_fail_host(err, -r, "interrupted while waiting for the fault rules") : 0;
}

static void unlock(zd_dev *dev)
{
	zd_mutex_unlock(&dev->faults->lock);
}

/* Under the lock. */
static void set_gate(zd_dev *dev)
{
	if (dev->faults->nr || dev->faults->flush_fault)
		atomic_fetch_or(&dev->head->gate, ZD_GATE_FAULTS);
	else
		atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_FAULTS);
}

int zd_fault_forget_flush(zd_dev *dev)
{
	int r = lock(dev);

	if (r)
		return r;
	dev->faults->flush_fault = 0;
	set_gate(dev);
	unlock(dev);
	return 0;
}

/* The rule that acts behind `after` in the order of acting; NULL at the end. */
static struct zd_fault_rt *next_rule(struct zd_faults *all, const struct zd_fault_rt *after)
{
	struct zd_fault_rt *best = NULL;
	int i;

	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		struct zd_fault_rt *r = &all->rule[i];

		if (!r->f.id || (after && (r->f.order < after->f.order || (r->f.order == after->f.order && r->f.id <= after->f.id))))
			continue;
		if (!best || r->f.order < best->f.order || (r->f.order == best->f.order && r->f.id < best->f.id))
			best = r;
	}
	return best;
}

/* ---------------------------------------------------------------- which commands a rule meets */

static uint64_t range_from(const zd_dev *dev, const struct zd_fault *f)
{
	uint64_t zones = zd_zone_start(dev, f->first_zone);

	return f->to && f->from > zones ? f->from : zones;
}

static uint64_t range_to(const zd_dev *dev, const struct zd_fault *f)
{
	uint64_t zones = f->last_zone >= dev->g.h.nr_zones - 1 ? dev->g.h.size : zd_zone_start(dev, f->last_zone + 1);

	return f->to && f->to < zones ? f->to : zones;
}

static uint64_t whole_blocks(const zd_dev *dev, int cmd, uint64_t bytes)
{
	return cmd == ZD_CMD_READ ? bytes : bytes - bytes % dev->g.h.physical_block;
}

/* What goes wrong with a command that the disk has taken on; the others may happen to any. */
static bool needs_accepted(uint32_t kind)
{
	switch (kind) {
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
	case ZD_FAULT_LATENCY:
	case ZD_FAULT_HANG:
	case ZD_FAULT_POWER_CUT:
		return false;
	default:
		return true;
	}
}

/* It never acts again, whatever comes. */
static bool is_spent(const struct zd_fault *f)
{
	return (f->nth && f->seen >= f->nth) || (f->limit && f->matched >= f->limit);
}

static bool meets(const zd_dev *dev, const struct zd_fault *f, const struct zd_command *c, struct zd_hit *hit)
{
	uint64_t end = c->offset + c->length, to = range_to(dev, f);

	if (c->refused && needs_accepted(f->kind))
		return false;
	if (!(f->commands & BIT(c->cmd)) || f->first_zone > c->last || f->last_zone < c->first)
		return false;
	hit->zone = f->first_zone > c->first ? f->first_zone : c->first;
	hit->at = c->offset;
	hit->cut = c->length;
	hit->bit = f->bit;
	if (c->length) {
		uint64_t from = range_from(dev, f);

		hit->at = from > c->offset ? from : c->offset;
		end = end < to ? end : to;
		if (hit->at >= end)
			return false;
		hit->zone = zd_zone_of(dev, hit->at);
	}
	switch (f->kind) {
	case ZD_FAULT_MEDIUM:
		hit->cut = c->length ? whole_blocks(dev, c->cmd, hit->at - c->offset) : 0;
		return true;
	case ZD_FAULT_TORN:
		hit->cut = whole_blocks(dev, c->cmd, f->blocks * dev->g.h.logical_block);
		return f->blocks * dev->g.h.logical_block < c->length;
	case ZD_FAULT_LOST:
		return !zd_is_conv(dev, hit->zone) || dev->g.keeps_pre;
	case ZD_FAULT_LIMIT:
		return c->cmd == ZD_CMD_OPEN_ALL || !zd_is_conv(dev, hit->zone);
	case ZD_FAULT_FLIP_READ:
	case ZD_FAULT_FLIP_MEDIA:
		return f->bit == ZD_NONE || f->bit / 8 < end - hit->at;
	default:
		return true;
	}
}

static struct zd_lost *lost_place(zd_dev *dev, uint32_t zone)
{
	struct zd_lost *place = NULL;
	int i;

	for (i = 0; i < ZD_MAX_LOST; i++) {
		struct zd_lost *l = &dev->faults->lost[i];

		if (l->zone == zone + 1)
			return l;
		if (!l->zone || dev->zones[l->zone - 1].gen != l->gen)
			place = l;
	}
	return place;
}

/* Lost writes where blocks are overwritten are a matter of pre-images. */
static bool loses_tail(const zd_dev *dev, uint32_t zone)
{
	return zd_zone_type(dev, zone) == ZD_SEQ_WRITE_REQUIRED || !dev->g.keeps_pre;
}

static bool acts(zd_dev *dev, struct zd_fault_rt *r, const struct zd_hit *hit)
{
	struct zd_fault *f = &r->f;
	bool now = true;

	f->seen++;
	if (f->nth)
		now = f->seen == f->nth;
	else if (f->every)
		now = f->seen % f->every == 0;
	else if (f->probability)
		now = (zd_splitmix(&r->rng) & UINT32_MAX) < f->probability;
	if (!now || (f->limit && f->matched >= f->limit) ||
	    (f->kind == ZD_FAULT_LOST && loses_tail(dev, hit->zone) && !lost_place(dev, hit->zone)))
		return false;
	f->matched++;
	return true;
}

static void fill(struct zd_hit *hit, const struct zd_fault *f)
{
	hit->id = f->id;
	hit->kind = f->kind;
	hit->after = f->after;
	hit->active = f->active;
	hit->keep = f->keep;
	memcpy(hit->label, f->label, sizeof(hit->label));
}

/* Handles that may not write the shared state: what needs neither a count nor a change. */
static struct zd_fault_rt *match_readonly(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit)
{
	int i;

	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		struct zd_fault_rt *r = &dev->faults->rule[i];
		uint32_t id = atomic_load_explicit(&r->id, memory_order_acquire);
		struct zd_fault f;

		if (!id)
			continue;
		memcpy(&f, &r->f, sizeof(f));
#ifndef ZD_TSAN /* which knows no fences */
		atomic_thread_fence(memory_order_acquire);
#endif
		if (atomic_load_explicit(&r->id, memory_order_relaxed) != id || f.nth || f.every || f.probability || f.limit)
			continue;
		if (f.kind != ZD_FAULT_MEDIUM && f.kind != ZD_FAULT_LATENCY && f.kind != ZD_FAULT_HANG &&
		    !(f.kind == ZD_FAULT_FLIP_READ && f.bit != ZD_NONE))
			continue;
		if (!meets(dev, &f, c, hit))
			continue;
		fill(hit, &f);
		return r;
	}
	return NULL;
}

/* ---------------------------------------------------------------- what rules do */

static int no_power(zd_dev *dev, const struct zd_command *c, struct zd_error *err)
{
	int r;

	if (!(atomic_load(&dev->head->gate) & ZD_GATE_POWER))
		return 0;
	r = zd_gate_rest(dev, false, err);
	if (err)
		err->cmd = c->cmd;
	return r;
}

static int inject(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, int code, uint64_t bound, struct zd_error *err)
{
	bool placed = c->length || c->first == c->last;

	zd_refuse(dev, err, code, c->cmd, placed ? hit->zone : ZD_NO_ZONE, placed ? c->offset : ZD_NONE, c->length, bound);
	zd_fault_mark(err, hit->id, hit->label);
	return code;
}

bool zd_fault_decides_late(const struct zd_command *c, const struct zd_hit *hit)
{
	bool dies = (hit->kind == ZD_FAULT_READ_ONLY || hit->kind == ZD_FAULT_OFFLINE) && !hit->after;

	return hit->cut < c->length || dies;
}

int zd_fault_medium(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, struct zd_error *err)
{
	return inject(dev, c, hit, c->cmd == ZD_CMD_READ ? ZD_E_MEDIUM_READ : ZD_E_MEDIUM_WRITE,
		      c->length ? c->offset + hit->cut : 0, err);
}

/* Hold no lock; look every few milliseconds. hangs: clear, release and timeout count; else only time passes. */
static int wait_for(zd_dev *dev, struct zd_fault_rt *r, const struct zd_command *c, const struct zd_hit *hit, uint64_t ns,
		    uint32_t released, struct zd_error *err)
{
	bool hangs = hit->kind == ZD_FAULT_HANG;
	uint64_t begin = zd_now(), last = begin;
	int e;

	for (;;) {
		uint64_t past = zd_now() - begin, left = past < ns ? ns - past : 0, step = 2000000;
		struct timespec nap;

		if (hangs && (atomic_load(&r->id) != hit->id || atomic_load(&r->released) != released))
			return 0;
		if (atomic_load(&dev->closing))
			return zd_fail(err, ZD_E_CLOSED, "the handle was closed while a fault rule held the command up");
		e = no_power(dev, c, err);
		if (e)
			return e;
		if (ns && !left)
			return hangs ? inject(dev, c, hit, ZD_E_TIMEOUT, 0, err) : 0;
		if (zd_interrupted(dev, &last))
			return zd_fail_host(err, EINTR, hangs ? "interrupted while a fault rule held the command up" : "interrupted");
		if (ns && left < step)
			step = left;
		nap = (struct timespec){ 0, (long)step };
		nanosleep(&nap, NULL);
	}
}

static int carry_out(zd_dev *dev, struct zd_fault_rt *r, const struct zd_command *c, const struct zd_hit *hit, uint64_t ns,
		     uint32_t released, struct zd_error *err)
{
	int e;

	switch (hit->kind) {
	case ZD_FAULT_MEDIUM:
		return c->length ? 0 : zd_fault_medium(dev, c, hit, err);
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
		if (hit->after)
			return 0;
		return zd_mgmt_one(dev, hit->kind == ZD_FAULT_OFFLINE ? ZD_CMD_SET_OFFLINE : ZD_CMD_SET_READ_ONLY, hit->zone, hit->id, err);
	case ZD_FAULT_LATENCY:
		return ns ? wait_for(dev, r, c, hit, ns, 0, err) : 0;
	case ZD_FAULT_HANG:
		e = wait_for(dev, r, c, hit, ns, released, err);
		if (!dev->readonly && lock(dev) == 0) {
			/* A release has counted it out already. */
			if (r->f.id == hit->id && r->released == released && r->f.waiting)
				r->f.waiting--;
			unlock(dev);
		}
		return e;
	case ZD_FAULT_LIMIT:
		return inject(dev, c, hit, hit->active ? ZD_E_TOO_MANY_ACTIVE : ZD_E_TOO_MANY_OPEN,
			      hit->active ? dev->g.h.max_active : dev->g.h.max_open, err);
	case ZD_FAULT_POWER_CUT:
		if (hit->after)
			return 0;
		e = zd_power_cut_by(dev, hit->keep, hit->draw, hit->id, hit->label, err);
		return e ? e : no_power(dev, c, err);
	default:
		return 0;
	}
}

int zd_fault_before(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err)
{
	struct zd_fault_rt *r = NULL;
	uint32_t released;
	uint64_t ns;
	int e;

	memset(hit, 0, sizeof(*hit));
	if (!(atomic_load(&dev->head->gate) & ZD_GATE_FAULTS)) { /* only recorded */
		hit->cut = c->length;
		return 0;
	}
	if (dev->readonly) {
		r = match_readonly(dev, c, hit);
		if (!r) {
			hit->cut = c->length;
			return 0;
		}
		released = atomic_load(&r->released);
		return carry_out(dev, r, c, hit, r->f.real_ns, released, err);
	}
	e = lock_or_say(dev, err);
	if (e)
		return e;
	while ((r = next_rule(dev->faults, r)) && !(meets(dev, &r->f, c, hit) && acts(dev, r, hit)))
		;
	if (!r) {
		unlock(dev);
		hit->id = hit->kind = 0;
		hit->cut = c->length;
		return 0;
	}
	fill(hit, &r->f);
	hit->draw = zd_splitmix(&r->rng);
	if ((r->f.kind == ZD_FAULT_FLIP_READ || r->f.kind == ZD_FAULT_FLIP_MEDIA) && hit->bit == ZD_NONE) {
		uint64_t end = c->offset + c->length, to = range_to(dev, &r->f);

		hit->bit = hit->draw % (((end < to ? end : to) - hit->at) * 8);
	}
	ns = r->f.real_ns;
	released = r->released;
	if (r->f.kind == ZD_FAULT_HANG)
		r->f.waiting++;
	if (r->f.kind == ZD_FAULT_LATENCY)
		atomic_fetch_add_explicit(&dev->faults->virtual_ns, r->f.virtual_ns, memory_order_relaxed);
	unlock(dev);
	return carry_out(dev, r, c, hit, ns, released, err);
}

static int untold(struct zd_error *err)
{
	return zd_fail_host(err, EINTR, "the write is done, but interrupted before the fault of it was written down");
}

static int lose(zd_dev *dev, uint32_t zone, uint64_t from, struct zd_error *err)
{
	struct zd_lost *l;

	if (!lock_surely(dev))
		return untold(err);
	l = lost_place(dev, zone);
	if (l) {
		uint32_t gen = dev->zones[zone].gen;

		if (l->zone != zone + 1 || l->gen != gen || from < l->from)
			l->from = from;
		l->gen = gen;
		l->zone = zone + 1;
	}
	unlock(dev);
	return 0;
}

int64_t zd_fault_after(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, int64_t result, uint64_t landed,
		       struct zd_error *err)
{
	int e = 0;

	if (!hit->id)
		return result;
	if (result < 0) {
		if ((hit->kind == ZD_FAULT_READ_ONLY || hit->kind == ZD_FAULT_OFFLINE) && !hit->after && result <= ZD_E_FIRST_RULE)
			zd_fault_mark(err, hit->id, hit->label);
		return result;
	}
	switch (hit->kind) {
	case ZD_FAULT_LOST:
		if (loses_tail(dev, hit->zone))
			e = lose(dev, hit->zone, landed - zd_zone_start(dev, hit->zone), err);
		break; /* else the write marked its blocks itself */
	case ZD_FAULT_FLUSH_ERROR:
		if (!lock_surely(dev))
			return untold(err);
		dev->faults->flush_fault = hit->id;
		memcpy(dev->faults->flush_label, hit->label, sizeof(hit->label));
		set_gate(dev);
		unlock(dev);
		break;
	case ZD_FAULT_FLIP_MEDIA:
		/* For an append `at` was where the data would land; where it did is known now. */
		e = zd_io_flip(dev, hit->at - c->offset + landed + hit->bit / 8, hit->bit % 8);
		break;
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
		if (hit->after)
			e = zd_mgmt_one(dev, hit->kind == ZD_FAULT_OFFLINE ? ZD_CMD_SET_OFFLINE : ZD_CMD_SET_READ_ONLY, hit->zone, hit->id, err);
		break;
	case ZD_FAULT_POWER_CUT:
		if (hit->after)
			e = zd_power_cut_by(dev, hit->keep, hit->draw, hit->id, hit->label, err);
		break;
	}
	return e ? e : result;
}

int zd_fault_flush(zd_dev *dev, struct zd_error *err)
{
	const struct zd_command c = { ZD_CMD_FLUSH, 0, dev->g.h.nr_zones - 1, ZD_NONE, 0, false };
	struct zd_hit hit = { .id = 0 };
	int r = lock_or_say(dev, err);

	if (r)
		return r;
	hit.id = dev->faults->flush_fault;
	memcpy(hit.label, dev->faults->flush_label, sizeof(hit.label));
	dev->faults->flush_fault = 0;
	set_gate(dev);
	unlock(dev);
	return hit.id ? inject(dev, &c, &hit, ZD_E_MEDIUM_WRITE, 0, err) : 0;
}

static uint64_t lost_from(zd_dev *dev, uint32_t zone, uint32_t gen, bool forget)
{
	uint64_t from = UINT64_MAX;
	/*
	 * Who may only read takes no lock, and looks twice. Else its owner may be stopped: what he has written down stands,
	 * in whole words.
	 */
	bool locked = !dev->readonly && lock_surely(dev);
	int i;

	for (i = 0; i < ZD_MAX_LOST; i++) {
		struct zd_lost *l = &dev->faults->lost[i];

		if (l->zone != zone + 1)
			continue;
		if (l->gen == gen)
			from = l->from;
		if (forget)
			l->zone = 0;
	}
	if (locked)
		unlock(dev);
	return from;
}

uint64_t zd_fault_lost(zd_dev *dev, uint32_t zone, uint32_t gen)
{
	return lost_from(dev, zone, gen, true);
}

uint64_t zd_fault_lost_look(zd_dev *dev, uint32_t zone, uint32_t gen)
{
	return lost_from(dev, zone, gen, false);
}

uint32_t zd_fault_start(zd_dev *dev)
{
	struct zd_faults *all = dev->faults;
	int i;

	all->nr = 0;
	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		all->rule[i].f.waiting = 0; /* whoever waited is gone */
		if (all->rule[i].f.id)
			all->nr++;
	}
	return all->nr || all->flush_fault ? ZD_GATE_FAULTS : 0;
}

/* ---------------------------------------------------------------- setting rules */

#define WRONG(...) return zd_fail(err, -EINVAL, __VA_ARGS__)

static int check_commands(const zd_dev *dev, struct zd_fault *f, struct zd_error *err)
{
	uint32_t can = zd_fault_commands((int)f->kind), asked = f->commands;
	bool zones = f->first_zone > 0 || f->last_zone < dev->g.h.nr_zones - 1;
	uint32_t cmd, z;
	bool conv_only = true;

	if (f->to)
		can &= DATA_CMDS;
	if (zones)
		can &= ~FLUSH;
	if (!f->commands)
		f->commands = can;
	for (cmd = 0; cmd < 32; cmd++) {
		if (!(asked & BIT(cmd)))
			continue;
		if (cmd >= ZD_NR_CMDS)
			WRONG("there is no command number %u", cmd);
		if (!(zd_fault_commands((int)f->kind) & BIT(cmd)))
			WRONG("%s can never happen on %s", kinds[f->kind].name, names[cmd]);
		if (!(can & BIT(cmd)))
			WRONG("%s has no place on the disk, so a rule with %s can never meet it", names[cmd],
			      f->to ? "a byte range" : "zones");
	}
	if (!f->commands)
		WRONG("no command that %s can happen on is left, so the rule can never act", kinds[f->kind].name);
	if (dev->g.h.dialect == ZD_NULLBLK && !(f->commands & ~(BIT(ZD_CMD_OPEN_ALL) | BIT(ZD_CMD_CLOSE_ALL) | BIT(ZD_CMD_FINISH_ALL))))
		WRONG("dialect nullblk has no such command, so the rule can never act");
	for (z = f->first_zone; conv_only && z <= f->last_zone && z < dev->g.h.nr_zones; z++)
		conv_only = zd_is_conv(dev, z);
	if (conv_only && ((f->kind == ZD_FAULT_LOST && !dev->g.keeps_pre) || f->kind == ZD_FAULT_LIMIT ||
			  !(f->commands & ~(BIT(ZD_CMD_APPEND) | ONE_ZONE))))
		WRONG("zone %u and all others of the rule are conventional, so it can never act", f->first_zone);
	return 0;
}

static int check_rule(const zd_dev *dev, struct zd_fault *f, struct zd_error *err)
{
	const struct zd_header *h = &dev->g.h;
	bool flips = f->kind == ZD_FAULT_FLIP_READ || f->kind == ZD_FAULT_FLIP_MEDIA;

	if (!zd_fault_commands((int)f->kind))
		WRONG("there is no kind of fault with the number %u", f->kind);
	if (f->last_zone == ZD_NO_ZONE)
		f->last_zone = h->nr_zones - 1;
	if (f->first_zone >= h->nr_zones || f->last_zone >= h->nr_zones)
		WRONG("zone %u does not exist: the disk has zones 0 to %u",
		      f->first_zone >= h->nr_zones ? f->first_zone : f->last_zone, h->nr_zones - 1);
	if (f->first_zone > f->last_zone)
		WRONG("the zones run backwards, from %u to %u", f->first_zone, f->last_zone);
	if (f->to) {
		if (f->from >= f->to || ((f->from | f->to) & dev->g.block_mask))
			WRONG("the byte range %llu to %llu must be ascending and in whole blocks of %u bytes",
			      (unsigned long long)f->from, (unsigned long long)f->to, h->logical_block);
		if (f->to > h->size)
			WRONG("the byte range ends at %llu, but the disk at %llu", (unsigned long long)f->to, (unsigned long long)h->size);
		if (range_from(dev, f) >= range_to(dev, f))
			WRONG("the byte range lies outside the rule's zones, so it can never act");
	}
	if ((f->nth != 0) + (f->every != 0) + (f->probability != 0) > 1)
		WRONG("nth, every and probability exclude each other: give at most one");
	if (f->probability > 1ull << 32)
		WRONG("the probability is more than 1");
	if (f->nth && f->limit > 1)
		WRONG("the nth command comes only once, so a limit of %llu is never reached", (unsigned long long)f->limit);
	if (f->blocks && f->kind != ZD_FAULT_TORN)
		WRONG("a number of blocks belongs to a torn write, not to %s", kinds[f->kind].name);
	if (f->kind == ZD_FAULT_TORN && f->blocks >= h->zone_size / h->logical_block)
		WRONG("a write of more than %llu blocks does not fit into a zone, so the rule can never act", (unsigned long long)f->blocks);
	if (f->bit != ZD_NONE && flips && f->to && f->bit / 8 >= range_to(dev, f) - range_from(dev, f))
		WRONG("bit %llu lies behind the rule's byte range, so it can never act", (unsigned long long)f->bit);
	if (f->kind == ZD_FAULT_FLIP_MEDIA && h->data == ZD_NO_DATA)
		WRONG("the disk keeps no data, so no bit of it can flip");
	if (f->kind == ZD_FAULT_LATENCY && !f->real_ns && !f->virtual_ns)
		WRONG("latency of 0 ns changes nothing");
	if (f->after && f->kind != ZD_FAULT_READ_ONLY && f->kind != ZD_FAULT_OFFLINE && f->kind != ZD_FAULT_POWER_CUT)
		WRONG("%s does not know before and after", kinds[f->kind].name);
	if (f->keep > ZD_KEEP_RANDOM)
		WRONG("there is no choice of survivors with the number %u", f->keep);
	return check_commands(dev, f, err);
}

static int check_overlap(const zd_dev *dev, const struct zd_fault *f, struct zd_error *err)
{
	int i;

	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		const struct zd_fault *o = &dev->faults->rule[i].f;
		uint32_t both = f->commands & o->commands, cmd = 0;

		if (!o->id || is_spent(o) || o->order != f->order || !both || o->first_zone > f->last_zone || o->last_zone < f->first_zone)
			continue;
		/* Commands without a byte range meet wherever their zones do. */
		if (!(both & ~DATA_CMDS) && (range_from(dev, f) >= range_to(dev, o) || range_from(dev, o) >= range_to(dev, f)))
			continue;
		while (!(both & BIT(cmd)))
			cmd++;
		WRONG("fault %u meets the same commands (such as %s in zone %u): give the rules different orders to say which acts",
		      o->id, names[cmd], f->first_zone > o->first_zone ? f->first_zone : o->first_zone);
	}
	return 0;
}

/* Calls about faults work without power, and on a handle that is read-only only look. */
static int begin(zd_dev *dev, bool changes, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (!r && changes && dev->readonly)
		r = zd_fail(err, ZD_E_READONLY_HANDLE, "the device is open read-only");
	return r;
}

int zd_fault_add(zd_dev *dev, const struct zd_fault *fault, uint32_t *id, struct zd_error *err)
{
	struct zd_fault f = *fault;
	int i, r = begin(dev, true, err);

	if (!r)
		r = check_rule(dev, &f, err);
	if (!r)
		r = lock_or_say(dev, err);
	if (r)
		return r;
	r = check_overlap(dev, &f, err);
	if (r)
		goto out;
	for (i = 0; i < ZD_MAX_FAULTS && dev->faults->rule[i].f.id; i++)
		;
	if (i == ZD_MAX_FAULTS) {
		r = zd_fail(err, -ENOSPC, "%d faults are set already, and more have no room: clear some", ZD_MAX_FAULTS);
		goto out;
	}
	dev->faults->last_id = zd_seq_next(dev->faults->last_id); /* 0 is a free place */
	f.id = *id = dev->faults->last_id;
	f.waiting = 0;
	f.seen = f.matched = 0;
	f.label[sizeof(f.label) - 1] = 0;
	dev->faults->rule[i].f = f;
	dev->faults->rule[i].rng = f.seed ^ (uint64_t)f.kind << 56;
	atomic_store_explicit(&dev->faults->rule[i].id, f.id, memory_order_release);
	dev->faults->nr++;
	set_gate(dev);
out:
	unlock(dev);
	return r;
}

static int each(zd_dev *dev, uint32_t id, bool clear, struct zd_error *err)
{
	int i, r = begin(dev, true, err), found = 0;

	if (!r)
		r = lock_or_say(dev, err);
	if (r)
		return r;
	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		struct zd_fault_rt *rule = &dev->faults->rule[i];

		if (!rule->f.id || (id && rule->f.id != id))
			continue;
		found++;
		if (clear) {
			atomic_store_explicit(&rule->id, 0, memory_order_release);
			rule->f.id = 0;
			dev->faults->nr--;
		} else {
			atomic_fetch_add(&rule->released, 1);
			rule->f.waiting = 0; /* those that were killed while they hung, too */
		}
	}
	if (clear && !id)
		dev->faults->flush_fault = 0;
	set_gate(dev);
	unlock(dev);
	return id && !found ? zd_fail(err, -ENOENT, "there is no fault %u", id) : 0;
}

int zd_fault_clear(zd_dev *dev, uint32_t id, struct zd_error *err)
{
	return each(dev, id, true, err);
}

int zd_fault_release(zd_dev *dev, uint32_t id, struct zd_error *err)
{
	return each(dev, id, false, err);
}

int zd_fault_list(zd_dev *dev, struct zd_fault *out, uint32_t max, struct zd_error *err)
{
	struct zd_fault_rt *rule = NULL;
	uint32_t n = 0;
	int r = begin(dev, false, err);

	if (!r && !dev->readonly)
		r = lock_or_say(dev, err);
	if (r)
		return r;
	for (; (rule = next_rule(dev->faults, rule)); n++) {
		if (n < max)
			out[n] = rule->f;
	}
	if (!dev->readonly)
		unlock(dev);
	return (int)n;
}

uint64_t zd_fault_virtual_ns(zd_dev *dev)
{
	return zd_enter(dev, NULL) ? 0 : atomic_load_explicit(&dev->faults->virtual_ns, memory_order_relaxed);
}
