/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault rules: kept in the shared state, met by every opener's commands. Nothing here is reached while no rule is
 * set: the gate's bit sends commands this way. A rule decides once, before the command takes any lock; what it
 * decided travels in a struct zd_hit to those who carry it out (disk/hold.c). Nothing here does anything to the disk.
 */
#include "device/hooks/hooks.h"

#include <stdio.h>

static const struct {
	const char *name;
	uint32_t commands;
	/*
	 * Which commands it happens to: 1, to those that the disk has taken on, as it is something that goes wrong with them;
	 * ANY, also to those that the rule book refuses, as it happens to the zone or to the disk.
	 */
	enum { TAKEN_ON = 1, ANY } happens_to;
	bool only_told; /* it changes nothing that is shared, so that it acts on handles that may not write, too */
} kinds[ZD_NR_FAULT_KINDS] = {
	[ZD_FAULT_MEDIUM] = { "a medium error", ZD_DATA_CMDS | ZD_ONE_ZONE | ZD_ALL_FORMS | ZD_CMD_BIT(ZD_CMD_FLUSH), TAKEN_ON,
			      true },
	[ZD_FAULT_TORN] = { "a torn write", ZD_WRITES, TAKEN_ON, false },
	[ZD_FAULT_LOST] = { "a lost write", ZD_WRITES, TAKEN_ON, false },
	[ZD_FAULT_FLUSH_ERROR] = { "an error at the next flush", ZD_WRITES, TAKEN_ON, false },
	[ZD_FAULT_FLIP_READ] = { "a bit flip on read", ZD_CMD_BIT(ZD_CMD_READ), TAKEN_ON, true },
	[ZD_FAULT_FLIP_MEDIA] = { "a bit flip on the media", ZD_WRITES, TAKEN_ON, false },
	[ZD_FAULT_READ_ONLY] = { "a zone going read-only", ZD_DATA_CMDS | ZD_ONE_ZONE, ANY, false },
	[ZD_FAULT_OFFLINE] = { "a zone going offline", ZD_DATA_CMDS | ZD_ONE_ZONE, ANY, false },
	[ZD_FAULT_LATENCY] = { "latency", ZD_DATA_CMDS | ZD_ONE_ZONE | ZD_ALL_FORMS | ZD_CMD_BIT(ZD_CMD_FLUSH), ANY, true },
	[ZD_FAULT_HANG] = { "a hang", ZD_DATA_CMDS | ZD_ONE_ZONE | ZD_ALL_FORMS | ZD_CMD_BIT(ZD_CMD_FLUSH), ANY, true },
	[ZD_FAULT_LIMIT] = { "a limit error",
			     ZD_WRITES | ZD_CMD_BIT(ZD_CMD_OPEN) | ZD_CMD_BIT(ZD_CMD_OPEN_ALL) | ZD_CMD_BIT(ZD_CMD_FINISH) |
				     ZD_CMD_BIT(ZD_CMD_SET_EXTENSION) | ZD_ZRWA_CMDS,
			     TAKEN_ON, false },
	[ZD_FAULT_POWER_CUT] = { "a power cut", ZD_DATA_CMDS | ZD_ONE_ZONE | ZD_ALL_FORMS | ZD_CMD_BIT(ZD_CMD_FLUSH), ANY,
				 false },
};

const char *zd_fault_kind_name(int kind)
{
	return kinds[kind].name;
}

uint32_t zd_fault_commands(int kind)
{
	return kind > 0 && kind < ZD_NR_FAULT_KINDS ? kinds[kind].commands : 0;
}

