/* SPDX-License-Identifier: Apache-2.0 */
/* The explicit commit of a random write area's beginning: the stages of this command (ops.c), and what it does. */
#include "device/disk/disk.h"

int zd_commit_place(zd_dev *dev, struct zd_run *run)
{
	uint32_t zone = run->q->zone;

	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, run->err, ZD_E_OUT_OF_RANGE, ZD_CMD_COMMIT_ZRWA, ZD_NO_ZONE, zone, 1, dev->g.h.nr_zones);
	run->c.first = run->c.last = zone;
	run->c.offset = zd_zone_start(dev, zone);
	return 0;
}

/* What the rules say of a commit to `end`: 0, or a rule with its bound. *cell: what it does if it is allowed. */
static int check(const zd_dev *dev, uint32_t zone, uint64_t word, uint64_t end, const struct zd_cell **cell, uint64_t *bound)
{
	uint64_t start = zd_zone_start(dev, zone);
	struct zd_rule_zone z;
	int r;

	zd_zone_as(dev, zone, word, &z);
	*cell = zd_cell(dev->g.h.dialect, z.type, z.cond, ZD_CMD_COMMIT_ZRWA);
	*bound = 0;
	if (dev->g.h.dialect != ZD_ZNS)
		return (*cell)->error;
	r = zd_check_zrwa_commit(&dev->g.book, &z, end > start ? end - start : 0, bound);
	return r ? r : (*cell)->next == ZD_NEXT_ERROR ? (*cell)->error : 0;
}

bool zd_commit_refused(zd_dev *dev, const struct zd_run *run)
{
	const struct zd_cell *cell;
	uint64_t bound;

	return check(dev, run->q->zone, zd_load_word(dev, run->q->zone), run->q->offset, &cell, &bound) ||
	       zd_ask_resources(dev, cell->effects);
}

static int commit_locked(zd_dev *dev, uint32_t zone, uint64_t end, struct zd_error *err)
{
	uint64_t rel = end - zd_zone_start(dev, zone), word, bound;
	const struct zd_cell *cell;
	struct zd_zone_rt *rt;
	bool opens;
	int r;

	if (zd_powerless(dev))
		return zd_stopped(dev, err);
	word = zd_load_word(dev, zone);
	r = check(dev, zone, word, end, &cell, &bound);
	if (r)
		return zd_refuse(dev, err, r, ZD_CMD_COMMIT_ZRWA, zone, end, 0, bound);
	rt = &dev->zones[zone];
	opens = zd_word_cond(word, ZD_SEQ_WRITE_REQUIRED) == ZD_CLOSED;
	zd_set_dirty(dev, zone);
	r = opens ? zd_open_to_commit(dev, zone, rt, cell, err) : 0;
	if (r)
		return r;
	/* What was never written up to there is zeros. */
	r = zd_zone_raise(dev, zone, rt, rel);
	if (!r && rel == zd_zone_capacity(dev, zone))
		r = zd_zrwa_fill(dev, zone, rt, rel);
	else if (!r)
		zd_zrwa_publish(dev, zone, rt, rel, rel);
	if (r && opens)
		zd_undo_open_to_commit(dev, zone, rt);
	return r ? zd_write_failed(dev, err, r, zone) : 0;
}

static int commit_once(zd_dev *dev, struct zd_run *run)
{
	uint32_t zone = run->q->zone;
	int r = zd_lock_zone(dev, zone);

	if (r)
		return zd_write_failed(dev, run->err, r, zone);
	r = commit_locked(dev, zone, run->q->offset, run->err);
	zd_observe_effect(dev, &run->t, r, run->err);
	zd_unlock_zone(dev, zone);
	return r;
}

int64_t zd_commit_act(zd_dev *dev, struct zd_run *run)
{
	int r = commit_once(dev, run);

	if (zd_write_room(dev, r))
		r = commit_once(dev, run);
	return zd_strike_after(dev, run, r, 0);
}
