/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/nvme.h - a zoned disk as namespaces of an NVM subsystem: submission queue entries in, status and data out.
 *
 * No socket and no thread is in it. A transport (NVMe/TCP, NVME_IOCTL_* in a preloaded program) makes a subsystem, gives it
 * namespaces, opens a controller for each host that has connected and a queue for each of its submission queues, and hands over
 * commands. NVM Express base 2.0, the NVM and the ZNS command set (1.1) say what the answers are; QEMU's drive where they leave a
 * choice. Queues in memory, properties, Fabrics commands, PRPs and SGLs are the transport's.
 *
 * Units       LBAs and numbers of blocks count a namespace's logical blocks, from its own beginning. Lengths are bytes.
 * Returns     int: 0 or a negative code as in zoned/error.h, with *err (may be NULL) filled. zd_nvme_exec() never fails: what
 *             went wrong is in the command's status.
 * Threads     A subsystem, its controllers and queues may be used by many threads at once, but for making and freeing them.
 * Memory      A command needs none beyond itself where buffers fit; else a list of its buffers, of DATASET MANAGEMENT 4 KiB, of
 *             WRITE ZEROES and WRITE UNCORRECTABLE 64 KiB, of COPY 2 KiB and what it copies, up to 1 MiB, until it has ended. A
 *             subsystem: 4 KiB; a namespace: a byte for each of its zones; a controller: 8 KiB, and 4 KiB for each zoned namespace.
 */
#ifndef ZONED_NVME_H
#define ZONED_NVME_H

#include "zoned/zoned.h"

ZD_BEGIN

#define ZD_NVME_MAX_NAMESPACES 256
#define ZD_NVME_MAX_QUEUES 128          /* of one controller, the admin queue included */
#define ZD_NVME_MAX_TRANSFER (8u << 20) /* bytes that one command moves; MDTS says so */
#define ZD_NVME_MAX_NAME 224            /* bytes of an NQN with its NUL */
#define ZD_NVME_MAX_EVENTS 4            /* ASYNCHRONOUS EVENT REQUESTs of a controller at a time */
#define ZD_NVME_DO_NOT_RETRY (1u << 14) /* in a status, beside SCT << 8 | SC */
#define ZD_NVME_MORE (1u << 13)         /* the error log says more */

/*
 * Status codes (SCT << 8 | SC) that are none of a broken rule: those are in zd_rule_info().
 */
enum zd_nvme_status {
	ZD_NVME_SUCCESS = 0x000,
	ZD_NVME_INVALID_OPCODE = 0x001,
	ZD_NVME_INVALID_FIELD = 0x002,
	ZD_NVME_INTERNAL_ERROR = 0x006,
	ZD_NVME_ABORT_REQUESTED = 0x007,
	ZD_NVME_QUEUE_DELETED = 0x008, /* zd_nvme_queue_close(), zd_nvme_controller_reset() */
	ZD_NVME_INVALID_NAMESPACE = 0x00B,
	ZD_NVME_SEQUENCE_ERROR = 0x00C,
	ZD_NVME_DATA_LENGTH = 0x00F, /* the buffers are not what the command moves */
	ZD_NVME_WRITE_PROTECTED = 0x020,
	ZD_NVME_LBA_RANGE = 0x080,
	ZD_NVME_CAPACITY = 0x081,
	ZD_NVME_TOO_MANY_EVENT_REQUESTS = 0x105,
	ZD_NVME_INVALID_LOG_PAGE = 0x109,
	ZD_NVME_INVALID_FORMAT = 0x10A,
	ZD_NVME_NOT_SAVEABLE = 0x10D,
	ZD_NVME_NOT_CHANGEABLE = 0x10E,
	ZD_NVME_INVALID_COMMAND_SET = 0x12C,
	ZD_NVME_SIZE_LIMIT = 0x183,     /* of a COPY */
	ZD_NVME_INVALID_ZONE_OP = 0x1B6 /* zones of this namespace can have no random write area */
};

typedef struct zd_nvme_subsystem zd_nvme_subsystem;
typedef struct zd_nvme_controller zd_nvme_controller;
typedef struct zd_nvme_queue zd_nvme_queue;

/* How a subsystem calls itself. All zero: names of the project, and a serial number of the first namespace's uuid. */
struct zd_nvme_names {
	char nqn[ZD_NVME_MAX_NAME];              /* NUL-terminated; may be empty */
	char serial[21], model[41], firmware[9]; /* ASCII, NUL-terminated, padded with spaces on the wire */
	uint8_t reserved;
	uint32_t
		in_capsule; /* bytes of data that the transport takes behind a command (IOCCSZ); 0: it is no Fabrics transport */
	uint32_t max_depth; /* commands that a queue takes at once (MAXCMD); 0: 128 */
	uint32_t reserved1;
};

