"""Zone descriptor extensions: what takes them away, what must not, and who else has a copy of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned
from archives import carried
from zoned import ZoneCondition
from zoned.crash.recorded import History
from zoned.faults import FaultError
from zoned.traces.own import Trace
from zoned.traces.replaying import replay

KIB = 1024
BLOCK = 4096
ZONE = 256 * KIB
SIZE = 192
FIRST, SECOND = bytes(range(SIZE)), bytes(reversed(range(SIZE)))
SHAPE = {
    "size": "2MiB",
    "zone_size": "256KiB",
    "dialect": "zns",
    "conventional": 1,
    "max_active": 4,
    "zone_extension": SIZE,
}


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    """A conventional zone and seven sequential ones; zone 2 has an extension and two blocks, unflushed."""
    with zoned.memory(**SHAPE) as device:
        device.set_zone_extension(2, FIRST)
        device.append(2, b"a" * 2 * BLOCK)
        yield device


def extensions(device: zoned.Device) -> dict[int, bytes]:
    found = {zone.index: device.zone_extension(zone.index) for zone in device.zones}
    return {zone: data for zone, data in found.items() if data is not None}


def condition(device: zoned.Device, zone: int) -> ZoneCondition:
    return device.zones[zone].condition


@pytest.mark.parametrize("full", [False, True])
def test_a_power_cut_takes_the_data_and_not_the_extension(dev: zoned.Device, full: bool) -> None:
    dev.set_zone_extension(3, SECOND)
    if full:
        dev.append(2, bytes(ZONE - 2 * BLOCK))
    dev.power_cut(keep="durable")
    dev.power_on()
    assert extensions(dev) == {2: FIRST, 3: SECOND}
    assert (condition(dev, 2), condition(dev, 3)) == (ZoneCondition.CLOSED, ZoneCondition.CLOSED)
    assert dev.zones[2].wp == 2 * ZONE
    assert dev.pread(2 * BLOCK, 2 * ZONE) == bytes(2 * BLOCK)
    dev.append(2, b"b" * BLOCK)
    assert (extensions(dev)[2], dev.pread(BLOCK, 2 * ZONE)) == (FIRST, b"b" * BLOCK)


def test_a_power_cycle_leaves_such_a_zone_closed(dev: zoned.Device) -> None:
    dev.set_zone_extension(3, SECOND)
    dev.open_zone(3)
    dev.open_zone(4)
    dev.power_cycle()
    assert (condition(dev, 3), condition(dev, 4)) == (ZoneCondition.CLOSED, ZoneCondition.EMPTY)
    assert extensions(dev) == {2: FIRST, 3: SECOND}


def test_forks_have_it_and_go_their_own_way(dev: zoned.Device) -> None:
    """At any depth; who resets a zone, or writes to it, changes none of the others."""
    with dev.snapshot() as snapshot:
        dev.reset_zone(2)
        dev.set_zone_extension(2, SECOND)
        with snapshot.fork() as fork:
            assert extensions(fork) == {2: FIRST}
            fork.append(2, b"f" * BLOCK)
            with fork.snapshot() as below, below.fork() as second:
                fork.reset_zone(2)
                assert extensions(fork) == {}
                fork.set_zone_extension(2, SECOND)
                assert (extensions(fork), extensions(second)) == ({2: SECOND}, {2: FIRST})
                second.append(2, b"s" * BLOCK)
                assert extensions(second) == {2: FIRST}
                with second.snapshot() as third, third.fork() as last:
                    assert extensions(last) == {2: FIRST}
                    assert last.pread(4 * BLOCK, 2 * ZONE) == second.pread(4 * BLOCK, 2 * ZONE)
                fork.rollback(below)
                assert extensions(fork) == {2: FIRST}
            fork.power_cut(keep="durable")
            fork.power_on()
            assert (extensions(fork), condition(fork, 2)) == ({2: FIRST}, ZoneCondition.CLOSED)
        assert extensions(dev) == {2: SECOND}
        dev.rollback(snapshot)
        assert extensions(dev) == {2: FIRST}
        assert dev.pread(2 * BLOCK, 2 * ZONE) == b"a" * 2 * BLOCK


def test_a_zone_that_moves_to_another_slot_takes_it_along(dev: zoned.Device) -> None:
    """What a snapshot pins is not overwritten: the zone is copied, behind a power cut."""
    with dev.snapshot() as snapshot:
        dev.power_cut(keep="durable")
        dev.power_on()
        dev.append(2, b"b" * BLOCK)
        assert extensions(dev) == {2: FIRST}
        with snapshot.fork() as fork:
            assert extensions(fork) == {2: FIRST}
            assert fork.pread(2 * BLOCK, 2 * ZONE) == b"a" * 2 * BLOCK
    assert extensions(dev) == {2: FIRST}


def test_every_survivor_has_it(dev: zoned.Device) -> None:
    seen = set()
    with dev.crash_states() as states:
        for left in states:
            assert extensions(left) == {2: FIRST}
            assert condition(left, 2) is ZoneCondition.CLOSED
            seen.add(left.zones[2].wp)
    assert len(seen) == 3


@pytest.mark.parametrize("kind", ["medium", "limit", "read-only", "power-cut"])
def test_rules_that_act_on_it(dev: zoned.Device, kind: str) -> None:
    dev.faults.add(kind, on="set-extension", zones=3)
    with pytest.raises(zoned.ZonedError):
        dev.set_zone_extension(3, SECOND)
    if kind == "power-cut":
        dev.power_on()
    assert dev.zone_extension(3) is None
    dev.faults.clear()
    if kind != "read-only":
        dev.set_zone_extension(3, SECOND)
        assert dev.zone_extension(3) == SECOND


@pytest.mark.parametrize("active", [False, True])
def test_the_limit_that_it_meets_is_that_of_active_zones(dev: zoned.Device, active: bool) -> None:
    dev.faults.add("limit", on="set-extension", active=active)
    with pytest.raises(zoned.TooManyActiveError):
        dev.set_zone_extension(3, SECOND)


def test_no_rule_waits_for_what_a_disk_does_not_have() -> None:
    with zoned.memory(size="1MiB", zone_size="256KiB") as device:
        with pytest.raises(FaultError, match="have no descriptor extension"):
            device.faults.add("medium", on="set-extension")
        with pytest.raises(zoned.UnsupportedCommandError, match="no such command"):
            device.set_zone_extension(3, FIRST)
    with zoned.memory(size="1MiB", zone_size="256KiB", dialect="zns") as device:
        with pytest.raises(zoned.UnsupportedCommandError, match="made with a zone_extension of 0"):
            device.set_zone_extension(3, FIRST)
        assert device.zone_extension(3) is None


def test_a_recording_repeats_it(dev: zoned.Device, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with dev.trace.record(path):
        dev.set_zone_extension(3, SECOND)
        dev.append(3, bytes(BLOCK))
        dev.reset_zone(2)
        with pytest.raises(zoned.InvalidTransitionError):
            dev.set_zone_extension(3, SECOND)
        dev.power_cycle()
    trace = Trace(path)
    assert trace.geometry.zone_extension == SIZE
    assert [row.zone for row in trace.before if row.extended] == [2]
    with zoned.memory(**SHAPE) as other:
        report = replay(trace, other)
        assert (report.same, report.differences, report.commands) == (True, [], 5)
        assert [*extensions(other)] == [3]


def test_a_history_has_its_bytes(dev: zoned.Device, tmp_path: Path) -> None:
    path = tmp_path / "history"
    with dev.trace.record(path, data=True):
        dev.set_zone_extension(3, SECOND)
        dev.append(3, b"c" * BLOCK)
        dev.reset_zone(2)
    with History(path) as history:
        built = []
        for point in range(len(history) + 1):
            with history.disk(point) as disk:
                built.append(extensions(disk))
    assert built == [{2: FIRST}, {2: FIRST, 3: SECOND}, {2: FIRST, 3: SECOND}, {3: SECOND}]


def test_dumps_carry_it(dev: zoned.Device, tmp_path: Path) -> None:
    dev.set_zone_extension(4, SECOND)
    dev.append(1, b"c" * BLOCK)
    dev.open_zone(4)
    dev.set_zone_extension(5, FIRST)
    dev.finish_zone(5)
    whole, without = carried(dev, tmp_path, zones=4)
    with zoned.open(whole) as disk:
        assert extensions(disk) == {2: FIRST, 4: SECOND, 5: FIRST}
        assert [z.condition for z in disk.zones] == [z.condition for z in dev.zones]
        assert disk.pread(2 * BLOCK, 2 * ZONE) == b"a" * 2 * BLOCK
    with zoned.open(without) as disk:
        assert extensions(disk) == {}
        assert [z.condition for z in disk.zones] == [z.condition for z in dev.zones]
