/* SPDX-License-Identifier: Apache-2.0 */
/* Observers: who in this process is told of what a handle's commands did. */
#include "device/hooks/hooks.h"

#include <sched.h>

static struct zd_told_zone told_zone(const zd_dev *dev, uint32_t zone, uint64_t word)
{
	struct zd_told_zone out = { 0 };
	int type = zd_zone_type(dev, zone);

	if (type != ZD_CONVENTIONAL) {
		out.written = zd_word_written(word);
		out.cond = (uint8_t)zd_word_cond(word, type);
		out.finished = (word & ZD_W_FINISHED) != 0;
	}
	return out;
}

uint64_t zd_observe_before(zd_dev *dev, uint32_t zone, uint64_t offset)
{
	if (zone == ZD_NO_ZONE && offset < dev->g.h.size)
		zone = zd_zone_of(dev, offset);
	return zone < dev->g.h.nr_zones ? zd_load_word(dev, zone) : 0;
}

void zd_observe_tell(zd_dev *dev, const struct zd_traced *t, int64_t result)
{
	struct zd_told what = { .cmd = t->r.cmd, .zone = t->r.zone, .offset = t->r.offset, .length = t->r.done };
	zd_told_fn told;

	if (t->r.cmd <= ZD_CMD_APPEND ? !t->r.done : result < 0)
		return;
	if (t->r.cmd == ZD_CMD_APPEND && t->r.landed != ZD_NONE)
		what.offset = t->r.landed;
	if (t->r.cmd == ZD_CMD_READ || t->r.cmd == ZD_CMD_WRITE)
		what.zone = zd_zone_of(dev, what.offset);
	if (what.zone < dev->g.h.nr_zones) {
		what.before = told_zone(dev, what.zone, t->before);
		what.after = told_zone(dev, what.zone, zd_load_word(dev, what.zone));
	}
	atomic_fetch_add(&dev->telling, 1);
	told = atomic_load(&dev->told);
	if (told)
		told(dev->told_arg, &what);
	atomic_fetch_sub(&dev->telling, 1);
}

int zd_observe(zd_dev *dev, zd_told_fn told, void *arg, void (*end)(void *), struct zd_error *err)
{
	int r = zd_trace_enter(dev, err);

	if (r)
		return r;
	pthread_mutex_lock(&dev->trace_lock);
	if (atomic_load(&dev->told)) {
		r = zd_fail(err, -EALREADY, "the commands of this handle are observed already");
	} else {
		r = zd_trace_lock(dev, dev->trace, NULL);
		if (r)
			zd_fail_host(err, -r, "interrupted before the commands were observed");
	}
	if (!r) {
		dev->told_arg = arg;
		dev->told_end = end;
		atomic_store(&dev->told, told);
		atomic_fetch_add(&dev->trace->observers, 1);
		zd_trace_modes(dev, dev->trace, 0, ZD_TRACE_TELL);
		zd_trace_unlock(dev->trace);
	}
	pthread_mutex_unlock(&dev->trace_lock);
	return r;
}

void zd_observe_end(zd_dev *dev, const void *arg)
{
	/* Without the shared state there is nothing to undo in it; a forked child's observer ends here. */
	int r = zd_trace_enter(dev, NULL);
	void (*end)(void *) = NULL;
	void *whose = NULL;

	pthread_mutex_lock(&dev->trace_lock);
	if (atomic_load(&dev->told) && (!arg || arg == dev->told_arg)) {
		atomic_store(&dev->told, NULL);
		while (atomic_load(&dev->telling))
			sched_yield();
		end = dev->told_end;
		whose = dev->told_arg;
	}
	/* Without the lock it is as if this process had died. */
	if (end && !r && zd_trace_lock(dev, dev->trace, NULL) == 0) {
		if (atomic_load(&dev->trace->observers) && atomic_fetch_sub(&dev->trace->observers, 1) == 1)
			zd_trace_modes(dev, dev->trace, ZD_TRACE_TELL, 0);
		zd_trace_unlock(dev->trace);
	}
	pthread_mutex_unlock(&dev->trace_lock);
	if (end)
		end(whose);
}

void zd_watch(zd_dev *dev, zd_watch_fn *fn, void *arg)
{
	dev->watch_arg = arg;
	dev->watch = fn;
}

int64_t zd_watched(zd_dev *dev, int cmd, uint64_t place, uint64_t length, int64_t result)
{
	if (unlikely(dev->watch))
		dev->watch(dev->watch_arg, cmd, place, length, result);
	return result;
}
