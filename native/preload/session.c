/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run: which disks there are, and which paths are theirs.
 *
 * The file `disks` has a line for each disk, of fields separated by tabs: its name in /dev, that of its character node
 * ("-": none), the numbers of both as MAJOR:MINOR, its diskseq, and last the image's absolute path.
 */
#include "preload/preload.h"
#include "preload/raw.h"
#include "preload/real.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct zp_session zp_session;
_Atomic int zp_begun;
__thread int zp_inside, zp_pending;

/* ---------------------------------------------------------------- the folder */

/* The next field, ended by a NUL; "" behind the last. */
static const char *field(char **at)
{
	char *start = *at, *end = start ? strchr(start, '\t') : NULL;

	if (end)
		*end++ = '\0';
	*at = end;
	return start ? start : "";
}

/* A name in /dev; none where it would not fit. */
static void name(char **at, char *out)
{
	const char *given = field(at);

	if (strlen(given) < ZP_NAME)
		memcpy(out, given, strlen(given) + 1);
}

static dev_t number(const char *text)
{
	unsigned major = 0, minor = 0;

	return sscanf(text, "%u:%u", &major, &minor) == 2 ? makedev(major, minor) : 0;
}

static int read_disks(void)
{
	static char text[ZP_MAX_DISKS * (PATH_MAX + 128)];
	char path[PATH_MAX + 16], *line = text, *end;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/disks", zp_session.folder);
	fd = zp_real.open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	got = zp_real.read(fd, text, sizeof(text) - 1);
	zp_real.close(fd);
	if (got < 0)
		return -errno;
	for (text[got] = '\0'; (end = strchr(line, '\n')) && zp_session.nr_disks < ZP_MAX_DISKS; line = end + 1) {
		struct zp_disk *disk = &zp_session.disks[zp_session.nr_disks];
		char *at = line;

		*end = '\0';
		name(&at, disk->name);
		name(&at, disk->chars);
		disk->number = number(field(&at));
		disk->char_number = number(field(&at));
		disk->diskseq = strtoull(field(&at), NULL, 10);
		if (!at || !*at || strlen(at) >= sizeof(disk->image))
			return -EINVAL;
		memcpy(disk->image, at, strlen(at) + 1);
		zp_session.nr_disks++;
	}
	return zp_session.nr_disks ? 0 : -EINVAL;
}

static int map_shared(void)
{
	char path[PATH_MAX + 16];
	struct zp_shared *shared;
	uint32_t seen = 0, i;
	int fd;

	snprintf(path, sizeof(path), "%s/state", zp_session.folder);
	fd = zp_real.open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (zp_real.ftruncate(fd, sizeof(*shared))) { /* all who come do the same, and it changes nothing the second time */
		zp_real.close(fd);
		return -errno;
	}
	shared = zp_real.mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	zp_real.close(fd);
	if (shared == MAP_FAILED)
		return -errno;
	if (atomic_compare_exchange_strong(&shared->magic, &seen, 1)) {
		zp_mutex_make(&shared->lock);
		for (i = 0; i < ZP_MAX_DISKS; i++)
			zp_mutex_make(&shared->disks[i].nvme);
		atomic_store(&shared->magic, ZP_MAGIC);
	}
	/* Whoever makes it does so in microseconds, as its first deed: the run's own maker, before any program. */
	for (i = 0; atomic_load(&shared->magic) != ZP_MAGIC; i++) {
		if (i == 5000)
			return -EBUSY;
		usleep(1000);
	}
	zp_session.shared = shared;
	for (i = 0; i < zp_session.nr_disks; i++)
		zp_session.disks[i].shared = &shared->disks[i];
	return 0;
}

static void begin(void)
{
	const char *folder = getenv("ZONED_RUN"), *explain = getenv("ZONED_RUN_EXPLAIN");
	int r;

	if (!folder || folder[0] != '/' || strlen(folder) >= PATH_MAX - 64) {
		atomic_store(&zp_begun, 1);
		return;
	}
	zp_session.folder_length = strlen(folder);
	memcpy(zp_session.folder, folder, zp_session.folder_length + 1);
	zp_session.explain = explain && *explain && *explain != '0';
	r = read_disks();
	if (!r)
		r = map_shared();
	if (!r)
		r = zp_table_begin();
	atomic_store(&zp_begun, r ? 1 : 2);
	if (r)
		dprintf(2, "zonedctl run: the run in %s has ended or cannot be used (%s): its disks are not there\n", folder,
			strerror(-r));
	else {
		zp_table_scan();
		zp_raw_begin();
	}
}

