/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: check the rules, move the bytes, publish the write pointer.
 *
 * A write holds its zones' stripes. A read of sequential zones holds nothing: it copies and then looks whether
 * the zone's generation is still the same, as only a reset makes written bytes change. A read of zones that may
 * be overwritten holds the stripe, so that it never sees half a write.
 */
#include "internal.h"

#include <sys/uio.h>

/* What is still to be written. */
struct source {
	const struct iovec *iov;
	int n;
	size_t skip; /* bytes of iov[0] already taken */
};

static void source_advance(struct source *s, uint64_t n)
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
static inline void source_settle(struct source *s)
{
	while (s->iov->iov_len == s->skip) {
		s->iov++;
		s->n--;
		s->skip = 0;
	}
}

static void source_copy(struct source *s, uint8_t *to, uint64_t n)
{
	while (n) {
		size_t left, step;

		source_settle(s);
		left = s->iov->iov_len - s->skip;
		step = n < left ? n : left;
		zd_store(to, (const uint8_t *)s->iov->iov_base + s->skip, step);
		to += step;
		n -= step;
		source_advance(s, step);
	}
}

static int source_pwrite(struct source *s, int fd, uint64_t offset, uint64_t n, uint64_t *done)
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
		source_advance(s, landed);
		offset += landed;
		*done += landed;
		n -= landed;
	}
	return r;
}

/* ---------------------------------------------------------------- the store */

/* n bytes to rel in a slot, under its zone's stripe. Blocks that exist go by the mapping, others by pwrite. */
static int store_part(zd_dev *dev, uint32_t slot, uint64_t rel, struct source *s, uint64_t n, uint64_t *done)
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
	struct source s = { &one, 1, 0 };
	uint64_t done;

	return store_part(dev, slot, rel, &s, n, &done);
}

/*
 * *done: how much landed. -EINTR when the hook said so: what landed counts. Other errors: the host failed,
 * and what landed lies beyond any write pointer.
 */