/* The shared state may be damaged as a file may: what no zd_fault_add() takes is no rule, and indexes nothing. */
bool zd_fault_is_one(const struct zd_fault *f)
{
	return f->id && f->kind && f->kind < ZD_NR_FAULT_KINDS && f->commands && !(f->commands & ~kinds[f->kind].commands) &&
	       f->first_zone <= f->last_zone && f->keep <= ZD_KEEP_RANDOM && !f->label[sizeof(f->label) - 1];
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

bool zd_fault_lock_surely(zd_dev *dev)
{
	int r = zd_mutex_lock_surely(dev, &dev->faults->lock, NULL);

	if (r == -EOWNERDEAD)
		r = -pthread_mutex_consistent(&dev->faults->lock);
	return r == 0;
}

int zd_fault_lock(zd_dev *dev, struct zd_error *err)
{
	int r = lock(dev);

	return r ? zd_fail_host(err, -r, "interrupted while waiting for the fault rules") : 0;
}

void zd_fault_unlock(zd_dev *dev)
{
	zd_mutex_unlock(&dev->faults->lock);
}

/* Under the lock. */
void zd_fault_set_gate(zd_dev *dev)
{
	if (zd_spoiled_look(dev) || dev->faults->nr || dev->faults->flush_fault)
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
	zd_fault_set_gate(dev);
	zd_fault_unlock(dev);
	return 0;
}

/* The rule that acts behind `after` in the order of acting; NULL at the end. */
struct zd_fault_rt *zd_fault_next(struct zd_faults *all, const struct zd_fault_rt *after)
{
	struct zd_fault_rt *best = NULL;
	int i;

	for (i = 0; i < ZD_MAX_FAULTS; i++) {
		struct zd_fault_rt *r = &all->rule[i];

		if (!zd_fault_is_one(&r->f) ||
		    (after && (r->f.order < after->f.order || (r->f.order == after->f.order && r->f.id <= after->f.id))))
			continue;
		if (!best || r->f.order < best->f.order || (r->f.order == best->f.order && r->f.id < best->f.id))
			best = r;
	}
	return best;
}

/* ---------------------------------------------------------------- which commands a rule meets */

uint64_t zd_fault_from(const zd_dev *dev, const struct zd_fault *f)
{
	uint64_t zones = zd_zone_start(dev, f->first_zone);

	return f->to && f->from > zones ? f->from : zones;
}

uint64_t zd_fault_to(const zd_dev *dev, const struct zd_fault *f)
{
	uint64_t zones = f->last_zone >= dev->g.h.nr_zones - 1 ? dev->g.h.size : zd_zone_start(dev, f->last_zone + 1);

	return f->to && f->to < zones ? f->to : zones;
}

static uint64_t whole_blocks(const zd_dev *dev, int cmd, uint64_t bytes)
{
	return cmd == ZD_CMD_READ ? bytes : bytes - bytes % dev->g.h.physical_block;
}

/* It never acts again, whatever comes. */
bool zd_fault_is_spent(const struct zd_fault *f)
{
	return (f->nth && f->seen >= f->nth) || (f->limit && f->matched >= f->limit);
}

static bool meets(const zd_dev *dev, const struct zd_fault *f, const struct zd_command *c, struct zd_hit *hit)
{
	uint64_t end = c->offset + c->length, to = zd_fault_to(dev, f);

	if (c->refused && kinds[f->kind].happens_to != ANY)
		return false;
	if (!(f->commands & ZD_CMD_BIT(c->cmd)) || f->first_zone > c->last || f->last_zone < c->first)
		return false;
	hit->zone = f->first_zone > c->first ? f->first_zone : c->first;
	hit->at = c->offset;
	hit->cut = c->length;
	hit->bit = f->bit;
	if (c->length) {
		uint64_t from = zd_fault_from(dev, f);

		hit->at = from > c->offset ? from : c->offset;
		end = end < to ? end : to;
		if (hit->at >= end)
			return false;
		hit->zone = zd_zone_of(dev, hit->at);
	}
	switch (f->kind) {
	case ZD_FAULT_MEDIUM: hit->cut = c->length ? whole_blocks(dev, c->cmd, hit->at - c->offset) : 0; return true;
	case ZD_FAULT_TORN:
		hit->cut = whole_blocks(dev, c->cmd, f->blocks * dev->g.h.logical_block);
		return f->blocks * dev->g.h.logical_block < c->length;
	case ZD_FAULT_LOST: return !zd_is_conv(dev, hit->zone) || dev->g.keeps_pre;
	case ZD_FAULT_LIMIT: return c->cmd == ZD_CMD_OPEN_ALL || !zd_is_conv(dev, hit->zone);
	case ZD_FAULT_FLIP_READ:
	case ZD_FAULT_FLIP_MEDIA: return f->bit == ZD_NONE || f->bit / 8 < end - hit->at;
	default: return true;
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
		if (!l->zone || l->zone > dev->g.h.nr_zones || dev->zones[l->zone - 1].gen != l->gen)
			place = l;
	}
	return place;
}

/* Lost writes where blocks are overwritten are a matter of pre-images. */
static bool loses_tail(const zd_dev *dev, uint32_t zone)
{
	return (zd_zone_type(dev, zone) == ZD_SEQ_WRITE_REQUIRED && !(zd_load_word(dev, zone) & ZD_W_ZRWA)) ||
	       !dev->g.keeps_pre;
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
		if (!zd_fault_is_one(&f) || !kinds[f.kind].only_told)
			continue;
		if (f.kind == ZD_FAULT_FLIP_READ && f.bit == ZD_NONE) /* which bit, the rule's own generator says */
			continue;
		if (!meets(dev, &f, c, hit))
			continue;
		fill(hit, &f);
		return r;
	}
	return NULL;
}

