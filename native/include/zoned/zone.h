/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/zone.h - zones: what they can be, the table of what commands do to them, commands on them, and looking at them.
 */
#ifndef ZONED_ZONE_H
#define ZONED_ZONE_H

#include "zoned/abi.h"

ZD_BEGIN

/* Numbers as in struct blk_zone (linux/blkzoned.h) and ZBC-2 REPORT ZONES. */
enum zd_type { ZD_CONVENTIONAL = 1, ZD_SEQ_WRITE_REQUIRED = 2, ZD_SEQ_WRITE_PREFERRED = 3 };
enum zd_cond {
	ZD_NOT_WP = 0,
	ZD_EMPTY = 1,
	ZD_IMPLICIT_OPEN = 2,
	ZD_EXPLICIT_OPEN = 3,
	ZD_CLOSED = 4,
	ZD_READ_ONLY = 0xD,
	ZD_FULL = 0xE,
	ZD_OFFLINE = 0xF
};

/* Commands, as the state table, traces and faults name them. */
enum zd_cmd {
	ZD_CMD_READ = 0,
	ZD_CMD_WRITE = 1,
	ZD_CMD_APPEND = 2,
	ZD_CMD_OPEN = 3,
	ZD_CMD_CLOSE = 4,
	ZD_CMD_FINISH = 5,
	ZD_CMD_RESET = 6,
	ZD_CMD_OPEN_ALL = 7,
	ZD_CMD_CLOSE_ALL = 8,
	ZD_CMD_FINISH_ALL = 9,
	ZD_CMD_RESET_ALL = 10,
	ZD_CMD_POWER_CYCLE = 11,
	ZD_CMD_SET_EMPTY = 12,     /* set_condition: back from the dead, empty (NOT_WP for conventional) */
	ZD_CMD_SET_READ_ONLY = 13, /* set_condition: the head can read but no longer write */
	ZD_CMD_SET_OFFLINE = 14,   /* set_condition: the head is dead */
	ZD_CMD_FLUSH = 15,
	ZD_CMD_SET_EXTENSION = 16, /* zns: an EMPTY zone gets a descriptor extension, and is active */
	ZD_CMD_OPEN_ZRWA = 17,     /* zns: an OPEN that gives the zone a random write area */
	ZD_CMD_COMMIT_ZRWA = 18,   /* zns: an explicit commit of the area's beginning (Flush Explicit ZRWA Range) */
	ZD_NR_CMDS = 19
};

/* "IMPLICIT_OPEN", "reset" (of ALL forms too); NULL for a number that is none. Static storage. */
const char *zd_cond_name(int cond);
const char *zd_cmd_name(int cmd);

/* ---------------------------------------------------------------- the state table */

/* What becomes of the zone's condition */
enum zd_next {
	ZD_NEXT_SAME = 0,
	ZD_NEXT_EMPTY,
	ZD_NEXT_IMPLICIT_OPEN, /* or FULL when the write reaches the capacity */
	ZD_NEXT_EXPLICIT_OPEN, /* as before; FULL when the write reaches the capacity */
	ZD_NEXT_CLOSED,
	ZD_NEXT_CLOSED_OR_EMPTY, /* EMPTY if nothing is written, else CLOSED */
	ZD_NEXT_FULL,
	ZD_NEXT_READ_ONLY,
	ZD_NEXT_OFFLINE,
	ZD_NEXT_INITIAL, /* NOT_WP for conventional zones, EMPTY for others */
	ZD_NEXT_ERROR    /* refused: the cell's error */
};
/* Bits */
enum zd_effect {
	ZD_FX_OPEN = 1,     /* takes an open resource: may close an implicitly open zone, or fail */
	ZD_FX_ACTIVE = 2,   /* takes an active resource, or fails */
	ZD_FX_WP_START = 4, /* the write pointer goes to the start, data is gone */
	ZD_FX_WP_END = 8,   /* the zone counts as written to its capacity */
	ZD_FX_ADVANCE = 16, /* the write pointer advances by what was written */
	ZD_FX_DURABLE = 32, /* what was written becomes durable */
	ZD_FX_NON_SEQ = 64, /* non_seq is set if the write is not at the write pointer */
	ZD_FX_CHECK = 128   /* needs the resources (may fail, may close another) but does not keep them */
};
struct zd_cell {
	uint8_t next;    /* enum zd_next */
	uint8_t effects; /* enum zd_effect bits */
	int16_t error;   /* ZD_E_* when next is ZD_NEXT_ERROR, else 0 */
};
/*
 * The cell for one zone of `type` in condition `cond` under command `cmd`: pure, no device needed.
 * ALL forms give what happens to each zone the ALL form meets (SAME where it is passed over).
 * Returns NULL when the combination cannot occur (a conventional zone that is FULL, an unknown number).
 */
