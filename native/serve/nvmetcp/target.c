/* SPDX-License-Identifier: Apache-2.0 */
/* A subsystem, its controllers and their connections, as others see them. */
#include "serve/nvmetcp/nvmetcp.h"

#include <stdlib.h>

/* ---------------------------------------------------------------- controllers */

static struct controller *find(const zd_nvmetcp *target, const struct zd_nvmetcp_connect *how)
{
	struct controller *it;

	for (it = target->controllers; it && it->id != how->controller; it = it->next)
		;
	return it;
}

static int new_controller(zd_nvmetcp *target, const struct zd_nvmetcp_connect *how, struct controller **out,
			  struct zd_error *err)
{
	struct controller *it = calloc(1, sizeof(*it));
	int r;

	if (!it)
		return zd_fail_host(err, ENOMEM, "making an NVMe controller");
	r = zd_nvme_controller_open_as(target->nvme, how->controller, how->host_id, how->keep_alive, &it->nvme, err);
	if (r) {
		free(it);
		return r;
	}
	memcpy(it->host, how->host, sizeof(it->host));
	memcpy(it->host_id, how->host_id, sizeof(it->host_id));
	it->id = how->controller;
	it->queues = 1;
	atomic_init(&it->heard, zd_now());
	pthread_mutex_lock(&target->server.lock);
	it->next = target->controllers;
	target->controllers = it;
	pthread_mutex_unlock(&target->server.lock);
	*out = it;
	return 0;
}

/* Another queue of a controller, which only its own host may connect. */
static int join(zd_nvmetcp *target, const struct zd_nvmetcp_connect *how, struct controller **out, struct zd_error *err)
{
	struct controller *it;

	pthread_mutex_lock(&target->server.lock);
	it = find(target, how);
	if (it && (it->over || !zd_nvmetcp_is_enabled(it) || strcmp(it->host, how->host) ||
		   memcmp(it->host_id, how->host_id, sizeof(it->host_id))))
		it = NULL;
	if (it)
		it->queues++;
	pthread_mutex_unlock(&target->server.lock);
	*out = it;
	return it ? 0 : zd_fail(err, -ENOENT, "there is no controller %u of this host that is enabled", how->controller);
}

/* The last one ends it. */
static void leave(zd_nvmetcp *target, struct controller *controller)
{
	struct controller **at;
	bool last;

	pthread_mutex_lock(&target->server.lock);
	last = !--controller->queues;
	if (last) {
		for (at = &target->controllers; *at != controller; at = &(*at)->next)
			;
		*at = controller->next;
	}
	pthread_mutex_unlock(&target->server.lock);
	if (!last)
		return;
	zd_nvme_controller_close(controller->nvme);
	free(controller);
}

void zd_nvmetcp_drop_others(struct connection *c)
{
	struct zd_server *server = &c->target->server;

	pthread_mutex_lock(&server->lock);
	for (struct zd_peer *peer = zd_peer_next(server, NULL); peer; peer = zd_peer_next(server, peer))
		if (peer != &c->peer && connection_of(peer)->controller == c->controller)
			zd_link_drop(&peer->link);
	pthread_mutex_unlock(&server->lock);
}

uint32_t zd_nvmetcp_nr_queues(struct connection *c)
{
	uint32_t found;

	pthread_mutex_lock(&c->target->server.lock);
	found = c->controller->queues;
	pthread_mutex_unlock(&c->target->server.lock);
	return found;
}

/* ---------------------------------------------------------------- a target */

static void end(struct zd_peer *peer)
{
	struct connection *c = connection_of(peer);

	if (!c->how.queue) {
		pthread_mutex_lock(&peer->server->lock);
		c->controller->over = true;
		pthread_mutex_unlock(&peer->server->lock);
		zd_nvmetcp_drop_others(c);
	}
	c->closing = true;
	zd_nvme_queue_close(c->queue); /* aborts its commands, and waits for them */
	zd_nvmetcp_forget_tasks(c);
	leave(c->target, c->controller);
}

