/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block traces in text form, line by line: MSR Cambridge, Alibaba, Tencent CBS, fio iolog versions 2 and 3, blkparse's
 * default output. A line that is none is counted, not fatal; what a line means is written at each format. So is a line
 * that asks for more than any disk can do: one damaged digit must not keep a replay busy for years.
 */
#include "common.h"

struct text {
	const char *at, *end;
};

static bool number(struct text *t, uint64_t *value)
{
	const char *begin = t->at;
	uint64_t v = 0;

	for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
		uint64_t digit = (uint64_t)(*t->at - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*value = v;
	return t->at > begin;
}

/* A decimal number times `unit` (a power of ten): 1.5 with 1000000000 is 1500000000. */
static bool scaled(struct text *t, uint64_t unit, uint64_t *value)
{
	uint64_t whole;

	if (!number(t, &whole) || whole > UINT64_MAX / 4 / unit)
		return false;
	whole *= unit;
	if (t->at < t->end && *t->at == '.') {
		t->at++;
		for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
			unit /= 10;
			whole += (uint64_t)(*t->at - '0') * unit;
		}
	}
	*value = whole;
	return true;
}

static bool comma(struct text *t)
{
	if (t->at < t->end && *t->at == ',') {
		t->at++;
		return true;
	}
	return false;
}

static void spaces(struct text *t)
{
	while (t->at < t->end && (*t->at == ' ' || *t->at == '\t'))
		t->at++;
}

/* A word up to a space or comma. */
static struct text word(struct text *t)
{
	struct text w = { t->at, t->at };

	while (t->at < t->end && *t->at != ' ' && *t->at != '\t' && *t->at != ',')
		t->at++;
	w.end = t->at;
	return w;
}

/* A word, and on to the next one. */
static struct text next_word(struct text *t)
{
	struct text found = word(t);

	spaces(t);
	return found;
}

static bool is(struct text w, const char *name)
{
	size_t n = strlen(name);

	return (size_t)(w.end - w.at) == n && !memcmp(w.at, name, n);
}

static bool begins(struct text w, const char *name)
{
	size_t n = strlen(name);

	return (size_t)(w.end - w.at) >= n && !memcmp(w.at, name, n);
}

static bool ended(struct text *t)
{
	spaces(t);
	return t->at == t->end;
}

static bool skip_field(struct text *t)
{
	word(t);
	return comma(t);
}

enum verdict { BAD, COMMAND, IGNORED };

/* Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime: 100 ns units since 1601, bytes. */
static enum verdict msr(struct text *t, struct zd_sim_record *r)
{
	uint64_t when, disk, rest;
	struct text type;

	if (!number(t, &when) || !comma(t) || !skip_field(t) || !number(t, &disk) || !comma(t))
		return BAD;
	type = word(t);
	if (is(type, "Read") || is(type, "read"))
		r->dir = ZD_SIM_READ;
	else if (is(type, "Write") || is(type, "write"))
		r->dir = ZD_SIM_WRITE;
	else
		return BAD;
	if (!comma(t) || !number(t, &r->offset) || !comma(t) || !number(t, &r->length) || !comma(t) || !number(t, &rest) ||
	    !ended(t))
		return BAD;
	r->time = when;
	r->device = (uint32_t)disk;
	return COMMAND;
}

/* device_id,opcode,offset,length,timestamp: bytes, microseconds. */
static enum verdict alibaba(struct text *t, struct zd_sim_record *r)
{
	uint64_t device;
	struct text op, line = *t;

	if (!number(t, &device)) {
		struct text first = word(&line);

		return is(first, "device_id") ? IGNORED : BAD; /* the header, where there is one */
	}
	if (!comma(t))
		return BAD;
	op = word(t);
	if (is(op, "R"))
		r->dir = ZD_SIM_READ;
	else if (is(op, "W"))
		r->dir = ZD_SIM_WRITE;
	else
		return BAD;
	if (!comma(t) || !number(t, &r->offset) || !comma(t) || !number(t, &r->length) || !comma(t) || !number(t, &r->time) ||
	    !ended(t))
		return BAD;
	r->device = (uint32_t)device;
	return COMMAND;
}

/* timestamp,offset,size,iotype,volume: seconds, sectors of 512 bytes, 0 read and 1 write (SNIA IOTTA 27917). */
static enum verdict tencent(struct text *t, struct zd_sim_record *r)
{
	uint64_t type, volume;

