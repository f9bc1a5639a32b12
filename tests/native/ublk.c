/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the kernel's ublk driver as commands, without a kernel, case by case:
 *
 *     ublk CASE     one of the names in the table at the end
 *     ublk --list
 *
 * A file in memory stands for /dev/ublkcN: the data of each request lies where the driver has it. A server's death is that it
 * does no more, and another one takes its file of state over.
 */
#include "serve/ublk/ublk.h"
#include "testing.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 4096u
#define ZONE (1u << 20)
#define ZONES 16u
#define CONV 2u
#define DEPTH 8u
#define SEQ(zone) ((uint64_t)(zone) * ZONE)
#define PER_BLOCK (BLOCK / SECTOR)

struct server {
	struct zd_ublk ublk;
	struct queue queue;
	struct record record[DEPTH]; /* of the slots, as they are when it dies */
};

static struct zd_error err;
static uint8_t data[ZONE], back[ZONE];
static int state = -1, requests = -1;

static zd_dev *new_disk_of(int dialect, int no_data)
{
	const struct zd_range conv = { 0, CONV };
	struct zd_config config = config_of(ZONES * ZONE, ZONE, &conv);

	config.dialect = (uint8_t)dialect;
	config.data = (uint8_t)no_data;
	config.max_open = dialect == ZD_ZNS ? 8 : 4;
	config.zrwa_size = dialect == ZD_ZNS ? 4 * BLOCK : 0;
	config.zrwa_granularity = dialect == ZD_ZNS ? 2 * BLOCK : 0;
	config.zrwa_count = dialect == ZD_ZNS ? 8 : 0;
	return memory_disk(config);
}

static zd_dev *new_disk(void)
{
	return new_disk_of(ZD_ZBC, ZD_STORE);
}

/* again: as one that goes on where another was killed. */
static void start(struct server *s, zd_dev *dev, bool again)
{
	memset(s, 0, sizeof(*s));
	if (!again) {
		state = memfd_create("state", 0);
		requests = memfd_create("requests", 0);
		CLAIM(state >= 0 && requests >= 0);
	}
	CLAIM(zd_ublk_look(&s->ublk, dev, false, &err) == 0);
	s->ublk.fd = requests;
	s->ublk.event = -1;
	s->ublk.nr_queues = 1;
	s->ublk.depth = DEPTH;
	s->ublk.max_io = ZONE;
	CLAIM(zd_ublk_records_open(&s->ublk.records, state, 1, DEPTH, again, &err) == 0);
	s->ublk.records.state->depth = DEPTH;
	s->ublk.records.state->queues = 1;
	if (again)
		CLAIM(zd_ublk_records_take_over(&s->ublk.records, dev, &err) == 0);
	CLAIM(zd_ublk_queue_init(&s->ublk, &s->queue, 0) == 0);
}

static struct server *serve(zd_dev *dev)
{
	struct server *s = malloc(sizeof(*s));

	CLAIM(s);
	start(s, dev, false);
	return s;
}

static void end(struct server *s)
{
	zd_ublk_queue_end(&s->queue);
	zd_ublk_records_close(&s->ublk.records);
}

/* A case is over. */
static void finish(struct server *s, zd_dev *dev)
{
	end(s);
	free(s);
	close(state);
	close(requests);
	CLAIM(zd_close(dev, &err) == 0);
}

/* It dies, and another one goes on in its place. */
static void killed(struct server *s)
{
	zd_dev *dev = s->ublk.dev;

	end(s);
	start(s, dev, true);
}

static off_t place(uint32_t tag)
{
	return (off_t)(UBLK_IO_BUF_OFFSET + ((uint64_t)tag << UBLK_TAG_SHIFT));
}

static void fill(uint8_t seed)
{
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256 + seed);
}

static void bring(uint32_t tag, uint64_t length)
{
	CLAIM(pwrite(requests, data, length, place(tag)) == (ssize_t)length);
}

/* The one that ends elsewhere. */
static struct slot *next_ended(struct server *s)
{
	struct zd_work *work;

