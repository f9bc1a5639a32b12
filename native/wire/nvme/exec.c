/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all commands have in common. A command is a row of steps: each ends it or leaves a request to be submitted, behind
 * which the next one goes on, in this thread or, if the request was held up, in the one that completes it.
 */
#include "wire/nvme/nvme.h"

#include "rules/nvme.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- how a command ends */

int zd_nvme_good(struct zd_nvme_command *command)
{
	command->status = ZD_NVME_SUCCESS;
	return STEP_END;
}

int zd_nvme_refuse(struct zd_nvme_command *command, uint32_t status)
{
	command->status = (uint16_t)(status | ZD_NVME_DO_NOT_RETRY);
	return STEP_END;
}

int zd_nvme_field(struct zd_nvme_command *command, uint32_t byte, uint32_t bit)
{
	command->location = AT(byte, bit);
	return zd_nvme_refuse(command, ZD_NVME_INVALID_FIELD);
}

int zd_nvme_failed(struct zd_nvme_command *command, int64_t code)
{
	command->status = zd_nvme_status_of(code, ZD_ZNS);
	return STEP_END;
}

int zd_nvme_end(struct zd_nvme_command *command)
{
	return command->request.result < 0 ? zd_nvme_failed(command, command->request.result) : zd_nvme_good(command);
}

void zd_nvme_finish(struct zd_nvme_command *command)
{
	free(command->scratch);
	free(command->pieces);
	command->scratch = NULL;
	command->pieces = NULL;
	if (command->status)
		zd_nvme_log_error(command);
	zd_nvme_leave(command);
}

static void run(struct zd_nvme_command *command);

static void ended(struct zd_request *request)
{
	struct zd_nvme_command *command = request->arg;

	if (zd_wire_comes_second(&command->turn))
		run(command);
}

static void run(struct zd_nvme_command *command)
{
	int next;

	while ((next = command->step(command)) == STEP_SUBMIT) {
		if (__atomic_load_n(&command->cancelled, __ATOMIC_SEQ_CST)) {
			command->status = ZD_NVME_ABORT_REQUESTED;
			break;
		}
		if (!zd_wire_submit(command->ns->dev, &command->request, &command->turn, command->done ? ended : NULL))
			return;
	}
	if (next != STEP_WAIT)
		zd_nvme_finish(command);
}

struct zd_request *zd_nvme_ask(struct zd_nvme_command *command, int op)
{
	zd_wire_ask(&command->request, op, &command->error, command);
	command->step = zd_nvme_end;
	return &command->request;
}

/* ---------------------------------------------------------------- between the host's buffers and the executor's */

void zd_nvme_put(struct zd_nvme_command *command, uint64_t at, const void *data, uint64_t length)
{
	command->in_length += zd_wire_scatter(command->in, command->nr_in, at, data, length);
}

int zd_nvme_give(struct zd_nvme_command *command, const void *data, uint64_t length)
{
	zd_nvme_put(command, 0, data, length);
	return zd_nvme_good(command);
}

void zd_nvme_take(const struct zd_nvme_command *command, void *to, uint64_t length)
{
	zd_wire_gather(to, command->out, command->nr_out, length);
}

bool zd_nvme_clip(struct zd_nvme_command *command, const struct iovec *iov, uint64_t offset, uint64_t length)
{
	return zd_wire_clip(&command->request, &command->piece, &command->pieces, iov, offset, length);
}

/* ---------------------------------------------------------------- beginning */

struct zd_nvme_namespace *zd_nvme_at(const zd_nvme_subsystem *subsystem, uint32_t nsid)
{
	return nsid <= ZD_NVME_MAX_NAMESPACES ? subsystem->namespaces[nsid] : NULL;
}

