/* SPDX-License-Identifier: Apache-2.0 */
/* Making a job of any kind, and what is wrong with one. */
#include "../layer.h"
#include "work.h"

static int check(const struct zd_sim *sim, const struct zd_sim_job *p, struct zd_error *err)
{
	uint32_t dir, i, sum;

	if (p->kind > ZD_SIM_JOB_ZONES || !p->iodepth || p->iodepth > 65536)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "iodepth is %u: it must be 1 to 65536", p->iodepth);
	if (p->offset >= sim->d.m.b.size || !p->size || p->size > sim->d.m.b.size - p->offset)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "offset %llu and size %llu pass the end of the disk, which has %llu bytes",
				   (unsigned long long)p->offset, (unsigned long long)p->size,
				   (unsigned long long)sim->d.m.b.size);
	if (p->kind == ZD_SIM_JOB_FIO && !p->reads && !p->writes && !p->trims)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the job neither reads nor writes nor trims");
	for (dir = 0; dir < 3 && p->kind == ZD_SIM_JOB_FIO; dir++) {
		if (!(dir == 0 ? p->reads : dir == 1 ? p->writes : p->trims))
			continue;
		if (p->nr_split[dir] > ZD_SIM_MAX_SPLIT)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "more than %d block sizes", ZD_SIM_MAX_SPLIT);
		for (i = sum = 0; i < p->nr_split[dir]; i++) {
			sum += p->split[dir][i].percent;
			if (!p->split[dir][i].bytes || p->split[dir][i].bytes % sim->d.m.b.logical_block)
				return zd_sim_fail(err, ZD_E_GEOMETRY,
						   "a block size of %llu is no multiple of the logical block, %u",
						   (unsigned long long)p->split[dir][i].bytes, sim->d.m.b.logical_block);
		}
		if (p->nr_split[dir] && sum != 100)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "the shares of the block sizes add up to %u, not to 100", sum);
		if (!p->bs_min[dir] || p->bs_max[dir] < p->bs_min[dir] || p->bs_min[dir] % sim->d.m.b.logical_block)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is no multiple of the logical block, %u",
					   (unsigned long long)p->bs_min[dir], sim->d.m.b.logical_block);
		if (p->bs_min[dir] > p->size)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is larger than the range of %llu bytes",
					   (unsigned long long)p->bs_min[dir], (unsigned long long)p->size);
		if (dir == ZD_SIM_TRIM)
			continue; /* always a whole zone */
		if (p->bs_max[dir] > sim->d.m.capacity)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is larger than a zone's capacity, %llu",
					   (unsigned long long)p->bs_max[dir], (unsigned long long)sim->d.m.capacity);
	}
	for (i = zone_of(&sim->d.m, p->offset); p->kind == ZD_SIM_JOB_FIO && p->zbd && p->writes && !p->write_remainder &&
						i <= zone_of(&sim->d.m, p->offset + p->size - 1);
	     i++) {
		if (!zone_conv(&sim->d.m, i) && zone_capacity(&sim->d.m, i) < p->bs_min[ZD_SIM_WRITE])
			return zd_sim_fail(
				err, ZD_E_GEOMETRY,
				"zone %u has room for %llu bytes, less than the block size of %llu: leave it out of the range",
				i, (unsigned long long)zone_capacity(&sim->d.m, i),
				(unsigned long long)p->bs_min[ZD_SIM_WRITE]);
	}
	if ((p->kind == ZD_SIM_JOB_LOG || (p->kind == ZD_SIM_JOB_TRACE && p->log_block)) && p->log_policy > ZD_SIM_COST_BENEFIT)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "a job's log cleans by FIFO, greedy or cost-benefit, not by policy %u",
				   p->log_policy);
	if (p->exitall > ZD_SIM_EXIT_STONEWALL || p->exit_on_error > ZD_SIM_EXIT_STONEWALL)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "exitall is %u and %u, and there is no such way to end", p->exitall,
				   p->exit_on_error);
	if (p->strided && (p->zbd || !p->zone_bytes || !p->zone_range || p->trims || p->zone_skip > sim->d.m.b.size ||
			   p->zone_range > sim->d.m.b.size || p->zone_bytes > sim->d.m.b.size))
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "zonemode=strided needs zonesize and zonerange above 0 and within the disk, and no trims");
	if (p->diskless && (p->zbd || p->kind != ZD_SIM_JOB_FIO))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the engine null has no zones, and no log and no trace");
	for (dir = 0; dir < 3; dir++) {
		if (p->align[dir] % sim->d.m.b.logical_block || p->align[dir] > p->size)
			return zd_sim_fail(
				err, ZD_E_GEOMETRY,
				"an alignment of %llu is no multiple of the logical block, %u, or larger than the range",
				(unsigned long long)p->align[dir], sim->d.m.b.logical_block);
	}
	if (p->latency_target && !(p->latency_percentile > 0 && p->latency_percentile <= 100))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "latency_percentile must be above 0 and up to 100");
	if (p->mix_read > 100)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "a mix of %u percent reads", p->mix_read);
	if (!(p->reset_frequency >= 0 && p->reset_frequency <= 1) || !(p->reset_threshold >= 0 && p->reset_threshold <= 1))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "zone_reset_threshold and zone_reset_frequency must lie in 0..1");
	if (p->zones_command > 2 || (p->zones_command && (p->zones_finish || p->zones_finished || p->occupancy >= 1)))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "zones are opened and closed neither full nor finished");
	if (!(p->occupancy >= 0 && p->occupancy <= 1))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "occupancy must lie in 0..1");
	if (p->time_based && !p->runtime)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "time_based needs a runtime");
	return 0;
}

