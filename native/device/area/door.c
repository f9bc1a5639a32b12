/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door: openers that may write the image come in and go out one at a time, and know whether others are inside.
 *
 * What makes one of them wait here can be held only by somebody who may write the image. A write lock on bytes of the
 * file cannot be that: whoever may read the file can hold read locks on all of it, and no write lock would ever be had.
 * So the lock is a robust mutex in the shared area, which readers have mapped for looking only. On bytes of the file,
 * far beyond its end, writers hold read locks, which no reader can forbid. They tell who lives, as they die with their
 * process:
 *
 *   ZD_BYTE_GATE     by who is inside the door; readers, who wait till nobody is, see by it that he was not killed there
 *   ZD_BYTE_WRITERS  by each handle that may write. Nobody holds it: all are gone. Somebody does: one of them, or a
 *                    reader who wants to be taken for one. The count of writers is right or too high (some were
 *                    killed), so a reader can at most make a dead writer look alive. The next opener then joins the
 *                    living area as it is: locks whose owner died say so, and nothing that was written is lost.
 *
 * The mutex must be good before anybody has looked at the area, and what lies there may come from another boot or be a
 * copy of another file. A word says whose it is, and which of several mutexes it is: whoever finds another's word makes
 * one that nobody has touched and then tries to publish it. So two that race never touch each other's, and one that is
 * stopped half-way comes too late, and harms nobody.
 */
#include "device/area/area.h"

#include <sys/mman.h>

#define GATES 16u
#define WHOSE (~0xFFFFull)                     /* bits of `which`: a hash of boot and file */
#define CHOSEN(which) ((uint32_t)(which) & 0xFF) /* the mutex in use + 1; 0: none yet */
#define BEGUN(which) ((uint32_t)(which) >> 8 & 0xFF) /* mutexes that somebody makes, or made */

/* At a place that stays the same for all builds, so that they exclude each other. */
struct zd_door {
	_Atomic uint64_t which;
	_Atomic uint32_t turn;    /* grows as somebody comes in and goes out; odd: he is inside, or died there */
	_Atomic uint32_t writers; /* handles that may write; too many when some were killed */
	uint8_t touch[8];         /* written by pwrite, so that the page has a block before anybody stores into it */
	pthread_mutex_t gate[GATES];
};
_Static_assert(sizeof(struct zd_rt_head) <= ZD_DOOR && ZD_DOOR + sizeof(struct zd_door) <= ZD_PAGE,
	       "both lie in the area's first page");

static struct zd_door *door_of(const zd_dev *dev)
{
	return (struct zd_door *)(dev->door + ZD_DOOR);
}

/* Map the page, once for a handle. */
static int approach(zd_dev *dev)
{
	static const uint8_t none;
	uint64_t at = dev->g.h.runtime_offset;
	uint8_t *page;
	int r = 0;

	if (dev->door)
		return 0;
	if (!dev->readonly)
		r = zd_host_pwrite(dev->fd, &none, 1, at + ZD_DOOR + offsetof(struct zd_door, touch));
	if (r)
		return r;
	page = mmap(NULL, ZD_PAGE, dev->readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, dev->fd, (off_t)at);
	if (page == MAP_FAILED)
		return -errno;
	dev->door = page;
	return 0;
}

void zd_door_unmap(zd_dev *dev)
{
	if (dev->door)
		munmap(dev->door, ZD_PAGE);
	dev->door = NULL;
}

/* Of this boot and this file; the same for all builds whose mutexes are alike. */
static int whose(zd_dev *dev, uint64_t *out)
{
	uint64_t hash = sizeof(pthread_mutex_t);
	struct zd_rt_tag tag;
	const uint8_t *byte = (const uint8_t *)&tag;
	size_t i;
	int r;

	*out = dev->door_of;
	if (*out)
		return 0;
	r = zd_runtime_tag(dev, dev->fd, &tag);
	if (r < 0)
		return r;
	tag.abi = 0;
	for (i = 0; i < sizeof(tag); i++) {
		hash ^= byte[i];
		zd_splitmix(&hash);
		hash *= 0x100000001B3u;
	}
	*out = dev->door_of = (zd_splitmix(&hash) & WHOSE) | 0x10000;
	return 0;
}

/* The mutex that all agree on. */
static int find_gate(zd_dev *dev, pthread_mutex_t **out)
{
	struct zd_door *door = door_of(dev);
	uint64_t mine, which = atomic_load(&door->which);
	struct zd_wait wait;
	uint32_t made = 0;
	int r = whose(dev, &mine);

	zd_wait_begin(&wait, NULL);
	while (!r) {
		uint64_t next = (which & WHOSE) == mine ? which : mine;

		if (CHOSEN(next)) {
			*out = &door->gate[(CHOSEN(next) - 1) % GATES];
			return 0;
		}
		if (made) {
			next |= made;
		} else if (BEGUN(next) < GATES) {
			next += 0x100;
		} else {
			/* As many as there are were killed or stopped just here. */
			zd_wait_nap(&wait);
			r = zd_wait_on(dev, &wait, 0);
			which = atomic_load(&door->which);
			continue;
		}
		if (!atomic_compare_exchange_strong(&door->which, &which, next)) {
			if ((which & WHOSE) != mine)
				made = 0; /* nothing of this boot does that, but a file can be anything */
			continue;
		}
		which = next;
		if (!made) {
			made = BEGUN(next);
			r = zd_mutex_init(&door->gate[made - 1]);
		}
	}
	return r;
}

