/* SPDX-License-Identifier: Apache-2.0 */
/* Who a unit is: INQUIRY and its VPD pages (SPC-5 6.7 and 7.7, SBC-4 6.6, ZBC-2 6.5), REPORT LUNS. */
#include "wire/scsi/scsi.h"

#include <string.h>

#define ROTATION 7200

static uint8_t device_type(const struct zd_scsi_lu *unit)
{
	return unit->info.model == ZD_HOST_AWARE ? 0x00 : 0x14;
}

static void put_text(uint8_t *out, const char *text, size_t width)
{
	size_t length = strnlen(text, width);

	memcpy(out, text, length);
	memset(out + length, ' ', width - length);
}

static int standard(struct zd_scsi_task *task)
{
	/* SAM-5, SPC-5, SBC-4, SBC-3 (which hosts look for) and ZBC, none of them claimed to a revision. */
	static const uint16_t standards[] = { 0x00A0, 0x05C0, 0x0600, 0x04C0, 0x0620 };
	const struct zd_scsi_lu *unit = task->unit;
	uint8_t out[96] = { 0 };

	out[4] = sizeof(out) - 5;
	if (!unit) {
		out[0] = 0x7F; /* no device, and none can be here */
		out[3] = 0x02;
		return zd_scsi_give(task, out, sizeof(out), get16(task->cdb + 3));
	}
	out[0] = device_type(unit);
	out[2] = 0x07; /* SPC-5 */
	out[3] = 0x12; /* LUNs by the rules of SAM; this format */
	out[7] = 0x02; /* command queuing */
	put_text(out + 8, unit->names.vendor, 8);
	put_text(out + 16, unit->names.product, 16);
	put_text(out + 32, unit->names.revision, 4);
	for (uint32_t i = 0; i < sizeof(standards) / sizeof(standards[0]); i++)
		put16(out + 58 + 2 * i, standards[i]);
	if (task->nexus->target->port.protocol == 5)
		put16(out + 58 + sizeof(standards), 0x0960); /* iSCSI */
	return zd_scsi_give(task, out, sizeof(out), get16(task->cdb + 3));
}

/* ---------------------------------------------------------------- pages: each fills what is behind its length */

typedef uint32_t page_fn(const struct zd_scsi_task *task, uint8_t *out);

static uint32_t serial(const struct zd_scsi_task *task, uint8_t *out)
{
	size_t length = strnlen(task->unit->names.serial, sizeof(task->unit->names.serial));

	memcpy(out, task->unit->names.serial, length);
	return (uint32_t)length;
}

static uint32_t put_designator(uint8_t *out, uint8_t code_set, uint8_t kind, const void *what, size_t length, size_t padded)
{
	memset(out, 0, 4 + padded);
	out[0] = code_set;
	out[1] = kind;
	out[3] = (uint8_t)padded;
	memcpy(out + 4, what, length);
	return (uint32_t)(4 + padded);
}

/* Designators of the unit, then of the port that asks. */
static uint32_t designators(const struct zd_scsi_task *task, uint8_t *out)
{
	const struct zd_scsi_port *port = &task->nexus->target->port;
	const struct zd_scsi_lu *unit = task->unit;
	uint8_t text[8 + 16 + 32], uuid[18] = { 0x10 }, naa[8], relative[4] = { 0 };
	uint32_t length = 0;
	size_t name = strlen(port->name) + 1;

	put_text(text, unit->names.vendor, 8);
	put_text(text + 8, unit->names.product, 16);
	memcpy(text + 24, unit->names.serial, strlen(unit->names.serial));
	length += put_designator(out, 0x02, 0x01, text, 24 + strlen(unit->names.serial), 24 + strlen(unit->names.serial));
	/* NAA 3: assigned locally, from the uuid. */
	memcpy(naa, unit->info.uuid, 8);
	naa[0] = (uint8_t)(0x30 | (naa[0] & 0x0F));
	length += put_designator(out + length, 0x01, 0x03, naa, 8, 8);
	memcpy(uuid + 2, unit->info.uuid, 16);
	length += put_designator(out + length, 0x01, 0x0A, uuid, 18, 18);
	put16(relative + 2, port->relative);
	length += put_designator(out + length, (uint8_t)(port->protocol << 4 | 0x01), 0x94, relative, 4, 4);
	if (name > 1)
		length += put_designator(out + length, (uint8_t)(port->protocol << 4 | 0x03), 0x98, port->name, name,
					 (name + 3) & ~3u);
	return length;
}

static uint32_t extended(const struct zd_scsi_task *task, uint8_t *out)
{
	(void)task;
	memset(out, 0, 60);
	out[1] = 0x07; /* simple, ordered and head of queue task attributes */
	out[2] = 0x01; /* volatile cache */
	return 60;
}

/* All pages are shared by all initiators. */
static uint32_t mode_policy(const struct zd_scsi_task *task, uint8_t *out)
{
	static const uint8_t shared[4] = { 0x3F, 0xFF, 0x00, 0x00 };

	(void)task;
	memcpy(out, shared, sizeof(shared));
	return sizeof(shared);
}

