/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broken rule in words: one sentence with the numbers that matter. The only place where such sentences are written,
 * for the library, the mount and whatever else tells a person. Pure: what it needs of the disk is handed in.
 */
#include "rules/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text {
	char *at;
	size_t size, used; /* used: what it takes, also beyond size */
};

static void say(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->used < t->size ? t->at + t->used : NULL, t->used < t->size ? t->size - t->used : 0, format, args);
	va_end(args);
	if (n > 0)
		t->used += (size_t)n;
}

const char *zd_cond_name(int cond)
{
	switch (cond) {
	case ZD_NOT_WP: return "NOT_WP";
	case ZD_EMPTY: return "EMPTY";
	case ZD_IMPLICIT_OPEN: return "IMPLICIT_OPEN";
	case ZD_EXPLICIT_OPEN: return "EXPLICIT_OPEN";
	case ZD_CLOSED: return "CLOSED";
	case ZD_READ_ONLY: return "READ_ONLY";
	case ZD_FULL: return "FULL";
	case ZD_OFFLINE: return "OFFLINE";
	default: return NULL;
	}
}

const char *zd_dialect_name(int dialect)
{
	static const char *const names[] = { "zbc", "zns", "nullblk" };

	return dialect >= 0 && dialect < 3 ? names[dialect] : NULL;
}

const char *zd_cmd_name(int cmd)
{
	switch (cmd) {
	case ZD_CMD_READ: return "read";
	case ZD_CMD_WRITE: return "write";
	case ZD_CMD_APPEND: return "append";
	case ZD_CMD_OPEN:
	case ZD_CMD_OPEN_ALL: return "open";
	case ZD_CMD_CLOSE:
	case ZD_CMD_CLOSE_ALL: return "close";
	case ZD_CMD_FINISH:
	case ZD_CMD_FINISH_ALL: return "finish";
	case ZD_CMD_RESET:
	case ZD_CMD_RESET_ALL: return "reset";
	case ZD_CMD_POWER_CYCLE: return "power cycle";
	case ZD_CMD_SET_EMPTY: return "set_condition EMPTY";
	case ZD_CMD_SET_READ_ONLY: return "set_condition READ_ONLY";
	case ZD_CMD_SET_OFFLINE: return "set_condition OFFLINE";
	case ZD_CMD_FLUSH: return "flush";
	case ZD_CMD_SET_EXTENSION: return "set_zone_extension";
	case ZD_CMD_OPEN_ZRWA: return "open with a random write area";
	case ZD_CMD_COMMIT_ZRWA: return "commit";
	default: return NULL;
	}
}

static bool is_data(int cmd)
{
	return cmd == ZD_CMD_READ || cmd == ZD_CMD_WRITE;
}

/* A zone was named that the disk does not have: its number is in the place of the offset, how many in that of the length. */
static bool names_no_zone(const struct zd_error *err)
{
	return err->code == ZD_E_OUT_OF_RANGE && !is_data(err->cmd);
}

/* The zone that a command on data begins in. */
static uint32_t begins(const struct zd_error *err, const struct zd_said_disk *d)
{
	return err->offset < d->size ? (uint32_t)(err->offset / d->zone_size) : ZD_NO_ZONE;
}

static uint64_t zone_of(const struct zd_error *err)
{
	return names_no_zone(err) ? err->offset : err->zone == ZD_NO_ZONE ? ZD_NONE : err->zone;
}

/* "write at 8192 in zone 3", "reset of zone 3", "open of all zones"; with_size: "write of 4096 bytes at 8192 in zone 3". */
static void command(struct text *t, const struct zd_error *err, const struct zd_said_disk *d, bool with_size)
{
	const char *verb = zd_cmd_name(err->cmd);
	uint64_t zone = zone_of(err);
	char size[40] = "";

	if (with_size && err->length)
		snprintf(size, sizeof(size), " of %llu byte%s", (unsigned long long)err->length, err->length == 1 ? "" : "s");
	if (!verb)
		verb = "command";
	if (err->cmd == ZD_CMD_APPEND) {
		say(t, "append%s to zone %llu", size, (unsigned long long)zone);
	} else if (is_data(err->cmd)) {
		say(t, "%s%s at %llu", verb, size, (unsigned long long)err->offset);
		if (begins(err, d) != ZD_NO_ZONE)
			say(t, " in zone %u", begins(err, d));
	} else if (err->cmd >= ZD_CMD_OPEN_ALL && err->cmd <= ZD_CMD_RESET_ALL) {
		say(t, "%s of all zones", verb);
	} else if (zone == ZD_NONE) {
		say(t, "%s", verb);
	} else {
		say(t, "%s of zone %llu", verb, (unsigned long long)zone);
	}
}

/* Whether a read began in another zone than the one that is concerned. */
static bool elsewhere(const struct zd_error *err, const struct zd_said_disk *d)
{
	return is_data(err->cmd) && err->zone != ZD_NO_ZONE && err->zone != begins(err, d);
}

