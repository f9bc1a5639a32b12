/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared runtime area: whose it is, where its parts lie in the mapping, and room on the host for what is touched.
 */
#include "device/area/area.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- identity */

static int boot_id(uint8_t id[16])
{
	char text[64];
	ssize_t n;
	int i, digits = 0, fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(id, 0, 16);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text));
	close(fd);
	for (i = 0; i < n && digits < 32; i++) {
		int c = text[i];
		int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (v < 0)
			continue;
		id[digits / 2] |= (uint8_t)(digits % 2 ? v : v << 4);
		digits++;
	}
	return digits == 32 ? 0 : -1;
}

int zd_runtime_tag(const zd_dev *dev, int fd, struct zd_rt_tag *tag)
{
	const uint32_t sizes[] = { 8 /* grows with the meaning of fields */,
				   sizeof(pthread_mutex_t),
				   sizeof(struct zd_rt_head),
				   sizeof(struct zd_faults),
				   sizeof(struct zd_trace_rt),
				   sizeof(struct zd_zone_rt),
				   sizeof(struct zd_slot_rt),
				   sizeof(struct zd_pre),
				   sizeof(struct zd_stripe),
				   ZD_STRIPES,
				   ZD_CHUNK,
				   (uint32_t)dev->g.rt_size };
	struct statx sx;

	memset(tag, 0, sizeof(*tag));
	memcpy(tag->magic, "ZDSHARED", 8);
	tag->abi = zd_crc32c(0, sizes, sizeof(sizes));
	if (boot_id(tag->boot))
		return 1; /* no /proc: never believe what is found */
	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx))
		return -errno;
	tag->device = (uint64_t)sx.stx_dev_major << 32 | sx.stx_dev_minor;
	tag->inode = sx.stx_ino;
	if (sx.stx_mask & STATX_BTIME) {
		tag->birth_sec = sx.stx_btime.tv_sec;
		tag->birth_nsec = sx.stx_btime.tv_nsec;
	}
	memcpy(tag->uuid, dev->g.h.uuid, sizeof(tag->uuid));
	return 0;
}

void zd_runtime_bind(zd_dev *dev, uint8_t *rt)
{
	const struct zd_geometry *g = &dev->g;

	dev->rt = rt;
	dev->head = (struct zd_rt_head *)rt;
	dev->stripes = (struct zd_stripe *)(rt + g->rt_stripes);
	dev->chunks = (_Atomic uint8_t *)(rt + g->rt_chunks);
	dev->dirty = (_Atomic uint64_t *)(rt + g->rt_dirty);
	dev->implicit = (uint64_t *)(rt + g->rt_implicit);
	dev->faults = (struct zd_faults *)(rt + g->rt_faults);
	dev->trace = (struct zd_trace_rt *)(rt + g->rt_trace);
	dev->zones = (struct zd_zone_rt *)(rt + g->rt_zones);
	dev->slots = (struct zd_slot_rt *)(rt + g->rt_slots);
	dev->pre = g->keeps_pre ? (struct zd_pre *)(rt + g->rt_pre) : NULL;
}

/* ---------------------------------------------------------------- room on the host */

/* Room for the entries of the zones in that chunk, so that a flush does not find the host full. */
static int reserve_entries(zd_dev *dev, uint32_t chunk)
{
	uint64_t zones = ZD_CHUNK / sizeof(struct zd_zone_rt), first = chunk * zones;
	uint64_t from = first * sizeof(struct zd_entry), length = zones * sizeof(struct zd_entry);
	uint64_t table = dev->g.h.table_b - ZD_TABLE;
	int r;

	if (from >= table)
		return 0; /* a chunk of slots */
	if (length > table - from)
		length = table - from;
	r = zd_host_reserve(dev->fd, ZD_TABLE + from, length);
	return r ? r : zd_host_reserve(dev->fd, dev->g.h.table_b + from, length);
}

int zd_reserve_chunk(zd_dev *dev, uint32_t chunk)
{
	uint64_t at = dev->g.h.runtime_offset + dev->g.rt_zones + (uint64_t)chunk * ZD_CHUNK;
	int r;

	if (zd_chunk_there(dev, chunk))
		return 0;
	if (dev->own_rt) { /* a reader's private memory */
		atomic_store_explicit(&dev->chunks[chunk], 1, memory_order_release);
		return 0;
	}
	/* Before the first touch, so that a full host is an errno here and no SIGBUS later. */
	r = zd_host_reserve(dev->fd, at, ZD_CHUNK);
	if (!r && !dev->in_ram)
		r = reserve_entries(dev, chunk);
	if (!r)
		atomic_store_explicit(&dev->chunks[chunk], 1, memory_order_release);
	return r;
}

int zd_runtime_file_length(zd_dev *dev, uint64_t *size, struct zd_error *err)
{
	struct stat st;

	if (fstat(dev->fd, &st))
		return zd_fail_host(err, errno, "cannot stat the image");
	*size = (uint64_t)st.st_size;
	if (*size < dev->g.h.data_offset)
		return zd_fail(err, ZD_E_TRUNCATED, "the image ends at byte %llu, but its metadata goes on to byte %llu",
			       (unsigned long long)*size, (unsigned long long)dev->g.h.data_offset);
	return 0;
}

bool zd_runtime_same(const zd_dev *dev, const uint8_t *rt)
{
	struct zd_rt_tag tag;

	return zd_runtime_tag(dev, dev->fd, &tag) == 0 && memcmp(&tag, &((const struct zd_rt_head *)rt)->tag, sizeof(tag)) == 0;
}
