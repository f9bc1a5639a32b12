/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at a disk without changing it: zones, identity, space, counters. No lock is taken. */
#include "internal.h"

#include <stdlib.h>
#include <sys/stat.h>

static int begin(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (!r && (atomic_load_explicit(&dev->head->gate, memory_order_acquire) & (ZD_GATE_POWER | ZD_GATE_BACK)))
		r = zd_gate_rest(dev, false, err);
	return r;
}

static void describe(const zd_dev *dev, uint32_t zone, struct zd_zone *out)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	uint64_t word = 0, durable = 0, written;
	int type = zd_zone_type(dev, zone), cond;

	if (rt) {
		durable = atomic_load_explicit(&rt->durable, memory_order_acquire);
		word = atomic_load_explicit(&rt->word, memory_order_acquire);
	}
	cond = zd_word_cond(word, type);
	written = zd_word_written(word);
	out->index = zone;
	out->start = zd_zone_start(dev, zone);
	out->length = zd_zone_length(dev, zone);
	out->capacity = zd_zone_capacity(dev, zone);
	out->type = (uint8_t)type;
	out->cond = (uint8_t)cond;
	out->non_seq = (word & ZD_W_NON_SEQ) != 0;
	out->reset_recommended = (word & ZD_W_RESET_REC) != 0;
	out->wp = cond >= ZD_EMPTY && cond <= ZD_CLOSED ? out->start + written : ZD_NONE;
	if (type == ZD_CONVENTIONAL)
		out->durable_wp = ZD_NONE;
	else if (word & ZD_W_FINISHED)
		out->durable_wp = out->start + out->capacity;
	else
		/* A reset between the two loads leaves an old value; no more than what is written is durable. */
		out->durable_wp = out->start + (durable < written ? durable : written);
}

int64_t zd_report(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone *out, struct zd_error *err)
{
	uint32_t i;
	int r = begin(dev, err);

	if (r)
		return r;
	if (start > dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, start, count, dev->g.h.nr_zones);
	if (count > dev->g.h.nr_zones - start)
		count = dev->g.h.nr_zones - start;
	for (i = 0; i < count; i++)
		describe(dev, start + i, &out[i]);
	return count;
}

int64_t zd_zone_written(zd_dev *dev, uint32_t zone, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = begin(dev, err);

	if (r)
		return r;
	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, zone, 1, dev->g.h.nr_zones);
	rt = zd_zone_peek(dev, zone);
	if (!rt)
		return 0;
	if (zd_is_conv(dev, zone))
		return atomic_load_explicit(&rt->slot, memory_order_acquire) || zd_view_has(dev, zone) ? (int64_t)zd_zone_length(dev, zone) : 0;
	return (int64_t)zd_word_written(atomic_load_explicit(&rt->word, memory_order_acquire));
}

int64_t zd_zone_opened(zd_dev *dev, uint32_t zone, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = begin(dev, err);

	if (r)
		return r;
	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, zone, 1, dev->g.h.nr_zones);
	rt = zd_zone_peek(dev, zone);
	if (!rt || zd_word_cond(atomic_load_explicit(&rt->word, memory_order_acquire), zd_zone_type(dev, zone)) !=
			   ZD_IMPLICIT_OPEN)
		return 0;
	/* Without the resource lock, which a read-only handle cannot take: a look, true for its moment. */
	return (int64_t)__atomic_load_n(&rt->open_seq, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- all zones at one moment */

#define LOOKS 1000u /* passes over all zones that a handle without locks makes before it gives up */

/* What grows with each change of a zone's condition that its data survives. */
static uint32_t turns(const struct zd_zone_rt *rt)
{
	return atomic_load_explicit(&rt->opens, memory_order_acquire) + atomic_load_explicit(&rt->closes, memory_order_acquire) +
	       atomic_load_explicit(&rt->implicit_opens, memory_order_acquire) +
	       atomic_load_explicit(&rt->implicit_closes, memory_order_acquire);
}

/* A zone by one load of its word, between two of its gen: a change of the latter is never missed behind a new word. */
static uint32_t state_of(const zd_dev *dev, uint32_t zone, struct zd_zone_state *out)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	int type = zd_zone_type(dev, zone);
	uint64_t word = 0;
	uint32_t before, turn = 0;

	memset(out, 0, sizeof(*out));
	out->type = (uint8_t)type;
	if (rt) {
		do {
			out->gen = atomic_load_explicit(&rt->gen, memory_order_acquire);
			before = turns(rt);
			out->writes = atomic_load_explicit(&rt->writes, memory_order_acquire);
			/* Without the resource lock, which a read-only handle cannot take: a look, true for its moment. */
			out->opened = __atomic_load_n(&rt->open_seq, __ATOMIC_ACQUIRE);
			out->written = type == ZD_CONVENTIONAL &&
				       (atomic_load_explicit(&rt->slot, memory_order_acquire) || zd_view_has(dev, zone)) ?
					       zd_zone_length(dev, zone) : 0;
			word = atomic_load_explicit(&rt->word, memory_order_acquire);
			turn = turns(rt);
		} while (before != turn || out->gen != atomic_load_explicit(&rt->gen, memory_order_acquire));
	}
	out->cond = (uint8_t)zd_word_cond(word, type);
	if (type != ZD_CONVENTIONAL)
		out->written = zd_word_written(word);
	out->non_seq = (word & ZD_W_NON_SEQ) != 0;
	out->reset_recommended = (word & ZD_W_RESET_REC) != 0;
	if (out->cond != ZD_IMPLICIT_OPEN)
		out->opened = 0;
	return turn;
}

