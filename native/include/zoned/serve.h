/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/serve.h - zoned disks for hosts elsewhere: the parts of an iSCSI target behind the login, and of an NVMe/TCP one
 * behind CONNECT.
 *
 * A zd_iscsi is one target: disks by LUN and the sessions that use them. Listening, login, discovery and authentication
 * are the caller's (zoned.export): a connection comes here once it is in full feature phase (RFC 7143), with the
 * parameters that were negotiated, and is served by a thread of its own until either side ends it. Error recovery
 * level 0, one connection a session. No byte behind the last login PDU has been read: initiators wait for its answer.
 *
 * A command's way:
 *     socket -> serve/loop/link.c (bytes in, bytes out, stalls) -> serve/iscsi/connection.c (PDUs: digests, numbers, kinds)
 *     -> command.c (its data: immediate, unsolicited, R2T) -> zd_scsi_exec() -> command.c (Data-In, status) -> link.c
 * Data goes from the socket into a command's buffer and from there into the disk, and back; nothing is copied between. What
 * ends later, in another thread, is put onto the connection's list and wakes it by an eventfd: only a connection's own
 * thread writes to its socket. No lock of the disk is held there.
 *
 * Power       A disk that loses its power ends the sessions of its target: each at its next command for that disk, its next
 *             NOP, or when its silence would be asked about, also if the power is back by then. (zoned/power.h)
 * Returns     0 or a negative errno or code as in zoned/error.h, with *err (may be NULL) filled.
 * Threads     All calls may be made from any thread, but zd_serve_iscsi_unit() once a connection was taken, and
 *             zd_serve_iscsi_free(), which must be the last.
 * fork        A forked child has none of the threads: it calls zd_serve_iscsi_forget() and nothing else.
 * Memory      A connection: 320 KiB, and for data at most ZD_ISCSI_CONNECTION_ROOM, of which it keeps
 *             ZD_ISCSI_KEPT_ROOM between commands; all of a target together at most zd_iscsi_limits.room for data. Where
 *             room lacks, a command ends with TASK SET FULL and the initiator gives it again. Sessions:
 *             zd_iscsi_limits.sessions.
 */
#ifndef ZONED_SERVE_H
#define ZONED_SERVE_H

#include "zoned/nvme.h"
#include "zoned/zoned.h"

ZD_BEGIN

#define ZD_ISCSI_NAME 224             /* bytes of a name, with its NUL (RFC 7143 4.2.7.1) */
#define ZD_ISCSI_TEXT 256             /* room for a sentence */
#define ZD_ISCSI_WINDOW 128           /* commands that a session may have under way */
#define ZD_ISCSI_SEGMENT (256u << 10) /* MaxRecvDataSegmentLength that a login must declare for this side */
#define ZD_ISCSI_CONNECTION_ROOM (96u << 20)
#define ZD_ISCSI_KEPT_ROOM (8u << 20)

typedef struct zd_iscsi zd_iscsi;

/* Zero: the value in brackets. */
struct zd_iscsi_limits {
	uint64_t room;     /* bytes of data that all commands of the target hold at once [1 GiB] */
	uint32_t sessions; /* [256] */
	uint32_t idle_ms;  /* a connection that was silent so long is asked for a sign of life [15 s] */
	uint32_t stall_ms; /* and dropped if it gives none for so long, or takes what is sent to it no further [30 s] */
};

/* What the login found out. Lengths are bytes. */
struct zd_iscsi_login {
	char initiator[ZD_ISCSI_NAME]; /* NUL-terminated */
	char address[64];              /* the initiator's, for people */
	uint8_t isid[6];
	uint16_t tsih, cid;
	uint32_t cmd_sn;      /* that the next command bears */
	uint32_t stat_sn;     /* that the next response bears */
	uint32_t max_send;    /* MaxRecvDataSegmentLength of the initiator, 512 to 2^24-1 */
	uint32_t max_burst;   /* 512 to 2^24-1 */
	uint32_t first_burst; /* 512 to max_burst */
	uint8_t header_digest, data_digest, immediate_data, initial_r2t; /* 0 or 1 */
};

/* A session, as it is now. */
struct zd_iscsi_session {
	uint64_t id;
	char initiator[ZD_ISCSI_NAME], address[64];
	uint8_t isid[6];
	uint16_t tsih;
	int64_t since;                          /* CLOCK_REALTIME, ns */
	uint64_t commands, bytes_in, bytes_out; /* SCSI commands; data that the initiator sent, and got */
	uint64_t errors, rejects;               /* commands that ended with another status than GOOD; PDUs that were rejected */
	uint32_t under_way;                     /* commands */
	uint32_t digests;                       /* bit 0: header, bit 1: data */
};

