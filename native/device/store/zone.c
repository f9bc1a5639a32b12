/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone's bytes: stored in its slot, over what is there or behind it, read back, and one bit of them flipped. Under the
 * zone's stripe, but for reading a required zone. Write pointers are published by whoever calls (disk/write.c).
 */
#include "device/store/store.h"

/*
 * *done: how much landed. -EINTR when the hook said so: what landed counts. Other errors: the host failed,
 * and what landed lies beyond any write pointer.
 */
int zd_zone_store(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, struct zd_source *s, uint64_t n,
		  uint64_t *done)
{
	uint64_t last = 0;
	uint32_t slot;
	int r = 0;

	*done = 0;
	if (dev->g.h.data == ZD_NO_DATA) {
		zd_source_skip(s, n);
		*done = n;
		return 0;
	}
	slot = rt->slot; /* it is ours to change, by either of these */
	if (unlikely(!slot)) {
		r = zd_slot_assign(dev, zone, rt);
		slot = rt->slot;
	} else if (zd_asked(dev->slots[slot - 1].pinned > rel)) {
		r = zd_slot_unshare(dev, zone, rt);
		slot = rt->slot;
	}
	if (n > ZD_IO_CHUNK)
		last = zd_now();
	while (!r && *done < n) {
		uint64_t part = n - *done < ZD_IO_CHUNK ? n - *done : ZD_IO_CHUNK, landed;

		r = zd_store_part(dev, slot - 1, rel + *done, s, part, &landed);
		*done += landed;
		if (unlikely(r) && zd_slots_gave(dev, r))
			r = 0; /* once: the list is empty now */
		if (!r && *done < n && zd_interrupted(dev, &last))
			r = -EINTR;
	}
	return r;
}

/*
 * Before a write that raises the pointer of a preferred zone: what a writer that was killed or failed, or a crash of
 * the host, left behind the pointer must not come to light, neither its marks nor its bytes in a gap.
 */
static int forget_behind(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint64_t n)
{
	uint64_t written = zd_word_written(rt->word);
	int r;

	if (rel + n <= written || zd_is_conv(dev, zone))
		return 0;
	r = zd_pre_trim(dev, zone);
	if (r || rel <= written || !rt->slot)
		return r;
	if (dev->slots[rt->slot - 1].pinned > written)
		r = zd_slot_unshare(dev, zone, rt);
	return r ? r : zd_slot_clear(dev, rt->slot - 1, written, rel);
}

int zd_zone_raise(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t to)
{
	int r;

	if (dev->g.h.data == ZD_NO_DATA || to <= zd_word_written(rt->word))
		return 0;
	zd_set_dirty(dev, zone);
	r = rt->slot ? 0 : zd_slot_assign(dev, zone, rt);
	return r ? r : forget_behind(dev, zone, rt, to, 0);
}

/* As zd_zone_store(), in a zone that may be overwritten. lost: a fault makes the next power cut take it. */
int zd_zone_store_over(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, struct zd_source *s, uint64_t n,
		       bool lost, uint64_t *done)
{
	uint64_t last = n > ZD_IO_CHUNK ? zd_now() : 0;
	int r = 0;

	*done = 0;
	/* Before anything changes, so that a flush finds it even if its writer is killed before it can be published. */
	zd_set_dirty(dev, zone);
	if (zd_asked(zd_view_has(dev, zone)))
		r = zd_view_own(dev, zone, rt);
	if (!r)
		r = forget_behind(dev, zone, rt, rel, n);
	while (!r && *done < n) {
		uint64_t part = n - *done < ZD_IO_CHUNK ? n - *done : ZD_IO_CHUNK, landed;

		if (zd_asked(dev->g.keeps_pre))
			r = zd_pre_log(dev, zone, rt, rel + *done, part, lost);
		if (r)
			break;
		r = zd_zone_store(dev, rt, zone, rel + *done, s, part, &landed);
		if (lost && landed && zd_pre_lose(dev, zone, rel + *done, landed))
			r = -EIO;
		*done += landed;
		if (!r && *done < n && zd_interrupted(dev, &last))
			r = -EINTR;
	}
	return r;
}

