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

/* Parameters that the disk counts; the others of the page are left out, as the standard allows. */
static int zoned(struct zd_scsi_task *task, uint8_t *out)
{
	struct zd_counters counters;
	const uint64_t *broken = counters.errors_by_rule;
	uint64_t values[][2] = { { 0x0000, 0 }, { 0x0005, 0 }, { 0x0009, 0 }, { 0x000A, 0 } };
	uint32_t length = 0;
	int r = zd_counters(task->unit->dev, &counters, &task->error);

	if (r)
		return r;
#define BROKEN(rule) broken[ZD_E_FIRST_RULE - (rule)]
	values[0][1] = counters.max_open_seen;
	values[1][1] = counters.zones.resets;
	values[2][1] = BROKEN(ZD_E_READ_BOUNDARY) + BROKEN(ZD_E_INVALID_READ) + BROKEN(ZD_E_READ_TYPE);
	values[3][1] = BROKEN(ZD_E_UNALIGNED_WRITE) + BROKEN(ZD_E_WRITE_BOUNDARY);
	for (uint32_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		length += put_head(out + length, (uint32_t)values[i][0], 8);
		put32(out + length - 4, values[i][1] < UINT32_MAX ? (uint32_t)values[i][1] : UINT32_MAX);
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
