/* SPDX-License-Identifier: Apache-2.0 */
/* TRACE jobs: a recorded trace's commands, straight or through the log-structured layer. */
#include "work.h"

static void record_used(struct job *job)
{
	job->r.folded += job->beyond;
	job->r.partial += job->partial;
	job->beyond = job->partial = false;
	job->rec_first++;
	job->rec_used--;
}

static const uint8_t zone_cmds[] = {
	/* by enum zd_trace_dir, from RESET on; the ALL forms as the command that each zone gets */
	[ZD_TRACE_DIR_RESET - ZD_TRACE_DIR_RESET] = ZD_CMD_RESET,
	[ZD_TRACE_DIR_RESET_ALL - ZD_TRACE_DIR_RESET] = ZD_CMD_RESET,
	[ZD_TRACE_DIR_OPEN - ZD_TRACE_DIR_RESET] = ZD_CMD_OPEN,
	[ZD_TRACE_DIR_CLOSE - ZD_TRACE_DIR_RESET] = ZD_CMD_CLOSE,
	[ZD_TRACE_DIR_FINISH - ZD_TRACE_DIR_RESET] = ZD_CMD_FINISH,
	[ZD_TRACE_DIR_APPEND - ZD_TRACE_DIR_RESET] = ZD_CMD_APPEND,
	[ZD_TRACE_DIR_OPEN_ALL - ZD_TRACE_DIR_RESET] = ZD_CMD_OPEN,
	[ZD_TRACE_DIR_CLOSE_ALL - ZD_TRACE_DIR_RESET] = ZD_CMD_CLOSE,
	[ZD_TRACE_DIR_FINISH_ALL - ZD_TRACE_DIR_RESET] = ZD_CMD_FINISH,
};

static bool is_zone_command(uint32_t dir)
{
	return dir >= ZD_TRACE_DIR_RESET && dir - ZD_TRACE_DIR_RESET < sizeof(zone_cmds);
}

static bool is_all(uint32_t dir)
{
	return dir == ZD_TRACE_DIR_RESET_ALL || dir >= ZD_TRACE_DIR_OPEN_ALL;
}

/* Whether a command on all zones has something to do in one that is in this condition. */
static bool all_meets(uint8_t cmd, uint64_t cond)
{
	switch (cmd) {
	case ZD_CMD_OPEN: return cond == ZD_CLOSED;
	case ZD_CMD_CLOSE: return zd_cond_open((int)cond);
	case ZD_CMD_FINISH: return zd_cond_active((int)cond);
	default: return cond != ZD_EMPTY;
	}
}

/* Whether a command lies beyond what the job has, in whole or in part. */
static bool lies_beyond(const struct job *job, const struct zd_sim_record *r)
{
	uint64_t end = job->log ? job->log_blocks * job->p.log_block : job->p.size;

	if (r->dir == ZD_SIM_NR_DIRS || is_all(r->dir) || (job->log && r->dir >= ZD_SIM_TRIM))
		return false;
	if (is_zone_command(r->dir) && r->dir != ZD_TRACE_DIR_APPEND)
		return r->offset >= end;
	return r->length && (r->offset >= end || r->length > end - r->offset);
}

/*
 * A zone command or an append of the trace, to the drive as it is. One on all zones is given to each that it meets, as
 * a model knows the time of a zone's command only; the job's zone_next is where it has come to.
 */
static enum next trace_zone(struct zd_sim *sim, struct job *job, struct command *c, const struct zd_sim_record *r)
{
	const struct machine *m = &sim->d.m;
	uint64_t block = m->b.logical_block;
	uint32_t first = zone_of(m, job->p.offset), last = zone_of(m, job->p.offset + job->p.size - 1);

	c->cmd = zone_cmds[r->dir - ZD_TRACE_DIR_RESET];
	if (is_all(r->dir)) {
		if (job->zone_next == first && job->inflight)
			return NEXT_DRAIN; /* which zones it meets is what these leave */
		for (c->zone = job->zone_next; c->zone <= last; c->zone++) {
			if (!zone_conv(m, c->zone) && all_meets(c->cmd, zone_cond(m, c->zone)))
				break;
		}
		job->zone_next = c->zone <= last ? c->zone + 1 : first;
		if (c->zone > last)
			return NEXT_END;
	} else {
		c->zone = zone_of(m, job->p.offset + r->offset % job->p.size);
	}
	c->offset = zone_start(m, c->zone);
	c->length = c->cmd == ZD_CMD_APPEND ? (r->length + block - 1) / block * block : 0;
	c->dir = c->cmd == ZD_CMD_APPEND ? ZD_SIM_WRITE : ZD_SIM_TRIM;
	c->flags = c->cmd == ZD_CMD_APPEND ? C_BEHIND : C_ORDERED;
	if (!is_all(r->dir))
		record_used(job);
	count_issue(job, c, c->dir);
	return NEXT_COMMAND;
}

