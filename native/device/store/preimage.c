/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-images: what blocks of conventional and preferred zones held at the last flush, so that a power cut may take
 * any of their newer contents away. Shared by all openers, as everything about a zone.
 *
 * A zone that is overwritten takes two more slots: one for the old bytes, at the offsets that they have in the zone,
 * one for the map of which blocks those are. The first write to a block since the last flush copies the block there
 * before it stores anything; a flush forgets it all. The order of steps is such that a process killed between any
 * two of them leaves either the block's bit unset and the block unchanged, or its old bytes complete under a set bit.
 *
 * A write that was never published, as its process was killed or the host was full, leaves bits behind the write
 * pointer of a preferred zone. They mean nothing: whoever looks goes as far as the pointer (marks()), and whoever is
 * about to raise it drops them first (zd_pre_trim()).
 */
#include "device/store/store.h"

#include <stdlib.h>

#define PIECE 16384u             /* bytes copied at a time */
#define PER_WORD ZD_PRE_PER_WORD /* blocks */
#define MAP_RESERVED 65536u      /* bytes of a map that are kept in the mapping; the rest goes by system calls */

static uint64_t map_size(const zd_dev *dev)
{
	uint64_t blocks = dev->g.h.slot_size / dev->g.h.logical_block;

	return (blocks + PER_WORD - 1) / PER_WORD * 16;
}

bool zd_pre_any(const zd_dev *dev, uint32_t zone)
{
	const struct zd_pre *pre = zd_pre_peek(dev, zone);
	uint64_t first;
	uint32_t n;

	return (pre && atomic_load_explicit(&pre->from, memory_order_relaxed) !=
			       atomic_load_explicit(&pre->to, memory_order_relaxed)) ||
	       zd_view_pre(dev, zone, &first, &n);
}

/* ---------------------------------------------------------------- the map */

/* All that a record may name, whoever wrote it. */
static struct zd_span recorded(const zd_dev *dev, const struct zd_pre *pre)
{
	uint64_t last = dev->g.h.slot_size / dev->g.h.logical_block;
	struct zd_span s = { atomic_load_explicit(&pre->from, memory_order_relaxed),
			     atomic_load_explicit(&pre->to, memory_order_relaxed) };

	if (s.to > last)
		s.to = last;
	if (s.from > s.to)
		s.from = s.to;
	return s;
}

/* How many blocks of a zone can have been written. */
static uint64_t blocks_below_pointer(const zd_dev *dev, uint32_t zone)
{
	uint64_t bytes = zd_is_conv(dev, zone) ? zd_zone_length(dev, zone) : zd_word_written(zd_load_word(dev, zone));

	return bytes / dev->g.h.logical_block;
}

/* The part of a record that means something. */
struct zd_span zd_pre_marks(const zd_dev *dev, uint32_t zone, const struct zd_pre *pre)
{
	uint64_t end = blocks_below_pointer(dev, zone);
	struct zd_span s = recorded(dev, pre);

	if (s.to > end)
		s.to = end;
	if (s.from > s.to)
		s.from = s.to;
	return s;
}

/* The marks grow before bits are set and shrink after they are cleared. */
static void widen(struct zd_pre *pre, uint64_t from, uint64_t to)
{
	bool none = pre->from == pre->to;

	if (none) {
		/* Between the two stores the range is one that holds no bit yet. */
		atomic_store_explicit(&pre->from, 0, memory_order_relaxed);
		atomic_store_explicit(&pre->to, to, memory_order_relaxed);
		atomic_store_explicit(&pre->from, from, memory_order_relaxed);
		return;
	}
	if (to > pre->to)
		atomic_store_explicit(&pre->to, to, memory_order_relaxed);
	if (from < pre->from)
		atomic_store_explicit(&pre->from, from, memory_order_relaxed);
}

/* Whole words of the map, but no block behind the zone's last: the range is what will be punched. */
void zd_pre_widen(const zd_dev *dev, struct zd_pre *pre, uint64_t first, uint64_t n)
{
	uint64_t last = dev->g.h.slot_size / dev->g.h.logical_block, to = (first + n) * PER_WORD;

	widen(pre, first * PER_WORD, to < last ? to : last);
}

static void narrow_to_nothing(struct zd_pre *pre)
{
	atomic_store_explicit(&pre->to, pre->from, memory_order_relaxed);
}

/* ---------------------------------------------------------------- slots */

