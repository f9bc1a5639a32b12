"""Scenarios written by hand: each command in each condition, each limit, each boundary, on each kind of disk.

``scenarios()`` gives them all; the tests have one case for each by its name. Zones are small (1 or 2 MiB),
and ``b`` counts in blocks of the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kernel.scenario import MIB, Disk, Scenario, Step

NULL_BLK = Disk("null_blk")
SCSI_DEBUG = Disk("scsi_debug")


def _gaps(disk: Disk, size: int) -> Disk:
    """Capacity 1 MiB in zones of 2 MiB."""
    return replace(disk, size=size * MIB, zone_size=2 * MIB, zone_capacity=MIB)


class Script:
    """Collects steps; zones by number, places within them in blocks."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.steps: list[Step] = []

    def _at(self, zone: int, block: int) -> int:
        return self.disk.start(zone) + block * self.disk.block

    def blocks(self, zone: int) -> int:
        """Of a zone's capacity."""
        return self.disk.capacity(zone) // self.disk.block

    def write(self, zone: int, block: int, count: int = 1) -> None:
        self.steps.append(Step.write(self._at(zone, block), count * self.disk.block))

    def read(self, zone: int, block: int, count: int = 1) -> None:
        self.steps.append(Step.read(self._at(zone, block), count * self.disk.block))

    def open(self, *zones: int) -> None:
        self._each("open", zones)

    def close(self, *zones: int) -> None:
        self._each("close", zones)

    def finish(self, *zones: int) -> None:
        self._each("finish", zones)

    def reset(self, *zones: int) -> None:
        self._each("reset", zones)

    def _each(self, name: str, zones: tuple[int, ...]) -> None:
        self.steps += [Step.zone_command(name, zone) for zone in zones]

    def all(self, name: str) -> None:
        self.steps.append(Step.all_command(name))

    def condition(self, zone: int, to: str) -> None:
        self.steps.append(Step.condition(zone, to))

    def bring(self, zone: int, to: str) -> None:
        """An EMPTY zone into a condition, with three blocks written where that can be."""
        if to in ("em", "nw"):
            return
        if to == "em-closed":
            self.open(zone)
            self.close(zone)
        elif to == "oe-empty":
            self.open(zone)
        elif to == "fu-empty":
            self.finish(zone)
        elif to == "fu-written":
            self.write(zone, 0, self.blocks(zone))
        elif to == "ro-empty":
            self.condition(zone, "read-only")
        else:
            self.write(zone, 0, 3)
            if to == "oe":
                self.open(zone)
            elif to == "cl":
                self.close(zone)
            elif to == "fu":
                self.finish(zone)
            elif to in ("ro", "of"):
                self.condition(zone, {"ro": "read-only", "of": "offline"}[to])

    def restore(self, zone: int) -> None:
        """EMPTY again, whatever it was."""
        if self.disk.kind == "null_blk":
            self.condition(zone, "empty")
        self.reset(zone)

    def scenario(self, name: str) -> Scenario:
        return Scenario(name, self.disk, tuple(self.steps))


Case = Callable[[Script], None]
WRITTEN = ("em", "em-closed", "oi", "oe", "oe-empty", "cl", "fu", "fu-empty", "fu-written")
DEAD = ("ro", "ro-empty", "of")


def _conditions(disk: Disk) -> tuple[str, ...]:
    return WRITTEN + DEAD if disk.kind == "null_blk" else WRITTEN


# ---------------------------------------------------------------- every command in every condition


def commands(script: Script) -> None:
    """Zone commands, twice each: the second shows what the first left."""
    zone = script.disk.conventional + 1
    for state in _conditions(script.disk):
        for name in ("open", "close", "finish", "reset"):
            script.bring(zone, state)
            script._each(name, (zone, zone))
            script.read(zone, 0, 6)
            script.restore(zone)


def transfers(script: Script) -> None:
    """Writes at, before and behind the write pointer, to the end and over it; reads around it."""
    zone = script.disk.conventional + 1
    end = script.blocks(zone)
    for state in _conditions(script.disk):
        for at, count in ((0, 1), (2, 1), (3, 1), (3, 2), (4, 1), (end - 1, 1)):
            script.bring(zone, state)
            script.write(zone, at, count)
            script.read(zone, 0, 8)
            script.restore(zone)
        script.bring(zone, state)
        script.write(zone, 3, end - 3)
        script.write(zone, 0, end)
        script.read(zone, end - 4, 4)
        script.restore(zone)


