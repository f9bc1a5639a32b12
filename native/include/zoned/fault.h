/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/fault.h - making the disk fail on purpose.
 *
 * Fault rules make the disk fail on purpose. They live in the disk's shared state: they act on every opener's
 * commands, whoever set them, and stay until cleared, through close and open, until the host boots anew.
 *
 * Which commands   A rule meets a command that is one of `commands`, touches zones first_zone .. last_zone and,
 *                  for read, write and append, bytes from .. to-1 (append: as the write pointer stands when
 *                  the command comes). zd_zone_mgmt() on several zones is one command per zone; an ALL form
 *                  touches every zone. Commands that are misaligned or leave the disk meet no rule.
 *                  zd_set_condition(), zd_power_cycle() and looking never do.
 * What comes first What the rule book refuses - place and boundary, the zone's condition, the write pointer, limits on
 *                  open and active zones - it refuses, as a drive does, before anything is done to it: rules of most
 *                  kinds (medium, torn, lost, flush error, flips, limit) do not even count such a command, and one that
 *                  they cut short is judged by its whole length. LATENCY, HANG, READ_ONLY, OFFLINE and POWER_CUT happen
 *                  to the zone or to the disk, whatever becomes of the command: they meet these commands too, and come
 *                  before the rule book does.
 * When it acts     On every command it meets; or on the nth only; or on every nth; or with a probability. At
 *                  most `limit` times. If several rules meet a command, the first that acts (by order, then
 *                  id) is the only one: rules behind it do not even count the command.
 * What it does     enum zd_fault_kind. The command's error has injected = 1, fault = the rule's id, and its label
 *                  in text.
 *
 * A handle opened read-only cannot count in the shared state: on its reads only rules act that need no count
 * (neither nth, every, probability nor limit) and change nothing on the disk. A disk without rules runs the same
 * instructions as if there were none of this. Nothing of it is part of the image.
 */
#ifndef ZONED_FAULT_H
#define ZONED_FAULT_H

#include "zoned/abi.h"
#include "zoned/power.h"

ZD_BEGIN

#define ZD_MAX_FAULTS 64
#define ZD_MAX_LOST 256     /* zones that may hold data of lost writes at one time */
#define ZD_MAX_SPOILED 2048 /* blocks of a disk that may be spoiled at one time */

enum zd_fault_kind {
	/* Medium error at the first block that lies in the rule's range; what comes before it is transferred: a read
	 * fills the buffer up to it, a write lands up to it (whole physical blocks), with the write pointer. Zone
	 * commands and flush fail without having done anything. ZD_E_MEDIUM_READ or ZD_E_MEDIUM_WRITE. */
	ZD_FAULT_MEDIUM = 1,
	/* write, append: the first `blocks` logical blocks land (rounded down to physical blocks) and the pointer with
	 * them, then ZD_E_MEDIUM_WRITE. Meets only longer commands. */
	ZD_FAULT_TORN = 2,
	/* write, append: acknowledged and readable, even reported durable after a flush, but the next power cut takes it
	 * away: in required zones with all behind it in its zone (not with more than ZD_MAX_LOST zones so), in conventional
	 * and preferred ones its own blocks, unless they were written again. */
	ZD_FAULT_LOST = 3,
	/* write, append: it succeeds; the next flush fails with ZD_E_MEDIUM_WRITE and makes nothing durable. */
	ZD_FAULT_FLUSH_ERROR = 4,
	ZD_FAULT_FLIP_READ = 5,  /* read: one bit is wrong in the caller's buffer, silently */
	ZD_FAULT_FLIP_MEDIA = 6, /* write, append: one bit is wrong in what was stored, silently */
	/* The first zone of the command that the rule names goes READ_ONLY or OFFLINE before the command (which then
	 * meets that condition) or, with after, once it has succeeded. */
	ZD_FAULT_READ_ONLY = 7,
	ZD_FAULT_OFFLINE = 8,
	ZD_FAULT_LATENCY = 9, /* real_ns pass before the command begins; virtual_ns are added to the disk's sum */
	/* The command waits, holding no lock, until zd_fault_release(), until the rule is cleared, or real_ns have
	 * passed (0: for ever), which ends it with ZD_E_TIMEOUT, not done. The interrupt hook ends it with -EINTR. */
	ZD_FAULT_HANG = 10,
	/* write, append, open, open-all, finish in a sequential zone: ZD_E_TOO_MANY_OPEN, or with active
	 * ZD_E_TOO_MANY_ACTIVE, though resources are left. set-extension, which opens no zone: always the latter. */
	ZD_FAULT_LIMIT = 11,
	/* The power goes before the command, which fails with ZD_E_POWER_LOSS; or, with after, once it has been done
	 * and acknowledged. `keep` is what survives. */
	ZD_FAULT_POWER_CUT = 12,
	ZD_NR_FAULT_KINDS = 13
};
struct zd_fault {
	uint32_t id;                    /* out: given by zd_fault_add(), never twice for one disk */
	uint32_t kind;                  /* enum zd_fault_kind */
	uint32_t commands;              /* bits 1 << enum zd_cmd; 0: all that the kind can act on */
	uint32_t first_zone, last_zone; /* last_zone ZD_NO_ZONE: to the last */
	uint32_t order;                 /* of two rules that may meet the same command, the lower acts first */
	uint64_t from, to;              /* byte range, whole blocks; to 0: no range */
	uint64_t nth, every;            /* 0: not used. At most one of nth, every and probability */
	uint64_t probability;           /* of 2^32; 0: not used */
	uint64_t limit;                 /* acts at most so often; 0: until cleared */
	uint64_t seed;                  /* of probability, of the drawn bit, of a random survivor */
	uint64_t blocks;                /* ZD_FAULT_TORN */
	uint64_t bit; /* flips: which, counted from the first byte that command and range share; ZD_NONE: drawn */
	uint64_t real_ns, virtual_ns;
	uint8_t after;  /* ZD_FAULT_READ_ONLY, OFFLINE, POWER_CUT */
	uint8_t active; /* ZD_FAULT_LIMIT */
	uint8_t keep;   /* ZD_FAULT_POWER_CUT: enum zd_keep */
	uint8_t reserved;
	uint32_t waiting; /* out: commands that it holds up now */
	uint64_t seen;    /* out: commands it met */
	uint64_t matched; /* out: commands it acted on */
	char label[48];   /* for people; NUL-terminated, may be empty */
	uint64_t reserved2[4];
};
/*
 * Set a rule; *id says which it became. Refused with a sentence in err->text: a value out of range, a
 * zone that does not exist, a rule that can never act (commands that its kind does not know, a range outside its
 * zones, zone commands on conventional zones only, data flips on a disk without data, ...), one that may meet the same
 * command as an older one of the same order that can still act. Works without power too, as all of these calls do.
 * Errors: ZD_E_READONLY_HANDLE, -EINVAL (such a rule), -ENOSPC (ZD_MAX_FAULTS are set), -EINTR, -ETIMEDOUT.
 */