const struct zd_cell *zd_cell(int dialect, int type, int cond, int cmd);

/* ---------------------------------------------------------------- zone commands */

/*
 * cmd: ZD_CMD_OPEN, CLOSE, FINISH or RESET on zones zone .. zone+count-1, one after the other in ascending
 * order; ends at the first that fails (earlier ones stay done). The ALL forms
 * ignore zone and count; zbc's OPEN ALL opens all closed zones or none (ZBC-2 5.4: insufficient resources).
 * Errors: ZD_E_OUT_OF_RANGE (count 0 too), ZD_E_CONVENTIONAL, ZD_E_INVALID_TRANSITION, ZD_E_ZONE_FULL, ZD_E_ZONE_READ_ONLY,
 * ZD_E_ZONE_OFFLINE, ZD_E_TOO_MANY_OPEN, ZD_E_TOO_MANY_ACTIVE, ZD_E_UNSUPPORTED, ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT,
 * ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED (it was held up), -EINVAL (no such cmd), -EINTR,
 * -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_zone_mgmt(zd_dev *dev, int cmd, uint32_t zone, uint32_t count, struct zd_error *err);
/*
 * cond: ZD_READ_ONLY, ZD_OFFLINE, or ZD_EMPTY to bring a zone back, without its data.
 * Errors: ZD_E_OUT_OF_RANGE, ZD_E_INVALID_TRANSITION, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, -EINVAL
 * (another cond), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_set_condition(zd_dev *dev, uint32_t zone, int cond, struct zd_error *err);
/*
 * An orderly power cycle: flush, then the POWER CYCLE row of the table for each zone.
 * Errors: ZD_E_MEDIUM_WRITE (a fault rule's flush), ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, -EINTR,
 * -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_power_cycle(zd_dev *dev, struct zd_error *err);

/*
 * Give an EMPTY zone a descriptor extension: bytes of the host's that stay with the zone till its reset. length must be what the
 * disk was made with (zd_info.zone_extension). The zone becomes CLOSED, with nothing written. A power cut takes no extension away;
 * a crash of the host takes those that were set since the last flush.
 * Errors: ZD_E_UNSUPPORTED (zones have none), ZD_E_OUT_OF_RANGE, ZD_E_CONVENTIONAL, ZD_E_INVALID_TRANSITION (it is not EMPTY),
 * ZD_E_TOO_MANY_ACTIVE, ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED (it
 * was held up), -EINVAL (another length), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_zone_set_extension(zd_dev *dev, uint32_t zone, const void *bytes, uint64_t length, struct zd_error *err);

/*
 * Random write areas (ZRWA), of disks made with a zrwa_size. A zone that has one may be written anywhere from its write pointer on
 * up to twice the area's size, again and again. A write that ends beyond the area moves the write pointer, by multiples of the
 * granularity, until it ends inside (implicit commit). Reads give what was written up to the last byte ever written, and zeros in
 * between where nothing was; appends are refused.
 *
 * What is committed is durable. In the area each block that was written since the last flush survives a power cut or not by
 * itself, as in a conventional zone; what survives there stays in the area, and the write pointer where it was. An area lasts until
 * the zone is reset, finished, full, READ_ONLY or OFFLINE; a power cycle takes that of a zone in which nothing is written.
 *
 * OPEN_ZRWA: as ZD_CMD_OPEN of one zone, which has an area from then on; a zone that has one keeps it. What the zone holds
 * becomes durable by it. Errors: ZD_E_ZONE_OPERATION (the disk's zones have none), ZD_E_ZRWA_UNAVAILABLE, ZD_E_UNSUPPORTED,
 * ZD_E_OUT_OF_RANGE, ZD_E_CONVENTIONAL, ZD_E_INVALID_TRANSITION, ZD_E_ZONE_READ_ONLY, ZD_E_ZONE_OFFLINE, ZD_E_TOO_MANY_OPEN,
 * ZD_E_TOO_MANY_ACTIVE, ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE, ZD_E_FAILED, ZD_E_CLOSED (it
 * was held up), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_zone_open_zrwa(zd_dev *dev, uint32_t zone, struct zd_error *err);
/*
 * The write pointer goes to `end` (an absolute offset: behind the last byte that is committed). A CLOSED zone becomes implicitly
 * open, one that is committed to its capacity FULL. Errors: ZD_E_OUT_OF_RANGE, ZD_E_CONVENTIONAL, ZD_E_ZONE_OPERATION (the disk's
 * zones have no areas), ZD_E_COMMIT (this zone has none; end is no multiple of the granularity from its start), ZD_E_WRITE_BOUNDARY
 * (end is not behind the write pointer, or beyond the area), ZD_E_UNSUPPORTED, ZD_E_ZONE_READ_ONLY, ZD_E_ZONE_OFFLINE,
 * ZD_E_TOO_MANY_OPEN, ZD_E_TOO_MANY_ACTIVE, ZD_E_MEDIUM_WRITE, ZD_E_TIMEOUT, ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_READONLY_HANDLE,
 * ZD_E_FAILED, ZD_E_CLOSED (it was held up), -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM.
 */
