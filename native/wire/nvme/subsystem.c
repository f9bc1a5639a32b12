/* SPDX-License-Identifier: Apache-2.0 */
/* Subsystems, their namespaces and controllers. */
#include "wire/nvme/nvme.h"

#include "base/base.h"

#include <stdlib.h>

#define LAST_ID 0xFFEF /* of a controller: those above have meanings of their own */

static bool name_ends(const char *name, size_t room)
{
	return memchr(name, 0, room) != NULL;
}

int zd_nvme_subsystem_new(const struct zd_nvme_names *names, zd_nvme_subsystem **out, struct zd_error *err)
{
	zd_nvme_subsystem *subsystem;

	*out = NULL;
	if (names && !(name_ends(names->nqn, sizeof(names->nqn)) && name_ends(names->serial, sizeof(names->serial)) &&
		       name_ends(names->model, sizeof(names->model)) && name_ends(names->firmware, sizeof(names->firmware))))
		return zd_fail(err, -EINVAL, "a name of an NVM subsystem does not end with a NUL");
	subsystem = calloc(1, sizeof(*subsystem));
	if (!subsystem)
		return zd_fail_host(err, ENOMEM, "making an NVM subsystem");
	if (names)
		subsystem->names = *names;
	if (!subsystem->names.model[0])
		strcpy(subsystem->names.model, "ZONED ZNS DRIVE");
	if (!subsystem->names.firmware[0])
		strcpy(subsystem->names.firmware, "0001");
	if (!subsystem->names.max_depth)
		subsystem->names.max_depth = 128;
	subsystem->append_limit = ZD_NVME_MAX_TRANSFER;
	pthread_mutex_init(&subsystem->lock, NULL);
	*out = subsystem;
	return 0;
}

/* ---------------------------------------------------------------- namespaces */

/* What NVMe has no way to tell is refused, with what would be right. */
static int fits(const struct zd_info *info, const struct zd_range *ranges, int part, struct zd_error *err)
{
	uint32_t front = info->nr_conv_zones;

	if (info->dialect != ZD_ZNS)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"an NVMe drive keeps the rules of zns, and this image was made for %s: create it with dialect zns",
			zd_dialect_name(info->dialect));
	if (info->nr_conv_ranges > 1 || (front && ranges[0].first))
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"conventional zones are a namespace of their own, so they must lie at the disk's front: zone %u does "
			"not; create it with zones 0 to %u conventional",
			ranges[info->nr_conv_ranges - 1].first, front - 1);
	if (info->size % info->zone_size)
		return zd_fail(err, ZD_E_GEOMETRY,
			       "all zones of a namespace are of one size, and the last one is smaller: create the disk with a "
			       "size that is a multiple of %llu bytes",
			       (unsigned long long)info->zone_size);
	if (part == ZD_NVME_CONVENTIONAL ? !front : front == info->nr_zones)
		return zd_fail(err, ZD_E_GEOMETRY, "the disk has no %s zone",
			       part == ZD_NVME_CONVENTIONAL ? "conventional" : "sequential");
	if (part == ZD_NVME_SEQUENTIAL && info->append_limit && info->append_limit < PAGE)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"ZASL tells no append limit below %d bytes: create the disk with an append_limit of at least that",
			PAGE);
	return 0;
}

static uint64_t power_of_two_below(uint64_t limit)
{
	return 1ull << (63 - __builtin_clzll(limit));
}