/* name: the target's (IQN). portal: the target portal group tag. limits may be NULL. Errors: -EINVAL, -ENOMEM, -EMFILE. */
int zd_serve_iscsi_new(const char *name, uint16_t portal, const struct zd_iscsi_limits *limits, zd_iscsi **out,
		       struct zd_error *err);
/* A disk, as LUN lun (0 to 255). It stays the caller's and must outlive the target. Errors: -EBUSY (a connection
 * was taken), and those of zd_scsi_target_add(). */
int zd_serve_iscsi_unit(zd_iscsi *target, uint32_t lun, zd_dev *dev, struct zd_error *err);
/*
 * What SendTargets is answered by sessions of the target: its name and addresses, as text keys, each ending with a NUL. It is
 * copied. Errors: -ENOMEM, -E2BIG (beyond 8,000 bytes).
 */
int zd_serve_iscsi_targets(zd_iscsi *target, const void *text, uint32_t length, struct zd_error *err);

/*
 * Serve a connected socket from here on, in a thread of its own; fd is duplicated. *id: the session's, never 0, and never
 * another one's. Errors: -EINVAL (a parameter out of range), -EUSERS (too many sessions), -ESHUTDOWN (the target is
 * stopping), -ENOMEM, -EAGAIN, -EMFILE.
 */
int zd_serve_iscsi_take(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, uint64_t *id, struct zd_error *err);
/* The same in this thread: returns when the connection has ended. For tests. */
int zd_serve_iscsi_here(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, struct zd_error *err);
/*
 * Drop a session, without waiting for its end: for one that its initiator logs in again (session reinstatement). -ENOENT: it
 * is gone. Once zd_serve_iscsi_list() no longer lists it, it holds nothing.
 */
int zd_serve_iscsi_drop(zd_iscsi *target, uint64_t id);
/* Up to room sessions; returns how many there are. */
int zd_serve_iscsi_list(zd_iscsi *target, struct zd_iscsi_session *sessions, uint32_t room);
/*
 * Take one sentence of what went wrong with connections and what no initiator could be told, the oldest first.
 * -ENOENT: there is none. At most 16 are kept and 8 a second are made; the last one tells how many were left out.
 */
int zd_serve_iscsi_said(zd_iscsi *target, char text[ZD_ISCSI_TEXT]);
/* Readable when there is a sentence, and when a session has ended. The target's; do not close it. */
int zd_serve_iscsi_event(zd_iscsi *target);
/*
 * Begin to stop: no connection is taken any more, and each initiator is asked to log out within grace_ms. Does not wait:
 * zd_serve_iscsi_free() drops those that did not.
 */
void zd_serve_iscsi_stop(zd_iscsi *target, uint32_t grace_ms);
/* Drop all sessions, wait for their threads, and free it. NULL: nothing. */
void zd_serve_iscsi_free(zd_iscsi *target);
/* In a forked child: close the descriptors, free nothing. */
void zd_serve_iscsi_forget(zd_iscsi *target);

/*
 * ---------------------------------------------------------------- NVMe/TCP
 *
 * A zd_nvmetcp is one NVM subsystem: disks as namespaces, controllers of hosts and the queues that these have connected, each
 * a TCP connection and a thread. A connection comes here once its host has been told that it is connected (and has proved
 * itself, where that is asked for), with what both sides agreed on; no byte behind the last command has been read. Commands take
 * the way that is told above, with zoned/nvme.h in the place of zoned/scsi.h.
 *
 * A controller is made by its admin queue, and is gone once its last queue is: the end of the admin queue ends the others. It ends,
 * too, if its host sent no KEEP ALIVE for its timeout and a second more.
 *
 * Returns, threads, fork, memory: as above, but where room lacks, a command waits for it. Limits: zd_nvmetcp_limits.
 */

#define ZD_NVMETCP_DEPTH 128              /* commands that a queue may have under way */
#define ZD_NVMETCP_IN_CAPSULE (16u << 10) /* bytes of data behind a command of an I/O queue */
#define ZD_NVMETCP_ADMIN_CAPSULE 8192     /* the same of the admin queue */
#define ZD_NVMETCP_SEGMENT (1u << 20)     /* MAXH2CDATA that a host must have been told */
#define ZD_NVMETCP_TEXT 256               /* room for a sentence */

