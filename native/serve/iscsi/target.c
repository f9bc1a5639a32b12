/* SPDX-License-Identifier: Apache-2.0 */
/* A target and its sessions, as others see them. The lock is held for looking and for small changes only. */
#include "serve/iscsi/iscsi.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_A_SECOND 8

_Thread_local struct connection *zd_iscsi_here;

static void signal_event(zd_iscsi *target)
{
	uint64_t one = 1;

	if (write(target->event, &one, sizeof(one)) < 0) {
		/* the counter is full: it is readable */
	}
}

/* ---------------------------------------------------------------- sentences */

static void keep(zd_iscsi *target, const char *text)
{
	struct said *last = &target->said[(target->said_first + target->said_count) % SAID];

	snprintf(last->text, sizeof(last->text), "%s", text);
	target->said_count++;
}

void zd_iscsi_say(struct connection *c, const char *format, ...)
{
	zd_iscsi *target = c->target;
	uint64_t second = zd_now() / 1000000000u;
	char text[ZD_ISCSI_TEXT];
	va_list args;
	int n;

	n = snprintf(text, sizeof(text), "%.100s (%s): ", c->login.initiator, c->login.address);
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	pthread_mutex_lock(&target->lock);
	if (target->second != second) {
		target->second = second;
		target->this_second = 0;
	}
	if (target->this_second < MOST_A_SECOND && target->said_count < SAID - 1) {
		target->this_second++;
		keep(target, text);
	} else {
		target->left_out++;
	}
	pthread_mutex_unlock(&target->lock);
	signal_event(target);
}

int zd_serve_iscsi_said(zd_iscsi *target, char text[ZD_ISCSI_TEXT])
{
	int r = 0;

	pthread_mutex_lock(&target->lock);
	if (!target->said_count && target->left_out) {
		snprintf(text, ZD_ISCSI_TEXT, "%u more sentences about connections were left out", target->left_out);
		target->left_out = 0;
	} else if (target->said_count) {
		memcpy(text, target->said[target->said_first].text, ZD_ISCSI_TEXT);
		target->said_first = (target->said_first + 1) % SAID;
		target->said_count--;
	} else {
		r = -ENOENT;
	}
	pthread_mutex_unlock(&target->lock);
	return r;
}

/* ---------------------------------------------------------------- a target */

int zd_serve_iscsi_new(const char *name, uint16_t portal, const struct zd_iscsi_limits *limits, zd_iscsi **out, struct zd_error *err)
{
	struct zd_scsi_port port = { .relative = 1, .protocol = 5 };
	zd_iscsi *target;
	int r;

	*out = NULL;
	if (strnlen(name, ZD_ISCSI_NAME) >= ZD_ISCSI_NAME || !*name)
		return zd_fail(err, -EINVAL, "an iSCSI name has 1 to %d bytes", ZD_ISCSI_NAME - 1);
	target = calloc(1, sizeof(*target));
	if (!target)
		return zd_fail_host(err, ENOMEM, "making an iSCSI target");
	if (limits)
		target->limits = *limits;
	if (!target->limits.room)
		target->limits.room = 1ull << 30;
	if (!target->limits.sessions)
		target->limits.sessions = 256;
	if (!target->limits.idle_ms)
		target->limits.idle_ms = 15000;
	if (!target->limits.stall_ms)
		target->limits.stall_ms = 30000;
	target->pool.room = target->limits.room;
	target->portal = portal;
	strcpy(target->name, name);
	snprintf(port.name, sizeof(port.name), "%.*s,t,0x%04x", ZD_SCSI_MAX_NAME - 10, name, portal);
	target->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (target->event < 0) {
		r = zd_fail_host(err, errno, "making an iSCSI target");
		free(target);
		return r;
	}
	r = zd_scsi_target_new(&port, &target->scsi, err);
	if (r) {
		close(target->event);
		free(target);
		return r;
	}
	pthread_mutex_init(&target->lock, NULL);
	zd_crew_init(&target->crew);
	*out = target;
	return 0;
}

