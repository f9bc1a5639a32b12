/* SPDX-License-Identifier: Apache-2.0 */
/* A target and its sessions, as others see them. */
#include "serve/iscsi/iscsi.h"

#include <stdio.h>
#include <stdlib.h>

/* ---------------------------------------------------------------- a target */

int zd_serve_iscsi_said(zd_iscsi *target, char text[ZD_ISCSI_TEXT])
{
	return zd_server_said(&target->server, text);
}

static void end(struct zd_peer *peer)
{
	struct connection *c = connection_of(peer);

	zd_scsi_nexus_close(c->nexus); /* aborts its tasks, and waits for them */
	zd_iscsi_forget_tasks(c);
}

static const struct zd_serving serving = {
	"iSCSI",        "zoned-iscsi", ZD_ISCSI_CONNECTION_ROOM, ZD_ISCSI_KEPT_ROOM,
	zd_iscsi_serve, end,           zd_iscsi_farewell,        &zd_iscsi_commands,
};

/* Those that were given, with a value for each that was not. */
static struct zd_iscsi_limits limits_of(const struct zd_iscsi_limits *given)
{
	struct zd_iscsi_limits limits = given ? *given : (struct zd_iscsi_limits){ 0 };

	limits.room = limits.room ? limits.room : 1ull << 30;
	limits.sessions = limits.sessions ? limits.sessions : 256;
	limits.idle_ms = limits.idle_ms ? limits.idle_ms : 15000;
	limits.stall_ms = limits.stall_ms ? limits.stall_ms : 30000;
	return limits;
}

int zd_serve_iscsi_new(const char *name, uint16_t portal, const struct zd_iscsi_limits *limits, zd_iscsi **out,
		       struct zd_error *err)
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
	target->limits = limits_of(limits);
	strcpy(target->name, name);
	snprintf(port.name, sizeof(port.name), "%.*s,t,0x%04x", ZD_SCSI_MAX_NAME - 10, name, portal);
	r = zd_scsi_target_new(&port, &target->scsi, err);
	if (r) {
		free(target);
		return r;
	}
	r = zd_server_open(&target->server, &serving, target->limits.room, target->limits.sessions);
	if (r) {
		zd_scsi_target_free(target->scsi);
		free(target);
		return zd_fail_host(err, -r, "making an iSCSI target");
	}
	*out = target;
	return 0;
}

int zd_serve_iscsi_unit(zd_iscsi *target, uint32_t lun, zd_dev *dev, struct zd_error *err)
{
	int r = zd_scsi_target_add(target->scsi, lun, dev, NULL, err);

	if (r)
		return r;
	zd_served_begin(&target->units[lun], dev);
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
	return target->server.event;
}

/* ---------------------------------------------------------------- sessions */

static int check(const struct zd_iscsi_login *login, struct zd_error *err)
{
	if (!memchr(login->initiator, 0, sizeof(login->initiator)) || !memchr(login->address, 0, sizeof(login->address)))
		return zd_fail(err, -EINVAL, "a name of a login does not end with a NUL");
	if (login->max_send < 512 || login->max_send > 0xFFFFFF || login->max_burst < 512 || login->max_burst > 0xFFFFFF ||
	    login->first_burst < 512 || login->first_burst > login->max_burst)
		return zd_fail(err, -EINVAL, "a length that was negotiated is out of range: 512 to 2^24-1 bytes");
	return 0;
}

/* TransportID of an initiator port (SPC-5 7.6.4.6), format 01b. */
static size_t transport_id(const struct zd_iscsi_login *login, uint8_t id[ZD_SCSI_MAX_NAME])
{
	const uint8_t *isid = login->isid;
	size_t length;

	memset(id, 0, ZD_SCSI_MAX_NAME);
	id[0] = 0x45;
	length = (size_t)snprintf((char *)id + 4, ZD_SCSI_MAX_NAME - 4, "%.*s,i,0x%02x%02x%02x%02x%02x%02x",
				  ZD_SCSI_MAX_NAME - 24, login->initiator, isid[0], isid[1], isid[2], isid[3], isid[4],
				  isid[5]) +
		 1;
	length = (length + 3) & ~(size_t)3;
	put16(id + 2, (uint32_t)length);
	return 4 + length;
}

static void note_power(struct connection *c)
{
	struct zd_news news;

	for (uint32_t lun = 0; lun < ZD_SCSI_MAX_LUNS; lun++)
		if (c->target->units[lun].dev && !zd_news(c->target->units[lun].dev, &news, NULL))
			c->powered[lun] = news.powered;
}

/* What cannot be found out the disk's own commands meet, and tell. */
static bool has_power(const struct connection *c, uint32_t lun)
{
	zd_dev *dev = c->target->units[lun].dev;
	struct zd_news news;

	return !dev || (zd_power(dev, NULL) != 0 && (zd_news(dev, &news, NULL) || news.powered == c->powered[lun]));
}

int zd_iscsi_check_power(struct connection *c, uint32_t lun)
{
	bool all = lun >= ZD_SCSI_MAX_LUNS, power = true;

	for (uint32_t i = all ? 0 : lun; power && i < (all ? ZD_SCSI_MAX_LUNS : lun + 1); i++)
		power = has_power(c, i);
	return power ? 0 : zd_iscsi_disturbed(c, "a disk of the target lost its power");
}

