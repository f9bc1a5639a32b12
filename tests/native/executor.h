/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets of the executors share: a disk made of an input, buffers of two pieces, and what others do to a disk. */
#ifndef EXECUTOR_H
#define EXECUTOR_H

#include "input.h"
#include "testing.h"

#include <sys/uio.h>

#define CANARY 16

/* The beginning of a disk of at most 16 zones; the caller goes on with what its command set needs. */
static inline struct zd_config take_config(struct input *in, struct zd_range *conv)
{
	struct zd_config config = config_of(0, 64 << 10, conv);

	*conv = (struct zd_range){ 0, take(in, 4) };
	config.nr_conv = conv->count != 0;
	config.logical_block = take(in, 2) ? 4096 : 512;
	config.size = (8 + take(in, 9)) * config.zone_size;
	config.slot_cache = UINT64_MAX;
	return config;
}

static inline void cut_in_two(struct iovec iov[2], uint8_t *at, uint32_t length, uint32_t cut)
{
	cut = cut < length ? cut : length;
	iov[0] = (struct iovec){ at, cut };
	iov[1] = (struct iovec){ at + cut, length - cut };
}

/* Zeros. */
static inline uint8_t *some_room(size_t length)
{
	uint8_t *room = calloc(1, length);

	CLAIM(room);
	return room;
}

static inline void mark_end(uint8_t *end)
{
	memset(end, 0xA5, CANARY);
}

/* Nothing was written behind the room. */
static inline void claim_end(const uint8_t *end)
{
	for (int i = 0; i < CANARY; i++)
		CLAIM(end[i] == 0xA5);
}

/* What others do to the disk, and fault rules. A millisecond is long: nothing waits for longer. */
static inline void disturb(zd_dev *dev, struct input *in)
{
	struct zd_fault fault = { .kind = take(in, 2) ? ZD_FAULT_HANG : ZD_FAULT_MEDIUM,
				  .commands = 1u << take(in, 3),
				  .last_zone = ZD_NO_ZONE,
				  .limit = 1,
				  .real_ns = 1000000 };
	uint32_t zone = take(in, 20), id;

	if (fault.kind == ZD_FAULT_MEDIUM)
		fault.real_ns = 0;
	switch (take(in, 4)) {
	case 0:
		zd_fault_add(dev, &fault, &id, NULL); /* it may meet another rule */
		break;
	case 1: zd_set_condition(dev, zone, take(in, 2) ? ZD_READ_ONLY : ZD_OFFLINE, NULL); break;
	case 2: zd_set_condition(dev, zone, ZD_EMPTY, NULL); break;
	default:
		CLAIM(zd_power_cut(dev, ZD_KEEP_RANDOM, 1, NULL) == 0);
		if (take(in, 4))
			CLAIM(zd_power_on(dev, NULL) == 0);
		break;
	}
}

/* Nothing hangs any longer, and the disk is sound. */
static inline void put_away(zd_dev *dev, uint8_t *out, uint8_t *room)
{
	zd_fault_clear(dev, 0, NULL);
	CLAIM(zd_power_on(dev, NULL) == 0);
	claim_disk_is_sound(dev, 1);
	CLAIM(zd_close(dev, NULL) == 0);
	free(out);
	free(room);
}

#endif
