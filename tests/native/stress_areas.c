/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random write areas under many threads: writers that know every byte of a zone of their own, others that take areas from each
 * other, readers, reporters, flushers; snapshots and forks, whose power is cut, and which keep what was committed.
 *
 *     stress_areas SECONDS [IMAGE]      without IMAGE in RAM
 */
#include "diskworkers.h"

#define NR_ZONES 16u
#define SHARED 10u /* zones from here on are everybody's */
#define AREA 8u
#define GRANULE 2u

static atomic_ulong commits, cuts;
static uint64_t held_before_cut[2]; /* forks that had something to lose, and those that lost some of it */

/* Each 512 bytes are one word, so that a torn block is seen. */
static void stamp(uint8_t *to, uint32_t length, uint64_t tag)
{
	for (uint32_t at = 0; at < length; at += sizeof(tag))
		memcpy(to + at, &tag, sizeof(tag));
}

/* What a writer knows of its zone, in blocks. */
struct known {
	uint32_t zone, wp, filled;
	uint8_t bytes[ZONE_SIZE];
};

static void compare(struct worker *w, const struct known *k, uint8_t *back)
{
	uint64_t start = (uint64_t)k->zone * ZONE_SIZE, filled;
	struct zd_error err;
	struct zd_zone z;

	CLAIM(zd_pread(w->dev, back, ZONE_SIZE, start, &err) == ZONE_SIZE);
	CLAIM(memcmp(back, k->bytes, ZONE_SIZE) == 0);
	CLAIM(zd_report(w->dev, k->zone, 1, &z, &err) == 1);
	if (k->wp == ZONE_BLOCKS) {
		CLAIM(z.cond == ZD_FULL && zd_zone_zrwa(w->dev, k->zone, &filled, &err) == 0);
		return;
	}
	CLAIM(z.wp == start + k->wp * BLOCK && z.durable_wp == z.wp);
	CLAIM(zd_zone_zrwa(w->dev, k->zone, &filled, &err) == 1 && filled == start + k->filled * BLOCK);
}

static void write_some(struct worker *w, struct known *k)
{
	uint32_t most = k->wp + 2 * AREA < ZONE_BLOCKS ? k->wp + 2 * AREA : ZONE_BLOCKS;
	uint32_t at = k->wp + draw(w, draw(w, 4) && most > k->wp + AREA ? AREA : most - k->wp), n = 1 + draw(w, 4);
	static _Thread_local uint8_t out[4 * BLOCK];
	struct zd_error err;
	int64_t ret;

	n = n < most - at ? n : most - at;
	stamp(out, n * BLOCK, w->random | 1);
	ret = zd_pwrite(w->dev, out, n * BLOCK, (uint64_t)k->zone * ZONE_SIZE + at * BLOCK, &err);
	settle(ret, &err);
	if (ret < 0) {
		CLAIM(ret == ZD_E_TOO_MANY_OPEN); /* it was closed */
		return;
	}
	memcpy(k->bytes + at * BLOCK, out, n * BLOCK);
	k->filled = at + n > k->filled ? at + n : k->filled;
	while (at + n > k->wp + AREA)
		k->wp += GRANULE;
}

static void commit_some(struct worker *w, struct known *k)
{
	uint32_t end = k->wp + GRANULE * (1 + draw(w, AREA / GRANULE));
	struct zd_error err;
	int ret;

	end = end < ZONE_BLOCKS ? end : ZONE_BLOCKS;
	ret = zd_zone_commit_zrwa(w->dev, k->zone, (uint64_t)k->zone * ZONE_SIZE + end * BLOCK, &err);
	settle(ret, &err);
	if (ret < 0) {
		CLAIM(ret == ZD_E_TOO_MANY_OPEN);
		return;
	}
	atomic_fetch_add(&commits, 1);
	k->wp = end;
	k->filled = end > k->filled ? end : k->filled;
}

/* Only it writes this zone: it is as this writer left it, at any moment. */
static void *own_area(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t back[ZONE_SIZE];
	struct known *k = malloc(sizeof(*k));
	struct zd_error err;

	CLAIM(k);
	while (!atomic_load(&stop)) {
		int ret;

		*k = (struct known){ .zone = 1 + w->id };
		CLAIM(zd_zone_mgmt(w->dev, ZD_CMD_RESET, k->zone, 1, &err) == 0);
		ret = zd_zone_open_zrwa(w->dev, k->zone, &err);
		settle(ret, &err);
		if (ret < 0) {
			CLAIM(ret == ZD_E_ZRWA_UNAVAILABLE || ret == ZD_E_TOO_MANY_OPEN || ret == ZD_E_TOO_MANY_ACTIVE);
			pause_for(100000);
			continue;
		}
		while (k->wp < ZONE_BLOCKS && !atomic_load(&stop)) {
			uint32_t what = draw(w, 32);

			if (what < 22)
				write_some(w, k);
			else if (what < 29)
				commit_some(w, k);
			else if (what < 30)
				CLAIM(zd_flush(w->dev, &err) == 0);
			else if (k->filled)
				settle(zd_zone_mgmt(w->dev, what < 31 ? ZD_CMD_CLOSE : ZD_CMD_OPEN, k->zone, 1, &err), &err);
			compare(w, k, back);
		}
		if (k->wp == ZONE_BLOCKS || !k->filled)
			continue;
		CLAIM(zd_zone_mgmt(w->dev, ZD_CMD_FINISH, k->zone, 1, &err) == 0);
		k->wp = ZONE_BLOCKS;
		compare(w, k, back);
	}
	free(k);
	return NULL;
}

