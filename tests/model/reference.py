"""A plain model of a zoned disk: what every answer of the emulator is compared with.

It is written from the sources of the three rule books, not from the emulator, and imports nothing of it:

- ``zbc``: ZBC-2 (INCITS 550) as Linux 6.12 drivers/scsi/scsi_debug.c and libzbc's tests read it;
- ``zns``: NVM Express Zoned Namespace Command Set 1.1 as QEMU hw/nvme/ctrl.c reads it;
- ``nullblk``: Linux 6.12 drivers/block/null_blk/zoned.c.

A command returns what the disk would return, or raises `RefusedError` with the name of the broken rule, the
zone and the zone's write pointer. Everything is in bytes, nothing is fast, and no state is derived
twice: open and active zones are counted by looking at all zones each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

CONVENTIONAL, SWR, SWP = 1, 2, 3
NOT_WP, EMPTY, IMPLICIT, EXPLICIT, CLOSED = 0, 1, 2, 3, 4
READ_ONLY, FULL, OFFLINE = 0xD, 0xE, 0xF
OPEN = (IMPLICIT, EXPLICIT)
ACTIVE = (IMPLICIT, EXPLICIT, CLOSED)
DEAD = (READ_ONLY, OFFLINE)


class RefusedError(Exception):
    """The disk refuses a command; nothing of it was done (a range stops at the zone named here)."""

    def __init__(self, rule: str, zone: int | None, wp: int | None = None) -> None:
        super().__init__(f"{rule} in zone {zone}, wp {wp}")
        self.rule, self.zone, self.wp = rule, zone, wp


@dataclass(frozen=True)
class Config:
    """The disk's geometry and rule book; the names are those of ``zoned.create``."""

    size: int
    zone_size: int
    zone_capacity: int
    conventional: tuple[int, ...] = ()
    logical_block: int = 4096
    physical_block: int = 4096
    max_open: int = 0
    max_active: int = 0
    dialect: str = "zbc"
    model: str = "host-managed"
    implicit_close: str = "oldest"
    unrestricted_read: bool = True
    data: str = "store"
    append_limit: int = 0
    zone_extension: int = 0
    zrwa_size: int = 0
    zrwa_granularity: int = 0
    zrwa_count: int = 0


