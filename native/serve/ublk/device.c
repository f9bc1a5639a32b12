/* SPDX-License-Identifier: Apache-2.0 */
/* A device: what it is for the kernel, its beginning, its second life behind a server that was killed, and its end. */
#include "serve/ublk/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define MOST_QUEUES 64u
#define MOST_DEPTH 1024u
#define LEAST_IO 4096u
#define MOST_IO (4u << 20) /* the core moves as much in one step */
#define NODE_WAIT_MS 5000u /* for udev or devtmpfs */

_Thread_local const zd_ublk *zd_ublk_here;

/* Polled in what takes long, in the thread that is at it: nobody waits for a device that is being stopped. */
static int interrupted(void *arg)
{
	const zd_ublk *ublk = arg;

	if (zd_ublk_here == ublk)
		return (int)atomic_load_explicit(&ublk->stopping, memory_order_relaxed);
	return ublk->before ? ublk->before(ublk->before_arg) : 0;
}

void zd_ublk_set_event(zd_ublk *ublk)
{
	uint64_t one = 1;

	if (write(ublk->event, &one, sizeof(one)) < 0) {
		/* the counter is full: it is readable */
	}
}

/* ---------------------------------------------------------------- what the disk is */

int zd_ublk_look(zd_ublk *ublk, zd_dev *dev, bool whole_zones, struct zd_error *err)
{
	struct zd_info *info = &ublk->info;
	uint64_t rest;
	int r;

	ublk->dev = dev;
	info->struct_size = sizeof(*info);
	r = zd_info(dev, info, err);
	if (r)
		return r;
	if (info->model != ZD_HOST_MANAGED)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"the disk is host-aware, which Linux takes for an ordinary one: only host-managed disks are served by ublk");
	if (info->dialect == ZD_ZBC && !info->unrestricted_read)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"the disk refuses reads behind the write pointer, which Linux needs of a block device: make it with unrestricted reads, or export it by iscsi, for sg");
	if (info->zone_size & (info->zone_size - 1))
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"zones of %llu bytes: Linux takes only a power of two for a block device; make the disk with such zones",
			(unsigned long long)info->zone_size);
	if (info->zone_size > (uint64_t)SECTOR << 31)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"zones of %llu bytes are larger than the 1 TiB that Linux takes; make the disk with smaller ones",
			(unsigned long long)info->zone_size);
	rest = info->size % info->zone_size;
	ublk->size = info->size - rest;
	if (rest && !whole_zones)
		return zd_fail(
			err, ZD_E_GEOMETRY,
			"the last zone has %llu of %llu bytes, and a ublk device has whole zones: leave it out (--whole-zones)",
			(unsigned long long)rest, (unsigned long long)info->zone_size);
	if (!ublk->size)
		return zd_fail(err, ZD_E_GEOMETRY, "the disk has no whole zone");
	ublk->nr_zones = (uint32_t)(ublk->size / info->zone_size);
	ublk->nr_conv = (uint32_t)zd_conv_ranges(dev, ublk->conv, ZD_MAX_CONV_RANGES);
	return 0;
}

bool zd_ublk_is_conventional(const zd_ublk *ublk, uint32_t zone)
{
	for (uint32_t i = 0; i < ublk->nr_conv; i++)
		if (zone - ublk->conv[i].first < ublk->conv[i].count)
			return true;
	return false;
}

static uint8_t shift_of(uint32_t n)
{
	return (uint8_t)__builtin_ctz(n);
}

/* A limit that no number of zones reaches is none. */
static uint32_t limit_of(uint32_t limit, uint32_t nr_zones)
{
	return limit < nr_zones ? limit : 0;
}

static struct ublk_params params_of(const zd_ublk *ublk)
{
	const struct zd_info *info = &ublk->info;
	uint32_t chunk = (uint32_t)(info->zone_size / SECTOR), most = ublk->max_io / SECTOR;
	uint64_t append = (info->append_limit ? info->append_limit : info->zone_capacity) / SECTOR;

	return (struct ublk_params){
		.len = sizeof(struct ublk_params),
		.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD | UBLK_PARAM_TYPE_ZONED,
		.basic = { .attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA | (info->readonly ? UBLK_ATTR_READ_ONLY : 0) |
				    (info->dialect == ZD_ZBC ? UBLK_ATTR_ROTATIONAL : 0),
			   .logical_bs_shift = shift_of(info->logical_block),
			   .physical_bs_shift = shift_of(info->physical_block),
			   .io_opt_shift = shift_of(info->physical_block),
			   .io_min_shift = shift_of(info->physical_block),
			   .max_sectors = most < chunk ? most : chunk,
			   .chunk_sectors = chunk,
			   .dev_sectors = ublk->size / SECTOR },
		.discard = { .granularity = info->logical_block,
			     .max_sectors = chunk,
			     .max_write_zeroes_sectors = most < chunk ? most : chunk,
			     .max_segments = 1 },
		.zoned = { .max_open = limit_of(info->max_open, ublk->nr_zones),
			   .max_active = limit_of(info->max_active, ublk->nr_zones),
			   .max_append_sectors = (uint32_t)(append < most ? append : most) },
	};
}

