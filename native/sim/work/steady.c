/* SPDX-License-Identifier: Apache-2.0 */
/* What ends a job by its own figures: that they are steady (fio's steadystate), or too low (fio's rate_min). */
#include "work.h"

#include <math.h>

/* fio's settle time: no rate is too low before. */
#define SETTLE 2000000000ull
#define MOST_SAMPLES (1u << 20)

/* Of a job, or of the jobs of a group that are looked at together. */
struct steady {
	const struct job *owner;
	uint64_t begun, next; /* when its first job began; when the next sample is due */
	uint64_t bytes, count, sum;
	uint32_t n, used, at; /* samples that are looked at, that there are, and the place of the next */
	bool found;
	struct sample {
		uint64_t bytes, count, latency; /* a second; ns */
	} *samples;
};

int zd_steady_init(struct zd_sim *sim, struct job *job, struct zd_error *err)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t n;
	uint32_t i;

	if (!p->steady)
		return 0;
	if (p->steady > ZD_SIM_STEADY_LATENCY || !(p->steady_limit > 0) || p->steady_interval < 1000000 ||
	    p->steady_duration % p->steady_interval)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "what is to be steady needs a limit above 0 and a duration of whole intervals");
	n = p->steady_duration / p->steady_interval;
	if (n < 2 || n > MOST_SAMPLES)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "steadiness is looked for in 2 to %u samples, not in %llu", MOST_SAMPLES,
				   (unsigned long long)n);
	job->r.steady = 1;
	for (i = sim->nr_jobs; p->steady_group && i-- && sim->jobs[i]->p.group == p->group;) {
		if (sim->jobs[i]->p.steady && sim->jobs[i]->p.steady_group) {
			job->steady = sim->jobs[i]->steady;
			return 0;
		}
	}
	job->steady = calloc(1, sizeof(*job->steady));
	if (!job->steady)
		return zd_sim_fail(err, -ENOMEM, "no memory for the job");
	job->steady_own = true;
	job->steady->owner = job;
	job->steady->n = (uint32_t)n;
	job->steady->samples = calloc(n, sizeof(*job->steady->samples));
	return job->steady->samples ? 0 : zd_sim_fail(err, -ENOMEM, "no memory for the job");
}

void zd_steady_free(struct job *job)
{
	if (job->steady_own) {
		free(job->steady->samples);
		free(job->steady);
	}
	job->steady = NULL;
}

static uint64_t value(const struct steady *s, const struct zd_sim_job *p, uint32_t i)
{
	const struct sample *at = &s->samples[(s->at + i) % s->n];

	return p->steady == ZD_SIM_STEADY_BYTES ? at->bytes : p->steady == ZD_SIM_STEADY_IOPS ? at->count : at->latency;
}

/* The samples that there are, the oldest first, against the limit. */
static bool is_steady(const struct steady *s, const struct zd_sim_job *p, double *criterion)
{
	double n = s->n, mean = 0, xy = 0, worst = 0, found;
	uint32_t i;

	for (i = 0; i < s->n; i++) {
		mean += (double)value(s, p, i) / n;
		xy += (double)i * (double)value(s, p, i);
	}
	if (p->steady_slope) { /* of the line with the least squares */
		found = (xy - n * (n - 1) / 2 * mean) / (n * (n * n - 1) / 12);
	} else {
		for (i = 0; i < s->n; i++)
			worst = fmax(worst, fabs((double)value(s, p, i) - mean));
		found = worst;
	}
	*criterion = p->steady_percent ? 100 * found / mean : found;
	return fabs(*criterion) < p->steady_limit; /* of a mean of 0 nothing is */
}

