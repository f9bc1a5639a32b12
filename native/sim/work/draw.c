/* SPDX-License-Identifier: Apache-2.0 */
/* What a job draws its random places and blocks from. */
#include "work.h"

int zd_job_draw(struct job *job, uint64_t blocks, struct zd_error *err)
{
	const struct zd_sim_job *p = &job->p;
	int r;

	if (p->distribution == ZD_SIM_ZONED) {
		r = zd_draw_init_ranges(&job->draw, p->ranges, p->nr_ranges, blocks);
		return r ? zd_sim_fail(err, ZD_E_GEOMETRY,
				       "the ranges of random_distribution must each have a block of %llu, and add up to 100",
				       (unsigned long long)blocks) :
			   0;
	}
	r = zd_draw_init(&job->draw, p->distribution, p->a, p->b, blocks, &job->rng);
	if (r == -ERANGE)
		return zd_sim_fail(err, ZD_E_GEOMETRY,
				   "the range has %llu blocks, and a hot part of %g of it leaves none hot or none cold",
				   (unsigned long long)blocks, p->b);
	return r ? zd_sim_fail(err, ZD_E_GEOMETRY, "the parameters of random_distribution are out of range") : 0;
}
