/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that take a drive's time (`--pace`). The run's file `pace/N` tells of disk N what zd_pace_as() wants to know, as
 * this library's own structs, which its maker has from the same build: a head, the disk, the model of the drive, and the
 * ranges of conventional zones. A disk without such a file is as fast as it can be.
 *
 * A pace is of a handle, and a handle of a process: programs that use a disk at once do not wait for each other.
 */
#include "preload/preload.h"
#include "preload/real.h"
#include "zoned/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct head {
	char magic[8];
	uint32_t disk, model, range; /* sizes of the structs */
	uint32_t reserved;
	uint64_t seed;
};

struct described {
	struct head head;
	struct zd_config disk;
	struct zd_sim_model model;
	struct zd_range conv[];
};

static const char MAGIC[8] = "zdpace1";

static int read_whole(int fd, void *to, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = zp_real.read(fd, (char *)to + done, length - done);

		if (got <= 0)
			return got ? -errno : -EINVAL;
		done += (size_t)got;
	}
	return 0;
}

static bool fits(const struct described *d, size_t length)
{
	return !memcmp(d->head.magic, MAGIC, sizeof(MAGIC)) && d->head.disk == sizeof(d->disk) &&
	       d->head.model == sizeof(d->model) && d->head.range == sizeof(*d->conv) &&
	       length == sizeof(*d) + d->disk.nr_conv * sizeof(*d->conv);
}

int zp_pace_begin(const struct zp_disk *disk, zd_dev *dev, struct zd_error *err)
{
	char path[PATH_MAX + 32];
	struct described *d;
	struct stat st;
	int fd, r;

	snprintf(path, sizeof(path), "%s/pace/%d", zp_session.folder, (int)(disk - zp_session.disks));
	fd = zp_real.open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	r = zp_real.fstat(fd, &st) ? -errno : 0;
	d = r || (size_t)st.st_size < sizeof(*d) ? NULL : malloc((size_t)st.st_size);
	if (!r)
		r = d ? read_whole(fd, d, (size_t)st.st_size) : -ENOMEM;
	zp_real.close(fd);
	if (!r)
		r = fits(d, (size_t)st.st_size) ? 0 : -EINVAL;
	if (!r) {
		d->disk.conv = d->conv;
		r = zd_pace_as(dev, &d->disk, &d->model, d->head.seed, err);
	}
	free(d);
	return r;
}
