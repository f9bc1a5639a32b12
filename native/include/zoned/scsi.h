/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/scsi.h - a zoned disk as SCSI logical units: command bytes in, status, sense and data out.
 *
 * No socket and no thread is in it. A transport (iSCSI, SG_IO in a preloaded program) makes a target, gives it a disk
 * for each LUN, opens a nexus for each initiator that has logged in, and hands over tasks. SPC-5, SBC-4 and ZBC-2 say
 * what the answers are; Linux's sd_zbc and scsi_debug where they leave a choice.
 *
 * Units       LBAs and numbers of blocks count the disk's logical blocks. Lengths are bytes.
 * Returns     int: 0 or a negative code as in zoned/error.h, with *err (may be NULL) filled. zd_scsi_exec() never fails: what went
 *             wrong is in the task's status and sense.
 * Threads     A target and its nexuses may be used by many threads at once, but for making and freeing them.
 * Memory      A task needs none beyond itself where buffers fit its CDB. Else at most ZD_SCSI_MAX_TRANSFER bytes and a
 *             list of its buffers, until it has ended. A target: 32 KiB; a nexus: 2 KiB; a LUN: 1 KiB, and 320 bytes for
 *             each persistent registration, of which there are at most ZD_SCSI_MAX_REGISTRATIONS.
 */
#ifndef ZONED_SCSI_H
#define ZONED_SCSI_H

#include "zoned/zoned.h"

ZD_BEGIN

#define ZD_SCSI_MAX_LUNS 256
#define ZD_SCSI_MAX_REGISTRATIONS 256
#define ZD_SCSI_MAX_TRANSFER (32u << 20) /* bytes that one command moves; VPD page B0h says so */
#define ZD_SCSI_MAX_NAME 228             /* bytes of a TransportID, and of a port's name with its NUL */
#define ZD_SCSI_SENSE_ROOM 64

/* Status codes of SAM-5 that a task ends with. */
enum zd_scsi_status {
	ZD_SCSI_GOOD = 0x00,
	ZD_SCSI_CHECK_CONDITION = 0x02,
	ZD_SCSI_BUSY = 0x08, /* it meets a COMPARE AND WRITE or an ORWRITE on the same blocks: give it again */
	ZD_SCSI_RESERVATION_CONFLICT = 0x18,
	ZD_SCSI_TASK_ABORTED = 0x40 /* by zd_scsi_cancel(), task management, or a PREEMPT AND ABORT */
};

typedef struct zd_scsi_target zd_scsi_target;
typedef struct zd_scsi_nexus zd_scsi_nexus;

/* The port that initiators reach a target by. */
struct zd_scsi_port {
	char name[ZD_SCSI_MAX_NAME]; /* its SCSI name ("iqn.2026-01.org.example:disk,t,0x0001"), NUL-terminated; may be empty */
	uint16_t relative;           /* relative target port identifier; 0: 1 */
	uint8_t protocol;            /* SPC-5 protocol identifier: 5 is iSCSI */
	uint8_t reserved;
};

/* How a logical unit calls itself. All zero: names of the project, and serial number and designators of the disk's uuid. */
struct zd_scsi_names {
	char vendor[9], product[17], revision[5]; /* ASCII, NUL-terminated, padded with spaces on the wire */
	char serial[33];
};

/* port may be NULL: a target that no transport names. Errors: -ENOMEM, -EINVAL (a name without its NUL). */
int zd_scsi_target_new(const struct zd_scsi_port *port, zd_scsi_target **out, struct zd_error *err);
/*
 * Make `dev` the logical unit `lun` (below ZD_SCSI_MAX_LUNS) of a target that has no nexus yet. The handle stays the
 * caller's and must outlive the target. A read-only handle makes a write-protected unit. names may be NULL.
 * Errors: ZD_E_GEOMETRY (a disk of another dialect than zbc, with a sentence), -EINVAL (lun out of range, a name without
 * its NUL), -EEXIST (lun is taken), -EBUSY (a nexus is open), -ENOMEM, those of zd_info().
 */
