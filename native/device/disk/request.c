/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and its stages, in one place and in this order:
 *
 *   enter      the handle is attached, and may change the disk if the command does
 *   observe    whoever observes has room for a record; from here on what becomes of the command is told
 *   gate       there is power, no sync failed; the image is marked as being changed
 *   place      on the disk, in whole blocks
 *   match      fault rules count the command, and at most one acts
 *   defer      a rule that holds it up: it waits for its time, with neither a thread nor a lock
 *   strike     what the rule does before it
 *   act        locks, rule book, store, publishing; observers are told under the locks (write.c, read.c, manage.c, commit.c)
 *   durable    what FUA and host_sync=command ask for
 *   strike     what the rule does behind it
 *   pace       a drive's time for real: it waits as above, done as it is
 *   complete   observers that were not told yet; the result; `done`
 *
 * The plain way (call.c) leaves out the stages that have nothing to do while the gate is shut and nobody observes.
 */
#include "device/disk/disk.h"

#include <stdlib.h>

enum shape { SHAPE_DATA, SHAPE_APPEND, SHAPE_ZONE, SHAPE_WHOLE }; /* what of the request says where */

#define NOTHING 1 /* of a place: there is nothing to do */
#define UNMET 3   /* of a place: no fault rule meets the command */

struct zd_stages {
	uint8_t cmd;      /* as rule book, fault rules and observers know it */
	uint8_t shape;
	bool changes;
	uint16_t flags;   /* ZD_REQ_* that it knows */
	int (*place)(zd_dev *dev, struct zd_run *run); /* fills run->c. 0, NOTHING, UNMET, or an error */
	bool (*refused)(zd_dev *dev, const struct zd_run *run); /* what the rule book says now, without locks */
	int64_t (*act)(zd_dev *dev, struct zd_run *run);
};

/* ---------------------------------------------------------------- places */

static int place_data(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	int r = zd_check_place(dev, run->op->cmd, q->offset, run->length, run->err);

	if (r || !run->length)
		return r ? r : NOTHING;
	run->c.first = zd_zone_of(dev, q->offset);
	run->c.last = zd_zone_of(dev, q->offset + run->length - 1);
	run->c.offset = q->offset;
	run->c.length = run->length;
	return 0;
}

/* What can never be an append meets no rule: it is refused where the zone is looked at. */
static int place_append(zd_dev *dev, struct zd_run *run)
{
	uint32_t zone = run->q->zone;
	uint64_t start;

	run->c.length = run->length;
	if (zone >= dev->g.h.nr_zones || !run->length || (run->length & dev->g.block_mask) || zd_is_conv(dev, zone))
		return UNMET;
	start = zd_zone_start(dev, zone);
	run->c.first = run->c.last = zone;
	run->c.offset = start + zd_word_written(zd_load_word(dev, zone));
	return run->c.offset + run->length > start + zd_zone_length(dev, zone) ? UNMET : 0;
}

static int place_zone(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;

	if (run->at >= dev->g.h.nr_zones || !q->count || q->count > dev->g.h.nr_zones - q->zone)
		return zd_refuse(dev, run->err, ZD_E_OUT_OF_RANGE, run->op->cmd, ZD_NO_ZONE, q->zone, q->count, dev->g.h.nr_zones);
	run->c.first = run->c.last = run->at;
	run->c.offset = zd_zone_start(dev, run->at);
	return run->op->cmd >= ZD_CMD_SET_EMPTY ? UNMET : 0;
}

static int place_whole(zd_dev *dev, struct zd_run *run)
{
	run->c.last = dev->g.h.nr_zones - 1;
	run->c.offset = ZD_NONE;
	return run->op->cmd == ZD_CMD_POWER_CYCLE ? UNMET : 0;
}

static int place_flush(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	int r = q->length ? zd_check_place(dev, ZD_CMD_FLUSH, q->offset, q->length, run->err) : 0;

	return r ? r : place_whole(dev, run);
}