static int fill(struct zd_nvme_namespace *ns, zd_dev *dev, int part, struct zd_error *err)
{
	struct zd_range range[2] = { { 0, 0 } };
	struct zd_news news;
	int r;

	ns->info.struct_size = sizeof(ns->info);
	r = zd_info(dev, &ns->info, err);
	if (!r)
		r = zd_news(dev, &news, err);
	if (r)
		return r;
	zd_conv_ranges(dev, range, 2);
	r = fits(&ns->info, range, part, err);
	if (r)
		return r;
	ns->dev = dev;
	ns->csi = part == ZD_NVME_CONVENTIONAL ? CSI_NVM : CSI_ZNS;
	ns->block = ns->info.logical_block;
	ns->shift = (uint32_t)__builtin_ctz(ns->block);
	ns->first = part == ZD_NVME_CONVENTIONAL ? 0 : ns->info.nr_conv_zones;
	ns->nr_zones = part == ZD_NVME_CONVENTIONAL ? ns->info.nr_conv_zones : ns->info.nr_zones - ns->first;
	ns->base = ns->first * ns->info.zone_size;
	ns->zone_blocks = ns->info.zone_size >> ns->shift;
	ns->blocks = ns->nr_zones * ns->zone_blocks;
	ns->zone_capacity = (ns->info.zone_capacity ? ns->info.zone_capacity : ns->info.zone_size) >> ns->shift;
	ns->write_protected = ns->info.readonly;
	/* Two namespaces of a disk are two. */
	memcpy(ns->uuid, ns->info.uuid, sizeof(ns->uuid));
	if (part == ZD_NVME_CONVENTIONAL)
		ns->uuid[15] ^= 1;
	atomic_init(&ns->powered, news.powered);
	atomic_init(&ns->conditioned, news.conditioned);
	atomic_init(&ns->gone_back, news.gone_back);
	ns->dead = calloc(ns->nr_zones, 1);
	return ns->dead ? 0 : zd_fail_host(err, ENOMEM, "making a namespace");
}

/* Zones that are dead already are no news. */
static int look_at_zones(struct zd_nvme_namespace *ns, struct zd_error *err)
{
	struct zd_zone zones[64];
	uint32_t zone = 0, dead = 0;

	while (zone < ns->nr_zones) {
		uint32_t left = ns->nr_zones - zone;
		int64_t n = zd_report(ns->dev, ns->first + zone, left < 64 ? left : 64, zones, err);

		if (n <= 0)
			return (int)n;
		for (int64_t i = 0; i < n; i++, zone++) {
			uint8_t cond = zones[i].cond;

			ns->dead[zone] = cond == ZD_READ_ONLY || cond == ZD_OFFLINE ? cond : 0;
			dead += ns->dead[zone] != 0;
		}
	}
	atomic_init(&ns->nr_dead, dead);
	return 0;
}

int zd_nvme_namespace_add(zd_nvme_subsystem *subsystem, uint32_t nsid, zd_dev *dev, int part, struct zd_error *err)
{
	static const char digits[] = "0123456789abcdef";
	struct zd_nvme_namespace *ns;
	int r;

	if (!nsid || nsid > ZD_NVME_MAX_NAMESPACES)
		return zd_fail(err, -EINVAL, "a namespace has a number from 1 to %d, not %u", ZD_NVME_MAX_NAMESPACES, nsid);
	if (part != ZD_NVME_SEQUENTIAL && part != ZD_NVME_CONVENTIONAL)
		return zd_fail(err, -EINVAL, "a namespace has the sequential zones (0) or the conventional ones (1), not %d",
			       part);
	if (subsystem->controllers)
		return zd_fail(err, -EBUSY, "a namespace can be added only before the first controller is there");
	if (subsystem->namespaces[nsid])
		return zd_fail(err, -EEXIST, "namespace %u is taken", nsid);
	ns = calloc(1, sizeof(*ns));
	if (!ns)
		return zd_fail_host(err, ENOMEM, "making a namespace");
	r = fill(ns, dev, part, err);
	if (!r)
		r = look_at_zones(ns, err);
	if (r) {
		free(ns->dead);
		free(ns);
		return r;
	}
	ns->nsid = nsid;
	if (ns->csi == CSI_ZNS && ns->info.append_limit && ns->info.append_limit < subsystem->append_limit)
		subsystem->append_limit = power_of_two_below(ns->info.append_limit);
	if (!subsystem->names.serial[0])
		for (int i = 0; i < 20; i++)
			subsystem->names.serial[i] = digits[ns->info.uuid[i / 2] >> (i % 2 ? 0 : 4) & 15];
	subsystem->namespaces[nsid] = ns;
	return 0;
}

void zd_nvme_subsystem_free(zd_nvme_subsystem *subsystem)
{
	if (!subsystem)
		return;
	for (uint32_t i = 0; i <= ZD_NVME_MAX_NAMESPACES; i++) {
		if (!subsystem->namespaces[i])
			continue;
		free(subsystem->namespaces[i]->dead);
		free(subsystem->namespaces[i]);
	}
	pthread_mutex_destroy(&subsystem->lock);
	free(subsystem);
}

/* ---------------------------------------------------------------- controllers */

static void free_controller(zd_nvme_controller *controller)
{
	for (uint32_t i = 0; i <= ZD_NVME_MAX_NAMESPACES; i++)
		free(controller->changed[i]);
	pthread_mutex_destroy(&controller->lock);
	free(controller);
}

