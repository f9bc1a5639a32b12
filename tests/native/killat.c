/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process: once armed by kill_at(n), the n-th operation on a host's file from then on is where the
 * process dies of SIGKILL, before that operation has any effect. 0: never; they are only counted.
 */
#include <dlfcn.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned armed, calls;

void kill_at(unsigned n)
{
	armed = n;
	calls = 0;
}

unsigned calls_made(void)
{
	return calls;
}

static void *go_on(const char *name)
{
	if (++calls == armed)
		kill(getpid(), SIGKILL);
	return dlsym(RTLD_NEXT, name);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	return ((ssize_t(*)(int, const struct iovec *, int, off_t))go_on("pwritev"))(fd, iov, count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return ((ssize_t(*)(int, const struct iovec *, int, off_t, int))go_on("pwritev2"))(fd, iov, count, offset, flags);
}

int fdatasync(int fd)
{
	return ((int (*)(int))go_on("fdatasync"))(fd);
}

int ftruncate(int fd, off_t length)
{
	return ((int (*)(int, off_t))go_on("ftruncate"))(fd, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	return ((int (*)(int, int, off_t, off_t))go_on("fallocate"))(fd, mode, offset, length);
}
