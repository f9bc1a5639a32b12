/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process: once armed by kill_at(n), the n-th operation on a host's file from then on is where the
 * process dies of SIGKILL, before that operation has any effect. 0: never; they are only counted.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
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
	return ((ssize_t (*)(int, const struct iovec *, int, off_t))go_on("pwritev"))(fd, iov, count, offset);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	return ((ssize_t (*)(int, const struct iovec *, int, off_t, int))go_on("pwritev2"))(fd, iov, count, offset, flags);
}

ssize_t write(int fd, const void *from, size_t length)
{
	return ((ssize_t (*)(int, const void *, size_t))go_on("write"))(fd, from, length);
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

int fsync(int fd)
{
	return ((int (*)(int))go_on("fsync"))(fd);
}

int fchmod(int fd, mode_t mode)
{
	return ((int (*)(int, mode_t))go_on("fchmod"))(fd, mode);
}

int rename(const char *from, const char *to)
{
	return ((int (*)(const char *, const char *))go_on("rename"))(from, to);
}

int link(const char *from, const char *to)
{
	return ((int (*)(const char *, const char *))go_on("link"))(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return ((int (*)(int, const char *, int, const char *, int))go_on("linkat"))(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path)
{
	return ((int (*)(const char *))go_on("unlink"))(path);
}
