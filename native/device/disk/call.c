/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that return when their command has ended. While the gate is shut and nobody observes this handle a command
 * takes the plain way: the same checks, store and publishing, with nothing in between. Else it is a request on the stack.
 */
#include "device/disk/disk.h"

/* ---------------------------------------------------------------- data */

#define REQUEST(op_, ...) { .size = sizeof(struct zd_request), .op = (op_), .err = err, __VA_ARGS__ }

static __attribute__((noinline, cold)) int64_t data_slowly(zd_dev *dev, int op, const struct iovec *iov, int n, uint64_t offset,
							   struct zd_error *err)
{
	struct zd_request q = REQUEST((uint16_t)op, .offset = offset, .iov = iov, .nr_iov = (uint32_t)n);

	return zd_run_here(dev, &q);
}

/* Every change ends so where the disk was made with host_sync=command. */
static int64_t ended(zd_dev *dev, int64_t done, struct zd_error *err)
{
	int r = done >= 0 ? zd_after_change(dev, err) : 0;

	return r ? r : done;
}

/* Field by field: what only the slow way needs is left alone. */
static inline __attribute__((always_inline)) void begin_write(struct zd_write *w, int cmd, uint64_t offset, uint64_t length,
							      const struct iovec *iov, int n)
{
	w->cmd = cmd;
	w->offset = offset;
	w->length = length;
	w->source.iov = iov;
	w->source.n = n;
	w->source.skip = 0;
	w->how = ZD_WRITE_BYTES;
	w->counted = w->lost = false;
}

static inline __attribute__((always_inline)) int64_t write_iov(zd_dev *dev, const struct iovec *iov, int n, uint64_t length,
							       uint64_t offset, struct zd_error *err)
{
	struct zd_write w;
	int64_t done;
	int r = zd_begin_change(dev, err);

	if (likely(!r))
		r = zd_check_place(dev, ZD_CMD_WRITE, offset, length, err);
	if (unlikely(r))
		return r == ZD_SLOW ? data_slowly(dev, ZD_OP_WRITE, iov, n, offset, err) : r;
	if (length == 0)
		return 0;
	begin_write(&w, ZD_CMD_WRITE, offset, length, iov, n);
	done = zd_write_now(dev, &w, err);
	if (unlikely(zd_write_room(dev, done))) {
		w.source = (struct zd_source){ iov, n, 0 };
		done = zd_write_now(dev, &w, err);
	}
	return unlikely(dev->g.h.host_sync == ZD_SYNC_COMMAND) ? ended(dev, done, err) : done;
}

int64_t zd_pwrite(zd_dev *dev, const void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	struct iovec one = { (void *)(uintptr_t)buf, length };

	return write_iov(dev, &one, 1, length, offset, err);
}

/* Bytes of all buffers, or -EINVAL. */
static int64_t sum(const struct iovec *iov, int n, struct zd_error *err)
{
	uint64_t length = 0;
	int i;

	if (n < 0)
		return zd_fail_host(err, EINVAL, "a negative number of buffers");
	for (i = 0; i < n; i++) {
		if (iov[i].iov_len > UINT64_MAX / 2 - length)
			return zd_fail_host(err, EINVAL, "the buffers are longer than a disk can be");
		length += iov[i].iov_len;
	}
	return (int64_t)length;
}

int64_t zd_pwritev(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err)
{
	int64_t length = sum(iov, iovcnt, err);

	return length < 0 ? length : write_iov(dev, iov, iovcnt, (uint64_t)length, offset, err);
}

static __attribute__((noinline, cold)) int64_t append_slowly(zd_dev *dev, uint32_t zone, const struct iovec *iov, int n,
							     uint64_t *landed, struct zd_error *err)
{
	struct zd_request q = REQUEST(ZD_OP_APPEND, .zone = zone, .iov = iov, .nr_iov = (uint32_t)n);
	int64_t done = zd_run_here(dev, &q);

	if (landed)
		*landed = q.landed;
	return done;
}

static inline __attribute__((always_inline)) int64_t append_iov(zd_dev *dev, uint32_t zone, const struct iovec *iov, int n,
								uint64_t length, uint64_t *landed, struct zd_error *err)
{
	struct zd_write w;
	uint64_t bound;
	int64_t done;
	int r = zd_begin_change(dev, err);

	if (unlikely(r))
		return r == ZD_SLOW ? append_slowly(dev, zone, iov, n, landed, err) : r;
	if (unlikely(zone >= dev->g.h.nr_zones))
		return zd_refuse(dev, err, ZD_E_OUT_OF_RANGE, ZD_CMD_APPEND, ZD_NO_ZONE, zone, length, dev->g.h.nr_zones);
	begin_write(&w, ZD_CMD_APPEND, zd_zone_start(dev, zone), length, iov, n);
	r = zd_check_append(&dev->g.book, zd_zone_type(dev, zone), length, &bound);
	if (unlikely(r))
		return zd_refuse(dev, err, r, ZD_CMD_APPEND, zone, w.offset, length, bound);
	done = zd_write_now(dev, &w, err);
	if (unlikely(zd_write_room(dev, done))) {
		w.source = (struct zd_source){ iov, n, 0 };
		done = zd_write_now(dev, &w, err);
	}
	if (landed)
		*landed = w.landed;
	return unlikely(dev->g.h.host_sync == ZD_SYNC_COMMAND) ? ended(dev, done, err) : done;
}

