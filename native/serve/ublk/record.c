/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of state: which device and disk it is of, and a record for each tag of a command that must not take effect twice.
 *
 * A kernel that has lost its server issues everything anew that was not acknowledged. What of it the disk had done already is told
 * by how far its record came: begun (then the zone tells whether it took effect, as no command was under way when the server
 * died), done, or sent. The scheduler of the kernel may give it another tag than before, so that what is issued again is known
 * by its place and length.
 *
 * A server that takes over moves the records of the dead one into a second table first, where they stay until they are
 * claimed or pushed out: it may be killed as well, at any moment. A record may then be in both for a while; its number tells.
 */
#include "serve/ublk/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD 4096u
#define LEFT_FOR_EACH 4u /* places in the second table for each tag */
static const char magic[8] = { 'Z', 'D', 'U', 'B', 'L', 'K', '\n', 0 };
_Static_assert(sizeof(struct zd_ublk_state) <= HEAD, "fits");

static uint32_t state_of(const struct record *r)
{
	return atomic_load_explicit(&r->state, memory_order_acquire);
}

void zd_ublk_record_set(struct record *r, uint32_t state)
{
	atomic_store_explicit(&r->state, state, memory_order_release);
}

static void copy(struct record *to, const struct record *from)
{
	to->op = from->op;
	to->nr = from->nr;
	to->sector = from->sector;
	to->number = from->number;
	atomic_store_explicit(&to->landed, atomic_load_explicit(&from->landed, memory_order_relaxed), memory_order_relaxed);
}

/* ---------------------------------------------------------------- the file */

int zd_ublk_boot_id(uint8_t id[16])
{
	char text[40] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC), digits = 0;

	memset(id, 0, 16);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	if (fd >= 0)
		close(fd);
	for (const char *c = text; *c && digits < 32; c++) {
		int v = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : -1;

		if (v >= 0)
			id[digits / 2] |= (uint8_t)(digits % 2 ? v : v << 4), digits++;
	}
	return digits == 32 ? 0 : -ENOENT;
}

int zd_ublk_state(int fd, struct zd_ublk_state *out, struct zd_error *err)
{
	ssize_t n = pread(fd, out, sizeof(*out), 0);

	if (n < 0)
		return zd_fail_host(err, errno, "reading a file of state of ublk");
	if (n < (ssize_t)sizeof(*out) || memcmp(out->magic, magic, sizeof(magic)) != 0 ||
	    out->version != ZD_UBLK_STATE_VERSION || !memchr(out->path, 0, sizeof(out->path)) || !out->queues ||
	    out->queues > UBLK_MAX_QUEUES || !out->depth || out->depth > UBLK_MAX_DEPTH)
		return zd_fail(err, -ESTALE, "it is no file of state of ublk, or one of another version of zoned");
	return 0;
}

int zd_ublk_records_open(struct records *records, int fd, uint32_t queues, uint32_t depth, bool again, struct zd_error *err)
{
	uint32_t n = queues * depth;
	size_t size = HEAD + (size_t)n * (1 + LEFT_FOR_EACH) * sizeof(struct record);
	struct stat st;
	void *at;
	int r;

	if (again && (fstat(fd, &st) || (uint64_t)st.st_size < size))
		return zd_fail(err, -ESTALE, "a file of state of ublk is cut off");
	/* All of it is there before it is touched, so that a full host is an error here and no signal later. */
	r = again ? 0 : posix_fallocate(fd, 0, (off_t)size);
	if (r)
		return zd_fail_host(err, r, "making a file of state of ublk");
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return zd_fail_host(err, errno, "mapping a file of state of ublk");
	records->map = at;
	records->size = size;
	records->state = at;
	records->now = (struct record *)(records->map + HEAD);
	records->left = records->now + n;
	records->nr_now = n;
	records->nr_left = n * LEFT_FOR_EACH;
	atomic_store(&records->number, 1);
	if (!again) {
		memcpy(records->state->magic, magic, sizeof(magic));
		records->state->version = ZD_UBLK_STATE_VERSION;
	}
	pthread_mutex_init(&records->lock, NULL);
	return 0;
}

void zd_ublk_records_close(struct records *records)
{
	if (!records->map)
		return;
	munmap(records->map, records->size);
	pthread_mutex_destroy(&records->lock);
	records->map = NULL;
}

/* ---------------------------------------------------------------- taking over */

static bool is_write(const struct record *r)
{
	return r->op == UBLK_WRITE || r->op == UBLK_WRITE_ZEROES || r->op == UBLK_ZONE_APPEND;
}

enum written zd_ublk_written(zd_dev *dev, const struct zd_info *info, uint64_t from, uint64_t to)
{
	uint32_t zone = (uint32_t)(from / info->zone_size);
	struct zd_zone z;
	uint64_t filled;

	if (from >= info->size || zd_report(dev, zone, 1, &z, NULL) != 1 || z.type == ZD_CONVENTIONAL || z.cond == ZD_EMPTY)
		return UNWRITTEN;
	if (z.wp == ZD_NONE)
		return z.cond == ZD_FULL ? WRITTEN : UNWRITTEN;
	if (z.wp >= to)
		return WRITTEN;
	/*
	 * The kernel has no verb for random write areas, but another opener of the disk may have given the zone one. A write that is
	 * longer than the area commits its own beginning, and is refused if it is done again.
	 */
	return info->zrwa_size && zd_zone_zrwa(dev, zone, &filled, NULL) == 1 && filled >= to ? PERHAPS_WRITTEN : UNWRITTEN;
}