/* ---------------------------------------------------------------- making */

static int make(zd_dev *dev, zd_ublk **out, struct zd_error *err)
{
	zd_ublk *ublk = calloc(1, sizeof(*ublk));

	if (!ublk)
		return zd_fail_host(err, ENOMEM, "making a ublk device");
	ublk->dev = dev;
	ublk->fd = ublk->control.fd = ublk->control.ring.fd = -1;
	pthread_mutex_init(&ublk->lock, NULL);
	pthread_cond_init(&ublk->changed, NULL);
	zd_crew_init(&ublk->crew);
	ublk->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ublk->event < 0) {
		int r = zd_fail_host(err, errno, "making a ublk device");

		zd_serve_ublk_free(ublk);
		return r;
	}
	ublk->before = zd_get_interrupt(dev, &ublk->before_arg);
	zd_set_interrupt(dev, interrupted, ublk);
	*out = ublk;
	return 0;
}

static void nap(void)
{
	const struct timespec t = { 0, 10000000 };

	nanosleep(&t, NULL);
}

/* The node that only its server opens, which somebody else (devtmpfs, udev) makes. */
static int open_node(zd_ublk *ublk, struct zd_error *err)
{
	uint64_t until = zd_now() + NODE_WAIT_MS * 1000000ull;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%u", ublk->id);
	for (;;) {
		ublk->fd = open(path, O_RDWR | O_CLOEXEC);
		if (ublk->fd >= 0)
			return 0;
		if ((errno != ENOENT && errno != EACCES && errno != EBUSY) || zd_now() > until)
			break;
		nap();
	}
	if (errno == ENOENT)
		return zd_fail(
			err, -ENOENT,
			"the kernel made ublk device %u, and %s does not appear: /dev has to be the machine's devtmpfs, as outside of containers",
			ublk->id, path);
	return zd_fail_host(err, errno, path);
}

/* All tags of all queues are the kernel's, or one of the queues failed. */
static int start_queues(zd_ublk *ublk, struct zd_error *err)
{
	uint32_t started = 0;
	int r = 0;

	ublk->queues = calloc(ublk->nr_queues, sizeof(*ublk->queues));
	if (!ublk->queues)
		return zd_fail_host(err, ENOMEM, "making queues of a ublk device");
	for (uint32_t i = 0; !r && i < ublk->nr_queues; i++) {
		r = zd_ublk_queue_init(ublk, &ublk->queues[i], (uint16_t)i);
		ublk->nr_inited += !r;
	}
	atomic_store(&ublk->nr_running, ublk->nr_queues);
	for (uint32_t i = 0; !r && i < ublk->nr_queues; i++) {
		r = zd_crew_start(&ublk->crew, zd_ublk_queue_run, &ublk->queues[i]);
		started += !r;
	}
	pthread_mutex_lock(&ublk->lock);
	while (ublk->nr_ready < started)
		pthread_cond_wait(&ublk->changed, &ublk->lock);
	if (!r)
		r = ublk->failed;
	pthread_mutex_unlock(&ublk->lock);
	return r ? zd_ublk_refused(r, "starting a queue of a ublk device", err) : 0;
}

static uint32_t processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 4 ? 4 : (uint32_t)n;
}

static int check(const struct zd_ublk_config *config, struct zd_error *err)
{
	if (config->size < sizeof(*config))
		return zd_fail(err, -EINVAL, "the configuration of a ublk device is of another size than this library's");
	if (config->queues > MOST_QUEUES)
		return zd_fail(err, -EINVAL, "%u queues: a ublk device has 1 to %u", config->queues, MOST_QUEUES);
	if (config->depth > MOST_DEPTH)
		return zd_fail(err, -EINVAL, "%u requests under way: a queue of ublk has 1 to %u", config->depth, MOST_DEPTH);
	if (config->max_io && (config->max_io < LEAST_IO || config->max_io > MOST_IO || config->max_io % LEAST_IO))
		return zd_fail(err, -EINVAL, "requests of %u bytes: they have 4 KiB to 4 MiB, in whole 4 KiB", config->max_io);
	if (config->id < 0)
		return zd_fail(err, -EINVAL, "the number of a ublk device is 0 or more");
	return 0;
}

/* What the kernel says of a device that it has made, or kept. */
static void note_made(zd_ublk *ublk, const struct ublk_dev_info *info)
{
	ublk->nr_queues = info->nr_hw_queues;
	ublk->depth = info->queue_depth;
	ublk->max_io = info->max_io_buf_bytes;
	ublk->mark = info->ublksrv_flags;
}

