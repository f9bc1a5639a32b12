/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bench/instructions.py runs under callgrind: 4 KiB writes and reads on a disk in RAM whose zones were filled
 * once. Only measured() is counted.
 *
 *     instructions pwrite|pread|overwrite COUNT
 */
#include "zoned/zoned.h"

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

__attribute__((noinline)) static int measured(zd_dev *dev, const char *what, uint64_t base, uint64_t count)
{
	struct zd_error err;
	uint64_t i;

	for (i = 0; i < count; i++) {
		uint64_t at = base + i * BLOCK;
		int64_t got = strcmp(what, "pread") ? zd_pwrite(dev, buffer, BLOCK, at, &err) : zd_pread(dev, buffer, BLOCK, at, &err);

		if (got != BLOCK)
			return fail(&err);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct zd_range conv = { 0, ZONES / 2 };
	struct zd_config config = { .struct_size = sizeof(struct zd_config), .size = ZONES * ZONE, .zone_size = ZONE, .logical_block = BLOCK, .physical_block = BLOCK,
				    .slot_cache = UINT64_MAX, .unrestricted_read = 1, .nr_conv = 1, .conv = &conv };
	uint64_t count = argc == 3 ? strtoull(argv[2], NULL, 10) : 0, base;
	struct zd_error err;
	zd_dev *dev;
	uint32_t zone;
	int r;

	if (!count || count > ZONES / 2 * (ZONE / BLOCK))
		return 2;
	base = strcmp(argv[1], "overwrite") ? ZONES / 2 * ZONE : 0;
	if (zd_create(NULL, &config, 0, &dev, &err))
		return fail(&err);
	memset(buffer, 1, sizeof(buffer));
	for (zone = 0; zone < ZONES; zone++) {
		if (zd_pwrite(dev, buffer, ZONE, (uint64_t)zone * ZONE, &err) != ZONE)
			return fail(&err);
	}
	if (zd_flush(dev, &err))
		return fail(&err);
	if (strcmp(argv[1], "pwrite") == 0 && zd_zone_mgmt(dev, ZD_CMD_RESET_ALL, 0, 0, &err))
		return fail(&err);
	r = measured(dev, argv[1], base, count);
	zd_close(dev, &err);
	return r;
}
