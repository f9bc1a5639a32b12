/* SPDX-License-Identifier: Apache-2.0 */
/* ZONES jobs: reset, finish, open and close against how full zones are. */
#include "work.h"

enum next zd_zones_next(struct zd_sim *sim, struct job *job, struct command *c)
{
	struct machine *m = &sim->d.m;
	const struct zd_sim_job *p = &job->p;
	uint32_t last = zone_of(m, p->offset + p->size - 1), zone;
	struct zd_error why;
	uint64_t fill;
	int r = 0;

	if (job->zones_done == p->zones_count || over(sim, job))
		return NEXT_END;
	for (zone = job->zone_next; zone <= last && zone_conv(m, zone); zone++)
		;
	if (zone > last)
		return NEXT_END;
	if (p->zones_command && job->zones_done) { /* the last one would keep its place among the open zones */
		r = zd_machine_manage(m, ZD_CMD_RESET, job->zone_last, &why);
		sim->host_wp[job->zone_last] = 0;
	}
	job->zone_next = zone + 1;
	job->zone_last = zone;
	job->zones_done++;
	fill = (uint64_t)((double)zone_capacity(m, zone) * p->occupancy) / m->b.physical_block * m->b.physical_block;
	if (!fill && p->occupancy > 0)
		fill = m->b.physical_block;
	if (p->zones_finish && p->occupancy >= 1) /* a block is left, or there would be nothing to finish */
		fill = zone_capacity(m, zone) - m->b.physical_block;
	if (!r && (zone_written(m, zone) || zone_cond(m, zone) != ZD_EMPTY))
		r = zd_machine_manage(m, ZD_CMD_RESET, zone, &why);
	if (!r &&
	    (fill || p->zones_command != 1)) /* as a host that fills it would; a zone that nothing is written to is open then */
		r = fill ? machine_write(m, ZD_CMD_WRITE, zone, 0, fill, &why) : zd_machine_manage(m, ZD_CMD_OPEN, zone, &why);
	if (!r && fill && p->zones_command == 1)
		r = zd_machine_manage(m, ZD_CMD_CLOSE, zone, &why);
	if (!r && p->zones_finished)
		r = zd_machine_manage(m, ZD_CMD_FINISH, zone, &why);
	if (r) {
		zd_end_job(sim, job, r, &why);
		return NEXT_FAILED;
	}
	c->cmd = p->zones_command == 1 ? ZD_CMD_OPEN :
		 p->zones_command      ? ZD_CMD_CLOSE :
		 p->zones_finish       ? ZD_CMD_FINISH :
					 ZD_CMD_RESET;
	c->dir = ZD_SIM_TRIM;
	c->flags = C_ORDERED | C_COUNTED;
	c->zone = zone;
	c->offset = zone_start(m, zone);
	c->length = 0;
	sim->host_wp[zone] = p->zones_command ? fill : p->zones_finish ? zone_capacity(m, zone) : 0;
	job->issued++;
	return NEXT_COMMAND;
}
