/* SPDX-License-Identifier: Apache-2.0 */
/* Making forks: disks in RAM that begin as a snapshot, or as a power cut would have left it. Closed ones are kept for reuse. */
#include "device/whole/whole.h"

#include <stdlib.h>
#include <unistd.h>

#define POOL_ZONES 4096u /* of disks with at most so many zones: the others cost more to clean than to make */

/* ---------------------------------------------------------------- closed forks */

/* Nobody uses the fork any more: as new, but for its locks and its memory. */
static bool clean(zd_dev *dev)
{
	const struct zd_geometry *g = &dev->g;
	struct zd_rt_head *head = dev->head;
	uint32_t chunk, last = zd_zone_chunk(g->h.nr_zones - 1);

	if (head->nr_slots && ftruncate(dev->fd, (off_t)g->h.data_offset))
		return false;
	for (chunk = 0; chunk <= last; chunk++) {
		uint64_t from = (uint64_t)chunk * ZD_CHUNK, size = g->h.nr_zones * sizeof(struct zd_zone_rt) - from;

		if (zd_chunk_there(dev, chunk))
			memset((uint8_t *)dev->zones + from, 0, size < ZD_CHUNK ? size : ZD_CHUNK);
	}
	for (chunk = (uint32_t)((g->rt_pre - g->rt_zones) / ZD_CHUNK); chunk < g->nr_chunks; chunk++) {
		if (zd_chunk_there(dev, chunk))
			memset((uint8_t *)dev->zones + (uint64_t)chunk * ZD_CHUNK, 0, ZD_CHUNK);
	}
	memset((void *)dev->dirty, 0, (g->h.nr_zones + 63) / 64 * 8);
	memset(dev->implicit, 0, (g->h.nr_zones + 63) / 64 * 8);
	memset((uint8_t *)head + offsetof(struct zd_rt_head, nr_implicit), 0,
	       sizeof(*head) - offsetof(struct zd_rt_head, nr_implicit));
	if (dev->faults->last_id || head->gate) {
		const size_t lock = sizeof(dev->faults->lock);

		memset((uint8_t *)dev->faults + lock, 0, sizeof(*dev->faults) - lock);
	}
	atomic_store(&dev->trace->modes, 0);
	atomic_store(&dev->trace->head, 0);
	head->gate = 0;
	zd_view_clear(dev);
	dev->interrupt = NULL;
	atomic_store(&dev->closing, false);
	return true;
}

static bool recycle(zd_dev *dev)
{
	zd_snapshot *s = dev->view->snapshot;
	struct zd_origin *o = s ? s->origin : NULL;
	bool kept = false;

	if (!o || dev->origin || s->owner != getpid() || atomic_load(dev->cookie) != ZD_COOKIE ||
	    dev->g.h.nr_zones > POOL_ZONES)
		return false;
	/* Snapshots of the fork, or a child of this process, may have it open too. */
	if (!zd_door_alone(dev) || !clean(dev))
		return false;
	pthread_mutex_lock(&o->dev->seg_lock);
	if (o->pooled < ZD_POOL) {
		dev->view->snapshot = NULL;
		o->pool[o->pooled++] = dev;
		kept = true;
	}
	pthread_mutex_unlock(&o->dev->seg_lock);
	if (kept)
		zd_snapshot_free(s);
	return kept;
}

/* What close() does first with a fork. */
static bool leave(zd_dev *dev)
{
	return (dev->view && recycle(dev)) || zd_view_leave(dev);
}

static zd_dev *from_pool(struct zd_origin *o)
{
	zd_dev *dev = NULL;

	pthread_mutex_lock(&o->dev->seg_lock);
	if (o->pooled)
		dev = o->pool[--o->pooled];
	pthread_mutex_unlock(&o->dev->seg_lock);
	return dev;
}

/* ---------------------------------------------------------------- forks */

