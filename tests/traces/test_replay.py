"""Replay: the same commands on another disk give the same results, and what differs is told."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zoned
from traces.workload import BLOCK, SHAPE, ZONE, every_command, random_step, refused
from waiting import until
from zoned import Trace, TraceError, lint, replay


def shapes(dialect: str) -> dict[str, Any]:
    more: dict[str, Any] = {"dialect": dialect, "max_active": 5}
    if dialect != "zbc":
        more["physical_block"] = 512
    if dialect == "zns":
        more["conventional"] = 0
    return SHAPE | more


def record_random(path: Path, seed: int, shape: dict[str, Any], steps: int) -> int:
    """A recording that begins in the middle of a disk's life; how many commands failed."""
    draw = random.Random(seed)
    with zoned.memory(**shape) as dev:
        for _ in range(steps // 3):
            random_step(dev, draw)
        dev.flush()
        with dev.trace.record(path):
            for _ in range(steps):
                random_step(dev, draw)
    return sum(not item.ok for item in Trace(path))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    dialect=st.sampled_from(["zbc", "zns", "nullblk"]),
    reads=st.booleans(),
    model=st.sampled_from(["host-managed", "host-managed", "host-aware"]),
)
@example(seed=216130, dialect="zbc", reads=False, model="host-aware")  # a zone that lost all
@example(seed=743197428, dialect="zbc", reads=False, model="host-aware")  # one of five blocks
def test_a_random_workload_replays_without_a_difference(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dialect: str, reads: bool, model: str
) -> None:
    """And lint refuses exactly the commands that the recorded disk refused."""
    path = tmp_path_factory.mktemp("replay") / "x.trace"
    shape = shapes(dialect) | {"unrestricted_read": reads}
    if dialect == "zbc":
        shape["model"] = model
    failed = record_random(path, seed, shape, 100)
    with zoned.memory(**shape) as dev:
        report = replay(Trace(path), dev)
        assert report.same, [str(item) for item in report.differences]
        assert report.zones_compared
        assert report.failed == failed
    found = lint(path)
    assert found.commands == report.commands
    if not found.notes:
        assert found.refusals == failed
    else:
        assert model == "host-aware"
        assert all("which overwritten blocks survived" in note for note in found.notes)


