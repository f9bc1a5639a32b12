/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at zones without changing them. No lock is taken, but by zd_zone_states() of a writable handle. */
#include "device/disk/disk.h"

#include <stdlib.h>

static int enter_look(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (!r && (atomic_load_explicit(&dev->head->gate, memory_order_acquire) & (ZD_GATE_POWER | ZD_GATE_BACK)))
		r = zd_gate_rest(dev, false, err);
	return r;
}

/* One zone; *rt NULL: nothing was ever done to it. */
static int look_at(zd_dev *dev, uint32_t zone, struct zd_zone_rt **rt, struct zd_error *err)
{
	int r = enter_look(dev, err);

	if (r)
		return r;
	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, zone, 1, dev->g.h.nr_zones);
	*rt = zd_zone_peek(dev, zone);
	return 0;
}

/* Of a zone that was finished, or that has a random write area, which lies behind its write pointer. */
static __attribute__((noinline)) void describe_special(const zd_dev *dev, uint64_t word, uint64_t durable, struct zd_zone *out)
{
	uint64_t wp = zd_word_wp(dev, word);

	if (word & ZD_W_ZRWA && zd_cond_wp_valid(out->cond))
		out->wp = out->start + wp;
	out->durable_wp = out->start + (word & ZD_W_FINISHED ? out->capacity : durable < wp ? durable : wp);
}

static inline __attribute__((always_inline)) void describe(const zd_dev *dev, uint32_t zone, struct zd_zone *out)
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
	out->wp = zd_cond_wp_valid(cond) ? out->start + written : ZD_NONE;
	if (type == ZD_CONVENTIONAL)
		out->durable_wp = ZD_NONE;
	else if (unlikely(word & (ZD_W_FINISHED | ZD_W_ZRWA)))
		describe_special(dev, word, durable, out);
	else
		/* A reset between the two loads leaves an old value; no more than what is written is durable. */
		out->durable_wp = out->start + (durable < written ? durable : written);
}

static bool lists(const struct zd_zone *zone, uint32_t filter)
{
	switch (filter) {
	case ZD_REPORT_ANY: return true;
	case ZD_REPORT_FULL: return zone->cond == ZD_FULL;
	case ZD_REPORT_READ_ONLY: return zone->cond == ZD_READ_ONLY;
	case ZD_REPORT_OFFLINE: return zone->cond == ZD_OFFLINE;
	case ZD_REPORT_RESET_RECOMMENDED: return zone->reset_recommended;
	case ZD_REPORT_NON_SEQ: return zone->non_seq;
	case ZD_REPORT_NOT_WP: return zone->cond == ZD_NOT_WP;
	default: return filter <= ZD_REPORT_CLOSED && zone->cond == filter; /* EMPTY .. CLOSED have the conditions' numbers */
	}
}

int zd_clip_zones(zd_dev *dev, uint32_t start, uint32_t *count, struct zd_error *err)
{
	uint32_t nr_zones = dev->g.h.nr_zones;

	if (start > nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, start, *count, nr_zones);
	if (*count > nr_zones - start)
		*count = nr_zones - start;
	return 0;
}

/* Zones from one on, *count of them, or as many as there are. */
static int look_from(zd_dev *dev, uint32_t start, uint32_t *count, struct zd_error *err)
{
	int r = enter_look(dev, err);

	return r ? r : zd_clip_zones(dev, start, count, err);
}

int64_t zd_report(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone *out, struct zd_error *err)
{
	int r = look_from(dev, start, &count, err);

	if (r)
		return r;
	for (uint32_t i = 0; i < count; i++)
		describe(dev, start + i, &out[i]); /* a row is a hundred instructions, a call of it ten more */
	return count;
}

int zd_zone_extension(zd_dev *dev, uint32_t zone, void *to, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = look_at(dev, zone, &rt, err);

	if (r)
		return r;
	r = zd_extension_load(dev, zone, to);
	return r < 0 ? zd_fail_host(err, -r, "the host could not read the zone's descriptor extension") : r;
}

int64_t zd_report_request(zd_dev *dev, struct zd_request *q, struct zd_error *err)
{
	uint32_t listed = 0, filled = 0, n = UINT32_MAX, i;
	int r = look_from(dev, q->zone, &n, err);

	if (r)
		return r;
	for (i = 0; i < n; i++) {
		struct zd_zone zone;

		describe(dev, q->zone + i, &zone);
		if (!lists(&zone, q->filter))
			continue;
		if (filled < q->count)
			q->zones[filled++] = zone;
		else if (q->flags & ZD_REQ_PARTIAL)
			break;
		listed++;
	}
	return q->flags & ZD_REQ_PARTIAL ? filled : listed;
}

int64_t zd_zone_written(zd_dev *dev, uint32_t zone, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = look_at(dev, zone, &rt, err);

	if (r)
		return r;
	if (!rt)
		return 0;
	if (zd_is_conv(dev, zone))
		return atomic_load_explicit(&rt->slot, memory_order_acquire) || zd_view_has(dev, zone) ?
			       (int64_t)zd_zone_length(dev, zone) :
			       0;
	return (int64_t)zd_word_written(atomic_load_explicit(&rt->word, memory_order_acquire));
}

int zd_zone_zrwa(zd_dev *dev, uint32_t zone, uint64_t *filled, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	uint64_t word;
	int r = look_at(dev, zone, &rt, err);

	*filled = 0;
	if (r || !rt)
		return r;
	word = atomic_load_explicit(&rt->word, memory_order_acquire);
	if (!(word & ZD_W_ZRWA))
		return 0;
	*filled = zd_zone_start(dev, zone) + zd_word_written(word);
	return 1;
}

int64_t zd_zone_opened(zd_dev *dev, uint32_t zone, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = look_at(dev, zone, &rt, err);

	if (r)
		return r;
	if (!rt ||
	    zd_word_cond(atomic_load_explicit(&rt->word, memory_order_acquire), zd_zone_type(dev, zone)) != ZD_IMPLICIT_OPEN)
		return 0;
	/* Without the resource lock, which a read-only handle cannot take: a look, true for its moment. */
	return (int64_t)__atomic_load_n(&rt->open_seq, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- all zones at one moment */

#define LOOKS 1000u /* passes over all zones that a handle without locks makes before it gives up */

/* What grows with each change of a zone's condition that its data survives. */
static uint32_t turns(const struct zd_zone_rt *rt)
{
	return atomic_load_explicit(&rt->opens, memory_order_acquire) +
	       atomic_load_explicit(&rt->closes, memory_order_acquire) +
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
			out->written = type == ZD_CONVENTIONAL && (atomic_load_explicit(&rt->slot, memory_order_acquire) ||
								   zd_view_has(dev, zone)) ?
					       zd_zone_length(dev, zone) :
					       0;
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

/* One pass; whether any zone that holds or held a resource differs from the pass before. */
static bool look(const zd_dev *dev, struct zd_zone_state *out, uint32_t *seen)
{
	bool moved = false;
	uint32_t z;

	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_state now;
		uint32_t turn = state_of(dev, z, &now);

		if (zd_cond_active(now.cond) || zd_cond_active(out[z].cond))
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
			r = zd_fail_host(err, EAGAIN,
					 "zones are opened and closed faster than a read-only handle can look at them");
	}
	free(seen);
	return r;
}

int zd_zone_states(zd_dev *dev, struct zd_zone_state *out, struct zd_error *err)
{
	uint32_t z;
	int r = enter_look(dev, err);

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
	int r = enter_look(dev, err);

	if (r)
		return r;
	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, zone, 1, dev->g.h.nr_zones);
	state_of(dev, zone, out);
	return 0;
}
