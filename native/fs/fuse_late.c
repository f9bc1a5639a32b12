/* SPDX-License-Identifier: Apache-2.0 */
/* The list of open files, and closes that the kernel tells late: see fuse_server.h. */
#include "fuse_server.h"
/*
 * RELEASE follows FLUSH within microseconds, unless the worker that has it waits for a CPU: so after a while it is
 * asked whether any worker can have it.
 */
#define LOOK_NS 4000000ull
#define WAIT_NS 2000000000ull

static void take_out(struct zd_fuse *fuse, struct open_file *open)
{
	struct open_file **at = &fuse->flushed;

	while (*at != open)
		at = &(*at)->next_flushed;
	*at = open->next_flushed;
	atomic_store(&open->flushed, false);
	atomic_fetch_sub(&fuse->nr_flushed, 1);
	pthread_cond_broadcast(&fuse->released);
}

void zd_fuse_late_opened(struct zd_fuse *fuse, struct open_file *open)
{
	pthread_mutex_lock(&fuse->open_lock);
	open->next = fuse->opened;
	open->at = &fuse->opened;
	if (open->next)
		open->next->at = &open->next;
	fuse->opened = open;
	pthread_mutex_unlock(&fuse->open_lock);
}

void zd_fuse_late_closed(struct zd_fuse *fuse, struct open_file *open)
{
	pthread_mutex_lock(&fuse->open_lock);
	if (atomic_load(&open->flushed))
		take_out(fuse, open);
	*open->at = open->next;
	if (open->next)
		open->next->at = open->at;
	pthread_mutex_unlock(&fuse->open_lock);
	free(open);
}

void zd_fuse_late_flushed(struct zd_fuse *fuse, struct open_file *open)
{
	pthread_mutex_lock(&fuse->open_lock);
	open->flushed_at = zd_fuse_now();
	if (!atomic_load(&open->flushed)) {
		open->next_flushed = fuse->flushed;
		fuse->flushed = open;
		atomic_store(&open->flushed, true);
		atomic_fetch_add(&fuse->nr_flushed, 1);
	}
	pthread_mutex_unlock(&fuse->open_lock);
}

void zd_fuse_late_forget(struct zd_fuse *fuse, struct open_file *open)
{
	pthread_mutex_lock(&fuse->open_lock);
	if (atomic_load(&open->flushed))
		take_out(fuse, open);
	pthread_mutex_unlock(&fuse->open_lock);
}

/*
 * The worker that read the RELEASE did so before this one read its request, for requests queue up in order: it
 * needs no further worker, so that waiting here cannot block it.
 */
void zd_fuse_late_wait(struct zd_fuse *fuse, uint64_t ino)
{
	pthread_mutex_lock(&fuse->open_lock);
	for (;;) {
		struct open_file *open = fuse->flushed;
		uint64_t at, until;
		struct timespec t;

		while (open && ino != ZD_FUSE_ANY && open->ino != ino)
			open = open->next_flushed;
		if (!open)
			break;
		at = zd_fuse_now();
		if (at >= open->flushed_at + WAIT_NS || (at >= open->flushed_at + LOOK_NS && zd_fuse_others_idle(fuse))) {
			take_out(fuse, open);
			continue;
		}
		until = at + LOOK_NS;
		t.tv_sec = (time_t)(until / 1000000000u);
		t.tv_nsec = (long)(until % 1000000000u);
		pthread_cond_timedwait(&fuse->released, &fuse->open_lock, &t);
	}
	pthread_mutex_unlock(&fuse->open_lock);
}
