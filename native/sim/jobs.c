/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which command a job sends next. FIO jobs mean what fio 3.3x means (man fio; zbd.c for zonemode=zbd): what the
 * host knows of the zones - its own write pointers, which run ahead of the drive's by what is being sent, and
 * its list of zones being written - is kept here. LOG, TRACE and ZONES jobs are at the end.
 */
#include "sim.h"

/* ---------------------------------------------------------------- the host's view */

static inline bool host_full(const struct zd_sim *sim, const struct job *job, uint32_t zone)
{
	return zone_capacity(&sim->m, zone) - sim->host_wp[zone] < job->p.bs_min[ZD_SIM_WRITE];
}

/* Bytes at the zone's start that can be read. Data on its way can be where reads behind the write pointer are allowed. */
static inline uint64_t host_valid(const struct zd_sim *sim, uint32_t zone)
{
	uint64_t valid = sim->host_wp[zone], there = zone_written(&sim->m, zone);

	if (!sim->m.unrestricted_read && there < valid && zone_cond(&sim->m, zone) != ZD_FULL)
		return there;
	return valid;
}

static inline bool in_range(const struct zd_sim *sim, const struct job *job, uint32_t zone)
{
	uint64_t start = zone_start(&sim->m, zone);

	return start >= job->p.offset && start < job->p.offset + job->p.size;
}

void zd_open_list_drop(struct zd_sim *sim, uint32_t zone)
{
	uint32_t i;

	for (i = 0; i < sim->open_used && sim->open_list[i].zone != zone; i++)
		;
	if (i == sim->open_used)
		return;
	sim->jobs[sim->open_list[i].job]->open_count--;
	memmove(&sim->open_list[i], &sim->open_list[i + 1], (sim->open_used - i - 1) * sizeof(*sim->open_list));
	sim->open_used--;
	sim->host_flags[zone] &= (uint8_t)~H_OPEN;
	if (sim->nr_parked)
		zd_unpark(sim);
}

static int open_list_add(struct zd_sim *sim, struct job *job, uint32_t zone)
{
	if (sim->open_used == sim->open_room) {
		uint32_t room = sim->open_room ? 2 * sim->open_room : 128;
		void *list = realloc(sim->open_list, room * sizeof(*sim->open_list));

		if (!list)
			return -ENOMEM;
		sim->open_list = list;
		sim->open_room = room;
	}
	sim->open_list[sim->open_used].zone = zone;
	sim->open_list[sim->open_used++].job = job->index;
	sim->host_flags[zone] |= H_OPEN;
	job->open_count++;
	return 0;
}

/*
 * The zone that a write meant for `zone` goes to, under max_open_zones and job_max_open_zones: one that is being
 * written if no further one may be (fio: zbd_convert_to_open_zone()).
 */
static enum next writable_zone(struct zd_sim *sim, struct job *job, uint32_t *zone)
{
	uint32_t all = job->p.max_open_zones ? job->p.max_open_zones : job->p.ignore_zone_limits ? 0 : sim->m.max_open;
	uint32_t own = job->p.job_max_open_zones, i, at;
	bool waiting = false;

	if (!all && !own)
		return NEXT_COMMAND;
	if (sim->host_flags[*zone] & H_OPEN) {
		if (sim->host_wp[*zone] < zone_capacity(&sim->m, *zone))
			return NEXT_COMMAND;
		waiting = true; /* its last write has not reached the drive yet */
	} else if ((!all || sim->open_used < all) && (!own || job->open_count < own)) {
		return open_list_add(sim, job, *zone) ? NEXT_FAILED : NEXT_COMMAND;
	}
	at = (uint32_t)((unsigned __int128)(zone_start(&sim->m, *zone) - job->p.offset) * sim->open_used / job->p.size);
	for (i = 0; i < sim->open_used; i++) {
		uint32_t candidate = sim->open_list[(at + i) % sim->open_used].zone;

		if (!in_range(sim, job, candidate) || (own && sim->open_list[(at + i) % sim->open_used].job != job->index))
			continue;
		if (sim->host_wp[candidate] < zone_capacity(&sim->m, candidate)) {
			*zone = candidate;
			return NEXT_COMMAND;
		}
		waiting = true;
	}
	return waiting ? NEXT_PARK : NEXT_STOPPED;
}

/* ---------------------------------------------------------------- sizes and places */