/* The blocks of a cut disk that show what they held before: *undone and *m are those not looked at yet. */
static int undo(zd_dev *dev, struct zd_part *part, const uint64_t **undone, uint64_t *m, struct zd_error *err)
{
	const struct zd_blocks *pre = &part->row->pre;
	uint64_t start = zd_zone_start(dev, part->row->zone), end = start + zd_zone_length(dev, part->row->zone);

	for (; *m && **undone < end; ++*undone, --*m) {
		uint64_t rel = **undone - start, block = rel / dev->g.h.logical_block;

		if (**undone < start || rel % dev->g.h.logical_block || !pre->words || !zd_blocks_have(pre, block))
			return zd_fail(err, -EINVAL, "byte %llu begins no block that was overwritten since the last flush",
				       (unsigned long long)**undone);
		if (!part->undone.words) {
			part->undone = *pre;
			part->undone.words = calloc(pre->n, 2 * sizeof(*pre->words));
		}
		if (!part->undone.words)
			return zd_fail_host(err, ENOMEM, "no memory for a fork");
		part->undone.words[2 * (block / 64 - pre->first)] |= 1ull << block % 64;
	}
	return 0;
}

static int fill_fork(zd_dev *dev, zd_snapshot *s, const struct zd_cut *cut, struct zd_error *err)
{
	const struct zd_survivor *kept = cut ? cut->kept : NULL;
	const uint64_t *undone = cut ? cut->undone : NULL;
	uint64_t m = cut ? cut->nr_undone : 0;
	uint32_t i, k = 0, n = cut ? cut->nr_kept : 0;
	int r;

	dev->head->no_pre = s->no_pre;

	for (i = 0; i < s->n; i++) {
		const struct zd_row *row = &s->rows[i];
		uint64_t written = zd_word_written(row->word), keep;
		struct zd_part *part = &dev->view->parts[row->zone];
		struct zd_zone_rt *rt;

		r = zd_zone_get(dev, row->zone, &rt);
		if (r)
			return zd_fail_host(err, -r, "no memory for a fork");
		rt->word = row->word;
		rt->durable = row->durable;
		rt->open_seq = row->opened;
		if (row->durable < written)
			zd_set_dirty(dev, row->zone); /* the next flush must find it */
		part->row = row;
		if (row->own || row->nr_pieces)
			part->length = zd_is_conv(dev, row->zone) ? zd_zone_length(dev, row->zone) : written;
		part->extension = (row->word & ZD_W_EXTENSION) != 0;
		while (k < n && kept[k].zone < row->zone)
			k++;
		if (!cut) {
			part->unflushed = row->pre.words != NULL;
			if (row->pre.words)
				zd_set_dirty(dev, row->zone);
			continue;
		}
		r = undo(dev, part, &undone, &m, err);
		if (r)
			return r;
		keep = k < n && kept[k].zone == row->zone ? kept[k].bytes : row->durable;
		if (keep > written || keep % dev->g.h.logical_block)
			return zd_fail(err, -EINVAL, "zone %u cannot keep %llu bytes: %llu are written, in blocks of %u",
				       row->zone, (unsigned long long)keep, (unsigned long long)written,
				       dev->g.h.logical_block);
		zd_power_cut_word(dev, row->zone, rt, keep);
		zd_view_cut(dev, row->zone, zd_is_conv(dev, row->zone) ? UINT64_MAX : keep);
	}
	if (m)
		return zd_fail(err, -EINVAL, "byte %llu begins no block that was overwritten since the last flush",
			       (unsigned long long)*undone);
	zd_runtime_rebuild(dev, true);
	return 0;
}

int zd_fork(zd_snapshot *s, const struct zd_cut *cut, zd_dev **out, struct zd_error *err)
{
	struct zd_view *view;
	int r = cut ? zd_cut_check(cut, err) : 0;

	*out = NULL;
	if (!r && s->look)
		r = zd_fail(err, -EINVAL, ZD_ONLY_LOOKED);
	if (r)
		return r;
	*out = s->owner == getpid() ? from_pool(s->origin) : NULL;
	if (*out)
		goto fill;
	view = calloc(1, sizeof(*view));
	if (view)
		view->parts = calloc(s->origin->dev->g.h.nr_zones, sizeof(*view->parts));
	if (!view || !view->parts) {
		free(view);
		return zd_fail_host(err, ENOMEM, "no memory for a fork");
	}
	r = zd_create_like(s->origin->dev, out, err);
	if (r) {
		free(view->parts);
		free(view);
		return r;
	}
	(*out)->view = view;
	(*out)->leave = leave;
fill:
	atomic_fetch_add(&s->refs, 1);
	(*out)->view->snapshot = s;
	r = fill_fork(*out, s, cut, err);
	if (r) {
		zd_close(*out, NULL);
		*out = NULL;
	}
	return r;
}
