/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking an image, byte by byte and copy against copy, and mending what can be mended without inventing
 * data: a damaged copy from its twin; a zone whose entry is lost or impossible goes OFFLINE; a zone whose data
 * was cut off goes READ_ONLY with what is left. What killed users left is judged zone by zone (judge.c). What a
 * repair costs is told by zone and byte, whether it is done or only could be. An image in use is checked through
 * a handle of its own, under the locks, so that its counts can be compared with a recount.
 */
#include "device/whole/whole.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_headers(struct zd_check *c, const struct zd_header *good, int bad)
{
	int i;

	for (i = 0; i < 2; i++) {
		uint64_t at = i ? ZD_HEADER_B : ZD_HEADER_A;
		struct zd_header h;
		struct zd_finding *f;
		int r = zd_host_pread(c->dev.fd, &h, sizeof(h), at);

		if (r)
			return r;
		if (!(bad >> i & 1) && memcmp(&h, good, sizeof(h)) == 0)
			continue;
		f = zd_find(c, ZD_F_HEADER, ZD_NO_ZONE, at, true, true,
			    bad >> i & 1 ? "header copy %c is damaged" : "header copy %c is not the same as copy A", 'A' + i);
		if (c->repair)
			zd_find_mended(f, zd_host_pwrite_dsync(c->dev.fd, good, sizeof(*good), at));
	}
	return 0;
}

static int check_status(struct zd_check *c, struct zd_status *status)
{
	struct zd_finding *found[2] = { NULL, NULL }, *failed = NULL;
	int bad = 0, r = zd_status_read(c->dev.fd, status, &bad), i;

	if (r && r != ZD_E_CORRUPT)
		return r;
	if (r == ZD_E_CORRUPT)
		memset(status, 0, sizeof(*status));
	for (i = 0; i < 2; i++) {
		if (bad >> i & 1)
			found[i] = zd_find(c, ZD_F_STATUS, ZD_NO_ZONE, i ? ZD_STATUS_B : ZD_STATUS_A, true, true,
					   "status copy %c is damaged", 'A' + i);
	}
	c->clean = status->clean;
	if (status->failed)
		failed = zd_find(
			c, ZD_F_FAILED, ZD_NO_ZONE, ZD_NONE, true, true,
			"a sync to the host's disk failed; what was written after the last flush that succeeded may be lost");
	else if (!status->clean && !c->alive && bad != 3)
		zd_find(c, ZD_F_UNCLEAN, ZD_NO_ZONE, ZD_NONE, false, false,
			"the image was not closed cleanly; after a crash of the host it stands as of the last sync");
	if (c->repair && (bad || status->failed)) {
		status->failed = 0;
		r = zd_status_write(c->dev.fd, status, true);
		for (i = 0; i < 2; i++)
			zd_find_mended(found[i], r);
		zd_find_mended(failed, r);
	}
	r = zd_check_zero(c, ZD_STATUS_A + sizeof(*status), ZD_STATUS_B, "behind status copy A");
	return r ? r : zd_check_zero(c, ZD_STATUS_B + sizeof(*status), ZD_TABLE, "behind status copy B");
}

/* Alone with it, so that nobody changes what is mended. */
static int come_in(struct zd_check *c, struct zd_error *err)
{
	int r = zd_door_enter(&c->dev, err);

	if (!r && zd_door_others(&c->dev, false))
		r = zd_fail(err, ZD_E_BUSY, "others have the image open; repair needs it alone");
	return r;
}

static void go_out(struct zd_check *c)
{
	if (c->dev.gate)
		zd_door_leave(&c->dev);
}

/* Does the runtime area hold words that count, with or without somebody alive? */
static bool area_lives(struct zd_check *c)
{
	struct zd_rt_head *head = mmap(NULL, ZD_PAGE, PROT_READ, MAP_SHARED, c->dev.fd, (off_t)c->dev.g.h.runtime_offset);
	struct zd_rt_tag tag;
	bool lives;

	if (head == MAP_FAILED)
		return false;
	lives = zd_runtime_tag(&c->dev, c->dev.fd, &tag) == 0 && memcmp(&tag, &head->tag, sizeof(tag)) == 0 &&
		head->state == ZD_RT_OPEN;
	munmap(head, ZD_PAGE);
	return lives;
}

/* No opener believes it any more. */
static int drop_area(struct zd_check *c)
{
	static const struct zd_rt_tag none;

	return zd_host_pwrite(c->dev.fd, &none, sizeof(none), c->dev.g.h.runtime_offset);
}

