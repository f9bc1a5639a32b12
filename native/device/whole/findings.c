/* SPDX-License-Identifier: Apache-2.0 */
/* What a check found, as a list of bounded length: what is one too many is told all together. */
#include "device/whole/whole.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_FINDINGS 100000u /* a file full of damage is told in part */

/* What is one too many is told all together, and what it loses all the same. */
static struct zd_finding *spill(struct zd_check *c)
{
	struct zd_finding *last = &c->spill, *sum = &c->sum;

	if (c->nr_spilt == 1) {
		*sum = *last;
		sum->zone = ZD_NO_ZONE;
		sum->offset = ZD_NONE;
	} else if (c->nr_spilt) {
		sum->error |= last->error;
		sum->mendable &= last->mendable || !last->error;
		sum->mended &= last->mended || !last->error;
		sum->loses |= last->loses;
		sum->becomes = last->loses ? last->becomes : sum->becomes;
		sum->lost = sum->lost == ZD_NONE || last->lost == ZD_NONE ? ZD_NONE : sum->lost + last->lost;
	}
	c->nr_spilt++;
	return last;
}

void zd_find_spilt(struct zd_check *c)
{
	uint64_t n = c->nr_spilt;

	if (!n)
		return;
	spill(c); /* the last one, too */
	snprintf(c->sum.text, sizeof(c->sum.text), "and %llu more, of which the last %s: %.120s", (unsigned long long)n,
		 n == 1 ? "is" : "was", c->spill.text);
	c->at[c->n++] = c->sum;
}

struct zd_finding *zd_find(struct zd_check *c, int kind, uint32_t zone, uint64_t offset, bool error, bool mendable,
			   const char *format, ...)
{
	static struct zd_finding *const none = NULL;
	struct zd_finding *f;
	va_list args;

	if (c->n == c->room && c->room < MAX_FINDINGS + 1) {
		size_t room = c->room ? 2 * c->room : 16;
		struct zd_finding *at_;

		if (room > MAX_FINDINGS + 1)
			room = MAX_FINDINGS + 1; /* one place for all the rest */
		at_ = realloc(c->at, room * sizeof(*at_));
		if (!at_) {
			c->no_memory = true;
			return none;
		}
		c->at = at_;
		c->room = room;
	}
	f = c->n < MAX_FINDINGS ? &c->at[c->n++] : spill(c);
	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->zone = zone;
	f->offset = offset;
	f->error = error;
	f->mendable = mendable;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	return f;
}

void zd_find_mended(struct zd_finding *f, int r)
{
	if (f && r == 0)
		f->mended = 1;
}

static const char *cond_name(int cond)
{
	switch (cond) {
	case ZD_NOT_WP: return "not-wp";
	case ZD_EMPTY: return "empty";
	case ZD_IMPLICIT_OPEN: return "implicit-open";
	case ZD_EXPLICIT_OPEN: return "explicit-open";
	case ZD_CLOSED: return "closed";
	case ZD_FULL: return "full";
	case ZD_READ_ONLY: return "read-only";
	default: return "offline";
	}
}

/* 1,234,567 */
static void grouped(char *to, size_t room, uint64_t value)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value), i;
	size_t at = 0;

	for (i = 0; i < n && at + 2 < room; i++) {
		if (i && (n - i) % 3 == 0)
			to[at++] = ',';
		to[at++] = digits[i];
	}
	to[at] = 0;
}

/* Once it is known whether it was mended: what that cost the zone, or would. */
void zd_find_loss(struct zd_check *c, struct zd_finding *f, uint32_t zone, const struct zd_state *to, uint64_t lost)
{
	size_t n = f ? strlen(f->text) : 0;
	char bytes[32];

	if (!f || !lost)
		return;
	f->loses = 1;
	f->becomes = (uint8_t)zd_word_cond(to->word, zd_zone_type(&c->dev, zone));
	f->lost = lost;
	grouped(bytes, sizeof(bytes), lost);
	snprintf(f->text + n, sizeof(f->text) - n,
		 lost == ZD_NONE ? "%szone %u: %s, and how much of it is lost cannot be told" : "%szone %u: %s, %s bytes lost",
		 f->mended ? "; " : "; repair leaves ", zone, cond_name(f->becomes), bytes);
}
