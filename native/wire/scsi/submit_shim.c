/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests by the calls that there are, as long as the disk does not take them itself: this file goes when it does.
 * Everything is carried out and completed at once; nothing is deferred, so nothing can be cancelled.
 */
#include "wire/scsi/scsi.h"

#include "base/base.h"

#include <stdlib.h>

#define PIECE (1u << 20)

static uint64_t total(const struct zd_request *q)
{
	uint64_t length = 0;

	for (uint32_t i = 0; i < q->nr_iov; i++)
		length += q->iov[i].iov_len;
	return length;
}

static int64_t read_in(zd_dev *dev, const struct zd_request *q, uint64_t length, const uint8_t *compare)
{
	uint8_t *whole = q->nr_iov == 1 && !compare ? q->iov[0].iov_base : malloc(length ? length : 1);
	uint64_t at = 0;
	int64_t r;

	if (!whole)
		return zd_fail_host(q->err, ENOMEM, "reading");
	/* One call, so that the rules see the command as a whole. */
	r = zd_pread(dev, whole, length, q->offset, q->err);
	if (whole == (q->nr_iov == 1 ? q->iov[0].iov_base : NULL))
		return r;
	for (uint32_t i = 0; i < q->nr_iov && !compare; i++) {
		if (q->iov[i].iov_len)
			memcpy(q->iov[i].iov_base, whole + at, q->iov[i].iov_len);
		at += q->iov[i].iov_len;
	}
	for (uint32_t i = 0; i < q->nr_iov && compare && r >= 0; i++) {
		const uint8_t *other = q->iov[i].iov_base;

		for (uint64_t k = 0; k < q->iov[i].iov_len; k++) {
			if (other[k] == whole[at + k])
				continue;
			if (q->err) {
				zd_error_clear(q->err, ZD_E_MISCOMPARE);
				q->err->bound = q->offset + at + k;
			}
			r = ZD_E_MISCOMPARE;
			i = q->nr_iov - 1;
			break;
		}
		at += q->iov[i].iov_len;
	}
	free(whole);
	return r;
}

static int64_t zero(zd_dev *dev, const struct zd_request *q)
{
	uint64_t done = 0;
	struct zd_info info;
	struct zd_zone zone;
	uint8_t *zeros;
	int64_t r = zd_info(dev, &info, q->err);

	if (r)
		return r;
	if (q->offset > info.size || q->length > info.size - q->offset)
		return zd_pread(dev, NULL, info.logical_block, info.size, q->err);
	for (uint64_t at = q->offset; at < q->offset + q->length; at = zone.start + zone.length) {
		r = zd_report(dev, (uint32_t)(at / info.zone_size), 1, &zone, q->err);
		if (r < 0)
			return r;
		if (zone.type != ZD_CONVENTIONAL) {
			if (q->err)
				zd_error_clear(q->err, ZD_E_SEQUENTIAL);
			return ZD_E_SEQUENTIAL;
		}
	}
	zeros = calloc(1, PIECE);
	if (!zeros)
		return zd_fail_host(q->err, ENOMEM, "zeroing");
	for (r = 0; done < q->length && r >= 0; done += PIECE)
		r = zd_pwrite(dev, zeros, q->length - done < PIECE ? q->length - done : PIECE, q->offset + done, q->err);
	free(zeros);
	return r < 0 ? r : (int64_t)q->length;
}

static int64_t carry_out(zd_dev *dev, struct zd_request *q)
{
	uint64_t length = total(q);

	switch (q->op) {
	case ZD_OP_READ: return read_in(dev, q, length, NULL);
	case ZD_OP_COMPARE: return read_in(dev, q, length, (const uint8_t *)"");
	case ZD_OP_VERIFY: return read_in(dev, q, q->length, NULL);
	case ZD_OP_WRITE: return zd_pwritev(dev, q->iov, (int)q->nr_iov, q->offset, q->err);
	case ZD_OP_WRITE_ZEROES:
	case ZD_OP_DEALLOCATE: return zero(dev, q);
	case ZD_OP_FLUSH: return zd_flush(dev, q->err);
	case ZD_OP_REPORT: return zd_report(dev, q->zone, q->count, q->zones, q->err);
	case ZD_OP_OPEN:
	case ZD_OP_CLOSE:
	case ZD_OP_FINISH:
	case ZD_OP_RESET:
		return zd_zone_mgmt(dev, q->op + (q->flags & ZD_REQ_ALL ? ZD_CMD_OPEN_ALL - ZD_CMD_OPEN : 0), q->zone, q->count, q->err);
	default: return zd_fail(q->err, -EINVAL, "no such request: %u", q->op);
	}
}

int zd_submit(zd_dev *dev, struct zd_request *q)
{
	q->result = carry_out(dev, q);
	if (q->result >= 0 && q->flags & ZD_REQ_FUA) {
		int r = zd_flush(dev, q->err);

		if (r)
			q->result = r;
	}
	if (q->done)
		q->done(q);
	return 0;
}

void zd_cancel(zd_dev *dev, struct zd_request *q)
{
	(void)dev;
	(void)q;
}