/* Bytes of a conventional zone become a hole, whatever they held. */
static int drop_blocks(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, uint64_t n, bool lost)
{
	int r;

	zd_set_dirty(dev, zone);
	r = zd_asked(zd_view_has(dev, zone)) ? zd_view_own(dev, zone, rt) : 0;
	if (!r && dev->g.keeps_pre)
		r = zd_pre_log(dev, zone, rt, rel, n, lost);
	if (!r && rt->slot && dev->slots[rt->slot - 1].pinned > rel)
		r = zd_slot_unshare(dev, zone, rt);
	if (!r && rt->slot)
		r = zd_slot_clear(dev, rt->slot - 1, rel, rel + n);
	if (!r && lost && zd_pre_lose(dev, zone, rel, n))
		r = -EIO;
	return r;
}

int zd_zone_zero(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, uint64_t n, bool drop, bool lost,
		 uint64_t *done)
{
	static const uint8_t zeros[65536];
	uint64_t last = zd_now();
	int r = 0;

	*done = 0;
	while (!r && *done < n) {
		uint64_t left = n - *done, part = drop ? ZD_IO_CHUNK : sizeof(zeros), landed;

		part = left < part ? left : part;
		if (drop) {
			r = drop_blocks(dev, rt, zone, rel + *done, part, lost);
			landed = r ? 0 : part;
		} else {
			const struct iovec one = { (void *)(uintptr_t)zeros, part };
			struct zd_source from = { &one, 1, 0 };

			r = zd_zone_store_over(dev, rt, zone, rel + *done, &from, part, lost, &landed);
		}
		*done += landed;
		if (!r && *done < n && zd_interrupted(dev, &last))
			r = -EINTR;
	}
	return r;
}

static int filler(const zd_dev *dev, int type, uint64_t word)
{
	return zd_rule_filler(dev->g.h.dialect, type, zd_word_cond(word, type), word & ZD_W_FINISHED);
}

int zd_zone_load(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to, uint64_t n)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	int type = zd_zone_type(dev, zone), r = 0;
	bool locked = type != ZD_SEQ_WRITE_REQUIRED && !dev->readonly, same;
	uint32_t gen;

again:
	if (unlikely(!rt)) {
		memset(to, filler(dev, type, 0), n);
		return 0;
	}
	if (locked) {
		r = zd_lock_zone(dev, zone);
		if (r)
			return r;
	}
	do {
		uint64_t word, valid;
		uint32_t slot;

		gen = atomic_load_explicit(&rt->gen, memory_order_acquire);
		word = atomic_load_explicit(&rt->word, memory_order_acquire);
		if (zd_asked(word & ZD_W_ZRWA) && !locked && !dev->readonly) {
			locked = true; /* it may be overwritten, too */
			goto again;
		}
		slot = atomic_load_explicit(&rt->slot, memory_order_acquire);
		valid = type == ZD_CONVENTIONAL ? UINT64_MAX : zd_word_written(word);
		valid = valid > rel ? valid - rel : 0;
		if (valid > n)
			valid = n;
		if (valid && zd_asked(dev->view))
			r = zd_view_load(dev, zone, slot, rel, to, valid);
		else if (valid && slot)
			r = zd_load(dev, slot - 1, rel, to, valid);
		else if (valid)
			memset(to, 0, valid);
		if (valid < n)
			memset(to + valid, filler(dev, type, word), n - valid);
#ifndef ZD_TSAN /* which knows no fences, and takes the copy on trust (see fetch) */
		atomic_thread_fence(memory_order_acquire);
#endif
		/* Its data is still there, and still in that slot? */
		same = gen == atomic_load_explicit(&rt->gen, memory_order_relaxed) &&
		       slot == atomic_load_explicit(&rt->slot, memory_order_relaxed);
	} while (unlikely(!same));
	if (locked)
		zd_unlock_zone(dev, zone);
	return r;
}

