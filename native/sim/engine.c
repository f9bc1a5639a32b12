/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: virtual time goes on, and the host's side of each job: its depth, its processor, the order of writes
 * within a zone.
 */
#include "sim.h"

#include <time.h>

/* Steps without a completed command after which a run is given up. Each command has at most a few steps of its own. */
#define BARREN (1ull << 26)

/* ---------------------------------------------------------------- commands on their way */

static void release_zone(struct zd_sim *sim, uint32_t zone);

/* What the host believes of a zone becomes what is so. */
static void host_learns(struct zd_sim *sim, uint32_t zone)
{
	uint64_t is = zone_cond(&sim->d.m, zone) == ZD_FULL ? zone_capacity(&sim->d.m, zone) : zone_written(&sim->d.m, zone);

	if (zone_conv(&sim->d.m, zone))
		return;
	sim->valid_bytes += is - sim->host_wp[zone];
	sim->host_wp[zone] = is;
}

static void refused(struct zd_sim *sim, struct command *c, int r, const struct zd_error *why)
{
	struct job *job = sim->jobs[c->job];

	if (c->dir < ZD_SIM_NR_DIRS)
		job->r.dir[c->dir].errors++;
	zd_end_job(sim, job, r, why);
	c->dir = ZD_SIM_NR_DIRS;
	drive_done_at(&sim->d, c, sim->d.now);
}

/*
 * A command was refused that the host had counted on. What waits behind it was made for a write pointer that will not
 * come, so it fails for the same reason (as Linux fails the plugged writes of a zone); then the host asks the drive.
 */
static void abort_zone(struct zd_sim *sim, uint32_t zone, int r, const struct zd_error *why)
{
	while (sim->plug_first[zone]) {
		struct command *c = &sim->d.cmds[sim->plug_first[zone] - 1];

		sim->plug_first[zone] = c->next;
		c->flags &= (uint8_t)~C_ORDERED; /* it does not hold the zone */
		refused(sim, c, r, why);
	}
	sim->plug_last[zone] = 0;
	host_learns(sim, zone);
	if (sim->host_flags[zone] & H_OPEN)
		zd_open_list_drop(sim, zone);
}

/* At the drive: first the zones, then the time. */
static void start(struct zd_sim *sim, struct command *c)
{
	struct machine *m = &sim->d.m;
	struct zd_error why;
	int r = 0;

	c->arrived = sim->d.now;
	c->before = m->word[c->zone];
	c->first = (c->before & W_COND) == ZD_EMPTY;
	sim->d.arrivals++;
	if (unlikely(sim->d.model.kind == ZD_SIM_REAL)) {
		c->sent = zd_real_now(sim);
		r = zd_real_submit(sim, c, &why);
		if (!r)
			drive_done_at(&sim->d, c, zd_real_now(sim));
	} else {
		switch (c->cmd) {
		case ZD_CMD_READ: r = zd_machine_read(m, c->zone, c->offset - zone_start(m, c->zone), c->length, &why); break;
		case ZD_CMD_APPEND:
			c->offset = zone_start(m, c->zone) + zone_written(m, c->zone);
			r = machine_write(m, ZD_CMD_APPEND, c->zone, c->offset - zone_start(m, c->zone), c->length, &why);
			break;
		case ZD_CMD_WRITE:
			r = machine_write(m, ZD_CMD_WRITE, c->zone, c->offset - zone_start(m, c->zone), c->length, &why);
			break;
		default: r = zd_machine_manage(m, c->cmd, c->zone, &why);
		}
	}
	if (unlikely(r)) {
		refused(sim, c, r, &why);
		if (c->flags & C_COUNTED)
			abort_zone(sim, c->zone, r, &why);
		return;
	}
	if (c->cmd == ZD_CMD_WRITE || c->cmd == ZD_CMD_APPEND) {
		uint64_t word = m->word[c->zone];

		if (unlikely((word & W_COND) == ZD_FULL) && (sim->host_flags[c->zone] & H_OPEN))
			zd_open_list_drop(sim, c->zone);
		/* Not in zone mode: the host did not keep count. Behind it, a reset may be waiting that it did count. */
		if (unlikely((word & W_WRITTEN) > sim->host_wp[c->zone]) && !(c->flags & C_COUNTED) && !sim->plug_first[c->zone])
			host_learns(sim, c->zone);
	} else if (c->cmd == ZD_CMD_RESET || c->cmd == ZD_CMD_FINISH) {
		/* A reset that makes room is followed by a write; after a trim the zone is written again only if host_wp says so. */
		if (sim->host_flags[c->zone] & H_OPEN &&
		    (c->cmd == ZD_CMD_FINISH || (c->dir == ZD_SIM_TRIM && !sim->host_wp[c->zone])))
			zd_open_list_drop(sim, c->zone);
		if (unlikely(!(c->flags & C_COUNTED)))
			host_learns(sim, c->zone);
	}
	if (likely(sim->d.ops))
		drive_submit(&sim->d, c);
}

