/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crashes of the host, enumerated. The core is compiled with -DZD_RECORD, so that every store into the mapping
 * and every operation on the image is seen. Random workloads run once; then, for every sync boundary and for a
 * sample of moments between, the file is built as a crash could have left it: each 512-byte sector as of any
 * moment since the last sync of its page, the file's length likewise. Each such file is opened, and must give:
 * no unrecoverable image, no flushed byte lost, no write pointer beyond valid data.
 *
 * Workloads also cut the emulated power, take snapshots and go back to them, and set faults, as all of these store
 * into the image too; they give commands by processes that are killed in the midst of them, and flush images that are
 * clean. Disks are host-managed or host-aware, there with writes over what was written and over gaps. Whoever opens the
 * file behind a crash goes on writing, and a second crash must lose nothing of that.
 *
 *     hostcrash WORKLOADS SEED STATES_PER_WORKLOAD [LIE | areas]
 *
 * areas: the zones can have random write areas, are written there in any order and committed; a write pointer that was flushed
 * does not go back.
 *
 * LIE makes the recorder lie, as if the host did so; the program must then find a violation (exit 3): no-data-sync
 * (fdatasync does nothing), no-entry-sync (RWF_DSYNC does nothing). test_hostcrash.py also builds it with mistakes
 * put into the core.
 */
#include "device/whole/whole.h"
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096u
#define SECTOR 512u
#define ZONES 10u
#define CONV 1u
#define ZONE_SIZE 65536u
#define ZONE_BLOCKS (ZONE_SIZE / BLOCK)
#define MAX_FILE (4u << 20)
#define PAGES (MAX_FILE / ZD_PAGE)
#define AREA 4u
#define GRANULE 2u
#define MAX_EVENTS 20000u
#define MAX_GENS 64u

/* ---------------------------------------------------------------- the recorder */

enum kind { WRITE, SYNC, SIZE };
struct event {
	enum kind kind;
	uint64_t offset, length;
	uint8_t *bytes; /* of a WRITE; NULL: zeros */
};

#define MAX_BYTES (96u << 20)

struct floor { /* what must survive from now on */
	uint32_t event;
	uint32_t gen[ZONES], written[ZONES];
	bool finished[ZONES];
	/* Of blocks in the conventional zone, and in all zones of a host-aware disk; 0: zeros. */
	uint32_t version[ZONES][ZONE_BLOCKS];
	uint32_t since[ZONES]; /* what was written before this version is gone by a reset */
	uint32_t last[ZONES];  /* the newest version that was given by then */
	uint64_t wp[ZONES];    /* of disks with areas */
};

/*
 * Commands are also given by children of this program, killed in the midst of them. So what is recorded, and what is
 * known of the disk, lies in memory that all share (see share()).
 */
static struct world {
	struct event events[MAX_EVENTS];
	uint32_t nr_events;
	size_t nr_bytes; /* of the events, in `bytes` */
	uint64_t random_state;
	struct floor moments[4096]; /* each holds after its event */
	uint32_t nr_moments;
	struct floor now;
	bool aware; /* blocks of sequential zones are overwritten: they are write-preferred, or have areas */
	bool areas;
	bool unsure; /* a command was killed since the last flush: nobody was told that what it did is on the host's disk */
	uint32_t resetting; /* 1 + the zone that is being reset */
	uint32_t gen_from[ZONES][MAX_GENS];
	uint32_t most_written[ZONES][MAX_GENS];
	uint32_t last_gen[ZONES], last_version[ZONES]; /* none is used twice */
	uint32_t rolled_back[ZONES];                   /* the event at which the zone last went back to a snapshot */
	bool lying;                                    /* a write was to be lost */
	struct floor flushed;                          /* at the last flush, if no snapshot was gone back to since */
	bool flushed_holds;
} world __attribute__((aligned(ZD_PAGE)));

static uint8_t *bytes;
static bool recording, lie_data_sync, lie_entry_sync, with_areas;
static uint32_t die_after; /* in a child: so many events more, then it is killed */
static zd_dev *recorded;

static void maybe_die(void)
{
	if (die_after && --die_after == 0)
		raise(SIGKILL);
}

static struct event *new_event(enum kind kind, uint64_t offset, uint64_t length)
{
	struct event *e = &world.events[world.nr_events++];

