/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated power cuts: which of the unflushed data survives, and a disk that refuses everything until it has
 * power again. No word of this concerns the host: its crashes are commit's and recovery's business.
 */
#include "internal.h"

/* Bytes that a zone keeps: between what is durable and what is written, but nothing of a lost write. */
static uint64_t survivor(const zd_dev *dev, uint32_t zone, uint64_t written, uint64_t durable, int keep, uint64_t *rng)
{
	uint64_t block = zd_zone_type(dev, zone) == ZD_SEQ_WRITE_REQUIRED ? dev->g.h.physical_block : dev->g.h.logical_block;
	uint64_t blocks;

	if (durable > written)
		durable = written;
	switch (keep) {
	case ZD_KEEP_ALL: return written;
	case ZD_KEEP_RANDOM:
		blocks = (written - durable + block - 1) / block;
		blocks = zd_splitmix(rng) % (blocks + 1) * block;
		return blocks < written - durable ? durable + blocks : written;
	default: return durable;
	}
}

int zd_power_cut_word(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t kept)
{
	int type = zd_zone_type(dev, zone), from, to;
	uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire), written = zd_word_written(word), flags;
	const struct zd_cell *cell;

	from = to = zd_word_cond(word, type);
	cell = zd_cell(dev->g.h.dialect, type, from, ZD_CMD_POWER_CYCLE);
	if (cell->next == ZD_NEXT_CLOSED_OR_EMPTY || (kept < written && (from == ZD_CLOSED || (from == ZD_FULL && !(word & ZD_W_FINISHED)))))
		to = kept ? ZD_CLOSED : ZD_EMPTY;
	/* What survived is on the media, and nothing else is. */
	if (to == from && kept == written) {
		if (type != ZD_CONVENTIONAL && rt->durable < kept) {
			zd_set_dirty(dev, zone);
			rt->durable = kept;
		}
		return from;
	}
	flags = kept || to != ZD_EMPTY ? word & (ZD_W_NON_SEQ | ZD_W_RESET_REC | ZD_W_FINISHED) : 0;
	zd_set_dirty(dev, zone);
	atomic_store_explicit(&rt->word, zd_word(to, flags, kept), memory_order_release);
	rt->durable = kept;
	if (kept < written)
		atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
	return from;
}

/* All stripes and the resource lock are held. */
static void cut_zone(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t kept)
{
	int from = zd_power_cut_word(dev, zone, rt, kept);

	zd_account(dev, zone, from, zd_word_cond(rt->word, zd_zone_type(dev, zone)));
	if (dev->view)
		zd_view_cut(dev, zone, kept);
	if (!kept)
		zd_slot_release(dev, zone, rt);
}

static int lock_all(zd_dev *dev)
{
	int r = zd_lock_commit(dev);

	if (r)
		return r;
	r = zd_lock_zones(dev, 0, ZD_STRIPES - 1);
	if (r) {
		zd_unlock_commit(dev);
		return r;
	}
	r = zd_lock_resource(dev);
	if (r) {
		zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
		zd_unlock_commit(dev);
	}
	return r;
}

static void unlock_all(zd_dev *dev)
{
	zd_unlock_resource(dev);
	zd_unlock_zones(dev, 0, ZD_STRIPES - 1);
	zd_unlock_commit(dev);
}

int zd_power_cut_by(zd_dev *dev, int keep, uint64_t seed, uint32_t fault, const char *label, struct zd_error *err)
{
	uint64_t rng = seed;
	uint32_t zone;
	int r = lock_all(dev);

	if (r)
		return zd_fail_host(err, -r, "interrupted before the power was cut");
	if (atomic_load(&dev->head->gate) & ZD_GATE_POWER)
		goto out;
	dev->faults->power_fault = fault;
	memset(dev->faults->power_label, 0, sizeof(dev->faults->power_label));
	if (label)
		memcpy(dev->faults->power_label, label, strnlen(label, sizeof(dev->faults->power_label) - 1));
	atomic_fetch_or(&dev->head->gate, ZD_GATE_POWER);
	for (zone = 0; zone < dev->g.h.nr_zones; zone++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
		uint64_t kept, lost, written;

		if (!rt || zd_is_conv(dev, zone))
			continue;
		written = zd_word_written(rt->word);
		lost = zd_fault_lost(dev, zone, rt->gen);
		kept = survivor(dev, zone, written, rt->durable, keep, &rng);
		kept = kept < lost ? kept : lost;
		/* A zone that filled up gave its active resource to another one, and cannot have it back: all of it survives. */
		if (dev->g.h.max_active && zd_word_cond(rt->word, ZD_SEQ_WRITE_REQUIRED) == ZD_FULL && !(rt->word & ZD_W_FINISHED) &&
		    dev->head->nr_implicit + dev->head->nr_explicit + dev->head->nr_closed >= dev->g.h.max_active)
			kept = written;
		cut_zone(dev, zone, rt, kept);
	}
	zd_trace_event(dev, ZD_TRACE_POWER_CUT, ZD_NO_ZONE, seed, (uint64_t)keep, fault);
out:
	unlock_all(dev);
	return 0;
}

static int begin(zd_dev *dev, bool changes, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (!r && changes && dev->readonly)
		r = zd_fail(err, ZD_E_READONLY_HANDLE, "the device is open read-only");
	if (!r && changes && (atomic_load(&dev->head->gate) & ZD_GATE_MARK))
		r = zd_mark_dirty(dev, err);
	return r;
}

int zd_power_cut(zd_dev *dev, int keep, uint64_t seed, struct zd_error *err)
{
	int r = begin(dev, true, err);

	if (!r && (keep < ZD_KEEP_DURABLE || keep > ZD_KEEP_RANDOM))
		r = zd_fail(err, -EINVAL, "there is no choice of survivors with the number %d", keep);
	return r ? r : zd_power_cut_by(dev, keep, seed, 0, NULL, err);
}

int zd_power_on(zd_dev *dev, struct zd_error *err)
{
	int r = begin(dev, true, err);

	if (r)
		return r;
	r = zd_lock_commit(dev);
	if (r)
		return zd_fail_host(err, -r, "interrupted before the power was on");
	dev->faults->power_fault = 0;
	dev->faults->flush_fault = 0; /* what the cache owed is gone with its power */
	atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_POWER);
	zd_trace_event(dev, ZD_TRACE_POWER_ON, ZD_NO_ZONE, ZD_NONE, 0, 0);
	zd_unlock_commit(dev);
	return 0;
}

int zd_power(zd_dev *dev, struct zd_error *err)
{
	int r = begin(dev, false, err);

	return r ? r : !(atomic_load(&dev->head->gate) & ZD_GATE_POWER);
}