static bool holds(const struct zd_zone_state *s)
{
	return s->cond == ZD_IMPLICIT_OPEN || s->cond == ZD_EXPLICIT_OPEN || s->cond == ZD_CLOSED;
}

/* One pass; whether any zone that holds or held a resource differs from the pass before. */
static bool look(const zd_dev *dev, struct zd_zone_state *out, uint32_t *seen)
{
	bool moved = false;
	uint32_t z;

	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_state now;
		uint32_t turn = state_of(dev, z, &now);

		if (holds(&now) || holds(&out[z]))
			moved |= now.cond != out[z].cond || now.gen != out[z].gen || turn != seen[z];
		out[z] = now;
		seen[z] = turn;
	}
	return moved;
}

static int look_till_still(zd_dev *dev, struct zd_zone_state *out, struct zd_error *err)
{
	uint32_t *seen = calloc(dev->g.h.nr_zones, sizeof(*seen)), i;
	uint64_t last = zd_now();
	int r = 0;

	if (!seen)
		return zd_fail_host(err, ENOMEM, "no memory to look at all zones");
	look(dev, out, seen);
	for (i = 0; !r && look(dev, out, seen); i++) {
		if (zd_interrupted(dev, &last))
			r = zd_fail_host(err, EINTR, "interrupted");
		else if (i == LOOKS)
			r = zd_fail_host(err, EAGAIN, "zones are opened and closed faster than a read-only handle can look at them");
	}
	free(seen);
	return r;
}

int zd_zone_states(zd_dev *dev, struct zd_zone_state *out, struct zd_error *err)
{
	uint32_t z;
	int r = begin(dev, err);

	if (r)
		return r;
	memset(out, 0, dev->g.h.nr_zones * sizeof(*out));
	if (dev->readonly)
		return look_till_still(dev, out, err);
	r = zd_lock_resource(dev);
	if (r)
		return zd_fail_host(err, -r, "interrupted");
	for (z = 0; z < dev->g.h.nr_zones; z++)
		state_of(dev, z, &out[z]);
	zd_unlock_resource(dev);
	return 0;
}

int zd_zone_state(zd_dev *dev, uint32_t zone, struct zd_zone_state *out, struct zd_error *err)
{
	int r = begin(dev, err);

	if (r)
		return r;
	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, zone, 1, dev->g.h.nr_zones);
	state_of(dev, zone, out);
	return 0;
}

int zd_others_write(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	return r ? r : zd_door_others(dev, !dev->readonly);
}

