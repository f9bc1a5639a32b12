/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of a disk in use: what each command that a zd_dev carried out would have taken on a modelled drive.
 *
 * Rules, data and zones are the zd_dev's; here only time passes. A zone's word is set to what the disk says it
 * became, so nothing is decided twice. One command at a time is under way, as with a program that waits for each:
 * what the drive does behind its back (emptying its cache, cleaning) goes on while it waits and in between.
 */
#include "told.h"

#include <pthread.h>
#include <stdatomic.h>

struct zd_clock {
	_Atomic uint32_t refs;     /* who made it, and each handle that it is attached to */
	_Atomic uint32_t attached; /* to so many handles */
	pthread_mutex_t lock;
	struct zd_drive drive;
	uint64_t commands, last, busy;
	bool failed; /* no memory: the time is no longer right */
};

static bool due(const struct zd_drive *drive, uint64_t until)
{
	return drive->heap_used && drive->heap[0].time <= until;
}

/* What the drive does by itself up to then. */
static void pass(struct zd_drive *drive, uint64_t until)
{
	while (due(drive, until)) {
		struct event e = zd_next_event(drive);

		drive->now = e.time;
		zd_drive_event(drive, &e);
	}
	drive->now = until;
}

/* Until the drive's volatile cache is on the media. */
static void drain(struct zd_drive *drive)
{
	while (drive_dirty(drive) && drive->heap_used) {
		struct event e = zd_next_event(drive);

		drive->now = e.time;
		zd_drive_event(drive, &e);
	}
}

/* A part of a command, to its end: drive->now is when. */
static int step(struct zd_drive *drive, int cmd, const struct told_part *part)
{
	int r = zd_told_give(drive, cmd, part, 0);

	if (r)
		return r;
	while (!drive->failed && drive->heap_used) {
		struct event e = zd_next_event(drive);

		drive->now = e.time;
		if (event_kind(&e) == EV_DONE) {
			command_free(drive, event_index(&e));
			return 0;
		}
		zd_drive_event(drive, &e);
	}
	return -ENOMEM;
}

int zd_clock_create(const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, zd_clock **out,
		    struct zd_error *err)
{
	zd_clock *clock;
	int r;

	clock = calloc(1, sizeof(*clock));
	if (!clock)
		return zd_sim_fail(err, -ENOMEM, "no memory");
	r = zd_drive_init_timed(&clock->drive, "clock", disk, model, seed, err);
	if (r) {
		zd_drive_free(&clock->drive);
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
	zd_drive_free(&clock->drive);
	pthread_mutex_destroy(&clock->lock);
	free(clock);
}

int zd_clock_command(zd_clock *clock, const struct zd_told *k)
{
	struct zd_drive *drive = &clock->drive;
	struct told_part part;
	uint64_t from, at = 0;
	int cmd, r;

	pthread_mutex_lock(&clock->lock);
	r = zd_told_take(drive, k, &cmd);
	if (r <= 0) {
		pthread_mutex_unlock(&clock->lock);
		return r;
	}
	r = 0;
	from = drive->now;
	if (cmd == ZD_CMD_FLUSH)
		drain(drive);
	while (!r && zd_told_part(drive, k, &at, &part))
		r = step(drive, cmd, &part);
	if (r || drive->failed)
		clock->failed = true;
	pass(drive, drive->now + drive->model.host_ns);
	clock->last = drive->now - from;
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
	pass(&clock->drive, ns < NEVER - 1 - clock->drive.now ? clock->drive.now + ns : NEVER - 1);
	pthread_mutex_unlock(&clock->lock);
}

void zd_clock_look(zd_clock *clock, struct zd_clock_state *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&clock->lock);
	out->now = clock->drive.now;
	out->last = clock->last;
	out->busy = clock->busy;
	out->commands = clock->commands;
	out->failed = clock->failed;
	memcpy(out->parts, clock->drive.parts, sizeof(out->parts));
	pthread_mutex_unlock(&clock->lock);
}
