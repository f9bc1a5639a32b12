"""The emulator against the reference model: random disks, random commands, nothing may differ.

Compared after every command: what it returned or which rule it broke (with zone and write pointer), the
whole report with durable pointers, payload that was read, the open and active counts, all counters.
The disk lies in RAM, or in an image that several handles have open (one of them read-only) and that is
closed and opened again; some commands are given by a forked child.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

import zoned
from image.isolation import in_child
from model import reference as ref

# Commands compared by this process, all examples and shrinking included
COMPARED: Counter[str] = Counter()

ZONE_COUNTERS = (
    "reads",
    "writes",
    "appends",
    "bytes_read",
    "bytes_written",
    "finish_wasted",
    "opens",
    "closes",
    "finishes",
    "resets",
    "implicit_opens",
    "implicit_closes",
)


@st.composite
def configs(draw: st.DrawFn) -> ref.Config:
    """Small disks of every kind. What comes first in a list is what a failing example shrinks to."""
    dialect = draw(st.sampled_from(["zbc", "zns", "nullblk"]))
    physical = draw(st.sampled_from([4096, 512]))
    logical = draw(st.sampled_from([physical, 512]))
    # 17 blocks of 4 KiB are more than a slot of 64 KiB, so that zones of several slots' size come up too
    blocks = draw(st.sampled_from([4, 1, 2, 3, 7, 8, 17]))
    zones = draw(st.integers(1, 9))
    cut = draw(st.integers(0, blocks - 1)) if zones > 1 else 0
    capacity = blocks if draw(st.booleans()) else draw(st.integers(1, blocks))
    conventional: set[int] = set()
    if draw(st.booleans()):
        conventional = draw(st.sets(st.integers(0, zones - 1), max_size=3))
    max_active = draw(st.sampled_from([0, 0, 2, 3, 4]))
    max_open = draw(st.sampled_from([2, 0, 1, 3]))
    areas = {}
    if dialect == "zns" and draw(st.booleans()):
        used = blocks if capacity == blocks else capacity
        granules = [n for n in (1, 2, 3) if not (capacity % n or (zones * blocks - cut) % n)]
        granule = draw(st.sampled_from(granules))
        areas = {
            "zrwa_size": draw(st.integers(1, min(used // granule, 4))) * granule * physical,
            "zrwa_granularity": granule * physical,
            "zrwa_count": draw(st.integers(1, max_active or 3)),
        }
    return ref.Config(
        **areas,
        size=(zones * blocks - cut) * physical,
        zone_size=blocks * physical,
        zone_capacity=capacity * physical,
        conventional=tuple(sorted(conventional)),
        logical_block=logical,
        physical_block=physical,
        max_open=min(max_open, max_active) if max_open and max_active else max_open,
        max_active=max_active,
        dialect=dialect,
        model=draw(st.sampled_from(["host-managed", "host-managed", "host-aware"]))
        if dialect == "zbc"
        else "host-managed",
        implicit_close=draw(st.sampled_from(["oldest", "lowest", "round-robin"])),
        unrestricted_read=draw(st.sampled_from([True, False])),
        data=draw(st.sampled_from(["store", "store", "store", "store", "none"])),
        append_limit=draw(st.sampled_from([0, 0, physical, 2 * physical])),
    )


def keywords(config: ref.Config) -> dict[str, Any]:
    """The model's config as keywords of ``zoned.create``."""
    words: dict[str, Any] = asdict(config)
    words["conventional"] = [(zone, 1) for zone in config.conventional]
    if not words["append_limit"]:
        del words["append_limit"]
    return words


def outcome(call: Callable[[], object]) -> tuple[object, ...]:
    """What a command came to, in the same form from the emulator and from the model."""
    try:
        return ("done", call())
    except ref.RefusedError as refused:
        return ("refused", refused.rule, refused.zone, refused.wp)
    except zoned.ZonedError as error:
        return ("refused", error.rule, error.zone, error.wp)


