/* SPDX-License-Identifier: Apache-2.0 */
/* Back to a snapshot, for all openers, in one step; back.c makes it one whoever dies. */
#include "device/whole/whole.h"

#include <unistd.h>

/* All locks are held. What a fork's zone reads elsewhere, as in the snapshot. */
static void put_back_part(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const struct zd_row *row)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = row && row->nr_pieces ? row->pieces[row->nr_pieces - 1].end : 0;
	bool extension = row && row->extension;

	if (part->length == length && part->extension == extension)
		return;
	atomic_store_explicit(&part->extension, extension, memory_order_release);
	atomic_store_explicit(&part->length, length, memory_order_release);
	zd_set_dirty(dev, zone);
	atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
}

/* What is not written down: pre-images as they were, where the zone had some. */
static void put_back_pre(zd_dev *dev, const zd_snapshot *s, const struct zd_row *row)
{
	if (!row->pre.words)
		return;
	if (row->pre.at->origin == s->origin)
		zd_pre_put_back(dev, row->zone, row->pre.words, row->pre.first, row->pre.n, row->pre.at->slot);
	else
		dev->view->parts[row->zone].unflushed = true;
	zd_set_dirty(dev, row->zone);
	dev->zones[row->zone].durable = row->durable;
}

static struct zd_back back_to(const void *snapshot, uint32_t i)
{
	const struct zd_row *row = &((const zd_snapshot *)snapshot)->rows[i];

	return (struct zd_back){ row->zone,   row->own ? row->own->slot : 0, row->word, row->durable,
				 row->opened, row->pre.words != NULL };
}

/* All locks are held. */
static int go_back(zd_dev *dev, const zd_snapshot *s)
{
	uint32_t z, i = 0;
	int r = zd_back_note(dev, back_to, s, s->n);

	if (r)
		return r;
	zd_back_begin(dev);
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, z);
		const struct zd_row *row = i < s->n && s->rows[i].zone == z ? &s->rows[i++] : NULL;

		if (rt && zd_pre_any(dev, z)) {
			zd_pre_drop(dev, z, true);
			zd_set_dirty(dev, z);
		}
		if (rt && dev->view)
			put_back_part(dev, z, rt, row);
	}
	r = zd_back_finish(dev);
	for (i = 0; !r && i < s->n; i++)
		put_back_pre(dev, s, &s->rows[i]);
	return r;
}

int zd_rollback(zd_dev *dev, zd_snapshot *s, struct zd_error *err)
{
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
	r = go_back(dev, s);
	zd_unlock_all(dev);
	if (r && atomic_load(&dev->head->gate) & ZD_GATE_BACK)
		return zd_fail_host(err, -r,
				    "cannot read or write down what the disk goes back to; the next command tries it again");
	if (r)
		return zd_fail_host(err, -r, "no room to note what the disk goes back to; it is as it was");
	return zd_after_change(dev, err);
}
