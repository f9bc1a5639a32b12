/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the mount can be written: changed by an error or by a remount, told to the kernel, so that /proc/mounts and
 * all that reads it knows, and said to whoever runs the mount.
 */
#include "fuse_server.h"

#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

/* ---------------------------------------------------------------- what is said */

/* One line; whoever does not read what stands there already misses it. */
static void say(struct zd_fuse *fuse, const char *text)
{
	struct pollfd out = { 2, POLLOUT, 0 };
	const char *path = fuse->path ? fuse->path : "";
	char line[1024];

	snprintf(line, sizeof(line), "%.700s: %.300s", path, text);
	for (char *c = line; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	}
	if (fuse->syslog)
		syslog(LOG_DAEMON | LOG_ERR, "%s", line);
	else if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT))
		dprintf(2, "zonefs: %s\n", line);
}

void zd_fuse_news(struct zd_fuse *fuse)
{
	char text[ZD_FS_TEXT];

	while (unlikely(zd_fs_news(fuse->fs, text) >= 0)) {
		zd_fuse_keep_error(fuse, text);
		say(fuse, text);
	}
}

void zd_fuse_use_syslog(zd_fuse *fuse)
{
	openlog("zonedctl", LOG_PID, LOG_DAEMON);
	atomic_store(&fuse->syslog, true);
}

int zd_fuse_mounted(zd_fuse *fuse, const char *path, uint64_t dev)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	atomic_store(&fuse->number, dev);
	atomic_store(&fuse->path, copy);
	return 0;
}

/* ---------------------------------------------------------------- what the kernel knows */

void zd_fuse_await_telling(struct zd_fuse *fuse)
{
	pthread_mutex_lock(&fuse->lock);
	while (fuse->telling)
		pthread_cond_wait(&fuse->told, &fuse->lock);
	pthread_mutex_unlock(&fuse->lock);
}

/* Of the mount, whatever else may be mounted at its place by now. */
static int remount(const struct zd_fuse *fuse, bool readonly)
{
	static const struct {
		unsigned long st, ms;
	} kept[] = { { ST_NOEXEC, MS_NOEXEC }, { ST_NOATIME, MS_NOATIME }, { ST_NODIRATIME, MS_NODIRATIME },
		     { ST_RELATIME, MS_RELATIME } };
	unsigned long flags = MS_REMOUNT | MS_NOSUID | MS_NODEV | (readonly ? MS_RDONLY : 0);
	struct statvfs now;
	struct statx st;
	char place[32];
	int fd, r = 0;

	if (!fuse->path)
		return -EINVAL;
	fd = open(fuse->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) ||
	    makedev(st.stx_dev_major, st.stx_dev_minor) != fuse->number) {
		close(fd);
		return -EINVAL;
	}
	if (fstatvfs(fd, &now) == 0) {
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			flags |= now.f_flag & kept[i].st ? kept[i].ms : 0;
	}
	snprintf(place, sizeof(place), "/proc/self/fd/%d", fd);
	if (mount(NULL, place, NULL, flags, NULL))
		r = -errno;
	close(fd);
	return r;
}

/* The kernel may ask for something before it answers, so the server goes on meanwhile. */
static int tell_kernel(struct zd_fuse *fuse, bool readonly)
{
	int r;

	pthread_mutex_lock(&fuse->lock);
	if (atomic_load(&fuse->stopping) || atomic_load(&fuse->give_up)) {
		pthread_mutex_unlock(&fuse->lock);
		return -ESHUTDOWN;
	}
	fuse->telling++;
	pthread_mutex_unlock(&fuse->lock);
	r = remount(fuse, readonly);
	if (!r)
		atomic_store(&fuse->kernel_readonly, readonly);
	pthread_mutex_lock(&fuse->lock);
	fuse->telling--;
	pthread_cond_broadcast(&fuse->told);
	pthread_mutex_unlock(&fuse->lock);
	return r;
}

