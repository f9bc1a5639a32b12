"""Random write areas in dumps, copies, recordings, histories, and the survivors of those."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import zoned
from archives import carried
from zoned import archive
from zoned.crash.recorded import History
from zoned.crash.survivors import states
from zoned.traces.own import Trace
from zoned.traces.replaying import replay

BLOCK = 4096
ZONE = 16 * BLOCK
SHAPE: dict[str, Any] = {
    "size": 10 * ZONE,
    "zone_size": ZONE,
    "dialect": "zns",
    "max_active": 8,
    "max_open": 8,
    "zrwa_size": 4 * BLOCK,
    "zrwa_granularity": 2 * BLOCK,
}


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    """Zones with areas in each condition that one can have, and one that had one."""
    with zoned.memory(**SHAPE) as device:
        device.append(1, b"a" * 2 * BLOCK)
        for zone in range(1, 8):
            device.open_zone_zrwa(zone)
        device.pwrite(b"b" * BLOCK, ZONE + 4 * BLOCK)  # explicit, with a gap
        device.pwrite(b"c" * 3 * BLOCK, 2 * ZONE)
        device.close_zone(2)
        device.close_zone(3)  # closed, with nothing in it
        device.close_zone(4)
        device.pwrite(b"d" * BLOCK, 4 * ZONE + 7 * BLOCK)  # implicit, beyond the area
        device.pwrite(b"e" * 2 * BLOCK, 5 * ZONE)
        device.close_zone(5)
        device.commit_zone(5, 5 * ZONE + 2 * BLOCK)  # implicit, and nothing is left to be committed
        device.pwrite(b"f" * 4 * BLOCK, 7 * ZONE)
        device.finish_zone(7)
        yield device


def seen(device: zoned.Device) -> list[object]:
    return [
        (zone.condition, zone.wp, device.write_area(zone.index), device.pread(ZONE, zone.start))
        for zone in device.zones
    ]


def test_dumps_and_copies_carry_them(dev: zoned.Device, tmp_path: Path) -> None:
    whole, without = carried(dev, tmp_path, zones=7)
    with zoned.open(whole) as disk, archive.copy(dev, None) as copy:
        assert seen(disk) == seen(copy) == seen(dev)
    with archive.clone_state(dev) as clone:
        assert [row[:3] for row in seen(clone)] == [row[:3] for row in seen(dev)]
    with zoned.open(without) as disk:
        assert [row[:3] for row in seen(disk)] == [row[:3] for row in seen(dev)]
    assert zoned.check(whole) == []


def test_a_dump_of_what_cannot_be_is_refused(
    dev: zoned.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (9, 255):
        packed = BytesIO()
        monkeypatch.setattr(
            archive, "area_number", lambda geometry, area, n=number: n if area else 0
        )
        archive.dump(dev, packed)
        monkeypatch.undo()
        packed.seek(0)
        with pytest.raises(OSError, match="random write area that cannot lie so"):
            archive.verify(packed)


def every_command(device: zoned.Device) -> None:
    device.open_zone_zrwa(8)
    device.pwrite(b"g" * 2 * BLOCK, 8 * ZONE + BLOCK)
    device.pwrite(b"h" * BLOCK, 8 * ZONE + BLOCK)
    device.pwrite(b"i" * 3 * BLOCK, 8 * ZONE + 4 * BLOCK)
    device.commit_zone(8, 8 * ZONE + 6 * BLOCK)
    for refused in (
        lambda: device.append(8, bytes(BLOCK)),
        lambda: device.commit_zone(8, 8 * ZONE + 7 * BLOCK),
        lambda: device.pwrite(bytes(BLOCK), 8 * ZONE),
        lambda: device.commit_zone(9, 9 * ZONE + 2 * BLOCK),
        lambda: device.open_zone_zrwa(7),
    ):
        with pytest.raises(zoned.ZonedError):
            refused()
    device.pwrite(b"j" * BLOCK, ZONE + 6 * BLOCK)
    device.close_zone(1)
    device.reset_zone(4)


def test_a_recording_repeats_them(dev: zoned.Device, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with dev.trace.record(path):
        every_command(dev)
    trace = Trace(path)
    assert trace.geometry == dev.geometry
    assert [(row.zone, row.area) for row in trace.before if row.area] == [
        *((1, 3), (2, 3), (3, 1), (4, 3), (5, 1), (6, 1)),
    ]
    told = [str(item) for item in trace]
    assert told[0] == "open-zrwa of zone 8: ok"
    assert told[4] == f"commit-zrwa of zone 8 to {8 * ZONE + 6 * BLOCK}: ok"
    assert told[5].startswith("append of 4096 bytes to zone 8: invalid-zone-operation")
    with zoned.memory(**SHAPE) as other:
        report = replay(trace, other)
        assert (report.same, report.differences) == (True, [])
        assert [row[:3] for row in seen(other)] == [row[:3] for row in seen(dev)]
    with zoned.memory(**(SHAPE | {"zrwa_size": 2 * BLOCK})) as other:
        with pytest.raises(
            zoned.TraceError, match="zone 2 has a random write area that cannot lie"
        ):
            replay(trace, other)


def test_a_history_builds_them_and_what_a_cut_leaves(tmp_path: Path) -> None:
    path = tmp_path / "history"
    with zoned.memory(**SHAPE) as dev:
        dev.open_zone_zrwa(1)
        dev.pwrite(b"a" * 2 * BLOCK, ZONE)
        with dev.trace.record(path, data=True):
            before = seen(dev)
            dev.pwrite(b"b" * BLOCK, ZONE)
            dev.commit_zone(1, ZONE + 2 * BLOCK)
            dev.pwrite(b"c" * BLOCK, ZONE + 3 * BLOCK)
            dev.pwrite(b"d" * BLOCK, ZONE + 3 * BLOCK)
            dev.open_zone_zrwa(2)
            dev.flush()
        after = seen(dev)
    with History(path) as history:
        assert len(history) == 6
        for point, wanted in ((0, before), (6, after)):
            with history.disk(point) as disk:
                assert seen(disk) == wanted
        found = {}
        for state in states(history, "exhaustive"):
            found.setdefault(state.point, set()).add(state.device.pread(5 * BLOCK, ZONE)[::BLOCK])
        assert found[1] == {b"ba\0\0\0"} and b"aa\0\0\0" in found[0]
        shown = set(itertools.chain(*found.values()))
        assert shown == {b"aa\0\0\0", b"ba\0\0\0", b"ba\0c\0", b"ba\0d\0"}


def test_crash_checks_cut_behind_each_of_them() -> None:
    from zoned.testing import check_crashes

    def work(disk: zoned.Device, _ack: object) -> None:
        disk.open_zone_zrwa(1)
        disk.pwrite(b"a" * 2 * BLOCK, ZONE)
        disk.commit_zone(1, ZONE + 2 * BLOCK)

    seen_wps = set()

    def look(disk: zoned.Device, *_: object) -> None:
        seen_wps.add((disk.zones[1].wp, disk.pread(BLOCK, ZONE)[:1]))

    check_crashes(work, look, strategy="exhaustive", **SHAPE)
    assert seen_wps == {(ZONE, b"\0"), (ZONE, b"a"), (ZONE + 2 * BLOCK, b"a")}
