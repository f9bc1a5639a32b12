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
	if (rec->base) {
		bool has_data = r->data > rec->data_from;

		*to++ = (uint8_t)(r->marks | (has_data ? ZD_TRACE_HAS_DATA : 0));
		if (has_data)
			to = put_number(to, r->data - rec->data_from);
	}
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

static void list_part(struct zd_recorder *rec, void *at, uint64_t length)
{
	if (length)
		rec->parts[rec->nr_parts++] = (struct iovec){ at, length };
}

static void list_piece(struct zd_recorder *rec)
{
	list_part(rec, rec->piece + rec->listed, rec->used - rec->listed);
	rec->listed = rec->used;
}

int zd_record_write_out(struct zd_recorder *rec)
{
	struct iovec *iov = rec->parts;
	int r = 0;

	list_piece(rec);
	while (rec->nr_parts) {
		ssize_t done = writev(rec->fd, iov, (int)rec->nr_parts);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			r = done ? -errno : -EIO;
			break;
		}
		rec->written += (uint64_t)done;
		for (; rec->nr_parts && (size_t)done >= iov->iov_len; iov++, rec->nr_parts--)
			done -= (ssize_t)iov->iov_len;
		if (rec->nr_parts) {
			iov->iov_base = (uint8_t *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	rec->used = rec->listed = rec->nr_parts = 0; /* a file that could not be written gets no more */
	rec->held = 0;
	return r;
}

/* Behind an item: its checksum, and with that of all before it. */
static int seal(struct zd_recorder *rec)
{
	memcpy(rec->piece + rec->used, &rec->crc, sizeof(rec->crc));
	rec->used += (uint32_t)sizeof(rec->crc);
	/* An item of data lists three parts at most, and writing out one. */
	if (rec->used >= ZD_RECORD_PIECE || rec->held >= ZD_RECORD_DATA || rec->nr_parts + 4 > ZD_RECORD_PARTS)
		return zd_record_write_out(rec);
	return 0;
}

static void put_head(struct zd_recorder *rec, int kind, const uint8_t *body, size_t length)
{
	uint8_t *begin = rec->piece + rec->used;

	begin[0] = (uint8_t)kind;
	begin[1] = (uint8_t)length; /* always below 128: one byte of a number */
	memcpy(begin + 2, body, length);
	rec->crc = zd_crc32c(rec->crc, begin, 2 + length);
	rec->used += 2u + (uint32_t)length;
}

int zd_record_item(struct zd_recorder *rec, int kind, const uint8_t *body, size_t length)
{
	put_head(rec, kind, body, length);
	return seal(rec);
}

static bool repeats(const uint8_t *bytes, uint64_t length)
{
	return length > 8 && length % 8 == 0 && !memcmp(bytes, bytes + 8, length - 8);
}

int zd_record_data(struct zd_recorder *rec, uint64_t data, uint64_t at, const struct iovec bytes[2])
{
	uint64_t length = bytes[0].iov_len + bytes[1].iov_len, first = bytes[0].iov_len;
	uint8_t body[64], *to = body;

	if (!bytes[1].iov_len && repeats(bytes[0].iov_base, length))
		first = 8;
	if (data)
		to = put_number(to, data);
	to = put_number(put_number(to, at), length);
	to = put_number(to, first + bytes[1].iov_len);
	put_head(rec, data ? ZD_TRACE_DATA : ZD_TRACE_BASE, body, (size_t)(to - body));
	list_piece(rec);
	list_part(rec, bytes[0].iov_base, first);
	list_part(rec, bytes[1].iov_base, bytes[1].iov_len);
	rec->held += first + bytes[1].iov_len;
	rec->crc = zd_crc32c(rec->crc, bytes[0].iov_base, first);
	rec->crc = zd_crc32c(rec->crc, bytes[1].iov_base, bytes[1].iov_len);
	return seal(rec);
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
	if (row->flags & 16)
		to = put_number(to, row->wp);
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
	const uint32_t areas[3] = { h->zrwa_size, h->zrwa_granularity, h->zrwa_count };
	size_t length = ZD_TRACE_HEADER + h->nr_conv * 8u + (h->zrwa_size ? sizeof(areas) : 0);
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
	memcpy(b, rec->base ? "ZDHISTO\n" : "ZDTRACE\n", 8);
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
	store(b, 110, h->zone_extension, 2);
	store(b, 112, h->nr_conv, 4);
	store(b, 116, h->zrwa_size != 0, 4);
	memcpy(b + 120, h->profile, 64);
	memcpy(b + ZD_TRACE_HEADER, h->conv, h->nr_conv * 8u);
	if (h->zrwa_size)
		memcpy(b + length - sizeof(areas), areas, sizeof(areas));
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
