/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/power.h - the power of the emulated disk: taking it away, what survives, giving it back.
 */
#ifndef ZONED_POWER_H
#define ZONED_POWER_H

#include "zoned/abi.h"

ZD_BEGIN

/* What an emulated power cut keeps of what was written but not flushed. Management commands that returned stay done. */
enum zd_keep {
	ZD_KEEP_DURABLE = 0, /* nothing of it: each zone up to its durable pointer */
	ZD_KEEP_ALL = 1,     /* all of it, but for writes that a fault marked lost */
	ZD_KEEP_RANDOM = 2   /* each zone up to some block between the two, and each block that was overwritten or not, drawn
			      * from the seed */
};

/*
 * Take the power away, for all openers: their commands end first, later ones fail with ZD_E_POWER_LOSS (zd_info,
 * counters and everything about faults and power still answer). Each zone keeps what `keep` says of its
 * unflushed data, then the POWER CYCLE row holds: open zones become CLOSED, or EMPTY where nothing is left. A zone
 * that was written full keeps its condition where max_active leaves it no way back. A disk that has no power already
 * stays as it is.
 *
 * Required zones keep a prefix of what was written. In conventional and preferred zones and in random write areas each
 * block written since the last flush survives or not by itself, at the grain of logical blocks: what does not shows what it held at the last
 * flush. A preferred zone's write pointer stands behind the last block that survived, never before what is durable.
 *
 * Errors: ZD_E_READONLY_HANDLE, -EINVAL (no such keep), -EINTR, -ETIMEDOUT; -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM, after which
 * the disk has no power, and blocks that could not be brought back survived.
 */
int zd_power_cut(zd_dev *dev, int keep, uint64_t seed, struct zd_error *err);
/*
 * Give it back. A cut whose process was killed half-way is brought to its end first: in zones that it had not
 * finished nothing survives that was not flushed. Errors: ZD_E_READONLY_HANDLE, -EINTR, -ETIMEDOUT, -EIO, -ENOSPC, -EDQUOT, -EFBIG,
 * -ENOMEM.
 */
int zd_power_on(zd_dev *dev, struct zd_error *err);

/* What a crash survivor keeps of one zone: bytes from its start, in whole logical blocks. */
struct zd_survivor {
	uint32_t zone, zero;
	uint64_t bytes;
};

/*
 * Exactly one survivor. kept: zones in ascending order; a sequential zone that is not named keeps what is durable.
 * undone: first bytes (on the disk, ascending) of the blocks in conventional and preferred zones that are taken back.
 */
struct zd_cut {
	const struct zd_survivor *kept;
	const uint64_t *undone;
	uint32_t nr_kept, zero;
	uint64_t nr_undone;
};

/*
 * As zd_power_cut(), with exactly this survivor. Errors: ZD_E_READONLY_HANDLE, ZD_E_POWER_LOSS (there is none to be cut), -EINVAL
 * (the disk cannot be left so, or not now), -EINTR, -ETIMEDOUT; -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM, as there.
 */
int zd_power_cut_to(zd_dev *dev, const struct zd_cut *cut, struct zd_error *err);

/*
 * Whether the disk remembers, for all openers, what blocks of conventional and preferred zones and of random write areas
 * held at the last flush. Without it a power cut keeps all that was written in them, but for a required order: a preferred zone keeps
 * a prefix. On at first and after the host booted anew; set off and on again, it is on for what is written from then.
 *
 * What it costs: the first write to a block since the last flush reads its old content and stores it (4 KiB: about a
 * microsecond), and the image or RAM holds both till the next flush. Sequential zones of host-managed disks pay
 * nothing. Errors: ZD_E_READONLY_HANDLE, -EINTR, -ETIMEDOUT, -EIO, -ENOMEM.
 */
int zd_power_track(zd_dev *dev, int on, struct zd_error *err);
/* 1: it does. 0: it does not. Errors: -EIO. */
int zd_power_tracked(zd_dev *dev, struct zd_error *err);
/* 1: there is power. 0: there is none. Errors: -EIO. */
int zd_power(zd_dev *dev, struct zd_error *err);

ZD_END

#endif
