/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring without the kernel's: rings in a memfd, which a program maps as it maps the kernel's, and entries that are
 * carried out when they are submitted. So one ring may hold requests of disks and of files. What is not here is EINVAL in
 * its completion, and no in IORING_REGISTER_PROBE, as on an older kernel: programs know how to go on.
 */
#include "preload/preload.h"
#include "preload/raw.h"
#include "preload/real.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST_RINGS 256
#define MOST_ENTRIES 32768u
#define HEAD_ROOM 64u /* bytes of a ring before its array */
#define HARMLESS (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | (1u << 7) | (1u << 8) | (1u << 9) | (1u << 12) | (1u << 13))

/* The words before the array, in either ring. */
enum { HEAD, TAIL, MASK, ENTRIES, FLAGS, LOST, DROPPED };

struct ring {
	_Atomic int fd; /* + 1; 0: free */
	pthread_mutex_t lock;
	uint32_t *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	uint32_t *array, entries, cq_entries;
	int *files; /* registered; NULL: none */
	uint32_t nr_files;
	int event; /* eventfd + 1 */
};
static struct ring rings[MOST_RINGS];

static struct ring *find(int fd)
{
	int i;

	for (i = 0; i < MOST_RINGS && fd >= 0; i++)
		if (atomic_load(&rings[i].fd) == fd + 1)
			return &rings[i];
	return NULL;
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static void *map(int fd, size_t length, uint64_t at)
{
	void *where = zp_real.mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);

	return where == MAP_FAILED ? NULL : where;
}

static size_t sq_size(const struct ring *r)
{
	return HEAD_ROOM + r->entries * sizeof(uint32_t);
}

static size_t cq_size(const struct ring *r)
{
	return HEAD_ROOM + r->cq_entries * sizeof(struct io_uring_cqe);
}

static void unmap(struct ring *r)
{
	if (r->sq)
		munmap(r->sq, sq_size(r));
	if (r->cq)
		munmap(r->cq, cq_size(r));
	if (r->sqes)
		munmap(r->sqes, r->entries * sizeof(*r->sqes));
	free(r->files);
	r->sq = r->cq = NULL;
	r->sqes = NULL;
	r->files = NULL;
	r->nr_files = 0;
	r->event = 0;
}

static int lay_out(struct ring *r, int fd)
{
	if (zp_real.ftruncate(fd, (off_t)(IORING_OFF_SQES + r->entries * sizeof(*r->sqes))))
		return -errno;
	r->sq = map(fd, sq_size(r), IORING_OFF_SQ_RING);
	r->cq = map(fd, cq_size(r), IORING_OFF_CQ_RING);
	r->sqes = map(fd, r->entries * sizeof(*r->sqes), IORING_OFF_SQES);
	if (!r->sq || !r->cq || !r->sqes)
		return -ENOMEM;
	r->array = r->sq + HEAD_ROOM / sizeof(uint32_t);
	r->cqes = (struct io_uring_cqe *)((char *)r->cq + HEAD_ROOM);
	r->sq[MASK] = r->entries - 1;
	r->sq[ENTRIES] = r->entries;
	r->cq[MASK] = r->cq_entries - 1;
	r->cq[ENTRIES] = r->cq_entries;
	pthread_mutex_init(&r->lock, NULL);
	return 0;
}

static void describe(const struct ring *r, struct io_uring_params *p)
{
	p->sq_entries = r->entries;
	p->cq_entries = r->cq_entries;
	p->features = IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS;
	p->sq_off = (struct io_sqring_offsets){ .head = HEAD * 4,
						.tail = TAIL * 4,
						.ring_mask = MASK * 4,
						.ring_entries = ENTRIES * 4,
						.flags = FLAGS * 4,
						.dropped = DROPPED * 4,
						.array = HEAD_ROOM };
	p->cq_off = (struct io_cqring_offsets){ .head = HEAD * 4,
						.tail = TAIL * 4,
						.ring_mask = MASK * 4,
						.ring_entries = ENTRIES * 4,
						.overflow = LOST * 4,
						.cqes = HEAD_ROOM,
						.flags = FLAGS * 4 };
}

long zp_uring_setup(unsigned entries, void *params)
{
	struct io_uring_params p;
	struct ring *r = NULL;
	int fd, i, none = 0, result;

	if (zp_copy_in(&p, params, sizeof(p)))
		return -EFAULT;
	if (p.flags & ~HARMLESS)
		return -EINVAL; /* polling threads, larger entries: as a kernel that has them not */
	if (entries > MOST_ENTRIES && (p.flags & IORING_SETUP_CLAMP))
		entries = MOST_ENTRIES;
	if (!entries || entries > MOST_ENTRIES ||
	    ((p.flags & IORING_SETUP_CQSIZE) && (!p.cq_entries || p.cq_entries > 2 * MOST_ENTRIES)))
		return -EINVAL;
	for (i = 0; i < MOST_RINGS && !r; i++, none = 0)
		if (atomic_compare_exchange_strong(&rings[i].fd, &none, -1))
			r = &rings[i];
	if (!r)
		return -ENFILE;
	r->entries = power_of_two(entries);
	r->cq_entries = power_of_two(p.flags & IORING_SETUP_CQSIZE ? p.cq_entries : 2 * r->entries);
	fd = memfd_create("io_uring", MFD_CLOEXEC);
	result = fd < 0 ? -errno : lay_out(r, fd);
	if (!result) {
		describe(r, &p);
		result = zp_copy_out(params, &p, sizeof(p));
	}
	if (result) {
		unmap(r);
		if (fd >= 0)
			zp_real.close(fd);
		atomic_store(&r->fd, 0);
		return result;
	}
	atomic_store(&r->fd, fd + 1);
	return fd;
}