/* One write or zone command at a time in a sequential zone: the others, and appends, wait at the host, in order. */
static inline void dispatch(struct zd_sim *sim, struct command *c)
{
	uint32_t i = (uint32_t)(c - sim->d.cmds) + 1, zone = c->zone;

	if (c->flags & (C_ORDERED | C_BEHIND)) {
		if (sim->host_flags[zone] & H_BUSY) {
			c->next = 0;
			if (sim->plug_last[zone])
				sim->d.cmds[sim->plug_last[zone] - 1].next = i;
			else
				sim->plug_first[zone] = i;
			sim->plug_last[zone] = i;
			c->arrived = sim->d.now;
			return;
		}
		if (c->flags & C_ORDERED)
			sim->host_flags[zone] |= H_BUSY;
	}
	start(sim, c);
}

static void release_zone(struct zd_sim *sim, uint32_t zone)
{
	uint32_t i;

	while (unlikely(i = sim->plug_first[zone])) {
		struct command *c = &sim->d.cmds[i - 1];

		sim->plug_first[zone] = c->next;
		if (!c->next)
			sim->plug_last[zone] = 0;
		sim->jobs[c->job]->r.wait_zone += sim->d.now - c->arrived;
		start(sim, c);
		if (c->flags & C_ORDERED)
			return;
	}
	sim->host_flags[zone] &= (uint8_t)~H_BUSY;
}

/* ---------------------------------------------------------------- jobs */

static int by_wait(const void *one, const void *other)
{
	const struct waiter *a = one, *b = other;

	return a->wait_for != b->wait_for ? (a->wait_for > b->wait_for) - (a->wait_for < b->wait_for) : (a->job > b->job) - (a->job < b->job);
}

static int by_job(const void *one, const void *other)
{
	const struct waiter *a = one, *b = other;

	return (a->job > b->job) - (a->job < b->job);
}

/* The jobs that wait, in the order in which they may start: looking for them costs nothing at each end of a job. */
static int line_up(struct zd_sim *sim)
{
	uint32_t i;

	sim->waiters = calloc((size_t)sim->nr_jobs + 1, sizeof(*sim->waiters));
	if (!sim->waiters)
		return -ENOMEM;
	for (i = 0; i < sim->nr_jobs; i++) {
		if (sim->jobs[i]->p.wait_for)
			sim->waiters[sim->nr_waiters++] = (struct waiter){ sim->jobs[i]->p.wait_for, i };
	}
	qsort(sim->waiters, sim->nr_waiters, sizeof(*sim->waiters), by_wait);
	return 0;
}

static void start_waiting(struct zd_sim *sim)
{
	uint32_t first = sim->next_waiter, i;

	while (sim->ended_before < sim->nr_jobs && sim->jobs[sim->ended_before]->ended)
		sim->ended_before++;
	while (sim->next_waiter < sim->nr_waiters && sim->waiters[sim->next_waiter].wait_for <= sim->ended_before)
		sim->next_waiter++;
	/* Those that start at one moment do so in the order of their numbers. */
	qsort(sim->waiters + first, sim->next_waiter - first, sizeof(*sim->waiters), by_job);
	for (i = first; i < sim->next_waiter; i++) {
		struct job *job = sim->jobs[sim->waiters[i].job];

		zd_wake_at(sim, job, sim->d.now + job->p.startdelay);
	}
}

static void job_over(struct zd_sim *sim, struct job *job)
{
	if (job->ended)
		return;
	job->ended = true;
	job->running = false;
	job->r.ended = sim->d.now;
	sim->jobs_left--;
	start_waiting(sim);
}