static int begin(struct zd_nvme_command *command)
{
	zd_nvme_subsystem *subsystem = zd_nvme_of(command)->subsystem;
	uint64_t out = 0, in = 0;

	command->opcode = zd_nvme_find(command->queue->id == 0, command->sqe[0]);
	if (!command->opcode)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_OPCODE);
	if (command->sqe[1] & 0x03)
		return zd_nvme_field(command, 1, 0); /* there are no fused operations */
	zd_nvme_look_for_news(subsystem, command->ns);
	zd_nvme_tell_news(zd_nvme_of(command));
	if (command->opcode->flags & NEEDS_NAMESPACE) {
		if (!command->ns)
			return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
		if (!zd_nvme_has(command->opcode, command->ns->csi))
			return zd_nvme_refuse(command, ZD_NVME_INVALID_OPCODE);
	}
	if (command->opcode->size)
		command->opcode->size(command->ns, command->sqe, &out, &in);
	if (out > ZD_NVME_MAX_TRANSFER || in > ZD_NVME_MAX_TRANSFER)
		return zd_nvme_field(command, command->queue->id ? 48 : 40, 0);
	if (command->given < out || command->room < in)
		return zd_nvme_refuse(command, ZD_NVME_DATA_LENGTH);
	if (command->opcode->flags & ZD_NVME_WRITES && command->ns->write_protected)
		return zd_nvme_refuse(command, ZD_NVME_WRITE_PROTECTED);
	return command->opcode->run(command);
}

void zd_nvme_exec(zd_nvme_queue *queue, struct zd_nvme_command *command)
{
	command->result = 0;
	command->in_length = 0;
	/* A command of an older header is shorter: what it lacks is not touched. */
	if (command->size < sizeof(*command)) {
		command->status = ZD_NVME_INTERNAL_ERROR | ZD_NVME_DO_NOT_RETRY;
		if (command->done)
			command->done(command);
		return;
	}
	command->queue = queue;
	command->ns = zd_nvme_at(queue->controller->subsystem, get32le(command->sqe + 4));
	command->opcode = NULL;
	command->status = ZD_NVME_SUCCESS;
	command->room = zd_wire_total(command->in, command->nr_in);
	command->given = zd_wire_total(command->out, command->nr_out);
	command->scratch = NULL;
	command->pieces = NULL;
	command->slba = command->blocks = command->at = 0;
	command->index = command->cancelled = 0;
	command->location = NOWHERE;
	command->waits = 0;
	command->under_way = (struct zd_under_way){ 0 };
	command->error = (struct zd_error){ 0 };
	command->request.result = 0;
	command->step = begin;
	zd_nvme_enter(command);
	run(command);
}

/* The mark comes first: a request that is only about to be submitted is not, and one that was is found by zd_cancel(). */
void zd_nvme_cancel(struct zd_nvme_command *command)
{
	struct zd_nvme_namespace *ns;

	__atomic_store_n(&command->cancelled, 1, __ATOMIC_SEQ_CST);
	if (zd_nvme_stop_waiting(command)) {
		command->status = ZD_NVME_ABORT_REQUESTED;
		zd_nvme_finish(command);
		return;
	}
	ns = __atomic_load_n(&command->ns, __ATOMIC_SEQ_CST);
	if (ns)
		zd_cancel(ns->dev, &command->request);
}

void zd_nvme_transfer(zd_nvme_queue *queue, const uint8_t sqe[64], uint64_t *out, uint64_t *in)
{
	const struct zd_nvme_opcode *opcode = zd_nvme_find(queue->id == 0, sqe[0]);
	const struct zd_nvme_namespace *ns = zd_nvme_at(queue->controller->subsystem, get32le(sqe + 4));

	*out = *in = 0;
	if (!opcode || !opcode->size)
		return;
	if (opcode->flags & NEEDS_NAMESPACE && (!ns || !zd_nvme_has(opcode, ns->csi)))
		return;
	opcode->size(ns, sqe, out, in);
	if (*out > ZD_NVME_MAX_TRANSFER || *in > ZD_NVME_MAX_TRANSFER)
		*out = *in = 0;
}