void zp_uring_closed(int fd)
{
	struct ring *r = find(fd);

	if (r) {
		unmap(r);
		atomic_store(&r->fd, 0);
	}
}

/* ---------------------------------------------------------------- one entry */

static int64_t given(ssize_t result)
{
	return result < 0 ? -errno : result;
}

static int64_t vectored(int fd, const struct io_uring_sqe *e, const struct iovec *iov, int n, bool write)
{
	off_t at = (off_t)e->off;

	return given(write ? pwritev2(fd, iov, n, at, (int)e->rw_flags) : preadv2(fd, iov, n, at, (int)e->rw_flags));
}

static const uint8_t known[] = { IORING_OP_NOP,        IORING_OP_READV,       IORING_OP_WRITEV,    IORING_OP_FSYNC,
				 IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_FALLOCATE, IORING_OP_OPENAT,
				 IORING_OP_CLOSE,      IORING_OP_STATX,       IORING_OP_READ,      IORING_OP_WRITE };

static int64_t carry_out(struct ring *r, const struct io_uring_sqe *e)
{
	struct iovec one = { (void *)(uintptr_t)e->addr, e->len };
	int fd = e->fd;

	if (e->flags & IOSQE_BUFFER_SELECT)
		return -EINVAL;
	if (e->flags & IOSQE_FIXED_FILE) {
		if (!r->files || (uint32_t)fd >= r->nr_files)
			return -EBADF;
		fd = r->files[fd];
	}
	switch (e->opcode) {
	case IORING_OP_NOP: return 0;
	case IORING_OP_READV: return vectored(fd, e, (const struct iovec *)(uintptr_t)e->addr, (int)e->len, false);
	case IORING_OP_WRITEV: return vectored(fd, e, (const struct iovec *)(uintptr_t)e->addr, (int)e->len, true);
	case IORING_OP_READ:
	case IORING_OP_READ_FIXED: return vectored(fd, e, &one, 1, false);
	case IORING_OP_WRITE:
	case IORING_OP_WRITE_FIXED: return vectored(fd, e, &one, 1, true);
	case IORING_OP_FSYNC: return given(e->fsync_flags & IORING_FSYNC_DATASYNC ? fdatasync(fd) : fsync(fd));
	case IORING_OP_FALLOCATE: return given(fallocate(fd, (int)e->len, (off_t)e->off, (off_t)e->addr));
	case IORING_OP_OPENAT: return given(openat(fd, (const char *)(uintptr_t)e->addr, (int)e->open_flags, (mode_t)e->len));
	case IORING_OP_CLOSE: return given(close(fd));
	case IORING_OP_STATX:
		return given(statx(fd, (const char *)(uintptr_t)e->addr, (int)e->statx_flags, e->len,
				   (struct statx *)(uintptr_t)e->off));
	default: return -EINVAL;
	}
}

static uint32_t word(const uint32_t *ring, int which)
{
	return __atomic_load_n(&ring[which], __ATOMIC_ACQUIRE);
}

static uint32_t waiting(const struct ring *r)
{
	return r->cq[TAIL] - word(r->cq, HEAD);
}

static void complete(struct ring *r, const struct io_uring_sqe *e, int64_t result)
{
	struct io_uring_cqe *c = &r->cqes[r->cq[TAIL] & (r->cq_entries - 1)];
	uint64_t one = 1;

	if (result >= 0 && (e->flags & (1u << 6))) /* IOSQE_CQE_SKIP_SUCCESS */
		return;
	c->user_data = e->user_data;
	c->res = (int32_t)result;
	c->flags = 0;
	__atomic_store_n(&r->cq[TAIL], r->cq[TAIL] + 1, __ATOMIC_RELEASE);
	if (r->event) {
		ssize_t told = zp_real.write(r->event - 1, &one, sizeof(one));

		(void)told; /* one that is full has told already */
	}
}

static bool has_failed(const struct io_uring_sqe *e, int64_t result)
{
	bool transfers = e->opcode == IORING_OP_READ || e->opcode == IORING_OP_WRITE || e->opcode == IORING_OP_READ_FIXED ||
			 e->opcode == IORING_OP_WRITE_FIXED;

	return result < 0 || (transfers && result < (int64_t)e->len);
}

