/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of a run: latencies by job and direction, series over time, the picture of the zones. */
#include "sim.h"

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

		if (end > sim->d.m.b.nr_zones)
			end = sim->d.m.b.nr_zones;
		for (z = first; z < end; z += step) {
			int cond = zone_cond(&sim->d.m, z);

			if (zone_conv(&sim->d.m, z))
				continue;
			n++;
			open += cond == ZD_IMPLICIT_OPEN || cond == ZD_EXPLICIT_OPEN;
			closed += cond == ZD_CLOSED;
			full += cond == ZD_FULL;
			filled +=
				cond == ZD_FULL ? 1 : (double)zone_written(&sim->d.m, z) / (double)zone_capacity(&sim->d.m, z);
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
			sim->picture[i * ZD_SIM_ZONE_BINS + j] =
				sim->picture[2 * i * ZD_SIM_ZONE_BINS + j] + sim->picture[(2 * i + 1) * ZD_SIM_ZONE_BINS + j];
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
	memset(&sim->picture[ZD_SIM_SLOTS / 2 * ZD_SIM_ZONE_BINS], 0,
	       ZD_SIM_SLOTS / 2 * ZD_SIM_ZONE_BINS * sizeof(*sim->picture));
	sim->series_step *= 2;
}

void zd_series_move(struct zd_sim *sim, uint64_t now)
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

void zd_count_done(struct zd_sim *sim, struct job *job, const struct command *c)
{
	uint64_t now = sim->d.now, latency = now - c->sent;
	struct zd_sim_stats *s;

	if (unlikely(now >= sim->series_end))
		zd_series_move(sim, now);
	if (c->cmd == ZD_CMD_WRITE || c->cmd == ZD_CMD_APPEND)
		picture_add(sim, c);
	else if (c->cmd == ZD_CMD_RESET)
		reset_add(sim, c);
	if (unlikely(c->dir >= ZD_SIM_NR_DIRS)) {
		if (c->cmd == ZD_CMD_FLUSH && !c->length && c->sent >= job->start + job->p.ramp && !(job->r.error)) {
			job->r.sync_min = !job->r.syncs || latency < job->r.sync_min ? latency : job->r.sync_min;
			job->r.sync_max = latency > job->r.sync_max ? latency : job->r.sync_max;
			job->r.sync_sum += latency;
			job->r.syncs++;
		}
		return;
	}
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

void zd_count_burst(struct zd_sim *sim, struct job *job, uint32_t zone, uint64_t n, uint64_t done, uint64_t each)
{
	struct zd_sim_stats *s = &job->r.dir[ZD_SIM_WRITE];
	uint64_t latency = sim->d.model.null_ns, bytes = job->p.bs_min[ZD_SIM_WRITE], i;
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

int zd_keep_done(struct zd_sim *sim, struct job *job, const struct command *c)
{
	if (c->dir >= ZD_SIM_NR_DIRS || c->sent < job->start + job->p.ramp)
		return 0;
	if (job->done_used == job->done_room) {
		uint64_t room = job->done_room ? 2 * job->done_room : 1024;
		struct zd_sim_done *more = realloc(job->done, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		job->done = more;
		job->done_room = room;
	}
	job->done[job->done_used++] = (struct zd_sim_done){
		.time = sim->d.now - job->start,
		.latency = sim->d.now - c->sent,
		.offset = c->offset,
		.length = c->length,
		.dir = c->dir,
	};
	return 0;
}

int zd_results_init(struct zd_sim *sim)
{
	sim->series = calloc(ZD_SIM_SLOTS, sizeof(*sim->series));
	sim->picture = calloc((size_t)ZD_SIM_SLOTS * ZD_SIM_ZONE_BINS, sizeof(*sim->picture));
	sim->states = calloc((size_t)ZD_SIM_SLOTS * ZD_SIM_ZONE_BINS, sizeof(*sim->states));
	sim->series_step = 1000000;
	return sim->series && sim->picture && sim->states ? 0 : -ENOMEM;
}

void zd_results_free(struct zd_sim *sim)
{
	free(sim->series);
	free(sim->picture);
	free(sim->states);
}

/* ---------------------------------------------------------------- asking */

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

int64_t zd_sim_commands(zd_sim *sim, uint32_t job, struct zd_sim_done *out, uint64_t max)
{
	struct job *of;
	uint64_t n;

	if (job >= sim->nr_jobs)
		return -EINVAL;
	of = sim->jobs[job];
	n = of->done_used - of->done_first;
	n = max < n ? max : n;
	if (n)
		memcpy(out, of->done + of->done_first, n * sizeof(*out));
	of->done_first += n;
	if (of->done_first == of->done_used)
		of->done_first = of->done_used = 0;
	return (int64_t)n;
}

int zd_sim_summary(zd_sim *sim, struct zd_sim_summary *out)
{
	memset(out, 0, sizeof(*out));
	out->now = sim->d.now;
	out->commands = sim->commands;
	memcpy(out->parts, sim->d.parts, sizeof(out->parts));
	memcpy(out->seeks, sim->d.seeks, sizeof(out->seeks));
	out->moved = sim->d.moved;
	out->opens = sim->d.m.opens;
	out->closes = sim->d.m.closes;
	out->finishes = sim->d.m.finishes;
	out->resets = sim->d.m.resets;
	out->implicit_opens = sim->d.m.implicit_opens;
	out->implicit_closes = sim->d.m.implicit_closes;
	out->series_step = sim->series_step;
	out->series_used = sim->series_used;
	out->first_zone = sim->first_zone;
	out->zones_per_bin = sim->zones_per_bin;
	out->bins = sim->bins;
	out->dm_fast = sim->d.dm_fast;
	out->dm_direct = sim->d.dm_direct;
	out->dm_cleaned = sim->d.dm_cleaned;
	out->dm_clean_bytes = sim->d.dm_clean_bytes;
	out->dm_full_at = sim->d.dm_full_at;
	out->dm_full_entries = sim->d.dm_full_entries;
	out->media_bytes = sim->d.media_bytes;
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