static const struct zd_serving serving = {
	"NVMe/TCP", "zoned-nvme", 96u << 20, 8u << 20, zd_nvmetcp_serve, end, zd_nvmetcp_farewell, &zd_nvmetcp_commands,
};

/* Those that were given, with a value for each that was not. */
static struct zd_nvmetcp_limits limits_of(const struct zd_nvmetcp_limits *given)
{
	struct zd_nvmetcp_limits limits = given ? *given : (struct zd_nvmetcp_limits){ 0 };

	limits.room = limits.room ? limits.room : 1ull << 30;
	limits.queues = limits.queues ? limits.queues : 1024;
	limits.stall_ms = limits.stall_ms ? limits.stall_ms : 30000;
	return limits;
}

int zd_serve_nvmetcp_new(const char *nqn, const struct zd_nvmetcp_limits *limits, zd_nvmetcp **out, struct zd_error *err)
{
	struct zd_nvme_names names = { .in_capsule = ZD_NVMETCP_IN_CAPSULE, .max_depth = ZD_NVMETCP_DEPTH };
	zd_nvmetcp *target;
	int r;

	*out = NULL;
	if (strnlen(nqn, ZD_NVME_MAX_NAME) >= ZD_NVME_MAX_NAME || !*nqn)
		return zd_fail(err, -EINVAL, "the NQN of a subsystem has 1 to %d bytes", ZD_NVME_MAX_NAME - 1);
	strcpy(names.nqn, nqn);
	target = calloc(1, sizeof(*target));
	if (!target)
		return zd_fail_host(err, ENOMEM, "making an NVMe/TCP target");
	target->limits = limits_of(limits);
	r = zd_nvme_subsystem_new(&names, &target->nvme, err);
	if (r) {
		free(target);
		return r;
	}
	r = zd_server_open(&target->server, &serving, target->limits.room, target->limits.queues);
	if (r) {
		zd_nvme_subsystem_free(target->nvme);
		free(target);
		return zd_fail_host(err, -r, "making an NVMe/TCP target");
	}
	*out = target;
	return 0;
}

/* A disk of two namespaces is hooked once. */
static bool is_served(const zd_nvmetcp *target, const zd_dev *dev)
{
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		if (target->disks[i].dev == dev)
			return true;
	return false;
}

int zd_serve_nvmetcp_namespace(zd_nvmetcp *target, uint32_t nsid, zd_dev *dev, int part, struct zd_error *err)
{
	int r = zd_nvme_namespace_add(target->nvme, nsid, dev, part, err);

	if (r)
		return r;
	if (!is_served(target, dev))
		zd_served_begin(&target->disks[nsid], dev);
	return 0;
}

int zd_serve_nvmetcp_event(zd_nvmetcp *target)
{
	return target->server.event;
}

int zd_serve_nvmetcp_said(zd_nvmetcp *target, char text[ZD_NVMETCP_TEXT])
{
	return zd_server_said(&target->server, text);
}

/* ---------------------------------------------------------------- connections */

static int check(const struct zd_nvmetcp_connect *how, struct zd_error *err)
{
	if (!memchr(how->host, 0, sizeof(how->host)) || !memchr(how->address, 0, sizeof(how->address)))
		return zd_fail(err, -EINVAL, "a name of a connection does not end with a NUL");
	if (how->queue >= ZD_NVME_MAX_QUEUES || how->depth < 2 || how->depth > ZD_NVMETCP_DEPTH)
		return zd_fail(err, -EINVAL, "queue %u with %u entries is out of range: up to %d, with 2 to %d", how->queue,
			       how->depth, ZD_NVME_MAX_QUEUES - 1, ZD_NVMETCP_DEPTH);
	if (!how->controller || how->controller > 0xFFEF || how->align > 31)
		return zd_fail(err, -EINVAL, "controller %04xh or an alignment of %u is out of range", how->controller,
			       how->align);
	return 0;
}

