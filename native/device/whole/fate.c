/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power cut may leave of a snapshot: each zone and each block that is not durable has a fate of its own, with so
 * many choices, and every combination of choices is a survivor. Values only: no lock, no I/O.
 */
#include "device/whole/whole.h"

#include <stdlib.h>

void zd_fate_of_zone(const zd_dev *dev, uint32_t zone, uint64_t written, uint64_t durable, struct zd_fate *out)
{
	bool required = zd_zone_type(dev, zone) == ZD_SEQ_WRITE_REQUIRED;

	memset(out, 0, sizeof(*out));
	out->zone = zone;
	out->high = written;
	out->low = durable < written ? durable : written;
	out->step = required ? dev->g.h.physical_block : dev->g.h.logical_block;
	out->choices = (out->high - out->low + out->step - 1) / out->step + 1;
}

uint64_t zd_fate_length(const struct zd_fate *fate, uint64_t choice)
{
	uint64_t length = fate->low + choice * fate->step;

	return length < fate->high ? length : fate->high;
}

static int row_cond(const zd_dev *dev, const struct zd_row *row)
{
	return zd_word_cond(row->word, zd_zone_type(dev, row->zone));
}

static bool filled(const zd_dev *dev, const struct zd_row *row)
{
	return row_cond(dev, row) == ZD_FULL && !(row->word & ZD_W_FINISHED);
}

/* Whether zones that were written full stay so, as no active resource is left for them to fall back to. */
static bool is_crowded(const zd_snapshot *s)
{
	const zd_dev *dev = s->origin->dev;
	uint32_t i, n = 0;

	for (i = 0; i < s->n; i++) {
		int cond = row_cond(dev, &s->rows[i]);

		n += cond == ZD_IMPLICIT_OPEN || cond == ZD_EXPLICIT_OPEN || cond == ZD_CLOSED || filled(dev, &s->rows[i]);
	}
	return dev->g.h.max_active && n > dev->g.h.max_active;
}

/* Blocks come in ascending order: *at is the row to go on from. */
static struct zd_fate fate_of_block(const zd_snapshot *s, const struct zd_snapshot_block *block, uint32_t *at)
{
	const zd_dev *dev = s->origin->dev;
	uint64_t end = block->offset - zd_zone_start(dev, block->zone) + dev->g.h.logical_block;
	struct zd_fate fate = { .zone = block->zone, .is_block = 1, .offset = block->offset, .choices = block->lost ? 0 : 2 };

	while (*at < s->n && s->rows[*at].zone < block->zone)
		++*at;
	/* A preferred zone's write pointer stands behind the last block that survived, never before what is durable. */
	if (*at < s->n && s->rows[*at].zone == block->zone && !zd_is_conv(dev, block->zone) && end > s->rows[*at].durable)
		fate.high = end;
	return fate;
}

uint64_t zd_snapshot_fates(const zd_snapshot *s, const struct zd_snapshot_block *blocks, uint64_t nr_blocks, struct zd_fate *out,
			   uint64_t *nr_free)
{
	const zd_dev *dev = s->origin->dev;
	bool crowded = is_crowded(s);
	uint64_t n = 0, b = 0;
	uint32_t i, at = 0;

	for (i = 0; i < s->n; i++) {
		const struct zd_row *row = &s->rows[i];
		uint64_t written = zd_word_written(row->word), most = written < row->lost ? written : row->lost;

		while (b < nr_blocks && blocks[b].zone < row->zone)
			b++;
		if (zd_is_conv(dev, row->zone) || (crowded && filled(dev, row)) || (b < nr_blocks && blocks[b].zone == row->zone))
			continue;
		zd_fate_of_zone(dev, row->zone, most, row->durable, &out[n]);
		n += out[n].high != out[n].low || out[n].low != row->durable;
	}
	for (b = 0; b < nr_blocks; b++) {
		if (!blocks[b].lost)
			out[n++] = fate_of_block(s, &blocks[b], &at);
	}
	*nr_free = n;
	for (i = 0; crowded && i < s->n; i++) {
		uint64_t written = zd_word_written(s->rows[i].word);

		if (filled(dev, &s->rows[i]))
			out[n++] = (struct zd_fate){ .zone = s->rows[i].zone, .low = written, .high = written };
	}
	at = 0;
	for (b = 0; b < nr_blocks; b++) {
		if (blocks[b].lost)
			out[n++] = fate_of_block(s, &blocks[b], &at);
	}
	return n;
}

static int by_zone(const void *a, const void *b)
{
	const struct zd_survivor *x = a, *y = b;

	return x->zone < y->zone ? -1 : x->zone > y->zone;
}

static int by_offset(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int zd_fates_cut(const struct zd_fate *fates, uint64_t nr, const uint64_t *choices, uint64_t nr_free, struct zd_survivor *kept,
		 uint64_t *undone, struct zd_cut *cut)
{
	uint32_t n = 0, merged = 0, k;
	uint64_t i, m = 0;

	for (i = 0; i < nr; i++) {
		const struct zd_fate *fate = &fates[i];
		uint64_t choice = i < nr_free ? choices[i] : 0;

		if (i < nr_free && choice >= fate->choices)
			return -EINVAL;
		if (fate->is_block && !choice)
			undone[m++] = fate->offset;
		else if (!fate->is_block || fate->high)
			kept[n++] = (struct zd_survivor){ fate->zone, 0, fate->is_block ? fate->high : zd_fate_length(fate, choice) };
	}
	if (n)
		qsort(kept, n, sizeof(*kept), by_zone);
	if (m)
		qsort(undone, m, sizeof(*undone), by_offset);
	/* Of a preferred zone's blocks the last that survived counts. */
	for (k = 0; k < n; k++) {
		if (!merged || kept[merged - 1].zone != kept[k].zone)
			kept[merged++] = kept[k];
		else if (kept[merged - 1].bytes < kept[k].bytes)
			kept[merged - 1].bytes = kept[k].bytes;
	}
	*cut = (struct zd_cut){ .kept = kept, .undone = undone, .nr_kept = merged, .nr_undone = m };
	return 0;
}
