/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the doors share: a disk in RAM, and what befalls it beside the executor. A door begins with its disk, so that one
 * handle serves both. Linked with --wrap=zd_submit, requests can be made to end later and in another thread, as those that
 * are held up do.
 */
#ifndef DISK_H
#define DISK_H

#include "zoned/zoned.h"

#include <semaphore.h>
#include <stdbool.h>
#include <sys/uio.h>

struct disk {
	zd_dev *dev;
};
/* As in doors.py. */
struct shape {
	uint64_t size, zone_size, zone_capacity, append_limit;
	uint32_t logical_block, physical_block, max_open, max_active, nr_conv, first_conv;
	uint32_t model, implicit_close, unrestricted_read, dialect, zone_extension;
	uint32_t zrwa_size, zrwa_granularity, zrwa_count;
};

#define PARTS 3

int disk_open(struct disk *disk, const struct shape *shape, struct zd_error *err);
void disk_close(struct disk *disk);
/* Whether requests end in a thread of their own. */
bool disk_is_later(void);
void disk_later(int on);

/* What a command that is waited for needs. */
struct exchange {
	struct iovec out[PARTS], in[PARTS];
	sem_t end;
};
/* Cuts its buffers in three, so that commands of several are met too: two are `cut` long, or shorter if it ends. */
void disk_exchange(struct exchange *x, void *out, uint64_t out_length, void *in, uint64_t in_length, uint64_t cut);
/* Until the semaphore is posted, if the command will say that it has ended. */
void disk_await(struct exchange *x, bool told);

/* What a command that nobody waits for needs: the room is its data, out and in. */
struct parcel {
	struct iovec in, out;
	_Atomic uint32_t ended;
	uint8_t *room;
};
/* Its buffers, as members of a command of either kind. */
#define PARCEL_BUFFERS(parcel, out_length, in_length) \
	.in = &(parcel).in, .nr_in = (in_length) != 0, .out = &(parcel).out, .nr_out = (out_length) != 0
void disk_parcel(struct parcel *parcel, const void *out, uint64_t out_length, uint64_t in_length);

int disk_fault(struct disk *disk, struct zd_fault fault);
int disk_clear(struct disk *disk);
int disk_hanging(struct disk *disk);
int disk_condition(struct disk *disk, uint32_t zone, int condition);
/* Off: `keep` says what survives. */
int disk_power(struct disk *disk, int on, int keep);
/* Takes a snapshot and goes back to it. */
int disk_go_back(struct disk *disk);

#endif