/* ---------------------------------------------------------------- acting */

static struct zd_write write_of(const struct zd_run *run)
{
	const struct zd_request *q = run->q;

	return (struct zd_write){
		.cmd = run->op->cmd,
		.offset = q->offset,
		.length = run->length,
		.part = run->part,
		.source = { q->iov, (int)q->nr_iov, 0 },
		.how = q->op == ZD_OP_WRITE_ZEROES ? ZD_WRITE_ZEROES : q->op == ZD_OP_DEALLOCATE ? ZD_WRITE_DROP : ZD_WRITE_BYTES,
		.lost = run->hit.kind == ZD_FAULT_LOST,
	};
}

/* What was written must be on the medium before the command ends: FUA, or as the disk was made. */
static int make_durable(zd_dev *dev, struct zd_run *run, uint64_t from, uint64_t n)
{
	const struct zd_zones zones = { zd_zone_of(dev, from), zd_zone_of(dev, from + n - 1) };

	if (run->q->flags & ZD_REQ_FUA)
		return zd_commit(dev, ZD_COMMIT_FLUSH, &zones, NULL, run->err);
	return dev->g.h.host_sync == ZD_SYNC_COMMAND ? zd_after_change(dev, run->err) : 0;
}

static int64_t act_write(zd_dev *dev, struct zd_run *run)
{
	struct zd_write w = write_of(run);
	int64_t done;
	int r;

	done = zd_write_run(dev, &w, &run->t, run->err);
	if (zd_write_room(dev, done)) {
		w = write_of(run);
		done = zd_write_run(dev, &w, &run->t, run->err);
	}
	if (done > 0) {
		r = make_durable(dev, run, run->q->offset, (uint64_t)done);
		if (r)
			return r;
	}
	if (done >= 0 && run->part < run->length)
		return zd_strike_medium(dev, run);
	return zd_strike_after(dev, run, done, run->q->offset);
}

static bool write_refused(zd_dev *dev, const struct zd_run *run)
{
	struct zd_write w = write_of(run);

	return zd_write_refused(dev, &w);
}

static bool append_refused(zd_dev *dev, const struct zd_run *run)
{
	struct zd_write w = write_of(run);

	w.offset = zd_zone_start(dev, run->q->zone);
	return (dev->g.h.append_limit && run->length > dev->g.h.append_limit) || zd_write_refused(dev, &w);
}

/* Before the zone is looked at. */
static int check_append(zd_dev *dev, const struct zd_run *run)
{
	uint32_t zone = run->q->zone;
	uint64_t bound;
	int r;

	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, run->err, ZD_E_OUT_OF_RANGE, ZD_CMD_APPEND, ZD_NO_ZONE, zone, run->length, dev->g.h.nr_zones);
	r = zd_check_append(&dev->g.book, zd_zone_type(dev, zone), run->length, &bound);
	return r ? zd_refuse(dev, run->err, r, ZD_CMD_APPEND, zone, zd_zone_start(dev, zone), run->length, bound) : 0;
}

static int64_t act_append(zd_dev *dev, struct zd_run *run)
{
	struct zd_write w = write_of(run);
	int64_t done;
	int r = check_append(dev, run);

	if (r)
		return zd_strike_after(dev, run, r, 0);
	w.offset = zd_zone_start(dev, run->q->zone);
	done = zd_write_run(dev, &w, &run->t, run->err);
	if (zd_write_room(dev, done)) {
		w = write_of(run);
		w.offset = zd_zone_start(dev, run->q->zone);
		done = zd_write_run(dev, &w, &run->t, run->err);
	}
	run->q->landed = run->part || !run->length ? w.landed : 0;
	if (done > 0) {
		r = make_durable(dev, run, w.landed, (uint64_t)done);
		if (r)
			return r;
	}
	if (done >= 0 && run->part < run->length) {
		run->c.offset = w.landed;
		return zd_strike_medium(dev, run);
	}
	return zd_strike_after(dev, run, done, w.landed);
}

