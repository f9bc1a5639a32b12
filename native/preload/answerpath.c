/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls on paths of a program without a libc of ours (static.c). The path is made whole as the program means it, and if it
 * concerns the run, libc's names of this library give the answer: a static program is told what any other is.
 */
#include "preload/answer.h"
#include "preload/preload.h"
#include "preload/real.h"
#include "preload/static.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__

/* ---------------------------------------------------------------- which path is meant */

/* What the kernel names by who asks: here it would be this process. */
static void put_number(pid_t pid, char *path)
{
	static const struct {
		const char *name, *of;
	} own[] = { { "/proc/self/", "" },    { "/proc/thread-self/", "" }, { "/dev/fd/", "fd/" },
		    { "/dev/stdin", "fd/0" }, { "/dev/stdout", "fd/1" },    { "/dev/stderr", "fd/2" } };
	char room[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(own) / sizeof(*own); i++) {
		size_t length = strlen(own[i].name);

		if (strncmp(path, own[i].name, length) || (own[i].name[length - 1] != '/' && path[length]))
			continue;
		if (snprintf(room, sizeof(room), "/proc/%d/%s%s", (int)pid, own[i].of, path + length) < PATH_MAX)
			memcpy(path, room, strlen(room) + 1);
		return;
	}
}

static int copy_path(uint64_t at, char *out)
{
	size_t got = 0;

	while (got < PATH_MAX) { /* a page at a time: the next may not be there */
		size_t want = 4096 - (at + got) % 4096;

		want = want < PATH_MAX - got ? want : PATH_MAX - got;
		if (zp_copy_in(out + got, (void *)(uintptr_t)(at + got), want))
			return -EFAULT;
		if (memchr(out + got, '\0', want))
			return 0;
		got += want;
	}
	return -ENAMETOOLONG;
}

/* From the root on; "" where none is given. */
static int path_of(pid_t pid, int dirfd, uint64_t at, char *out)
{
	char given[PATH_MAX], base[PATH_MAX], link[64];
	int r = copy_path(at, given);
	ssize_t n;

	if (r)
		return r;
	if (given[0] == '/' || !given[0]) {
		memcpy(out, given, strlen(given) + 1);
	} else {
		if (dirfd == AT_FDCWD)
			snprintf(link, sizeof(link), "/proc/%d/cwd", (int)pid);
		else
			snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, dirfd);
		n = zp_real.readlink(link, base, sizeof(base) - 1);
		if (n <= 0)
			return -ENOENT;
		base[n] = '\0';
		if (snprintf(out, PATH_MAX, "%s/%s", base, given) >= PATH_MAX)
			return -ENAMETOOLONG;
	}
	put_number(pid, out);
	return 0;
}

/* A path through a number of the program's that is a disk's: the disk's own instead. */
static void follow_number(char *path)
{
	char target[PATH_MAX], node[PATH_MAX];
	uint32_t slot;
	ssize_t n;

	if (strncmp(path, "/proc/", 6))
		return;
	n = zp_real.readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	if (zp_is_slot(target, &slot) && zp_outside(target, node, sizeof(node)))
		memcpy(path, node, strlen(node) + 1);
}

static bool is_node(const char *path, bool follow)
{
	int kind;

	return (follow ? zp_named(AT_FDCWD, path, &kind) : zp_named_itself(AT_FDCWD, path)) >= 0;
}

/* Whether a call on this path is ours to answer: one of the nodes, what is behind one, or a file that takes another's place. */
static bool is_ours(const char *path, bool follow)
{
	char room[PATH_MAX];

	return is_node(path, follow) || zp_below(AT_FDCWD, path) || zp_instead(AT_FDCWD, path, room) != path;
}

/* The path of a call if it is ours to answer. */
static bool ours(const struct seccomp_notif *call, int dirfd, uint64_t at, bool follow, char *path)
{
	if (path_of((pid_t)call->pid, dirfd, at, path) || !*path)
		return false; /* the kernel says why */
	if (follow)
		follow_number(path);
	return is_ours(path, follow);
}

/* ---------------------------------------------------------------- opening and looking */

