/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Robust process-shared mutexes, and waiting for whoever holds one.
 *
 * Every wait for another user of the disk is one of slices, on a clock that nobody sets, between which the interrupt
 * hook is asked: a process that is stopped while it holds something holds up nobody who is told to end. Whoever gives
 * up says whom he waited for.
 */
#include "device/area/area.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int zd_thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	int r;

	/* Signals are for the threads that their program knows of. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	r = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int zd_mutex_init(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int r = pthread_mutexattr_init(&a);

	if (r)
		return -r;
	r = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (!r)
		r = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (!r)
		r = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return -r;
}

/* ---------------------------------------------------------------- waiting for others */

#define SLICE 20000000u         /* ns between two looks at the interrupt hook */
#define BRIEF 50000000u         /* ns: ZD_OPEN_BRIEFLY */
#define PATIENCE 30000000000ull /* ns that a wait lasts which nobody can end */
#define GRACE 300000000u        /* ns after an interrupt for what must be tidied up */
#define SAME_CALL 2000000000u   /* ns after an interrupt that count as one with it */

/* Of this thread's last call. */
static _Thread_local struct {
	uint64_t interrupted;   /* when the hook ended a wait, or a long call */
	uint64_t gave_up;       /* when something was left untidied */
	bool tidying;           /* all its waits are of those that are not ended at once */
	const uint32_t *cancel; /* of the request at work; NULL: none */
} mine;

void zd_note_interrupt(void)
{
	mine.interrupted = zd_now();
	zd_forget_waited();
}

const uint32_t *zd_cancelled_by(const uint32_t *flag)
{
	const uint32_t *before = mine.cancel;

	mine.cancel = flag;
	return before;
}

bool zd_interrupted(zd_dev *dev, uint64_t *last_look)
{
	uint64_t now;

	if (mine.cancel && __atomic_load_n(mine.cancel, __ATOMIC_ACQUIRE)) {
		zd_note_interrupt();
		return true;
	}
	if (!dev->interrupt)
		return false;
	now = zd_now();
	if (now - *last_look < 50000000u)
		return false;
	*last_look = now;
	if (!dev->interrupt(dev->interrupt_arg))
		return false;
	zd_note_interrupt();
	return true;
}

/* A word of a file in /proc behind `key`; 0: there is none. */
static int proc_line(uint32_t tid, const char *key, char *out, size_t room)
{
	char path[40], line[160];
	size_t length = strlen(key);
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/status", tid);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, length))
			continue;
		snprintf(out, room, "%s", line + length + strspn(line + length, " \t"));
		out[strcspn(out, "\n")] = 0;
		found = 1;
	}
	if (file)
		fclose(file);
	return found;
}

static bool is_stopped(uint32_t tid)
{
	char state[64];

	return tid && proc_line(tid, "State:", state, sizeof(state)) && (state[0] == 'T' || state[0] == 't');
}

/* Who is just slow may be so; the stopped, and whom nobody sees, are given up one day. */
static bool is_at_work(uint32_t tid)
{
	char state[64];

	return tid && proc_line(tid, "State:", state, sizeof(state)) && state[0] != 'T' && state[0] != 't';
}

/* The thread that holds what we wait for, as people know it. */
static void tell_holder(uint32_t tid)
{
	char name[64] = "", pid[64] = "", *waited;
	size_t i, room;

	waited = zd_waited(&room);
	if (!tid || !proc_line(tid, "Tgid:", pid, sizeof(pid)) || !proc_line(tid, "Name:", name, sizeof(name))) {
		snprintf(waited, room, "another user of the disk");
		return;
	}
	for (i = 0; name[i]; i++) { /* a process calls itself what it likes */
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F)
			name[i] = '?';
	}
	if ((uint32_t)atol(pid) == (uint32_t)getpid())
		snprintf(waited, room, "another thread of this process (%.40s)", name);
	else
		snprintf(waited, room, "process %.20s (%.40s)%s", pid, name, is_stopped(tid) ? ", which is stopped" : "");
}

void zd_wait_begin(struct zd_wait *w, const _Atomic bool *cancel)
{
	*w = (struct zd_wait){ .begin = zd_now(), .cancel = cancel };
	w->last = w->begin;
}

