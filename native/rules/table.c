/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state tables: one of zone type x condition x command for each dialect. Pure data and a look-up. The
 * documentation's tables and the exhaustive test are made from zd_cell().
 *
 * Sources: ZBC-2 4.5.3 (zone conditions) and scsi_debug.c for zbc; ZNS 1.1 section 3.4.4 and QEMU's
 * nvme ctrl.c for zns; null_blk/zoned.c for nullblk.
 */
#include "zoned/zoned.h"

#define NR_DIALECTS 3
#define NR_TYPES 3
#define NR_CONDS 8               /* columns, in the order of cond_column() */
#define NR_TABLE_CMDS ZD_NR_CMDS /* FLUSH has no cells: it changes no zone */

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
#define SEQ_OPEN(full, ro, off) [ZD_CMD_OPEN] = { NEVER, GO(EXPLICIT_OPEN, TAKE), GO(EXPLICIT_OPEN, 0), SAME, \
						  GO(EXPLICIT_OPEN, ZD_FX_OPEN), full, ro, off }
#define SEQ_FINISH(ro, off) [ZD_CMD_FINISH] = { NEVER, GO(FULL, END), GO(FULL, END), GO(FULL, END), GO(FULL, END), \
						GO(SAME, ZD_FX_DURABLE), ro, off }
#define SEQ_RESET(ro, off) [ZD_CMD_RESET] = { NEVER, SAME, GO(EMPTY, START), GO(EMPTY, START), GO(EMPTY, START), \
					      GO(EMPTY, START), ro, off }
#define SEQ_OPEN_ALL(fx) [ZD_CMD_OPEN_ALL] = { NEVER, SAME, SAME, SAME, GO(EXPLICIT_OPEN, fx), SAME, SAME, SAME }
#define SEQ_CLOSE_ALL(to) [ZD_CMD_CLOSE_ALL] = { NEVER, SAME, GO(to, 0), GO(to, 0), SAME, SAME, SAME, SAME }
#define SEQ_FINISH_ALL [ZD_CMD_FINISH_ALL] = { NEVER, SAME, GO(FULL, END), GO(FULL, END), GO(FULL, END), SAME, SAME, SAME }
/* What only zns has. */
#define NO_ZNS_ONLY [ZD_CMD_SET_EXTENSION] = SEQ_ALL(NO(UNSUPPORTED)), [ZD_CMD_OPEN_ZRWA] = SEQ_ALL(NO(UNSUPPORTED)), \
	[ZD_CMD_COMMIT_ZRWA] = SEQ_ALL(NO(UNSUPPORTED))
/* In every dialect. */
#define SEQ_ROWS     [ZD_CMD_FLUSH] = SEQ_ALL(NEVER), [ZD_CMD_READ] = SEQ_READ, [ZD_CMD_RESET_ALL] = SEQ_RESET_ALL, [ZD_CMD_POWER_CYCLE] = SEQ_POWER, SEQ_SETS
#define SEQ_WRITES   [ZD_CMD_WRITE] = SEQ_WRITE, [ZD_CMD_APPEND] = SEQ_WRITE
/* Of both kinds of sequential zones that ZBC has. */
#define ZBC_ROWS     SEQ_ROWS, NO_ZNS_ONLY, \
	[ZD_CMD_CLOSE] = { NEVER, SAME, GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME, SAME, NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) }, \
	SEQ_FINISH(NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE)), SEQ_RESET(NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE)), \
	SEQ_CLOSE_ALL(CLOSED_OR_EMPTY), SEQ_FINISH_ALL

/* A conventional zone knows three conditions. Its data is kept through READ_ONLY, lost through OFFLINE. */
#define NEVER5       NEVER, NEVER, NEVER, NEVER, NEVER
#define CNV_ROWS(op_ro, op_off, all, ext) \
	[ZD_CMD_FLUSH] = { NEVER, NEVER5, NEVER, NEVER }, [ZD_CMD_SET_EXTENSION] = ext, \
	[ZD_CMD_OPEN_ZRWA] = ext, [ZD_CMD_COMMIT_ZRWA] = ext, \
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
	[ZD_CMD_SET_OFFLINE] = { GO(OFFLINE, 0), NEVER5, GO(OFFLINE, 0), SAME }, \
	[ZD_CMD_OPEN_ALL] = all, [ZD_CMD_CLOSE_ALL] = all, [ZD_CMD_FINISH_ALL] = all
#define CNV_PASS { SAME, NEVER5, SAME, SAME }
#define CNV_NONE { NO(CONVENTIONAL), NEVER5, NO(CONVENTIONAL), NO(CONVENTIONAL) }
#define CNV_UNSUPPORTED { NO(UNSUPPORTED), NEVER5, NO(UNSUPPORTED), NO(UNSUPPORTED) }

