/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fault rule decided is carried out here: before a command (it is held up, refused, its zone dies, the power goes)
 * and behind it. A pace holds a command up behind all that. While it is held up it has neither a lock nor, if it is
 * deferred, a thread.
 */
#include "device/disk/disk.h"

#include <time.h>

static int no_power(zd_dev *dev, const struct zd_run *run)
{
	if (!(atomic_load(&dev->head->gate) & ZD_GATE_POWER))
		return 0;
	zd_refuse_powerless(dev, run->err);
	run->err->cmd = run->c.cmd;
	return ZD_E_POWER_LOSS;
}

static int inject(zd_dev *dev, const struct zd_run *run, const struct zd_hit *hit, int code, uint64_t bound)
{
	const struct zd_command *c = &run->c;
	bool placed = c->length || c->first == c->last;

	zd_refuse(dev, run->err, code, c->cmd, placed ? hit->zone : ZD_NO_ZONE, placed ? c->offset : ZD_NONE, c->length, bound);
	zd_fault_mark(run->err, hit->id, hit->label);
	return code;
}

int zd_strike_medium(zd_dev *dev, const struct zd_run *run)
{
	return inject(dev, run, &run->hit, run->c.cmd == ZD_CMD_READ ? ZD_E_MEDIUM_READ : ZD_E_MEDIUM_WRITE,
		      run->c.length ? run->c.offset + run->hit.cut : 0);
}

/* ---------------------------------------------------------------- holding up */

bool zd_holds(const struct zd_hit *hit)
{
	return hit->id && (hit->kind == ZD_FAULT_HANG || (hit->kind == ZD_FAULT_LATENCY && hit->ns));
}

/* Clear, release and timeout count for what hangs; for latency time alone. */
static int look(zd_dev *dev, struct zd_run *run, uint64_t *left)
{
	const struct zd_hit *hit = &run->hit;
	bool hangs = hit->kind == ZD_FAULT_HANG;
	uint64_t past = zd_now() - run->since;
	int r;

	*left = !hit->ns ? UINT64_MAX : past < hit->ns ? hit->ns - past : 0;
	if (hangs && zd_fault_let_go(dev, hit))
		return 0;
	if (atomic_load(&dev->closing))
		return zd_fail(run->err, ZD_E_CLOSED, "the handle was closed while a fault rule held the command up");
	r = no_power(dev, run);
	if (r)
		return r;
	if (!*left)
		return hangs ? inject(dev, run, hit, ZD_E_TIMEOUT, 0) : 0;
	if (__atomic_load_n(&run->q->cancel, __ATOMIC_ACQUIRE))
		return zd_fail_host(run->err, ECANCELED, "cancelled while a fault rule held the command up");
	return ZD_HELD;
}

/* Done already: whatever ends the wait early, the command counts. */
static int look_at_drive(zd_dev *dev, struct zd_run *run, uint64_t *left)
{
	int r;

	*left = zd_pace_left(dev, run->t.ticket);
	if (!*left)
		return 0;
	r = no_power(dev, run);
	if (!r && !atomic_load(&dev->closing) && !__atomic_load_n(&run->q->cancel, __ATOMIC_ACQUIRE))
		return ZD_HELD;
	zd_pace_drop(dev, run->t.ticket);
	return r;
}

int zd_hold_look(zd_dev *dev, struct zd_run *run, uint64_t *left)
{
	int r;

	if (run->pacing)
		return look_at_drive(dev, run, left);
	r = look(dev, run, left);

	if (r != ZD_HELD && run->hit.kind == ZD_FAULT_HANG)
		zd_fault_waited(dev, &run->hit);
	return r;
}

void zd_hold_end(zd_dev *dev, struct zd_run *run)
{
	if (run->pacing)
		zd_pace_drop(dev, run->t.ticket);
	else if (run->hit.kind == ZD_FAULT_HANG)
		zd_fault_waited(dev, &run->hit);
}

