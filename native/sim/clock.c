/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of a disk in use: what each command that a zd_dev carried out would have taken on a modelled drive.
 *
 * Rules, data and zones are the zd_dev's; here only time passes. The zones' words are set to what the disk says they
 * became, so nothing is decided twice. One command at a time is under way, as with a program that waits for each:
 * what the drive does behind its back (emptying its cache, cleaning) goes on while it waits and in between.
 */
#include "sim.h"

#include <pthread.h>

struct zd_clock {
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

/* One command in one zone, its end reached: sim->now is when. */
static int step(struct zd_sim *sim, const struct zd_clock_command *k, uint32_t zone, uint64_t offset, uint64_t length,
		uint64_t before)
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
	c->cmd = (uint8_t)k->cmd;
	c->dir = k->cmd == ZD_CMD_READ ? ZD_SIM_READ : k->cmd <= ZD_CMD_APPEND ? ZD_SIM_WRITE : ZD_SIM_NR_DIRS;
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

static uint64_t word_after(const struct zd_sim *sim, uint32_t zone, const struct zd_clock_command *k)
{
	uint64_t conv = sim->m.word[zone] & W_CONV;

	if (conv)
		return sim->m.word[zone];
	return (k->written & W_WRITTEN) | (k->finished ? W_FINISHED : 0) | k->cond;
}

/* A data command, zone by zone where it covers several. */
static int data(struct zd_sim *sim, const struct zd_clock_command *k)
{
	uint64_t at = k->offset, left = k->length;
	int r = 0;

	while (!r && left) {
		uint32_t zone = zone_of(&sim->m, at);
		uint64_t end = zone_start(&sim->m, zone) + zone_length(&sim->m, zone), n = left < end - at ? left : end - at;
		uint64_t before = sim->m.word[zone];

		if (k->cmd != ZD_CMD_READ && zone == k->zone)
			sim->m.word[zone] = word_after(sim, zone, k);
		r = step(sim, k, zone, at, n, before);
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
	pthread_mutex_init(&clock->lock, NULL);
	*out = clock;
	return 0;
}

void zd_clock_free(zd_clock *clock)
{
	if (!clock)
		return;
	zd_sim_free(clock->sim);
	pthread_mutex_destroy(&clock->lock);
	free(clock);
}

int zd_clock_zone(zd_clock *clock, uint32_t zone, uint64_t written, int cond, int finished)
{
	struct zd_clock_command k = { .written = written, .cond = (uint8_t)cond, .finished = (uint8_t)finished };

	if (zone >= clock->sim->m.nr_zones)
		return -EINVAL;
	pthread_mutex_lock(&clock->lock);
	clock->sim->m.word[zone] = word_after(clock->sim, zone, &k);
	pthread_mutex_unlock(&clock->lock);
	return 0;
}

int zd_clock_command(zd_clock *clock, const struct zd_clock_command *k)
{
	struct zd_sim *sim = clock->sim;
	bool is_data = k->cmd >= ZD_CMD_READ && k->cmd <= ZD_CMD_APPEND;
	uint64_t from;
	int r = 0;

	if (k->cmd < 0 || k->cmd > ZD_CMD_FLUSH || (k->cmd != ZD_CMD_FLUSH && k->zone >= sim->m.nr_zones) ||
	    (is_data && (k->offset > sim->m.size || k->length > sim->m.size - k->offset)))
		return -EINVAL;
	pthread_mutex_lock(&clock->lock);
	from = sim->now;
	if (is_data) {
		r = data(sim, k);
	} else if (k->cmd == ZD_CMD_FLUSH) {
		drain(sim);
		r = step(sim, k, 0, 0, 0, sim->m.word[0]);
	} else {
		uint64_t before = sim->m.word[k->zone];

		sim->m.word[k->zone] = word_after(sim, k->zone, k);
		r = step(sim, k, k->zone, zone_start(&sim->m, k->zone), 0, before);
	}
	if (r || sim->failed)
		clock->failed = true;
	pass(sim, sim->now + sim->model.host_ns);
	clock->last = sim->now - from;
	clock->busy += clock->last;
	clock->commands++;
	pthread_mutex_unlock(&clock->lock);
	return r;
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
