/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FORMAT UNIT and SANITIZE: every zone is reset, every conventional one reads as zeros, and both are durable. All forms do the
 * same; they end when it is done, whatever IMMED says. ZNR, by which zones would stay as they are, is refused.
 */
#include "wire/scsi/scsi.h"

#define MOST_RANGES ZD_MAX_CONV_RANGES

static int flushed(struct zd_scsi_task *task)
{
	zd_scsi_ask(task, ZD_OP_FLUSH);
	return STEP_SUBMIT;
}

/* The next range of conventional zones; task->index counts them, task->blocks is how many there are. */
static int erase_next(struct zd_scsi_task *task)
{
	const struct zd_info *info = &task->unit->info;
	const struct zd_range *ranges = task->scratch;
	struct zd_request *request;
	uint64_t end;

	if (task->request.result < 0)
		return zd_scsi_end(task);
	if (task->index >= task->blocks)
		return flushed(task);
	request = zd_scsi_ask(task, ZD_OP_DEALLOCATE);
	request->offset = ranges[task->index].first * info->zone_size;
	end = request->offset + ranges[task->index].count * info->zone_size;
	request->length = (end < info->size ? end : info->size) - request->offset;
	task->index++;
	task->step = erase_next;
	return STEP_SUBMIT;
}

static int erase(struct zd_scsi_task *task)
{
	struct zd_range *ranges;
	int nr;

	task->lba = 0;
	task->blocks = task->unit->blocks;
	if (zd_scsi_meets_swap(task))
		return zd_scsi_status(task, ZD_SCSI_BUSY);
	ranges = zd_scsi_scratch(task, MOST_RANGES * sizeof(*ranges));
	if (!ranges)
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	nr = zd_conv_ranges(task->unit->dev, ranges, MOST_RANGES);
	if (nr < 0)
		return zd_scsi_failed(task, nr);
	task->index = 0;
	task->blocks = (uint64_t)nr;
	zd_scsi_ask(task, ZD_OP_RESET)->flags = ZD_REQ_ALL;
	task->step = erase_next;
	return STEP_SUBMIT;
}

/* The header of the parameter list, the longer one with LONGLIST: what would follow it is refused. */
void zd_scsi_size_format(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	(void)unit;
	*out = !(cdb[1] & 0x10) ? 0 : cdb[1] & 0x20 ? 8 : 4;
	*in = 0;
}

/* The list that comes with a task; NULL: it ends so, as *step says. */
static const uint8_t *parameter_list(struct zd_scsi_task *task, uint64_t length, int *step)
{
	const uint8_t *list;

	*step = STEP_END;
	if (zd_scsi_backwards(task, length))
		return NULL;
	list = zd_scsi_take(task, length);
	if (!list)
		*step = zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
	return list;
}

/* A parameter list may come, and may ask for nothing but that: no defect lists, patterns or protection. */
int zd_scsi_format(struct zd_scsi_task *task)
{
	const uint8_t *cdb = task->cdb, *list;
	uint64_t head, in;
	int step;

	zd_scsi_size_format(task->unit, cdb, &head, &in);
	if (!head)
		return cdb[1] & 0x3F ? zd_scsi_field(task, 1, 5) : erase(task);
	if (cdb[1] & 0x07)
		return zd_scsi_field(task, 1, 2);
	list = parameter_list(task, head, &step);
	if (!list)
		return step;
	if (list[0] & 0x07)
		return zd_scsi_parameter(task, 0, 2); /* protection */
	if (list[1] & 0x08)
		return zd_scsi_parameter(task, 1, 3); /* an initialization pattern */
	if (head == 8 ? get32(list + 4) : get16(list + 2))
		return zd_scsi_parameter(task, head == 8 ? 4 : 2, 7); /* a defect list */
	return erase(task);
}

int zd_scsi_sanitize(struct zd_scsi_task *task)
{
	uint32_t length = get16(task->cdb + 7);
	bool overwrite = (task->cdb[1] & 0x1F) == 0x01;
	const uint8_t *list;
	int step;

	if (!overwrite)
		return length ? zd_scsi_field(task, 7, 7) : erase(task);
	/* A pattern other than zeros would leave a zone written that is to be empty. */
	if (length < 4 || length > 4 + task->unit->block)
		return zd_scsi_field(task, 7, 7);
	list = parameter_list(task, length, &step);
	if (!list)
		return step;
	if (!(list[0] & 0x1F))
		return zd_scsi_parameter(task, 0, 4); /* how often */
	if (get16(list + 2) + 4u != length)
		return zd_scsi_parameter(task, 2, 7);
	return erase(task);
}

/* It never fails half-way so that the unit would be left in that mode. */
int zd_scsi_sanitize_exit(struct zd_scsi_task *task)
{
	return get16(task->cdb + 7) ? zd_scsi_field(task, 7, 7) : zd_scsi_good(task);
}