/* Which of a disk's zones a namespace has. */
enum zd_nvme_part {
	ZD_NVME_SEQUENTIAL = 0,  /* all but the conventional ones at its front: a zoned namespace (command set ZNS) */
	ZD_NVME_CONVENTIONAL = 1 /* these: an ordinary namespace (command set NVM) */
};

/* names may be NULL. Errors: -ENOMEM, -EINVAL (a name without its NUL). */
int zd_nvme_subsystem_new(const struct zd_nvme_names *names, zd_nvme_subsystem **out, struct zd_error *err);
/*
 * Make a part of `dev` the namespace `nsid` (1 to ZD_NVME_MAX_NAMESPACES) of a subsystem that has no controller yet. The handle
 * stays the caller's and must outlive the subsystem. A read-only handle makes a write-protected namespace.
 * Errors: ZD_E_GEOMETRY, with a sentence (a disk of another dialect than zns; conventional zones elsewhere than at its front; a
 * last zone that is smaller; no zone of that part; an append limit below 4 KiB), -EINVAL (nsid, part), -EEXIST (nsid is
 * taken), -EBUSY (a controller is open), -ENOMEM, those of zd_info() and zd_report().
 */
int zd_nvme_namespace_add(zd_nvme_subsystem *subsystem, uint32_t nsid, zd_dev *dev, int part, struct zd_error *err);
/* All its controllers must be closed. NULL: nothing. */
void zd_nvme_subsystem_free(zd_nvme_subsystem *subsystem);

/*
 * A host has connected. host_id (16 bytes; NULL: zeros) is what it calls itself, keep_alive its timeout in ms (0: none), which it
 * may change later. Errors: -ENOMEM, -EBUSY (there is no controller identifier left).
 */
int zd_nvme_controller_open(zd_nvme_subsystem *subsystem, const uint8_t *host_id, uint32_t keep_alive, zd_nvme_controller **out,
			    struct zd_error *err);
/* The same with the identifier that its host was told already (1 to FFEFh); 0: any. Errors: -EEXIST too, another one has it. */
int zd_nvme_controller_open_as(zd_nvme_subsystem *subsystem, uint16_t id, const uint8_t *host_id, uint32_t keep_alive,
			       zd_nvme_controller **out, struct zd_error *err);
uint16_t zd_nvme_controller_id(const zd_nvme_controller *controller);
/*
 * A Controller Level Reset: its commands are aborted as by zd_nvme_queue_close() of all queues, of which the admin queue
 * remains to be used and the others are to be closed; features are as at first, events and the error log are gone.
 */
void zd_nvme_controller_reset(zd_nvme_controller *controller);
/* All its queues must be closed. NULL: nothing. */
void zd_nvme_controller_close(zd_nvme_controller *controller);
/*
 * Look what happened to the disks by other openers and by faults, and end event requests by it. Each command looks, too; a
 * transport whose host is idle looks now and then.
 */
void zd_nvme_look(zd_nvme_controller *controller);
/*
 * One controller whose commands are carried out by many processes, each with a subsystem of its own on the same disks: before a
 * command it recalls what the last one remembered (features, events, the error log, what of the zones was told), behind it
 * remembers it, with a lock held over all three that keeps the others out. Errors that the controller has met since it remembered
 * or recalled last are kept, behind those of the memory. The memory has zd_nvme_memory_size() bytes, all zero at first, of
 * which nothing is recalled; its contents are of this build of the library alone. What is recalled may be told to no event
 * request before zd_nvme_look().
 */
size_t zd_nvme_memory_size(const zd_nvme_subsystem *subsystem);
void zd_nvme_remember(zd_nvme_controller *controller, void *memory);
void zd_nvme_recall(zd_nvme_controller *controller, const void *memory);
/* The keep alive timeout, ms; 0: none. That the host keeps it is the transport's to watch. */
uint32_t zd_nvme_keep_alive(zd_nvme_controller *controller);

/*
 * A submission queue; id 0 is the admin queue, each can be open once. Errors: -EINVAL (id), -EEXIST, -ENOMEM.
 */