/* Under the resource lock. */
static void attach(zd_dev *dev, uint32_t slot, uint32_t *to)
{
	dev->slots[slot].pins = 0;
	*to = slot + 1;
	zd_count32(&dev->head->nr_pre, 1);
}

void zd_pre_detach(zd_dev *dev, uint32_t *from)
{
	uint32_t slot = *from - 1;

	*from = 0;
	zd_count32(&dev->head->nr_pre, (uint32_t)-1);
	zd_slot_give_up(dev, slot);
}

/* All under the resource lock: whoever is killed in between leaves a slot that the next one's rebuilding finds free. */
int zd_pre_take_map(zd_dev *dev, uint32_t zone, struct zd_pre *pre)
{
	uint64_t size = map_size(dev) < MAP_RESERVED ? map_size(dev) : MAP_RESERVED;
	uint32_t slot;
	int r = zd_slot_take_locked(dev, zone, true, &slot);

	if (r)
		return r;
	dev->slots[slot].pins = 0;
	size = (size + ZD_PAGE - 1) / ZD_PAGE * ZD_PAGE;
	r = zd_host_reserve(dev->fd, zd_slot_offset(dev, slot), size);
	if (zd_slots_gave_locked(dev, r))
		r = zd_host_reserve(dev->fd, zd_slot_offset(dev, slot), size);
	if (r) {
		zd_slot_give_up(dev, slot);
	} else {
		dev->slots[slot].filled = size;
		attach(dev, slot, &pre->map);
	}
	return r;
}

static int take_map(zd_dev *dev, uint32_t zone, struct zd_pre *pre)
{
	int r = zd_lock_resource(dev);

	if (r)
		return r;
	r = zd_pre_take_map(dev, zone, pre);
	zd_unlock_resource(dev);
	return r;
}

static int take_first_data(zd_dev *dev, uint32_t zone, struct zd_pre *pre)
{
	uint32_t slot;
	int r = zd_lock_resource(dev);

	if (r)
		return r;
	r = zd_slot_take_locked(dev, zone, true, &slot);
	if (!r) {
		attach(dev, slot, &pre->data);
		pre->flags = 0;
	}
	zd_unlock_resource(dev);
	return r;
}

struct copying {
	const struct zd_pre *pre;
	uint32_t into;
};

static int copy_block(zd_dev *dev, uint32_t zone, const struct zd_pre_block *block, void *arg)
{
	const struct copying *c = arg;
	uint8_t bytes[ZD_PAGE];
	int r = zd_pre_load(dev, zone, block->rel, bytes);

	return r ? r : zd_store_bytes(dev, c->into, block->rel, bytes, dev->g.h.logical_block);
}

/* Another data slot, that nobody else reads, with what the map names. */
static int take_own_data(zd_dev *dev, uint32_t zone, struct zd_pre *pre)
{
	struct copying c = { pre, 0 };
	int r = zd_slot_take(dev, zone, true, &c.into);

	if (r)
		return r;
	r = zd_pre_each(dev, zone, copy_block, &c);
	if (!zd_lock_resource_surely(dev))
		return -EINTR; /* the slot is nobody's till the disk is started anew */
	if (r) {
		dev->slots[c.into].pins = 0;
		zd_slot_give_up(dev, c.into);
	} else {
		uint32_t old = pre->data - 1;

		/* One store: whoever is killed before or behind it leaves marks with the bytes that they speak of. */
		dev->slots[c.into].pins = 0;
		pre->data = c.into + 1;
		pre->flags = 0;
		zd_slot_give_up(dev, old);
	}
	zd_unlock_resource(dev);
	return r;
}

static int prepare(zd_dev *dev, uint32_t zone, struct zd_pre **out)
{
	uint64_t at = dev->g.rt_pre - dev->g.rt_zones + (uint64_t)zone * sizeof(struct zd_pre);
	struct zd_pre *pre = &dev->pre[zone];
	int r = zd_reserve_chunk(dev, (uint32_t)(at / ZD_CHUNK));

	if (zd_slots_gave(dev, r))
		r = zd_reserve_chunk(dev, (uint32_t)(at / ZD_CHUNK));
	if (!r && !pre->map)
		r = take_map(dev, zone, pre);
	if (!r && !pre->data)
		r = take_first_data(dev, zone, pre);
	else if (!r && (pre->flags & ZD_PRE_FROZEN))
		r = take_own_data(dev, zone, pre);
	*out = pre;
	return r;
}

/* ---------------------------------------------------------------- writing */

