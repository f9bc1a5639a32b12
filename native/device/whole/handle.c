/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a handle: open, attach to the shared state, follow a fork, close.
 *
 * Openers take turns at the door (door.c). Whoever finds no other writer there is the first and brings the runtime
 * area to life; whoever leaves no other behind is the last, and writes everything down.
 */
#include "device/whole/whole.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COOKIE_BUSY 1u

static int reattach(zd_dev *dev, struct zd_error *err);
static const struct zd_upward upward = { reattach, zd_power_cut_by, zd_back_mend, zd_back_wait };

/* ---------------------------------------------------------------- handles */

zd_dev *zd_handle_new(const char *path)
{
	zd_dev *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
	dev->up = &upward;
	dev->fd = -1;
	dev->pid = (uint32_t)getpid();
	if (path)
		snprintf(dev->path, sizeof(dev->path), "%s", path);
	pthread_mutex_init(&dev->seg_lock, NULL);
	pthread_mutex_init(&dev->trace_lock, NULL);
	dev->cookie = mmap(NULL, ZD_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (dev->cookie == MAP_FAILED) {
		free(dev);
		return NULL;
	}
	/* A forked child finds zero here: one load instead of a getpid() per call. */
	if (madvise((void *)dev->cookie, ZD_PAGE, MADV_WIPEONFORK)) {
		munmap((void *)dev->cookie, ZD_PAGE);
		free(dev);
		return NULL;
	}
	atomic_store(dev->cookie, ZD_COOKIE);
	return dev;
}

void zd_handle_free(zd_dev *dev)
{
	uint64_t seg_bytes = dev->g.slots_per_seg * dev->g.h.slot_size;
	uint32_t i;

	zd_pace_end(dev);
	for (i = 0; dev->segs && i < dev->g.nr_segs; i++) {
		if (dev->segs[i])
			munmap(dev->segs[i], seg_bytes);
	}
	free((void *)dev->segs);
	if (dev->rt)
		munmap(dev->rt, dev->g.rt_size);
	if (dev->shared_rt)
		munmap(dev->shared_rt, dev->g.rt_size);
	zd_door_unmap(dev);
	if (dev->fd >= 0)
		close(dev->fd);
	zd_geometry_free(&dev->g);
	munmap((void *)dev->cookie, ZD_PAGE);
	pthread_mutex_destroy(&dev->seg_lock);
	pthread_mutex_destroy(&dev->trace_lock);
	free(dev);
}

void zd_set_interrupt(zd_dev *dev, int (*fn)(void *), void *arg)
{
	dev->interrupt_arg = arg;
	dev->interrupt = fn;
}

int (*zd_get_interrupt(zd_dev *dev, void **arg))(void *)
{
	*arg = dev->interrupt_arg;
	return dev->interrupt;
}

/* ---------------------------------------------------------------- attaching */

static int map_runtime(zd_dev *dev, uint8_t **at, struct zd_error *err)
{
	void *rt = mmap(NULL, dev->g.rt_size, dev->readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			dev->fd, (off_t)dev->g.h.runtime_offset);

	if (rt == MAP_FAILED)
		return zd_fail_host(err, errno, "cannot map the image's shared state");
	*at = rt;
	return 0;
}

static bool living_area(const zd_dev *dev, const uint8_t *rt)
{
	return zd_runtime_same(dev, rt) && ((const struct zd_rt_head *)rt)->state == ZD_RT_OPEN;
}

/* Its users were killed while they went back to a snapshot, and no writer has come who would finish it. */
static bool half_way_back(zd_dev *dev, const uint8_t *rt)
{
	return (atomic_load(&((struct zd_rt_head *)(uintptr_t)rt)->gate) & ZD_GATE_BACK) && !zd_door_others(dev, false);
}

/* Inside the door. */
static int attach_writer(zd_dev *dev, struct zd_error *err)
{
	bool others = zd_door_others(dev, false);
	struct zd_rt_tag tag;
	int r;

	if (!others) {
		zd_door_first(dev); /* a death half-way leaves nobody counted: then the next one is the first again */
		r = zd_runtime_start(dev, err);
		if (r)
			return r;
	} else {
		/* Others are at work: the area must be one that this build can share. */
		r = zd_runtime_tag(dev, dev->fd, &tag);
		if (r < 0)
			return zd_fail_host(err, -r, "cannot tell the image's identity");
		if (r == 0 && (memcmp(&tag, &dev->head->tag, sizeof(tag)) || dev->head->state != ZD_RT_OPEN))
			return zd_fail(err, ZD_E_BUSY,
				       "the image is open by a build of this library that shares its state in another way");
	}
	r = zd_door_join(dev);
	return r ? zd_fail_host(err, -r, "cannot lock the image") : 0;
}

static int attach_reader(zd_dev *dev, struct zd_error *err)
{
	bool living, half_way;
	void *own;
	int r;

	if (dev->own_rt) { /* an earlier private copy: a forked child's, or one that a writer came across */
		munmap(dev->rt, dev->g.rt_size);
		zd_runtime_bind(dev, dev->shared_rt);
		dev->shared_rt = NULL;
		dev->own_rt = false;
		zd_set_aside(dev);
	}
	living = living_area(dev, dev->rt);
	half_way = living && half_way_back(dev, dev->rt);
	if (living && !half_way)
		return 0;
	/* What lies half-way is brought to its end in a copy of it; else all is derived from the entries. */
	own = mmap(NULL, dev->g.rt_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | (half_way ? 0 : MAP_ANONYMOUS),
		   half_way ? dev->fd : -1, half_way ? (off_t)dev->g.h.runtime_offset : 0);
	if (own == MAP_FAILED)
		return zd_fail_host(err, errno, "no memory for a private copy of the zones' state");
	if (dev->shared_rt)
		munmap(dev->shared_rt, dev->g.rt_size); /* a copy that was left when a writer came */
	dev->shared_rt = dev->rt;
	zd_runtime_bind(dev, own);
	dev->own_rt = true;
	zd_set_aside(dev);
	if (!half_way)
		return zd_runtime_recover(dev, dev->shared_rt, err);
	r = zd_back_left(dev);
	if (r)
		return zd_fail_host(err, -r, "cannot read what the disk goes back to");
	zd_runtime_rebuild(dev, true);
	return 0;
}

static int attach(zd_dev *dev, struct zd_error *err)
{
	struct zd_door_seen seen;
	struct zd_wait wait;
	int r, late;

	if (!dev->readonly) {
		r = zd_door_enter(dev, err);
		if (r)
			return r;
		r = attach_writer(dev, err);
		zd_door_leave(dev);
		return r;
	}
	/* A reader holds nobody up: if somebody came in or went out while it looked, it looks again. */
	zd_wait_begin(&wait, NULL);
	for (;;) {
		r = zd_door_look(dev, &seen, err);
		if (r)
			return r;
		r = attach_reader(dev, err);
		if (!zd_door_moved(dev, &seen))
			return r;
		late = zd_wait_on(dev, &wait, 0);
		if (late)
			return zd_fail_host(err, -late, "cannot look at the image: it is opened and closed all the time");
	}
}

/* dev->fd and dev->g are set. */
int zd_handle_start(zd_dev *dev, struct zd_error *err)
{
	uint8_t *rt = NULL;
	uint64_t file_size;
	int r = zd_runtime_file_length(dev, &file_size, err);

	if (!r)
		r = map_runtime(dev, &rt, err);
	if (r)
		return r;
	zd_runtime_bind(dev, rt);
	dev->segs = calloc(dev->g.nr_segs, sizeof(*dev->segs));
	if (!dev->segs)
		return zd_fail_host(err, ENOMEM, "no memory for a handle");
	dev->cow = zd_host_is_cow(dev->fd);
	return attach(dev, err);
}

/* In a forked child: an open file description, and so locks, of our own, under the same mappings' addresses. */
static int follow_fork(zd_dev *dev, struct zd_error *err)
{
	uint64_t seg_bytes = dev->g.slots_per_seg * dev->g.h.slot_size;
	int prot = dev->readonly ? PROT_READ : PROT_READ | PROT_WRITE, old = dev->fd;
	char link[64];
	uint32_t i;
	int fd;

	pthread_mutex_init(&dev->seg_lock, NULL);
	pthread_mutex_init(&dev->trace_lock, NULL);
	zd_trace_forked(dev);
	zd_defer_forked(dev);
	dev->pid = (uint32_t)getpid();
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dev->fd);
	fd = open(link, (dev->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0)
		return zd_fail_host(err, errno, "a forked child cannot open the image anew (through /proc/self/fd)");
	if (!dev->own_rt && mmap(dev->rt, dev->g.rt_size, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
				 (off_t)dev->g.h.runtime_offset) == MAP_FAILED)
		goto failed;
	for (i = 0; i < dev->g.nr_segs; i++) {
		if (dev->segs[i] && mmap(dev->segs[i], seg_bytes, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
					 (off_t)(dev->g.h.data_offset + i * seg_bytes)) == MAP_FAILED)
			goto failed;
	}
	dev->fd = fd;
	close(old);
	return attach(dev, err);
failed:
	i = (uint32_t)errno;
	close(fd);
	return zd_fail_host(err, (int)i, "a forked child cannot map the image anew");
}

static int reattach(zd_dev *dev, struct zd_error *err)
{
	uint32_t seen = 0;
	int r = 0;

	if (atomic_compare_exchange_strong(dev->cookie, &seen, COOKIE_BUSY)) {
		r = follow_fork(dev, err);
		atomic_store(dev->cookie, r ? 0 : ZD_COOKIE);
		if (r)
			return r;
	}
	while (atomic_load(dev->cookie) == COOKIE_BUSY)
		sched_yield();
	if (atomic_load(dev->cookie) != ZD_COOKIE)
		return zd_fail_host(err, EIO, "another thread of this forked child could not attach to the image");
	/* A read-only handle with a private copy: see whether a writer has come meanwhile. */
	if (dev->own_rt) {
		pthread_mutex_lock(&dev->seg_lock);
		if (dev->own_rt && living_area(dev, dev->shared_rt) && !half_way_back(dev, dev->shared_rt)) {
			/* The private copy stays mapped till close: other threads may still look at it. */
			uint8_t *own = dev->rt;

			zd_runtime_bind(dev, dev->shared_rt);
			dev->shared_rt = own;
			dev->own_rt = false;
			zd_set_aside(dev);
		}
		pthread_mutex_unlock(&dev->seg_lock);
	}
	return 0;
}

/* ---------------------------------------------------------------- opening */

/* Whether the path names another file than the one that was opened by it. */
static bool moved_away(const char *path, const struct stat *opened)
{
	struct stat now;

	return stat(path, &now) == 0 && (now.st_dev != opened->st_dev || now.st_ino != opened->st_ino);
}

static int open_once(const char *path, unsigned flags, int tries, zd_dev **out, struct zd_error *err)
{
	zd_dev *dev = zd_handle_new(path);
	struct zd_header header;
	struct stat st;
	int r, bad;

	*out = NULL;
	zd_forget_waited();
	if (!dev)
		return zd_fail_host(err, ENOMEM, "no memory for a handle");
	dev->readonly = flags & ZD_OPEN_READONLY;
	dev->brief = flags & ZD_OPEN_BRIEFLY;
	/* O_NONBLOCK: a FIFO must not make us wait; it means nothing for a file. */
	dev->fd = open(path, (dev->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (dev->fd < 0) {
		r = zd_fail_host(err, errno, "cannot open the image");
		goto failed;
	}
	if (fstat(dev->fd, &st)) {
		r = zd_fail_host(err, errno, "cannot stat the image");
		goto failed;
	}
	if (!S_ISREG(st.st_mode)) {
		r = S_ISDIR(st.st_mode) ? zd_fail_host(err, EISDIR, "cannot open the image") :
					  zd_fail(err, ZD_E_NOT_IMAGE, "the path is no regular file, and images are");
		goto failed;
	}
	/* A memfd, reached through /proc/PID/fd: a disk in RAM, of which nothing is ever synced. */
	dev->in_ram = st.st_nlink == 0;
	r = zd_header_read(dev->fd, &header, &bad, err);
	if (!r)
		r = zd_geometry_from_header(&header, &dev->g, err);
	if (!r)
		r = zd_handle_start(dev, err);
	if (r)
		goto failed;
	/* While this waited for its turn another image may have taken the name: that one is meant. */
	if (!dev->in_ram && moved_away(path, &st) && tries < 10) {
		if (!dev->readonly)
			zd_door_part(dev);
		zd_handle_free(dev);
		return open_once(path, flags, tries + 1, out, err);
	}
	dev->brief = false;
	*out = dev;
	return 0;
failed:
	zd_handle_free(dev);
	return r;
}

int zd_open(const char *path, unsigned flags, zd_dev **out, struct zd_error *err)
{
	return open_once(path, flags, 0, out, err);
}

/* ---------------------------------------------------------------- closing */

/* Alone with the image: everything to the host's disk, so that the file says all by itself. */
static int settle(zd_dev *dev, struct zd_error *err)
{
	struct zd_status status = { .clean = 1 };
	bool sync = dev->g.h.host_sync != ZD_SYNC_NEVER;
	uint32_t gate = atomic_load(&dev->head->gate);
	int r;

	if (gate & ZD_GATE_FAILED)
		return 0; /* its users were told; the image says so itself */
	if (gate & ZD_GATE_MARK) {
		dev->head->state = ZD_RT_CLOSED; /* nothing was changed */
		return 0;
	}
	r = zd_commit(dev, ZD_COMMIT_HOST, NULL, NULL, err);
	if (r)
		return r;
	/* Also the second copies: from "clean" on either copy must do. */
	r = sync ? zd_host_sync(dev->fd) : 0;
	status.seq = dev->head->status_seq;
	if (!r)
		r = zd_status_write(dev->fd, &status, sync);
	if (r)
		return zd_fail_host(err, -r, "syncing the image to the host's disk failed");
	dev->head->status_seq = status.seq;
	dev->head->state = ZD_RT_CLOSED;
	return 0;
}

void zd_end_hangs(zd_dev *dev)
{
	atomic_store(&dev->closing, true);
	zd_defer_wake(dev);
}

int zd_close(zd_dev *dev, struct zd_error *err)
{
	int r = 0;

	zd_end_hangs(dev);
	if (atomic_load(dev->cookie) == ZD_COOKIE)
		zd_defer_close(dev);
	zd_trace_close(dev);
	zd_pace_end(dev);
	if (dev->leave && dev->leave(dev))
		return 0;
	/* A forked child that never used its inherited handle has nothing to settle, and no lock to give up. */
	if (atomic_load(dev->cookie) == ZD_COOKIE && !dev->readonly) {
		if (dev->in_ram) {
			zd_door_part(dev);
		} else {
			/* What stops the wait here leaves the disk as a death of this process would: nothing is lost. */
			r = zd_door_enter(dev, err);
			dev->interrupt = NULL; /* writing all down is not given up half-way */
			if (!r && !zd_door_others(dev, true))
				r = settle(dev, err);
			zd_door_part(dev);
			if (dev->gate)
				zd_door_leave(dev);
		}
	}
	zd_handle_free(dev);
	return r;
}