static void tell(struct zd_sim *sim, const struct steady *s, double criterion, bool found)
{
	uint64_t bytes = 0, count = 0, latency = 0;
	uint32_t i;

	for (i = 0; i < s->n; i++) {
		bytes += s->samples[i].bytes;
		count += s->samples[i].count;
		latency += s->samples[i].latency;
	}
	for (i = s->owner->index; i < sim->nr_jobs; i++) {
		struct job *job = sim->jobs[i];

		if (job->steady != s)
			continue;
		job->r.steady = found ? 2 : 1;
		job->r.steady_criterion = criterion;
		job->r.steady_bytes = bytes / s->n;
		job->r.steady_iops = count / s->n;
		job->r.steady_latency = latency / s->n;
		job->finishing |= found;
	}
}

static uint64_t a_second(uint64_t n, uint64_t ns)
{
	return (uint64_t)((unsigned __int128)n * 1000000000u / ns);
}

/* The samples that have become due. */
static void take(struct zd_sim *sim, struct steady *s)
{
	const struct zd_sim_job *p = &s->owner->p;
	uint64_t missed = (sim->d.now - s->next) / p->steady_interval;
	double criterion;

	if (missed > s->n) /* the others would be like these */
		s->next += (missed - s->n) * p->steady_interval;
	for (; !s->found && s->next < sim->d.now; s->next += p->steady_interval) {
		struct sample *to = &s->samples[s->at];

		if (s->next > s->begun + p->steady_ramp) {
			to->bytes = a_second(s->bytes, p->steady_interval);
			to->count = a_second(s->count, p->steady_interval);
			to->latency = s->count ? s->sum / s->count : 0;
			s->at = (s->at + 1) % s->n;
			s->used += s->used < s->n;
		}
		s->bytes = s->count = s->sum = 0;
		if (s->used < s->n)
			continue;
		s->found = is_steady(s, p, &criterion);
		tell(sim, s, criterion, s->found);
	}
}

void zd_steady_begin(const struct zd_sim *sim, struct job *job)
{
	struct steady *s = job->steady;

	if (s->next)
		return;
	s->begun = sim->d.now;
	s->next = s->begun + s->owner->p.steady_interval;
}

void zd_steady_done(struct zd_sim *sim, struct job *job, const struct command *c)
{
	struct steady *s = job->steady;

	if (c->dir >= ZD_SIM_NR_DIRS || s->found)
		return;
	if (s->next < sim->d.now)
		take(sim, s);
	s->bytes += c->length;
	s->count++;
	s->sum += sim->d.now - c->sent;
}

/* ---------------------------------------------------------------- rate_min */

void zd_rate_done(struct zd_sim *sim, struct job *job, const struct command *c)
{
	static const char *const names[] = { "reads", "writes", "trims" };
	const struct zd_sim_job *p = &job->p;
	uint64_t now = sim->d.now, cycle = p->rate_cycle ? p->rate_cycle : 1000000000u, is, least;
	struct zd_error why;
	uint32_t dir;

	if (c->dir >= ZD_SIM_NR_DIRS)
		return;
	job->rated[c->dir].bytes += c->length;
	job->rated[c->dir].count++;
	if (now < job->start + SETTLE)
		return;
	for (dir = 0; dir < ZD_SIM_NR_DIRS; dir++) {
		struct rated *r = &job->rated[dir];

		least = p->rate_min[dir] ? p->rate_min[dir] : p->rate_iops_min[dir];
		if (!least || !r->count || (r->since && now - r->since < cycle))
			continue;
		is = r->since ?
			     a_second(p->rate_min[dir] ? r->bytes - r->bytes_then : r->count - r->count_then, now - r->since) :
			     least;
		if (is < least) {
			zd_sim_fail(&why, -EIO, "%s came to %llu %s a second, and %llu are the least", names[dir],
				    (unsigned long long)is, p->rate_min[dir] ? "bytes" : "commands", (unsigned long long)least);
			zd_end_job(sim, job, -EIO, &why);
			return;
		}
		r->since = now;
		r->bytes_then = r->bytes;
		r->count_then = r->count;
	}
}
