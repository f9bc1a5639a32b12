/* SPDX-License-Identifier: Apache-2.0 */
/* Size and condition of a unit: READ CAPACITY, mode pages (SPC-5 7.5, SBC-4 6.5), START STOP UNIT. */
#include "wire/scsi/scsi.h"

#include <string.h>

int zd_scsi_test_unit_ready(struct zd_scsi_task *task)
{
	struct zd_error err;
	int power = zd_power(task->unit->dev, &err);

	if (power < 0)
		return zd_scsi_failed(task, power);
	return power ? zd_scsi_good(task) : zd_scsi_failed(task, ZD_E_POWER_LOSS);
}

int zd_scsi_start_stop(struct zd_scsi_task *task)
{
	const uint8_t *cdb = task->cdb;

	/* Power conditions, and media that can be ejected, are for others. */
	if (cdb[4] & 0xF0)
		return zd_scsi_field(task, 4, 7);
	if (cdb[3] & 0x0F)
		return zd_scsi_field(task, 3, 3);
	if (cdb[4] & 0x02)
		return zd_scsi_field(task, 4, 1);
	if (cdb[4] & 0x01) {
		if (atomic_exchange(&task->unit->stopped, 0))
			atomic_fetch_add(&task->unit->starts, 1);
		return zd_scsi_good(task);
	}
	atomic_store(&task->unit->stopped, 1);
	if (cdb[4] & 0x04 || task->unit->write_protected)
		return zd_scsi_good(task);
	zd_scsi_ask(task, ZD_OP_FLUSH); /* what is cached is written before the disk spins down */
	return STEP_SUBMIT;
}

int zd_scsi_read_capacity10(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint8_t out[8];

	put32(out, unit->blocks - 1 < UINT32_MAX ? (uint32_t)(unit->blocks - 1) : UINT32_MAX);
	put32(out + 4, unit->block);
	return zd_scsi_give(task, out, sizeof(out), sizeof(out));
}

int zd_scsi_read_capacity16(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint8_t out[32] = { 0 };

	put64(out, unit->blocks - 1);
	put32(out + 8, unit->block);
	out[12] = 0x10; /* RC BASIS: the last address of the whole disk, not of its conventional zones */
	out[13] = (uint8_t)__builtin_ctz(unit->info.physical_block >> unit->shift);
	if (unit->nr_conv)
		out[14] = 0xC0; /* blocks can be unmapped, and read as zeros then */
	return zd_scsi_give(task, out, sizeof(out), get32(task->cdb + 10));
}

/* ---------------------------------------------------------------- mode pages */

#define RECOVERY 0x01
#define CACHING 0x08
#define CONTROL 0x0A

static const struct mode_page {
	uint8_t code, length;
} pages[] = { { RECOVERY, 12 }, { CACHING, 20 }, { CONTROL, 12 } };
#define NR_PAGES (sizeof(pages) / sizeof(pages[0]))

void zd_scsi_modes_as_at_first(struct zd_scsi_lu *unit)
{
	atomic_store(&unit->write_cache, 1);
	atomic_store(&unit->descriptor_sense, 0);
	atomic_store(&unit->write_protect, 0);
}

static struct zd_scsi_modes current(const struct zd_scsi_lu *unit)
{
	return (struct zd_scsi_modes){ atomic_load(&unit->write_cache), atomic_load(&unit->descriptor_sense),
				       atomic_load(&unit->write_protect) };
}

/* One page as it is with these modes. Changeable values are the page of all modes, without what is fixed. */
static void put_page(uint8_t *out, const struct mode_page *page, struct zd_scsi_modes modes, bool fixed)
{
	memset(out, 0, page->length);
	out[0] = page->code;
	out[1] = (uint8_t)(page->length - 2);
	if (page->code == RECOVERY && fixed)
		out[2] = 0xC0; /* bad blocks are moved elsewhere by the disk itself */
	if (page->code == CACHING)
		out[2] = modes.write_cache ? 0x04 : 0;
	if (page->code == CONTROL) {
		out[2] = modes.descriptor_sense ? 0x04 : 0;
		out[3] = fixed ? 0x10 : 0; /* commands may be reordered */
		out[4] = modes.write_protect ? 0x08 : 0;
		out[5] = fixed ? 0x40 : 0; /* a task that another initiator aborted ends with TASK ABORTED */
	}
}

static void put_asked(uint8_t *out, const struct zd_scsi_lu *unit, const struct mode_page *page, int which)
{
	static const struct zd_scsi_modes all = { 1, 1, 1 }, first = { 1, 0, 0 };

	put_page(out, page, which == 0 ? current(unit) : which == 1 ? all : first, which != 1);
}

/* The block descriptor: how many blocks, and of how many bytes. */
static uint32_t put_blocks(uint8_t *out, const struct zd_scsi_lu *unit, bool wide)
{
	memset(out, 0, 16);
	if (wide) {
		put64(out, unit->blocks);
		put32(out + 12, unit->block);
		return 16;
	}
	put32(out, unit->blocks < UINT32_MAX ? (uint32_t)unit->blocks : UINT32_MAX);
	put32(out + 4, unit->block);
	return 8;
}

