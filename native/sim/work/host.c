/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host knows of the zones: its own write pointers, which run ahead of the drive's by what is being sent, and
 * the list of zones that are being written.
 */
#include "work.h"

void zd_wake_at(struct zd_sim *sim, struct job *job, uint64_t time)
{
	job->wake = time;
	zd_event(&sim->d, time, EV_JOB, job->index);
}

void zd_unpark(struct zd_sim *sim)
{
	uint32_t i;

	for (i = 0; i < sim->nr_jobs && sim->nr_parked; i++) {
		if (!sim->jobs[i]->parked)
			continue;
		sim->jobs[i]->parked = false;
		sim->nr_parked--;
		zd_wake_at(sim, sim->jobs[i], sim->d.now);
	}
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

int zd_open_list_add(struct zd_sim *sim, struct job *job, uint32_t zone)
{
	void *list = zd_grown(sim->open_list, sim->open_used, &sim->open_room, sizeof(*sim->open_list), 128);

	if (!list)
		return -ENOMEM;
	sim->open_list = list;
	sim->open_list[sim->open_used].zone = zone;
	sim->open_list[sim->open_used++].job = job->index;
	sim->host_flags[zone] |= H_OPEN;
	job->open_count++;
	return 0;
}

void zd_make_reset(struct zd_sim *sim, struct command *c, uint32_t zone)
{
	c->cmd = ZD_CMD_RESET;
	c->dir = ZD_SIM_NR_DIRS;
	c->flags = C_HIDDEN | C_SYNC | C_ORDERED | C_COUNTED;
	c->zone = zone;
	c->offset = zone_start(&sim->d.m, zone);
	c->length = 0;
	sim->valid_bytes -= sim->host_wp[zone];
	sim->host_wp[zone] = 0;
	if (sim->nr_parked && sim->host_flags[zone] & H_OPEN)
		zd_unpark(sim);
}

/* A write at the zone's write pointer. */
void zd_make_write(struct zd_sim *sim, struct job *job, struct command *c, uint32_t zone, uint64_t length)
{
	uint64_t room = zone_capacity(&sim->d.m, zone) - sim->host_wp[zone];

	if (length > room)
		length = job->p.write_remainder ? room : room / job->p.bs_min[ZD_SIM_WRITE] * job->p.bs_min[ZD_SIM_WRITE];
	c->cmd = job->p.append ? ZD_CMD_APPEND : ZD_CMD_WRITE;
	c->dir = ZD_SIM_WRITE;
	c->flags = (job->p.append ? C_BEHIND : C_ORDERED) | C_COUNTED;
	c->zone = zone;
	c->offset = zone_start(&sim->d.m, zone) + sim->host_wp[zone];
	c->length = length;
	sim->host_wp[zone] += length;
	sim->valid_bytes += length;
}
