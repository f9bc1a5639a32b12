/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations: persistent ones, which belong to an initiator's TransportID and outlive its nexus (SPC-5 5.14), and those
 * of RESERVE, which belong to a nexus (SPC-2 5.5). Nothing of them outlives the target.
 */
#include "wire/scsi/scsi.h"

#include <stdlib.h>
#include <string.h>

enum type {
	WRITE_EXCLUSIVE = 1,
	EXCLUSIVE = 3,
	WRITE_REGISTRANTS = 5,
	EXCLUSIVE_REGISTRANTS = 6,
	WRITE_ALL = 7,
	EXCLUSIVE_ALL = 8
};
enum action { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, MOVE };

#define LIST 24 /* bytes of PERSISTENT RESERVE OUT's parameters; of REGISTER AND MOVE, a TransportID follows */

/* Registrations that went by a PREEMPT AND ABORT: their initiators' tasks are aborted when the unit's lock is free again. */
struct ousted {
	struct zd_scsi_registration *who;
	uint32_t nr;
};

static bool is_type(uint32_t type)
{
	return type == WRITE_EXCLUSIVE || type == EXCLUSIVE || (type >= WRITE_REGISTRANTS && type <= EXCLUSIVE_ALL);
}
static bool for_registrants(uint32_t type)
{
	return type >= WRITE_REGISTRANTS;
}
static bool of_all(uint32_t type)
{
	return type >= WRITE_ALL;
}
static bool keeps_readers_out(uint32_t type)
{
	return type == EXCLUSIVE || type == EXCLUSIVE_REGISTRANTS || type == EXCLUSIVE_ALL;
}

static bool is(const struct zd_scsi_registration *a, const uint8_t *id, uint32_t length)
{
	return a->length == length && !memcmp(a->id, id, length);
}

/* This nexus's registration, or NULL. As all below, under the unit's lock. */
static struct zd_scsi_registration *mine(const struct zd_scsi_lu *unit, const zd_scsi_nexus *nexus)
{
	for (uint32_t i = 0; i < unit->nr_registrations; i++)
		if (is(&unit->registrations[i], nexus->id, nexus->length))
			return &unit->registrations[i];
	return NULL;
}

static bool holds(const struct zd_scsi_lu *unit, const struct zd_scsi_registration *who)
{
	return unit->reservation && (of_all(unit->reservation) || is(&unit->owner, who->id, who->length));
}

static void settle(struct zd_scsi_lu *unit)
{
	atomic_store(&unit->reserved, unit->nr_registrations || unit->holder);
}

void zd_scsi_forget_reservations(struct zd_scsi_lu *unit)
{
	pthread_mutex_lock(&unit->lock);
	unit->holder = NULL;
	unit->nr_registrations = 0;
	unit->generation = 0;
	unit->reservation = 0;
	settle(unit);
	pthread_mutex_unlock(&unit->lock);
}

/* ---------------------------------------------------------------- what they keep from others */

bool zd_scsi_conflicts(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	uint8_t class = task->command->class;
	struct zd_scsi_registration *who;
	bool conflict = false, by_reserve;

	if (!atomic_load_explicit(&unit->reserved, memory_order_acquire))
		return false;
	pthread_mutex_lock(&unit->lock);
	/* RESERVE leaves others only what identifies the unit, and RELEASE. */
	by_reserve = unit->holder && unit->holder != task->nexus;
	if (by_reserve)
		conflict = !(task->command->flags & PAST_ATTENTION) && task->command->run != zd_scsi_release;
	else if (unit->reservation && (class == CHANGES || (class == READS && keeps_readers_out(unit->reservation)))) {
		who = mine(unit, task->nexus);
		conflict = !who || (!for_registrants(unit->reservation) && !holds(unit, who));
	}
	pthread_mutex_unlock(&unit->lock);
	return conflict;
}

