/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a slot: to it, from it, and zeros. Blocks that the host has surely got go by the mapping, which costs no system
 * call; all others by pwrite and pread, whose failure is an error and no SIGBUS.
 */
#include "device/store/store.h"

static void advance(struct zd_source *s, uint64_t n)
{
	while (n) {
		size_t left = s->iov->iov_len - s->skip;

		if (n < left) {
			s->skip += n;
			return;
		}
		n -= left;
		s->iov++;
		s->n--;
		s->skip = 0;
	}
}

void zd_source_skip(struct zd_source *s, uint64_t n)
{
	if (s->n < 0)
		s->n -= (int)(n / 512);
	else
		advance(s, n);
}

/* To the next buffer that has something left: empty ones stand wherever a caller put them. True: a mover has it. */
static inline bool source_settle(struct zd_source *s)
{
	while (unlikely(s->iov->iov_len == s->skip)) {
		if (s->n < 0)
			return true;
		s->iov++;
		s->n--;
		s->skip = 0;
	}
	return false;
}

static __attribute__((noinline, cold)) int source_take(struct zd_source *s, uint8_t *to, uint64_t n)
{
	const struct zd_mover *mover = s->iov->iov_base;
	int r = mover->take(mover, zd_source_moved(s), to, n);

	zd_source_skip(s, n);
	return r;
}

static inline int source_copy(struct zd_source *s, uint8_t *to, uint64_t n)
{
	while (n) {
		size_t left, step;

		if (source_settle(s))
			return source_take(s, to, n);
		left = s->iov->iov_len - s->skip;
		step = n < left ? n : left;
		zd_store(to, (const uint8_t *)s->iov->iov_base + s->skip, step);
		to += step;
		n -= step;
		advance(s, step);
	}
	return 0;
}

/* Where the host may have no block yet a copy in between is needed: the mover must not be the one who finds it full. */
static __attribute__((noinline, cold)) int source_pass(struct zd_source *s, int fd, uint64_t offset, uint64_t n, uint64_t *done)
{
	uint8_t piece[ZD_MOVE_PIECE];
	int r = 0;

	while (!r && n) {
		uint64_t step = n < sizeof(piece) ? n : sizeof(piece);

		r = source_take(s, piece, step);
		if (!r)
			r = zd_host_pwrite(fd, piece, step, offset);
		if (r)
			break;
		offset += step;
		*done += step;
		n -= step;
	}
	return r;
}

static int source_pwrite(struct zd_source *s, int fd, uint64_t offset, uint64_t n, uint64_t *done)
{
	int r = 0;

	*done = 0;
	while (!r && n) {
		struct iovec part[16];
		uint64_t in_part = 0, landed;
		int i;

		if (source_settle(s))
			return source_pass(s, fd, offset, n, done);
		for (i = 0; i < 16 && i < s->n && in_part < n; i++) {
			size_t skip = i ? 0 : s->skip, left = s->iov[i].iov_len - skip;

			part[i].iov_base = (uint8_t *)s->iov[i].iov_base + skip;
			part[i].iov_len = left < n - in_part ? left : n - in_part;
			in_part += part[i].iov_len;
		}
		r = zd_host_pwritev(fd, part, i, offset, &landed);
		advance(s, landed);
		offset += landed;
		*done += landed;
		n -= landed;
	}
	return r;
}

/* n bytes to rel in a slot, under its zone's stripe. Blocks that exist go by the mapping, others by pwrite. */
int zd_store_part(zd_dev *dev, uint32_t slot, uint64_t rel, struct zd_source *s, uint64_t n, uint64_t *done)
{
	_Atomic uint64_t *mark = &dev->slots[slot].filled;
	uint64_t filled = atomic_load_explicit(mark, memory_order_relaxed);
	uint64_t below = rel < filled && !dev->cow ? (n < filled - rel ? n : filled - rel) : 0;
	uint8_t *at;
	int r = 0;

	if (below && likely(zd_slot_map(dev, slot, &at) == 0))
		r = source_copy(s, at + rel, below);
	else
		below = 0;
	*done = below;
	if (unlikely(r))
		return r;
	if (below < n) {
		uint64_t landed, end;

		r = source_pwrite(s, dev->fd, zd_slot_offset(dev, slot) + rel + below, n - below, &landed);
		*done += landed;
		end = rel + below + landed;
		if (rel + below <= filled && end > filled)
			atomic_store_explicit(mark, end, memory_order_release);
	}
	return r;
}

