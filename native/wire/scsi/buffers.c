/* SPDX-License-Identifier: Apache-2.0 */
/* Between the initiator's buffers and the executor's. Nothing trusts a CDB's lengths: what is there counts. */
#include "wire/scsi/scsi.h"

#include <stdlib.h>
#include <string.h>

void zd_scsi_put(struct zd_scsi_task *task, uint64_t at, const void *data, uint64_t length)
{
	task->in_length += zd_wire_scatter(task->in, task->nr_in, at, data, length);
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
	if (length > task->given)
		return NULL;
	if (zd_scsi_scratch(task, length))
		zd_wire_gather(task->scratch, task->out, task->nr_out, length);
	return task->scratch;
}

bool zd_scsi_clip(struct zd_scsi_task *task, const struct iovec *iov, uint64_t offset, uint64_t length)
{
	return zd_wire_clip(&task->request, &task->piece, &task->pieces, iov, offset, length);
}
