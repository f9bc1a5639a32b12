/* SPDX-License-Identifier: Apache-2.0 */
/* Many commands alike in one go, where nobody can come between them. */
#include "sim.h"

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

	if (sim->d.model.kind != ZD_SIM_NULL || sim->d.heap_used || sim->wants || p->kind != ZD_SIM_JOB_FIO ||
	    p->iodepth != 1 || p->reads || p->trims || p->random || p->append || p->sequence_add || p->thinktime ||
	    p->rate[ZD_SIM_WRITE] || p->rate_iops[ZD_SIM_WRITE] || p->reset_frequency > 0 || p->nr_split[ZD_SIM_WRITE] ||
	    p->bs_max[ZD_SIM_WRITE] != bytes || bytes % m->b.physical_block || p->verify || job->pending || job->inflight ||
	    job->unusual || job->watched || sim->d.now < job->start + p->ramp || at < p->offset || at >= p->offset + p->size)
		return 0;
	*zone = zone_of(m, at);
	if (zone_conv(m, *zone) || (m->word[*zone] & W_COND & ~1ull) != ZD_IMPLICIT_OPEN ||
	    at - zone_start(m, *zone) != zone_written(m, *zone) || sim->host_wp[*zone] != zone_written(m, *zone) ||
	    sim->host_flags[*zone] & H_BUSY ||
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
	left = !p->runtime                          ? UINT64_MAX :
	       job->start + p->runtime > sim->d.now ? (job->start + p->runtime - sim->d.now - 1) / each :
						      0;
	n = left < n ? left : n;
	left = sim->stop > sim->commands ? sim->stop - sim->commands : 0;
	n = left < n ? left : n;
	/* Within one entry of the series, which takes down how the zones stand at its end. */
	first = sim->d.now + sim->d.model.null_ns;
	left = first < sim->series_end ? (sim->series_end - first - 1) / each + 1 : 0;
	return left < n ? left : n;
}

/* Each command goes through the state machine; only the queue of events has nothing to decide, and is left out. */
bool zd_burst(struct zd_sim *sim, struct job *job)
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
