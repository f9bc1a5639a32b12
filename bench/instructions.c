/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bench/instructions.py runs under callgrind: 4 KiB writes and reads on a disk in RAM whose zones were filled
 * once. Only measured() is counted.
 *
 *     instructions pwrite|pread|overwrite|append|report|mount COUNT
 */
#include "zoned/fs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096u
#define ZONE (1u << 20)
#define ZONES 16u

static uint8_t buffer[ZONE];

static int fail(const struct zd_error *err)
{
	fprintf(stderr, "failed with code %d: %s\n", err->code, err->text);
	return 1;
}

enum what { PWRITE, PREAD, OVERWRITE, APPEND, REPORT, MOUNT, NR_WHATS };

static const char *const names[NR_WHATS] = {
	[PWRITE] = "pwrite", [PREAD] = "pread", [OVERWRITE] = "overwrite",
	[APPEND] = "append", [REPORT] = "report", [MOUNT] = "mount",
};

struct bed {
	zd_dev *dev;
	zd_fs_file *files[ZONES / 2]; /* of the sequential zones, for MOUNT */
};

/* The i-th call; what it gave, or a negative code. */
static int64_t one(struct bed *bed, enum what what, uint64_t i, struct zd_error *err)
{
	static struct zd_zone rows[ZONES];
	uint64_t in_zone = ZONE / BLOCK, seq = ZONES / 2 * (uint64_t)ZONE;

	switch (what) {
	case PREAD:
		return zd_pread(bed->dev, buffer, BLOCK, seq + i * BLOCK, err);
	case OVERWRITE:
		return zd_pwrite(bed->dev, buffer, BLOCK, i * BLOCK, err);
	case APPEND:
		return zd_append(bed->dev, (uint32_t)(ZONES / 2 + i / in_zone), buffer, BLOCK, NULL, err);
	case REPORT: /* a row of a report of all zones */
		return i % ZONES || zd_report(bed->dev, 0, ZONES, rows, err) == ZONES ? BLOCK : -1;
	case MOUNT:
		return zd_fs_write(bed->files[i / in_zone], buffer, BLOCK, i % in_zone * BLOCK, O_DIRECT, NULL, err);
	default:
		return zd_pwrite(bed->dev, buffer, BLOCK, seq + i * BLOCK, err);
	}
}

__attribute__((noinline)) static int measured(struct bed *bed, enum what what, uint64_t count)
{
	struct zd_error err;
	uint64_t i;

	for (i = 0; i < count; i++) {
		if (one(bed, what, i, &err) != BLOCK)
			return fail(&err);
	}
	return 0;
}

/* A zonefs on the disk, with the files of its sequential zones open. */
static int mount_files(struct bed *bed, zd_fs **fs, struct zd_error *err)
{
	static const struct zd_fs_format format = { .perm = 0640 };
	static const struct zd_fs_options options = { .uid = UINT32_MAX, .gid = UINT32_MAX, .perm = UINT32_MAX };
	uint32_t i;
	int r = zd_fs_mkfs(bed->dev, &format, err);

	if (!r)
		r = zd_fs_mount(bed->dev, &options, fs, err);
	for (i = 0; i < ZONES / 2 && !r; i++)
		r = zd_fs_open(*fs, ZONES / 2 + i, O_RDWR | O_DIRECT, &bed->files[i], err);
	return r;
}

int main(int argc, char **argv)
{
	struct zd_range conv = { 0, ZONES / 2 };
	struct zd_config config = { .struct_size = sizeof(struct zd_config), .size = ZONES * ZONE, .zone_size = ZONE, .logical_block = BLOCK, .physical_block = BLOCK,
				    .slot_cache = UINT64_MAX, .unrestricted_read = 1, .nr_conv = 1, .conv = &conv };
	uint64_t count = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
	struct bed bed = { 0 };
	struct zd_error err;
	enum what what;
	zd_fs *fs;
	uint32_t zone;
	int r;

	for (what = PWRITE; what < NR_WHATS && argc == 3 && strcmp(argv[1], names[what]); what++)
		;
	if (!count || count > ZONES / 2 * (ZONE / BLOCK) || what == NR_WHATS)
		return 2;
	if (zd_create(NULL, &config, 0, &bed.dev, &err))
		return fail(&err);
	memset(buffer, 1, sizeof(buffer));
	for (zone = 0; zone < ZONES; zone++) {
		if (zd_pwrite(bed.dev, buffer, ZONE, (uint64_t)zone * ZONE, &err) != ZONE)
			return fail(&err);
	}
	if (zd_flush(bed.dev, &err))
		return fail(&err);
	if (what != PREAD && what != OVERWRITE && zd_zone_mgmt(bed.dev, ZD_CMD_RESET_ALL, 0, 0, &err))
		return fail(&err);
	if (what == MOUNT && mount_files(&bed, &fs, &err))
		return fail(&err);
	r = measured(&bed, what, count);
	zd_close(bed.dev, &err); /* the end of the process takes the files with it */
	return r;
}
