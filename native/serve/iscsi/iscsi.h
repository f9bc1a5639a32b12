/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iscsi: full feature phase of RFC 7143, at error recovery level 0.
 *
 *     target.c      targets, sessions, what other threads ask of a connection
 *     connection.c  a connection's life: PDUs in, digests, sequence numbers, dispatch; PDUs out
 *     command.c     SCSI commands: data from and to the initiator, status
 *     manage.c      everything else: NOP, text, task management, logout, reject, asynchronous messages
 *
 * It may call serve/loop, the executor's public header, base. What a command does on the disk holds no lock of this room,
 * and what is sent or awaited here holds none of the disk.
 *
 * Faults of the other side are answered in this order: what names a command spoils that command (a sense code); what is a PDU
 * of its own is rejected; after what leaves it open where the next PDU begins, or which commands there are (a header digest,
 * a length or a sequence number that cannot be), the connection is dropped, as error recovery level 0 says.
 */
#ifndef ZD_SERVE_ISCSI_H
#define ZD_SERVE_ISCSI_H

#include "zoned/scsi.h"
#include "zoned/serve.h"

#include "serve/iscsi/pdu.h"
#include "serve/loop/loop.h"

#define SPARE 8 /* slots for immediate commands beyond the window */
#define SLOTS (ZD_ISCSI_WINDOW + SPARE)
#define CDB 64    /* bytes kept of a CDB; longer ones are no commands of ours */
#define TEXT 8192 /* bytes of a text request */

enum state {
	FREE,
	UNSOLICITED, /* its first burst is on the way */
	SOLICITED,   /* what an R2T asked for is */
	RUNNING,     /* the executor has it */
	ENDED        /* its answer is queued, which may hold its buffer until it is sent */
};

struct task {
	struct zd_scsi_task scsi;
	struct zd_work work;
	struct zd_buffer *buffer;
	struct zd_pin pin; /* what was read lies there, and not in the buffer */
	struct iovec part;
	uint64_t expect;    /* bytes that the command takes of what is sent */
	uint64_t received;  /* bytes sent so far, taken or not */
	uint64_t burst_end; /* the burst under way ends before this offset */
	uint32_t itt, ttt, edtl;
	uint32_t data_sn, r2t_sn;
	uint8_t state, reads, writes, immediate;
	uint8_t verdict; /* status that it ends with in any case; 0: none */
	uint16_t spoilt; /* ASC and ASCQ of ABORTED COMMAND, if verdict is CHECK CONDITION */
	uint8_t cdb[CDB];
	uint8_t sense[2 + ZD_SCSI_SENSE_ROOM + 2];
};

struct zd_iscsi {
	struct zd_server server;
	zd_scsi_target *scsi;
	struct zd_iscsi_limits limits;
	char name[ZD_ISCSI_NAME];
	struct zd_served units[ZD_SCSI_MAX_LUNS];
	char *targets;
	uint32_t targets_length;
};

/* What other threads ask of a connection. */
#define ORDER_LOGOUT 1u /* ask the initiator to */
#define ORDER_CLEAR 2u  /* end commands of the units in `clear` that wait for their data */

struct connection {
	struct zd_peer peer;
	zd_iscsi *target;
	zd_scsi_nexus *nexus;
	struct zd_iscsi_login login;
	uint32_t powered[ZD_SCSI_MAX_LUNS]; /* of struct zd_news of each unit, when the session began */

	/* Numbers of the RFC. */
	uint32_t exp_cmd_sn, stat_sn;
	uint32_t commands; /* in the window: not immediate, without an answer yet */
	uint32_t next_ttt, ping;
	uint32_t nr_slots; /* that were ever used: nobody looks beyond */
	bool between;      /* no PDU is half read */
	bool closing;      /* nothing is answered any more */

	uint8_t bhs[48]; /* of the PDU that is being read */
	uint32_t length; /* of its data segment */
	bool bad_data;   /* its digest was wrong */

	uint32_t logout_itt;
	uint32_t text_at, text_itt; /* how far the answer to SendTargets was sent; 0: none is under way */
	_Atomic uint32_t orders, grace_ms;
	_Atomic uint64_t clear[ZD_SCSI_MAX_LUNS / 64];
	_Atomic uint64_t rejects;
	uint32_t itts[SLOTS]; /* by slot; looked through for each Data-Out, so they lie together */
	struct task tasks[SLOTS];
};

static inline struct connection *connection_of(struct zd_peer *peer)
{
	return (struct connection *)peer; /* its first member */
}

/* ---------------------------------------------------------------- target.c */

/*
 * Other sessions' commands to a unit (to all: ZD_SCSI_MAX_LUNS) that wait for their data end with TASK ABORTED, by an order to
 * each: the executor, which ends those under way, does not know of them yet.
 */
void zd_iscsi_clear_others(struct connection *c, uint32_t lun);
/*
 * Whether the disk of a unit (ZD_SCSI_MAX_LUNS: of any) has no power, or had none for a while since the session began. A target's
 * sessions do not survive that: 0, or what zd_iscsi_disturbed() gives.
 */
int zd_iscsi_check_power(struct connection *c, uint32_t lun);

/* ---------------------------------------------------------------- connection.c */

int zd_iscsi_serve(struct zd_peer *peer);
/* What its link needs to know. */
void zd_iscsi_prepare(struct connection *c);
/* ZD_PEER_DISTURBED, and the sentence that the connection will have ended with. */
int zd_iscsi_disturbed(struct connection *c, const char *why);
/* The data segment of the PDU at hand: its first `keep` bytes to a place; then looks at its digest. */
int zd_iscsi_segment(struct connection *c, uint8_t *to, uint64_t keep);

/*
 * A PDU to send: the header, to be filled. NULL: *err. Then zd_iscsi_send() with its data segment, which must stay where it
 * is until all is sent. `status`: it takes a StatSN.
 */
uint8_t *zd_iscsi_begin(struct connection *c, uint8_t opcode, uint32_t itt, bool status, int *err);
void zd_iscsi_send(struct connection *c, uint8_t *head, const void *data, uint32_t length);
/* The same with up to 64 bytes of data, which are copied. */
void zd_iscsi_send_copy(struct connection *c, uint8_t *head, const void *data, uint32_t length);

/* ---------------------------------------------------------------- command.c */

int zd_iscsi_command(struct connection *c, const uint8_t *more, uint32_t more_length);
int zd_iscsi_data_out(struct connection *c);
extern const struct zd_commands zd_iscsi_commands;
/* The initiator wants no answer of it. */
void zd_iscsi_abort(struct connection *c, struct task *t);
/* Another one ended it while it waited for its data. */
int zd_iscsi_cleared(struct connection *c, struct task *t);
/* All that was queued is sent: buffers and slots are free again. */
void zd_iscsi_sent(struct connection *c);
/* It will take its time: no answer keeps the disk's own bytes. */
void zd_iscsi_stuck(struct connection *c);
/* Forget all tasks; the executor has none of them any more. */
void zd_iscsi_forget_tasks(struct connection *c);

/* ---------------------------------------------------------------- manage.c */

int zd_iscsi_nop(struct connection *c);
int zd_iscsi_ping(struct connection *c);
int zd_iscsi_manage(struct connection *c);
int zd_iscsi_text(struct connection *c);
int zd_iscsi_logout(struct connection *c);
void zd_iscsi_farewell(struct zd_peer *peer);
int zd_iscsi_reject(struct connection *c, uint8_t reason);
int zd_iscsi_orders(struct connection *c);

#endif