static int store(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, struct source *s, uint64_t n,
		 uint64_t *done)
{
	uint64_t last = 0;
	int r = 0;

	*done = 0;
	if (dev->g.h.data == ZD_NO_DATA) {
		source_advance(s, n);
		*done = n;
		return 0;
	}
	if (unlikely(!rt->slot))
		r = zd_slot_assign(dev, zone, rt);
	else if (zd_asked(dev->slots[rt->slot - 1].pinned > rel))
		r = zd_slot_unshare(dev, zone, rt);
	if (n > ZD_IO_CHUNK)
		last = zd_now();
	while (!r && *done < n) {
		uint64_t part = n - *done < ZD_IO_CHUNK ? n - *done : ZD_IO_CHUNK, landed;

		r = store_part(dev, rt->slot - 1, rel + *done, s, part, &landed);
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

/* As store(), in a zone that may be overwritten. lost: a fault makes the next power cut take it. */
static int store_over(zd_dev *dev, struct zd_zone_rt *rt, uint32_t zone, uint64_t rel, struct source *s, uint64_t n,
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
		r = store(dev, rt, zone, rel + *done, s, part, &landed);
		if (lost && landed && zd_pre_lose(dev, zone, rel + *done, landed))
			r = -EIO;
		*done += landed;
		if (!r && *done < n && zd_interrupted(dev, &last))
			r = -EINTR;
	}
	return r;
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

/* ---------------------------------------------------------------- common checks */

static int check_range(zd_dev *dev, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	uint64_t bound;
	int r = zd_check_range(&dev->g.book, offset, length, &bound);

	if (unlikely(r))
		return zd_refuse(dev, err, r, cmd, offset < dev->g.h.size ? zd_zone_of(dev, offset) : ZD_NO_ZONE, offset, length, bound);
	return 0;
}

static void zone_now(const void *disk, uint32_t zone, struct zd_rule_zone *z)
{
	const zd_dev *dev = disk;

	zd_zone_as(dev, zone, zd_load_word(dev, zone), z);
}

/* What the rules said of a command. */
static int told(zd_dev *dev, const struct zd_ruling *v, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	if (likely(!v->rule))
		return 0;
	if (v->rule == ZD_E_CORRUPT)
		return zd_fail(err, ZD_E_CORRUPT, "zone %u has a condition that its type cannot have", v->zone);
	return zd_refuse(dev, err, v->rule, cmd, v->zone, offset, length, v->bound);
}

static int begin_change(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (likely(!r) && unlikely(dev->readonly))
		r = zd_fail(err, ZD_E_READONLY_HANDLE, "the device is open read-only");
	if (likely(!r) && unlikely(atomic_load_explicit(&dev->head->gate, memory_order_acquire)))
		r = zd_gate(dev, true, err);
	return r;
}

static int host_failed(zd_dev *dev, struct zd_error *err, int r, uint32_t zone)
{
	const char *what = "the host could not store the data; the zone is as it was";

	if (r == -EINTR)
		what = "interrupted";
	else if (r == -ENOSPC && dev->head->nr_slots >= dev->g.max_slots)
		what = "snapshots and forks keep so much that there is no place for more data: close some; the zone is as it was";
	zd_fail_host(err, -r, what);
	if (err)
		err->zone = zone;
	return r;
}

/* As host_failed(), of a write that counts as not done. partly: blocks that were written before are overwritten. */
static int overwrote(zd_dev *dev, struct zd_error *err, int r, uint32_t zone, bool partly, uint64_t *done)
{
	*done = 0;
	if (!partly || r == -EINTR)
		return host_failed(dev, err, r, zone);
	zd_fail_host(err, -r, "the host could not store all of the data; the blocks that were overwritten hold the old data or the new");
	if (err)
		err->zone = zone;
	return r;
}

/* ---------------------------------------------------------------- writing */

struct write {
	int cmd;
	uint64_t offset, length; /* the whole command, for errors */
	struct source source;
	bool counted, lost; /* lost: a fault makes the next power cut take it */
};

static int refuse_write(zd_dev *dev, struct zd_error *err, int code, const struct write *w, uint32_t zone, uint64_t bound)
{
	return zd_refuse(dev, err, code, w->cmd, zone, w->offset, w->length, bound);
}

/* Under the stripe: take what opening needs and make the zone implicitly open, with nothing written yet. */
static int open_for_write(zd_dev *dev, const struct write *w, uint32_t zone, struct zd_zone_rt *rt, int cond,
			  const struct zd_cell *cell, struct zd_error *err)
{
	uint64_t word;
	int r = zd_lock_resource(dev);

	if (r)
		return host_failed(dev, err, r, zone);
	r = zd_take_resources(dev, cell->effects);
	if (r) {
		zd_unlock_resource(dev);
		return refuse_write(dev, err, r, w, zone, zd_rule_limit(&dev->g.book, r));
	}
	word = atomic_load_explicit(&rt->word, memory_order_relaxed);
	atomic_store_explicit(&rt->word, zd_word_with_cond(word, ZD_IMPLICIT_OPEN), memory_order_release);
	zd_account(dev, zone, cond, ZD_IMPLICIT_OPEN);
	zd_count32(&rt->implicit_opens, 1);
	zd_unlock_resource(dev);
	return 0;
}

/* Nothing could be published: give the resources back, and a slot that holds nothing. */
static void undo_open(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, int cond)
{
	uint64_t word;

	if (!zd_lock_resource_surely(dev))
		return; /* then it stays open, which it may be */
	word = atomic_load_explicit(&rt->word, memory_order_relaxed);
	/* Another opener may have taken the resource away meanwhile. */
	if (zd_word_cond(word, ZD_SEQ_WRITE_REQUIRED) == ZD_IMPLICIT_OPEN) {
		atomic_store_explicit(&rt->word, zd_word_with_cond(word, cond), memory_order_release);
		zd_account(dev, zone, ZD_IMPLICIT_OPEN, cond);
		zd_count32(&rt->implicit_opens, (uint32_t)-1);
	}
	if (zd_word_written(word) == 0)
		zd_slot_release(dev, zone, rt);
	zd_unlock_resource(dev);
}

/* A write that is not published leaves no mark; its bytes lie behind the pointer, where forget_behind() finds them. */
static void give_up(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, bool opened, int before)
{
	if (zd_zone_type(dev, zone) == ZD_SEQ_WRITE_PREFERRED)
		zd_pre_trim(dev, zone);
	if (opened)
		undo_open(dev, zone, rt, before);
}

/* Publish `written`. -EAGAIN: the zone was closed to EMPTY under our hands and must be opened anew. */
static int publish(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, uint64_t written, uint64_t flags)
{
	uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire);
	int type = zd_zone_type(dev, zone), cond, r;

	zd_set_dirty(dev, zone);
	if (likely(written < zd_zone_capacity(dev, zone))) {
		do {
			if (zd_word_cond(word, type) == ZD_EMPTY)
				return -EAGAIN;
		} while (!atomic_compare_exchange_weak_explicit(&rt->word, &word, zd_word_with_written(word, written) | flags,
								memory_order_acq_rel, memory_order_acquire));
		return 0;
	}
	r = zd_lock_resource(dev);
	if (r)
		return r;
	word = atomic_load_explicit(&rt->word, memory_order_acquire);
	cond = zd_word_cond(word, type);
	word = zd_word_with_written(zd_word_with_cond(word, ZD_FULL), written) | flags;
	if (word & ZD_W_NON_SEQ)
		word |= ZD_W_RESET_REC; /* a reset would free what its disorder costs (ZBC-2 4.5.3.3.4 leaves when to us) */
	atomic_store_explicit(&rt->word, word, memory_order_release);
	zd_account(dev, zone, cond, ZD_FULL);
	zd_unlock_resource(dev);
	return 0;
}

/* A command counts once, in its first zone; bytes count where they fall. */
static void count_write(struct zd_zone_rt *rt, struct write *w, uint64_t n)
{
	if (!w->counted)
		zd_count64(w->cmd == ZD_CMD_APPEND ? &rt->appends : &rt->writes, 1);
	w->counted = true;
	zd_count64(&rt->bytes_written, n);
}

/*
 * One part of a write, within one sequential zone, checked, under its stripe. *done bytes landed and count;
 * with a host error none of them does.
 */
static int write_seq_part(zd_dev *dev, struct write *w, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint64_t n,
			  uint64_t *done, struct zd_error *err)
{
	int type = zd_zone_type(dev, zone), r, before;
	struct source at_start = w->source;

	*done = 0;
	for (;;) {
		uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire), written = zd_word_written(word), flags = 0;
		int cond = zd_word_cond(word, type);
		const struct zd_cell *cell = zd_cell(dev->g.h.dialect, type, cond, w->cmd);
		bool opens = cell->next == ZD_NEXT_IMPLICIT_OPEN && cond != ZD_IMPLICIT_OPEN;

		before = cond;
		if (unlikely(opens)) {
			r = open_for_write(dev, w, zone, rt, cond, cell, err);
			if (r)
				return r;
		}
		r = likely(type == ZD_SEQ_WRITE_REQUIRED) ? store(dev, rt, zone, rel, &w->source, n, done) :
							    store_over(dev, rt, zone, rel, &w->source, n, w->lost, done);
		if (unlikely(r && !(r == -EINTR && *done))) {
			give_up(dev, zone, rt, opens, before);
			return overwrote(dev, err, r, zone, rel < written && *done, done);
		}
		if ((cell->effects & ZD_FX_NON_SEQ) && rel != written)
			flags = ZD_W_NON_SEQ;
		if (rel + *done > written)
			written = rel + *done;
		if (unlikely(cond == ZD_FULL)) {
			/* A FULL preferred zone is overwritten. Its write pointer is past the end, so never in sequence. */
			word = zd_word_with_written(word, written) | ZD_W_NON_SEQ | ZD_W_RESET_REC;
			atomic_store_explicit(&rt->word, word, memory_order_release);
			zd_set_dirty(dev, zone);
		} else {
			int p = publish(dev, zone, rt, written, flags);

			if (unlikely(p == -EAGAIN)) {
				w->source = at_start;
				continue;
			}
			if (p) {
				give_up(dev, zone, rt, opens, before);
				return overwrote(dev, err, p, zone, rel < zd_word_written(word), done);
			}
		}
		count_write(rt, w, *done);
		return r ? host_failed(dev, err, r, zone) : 0;
	}
}

