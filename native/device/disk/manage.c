/* SPDX-License-Identifier: Apache-2.0 */
/* Zone commands: open, close, finish, reset, their ALL forms, set condition, power cycle, set descriptor extension. */
#include "device/disk/disk.h"

#include <stdlib.h>

static int interrupted(struct zd_error *err, int r)
{
	return zd_fail_host(err, -r, "interrupted");
}

static void count(struct zd_zone_rt *rt, int cmd)
{
	switch (cmd) {
	case ZD_CMD_OPEN:
	case ZD_CMD_OPEN_ZRWA:
	case ZD_CMD_OPEN_ALL: zd_count32(&rt->opens, 1); break;
	case ZD_CMD_CLOSE:
	case ZD_CMD_CLOSE_ALL: zd_count32(&rt->closes, 1); break;
	case ZD_CMD_FINISH:
	case ZD_CMD_FINISH_ALL: zd_count32(&rt->finishes, 1); break;
	case ZD_CMD_RESET:
	case ZD_CMD_RESET_ALL: zd_count32(&rt->resets, 1); break;
	}
}

/* Under stripe and resource lock: what the cell says happens. */
static void apply(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, int cmd, const struct zd_cell *cell, uint64_t word)
{
	int type = zd_zone_type(dev, zone), from = zd_word_cond(word, type), to;
	uint64_t written = zd_word_written(word);
	bool drops = cell->effects & ZD_FX_WP_START;

	count(rt, cmd);
	if ((cell->effects & ZD_FX_DURABLE) && rt->durable < written) {
		zd_set_dirty(dev, zone);
		rt->durable = written;
	}
	if (cell->next == ZD_NEXT_SAME)
		return;
	to = zd_rule_next(cell->next, type, zd_word_holds(word));
	if (drops) {
		word = zd_word(to, 0, 0);
	} else if (cell->effects & ZD_FX_WP_END) {
		word = zd_word_with_cond(word, to) | ZD_W_FINISHED;
		if (word & ZD_W_NON_SEQ)
			word |= ZD_W_RESET_REC;
		zd_count64(&rt->finish_wasted, zd_zone_capacity(dev, zone) - written);
	} else {
		word = zd_word_with_cond(word, to) | (cmd == ZD_CMD_SET_EXTENSION ? ZD_W_EXTENSION : 0);
		if (cmd == ZD_CMD_OPEN_ZRWA && !(word & ZD_W_ZRWA))
			word = zd_word_with_zrwa(dev, word, written, written);
	}
	/* Marked first: a death between the two must not leave a change that no flush would find. */
	zd_set_dirty(dev, zone);
	atomic_store_explicit(&rt->word, word, memory_order_release);
	zd_account(dev, zone, from, to);
	if (drops) {
		rt->durable = 0;
		atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
		if (dev->view)
			zd_view_reset(dev, zone);
		zd_pre_drop(dev, zone, true);
		zd_slot_release(dev, zone, rt);
		/* If that fails, they stay behind the write pointer, where they are none, until they are written. */
		zd_spoiled_mend(dev, zd_zone_start(dev, zone), zd_zone_length(dev, zone), NULL);
	}
}

/* One zone under its stripe; takes the resource lock. */
static int one_locked(zd_dev *dev, int cmd, uint32_t zone, struct zd_error *err)
{
	int type = zd_zone_type(dev, zone);
	uint64_t start = zd_zone_start(dev, zone), word, bound;
	const struct zd_cell *cell;
	struct zd_zone_rt *rt;
	int r = zd_zone_get(dev, zone, &rt);

	if (r && zd_slots_gave(dev, r))
		r = zd_zone_get(dev, zone, &rt);
	if (r)
		return zd_fail_host(err, -r, "no room on the host for the state of this zone");
	r = zd_lock_resource(dev);
	if (r)
		return interrupted(err, r);
	if (zd_powerless(dev)) {
		zd_unlock_resource(dev);
		return zd_stopped(dev, err);
	}
	word = atomic_load_explicit(&rt->word, memory_order_acquire);
	cell = zd_cell(dev->g.h.dialect, type, zd_word_cond(word, type), cmd);
	if (cmd == ZD_CMD_OPEN_ZRWA && (r = zd_zrwa_refused(dev, zone, word, cell, &bound))) {
		r = zd_refuse(dev, err, r, cmd, zone, start, 0, bound);
	} else if (cell->next == ZD_NEXT_ERROR) {
		r = zd_refuse(dev, err, cell->error, cmd, zone, start, 0, 0);
	} else {
		r = zd_take_resources(dev, cell->effects);
		if (r)
			r = zd_refuse(dev, err, r, cmd, zone, start, 0, zd_rule_limit(&dev->g.book, r));
		else
			apply(dev, zone, rt, cmd, cell, word);
		if (!r && cmd >= ZD_CMD_SET_EMPTY && cmd <= ZD_CMD_SET_OFFLINE)
			atomic_fetch_add_explicit(&dev->head->conditioned, 1, memory_order_release);
	}
	zd_unlock_resource(dev);
	/* FINISH flushes its zone. If its pre-images cannot be dropped now, the next flush does it. */
	if (!r && (cell->effects & ZD_FX_DURABLE))
		zd_pre_flush(dev, zone);
	else if (!r)
		zd_pre_trim(dev, zone);
	return r;
}

