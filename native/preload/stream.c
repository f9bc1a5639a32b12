/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of stdio. libc reads and writes a stream's descriptor by itself, so a stream on a disk is one whose functions
 * are ours (fopencookie), for the three standard ones too where a program was started with a disk as one of them.
 */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 256

static struct {
	_Atomic(FILE *) stream;
	_Atomic int fd;
} ours[MOST];

static ssize_t get(void *cookie, char *buf, size_t length)
{
	return read((int)(intptr_t)cookie, buf, length);
}

static ssize_t put(void *cookie, const char *buf, size_t length)
{
	ssize_t n = write((int)(intptr_t)cookie, buf, length);

	return n < 0 ? 0 : n; /* what fopencookie() wants for an error; errno stays */
}

static int seek(void *cookie, off64_t *offset, int whence)
{
	off_t at = lseek((int)(intptr_t)cookie, *offset, whence);

	if (at < 0)
		return -1;
	*offset = at;
	return 0;
}

static int shut(void *cookie)
{
	return close((int)(intptr_t)cookie);
}

static FILE *wrap(int fd, const char *mode)
{
	FILE *stream = fopencookie((void *)(intptr_t)fd, mode,
				   (cookie_io_functions_t){ .read = get, .write = put, .seek = seek, .close = shut });
	int i;

	for (i = 0; stream && i < MOST; i++) {
		FILE *none = NULL;

		if (atomic_load(&ours[i].stream) || !atomic_compare_exchange_strong(&ours[i].stream, &none, stream))
			continue;
		atomic_store(&ours[i].fd, fd);
		break;
	}
	return stream;
}

static int number_of(FILE *stream)
{
	int i;

	for (i = 0; i < MOST && stream; i++)
		if (atomic_load(&ours[i].stream) == stream)
			return atomic_load(&ours[i].fd);
	return -1;
}

static int flags_of(const char *mode)
{
	bool both = strchr(mode, '+');
	int flags = strchr(mode, 'e') ? O_CLOEXEC : 0;

	switch (*mode) {
	case 'r': return flags | (both ? O_RDWR : O_RDONLY);
	case 'w': return flags | (both ? O_RDWR : O_WRONLY) | O_CREAT | O_TRUNC;
	case 'a': return flags | (both ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND;
	default: return -1;
	}
}

ZP_EXPORT FILE *fopen(const char *path, const char *mode)
{
	char room[PATH_MAX];
	int kind, fd;
	FILE *stream;

	if (!zp_active() || zp_named(AT_FDCWD, path, &kind) < 0)
		return zp_real.fopen(zp_instead(AT_FDCWD, path, room), mode);
	if (flags_of(mode) < 0) {
		errno = EINVAL;
		return NULL;
	}
	fd = open(path, flags_of(mode), 0666);
	if (fd < 0)
		return NULL;
	stream = wrap(fd, mode);
	if (!stream)
		close(fd);
	return stream;
}
ZP_ALIAS(fopen64, fopen);

ZP_EXPORT FILE *fdopen(int fd, const char *mode)
{
	return zp_find(fd) ? wrap(fd, mode) : zp_real.fdopen(fd, mode);
}

/* Where a program has a standard stream from; NULL: it is none. */
static FILE **standard(FILE *stream)
{
	return stream == stdin ? &stdin : stream == stdout ? &stdout : stream == stderr ? &stderr : NULL;
}

/* A standard stream becomes another, which lies on a disk, under the same number where that is free then. */
static FILE *reopened(const char *path, const char *mode, FILE *stream)
{
	FILE **place = standard(stream), *fresh;
	int number = fileno(stream), fd;

	fclose(stream);
	if (!place || flags_of(mode) < 0) {
		errno = place ? EINVAL : ENODEV;
		return NULL;
	}
	fd = open(path, flags_of(mode), 0666);
	if (fd >= 0 && number >= 0 && fd != number && dup3(fd, number, flags_of(mode) & O_CLOEXEC) == number) {
		close(fd);
		fd = number;
	}
	fresh = fd < 0 ? NULL : wrap(fd, mode);
	if (fd >= 0 && !fresh)
		close(fd);
	if (fresh)
		*place = fresh;
	return fresh;
}

/* Any other stream that is there already keeps libc's functions, so it cannot become one on a disk. */
ZP_EXPORT FILE *freopen(const char *path, const char *mode, FILE *stream)
{
	char room[PATH_MAX];
	int kind;

	if (path && zp_named(AT_FDCWD, path, &kind) >= 0)
		return reopened(path, mode, stream);
	return zp_real.freopen(path ? zp_instead(AT_FDCWD, path, room) : NULL, mode, stream);
}
ZP_ALIAS(freopen64, freopen);

ZP_EXPORT int fclose(FILE *stream)
{
	int fd = zp_active() ? zp_real.fileno(stream) : -1, i;

	for (i = 0; i < MOST && zp_active(); i++)
		if (atomic_load(&ours[i].stream) == stream)
			atomic_store(&ours[i].stream, NULL);
	if (fd < 0 || !zp_find(fd))
		return zp_real.fclose(stream);
	/* One of libc's own whose number came to be ours: close() knows what that takes, and then the number is gone. */
	fflush(stream);
	close(fd);
	zp_real.fclose(stream); /* its own close() finds nothing any more */
	return 0;
}

ZP_EXPORT int fileno(FILE *stream)
{
	int fd = number_of(stream);

	return fd >= 0 ? fd : zp_real.fileno(stream);
}
ZP_ALIAS(fileno_unlocked, fileno);

/* A program that was started with a disk as one of its standard streams. */
__attribute__((constructor)) static void standard_streams(void)
{
	if (!zp_active())
		return;
	if (zp_find(0))
		stdin = wrap(0, "r");
	if (zp_find(1))
		stdout = wrap(1, "w");
	if (zp_find(2)) {
		stderr = wrap(2, "w");
		setvbuf(stderr, NULL, _IONBF, 0);
	}
}
