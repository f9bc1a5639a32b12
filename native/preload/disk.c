/* SPDX-License-Identifier: Apache-2.0 */
/* Handles on the images, one a process, and what becomes of the core's codes. */
#include "preload/preload.h"
#include "preload/real.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MOST_TOLD 2000 /* sentences of a run; later refusals are counted alone */

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static int open_image(struct zp_disk *disk, zd_dev **out)
{
	struct zd_error err = { .code = 0 };
	zd_dev *dev = NULL;
	int r = zd_open(disk->image, 0, &dev, &err);

	disk->readonly = r == -EACCES || r == -EROFS || r == -EPERM;
	if (disk->readonly)
		r = zd_open(disk->image, ZD_OPEN_READONLY, &dev, &err);
	disk->info.struct_size = sizeof(disk->info);
	if (!r)
		r = zd_info(dev, &disk->info, &err);
	if (!r)
		r = zp_pace_begin(disk, dev, &err);
	if (!r) {
		disk->zone_mask = disk->info.zone_size & (disk->info.zone_size - 1) ? 0 : disk->info.zone_size - 1;
		zp_nvme_begin(disk, dev);
		*out = dev;
		return 0;
	}
	if (dev)
		zd_close(dev, NULL);
	dprintf(2, "zonedctl run: the image of /dev/%s cannot be opened: %s (%s)\n", disk->name,
		err.text[0] ? err.text : strerror(r > -2000 ? -r : EIO), disk->image);
	return r > -2000 ? r : -EIO;
}

int zp_disk_dev(struct zp_disk *disk, zd_dev **out)
{
	zd_dev *dev = atomic_load_explicit(&disk->dev, memory_order_acquire);
	int r = 0;

	if (zp_likely(dev != NULL)) {
		*out = dev;
		return 0;
	}
	pthread_mutex_lock(&opening);
	dev = atomic_load(&disk->dev);
	if (!dev) {
		r = open_image(disk, &dev);
		if (!r)
			atomic_store_explicit(&disk->dev, dev, memory_order_release);
	}
	pthread_mutex_unlock(&opening);
	*out = dev;
	return r;
}

/*
 * A child of fork(). The parent's handles may have been in the midst of anything in other threads, so they are left where
 * they are; what they locked is the parent's. Their descriptors go, the mappings cost nothing.
 */
void zp_disk_forked(void)
{
	uint32_t i;

	pthread_mutex_init(&opening, NULL);
	for (i = 0; i < zp_session.nr_disks; i++) {
		zd_dev *dev = atomic_exchange(&zp_session.disks[i].dev, NULL);

		if (dev && zp_internal(zd_fd(dev))) {
			atomic_store(&zp_numbers[zd_fd(dev)], 0);
			zp_real.close(zd_fd(dev));
		}
	}
}

void zp_disk_lock(bool on)
{
	if (on)
		pthread_mutex_lock(&opening);
	else
		pthread_mutex_unlock(&opening);
}

/* Who gave the command: this program, or the one for which this process answers. */
static void name_program(char *out, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	prctl(PR_GET_NAME, out);
	if (!zp_peer)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)zp_peer);
	fd = zp_real.open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = zp_real.read(fd, out, size - 1);
	zp_real.close(fd);
	if (n > 0)
		out[n - 1] = '\0'; /* its newline */
}

/* A line in the run's folder; on standard error where the run explains. */
static void tell_line(struct zp_disk *disk, const char *rule, const char *text)
{
	char line[768], program[16] = "?", path[PATH_MAX + 16];
	int n, fd;

	name_program(program, sizeof(program));
	n = snprintf(line, sizeof(line), "%s\t%s\t%d\t%s\t%s\n", disk->name, rule, (int)(zp_peer ? zp_peer : getpid()), program,
		     text);
	if (n >= (int)sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	snprintf(path, sizeof(path), "%s/refused", zp_session.folder);
	fd = atomic_load(&zp_session.shared->refused) <= MOST_TOLD ? zp_real.open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
	if (fd >= 0) {
		ssize_t written = zp_real.write(fd, line, (size_t)n); /* a line lost on a full host costs no program anything */

		(void)written;
		zp_real.close(fd);
	}
	if (zp_session.explain)
		dprintf(2, "/dev/%s: %s\n", disk->name, text);
}

static bool is_to_be_told(void)
{
	return atomic_fetch_add(&zp_session.shared->refused, 1) < MOST_TOLD || zp_session.explain;
}

void zp_tell(struct zp_disk *disk, const char *rule, const char *text)
{
	if (is_to_be_told())
		tell_line(disk, rule, text);
}

static void tell(struct zp_disk *disk, int code, const struct zd_error *err)
{
	struct zd_said_disk said = { .size = disk->info.size,
				     .zone_size = disk->info.zone_size,
				     .append_limit = disk->info.append_limit,
				     .nr_zones = disk->info.nr_zones,
				     .logical_block = disk->info.logical_block,
				     .physical_block = disk->info.physical_block,
				     .max_open = disk->info.max_open,
				     .max_active = disk->info.max_active,
				     .dialect = disk->info.dialect };
	char text[512];
	zd_dev *dev = atomic_load(&disk->dev);
	struct zd_zone zone;
	struct zd_info now = { .struct_size = sizeof(now) };

	if (!is_to_be_told())
		return;
	if (dev && err->zone != ZD_NO_ZONE && zd_report(dev, err->zone, 1, &zone, NULL) == 1) {
		said.zone_start = zone.start;
		said.zone_length = zone.length;
		said.zone_capacity = zone.capacity;
	}
	if (dev && zd_info(dev, &now, NULL) == 0) {
		said.nr_implicit = now.nr_implicit_open;
		said.nr_explicit = now.nr_explicit_open;
		said.nr_closed = now.nr_closed;
	}
	text[0] = '\0';
	zd_rule_sentence(err, &said, text, sizeof(text));
	if (!text[0])
		snprintf(text, sizeof(text), "%s", err->text[0] ? err->text : strerror(code > -2000 ? -code : EIO));
	tell_line(disk, zd_rule_name(code) ? zd_rule_name(code) : "host", text);
}

int zp_refused(struct zp_disk *disk, int64_t code, const struct zd_error *err)
{
	const struct zd_rule_info *rule = zd_rule_info((int)code, disk->info.dialect);
	int saved = errno;

	if (code == -EINTR)
		return -EINTR;
	tell(disk, (int)code, err);
	errno = saved;
	if (rule)
		return -rule->err;
	switch (code) {
	case ZD_E_READONLY_HANDLE: return -EPERM;
	case ZD_E_CLOSED: return -ENXIO;
	default: return code > -2000 ? (int)code : -EIO;
	}
}