/* "the zone", or its number where the command began in another one. */
static void the_zone(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	if (elsewhere(err, d))
		say(t, "zone %u", err->zone);
	else
		say(t, "the zone");
}

/* "write of 4096 bytes at 8192 in zone 3 crosses 12288, ...": the command, and what it does with the number that the rule has. */
static void passes(struct text *t, const struct zd_error *err, const struct zd_said_disk *d, const char *how, uint64_t number,
		   const char *behind)
{
	command(t, err, d, true);
	say(t, " %s %llu%s", how, (unsigned long long)number, behind);
}

static void refused(struct text *t, const struct zd_error *err, const struct zd_said_disk *d, const char *what)
{
	command(t, err, d, false);
	say(t, " is refused: ");
	the_zone(t, err, d);
	say(t, " %s", what);
}

static void no_zone(struct text *t, uint64_t zone, const struct zd_said_disk *d)
{
	say(t, "zone %llu does not exist: the disk has zones 0 to %u", (unsigned long long)zone, d->nr_zones - 1);
}

static void unaligned_write(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	if (err->wp != ZD_NONE && err->wp != err->offset) {
		command(t, err, d, false);
		say(t, " is not at its write pointer %llu", (unsigned long long)err->wp);
	} else {
		passes(t, err, d, "does not end on a physical block: length must be a multiple of", d->physical_block, "");
	}
}

static uint64_t zone_end(const struct zd_error *err, const struct zd_said_disk *d)
{
	return err->zone == ZD_NO_ZONE ? d->size : d->zone_start + d->zone_length;
}

static uint64_t capacity_end(const struct zd_error *err, const struct zd_said_disk *d)
{
	return err->zone == ZD_NO_ZONE ? d->size : d->zone_start + d->zone_capacity;
}

static void write_boundary(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	uint64_t start = err->cmd == ZD_CMD_APPEND && err->wp != ZD_NONE ? err->wp : err->offset;
	uint64_t capacity = capacity_end(err, d), end = zone_end(err, d);

	if (start != ZD_NONE && capacity < end && start + err->length > capacity)
		passes(t, err, d, "passes the zone's capacity, which ends at", capacity, "");
	else
		passes(t, err, d, "crosses the end of the zone at", end, "");
}

/* An explicit commit: its place is where it was to end. */
static void commit_boundary(struct text *t, const struct zd_error *err)
{
	say(t, "commit of zone %u to %llu is refused: its random write area begins at %llu, and commits go on to %llu at most",
	    err->zone, (unsigned long long)err->offset, (unsigned long long)err->wp, (unsigned long long)err->bound);
}

static void zone_operation(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	command(t, err, d, false);
	if (err->cmd == ZD_CMD_APPEND)
		say(t, " is refused: the zone has a random write area, and takes no appends");
	else
		say(t, " is refused: the disk was made with a zrwa_size of 0, so its zones have no random write areas");
}

static void too_many(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	bool open = err->code == ZD_E_TOO_MANY_OPEN;
	uint32_t opened = d->nr_implicit + d->nr_explicit;

	command(t, err, d, false);
	say(t, " needs one more %s zone", open ? "open" : "active");
	if (err->injected) /* the numbers would say that there is room */
		say(t, ", and none is left");
	else if (open)
		say(t, ": %u %s open (%u implicitly, %u explicitly) and at most %u may be; close, finish or reset one of them",
		    opened, opened == 1 ? "is" : "are", d->nr_implicit, d->nr_explicit, d->max_open);
	else
		say(t, ": %u %s active (%u open, %u closed) and at most %u may be; finish or reset one of them",
		    opened + d->nr_closed, opened + d->nr_closed == 1 ? "is" : "are", opened, d->nr_closed, d->max_active);
}

static void out_of_range(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	if (!names_no_zone(err)) {
		passes(t, err, d, "passes the end of the disk at", d->size, "");
	} else if (err->offset >= d->nr_zones) {
		no_zone(t, err->offset, d);
	} else if (err->length == 0) {
		say(t, "count is 0: it must be at least 1 (");
		command(t, err, d, false);
		say(t, ")");
	} else {
		say(t, "%llu zone%s from zone %llu on: ", (unsigned long long)err->length, err->length == 1 ? "" : "s",
		    (unsigned long long)err->offset);
		no_zone(t, err->offset + err->length - 1, d);
	}
}

static void medium_error(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	command(t, err, d, true);
	say(t, " failed: medium error");
	if (!err->length || err->bound < err->offset)
		return;
	say(t, " at %llu, ", (unsigned long long)err->bound);
	if (err->bound == err->offset)
		say(t, "nothing was transferred");
	else
		say(t, "what lies before it was %s", err->cmd == ZD_CMD_READ ? "read" : "written");
}