	while (!(work = zd_desk_take(&s->queue.desk)))
		sched_yield();
	CLAIM(!work->next);
	return zd_ublk_slot_of(work);
}

/* The request with a tag, to its end. */
static int32_t issue(struct server *s, uint32_t tag, uint32_t op, uint64_t offset, uint64_t length)
{
	const struct ublk_io_desc desc = { .op_flags = op, .nr = (uint32_t)(length / SECTOR), .start_sector = offset / SECTOR };
	struct slot *slot = &s->queue.slots[tag];

	if (!zd_ublk_begin(slot, &desc))
		CLAIM(next_ended(s) == slot);
	return slot->result;
}

/* As the queue does, once the kernel has been told. */
static void told(struct server *s, uint32_t tag)
{
	struct slot *slot = &s->queue.slots[tag];

	if (slot->record)
		zd_ublk_record_set(slot->record, RECORD_FREE);
	slot->record = NULL;
}

static int32_t run(struct server *s, uint32_t tag, uint32_t op, uint64_t offset, uint64_t length)
{
	int32_t r = issue(s, tag, op, offset, length);

	told(s, tag);
	return r;
}

static uint64_t pointer(zd_dev *dev, uint32_t zone)
{
	struct zd_zone z;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	return z.wp == ZD_NONE ? ZD_NONE : z.wp - z.start;
}

static int cond(zd_dev *dev, uint32_t zone)
{
	struct zd_zone z;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	return z.cond;
}

static uint64_t durable(zd_dev *dev, uint32_t zone)
{
	struct zd_zone z;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	return z.durable_wp - z.start;
}

static void expect(zd_dev *dev, uint64_t offset, uint64_t length)
{
	CLAIM(zd_pread(dev, back, length, offset, &err) == (int64_t)length && memcmp(back, data, length) == 0);
}

/* ---------------------------------------------------------------- translation */

static void data_goes_straight(struct server *s, zd_dev *dev)
{
	fill(1);
	bring(3, 5 * BLOCK);
	CLAIM(run(s, 3, UBLK_WRITE, SEQ(4), 5 * BLOCK) == 5 * BLOCK && pointer(dev, 4) == 5 * BLOCK);
	expect(dev, SEQ(4), 5 * BLOCK);
	CLAIM(run(s, 3, UBLK_WRITE, BLOCK, 5 * BLOCK) == 5 * BLOCK);
	expect(dev, BLOCK, 5 * BLOCK);
	CLAIM(run(s, 5, UBLK_READ, SEQ(4), 6 * BLOCK) == 6 * BLOCK);
	memset(data + 5 * BLOCK, 0, BLOCK);
	CLAIM(pread(requests, back, 6 * BLOCK, place(5)) == 6 * BLOCK && memcmp(back, data, 6 * BLOCK) == 0);
	/* Broken rules, places that are none, ops that are none: the kernel is told, and the disk is as it was. */
	CLAIM(run(s, 3, UBLK_WRITE, SEQ(4), BLOCK) == -EIO && run(s, 3, UBLK_WRITE, SEQ(ZONES), BLOCK) == -EIO);
	CLAIM(run(s, 3, UBLK_WRITE, SEQ(ZONES) - BLOCK, 2 * BLOCK) == -EIO && run(s, 3, UBLK_READ, 0, 2 * ZONE) == -EIO);
	CLAIM(run(s, 3, 99, 0, BLOCK) == -EOPNOTSUPP && run(s, 3, UBLK_READ, SECTOR, SECTOR) == -EINVAL);
	CLAIM(pointer(dev, 4) == 5 * BLOCK && s->queue.errors == 6);
	CLAIM(s->queue.bytes_in == 10 * BLOCK && s->queue.bytes_out == 6 * BLOCK && s->queue.commands == 9);
	claim_disk_is_sound(dev, 1);
}

