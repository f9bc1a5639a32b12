/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making disks: an image is made complete under a temporary name and then linked into place, or put in the place of
 * another one, whose door is held meanwhile; a disk in RAM is a memfd.
 */
#include "device/whole/whole.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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
	zd_dev dev;     /* fd -1: there is nothing. Inside its door, if it is an image that may be written */
	struct stat st; /* st_mode 0: there is nothing */
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

	return zd_header_read(old->dev.fd, &header, &bad, NULL) == 0 &&
	       zd_geometry_from_header(&header, &old->dev.g, NULL) == 0 &&
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
	return zd_fail_host(err, -r,
			    r == -EEXIST ? "cannot create the image; a file of that name exists" : "cannot create the image");
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
		r = zd_handle_start(dev, err);
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

/* dev->g is set. */
static int create_in_ram(zd_dev *dev, const char *name, struct zd_error *err)
{
	int r;

	dev->in_ram = true;
	dev->fd = memfd_create(name, MFD_CLOEXEC);
	r = dev->fd < 0 ? -errno : write_new(dev->fd, &dev->g.h, false);
	return r ? zd_fail_host(err, -r, "cannot make a disk in RAM") : zd_handle_start(dev, err);
}

/* The handle is the caller's if all went well, and gone otherwise. */
static int finished(zd_dev *dev, int r, zd_dev **out)
{
	if (r)
		zd_handle_free(dev);
	else
		*out = dev;
	return r;
}

int zd_create(const char *path, const struct zd_config *config, unsigned flags, zd_dev **out, struct zd_error *err)
{
	zd_dev *dev = zd_handle_new(path);
	struct zd_header *h;
	int r;

	*out = NULL;
	if (!dev)
		return zd_fail_host(err, ENOMEM, "no memory for a handle");
	r = zd_geometry_from_config(config, &dev->g, err);
	if (r)
		return finished(dev, r, out);
	h = &dev->g.h;
	h->created = (uint64_t)time(NULL);
	r = make_uuid(h, config->seed != 0);
	if (r) {
		zd_fail_host(err, -r, "cannot make a uuid");
		return finished(dev, r, out);
	}
	h->crc = zd_header_crc(h);
	if (path) {
		r = create_file(dev, path, flags, err);
	} else {
		r = create_in_ram(dev, "zoned", err);
	}
	return finished(dev, r, out);
}

int zd_create_like(const zd_dev *like, zd_dev **out, struct zd_error *err)
{
	zd_dev *dev = zd_handle_new(NULL);
	int r;

	*out = NULL;
	if (!dev)
		return zd_fail_host(err, ENOMEM, "no memory for a handle");
	r = zd_geometry_from_header(&like->g.h, &dev->g, err);
	if (!r)
		r = create_in_ram(dev, "zoned-fork", err);
	if (r == -EMFILE)
		zd_fail_host(err, EMFILE, "each fork, and each disk that one still reads, takes a file descriptor");
	return finished(dev, r, out);
}
