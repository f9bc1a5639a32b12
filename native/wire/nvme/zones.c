/* SPDX-License-Identifier: Apache-2.0 */
/* ZONE MANAGEMENT SEND and RECEIVE (ZNS 1.1 3.4.3 and 3.4.2). */
#include "wire/nvme/nvme.h"

#define DESCRIPTOR 64
#define AT_ONCE 64
#define REPORT 0
#define EXTENDED 1         /* a report with descriptor extensions */
#define VALID (1u << 7)    /* Zone Attributes: the descriptor extension is */
#define HAS_AREA (1u << 3) /* Zone Attributes: the zone has a random write area (ZRWAV) */

enum action { CLOSE = 0x01, FINISH = 0x02, OPEN = 0x03, RESET = 0x04, OFFLINE = 0x05, SET_EXTENSION = 0x10, COMMIT = 0x11 };
#define AREA 0x02 /* Zone Send Action Specific Option: an opened zone shall have a random write area */

void zd_nvme_size_send(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	*out = sqe[52] == SET_EXTENSION ? ns->info.zone_extension : 0;
	*in = 0;
}

void zd_nvme_size_zones(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in)
{
	(void)ns;
	*out = 0;
	*in = ((uint64_t)get32le(sqe + 48) + 1) * 4;
}

/* ---------------------------------------------------------------- going offline */

static bool every(const struct zd_nvme_command *command)
{
	return command->sqe[53] & 0x01;
}

static int offline_next(struct zd_nvme_command *command);

static int is_offline(struct zd_nvme_command *command)
{
	struct zd_nvme_namespace *ns = command->ns;

	if (command->request.result < 0)
		return zd_nvme_end(command);
	zd_nvme_zone_offline(zd_nvme_of(command)->subsystem, ns, command->index++);
	return every(command) ? offline_next(command) : zd_nvme_good(command);
}

static int set_offline(struct zd_nvme_command *command)
{
	struct zd_request *request = zd_nvme_ask(command, ZD_OP_SET_OFFLINE);

	request->zone = command->ns->first + command->index;
	request->count = 1;
	command->step = is_offline;
	return STEP_SUBMIT;
}

/* The first zone from command->index on that is read-only. */
static int offline_next(struct zd_nvme_command *command)
{
	struct zd_zone zone;
	struct zd_request look = { .size = sizeof(look),
				   .op = ZD_OP_REPORT,
				   .flags = ZD_REQ_PARTIAL,
				   .filter = ZD_REPORT_READ_ONLY,
				   .zone = command->ns->first + command->index,
				   .count = 1,
				   .zones = &zone,
				   .err = &command->error };

	if (command->index >= command->ns->nr_zones)
		return zd_nvme_good(command);
	zd_submit(command->ns->dev, &look); /* a report meets no fault rule, so nothing holds it up */
	if (look.result <= 0)
		return look.result < 0 ? zd_nvme_failed(command, look.result) : zd_nvme_good(command);
	command->index = zone.index - command->ns->first;
	return set_offline(command);
}

/* Only a zone that is read-only can go offline; one that is there already stays. */
static int offline(struct zd_nvme_command *command)
{
	struct zd_zone zone;
	int64_t r;

	if (every(command))
		return offline_next(command);
	r = zd_report(command->ns->dev, command->ns->first + command->index, 1, &zone, &command->error);
	if (r < 0)
		return zd_nvme_failed(command, r);
	if (zone.cond == ZD_OFFLINE)
		return zd_nvme_good(command);
	return zone.cond == ZD_READ_ONLY ? set_offline(command) : zd_nvme_failed(command, ZD_E_INVALID_TRANSITION);
}

/* ---------------------------------------------------------------- ZONE MANAGEMENT SEND */

/* Bytes that only an EMPTY zone takes, and that it keeps till its reset. */
static int set_extension(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	struct zd_request *request;

	if (!ns->info.zone_extension)
		return zd_nvme_field(command, 52, 0);
	if (every(command))
		return zd_nvme_field(command, 53, 0);
	request = zd_nvme_ask(command, ZD_OP_SET_EXTENSION);
	if (!zd_nvme_clip(command, command->out, 0, ns->info.zone_extension))
		return zd_nvme_refuse(command, ZD_NVME_INTERNAL_ERROR);
	request->zone = ns->first + command->index;
	return STEP_SUBMIT;
}

/* Its address is that of the last block that is committed. */
static int commit(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	struct zd_request *request = zd_nvme_ask(command, ZD_OP_COMMIT_ZRWA);

	request->zone = ns->first + command->index;
	request->offset = ns->base + ((command->slba + 1) << ns->shift);
	return STEP_SUBMIT;
}

int zd_nvme_zone_send(struct zd_nvme_command *command)
{
	static const uint8_t ops[] = {
		[CLOSE] = ZD_OP_CLOSE, [FINISH] = ZD_OP_FINISH, [OPEN] = ZD_OP_OPEN, [RESET] = ZD_OP_RESET
	};
	const struct zd_nvme_namespace *ns = command->ns;
	uint8_t action = command->sqe[52];
	struct zd_request *request;

	if (!every(command)) {
		command->slba = get64le(command->sqe + 40);
		if (command->slba >= ns->blocks)
			return zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
		if (command->slba % ns->zone_blocks && action != COMMIT)
			return zd_nvme_field(command, 40, 0);
		command->index = (uint32_t)(command->slba / ns->zone_blocks);
	}
	if ((action < CLOSE || action > OFFLINE) && action != SET_EXTENSION && action != COMMIT)
		return zd_nvme_field(command, 52, 0);
	if (action == COMMIT && every(command))
		return zd_nvme_field(command, 53, 0);
	/* Where no zone has a random write area (OZCS), QEMU's drive says so in these words. */
	if ((action == COMMIT || (action == OPEN && command->sqe[53] & AREA)) && !ns->info.zrwa_size)
		return zd_nvme_refuse(command, ZD_NVME_INVALID_ZONE_OP);
	if (command->sqe[53] & AREA && (action != OPEN || every(command)))
		return zd_nvme_field(command, 53, 1);
	if (action == COMMIT)
		return commit(command);
	if (action == SET_EXTENSION)
		return set_extension(command);
	if (action == OFFLINE)
		return offline(command);
	request = zd_nvme_ask(command, command->sqe[53] & AREA ? ZD_OP_OPEN_ZRWA : ops[action]);
	request->flags = every(command) ? ZD_REQ_ALL : 0;
	request->zone = ns->first + command->index;
	request->count = 1;
	return STEP_SUBMIT;
}