static void appends_say_where(struct server *s, zd_dev *dev)
{
	fill(2);
	bring(0, 2 * BLOCK);
	CLAIM(run(s, 0, UBLK_ZONE_APPEND, SEQ(5), 2 * BLOCK) == 2 * BLOCK && s->queue.slots[0].lba == SEQ(5) / SECTOR);
	CLAIM(run(s, 0, UBLK_ZONE_APPEND, SEQ(5), 2 * BLOCK) == 2 * BLOCK);
	CLAIM(s->queue.slots[0].lba == (SEQ(5) + 2 * BLOCK) / SECTOR);
	expect(dev, SEQ(5) + 2 * BLOCK, 2 * BLOCK);
	CLAIM(run(s, 0, UBLK_ZONE_APPEND, 0, BLOCK) < 0 && s->queue.slots[0].lba == 0);
}

static void zones_and_reports(struct server *s, zd_dev *dev)
{
	struct ublk_zone found[ZONES];
	uint32_t zone;

	bring(0, BLOCK);
	CLAIM(run(s, 0, UBLK_ZONE_OPEN, SEQ(3), 0) == 0 && cond(dev, 3) == ZD_EXPLICIT_OPEN);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(3), BLOCK) == BLOCK && run(s, 0, UBLK_ZONE_CLOSE, SEQ(3), 0) == 0);
	CLAIM(cond(dev, 3) == ZD_CLOSED && run(s, 0, UBLK_ZONE_FINISH, SEQ(4), 0) == 0 && cond(dev, 4) == ZD_FULL);
	for (zone = 5; zone < 9; zone++)
		CLAIM(run(s, 0, UBLK_ZONE_OPEN, SEQ(zone), 0) == 0);
	CLAIM(run(s, 0, UBLK_ZONE_OPEN, SEQ(9), 0) == -ETOOMANYREFS && run(s, 0, UBLK_ZONE_RESET, 0, 0) < 0);
	memset(back, 0x55, sizeof(back));
	CLAIM(pwrite(requests, back, ZONE, place(2)) == ZONE);
	/* All that the request's buffer can have is filled, whatever it asks for. */
	CLAIM(issue(s, 2, UBLK_REPORT_ZONES, SEQ(1), (uint64_t)3 * SECTOR) == ZONE);
	CLAIM(pread(requests, found, sizeof(found), place(2)) == sizeof(found));
	CLAIM(found[0].type == ZD_CONVENTIONAL && found[0].start == SEQ(1) / SECTOR && found[0].len == ZONE / SECTOR);
	CLAIM(found[1].type == ZD_SEQ_WRITE_REQUIRED && found[1].cond == ZD_EMPTY && found[1].wp == found[1].start);
	CLAIM(found[2].cond == ZD_CLOSED && found[2].wp == found[2].start + PER_BLOCK && found[2].capacity == ZONE / SECTOR);
	CLAIM(found[3].len == 0);
	CLAIM(issue(s, 2, UBLK_REPORT_ZONES, 0, (uint64_t)1000 * SECTOR) == ZONE);
	CLAIM(pread(requests, found, sizeof(found), place(2)) == sizeof(found));
	CLAIM(found[4].cond == ZD_FULL && found[4].wp == found[4].start + ZONE / SECTOR && found[ZONES - 1].len);
	CLAIM(issue(s, 2, UBLK_REPORT_ZONES, SEQ(ZONES), SECTOR) == -EIO);
	CLAIM(run(s, 0, UBLK_ZONE_RESET, SEQ(4), 0) == 0 && cond(dev, 4) == ZD_EMPTY);
	CLAIM(run(s, 0, UBLK_ZONE_RESET_ALL, 0, 0) == 0 && cond(dev, 3) == ZD_EMPTY && cond(dev, 8) == ZD_EMPTY);
	claim_disk_is_sound(dev, 1);
}

