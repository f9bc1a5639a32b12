/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's properties, and the end of an I/O queue. */
#include "serve/nvmetcp/nvmetcp.h"

/* Properties, by offset. */
#define CAPABILITIES 0x00
#define VERSION 0x08
#define CONFIGURATION 0x14
#define STATUS 0x1C
#define SUBSYSTEM_RESET 0x20

/* CC. */
#define ENABLE 0x1u
#define COMMAND_SET(cc) ((cc) >> 4 & 7)
#define PAGE_SIZE(cc) ((cc) >> 7 & 15)
#define ARBITRATION(cc) ((cc) >> 11 & 7)
#define SHUTDOWN(cc) ((cc) >> 14 & 3)
#define ENTRY_SIZES(cc) ((cc) >> 16 & 0xFF)

/* CSTS. */
#define READY 0x1u
#define FATAL 0x2u
#define SHUT_DOWN (2u << 2)

#define SET_NVM 0      /* the NVM command set alone */
#define SETS_BY_CSI 6  /* all that the controller has */
#define USUAL_SIZES 70 /* 2^6 and 2^4 bytes: 46h */

static uint64_t capabilities(void)
{
	return (ZD_NVMETCP_DEPTH - 1) | 1u << 16 /* CQR */ | 30ull << 24 /* TO: 15 s */ | 1ull << 37 /* NVM */ |
	       1ull << 43 /* by CSI */;
}

bool zd_nvmetcp_is_enabled(const struct controller *controller)
{
	uint32_t status = atomic_load_explicit(&controller->status, memory_order_relaxed);

	return atomic_load_explicit(&controller->configuration, memory_order_relaxed) & ENABLE && !(status & FATAL);
}

void zd_nvmetcp_fail(struct controller *controller)
{
	atomic_fetch_or(&controller->status, FATAL);
}

static void refuse(struct zd_nvme_command *command, uint32_t status)
{
	command->status = (uint16_t)(status | ZD_NVME_DO_NOT_RETRY);
}

/* ---------------------------------------------------------------- getting */

/* READY goes with the last I/O queue: by that a host sees that the reset is over. */
static uint32_t status(struct connection *c)
{
	struct controller *controller = c->controller;
	uint32_t found = atomic_load(&controller->status);

	if (atomic_load(&controller->configuration) & ENABLE || zd_nvmetcp_nr_queues(c) > 1)
		found |= READY;
	return found;
}

static void get(struct connection *c, struct zd_nvme_command *command)
{
	bool wide = (command->sqe[40] & 7) == 1;
	uint32_t offset = get32le(command->sqe + 44);

	if ((command->sqe[40] & 7) > 1 || wide != (offset == CAPABILITIES)) {
		refuse(command, ZD_NVME_INVALID_FIELD);
		return;
	}
	switch (offset) {
	case CAPABILITIES: command->result = capabilities(); break;
	case VERSION: command->result = 0x00020000; break;
	case CONFIGURATION: command->result = atomic_load(&c->controller->configuration); break;
	case STATUS: command->result = status(c); break;
	case SUBSYSTEM_RESET: break;
	default: refuse(command, ZD_NVME_INVALID_FIELD);
	}
}

/* ---------------------------------------------------------------- setting */

/* What a drive does that is told of its loss of power: what its cache holds goes to the medium. Failures were told to writers. */
static void flush_all(const zd_nvmetcp *target)
{
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (target->disks[i].dev)
			zd_flush(target->disks[i].dev, NULL);
}

/* I/O queues go with a reset, and commands that are under way; the admin queue stays. */
static void reset(struct connection *c)
{
	zd_nvmetcp_drop_others(c);
	zd_nvmetcp_silence(c);
	zd_nvme_controller_reset(c->controller->nvme);
	zd_peer_collect(&c->peer);
	atomic_store(&c->controller->status, 0);
}

static void set(struct connection *c, struct zd_nvme_command *command)
{
	struct controller *controller = c->controller;
	uint32_t before = atomic_load(&controller->configuration), value = get32le(command->sqe + 48);

	if ((command->sqe[40] & 7) != 0 || get32le(command->sqe + 44) != CONFIGURATION) {
		refuse(command, ZD_NVME_INVALID_FIELD); /* of another size, or to be read only */
		return;
	}
	if (value & ENABLE && !(before & ENABLE) &&
	    ((COMMAND_SET(value) != SET_NVM && COMMAND_SET(value) != SETS_BY_CSI) || PAGE_SIZE(value) || ARBITRATION(value) ||
	     ENTRY_SIZES(value) != USUAL_SIZES)) {
		refuse(command, ZD_NVME_INVALID_FIELD);
		return;
	}
	if (before & ENABLE && !(value & ENABLE))
		reset(c);
	atomic_store(&controller->configuration, value);
	if (SHUTDOWN(value) && !SHUTDOWN(before)) {
		flush_all(c->target);
		atomic_fetch_or(&controller->status, SHUT_DOWN);
	}
}

int zd_nvmetcp_fabrics(struct connection *c, struct zd_nvme_command *command)
{
	uint8_t type = command->sqe[AT_FABRICS_TYPE];

	command->status = ZD_NVME_SUCCESS;
	command->result = 0;
	if (type == PROPERTY_GET && !c->how.queue)
		get(c, command);
	else if (type == PROPERTY_SET && !c->how.queue)
		set(c, command);
	else if (type == DISCONNECT && c->how.queue)
		return ZD_PEER_LEAVING;
	else if (type == DISCONNECT)
		refuse(command, INVALID_QUEUE_TYPE);
	else if (type == PROPERTY_GET || type == PROPERTY_SET)
		refuse(command, ZD_NVME_INVALID_FIELD);
	else /* CONNECT and authentication were before this */
		refuse(command, ZD_NVME_SEQUENCE_ERROR);
	return 0;
}