int zd_scsi_mode_sense(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	const uint8_t *cdb = task->cdb;
	bool ten = cdb[0] == 0x5A, wide = ten && cdb[1] & 0x10;
	uint32_t head = ten ? 8 : 4, length = head, blocks = 0, filled = 0;
	uint8_t out[8 + 16 + 64] = { 0 }, code = cdb[2] & 0x3F;
	int which = cdb[2] >> 6;

	if (which == 3)
		return zd_scsi_check(task, ZD_SENSE_SAVING_NOT_SUPPORTED);
	if (cdb[3] && cdb[3] != 0xFF)
		return zd_scsi_field(task, 3, 7);
	if (!(cdb[1] & 0x08))
		blocks = put_blocks(out + head, unit, wide);
	length += blocks;
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		if (code != 0x3F && code != pages[i].code)
			continue;
		put_asked(out + length, unit, &pages[i], which);
		length += pages[i].length;
		filled++;
	}
	if (!filled)
		return zd_scsi_field(task, 2, 5);
	if (ten) {
		put16(out, length - 2);
		out[3] = 0x10;
		out[4] = wide;
		put16(out + 6, blocks);
	} else {
		out[0] = (uint8_t)(length - 1);
		out[2] = 0x10;
		out[3] = (uint8_t)blocks;
	}
	/* DPO and FUA are known; write protection. */
	if (unit->write_protected || atomic_load(&unit->write_protect))
		out[ten ? 3 : 2] |= 0x80;
	return zd_scsi_give(task, out, length, ten ? get16(cdb + 7) : cdb[4]);
}

/* The block descriptor may only say what is so already. True: it does; else the task has ended. */
static bool same_blocks(struct zd_scsi_task *task, const uint8_t *list, uint32_t at, bool wide)
{
	uint64_t blocks = wide ? get64(list + at) : get32(list + at);
	uint32_t bytes = wide ? get32(list + at + 12) : get24(list + at + 5), expected = task->unit->block;
	uint64_t most = wide ? UINT64_MAX : UINT32_MAX;

	if (blocks && blocks != most && blocks != task->unit->blocks) {
		zd_scsi_parameter(task, at, 7);
		return false;
	}
	if (bytes && bytes != expected) {
		zd_scsi_parameter(task, at + (wide ? 12 : 5), 7);
		return false;
	}
	return true;
}

/* Takes one page over into modes, if it changes only what may be changed; else the task has ended. */
static bool take_page(struct zd_scsi_task *task, const uint8_t *list, uint32_t at, const struct mode_page *page,
		      struct zd_scsi_modes *modes)
{
	uint8_t now[64], may[64];

	put_asked(now, task->unit, page, 0);
	put_asked(may, task->unit, page, 1);
	for (uint32_t i = 2; i < page->length; i++) {
		uint8_t wrong = (uint8_t)((list[at + i] ^ now[i]) & ~may[i]);

		if (wrong) {
			zd_scsi_parameter(task, at + i, 31 - __builtin_clz(wrong));
			return false;
		}
	}
	if (page->code == CACHING)
		modes->write_cache = (list[at + 2] & 0x04) != 0;
	if (page->code == CONTROL) {
		modes->descriptor_sense = (list[at + 2] & 0x04) != 0;
		modes->write_protect = (list[at + 4] & 0x08) != 0;
	}
	return true;
}

static bool take_pages(struct zd_scsi_task *task, const uint8_t *list, uint32_t at, uint32_t length, struct zd_scsi_modes *modes)
{
	while (at < length) {
		const struct mode_page *page = NULL;

		for (uint32_t i = 0; i < NR_PAGES; i++)
			if (pages[i].code == (list[at] & 0x7F)) /* no sub-page format: bit 6 must be off too */
				page = &pages[i];
		if (!page) {
			zd_scsi_parameter(task, at, 5);
			return false;
		}
		if (length - at < 2 || length - at < page->length) {
			zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
			return false;
		}
		if (list[at + 1] != page->length - 2) {
			zd_scsi_parameter(task, at + 1, 7);
			return false;
		}
		if (!take_page(task, list, at, page, modes))
			return false;
		at += page->length;
	}
	return true;
}

int zd_scsi_mode_select(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	bool ten = task->cdb[0] == 0x55, wide;
	uint32_t length = ten ? get16(task->cdb + 7) : task->cdb[4], head = ten ? 8 : 4, blocks;
	struct zd_scsi_modes modes = current(unit), before = modes;
	const uint8_t *list;

	if (task->cdb[1] & 0x01)
		return zd_scsi_field(task, 1, 0); /* nothing can be saved */
	task->wants_out = length;
	if (!length)
		return zd_scsi_good(task);
	list = length < head ? NULL : zd_scsi_take(task, length);
	if (!list)
		return zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
	wide = ten && list[4] & 0x01;
	blocks = ten ? get16(list + 6) : list[3];
	if (blocks && blocks != (wide ? 16 : 8))
		return zd_scsi_parameter(task, ten ? 6 : 3, 7);
	if (head + blocks > length)
		return zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
	if ((blocks && !same_blocks(task, list, head, wide)) || !take_pages(task, list, head + blocks, length, &modes))
		return STEP_END;
	if (!memcmp(&modes, &before, sizeof(modes)))
		return zd_scsi_good(task);
	atomic_store(&unit->write_cache, modes.write_cache);
	atomic_store(&unit->descriptor_sense, modes.descriptor_sense);
	atomic_store(&unit->write_protect, modes.write_protect);
	zd_scsi_attend_others(task->nexus->target, task->nexus, unit, ZD_SENSE_MODE_CHANGED);
	if (before.write_cache && !modes.write_cache && !unit->write_protected) {
		zd_scsi_ask(task, ZD_OP_FLUSH); /* a cache that is turned off holds nothing */
		return STEP_SUBMIT;
	}
	return zd_scsi_good(task);
}
