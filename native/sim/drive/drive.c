/* SPDX-License-Identifier: Apache-2.0 */
/* A drive of any model: made, freed, and its events. */
#include "drive.h"

static const struct drive_ops *ops_of(uint32_t kind)
{
	switch (kind) {
	case ZD_SIM_NULL: return &zd_drive_null;
	case ZD_SIM_HDD: return &zd_drive_hdd;
	case ZD_SIM_ZNS: return &zd_drive_zns;
	case ZD_SIM_DM: return &zd_drive_dm;
	default: return NULL;
	}
}

int zd_drive_init(struct zd_drive *drive, const struct zd_config *disk, const struct zd_sim_model *model, uint64_t seed,
		  struct zd_error *err)
{
	int r;

	drive->model = *model;
	drive->seed = seed;
	drive->ops = ops_of(model->kind);
	if (!drive->ops && model->kind != ZD_SIM_REAL)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "there is no model %u", model->kind);
	r = zd_machine_init(&drive->m, disk, err);
	if (r)
		return r;
	drive->heap_room = 256;
	drive->heap = malloc(drive->heap_room * sizeof(*drive->heap));
	if (!drive->heap)
		return zd_sim_fail(err, -ENOMEM, "no memory for a drive");
	return drive->ops ? drive->ops->init(drive, err) : 0;
}

int zd_drive_init_timed(struct zd_drive *drive, const char *what, const struct zd_config *disk,
			const struct zd_sim_model *model, uint64_t seed, struct zd_error *err)
{
	if (model->kind == ZD_SIM_REAL)
		return zd_sim_fail(err, ZD_E_GEOMETRY, "a %s needs the model of a drive", what);
	return zd_drive_init(drive, disk, model, seed, err);
}

void zd_drive_free(struct zd_drive *drive)
{
	if (drive->ops)
		drive->ops->release(drive);
	zd_machine_free(&drive->m);
	free(drive->heap);
	free(drive->cmds);
}

void zd_drive_event(struct zd_drive *drive, const struct event *e)
{
	if (event_kind(e) != EV_IDLE) {
		drive->event_index = event_index(e);
		drive->ops->event(drive);
	} else if ((drive->arrivals & 0xFFFFFF) == event_index(e)) {
		drive->ops->idle(drive);
	}
}
