/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule books: one table of zone type x condition x command for each dialect, and what each broken
 * rule is called. Pure data and look-ups: no device, no I/O. The documentation's tables and the
 * exhaustive test are made from zd_cell().
 *
 * Sources: ZBC-2 4.5.3 (zone conditions) and scsi_debug.c for zbc; ZNS 1.1 section 3.4.4 and QEMU's
 * nvme ctrl.c for zns; null_blk/zoned.c for nullblk.
 */
#include "zd.h"

#include <errno.h>

#define NR_DIALECTS 3
#define NR_TYPES 3
#define NR_CONDS 8 /* columns, in the order of cond_column() */
#define NR_TABLE_CMDS ZD_CMD_FLUSH

static int cond_column(int cond)
{
	switch (cond) {
	case ZD_NOT_WP: return 0;
	case ZD_EMPTY: return 1;
	case ZD_IMPLICIT_OPEN: return 2;
	case ZD_EXPLICIT_OPEN: return 3;
	case ZD_CLOSED: return 4;
	case ZD_FULL: return 5;
	case ZD_READ_ONLY: return 6;
	case ZD_OFFLINE: return 7;
	default: return -1;
	}
}

/* clang-format off */
#define NEVER        { 0xFF, 0, 0 }
#define SAME         { ZD_NEXT_SAME, 0, 0 }
#define NO(e)        { ZD_NEXT_ERROR, 0, ZD_E_##e }
#define GO(n, fx)    { ZD_NEXT_##n, (fx), 0 }

#define TAKE         (ZD_FX_OPEN | ZD_FX_ACTIVE)
#define ADV          ZD_FX_ADVANCE
#define END          (ZD_FX_WP_END | ZD_FX_DURABLE)
#define START        ZD_FX_WP_START

/* Rows that all dialects share. Columns: NOT_WP, EMPTY, IMPLICIT, EXPLICIT, CLOSED, FULL, READ_ONLY, OFFLINE. */
#define SEQ_READ     { NEVER, SAME, SAME, SAME, SAME, SAME, SAME, NO(ZONE_OFFLINE) }
#define SEQ_WRITE    { NEVER, GO(IMPLICIT_OPEN, TAKE | ADV), GO(IMPLICIT_OPEN, ADV), GO(EXPLICIT_OPEN, ADV), \
		       GO(IMPLICIT_OPEN, ZD_FX_OPEN | ADV), NO(ZONE_FULL), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) }
#define SEQ_RESET_ALL { NEVER, SAME, GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), SAME, SAME }
#define SEQ_SETS     [ZD_CMD_SET_EMPTY] = { NEVER, GO(INITIAL, START), GO(INITIAL, START), GO(INITIAL, START), GO(INITIAL, START), \
					   GO(INITIAL, START), GO(INITIAL, START), GO(INITIAL, START) }, \
	[ZD_CMD_SET_READ_ONLY] = { NEVER, GO(READ_ONLY, 0), GO(READ_ONLY, 0), GO(READ_ONLY, 0), GO(READ_ONLY, 0), GO(READ_ONLY, 0), SAME, GO(READ_ONLY, 0) }, \
	[ZD_CMD_SET_OFFLINE] = { NEVER, GO(OFFLINE, 0), GO(OFFLINE, 0), GO(OFFLINE, 0), GO(OFFLINE, 0), GO(OFFLINE, 0), GO(OFFLINE, 0), SAME }
#define SEQ_POWER    { NEVER, SAME, GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME, SAME, SAME }
#define SEQ_ALL(x)   { NEVER, x, x, x, x, x, x, x }

/* A conventional zone knows three conditions. Its data is kept through READ_ONLY, lost through OFFLINE. */
#define NEVER5       NEVER, NEVER, NEVER, NEVER, NEVER
#define CNV_ROWS(op_ro, op_off) \
	[ZD_CMD_READ] = { SAME, NEVER5, SAME, NO(ZONE_OFFLINE) }, \
	[ZD_CMD_WRITE] = { SAME, NEVER5, NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) }, \
	[ZD_CMD_APPEND] = { NO(CONVENTIONAL), NEVER5, NO(CONVENTIONAL), NO(CONVENTIONAL) }, \
	[ZD_CMD_OPEN] = { NO(CONVENTIONAL), NEVER5, op_ro, op_off }, \
	[ZD_CMD_CLOSE] = { NO(CONVENTIONAL), NEVER5, op_ro, op_off }, \
	[ZD_CMD_FINISH] = { NO(CONVENTIONAL), NEVER5, op_ro, op_off }, \
	[ZD_CMD_RESET] = { NO(CONVENTIONAL), NEVER5, op_ro, op_off }, \
	[ZD_CMD_RESET_ALL] = { SAME, NEVER5, SAME, SAME }, \
	[ZD_CMD_POWER_CYCLE] = { SAME, NEVER5, SAME, SAME }, \
	[ZD_CMD_SET_EMPTY] = { GO(INITIAL, 0), NEVER5, GO(INITIAL, 0), GO(INITIAL, START) }, \
	[ZD_CMD_SET_READ_ONLY] = { GO(READ_ONLY, 0), NEVER5, SAME, GO(READ_ONLY, 0) }, \
	[ZD_CMD_SET_OFFLINE] = { GO(OFFLINE, 0), NEVER5, GO(OFFLINE, 0), SAME }