static int init_draw(struct job *job, uint64_t blocks, struct zd_error *err)
{
	const struct zd_sim_job *p = &job->p;
	int r;

	if (p->distribution == ZD_SIM_ZONED) {
		r = zd_draw_init_ranges(&job->draw, p->ranges, p->nr_ranges, blocks);
		return r ? zd_sim_fail(err, ZD_E_GEOMETRY, "the ranges of random_distribution must each have a block of %llu, and add up to 100",
				       (unsigned long long)blocks) : 0;
	}
	r = zd_draw_init(&job->draw, p->distribution, p->a, p->b, blocks, &job->rng);
	if (r == -ERANGE)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the range has %llu blocks, and a hot part of %g of it leaves none hot or none cold",
				   (unsigned long long)blocks, p->b);
	return r ? zd_sim_fail(err, ZD_E_GEOMETRY, "the parameters of random_distribution are out of range") : 0;
}

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
	uint32_t first = zone_of(&sim->m, job->p.offset), last = zone_of(&sim->m, job->p.offset + job->p.size - 1), z;

	for (z = zone; z <= last; z++) {
		if (zone_conv(&sim->m, z) || host_valid(sim, z) >= least)
			return z;
	}
	for (z = zone; both_ways && z-- > first;) {
		if (zone_conv(&sim->m, z) || host_valid(sim, z) >= least)
			return z;
	}
	return NONE;
}

static enum next zbd_read(struct zd_sim *sim, struct job *job, uint64_t *offset, uint64_t *length)
{
	const struct machine *m = &sim->m;
	uint64_t least = job->p.bs_min[ZD_SIM_READ], rel, valid, range;
	uint32_t zone = zone_of(m, *offset), found;

