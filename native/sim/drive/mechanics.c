/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hard disk's mechanics: where data lies, and how long the head takes to get there and to pass it. For hdd.c and dm.c;
 * zoned/sim.h tells the parameters.
 */
#include "drive.h"

#include <math.h>

#define STREAM_REACH (32u << 20) /* commands under way of one stream lie closer together than this */

struct place {
	uint64_t track, cylinder;
	uint32_t track_bytes, zone;
	uint64_t in_track;
};

static inline struct place place_of(const struct zd_drive *drive, uint64_t offset)
{
	const struct hdd *h = &drive->hdd;
	struct place p;
	uint64_t rel, turns;

	p.zone = zone_of(&drive->m, offset);
	rel = offset - zone_start(&drive->m, p.zone);
	p.track_bytes = h->track_bytes[p.zone];
	turns = rel / p.track_bytes;
	p.in_track = rel - turns * p.track_bytes;
	p.track = h->first_track[p.zone] + turns;
	p.cylinder = p.track / drive->model.hdd.heads;
	return p;
}

static inline uint32_t angle_of(const struct hdd *h, const struct place *p)
{
	return (uint32_t)((p->in_track << 32) / p->track_bytes) + (uint32_t)p->track * h->skew;
}

static inline uint64_t seek_ns(const struct zd_drive *drive, uint64_t distance)
{
	double d;

	if (distance == 0)
		return 0;
	d = (double)(distance - 1);
	return drive->model.hdd.seek_one + (uint64_t)(drive->hdd.seek_a * d + drive->hdd.seek_b * sqrt(d));
}

/* Whether a stream pays when it passes into this zone. One that writes has paid when it filled the zone before. */
static inline bool passes(const struct zd_drive *drive, uint32_t zone, bool write)
{
	return !write || zone_conv(&drive->m, zone);
}

/* When the head stands over `offset`, if it leaves at t and each seek takes `margin` longer. */
static uint64_t position(const struct zd_drive *drive, uint64_t t, uint64_t offset, bool write, uint64_t margin, uint64_t *seek,
			 uint64_t *distance)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	const struct hdd *h = &drive->hdd;
	struct place to = place_of(drive, offset);
	uint32_t angle, wait;

	*seek = *distance = 0;
	if (offset == h->head_offset && t == h->free_at) { /* it passes on without a pause */
		if (to.in_track == 0)
			*seek = p->head_switch + (to.zone != h->zone && passes(drive, to.zone, write) ? p->zone_switch : 0);
		return t + *seek;
	}
	if (to.track != h->track) {
		*distance = to.cylinder > h->cylinder ? to.cylinder - h->cylinder : h->cylinder - to.cylinder;
		*seek = seek_ns(drive, *distance);
		if (*seek < p->head_switch)
			*seek = p->head_switch;
		*seek += margin;
		if (write && *distance)
			*seek += p->write_settle;
		/* A stream that goes on in the next zone pays for that, whichever of its commands is first there. */
		if (to.zone == h->zone + 1 && offset >= h->head_offset && offset - h->head_offset < STREAM_REACH &&
		    passes(drive, to.zone, write))
			*seek += p->zone_switch;
	}
	t += *seek;
	angle = (uint32_t)((t % h->turn << 32) / h->turn);
	wait = angle_of(h, &to) - angle;
	return t + ((uint64_t)wait * h->turn >> 32);
}

/* The same as the drive expects it when it puts its queue in order: on the safe side, for who comes too late waits
 * for a whole turn. */
uint64_t zd_hdd_expected(const struct zd_drive *drive, uint64_t t, uint64_t offset, bool write)
{
	uint64_t seek, distance;

	return position(drive, t, offset, write, drive->model.hdd.seek_margin, &seek, &distance);
}

/* From `offset` on, once the head is there. Within one zone. */
static uint64_t transfer_ns(const struct zd_drive *drive, const struct place *from, uint64_t length, uint64_t *switches)
{
	const struct hdd *h = &drive->hdd;
	uint64_t crossings = (from->in_track + length - 1) / from->track_bytes;

	*switches = crossings * drive->model.hdd.head_switch;
	return length * h->turn / from->track_bytes + *switches;
}

