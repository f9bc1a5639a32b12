/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scsi: command bytes to requests of the disk, and what came of them to status, sense and data.
 *
 *     table.c    every command once: bits of its CDB, who may give it, how long it takes, who carries it out
 *     exec.c     what all have in common: unit, attention, reservation, CDB, then step after step to the end
 *     tasks.c    tasks that are under way, and how they are aborted
 *     target.c   targets, units, nexuses, unit attentions
 *     sense.c    sense data and how a task ends
 *     buffers.c  what goes between the initiator's buffers and the executor's
 *     others     the commands by subject
 *
 * It may call the public headers, rules and base. No lock of it is held while a request is under way.
 */
#ifndef ZD_WIRE_SCSI_H
#define ZD_WIRE_SCSI_H

#include "zoned/scsi.h"

#include "base/bigendian.h"
#include "rules/sense.h"
#include "wire/common.h"
#include "wire/underway.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What a step gives back. */
#define STEP_END 0    /* the task has its status */
#define STEP_SUBMIT 1 /* task->request is to be submitted; then task->step goes on */

#define MAX_UNMAP_DESCRIPTORS 256 /* of one UNMAP; VPD page B0h says so */
/*
 * Blocks of one WRITE ATOMIC; VPD page B0h says so. A power cut takes or keeps each logical block by itself: no two of them are
 * atomic.
 */
#define MAX_ATOMIC 1

struct zd_scsi_registration {
	uint64_t key;
	uint32_t length;
	uint8_t id[ZD_SCSI_MAX_NAME];
};

/* What MODE SELECT changes. */
struct zd_scsi_modes {
	uint8_t write_cache, descriptor_sense, write_protect;
};

struct zd_scsi_lu {
	zd_dev *dev;
	struct zd_info info; /* what of it never changes */
	struct zd_scsi_names names;
	uint64_t blocks;            /* of the disk */
	uint32_t lun, block, shift; /* bytes of a logical block, and which power of two they are */
	uint32_t nr_conv;           /* conventional zones: only they can be unmapped */
	bool gaps;                  /* some zones end before their length does */
	bool write_protected;
	/* Looked at by each command, without the lock. */
	_Atomic uint32_t reserved; /* somebody has a registration or a reservation */
	_Atomic uint32_t stopped;
	_Atomic uint32_t nr_swaps;     /* COMPARE AND WRITE and ORWRITE under way */
	_Atomic uint32_t starts;       /* START STOP UNIT that started it */
	_Atomic uint32_t failed_opens; /* OPEN ZONE for which no open zone was left */
	_Atomic uint8_t write_cache, descriptor_sense, write_protect;
	_Atomic uint32_t powered, conditioned, gone_back; /* struct zd_news, as far as initiators were told */
	pthread_mutex_t lock;                             /* of what follows */
	struct zd_scsi_task *swaps;
	zd_scsi_nexus *holder; /* of RESERVE */
	struct zd_scsi_registration *registrations;
	uint32_t nr_registrations, room;
	uint32_t generation;
	uint32_t reservation;              /* type; 0: none */
	struct zd_scsi_registration owner; /* whose; all registrants' types: whoever made it */
	struct zd_under_way_list tasks;
};

struct zd_scsi_target {
	struct zd_scsi_port port;
	struct zd_scsi_lu *units[ZD_SCSI_MAX_LUNS];
	pthread_mutex_t lock; /* of the list of nexuses; taken inside a unit's */
	zd_scsi_nexus *nexuses;
};

struct zd_scsi_nexus {
	zd_scsi_target *target;
	zd_scsi_nexus *next;
	uint32_t length;
	uint8_t id[ZD_SCSI_MAX_NAME];
	_Atomic uint32_t attention[ZD_SCSI_MAX_LUNS]; /* bits 1 << (sense - ZD_SENSE_FIRST_ATTENTION) */
};

/* ---------------------------------------------------------------- the table */

/* Whom a reservation of another nexus keeps from a command. */
enum zd_scsi_class { ANYBODY, READS, CHANGES, ASKS_ITSELF };

#define ON_MEDIUM 1u      /* refused while the unit is stopped */
#define WRITES 2u         /* refused on a write-protected unit */
#define WITHOUT_UNIT 4u   /* answers for LUNs that are not there */
#define PAST_ATTENTION 8u /* neither tells nor loses a unit attention */
#define THIN 16u          /* only where blocks can be unmapped: on a disk with conventional zones */