int zd_scsi_target_add(zd_scsi_target *target, uint32_t lun, zd_dev *dev, const struct zd_scsi_names *names,
		       struct zd_error *err);
/* All its nexuses must be closed. NULL: nothing. */
void zd_scsi_target_free(zd_scsi_target *target);

/*
 * An initiator port has logged in. id: its TransportID (SPC-5 7.6.4), 1 to ZD_SCSI_MAX_NAME bytes: by it persistent
 * reservations know the initiator when it comes again. Each unit tells it first that power came on.
 * Errors: -EINVAL, -ENOMEM.
 */
int zd_scsi_nexus_open(zd_scsi_target *target, const void *id, size_t length, zd_scsi_nexus **out, struct zd_error *err);
/*
 * It is gone: its tasks are aborted as by ABORT TASK SET on all units, and what RESERVE took is released. Waits for the end of
 * these tasks, as zd_scsi_manage() does. NULL: nothing.
 */
void zd_scsi_nexus_close(zd_scsi_nexus *nexus);

/* Begin with all zero, then size and what the transport knows. */
struct zd_scsi_task {
	uint32_t size;       /* sizeof(struct zd_scsi_task) as the caller was compiled */
	uint32_t cdb_length; /* bytes at cdb; any number of them, of any value */
	const uint8_t *cdb;
	uint8_t lun[8];          /* as on the wire (SAM-5 4.7) */
	const struct iovec *out; /* data that the initiator sent */
	const struct iovec *in;  /* room for what it shall get */
	uint32_t nr_out, nr_in;
	/*
	 * Called once, when the task has ended; NULL: zd_scsi_exec() returns no earlier. In the thread that gave the task, in
	 * one of the disk's handle (zoned/request.h), or in one that aborts it. The library no longer knows the task then: it may be
	 * freed, or given again.
	 */
	void (*done)(struct zd_scsi_task *task);
	void *arg;    /* the caller's, for done */
	uint64_t tag; /* the initiator's, by which zd_scsi_manage() finds it; unique while the task is under way */

	/* What came of it. */
	uint8_t status;       /* enum zd_scsi_status */
	uint8_t sense_length; /* bytes at sense; 0 unless CHECK CONDITION */
	uint8_t unanswered;   /* 1: its own nexus had it aborted, and no answer is sent, whatever came of it */
	uint8_t reserved0[5];
	uint8_t sense[ZD_SCSI_SENSE_ROOM];
	uint64_t in_length; /* bytes that were put into `in` */
	/* Bytes that the command's CDB asks for, less what the buffers held: above 0 an overflow, below an underflow. */
	int64_t residual_in, residual_out;

	/* The library's. */
	struct zd_request request;
	struct zd_error error;
	zd_scsi_nexus *nexus;
	struct zd_scsi_lu *unit;
	const struct zd_scsi_command *command;
	int (*step)(struct zd_scsi_task *task);
	void *scratch;
	struct iovec *pieces;
	struct iovec piece;
	uint64_t lba, blocks, room, given, wants_in, wants_out;
	struct zd_scsi_task *next;
	uint32_t turn, index, kept, cancelled;
	struct zd_under_way under_way; /* on the unit */
	/*
	 * The transport's: bytes that the initiator has for the command beyond those in `out`, which it was not asked for. COMPARE
	 * AND WRITE and WRITE SAME, whose data has one length, are refused by it; to others it is nothing.
	 */
	uint64_t untaken;
	/* The library's, too. */
	uint8_t aborts; /* others */
	uint8_t reserved1[7];
	/*
	 * The transport's: where a long read may leave its bytes where they are, in a zone that is written once, instead of
	 * putting them into `in`; NULL: never. If pin->length is not 0 behind it, `in_length` bytes lie at pin->at, until
	 * zd_scsi_unpin(). Nobody else's writes and resets are kept by it, but it takes up room: give it back soon.
	 */
	struct zd_pin *pin;
	uint64_t reserved;
};

/*
 * Carry out a task. It ends here, or later if a fault rule holds its request up (zd_submit()). The task, its buffers
 * and its CDB stay where they are until then. A command that names fewer bytes than `out` holds takes its own; one
 * that names more takes the whole blocks that are there, and the residual tells. Not so COMPARE AND WRITE and WRITE SAME: they
 * take exactly what they name, or nothing.
 */