	if (!scaled(t, 1000000000, &r->time) || !comma(t) || !number(t, &r->offset) || !comma(t) || !number(t, &r->length) ||
	    !comma(t) || !number(t, &type) || type > 1 || !comma(t) || !number(t, &volume) || !ended(t))
		return BAD;
	if (r->offset > UINT64_MAX / 1024 || r->length > UINT32_MAX)
		return BAD;
	r->offset *= 512;
	r->length *= 512;
	r->dir = type ? ZD_SIM_WRITE : ZD_SIM_READ;
	r->device = (uint32_t)volume;
	return COMMAND;
}

/* FNV-1a. */
static uint32_t hash(struct text name)
{
	uint32_t h = 2166136261u;

	for (; name.at < name.end; name.at++)
		h = (h ^ (uint8_t)*name.at) * 16777619u;
	return h;
}

/* [time] filename action [offset length] (fio's HOWTO, "Trace file format"). */
static enum verdict iolog(struct zd_trace_parser *p, struct text *t, struct zd_sim_record *r)
{
	struct text action, name;
	bool v3 = p->format == ZD_TRACE_IOLOG3;
	uint64_t when = 0;

	if (v3) {
		if (!number(t, &when))
			return BAD;
		spaces(t);
	}
	name = next_word(t);
	action = next_word(t);
	if (is(action, "add") || is(action, "open") || is(action, "close"))
		return ended(t) ? IGNORED : BAD;
	if (is(action, "read"))
		r->dir = ZD_SIM_READ;
	else if (is(action, "write"))
		r->dir = ZD_SIM_WRITE;
	else if (is(action, "trim"))
		r->dir = ZD_SIM_TRIM;
	else if (is(action, "sync") || is(action, "datasync"))
		r->dir = ZD_SIM_NR_DIRS;
	else if (is(action, "wait") && !v3)
		r->dir = UINT32_MAX;
	else
		return BAD;
	if (!number(t, &r->offset))
		return BAD;
	spaces(t);
	if (!number(t, &r->length) || !ended(t))
		return BAD;
	if (r->dir == UINT32_MAX) { /* microseconds since the wait before */
		if (r->offset > UINT32_MAX)
			return BAD;
		p->clock += r->offset * 1000;
		return IGNORED;
	}
	r->time = v3 ? when : p->clock;
	r->device = p->files ? hash(name) : 0;
	return COMMAND;
}

/* What follows the Z in blkparse's rwbs: Linux's blk_fill_rwbs(). */
static enum verdict zone_command(struct text name, struct zd_sim_record *r)
{
	static const struct {
		const char *name;
		uint32_t dir;
	} names[] = { { "RA", ZD_TRACE_DIR_RESET_ALL }, { "R", ZD_TRACE_DIR_RESET },  { "O", ZD_TRACE_DIR_OPEN },
		      { "C", ZD_TRACE_DIR_CLOSE },      { "F", ZD_TRACE_DIR_FINISH }, { "A", ZD_TRACE_DIR_APPEND } };
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		size_t n = strlen(names[i].name);

		/* Behind it come marks such as S for synchronous. */
		if ((size_t)(name.end - name.at) >= n && !memcmp(name.at, names[i].name, n)) {
			r->dir = names[i].dir;
			return COMMAND;
		}
	}
	return IGNORED;
}

/* maj,min cpu seq time pid action rwbs sector + sectors [process] (man blkparse, default format). */
static enum verdict blkparse(struct zd_trace_parser *p, struct text *t, struct zd_sim_record *r)
{
	uint64_t major, minor, x;
	struct text action, rwbs, line = *t;
	const char *at;

