/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command costs on a ZNS SSD. Parameters and what they mean are in zoned/sim.h; where their values come
 * from is in the profile. Everything is decided when the command arrives: no events of its own.
 */
#include "drive.h"

#define STRIPE 32768u /* bytes on one die before the next has its turn (NVMeVirt's model of this drive) */

static int init(struct zd_drive *drive, struct zd_error *err)
{
	const struct zd_sim_zns *p = &drive->model.zns;

	if (!(p->write_rate > 0) || !p->unit || !p->dies || p->dies > 65536 || !(p->finish_rate > 0) ||
	    !(p->die_share > 0 && p->die_share <= 1) || p->buffer_bytes < 2 * p->program_bytes || (p->shot_ns && !p->shot_bytes))
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "the ZNS model needs write_rate, finish_rate, unit and dies above 0, die_share in 0..1, and a "
				   "buffer of at least two program units, and a shot size with shot_us");
	drive->zns.die_free = calloc(p->dies, sizeof(*drive->zns.die_free));
	if (!drive->zns.die_free)
		return zd_sim_fail(err, -ENOMEM, "no memory for the model");
	zd_rng_seed(&drive->zns.rng, drive->seed, 0x5A4E53);
	return 0;
}

static void release(struct zd_drive *drive)
{
	free(drive->zns.die_free);
}

static uint64_t controller(struct zd_drive *drive, uint64_t service)
{
	struct zns *z = &drive->zns;
	uint64_t at = drive->now > z->controller_free ? drive->now : z->controller_free;

	z->controller_free = at + rng_below(&z->rng, 2 * service + 1);
	drive->parts[ZD_SIM_CONTROLLER] += service;
	return at;
}

/* From t on, `bytes` want into the buffer: when they are in. */
static uint64_t buffer(struct zd_drive *drive, uint64_t t, uint64_t bytes)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	struct zns *z = &drive->zns;
	double ns_per_byte = 1e9 / p->write_rate, needed, in;

	if (z->drained_at < (double)t)
		z->drained_at = (double)t;
	z->drained_at += (double)bytes * ns_per_byte;
	z->taken += (double)bytes;
	drive->parts[ZD_SIM_FLASH] += (uint64_t)((double)bytes * ns_per_byte);
	if (p->shot_ns) { /* die after die is programmed when the data comes to it */
		for (z->shot += bytes; z->shot >= p->shot_bytes; z->shot -= p->shot_bytes) {
			uint64_t *die = &z->die_free[z->shot_die++ % p->dies], begin = (uint64_t)z->drained_at;

			*die = (*die > begin ? *die : begin) + p->shot_ns;
		}
	}
	/* So much must have been taken by the flash before this fits: whole program units. */
	needed = z->taken - (double)p->buffer_bytes;
	if (needed <= 0)
		return t;
	if (p->program_bytes) {
		double units = needed / (double)p->program_bytes;
		uint64_t whole = (uint64_t)units;

		needed = (double)(whole + ((double)whole < units)) * (double)p->program_bytes;
		if (needed > z->taken)
			needed = z->taken;
	}
	in = z->drained_at - (z->taken - needed) * ns_per_byte;
	if (in <= (double)t)
		return t;
	drive->parts[ZD_SIM_BUFFER_FULL] += (uint64_t)in - t;
	return (uint64_t)in;
}

static uint64_t write_done(struct zd_drive *drive, const struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	bool append = c->cmd == ZD_CMD_APPEND;
	uint64_t units = (c->length + p->unit - 1) / p->unit, at, ns;

	at = controller(drive, append ? p->append_service : p->write_service);
	ns = p->write_base + (append ? p->append_extra : 0) + (c->length > 8192 ? p->list_ns : 0);
	ns += (uint64_t)((double)(units - 1) * (append ? p->append_unit_ns : p->write_unit_ns));
	if (c->first)
		ns += append ? p->first_append_ns : p->first_write_ns;
	return buffer(drive, at + ns, c->length);
}

static uint64_t read_done(struct zd_drive *drive, const struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	struct zns *z = &drive->zns;
	uint64_t at = controller(drive, p->read_service), done = 0, left = c->length, offset = c->offset;

	while (left) {
		uint64_t in = STRIPE - offset % STRIPE, n = left < in ? left : in, ns, start;
		uint64_t *die = &z->die_free[offset / STRIPE % p->dies];

		ns = p->read_base + (uint64_t)(p->read_kib_ns * (double)n / 1024);
		start = at > *die ? at : *die;
		*die = start + (uint64_t)(p->die_share * (double)ns);
		drive->parts[ZD_SIM_DIE] += ns;
		if (start + ns > done)
			done = start + ns;
		left -= n;
		offset += n;
	}
	if (p->read_rate > 0) {
		double from = z->read_free > (double)at ? z->read_free : (double)at;

		z->read_free = from + (double)c->length * 1e9 / p->read_rate;
		if ((uint64_t)z->read_free > done)
			done = (uint64_t)z->read_free;
	}
	return done;
}

static uint64_t manage_ns(const struct zd_drive *drive, const struct command *c)
{
	const struct zd_sim_zns *p = &drive->model.zns;
	uint64_t written = c->before & W_WRITTEN, capacity = zone_capacity(&drive->m, c->zone);
	int cond = (int)(c->before & W_COND);
	double occupancy = (double)written / (double)capacity;

	switch (c->cmd) {
	case ZD_CMD_OPEN: return p->open_ns;
	case ZD_CMD_CLOSE: return p->close_ns;
	case ZD_CMD_FINISH:
		if (cond == ZD_FULL || !written)
			return p->finish_empty;
		return p->finish_base + (uint64_t)((double)(capacity - written) * 1e9 / p->finish_rate);
	default:
		return p->reset_base + (uint64_t)((double)p->reset_full * occupancy) + (written ? p->reset_data : 0) +
		       (c->before & W_FINISHED ? 0 : p->reset_unfinished) +
		       (cond != ZD_FULL && written > drive->m.b.logical_block ? p->reset_open_base : 0);
	}
}

static void submit(struct zd_drive *drive, struct command *c)
{
	uint64_t done;

	switch (c->cmd) {
	case ZD_CMD_READ: done = read_done(drive, c); break;
	case ZD_CMD_WRITE:
	case ZD_CMD_APPEND: done = write_done(drive, c); break;
	case ZD_CMD_FLUSH: done = (uint64_t)(drive->zns.drained_at > (double)drive->now ? drive->zns.drained_at : (double)drive->now); break;
	default:
		done = drive->now + manage_ns(drive, c);
		drive->parts[ZD_SIM_ZONE_COMMAND] += done - drive->now;
	}
	drive_done_at(drive, c, done);
}

const struct drive_ops zd_drive_zns = { .init = init, .release = release, .submit = submit };