static bool read_refused(zd_dev *dev, const struct zd_run *run)
{
	return zd_check_reading(dev, run->q->offset, run->length, &zd_asking) != 0;
}

static void flip(const struct zd_run *run)
{
	uint64_t at = run->hit.at - run->q->offset + run->hit.bit / 8;
	const struct iovec *iov = run->q->iov;

	for (; at >= iov->iov_len; iov++)
		at -= iov->iov_len;
	((uint8_t *)iov->iov_base)[at] ^= (uint8_t)(1u << run->hit.bit % 8);
}

static int64_t act_read(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	uint64_t differs = ZD_NONE;
	int64_t done = zd_check_reading(dev, q->offset, run->length, run->err);

	if (!done && run->part && q->op == ZD_OP_READ)
		done = zd_read_into(dev, q->iov, run->part, q->offset, run->err);
	else if (!done && run->part)
		done = zd_read_compare(dev, q->op == ZD_OP_COMPARE ? q->iov : NULL, run->part, q->offset, &differs, run->err);
	run->t.r.done = done > 0 ? (uint64_t)done : 0;
	if (differs != ZD_NONE) {
		uint32_t zone = zd_zone_of(dev, differs);

		return zd_strike_after(dev, run, zd_refuse(dev, run->err, ZD_E_MISCOMPARE, ZD_CMD_READ, zone, q->offset, run->length, differs), 0);
	}
	if (done >= 0 && run->part < run->length)
		return zd_strike_medium(dev, run);
	if (done >= 0 && run->hit.kind == ZD_FAULT_FLIP_READ && q->op == ZD_OP_READ)
		flip(run);
	return zd_strike_after(dev, run, done, q->offset);
}

static bool zone_refused(zd_dev *dev, const struct zd_run *run)
{
	return zd_manage_refused(dev, run->op->cmd, run->at);
}

static int64_t act_zone(zd_dev *dev, struct zd_run *run)
{
	return zd_strike_after(dev, run, zd_manage_one(dev, run->op->cmd, run->at, &run->t, run->err), 0);
}

static bool all_refused(zd_dev *dev, const struct zd_run *run)
{
	return zd_manage_all_refused(dev, run->op->cmd);
}

static int64_t act_all(zd_dev *dev, struct zd_run *run)
{
	int r = run->op->cmd == ZD_CMD_POWER_CYCLE ? zd_commit(dev, ZD_COMMIT_FLUSH, NULL, NULL, run->err) : 0;

	return r ? r : zd_strike_after(dev, run, zd_manage_all(dev, run->op->cmd, &run->t, run->err), 0);
}

static int64_t act_flush(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	struct zd_zones zones = { 0, dev->g.h.nr_zones - 1 };
	int r = 0;

	if (dev->readonly)
		return 0; /* it wrote nothing */
	if (q->length)
		zones = (struct zd_zones){ zd_zone_of(dev, q->offset), zd_zone_of(dev, q->offset + q->length - 1) };
	if (atomic_load(&dev->head->gate) & ZD_GATE_FAULTS)
		r = zd_strike_flush(dev, run);
	if (!r)
		r = zd_commit(dev, ZD_COMMIT_FLUSH, &zones, &run->t, run->err);
	return zd_strike_after(dev, run, r, 0);
}

/* ---------------------------------------------------------------- the ops */

