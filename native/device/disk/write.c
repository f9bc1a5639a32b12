/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing: under the stripes of its zones a write is checked against the rules, its bytes are stored, and the write
 * pointer is published. On the plain way t is NULL, and the compiler leaves out all that observers need.
 */
#include "device/disk/disk.h"

int zd_write_failed(zd_dev *dev, struct zd_error *err, int r, uint32_t zone)
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

/* As zd_write_failed(), of a write that counts as not done. partly: blocks that were written before are overwritten. */
static int overwrote(zd_dev *dev, struct zd_error *err, int r, uint32_t zone, bool partly, uint64_t *done)
{
	*done = 0;
	if (!partly || r == -EINTR)
		return zd_write_failed(dev, err, r, zone);
	zd_fail_host(err, -r,
		     "the host could not store all of the data; the blocks that were overwritten hold the old data or the new");
	if (err)
		err->zone = zone;
	return r;
}

static int refuse_write(zd_dev *dev, struct zd_error *err, int code, const struct zd_write *w, uint32_t zone, uint64_t bound)
{
	return zd_refuse(dev, err, code, w->cmd, zone, w->offset, w->length, bound);
}

/* Under the stripe: take what opening needs and make the zone implicitly open, with nothing written yet. */
static int open_for_write(zd_dev *dev, const struct zd_write *w, uint32_t zone, struct zd_zone_rt *rt, int cond,
			  const struct zd_cell *cell, struct zd_error *err)
{
	uint64_t word;
	int r = zd_lock_resource(dev);

	if (r)
		return zd_write_failed(dev, err, r, zone);
	r = zd_take_resources(dev, cell->effects);
	if (r) {
		zd_unlock_resource(dev);
		return refuse_write(dev, err, r, w, zone, zd_rule_limit(&dev->g.book, r));
	}
	word = atomic_load_explicit(&rt->word, memory_order_relaxed);
	if (cond == ZD_EMPTY)
		zd_slot_begin_locked(dev, zone, rt);
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
	if (!zd_word_holds(word))
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
static void count_write(struct zd_zone_rt *rt, struct zd_write *w, uint64_t n)
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
static int write_seq_part(zd_dev *dev, struct zd_write *w, uint32_t zone, struct zd_zone_rt *rt, uint64_t rel, uint64_t n,
			  uint64_t *done, struct zd_error *err)
{
	int type = zd_zone_type(dev, zone), r, before;
	struct zd_source at_start = w->source;

	*done = 0;
	for (;;) {
		uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire), written = zd_word_written(word),
			 flags = 0;
		int cond = zd_word_cond(word, type);
		const struct zd_cell *cell = zd_cell(dev->g.h.dialect, type, cond, w->cmd);
		bool opens = cell->next == ZD_NEXT_IMPLICIT_OPEN && cond != ZD_IMPLICIT_OPEN;

		before = cond;
		if (unlikely(opens)) {
			r = open_for_write(dev, w, zone, rt, cond, cell, err);
			if (r)
				return r;
		}
		r = likely(type == ZD_SEQ_WRITE_REQUIRED) ?
			    zd_zone_store(dev, rt, zone, rel, &w->source, n, done) :
			    zd_zone_store_over(dev, rt, zone, rel, &w->source, n, w->lost, done);
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
		return r ? zd_write_failed(dev, err, r, zone) : 0;
	}
}

/* The same in the random write area of a zone. */
static __attribute__((noinline, cold)) int write_area_part(zd_dev *dev, struct zd_write *w, uint32_t zone,
							   struct zd_zone_rt *rt, uint64_t rel, uint64_t n, uint64_t *done,
							   struct zd_error *err)
{
	uint64_t word = atomic_load_explicit(&rt->word, memory_order_acquire), written = zd_word_written(word);
	int cond = zd_word_cond(word, ZD_SEQ_WRITE_REQUIRED), r;
	const struct zd_cell *cell = zd_cell(dev->g.h.dialect, ZD_SEQ_WRITE_REQUIRED, cond, ZD_CMD_WRITE);
	bool opens = cond == ZD_CLOSED;

