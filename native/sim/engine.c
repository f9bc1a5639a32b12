/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: virtual time, the event queue, the host's side of each job (depth, its processor, the order of
 * writes within a zone), and everything that is counted.
 *
 * Events are ordered by time, then by the order in which they were made, so a run is the same every time.
 */
#include "sim.h"

#include <math.h>
#include <time.h>

/* Steps without a completed command after which a run is given up. Each command has at most a few steps of its own. */
#define BARREN (1ull << 26)

/* ---------------------------------------------------------------- events */

#define EVENT_INDEXES (1u << 24) /* bits of a tag that number a command or a job */

static inline bool earlier(const struct event *a, const struct event *b)
{
	return a->time < b->time || (a->time == b->time && a->tag < b->tag);
}

void zd_event(struct zd_sim *sim, uint64_t time, enum event_kind kind, uint32_t index)
{
	struct event e = { time, sim->sequence++ << 28 | (uint64_t)kind << 24 | index };
	uint32_t i, up;

	if (unlikely(sim->heap_used == sim->heap_room)) {
		uint32_t room = sim->heap_room * 2;
		struct event *heap = realloc(sim->heap, room * sizeof(*heap));

		if (!heap) {
			sim->failed = true; /* zd_sim_run() says so */
			return;
		}
		sim->heap = heap;
		sim->heap_room = room;
	}
	for (i = sim->heap_used++; i; i = up) {
		up = (i - 1) / 2;
		if (!earlier(&e, &sim->heap[up]))
			break;
		sim->heap[i] = sim->heap[up];
	}
	sim->heap[i] = e;
}

static inline struct event next_event(struct zd_sim *sim)
{
	struct event top = sim->heap[0], e = sim->heap[--sim->heap_used];
	uint32_t i = 0, down, n = sim->heap_used;

	while ((down = 2 * i + 1) < n) {
		if (down + 1 < n && earlier(&sim->heap[down + 1], &sim->heap[down]))
			down++;
		if (!earlier(&sim->heap[down], &e))
			break;
		sim->heap[i] = sim->heap[down];
		i = down;
	}
	sim->heap[i] = e;
	return top;
}

struct event zd_next_event(struct zd_sim *sim)
{
	return next_event(sim);
}

/* ---------------------------------------------------------------- counting */

static inline uint32_t bucket(uint64_t v)
{
	uint32_t e;

	if (v < 128)
		return (uint32_t)v;
	e = 57 - (uint32_t)__builtin_clzll(v);
	v = ((e + 1) << 6) + (v >> e & 63);
	return v < ZD_SIM_BUCKETS ? (uint32_t)v : ZD_SIM_BUCKETS - 1;
}

uint64_t zd_sim_bucket(uint32_t i)
{
	return i < 128 ? i : (uint64_t)(64 + (i & 63)) << ((i >> 6) - 1);
}

#define LOOKED_AT 16u /* zones of a bin */

/* How the zones stand now, into an entry of the series. */
static void states_take(struct zd_sim *sim, struct zd_sim_bin *row)
{
	uint32_t bin, step = (sim->zones_per_bin + LOOKED_AT - 1) / LOOKED_AT;

	for (bin = 0; bin < sim->bins; bin++) {
		uint32_t first = sim->first_zone + bin * sim->zones_per_bin, end = first + sim->zones_per_bin, z, n = 0;
		uint32_t open = 0, closed = 0, full = 0;
		double filled = 0;

		if (end > sim->m.nr_zones)
			end = sim->m.nr_zones;
		for (z = first; z < end; z += step) {
			int cond = zone_cond(&sim->m, z);

			if (zone_conv(&sim->m, z))
				continue;
			n++;
			open += cond == ZD_IMPLICIT_OPEN || cond == ZD_EXPLICIT_OPEN;
			closed += cond == ZD_CLOSED;
			full += cond == ZD_FULL;
			filled += cond == ZD_FULL ? 1 : (double)zone_written(&sim->m, z) / (double)zone_capacity(&sim->m, z);
		}
		if (!n)
			continue;
		row[bin].filled = (uint8_t)(255 * filled / n);
		row[bin].open = (uint8_t)(255 * open / n);
		row[bin].closed = (uint8_t)(255 * closed / n);
		row[bin].full = (uint8_t)(255 * full / n);
	}
}

static inline struct zd_sim_bin *states_row(struct zd_sim *sim, uint64_t slot)
{
	return &sim->states[slot * ZD_SIM_ZONE_BINS];
}

/* The states of one entry become another's, which keeps its resets. */
static void states_copy(struct zd_sim_bin *to, const struct zd_sim_bin *from)
{
	uint32_t i;

	for (i = 0; i < ZD_SIM_ZONE_BINS; i++) {
		uint32_t resets = to[i].resets;

		to[i] = from[i];
		to[i].resets = resets;
	}
}

