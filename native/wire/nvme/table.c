/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every command that there is, once: dispatch, sizes of transfers, the log page of commands supported and effects and the page
 * of the documentation all look here. An opcode without a row is INVALID COMMAND OPCODE.
 */
#include "wire/nvme/nvme.h"

#include <errno.h>
#include <string.h>

/* Bits of an entry of the log page: supported, changes blocks, changes what namespaces can do; alone in its namespaces. */
#define CSUPP 0x1u
#define LBCC 0x2u
#define ALONE (1u << 16)
#define EVERYWHERE (NEEDS_NAMESPACE | ZD_NVME_NVM | ZD_NVME_ZONED)
#define SLBA 0xFFFFFFFF, 0xFFFFFFFF

/* clang-format off */
const struct zd_nvme_opcode zd_nvme_opcodes[] = {
	{ "GET LOG PAGE", 0x02, ZD_NVME_ADMIN, CSUPP, { 0xFFFF80FF, 0x0000FFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFF800000 },
	  zd_nvme_get_log, zd_nvme_size_log },
	{ "IDENTIFY", 0x06, ZD_NVME_ADMIN, CSUPP, { 0xFFFF00FF, 0xFF000000 }, zd_nvme_identify, zd_nvme_size_identify },
	{ "ABORT", 0x08, ZD_NVME_ADMIN, CSUPP, { 0xFFFFFFFF }, zd_nvme_abort, NULL },
	{ "SET FEATURES", 0x09, ZD_NVME_ADMIN, CSUPP, { 0x800000FF, 0xFFFFFFFF }, zd_nvme_set_features, zd_nvme_size_set_features },
	{ "GET FEATURES", 0x0A, ZD_NVME_ADMIN, CSUPP, { 0x000007FF, 0xFFFFFFFF }, zd_nvme_get_features, zd_nvme_size_get_features },
	{ "ASYNCHRONOUS EVENT REQUEST", 0x0C, ZD_NVME_ADMIN, CSUPP, { 0 }, zd_nvme_event_request, NULL },
	{ "KEEP ALIVE", 0x18, ZD_NVME_ADMIN, CSUPP, { 0 }, zd_nvme_stay_alive, NULL },
	{ "FORMAT NVM", 0x80, ZD_NVME_ADMIN | ZD_NVME_ALL, CSUPP | LBCC | ALONE, { 0x00003FFF }, zd_nvme_format, NULL },
	{ "SANITIZE", 0x84, ZD_NVME_ADMIN | ZD_NVME_ALL, CSUPP | LBCC | ALONE, { 0x0000020F }, zd_nvme_sanitize, NULL },
	{ "FLUSH", 0x00, ZD_NVME_NVM | ZD_NVME_ZONED | ZD_NVME_ALL, CSUPP, { 0 }, zd_nvme_flush, NULL },
	{ "WRITE", 0x01, EVERYWHERE | ZD_NVME_WRITES, CSUPP | LBCC, { SLBA, 0x40F0FFFF }, zd_nvme_write, zd_nvme_size_out },
	{ "READ", 0x02, EVERYWHERE, CSUPP, { SLBA, 0x0000FFFF }, zd_nvme_read, zd_nvme_size_in },
	{ "WRITE UNCORRECTABLE", 0x04, EVERYWHERE | ZD_NVME_WRITES, CSUPP | LBCC, { SLBA, 0x00F0FFFF },
	  zd_nvme_write_uncorrectable, NULL },
	{ "COMPARE", 0x05, EVERYWHERE, CSUPP, { SLBA, 0x0000FFFF }, zd_nvme_read, zd_nvme_size_out },
	{ "WRITE ZEROES", 0x08, EVERYWHERE | ZD_NVME_WRITES, CSUPP | LBCC, { SLBA, 0x4200FFFF }, zd_nvme_write_zeroes, NULL },
	{ "DATASET MANAGEMENT", 0x09, EVERYWHERE | ZD_NVME_WRITES, CSUPP | LBCC, { 0x000000FF, 0x00000004 }, zd_nvme_dataset,
	  zd_nvme_size_ranges },
	{ "VERIFY", 0x0C, EVERYWHERE, CSUPP, { SLBA, 0x0000FFFF }, zd_nvme_read, NULL },
	{ "COPY", 0x19, EVERYWHERE | ZD_NVME_WRITES, CSUPP | LBCC, { SLBA, 0x40F00FFF }, zd_nvme_copy, zd_nvme_size_copy },
	{ "ZONE MANAGEMENT SEND", 0x79, NEEDS_NAMESPACE | ZD_NVME_ZONED | ZD_NVME_WRITES, CSUPP | LBCC,
	  { SLBA, 0, 0x000003FF }, zd_nvme_zone_send, zd_nvme_size_send },
	{ "ZONE MANAGEMENT RECEIVE", 0x7A, NEEDS_NAMESPACE | ZD_NVME_ZONED, CSUPP, { SLBA, 0xFFFFFFFF, 0x0001FFFF },
	  zd_nvme_zone_receive, zd_nvme_size_zones },
	{ "ZONE APPEND", 0x7D, NEEDS_NAMESPACE | ZD_NVME_ZONED | ZD_NVME_WRITES, CSUPP | LBCC, { SLBA, 0x40F0FFFF }, zd_nvme_append,
	  zd_nvme_size_out },
};
/* clang-format on */
const uint32_t zd_nvme_nr_opcodes = sizeof(zd_nvme_opcodes) / sizeof(zd_nvme_opcodes[0]);

const struct zd_nvme_opcode *zd_nvme_find(bool admin, uint8_t opcode)
{
	for (uint32_t i = 0; i < zd_nvme_nr_opcodes; i++)
		if (zd_nvme_opcodes[i].opcode == opcode && !(zd_nvme_opcodes[i].flags & ZD_NVME_ADMIN) == !admin)
			return &zd_nvme_opcodes[i];
	return NULL;
}

bool zd_nvme_has(const struct zd_nvme_opcode *opcode, uint32_t csi)
{
	return opcode->flags & (csi == CSI_ZNS ? ZD_NVME_ZONED : ZD_NVME_NVM);
}

int zd_nvme_command_at(uint32_t index, struct zd_nvme_command_info *out)
{
	const struct zd_nvme_opcode *opcode;

	if (index >= zd_nvme_nr_opcodes)
		return -ENOENT;
	opcode = &zd_nvme_opcodes[index];
	*out = (struct zd_nvme_command_info){ .name = opcode->name,
					      .opcode = opcode->opcode,
					      .flags = opcode->flags & (uint16_t)~NEEDS_NAMESPACE,
					      .effects = opcode->effects };
	memcpy(out->usage, opcode->usage, sizeof(out->usage));
	return 0;
}
