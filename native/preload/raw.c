/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that a program makes past libc: by instructions of its own, as liburing, libaio and Go do.
 *
 * The kernel is asked (PR_SET_SYSCALL_USER_DISPATCH, Linux 5.11) to hand each system call that does not come from libc to
 * a signal handler here, which answers it as the name of libc would, or makes it as it was meant. It needs no privilege,
 * takes none away, and ends with exec(). Each thread asks for itself. Where a kernel has it not, such calls meet the
 * O_PATH descriptor and fail with EBADF.
 */
#include "preload/preload.h"
#include "preload/raw.h"
#include "preload/real.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#define PR_SYS_DISPATCH_ON 1
#endif
#define CAUSE_DISPATCH 2 /* SYS_USER_DISPATCH in si_code */
#define ALLOW 0
#define BLOCK 1

#ifdef __x86_64__

static uintptr_t libc_at;
static size_t libc_length;
static __thread char selector __attribute__((tls_model("initial-exec"))) = ALLOW;

/* ---------------------------------------------------------------- one call */

#define ERRNO(result)                                   \
	({                                              \
		long result_ = (long)(result);          \
		result_ == -1 ? -(long)errno : result_; \
	})

static long call_io(long number, const long *a)
{
	int fd = (int)a[0];

	switch (number) {
	case SYS_read: return ERRNO(read(fd, (void *)a[1], (size_t)a[2]));
	case SYS_write: return ERRNO(write(fd, (const void *)a[1], (size_t)a[2]));
	case SYS_pread64: return ERRNO(pread(fd, (void *)a[1], (size_t)a[2], a[3]));
	case SYS_pwrite64: return ERRNO(pwrite(fd, (const void *)a[1], (size_t)a[2], a[3]));
	case SYS_readv: return ERRNO(readv(fd, (const struct iovec *)a[1], (int)a[2]));
	case SYS_writev: return ERRNO(writev(fd, (const struct iovec *)a[1], (int)a[2]));
	case SYS_preadv: return ERRNO(preadv(fd, (const struct iovec *)a[1], (int)a[2], a[3]));
	case SYS_pwritev: return ERRNO(pwritev(fd, (const struct iovec *)a[1], (int)a[2], a[3]));
	case SYS_preadv2: return ERRNO(preadv2(fd, (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]));
	case SYS_pwritev2: return ERRNO(pwritev2(fd, (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]));
	case SYS_fsync: return ERRNO(fsync(fd));
	case SYS_fdatasync: return ERRNO(fdatasync(fd));
	case SYS_fallocate: return ERRNO(fallocate(fd, (int)a[1], a[2], a[3]));
	case SYS_lseek: return ERRNO(lseek(fd, a[1], (int)a[2]));
	case SYS_ioctl:
		return ERRNO(zp_find(fd) ? zp_result(zp_ioctl(zp_find(fd), (unsigned long)a[1], (void *)a[2])) :
					   zp_real.ioctl(fd, (unsigned long)a[1], a[2]));
	default: return -ENOSYS;
	}
}

static long call_file(long number, const long *a)
{
	int fd = (int)a[0];

	switch (number) {
	case SYS_open: return ERRNO(open((const char *)a[0], (int)a[1], (mode_t)a[2]));
	case SYS_openat: return ERRNO(openat(fd, (const char *)a[1], (int)a[2], (mode_t)a[3]));
	case SYS_creat: return ERRNO(creat((const char *)a[0], (mode_t)a[1]));
	case SYS_close: return ERRNO(close(fd));
	case SYS_dup: return ERRNO(dup(fd));
	case SYS_dup2: return ERRNO(dup2(fd, (int)a[1]));
	case SYS_dup3: return ERRNO(dup3(fd, (int)a[1], (int)a[2]));
	case SYS_fcntl: return ERRNO(fcntl(fd, (int)a[1], a[2]));
	case SYS_flock: return ERRNO(zp_flock(fd, (int)a[1]));
	case SYS_ftruncate: return ERRNO(ftruncate(fd, a[1]));
	case SYS_stat: return ERRNO(stat((const char *)a[0], (struct stat *)a[1]));
	case SYS_lstat: return ERRNO(lstat((const char *)a[0], (struct stat *)a[1]));
	case SYS_fstat: return ERRNO(fstat(fd, (struct stat *)a[1]));
	case SYS_newfstatat: return ERRNO(fstatat(fd, (const char *)a[1], (struct stat *)a[2], (int)a[3]));
	case SYS_statx: return ERRNO(statx(fd, (const char *)a[1], (int)a[2], (unsigned)a[3], (struct statx *)a[4]));
	case SYS_access: return ERRNO(access((const char *)a[0], (int)a[1]));
	case SYS_faccessat: return ERRNO(faccessat(fd, (const char *)a[1], (int)a[2], 0));
	case SYS_readlink: return ERRNO(readlink((const char *)a[0], (char *)a[1], (size_t)a[2]));
	case SYS_readlinkat: return ERRNO(readlinkat(fd, (const char *)a[1], (char *)a[2], (size_t)a[3]));
	case SYS_faccessat2: return ERRNO(faccessat(fd, (const char *)a[1], (int)a[2], (int)a[3]));
	case SYS_execve: return ERRNO(execve((const char *)a[0], (char *const *)a[1], (char *const *)a[2]));
	case SYS_execveat: return ERRNO(execveat(fd, (const char *)a[1], (char *const *)a[2], (char *const *)a[3], (int)a[4]));
	case SYS_sendfile: return ERRNO(sendfile(fd, (int)a[1], (off_t *)a[2], (size_t)a[3]));
	case SYS_splice: return ERRNO(splice(fd, (off_t *)a[1], (int)a[2], (off_t *)a[3], (size_t)a[4], (unsigned)a[5]));
	case SYS_copy_file_range:
		return ERRNO(copy_file_range(fd, (off_t *)a[1], (int)a[2], (off_t *)a[3], (size_t)a[4], (unsigned)a[5]));
	case SYS_io_uring_setup: return zp_uring_setup((unsigned)a[0], (void *)a[1]);
	case SYS_io_uring_enter: return zp_uring_enter(fd, (unsigned)a[1], (unsigned)a[2], (unsigned)a[3]);
	case SYS_io_uring_register: return zp_uring_register(fd, (unsigned)a[1], (void *)a[2], (unsigned)a[3]);
	default: return -ENOSYS;
	}
}