typedef struct zd_nvmetcp zd_nvmetcp;

/* Zero: the value in brackets. */
struct zd_nvmetcp_limits {
	uint64_t room;     /* bytes of data that all commands of the subsystem hold at once [1 GiB] */
	uint32_t queues;   /* connections [1024] */
	uint32_t stall_ms; /* a host that takes no answers, or ends amid a PDU, for so long is dropped [30 s] */
};

/* What CONNECT found out. */
struct zd_nvmetcp_connect {
	char host[ZD_NVME_MAX_NAME]; /* NQN, NUL-terminated */
	char address[64];            /* the host's, for people */
	uint8_t host_id[16];
	uint16_t controller;   /* that the host was told (queue 0), or told us; 1 to FFEFh */
	uint16_t queue, depth; /* number of the queue, below ZD_NVME_MAX_QUEUES; its entries, 2 to ZD_NVMETCP_DEPTH */
	uint16_t taken;        /* commands that its host gave up to now, CONNECT included */
	uint32_t keep_alive;   /* ms; 0: none. Of queue 0 */
	uint8_t align;         /* data begins at multiples of (align + 1) * 4 bytes of a PDU; 0 to 31 */
	uint8_t header_digest, data_digest, no_flow_control; /* 0 or 1 */
};

/* A connected queue, as it is now. */
struct zd_nvmetcp_queue {
	uint64_t id;
	char host[ZD_NVME_MAX_NAME], address[64];
	uint8_t host_id[16];
	uint16_t controller, queue, depth, reserved;
	int64_t since;                          /* CLOCK_REALTIME, ns */
	uint64_t commands, bytes_in, bytes_out; /* commands; data that the host sent, and got */
	uint64_t errors;                        /* commands that ended with another status than SUCCESS */
	uint32_t under_way;                     /* commands */
	uint32_t keep_alive;                    /* ms, of queue 0 */
	uint32_t digests;                       /* bit 0: header, bit 1: data */
};

/* nqn: the subsystem's. limits may be NULL. Errors: -EINVAL, -ENOMEM, -EMFILE. */
int zd_serve_nvmetcp_new(const char *nqn, const struct zd_nvmetcp_limits *limits, zd_nvmetcp **out, struct zd_error *err);
/* A part of a disk as a namespace; the disk stays the caller's and must outlive the target. Errors: zd_nvme_namespace_add(). */
int zd_serve_nvmetcp_namespace(zd_nvmetcp *target, uint32_t nsid, zd_dev *dev, int part, struct zd_error *err);
/*
 * Serve a connected socket from here on, in a thread of its own; fd is duplicated. *id: the connection's, never 0, and never
 * another one's. Errors: -EINVAL (a parameter out of range), -EEXIST (the controller, or a queue of it, is there already),
 * -ENOENT (there is no such controller of that host, or it takes no queues), -EUSERS (too many connections), -ESHUTDOWN (the
 * target is stopping), -ENOMEM, -EAGAIN, -EMFILE.
 */
int zd_serve_nvmetcp_take(zd_nvmetcp *target, int fd, const struct zd_nvmetcp_connect *how, uint64_t *id, struct zd_error *err);
/* The same in this thread: returns when the connection has ended. For tests. */
int zd_serve_nvmetcp_here(zd_nvmetcp *target, int fd, const struct zd_nvmetcp_connect *how, struct zd_error *err);
/* Drop a connection, without waiting for its end. -ENOENT: it is gone. */
int zd_serve_nvmetcp_drop(zd_nvmetcp *target, uint64_t id);
/* Up to room connections; returns how many there are. */
int zd_serve_nvmetcp_list(zd_nvmetcp *target, struct zd_nvmetcp_queue *queues, uint32_t room);
/* As zd_serve_iscsi_said() and zd_serve_iscsi_event(). */
int zd_serve_nvmetcp_said(zd_nvmetcp *target, char text[ZD_NVMETCP_TEXT]);
int zd_serve_nvmetcp_event(zd_nvmetcp *target);
/* Begin to stop: no connection is taken any more. NVMe has no way to ask a host to leave. */
void zd_serve_nvmetcp_stop(zd_nvmetcp *target);
/* Drop all connections, wait for their threads, and free it. NULL: nothing. */
void zd_serve_nvmetcp_free(zd_nvmetcp *target);
/* In a forked child: close the descriptors, free nothing. */
void zd_serve_nvmetcp_forget(zd_nvmetcp *target);

ZD_END
#endif