static bool all_zero(const uint8_t *bytes, uint64_t n)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* What the zone shows now at rel. */
static int load_zone(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint8_t *to, uint64_t n)
{
	uint64_t end = zd_is_conv(dev, zone) ? UINT64_MAX : zd_word_written(rt->word);
	uint64_t valid = end > rel ? (end - rel < n ? end - rel : n) : 0;
	int r = 0;

	if (valid && dev->view)
		r = zd_view_load(dev, zone, rt->slot, rel, to, valid);
	else if (valid && rt->slot)
		r = zd_load(dev, rt->slot - 1, rel, to, valid);
	else
		valid = 0;
	memset(to + valid, 0, n - valid);
	return r;
}

static int keep_blocks(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, struct zd_pre *pre, uint64_t rel, uint64_t n)
{
	uint8_t piece[PIECE];
	int r = 0;

	if (!rt->slot && !dev->view && !(pre->flags & ZD_PRE_STALE))
		return 0; /* nothing was ever written there */
	while (!r && n) {
		uint64_t part = n < sizeof(piece) ? n : sizeof(piece);

		r = load_zone(dev, zone, rt, rel, piece, part);
		/* A hole of the data slot says zero as well. */
		if (!r && ((pre->flags & ZD_PRE_STALE) || !all_zero(piece, part)))
			r = zd_store_bytes(dev, pre->data - 1, rel, piece, part);
		rel += part;
		n -= part;
	}
	return r;
}

static int keep_word(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, struct zd_pre *pre, uint64_t word, uint64_t fresh)
{
	uint64_t block = dev->g.h.logical_block;
	int r = 0;

	while (!r && fresh) {
		unsigned at = (unsigned)__builtin_ctzll(fresh);
		uint64_t rest = ~(fresh >> at);
		unsigned run = rest ? (unsigned)__builtin_ctzll(rest) : PER_WORD;

		r = keep_blocks(dev, zone, rt, pre, (word * PER_WORD + at) * block, run * block);
		fresh &= run + at >= PER_WORD ? (1ull << at) - 1 : ~(((1ull << run) - 1) << at);
	}
	return r;
}

int zd_pre_log(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint64_t n, bool always)
{
	bool wanted = always || !atomic_load_explicit(&dev->head->no_pre, memory_order_relaxed);
	uint64_t from = rel / dev->g.h.logical_block, to = (rel + n) / dev->g.h.logical_block, word;
	struct zd_pre *pre;
	int r;

	if (!dev->g.keeps_pre || (!wanted && !zd_pre_any(dev, zone)))
		return 0;
	r = zd_pre_home(dev, zone);
	if (!r)
		r = prepare(dev, zone, &pre);
	if (r)
		return r;
	if (wanted)
		widen(pre, from, to);
	for (word = from / PER_WORD; !r && word * PER_WORD < to; word++) {
		uint64_t mask = zd_pre_mask(word, from, to), pair[2], old[2];

		r = zd_pre_load_words(dev, pre, word, pair);
		if (r)
			break;
		memcpy(old, pair, sizeof(old));
		if (wanted) {
			r = keep_word(dev, zone, rt, pre, word, mask & ~pair[ZD_PRE_WRITTEN]);
			pair[ZD_PRE_WRITTEN] |= mask;
		} else {
			pre->flags |= ZD_PRE_STALE | (dev->slots[pre->data - 1].pins ? ZD_PRE_FROZEN : 0);
			pair[ZD_PRE_WRITTEN] &= ~mask;
		}
		pair[ZD_PRE_LOST] &= ~mask; /* a later write takes a lost one's place */
		if (!r && memcmp(old, pair, sizeof(old)))
			r = zd_pre_store_words(dev, pre, word, pair, false);
	}
	return r;
}

int zd_pre_lose(zd_dev *dev, uint32_t zone, uint64_t rel, uint64_t n)
{
	uint64_t from = rel / dev->g.h.logical_block, to = (rel + n) / dev->g.h.logical_block, word;
	struct zd_pre *pre = zd_pre_peek(dev, zone);
	int r = 0;

	if (!pre || !pre->map)
		return 0; /* a disk that keeps no data */
	for (word = from / PER_WORD; !r && word * PER_WORD < to; word++) {
		uint64_t pair[2];

		r = zd_pre_load_words(dev, pre, word, pair);
		if (r)
			break;
		pair[ZD_PRE_LOST] |= zd_pre_mask(word, from, to) & pair[ZD_PRE_WRITTEN];
		r = zd_pre_store_words(dev, pre, word, pair, false);
	}
	return r;
}