	if (zone_conv(m, zone))
		return NEXT_COMMAND;
	rel = *offset - zone_start(m, zone);
	if (job->p.read_beyond_wp) /* as it falls; the caller keeps it within the zone */
		return NEXT_COMMAND;
	if (!job->p.random) {
		if (host_valid(sim, zone) < rel + least) {
			if (host_valid(sim, zone) > rel && host_valid(sim, zone) - rel >= m->logical) {
				*length = host_valid(sim, zone) - rel;
				return NEXT_COMMAND;
			}
			found = zone + 1 < m->nr_zones ? zone_with_data(sim, job, zone + 1, m->logical, false) : NONE;
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

static void make_reset(struct zd_sim *sim, struct command *c, uint32_t zone)
{
	c->cmd = ZD_CMD_RESET;
	c->dir = ZD_SIM_NR_DIRS;
	c->flags = C_HIDDEN | C_SYNC | C_ORDERED | C_COUNTED;
	c->zone = zone;
	c->offset = zone_start(&sim->m, zone);
	c->length = 0;
	sim->valid_bytes -= sim->host_wp[zone];
	sim->host_wp[zone] = 0;
	if (sim->nr_parked && sim->host_flags[zone] & H_OPEN)
		zd_unpark(sim);
}

/* A write at the zone's write pointer. */
static void make_write(struct zd_sim *sim, struct job *job, struct command *c, uint32_t zone, uint64_t length)
{
	uint64_t room = zone_capacity(&sim->m, zone) - sim->host_wp[zone];

	if (length > room)
		length = room / job->p.bs_min[ZD_SIM_WRITE] * job->p.bs_min[ZD_SIM_WRITE];
	c->cmd = job->p.append ? ZD_CMD_APPEND : ZD_CMD_WRITE;
	c->dir = ZD_SIM_WRITE;
	c->flags = (job->p.append ? C_BEHIND : C_ORDERED) | C_COUNTED;
	c->zone = zone;
	c->offset = zone_start(&sim->m, zone) + sim->host_wp[zone];
	c->length = length;
	sim->host_wp[zone] += length;
	sim->valid_bytes += length;
}

/* The zone, or the next one in the range that is not full: what is to be read back is not overwritten. */
static bool next_with_room(const struct zd_sim *sim, const struct job *job, uint32_t *zone)
{
	uint32_t first = zone_of(&sim->m, job->p.offset), last = zone_of(&sim->m, job->p.offset + job->p.size - 1), i, z = *zone;

	for (i = first; i <= last; i++, z = z == last ? first : z + 1) {
		if (zone_conv(&sim->m, z) || sim->host_wp[z] >= zone_capacity(&sim->m, z))
			continue;
		*zone = z;
		return true;
	}
	return false;
}

static enum next zbd_write(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset, uint64_t length)
{
	const struct machine *m = &sim->m;
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
		if (zone + 1 >= m->nr_zones || !in_range(sim, job, zone + 1)) {
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
		make_reset(sim, c, zone);
		return NEXT_COMMAND;
	}
	make_write(sim, job, c, zone, length);
	return NEXT_COMMAND;
}

static enum next make_trim(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset)
{
	const struct machine *m = &sim->m;
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
	make_reset(sim, c, zone);
	c->dir = ZD_SIM_TRIM;
	c->flags = C_ORDERED | C_COUNTED;
	c->length = zone_length(m, zone);
	return NEXT_COMMAND;
}

/* ---------------------------------------------------------------- one command of a FIO job */

static void count_issue(struct job *job, const struct command *c, uint32_t dir)
{
	job->issued_bytes += c->length;
	job->issued++;
	job->dir_bytes[dir] += c->length;
	job->dir_count[dir]++;
	job->in_sequence[dir]++;
	job->last_pos[dir] = c->offset + c->length;
	job->since_rest += job->p.thinktime_issue;
}

static bool over(const struct zd_sim *sim, const struct job *job)
{
	const struct zd_sim_job *p = &job->p;

	if (p->number_ios && job->issued >= p->number_ios)
		return true;
	if (p->runtime && sim->now >= job->start + p->runtime)
		return true;
	return !p->time_based && job->issued_bytes >= p->io_size;
}

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

static enum next verify_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct machine *m = &sim->m;
	uint64_t end = job->p.offset + job->p.size, left;
	uint32_t zone;

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
	const struct machine *m = &sim->m;
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
			make_reset(sim, c, job->clear_at++);
			return NEXT_COMMAND;
		}
	}
	if (job->pending) {
		uint32_t zone = zone_of(m, job->pending_offset);

		if (host_full(sim, job, zone)) { /* another job was quicker */
			job->r.zone_resets++;
			make_reset(sim, c, zone);
			return NEXT_COMMAND;
		}
		job->pending = false;
		make_write(sim, job, c, zone, job->pending_length);
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
	if (p->zbd && p->reads && p->writes && dir == ZD_SIM_READ && !sim->valid_bytes && !p->read_beyond_wp)
		dir = ZD_SIM_WRITE;
	if (p->rate[dir] || p->rate_iops[dir]) {
		uint64_t at = due(job, dir);

		if (at > sim->now) {
			job->r.wait_rest += at - sim->now;
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

/* ---------------------------------------------------------------- the log-structured layer on a drive */

#define LOG_COMMAND (1u << 20) /* longest command for cleaning */

static int tell(void *arg, int cmd, uint32_t segment, uint32_t block, uint32_t count)
{
	struct job *job = arg;
	struct zd_sim *sim = job->sim;
	uint32_t zone = job->segment_zone[segment];
	struct log_op *op;

	if (job->untimed) {
		uint64_t rel = (uint64_t)block * job->p.log_block, length = (uint64_t)count * job->p.log_block;
		int r;

		switch (cmd) {
		case ZD_CMD_APPEND:
		case ZD_CMD_WRITE: r = machine_write(&sim->m, ZD_CMD_WRITE, zone, rel, length, &job->r.why); break;
		case ZD_CMD_RESET: r = zd_machine_manage(&sim->m, ZD_CMD_RESET, zone, &job->r.why); break;
		default: r = 0;
		}
		sim->host_wp[zone] = zone_written(&sim->m, zone);
		return r;
	}
	if (cmd == ZD_CMD_WRITE && job->op_used) { /* goes on where the last one ended */
		op = &job->ops[(job->op_first + job->op_used - 1) % job->op_room];
		if (op->cmd == ZD_CMD_WRITE && op->segment == segment && op->block + op->count == block) {
			op->count += count;
			return 0;
		}
	}
	if (job->op_used == job->op_room) {
		uint32_t room = job->op_room ? 2 * job->op_room : 256, i;
		struct log_op *ops = malloc(room * sizeof(*ops));

		if (!ops)
			return -ENOMEM;
		for (i = 0; i < job->op_used; i++)
			ops[i] = job->ops[(job->op_first + i) % job->op_room];
		free(job->ops);
		job->ops = ops;
		job->op_first = 0;
		job->op_room = room;
	}
	op = &job->ops[(job->op_first + job->op_used++) % job->op_room];
	op->cmd = (uint8_t)cmd;
	op->segment = segment;
	op->block = block;
	op->count = count;
	return 0;
}

/* The next thing that the layer wants done. */
static enum next log_op_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	struct log_op *op = &job->ops[job->op_first];
	uint32_t zone = job->segment_zone[op->segment], most = (uint32_t)(LOG_COMMAND / job->p.log_block), n;

	if (op->cmd == ZD_CMD_RESET) {
		if (job->inflight)
			return NEXT_DRAIN; /* what was valid there must lie elsewhere first */
		make_reset(sim, c, zone);
		job->r.zone_resets++;
		n = op->count;
	} else {
		n = op->count < (most ? most : 1) ? op->count : (most ? most : 1);
		c->cmd = op->cmd == ZD_CMD_READ ? ZD_CMD_READ : job->p.append ? ZD_CMD_APPEND : ZD_CMD_WRITE;
		c->dir = op->cmd == ZD_CMD_APPEND ? ZD_SIM_WRITE : ZD_SIM_NR_DIRS;
		c->flags = c->cmd == ZD_CMD_READ ? 0 : (c->cmd == ZD_CMD_WRITE ? C_ORDERED : C_BEHIND) | C_COUNTED;
		c->zone = zone;
		c->offset = zone_start(&sim->m, zone) + (uint64_t)op->block * job->p.log_block;
		c->length = (uint64_t)n * job->p.log_block;
		if (c->cmd != ZD_CMD_READ) {
			sim->host_wp[zone] += c->length;
			sim->valid_bytes += c->length;
		}
		if (c->dir == ZD_SIM_WRITE) {
			c->sent = job->log_sent;
			count_issue(job, c, ZD_SIM_WRITE);
		}
		op->block += n;
		op->count -= n;
		n = op->count;
	}
	if (!n) {
		job->op_first = (job->op_first + 1) % job->op_room;
		job->op_used--;
	}
	return NEXT_COMMAND;
}

static void log_counts(struct job *job)
{
	struct zd_log_counts counts;

	zd_log_counts(job->log, &counts);
	job->r.log_user = counts.user;
	job->r.log_moved = counts.moved;
	job->r.log_segments = counts.cleaned;
}

static enum next log_write(struct zd_sim *sim, struct job *job, const uint64_t *block)
{
	uint64_t done;
	int r = zd_log_write(job->log, 1, block, &done);

	job->log_sent = sim->now;
	log_counts(job);
	if (r) {
		zd_sim_fail(&job->r.why, r, "the log-structured layer has no segment to clean");
		job->r.error = r;
		return NEXT_FAILED;
	}
	return NEXT_COMMAND;
}

static enum next log_read(struct zd_sim *sim, struct job *job, struct command *c, uint64_t block)
{
	uint32_t place = zd_log_where(job->log, block);
	uint32_t zone = job->segment_zone[place / job->segment_blocks];

	c->cmd = ZD_CMD_READ;
	c->dir = ZD_SIM_READ;
	c->flags = 0;
	c->zone = zone;
	c->offset = zone_start(&sim->m, zone) + place % job->segment_blocks * job->p.log_block;
	c->length = job->p.log_block;
	count_issue(job, c, ZD_SIM_READ);
	return NEXT_COMMAND;
}

static enum next log_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	enum next n;

	if (!job->op_used) {
		if (over(sim, job))
			return NEXT_END;
		if (job->p.reads && rng_below(&job->rng, 100) < job->p.mix_read)
			return log_read(sim, job, c, zd_draw(&job->draw, &job->rng));
		n = log_write(sim, job, NULL);
		if (n != NEXT_COMMAND)
			return n;
	}
	return log_op_next(sim, job, c);
}

/* Segments are the sequential zones that lie wholly in the job's range. Fills and warms the volume up. */
static int log_init(struct zd_sim *sim, struct job *job, struct zd_error *err)
{
	struct zd_sim_job *p = &job->p;
	struct zd_log_config config = { 0 };
	uint32_t zone, n = 0, last = zone_of(&sim->m, p->offset + p->size - 1);
	uint64_t done;
	int r;

	if (!p->log_block || p->log_block % sim->m.physical || p->log_block > sim->m.capacity)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the log's block must be a multiple of the physical block and fit a zone");
	if (!(p->log_spare > 0 && p->log_spare < 1))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the log's spare part must lie between 0 and 1");
	job->segment_zone = malloc((last + 1ull) * sizeof(*job->segment_zone));
	if (!job->segment_zone)
		return zd_sim_fail(err, -ENOMEM, "no memory for a log");
	for (zone = zone_of(&sim->m, p->offset); zone <= last; zone++) {
		if (zone_conv(&sim->m, zone) || zone_start(&sim->m, zone) < p->offset ||
		    zone_start(&sim->m, zone) + zone_length(&sim->m, zone) > p->offset + p->size ||
		    zone_capacity(&sim->m, zone) != sim->m.capacity)
			continue;
		if (sim->host_wp[zone])
			return zd_sim_fail(err, ZD_E_GEOMETRY, "zone %u is not empty, and a log needs its zones empty", zone);
		job->segment_zone[n++] = zone;
	}
	job->segment_blocks = sim->m.capacity / p->log_block;
	job->sim = sim;
	job->untimed = true;
	config.nr_segments = n;
	config.segment_blocks = (uint32_t)job->segment_blocks;
	config.nr_blocks = (uint64_t)((double)n * (double)job->segment_blocks * (1 - p->log_spare));
	config.policy = p->log_policy;
	config.separate = p->log_separate;
	config.distribution = p->distribution;
	config.a = p->a;
	config.b = p->b;
	config.seed = rng_next(&job->rng);
	job->log_blocks = config.nr_blocks;
	if (job->segment_blocks * p->log_block != sim->m.capacity)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the zone capacity, %llu bytes, is no multiple of the log's block, %llu",
				   (unsigned long long)sim->m.capacity, (unsigned long long)p->log_block);
	r = zd_log_create_told(&config, &job->log, err, tell, job);
	if (r)
		return r;
	r = zd_log_write(job->log, p->log_warm, NULL, &done);
	if (r)
		return zd_sim_fail(err, r, "the log could not be warmed up: %s", job->r.why.text);
	zd_log_count_from_here(job->log);
	job->untimed = false;
	return init_draw(job, config.nr_blocks, err);
}

/* ---------------------------------------------------------------- traces */

static enum next trace_part(struct zd_sim *sim, struct job *job, struct command *c)
{
	uint64_t block = job->part_block % job->log_blocks;
	enum next n;