int zd_nvme_queue_open(zd_nvme_controller *controller, uint32_t id, zd_nvme_queue **out, struct zd_error *err);
/*
 * It is gone: its commands are aborted, and end with ZD_NVME_QUEUE_DELETED unless it was too late for that. Returns when all
 * have ended and `done` has been called: such as are held up end here and now, others in their own threads within 50 ms. Not to be
 * called from `done`, nor with a lock held that `done` takes. NULL: nothing.
 */
void zd_nvme_queue_close(zd_nvme_queue *queue);

/* Begin with all zero, then size and what the transport knows. */
struct zd_nvme_command {
	uint32_t size; /* sizeof(struct zd_nvme_command) as the caller was compiled */
	uint32_t nr_out, nr_in;
	uint32_t reserved0;
	uint8_t sqe[64];         /* the submission queue entry; its data pointer (bytes 24 to 39) is not looked at */
	const struct iovec *out; /* data that the host sent */
	const struct iovec *in;  /* room for what it shall get */
	/*
	 * Called once, when the command has ended; NULL: zd_nvme_exec() returns no earlier. In the thread that gave the command, in
	 * one of the disk's handle (zoned/request.h), in one that aborts it, or, for an event, in one that found it. The library
	 * no longer knows the command then: it may be freed, or given again.
	 */
	void (*done)(struct zd_nvme_command *command);
	void *arg; /* the caller's, for done */

	/* What came of it: the completion queue entry, but for what the transport knows. */
	uint64_t result; /* dwords 0 and 1 */
	uint16_t status; /* without the phase: SC, SCT << 8, ZD_NVME_MORE, ZD_NVME_DO_NOT_RETRY */
	uint8_t reserved1[6];
	uint64_t in_length; /* bytes that were put into `in` */

	/* The library's. */
	struct zd_request request;
	struct zd_error error;
	zd_nvme_queue *queue;
	struct zd_nvme_namespace *ns;
	const struct zd_nvme_opcode *opcode;
	int (*step)(struct zd_nvme_command *command);
	void *scratch;
	struct iovec *pieces;
	struct iovec piece;
	uint64_t slba, blocks, at, room, given;
	uint32_t turn, index, cancelled, location; /* location: of a wrong field, for the error log */
	struct zd_under_way under_way;             /* on the queue */
	struct zd_nvme_command *waiting;           /* in the controller's list of event requests */
	uint8_t waits;
	uint8_t reserved2[7];
	uint64_t reserved[3];
};

/*
 * Carry out a command. It ends here, or later if a fault rule holds its request up (zd_submit()), or, an ASYNCHRONOUS EVENT
 * REQUEST, when there is an event; such a one needs `done`. The command and its buffers stay where they are until then. Buffers that
 * hold less than the command moves end it with ZD_NVME_DATA_LENGTH; of larger ones it uses the beginning.
 */
void zd_nvme_exec(zd_nvme_queue *queue, struct zd_nvme_command *command);
/*
 * End a command that zd_nvme_exec() was given and that has not ended, from any thread, as zd_cancel() does. It ends with
 * ZD_NVME_ABORT_REQUESTED, or, if it was too late for that, as it would have. What its requests had done before stays done.
 * It must not be freed meanwhile; the ABORT command and zd_nvme_queue_close() see to that by themselves.
 */
void zd_nvme_cancel(struct zd_nvme_command *command);
/*
 * Bytes that a submission queue entry makes the host send (*out), and bytes that it asks to be sent at most (*in), without doing
 * anything. So a transport asks for no data that a command will not take. 0 for commands that do not exist.
 */
void zd_nvme_transfer(zd_nvme_queue *queue, const uint8_t sqe[64], uint64_t *out, uint64_t *in);

/* Each command that a controller carries out, for documentation. */
#define ZD_NVME_ADMIN 1u   /* on the admin queue */
#define ZD_NVME_NVM 2u     /* in ordinary namespaces */
#define ZD_NVME_ZONED 4u   /* in zoned ones */
#define ZD_NVME_ALL 8u     /* also for all namespaces at once (FFFFFFFFh) */
#define ZD_NVME_WRITES 16u /* not in write-protected namespaces */
struct zd_nvme_command_info {
	const char *name;
	uint8_t opcode, reserved;
	uint16_t flags;    /* ZD_NVME_ADMIN, ... */
	uint32_t effects;  /* its entry in the log page of commands supported and effects */
	uint32_t usage[6]; /* bits of dwords 10 to 15 that it looks at */
};
/* The index-th: admin commands, then the others, in ascending order of opcode; -ENOENT behind the last. */
int zd_nvme_command_at(uint32_t index, struct zd_nvme_command_info *out);

ZD_END
#endif
