/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FIO jobs: which command comes next, as fio 3.3x means it (man fio; zbd.c for zonemode=zbd).
 */
#include "work.h"

/*
 * The zone that a write meant for `zone` goes to, under max_open_zones and job_max_open_zones: one that is being
 * written if no further one may be (fio: zbd_convert_to_open_zone()).
 */
static enum next writable_zone(struct zd_sim *sim, struct job *job, uint32_t *zone)
{
	uint32_t all = job->p.max_open_zones ? job->p.max_open_zones : job->p.ignore_zone_limits ? 0 : sim->d.m.b.max_open;
	uint32_t own = job->p.job_max_open_zones, i, at;
	bool waiting = false;

	if (!all && !own)
		return NEXT_COMMAND;
	if (sim->host_flags[*zone] & H_OPEN) {
		if (sim->host_wp[*zone] < zone_capacity(&sim->d.m, *zone))
			return NEXT_COMMAND;
		waiting = true; /* its last write has not reached the drive yet */
	} else if ((!all || sim->open_used < all) && (!own || job->open_count < own)) {
		return zd_open_list_add(sim, job, *zone) ? NEXT_FAILED : NEXT_COMMAND;
	}
	at = (uint32_t)((unsigned __int128)(zone_start(&sim->d.m, *zone) - job->p.offset) * sim->open_used / job->p.size);
	for (i = 0; i < sim->open_used; i++) {
		uint32_t candidate = sim->open_list[(at + i) % sim->open_used].zone;

		if (!in_range(sim, job, candidate) || (own && sim->open_list[(at + i) % sim->open_used].job != job->index))
			continue;
		if (sim->host_wp[candidate] < zone_capacity(&sim->d.m, candidate)) {
			*zone = candidate;
			return NEXT_COMMAND;
		}
		waiting = true;
	}
	return waiting ? NEXT_PARK : NEXT_STOPPED;
}

/* ---------------------------------------------------------------- sizes and places */

/* Whether a sequential job begins again when it came to the end of its range. */
static bool goes_round(const struct job *job)
{
	return job->p.time_based || job->io_given;
}

static uint64_t block_size(struct job *job, uint32_t dir)
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

/* false: the end of the range was reached. */
static bool sequential_place(struct job *job, uint32_t dir, uint64_t *offset)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t at = job->last_pos[dir], end = p->offset + p->size;

	if (p->sequence_add && job->dir_count[dir] && at != p->offset)
		at = (uint64_t)((int64_t)at + p->sequence_add);
	if (p->sequence_add < 0 && (at < p->offset || at >= end)) /* backwards past the start: from the end again, as fio */
		at = end - p->offset >= (uint64_t)-p->sequence_add ? (uint64_t)((int64_t)end + p->sequence_add) : end;
	if (at < p->offset || at >= end || end - at < p->bs_min[dir]) {
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
	(void)dir;
	return true;
}

static bool place(struct job *job, uint32_t dir, uint64_t *offset)
{
	const struct zd_sim_job *p = &job->p;

	if (!p->random)
		return sequential_place(job, dir, offset);
	if (p->sequence > 1 && job->in_sequence[dir] % p->sequence) {
		uint64_t end = p->offset + p->size;

		*offset = p->identical ? job->last_pos[dir] - p->bs_min[dir] : job->last_pos[dir];
		if (*offset < end && end - *offset >= p->bs_min[dir])
			return true;
	}
	return random_place(job, dir, offset);
}

/* ---------------------------------------------------------------- zonemode=zbd */

/* The zone from `zone` on (then before it) within the job's range that has something to read. */
static uint32_t zone_with_data(const struct zd_sim *sim, const struct job *job, uint32_t zone, uint64_t least, bool both_ways)
{
	uint32_t first = zone_of(&sim->d.m, job->p.offset), last = zone_of(&sim->d.m, job->p.offset + job->p.size - 1), z;

	for (z = zone; z <= last; z++) {
		if (zone_conv(&sim->d.m, z) || host_valid(sim, z) >= least)
			return z;
	}
	for (z = zone; both_ways && z-- > first;) {
		if (zone_conv(&sim->d.m, z) || host_valid(sim, z) >= least)
			return z;
	}
	return NONE;
}

