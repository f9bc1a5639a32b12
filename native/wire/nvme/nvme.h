/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme: submission queue entries to requests of the disk, and what came of them to status and data.
 *
 *     table.c       every command once: where it may be given, what it changes, how many bytes it moves, who carries it out
 *     exec.c        what all have in common: opcode, namespace, buffers, then step after step to the end
 *     queues.c      commands that are under way, and how they are aborted
 *     subsystem.c   subsystems, namespaces, controllers
 *     events.c      what happens to a disk by others, and who is told of it
 *     memory.c      one controller in many processes
 *     others        the commands by subject
 *
 * It may call the public headers, rules and base. No lock of it is held while a request is under way or `done` runs.
 * Locks: subsystem -> controller -> queue.
 */
#ifndef ZD_WIRE_NVME_H
#define ZD_WIRE_NVME_H

#include "zoned/nvme.h"

#include "base/littleendian.h"
#include "wire/common.h"
#include "wire/underway.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What a step gives back. */
#define STEP_END 0    /* the command has its status */
#define STEP_SUBMIT 1 /* command->request is to be submitted to command->ns; then command->step goes on */
#define STEP_WAIT 2   /* it waits for an event, and may be gone already */

#define CSI_NVM 0
#define CSI_ZNS 2
#define ALL_NAMESPACES UINT32_MAX
#define PAGE 4096 /* bytes of most answers, and what MDTS and ZASL count */
#define ERRORS 64 /* entries of the error log */
#define MOST_CHANGED 511
#define MOST_RANGES 256
#define MOST_COPY_RANGES 128u
#define MOST_COPY (1u << 20)          /* bytes that a COPY copies; MSSRL and MCL say so */
#define MOST_UNCORRECTABLE (1u << 20) /* bytes of a WRITE UNCORRECTABLE; WUSL says so */

/* A wrong field is told by its first byte and bit. */
#define AT(byte, bit) ((uint32_t)(byte) | (uint32_t)(bit) << 8)
#define NOWHERE 0xFFFFu

struct zd_nvme_namespace {
	zd_dev *dev;
	struct zd_info info; /* what of it never changes */
	uint32_t nsid, csi;
	uint32_t block, shift;    /* bytes of a logical block, and which power of two they are */
	uint32_t first, nr_zones; /* of the disk's zones */
	uint64_t base, blocks;    /* where it begins on the disk, bytes; its length, blocks */
	uint64_t zone_blocks;     /* of a zone */
	uint64_t zone_capacity;   /* blocks */
	bool write_protected;
	uint8_t uuid[16];
	_Atomic uint32_t powered, conditioned, gone_back; /* struct zd_news, as far as hosts were told */
	_Atomic uint32_t unseen;                          /* zones are to be looked at */
	_Atomic uint32_t nr_dead;
	uint8_t *dead; /* of each zone: its condition if it is READ_ONLY or OFFLINE, else 0. Under the subsystem's lock */
};

struct zd_nvme_subsystem {
	struct zd_nvme_names names;
	struct zd_nvme_namespace *namespaces[ZD_NVME_MAX_NAMESPACES + 1]; /* by nsid */
	uint64_t append_limit;                                            /* bytes; ZASL: a power of two pages */
	_Atomic uint32_t sanitized;                                       /* SSTAT of the sanitize status log */
	_Atomic uint32_t sanitize_dword10;
	pthread_mutex_t lock; /* of the list, and of what namespaces know of their zones */
	zd_nvme_controller *controllers;
	uint32_t last_id;
};

enum zd_nvme_event { EVENT_INTERNAL, EVENT_RELIABILITY, EVENT_NAMESPACE, EVENT_SANITIZED, EVENT_ZONES, NR_EVENTS };

/* Events that have come and are not told; masked: told, and told again only once their log page was read. */
struct zd_nvme_news {
	uint32_t pending, masked; /* bits 1 << enum zd_nvme_event */
};

/* What one controller has not told of one zoned namespace. */
struct zd_nvme_changed {
	uint32_t nr;              /* more than MOST_CHANGED: too many */
	struct zd_nvme_news news; /* EVENT_ZONES alone */
	uint64_t slbas[MOST_CHANGED];
};

