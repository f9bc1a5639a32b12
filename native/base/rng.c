/* SPDX-License-Identifier: Apache-2.0 */
/* splitmix64: everything random about a disk is drawn from a seed by it, so that runs can be repeated. */
#include "base/base.h"

uint64_t zd_splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15u;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}
