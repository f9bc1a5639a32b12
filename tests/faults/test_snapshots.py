"""Snapshots, rollback and forks: against copies of a plain model, in RAM and in images, without copying data."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

import zoned
from faults.family import NUMBER, Family
from waiting import PATIENCE, rounds
from zoned._core.looking import zone_written

MIB = 1 << 20
BLOCK = 4096
ZONES = 8
LENGTH = 256 * 1024
CAPACITY = 16 * BLOCK
C = zoned.ZoneCondition


def at(zone: int) -> int:
    return zone * LENGTH


class Model:
    """A disk as its data: what each zone holds. Conventional zones hold their length from the start on."""

    def __init__(self) -> None:
        self.data = [bytearray(LENGTH) if zone < 2 else bytearray() for zone in range(ZONES)]
        self.finished = [False] * ZONES
        self.flushed = [bytes(LENGTH), bytes(LENGTH)]
        """What the conventional zones held at the last flush."""

    def agrees(self, dev: zoned.Device) -> None:
        for row in dev.zones:
            data = bytes(self.data[row.index])
            assert dev.pread(row.capacity, row.start) == data.ljust(row.capacity, b"\0"), row
            if row.index >= 2:
                assert zone_written(dev, row.index) == len(data)
                assert (row.condition is C.FULL) == (
                    self.finished[row.index] or len(data) == CAPACITY
                )
                if row.wp is not None:
                    assert row.wp == row.start + len(data)
        limits, conditions = dev.limits, [row.condition for row in dev.zones]
        assert limits.implicit_open == conditions.count(C.IMPLICIT_OPEN)
        assert limits.explicit_open == conditions.count(C.EXPLICIT_OPEN)
        assert limits.closed == conditions.count(C.CLOSED)
        assert limits.open <= 3


class Machine(Family):
    """Disks (the first, and forks of forks) with a model each; snapshots with a copy of the model."""

    zones = st.integers(0, ZONES - 1)

    @initialize(in_file=st.booleans(), dialect=st.sampled_from(["zbc", "zns"]))
    def start(self, in_file: bool, dialect: str) -> None:
        self.begin(
            Model(), in_file,
            size=ZONES * LENGTH, zone_size=LENGTH, zone_capacity=CAPACITY, conventional=2,
            max_open=3, dialect=dialect, host_sync="never", unrestricted_read=True,
        )  # fmt: skip

    @rule(number=NUMBER, zone=zones, blocks=st.integers(1, 6), where=st.integers(0, 60))
    def write(self, number: int, zone: int, blocks: int, where: int) -> None:
        dev, model = self.disk(number)
        data = self.fresh(blocks * BLOCK)
        offset = where % 58 * BLOCK if zone < 2 else len(model.data[zone])
        try:
            dev.pwrite(data, at(zone) + offset)
        except zoned.ZonedError:
            assert zone >= 2
            assert (
                len(model.data[zone]) + len(data) > CAPACITY
                or model.finished[zone]
                or dev.limits.explicit_open == 3
            )
            return
        model.data[zone][offset : offset + len(data)] = data

    @rule(
        number=NUMBER,
        zone=st.integers(2, ZONES - 1),
        what=st.sampled_from(["reset", "finish", "open", "close"]),
    )
    def manage(self, number: int, zone: int, what: str) -> None:
        dev, model = self.disk(number)
        try:
            getattr(dev, f"{what}_zone")(zone)
        except zoned.ZonedError:
            return
        if what == "reset":
            model.data[zone].clear()
            model.finished[zone] = False
        elif what == "finish":
            model.finished[zone] = True

    @rule(number=NUMBER)
    def flush(self, number: int) -> None:
        dev, model = self.disk(number)
        dev.flush()
        model.flushed = [bytes(data) for data in model.data[:2]]
        assert all(z.durable_wp in (None, z.wp) or z.condition is C.FULL for z in dev.zones)

    @rule(number=NUMBER)
    def power(self, number: int) -> None:
        dev, model = self.disk(number)
        kept = {z.index: z.durable_wp - z.start for z in dev.zones if z.durable_wp is not None}
        dev.power_cut()
        dev.power_on()
        for zone, durable in kept.items():
            if not model.finished[zone]:
                del model.data[zone][durable:]
        model.data[:2] = [bytearray(data) for data in model.flushed]

    @rule()
    def check(self) -> None:
        if self.path:
            assert [str(found) for found in zoned.check(self.path) if found.error] == []

    def check_image(self, path: Path) -> None:
        with zoned.open(path) as dev:
            self.disks[0][1].agrees(dev)
            assert dev.info().slots_pending == 0
        super().check_image(path)


TestSnapshots = Machine.TestCase
TestSnapshots.settings = settings(
    max_examples=max(30, settings().max_examples // 4), stateful_step_count=40
)


@pytest.fixture
def dev():
    with zoned.memory(size="16MiB", zone_size="1MiB", conventional=2, max_open=4) as device:
        yield device


def test_no_data_is_copied(dev: zoned.Device) -> None:
    for zone in range(2, 10):
        dev.pwrite(os.urandom(MIB), zone * MIB)
    used = dev.info().file_blocks
    with dev.snapshot() as snapshot, snapshot.fork() as fork:
        dev.reset_all()
        assert fork.pread(MIB, 3 * MIB) != bytes(MIB)
        assert dev.info().file_blocks - used < 512 * 1024
        assert fork.info().file_blocks < 1024 * 1024
        assert dev.info().slots_used == 8  # kept for the fork, though no zone of the disk has them
    assert dev.info().slots_used == 0


def test_forks_outlive_snapshot_and_disk(tmp_path: Path) -> None:
    data = os.urandom(BLOCK)
    dev = zoned.create(tmp_path / "disk.img", size="8MiB", zone_size="1MiB")
    dev.pwrite(data, 3 * MIB)
    fork = dev.fork()
    dev.reset_zone(3)
    dev.close()
    with fork:
        assert fork.pread(BLOCK, 3 * MIB) == data
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(fork)
    with zoned.open(tmp_path / "disk.img") as dev:
        assert dev.zones[3].condition is C.EMPTY
        assert dev.info().slots_used == 0
    assert [str(found) for found in zoned.check(tmp_path / "disk.img") if found.error] == []


def test_what_rollback_refuses(dev: zoned.Device, tmp_path: Path) -> None:
    snapshot = dev.snapshot()
    with zoned.memory(size="16MiB", zone_size="1MiB") as other:
        with pytest.raises(ValueError, match="the snapshot is one of another disk"):
            other.rollback(snapshot)
    with dev.fork() as fork, pytest.raises(ValueError, match="another disk"):
        fork.rollback(snapshot)
    dev.power_cut()
    with pytest.raises(zoned.PowerLossError):
        dev.rollback(snapshot)
    dev.power_on()
    snapshot.close()
    snapshot.close()
    for call in (lambda: dev.rollback(snapshot), snapshot.fork, snapshot.zones):
        with pytest.raises(ValueError, match="the snapshot is closed"):
            call()
    zoned.create(tmp_path / "disk.img").close()
    with (
        zoned.open(tmp_path / "disk.img", readonly=True) as reader,
        pytest.raises(OSError, match="read-only"),
    ):
        reader.snapshot()


def test_survivors_keep_what_is_asked_for(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * 2 * BLOCK, 3 * MIB)
    dev.flush()
    dev.pwrite(b"b" * 2 * BLOCK, 3 * MIB + 2 * BLOCK)
    dev.pwrite(b"c" * BLOCK, 4 * MIB)
    with dev.snapshot() as snapshot:
        states = {state.index: (state.durable, state.written) for state in snapshot.zones()}
        assert states == {3: (2 * BLOCK, 4 * BLOCK), 4: (0, BLOCK)}
        with snapshot.survivor() as least, snapshot.survivor({3: 3 * BLOCK, 4: BLOCK}) as more:
            assert [(z.condition, z.wp) for z in least.report(3, 2)] == [
                (C.CLOSED, 3 * MIB + 2 * BLOCK),
                (C.EMPTY, 4 * MIB),
            ]
            assert more.pread(4 * BLOCK, 3 * MIB) == b"a" * 2 * BLOCK + b"b" * BLOCK + bytes(BLOCK)
            more.pwrite(b"x" * BLOCK, 3 * MIB + 3 * BLOCK)
            assert more.zones[4].durable_wp == 4 * MIB + BLOCK
        for wrong in ({3: 5 * BLOCK}, {4: 100}):
            with pytest.raises(ValueError, match="cannot keep"):
                snapshot.survivor(wrong)
    assert dev.pread(4 * BLOCK, 3 * MIB) == b"a" * 2 * BLOCK + b"b" * 2 * BLOCK


def test_a_snapshot_is_one_moment_though_others_write(dev: zoned.Device) -> None:
    """Each round writes one number to two zones, the first before the second: never behind in a fork."""
    stop = threading.Event()

    def begin() -> None:
        dev.reset_zone(4)
        dev.reset_zone(3)

    def write() -> None:
        for number in rounds(250, stop, begin):
            dev.pwrite(bytes([number]) * BLOCK, 3 * MIB + (number - 1) * BLOCK)
            dev.pwrite(bytes([number]) * BLOCK, 4 * MIB + (number - 1) * BLOCK)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(60):
            with dev.fork() as fork:
                ahead = zone_written(fork, 3) - zone_written(fork, 4)
                assert ahead in (0, BLOCK) or zone_written(fork, 4) == 0
                for zone in (3, 4):
                    count = zone_written(fork, zone) // BLOCK
                    data = fork.pread(MIB, zone * MIB)
                    assert data == b"".join(bytes([n + 1]) * BLOCK for n in range(count)).ljust(
                        MIB, b"\0"
                    )
    finally:
        stop.set()
        thread.join()


def child(path: str, ready: object, go: object) -> None:
    dev = zoned.open(path)
    snapshot = dev.snapshot()
    assert snapshot.zones()
    ready.set()
    go.wait(PATIENCE)
    os._exit(9)


def test_pins_of_a_killed_process_cost_nothing_lasting(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    with zoned.create(path, size="8MiB", zone_size="1MiB") as dev:
        dev.pwrite(b"a" * BLOCK, 3 * MIB)
        process = context.Process(target=child, args=(str(path), ready, go))
        process.start()
        assert ready.wait(PATIENCE)
        dev.reset_zone(3)
        go.set()
        process.join(PATIENCE)
        assert process.exitcode == 9
        dev.flush()
        assert dev.info().slots_used == 1
        assert [str(found) for found in zoned.check(path) if found.error] == []
    with zoned.open(path) as dev:
        assert dev.info().slots_used == 0


def test_a_forgotten_snapshot_is_freed(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * BLOCK, 3 * MIB)
    snapshot = dev.snapshot()
    dev.reset_zone(3)
    assert dev.info().slots_used == 1
    del snapshot
    gc.collect()
    assert dev.info().slots_used == 0


def test_snapshots_without_end_are_told_as_what_they_are() -> None:
    """Each keeps a version of the zone; a disk has places for all zones and about 2,000 versions more."""
    kept: list[zoned.Snapshot] = []

    def keep(versions: int) -> None:
        for number in range(versions):
            dev.pwrite(bytes([number % 251 + 1]) * BLOCK, 0)
            kept.append(dev.snapshot())

    with zoned.memory(size="1MiB", zone_size="256KiB", conventional=2) as dev:
        with pytest.raises(OSError, match="snapshots and forks keep so much that") as caught:
            keep(4000)
        assert caught.value.errno == errno.ENOSPC
        assert len(kept) > 2000
        assert dev.pread(BLOCK, 0) == bytes([(len(kept) - 1) % 251 + 1]) * BLOCK
        kept.clear()
        dev.pwrite(bytes(BLOCK), 0)
        assert dev.pread(BLOCK, 0) == bytes(BLOCK)