int zd_scsi_reserve(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	bool taken;

	pthread_mutex_lock(&unit->lock);
	taken = unit->nr_registrations || (unit->holder && unit->holder != task->nexus);
	if (!taken)
		unit->holder = task->nexus;
	settle(unit);
	pthread_mutex_unlock(&unit->lock);
	return zd_scsi_status(task, taken ? ZD_SCSI_RESERVATION_CONFLICT : ZD_SCSI_GOOD);
}

int zd_scsi_release(struct zd_scsi_task *task)
{
	struct zd_scsi_lu *unit = task->unit;
	bool registered;

	pthread_mutex_lock(&unit->lock);
	registered = unit->nr_registrations != 0;
	if (unit->holder == task->nexus)
		unit->holder = NULL;
	settle(unit);
	pthread_mutex_unlock(&unit->lock);
	return zd_scsi_status(task, registered ? ZD_SCSI_RESERVATION_CONFLICT : ZD_SCSI_GOOD);
}

/* ---------------------------------------------------------------- PERSISTENT RESERVE IN */

static int give_list(struct zd_scsi_task *task, uint8_t *out, uint32_t length)
{
	put32(out, task->unit->generation);
	put32(out + 4, length - 8);
	return zd_scsi_give(task, out, length, get16(task->cdb + 7));
}

static int read_keys(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint8_t *out = zd_scsi_scratch(task, 8 + 8 * (uint64_t)unit->nr_registrations);

	if (!out)
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	for (uint32_t i = 0; i < unit->nr_registrations; i++)
		put64(out + 8 + 8 * i, unit->registrations[i].key);
	return give_list(task, out, 8 + 8 * unit->nr_registrations);
}

static int read_reservation(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint8_t out[24] = { 0 };

	if (!unit->reservation)
		return give_list(task, out, 8);
	put64(out + 8, of_all(unit->reservation) ? 0 : unit->owner.key);
	out[21] = (uint8_t)unit->reservation;
	return give_list(task, out, sizeof(out));
}

static int capabilities(struct zd_scsi_task *task)
{
	uint8_t out[8] = { 0, 8, 0, 0x80, 0xEA, 0x01 }; /* all six types; nothing persists through a loss of power */

	return zd_scsi_give(task, out, sizeof(out), get16(task->cdb + 7));
}

static int full_status(struct zd_scsi_task *task)
{
	const struct zd_scsi_lu *unit = task->unit;
	uint64_t most = 8 + (24 + ZD_SCSI_MAX_NAME) * (uint64_t)unit->nr_registrations;
	uint8_t *out = zd_scsi_scratch(task, most), *at;

	if (!out)
		return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	memset(out, 0, most);
	at = out + 8;
	for (uint32_t i = 0; i < unit->nr_registrations; i++) {
		const struct zd_scsi_registration *who = &unit->registrations[i];

		put64(at, who->key);
		if (holds(unit, who)) {
			at[12] = 0x01;
			at[13] = (uint8_t)unit->reservation;
		}
		put16(at + 18, task->nexus->target->port.relative);
		put32(at + 20, who->length);
		memcpy(at + 24, who->id, who->length);
		at += 24 + who->length;
	}
	return give_list(task, out, (uint32_t)(at - out));
}

int zd_scsi_reservations_in(struct zd_scsi_task *task)
{
	static int (*const answers[])(struct zd_scsi_task *task) = { read_keys, read_reservation, capabilities, full_status };
	int r;

	pthread_mutex_lock(&task->unit->lock);
	r = answers[task->cdb[1] & 0x1F](task);
	pthread_mutex_unlock(&task->unit->lock);
	return r;
}

/* ---------------------------------------------------------------- PERSISTENT RESERVE OUT */

static int conflict(struct zd_scsi_task *task)
{
	return zd_scsi_status(task, ZD_SCSI_RESERVATION_CONFLICT);
}