static const struct zd_stages ops[] = {
	[ZD_OP_READ] = { ZD_CMD_READ, SHAPE_DATA, false, 0, place_data, read_refused, act_read },
	[ZD_OP_WRITE] = { ZD_CMD_WRITE, SHAPE_DATA, true, ZD_REQ_FUA, place_data, write_refused, act_write },
	[ZD_OP_APPEND] = { ZD_CMD_APPEND, SHAPE_APPEND, true, ZD_REQ_FUA, place_append, append_refused, act_append },
	[ZD_OP_OPEN] = { ZD_CMD_OPEN, SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_CLOSE] = { ZD_CMD_CLOSE, SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_FINISH] = { ZD_CMD_FINISH, SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_RESET] = { ZD_CMD_RESET, SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_OPEN_ALL] = { ZD_CMD_OPEN_ALL, SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_CLOSE_ALL] = { ZD_CMD_CLOSE_ALL, SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_FINISH_ALL] = { ZD_CMD_FINISH_ALL, SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_RESET_ALL] = { ZD_CMD_RESET_ALL, SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_POWER_CYCLE] = { ZD_CMD_POWER_CYCLE, SHAPE_WHOLE, true, 0, place_whole, NULL, act_all },
	[ZD_OP_SET_EMPTY] = { ZD_CMD_SET_EMPTY, SHAPE_ZONE, true, 0, place_zone, NULL, act_zone },
	[ZD_OP_SET_READ_ONLY] = { ZD_CMD_SET_READ_ONLY, SHAPE_ZONE, true, 0, place_zone, NULL, act_zone },
	[ZD_OP_SET_OFFLINE] = { ZD_CMD_SET_OFFLINE, SHAPE_ZONE, true, 0, place_zone, NULL, act_zone },
	[ZD_OP_FLUSH] = { ZD_CMD_FLUSH, SHAPE_WHOLE, false, 0, place_flush, NULL, act_flush },
	[ZD_OP_VERIFY] = { ZD_CMD_READ, SHAPE_DATA, false, 0, place_data, read_refused, act_read },
	[ZD_OP_COMPARE] = { ZD_CMD_READ, SHAPE_DATA, false, 0, place_data, read_refused, act_read },
	[ZD_OP_WRITE_ZEROES] = { ZD_CMD_WRITE, SHAPE_DATA, true, ZD_REQ_FUA, place_data, write_refused, act_write },
	[ZD_OP_DEALLOCATE] = { ZD_CMD_WRITE, SHAPE_DATA, true, 0, place_data, write_refused, act_write },
};

/* ---------------------------------------------------------------- the stages */

static int observe(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	uint64_t offset = ZD_NONE, length = 0;
	uint32_t zone = ZD_NO_ZONE;

	if (q->op == ZD_OP_FLUSH && dev->readonly)
		return 0; /* it flushes nothing, so there is nothing to tell */
	switch (run->op->shape) {
	case SHAPE_DATA:
		offset = q->offset;
		length = run->length;
		break;
	case SHAPE_APPEND:
		zone = q->zone;
		length = run->length;
		break;
	case SHAPE_ZONE:
		zone = run->at;
		if (run->at >= dev->g.h.nr_zones || !q->count || q->count > dev->g.h.nr_zones - q->zone)
			length = q->count;
		break;
	}
	return zd_observe_begin(dev, &run->t, run->op->cmd, zone, offset, length, run->err);
}

/* Up to where it may be held up: 0 it goes on, ZD_HELD, NOTHING, or the error with which it ends. */
static int arrive(zd_dev *dev, struct zd_run *run)
{
	int r = run->op->changes ? zd_enter_writable(dev, run->err) : zd_enter(dev, run->err);

	memset(&run->t, 0, sizeof(run->t));
	memset(&run->c, 0, sizeof(run->c));
	memset(&run->hit, 0, sizeof(run->hit));
	run->c.cmd = run->op->cmd;
	if (!r)
		r = observe(dev, run);
	run->t.timed = true;
	if (!r)
		r = zd_gate_rest(dev, run->op->changes, run->err);
	if (!r)
		r = run->op->place(dev, run);
	run->part = run->length;
	if (r)
		return r == UNMET ? 0 : r;
	if ((atomic_load(&dev->head->gate) & ZD_GATE_FAULTS) && run->op->refused)
		run->c.refused = run->op->refused(dev, run);
	r = zd_fault_match(dev, &run->c, &run->hit, run->err);
	if (r)
		return r;
	run->part = run->hit.cut;
	run->t.held = zd_fault_decides_late(&run->c, &run->hit);
	if (!zd_holds(&run->hit))
		return 0;
	run->since = run->last = zd_now();
	return ZD_HELD;
}

