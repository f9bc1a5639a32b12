/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading. A read of sequential zones holds nothing: it copies and then looks whether the zone's generation is still the
 * same, as only a reset makes written bytes change. A read of zones that may be overwritten holds the stripe, so that it
 * never sees half a write.
 */
#include "device/disk/disk.h"

int zd_check_place(zd_dev *dev, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	uint64_t bound;
	int r = zd_check_range(&dev->g.book, offset, length, &bound);

	if (unlikely(r))
		return zd_refuse(dev, err, r, cmd, offset < dev->g.h.size ? zd_zone_of(dev, offset) : ZD_NO_ZONE, offset,
				 length, bound);
	return 0;
}

/* What the rules said of a command. */
int zd_ruled(zd_dev *dev, const struct zd_ruling *v, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	if (likely(!v->rule))
		return 0;
	if (v->rule == ZD_E_CORRUPT)
		return zd_fail(err, ZD_E_CORRUPT, "zone %u has a condition that its type cannot have", v->zone);
	return zd_refuse(dev, err, v->rule, cmd, v->zone, offset, length, v->bound);
}

int zd_check_reading(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err)
{
	struct zd_ruling v;

	zd_check_read(&dev->g.book, zd_zone_now, dev, zd_zone_of(dev, offset), zd_zone_of(dev, offset + length - 1), offset,
		      length, &v);
	return zd_ruled(dev, &v, ZD_CMD_READ, offset, length, err);
}

void zd_count_read(zd_dev *dev, uint32_t zone, uint64_t commands, uint64_t n)
{
	struct zd_zone_rt *rt;

	if (dev->readonly || zd_zone_get(dev, zone, &rt))
		return;
	if (commands)
		atomic_fetch_add_explicit(&rt->reads, commands, memory_order_relaxed);
	atomic_fetch_add_explicit(&rt->bytes_read, n, memory_order_relaxed);
}

/* All ways of a read: checked already. To buf, or by a mover. first: the command's first byte, which counts it. */
static inline __attribute__((always_inline)) int64_t read_bytes(zd_dev *dev, void *buf, const struct zd_mover *mover,
								uint64_t length, uint64_t offset, bool first,
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
		r = mover ? zd_zone_give(dev, zone, rel, mover, done, n) :
			    zd_zone_load(dev, zone, rel, (uint8_t *)buf + done, n);
		if (unlikely(r)) {
			zd_fail_host(err, -r, r == -EINTR ? "interrupted" : "the host could not read the data back");
			if (err)
				err->zone = zone;
			return r;
		}
		zd_count_read(dev, zone, first && done == 0, n);
		done += n;
		if (unlikely(done < length) && zd_interrupted(dev, &last)) {
			zd_fail_host(err, EINTR, "interrupted");
			return -EINTR;
		}
	}
	return (int64_t)length;
}

int64_t zd_read_now(zd_dev *dev, void *buf, uint64_t length, uint64_t offset, struct zd_error *err)
{
	return read_bytes(dev, buf, NULL, length, offset, true, err);
}

int64_t zd_read_give(zd_dev *dev, const struct zd_mover *mover, uint64_t length, uint64_t offset, struct zd_error *err)
{
	return read_bytes(dev, NULL, mover, length, offset, true, err);
}

int64_t zd_read_into(zd_dev *dev, const struct iovec *iov, uint64_t length, uint64_t offset, struct zd_error *err)
{
	uint64_t done = 0;

	while (done < length) {
		uint64_t n = iov->iov_len < length - done ? iov->iov_len : length - done;
		int64_t r = n ? read_bytes(dev, iov->iov_base, NULL, n, offset + done, done == 0, err) : 0;

		if (r < 0)
			return r;
		done += n;
		iov++;
	}
	return (int64_t)length;
}

int64_t zd_read_compare(zd_dev *dev, const struct iovec *iov, uint64_t length, uint64_t offset, uint64_t *differs,
			struct zd_error *err)
{
	uint8_t piece[16384];
	uint64_t done = 0, in = 0, last = zd_now();

	*differs = ZD_NONE;
	while (done < length) {
		uint64_t n = length - done < sizeof(piece) ? length - done : sizeof(piece), at, step;
		int64_t r = read_bytes(dev, piece, NULL, n, offset + done, done == 0, err);

		if (r < 0)
			return r;
		for (at = 0; iov && at < n; at += step) {
			const uint8_t *with;

			while (iov->iov_len == in) {
				iov++;
				in = 0;
			}
			step = iov->iov_len - in < n - at ? iov->iov_len - in : n - at;
			with = (const uint8_t *)iov->iov_base + in;
			in += step;
			if (memcmp(piece + at, with, step) == 0)
				continue;
			while (piece[at] == *with)
				at++, with++;
			*differs = offset + done + at;
			return (int64_t)(done + at);
		}
		done += n;
		if (done < length && zd_interrupted(dev, &last))
			return zd_fail_host(err, EINTR, "interrupted");
	}
	return (int64_t)length;
}
