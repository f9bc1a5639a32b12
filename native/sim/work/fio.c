/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FIO jobs: which command comes next, as fio 3.3x means it (man fio; zbd.c for zonemode=zbd).
 */
#include "work.h"

/* ---------------------------------------------------------------- sizes and places */

static uint64_t any_block_size(struct job *job, uint32_t dir)
{
	const struct zd_sim_job *p = &job->p;
	uint32_t i, at, sum = 0;

	if (p->nr_split[dir]) {
		if (p->nr_split[dir] == 1)
			return p->split[dir][0].bytes;
		at = (uint32_t)rng_below(&job->rng, 100);
		for (i = 0; i + 1 < p->nr_split[dir]; i++) {
			sum += p->split[dir][i].percent;
			if (at < sum)
				break;
		}
		return p->split[dir][i].bytes;
	}
	if (p->bs_max[dir] == p->bs_min[dir])
		return p->bs_min[dir];
	return p->bs_min[dir] + rng_below(&job->rng, (p->bs_max[dir] - p->bs_min[dir]) / p->bs_min[dir] + 1) * p->bs_min[dir];
}

/* As fio: a block of one size begins in the range and may end behind it; one of several sizes fits in what is left. */
static bool of_one_size(const struct zd_sim_job *p, uint32_t dir)
{
	return p->bs_min[dir] == p->bs_max[dir];
}

/* Whether commands of the zone are taken as they are, whatever zonemode says. */
static bool as_they_are(const struct zd_sim *sim, const struct job *job, uint64_t offset)
{
	return !job->p.zbd || zone_conv(&sim->d.m, zone_of(&sim->d.m, offset));
}

static uint64_t block_size(const struct zd_sim *sim, struct job *job, uint32_t dir, uint64_t offset)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t length, left = p->offset + p->size - offset;
	uint32_t tries;

	if (likely(!p->nr_split[dir] && of_one_size(p, dir)))
		return p->bs_min[dir];
	length = any_block_size(job, dir);
	if (length <= left || p->strided || of_one_size(p, dir) || !as_they_are(sim, job, offset))
		return length;
	for (tries = 0; length > left && tries < 1000; tries++)
		length = any_block_size(job, dir);
	return length > left ? p->bs_min[dir] : length; /* sizes with a share of 0 are never drawn */
}

/* false: the end of the range was reached. */
static bool sequential_place(const struct zd_sim *sim, struct job *job, uint32_t dir, uint64_t *offset)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t at = job->last_pos[dir], end = p->offset + p->size;

	if (p->sequence_add && job->dir_count[dir] && at != p->offset)
		at = (uint64_t)((int64_t)at + p->sequence_add);
	if (p->sequence_add < 0 && (at < p->offset || at >= end)) /* backwards past the start: from the end again, as fio */
		at = end - p->offset >= (uint64_t)-p->sequence_add ? (uint64_t)((int64_t)end + p->sequence_add) : end;
	if (at < p->offset || at >= end ||
	    (unlikely(end - at < p->bs_min[dir]) &&
	     (!of_one_size(p, dir) || !as_they_are(sim, job, at) || job->disk_end - at < p->bs_min[dir]))) {
		if (!goes_round(job))
			return false;
		at = p->offset;
	}
	*offset = at;
	return true;
}

static bool random_place(struct job *job, uint32_t dir, uint64_t *offset)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t block;

	if (p->distribution != ZD_SIM_UNIFORM) {
		block = zd_draw(&job->draw, &job->rng);
	} else if (p->align[dir]) {
		uint64_t tail = p->bs_min[dir] > p->align[dir] ? p->bs_min[dir] - p->align[dir] : 0;

		*offset = p->offset + rng_below(&job->rng, (p->size - tail) / p->align[dir]) * p->align[dir];
		return true;
	} else if (p->norandommap) {
		block = rng_below(&job->rng, job->blocks);
	} else {
		if (job->random_at == job->blocks) { /* all were used once */
			job->random_at = 0;
			zd_permutation_init(&job->order, job->blocks, rng_next(&job->rng));
		}
		block = zd_permute(&job->order, job->random_at++);
	}
	*offset = p->offset + block * job->align;
	return true;
}

/* fio's zonemode=strided: zone_bytes within a range of zone_range, then the range behind zone_skip. */
static bool strided_place(struct job *job, uint32_t dir, uint64_t *offset)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t *at = &job->last_pos[dir];

	if (job->stride_done >= p->zone_bytes) {
		job->stride_done = 0;
		job->stride_at += p->zone_range + p->zone_skip;
		if (job->stride_at >= job->disk_end)
			job->stride_at = p->offset;
		*at = job->stride_at;
	}
	if (*at < job->stride_at || *at >= job->stride_at + p->zone_range)
		*at = job->stride_at;
	if (p->random) {
		if (job->random_at == job->blocks) {
			job->random_at = 0;
			zd_permutation_init(&job->order, job->blocks, rng_next(&job->rng));
		}
		*offset = p->norandommap ? rng_below(&job->rng, job->blocks) : zd_permute(&job->order, job->random_at++);
		*offset = job->stride_at + *offset * job->align;
	} else {
		*offset = *at;
	}
	return *offset < job->disk_end && job->disk_end - *offset >= p->bs_min[dir];
}