/* Before the constructors of the other files, and before those of whatever was loaded in front. */
__attribute__((constructor(101))) static void at_start(void)
{
	int saved = errno;

	begin();
	errno = saved;
}

/* ---------------------------------------------------------------- paths */

/* The path from the root on, its doubled slashes and dots taken out, without a look at the host. 0 or -errno. */
static int whole(int dirfd, const char *path, char *room)
{
	char base[PATH_MAX], link[64];
	size_t used = 0;
	ssize_t n = 0;

	if (*path != '/') {
		if (dirfd == AT_FDCWD) {
			if (!zp_real.getcwd(base, sizeof(base)))
				return -errno;
			n = (ssize_t)strlen(base);
		} else {
			snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
			n = zp_real.readlink(link, base, sizeof(base) - 1);
			if (n < 0)
				return -errno;
			base[n] = '\0';
		}
		if (base[0] != '/' || (size_t)n + 1 >= PATH_MAX)
			return -ENOENT;
		memcpy(room, base, (size_t)n);
		used = n == 1 ? 0 : (size_t)n;
	}
	while (*path) {
		const char *end;
		size_t length;

		while (*path == '/')
			path++;
		end = strchrnul(path, '/');
		length = (size_t)(end - path);
		if (length == 2 && path[0] == '.' && path[1] == '.') {
			while (used && room[--used] != '/')
				;
		} else if (length && !(length == 1 && *path == '.')) {
			if (used + length + 2 >= PATH_MAX)
				return -ENAMETOOLONG;
			room[used++] = '/';
			memcpy(room + used, path, length);
			used += length;
		}
		path = end;
	}
	if (used == 0)
		room[used++] = '/';
	room[used] = '\0';
	return 0;
}

static int named_exactly(const char *path, int *kind)
{
	uint32_t i;

	if (strncmp(path, "/dev/", 5))
		return -1;
	for (i = 0; i < zp_session.nr_disks; i++) {
		if (!strcmp(path + 5, zp_session.disks[i].name)) {
			*kind = ZP_BLOCK;
			return (int)i;
		}
		if (!strcmp(path + 5, zp_session.disks[i].chars)) {
			*kind = ZP_CHAR;
			return (int)i;
		}
	}
	return -1;
}

/* "/proc/self/fd/7", "/dev/fd/7", "/dev/stdin": which of our descriptors; -1 if none. */
static int through_number(const char *path)
{
	static const char *const before[] = { "/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/" };
	char own[32];
	size_t i;
	char *end;
	long fd;

	if (!strcmp(path, "/dev/stdin"))
		return 0;
	if (!strcmp(path, "/dev/stdout"))
		return 1;
	if (!strcmp(path, "/dev/stderr"))
		return 2;
	for (i = 0; i <= 3; i++) {
		const char *prefix = i < 3 ? before[i] : own;
		size_t length;

		if (i == 3)
			snprintf(own, sizeof(own), "/proc/%d/fd/", (int)getpid());
		length = strlen(prefix);
		if (strncmp(path, prefix, length) || !isdigit((unsigned char)path[length]))
			continue;
		fd = strtol(path + length, &end, 10);
		return *end || fd > INT_MAX ? -1 : (int)fd;
	}
	return -1;
}

/* Whether the last part of a path can be one of our names: most paths end here. */
static bool may_be(const char *path)
{
	const char *last = strrchr(path, '/');
	uint32_t i;

	last = last ? last + 1 : path;
	for (i = 0; i < zp_session.nr_disks; i++)
		if (!strcmp(last, zp_session.disks[i].name) || !strcmp(last, zp_session.disks[i].chars))
			return true;
	return isdigit((unsigned char)*last) || !strncmp(last, "std", 3);
}

static int named(int dirfd, const char *path, int *kind, int depth)
{
	char full[PATH_MAX], target[PATH_MAX];
	const struct zp_open *open;
	ssize_t n;
	int disk;

	if (!path || !*path || depth > 8)
		return -1;
	if (may_be(path) && whole(dirfd, path, full) == 0) {
		disk = named_exactly(full, kind);
		if (disk >= 0)
			return disk;
		open = zp_find(through_number(full));
		if (open) {
			*kind = open->kind;
			return open->disk;
		}
	}
	/* A link that leads to one of ours leads nowhere for the kernel. */
	n = zp_real.readlinkat(dirfd, path, target, sizeof(target) - 1);
	if (n <= 0)
		return -1;
	target[n] = '\0';
	if (target[0] == '/' || !strchr(path, '/'))
		return strstr(target, "dev/") || may_be(target) ? named(dirfd, target, kind, depth + 1) : -1;
	n = strrchr(path, '/') - path + 1;
	if ((size_t)n + strlen(target) + 1 > sizeof(full))
		return -1;
	memcpy(full, path, (size_t)n);
	strcpy(full + n, target);
	return named(dirfd, full, kind, depth + 1);
}

