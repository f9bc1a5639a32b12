/* SPDX-License-Identifier: Apache-2.0 */
/* Back to a snapshot, for all openers, in one step. */
#include "device/whole/whole.h"

#include <unistd.h>

/* All locks are held. What a fork's zone reads elsewhere, as in the snapshot; whether that is a change. */
static bool put_back_part(zd_dev *dev, uint32_t zone, const struct zd_row *row)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = row && row->nr_pieces ? row->pieces[row->nr_pieces - 1].end : 0, was = part->length;

	atomic_store_explicit(&part->length, length, memory_order_release);
	return was != length;
}

/* All locks are held. The zone as the snapshot has it; row NULL: as new. */
static void put_back(zd_dev *dev, const zd_snapshot *s, uint32_t zone, struct zd_zone_rt *rt, const struct zd_row *row)
{
	int type = zd_zone_type(dev, zone);
	uint64_t word = row ? row->word : 0;
	uint32_t slot = row && row->own ? row->own->slot : 0;
	bool pre = row && row->pre.words, own_pre = pre && row->pre.at->origin == s->origin, moved;

	if (zd_pre_any(dev, zone) || pre) {
		zd_pre_put_back(dev, zone, own_pre ? row->pre.words : NULL, own_pre ? row->pre.first : 0, own_pre ? row->pre.n : 0,
				own_pre ? row->pre.at->slot : 0);
		if (pre && !own_pre)
			dev->view->parts[zone].unflushed = true;
		zd_set_dirty(dev, zone);
	}
	moved = dev->view && put_back_part(dev, zone, row);
	if (!moved && rt->word == word && rt->slot == slot && rt->durable == (row ? row->durable : 0))
		return;
	zd_set_dirty(dev, zone);
	zd_account(dev, zone, zd_word_cond(rt->word, type), ZD_EMPTY);
	atomic_store_explicit(&rt->word, word, memory_order_release);
	rt->durable = row ? row->durable : 0;
	atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
	if (rt->slot != slot) {
		if (slot) {
			zd_slot_claim(dev, slot - 1, zone);
			zd_slot_replace(dev, zone, rt, slot - 1);
		} else {
			zd_slot_release(dev, zone, rt);
		}
	}
}

int zd_rollback(zd_dev *dev, zd_snapshot *s, struct zd_error *err)
{
	uint32_t z, i = 0;
	int r = zd_enter_writable(dev, err);

	if (r)
		return r;
	if (memcmp(&dev->head->tag, &s->origin->dev->head->tag, sizeof(dev->head->tag)))
		return zd_fail(err, -EINVAL, "the snapshot is one of another disk");
	if (s->look)
		return zd_fail(err, -EINVAL, ZD_ONLY_LOOKED);
	if (s->owner != getpid())
		return zd_fail(err, -EINVAL, "the snapshot belongs to the process that took it, not to its child");
	if (atomic_load(&dev->head->gate)) {
		r = zd_gate_rest(dev, true, err);
		if (r)
			return r;
	}
	r = zd_lock_all(dev);
	if (r)
		return zd_fail_host(err, -r, "interrupted");
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		const struct zd_row *row = i < s->n && s->rows[i].zone == z ? &s->rows[i++] : NULL;

		if (rt)
			put_back(dev, s, z, rt, row);
	}
	/* Open zones in the order in which they were opened; rebuilding takes the clock on to the last of them. */
	for (i = 0; i < s->n; i++) {
		if (s->rows[i].opened)
			__atomic_store_n(&dev->zones[s->rows[i].zone].open_seq, dev->head->open_clock + s->rows[i].opened,
					 __ATOMIC_RELAXED);
	}
	zd_runtime_rebuild(dev, true);
	zd_trace_event(dev, ZD_TRACE_ROLLBACK, ZD_NO_ZONE, ZD_NONE, 0, 0);
	zd_unlock_all(dev);
	return zd_after_change(dev, err);
}