static bool place(const struct zd_sim *sim, struct job *job, uint32_t dir, uint64_t *offset)
{
	const struct zd_sim_job *p = &job->p;

	if (unlikely(p->strided))
		return strided_place(job, dir, offset);
	if (!p->random)
		return sequential_place(sim, job, dir, offset);
	if (p->sequence > 1 && job->in_sequence[dir] % p->sequence) {
		uint64_t end = p->offset + p->size;

		*offset = p->identical ? job->last_pos[dir] - p->bs_min[dir] : job->last_pos[dir];
		if (*offset < end && end - *offset >= p->bs_min[dir])
			return true;
		if (*offset >= end && !goes_round(job)) /* as fio, whose file has come to its end */
			return false;
	}
	return random_place(job, dir, offset);
}

/* ---------------------------------------------------------------- one command of a FIO job */

/* When the next command of this direction may go, by the job's rate. */
static uint64_t due(const struct job *job, uint32_t dir)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t at = 0, by;

	if (p->poisson)
		return job->start + job->due_at[dir];
	if (p->rate[dir])
		at = (uint64_t)((unsigned __int128)job->dir_bytes[dir] * 1000000000u / p->rate[dir]);
	if (p->rate_iops[dir]) {
		by = (uint64_t)((unsigned __int128)job->dir_count[dir] * 1000000000u / p->rate_iops[dir]);
		if (by > at)
			at = by;
	}
	return job->start + at;
}

static enum next fio_next(struct zd_sim *sim, struct job *job, struct command *c);

/* The range is used up: from its start again (a sequential job that is to go on), the time to verify, or the end. */
static enum next no_more(struct zd_sim *sim, struct job *job, struct command *c, uint32_t dir)
{
	if (!job->p.random && goes_round(job) && job->last_pos[dir] != job->p.offset) {
		job->last_pos[dir] = job->p.offset; /* nothing there either: then it is the end */
		return fio_next(sim, job, c);
	}
	if (!job->p.verify || !job->p.writes || job->verifying)
		return NEXT_END;
	job->p.io_size = job->issued_bytes; /* over() holds from now on */
	job->p.time_based = 0;
	return job->inflight ? NEXT_DRAIN : fio_next(sim, job, c);
}

