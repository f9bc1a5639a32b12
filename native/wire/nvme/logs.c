/* SPDX-License-Identifier: Apache-2.0 */
/* GET LOG PAGE. A page is made whole, and the part of it is sent that the command asks for. */
#include "wire/nvme/nvme.h"

#include <string.h>

enum page {
	SUPPORTED = 0x00,
	ERROR_LOG = 0x01,
	HEALTH = 0x02,
	FIRMWARE = 0x03,
	CHANGED_NAMESPACES = 0x04,
	EFFECTS = 0x05,
	FEATURE_EFFECTS = 0x12,
	MANAGEMENT_EFFECTS = 0x13,
	SANITIZE_STATUS = 0x81,
	CHANGED_ZONES = 0xBF
};

static uint32_t room(const uint8_t *sqe, uint64_t *bytes)
{
	*bytes = ((uint64_t)(get16le(sqe + 42) | (uint32_t)get16le(sqe + 44) << 16) + 1) * 4;
	return sqe[40];
}

void zd_nvme_size_log(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	(void)ns;
	*out = 0;
	room(sqe, in);
}

static void error_log(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	zd_nvme_controller *it = zd_nvme_of(command);

	(void)keeps;
	pthread_mutex_lock(&it->lock);
	for (uint64_t i = 0; i < ERRORS && i < it->nr_errors; i++, d += 64) {
		const struct zd_nvme_error_entry *entry = &it->errors[(it->nr_errors - 1 - i) % ERRORS];

		put64le(d, entry->count);
		put16le(d + 8, entry->queue);
		put16le(d + 10, entry->cid);
		put16le(d + 12, (uint32_t)entry->status << 1); /* bit 0 is the phase */
		put16le(d + 14, entry->location);
		put64le(d + 16, entry->slba);
		put32le(d + 24, entry->nsid);
		put64le(d + 32, entry->result);
	}
	pthread_mutex_unlock(&it->lock);
}

/* Each disk once, though two namespaces may be of it. */
static bool is_first_of_disk(const zd_nvme_subsystem *subsystem, uint32_t nsid)
{
	for (uint32_t i = 1; i < nsid; i++)
		if (subsystem->namespaces[i] && subsystem->namespaces[i]->dev == subsystem->namespaces[nsid]->dev)
			return false;
	return true;
}

static void health(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	zd_nvme_controller *it = zd_nvme_of(command);
	uint64_t reads = 0, writes = 0, read = 0, written = 0, media = 0, cycles = 0;
	uint32_t dead = 0;

	(void)keeps;
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++) {
		const struct zd_nvme_namespace *ns = it->subsystem->namespaces[i];
		struct zd_counters counters = { .struct_size = sizeof(counters) };
		struct zd_error err;

		if (!ns)
			continue;
		dead += atomic_load(&ns->nr_dead);
		if (!is_first_of_disk(it->subsystem, i) || zd_counters(ns->dev, &counters, &err))
			continue;
		reads += counters.zones.reads;
		writes += counters.zones.writes + counters.zones.appends;
		read += counters.zones.bytes_read;
		written += counters.zones.bytes_written;
		media += counters.errors_by_rule[ZD_E_FIRST_RULE - ZD_E_MEDIUM_READ] +
			 counters.errors_by_rule[ZD_E_FIRST_RULE - ZD_E_MEDIUM_WRITE];
		cycles += atomic_load(&ns->powered);
	}
	d[0] = dead ? 1u << 2 : 0; /* critical warning: reliability is degraded */
	put16le(d + 1, 313);       /* K */
	d[3] = 100;                /* spare, %, and its threshold */
	d[4] = 10;
	put64le(d + 32, (read + 511999) / 512000); /* thousands of 512 bytes */
	put64le(d + 48, (written + 511999) / 512000);
	put64le(d + 64, reads);
	put64le(d + 80, writes);
	put64le(d + 112, cycles + 1);
	put64le(d + 160, media);
	pthread_mutex_lock(&it->lock);
	put64le(d + 176, it->nr_errors);
	pthread_mutex_unlock(&it->lock);
}

static void firmware(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	const char *name = zd_nvme_of(command)->subsystem->names.firmware;

	(void)keeps;
	d[0] = 1; /* slot 1 is active */
	memset(d + 8, ' ', 8);
	memcpy(d + 8, name, strnlen(name, 8));
}

static void changed_namespaces(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	zd_nvme_controller *it = zd_nvme_of(command);

	pthread_mutex_lock(&it->lock);
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (it->namespace_changed[i]) {
			put32le(d, i);
			d += 4;
		}
	if (!keeps)
		memset(it->namespace_changed, 0, sizeof(it->namespace_changed));
	pthread_mutex_unlock(&it->lock);
}

static void effects(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	(void)keeps;
	for (uint32_t i = 0; i < zd_nvme_nr_opcodes; i++) {
		const struct zd_nvme_opcode *opcode = &zd_nvme_opcodes[i];

		if (opcode->flags & ZD_NVME_ADMIN)
			put32le(d + 4 * opcode->opcode, opcode->effects);
		else if (zd_nvme_has(opcode, command->sqe[59]))
			put32le(d + 1024 + 4 * opcode->opcode, opcode->effects);
	}
}