int zd_hold_wait(zd_dev *dev, struct zd_run *run)
{
	bool hangs = !run->pacing && run->hit.kind == ZD_FAULT_HANG;
	uint64_t left;
	int r;

	while ((r = zd_hold_look(dev, run, &left)) == ZD_HELD) {
		const struct timespec nap = { 0, (long)(left < ZD_HOLD_STEP ? left : ZD_HOLD_STEP) };

		if (zd_interrupted(dev, &run->last)) {
			zd_hold_end(dev, run);
			return zd_fail_host(run->err, EINTR,
					    hangs ? "interrupted while a fault rule held the command up" : "interrupted");
		}
		nanosleep(&nap, NULL);
	}
	return r;
}

/* ---------------------------------------------------------------- before and behind */

int zd_strike_before(zd_dev *dev, const struct zd_run *run)
{
	const struct zd_hit *hit = &run->hit;
	bool active = hit->active || run->c.cmd == ZD_CMD_SET_EXTENSION; /* which opens no zone */
	int r;

	if (!hit->id)
		return 0;
	switch (hit->kind) {
	case ZD_FAULT_MEDIUM: return run->c.length ? 0 : zd_strike_medium(dev, run);
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
		if (hit->after)
			return 0;
		return zd_manage_by_fault(dev, hit->kind == ZD_FAULT_OFFLINE ? ZD_CMD_SET_OFFLINE : ZD_CMD_SET_READ_ONLY,
					  hit->zone, hit->id, run->err);
	case ZD_FAULT_LIMIT:
		return inject(dev, run, hit, active ? ZD_E_TOO_MANY_ACTIVE : ZD_E_TOO_MANY_OPEN,
			      active ? dev->g.h.max_active : dev->g.h.max_open);
	case ZD_FAULT_POWER_CUT:
		if (hit->after)
			return 0;
		r = dev->up->cut_power(dev, hit->keep, hit->draw, hit->id, hit->label, run->err);
		return r ? r : no_power(dev, run);
	default: return 0;
	}
}

int64_t zd_strike_after(zd_dev *dev, const struct zd_run *run, int64_t result, uint64_t landed)
{
	const struct zd_hit *hit = &run->hit;
	bool dies = hit->kind == ZD_FAULT_READ_ONLY || hit->kind == ZD_FAULT_OFFLINE;
	int r = 0;

	if (!hit->id)
		return result;
	if (result < 0) {
		if (dies && !hit->after && result <= ZD_E_FIRST_RULE)
			zd_fault_mark(run->err, hit->id, hit->label);
		return result;
	}
	switch (hit->kind) {
	case ZD_FAULT_LOST: r = zd_fault_lose(dev, hit, landed, run->err); break;
	case ZD_FAULT_FLUSH_ERROR: r = zd_fault_owe_flush(dev, hit, run->err); break;
	case ZD_FAULT_FLIP_MEDIA:
		/* For an append `at` was where the data would land; where it did is known now. */
		r = zd_zone_flip(dev, hit->at - run->c.offset + landed + hit->bit / 8, hit->bit % 8);
		if (r)
			zd_fail_host(run->err, -r, "it is done, but the bit that a fault rule is to flip could not be stored");
		break;
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
		if (hit->after)
			r = zd_manage_by_fault(dev, hit->kind == ZD_FAULT_OFFLINE ? ZD_CMD_SET_OFFLINE : ZD_CMD_SET_READ_ONLY,
					       hit->zone, hit->id, run->err);
		break;
	case ZD_FAULT_POWER_CUT:
		if (hit->after)
			r = dev->up->cut_power(dev, hit->keep, hit->draw, hit->id, hit->label, run->err);
		break;
	}
	return r ? r : result;
}

int zd_strike_flush(zd_dev *dev, const struct zd_run *run)
{
	struct zd_hit owed;
	int r = zd_fault_owed_flush(dev, &owed, run->err);

	return r || !owed.id ? r : inject(dev, run, &owed, ZD_E_MEDIUM_WRITE, 0);
}
