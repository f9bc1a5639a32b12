/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a handle: create, open, attach to the shared state, follow a fork, close.
 *
 * Openers take turns at the door (door.c). Whoever finds no other writer there is the first and brings the runtime
 * area to life; whoever leaves no other behind is the last, and writes everything down.
 */
#include "internal.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COOKIE_BUSY 1u

/* ---------------------------------------------------------------- handles */

static zd_dev *new_handle(const char *path)
{
	zd_dev *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
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

static void free_handle(zd_dev *dev)
{
	uint64_t seg_bytes = dev->g.slots_per_seg * dev->g.h.slot_size;
	uint32_t i;

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

void zd_watch(zd_dev *dev, zd_watch_fn *fn, void *arg)
{
	dev->watch_arg = arg;
	dev->watch = fn;
}

int64_t zd_watched(zd_dev *dev, int cmd, uint64_t place, uint64_t length, int64_t result)
{
	if (unlikely(dev->watch))
		dev->watch(dev->watch_arg, cmd, place, length, result);
	return result;
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

static bool same_area(const zd_dev *dev, const uint8_t *rt)
{
	struct zd_rt_tag tag;

	return zd_runtime_tag(dev, dev->fd, &tag) == 0 && memcmp(&tag, &((const struct zd_rt_head *)rt)->tag, sizeof(tag)) == 0;
}

bool zd_runtime_same(const zd_dev *dev)
{
	return same_area(dev, dev->shared_rt);
}

static bool living_area(const zd_dev *dev, const uint8_t *rt)
{
	return same_area(dev, rt) && ((const struct zd_rt_head *)rt)->state == ZD_RT_OPEN;
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
	bool half_way;
	void *own;
	int r;

	if (dev->own_rt) { /* an earlier private copy: a forked child's, or one that a writer came across */
		munmap(dev->rt, dev->g.rt_size);
		zd_runtime_bind(dev, dev->shared_rt);
		dev->shared_rt = NULL;
		dev->own_rt = false;
	}
	half_way = living_area(dev, dev->rt) && half_way_back(dev, dev->rt);
	if (!half_way && living_area(dev, dev->rt))
		return 0;
	own = half_way ? mmap(NULL, dev->g.rt_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, dev->fd,
			      (off_t)dev->g.h.runtime_offset) :
			 mmap(NULL, dev->g.rt_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (own == MAP_FAILED)
		return zd_fail_host(err, errno, "no memory for a private copy of the zones' state");
	if (dev->shared_rt)
		munmap(dev->shared_rt, dev->g.rt_size); /* a copy that was left when a writer came */
	dev->shared_rt = dev->rt;
	zd_runtime_bind(dev, own);
	dev->own_rt = true;
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
static int start_handle(zd_dev *dev, struct zd_error *err)
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

int zd_reattach(zd_dev *dev, struct zd_error *err)
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
		}
		pthread_mutex_unlock(&dev->seg_lock);
	}
	return 0;
}

int zd_stopped(zd_dev *dev, struct zd_error *err)
{
	if (atomic_load(&dev->head->gate) & ZD_GATE_POWER)
		return zd_gate_rest(dev, false, err);
	return zd_fail(err, ZD_E_BUSY, "the disk is going back to a snapshot; who did it was killed, and who finishes it is held up");
}

int zd_gate_rest(zd_dev *dev, bool changes, struct zd_error *err)
{
	uint32_t gate = atomic_load_explicit(&dev->head->gate, memory_order_acquire);
	int r = unlikely(gate & ZD_GATE_BACK) && !(gate & ZD_GATE_POWER) ? zd_back_wait(dev, err) : 0;

	if (r)
		return r;
	gate = atomic_load_explicit(&dev->head->gate, memory_order_acquire);
	if (gate & ZD_GATE_POWER) {
		zd_refuse(dev, err, ZD_E_POWER_LOSS, -1, ZD_NO_ZONE, ZD_NONE, 0, 0);
		zd_fault_mark_power(dev, err);
		return ZD_E_POWER_LOSS;
	}
	if (changes && (gate & ZD_GATE_FAILED))
		return zd_fail(err, ZD_E_FAILED,
			       "an earlier sync of this image to the host's disk failed; close it and run `zonedctl check --repair`");
	return changes && (gate & ZD_GATE_MARK) ? zd_mark_dirty(dev, err) : 0;
}

int zd_gate(zd_dev *dev, bool changes, struct zd_error *err)
{
	uint32_t gate = atomic_load_explicit(&dev->head->gate, memory_order_acquire);
	int r;

	if (gate & ZD_GATE_TRACE)
		return ZD_SLOW; /* refusals are recorded too */
	r = zd_gate_rest(dev, changes, err);
	return r || !(gate & ZD_GATE_FAULTS) ? r : ZD_SLOW;
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
	zd_dev *dev = new_handle(path);
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
		r = start_handle(dev, err);
	if (r)
		goto failed;
	/* While this waited for its turn another image may have taken the name: that one is meant. */
	if (!dev->in_ram && moved_away(path, &st) && tries < 10) {
		if (!dev->readonly)
			zd_door_part(dev);
		free_handle(dev);
		return open_once(path, flags, tries + 1, out, err);
	}
	dev->brief = false;
	*out = dev;
	return 0;
failed:
	free_handle(dev);
	return r;
}

int zd_open(const char *path, unsigned flags, zd_dev **out, struct zd_error *err)
{
	return open_once(path, flags, 0, out, err);
}

/* ---------------------------------------------------------------- creating */

static int make_uuid(struct zd_header *h, bool reproducible)
{
	uint32_t i, words[4];

	if (reproducible) {
		/* The same seed and geometry name the same disk, so that runs can be compared byte by byte. */
		for (i = 0; i < 4; i++) {
			words[i] = zd_crc32c(i * 0x9E3779B9u + 1, &h->size, 48);
			words[i] = zd_crc32c(words[i], &h->seed, sizeof(h->seed));
		}
		memcpy(h->uuid, words, sizeof(h->uuid));
	} else if (getrandom(h->uuid, sizeof(h->uuid), 0) != (ssize_t)sizeof(h->uuid)) {
		return -errno;
	}
	h->uuid[6] = (uint8_t)((h->uuid[6] & 0x0F) | 0x40); /* RFC 9562 version 4 */
	h->uuid[8] = (uint8_t)((h->uuid[8] & 0x3F) | 0x80);
	return 0;
}

static int write_new(int fd, const struct zd_header *h, bool sync)
{
	struct zd_status status = { .clean = 1 };
	int r = ftruncate(fd, (off_t)h->data_offset) ? -errno : 0;

	if (!r)
		r = zd_host_pwrite(fd, h, sizeof(*h), ZD_HEADER_A);
	if (!r)
		r = zd_host_pwrite(fd, h, sizeof(*h), ZD_HEADER_B);
	if (!r)
		r = zd_status_write(fd, &status, false);
	if (!r && sync)
		r = fsync(fd) ? -errno : 0;
	return r;
}

static void sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
}

/*
 * A file without a name in the folder, or, where the file system has none of those, with a temporary one that nobody
 * else may open: what is made may be to replace a private image.
 */
static int open_temporary(const char *folder, char *name, size_t room)
{
	uint32_t random;
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666), tries;

	name[0] = 0;
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd >= 0 ? fd : -errno;
	for (tries = 0; tries < 100; tries++) {
		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return -errno;
		snprintf(name, room, "%s/.zoned-%08x.tmp", folder, random);
		fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			break;
	}
	name[0] = 0;
	return -errno;
}

