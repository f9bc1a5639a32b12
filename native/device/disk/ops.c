/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ops of requests, each once: where it lies, whether it will be refused, and what it does. The stages that it passes, which
 * ask these, are in request.c.
 */
#include "device/disk/disk.h"

/* ---------------------------------------------------------------- places */

static int place_data(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	int r = zd_check_place(dev, run->op->cmd, q->offset, run->length, run->err);

	if (r || !run->length)
		return r ? r : ZD_NOTHING;
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
		return ZD_UNMET;
	start = zd_zone_start(dev, zone);
	run->c.first = run->c.last = zone;
	run->c.offset = start + zd_word_wp(dev, zd_load_word(dev, zone));
	return run->c.offset + run->length > start + zd_zone_length(dev, zone) ? ZD_UNMET : 0;
}

bool zd_zones_beyond(const zd_dev *dev, const struct zd_run *run)
{
	const struct zd_request *q = run->q;

	return run->at >= dev->g.h.nr_zones || !q->count || q->count > dev->g.h.nr_zones - q->zone;
}

static int place_zone(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;

	if (zd_zones_beyond(dev, run))
		return zd_refuse(dev, run->err, ZD_E_OUT_OF_RANGE, run->op->cmd, ZD_NO_ZONE, q->zone, q->count,
				 dev->g.h.nr_zones);
	run->c.first = run->c.last = run->at;
	run->c.offset = zd_zone_start(dev, run->at);
	return run->op->cmd >= ZD_CMD_SET_EMPTY && run->op->cmd <= ZD_CMD_SET_OFFLINE ? ZD_UNMET : 0;
}

static int place_whole(zd_dev *dev, struct zd_run *run)
{
	run->c.last = dev->g.h.nr_zones - 1;
	run->c.offset = ZD_NONE;
	return run->op->cmd == ZD_CMD_POWER_CYCLE ? ZD_UNMET : 0;
}

static int place_flush(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	int r = q->length ? zd_check_place(dev, ZD_CMD_FLUSH, q->offset, q->length, run->err) : 0;

	return r ? r : place_whole(dev, run);
}

/* ---------------------------------------------------------------- acting */

/* Of an append: its zone was looked at. */
static struct zd_write write_of(const zd_dev *dev, const struct zd_run *run)
{
	struct zd_request *q = run->q;