static enum next zbd_read(struct zd_sim *sim, struct job *job, uint64_t *offset, uint64_t *length)
{
	const struct machine *m = &sim->d.m;
	uint64_t least = job->p.bs_min[ZD_SIM_READ], rel, valid, range;
	uint32_t zone = zone_of(m, *offset), found;

	if (zone_conv(m, zone))
		return NEXT_COMMAND;
	rel = *offset - zone_start(m, zone);
	if (job->p.read_beyond_wp) /* as it falls; the caller keeps it within the zone */
		return NEXT_COMMAND;
	if (!job->p.random) {
		if (host_valid(sim, zone) < rel + least) {
			if (host_valid(sim, zone) > rel && host_valid(sim, zone) - rel >= m->b.logical_block) {
				*length = host_valid(sim, zone) - rel;
				return NEXT_COMMAND;
			}
			found = zone + 1 < m->b.nr_zones ? zone_with_data(sim, job, zone + 1, m->b.logical_block, false) : NONE;
			if (found == NONE)
				return NEXT_END;
			*offset = zone_start(m, found);
			rel = 0;
			zone = found;
		}
		if (!zone_conv(m, zone) && *length > host_valid(sim, zone) - rel)
			*length = host_valid(sim, zone) - rel;
		return NEXT_COMMAND;
	}
	found = zone_with_data(sim, job, zone, least, true);
	if (found == NONE)
		return NEXT_END;
	if (zone_conv(m, found)) {
		*offset = zone_start(m, found) + rel % zone_length(m, found);
		return NEXT_COMMAND;
	}
	valid = host_valid(sim, found);
	if (*length > valid)
		*length = valid / least * least;
	range = valid - *length;
	if (rel > range || found != zone)
		rel = range ? rel % range / least * least : 0;
	*offset = zone_start(m, found) + rel;
	return NEXT_COMMAND;
}

/* The zone, or the next one in the range that is not full: what is to be read back is not overwritten. */
static bool next_with_room(const struct zd_sim *sim, const struct job *job, uint32_t *zone)
{
	uint32_t first = zone_of(&sim->d.m, job->p.offset), last = zone_of(&sim->d.m, job->p.offset + job->p.size - 1), i, z = *zone;

	for (i = first; i <= last; i++, z = z == last ? first : z + 1) {
		if (zone_conv(&sim->d.m, z) || sim->host_wp[z] >= zone_capacity(&sim->d.m, z))
			continue;
		*zone = z;
		return true;
	}
	return false;
}

static enum next zbd_write(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset, uint64_t length)
{
	const struct machine *m = &sim->d.m;
	uint32_t zone = zone_of(m, offset);
	bool reset = false;
	enum next n;

	if (zone_conv(m, zone)) {
		c->cmd = ZD_CMD_WRITE;
		c->dir = ZD_SIM_WRITE;
		c->flags = 0;
		c->zone = zone;
		c->offset = offset;
		c->length = length;
		return NEXT_COMMAND;
	}
	/* A sequential job that came to a zone's capacity goes on in the next zone. */
	if (!job->p.random && offset - zone_start(m, zone) >= zone_capacity(m, zone) && (!job->p.sequence_add || host_full(sim, job, zone))) {
		if (zone + 1 >= m->b.nr_zones || !in_range(sim, job, zone + 1)) {
			if (!goes_round(job))
				return NEXT_END;
			zone = zone_of(m, job->p.offset);
		} else {
			zone++;
		}
	}
	if (job->p.verify && !next_with_room(sim, job, &zone))
		return NEXT_END;
	n = writable_zone(sim, job, &zone);
	if (n != NEXT_COMMAND)
		return n;
	if (job->p.reset_frequency > 0 && (double)sim->valid_bytes >= (double)job->p.size * job->p.reset_threshold) {
		if (--job->reset_credit == 0) {
			job->reset_credit = (uint32_t)(1 / job->p.reset_frequency);
			reset = sim->host_wp[zone] > 0;
		}
	}
	if (!reset && sim->host_wp[zone] < zone_capacity(m, zone) && host_full(sim, job, zone)) {
		/* Too little is left for the smallest block: fio finishes the zone and goes on in another. */
		c->cmd = ZD_CMD_FINISH;
		c->dir = ZD_SIM_NR_DIRS;
		c->flags = C_HIDDEN | C_SYNC | C_ORDERED | C_COUNTED;
		c->zone = zone;
		c->offset = zone_start(m, zone);
		c->length = 0;
		sim->valid_bytes += zone_capacity(m, zone) - sim->host_wp[zone];
		sim->host_wp[zone] = zone_capacity(m, zone);
		job->last_pos[ZD_SIM_WRITE] = zone_start(m, zone) + zone_length(m, zone);
		return NEXT_COMMAND;
	}
	if (reset || host_full(sim, job, zone)) {
		job->pending = true;
		job->pending_offset = zone_start(m, zone);
		job->pending_length = length;
		job->r.zone_resets++;
		zd_make_reset(sim, c, zone);
		return NEXT_COMMAND;
	}
	zd_make_write(sim, job, c, zone, length);
	return NEXT_COMMAND;
}

