/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every command that there is, once: dispatch, the check of reserved bits, REPORT SUPPORTED OPERATION CODES and the page of
 * the documentation all look here. A CDB without a row is INVALID COMMAND OPERATION CODE.
 */
#include "wire/scsi/scsi.h"

#include <errno.h>
#include <string.h>

#define FF4 0xFF, 0xFF, 0xFF, 0xFF
#define FF8 FF4, FF4
#define QUICK 30
#define LONG 3600

/* In ascending order of opcode and service action: the search relies on it. */
/* clang-format off */
const struct zd_scsi_command zd_scsi_commands[] = {
	{ "TEST UNIT READY", 0x00, 6, -1, ON_MEDIUM, ANYBODY, QUICK, { 0 }, zd_scsi_test_unit_ready, NULL },
	{ "REQUEST SENSE", 0x03, 6, -1, WITHOUT_UNIT | PAST_ATTENTION, ANYBODY, QUICK, { 0x03, 0x01, 0, 0, 0xFF, 0 },
	  zd_scsi_request_sense, NULL },
	{ "FORMAT UNIT", 0x04, 6, -1, ON_MEDIUM | WRITES, CHANGES, LONG, { 0x04, 0x3F, 0, 0, 0x03, 0 }, zd_scsi_format,
	  zd_scsi_size_format },
	{ "READ(6)", 0x08, 6, -1, ON_MEDIUM, READS, QUICK, { 0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0 }, zd_scsi_read,
	  zd_scsi_size_blocks_in },
	{ "WRITE(6)", 0x0A, 6, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0 }, zd_scsi_write,
	  zd_scsi_size_blocks_out },
	{ "INQUIRY", 0x12, 6, -1, WITHOUT_UNIT | PAST_ATTENTION, ANYBODY, QUICK, { 0x12, 0x01, 0xFF, 0xFF, 0xFF, 0 },
	  zd_scsi_inquiry, NULL },
	{ "MODE SELECT(6)", 0x15, 6, -1, 0, CHANGES, QUICK, { 0x15, 0x11, 0, 0, 0xFF, 0 }, zd_scsi_mode_select, zd_scsi_size_list4 },
	{ "RESERVE(6)", 0x16, 6, -1, 0, ASKS_ITSELF, QUICK, { 0x16 }, zd_scsi_reserve, NULL },
	{ "RELEASE(6)", 0x17, 6, -1, 0, ASKS_ITSELF, QUICK, { 0x17 }, zd_scsi_release, NULL },
	{ "MODE SENSE(6)", 0x1A, 6, -1, 0, CHANGES, QUICK, { 0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0 }, zd_scsi_mode_sense, NULL },
	{ "START STOP UNIT", 0x1B, 6, -1, 0, CHANGES, QUICK, { 0x1B, 0x01, 0, 0x0F, 0xF7, 0 }, zd_scsi_start_stop, NULL },
	{ "READ CAPACITY(10)", 0x25, 10, -1, ON_MEDIUM, ANYBODY, QUICK, { 0x25 }, zd_scsi_read_capacity10, NULL },
	{ "READ(10)", 0x28, 10, -1, ON_MEDIUM, READS, QUICK, { 0x28, 0x18, FF4, 0x3F, 0xFF, 0xFF, 0 }, zd_scsi_read, zd_scsi_size_blocks_in },
	{ "WRITE(10)", 0x2A, 10, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x2A, 0x18, FF4, 0x3F, 0xFF, 0xFF, 0 }, zd_scsi_write,
	  zd_scsi_size_blocks_out },
	{ "WRITE AND VERIFY(10)", 0x2E, 10, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x2E, 0x16, FF4, 0x3F, 0xFF, 0xFF, 0 },
	  zd_scsi_write_verify, zd_scsi_size_blocks_out },
	{ "VERIFY(10)", 0x2F, 10, -1, ON_MEDIUM, READS, QUICK, { 0x2F, 0x16, FF4, 0x3F, 0xFF, 0xFF, 0 }, zd_scsi_verify, zd_scsi_size_verify },
	{ "PRE-FETCH(10)", 0x34, 10, -1, ON_MEDIUM, READS, QUICK, { 0x34, 0x02, FF4, 0x3F, 0xFF, 0xFF, 0 }, zd_scsi_prefetch, NULL },
	{ "SYNCHRONIZE CACHE(10)", 0x35, 10, -1, ON_MEDIUM, CHANGES, QUICK, { 0x35, 0x06, FF4, 0x3F, 0xFF, 0xFF, 0 },
	  zd_scsi_synchronize, NULL },
	{ "READ DEFECT DATA(10)", 0x37, 10, -1, ON_MEDIUM, READS, QUICK, { 0x37, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0 }, zd_scsi_read_defects10,
	  NULL },
	{ "WRITE SAME(10)", 0x41, 10, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x41, 0x18, FF4, 0x3F, 0xFF, 0xFF, 0 },
	  zd_scsi_write_same, zd_scsi_size_same },
	{ "UNMAP", 0x42, 10, -1, ON_MEDIUM | WRITES | THIN, CHANGES, QUICK, { 0x42, 0x01, 0, 0, 0, 0, 0x3F, 0xFF, 0xFF, 0 },
	  zd_scsi_unmap, zd_scsi_size_list7 },
	{ "SANITIZE (OVERWRITE)", 0x48, 10, 0x01, ON_MEDIUM | WRITES, CHANGES, LONG, { 0x48, 0xA1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0 },
	  zd_scsi_sanitize, zd_scsi_size_list7 },
	{ "SANITIZE (BLOCK ERASE)", 0x48, 10, 0x02, ON_MEDIUM | WRITES, CHANGES, LONG, { 0x48, 0xA2, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0 },
	  zd_scsi_sanitize, zd_scsi_size_list7 },
	{ "SANITIZE (CRYPTOGRAPHIC ERASE)", 0x48, 10, 0x03, ON_MEDIUM | WRITES, CHANGES, LONG,
	  { 0x48, 0xA3, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0 }, zd_scsi_sanitize, zd_scsi_size_list7 },
	{ "SANITIZE (EXIT FAILURE MODE)", 0x48, 10, 0x1F, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x48, 0x1F, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0 },
	  zd_scsi_sanitize_exit, zd_scsi_size_list7 },
	{ "LOG SENSE", 0x4D, 10, -1, 0, ANYBODY, QUICK, { 0x4D, 0, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0 }, zd_scsi_log_sense, NULL },
	{ "MODE SELECT(10)", 0x55, 10, -1, 0, CHANGES, QUICK, { 0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0 }, zd_scsi_mode_select,
	  zd_scsi_size_list7 },
	{ "RESERVE(10)", 0x56, 10, -1, 0, ASKS_ITSELF, QUICK, { 0x56 }, zd_scsi_reserve, NULL },
	{ "RELEASE(10)", 0x57, 10, -1, 0, ASKS_ITSELF, QUICK, { 0x57 }, zd_scsi_release, NULL },
	{ "MODE SENSE(10)", 0x5A, 10, -1, 0, CHANGES, QUICK, { 0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0 }, zd_scsi_mode_sense, NULL },