	job->part_block++;
	job->part_left--;
	if (job->part_dir == ZD_SIM_READ)
		return log_read(sim, job, c, block);
	n = log_write(sim, job, &block);
	return n == NEXT_COMMAND ? log_op_next(sim, job, c) : n;
}

static enum next trace_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	const struct zd_sim_job *p = &job->p;
	const struct machine *m = &sim->m;
	struct zd_sim_record *r;
	uint64_t length, in_zone;

	if (job->op_used)
		return log_op_next(sim, job, c);
	if (job->part_left)
		return trace_part(sim, job, c);
	for (;;) {
		if (over(sim, job))
			return NEXT_END;
		if (!job->rec_used)
			return job->trace_last ? NEXT_END : NEXT_TRACE;
		r = &job->records[job->rec_first];
		if (job->start + r->time > sim->now) {
			job->wake = job->start + r->time;
			job->r.wait_rest += job->wake - sim->now;
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
	c->offset = p->offset + r->offset / m->logical * m->logical % p->size;
	c->zone = zone_of(m, c->offset);
	if (r->length > p->size) /* once over the whole range is all that the disk can make of it */
		r->length = p->size;
	length = (r->length + m->logical - 1) / m->logical * m->logical;
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

/* ---------------------------------------------------------------- reset and finish against occupancy */

static enum next zones_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	struct machine *m = &sim->m;
	const struct zd_sim_job *p = &job->p;
	uint32_t last = zone_of(m, p->offset + p->size - 1), zone;
	uint64_t fill;
	int r = 0;

	if (job->zones_done == p->zones_count || over(sim, job))
		return NEXT_END;
	for (zone = job->zone_next; zone <= last && zone_conv(m, zone); zone++)
		;
	if (zone > last)
		return NEXT_END;
	if (p->zones_command && job->zones_done) { /* the last one would keep its place among the open zones */
		r = zd_machine_manage(m, ZD_CMD_RESET, job->zone_last, &job->r.why);
		sim->host_wp[job->zone_last] = 0;
	}
	job->zone_next = zone + 1;
	job->zone_last = zone;
	job->zones_done++;
	fill = (uint64_t)((double)zone_capacity(m, zone) * p->occupancy) / m->physical * m->physical;
	if (!fill && p->occupancy > 0)
		fill = m->physical;
	if (p->zones_finish && p->occupancy >= 1) /* a block is left, or there would be nothing to finish */
		fill = zone_capacity(m, zone) - m->physical;
	if (!r && (zone_written(m, zone) || zone_cond(m, zone) != ZD_EMPTY))
		r = zd_machine_manage(m, ZD_CMD_RESET, zone, &job->r.why);
	if (!r && (fill || p->zones_command != 1)) /* as a host that fills it would; a zone that nothing is written to is open then */
		r = fill ? machine_write(m, ZD_CMD_WRITE, zone, 0, fill, &job->r.why) : zd_machine_manage(m, ZD_CMD_OPEN, zone, &job->r.why);
	if (!r && fill && p->zones_command == 1)
		r = zd_machine_manage(m, ZD_CMD_CLOSE, zone, &job->r.why);
	if (!r && p->zones_finished)
		r = zd_machine_manage(m, ZD_CMD_FINISH, zone, &job->r.why);
	if (r) {
		job->r.error = r;
		return NEXT_FAILED;
	}
	c->cmd = p->zones_command == 1 ? ZD_CMD_OPEN : p->zones_command ? ZD_CMD_CLOSE : p->zones_finish ? ZD_CMD_FINISH : ZD_CMD_RESET;
	c->dir = ZD_SIM_TRIM;
	c->flags = C_ORDERED | C_COUNTED;
	c->zone = zone;
	c->offset = zone_start(m, zone);
	c->length = 0;
	sim->host_wp[zone] = p->zones_command ? fill : p->zones_finish ? zone_capacity(m, zone) : 0;
	job->issued++;
	return NEXT_COMMAND;
}

/* A job with loops begins anew when it came to its end, once nothing is under way. */
static enum next fio_loop(struct zd_sim *sim, struct job *job, struct command *c)
{
	enum next n = fio_next(sim, job, c);
	uint32_t dir;

	if (n != NEXT_END || job->loops_left <= 1 || (job->p.runtime && sim->now >= job->start + job->p.runtime))
		return n;
	if (job->inflight)
		return NEXT_DRAIN;
	job->loops_left--;
	job->issued = job->issued_bytes = 0;
	job->verifying = false;
	job->clear_at = zone_of(&sim->m, job->p.offset);
	job->p.io_size = job->io_size;
	job->p.time_based = job->time_based;
	for (dir = 0; dir < 3; dir++) {
		job->last_pos[dir] = job->p.offset;
		job->in_sequence[dir] = 0;
	}
	return fio_next(sim, job, c);
}

enum next zd_job_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	switch (job->p.kind) {
	case ZD_SIM_JOB_LOG: return log_next(sim, job, c);
	case ZD_SIM_JOB_TRACE: return trace_next(sim, job, c);
	case ZD_SIM_JOB_ZONES: return zones_next(sim, job, c);
	default: return fio_loop(sim, job, c);
	}
}

/* ---------------------------------------------------------------- making one */

static int check(const struct zd_sim *sim, const struct zd_sim_job *p, struct zd_error *err)
{
	uint32_t dir, i, sum;

	if (p->kind > ZD_SIM_JOB_ZONES || !p->iodepth || p->iodepth > 65536)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "iodepth is %u: it must be 1 to 65536", p->iodepth);
	if (p->offset >= sim->m.size || !p->size || p->size > sim->m.size - p->offset)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "offset %llu and size %llu pass the end of the disk, which has %llu bytes",
				   (unsigned long long)p->offset, (unsigned long long)p->size, (unsigned long long)sim->m.size);
	if (p->kind == ZD_SIM_JOB_FIO && !p->reads && !p->writes && !p->trims)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "the job neither reads nor writes nor trims");
	for (dir = 0; dir < 3 && p->kind == ZD_SIM_JOB_FIO; dir++) {
		if (!(dir == 0 ? p->reads : dir == 1 ? p->writes : p->trims))
			continue;
		if (p->nr_split[dir] > ZD_SIM_MAX_SPLIT)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "more than %d block sizes", ZD_SIM_MAX_SPLIT);
		for (i = sum = 0; i < p->nr_split[dir]; i++) {
			sum += p->split[dir][i].percent;
			if (!p->split[dir][i].bytes || p->split[dir][i].bytes % sim->m.logical)
				return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is no multiple of the logical block, %u",
						   (unsigned long long)p->split[dir][i].bytes, sim->m.logical);
		}
		if (p->nr_split[dir] && sum != 100)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "the shares of the block sizes add up to %u, not to 100", sum);
		if (!p->bs_min[dir] || p->bs_max[dir] < p->bs_min[dir] || p->bs_min[dir] % sim->m.logical)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is no multiple of the logical block, %u",
					   (unsigned long long)p->bs_min[dir], sim->m.logical);
		if (p->bs_min[dir] > p->size)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is larger than the range of %llu bytes",
					   (unsigned long long)p->bs_min[dir], (unsigned long long)p->size);
		if (dir == ZD_SIM_TRIM)
			continue; /* always a whole zone */
		if (p->bs_max[dir] > sim->m.capacity)
			return zd_sim_fail(err, ZD_E_GEOMETRY, "a block size of %llu is larger than a zone's capacity, %llu",
					   (unsigned long long)p->bs_max[dir], (unsigned long long)sim->m.capacity);
	}
	for (i = zone_of(&sim->m, p->offset); p->kind == ZD_SIM_JOB_FIO && p->zbd && p->writes && i <= zone_of(&sim->m, p->offset + p->size - 1); i++) {
		if (!zone_conv(&sim->m, i) && zone_capacity(&sim->m, i) < p->bs_min[ZD_SIM_WRITE])
			return zd_sim_fail(err, ZD_E_GEOMETRY, "zone %u has room for %llu bytes, less than the block size of %llu: leave it out of the range",
					   i, (unsigned long long)zone_capacity(&sim->m, i), (unsigned long long)p->bs_min[ZD_SIM_WRITE]);
	}
	if ((p->kind == ZD_SIM_JOB_LOG || (p->kind == ZD_SIM_JOB_TRACE && p->log_block)) && p->log_policy > ZD_SIM_COST_BENEFIT)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "a job's log cleans by FIFO, greedy or cost-benefit, not by policy %u", p->log_policy);
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