static int make(zd_nvmetcp *target, int fd, const struct zd_nvmetcp_connect *how, struct zd_peer **out, struct zd_error *err)
{
	struct connection *c;
	int r = check(how, err);

	if (!r)
		r = zd_peer_new(&target->server, fd, sizeof(*c), how->host, how->address, out, err);
	if (r)
		return r;
	c = connection_of(*out);
	c->target = target;
	c->how = *how;
	c->sqhd = how->no_flow_control ? 0 : how->taken % how->depth;
	zd_nvmetcp_prepare(c);
	r = how->queue ? join(target, how, &c->controller, err) : new_controller(target, how, &c->controller, err);
	if (!r) {
		r = zd_nvme_queue_open(c->controller->nvme, how->queue, &c->queue, err);
		if (!r)
			return 0;
		leave(target, c->controller);
	}
	zd_peer_free(*out);
	return r;
}

int zd_serve_nvmetcp_take(zd_nvmetcp *target, int fd, const struct zd_nvmetcp_connect *how, uint64_t *id, struct zd_error *err)
{
	struct zd_peer *peer;
	int r = make(target, fd, how, &peer, err);

	return r ? r : zd_server_take(&target->server, peer, false, id, err);
}

int zd_serve_nvmetcp_here(zd_nvmetcp *target, int fd, const struct zd_nvmetcp_connect *how, struct zd_error *err)
{
	struct zd_peer *peer;
	uint64_t id;
	int r = make(target, fd, how, &peer, err);

	return r ? r : zd_server_take(&target->server, peer, true, &id, err);
}

int zd_serve_nvmetcp_drop(zd_nvmetcp *target, uint64_t id)
{
	return zd_server_drop(&target->server, id);
}

int zd_serve_nvmetcp_list(zd_nvmetcp *target, struct zd_nvmetcp_queue *queues, uint32_t room)
{
	struct zd_server *server = &target->server;
	uint32_t n = 0;

	pthread_mutex_lock(&server->lock);
	for (struct zd_peer *peer = zd_peer_next(server, NULL); peer; peer = zd_peer_next(server, peer), n++) {
		const struct connection *c = connection_of(peer);
		struct zd_nvmetcp_queue *q;

		if (n >= room)
			continue;
		q = &queues[n];
		memset(q, 0, sizeof(*q));
		q->id = peer->id;
		memcpy(q->host, c->how.host, sizeof(q->host));
		memcpy(q->address, c->how.address, sizeof(q->address));
		memcpy(q->host_id, c->how.host_id, sizeof(q->host_id));
		q->controller = c->how.controller;
		q->queue = c->how.queue;
		q->depth = c->how.depth;
		q->since = peer->since;
		q->commands = atomic_load(&peer->nr_commands);
		q->bytes_in = atomic_load(&peer->bytes_in);
		q->bytes_out = atomic_load(&peer->bytes_out);
		q->errors = atomic_load(&peer->errors);
		q->under_way = atomic_load(&peer->under_way);
		q->keep_alive = c->how.keep_alive;
		q->digests = c->how.header_digest | (uint32_t)c->how.data_digest << 1;
	}
	pthread_mutex_unlock(&server->lock);
	return (int)n;
}

/* ---------------------------------------------------------------- the end */

void zd_serve_nvmetcp_stop(zd_nvmetcp *target)
{
	zd_server_stop(&target->server);
}

void zd_serve_nvmetcp_free(zd_nvmetcp *target)
{
	if (!target)
		return;
	zd_server_end(&target->server);
	for (uint32_t i = 1; i <= ZD_NVME_MAX_NAMESPACES; i++)
		zd_served_end(&target->disks[i]);
	zd_nvme_subsystem_free(target->nvme);
	zd_server_close(&target->server);
	free(target);
}

void zd_serve_nvmetcp_forget(zd_nvmetcp *target)
{
	zd_server_forget(&target->server);
}
