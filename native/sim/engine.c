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
	c->flags &= (uint8_t)~C_DURABLE;
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

/* A flush goes to the drive once what lay in its cache when it came is on the media, as far as the model tells. */
static void let_flushes_go(struct zd_sim *sim)
{
	uint32_t *link = &sim->flushes, i;

	while ((i = *link)) {
		struct command *c = &sim->d.cmds[i - 1];

		if (drive_dirty(&sim->d) && sim->d.media_bytes < c->before) {
			link = &c->next;
			continue;
		}
		*link = c->next;
		drive_submit(&sim->d, c);
	}
}

/* What no zone is asked for: a flush, or anything of the engine null. */
static __attribute__((noinline)) void apart(struct zd_sim *sim, struct command *c)
{
	struct zd_drive *d = &sim->d;
	struct zd_error why;
	int r;

	if (sim->jobs[c->job]->p.diskless) {
		drive_done_at(d, c, d->now + !d->model.host_ns);
	} else if (d->model.kind == ZD_SIM_REAL) {
		if (c->dir == ZD_SIM_NR_DIRS)
			c->sent = zd_real_now(sim);
		r = zd_real_flush(sim, &why);
		if (r)
			refused(sim, c, r, &why);
		else
			drive_done_at(d, c, zd_real_now(sim));
	} else if (drive_dirty(d)) {
		c->before = d->media_bytes + d->hdd.cached + d->dm.item_bytes;
		c->next = sim->flushes;
		sim->flushes = (uint32_t)(c - d->cmds) + 1;
	} else {
		drive_submit(d, c);
	}
}