#define IN(name, action)                                                                                                  \
	{ "PERSISTENT RESERVE IN (" name ")", 0x5E, 10, action, 0, ANYBODY, QUICK,                                        \
	  { 0x5E, action, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0 }, zd_scsi_reservations_in, NULL }
	IN("READ KEYS", 0x00),
	IN("READ RESERVATION", 0x01),
	IN("REPORT CAPABILITIES", 0x02),
	IN("READ FULL STATUS", 0x03),
#define OUT(name, action)                                                                                                 \
	{ "PERSISTENT RESERVE OUT (" name ")", 0x5F, 10, action, 0, ASKS_ITSELF, QUICK,                                   \
	  { 0x5F, action, 0xFF, 0, 0, FF4, 0 }, zd_scsi_reservations_out, zd_scsi_size_list5 }
	OUT("REGISTER", 0x00),
	OUT("RESERVE", 0x01),
	OUT("RELEASE", 0x02),
	OUT("CLEAR", 0x03),
	OUT("PREEMPT", 0x04),
	OUT("PREEMPT AND ABORT", 0x05),
	OUT("REGISTER AND IGNORE EXISTING KEY", 0x06),
	OUT("REGISTER AND MOVE", 0x07),
	{ "READ(16)", 0x88, 16, -1, ON_MEDIUM, READS, QUICK, { 0x88, 0x18, FF8, FF4, 0x3F, 0 }, zd_scsi_read, zd_scsi_size_blocks_in },
	{ "COMPARE AND WRITE", 0x89, 16, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x89, 0x18, FF8, 0, 0, 0, 0xFF, 0x3F, 0 },
	  zd_scsi_compare_write, zd_scsi_size_compare },
	{ "WRITE(16)", 0x8A, 16, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x8A, 0x18, FF8, FF4, 0x3F, 0 }, zd_scsi_write,
	  zd_scsi_size_blocks_out },
	{ "ORWRITE(16)", 0x8B, 16, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x8B, 0x18, FF8, FF4, 0x3F, 0 }, zd_scsi_or_write,
	  zd_scsi_size_blocks_out },
	{ "WRITE AND VERIFY(16)", 0x8E, 16, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x8E, 0x16, FF8, FF4, 0x3F, 0 },
	  zd_scsi_write_verify, zd_scsi_size_blocks_out },
	{ "VERIFY(16)", 0x8F, 16, -1, ON_MEDIUM, READS, QUICK, { 0x8F, 0x16, FF8, FF4, 0x3F, 0 }, zd_scsi_verify, zd_scsi_size_verify },
	{ "PRE-FETCH(16)", 0x90, 16, -1, ON_MEDIUM, READS, QUICK, { 0x90, 0x02, FF8, FF4, 0x3F, 0 }, zd_scsi_prefetch, NULL },
	{ "SYNCHRONIZE CACHE(16)", 0x91, 16, -1, ON_MEDIUM, CHANGES, QUICK, { 0x91, 0x06, FF8, FF4, 0x3F, 0 }, zd_scsi_synchronize, NULL },
	{ "WRITE SAME(16)", 0x93, 16, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x93, 0x19, FF8, FF4, 0x3F, 0 }, zd_scsi_write_same,
	  zd_scsi_size_same },
