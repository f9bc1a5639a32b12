/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that wait for their time: a list of them and one thread for all, which the first of them starts. It looks at
 * each every 2 ms, as what lets a hanging command go (a rule cleared or released, a power cut) is a word in the shared
 * state that any process may write; or earlier, where the time of one comes earlier. Whose time has come goes on in that
 * thread; who is cancelled ends in the thread that cancels it. So a cancel waits for nobody.
 *
 * A thread of the handle, and not a timer that a server must drive, as callers without a loop (an asyncio program's C
 * calls, a test) have deferred requests too; a server that has a loop is told by `done`, which may write to its eventfd.
 */
#include "device/disk/disk.h"

#include <stdlib.h>

struct zd_timers {
	zd_dev *dev;
	pthread_t thread;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	struct zd_run *first;
	bool stop;
};

static struct zd_timers *timers_of(zd_dev *dev)
{
	struct zd_timers *timers;

	if (atomic_load(dev->cookie) != ZD_COOKIE)
		return NULL; /* a forked child's are its parent's, and so is whoever held their locks at the fork */
	pthread_mutex_lock(&dev->seg_lock);
	timers = dev->timers;
	pthread_mutex_unlock(&dev->seg_lock);
	return timers;
}

/* Under the lock: the first whose time has come, taken out; *r as zd_hold_look() gave it. Else *soonest: when one may. */
static struct zd_run *take_due(struct zd_timers *timers, int *r, uint64_t *soonest)
{
	struct zd_run **link, *run;

	*soonest = ZD_HOLD_STEP;
	for (link = &timers->first; (run = *link); link = &run->next) {
		uint64_t left;

		*r = zd_hold_look(timers->dev, run, &left);
		if (*r != ZD_HELD) {
			*link = run->next;
			return run;
		}
		if (left < *soonest)
			*soonest = left;
	}
	return NULL;
}

static void sleep_till(struct zd_timers *timers, uint64_t ns)
{
	uint64_t until = zd_now() + ns;
	const struct timespec t = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) };

	pthread_cond_timedwait(&timers->changed, &timers->lock, &t);
}

static void *keep_time(void *arg)
{
	struct zd_timers *timers = arg;

	pthread_mutex_lock(&timers->lock);
	while (!timers->stop || timers->first) {
		uint64_t soonest;
		int r;
		struct zd_run *run = take_due(timers, &r, &soonest);

		if (run) {
			pthread_mutex_unlock(&timers->lock);
			run->resume(timers->dev, run, r);
			pthread_mutex_lock(&timers->lock);
		} else if (timers->first) {
			sleep_till(timers, soonest);
		} else if (!timers->stop) {
			pthread_cond_wait(&timers->changed, &timers->lock);
		}
	}
	pthread_mutex_unlock(&timers->lock);
	return NULL;
}

static void free_timers(struct zd_timers *timers)
{
	pthread_cond_destroy(&timers->changed);
	pthread_mutex_destroy(&timers->lock);
	free(timers);
}

static int start(zd_dev *dev, struct zd_timers **out)
{
	struct zd_timers *timers = calloc(1, sizeof(*timers));
	pthread_condattr_t monotonic;
	int r;

	if (!timers)
		return -ENOMEM;
	timers->dev = dev;
	pthread_mutex_init(&timers->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&timers->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r = zd_thread_start(&timers->thread, keep_time, timers);
	if (r) {
		free_timers(timers);
		return r;
	}
	*out = timers;
	return 0;
}

int zd_defer(zd_dev *dev, struct zd_run *run)
{
	int r = 0;

	pthread_mutex_lock(&dev->seg_lock);
	if (!dev->timers)
		r = start(dev, &dev->timers);
	if (!r) {
		struct zd_timers *timers = dev->timers;
		struct zd_run **link;

		pthread_mutex_lock(&timers->lock);
		/* Behind all others: those whose time comes at once go on in the order in which they were given. */
		for (link = &timers->first; *link; link = &(*link)->next)
			;
		run->next = NULL;
		*link = run;
		pthread_cond_signal(&timers->changed);
		pthread_mutex_unlock(&timers->lock);
	}
	pthread_mutex_unlock(&dev->seg_lock);
	return r;
}

void zd_cancel(zd_dev *dev, struct zd_request *request)
{
	struct zd_timers *timers = timers_of(dev);
	struct zd_run **link, *run = NULL;
	uint64_t left;
	int r = 0;

	__atomic_store_n(&request->cancel, 1, __ATOMIC_RELEASE);
	if (!timers)
		return;
	pthread_mutex_lock(&timers->lock);
	for (link = &timers->first; *link && (*link)->q != request; link = &(*link)->next)
		;
	if (*link) {
		run = *link;
		*link = run->next;
		r = zd_hold_look(dev, run, &left); /* its time may have come */
	}
	pthread_mutex_unlock(&timers->lock);
	if (run)
		run->resume(dev, run, r);
}

void zd_defer_wake(zd_dev *dev)
{
	struct zd_timers *timers = timers_of(dev);

	if (!timers)
		return;
	pthread_mutex_lock(&timers->lock);
	pthread_cond_signal(&timers->changed);
	pthread_mutex_unlock(&timers->lock);
}

void zd_defer_close(zd_dev *dev)
{
	struct zd_timers *timers = timers_of(dev);

	if (!timers)
		return;
	pthread_mutex_lock(&timers->lock);
	timers->stop = true;
	pthread_cond_signal(&timers->changed);
	pthread_mutex_unlock(&timers->lock);
	pthread_join(timers->thread, NULL);
	dev->timers = NULL;
	free_timers(timers);
}

void zd_defer_forked(zd_dev *dev)
{
	dev->timers = NULL; /* what it had is the parent's thread's; nobody here may touch its locks */
}