/* The series is full: two entries become one. */
static void series_halve(struct zd_sim *sim)
{
	uint32_t i, j;

	for (i = 0; i < ZD_SIM_SLOTS / 2; i++) {
		struct zd_sim_sample *to = &sim->series[i], a = sim->series[2 * i], b = sim->series[2 * i + 1];

		for (j = 0; j < 3; j++) {
			to->bytes[j] = a.bytes[j] + b.bytes[j];
			to->count[j] = a.count[j] + b.count[j];
			to->lat_sum[j] = a.lat_sum[j] + b.lat_sum[j];
			to->lat_max[j] = a.lat_max[j] > b.lat_max[j] ? a.lat_max[j] : b.lat_max[j];
		}
		to->resets = a.resets + b.resets;
		for (j = 0; j < ZD_SIM_ZONE_BINS; j++)
			sim->picture[i * ZD_SIM_ZONE_BINS + j] = sim->picture[2 * i * ZD_SIM_ZONE_BINS + j] +
								 sim->picture[(2 * i + 1) * ZD_SIM_ZONE_BINS + j];
		for (j = 0; j < ZD_SIM_ZONE_BINS; j++) {
			const struct zd_sim_bin *early = &states_row(sim, 2 * i)[j], *late = &states_row(sim, 2 * i + 1)[j];
			struct zd_sim_bin both = 2 * i + 1 < sim->series_used ? *late : *early;

			both.resets = early->resets + late->resets;
			states_row(sim, i)[j] = both;
		}
	}
	memset(states_row(sim, ZD_SIM_SLOTS / 2), 0, (size_t)ZD_SIM_SLOTS / 2 * ZD_SIM_ZONE_BINS * sizeof(*sim->states));
	sim->series_used = (sim->series_used + 1) / 2;
	memset(&sim->series[ZD_SIM_SLOTS / 2], 0, ZD_SIM_SLOTS / 2 * sizeof(*sim->series));
	memset(&sim->picture[ZD_SIM_SLOTS / 2 * ZD_SIM_ZONE_BINS], 0, ZD_SIM_SLOTS / 2 * ZD_SIM_ZONE_BINS * sizeof(*sim->picture));
	sim->series_step *= 2;
}

static void series_move(struct zd_sim *sim, uint64_t now)
{
	uint64_t slot = now / sim->series_step;

	if (sim->series_used)
		states_take(sim, states_row(sim, sim->series_used - 1));
	while (slot >= ZD_SIM_SLOTS) {
		series_halve(sim);
		slot = now / sim->series_step;
	}
	for (; sim->series_used && sim->series_used < slot; sim->series_used++) /* nothing was done meanwhile */
		states_copy(states_row(sim, sim->series_used), states_row(sim, sim->series_used - 1));
	sim->series_used = (uint32_t)slot + 1;
	sim->series_end = (slot + 1) * sim->series_step;
	sim->sample = &sim->series[slot];
	sim->picture_row = &sim->picture[slot * ZD_SIM_ZONE_BINS];
}

static inline void picture_add(struct zd_sim *sim, const struct command *c)
{
	uint32_t at = c->zone - sim->first_zone;

	if (likely(c->zone >= sim->first_zone) && (at /= sim->zones_per_bin) < ZD_SIM_ZONE_BINS)
		sim->picture_row[at] += (uint32_t)(c->length >> 10);
}

static void reset_add(struct zd_sim *sim, const struct command *c)
{
	uint32_t at = (c->zone - sim->first_zone) / sim->zones_per_bin;

	sim->sample->resets++;
	if (c->zone >= sim->first_zone && at < ZD_SIM_ZONE_BINS)
		states_row(sim, sim->series_used - 1)[at].resets++;
}

static inline void count_done(struct zd_sim *sim, struct job *job, const struct command *c)
{
	uint64_t now = sim->now, latency = now - c->sent;
	struct zd_sim_stats *s;

	if (unlikely(now >= sim->series_end))
		series_move(sim, now);
	if (c->cmd == ZD_CMD_WRITE || c->cmd == ZD_CMD_APPEND)
		picture_add(sim, c);
	else if (c->cmd == ZD_CMD_RESET)
		reset_add(sim, c);
	if (unlikely(c->dir >= ZD_SIM_NR_DIRS))
		return;
	sim->sample->bytes[c->dir] += c->length;
	sim->sample->count[c->dir]++;
	sim->sample->lat_sum[c->dir] += latency;
	if (latency > sim->sample->lat_max[c->dir])
		sim->sample->lat_max[c->dir] = latency;
	if (unlikely(c->sent < job->start + job->p.ramp))
		return; /* warm-up */
	s = &job->r.dir[c->dir];
	if (unlikely(!s->count)) {
		s->first = c->sent;
		s->min = latency;
	}
	s->count++;
	s->bytes += c->length;
	s->sum += latency;
	s->sum_squares += (double)latency * (double)latency;
	if (latency < s->min)
		s->min = latency;
	if (latency > s->max)
		s->max = latency;
	s->last = now;
	job->histogram[c->dir][bucket(latency)]++;
}

