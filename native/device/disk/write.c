/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing: check the rules, store the bytes, publish the write pointer. A write holds its zones' stripes.
 */
#include "device/disk/disk.h"

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

struct write {
	int cmd;
	uint64_t offset, length; /* the whole command, for errors */
	struct zd_source source;
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
	struct zd_source at_start = w->source;

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
		r = likely(type == ZD_SEQ_WRITE_REQUIRED) ? zd_zone_store(dev, rt, zone, rel, &w->source, n, done) :
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

	zd_check_write_over(&dev->g.book, zd_zone_now, dev, first, last, w->offset, w->length, &v);
	return zd_ruled(dev, &v, w->cmd, w->offset, w->length, err);
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
			r = zd_zone_store_over(dev, rt, zone, at - start, &w->source, n, w->lost, &done);
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
	zd_zone_now(dev, zone, &z);
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
	int r = zd_check_place(dev, ZD_CMD_WRITE, offset, length, err);

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
		w.source = (struct zd_source){ iov, n, 0 };
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
		r = zd_check_place(dev, ZD_CMD_WRITE, offset, length, err);
	if (unlikely(r))
		return r == ZD_SLOW ? write_slowly(dev, iov, n, length, offset, err) : r;
	if (length == 0)
		return 0;
	done = write_now(dev, &w, err);
	if (unlikely(make_room(dev, done))) {
		w.source = (struct zd_source){ iov, n, 0 };
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
		w.source = (struct zd_source){ &one, 1, 0 };
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
		r = zd_check_place(dev, ZD_CMD_WRITE, offset, length, err);
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
		struct zd_source from = { &one, 1, 0 };

		r = zd_zone_store(dev, rt, zone, rel + at, &from, one.iov_len, &done);
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