struct zd_nvme_error_entry {
	uint64_t count, slba, result;
	uint32_t nsid;
	uint16_t queue, cid, status, location;
};

/* What SET FEATURES changes. */
struct zd_nvme_features {
	uint32_t arbitration, threshold[2], recovery[ZD_NVME_MAX_NAMESPACES + 1], events, nr_queues;
	uint8_t behavior[3];
	uint64_t timestamp, timestamp_at; /* ms; ns of the clock when it was set */
	bool timestamp_set;
};

struct zd_nvme_controller {
	zd_nvme_subsystem *subsystem;
	zd_nvme_controller *next;
	uint16_t id;
	uint8_t host_id[16];
	_Atomic uint32_t keep_alive; /* ms */
	_Atomic uint32_t write_through;
	_Atomic uint32_t news; /* events came that nobody has tried to tell */
	pthread_mutex_t lock;  /* of what follows */
	struct zd_nvme_features features;
	zd_nvme_queue *queues[ZD_NVME_MAX_QUEUES];
	uint32_t nr_queues;
	struct zd_nvme_command *waiting, **last_waiting; /* event requests */
	uint32_t nr_waiting;
	struct zd_nvme_news untold; /* all but EVENT_ZONES */
	struct zd_nvme_changed *changed[ZD_NVME_MAX_NAMESPACES + 1];
	uint8_t namespace_changed[ZD_NVME_MAX_NAMESPACES + 1];
	uint64_t nr_errors, remembered; /* remembered: how many of them memory.c has written down */
	struct zd_nvme_error_entry errors[ERRORS];
};

struct zd_nvme_queue {
	zd_nvme_controller *controller;
	uint32_t id;
	struct zd_under_way_list commands;
	_Atomic uint32_t deleters; /* of its aborters, who abort all commands; changed under the lock of these */
};

/* ---------------------------------------------------------------- the table */

