/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a slot: to it, from it, and zeros. Blocks that the host has surely got go by the mapping, which costs no system
 * call; all others by pwrite and pread, whose failure is an error and no SIGBUS.
 */
#include "device/store/store.h"

void zd_source_advance(struct zd_source *s, uint64_t n)
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

/* To the next buffer that has something left: empty ones stand wherever a caller put them. */
static inline void source_settle(struct zd_source *s)
{
	while (s->iov->iov_len == s->skip) {
		s->iov++;
		s->n--;
		s->skip = 0;
	}
}

static void source_copy(struct zd_source *s, uint8_t *to, uint64_t n)
{
	while (n) {
		size_t left, step;

		source_settle(s);
		left = s->iov->iov_len - s->skip;
		step = n < left ? n : left;
		zd_store(to, (const uint8_t *)s->iov->iov_base + s->skip, step);
		to += step;
		n -= step;
		zd_source_advance(s, step);
	}
}

static int source_pwrite(struct zd_source *s, int fd, uint64_t offset, uint64_t n, uint64_t *done)
{
	int r = 0;

	*done = 0;
	while (!r && n) {
		struct iovec part[16];
		uint64_t in_part = 0, landed;
		int i;

		source_settle(s);
		for (i = 0; i < 16 && i < s->n && in_part < n; i++) {
			size_t skip = i ? 0 : s->skip, left = s->iov[i].iov_len - skip;

			part[i].iov_base = (uint8_t *)s->iov[i].iov_base + skip;
			part[i].iov_len = left < n - in_part ? left : n - in_part;
			in_part += part[i].iov_len;
		}
		r = zd_host_pwritev(fd, part, i, offset, &landed);
		zd_source_advance(s, landed);
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
		source_copy(s, at + rel, below);
	else
		below = 0;
	*done = below;
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
