/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: one word that each command looks at. Any bit of it sends a command here, to be refused, to mark the image as
 * being changed, or to go the slow way, past fault rules and records.
 */
#include "device/disk/disk.h"

int zd_gate_rest(zd_dev *dev, bool changes, struct zd_error *err)
{
	uint32_t gate = atomic_load_explicit(&dev->head->gate, memory_order_acquire);
	int r = unlikely(gate & ZD_GATE_BACK) && !(gate & ZD_GATE_POWER) ? dev->up->back_wait(dev, err) : 0;

	if (r)
		return r;
	gate = atomic_load_explicit(&dev->head->gate, memory_order_acquire);
	if (gate & ZD_GATE_POWER)
		return zd_refuse_powerless(dev, err);
	if (changes && (gate & ZD_GATE_FAILED))
		return zd_fail_marked(err);
	return changes && (gate & ZD_GATE_MARK) ? zd_mark_dirty(dev, err) : 0;
}

int zd_gate(zd_dev *dev, bool changes, struct zd_error *err)
{
	uint32_t gate = atomic_load_explicit(&dev->head->gate, memory_order_acquire);
	int r;

	if (gate & ZD_GATE_TRACE)
		return ZD_SLOW; /* refusals are recorded too */
	r = zd_gate_rest(dev, changes, err);
	return r || !(gate & ZD_GATE_FAULTS) ? r : ZD_SLOW;
}