static int add(zd_ublk *ublk, const struct zd_ublk_config *config, struct zd_error *err)
{
	struct ublk_dev_info info = { .nr_hw_queues = (uint16_t)(config->queues ? config->queues : processors()),
				      .queue_depth = (uint16_t)(config->depth ? config->depth : 128),
				      .max_io_buf_bytes = config->max_io ? config->max_io : 1u << 20,
				      .dev_id = config->id ? (uint32_t)config->id - 1 : UINT32_MAX,
				      .flags = UBLK_F_USER_COPY | UBLK_F_ZONED | UBLK_F_USER_RECOVERY |
					       UBLK_F_USER_RECOVERY_REISSUE | UBLK_F_CMD_IOCTL_ENCODE };
	int r;

	while (!info.ublksrv_flags)
		if (getrandom(&info.ublksrv_flags, sizeof(info.ublksrv_flags), 0) < 0 && errno != EINTR)
			return zd_fail_host(err, errno, "marking a ublk device");
	r = zd_ublk_control(&ublk->control, UBLK_ADD_DEV, info.dev_id, &info, sizeof(info), 0);
	if (r == -EINVAL)
		return zd_fail(err, -EOPNOTSUPP,
			       "the kernel has no zoned block devices: boot one that is built with CONFIG_BLK_DEV_ZONED");
	if (r)
		return zd_ublk_refused(r, "making a ublk device", err);
	ublk->added = true;
	ublk->id = info.dev_id;
	note_made(ublk, &info);
	return 0;
}

static void describe(zd_ublk *ublk, const struct zd_ublk_config *config)
{
	struct zd_ublk_state *state = ublk->records.state;

	state->id = ublk->id;
	state->mark = ublk->mark;
	state->pid = getpid();
	state->queues = ublk->nr_queues;
	state->depth = ublk->depth;
	state->max_io = ublk->max_io;
	memcpy(state->uuid, ublk->info.uuid, sizeof(state->uuid));
	zd_ublk_boot_id(state->boot);
	state->bytes = ublk->size;
	state->whole_zones = config->whole_zones;
	if (config->path)
		strncpy(state->path, config->path, sizeof(state->path) - 1);
}

int zd_serve_ublk_new(zd_dev *dev, const struct zd_ublk_config *config, int state, zd_ublk **out, struct zd_error *err)
{
	struct ublk_params params;
	zd_ublk *ublk;
	int r = check(config, err);

	*out = NULL;
	if (!r)
		r = make(dev, &ublk, err);
	if (r)
		return r;
	r = zd_ublk_look(ublk, dev, config->whole_zones, err);
	if (!r)
		r = zd_ublk_control_open(&ublk->control, err);
	if (!r)
		r = add(ublk, config, err);
	if (!r)
		r = zd_ublk_records_open(&ublk->records, state, ublk->nr_queues, ublk->depth, false, err);
	if (r)
		goto failed;
	describe(ublk, config);
	params = params_of(ublk);
	r = zd_ublk_control(&ublk->control, UBLK_SET_PARAMS, ublk->id, &params, sizeof(params), 0);
	if (r) {
		r = zd_ublk_refused(r, "telling the kernel what a ublk device is like", err);
		goto failed;
	}
	r = open_node(ublk, err);
	if (!r)
		r = start_queues(ublk, err);
	if (r)
		goto failed;
	r = zd_ublk_control(&ublk->control, UBLK_START_DEV, ublk->id, NULL, 0, (uint64_t)getpid());
	if (r) {
		r = zd_ublk_refused(r, "starting a ublk device", err);
		goto failed;
	}
	ublk->records.state->started = 1;
	*out = ublk;
	return 0;
failed:
	zd_serve_ublk_free(ublk);
	return r;
}

/* ---------------------------------------------------------------- a second life */

static int is_same(const struct zd_ublk_state *state, const zd_ublk *ublk, struct zd_error *err)
{
	uint8_t boot[16];

	if (zd_ublk_boot_id(boot) || memcmp(boot, state->boot, sizeof(boot)) != 0)
		return zd_fail(err, -ESTALE, "a file of state of ublk is of an earlier boot of this machine");
	if (memcmp(state->uuid, ublk->info.uuid, sizeof(state->uuid)) != 0 || state->bytes != ublk->size)
		return zd_fail(err, -ESTALE, "a file of state of ublk is of another disk");
	return 0;
}