	CLAIM(world.nr_events < MAX_EVENTS);
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
		CLAIM(world.nr_bytes + length <= MAX_BYTES);
		e->bytes = bytes + world.nr_bytes;
		world.nr_bytes += length;
		memcpy(e->bytes, from, length);
	}
	maybe_die();
}

void zd_record_store(const void *to, const void *from, size_t length)
{
	uint64_t seg_bytes = recorded ? recorded->g.slots_per_seg * recorded->g.h.slot_size : 0;

	if (!recording)
		return;
	for (uint32_t i = 0; i < recorded->g.nr_segs; i++) {
		uint8_t *base = recorded->segs[i];

		if (base && (const uint8_t *)to >= base && (const uint8_t *)to < base + seg_bytes) {
			zd_record_write(recorded->g.h.data_offset + i * seg_bytes + (uint64_t)((const uint8_t *)to - base),
					from, length);
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
	maybe_die();
}

void zd_record_size(uint64_t size)
{
	if (!recording)
		return;
	new_event(SIZE, size, 0);
	maybe_die();
}

/* ---------------------------------------------------------------- what the workload did */

static uint32_t draw(uint32_t below)
{
	world.random_state = world.random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(world.random_state >> 33) % below;
}

/* Bytes of a sequential zone: its index, generation and place; of a conventional block: zone, version, place. */
static void stamp(uint8_t *to, uint32_t zone, uint32_t gen, uint32_t at, uint32_t length)
{
	for (uint32_t i = 0; i < length; i += 16) {
		uint32_t words[4] = { 0x5A6F6E65u + zone, gen, at + i, ~(at + i) };

		memcpy(to + i, words, 16);
	}
}

static bool killing; /* commands are given by children, too */
/* The event from which on a generation exists at all, and how much of it was ever being written by then. */

static void share(void)
{
	void *apart = mmap(NULL, sizeof(world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CLAIM(apart != MAP_FAILED &&
	      mremap(apart, sizeof(world), sizeof(world), MREMAP_MAYMOVE | MREMAP_FIXED, &world) == &world);
	bytes = mmap(NULL, MAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CLAIM(bytes != MAP_FAILED);
}

static struct shot {
	zd_snapshot *taken;
	struct floor then;
} shots[2];

static void mark_floor(void)
{
	CLAIM(world.nr_moments < 4096);
	memcpy(world.now.last, world.last_version, sizeof(world.now.last));
	world.moments[world.nr_moments] = world.now;
	world.moments[world.nr_moments].event = world.nr_events;
	world.nr_moments++;
}

static void free_shots(void)
{
	for (int i = 0; i < 2; i++) {
		zd_snapshot_free(shots[i].taken);
		shots[i].taken = NULL;
	}
}

static void note_pointers(zd_dev *dev)
{
	struct zd_error err;
	struct zd_zone z;

	for (uint32_t zone = CONV; world.areas && zone < ZONES; zone++) {
		CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
		world.now.wp[zone] = z.wp;
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
		world.now.written[zone] = (uint32_t)written;
		world.now.finished[zone] &=
			z.cond == ZD_FULL; /* one that was FULL already stays so only if nothing of it was lost */
		if (world.now.written[zone] > world.most_written[zone][world.now.gen[zone]])
			world.most_written[zone][world.now.gen[zone]] = world.now.written[zone];
	}
	for (uint32_t zone = 0; zone < (world.aware ? ZONES : CONV); zone++) {
		CLAIM(zd_pread(dev, got, ZONE_SIZE, zone * ZONE_SIZE, &err) == ZONE_SIZE);
		for (uint32_t block = 0; block < ZONE_BLOCKS; block++)
			memcpy(&world.now.version[zone][block], got + block * BLOCK + 4, 4);
	}
}

static void was_reset(uint32_t zone)
{
	if (world.now.written[zone] || world.now.finished[zone])
		world.now.gen[zone] = ++world.last_gen[zone];
	world.now.written[zone] = 0;
	world.now.finished[zone] = false;
	memset(world.now.version[zone], 0, sizeof(world.now.version[zone]));
	world.now.since[zone] = world.last_version[zone] + 1;
}

static void reset_zone(zd_dev *dev, uint32_t zone)
{
	struct zd_error err;

	if (world.last_gen[zone] + 1 >= MAX_GENS)
		return;
	world.gen_from[zone][world.last_gen[zone] + 1] = world.nr_events; /* from here on the reset may have happened */
	world.resetting = zone + 1;
	CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, zone, 1, &err) == 0);
	was_reset(zone);
	world.resetting = 0;
}

/* Zeros, whatever writes that came to nothing left there. */
static void claim_gap(zd_dev *dev, uint32_t zone, uint32_t from, uint32_t to)
{
	static uint8_t got[ZONE_SIZE];
	struct zd_error err;

	if (from >= to)
		return;
	CLAIM(zd_pread(dev, got, to - from, zone * ZONE_SIZE + from, &err) == to - from);
	CLAIM(got[0] == 0 && memcmp(got, got + 1, to - from - 1) == 0);
}

static void write_blocks(zd_dev *dev, uint32_t zone, uint32_t at)
{
	static uint8_t buffer[ZONE_SIZE];
	uint32_t n = 1 + draw(5), version = ++world.last_version[zone];
	struct zd_error err;

	if (world.now.finished[zone] || at >= ZONE_BLOCKS || draw(20) == 0) {
		reset_zone(dev, zone);
		return;
	}
	n = n < ZONE_BLOCKS - at ? n : ZONE_BLOCKS - at;
	stamp(buffer, zone, version, at * BLOCK, n * BLOCK);
	if (world.most_written[zone][world.now.gen[zone]] < (at + n) * BLOCK)
		world.most_written[zone][world.now.gen[zone]] = (at + n) * BLOCK;
	if (zd_pwrite(dev, buffer, n * BLOCK, zone * ZONE_SIZE + at * BLOCK, &err) < 0) {
		CLAIM(err.injected || err.code == ZD_E_ZONE_FULL || err.code == ZD_E_TOO_MANY_OPEN ||
		      (world.areas && (err.code == ZD_E_OUTSIDE_ZRWA || err.code == ZD_E_UNALIGNED_WRITE)));
		look(dev);
		return;
	}
	claim_gap(dev, zone, world.now.written[zone], at * BLOCK);
	for (uint32_t block = at; block < at + n; block++)
		world.now.version[zone][block] = version;
	if (world.now.written[zone] < (at + n) * BLOCK)
		world.now.written[zone] = (at + n) * BLOCK;
}

static void write_zone(zd_dev *dev, uint32_t zone)
{
	static uint8_t buffer[ZONE_SIZE];
	uint32_t room = ZONE_SIZE - world.now.written[zone], n = (1 + draw(5)) * BLOCK;
	struct zd_error err;
	uint64_t landed;

	if (room == 0 || world.now.finished[zone]) {
		reset_zone(dev, zone);
		return;
	}
	n = n < room ? n : room;
	stamp(buffer, zone, world.now.gen[zone], world.now.written[zone], n);
	if (world.most_written[zone][world.now.gen[zone]] < world.now.written[zone] + n)
		world.most_written[zone][world.now.gen[zone]] = world.now.written[zone] + n;
	if (zd_append(dev, zone, buffer, n, &landed, &err) < 0) {
		/* All that may be are explicitly open; or a fault. */
		CLAIM(err.code == ZD_E_TOO_MANY_OPEN || err.injected);
		if (err.injected)
			look(dev);
		return;
	}
	world.now.written[zone] += n;
}

/* At the pointer, over what is written, or behind a gap. */
static void write_preferred(zd_dev *dev, uint32_t zone)
{
	uint32_t at = world.now.written[zone] / BLOCK, how = draw(10);

	write_blocks(dev, zone, how < 3 ? draw(ZONE_BLOCKS) : how < 6 ? draw(at + 1) : at);
}

/* In the zone's area, or beyond; or it gets one, or is committed. */
static void write_area(zd_dev *dev, uint32_t zone)
{
	struct zd_error err;
	struct zd_zone z;
	uint64_t filled;
	uint32_t wp, end;
	bool area = zd_zone_zrwa(dev, zone, &filled, &err) == 1;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	wp = (uint32_t)(z.wp == ZD_NONE ? ZONE_BLOCKS : (z.wp - z.start) / BLOCK);
	if (!area && wp < ZONE_BLOCKS && draw(2)) {
		if (zd_zone_open_zrwa(dev, zone, &err) < 0)
			CLAIM(err.injected || err.code == ZD_E_ZRWA_UNAVAILABLE || err.code == ZD_E_TOO_MANY_OPEN);
	} else if (!area) {
		write_blocks(dev, zone, world.now.written[zone] / BLOCK);
	} else if (draw(4)) {
		write_blocks(dev, zone, wp + draw(draw(2) ? AREA : 2 * AREA));
	} else {
		end = wp + GRANULE * (1 + draw(2));
		end = end < ZONE_BLOCKS ? end : ZONE_BLOCKS;
		if (world.most_written[zone][world.now.gen[zone]] < end * BLOCK)
			world.most_written[zone][world.now.gen[zone]] = end * BLOCK;
		if (zd_zone_commit_zrwa(dev, zone, zone * ZONE_SIZE + end * BLOCK, &err) < 0)
			CLAIM(err.injected || err.code == ZD_E_TOO_MANY_OPEN);
		else if (world.now.written[zone] < end * BLOCK)
			world.now.written[zone] = end * BLOCK;
	}
}

static void write_sequential(zd_dev *dev, uint32_t zone)
{
	(world.areas ? write_area : world.aware ? write_preferred : write_zone)(dev, zone);
}

static void write_conventional(zd_dev *dev)
{
	static uint8_t buffer[BLOCK];
	uint32_t block = draw(ZONE_BLOCKS);
	struct zd_error err;

	stamp(buffer, 0, ++world.last_version[0], block * BLOCK, BLOCK);
	if (zd_pwrite(dev, buffer, BLOCK, block * BLOCK, &err) < 0)
		CLAIM(err.injected);
	else
		world.now.version[0][block] = world.last_version[0];
}

/* A cut takes nothing that was flushed, but for what a lying disk only said it had. */
static void cut_power(zd_dev *dev)
{
	const struct floor *f = world.nr_moments ? &world.moments[world.nr_moments - 1] : NULL;
	uint32_t before = world.nr_events;
	struct zd_error err;

	CLAIM(zd_power_cut(dev, (int)draw(3), draw(1000), &err) == 0);
	CLAIM(zd_power_on(dev, &err) == 0);
	look(dev);
	for (uint32_t zone = 0; f && zone < ZONES; zone++) {
		bool blocks = zone < CONV || world.aware, same = world.now.gen[zone] == f->gen[zone];
		bool taken = same && world.now.written[zone] < f->written[zone];

		for (uint32_t block = 0; same && blocks && block < ZONE_BLOCKS; block++)
			taken |= world.now.version[zone][block] < f->version[zone][block];
		if (taken && world.rolled_back[zone] < f->event)
			world.rolled_back[zone] = before; /* a close or host_sync=command saved more than was flushed */
		if (world.lying || !world.flushed_holds || world.now.gen[zone] != world.flushed.gen[zone])
			continue;
		CLAIM(world.now.written[zone] >= world.flushed.written[zone]);
		for (uint32_t block = 0; blocks && block < ZONE_BLOCKS; block++)
			CLAIM(world.now.version[zone][block] >= world.flushed.version[zone][block]);
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
	world.lying |= fault.kind == ZD_FAULT_LOST;
	fault.blocks = fault.kind == ZD_FAULT_TORN ? 1 + draw(2) : 0;
	CLAIM(zd_fault_add(dev, &fault, &id, &err) == 0);
}

static void go_back_or_remember(zd_dev *dev)
{
	struct shot *shot = &shots[draw(2)];
	struct zd_error err;

	if (!shot->taken) {
		CLAIM(zd_snapshot_take(dev, &shot->taken, &err) == 0);
		shot->then = world.now;
		return;
	}
	if (draw(2)) {
		for (uint32_t zone = 0; zone < ZONES; zone++)
			world.rolled_back[zone] = world.nr_events;
		world.flushed_holds = false;
		CLAIM(zd_rollback(dev, shot->taken, &err) == 0);
		world.now = shot->then;
		look(dev);
	} else {
		zd_snapshot_free(shot->taken);
		shot->taken = NULL;
	}
}

static void flush(zd_dev *dev)
{
	struct zd_error err;
	int r = zd_flush(dev, &err);

	CLAIM(r == 0 || err.injected);
	if (r)
		return;
	world.unsure = false;
	note_pointers(dev);
	mark_floor();
	world.flushed = world.now;
	world.flushed_holds = true;
}

/* A child gives one command, and is killed behind one of its stores or writes, or comes to its end. */
static void command_of_the_killed(zd_dev *dev, uint32_t zone)
{
	uint32_t what = draw(12), after = 1 + draw(draw(2) ? 6 : 24);
	struct zd_error err;
	int64_t written;
	int status;
	pid_t pid = fork();

	CLAIM(pid >= 0);
	if (pid == 0) {
		die_after = after;
		if (what < 3)
			write_sequential(dev, zone);
		else if (what < 4)
			write_conventional(dev);
		else if (what < 6)
			reset_zone(dev, zone);
		else if (what < 10)
			flush(dev);
		else
			zd_power_cut(dev, (int)draw(3), draw(1000), &err);
		_exit(0);
	}
	CLAIM(waitpid(pid, &status, 0) == pid);
	CLAIM((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	world.unsure |= WIFSIGNALED(status);
	CLAIM(zd_power_on(dev, &err) == 0);
	if (world.resetting) {
		struct zd_zone z;

		written = zd_zone_written(dev, world.resetting - 1, &err);
		CLAIM(zd_report(dev, world.resetting - 1, 1, &z, &err) == 1);
		if (written == 0 && z.cond != ZD_FULL) /* one that was finished while empty had no byte before either */
			was_reset(world.resetting - 1);
		else
			world.gen_from[world.resetting - 1][world.last_gen[world.resetting - 1] + 1] = 0;
		world.resetting = 0;
	}
	look(dev);
	/* Over what a write that was never published left behind the pointer. */
	if (world.aware && what < 3 && draw(4))
		write_blocks(dev, zone, world.now.written[zone] / BLOCK + 1 + draw(4));
	if (what >= 10) { /* as in cut_power() */
		for (uint32_t z = 0; z < ZONES; z++)
			world.rolled_back[z] = world.nr_events;
	}
}

static zd_dev *run_command(zd_dev *dev, const char *path, bool every)
{
	uint32_t zone = CONV + draw(ZONES - CONV), what = draw(100);
	struct zd_error err;

	if (what < 36) {
		write_sequential(dev, zone);
	} else if (what < 44) {
		if (killing)
			command_of_the_killed(dev, zone);
		else
			write_sequential(dev, zone);
	} else if (what < 56) {
		write_conventional(dev);
	} else if (what < 68) {
		reset_zone(dev, zone);
	} else if (what < 72) {
		if (zd_zone_mgmt(dev, ZD_CMD_FINISH, zone, 1, &err) == 0)
			world.now.finished[zone] = true;
	} else if (what < 76) {
		zd_zone_mgmt(dev, draw(2) ? ZD_CMD_OPEN : ZD_CMD_CLOSE, zone, 1, &err);
	} else if (what < 87) {
		flush(dev);
	} else if (what < 90) {
		cut_power(dev);
	} else if (what < 94) {
		go_back_or_remember(dev);
	} else if (what < 97) {
		set_fault(dev);
	} else {
		note_pointers(dev);
		free_shots(); /* they keep the disk open */
		CLAIM(zd_close(dev, &err) == 0);
		world.unsure = false;
		recording = false; /* opening only rebuilds the shared area, which no crash state has */
		mark_floor();
		CLAIM(zd_open(path, 0, &dev, &err) == 0);
		recorded = dev;
		recording = true;
		/* Before anything has changed: of a clean image. */
		if (draw(3) == 0 && killing)
			command_of_the_killed(dev, zone);
		else if (draw(2))
			flush(dev);
	}
	if (every && !world.unsure) {
		note_pointers(dev);
		mark_floor();
	}
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
	const struct event *e = &world.events[i];
	bool all = e->length == UINT64_MAX;
	uint32_t first = all ? 0 : (uint32_t)(e->offset / ZD_PAGE);
	uint32_t last = all ? PAGES - 1 : (uint32_t)((e->offset + e->length - 1) / ZD_PAGE), p;

	for (uint32_t k = 0; k < nr_pending; k++) {
		const struct event *w = &world.events[pending[k]];

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
			const struct event *w = &world.events[pending[k]];
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
	bool back = world.rolled_back[zone] && world.rolled_back[zone] >= f->event; /* on its way back to a snapshot */
	uint32_t gen;

	CLAIM(zd_report(dev, zone, 1, &z, &err) == 1);
	CLAIM(written >= 0);
	if (written == 0) {
		/* Empty: then nothing was durable, or a reset was under way since. */
		bool reset = f->gen[zone] + 1 < MAX_GENS && world.gen_from[zone][f->gen[zone] + 1] &&
			     world.gen_from[zone][f->gen[zone] + 1] <= event;

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
	if (written > world.most_written[zone][gen])
		violation(event, zone, "more than was ever written", (uint64_t)written, world.most_written[zone][gen]);
	if (gen == f->gen[zone] && f->finished[zone] && z.cond != ZD_FULL && !back)
		violation(event, zone, "a FINISH that was flushed is lost", z.cond, 0);
}

/* Zones whose blocks are overwritten each by itself: the conventional one, and preferred ones. */
static void verify_blocks(zd_dev *dev, uint32_t event, uint32_t zone, const struct floor *f)
{
	static uint8_t got[ZONE_SIZE];
	struct zd_error err;
	struct zd_zone z;
	bool back = world.rolled_back[zone] && world.rolled_back[zone] >= f->event;
	uint32_t next = f->gen[zone] + 1, most = 0;
	bool reset = zone >= CONV && next < MAX_GENS && world.gen_from[zone][next] && world.gen_from[zone][next] <= event;
	int64_t written = zd_zone_written(dev, zone, &err);

	CLAIM(written >= 0 && zd_report(dev, zone, 1, &z, &err) == 1);
	for (uint32_t gen = f->gen[zone]; gen < MAX_GENS; gen++)
		most = world.most_written[zone][gen] > most ? world.most_written[zone][gen] : most;
	if (zone >= CONV && !back && (written > most || (written < f->written[zone] && !reset)))
		violation(event, zone, "the write pointer stands where it cannot", (uint64_t)written, f->written[zone]);
	if (zone >= CONV && !back && !reset && f->finished[zone] && z.cond != ZD_FULL)
		violation(event, zone, "a FINISH that was flushed is lost", z.cond, 0);
	if (zone >= CONV && world.areas && !back && !reset && (f->wp[zone] == ZD_NONE ? z.cond != ZD_FULL : z.wp < f->wp[zone]))
		violation(event, zone, "a write pointer that was flushed went back", z.wp, f->wp[zone]);
	CLAIM(zd_pread(dev, got, ZONE_SIZE, zone * ZONE_SIZE, &err) == ZONE_SIZE);
	for (uint32_t s = 0; s < ZONE_SIZE / SECTOR; s++) {
		uint8_t want[SECTOR];
		uint32_t version, block = s * SECTOR / BLOCK;

		memcpy(&version, got + s * SECTOR + 4, 4);
		if (version < f->version[zone][block] && !back && !reset) {
			violation(event, zone, "a flushed block is lost", f->version[zone][block], version);
			continue;
		}
		if (version && version < f->since[zone] && !back) {
			violation(event, zone, "shows data from before a reset that was flushed", version, f->since[zone]);
			continue;
		}
		/* A gap is one of zeros, whatever a power cut or a write that came to nothing left there. */
		if (version && version != f->version[zone][block] && version <= f->last[zone] && !back) {
			violation(event, zone, "shows what was not there when it was flushed", version,
				  f->version[zone][block]);
			continue;
		}
		memset(want, 0, sizeof(want));
		if (version)
			stamp(want, zone, version, s * SECTOR, SECTOR);
		if (memcmp(got + s * SECTOR, want, SECTOR))
			violation(event, zone, "a sector holds what was never written there", s, version);
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

static void put_file(const char *path, const uint8_t *from, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	CLAIM(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	for (uint64_t at = 0; at < size; at += ZD_PAGE) {
		static const uint8_t zeros[ZD_PAGE];
		size_t n = size - at < ZD_PAGE ? size - at : ZD_PAGE;

		if (memcmp(from + at, zeros, n))
			CLAIM(pwrite(fd, from + at, n, (off_t)at) == (ssize_t)n);
	}
	close(fd);
}

/*
 * Whoever opened it goes on: writes, flushes, and the host crashes once more, with all of it on its disk. What was there
 * must be there, and what was written now.
 */
static void go_on(zd_dev *dev, const char *path, uint32_t event)
{
	static uint8_t all[ZONES][ZONE_SIZE], again[ZONE_SIZE];
	static uint8_t file[MAX_FILE];
	const struct zd_geometry *g = &dev->g;
	int64_t written[ZONES];
	struct zd_error err;
	char second[80];
	zd_dev *later;
	ssize_t size;
	int fd;

	for (uint32_t zone = 0; zone < ZONES; zone++) {
		uint8_t block[BLOCK];
		uint64_t landed;

		CLAIM((written[zone] = zd_zone_written(dev, zone, &err)) >= 0);
		CLAIM(zd_pread(dev, all[zone], ZONE_SIZE, zone * ZONE_SIZE, &err) == ZONE_SIZE);
		memset(block, 0xA0 + (int)zone, BLOCK);
		if (zone < CONV) {
			CLAIM(zd_pwrite(dev, block, BLOCK, zone * ZONE_SIZE, &err) == BLOCK);
			memcpy(all[zone], block, BLOCK);
		} else if (zone % 3 == 0) {
			CLAIM(zd_zone_mgmt(dev, ZD_CMD_RESET, zone, 1, &err) == 0);
			memset(all[zone], 0, ZONE_SIZE);
			written[zone] = 0;
		} else if (zone % 3 == 1 && world.aware && written[zone] + 2 * BLOCK <= ZONE_SIZE) {
			/* Over a gap, where the host may have bytes that no entry speaks of. */
			landed = (uint64_t)written[zone] + BLOCK +
				 draw((ZONE_SIZE - (uint32_t)written[zone]) / BLOCK - 1) * BLOCK;
			if (zd_pwrite(dev, block, BLOCK, zone * ZONE_SIZE + landed, &err) == BLOCK) {
				memcpy(all[zone] + landed, block, BLOCK);
				written[zone] = (int64_t)landed + BLOCK;
			}
			CLAIM(zd_pread(dev, again, ZONE_SIZE, zone * ZONE_SIZE, &err) == ZONE_SIZE);
			if (memcmp(again, all[zone], ZONE_SIZE))
				violation(event, zone, "a gap shows what the crash left there", landed, 0);
		} else if (zd_append(dev, zone, block, BLOCK, &landed, &err) == BLOCK) {
			memcpy(all[zone] + landed % ZONE_SIZE, block, BLOCK);
			written[zone] += BLOCK;
		}
	}
	CLAIM(zd_flush(dev, &err) == 0);
	fd = open(path, O_RDONLY);
	CLAIM(fd >= 0);
	size = pread(fd, file, sizeof(file), 0);
	CLAIM(size > (ssize_t)g->h.data_offset);
	close(fd);
	memset(file + g->h.runtime_offset, 0, g->h.data_offset - g->h.runtime_offset);
	snprintf(second, sizeof(second), "%s.2", path);
	put_file(second, file, (uint64_t)size);
	claim_unharmed(second, event);
	CLAIM(zd_open(second, ZD_OPEN_READONLY, &later, &err) == 0);
	for (uint32_t zone = 0; zone < ZONES; zone++) {
		CLAIM(zd_pread(later, again, ZONE_SIZE, zone * ZONE_SIZE, &err) == ZONE_SIZE);
		if (memcmp(again, all[zone], ZONE_SIZE) ||
		    (zone >= CONV && zd_zone_written(later, zone, &err) != written[zone]))
			violation(event, zone, "what was flushed behind a crash is lost by the next one",
				  (uint64_t)written[zone], 0);
	}
	CLAIM(zd_close(later, &err) == 0);
	unlink(second);
}

static void try_state(const char *path, enum choice choice, uint32_t event, uint32_t until, const struct floor *f)
{
	uint64_t size = build_state(choice, until);
	struct zd_error err;
	zd_dev *dev;
	int r;

	put_file(path, state, size);
	nr_states++;
	claim_unharmed(path, event);
	r = zd_open(path, nr_states % 2 ? 0 : ZD_OPEN_READONLY, &dev, &err);
	if (r) {
		violation(event, ZD_NO_ZONE, err.text, (uint64_t)-r, 0);
		return;
	}
	for (uint32_t zone = 0; zone < ZONES; zone++)
		(zone < CONV || world.aware ? verify_blocks : verify_sequential)(dev, event, zone, f);
	if (nr_states % 12 == 5)
		go_on(dev, path, event);
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
	for (i = 0; i < world.nr_events; i++)
		boundaries += world.events[i].kind == SYNC;
	odds = states > 3 * boundaries ? (states - 3 * boundaries) * 100 / (world.nr_events ? world.nr_events : 1) + 1 : 1;
	for (i = 0; i <= world.nr_events; i++) {
		while (m < world.nr_moments && world.moments[m].event <= i)
			f = &world.moments[m++];
		if (i == world.nr_events || world.events[i].kind == SYNC) {
			try_state(crashed, OLD, i, i, f);
			try_state(crashed, BY_PAGE, i, i, f);
			try_state(crashed, BY_SECTOR, i, i, f);
		}
		for (uint32_t n = odds; n; n = n > 100 ? n - 100 : 0) {
			if (n >= 100 || draw(100) < n)
				try_state(crashed, draw(NR_CHOICES), i, i, f);
		}
		if (i == world.nr_events)
			break;
		if (world.events[i].kind == SYNC)
			sync_pages(i);
		else if (world.events[i].kind == SIZE)
			current_size = world.events[i].offset;
		else if (world.events[i].length)
			pending[nr_pending++] = i;
	}
}

static void run_workload(const char *path, const char *crashed, uint32_t states)
{
	struct zd_range conv = { 0, CONV };
	struct zd_config config = config_of(ZONES * ZONE_SIZE, ZONE_SIZE, &conv);
	uint32_t commands;
	struct zd_error err;
	struct stat st;
	int fd;

	config.slot_cache = (uint64_t)draw(3) * ZONE_SIZE;
	config.max_open = 3 + draw(5);
	config.unrestricted_read = 1;
	config.host_sync = draw(4) == 0 ? ZD_SYNC_COMMAND : ZD_SYNC_FLUSH;
	commands = 20 + draw(60);
	memset(&world.now, 0, sizeof(world.now));
	memset(world.gen_from, 0, sizeof(world.gen_from));
	memset(world.most_written, 0, sizeof(world.most_written));
	memset(world.last_gen, 0, sizeof(world.last_gen));
	memset(world.last_version, 0, sizeof(world.last_version));
	world.nr_bytes = 0;
	world.resetting = 0;
	world.unsure = false;
	world.aware = draw(3) == 0;
	killing = draw(2);
	config.model = world.aware ? ZD_HOST_AWARE : ZD_HOST_MANAGED;
	world.areas = with_areas;
	if (with_areas) {
		world.aware = true;
		config.model = ZD_HOST_MANAGED;
		config.dialect = ZD_ZNS;
		config.zrwa_size = AREA * BLOCK;
		config.zrwa_granularity = GRANULE * BLOCK;
		config.zrwa_count = 4;
	}
	memset(world.rolled_back, 0, sizeof(world.rolled_back));
	world.lying = world.flushed_holds = false;
	world.nr_events = world.nr_moments = 0;
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
	world.nr_events = 1; /* number 0 is the creation, so that 0 can mean "never" */
	world.events[0] = (struct event){ SYNC, 0, UINT64_MAX, NULL };
	recording = true;
	while (commands--)
		recorded = run_command(recorded, path, config.host_sync == ZD_SYNC_COMMAND);
	recording = false;
	free_shots();
	CLAIM(zd_close(recorded, &err) == 0);
	enumerate(crashed, states);
}

int main(int argc, char **argv)
{
	char path[64], crashed[64];
	uint32_t workloads, states, i;

	if (argc < 4) {
		fprintf(stderr, "usage: hostcrash WORKLOADS SEED STATES_PER_WORKLOAD [no-data-sync | no-entry-sync | areas]\n");
		return 2;
	}
	workloads = (uint32_t)atoi(argv[1]);
	share();
	world.random_state = strtoull(argv[2], NULL, 0) * 2 + 1;
	states = (uint32_t)atoi(argv[3]);
	lie_data_sync = argc > 4 && strcmp(argv[4], "no-data-sync") == 0;
	lie_entry_sync = argc > 4 && strcmp(argv[4], "no-entry-sync") == 0;
	with_areas = argc > 4 && strcmp(argv[4], "areas") == 0;
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
