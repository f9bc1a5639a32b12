/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crashes of the host, enumerated. The core is compiled with -DZD_RECORD, so that every store into the mapping
 * and every operation on the image is seen. Random workloads run once; then, for every sync boundary and for a
 * sample of moments between, the file is built as a crash could have left it: each 512-byte sector as of any
 * moment since the last sync of its page, the file's length likewise. Each such file is opened, and must give:
 * no unrecoverable image, no flushed byte lost, no write pointer beyond valid data.
 *
 * Workloads also cut the emulated power, take snapshots and go back to them, and set faults, as all of these store
 * into the image too.
 *
 *     hostcrash WORKLOADS SEED STATES_PER_WORKLOAD [LIE]
 *
 * LIE makes the recorder lie, as if the host did so; the program must then find a violation (exit 3): no-data-sync
 * (fdatasync does nothing), no-entry-sync (RWF_DSYNC does nothing). test_hostcrash.py also builds it with mistakes
 * put into the core.
 */
#include "device/internal.h"
#include "testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096u
#define SECTOR 512u
#define ZONES 10u
#define CONV 1u
#define ZONE_SIZE 65536u
#define ZONE_BLOCKS (ZONE_SIZE / BLOCK)
#define MAX_FILE (4u << 20)
#define PAGES (MAX_FILE / ZD_PAGE)
#define MAX_EVENTS 20000u
#define MAX_GENS 64u

/* ---------------------------------------------------------------- the recorder */

enum kind { WRITE, SYNC, SIZE };
struct event {
	enum kind kind;
	uint64_t offset, length;
	uint8_t *bytes; /* of a WRITE; NULL: zeros */
};

static struct event events[MAX_EVENTS];
static uint32_t nr_events;
static bool recording, lie_data_sync, lie_entry_sync;
static zd_dev *recorded;

static struct event *new_event(enum kind kind, uint64_t offset, uint64_t length)
{
	struct event *e = &events[nr_events++];

	CLAIM(nr_events < MAX_EVENTS);
	*e = (struct event){ kind, offset, length, NULL };
	return e;
}

void zd_record_write(uint64_t offset, const void *from, size_t length)
{
	struct event *e;

	if (!recording)
		return;
	CLAIM(offset + length <= MAX_FILE);
	e = new_event(WRITE, offset, length);
	if (from) {
		e->bytes = malloc(length);
		CLAIM(e->bytes);
		memcpy(e->bytes, from, length);
	}
}

void zd_record_store(const void *to, const void *from, size_t length)
{
	uint64_t seg_bytes = recorded ? recorded->g.slots_per_seg * recorded->g.h.slot_size : 0;

	if (!recording)
		return;
	for (uint32_t i = 0; i < recorded->g.nr_segs; i++) {
		uint8_t *base = recorded->segs[i];

		if (base && (const uint8_t *)to >= base && (const uint8_t *)to < base + seg_bytes) {
			zd_record_write(recorded->g.h.data_offset + i * seg_bytes + (uint64_t)((const uint8_t *)to - base), from,
					length);
			return;
		}
	}
	CLAIM(!"a store outside of every segment");
}

void zd_record_sync(uint64_t offset, uint64_t length)
{
	if (!recording)
		return;
	if (length == UINT64_MAX ? lie_data_sync : lie_entry_sync)
		return;
	new_event(SYNC, offset, length);
}

void zd_record_size(uint64_t size)
{
	if (recording)
		new_event(SIZE, size, 0);
}

/* ---------------------------------------------------------------- what the workload did */

static uint64_t random_state;
static uint32_t draw(uint32_t below)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % below;
}

/* Bytes of a sequential zone: its index, generation and place; of a conventional block: zone, version, place. */
static void stamp(uint8_t *to, uint32_t zone, uint32_t gen, uint32_t at, uint32_t length)
{
	for (uint32_t i = 0; i < length; i += 16) {
		uint32_t words[4] = { 0x5A6F6E65u + zone, gen, at + i, ~(at + i) };

		memcpy(to + i, words, 16);
	}
}

struct floor { /* what must survive from now on */
	uint32_t event;
	uint32_t gen[ZONES], written[ZONES];
	bool finished[ZONES];
	uint32_t version[ZONE_BLOCKS]; /* of the conventional zone's blocks */
};
static struct floor moments[4096]; /* each holds after its event */
static uint32_t nr_moments;
static struct floor now;
/* The event from which on a generation exists at all, and how much of it was ever being written by then. */
static uint32_t gen_from[ZONES][MAX_GENS];
static uint32_t most_written[ZONES][MAX_GENS];
static uint32_t last_gen[ZONES], last_version[ZONE_BLOCKS]; /* none is used twice */
static uint32_t rolled_back[ZONES];                        /* the event at which the zone last went back to a snapshot */