static void feature_effects(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	bool by_namespace;

	(void)command;
	(void)keeps;
	for (uint32_t id = 0; id < 256; id++)
		if (zd_nvme_knows_feature(id, &by_namespace))
			put32le(d + 4 * id, 1u | (by_namespace ? 1u << 20 : 1u << 21)); /* its scope: namespace, controller */
}

static void sanitize_status(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	const zd_nvme_subsystem *subsystem = zd_nvme_of(command)->subsystem;

	(void)keeps;
	put16le(d, 0xFFFF); /* progress: none is under way */
	put16le(d + 2, atomic_load(&subsystem->sanitized));
	put32le(d + 4, atomic_load(&subsystem->sanitize_dword10));
	memset(d + 8, 0xFF, 24); /* times that it takes are not told */
}

static void supported(struct zd_nvme_command *command, uint8_t *d, bool keeps);

static void changed_zones(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	zd_nvme_controller *it = zd_nvme_of(command);
	struct zd_nvme_changed *changed = it->changed[command->ns->nsid];

	pthread_mutex_lock(&it->lock);
	put16le(d, changed->nr > MOST_CHANGED ? 0xFFFF : changed->nr);
	for (uint32_t i = 0; changed->nr <= MOST_CHANGED && i < changed->nr; i++)
		put64le(d + 8 + 8 * i, changed->slbas[i]);
	if (!keeps)
		changed->nr = 0;
	pthread_mutex_unlock(&it->lock);
}

static void nothing(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	(void)command;
	(void)d;
	(void)keeps;
}

/* Each page, its length, and the event that reading it lets come again; NR_EVENTS: none. */
static const struct {
	uint8_t page, event;
	uint16_t length;
	void (*fill)(struct zd_nvme_command *command, uint8_t *d, bool keeps);
} pages[] = {
	{ SUPPORTED, NR_EVENTS, 1024, supported },
	{ ERROR_LOG, EVENT_INTERNAL, ERRORS * 64, error_log },
	{ HEALTH, EVENT_RELIABILITY, 512, health },
	{ FIRMWARE, NR_EVENTS, 512, firmware },
	{ CHANGED_NAMESPACES, EVENT_NAMESPACE, PAGE, changed_namespaces },
	{ EFFECTS, NR_EVENTS, PAGE, effects },
	{ FEATURE_EFFECTS, NR_EVENTS, 1024, feature_effects },
	{ MANAGEMENT_EFFECTS, NR_EVENTS, PAGE, nothing },
	{ SANITIZE_STATUS, EVENT_SANITIZED, 512, sanitize_status },
	{ CHANGED_ZONES, EVENT_ZONES, PAGE, changed_zones },
};
#define NR_PAGES (sizeof(pages) / sizeof(pages[0]))

static void supported(struct zd_nvme_command *command, uint8_t *d, bool keeps)
{
	(void)command;
	(void)keeps;
	for (uint32_t i = 0; i < NR_PAGES; i++)
		put32le(d + 4 * pages[i].page, 1);
}

/* Where an offset is in bytes, it is a multiple of four; where it counts entries, no page has any. */
int zd_nvme_get_log(struct zd_nvme_command *command)
{
	const uint8_t *sqe = command->sqe;
	uint64_t offset = get64le(sqe + 48), length, left;
	bool keeps = sqe[41] & 0x80, tells;
	enum zd_nvme_event event;
	uint8_t data[PAGE] = { 0 };
	uint32_t page = room(sqe, &length), nsid = get32le(sqe + 4), i;

	for (i = 0; i < NR_PAGES && pages[i].page != page; i++)
		;
	if (i == NR_PAGES)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_LOG_PAGE);
	if (sqe[58] & 0x80)
		return zd_nvme_field(command, 58, 7);
	if (offset & 3 || offset > pages[i].length)
		return zd_nvme_field(command, 48, 0);
	if (page == CHANGED_ZONES && (!command->ns || command->ns->csi != CSI_ZNS))
		return command->ns ? zd_nvme_field(command, 40, 0) : zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
	if (page != CHANGED_ZONES && nsid && nsid != ALL_NAMESPACES && !command->ns)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_NAMESPACE);
	if (page == EFFECTS && sqe[59] != CSI_NVM && sqe[59] != CSI_ZNS)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_COMMAND_SET);
	tells = !keeps && pages[i].event < NR_EVENTS;
	event = (enum zd_nvme_event)pages[i].event;
	nsid = command->ns ? command->ns->nsid : 0;
	if (tells)
		zd_nvme_forget(zd_nvme_of(command), event, nsid);
	pages[i].fill(command, data, keeps);
	left = pages[i].length - offset;
	zd_nvme_put(command, 0, data + offset, left < length ? left : length);
	if (tells)
		zd_nvme_unmask(zd_nvme_of(command), event, nsid);
	return zd_nvme_good(command);
}