void zd_end_job(struct zd_sim *sim, struct job *job, int code, const struct zd_error *why)
{
	(void)sim;
	if (!job->r.error) {
		job->r.error = code;
		if (why)
			job->r.why = *why;
	}
	job->finishing = true;
}

/* ---------------------------------------------------------------- bursts */

#define BURST 16 /* a burst of less is not worth the questions */

/*
 * How many of the job's next commands nobody can come between: one job at work, at depth 1, writing blocks of one size in
 * order into a zone that is open, on a drive where each takes the same time, and no event is due before it is done.
 */
static uint64_t burst_length(const struct zd_sim *sim, const struct job *job, uint32_t *zone)
{
	const struct zd_sim_job *p = &job->p;
	const struct machine *m = &sim->d.m;
	uint64_t at = job->last_pos[ZD_SIM_WRITE], bytes = p->bs_min[ZD_SIM_WRITE], cap, n, left, each, first;

	if (sim->d.model.kind != ZD_SIM_NULL || sim->d.heap_used || sim->wants || p->kind != ZD_SIM_JOB_FIO || p->iodepth != 1 ||
	    p->reads || p->trims || p->random || p->append || p->sequence_add || p->thinktime || p->rate[ZD_SIM_WRITE] ||
	    p->rate_iops[ZD_SIM_WRITE] || p->reset_frequency > 0 || p->nr_split[ZD_SIM_WRITE] || p->bs_max[ZD_SIM_WRITE] != bytes ||
	    bytes % m->b.physical_block || p->verify || job->pending || job->inflight || sim->d.now < job->start + p->ramp ||
	    at < p->offset || at >= p->offset + p->size)
		return 0;
	*zone = zone_of(m, at);
	if (zone_conv(m, *zone) || (m->word[*zone] & W_COND & ~1ull) != ZD_IMPLICIT_OPEN || at - zone_start(m, *zone) != zone_written(m, *zone) ||
	    sim->host_wp[*zone] != zone_written(m, *zone) || sim->host_flags[*zone] & H_BUSY ||
	    (!(sim->host_flags[*zone] & H_OPEN) && p->zbd &&
	     (p->max_open_zones || p->job_max_open_zones || (!p->ignore_zone_limits && m->b.max_open))))
		return 0;
	/* Up to, and without, the command that fills the zone or ends the range or the job: those are not like the others. */
	cap = zone_start(m, *zone) + zone_capacity(m, *zone);
	if (cap > p->offset + p->size)
		cap = p->offset + p->size;
	n = (cap - at - 1) / bytes;
	left = p->time_based ? UINT64_MAX : p->io_size > job->issued_bytes ? (p->io_size - job->issued_bytes - 1) / bytes : 0;
	n = left < n ? left : n;
	left = !p->number_ios ? UINT64_MAX : p->number_ios > job->issued ? p->number_ios - job->issued - 1 : 0;
	n = left < n ? left : n;
	each = sim->d.model.null_ns + sim->d.model.host_ns;
	left = !p->runtime ? UINT64_MAX : job->start + p->runtime > sim->d.now ? (job->start + p->runtime - sim->d.now - 1) / each : 0;
	n = left < n ? left : n;
	left = sim->stop > sim->commands ? sim->stop - sim->commands : 0;
	n = left < n ? left : n;
	/* Within one entry of the series, which takes down how the zones stand at its end. */
	first = sim->d.now + sim->d.model.null_ns;
	left = first < sim->series_end ? (sim->series_end - first - 1) / each + 1 : 0;
	return left < n ? left : n;
}