	*done = 0;
	r = opens ? open_for_write(dev, w, zone, rt, cond, cell, err) : 0;
	if (r)
		return r;
	r = zd_zone_store_over(dev, rt, zone, rel, &w->source, n, w->lost, done);
	if (r && !(r == -EINTR && *done)) {
		zd_pre_trim(dev, zone);
		if (opens)
			undo_open(dev, zone, rt, cond);
		return overwrote(dev, err, r, zone, rel < written && *done, done);
	}
	zd_zrwa_publish(dev, zone, rt, zd_rule_zrwa_wp(&dev->g.book, zd_word_wp(dev, word), rel + *done), rel + *done);
	count_write(rt, w, *done);
	return r ? zd_write_failed(dev, err, r, zone) : 0;
}

/* The limits, for a command of which nothing will be transferred. */
static int ask_to_open(zd_dev *dev, const struct zd_write *w, uint32_t zone, const struct zd_cell *cell, struct zd_error *err)
{
	int r = zd_ask_resources(dev, cell->effects);

	return r ? refuse_write(dev, err, r, w, zone, zd_rule_limit(&dev->g.book, r)) : 0;
}

static inline __attribute__((always_inline)) int get_zone(zd_dev *dev, uint32_t zone, struct zd_zone_rt **rt,
							  struct zd_error *err)
{
	int r = zd_zone_get(dev, zone, rt);

	if (unlikely(r) && zd_slots_gave(dev, r))
		r = zd_zone_get(dev, zone, rt);
	if (unlikely(r))
		zd_write_failed(dev, err, r, zone);
	return r;
}

static inline __attribute__((always_inline)) int64_t required_write(zd_dev *dev, struct zd_write *w, uint32_t zone,
								    struct zd_traced *t, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	struct zd_rule_zone z;
	uint64_t rel, done = 0, start = zd_zone_start(dev, zone), part = t ? w->part : w->length, bound;
	const struct zd_cell *cell;
	int r = zd_lock_zone(dev, zone);

	if (unlikely(r))
		return zd_write_failed(dev, err, r, zone);
	if (zd_powerless(dev)) {
		r = zd_stopped(dev, err);
		goto out;
	}
	r = get_zone(dev, zone, &rt, err);
	if (unlikely(r))
		goto out;
	zd_zone_as(dev, zone, atomic_load_explicit(&rt->word, memory_order_acquire), &z);
	rel = w->cmd == ZD_CMD_APPEND ? z.written : w->offset - start;
	cell = zd_cell(dev->g.h.dialect, z.type, z.cond, w->cmd);
	r = zd_check_write(&dev->g.book, &z, cell, w->cmd, rel, w->length, &bound);
	if (unlikely(r))
		refuse_write(dev, err, r, w, zone, bound);
	else if (t && !part && w->length)
		r = ask_to_open(dev, w, zone, cell, err);
	if (t && w->told)
		*w->told = start + rel;
	if (likely(!r) && part)
		r = likely(!z.zrwa) ? write_seq_part(dev, w, zone, rt, rel, part, &done, err) :
				      write_area_part(dev, w, zone, rt, rel, part, &done, err);
	w->landed = start + rel;
	if (t) {
		t->r.done = done;
		if (w->cmd == ZD_CMD_APPEND && !r && (done || !w->length))
			t->r.landed = start + rel;
	}
out:
	if (t)
		zd_observe_effect(dev, t, r, err);
	zd_unlock_zone(dev, zone);
	return r ? r : (int64_t)done;
}

static __attribute__((noinline, cold)) int64_t required_write_run(zd_dev *dev, struct zd_write *w, uint32_t zone,
								  struct zd_traced *t, struct zd_error *err)
{
	return required_write(dev, w, zone, t, err);
}

/* ---------------------------------------------------------------- zones that may be overwritten */