/* All that are registered but one hear of it. */
static void tell_registered(struct zd_scsi_task *task, const struct zd_scsi_registration *but, enum zd_sense what)
{
	const struct zd_scsi_lu *unit = task->unit;

	for (uint32_t i = 0; i < unit->nr_registrations; i++)
		if (&unit->registrations[i] != but)
			zd_scsi_attend_id(task->nexus->target, &unit->registrations[i], unit, what);
}

static void remove_at(struct zd_scsi_lu *unit, uint32_t index)
{
	unit->nr_registrations--;
	memmove(&unit->registrations[index], &unit->registrations[index + 1],
		(unit->nr_registrations - index) * sizeof(*unit->registrations));
}

/* A registration goes by its owner's will; with its holder a reservation ends (of all registrants: with the last). */
static void unregister(struct zd_scsi_task *task, struct zd_scsi_registration *who)
{
	struct zd_scsi_lu *unit = task->unit;
	bool ends = unit->reservation &&
		    (of_all(unit->reservation) ? unit->nr_registrations == 1 : is(&unit->owner, who->id, who->length));

	if (ends) {
		if (for_registrants(unit->reservation))
			tell_registered(task, who, ZD_SENSE_RESERVATIONS_RELEASED);
		unit->reservation = 0;
	}
	remove_at(unit, (uint32_t)(who - unit->registrations));
}

/* A new registration, of the task's initiator or of another one. */
static int enrol(struct zd_scsi_task *task, uint64_t key, const uint8_t *id, uint32_t length)
{
	struct zd_scsi_lu *unit = task->unit;
	struct zd_scsi_registration *grown, *who;

	if (unit->nr_registrations == ZD_SCSI_MAX_REGISTRATIONS)
		return zd_scsi_check(task, ZD_SENSE_NO_REGISTRATION_ROOM);
	if (unit->nr_registrations == unit->room) {
		uint32_t room = unit->room ? 2 * unit->room : 4;

		grown = realloc(unit->registrations, room * sizeof(*grown));
		if (!grown)
			return zd_scsi_check(task, ZD_SENSE_NO_REGISTRATION_ROOM);
		unit->registrations = grown;
		unit->room = room;
	}
	who = &unit->registrations[unit->nr_registrations++];
	who->key = key;
	who->length = length;
	memcpy(who->id, id, length);
	return zd_scsi_good(task);
}

static int register_key(struct zd_scsi_task *task, struct zd_scsi_registration *who, uint64_t old, uint64_t key, bool ignore)
{
	struct zd_scsi_lu *unit = task->unit;
	int r = zd_scsi_good(task);

	if (!ignore && old != (who ? who->key : 0))
		return conflict(task);
	if (!who && key)
		r = enrol(task, key, task->nexus->id, task->nexus->length);
	else if (who && !key)
		unregister(task, who);
	else if (who) {
		who->key = key;
		if (is(&unit->owner, who->id, who->length))
			unit->owner.key = key;
	}
	if (task->status == ZD_SCSI_GOOD)
		unit->generation++;
	return r;
}

static int take(struct zd_scsi_task *task, const struct zd_scsi_registration *who, uint32_t type)
{
	struct zd_scsi_lu *unit = task->unit;

	if (unit->reservation)
		return holds(unit, who) && unit->reservation == type ? zd_scsi_good(task) : conflict(task);
	unit->reservation = type;
	unit->owner = *who;
	return zd_scsi_good(task);
}

static int give_up(struct zd_scsi_task *task, const struct zd_scsi_registration *who, uint32_t type)
{
	struct zd_scsi_lu *unit = task->unit;

	if (!unit->reservation || !holds(unit, who))
		return zd_scsi_good(task);
	if (unit->reservation != type)
		return zd_scsi_check(task, ZD_SENSE_INVALID_RELEASE);
	if (for_registrants(unit->reservation))
		tell_registered(task, who, ZD_SENSE_RESERVATIONS_RELEASED);
	unit->reservation = 0;
	return zd_scsi_good(task);
}

