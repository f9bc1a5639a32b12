/* SPDX-License-Identifier: Apache-2.0 */
/* The disk as a whole: identity, space, users, counters. No lock is taken. */
#include "device/disk/disk.h"

#include <sys/stat.h>

int zd_others_write(zd_dev *dev, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	return r ? r : zd_door_others(dev, !dev->readonly);
}

int zd_info(zd_dev *dev, struct zd_info *given, struct zd_error *err)
{
	const struct zd_header *h = &dev->g.h;
	struct zd_info info, *out = &info;
	const struct zd_rt_head *head;
	struct zd_resources now;
	struct stat st;
	int r = zd_enter(dev, err);

	if (!r)
		r = zd_struct_room(given, offsetof(struct zd_info, zrwa_size), "zd_info", err);
	if (r)
		return r;
	if (fstat(dev->fd, &st))
		return zd_fail_host(err, errno, "cannot stat the image");
	head = dev->head;
	memset(out, 0, sizeof(*out));
	out->size = h->size;
	out->zone_size = h->zone_size;
	out->zone_capacity = h->zone_capacity;
	out->append_limit = h->append_limit;
	out->seed = h->seed;
	out->slot_size = h->slot_size;
	out->slot_cache = h->slot_cache;
	out->logical_block = h->logical_block;
	out->physical_block = h->physical_block;
	out->max_open = h->max_open;
	out->max_active = h->max_active;
	out->nr_zones = h->nr_zones;
	out->nr_conv_zones = dev->g.nr_conv_zones;
	out->nr_conv_ranges = h->nr_conv;
	out->dialect = h->dialect;
	out->model = h->model;
	out->implicit_close = h->implicit_close;
	out->unrestricted_read = h->unrestricted_read;
	out->data = h->data;
	out->host_sync = h->host_sync;
	out->pace = h->pace;
	out->zone_extension = h->zone_extension;
	out->zrwa_size = h->zrwa_size;
	out->zrwa_granularity = h->zrwa_granularity;
	out->zrwa_count = h->zrwa_count;
	out->zrwa_used = zd_zrwas_used(dev);
	out->readonly = dev->readonly;
	out->in_ram = dev->in_ram;
	out->clean = dev->in_ram || head->was_clean;
	out->failed = (atomic_load(&head->gate) & ZD_GATE_FAILED) != 0;
	out->cow_host = dev->cow;
	out->version = h->version;
	out->features = h->features;
	memcpy(out->uuid, h->uuid, sizeof(out->uuid));
	out->created = h->created;
	memcpy(out->profile, h->profile, sizeof(out->profile));
	zd_resources_now(head, &now);
	out->nr_implicit_open = now.nr_implicit;
	out->nr_explicit_open = now.nr_explicit;
	out->nr_closed = now.nr_closed;
	out->slots_total = head->nr_slots;
	out->slots_free = head->nr_free;
	out->slots_pending = head->nr_pending;
	out->slots_used = head->nr_slots - head->nr_free - head->nr_pending - head->nr_pre;
	out->table_offset = ZD_TABLE;
	out->runtime_offset = h->runtime_offset;
	out->data_offset = h->data_offset;
	out->file_size = (uint64_t)st.st_size;
	zd_struct_out(given, out, sizeof(*out));
	return 0;
}

int zd_conv_ranges(zd_dev *dev, struct zd_range *out, uint32_t max)
{
	uint32_t i;

	for (i = 0; i < dev->g.h.nr_conv && i < max; i++) {
		out[i].first = dev->g.h.conv[i].first;
		out[i].count = dev->g.h.conv[i].count;
	}
	return (int)dev->g.h.nr_conv;
}

static void zone_counters(const zd_dev *dev, uint32_t zone, struct zd_zone_counters *c)
{
	const struct zd_zone_rt *rt = zd_zone_peek(dev, zone);

	memset(c, 0, sizeof(*c));
	if (!rt)
		return;
#define TAKE(name) c->name = rt->name;
	ZD_EACH_COUNTER(TAKE)
#undef TAKE
}

int zd_counters(zd_dev *dev, struct zd_counters *given, struct zd_error *err)
{
	struct zd_counters counters, *out = &counters;
	struct zd_zone_counters *sum = &out->zones;
	uint32_t z, i;
	int r = zd_enter(dev, err);

	if (!r)
		r = zd_struct_room(given, sizeof(*given), "zd_counters", err);
	if (r)
		return r;
	memset(out, 0, sizeof(*out));
	for (z = 0; z < dev->g.h.nr_zones; z++) {
		struct zd_zone_counters c;

		if (!zd_zone_peek(dev, z))
			continue;
		zone_counters(dev, z, &c);
#define ADD(name) sum->name += c.name;
		ZD_EACH_COUNTER(ADD)
#undef ADD
	}
	sum->errors = 0; /* those that concern no zone count too */
	out->flushes = atomic_load_explicit(&dev->head->flushes, memory_order_relaxed);
	for (i = 0; i < ZD_NR_RULES; i++) {
		out->errors_by_rule[i] = atomic_load_explicit(&dev->head->errors_by_rule[i], memory_order_relaxed);
		sum->errors += out->errors_by_rule[i];
	}
	out->max_open_seen = dev->head->max_open_seen;
	out->max_active_seen = dev->head->max_active_seen;
	zd_struct_out(given, out, sizeof(*out));
	return 0;
}

int64_t zd_zone_counters(zd_dev *dev, uint32_t start, uint32_t count, struct zd_zone_counters *out, struct zd_error *err)
{
	uint32_t i;
	int r = zd_enter(dev, err);

	if (!r)
		r = zd_clip_zones(dev, start, &count, err);
	if (r)
		return r;
	for (i = 0; i < count; i++)
		zone_counters(dev, start + i, &out[i]);
	return count;
}

int zd_news(zd_dev *dev, struct zd_news *out, struct zd_error *err)
{
	int r = zd_enter(dev, err);

	if (r)
		return r;
	out->powered = atomic_load_explicit(&dev->head->powered, memory_order_acquire);
	out->conditioned = atomic_load_explicit(&dev->head->conditioned, memory_order_acquire);
	out->gone_back = atomic_load_explicit(&dev->head->gone_back, memory_order_acquire);
	return 0;
}

int zd_fd(zd_dev *dev)
{
	return dev->fd;
}