/* The limits, for a command of which nothing will be transferred. */
static int ask_to_open(zd_dev *dev, const struct write *w, uint32_t zone, const struct zd_cell *cell, struct zd_error *err)
{
	int r = zd_ask_resources(dev, cell->effects);

	return r ? refuse_write(dev, err, r, w, zone, zd_rule_limit(&dev->g.book, r)) : 0;
}

/* t: as which command it is recorded; a constant NULL on the way that all take while nobody records. */
static inline __attribute__((always_inline)) int64_t required_write(zd_dev *dev, struct write *w, uint32_t zone, uint64_t *landed,
								    struct zd_traced *t, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	struct zd_rule_zone z;
	uint64_t rel, done = 0, start = zd_zone_start(dev, zone), part = t ? t->part : w->length, bound;
	const struct zd_cell *cell;
	int r = zd_lock_zone(dev, zone);

	if (unlikely(r))
		return host_failed(dev, err, r, zone);
	if (zd_powerless(dev)) {
		r = zd_stopped(dev, err);
		goto out;
	}
	r = zd_zone_get(dev, zone, &rt);
	if (unlikely(r) && zd_slots_gave(dev, r))
		r = zd_zone_get(dev, zone, &rt);
	if (unlikely(r)) {
		host_failed(dev, err, r, zone);
		goto out;
	}
	zd_zone_as(dev, zone, atomic_load_explicit(&rt->word, memory_order_acquire), &z);
	rel = w->cmd == ZD_CMD_APPEND ? z.written : w->offset - start;
	cell = zd_cell(dev->g.h.dialect, z.type, z.cond, w->cmd);
	r = zd_check_write(&dev->g.book, &z, cell, w->cmd, rel, w->length, &bound);
	if (unlikely(r))
		refuse_write(dev, err, r, w, zone, bound);
	else if (t && !part && w->length)
		r = ask_to_open(dev, w, zone, cell, err);
	if (likely(!r) && part)
		r = write_seq_part(dev, w, zone, rt, rel, part, &done, err);
	if (landed)
		*landed = start + rel;
	if (t) {
		t->r.done = done;
		if (w->cmd == ZD_CMD_APPEND && !r && (done || !w->length))
			t->r.landed = start + rel;
	}
out:
	if (t)
		zd_trace_effect(dev, t, r, err);
	zd_unlock_zone(dev, zone);
	return r ? r : (int64_t)done;
}