#define ZONE(name, action, timeout)                                                                                       \
	{ name, 0x94, 16, action, ON_MEDIUM | WRITES, CHANGES, timeout, { 0x94, action, FF8, 0, 0, 0xFF, 0xFF, 0x01, 0 }, \
	  zd_scsi_zone_command, NULL }
	ZONE("CLOSE ZONE", 0x01, QUICK),
	ZONE("FINISH ZONE", 0x02, QUICK),
	ZONE("OPEN ZONE", 0x03, QUICK),
	ZONE("RESET WRITE POINTER", 0x04, 2 * QUICK),
	{ "REPORT ZONES", 0x95, 16, 0x00, ON_MEDIUM, READS, QUICK, { 0x95, 0, FF8, FF4, 0xBF, 0 }, zd_scsi_report_zones, NULL },
	{ "WRITE ATOMIC(16)", 0x9C, 16, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0x9C, 0x18, FF8, 0, 0, 0xFF, 0xFF, 0x3F, 0 },
	  zd_scsi_write_atomic, zd_scsi_size_blocks_out },
	{ "READ CAPACITY(16)", 0x9E, 16, 0x10, ON_MEDIUM, ANYBODY, QUICK, { 0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, FF4, 0, 0 },
	  zd_scsi_read_capacity16, NULL },
	{ "GET LBA STATUS(16)", 0x9E, 16, 0x12, ON_MEDIUM, READS, QUICK, { 0x9E, 0x12, FF8, FF4, 0, 0 }, zd_scsi_lba_status, NULL },
	{ "REPORT LUNS", 0xA0, 12, -1, WITHOUT_UNIT | PAST_ATTENTION, ANYBODY, QUICK, { 0xA0, 0, 0xFF, 0, 0, 0, FF4, 0, 0 },
	  zd_scsi_report_luns, NULL },
	{ "REPORT SUPPORTED OPERATION CODES", 0xA3, 12, 0x0C, 0, ANYBODY, QUICK, { 0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, FF4, 0, 0 },
	  zd_scsi_report_opcodes, NULL },
	{ "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xA3, 12, 0x0D, 0, ANYBODY, QUICK, { 0xA3, 0x0D, 0x80, 0, 0, 0, FF4, 0, 0 },
	  zd_scsi_report_functions, NULL },
	{ "READ(12)", 0xA8, 12, -1, ON_MEDIUM, READS, QUICK, { 0xA8, 0x18, FF8, 0x3F, 0 }, zd_scsi_read, zd_scsi_size_blocks_in },
	{ "WRITE(12)", 0xAA, 12, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0xAA, 0x18, FF8, 0x3F, 0 }, zd_scsi_write,
	  zd_scsi_size_blocks_out },
	{ "WRITE AND VERIFY(12)", 0xAE, 12, -1, ON_MEDIUM | WRITES, CHANGES, QUICK, { 0xAE, 0x16, FF8, 0x3F, 0 }, zd_scsi_write_verify,
	  zd_scsi_size_blocks_out },
	{ "VERIFY(12)", 0xAF, 12, -1, ON_MEDIUM, READS, QUICK, { 0xAF, 0x16, FF8, 0x3F, 0 }, zd_scsi_verify, zd_scsi_size_verify },
	{ "READ DEFECT DATA(12)", 0xB7, 12, -1, ON_MEDIUM, READS, QUICK, { 0xB7, 0x1F, FF4, FF4, 0, 0 }, zd_scsi_read_defects12, NULL },
};
/* clang-format on */
const uint32_t zd_scsi_nr_commands = sizeof(zd_scsi_commands) / sizeof(zd_scsi_commands[0]);

