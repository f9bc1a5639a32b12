/* SPDX-License-Identifier: Apache-2.0 */
/* READ, WRITE, SYNCHRONIZE CACHE, PRE-FETCH in all their lengths, and where a command lies. */
#include "wire/scsi/scsi.h"

/* The opcode's group says how long a CDB is and where address and length stand (SPC-5 4.2.2). */
void zd_scsi_extent(const uint8_t *cdb, uint64_t *lba, uint64_t *blocks)
{
	switch (cdb[0] >> 5) {
	case 0:
		*lba = get24(cdb + 1) & 0x1FFFFF;
		*blocks = cdb[4] ? cdb[4] : 256;
		break;
	case 4:
		*lba = get64(cdb + 2);
		*blocks = cdb[0] == 0x89 ? cdb[13] : cdb[0] == 0x9C ? get16(cdb + 12) : get32(cdb + 10);
		break;
	case 5:
		*lba = get32(cdb + 2);
		*blocks = get32(cdb + 6);
		break;
	default:
		*lba = get32(cdb + 2);
		*blocks = get16(cdb + 7);
		break;
	}
}

static uint32_t length_at(uint8_t opcode)
{
	switch (opcode >> 5) {
	case 0: return 4;
	case 4: return opcode == 0x89 ? 13 : opcode == 0x9C ? 12 : 10;
	case 5: return 6;
	default: return 7;
	}
}

bool zd_scsi_place(struct zd_scsi_task *task, bool moves)
{
	const struct zd_scsi_lu *unit = task->unit;

	zd_scsi_extent(task->cdb, &task->lba, &task->blocks);
	if (task->lba > unit->blocks || task->blocks > unit->blocks - task->lba) {
		zd_scsi_check(task, ZD_SENSE_LBA_OUT_OF_RANGE);
		return false;
	}
	if (moves && task->blocks > ZD_SCSI_MAX_TRANSFER >> unit->shift) {
		zd_scsi_field(task, length_at(task->cdb[0]), 7);
		return false;
	}
	return true;
}

bool zd_scsi_backwards(struct zd_scsi_task *task, uint64_t wants)
{
	task->wants_out = wants;
	if (!wants || task->given || !task->room)
		return false;
	zd_scsi_check(task, ZD_SENSE_INVALID_FIELD_IN_CDB);
	return true;
}

bool zd_scsi_exact(const struct zd_scsi_task *task, uint64_t wants)
{
	return task->given == wants && !task->untaken;
}

bool zd_scsi_fua(const struct zd_scsi_task *task)
{
	return (task->cdb[0] >> 5 && task->cdb[1] & 0x08) ||
	       !atomic_load_explicit(&task->unit->write_cache, memory_order_relaxed);
}

/* ---------------------------------------------------------------- reading */

/* What lies before the first bad block was transferred. */
static uint64_t got(const struct zd_scsi_task *task)
{
	const struct zd_request *request = &task->request;

	if (request->result >= 0)
		return (uint64_t)request->result;
	if (request->result == ZD_E_MEDIUM_READ && task->error.bound >= request->offset)
		return task->error.bound - request->offset;
	return 0;
}

static int read_done(struct zd_scsi_task *task)
{
	task->in_length = got(task);
	return zd_scsi_end(task);
}

/* Where there is less room than the command reads, all of it was read elsewhere. */
static int read_short(struct zd_scsi_task *task)
{
	uint64_t length = got(task);

	zd_scsi_put(task, 0, task->scratch, length);
	return zd_scsi_end(task);
}

#define LEAST_PINNED (64u << 10) /* bytes: less is copied faster */

/* All of it lies in one piece in a zone that is only written behind its pointer: what is written over would be copied first. */
static bool stays(struct zd_scsi_task *task, uint64_t length)
{
	zd_dev *dev = task->unit->dev;
	uint64_t offset = task->lba << task->unit->shift;
	struct zd_zone zone;

	if (!task->pin || length < LEAST_PINNED)
		return false;
	if (zd_report(dev, (uint32_t)(offset / task->unit->info.zone_size), 1, &zone, &task->error) != 1)
		return false;
	if (zone.type != ZD_SEQ_WRITE_REQUIRED || offset + length > zone.wp)
		return false;
	return zd_pin(dev, offset, length, task->pin, &task->error) == (int64_t)length;
}