static int64_t take_effect(zd_dev *dev, struct zd_run *run)
{
	int r = zd_strike_before(dev, run);

	run->acted = true;
	return r ? r : run->op->act(dev, run);
}

static void complete(zd_dev *dev, struct zd_run *run)
{
	struct zd_request *q = run->q;
	int r;

	if (run->acted && (run->op->shape == SHAPE_ZONE || (run->op->shape == SHAPE_WHOLE && q->op != ZD_OP_FLUSH))) {
		r = zd_after_change(dev, q->result ? NULL : run->err);
		if (!q->result)
			q->result = r;
	}
	if (q->result == -EINTR && __atomic_load_n(&q->cancel, __ATOMIC_ACQUIRE))
		q->result = zd_fail_host(run->err, ECANCELED, "cancelled");
}

/* From arrive() or zd_hold_look() on, which gave r. True: it has ended; false: it is held up, and is not to wait here. */
static bool go_on(zd_dev *dev, struct zd_run *run, int r)
{
	const uint32_t *outer = zd_cancelled_by(&run->q->cancel);
	struct zd_request *q = run->q;
	bool waits;

	for (;;) {
		waits = r == ZD_HELD && q->done;
		if (waits)
			break;
		if (r == ZD_HELD)
			r = zd_hold_wait(dev, run);
		if (!run->pacing) {
			q->result = r < 0 ? r : r == NOTHING ? 0 : take_effect(dev, run);
			zd_observe_end_of(dev, &run->t, q->result, run->err);
			run->pacing = run->t.ticket != 0;
			r = ZD_HELD;
			if (run->pacing)
				continue;
		} else if (r) {
			q->result = r; /* what is done stays done, but the host will not hear so */
		}
		run->pacing = false;
		if (!q->result && run->at + 1 < run->end)
			q->result = zd_manage_between(dev, run->at, &run->last, run->err);
		if (q->result || ++run->at >= run->end)
			break;
		r = arrive(dev, run);
	}
	zd_cancelled_by(outer);
	if (waits)
		return false;
	complete(dev, run);
	return true;
}

/* ---------------------------------------------------------------- giving a request */

static int64_t report(zd_dev *dev, struct zd_request *q, struct zd_error *err)
{
	uint32_t listed = 0, filled = 0, z;
	int r = zd_enter(dev, err);

	if (!r && (atomic_load_explicit(&dev->head->gate, memory_order_acquire) & (ZD_GATE_POWER | ZD_GATE_BACK)))
		r = zd_gate_rest(dev, false, err);
	if (r)
		return r;
	if (q->zone > dev->g.h.nr_zones)
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, -1, ZD_NO_ZONE, q->zone, q->count, dev->g.h.nr_zones);
	for (z = q->zone; z < dev->g.h.nr_zones; z++) {
		struct zd_zone zone;

		zd_describe(dev, z, &zone);
		if (!zd_report_lists(&zone, q->filter))
			continue;
		if (filled < q->count)
			q->zones[filled++] = zone;
		else if (q->flags & ZD_REQ_PARTIAL)
			break;
		listed++;
	}
	return q->flags & ZD_REQ_PARTIAL ? filled : listed;
}

static int wrong(struct zd_error *err, const char *what)
{
	return zd_fail_host(err, EINVAL, what);
}

