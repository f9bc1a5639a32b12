/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a recording: header and items, each with the checksum of everything before it. docs/trace-format.md tells
 * them; hooks/tracefile.c reads them.
 */
#include "device/whole/whole.h"

#include <stdlib.h>

static uint8_t *put_number(uint8_t *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*to++ = (uint8_t)(value | 0x80);
	*to++ = (uint8_t)value;
	return to;
}

static uint64_t zigzag(uint64_t difference)
{
	return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

uint8_t *zd_record_command(struct zd_recorder *rec, uint8_t *to, const struct zd_trace_record *r)
{
	bool placed = r->offset != ZD_NONE, failed = r->result < 0;
	uint8_t flags = (placed ? ZD_TF_OFFSET : 0) | (r->length ? ZD_TF_LENGTH : 0) |
			(r->zone != ZD_NO_ZONE ? ZD_TF_ZONE : 0) | (r->landed != ZD_NONE ? ZD_TF_LANDED : 0) |
			(failed ? ZD_TF_FAILED : 0) | (r->injected ? ZD_TF_INJECTED : 0) |
			(r->pid != rec->pid || r->tid != rec->tid ? ZD_TF_OPENER : 0) |
			(r->virtual_ns != rec->virtual_ns ? ZD_TF_VIRTUAL : 0);

	*to++ = r->cmd;
	*to++ = flags;
	to = put_number(to, zigzag(r->start_ns - rec->start_ns));
	to = put_number(to, r->duration_ns);
	if (flags & ZD_TF_VIRTUAL)
		to = put_number(to, zigzag(r->virtual_ns - rec->virtual_ns));
	if (flags & ZD_TF_OPENER) {
		to = put_number(to, r->pid);
		to = put_number(to, r->tid);
	}
	if (placed)
		to = put_number(to, r->offset);
	if (r->length)
		to = put_number(to, r->length);
	if (r->zone != ZD_NO_ZONE)
		to = put_number(to, r->zone);
	if (r->landed != ZD_NONE)
		to = put_number(to, r->landed);
	if (failed) {
		to = put_number(to, (uint64_t)-(int64_t)r->result);
		to = put_number(to, r->done);
		to = put_number(to, r->wp + 1);
		to = put_number(to, r->bound + 1);
		*to++ = r->cond;
	}
	if (r->injected)
		to = put_number(to, r->fault);
	rec->start_ns = r->start_ns;
	rec->virtual_ns = r->virtual_ns;
	rec->pid = r->pid;
	rec->tid = r->tid;
	return to;
}

int zd_record_write_out(struct zd_recorder *rec)
{
	uint32_t at = 0;

	while (at < rec->used) {
		ssize_t n = write(rec->fd, rec->piece + at, rec->used - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += (uint32_t)n;
		rec->written += (uint64_t)n;
	}
	rec->used = 0;
	return 0;
}

int zd_record_item(struct zd_recorder *rec, int kind, const uint8_t *body, size_t length)
{
	uint8_t *begin = rec->piece + rec->used, *to = begin;

	*to++ = (uint8_t)kind;
	*to++ = (uint8_t)length; /* always below 128: one byte of a number */
	memcpy(to, body, length);
	to += length;
	rec->crc = zd_crc32c(rec->crc, begin, (size_t)(to - begin));
	memcpy(to, &rec->crc, sizeof(rec->crc));
	rec->used += (uint32_t)(to - begin) + (uint32_t)sizeof(rec->crc);
	return rec->used >= ZD_RECORD_PIECE ? zd_record_write_out(rec) : 0;
}

int zd_record_zone(struct zd_recorder *rec, int kind, const struct zd_trace_record *row)
{
	uint8_t body[128], *to = body;

	to = put_number(to, row->zone);
	*to++ = row->cond;
	*to++ = row->flags;
	to = put_number(to, row->done);
	to = put_number(to, row->length);
	to = put_number(to, row->offset);
	return zd_record_item(rec, kind, body, (size_t)(to - body));
}

int zd_record_count(struct zd_recorder *rec, int kind, uint64_t a, uint64_t b, uint64_t c)
{
	uint8_t body[64], *to = put_number(put_number(put_number(body, a), b), c);

	return zd_record_item(rec, kind, body, (size_t)(to - body));
}

static void store(uint8_t *header, size_t at, uint64_t value, size_t bytes)
{
	memcpy(header + at, &value, bytes);
}

int zd_record_header(struct zd_recorder *rec)
{
	off_t from = lseek(rec->fd, 0, SEEK_CUR);
	const struct zd_header *h = &rec->dev->g.h;
	size_t length = ZD_TRACE_HEADER + h->nr_conv * 8u;
	uint8_t *b = calloc(1, length + 4);
	struct timespec now;
	int r = 0;

	if (!b)
		return -ENOMEM;
	/* What an older file has behind it would look like damage; what is no file has nothing there. */
	if (from >= 0 && ftruncate(rec->fd, from) && errno != EINVAL) {
		r = -errno;
		goto out;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	memcpy(b, "ZDTRACE\n", 8);
	store(b, 8, ZD_TRACE_VERSION, 4);
	store(b, 12, length + 4, 4);
	memcpy(b + 16, h->uuid, 16);
	store(b, 32, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, 8);
	store(b, 40, zd_now(), 8);
	store(b, 48, h->size, 8);
	store(b, 56, h->zone_size, 8);
	store(b, 64, h->zone_capacity, 8);
	store(b, 72, h->append_limit, 8);
	store(b, 80, h->seed, 8);
	store(b, 88, h->logical_block, 4);
	store(b, 92, h->physical_block, 4);
	store(b, 96, h->max_open, 4);
	store(b, 100, h->max_active, 4);
	b[104] = h->dialect;
	b[105] = h->model;
	b[106] = h->implicit_close;
	b[107] = h->data;
	b[108] = h->host_sync;
	b[109] = h->unrestricted_read;
	store(b, 112, h->nr_conv, 4);
	memcpy(b + 120, h->profile, 64);
	memcpy(b + ZD_TRACE_HEADER, h->conv, h->nr_conv * 8u);
	rec->crc = zd_crc32c(0, b, length);
	memcpy(b + length, &rec->crc, 4);
	while (!r && rec->written < length + 4) {
		ssize_t n = write(rec->fd, b + rec->written, length + 4 - rec->written);

		if (n > 0)
			rec->written += (uint64_t)n;
		else if (n == 0 || errno != EINTR)
			r = n ? -errno : -EIO;
	}
	rec->start_ns = 0;
	memcpy(&rec->start_ns, b + 40, 8);
out:
	free(b);
	return r;
}
