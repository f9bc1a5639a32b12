/* SPDX-License-Identifier: Apache-2.0 */
/* VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE, WRITE SAME, UNMAP. */
#include "wire/scsi/scsi.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- blocks that a COMPARE AND WRITE or an ORWRITE has */

static bool overlaps(const struct zd_scsi_lu *unit, const struct zd_scsi_task *task)
{
	for (const struct zd_scsi_task *swap = unit->swaps; swap; swap = swap->next)
		if (task->lba < swap->lba + swap->blocks && swap->lba < task->lba + task->blocks)
			return true;
	return false;
}

bool zd_scsi_meets_swap(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	bool meets;

	if (!atomic_load_explicit(&unit->nr_swaps, memory_order_acquire))
		return false;
	pthread_mutex_lock(&unit->lock);
	meets = overlaps(unit, task);
	pthread_mutex_unlock(&unit->lock);
	return meets;
}

/*
 * From here to the end of the task, no COMPARE AND WRITE, ORWRITE, WRITE, WRITE SAME, UNMAP, erasure or reset of these blocks begins
 * on this unit. One that looked for swaps before and is still under way does its work all the same, and it may land between
 * the comparison (or the read) and the write; so may what other units and openers of the disk do.
 */
static bool swap_begin(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	bool meets;

	pthread_mutex_lock(&unit->lock);
	meets = overlaps(unit, task);
	if (!meets) {
		task->next = unit->swaps;
		unit->swaps = task;
		task->kept = 1;
		atomic_fetch_add(&unit->nr_swaps, 1);
	}
	pthread_mutex_unlock(&unit->lock);
	return !meets;
}

void zd_scsi_swap_end(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	struct zd_scsi_task **at;

	pthread_mutex_lock(&unit->lock);
	for (at = &unit->swaps; *at != task; at = &(*at)->next)
		;
	*at = task->next;
	atomic_fetch_sub(&unit->nr_swaps, 1);
	pthread_mutex_unlock(&unit->lock);
	task->kept = 0;
}

/* ---------------------------------------------------------------- VERIFY */

static int compared(struct zd_scsi_task *task)
{
	uint64_t at;

	if (task->request.result != ZD_E_MISCOMPARE)
		return zd_scsi_end(task);
	/* Counted in what the initiator sent: with one block for all, in that block. */
	at = task->error.bound - task->request.offset;
	if (task->index)
		at &= task->unit->block - 1;
	return zd_scsi_miscompare(task, at);
}

#define PIECE (64u << 10)

/*
 * The request's buffers are one block as often as the command has blocks: what the initiator sent, or zeros. The block is over
 * and over in a piece, and the piece over and over; so it is one request, which succeeds or fails as a whole. false: no memory.
 */
static bool repeat(struct zd_scsi_task *task, bool zeros)
{
	struct zd_request *request = &task->request;
	uint64_t block = task->unit->block, length = task->blocks << task->unit->shift, size = length < PIECE ? length : PIECE;
	uint32_t nr = (uint32_t)((length + size - 1) / size);
	void *first = zeros ? zd_scsi_scratch(task, block) : zd_scsi_take(task, block);
	struct iovec *pieces = first ? realloc(task->pieces, nr * sizeof(*pieces)) : NULL;
	uint8_t *piece;

	if (!pieces)
		return false;
	task->pieces = pieces;
	if (zeros)
		memset(first, 0, block);
	piece = realloc(first, size);
	if (!piece)
		return false;
	task->scratch = piece;
	for (uint64_t at = block; at < size; at += block)
		memcpy(piece + at, piece, block);
	for (uint32_t i = 0; i < nr; i++)
		pieces[i] = (struct iovec){ piece, i + 1 < nr ? size : length - i * size };
	request->iov = pieces;
	request->nr_iov = nr;
	return true;
}

/* What VERIFY and the second half of WRITE AND VERIFY ask; have: bytes that are compared. */
static int verify(struct zd_scsi_task *task, int form, uint64_t have)
{
	struct zd_request *request = zd_scsi_ask(task, form ? ZD_OP_COMPARE : ZD_OP_VERIFY);
	bool there;

	request->offset = task->lba << task->unit->shift;
	request->length = task->blocks << task->unit->shift;
	if (!form)
		return STEP_SUBMIT;
	task->step = compared;
	task->index = form == 3;
	there = form == 3 ? repeat(task, false) : zd_scsi_clip(task, task->out, 0, have);
	return there ? STEP_SUBMIT : zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
}

int zd_scsi_verify(struct zd_scsi_task *task)
{
	uint32_t form = task->cdb[1] >> 1 & 3, shift = task->unit->shift;
	uint64_t wants, have;

	if (form == 2)
		return zd_scsi_field(task, 1, 2);
	if (!zd_scsi_place(task, form != 0))
		return STEP_END;
	wants = form == 1 ? task->blocks << shift : form == 3 && task->blocks ? task->unit->block : 0;
	if (zd_scsi_backwards(task, wants))
		return STEP_END;
	have = task->given < wants ? task->given >> shift << shift : wants;
	if (!task->blocks || (form && !have))
		return zd_scsi_good(task);
	return verify(task, (int)form, have);
}

