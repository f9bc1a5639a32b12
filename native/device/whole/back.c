/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going back to a snapshot: all zones or none, whoever is killed where.
 *
 * A zone's word, its durable bytes and its slot are three stores, and a disk has many zones. So what they become is
 * written down first, in slots of the shared state, and then one store to the gate says that it happens. From there on
 * every step can be done again. Whoever gets a lock of the dead one's finishes it before he does anything else
 * (zd_back_mend(); the dead one held all locks, so nobody was inside any), and so does the first opener of a disk whose
 * users all died. Readers see the gate, and wait or look at a copy that is brought to its end.
 *
 * Pre-images are not written down: a zone without any just keeps all that was written through a power cut, which it may.
 * Whoever went back to the end puts them back behind it, and then the durable bytes that go with them.
 */
#include "device/whole/whole.h"

#define AT_ONCE 64u /* rows written or read at once */

static uint32_t rows_per_slot(const zd_dev *dev)
{
	return (uint32_t)(dev->g.h.slot_size / sizeof(struct zd_back));
}

/* ---------------------------------------------------------------- writing it down; all locks are held */

static void give_back(zd_dev *dev, uint32_t slot)
{
	while (slot) {
		uint32_t next = dev->slots[slot - 1].next;

		dev->slots[slot - 1].pins = 0;
		zd_slot_give_up(dev, slot - 1);
		slot = next;
	}
}

static int note_some(zd_dev *dev, uint32_t slot, uint32_t at, const struct zd_back *rows, uint32_t n)
{
	int r = zd_store_once(dev, slot, at * sizeof(*rows), (const uint8_t *)rows, n * sizeof(*rows));

	return zd_slots_gave_locked(dev, r) ?
		       zd_store_once(dev, slot, at * sizeof(*rows), (const uint8_t *)rows, n * sizeof(*rows)) :
		       r;
}

int zd_back_note(zd_dev *dev, zd_back_fn *row, const void *arg, uint32_t n)
{
	uint32_t per = rows_per_slot(dev), first = 0, slot = 0, i, k;
	struct zd_back rows[AT_ONCE];
	int r = 0;

	for (i = 0; !r && i < n; i += k) {
		if (i % per == 0) {
			uint32_t next;

			r = zd_slot_take_locked(dev, 0, false, &next);
			if (r)
				break;
			dev->slots[next].next = 0;
			*(first ? &dev->slots[slot].next : &first) = next + 1;
			slot = next;
		}
		for (k = 0; k < AT_ONCE && i + k < n && i % per + k < per; k++)
			rows[k] = row(arg, i + k);
		r = note_some(dev, slot, i % per, rows, k);
	}
	if (r) {
		give_back(dev, first);
		return r;
	}
	dev->head->back_slot = first;
	dev->head->back_rows = n;
	return 0;
}

void zd_back_begin(zd_dev *dev)
{
	atomic_fetch_or(&dev->head->gate, ZD_GATE_BACK);
}

/* ---------------------------------------------------------------- doing it, once or again */

struct reading {
	uint32_t i, n, slot;
	struct zd_back rows[AT_ONCE];
};

static void read_from_start(zd_dev *dev, struct reading *in)
{
	in->i = 0;
	in->n = dev->head->back_rows;
	in->slot = dev->head->back_slot;
}

/* The next row; *row NULL: there is none. 0 or -errno. */
static int next_row(zd_dev *dev, struct reading *in, const struct zd_back **row)
{
	uint32_t per = rows_per_slot(dev), at = in->i % per, n = in->n - in->i;
	int r = 0;

	*row = NULL;
	if (!n)
		return 0;
	if (in->i && at == 0)
		in->slot = dev->slots[in->slot - 1].next;
	/* What stands there may be anything where everybody is dead. */
	if (!in->slot || in->slot > dev->g.max_slots || !zd_chunk_there(dev, zd_slot_chunk(dev, in->slot - 1)))
		return -EIO;
	if (at % AT_ONCE == 0) {
		n = n < AT_ONCE ? n : AT_ONCE;
		n = n < per - at ? n : per - at;
		r = zd_host_pread(dev->fd, in->rows, n * sizeof(in->rows[0]),
				  zd_slot_offset(dev, in->slot - 1) + at * sizeof(in->rows[0]));
	}
	in->i++;
	*row = &in->rows[at % AT_ONCE];
	return r;
}

static void become(zd_dev *dev, struct zd_zone_rt *rt, const struct zd_back *to)
{
	struct zd_pre *pre = zd_pre_peek(dev, to->zone);
	uint64_t durable = to->unflushed ? zd_word_written(to->word) : to->durable;

	if (pre && pre->from != pre->to) {
		memset(pre, 0, sizeof(*pre));
		zd_set_dirty(dev, to->zone);
	}
	if (to->opened)
		__atomic_store_n(&rt->open_seq, dev->head->open_clock + to->opened, __ATOMIC_RELAXED);
	if (rt->word == to->word && rt->slot == to->slot && rt->durable == durable)
		return;
	/* Marked first: a death must not leave a change that no flush would find. */
	zd_set_dirty(dev, to->zone);
	atomic_store_explicit(&rt->word, to->word, memory_order_release);
	rt->durable = durable;
	atomic_fetch_add_explicit(&rt->gen, 1, memory_order_acq_rel);
	atomic_store_explicit(&rt->slot, to->slot, memory_order_release);
	zd_spoiled_mend(dev, zd_zone_start(dev, to->zone), zd_zone_length(dev, to->zone), NULL);
}