int zd_info(zd_dev *dev, struct zd_info *out, struct zd_error *err)
{
	const struct zd_header *h = &dev->g.h;
	const struct zd_rt_head *head;
	struct stat st;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	if (fstat(dev->fd, &st))
		return zd_fail_host(err, errno, "cannot stat the image");
	head = dev->head;
	memset(out, 0, sizeof(*out));
	out->size = h->size;
	out->zone_size = h->zone_size;
	out->zone_capacity = h->zone_capacity;
	out->append_limit = h->append_limit;
	out->seed = h->seed;
	out->slot_size = h->slot_size;
	out->slot_cache = h->slot_cache;
	out->logical_block = h->logical_block;
	out->physical_block = h->physical_block;
	out->max_open = h->max_open;
	out->max_active = h->max_active;
	out->nr_zones = h->nr_zones;
	out->nr_conv_zones = dev->g.nr_conv_zones;
	out->nr_conv_ranges = h->nr_conv;
	out->dialect = h->dialect;
	out->model = h->model;
	out->implicit_close = h->implicit_close;
	out->unrestricted_read = h->unrestricted_read;
	out->data = h->data;
	out->host_sync = h->host_sync;
	out->readonly = dev->readonly;
	out->in_ram = dev->in_ram;
	out->clean = dev->in_ram || head->was_clean;
	out->failed = (atomic_load(&head->gate) & ZD_GATE_FAILED) != 0;
	out->cow_host = dev->cow;
	out->version = h->version;
	out->features = h->features;
	memcpy(out->uuid, h->uuid, sizeof(out->uuid));
	out->created = h->created;
	memcpy(out->profile, h->profile, sizeof(out->profile));
	out->nr_implicit_open = atomic_load_explicit(&head->nr_implicit, memory_order_relaxed);
	out->nr_explicit_open = atomic_load_explicit(&head->nr_explicit, memory_order_relaxed);
	out->nr_closed = atomic_load_explicit(&head->nr_closed, memory_order_relaxed);
	out->slots_total = head->nr_slots;
	out->slots_free = head->nr_free;
	out->slots_pending = head->nr_pending;
	out->slots_used = head->nr_slots - head->nr_free - head->nr_pending - head->nr_pre;
	out->table_offset = ZD_TABLE;
	out->runtime_offset = h->runtime_offset;
	out->data_offset = h->data_offset;
	out->file_size = (uint64_t)st.st_size;
	return 0;
}

int zd_conv_ranges(zd_dev *dev, struct zd_range *out, uint32_t max)
{
	uint32_t i;

	for (i = 0; i < dev->g.h.nr_conv && i < max; i++) {
		out[i].first = dev->g.h.conv[i].first;
		out[i].count = dev->g.h.conv[i].count;
	}
	return (int)dev->g.h.nr_conv;
}

static void zone_counters(const zd_dev *dev, uint32_t zone, struct zd_zone_counters *c)
{
	const struct zd_zone_rt *rt = zd_zone_peek(dev, zone);

	memset(c, 0, sizeof(*c));
	if (!rt)
		return;
	c->reads = atomic_load_explicit(&rt->reads, memory_order_relaxed);
	c->bytes_read = atomic_load_explicit(&rt->bytes_read, memory_order_relaxed);
	c->errors = atomic_load_explicit(&rt->errors, memory_order_relaxed);
	c->writes = rt->writes;
	c->appends = rt->appends;
	c->bytes_written = rt->bytes_written;
	c->finish_wasted = rt->finish_wasted;
	c->opens = rt->opens;
	c->closes = rt->closes;
	c->finishes = rt->finishes;
	c->resets = rt->resets;
	c->implicit_opens = rt->implicit_opens;
	c->implicit_closes = rt->implicit_closes;
}

int zd_counters(zd_dev *dev, struct zd_counters *out, struct zd_error *err)
{
	struct zd_zone_counters *sum = &out->zones;
	uint32_t z, i;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	memset(out, 0, sizeof(*out));
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_counters c;

		if (!zd_zone_peek(dev, z))
			continue;
		zone_counters(dev, z, &c);
		sum->reads += c.reads;
		sum->writes += c.writes;
		sum->appends += c.appends;
		sum->bytes_read += c.bytes_read;
		sum->bytes_written += c.bytes_written;
		sum->finish_wasted += c.finish_wasted;
		sum->opens += c.opens;
		sum->closes += c.closes;
		sum->finishes += c.finishes;
		sum->resets += c.resets;
		sum->implicit_opens += c.implicit_opens;
		sum->implicit_closes += c.implicit_closes;
	}
	out->flushes = atomic_load_explicit(&dev->head->flushes, memory_order_relaxed);
	for (i = 0; i < ZD_NR_RULES; i++) {
		out->errors_by_rule[i] = atomic_load_explicit(&dev->head->errors_by_rule[i], memory_order_relaxed);
		sum->errors += out->errors_by_rule[i];
	}
	out->max_open_seen = dev->head->max_open_seen;
	out->max_active_seen = dev->head->max_active_seen;
	return 0;
}

int64_t zd_zone_counters(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone_counters *out, struct zd_error *err)
{
	uint32_t i;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	if (start > dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, start, count, dev->g.h.nr_zones);
	if (count > dev->g.h.nr_zones - start)
		count = dev->g.h.nr_zones - start;
	for (i = 0; i < count; i++)
		zone_counters(dev, start + i, &out[i]);
	return count;
}

int zd_fd(zd_dev *dev)
{
	return dev->fd;
}