	spaces(t);
	if (!number(t, &major) || !comma(t) || !number(t, &minor))
		return p->started || begins(line, "Input file ") ? IGNORED :
								   BAD; /* the summary at the end; which files it reads */
	spaces(t);
	if (!number(t, &x))
		return BAD;
	spaces(t);
	if (!number(t, &x))
		return BAD;
	spaces(t);
	if (!scaled(t, 1000000000, &r->time))
		return BAD;
	spaces(t);
	if (!number(t, &x))
		return BAD;
	spaces(t);
	action = next_word(t);
	rwbs = word(t);
	if (action.end == action.at)
		return BAD;
	if (action.end - action.at != 1 || (uint32_t)*action.at != p->action)
		return IGNORED;
	if (rwbs.end == rwbs.at)
		return BAD;
	spaces(t);
	if (!number(t, &r->offset))
		return IGNORED; /* a flush has no place */
	spaces(t);
	if (t->at == t->end || *t->at++ != '+')
		return IGNORED; /* a command passed through: its bytes and its CDB; or one without data */
	spaces(t);
	if (!number(t, &r->length) || r->offset > UINT64_MAX / 1024 || r->length > UINT32_MAX)
		return BAD;
	r->offset *= 512;
	r->length *= 512;
	r->device = (uint32_t)(major << 20 | minor);
	for (at = rwbs.at; at < rwbs.end; at++) {
		if (*at == 'Z')
			return p->zones ? zone_command((struct text){ at + 1, rwbs.end }, r) : IGNORED;
		if (*at == 'W' || *at == 'R' || *at == 'D') {
			r->dir = *at == 'W' ? ZD_SIM_WRITE : *at == 'R' ? ZD_SIM_READ : ZD_SIM_TRIM;
			return COMMAND;
		}
	}
	return IGNORED;
}

static enum verdict parse_line(struct zd_trace_parser *p, struct text t, struct zd_sim_record *r)
{
	struct text line = t;

	memset(r, 0, sizeof(*r));
	if (ended(&line))
		return IGNORED;
	switch (p->format) {
	case ZD_TRACE_MSR: return msr(&t, r);
	case ZD_TRACE_ALIBABA: return alibaba(&t, r);
	case ZD_TRACE_TENCENT: return tencent(&t, r);
	case ZD_TRACE_IOLOG2:
	case ZD_TRACE_IOLOG3:
		if (p->line == 1) {
			const char *head = p->format == ZD_TRACE_IOLOG2 ? "fio version 2 iolog" : "fio version 3 iolog";
			size_t n = strlen(head);

			return (size_t)(t.end - t.at) == n && !memcmp(t.at, head, n) ? IGNORED : BAD;
		}
		return iolog(p, &t, r);
	case ZD_TRACE_BLKPARSE: return blkparse(p, &t, r);
	default: return BAD;
	}
}

/* Whether a command is one that a disk could have got, so long after the first. Its time becomes that since then. */
static bool possible(struct zd_trace_parser *p, struct zd_sim_record *r)
{
	static const uint64_t unit[] = { 100, 1000, 1, 1, 0, 1 };
	uint64_t ns = p->format == ZD_TRACE_IOLOG3 ? (p->iolog_ns ? 1 : 1000000) : unit[p->format];
	bool from_zero = p->format == ZD_TRACE_IOLOG2 || p->format == ZD_TRACE_IOLOG3;
	uint64_t first = p->started ? p->first_time : from_zero ? 0 : r->time;

	if (r->offset >= 1ull << 63 || r->length > (1ull << 63) - r->offset)
		return false;
	if ((r->dir < ZD_SIM_TRIM || r->dir == ZD_TRACE_DIR_APPEND) && r->length > ZD_SIM_MOST_LENGTH)
		return false;
	/* A trace that goes back in time stands still there. */
	r->time = r->time > first ? r->time - first : 0;
	if (r->time > ZD_SIM_MOST_TIME / ns)
		return false;
	r->time *= ns;
	p->started = 1;
	p->first_time = first;
	return true;
}

int64_t zd_trace_parse(struct zd_trace_parser *p, const char *text, uint64_t length, int last, struct zd_sim_record *out,
		       uint64_t max, uint64_t *used)
{
	const char *at = text, *end = text + length;
	uint64_t n = 0;

	while (at < end && n < max) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		struct text line = { at, newline ? newline : end };
		enum verdict v;

		if (!newline && !last)
			break;
		at = newline ? newline + 1 : end;
		if (line.end > line.at && line.end[-1] == '\r')
			line.end--;
		p->line++;
		v = parse_line(p, line, &out[n]);
		if (v == COMMAND && !possible(p, &out[n]))
			v = BAD;
		if (v == IGNORED) {
			p->ignored++;
			continue;
		}
		if (v == BAD) {
			if (!p->bad++) {
				size_t shown = (size_t)(line.end - line.at);

				if (shown > sizeof(p->bad_text) - 1)
					shown = sizeof(p->bad_text) - 1;
				p->bad_line = p->line;
				memcpy(p->bad_text, line.at, shown);
				p->bad_text[shown] = 0;
			}
			continue;
		}
		p->records++;
		n++;
	}
	*used = (uint64_t)(at - text);
	return (int64_t)n;
}