static int64_t open_call(const struct seccomp_notif *call, int dirfd, uint64_t at, int flags)
{
	bool follow = !(flags & O_NOFOLLOW);
	char path[PATH_MAX];
	int64_t r;
	int fd;

	if (!ours(call, dirfd, at, follow, path))
		return ZP_GO_ON;
	if ((flags & O_PATH) && !is_node(path, follow)) /* the kernel hands over none that is O_PATH */
		flags = O_RDONLY | (flags & (O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	fd = open(path, flags | O_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = zp_find(fd) ? zp_answer_give_disk(call, zp_find(fd), flags & O_CLOEXEC) :
			  zp_answer_give(call, fd, 0, flags & O_CLOEXEC);
	close(fd);
	return r;
}

/* The path of a call that may mean its descriptor itself. */
static bool meant(const struct seccomp_notif *call, int dirfd, uint64_t at, int flags, char *path)
{
	const struct zp_open *open;
	const struct zp_disk *disk;

	if ((flags & AT_EMPTY_PATH) && (!at || (path_of((pid_t)call->pid, dirfd, at, path) == 0 && !*path))) {
		open = zp_answer_found((pid_t)call->pid, dirfd);
		if (!open)
			return false;
		disk = zp_disk_of(open);
		snprintf(path, PATH_MAX, "/dev/%s", open->kind == ZP_CHAR ? disk->chars : disk->name);
		return true;
	}
	return ours(call, dirfd, at, !(flags & AT_SYMLINK_NOFOLLOW), path);
}

static int64_t stat_call(const struct seccomp_notif *call, int dirfd, uint64_t at, uint64_t out, int flags)
{
	char path[PATH_MAX];
	struct stat st;

	if (!meant(call, dirfd, at, flags, path))
		return ZP_GO_ON;
	if (fstatat(AT_FDCWD, path, &st, flags & AT_SYMLINK_NOFOLLOW))
		return -errno;
	return zp_copy_out((void *)(uintptr_t)out, &st, sizeof(st));
}

static int64_t statx_call(const struct seccomp_notif *call)
{
	const __u64 *a = call->data.args;
	char path[PATH_MAX];
	struct statx out;

	if (!meant(call, (int)a[0], a[1], (int)a[2], path))
		return ZP_GO_ON;
	if (statx(AT_FDCWD, path, (int)a[2] & ~AT_EMPTY_PATH, (unsigned)a[3], &out))
		return -errno;
	return zp_copy_out((void *)(uintptr_t)a[4], &out, sizeof(out));
}

static int64_t statfs_call(const struct seccomp_notif *call)
{
	struct statfs out;
	char path[PATH_MAX];

	if (!ours(call, AT_FDCWD, call->data.args[0], true, path))
		return ZP_GO_ON;
	if (statfs(path, &out))
		return -errno;
	return zp_copy_out((void *)(uintptr_t)call->data.args[1], &out, sizeof(out));
}

static int64_t access_call(const struct seccomp_notif *call, int dirfd, uint64_t at, int mode)
{
	char path[PATH_MAX];

	if (!ours(call, dirfd, at, true, path))
		return ZP_GO_ON;
	return access(path, mode) ? -errno : 0;
}

static int64_t readlink_call(const struct seccomp_notif *call, int dirfd, uint64_t at, uint64_t out, int size)
{
	char path[PATH_MAX], target[PATH_MAX], outside[PATH_MAX];
	ssize_t n;

	if (size <= 0 || path_of((pid_t)call->pid, dirfd, at, path) || !*path)
		return ZP_GO_ON;
	n = zp_real.readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	if (!is_ours(path, false) && !zp_outside(target, outside, sizeof(outside)))
		return ZP_GO_ON;
	n = readlink(path, target, (size_t)size < sizeof(target) ? (size_t)size : sizeof(target));
	if (n < 0)
		return -errno;
	return zp_copy_out((void *)(uintptr_t)out, target, (size_t)n) ? -EFAULT : n;
}

static int64_t getcwd_call(const struct seccomp_notif *call, uint64_t out, uint64_t size)
{
	char link[64], target[PATH_MAX], outside[PATH_MAX];
	size_t length;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/cwd", (int)call->pid);
	n = zp_real.readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	length = zp_outside(target, outside, sizeof(outside));
	if (!length)
		return ZP_GO_ON;
	if (length + 1 > size)
		return -ERANGE;
	return zp_copy_out((void *)(uintptr_t)out, outside, length + 1) ? -EFAULT : (int64_t)length + 1;
}

static int64_t times_call(const struct seccomp_notif *call)
{
	const __u64 *a = call->data.args;
	struct timespec times[2];
	char path[PATH_MAX];

	/* Without a path it is the descriptor that is meant. */
	if (!meant(call, (int)a[0], a[1], a[1] ? (int)a[3] : AT_EMPTY_PATH, path))
		return ZP_GO_ON;
	if (a[2] && zp_copy_in(times, (void *)(uintptr_t)a[2], sizeof(times)))
		return -EFAULT;
	return utimensat(AT_FDCWD, path, a[2] ? times : NULL, (int)a[3] & AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* ---------------------------------------------------------------- what is done to names */

#define FROM_CWD (-1)
#define NO_FLAG 0, 0, 0

/* A call on a node has always the same answer: a row a path of a call. As names.c and paths.c give it. */
static const struct refusal {
	int nr, dirfd, path; /* which arguments those are */
	bool follow;
	int answer;
	int flags, flag, with; /* where that argument has this flag, that answer */
} refusals[] = {
	{ SYS_chdir, FROM_CWD, 0, true, -ENOTDIR, NO_FLAG },
	{ SYS_unlink, FROM_CWD, 0, false, -EPERM, NO_FLAG },
	{ SYS_unlinkat, 0, 1, false, -EPERM, 2, AT_REMOVEDIR, -ENOTDIR },
	{ SYS_rmdir, FROM_CWD, 0, false, -ENOTDIR, NO_FLAG },
	{ SYS_rename, FROM_CWD, 0, false, -EPERM, NO_FLAG },
	{ SYS_rename, FROM_CWD, 1, false, -EPERM, NO_FLAG },
	{ SYS_renameat, 0, 1, false, -EPERM, NO_FLAG },
	{ SYS_renameat, 2, 3, false, -EPERM, NO_FLAG },
	{ SYS_renameat2, 2, 3, false, -EPERM, 4, 1 /* RENAME_NOREPLACE */, -EEXIST },
	{ SYS_renameat2, 0, 1, false, -EPERM, NO_FLAG },
	{ SYS_mkdir, FROM_CWD, 0, false, -EEXIST, NO_FLAG },
	{ SYS_mkdirat, 0, 1, false, -EEXIST, NO_FLAG },
	{ SYS_mknod, FROM_CWD, 0, false, -EEXIST, NO_FLAG },
	{ SYS_mknodat, 0, 1, false, -EEXIST, NO_FLAG },
	{ SYS_symlink, FROM_CWD, 1, false, -EEXIST, NO_FLAG },
	{ SYS_symlinkat, 1, 2, false, -EEXIST, NO_FLAG },
	{ SYS_link, FROM_CWD, 1, false, -EEXIST, NO_FLAG },
	{ SYS_link, FROM_CWD, 0, false, -EXDEV, NO_FLAG },
	{ SYS_linkat, 2, 3, false, -EEXIST, NO_FLAG },
	{ SYS_linkat, 0, 1, false, -EXDEV, NO_FLAG },
	{ SYS_truncate, FROM_CWD, 0, true, -EINVAL, NO_FLAG },
	{ SYS_chmod, FROM_CWD, 0, true, -EPERM, NO_FLAG },
	{ SYS_fchmodat, 0, 1, true, -EPERM, NO_FLAG },
	{ ZP_SYS_FCHMODAT2, 0, 1, true, -EPERM, NO_FLAG },
	{ SYS_chown, FROM_CWD, 0, true, -EPERM, NO_FLAG },
	{ SYS_lchown, FROM_CWD, 0, false, -EPERM, NO_FLAG },
	{ SYS_fchownat, 0, 1, true, -EPERM, NO_FLAG },
	{ SYS_getxattr, FROM_CWD, 0, true, -ENODATA, NO_FLAG },
	{ SYS_lgetxattr, FROM_CWD, 0, false, -ENODATA, NO_FLAG },
	{ SYS_listxattr, FROM_CWD, 0, true, 0, NO_FLAG },
	{ SYS_llistxattr, FROM_CWD, 0, false, 0, NO_FLAG },
};

static bool refuse(const struct seccomp_notif *call, int64_t *result)
{
	const __u64 *a = call->data.args;
	char path[PATH_MAX];
	bool known = false;
	size_t i;

	*result = ZP_GO_ON;
	for (i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		const struct refusal *one = &refusals[i];

		if (one->nr != call->data.nr)
			continue;
		known = true;
		if (!ours(call, one->dirfd < 0 ? AT_FDCWD : (int)a[one->dirfd], a[one->path], one->follow, path) ||
		    !is_node(path, one->follow))
			continue;
		*result = one->flag && (a[one->flags] & (unsigned)one->flag) ? one->with : one->answer;
		return true;
	}
	return known;
}

bool zp_answer_path(const struct seccomp_notif *call, int64_t *result)
{
	const __u64 *a = call->data.args;

	switch (call->data.nr) {
	case SYS_open: *result = open_call(call, AT_FDCWD, a[0], (int)a[1]); return true;
	case SYS_creat: *result = open_call(call, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC); return true;
	case SYS_openat: *result = open_call(call, (int)a[0], a[1], (int)a[2]); return true;
	case SYS_stat: *result = stat_call(call, AT_FDCWD, a[0], a[1], 0); return true;
	case SYS_lstat: *result = stat_call(call, AT_FDCWD, a[0], a[1], AT_SYMLINK_NOFOLLOW); return true;
	case SYS_newfstatat: *result = stat_call(call, (int)a[0], a[1], a[2], (int)a[3]); return true;
	case SYS_statx: *result = statx_call(call); return true;
	case SYS_statfs: *result = statfs_call(call); return true;
	case SYS_access: *result = access_call(call, AT_FDCWD, a[0], (int)a[1]); return true;
	case SYS_faccessat:
	case SYS_faccessat2: *result = access_call(call, (int)a[0], a[1], (int)a[2]); return true;
	case SYS_readlink: *result = readlink_call(call, AT_FDCWD, a[0], a[1], (int)a[2]); return true;
	case SYS_readlinkat: *result = readlink_call(call, (int)a[0], a[1], a[2], (int)a[3]); return true;
	case SYS_getcwd: *result = getcwd_call(call, a[0], a[1]); return true;
	case SYS_utimensat: *result = times_call(call); return true;
	default: return refuse(call, result);
	}
}

#endif