void zd_scsi_size_verify(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	uint64_t lba, blocks;

	zd_scsi_extent(cdb, &lba, &blocks);
	*in = 0;
	*out = (cdb[1] & 0x06) == 0x02 ? blocks << unit->shift : (cdb[1] & 0x06) == 0x06 && blocks ? unit->block : 0;
}

static int written_then_verify(struct zd_scsi_task *task)
{
	uint64_t have = task->blocks << task->unit->shift;

	if (task->request.result < 0)
		return zd_scsi_end(task);
	return verify(task, task->cdb[1] >> 1 & 1, have);
}

int zd_scsi_write_verify(struct zd_scsi_task *task)
{
	int r;

	if (task->cdb[1] & 0x04)
		return zd_scsi_field(task, 1, 2);
	r = zd_scsi_write(task);
	if (r != STEP_SUBMIT)
		return r;
	/* What is not there was not written, and is not verified. */
	if (task->blocks > task->given >> task->unit->shift)
		task->blocks = task->given >> task->unit->shift;
	task->request.flags |= ZD_REQ_FUA;
	task->step = written_then_verify;
	return STEP_SUBMIT;
}

/* ---------------------------------------------------------------- COMPARE AND WRITE */

static int same_then_write(struct zd_scsi_task *task)
{
	uint64_t half = task->blocks << task->unit->shift;
	struct zd_request *request;

	if (task->request.result < 0)
		return compared(task);
	request = zd_scsi_ask(task, ZD_OP_WRITE);
	request->offset = task->lba << task->unit->shift;
	request->flags = zd_scsi_fua(task) ? ZD_REQ_FUA : 0;
	if (!zd_scsi_clip(task, task->out, half, half))
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	return STEP_SUBMIT;
}

int zd_scsi_compare_write(struct zd_scsi_task *task)
{
	uint64_t half;

	if (!zd_scsi_place_bytes(task, &half))
		return STEP_END;
	if (zd_scsi_backwards(task, 2 * half))
		return STEP_END;
	if (!zd_scsi_exact(task, 2 * half))
		return zd_scsi_field(task, 13,
				     7); /* whose halves meet elsewhere, as of 256 blocks, for which the field has no room */
	if (!half)
		return zd_scsi_good(task);
	if (!swap_begin(task))
		return zd_scsi_status(task, ZD_SCSI_BUSY);
	zd_scsi_ask(task, ZD_OP_COMPARE)->offset = task->lba << task->unit->shift;
	if (!zd_scsi_clip(task, task->out, 0, half))
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	task->step = same_then_write;
	return STEP_SUBMIT;
}

void zd_scsi_size_compare(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	zd_scsi_size_blocks_out(unit, cdb, out, in);
	*out *= 2;
}

/* ---------------------------------------------------------------- ORWRITE */

/* What the initiator sent, over the blocks as they were read. */
static int or_then_write(struct zd_scsi_task *task)
{
	uint64_t length = task->blocks << task->unit->shift;
	uint8_t *at = task->scratch;
	struct zd_request *request;

	if (task->request.result < 0)
		return zd_scsi_end(task);
	for (const struct iovec *from = task->out; length; from++) {
		uint64_t n = from->iov_len < length ? from->iov_len : length;
		const uint8_t *bytes = from->iov_base;

		for (uint64_t i = 0; i < n; i++)
			at[i] |= bytes[i];
		at += n;
		length -= n;
	}
	request = zd_scsi_ask(task, ZD_OP_WRITE);
	request->offset = task->lba << task->unit->shift;
	request->flags = zd_scsi_fua(task) ? ZD_REQ_FUA : 0;
	request->iov = &task->piece;
	request->nr_iov = 1;
	return STEP_SUBMIT;
}

/* Read, then written by the rules of its zone: in a sequential one at the write pointer alone, where nothing is to be read. */
int zd_scsi_or_write(struct zd_scsi_task *task)
{
	struct zd_request *request;
	uint64_t length;

	if (!zd_scsi_place_bytes(task, &length))
		return STEP_END;
	if (zd_scsi_backwards(task, length))
		return STEP_END;
	/* As of a write, whole blocks that came are taken. */
	if (task->given < length) {
		task->blocks = task->given >> task->unit->shift;
		length = task->blocks << task->unit->shift;
	}
	if (!length)
		return zd_scsi_good(task);
	if (!swap_begin(task))
		return zd_scsi_status(task, ZD_SCSI_BUSY);
	if (!zd_scsi_scratch(task, length))
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	task->piece = (struct iovec){ task->scratch, length };
	request = zd_scsi_ask(task, ZD_OP_READ);
	request->offset = task->lba << task->unit->shift;
	request->iov = &task->piece;
	request->nr_iov = 1;
	task->step = or_then_write;
	return STEP_SUBMIT;
}

/* ---------------------------------------------------------------- WRITE SAME */

