/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all commands have in common. A task is a row of steps: each ends it or leaves a request to be submitted, behind
 * which the next one goes on, in this thread or, if the request was held up, in the one that completes it.
 */
#include "wire/scsi/scsi.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static void finish(struct zd_scsi_task *task)
{
	bool good = task->status == ZD_SCSI_GOOD;

	if (task->kept)
		zd_scsi_swap_end(task);
	free(task->scratch);
	free(task->pieces);
	task->scratch = NULL;
	task->pieces = NULL;
	task->residual_in = (int64_t)(good ? task->wants_in : task->in_length) - (int64_t)task->room;
	task->residual_out = (int64_t)task->wants_out - (int64_t)task->given;
	if (task->unit)
		zd_scsi_leave(task);
	else if (task->done)
		task->done(task);
}

static void run(struct zd_scsi_task *task);

static void ended(struct zd_request *request)
{
	struct zd_scsi_task *task = request->arg;

	if (zd_wire_comes_second(&task->turn))
		run(task);
}

static void run(struct zd_scsi_task *task)
{
	while (task->step(task) == STEP_SUBMIT) {
		if (__atomic_load_n(&task->cancelled, __ATOMIC_SEQ_CST)) {
			zd_scsi_status(task, ZD_SCSI_TASK_ABORTED);
			break;
		}
		if (!zd_wire_submit(task->unit->dev, &task->request, &task->turn, task->done ? ended : NULL))
			return;
	}
	finish(task);
}

struct zd_request *zd_scsi_ask(struct zd_scsi_task *task, int op)
{
	zd_wire_ask(&task->request, op, &task->error, task);
	task->step = zd_scsi_end;
	return &task->request;
}

int zd_scsi_end(struct zd_scsi_task *task)
{
	return task->request.result < 0 ? zd_scsi_failed(task, task->request.result) : zd_scsi_good(task);
}

/* The first bit that the command does not know; none of them may be set (SPC-5 4.2.5.1). */
static bool knows_all_bits(struct zd_scsi_task *task)
{
	const struct zd_scsi_command *command = task->command;

	for (uint32_t i = 1; i < command->length; i++) {
		uint8_t usage = command->usage[i], unknown;

		if (i == 1 && command->action >= 0)
			usage |= 0x1F;
		unknown = task->cdb[i] & (uint8_t)~usage;
		if (unknown) {
			zd_scsi_field(task, i, 31 - __builtin_clz(unknown));
			return false;
		}
	}
	return true;
}

static int begin(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	enum zd_sense attention;
	bool known;

	task->command = zd_scsi_find(unit, task->cdb, task->cdb_length, &known);
	if (!unit && !(task->command && task->command->flags & WITHOUT_UNIT))
		return zd_scsi_check(task, ZD_SENSE_UNIT_NOT_SUPPORTED);
	if (unit)
		zd_scsi_look_for_news(task->nexus->target, unit);
	if (unit && !(task->command && task->command->flags & PAST_ATTENTION)) {
		attention = zd_scsi_attention(task->nexus, unit);
		if (attention)
			return zd_scsi_check(task, attention);
	}
	if (!task->command)
		return known ? zd_scsi_field(task, 1, 4) : zd_scsi_check(task, ZD_SENSE_INVALID_OPCODE);
	if (task->cdb_length < task->command->length)
		return zd_scsi_field(task, task->cdb_length, -1);
	if (unit && zd_scsi_conflicts(task))
		return zd_scsi_status(task, ZD_SCSI_RESERVATION_CONFLICT);
	if (!knows_all_bits(task))
		return STEP_END;
	if (task->command->flags & ON_MEDIUM && atomic_load_explicit(&unit->stopped, memory_order_relaxed))
		return zd_scsi_check(task, ZD_SENSE_STOPPED);
	if (task->command->flags & WRITES) {
		if (unit->write_protected)
			return zd_scsi_check(task, ZD_SENSE_WRITE_PROTECTED);
		if (atomic_load_explicit(&unit->write_protect, memory_order_relaxed))
			return zd_scsi_check(task, ZD_SENSE_SOFTWARE_WRITE_PROTECTED);
	}
	return task->command->run(task);
}

/* A task of an older header is shorter: what it lacks is not touched. */
static void refuse_short(struct zd_scsi_task *task)
{
	task->status = ZD_SCSI_CHECK_CONDITION;
	task->sense_length = (uint8_t)zd_scsi_sense(zd_sense_codes(ZD_SENSE_INTERNAL_FAILURE), false, task->sense);
	task->in_length = 0;
	task->residual_in = -(int64_t)zd_wire_total(task->in, task->nr_in);
	task->residual_out = -(int64_t)zd_wire_total(task->out, task->nr_out);
	if (task->done)
		task->done(task);
}

void zd_scsi_exec(zd_scsi_nexus *nexus, struct zd_scsi_task *task)
{
	if (task->size < sizeof(*task)) {
		refuse_short(task);
		return;
	}
	task->nexus = nexus;
	task->unit = zd_scsi_unit(nexus, task->lun);
	task->command = NULL;
	task->status = ZD_SCSI_GOOD;
	task->sense_length = 0;
	task->in_length = 0;
	task->wants_in = task->wants_out = 0;
	task->room = zd_wire_total(task->in, task->nr_in);
	task->given = zd_wire_total(task->out, task->nr_out);
	task->scratch = NULL;
	task->pieces = NULL;
	task->next = NULL;
	task->index = task->kept = task->cancelled = 0;
	task->unanswered = task->aborts = 0;
	task->under_way = (struct zd_under_way){ 0 };
	task->error = (struct zd_error){ 0 };
	task->step = begin;
	if (task->unit)
		zd_scsi_enter(task);
	run(task);
}

/* The mark comes first: a request that is only about to be submitted is not, and one that was is found by zd_cancel(). */
void zd_scsi_cancel(struct zd_scsi_task *task)
{
	__atomic_store_n(&task->cancelled, 1, __ATOMIC_SEQ_CST);
	if (task->unit)
		zd_cancel(task->unit->dev, &task->request);
}

void zd_scsi_transfer(zd_scsi_nexus *nexus, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length, uint64_t *out,
		      uint64_t *in)
{
	const struct zd_scsi_lu *unit = zd_scsi_unit(nexus, lun);
	const struct zd_scsi_command *command;
	bool known;

	*out = *in = 0;
	command = zd_scsi_find(unit, cdb, cdb_length, &known);
	if (unit && command && cdb_length >= command->length && command->size)
		command->size(unit, cdb, out, in);
}