static int64_t write_required(zd_dev *dev, struct write *w, uint32_t zone, uint64_t *landed, struct zd_error *err)
{
	return required_write(dev, w, zone, landed, NULL, err);
}

static __attribute__((noinline, cold)) int64_t write_required_traced(zd_dev *dev, struct write *w, uint32_t zone, uint64_t *landed,
								     struct zd_traced *t, struct zd_error *err)
{
	return required_write(dev, w, zone, landed, t, err);
}

/* All zones of a write that may go anywhere in its zones and over their borders. */
static int check_over(zd_dev *dev, const struct write *w, uint32_t first, uint32_t last, struct zd_error *err)
{
	struct zd_ruling v;

	zd_check_write_over(&dev->g.book, zone_now, dev, first, last, w->offset, w->length, &v);
	return told(dev, &v, w->cmd, w->offset, w->length, err);
}

/* Before a write to preferred zones opens any of them, each has its place. */
static int get_zones(zd_dev *dev, uint32_t first, uint32_t last, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	uint32_t zone;
	int r = 0;

	for (zone = first; !r && zone <= last; zone++) {
		r = zd_zone_get(dev, zone, &rt);
		if (r && zd_slots_gave(dev, r))
			r = zd_zone_get(dev, zone, &rt);
		if (r)
			host_failed(dev, err, r, zone);
	}
	return r;
}

/* All is checked before anything is written. */
static int64_t write_preferred(zd_dev *dev, struct write *w, struct zd_traced *t, struct zd_error *err)
{
	uint32_t first = zd_zone_of(dev, w->offset), last = zd_zone_of(dev, w->offset + w->length - 1), zone;
	uint64_t at = w->offset, end = w->offset + (t ? t->part : w->length), total = 0;
	int r = zd_lock_zones(dev, first, last);

	if (r)
		return host_failed(dev, err, r, first);
	r = zd_powerless(dev) ? zd_stopped(dev, err) : check_over(dev, w, first, last, err);
	if (!r)
		r = get_zones(dev, first, last, err);
	for (zone = first; !r && at < end; zone++) {
		uint64_t start = zd_zone_start(dev, zone), zone_end = start + zd_zone_length(dev, zone);
		uint64_t n = (end < zone_end ? end : zone_end) - at, done;

		r = write_seq_part(dev, w, zone, &dev->zones[zone], at - start, n, &done, err);
		at += done;
		total += done;
	}
	if (t) {
		t->r.done = total;
		zd_trace_effect(dev, t, r, err);
	}
	zd_unlock_zones(dev, first, last);
	return r ? r : (int64_t)total;
}

static int64_t write_conventional(zd_dev *dev, struct write *w, struct zd_traced *t, struct zd_error *err)
{
	uint32_t first = zd_zone_of(dev, w->offset), last = zd_zone_of(dev, w->offset + w->length - 1), zone;
	uint64_t at = w->offset, end = w->offset + (t ? t->part : w->length), total = 0;
	int r = zd_lock_zones(dev, first, last);

	if (r)
		return host_failed(dev, err, r, first);
	r = zd_powerless(dev) ? zd_stopped(dev, err) : check_over(dev, w, first, last, err);
	for (zone = first; !r && at < end; zone++) {
		uint64_t start = zd_zone_start(dev, zone), zone_end = start + zd_zone_length(dev, zone);
		uint64_t n = (end < zone_end ? end : zone_end) - at, done = 0;
		struct zd_zone_rt *rt;

		r = zd_zone_get(dev, zone, &rt);
		if (r && zd_slots_gave(dev, r))
			r = zd_zone_get(dev, zone, &rt);
		if (!r) {
			r = store_over(dev, rt, zone, at - start, &w->source, n, w->lost, &done);
			count_write(rt, w, done);
		}
		at += done;
		total += done;
		if (r)
			overwrote(dev, err, r, zone, total, &done);
	}
	if (t) {
		t->r.done = total;
		zd_trace_effect(dev, t, r, err);
	}
	zd_unlock_zones(dev, first, last);
	return r ? r : (int64_t)total;
}

