/* SPDX-License-Identifier: Apache-2.0 */
/* LOG SENSE: supported pages, temperature, start-stop cycles, and the counters of the disk (SPC-5 7.3, ZBC-2 6.3). */
#include "wire/scsi/scsi.h"

#include <string.h>

#define TEMPERATURE 30
#define TEMPERATURE_MOST 60
#define CYCLES_MOST 50000
#define BINARY 0x03 /* a list that is binary, for initiators to read */

static uint32_t put_head(uint8_t *out, uint32_t code, uint32_t length)
{
	put16(out, code);
	out[2] = BINARY;
	out[3] = (uint8_t)length;
	memset(out + 4, 0, length);
	return 4 + length;
}

static int temperature(struct zd_scsi_task *task, uint8_t *out)
{
	uint32_t length = put_head(out, 0, 2);

	(void)task;
	out[5] = TEMPERATURE;
	length += put_head(out + length, 1, 2);
	out[11] = TEMPERATURE_MOST;
	return (int)length;
}

static int start_stop(struct zd_scsi_task *task, uint8_t *out)
{
	uint32_t length = put_head(out, 3, 4);

	put32(out + 4, CYCLES_MOST);
	length += put_head(out + length, 4, 4);
	put32(out + length - 4, 1 + atomic_load(&task->unit->starts));
	return (int)length;
}

/*
 * What the disk counts, what this unit counts, and 0 where there is nothing to count: a host-managed disk has no zone of the types
 * that non-sequential, suboptimal and excessive writes are about, no disk has zones that are sequential or before required. The
 * most zones that were open by one way, and the fewest that were empty, nobody counts: they are left out, as ZBC-2 allows.
 */
static int zoned(struct zd_scsi_task *task, uint8_t *out)
{
	const struct zd_scsi_lu *unit = task->unit;
	bool managed = unit->info.model == ZD_HOST_MANAGED;
	struct zd_counters counters = { .struct_size = sizeof(counters) };
	const uint64_t *broken = counters.errors_by_rule;
	uint32_t length = 0;
	int r = zd_counters(unit->dev, &counters, &task->error);

	if (r)
		return r;
#define BROKEN(rule) broken[ZD_E_FIRST_RULE - (rule)]
	const struct {
		uint16_t code;
		bool there;
		uint64_t value;
	} all[] = {
		{ 0x0000, true, counters.max_open_seen },
		{ 0x0004, managed, 0 }, /* zones with non-sequential writes, at most */
		{ 0x0005, true, counters.zones.resets },
		{ 0x0006, managed, 0 }, /* suboptimal writes */
		{ 0x0007, managed, 0 }, /* commands beyond an optimal number of open zones */
		{ 0x0008, true, atomic_load(&unit->failed_opens) },
		{ 0x0009, true, BROKEN(ZD_E_READ_BOUNDARY) + BROKEN(ZD_E_INVALID_READ) + BROKEN(ZD_E_READ_TYPE) },
		{ 0x000A, true, BROKEN(ZD_E_UNALIGNED_WRITE) + BROKEN(ZD_E_WRITE_BOUNDARY) },
		{ 0x000B, true, 0 }, /* implicitly open zones that are sequential or before required, at most */
	};
	for (uint32_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!all[i].there)
			continue;
		length += put_head(out + length, all[i].code, 8);
		put32(out + length - 4, all[i].value < UINT32_MAX ? (uint32_t)all[i].value : UINT32_MAX);
	}
	return (int)length;
}

static int supported(struct zd_scsi_task *task, uint8_t *out);
static int supported_sub(struct zd_scsi_task *task, uint8_t *out);

static const struct {
	uint8_t code, sub;
	int (*fill)(struct zd_scsi_task *task, uint8_t *out); /* how many bytes, or a code */
} pages[] = {
	{ 0x00, 0x00, supported },  { 0x00, 0xFF, supported_sub }, { 0x0D, 0x00, temperature },
	{ 0x0E, 0x00, start_stop }, { 0x14, 0x01, zoned },
};
#define NR_PAGES (sizeof(pages) / sizeof(pages[0]))

static int supported(struct zd_scsi_task *task, uint8_t *out)
{
	int length = 0;

	(void)task;
	for (uint32_t i = 0; i < NR_PAGES; i++)
		if (!length || out[length - 1] != pages[i].code)
			out[length++] = pages[i].code;
	return length;
}

static int supported_sub(struct zd_scsi_task *task, uint8_t *out)
{
	int length = 0;

	(void)task;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		out[length++] = pages[i].code;
		out[length++] = pages[i].sub;
	}
	return length;
}

int zd_scsi_log_sense(struct zd_scsi_task *task)
{
	const uint8_t *cdb = task->cdb;
	uint8_t out[4 + 128] = { 0 }, code = cdb[2] & 0x3F;

	/* Cumulative values; there are no thresholds. */
	if (cdb[2] >> 6 != 1)
		return zd_scsi_field(task, 2, 7);
	if (get16(cdb + 5))
		return zd_scsi_field(task, 5, 7);
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		int length;

		if (pages[i].code != code || pages[i].sub != cdb[3])
			continue;
		length = pages[i].fill(task, out + 4);
		if (length < 0)
			return zd_scsi_failed(task, length);
		out[0] = (uint8_t)(code | (cdb[3] ? 0x40 : 0));
		out[1] = cdb[3];
		put16(out + 2, (uint32_t)length);
		return zd_scsi_give(task, out, 4 + (uint64_t)length, get16(cdb + 7));
	}
	return zd_scsi_field(task, cdb[3] ? 3 : 2, cdb[3] ? 7 : 5);
}