def pattern(step: int, length: int) -> bytes:
    """Content that differs in every 512 bytes of every write."""
    return b"".join(
        step.to_bytes(4, "little") + sector.to_bytes(4, "little") + bytes([1 + step % 255]) * 504
        for sector in range(length // 512)
    )


SHOWN = attrgetter("index", "start", "length", "capacity", "type", "condition", "wp", "non_seq")
"""What a zone of either side has under the same name."""


def reported(zone: zoned.Zone) -> tuple[object, ...]:
    return (*SHOWN(zone), zone.reset_recommended, zone.durable_wp)


def expected(zone: ref.Zone) -> tuple[object, ...]:
    durable = None if zone.type == ref.CONVENTIONAL else zone.durable
    if durable is not None:
        durable = min(durable, zone.pointer)  # an area's blocks survive one by one
    return (*SHOWN(zone), zone.reset_recommended, durable)


class ZonedMachine(RuleBasedStateMachine):
    """One disk, its model, and two handles (of which a RAM disk has but one)."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.handles: list[zoned.Device] = []
        self.reader: zoned.Device | None = None
        self.forks = False
        self.path: Path | None = None
        self.step = 0

    @initialize(
        config=configs(),
        in_file=st.booleans(),
        host_sync=st.sampled_from(["flush", "command", "never"]),
        slot_cache=st.sampled_from([1 << 28, 0, 65536]),
        # forking is slow beside everything else: in some examples only
        forks=st.sampled_from([False] * 9 + [True]),
    )
    def create(
        self, config: ref.Config, in_file: bool, host_sync: str, slot_cache: int, forks: bool
    ) -> None:
        words = keywords(config) | {"host_sync": host_sync, "slot_cache": slot_cache}
        self.config, self.forks = config, forks
        self.disk = ref.Disk(config)
        if in_file:
            self.folder = tempfile.TemporaryDirectory(dir=_memory_folder())
            self.path = Path(self.folder.name) / "disk.img"
            self.handles = [zoned.create(self.path, **words), zoned.open(self.path)]
            self.reader = zoned.open(self.path, readonly=True)
        else:
            self.handles = [zoned.memory(**words)] * 2

    def teardown(self) -> None:
        for handle in [*self.handles, self.reader]:
            if handle is not None:
                handle.close()
        if self.folder:
            self.folder.cleanup()

    # ------------------------------------------------------------------ helpers

    def both(
        self, handle: int, emulator: Callable[[zoned.Device], object], model: Callable[[], object]
    ) -> tuple[object, ...]:
        """Run one command on both sides and compare what came of it."""
        COMPARED["steps"] += 1
        device = self.handles[handle]
        got = outcome(lambda: emulator(device))
        wanted = outcome(lambda: self.disk.run(model))
        assert got == wanted, f"the emulator: {got}, the model: {wanted}"
        return got

    def in_a_child(
        self, handle: int, emulator: Callable[[zoned.Device], object], model: Callable[[], object]
    ) -> None:
        """The same, but a forked child gives the command with its parent's handle."""

        COMPARED["steps"] += 1
        device = self.handles[handle]
        got = in_child(lambda: outcome(lambda: emulator(device)))
        wanted = outcome(lambda: self.disk.run(model))
        assert got == wanted, f"the emulator in a child: {got}, the model: {wanted}"

    def zone(self, pick: int) -> ref.Zone:
        return self.disk.zones[pick % len(self.disk.zones)]

    def payload(self, blocks: int, unit: int | None = None) -> bytes:
        self.step += 1
        return pattern(self.step, blocks * (unit or self.config.physical_block))

    # ------------------------------------------------------------------ data

    def writing(
        self, pick: int, blocks: int
    ) -> tuple[Callable[[zoned.Device], object], Callable[[], object]]:
        """A write at a zone's write pointer, on either side."""
        zone, data = self.zone(pick), self.payload(blocks)
        return (
            lambda dev: dev.pwrite(data, zone.pointer),
            lambda: self.disk.write(data, zone.pointer),
        )

    @rule(pick=st.integers(0, 8), blocks=st.integers(1, 5), handle=st.integers(0, 1))
    def write_at_the_write_pointer(self, pick: int, blocks: int, handle: int) -> None:
        self.both(handle, *self.writing(pick, blocks))

    @rule(pick=st.integers(0, 8), handle=st.integers(0, 1))
    def fill_up(self, pick: int, handle: int) -> None:
        zone = self.zone(pick)
        data = self.payload(max(zone.limit - zone.pointer, 512) // 512, 512)
        self.both(
            handle,
            lambda dev: dev.pwrite(data, zone.pointer),
            lambda: self.disk.write(data, zone.pointer),
        )

    @rule(
        pick=st.integers(0, 9),
        block=st.integers(0, 18),
        blocks=st.integers(0, 9),
        fine=st.booleans(),
        handle=st.integers(0, 1),
    )
    def write_anywhere(self, pick: int, block: int, blocks: int, fine: bool, handle: int) -> None:
        unit = self.config.logical_block if fine else self.config.physical_block
        offset, data = pick * self.config.zone_size + block * unit, self.payload(blocks, unit)
        self.both(
            handle, lambda dev: dev.pwrite(data, offset), lambda: self.disk.write(data, offset)
        )

    @rule(offset=st.integers(0, 70000), length=st.integers(1, 9000), handle=st.integers(0, 1))
    def break_block_alignment(self, offset: int, length: int, handle: int) -> None:
        data = bytes(length)
        self.both(
            handle, lambda dev: dev.pwrite(data, offset), lambda: self.disk.write(data, offset)
        )
        self.both(
            handle, lambda dev: dev.pread(length, offset), lambda: self.disk.read(length, offset)
        )

    @rule(
        pick=st.integers(0, 9),
        blocks=st.integers(0, 5),
        fine=st.booleans(),
        handle=st.integers(0, 1),
    )
    def append(self, pick: int, blocks: int, fine: bool, handle: int) -> None:
        data = self.payload(blocks, self.config.logical_block if fine else None)
        self.both(handle, lambda dev: dev.append(pick, data), lambda: self.disk.append(pick, data))

    @rule(
        pick=st.integers(0, 9),
        block=st.integers(0, 18),
        blocks=st.integers(0, 40),
        handle=st.integers(0, 1),
    )
    def read(self, pick: int, block: int, blocks: int, handle: int) -> None:
        offset = pick * self.config.zone_size + block * self.config.logical_block
        length = blocks * self.config.logical_block
        self.both(
            handle, lambda dev: dev.pread(length, offset), lambda: self.disk.read(length, offset)
        )

    @rule(handle=st.integers(0, 1))
    def read_every_zone(self, handle: int) -> None:
        for zone in self.disk.zones:
            self.both(
                handle,
                lambda dev, z=zone: dev.pread(z.capacity, z.start),
                lambda z=zone: self.disk.read(z.capacity, z.start),
            )

    @rule(handle=st.integers(0, 1))
    def flush(self, handle: int) -> None:
        self.both(handle, lambda dev: dev.flush(), self.disk.flush)

    # ------------------------------------------------------------------ zone commands

    @precondition(lambda self: self.config.dialect == "zns")
    @rule(pick=st.integers(0, 8), handle=st.integers(0, 1))
    def open_with_an_area(self, pick: int, handle: int) -> None:
        index = self.zone(pick).index
        self.both(handle, lambda dev: dev.open_zone_zrwa(index), lambda: self.disk.open_zrwa(index))

    @precondition(lambda self: any(zone.area for zone in self.disk.zones))
    @rule(
        pick=st.integers(0, 8),
        block=st.integers(-1, 9),
        blocks=st.integers(1, 5),
        handle=st.integers(0, 1),
    )
    def write_in_an_area(self, pick: int, block: int, blocks: int, handle: int) -> None:
        areas = [zone for zone in self.disk.zones if zone.area]
        zone, data = areas[pick % len(areas)], self.payload(blocks)
        offset = max(zone.pointer + block * self.config.physical_block, 0)
        self.both(
            handle, lambda dev: dev.pwrite(data, offset), lambda: self.disk.write(data, offset)
        )

    @precondition(lambda self: self.config.dialect == "zns")
    @rule(pick=st.integers(0, 8), blocks=st.integers(-1, 13), handle=st.integers(0, 1))
    def commit(self, pick: int, blocks: int, handle: int) -> None:
        areas = [zone for zone in self.disk.zones if zone.area]
        zone = areas[pick % len(areas)] if areas else self.zone(pick)
        end = max(zone.pointer + blocks * self.config.physical_block, 0)
        self.both(
            handle,
            lambda dev: dev.commit_zone(zone.index, end),
            lambda: self.disk.commit(zone.index, end),
        )

    @rule(
        command=st.sampled_from(["open", "close", "finish", "reset"]),
        pick=st.integers(0, 9),
        count=st.sampled_from([1, 1, 1, 2, 3, 20, 0]),
        handle=st.integers(0, 1),
    )
    def zone_command(self, command: str, pick: int, count: int, handle: int) -> None:
        self.both(
            handle,
            lambda dev: getattr(dev, f"{command}_zone")(pick, count),
            lambda: self.disk.zone_command(command, pick, count),
        )

    @rule(command=st.sampled_from(["open", "close", "finish", "reset"]), handle=st.integers(0, 1))
    def all_command(self, command: str, handle: int) -> None:
        self.both(
            handle,
            lambda dev: getattr(dev, f"{command}_all")(),
            lambda: self.disk.all_command(command),
        )

    @rule(
        pick=st.integers(0, 9),
        condition=st.sampled_from([ref.EMPTY, ref.EMPTY, ref.READ_ONLY, ref.OFFLINE]),
        handle=st.integers(0, 1),
    )
    def set_condition(self, pick: int, condition: int, handle: int) -> None:
        self.both(
            handle,
            lambda dev: dev.set_condition(pick, zoned.ZoneCondition(condition)),
            lambda: self.disk.set_condition(pick, condition),
        )

    @rule(handle=st.integers(0, 1))
    def power_cycle(self, handle: int) -> None:
        self.both(handle, lambda dev: dev.power_cycle(), self.disk.power_cycle)

    # ------------------------------------------------------------------ handles

    @precondition(lambda self: self.forks)
    @rule(pick=st.integers(0, 8), blocks=st.integers(1, 5), handle=st.integers(0, 1))
    def write_in_a_forked_child(self, pick: int, blocks: int, handle: int) -> None:
        self.in_a_child(handle, *self.writing(pick, blocks))

    @precondition(lambda self: self.forks)
    @rule(pick=st.integers(0, 8), handle=st.integers(0, 1))
    def reset_in_a_forked_child(self, pick: int, handle: int) -> None:
        self.in_a_child(
            handle,
            lambda dev: dev.reset_zone(pick),
            lambda: self.disk.zone_command("reset", pick),
        )

    @precondition(lambda self: self.reader is not None)
    @rule(again=st.booleans())
    def look_through_the_read_only_handle(self, again: bool) -> None:
        if again:
            self.reader.close()
            self.reader = zoned.open(self.path, readonly=True)
        assert [reported(zone) for zone in self.reader.report()] == [
            expected(zone) for zone in self.disk.zones
        ]
        for zone in self.disk.zones:
            got = outcome(lambda z=zone: self.reader.pread(z.capacity, z.start))
            wanted = outcome(lambda z=zone: ref.Disk.read(self.disk, z.capacity, z.start))
            zone.counts["reads"] -= wanted[0] == "done"
            zone.counts["bytes_read"] -= zone.capacity * (wanted[0] == "done")
            assert got == wanted

    @precondition(lambda self: self.path is not None)
    @rule(handle=st.integers(0, 1))
    def open_another_handle(self, handle: int) -> None:
        self.handles[handle].close()
        self.handles[handle] = zoned.open(self.path)

    @precondition(lambda self: self.path is not None)
    @rule()
    def close_the_disk_and_open_it(self) -> None:
        for handle in [*self.handles, self.reader]:
            handle.close()
        self.handles = [zoned.open(self.path), zoned.open(self.path)]
        self.reader = zoned.open(self.path, readonly=True)

    # ------------------------------------------------------------------ what must agree

    @invariant()
    def reports_agree(self) -> None:
        if not self.handles:
            return
        wanted = [expected(zone) for zone in self.disk.zones]
        for handle in self.handles:
            assert [reported(zone) for zone in handle.report()] == wanted
            for zone in self.disk.zones if self.config.zrwa_size else []:
                area = range(zone.pointer, zone.top) if zone.area else None
                assert handle.write_area(zone.index) == area

    @invariant()
    def counters_agree(self) -> None:
        if not self.handles:
            return
        total: Counter[str] = Counter()
        for zone in self.disk.zones:
            total.update(zone.counts)
        counters = self.handles[0].counters
        got = {name: getattr(counters, name) for name in ZONE_COUNTERS}
        assert got == {name: total[name] for name in ZONE_COUNTERS}
        assert counters.flushes == self.disk.counts["flushes"]
        rules = {name: count for name, count in counters.errors.items() if count}
        assert rules == dict(self.disk.errors)
        assert (counters.max_open_seen, counters.max_active_seen) == (
            self.disk.max_open_seen,
            self.disk.max_active_seen,
        )


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def test_emulator_and_model_agree(long_run: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run_machine(ZonedMachine)
    with capsys.disabled():
        print(f"\nmodel: {COMPARED['steps']} steps, 0 differences")
    assert COMPARED["steps"] >= (200_000 if long_run else 2_000)