/* The device, as the kernel kept it. Nothing is undone where this fails: it still waits for a server. */
int zd_serve_ublk_again(zd_dev *dev, int fd, zd_ublk **out, struct zd_error *err)
{
	struct ublk_dev_info info = { 0 };
	struct zd_ublk_state state;
	zd_ublk *ublk;
	int r = zd_ublk_state(fd, &state, err);

	*out = NULL;
	if (!r)
		r = make(dev, &ublk, err);
	if (r)
		return r;
	r = zd_ublk_look(ublk, dev, state.whole_zones, err);
	if (!r)
		r = is_same(&state, ublk, err);
	if (!r)
		r = zd_ublk_control_open(&ublk->control, err);
	if (r)
		goto failed;
	r = zd_ublk_control(&ublk->control, UBLK_GET_DEV_INFO, state.id, &info, sizeof(info), 0);
	if (!r && info.ublksrv_flags != state.mark)
		r = -ENODEV;
	if (!r && info.state == UBLK_DEAD)
		r = -ENODEV; /* it had not begun, or was stopped */
	if (r) {
		r = zd_ublk_refused(r, "going on with a ublk device", err);
		goto failed;
	}
	ublk->id = state.id;
	note_made(ublk, &info);
	if (ublk->nr_queues != state.queues || ublk->depth != state.depth) {
		r = zd_fail(err, -ESTALE, "a file of state of ublk is of another device");
		goto failed;
	}
	r = zd_ublk_records_open(&ublk->records, fd, ublk->nr_queues, ublk->depth, true, err);
	if (r)
		goto failed;
	r = zd_ublk_control(&ublk->control, UBLK_START_USER_RECOVERY, ublk->id, NULL, 0, 0);
	if (r) {
		r = zd_ublk_refused(r, "going on with a ublk device", err);
		goto failed;
	}
	r = zd_ublk_records_take_over(&ublk->records, dev, err);
	if (!r)
		r = open_node(ublk, err);
	if (!r)
		r = start_queues(ublk, err);
	if (r)
		goto failed;
	ublk->records.state->pid = getpid();
	r = zd_ublk_control(&ublk->control, UBLK_END_USER_RECOVERY, ublk->id, NULL, 0, (uint64_t)getpid());
	if (r) {
		r = zd_ublk_refused(r, "going on with a ublk device", err);
		goto failed;
	}
	ublk->added = true;
	*out = ublk;
	return 0;
failed:
	zd_serve_ublk_free(ublk);
	return r;
}

/* ---------------------------------------------------------------- looking, the end */

uint32_t zd_serve_ublk_id(const zd_ublk *ublk)
{
	return ublk->id;
}

int zd_serve_ublk_event(const zd_ublk *ublk)
{
	return ublk->event;
}

void zd_serve_ublk_counters(const zd_ublk *ublk, struct zd_ublk_counters *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < ublk->nr_inited; i++) {
		const struct queue *queue = &ublk->queues[i];

		out->commands += atomic_load(&queue->commands);
		out->errors += atomic_load(&queue->errors);
		out->bytes_in += atomic_load(&queue->bytes_in);
		out->bytes_out += atomic_load(&queue->bytes_out);
		out->repeated += atomic_load(&queue->repeated);
	}
}

void zd_serve_ublk_free(zd_ublk *ublk)
{
	if (!ublk)
		return;
	atomic_store(&ublk->stopping, ublk->added ? STOPPING : LEFT_BEHIND);
	/* The kernel gives all tags back, by which the queues' threads end. A device that is not this server's yet goes on waiting. */
	if (ublk->added)
		zd_ublk_control(&ublk->control, UBLK_STOP_DEV, ublk->id, NULL, 0, 0);
	for (uint32_t i = 0; i < ublk->nr_inited && !ublk->added; i++)
		zd_ublk_queue_wake(&ublk->queues[i]);
	zd_crew_end(&ublk->crew);
	for (uint32_t i = 0; i < ublk->nr_inited; i++)
		zd_ublk_queue_end(&ublk->queues[i]);
	free(ublk->queues);
	if (ublk->fd >= 0)
		close(ublk->fd);
	if (ublk->added)
		zd_ublk_control(&ublk->control, UBLK_DEL_DEV, ublk->id, NULL, 0, 0);
	zd_ublk_control_close(&ublk->control);
	zd_ublk_records_close(&ublk->records);
	if (ublk->event >= 0) {
		zd_set_interrupt(ublk->dev, ublk->before, ublk->before_arg);
		close(ublk->event);
	}
	pthread_cond_destroy(&ublk->changed);
	pthread_mutex_destroy(&ublk->lock);
	free(ublk);
}

void zd_serve_ublk_forget(zd_ublk *ublk)
{
	for (uint32_t i = 0; i < ublk->nr_inited; i++) {
		close(ublk->queues[i].event);
		if (ublk->queues[i].ring.fd >= 0)
			close(ublk->queues[i].ring.fd);
	}
	if (ublk->fd >= 0)
		close(ublk->fd);
	close(ublk->control.ring.fd);
	close(ublk->control.fd);
	close(ublk->event);
}