/* No room on the host: slots of zones that were reset may be held back only because no entry says so yet. */
static bool make_room(zd_dev *dev, int64_t r)
{
	return r == -ENOSPC && dev->head->nr_pending && zd_commit(dev, ZD_COMMIT_RESETS, NULL, NULL) == 0;
}

static int64_t write_now(zd_dev *dev, struct write *w, struct zd_error *err)
{
	uint32_t zone = zd_zone_of(dev, w->offset);

	if (unlikely(zd_is_conv(dev, zone)))
		return write_conventional(dev, w, NULL, err);
	if (likely(dev->g.h.model == ZD_HOST_MANAGED))
		return write_required(dev, w, zone, NULL, err);
	return write_preferred(dev, w, NULL, err);
}

static int64_t write_traced(zd_dev *dev, struct write *w, struct zd_traced *t, struct zd_error *err)
{
	uint32_t zone = zd_zone_of(dev, w->offset);

	if (zd_is_conv(dev, zone))
		return write_conventional(dev, w, t, err);
	if (dev->g.h.model == ZD_HOST_MANAGED)
		return write_required_traced(dev, w, zone, NULL, t, err);
	return write_preferred(dev, w, t, err);
}

/* What the rule book would say now, without the locks under which it says so. */
static bool is_refused(zd_dev *dev, const struct write *w)
{
	uint32_t zone = zd_zone_of(dev, w->offset), last = zd_zone_of(dev, w->offset + w->length - 1);
	const struct zd_cell *cell;
	struct zd_rule_zone z;
	uint64_t rel, bound;

	if (!(atomic_load(&dev->head->gate) & ZD_GATE_FAULTS))
		return false; /* nobody asks */
	zone_now(dev, zone, &z);
	if (w->cmd == ZD_CMD_WRITE && !zd_type_append_only(z.type))
		return check_over(dev, w, zone, last, &zd_asking) != 0;
	rel = w->cmd == ZD_CMD_APPEND ? z.written : w->offset - z.start;
	cell = zd_cell(dev->g.h.dialect, z.type, z.cond, w->cmd);
	return zd_check_write(&dev->g.book, &z, cell, w->cmd, rel, w->length, &bound) ||
	       zd_ask_resources(dev, cell->effects);
}

/* As write_iov(), with fault rules: they may shorten it, refuse it, hold it up, or spoil what it did. */
static int64_t write_met(zd_dev *dev, const struct iovec *iov, int n, uint64_t length, uint64_t offset, struct zd_traced *t,
			 struct zd_error *err)
{
	struct write w = { ZD_CMD_WRITE, offset, length, { iov, n, 0 }, false, false };
	struct zd_command c = { ZD_CMD_WRITE, 0, 0, offset, length, false };
	struct zd_hit hit;
	int64_t done = 0;
	int r = check_range(dev, ZD_CMD_WRITE, offset, length, err);

	if (r || length == 0)
		return r;
	c.first = zd_zone_of(dev, offset);
	c.last = zd_zone_of(dev, offset + length - 1);
	c.refused = is_refused(dev, &w);
	r = zd_fault_before(dev, &c, &hit, err);
	if (r)
		return r;
	t->held = zd_fault_decides_late(&c, &hit);
	t->part = hit.cut;
	w.lost = hit.kind == ZD_FAULT_LOST;
	done = write_traced(dev, &w, t, err);
	if (make_room(dev, done)) {
		w.source = (struct source){ iov, n, 0 };
		done = write_traced(dev, &w, t, err);
	}
	if (done >= 0 && hit.cut && dev->g.h.host_sync == ZD_SYNC_COMMAND) {
		r = zd_after_change(dev, err);
		if (r)
			return r;
	}
	if (done >= 0 && hit.cut < length)
		return zd_fault_medium(dev, &c, &hit, err);
	return zd_fault_after(dev, &c, &hit, done, offset, err);
}

static __attribute__((noinline, cold)) int64_t write_slowly(zd_dev *dev, const struct iovec *iov, int n, uint64_t length,
							    uint64_t offset, struct zd_error *err)
{
	struct zd_traced t;
	int r = zd_trace_begin(dev, &t, ZD_CMD_WRITE, ZD_NO_ZONE, offset, length, true, &err);

	return r ? r : zd_trace_end(dev, &t, write_met(dev, iov, n, length, offset, &t, err), err);
}

static int64_t write_iov(zd_dev *dev, const struct iovec *iov, int n, uint64_t length, uint64_t offset,
			 struct zd_error *err)
{
	struct write w = { ZD_CMD_WRITE, offset, length, { iov, n, 0 }, false, false };
	int64_t done;
	int r = begin_change(dev, err);