def all_forms(script: Script) -> None:
    """The ALL forms over zones of every condition at once."""
    first = script.disk.conventional
    names = ("reset",) if script.disk.kind == "null_blk" else ("open", "close", "finish", "reset")
    for name in names:
        states = _conditions(script.disk)
        for offset, state in enumerate(states):
            script.bring(first + offset, state)
        script.all(name)
        script.all(name)
        for offset in range(len(states)):
            script.read(first + offset, 0, 4)
        for offset in range(len(states)):
            script.restore(first + offset)


def conventional(script: Script) -> None:
    """Anything anywhere, no zone command."""
    last = script.disk.conventional - 1
    script.write(0, 5, 3)
    script.write(0, 0, 2)
    script.write(0, 4, 3)
    script.read(0, 0, 10)
    script.write(last, script.blocks(last) - 1, 1)
    script.read(last, script.blocks(last) - 2, 2)
    for zone in range(script.disk.conventional):
        for name in ("open", "close", "finish", "reset"):
            script._each(name, (zone,))
    script.read(0, 0, 10)
    script.all("reset")
    script.read(0, 0, 10)
    if script.disk.conventional > 1:
        script.write(0, script.blocks(0) - 2, 4)
        script.read(0, script.blocks(0) - 4, 8)
    if script.disk.kind == "scsi_debug":
        script.write(last, script.blocks(last) - 1, 2)
        script.read(last, script.blocks(last) - 1, 2)
        script.write(last, script.blocks(last), 1)
        script.read(last, script.blocks(last) - 1, 2)


# ---------------------------------------------------------------- limits


def victims(script: Script) -> None:
    """Which implicitly open zone is closed for another: seen in the order of the closings."""
    top = script.disk.nr_zones - 1
    order = [zone for zone in (12, 10, 8, 9, 11, 14, 5, 13, 6, 15, 7) if zone <= top]
    for zone in order:
        script.write(zone, 0, 2)
    for zone in order:
        script.write(zone, 2, 1)
    for zone in reversed(order):
        script.write(zone, 3, 1)


def explicit_stay(script: Script) -> None:
    """Explicitly open zones are never closed for another; when all are, nothing opens."""
    first, limit = script.disk.conventional, script.disk.max_open
    script.open(*range(first, first + limit - 1))
    others = range(first + limit - 1, first + limit + 3)
    for zone in others:
        script.write(zone, 0, 2)
    for zone in others:
        script.open(zone)
    for zone in others:
        script.write(zone, 2, 1)
    script.write(first, 0, 1)
    script.close(first)
    for zone in others:
        script.open(zone)
    script.finish(first + 1)
    for zone in others:
        script.write(zone, 3, 1)
    script.reset(*others)
    for zone in others:
        script.write(zone, 0, 1)


def finish_at_limits(script: Script) -> None:
    """FINISH of EMPTY and CLOSED zones when all open resources are taken, implicitly and explicitly."""
    first, limit = script.disk.conventional, script.disk.max_open
    closed, empty = first, first + 1
    rest = range(first + 2, first + 2 + limit)
    script.write(closed, 0, 2)
    script.close(closed)
    for zone in rest:
        script.write(zone, 0, 2)
    script.finish(empty, closed)
    script.reset(empty, closed)
    script.write(closed, 0, 2)
    script.close(closed)
    script.open(*rest)
    script.finish(empty, closed)
    script.finish(rest[0])
    script.finish(empty, closed)


def full_frees(script: Script) -> None:
    """A zone that becomes full by a write gives its resources back, opened implicitly or explicitly."""
    first, limit = script.disk.conventional, script.disk.max_open
    zones = range(first, first + limit)
    script.open(*zones)
    script.write(first + limit, 0, 1)
    script.write(first, 0, script.blocks(first))
    script.write(first + limit, 0, 1)
    script.write(first + limit, 1, script.blocks(first) - 1)
    script.open(first + limit + 1)
    script.write(first + limit + 2, 0, 1)
    script.reset(first + 1)
    script.write(first + limit + 2, 0, 1)
    script.close(*zones)
    script.write(first + limit + 3, 0, 1)


def open_all_limits(script: Script) -> None:
    """OPEN ALL opens all closed zones or none."""
    first, limit = script.disk.conventional, script.disk.max_open
    for zone in range(first, first + limit + 1):
        script.write(zone, 0, 1)
    script.all("close")
    script.all("open")
    script.reset(first)
    script.all("open")
    script.all("close")
    script.reset(first + 1)
    script.write(first, 0, 1)
    script.all("open")
    script.open(first + limit + 1)
    script.all("finish")