/* Each command goes through the state machine; only the queue of events has nothing to decide, and is left out. */
static bool burst(struct zd_sim *sim, struct job *job)
{
	uint32_t zone;
	uint64_t n = burst_length(sim, job, &zone), each = sim->d.model.null_ns + sim->d.model.host_ns, rel, bytes, i;

	if (n < BURST)
		return false;
	rel = zone_written(&sim->d.m, zone);
	bytes = job->p.bs_min[ZD_SIM_WRITE];
	for (i = 0; i < n; i++, rel += bytes) {
		if (unlikely(machine_write(&sim->d.m, ZD_CMD_WRITE, zone, rel, bytes, NULL)))
			break;
	}
	if (unlikely(!i))
		return false;
	zd_count_burst(sim, job, zone, i, sim->d.now + sim->d.model.null_ns, each);
	job->r.depth[0] += i;
	job->r.wait_host += (i - 1) * sim->d.model.host_ns;
	job->issued += i;
	job->issued_bytes += i * bytes;
	job->dir_count[ZD_SIM_WRITE] += i;
	job->dir_bytes[ZD_SIM_WRITE] += i * bytes;
	job->in_sequence[ZD_SIM_WRITE] += (uint32_t)i;
	job->last_pos[ZD_SIM_WRITE] += i * bytes;
	sim->host_wp[zone] += i * bytes;
	sim->valid_bytes += i * bytes;
	sim->d.arrivals += i;
	sim->commands += i;
	sim->barren = 0;
	sim->d.now += i * each - sim->d.model.host_ns;
	job->cpu = sim->d.now + sim->d.model.host_ns;
	return true;
}

static void pump(struct zd_sim *sim, struct job *job)
{
	if (unlikely(job->parked)) {
		job->parked = false;
		sim->nr_parked--;
	}
	while (job->running && !job->blocked && !job->resting && !job->finishing && job->inflight < job->p.iodepth) {
		uint32_t i;
		struct command *c;
		enum next n;

		if (job->cpu > sim->d.now) {
			job->r.wait_host += job->cpu - sim->d.now;
			if (job->wake == NEVER || job->wake > job->cpu)
				zd_wake_at(sim, job, job->cpu);
			return;
		}
		if (!sim->d.heap_used && burst(sim, job))
			continue;
		i = zd_command_new(&sim->d);
		if (unlikely(i == NONE)) {
			sim->d.failed = true;
			return;
		}
		c = &sim->d.cmds[i];
		c->sent = sim->d.now;
		c->job = job->index;
		n = job->next(sim, job, c);
		if (unlikely(n != NEXT_COMMAND)) {
			command_free(&sim->d, i);
			switch (n) {
			case NEXT_WAIT: zd_event(&sim->d, job->wake, EV_JOB, job->index); return;
			case NEXT_DRAIN: return;
			case NEXT_PARK:
				sim->nr_parked += !job->parked;
				job->parked = true;
				return;
			case NEXT_TRACE:
				job->starved = true;
				sim->wants = job->index + 1;
				return;
			case NEXT_STOPPED: job->r.stopped = 1; break;
			case NEXT_FAILED:
				if (!job->r.error)
					zd_end_job(sim, job, -ENOMEM, NULL);
				break;
			default: break;
			}
			job->finishing = true;
			break;
		}
		job->inflight++;
		if (c->flags & C_HIDDEN) {
			job->hidden++;
		} else {
			uint32_t depth = job->inflight - job->hidden;

			job->r.depth[depth < 64 ? 31 - __builtin_clz(depth) : 6]++;
		}
		if (c->flags & C_SYNC)
			job->blocked = true;
		if (unlikely(job->p.thinktime) && job->since_rest >= job->p.thinktime_blocks && !job->pending) {
			job->since_rest = 0;
			job->resting = true;
		}
		dispatch(sim, c);
	}
	if (job->finishing && !job->inflight)
		job_over(sim, job);
}

static void command_done(struct zd_sim *sim, uint32_t i)
{
	struct command *c = &sim->d.cmds[i];
	struct job *job = sim->jobs[c->job];
	uint32_t zone = c->zone;
	uint8_t flags = c->flags;

	if (unlikely(sim->d.model.kind == ZD_SIM_REAL) && c->sent > sim->d.now)
		c->sent = sim->d.now;
	zd_count_done(sim, job, c);
	sim->commands++;
	sim->barren = 0;
	command_free(&sim->d, i);
	job->inflight--;
	if (unlikely(job->p.thinktime) && !(flags & C_HIDDEN) && !job->p.thinktime_issue)
		job->since_rest++;
	job->cpu = (job->cpu > sim->d.now ? job->cpu : sim->d.now) + sim->d.model.host_ns;
	if (unlikely(flags & C_HIDDEN)) {
		job->hidden--;
		if (flags & C_SYNC)
			job->blocked = false;
	}
	if (flags & C_ORDERED)
		release_zone(sim, zone);
	if (unlikely(job->resting) && !job->inflight) {
		job->r.wait_rest += job->p.thinktime;
		zd_wake_at(sim, job, sim->d.now + job->p.thinktime);
		return;
	}
	pump(sim, job);
}

