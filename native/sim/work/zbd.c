/* SPDX-License-Identifier: Apache-2.0 */
/* fio's zonemode=zbd: where a read, a write or a trim goes that was meant for some place (fio: zbd.c). */
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

/* The zone from `zone` on (then before it) within the job's range that has something to read. */
uint32_t zd_zone_with_data(const struct zd_sim *sim, const struct job *job, uint32_t zone, uint64_t least, bool both_ways)
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

enum next zd_zbd_read(struct zd_sim *sim, struct job *job, uint64_t *offset, uint64_t *length)
{
	const struct machine *m = &sim->d.m;
	uint64_t least = job->p.bs_min[ZD_SIM_READ], rel, valid, range;
	uint32_t zone = zone_of(m, *offset), found;

	if (zone_conv(m, zone))
		return NEXT_COMMAND;
	rel = *offset - zone_start(m, zone);
	if (job->p.read_beyond_wp && zone_cond(m, zone) != ZD_OFFLINE) /* as it falls; the caller keeps it within the zone */
		return NEXT_COMMAND;
	if (!job->p.random) {
		if (host_valid(sim, zone) < rel + least) {
			if (host_valid(sim, zone) > rel && host_valid(sim, zone) - rel >= m->b.logical_block) {
				*length = host_valid(sim, zone) - rel;
				return NEXT_COMMAND;
			}
			found = zone + 1 < m->b.nr_zones ? zd_zone_with_data(sim, job, zone + 1, m->b.logical_block, false) :
							   NONE;
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
	found = zd_zone_with_data(sim, job, zone, least, true);
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

/* From a zone that is dead to the next one in the range that is not; behind the last one, what begins again may go on. */
static bool next_alive(const struct zd_sim *sim, const struct job *job, uint32_t *zone)
{
	uint32_t first = zone_of(&sim->d.m, job->p.offset), last = zone_of(&sim->d.m, job->p.offset + job->p.size - 1), z;

	for (z = *zone; z <= last && host_dead(sim, z); z++)
		;
	if (z > last && (job->p.random || goes_round(job))) {
		for (z = first; z < *zone && host_dead(sim, z); z++)
			;
		z = z < *zone ? z : last + 1;
	}
	*zone = z;
	return z <= last;
}

/* The zone, or the next one in the range that is not full: what is to be read back is not overwritten. */
static bool next_with_room(const struct zd_sim *sim, const struct job *job, uint32_t *zone)
{
	uint32_t first = zone_of(&sim->d.m, job->p.offset), last = zone_of(&sim->d.m, job->p.offset + job->p.size - 1), i,
		 z = *zone;

	for (i = first; i <= last; i++, z = z == last ? first : z + 1) {
		if (zone_conv(&sim->d.m, z) || sim->host_wp[z] >= zone_capacity(&sim->d.m, z) || host_dead(sim, z))
			continue;
		*zone = z;
		return true;
	}
	return false;
}

enum next zd_zbd_write(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset, uint64_t length)
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
	if (!job->p.random && offset - zone_start(m, zone) >= zone_capacity(m, zone) &&
	    (!job->p.sequence_add || host_full(sim, job, zone))) {
		if (zone + 1 >= m->b.nr_zones || !in_range(sim, job, zone + 1)) {
			if (!goes_round(job))
				return NEXT_END;
			zone = zone_of(m, job->p.offset);
		} else {
			zone++;
		}
	}
	if (host_dead(sim, zone) && !next_alive(sim, job, &zone))
		return NEXT_END;
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

enum next zd_make_trim(struct zd_sim *sim, struct job *job, struct command *c, uint64_t offset)
{
	const struct machine *m = &sim->d.m;
	uint32_t last = zone_of(m, job->p.offset + job->p.size - 1), zone = zone_of(m, offset);

	while (zone <= last && (zone_conv(m, zone) || host_dead(sim, zone) || (job->p.random && !sim->host_wp[zone])))
		zone++;
	if (zone > last) {
		if (!job->p.random)
			return NEXT_END;
		for (zone = zone_of(m, job->p.offset);
		     zone <= last && (zone_conv(m, zone) || host_dead(sim, zone) || !sim->host_wp[zone]); zone++)
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
