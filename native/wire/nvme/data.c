/* SPDX-License-Identifier: Apache-2.0 */
/* READ, WRITE, COMPARE, VERIFY, WRITE ZEROES, WRITE UNCORRECTABLE, COPY, DATASET MANAGEMENT, ZONE APPEND. */
#include "wire/nvme/nvme.h"

#include <stdlib.h>

#define READ 0x02
#define COMPARE 0x05
#define VERIFY 0x0C
#define ZEROES (64u << 10)

static uint64_t nr_blocks(const uint8_t *sqe)
{
	return (uint64_t)get16le(sqe + 48) + 1;
}

void zd_nvme_size_in(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	*out = 0;
	*in = nr_blocks(sqe) << ns->shift;
}

void zd_nvme_size_out(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	zd_nvme_size_in(ns, sqe, in, out);
}

void zd_nvme_size_ranges(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	(void)ns;
	*out = (sqe[40] + 1u) * 16;
	*in = 0;
}

static bool in_namespace(const struct zd_nvme_namespace *ns, uint64_t slba, uint64_t blocks)
{
	return slba <= ns->blocks && blocks <= ns->blocks - slba;
}

/* Takes the blocks into the command and says whether they lie in the namespace; else ends it. */
static bool place(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;

	command->slba = get64le(command->sqe + 40);
	command->blocks = nr_blocks(command->sqe);
	if (in_namespace(ns, command->slba, command->blocks))
		return true;
	command->location = AT(40, 0);
	zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
	return false;
}

static uint64_t offset_of(const struct zd_nvme_command *command, uint64_t lba)
{
	return command->ns->base + (lba << command->ns->shift);
}

/* Bytes of an entry of COPY's list; 0: there is no such format. The second has more room for protection information, of which there
 * is none. */
static uint32_t copy_entry(uint32_t format)
{
	return format == 0 ? 32 : format == 1 ? 40 : 0;
}

void zd_nvme_size_copy(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	(void)ns;
	*out = (sqe[48] + 1u) * copy_entry(sqe[49] & 0x0F);
	*in = 0;
}

/* There are no directives. */
static bool has_directive(const struct zd_nvme_command *command)
{
	return command->sqe[50] & 0xF0;
}

static uint16_t durable_if(const struct zd_nvme_command *command, bool asked)
{
	return asked || atomic_load_explicit(&zd_nvme_of(command)->write_through, memory_order_relaxed) ? ZD_REQ_FUA : 0;
}

static uint16_t fua(const struct zd_nvme_command *command)
{
	return durable_if(command, command->sqe[51] & 0x40);
}

static int no_memory(struct zd_nvme_command *command)
{
	command->status = ZD_NVME_INTERNAL_ERROR;
	return STEP_END;
}

/* ---------------------------------------------------------------- reading */

static int next_piece(struct zd_nvme_command *command);

/* What lies before the first bad block was transferred; the error log tells which one it is. */
static int piece_done(struct zd_nvme_command *command)
{
	struct zd_request *request = &command->request;
	bool reads = command->sqe[0] == READ;

	if (request->result < 0) {
		if (command->error.code == request->result && command->error.bound >= request->offset &&
		    command->error.bound < request->offset + request->length &&
		    (request->result == ZD_E_MEDIUM_READ || request->result == ZD_E_MISCOMPARE)) {
			command->at += command->error.bound - request->offset;
			command->slba += command->at >> command->ns->shift;
		}
		command->in_length = reads ? command->at : 0;
		return zd_nvme_end(command);
	}
	command->at += request->length;
	if (command->at < command->blocks << command->ns->shift)
		return next_piece(command);
	command->in_length = reads ? command->at : 0;
	return zd_nvme_good(command);
}

/* Zones of an ordinary namespace are nothing that its host knows of: what crosses them is done zone by zone. */
static uint64_t in_zone(const struct zd_nvme_namespace *ns, uint64_t offset, uint64_t length)
{
	uint64_t left = ns->info.zone_size - offset % ns->info.zone_size;

	return ns->csi == CSI_NVM && !ns->info.unrestricted_read && left < length ? left : length;
}