int zd_manage_one(zd_dev *dev, int cmd, uint32_t zone, struct zd_traced *t, struct zd_error *err)
{
	int r = zd_lock_zone(dev, zone);

	if (r)
		return interrupted(err, r);
	r = one_locked(dev, cmd, zone, err);
	if (t)
		zd_observe_effect(dev, t, r, err);
	zd_unlock_zone(dev, zone);
	return r;
}

/* Nothing was published: a slot that holds nothing goes back. */
static void give_back(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	if (!rt->slot || !zd_lock_resource_surely(dev))
		return; /* then the zone keeps it, which it may */
	zd_slot_release(dev, zone, rt);
	zd_unlock_resource(dev);
}

/* Under the stripe, of a zone that may have one: first the bytes, then the word that says that they are there. */
static int extend_locked(zd_dev *dev, uint32_t zone, const uint8_t *bytes, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	bool had;
	int r = zd_zone_get(dev, zone, &rt);

	if (r && zd_slots_gave(dev, r))
		r = zd_zone_get(dev, zone, &rt);
	if (r)
		return zd_fail_host(err, -r, "no room on the host for the state of this zone");
	had = rt->slot != 0;
	r = zd_extension_store(dev, zone, rt, bytes);
	if (r)
		zd_write_failed(dev, err, r, zone);
	else
		r = one_locked(dev, ZD_CMD_SET_EXTENSION, zone, err);
	if (r && !had)
		give_back(dev, zone, rt);
	return r;
}

int zd_manage_extend(zd_dev *dev, uint32_t zone, const uint8_t *bytes, struct zd_traced *t, struct zd_error *err)
{
	int type = zd_zone_type(dev, zone), r = zd_lock_zone(dev, zone);
	const struct zd_cell *cell;

	if (r)
		return interrupted(err, r);
	cell = zd_cell(dev->g.h.dialect, type, zd_word_cond(zd_load_word(dev, zone), type), ZD_CMD_SET_EXTENSION);
	/*
	 * What is refused here stores nothing, and is refused once and for all: a moment later there may be power, and a zone that is
	 * implicitly open may be EMPTY, but its bytes would not be there. Resources, which come and go, are asked for behind them.
	 */
	if (zd_powerless(dev))
		r = zd_stopped(dev, err);
	else if (cell->next == ZD_NEXT_ERROR)
		r = zd_refuse(dev, err, cell->error, ZD_CMD_SET_EXTENSION, zone, zd_zone_start(dev, zone), 0, 0);
	else
		r = extend_locked(dev, zone, bytes, err);
	if (t)
		zd_observe_effect(dev, t, r, err);
	zd_unlock_zone(dev, zone);
	return r;
}

int zd_manage_by_fault(zd_dev *dev, int cmd, uint32_t zone, uint32_t fault, struct zd_error *err)
{
	int r = zd_lock_zone(dev, zone);

	if (r)
		return interrupted(err, r);
	r = one_locked(dev, cmd, zone, err);
	if (!r)
		zd_trace_event(dev, cmd, zone, ZD_NONE, 0, fault);
	zd_unlock_zone(dev, zone);
	return r;
}

bool zd_manage_refused(const zd_dev *dev, int cmd, uint32_t zone)
{
	int type = zd_zone_type(dev, zone);
	uint64_t word = zd_load_word(dev, zone), bound;
	const struct zd_cell *cell = zd_cell(dev->g.h.dialect, type, zd_word_cond(word, type), cmd);

	if (cmd == ZD_CMD_OPEN_ZRWA && cell && zd_zrwa_refused(dev, zone, word, cell, &bound))
		return true;
	return !cell || cell->next == ZD_NEXT_ERROR || zd_ask_resources(dev, cell->effects);
}