static uint32_t limits(const struct zd_scsi_task *task, uint8_t *out)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint32_t physical = unit->info.physical_block >> unit->shift, most = ZD_SCSI_MAX_TRANSFER >> unit->shift;

	memset(out, 0, 60);
	out[0] = 0x01; /* WRITE SAME takes no 0 for the rest of the disk */
	out[1] = 0xFF; /* blocks of COMPARE AND WRITE */
	put16(out + 2, physical);
	put32(out + 4, most);
	if (unit->nr_conv) {
		put32(out + 16, UINT32_MAX);
		put32(out + 20, MAX_UNMAP_DESCRIPTORS);
		put32(out + 24, physical);
	}
	put64(out + 32, most); /* of WRITE SAME */
	put32(out + 40, MAX_ATOMIC);
	return 60;
}

static uint32_t characteristics(const struct zd_scsi_task *task, uint8_t *out)
{
	memset(out, 0, 60);
	put16(out, ROTATION);
	out[3] = 0x52; /* what was erased is read without an error; 3.5 inch */
	out[4] = task->unit->info.model == ZD_HOST_AWARE ? 0x10 : 0;
	return 60;
}

static uint32_t provisioning(const struct zd_scsi_task *task, uint8_t *out)
{
	memset(out, 0, 4);
	if (task->unit->nr_conv) {
		out[1] = 0xE4; /* UNMAP, WRITE SAME(16) and (10); unmapped blocks read as zeros */
		out[2] = 0x02; /* thin */
	}
	return 4;
}

static uint32_t zoned(const struct zd_scsi_task *task, uint8_t *out)
{
	const struct zd_info *info = &task->unit->info;

	memset(out, 0, 60);
	out[0] = info->unrestricted_read || info->model == ZD_HOST_AWARE;
	put32(out + 4, UINT32_MAX);
	put32(out + 8, UINT32_MAX);
	put32(out + 12, info->max_open && info->model == ZD_HOST_MANAGED ? info->max_open : UINT32_MAX);
	if (info->model == ZD_HOST_AWARE)
		put32(out + 4, info->max_open ? info->max_open : UINT32_MAX);
	if (task->unit->gaps) {
		out[19] = 0x08; /* zones begin at a constant distance */
		put64(out + 20, info->zone_size >> task->unit->shift);
	}
	return 60;
}

static const struct {
	uint8_t code;
	page_fn *fill; /* NULL: the list of pages */
} pages[] = {
	{ 0x00, NULL },   { 0x80, serial },          { 0x83, designators },  { 0x86, extended }, { 0x87, mode_policy },
	{ 0xB0, limits }, { 0xB1, characteristics }, { 0xB2, provisioning }, { 0xB6, zoned },
};
#define NR_PAGES (sizeof(pages) / sizeof(pages[0]))

int zd_scsi_inquiry(struct zd_scsi_task *task)
{
	uint8_t code = task->cdb[2], out[512] = { 0 };
	uint32_t length = 0;

	if (!(task->cdb[1] & 0x01))
		return code ? zd_scsi_field(task, 2, 7) : standard(task);
	if (!task->unit)
		return zd_scsi_check(task, ZD_SENSE_UNIT_NOT_SUPPORTED);
	out[0] = device_type(task->unit);
	out[1] = code;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		if (pages[i].code != code)
			continue;
		if (pages[i].fill)
			length = pages[i].fill(task, out + 4);
		else
			for (; length < NR_PAGES; length++)
				out[4 + length] = pages[length].code;
		put16(out + 2, length);
		return zd_scsi_give(task, out, 4 + length, get16(task->cdb + 3));
	}
	return zd_scsi_field(task, 2, 7);
}

/* ---------------------------------------------------------------- */

int zd_scsi_report_luns(struct zd_scsi_task *task)
{
	const zd_scsi_target *target = task->nexus->target;
	uint8_t out[8 + 8 * ZD_SCSI_MAX_LUNS] = { 0 }, select = task->cdb[2];
	uint32_t length = 8, allocation = get32(task->cdb + 6);

	if (select > 2)
		return zd_scsi_field(task, 2, 7);
	if (allocation < 16)
		return zd_scsi_field(task, 6, 7);
	/* 1 asks for well known units alone: there is none. */
	for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS && select != 1; i++) {
		if (!target->units[i])
			continue;
		out[length + 1] = (uint8_t)i;
		length += 8;
	}
	put32(out, length - 8);
	return zd_scsi_give(task, out, length, allocation);
}

int zd_scsi_request_sense(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	uint8_t out[ZD_SCSI_SENSE_ROOM];
	enum zd_sense what = ZD_SENSE_UNIT_NOT_SUPPORTED;
	uint32_t length;

	if (unit) {
		what = zd_scsi_attention(task->nexus, unit);
		if (!what && atomic_load(&unit->stopped))
			what = ZD_SENSE_STOPPED;
	}
	length = zd_scsi_sense(zd_sense_codes(what), task->cdb[1] & 0x01, out);
	return zd_scsi_give(task, out, length, task->cdb[4]);
}
