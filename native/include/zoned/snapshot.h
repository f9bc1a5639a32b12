/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/snapshot.h - the whole disk at one moment: to go back to, to fork, and to ask what a power cut there may leave.
 *
 * A snapshot is the whole disk at one moment: conditions, write pointers, durable pointers, data. Taking one copies
 * no data, also not of a fork: slots in use are pinned, which means kept as they are, wherever they lie. It belongs to
 * the process that took it, keeps the disk open till it and all forks of it are freed, and outlives the handle it was
 * taken by. Fault rules, counters and power are no part of it. Works without power.
 */
#ifndef ZONED_SNAPSHOT_H
#define ZONED_SNAPSHOT_H

#include "zoned/abi.h"
#include "zoned/power.h"

ZD_BEGIN

typedef struct zd_snapshot zd_snapshot;

/*
 * Take one. Errors: ZD_E_READONLY_HANDLE, ZD_E_BUSY, -EINTR, -ETIMEDOUT, -ENOMEM, -EMFILE, -ENFILE, -EACCES, -EIO, -ENOSPC, -EDQUOT.
 */
int zd_snapshot_take(zd_dev *dev, zd_snapshot **out, struct zd_error *err);
/*
 * The same by any handle. By a read-only one nothing is pinned and no lock is taken, so that what it tells (rows,
 * unflushed blocks) is of one moment only where two looks tell the same; rollbacks and forks of it are refused.
 * Errors: ZD_E_BUSY, -EINTR, -ETIMEDOUT, -ENOMEM, -EMFILE, -ENFILE, -EACCES, -EIO, -ENOSPC, -EDQUOT.
 */
int zd_snapshot_look(zd_dev *dev, zd_snapshot **out, struct zd_error *err);
/* The same snapshot, to be freed once more. */
void zd_snapshot_share(zd_snapshot *snapshot, zd_snapshot **out);
void zd_snapshot_free(zd_snapshot *snapshot); /* NULL: nothing */

/*
 * Make the disk what it was at the snapshot, for all openers, in one step. The snapshot stays and may be used again.
 * If the process is killed meanwhile, the disk is as it was, or as the snapshot; then what had been written survives the
 * next power cut even where the snapshot knew that it might not.
 * Errors: -EINVAL (a snapshot of another disk, of a read-only handle, or of the parent process), ZD_E_READONLY_HANDLE,
 * ZD_E_POWER_LOSS, ZD_E_BUSY, ZD_E_FAILED, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC and -EDQUOT (it needs a little room, and changes
 * nothing without it), -ENOMEM.
 */
int zd_rollback(zd_dev *dev, zd_snapshot *snapshot, struct zd_error *err);

/*
 * A disk of its own in RAM that begins as the snapshot: it sees nothing that is written, reset or punched in the
 * origin later, and the origin sees nothing of it. It may be snapshotted and forked as any disk; whoever is closed
 * first, the others keep what they read (and a file descriptor for each disk in which it lies). cut NULL: exactly the
 * snapshot; else as that power cut would have left it. It lives as long as its handle, in this process.
 * Errors: -EINVAL (a survivor that cannot be; a snapshot of a read-only handle, or of the parent process), -EINTR, -ETIMEDOUT,
 * -ENOMEM, -EMFILE, -ENFILE, -EIO, -ENOSPC.
 */
int zd_fork(zd_snapshot *snapshot, const struct zd_cut *cut, zd_dev **out, struct zd_error *err);

/* ---------------------------------------------------------------- looking */

/* A zone that is not as new. */
struct zd_snapshot_zone {
	uint32_t zone;
	uint8_t type, cond, finished, reserved;
	uint64_t written, durable; /* bytes from the zone's start */
	uint64_t lost_from;        /* a lost write: a power cut keeps no more than that; UINT64_MAX: none */
};
/* A block that was written since the last flush, in a conventional or preferred zone. */
struct zd_snapshot_block {
	uint32_t zone;
	uint32_t lost;   /* 1: by a lost write; no power cut keeps it */
	uint64_t offset; /* its first byte on the disk */
};
/*
 * Those of them whose fate in a power cut can be seen (not those that hold what they held), ascending. Fill up to max;
 * returns how many there are. Errors: -EIO, -ENOMEM.
 */
int64_t zd_snapshot_unflushed(const zd_snapshot *snapshot, struct zd_snapshot_block *out, uint64_t max, struct zd_error *err);
/* Fill up to max; returns how many there are. Never fails. */
int zd_snapshot_rows(const zd_snapshot *snapshot, struct zd_snapshot_zone *out, uint32_t max);

/* ---------------------------------------------------------------- what a power cut may leave */

/*
 * One thing of which a power cut leaves this or that, whatever becomes of the others: a sequential zone, which keeps low,
 * low + step, ... bytes from its start, at most high (choice 0, 1, ...); or a block that was overwritten, which shows what it held
 * at the last flush (choice 0) or what was written (1). All choices 0 are the survivor in which nothing is left that need not be.
 */
struct zd_fate {
	uint32_t zone;
	uint32_t is_block;
	uint64_t low, high, step; /* bytes. Blocks: 0, but high is what a preferred zone keeps at least if the block survives */
	uint64_t offset;          /* blocks: the first byte on the disk. Zones: 0 */
	uint64_t choices;         /* 0: it has none */
	uint64_t reserved[2];
};
/*
 * The fates of a snapshot's zones and blocks; blocks: what zd_snapshot_unflushed() gave. out has room for an entry for each row and
 * each block; returns how many there are. The first *nr_free have choices; behind them stand those without one: zones
 * that were written full and stay so (zd_power_cut()), and blocks that a lost write wrote. Never fails.
 */
uint64_t zd_snapshot_fates(const zd_snapshot *snapshot, const struct zd_snapshot_block *blocks, uint64_t nr_blocks,
			   struct zd_fate *out, uint64_t *nr_free);
/*
 * The cut that leaves the survivor of these choices, one for each of the first nr_free fates. kept and undone have room for
 * nr entries each, and are what *cut points to. -EINVAL: a choice that its fate has not.
 */
int zd_fates_cut(const struct zd_fate *fates, uint64_t nr, const uint64_t *choices, uint64_t nr_free, struct zd_survivor *kept,
		 uint64_t *undone, struct zd_cut *cut);

ZD_END

#endif
