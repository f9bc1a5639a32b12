/* SPDX-License-Identifier: Apache-2.0 */
/* What a job shares with others (fio's flow), and the depth that keeps a latency (fio's latency_target). */
#include "work.h"

/* ---------------------------------------------------------------- flow */

int zd_flow_join(struct zd_sim *sim, struct job *job)
{
	uint32_t i;

	for (i = 0; i < sim->nr_flows && sim->flows[i].id != job->p.flow_id; i++)
		;
	if (i == sim->nr_flows) {
		void *more = realloc(sim->flows, (i + 1) * sizeof(*sim->flows));

		if (!more)
			return -ENOMEM;
		sim->flows = more;
		sim->flows[sim->nr_flows++] = (struct flow){ .id = job->p.flow_id, .done = 1 };
	}
	sim->flows[i].weight += job->p.flow;
	job->flow_at = i + 1;
	return 0;
}

void zd_flow_leave(struct zd_sim *sim, struct job *job)
{
	if (!job->flow_at)
		return;
	sim->flows[job->flow_at - 1].weight -= job->p.flow;
	sim->flows[job->flow_at - 1].done -= job->flow_done;
	job->flow_at = 0;
	if (sim->nr_parked)
		zd_unpark(sim);
}

bool zd_flow_may(const struct zd_sim *sim, const struct job *job)
{
	const struct flow *flow = &sim->flows[job->flow_at - 1];

	return (double)job->flow_done / (double)flow->done <= (double)job->p.flow / (double)flow->weight;
}

void zd_flow_sent(struct zd_sim *sim, struct job *job)
{
	job->flow_done++;
	sim->flows[job->flow_at - 1].done++;
	if (sim->nr_parked)
		zd_unpark(sim);
}

/* ---------------------------------------------------------------- latency_target */

static void new_window(const struct zd_sim *sim, struct job *job)
{
	job->window_at = sim->d.now;
	job->window_done = job->window_late = 0;
}

/* What is under way was sent at the old depth: it ends first, and does not count. */
static void change_depth(struct job *job, uint32_t depth)
{
	job->depth_next = depth;
	job->depth = 0;
}

/* Nothing is under way any more: the new depth begins. When it was found, the results are of one more window. */
static void settle(const struct zd_sim *sim, struct job *job)
{
	uint32_t dir;

	job->depth = job->depth_next;
	job->depth_next = 0;
	job->r.depth_found = job->depth;
	new_window(sim, job);
	for (dir = 0; job->depth_last && dir < 3; dir++) {
		memset(&job->r.dir[dir], 0, sizeof(job->r.dir[dir]));
		memset(job->histogram[dir], 0, ZD_SIM_BUCKETS * sizeof(**job->histogram));
	}
}

/* False: even one at a time is too slow. */
static bool too_late(struct job *job)
{
	if (job->depth == 1)
		return false;
	job->depth_high = job->depth;
	if (job->depth == job->depth_low)
		job->depth_low--;
	job->depth_stable = 0;
	change_depth(job, (job->depth + job->depth_low) / 2);
	return true;
}

/* The depth is doubled up to the first that is too much, and halved in from there. */
static void in_time(const struct zd_sim *sim, struct job *job)
{
	uint32_t depth = job->depth;

	job->depth_low = depth;
	if (depth + 1 == job->depth_high && ++job->depth_stable >= 3) {
		job->depth_high++;
		job->depth_stable = 0;
	}
	job->depth = job->depth_high != job->p.iodepth ? (depth + job->depth_high) / 2 : 2 * depth;
	if (job->depth > job->p.iodepth)
		job->depth = job->p.iodepth;
	job->r.depth_found = job->depth;
	if (job->p.latency_run || job->depth != depth) {
		new_window(sim, job);
		return;
	}
	if (job->depth_last) {
		job->finishing = true;
		return;
	}
	job->depth_last = true;
	change_depth(job, depth);
}

void zd_depth_done(struct zd_sim *sim, struct job *job, const struct command *c)
{
	const struct zd_sim_job *p = &job->p;
	bool late = sim->d.now - c->sent > p->latency_target, slow = false;
	struct zd_error why;

	if (c->dir >= ZD_SIM_NR_DIRS)
		return;
	if (job->depth_next) {
		if (job->inflight == 1) /* this was the last of them */
			settle(sim, job);
		return;
	}
	job->window_done++;
	job->window_late += late;
	if (late && p->latency_percentile >= 100)
		slow = !too_late(job);
	else if (sim->d.now - job->window_at >= p->latency_window) {
		if ((double)(job->window_done - job->window_late) * 100 >= p->latency_percentile * (double)job->window_done)
			in_time(sim, job);
		else if (!too_late(job))
			new_window(sim, job);
	}
	if (job->depth_next && job->inflight == 1)
		settle(sim, job);
	if (slow) {
		zd_sim_fail(&why, -ETIMEDOUT, "a command took %llu ns at depth 1, longer than latency_target",
			    (unsigned long long)(sim->d.now - c->sent));
		zd_end_job(sim, job, -ETIMEDOUT, &why);
	}
}