int zd_fault_add(zd_dev *dev, const struct zd_fault *fault, uint32_t *id, struct zd_error *err);
/*
 * Take one rule away, or all of them with id 0, and then what is spoiled can be read again. What hangs goes on.
 * Errors: ZD_E_READONLY_HANDLE, -ENOENT (there is none of that id), -EINTR, -ETIMEDOUT.
 */
int zd_fault_clear(zd_dev *dev, uint32_t id, struct zd_error *err);
/*
 * Let go the commands that hang by a rule now (id 0: by any); the rule stays.
 * Errors: ZD_E_READONLY_HANDLE, -ENOENT (there is none of that id), -EINTR, -ETIMEDOUT.
 */
int zd_fault_release(zd_dev *dev, uint32_t id, struct zd_error *err);
/* The rules in the order in which they act; room for max; returns how many there are. Errors: -EINTR, -ETIMEDOUT. */
int zd_fault_list(zd_dev *dev, struct zd_fault *out, uint32_t max, struct zd_error *err);
/*
 * Spoil blocks, whole ones: reading, comparing or verifying them is ZD_E_MEDIUM_READ, and what comes before the first of them is
 * transferred. Each can be read again once it was written, zeroed or deallocated, its zone was reset or went back to a snapshot,
 * or all rules were cleared; a power cut does not help. Spoiled blocks behind a write pointer are none. Like rules they are of
 * all openers, last until the host boots anew, and are no part of the image; a snapshot and a fork have none of them.
 * Errors: ZD_E_READONLY_HANDLE, -EINVAL (no whole blocks, beyond the disk), -ENOSPC (more than ZD_MAX_SPOILED), -EINTR,
 * -ETIMEDOUT.
 */
int zd_fault_spoil(zd_dev *dev, uint64_t offset, uint64_t length, struct zd_error *err);
/* Where the first spoiled block at or behind byte `from` begins. Errors: -ENOENT (there is none), -EINTR, -ETIMEDOUT. */
int64_t zd_fault_spoiled(zd_dev *dev, uint64_t from, struct zd_error *err);
/* Commands that a kind can act on, as bits; 0 for an unknown kind. Needs no disk. */
uint32_t zd_fault_commands(int kind);
/* Virtual latency that faults have added since the runtime area began, ns. */
uint64_t zd_fault_virtual_ns(zd_dev *dev);

ZD_END

#endif