def open_all_over_limit(script: Script) -> None:
    """OPEN ALL with an open zone behind a closed one, when one has to be closed for the other."""
    first = script.disk.conventional
    script.write(first + 4, 0, 1)
    script.write(first + 1, 0, 1)
    script.open(first)
    script.all("open")


def active_limits(script: Script) -> None:
    """null_blk: zones that are open or closed are active; being EMPTY or FULL takes nothing."""
    first, active = script.disk.conventional, script.disk.max_active
    zones = range(first, first + active)
    for zone in zones:
        script.write(zone, 0, 1)
        script.close(zone)
    more = first + active
    script.write(more, 0, 1)
    script.open(more)
    script.finish(more)
    for zone in zones:
        script.write(zone, 1, 1)
    for zone in zones:
        script.open(zone)
    script.write(more, 0, 1)
    script.finish(zones[0])
    script.write(more, 0, 1)
    script.write(more + 1, 0, 1)
    script.reset(zones[1])
    script.open(more + 1)
    script.close(more + 1)
    script.write(more + 2, 0, 1)
    script.condition(zones[2], "offline")
    script.write(more + 1, 0, 1)
    script.condition(zones[2], "empty")
    script.write(zones[2], 0, 1)
    script.all("reset")
    for zone in range(first, first + active + 2):
        script.write(zone, 0, 1)


def dying_frees(script: Script) -> None:
    """null_blk: a zone that goes READ_ONLY or OFFLINE gives its resources back."""
    first, limit = script.disk.conventional, script.disk.max_open
    zones = range(first, first + limit)
    script.open(*zones)
    script.write(first + limit, 0, 1)
    script.condition(first, "read-only")
    script.write(first + limit, 0, 1)
    script.open(first + limit)
    script.condition(first + 1, "offline")
    script.write(first + limit + 1, 0, 1)
    script.condition(first + 1, "empty")
    script.write(first + 1, 0, 1)
    # Setting an EMPTY zone, with an implicitly open one to close for the FINISH that this takes.
    script.condition(first + limit + 2, "read-only")
    script.condition(first, "offline")
    script.condition(first, "read-only")
    script.all("reset")
    script.condition(first, "empty")
    script.write(first, 0, 1)


# ---------------------------------------------------------------- boundaries


def capacity_below_size(script: Script) -> None:
    """To the capacity, over it, behind it."""
    zone, end = script.disk.conventional, script.blocks(script.disk.conventional)
    size = script.disk.zone_size // script.disk.block
    script.write(zone, 0, end + 1)
    script.write(zone, 0, end - 1)
    script.write(zone, end - 1, 2)
    script.write(zone, end, 1)
    script.read(zone, end - 2, 2)
    script.read(zone, end - 2, 4)
    script.read(zone, end, 2)
    script.read(zone, size - 2, 4)
    script.write(zone, end - 1, 1)
    script.write(zone, end, 1)
    script.read(zone, end - 2, 4)
    script.read(zone, end, 2)
    script.read(zone, size - 2, 4)
    script.finish(zone + 1)
    script.read(zone + 1, end - 2, 4)
    script.write(zone + 2, 0, 3)
    script.finish(zone + 2)
    script.read(zone + 2, 0, 5)
    script.read(zone + 2, end - 2, 4)
    script.open(zone + 3)
    script.write(zone + 3, 0, end)
    script.read(zone + 3, end - 2, 4)
    script.reset(zone, zone + 1)
    script.read(zone, end - 2, 4)


def smaller_last_zone(script: Script) -> None:
    last = script.disk.nr_zones - 1
    end = script.blocks(last)
    script.write(last, 0, 2)
    script.write(last, 2, end - 3)
    script.write(last, end - 1, 1)
    script.read(last, end - 4, 4)
    script.reset(last)
    script.finish(last)
    script.read(last, end - 4, 4)
    script.all("reset")
    script.open(last)
    script.write(last, 0, end)
    script.read(last - 1, script.blocks(last - 1) - 2, 4)
    script.read(last, 0, end)