static bool lying;           /* a write was to be lost */
static struct floor flushed; /* at the last flush, if no snapshot was gone back to since */
static bool flushed_holds;

static struct shot {
	zd_snapshot *taken;
	struct floor then;
} shots[2];

static void mark_floor(void)
{
	CLAIM(nr_moments < 4096);
	moments[nr_moments] = now;
	moments[nr_moments].event = nr_events;
	nr_moments++;
}

static void free_shots(void)
{
	for (int i = 0; i < 2; i++) {
		zd_snapshot_free(shots[i].taken);
		shots[i].taken = NULL;
	}
}

/* What faults, cuts and other half-done things left. */
static void look(zd_dev *dev)
{
	static uint8_t got[ZONE_SIZE];
	struct zd_error err;
	struct zd_zone z;

	for (uint32_t zone = CONV; zone < ZONES; zone++) {
		int64_t written = zd_zone_written(dev, zone, &err);

		CLAIM(written >= 0 && zd_report(dev, zone, 1, &z, &err) == 1);
		now.written[zone] = (uint32_t)written;
		now.finished[zone] &= z.cond == ZD_FULL; /* one that was FULL already stays so only if nothing of it was lost */
		if (now.written[zone] > most_written[zone][now.gen[zone]])
			most_written[zone][now.gen[zone]] = now.written[zone];
	}
	CLAIM(zd_pread(dev, got, ZONE_SIZE, 0, &err) == ZONE_SIZE);
	for (uint32_t block = 0; block < ZONE_BLOCKS; block++)
		memcpy(&now.version[block], got + block * BLOCK + 4, 4);
}

static void reset_zone(zd_dev *dev, uint32_t zone)
{
	struct zd_error err;

	if (last_gen[zone] + 1 >= MAX_GENS)
		return;
	gen_from[zone][last_gen[zone] + 1] = nr_events; /* from here on the reset may have happened */
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, zone, 1, &err) == 0);
	if (now.written[zone] || now.finished[zone])
		now.gen[zone] = ++last_gen[zone];
	now.written[zone] = 0;
	now.finished[zone] = false;
}

static void write_zone(zd_dev *dev, uint32_t zone)
{
	static uint8_t buffer[ZONE_SIZE];
	uint32_t room = ZONE_SIZE - now.written[zone], n = (1 + draw(5)) * BLOCK;
	struct zd_error err;
	uint64_t landed;

	if (room == 0 || now.finished[zone]) {
		reset_zone(dev, zone);
		return;
	}
	n = n < room ? n : room;
	stamp(buffer, zone, now.gen[zone], now.written[zone], n);
	if (most_written[zone][now.gen[zone]] < now.written[zone] + n)
		most_written[zone][now.gen[zone]] = now.written[zone] + n;
	if (zd_append(dev, zone, buffer, n, &landed, &err) < 0) {
		/* All that may be are explicitly open; or a fault. */
		CLAIM(err.code == ZD_E_TOO_MANY_OPEN || err.injected);
		if (err.injected)
			look(dev);
		return;
	}
	now.written[zone] += n;
}

static void write_conventional(zd_dev *dev)
{
	static uint8_t buffer[BLOCK];
	uint32_t block = draw(ZONE_BLOCKS);
	struct zd_error err;

	stamp(buffer, 0, ++last_version[block], block * BLOCK, BLOCK);
	if (zd_pwrite(dev, buffer, BLOCK, block * BLOCK, &err) < 0)
		CLAIM(err.injected);
	else
		now.version[block] = last_version[block];
}

