/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that serve a session.
 *
 * Each worker reads requests and answers them one by one. A few wait at any time: while one wakes its requester, the
 * next is already there for what the requester asks next. Who starts something slow (fsync, a finish) makes sure
 * that a worker is left for the others. For what nobody could know to be slow (a command of the disk that hangs)
 * there is a watcher.
 */
#include "fuse_server.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REQUEST_SIZE (ZD_FUSE_IO + 4096)
/*
 * A worker that has answered looks for the next request for a while before it sleeps, and lets others run between
 * two looks: waking a thread, on a CPU that may have gone idle, costs more than all else about a small request.
 */
#define LOOK_NS 50000u
#define LOOK_MOST (32u << 10) /* bytes moved: behind a large request the copying is what costs, and others need the CPU */
#define MISSES 3              /* in a row: requests come too slowly to be looked for, until one comes within LOOK_NS again */
#define WATCH_NS 50000000l    /* a request that takes longer has another worker take over */
#define WRITE_HEADER 80       /* struct fuse_in_header and struct fuse_write_in: data behind them begins on a page */

static int add_worker(struct zd_fuse *fuse);

/* Which worker this thread is, for the room that its replies use: handlers are told of the session only. */
static _Thread_local struct worker *me;

void *zd_fuse_room(void)
{
	if (!me->reply && posix_memalign(&me->reply, 4096, ZD_FUSE_IO))
		me->reply = NULL;
	return me->reply;
}

void zd_fuse_serving(fuse_req_t req)
{
	me->req = req;
}

bool zd_fuse_interrupted(void)
{
	return me && me->req && fuse_req_interrupted(me->req);
}

static void ended(struct zd_fuse *fuse)
{
	uint64_t one = 1;

	atomic_store(&fuse->ended, true);
	if (write(fuse->event, &one, sizeof(one)) < 0) {
		/* the counter is full: it is readable */
	}
}

static void finished(void *arg)
{
	struct worker *w = arg;
	struct zd_fuse *fuse = w->fuse;

	if (w->clone >= 0)
		close(w->clone);
	w->clone = -1;
	free(w->memory);
	free(w->reply);
	w->memory = w->reply = NULL;
	pthread_mutex_lock(&fuse->lock);
	if (!w->leaving && !w->away)
		fuse->ready--;
	w->finished = true;
	pthread_mutex_unlock(&fuse->lock);
}

/* More are ready than wanted, since a slow request is done: this one may go. */
static bool may_leave(struct worker *w)
{
	struct zd_fuse *fuse = w->fuse;

	pthread_mutex_lock(&fuse->lock);
	if (fuse->ready > fuse->wanted) {
		fuse->ready--;
		w->leaving = true;
	}
	pthread_mutex_unlock(&fuse->lock);
	return w->leaving;
}

/* Under the lock: this worker is in something slow, so another must be ready. */
static void go_away(struct worker *w)
{
	struct zd_fuse *fuse = w->fuse;

	if (w->away)
		return;
	w->away = true;
	fuse->ready--;
	if (!fuse->ready && !atomic_load(&fuse->stopping))
		add_worker(fuse); /* if there is no thread to be had, others wait */
}

static void come_back(struct worker *w)
{
	pthread_mutex_lock(&w->fuse->lock);
	if (w->away) {
		w->away = false;
		w->fuse->ready++;
	}
	pthread_mutex_unlock(&w->fuse->lock);
}

static void wake_watcher(struct zd_fuse *fuse)
{
	pthread_mutex_lock(&fuse->lock);
	atomic_store(&fuse->watching, true);
	pthread_cond_signal(&fuse->watch);
	pthread_mutex_unlock(&fuse->lock);
}

/* Under the lock, every WATCH_NS. Whether any worker did anything since the last time. */
static bool look(struct zd_fuse *fuse)
{
	bool any = false;

	for (int i = 0; i < ZD_FUSE_MAX_WORKERS; i++) {
		struct worker *w = &fuse->workers[i];
		uint64_t served = atomic_load(&w->served);

		if (!w->used || w->finished)
			continue;
		if (served != w->seen) {
			any = true;
		} else if (atomic_load(&w->busy)) {
			go_away(w); /* the same request as last time */
			any = true;
		}
		w->seen = served;
	}
	return any;
}