/* Anything that may be asked of zones with areas and without; the last zones are those of all. */
static void *shared_areas(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t out[6 * BLOCK];
	struct zd_error err;
	struct zd_zone z;
	uint64_t landed;

	while (!atomic_load(&stop)) {
		uint32_t zone = SHARED + draw(w, NR_ZONES - SHARED), n = 1 + draw(w, 6), what = draw(w, 64);
		int64_t ret;

		stamp(out, sizeof(out), w->random | 1);
		CLAIM(zd_report(w->dev, zone, 1, &z, &err) == 1);
		if (what < 6)
			ret = zd_zone_open_zrwa(w->dev, zone, &err);
		else if (what < 14)
			ret = zd_zone_commit_zrwa(w->dev, zone,
						  (z.wp == ZD_NONE ? z.start : z.wp) + (1 + n / 3) * GRANULE * BLOCK, &err);
		else if (what < 22)
			ret = zd_zone_mgmt(w->dev, ZD_CMD_OPEN + (int)draw(w, 4), zone, 1, &err);
		else if (what < 26)
			ret = zd_append(w->dev, zone, out, n * BLOCK, &landed, &err);
		else
			ret = zd_pwrite(w->dev, out, n * BLOCK,
					(z.wp == ZD_NONE ? z.start : z.wp) + (what < 30 ? 0 : draw(w, 2 * AREA)) * BLOCK, &err);
		settle(ret, &err);
	}
	return NULL;
}

/* No block is torn, whoever is writing over it. */
static void *reader(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t bytes[ZONE_SIZE];
	struct zd_error err;

	while (!atomic_load(&stop)) {
		uint32_t block = BLOCK * draw(w, ZONE_BLOCKS), length = ZONE_SIZE - block;

		CLAIM(zd_pread(w->dev, bytes, length, (uint64_t)draw(w, NR_ZONES) * ZONE_SIZE + block, &err) ==
		      (int64_t)length);
		for (uint32_t at = 0; at < length; at += BLOCK)
			CLAIM(memcmp(bytes + at, bytes + at + 8, BLOCK - 8) == 0);
		settle(0, &err);
	}
	return NULL;
}

static void *looker(void *arg)
{
	struct worker *w = arg;
	struct zd_info info = { .struct_size = sizeof(info) };
	struct zd_zone zones[NR_ZONES];
	struct zd_error err;
	uint64_t filled;

	while (!atomic_load(&stop)) {
		uint32_t zone = draw(w, NR_ZONES);
		uint64_t start = (uint64_t)zone * ZONE_SIZE;

		CLAIM(zd_report(w->dev, 0, NR_ZONES, zones, &err) == NR_ZONES);
		for (uint32_t i = 1; i < NR_ZONES; i++)
			CLAIM(zones[i].wp == ZD_NONE ||
			      (zones[i].wp >= zones[i].start && zones[i].wp < zones[i].start + ZONE_SIZE));
		CLAIM(zd_info(w->dev, &info, &err) == 0);
		if (zd_zone_zrwa(w->dev, zone, &filled, &err) == 1)
			CLAIM(filled >= start && filled <= start + ZONE_SIZE && filled % BLOCK == 0);
		settle(0, &err);
	}
	return NULL;
}

static void *flusher(void *arg)
{
	return keep_flushing(arg, 3000000);
}

