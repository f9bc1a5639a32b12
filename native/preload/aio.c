/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libaio: io_submit() and its kin. What concerns a disk is carried out when it is submitted, and waits in a queue beside the
 * kernel's context until io_getevents() fetches it; the rest goes to the kernel. Commands that a fault holds up
 * keep io_submit() that long.
 *
 * The context stays the kernel's own, so that one may hold requests of disks and of files; as long as it holds none of
 * files, the kernel is not asked for any. Memory for completions is taken by io_setup(), none by submitting.
 */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 256 /* contexts of a process at once */

struct context {
	_Atomic uintptr_t id; /* the kernel's; 0: free */
	pthread_mutex_t lock;
	struct io_event *events; /* a ring */
	uint32_t room, first, waiting;
	_Atomic int64_t kernels; /* requests that the kernel has of it */
};
static struct context contexts[MOST];

static struct context *find(uintptr_t id)
{
	int i;

	for (i = 0; i < MOST && id; i++)
		if (atomic_load_explicit(&contexts[i].id, memory_order_acquire) == id)
			return &contexts[i];
	return NULL;
}

/* libaio's functions give -errno and leave errno alone. */
static int kernel(long result)
{
	return result < 0 ? -errno : (int)result;
}

ZP_EXPORT int io_setup(int room, aio_context_t *id)
{
	int r = kernel(syscall(SYS_io_setup, room, id)), i;

	for (i = 0; i < MOST && !r && zp_active(); i++) {
		struct context *c = &contexts[i];
		uintptr_t none = 0;

		if (!atomic_compare_exchange_strong(&c->id, &none, 1))
			continue;
		c->events = zp_real.mmap(NULL, (size_t)room * sizeof(*c->events), PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (c->events == MAP_FAILED) {
			atomic_store(&c->id, 0);
			syscall(SYS_io_destroy, *id);
			return -ENOMEM;
		}
		c->room = (uint32_t)room;
		c->first = c->waiting = 0;
		atomic_store(&c->kernels, 0);
		pthread_mutex_init(&c->lock, NULL);
		atomic_store_explicit(&c->id, *id, memory_order_release);
		break;
	}
	return r;
}

ZP_EXPORT int io_queue_init(int room, aio_context_t *id)
{
	*id = 0;
	return io_setup(room, id);
}

ZP_EXPORT int io_destroy(aio_context_t id)
{
	struct context *c = find(id);

	if (c) {
		munmap(c->events, c->room * sizeof(*c->events));
		atomic_store(&c->id, 0);
	}
	return kernel(syscall(SYS_io_destroy, id));
}

ZP_EXPORT int io_queue_release(aio_context_t id)
{
	return io_destroy(id);
}

static int64_t carry_out(struct zp_open *open, const struct iocb *cb)
{
	struct iovec one = { (void *)(uintptr_t)cb->aio_buf, cb->aio_nbytes };
	int64_t at = cb->aio_offset < 0 ? -EINVAL : cb->aio_offset;

	switch (cb->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
		return cb->aio_rw_flags ? zp_device_read(open, &one, 1, at, (int)cb->aio_rw_flags) :
					  zp_device_pread(open, one.iov_base, one.iov_len, at);
	case IOCB_CMD_PWRITE:
		return cb->aio_rw_flags ? zp_device_write(open, &one, 1, at, (int)cb->aio_rw_flags) :
					  zp_device_pwrite(open, one.iov_base, one.iov_len, at);
	case IOCB_CMD_PREADV:
		return zp_device_read(open, (void *)(uintptr_t)cb->aio_buf, (int)cb->aio_nbytes, at, (int)cb->aio_rw_flags);
	case IOCB_CMD_PWRITEV:
		return zp_device_write(open, (void *)(uintptr_t)cb->aio_buf, (int)cb->aio_nbytes, at, (int)cb->aio_rw_flags);
	case IOCB_CMD_FSYNC:
	case IOCB_CMD_FDSYNC: return zp_device_sync(open);
	default: return -EINVAL;
	}
}

/* 0 or -errno: then it was not taken. */
static int submit_ours(struct context *c, struct zp_open *open, struct iocb *cb)
{
	struct io_event event = { .data = cb->aio_data, .obj = (uintptr_t)cb };
	uint64_t one = 1;
	int r = 0;

	if (cb->aio_reserved2 || (cb->aio_flags & ~(unsigned)IOCB_FLAG_RESFD))
		return -EINVAL;
	event.res = carry_out(open, cb);
	/* What the kernel refuses before it takes a request: access, the form of the request. */
	if (event.res == -EBADF || (event.res == -EINVAL && cb->aio_lio_opcode > IOCB_CMD_PWRITEV))
		return (int)event.res;
	zp_enter();
	pthread_mutex_lock(&c->lock);
	if (c->waiting < c->room)
		c->events[(c->first + c->waiting++) % c->room] = event;
	else
		r = -EAGAIN;
	pthread_mutex_unlock(&c->lock);
	zp_leave();
	if (!r && (cb->aio_flags & IOCB_FLAG_RESFD)) {
		ssize_t told = zp_real.write((int)cb->aio_resfd, &one, sizeof(one));

		(void)told; /* an eventfd that is full has told already */
	}
	return r;
}

static bool full(struct context *c)
{
	return __atomic_load_n(&c->waiting, __ATOMIC_RELAXED) >= c->room;
}

ZP_EXPORT int io_submit(aio_context_t id, long n, struct iocb **list)
{
	struct context *c = find(id);
	long done = 0, last;
	int r = 0;

	if (!c)
		return kernel(syscall(SYS_io_submit, id, n, list));
	if (n < 0)
		return -EINVAL;
	while (done < n) {
		struct zp_open *open = zp_find((int)list[done]->aio_fildes);

		if (open) {
			r = full(c) ? -EAGAIN : submit_ours(c, open, list[done]);
			if (r)
				break;
			done++;
			continue;
		}
		for (last = done + 1; last < n && !zp_find((int)list[last]->aio_fildes); last++)
			;
		atomic_fetch_add(&c->kernels, last - done); /* before another thread can fetch one of them */
		r = kernel(syscall(SYS_io_submit, id, last - done, list + done));
		atomic_fetch_sub(&c->kernels, last - done - (r < 0 ? 0 : r));
		if (r < 0)
			break;
		done += r;
		if (done < last)
			break;
	}
	return done ? (int)done : r;
}

static long fetch(struct context *c, long most, struct io_event *out)
{
	long n = 0;

	zp_enter();
	pthread_mutex_lock(&c->lock);
	for (; n < most && c->waiting; n++, c->waiting--) {
		out[n] = c->events[c->first];
		c->first = (c->first + 1) % c->room;
	}
	pthread_mutex_unlock(&c->lock);
	zp_leave();
	return n;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int fetch_kernels(struct context *c, aio_context_t id, long least, long most, struct io_event *out, long nanoseconds)
{
	struct timespec most_time = { 0, nanoseconds };
	int r = kernel(syscall(SYS_io_getevents, id, least, most, out, &most_time));

	if (r > 0)
		atomic_fetch_sub(&c->kernels, r);
	return r;
}

/* Ours first; then, of the kernel's, as many as are still wanted, in turns short enough to see what another thread submits. */
ZP_EXPORT int io_getevents(aio_context_t id, long least, long most, struct io_event *out, struct timespec *timeout)
{
	struct context *c = find(id);
	int64_t end = INT64_MAX;
	bool waited = false;
	long got = 0;
	int r;

	if (!c)
		return kernel(syscall(SYS_io_getevents, id, least, most, out, timeout));
	if (least < 0 || most < least || most < 0)
		return -EINVAL;
	for (;;) {
		got += fetch(c, most - got, out + got);
		if (got == most || (got >= least && !atomic_load(&c->kernels)))
			return (int)got;
		r = fetch_kernels(c, id, 0, most - got, out + got, 0);
		if (r < 0)
			return got ? (int)got : r;
		got += r;
		if (got >= least)
			return (int)got;
		if (timeout && !waited)
			end = now() + timeout->tv_sec * 1000000000ll + timeout->tv_nsec;
		if (timeout && (waited || !(timeout->tv_sec | timeout->tv_nsec)) && now() >= end)
			return (int)got;
		waited = true;
		r = fetch_kernels(c, id, 1, most - got, out + got, 1000000);
		if (r < 0)
			return got ? (int)got : r;
		got += r;
	}
}

ZP_EXPORT int io_pgetevents(aio_context_t id, long least, long most, struct io_event *out, struct timespec *timeout,
			    sigset_t *mask)
{
	sigset_t before;
	int r;

	if (mask)
		pthread_sigmask(SIG_SETMASK, mask, &before);
	r = io_getevents(id, least, most, out, timeout);
	if (mask)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* What is ours has ended already. */
ZP_EXPORT int io_cancel(aio_context_t id, struct iocb *cb, struct io_event *event)
{
	return zp_find((int)cb->aio_fildes) ? -EINVAL : kernel(syscall(SYS_io_cancel, id, cb, event));
}