/* Under the subsystem's lock. */
static bool is_free(const zd_nvme_subsystem *subsystem, uint32_t id)
{
	const zd_nvme_controller *it;

	for (it = subsystem->controllers; it && it->id != id; it = it->next)
		;
	return !it;
}

/* An identifier that no other controller has; 0: there is none. Under the subsystem's lock. */
static uint16_t free_id(zd_nvme_subsystem *subsystem)
{
	for (uint32_t tries = 0; tries < LAST_ID; tries++) {
		subsystem->last_id = subsystem->last_id % LAST_ID + 1;
		if (is_free(subsystem, subsystem->last_id))
			return (uint16_t)subsystem->last_id;
	}
	return 0;
}

int zd_nvme_controller_open(zd_nvme_subsystem *subsystem, const uint8_t *host_id, uint32_t keep_alive, zd_nvme_controller **out,
			    struct zd_error *err)
{
	return zd_nvme_controller_open_as(subsystem, 0, host_id, keep_alive, out, err);
}

int zd_nvme_controller_open_as(zd_nvme_subsystem *subsystem, uint16_t id, const uint8_t *host_id, uint32_t keep_alive,
			       zd_nvme_controller **out, struct zd_error *err)
{
	zd_nvme_controller *controller = calloc(1, sizeof(*controller));
	bool whole = controller != NULL;

	*out = NULL;
	if (!controller)
		return zd_fail_host(err, ENOMEM, "making an NVMe controller");
	controller->subsystem = subsystem;
	controller->last_waiting = &controller->waiting;
	if (host_id)
		memcpy(controller->host_id, host_id, sizeof(controller->host_id));
	pthread_mutex_init(&controller->lock, NULL);
	zd_nvme_features_as_at_first(controller);
	atomic_store(&controller->keep_alive, keep_alive);
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES && whole; i++) {
		if (!subsystem->namespaces[i] || subsystem->namespaces[i]->csi != CSI_ZNS)
			continue;
		controller->changed[i] = calloc(1, sizeof(*controller->changed[i]));
		whole = controller->changed[i] != NULL;
	}
	if (!whole) {
		free_controller(controller);
		return zd_fail_host(err, ENOMEM, "making an NVMe controller");
	}
	pthread_mutex_lock(&subsystem->lock);
	controller->id = !id ? free_id(subsystem) : is_free(subsystem, id) ? id : 0;
	if (controller->id) {
		controller->next = subsystem->controllers;
		subsystem->controllers = controller;
	}
	pthread_mutex_unlock(&subsystem->lock);
	if (!controller->id && id) {
		free_controller(controller);
		return zd_fail(err, -EEXIST, "the subsystem has a controller %u", id);
	}
	if (!controller->id) {
		free_controller(controller);
		return zd_fail(err, -EBUSY, "the subsystem has %d controllers, and no identifier for another one", LAST_ID);
	}
	*out = controller;
	return 0;
}

uint16_t zd_nvme_controller_id(const zd_nvme_controller *controller)
{
	return controller->id;
}

uint32_t zd_nvme_keep_alive(zd_nvme_controller *controller)
{
	return atomic_load(&controller->keep_alive);
}

void zd_nvme_controller_reset(zd_nvme_controller *controller)
{
	for (uint32_t i = 0; i < ZD_NVME_MAX_QUEUES; i++)
		zd_nvme_abort_all(controller, i);
	pthread_mutex_lock(&controller->lock);
	controller->untold = (struct zd_nvme_news){ 0 };
	controller->nr_errors = controller->remembered = 0;
	memset(controller->namespace_changed, 0, sizeof(controller->namespace_changed));
	for (uint32_t i = 0; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (controller->changed[i])
			memset(controller->changed[i], 0, sizeof(*controller->changed[i]));
	zd_nvme_features_as_at_first(controller);
	pthread_mutex_unlock(&controller->lock);
}

void zd_nvme_controller_close(zd_nvme_controller *controller)
{
	zd_nvme_controller **at;

	if (!controller)
		return;
	pthread_mutex_lock(&controller->subsystem->lock);
	for (at = &controller->subsystem->controllers; *at != controller; at = &(*at)->next)
		;
	*at = controller->next;
	pthread_mutex_unlock(&controller->subsystem->lock);
	free_controller(controller);
}
