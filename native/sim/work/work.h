/* SPDX-License-Identifier: Apache-2.0 */
/* What the kinds of work share. Nothing outside native/sim/work includes this. */
#ifndef ZD_SIM_WORK_H
#define ZD_SIM_WORK_H

#include "../sim.h"

static inline bool host_full(const struct zd_sim *sim, const struct job *job, uint32_t zone)
{
	return zone_capacity(&sim->d.m, zone) - sim->host_wp[zone] < job->least_room;
}

/* Offline or read-only, as only a real disk's zones can be: in zone mode a job passes it over (fio: zbd_open_zone()). */
static inline bool host_dead(const struct zd_sim *sim, uint32_t zone)
{
	int cond = zone_cond(&sim->d.m, zone);

	return unlikely(cond == ZD_OFFLINE || cond == ZD_READ_ONLY);
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

/* Whether a sequential job begins again when it came to the end of its range. */
static inline bool goes_round(const struct job *job)
{
	return job->p.time_based || job->io_given;
}

/* Whether writes are of several sizes, so that what was written does not tell where one ends. */
static inline bool sizes_vary(const struct zd_sim_job *p)
{
	return p->nr_split[ZD_SIM_WRITE] > 1 || p->bs_min[ZD_SIM_WRITE] != p->bs_max[ZD_SIM_WRITE];
}

/* zbd.c. Each fills in the command, or says why there is none; a read only tells where it goes. */
enum next zd_zbd_read(struct zd_sim *sim, struct job *job, uint64_t *offset, uint64_t *length);
enum next zd_zbd_write(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset, uint64_t length);
enum next zd_make_trim(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset);
/* The zone from `zone` on (then before it) within the job's range that has so many bytes to read, or NONE. */
uint32_t zd_zone_with_data(const struct zd_sim *sim, const struct job *job, uint32_t zone, uint64_t least, bool both_ways);

/* verify.c: a write is kept to be read back (-ENOMEM); what is read back now, NEXT_END: nothing; when all is written. */
int zd_keep(struct job *job, const struct command *c);
enum next zd_verify_between(struct zd_sim *sim, struct job *job, struct command *c);
enum next zd_verify_next(struct zd_sim *sim, struct job *job, struct command *c);

/* draw.c: what random places and blocks are drawn from. */
int zd_job_draw(struct job *job, uint64_t blocks, struct zd_error *err);

#endif
