/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that work on one disk, each at its job, until the time is up. */
#ifndef WORKERS_H
#define WORKERS_H

#include "testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define ZONE_BLOCKS 32u
#define ZONE_SIZE (ZONE_BLOCKS * BLOCK)

struct zd_fs;

struct worker {
	pthread_t thread;
	zd_dev *dev;
	struct zd_fs *fs; /* where the jobs are those of a file system */
	uint32_t id;
	uint64_t random;
};

static atomic_bool stop;

static inline uint32_t draw(struct worker *w, uint32_t below)
{
	return draw_of(&w->random, below);
}

/* For a while; whether the job goes on behind it. */
static inline bool pause_for(long ns)
{
	struct timespec pause = { 0, ns };

	nanosleep(&pause, NULL);
	return !atomic_load(&stop);
}

/* A disk for them: few open zones, and room for some of the data. */
static inline struct zd_config busy_config(uint32_t nr_zones, uint32_t max_open, const struct zd_range *conv)
{
	struct zd_config config = config_of((uint64_t)nr_zones * ZONE_SIZE, ZONE_SIZE, conv);

	config.max_open = max_open;
	config.unrestricted_read = 1;
	config.slot_cache = 8 * ZONE_SIZE;
	return config;
}

/* A worker for each job, on what the first `nr_like` of `like` work on in turn. Returns once all have ended. */
static inline void work(void *(*const jobs[])(void *), uint32_t nr, const struct worker *like, uint32_t nr_like,
			unsigned seconds)
{
	struct worker *workers = calloc(nr, sizeof(*workers));

	CLAIM(workers);
	for (uint32_t i = 0; i < nr; i++) {
		workers[i] = like[i % nr_like];
		workers[i].id = i;
		workers[i].random = i * 7919 + 1;
		CLAIM(pthread_create(&workers[i].thread, NULL, jobs[i], &workers[i]) == 0);
	}
	sleep(seconds);
	atomic_store(&stop, 1);
	for (uint32_t i = 0; i < nr; i++)
		CLAIM(pthread_join(workers[i].thread, NULL) == 0);
	free(workers);
}

#endif
