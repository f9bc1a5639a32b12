/* SPDX-License-Identifier: Apache-2.0 */
/* What is declared in disk.h. Requests of the core go through a wrapper here, which may let them end later. */
#include "disk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

int __real_zd_submit(zd_dev *dev, struct zd_request *request);
int __wrap_zd_submit(zd_dev *dev, struct zd_request *request);

static _Atomic int later;

void disk_later(int on)
{
	later = on;
}

bool disk_is_later(void)
{
	return later;
}

struct held {
	zd_dev *dev;
	struct zd_request *request;
};

static void *let_on(void *arg)
{
	struct held held = *(struct held *)arg;

	free(arg);
	__real_zd_submit(held.dev, held.request);
	return NULL;
}

/* Ends at once, or in a thread of its own: before this returns or after it, as it happens. */
int __wrap_zd_submit(zd_dev *dev, struct zd_request *request)
{
	struct held *held;
	pthread_t thread;

	if (!later || !request->done)
		return __real_zd_submit(dev, request);
	held = malloc(sizeof(*held));
	*held = (struct held){ dev, request };
	if (pthread_create(&thread, NULL, let_on, held))
		abort();
	pthread_detach(thread);
	return ZD_DEFERRED;
}

int disk_open(struct disk *disk, const struct shape *shape, struct zd_error *err)
{
	struct zd_range conv = { shape->first_conv, shape->nr_conv };
	struct zd_config config = { .struct_size = sizeof(struct zd_config),
				    .size = shape->size,
				    .zone_size = shape->zone_size,
				    .zone_capacity = shape->zone_capacity,
				    .zone_extension = shape->zone_extension,
				    .zrwa_size = shape->zrwa_size,
				    .zrwa_granularity = shape->zrwa_granularity,
				    .zrwa_count = shape->zrwa_count,
				    .append_limit = shape->append_limit,
				    .logical_block = shape->logical_block,
				    .physical_block = shape->physical_block,
				    .max_open = shape->max_open,
				    .max_active = shape->max_active,
				    .seed = 7,
				    .slot_cache = UINT64_MAX,
				    .dialect = (uint8_t)shape->dialect,
				    .model = (uint8_t)shape->model,
				    .implicit_close = (uint8_t)shape->implicit_close,
				    .unrestricted_read = (uint8_t)shape->unrestricted_read,
				    .nr_conv = shape->nr_conv ? 1 : 0,
				    .conv = &conv };

	return zd_create(NULL, &config, 0, &disk->dev, err);
}

void disk_close(struct disk *disk)
{
	if (disk->dev)
		zd_close(disk->dev, NULL);
}

static void cut_up(struct iovec iov[PARTS], void *data, uint64_t length, uint64_t cut)
{
	uint8_t *at = data;

	for (uint32_t i = 0; i < PARTS; i++) {
		uint64_t part = i + 1 < PARTS && cut < length ? cut : length;

		iov[i] = (struct iovec){ at, part };
		at += part;
		length -= part;
	}
}

void disk_exchange(struct exchange *x, void *out, uint64_t out_length, void *in, uint64_t in_length, uint64_t cut)
{
	cut_up(x->out, out, out_length, cut);
	cut_up(x->in, in, in_length, cut);
	sem_init(&x->end, 0, 0);
}

void disk_await(struct exchange *x, bool told)
{
	while (told && sem_wait(&x->end))
		;
}

void disk_parcel(struct parcel *parcel, const void *out, uint64_t out_length, uint64_t in_length)
{
	parcel->room = calloc(1, (out_length > in_length ? out_length : in_length) + 1);
	parcel->in = (struct iovec){ parcel->room, in_length };
	parcel->out = (struct iovec){ parcel->room, out_length };
	if (out_length)
		memcpy(parcel->room, out, out_length);
}

int disk_fault(struct disk *disk, struct zd_fault fault)
{
	uint32_t id;

	return zd_fault_add(disk->dev, &fault, &id, NULL);
}

int disk_clear(struct disk *disk)
{
	return zd_fault_clear(disk->dev, 0, NULL);
}

int disk_hanging(struct disk *disk)
{
	struct zd_fault faults[ZD_MAX_FAULTS];
	int n = zd_fault_list(disk->dev, faults, ZD_MAX_FAULTS, NULL), waiting = 0;

	for (int i = 0; i < n; i++)
		waiting += (int)faults[i].waiting;
	return waiting;
}

int disk_condition(struct disk *disk, uint32_t zone, int condition)
{
	return zd_set_condition(disk->dev, zone, condition, NULL);
}

int disk_power(struct disk *disk, int on, int keep)
{
	return on ? zd_power_on(disk->dev, NULL) : zd_power_cut(disk->dev, keep, 1, NULL);
}

int disk_go_back(struct disk *disk)
{
	zd_snapshot *snapshot;
	int r = zd_snapshot_take(disk->dev, &snapshot, NULL);

	if (!r) {
		r = zd_rollback(disk->dev, snapshot, NULL);
		zd_snapshot_free(snapshot);
	}
	return r;
}