/* A cut takes nothing that was flushed, but for what a lying disk only said it had. */
static void cut_power(zd_dev *dev)
{
	const struct floor *f = nr_moments ? &moments[nr_moments - 1] : NULL;
	uint32_t before = nr_events;
	struct zd_error err;

	CLAIM(zd_power_cut(dev, (int)draw(3), draw(1000), &err) == 0);
	CLAIM(zd_power_on(dev, &err) == 0);
	look(dev);
	for (uint32_t zone = 0; f && zone < ZONES; zone++) {
		bool taken = now.gen[zone] == f->gen[zone] && now.written[zone] < f->written[zone];

		for (uint32_t block = 0; zone == 0 && block < ZONE_BLOCKS; block++)
			taken |= now.version[block] < f->version[block];
		if (taken && rolled_back[zone] < f->event)
			rolled_back[zone] = before; /* a close or host_sync=command saved more than was flushed */
		if (lying || !flushed_holds)
			continue;
		CLAIM(now.gen[zone] != flushed.gen[zone] || now.written[zone] >= flushed.written[zone]);
		for (uint32_t block = 0; zone == 0 && block < ZONE_BLOCKS; block++)
			CLAIM(now.version[block] >= flushed.version[block]);
	}
}

static void set_fault(zd_dev *dev)
{
	static const uint32_t kinds[] = { ZD_FAULT_MEDIUM, ZD_FAULT_TORN, ZD_FAULT_LOST, ZD_FAULT_FLUSH_ERROR };
	struct zd_fault fault = { .kind = kinds[draw(4)],
				  .commands = 1u << ZD_CMD_WRITE | 1u << ZD_CMD_APPEND,
				  .last_zone = ZD_NO_ZONE,
				  .nth = 1 + draw(3),
				  .bit = ZD_NONE };
	struct zd_error err;
	uint32_t id;

	CLAIM(zd_fault_clear(dev, 0, &err) == 0);
	lying |= fault.kind == ZD_FAULT_LOST;
	fault.blocks = fault.kind == ZD_FAULT_TORN ? 1 + draw(2) : 0;
	CLAIM(zd_fault_add(dev, &fault, &id, &err) == 0);
}

static void go_back_or_remember(zd_dev *dev)
{
	struct shot *shot = &shots[draw(2)];
	struct zd_error err;

	if (!shot->taken) {
		CLAIM(zd_snapshot_take(dev, &shot->taken, &err) == 0);
		shot->then = now;
		return;
	}
	if (draw(2)) {
		for (uint32_t zone = 0; zone < ZONES; zone++)
			rolled_back[zone] = nr_events;
		flushed_holds = false;
		CLAIM(zd_rollback(dev, shot->taken, &err) == 0);
		now = shot->then;
		look(dev);
	} else {
		zd_snapshot_free(shot->taken);
		shot->taken = NULL;
	}
}

static zd_dev *run_command(zd_dev *dev, const char *path, bool every)
{
	uint32_t zone = CONV + draw(ZONES - CONV), what = draw(100);
	struct zd_error err;
	int r;

	if (what < 44) {
		write_zone(dev, zone);
	} else if (what < 56) {
		write_conventional(dev);
	} else if (what < 68) {
		reset_zone(dev, zone);
	} else if (what < 72) {
		if (zd_zone_mgmt(dev, ZD_CMD_FINISH, zone, 1, &err) == 0)
			now.finished[zone] = true;
	} else if (what < 76) {
		zd_zone_mgmt(dev, draw(2) ? ZD_CMD_OPEN : ZD_CMD_CLOSE, zone, 1, &err);
	} else if (what < 87) {
		r = zd_flush(dev, &err);
		CLAIM(r == 0 || err.injected);
		if (r == 0) {
			mark_floor();
			flushed = now;
			flushed_holds = true;
		}
	} else if (what < 90) {
		cut_power(dev);
	} else if (what < 94) {
		go_back_or_remember(dev);
	} else if (what < 97) {
		set_fault(dev);
	} else {
		free_shots(); /* they keep the disk open */
		CLAIM(zd_close(dev, &err) == 0);
		recording = false; /* opening only rebuilds the shared area, which no crash state has */
		mark_floor();
		CLAIM(zd_open(path, 0, &dev, &err) == 0);
		recorded = dev;
		recording = true;
	}
	if (every)
		mark_floor();
	return dev;
}

/* ---------------------------------------------------------------- crash states */

static uint8_t durable[MAX_FILE], state[MAX_FILE];
static uint64_t durable_size, current_size;
static uint32_t pending[MAX_EVENTS], nr_pending; /* WRITEs since the last full sync */
static uint32_t page_synced[PAGES];              /* events before this one are durable in the page */

static void apply(uint8_t *image, const struct event *e, uint64_t from, uint64_t to)
{
	if (from < e->offset)
		from = e->offset;
	if (to > e->offset + e->length)
		to = e->offset + e->length;
	if (from >= to)
		return;
	if (e->bytes)
		memcpy(image + from, e->bytes + (from - e->offset), to - from);
	else
		memset(image + from, 0, to - from);
}

