/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that a disk in use has carried out (struct zd_told), given to a modelled drive. */
#ifndef ZD_SIM_TOLD_H
#define ZD_SIM_TOLD_H

#include "drive/drive.h"

/*
 * What the drive is asked for: 1, and *cmd; 0: nothing that a drive takes time for; -EINVAL: outside the disk. The zone's
 * word becomes what the disk says, so nothing is decided twice. A command on all zones is one on a zone.
 */
int zd_told_take(struct zd_drive *drive, const struct zd_told *k, int *cmd);
/* The parts of a command, each in one zone, from *at on (0 at first). False: there are no more. */
struct told_part {
	uint32_t zone;
	uint64_t offset, length;
	uint64_t before; /* the zone's word */
	bool area;       /* it had a random write area */
	uint32_t moved;  /* bytes that this commits of it; of a FINISH: that lie in it */
};
bool zd_told_part(const struct zd_drive *drive, const struct zd_told *k, uint64_t *at, struct told_part *part);
/* Give one part to the drive, as its command `cmd` with this number in `job`. 0 or -ENOMEM. */
int zd_told_give(struct zd_drive *drive, int cmd, const struct told_part *part, uint32_t job);

#endif
