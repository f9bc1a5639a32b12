/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has a file of the mount open.
 *
 * FLUSH comes with each close(2) and each end of a process that has a descriptor, and does not say whether others are
 * left: duplicates, or those that children inherited. /proc knows. Nothing here makes the kernel ask this server
 * anything: links are read, and attributes that the kernel has.
 */
#include "fuse_server.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MOST_SEEN 64
#define SAME_FILE 0 /* KCMP_FILE of linux/kcmp.h */

struct seen {
	int pid, fd;
};

struct search {
	struct zd_fuse *fuse;
	uint64_t ino;
	uint32_t others; /* descriptions of the file but the one that is asked about */
	uint32_t found;  /* different ones that have descriptors */
	struct seen seen[MOST_SEEN];
};

bool zd_fuse_proc(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, room - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return true;
}

/* Whether descriptor `name` in the opened folder /proc/PID/fd may write this file. */
static bool matches(const struct search *s, int pid, int dir, const char *name)
{
	char text[256], path[64], *at;
	struct statx st;
	ssize_t n;

	n = readlinkat(dir, name, text, sizeof(text));
	/* A path that ends in a digit; one that does not fit may be ours. */
	if (n <= 0 || (n < (ssize_t)sizeof(text) && (text[0] != '/' || text[n - 1] < '0' || text[n - 1] > '9')))
		return false;
	if (statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &st) ||
	    makedev(st.stx_dev_major, st.stx_dev_minor) != s->fuse->number || st.stx_ino != s->ino)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", pid, name);
	if (!zd_fuse_proc(path, text, sizeof(text)))
		return false;
	at = strstr(text, "flags:");
	return at && (strtoul(at + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

static bool known(const struct search *s, int pid, int fd)
{
	uint32_t i;

	for (i = 0; i < s->found; i++) {
		if (syscall(SYS_kcmp, s->seen[i].pid, pid, SAME_FILE, s->seen[i].fd, fd) == 0)
			return true;
	}
	return false;
}

/* True when enough was seen: one description more than there are others. */
static bool look_at(struct search *s, int pid)
{
	struct dirent *entry;
	bool enough = false;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path); /* another user's process, or one that is gone: nothing can be seen */
	if (!dir)
		return false;
	while (!enough && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || !matches(s, pid, dirfd(dir), entry->d_name) || known(s, pid, fd))
			continue;
		if (s->found < MOST_SEEN)
			s->seen[s->found++] = (struct seen){ pid, fd };
		enough = s->found > s->others;
	}
	closedir(dir);
	return enough;
}

bool zd_fuse_has_users(struct zd_fuse *fuse, struct open_file *open)
{
	struct search s = { .fuse = fuse, .ino = open->ino };
	struct dirent *entry;
	bool enough = false;
	DIR *dir;

	pthread_mutex_lock(&fuse->open_lock);
	for (struct open_file *other = fuse->opened; other; other = other->next)
		s.others += other != open && other->ino == open->ino && other->writes;
	pthread_mutex_unlock(&fuse->open_lock);
	if (s.others >= MOST_SEEN || !(dir = opendir("/proc")))
		return false;
	while (!enough && (entry = readdir(dir))) {
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			enough = look_at(&s, atoi(entry->d_name));
	}
	closedir(dir);
	return enough;
}