static void job_event(struct zd_sim *sim, uint32_t index)
{
	struct job *job = sim->jobs[index];

	if (job->ended || sim->d.now < job->wake)
		return; /* an alarm that was moved */
	job->wake = NEVER;
	if (!job->running) {
		job->running = true;
		job->start = job->r.started = sim->d.now;
		job->cpu = sim->d.now;
	}
	if (job->resting && !job->inflight)
		job->resting = false;
	pump(sim, job);
}

static int begin(struct zd_sim *sim)
{
	uint32_t first = sim->d.m.b.nr_zones, last = 0, i;
	int r = line_up(sim);

	if (r)
		return r;
	sim->started = true;
	/* What was done to the zones before does not count. */
	sim->d.m.opens = sim->d.m.closes = sim->d.m.finishes = sim->d.m.resets = sim->d.m.implicit_opens = sim->d.m.implicit_closes = 0;
	for (i = 0; i < sim->nr_jobs; i++) {
		const struct zd_sim_job *p = &sim->jobs[i]->p;
		uint32_t a = zone_of(&sim->d.m, p->offset), b = zone_of(&sim->d.m, p->offset + p->size - 1);

		if (a < first)
			first = a;
		if (b > last)
			last = b;
		if (!p->wait_for)
			zd_wake_at(sim, sim->jobs[i], p->startdelay);
	}
	sim->first_zone = first;
	sim->zones_per_bin = (last - first) / ZD_SIM_ZONE_BINS + 1;
	sim->bins = (last - first) / sim->zones_per_bin + 1;
	zd_series_move(sim, 0);
	return 0;
}

static void sleep_until(struct zd_sim *sim, uint64_t time)
{
	uint64_t now = zd_real_now(sim);
	struct timespec t;

	if (time <= now)
		return;
	t.tv_sec = (time_t)((time - now) / 1000000000u);
	t.tv_nsec = (long)((time - now) % 1000000000u);
	nanosleep(&t, NULL);
}

int zd_sim_run(zd_sim *sim, uint64_t max_commands, struct zd_error *err)
{
	uint32_t i;

	sim->stop = max_commands ? sim->commands + max_commands : UINT64_MAX;
	if (sim->d.model.kind == ZD_SIM_REAL && !sim->dev)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "no disk was attached");
	if (!sim->started && begin(sim))
		return zd_sim_fail(err, -ENOMEM, "no memory for the jobs that wait");
	for (i = 0; i < sim->nr_jobs; i++) {
		if (sim->jobs[i]->starved && (sim->jobs[i]->rec_used || sim->jobs[i]->trace_last)) {
			sim->jobs[i]->starved = false;
			pump(sim, sim->jobs[i]);
		}
	}
	while (sim->jobs_left && !sim->wants) {
		struct event e;

		if (unlikely(!sim->d.heap_used))
			return zd_sim_fail(err, ZD_E_GEOMETRY, "the jobs wait for each other: none can go on");
		if (unlikely(sim->barren++ > BARREN))
			return zd_sim_fail(err, ZD_E_GEOMETRY, "no command was completed in %llu steps: the jobs make no progress",
					   (unsigned long long)BARREN);
		e = zd_next_event(&sim->d);
		if (unlikely(sim->d.model.kind == ZD_SIM_REAL))
			sleep_until(sim, e.time);
		sim->d.now = e.time;
		switch (event_kind(&e)) {
		case EV_DONE: command_done(sim, event_index(&e)); break;
		case EV_JOB: job_event(sim, event_index(&e)); break;
		default: zd_drive_event(&sim->d, &e);
		}
		if (unlikely(sim->d.failed))
			return zd_sim_fail(err, -ENOMEM, "no memory for what is under way");
		if (unlikely(sim->commands >= sim->stop))
			break;
	}
	return sim->wants ? ZD_SIM_WANTS_TRACE : sim->jobs_left ? ZD_SIM_PAUSED : ZD_SIM_DONE;
}