/* A command that others went with is itself again; theirs is the same fate. Returns the first of them. */
static uint32_t unmerge(struct zd_sim *sim, struct command *c)
{
	uint32_t first = c->merged, i;

	for (i = first; i; i = sim->d.cmds[i - 1].next)
		c->length -= sim->d.cmds[i - 1].length;
	c->merged = 0;
	return first;
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
	if (unlikely(c->flags & C_APART)) {
		apart(sim, c);
		return;
	}
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
		uint32_t i = unmerge(sim, c), next;

		refused(sim, c, r, &why);
		for (; i; i = next) {
			struct command *with = &sim->d.cmds[i - 1];

			next = with->next;
			with->flags &= (uint8_t)~C_ORDERED; /* the first one held the zone */
			refused(sim, with, r, &why);
		}
		if (c->flags & C_COUNTED)
			abort_zone(sim, c->zone, r, &why);
		return;
	}
	if (c->cmd == ZD_CMD_WRITE || c->cmd == ZD_CMD_APPEND) {
		uint64_t word = m->word[c->zone];

		if (unlikely((word & W_COND) == ZD_FULL) && (sim->host_flags[c->zone] & H_OPEN))
			zd_open_list_drop(sim, c->zone);
		/* Not in zone mode: the host did not keep count. Behind it, a reset may be waiting that it did count. */
		if (unlikely((word & W_WRITTEN) > sim->host_wp[c->zone]) && !(c->flags & C_COUNTED) &&
		    !sim->plug_first[c->zone])
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

/* It waited for its zone, and waits no longer. */
static void unplug(struct zd_sim *sim, struct command *c)
{
	struct job *job = sim->jobs[c->job];

	sim->plug_first[c->zone] = c->next;
	if (!c->next)
		sim->plug_last[c->zone] = 0;
	job->r.wait_zone += sim->d.now - c->arrived;
	if (job->p.zone_lock) /* fio's own lock: its clock starts once it has that */
		c->sent = sim->d.now;
}

/* A write that the host may send together with those before and behind it. */
static inline bool mergeable(const struct zd_sim *sim, const struct command *c)
{
	return c->cmd == ZD_CMD_WRITE && !(c->flags & (C_HIDDEN | C_SYNC | C_DURABLE | C_APART)) && (c->flags & C_ORDERED) &&
	       !sim->jobs[c->job]->p.zone_lock;
}

/* The host's scheduler makes one command of writes that wait one behind the other. */
static __attribute__((noinline)) void merge(struct zd_sim *sim, struct command *c)
{
	uint32_t *link = &c->merged, i;

	while ((i = sim->plug_first[c->zone])) {
		struct command *more = &sim->d.cmds[i - 1];

		if (!mergeable(sim, more) || more->offset != c->offset + c->length ||
		    c->length + more->length > sim->d.model.merge_bytes)
			return;
		unplug(sim, more);
		more->next = 0;
		*link = i;
		link = &more->next;
		c->length += more->length;
	}
}

static void release_zone(struct zd_sim *sim, uint32_t zone)
{
	uint32_t i;

	while (unlikely(i = sim->plug_first[zone])) {
		struct command *c = &sim->d.cmds[i - 1];

		unplug(sim, c);
		if (sim->d.model.merge_bytes && mergeable(sim, c))
			merge(sim, c);
		start(sim, c);
		if (c->flags & C_ORDERED)
			return;
	}
	sim->host_flags[zone] &= (uint8_t)~H_BUSY;
}

/* ---------------------------------------------------------------- jobs */

static void put_last(struct zd_sim *sim, uint32_t *first, uint32_t *last, struct command *c)
{
	uint32_t i = (uint32_t)(c - sim->d.cmds) + 1;

	c->next = 0;
	if (*last)
		sim->d.cmds[*last - 1].next = i;
	else
		*first = i;
	*last = i;
}

/* The job waits until then, of its own will. Asked again meanwhile, it waits no longer for that. */
static void rest(struct zd_sim *sim, struct job *job, uint64_t until)
{
	uint64_t from = sim->d.now > job->rests_until ? sim->d.now : job->rests_until;

	if (until <= from)
		return;
	job->r.wait_rest += until - from;
	job->rests_until = until;
}

static inline void send_on(struct zd_sim *sim, struct job *job)
{
	if (unlikely(job->parked)) {
		job->parked = false;
		sim->nr_parked--;
	}
	while (job->running && !job->blocked && !job->resting && !job->finishing && job->inflight < job->depth) {
		uint32_t i;
		struct command *c;
		enum next n;

		if (job->cpu > sim->d.now) {
			job->r.wait_host += job->cpu - sim->d.now;
			if (job->wake == NEVER || job->wake > job->cpu)
				zd_wake_at(sim, job, job->cpu);
			return;
		}
		if (!sim->d.heap_used && zd_burst(sim, job))
			continue;
		i = zd_command_new(&sim->d);
		if (unlikely(i == NONE)) {
			sim->d.failed = true;
			return;
		}
		c = &sim->d.cmds[i];
		c->sent = sim->d.now;
		c->job = job->index;
		c->merged = 0;
		n = job->next(sim, job, c);
		if (unlikely(n != NEXT_COMMAND)) {
			command_free(&sim->d, i);
			switch (n) {
			case NEXT_WAIT:
				rest(sim, job, job->wake);
				zd_event(&sim->d, job->wake, EV_JOB, job->index);
				return;
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
		zd_job_over(sim, job);
}

/* A host that waits: once its depth was reached it sends no more until depth_low. */
static __attribute__((noinline)) void batched_pump(struct zd_sim *sim, struct job *job)
{
	uint32_t low = job->p.depth_low ? job->p.depth_low : job->depth;

	if (job->reaping || (job->filled && job->inflight > low && !job->finishing))
		return;
	job->filled = false;
	send_on(sim, job);
	job->filled = job->inflight >= job->depth;
}

static void pump(struct zd_sim *sim, struct job *job)
{
	if (unlikely(job->batched))
		batched_pump(sim, job);
	else
		send_on(sim, job);
}

static void command_done(struct zd_sim *sim, uint32_t i);

/* Done at the drive, so that its zone is free; for the host it is done with as many others as that waits for. */
static __attribute__((noinline)) void gather(struct zd_sim *sim, struct job *job, struct command *c)
{
	uint32_t want = 1, under_way = job->inflight - job->hidden, i, next;

	if (c->flags & C_ORDERED) {
		c->flags &= (uint8_t)~C_ORDERED;
		release_zone(sim, c->zone);
	}
	put_last(sim, &job->held_first, &job->held_last, c);
	if (job->filled)
		want = job->p.batch_complete < under_way ? job->p.batch_complete : under_way;
	if (++job->nr_held < want)
		return;
	i = job->held_first;
	job->held_first = job->held_last = job->nr_held = 0;
	job->reaping = true;
	for (; i; i = next) {
		next = sim->d.cmds[i - 1].next;
		command_done(sim, i - 1);
	}
	job->reaping = false;
	pump(sim, job);
}

/* Of those that went to the drive as one: the first holds the zone, and lets it go when all are counted. */
static __attribute__((noinline)) void merged_done(struct zd_sim *sim, struct command *c)
{
	uint32_t first = (uint32_t)(c - sim->d.cmds), i = unmerge(sim, c), next;

	for (; i; i = next) {
		next = sim->d.cmds[i - 1].next;
		sim->d.cmds[i - 1].flags &= (uint8_t)~C_ORDERED;
		sim->d.cmds[i - 1].arrived = sim->d.cmds[first].arrived;
		command_done(sim, i - 1);
	}
	command_done(sim, first);
}

static void look(struct zd_sim *sim, struct job *job, const struct command *c)
{
	if (job->p.latency_target)
		zd_depth_done(sim, job, c);
	if (job->steady)
		zd_steady_done(sim, job, c);
	if (job->rates)
		zd_rate_done(sim, job, c);
	if (job->p.log && zd_keep_done(sim, job, c))
		sim->d.failed = true;
}

static void command_done(struct zd_sim *sim, uint32_t i)
{
	struct command *c = &sim->d.cmds[i];
	struct job *job = sim->jobs[c->job];
	uint32_t zone = c->zone;
	uint8_t flags = c->flags;

	if (unlikely(sim->d.model.kind == ZD_SIM_REAL) && c->sent > sim->d.now)
		c->sent = sim->d.now;
	if (unlikely(flags & C_DURABLE)) { /* it is in the drive; done it is when it is on the media */
		c->flags = (uint8_t)((flags & ~C_DURABLE) | C_APART);
		c->cmd = ZD_CMD_FLUSH;
		apart(sim, c);
		return;
	}
	if (unlikely(flags & C_APART) && c->cmd == ZD_CMD_FLUSH && c->dir == ZD_SIM_WRITE)
		c->cmd = ZD_CMD_WRITE;
	if (unlikely(job->batched) && job->p.batch_complete > 1 && !job->reaping && !(flags & C_HIDDEN)) {
		gather(sim, job, c);
		return;
	}
	zd_count_done(sim, job, c);
	if (unlikely(job->watched))
		look(sim, job, c);
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
		rest(sim, job, sim->d.now + job->p.thinktime);
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
		if (job->p.flow)
			sim->d.failed |= zd_flow_join(sim, job) != 0;
		job->window_at = sim->d.now;
		if (job->steady)
			zd_steady_begin(sim, job);
	}
	if (job->resting && !job->inflight)
		job->resting = false;
	pump(sim, job);
}

static int begin(struct zd_sim *sim)
{
	uint32_t first = sim->d.m.b.nr_zones, last = 0, i;
	int r = zd_line_up(sim);

	if (r)
		return r;
	sim->started = true;
	/* What was done to the zones before does not count. */
	sim->d.m.opens = sim->d.m.closes = sim->d.m.finishes = sim->d.m.resets = sim->d.m.implicit_opens =
		sim->d.m.implicit_closes = 0;
	for (i = 0; i < sim->nr_jobs; i++) {
		const struct zd_sim_job *p = &sim->jobs[i]->p;
		uint32_t a = zone_of(&sim->d.m, p->offset), b = zone_of(&sim->d.m, p->offset + p->size - 1);

		if (a < first)
			first = a;
		if (b > last)
			last = b;
		if (!p->wait_for && !p->named_count)
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
			return zd_sim_fail(err, ZD_E_GEOMETRY,
					   "no command was completed in %llu steps: the jobs make no progress",
					   (unsigned long long)BARREN);
		e = zd_next_event(&sim->d);
		if (unlikely(sim->d.model.kind == ZD_SIM_REAL))
			sleep_until(sim, e.time);
		sim->d.now = e.time;
		switch (event_kind(&e)) {
		case EV_DONE:
			if (unlikely(sim->d.cmds[event_index(&e)].merged))
				merged_done(sim, &sim->d.cmds[event_index(&e)]);
			else
				command_done(sim, event_index(&e));
			break;
		case EV_JOB: job_event(sim, event_index(&e)); break;
		default: zd_drive_event(&sim->d, &e);
		}
		if (unlikely(sim->flushes))
			let_flushes_go(sim);
		if (unlikely(sim->d.failed))
			return zd_sim_fail(err, -ENOMEM, "no memory for what is under way");
		if (unlikely(sim->commands >= sim->stop))
			break;
	}
	return sim->wants ? ZD_SIM_WANTS_TRACE : sim->jobs_left ? ZD_SIM_PAUSED : ZD_SIM_DONE;
}
