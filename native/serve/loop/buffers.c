/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for data. A buffer that was used is kept by its connection as long as that keeps little: in the steady state no
 * command allocates. (Large ones from malloc() would be mapped and faulted in anew each time.)
 */
#include "serve/loop/loop.h"

#include <stdlib.h>

static uint64_t size_of(uint32_t class)
{
	return 4096ull << class;
}

static void give_back(struct zd_buffers *buffers, struct zd_buffer *buffer)
{
	uint64_t size = size_of(buffer->class);

	buffers->held -= size;
	atomic_fetch_sub_explicit(&buffers->pool->held, size, memory_order_relaxed);
	free(buffer);
}

void zd_buffers_end(struct zd_buffers *buffers)
{
	for (uint32_t class = 0; class < ZD_BUFFER_CLASSES; class++) {
		struct zd_buffer *buffer;

		while ((buffer = buffers->free[class])) {
			buffers->free[class] = buffer->next;
			give_back(buffers, buffer);
		}
	}
	buffers->kept = 0;
}

static bool has_room(struct zd_buffers *buffers, uint64_t size)
{
	uint64_t held;

	if (buffers->held + size > buffers->room)
		return false;
	held = atomic_fetch_add_explicit(&buffers->pool->held, size, memory_order_relaxed);
	if (held + size <= buffers->pool->room)
		return true;
	atomic_fetch_sub_explicit(&buffers->pool->held, size, memory_order_relaxed);
	return false;
}

struct zd_buffer *zd_buffer_get(struct zd_buffers *buffers, uint64_t length)
{
	uint32_t class = length <= 4096 ? 0 : 64 - 12 - (uint32_t)__builtin_clzll(length - 1);
	struct zd_buffer *buffer;

	if (class >= ZD_BUFFER_CLASSES)
		return NULL;
	buffer = buffers->free[class];
	if (buffer) {
		buffers->free[class] = buffer->next;
		buffers->kept -= size_of(class);
		return buffer;
	}
	if (!has_room(buffers, size_of(class))) {
		zd_buffers_end(buffers); /* what is kept, of other sizes, may be what lacks */
		if (!has_room(buffers, size_of(class)))
			return NULL;
	}
	buffer = aligned_alloc(64, sizeof(*buffer) + size_of(class));
	if (!buffer) {
		atomic_fetch_sub_explicit(&buffers->pool->held, size_of(class), memory_order_relaxed);
		return NULL;
	}
	buffers->held += size_of(class);
	buffer->class = class;
	return buffer;
}

void zd_buffer_put(struct zd_buffers *buffers, struct zd_buffer *buffer)
{
	if (!buffer)
		return;
	if (buffers->kept + size_of(buffer->class) > buffers->keep) {
		give_back(buffers, buffer);
		return;
	}
	buffers->kept += size_of(buffer->class);
	buffer->next = buffers->free[buffer->class];
	buffers->free[buffer->class] = buffer;
}
