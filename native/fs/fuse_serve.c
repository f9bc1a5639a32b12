/* SPDX-License-Identifier: Apache-2.0 */
/* The session with the kernel, from its start to its end. Threads serve it: fuse_workers.c. */
#include "fuse_server.h"

#include <sys/eventfd.h>
#include <sys/mount.h>
#include <unistd.h>

#define WORKERS 2 /* more help with four jobs, one is best for the smallest writes: bench/fuse_ratios.py --workers N compares */
#define PATIENCE_NS 3000000000u /* the end waits so long for a command of the disk */

/* Polled by the core in what takes long, in the thread that is at it. */
static int interrupted(void *arg)
{
	const struct zd_fuse *fuse = arg;
	uint64_t give_up = atomic_load_explicit(&fuse->give_up, memory_order_relaxed);

	if (unlikely(give_up) && zd_fuse_now() >= give_up)
		return 1;
	return (fuse->interrupt && fuse->interrupt(fuse->interrupt_arg)) || zd_fuse_interrupted();
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	/* A long direct write would be cut up and arrive in any order. */
	conn->want &= ~(unsigned)FUSE_CAP_ASYNC_DIO;
	/* Requests are read into memory, by read(2). */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
	conn->want |= conn->capable & FUSE_CAP_DIRECT_IO_ALLOW_MMAP;
#endif
	conn->want |= conn->capable & FUSE_CAP_IOCTL_DIR; /* remount: fuse_state.c */
	conn->max_write = ZD_FUSE_IO;
	/* RELEASE counts as a background request and must not be held back behind others. */
	conn->max_background = 1024;
	conn->congestion_threshold = 768;
	conn->time_gran = 1;
}

/* ---------------------------------------------------------------- start and stop */

static void free_server(struct zd_fuse *fuse)
{
	/* Files whose RELEASE never came: the mount was cut off, or its end came first. */
	while (fuse->opened) {
		zd_fs_close(fuse->opened->file, NULL);
		zd_fuse_news(fuse);
		zd_fuse_late_closed(fuse, fuse->opened);
		if (zd_fuse_now() < atomic_load(&fuse->give_up)) /* not once the disk has shown that it hangs */
			atomic_store(&fuse->give_up, zd_fuse_now() + PATIENCE_NS);
	}
	zd_set_interrupt(fuse->dev, fuse->interrupt, fuse->interrupt_arg);
	if (fuse->session)
		fuse_session_destroy(fuse->session);
	if (!fuse->given)
		close(fuse->fd);
	if (fuse->event >= 0)
		close(fuse->event);
	pthread_cond_destroy(&fuse->released);
	pthread_cond_destroy(&fuse->watch);
	pthread_cond_destroy(&fuse->told);
	pthread_mutex_destroy(&fuse->open_lock);
	pthread_mutex_destroy(&fuse->error_lock);
	pthread_mutex_destroy(&fuse->lock);
	free(fuse->path);
	free(fuse);
}

static void stop_workers(struct zd_fuse *fuse)
{
	pthread_mutex_lock(&fuse->lock);
	atomic_store(&fuse->give_up, zd_fuse_now() + PATIENCE_NS);
	pthread_mutex_unlock(&fuse->lock);
	zd_fuse_await_telling(fuse); /* the kernel may have something to write before it makes a mount read-only */
	zd_fuse_stop_workers(fuse);
}

static int check(const struct zd_fuse_options *options)
{
	if ((options->flags & ~(ZD_FUSE_STRICT | ZD_FUSE_READONLY)) || options->workers > ZD_FUSE_MAX_WORKERS / 2)
		return -EINVAL;
	return 0;
}

static void init_locks(struct zd_fuse *fuse)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&fuse->lock, NULL);
	pthread_mutex_init(&fuse->open_lock, NULL);
	pthread_mutex_init(&fuse->error_lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&fuse->released, &monotonic);
	pthread_cond_init(&fuse->watch, &monotonic);
	pthread_cond_init(&fuse->told, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static int open_session(struct zd_fuse *fuse)
{
	struct fuse_lowlevel_ops ops = { .init = op_init };
	char name[] = "zonefs";
	char *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	zd_fuse_file_ops(&ops);
	zd_fuse_dir_ops(&ops);
	zd_fuse_state_ops(&ops);
	fuse->session = fuse_session_new(&args, &ops, sizeof(ops), fuse);
	fuse_opt_free_args(&args);
	if (!fuse->session)
		return -ENOMEM;
	if (zd_fuse_set_io(fuse))
		return -EINVAL;
	fuse->given = true;
	return 0;
}

uint32_t zd_fuse_build(void)
{
	return ZD_BUILD;
}

int zd_fuse_start(uintptr_t dev, uintptr_t fs, int fd, const struct zd_fuse_options *options, zd_fuse **out)
{
	struct zd_fuse *fuse;
	int r = check(options);

	*out = NULL;
	fuse = r ? NULL : calloc(1, sizeof(*fuse));
	if (!fuse)
		return r ? r : -ENOMEM;
	fuse->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fuse->fd < 0) {
		r = -errno;
		free(fuse);
		return r;
	}
	fuse->dev = (zd_dev *)dev;
	fuse->fs = (zd_fs *)fs;
	fuse->root = zd_fs_root(fuse->fs);
	fuse->interrupt = zd_get_interrupt(fuse->dev, &fuse->interrupt_arg);
	zd_set_interrupt(fuse->dev, interrupted, fuse);
	fuse->strict = (options->flags & ZD_FUSE_STRICT) != 0;
	atomic_store(&fuse->kernel_readonly, (options->flags & ZD_FUSE_READONLY) != 0);
	fuse->owner = geteuid();
	fuse->wanted = options->workers ? options->workers : WORKERS;
	init_locks(fuse);
	fuse->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fuse->event < 0)
		r = -errno;
	if (!r)
		r = open_session(fuse);
	if (!r)
		r = zd_fuse_start_workers(fuse);
	if (r) {
		if (fuse->session)
			stop_workers(fuse);
		free_server(fuse);
		return r;
	}
	*out = fuse;
	return 0;
}

int zd_fuse_event(const zd_fuse *fuse)
{
	return fuse->event;
}

int zd_fuse_ended(zd_fuse *fuse)
{
	return atomic_load(&fuse->ended);
}

void zd_fuse_last_error(zd_fuse *fuse, char text[ZD_FUSE_TEXT])
{
	pthread_mutex_lock(&fuse->error_lock);
	memcpy(text, fuse->last_error, ZD_FUSE_TEXT);
	pthread_mutex_unlock(&fuse->error_lock);
}

void zd_fuse_stop(zd_fuse *fuse)
{
	stop_workers(fuse);
	free_server(fuse);
}

void zd_fuse_forget(zd_fuse *fuse)
{
	for (int i = 0; i < ZD_FUSE_MAX_WORKERS; i++) {
		if (fuse->workers[i].used && !fuse->workers[i].finished && fuse->workers[i].clone >= 0)
			close(fuse->workers[i].clone);
	}
	close(fuse->fd);
	close(fuse->event);
}

/* ---------------------------------------------------------------- system calls */

int zd_fuse_sys_mount(const char *source, const char *dir, const char *type, int readonly, const char *options)
{
	unsigned long flags = MS_NOSUID | MS_NODEV | (readonly ? MS_RDONLY : 0);

	return mount(source, dir, type, flags, options) ? -errno : 0;
}

int zd_fuse_sys_umount(const char *dir, int lazy)
{
	return umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) ? -errno : 0;
}

const char *zd_fuse_library(void)
{
	return fuse_pkgversion();
}