/* Make durable what event i, a SYNC, covers. */
static void sync_pages(uint32_t i)
{
	const struct event *e = &events[i];
	bool all = e->length == UINT64_MAX;
	uint32_t first = all ? 0 : (uint32_t)(e->offset / ZD_PAGE);
	uint32_t last = all ? PAGES - 1 : (uint32_t)((e->offset + e->length - 1) / ZD_PAGE), p;

	for (uint32_t k = 0; k < nr_pending; k++) {
		const struct event *w = &events[pending[k]];

		for (p = (uint32_t)(w->offset / ZD_PAGE); p <= (w->offset + w->length - 1) / ZD_PAGE; p++) {
			if (p >= first && p <= last && pending[k] >= page_synced[p])
				apply(durable, w, (uint64_t)p * ZD_PAGE, (uint64_t)(p + 1) * ZD_PAGE);
		}
	}
	for (p = first; p <= last; p++)
		page_synced[p] = i;
	durable_size = current_size; /* fdatasync and RWF_DSYNC write back the length that the data needs */
	if (all)
		nr_pending = 0;
}

enum choice { OLD, NEW, BY_PAGE, BY_SECTOR, NR_CHOICES };

/* `state` becomes what a crash now could leave. Returns its length. */
static uint64_t build_state(enum choice choice, uint32_t until)
{
	static uint32_t count[MAX_FILE / SECTOR], keep[MAX_FILE / SECTOR];

	memcpy(state, durable, sizeof(state));
	memset(count, 0, sizeof(count));
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t k = 0; k < nr_pending && pending[k] < until; k++) {
			const struct event *w = &events[pending[k]];
			uint32_t s = (uint32_t)(w->offset / SECTOR), last = (uint32_t)((w->offset + w->length - 1) / SECTOR);

			for (; s <= last; s++) {
				if (pending[k] < page_synced[s * SECTOR / ZD_PAGE])
					continue;
				count[s]++;
				if (pass && count[s] <= keep[s])
					apply(state, w, (uint64_t)s * SECTOR, (uint64_t)(s + 1) * SECTOR);
			}
		}
		if (pass)
			break;
		for (uint32_t s = 0; s < MAX_FILE / SECTOR; s++) {
			if (!count[s])
				continue;
			if (choice == OLD)
				keep[s] = 0;
			else if (choice == NEW)
				keep[s] = count[s];
			else if (choice == BY_SECTOR || s % (ZD_PAGE / SECTOR) == 0)
				keep[s] = draw(count[s] + 1);
			else
				keep[s] = count[s - 1] == count[s] ? keep[s - 1] : draw(count[s] + 1);
		}
		memset(count, 0, sizeof(count));
	}
	return choice == OLD || (choice != NEW && draw(2)) ? durable_size : current_size;
}

/* ---------------------------------------------------------------- the verdict */

static uint64_t nr_states, nr_violations;

static void violation(uint32_t event, uint32_t zone, const char *what, uint64_t a, uint64_t b)
{
	if (nr_violations++ < 5)
		fprintf(stderr, "after event %u, zone %u: %s (%llu, %llu)\n", event, zone, what, (unsigned long long)a,
			(unsigned long long)b);
}

static void verify_sequential(zd_dev *dev, uint32_t event, uint32_t zone, const struct floor *f)
{
	static uint8_t got[ZONE_SIZE], want[ZONE_SIZE];
	struct zd_error err;
	struct zd_zone z;
	int64_t written = zd_zone_written(dev, zone, &err);
	bool back = rolled_back[zone] && rolled_back[zone] >= f->event; /* on its way back to a snapshot */
	uint32_t gen;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	CLAIM(written >= 0);
	if (written == 0) {
		/* Empty: then nothing was durable, or a reset was under way since. */
		bool reset = f->gen[zone] + 1 < MAX_GENS && gen_from[zone][f->gen[zone] + 1] &&
			     gen_from[zone][f->gen[zone] + 1] <= event;

		if (f->written[zone] && !reset && !back)
			violation(event, zone, "flushed bytes are lost", f->written[zone], 0);
		return;
	}
	CLAIM(zd_pread(dev, got, (uint64_t)written, (uint64_t)zone * ZONE_SIZE, &err) == written);
	memcpy(&gen, got + 4, 4);
	if (gen >= MAX_GENS || (gen < f->gen[zone] && !back)) {
		violation(event, zone, "shows data of a generation that was reset and flushed", gen, f->gen[zone]);
		return;
	}
	stamp(want, zone, gen, 0, (uint32_t)written);
	if (memcmp(got, want, (size_t)written)) {
		violation(event, zone, "the write pointer is beyond valid data", (uint64_t)written, gen);
		return;
	}
	if (gen == f->gen[zone] && written < f->written[zone] && !back)
		violation(event, zone, "flushed bytes are lost", f->written[zone], (uint64_t)written);
	if (written > most_written[zone][gen])
		violation(event, zone, "more than was ever written", (uint64_t)written, most_written[zone][gen]);
	if (gen == f->gen[zone] && f->finished[zone] && z.cond != ZD_FULL && !back)
		violation(event, zone, "a FINISH that was flushed is lost", z.cond, 0);
}