static void rule(struct text *t, const struct zd_error *err, const struct zd_said_disk *d)
{
	const char *dialect = zd_dialect_name(d->dialect), *cond = zd_cond_name(err->cond);

	switch (err->code) {
	case ZD_E_UNALIGNED_WRITE: unaligned_write(t, err, d); break;
	case ZD_E_WRITE_BOUNDARY:
		if (err->cmd == ZD_CMD_COMMIT_ZRWA)
			commit_boundary(t, err);
		else
			write_boundary(t, err, d);
		break;
	case ZD_E_READ_BOUNDARY:
		passes(t, err, d, "crosses the end of the zone at", zone_end(err, d),
		       ", and this disk does not read across zones");
		break;
	case ZD_E_READ_TYPE:
		passes(t, err, d, "crosses", err->bound,
		       ", where another type of zone or a gap begins, and a host-managed disk does not read across that");
		break;
	case ZD_E_INVALID_READ:
		command(t, err, d, true);
		say(t, " passes ");
		if (elsewhere(err, d))
			say(t, "zone %u's", err->zone);
		else
			say(t, "its");
		say(t, " write pointer %llu, and this disk reads only what was written", (unsigned long long)err->bound);
		break;
	case ZD_E_ZONE_FULL: refused(t, err, d, "is full; reset it before writing to it again"); break;
	case ZD_E_ZONE_READ_ONLY: refused(t, err, d, "is read-only"); break;
	case ZD_E_ZONE_OFFLINE: refused(t, err, d, "is offline, its data is lost"); break;
	case ZD_E_TOO_MANY_OPEN:
	case ZD_E_TOO_MANY_ACTIVE: too_many(t, err, d); break;
	case ZD_E_INVALID_TRANSITION:
		command(t, err, d, false);
		say(t, " is refused: dialect %s does not allow it in ", dialect);
		if (cond)
			say(t, "condition %s", cond);
		else
			say(t, "this condition");
		break;
	case ZD_E_CONVENTIONAL: refused(t, err, d, "is conventional and has no write pointer"); break;
	case ZD_E_GAP:
		command(t, err, d, false);
		say(t, " starts in the gap between the zone's capacity, which ends at %llu, and its end at %llu",
		    (unsigned long long)capacity_end(err, d), (unsigned long long)zone_end(err, d));
		break;
	case ZD_E_OUT_OF_RANGE: out_of_range(t, err, d); break;
	case ZD_E_BLOCK_ALIGNMENT:
		passes(t, err, d, "is not in whole blocks: offset and length must be multiples of the logical block,",
		       d->logical_block, "");
		break;
	case ZD_E_APPEND_LIMIT: passes(t, err, d, "is longer than the append limit,", d->append_limit, ""); break;
	case ZD_E_UNSUPPORTED:
		command(t, err, d, false);
		if (err->cmd == ZD_CMD_SET_EXTENSION && d->dialect == ZD_ZNS)
			say(t, " is refused: the disk was made with a zone_extension of 0, so its zones have none");
		else
			say(t, " is refused: dialect %s has no such command", dialect);
		break;
	case ZD_E_MEDIUM_READ:
	case ZD_E_MEDIUM_WRITE: medium_error(t, err, d); break;
	case ZD_E_POWER_LOSS:
		command(t, err, d, false);
		say(t, " failed: the emulated disk has no power");
		break;
	case ZD_E_TIMEOUT:
		command(t, err, d, false);
		say(t, " hung and timed out; it was not done");
		break;
	case ZD_E_MISCOMPARE:
		say(t, "the disk holds other data than was given: byte %llu is the first that differs",
		    (unsigned long long)err->bound);
		break;
	case ZD_E_SEQUENTIAL:
		command(t, err, d, false);
		say(t,
		    " without data is refused: the zone is sequential, and only conventional zones can be zeroed or deallocated");
		break;
	case ZD_E_ZRWA_UNAVAILABLE:
		command(t, err, d, false);
		if (err->bound)
			say(t, " is refused: %llu zones have one already, and no more may", (unsigned long long)err->bound);
		else
			say(t, " is refused: its write pointer %llu is on no multiple of the zrwa_granularity",
			    (unsigned long long)err->wp);
		break;
	case ZD_E_ZONE_OPERATION: zone_operation(t, err, d); break;
	case ZD_E_OUTSIDE_ZRWA:
		passes(t, err, d, "lies outside of the zone's random write area, which begins at", err->bound,
		       " and may be moved by its own size at most");
		break;
	case ZD_E_COMMIT:
		if (err->bound)
			say(t,
			    "commit of zone %u to %llu is refused: it must end on a multiple of %llu bytes from the zone's start",
			    err->zone, (unsigned long long)err->offset, (unsigned long long)err->bound);
		else
			refused(t, err, d, "has no random write area");
		break;
	}
	if (err->injected) {
		size_t label = strnlen(err->text, sizeof(err->text));

		say(t, " (injected by fault %u%s%.*s)", err->fault, label ? ": " : "", (int)label, err->text);
	}
}

size_t zd_rule_sentence(const struct zd_error *err, const struct zd_said_disk *disk, char *text, size_t size)
{
	struct text t = { text, size, 0 };

	if (size)
		text[0] = '\0';
	if (zd_rule_info(err->code, disk->dialect))
		rule(&t, err, disk);
	return t.used;
}
