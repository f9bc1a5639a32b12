/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket and its thread. The thread reads what is there, does it, queues the answers, and sends them all before it waits
 * again: one system call for the requests of a burst and one for their answers. It waits for bytes and for others that
 * wake it, at once; for room to send it waits alone, since whoever takes no answers need not be read either.
 */
#include "serve/loop/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

int zd_link_open(struct zd_link *link, int fd)
{
	int err = EMFILE;

	link->in = malloc(ZD_LINK_IN);
	if (!link->in)
		return -ENOMEM;
	link->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->event >= 0) {
		link->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (link->fd >= 0)
			return 0;
		err = errno;
		close(link->event);
	}
	free(link->in);
	return -err;
}

void zd_link_close(struct zd_link *link)
{
	close(link->fd);
	close(link->event);
	free(link->in);
}

/* ---------------------------------------------------------------- waiting */

void zd_link_wake(struct zd_link *link)
{
	uint64_t one = 1;

	if (write(link->event, &one, sizeof(one)) < 0) {
		/* the counter is full: it is readable */
	}
}

void zd_link_drop(struct zd_link *link)
{
	atomic_store(&link->dropped, 1);
	shutdown(link->fd, SHUT_RDWR);
	zd_link_wake(link);
}

static void quieten(struct zd_link *link)
{
	uint64_t count;

	if (read(link->event, &count, sizeof(count)) < 0) {
		/* nobody had called */
	}
}

/*
 * Who waits for one answer before he asks the next thing asks it soon: that takes less time than to fall asleep and to be
 * woken. So a thread that slept for a moment only looks some times more before it sleeps again, and lets others have its
 * processor in between; after a vain turn half as often.
 */
#define MOST_LOOKS 64u
#define SHORT_SLEEP 100000u /* ns */

static ssize_t look(struct zd_link *link, struct msghdr *message)
{
	uint32_t left = link->looks;
	ssize_t n;

	for (;;) {
		n = recvmsg(link->fd, message, MSG_DONTWAIT);
		if (n >= 0 || errno != EAGAIN || !left--)
			break;
		sched_yield();
	}
	if (n < 0)
		link->looks /= 2;
	return n;
}

/* Until there are bytes, or an end, to be read. */
static int await_bytes(struct zd_link *link)
{
	struct pollfd both[2] = { { .fd = link->fd, .events = POLLIN }, { .fd = link->event, .events = POLLIN } };

	link->unpolled = 0;
	for (;;) {
		int n, r = zd_link_flush(link);
		uint64_t since;

		if (r)
			return r;
		since = zd_now();
		n = poll(both, 2, (int)(link->asked ? link->stall_ms : link->idle_ms));
		if (n > 0 && zd_now() - since < SHORT_SLEEP)
			link->looks = MOST_LOOKS;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) {
			if (link->asked)
				return -ETIMEDOUT;
			r = link->idle(link->arg);
			if (r < 0)
				return r;
			link->asked = r;
			continue;
		}
		if (n > 0 && both[1].revents) {
			quieten(link);
			if (atomic_load(&link->dropped))
				return -ESHUTDOWN;
			r = link->woken(link->arg);
			if (r)
				return r;
		}
		if (n > 0 && both[0].revents)
			return 0;
	}
}

#define MOST_UNPOLLED 8u

/* Some bytes into places; more than 0. Who called in the meantime is heard now and then, though bytes keep coming. */
static ssize_t receive(struct zd_link *link, struct iovec *parts, int nr)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = (size_t)nr };

	for (;;) {
		int r = zd_link_flush(link);
		ssize_t n;

		if (r)
			return r;
		if (link->unpolled++ < MOST_UNPOLLED) {
			n = look(link, &message);
			if (n > 0) {
				link->asked = false;
				return n;
			}
			if (n == 0)
				return atomic_load(&link->dropped) ? -ESHUTDOWN : -ECONNRESET;
			if (errno != EAGAIN && errno != EINTR)
				return -errno;
		}
		r = await_bytes(link);
		if (r)
			return r;
	}
}

int zd_link_need(struct zd_link *link, uint32_t length)
{
	if (zd_link_has(link) >= length)
		return 0;
	if (link->begin == link->end)
		link->begin = link->end = 0;
	if (link->begin + length > ZD_LINK_IN || (link->begin && ZD_LINK_IN - link->end < 4096)) {
		memmove(link->in, link->in + link->begin, zd_link_has(link));
		link->end -= link->begin;
		link->begin = 0;
	}
	while (zd_link_has(link) < length) {
		struct iovec part = { link->in + link->end, ZD_LINK_IN - link->end };
		ssize_t n = receive(link, &part, 1);

		if (n < 0)
			return (int)n;
		link->end += (uint32_t)n;
	}
	return 0;
}

