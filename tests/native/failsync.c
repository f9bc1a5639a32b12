/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process: while the file named by ZONED_TEST_FAIL exists, every sync to the host's disk
 * fails with EIO, as it does when the disk is dying. What is written reaches the page cache all the same.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static int failing(void)
{
	const char *name = getenv("ZONED_TEST_FAIL");

	return name && access(name, F_OK) == 0;
}

static int sync_or_fail(const char *function, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, function);

	if (failing()) {
		errno = EIO;
		return -1;
	}
	return real(fd);
}

int fsync(int fd)
{
	return sync_or_fail("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_or_fail("fdatasync", fd);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t, int) =
		(ssize_t (*)(int, const struct iovec *, int, off_t, int))dlsym(RTLD_NEXT, "pwritev2");

	if (flags && failing()) {
		if (real(fd, iov, count, offset, 0) >= 0)
			errno = EIO;
		return -1;
	}
	return real(fd, iov, count, offset, flags);
}
