/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers, distributions, random orders. */
#ifndef ZD_SIM_MATHS_H
#define ZD_SIM_MATHS_H

#include "common.h"

struct rng {
	uint64_t s[4];
};
void zd_rng_seed(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t zd_mix64(uint64_t x);
static inline uint64_t rng_next(struct rng *r) /* xoshiro256**, Blackman and Vigna 2018, public domain */
{
	uint64_t *s = r->s, result = s[1] * 5, t = s[1] << 17;

	result = (result << 7 | result >> 57) * 9;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = s[3] << 45 | s[3] >> 19;
	return result;
}
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)((unsigned __int128)rng_next(r) * n >> 64);
}
static inline double rng_unit(struct rng *r) /* [0, 1) */
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

/* Numbers 0..n-1 by a distribution. */
struct draw {
	uint32_t kind;
	double a, b;
	uint64_t n, hot;          /* HOTCOLD: how many are hot */
	double zetan, eta, alpha; /* ZIPF */
	uint64_t rotate;          /* ZIPF, PARETO: where the favourites lie */
	uint32_t nr;              /* ZONED: ranges, where each ends, and the share of accesses up to there */
	uint64_t end[ZD_SIM_MAX_SPLIT];
	double upto[ZD_SIM_MAX_SPLIT];
};
int zd_draw_init(struct draw *d, uint32_t kind, double a, double b, uint64_t n, struct rng *r);
/* ZONED. -ERANGE: a range without a block, or accesses or space that do not add up to 100. */
int zd_draw_init_ranges(struct draw *d, const struct zd_sim_range *ranges, uint32_t nr, uint64_t n);
uint64_t zd_draw(struct draw *d, struct rng *r);

/* A random order of 0..n-1 without memory (a Feistel network with cycle walking). */
struct permutation {
	uint64_t n, key, mask;
	uint32_t half;
};
void zd_permutation_init(struct permutation *p, uint64_t n, uint64_t key);
uint64_t zd_permute(const struct permutation *p, uint64_t i);

#endif