static int clear(struct zd_scsi_task *task, const struct zd_scsi_registration *who)
{
	struct zd_scsi_lu *unit = task->unit;

	tell_registered(task, who, ZD_SENSE_RESERVATIONS_PREEMPTED);
	unit->nr_registrations = 0;
	unit->reservation = 0;
	unit->generation++;
	return zd_scsi_good(task);
}

/* All registrations with that key but the nexus's own go, or with 0 all others; returns how many. who: room for them, or NULL. */
static uint32_t oust(struct zd_scsi_task *task, uint64_t key, bool all, struct zd_scsi_registration *who)
{
	struct zd_scsi_lu *unit = task->unit;
	uint32_t gone = 0;

	for (uint32_t i = 0; i < unit->nr_registrations;) {
		struct zd_scsi_registration *other = &unit->registrations[i];

		if ((!all && other->key != key) || is(other, task->nexus->id, task->nexus->length)) {
			i++;
			continue;
		}
		zd_scsi_attend_id(task->nexus->target, other, unit, ZD_SENSE_REGISTRATIONS_PREEMPTED);
		if (who)
			who[gone] = *other;
		remove_at(unit, i);
		gone++;
	}
	return gone;
}

/* SPC-5 5.14.11.4: who holds the reservation loses it if it is his key; any other key only loses its registrations. */
static int preempt(struct zd_scsi_task *task, uint64_t key, uint32_t type, struct ousted *ousted)
{
	struct zd_scsi_lu *unit = task->unit;
	bool all = unit->reservation && of_all(unit->reservation) && !key;
	bool takes = unit->reservation && (all || (!of_all(unit->reservation) && unit->owner.key == key));
	uint32_t before = unit->reservation, gone;

	if (!key && !all)
		return zd_scsi_parameter(task, 8, 7);
	if (ousted) {
		ousted->who = malloc(unit->nr_registrations * sizeof(*ousted->who));
		if (!ousted->who)
			return zd_scsi_check(task, ZD_SENSE_NO_RESOURCES);
	}
	gone = oust(task, key, all, ousted ? ousted->who : NULL);
	if (ousted)
		ousted->nr = gone;
	if (!gone && !takes)
		return conflict(task);
	if (takes) {
		unit->reservation = type;
		unit->owner = *mine(unit, task->nexus);
		if (before != type)
			tell_registered(task, mine(unit, task->nexus), ZD_SENSE_RESERVATIONS_RELEASED);
	}
	unit->generation++;
	return zd_scsi_good(task);
}

/*
 * The reservation goes to another initiator, which is registered by this if it was not (SPC-5 5.14.8). Nobody is told: who gives
 * it away and who gets it have agreed.
 */
static int move(struct zd_scsi_task *task, struct zd_scsi_registration *who, const uint8_t *list, uint32_t length)
{
	struct zd_scsi_lu *unit = task->unit;
	struct zd_scsi_registration *to = NULL;
	const uint8_t *id = list + LIST;
	uint64_t key = get64(list + 8);

	if (!unit->reservation)
		return zd_scsi_field(task, 1, 4);
	if (of_all(unit->reservation) || !holds(unit, who))
		return conflict(task);
	if (!key)
		return zd_scsi_parameter(task, 8, 7);
	if (get16(list + 18) != task->nexus->target->port.relative)
		return zd_scsi_parameter(task, 18, 7);
	if (is(who, id, length))
		return zd_scsi_parameter(task, LIST, 7);
	for (uint32_t i = 0; i < unit->nr_registrations; i++)
		if (is(&unit->registrations[i], id, length))
			to = &unit->registrations[i];
	if (to) {
		to->key = key;
		unit->owner = *to;
	} else {
		uint32_t own = (uint32_t)(who - unit->registrations);

		enrol(task, key, id, length);
		if (task->status != ZD_SCSI_GOOD)
			return STEP_END;
		who = &unit->registrations[own]; /* the list may lie elsewhere now */
		unit->owner = unit->registrations[unit->nr_registrations - 1];
	}
	if (list[17] & 0x02)
		remove_at(unit, (uint32_t)(who - unit->registrations));
	unit->generation++;
	return zd_scsi_good(task);
}

