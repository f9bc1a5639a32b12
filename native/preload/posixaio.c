/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX's aio_read() and its kin. glibc carries them out in threads of its own, past all names of libc. What concerns a
 * disk is carried out when it is submitted; the result goes where glibc's aio_error(), aio_return() and aio_suspend()
 * look for it, which are therefore left to it.
 */
#include "preload/preload.h"
#include "preload/real.h"

#include <aio.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct call {
	void (*function)(union sigval);
	union sigval value;
};

static void *in_a_thread(void *arg)
{
	struct call call;

	memcpy(&call, arg, sizeof(call));
	free(arg);
	call.function(call.value);
	return NULL;
}

static void notify(const struct sigevent *event)
{
	siginfo_t info = { .si_signo = event->sigev_signo, .si_code = SI_ASYNCIO };
	struct call *call;
	pthread_t thread;

	if (event->sigev_notify == SIGEV_SIGNAL) {
		info.si_pid = getpid();
		info.si_uid = getuid();
		info.si_value = event->sigev_value;
		syscall(SYS_rt_sigqueueinfo, getpid(), event->sigev_signo, &info);
	} else if (event->sigev_notify == SIGEV_THREAD) {
		call = malloc(sizeof(*call));
		if (!call)
			return;
		call->function = event->sigev_notify_function;
		call->value = event->sigev_value;
		if (pthread_create(&thread, event->sigev_notify_attributes, in_a_thread, call))
			free(call);
		else
			pthread_detach(thread);
	}
}

static void ended(struct aiocb *cb, int64_t result)
{
	cb->__return_value = result < 0 ? -1 : result;
	__atomic_store_n(&cb->__error_code, result < 0 ? (int)-result : 0, __ATOMIC_RELEASE);
}

static int64_t carry_out(struct zp_open *open, const struct aiocb *cb, bool write)
{
	struct iovec one = { (void *)(uintptr_t)cb->aio_buf, cb->aio_nbytes };
	int64_t at = cb->aio_offset < 0 ? -2 : cb->aio_offset;

	return write ? zp_device_write(open, &one, 1, at, 0) : zp_device_read(open, &one, 1, at, 0);
}

static int transfer(struct zp_open *open, struct aiocb *cb, bool write)
{
	ended(cb, carry_out(open, cb, write));
	notify(&cb->aio_sigevent);
	return 0;
}

ZP_EXPORT int aio_read(struct aiocb *cb)
{
	struct zp_open *open = zp_find(cb->aio_fildes);

	return open ? transfer(open, cb, false) : zp_real.aio_read(cb);
}

ZP_EXPORT int aio_write(struct aiocb *cb)
{
	struct zp_open *open = zp_find(cb->aio_fildes);

	return open ? transfer(open, cb, true) : zp_real.aio_write(cb);
}

ZP_EXPORT int aio_fsync(int operation, struct aiocb *cb)
{
	struct zp_open *open = zp_find(cb->aio_fildes);

	if (!open)
		return zp_real.aio_fsync(operation, cb);
	if (operation != O_SYNC && operation != O_DSYNC)
		return zp_result(-EINVAL);
	ended(cb, zp_device_sync(open));
	notify(&cb->aio_sigevent);
	return 0;
}

ZP_EXPORT int aio_cancel(int fd, struct aiocb *cb)
{
	return zp_find(fd) ? AIO_ALLDONE : zp_real.aio_cancel(fd, cb);
}

/* A list of which each is a disk's is carried out here; one of both kinds would need both sides to count together. */
ZP_EXPORT int lio_listio(int mode, struct aiocb *const list[], int n, struct sigevent *event)
{
	int i, mine = 0, others = 0, failed = 0;

	for (i = 0; i < n; i++) {
		if (!list[i] || list[i]->aio_lio_opcode == LIO_NOP)
			continue;
		if (zp_find(list[i]->aio_fildes))
			mine++;
		else
			others++;
	}
	if (!mine)
		return zp_real.lio_listio(mode, list, n, event);
	if (others)
		return zp_result(-EINVAL);
	for (i = 0; i < n; i++) {
		struct zp_open *open;

		if (!list[i] || list[i]->aio_lio_opcode == LIO_NOP)
			continue;
		open = zp_find(list[i]->aio_fildes);
		transfer(open, list[i], list[i]->aio_lio_opcode == LIO_WRITE);
		failed |= list[i]->__error_code;
	}
	if (mode == LIO_NOWAIT && event)
		notify(event);
	return mode == LIO_WAIT && failed ? zp_result(-EIO) : 0;
}

ZP_ALIAS(aio_read64, aio_read);
ZP_ALIAS(aio_write64, aio_write);
ZP_ALIAS(aio_fsync64, aio_fsync);
ZP_ALIAS(aio_cancel64, aio_cancel);
ZP_ALIAS(lio_listio64, lio_listio);
