/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Observers: all who hear of a command. First comes the ring in the shared state (trace.c), into which the
 * commands of all openers are put while somebody records; behind it those that this process has put on this handle. They
 * are in the handle alone: no other opener is sent the slow way for them.
 *
 * There are two moments. When a command takes effect, under its locks, so that those of one zone are told in the order in
 * which they did; and when a C layer above (zonefs) has given a command through the handle and it has ended, with no lock
 * held. There is a list for each, as those who wait for ends alone need no command to go the slow way.
 */
#include "device/hooks/hooks.h"

#include <sched.h>
#include <stdlib.h>

struct zd_observer {
	_Atomic(struct zd_observer *) next;
	union {
		zd_told_fn told;    /* in dev->observers: of effects */
		zd_watch_fn *ended; /* in dev->watchers: of ends */
	};
	void *arg;
	void (*end)(void *); /* it hears of nothing any more; or NULL */
};

/* ---------------------------------------------------------------- the list */

static void append(zd_dev *dev, _Atomic(struct zd_observer *) *link, struct zd_observer *o)
{
	while (atomic_load(link))
		link = &atomic_load(link)->next;
	atomic_store(link, o);
	zd_set_aside(dev);
}

static void finish(struct zd_observer *o)
{
	while (o) {
		struct zd_observer *next = atomic_load(&o->next);

		if (o->end)
			o->end(o->arg);
		free(o);
		o = next;
	}
}

/* Under trace_lock: take those out that are asked for. They are nobody's once no thread is in any of them. */
static struct zd_observer *take_out(zd_dev *dev, _Atomic(struct zd_observer *) *link, const void *arg)
{
	struct zd_observer *out = NULL, *o;

	while ((o = atomic_load(link))) {
		if (arg && o->arg != arg) {
			link = &o->next;
			continue;
		}
		atomic_store(link, atomic_load(&o->next));
		while (atomic_load(&dev->telling))
			sched_yield();
		atomic_store(&o->next, out);
		out = o;
	}
	zd_set_aside(dev);
	return out;
}

int zd_observe(zd_dev *dev, zd_told_fn told, void *arg, void (*end)(void *), struct zd_error *err)
{
	struct zd_observer *o;
	int r = zd_enter_writable(dev, err);

	if (r)
		return r;
	o = calloc(1, sizeof(*o));
	if (!o)
		return zd_fail_host(err, ENOMEM, "no memory for an observer");
	o->told = told;
	o->arg = arg;
	o->end = end;
	pthread_mutex_lock(&dev->trace_lock);
	append(dev, &dev->observers, o);
	pthread_mutex_unlock(&dev->trace_lock);
	return 0;
}

void zd_observe_end(zd_dev *dev, const void *arg)
{
	struct zd_observer *gone;

	zd_enter(dev, NULL); /* a forked child's observers end here */
	pthread_mutex_lock(&dev->trace_lock);
	gone = take_out(dev, &dev->observers, arg);
	pthread_mutex_unlock(&dev->trace_lock);
	finish(gone);
}

void zd_observe_forked(zd_dev *dev)
{
	struct zd_observer *gone = atomic_exchange(&dev->observers, NULL), *watching = atomic_exchange(&dev->watchers, NULL);

	atomic_store(&dev->telling, 0);
	zd_set_aside(dev);
	finish(gone);
	finish(watching);
}

/* ---------------------------------------------------------------- ends */

void zd_watch(zd_dev *dev, zd_watch_fn *fn, void *arg)
{
	struct zd_observer *gone, *o = fn ? calloc(1, sizeof(*o)) : NULL;

	pthread_mutex_lock(&dev->trace_lock);
	gone = take_out(dev, &dev->watchers, NULL);
	if (o) {
		o->ended = fn;
		o->arg = arg;
		append(dev, &dev->watchers, o);
	}
	pthread_mutex_unlock(&dev->trace_lock);
	finish(gone);
}

int64_t zd_watched(zd_dev *dev, int cmd, uint64_t place, uint64_t length, int64_t result)
{
	struct zd_observer *o;

	if (likely(!atomic_load(&dev->watchers)))
		return result;
	atomic_fetch_add(&dev->telling, 1);
	for (o = atomic_load(&dev->watchers); o; o = atomic_load(&o->next))
		o->ended(o->arg, cmd, place, length, result);
	atomic_fetch_sub(&dev->telling, 1);
	return result;
}