static int out_locked(struct zd_scsi_task *task, const uint8_t *list, uint32_t length, struct ousted *ousted)
{
	struct zd_scsi_registration *who = mine(task->unit, task->nexus);
	uint64_t key = get64(list), other = get64(list + 8);
	int action = task->cdb[1] & 0x1F;
	uint32_t type = task->cdb[2] & 0x0F;

	if (task->unit->holder)
		return conflict(task);
	if (action == REGISTER || action == REGISTER_IGNORE)
		return register_key(task, who, key, other, action == REGISTER_IGNORE);
	if (!who || who->key != key)
		return conflict(task);
	switch (action) {
	case RESERVE: return take(task, who, type);
	case RELEASE: return give_up(task, who, type);
	case CLEAR: return clear(task, who);
	case MOVE: return move(task, who, list, length - LIST);
	case PREEMPT_ABORT: return preempt(task, other, type, ousted);
	default: return preempt(task, other, type, NULL);
	}
}

/* The list of REGISTER AND MOVE: a TransportID of the port's protocol fills it (SPC-5 7.6.4). */
static void check_move(struct zd_scsi_task *task, const uint8_t *list, uint32_t length)
{
	uint8_t protocol = task->nexus->target->port.protocol;

	if (list[17] & 0x01)
		zd_scsi_parameter(task, 17, 0); /* nothing is kept through a loss of power */
	else if (get32(list + 20) != length - LIST)
		zd_scsi_parameter(task, 20, 7);
	else if (protocol && (list[LIST] & 0x0F) != protocol)
		zd_scsi_parameter(task, LIST, 3);
}

/* The parameter list, whole; NULL: the task has ended. */
static const uint8_t *take_list(struct zd_scsi_task *task, uint32_t length)
{
	bool moves = (task->cdb[1] & 0x1F) == MOVE;
	const uint8_t *list = NULL;

	if (moves ? length <= LIST || length > LIST + ZD_SCSI_MAX_NAME : length != LIST)
		zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
	else if (!zd_scsi_backwards(task, length) && !(list = zd_scsi_take(task, length)))
		zd_scsi_check(task, ZD_SENSE_PARAMETER_LIST_LENGTH);
	if (!list)
		return NULL;
	if (moves) {
		check_move(task, list, length);
	} else if (list[20] & 0x0D) {
		/* Registering other initiators or all ports, and keeping it through a loss of power, are not there. */
		zd_scsi_parameter(task, 20, 31 - __builtin_clz(list[20] & 0x0Du));
	}
	return task->status == ZD_SCSI_GOOD ? list : NULL;
}

int zd_scsi_reservations_out(struct zd_scsi_task *task)
{
	int action = task->cdb[1] & 0x1F, r;
	bool typed = action == RESERVE || action == RELEASE || action == PREEMPT || action == PREEMPT_ABORT;
	uint32_t length = get32(task->cdb + 5);
	struct ousted ousted = { 0 };
	const uint8_t *list;

	if (typed && task->cdb[2] >> 4)
		return zd_scsi_field(task, 2, 7); /* scope: the unit */
	if (typed && !is_type(task->cdb[2] & 0x0F))
		return zd_scsi_field(task, 2, 3);
	list = take_list(task, length);
	if (!list)
		return STEP_END;
	pthread_mutex_lock(&task->unit->lock);
	r = out_locked(task, list, length, &ousted);
	settle(task->unit);
	pthread_mutex_unlock(&task->unit->lock);
	for (uint32_t i = 0; i < ousted.nr; i++)
		zd_scsi_abort(task->unit, (struct zd_scsi_aim){ .whose = &ousted.who[i], .by = task });
	free(ousted.who);
	return r;
}
