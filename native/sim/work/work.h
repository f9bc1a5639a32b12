/* SPDX-License-Identifier: Apache-2.0 */
/* What the kinds of work share. Nothing outside native/sim/work includes this. */
#ifndef ZD_SIM_WORK_H
#define ZD_SIM_WORK_H

#include "../sim.h"

static inline bool host_full(const struct zd_sim *sim, const struct job *job, uint32_t zone)
{
	return zone_capacity(&sim->d.m, zone) - sim->host_wp[zone] < job->p.bs_min[ZD_SIM_WRITE];
}

/* Bytes at the zone's start that can be read. Data on its way can be where reads behind the write pointer are allowed. */
static inline uint64_t host_valid(const struct zd_sim *sim, uint32_t zone)
{
	uint64_t valid = sim->host_wp[zone], there = zone_written(&sim->d.m, zone);

	if (!sim->d.m.b.unrestricted_read && there < valid && zone_cond(&sim->d.m, zone) != ZD_FULL)
		return there;
	return valid;
}

static inline bool in_range(const struct zd_sim *sim, const struct job *job, uint32_t zone)
{
	uint64_t start = zone_start(&sim->d.m, zone);

	return start >= job->p.offset && start < job->p.offset + job->p.size;
}

static inline void count_issue(struct job *job, const struct command *c, uint32_t dir)
{
	job->issued_bytes += c->length;
	job->issued++;
	job->dir_bytes[dir] += c->length;
	job->dir_count[dir]++;
	job->in_sequence[dir]++;
	job->last_pos[dir] = c->offset + c->length;
	job->since_rest += job->p.thinktime_issue;
}

static inline bool over(const struct zd_sim *sim, const struct job *job)
{
	const struct zd_sim_job *p = &job->p;

	if (p->number_ios && job->issued >= p->number_ios)
		return true;
	if (p->runtime && sim->d.now >= job->start + p->runtime)
		return true;
	return !p->time_based && job->issued_bytes >= p->io_size;
}

/* draw.c: what random places and blocks are drawn from. */
int zd_job_draw(struct job *job, uint64_t blocks, struct zd_error *err);

#endif