static int do_all(zd_dev *dev)
{
	const struct zd_back *row;
	struct reading in;
	uint32_t zone;
	int r;

	read_from_start(dev, &in);
	r = next_row(dev, &in, &row);
	for (zone = 0; !r && zone < dev->g.h.nr_zones; zone++) {
		struct zd_zone_rt *rt = zd_zone_peek(dev, zone);
		const struct zd_back as_new = { .zone = zone };
		bool mine = row && row->zone == zone;

		if (rt)
			become(dev, rt, mine ? row : &as_new);
		if (mine)
			r = next_row(dev, &in, &row);
	}
	return r;
}

int zd_back_finish(zd_dev *dev)
{
	uint32_t slot = dev->head->back_slot;
	int r = do_all(dev);

	if (!r)
		r = zd_commit_stopped(dev, NULL);
	if (r)
		return r;
	zd_runtime_rebuild(dev, false);
	atomic_fetch_add(&dev->head->gone_back, 1);
	zd_trace_event(dev, ZD_TRACE_ROLLBACK, ZD_NO_ZONE, ZD_NONE, 0, 0);
	atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_BACK);
	give_back(dev, slot);
	return 0;
}

/* ---------------------------------------------------------------- for the dead */

int zd_back_mend(zd_dev *dev)
{
	struct zd_rt_head *head = dev->head;
	int r;

	if (likely(!(atomic_load(&head->gate) & ZD_GATE_BACK)))
		return 0;
	r = zd_mutex_lock(dev, &head->back);
	if (r == -EOWNERDEAD)
		r = -pthread_mutex_consistent(&head->back);
	if (r)
		return r;
	r = zd_lock_resource(dev);
	if (!r) {
		if (atomic_load(&head->gate) & ZD_GATE_BACK) /* nobody else came first */
			r = zd_back_finish(dev);
		zd_unlock_resource(dev);
	}
	zd_mutex_unlock(&head->back);
	return r;
}

static int wait_as_reader(zd_dev *dev, struct zd_error *err)
{
	struct zd_wait wait;
	int r;

	zd_wait_begin(&wait, NULL);
	while (atomic_load(&dev->head->gate) & ZD_GATE_BACK) {
		if (!zd_door_others(dev, false))
			return zd_fail(err, ZD_E_BUSY,
				       "the disk's last users were killed while it went back to a snapshot; open it anew");
		zd_wait_nap(&wait);
		r = zd_wait_on(dev, &wait, zd_mutex_holder(&dev->head->commit));
		if (r)
			return zd_fail_host(err, -r, "cannot look at the disk while it goes back to a snapshot");
	}
	return 0;
}

int zd_back_wait(zd_dev *dev, struct zd_error *err)
{
	int r;

	if (dev->readonly)
		return wait_as_reader(dev, err);
	r = zd_lock_data(dev); /* which brings it to its end */
	if (!r)
		zd_unlock_data(dev);
	return r ? zd_fail_host(err, -r,
				r == -EINTR ? "interrupted" :
					      "cannot bring the disk back to a snapshot for a process that was killed") :
		   0;
}

/* Whether the rows can be what somebody wrote down. 0, -EIO: they cannot, or an error of the host. */
static int are_sound(zd_dev *dev)
{
	const struct zd_back *row;
	uint32_t least = 0;
	struct reading in;
	int r;

	read_from_start(dev, &in);
	while ((r = next_row(dev, &in, &row)) == 0 && row) {
		if (row->zone < least || row->zone >= dev->g.h.nr_zones || !zd_zone_peek(dev, row->zone) ||
		    zd_entry_wrong(dev, row->zone, row->word, row->durable, row->slot))
			return -EIO;
		least = row->zone + 1;
	}
	return r;
}

int zd_back_left(zd_dev *dev)
{
	int r;

	if (!(atomic_load(&dev->head->gate) & ZD_GATE_BACK))
		return 0;
	r = are_sound(dev);
	if (!r)
		r = do_all(dev);
	if (r && r != -EIO)
		return r;
	/* The zones may hold less than their entries tell of, which nobody can write yet. */
	if (!r)
		atomic_fetch_or(&dev->head->gate, ZD_GATE_BEHIND);
	/* If somebody scribbled over it, the words are all there is, and are judged as they are. */
	atomic_fetch_and(&dev->head->gate, ~(uint32_t)ZD_GATE_BACK);
	return 0;
}