int zd_store_bytes(zd_dev *dev, uint32_t slot, uint64_t rel, const uint8_t *from, uint64_t n)
{
	int r = zd_store_once(dev, slot, rel, from, n);

	return unlikely(r) && zd_slots_gave(dev, r) ? zd_store_once(dev, slot, rel, from, n) : r;
}

int zd_store_once(zd_dev *dev, uint32_t slot, uint64_t rel, const uint8_t *from, uint64_t n)
{
	const struct iovec one = { (void *)(uintptr_t)from, n };
	struct zd_source s = { &one, 1, 0 };
	uint64_t done;

	return zd_store_part(dev, slot, rel, &s, n, &done);
}

#ifdef ZD_TSAN
/* A reader may copy bytes that a reset has just given away, and then throws them out: a race by design. */
__attribute__((no_sanitize("thread"), noinline)) static void fetch(uint8_t *to, const uint8_t *from, uint64_t n)
{
	const volatile uint8_t *f = from;

	while (n--)
		*to++ = *f++;
}
#else
static inline void fetch(uint8_t *to, const uint8_t *from, uint64_t n)
{
	memcpy(to, from, n);
}
#endif

int zd_load(zd_dev *dev, uint32_t slot, uint64_t rel, uint8_t *to, uint64_t n)
{
	uint64_t filled, below;
	uint8_t *at;

	/* A reader may look at what another user has open: nothing said there leads out of the tables and mappings. */
	if (unlikely(slot >= dev->g.max_slots || rel + n > dev->g.h.slot_size))
		return -EIO;
	filled = atomic_load_explicit(&dev->slots[slot].filled, memory_order_acquire);
	below = rel < filled ? (n < filled - rel ? n : filled - rel) : 0;
	if (below && likely(zd_slot_map(dev, slot, &at) == 0))
		fetch(to, at + rel, below);
	else
		below = 0;
	/* A hole must not be touched through the mapping: that could need a block that the host has not got. */
	return below < n ? zd_host_pread(dev->fd, to + below, n - below, zd_slot_offset(dev, slot) + rel + below) : 0;
}

uint64_t zd_slot_there(zd_dev *dev, uint32_t slot, uint64_t rel, uint64_t n, const uint8_t **at)
{
	uint64_t filled;
	uint8_t *base;

	if (slot >= dev->g.max_slots || rel + n > dev->g.h.slot_size) /* as in zd_load() */
		return 0;
	filled = atomic_load_explicit(&dev->slots[slot].filled, memory_order_acquire);
	if (rel >= filled || zd_slot_map(dev, slot, &base))
		return 0;
	*at = base + rel;
	return n < filled - rel ? n : filled - rel;
}

/* Bytes from .. to-1 of a slot, of a zone that may be overwritten, become zeros that need no room on the host. */
int zd_slot_clear(zd_dev *dev, uint32_t slot, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[ZD_PAGE];
	_Atomic uint64_t *mark = &dev->slots[slot].filled;
	uint64_t n;
	int r = 0;

	for (n = *mark < to ? *mark : to; from < n && from % ZD_PAGE && !r; from += dev->g.h.logical_block)
		r = zd_store_bytes(dev, slot, from, zeros, dev->g.h.logical_block);
	if (r || from >= to)
		return r;
	/* The mark first, as a mark beyond a hole would lead to a store that needs a block. */
	if (*mark > from)
		*mark = from;
	r = zd_host_punch(dev->fd, zd_slot_offset(dev, slot) + from, to - from);
	for (; r == -EOPNOTSUPP && from < to; from += n) {
		n = to - from < ZD_PAGE ? to - from : ZD_PAGE;
		r = zd_host_pwrite(dev->fd, zeros, n, zd_slot_offset(dev, slot) + from);
		r = r ? r : from + n < to ? -EOPNOTSUPP : 0;
	}
	return r;
}