static enum next fio_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct zd_sim_job *p = &job->p;
	const struct machine *m = &sim->d.m;
	uint64_t offset, length, in_zone;
	uint32_t dir;
	enum next n;

	if (unlikely(p->verify_backlog) && p->verify) {
		n = zd_verify_between(sim, job, c);
		if (n != NEXT_END)
			return n;
	}
	if (job->verifying)
		return zd_verify_next(sim, job, c);
	if (p->verify && p->zbd && p->writes) { /* fio: zbd_file_reset() */
		uint32_t last = zone_of(m, p->offset + p->size - 1);

		for (; job->clear_at <= last; job->clear_at++) {
			if (zone_conv(m, job->clear_at) || !sim->host_wp[job->clear_at] || host_dead(sim, job->clear_at))
				continue;
			job->r.zone_resets++;
			zd_make_reset(sim, c, job->clear_at++);
			return NEXT_COMMAND;
		}
	}
	if (job->pending) {
		uint32_t zone = zone_of(m, job->pending_offset);

		if (host_full(sim, job, zone)) { /* another job was quicker */
			job->r.zone_resets++;
			zd_make_reset(sim, c, zone);
			return NEXT_COMMAND;
		}
		job->pending = false;
		zd_make_write(sim, job, c, zone, job->pending_length);
		count_issue(job, c, ZD_SIM_WRITE);
		return NEXT_COMMAND;
	}
	if (over(sim, job)) {
		if (p->verify && p->writes && !job->verifying) {
			if (job->inflight)
				return NEXT_DRAIN;
			job->verifying = true;
			job->verify_at = p->offset;
			return zd_verify_next(sim, job, c);
		}
		return NEXT_END;
	}
	if (job->trim_next) { /* trimwrite: the write that follows its trim */
		if (job->inflight)
			return NEXT_DRAIN;
		job->trim_next = false;
		n = zd_zbd_write(sim, job, c, job->trim_offset, job->trim_length);
		if (n == NEXT_COMMAND && c->dir == ZD_SIM_WRITE)
			count_issue(job, c, ZD_SIM_WRITE);
		return n == NEXT_END ? no_more(sim, job, c, ZD_SIM_TRIM) : n;
	}
	if (p->trimwrite && !p->random && job->last_pos[ZD_SIM_WRITE] < p->offset + p->size &&
	    !zone_conv(m, zone_of(m, job->last_pos[ZD_SIM_WRITE]))) {
		uint64_t *at = &job->last_pos[ZD_SIM_WRITE], start = zone_start(m, zone_of(m, *at));

		if (*at - start >= zone_capacity(m, zone_of(m, *at)))
			*at = start + zone_length(m, zone_of(m, *at));
	}
	dir = p->trimwrite ?
		      (p->random || job->last_pos[ZD_SIM_WRITE] == job->last_pos[ZD_SIM_TRIM] ? ZD_SIM_TRIM : ZD_SIM_WRITE) :
	      p->reads && p->writes ? (rng_below(&job->rng, 100) < p->mix_read ? ZD_SIM_READ : ZD_SIM_WRITE) :
	      p->reads              ? ZD_SIM_READ :
	      p->writes             ? ZD_SIM_WRITE :
				      ZD_SIM_TRIM;
	/* Nothing to read anywhere yet: a mixed job begins with a write (fio: zbd_adjust_ddir()). */
	if (p->zbd && p->reads && p->writes && dir == ZD_SIM_READ && !sim->valid_bytes && !p->read_beyond_wp &&
	    (!job->dir_count[ZD_SIM_WRITE] || zd_zone_with_data(sim, job, zone_of(m, p->offset), 1, false) == NONE))
		dir = ZD_SIM_WRITE;
	if (p->rate[dir] || p->rate_iops[dir]) {
		uint64_t at = due(job, dir);

		if (at > sim->d.now) {
			job->wake = at;
			return NEXT_WAIT;
		}
	}
	if (!place(sim, job, dir, &offset))
		return no_more(sim, job, c, dir);
	length = block_size(sim, job, dir, offset);
	if (dir == ZD_SIM_TRIM) {
		job->trim_offset = offset;
		job->trim_length = 0;
		n = zd_make_trim(sim, job, c, offset);
		if (p->trimwrite && p->random && n == NEXT_END) { /* nothing to trim there */
			n = zd_zbd_write(sim, job, c, offset, zone_capacity(m, zone_of(m, offset)));
			dir = ZD_SIM_WRITE;
		} else if (p->trimwrite && p->random) { /* what was trimmed is written again, in one command */
			job->trim_next = true;
			job->trim_length = zone_capacity(m, c->zone);
			job->trim_offset = c->offset;
			job->last_pos[ZD_SIM_TRIM] = c->offset + c->length;
			job->since_rest += p->thinktime_issue;
			return n;
		}
	} else if (p->zbd && dir == ZD_SIM_WRITE) {
		n = zd_zbd_write(sim, job, c, offset, length);
	} else {
		n = p->zbd ? zd_zbd_read(sim, job, &offset, &length) : NEXT_COMMAND;
		in_zone = zone_start(m, zone_of(m, offset)) + zone_length(m, zone_of(m, offset)) - offset;
		if (length > in_zone)
			length = in_zone;
		c->cmd = dir == ZD_SIM_READ ? ZD_CMD_READ : p->append ? ZD_CMD_APPEND : ZD_CMD_WRITE;
		c->dir = (uint8_t)dir;
		c->zone = zone_of(m, offset);
		c->flags = c->cmd == ZD_CMD_READ || zone_conv(m, c->zone) ? 0 : c->cmd == ZD_CMD_WRITE ? C_ORDERED : C_BEHIND;
		c->offset = offset;
		c->length = length;
	}
	if (n == NEXT_COMMAND && c->dir != ZD_SIM_NR_DIRS)
		count_issue(job, c, dir);
	return n == NEXT_END ? no_more(sim, job, c, dir) : n;
}

static enum next next_kept(struct zd_sim *sim, struct job *job, struct command *c)
{
	enum next n = fio_next(sim, job, c);

	if (unlikely(job->p.verify) && n == NEXT_COMMAND && c->dir == ZD_SIM_WRITE && job->keeps && zd_keep(job, c))
		return NEXT_FAILED;
	return n;
}

static void make_flush(struct zd_sim *sim, struct job *job, struct command *c)
{
	c->cmd = ZD_CMD_FLUSH;
	c->dir = ZD_SIM_NR_DIRS;
	c->flags = C_HIDDEN | C_SYNC | C_APART;
	c->zone = zone_of(&sim->d.m, job->p.offset);
	c->offset = c->length = 0;
	job->last_sync = true;
}