/* Polled in what takes long, in the thread that is at it: nobody waits for the answers of a connection that is dropped. */
static int interrupted(void *arg)
{
	const struct unit *unit = arg;
	const struct connection *c = zd_iscsi_here;

	if (c)
		return (int)atomic_load_explicit(&c->link.dropped, memory_order_relaxed);
	return unit->before ? unit->before(unit->before_arg) : 0;
}

int zd_serve_iscsi_unit(zd_iscsi *target, uint32_t lun, zd_dev *dev, struct zd_error *err)
{
	int r = zd_scsi_target_add(target->scsi, lun, dev, NULL, err);

	if (r)
		return r;
	target->units[lun].dev = dev;
	target->units[lun].before = zd_get_interrupt(dev, &target->units[lun].before_arg);
	zd_set_interrupt(dev, interrupted, &target->units[lun]);
	return 0;
}

int zd_serve_iscsi_targets(zd_iscsi *target, const void *text, uint32_t length, struct zd_error *err)
{
	char *copy;

	if (length > 8000)
		return zd_fail(err, -E2BIG, "the list of an iSCSI target's addresses has %u bytes: 8,000 at most", length);
	copy = malloc(length ? length : 1);
	if (!copy)
		return zd_fail_host(err, ENOMEM, "keeping the addresses of an iSCSI target");
	if (length)
		memcpy(copy, text, length);
	free(target->targets);
	target->targets = copy;
	target->targets_length = length;
	return 0;
}

int zd_serve_iscsi_event(zd_iscsi *target)
{
	return target->event;
}

/* ---------------------------------------------------------------- sessions */

static int check(const struct zd_iscsi_login *login, struct zd_error *err)
{
	if (!memchr(login->initiator, 0, sizeof(login->initiator)) || !memchr(login->address, 0, sizeof(login->address)))
		return zd_fail(err, -EINVAL, "a name of a login does not end with a NUL");
	if (login->max_send < 512 || login->max_send > 0xFFFFFF || login->max_burst < 512 || login->max_burst > 0xFFFFFF ||
	    login->first_burst < 512 || login->first_burst > login->max_burst)
		return zd_fail(err, -EINVAL, "a length that was negotiated is out of range: 512 to 2^24-1 bytes");
	if (login->early_length > ZD_LINK_IN / 2)
		return zd_fail(err, -EINVAL, "%u bytes behind the login are too many", login->early_length);
	return 0;
}

/* TransportID of an initiator port (SPC-5 7.6.4.6), format 01b. */
static size_t transport_id(const struct zd_iscsi_login *login, uint8_t id[ZD_SCSI_MAX_NAME])
{
	const uint8_t *isid = login->isid;
	size_t length;

	memset(id, 0, ZD_SCSI_MAX_NAME);
	id[0] = 0x45;
	length = (size_t)snprintf((char *)id + 4, ZD_SCSI_MAX_NAME - 4, "%.*s,i,0x%02x%02x%02x%02x%02x%02x", ZD_SCSI_MAX_NAME - 24,
				  login->initiator, isid[0], isid[1], isid[2], isid[3], isid[4], isid[5]) + 1;
	length = (length + 3) & ~(size_t)3;
	put16(id + 2, (uint32_t)length);
	return 4 + length;
}