/* ---------------------------------------------------------------- ZONE MANAGEMENT RECEIVE */

/*
 * 1: the zone has a descriptor extension, which is in `bytes`. It is looked at behind the zone's descriptor: a zone that is EMPTY there
 * has none, whatever a host gave it meanwhile.
 */
static int extension_of(struct zd_nvme_command *command, const struct zd_zone *zone, uint8_t *bytes)
{
	if (!command->ns->info.zone_extension || zone->cond == ZD_EMPTY || zone->cond == ZD_OFFLINE)
		return 0;
	return zd_zone_extension(command->ns->dev, zone->index, bytes, &command->error);
}

/* At `at` of the report, with the extension, or zeros in its place, behind it if the report is an extended one. 0, or a code. */
static int put_zone(struct zd_nvme_command *command, uint64_t at, const struct zd_zone *zone, bool extended)
{
	const struct zd_nvme_namespace *ns = command->ns;
	uint8_t d[DESCRIPTOR] = { 0 }, bytes[ZD_MOST_EXTENSION] = { 0 };
	int has = extension_of(command, zone, bytes), area = 0;
	uint64_t filled;

	if (has < 0)
		return has;
	if (ns->info.zrwa_size)
		area = zd_zone_zrwa(ns->dev, zone->index, &filled, &command->error);
	if (area < 0)
		return area;
	d[0] = ZD_SEQ_WRITE_REQUIRED;
	d[1] = (uint8_t)(zone->cond << 4);
	d[2] = (uint8_t)((zone->reset_recommended ? 1u << 2 : 0) | (area ? HAS_AREA : 0) | (has ? VALID : 0));
	put64le(d + 8, zone->capacity >> ns->shift);
	put64le(d + 16, (zone->start - ns->base) >> ns->shift);
	put64le(d + 24, zone->wp == ZD_NONE ? UINT64_MAX : (zone->wp - ns->base) >> ns->shift);
	zd_nvme_put(command, at, d, DESCRIPTOR);
	if (extended)
		zd_nvme_put(command, at + DESCRIPTOR, bytes, ns->info.zone_extension);
	return 0;
}

/* From the zone on that the LBA lies in. Without PARTIAL the header counts all that match, not only those for which there is room. */
int zd_nvme_zone_receive(struct zd_nvme_command *command)
{
	const struct zd_nvme_namespace *ns = command->ns;
	const uint8_t *sqe = command->sqe;
	uint64_t room, listed = 0, asked, none, step = DESCRIPTOR;
	bool partial = sqe[54] & 0x01, extended = sqe[52] == EXTENDED;
	struct zd_zone zones[AT_ONCE];
	uint8_t head[DESCRIPTOR] = { 0 };
	struct zd_request request = {
		.size = sizeof(request), .op = ZD_OP_REPORT, .zones = zones, .filter = sqe[53], .err = &command->error
	};

	command->slba = get64le(sqe + 40);
	if (command->slba >= ns->blocks)
		return zd_nvme_refuse(command, ZD_NVME_LBA_RANGE);
	if (sqe[52] != REPORT && !(extended && ns->info.zone_extension))
		return zd_nvme_field(command, 52, 0);
	if (extended)
		step += ns->info.zone_extension;
	if (sqe[53] > ZD_REPORT_OFFLINE)
		return zd_nvme_field(command, 53, 0);
	zd_nvme_size_zones(ns, sqe, &none, &room);
	if (room < DESCRIPTOR)
		return zd_nvme_field(command, 48, 0);
	room = (room - DESCRIPTOR) / step;
	request.zone = ns->first + (uint32_t)(command->slba / ns->zone_blocks);
	/* The first report counts what matches; those that follow list what it had no room for. */
	for (asked = 0;; asked++) {
		uint64_t n;

		request.count = (uint32_t)(room - listed < AT_ONCE ? room - listed : AT_ONCE);
		request.flags = asked || partial ? ZD_REQ_PARTIAL : 0;
		request.result = 0;
		zd_submit(ns->dev, &request);
		if (request.result < 0)
			return zd_nvme_failed(command, request.result);
		if (!asked)
			put64le(head, (uint64_t)request.result);
		n = (uint64_t)request.result < request.count ? (uint64_t)request.result : request.count;
		for (uint64_t i = 0; i < n; i++) {
			int r = put_zone(command, DESCRIPTOR + step * listed++, &zones[i], extended);

			if (r)
				return zd_nvme_failed(command, r);
		}
		if (!n || n < request.count || listed == room)
			break;
		request.zone = zones[n - 1].index + 1;
		if (request.zone >= ns->first + ns->nr_zones)
			break;
	}
	if (partial)
		put64le(head, listed);
	zd_nvme_put(command, 0, head, DESCRIPTOR);
	return zd_nvme_good(command);
}
