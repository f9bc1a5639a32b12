/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers for programs without a libc of ours (static.c): each call that the kernel holds up is looked at here, in another
 * process, and carried out on the disk, or let go on to the kernel. Memory of the program is copied by the kernel.
 */
#include "preload/answer.h"
#include "preload/cursor.h"
#include "preload/preload.h"
#include "preload/real.h"
#include "preload/static.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__

#define PIECE (1u << 20)

static int listener;
static char *piece; /* aligned as a disk's memory has to be */

/* ---------------------------------------------------------------- what a program means */

struct zp_open *zp_answer_found(pid_t pid, int fd)
{
	char link[64], target[PATH_MAX];
	uint32_t slot;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, fd);
	n = zp_real.readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return NULL;
	target[n] = '\0';
	return zp_is_slot(target, &slot) ? &zp_session.shared->open[slot] : NULL;
}

static int free_number(pid_t pid)
{
	char link[64];
	int fd;

	for (fd = ZP_STATIC_BASE; fd < ZP_STATIC_BASE + ZP_STATIC_MOST; fd++) {
		snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, fd);
		if (zp_real.readlink(link, link, sizeof(link)) < 0)
			return fd;
	}
	return -EMFILE;
}

int64_t zp_answer_give(const struct seccomp_notif *call, int fd, int number, bool cloexec)
{
	struct seccomp_notif_addfd add = { .id = call->id,
					   .srcfd = (uint32_t)fd,
					   .newfd = number > 0 ? (uint32_t)number : 0,
					   .newfd_flags = cloexec ? O_CLOEXEC : 0,
					   .flags = SECCOMP_ADDFD_FLAG_SEND | (number > 0 ? SECCOMP_ADDFD_FLAG_SETFD : 0) };
	int r = zp_real.ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add), saved = errno;

	return r < 0 ? -saved : ZP_ADDED;
}

/*
 * The kernel hands over no descriptor that is O_PATH, so it is one of the same file that may neither read nor write (mode 3):
 * the same EBADF where it gets at it.
 */