static int make(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, struct zd_peer **out, struct zd_error *err)
{
	uint8_t id[ZD_SCSI_MAX_NAME];
	struct connection *c;
	int r = check(login, err);

	if (!r)
		r = zd_peer_new(&target->server, fd, sizeof(*c), login->initiator, login->address, out, err);
	if (r)
		return r;
	c = connection_of(*out);
	c->target = target;
	c->login = *login;
	zd_iscsi_prepare(c);
	note_power(c);
	c->exp_cmd_sn = login->cmd_sn;
	c->stat_sn = login->stat_sn;
	r = zd_scsi_nexus_open(target->scsi, id, transport_id(login, id), &c->nexus, err);
	if (r)
		zd_peer_free(&c->peer);
	return r;
}

int zd_serve_iscsi_take(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, uint64_t *id, struct zd_error *err)
{
	struct zd_peer *peer;
	int r = make(target, fd, login, &peer, err);

	return r ? r : zd_server_take(&target->server, peer, false, id, err);
}

int zd_serve_iscsi_here(zd_iscsi *target, int fd, const struct zd_iscsi_login *login, struct zd_error *err)
{
	struct zd_peer *peer;
	uint64_t id;
	int r = make(target, fd, login, &peer, err);

	return r ? r : zd_server_take(&target->server, peer, true, &id, err);
}

int zd_serve_iscsi_drop(zd_iscsi *target, uint64_t id)
{
	return zd_server_drop(&target->server, id);
}

void zd_iscsi_clear_others(struct connection *c, uint32_t lun)
{
	struct zd_server *server = &c->target->server;

	pthread_mutex_lock(&server->lock);
	for (struct zd_peer *peer = zd_peer_next(server, NULL); peer; peer = zd_peer_next(server, peer)) {
		struct connection *other = connection_of(peer);

		if (other == c)
			continue;
		for (uint32_t i = 0; i < ZD_SCSI_MAX_LUNS / 64; i++)
			if (lun == ZD_SCSI_MAX_LUNS || lun / 64 == i)
				atomic_fetch_or(&other->clear[i], lun == ZD_SCSI_MAX_LUNS ? UINT64_MAX : 1ull << lun % 64);
		atomic_fetch_or(&other->orders, ORDER_CLEAR);
		zd_link_wake(&peer->link);
	}
	pthread_mutex_unlock(&server->lock);
}

int zd_serve_iscsi_list(zd_iscsi *target, struct zd_iscsi_session *sessions, uint32_t room)
{
	struct zd_server *server = &target->server;
	uint32_t n = 0;

	pthread_mutex_lock(&server->lock);
	for (struct zd_peer *peer = zd_peer_next(server, NULL); peer; peer = zd_peer_next(server, peer), n++) {
		struct connection *c = connection_of(peer);
		struct zd_iscsi_session *s;

		if (n >= room)
			continue;
		s = &sessions[n];
		memset(s, 0, sizeof(*s));
		s->id = peer->id;
		memcpy(s->initiator, c->login.initiator, sizeof(s->initiator));
		memcpy(s->address, c->login.address, sizeof(s->address));
		memcpy(s->isid, c->login.isid, sizeof(s->isid));
		s->tsih = c->login.tsih;
		s->since = peer->since;
		s->commands = atomic_load(&peer->nr_commands);
		s->bytes_in = atomic_load(&peer->bytes_in);
		s->bytes_out = atomic_load(&peer->bytes_out);
		s->errors = atomic_load(&peer->errors);
		s->rejects = atomic_load(&c->rejects);
		s->under_way = atomic_load(&peer->under_way);
		s->digests = c->login.header_digest | (uint32_t)c->login.data_digest << 1;
	}
	pthread_mutex_unlock(&server->lock);
	return (int)n;
}

/* ---------------------------------------------------------------- the end */

void zd_serve_iscsi_stop(zd_iscsi *target, uint32_t grace_ms)
{
	struct zd_server *server = &target->server;

	zd_server_stop(server);
	pthread_mutex_lock(&server->lock);
	for (struct zd_peer *peer = zd_peer_next(server, NULL); peer; peer = zd_peer_next(server, peer)) {
		struct connection *c = connection_of(peer);

		atomic_store(&c->grace_ms, grace_ms);
		atomic_fetch_or(&c->orders, ORDER_LOGOUT);
		zd_link_wake(&peer->link);
	}
	pthread_mutex_unlock(&server->lock);
}

void zd_serve_iscsi_free(zd_iscsi *target)
{
	if (!target)
		return;
	zd_server_end(&target->server);
	for (uint32_t lun = 0; lun < ZD_SCSI_MAX_LUNS; lun++)
		zd_served_end(&target->units[lun]);
	zd_scsi_target_free(target->scsi);
	zd_server_close(&target->server);
	free(target->targets);
	free(target);
}

void zd_serve_iscsi_forget(zd_iscsi *target)
{
	zd_server_forget(&target->server);
}
