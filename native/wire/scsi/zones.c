/* SPDX-License-Identifier: Apache-2.0 */
/*
 * REPORT ZONES and the commands that change zones (ZBC-2 5). A sequential zone whose capacity is less than its length is two
 * zones here: itself, as long as its capacity, and a gap zone behind it.
 */
#include "wire/scsi/scsi.h"

#include <string.h>

#define HEAD 64
#define EACH 64
#define AT_ONCE 64
#define GAP 5 /* zone type */

enum option {
	ANY = 0x00,
	RESET_RECOMMENDED = 0x10,
	NON_SEQ = 0x11,
	NO_GAP = 0x3E,
	NOT_WP = 0x3F
};

/* A zone as it is reported: bytes of the disk. */
struct shown {
	uint64_t start, length, wp;
	uint8_t type, cond, flags; /* flags: non_seq, reset recommended, as in the descriptor */
};

static bool known(int option)
{
	return option <= ZD_REPORT_OFFLINE || option == RESET_RECOMMENDED || option == NON_SEQ || option == NO_GAP || option == NOT_WP;
}

static bool matches(const struct shown *zone, int option)
{
	static const uint8_t conditions[] = { 0,         ZD_EMPTY, ZD_IMPLICIT_OPEN, ZD_EXPLICIT_OPEN,
					      ZD_CLOSED, ZD_FULL,  ZD_READ_ONLY,     ZD_OFFLINE };

	switch (option) {
	case ANY: return true;
	case RESET_RECOMMENDED: return zone->flags & 0x01;
	case NON_SEQ: return zone->flags & 0x02;
	case NO_GAP: return zone->type != GAP;
	case NOT_WP: return zone->cond == ZD_NOT_WP;
	default: return zone->cond == conditions[option];
	}
}

/* A zone of the disk, and the gap behind it. Returns how many. */
static uint32_t show(const struct zd_zone *zone, struct shown out[2])
{
	out[0] = (struct shown){ .start = zone->start, .length = zone->capacity, .wp = zone->wp, .type = zone->type, .cond = zone->cond };
	out[0].flags = (uint8_t)((zone->non_seq ? 0x02 : 0) | (zone->reset_recommended ? 0x01 : 0));
	/* Invalid write pointers: behind a full zone, as scsi_debug has it; else all ones. */
	if (zone->cond == ZD_FULL)
		out[0].wp = zone->start + zone->capacity;
	if (zone->capacity == zone->length)
		return 1;
	out[1] = (struct shown){ .start = zone->start + zone->capacity, .length = zone->length - zone->capacity,
				 .wp = ZD_NONE, .type = GAP, .cond = ZD_NOT_WP };
	return 2;
}

static void put_zone(struct zd_scsi_task *task, uint64_t at, const struct shown *zone)
{
	uint32_t shift = task->unit->shift;
	uint8_t out[EACH] = { 0 };

	out[0] = zone->type;
	out[1] = (uint8_t)(zone->cond << 4 | zone->flags);
	put64(out + 8, zone->length >> shift);
	put64(out + 16, zone->start >> shift);
	put64(out + 24, zone->wp == ZD_NONE ? UINT64_MAX : zone->wp >> shift);
	zd_scsi_put(task, at, out, EACH);
}

int zd_scsi_report_zones(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	const uint8_t *cdb = task->cdb;
	uint64_t lba = get64(cdb + 2), offset, allocation = get32(cdb + 10), room, listed = 0, matching = 0;
	bool partial = cdb[14] & 0x80, enough = false;
	int option = cdb[14] & 0x3F;
	uint8_t head[HEAD] = { 0 };
	struct zd_zone zones[AT_ONCE];
	struct zd_request request = { .size = sizeof(request), .op = ZD_OP_REPORT, .flags = ZD_REQ_PARTIAL, .zones = zones, .err = &task->error };

	if (lba >= unit->blocks)
		return zd_scsi_check(task, ZD_SENSE_LBA_OUT_OF_RANGE);
	if (!known(option))
		return zd_scsi_field(task, 14, 5);
	offset = lba << unit->shift;
	room = allocation < HEAD ? 0 : (allocation - HEAD) / EACH;
	/* A report meets no fault rule, so nothing holds it up. */
	for (request.zone = (uint32_t)(offset / unit->info.zone_size); request.zone < unit->info.nr_zones && !enough;
	     request.zone += (uint32_t)request.result) {
		request.count = AT_ONCE;
		request.result = 0;
		zd_submit(unit->dev, &request);
		if (request.result < 0)
			return zd_scsi_failed(task, request.result);
		if (!request.result)
			break;
		for (int64_t i = 0; i < request.result && !enough; i++) {
			struct shown parts[2];
			uint32_t nr = show(&zones[i], parts);

			for (uint32_t k = 0; k < nr; k++) {
				if (parts[k].start + parts[k].length <= offset || !matches(&parts[k], option))
					continue;
				matching++;
				if (listed < room)
					put_zone(task, HEAD + EACH * listed++, &parts[k]);
			}
			enough = partial && listed == room;
		}
	}
	matching = partial ? listed : matching;
	put32(head, matching < UINT32_MAX / EACH ? (uint32_t)(matching * EACH) : UINT32_MAX / EACH * EACH);
	put64(head + 8, unit->blocks - 1);
	if (unit->gaps)
		put64(head + 16, unit->info.zone_size >> unit->shift);
	/* Only whole descriptors are sent. */
	task->wants_in = allocation < HEAD ? allocation : HEAD + EACH * listed;
	zd_scsi_put(task, 0, head, task->wants_in < HEAD ? task->wants_in : HEAD);
	return zd_scsi_good(task);
}

static int opened(struct zd_scsi_task *task)
{
	int64_t r = task->request.result;

	if (r == ZD_E_TOO_MANY_OPEN || r == ZD_E_TOO_MANY_ACTIVE)
		atomic_fetch_add(&task->unit->failed_opens, 1);
	return zd_scsi_end(task);
}

/* OPEN, CLOSE, FINISH and RESET. A count of 0 is one zone; gap zones are not counted. */
int zd_scsi_zone_command(struct zd_scsi_task *task)
{
	static const uint8_t ops[] = { 0, ZD_OP_CLOSE, ZD_OP_FINISH, ZD_OP_OPEN, ZD_OP_RESET };
	const struct zd_scsi_lu *unit = task->unit;
	const uint8_t *cdb = task->cdb;
	uint64_t lba = get64(cdb + 2), zone_blocks = unit->info.zone_size >> unit->shift;
	uint32_t count = get16(cdb + 12), zone;
	struct zd_request *request = zd_scsi_ask(task, ops[cdb[1] & 0x1F]);

	if (request->op == ZD_OP_OPEN)
		task->step = opened;
	if (cdb[14] & 0x01) {
		request->flags = ZD_REQ_ALL;
		return STEP_SUBMIT;
	}
	if (lba >= unit->blocks)
		return zd_scsi_check(task, ZD_SENSE_LBA_OUT_OF_RANGE);
	if (lba % zone_blocks)
		return zd_scsi_field(task, 2, 7);
	zone = (uint32_t)(lba / zone_blocks);
	count = count ? count : 1;
	if (count > unit->info.nr_zones - zone)
		return zd_scsi_field(task, 12, 7);
	request->zone = zone;
	request->count = count;
	return STEP_SUBMIT;
}