int zd_job_init(struct zd_sim *sim, struct job *job, uint32_t index, struct zd_error *err)
{
	struct zd_sim_job *p = &job->p;
	uint32_t dir;
	int r = check(sim, p, err);

	if (r)
		return r;
	if (p->wait_for > index)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "it waits for job %u and is itself number %u: only for earlier ones", p->wait_for - 1, index);
	job->index = index;
	job->io_given = p->io_size;
	if (!p->io_size)
		p->io_size = p->kind == ZD_SIM_JOB_FIO ? p->size : UINT64_MAX;
	if (p->trimwrite && !p->random && p->io_size <= UINT64_MAX / 2)
		p->io_size *= 2; /* both count */
	zd_rng_seed(&job->rng, p->seed ? p->seed : sim->seed, p->seed ? 0 : index + 1ull);
	job->loops_left = p->loops;
	job->io_size = p->io_size;
	job->time_based = p->time_based;
	job->clear_at = zone_of(&sim->m, p->offset);
	job->wake = NEVER;
	job->cpu = 0;
	job->reset_credit = p->reset_frequency > 0 ? (uint32_t)(1 / p->reset_frequency) : 0;
	job->align = p->reads && p->writes ? (p->bs_min[0] < p->bs_min[1] ? p->bs_min[0] : p->bs_min[1]) :
		     p->reads ? p->bs_min[0] : p->writes ? p->bs_min[1] : sim->m.zone_size;
	if (p->trims && !p->writes)
		job->align = sim->m.zone_size;
	for (dir = 0; dir < 3; dir++)
		job->last_pos[dir] = p->offset;
	job->zone_next = zone_of(&sim->m, p->offset);
	if (p->kind == ZD_SIM_JOB_FIO && p->random) {
		job->blocks = p->size / job->align;
		if (!job->blocks)
			job->blocks = 1;
		zd_permutation_init(&job->order, job->blocks, rng_next(&job->rng));
		if (!job->io_given && !p->norandommap && p->distribution == ZD_SIM_UNIFORM && p->size >= job->align)
			job->io_size = p->io_size = job->blocks * job->align; /* fio: until each block was drawn once */
		r = init_draw(job, job->blocks, err);
		if (r)
			return r;
	}
	if (p->kind == ZD_SIM_JOB_LOG || (p->kind == ZD_SIM_JOB_TRACE && p->log_block))
		return log_init(sim, job, err);
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
	free(job->ops);
	free(job->segment_zone);
	free(job->records);
	free(job);
}