/* Killed users left words that are ahead of the entries: an opener that closes again writes them down. */
static int write_down(struct zd_check *c, const char *path, struct zd_error *err)
{
	struct zd_status status;
	struct stat st;
	zd_dev *dev;
	int r, bad;

	go_out(c);
	r = zd_open(path, zd_check_brief(c), &dev, err);
	if (!r)
		r = zd_close(dev, err);
	if (!r)
		r = come_in(c, err);
	if (r)
		return r; /* nothing of it is given up: the next try finds it as it was */
	r = zd_status_read(c->dev.fd, &status, &bad);
	if (r || fstat(c->dev.fd, &st))
		return zd_fail_host(err, r == ZD_E_CORRUPT ? EIO : r ? -r : errno, "cannot read the image");
	c->clean = status.clean;
	c->alive = area_lives(c);
	c->file_size = (uint64_t)st.st_size;
	return 0;
}

int zd_check(const char *path, unsigned flags, struct zd_finding **findings, size_t *count, struct zd_error *err)
{
	struct zd_check *c = calloc(1, sizeof(*c));
	struct zd_status status, before;
	struct zd_header header;
	struct stat st;
	bool lives, failed;
	int r, bad;

	*findings = NULL;
	*count = 0;
	zd_forget_waited();
	if (!c)
		return zd_fail_host(err, ENOMEM, "no memory to check an image");
	c->repair = flags & ZD_CHECK_REPAIR;
	c->dev.readonly = !c->repair;
	c->dev.brief = flags & ZD_CHECK_BRIEFLY;
	c->dev.fd = open(path, (c->repair ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (c->dev.fd < 0 || fstat(c->dev.fd, &st)) {
		r = zd_fail_host(err, errno, "cannot open the image");
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		r = zd_fail(err, ZD_E_NOT_IMAGE, "the path is no regular file, and images are");
		goto out;
	}
	c->file_size = (uint64_t)st.st_size;
	r = zd_header_read(c->dev.fd, &header, &bad, err);
	if (!r)
		r = zd_geometry_from_header(&header, &c->dev.g, err);
	if (r)
		goto out;
	if (c->file_size < c->dev.g.h.data_offset) {
		zd_find(c, ZD_F_SHORT, ZD_NO_ZONE, c->file_size, true, false,
			"the file ends at byte %llu, but its metadata goes on to byte %llu; restore it from a dump",
			(unsigned long long)c->file_size, (unsigned long long)c->dev.g.h.data_offset);
		goto done;
	}
	if (c->repair) {
		r = come_in(c, err);
		if (r)
			goto out;
	}
	c->users = !c->repair && zd_door_others(&c->dev, false);
	lives = area_lives(c);
	r = zd_status_read(c->dev.fd, &before, &bad);
	failed = r == 0 && before.failed;
	if (failed && lives && !c->users) {
		r = zd_check_give_up(c, err);
		if (r)
			goto out;
		lives = false;
		if (c->repair && drop_area(c)) {
			r = zd_fail_host(err, EIO, "cannot give up the image's shared state");
			goto out;
		}
	}
	c->alive = c->users || lives;
	r = zd_header_read(c->dev.fd, &header, &bad, err);
	if (!r)
		r = check_headers(c, &header, bad);
	if (!r)
		r = check_status(c, &status);
	if (r)
		goto unreadable;
	if (lives) {
		r = c->users ? zd_check_living(c, path, err) : zd_check_left(c, path, err);
		if (r)
			goto out;
	}
	if (lives && c->repair) {
		r = write_down(c, path, err);
		if (r)
			goto out;
	}
	r = zd_check_entries(c);
unreadable:
	if (r) {
		r = zd_fail_host(err, r < -1000 ? EIO : -r, "cannot read or write the image");
		goto out;
	}
	if (c->repair && zd_host_sync(c->dev.fd)) {
		r = zd_fail_host(err, errno, "syncing the repaired image failed");
		goto out;
	}
done:
	zd_find_spilt(c);
	r = c->no_memory ? zd_fail_host(err, ENOMEM, "no memory for the findings") : 0;
	if (!r) {
		*findings = c->at;
		*count = c->n;
		c->at = NULL;
	}
out:
	go_out(c);
	zd_door_unmap(&c->dev);
	if (c->dev.fd >= 0)
		close(c->dev.fd);
	zd_geometry_free(&c->dev.g);
	free(c->at);
	free(c);
	return r;
}

void zd_findings_free(struct zd_finding *findings)
{
	free(findings);
}