static const struct zd_cell table[NR_DIALECTS][NR_TYPES][NR_TABLE_CMDS][NR_CONDS] = {
	[ZD_ZBC] = {
		[ZD_CONVENTIONAL - 1] = { CNV_ROWS(NO(CONVENTIONAL), NO(CONVENTIONAL), CNV_PASS, CNV_UNSUPPORTED) },
		[ZD_SEQ_WRITE_REQUIRED - 1] = {
			ZBC_ROWS, SEQ_WRITES, SEQ_OPEN(SAME, NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE)), SEQ_OPEN_ALL(ZD_FX_OPEN),
		},
		/* Sequential write preferred: writes go anywhere, no open or active resource is limited (the numbers in
		 * VPD B6h are advice), a FULL zone may be overwritten. */
		[ZD_SEQ_WRITE_PREFERRED - 1] = {
			ZBC_ROWS, SEQ_OPEN_ALL(0),
			[ZD_CMD_WRITE] = { NEVER, GO(IMPLICIT_OPEN, ADV | ZD_FX_NON_SEQ), GO(IMPLICIT_OPEN, ADV | ZD_FX_NON_SEQ),
					   GO(EXPLICIT_OPEN, ADV | ZD_FX_NON_SEQ), GO(IMPLICIT_OPEN, ADV | ZD_FX_NON_SEQ),
					   GO(SAME, ZD_FX_NON_SEQ), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_APPEND] = { NEVER, GO(IMPLICIT_OPEN, ADV), GO(IMPLICIT_OPEN, ADV), GO(EXPLICIT_OPEN, ADV),
					    GO(IMPLICIT_OPEN, ADV), NO(ZONE_FULL), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			[ZD_CMD_OPEN] = { NEVER, GO(EXPLICIT_OPEN, 0), GO(EXPLICIT_OPEN, 0), SAME, GO(EXPLICIT_OPEN, 0),
					  SAME, NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
		},
	},
	[ZD_ZNS] = {
		[ZD_CONVENTIONAL - 1] = { CNV_ROWS(NO(CONVENTIONAL), NO(CONVENTIONAL), CNV_PASS, CNV_NONE) },
		[ZD_SEQ_WRITE_REQUIRED - 1] = {
			SEQ_ROWS, SEQ_WRITES, SEQ_OPEN(NO(INVALID_TRANSITION), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION)),
			/* A closed zone stays active even if nothing was written (ZNS 3.4.4.1.4). */
			[ZD_CMD_CLOSE] = { NEVER, NO(INVALID_TRANSITION), GO(CLOSED, 0), GO(CLOSED, 0), SAME,
					   NO(INVALID_TRANSITION), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION) },
			SEQ_FINISH(NO(INVALID_TRANSITION), NO(INVALID_TRANSITION)),
			SEQ_RESET(NO(INVALID_TRANSITION), NO(INVALID_TRANSITION)),
			SEQ_OPEN_ALL(ZD_FX_OPEN), SEQ_CLOSE_ALL(CLOSED), SEQ_FINISH_ALL,
			/* Such a zone is active, though nothing is written (ZNS 3.4.3.1.6). */
			[ZD_CMD_SET_EXTENSION] = { NEVER, GO(CLOSED, ZD_FX_ACTIVE), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION),
						   NO(INVALID_TRANSITION), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION),
						   NO(INVALID_TRANSITION) },
			/* An OPEN behind which the zone has a random write area; what it holds is durable then. */
			[ZD_CMD_OPEN_ZRWA] = { NEVER, GO(EXPLICIT_OPEN, TAKE | ZD_FX_DURABLE), GO(EXPLICIT_OPEN, ZD_FX_DURABLE),
					       GO(EXPLICIT_OPEN, ZD_FX_DURABLE), GO(EXPLICIT_OPEN, ZD_FX_OPEN | ZD_FX_DURABLE),
					       NO(INVALID_TRANSITION), NO(INVALID_TRANSITION), NO(INVALID_TRANSITION) },
			/* Of zones that have an area; QEMU opens one that is closed, as a write does. */
			[ZD_CMD_COMMIT_ZRWA] = { NEVER, NO(COMMIT), GO(IMPLICIT_OPEN, ADV), GO(EXPLICIT_OPEN, ADV),
						 GO(IMPLICIT_OPEN, ZD_FX_OPEN | ADV), NO(COMMIT), NO(COMMIT), NO(COMMIT) },
		},
	},
	[ZD_NULLBLK] = {
		[ZD_CONVENTIONAL - 1] = { CNV_ROWS(NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE), CNV_UNSUPPORTED, CNV_UNSUPPORTED) },
		[ZD_SEQ_WRITE_REQUIRED - 1] = {
			SEQ_ROWS, NO_ZNS_ONLY, SEQ_WRITES,
			[ZD_CMD_OPEN_ALL] = SEQ_ALL(NO(UNSUPPORTED)), [ZD_CMD_CLOSE_ALL] = SEQ_ALL(NO(UNSUPPORTED)),
			[ZD_CMD_FINISH_ALL] = SEQ_ALL(NO(UNSUPPORTED)),
			SEQ_OPEN(NO(INVALID_TRANSITION), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE)),
			[ZD_CMD_CLOSE] = { NEVER, NO(INVALID_TRANSITION), GO(CLOSED_OR_EMPTY, 0), GO(CLOSED_OR_EMPTY, 0), SAME,
					   NO(INVALID_TRANSITION), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			/* null_finish_zone() asks for the resources of an open although the zone ends up FULL. */
			[ZD_CMD_FINISH] = { NEVER, GO(FULL, END | ZD_FX_CHECK | TAKE), GO(FULL, END), GO(FULL, END),
					    GO(FULL, END | ZD_FX_CHECK | ZD_FX_OPEN), GO(SAME, ZD_FX_DURABLE), NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE) },
			SEQ_RESET(NO(ZONE_READ_ONLY), NO(ZONE_OFFLINE)),
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