static int next_piece(struct zd_nvme_command *command)
{
	static const uint8_t ops[] = { [READ] = ZD_OP_READ, [COMPARE] = ZD_OP_COMPARE, [VERIFY] = ZD_OP_VERIFY };
	const struct zd_nvme_namespace *ns = command->ns;
	uint64_t length = (command->blocks << ns->shift) - command->at,
		 offset = offset_of(command, command->slba) + command->at;
	struct zd_request *request = zd_nvme_ask(command, ops[command->sqe[0]]);

	length = in_zone(ns, offset, length);
	request->offset = offset;
	request->length = length;
	command->step = piece_done;
	if (request->op != ZD_OP_VERIFY &&
	    !zd_nvme_clip(command, request->op == ZD_OP_READ ? command->in : command->out, command->at, length))
		return no_memory(command);
	return STEP_SUBMIT;
}

int zd_nvme_read(struct zd_nvme_command *command)
{
	return place(command) ? next_piece(command) : STEP_END;
}

/* ---------------------------------------------------------------- writing */

int zd_nvme_write(struct zd_nvme_command *command)
{
	struct zd_request *request;

	if (has_directive(command))
		return zd_nvme_field(command, 50, 4);
	if (!place(command))
		return STEP_END;
	request = zd_nvme_ask(command, ZD_OP_WRITE);
	request->offset = offset_of(command, command->slba);
	request->flags = fua(command);
	return zd_nvme_clip(command, command->out, 0, command->blocks << command->ns->shift) ? STEP_SUBMIT : no_memory(command);
}

static int appended(struct zd_nvme_command *command)
{
	if (command->request.result >= 0)
		command->result = (command->request.landed - command->ns->base) >> command->ns->shift;
	return zd_nvme_end(command);
}

int zd_nvme_append(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	struct zd_request *request;

	command->slba = get64le(command->sqe + 40);
	command->blocks = nr_blocks(command->sqe);
	if (has_directive(command))
		return zd_nvme_field(command, 50, 4);
	if (command->slba >= ns->blocks)
		return zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
	if (command->slba % ns->zone_blocks)
		return zd_nvme_field(command, 40, 0);
	if (command->blocks << ns->shift > zd_nvme_of(command)->subsystem->append_limit)
		return zd_nvme_field(command, 48, 0);
	request = zd_nvme_ask(command, ZD_OP_APPEND);
	request->zone = ns->first + (uint32_t)(command->slba / ns->zone_blocks);
	request->flags = fua(command);
	command->step = appended;
	return zd_nvme_clip(command, command->out, 0, command->blocks << ns->shift) ? STEP_SUBMIT : no_memory(command);
}

/* In a zoned namespace it is a write like others, of buffers that all are one. */
static int write_zeros(struct zd_nvme_command *command, uint16_t flags)
{
	uint64_t length = command->blocks << command->ns->shift, nr = (length + ZEROES - 1) / ZEROES;
	struct zd_request *request = zd_nvme_ask(command, ZD_OP_WRITE);
	struct iovec *pieces = malloc(nr * sizeof(*pieces));

	command->pieces = pieces;
	command->scratch = calloc(1, ZEROES);
	if (!pieces || !command->scratch)
		return no_memory(command);
	for (uint64_t i = 0; i < nr; i++)
		pieces[i] = (struct iovec){ command->scratch, i + 1 < nr ? ZEROES : length - i * ZEROES };
	request->offset = offset_of(command, command->slba);
	request->flags = flags;
	request->iov = pieces;
	request->nr_iov = (uint32_t)nr;
	return STEP_SUBMIT;
}

int zd_nvme_write_zeroes(struct zd_nvme_command *command)
{
	struct zd_request *request;

	if (!place(command))
		return STEP_END;
	if (command->ns->csi == CSI_ZNS)
		return write_zeros(command, fua(command));
	request = zd_nvme_ask(command, command->sqe[51] & 0x02 ? ZD_OP_DEALLOCATE : ZD_OP_WRITE_ZEROES);
	request->offset = offset_of(command, command->slba);
	request->length = command->blocks << command->ns->shift;
	request->flags = request->op == ZD_OP_WRITE_ZEROES ? fua(command) : 0;
	return STEP_SUBMIT;
}

