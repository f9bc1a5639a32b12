/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pace of a handle: who says how long its commands take. Set once and kept until the handle goes, so that a ticket
 * that was given out can always be asked for.
 */
#include "device/hooks/hooks.h"

#include <stdlib.h>

struct zd_paced {
	const struct zd_pace *ops;
	void *arg;
};

int zd_set_pace(zd_dev *dev, const struct zd_pace *pace, void *arg, struct zd_error *err)
{
	struct zd_paced *paced, *none = NULL;
	int r = zd_enter(dev, err);

	if (r)
		return r;
	paced = malloc(sizeof(*paced));
	if (!paced)
		return zd_fail_host(err, ENOMEM, "no memory for the pace of a handle");
	*paced = (struct zd_paced){ pace, arg };
	if (!atomic_compare_exchange_strong(&dev->paced, &none, paced)) {
		free(paced);
		return zd_fail_host(err, EBUSY, "the handle's commands take a drive's time already");
	}
	zd_set_aside(dev);
	return 0;
}

void zd_pace_begin(zd_dev *dev, struct zd_traced *t, const struct zd_told *what)
{
	const struct zd_paced *paced = atomic_load(&dev->paced);

	if (t->timed && paced)
		t->ticket = paced->ops->begin(paced->arg, what);
}

uint64_t zd_pace_left(zd_dev *dev, uint64_t ticket)
{
	const struct zd_paced *paced = atomic_load(&dev->paced);

	return paced ? paced->ops->left(paced->arg, ticket) : 0;
}

void zd_pace_drop(zd_dev *dev, uint64_t ticket)
{
	const struct zd_paced *paced = atomic_load(&dev->paced);

	if (paced)
		paced->ops->drop(paced->arg, ticket);
}

void zd_pace_end(zd_dev *dev)
{
	struct zd_paced *paced = atomic_exchange(&dev->paced, NULL);

	if (!paced)
		return;
	paced->ops->end(paced->arg);
	free(paced);
	zd_set_aside(dev);
}