static void zeros_and_discards(struct server *s, zd_dev *dev)
{
	fill(3);
	bring(0, 8 * BLOCK);
	CLAIM(run(s, 0, UBLK_WRITE, 0, 8 * BLOCK) == 8 * BLOCK);
	CLAIM(run(s, 1, UBLK_WRITE_ZEROES, BLOCK, BLOCK) == 0);
	CLAIM(run(s, 1, UBLK_WRITE_ZEROES | UBLK_IO_NOUNMAP, 3 * BLOCK, BLOCK) == 0);
	CLAIM(run(s, 1, UBLK_WRITE_ZEROES | UBLK_IO_FUA, 4 * BLOCK, BLOCK) == 0);
	CLAIM(run(s, 1, UBLK_DISCARD, 5 * BLOCK, BLOCK) == 0);
	memset(data + BLOCK, 0, BLOCK);
	memset(data + 3 * BLOCK, 0, 3 * BLOCK);
	expect(dev, 0, 8 * BLOCK);
	/* In a sequential zone zeros are a write, and nothing is discarded. */
	CLAIM(run(s, 1, UBLK_WRITE_ZEROES, SEQ(4), 4 * BLOCK) == 0 && pointer(dev, 4) == 4 * BLOCK);
	CLAIM(run(s, 1, UBLK_WRITE_ZEROES, SEQ(4), 4 * BLOCK) == -EIO);
	CLAIM(run(s, 1, UBLK_DISCARD, SEQ(4), 4 * BLOCK) == -EOPNOTSUPP && pointer(dev, 4) == 4 * BLOCK);
	memset(data, 0, 4 * BLOCK);
	expect(dev, SEQ(4), 4 * BLOCK);
}

static void flush_and_fua(struct server *s, zd_dev *dev)
{
	bring(0, BLOCK);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(4), BLOCK) == BLOCK && durable(dev, 4) == 0);
	CLAIM(run(s, 0, UBLK_WRITE | UBLK_IO_FUA, SEQ(5), BLOCK) == BLOCK && durable(dev, 5) == BLOCK && durable(dev, 4) == 0);
	CLAIM(run(s, 0, UBLK_ZONE_APPEND | UBLK_IO_FUA, SEQ(6), BLOCK) == BLOCK && durable(dev, 6) == BLOCK);
	CLAIM(run(s, 0, UBLK_FLUSH, 0, 0) == 0 && durable(dev, 4) == BLOCK);
}

/* What is held up holds no queue, and no power is an error of each request, not of the device. */
static void held_up_and_powerless(struct server *s, zd_dev *dev)
{
	const struct zd_fault hang = { .kind = ZD_FAULT_HANG, .first_zone = 4, .last_zone = 4 };
	const struct ublk_io_desc desc = { .op_flags = UBLK_WRITE, .nr = PER_BLOCK, .start_sector = SEQ(4) / SECTOR };
	struct slot *ended;
	uint32_t id;

	fill(4);
	bring(0, BLOCK);
	bring(1, BLOCK);
	CLAIM(zd_fault_add(dev, &hang, &id, &err) == 0);
	CLAIM(!zd_ublk_begin(&s->queue.slots[0], &desc));
	CLAIM(run(s, 1, UBLK_WRITE, SEQ(5), BLOCK) == BLOCK && !zd_desk_take(&s->queue.desk));
	CLAIM(zd_fault_clear(dev, id, &err) == 0);
	ended = next_ended(s);
	CLAIM(ended == &s->queue.slots[0] && ended->result == BLOCK);
	told(s, 0);
	expect(dev, SEQ(4), BLOCK);
	CLAIM(zd_power_cut(dev, 0, 0, &err) == 0);
	CLAIM(run(s, 1, UBLK_WRITE, SEQ(5) + BLOCK, BLOCK) == -EIO && run(s, 1, UBLK_FLUSH, 0, 0) == -EIO);
	CLAIM(issue(s, 1, UBLK_REPORT_ZONES, 0, SECTOR) == -EIO);
}