/* All zones of a write that may go anywhere in its zones and over their borders. */
static int check_over(zd_dev *dev, const struct zd_write *w, uint32_t first, uint32_t last, struct zd_error *err)
{
	struct zd_ruling v;

	zd_check_write_over(&dev->g.book, zd_zone_now, dev, first, last, w->offset, w->length, &v);
	if (likely(!v.rule) && unlikely(w->how) && zd_type_has_wp(zd_zone_type(dev, first)))
		return refuse_write(dev, err, ZD_E_SEQUENTIAL, w, first, 0);
	return zd_ruled(dev, &v, w->cmd, w->offset, w->length, err);
}

/* One zone's part of a write in a conventional zone; *done counts as soon as it landed. */
static int write_conv_part(zd_dev *dev, struct zd_write *w, uint32_t zone, uint64_t rel, uint64_t n, uint64_t before,
			   uint64_t *done, struct zd_error *err)
{
	struct zd_zone_rt *rt;
	int r = zd_zone_get(dev, zone, &rt);

	*done = 0;
	if (r && zd_slots_gave(dev, r))
		r = zd_zone_get(dev, zone, &rt);
	if (!r) {
		r = likely(w->how == ZD_WRITE_BYTES) ?
			    zd_zone_store_over(dev, rt, zone, rel, &w->source, n, w->lost, done) :
			    zd_zone_zero(dev, rt, zone, rel, n, w->how == ZD_WRITE_DROP, w->lost, done);
		count_write(rt, w, *done);
	}
	if (r) {
		uint64_t landed = *done, all = before + landed;

		overwrote(dev, err, r, zone, all != 0, &landed);
	}
	return r;
}

/* All is checked before anything is written. */
static int64_t write_over(zd_dev *dev, struct zd_write *w, bool conv, struct zd_traced *t, struct zd_error *err)
{
	uint32_t first = zd_zone_of(dev, w->offset), last = zd_zone_of(dev, w->offset + w->length - 1), zone;
	uint64_t at = w->offset, end = w->offset + (t ? w->part : w->length), total = 0;
	struct zd_zone_rt *rt;
	int r = zd_lock_zones(dev, first, last);

	if (r)
		return zd_write_failed(dev, err, r, first);
	r = zd_powerless(dev) ? zd_stopped(dev, err) : check_over(dev, w, first, last, err);
	/* Before a write to preferred zones opens any of them, each has its place. */
	for (zone = first; !conv && !r && zone <= last; zone++)
		r = get_zone(dev, zone, &rt, err);
	for (zone = first; !r && at < end; zone++) {
		uint64_t start = zd_zone_start(dev, zone), zone_end = start + zd_zone_length(dev, zone);
		uint64_t n = (end < zone_end ? end : zone_end) - at, done;

		r = conv ? write_conv_part(dev, w, zone, at - start, n, total, &done, err) :
			   write_seq_part(dev, w, zone, &dev->zones[zone], at - start, n, &done, err);
		at += done;
		total += done;
	}
	if (t) {
		t->r.done = total;
		zd_observe_effect(dev, t, r, err);
	}
	zd_unlock_zones(dev, first, last);
	return r ? r : (int64_t)total;
}

/* ---------------------------------------------------------------- the two ways of a write */

int64_t zd_write_now(zd_dev *dev, struct zd_write *w, struct zd_error *err)
{
	uint32_t zone = zd_zone_of(dev, w->offset);

	if (likely(w->cmd == ZD_CMD_APPEND || (!zd_is_conv(dev, zone) && dev->g.h.model == ZD_HOST_MANAGED)))
		return required_write(dev, w, zone, NULL, err);
	return write_over(dev, w, zd_is_conv(dev, zone), NULL, err);
}

int64_t zd_write_run(zd_dev *dev, struct zd_write *w, struct zd_traced *t, struct zd_error *err)
{
	uint32_t zone = zd_zone_of(dev, w->offset);

	if (w->cmd != ZD_CMD_APPEND && (w->how || zd_is_conv(dev, zone) || dev->g.h.model != ZD_HOST_MANAGED))
		return write_over(dev, w, w->how || zd_is_conv(dev, zone), t, err);
	return required_write_run(dev, w, zone, t, err);
}