static void set_options(int fd)
{
	int on = 1;

	/* What fails here (no TCP socket) costs speed only. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int make(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, struct connection **out, struct zd_error *err)
{
	uint8_t id[ZD_SCSI_MAX_NAME];
	struct timespec now;
	struct connection *c;
	int r = check(login, err);

	if (r)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return zd_fail_host(err, ENOMEM, "taking an iSCSI connection");
	c->target = target;
	c->login = *login;
	c->link.idle_ms = target->limits.idle_ms;
	c->link.stall_ms = target->limits.stall_ms;
	c->buffers = (struct zd_buffers){ .pool = &target->pool, .room = ZD_ISCSI_CONNECTION_ROOM, .keep = ZD_ISCSI_KEPT_ROOM };
	c->exp_cmd_sn = login->cmd_sn;
	c->stat_sn = login->stat_sn;
	r = zd_link_open(&c->link, fd);
	if (r) {
		free(c);
		return zd_fail_host(err, -r, "taking an iSCSI connection");
	}
	set_options(c->link.fd);
	r = zd_scsi_nexus_open(target->scsi, id, transport_id(login, id), &c->nexus, err);
	if (r) {
		zd_link_close(&c->link);
		free(c);
		return r;
	}
	/* What came early is read before the caller's memory goes. */
	if (login->early_length)
		memcpy(c->link.in, login->early, login->early_length);
	c->link.end = login->early_length;
	c->login.early = NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	c->since = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	pthread_mutex_init(&c->done_lock, NULL);
	zd_helper_init(&c->helper);
	*out = c;
	return 0;
}

/* What it has of the disk and of threads. */
static void end(struct connection *c)
{
	zd_helper_end(&c->helper);
	zd_scsi_nexus_close(c->nexus); /* aborts its tasks, and waits for them */
	zd_iscsi_forget_tasks(c);
}

static void unmake(struct connection *c)
{
	zd_buffers_end(&c->buffers);
	zd_link_close(&c->link);
	pthread_mutex_destroy(&c->done_lock);
	free(c);
}

static int enlist(zd_iscsi *target, struct connection *c, struct zd_error *err)
{
	int r = 0;

	pthread_mutex_lock(&target->lock);
	if (target->stopping) {
		r = zd_fail(err, -ESHUTDOWN, "the iSCSI target is stopping");
	} else if (target->count >= target->limits.sessions) {
		r = zd_fail(err, -EUSERS, "the iSCSI target has %u sessions, as many as it may", target->count);
	} else {
		target->count++;
		c->id = ++target->next_id;
		c->next = target->connections;
		target->connections = c;
	}
	pthread_mutex_unlock(&target->lock);
	return r;
}

static void delist(struct connection *c)
{
	zd_iscsi *target = c->target;
	struct connection **at;

	pthread_mutex_lock(&target->lock);
	for (at = &target->connections; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	target->count--;
	pthread_mutex_unlock(&target->lock);
}

/* What it holds goes before it is delisted: by that others see that it is gone. */
static void live(struct connection *c)
{
	zd_iscsi *target = c->target;

	zd_iscsi_here = c;
	zd_iscsi_serve(c);
	zd_iscsi_here = NULL;
	end(c);
	delist(c);
	unmake(c);
	signal_event(target);
}

static void *thread(void *arg)
{
	struct connection *c = arg;
	struct zd_crew *crew = &c->target->crew;

	prctl(PR_SET_NAME, "zoned-iscsi", 0, 0, 0);
	live(c);
	zd_crew_leave(crew);
	return NULL;
}

int zd_serve_iscsi_take(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, uint64_t *id, struct zd_error *err)
{
	struct connection *c;
	int r = make(target, fd, login, &c, err);

	if (r)
		return r;
	r = enlist(target, c, err);
	if (r) {
		end(c);
		unmake(c);
		return r;
	}
	*id = c->id; /* the thread may end, and the connection go, at once */
	r = zd_crew_start(&target->crew, thread, c);
	if (!r)
		return 0;
	end(c);
	delist(c);
	unmake(c);
	return zd_fail_host(err, -r, "starting a thread for an iSCSI connection");
}

int zd_serve_iscsi_here(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, struct zd_error *err)
{
	struct connection *c;
	int r = make(target, fd, login, &c, err);

	if (r)
		return r;
	r = enlist(target, c, err);
	if (!r) {
		live(c);
		return 0;
	}
	end(c);
	unmake(c);
	return r;
}

int zd_serve_iscsi_drop(zd_iscsi *target, uint64_t id)
{
	struct connection *c;

	pthread_mutex_lock(&target->lock);
	for (c = target->connections; c && c->id != id; c = c->next)
		;
	if (c)
		zd_link_drop(&c->link);
	pthread_mutex_unlock(&target->lock);
	return c ? 0 : -ENOENT;
}

void zd_iscsi_drop_all(zd_iscsi *target)
{
	pthread_mutex_lock(&target->lock);
	for (struct connection *c = target->connections; c; c = c->next)
		zd_link_drop(&c->link);
	pthread_mutex_unlock(&target->lock);
}

void zd_iscsi_clear_others(struct connection *c, uint32_t lun)
{
	pthread_mutex_lock(&c->target->lock);
	for (struct connection *other = c->target->connections; other; other = other->next) {
		if (other == c)
			continue;
		for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS / 64; i++)
			if (lun == ZD_SCSI_MAX_LUNS || lun / 64 == i)
				atomic_fetch_or(&other->clear[i], lun == ZD_SCSI_MAX_LUNS ? UINT64_MAX : 1ull << lun % 64);
		atomic_fetch_or(&other->orders, ORDER_CLEAR);
		zd_link_wake(&other->link);
	}
	pthread_mutex_unlock(&c->target->lock);
}