/* ---------------------------------------------------------------- commands on their way */

uint32_t zd_command_new(struct zd_sim *sim)
{
	uint32_t i = sim->free_cmd, room, old = sim->nr_cmds;

	if (unlikely(!i)) {
		struct command *cmds;

		room = old ? 2 * old : 64;
		if (room > EVENT_INDEXES)
			return NONE;
		cmds = realloc(sim->cmds, room * sizeof(*cmds));
		if (!cmds)
			return NONE;
		sim->cmds = cmds;
		sim->nr_cmds = room;
		for (i = room; i-- > old;) {
			cmds[i].next = sim->free_cmd;
			sim->free_cmd = i + 1;
		}
		i = sim->free_cmd;
	}
	sim->free_cmd = sim->cmds[i - 1].next;
	return i - 1;
}

static inline void command_free(struct zd_sim *sim, uint32_t i)
{
	sim->cmds[i].next = sim->free_cmd;
	sim->free_cmd = i + 1;
}

void zd_command_free(struct zd_sim *sim, uint32_t i)
{
	command_free(sim, i);
}

static void release_zone(struct zd_sim *sim, uint32_t zone);

/* What the host believes of a zone becomes what is so. */
static void host_learns(struct zd_sim *sim, uint32_t zone)
{
	uint64_t is = zone_cond(&sim->m, zone) == ZD_FULL ? zone_capacity(&sim->m, zone) : zone_written(&sim->m, zone);

	if (zone_conv(&sim->m, zone))
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
	sim_done_at(sim, c, sim->now);
}

/*
 * A command was refused that the host had counted on. What waits behind it was made for a write pointer that will not
 * come, so it fails for the same reason (as Linux fails the plugged writes of a zone); then the host asks the drive.
 */
static void abort_zone(struct zd_sim *sim, uint32_t zone, int r, const struct zd_error *why)
{
	while (sim->plug_first[zone]) {
		struct command *c = &sim->cmds[sim->plug_first[zone] - 1];

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
	struct machine *m = &sim->m;
	struct zd_error why;
	int r = 0;

	c->arrived = sim->now;
	c->before = m->word[c->zone];
	c->first = (c->before & W_COND) == ZD_EMPTY;
	sim->arrivals++;
	if (unlikely(sim->model.kind == ZD_SIM_REAL)) {
		c->sent = zd_real_now(sim);
		r = zd_real_submit(sim, c, &why);
		if (!r)
			sim_done_at(sim, c, zd_real_now(sim));
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
		if (sim->host_flags[c->zone] & H_OPEN && c->cmd == ZD_CMD_FINISH)
			zd_open_list_drop(sim, c->zone);
	}
	switch (sim->model.kind) {
	case ZD_SIM_NULL: sim_done_at(sim, c, sim->now + sim->model.null_ns); break;
	case ZD_SIM_HDD: zd_hdd_submit(sim, c); break;
	case ZD_SIM_ZNS: zd_zns_submit(sim, c); break;
	case ZD_SIM_DM: zd_dm_submit(sim, c); break;
	}
}

/* One write or zone command at a time in a sequential zone: the others, and appends, wait at the host, in order. */
static inline void dispatch(struct zd_sim *sim, struct command *c)
{
	uint32_t i = (uint32_t)(c - sim->cmds) + 1, zone = c->zone;

	if (c->flags & (C_ORDERED | C_BEHIND)) {
		if (sim->host_flags[zone] & H_BUSY) {
			c->next = 0;
			if (sim->plug_last[zone])
				sim->cmds[sim->plug_last[zone] - 1].next = i;
			else
				sim->plug_first[zone] = i;
			sim->plug_last[zone] = i;
			c->arrived = sim->now;
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
		struct command *c = &sim->cmds[i - 1];

		sim->plug_first[zone] = c->next;
		if (!c->next)
			sim->plug_last[zone] = 0;
		sim->jobs[c->job]->r.wait_zone += sim->now - c->arrived;
		start(sim, c);
		if (c->flags & C_ORDERED)
			return;
	}
	sim->host_flags[zone] &= (uint8_t)~H_BUSY;
}

/* ---------------------------------------------------------------- jobs */

static void wake_at(struct zd_sim *sim, struct job *job, uint64_t time)
{
	job->wake = time;
	zd_event(sim, time, EV_JOB, job->index);
}

void zd_unpark(struct zd_sim *sim)
{
	uint32_t i;

	for (i = 0; i < sim->nr_jobs && sim->nr_parked; i++) {
		if (!sim->jobs[i]->parked)
			continue;
		sim->jobs[i]->parked = false;
		sim->nr_parked--;
		wake_at(sim, sim->jobs[i], sim->now);
	}
}

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

		wake_at(sim, job, sim->now + job->p.startdelay);
	}
}