static next_fn *const nexts[] = {
	[ZD_SIM_JOB_FIO] = zd_fio_next,
	[ZD_SIM_JOB_LOG] = zd_log_next,
	[ZD_SIM_JOB_TRACE] = zd_trace_next,
	[ZD_SIM_JOB_ZONES] = zd_zones_next,
};

int zd_job_init(struct zd_sim *sim, struct job *job, uint32_t index, struct zd_error *err)
{
	struct zd_sim_job *p = &job->p;
	uint32_t dir;
	int r = check(sim, p, err);

	if (r)
		return r;
	if (p->named_count && (p->named_first >= index || p->named_count > index - p->named_first))
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "it waits for jobs %u to %u and is itself number %u: only for earlier ones", p->named_first,
				   p->named_first + p->named_count - 1, index);
	if (p->wait_for > index)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "it waits for job %u and is itself number %u: only for earlier ones",
				   p->wait_for - 1, index);
	job->index = index;
	job->next = nexts[p->kind];
	job->depth = p->latency_target ? 1 : p->iodepth;
	job->depth_low = 1;
	job->depth_high = p->iodepth;
	job->least_room = p->write_remainder ? 1 : p->bs_min[ZD_SIM_WRITE];
	job->stride_at = p->offset;
	job->unusual = p->fsync || p->durable || p->end_fsync || p->diskless || p->strided || p->flow || p->latency_target ||
		       p->write_remainder || p->poisson;
	job->rates = p->rate_min[0] || p->rate_min[1] || p->rate_min[2] || p->rate_iops_min[0] || p->rate_iops_min[1] ||
		     p->rate_iops_min[2];
	job->watched = p->latency_target || p->log || p->steady || job->rates;
	job->batched = p->iodepth > 1 && (p->batch_complete > 1 || (p->depth_low && p->depth_low < p->iodepth));
	r = zd_steady_init(sim, job, err);
	if (r)
		return r;
	job->io_given = p->io_size;
	if (!p->io_size)
		p->io_size = p->kind == ZD_SIM_JOB_FIO ? p->size : UINT64_MAX;
	if (p->trimwrite && !p->random && p->io_size <= UINT64_MAX / 2)
		p->io_size *= 2; /* both count */
	zd_rng_seed(&job->rng, p->seed ? p->seed : sim->d.seed, p->seed ? 0 : index + 1ull);
	job->loops_left = p->loops;
	job->io_size = p->io_size;
	job->time_based = p->time_based;
	job->clear_at = zone_of(&sim->d.m, p->offset);
	job->wake = NEVER;
	job->cpu = 0;
	job->reset_credit = p->reset_frequency > 0 ? (uint32_t)(1 / p->reset_frequency) : 0;
	job->align = p->reads && p->writes ? (p->bs_min[0] < p->bs_min[1] ? p->bs_min[0] : p->bs_min[1]) :
		     p->reads              ? p->bs_min[0] :
		     p->writes             ? p->bs_min[1] :
					     sim->d.m.zone_size;
	if (p->trims && !p->writes)
		job->align = sim->d.m.zone_size;
	for (dir = 0; dir < 3; dir++)
		job->last_pos[dir] = p->offset;
	job->zone_next = zone_of(&sim->d.m, p->offset);
	if (p->kind == ZD_SIM_JOB_FIO)
		return zd_fio_init(sim, job, err);
	if (p->kind == ZD_SIM_JOB_LOG || (p->kind == ZD_SIM_JOB_TRACE && p->log_block))
		return zd_log_work_init(sim, job, err);
	return 0;
}

void zd_job_free(struct job *job)
{
	uint32_t dir;

	if (!job)
		return;
	for (dir = 0; dir < 3; dir++)
		free(job->histogram[dir]);
	zd_log_free(job->log);
	zd_steady_free(job);
	ZD_FREE(job->ops, job->segment_zone, job->records, job->kept, job->done, job);
}
