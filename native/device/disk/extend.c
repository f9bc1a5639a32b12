/* SPDX-License-Identifier: Apache-2.0 */
/* Setting a zone's descriptor extension: the stages of this command that no other shares (ops.c). */
#include "device/disk/disk.h"

int zd_extend_place(zd_dev *dev, struct zd_run *run)
{
	uint32_t zone = run->q->zone, size = dev->g.h.zone_extension;

	if (!size)
		return zd_refuse(dev, run->err, ZD_E_UNSUPPORTED, ZD_CMD_SET_EXTENSION,
				 zone < dev->g.h.nr_zones ? zone : ZD_NO_ZONE, ZD_NONE, 0, 0);
	if (zone >= dev->g.h.nr_zones)
		return zd_refuse(dev, run->err, ZD_E_OUT_OF_RANGE, ZD_CMD_SET_EXTENSION, ZD_NO_ZONE, zone, 1,
				 dev->g.h.nr_zones);
	if (run->length != size)
		return zd_fail(run->err, -EINVAL, "a zone's descriptor extension has %u bytes on this disk, not %llu", size,
			       (unsigned long long)run->length);
	run->c.first = run->c.last = zone;
	run->c.offset = zd_zone_start(dev, zone);
	return 0;
}

bool zd_extend_refused(zd_dev *dev, const struct zd_run *run)
{
	return zd_manage_refused(dev, ZD_CMD_SET_EXTENSION, run->q->zone);
}

int64_t zd_extend(zd_dev *dev, struct zd_run *run)
{
	const struct iovec *iov = run->q->iov;
	uint8_t bytes[ZD_MOST_EXTENSION];
	uint64_t at = 0;
	uint32_t i;
	int r;

	for (i = 0; i < run->q->nr_iov; at += iov[i++].iov_len) {
		if (iov[i].iov_len)
			memcpy(bytes + at, iov[i].iov_base, iov[i].iov_len);
	}
	r = zd_manage_extend(dev, run->q->zone, bytes, &run->t, run->err);
	if (zd_write_room(dev, r))
		r = zd_manage_extend(dev, run->q->zone, bytes, &run->t, run->err);
	return zd_strike_after(dev, run, r, 0);
}