def crossing(script: Script) -> None:
    """Writes and reads over the ends of sequential zones."""
    zone, end = script.disk.conventional, script.blocks(script.disk.conventional)
    script.write(zone, 0, end + 1)
    script.write(zone, 0, end - 1)
    script.write(zone, end - 1, 2)
    script.write(zone, end - 1, 1)
    script.write(zone + 1, 0, 2)
    script.read(zone, end - 2, 6)
    script.read(zone, 0, 2 * end)
    script.write(zone, end - 1, 2)
    script.write(zone + 2, 1, end)
    script.finish(zone + 1)
    script.write(zone + 1, end - 1, 2)
    script.read(zone, end - 2, 2 * end + 4)


def reading_crossing(script: Script) -> None:
    """null_blk: reads over several zones, conventional and sequential ones, some of them dead."""
    first, end = script.disk.conventional, script.blocks(script.disk.conventional)
    script.write(first - 1, end - 2, 2)
    script.write(first, 0, end)
    script.write(first + 1, 0, 2)
    script.read(first - 1, end - 4, 4 + 2 * end)
    script.condition(first + 2, "read-only")
    script.read(first + 1, 0, end + 4)
    script.condition(first + 2, "offline")
    script.read(first + 1, end - 2, 4)
    script.read(first + 1, end - 2, 2)
    script.read(first + 2, end - 2, 4)
    script.condition(first, "read-only")
    script.read(first, 0, end)


def beyond(script: Script) -> None:
    """scsi_debug: over the end of the disk and behind it."""
    last, end = script.disk.nr_zones - 1, script.blocks(script.disk.nr_zones - 1)
    script.write(last, 0, end)
    script.write(last, end - 1, 2)
    script.read(last, end - 1, 2)
    script.write(last, end, 1)
    script.read(last, end, 1)
    script.read(last + 5, 0, 1)
    for name in ("open", "close", "finish", "reset"):
        script._each(name, (last + 1, last + 1000))


def unaligned(script: Script) -> None:
    """null_blk: offsets and lengths that are no blocks."""
    start, block = script.disk.start(script.disk.conventional), script.disk.block
    half = block // 2
    for at, length in ((0, half), (half, block), (half, half), (0, block + half)):
        script.steps += [Step.write(start + at, length), Step.read(start + at, length)]
        script.steps += [Step.write(at, length), Step.read(at, length)]
    script.write(script.disk.conventional, 0, 1)
    script.read(script.disk.conventional, 0, 2)


def nothing(script: Script) -> None:
    """scsi_debug: transfers of no blocks."""
    zone = script.disk.conventional
    script.write(zone, 0, 2)
    script.write(zone, 2, 0)
    script.read(zone, 1, 0)
    script.write(0, 1, 0)
    script.read(0, 1, 0)
    script.steps.append(Step.flush())


# ---------------------------------------------------------------- host-aware


def aware(script: Script) -> None:
    """Sequential write preferred zones: written anywhere, no limit, non_seq; over a zone's end."""
    zone, end = script.disk.conventional + 1, script.blocks(script.disk.conventional + 1)
    script.write(zone, 0, 2)
    script.write(zone, 2, 2)
    script.write(zone, 1, 1)
    script.write(zone, 6, 2)
    script.read(zone, 0, 10)
    script.close(zone)
    script.write(zone, 8, 1)
    script.reset(zone)
    script.write(zone, 5, 1)
    script.open(zone)
    script.write(zone, end - 1, 1)
    script.write(zone, 3, 2)
    script.read(zone, 0, 8)
    script.open(zone)
    script.close(zone)
    script.finish(zone)
    script.reset(zone)
    script.finish(zone + 1)
    script.write(zone + 1, 0, 1)
    script.write(zone, 0, end - 1)
    script.write(zone, end - 1, 2)
    script.read(zone, end - 2, 4)
    script.write(script.disk.conventional - 1, end - 1, 2)
    script.write(zone + 3, 0, 1)
    script.open(zone + 4)
    for name in ("close", "open", "finish", "reset"):
        script.all(name)


def aware_over_zones(script: Script) -> None:
    """A write that goes on into EMPTY zones."""
    zone, end = script.disk.conventional, script.blocks(script.disk.conventional)
    script.write(zone, end - 1, end + 2)
    script.read(zone, end - 1, 4)


def aware_into_gap(script: Script) -> None:
    """A write over the capacity of a preferred zone."""
    zone = script.disk.conventional
    script.write(zone, 0, 2)
    script.write(zone, script.blocks(zone), 1)
    script.write(zone, script.blocks(zone) - 1, 3)