/* Jobs with unusual options: NEXT_END where nothing of those stands before the next command. */
static enum next before(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct zd_sim_job *p = &job->p;

	if (job->verifying || job->pending || (over(sim, job) && job->loops_left <= 1))
		return NEXT_END;
	/* fio asks before each command how many writes it has sent: after a read in between there is another flush. */
	if (p->fsync && !job->last_sync && job->dir_count[ZD_SIM_WRITE] && !(job->dir_count[ZD_SIM_WRITE] % p->fsync)) {
		make_flush(sim, job, c);
		return NEXT_COMMAND;
	}
	if (p->flow && !zd_flow_may(sim, job)) {
		if (!p->flow_sleep)
			return NEXT_PARK;
		job->wake = sim->d.now + p->flow_sleep;
		return NEXT_WAIT;
	}
	return NEXT_END;
}

/* What those options make of a command that goes. */
static void after(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct zd_sim_job *p = &job->p;
	double mean;

	if (c->dir >= ZD_SIM_NR_DIRS)
		return;
	if (p->diskless)
		c->flags = C_APART;
	else if (p->durable && c->dir == ZD_SIM_WRITE)
		c->flags |= C_DURABLE;
	if (job->verifying)
		return;
	job->last_sync = false;
	job->stride_done += c->length;
	if (p->flow)
		zd_flow_sent(sim, job);
	if (p->poisson && (p->rate[c->dir] || p->rate_iops[c->dir])) {
		mean = p->rate_iops[c->dir] ? 1e9 / p->rate_iops[c->dir] :
					      1e9 * (double)p->bs_min[c->dir] / (double)p->rate[c->dir];
		job->due_at[c->dir] += (uint64_t)(mean * -zd_sim_log(1 - rng_unit(&job->rng)));
	}
}

/* A job with loops begins anew when it came to its end, once nothing is under way. */
enum next zd_fio_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	enum next n = next_kept(sim, job, c);
	uint32_t dir;

	if (n != NEXT_END || job->loops_left <= 1 || (job->p.runtime && sim->d.now >= job->start + job->p.runtime))
		return n;
	if (job->inflight)
		return NEXT_DRAIN;
	job->loops_left--;
	job->issued = job->issued_bytes = 0;
	job->verifying = false;
	job->nr_kept = job->kept_at = 0;
	job->clear_at = zone_of(&sim->d.m, job->p.offset);
	job->p.io_size = job->io_size;
	job->p.time_based = job->time_based;
	job->stride_at = job->p.offset;
	job->stride_done = 0;
	for (dir = 0; dir < 3; dir++) {
		job->last_pos[dir] = job->p.offset;
		job->in_sequence[dir] = 0;
	}
	return next_kept(sim, job, c);
}

/* Jobs with unusual options: what stands before a command, the command, and what those make of it. */
static enum next unusual_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	enum next n = before(sim, job, c);

	if (n != NEXT_END)
		return n;
	n = zd_fio_next(sim, job, c);
	if (n == NEXT_COMMAND)
		after(sim, job, c);
	if (n != NEXT_END || !job->p.end_fsync || !job->p.writes || job->last_sync)
		return n;
	if (job->inflight)
		return NEXT_DRAIN;
	make_flush(sim, job, c);
	c->length = 1; /* none of those that fsync asked for */
	return NEXT_COMMAND;
}

/* Whether what is written of conventional zones need not be one piece from the range's start on. */
static bool leaves_gaps(const struct machine *m, const struct zd_sim_job *p)
{
	uint32_t zone, last = zone_of(m, p->offset + p->size - 1);

	if (!p->random && !p->reads && !p->strided && !p->sequence_add)
		return false;
	for (zone = zone_of(m, p->offset); zone <= last; zone++)
		if (zone_conv(m, zone))
			return true;
	return false;
}

int zd_fio_init(struct zd_sim *sim, struct job *job, struct zd_error *err)
{
	struct zd_sim_job *p = &job->p;

	job->disk_end = sim->d.m.b.size;
	if (job->unusual)
		job->next = unusual_next;
	if (p->verify_backlog && !p->verify)
		p->verify_backlog = 0;
	job->keeps = p->verify && (p->verify_backlog || sizes_vary(p) || leaves_gaps(&sim->d.m, p));
	if (!p->random)
		return 0;
	if (p->align[0] || p->align[1] || p->align[2] || p->write_remainder)
		p->norandommap = 1; /* as fio, whose map has a bit for each smallest block at its place */
	job->blocks = (p->strided ? p->zone_range : p->size) / job->align;
	if (!job->blocks)
		job->blocks = 1;
	zd_permutation_init(&job->order, job->blocks, rng_next(&job->rng));
	if (!job->io_given && !p->norandommap && !p->strided && p->distribution == ZD_SIM_UNIFORM && p->size >= job->align)
		job->io_size = p->io_size = job->blocks * job->align; /* fio: until each block was drawn once */
	return zd_job_draw(job, job->blocks, err);
}