int zd_zone_commit_zrwa(zd_dev *dev, uint32_t zone, uint64_t end, struct zd_error *err);
/*
 * 1: the zone has a random write area, and *filled is behind the last byte written in it or before it (absolute); 0: it has none.
 * Errors: ZD_E_OUT_OF_RANGE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT.
 */
int zd_zone_zrwa(zd_dev *dev, uint32_t zone, uint64_t *filled, struct zd_error *err);

/* ---------------------------------------------------------------- looking */

struct zd_zone {
	uint64_t start, length, capacity;
	uint64_t wp;         /* absolute; ZD_NONE where invalid: conventional, FULL, READ_ONLY, OFFLINE */
	uint64_t durable_wp; /* absolute; ZD_NONE for conventional zones. FULL by FINISH: start + capacity */
	uint32_t index;
	uint8_t type, cond, non_seq, reset_recommended;
};
/*
 * Fill up to count zones from index start on; returns how many. start may be nr_zones (returns 0).
 * Errors: ZD_E_OUT_OF_RANGE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT.
 */
int64_t zd_report(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone *out, struct zd_error *err);
/*
 * Bytes from the zone's start on behind which every read gives filler: what a copy of the zone has to carry.
 * Sequential: what was written, known even when FULL, READ_ONLY or OFFLINE. Conventional: its length once
 * anything was stored in it, else 0. Errors: ZD_E_OUT_OF_RANGE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT.
 */
int64_t zd_zone_written(zd_dev *dev, uint32_t zone, struct zd_error *err);
/*
 * The zone's descriptor extension: 1 with its bytes in `to`, which has room for zd_info.zone_extension of them; 0: it has none
 * (an OFFLINE zone shows none). Errors: ZD_E_OUT_OF_RANGE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT, -EIO.
 */
int zd_zone_extension(zd_dev *dev, uint32_t zone, void *to, struct zd_error *err);
/*
 * When the zone was implicitly opened: a number that is larger for later ones; 0 if it is not implicitly
 * open. The order in which implicit_close=oldest takes its victims.
 * Errors: ZD_E_OUT_OF_RANGE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT.
 */
int64_t zd_zone_opened(zd_dev *dev, uint32_t zone, struct zd_error *err);
/*
 * All zones as they are, each by one load of its word; and all that hold an open or active resource as they were at one
 * moment, so that a disk with the same limits can be brought into the same state. A writable handle holds the lock of
 * the resources meanwhile; a read-only one looks until it sees the same twice, and gives up with -EAGAIN where zones
 * are opened and closed faster than it can look.
 *
 * What was read of a zone is what it held then if `gen` stayed the same, `written` is no less, and, where what is
 * written may be overwritten (conventional and preferred zones), `writes` stayed the same.
 */
struct zd_zone_state {
	uint64_t written; /* as zd_zone_written() */
	uint64_t opened;  /* as zd_zone_opened() */
	uint64_t writes;  /* writes ever, appends not counted */
	uint32_t gen;     /* another one whenever data of the zone went */
	uint8_t type, cond, non_seq, reset_recommended;
};
/*
 * All zones; out has an entry for each zone of the disk.
 * Errors: ZD_E_POWER_LOSS, ZD_E_BUSY, -EAGAIN (above), -EINTR, -ETIMEDOUT.
 */
int zd_zone_states(zd_dev *dev, struct zd_zone_state *out, struct zd_error *err);
/* One zone. Errors: ZD_E_OUT_OF_RANGE, ZD_E_POWER_LOSS, ZD_E_BUSY, -EINTR, -ETIMEDOUT. */
int zd_zone_state(zd_dev *dev, uint32_t zone, struct zd_zone_state *out, struct zd_error *err);

/* Since the disk was created, or since the host last booted (they are not part of the image). */
struct zd_zone_counters {
	uint64_t reads, writes, appends, bytes_read, bytes_written;
	uint64_t finish_wasted;                   /* capacity given up by FINISH, bytes */
	uint64_t opens, closes, finishes, resets; /* commands that succeeded; ALL forms count where they act */
	uint64_t implicit_opens, implicit_closes;
	uint64_t errors;
};
/* Fill up to count zones from index start on; returns how many. Works without power. Errors: ZD_E_OUT_OF_RANGE. */
int64_t zd_zone_counters(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone_counters *out, struct zd_error *err);

ZD_END

#endif