static void *watcher_main(void *arg)
{
	struct zd_fuse *fuse = arg;

	prctl(PR_SET_NAME, "zonefs-watch", 0, 0, 0);
	pthread_mutex_lock(&fuse->lock);
	while (!atomic_load(&fuse->stopping)) {
		struct timespec until;

		if (!atomic_load(&fuse->watching)) {
			pthread_cond_wait(&fuse->watch, &fuse->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += WATCH_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		while (!atomic_load(&fuse->stopping) && pthread_cond_timedwait(&fuse->watch, &fuse->lock, &until) != ETIMEDOUT)
			;
		/* Who becomes busy after the store below sees that nobody watches, and says so. */
		atomic_store(&fuse->watching, false);
		if (look(fuse))
			atomic_store(&fuse->watching, true);
	}
	pthread_mutex_unlock(&fuse->lock);
	return NULL;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 14)
#define CLONE _IOR(229, 0, uint32_t) /* FUSE_DEV_IOC_CLONE of linux/fuse.h, which need not be installed */

/* An answer goes back by the descriptor that the request came from. */
static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	ssize_t n = writev(me ? me->answer : fd, iov, count);

	(void)userdata;
	if (me && n > 0)
		me->moved += (size_t)n;
	return n;
}

static ssize_t io_read(int fd, void *buf, size_t size, void *userdata)
{
	(void)userdata;
	return read(fd, buf, size);
}

int zd_fuse_set_io(struct zd_fuse *fuse)
{
	const struct fuse_custom_io io = { .writev = io_writev, .read = io_read };

	return fuse_session_custom_io(fuse->session, &io, fuse->fd);
}

/* A second descriptor of the same connection, but one that does not wait. */
static int clone_of(const struct zd_fuse *fuse)
{
	uint32_t first = (uint32_t)fuse->fd;
	int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, CLONE, &first)) {
		close(fd);
		fd = -1;
	}
	return fd;
}
#else
int zd_fuse_set_io(struct zd_fuse *fuse)
{
	char place[32];

	snprintf(place, sizeof(place), "/dev/fd/%d", fuse->fd);
	return fuse_session_mount(fuse->session, place); /* takes the descriptor as it is */
}

static int clone_of(const struct zd_fuse *fuse)
{
	(void)fuse;
	return -1;
}
#endif

/* The next request, as read(2). */
static ssize_t next(struct worker *w, void *to)
{
	uint64_t began = 0;
	ssize_t n;
	int old;

	if (w->clone >= 0 && w->misses < MISSES && w->moved <= LOOK_MOST) {
		w->answer = w->clone;
		for (;;) {
			uint64_t at;

			n = read(w->clone, to, REQUEST_SIZE);
			if (n >= 0 || errno != EAGAIN || atomic_load_explicit(&w->fuse->stopping, memory_order_relaxed)) {
				w->misses = 0;
				return n;
			}
			at = zd_fuse_now();
			if (!began)
				began = at;
			else if (at - began > LOOK_NS)
				break;
			sched_yield();
		}
		w->misses++;
	}
	w->answer = w->fuse->fd;
	began = zd_fuse_now();
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	n = read(w->fuse->fd, to, REQUEST_SIZE);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	if (zd_fuse_now() - began < LOOK_NS)
		w->misses = 0;
	return n;
}