int64_t zd_append(zd_dev *dev, uint32_t zone, const void *buf, uint64_t length, uint64_t *landed, struct zd_error *err)
{
	struct iovec one = { (void *)(uintptr_t)buf, length };

	return append_iov(dev, zone, &one, 1, length, landed, err);
}

int64_t zd_appendv(zd_dev *dev, uint32_t zone, const struct iovec *iov, int iovcnt, uint64_t *landed, struct zd_error *err)
{
	int64_t length = sum(iov, iovcnt, err);

	return length < 0 ? length : append_iov(dev, zone, iov, iovcnt, (uint64_t)length, landed, err);
}

int64_t zd_pread(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	int r = zd_begin_reading(dev, offset, length, err);

	if (unlikely(r)) {
		struct iovec one = { buf, length };

		return r == ZD_SLOW ? data_slowly(dev, ZD_OP_READ, &one, 1, offset, err) : r;
	}
	return zd_read_now(dev, buf, length, offset, err);
}

int64_t zd_preadv(zd_dev *dev, const struct iovec *iov, int iovcnt, uint64_t offset, struct zd_error *err)
{
	int64_t length = sum(iov, iovcnt, err);

	return length < 0 ? length : data_slowly(dev, ZD_OP_READ, iov, iovcnt, offset, err);
}

int zd_reserve(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	int r = zd_begin_change(dev, err);

	if (r == ZD_SLOW) /* it is no command: nobody is told, and no fault rule meets it */
		r = zd_enter_writable(dev, err);
	if (!r)
		r = zd_gate_rest(dev, true, err);
	if (!r)
		r = zd_check_place(dev, ZD_CMD_WRITE, offset, length, err);
	if (r)
		return r;
	r = zd_write_reserve(dev, offset, length, err);
	return zd_write_room(dev, r) ? zd_write_reserve(dev, offset, length, err) : r;
}

/* ---------------------------------------------------------------- zones and the whole disk */

int zd_zone_mgmt(zd_dev *dev, int cmd, uint32_t zone, uint32_t count, struct zd_error *err)
{
	struct zd_request q = REQUEST((uint16_t)cmd, .zone = zone, .count = count);
	int r = zd_begin_change(dev, err), after;
	uint64_t last;
	uint32_t z;

	if (r && r != ZD_SLOW)
		return r;
	if (cmd < ZD_CMD_OPEN || cmd > ZD_CMD_RESET_ALL)
		return zd_fail_host(err, EINVAL, "no zone management command");
	if (r || (cmd < ZD_CMD_OPEN_ALL && (zone >= dev->g.h.nr_zones || count == 0 || count > dev->g.h.nr_zones - zone)))
		return (int)zd_run_here(dev, &q);
	if (cmd >= ZD_CMD_OPEN_ALL)
		r = zd_manage_all(dev, cmd, NULL, err);
	last = count > 1 ? zd_now() : 0;
	for (z = zone; cmd < ZD_CMD_OPEN_ALL && !r && z < zone + count; z++) {
		r = zd_manage_one(dev, cmd, z, NULL, err);
		if (!r && count > 1)
			r = zd_manage_between(dev, z, &last, err);
	}
	after = zd_after_change(dev, r ? NULL : err);
	return r ? r : after;
}

int zd_set_condition(zd_dev *dev, uint32_t zone, int cond, struct zd_error *err)
{
	struct zd_request q = REQUEST(0, .zone = zone, .count = 1);
	int r = zd_begin_change(dev, err);

	if (r && r != ZD_SLOW)
		return r;
	switch (cond) {
	case ZD_EMPTY: q.op = ZD_OP_SET_EMPTY; break;
	case ZD_READ_ONLY: q.op = ZD_OP_SET_READ_ONLY; break;
	case ZD_OFFLINE: q.op = ZD_OP_SET_OFFLINE; break;
	default: return zd_fail_host(err, EINVAL, "a zone can be set READ_ONLY, OFFLINE, or back to EMPTY, to nothing else");
	}
	return (int)zd_run_here(dev, &q);
}

int zd_zone_set_extension(zd_dev *dev, uint32_t zone, const void *bytes, uint64_t length, struct zd_error *err)
{
	const struct iovec one = { (void *)(uintptr_t)bytes, length };
	struct zd_request q = REQUEST(ZD_OP_SET_EXTENSION, .zone = zone, .iov = &one, .nr_iov = 1);

	return (int)zd_run_here(dev, &q);
}

int zd_zone_open_zrwa(zd_dev *dev, uint32_t zone, struct zd_error *err)
{
	struct zd_request q = REQUEST(ZD_OP_OPEN_ZRWA, .zone = zone, .count = 1);

	return (int)zd_run_here(dev, &q);
}

int zd_zone_commit_zrwa(zd_dev *dev, uint32_t zone, uint64_t end, struct zd_error *err)
{
	struct zd_request q = REQUEST(ZD_OP_COMMIT_ZRWA, .zone = zone, .offset = end);

	return (int)zd_run_here(dev, &q);
}

int zd_power_cycle(zd_dev *dev, struct zd_error *err)
{
	struct zd_request q = REQUEST(ZD_OP_POWER_CYCLE, .count = 0);

	return (int)zd_run_here(dev, &q);
}

int zd_flush(zd_dev *dev, struct zd_error *err)
{
	struct zd_request q = REQUEST(ZD_OP_FLUSH, .count = 0);

	return (int)zd_run_here(dev, &q);
}
