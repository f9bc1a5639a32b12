/* SPDX-License-Identifier: Apache-2.0 */
/* A connection that a fuzz target plays the other side of: what it says is made first, then said at once. */
#ifndef STREAM_H
#define STREAM_H

#include "testing.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST (1u << 20)
#define ANSWERS (8u << 20)

struct stream {
	uint8_t *bytes;
	uint32_t length;
	bool header_digest, data_digest;
};

/* For the whole life of the program. */
static inline uint8_t *stream_room(uint8_t **kept, size_t size)
{
	if (!*kept)
		*kept = malloc(size);
	CLAIM(*kept);
	return *kept;
}

static inline void add(struct stream *out, const void *data, uint32_t length)
{
	if (length > MOST - out->length)
		length = MOST - out->length;
	memcpy(out->bytes + out->length, data, length);
	out->length += length;
}

static inline void open_ends(int ends[2])
{
	int space = 2 << 20;

	CLAIM(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
	for (int i = 0; i < 2; i++)
		setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &space, sizeof(space));
}

static inline void close_ends(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

/* 16 zones of 64 KiB, of which the first 4 are conventional. */
static inline struct zd_config small_config(void)
{
	static const struct zd_range conv = { 0, 4 };

	return (struct zd_config){ .struct_size = sizeof(struct zd_config),
				   .size = 1 << 20,
				   .zone_size = 64 << 10,
				   .physical_block = 4096,
				   .slot_cache = UINT64_MAX,
				   .max_open = 4,
				   .conv = &conv,
				   .nr_conv = 1 };
}

/* Open a connection and say all of it, to a server that answers nobody yet, and an end behind it. */
static inline void begin_talk(int ends[2], const struct stream *out)
{
	int fd;

	open_ends(ends);
	fd = ends[0];
	for (uint32_t at = 0; at < out->length;) {
		ssize_t n = send(fd, out->bytes + at, out->length - at, MSG_NOSIGNAL);

		if (n <= 0)
			break; /* the socket is full: the rest is cut off */
		at += (uint32_t)n;
	}
	shutdown(fd, SHUT_WR);
}

/* How much the server has said, once it is done. */
static inline size_t end_talk(const int ends[2], uint8_t *answers)
{
	size_t got = 0;

	for (ssize_t n; got < ANSWERS && (n = recv(ends[0], answers + got, ANSWERS - got, 0)) > 0;)
		got += (size_t)n;
	close_ends(ends);
	return got;
}

#endif