/* ---------------------------------------------------------------- forgetting */

/* Clear all bits but those of lost blocks, or these too; *left: some stay. */
static int clear(zd_dev *dev, struct zd_pre *pre, bool lost_too, bool resource_held, bool *left)
{
	const struct zd_span all = recorded(dev, pre);
	uint64_t word;
	int r = 0;

	*left = false;
	/* First, too, that snapshots know more than the map will: a death half-way must let nobody write over that. */
	pre->flags |= ZD_PRE_STALE | (pre->data && dev->slots[pre->data - 1].pins ? ZD_PRE_FROZEN : 0);
	for (word = all.from / PER_WORD; !r && word * PER_WORD < all.to; word++) {
		uint64_t pair[2], old;

		r = zd_pre_load_words(dev, pre, word, pair);
		if (r || !(pair[0] | pair[1]))
			continue;
		old = pair[ZD_PRE_WRITTEN];
		if (lost_too)
			pair[ZD_PRE_LOST] = 0;
		pair[ZD_PRE_WRITTEN] &= pair[ZD_PRE_LOST];
		*left |= pair[ZD_PRE_WRITTEN] != 0;
		if (old != pair[ZD_PRE_WRITTEN] || lost_too)
			r = zd_pre_store_words(dev, pre, word, pair, resource_held);
	}
	return r;
}

/* No bit is set any more: the data slot becomes a hole again, or is left to those who pinned it. */
static void empty(zd_dev *dev, struct zd_pre *pre, bool resource_held)
{
	const struct zd_span all = recorded(dev, pre);
	uint64_t block = dev->g.h.logical_block, from = all.from * block, length = (all.to - all.from) * block;

	if (pre->data && dev->slots[pre->data - 1].pins) {
		if (resource_held || zd_lock_resource_surely(dev)) {
			zd_pre_detach(dev, &pre->data);
			pre->flags = 0;
			if (!resource_held)
				zd_unlock_resource(dev);
		} else {
			pre->flags |= ZD_PRE_FROZEN; /* the next write takes another one */
		}
	} else if (pre->data) {
		struct zd_slot_rt *slot = &dev->slots[pre->data - 1];

		/* The mark first, as a mark beyond a hole would lead to a store that needs a block. */
		if (slot->filled > from)
			slot->filled = from;
		if (zd_host_punch(dev->fd, zd_slot_offset(dev, pre->data - 1) + from, length) == 0)
			pre->flags = 0;
	}
	narrow_to_nothing(pre);
}

int zd_pre_trim(zd_dev *dev, uint32_t zone)
{
	struct zd_pre *pre = zd_pre_peek(dev, zone);
	uint64_t end, word;
	struct zd_span all;
	int r = 0;

	if (!pre)
		return 0;
	end = blocks_below_pointer(dev, zone);
	all = recorded(dev, pre);
	if (likely(all.to <= end))
		return 0;
	pre->flags |= ZD_PRE_STALE;
	for (word = (all.from > end ? all.from : end) / PER_WORD; !r && word * PER_WORD < all.to; word++) {
		uint64_t gone = zd_pre_mask(word, end, all.to), pair[2];

		r = zd_pre_load_words(dev, pre, word, pair);
		if (r || !((pair[0] | pair[1]) & gone))
			continue;
		pair[ZD_PRE_WRITTEN] &= ~gone;
		pair[ZD_PRE_LOST] &= ~gone;
		r = zd_pre_store_words(dev, pre, word, pair, false);
	}
	if (!r && all.from >= end)
		empty(dev, pre, false);
	else if (!r)
		atomic_store_explicit(&pre->to, end, memory_order_relaxed);
	return r;
}

/* Blocks that keep their marks because the host failed are taken back by the next power cut if it comes before the next flush. */
void zd_pre_commit(zd_dev *dev, uint32_t zone, uint64_t end)
{
	uint64_t to = end / dev->g.h.logical_block, word, first;
	struct zd_pre *pre;
	struct zd_span all;
	uint32_t n;

	if (zd_view_pre(dev, zone, &first, &n) && zd_pre_home(dev, zone))
		return;
	pre = zd_pre_peek(dev, zone);
	if (!pre || pre->from >= to || pre->from == pre->to)
		return;
	all = recorded(dev, pre);
	pre->flags |= ZD_PRE_STALE | (pre->data && dev->slots[pre->data - 1].pins ? ZD_PRE_FROZEN : 0);
	for (word = all.from / PER_WORD; word * PER_WORD < (all.to < to ? all.to : to); word++) {
		uint64_t mask = zd_pre_mask(word, 0, to), pair[2], old;

		if (zd_pre_load_words(dev, pre, word, pair))
			return;
		old = pair[ZD_PRE_WRITTEN];
		pair[ZD_PRE_WRITTEN] &= ~mask | pair[ZD_PRE_LOST];
		if (old != pair[ZD_PRE_WRITTEN] && zd_pre_store_words(dev, pre, word, pair, false))
			return;
	}
	/* The span stays: where its bits are gone it means nothing, and the next flush forgets it. */
}