/* Behind what is there already, straight from the socket to its place; what follows in it comes along. */
int zd_link_take(struct zd_link *link, uint8_t *to, uint64_t length)
{
	uint64_t there = zd_link_has(link) < length ? zd_link_has(link) : length;

	if (to && there) {
		memcpy(to, zd_link_at(link), there);
		to += there;
	}
	zd_link_pass(link, (uint32_t)there);
	length -= there;
	while (length) {
		struct iovec parts[2] = { { to, length }, { link->in, ZD_LINK_IN } };
		ssize_t n;

		link->begin = link->end = 0;
		n = receive(link, to ? parts : parts + 1, to ? 2 : 1);
		if (n < 0)
			return (int)n;
		there = (uint64_t)n < length ? (uint64_t)n : length;
		if (to) {
			to += there;
			link->end = (uint32_t)((uint64_t)n - there);
		} else {
			link->begin = (uint32_t)there;
			link->end = (uint32_t)n;
		}
		length -= there;
	}
	return 0;
}

int zd_link_segment(struct zd_link *link, uint8_t *to, uint64_t keep, uint32_t length, uint32_t pad, bool digest, bool *bad)
{
	uint32_t crc = 0, behind = pad + (digest ? 4 : 0);
	const uint8_t *at;
	int r;

	*bad = false;
	if (!length)
		return 0;
	if (!to)
		keep = 0;
	if (keep > length)
		keep = length;
	r = zd_link_take(link, to, keep);
	if (!r && digest)
		crc = zd_crc32c(0, to, keep);
	/* What is not kept is looked at in pieces, for its digest, or only passed over. */
	for (uint32_t rest = length - (uint32_t)keep; !r && rest;) {
		uint32_t piece = rest < ZD_LINK_IN ? rest : ZD_LINK_IN;

		if (!digest) {
			r = zd_link_take(link, NULL, rest);
			break;
		}
		r = zd_link_need(link, piece);
		if (r)
			break;
		crc = zd_crc32c(crc, zd_link_at(link), piece);
		zd_link_pass(link, piece);
		rest -= piece;
	}
	if (r || !behind)
		return r;
	r = zd_link_need(link, behind);
	if (r)
		return r;
	at = zd_link_at(link);
	if (digest) {
		crc = zd_crc32c(crc, at, pad);
		*bad = memcmp(at + pad, &crc, 4) != 0;
	}
	zd_link_pass(link, behind);
	return 0;
}

/* ---------------------------------------------------------------- sending */

uint8_t *zd_link_head(struct zd_link *link, int *err)
{
	uint8_t *head;

	*err = 0;
	if (link->nr_heads == ZD_LINK_HEADS || link->queued >= ZD_LINK_BURST) {
		*err = zd_link_flush(link);
		if (*err)
			return NULL;
	}
	head = link->heads[link->nr_heads++];
	memset(head, 0, ZD_LINK_HEAD);
	return head;
}

void zd_link_put(struct zd_link *link, const void *data, uint64_t length)
{
	if (!length)
		return;
	link->parts[link->nr_parts++] = (struct iovec){ (void *)(uintptr_t)data, length };
	link->queued += length;
}

static int await_room(struct zd_link *link)
{
	struct pollfd room = { .fd = link->fd, .events = POLLOUT };
	int n = poll(&room, 1, (int)link->stall_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

void zd_link_move(struct zd_link *link, const void *from, uint64_t length, void *to)
{
	for (uint32_t i = link->nr_sent; i < link->nr_parts; i++) {
		struct iovec *part = &link->parts[i];
		uint64_t at = (uintptr_t)part->iov_base - (uintptr_t)from;

		if (at < length)
			part->iov_base = memcpy((uint8_t *)to + at, part->iov_base, part->iov_len);
	}
}

int zd_link_flush(struct zd_link *link)
{
	if (!link->nr_parts)
		return 0;
	while (link->nr_sent < link->nr_parts) {
		struct iovec *part = &link->parts[link->nr_sent];
		struct msghdr message = { .msg_iov = part, .msg_iovlen = link->nr_parts - link->nr_sent };
		ssize_t n = sendmsg(link->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			int r = 0;

			if (errno == EAGAIN) {
				if (link->stuck)
					link->stuck(link->arg);
				r = await_room(link);
			}
			if (r)
				return r;
			continue;
		}
		if (n < 0)
			return atomic_load(&link->dropped) ? -ESHUTDOWN : -errno;
		while (link->nr_sent < link->nr_parts && (size_t)n >= part->iov_len) {
			n -= (ssize_t)part->iov_len;
			part++;
			link->nr_sent++;
		}
		if (n) {
			part->iov_base = (uint8_t *)part->iov_base + n;
			part->iov_len -= (size_t)n;
		}
	}
	link->nr_parts = link->nr_heads = link->nr_sent = 0;
	link->queued = 0;
	link->sent(link->arg);
	return 0;
}