@dataclass
class Zone:
    """One zone; ``pointer`` is kept even where a report calls the write pointer invalid."""

    index: int
    start: int
    length: int
    capacity: int
    type: int
    condition: int
    pointer: int
    durable: int
    data: bytearray
    opened: int = 0
    non_seq: bool = False
    reset_recommended: bool = False
    finished: bool = False
    extension: bytes | None = None
    area: bool = False
    """Whether it has a random write area, from the pointer on."""
    filled: int = 0
    """Behind the last byte that was written in an area."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def limit(self) -> int:
        """Where the zone stops being writable."""
        return self.start + self.capacity

    @property
    def top(self) -> int:
        """Behind the last byte that was written."""
        return max(self.pointer, self.filled)

    @property
    def wp(self) -> int | None:
        return self.pointer if self.condition in (EMPTY, *ACTIVE) else None


class Disk:
    """The model. Public methods are the commands of a zoned disk."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.zones: list[Zone] = []
        self.cursor = 0  # round-robin: the zone behind the last victim
        self.clock = 0  # orders implicit opens
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.max_open_seen = self.max_active_seen = 0
        sequential = SWP if config.model == "host-aware" else SWR
        for index, start in enumerate(range(0, config.size, config.zone_size)):
            length = min(config.zone_size, config.size - start)
            conventional = index in config.conventional
            self.zones.append(
                Zone(
                    index=index,
                    start=start,
                    length=length,
                    capacity=length if conventional else min(length, config.zone_capacity),
                    type=CONVENTIONAL if conventional else sequential,
                    condition=NOT_WP if conventional else EMPTY,
                    pointer=start,
                    durable=start,
                    data=bytearray(length),
                    filled=start,
                )
            )

    # ---------------------------------------------------------------- looking

    def count(self, *conditions: int) -> int:
        """How many zones are in one of these conditions; the limits hold for SWR zones alone."""
        return sum(z.type == SWR and z.condition in conditions for z in self.zones)

    def zone_at(self, offset: int) -> Zone:
        return self.zones[offset // self.config.zone_size]

    def touched(self, offset: int, length: int) -> list[Zone]:
        return [z for z in self.zones if z.start < offset + length and offset < z.end]

    def _note_high_water(self) -> None:
        """Marks count every open or active zone, limited or not."""
        self.max_open_seen = max(self.max_open_seen, sum(z.condition in OPEN for z in self.zones))
        self.max_active_seen = max(
            self.max_active_seen, sum(z.condition in ACTIVE for z in self.zones)
        )

    def _refuse(self, rule: str, zone: Zone | None) -> RefusedError:
        return RefusedError(rule, zone.index if zone else None, zone.wp if zone else None)

    def run(self, command: Callable[[], object]) -> object:
        """Run one command and count a refusal, as the emulator's error counters do."""
        try:
            return command()
        except RefusedError as refused:
            self.errors[refused.rule] += 1
            raise

    # ---------------------------------------------------------------- resources

    def _evict(self) -> None:
        """Close one implicitly open zone; which one is the disk's policy."""
        candidates = [z for z in self.zones if z.type == SWR and z.condition == IMPLICIT]
        policy = self.config.implicit_close
        if policy == "oldest":
            victim = min(candidates, key=lambda z: z.opened)
        elif policy == "lowest":
            victim = candidates[0]
        else:
            victim = min(candidates, key=lambda z: (z.index < self.cursor, z.index))
            self.cursor = (victim.index + 1) % len(self.zones)
        self._close(victim)
        victim.counts["implicit_closes"] += 1

    def _close(self, zone: Zone) -> None:
        nothing_written = zone.pointer == zone.start
        keeps_active = self.config.dialect == "zns"
        zone.condition = EMPTY if nothing_written and not keeps_active else CLOSED

    def _take_resources(self, zone: Zone) -> None:
        """Make room for one more open zone (and, from EMPTY, one more active zone), or refuse."""
        if zone.type != SWR or zone.condition not in (EMPTY, CLOSED):
            return
        config = self.config
        active_left = not config.max_active or self.count(*ACTIVE) < config.max_active
        if zone.condition == EMPTY and not active_left:
            raise self._refuse("too-many-active", zone)
        if not config.max_open or self.count(*OPEN) < config.max_open:
            return
        # null_check_open() wants an active resource to be free before it closes another zone, though
        # a CLOSED zone already holds one: so a write to it fails with both limits reached.
        may_evict = active_left or config.dialect != "nullblk"
        if not self.count(IMPLICIT) or not may_evict:
            raise self._refuse("too-many-open", zone)
        self._evict()

    def _open(self, zone: Zone, condition: int) -> None:
        zone.condition = condition
        self.clock += 1
        zone.opened = self.clock
        if condition == IMPLICIT:
            zone.counts["implicit_opens"] += 1
        self._note_high_water()

    def _fill_up(self, zone: Zone) -> None:
        zone.condition = FULL
        zone.pointer = zone.limit
        zone.reset_recommended = zone.reset_recommended or zone.non_seq

    # ---------------------------------------------------------------- data

    def _check_range(self, offset: int, length: int) -> None:
        zone = self.zone_at(offset) if offset < self.config.size else None
        if offset % self.config.logical_block or length % self.config.logical_block:
            raise self._refuse("block-alignment", zone)
        if offset + length > self.config.size:
            raise self._refuse("out-of-range", zone)

    def read(self, length: int, offset: int) -> bytes:
        self._check_range(offset, length)
        if not length:
            return b""
        config, zones = self.config, self.touched(offset, length)
        self._check_read(zones, offset, length)
        out = bytearray()
        for zone in zones:
            low, high = max(offset, zone.start), min(offset + length, zone.end)
            out += self._content(zone, low, high)
            zone.counts["bytes_read"] += high - low
        zones[0].counts["reads"] += 1
        assert len(out) == length, config
        return bytes(out)

    def _check_read(self, zones: list[Zone], offset: int, length: int) -> None:
        config, first, last = self.config, zones[0], zones[-1]
        if config.dialect == "zbc":
            if offset >= first.limit:
                raise self._refuse("gap", first)
            # scsi_debug compares the zones of the first and the last block; a gap is a type of its own.
            if config.model == "host-managed" and first.type != last.type:
                raise self._refuse("read-type-boundary", first)
            if config.model == "host-managed" and offset + length > last.limit:
                raise self._refuse("read-type-boundary", last)
            if not config.unrestricted_read and len(zones) > 1 and SWR in {z.type for z in zones}:
                raise self._refuse("read-boundary", first)
        if first.condition == OFFLINE:
            raise self._refuse("zone-offline", first)
        if config.dialect == "zns" and not config.unrestricted_read and len(zones) > 1:
            raise self._refuse("read-boundary", first)
        for zone in zones:
            if zone.condition == OFFLINE:
                raise self._refuse("zone-offline", zone)
        if config.dialect == "zbc" and not config.unrestricted_read:
            for zone in zones:
                if zone.type == SWR and zone.wp is not None and offset + length > zone.wp:
                    raise self._refuse("invalid-read", zone)

    def _content(self, zone: Zone, low: int, high: int) -> bytes:
        """Zeros beyond the write pointer; null_blk shows a pattern, but counts a finished zone as written."""
        edge = zone.end if zone.type == CONVENTIONAL else zone.top
        edge = min(max(edge, low), high)
        written = bytes(zone.data[low - zone.start : edge - zone.start])
        pattern = self.config.dialect == "nullblk" and not zone.finished
        pattern = pattern and zone.condition not in DEAD
        return written + (b"\xff" if pattern else b"\0") * (high - edge)

    def write(self, data: bytes, offset: int) -> int:
        self._check_range(offset, len(data))
        if not data:
            return 0
        zone = self.zone_at(offset)
        if zone.type == CONVENTIONAL:
            self._write_conventional(data, offset)
        elif zone.type == SWP:
            self._write_preferred(data, offset)
        elif zone.area:
            self._write_area(zone, data, offset)
        else:
            self._check_sequential(zone, offset, len(data))
            self._take_resources(zone)
            self._advance(zone, data, offset)
        zone.counts["writes"] += 1
        return len(data)

    def append(self, index: int, data: bytes) -> int:
        if not 0 <= index < len(self.zones):
            raise RefusedError("out-of-range", index)
        zone, config = self.zones[index], self.config
        if len(data) % config.logical_block:
            raise self._refuse("block-alignment", zone)
        if zone.type == CONVENTIONAL:
            raise self._refuse("conventional-zone", zone)
        if len(data) > (config.append_limit or config.zone_capacity):
            raise self._refuse("append-limit", zone)
        if zone.area:
            raise self._refuse("invalid-zone-operation", zone)
        offset = zone.pointer
        self._check_sequential(zone, offset, len(data), is_append=True)
        if not data:
            return offset
        self._take_resources(zone)
        self._advance(zone, data, offset)
        zone.counts["appends"] += 1
        return offset

    def _check_dead(self, zone: Zone) -> None:
        if zone.condition == READ_ONLY:
            raise self._refuse("zone-read-only", zone)
        if zone.condition == OFFLINE:
            raise self._refuse("zone-offline", zone)

    def _check_sequential(
        self, zone: Zone, offset: int, length: int, is_append: bool = False
    ) -> None:
        """The order of the checks decides which rule is named when several are broken."""
        config, end = self.config, offset + length

        def boundary() -> None:
            if end > zone.limit:
                raise self._refuse("write-boundary", zone)

        def state() -> None:
            self._check_dead(zone)
            if zone.condition == FULL:
                raise self._refuse("zone-full", zone)

        def position() -> None:
            if offset != zone.pointer:
                raise self._refuse("unaligned-write", zone)

        if config.dialect == "zbc" and not is_append:  # scsi_debug check_zbc_access_params()
            if offset >= zone.limit:
                raise self._refuse("gap", zone)
            checks = (boundary, state, position)
        else:  # QEMU nvme_check_zone_write(), null_zone_write()
            checks = (state, position, boundary)
        for check in checks:
            check()
        # ZBC-2 4.5.3.4.3: a write ends on a physical block; host-aware zones take any
        if config.dialect == "zbc" and zone.type == SWR and end % config.physical_block:
            raise self._refuse("unaligned-write", zone)

    def _advance(self, zone: Zone, data: bytes, offset: int) -> None:
        if zone.condition in (EMPTY, CLOSED):
            self._open(zone, IMPLICIT)
        self._store(zone, data, offset)
        zone.pointer = offset + len(data)
        if zone.pointer == zone.limit:
            self._fill_up(zone)

    def _write_area(self, zone: Zone, data: bytes, offset: int) -> None:
        """QEMU's nvme_check_zone_write() and nvme_finalize_zoned_write(); an area's zone is open or closed."""
        size, granule, end = self.config.zrwa_size, self.config.zrwa_granularity, offset + len(data)
        if offset < zone.pointer or end > zone.pointer + 2 * size:
            raise self._refuse("outside-zrwa", zone)
        if end > zone.limit:
            raise self._refuse("write-boundary", zone)
        self._take_resources(zone)
        if zone.condition == CLOSED:
            self._open(zone, IMPLICIT)
        self._store(zone, data, offset)
        zone.filled = max(zone.filled, end)
        while end > zone.pointer + size:
            zone.pointer += granule
        zone.durable = max(zone.durable, zone.pointer)

    def _of_areas(self, index: int) -> Zone:
        """The zone, if its disk and its type can have random write areas."""
        zone = self.zones[index]
        if self.config.dialect != "zns":
            raise self._refuse("unsupported-command", zone)
        if zone.type == CONVENTIONAL:
            raise self._refuse("conventional-zone", zone)
        if not self.config.zrwa_size:
            raise self._refuse("invalid-zone-operation", zone)
        return zone

    def open_zrwa(self, index: int) -> None:
        """QEMU's nvme_open_zone() with ZRWAA, but that a zone which has an area takes no second one."""
        zone, config = self._of_areas(index), self.config
        if zone.wp is not None and (zone.wp - zone.start) % config.zrwa_granularity:
            raise self._refuse("zrwa-unavailable", zone)
        if zone.condition in (FULL, *DEAD):
            raise self._refuse("invalid-transition", zone)
        none_left = sum(z.area for z in self.zones) >= config.zrwa_count and not zone.area
        if zone.condition in (EMPTY, CLOSED):
            # What no open or active resource allows is told first, and takes none away.
            full = config.max_active and self.count(*ACTIVE) >= config.max_active
            busy = config.max_open and self.count(*OPEN) >= config.max_open
            told_first = (zone.condition == EMPTY and full) or (busy and not self.count(IMPLICIT))
            if none_left and not told_first:
                raise self._refuse("zrwa-unavailable", zone)
            self._take_resources(zone)
        elif none_left:
            raise self._refuse("zrwa-unavailable", zone)
        if zone.condition != EXPLICIT:
            self._open(zone, EXPLICIT)
        if not zone.area:
            zone.area, zone.filled = True, zone.pointer
        zone.durable = zone.top
        zone.counts["opens"] += 1

    def commit(self, index: int, end: int) -> None:
        """QEMU's nvme_zone_mgmt_send_zrwa_flush(); ``end`` is behind the last byte, not that itself."""
        zone, config = self._of_areas(index), self.config
        if not zone.area:
            raise self._refuse("invalid-commit", zone)
        if not zone.pointer < end <= min(zone.pointer + config.zrwa_size, zone.limit):
            raise self._refuse("write-boundary", zone)
        if (end - zone.start) % config.zrwa_granularity:
            raise self._refuse("invalid-commit", zone)
        self._take_resources(zone)
        if zone.condition == CLOSED:
            self._open(zone, IMPLICIT)
        zone.pointer = end
        zone.durable = max(zone.durable, end)
        if end == zone.limit:
            zone.condition, zone.area = FULL, False

    def _store(self, zone: Zone, data: bytes, offset: int) -> None:
        zone.counts["bytes_written"] += len(data)
        if self.config.data == "store":
            low = offset - zone.start
            zone.data[low : low + len(data)] = data

    def _pieces(self, data: bytes, offset: int) -> Iterable[tuple[Zone, bytes, int]]:
        for zone in self.touched(offset, len(data)):
            low, high = max(offset, zone.start), min(offset + len(data), zone.end)
            yield zone, data[low - offset : high - offset], low

    def _write_conventional(self, data: bytes, offset: int) -> None:
        for zone in self.touched(offset, len(data)):
            if zone.type != CONVENTIONAL:
                raise self._refuse("write-boundary", self.zones[zone.index - 1])
            self._check_dead(zone)
        for zone, piece, low in self._pieces(data, offset):
            self._store(zone, piece, low)

    def _write_preferred(self, data: bytes, offset: int) -> None:
        """SWP zones take a write anywhere; it may run on into the next SWP zone (zbc_inc_wp())."""
        end = offset + len(data)
        for zone in self.touched(offset, len(data)):
            if zone.type != SWP:
                raise self._refuse("write-boundary", self.zones[zone.index - 1])
            if offset >= zone.limit:
                raise self._refuse("gap", zone)
            if min(end, zone.end) > zone.limit:
                raise self._refuse("write-boundary", zone)
            self._check_dead(zone)
        for zone, piece, low in self._pieces(data, offset):
            if zone.condition == FULL or low != zone.pointer:
                zone.non_seq = True
            if zone.condition in (EMPTY, CLOSED):
                self._open(zone, IMPLICIT)
            self._store(zone, piece, low)
            zone.pointer = max(zone.pointer, low + len(piece))
            if zone.pointer == zone.limit:
                self._fill_up(zone)

    def flush(self) -> None:
        for zone in self.zones:
            zone.durable = zone.top
        self.counts["flushes"] += 1

    # ---------------------------------------------------------------- zone commands

    def zone_command(self, command: str, first: int, count: int = 1) -> None:
        """``open``, ``close``, ``finish`` or ``reset`` on a range, zone by zone to the first refusal."""
        if count < 1 or not 0 <= first <= first + count <= len(self.zones):
            raise RefusedError("out-of-range", first)
        for zone in self.zones[first : first + count]:
            self._check_addressed(zone)
            getattr(self, f"_{command}_zone")(zone)

    def _check_addressed(self, zone: Zone) -> None:
        if self.config.dialect == "nullblk":  # null_zone_mgmt() looks at the condition first
            self._check_dead(zone)
        if zone.type == CONVENTIONAL:
            raise self._refuse("conventional-zone", zone)
        if zone.condition in DEAD and self.config.dialect == "zns":
            raise self._refuse("invalid-transition", zone)
        self._check_dead(zone)

    def _open_zone(self, zone: Zone) -> None:
        if zone.condition == FULL:
            if self.config.dialect != "zbc":
                raise self._refuse("invalid-transition", zone)
        elif zone.condition != EXPLICIT:
            self._take_resources(zone)
            self._open(zone, EXPLICIT)
        zone.counts["opens"] += 1

    def _close_zone(self, zone: Zone) -> None:
        if zone.condition in OPEN:
            self._close(zone)
        elif zone.condition in (EMPTY, FULL) and self.config.dialect != "zbc":
            raise self._refuse("invalid-transition", zone)
        zone.counts["closes"] += 1

    def _finish_zone(self, zone: Zone) -> None:
        if zone.condition != FULL:
            if self.config.dialect == "nullblk":
                self._take_resources(zone)
            zone.counts["finish_wasted"] += zone.limit - zone.top
            self._fill_up(zone)
            zone.area = False
            zone.finished = True
        zone.durable = zone.pointer
        zone.counts["finishes"] += 1

    def _reset_zone(self, zone: Zone) -> None:
        zone.condition = EMPTY
        zone.pointer = zone.durable = zone.filled = zone.start
        zone.non_seq = zone.reset_recommended = zone.finished = zone.area = False
        zone.extension = None
        zone.data[:] = bytes(zone.length)
        zone.counts["resets"] += 1

    def set_extension(self, index: int, data: bytes) -> None:
        """QEMU's nvme_set_zd_ext(): an empty zone becomes closed, and so active."""
        zone, config = self.zones[index], self.config
        if config.dialect != "zns" or not config.zone_extension:
            raise self._refuse("unsupported-command", zone)
        if zone.type == CONVENTIONAL:
            raise self._refuse("conventional-zone", zone)
        if zone.condition != EMPTY:
            raise self._refuse("invalid-transition", zone)
        if config.max_active and self.count(*ACTIVE) >= config.max_active:
            raise self._refuse("too-many-active", zone)
        zone.condition, zone.extension = CLOSED, data
        self._note_high_water()

    def all_command(self, command: str) -> None:
        """The ALL forms pass over zones in other conditions, dead ones and conventional ones."""
        if self.config.dialect == "nullblk" and command != "reset":
            raise RefusedError("unsupported-command", None)
        met = {
            "open": (CLOSED,),
            "close": OPEN,
            "finish": ACTIVE,
            "reset": (*ACTIVE, FULL),
        }[command]
        zones = [z for z in self.zones if z.condition in met]
        limit = self.config.max_open
        all_or_none = command == "open" and self.config.dialect == "zbc" and limit
        if all_or_none and self.count(EXPLICIT, CLOSED) > limit:
            raise RefusedError("too-many-open", None)
        for zone in zones:
            getattr(self, f"_{command}_zone")(zone)

    def set_condition(self, index: int, condition: int) -> None:
        """What a dying head does to a zone, or (EMPTY) its repair, without the data."""
        if not 0 <= index < len(self.zones):
            raise RefusedError("out-of-range", index)
        zone = self.zones[index]
        before, zone.condition = zone.condition, condition
        zone.pointer, zone.area = zone.top, False
        if condition != EMPTY:
            return
        if zone.type == CONVENTIONAL:
            zone.condition = NOT_WP
        if zone.type != CONVENTIONAL or before == OFFLINE:
            zone.data[:] = bytes(zone.length)
        zone.pointer = zone.durable = zone.filled = zone.start
        zone.non_seq = zone.reset_recommended = zone.finished = False
        zone.extension = None

    def power_cycle(self) -> None:
        """An orderly one: everything is flushed, then open zones are closed."""
        self.flush()
        for zone in self.zones:
            if zone.condition in ACTIVE:
                holds = zone.top != zone.start or zone.extension is not None
                zone.condition = CLOSED if holds else EMPTY
                zone.area = zone.area and bool(holds)
