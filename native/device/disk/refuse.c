/* SPDX-License-Identifier: Apache-2.0 */
/* The error of a broken rule, filled from the zone's state and counted; and what a whole disk refuses. */
#include "device/disk/disk.h"

int zd_refuse(zd_dev *dev, struct zd_error *err, int code, int cmd, uint32_t zone, uint64_t offset, uint64_t length,
	      uint64_t bound)
{
	int type;

	if (err == &zd_asking)
		return code;
	if (!dev->readonly) { /* a read-only handle cannot count */
		struct zd_zone_rt *rt;

		atomic_fetch_add_explicit(&dev->head->errors_by_rule[ZD_E_FIRST_RULE - code], 1, memory_order_relaxed);
		/* A zone never touched has no record yet; if the host is full, the count by rule must do. */
		if (zone != ZD_NO_ZONE && zd_zone_get(dev, zone, &rt) == 0)
			atomic_fetch_add_explicit(&rt->errors, 1, memory_order_relaxed);
	}
	if (!err)
		return code;
	zd_error_clear(err, code);
	err->cmd = cmd;
	err->zone = zone;
	err->offset = offset;
	err->length = length;
	err->bound = bound;
	if (zone == ZD_NO_ZONE)
		return code;
	type = zd_zone_type(dev, zone);
	{
		uint64_t word = zd_load_word(dev, zone);
		int cond = zd_word_cond(word, type);

		err->cond = (uint8_t)cond;
		if (zd_cond_wp_valid(cond))
			err->wp = zd_zone_start(dev, zone) + zd_word_wp(dev, word);
	}
	return code;
}

int zd_refuse_powerless(zd_dev *dev, struct zd_error *err)
{
	zd_refuse(dev, err, ZD_E_POWER_LOSS, -1, ZD_NO_ZONE, ZD_NONE, 0, 0);
	zd_fault_mark_power(dev, err);
	return ZD_E_POWER_LOSS;
}

int zd_fail_marked(struct zd_error *err)
{
	return zd_fail(err, ZD_E_FAILED,
		       "an earlier sync of this image to the host's disk failed; close it and run `zonedctl check --repair`");
}

int zd_stopped(zd_dev *dev, struct zd_error *err)
{
	/* The power may be back since the command saw that it was off: only the other bit tells of the other cause. */
	if ((atomic_load(&dev->head->gate) & (ZD_GATE_POWER | ZD_GATE_BACK)) == ZD_GATE_BACK)
		return zd_fail(err, ZD_E_BUSY,
			       "the disk is going back to a snapshot; who did it was killed, and who finishes it is held up");
	return zd_refuse_powerless(dev, err);
}