bool zd_write_room(zd_dev *dev, int64_t r)
{
	return r == -ENOSPC && dev->head->nr_pending && zd_commit(dev, ZD_COMMIT_RESETS, NULL, NULL, NULL) == 0;
}

bool zd_write_refused(zd_dev *dev, const struct zd_write *w)
{
	uint32_t zone = zd_zone_of(dev, w->offset);
	const struct zd_cell *cell;
	struct zd_rule_zone z;
	uint64_t rel, bound;

	zd_zone_now(dev, zone, &z);
	if (w->cmd == ZD_CMD_WRITE && (w->how || !zd_type_append_only(z.type)))
		return check_over(dev, w, zone, zd_zone_of(dev, w->offset + w->length - 1), &zd_asking) != 0;
	rel = w->cmd == ZD_CMD_APPEND ? z.written : w->offset - z.start;
	cell = zd_cell(dev->g.h.dialect, z.type, z.cond, w->cmd);
	return zd_check_write(&dev->g.book, &z, cell, w->cmd, rel, w->length, &bound) || zd_ask_resources(dev, cell->effects);
}

int zd_write_reserve(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	static const uint8_t zeros[4096];
	const struct zd_write w = { .cmd = ZD_CMD_WRITE, .offset = offset, .length = length };
	uint32_t zone = zd_zone_of(dev, offset < dev->g.h.size ? offset : 0);
	uint64_t rel = offset - zd_zone_start(dev, zone), bound, done = 0, at;
	struct zd_rule_zone z;
	struct zd_zone_rt *rt = NULL;
	int r, type = zd_zone_type(dev, zone);

	if (!zd_type_append_only(type))
		return 0;
	r = zd_lock_zone(dev, zone);
	if (r)
		return zd_write_failed(dev, err, r, zone);
	r = zd_powerless(dev) ? zd_stopped(dev, err) : get_zone(dev, zone, &rt, err);
	if (r)
		goto out;
	zd_zone_as(dev, zone, rt->word, &z);
	r = zd_check_write(&dev->g.book, &z, zd_cell(dev->g.h.dialect, type, z.cond, ZD_CMD_WRITE), ZD_CMD_WRITE, rel, length,
			   &bound);
	if (r)
		refuse_write(dev, err, r, &w, zone, bound);
	else if (z.zrwa)
		length = 0; /* what lies there counts already */
	else if (!zd_word_holds(rt->word) && (r = zd_slot_begin(dev, zone, rt)))
		zd_write_failed(dev, err, r, zone);
	/* As a write that is never published: the blocks get their place, and what is in them lies behind the pointer. */
	for (at = 0; !r && at < length; at += done) {
		const struct iovec one = { (void *)(uintptr_t)zeros,
					   length - at < sizeof(zeros) ? length - at : sizeof(zeros) };
		struct zd_source from = { &one, 1, 0 };

		r = zd_zone_store(dev, rt, zone, rel + at, &from, one.iov_len, &done);
		if (r) {
			zd_write_failed(dev, err, r, zone);
			if (!zd_word_holds(rt->word) &&
			    zd_lock_resource_surely(dev)) { /* else it keeps its place, which it may */
				zd_slot_release(dev, zone, rt);
				zd_unlock_resource(dev);
			}
		}
	}
out:
	zd_unlock_zone(dev, zone);
	return r;
}

/* ---------------------------------------------------------------- for an explicit commit */

/* What a write does is static to it, which the plain way is quicker by. */
int zd_open_to_commit(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt, const struct zd_cell *cell, struct zd_error *err)
{
	const struct zd_write w = { .cmd = ZD_CMD_COMMIT_ZRWA, .offset = zd_zone_start(dev, zone) };

	return open_for_write(dev, &w, zone, rt, ZD_CLOSED, cell, err);
}

void zd_undo_open_to_commit(zd_dev *dev, uint32_t zone, struct zd_zone_rt *rt)
{
	undo_open(dev, zone, rt, ZD_CLOSED);
}
