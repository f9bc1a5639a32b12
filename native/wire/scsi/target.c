/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, their units and nexuses, and what a unit has to tell each nexus before it does anything for it. */
#include "wire/scsi/scsi.h"

#include "base/base.h"

#include <stdlib.h>

static bool name_ends(const char *name, size_t room)
{
	return memchr(name, 0, room) != NULL;
}

int zd_scsi_target_new(const struct zd_scsi_port *port, zd_scsi_target **out, struct zd_error *err)
{
	zd_scsi_target *target;

	*out = NULL;
	if (port && !name_ends(port->name, sizeof(port->name)))
		return zd_fail(err, -EINVAL, "the name of a SCSI port ends with a NUL within %d bytes", ZD_SCSI_MAX_NAME);
	target = calloc(1, sizeof(*target));
	if (!target)
		return zd_fail_host(err, ENOMEM, "making a SCSI target");
	if (port)
		target->port = *port;
	if (!target->port.relative)
		target->port.relative = 1;
	pthread_mutex_init(&target->lock, NULL);
	*out = target;
	return 0;
}

/* What the caller does not name. The serial number is the disk's uuid, so that hosts know it again wherever it is attached. */
static void name(struct zd_scsi_lu *unit, const struct zd_scsi_names *names)
{
	static const char digits[] = "0123456789abcdef";

	if (names)
		unit->names = *names;
	if (!unit->names.vendor[0])
		strcpy(unit->names.vendor, "ZONED");
	if (!unit->names.product[0])
		strcpy(unit->names.product, unit->info.model == ZD_HOST_AWARE ? "HOST-AWARE SMR" : "HOST-MANAGED SMR");
	if (!unit->names.revision[0])
		strcpy(unit->names.revision, "0001");
	if (!unit->names.serial[0])
		for (int i = 0; i < 32; i++)
			unit->names.serial[i] = digits[unit->info.uuid[i / 2] >> (i % 2 ? 0 : 4) & 15];
}

int zd_scsi_target_add(zd_scsi_target *target, uint32_t lun, zd_dev *dev, const struct zd_scsi_names *names,
		       struct zd_error *err)
{
	struct zd_scsi_lu *unit;
	struct zd_news news;
	int r;

	if (lun >= ZD_SCSI_MAX_LUNS)
		return zd_fail(err, -EINVAL, "LUN %u is beyond the last one, %d", lun, ZD_SCSI_MAX_LUNS - 1);
	if (names && !(name_ends(names->vendor, sizeof(names->vendor)) && name_ends(names->product, sizeof(names->product)) &&
		       name_ends(names->revision, sizeof(names->revision)) && name_ends(names->serial, sizeof(names->serial))))
		return zd_fail(err, -EINVAL, "a name of a logical unit does not end with a NUL");
	if (target->nexuses)
		return zd_fail(err, -EBUSY, "a logical unit can be added only before the first initiator is there");
	if (target->units[lun])
		return zd_fail(err, -EEXIST, "LUN %u is taken", lun);
	unit = calloc(1, sizeof(*unit));
	if (!unit)
		return zd_fail_host(err, ENOMEM, "making a logical unit");
	unit->info.struct_size = sizeof(unit->info);
	r = zd_info(dev, &unit->info, err);
	if (!r)
		r = zd_news(dev, &news, err);
	if (!r && unit->info.dialect != ZD_ZBC)
		r = zd_fail(err, ZD_E_GEOMETRY,
			    "a SCSI disk keeps the rules of zbc, and this image was made for %s: create it with dialect zbc",
			    zd_dialect_name(unit->info.dialect));
	if (r) {
		free(unit);
		return r;
	}
	unit->dev = dev;
	unit->lun = lun;
	unit->block = unit->info.logical_block;
	unit->shift = (uint32_t)__builtin_ctz(unit->block);
	unit->blocks = unit->info.size >> unit->shift;
	unit->nr_conv = unit->info.nr_conv_zones;
	unit->gaps = unit->info.zone_capacity && unit->info.zone_capacity < unit->info.zone_size;
	unit->write_protected = unit->info.readonly;
	atomic_init(&unit->powered, news.powered);
	atomic_init(&unit->conditioned, news.conditioned);
	atomic_init(&unit->gone_back, news.gone_back);
	name(unit, names);
	zd_scsi_modes_as_at_first(unit);
	pthread_mutex_init(&unit->lock, NULL);
	zd_scsi_tasks_init(unit);
	target->units[lun] = unit;
	return 0;
}

void zd_scsi_target_free(zd_scsi_target *target)
{
	if (!target)
		return;
	for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS; i++) {
		if (!target->units[i])
			continue;
		pthread_mutex_destroy(&target->units[i]->lock);
		zd_under_way_list_end(&target->units[i]->tasks);
		free(target->units[i]->registrations);
		free(target->units[i]);
	}
	pthread_mutex_destroy(&target->lock);
	free(target);
}

int zd_scsi_nexus_open(zd_scsi_target *target, const void *id, size_t length, zd_scsi_nexus **out, struct zd_error *err)
{
	zd_scsi_nexus *nexus;

	*out = NULL;
	if (!length || length > ZD_SCSI_MAX_NAME)
		return zd_fail(err, -EINVAL, "a TransportID has 1 to %d bytes, not %zu", ZD_SCSI_MAX_NAME, length);
	nexus = calloc(1, sizeof(*nexus));
	if (!nexus)
		return zd_fail_host(err, ENOMEM, "making a SCSI nexus");
	nexus->target = target;
	nexus->length = (uint32_t)length;
	memcpy(nexus->id, id, length);
	for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS; i++)
		if (target->units[i])
			zd_scsi_attend(nexus, target->units[i], ZD_SENSE_POWER_ON);
	pthread_mutex_lock(&target->lock);
	nexus->next = target->nexuses;
	target->nexuses = nexus;
	pthread_mutex_unlock(&target->lock);
	*out = nexus;
	return 0;
}