#define CNV_PASS { SAME, NEVER5, SAME, SAME }
#define CNV_UNSUPPORTED { NO(UNSUPPORTED), NEVER5, NO(UNSUPPORTED), NO(UNSUPPORTED) }

static const struct zd_cell table[NR_DIALECTS][NR_TYPES][NR_TABLE_CMDS][NR_CONDS] = {
	[ZD_ZBC] = {
		[ZD_CONVENTIONAL - 1] = {
			CNV_ROWS(NO(CONVENTIONAL), NO(CONVENTIONAL)),
			[ZD_CMD_OPEN_ALL] = CNV_PASS, [ZD_CMD_CLOSE_ALL] = CNV_PASS, [ZD_CMD_FINISH_ALL] = CNV_PASS,
		},
		[ZD_SEQ_WRITE_REQUIRED - 1] = {
			[ZD_CMD_READ] = SEQ_READ,
			[ZD_CMD_WRITE] = SEQ_WRITE,
			[ZD_CMD_APPEND] = SEQ_WRITE,
			[ZD_CMD_OPEN] = { NEVER, GO(EXPLICIT_OPEN, TAKE), GO(EXPLICIT_OPEN, 0), SAME, GO(EXPLICIT_OPEN, ZD_FX_OPEN),
					  SAME, NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_CLOSE] = { NEVER, SAME, GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME, SAME,
					   NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_FINISH] = { NEVER, GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(SAME, ZD_FX_DURABLE),
					    NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_RESET] = { NEVER, SAME, GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START),
					   NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_OPEN_ALL] = { NEVER, SAME, SAME, SAME, GO(EXPLICIT_OPEN, ZD_FX_OPEN), SAME, SAME, SAME },
			[ZD_CMD_CLOSE_ALL] = { NEVER, SAME, GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME, SAME, SAME, SAME },
			[ZD_CMD_FINISH_ALL] = { NEVER, SAME, GO(FULL, END), GO(FULL, END), GO(FULL, END), SAME, SAME, SAME },
			[ZD_CMD_RESET_ALL] = SEQ_RESET_ALL,
			[ZD_CMD_POWER_CYCLE] = SEQ_POWER,
			SEQ_SETS,
		},
		/* Sequential write preferred: writes go anywhere, no open or active resource is limited (the numbers in
		 * VPD B6h are advice), a FULL zone may be overwritten. */
		[ZD_SEQ_WRITE_PREFERRED - 1] = {
			[ZD_CMD_READ] = SEQ_READ,
			[ZD_CMD_WRITE] = { NEVER, GO(IMPLICIT_OPEN, ADV | ZD_FX_NON_SEQ), GO(IMPLICIT_OPEN, ADV | ZD_FX_NON_SEQ),
					   GO(EXPLICIT_OPEN, ADV | ZD_FX_NON_SEQ), GO(IMPLICIT_OPEN, ADV | ZD_FX_NON_SEQ),
					   GO(SAME, ZD_FX_NON_SEQ), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_APPEND] = { NEVER, GO(IMPLICIT_OPEN, ADV), GO(IMPLICIT_OPEN, ADV), GO(EXPLICIT_OPEN, ADV),
					    GO(IMPLICIT_OPEN, ADV), NO(ZONE_FULL), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_OPEN] = { NEVER, GO(EXPLICIT_OPEN, 0), GO(EXPLICIT_OPEN, 0), SAME, GO(EXPLICIT_OPEN, 0),
					  SAME, NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_CLOSE] = { NEVER, SAME, GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME, SAME,
					   NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_FINISH] = { NEVER, GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(SAME, ZD_FX_DURABLE),
					    NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_RESET] = { NEVER, SAME, GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START),
					   NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_OPEN_ALL] = { NEVER, SAME, SAME, SAME, GO(EXPLICIT_OPEN, 0), SAME, SAME, SAME },
			[ZD_CMD_CLOSE_ALL] = { NEVER, SAME, GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME, SAME, SAME, SAME },
			[ZD_CMD_FINISH_ALL] = { NEVER, SAME, GO(FULL, END), GO(FULL, END), GO(FULL, END), SAME, SAME, SAME },
			[ZD_CMD_RESET_ALL] = SEQ_RESET_ALL,
			[ZD_CMD_POWER_CYCLE] = SEQ_POWER,
			SEQ_SETS,
		},
	},
	[ZD_ZNS] = {
		[ZD_CONVENTIONAL - 1] = {
			CNV_ROWS(NO(CONVENTIONAL), NO(CONVENTIONAL)),
			[ZD_CMD_OPEN_ALL] = CNV_PASS, [ZD_CMD_CLOSE_ALL] = CNV_PASS, [ZD_CMD_FINISH_ALL] = CNV_PASS,
		},
		[ZD_SEQ_WRITE_REQUIRED - 1] = {
			[ZD_CMD_READ] = SEQ_READ,
			[ZD_CMD_WRITE] = SEQ_WRITE,
			[ZD_CMD_APPEND] = SEQ_WRITE,
			[ZD_CMD_OPEN] = { NEVER, GO(EXPLICIT_OPEN, TAKE), GO(EXPLICIT_OPEN, 0), SAME, GO(EXPLICIT_OPEN, ZD_FX_OPEN),
					  NO(INVALID_TRANSITION), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION) },
			/* A closed zone stays active even if nothing was written (ZNS 3.4.4.1.4). */
			[ZD_CMD_CLOSE] = { NEVER, NO(INVALID_TRANSITION), GO(CLOSED, 0), GO(CLOSED, 0), SAME,
					   NO(INVALID_TRANSITION), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION) },
			[ZD_CMD_FINISH] = { NEVER, GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(SAME, ZD_FX_DURABLE),
					    NO(INVALID_TRANSITION), NO(INVALID_TRANSITION) },
			[ZD_CMD_RESET] = { NEVER, SAME, GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START),
					   NO(INVALID_TRANSITION), NO(INVALID_TRANSITION) },
			[ZD_CMD_OPEN_ALL] = { NEVER, SAME, SAME, SAME, GO(EXPLICIT_OPEN, ZD_FX_OPEN), SAME, SAME, SAME },
			[ZD_CMD_CLOSE_ALL] = { NEVER, SAME, GO(CLOSED, 0), GO(CLOSED, 0), SAME, SAME, SAME, SAME },
			[ZD_CMD_FINISH_ALL] = { NEVER, SAME, GO(FULL, END), GO(FULL, END), GO(FULL, END), SAME, SAME, SAME },
			[ZD_CMD_RESET_ALL] = SEQ_RESET_ALL,
			[ZD_CMD_POWER_CYCLE] = SEQ_POWER,
			SEQ_SETS,
		},
	},
	[ZD_NULLBLK] = {
		[ZD_CONVENTIONAL - 1] = {
			CNV_ROWS(NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE)),
			[ZD_CMD_OPEN_ALL] = CNV_UNSUPPORTED, [ZD_CMD_CLOSE_ALL] = CNV_UNSUPPORTED, [ZD_CMD_FINISH_ALL] = CNV_UNSUPPORTED,
		},
		[ZD_SEQ_WRITE_REQUIRED - 1] = {
			[ZD_CMD_READ] = SEQ_READ,
			[ZD_CMD_WRITE] = SEQ_WRITE,
			[ZD_CMD_APPEND] = SEQ_WRITE,
			[ZD_CMD_OPEN] = { NEVER, GO(EXPLICIT_OPEN, TAKE), GO(EXPLICIT_OPEN, 0), SAME, GO(EXPLICIT_OPEN, ZD_FX_OPEN),
					  NO(INVALID_TRANSITION), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_CLOSE] = { NEVER, NO(INVALID_TRANSITION), GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME,
					   NO(INVALID_TRANSITION), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			/* null_finish_zone() asks for the resources of an open although the zone ends up FULL. */
			[ZD_CMD_FINISH] = { NEVER, GO(FULL, END | ZD_FX_CHECK | TAKE), GO(FULL, END), GO(FULL, END),
					    GO(FULL, END | ZD_FX_CHECK | ZD_FX_OPEN), GO(SAME, ZD_FX_DURABLE), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_RESET] = { NEVER, SAME, GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START),
					   NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_OPEN_ALL] = SEQ_ALL(NO(UNSUPPORTED)),
			[ZD_CMD_CLOSE_ALL] = SEQ_ALL(NO(UNSUPPORTED)),
			[ZD_CMD_FINISH_ALL] = SEQ_ALL(NO(UNSUPPORTED)),
			[ZD_CMD_RESET_ALL] = SEQ_RESET_ALL,
			[ZD_CMD_POWER_CYCLE] = SEQ_POWER,
			SEQ_SETS,
		},
	},
};
/* clang-format on */

