/* SPDX-License-Identifier: Apache-2.0 */
/* What else is asked of paths: whether one may, where a link leads, what is in a folder. */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ZP_EXPORT int faccessat(int dirfd, const char *path, int mode, int flags)
{
	char room[PATH_MAX];
	int kind, disk = zp_named(dirfd, path, &kind);

	if (disk >= 0)
		return mode & X_OK ? zp_result(-EACCES) : zp_real.access(zp_session.disks[disk].image, mode);
	disk = zp_real.faccessat(dirfd, zp_instead(dirfd, path, room), mode, flags);
	if (disk < 0 && errno == ENOENT && zp_below(dirfd, path))
		errno = ENOTDIR;
	return disk;
}

ZP_EXPORT int access(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, 0);
}

ZP_EXPORT int euidaccess(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}
ZP_ALIAS(eaccess, euidaccess);

ZP_EXPORT ssize_t readlinkat(int dirfd, const char *path, char *out, size_t size)
{
	char room[PATH_MAX], target[PATH_MAX];
	ssize_t n = zp_real.readlinkat(dirfd, zp_instead(dirfd, path, room), out, size);
	size_t length;

	if (n < 0 && errno == ENOENT && zp_named_itself(dirfd, path) >= 0)
		errno = EINVAL; /* it is there, and no link */
	if (n <= 0 || !zp_active() || (size_t)n < zp_session.folder_length ||
	    memcmp(out, zp_session.folder, zp_session.folder_length))
		return n;
	if (n >= PATH_MAX)
		return n;
	memcpy(room, out, (size_t)n);
	room[n] = '\0';
	length = zp_outside(room, target, sizeof(target));
	if (!length)
		return n;
	n = (ssize_t)(length < size ? length : size);
	memcpy(out, target, (size_t)n);
	return n;
}

ZP_EXPORT ssize_t readlink(const char *path, char *out, size_t size)
{
	return readlinkat(AT_FDCWD, path, out, size);
}

ZP_EXPORT ssize_t __readlink_chk(const char *path, char *out, size_t size, size_t room)
{
	return readlinkat(AT_FDCWD, path, out, size < room ? size : room);
}

ZP_EXPORT ssize_t __readlinkat_chk(int dirfd, const char *path, char *out, size_t size, size_t room)
{
	return readlinkat(dirfd, path, out, size < room ? size : room);
}

/* out: NULL, or room for PATH_MAX. */
static char *give(const char *path, char *out)
{
	return out ? strcpy(out, path) : strdup(path);
}

ZP_EXPORT char *realpath(const char *path, char *out)
{
	char room[PATH_MAX], found[PATH_MAX], outside[PATH_MAX];
	int kind, disk = zp_named(AT_FDCWD, path, &kind);

	if (disk >= 0) {
		snprintf(room, sizeof(room), "/dev/%s",
			 kind == ZP_CHAR ? zp_session.disks[disk].chars : zp_session.disks[disk].name);
		return give(room, out);
	}
	if (!zp_active() || !path)
		return zp_real.realpath(path, out);
	if (!zp_real.realpath(zp_instead(AT_FDCWD, path, room), found))
		return NULL;
	return give(zp_outside(found, outside, sizeof(outside)) ? outside : found, out);
}

ZP_EXPORT char *__realpath_chk(const char *path, char *out, size_t room)
{
	(void)room;
	return realpath(path, out);
}

ZP_EXPORT char *canonicalize_file_name(const char *path)
{
	return realpath(path, NULL);
}

ZP_EXPORT DIR *opendir(const char *path)
{
	char room[PATH_MAX];

	if (zp_named_itself(AT_FDCWD, path) >= 0) {
		errno = ENOTDIR;
		return NULL;
	}
	return zp_real.opendir(zp_instead(AT_FDCWD, path, room));
}

ZP_EXPORT int scandir(const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
		      int (*compare)(const struct dirent **, const struct dirent **))
{
	char room[PATH_MAX];

	return zp_real.scandir(zp_instead(AT_FDCWD, path, room), list, filter, compare);
}

ZP_ALIAS(scandir64, scandir);

ZP_EXPORT int chdir(const char *path)
{
	char room[PATH_MAX];

	return zp_named_itself(AT_FDCWD, path) >= 0 ? zp_result(-ENOTDIR) : zp_real.chdir(zp_instead(AT_FDCWD, path, room));
}

ZP_EXPORT char *getcwd(char *out, size_t size)
{
	char *found = zp_real.getcwd(out, size), outside[PATH_MAX];

	/* What the program sees is shorter, so there is room. */
	if (found && zp_active() && zp_outside(found, outside, sizeof(outside)))
		strcpy(found, outside);
	return found;
}

/* ---------------------------------------------------------------- extended attributes: a device node has none */

static bool is_node(const char *path)
{
	int kind;

	return zp_named(AT_FDCWD, path, &kind) >= 0;
}

ZP_EXPORT ssize_t getxattr(const char *path, const char *name, void *value, size_t size)
{
	char room[PATH_MAX];

	return is_node(path) ? zp_result(-ENODATA) : zp_real.getxattr(zp_instead(AT_FDCWD, path, room), name, value, size);
}

ZP_EXPORT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size)
{
	char room[PATH_MAX];

	return is_node(path) ? zp_result(-ENODATA) : zp_real.lgetxattr(zp_instead(AT_FDCWD, path, room), name, value, size);
}

ZP_EXPORT ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
	return zp_find(fd) ? zp_result(-ENODATA) : zp_real.fgetxattr(fd, name, value, size);
}

ZP_EXPORT ssize_t listxattr(const char *path, char *list, size_t size)
{
	char room[PATH_MAX];

	return is_node(path) ? 0 : zp_real.listxattr(zp_instead(AT_FDCWD, path, room), list, size);
}

ZP_EXPORT ssize_t llistxattr(const char *path, char *list, size_t size)
{
	char room[PATH_MAX];

	return is_node(path) ? 0 : zp_real.llistxattr(zp_instead(AT_FDCWD, path, room), list, size);
}

ZP_EXPORT ssize_t flistxattr(int fd, char *list, size_t size)
{
	return zp_find(fd) ? 0 : zp_real.flistxattr(fd, list, size);
}
