/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what recorder.c wrote: items of a trace, each checked before it is believed. docs/trace-format.md. */
#include "device/hooks/hooks.h"

struct body {
	const uint8_t *at, *end;
	bool bad;
};

static uint64_t number(struct body *b)
{
	uint64_t value = 0;
	unsigned shift;

	for (shift = 0; shift < 64 && b->at < b->end; shift += 7) {
		uint8_t byte = *b->at++;

		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t)(byte & 0x7F) << shift;
		if (byte < 0x80)
			return value;
	}
	b->bad = true;
	return 0;
}

static uint32_t number32(struct body *b)
{
	uint64_t value = number(b);

	if (value > UINT32_MAX)
		b->bad = true;
	return (uint32_t)value;
}

static uint8_t byte(struct body *b)
{
	if (b->at < b->end)
		return *b->at++;
	b->bad = true;
	return 0;
}

static uint64_t difference(struct body *b)
{
	uint64_t value = number(b);

	return value >> 1 ^ (0 - (value & 1));
}

static void read_command(struct zd_trace_reader *reader, struct body *b, struct zd_trace_record *r)
{
	bool with_data = reader->with_data != 0;
	uint8_t flags;

	r->cmd = byte(b);
	if (r->cmd >= ZD_NR_CMDS && (r->cmd < ZD_TRACE_POWER_CUT || r->cmd > (with_data ? ZD_TRACE_MARK : ZD_TRACE_ROLLBACK)))
		b->bad = true;
	flags = byte(b);
	if (with_data) {
		r->marks = byte(b);
		if (r->marks & ZD_TRACE_HAS_DATA)
			r->data = number(b);
		r->marks &= (uint8_t)~ZD_TRACE_HAS_DATA;
	}
	r->start_ns = reader->start_ns + difference(b);
	r->duration_ns = number(b);
	r->virtual_ns = reader->virtual_ns + (flags & ZD_TF_VIRTUAL ? difference(b) : 0);
	r->pid = flags & ZD_TF_OPENER ? number32(b) : reader->pid;
	r->tid = flags & ZD_TF_OPENER ? number32(b) : reader->tid;
	r->offset = flags & ZD_TF_OFFSET ? number(b) : ZD_NONE;
	r->length = flags & ZD_TF_LENGTH ? number(b) : 0;
	r->zone = flags & ZD_TF_ZONE ? number32(b) : ZD_NO_ZONE;
	r->landed = flags & ZD_TF_LANDED ? number(b) : ZD_NONE;
	r->done = r->cmd <= ZD_CMD_APPEND ? r->length : 0;
	r->wp = ZD_NONE;
	r->cond = 0xFF;
	if (flags & ZD_TF_FAILED) {
		uint64_t code = number(b);

		if (code == 0 || code > 4095)
			b->bad = true;
		r->result = -(int32_t)(code & 0xFFFF);
		r->done = number(b);
		r->wp = number(b) - 1;
		r->bound = number(b) - 1;
		r->cond = byte(b);
	}
	r->injected = flags & ZD_TF_INJECTED ? 1 : 0;
	if (r->injected)
		r->fault = number32(b);
	r->number = reader->commands++;
	reader->start_ns = r->start_ns;
	reader->virtual_ns = r->virtual_ns;
	reader->pid = r->pid;
	reader->tid = r->tid;
}

static void read_body(struct zd_trace_reader *reader, struct body *b, struct zd_trace_record *r)
{
	switch (r->kind) {
	case ZD_TRACE_COMMAND: read_command(reader, b, r); return;
	case ZD_TRACE_ZONE_BEFORE:
	case ZD_TRACE_ZONE_AFTER:
		r->zone = number32(b);
		r->cond = byte(b);
		r->flags = byte(b);
		r->done = number(b);
		r->length = number(b);
		r->offset = number(b);
		r->wp = r->flags & 16 ? number(b) : 0;
		return;
	case ZD_TRACE_DATA:
	case ZD_TRACE_BASE:
		r->data = r->kind == ZD_TRACE_DATA ? number(b) : 0;
		r->offset = number(b);
		r->length = number(b);
		r->done = number(b);
		if (!r->length || r->length > ZD_TRACE_PIECE || (r->done != r->length && r->done != 8))
			b->bad = true;
		return;
	default:
		r->bound = number(b);
		r->done = number(b);
		r->length = number(b);
		reader->ended = r->kind == ZD_TRACE_END;
	}
}

int64_t zd_trace_read(struct zd_trace_reader *reader, const void *bytes, uint64_t length, struct zd_trace_record *out,
		      uint64_t max, uint64_t *used)
{
	const uint8_t *begin = bytes, *at = begin, *end = begin + length;
	uint64_t n = 0;

	while (!reader->damage && !reader->ended && n < max && end - at >= 2) {
		struct zd_trace_reader next = *reader;
		struct zd_trace_record *r = &out[n];
		struct body b = { at + 2, at + 2 + at[1], false };
		uint32_t crc;

		uint64_t payload = 0, whole;

		if (at[0] < ZD_TRACE_COMMAND || at[0] > (reader->with_data ? ZD_TRACE_BASE : ZD_TRACE_END) || at[1] >= 128) {
			reader->damage = at[1] >= 128 ? ZD_TRACE_BODY : ZD_TRACE_KIND;
			break;
		}
		if (end - at < 2 + at[1] + 4)
			break;
		memset(r, 0, sizeof(*r));
		r->kind = at[0];
		if (at[0] == ZD_TRACE_DATA || at[0] == ZD_TRACE_BASE) { /* its length must be known before its checksum is */
			struct body peek = b;

			read_body(&next, &peek, r);
			payload = peek.bad || peek.at != peek.end ? 0 : r->done;
			next = *reader;
			memset(r, 0, sizeof(*r));
			r->kind = at[0];
		}
		whole = 2u + at[1] + payload + 4u;
		if ((uint64_t)(end - at) < whole)
			break;
		next.crc = zd_crc32c(reader->crc, at, whole - 4u);
		memcpy(&crc, at + whole - 4u, sizeof(crc));
		if (crc != next.crc) {
			reader->damage = ZD_TRACE_CHECKSUM;
			break;
		}
		read_body(&next, &b, r);
		if (b.bad || b.at != b.end) {
			reader->damage = ZD_TRACE_BODY;
			break;
		}
		if (payload)
			r->start_ns = reader->at + 2u + at[1];
		next.at += whole;
		at += whole;
		*reader = next;
		n++;
	}
	*used = (uint64_t)(at - begin);
	return (int64_t)n;
}