static void geometry_is_refused_by_name(void)
{
	struct zd_config config = { .struct_size = sizeof(config),
				    .size = 4 * ZONE + ZONE / 2,
				    .zone_size = ZONE,
				    .logical_block = BLOCK,
				    .physical_block = BLOCK,
				    .unrestricted_read = 1 };
	struct zd_ublk ublk;
	zd_dev *dev;

	CLAIM(zd_create(NULL, &config, 0, &dev, &err) == 0);
	memset(&ublk, 0, sizeof(ublk));
	CLAIM(zd_ublk_look(&ublk, dev, false, &err) == ZD_E_GEOMETRY && strstr(err.text, "--whole-zones"));
	CLAIM(zd_ublk_look(&ublk, dev, true, &err) == 0 && ublk.size == 4 * ZONE && ublk.nr_zones == 4);
	CLAIM(zd_close(dev, &err) == 0);
	config.size = 6 * ZONE;
	config.zone_size = 3 * ZONE;
	CLAIM(zd_create(NULL, &config, 0, &dev, &err) == 0);
	CLAIM(zd_ublk_look(&ublk, dev, true, &err) == ZD_E_GEOMETRY && strstr(err.text, "power of two"));
	CLAIM(zd_close(dev, &err) == 0);
	config.zone_size = ZONE;
	config.unrestricted_read = 0;
	CLAIM(zd_create(NULL, &config, 0, &dev, &err) == 0);
	CLAIM(zd_ublk_look(&ublk, dev, true, &err) == ZD_E_GEOMETRY && strstr(err.text, "unrestricted"));
	CLAIM(zd_close(dev, &err) == 0);
	config.unrestricted_read = 1;
	config.model = ZD_HOST_AWARE;
	CLAIM(zd_create(NULL, &config, 0, &dev, &err) == 0);
	CLAIM(zd_ublk_look(&ublk, dev, true, &err) == ZD_E_GEOMETRY && strstr(err.text, "host-aware"));
	CLAIM(zd_close(dev, &err) == 0);
}

/* Whatever stands in a request: an answer, and a disk that is sound. */
static void any_request(struct server *s, zd_dev *dev)
{
	uint64_t seed = 88172645463325252ull;

	bring(0, ZONE);
	for (uint32_t i = 0; i < 4000; i++) {
		uint64_t offset, length;
		int32_t r;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		offset = seed % 4 ? seed / 4 % (ZONES * ZONE / BLOCK) * BLOCK : seed;
		length = seed % 8 ? seed / 64 % 32 * BLOCK : seed % UINT32_MAX * SECTOR;
		r = issue(s, (uint32_t)(seed >> 40) % DEPTH, (uint32_t)(seed >> 32) & (seed % 16 ? 0xA00F : 0xFFFF), offset,
			  length);
		CLAIM(r >= -4096);
		told(s, (uint32_t)(seed >> 40) % DEPTH);
	}
	claim_disk_is_sound(dev, 1);
}

/* ---------------------------------------------------------------- deaths */

static void set_all(struct server *s, uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < s->ublk.records.nr_now; i++)
		if (atomic_load(&s->ublk.records.now[i].state) == from)
			zd_ublk_record_set(&s->ublk.records.now[i], to);
}

/* Done, on its way, or begun and just done: issued again, by whatever tag, it is acknowledged, once. */
static void writes_are_not_done_twice(void)
{
	static const uint32_t states[] = { RECORD_DONE, RECORD_SENT, RECORD_BEGUN };

	for (uint32_t i = 0; i < 3; i++) {
		zd_dev *dev = new_disk();
		struct server *s = serve(dev);

		fill((uint8_t)(10 + i));
		bring(2, 2 * BLOCK);
		CLAIM(issue(s, 2, UBLK_WRITE, SEQ(4), 2 * BLOCK) == 2 * BLOCK);
		set_all(s, RECORD_DONE, states[i]);
		killed(s);
		killed(s); /* before anything was issued again */
		bring(i, 2 * BLOCK);
		CLAIM(run(s, i, UBLK_WRITE, SEQ(4), 2 * BLOCK) == 2 * BLOCK && s->queue.repeated == 1);
		CLAIM(pointer(dev, 4) == 2 * BLOCK);
		expect(dev, SEQ(4), 2 * BLOCK);
		/* The next one of its kind is a new one. */
		CLAIM(run(s, i, UBLK_WRITE, SEQ(4), 2 * BLOCK) == -EIO && s->ublk.records.waiting == 0);
		finish(s, dev);
	}
}

