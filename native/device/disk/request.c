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

/* ---------------------------------------------------------------- the stages */

/* A recorder wants what the command writes too, before it is known whether it will be. */
static int give_data(zd_dev *dev, struct zd_run *run)
{
	struct zd_request *q = run->q;
	uint8_t cmd = run->op->cmd;
	int r;

	if (cmd != ZD_CMD_WRITE && cmd != ZD_CMD_APPEND && cmd != ZD_CMD_SET_EXTENSION)
		return 0;
	if (q->flags & ZD_REQ_FUA)
		run->t.r.marks |= ZD_TRACE_FUA;
	if (run->op->shape == ZD_SHAPE_RANGE) {
		run->t.r.marks |= ZD_TRACE_ZEROES;
		return 0;
	}
	if (run->length > dev->g.h.size) /* it will be refused */
		return 0;
	if (q->mover && cmd == ZD_CMD_APPEND)
		q->landed = ZD_NONE; /* which nobody knows yet, and the mover may look at it */
	r = zd_trace_data(dev, &run->t, q->iov, q->mover, run->length);
	run->t.done = r != 0;
	return r ? zd_fail_host(run->err, -r, "what the command writes could not be recorded") : 0;
}

static int observe(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	uint64_t offset = ZD_NONE, length = 0;
	uint32_t zone = ZD_NO_ZONE;
	int r;

	if (q->op == ZD_OP_FLUSH && dev->readonly)
		return 0; /* it flushes nothing, so there is nothing to tell */
	switch (run->op->shape) {
	case ZD_SHAPE_DATA:
	case ZD_SHAPE_RANGE:
		offset = q->offset;
		length = run->length;
		break;
	case ZD_SHAPE_APPEND:
		zone = q->zone;
		length = run->length;
		break;
	case ZD_SHAPE_SET: zone = q->zone; break;
	case ZD_SHAPE_UPTO:
		zone = q->zone;
		offset = q->offset;
		break;
	case ZD_SHAPE_ZONE:
		zone = run->at;
		if (zd_zones_beyond(dev, run))
			length = q->count;
		break;
	}
	if (q->op == ZD_OP_FLUSH && q->length &&
	    atomic_load_explicit(&dev->trace->modes, memory_order_relaxed) & ZD_TRACE_WITH_DATA) {
		offset = q->offset;
		length = q->length;
	}
	r = zd_observe_begin(dev, &run->t, run->op->cmd, zone, offset, length, run->err);
	return r || !zd_trace_wants_data(&run->t) ? r : give_data(dev, run);
}

/* Up to where it may be held up: 0 it goes on, ZD_HELD, ZD_NOTHING, or the error with which it ends. */
static int arrive(zd_dev *dev, struct zd_run *run)
{
	int r = run->op->changes ? zd_enter_writable(dev, run->err) : zd_enter(dev, run->err);

	memset(&run->t, 0, sizeof(run->t));
	memset(&run->c, 0, sizeof(run->c));
	memset(&run->hit, 0, sizeof(run->hit));
	run->c.cmd = run->op->cmd;
	if (!r)
		r = observe(dev, run);
	if (!r)
		r = zd_gate_rest(dev, run->op->changes, run->err);
	if (!r)
		r = run->op->place(dev, run);
	run->part = run->length;
	if (r)
		return r == ZD_UNMET ? 0 : r;
	if ((atomic_load(&dev->head->gate) & ZD_GATE_FAULTS) && run->op->refused)
		run->c.refused = run->op->refused(dev, run);
	r = zd_fault_match(dev, &run->c, &run->hit, run->err);
	if (r)
		return r;
	run->part = run->hit.cut;
	run->t.told_late = zd_fault_decides_late(&run->c, &run->hit);
	run->t.r.marks |= zd_trace_marks_of(run->hit.kind);
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

	if (run->acted && run->op->shape >= ZD_SHAPE_ZONE && q->op != ZD_OP_FLUSH) {
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
			q->result = r < 0 ? r : r == ZD_NOTHING ? 0 : take_effect(dev, run);
			zd_observe_end_of(dev, &run->t, q->result, run->err);
			run->pacing = run->t.ticket != 0;
			if (run->pacing) {
				r = ZD_HELD;
				continue;
			}
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
	if (q->op >= zd_nr_ops || !zd_ops[q->op].act)
		return wrong(run->err, "no request has such an op");
	run->op = &zd_ops[q->op];
	known = run->op->flags;
	if (q->flags & ~known)
		return wrong(run->err, "the request has a flag that its op does not know");
	if (q->flags & ZD_REQ_ALL)
		run->op = &zd_ops[q->op - ZD_OP_OPEN + ZD_OP_OPEN_ALL];
	if (run->op->shape == ZD_SHAPE_ZONE) {
		run->at = q->zone;
		run->end = q->zone + q->count;
	}
	if (q->mover && (q->nr_iov || (q->op != ZD_OP_READ && q->op != ZD_OP_WRITE && q->op != ZD_OP_APPEND)))
		return wrong(run->err, "only a read, a write or an append without buffers has a mover");
	if (q->mover && q->length > (uint64_t)INT32_MAX * 512)
		return wrong(run->err, "a mover has more than a disk takes at once");
	run->moved = (struct iovec){ (void *)(uintptr_t)q->mover, 0 };
	for (i = 0; i < q->nr_iov; i++) {
		if (q->iov[i].iov_len > UINT64_MAX / 2 - length)
			return wrong(run->err, "the buffers are longer than a disk can be");
		length += q->iov[i].iov_len;
	}
	run->length = run->op->shape == ZD_SHAPE_RANGE || q->mover ? q->length : length;
	run->last = run->op->shape == ZD_SHAPE_ZONE ? zd_now() : 0;
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
	zd_hold_end(dev, run);
	if (run->pacing && run->at + 1 >= run->end)
		complete(dev, run);
	else
		run->q->result = zd_fail_host(run->err, -r, "cannot keep the time of a request");
	zd_observe_end_of(dev, &run->t, run->q->result, run->err);
}

static void resume(zd_dev *dev, struct zd_run *run, int r)
{
	struct zd_request *q = run->q;

	if (!go_on(dev, run, r)) {
		zd_defer(dev, run); /* The next zone of many is held up as well; the thread that keeps its time is there. */
		return;
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
							 zd_report_request(dev, q, q->err);
	} else if (q->done) {
		return give(dev, q);
	} else {
		q->result = zd_run_here(dev, q);
	}
	if (q->done)
		q->done(q);
	return 0;
}
