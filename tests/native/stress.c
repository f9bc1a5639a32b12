/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads on one disk: writers, appenders, readers, resetters, reporters, flushers, forkers, a recorder. Under
 * ThreadSanitizer it shows races; by itself it shows lost, torn or misplaced data.
 *
 *     stress SECONDS [IMAGE [HANDLES]]      without IMAGE in RAM; HANDLES 2: half of the threads use a second one
 *
 * Under ThreadSanitizer only one handle: two mappings of one lock are two locks to it.
 */
#include "diskworkers.h"

#ifdef __SANITIZE_THREAD__
#define ZD_TSAN_BUILD 1
#else
#define ZD_TSAN_BUILD 0
#endif

#include <errno.h>

#define NR_ZONES 24u
#define CONV 2u

/* Each 512 bytes say where they belong and repeat one tag, so that a torn or misplaced block is seen. */
static void stamp(uint8_t *buffer, uint64_t offset, uint32_t length, uint64_t tag)
{
	for (uint32_t at = 0; at < length; at += 512) {
		uint64_t words[64];

		words[0] = offset + at;
		for (int i = 1; i < 64; i++)
			words[i] = tag;
		memcpy(buffer + at, words, sizeof(words));
	}
}

static void verify(const uint8_t *buffer, uint64_t offset, uint32_t length)
{
	for (uint32_t at = 0; at < length; at += 512) {
		uint64_t words[64];

		memcpy(words, buffer + at, sizeof(words));
		CLAIM(words[0] == offset + at || words[0] == 0);
		if (words[0] == 0 && offset + at != 0)
			CLAIM(words[1] == 0);
		for (int i = 2; i < 64; i++)
			CLAIM(words[i] == words[1]);
	}
}

/* What a thread writes, or has read. */
static _Thread_local uint8_t buffer[ZONE_SIZE];

/* Zones that one writer alone writes and resets: nothing may get lost there. */
static void *own_zone(void *arg)
{
	struct worker *w = arg;
	uint32_t zone = CONV + w->id, blocks;
	static _Thread_local uint8_t back[ZONE_SIZE];
	uint64_t start = (uint64_t)zone * ZONE_SIZE;
	struct zd_error err;

	while (!atomic_load(&stop)) {
		uint32_t at = 0;
		int64_t ret = zd_zone_mgmt(w->dev, ZD_CMD_RESET, zone, 1, &err);

		CLAIM(ret == 0);
		while (at < ZONE_BLOCKS) {
			blocks = 1 + draw(w, ZONE_BLOCKS - at);
			stamp(buffer + (size_t)at * BLOCK, start + (uint64_t)at * BLOCK, blocks * BLOCK, w->random | 1);
			ret = zd_pwrite(w->dev, buffer + (size_t)at * BLOCK, (uint64_t)blocks * BLOCK,
					start + (uint64_t)at * BLOCK, &err);
			settle(ret, &err);
			if (ret < 0) {
				CLAIM(ret == ZD_E_TOO_MANY_OPEN);
				continue;
			}
			at += blocks;
			CLAIM(zd_pread(w->dev, back, (uint64_t)at * BLOCK, start, &err) == (int64_t)at * BLOCK);
			CLAIM(memcmp(back, buffer, (size_t)at * BLOCK) == 0);
		}
	}
	return NULL;
}

/* Zones that all append to, reset, finish, open and close. */
static void *shared_zones(void *arg)
{
	struct worker *w = arg;
	struct zd_error err;
	uint64_t landed;

	while (!atomic_load(&stop)) {
		uint32_t zone = NR_ZONES - 6 + draw(w, 6), kind = draw(w, 40), blocks = 1 + draw(w, 4);
		int64_t ret;

		if (kind < 30) {
			/* An append does not know where it lands: a tag, and no place. */
			memset(buffer, 0, (size_t)blocks * BLOCK);
			ret = zd_append(w->dev, zone, buffer, (uint64_t)blocks * BLOCK, &landed, &err);
			if (ret >= 0)
				CLAIM(landed / ZONE_SIZE == zone && landed % BLOCK == 0);
		} else if (kind < 37) {
			ret = zd_zone_mgmt(w->dev, ZD_CMD_OPEN + (int)draw(w, 4), zone, 1 + draw(w, NR_ZONES - zone), &err);
		} else if (kind < 39) {
			ret = zd_zone_mgmt(w->dev, ZD_CMD_RESET, NR_ZONES - 6, 6, &err);
		} else {
			ret = zd_zone_mgmt(w->dev, ZD_CMD_CLOSE_ALL, 0, 0, &err);
		}
		settle(ret, &err);
	}
	return NULL;
}