static void last_write_of_a_zone(struct server *s, zd_dev *dev)
{
	fill(20);
	bring(0, ZONE);
	CLAIM(issue(s, 0, UBLK_WRITE, SEQ(7), ZONE) == ZONE && cond(dev, 7) == ZD_FULL);
	set_all(s, RECORD_DONE, RECORD_BEGUN);
	killed(s);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(7), ZONE) == ZONE && s->queue.repeated == 1);
}

static void put_record(struct server *s, uint32_t tag, uint32_t op, uint64_t offset, uint64_t length, uint64_t landed)
{
	struct record *r = &s->ublk.records.now[tag];

	r->op = op;
	r->nr = (uint32_t)(length / SECTOR);
	r->sector = offset / SECTOR;
	r->number = atomic_fetch_add(&s->ublk.records.number, 1);
	atomic_store(&r->landed, landed);
	zd_ublk_record_set(r, RECORD_BEGUN);
}

static void begun_without_effect_is_done(struct server *s, zd_dev *dev)
{
	fill(21);
	bring(1, BLOCK);
	put_record(s, 1, UBLK_WRITE, SEQ(4), BLOCK, ZD_NONE);
	put_record(s, 2, UBLK_ZONE_APPEND, SEQ(5), BLOCK, ZD_NONE);
	put_record(s, 3, UBLK_ZONE_APPEND, SEQ(5), BLOCK, SEQ(5)); /* its first byte was on the way */
	killed(s);
	CLAIM(s->ublk.records.waiting == 0);
	CLAIM(run(s, 1, UBLK_WRITE, SEQ(4), BLOCK) == BLOCK && run(s, 1, UBLK_ZONE_APPEND, SEQ(5), BLOCK) == BLOCK);
	CLAIM(run(s, 1, UBLK_ZONE_APPEND, SEQ(5), BLOCK) == BLOCK && pointer(dev, 5) == 2 * BLOCK && s->queue.repeated == 0);
}

/* Appends of one zone and length look alike: each gets its own place, also two that bring the same. */
static void appends_are_not_done_twice(struct server *s, zd_dev *dev)
{
	uint64_t first, second;
	uint32_t tag;

	for (tag = 0; tag < 4; tag++) {
		fill((uint8_t)(tag < 2 ? 30 : 30 + tag));
		bring(tag, BLOCK);
		CLAIM(issue(s, tag, UBLK_ZONE_APPEND, SEQ(6), BLOCK) == BLOCK);
	}
	zd_ublk_record_set(&s->ublk.records.now[1], RECORD_BEGUN);
	zd_ublk_record_set(&s->ublk.records.now[3], RECORD_BEGUN);
	killed(s);
	for (tag = 2; tag < 4; tag++) { /* by other tags than before */
		fill((uint8_t)(35 - tag));
		bring(tag, BLOCK);
		fill((uint8_t)(30 + 5 - tag));
		CLAIM(run(s, tag, UBLK_ZONE_APPEND, SEQ(6), BLOCK) == BLOCK);
		CLAIM(s->queue.slots[tag].lba == (SEQ(6) + (5 - tag) * BLOCK) / SECTOR);
	}
	fill(30);
	bring(5, BLOCK);
	CLAIM(run(s, 5, UBLK_ZONE_APPEND, SEQ(6), BLOCK) == BLOCK);
	first = s->queue.slots[5].lba;
	CLAIM(run(s, 5, UBLK_ZONE_APPEND, SEQ(6), BLOCK) == BLOCK);
	second = s->queue.slots[5].lba;
	CLAIM(first != second && first + second == 2 * SEQ(6) / SECTOR + PER_BLOCK);
	CLAIM(s->queue.repeated == 4 && pointer(dev, 6) == 4 * BLOCK);
	CLAIM(run(s, 5, UBLK_ZONE_APPEND, SEQ(6), BLOCK) == BLOCK && pointer(dev, 6) == 5 * BLOCK);
}

/* Another opener wrote there meanwhile: what was issued again brings something else, and is refused as it should be. */
static void other_data_is_no_repetition(struct server *s, zd_dev *dev)
{
	fill(40);
	bring(0, BLOCK);
	put_record(s, 0, UBLK_WRITE, SEQ(4), BLOCK, ZD_NONE);
	fill(41);
	CLAIM(zd_pwrite(dev, data, BLOCK, SEQ(4), &err) == BLOCK);
	killed(s);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(4), BLOCK) == -EIO && s->queue.repeated == 0);
	expect(dev, SEQ(4), BLOCK);
}

