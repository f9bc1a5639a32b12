/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same jobs against a zd_dev, in real time: what is measured is the emulator. Commands are made one at a time,
 * in the caller's thread; a job's depth is the order in which its commands are sent, not concurrency.
 */
#include "sim.h"

#include <time.h>

uint64_t zd_real_now(const struct zd_sim *sim)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - sim->real_start;
}

/* A sequential zone's word becomes what the disk says of it. */
static int learn(struct zd_sim *sim, uint32_t index, struct zd_error *err)
{
	struct zd_zone zone;
	int64_t n;

	if (zone_conv(&sim->d.m, index))
		return 0;
	n = zd_report(sim->dev, index, 1, &zone, err);
	if (n < 0)
		return (int)n;
	n = zd_zone_written(sim->dev, index, err);
	if (n < 0)
		return (int)n;
	zd_machine_set(&sim->d.m, index, (uint64_t)n, zone.cond);
	return 0;
}

void zd_real_look(struct zd_sim *sim)
{
	uint32_t i;

	for (i = 0; i < sim->d.m.b.nr_zones; i++)
		learn(sim, i, NULL);
}

void zd_real_resources(const struct zd_sim *sim, struct zd_resources *out)
{
	struct zd_info info = { .struct_size = sizeof(info) };

	memset(out, 0, sizeof(*out));
	if (zd_info(sim->dev, &info, NULL))
		return;
	out->nr_implicit = info.nr_implicit_open;
	out->nr_explicit = info.nr_explicit_open;
	out->nr_closed = info.nr_closed;
}

int zd_sim_attach(zd_sim *sim, zd_dev *dev, void *buf, uint64_t length, struct zd_error *err)
{
	struct zd_zone zone;
	uint32_t i;
	int64_t n;
	int r;

	if (sim->d.model.kind != ZD_SIM_REAL)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "only the model REAL works on a disk");
	sim->dev = dev;
	sim->buf = buf;
	sim->buf_length = length;
	for (i = 0; i < sim->d.m.b.nr_zones; i++) {
		n = zd_report(dev, i, 1, &zone, err);
		if (n != 1)
			return n < 0 ? (int)n :
				       zd_sim_fail(err, ZD_E_GEOMETRY, "the disk has fewer zones than its description");
		if ((zone.type == ZD_CONVENTIONAL) != zone_conv(&sim->d.m, i) || zone.start != zone_start(&sim->d.m, i) ||
		    zone.capacity != zone_capacity(&sim->d.m, i))
			return zd_sim_fail(err, ZD_E_GEOMETRY, "zone %u of the disk is not as described", i);
		r = learn(sim, i, err);
		if (r)
			return r;
		if (zone.type != ZD_CONVENTIONAL) {
			/* Nothing can be read of a zone that is offline, and nothing written to it: work.h's host_dead(). */
			sim->host_wp[i] = zone.cond == ZD_FULL    ? zone.capacity :
					  zone.cond == ZD_OFFLINE ? 0 :
								    zone_written(&sim->d.m, i);
			sim->valid_bytes += sim->host_wp[i];
		}
	}
	sim->real_start = 0;
	sim->real_start = zd_real_now(sim);
	return 0;
}

int zd_real_submit(struct zd_sim *sim, struct command *c, struct zd_error *err)
{
	int64_t r;
	uint64_t landed;

	if (c->length > sim->buf_length && c->cmd <= ZD_CMD_APPEND)
		return zd_sim_fail(err, -EINVAL, "a command of %llu bytes is longer than the buffer",
				   (unsigned long long)c->length);
	switch (c->cmd) {
	case ZD_CMD_READ: r = zd_pread(sim->dev, sim->buf, c->length, c->offset, err); break;
	case ZD_CMD_WRITE: r = zd_pwrite(sim->dev, sim->buf, c->length, c->offset, err); break;
	case ZD_CMD_APPEND: r = zd_append(sim->dev, c->zone, sim->buf, c->length, &landed, err); break;
	default: r = zd_zone_mgmt(sim->dev, c->cmd, c->zone, 1, err);
	}
	if (r < 0)
		return (int)r;
	if (c->cmd == ZD_CMD_READ || zone_conv(&sim->d.m, c->zone))
		return 0;
	if (c->cmd == ZD_CMD_APPEND)
		c->offset = landed;
	/* The words follow the disk by its own rules. Where they come out otherwise, others use it, too: then it is asked. */
	if (c->cmd == ZD_CMD_WRITE || c->cmd == ZD_CMD_APPEND)
		r = machine_write(&sim->d.m, c->cmd, c->zone, c->offset - zone_start(&sim->d.m, c->zone), c->length, NULL);
	else
		r = zd_machine_manage(&sim->d.m, c->cmd, c->zone, NULL);
	return r ? learn(sim, c->zone, err) : 0;
}

int zd_real_flush(struct zd_sim *sim, struct zd_error *err)
{
	return zd_flush(sim->dev, err);
}

uint64_t zd_sim_bare_device(zd_dev *dev, uint64_t offset, uint64_t bytes, uint64_t n, const void *buf)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		if (zd_pwrite(dev, buf, bytes, offset, NULL) < 0)
			break;
		offset += bytes;
	}
	return i;
}