int zp_named(int dirfd, const char *path, int *kind)
{
	int saved = errno, disk;

	if (!zp_active())
		return -1;
	disk = named(dirfd, path, kind, 0);
	errno = saved;
	return disk;
}

int zp_named_itself(int dirfd, const char *path)
{
	char full[PATH_MAX];
	int saved = errno, kind, disk = -1;

	if (zp_active() && path && *path && may_be(path) && whole(dirfd, path, full) == 0)
		disk = named_exactly(full, &kind);
	errno = saved;
	return disk;
}

bool zp_below(int dirfd, const char *path)
{
	char full[PATH_MAX];
	int saved = errno, kind;
	char *end;
	bool below = false;

	if (zp_active() && path && *path && whole(dirfd, path, full) == 0) {
		if (path[strlen(path) - 1] == '/')
			below = named_exactly(full, &kind) >= 0;
		for (end = strchr(full + 1, '/'); end && !below; end = strchr(end + 1, '/')) {
			*end = '\0';
			below = named_exactly(full, &kind) >= 0;
			*end = '/';
		}
	}
	errno = saved;
	return below;
}

/* Places whose files are the run's own. */
static bool taken_over(const char *path)
{
	static const char *const places[] = { "/sys/block",     "/sys/class/block",       "/sys/dev/block",
					      "/sys/dev/char",  "/sys/class/scsi_device", "/sys/class/scsi_generic",
					      "/sys/class/nvme" };
	char own[PATH_MAX];
	size_t i;

	if (!strcmp(path, "/proc/partitions"))
		return true;
	if (strncmp(path, "/sys/", 5))
		return false;
	for (i = 0; i < sizeof(places) / sizeof(*places); i++) {
		size_t length = strlen(places[i]);

		if (!strncmp(path, places[i], length) && (path[length] == '/' || !path[length]))
			return true;
	}
	for (i = 0; i < zp_session.nr_disks; i++) {
		int length = snprintf(own, sizeof(own), "/sys/devices/virtual/block/%s", zp_session.disks[i].name);

		if (!strncmp(path, own, (size_t)length) && (path[length] == '/' || !path[length]))
			return true;
	}
	return false;
}

const char *zp_instead(int dirfd, const char *path, char *room)
{
	char full[PATH_MAX];
	int saved = errno;
	size_t length;

	if (!zp_active() || !path ||
	    (path[0] == '/' && strncmp(path, "/sys", 4) && strncmp(path, "/proc", 5) && path[1] != '/' && path[1] != '.'))
		return path;
	if (whole(dirfd, path, full) || !taken_over(full)) {
		errno = saved;
		return path;
	}
	errno = saved;
	length = strlen(full);
	if (zp_session.folder_length + length >= PATH_MAX)
		return path;
	memcpy(room, zp_session.folder, zp_session.folder_length);
	memcpy(room + zp_session.folder_length, full, length + 1);
	return room;
}

size_t zp_outside(const char *inside, char *room, size_t size)
{
	const char *rest = inside + zp_session.folder_length;
	uint32_t slot;
	int n;

	if (!zp_active() || strncmp(inside, zp_session.folder, zp_session.folder_length) || *rest != '/')
		return 0;
	if (zp_is_slot(inside, &slot)) {
		const struct zp_open *open = &zp_session.shared->open[slot];
		const struct zp_disk *disk = zp_disk_of(open);

		n = snprintf(room, size, "/dev/%s", open->kind == ZP_CHAR ? disk->chars : disk->name);
	} else {
		n = snprintf(room, size, "%s", rest);
	}
	return n > 0 ? (size_t)n : 0;
}

bool zp_is_slot(const char *target, uint32_t *slot)
{
	const char *rest = target + zp_session.folder_length;
	char *end;

	if (strncmp(target, zp_session.folder, zp_session.folder_length) || strncmp(rest, "/fd/", 4))
		return false;
	*slot = (uint32_t)strtoul(rest + 4, &end, 10);
	return end != rest + 4 && *end == '\0' && *slot < ZP_MAX_OPEN;
}
