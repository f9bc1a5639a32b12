/* SPDX-License-Identifier: Apache-2.0 */
/* Sense data, fixed and descriptor, and the ways in which a task ends. */
#include "wire/scsi/scsi.h"

#include <errno.h>
#include <string.h>

/* What stands beside the codes. */
struct extra {
	bool has_information, has_pointer;
	uint64_t information;
	uint8_t pointer[3]; /* sense-key specific: which field of CDB or parameters is meant */
};

static uint32_t build(struct zd_sense_codes codes, bool descriptor, const struct extra *more, uint8_t *out)
{
	uint32_t length = 8;

	memset(out, 0, ZD_SCSI_SENSE_ROOM);
	if (!descriptor) {
		out[0] = 0x70;
		out[2] = codes.key;
		out[7] = 10;
		out[12] = codes.asc;
		out[13] = codes.ascq;
		/* Four bytes hold no larger address: then none is said to be there. */
		if (more->has_information && more->information <= UINT32_MAX) {
			out[0] |= 0x80;
			put32(out + 3, (uint32_t)more->information);
		}
		if (more->has_pointer)
			memcpy(out + 15, more->pointer, 3);
		return 18;
	}
	out[0] = 0x72;
	out[1] = codes.key;
	out[2] = codes.asc;
	out[3] = codes.ascq;
	if (more->has_information) {
		out[length + 1] = 10;
		out[length + 2] = 0x80;
		put64(out + length + 4, more->information);
		length += 12;
	}
	if (more->has_pointer) {
		out[length] = 2;
		out[length + 1] = 6;
		memcpy(out + length + 4, more->pointer, 3);
		length += 8;
	}
	out[7] = (uint8_t)(length - 8);
	return length;
}

uint32_t zd_scsi_sense(struct zd_sense_codes codes, bool descriptor, uint8_t *out)
{
	static const struct extra nothing;

	return build(codes, descriptor, &nothing, out);
}

int zd_scsi_status(struct zd_scsi_task *task, int status)
{
	task->status = (uint8_t)status;
	return STEP_END;
}

int zd_scsi_good(struct zd_scsi_task *task)
{
	return zd_scsi_status(task, ZD_SCSI_GOOD);
}

static int check(struct zd_scsi_task *task, struct zd_sense_codes codes, const struct extra *more)
{
	bool descriptor = task->unit && atomic_load_explicit(&task->unit->descriptor_sense, memory_order_relaxed);

	task->sense_length = (uint8_t)build(codes, descriptor, more, task->sense);
	return zd_scsi_status(task, ZD_SCSI_CHECK_CONDITION);
}

int zd_scsi_check(struct zd_scsi_task *task, enum zd_sense sense)
{
	static const struct extra nothing;

	return check(task, zd_sense_codes(sense), &nothing);
}

/* In the CDB: C/D is set. A bit is only named where there is one. */
static int point(struct zd_scsi_task *task, enum zd_sense sense, bool cdb, uint32_t byte, int bit)
{
	struct extra more = { .has_pointer = true };

	more.pointer[0] = (uint8_t)(0x80 | (cdb ? 0x40 : 0) | (bit >= 0 ? 0x08 | bit : 0));
	put16(more.pointer + 1, byte);
	return check(task, zd_sense_codes(sense), &more);
}

int zd_scsi_field(struct zd_scsi_task *task, uint32_t byte, int bit)
{
	return point(task, ZD_SENSE_INVALID_FIELD_IN_CDB, true, byte, bit);
}

int zd_scsi_parameter(struct zd_scsi_task *task, uint32_t byte, int bit)
{
	return point(task, ZD_SENSE_INVALID_FIELD_IN_PARAMETERS, false, byte, bit);
}

int zd_scsi_miscompare(struct zd_scsi_task *task, uint64_t offset)
{
	struct extra more = { .has_information = true, .information = offset };

	return check(task, zd_sense_codes(ZD_SENSE_MISCOMPARE), &more);
}

int zd_scsi_failed(struct zd_scsi_task *task, int64_t code)
{
	const struct zd_scsi_lu *unit = task->unit;
	struct extra more = { 0 };

	if (code == -ECANCELED)
		return zd_scsi_status(task, ZD_SCSI_TASK_ABORTED);
	if (code == ZD_E_SEQUENTIAL)
		return zd_scsi_check(task, ZD_SENSE_INVALID_FIELD_IN_CDB);
	/* Zone commands and flushes fail as a whole: no block is the first bad one. */
	if ((code == ZD_E_MEDIUM_READ || code == ZD_E_MEDIUM_WRITE) && task->error.length) {
		more.has_information = true;
		more.information = task->error.bound >> unit->shift;
	}
	return check(task, zd_sense_of((int)code, unit->info.dialect), &more);
}
