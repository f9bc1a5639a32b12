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

int zd_sim_attach(zd_sim *sim, zd_dev *dev, void *buf, uint64_t length, struct zd_error *err)
{
	struct zd_zone zone;
	uint32_t i;
	int64_t n;

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
		n = zd_zone_written(dev, i, err);
		if (n < 0)
			return (int)n;
		if (zone.type != ZD_CONVENTIONAL) {
			sim->d.m.word[i] = (uint64_t)n | zone.cond;
			sim->host_wp[i] = zone.cond == ZD_FULL ? zone.capacity : (uint64_t)n;
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
	struct zd_zone zone;

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
	if (c->cmd != ZD_CMD_READ && !zone_conv(&sim->d.m, c->zone)) {
		/* The words follow the disk; who is open is the disk's business. */
		if (c->cmd == ZD_CMD_WRITE || c->cmd == ZD_CMD_APPEND) {
			uint64_t written = zone_written(&sim->d.m, c->zone) + c->length;

			sim->d.m.word[c->zone] = written | (written == zone_capacity(&sim->d.m, c->zone) ? ZD_FULL : ZD_CLOSED);
		} else if (zd_report(sim->dev, c->zone, 1, &zone, NULL) == 1) {
			sim->d.m.word[c->zone] = (zone.cond == ZD_EMPTY ? 0 : zone_written(&sim->d.m, c->zone)) | zone.cond;
		}
	}
	return 0;
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