static void *conventional(void *arg)
{
	struct worker *w = arg;
	struct zd_error err;

	while (!atomic_load(&stop)) {
		/* A block each: whole blocks are what a disk keeps together. */
		uint32_t block = draw(w, CONV * ZONE_BLOCKS);

		stamp(buffer, (uint64_t)block * BLOCK, BLOCK, w->random | 1);
		settle(zd_pwrite(w->dev, buffer, BLOCK, (uint64_t)block * BLOCK, &err), &err);
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct worker *w = arg;
	struct zd_error err;

	while (!atomic_load(&stop)) {
		uint32_t zone = CONV + draw(w, NR_ZONES - CONV), block = draw(w, ZONE_BLOCKS);
		uint32_t length = (1 + draw(w, ZONE_BLOCKS - block)) * BLOCK;
		uint64_t offset = (uint64_t)zone * ZONE_SIZE + (uint64_t)block * BLOCK;
		int64_t ret = zd_pread(w->dev, buffer, length, offset, &err);

		CLAIM(ret == (int64_t)length);
		verify(buffer, offset, length);
		settle(ret, &err);
	}
	return NULL;
}

static void *looker(void *arg)
{
	struct worker *w = arg;
	struct zd_zone zones[NR_ZONES];
	struct zd_counters counters = { .struct_size = sizeof(counters) };
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_error err;

	while (!atomic_load(&stop)) {
		CLAIM(zd_report(w->dev, 0, NR_ZONES, zones, &err) == NR_ZONES);
		for (uint32_t i = CONV; i < NR_ZONES; i++) {
			if (zones[i].wp == ZD_NONE)
				continue;
			CLAIM(zones[i].wp >= zones[i].start && zones[i].wp < zones[i].start + zones[i].capacity);
		}
		CLAIM(zd_info(w->dev, &info, &err) == 0 && info.nr_zones == NR_ZONES);
		CLAIM(info.nr_implicit_open + info.nr_explicit_open <= info.max_open);
		CLAIM(zd_counters(w->dev, &counters, &err) == 0 && counters.max_open_seen <= info.max_open);
		settle(0, &err);
	}
	return NULL;
}

static void *flusher(void *arg)
{
	return keep_flushing(arg, 2000000);
}

/* Snapshots and forks while all is being written: a fork does not change. */
static void *viewer(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t first[CONV * ZONE_SIZE], again[CONV * ZONE_SIZE];
	struct zd_snapshot_block blocks[8];
	struct zd_error err;
	zd_snapshot *snapshot, *inner;
	zd_dev *fork, *deeper;

	while (!atomic_load(&stop)) {
		CLAIM(zd_snapshot_take(w->dev, &snapshot, &err) == 0);
		CLAIM(zd_snapshot_unflushed(snapshot, blocks, 8, &err) >= 0);
		CLAIM(zd_fork(snapshot, NULL, &fork, &err) == 0);
		zd_snapshot_free(snapshot);
		CLAIM(zd_pread(fork, first, sizeof(first), 0, &err) == (int64_t)sizeof(first));
		pause_for(500000);
		CLAIM(zd_pread(fork, again, sizeof(again), 0, &err) == (int64_t)sizeof(again));
		CLAIM(memcmp(first, again, sizeof(first)) == 0);
		/* A fork of the fork, which shows the same when that one is overwritten or gone. */
		CLAIM(zd_snapshot_take(fork, &inner, &err) == 0);
		CLAIM(zd_snapshot_unflushed(inner, blocks, 8, &err) >= 0);
		CLAIM(zd_fork(inner, NULL, &deeper, &err) == 0);
		zd_snapshot_free(inner);
		CLAIM(zd_pwrite(fork, again + BLOCK, sizeof(again) / 2, 0, &err) == (int64_t)sizeof(again) / 2);
		if (draw(w, 2)) {
			zd_dev *closed = fork;

			fork = deeper;
			deeper = NULL;
			CLAIM(zd_close(closed, &err) == 0);
		}
		CLAIM(zd_pread(deeper ? deeper : fork, again, sizeof(again), 0, &err) == (int64_t)sizeof(again));
		CLAIM(memcmp(first, again, sizeof(first)) == 0);
		if (deeper)
			CLAIM(zd_close(deeper, &err) == 0);
		if (draw(w, 2)) {
			CLAIM(zd_power_cut(fork, (int)draw(w, 3), draw(w, 100), &err) == 0);
			CLAIM(zd_power_on(fork, &err) == 0);
			claim_disk_is_sound(fork, 1);
		}
		CLAIM(zd_close(fork, &err) == 0);
		settle(0, &err);
	}
	return NULL;
}

/* Forks of forks, snapshots of them, cuts and ways back in no order; what is left is closed in no order. */
static void *family(void *arg)
{
	enum { MOST = 12, READ = 16 * BLOCK };
	struct worker *w = arg;
	zd_snapshot *snapshots[MOST] = { NULL };
	zd_dev *forks[MOST] = { NULL };
	uint8_t *bytes = malloc(READ);
	struct zd_error err;
	uint64_t landed;

	CLAIM(bytes);
	while (pause_for(200000)) {
		zd_snapshot **snapshot = &snapshots[draw(w, MOST)];
		zd_dev **fork = &forks[draw(w, MOST)];
		uint32_t zone = (uint32_t)draw(w, NR_ZONES);
		struct zd_cut cut = { .nr_kept = 0 };

		memset(bytes, (int)draw(w, 256), READ);
		if (!*snapshot) {
			CLAIM(zd_snapshot_take(*fork ? *fork : w->dev, snapshot, &err) == 0);
		} else if (!*fork) {
			CLAIM(zd_fork(*snapshot, draw(w, 3) ? NULL : &cut, fork, &err) == 0);
		} else if (draw(w, 4) == 0) {
			zd_snapshot_free(*snapshot);
			*snapshot = NULL;
		} else if (draw(w, 4) == 0) {
			claim_disk_is_sound(*fork, 1);
			CLAIM(zd_close(*fork, &err) == 0);
			*fork = NULL;
		} else if (draw(w, 4) == 0) {
			int ret = zd_rollback(*fork, *snapshot, &err);

			CLAIM(ret == 0 || ret == -EINVAL); /* a snapshot of another one */
		} else if (draw(w, 4) == 0) {
			CLAIM(zd_power_cut(*fork, (int)draw(w, 3), draw(w, 100), &err) == 0 && zd_power_on(*fork, &err) == 0);
		} else if (zone < CONV) {
			CLAIM(zd_pwrite(*fork, bytes, READ, zone * ZONE_SIZE + draw(w, 8) * BLOCK, &err) == READ);
		} else if (zd_append(*fork, zone, bytes, draw(w, 8) * BLOCK, &landed, &err) < 0) {
			CLAIM(zd_zone_mgmt(*fork, ZD_CMD_RESET, zone, 1, &err) == 0);
		}
		if (*fork)
			CLAIM(zd_pread(*fork, bytes, READ, zone * ZONE_SIZE, &err) == READ);
	}
	for (uint32_t i = 0; i < MOST; i++) {
		if (forks[i])
			CLAIM(zd_close(forks[i], &err) == 0);
		zd_snapshot_free(snapshots[MOST - 1 - i]);
	}
	free(bytes);
	return NULL;
}

/* On another disk, whose one handle all have: any of them begins and ends its recording, and observes it. */
static zd_dev *quiet_disk;
static _Atomic int64_t recordings; /* begun and not ended */

static void observed(void *arg, const struct zd_told *what)
{
	(void)what;
	atomic_fetch_add((_Atomic uint64_t *)arg, 1);
}

static void observer_ended(void *arg)
{
	free(arg);
}

static void *beginner(void *arg)
{
	struct worker *w = arg;
	uint8_t bytes[BLOCK] = { 1 };
	struct zd_trace_status status = { .struct_size = sizeof(status) };
	struct zd_error err;
	FILE *file = tmpfile();

	CLAIM(file);
	while (!atomic_load(&stop)) {
		_Atomic uint64_t *count = calloc(1, sizeof(*count));
		uint64_t landed;
		int r;

		CLAIM(count);
		switch (draw(w, 4)) {
		case 0:
			r = zd_trace_start(quiet_disk, fileno(file), &err);
			CLAIM(r == 0 || r == -EALREADY || r == -EBUSY);
			if (r == 0)
				atomic_fetch_add(&recordings, 1);
			break;
		case 1:
			r = zd_trace_stop(quiet_disk, &status, &err);
			CLAIM(r == 0 || r == -ENOENT);
			if (r == 0)
				atomic_fetch_sub(&recordings, 1);
			break;
		case 2:
			CLAIM(zd_trace_status(quiet_disk, &status, &err) == 0 && status.error == 0);
			if (zd_append(quiet_disk, CONV + w->id % 4, bytes, BLOCK, &landed, &err) < 0)
				CLAIM(zd_zone_mgmt(quiet_disk, ZD_CMD_RESET, CONV + w->id % 4, 1, &err) == 0);
			break;
		case 3:
			r = zd_observe(quiet_disk, observed, count, observer_ended, &err);
			CLAIM(r == 0 || r == -EALREADY);
			if (r == 0)
				count = NULL; /* the handle's */
			if (draw(w, 2))
				zd_observe_end(quiet_disk, NULL);
			break;
		}
		free(count);
	}
	fclose(file);
	return NULL;
}

/* Recordings come and go beside all the others: each file has its end, and nothing is missing in it. */
static void *recorder(void *arg)
{
	struct worker *w = arg;
	struct zd_trace_status status = { .struct_size = sizeof(status) };
	struct zd_error err;
	FILE *file = tmpfile();

	CLAIM(file);
	while (!atomic_load(&stop)) {
		struct zd_trace_reader reader = { .crc = 0 };
		struct zd_trace_record records[64];
		uint64_t used, at, found = 0;
		uint32_t size;
		uint8_t *bytes;
		int64_t n;

		CLAIM(lseek(fileno(file), 0, SEEK_SET) == 0);
		CLAIM(zd_trace_start(w->dev, fileno(file), &err) == 0);
		pause_for(20000000);
		CLAIM(zd_trace_stop(w->dev, &status, &err) == 0);
		CLAIM(status.lost == 0);
		bytes = malloc(status.bytes);
		CLAIM(bytes && pread(fileno(file), bytes, status.bytes, 0) == (ssize_t)status.bytes);
		memcpy(&size, bytes + 12, sizeof(size));
		memcpy(&reader.crc, bytes + size - 4, sizeof(reader.crc));
		for (at = size; (n = zd_trace_read(&reader, bytes + at, status.bytes - at, records, 64, &used)) > 0;
		     at += used) {
			for (int64_t i = 0; i < n; i++)
				found += records[i].kind == ZD_TRACE_COMMAND;
		}
		CLAIM(reader.ended && !reader.damage && at == status.bytes && found == status.records);
		free(bytes);
		settle(0, &err);
		pause_for(20000000);
	}
	fclose(file);
	return NULL;
}

int main(int argc, char **argv)
{
	static void *(*const jobs[])(void *) = { own_zone,     own_zone,     own_zone, shared_zones, shared_zones, shared_zones,
						 conventional, conventional, reader,   reader,       looker,       flusher,
						 recorder,     beginner,     beginner, beginner,     viewer,       family };
	/* ThreadSanitizer takes the two mappings of a lock, the disk's and its snapshots', for two locks. */
	enum { NR = sizeof(jobs) / sizeof(jobs[0]) - 2 * ZD_TSAN_BUILD };
	struct zd_range conv = { 0, CONV };
	struct zd_config config = busy_config(NR_ZONES, 8, &conv);
	const char *path = argc > 2 ? argv[2] : NULL;
	struct worker like[2];
	struct zd_error err;
	zd_dev *dev, *other;

	if (argc < 2) {
		fprintf(stderr, "usage: stress SECONDS [IMAGE [HANDLES]]\n");
		return 2;
	}
	CLAIM(zd_create(path, &config, ZD_CREATE_REPLACE, &dev, &err) == 0);
	other = dev;
	CLAIM(zd_create(NULL, &config, 0, &quiet_disk, &err) == 0);
	if (argc > 3 && atoi(argv[3]) == 2)
		CLAIM(zd_open(path, 0, &other, &err) == 0);
	like[0] = (struct worker){ .dev = dev };
	like[1] = (struct worker){ .dev = other };
	work(jobs, NR, like, 2, (unsigned)atoi(argv[1]));
	claim_disk_is_sound(dev, 1);
	claim_disk_is_sound(quiet_disk, 1);
	CLAIM(atomic_load(&recordings) == 0 || atomic_load(&recordings) == 1);
	CLAIM(zd_close(quiet_disk, &err) == 0);
	if (other != dev)
		CLAIM(zd_close(other, &err) == 0);
	CLAIM(zd_close(dev, &err) == 0);
	printf("%lu commands\n", (unsigned long)commands);
	return 0;
}