static void job_over(struct zd_sim *sim, struct job *job)
{
	if (job->ended)
		return;
	job->ended = true;
	job->running = false;
	job->r.ended = sim->now;
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
	const struct machine *m = &sim->m;
	uint64_t at = job->last_pos[ZD_SIM_WRITE], bytes = p->bs_min[ZD_SIM_WRITE], cap, n, left, each, first;

	if (sim->model.kind != ZD_SIM_NULL || sim->heap_used || sim->wants || p->kind != ZD_SIM_JOB_FIO || p->iodepth != 1 ||
	    p->reads || p->trims || p->random || p->append || p->sequence_add || p->thinktime || p->rate[ZD_SIM_WRITE] ||
	    p->rate_iops[ZD_SIM_WRITE] || p->reset_frequency > 0 || p->nr_split[ZD_SIM_WRITE] || p->bs_max[ZD_SIM_WRITE] != bytes ||
	    bytes % m->physical || p->verify || job->pending || job->inflight || sim->now < job->start + p->ramp ||
	    at < p->offset || at >= p->offset + p->size)
		return 0;
	*zone = zone_of(m, at);
	if (zone_conv(m, *zone) || (m->word[*zone] & W_COND & ~1ull) != ZD_IMPLICIT_OPEN || at - zone_start(m, *zone) != zone_written(m, *zone) ||
	    sim->host_wp[*zone] != zone_written(m, *zone) || sim->host_flags[*zone] & H_BUSY ||
	    (!(sim->host_flags[*zone] & H_OPEN) && p->zbd &&
	     (p->max_open_zones || p->job_max_open_zones || (!p->ignore_zone_limits && m->max_open))))
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
	each = sim->model.null_ns + sim->model.host_ns;
	left = !p->runtime ? UINT64_MAX : job->start + p->runtime > sim->now ? (job->start + p->runtime - sim->now - 1) / each : 0;
	n = left < n ? left : n;
	left = sim->stop > sim->commands ? sim->stop - sim->commands : 0;
	n = left < n ? left : n;
	/* Within one entry of the series, which takes down how the zones stand at its end. */
	first = sim->now + sim->model.null_ns;
	left = first < sim->series_end ? (sim->series_end - first - 1) / each + 1 : 0;
	return left < n ? left : n;
}

/* Count n commands of the same latency, one done at `done`, the others `each` apart after it. */
static void count_burst(struct zd_sim *sim, struct job *job, uint32_t zone, uint64_t n, uint64_t done, uint64_t each)
{
	struct zd_sim_stats *s = &job->r.dir[ZD_SIM_WRITE];
	uint64_t latency = sim->model.null_ns, bytes = job->p.bs_min[ZD_SIM_WRITE], i;
	double square = (double)latency * (double)latency;
	struct command like = { .zone = zone, .length = n * (bytes >> 10 << 10) };

	if (!s->count) {
		s->first = done - latency;
		s->min = latency;
	}
	s->min = latency < s->min ? latency : s->min;
	s->max = latency > s->max ? latency : s->max;
	s->count += n;
	s->bytes += n * bytes;
	s->sum += n * latency;
	if (s->sum_squares + (double)n * square < 0x1p53) {
		s->sum_squares += (double)n * square; /* whole numbers: the same as one by one */
	} else {
		for (i = 0; i < n; i++)
			s->sum_squares += square;
	}
	s->last = done + (n - 1) * each;
	job->histogram[ZD_SIM_WRITE][bucket(latency)] += n;
	sim->sample->bytes[ZD_SIM_WRITE] += n * bytes;
	sim->sample->count[ZD_SIM_WRITE] += n;
	sim->sample->lat_sum[ZD_SIM_WRITE] += n * latency;
	if (latency > sim->sample->lat_max[ZD_SIM_WRITE])
		sim->sample->lat_max[ZD_SIM_WRITE] = latency;
	picture_add(sim, &like);
}