void zd_scsi_unpin(struct zd_scsi_task *task)
{
	if (task->pin && task->pin->length)
		zd_unpin(task->unit->dev, task->pin);
}

int zd_scsi_read(struct zd_scsi_task *task)
{
	struct zd_request *request;
	uint64_t length;

	if (!zd_scsi_place_bytes(task, &length))
		return STEP_END;
	task->wants_in = length;
	if (!length)
		return zd_scsi_good(task);
	if (task->room >= length && stays(task, length)) {
		task->in_length = length;
		return zd_scsi_good(task);
	}
	zd_scsi_unpin(task);
	request = zd_scsi_ask(task, ZD_OP_READ);
	request->offset = task->lba << task->unit->shift;
	if (task->room >= length) {
		if (!zd_scsi_clip(task, task->in, 0, length))
			return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
		task->step = read_done;
		return STEP_SUBMIT;
	}
	if (!zd_scsi_scratch(task, length))
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	task->piece = (struct iovec){ task->scratch, length };
	request->iov = &task->piece;
	request->nr_iov = 1;
	task->step = read_short;
	return STEP_SUBMIT;
}

/* ---------------------------------------------------------------- writing */

int zd_scsi_write(struct zd_scsi_task *task)
{
	struct zd_request *request;
	uint64_t length, have;

	if (!zd_scsi_place_bytes(task, &length))
		return STEP_END;
	if (zd_scsi_backwards(task, length))
		return STEP_END;
	if (zd_scsi_meets_swap(task))
		return zd_scsi_status(task, ZD_SCSI_BUSY);
	have = task->given < length ? task->given >> task->unit->shift << task->unit->shift : length;
	if (!have)
		return zd_scsi_good(task);
	request = zd_scsi_ask(task, ZD_OP_WRITE);
	request->offset = task->lba << task->unit->shift;
	request->flags = zd_scsi_fua(task) ? ZD_REQ_FUA : 0;
	if (!zd_scsi_clip(task, task->out, 0, have))
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	return STEP_SUBMIT;
}

/* What is beyond the disk says so, whatever its length. */
int zd_scsi_write_atomic(struct zd_scsi_task *task)
{
	if (!zd_scsi_place(task, false))
		return STEP_END;
	return task->blocks > MAX_ATOMIC ? zd_scsi_field(task, length_at(task->cdb[0]), 7) : zd_scsi_write(task);
}

void zd_scsi_size_blocks_in(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	uint64_t lba, blocks;

	zd_scsi_extent(cdb, &lba, &blocks);
	*out = 0;
	*in = blocks << unit->shift;
}

void zd_scsi_size_blocks_out(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	zd_scsi_size_blocks_in(unit, cdb, in, out);
}

/* ---------------------------------------------------------------- without data */

/* IMMED is taken as off: the status comes when the data is on the medium, which is allowed. */
int zd_scsi_synchronize(struct zd_scsi_task *task)
{
	struct zd_request *request;

	if (!zd_scsi_place(task, false))
		return STEP_END;
	if (task->unit->write_protected)
		return zd_scsi_good(task); /* nothing was written by this handle */
	if (!task->blocks)
		task->blocks = task->unit->blocks - task->lba;
	if (!task->blocks)
		return zd_scsi_good(task);
	request = zd_scsi_ask(task, ZD_OP_FLUSH);
	if (task->lba || task->blocks != task->unit->blocks) {
		request->offset = task->lba << task->unit->shift;
		request->length = task->blocks << task->unit->shift;
	}
	return STEP_SUBMIT;
}

/*
 * There is no cache of reads. GOOD says so: CONDITION MET would say that the blocks are in it. As nothing is fetched, IMMED
 * changes nothing, and no rule of reading is broken: only the range is looked at.
 */
int zd_scsi_prefetch(struct zd_scsi_task *task)
{
	return zd_scsi_place(task, false) ? zd_scsi_good(task) : STEP_END;
}
