/* SPDX-License-Identifier: Apache-2.0 */
/* The flush command: everything written before it becomes durable. */
#include "device/disk/disk.h"

/* Recorded, and with fault rules: they meet it, and a write may have left an error for it. */
static int flush_slowly(zd_dev *dev, struct zd_error *err)
{
	const struct zd_command c = { ZD_CMD_FLUSH, 0, dev->g.h.nr_zones - 1, ZD_NONE, 0, false };
	struct zd_traced t;
	struct zd_hit hit;
	int r;

	if (dev->readonly) { /* it flushes nothing, so there is nothing to record */
		r = zd_gate_rest(dev, false, err);
		if (!r)
			r = zd_fault_before(dev, &c, &hit, err);
		return r;
	}
	r = zd_trace_begin(dev, &t, ZD_CMD_FLUSH, ZD_NO_ZONE, ZD_NONE, 0, false, &err);
	if (r)
		return r;
	r = zd_fault_before(dev, &c, &hit, err);
	if (!r && (atomic_load(&dev->head->gate) & ZD_GATE_FAULTS))
		r = zd_fault_flush(dev, err);
	if (!r)
		r = zd_commit(dev, ZD_COMMIT_FLUSH, &t, err);
	return (int)zd_trace_end(dev, &t, zd_fault_after(dev, &c, &hit, r, 0, err), err);
}

int zd_flush(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (!r && atomic_load_explicit(&dev->head->gate, memory_order_relaxed))
		r = zd_gate(dev, false, err);
	if (r == ZD_SLOW)
		return flush_slowly(dev, err);
	if (r || dev->readonly)
		return r;
	return zd_commit(dev, ZD_COMMIT_FLUSH, NULL, err);
}