/* A mutex that is none, of a damaged page of this boot: nobody can hold it, so another one is made. False: none is left. */
static bool take_away(struct zd_door *door, const pthread_mutex_t *gate)
{
	uint64_t which = atomic_load(&door->which);

	if (CHOSEN(which) && &door->gate[(CHOSEN(which) - 1) % GATES] == gate) {
		if (BEGUN(which) >= GATES)
			return false;
		atomic_compare_exchange_strong(&door->which, &which, which & ~0xFFull);
	}
	return true;
}

int zd_door_enter(zd_dev *dev, struct zd_error *err)
{
	struct zd_door *door;
	pthread_mutex_t *gate = NULL;
	int r = approach(dev);

	if (r)
		return zd_fail_host(err, -r, "no room in the image for its shared state");
	door = door_of(dev);
	for (;;) {
		r = find_gate(dev, &gate);
		if (r)
			break;
		r = zd_mutex_lock(dev, gate);
		if (r != -EINVAL || !take_away(door, gate))
			break;
	}
	if (r == -EOWNERDEAD)
		r = -pthread_mutex_consistent(gate); /* what he was at is told by the area's state */
	if (r)
		return zd_fail_host(err, -r, "cannot lock the image");
	r = zd_host_share(dev, dev->fd, ZD_BYTE_GATE);
	if (r) {
		zd_mutex_unlock(gate);
		return zd_fail_host(err, -r, "cannot lock the image");
	}
	dev->gate = gate;
	atomic_store(&door->turn, (atomic_load(&door->turn) + 1) | 1);
	return 0;
}

void zd_door_leave(zd_dev *dev)
{
	struct zd_door *door = door_of(dev);

	atomic_store(&door->turn, atomic_load(&door->turn) + 1);
	zd_host_unlock(dev->fd, ZD_BYTE_GATE);
	zd_mutex_unlock(dev->gate);
	dev->gate = NULL;
}

/* Known to be nobody's: whoever was inside died there. A reader could make the byte say otherwise, but not this. */
static bool is_left(const struct zd_door *door, uint64_t which)
{
	return CHOSEN(which) && zd_mutex_is_free(&door->gate[(CHOSEN(which) - 1) % GATES]);
}

int zd_door_look(zd_dev *dev, struct zd_door_seen *seen, struct zd_error *err)
{
	struct zd_wait wait;
	uint64_t mine;
	int r = approach(dev);

	if (!r)
		r = whose(dev, &mine);
	zd_wait_begin(&wait, NULL);
	while (!r) {
		struct zd_door *door = door_of(dev);

		seen->which = atomic_load(&door->which);
		seen->turn = atomic_load(&door->turn);
		if ((seen->which & WHOSE) != mine || !(seen->turn & 1) || is_left(door, seen->which) ||
		    !zd_host_locked(dev->fd, ZD_BYTE_GATE))
			return 0;
		zd_wait_nap(&wait);
		r = zd_wait_on(dev, &wait,
			       CHOSEN(seen->which) ? zd_mutex_holder(&door->gate[(CHOSEN(seen->which) - 1) % GATES]) : 0);
	}
	return zd_fail_host(err, -r, "cannot look at the image while it is being opened or closed");
}

bool zd_door_moved(const zd_dev *dev, const struct zd_door_seen *seen)
{
	const struct zd_door *door = door_of(dev);

	return atomic_load(&door->which) != seen->which || atomic_load(&door->turn) != seen->turn;
}

bool zd_door_others(zd_dev *dev, bool counted)
{
	const struct zd_rt_head *head;
	struct zd_rt_tag tag, found;
	int r;

	if (approach(dev))
		return true;
	head = (const struct zd_rt_head *)dev->door;
	if (atomic_load(&head->state) != ZD_RT_OPEN || !zd_host_locked(dev->fd, ZD_BYTE_WRITERS))
		return false;
	r = zd_runtime_tag(dev, dev->fd, &tag);
	if (r)
		return true; /* no way to know: then the byte counts */
	found = head->tag;
	if (memcmp(&tag, &found, sizeof(tag)) == 0)
		return atomic_load(&door_of(dev)->writers) > (counted ? 1u : 0u);
	found.abi = tag.abi;
	return memcmp(&tag, &found, sizeof(tag)) == 0; /* another build's, which may count in another way */
}

bool zd_door_alone(zd_dev *dev)
{
	return atomic_load(&door_of(dev)->writers) <= 1;
}

void zd_door_first(zd_dev *dev)
{
	atomic_store(&door_of(dev)->writers, 0);
}

int zd_door_join(zd_dev *dev)
{
	struct zd_door *door = door_of(dev);
	int r;

	/* Counted before the byte is held, so that the count is never too low. */
	atomic_fetch_add(&door->writers, 1);
	r = zd_host_share(dev, dev->fd, ZD_BYTE_WRITERS);
	if (r)
		atomic_fetch_sub(&door->writers, 1);
	return r;
}

void zd_door_part(zd_dev *dev)
{
	_Atomic uint32_t *writers = &door_of(dev)->writers;
	uint32_t n = atomic_load(writers);

	/* From outside, too, by who gave up waiting for the door. */
	while (n && !atomic_compare_exchange_weak(writers, &n, n - 1))
		;
	zd_host_unlock(dev->fd, ZD_BYTE_WRITERS);
}
