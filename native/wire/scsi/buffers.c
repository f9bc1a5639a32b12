/* SPDX-License-Identifier: Apache-2.0 */
/* Between the initiator's buffers and the executor's. Nothing trusts a CDB's lengths: what is there counts. */
#include "wire/scsi/scsi.h"

#include <stdlib.h>
#include <string.h>

void zd_scsi_put(struct zd_scsi_task *task, uint64_t at, const void *data, uint64_t length)
{
	const uint8_t *from = data;

	for (uint32_t i = 0; i < task->nr_in && length; i++) {
		uint64_t has = task->in[i].iov_len, part;

		if (at >= has) {
			at -= has;
			continue;
		}
		part = has - at < length ? has - at : length;
		memcpy((uint8_t *)task->in[i].iov_base + at, from, part);
		task->in_length += part;
		from += part;
		length -= part;
		at = 0;
	}
}

int zd_scsi_give(struct zd_scsi_task *task, const void *data, uint64_t length, uint64_t allocation)
{
	task->wants_in = length < allocation ? length : allocation;
	zd_scsi_put(task, 0, data, task->wants_in);
	return zd_scsi_good(task);
}

void *zd_scsi_scratch(struct zd_scsi_task *task, uint64_t length)
{
	free(task->scratch);
	task->scratch = malloc(length ? length : 1);
	return task->scratch;
}

void *zd_scsi_take(struct zd_scsi_task *task, uint64_t length)
{
	uint8_t *to;

	if (length > task->given)
		return NULL;
	to = zd_scsi_scratch(task, length);
	for (uint32_t i = 0; to && i < task->nr_out && length; i++) {
		uint64_t part = task->out[i].iov_len < length ? task->out[i].iov_len : length;

		if (part)
			memcpy(to, task->out[i].iov_base, part);
		to += part;
		length -= part;
	}
	return task->scratch;
}

bool zd_scsi_clip(struct zd_scsi_task *task, const struct iovec *iov, uint64_t offset, uint64_t length)
{
	struct zd_request *request = &task->request;
	struct iovec *pieces = &task->piece;
	uint64_t end;
	uint32_t nr;

	for (; iov->iov_len <= offset; iov++)
		offset -= iov->iov_len;
	for (nr = 0, end = 0; end < offset + length; nr++)
		end += iov[nr].iov_len;
	request->iov = iov;
	request->nr_iov = nr;
	if (!offset && end == length)
		return true;
	if (nr > 1) {
		pieces = realloc(task->pieces, nr * sizeof(*pieces));
		if (!pieces)
			return false;
		task->pieces = pieces;
	}
	memcpy(pieces, iov, nr * sizeof(*pieces));
	pieces[nr - 1].iov_len -= end - (offset + length);
	pieces[0].iov_base = (uint8_t *)pieces[0].iov_base + offset;
	pieces[0].iov_len -= offset;
	request->iov = pieces;
	return true;
}