bool zd_scsi_has(const struct zd_scsi_lu *unit, const struct zd_scsi_command *command)
{
	return !unit || !(command->flags & THIN) || unit->nr_conv;
}

const struct zd_scsi_command *zd_scsi_find(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint32_t length, bool *known)
{
	uint32_t low = 0, high = zd_scsi_nr_commands;

	*known = false;
	if (!length)
		return NULL;
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (zd_scsi_commands[middle].opcode < cdb[0])
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < zd_scsi_nr_commands && zd_scsi_commands[low].opcode == cdb[0]; low++) {
		const struct zd_scsi_command *command = &zd_scsi_commands[low];

		if (!zd_scsi_has(unit, command))
			continue;
		*known = true;
		if (command->action < 0 || (length > 1 && command->action == (cdb[1] & 0x1F)))
			return command;
	}
	return NULL;
}

int zd_scsi_command_at(uint32_t index, struct zd_scsi_command_info *out)
{
	const struct zd_scsi_command *command;

	if (index >= zd_scsi_nr_commands)
		return -ENOENT;
	command = &zd_scsi_commands[index];
	out->name = command->name;
	out->opcode = command->opcode;
	out->length = command->length;
	out->action = command->action;
	out->timeout = command->timeout;
	out->flags = (uint16_t)((command->flags & THIN ? ZD_SCSI_IF_CONVENTIONAL : 0) |
				(command->flags & WRITES ? ZD_SCSI_CHANGES_MEDIUM : 0) |
				(command->flags & ON_MEDIUM ? ZD_SCSI_NEEDS_MEDIUM : 0));
	memcpy(out->usage, command->usage, sizeof(out->usage));
	return 0;
}

void zd_scsi_size_list4(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	(void)unit;
	*out = cdb[4];
	*in = 0;
}

void zd_scsi_size_list7(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	(void)unit;
	*out = get16(cdb + 7);
	*in = 0;
}