struct zd_nvme_opcode {
	const char *name;
	uint8_t opcode;
	uint16_t flags; /* ZD_NVME_ADMIN, ... and NEEDS_NAMESPACE */
	uint32_t effects;
	uint32_t usage[6];
	int (*run)(struct zd_nvme_command *command);
	/* How many bytes it moves, before anything is checked; NULL: none. ns may be NULL for admin commands. */
	void (*size)(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
};
#define NEEDS_NAMESPACE 0x8000u
extern const struct zd_nvme_opcode zd_nvme_opcodes[];
extern const uint32_t zd_nvme_nr_opcodes;
const struct zd_nvme_opcode *zd_nvme_find(bool admin, uint8_t opcode);
/* Whether it may be given in a namespace of that command set. */
bool zd_nvme_has(const struct zd_nvme_opcode *opcode, uint32_t csi);

/* ---------------------------------------------------------------- exec.c: how a command ends */

int zd_nvme_good(struct zd_nvme_command *command);
/* With ZD_NVME_DO_NOT_RETRY: the host must do something else. */
int zd_nvme_refuse(struct zd_nvme_command *command, uint32_t status);
/* INVALID FIELD IN COMMAND, at that byte and bit of the entry. */
int zd_nvme_field(struct zd_nvme_command *command, uint32_t byte, uint32_t bit);
int zd_nvme_failed(struct zd_nvme_command *command, int64_t code);
/* A step that ends the command as its request did. */
int zd_nvme_end(struct zd_nvme_command *command);
/* A request of the command, to be filled further. */
struct zd_request *zd_nvme_ask(struct zd_nvme_command *command, int op);
/* It has its status: what it holds is freed, and its owner is told. */
void zd_nvme_finish(struct zd_nvme_command *command);
/* Dword 10 to 15. */
static inline uint32_t zd_nvme_dword(const uint8_t *sqe, uint32_t index)
{
	return get32le(sqe + 4 * index);
}
/* The namespace, or NULL: there is none. */
struct zd_nvme_namespace *zd_nvme_at(const zd_nvme_subsystem *subsystem, uint32_t nsid);
static inline zd_nvme_controller *zd_nvme_of(const struct zd_nvme_command *command)
{
	return command->queue->controller;
}

/* Answer with `length` bytes from an offset of `data` on, cut to the room that the entry names, and end. */
int zd_nvme_give(struct zd_nvme_command *command, const void *data, uint64_t length);
void zd_nvme_put(struct zd_nvme_command *command, uint64_t at, const void *data, uint64_t length);
/* The first `length` bytes of what the host sent. They are there: exec.c has looked. */
void zd_nvme_take(const struct zd_nvme_command *command, void *to, uint64_t length);
/* offset .. offset+length, not nothing, of buffers that hold as much, as buffers in command->request; false: no memory. */
bool zd_nvme_clip(struct zd_nvme_command *command, const struct iovec *iov, uint64_t offset, uint64_t length);

/* ---------------------------------------------------------------- queues.c */

void zd_nvme_enter(struct zd_nvme_command *command);
void zd_nvme_leave(struct zd_nvme_command *command);
/* All commands of that queue, if it is open; they end with QUEUE DELETED. When they have ended. */
void zd_nvme_abort_all(zd_nvme_controller *controller, uint32_t id);
int zd_nvme_abort(struct zd_nvme_command *command);

/* ---------------------------------------------------------------- events.c */

/* What has happened to the disk of one namespace, or (NULL) of all. */
void zd_nvme_look_for_news(zd_nvme_subsystem *subsystem, struct zd_nvme_namespace *only);
void zd_nvme_tell(zd_nvme_subsystem *subsystem, enum zd_nvme_event event);
int zd_nvme_event_request(struct zd_nvme_command *command);
/* A waiting event request is taken out of the list; false: it is not there. */
bool zd_nvme_stop_waiting(struct zd_nvme_command *command);
/* A log page is about to be read: it says itself what its event would tell. */
void zd_nvme_forget(zd_nvme_controller *controller, enum zd_nvme_event event, uint32_t nsid);
/* It was read: its event may come again. */
void zd_nvme_unmask(zd_nvme_controller *controller, enum zd_nvme_event event, uint32_t nsid);
/* Events that came are told, as far as requests wait for them. */
void zd_nvme_tell_news(zd_nvme_controller *controller);
void zd_nvme_deliver(zd_nvme_controller *controller);
/* A zone of a namespace became OFFLINE by a host's command, which is no news. */
void zd_nvme_zone_offline(zd_nvme_subsystem *subsystem, struct zd_nvme_namespace *ns, uint32_t zone);
void zd_nvme_log_error(struct zd_nvme_command *command);

/* ---------------------------------------------------------------- commands by subject */

void zd_nvme_features_as_at_first(zd_nvme_controller *controller);
int zd_nvme_identify(struct zd_nvme_command *command);
int zd_nvme_get_log(struct zd_nvme_command *command);
int zd_nvme_set_features(struct zd_nvme_command *command);
int zd_nvme_get_features(struct zd_nvme_command *command);
bool zd_nvme_knows_feature(uint32_t id, bool *by_namespace);
int zd_nvme_stay_alive(struct zd_nvme_command *command);
int zd_nvme_format(struct zd_nvme_command *command);
int zd_nvme_sanitize(struct zd_nvme_command *command);
int zd_nvme_flush(struct zd_nvme_command *command);
int zd_nvme_read(struct zd_nvme_command *command); /* COMPARE and VERIFY, too */
int zd_nvme_write(struct zd_nvme_command *command);
int zd_nvme_write_zeroes(struct zd_nvme_command *command);
int zd_nvme_write_uncorrectable(struct zd_nvme_command *command);
int zd_nvme_copy(struct zd_nvme_command *command);
int zd_nvme_dataset(struct zd_nvme_command *command);
int zd_nvme_append(struct zd_nvme_command *command);
int zd_nvme_zone_send(struct zd_nvme_command *command);
int zd_nvme_zone_receive(struct zd_nvme_command *command);
void zd_nvme_size_identify(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_log(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_set_features(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_get_features(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_in(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_out(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_ranges(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_copy(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_send(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);
void zd_nvme_size_zones(const struct zd_nvme_namespace *ns, const uint8_t *sqe, uint64_t *out, uint64_t *in);

#endif