/* Each command goes through the state machine; only the queue of events has nothing to decide, and is left out. */
static bool burst(struct zd_sim *sim, struct job *job)
{
	uint32_t zone;
	uint64_t n = burst_length(sim, job, &zone), each = sim->model.null_ns + sim->model.host_ns, rel, bytes, i;

	if (n < BURST)
		return false;
	rel = zone_written(&sim->m, zone);
	bytes = job->p.bs_min[ZD_SIM_WRITE];
	for (i = 0; i < n; i++, rel += bytes) {
		if (unlikely(machine_write(&sim->m, ZD_CMD_WRITE, zone, rel, bytes, NULL)))
			break;
	}
	if (unlikely(!i))
		return false;
	count_burst(sim, job, zone, i, sim->now + sim->model.null_ns, each);
	job->r.depth[0] += i;
	job->r.wait_host += (i - 1) * sim->model.host_ns;
	job->issued += i;
	job->issued_bytes += i * bytes;
	job->dir_count[ZD_SIM_WRITE] += i;
	job->dir_bytes[ZD_SIM_WRITE] += i * bytes;
	job->in_sequence[ZD_SIM_WRITE] += (uint32_t)i;
	job->last_pos[ZD_SIM_WRITE] += i * bytes;
	sim->host_wp[zone] += i * bytes;
	sim->valid_bytes += i * bytes;
	sim->arrivals += i;
	sim->commands += i;
	sim->barren = 0;
	sim->now += i * each - sim->model.host_ns;
	job->cpu = sim->now + sim->model.host_ns;
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

		if (job->cpu > sim->now) {
			job->r.wait_host += job->cpu - sim->now;
			if (job->wake == NEVER || job->wake > job->cpu)
				wake_at(sim, job, job->cpu);
			return;
		}
		if (!sim->heap_used && burst(sim, job))
			continue;
		i = zd_command_new(sim);
		if (unlikely(i == NONE)) {
			sim->failed = true;
			return;
		}
		c = &sim->cmds[i];
		c->sent = sim->now;
		c->job = job->index;
		n = zd_job_next(sim, job, c);
		if (unlikely(n != NEXT_COMMAND)) {
			command_free(sim, i);
			switch (n) {
			case NEXT_WAIT: zd_event(sim, job->wake, EV_JOB, job->index); return;
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
	struct command *c = &sim->cmds[i];
	struct job *job = sim->jobs[c->job];
	uint32_t zone = c->zone;
	uint8_t flags = c->flags;

	if (unlikely(sim->model.kind == ZD_SIM_REAL) && c->sent > sim->now)
		c->sent = sim->now;
	count_done(sim, job, c);
	sim->commands++;
	sim->barren = 0;
	command_free(sim, i);
	job->inflight--;
	if (unlikely(job->p.thinktime) && !(flags & C_HIDDEN) && !job->p.thinktime_issue)
		job->since_rest++;
	job->cpu = (job->cpu > sim->now ? job->cpu : sim->now) + sim->model.host_ns;
	if (unlikely(flags & C_HIDDEN)) {
		job->hidden--;
		if (flags & C_SYNC)
			job->blocked = false;
	}
	if (flags & C_ORDERED)
		release_zone(sim, zone);
	if (unlikely(job->resting) && !job->inflight) {
		job->r.wait_rest += job->p.thinktime;
		wake_at(sim, job, sim->now + job->p.thinktime);
		return;
	}
	pump(sim, job);
}

static void job_event(struct zd_sim *sim, uint32_t index)
{
	struct job *job = sim->jobs[index];

	if (job->ended || sim->now < job->wake)
		return; /* an alarm that was moved */
	job->wake = NEVER;
	if (!job->running) {
		job->running = true;
		job->start = job->r.started = sim->now;
		job->cpu = sim->now;
	}
	if (job->resting && !job->inflight)
		job->resting = false;
	pump(sim, job);
}

static int begin(struct zd_sim *sim)
{
	uint32_t first = sim->m.nr_zones, last = 0, i;
	int r = line_up(sim);

	if (r)
		return r;
	sim->started = true;
	/* What was done to the zones before does not count. */
	sim->m.opens = sim->m.closes = sim->m.finishes = sim->m.resets = sim->m.implicit_opens = sim->m.implicit_closes = 0;
	for (i = 0; i < sim->nr_jobs; i++) {
		const struct zd_sim_job *p = &sim->jobs[i]->p;
		uint32_t a = zone_of(&sim->m, p->offset), b = zone_of(&sim->m, p->offset + p->size - 1);

		if (a < first)
			first = a;
		if (b > last)
			last = b;
		if (!p->wait_for)
			wake_at(sim, sim->jobs[i], p->startdelay);
	}
	sim->first_zone = first;
	sim->zones_per_bin = (last - first) / ZD_SIM_ZONE_BINS + 1;
	sim->bins = (last - first) / sim->zones_per_bin + 1;
	series_move(sim, 0);
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

void zd_drive_event(struct zd_sim *sim, const struct event *e)
{
	if ((e->tag >> 24 & 15) == EV_IDLE) {
		if ((sim->arrivals & 0xFFFFFF) == (e->tag & 0xFFFFFF))
			zd_dm_idle(sim);
	} else if (sim->model.kind == ZD_SIM_HDD) {
		zd_hdd_event(sim);
	} else {
		zd_dm_event(sim);
	}
}

int zd_sim_run(zd_sim *sim, uint64_t max_commands, struct zd_error *err)
{
	uint32_t i;

	sim->stop = max_commands ? sim->commands + max_commands : UINT64_MAX;
	if (sim->model.kind == ZD_SIM_REAL && !sim->dev)
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

		if (unlikely(!sim->heap_used))
			return zd_sim_fail(err, ZD_E_GEOMETRY, "the jobs wait for each other: none can go on");
		if (unlikely(sim->barren++ > BARREN))
			return zd_sim_fail(err, ZD_E_GEOMETRY, "no command was completed in %llu steps: the jobs make no progress",
					   (unsigned long long)BARREN);
		e = next_event(sim);
		if (unlikely(sim->model.kind == ZD_SIM_REAL))
			sleep_until(sim, e.time);
		sim->now = e.time;
		switch (e.tag >> 24 & 15) {
		case EV_DONE: command_done(sim, (uint32_t)(e.tag & 0xFFFFFF)); break;
		case EV_JOB: job_event(sim, (uint32_t)(e.tag & 0xFFFFFF)); break;
		default: zd_drive_event(sim, &e);
		}
		if (unlikely(sim->failed))
			return zd_sim_fail(err, -ENOMEM, "no memory for what is under way");
		if (unlikely(sim->commands >= sim->stop))
			break;
	}
	return sim->wants ? ZD_SIM_WANTS_TRACE : sim->jobs_left ? ZD_SIM_PAUSED : ZD_SIM_DONE;
}

/* ---------------------------------------------------------------- making and asking */

int zd_sim_create(const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, zd_sim **out,
		  struct zd_error *err)
{
	struct zd_sim *sim = calloc(1, sizeof(*sim));
	int r;

	if (!sim)
		return zd_sim_fail(err, -ENOMEM, "no memory");
	sim->model = *model;
	sim->seed = seed;
	r = zd_machine_init(&sim->m, disk, err);
	if (r)
		goto fail;
	sim->host_wp = calloc(sim->m.nr_zones, sizeof(*sim->host_wp));
	sim->host_flags = calloc(sim->m.nr_zones, 1);
	sim->plug_first = calloc(sim->m.nr_zones, sizeof(*sim->plug_first));
	sim->plug_last = calloc(sim->m.nr_zones, sizeof(*sim->plug_last));
	sim->series = calloc(ZD_SIM_SLOTS, sizeof(*sim->series));
	sim->picture = calloc((size_t)ZD_SIM_SLOTS * ZD_SIM_ZONE_BINS, sizeof(*sim->picture));
	sim->heap_room = 256;
	sim->heap = malloc(sim->heap_room * sizeof(*sim->heap));
	sim->states = calloc((size_t)ZD_SIM_SLOTS * ZD_SIM_ZONE_BINS, sizeof(*sim->states));
	sim->series_step = 1000000;
	if (!sim->host_wp || !sim->host_flags || !sim->plug_first || !sim->plug_last || !sim->series || !sim->picture || !sim->states || !sim->heap) {
		r = zd_sim_fail(err, -ENOMEM, "no memory for %u zones", sim->m.nr_zones);
		goto fail;
	}
	switch (model->kind) {
	case ZD_SIM_NULL:
		if (!model->null_ns)
			r = zd_sim_fail(err, ZD_E_GEOMETRY, "the null model needs a time above 0 for each command, or no time would pass");
		break;
	case ZD_SIM_HDD: r = zd_hdd_init(sim, err); break;
	case ZD_SIM_ZNS: r = zd_zns_init(sim, err); break;
	case ZD_SIM_DM:
		r = zd_hdd_init(sim, err);
		if (!r)
			r = zd_dm_init(sim, err);
		break;
	case ZD_SIM_REAL: break;
	default: r = zd_sim_fail(err, ZD_E_GEOMETRY, "there is no model %u", model->kind);
	}
	if (r)
		goto fail;
	*out = sim;
	return 0;
fail:
	zd_sim_free(sim);
	return r;
}

void zd_sim_free(zd_sim *sim)
{
	uint32_t i;

	if (!sim)
		return;
	for (i = 0; i < sim->nr_jobs; i++)
		zd_job_free(sim->jobs[i]);
	free(sim->jobs);
	free(sim->waiters);
	zd_machine_free(&sim->m);
	zd_hdd_free(sim);
	zd_zns_free(sim);
	zd_dm_free(sim);
	free(sim->host_wp);
	free(sim->host_flags);
	free(sim->plug_first);
	free(sim->plug_last);
	free(sim->open_list);
	free(sim->series);
	free(sim->picture);
	free(sim->states);
	free(sim->heap);
	free(sim->cmds);
	free(sim);
}

int zd_sim_add_job(zd_sim *sim, const struct zd_sim_job *p, struct zd_error *err)
{
	struct job **jobs, *job;
	uint32_t dir;
	int r;

	if (sim->started || sim->nr_jobs == 65536)
		return zd_sim_fail(err, -EINVAL, sim->started ? "the run has begun" : "more than 65536 jobs");
	jobs = realloc(sim->jobs, (sim->nr_jobs + 1) * sizeof(*jobs));
	if (!jobs)
		return zd_sim_fail(err, -ENOMEM, "no memory for a job");
	sim->jobs = jobs;
	job = calloc(1, sizeof(*job));
	if (!job)
		return zd_sim_fail(err, -ENOMEM, "no memory for a job");
	job->p = *p;
	for (dir = 0; dir < 3; dir++) {
		job->histogram[dir] = calloc(ZD_SIM_BUCKETS, sizeof(**job->histogram));
		if (!job->histogram[dir]) {
			r = zd_sim_fail(err, -ENOMEM, "no memory for a job");
			goto fail;
		}
	}
	if (!job->p.thinktime_blocks)
		job->p.thinktime_blocks = 1;
	r = zd_job_init(sim, job, sim->nr_jobs, err);
	if (r)
		goto fail;
	jobs[sim->nr_jobs] = job;
	sim->jobs_left++;
	return (int)sim->nr_jobs++;
fail:
	zd_job_free(job);
	return r;
}

int zd_sim_feed(zd_sim *sim, uint32_t index, const struct zd_sim_record *records, uint64_t count, int last,
		struct zd_error *err)
{
	struct job *job;
	uint64_t room, i;

	if (index >= sim->nr_jobs || sim->jobs[index]->p.kind != ZD_SIM_JOB_TRACE)
		return zd_sim_fail(err, -EINVAL, "job %u takes no trace", index);
	job = sim->jobs[index];
	for (i = 0; i < count; i++) {
		if (records[i].time > ZD_SIM_MOST_TIME || (records[i].dir < ZD_SIM_TRIM && records[i].length > ZD_SIM_MOST_LENGTH))
			return zd_sim_fail(err, -EINVAL, "command %llu of %llu bytes at %llu ns cannot be: at most %llu and %llu can", (unsigned long long)i,
					   (unsigned long long)records[i].length, (unsigned long long)records[i].time,
					   (unsigned long long)ZD_SIM_MOST_LENGTH, (unsigned long long)ZD_SIM_MOST_TIME);
	}
	if (job->rec_first) {
		memmove(job->records, job->records + job->rec_first, job->rec_used * sizeof(*job->records));
		job->rec_first = 0;
	}
	room = job->rec_used + count;
	if (room > job->rec_room) {
		struct zd_sim_record *grown = realloc(job->records, room * sizeof(*grown));

		if (!grown)
			return zd_sim_fail(err, -ENOMEM, "no memory for %llu commands", (unsigned long long)count);
		job->records = grown;
		job->rec_room = room;
	}
	if (count)
		memcpy(job->records + job->rec_used, records, count * sizeof(*records));
	job->rec_used += count;
	job->trace_last = last != 0;
	if (sim->wants == index + 1)
		sim->wants = 0;
	return 0;
}

int zd_sim_result(zd_sim *sim, uint32_t job, struct zd_sim_result *out)
{
	if (job >= sim->nr_jobs)
		return -EINVAL;
	*out = sim->jobs[job]->r;
	return 0;
}

int zd_sim_histogram(zd_sim *sim, uint32_t job, uint32_t dir, uint64_t *out)
{
	if (job >= sim->nr_jobs || dir >= 3)
		return -EINVAL;
	memcpy(out, sim->jobs[job]->histogram[dir], ZD_SIM_BUCKETS * sizeof(*out));
	return 0;
}

int zd_sim_summary(zd_sim *sim, struct zd_sim_summary *out)
{
	memset(out, 0, sizeof(*out));
	out->now = sim->now;
	out->commands = sim->commands;
	memcpy(out->parts, sim->parts, sizeof(out->parts));
	memcpy(out->seeks, sim->seeks, sizeof(out->seeks));
	out->moved = sim->moved;
	out->opens = sim->m.opens;
	out->closes = sim->m.closes;
	out->finishes = sim->m.finishes;
	out->resets = sim->m.resets;
	out->implicit_opens = sim->m.implicit_opens;
	out->implicit_closes = sim->m.implicit_closes;
	out->series_step = sim->series_step;
	out->series_used = sim->series_used;
	out->first_zone = sim->first_zone;
	out->zones_per_bin = sim->zones_per_bin;
	out->bins = sim->bins;
	out->dm_fast = sim->dm_fast;
	out->dm_direct = sim->dm_direct;
	out->dm_cleaned = sim->dm_cleaned;
	out->dm_clean_bytes = sim->dm_clean_bytes;
	out->dm_full_at = sim->dm_full_at;
	out->dm_full_entries = sim->dm_full_entries;
	out->media_bytes = sim->media_bytes;
	return 0;
}

int zd_sim_series(zd_sim *sim, struct zd_sim_sample *out, uint32_t max)
{
	uint32_t n = sim->series_used < max ? sim->series_used : max;

	memcpy(out, sim->series, n * sizeof(*out));
	return (int)n;
}

int zd_sim_bins(zd_sim *sim, struct zd_sim_bin *out, uint32_t max_entries)
{
	uint32_t n = sim->series_used < max_entries ? sim->series_used : max_entries;

	if (sim->series_used)
		states_take(sim, states_row(sim, sim->series_used - 1));
	memcpy(out, sim->states, (size_t)n * ZD_SIM_ZONE_BINS * sizeof(*out));
	return (int)n;
}

int zd_sim_picture(zd_sim *sim, uint32_t *written, uint32_t max_entries)
{
	uint32_t n = sim->series_used < max_entries ? sim->series_used : max_entries;

	memcpy(written, sim->picture, (size_t)n * ZD_SIM_ZONE_BINS * sizeof(*written));
	return (int)n;
}

/* ---------------------------------------------------------------- zones, without time */

int64_t zd_sim_report(zd_sim *sim, uint32_t start_zone, uint32_t count, struct zd_zone *out)
{
	const struct machine *m = &sim->m;
	uint32_t i, zone;

	if (start_zone > m->nr_zones)
		return -EINVAL;
	if (count > m->nr_zones - start_zone)
		count = m->nr_zones - start_zone;
	for (i = 0; i < count; i++) {
		struct zd_zone *z = &out[i];

		zone = start_zone + i;
		memset(z, 0, sizeof(*z));
		z->index = zone;
		z->start = zone_start(m, zone);
		z->length = zone_length(m, zone);
		z->capacity = zone_capacity(m, zone);
		z->type = zone_conv(m, zone) ? ZD_CONVENTIONAL : ZD_SEQ_WRITE_REQUIRED;
		z->cond = (uint8_t)zone_cond(m, zone);
		z->wp = !zone_conv(m, zone) && z->cond <= ZD_CLOSED ? z->start + zone_written(m, zone) : ZD_NONE;
		z->durable_wp = zone_conv(m, zone) ? ZD_NONE : z->start + (m->word[zone] & W_FINISHED ? z->capacity : zone_written(m, zone));
	}
	return count;
}

int zd_sim_apply(zd_sim *sim, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	struct machine *m = &sim->m;
	uint32_t zone;
	uint64_t rel;
	int r;

	if (offset >= m->size)
		return zd_sim_fail(err, ZD_E_OUT_OF_RANGE, "offset %llu is beyond the disk", (unsigned long long)offset);
	zone = zone_of(m, offset);
	rel = offset - zone_start(m, zone);
	if (cmd < ZD_CMD_OPEN && rel + length > zone_length(m, zone))
		return zd_sim_fail(err, ZD_E_WRITE_BOUNDARY, "a simulated command must stay within its zone");
	switch (cmd) {
	case ZD_CMD_READ: return length ? zd_machine_read(m, zone, rel, length, err) : 0;
	case ZD_CMD_APPEND: rel = zone_written(m, zone); /* fall through */
	case ZD_CMD_WRITE:
		r = length || cmd == ZD_CMD_APPEND ? machine_write(m, cmd, zone, rel, length, err) : 0;
		break;
	default: r = cmd > ZD_CMD_APPEND && cmd < ZD_CMD_FLUSH ? zd_machine_manage(m, cmd, zone, err) : -EINVAL;
	}
	if (!r && cmd != ZD_CMD_READ) {
		for (zone = cmd >= ZD_CMD_OPEN_ALL && cmd <= ZD_CMD_RESET_ALL ? 0 : zone;
		     zone <= (cmd >= ZD_CMD_OPEN_ALL && cmd <= ZD_CMD_RESET_ALL ? m->nr_zones - 1 : zone_of(m, offset)); zone++) {
			if (zone_conv(m, zone))
				continue;
			sim->valid_bytes -= sim->host_wp[zone];
			sim->host_wp[zone] = zone_cond(m, zone) == ZD_FULL ? zone_capacity(m, zone) : zone_written(m, zone);
			sim->valid_bytes += sim->host_wp[zone];
		}
	}
	return r;
}

int zd_sim_fill(zd_sim *sim, uint32_t zone, uint32_t count, uint64_t bytes, int finish, struct zd_error *err)
{
	uint32_t i;
	int r = 0;

	for (i = zone; i - zone < count && !r; i++) {
		if (i >= sim->m.nr_zones)
			return zd_sim_fail(err, ZD_E_OUT_OF_RANGE, "there is no zone %u", i);
		if (bytes && !zone_conv(&sim->m, i))
			r = zd_sim_apply(sim, ZD_CMD_WRITE, zone_start(&sim->m, i) + zone_written(&sim->m, i), bytes, err);
		if (!r && finish)
			r = zd_sim_apply(sim, ZD_CMD_FINISH, zone_start(&sim->m, i), 0, err);
	}
	return r;
}

uint64_t zd_sim_bare(zd_sim *sim, uint64_t offset, uint64_t bytes, uint64_t n)
{
	struct machine *m = &sim->m;
	uint64_t i;

	for (i = 0; i < n; i++) {
		uint32_t zone = zone_of(m, offset);

		if (machine_write(m, ZD_CMD_WRITE, zone, offset - zone_start(m, zone), bytes, NULL))
			break;
		offset += bytes;
	}
	return i;
}
