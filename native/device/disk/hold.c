/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fault rule decided is carried out here: before a command (it is held up, refused, its zone dies, the power goes)
 * and behind it.
 */
#include "device/disk/disk.h"

#include <time.h>

static int no_power(zd_dev *dev, const struct zd_command *c, struct zd_error *err)
{
	int r;

	if (!(atomic_load(&dev->head->gate) & ZD_GATE_POWER))
		return 0;
	r = zd_refuse_powerless(dev, err);
	if (err)
		err->cmd = c->cmd;
	return r;
}

static int inject(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, int code, uint64_t bound, struct zd_error *err)
{
	bool placed = c->length || c->first == c->last;

	zd_refuse(dev, err, code, c->cmd, placed ? hit->zone : ZD_NO_ZONE, placed ? c->offset : ZD_NONE, c->length, bound);
	zd_fault_mark(err, hit->id, hit->label);
	return code;
}

int zd_fault_medium(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, struct zd_error *err)
{
	return inject(dev, c, hit, c->cmd == ZD_CMD_READ ? ZD_E_MEDIUM_READ : ZD_E_MEDIUM_WRITE,
		      c->length ? c->offset + hit->cut : 0, err);
}

/* Hold no lock; look every few milliseconds. hangs: clear, release and timeout count; else only time passes. */
static int wait_for(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, struct zd_error *err)
{
	bool hangs = hit->kind == ZD_FAULT_HANG;
	uint64_t begin = zd_now(), last = begin, ns = hit->ns;
	int e;

	for (;;) {
		uint64_t past = zd_now() - begin, left = past < ns ? ns - past : 0, step = 2000000;
		struct timespec nap;

		if (hangs && zd_fault_let_go(dev, hit))
			return 0;
		if (atomic_load(&dev->closing))
			return zd_fail(err, ZD_E_CLOSED, "the handle was closed while a fault rule held the command up");
		e = no_power(dev, c, err);
		if (e)
			return e;
		if (ns && !left)
			return hangs ? inject(dev, c, hit, ZD_E_TIMEOUT, 0, err) : 0;
		if (zd_interrupted(dev, &last))
			return zd_fail_host(err, EINTR, hangs ? "interrupted while a fault rule held the command up" : "interrupted");
		if (ns && left < step)
			step = left;
		nap = (struct timespec){ 0, (long)step };
		nanosleep(&nap, NULL);
	}
}

static int carry_out(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, struct zd_error *err)
{
	int e;

	switch (hit->kind) {
	case ZD_FAULT_MEDIUM:
		return c->length ? 0 : zd_fault_medium(dev, c, hit, err);
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
		if (hit->after)
			return 0;
		return zd_mgmt_one(dev, hit->kind == ZD_FAULT_OFFLINE ? ZD_CMD_SET_OFFLINE : ZD_CMD_SET_READ_ONLY, hit->zone, hit->id, err);
	case ZD_FAULT_LATENCY:
		return hit->ns ? wait_for(dev, c, hit, err) : 0;
	case ZD_FAULT_HANG:
		e = wait_for(dev, c, hit, err);
		zd_fault_waited(dev, hit);
		return e;
	case ZD_FAULT_LIMIT:
		return inject(dev, c, hit, hit->active ? ZD_E_TOO_MANY_ACTIVE : ZD_E_TOO_MANY_OPEN,
			      hit->active ? dev->g.h.max_active : dev->g.h.max_open, err);
	case ZD_FAULT_POWER_CUT:
		if (hit->after)
			return 0;
		e = dev->up->cut_power(dev, hit->keep, hit->draw, hit->id, hit->label, err);
		return e ? e : no_power(dev, c, err);
	default:
		return 0;
	}
}

int zd_fault_before(zd_dev *dev, const struct zd_command *c, struct zd_hit *hit, struct zd_error *err)
{
	int r = zd_fault_match(dev, c, hit, err);

	return r || !hit->id ? r : carry_out(dev, c, hit, err);
}

int64_t zd_fault_after(zd_dev *dev, const struct zd_command *c, const struct zd_hit *hit, int64_t result, uint64_t landed,
		       struct zd_error *err)
{
	int e = 0;

	if (!hit->id)
		return result;
	if (result < 0) {
		if ((hit->kind == ZD_FAULT_READ_ONLY || hit->kind == ZD_FAULT_OFFLINE) && !hit->after && result <= ZD_E_FIRST_RULE)
			zd_fault_mark(err, hit->id, hit->label);
		return result;
	}
	switch (hit->kind) {
	case ZD_FAULT_LOST:
		e = zd_fault_lose(dev, hit, landed, err);
		break;
	case ZD_FAULT_FLUSH_ERROR:
		e = zd_fault_owe_flush(dev, hit, err);
		break;
	case ZD_FAULT_FLIP_MEDIA:
		/* For an append `at` was where the data would land; where it did is known now. */
		e = zd_zone_flip(dev, hit->at - c->offset + landed + hit->bit / 8, hit->bit % 8);
		break;
	case ZD_FAULT_READ_ONLY:
	case ZD_FAULT_OFFLINE:
		if (hit->after)
			e = zd_mgmt_one(dev, hit->kind == ZD_FAULT_OFFLINE ? ZD_CMD_SET_OFFLINE : ZD_CMD_SET_READ_ONLY, hit->zone, hit->id, err);
		break;
	case ZD_FAULT_POWER_CUT:
		if (hit->after)
			e = dev->up->cut_power(dev, hit->keep, hit->draw, hit->id, hit->label, err);
		break;
	}
	return e ? e : result;
}

int zd_fault_flush(zd_dev *dev, struct zd_error *err)
{
	const struct zd_command c = { ZD_CMD_FLUSH, 0, dev->g.h.nr_zones - 1, ZD_NONE, 0, false };
	struct zd_hit hit;
	int r = zd_fault_owed_flush(dev, &hit, err);

	return r || !hit.id ? r : inject(dev, &c, &hit, ZD_E_MEDIUM_WRITE, 0, err);
}

int zd_trace_begin(zd_dev *dev, struct zd_traced *t, int cmd, uint32_t zone, uint64_t offset, uint64_t length, bool changes,
		   struct zd_error **err)
{
	int r = zd_trace_open(dev, t, cmd, zone, offset, length, err);

	if (r)
		return r;
	r = zd_gate_rest(dev, changes, *err);
	return r < 0 ? (int)zd_trace_end(dev, t, r, *err) : 0;
}