	return (struct zd_write){
		.cmd = run->op->cmd,
		.offset = run->op->cmd == ZD_CMD_APPEND ? zd_zone_start(dev, q->zone) : q->offset,
		.length = run->length,
		.part = run->part,
		.source = q->mover ? (struct zd_source){ &run->moved, -1, 0 } : (struct zd_source){ q->iov, (int)q->nr_iov, 0 },
		.told = q->mover && run->op->cmd == ZD_CMD_APPEND ? &q->landed : NULL,
		.how = q->op == ZD_OP_WRITE_ZEROES ? ZD_WRITE_ZEROES :
		       q->op == ZD_OP_DEALLOCATE   ? ZD_WRITE_DROP :
						     ZD_WRITE_BYTES,
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

static bool write_refused(zd_dev *dev, const struct zd_run *run)
{
	struct zd_write w = write_of(dev, run);
	uint64_t limit = dev->g.h.append_limit;

	return (run->op->cmd == ZD_CMD_APPEND && limit && run->length > limit) || zd_write_refused(dev, &w);
}

/* Before the zone is looked at. */
static int check_append(zd_dev *dev, const struct zd_run *run)
{
	uint32_t zone = run->q->zone;
	uint64_t bound;
	int r;

	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, run->err, ZD_E_OUT_OF_RANGE, ZD_CMD_APPEND, ZD_NO_ZONE, zone, run->length,
				 dev->g.h.nr_zones);
	r = zd_check_append(&dev->g.book, zd_zone_type(dev, zone), run->length, &bound);
	return r ? zd_refuse(dev, run->err, r, ZD_CMD_APPEND, zone, zd_zone_start(dev, zone), run->length, bound) : 0;
}

static int64_t act_write(zd_dev *dev, struct zd_run *run)
{
	bool append = run->op->cmd == ZD_CMD_APPEND;
	int r = append ? check_append(dev, run) : 0;
	struct zd_write w;
	int64_t done;
	uint64_t at;

	if (r)
		return zd_strike_after(dev, run, r, 0);
	w = write_of(dev, run);
	done = zd_write_run(dev, &w, &run->t, run->err);
	if (zd_write_room(dev, done)) {
		w = write_of(dev, run);
		done = zd_write_run(dev, &w, &run->t, run->err);
	}
	at = append ? w.landed : run->q->offset;
	if (append)
		run->q->landed = run->part || !run->length ? at : 0;
	if (done > 0) {
		r = zd_spoiled_mend(dev, at, (uint64_t)done, run->err);
		if (!r)
			r = make_durable(dev, run, at, (uint64_t)done);
		if (r)
			return r;
	}
	if (done >= 0 && run->part < run->length) {
		run->c.offset = at;
		return zd_strike_medium(dev, run);
	}
	return zd_strike_after(dev, run, done, at);
}

static bool read_refused(zd_dev *dev, const struct zd_run *run)
{
	return zd_check_reading(dev, run->q->offset, run->length, &zd_asking) != 0;
}

static void flip(zd_dev *dev, const struct zd_run *run)
{
	uint64_t place = run->hit.at + run->hit.bit / 8, at = place - run->q->offset;
	const struct iovec *iov = run->q->iov;
	const struct zd_mover *mover = run->q->mover;

	if (mover) {
		uint32_t zone = zd_zone_of(dev, place);
		uint8_t byte;

		if (zd_zone_load(dev, zone, place - zd_zone_start(dev, zone), &byte, 1))
			return;
		byte ^= (uint8_t)(1u << run->hit.bit % 8);
		mover->give(mover, at, &byte, 1);
		return;
	}
	for (; at >= iov->iov_len; iov++)
		at -= iov->iov_len;
	((uint8_t *)iov->iov_base)[at] ^= (uint8_t)(1u << run->hit.bit % 8);
}

/* READ fills the buffers and COMPARE compares them; whatever else looks at data only reads them. */
static int64_t act_read(zd_dev *dev, struct zd_run *run)
{
	const struct zd_request *q = run->q;
	uint64_t differs = ZD_NONE, part = run->part;
	int64_t done = zd_check_reading(dev, q->offset, run->length, run->err);

	if (!done && atomic_load(&dev->head->gate) & ZD_GATE_FAULTS)
		run->part = zd_spoiled_first(dev, q->offset, q->offset + part) - q->offset;
	if (!done && run->part && q->op == ZD_OP_READ)
		done = q->mover ? zd_read_give(dev, q->mover, run->part, q->offset, run->err) :
				  zd_read_into(dev, q->iov, run->part, q->offset, run->err);
	else if (!done && run->part)
		done = zd_read_compare(dev, q->op == ZD_OP_COMPARE ? q->iov : NULL, run->part, q->offset, &differs, run->err);
	run->t.r.done = done > 0 ? (uint64_t)done : 0;
	if (differs != ZD_NONE) {
		uint32_t zone = zd_zone_of(dev, differs);

		return zd_strike_after(dev, run,
				       zd_refuse(dev, run->err, ZD_E_MISCOMPARE, ZD_CMD_READ, zone, q->offset, run->length,
						 differs),
				       0);
	}
	if (done >= 0 && run->part < part) {
		uint64_t bad = q->offset + run->part;

		return zd_strike_after(dev, run,
				       zd_refuse(dev, run->err, ZD_E_MEDIUM_READ, ZD_CMD_READ, zd_zone_of(dev, bad), q->offset,
						 run->length, bad),
				       0);
	}
	if (done >= 0 && run->part < run->length)
		return zd_strike_medium(dev, run);
	if (done >= 0 && run->hit.kind == ZD_FAULT_FLIP_READ && q->op == ZD_OP_READ)
		flip(dev, run);
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

const struct zd_stages zd_ops[] = {
	[ZD_OP_READ] = { ZD_CMD_READ, ZD_SHAPE_DATA, false, 0, place_data, read_refused, act_read },
	[ZD_OP_WRITE] = { ZD_CMD_WRITE, ZD_SHAPE_DATA, true, ZD_REQ_FUA, place_data, write_refused, act_write },
	[ZD_OP_APPEND] = { ZD_CMD_APPEND, ZD_SHAPE_APPEND, true, ZD_REQ_FUA, place_append, write_refused, act_write },
	[ZD_OP_OPEN] = { ZD_CMD_OPEN, ZD_SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_CLOSE] = { ZD_CMD_CLOSE, ZD_SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_FINISH] = { ZD_CMD_FINISH, ZD_SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_RESET] = { ZD_CMD_RESET, ZD_SHAPE_ZONE, true, ZD_REQ_ALL, place_zone, zone_refused, act_zone },
	[ZD_OP_OPEN_ALL] = { ZD_CMD_OPEN_ALL, ZD_SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_CLOSE_ALL] = { ZD_CMD_CLOSE_ALL, ZD_SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_FINISH_ALL] = { ZD_CMD_FINISH_ALL, ZD_SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_RESET_ALL] = { ZD_CMD_RESET_ALL, ZD_SHAPE_WHOLE, true, 0, place_whole, all_refused, act_all },
	[ZD_OP_POWER_CYCLE] = { ZD_CMD_POWER_CYCLE, ZD_SHAPE_WHOLE, true, 0, place_whole, NULL, act_all },
	[ZD_OP_SET_EMPTY] = { ZD_CMD_SET_EMPTY, ZD_SHAPE_ZONE, true, 0, place_zone, NULL, act_zone },
	[ZD_OP_SET_READ_ONLY] = { ZD_CMD_SET_READ_ONLY, ZD_SHAPE_ZONE, true, 0, place_zone, NULL, act_zone },
	[ZD_OP_SET_OFFLINE] = { ZD_CMD_SET_OFFLINE, ZD_SHAPE_ZONE, true, 0, place_zone, NULL, act_zone },
	[ZD_OP_FLUSH] = { ZD_CMD_FLUSH, ZD_SHAPE_WHOLE, false, 0, place_flush, NULL, act_flush },
	[ZD_OP_SET_EXTENSION] = { ZD_CMD_SET_EXTENSION, ZD_SHAPE_SET, true, 0, zd_extend_place, zd_extend_refused, zd_extend },
	[ZD_OP_OPEN_ZRWA] = { ZD_CMD_OPEN_ZRWA, ZD_SHAPE_ZONE, true, 0, place_zone, zone_refused, act_zone },
	[ZD_OP_COMMIT_ZRWA] = { ZD_CMD_COMMIT_ZRWA, ZD_SHAPE_UPTO, true, 0, zd_commit_place, zd_commit_refused, zd_commit_act },
	[ZD_OP_VERIFY] = { ZD_CMD_READ, ZD_SHAPE_RANGE, false, 0, place_data, read_refused, act_read },
	[ZD_OP_COMPARE] = { ZD_CMD_READ, ZD_SHAPE_DATA, false, 0, place_data, read_refused, act_read },
	[ZD_OP_WRITE_ZEROES] = { ZD_CMD_WRITE, ZD_SHAPE_RANGE, true, ZD_REQ_FUA, place_data, write_refused, act_write },
	[ZD_OP_DEALLOCATE] = { ZD_CMD_WRITE, ZD_SHAPE_RANGE, true, 0, place_data, write_refused, act_write },
};
const uint32_t zd_nr_ops = sizeof(zd_ops) / sizeof(*zd_ops);