static unsigned submit(struct ring *r, unsigned most)
{
	unsigned done = 0;
	bool broken = false; /* a link whose beginning failed */

	while (done < most) {
		uint32_t head = r->sq[HEAD], index;
		struct io_uring_sqe e;
		int64_t result;

		if (head == word(r->sq, TAIL) || waiting(r) >= r->cq_entries)
			break;
		index = r->array[head & (r->entries - 1)];
		if (index >= r->entries) {
			r->sq[DROPPED]++;
			__atomic_store_n(&r->sq[HEAD], head + 1, __ATOMIC_RELEASE);
			continue;
		}
		e = r->sqes[index];
		__atomic_store_n(&r->sq[HEAD], head + 1, __ATOMIC_RELEASE);
		done++;
		result = broken ? -ECANCELED : carry_out(r, &e);
		complete(r, &e, result);
		if (!(e.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)))
			broken = false;
		else if (has_failed(&e, result) && !(e.flags & IOSQE_IO_HARDLINK))
			broken = true;
	}
	return done;
}

long zp_uring_enter(int fd, unsigned to_submit, unsigned least, unsigned flags)
{
	struct ring *r = find(fd);
	unsigned done;

	if (!r)
		return -EBADF;
	if (flags & ~(unsigned)IORING_ENTER_GETEVENTS)
		return -EINVAL;
	pthread_mutex_lock(&r->lock);
	done = submit(r, to_submit);
	pthread_mutex_unlock(&r->lock);
	if (!done && to_submit && word(r->sq, TAIL) != r->sq[HEAD])
		return -EBUSY;
	if (least > r->cq_entries)
		least = r->cq_entries;
	/* All that was submitted has ended: only another thread can bring more. */
	while ((flags & IORING_ENTER_GETEVENTS) && waiting(r) < least) {
		struct timespec nap = { 0, 1000000 };

		if (nanosleep(&nap, NULL))
			return done ? (long)done : -EINTR;
	}
	return done;
}

/* ---------------------------------------------------------------- registering */

static long take_files(struct ring *r, const int32_t *list, unsigned n)
{
	int *files;

	if (r->files)
		return -EBUSY;
	if (!n || n > 1u << 15)
		return -EINVAL;
	files = malloc(n * sizeof(*files));
	if (!files)
		return -ENOMEM;
	if (zp_copy_in(files, list, n * sizeof(*files))) {
		free(files);
		return -EFAULT;
	}
	r->files = files;
	r->nr_files = n;
	return 0;
}

static long update_files(struct ring *r, void *arg, unsigned n)
{
	struct io_uring_files_update update;
	unsigned i;

	if (zp_copy_in(&update, arg, sizeof(update)))
		return -EFAULT;
	if (!r->files || update.offset > r->nr_files || n > r->nr_files - update.offset)
		return -EINVAL;
	for (i = 0; i < n; i++)
		if (zp_copy_in(&r->files[update.offset + i], (int32_t *)(uintptr_t)update.fds + i, sizeof(int32_t)))
			return -EFAULT;
	return n;
}

static long probe(void *arg, unsigned n)
{
	char room[sizeof(struct io_uring_probe) + 64 * sizeof(struct io_uring_probe_op)] __attribute__((aligned(8))) = { 0 };
	struct io_uring_probe *p = (struct io_uring_probe *)room;
	unsigned i;

	if (n > 256)
		return -EINVAL;
	n = n < 64 ? n : 64;
	p->last_op = IORING_OP_WRITE;
	p->ops_len = (uint8_t)n;
	for (i = 0; i < n; i++)
		p->ops[i].op = (uint8_t)i;
	for (i = 0; i < sizeof(known); i++)
		if (known[i] < n)
			p->ops[known[i]].flags = IO_URING_OP_SUPPORTED;
	return zp_copy_out(arg, p, sizeof(*p) + n * sizeof(p->ops[0]));
}

long zp_uring_register(int fd, unsigned opcode, void *arg, unsigned n)
{
	struct ring *r = find(fd);
	int32_t event;

	if (!r)
		return -EBADF;
	switch (opcode) {
	case IORING_REGISTER_BUFFERS: /* fixed buffers are used by their addresses */
	case IORING_UNREGISTER_BUFFERS: return 0;
	case IORING_REGISTER_FILES: return take_files(r, arg, n);
	case IORING_REGISTER_FILES_UPDATE: return update_files(r, arg, n);
	case IORING_UNREGISTER_FILES:
		if (!r->files)
			return -ENXIO;
		free(r->files);
		r->files = NULL;
		return 0;
	case IORING_REGISTER_EVENTFD:
	case IORING_REGISTER_EVENTFD_ASYNC:
		if (zp_copy_in(&event, arg, sizeof(event)))
			return -EFAULT;
		r->event = event + 1;
		return 0;
	case IORING_UNREGISTER_EVENTFD: r->event = 0; return 0;
	case IORING_REGISTER_PROBE: return probe(arg, n);
	default: return -EINVAL;
	}
}