/* In pieces, by way of a copy: what no slot of this disk holds, or no block of the host that is surely there. */
static int give_pieces(zd_dev *dev, uint32_t zone, uint64_t rel, const struct zd_mover *mover, uint64_t at, uint64_t n)
{
	uint8_t piece[ZD_MOVE_PIECE];
	int r = 0;

	while (!r && n) {
		uint64_t step = n < sizeof(piece) ? n : sizeof(piece);

		r = zd_zone_load(dev, zone, rel, piece, step);
		if (!r)
			r = mover->give(mover, at, piece, step);
		rel += step;
		at += step;
		n -= step;
	}
	return r;
}

int zd_zone_give(zd_dev *dev, uint32_t zone, uint64_t rel, const struct zd_mover *mover, uint64_t at, uint64_t n)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	int type = zd_zone_type(dev, zone), r = 0;
	bool locked = type != ZD_SEQ_WRITE_REQUIRED && !dev->readonly, same;
	uint64_t direct;

	if (!rt || dev->view)
		return give_pieces(dev, zone, rel, mover, at, n);
again:
	if (locked) {
		r = zd_lock_zone(dev, zone);
		if (r)
			return r;
	}
	do {
		uint32_t gen = atomic_load_explicit(&rt->gen, memory_order_acquire);
		uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire);
		uint32_t slot = atomic_load_explicit(&rt->slot, memory_order_acquire);
		uint64_t valid = type == ZD_CONVENTIONAL ? UINT64_MAX : zd_word_written(word);
		const uint8_t *from;

		if ((word & ZD_W_ZRWA) && !locked && !dev->readonly) {
			locked = true;
			goto again;
		}
		valid = valid > rel ? valid - rel : 0;
		direct = valid && slot ? zd_slot_there(dev, slot - 1, rel, valid < n ? valid : n, &from) : 0;
		if (direct)
			r = mover->give(mover, at, from, direct);
#ifndef ZD_TSAN /* as in zd_zone_load() */
		atomic_thread_fence(memory_order_acquire);
#endif
		same = gen == atomic_load_explicit(&rt->gen, memory_order_relaxed) &&
		       slot == atomic_load_explicit(&rt->slot, memory_order_relaxed);
	} while (unlikely(!same) && !r);
	if (locked)
		zd_unlock_zone(dev, zone);
	return r || direct == n ? r : give_pieces(dev, zone, rel + direct, mover, at + direct, n - direct);
}

int zd_zone_flip(zd_dev *dev, uint64_t offset, unsigned bit)
{
	uint32_t zone = zd_zone_of(dev, offset), slot;
	uint64_t rel = offset - zd_zone_start(dev, zone);
	uint8_t byte, *at;
	int r = zd_lock_zone(dev, zone);

	if (r)
		return r;
	if (zd_zone_peek(dev, zone) && dev->view && zd_view_has(dev, zone))
		r = zd_view_own(dev, zone, &dev->zones[zone]);
	slot = zd_zone_peek(dev, zone) ? dev->zones[zone].slot : 0;
	if (!r && slot && dev->slots[slot - 1].pinned > rel) {
		r = zd_slot_unshare(dev, zone, &dev->zones[zone]);
		slot = dev->zones[zone].slot;
	}
	if (r) {
		zd_unlock_zone(dev, zone);
		return r;
	}
	if (slot && rel < dev->slots[slot - 1].filled && !dev->cow && zd_slot_map(dev, slot - 1, &at) == 0) {
		byte = at[rel] ^ (uint8_t)(1u << bit);
		zd_store(at + rel, &byte, 1);
	} else if (slot) {
		r = zd_host_pread(dev->fd, &byte, 1, zd_slot_offset(dev, slot - 1) + rel);
		byte ^= (uint8_t)(1u << bit);
		if (!r)
			r = zd_store_bytes(dev, slot - 1, rel, &byte, 1);
	}
	zd_unlock_zone(dev, zone);
	return r;
}