/* Behind a cut, each zone with an area is committed as far as before, and holds the same up to there. */
static void cut(struct worker *w, zd_dev *fork)
{
	static _Thread_local uint8_t before[NR_ZONES][ZONE_SIZE], after[ZONE_SIZE];
	struct zd_zone was[NR_ZONES], is;
	struct zd_error err;
	uint64_t filled;
	bool area[NR_ZONES];

	CLAIM(zd_report(fork, 0, NR_ZONES, was, &err) == NR_ZONES);
	for (uint32_t i = 0; i < NR_ZONES; i++) {
		area[i] = zd_zone_zrwa(fork, i, &filled, &err) == 1;
		CLAIM(zd_pread(fork, before[i], ZONE_SIZE, was[i].start, &err) == ZONE_SIZE);
	}
	CLAIM(zd_power_cut(fork, (int)draw(w, 3), draw(w, 1000), &err) == 0);
	CLAIM(zd_power_on(fork, &err) == 0);
	for (uint32_t i = 0; i < NR_ZONES; i++) {
		if (!area[i])
			continue;
		CLAIM(zd_report(fork, i, 1, &is, &err) == 1);
		CLAIM(is.wp == was[i].wp && zd_pread(fork, after, ZONE_SIZE, is.start, &err) == ZONE_SIZE);
		CLAIM(memcmp(after, before[i], is.wp - is.start) == 0);
		held_before_cut[0]++;
		held_before_cut[1] += memcmp(after, before[i], ZONE_SIZE) != 0;
	}
	claim_disk_is_sound(fork, 1);
	atomic_fetch_add(&cuts, 1);
}

static void *viewer(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t bytes[ZONE_SIZE], again[ZONE_SIZE];
	struct zd_error err;

	while (pause_for(100000)) {
		uint32_t shown = 1 + draw(w, NR_ZONES - 1);
		zd_snapshot *snapshot, *before;
		zd_dev *fork;

		CLAIM(zd_snapshot_take(w->dev, &snapshot, &err) == 0);
		CLAIM(zd_fork(snapshot, NULL, &fork, &err) == 0);
		CLAIM(zd_pread(fork, bytes, ZONE_SIZE, (uint64_t)shown * ZONE_SIZE, &err) == ZONE_SIZE);
		pause_for(300000);
		CLAIM(zd_pread(fork, again, ZONE_SIZE, (uint64_t)shown * ZONE_SIZE, &err) == ZONE_SIZE);
		CLAIM(memcmp(bytes, again, ZONE_SIZE) == 0);
		CLAIM(zd_snapshot_take(fork, &before, &err) == 0);
		for (uint32_t i = draw(w, 6); i; i--) {
			uint32_t zone = 1 + draw(w, NR_ZONES - 1);
			struct zd_zone z;

			CLAIM(zd_report(fork, zone, 1, &z, &err) == 1);
			stamp(bytes, 2 * BLOCK, w->random | 1);
			if (z.wp != ZD_NONE)
				settle(zd_pwrite(fork, bytes, 2 * BLOCK, z.wp + draw(w, AREA) * BLOCK, &err), &err);
		}
		cut(w, fork);
		CLAIM(zd_rollback(fork, before, &err) == 0);
		CLAIM(zd_pread(fork, bytes, ZONE_SIZE, (uint64_t)shown * ZONE_SIZE, &err) == ZONE_SIZE);
		CLAIM(memcmp(bytes, again, ZONE_SIZE) == 0);
		zd_snapshot_free(before);
		zd_snapshot_free(snapshot);
		CLAIM(zd_close(fork, &err) == 0);
		settle(0, &err);
	}
	return NULL;
}

static void claim_check_finds_nothing(const char *path)
{
	struct zd_finding *findings;
	struct zd_error err;
	size_t n;

	CLAIM(zd_check(path, 0, &findings, &n, &err) == 0);
	CLAIM(n == 0);
	zd_findings_free(findings);
}

int main(int argc, char **argv)
{
	static void *(*const jobs[])(void *) = { own_area, own_area, own_area, shared_areas, shared_areas, shared_areas,
						 reader,   reader,   looker,   flusher,      viewer };
	struct zd_range conv = { 0, 1 };
	struct zd_config config = busy_config(NR_ZONES, 8, &conv);
	const char *path = argc > 2 ? argv[2] : NULL;
	struct worker like = { .fs = NULL };
	struct zd_error err;

	if (argc < 2) {
		fprintf(stderr, "usage: stress_areas SECONDS [IMAGE]\n");
		return 2;
	}
	config.dialect = ZD_ZNS;
	config.max_active = 10;
	config.zrwa_size = AREA * BLOCK;
	config.zrwa_granularity = GRANULE * BLOCK;
	config.zrwa_count = 5;
	CLAIM(zd_create(path, &config, ZD_CREATE_REPLACE, &like.dev, &err) == 0);
	work(jobs, sizeof(jobs) / sizeof(jobs[0]), &like, 1, (unsigned)atoi(argv[1]));
	claim_disk_is_sound(like.dev, 1);
	CLAIM(zd_close(like.dev, &err) == 0);
	if (path)
		claim_check_finds_nothing(path);
	CLAIM(atomic_load(&commits) && atomic_load(&cuts) && held_before_cut[0] && held_before_cut[1]);
	printf("%lu commands, %lu commits, %lu cuts of %llu areas, of which %llu lost something\n", (unsigned long)commands,
	       (unsigned long)commits, (unsigned long)cuts, (unsigned long long)held_before_cut[0],
	       (unsigned long long)held_before_cut[1]);
	return 0;
}
