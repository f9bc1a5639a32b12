/* SPDX-License-Identifier: Apache-2.0 */
/* A drive on which every command takes the same time, as many at once as are sent. */
#include "drive.h"

static int init(struct zd_drive *drive, struct zd_error *err)
{
	if (!drive->model.null_ns)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "the null model needs a time above 0 for each command, or no time would pass");
	return 0;
}

static void release(struct zd_drive *drive)
{
	(void)drive;
}

static void submit(struct zd_drive *drive, struct command *c)
{
	drive_done_at(drive, c, drive->now + drive->model.null_ns);
}

const struct drive_ops zd_drive_null = { .init = init, .release = release, .submit = submit };