/* Of a write that was begun: its zone's pointer is behind it, and nothing else had moved it there. */
static bool has_taken_effect(const struct record *r, zd_dev *dev, const struct zd_info *info)
{
	uint64_t at = r->op == UBLK_ZONE_APPEND ? atomic_load(&r->landed) : r->sector * SECTOR;

	/* Conventional zones may be written twice. */
	return at != ZD_NONE && zd_ublk_written(dev, info, at, at + (uint64_t)r->nr * SECTOR) != UNWRITTEN;
}

static uint32_t what_is_left(const struct record *r, zd_dev *dev, const struct zd_info *info)
{
	switch (state_of(r)) {
	case RECORD_BEGUN:
		if (!is_write(r))
			return RECORD_LEFT_ZONE;
		return has_taken_effect(r, dev, info) ? RECORD_LEFT_EFFECT : RECORD_FREE;
	case RECORD_DONE: return RECORD_LEFT_DONE;
	case RECORD_SENT: return r->op == UBLK_ZONE_APPEND ? RECORD_FREE : RECORD_LEFT_SENT;
	default: return RECORD_FREE;
	}
}

/* A free place, or that of the oldest whose acknowledgement was on its way; else of the oldest. */
static struct record *place_for(struct records *records)
{
	struct record *oldest = NULL, *oldest_sent = NULL;

	for (uint32_t i = 0; i < records->nr_left; i++) {
		struct record *r = &records->left[i];
		uint32_t state = state_of(r);

		if (state == RECORD_FREE)
			return r;
		if (state == RECORD_LEFT_SENT && (!oldest_sent || r->number < oldest_sent->number))
			oldest_sent = r;
		if (!oldest || r->number < oldest->number)
			oldest = r;
	}
	return oldest_sent ? oldest_sent : oldest;
}

static struct record *numbered(const struct records *records, uint64_t number)
{
	for (uint32_t i = 0; i < records->nr_left; i++)
		if (state_of(&records->left[i]) != RECORD_FREE && records->left[i].number == number)
			return &records->left[i];
	return NULL;
}

int zd_ublk_records_take_over(struct records *records, zd_dev *dev, struct zd_error *err)
{
	struct zd_info info = { .struct_size = sizeof(info) };
	uint64_t highest = 0;
	uint32_t waiting = 0;
	int r = zd_info(dev, &info, err);

	if (r)
		return r;
	for (uint32_t i = 0; i < records->nr_now; i++) {
		struct record *from = &records->now[i], *to;
		uint32_t left = what_is_left(from, dev, &info);

		if (from->number > highest)
			highest = from->number;
		/* It may be there already: its server died between the two stores below. */
		to = left == RECORD_FREE ? NULL : numbered(records, from->number);
		if (left != RECORD_FREE && !to) {
			to = place_for(records);
			zd_ublk_record_set(to, RECORD_FREE);
			to->queue = (uint16_t)(i / records->state->depth);
			to->tag = (uint16_t)(i % records->state->depth);
			copy(to, from);
		}
		if (to)
			zd_ublk_record_set(to, left);
		zd_ublk_record_set(from, RECORD_FREE);
	}
	records->end_left = records->looks = 0;
	for (uint32_t i = 0; i < records->nr_left; i++) {
		if (state_of(&records->left[i]) != RECORD_FREE) {
			waiting++;
			records->end_left = i + 1;
		}
		if (records->left[i].number > highest)
			highest = records->left[i].number;
	}
	atomic_store(&records->waiting, waiting);
	atomic_store(&records->number, highest + 1);
	return 0;
}

/* ---------------------------------------------------------------- what is issued again */

/* As many commands later whatever was to be issued again has been. */
#define LOOKS 65536u

static void forget(struct records *records, struct record *r)
{
	zd_ublk_record_set(r, RECORD_FREE);
	atomic_fetch_sub(&records->waiting, 1);
	while (records->end_left && state_of(&records->left[records->end_left - 1]) == RECORD_FREE)
		records->end_left--;
}

/* Most of these had arrived when their server died, and are not issued again. */
static void forget_sent(struct records *records)
{
	for (uint32_t i = records->end_left; i-- > 0;)
		if (state_of(&records->left[i]) == RECORD_LEFT_SENT || state_of(&records->left[i]) == RECORD_LEFT_ZONE)
			forget(records, &records->left[i]);
}

bool zd_ublk_records_claim(struct records *records, struct slot *s, zd_ublk_fits *fits, struct record *out)
{
	struct record *found = NULL;
	uint32_t state;

	pthread_mutex_lock(&records->lock);
	for (uint32_t i = 0; i < records->end_left; i++) {
		struct record *r = &records->left[i];

		if (state_of(r) == RECORD_FREE || r->op != s->op || r->nr != s->nr || r->sector != s->sector)
			continue;
		/* Several appends look alike: what they brought tells them apart. */
		if (r->op == UBLK_ZONE_APPEND && !fits(s, r))
			continue;
		if (!found || (r->queue == s->queue->id && r->tag == s->tag))
			found = r;
	}
	if (found) {
		state = state_of(found);
		copy(out, found);
		zd_ublk_record_set(out, state);
		copy(s->record, found);
		zd_ublk_record_set(s->record, state == RECORD_LEFT_DONE ? RECORD_DONE : RECORD_BEGUN);
		forget(records, found);
	}
	if (++records->looks == LOOKS)
		forget_sent(records);
	pthread_mutex_unlock(&records->lock);
	return found != NULL;
}

void zd_ublk_records_drop(struct records *records, uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&records->lock);
	for (uint32_t i = records->end_left; i-- > 0;) {
		struct record *r = &records->left[i];

		if (state_of(r) != RECORD_FREE && is_write(r) && r->sector * SECTOR >= from && r->sector * SECTOR < to)
			forget(records, r);
	}
	pthread_mutex_unlock(&records->lock);
}
