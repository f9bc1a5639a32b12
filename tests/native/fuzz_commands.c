/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the input's first bytes are a geometry, the others a stream of commands for a disk in RAM.
 * No input may crash, hang or break what claim_disk_is_sound() says; what was written must read back, and what was committed
 * of a random write area stays committed.
 */
#include "input.h"
#include "testing.h"

#include <stdbool.h>
#include <stdint.h>

#define MAX_ZONES 40
#define MAX_BLOCKS 96

/* An area of as many granules as go into a zone, up to four of a physical block or two. */
static void decode_areas(struct input *in, struct zd_config *config)
{
	uint64_t capacity = config->zone_capacity ? config->zone_capacity : config->zone_size;
	uint32_t granule = (1 + take(in, 2)) * config->physical_block, granules = 1 + take(in, 4);

	if (capacity % granule || config->size % granule)
		granule = config->physical_block;
	while ((uint64_t)granules * granule > capacity)
		granules--;
	config->zrwa_granularity = granule;
	config->zrwa_size = granules * granule;
	config->zrwa_count = 1 + take(in, config->max_active ? config->max_active : 4);
}

static void decode_config(struct input *in, struct zd_config *config, struct zd_range *ranges)
{
	uint32_t zones = 1 + take(in, MAX_ZONES), blocks = 1 + take(in, MAX_BLOCKS), tail, book;

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
	book = take(in, 6);
	config->dialect = (uint8_t)(book % 3);
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
	if (config->dialect == ZD_ZNS && book >= 3)
		decode_areas(in, config);
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

/* What a cut of the power leaves of a zone's area: the write pointer, and all that lies before it. */
static int power_cycle(zd_dev *dev, const struct zd_config *config, struct zd_error *err)
{
	uint32_t nr = (uint32_t)((config->size + config->zone_size - 1) / config->zone_size);
	struct zd_zone before[MAX_ZONES], after[MAX_ZONES];
	bool area[MAX_ZONES];
	uint64_t filled;
	int ret;

	for (uint32_t i = 0; i < nr; i++)
		area[i] = zd_zone_zrwa(dev, i, &filled, err) == 1;
	CLAIM(zd_report(dev, 0, nr, before, err) == (int64_t)nr);
	ret = zd_power_cycle(dev, err);
	CLAIM(ret == 0);
	CLAIM(zd_report(dev, 0, nr, after, err) == (int64_t)nr);
	for (uint32_t i = 0; i < nr; i++) {
		if (!area[i])
			continue;
		CLAIM(after[i].wp == before[i].wp);
		CLAIM(after[i].cond == ZD_CLOSED || after[i].cond == ZD_EMPTY);
		CLAIM(after[i].durable_wp == after[i].wp);
	}
	return ret;
}

/* In an area and beyond it. The write pointer follows, by granules, and no further than it has to. */
static int64_t write_area(zd_dev *dev, struct input *in, const struct zd_config *config, const struct zd_zone *zone,
			  uint64_t length, uint32_t step, uint8_t *buffer, struct zd_error *err)
{
	uint64_t base = zone->wp == ZD_NONE ? zone->start : zone->wp, unit = config->logical_block;
	uint64_t offset = base + unit * take(in, (uint32_t)(2 * config->zrwa_size / unit) + 2), filled;
	int area = zd_zone_zrwa(dev, zone->index, &filled, err);
	struct zd_zone after;
	int64_t ret;

	stamp(buffer, offset, length, step);
	ret = zd_pwrite(dev, buffer, length, offset, err);
	/* Beyond the zone it is another one's affair. */
	if (ret <= 0 || area != 1 || offset >= zone->start + zone->length)
		return ret;
	read_back(dev, buffer, offset, length, config->data == ZD_STORE);
	CLAIM(zd_report(dev, zone->index, 1, &after, NULL) == 1);
	CLAIM(after.wp >= zone->wp && (after.wp - zone->start) % config->zrwa_granularity == 0);
	CLAIM(offset + length <= after.wp + config->zrwa_size);
	CLAIM(after.wp == zone->wp || offset + length + config->zrwa_granularity > after.wp + config->zrwa_size);
	return ret;
}

static int64_t commit_area(zd_dev *dev, struct input *in, const struct zd_config *config, const struct zd_zone *zone,
			   struct zd_error *err)
{
	uint64_t base = zone->wp == ZD_NONE ? zone->start : zone->wp;
	uint64_t end = base + (uint64_t)take(in, 6) * config->zrwa_granularity + (take(in, 8) ? 0 : 512);
	struct zd_zone after;
	int ret = zd_zone_commit_zrwa(dev, zone->index, end, err);

	if (ret)
		return ret;
	CLAIM(zd_report(dev, zone->index, 1, &after, NULL) == 1);
	CLAIM(end == zone->start + zone->capacity ? after.cond == ZD_FULL : after.wp == end && after.durable_wp == end);
	return 0;
}

static void one_command(zd_dev *dev, struct input *in, const struct zd_config *config, uint32_t step, uint8_t *buffer,
			uint64_t room)
{
	struct zd_error err = { 0 };
	struct zd_zone zone;
	uint64_t unit = config->logical_block, landed, offset, length;
	uint32_t nr = (uint32_t)((config->size + config->zone_size - 1) / config->zone_size);
	uint32_t index = take(in, nr + 1), kind = take(in, config->zrwa_size ? 18 : 14);
	int64_t ret = 0;

	length = unit * take(in, 2 * MAX_BLOCKS);
	if (length > room)
		length = room;
	if (zd_report(dev, index, 1, &zone, NULL) != 1)
		zone = (struct zd_zone){ .index = index };
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
	case 5: ret = zd_pread(dev, buffer, length, (uint64_t)take(in, 65536) * 512 + take(in, 2), &err); break;
	case 6:
	case 7:
	case 8:
	case 9: ret = zd_zone_mgmt(dev, ZD_CMD_OPEN + (int)kind - 6, index, 1 + take(in, 4), &err); break;
	case 10: ret = zd_zone_mgmt(dev, ZD_CMD_OPEN_ALL + (int)take(in, 4), 0, 0, &err); break;
	case 11: {
		static const int conditions[] = { ZD_READ_ONLY, ZD_OFFLINE, ZD_EMPTY, ZD_FULL };

		ret = zd_set_condition(dev, index, conditions[take(in, 4)], &err);
		break;
	}
	case 12: ret = zd_flush(dev, &err); break;
	case 13: ret = take(in, 4) ? 0 : power_cycle(dev, config, &err); break;
	case 14: ret = zd_zone_open_zrwa(dev, index, &err); break;
	case 15: ret = commit_area(dev, in, config, &zone, &err); break;
	default: ret = write_area(dev, in, config, &zone, length, step, buffer, &err); break;
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