uint64_t zd_hdd_pass(struct zd_drive *drive, uint64_t t, uint64_t offset, uint64_t length, bool write)
{
	struct hdd *h = &drive->hdd;
	uint64_t seek, distance, at = position(drive, t, offset, write, 0, &seek, &distance);

	if (offset == h->head_offset && t == h->free_at) {
		drive->parts[ZD_SIM_SWITCH] += seek;
	} else {
		drive->parts[ZD_SIM_SEEK] += seek;
		drive->parts[ZD_SIM_ROTATE] += at - t - seek;
		drive->seeks[distance ? 64 - __builtin_clzll(distance) : 0]++;
		drive->moved++;
	}
	while (length) {
		struct place from = place_of(drive, offset);
		uint64_t in_zone = zone_start(&drive->m, from.zone) + zone_length(&drive->m, from.zone) - offset;
		uint64_t n = length < in_zone ? length : in_zone, switches, ns = transfer_ns(drive, &from, n, &switches);

		at += ns;
		drive->parts[ZD_SIM_MEDIA] += ns - switches;
		drive->parts[ZD_SIM_SWITCH] += switches;
		offset += n;
		length -= n;
		if (write) {
			drive->media_bytes += n;
			/* A zone that is full is put down as such, wherever the stream goes on. */
			if (!zone_conv(&drive->m, from.zone) &&
			    offset == zone_start(&drive->m, from.zone) + zone_capacity(&drive->m, from.zone)) {
				at += drive->model.hdd.zone_switch;
				drive->parts[ZD_SIM_SWITCH] += drive->model.hdd.zone_switch;
			}
		}
		if (length) {
			at += drive->model.hdd.head_switch + drive->model.hdd.zone_switch;
			drive->parts[ZD_SIM_SWITCH] += drive->model.hdd.head_switch + drive->model.hdd.zone_switch;
		} else {
			struct place last = place_of(drive, offset - 1);

			h->track = last.track;
			h->cylinder = last.cylinder;
			h->zone = last.zone;
		}
	}
	h->head_offset = offset;
	h->free_at = at;
	return at;
}

static int bad(const struct zd_sim_hdd *p, struct zd_error *err)
{
	if (p->rpm < 1000 || p->rpm > 30000)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.rpm is %u: it must be 1000 to 30000", p->rpm);
	if (!p->heads || p->heads > 1024)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.heads is %u: it must be 1 to 1024", p->heads);
	if (!(p->rate_inner > 1e6) || !(p->rate_outer >= p->rate_inner) || !(p->rate_outer < 1e10))
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "hdd rates must be 1 MB/s to 10 GB/s, the inner one not above the outer");
	if (!(p->interface_rate > 0) || !(p->fill_rate > 0))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.interface and hdd.fill rates must be above 0");
	if (p->seek_one > p->seek_avg || p->seek_avg > p->seek_full)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "hdd seek times must not fall from one cylinder to average to full stroke");
	if (p->cache_bytes && (!p->cache_entries || p->cache_entries > 4096))
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.cache_entries is %u: with a write cache it must be 1 to 4096",
				   p->cache_entries);
	if (!p->queue || p->queue > 1024 || p->piece < 4096)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "hdd.queue must be 1 to 1024 and hdd.piece at least 4096 bytes");
	return 0;
}

int zd_hdd_init(struct zd_drive *drive, struct zd_error *err)
{
	const struct zd_sim_hdd *p = &drive->model.hdd;
	struct hdd *h = &drive->hdd;
	uint32_t zone, n = drive->m.b.nr_zones;
	uint64_t tracks = 0;
	double one = (double)p->seek_one, avg = (double)p->seek_avg, full = (double)p->seek_full, cylinders;
	int r = bad(p, err);

	if (r)
		return r;
	h->turn = 60000000000ull / p->rpm;
	h->track_bytes = malloc(n * sizeof(*h->track_bytes));
	h->first_track = malloc(n * sizeof(*h->first_track));
	h->zone_extent = calloc(n, sizeof(*h->zone_extent));
	h->extents = calloc(p->cache_entries ? p->cache_entries : 1, sizeof(*h->extents));
	if (!h->track_bytes || !h->first_track || !h->zone_extent || !h->extents)
		return zd_sim_fail(err, -ENOMEM, "no memory for the model");
	for (zone = 0; zone < n; zone++) {
		double at = n > 1 ? (double)zone / (double)(n - 1) : 0,
		       rate = p->rate_outer + (p->rate_inner - p->rate_outer) * at;
		uint64_t bytes = (uint64_t)(rate * (double)(h->turn + p->head_switch) / 1e9);

		h->track_bytes[zone] = bytes < 4096 ? 4096 : (uint32_t)(bytes & ~511ull);
		h->first_track[zone] = tracks;
		tracks += (zone_length(&drive->m, zone) + h->track_bytes[zone] - 1) / h->track_bytes[zone];
	}
	h->cylinders = tracks / p->heads + 1;
	cylinders = (double)h->cylinders;
	/* DiskSim's three points: one cylinder, the average over all pairs of places, all cylinders. */
	h->seek_b = (-10 * one + 15 * avg - 5 * full) / (3 * sqrt(cylinders));
	h->seek_a = (7 * one - 15 * avg + 8 * full) / (3 * cylinders);
	h->skew = (uint32_t)(((p->head_switch % h->turn) << 32) / h->turn);
	return 0;
}

void zd_hdd_release(struct zd_drive *drive)
{
	free(drive->hdd.track_bytes);
	free(drive->hdd.first_track);
	free(drive->hdd.zone_extent);
	free(drive->hdd.extents);
}