	if (likely(!r))
		r = check_range(dev, ZD_CMD_WRITE, offset, length, err);
	if (unlikely(r))
		return r == ZD_SLOW ? write_slowly(dev, iov, n, length, offset, err) : r;
	if (length == 0)
		return 0;
	done = write_now(dev, &w, err);
	if (unlikely(make_room(dev, done))) {
		w.source = (struct source){ iov, n, 0 };
		done = write_now(dev, &w, err);
	}
	if (done >= 0 && unlikely(dev->g.h.host_sync == ZD_SYNC_COMMAND)) {
		r = zd_after_change(dev, err);
		if (r)
			return r;
	}
	return done;
}

int64_t zd_pwrite(zd_dev *dev, const void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	struct iovec one = { (void *)(uintptr_t)buf, length };

	return write_iov(dev, &one, 1, length, offset, err);
}

int64_t zd_pwritev(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err)
{
	uint64_t length = 0;
	int i;

	if (iovcnt < 0)
		return zd_fail_host(err, EINVAL, "a negative number of buffers");
	for (i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > UINT64_MAX / 2 - length)
			return zd_fail_host(err, EINVAL, "the buffers are longer than a disk can be");
		length += iov[i].iov_len;
	}
	return write_iov(dev, iov, iovcnt, length, offset, err);
}

static inline __attribute__((always_inline)) int64_t append_now(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, bool lost,
								uint64_t *landed, struct zd_traced *t, struct zd_error *err)
{
	struct iovec one = { (void *)(uintptr_t)buf, length };
	struct write w = { ZD_CMD_APPEND, ZD_NONE, length, { &one, 1, 0 }, false, lost };
	const struct zd_header *h = &dev->g.h;
	uint64_t bound;
	int64_t done;
	int r;

	if (zone >= h->nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, ZD_CMD_APPEND, ZD_NO_ZONE, zone, length, h->nr_zones);
	w.offset = zd_zone_start(dev, zone);
	r = zd_check_append(&dev->g.book, zd_zone_type(dev, zone), length, &bound);
	if (unlikely(r))
		return zd_refuse(dev, err, r, ZD_CMD_APPEND, zone, w.offset, length, bound);
	done = t ? write_required_traced(dev, &w, zone, landed, t, err) : write_required(dev, &w, zone, landed, err);
	if (unlikely(make_room(dev, done))) {
		w.source = (struct source){ &one, 1, 0 };
		done = t ? write_required_traced(dev, &w, zone, landed, t, err) : write_required(dev, &w, zone, landed, err);
	}
	if (done >= 0 && unlikely(h->host_sync == ZD_SYNC_COMMAND)) {
		r = zd_after_change(dev, err);
		if (r)
			return r;
	}
	return done;
}

static int64_t append_traced(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, bool lost, uint64_t *landed,
			     struct zd_traced *t, struct zd_error *err)
{
	return append_now(dev, zone, buf, length, lost, landed, t, err);
}

/* As zd_append(), with fault rules. */
static int64_t append_met(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, uint64_t *landed, struct zd_traced *t,
			  struct zd_error *err)
{
	struct write w = { ZD_CMD_APPEND, ZD_NONE, length, { NULL, 0, 0 }, false, false };
	struct zd_command c = { ZD_CMD_APPEND, zone, zone, 0, length, false };
	uint64_t at = 0, start;
	struct zd_hit hit;
	int64_t done;
	int r;

	t->part = length;
	/* What can never be an append meets no rule. */
	if (zone >= dev->g.h.nr_zones || length == 0 || (length & dev->g.block_mask) || zd_is_conv(dev, zone))
		return append_traced(dev, zone, buf, length, false, landed, t, err);
	start = zd_zone_start(dev, zone);
	c.offset = start + zd_word_written(zd_load_word(dev, zone));
	if (c.offset + length > start + zd_zone_length(dev, zone))
		return append_traced(dev, zone, buf, length, false, landed, t, err);
	w.offset = start;
	c.refused = (dev->g.h.append_limit && length > dev->g.h.append_limit) || is_refused(dev, &w);
	r = zd_fault_before(dev, &c, &hit, err);
	if (r)
		return r;
	t->held = zd_fault_decides_late(&c, &hit);
	t->part = hit.cut;
	done = append_traced(dev, zone, buf, length, hit.kind == ZD_FAULT_LOST, &at, t, err);
	if (landed)
		*landed = hit.cut ? at : 0;
	if (done >= 0 && hit.cut < length) {
		c.offset = at;
		return zd_fault_medium(dev, &c, &hit, err);
	}
	return zd_fault_after(dev, &c, &hit, done, at, err);
}