void zd_scsi_exec(zd_scsi_nexus *nexus, struct zd_scsi_task *task);
/* Of a task that has ended, before its unit's disk is closed; nothing where there is no pin. Never fails. */
void zd_scsi_unpin(struct zd_scsi_task *task);
/*
 * End a task that zd_scsi_exec() was given and that has not ended, from any thread, as zd_cancel() does: a request that is
 * held up ends, and no further one is begun. It ends with TASK ABORTED, or, if it was too late for that, as it would have.
 * What its requests had done before stays done. It must not be freed meanwhile; zd_scsi_manage() sees to that by itself.
 */
void zd_scsi_cancel(struct zd_scsi_task *task);

/* Task management functions (SAM-5 7), with the numbers of RFC 7143. */
enum zd_scsi_function {
	ZD_SCSI_ABORT_TASK = 1,        /* the task of this nexus, unit and tag */
	ZD_SCSI_ABORT_TASK_SET = 2,    /* all tasks of this nexus on the unit */
	ZD_SCSI_CLEAR_TASK_SET = 4,    /* all tasks of all nexuses on the unit */
	ZD_SCSI_LUN_RESET = 5,         /* zd_scsi_reset() of the unit */
	ZD_SCSI_TARGET_WARM_RESET = 6, /* zd_scsi_reset() of all units */
	ZD_SCSI_TARGET_COLD_RESET = 7  /* the same; that the connections end is the transport's part */
};
/*
 * Carry out a task management function. It returns when the tasks have ended that it aborts, each of them with `done` called:
 * such as are held up end here and now, others in their own threads within 50 ms. Tasks of the nexus that asks are marked
 * `unanswered`, those of others end with TASK ABORTED (the control mode page says so: TAS). lun is not looked at by target
 * resets, tag by ABORT TASK alone. Not to be called from `done`, nor with a lock held that `done` takes; so are zd_scsi_reset() and
 * zd_scsi_nexus_close().
 * Returns 0; -ENOENT (ABORT TASK: no such task is under way), -ENXIO (no such unit), -EOPNOTSUPP (another function).
 */
int zd_scsi_manage(zd_scsi_nexus *nexus, int function, const uint8_t lun[8], uint64_t tag);

/*
 * Bytes that a CDB makes the initiator send (*out), and blocks that it asks to be sent (*in, in bytes; 0 for answers
 * with an allocation length), without doing anything. So a transport asks for no data that a command will not take.
 */
void zd_scsi_transfer(zd_scsi_nexus *nexus, const uint8_t lun[8], const uint8_t *cdb, uint32_t cdb_length, uint64_t *out,
		      uint64_t *in);

/*
 * LOGICAL UNIT RESET, or with lun NULL a reset of all units (target reset): all tasks are aborted (zd_scsi_manage()), what RESERVE
 * took is released, mode pages are as at first, a stopped unit stays stopped, and every initiator is told. Persistent
 * reservations stay. -ENXIO: there is no such unit.
 */
int zd_scsi_reset(zd_scsi_nexus *nexus, const uint8_t *lun);

/* Each command that a unit carries out, for documentation. */
#define ZD_SCSI_IF_CONVENTIONAL 1u /* only where there are conventional zones */
#define ZD_SCSI_CHANGES_MEDIUM 2u  /* not on a write-protected unit */
#define ZD_SCSI_NEEDS_MEDIUM 4u    /* not on a stopped unit */
struct zd_scsi_command_info {
	const char *name;
	uint8_t opcode, length;
	int16_t action;    /* service action; -1: the opcode has none */
	uint16_t timeout;  /* recommended, seconds */
	uint16_t flags;    /* ZD_SCSI_IF_CONVENTIONAL, ... */
	uint8_t usage[16]; /* bits that it looks at */
};
/* The index-th, in ascending order of opcode and service action; -ENOENT behind the last. */
int zd_scsi_command_at(uint32_t index, struct zd_scsi_command_info *out);

ZD_END
#endif
