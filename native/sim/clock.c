/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of a disk in use: what each command that a zd_dev carried out would have taken on a modelled drive.
 *
 * Rules, data and zones are the zd_dev's; here only time passes. A zone's word is set to what the disk says it
 * became, so nothing is decided twice. One command at a time is under way, as with a program that waits for each:
 * what the drive does behind its back (emptying its cache, cleaning) goes on while it waits and in between.
 */
#include "sim.h"

#include <pthread.h>
#include <stdatomic.h>

struct zd_clock {
	_Atomic uint32_t refs;     /* who made it, and each handle that it is attached to */
	_Atomic uint32_t attached; /* to so many handles */
	pthread_mutex_t lock;
	struct zd_sim *sim;
	uint64_t commands, last, busy;
	bool failed; /* no memory: the time is no longer right */
};

static bool due(const struct zd_sim *sim, uint64_t until)
{
	return sim->heap_used && sim->heap[0].time <= until;
}

/* What the drive does by itself up to then. */
static void pass(struct zd_sim *sim, uint64_t until)
{
	while (due(sim, until)) {
		struct event e = zd_next_event(sim);

		sim->now = e.time;
		zd_drive_event(sim, &e);
	}
	sim->now = until;
}

static bool dirty(const struct zd_sim *sim)
{
	return (sim->model.kind == ZD_SIM_HDD && sim->hdd.cached) || (sim->model.kind == ZD_SIM_DM && sim->dm.item_used);
}

/* Until the drive's volatile cache is on the media. */
static void drain(struct zd_sim *sim)
{
	while (dirty(sim) && sim->heap_used) {
		struct event e = zd_next_event(sim);

		sim->now = e.time;
		zd_drive_event(sim, &e);
	}
}

/* One command in one zone, to its end: sim->now is when. */
static int step(struct zd_sim *sim, int cmd, uint32_t zone, uint64_t offset, uint64_t length, uint64_t before)
{
	uint32_t i = zd_command_new(sim);
	struct command *c;

	if (i == NONE)
		return -ENOMEM;
	c = &sim->cmds[i];
	memset(c, 0, sizeof(*c));
	c->sent = c->arrived = sim->now;
	c->offset = offset;
	c->length = length;
	c->zone = zone;
	c->cmd = (uint8_t)cmd;
	c->dir = cmd == ZD_CMD_READ ? ZD_SIM_READ : cmd <= ZD_CMD_APPEND ? ZD_SIM_WRITE : ZD_SIM_NR_DIRS;
	c->before = before;
	c->first = (before & W_COND) == ZD_EMPTY;
	sim->arrivals++;
	switch (sim->model.kind) {
	case ZD_SIM_NULL: sim_done_at(sim, c, sim->now + sim->model.null_ns); break;
	case ZD_SIM_HDD: zd_hdd_submit(sim, c); break;
	case ZD_SIM_ZNS: zd_zns_submit(sim, c); break;
	case ZD_SIM_DM: zd_dm_submit(sim, c); break;
	}
	while (!sim->failed && sim->heap_used) {
		struct event e = zd_next_event(sim);

		sim->now = e.time;
		if ((e.tag >> 24 & 15) == EV_DONE) {
			zd_command_free(sim, (uint32_t)(e.tag & 0xFFFFFF));
			return 0;
		}
		zd_drive_event(sim, &e);
	}
	return -ENOMEM;
}

static uint64_t word_of(const struct zd_told_zone *zone)
{
	return (zone->written & W_WRITTEN) | (zone->finished ? W_FINISHED : 0) | zone->cond;
}

/* A data command, zone by zone where it covers several. */
static int data(struct zd_sim *sim, const struct zd_told *k)
{
	uint64_t at = k->offset, left = k->length;
	int r = 0;

	while (!r && left) {
		uint32_t zone = zone_of(&sim->m, at);
		uint64_t end = zone_start(&sim->m, zone) + zone_length(&sim->m, zone), n = left < end - at ? left : end - at;

		r = step(sim, k->cmd, zone, at, n, zone == k->zone ? word_of(&k->before) : 0);
		at += n;
		left -= n;
	}
	return r;
}