/* A record whose command had arrived is never issued again: it stands in nobody's way once the zone begins anew. */
static void a_reset_forgets(struct server *s, zd_dev *dev)
{
	fill(50);
	bring(0, BLOCK);
	bring(1, BLOCK);
	CLAIM(issue(s, 0, UBLK_WRITE, SEQ(4), BLOCK) == BLOCK);
	CLAIM(issue(s, 1, UBLK_WRITE, SEQ(4) + BLOCK, BLOCK) == BLOCK);
	killed(s);
	CLAIM(s->ublk.records.waiting == 2 && run(s, 3, UBLK_ZONE_RESET, SEQ(4), 0) == 0 && s->ublk.records.waiting == 0);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(4), BLOCK) == BLOCK && s->queue.repeated == 0 && pointer(dev, 4) == BLOCK);
}

static void zone_commands_again(void)
{
	zd_dev *dev = new_disk_of(ZD_NULLBLK, ZD_STORE);
	struct server *s = serve(dev);

	/* Closing a zone that holds nothing makes it empty, and closing that is refused. */
	CLAIM(run(s, 0, UBLK_ZONE_OPEN, SEQ(4), 0) == 0 && issue(s, 0, UBLK_ZONE_CLOSE, SEQ(4), 0) == 0);
	CLAIM(cond(dev, 4) == ZD_EMPTY && zd_zone_mgmt(dev, ZD_CMD_CLOSE, 4, 1, &err) == ZD_E_INVALID_TRANSITION);
	killed(s);
	CLAIM(run(s, 1, UBLK_ZONE_CLOSE, SEQ(4), 0) == 0 && s->queue.repeated == 1);
	CLAIM(run(s, 1, UBLK_ZONE_CLOSE, SEQ(4), 0) == -EIO);
	CLAIM(run(s, 0, UBLK_ZONE_OPEN, SEQ(4), 0) == 0 && issue(s, 0, UBLK_ZONE_CLOSE, SEQ(4), 0) == 0);
	set_all(s, RECORD_DONE, RECORD_BEGUN);
	killed(s);
	CLAIM(run(s, 1, UBLK_ZONE_CLOSE, SEQ(4), 0) == 0 && s->queue.repeated == 1);
	finish(s, dev);
}

/*
 * The kernel opens no zone with a random write area, but another opener of the disk can. A write that is longer than the area
 * commits its own beginning, and would be refused there if it were done again; a shorter one is not behind the pointer.
 */
static void areas_are_not_written_twice(void)
{
	static const int as[] = { RECORD_DONE, RECORD_BEGUN, RECORD_SENT };
	zd_dev *dev = new_disk_of(ZD_ZNS, ZD_STORE);
	struct server *s = serve(dev);
	uint64_t filled;

	for (uint32_t i = 0; i < 3; i++) {
		uint32_t zone = 4 + i;
		uint64_t at = SEQ(zone);

		fill((uint8_t)(70 + i));
		bring(0, 6 * BLOCK);
		CLAIM(zd_zone_open_zrwa(dev, zone, &err) == 0);
		/* Three blocks in the area, which move no pointer. */
		CLAIM(issue(s, 0, UBLK_WRITE, at, 3 * BLOCK) == 3 * BLOCK && pointer(dev, zone) == 0);
		set_all(s, RECORD_DONE, as[i]);
		killed(s);
		CLAIM(run(s, 0, UBLK_WRITE, at, 3 * BLOCK) == 3 * BLOCK && pointer(dev, zone) == 0);
		CLAIM(s->queue.repeated ==
		      (as[i] != RECORD_SENT)); /* one that was sent is carried out again, where it may be */
		/* Six blocks: the first two are committed. */
		CLAIM(issue(s, 0, UBLK_WRITE, at, 6 * BLOCK) == 6 * BLOCK && pointer(dev, zone) == 2 * BLOCK);
		set_all(s, RECORD_DONE, as[i]);
		killed(s);
		CLAIM(run(s, 0, UBLK_WRITE, at, 6 * BLOCK) == 6 * BLOCK && s->queue.repeated == 1);
		CLAIM(pointer(dev, zone) == 2 * BLOCK && zd_zone_zrwa(dev, zone, &filled, &err) == 1 &&
		      filled == at + 6 * BLOCK);
		expect(dev, at, 6 * BLOCK);
		CLAIM(run(s, 0, UBLK_WRITE, at, 6 * BLOCK) == -EIO); /* a new one */
	}
	/* Not what another one wrote there, and not what had no effect. */
	CLAIM(zd_zone_open_zrwa(dev, 8, &err) == 0);
	CLAIM(issue(s, 0, UBLK_WRITE, SEQ(8), 3 * BLOCK) == 3 * BLOCK);
	set_all(s, RECORD_DONE, RECORD_BEGUN);
	CLAIM(zd_pwrite(dev, back, BLOCK, SEQ(8) + BLOCK, &err) == BLOCK);
	killed(s);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(8), 3 * BLOCK) == 3 * BLOCK && s->queue.repeated == 0);
	expect(dev, SEQ(8), 3 * BLOCK);
	finish(s, dev);
}