int zd_serve_iscsi_list(zd_iscsi *target, struct zd_iscsi_session *sessions, uint32_t room)
{
	uint32_t n = 0;

	pthread_mutex_lock(&target->lock);
	for (struct connection *c = target->connections; c; c = c->next, n++) {
		struct zd_iscsi_session *s = &sessions[n];

		if (n >= room)
			continue;
		memset(s, 0, sizeof(*s));
		s->id = c->id;
		memcpy(s->initiator, c->login.initiator, sizeof(s->initiator));
		memcpy(s->address, c->login.address, sizeof(s->address));
		memcpy(s->isid, c->login.isid, sizeof(s->isid));
		s->tsih = c->login.tsih;
		s->since = c->since;
		s->commands = atomic_load(&c->nr_commands);
		s->bytes_in = atomic_load(&c->bytes_in);
		s->bytes_out = atomic_load(&c->bytes_out);
		s->errors = atomic_load(&c->errors);
		s->rejects = atomic_load(&c->rejects);
		s->under_way = atomic_load(&c->under_way);
		s->digests = c->login.header_digest | (uint32_t)c->login.data_digest << 1;
	}
	pthread_mutex_unlock(&target->lock);
	return (int)n;
}

/* ---------------------------------------------------------------- the end */

void zd_serve_iscsi_stop(zd_iscsi *target, uint32_t grace_ms)
{
	pthread_mutex_lock(&target->lock);
	target->stopping = true;
	for (struct connection *c = target->connections; c; c = c->next) {
		atomic_store(&c->grace_ms, grace_ms);
		atomic_fetch_or(&c->orders, ORDER_LOGOUT);
		zd_link_wake(&c->link);
	}
	pthread_mutex_unlock(&target->lock);
}

void zd_serve_iscsi_free(zd_iscsi *target)
{
	if (!target)
		return;
	pthread_mutex_lock(&target->lock);
	target->stopping = true;
	pthread_mutex_unlock(&target->lock);
	zd_iscsi_drop_all(target);
	zd_crew_end(&target->crew);
	for (uint32_t lun = 0; lun < ZD_SCSI_MAX_LUNS; lun++)
		if (target->units[lun].dev)
			zd_set_interrupt(target->units[lun].dev, target->units[lun].before, target->units[lun].before_arg);
	zd_scsi_target_free(target->scsi);
	pthread_mutex_destroy(&target->lock);
	close(target->event);
	free(target->targets);
	free(target);
}

void zd_serve_iscsi_forget(zd_iscsi *target)
{
	for (struct connection *c = target->connections; c; c = c->next) {
		close(c->link.fd);
		close(c->link.event);
	}
	close(target->event);
}