static int room_of(long number)
{
	switch (number) {
	case SYS_read:
	case SYS_write:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_readv:
	case SYS_writev:
	case SYS_preadv:
	case SYS_pwritev:
	case SYS_preadv2:
	case SYS_pwritev2:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_fallocate:
	case SYS_lseek:
	case SYS_ioctl: return 1;
	case SYS_open:
	case SYS_openat:
	case SYS_creat:
	case SYS_close:
	case SYS_dup:
	case SYS_dup2:
	case SYS_dup3:
	case SYS_fcntl:
	case SYS_flock:
	case SYS_ftruncate:
	case SYS_stat:
	case SYS_lstat:
	case SYS_fstat:
	case SYS_newfstatat:
	case SYS_statx:
	case SYS_access:
	case SYS_faccessat:
	case SYS_readlink:
	case SYS_readlinkat:
	case SYS_faccessat2:
	case SYS_sendfile:
	case SYS_splice:
	case SYS_copy_file_range:
	case SYS_execve:
	case SYS_execveat:
	case SYS_io_uring_setup:
	case SYS_io_uring_enter:
	case SYS_io_uring_register: return 2;
	default: return 0;
	}
}

/* The kernel's own answer: -errno, or a result. */
static long by_kernel(long number, const long *a)
{
	return ERRNO(zp_real.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

static long answer(long number, const long *a)
{
	int room = zp_inside ? 0 : room_of(number);

	return room == 1 ? call_io(number, a) : room == 2 ? call_file(number, a) : by_kernel(number, a);
}

/* libc's function for calls that have no name: what it is given is as raw as an instruction. */
ZP_EXPORT long syscall(long number, ...)
{
	long a[6], result;
	va_list list;
	int i;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (!zp_active() || zp_inside || !room_of(number))
		return zp_real.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	result = answer(number, a);
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* ---------------------------------------------------------------- the signal */

/* What can only be made where it stands: a new stack, or none to come back to. */
static bool only_there(long number)
{
	return number == SYS_clone || number == SYS_clone3 || number == SYS_vfork || number == SYS_fork ||
	       number == SYS_rt_sigreturn;
}

bool zp_raw_signal(const siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	long number = info->si_syscall;
	int saved = errno;

	if (info->si_code != CAUSE_DISPATCH)
		return false;
	if (only_there(number)) {
		selector = ALLOW; /* from here on this thread goes to the kernel: better than a child without a stack */
		r[REG_RIP] -= 2;
		r[REG_RAX] = number;
	} else {
		long a[6] = { r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9] };

		r[REG_RAX] = answer(number, a);
	}
	errno = saved;
	return true;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	if (!zp_raw_signal(info, context))
		zp_signal_instead(number, info, context);
}

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t inside = (uintptr_t)arg;
	int i;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + part->p_vaddr;

		if (part->p_type == PT_LOAD && (part->p_flags & PF_X) && inside >= from && inside < from + part->p_memsz) {
			libc_at = from;
			libc_length = part->p_memsz;
			return 1;
		}
	}
	return 0;
}

void zp_raw_thread(void)
{
	if (!libc_length)
		return;
	selector = ALLOW;
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, libc_at, libc_length, &selector) == 0)
		selector = BLOCK;
}

void zp_raw_begin(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART };
	sigset_t one;

	sigemptyset(&action.sa_mask);
	dl_iterate_phdr(find_libc, (void *)(uintptr_t)zp_real.syscall);
	if (!libc_length || zp_real.sigaction(SIGSYS, &action, NULL))
		return;
	sigemptyset(&one);
	sigaddset(&one, SIGSYS);
	zp_real.pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	zp_raw_thread();
}

/* ---------------------------------------------------------------- threads, and masks that would keep the signal back */

struct start {
	void *(*function)(void *);
	void *arg;
};

static void *begin_thread(void *given)
{
	struct start start;

	memcpy(&start, given, sizeof(start));
	free(given);
	zp_raw_thread();
	return start.function(start.arg);
}

ZP_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*function)(void *), void *arg)
{
	struct start *start;
	int r;

	if (!zp_active() || !libc_length)
		return zp_real.pthread_create(thread, attr, function, arg);
	start = malloc(sizeof(*start));
	if (!start)
		return EAGAIN;
	*start = (struct start){ function, arg };
	r = zp_real.pthread_create(thread, attr, begin_thread, start);
	if (r)
		free(start);
	return r;
}

static const sigset_t *without(const sigset_t *set, int how, sigset_t *room)
{
	if (!set || how == SIG_UNBLOCK || !zp_active() || sigismember(set, SIGSYS) != 1)
		return set;
	*room = *set;
	sigdelset(room, SIGSYS);
	return room;
}

ZP_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t room;

	return zp_real.pthread_sigmask(how, without(set, how, &room), old);
}

ZP_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t room;

	return zp_real.sigprocmask(how, without(set, how, &room), old);
}

#else /* other processors: such calls meet EBADF */

bool zp_raw_signal(const siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	return false;
}

void zp_raw_thread(void)
{
}

void zp_raw_begin(void)
{
}

#endif
