/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recordings with data: what stands at their beginning, which is what the disk holds then. It is read from a fork of a
 * snapshot, so while commands wait for the recorder they wait for nothing else.
 */
#include "device/whole/whole.h"

#include <stdlib.h>

/*
 * The disk as the recording begins with it: a snapshot behind which no command stands yet, with nothing in it that a power cut
 * could take. Else -EAGAIN.
 */
static int hold_base(struct zd_recorder *rec, const struct zd_trace_record *rows, uint32_t n, zd_snapshot **out,
		     struct zd_error *err)
{
	struct zd_trace_rt *trace = rec->dev->trace;
	int64_t unflushed;
	uint32_t i;
	int r = zd_snapshot_take(rec->dev, out, err);

	if (r)
		return r;
	unflushed = zd_snapshot_unflushed(*out, NULL, 0, err);
	for (i = 0; i < n && unflushed == 0; i++)
		unflushed = rows[i].done > rows[i].length && zd_zone_type(rec->dev, rows[i].zone) != ZD_CONVENTIONAL;
	if (atomic_load(&trace->head) != rec->first)
		unflushed = 1;
	if (unflushed == 0)
		return 0;
	zd_snapshot_free(*out);
	*out = NULL;
	return unflushed < 0 ? (int)unflushed : zd_fail_host(err, EAGAIN, "the disk is given commands while it is looked at");
}

/* The room is needed again. */
static int put_now(struct zd_recorder *rec, uint64_t at, const struct iovec part[2])
{
	int r = zd_record_data(rec, 0, at, part);

	return r ? r : zd_record_write_out(rec);
}

static int put_held(struct zd_recorder *rec, zd_dev *fork, uint64_t from, uint64_t to, uint8_t *room)
{
	int r = 0;

	for (; !r && from < to; from += ZD_TRACE_PIECE) {
		uint64_t n = to - from < ZD_TRACE_PIECE ? to - from : ZD_TRACE_PIECE;
		struct iovec part[2] = { { room, n }, { NULL, 0 } };
		int64_t got = zd_pread(fork, room, n, from, NULL);

		if (got < 0)
			return got <= ZD_E_FIRST_RULE ? 0 : (int)got; /* a zone that cannot be read holds nothing */
		if (room[0] || memcmp(room, room + 1, n - 1))
			r = put_now(rec, from, part);
	}
	return r;
}

/* As if all extensions, zone after zone, lay behind the disk's end. */
static int put_extension(struct zd_recorder *rec, zd_dev *fork, uint32_t zone, uint8_t *room)
{
	uint64_t n = fork->g.h.zone_extension;
	struct iovec part[2] = { { room, n }, { NULL, 0 } };
	int has = zd_zone_extension(fork, zone, room, NULL);

	return has > 0 ? put_now(rec, fork->g.h.size + zone * n, part) : has;
}

static int put_base(struct zd_recorder *rec, zd_snapshot *base, const struct zd_trace_record *rows, uint32_t n)
{
	uint8_t *room = malloc(ZD_TRACE_PIECE);
	zd_dev *fork = NULL, *dev = rec->dev;
	int r = room ? zd_fork(base, NULL, &fork, NULL) : -ENOMEM;
	uint32_t i = 0, z;

	for (z = 0; !r && z < dev->g.h.nr_zones; z++) {
		uint64_t start = zd_zone_start(dev, z), written = 0;
		const struct zd_zone_rt *rt = zd_zone_peek(dev, z);

		for (; i < n && rows[i].zone <= z; i++)
			written = rows[i].zone == z ? rows[i].done : written;
		if (zd_zone_type(dev, z) == ZD_CONVENTIONAL)
			written = dev->view || (rt && atomic_load(&rt->slot)) ? zd_zone_length(dev, z) : 0;
		else if (written > zd_zone_length(dev, z))
			written = zd_zone_length(dev, z);
		r = put_held(rec, fork, start, start + written, room);
		if (!r && dev->g.h.zone_extension)
			r = put_extension(rec, fork, z, room);
	}
	if (fork)
		zd_close(fork, NULL);
	free(room);
	return r;
}

int zd_trace_start_data(zd_dev *dev, int fd, struct zd_error *err)
{
	static const struct zd_record_base base = { hold_base, put_base, zd_snapshot_free };
	int r = zd_trace_enter(dev, err);

	if (!r && dev->g.h.data != ZD_STORE)
		r = zd_fail_host(err, EOPNOTSUPP, "the disk keeps no data, so there is none to record");
	if (!r)
		r = zd_flush(dev, err);
	return r ? r : zd_record_start(dev, fd, &base, err);
}
