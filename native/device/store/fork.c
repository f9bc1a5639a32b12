/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fork reads elsewhere: a disk of its own in RAM whose zones show what they had at the snapshot from slots of other
 * disks, and everything else from its own. Required zones only ever append, so a fork of them copies nothing; a zone that
 * is overwritten in place is copied with its first write. Snapshots are taken and forks are made in whole/.
 */
#include "device/store/store.h"

#include <stdlib.h>

#define COPY 262144u /* bytes copied at a time */

/* ---------------------------------------------------------------- copying */

typedef int read_fn(zd_dev *dev, uint32_t number, uint64_t rel, uint8_t *to, uint64_t n);

/* Bytes from .. to-1 of what read() gives for slot or zone `number` go to a slot. */
static int copy_into(zd_dev *dev, uint32_t slot, uint64_t from, uint64_t to, read_fn *read, uint32_t number)
{
	uint8_t *bytes = malloc(COPY);
	uint64_t at;
	int r = bytes ? 0 : -ENOMEM;

	for (at = from; !r && at < to; at += COPY) {
		uint64_t n = to - at < COPY ? to - at : COPY, i;

		r = read(dev, number, at, bytes, n);
		for (i = 0; !r && i < n && !bytes[i]; i++)
			;
		if (!r && i < n) { /* what is zero stays a hole */
			r = zd_host_pwrite(dev->fd, bytes, n, zd_slot_offset(dev, slot) + at);
			if (zd_slots_gave(dev, r))
				r = zd_host_pwrite(dev->fd, bytes, n, zd_slot_offset(dev, slot) + at);
		}
	}
	free(bytes);
	return r;
}

static int read_slot(zd_dev *dev, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n)
{
	return zd_host_pread(dev->fd, to, n, zd_slot_offset(dev, slot) + rel);
}

/* Under the stripe: the zone's slot is pinned, and bytes below the pinned part are to change. */
int zd_slot_unshare(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	uint32_t old = rt->slot - 1, new;
	uint64_t length = zd_is_conv(dev, zone) ? dev->g.h.slot_size : zd_word_written(rt->word), end = dev->g.h.slot_size;
	int r = zd_slot_take(dev, zone, true, &new);

	if (r)
		return r;
	if (length > dev->g.h.slot_size)
		length = dev->g.h.slot_size;
	r = copy_into(dev, new, 0, length, read_slot, old);
	if (!r && (rt->word & ZD_W_EXTENSION))
		r = copy_into(dev, new, end - dev->g.h.zone_extension, end, read_slot, old);
	if (!zd_lock_resource_surely(dev))
		return -EINTR; /* the new slot is nobody's till the disk is started anew */
	dev->slots[new].pins = 0;
	if (r) {
		zd_slot_give_up(dev, new);
	} else {
		zd_slot_replace(dev, zone, rt, new);
		zd_set_dirty(dev, zone);
	}
	zd_unlock_resource(dev);
	return r;
}

/* ---------------------------------------------------------------- a fork's zones */

bool zd_view_has(const zd_dev *dev, uint32_t zone)
{
	return dev->view && atomic_load_explicit(&dev->view->parts[zone].length, memory_order_acquire);
}

bool zd_blocks_have(const struct zd_blocks *b, uint64_t block)
{
	uint64_t word = block / 64;

	return word >= b->first && word - b->first < b->n && b->words[2 * (word - b->first)] >> block % 64 & 1;
}

int zd_pinned_load(const struct zd_pinned *p, uint64_t rel, uint8_t *to, uint64_t n)
{
	int r = zd_enter(p->origin->dev, NULL);

	return r ? r : zd_load(p->origin->dev, p->slot - 1, rel, to, n);
}

/* n bytes of a zone that were read: over them what the blocks held before. */
static int overlay(const struct zd_blocks *b, uint64_t size, uint64_t rel, uint8_t *to, uint64_t n)
{
	uint64_t at;
	int r = 0;

	for (at = rel; b->words && !r && at < rel + n;) {
		uint64_t end = at - at % size + size, part_end = end < rel + n ? end : rel + n;

		if (zd_blocks_have(b, at / size))
			r = zd_pinned_load(b->at, at, to + (at - rel), part_end - at);
		at = part_end;
	}
	return r;
}

/* What a zone showed at the snapshot. */
int zd_row_load(const struct zd_row *row, uint32_t block, uint64_t rel, uint8_t *to, uint64_t n)
{
	uint64_t at = rel, end = rel + n;
	uint32_t i;
	int r = 0;

	for (i = 0; !r && at < end; i++) {
		struct zd_piece piece = zd_piece_of(row, i);
		uint64_t part = piece.end < end ? piece.end : end;

		if (part <= at)
			continue;
		if (piece.at)
			r = zd_pinned_load(piece.at, at, to + (at - rel), part - at);
		else
			memset(to + (at - rel), 0, part - at);
		at = part;
	}
	return r ? r : overlay(&row->undone, block, rel, to, n);
}

const uint64_t *zd_view_pre(const zd_dev *dev, uint32_t zone, uint64_t *first, uint32_t *n)
{
	const struct zd_part *part;

	if (likely(!dev->view))
		return NULL;
	part = &dev->view->parts[zone];
	if (!part->unflushed)
		return NULL;
	*first = part->row->pre.first;
	*n = part->row->pre.n;
	return part->row->pre.words;
}

int zd_view_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to)
{
	return zd_pinned_load(dev->view->parts[zone].row->pre.at, rel, to, dev->g.h.logical_block);
}

void zd_view_pre_drop(zd_dev *dev, uint32_t zone)
{
	if (dev->view)
		dev->view->parts[zone].unflushed = false;
}

static int load_part(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to, uint64_t n)
{
	const struct zd_part *part = &dev->view->parts[zone];
	int r = zd_row_load(part->row, dev->g.h.logical_block, rel, to, n);

	return r ? r : overlay(&part->undone, dev->g.h.logical_block, rel, to, n);
}

int zd_view_load(zd_dev *dev, uint32_t zone, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n)
{
	struct zd_part *part = &dev->view->parts[zone];
	uint64_t length = atomic_load_explicit(&part->length, memory_order_acquire), below = 0;
	int r;

	if (rel < length) {
		below = n < length - rel ? n : length - rel;
		r = load_part(dev, zone, rel, to, below);
		if (r)
			return r;
	}
	if (below == n)
		return 0;
	if (slot)
		return zd_load(dev, slot - 1, rel + below, to + below, n - below);
	memset(to + below, 0, n - below);
	return 0;
}

/* Under the stripe: from here on the zone's bytes lie in its own slot. */
int zd_view_own(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	struct zd_part *part = &dev->view->parts[zone];
	int r = 0;

	if (!part->length)
		return 0;
	if (!rt->slot)
		r = zd_slot_assign(dev, zone, rt);
	if (!r)
		r = copy_into(dev, rt->slot - 1, 0, part->length, load_part, zone);
	if (!r)
		atomic_store_explicit(&part->length, 0, memory_order_release);
	return r;
}

void zd_view_cut(zd_dev *dev, uint32_t zone, uint64_t kept)
{
	struct zd_part *part = &dev->view->parts[zone];

	if (kept < part->length)
		atomic_store_explicit(&part->length, kept, memory_order_release);
}

void zd_view_reset(zd_dev *dev, uint32_t zone)
{
	zd_view_cut(dev, zone, 0);
	atomic_store_explicit(&dev->view->parts[zone].extension, false, memory_order_release);
}
