/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of numbered things, linked both ways by arrays of number + 1; 0 is the end. */
#ifndef CHAIN_H
#define CHAIN_H

#include <stdint.h>

static inline void chain_append(uint32_t *prev, uint32_t *next, uint32_t *head, uint32_t *tail, uint32_t i)
{
	prev[i] = *tail;
	next[i] = 0;
	if (*tail)
		next[*tail - 1] = i + 1;
	else
		*head = i + 1;
	*tail = i + 1;
}

/* Its own links stay as they were. */
static inline void chain_remove(uint32_t *prev, uint32_t *next, uint32_t *head, uint32_t *tail, uint32_t i)
{
	if (prev[i])
		next[prev[i] - 1] = next[i];
	else
		*head = next[i];
	if (next[i])
		prev[next[i] - 1] = prev[i];
	else
		*tail = prev[i];
}

#endif