const struct zd_cell *zd_cell(int dialect, int type, int cond, int cmd)
{
	const struct zd_cell *cell;
	int column = cond_column(cond);

	if (dialect < 0 || dialect >= NR_DIALECTS || type < 1 || type > NR_TYPES || column < 0 || cmd < 0 ||
	    cmd >= NR_TABLE_CMDS)
		return NULL;
	if (type == ZD_SEQ_WRITE_PREFERRED && dialect != ZD_ZBC)
		return NULL;
	cell = &table[dialect][type - 1][cmd][column];
	return cell->next == 0xFF ? NULL : cell;
}

/* Index: ZD_E_FIRST_RULE - code. Sense codes: ZBC-2 4.5.3, SPC-5 annex F; NVMe: ZNS 1.1 figure 21. */
static const struct zd_rule_info rules[ZD_NR_RULES] = {
	{ "unaligned-write", EIO, 0x5, 0x21, 0x04, 0, 0x1BC },
	{ "write-boundary", EIO, 0x5, 0x21, 0x05, 0, 0x1B8 },
	{ "read-boundary", EIO, 0x5, 0x21, 0x07, 0, 0x1B8 },
	{ "invalid-read", EIO, 0x5, 0x21, 0x06, 0, 0x1B8 },
	{ "zone-full", EIO, 0x5, 0x24, 0x00, 0, 0x1B9 },
	{ "zone-read-only", EIO, 0x7, 0x27, 0x08, 0, 0x1BA },
	{ "zone-offline", EIO, 0x7, 0x2C, 0x0E, 0, 0x1BB },
	{ "too-many-open", ETOOMANYREFS, 0x7, 0x55, 0x0E, 0, 0x1BE },
	{ "too-many-active", EOVERFLOW, 0x7, 0x55, 0x0E, 0, 0x1BD },
	{ "invalid-transition", EIO, 0x5, 0x24, 0x00, 0, 0x1BF },
	{ "conventional-zone", EIO, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "gap", EIO, 0x5, 0x21, 0x09, 0, 0x1B8 },
	{ "out-of-range", EIO, 0x5, 0x21, 0x00, 0, 0x080 },
	{ "block-alignment", EINVAL, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "append-limit", EIO, 0x5, 0x24, 0x00, 0, 0x002 },
	{ "unsupported-command", EOPNOTSUPP, 0x5, 0x20, 0x00, 0, 0x001 },
	{ "medium-error", ENODATA, 0x3, 0x11, 0x00, 0, 0x281 },
	{ "medium-error", EIO, 0x3, 0x0C, 0x00, 0, 0x280 },
	{ "power-loss", EIO, 0x2, 0x04, 0x00, 0, 0x006 },
	{ "read-type-boundary", EIO, 0x5, 0x21, 0x06, 0, 0x1B8 },
	{ "command-timeout", ETIMEDOUT, 0xB, 0x2E, 0x02, 0, 0x007 },
};

const struct zd_rule_info *zd_rule_info(int code, int dialect)
{
	int i = ZD_E_FIRST_RULE - code;

	if (dialect < 0 || dialect >= NR_DIALECTS || i < 0 || i >= ZD_NR_RULES)
		return NULL;
	return &rules[i];
}

const char *zd_rule_name(int code)
{
	int i = ZD_E_FIRST_RULE - code;

	if (i >= 0 && i < ZD_NR_RULES)
		return rules[i].name;
	switch (code) {
	case ZD_E_GEOMETRY: return "geometry";
	case ZD_E_NOT_IMAGE: return "not-an-image";
	case ZD_E_VERSION: return "image-version";
	case ZD_E_FEATURE: return "image-feature";
	case ZD_E_TRUNCATED: return "image-truncated";
	case ZD_E_CORRUPT: return "image-corrupt";
	case ZD_E_READONLY_HANDLE: return "read-only-handle";
	case ZD_E_FAILED: return "image-failed";
	case ZD_E_BUSY: return "image-busy";
	case ZD_E_CLOSED: return "closed";
	default: return NULL;
	}
}
