/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers, and the few functions of the simulation that are not arithmetic. Nothing of libm but
 * sqrt, which IEEE 754 defines to the last bit: so log, exp and pow are the same on every machine.
 */
#include "maths.h"

#include <math.h>

uint64_t zd_mix64(uint64_t x) /* splitmix64's finisher */
{
	x ^= x >> 30;
	x *= 0xBF58476D1CE4E5B9ull;
	x ^= x >> 27;
	x *= 0x94D049BB133111EBull;
	return x ^ x >> 31;
}

void zd_rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t x = zd_mix64(seed + 0x9E3779B97F4A7C15ull) ^ zd_mix64(stream * 0xD1342543DE82EF95ull + 1);
	int i;

	for (i = 0; i < 4; i++)
		r->s[i] = zd_mix64(x += 0x9E3779B97F4A7C15ull);
}

double zd_sim_log(double x)
{
	union {
		double d;
		uint64_t u;
	} v = { x };
	int e, i;
	double t, t2, sum, power;

	if (!(x > 0))
		return x == 0 ? -HUGE_VAL : NAN;
	if (v.u >> 52 == 0x7FF)
		return x;
	if (v.u >> 52 == 0) { /* subnormal */
		v.d = x * 0x1p54;
		v.u -= 54ull << 52;
	}
	e = (int)(v.u >> 52) - 1023;
	v.u = (v.u & 0xFFFFFFFFFFFFFull) | 1023ull << 52;
	if (v.d > 1.4142135623730951) {
		v.d *= 0.5;
		e++;
	}
	/* log m = 2 atanh((m-1)/(m+1)); |t| <= 0.172, so 12 terms reach below 2^-60. */
	t = (v.d - 1) / (v.d + 1);
	t2 = t * t;
	sum = 0;
	power = t;
	for (i = 1; i < 25; i += 2) {
		sum += power / i;
		power *= t2;
	}
	return e * 0.6931471805599453 + 2 * sum;
}

double zd_sim_exp(double x)
{
	union {
		double d;
		uint64_t u;
	} scale;
	double k, r, term = 1, sum = 1;
	int i, n;

	if (x != x)
		return x;
	if (x > 709.7)
		return HUGE_VAL;
	if (x < -708)
		return 0;
	k = x * 1.4426950408889634;
	n = (int)(k < 0 ? k - 0.5 : k + 0.5);
	r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
	for (i = 1; i < 16; i++) {
		term *= r / i;
		sum += term;
	}
	scale.u = (uint64_t)(n + 1023) << 52;
	return sum * scale.d;
}

double zd_sim_pow(double x, double y)
{
	if (y == 0)
		return 1;
	if (x <= 0)
		return x == 0 && y > 0 ? 0 : NAN;
	return zd_sim_exp(y * zd_sim_log(x));
}

/* ---------------------------------------------------------------- distributions */

/* Zipf after Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), as fio does. */
#define ZIPF_TERMS 10000ull

int zd_draw_init(struct draw *d, uint32_t kind, double a, double b, uint64_t n, struct rng *r)
{
	uint64_t i, terms;
	double zeta2;

	memset(d, 0, sizeof(*d));
	d->kind = kind;
	d->a = a;
	d->b = b;
	d->n = n;
	if (n == 0)
		return -EINVAL;
	switch (kind) {
	case ZD_SIM_UNIFORM: return 0;
	case ZD_SIM_HOTCOLD:
		if (!(a > 0 && a < 1 && b > 0 && b < 1))
			return -EINVAL;
		d->hot = (uint64_t)(b * (double)n + 0.5);
		return d->hot > 0 && d->hot < n ? 0 : -ERANGE;
	case ZD_SIM_ZIPF:
		if (!(a > 0 && a < 10) || a == 1)
			return -EINVAL;
		terms = n < ZIPF_TERMS ? n : ZIPF_TERMS;
		for (i = 1; i <= terms; i++)
			d->zetan += zd_sim_pow((double)i, -a);
		if (n > terms) { /* the rest of the sum: Euler and Maclaurin's first two terms */
			double k = (double)terms, m = (double)n;

			d->zetan += (zd_sim_pow(m, 1 - a) - zd_sim_pow(k, 1 - a)) / (1 - a) +
				    (zd_sim_pow(m, -a) - zd_sim_pow(k, -a)) / 2;
		}
		zeta2 = 1 + zd_sim_pow(0.5, a);
		d->alpha = 1 / (1 - a);
		d->eta = (1 - zd_sim_pow(2.0 / (double)n, 1 - a)) / (1 - zeta2 / d->zetan);
		d->rotate = rng_next(r);
		return 0;
	case ZD_SIM_PARETO:
		if (!(a > 0 && a < 1))
			return -EINVAL;
		d->alpha = zd_sim_log(a) / zd_sim_log(1 - a); /* a of the space gets 1-a of the accesses */
		d->rotate = rng_next(r);
		return 0;
	case ZD_SIM_NORMAL: return a > 0 && a <= 100 ? 0 : -EINVAL;
	default: return -EINVAL;
	}
}