static __attribute__((noinline, cold)) int64_t append_slowly(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length,
							     uint64_t *landed, struct zd_error *err)
{
	struct zd_traced t;
	int r = zd_trace_begin(dev, &t, ZD_CMD_APPEND, zone, ZD_NONE, length, true, &err);

	return r ? r : zd_trace_end(dev, &t, append_met(dev, zone, buf, length, landed, &t, err), err);
}

int64_t zd_append(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, uint64_t *landed, struct zd_error *err)
{
	int r = begin_change(dev, err);

	if (unlikely(r))
		return r == ZD_SLOW ? append_slowly(dev, zone, buf, length, landed, err) : r;
	return append_now(dev, zone, buf, length, false, landed, NULL, err);
}

int zd_reserve(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	static const uint8_t zeros[4096];
	struct write w = { ZD_CMD_WRITE, offset, length, { NULL, 0, 0 }, false, false };
	uint32_t zone = zd_zone_of(dev, offset < dev->g.h.size ? offset : 0);
	uint64_t rel = offset - zd_zone_start(dev, zone), bound, done = 0;
	struct zd_rule_zone z;
	struct zd_zone_rt *rt;
	int r = begin_change(dev, err), type = zd_zone_type(dev, zone);
	bool again = true;

	if (!r || r == ZD_SLOW)
		r = check_range(dev, ZD_CMD_WRITE, offset, length, err);
	if (r || type != ZD_SEQ_WRITE_REQUIRED)
		return r;
retry:
	r = zd_lock_zone(dev, zone);
	if (r)
		return host_failed(dev, err, r, zone);
	if (zd_powerless(dev)) {
		r = zd_stopped(dev, err);
		goto out;
	}
	r = zd_zone_get(dev, zone, &rt);
	if (r) {
		host_failed(dev, err, r, zone);
		goto out;
	}
	zd_zone_as(dev, zone, rt->word, &z);
	r = zd_check_write(&dev->g.book, &z, zd_cell(dev->g.h.dialect, type, z.cond, ZD_CMD_WRITE), ZD_CMD_WRITE, rel, length, &bound);
	if (r)
		refuse_write(dev, err, r, &w, zone, bound);
	/* As a write that is never published: the blocks get their place, and what is in them lies behind the pointer. */
	for (uint64_t at = 0; !r && at < length; at += done) {
		const struct iovec one = { (void *)(uintptr_t)zeros, length - at < sizeof(zeros) ? length - at : sizeof(zeros) };
		struct source from = { &one, 1, 0 };

		r = store(dev, rt, zone, rel + at, &from, one.iov_len, &done);
		if (r) {
			host_failed(dev, err, r, zone);
			if (z.written == 0 && zd_lock_resource_surely(dev)) { /* else it keeps its place, which it may */
				zd_slot_release(dev, zone, rt);
				zd_unlock_resource(dev);
			}
		}
	}
out:
	zd_unlock_zone(dev, zone);
	if (again && make_room(dev, r)) {
		again = false;
		goto retry;
	}
	return r;
}

int zd_io_flip(zd_dev *dev, uint64_t offset, unsigned bit)
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

/* ---------------------------------------------------------------- reading */

static int check_read(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	struct zd_ruling v;

	zd_check_read(&dev->g.book, zone_now, dev, zd_zone_of(dev, offset), zd_zone_of(dev, offset + length - 1), offset, length, &v);
	return told(dev, &v, ZD_CMD_READ, offset, length, err);
}

static int filler(const zd_dev *dev, int type, uint64_t word)
{
	return zd_rule_filler(dev->g.h.dialect, type, zd_word_cond(word, type), word & ZD_W_FINISHED);
}