int zd_clock_create(const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, zd_clock **out,
		    struct zd_error *err)
{
	zd_clock *clock;
	int r;

	if (model->kind == ZD_SIM_REAL)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "a clock needs the model of a drive");
	clock = calloc(1, sizeof(*clock));
	if (!clock)
		return zd_sim_fail(err, -ENOMEM, "no memory");
	r = zd_sim_create(disk, model, seed, &clock->sim, err);
	if (r) {
		free(clock);
		return r;
	}
	clock->refs = 1;
	pthread_mutex_init(&clock->lock, NULL);
	*out = clock;
	return 0;
}

void zd_clock_free(zd_clock *clock)
{
	if (!clock || atomic_fetch_sub(&clock->refs, 1) != 1)
		return;
	zd_sim_free(clock->sim);
	pthread_mutex_destroy(&clock->lock);
	free(clock);
}

int zd_clock_command(zd_clock *clock, const struct zd_told *k)
{
	struct zd_sim *sim = clock->sim;
	bool is_data = k->cmd >= ZD_CMD_READ && k->cmd <= ZD_CMD_APPEND;
	uint32_t zone = k->zone < sim->m.nr_zones ? k->zone : 0;
	int cmd = k->cmd, r;
	uint64_t from;

	if (cmd < 0 || (is_data && (k->offset > sim->m.size || k->length > sim->m.size - k->offset)))
		return -EINVAL;
	if (cmd >= ZD_CMD_OPEN_ALL && cmd <= ZD_CMD_RESET_ALL)
		cmd -= ZD_CMD_OPEN_ALL - ZD_CMD_OPEN;
	else if (cmd > ZD_CMD_RESET && cmd != ZD_CMD_FLUSH)
		return 0; /* nothing that a program asks of a drive */
	pthread_mutex_lock(&clock->lock);
	from = sim->now;
	if (!zone_conv(&sim->m, zone) && k->zone == zone)
		sim->m.word[zone] = word_of(&k->after);
	if (is_data)
		r = data(sim, k);
	else if (cmd == ZD_CMD_FLUSH) {
		drain(sim);
		r = step(sim, cmd, 0, 0, 0, 0);
	} else
		r = step(sim, cmd, zone, zone_start(&sim->m, zone), 0, word_of(&k->before));
	if (r || sim->failed)
		clock->failed = true;
	pass(sim, sim->now + sim->model.host_ns);
	clock->last = sim->now - from;
	clock->busy += clock->last;
	clock->commands++;
	pthread_mutex_unlock(&clock->lock);
	return r;
}

static void told(void *arg, const struct zd_told *what)
{
	zd_clock_command(arg, what); /* what fails is kept in the clock's state */
}

static void told_end(void *arg)
{
	struct zd_clock *clock = arg;

	atomic_fetch_sub(&clock->attached, 1);
	zd_clock_free(clock);
}

int zd_clock_attach(zd_clock *clock, zd_dev *dev, struct zd_error *err)
{
	int r;

	atomic_fetch_add(&clock->refs, 1);
	atomic_fetch_add(&clock->attached, 1);
	r = zd_observe(dev, told, clock, told_end, err);
	if (r)
		told_end(clock);
	return r;
}

void zd_clock_detach(zd_clock *clock, zd_dev *dev)
{
	zd_observe_end(dev, clock);
}

int zd_clock_runs(const zd_clock *clock)
{
	return atomic_load(&clock->attached) != 0;
}

void zd_clock_idle(zd_clock *clock, uint64_t ns)
{
	pthread_mutex_lock(&clock->lock);
	pass(clock->sim, ns < NEVER - 1 - clock->sim->now ? clock->sim->now + ns : NEVER - 1);
	pthread_mutex_unlock(&clock->lock);
}

void zd_clock_look(zd_clock *clock, struct zd_clock_state *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&clock->lock);
	out->now = clock->sim->now;
	out->last = clock->last;
	out->busy = clock->busy;
	out->commands = clock->commands;
	out->failed = clock->failed;
	memcpy(out->parts, clock->sim->parts, sizeof(out->parts));
	pthread_mutex_unlock(&clock->lock);
}
