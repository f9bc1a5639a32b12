/* SPDX-License-Identifier: Apache-2.0 */
/* read(), write() and their kin. */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <unistd.h>

extern void __chk_fail(void) __attribute__((noreturn));

static ssize_t result(int64_t r)
{
	if (zp_likely(r >= 0))
		return (ssize_t)r;
	errno = (int)-r;
	return -1;
}

/* An offset of -1 means the position to preadv2() alone. */
static int64_t at(off_t offset)
{
	return offset < 0 ? -2 : offset;
}

ZP_EXPORT ssize_t read(int fd, void *buf, size_t length)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_pread(open, buf, length, ZP_AT_POSITION)) : zp_real.read(fd, buf, length);
}

ZP_EXPORT ssize_t write(int fd, const void *buf, size_t length)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_pwrite(open, buf, length, ZP_AT_POSITION)) : zp_real.write(fd, buf, length);
}

ZP_EXPORT ssize_t pread(int fd, void *buf, size_t length, off_t offset)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_pread(open, buf, length, at(offset))) : zp_real.pread(fd, buf, length, offset);
}

ZP_EXPORT ssize_t pwrite(int fd, const void *buf, size_t length, off_t offset)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_pwrite(open, buf, length, at(offset))) : zp_real.pwrite(fd, buf, length, offset);
}

ZP_EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_read(open, iov, n, ZP_AT_POSITION, 0)) : zp_real.readv(fd, iov, n);
}

ZP_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_write(open, iov, n, ZP_AT_POSITION, 0)) : zp_real.writev(fd, iov, n);
}

ZP_EXPORT ssize_t preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_read(open, iov, n, at(offset), 0)) : zp_real.preadv(fd, iov, n, offset);
}

ZP_EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_write(open, iov, n, at(offset), 0)) : zp_real.pwritev(fd, iov, n, offset);
}

ZP_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_read(open, iov, n, offset, flags)) : zp_real.preadv2(fd, iov, n, offset, flags);
}

ZP_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	struct zp_open *open = zp_find(fd);

	return open ? result(zp_device_write(open, iov, n, offset, flags)) : zp_real.pwritev2(fd, iov, n, offset, flags);
}

/* What these become in programs that were compiled with _FORTIFY_SOURCE. */
ZP_EXPORT ssize_t __read_chk(int fd, void *buf, size_t length, size_t room)
{
	if (length > room)
		__chk_fail();
	return read(fd, buf, length);
}

ZP_EXPORT ssize_t __pread_chk(int fd, void *buf, size_t length, off_t offset, size_t room)
{
	if (length > room)
		__chk_fail();
	return pread(fd, buf, length, offset);
}

ZP_ALIAS(__pread64_chk, __pread_chk);
ZP_ALIAS(pread64, pread);
ZP_ALIAS(pwrite64, pwrite);
ZP_ALIAS(preadv64, preadv);
ZP_ALIAS(pwritev64, pwritev);
ZP_ALIAS(preadv64v2, preadv2);
ZP_ALIAS(pwritev64v2, pwritev2);

/* ---------------------------------------------------------------- from one descriptor to another */

/* Of a disk or to one: by a buffer of our own, since the kernel's side of either has no bytes. */
static ssize_t carry(int out, int in, off_t *offset, size_t length)
{
	char bytes[1 << 16] __attribute__((aligned(4096)));
	off_t from = offset ? *offset : 0;
	size_t done = 0;

	while (done < length) {
		size_t want = length - done < sizeof(bytes) ? length - done : sizeof(bytes);
		ssize_t got = offset ? pread(in, bytes, want, from) : read(in, bytes, want), put_;

		if (got <= 0)
			return done ? (ssize_t)done : got;
		put_ = write(out, bytes, (size_t)got);
		if (put_ <= 0)
			return done ? (ssize_t)done : put_;
		done += (size_t)put_;
		from += put_;
		if (offset)
			*offset = from;
		else if (put_ < got)
			lseek(in, put_ - got, SEEK_CUR);
		if (put_ < got)
			break;
	}
	return (ssize_t)done;
}

ZP_EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t length)
{
	return zp_find(out) || zp_find(in) ? carry(out, in, offset, length) : zp_real.sendfile(out, in, offset, length);
}
ZP_ALIAS(sendfile64, sendfile);

/* As for any block device in the kernel; programs go on with read() and write(). */
ZP_EXPORT ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t length, unsigned flags)
{
	if (zp_find(in) || zp_find(out)) {
		errno = EINVAL;
		return -1;
	}
	return zp_real.copy_file_range(in, in_at, out, out_at, length, flags);
}

/* Refused, as it is for descriptors that cannot do it: programs go on with read() and write(). */
ZP_EXPORT ssize_t splice(int in, off_t *in_at, int out, off_t *out_at, size_t length, unsigned flags)
{
	if (zp_find(in) || zp_find(out)) {
		errno = EINVAL;
		return -1;
	}
	return zp_real.splice(in, in_at, out, out_at, length, flags);
}