static enum next make_trim(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset)
{
	const struct machine *m = &sim->d.m;
	uint32_t last = zone_of(m, job->p.offset + job->p.size - 1), zone = zone_of(m, offset);

	while (zone <= last && (zone_conv(m, zone) || (job->p.random && !sim->host_wp[zone])))
		zone++;
	if (zone > last) {
		if (!job->p.random)
			return NEXT_END;
		for (zone = zone_of(m, job->p.offset); zone <= last && (zone_conv(m, zone) || !sim->host_wp[zone]); zone++)
			;
		if (zone > last)
			return NEXT_END;
	}
	zd_make_reset(sim, c, zone);
	c->dir = ZD_SIM_TRIM;
	c->flags = C_ORDERED | C_COUNTED;
	c->length = zone_length(m, zone);
	return NEXT_COMMAND;
}

/* ---------------------------------------------------------------- one command of a FIO job */

/* When the next command of this direction may go, by the job's rate. */
static uint64_t due(const struct job *job, uint32_t dir)
{
	const struct zd_sim_job *p = &job->p;
	uint64_t at = 0, by;

	if (p->rate[dir])
		at = (uint64_t)((unsigned __int128)job->dir_bytes[dir] * 1000000000u / p->rate[dir]);
	if (p->rate_iops[dir]) {
		by = (uint64_t)((unsigned __int128)job->dir_count[dir] * 1000000000u / p->rate_iops[dir]);
		if (by > at)
			at = by;
	}
	return job->start + at;
}

/* Whether writes are of several sizes, so that what was written does not tell where one ends. */
static bool sizes_vary(const struct zd_sim_job *p)
{
	return p->nr_split[ZD_SIM_WRITE] > 1 || p->bs_min[ZD_SIM_WRITE] != p->bs_max[ZD_SIM_WRITE];
}