def aware_read_types(script: Script) -> None:
    """Reads from conventional into preferred zones."""
    last = script.disk.conventional - 1
    script.write(last, script.blocks(last) - 1, 1)
    script.write(last + 1, 0, 1)
    script.read(last, script.blocks(last) - 1, 3)


def gap_types(script: Script) -> None:
    """Reads that begin or end in a gap."""
    zone = script.disk.conventional
    end, size = script.blocks(zone), script.disk.zone_size // script.disk.block
    script.read(zone, end, 1)
    script.read(zone, end - 1, 2)
    script.read(zone, size - 1, 2)
    script.read(zone, end, size)
    script.write(zone, size - 1, 2)
    script.write(zone, end - 1, size)
    script.read(zone - 1, size - 1, 2)


# ---------------------------------------------------------------- on which disks


def scenarios() -> Iterator[Scenario]:
    small = replace(NULL_BLK, size=12 * MIB)
    for kind, base in (("null_blk", NULL_BLK), ("scsi_debug", SCSI_DEBUG)):
        shapes = {
            "plain": base,
            "512": replace(base, block=512),
            "gaps": _gaps(base, 32),
        }
        for shape, disk in shapes.items():
            for case in (commands, transfers, all_forms, conventional):
                yield _make(f"{kind}-{shape}-{case.__name__}", disk, case)
        yield _make(f"{kind}-one-conventional", replace(base, conventional=1), conventional)
        for limit in (1, 2, 3, 4):
            yield _make(f"{kind}-open{limit}-victims", replace(base, max_open=limit), victims)
            if limit > 1:
                limited = replace(base, max_open=limit)
                for case in (explicit_stay, finish_at_limits, full_frees):
                    yield _make(f"{kind}-open{limit}-{case.__name__}", limited, case)
        yield _make(
            f"{kind}-no-conventional-victims", replace(base, conventional=0, max_open=3), victims
        )
        yield _make(f"{kind}-capacity", _gaps(base, 16), capacity_below_size)
        yield _make(
            f"{kind}-last",
            replace(base, size=15 * MIB, zone_size=2 * MIB, zone_capacity=2 * MIB),
            smaller_last_zone,
        )
    for opened, active in ((0, 3), (2, 3), (3, 3), (2, 5), (4, 5)):
        disk = replace(NULL_BLK, max_open=opened, max_active=active)
        yield _make(f"null_blk-open{opened}-active{active}-active_limits", disk, active_limits)
        if opened:
            for case in (victims, explicit_stay, finish_at_limits, full_frees, dying_frees):
                yield _make(f"null_blk-open{opened}-active{active}-{case.__name__}", disk, case)
    yield _make("null_blk-reads", small, reading_crossing)
    yield _make("null_blk-unaligned-4096", small, unaligned)
    yield _make("null_blk-unaligned-512", replace(small, block=512), unaligned)
    for limit in (1, 2, 4):
        disk = replace(SCSI_DEBUG, max_open=limit)
        yield _make(f"scsi_debug-open{limit}-open_all", disk, open_all_limits)
    disk = replace(SCSI_DEBUG, max_open=2)
    yield _make("scsi_debug-open2-open_all_over_limit", disk, open_all_over_limit)
    yield _make("scsi_debug-crossing", SCSI_DEBUG, crossing)
    yield _make("scsi_debug-beyond", SCSI_DEBUG, beyond)
    yield _make("scsi_debug-last-gap", _gaps(SCSI_DEBUG, 15), smaller_last_zone)
    yield _make("scsi_debug-gap-types", _gaps(SCSI_DEBUG, 16), gap_types)
    yield _make("scsi_debug-nothing", SCSI_DEBUG, nothing)
    preferred = replace(SCSI_DEBUG, model="host-aware")
    gaps = replace(_gaps(SCSI_DEBUG, 32), model="host-aware")
    for case in (commands, transfers, gap_types):
        yield _make(f"scsi_debug-aware-gaps-{case.__name__}", gaps, case)
    yield _make("scsi_debug-aware-gaps-aware_into_gap", gaps, aware_into_gap)
    for case in (aware, aware_over_zones, aware_read_types, commands, all_forms, conventional):
        yield _make(f"scsi_debug-aware-{case.__name__}", preferred, case)


def _make(name: str, disk: Disk, case: Case) -> Scenario:
    script = Script(disk)
    case(script)
    return script.scenario(name)