void zd_scsi_size_list5(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in)
{
	(void)unit;
	*out = get32(cdb + 5);
	*in = 0;
}

/* ---------------------------------------------------------------- the table, told to initiators */

#define TIMEOUTS 12

/* The command timeouts descriptor (SPC-5 6.35.4). */
static void put_timeouts(uint8_t *out, const struct zd_scsi_command *command)
{
	memset(out, 0, TIMEOUTS);
	put16(out, TIMEOUTS - 2);
	put32(out + 4, command->timeout);
	put32(out + 8, command->timeout);
}

static int all_opcodes(struct zd_scsi_task *task, bool timeouts, uint32_t allocation)
{
	uint32_t each = timeouts ? 8 + TIMEOUTS : 8, length = 4;
	uint8_t *out = zd_scsi_scratch(task, 4 + (uint64_t)zd_scsi_nr_commands * each);

	if (!out)
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	for (uint32_t i = 0; i < zd_scsi_nr_commands; i++) {
		const struct zd_scsi_command *command = &zd_scsi_commands[i];
		uint8_t *at = out + length;

		if (!zd_scsi_has(task->unit, command))
			continue;
		memset(at, 0, each);
		at[0] = command->opcode;
		if (command->action >= 0)
			put16(at + 2, (uint32_t)command->action);
		at[5] = (uint8_t)((timeouts ? 0x02 : 0) | (command->action >= 0 ? 0x01 : 0));
		put16(at + 6, command->length);
		if (timeouts)
			put_timeouts(at + 8, command);
		length += each;
	}
	put32(out, length - 4);
	return zd_scsi_give(task, out, length, allocation);
}

int zd_scsi_report_opcodes(struct zd_scsi_task *task)
{
	const uint8_t *cdb = task->cdb;
	uint32_t allocation = get32(cdb + 6), action = get16(cdb + 4), length = 4;
	bool timeouts = cdb[2] & 0x80, known = false, actions = false;
	const struct zd_scsi_command *found = NULL;
	uint8_t out[4 + 16 + TIMEOUTS] = { 0 };
	int option = cdb[2] & 0x07;

	if (option == 0)
		return all_opcodes(task, timeouts, allocation);
	if (option > 3)
		return zd_scsi_field(task, 2, 2);
	for (uint32_t i = 0; i < zd_scsi_nr_commands; i++) {
		const struct zd_scsi_command *command = &zd_scsi_commands[i];

		if (command->opcode != cdb[3] || !zd_scsi_has(task->unit, command))
			continue;
		known = true;
		actions = command->action >= 0;
		if (actions ? option != 1 && (uint32_t)command->action == action : option == 1 || (option == 3 && !action))
			found = command;
	}
	/* 1 is for opcodes without service actions, 2 for those with; 3 takes both. */
	if (known && ((option == 1 && actions) || (option == 2 && !actions)))
		return zd_scsi_field(task, option == 1 ? 2 : 4, option == 1 ? 2 : -1);
	out[1] = 0x01; /* not supported */
	if (found) {
		out[1] = (uint8_t)(0x03 | (timeouts ? 0x80 : 0));
		put16(out + 2, found->length);
		memcpy(out + 4, found->usage, found->length);
		out[4] = found->opcode;
		length += found->length;
		if (timeouts) {
			put_timeouts(out + length, found);
			length += TIMEOUTS;
		}
	}
	return zd_scsi_give(task, out, length, allocation);
}

/* What zd_scsi_manage() does. */
int zd_scsi_report_functions(struct zd_scsi_task *task)
{
	uint8_t out[16] = { 0xDA }; /* abort task, abort and clear task set, logical unit reset, target reset */

	if (task->cdb[2] & 0x80) {
		out[3] = 12;
		put32(out + 8, 0);
		return zd_scsi_give(task, out, 16, get32(task->cdb + 6));
	}
	return zd_scsi_give(task, out, 4, get32(task->cdb + 6));
}
