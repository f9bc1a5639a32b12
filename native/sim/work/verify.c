/* SPDX-License-Identifier: Apache-2.0 */
/* Reading back what a FIO job has written, when it is done or in between (fio's verify and verify_backlog). */
#include "work.h"

int zd_keep(struct job *job, const struct command *c)
{
	void *kept = zd_grown(job->kept, job->nr_kept, &job->kept_room, sizeof(*job->kept), 256);

	if (!kept)
		return -ENOMEM;
	job->kept = kept;
	job->kept[job->nr_kept] = (struct extent_written){ c->offset, c->length, job->nr_kept };
	job->nr_kept++;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct extent_written *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Its zone was reset since, by this job or another one, and not written so far again. */
static bool is_lost(struct zd_sim *sim, const struct extent_written *e)
{
	const struct machine *m = &sim->d.m;
	uint32_t zone = zone_of(m, e->offset);

	return !zone_conv(m, zone) && e->offset + e->length > zone_start(m, zone) + host_valid(sim, zone);
}

/* What was written over, or lost with its zone, is not read back: what is kept becomes what lies there, by place. */
static void leave_out_lost(struct zd_sim *sim, struct job *job)
{
	struct extent_written *kept = job->kept;
	uint64_t i, n = 0;

	for (i = 0; i < job->nr_kept; i++) {
		const struct extent_written e = kept[i];

		if (is_lost(sim, &e))
			continue;
		while (n && kept[n - 1].offset + kept[n - 1].length > e.offset && kept[n - 1].order < e.order)
			n--;
		if (!n || kept[n - 1].offset + kept[n - 1].length <= e.offset)
			kept[n++] = e;
	}
	job->nr_kept = n;
}

/* Whether a place may have been written twice. */
static bool may_repeat(const struct job *job)
{
	const struct zd_sim_job *p = &job->p;

	return (p->random && (p->norandommap || p->distribution != ZD_SIM_UNIFORM)) || job->issued_bytes > p->size;
}

static enum next verify_kept(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct extent_written *e;

	if (job->nr_kept && !job->kept_at && !job->p.verify_backlog && (job->p.random || may_repeat(job))) {
		/* As fio, which sorts what it has written at random. */
		qsort(job->kept, job->nr_kept, sizeof(*job->kept), by_place);
		if (may_repeat(job))
			leave_out_lost(sim, job);
	}
	while (job->kept_at < job->nr_kept && is_lost(sim, &job->kept[job->kept_at]))
		job->kept_at++;
	if (job->kept_at == job->nr_kept)
		return NEXT_END;
	e = &job->kept[job->kept_at++];
	c->cmd = ZD_CMD_READ;
	c->dir = ZD_SIM_READ;
	c->flags = 0;
	c->zone = zone_of(&sim->d.m, e->offset);
	c->offset = e->offset;
	c->length = e->length;
	return NEXT_COMMAND;
}

/* verify_backlog: what was written is read back in between. NEXT_END: not now. */
enum next zd_verify_between(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct zd_sim_job *p = &job->p;
	enum next n;

	if (!job->batch_left) {
		if (job->nr_kept - job->kept_at < p->verify_backlog || job->pending || job->verifying)
			return NEXT_END;
		if (job->inflight) /* writes are read back when they are done */
			return NEXT_DRAIN;
		job->batch_left = p->verify_batch ? p->verify_batch : p->verify_backlog;
	}
	job->batch_left--;
	n = verify_kept(sim, job, c);
	if (job->kept_at == job->nr_kept)
		job->nr_kept = job->kept_at = job->batch_left = 0;
	return n;
}

/* Up to where a sequential job that writes only has written a conventional zone. */
static uint64_t written_to(const struct job *job)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t bs = p->bs_min[ZD_SIM_WRITE], blocks = p->size / bs;

	if (job->issued_bytes <= p->size)
		return job->last_pos[ZD_SIM_WRITE];
	if (p->size % bs && p->offset + (blocks + 1) * bs <= job->disk_end)
		blocks++; /* the last block ends behind the range */
	return p->offset + blocks * bs;
}

enum next zd_verify_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct machine *m = &sim->d.m;
	uint64_t end = job->p.offset + job->p.size, left, upto;
	uint32_t zone;

	if (job->keeps)
		return verify_kept(sim, job, c);
	for (;;) {
		if (job->verify_at >= end)
			return NEXT_END;
		zone = zone_of(m, job->verify_at);
		if (zone_conv(m, zone))
			upto = written_to(job);
		else
			upto = host_dead(sim, zone) ? 0 : zone_start(m, zone) + host_valid(sim, zone);
		left = upto > job->verify_at ? upto - job->verify_at : 0;
		if (left)
			break;
		job->verify_at = zone_start(m, zone) + zone_length(m, zone);
	}
	if (left > zone_start(m, zone) + zone_length(m, zone) - job->verify_at)
		left = zone_start(m, zone) + zone_length(m, zone) - job->verify_at;
	c->cmd = ZD_CMD_READ;
	c->dir = ZD_SIM_READ;
	c->flags = 0;
	c->zone = zone;
	c->offset = job->verify_at;
	c->length = left < job->p.bs_min[ZD_SIM_WRITE] ? left : job->p.bs_min[ZD_SIM_WRITE];
	job->verify_at += c->length;
	return NEXT_COMMAND;
}
