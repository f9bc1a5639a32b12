/* SPDX-License-Identifier: Apache-2.0 */
/* TRACE jobs: a recorded trace's commands, straight or through the log-structured layer. */
#include "work.h"

static enum next trace_part(struct zd_sim *sim, struct job *job, struct command *c)
{
	uint64_t block = job->part_block % job->log_blocks;
	enum next n;

	job->part_block++;
	job->part_left--;
	if (job->part_dir == ZD_SIM_READ)
		return zd_log_work_read(sim, job, c, block);
	n = zd_log_work_write(sim, job, &block);
	return n == NEXT_COMMAND ? zd_log_op_next(sim, job, c) : n;
}

enum next zd_trace_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct zd_sim_job *p = &job->p;
	const struct machine *m = &sim->d.m;
	struct zd_sim_record *r;
	uint64_t length, in_zone;

	if (job->op_used)
		return zd_log_op_next(sim, job, c);
	if (job->part_left)
		return trace_part(sim, job, c);
	for (;;) {
		if (over(sim, job))
			return NEXT_END;
		if (!job->rec_used)
			return job->trace_last ? NEXT_END : NEXT_TRACE;
		r = &job->records[job->rec_first];
		if (job->start + r->time > sim->d.now) {
			job->wake = job->start + r->time;
			job->r.wait_rest += job->wake - sim->d.now;
			return NEXT_WAIT;
		}
		if (r->dir == ZD_SIM_NR_DIRS && job->inflight)
			return NEXT_DRAIN;
		if (r->dir < ZD_SIM_TRIM && r->length)
			break;
		job->rec_first++; /* a wait that is over; a trim: the layer below has no use for it */
		job->rec_used--;
	}
	if (job->log) {
		job->part_block = r->offset / p->log_block + (r->device ? zd_mix64(r->device) >> 20 : 0);
		job->part_left = (r->offset % p->log_block + r->length + p->log_block - 1) / p->log_block;
		if (job->part_left > job->log_blocks)
			job->part_left = job->log_blocks;
		job->part_dir = r->dir;
		job->rec_first++;
		job->rec_used--;
		return trace_part(sim, job, c);
	}
	/* Straight: into the job's range, in whole blocks, in pieces that stay within their zones. */
	c->offset = p->offset + r->offset / m->b.logical_block * m->b.logical_block % p->size;
	c->zone = zone_of(m, c->offset);
	if (r->length > p->size) /* once over the whole range is all that the disk can make of it */
		r->length = p->size;
	length = (r->length + m->b.logical_block - 1) / m->b.logical_block * m->b.logical_block;
	in_zone = zone_start(m, c->zone) + zone_length(m, c->zone) - c->offset;
	if (length > in_zone) {
		r->offset += in_zone;
		r->length = length - in_zone;
		length = in_zone;
	} else {
		job->rec_first++;
		job->rec_used--;
	}
	c->cmd = r->dir == ZD_SIM_READ ? ZD_CMD_READ : ZD_CMD_WRITE;
	c->dir = (uint8_t)r->dir;
	c->flags = r->dir == ZD_SIM_WRITE && !zone_conv(m, c->zone) ? C_ORDERED : 0;
	c->length = length;
	count_issue(job, c, r->dir);
	return NEXT_COMMAND;
}
