/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server and its connections, as others see them. The lock is held for looking and for small changes only. What a connection
 * holds goes before it is over: by that others see that it is gone.
 */
#include "serve/loop/loop.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_A_SECOND 8

_Thread_local struct zd_peer *zd_peer_here;

void zd_server_signal(struct zd_server *server)
{
	uint64_t one = 1;

	if (write(server->event, &one, sizeof(one)) < 0) {
		/* the counter is full: it is readable */
	}
}

int zd_server_open(struct zd_server *server, const struct zd_serving *serving, uint64_t room, uint32_t most)
{
	server->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->event < 0)
		return -errno;
	server->serving = serving;
	server->pool.room = room;
	server->most = most;
	pthread_mutex_init(&server->lock, NULL);
	zd_crew_init(&server->crew);
	return 0;
}

void zd_server_stop(struct zd_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_mutex_unlock(&server->lock);
}

void zd_server_end(struct zd_server *server)
{
	zd_server_stop(server);
	zd_server_drop_all(server);
	zd_crew_end(&server->crew);
}

void zd_server_close(struct zd_server *server)
{
	pthread_mutex_destroy(&server->lock);
	close(server->event);
}

void zd_server_forget(struct zd_server *server)
{
	for (struct zd_peer *peer = server->peers; peer; peer = peer->next) {
		close(peer->link.fd);
		close(peer->link.event);
	}
	close(server->event);
}

/* ---------------------------------------------------------------- sentences */

void zd_peer_say(struct zd_peer *peer, const char *format, ...)
{
	struct zd_server *server = peer->server;
	uint64_t second = zd_now() / 1000000000u;
	char text[ZD_SERVER_TEXT];
	va_list args;
	int n;

	n = snprintf(text, sizeof(text), "%.100s (%s): ", peer->name, peer->address);
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
	va_end(args);
	pthread_mutex_lock(&server->lock);
	if (server->second != second) {
		server->second = second;
		server->this_second = 0;
	}
	if (server->this_second < MOST_A_SECOND && server->said_count < ZD_SERVER_SAID - 1) {
		server->this_second++;
		memcpy(server->said[(server->said_first + server->said_count++) % ZD_SERVER_SAID], text, sizeof(text));
	} else {
		server->left_out++;
	}
	pthread_mutex_unlock(&server->lock);
	zd_server_signal(server);
}

void zd_peer_say_why(struct zd_peer *peer, int why)
{
	if (why == -ETIMEDOUT)
		zd_peer_say(peer, "it gave no sign of life, or took no answers, for %u s", peer->link.stall_ms / 1000);
	else if (why != -ECONNRESET && why != -ESHUTDOWN && why != -EPIPE)
		zd_peer_say(peer, "%s", strerror(-why));
}

int zd_server_said(struct zd_server *server, char text[ZD_SERVER_TEXT])
{
	int r = 0;

	pthread_mutex_lock(&server->lock);
	if (!server->said_count && server->left_out) {
		snprintf(text, ZD_SERVER_TEXT, "%u more sentences about connections were left out", server->left_out);
		server->left_out = 0;
	} else if (server->said_count) {
		memcpy(text, server->said[server->said_first], ZD_SERVER_TEXT);
		server->said_first = (server->said_first + 1) % ZD_SERVER_SAID;
		server->said_count--;
	} else {
		r = -ENOENT;
	}
	pthread_mutex_unlock(&server->lock);
	return r;
}

/* ---------------------------------------------------------------- commands */

static struct zd_peer *peer_of(struct zd_desk *desk)
{
	return (struct zd_peer *)((uint8_t *)desk - offsetof(struct zd_peer, desk));
}

static void carry_out(struct zd_work *work)
{
	struct zd_peer *peer = peer_of(work->desk);

	peer->server->serving->commands->carry_out(peer, work);
}

static void by_helper(struct zd_work *work)
{
	struct zd_peer *peer = peer_of(work->desk);

	if (atomic_load(&work->aborted) || atomic_load(&peer->link.dropped)) {
		peer->server->serving->commands->abandon(work);
		zd_work_ended(work);
		return;
	}
	zd_peer_here = peer;
	carry_out(work);
	zd_peer_here = NULL;
}

static void wake(struct zd_desk *desk)
{
	zd_link_wake(&peer_of(desk)->link);
}

static const struct zd_desk_ops desk_ops = { carry_out, by_helper, wake };

int zd_peer_run(struct zd_peer *peer, struct zd_work *work, bool slow)
{
	return zd_work_begin(work, &peer->desk, slow) ? peer->server->serving->commands->answer(peer, work) : 0;
}

int zd_peer_collect(struct zd_peer *peer)
{
	const struct zd_commands *commands = peer->server->serving->commands;
	struct zd_work *work, *next;
	int r = 0;

	for (work = zd_desk_take(&peer->desk); work; work = next) {
		next = work->next;
		if (!r)
			r = commands->answer(peer, work);
		else
			commands->release(peer, work);
	}
	return r;
}

/* ---------------------------------------------------------------- connections */

