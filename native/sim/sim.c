/* SPDX-License-Identifier: Apache-2.0 */
/* Making a simulation, feeding it, and its zones without time. */
#include "sim.h"

int zd_sim_create(const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed, zd_sim **out,
		  struct zd_error *err)
{
	struct zd_sim *sim = calloc(1, sizeof(*sim));
	int r;

	if (!sim)
		return zd_sim_fail(err, -ENOMEM, "no memory");
	r = zd_drive_init(&sim->d, disk, model, seed, err);
	if (r)
		goto fail;
	sim->host_wp = calloc(sim->d.m.b.nr_zones, sizeof(*sim->host_wp));
	sim->host_flags = calloc(sim->d.m.b.nr_zones, 1);
	sim->plug_first = calloc(sim->d.m.b.nr_zones, sizeof(*sim->plug_first));
	sim->plug_last = calloc(sim->d.m.b.nr_zones, sizeof(*sim->plug_last));
	if (!sim->host_wp || !sim->host_flags || !sim->plug_first || !sim->plug_last || zd_results_init(sim)) {
		r = zd_sim_fail(err, -ENOMEM, "no memory for %u zones", sim->d.m.b.nr_zones);
		goto fail;
	}
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
	zd_drive_free(&sim->d);
	zd_results_free(sim);
	ZD_FREE(sim->jobs, sim->waiters, sim->named, sim->flows, sim->host_wp, sim->host_flags, sim->plug_first, sim->plug_last,
		sim->open_list, sim);
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
		bool data = records[i].dir < ZD_SIM_TRIM || records[i].dir == ZD_TRACE_DIR_APPEND;

		if (records[i].time > ZD_SIM_MOST_TIME || (data && records[i].length > ZD_SIM_MOST_LENGTH))
			return zd_sim_fail(err, -EINVAL,
					   "command %llu of %llu bytes at %llu ns cannot be: at most %llu and %llu can",
					   (unsigned long long)i, (unsigned long long)records[i].length,
					   (unsigned long long)records[i].time, (unsigned long long)ZD_SIM_MOST_LENGTH,
					   (unsigned long long)ZD_SIM_MOST_TIME);
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

/* ---------------------------------------------------------------- zones, without time */

int64_t zd_sim_report(zd_sim *sim, uint32_t start_zone, uint32_t count, struct zd_zone *out)
{
	const struct machine *m = &sim->d.m;
	uint32_t i, zone;

	if (start_zone > m->b.nr_zones)
		return -EINVAL;
	if (sim->dev && !start_zone)
		zd_real_look(sim);
	if (count > m->b.nr_zones - start_zone)
		count = m->b.nr_zones - start_zone;
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
		z->durable_wp = zone_conv(m, zone) ?
					ZD_NONE :
					z->start + (m->word[zone] & W_FINISHED ? z->capacity : zone_written(m, zone));
	}
	return count;
}

int zd_sim_apply(zd_sim *sim, int cmd, uint64_t offset, uint64_t length, struct zd_error *err)
{
	struct machine *m = &sim->d.m;
	uint32_t zone;
	uint64_t rel;
	int r;

	if (offset >= m->b.size)
		return zd_sim_fail(err, ZD_E_OUT_OF_RANGE, "offset %llu is beyond the disk", (unsigned long long)offset);
	zone = zone_of(m, offset);
	rel = offset - zone_start(m, zone);
	if (cmd < ZD_CMD_OPEN && rel + length > zone_length(m, zone))
		return zd_sim_fail(err, ZD_E_WRITE_BOUNDARY, "a simulated command must stay within its zone");
	switch (cmd) {
	case ZD_CMD_READ: return length ? zd_machine_read(m, zone, rel, length, err) : 0;
	case ZD_CMD_APPEND: rel = zone_written(m, zone); /* fall through */
	case ZD_CMD_WRITE: r = length || cmd == ZD_CMD_APPEND ? machine_write(m, cmd, zone, rel, length, err) : 0; break;
	default: r = cmd > ZD_CMD_APPEND && cmd < ZD_CMD_FLUSH ? zd_machine_manage(m, cmd, zone, err) : -EINVAL;
	}
	if (!r && cmd != ZD_CMD_READ) {
		for (zone = cmd >= ZD_CMD_OPEN_ALL && cmd <= ZD_CMD_RESET_ALL ? 0 : zone;
		     zone <= (cmd >= ZD_CMD_OPEN_ALL && cmd <= ZD_CMD_RESET_ALL ? m->b.nr_zones - 1 : zone_of(m, offset));
		     zone++) {
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
		if (i >= sim->d.m.b.nr_zones)
			return zd_sim_fail(err, ZD_E_OUT_OF_RANGE, "there is no zone %u", i);
		if (bytes && !zone_conv(&sim->d.m, i))
			r = zd_sim_apply(sim, ZD_CMD_WRITE, zone_start(&sim->d.m, i) + zone_written(&sim->d.m, i), bytes, err);
		if (!r && finish)
			r = zd_sim_apply(sim, ZD_CMD_FINISH, zone_start(&sim->d.m, i), 0, err);
	}
	return r;
}

uint64_t zd_sim_bare(zd_sim *sim, uint64_t offset, uint64_t bytes, uint64_t n)
{
	struct machine *m = &sim->d.m;
	uint64_t i;

	for (i = 0; i < n; i++) {
		uint32_t zone = zone_of(m, offset);

		if (machine_write(m, ZD_CMD_WRITE, zone, offset - zone_start(m, zone), bytes, NULL))
			break;
		offset += bytes;
	}
	return i;
}