static void verify_conventional(zd_dev *dev, uint32_t event, const struct floor *f)
{
	static uint8_t got[ZONE_SIZE];
	struct zd_error err;

	CLAIM(zd_pread(dev, got, ZONE_SIZE, 0, &err) == ZONE_SIZE);
	for (uint32_t s = 0; s < ZONE_SIZE / SECTOR; s++) {
		uint8_t want[SECTOR];
		uint32_t version, block = s * SECTOR / BLOCK;

		memcpy(&version, got + s * SECTOR + 4, 4);
		if (version < f->version[block] && !(rolled_back[0] && rolled_back[0] >= f->event)) {
			violation(event, 0, "a flushed block of a conventional zone is lost", f->version[block], version);
			continue;
		}
		memset(want, 0, sizeof(want));
		if (version)
			stamp(want, 0, version, s * SECTOR, SECTOR);
		if (memcmp(got + s * SECTOR, want, SECTOR))
			violation(event, 0, "a sector of a conventional zone holds what was never written there", s, version);
	}
}

/* A crash is no damage: check finds no error, neither before nor after somebody opened and closed it. */
static void claim_unharmed(const char *path, uint32_t event)
{
	struct zd_finding *findings;
	struct zd_error err;
	size_t n;

	CLAIM(zd_check(path, 0, &findings, &n, &err) == 0);
	for (size_t i = 0; i < n; i++) {
		if (findings[i].error)
			violation(event, findings[i].zone, findings[i].text, findings[i].offset, 0);
	}
	zd_findings_free(findings);
}

static void try_state(const char *path, enum choice choice, uint32_t event, uint32_t until, const struct floor *f)
{
	uint64_t size = build_state(choice, until);
	struct zd_error err;
	zd_dev *dev;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), r;

	CLAIM(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	for (uint64_t at = 0; at < size; at += ZD_PAGE) {
		static const uint8_t zeros[ZD_PAGE];
		size_t n = size - at < ZD_PAGE ? size - at : ZD_PAGE;

		if (memcmp(state + at, zeros, n))
			CLAIM(pwrite(fd, state + at, n, (off_t)at) == (ssize_t)n);
	}
	close(fd);
	nr_states++;
	claim_unharmed(path, event);
	r = zd_open(path, nr_states % 2 ? 0 : ZD_OPEN_READONLY, &dev, &err);
	if (r) {
		violation(event, ZD_NO_ZONE, err.text, (uint64_t)-r, 0);
		return;
	}
	for (uint32_t zone = CONV; zone < ZONES; zone++)
		verify_sequential(dev, event, zone, f);
	verify_conventional(dev, event, f);
	CLAIM(zd_close(dev, &err) == 0);
	claim_unharmed(path, event);
}

/* Walk the events; at each boundary and at sampled moments, crash. */
static void enumerate(const char *crashed, uint32_t states)
{
	uint32_t boundaries = 0, i, m = 0, odds;
	struct floor none, *f = &none;

	memset(&none, 0, sizeof(none));
	memset(page_synced, 0, sizeof(page_synced));
	nr_pending = 0;
	for (i = 0; i < nr_events; i++)
		boundaries += events[i].kind == SYNC;
	odds = states > 3 * boundaries ? (states - 3 * boundaries) * 100 / (nr_events ? nr_events : 1) + 1 : 1;
	for (i = 0; i <= nr_events; i++) {
		while (m < nr_moments && moments[m].event <= i)
			f = &moments[m++];
		if (i == nr_events || events[i].kind == SYNC) {
			try_state(crashed, OLD, i, i, f);
			try_state(crashed, BY_PAGE, i, i, f);
			try_state(crashed, BY_SECTOR, i, i, f);
		}
		for (uint32_t n = odds; n; n = n > 100 ? n - 100 : 0) {
			if (n >= 100 || draw(100) < n)
				try_state(crashed, draw(NR_CHOICES), i, i, f);
		}
		if (i == nr_events)
			break;
		if (events[i].kind == SYNC)
			sync_pages(i);
		else if (events[i].kind == SIZE)
			current_size = events[i].offset;
		else if (events[i].length)
			pending[nr_pending++] = i;
	}
}