/*
 * A trim resets the whole sequential zones that it covers, one after the other; of others nothing is left of it, as a zoned
 * disk cannot forget a part of a zone. NEXT_END: it covers no further one.
 */
static enum next trace_trim(struct zd_sim *sim, struct job *job, struct command *c, struct zd_sim_record *r)
{
	const struct machine *m = &sim->d.m;
	uint64_t from = job->p.offset + r->offset, end;
	uint32_t zone, last = zone_of(m, job->p.offset + job->p.size - 1);

	if (r->offset >= job->p.size)
		return NEXT_END;
	end = from + (r->length < job->p.size - r->offset ? r->length : job->p.size - r->offset);
	zone = zone_of(m, from);
	zone += from != zone_start(m, zone);
	while (zone <= last && zone_conv(m, zone))
		zone++;
	job->partial |= zone > last || zone_start(m, zone) != from;
	if (zone > last || zone_start(m, zone) + zone_length(m, zone) > end) {
		job->partial |= r->length != 0;
		return NEXT_END;
	}
	r->length = end - zone_start(m, zone) - zone_length(m, zone);
	r->offset = zone_start(m, zone) + zone_length(m, zone) - job->p.offset;
	c->cmd = ZD_CMD_RESET;
	c->dir = ZD_SIM_TRIM;
	c->flags = C_ORDERED;
	c->zone = zone;
	c->offset = zone_start(m, zone);
	c->length = zone_length(m, zone);
	if (!r->length)
		record_used(job);
	count_issue(job, c, c->dir);
	return NEXT_COMMAND;
}

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
			return NEXT_WAIT;
		}
		if (r->dir == ZD_SIM_NR_DIRS && job->inflight)
			return NEXT_DRAIN;
		job->beyond |= lies_beyond(job, r);
		if (r->dir < ZD_SIM_TRIM && r->length)
			break;
		if (!job->log && is_zone_command(r->dir) && (r->dir != ZD_TRACE_DIR_APPEND || r->length)) {
			enum next n = trace_zone(sim, job, c, r);

			if (n != NEXT_END)
				return n;
		}
		if (!job->log && r->dir == ZD_SIM_TRIM) {
			enum next n = trace_trim(sim, job, c, r);

			if (n != NEXT_END)
				return n;
		}
		record_used(job); /* a wait that is over; a trim, of which the layer below makes nothing */
	}
	if (job->log) {
		job->part_block = r->offset / p->log_block + (r->device ? zd_mix64(r->device) >> 20 : 0);
		job->part_left = (r->offset % p->log_block + r->length + p->log_block - 1) / p->log_block;
		if (job->part_left > job->log_blocks)
			job->part_left = job->log_blocks;
		job->part_dir = r->dir;
		record_used(job);
		return trace_part(sim, job, c);
	}
	/* Straight: into the job's range, in the whole blocks that it touches, in pieces that stay within their zones. */
	if (r->length > p->size) /* once over the whole range is all that the disk can make of it */
		r->length = p->size;
	r->length += r->offset % m->b.logical_block;
	r->offset -= r->offset % m->b.logical_block;
	c->offset = p->offset + r->offset % p->size;
	c->zone = zone_of(m, c->offset);
	length = (r->length + m->b.logical_block - 1) / m->b.logical_block * m->b.logical_block;
	in_zone = zone_start(m, c->zone) + zone_length(m, c->zone) - c->offset;
	if (length > in_zone) {
		r->offset += in_zone;
		r->length = length - in_zone;
		length = in_zone;
	} else {
		record_used(job);
	}
	c->cmd = r->dir == ZD_SIM_READ ? ZD_CMD_READ : ZD_CMD_WRITE;
	c->dir = (uint8_t)r->dir;
	c->flags = r->dir == ZD_SIM_WRITE && !zone_conv(m, c->zone) ? C_ORDERED : 0;
	c->length = length;
	count_issue(job, c, r->dir);
	return NEXT_COMMAND;
}