static uint64_t scatter(const struct draw *d, uint64_t rank)
{
	/* Favourites lie apart from each other, not at the front of the disk. */
	return (uint64_t)((unsigned __int128)zd_mix64(rank + d->rotate) * d->n >> 64);
}

int zd_draw_init_ranges(struct draw *d, const struct zd_sim_range *ranges, uint32_t nr, uint64_t n)
{
	double access = 0, space = 0;
	uint32_t i;

	memset(d, 0, sizeof(*d));
	d->kind = ZD_SIM_ZONED;
	d->n = n;
	d->nr = nr;
	if (!nr || nr > ZD_SIM_MAX_SPLIT)
		return -ERANGE;
	for (i = 0; i < nr; i++) {
		if (!(ranges[i].access >= 0 && ranges[i].access <= 100 && ranges[i].space > 0 && ranges[i].space <= 100))
			return -ERANGE;
		access += ranges[i].access;
		space += ranges[i].space;
		d->upto[i] = access / 100;
		d->end[i] = i + 1 == nr ? n : (uint64_t)(space / 100 * (double)n + 0.5);
		if (d->end[i] <= (i ? d->end[i - 1] : 0) || d->end[i] > n)
			return -ERANGE;
	}
	return access > 99.999 && access < 100.001 && space > 99.999 && space < 100.001 ? 0 : -ERANGE;
}

uint64_t zd_draw(struct draw *d, struct rng *r)
{
	double u, uz;
	uint64_t rank;
	uint32_t i;

	switch (d->kind) {
	case ZD_SIM_ZONED:
		u = rng_unit(r);
		for (i = 0; i + 1 < d->nr && u >= d->upto[i]; i++)
			;
		rank = i ? d->end[i - 1] : 0;
		return rank + rng_below(r, d->end[i] - rank);
	case ZD_SIM_HOTCOLD:
		if (rng_unit(r) < d->a)
			return rng_below(r, d->hot);
		return d->hot + rng_below(r, d->n - d->hot);
	case ZD_SIM_ZIPF:
		u = rng_unit(r);
		uz = u * d->zetan;
		if (uz < 1)
			rank = 0;
		else if (uz < 1 + zd_sim_pow(0.5, d->a))
			rank = 1;
		else
			rank = (uint64_t)((double)d->n * zd_sim_pow(d->eta * u - d->eta + 1, d->alpha));
		return scatter(d, rank < d->n ? rank : d->n - 1);
	case ZD_SIM_PARETO: rank = (uint64_t)((double)(d->n - 1) * zd_sim_pow(rng_unit(r), d->alpha)); return scatter(d, rank);
	case ZD_SIM_NORMAL: {
		/* Sum of twelve: close to normal, and without a tail that would leave the space. */
		double sum = -6, at;
		int i;

		for (i = 0; i < 12; i++)
			sum += rng_unit(r);
		at = ((double)d->n - 1) / 2 + sum * (double)d->n * d->a / 100;
		if (at < 0)
			at = -at;
		rank = (uint64_t)at;
		return rank < d->n ? rank : rank % d->n;
	}
	default: return rng_below(r, d->n);
	}
}

/* ---------------------------------------------------------------- a random order */

void zd_permutation_init(struct permutation *p, uint64_t n, uint64_t key)
{
	uint32_t bits = 2;

	while (bits < 62 && (1ull << bits) < n)
		bits += 2;
	p->n = n;
	p->key = key;
	p->half = bits / 2;
	p->mask = (1ull << p->half) - 1;
}

uint64_t zd_permute(const struct permutation *p, uint64_t i)
{
	if (p->n < 2)
		return 0;
	do {
		uint64_t left = i >> p->half, right = i & p->mask;
		int round;

		for (round = 0; round < 4; round++) {
			uint64_t t = left ^ (zd_mix64(right + p->key + (uint64_t)round * 0x9E3779B97F4A7C15ull) & p->mask);

			left = right;
			right = t;
		}
		i = left << p->half | right;
	} while (i >= p->n);
	return i;
}