static void serve(struct worker *w)
{
	struct zd_fuse *fuse = w->fuse;
	char *to = (char *)w->memory + 4096 - WRITE_HEADER;
	uint64_t served = 0;

	while (!atomic_load_explicit(&fuse->stopping, memory_order_relaxed)) {
		struct fuse_buf buf = { .mem = to };
		ssize_t n;

		n = next(w, to);
		if (unlikely(n < 0)) {
			/* ENOENT: the request was taken back */
			if (errno == EINTR || errno == EAGAIN || errno == ENOENT)
				continue;
			ended(fuse);
			break;
		}
		buf.size = (size_t)n;
		w->moved = (size_t)n;
		atomic_store(&w->busy, true);
		if (unlikely(!atomic_load(&fuse->watching)))
			wake_watcher(fuse);
		fuse_session_process_buf(fuse->session, &buf);
		atomic_store_explicit(&w->served, ++served, memory_order_relaxed);
		atomic_store_explicit(&w->busy, false, memory_order_release);
		if (unlikely(atomic_load_explicit(&w->away, memory_order_relaxed)))
			come_back(w);
		if (unlikely(atomic_load_explicit(&fuse->ready, memory_order_relaxed) > fuse->wanted) && may_leave(w))
			break;
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	prctl(PR_SET_NAME, "zonefs", 0, 0, 0);
	me = w;
	w->clone = clone_of(w->fuse);
	atomic_store(&w->id, (int)syscall(SYS_gettid));
	pthread_cleanup_push(finished, w);
	serve(w);
	pthread_cleanup_pop(1);
	return NULL;
}

/* A thread in which no signal from outside arrives. */
static int start_thread(pthread_t *thread, void *(*body)(void *), void *arg)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP };
	sigset_t all, before;
	int r;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) /* those are for whoever looks for bugs */
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(thread, NULL, body, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

/* Under the lock. */
static int add_worker(struct zd_fuse *fuse)
{
	struct worker *w = NULL;
	int r;

	for (int i = 0; i < ZD_FUSE_MAX_WORKERS && !w; i++) {
		if (!fuse->workers[i].used || fuse->workers[i].finished)
			w = &fuse->workers[i];
	}
	if (!w)
		return -EAGAIN;
	if (w->used)
		pthread_join(w->thread, NULL);
	*w = (struct worker){ .fuse = fuse, .clone = -1, .answer = fuse->fd };
	if (posix_memalign(&w->memory, 4096, 4096 + REQUEST_SIZE))
		return -ENOMEM;
	r = start_thread(&w->thread, worker_main, w);
	if (r) {
		free(w->memory);
		w->memory = NULL;
		return r;
	}
	w->used = true;
	fuse->ready++;
	return 0;
}

/* A thread that sleeps and has no request waits for one; any other may have read one already. */
static bool asleep(int id)
{
	char path[64], text[512], *end;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
	if (!zd_fuse_proc(path, text, sizeof(text)))
		return true;
	end = strrchr(text, ')');
	return !end || strncmp(end, ") R", 3) != 0;
}

bool zd_fuse_others_idle(struct zd_fuse *fuse)
{
	bool idle = true;

	pthread_mutex_lock(&fuse->lock);
	for (int i = 0; i < ZD_FUSE_MAX_WORKERS && idle; i++) {
		struct worker *w = &fuse->workers[i];

		if (!w->used || w->finished || w == me)
			continue;
		idle = asleep(atomic_load(&w->id)) && !atomic_load_explicit(&w->busy, memory_order_acquire);
	}
	pthread_mutex_unlock(&fuse->lock);
	return idle;
}

void zd_fuse_slow_begin(struct zd_fuse *fuse)
{
	pthread_mutex_lock(&fuse->lock);
	go_away(me);
	pthread_mutex_unlock(&fuse->lock);
}

void zd_fuse_slow_end(struct zd_fuse *fuse)
{
	(void)fuse;
	come_back(me);
}

int zd_fuse_start_workers(struct zd_fuse *fuse)
{
	int r = 0;

	pthread_mutex_lock(&fuse->lock);
	for (uint32_t i = 0; !r && i < fuse->wanted; i++)
		r = add_worker(fuse);
	if (!r)
		r = start_thread(&fuse->watcher, watcher_main, fuse);
	fuse->has_watcher = !r;
	pthread_mutex_unlock(&fuse->lock);
	return r;
}

void zd_fuse_stop_workers(struct zd_fuse *fuse)
{
	pthread_mutex_lock(&fuse->lock);
	atomic_store(&fuse->stopping, true);
	pthread_cond_signal(&fuse->watch);
	pthread_mutex_unlock(&fuse->lock);
	if (fuse->has_watcher) /* it may add workers */
		pthread_join(fuse->watcher, NULL);
	fuse->has_watcher = false;
	fuse_session_exit(fuse->session); /* it says nothing about replies that reach nobody any more */
	pthread_mutex_lock(&fuse->lock);
	for (int i = 0; i < ZD_FUSE_MAX_WORKERS; i++) {
		struct worker *w = &fuse->workers[i];

		if (!w->used)
			continue;
		if (!w->finished)
			pthread_cancel(w->thread);
		pthread_mutex_unlock(&fuse->lock);
		pthread_join(w->thread, NULL);
		pthread_mutex_lock(&fuse->lock);
		w->used = false;
	}
	pthread_mutex_unlock(&fuse->lock);
}
