/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FLUSH, and FORMAT NVM and SANITIZE, by which every zone is reset, every ordinary namespace reads as zeros, and both are durable.
 * Each goes through its namespaces one after the other: command->index is the next, command->at the last.
 */
#include "wire/nvme/nvme.h"

#define CRYPTO_ERASE 0x4
#define BLOCK_ERASE 0x2
#define EXIT_FAILED 0x1
#define SANITIZE 0x84

/* Of one namespace, or of all. False: there is no such namespace, and the command has ended. */
static bool aim(struct zd_nvme_command *command, uint32_t nsid)
{
	command->index = 1;
	command->at = ZD_NVME_MAX_NAMESPACES;
	if (nsid == ALL_NAMESPACES)
		return true;
	command->index = nsid;
	command->at = nsid;
	if (command->ns)
		return true;
	zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
	return false;
}

/* The next namespace becomes the command's; false: there is none any more. */
static bool next(struct zd_nvme_command *command)
{
	while (command->index <= command->at) {
		struct zd_nvme_namespace *ns = zd_nvme_at(zd_nvme_of(command)->subsystem, command->index++);

		if (!ns)
			continue;
		/* Who cancels the command may be looking for its disk. */
		__atomic_store_n(&command->ns, ns, __ATOMIC_SEQ_CST);
		return true;
	}
	return false;
}

static int flush_next(struct zd_nvme_command *command)
{
	if (command->request.result < 0 || !next(command))
		return zd_nvme_end(command);
	zd_nvme_ask(command, ZD_OP_FLUSH);
	command->step = flush_next;
	return STEP_SUBMIT;
}

int zd_nvme_flush(struct zd_nvme_command *command)
{
	return aim(command, get32le(command->sqe + 4)) ? flush_next(command) : STEP_END;
}

/* ---------------------------------------------------------------- erasing */

static int erase_next(struct zd_nvme_command *command);

static int all_erased(struct zd_nvme_command *command)
{
	zd_nvme_subsystem *subsystem = zd_nvme_of(command)->subsystem;
	bool good = command->request.result >= 0;

	if (command->sqe[0] == SANITIZE) {
		atomic_store(&subsystem->sanitize_dword10, get32le(command->sqe + 40));
		atomic_store(&subsystem->sanitized, good ? 1 : 3); /* completed, failed */
		zd_nvme_tell(subsystem, EVENT_SANITIZED);
	}
	return zd_nvme_end(command);
}

static int erased(struct zd_nvme_command *command)
{
	if (command->request.result < 0)
		return all_erased(command);
	zd_nvme_ask(command, ZD_OP_FLUSH);
	command->step = erase_next;
	return STEP_SUBMIT;
}

static int erase_next(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns;
	struct zd_request *request;

	if (command->request.result < 0 || !next(command))
		return all_erased(command);
	ns = command->ns;
	if (ns->csi == CSI_ZNS) {
		request = zd_nvme_ask(command, ZD_OP_RESET);
		request->flags = ZD_REQ_ALL;
	} else {
		request = zd_nvme_ask(command, ZD_OP_DEALLOCATE);
		request->offset = ns->base;
		request->length = ns->blocks << ns->shift;
	}
	command->step = erased;
	return STEP_SUBMIT;
}

static bool any_is_protected(const struct zd_nvme_command *command)
{
	const zd_nvme_subsystem *subsystem = zd_nvme_of(command)->subsystem;

	for (uint32_t i = command->index; i <= command->at; i++)
		if (zd_nvme_at(subsystem, i) && zd_nvme_at(subsystem, i)->write_protected)
			return true;
	return false;
}

/* There is one format, without metadata and protection; all ways to erase are one. */
int zd_nvme_format(struct zd_nvme_command *command)
{
	uint32_t word = get32le(command->sqe + 40);

	if (!aim(command, get32le(command->sqe + 4)))
		return STEP_END;
	if (word & 0x300F || word & 0x10)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_FORMAT);
	if (word >> 5 & 0x07)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_FORMAT);
	if ((word >> 9 & 0x07) > 2)
		return zd_nvme_field(command, 41, 1);
	if (any_is_protected(command))
		return zd_nvme_refuse(command, ZD_NVME_WRITE_PROTECTED);
	return erase_next(command);
}

/* It ends when it is done, and no failure leaves the subsystem in a mode that would have to be left. */
int zd_nvme_sanitize(struct zd_nvme_command *command)
{
	uint32_t action = command->sqe[40] & 0x07;

	if (action != EXIT_FAILED && action != BLOCK_ERASE && action != CRYPTO_ERASE)
		return zd_nvme_field(command, 40, 0);
	aim(command, ALL_NAMESPACES);
	if (action == EXIT_FAILED)
		return zd_nvme_good(command);
	if (any_is_protected(command))
		return zd_nvme_refuse(command, ZD_NVME_WRITE_PROTECTED);
	return erase_next(command);
}