/* Give the finished file its name: the moment from which it exists. */
static int put_in_place(int fd, char *temporary, const char *folder, const char *path, bool replace)
{
	char link_from[64], name[PATH_MAX + 32];
	uint32_t random;

	if (!temporary[0]) {
		snprintf(link_from, sizeof(link_from), "/proc/self/fd/%d", fd);
		if (!replace)
			return linkat(AT_FDCWD, link_from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? -errno : 0;
		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return -errno;
		snprintf(name, sizeof(name), "%s/.zoned-%08x.tmp", folder, random);
		if (linkat(AT_FDCWD, link_from, AT_FDCWD, name, AT_SYMLINK_FOLLOW))
			return -errno;
		temporary = name;
	}
	if (replace ? rename(temporary, path) : link(temporary, path)) {
		int e = errno;

		unlink(temporary);
		return -e;
	}
	if (!replace)
		unlink(temporary);
	temporary[0] = 0;
	return 0;
}

/* What the umask leaves to a new file. Asking umask(2) would change it for a moment, for all threads. */
static mode_t new_mode(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	unsigned mask = 077;
	char line[128];

	while (status && fgets(line, sizeof(line), status) && sscanf(line, "Umask: %o", &mask) != 1)
		;
	if (status)
		fclose(status);
	return 0666 & ~mask;
}

/* Who may open the new file: who might open the old one (st_mode 0: there is none), and nobody else. */
static int take_mode(int fd, const struct stat *old)
{
	mode_t mode = old->st_mode & 0777;
	struct stat now;
	int r = 0;

	if (!old->st_mode)
		return fchmod(fd, new_mode()) ? -errno : 0;
	if (fstat(fd, &now))
		return -errno;
	/* Another group must not get what the old one might do: at most what everybody might. */
	if (now.st_gid != old->st_gid && fchown(fd, (uid_t)-1, old->st_gid))
		mode &= ~(mode_t)070 | ((mode & 07) << 3);
	/* Only root may give a file away; else it is its maker's. */
	if (now.st_uid != old->st_uid)
		r = fchown(fd, old->st_uid, (gid_t)-1);
	(void)r;
	return fchmod(fd, mode) ? -errno : 0;
}

/* What is to be replaced. */
struct old {
	zd_dev dev;      /* fd -1: there is nothing. Inside its door, if it is an image that may be written */
	struct stat st;  /* st_mode 0: there is nothing */
};

static void let_old_go(struct old *old)
{
	if (old->dev.gate)
		zd_door_leave(&old->dev);
	zd_door_unmap(&old->dev);
	if (old->dev.fd >= 0)
		close(old->dev.fd);
	zd_geometry_free(&old->dev.g);
	old->dev.fd = -1;
}

/* Whether the file has all that an image at rest has; what is none, or damaged, nobody has open. */
static bool is_image(struct old *old)
{
	struct zd_header header;
	int bad;

	return zd_header_read(old->dev.fd, &header, &bad, NULL) == 0 && zd_geometry_from_header(&header, &old->dev.g, NULL) == 0 &&
	       (uint64_t)old->st.st_size >= old->dev.g.h.data_offset;
}

/* Nobody can open an image, till it is let go, before the new one has its name. */
static int hold_old(const char *path, struct old *old, struct zd_error *err)
{
	int r = 0;

	memset(old, 0, sizeof(*old));
	old->dev.fd = -1;
	if (stat(path, &old->st)) {
		old->st.st_mode = 0;
		return errno == ENOENT ? 0 : zd_fail_host(err, errno, "cannot look at the file that is to be replaced");
	}
	if (!S_ISREG(old->st.st_mode))
		return zd_fail_host(err, S_ISDIR(old->st.st_mode) ? EISDIR : EEXIST, "cannot replace what is no regular file");
	old->dev.fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (old->dev.fd < 0) { /* without the right to write nobody can be kept out, but seen */
		old->dev.readonly = true;
		old->dev.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (old->dev.fd < 0)
		return zd_fail_host(err, errno, "cannot tell whether somebody has the image open that is to be replaced");
	if (!is_image(old))
		return 0;
	if (!old->dev.readonly)
		r = zd_door_enter(&old->dev, err);
	if (r == -ENOSPC)
		r = 0; /* where there is no room for a door, nobody has come in by it */
	if (!r && zd_door_others(&old->dev, false))
		r = zd_fail(err, ZD_E_BUSY, "others have the image open; it can be replaced when they have closed it");
	if (r)
		let_old_go(old);
	return r;
}

static int not_placed(struct zd_error *err, int r)
{
	return zd_fail_host(err, -r, r == -EEXIST ? "cannot create the image; a file of that name exists" :
						    "cannot create the image");
}

static int create_file(zd_dev *dev, const char *path, unsigned flags, struct zd_error *err)
{
	const struct zd_header *h = &dev->g.h;
	char copy[PATH_MAX], temporary[PATH_MAX + 32];
	const char *folder;
	bool replace = flags & ZD_CREATE_REPLACE;
	struct old old = { .dev.fd = -1 };
	struct stat st;
	int r;

	if (strlen(path) >= sizeof(copy))
		return zd_fail_host(err, ENAMETOOLONG, "cannot create the image");
	if (!replace && stat(path, &st) == 0)
		return zd_fail_host(err, EEXIST, "cannot create the image; a file of that name exists");
	strcpy(copy, path);
	folder = dirname(copy);
	dev->fd = open_temporary(folder, temporary, sizeof(temporary));
	if (dev->fd < 0) {
		r = dev->fd;
		dev->fd = -1;
		return zd_fail_host(err, -r, "cannot create a file in the image's folder");
	}
	zd_host_pin_blocks(dev->fd);
	r = write_new(dev->fd, h, h->host_sync != ZD_SYNC_NEVER);
	if (r)
		zd_fail_host(err, -r, "cannot create the image");
	/* All that can fail comes first: where there is no room, no file stays behind. */
	if (!r)
		r = start_handle(dev, err);
	if (!r && replace)
		r = hold_old(path, &old, err);
	if (!r) {
		/* A file that never had a name has what the umask, or the folder's ACL, leaves. */
		r = old.st.st_mode || temporary[0] ? take_mode(dev->fd, &old.st) : 0;
		if (!r)
			r = put_in_place(dev->fd, temporary, folder, path, replace);
		if (r)
			not_placed(err, r);
	}
	let_old_go(&old);
	if (r) {
		if (temporary[0])
			unlink(temporary);
		return r;
	}
	if (h->host_sync != ZD_SYNC_NEVER)
		sync_folder(folder);
	return 0;
}

int zd_replaceable(const char *path, struct zd_error *err)
{
	struct old old;
	int r = hold_old(path, &old, err);

	let_old_go(&old);
	return r;
}

int zd_place(const char *from, const char *path, unsigned flags, struct zd_error *err)
{
	char copy[PATH_MAX], temporary[PATH_MAX + 32];
	bool replace = flags & ZD_CREATE_REPLACE;
	struct old old = { .dev.fd = -1 };
	const char *folder;
	int fd, r;

	if (strlen(path) >= sizeof(copy) || strlen(from) >= sizeof(temporary))
		return zd_fail_host(err, ENAMETOOLONG, "cannot create the image");
	strcpy(copy, path);
	strcpy(temporary, from);
	folder = dirname(copy);
	fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return zd_fail_host(err, errno, "cannot open the new image");
	r = replace ? hold_old(path, &old, err) : 0;
	if (!r) {
		r = take_mode(fd, &old.st);
		if (!r)
			r = put_in_place(fd, temporary, folder, path, replace);
		if (r)
			not_placed(err, r);
	}
	let_old_go(&old);
	close(fd);
	if (!r)
		sync_folder(folder);
	return r;
}

int zd_create(const char *path, const struct zd_config *config, unsigned flags, zd_dev **out, struct zd_error *err)
{
	zd_dev *dev = new_handle(path);
	struct zd_header *h;
	int r;

	*out = NULL;
	if (!dev)
		return zd_fail_host(err, ENOMEM, "no memory for a handle");
	r = zd_geometry_from_config(config, &dev->g, err);
	if (r)
		goto failed;
	h = &dev->g.h;
	h->created = (uint64_t)time(NULL);
	r = make_uuid(h, config->seed != 0);
	if (r) {
		zd_fail_host(err, -r, "cannot make a uuid");
		goto failed;
	}
	h->crc = zd_header_crc(h);
	if (path) {
		r = create_file(dev, path, flags, err);
	} else {
		dev->in_ram = true;
		dev->fd = memfd_create("zoned", MFD_CLOEXEC);
		r = dev->fd < 0 ? -errno : write_new(dev->fd, h, false);
		if (r)
			zd_fail_host(err, -r, "cannot make a disk in RAM");
		else
			r = start_handle(dev, err);
	}
	if (r)
		goto failed;
	*out = dev;
	return 0;
failed:
	free_handle(dev);
	return r;
}

int zd_create_like(const zd_dev *like, zd_dev **out, struct zd_error *err)
{
	zd_dev *dev = new_handle(NULL);
	int r;

	*out = NULL;
	if (!dev)
		return zd_fail_host(err, ENOMEM, "no memory for a handle");
	r = zd_geometry_from_header(&like->g.h, &dev->g, err);
	if (r)
		goto failed;
	dev->in_ram = true;
	dev->fd = memfd_create("zoned-fork", MFD_CLOEXEC);
	r = dev->fd < 0 ? -errno : write_new(dev->fd, &dev->g.h, false);
	if (r)
		zd_fail_host(err, -r, r == -EMFILE ? "each fork, and each disk that one still reads, takes a file descriptor" :
						     "cannot make a disk in RAM");
	else
		r = start_handle(dev, err);
	if (r)
		goto failed;
	*out = dev;
	return 0;
failed:
	free_handle(dev);
	return r;
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
	r = zd_commit(dev, ZD_COMMIT_HOST, NULL, err);
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
}

int zd_close(zd_dev *dev, struct zd_error *err)
{
	int r = 0;

	zd_end_hangs(dev);
	zd_trace_close(dev);
	if (dev->view && zd_view_recycle(dev))
		return 0;
	zd_view_close(dev);
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
	free_handle(dev);
	return r;
}
