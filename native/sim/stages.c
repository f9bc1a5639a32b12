/* SPDX-License-Identifier: Apache-2.0 */
/* When jobs begin and end: those that wait for others, by place or by name, and those that end with others. */
#include "sim.h"

static int by_wait(const void *one, const void *other)
{
	const struct waiter *a = one, *b = other;

	return a->wait_for != b->wait_for ? (a->wait_for > b->wait_for) - (a->wait_for < b->wait_for) :
					    (a->job > b->job) - (a->job < b->job);
}

static int by_job(const void *one, const void *other)
{
	const struct waiter *a = one, *b = other;

	return (a->job > b->job) - (a->job < b->job);
}

/* The jobs that wait, in the order in which they may start: looking for them costs nothing at each end of a job. */
int zd_line_up(struct zd_sim *sim)
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
	sim->named = calloc((size_t)sim->nr_jobs + 1, sizeof(*sim->named));
	if (!sim->named)
		return -ENOMEM;
	for (i = 0; i < sim->nr_jobs; i++) {
		if ((sim->jobs[i]->named_left = sim->jobs[i]->p.named_count))
			sim->named[sim->nr_named++] = i;
	}
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

		if (job->named_left || job->ended)
			continue;
		zd_wake_at(sim, job, sim->d.now + job->p.startdelay);
	}
}

/* Jobs that waited for this one by its name, and for nothing else any more. */
static void start_named(struct zd_sim *sim, const struct job *ended)
{
	uint32_t i;

	for (i = 0; i < sim->nr_named; i++) {
		struct job *job = sim->jobs[sim->named[i]];

		if (ended->index - job->p.named_first >= job->p.named_count || --job->named_left)
			continue;
		if (job->p.wait_for <= sim->ended_before && !job->ended)
			zd_wake_at(sim, job, sim->d.now + job->p.startdelay);
	}
}

static void exit_with(struct zd_sim *sim, const struct job *job, uint32_t how);

void zd_job_over(struct zd_sim *sim, struct job *job)
{
	if (job->ended)
		return;
	job->ended = true;
	job->running = false;
	job->r.ended = sim->d.now;
	if (job->rests_until > sim->d.now)
		job->r.wait_rest -= job->rests_until - sim->d.now;
	sim->jobs_left--;
	if (unlikely(job->p.flow))
		zd_flow_leave(sim, job);
	start_waiting(sim);
	if (unlikely(sim->nr_named))
		start_named(sim, job);
	if (unlikely(job->p.exitall | job->p.exit_on_error) && !sim->exiting) {
		if (job->p.exitall || job->r.error)
			exit_with(sim, job, job->p.exitall ? job->p.exitall : job->p.exit_on_error);
	}
}

/* fio's exitall: other jobs end with this one. Of those that have not begun, `stonewall` lets the next stage have its turn. */
static __attribute__((noinline)) void exit_with(struct zd_sim *sim, const struct job *job, uint32_t how)
{
	uint32_t i;

	sim->exiting = true;
	for (i = 0; i < sim->nr_jobs; i++) {
		struct job *other = sim->jobs[i];

		if (other->ended || (how == ZD_SIM_EXIT_GROUP && other->p.group != job->p.group) ||
		    (how == ZD_SIM_EXIT_STONEWALL && !other->running))
			continue;
		other->finishing = true;
		if (!other->running)
			other->start = other->r.started = sim->d.now;
		if (!other->inflight)
			zd_job_over(sim, other);
	}
	sim->exiting = false;
}

void zd_end_job(struct zd_sim *sim, struct job *job, int code, const struct zd_error *why)
{
	if (!job->r.error) {
		struct zd_resources now = sim->d.m.now;

		if (sim->dev)
			zd_real_resources(sim, &now);
		job->r.error = code;
		if (why)
			job->r.why = *why;
		job->r.implicit_open = now.nr_implicit;
		job->r.explicit_open = now.nr_explicit;
		job->r.closed = now.nr_closed;
	}
	job->finishing = true;
}