static bool writes_zeros(const uint8_t *cdb)
{
	return cdb[0] == 0x93 && cdb[1] & 0x01;
}

static int fill(struct zd_scsi_task *task)
{
	struct zd_request *request = zd_scsi_ask(task, ZD_OP_WRITE);

	request->offset = task->lba << task->unit->shift;
	request->flags = zd_scsi_fua(task) ? ZD_REQ_FUA : 0;
	return repeat(task, writes_zeros(task->cdb)) ? STEP_SUBMIT : zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
}

/* Blocks that cannot be unmapped are written. */
static int unmapped_or_fill(struct zd_scsi_task *task)
{
	return task->request.result == ZD_E_SEQUENTIAL ? fill(task) : zd_scsi_end(task);
}

static bool all_zero(const uint8_t *block, uint32_t length)
{
	return !block[0] && !memcmp(block, block + 1, length - 1);
}

int zd_scsi_write_same(struct zd_scsi_task *task)
{
	const uint8_t *cdb = task->cdb, *block = NULL;
	bool zeros = writes_zeros(cdb);
	struct zd_request *request;

	if (cdb[1] & 0x10)
		return zd_scsi_field(task, 1, 4); /* ANCHOR: no block can be anchored */
	if (cdb[1] & 0x08 && !task->unit->nr_conv)
		return zd_scsi_field(task, 1, 3);
	if (!zd_scsi_place(task, true))
		return STEP_END;
	if (!task->blocks)
		return zd_scsi_field(task, cdb[0] == 0x93 ? 10 : 7, 7); /* page B0h: 0 is not the rest of the disk */
	if (zd_scsi_backwards(task, zeros ? 0 : task->unit->block))
		return STEP_END;
	if (!zeros && !zd_scsi_exact(task, task->unit->block))
		return zd_scsi_field(task, cdb[0] == 0x93 ? 10 : 7, 7);
	if (zd_scsi_meets_swap(task))
		return zd_scsi_status(task, ZD_SCSI_BUSY);
	if (!(cdb[1] & 0x08))
		return fill(task);
	if (!zeros) {
		block = zd_scsi_take(task, task->unit->block);
		if (!block)
			return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
		/* Unmapped blocks read as zeros: others have to be written. */
		if (!all_zero(block, task->unit->block))
			return fill(task);
	}
	request = zd_scsi_ask(task, ZD_OP_DEALLOCATE);
	request->offset = task->lba << task->unit->shift;
	request->length = task->blocks << task->unit->shift;
	task->step = unmapped_or_fill;
	return STEP_SUBMIT;
}

void zd_scsi_size_same(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	*in = 0;
	*out = writes_zeros(cdb) ? 0 : unit->block;
}

/* ---------------------------------------------------------------- UNMAP */

#define UNMAP_HEAD 8
#define UNMAP_EACH 16

/* The next descriptor with blocks; task->index counts them, task->blocks is how many there are. */
static int unmap_next(struct zd_scsi_task *task)
{
	const uint8_t *list = task->scratch;
	struct zd_request *request;

	if (task->index && task->request.result < 0)
		return zd_scsi_end(task);
	while (task->index < task->blocks) {
		const uint8_t *at = list + UNMAP_HEAD + UNMAP_EACH * task->index++;

		if (!get32(at + 8))
			continue;
		request = zd_scsi_ask(task, ZD_OP_DEALLOCATE);
		request->offset = get64(at) << task->unit->shift;
		request->length = (uint64_t)get32(at + 8) << task->unit->shift;
		task->step = unmap_next;
		return STEP_SUBMIT;
	}
	return zd_scsi_good(task);
}

int zd_scsi_unmap(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint32_t length = get16(task->cdb + 7), nr;
	const uint8_t *list;

	if (task->cdb[1] & 0x01)
		return zd_scsi_field(task, 1, 0);
	if (zd_scsi_backwards(task, length))
		return STEP_END;
	if (!length)
		return zd_scsi_good(task);
	list = length < UNMAP_HEAD ? NULL : zd_scsi_take(task, length);
	if (!list)
		return zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
	nr = get16(list + 2) / UNMAP_EACH;
	if (nr > (length - UNMAP_HEAD) / UNMAP_EACH)
		nr = (length - UNMAP_HEAD) / UNMAP_EACH;
	if (nr > MAX_UNMAP_DESCRIPTORS)
		return zd_scsi_parameter(task, 2, 7);
	for (uint32_t i = 0; i < nr; i++) {
		const uint8_t *at = list + UNMAP_HEAD + UNMAP_EACH * i;

		if (get64(at) > unit->blocks || get32(at + 8) > unit->blocks - get64(at))
			return zd_scsi_check(task, ZD_SENSE_LBA_OUT_OF_RANGE);
		task->lba = get64(at);
		task->blocks = get32(at + 8);
		if (task->blocks && zd_scsi_meets_swap(task))
			return zd_scsi_status(task, ZD_SCSI_BUSY);
	}
	task->blocks = nr;
	return unmap_next(task);
}