int zd_pre_flush(zd_dev *dev, uint32_t zone)
{
	struct zd_pre *pre = zd_pre_peek(dev, zone);
	uint64_t first, lost = 0;
	uint32_t n = 0, i;
	bool left;
	int r = 0;
	const uint64_t *words = zd_view_pre(dev, zone, &first, &n);

	for (i = 0; i < n; i++)
		lost |= words[2 * i + ZD_PRE_LOST];
	if (lost) {
		r = zd_pre_home(dev, zone);
		pre = zd_pre_peek(dev, zone);
	} else if (words) {
		zd_view_pre_drop(dev, zone);
	}
	if (!r)
		r = zd_pre_trim(dev, zone);
	if (r || !pre || pre->from == pre->to)
		return r;
	r = clear(dev, pre, false, false, &left);
	if (!r && left && dev->slots[pre->data - 1].pins)
		pre->flags |= ZD_PRE_FROZEN;
	else if (!r && !left)
		empty(dev, pre, false);
	return r;
}

void zd_pre_drop(zd_dev *dev, uint32_t zone, bool resource_held)
{
	struct zd_pre *pre = zd_pre_peek(dev, zone);
	bool left;

	zd_view_pre_drop(dev, zone);
	if (pre && pre->from != pre->to && clear(dev, pre, true, resource_held, &left) == 0)
		empty(dev, pre, resource_held);
}

/* ---------------------------------------------------------------- looking */

int zd_pre_each(zd_dev *dev, uint32_t zone, zd_pre_fn *each, void *arg)
{
	const struct zd_pre *pre = zd_pre_peek(dev, zone);
	const struct zd_span s = pre ? zd_pre_marks(dev, zone, pre) : (struct zd_span){ 0, 0 };
	uint64_t word;
	int r = 0;

	for (word = s.from / PER_WORD; !r && s.from < s.to && word * PER_WORD < s.to; word++) {
		uint64_t pair[2];

		r = zd_pre_load_words(dev, pre, word, pair);
		pair[ZD_PRE_WRITTEN] &= zd_pre_mask(word, s.from, s.to);
		while (!r && pair[ZD_PRE_WRITTEN]) {
			unsigned bit = (unsigned)__builtin_ctzll(pair[ZD_PRE_WRITTEN]);
			const struct zd_pre_block block = { (word * PER_WORD + bit) * dev->g.h.logical_block,
							    pair[ZD_PRE_LOST] >> bit & 1 };

			pair[ZD_PRE_WRITTEN] &= pair[ZD_PRE_WRITTEN] - 1;
			r = each(dev, zone, &block, arg);
		}
	}
	return r;
}

int zd_pre_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to)
{
	return zd_load(dev, dev->pre[zone].data - 1, rel, to, dev->g.h.logical_block);
}

int zd_pre_home(zd_dev *dev, uint32_t zone)
{
	uint64_t first, block = dev->g.h.logical_block;
	uint32_t n, i;
	const uint64_t *words = zd_view_pre(dev, zone, &first, &n);
	struct zd_pre *pre;
	int r;

	if (likely(!words))
		return 0;
	r = prepare(dev, zone, &pre);
	if (!r)
		zd_pre_widen(dev, pre, first, n);
	for (i = 0; !r && i < n; i++) {
		uint64_t bits = words[2 * i + ZD_PRE_WRITTEN];

		for (; !r && bits; bits &= bits - 1) {
			uint64_t rel = ((first + i) * PER_WORD + (unsigned)__builtin_ctzll(bits)) * block;
			uint8_t bytes[ZD_PAGE];

			r = zd_view_pre_load(dev, zone, rel, bytes);
			if (!r)
				r = zd_store_bytes(dev, pre->data - 1, rel, bytes, block);
		}
		if (!r)
			r = zd_pre_store_words(dev, pre, first + i, words + 2 * i, false);
	}
	if (!r)
		zd_view_pre_drop(dev, zone);
	return r;
}
