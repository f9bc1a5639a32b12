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

bool zd_scsi_clip(struct zd_scsi_task *task, const struct iovec *iov, uint32_t nr, uint64_t offset, uint64_t length)
{
	struct zd_request *request = &task->request;
	uint64_t begin = 0, end = 0;
	uint32_t first = 0, last;

	while (first < nr && offset >= begin + iov[first].iov_len)
		begin += iov[first++].iov_len;
	for (end = begin, last = first; last < nr && end < offset + length; last++)
		end += iov[last].iov_len;
	request->iov = iov + first;
	request->nr_iov = last - first;
	if (begin == offset && end == offset + length)
		return true;
	if (last - first > 1) {
		free(task->pieces);
		task->pieces = malloc((last - first) * sizeof(*task->pieces));
		if (!task->pieces)
			return false;
		memcpy(task->pieces, iov + first, (last - first) * sizeof(*task->pieces));
		request->iov = task->pieces;
	} else {
		task->piece = length ? iov[first] : (struct iovec){ 0 };
		request->iov = &task->piece;
		request->nr_iov = 1;
	}
	if (length) {
		struct iovec *pieces = last - first > 1 ? task->pieces : &task->piece;

		pieces[last - first - 1].iov_len -= end - (offset + length);
		pieces[0].iov_base = (uint8_t *)pieces[0].iov_base + (offset - begin);
		pieces[0].iov_len -= offset - begin;
	}
	return true;
}