static void a_disk_without_data(void)
{
	zd_dev *dev = new_disk_of(ZD_ZBC, ZD_NO_DATA);
	struct server *s = serve(dev);

	fill(60);
	bring(0, 2 * BLOCK);
	CLAIM(issue(s, 0, UBLK_WRITE, SEQ(4), 2 * BLOCK) == 2 * BLOCK && pointer(dev, 4) == 2 * BLOCK);
	set_all(s, RECORD_DONE, RECORD_SENT);
	killed(s);
	CLAIM(run(s, 0, UBLK_WRITE, SEQ(4), 2 * BLOCK) == 2 * BLOCK && s->queue.repeated == 1);
	CLAIM(run(s, 0, UBLK_READ, SEQ(4), 2 * BLOCK) == 2 * BLOCK);
	finish(s, dev);
}

static const struct {
	const char *name;
	void (*run)(struct server *s, zd_dev *dev); /* with a server of a disk */
	void (*alone)(void);                        /* or without */
} cases[] = {
	{ "data-goes-straight", .run = data_goes_straight },
	{ "appends-say-where", .run = appends_say_where },
	{ "zones-and-reports", .run = zones_and_reports },
	{ "zeros-and-discards", .run = zeros_and_discards },
	{ "flush-and-fua", .run = flush_and_fua },
	{ "held-up-and-powerless", .run = held_up_and_powerless },
	{ "geometry-is-refused-by-name", .alone = geometry_is_refused_by_name },
	{ "any-request", .run = any_request },
	{ "writes-are-not-done-twice", .alone = writes_are_not_done_twice },
	{ "last-write-of-a-zone", .run = last_write_of_a_zone },
	{ "begun-without-effect-is-done", .run = begun_without_effect_is_done },
	{ "appends-are-not-done-twice", .run = appends_are_not_done_twice },
	{ "other-data-is-no-repetition", .run = other_data_is_no_repetition },
	{ "a-reset-forgets", .run = a_reset_forgets },
	{ "zone-commands-again", .alone = zone_commands_again },
	{ "areas-are-not-written-twice", .alone = areas_are_not_written_twice },
	{ "a-disk-without-data", .alone = a_disk_without_data },
};

static void run_case(void (*with_server)(struct server *s, zd_dev *dev), void (*alone)(void))
{
	zd_dev *dev;
	struct server *s;

	if (alone) {
		alone();
		return;
	}
	dev = new_disk();
	s = serve(dev);
	with_server(s, dev);
	finish(s, dev);
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (argc > 1 && strcmp(argv[1], "--list") == 0) {
			printf("%s\n", cases[i].name);
		} else if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
			run_case(cases[i].run, cases[i].alone);
			return 0;
		}
	}
	return argc > 1 && strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