struct zd_scsi_command {
	const char *name;
	uint8_t opcode, length;
	int16_t action; /* -1: none */
	uint8_t flags, class;
	uint16_t timeout;
	uint8_t usage[16]; /* byte 0 the opcode; where there is a service action, byte 1 holds it */
	int (*run)(struct zd_scsi_task *task);
	/* What the CDB asks for, before anything is checked; NULL: nothing. */
	void (*size)(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
};
extern const struct zd_scsi_command zd_scsi_commands[];
extern const uint32_t zd_scsi_nr_commands;
/* The command, or NULL; *known: the opcode at least is there. unit NULL: as of a unit that has everything. */
const struct zd_scsi_command *zd_scsi_find(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint32_t length, bool *known);
bool zd_scsi_has(const struct zd_scsi_lu *unit, const struct zd_scsi_command *command);

/* ---------------------------------------------------------------- sense.c: how a task ends */

int zd_scsi_good(struct zd_scsi_task *task);
int zd_scsi_status(struct zd_scsi_task *task, int status);
int zd_scsi_check(struct zd_scsi_task *task, enum zd_sense sense);
/* INVALID FIELD IN CDB; bit: the highest of the field, -1 for a whole byte. */
int zd_scsi_field(struct zd_scsi_task *task, uint32_t byte, int bit);
int zd_scsi_parameter(struct zd_scsi_task *task, uint32_t byte, int bit);
int zd_scsi_miscompare(struct zd_scsi_task *task, uint64_t offset);
/* As the request failed, with the first bad LBA of a medium error. */
int zd_scsi_failed(struct zd_scsi_task *task, int64_t code);
/* Sense data with nothing beside its codes; returns its length. */
uint32_t zd_scsi_sense(struct zd_sense_codes codes, bool descriptor, uint8_t *out);

/* ---------------------------------------------------------------- tasks.c */

/* Which tasks of a unit are aborted: all that were given before, as far as nothing narrows it. */
struct zd_scsi_aim {
	const zd_scsi_nexus *nexus;               /* of this one alone */
	const struct zd_scsi_registration *whose; /* of this initiator alone */
	const uint64_t *tag;                      /* this one alone */
	const zd_scsi_nexus *quietly;             /* tasks of this nexus are not answered */
	struct zd_scsi_task *by;                  /* a task that aborts others: it is spared */
	uint64_t before;                          /* zd_scsi_abort()'s own */
};
/* Returns how many, when they have ended. No lock is held. */
uint32_t zd_scsi_abort(struct zd_scsi_lu *unit, struct zd_scsi_aim aim);
void zd_scsi_tasks_init(struct zd_scsi_lu *unit);
void zd_scsi_enter(struct zd_scsi_task *task);
/* It has ended: `done` is called, here or by who aborts it. */
void zd_scsi_leave(struct zd_scsi_task *task);

/* ---------------------------------------------------------------- target.c */

struct zd_scsi_lu *zd_scsi_unit(const zd_scsi_nexus *nexus, const uint8_t lun[8]);
void zd_scsi_attend(zd_scsi_nexus *nexus, const struct zd_scsi_lu *unit, enum zd_sense attention);
/* All nexuses but one (NULL: all). */
void zd_scsi_attend_others(zd_scsi_target *target, const zd_scsi_nexus *but, const struct zd_scsi_lu *unit,
			   enum zd_sense attention);
/* The nexuses of one initiator. */
void zd_scsi_attend_id(zd_scsi_target *target, const struct zd_scsi_registration *whose, const struct zd_scsi_lu *unit,
		       enum zd_sense attention);
/* What has happened to the disk since the last look, by other openers and by faults, becomes attentions of all nexuses. */
void zd_scsi_look_for_news(zd_scsi_target *target, struct zd_scsi_lu *unit);
/* The first that is pending, and no longer; ZD_SENSE_NONE. */
enum zd_sense zd_scsi_attention(zd_scsi_nexus *nexus, const struct zd_scsi_lu *unit);

/* ---------------------------------------------------------------- buffers.c */

/* Answer with `length` bytes, cut to the CDB's allocation length, and end. */
int zd_scsi_give(struct zd_scsi_task *task, const void *data, uint64_t length, uint64_t allocation);
/* Into the initiator's room at an offset; what does not fit is dropped. */
void zd_scsi_put(struct zd_scsi_task *task, uint64_t at, const void *data, uint64_t length);
/* The first `length` bytes of what the initiator sent, in one piece till the task ends; NULL: no memory, or fewer came. */
void *zd_scsi_take(struct zd_scsi_task *task, uint64_t length);
void *zd_scsi_scratch(struct zd_scsi_task *task, uint64_t length); /* NULL: no memory. Freed with the task; one at a time */
/* offset .. offset+length, not nothing, of buffers that hold as much, as buffers in task->request; false: no memory. */
bool zd_scsi_clip(struct zd_scsi_task *task, const struct iovec *iov, uint64_t offset, uint64_t length);

/* ---------------------------------------------------------------- commands by subject */

int zd_scsi_test_unit_ready(struct zd_scsi_task *task);
int zd_scsi_start_stop(struct zd_scsi_task *task);
int zd_scsi_request_sense(struct zd_scsi_task *task);
int zd_scsi_report_luns(struct zd_scsi_task *task);
int zd_scsi_inquiry(struct zd_scsi_task *task);
int zd_scsi_read_capacity10(struct zd_scsi_task *task);
int zd_scsi_read_capacity16(struct zd_scsi_task *task);
int zd_scsi_mode_sense(struct zd_scsi_task *task);
int zd_scsi_mode_select(struct zd_scsi_task *task);
void zd_scsi_modes_as_at_first(struct zd_scsi_lu *unit);
int zd_scsi_read(struct zd_scsi_task *task);
int zd_scsi_write(struct zd_scsi_task *task);
int zd_scsi_write_atomic(struct zd_scsi_task *task);
int zd_scsi_synchronize(struct zd_scsi_task *task);
int zd_scsi_prefetch(struct zd_scsi_task *task);
int zd_scsi_verify(struct zd_scsi_task *task);
int zd_scsi_write_verify(struct zd_scsi_task *task);
int zd_scsi_compare_write(struct zd_scsi_task *task);
int zd_scsi_or_write(struct zd_scsi_task *task);
int zd_scsi_write_same(struct zd_scsi_task *task);
int zd_scsi_unmap(struct zd_scsi_task *task);
int zd_scsi_lba_status(struct zd_scsi_task *task);
int zd_scsi_read_defects10(struct zd_scsi_task *task);
int zd_scsi_read_defects12(struct zd_scsi_task *task);
int zd_scsi_report_zones(struct zd_scsi_task *task);
int zd_scsi_zone_command(struct zd_scsi_task *task);
int zd_scsi_reserve(struct zd_scsi_task *task);
int zd_scsi_release(struct zd_scsi_task *task);
int zd_scsi_reservations_in(struct zd_scsi_task *task);
int zd_scsi_reservations_out(struct zd_scsi_task *task);
/* Whether that registration is this nexus's. */
bool zd_scsi_same_initiator(const zd_scsi_nexus *nexus, const struct zd_scsi_registration *who);
/* What RESERVE took, for this nexus or (NULL) for any. */
void zd_scsi_let_go(struct zd_scsi_lu *unit, const zd_scsi_nexus *nexus);
/* As after a loss of power: nobody is registered, nobody holds anything. */
void zd_scsi_forget_reservations(struct zd_scsi_lu *unit);
/* Whether a reservation of another keeps this task's nexus from it. */
bool zd_scsi_conflicts(struct zd_scsi_task *task);
int zd_scsi_log_sense(struct zd_scsi_task *task);
int zd_scsi_report_opcodes(struct zd_scsi_task *task);
int zd_scsi_report_functions(struct zd_scsi_task *task);
int zd_scsi_format(struct zd_scsi_task *task);
int zd_scsi_sanitize(struct zd_scsi_task *task);
int zd_scsi_sanitize_exit(struct zd_scsi_task *task);
void zd_scsi_size_format(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_list4(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_list7(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_list5(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_blocks_in(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_blocks_out(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_verify(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_compare(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);
void zd_scsi_size_same(const struct zd_scsi_lu *unit, const uint8_t *cdb, uint64_t *out, uint64_t *in);

/* LBA and number of blocks of a CDB by its opcode's group; READ and WRITE(6) say 256 by 0. */
void zd_scsi_extent(const uint8_t *cdb, uint64_t *lba, uint64_t *blocks);
/* Takes them into the task and says whether they lie on the disk, and move no more than a command may; else ends it. */
bool zd_scsi_place(struct zd_scsi_task *task, bool moves);
/* The same of a command that moves data: so many bytes. */
static inline bool zd_scsi_place_bytes(struct zd_scsi_task *task, uint64_t *length)
{
	bool there = zd_scsi_place(task, true);

	*length = task->blocks << task->unit->shift;
	return there;
}
/* Whether a command that takes `wants` bytes got buffers for the other direction only; then it has ended. */
bool zd_scsi_backwards(struct zd_scsi_task *task, uint64_t wants);
/*
 * Whether a command has all the bytes that it takes and the initiator has no more: by one that has, the two would not agree on
 * what the bytes mean. Of commands whose data is not simply block after block.
 */
bool zd_scsi_exact(const struct zd_scsi_task *task, uint64_t wants);
bool zd_scsi_fua(const struct zd_scsi_task *task);
/* A request of the task, to be filled further. */
struct zd_request *zd_scsi_ask(struct zd_scsi_task *task, int op);
/* A step that ends the task as its request did. */
int zd_scsi_end(struct zd_scsi_task *task);
/*
 * Whether task->lba and ->blocks meet a COMPARE AND WRITE or an ORWRITE that is under way. What changes blocks asks it before it begins, and ends
 * with BUSY if so; VERIFY and reads do not ask. It is a look, not a lock: a swap may begin behind it.
 */
bool zd_scsi_meets_swap(struct zd_scsi_task *task);
void zd_scsi_swap_end(struct zd_scsi_task *task);

#endif