static void set_options(int fd)
{
	int on = 1;

	/* What fails here (no TCP socket) costs speed only. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

int zd_peer_new(struct zd_server *server, int fd, size_t size, const char *name, const char *address, struct zd_peer **out,
		struct zd_error *err)
{
	struct zd_peer *peer = calloc(1, size);
	struct timespec now;
	int r;

	if (!peer)
		return zd_fail_host(err, ENOMEM, "taking a connection");
	r = zd_link_open(&peer->link, fd);
	if (r) {
		free(peer);
		return zd_fail_host(err, -r, "taking a connection");
	}
	set_options(peer->link.fd);
	peer->server = server;
	snprintf(peer->name, sizeof(peer->name), "%s", name);
	snprintf(peer->address, sizeof(peer->address), "%s", address);
	peer->buffers =
		(struct zd_buffers){ .pool = &server->pool, .room = server->serving->room, .keep = server->serving->keep };
	clock_gettime(CLOCK_REALTIME, &now);
	peer->since = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	zd_desk_init(&peer->desk, &desk_ops);
	*out = peer;
	return 0;
}

static void unmake(struct zd_peer *peer)
{
	zd_buffers_end(&peer->buffers);
	zd_link_close(&peer->link);
	zd_desk_close(&peer->desk);
	free(peer);
}

void zd_peer_free(struct zd_peer *peer)
{
	zd_helper_end(&peer->desk.helper);
	unmake(peer);
}

static int enlist(struct zd_server *server, struct zd_peer *peer, struct zd_error *err)
{
	int r = 0;

	pthread_mutex_lock(&server->lock);
	if (server->stopping) {
		r = zd_fail(err, -ESHUTDOWN, "the %s target is stopping", server->serving->what);
	} else if (server->count >= server->most) {
		r = zd_fail(err, -EUSERS, "the %s target has %u connections, as many as it may", server->serving->what,
			    server->count);
	} else {
		server->count++;
		peer->id = ++server->next_id;
		peer->next = server->peers;
		server->peers = peer;
	}
	pthread_mutex_unlock(&server->lock);
	return r;
}

static void delist(struct zd_peer *peer)
{
	struct zd_server *server = peer->server;
	struct zd_peer **at;

	pthread_mutex_lock(&server->lock);
	for (at = &server->peers; *at != peer; at = &(*at)->next)
		;
	*at = peer->next;
	pthread_mutex_unlock(&server->lock);
}

static void give_up(struct zd_peer *peer)
{
	zd_helper_end(&peer->desk.helper);
	peer->server->serving->end(peer);
}

/* Others see that it is gone. It can still be dropped, since its farewell may have to wait for room. */
static void retire(struct zd_peer *peer)
{
	pthread_mutex_lock(&peer->server->lock);
	peer->server->count--;
	peer->over = true;
	pthread_mutex_unlock(&peer->server->lock);
}

/* What a protocol has said of the end is sent; what it can no longer hear is not waited for. */
static void tell_end(struct zd_peer *peer, int why)
{
	if (why == ZD_PEER_DISTURBED || why == ZD_PEER_LEAVING)
		zd_link_flush(&peer->link);
	if (why == ZD_PEER_DISTURBED)
		zd_peer_say(peer, "%s", peer->disturbed);
	else if (why != ZD_PEER_LEAVING)
		zd_peer_say_why(peer, why);
	zd_link_drop(&peer->link);
}

static void live(struct zd_peer *peer)
{
	struct zd_server *server = peer->server;
	bool leaves;
	int why;

	zd_peer_here = peer;
	why = server->serving->serve(peer);
	leaves = why == ZD_PEER_LEAVING && !zd_link_flush(&peer->link);
	if (!leaves)
		tell_end(peer, why);
	zd_peer_here = NULL;
	give_up(peer);
	retire(peer);
	if (leaves) {
		server->serving->farewell(peer);
		tell_end(peer, why);
	}
	delist(peer);
	unmake(peer);
	zd_server_signal(server);
}

static void *thread(void *arg)
{
	struct zd_peer *peer = arg;
	struct zd_server *server = peer->server;

	prctl(PR_SET_NAME, server->serving->thread, 0, 0, 0);
	live(peer);
	zd_crew_leave(&server->crew);
	return NULL;
}

int zd_server_take(struct zd_server *server, struct zd_peer *peer, bool wait, uint64_t *id, struct zd_error *err)
{
	int r = enlist(server, peer, err);

	if (r) {
		give_up(peer);
		unmake(peer);
		return r;
	}
	*id = peer->id; /* the thread may end, and the connection go, at once */
	if (wait) {
		live(peer);
		return 0;
	}
	r = zd_crew_start(&server->crew, thread, peer);
	if (!r)
		return 0;
	give_up(peer);
	retire(peer);
	delist(peer);
	unmake(peer);
	return zd_fail_host(err, -r, "starting a thread for a connection");
}

int zd_server_drop(struct zd_server *server, uint64_t id)
{
	struct zd_peer *peer;

	pthread_mutex_lock(&server->lock);
	for (peer = server->peers; peer && peer->id != id; peer = peer->next)
		;
	if (peer)
		zd_link_drop(&peer->link);
	pthread_mutex_unlock(&server->lock);
	return peer ? 0 : -ENOENT;
}

void zd_server_drop_all(struct zd_server *server)
{
	pthread_mutex_lock(&server->lock);
	for (struct zd_peer *peer = server->peers; peer; peer = peer->next)
		zd_link_drop(&peer->link);
	pthread_mutex_unlock(&server->lock);
}

/* ---------------------------------------------------------------- disks */

/* Polled in what takes long, in the thread that is at it: nobody waits for the answers of a connection that is dropped. */
static int interrupted(void *arg)
{
	const struct zd_served *served = arg;
	const struct zd_peer *peer = zd_peer_here;

	if (peer)
		return (int)atomic_load_explicit(&peer->link.dropped, memory_order_relaxed);
	return served->before ? served->before(served->before_arg) : 0;
}

void zd_served_begin(struct zd_served *served, zd_dev *dev)
{
	served->dev = dev;
	served->before = zd_get_interrupt(dev, &served->before_arg);
	zd_set_interrupt(dev, interrupted, served);
}

void zd_served_end(struct zd_served *served)
{
	if (served->dev)
		zd_set_interrupt(served->dev, served->before, served->before_arg);
	served->dev = NULL;
}