void zd_scsi_nexus_close(zd_scsi_nexus *nexus)
{
	zd_scsi_nexus **at;

	if (!nexus)
		return;
	for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS; i++) {
		if (!nexus->target->units[i])
			continue;
		zd_scsi_abort(nexus->target->units[i], (struct zd_scsi_aim){ .nexus = nexus, .quietly = nexus });
		zd_scsi_let_go(nexus->target->units[i], nexus);
	}
	pthread_mutex_lock(&nexus->target->lock);
	for (at = &nexus->target->nexuses; *at != nexus; at = &(*at)->next)
		;
	*at = nexus->next;
	pthread_mutex_unlock(&nexus->target->lock);
	free(nexus);
}

/* Single-level LUNs, peripheral or flat (SAM-5 4.7.5). */
struct zd_scsi_lu *zd_scsi_unit(const zd_scsi_nexus *nexus, const uint8_t lun[8])
{
	uint32_t number = get16(lun) & 0x3FFF, method = lun[0] >> 6;

	if (method > 1 || number >= ZD_SCSI_MAX_LUNS || get16(lun + 2) || get32(lun + 4))
		return NULL;
	return nexus->target->units[number];
}

/* ---------------------------------------------------------------- unit attentions */

static uint32_t bit(enum zd_sense attention)
{
	return 1u << (attention - ZD_SENSE_FIRST_ATTENTION);
}

void zd_scsi_attend(zd_scsi_nexus *nexus, const struct zd_scsi_lu *unit, enum zd_sense attention)
{
	atomic_fetch_or(&nexus->attention[unit->lun], bit(attention));
}

void zd_scsi_attend_others(zd_scsi_target *target, const zd_scsi_nexus *but, const struct zd_scsi_lu *unit,
			   enum zd_sense attention)
{
	pthread_mutex_lock(&target->lock);
	for (zd_scsi_nexus *nexus = target->nexuses; nexus; nexus = nexus->next)
		if (nexus != but)
			zd_scsi_attend(nexus, unit, attention);
	pthread_mutex_unlock(&target->lock);
}

void zd_scsi_attend_id(zd_scsi_target *target, const struct zd_scsi_registration *whose, const struct zd_scsi_lu *unit,
		       enum zd_sense attention)
{
	pthread_mutex_lock(&target->lock);
	for (zd_scsi_nexus *nexus = target->nexuses; nexus; nexus = nexus->next)
		if (zd_scsi_same_initiator(nexus, whose))
			zd_scsi_attend(nexus, unit, attention);
	pthread_mutex_unlock(&target->lock);
}

/* What else was pending no longer matters. */
static void attend_power(zd_scsi_target *target, const struct zd_scsi_lu *unit)
{
	pthread_mutex_lock(&target->lock);
	for (zd_scsi_nexus *nexus = target->nexuses; nexus; nexus = nexus->next)
		atomic_store(&nexus->attention[unit->lun], bit(ZD_SENSE_POWER_ON));
	pthread_mutex_unlock(&target->lock);
}

/*
 * A disk that lost its power forgets what it only kept in memory, and spins up again. Zones that died are parameters that
 * changed; after a rollback the medium may be another one. Other openers' plain commands are no news: REPORT ZONES shows
 * what they did, as with two initiators of one disk.
 */
void zd_scsi_look_for_news(zd_scsi_target *target, struct zd_scsi_lu *unit)
{
	struct zd_error err;
	struct zd_news news;

	if (zd_news(unit->dev, &news, &err))
		return; /* the command will meet the same failure, and tell it */
	if (zd_wire_is_new(&unit->powered, news.powered)) {
		zd_scsi_forget_reservations(unit);
		zd_scsi_modes_as_at_first(unit);
		atomic_store(&unit->stopped, 0);
		attend_power(target, unit);
	}
	if (zd_wire_is_new(&unit->conditioned, news.conditioned))
		zd_scsi_attend_others(target, NULL, unit, ZD_SENSE_PARAMETERS_CHANGED);
	if (zd_wire_is_new(&unit->gone_back, news.gone_back))
		zd_scsi_attend_others(target, NULL, unit, ZD_SENSE_MEDIUM_CHANGED);
}

enum zd_sense zd_scsi_attention(zd_scsi_nexus *nexus, const struct zd_scsi_lu *unit)
{
	_Atomic uint32_t *pending = &nexus->attention[unit->lun];
	uint32_t bits = atomic_load_explicit(pending, memory_order_relaxed);

	while (bits) {
		uint32_t first = bits & -bits;

		if (atomic_compare_exchange_weak(pending, &bits, bits & ~first))
			return (enum zd_sense)(ZD_SENSE_FIRST_ATTENTION + __builtin_ctz(first));
	}
	return ZD_SENSE_NONE;
}

int zd_scsi_reset(zd_scsi_nexus *nexus, const uint8_t *lun)
{
	struct zd_scsi_lu *only = lun ? zd_scsi_unit(nexus, lun) : NULL;

	if (lun && !only)
		return -ENXIO;
	for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS; i++) {
		struct zd_scsi_lu *unit = nexus->target->units[i];

		if (!unit || (only && unit != only))
			continue;
		zd_scsi_abort(unit, (struct zd_scsi_aim){ .quietly = nexus });
		zd_scsi_let_go(unit, NULL);
		zd_scsi_modes_as_at_first(unit);
		zd_scsi_attend_others(nexus->target, NULL, unit, ZD_SENSE_RESET);
	}
	return 0;
}
