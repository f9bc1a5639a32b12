/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvmetcp: queues of the NVMe/TCP transport (1.0), behind CONNECT.
 *
 *     target.c      the subsystem, its controllers and who is connected to them, what other threads ask of a connection
 *     connection.c  a connection's life: PDUs in, digests, dispatch; PDUs out; the watch over KEEP ALIVE
 *     command.c     commands: data from and to the host, completions
 *     fabrics.c     properties of the controller (enabling, reset, shutdown) and DISCONNECT
 *
 * It may call serve/loop, the executor's public header, base. What a command does on the disk holds no lock of this room,
 * and what is sent or awaited here holds none of the disk.
 *
 * Faults of the other side are answered in this order: what names a command ends that command with a status; what leaves it open
 * where the next PDU begins, or which command it is of, ends the connection with a C2HTermReq that names the field.
 */
#ifndef ZD_SERVE_NVMETCP_H
#define ZD_SERVE_NVMETCP_H

#include "zoned/nvme.h"
#include "zoned/serve.h"

#include "serve/loop/loop.h"
#include "serve/nvmetcp/pdu.h"

#define SLOTS ZD_NVMETCP_DEPTH

enum state {
	FREE,
	PARKED,   /* waits for memory */
	INCOMING, /* its data is on the way */
	RUNNING,  /* the executor has it */
	ENDED     /* its answer is queued, which may hold its buffer until it is sent */
};

struct task {
	struct zd_nvme_command nvme; /* the first member */
	struct zd_work work;
	struct zd_buffer *buffer;
	struct iovec part;
	struct task *behind; /* parked, too */
	uint32_t expect;     /* bytes that the host is asked for */
	uint32_t room;       /* bytes that it takes */
	uint32_t received;
	uint16_t cid, tag;
	uint8_t state;
};

/* A host's. Under the server's lock, but for what is atomic. */
struct controller {
	zd_nvme_controller *nvme;
	struct controller *next;
	char host[ZD_NVME_MAX_NAME];
	uint8_t host_id[16];
	uint16_t id;
	uint32_t queues; /* that are connected */
	bool over;       /* it takes no queues */
	_Atomic uint32_t configuration, status;
	_Atomic uint64_t heard; /* when KEEP ALIVE came last, ns */
};

struct zd_nvmetcp {
	struct zd_server server;
	zd_nvme_subsystem *nvme;
	struct zd_nvmetcp_limits limits;
	struct controller *controllers; /* under the server's lock */
	struct zd_served disks[ZD_NVME_MAX_NAMESPACES + 1];
};

struct connection {
	struct zd_peer peer;
	zd_nvmetcp *target;
	struct controller *controller;
	zd_nvme_queue *queue;
	struct zd_nvmetcp_connect how;
	uint32_t sqhd;
	uint32_t nr_slots;  /* that were ever used: nobody looks beyond */
	uint32_t silent_ms; /* amid a PDU */
	bool between;       /* no PDU is half read */
	bool closing;       /* nothing is answered any more */

	uint8_t head[CAPSULE_HEADER]; /* of the PDU that is being read */
	uint32_t length;              /* of its data */
	bool bad_data;                /* its digest was wrong */

	struct task *parked, **last_parked;
	struct task *fabrics; /* the Fabrics command at hand, which a reset or an end that it brings does not silence */
	uint16_t next_tag;
	struct task tasks[SLOTS];
};

static inline struct connection *connection_of(struct zd_peer *peer)
{
	return (struct connection *)peer; /* its first member */
}

/* ---------------------------------------------------------------- target.c */

/* End all other connections of the controller. */
void zd_nvmetcp_drop_others(struct connection *c);
uint32_t zd_nvmetcp_nr_queues(struct connection *c);

/* ---------------------------------------------------------------- connection.c */

int zd_nvmetcp_serve(struct zd_peer *peer);
/* What its link needs to know. */
void zd_nvmetcp_prepare(struct connection *c);
/* ZD_PEER_DISTURBED, the sentence that the connection will have ended with, and to the host a C2HTermReq. */
int zd_nvmetcp_disturbed(struct connection *c, enum fatal status, uint32_t information, const char *why);
/* The data of the PDU at hand: its first `keep` bytes to a place; then looks at its digest. */
int zd_nvmetcp_segment(struct connection *c, uint8_t *to, uint64_t keep);
/* A PDU's header, to be filled, of `length` bytes. NULL: *err. Then zd_nvmetcp_send(). */
uint8_t *zd_nvmetcp_begin(struct connection *c, uint8_t type, uint8_t length, int *err);
/* data must stay where it is until all is sent. */
void zd_nvmetcp_send(struct connection *c, uint8_t *head, const void *data, uint64_t length);

/* ---------------------------------------------------------------- command.c */

int zd_nvmetcp_command(struct connection *c);
int zd_nvmetcp_data(struct connection *c);
extern const struct zd_commands zd_nvmetcp_commands;
void zd_nvmetcp_farewell(struct zd_peer *peer);
/* All that was queued is sent: buffers and slots are free again. */
void zd_nvmetcp_sent(struct connection *c);
/* Commands that waited for memory, as far as there is some. */
int zd_nvmetcp_unpark(struct connection *c);
/* Those under way get no answer: the controller was reset. */
void zd_nvmetcp_silence(struct connection *c);
/* Forget all commands; the executor has none of them any more. */
void zd_nvmetcp_forget_tasks(struct connection *c);

/* ---------------------------------------------------------------- fabrics.c */

/* Carry out a Fabrics command: status and result as of any. 0, ZD_PEER_LEAVING if it is answered behind the end, or what the link gave. */
int zd_nvmetcp_fabrics(struct connection *c, struct zd_nvme_command *command);
/* Whether commands are taken: the host has enabled the controller. */
bool zd_nvmetcp_is_enabled(const struct controller *controller);
/* The controller ends: its host gave no sign of life. */
void zd_nvmetcp_fail(struct controller *controller);

#endif