/* ---------------------------------------------------------------- WRITE UNCORRECTABLE */

static int spoil(struct zd_nvme_command *command)
{
	int r;

	if (command->request.result < 0)
		return zd_nvme_end(command);
	r = zd_fault_spoil(command->ns->dev, offset_of(command, command->slba), command->blocks << command->ns->shift,
			   &command->error);
	return r ? zd_nvme_failed(command, r) : zd_nvme_good(command);
}

/* A write like others, at the write pointer of a zone; then its blocks cannot be read. */
int zd_nvme_write_uncorrectable(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	int next = STEP_SUBMIT;

	if (has_directive(command))
		return zd_nvme_field(command, 50, 4);
	if (!place(command))
		return STEP_END;
	if (command->blocks << ns->shift > MOST_UNCORRECTABLE)
		return zd_nvme_field(command, 48, 0);
	if (ns->csi == CSI_ZNS) {
		next = write_zeros(command, durable_if(command, false));
	} else {
		struct zd_request *request = zd_nvme_ask(command, ZD_OP_WRITE_ZEROES);

		request->offset = offset_of(command, command->slba);
		request->length = command->blocks << ns->shift;
		request->flags = durable_if(command, false);
	}
	command->step = spoil;
	return next;
}

/* ---------------------------------------------------------------- COPY */

/* Of a COPY under way: what is read goes behind it, one range after the other, and is written at once. */
struct copy {
	uint32_t nr;
	uint64_t length, done; /* bytes: of all; of the range at hand, read already */
	struct copy_range {
		uint64_t slba, blocks;
	} ranges[MOST_COPY_RANGES];
	uint8_t data[];
};

static int copied(struct zd_nvme_command *command)
{
	const struct copy *copy = command->scratch;
	const struct zd_request *request = &command->request;
	uint64_t landed = 0, end = 0;

	if (request->result >= 0)
		return zd_nvme_good(command);
	if (request->result == ZD_E_MEDIUM_WRITE && command->error.bound > request->offset &&
	    command->error.bound < request->offset + copy->length)
		landed = command->error.bound - request->offset;
	/* The number of the first range that was not copied, not wholly at least. */
	for (command->result = 0; command->result < copy->nr; command->result++) {
		end += copy->ranges[command->result].blocks << command->ns->shift;
		if (end > landed)
			break;
	}
	return zd_nvme_end(command);
}

static int write_copy(struct zd_nvme_command *command)
{
	struct copy *copy = command->scratch;
	struct zd_request *request = zd_nvme_ask(command, ZD_OP_WRITE);

	command->piece = (struct iovec){ copy->data, copy->length };
	command->slba = get64le(command->sqe + 40);
	request->offset = offset_of(command, command->slba);
	request->flags = fua(command);
	request->iov = &command->piece;
	request->nr_iov = 1;
	command->step = copied;
	return STEP_SUBMIT;
}

static int read_to_copy(struct zd_nvme_command *command);

static int was_read(struct zd_nvme_command *command)
{
	struct copy *copy = command->scratch;
	struct zd_request *request = &command->request;
	const struct copy_range *range = &copy->ranges[command->index];

	if (request->result < 0) {
		/* Nothing was written, so none is copied; the error log tells which block cannot be read. */
		command->slba = range->slba;
		if (request->result == ZD_E_MEDIUM_READ && command->error.bound >= request->offset)
			command->slba = (command->error.bound - command->ns->base) >> command->ns->shift;
		return zd_nvme_end(command);
	}
	command->at += request->length;
	copy->done += request->length;
	if (copy->done == range->blocks << command->ns->shift) {
		copy->done = 0;
		command->index++;
	}
	return command->index < copy->nr ? read_to_copy(command) : write_copy(command);
}

