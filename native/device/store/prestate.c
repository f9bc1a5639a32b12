/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-images as a whole: of a zone for a snapshot and back from one, and of all zones for the first opener, who believes
 * no record that cannot be.
 */
#include "device/store/store.h"

#include <stdlib.h>

int zd_pre_copy(zd_dev *dev, uint32_t zone, uint64_t **words, uint64_t *first, uint32_t *n, uint32_t *slot)
{
	const struct zd_pre *pre = zd_pre_peek(dev, zone);
	struct zd_span s;
	uint64_t *copy;
	uint32_t i;
	int r = 0;

	*words = NULL;
	*n = 0;
	*slot = 0;
	if (!pre || !pre->data) /* without the slot no bit is set, whatever somebody who died in empty() left as the range */
		return 0;
	s = zd_pre_marks(dev, zone, pre);
	if (s.from == s.to)
		return 0;
	*first = s.from / ZD_PRE_PER_WORD;
	*n = (uint32_t)((s.to - 1) / ZD_PRE_PER_WORD - *first + 1);
	copy = malloc((size_t)*n * 16);
	if (!copy)
		return -ENOMEM;
	for (i = 0; !r && i < *n; i++) {
		uint64_t mask = zd_pre_mask(*first + i, s.from, s.to);

		r = zd_pre_load_words(dev, pre, *first + i, copy + 2 * i);
		copy[2 * i + ZD_PRE_WRITTEN] &= mask;
		copy[2 * i + ZD_PRE_LOST] &= mask;
	}
	if (r) {
		free(copy);
		return r;
	}
	*words = copy;
	*slot = pre->data;
	return 0;
}

void zd_pre_put_back(zd_dev *dev, uint32_t zone, const uint64_t *words, uint64_t first, uint32_t n, uint32_t slot)
{
	struct zd_pre *pre = zd_pre_peek(dev, zone);
	uint32_t i;

	zd_pre_drop(dev, zone, true);
	if (!n || !pre)
		return;
	if (pre->data != slot) {
		if (pre->data)
			zd_pre_detach(dev, &pre->data);
		zd_slot_claim(dev, slot - 1, zone);
		pre->flags =
			ZD_PRE_FROZEN | ZD_PRE_STALE; /* before it has them: a death in between must let nobody write there */
		pre->data = slot;
		zd_count32(&dev->head->nr_pre, 1);
	}
	pre->flags = ZD_PRE_FROZEN | ZD_PRE_STALE;
	if (!pre->map && zd_pre_take_map(dev, zone, pre))
		return; /* no room: then all that was written survives, which may be */
	zd_pre_widen(dev, pre, first, n);
	for (i = 0; i < n; i++) {
		if (zd_pre_store_words(dev, pre, first + i, words + 2 * i, true))
			return;
	}
}

/* ---------------------------------------------------------------- the first opener */

static bool slot_is_free(const zd_dev *dev, uint32_t number)
{
	return number == 0 || (number <= dev->head->nr_slots && !dev->slots[number - 1].zone);
}

/* Whether a record can be what its writer left: each of its fields is looked at, whatever the others say. */
static bool sound(const zd_dev *dev, const struct zd_pre *pre)
{
	if (!slot_is_free(dev, pre->data) || !slot_is_free(dev, pre->map) || (pre->data && pre->data == pre->map))
		return false;
	if (pre->flags & ~(uint32_t)(ZD_PRE_STALE | ZD_PRE_FROZEN))
		return false;
	if (pre->from > pre->to || pre->to > dev->g.h.slot_size / dev->g.h.logical_block)
		return false;
	return pre->from == pre->to || (pre->data && pre->map);
}

void zd_pre_start(zd_dev *dev)
{
	uint32_t zone;

	for (zone = 0; zone < dev->g.h.nr_zones; zone++) {
		struct zd_pre *pre = zd_pre_peek(dev, zone);

		if (!pre)
			continue;
		if (!sound(dev, pre)) {
			memset(pre, 0, sizeof(*pre));
			continue;
		}
		if (pre->data)
			dev->slots[pre->data - 1].zone = zone + 1;
		if (pre->map)
			dev->slots[pre->map - 1].zone = zone + 1;
		if (pre->from != pre->to) {
			zd_set_dirty(dev, zone); /* the next flush must find it */
			zd_pre_trim(dev, zone);  /* if it cannot be done now, whoever raises the pointer does it */
		}
	}
}