void zd_wait_nap(struct zd_wait *w)
{
	struct timespec t = { 0, 20000 };

	/* Grows to 5 ms: whom one waits for so is mostly done at once. */
	while (t.tv_nsec < 5000000 && (uint64_t)t.tv_nsec << 2 < zd_now() - w->begin)
		t.tv_nsec *= 2;
	nanosleep(&t, NULL);
}

static int end_wait(const struct zd_wait *w, uint32_t holder, int r)
{
	if (w->surely)
		mine.gave_up = zd_now();
	tell_holder(holder);
	return r;
}

int zd_wait_on(zd_dev *dev, struct zd_wait *w, uint32_t holder)
{
	uint64_t now = zd_now(), since;
	bool stop = zd_interrupted(dev, &w->last);

	if (dev->brief && now - w->begin > BRIEF)
		return end_wait(w, holder, -ETIMEDOUT);
	if (!w->surely) {
		if (stop || (w->cancel && atomic_load(w->cancel)))
			return end_wait(w, holder, -EINTR);
	} else {
		if (w->cancel && atomic_load(w->cancel) && !w->cancelled)
			w->cancelled = now;
		since = mine.interrupted && now - mine.interrupted < SAME_CALL ? mine.interrupted : w->cancelled;
		if (since && now - since > GRACE)
			return end_wait(w, holder, -EINTR);
	}
	/* Nobody can end this wait, or close() has it, at the end of a process that nobody looks at any more. */
	if ((!dev->interrupt || atomic_load(&dev->closing)) && now - w->begin > PATIENCE && !is_at_work(holder))
		return end_wait(w, holder, -ETIMEDOUT);
	return 0;
}

uint32_t zd_mutex_holder(const pthread_mutex_t *m)
{
#ifdef __GLIBC__
	return (uint32_t)__atomic_load_n(&m->__data.__lock, __ATOMIC_RELAXED) & 0x3FFFFFFF; /* FUTEX_TID_MASK */
#else
	(void)m;
	return 0;
#endif
}

bool zd_mutex_is_free(const pthread_mutex_t *m)
{
#ifdef __GLIBC__
	return zd_mutex_holder(m) == 0;
#else
	(void)m;
	return false;
#endif
}

/* One slice: as pthread_mutex_lock(), or ETIMEDOUT. */
static int lock_a_while(pthread_mutex_t *m)
{
#if defined(ZD_TSAN)
	/* ThreadSanitizer knows no pthread_mutex_clocklock() and would not see that the lock was taken. */
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += SLICE;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return pthread_mutex_timedlock(m, &t);
#elif defined(__GLIBC__) && __GLIBC_PREREQ(2, 30)
	uint64_t until = zd_now() + SLICE;
	const struct timespec t = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) };

	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &t); /* no setting of the host's clock makes it longer */
#else
	const struct timespec nap = { 0, 1000000 };
	uint64_t begin = zd_now();
	int r;

	while ((r = pthread_mutex_trylock(m)) == EBUSY && zd_now() - begin < SLICE)
		nanosleep(&nap, NULL);
	return r == EBUSY ? ETIMEDOUT : r;
#endif
}

static int wait_for_mutex(zd_dev *dev, pthread_mutex_t *m, struct zd_wait *w)
{
	for (;;) {
		int r;

		/* Something else was left untidied in this call already: no more waiting for anybody. */
		if (w->surely && mine.gave_up && w->begin - mine.gave_up < SAME_CALL)
			return -EINTR;
		r = lock_a_while(m);
		if (r != ETIMEDOUT)
			return -r;
		r = zd_wait_on(dev, w, zd_mutex_holder(m));
		if (r)
			return r;
	}
}

int zd_mutex_lock_slow(zd_dev *dev, pthread_mutex_t *m)
{
	struct zd_wait w;

	zd_wait_begin(&w, NULL);
	w.surely = mine.tidying;
	return wait_for_mutex(dev, m, &w);
}

void zd_tidying(bool on)
{
	mine.tidying = on;
}

int zd_mutex_lock_surely(zd_dev *dev, pthread_mutex_t *m, const _Atomic bool *cancel)
{
	int r = pthread_mutex_trylock(m);
	struct zd_wait w;

	if (r != EBUSY)
		return -r;
	zd_wait_begin(&w, cancel);
	w.surely = true;
	return wait_for_mutex(dev, m, &w);
}