static int read_zone(zd_dev *dev, uint32_t zone, uint64_t rel, uint8_t *to, uint64_t n)
{
	struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
	int type = zd_zone_type(dev, zone), r = 0;
	bool locked = type != ZD_SEQ_WRITE_REQUIRED && !dev->readonly, same;
	uint32_t gen;

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

static void count_read(zd_dev *dev, uint32_t zone, uint64_t commands, uint64_t n)
{
	struct zd_zone_rt *rt;

	if (dev->readonly || zd_zone_get(dev, zone, &rt))
		return;
	if (commands)
		atomic_fetch_add_explicit(&rt->reads, commands, memory_order_relaxed);
	atomic_fetch_add_explicit(&rt->bytes_read, n, memory_order_relaxed);
}

static int begin_read(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (likely(!r) && unlikely(atomic_load_explicit(&dev->head->gate, memory_order_acquire)))
		r = zd_gate(dev, false, err);
	if (likely(!r))
		r = check_range(dev, ZD_CMD_READ, offset, length, err);
	if (likely(!r) && likely(length))
		r = check_read(dev, offset, length, err);
	return r;
}

int64_t zd_map_begin(zd_dev *dev, uint64_t offset, uint64_t length, const void **at, struct zd_error *err)
{
	uint64_t rel, valid, filled;
	struct zd_zone_rt *rt;
	uint32_t zone, slot;
	uint8_t *base;
	int r = begin_read(dev, offset, length, err);

	if (unlikely(r))
		return r == ZD_SLOW ? 0 : r; /* with fault rules: by zd_pread(), which meets them */
	if (length == 0 || dev->readonly || dev->view)
		return 0;
	zone = zd_zone_of(dev, offset);
	rel = offset - zd_zone_start(dev, zone);
	rt = zd_zone_peek(dev, zone);
	if (!rt || !atomic_load_explicit(&rt->slot, memory_order_acquire))
		return 0;
	r = zd_lock_zone(dev, zone);
	if (unlikely(r))
		return zd_fail_host(err, -r, "interrupted");
	slot = rt->slot;
	valid = zd_is_conv(dev, zone) ? zd_zone_length(dev, zone) : zd_word_written(rt->word);
	filled = slot ? atomic_load_explicit(&dev->slots[slot - 1].filled, memory_order_acquire) : 0;
	valid = valid < filled ? valid : filled;
	if (rel >= valid || zd_slot_map(dev, slot - 1, &base)) {
		zd_unlock_zone(dev, zone);
		return 0;
	}
	*at = base + rel;
	valid = valid - rel < length ? valid - rel : length;
	count_read(dev, zone, 1, valid);
	return (int64_t)valid;
}

void zd_map_end(zd_dev *dev, uint64_t offset)
{
	zd_unlock_zone(dev, zd_zone_of(dev, offset));
}

static inline __attribute__((always_inline)) int64_t read_now(zd_dev *dev, void *buf, uint64_t length, uint64_t offset,
							      struct zd_error *err)
{
	uint64_t done = 0, last = 0;
	int r;

	if (length > ZD_IO_CHUNK)
		last = zd_now();
	while (done < length) {
		uint64_t at = offset + done, n = length - done;
		uint32_t zone = zd_zone_of(dev, at);
		uint64_t rel = at - zd_zone_start(dev, zone), in_zone = zd_zone_length(dev, zone) - rel;

		if (n > in_zone)
			n = in_zone;
		if (n > ZD_IO_CHUNK)
			n = ZD_IO_CHUNK;
		r = read_zone(dev, zone, rel, (uint8_t *)buf + done, n);
		if (unlikely(r)) {
			zd_fail_host(err, -r, r == -EINTR ? "interrupted" : "the host could not read the data back");
			if (err)
				err->zone = zone;
			return r;
		}
		count_read(dev, zone, done == 0, n);
		done += n;
		if (unlikely(done < length) && zd_interrupted(dev, &last)) {
			zd_fail_host(err, EINTR, "interrupted");
			return -EINTR;
		}
	}
	return (int64_t)length;
}

/* As zd_pread(), with fault rules. */
static int64_t read_met(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_traced *t, struct zd_error *err)
{
	struct zd_command c = { ZD_CMD_READ, 0, 0, offset, length, false };
	struct zd_hit hit;
	int64_t done = 0;
	int r = check_range(dev, ZD_CMD_READ, offset, length, err);

	if (r || length == 0)
		return r;
	c.first = zd_zone_of(dev, offset);
	c.last = zd_zone_of(dev, offset + length - 1);
	c.refused = check_read(dev, offset, length, &zd_asking) != 0;
	r = zd_fault_before(dev, &c, &hit, err);
	if (r)
		return r;
	done = check_read(dev, offset, length, err);
	if (done == 0 && hit.cut)
		done = read_now(dev, buf, hit.cut, offset, err);
	t->r.done = done > 0 ? (uint64_t)done : 0;
	if (done >= 0 && hit.cut < length)
		return zd_fault_medium(dev, &c, &hit, err);
	if (done >= 0 && hit.kind == ZD_FAULT_FLIP_READ)
		((uint8_t *)buf)[hit.at - offset + hit.bit / 8] ^= (uint8_t)(1u << hit.bit % 8);
	return zd_fault_after(dev, &c, &hit, done, offset, err);
}

static __attribute__((noinline, cold)) int64_t read_slowly(zd_dev *dev, void *buf, uint64_t length, uint64_t offset,
							   struct zd_error *err)
{
	struct zd_traced t;
	int r = zd_trace_begin(dev, &t, ZD_CMD_READ, ZD_NO_ZONE, offset, length, false, &err);

	return r ? r : zd_trace_end(dev, &t, read_met(dev, buf, length, offset, &t, err), err);
}

int64_t zd_pread(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	int r = begin_read(dev, offset, length, err);

	if (unlikely(r))
		return r == ZD_SLOW ? read_slowly(dev, buf, length, offset, err) : r;
	return read_now(dev, buf, length, offset, err);
}