static int keep(struct job *job, const struct command *c)
{
	if (job->nr_kept == job->kept_room) {
		uint64_t room = job->kept_room ? 2 * job->kept_room : 256;
		void *more = realloc(job->kept, room * sizeof(*job->kept));

		if (!more)
			return -ENOMEM;
		job->kept = more;
		job->kept_room = room;
	}
	job->kept[job->nr_kept++] = (struct extent_written){ c->offset, c->length };
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct extent_written *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static enum next verify_kept(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct extent_written *e;

	if (!job->kept_at && job->p.random) /* as fio, which sorts what it has written at random */
		qsort(job->kept, job->nr_kept, sizeof(*job->kept), by_place);
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

static enum next verify_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct machine *m = &sim->d.m;
	uint64_t end = job->p.offset + job->p.size, left;
	uint32_t zone;

	if (sizes_vary(&job->p))
		return verify_kept(sim, job, c);
	for (;;) {
		if (job->verify_at >= end)
			return NEXT_END;
		zone = zone_of(m, job->verify_at);
		if (zone_conv(m, zone))
			left = (job->p.random ? end : job->last_pos[ZD_SIM_WRITE]) > job->verify_at ?
				       (job->p.random ? end : job->last_pos[ZD_SIM_WRITE]) - job->verify_at : 0;
		else
			left = zone_start(m, zone) + host_valid(sim, zone) > job->verify_at ?
				       zone_start(m, zone) + host_valid(sim, zone) - job->verify_at : 0;
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

	if (job->verifying)
		return verify_next(sim, job, c);
	if (p->verify && p->zbd && p->writes) { /* fio: zbd_file_reset() */
		uint32_t last = zone_of(m, p->offset + p->size - 1);

		for (; job->clear_at <= last; job->clear_at++) {
			if (zone_conv(m, job->clear_at) || !sim->host_wp[job->clear_at])
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
			return verify_next(sim, job, c);
		}
		return NEXT_END;
	}
	if (job->trim_next) { /* trimwrite: the write that follows its trim */
		if (job->inflight)
			return NEXT_DRAIN;
		job->trim_next = false;
		n = zbd_write(sim, job, c, job->trim_offset, job->trim_length);
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
	dir = p->trimwrite ? (p->random || job->last_pos[ZD_SIM_WRITE] == job->last_pos[ZD_SIM_TRIM] ? ZD_SIM_TRIM : ZD_SIM_WRITE) : p->reads && p->writes ? (rng_below(&job->rng, 100) < p->mix_read ? ZD_SIM_READ : ZD_SIM_WRITE) :
	      p->reads ? ZD_SIM_READ : p->writes ? ZD_SIM_WRITE : ZD_SIM_TRIM;
	/* Nothing to read anywhere yet: a mixed job begins with a write (fio: zbd_adjust_ddir()). */
	if (p->zbd && p->reads && p->writes && dir == ZD_SIM_READ && !sim->valid_bytes && !p->read_beyond_wp &&
	    (!job->dir_count[ZD_SIM_WRITE] || zone_with_data(sim, job, zone_of(m, p->offset), 1, false) == NONE))
		dir = ZD_SIM_WRITE;
	if (p->rate[dir] || p->rate_iops[dir]) {
		uint64_t at = due(job, dir);

		if (at > sim->d.now) {
			job->r.wait_rest += at - sim->d.now;
			job->wake = at;
			return NEXT_WAIT;
		}
	}
	if (!place(job, dir, &offset))
		return no_more(sim, job, c, dir);
	length = block_size(job, dir);
	if (dir == ZD_SIM_TRIM) {
		job->trim_offset = offset;
		job->trim_length = 0;
		n = make_trim(sim, job, c, offset);
		if (p->trimwrite && p->random && n == NEXT_END) { /* nothing to trim there */
			n = zbd_write(sim, job, c, offset, zone_capacity(m, zone_of(m, offset)));
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
		n = zbd_write(sim, job, c, offset, length);
	} else {
		n = p->zbd ? zbd_read(sim, job, &offset, &length) : NEXT_COMMAND;
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

	if (unlikely(job->p.verify) && n == NEXT_COMMAND && c->dir == ZD_SIM_WRITE && sizes_vary(&job->p) && keep(job, c))
		return NEXT_FAILED;
	return n;
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
	for (dir = 0; dir < 3; dir++) {
		job->last_pos[dir] = job->p.offset;
		job->in_sequence[dir] = 0;
	}
	return next_kept(sim, job, c);
}

int zd_fio_init(struct zd_sim *sim, struct job *job, struct zd_error *err)
{
	struct zd_sim_job *p = &job->p;

	(void)sim;
	if (!p->random)
		return 0;
	job->blocks = p->size / job->align;
	if (!job->blocks)
		job->blocks = 1;
	zd_permutation_init(&job->order, job->blocks, rng_next(&job->rng));
	if (!job->io_given && !p->norandommap && p->distribution == ZD_SIM_UNIFORM && p->size >= job->align)
		job->io_size = p->io_size = job->blocks * job->align; /* fio: until each block was drawn once */
	return zd_job_draw(job, job->blocks, err);
}