static int read_to_copy(struct zd_nvme_command *command)
{
	struct copy *copy = command->scratch;
	const struct copy_range *range = &copy->ranges[command->index];
	uint64_t length = (range->blocks << command->ns->shift) - copy->done,
		 offset = offset_of(command, range->slba) + copy->done;
	struct zd_request *request = zd_nvme_ask(command, ZD_OP_READ);

	request->offset = offset;
	request->length = length = in_zone(command->ns, offset, length);
	command->piece = (struct iovec){ copy->data + command->at, length };
	request->iov = &command->piece;
	request->nr_iov = 1;
	command->step = was_read;
	return STEP_SUBMIT;
}

int zd_nvme_copy(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	uint32_t nr = command->sqe[48] + 1u, entry = copy_entry(command->sqe[49] & 0x0F);
	uint8_t list[MOST_COPY_RANGES * 40];
	struct copy_range range;
	struct copy *copy;
	uint64_t blocks = 0;

	if (!entry)
		return zd_nvme_field(command, 49, 0);
	if (has_directive(command))
		return zd_nvme_field(command, 50, 4);
	if (nr > MOST_COPY_RANGES)
		return zd_nvme_refuse(command, ZD_NVME_SIZE_LIMIT);
	zd_nvme_take(command, list, (uint64_t)nr * entry);
	for (uint32_t i = 0; i < nr; i++)
		blocks += get16le(list + i * entry + 16) + 1u;
	if (blocks << ns->shift > MOST_COPY)
		return zd_nvme_refuse(command, ZD_NVME_SIZE_LIMIT);
	copy = malloc(sizeof(*copy) + (blocks << ns->shift));
	command->scratch = copy;
	if (!copy)
		return no_memory(command);
	copy->nr = nr;
	copy->length = blocks << ns->shift;
	copy->done = 0;
	for (uint32_t i = 0; i < nr; i++) {
		range = (struct copy_range){ get64le(list + i * entry + 8), get16le(list + i * entry + 16) + 1u };
		if (!in_namespace(ns, range.slba, range.blocks)) {
			command->slba = range.slba;
			return zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
		}
		copy->ranges[i] = range;
	}
	command->slba = get64le(command->sqe + 40);
	if (!in_namespace(ns, command->slba, blocks)) {
		command->location = AT(40, 0);
		return zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
	}
	return read_to_copy(command);
}

/* ---------------------------------------------------------------- DATASET MANAGEMENT */

static void range(const struct zd_nvme_command *command, uint32_t index, uint64_t *slba, uint64_t *blocks)
{
	const uint8_t *d = (const uint8_t *)command->scratch + 16 * index;

	*blocks = get32le(d + 4);
	*slba = get64le(d + 8);
}

static int deallocate_next(struct zd_nvme_command *command)
{
	struct zd_request *request;
	uint64_t slba, blocks;

	if (command->request.result < 0)
		return zd_nvme_end(command);
	for (; command->index <= command->sqe[40]; command->index++) {
		range(command, command->index, &slba, &blocks);
		if (!blocks)
			continue;
		request = zd_nvme_ask(command, ZD_OP_DEALLOCATE);
		request->offset = offset_of(command, slba);
		request->length = blocks << command->ns->shift;
		command->index++;
		command->step = deallocate_next;
		return STEP_SUBMIT;
	}
	return zd_nvme_good(command);
}

/* Hints are taken, and not acted upon; so is deallocation in a zoned namespace, where a reset is what gives blocks back. */
int zd_nvme_dataset(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	uint64_t slba, blocks;

	command->scratch = malloc(16 * MOST_RANGES);
	if (!command->scratch)
		return no_memory(command);
	zd_nvme_take(command, command->scratch, (command->sqe[40] + 1u) * 16);
	for (uint32_t i = 0; i <= command->sqe[40]; i++) {
		range(command, i, &slba, &blocks);
		if (!in_namespace(ns, slba, blocks)) {
			command->slba = slba;
			return zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
		}
	}
	if (!(command->sqe[44] & 0x04) || ns->csi == CSI_ZNS)
		return zd_nvme_good(command);
	return deallocate_next(command);
}
