/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a fuzz target's input, read as choices. */
#ifndef INPUT_H
#define INPUT_H

#include <stdint.h>

struct input {
	const uint8_t *next, *end;
};

/* 0 to below - 1; at the end of the input always 0. */
static inline uint32_t take(struct input *in, uint32_t below)
{
	uint32_t value;

	if (in->next == in->end)
		return 0;
	value = *in->next++;
	if (below > 256 && in->next != in->end)
		value |= (uint32_t)*in->next++ << 8;
	return value % below;
}

#endif