static int match(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err)
{
	struct zd_fault_rt *r = NULL;
	int e;

	if (dev->readonly) {
		r = match_readonly(dev, c, hit);
		if (r) {
			hit->slot = (uint32_t)(r - dev->faults->rule);
			hit->ns = r->f.real_ns;
			hit->released = atomic_load(&r->released);
		}
		return 0;
	}
	e = zd_fault_lock(dev, err);
	if (e)
		return e;
	while ((r = zd_fault_next(dev->faults, r)) && !(meets(dev, &r->f, c, hit) && acts(dev, r, hit)))
		;
	if (r) {
		fill(hit, &r->f);
		hit->draw = zd_splitmix(&r->rng);
		if ((r->f.kind == ZD_FAULT_FLIP_READ || r->f.kind == ZD_FAULT_FLIP_MEDIA) && hit->bit == ZD_NONE) {
			uint64_t end = c->offset + c->length, to = zd_fault_to(dev, &r->f);

			hit->bit = hit->draw % (((end < to ? end : to) - hit->at) * 8);
		}
		hit->slot = (uint32_t)(r - dev->faults->rule);
		hit->ns = r->f.real_ns;
		hit->released = r->released;
		if (r->f.kind == ZD_FAULT_HANG)
			r->f.waiting++;
		if (r->f.kind == ZD_FAULT_LATENCY)
			atomic_fetch_add_explicit(&dev->faults->virtual_ns, r->f.virtual_ns, memory_order_relaxed);
	}
	zd_fault_unlock(dev);
	return 0;
}

int zd_fault_match(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err)
{
	int r = 0;

	memset(hit, 0, sizeof(*hit));
	if (atomic_load(&dev->head->gate) & ZD_GATE_FAULTS) /* else it is only recorded */
		r = match(dev, c, hit, err);
	if (!hit->id) {
		hit->kind = 0;
		hit->cut = c->length;
	}
	return r;
}

bool zd_fault_let_go(const zd_dev *dev, const struct zd_hit *hit)
{
	const struct zd_fault_rt *r = &dev->faults->rule[hit->slot];

	return atomic_load(&r->id) != hit->id || atomic_load(&r->released) != hit->released;
}

void zd_fault_waited(zd_dev *dev, const struct zd_hit *hit)
{
	struct zd_fault_rt *r = &dev->faults->rule[hit->slot];

	if (dev->readonly || lock(dev))
		return;
	/* A release has counted it out already. */
	if (r->f.id == hit->id && r->released == hit->released && r->f.waiting)
		r->f.waiting--;
	zd_fault_unlock(dev);
}

/* ---------------------------------------------------------------- what rules left behind */

bool zd_fault_decides_late(const struct zd_command *c, const struct zd_hit *hit)
{
	bool dies = (hit->kind == ZD_FAULT_READ_ONLY || hit->kind == ZD_FAULT_OFFLINE) && !hit->after;

	return hit->cut < c->length || dies;
}

static int untold(struct zd_error *err)
{
	return zd_fail_host(err, EINTR, "the write is done, but interrupted before the fault of it was written down");
}

static int lose(zd_dev *dev, uint32_t zone, uint64_t from, struct zd_error *err)
{
	struct zd_lost *l;

	if (!zd_fault_lock_surely(dev))
		return untold(err);
	l = lost_place(dev, zone);
	if (l) {
		uint32_t gen = dev->zones[zone].gen;

		if (l->zone != zone + 1 || l->gen != gen || from < l->from)
			l->from = from;
		l->gen = gen;
		l->zone = zone + 1;
	}
	zd_fault_unlock(dev);
	return 0;
}

int zd_fault_lose(zd_dev *dev, const struct zd_hit *hit, uint64_t landed, struct zd_error *err)
{
	if (!loses_tail(dev, hit->zone))
		return 0; /* the write marked its blocks itself */
	return lose(dev, hit->zone, landed - zd_zone_start(dev, hit->zone), err);
}

int zd_fault_owe_flush(zd_dev *dev, const struct zd_hit *hit, struct zd_error *err)
{
	if (!zd_fault_lock_surely(dev))
		return untold(err);
	dev->faults->flush_fault = hit->id;
	memcpy(dev->faults->flush_label, hit->label, sizeof(hit->label));
	zd_fault_set_gate(dev);
	zd_fault_unlock(dev);
	return 0;
}

int zd_fault_owed_flush(zd_dev *dev, struct zd_hit *hit, struct zd_error *err)
{
	int r = zd_fault_lock(dev, err);

	memset(hit, 0, sizeof(*hit));
	if (r)
		return r;
	hit->id = dev->faults->flush_fault;
	memcpy(hit->label, dev->faults->flush_label, sizeof(hit->label));
	hit->label[sizeof(hit->label) - 1] = 0;
	dev->faults->flush_fault = 0;
	zd_fault_set_gate(dev);
	zd_fault_unlock(dev);
	return 0;
}

static uint64_t lost_from(zd_dev *dev, uint32_t zone, uint32_t gen, bool forget)
{
	uint64_t from = UINT64_MAX;
	/*
	 * Who may only read takes no lock, and looks twice. Else its owner may be stopped: what he has written down stands,
	 * in whole words.
	 */
	bool locked = !dev->readonly && zd_fault_lock_surely(dev);
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
		zd_fault_unlock(dev);
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
		if (zd_fault_is_one(&all->rule[i].f))
			all->nr++;
		else
			memset(&all->rule[i], 0, sizeof(all->rule[i]));
	}
	return zd_spoiled_look(dev) || all->nr || all->flush_fault ? ZD_GATE_FAULTS : 0;
}