static void run_workload(const char *path, const char *crashed, uint32_t states)
{
	struct zd_range conv = { 0, CONV };
	struct zd_config config = { .size = ZONES * ZONE_SIZE,
				    .zone_size = ZONE_SIZE,
				    .logical_block = BLOCK,
				    .physical_block = BLOCK,
				    .slot_cache = (uint64_t)draw(3) * ZONE_SIZE,
				    .max_open = 3 + draw(5),
				    .unrestricted_read = 1,
				    .host_sync = draw(4) == 0 ? ZD_SYNC_COMMAND : ZD_SYNC_FLUSH,
				    .nr_conv = 1,
				    .conv = &conv };
	uint32_t commands = 20 + draw(60);
	struct zd_error err;
	struct stat st;
	int fd;

	memset(&now, 0, sizeof(now));
	memset(gen_from, 0, sizeof(gen_from));
	memset(most_written, 0, sizeof(most_written));
	memset(last_gen, 0, sizeof(last_gen));
	memset(last_version, 0, sizeof(last_version));
	memset(rolled_back, 0, sizeof(rolled_back));
	lying = flushed_holds = false;
	nr_events = nr_moments = 0;
	unlink(path);
	CLAIM(zd_create(path, &config, 0, &recorded, &err) == 0);
	memset(durable, 0, sizeof(durable));
	fd = open(path, O_RDONLY);
	CLAIM(fd >= 0 && fstat(fd, &st) == 0 && st.st_size <= (off_t)MAX_FILE);
	/* The shared area is worthless after a crash; what lies before it is all there is. */
	CLAIM(pread(fd, durable, recorded->g.h.runtime_offset, 0) == (ssize_t)recorded->g.h.runtime_offset);
	close(fd);
	durable_size = current_size = (uint64_t)st.st_size;
	/* Of every second disk the entries' numbers go round meanwhile. */
	for (uint32_t zone = draw(2) ? 0 : ZONES; zone < ZONES; zone++) {
		struct zd_zone_rt *rt;

		CLAIM(zd_zone_get(recorded, zone, &rt) == 0);
		rt->entry_seq = UINT32_MAX - draw(4);
	}
	nr_events = 1; /* number 0 is the creation, so that 0 can mean "never" */
	events[0] = (struct event){ SYNC, 0, UINT64_MAX, NULL };
	recording = true;
	while (commands--)
		recorded = run_command(recorded, path, config.host_sync == ZD_SYNC_COMMAND);
	recording = false;
	free_shots();
	CLAIM(zd_close(recorded, &err) == 0);
	enumerate(crashed, states);
	for (uint32_t i = 0; i < nr_events; i++)
		free(events[i].bytes);
}

int main(int argc, char **argv)
{
	char path[64], crashed[64];
	uint32_t workloads, states, i;

	if (argc < 4) {
		fprintf(stderr, "usage: hostcrash WORKLOADS SEED STATES_PER_WORKLOAD [no-data-sync | no-entry-sync]\n");
		return 2;
	}
	workloads = (uint32_t)atoi(argv[1]);
	random_state = strtoull(argv[2], NULL, 0) * 2 + 1;
	states = (uint32_t)atoi(argv[3]);
	lie_data_sync = argc > 4 && strcmp(argv[4], "no-data-sync") == 0;
	lie_entry_sync = argc > 4 && strcmp(argv[4], "no-entry-sync") == 0;
	snprintf(path, sizeof(path), "/dev/shm/hostcrash-%d.img", (int)getpid());
	snprintf(crashed, sizeof(crashed), "/dev/shm/hostcrash-%d.crashed", (int)getpid());
	for (i = 0; i < workloads && nr_violations == 0; i++)
		run_workload(path, crashed, states);
	unlink(path);
	unlink(crashed);
	printf("%u workloads, %llu crash states, %llu violations, seed %s\n", i, (unsigned long long)nr_states,
	       (unsigned long long)nr_violations, argv[2]);
	return nr_violations ? 3 : 0;
}