int64_t zp_answer_give_disk(const struct seccomp_notif *call, struct zp_open *open, bool cloexec)
{
	int number = free_number((pid_t)call->pid), fd;
	char path[PATH_MAX + 32];
	int64_t r;

	if (number < 0)
		return number;
	snprintf(path, sizeof(path), "%s/fd/%u", zp_session.folder, (unsigned)(open - zp_session.shared->open));
	fd = zp_real.open(path, O_ACCMODE | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	atomic_store(&open->shared, 1); /* it lives on in the program */
	r = zp_answer_give(call, fd, number, cloexec);
	zp_real.close(fd);
	return r;
}

/* ---------------------------------------------------------------- data */

struct transfer {
	struct zp_open *open;
	bool write;
	int64_t offset;
	int rwf;
};

/* A buffer of the program's, by pieces through our own memory. */
static int64_t one_buffer(struct transfer *t, uint64_t at, uint64_t length)
{
	bool direct = atomic_load(&t->open->flags) & O_DIRECT;
	uint64_t done = 0;

	if (direct && (at & 511) && length)
		return -EINVAL;
	do {
		uint64_t here = length - done < PIECE ? length - done : PIECE;
		struct iovec mine = { piece, here };
		int64_t r = 0;

		if (t->write && here)
			r = zp_copy_in(piece, (void *)(uintptr_t)(at + done), here);
		if (!r)
			r = t->write ? zp_device_write(t->open, &mine, 1, t->offset, t->rwf) :
				       zp_device_read(t->open, &mine, 1, t->offset, t->rwf);
		if (r > 0 && !t->write && zp_copy_out((void *)(uintptr_t)(at + done), piece, (uint64_t)r))
			r = -EFAULT;
		if (r < 0)
			return done ? (int64_t)done : r;
		done += (uint64_t)r;
		if (t->offset >= 0)
			t->offset += r;
		if ((uint64_t)r < here)
			break;
	} while (done < length);
	return (int64_t)done;
}

static int64_t buffers(struct transfer *t, uint64_t at, int n)
{
	static struct iovec list[ZP_MAX_IOV];
	int64_t done = 0;
	int i;

	if (n < 0 || n > ZP_MAX_IOV)
		return -EINVAL;
	if (n && zp_copy_in(list, (void *)(uintptr_t)at, (size_t)n * sizeof(*list)))
		return -EFAULT;
	for (i = 0; i < n; i++) {
		int64_t r = one_buffer(t, (uintptr_t)list[i].iov_base, list[i].iov_len);

		if (r < 0)
			return done ? done : r;
		done += r;
		if ((uint64_t)r < list[i].iov_len)
			break;
	}
	return done;
}

static int64_t data_call(const struct seccomp_notif *call, struct zp_open *open)
{
	const __u64 *a = call->data.args;
	struct transfer t = { .open = open, .offset = ZP_AT_POSITION };
	int nr = call->data.nr;

	t.write = nr == SYS_write || nr == SYS_pwrite64 || nr == SYS_writev || nr == SYS_pwritev || nr == SYS_pwritev2;
	if (nr != SYS_read && nr != SYS_write && nr != SYS_readv && nr != SYS_writev)
		t.offset = (int64_t)a[3];
	if (nr == SYS_preadv2 || nr == SYS_pwritev2)
		t.rwf = (int)a[5];
	else if (t.offset < 0 && nr != SYS_read && nr != SYS_write && nr != SYS_readv && nr != SYS_writev)
		return -EINVAL;
	if (nr == SYS_read || nr == SYS_write || nr == SYS_pread64 || nr == SYS_pwrite64)
		return one_buffer(&t, a[1], a[2]);
	return buffers(&t, a[1], (int)a[2]);
}

static int64_t fcntl_call(const struct seccomp_notif *call, struct zp_open *open, int command, uint64_t arg)
{
	uint32_t flags = atomic_load(&open->flags);

	switch (command) {
	case F_GETFL: return flags | ZP_LARGEFILE;
	case F_SETFL: atomic_store(&open->flags, (flags & ~ZP_SETTABLE) | ((uint32_t)arg & ZP_SETTABLE)); return 0;
	case F_DUPFD:
	case F_DUPFD_CLOEXEC: return zp_answer_give_disk(call, open, command == F_DUPFD_CLOEXEC);
	default: return ZP_GO_ON;
	}
}

static int64_t number_call(const struct seccomp_notif *call, struct zp_open *open)
{
	const __u64 *a = call->data.args;
	struct statfs fs;
	struct stat st;

	switch (call->data.nr) {
	case SYS_lseek: return zp_device_seek(open, (int64_t)a[1], (int)a[2]);
	case SYS_fsync:
	case SYS_fdatasync: return zp_device_sync(open);
	case SYS_fallocate: return zp_device_allocate(open, (int)a[1], (int64_t)a[2], (int64_t)a[3]);
	case SYS_ftruncate: return -EINVAL;
	case SYS_fadvise64: return 0;
	case SYS_dup: return fcntl_call(call, open, F_DUPFD, 0);
	case SYS_fcntl: return fcntl_call(call, open, (int)a[1], a[2]);
	case SYS_ioctl:
		/* Its buffers would have to be carried over, which is not done: refused, and by no other meaning. */
		return (uint32_t)a[1] == 0x2285 ? -EOPNOTSUPP : zp_ioctl(open, (unsigned long)a[1], (void *)(uintptr_t)a[2]);
	case SYS_fchmod:
	case SYS_fchown: return -EPERM;
	case SYS_fgetxattr: return -ENODATA;
	case SYS_flistxattr: return 0;
	case SYS_fstatfs:
		if (statfs("/dev", &fs))
			return -errno;
		return zp_copy_out((void *)(uintptr_t)a[1], &fs, sizeof(fs));
	case SYS_fstat: zp_stat(open->disk, open->kind, &st); return zp_copy_out((void *)(uintptr_t)a[1], &st, sizeof(st));
	default: return data_call(call, open);
	}
}

/* Calls whose number of ours is not their first argument, or need not be: refused as stream.c and the kernel refuse them. */
static bool refused(const struct seccomp_notif *call, int64_t *result)
{
	const __u64 *a = call->data.args;
	pid_t pid = (pid_t)call->pid;

	switch (call->data.nr) {
	case SYS_mmap: *result = zp_answer_found(pid, (int)a[4]) ? -ENODEV : ZP_GO_ON; return true;
	case SYS_sendfile:
		*result = zp_answer_found(pid, (int)a[0]) || zp_answer_found(pid, (int)a[1]) ? -EINVAL : ZP_GO_ON;
		return true;
	case SYS_splice:
	case SYS_copy_file_range:
		*result = zp_answer_found(pid, (int)a[0]) || zp_answer_found(pid, (int)a[2]) ? -EINVAL : ZP_GO_ON;
		return true;
	default: return false;
	}
}

static int64_t answer(const struct seccomp_notif *call)
{
	struct zp_open *open;
	int64_t result;

	if (zp_answer_path(call, &result) || refused(call, &result))
		return result;
	open = zp_answer_found((pid_t)call->pid, (int)call->data.args[0]);
	return open ? number_call(call, open) : ZP_GO_ON;
}

void zp_answer(int from)
{
	struct pollfd ready = { .fd = from, .events = POLLIN };
	struct seccomp_notif call;
	struct seccomp_notif_resp response;

	listener = from;
	piece = zp_real.mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (piece == MAP_FAILED)
		return;
	for (;;) {
		int64_t r;

		if (poll(&ready, 1, -1) < 0 && errno != EINTR)
			return;
		if (ready.revents & POLLHUP)
			return;
		memset(&call, 0, sizeof(call));
		if (zp_real.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue; /* it was killed meanwhile */
		zp_peer = (pid_t)call.pid;
		r = answer(&call);
		zp_peer = 0;
		if (r == ZP_ADDED)
			continue;
		response = (struct seccomp_notif_resp){ .id = call.id };
		if (r == ZP_GO_ON)
			response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		else if (r < 0)
			response.error = (int32_t)r;
		else
			response.val = r;
		zp_real.ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
	}
}

#endif