void zd_fuse_settle_readonly(struct zd_fuse *fuse)
{
	struct zd_fs_options now;
	int r;

	if (likely(zd_fs_nr_writers(fuse->fs)) || fuse->kernel_readonly || fuse->kernel_refuses)
		return;
	zd_fs_get_options(fuse->fs, &now);
	if (!(now.flags & ZD_FS_READONLY))
		return;
	zd_fuse_slow_begin(fuse);
	r = tell_kernel(fuse, true);
	zd_fuse_slow_end(fuse);
	/* EBUSY: somebody has just opened a file for writing; the next close finds that again. */
	if (r == -EPERM || r == -EACCES)
		atomic_store(&fuse->kernel_refuses, true);
}

/* ---------------------------------------------------------------- remount */

static int refuse(struct zd_fuse_remount *how, int code, const char *why)
{
	snprintf(how->text, sizeof(how->text), "%s", why);
	return code;
}

static int change(struct zd_fuse *fuse, struct zd_fuse_remount *how)
{
	struct zd_fs_options before, to;
	bool readonly;
	int r;

	zd_fs_get_options(fuse->fs, &before);
	to = before;
	if (how->set & ZD_FUSE_SET_ERRORS)
		to.errors = how->errors;
	if (how->set & ZD_FUSE_SET_EXPLICIT_OPEN)
		to.flags = (to.flags & ~ZD_FS_EXPLICIT_OPEN) |
			   (how->flags & ZD_FUSE_SET_EXPLICIT_OPEN ? ZD_FS_EXPLICIT_OPEN : 0);
	if (how->set & ZD_FUSE_SET_READONLY)
		to.flags = (to.flags & ~ZD_FS_READONLY) | (how->flags & ZD_FUSE_SET_READONLY ? ZD_FS_READONLY : 0);
	readonly = to.flags & ZD_FS_READONLY;
	r = zd_fs_remount(fuse->fs, &to);
	if (r == -EBUSY)
		return refuse(how, r, "files are open for writing");
	if (r == -EACCES)
		return refuse(how, r, "its disk is open read-only: unmount it and mount it anew");
	if (r)
		return refuse(how, r, strerror(-r));
	if (!(how->set & ZD_FUSE_SET_READONLY))
		return 0;
	r = tell_kernel(fuse, readonly);
	/* Who is not root may not tell the kernel; that matters where it would refuse what we allow. */
	if (!r || readonly || !fuse->kernel_readonly)
		return 0;
	zd_fs_remount(fuse->fs, &before);
	snprintf(how->text, sizeof(how->text), "it was mounted read-only, and the kernel does not make it writable: %.100s",
		 strerror(-r));
	return r;
}

int zd_fuse_remount(zd_fuse *fuse, struct zd_fuse_remount *how)
{
	how->text[0] = 0;
	how->code = change(fuse, how);
	return how->code;
}

#define REMOUNT _IOWR('Z', 0xd0, struct zd_fuse_remount)

unsigned long zd_fuse_remount_ioctl(void)
{
	return REMOUNT;
}

static void op_ioctl(fuse_req_t req, fuse_ino_t node, unsigned int cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
		     const void *in, size_t in_size, size_t out_size)
{
	struct zd_fuse *fuse = fuse_of(req);
	uid_t user = fuse_req_ctx(req)->uid;
	struct zd_fuse_remount how;

	(void)arg;
	(void)fi;
	if (node != FUSE_ROOT_ID || cmd != (unsigned int)REMOUNT || (flags & FUSE_IOCTL_COMPAT) || in_size < sizeof(how) ||
	    out_size < sizeof(how)) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	if (user != 0 && user != fuse->owner) {
		fuse_reply_err(req, EPERM);
		return;
	}
	memcpy(&how, in, sizeof(how));
	zd_fuse_await_close(fuse, ZD_FUSE_ANY);
	zd_fuse_slow_begin(fuse);
	zd_fuse_remount(fuse, &how);
	zd_fuse_slow_end(fuse);
	fuse_reply_ioctl(req, 0, &how, sizeof(how));
}

void zd_fuse_state_ops(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = op_ioctl;
}