/* A request that can be, as a run. 0, or -EINVAL. */
static int set_up(struct zd_request *q, struct zd_run *run)
{
	uint64_t known, length = 0;
	uint32_t i;

	run->q = q;
	run->err = q->err ? q->err : &run->own;
	run->at = run->end = 0;
	run->acted = run->pacing = false;
	if (q->op >= sizeof(ops) / sizeof(*ops) || !ops[q->op].act)
		return wrong(run->err, "no request has such an op");
	run->op = &ops[q->op];
	known = run->op->flags;
	if (q->flags & ~known)
		return wrong(run->err, "the request has a flag that its op does not know");
	if (q->flags & ZD_REQ_ALL)
		run->op = &ops[q->op - ZD_OP_OPEN + ZD_OP_OPEN_ALL];
	if (run->op->shape == SHAPE_ZONE) {
		run->at = q->zone;
		run->end = q->zone + q->count;
	}
	for (i = 0; i < q->nr_iov; i++) {
		if (q->iov[i].iov_len > UINT64_MAX / 2 - length)
			return wrong(run->err, "the buffers are longer than a disk can be");
		length += q->iov[i].iov_len;
	}
	run->length = q->op == ZD_OP_VERIFY || q->op == ZD_OP_WRITE_ZEROES || q->op == ZD_OP_DEALLOCATE ? q->length : length;
	run->last = run->op->shape == SHAPE_ZONE ? zd_now() : 0;
	return 0;
}

int64_t zd_run_here(zd_dev *dev, struct zd_request *q)
{
	struct zd_run run;
	int r = set_up(q, &run);

	if (r)
		return r;
	go_on(dev, &run, arrive(dev, &run));
	return q->result;
}

/* No thread can be started that keeps its time: held up by a rule it fails, and by a drive it has ended. */
static void untimed(zd_dev *dev, struct zd_run *run, int r)
{
	if (run->pacing)
		zd_pace_drop(dev, run->t.ticket);
	else if (run->hit.kind == ZD_FAULT_HANG)
		zd_fault_waited(dev, &run->hit);
	if (run->pacing && run->at + 1 >= run->end)
		complete(dev, run);
	else
		run->q->result = zd_fail_host(run->err, -r, "cannot keep the time of a request");
}

static void resume(zd_dev *dev, struct zd_run *run, int r)
{
	struct zd_request *q = run->q;

	if (!go_on(dev, run, r)) {
		/* The next zone of many is held up as well. */
		r = zd_defer(dev, run);
		if (!r)
			return;
		untimed(dev, run, r);
	}
	free(run);
	q->done(q);
}

/* Whose completion nobody waits for here: on the heap, as it may outlive this call. */
static int give(zd_dev *dev, struct zd_request *q)
{
	struct zd_run *run = malloc(sizeof(*run));
	int r;

	if (!run) {
		q->result = zd_fail_host(q->err, ENOMEM, "no memory for a request");
		q->done(q);
		return 0;
	}
	r = set_up(q, run);
	run->resume = resume;
	if (r) {
		q->result = r;
	} else if (!go_on(dev, run, arrive(dev, run))) {
		r = zd_defer(dev, run);
		if (!r)
			return ZD_DEFERRED;
		untimed(dev, run, r);
		zd_observe_end_of(dev, &run->t, q->result, run->err);
	}
	free(run);
	q->done(q);
	return 0;
}

int zd_submit(zd_dev *dev, struct zd_request *q)
{
	if (q->size < sizeof(*q)) { /* another build's: all that it has of ours are the fields up to result */
		q->result = wrong(q->err, "the request is of another size than this library's");
	} else if (q->op == ZD_OP_REPORT) {
		q->result = q->flags & ~ZD_REQ_PARTIAL ? wrong(q->err, "the request has a flag that its op does not know") :
							 report(dev, q, q->err);
	} else if (q->done) {
		return give(dev, q);
	} else {
		q->result = zd_run_here(dev, q);
	}
	if (q->done)
		q->done(q);
	return 0;
}