/*
 * All stripes are held: whichever zones are CLOSED now; a zone closed to make room for another stays closed.
 * nr: how many were opened, also where the rest could not be.
 */
static int open_all(zd_dev *dev, uint32_t *nr, struct zd_error *err)
{
	const struct zd_header *h = &dev->g.h;
	uint32_t z, i, n = 0, *zones = malloc(((size_t)dev->head->nr_closed + 1) * sizeof(*zones));
	uint32_t room = dev->head->nr_closed;
	int r = 0;

	if (!zones)
		return zd_fail_host(err, ENOMEM, "no memory to list the closed zones");
	for (z = 0; z < h->nr_zones && n < room; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		if (rt && zd_word_cond(rt->word, zd_zone_type(dev, z)) == ZD_CLOSED)
			zones[n++] = z;
	}
	r = zd_rule_open_all(&dev->g.book, n, dev->head->nr_explicit);
	if (r)
		zd_refuse(dev, err, r, ZD_CMD_OPEN_ALL, ZD_NO_ZONE, ZD_NONE, 0, zd_rule_limit(&dev->g.book, r));
	for (i = 0; !r && i < n; i++)
		r = one_locked(dev, ZD_CMD_OPEN_ALL, zones[i], err);
	*nr = r && i ? i - 1 : i;
	free(zones);
	return r;
}

static int each(zd_dev *dev, int cmd, uint32_t *nr, struct zd_error *err)
{
	uint64_t last = zd_now();
	uint32_t z;
	int r = 0;

	for (z = 0; !r && z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		int type = zd_zone_type(dev, z);
		uint64_t word = rt ? rt->word : 0;
		const struct zd_cell *cell = zd_cell(dev->g.h.dialect, type, zd_word_cond(word, type), cmd);

		if (z % 1024 == 1023 && zd_interrupted(dev, &last))
			return interrupted(err, -EINTR);
		if (!rt || cell->next == ZD_NEXT_SAME)
			continue;
		r = one_locked(dev, cmd, z, err);
		*nr += !r;
	}
	return r;
}

/* Whether the dialect has such a command: where it has, an empty zone is passed over. */
static const struct zd_cell *cell_of_all(const zd_dev *dev, int cmd)
{
	return zd_cell(dev->g.h.dialect, dev->g.h.model == ZD_HOST_AWARE ? ZD_SEQ_WRITE_PREFERRED : ZD_SEQ_WRITE_REQUIRED,
		       ZD_EMPTY, cmd);
}

int zd_manage_all(zd_dev *dev, int cmd, struct zd_traced *t, struct zd_error *err)
{
	const struct zd_cell *cell = cell_of_all(dev, cmd);
	uint32_t nr = 0;
	int r;

	if (cell->next == ZD_NEXT_ERROR)
		return zd_refuse(dev, err, cell->error, cmd, ZD_NO_ZONE, ZD_NONE, 0, 0);
	r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);
	if (r)
		return interrupted(err, r);
	r = cmd == ZD_CMD_OPEN_ALL ? open_all(dev, &nr, err) : each(dev, cmd, &nr, err);
	if (!r && cmd == ZD_CMD_POWER_CYCLE)
		atomic_fetch_add_explicit(&dev->head->powered, 1, memory_order_release);
	if (t && r)
		t->r.done = nr; /* a disk that is built of a recording has to do as much */
	if (t)
		zd_observe_effect(dev, t, r, err);
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
	return r;
}

bool zd_manage_all_refused(const zd_dev *dev, int cmd)
{
	return cell_of_all(dev, cmd)->next == ZD_NEXT_ERROR ||
	       (cmd == ZD_CMD_OPEN_ALL && zd_rule_open_all(&dev->g.book, dev->head->nr_closed, dev->head->nr_explicit));
}

int zd_manage_between(zd_dev *dev, uint32_t z, uint64_t *last, struct zd_error *err)
{
	if (z % 64 == 63 && zd_interrupted(dev, last))
		return interrupted(err, -EINTR);
	if (zd_slots_pressing(dev))
		zd_after_change(dev, NULL);
	return 0;
}
