/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the input's first bytes are a geometry, the others a stream of commands for a disk in RAM.
 * No input may crash, hang or break what claim_disk_is_sound() says; what was written must read back.
 */
#include "input.h"
#include "testing.h"

#include <stdint.h>

#define MAX_ZONES 40
#define MAX_BLOCKS 96

static void decode_config(struct input *in, struct zd_config *config, struct zd_range *ranges)
{
	uint32_t zones = 1 + take(in, MAX_ZONES), blocks = 1 + take(in, MAX_BLOCKS), tail;

	memset(config, 0, sizeof(*config));
	config->struct_size = sizeof(*config);
	config->physical_block = take(in, 2) ? 4096 : 512;
	config->logical_block = take(in, 2) ? config->physical_block : 512;
	config->zone_size = (uint64_t)blocks * config->physical_block;
	tail = take(in, blocks);
	config->size = zones * config->zone_size - (uint64_t)tail * config->physical_block;
	if (take(in, 3) == 0)
		config->zone_capacity = (uint64_t)(1 + take(in, blocks)) * config->physical_block;
	config->max_open = take(in, 6);
	config->max_active = take(in, 8);
	config->append_limit = (uint64_t)take(in, 5) * config->physical_block;
	config->dialect = (uint8_t)take(in, 3);
	config->model = take(in, 4) == 0;
	config->implicit_close = (uint8_t)take(in, 3);
	config->data = take(in, 8) == 0;
	config->host_sync = (uint8_t)take(in, 3);
	config->unrestricted_read = take(in, 2) != 0;
	config->slot_cache = take(in, 2) ? UINT64_MAX : take(in, 4) * 65536ull;
	for (uint32_t n = take(in, 4); n; n--) {
		ranges[config->nr_conv].first = take(in, MAX_ZONES);
		ranges[config->nr_conv++].count = take(in, 5);
	}
	config->conv = ranges;
}

/* Content that names its place and its write, so that stale or misplaced data cannot pass. */
static void stamp(uint8_t *buffer, uint64_t offset, uint64_t length, uint32_t step)
{
	for (uint64_t at = 0; at < length; at += 512) {
		uint64_t where = offset + at;

		memset(buffer + at, (int)(1 + step % 250), 512);
		memcpy(buffer + at, &where, sizeof(where));
		memcpy(buffer + at + 8, &step, sizeof(step));
	}
}

static void read_back(zd_dev *dev, const uint8_t *written, uint64_t offset, uint64_t length, int stored)
{
	struct zd_error err;
	uint8_t *back = malloc(length);
	int64_t got;

	CLAIM(back);
	got = zd_pread(dev, back, length, offset, &err);
	if (got >= 0) {
		CLAIM((uint64_t)got == length);
		if (stored)
			CLAIM(memcmp(back, written, length) == 0);
	} else {
		/* A write over several zones may be read only zone by zone. */
		claim_known_code(got, &err);
		CLAIM(got == ZD_E_READ_BOUNDARY || got == ZD_E_INVALID_READ || got == ZD_E_READ_TYPE);
	}
	free(back);
}

static void one_command(zd_dev *dev, struct input *in, const struct zd_config *config, uint32_t step, uint8_t *buffer,
			uint64_t room)
{
	struct zd_error err = { 0 };
	struct zd_zone zone;
	uint64_t unit = config->logical_block, landed, offset, length;
	uint32_t nr = (uint32_t)((config->size + config->zone_size - 1) / config->zone_size);
	uint32_t index = take(in, nr + 1), kind = take(in, 14);
	int64_t ret = 0;

	length = unit * take(in, 2 * MAX_BLOCKS);
	if (length > room)
		length = room;
	if (zd_report(dev, index, 1, &zone, NULL) != 1)
		memset(&zone, 0, sizeof(zone));
	switch (kind) {
	case 0: /* a write at the write pointer, the common case */
	case 1:
	case 2:
		offset = zone.wp == ZD_NONE ? zone.start + unit * take(in, MAX_BLOCKS) : zone.wp;
		stamp(buffer, offset, length, step);
		ret = zd_pwrite(dev, buffer, length, offset, &err);
		if (ret > 0)
			read_back(dev, buffer, offset, length, config->data == ZD_STORE);
		break;
	case 3:
		offset = (uint64_t)take(in, 65536) * 512 + take(in, 2);
		stamp(buffer, offset, length, step);
		ret = zd_pwrite(dev, buffer, length, offset, &err);
		break;
	case 4:
		stamp(buffer, zone.wp == ZD_NONE ? 0 : zone.wp, length, step);
		ret = zd_append(dev, index, buffer, length, &landed, &err);
		if (ret > 0) {
			CLAIM(landed == zone.wp);
			read_back(dev, buffer, landed, length, config->data == ZD_STORE);
		}
		break;
	case 5:
		ret = zd_pread(dev, buffer, length, (uint64_t)take(in, 65536) * 512 + take(in, 2), &err);
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		ret = zd_zone_mgmt(dev, ZD_CMD_OPEN + (int)kind - 6, index, 1 + take(in, 4), &err);
		break;
	case 10:
		ret = zd_zone_mgmt(dev, ZD_CMD_OPEN_ALL + (int)take(in, 4), 0, 0, &err);
		break;
	case 11: {
		static const int conditions[] = { ZD_READ_ONLY, ZD_OFFLINE, ZD_EMPTY, ZD_FULL };

		ret = zd_set_condition(dev, index, conditions[take(in, 4)], &err);
		break;
	}
	case 12:
		ret = zd_flush(dev, &err);
		break;
	default:
		ret = take(in, 4) ? 0 : zd_power_cycle(dev, &err);
		break;
	}
	if (ret < 0)
		claim_known_code(ret, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct zd_range ranges[4];
	struct zd_config config;
	struct zd_error err = { 0 };
	zd_dev *dev = NULL;
	uint64_t room;
	uint8_t *buffer;
	int ret;

	decode_config(&in, &config, ranges);
	ret = zd_create(NULL, &config, 0, &dev, &err);
	if (ret) {
		claim_known_code(ret, &err);
		CLAIM(ret == ZD_E_GEOMETRY && err.text[0]);
		return 0;
	}
	room = 2ull * MAX_BLOCKS * config.logical_block;
	buffer = calloc(1, room);
	CLAIM(buffer);
	for (uint32_t step = 1; in.next != in.end; step++)
		one_command(dev, &in, &config, step, buffer, room);
	claim_disk_is_sound(dev, 1);
	free(buffer);
	CLAIM(zd_close(dev, &err) == 0);
	return 0;
}