/* ---------------------------------------------------------------- effects */

static struct zd_told_zone told_zone(const zd_dev *dev, uint32_t zone, uint64_t word)
{
	struct zd_told_zone out = { 0 };
	int type = zd_zone_type(dev, zone);

	if (type != ZD_CONVENTIONAL) {
		out.written = zd_word_wp(dev, word);
		out.held = (uint32_t)(zd_word_written(word) - out.written);
		out.area = (word & ZD_W_ZRWA) != 0;
		out.cond = (uint8_t)zd_word_cond(word, type);
		out.finished = (word & ZD_W_FINISHED) != 0;
	}
	return out;
}

static uint64_t first_word(zd_dev *dev, uint32_t zone, uint64_t offset)
{
	if (zone == ZD_NO_ZONE && offset < dev->g.h.size)
		zone = zd_zone_of(dev, offset);
	return zone < dev->g.h.nr_zones ? zd_load_word(dev, zone) : 0;
}

static void tell(zd_dev *dev, struct zd_traced *t, int64_t result)
{
	struct zd_told what = { .cmd = t->r.cmd, .zone = t->r.zone, .offset = t->r.offset, .length = t->r.done };
	struct zd_observer *o;

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
	for (o = atomic_load(&dev->observers); o; o = atomic_load(&o->next))
		o->told(o->arg, &what);
	atomic_fetch_sub(&dev->telling, 1);
	zd_pace_begin(dev, t, &what);
}

int zd_observe_begin(zd_dev *dev, struct zd_traced *t, int cmd, uint32_t zone, uint64_t offset, uint64_t length,
		     struct zd_error *err)
{
	int r;

	t->local = zd_is_looked_at(dev);
	r = zd_trace_join(dev, t);
	if (r) {
		t->done = true;
		return zd_fail_host(err, -r, "interrupted while waiting for the recorder of the trace");
	}
	t->r.landed = t->r.wp = ZD_NONE;
	if (!t->trace && !t->local)
		return 0;
	t->r.kind = ZD_TRACE_COMMAND;
	t->r.cmd = (uint8_t)cmd;
	t->r.zone = zone;
	t->r.offset = offset;
	t->r.length = length;
	t->r.cond = 0xFF;
	zd_trace_sign(dev, &t->r);
	t->r.start_ns = zd_now();
	if (t->local)
		t->before = first_word(dev, zone, offset);
	return 0;
}

/* Which zone a data command began in; the place of a failure is told apart. */
static void fill_failure(zd_dev *dev, struct zd_trace_record *r, int64_t result, const struct zd_error *err)
{
	r->result = (int32_t)result;
	r->bound = err->bound;
	r->cond = err->cond;
	r->wp = err->wp;
	r->injected = err->injected;
	r->fault = err->fault;
	if (r->zone == ZD_NO_ZONE)
		r->zone = err->zone < dev->g.h.nr_zones ? err->zone : ZD_NO_ZONE;
	if (r->cond == 0xFF && err->zone < dev->g.h.nr_zones && err->zone == r->zone) { /* the host failed */
		int type = zd_zone_type(dev, r->zone), cond;
		uint64_t word = zd_load_word(dev, r->zone);

		cond = zd_word_cond(word, type);
		r->cond = (uint8_t)cond;
		if (zd_cond_wp_valid(cond))
			r->wp = zd_zone_start(dev, r->zone) + zd_word_wp(dev, word);
	}
}

void zd_observe_end_of(zd_dev *dev, struct zd_traced *t, int64_t result, const struct zd_error *err)
{
	if (t->done || (!t->trace && !t->local))
		return;
	t->done = true;
	t->r.duration_ns = zd_now() - t->r.start_ns;
	if (result < 0)
		fill_failure(dev, &t->r, result, err);
	else if (t->r.length)
		t->r.done = t->r.length;
	zd_trace_put(dev, t);
	if (t->local)
		tell(dev, t, result);
}

void zd_observe_effect(zd_dev *dev, struct zd_traced *t, int64_t result, const struct zd_error *err)
{
	/* What may yet be tried again, or become an error by a fault rule, is put down at the end. */
	if (!t->told_late && result != -ENOSPC)
		zd_observe_end_of(dev, t, result, err);
}
