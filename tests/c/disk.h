/* SPDX-License-Identifier: Apache-2.0 */
/* The disk that most cases use: 16 zones of 1 MiB in RAM, the first four conventional; at most 4 open, 6 active. */
#ifndef DISK_H
#define DISK_H

#include "harness.h"

#include <zoned/fs.h>
#include <zoned/zoned.h>

#include <errno.h>

#define BLOCK 4096u
#define ZONE (1u << 20)
#define ZONES 16u
#define CONV 4u
#define AT(zone) ((uint64_t)(zone) * ZONE)

static const struct zd_range disk_conv = { 0, CONV };

__attribute__((unused)) static struct zd_config disk_config(void)
{
	return (struct zd_config){
		.struct_size = sizeof(struct zd_config), .size = (uint64_t)ZONES * ZONE, .zone_size = ZONE,
		.logical_block = BLOCK, .physical_block = BLOCK, .max_open = 4, .max_active = 6, .slot_cache = UINT64_MAX,
		.nr_conv = 1, .conv = &disk_conv, .profile = "test",
	};
}

__attribute__((unused)) static zd_dev *disk_new(void)
{
	const struct zd_config config = disk_config();
	struct zd_error err;
	zd_dev *dev;

	WANT(zd_create(NULL, &config, 0, &dev, &err) == 0);
	return dev;
}

__attribute__((unused)) static uint8_t block[BLOCK], back[BLOCK];

#endif