def test_every_command_replays(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        told = every_command(dev)
    with zoned.create(tmp_path / "other.img", **SHAPE) as dev:
        again = tmp_path / "again.trace"
        with dev.trace.record(again):
            report = replay(Trace(path), dev)
        assert (report.commands, report.failed, report.same) == (len(told), 0, True)
    assert [str(item) for item in Trace(again)] == told


def test_the_state_before_is_brought_about(tmp_path: Path) -> None:
    """Zones in every condition, in the order in which they were opened, and the resources with them."""
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.append(4, bytes(BLOCK))
        dev.append(3, bytes(BLOCK))
        dev.open_zone(5)
        dev.append(6, bytes(BLOCK))  # closes 4
        dev.finish_zone(7)
        dev.append(8, bytes(768 << 10))
        dev.set_condition(9, "read-only")
        dev.set_condition(10, "offline")
        dev.append(2, bytes(BLOCK))
        dev.flush()
        with dev.trace.record(path):
            dev.append(11, bytes(BLOCK))  # closes the one opened longest ago
        report = list(dev.zones)
    with zoned.memory(**SHAPE) as other:
        assert replay(Trace(path), other).same
        assert [(zone.condition, zone.wp) for zone in other.zones] == [
            (zone.condition, zone.wp) for zone in report
        ]
        with pytest.raises(TraceError, match=r"not untouched either \(zone 2 is IMPLICIT_OPEN\)"):
            replay(Trace(path), other)
        as_it_is = replay(Trace(path), other, prepare=False)
        assert as_it_is.counts == {"offset": 1, "zone": 1}
        assert str(as_it_is.differences[0]) == (
            "command 0, append of 4096 bytes to zone 11, landed at 11534336: "
            "offset was 11534336, and is 11538432"
        )
    with zoned.memory(**(SHAPE | {"size": 4 * ZONE})) as small:
        with pytest.raises(TraceError, match="this disk has no such zone"):
            replay(Trace(path), small)
    with zoned.memory(**(SHAPE | {"max_open": 1})) as strict:
        with pytest.raises(TraceError, match="cannot be brought into the state"):
            replay(Trace(path), strict)


def test_differences_are_told(tmp_path: Path) -> None:
    """Another limit, another write pointer, another end: each with the command's number."""
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.open_zone(2, 3)
        dev.close_all()
        dev.append(5, bytes(BLOCK))
        refused(zoned.UnalignedWriteError, dev.pwrite, bytes(BLOCK), 5 * ZONE)
    with zoned.memory(**(SHAPE | {"max_open": 2})) as other:
        report = replay(Trace(path), other)
    assert [str(item) for item in report.differences] == [
        "command 2, open of zone 4: result was ok, and is too-many-open",
    ]
    assert report.notes == ["max_open of the recorded disk was 3, and of this one is 2"]
    with zoned.memory(**SHAPE) as other:
        other.append(5, bytes(BLOCK))
        report = replay(Trace(path), other, prepare=False, show=2)
    assert report.counts == {"offset": 1, "wp": 1, "zone": 1}
    assert len(report.differences) == 2
    assert str(report.differences[1]) == (
        "command 5, write of 4096 bytes at 5242880 in zone 5: wp was 5246976, and is 5251072"
    )
    with zoned.memory(**SHAPE) as other:
        assert replay(Trace(path), other, compare=False).same


def test_what_a_fault_made_fail_is_left_out_but_for_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        with dev.faults.add("torn", on="write", zones=4, blocks=8):
            refused(zoned.MediumError, dev.pwrite, bytes(4 * BLOCK), 4 * ZONE)
        dev.pwrite(bytes(BLOCK), 4 * ZONE + BLOCK)
        with dev.faults.add("read-only", on="write", zones=5, after=True):
            dev.pwrite(bytes(BLOCK), 5 * ZONE)
        refused(zoned.ZoneReadOnlyError, dev.pwrite, bytes(BLOCK), 5 * ZONE + BLOCK)
    with zoned.memory(**SHAPE) as other:
        report = replay(Trace(path), other)
        assert other.zones[4].wp == 4 * ZONE + 2 * BLOCK
    assert report.same, report.differences
    assert report.skipped == 1
    assert lint(path).skipped == 1


@pytest.mark.parametrize("on", ["write", "append", "reset", "finish", "open", "flush"])
def test_what_a_rule_does_behind_a_command_replays_behind_it(tmp_path: Path, on: str) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.append(5, bytes(2 * BLOCK))
        dev.flush()
        dev.append(5, bytes(BLOCK))
        for kind in ("power-cut", "read-only"):
            if (kind, on) == ("read-only", "flush"):
                continue  # it has no zone
            with dev.faults.add(kind, on=on, after=True):
                {
                    "write": lambda: dev.pwrite(bytes(BLOCK), dev.zones[5].wp or 0),
                    "append": lambda: dev.append(5, bytes(BLOCK)),
                    "reset": lambda: dev.reset_zone(5),
                    "finish": lambda: dev.finish_zone(5),
                    "open": lambda: dev.open_zone(5),
                    "flush": dev.flush,
                }[on]()
            dev.power_on()
    assert [item.ok for item in Trace(path)] == [True] * sum(1 for _ in Trace(path))
    with zoned.memory(**SHAPE) as other:
        report = replay(Trace(path), other)
    assert report.same and report.zones_compared, report.differences


def test_a_flush_beside_writes_of_others_is_said_where_it_may_matter(tmp_path: Path) -> None:
    """A latency rule holds the flush back, so that it began before the other thread's write."""
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        for keep in ("all", "durable"):
            with dev.faults.add("hang", on="flush") as fault:
                flusher = threading.Thread(target=dev.flush)
                flusher.start()
                until(lambda fault=fault: fault.waiting, "the flush hangs")
                dev.append(2, bytes(BLOCK))
                fault.release()
                flusher.join()
            dev.power_cut(keep)
            dev.power_on()
    with zoned.memory(**SHAPE) as other:
        report = replay(Trace(path), other)
    assert report.same
    (note,) = report.notes
    assert note.startswith("command 6: a flush before this power cut ran beside writes")


def test_a_rollback_is_said_not_to_repeat(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.snapshot() as snapshot, dev.trace.record(path):
        dev.append(2, bytes(BLOCK))
        dev.rollback(snapshot)
    with zoned.memory(**SHAPE) as other:
        report = replay(Trace(path), other)
    assert report.counts == {"zone": 1}
    assert "command 1: a rollback to a snapshot cannot be repeated" in report.notes[0]
    assert "a rollback to a snapshot cannot be repeated" in lint(path).notes[0]


def test_a_cut_with_a_choice_of_survivors_is_said_not_to_repeat(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.append(2, bytes(2 * BLOCK))
        with dev.crash_states() as states:
            ids = []
            for state in states:
                with state:
                    ids.append(state.crash_id)
        dev.power_cut(choice=ids[1])
        dev.power_on()
        dev.append(2, bytes(BLOCK))
    with zoned.memory(**SHAPE) as other:
        report = replay(Trace(path), other)
    assert report.counts == {"offset": 1, "zone": 1}
    assert report.notes == [
        (
            "command 1: a power cut with a choice of survivors cannot be repeated; only what was durable "
            "survived this one"
        )
    ]


def test_what_is_written_is_a_pattern(tmp_path: Path) -> None:
    """The same in every replay, another one for another place, number or seed."""
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.pwrite(b"secret" + bytes(BLOCK - 6), 2 * ZONE)
        dev.pwrite(bytes(BLOCK), 3 * ZONE)
        dev.pwrite(bytes(512), 512)
    assert b"secret" not in path.read_bytes()

    def content(seed: int) -> bytes:
        with zoned.memory(**SHAPE) as other:
            replay(Trace(path), other, seed=seed)
            return other.pread(BLOCK, 2 * ZONE) + other.pread(BLOCK, 3 * ZONE)

    assert content(0) == content(0) != content(1)
    assert content(0)[:BLOCK] != content(0)[BLOCK:]


def test_original_times(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.flush()
        time.sleep(0.3)
        dev.flush()
    records = list(Trace(path))
    with zoned.memory(**SHAPE) as other, other.trace.record(tmp_path / "y.trace"):
        begun = time.monotonic_ns()
        replay(Trace(path), other, speed=2)
    again = list(Trace(tmp_path / "y.trace"))
    wanted = (records[1].start_ns - records[0].start_ns) / 2
    # From the replay's begin on: the first command may be late, the second is so no earlier for it.
    assert again[1].start_ns - begun >= wanted
    for speed in (0, -1, float("nan"), float("inf")):
        with zoned.memory(**SHAPE) as other, pytest.raises(ValueError, match="speed is"):
            replay(Trace(path), other, speed=speed)


def test_a_cut_trace_is_replayed_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        for _ in range(10):
            dev.append(2, bytes(BLOCK))
    path.write_bytes(path.read_bytes()[:-60])
    with zoned.memory(**SHAPE) as other:
        with pytest.raises(zoned.TraceCutError, match="cut off in the middle"):
            replay(Trace(path), other)
        assert other.counters.appends in range(6, 10)
    with zoned.memory(**SHAPE) as other:
        report = replay(Trace(path, partial=True), other)
        assert report.same
        assert not report.zones_compared
        assert report.commands == other.counters.appends
