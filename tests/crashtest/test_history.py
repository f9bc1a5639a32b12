"""A history holds what a disk held and every command with its bytes: the disk can be built at any of them, and what
a power cut could leave there is what check_crashes finds on the same commands.
"""

from __future__ import annotations

import gzip
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from crashtest.histories import BLOCK, DISK, ZONE, drawn, everything, recorded
from waiting import until
from zoned.crash import Build, History, HistoryError, States
from zoned.testing import check_crashes
from zoned.traces.own import Trace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.history"


# ---------------------------------------------------------------- building


def test_the_disk_is_built_as_it_was_behind_each_change(path: Path) -> None:
    was: list[str] = []
    with zoned.memory(**DISK) as device:
        device.pwrite(b"held" * 1024, 0)
        device.append(2, b"also" * 2048)
        device.finish_zone(3)
        device.open_zone(4)
        with zoned.crash.record(device, path):
            was.append(everything(device))
            drawn(device, lambda number: was.append(everything(device)), seed=5)
            now = everything(device)
    with History(path) as history:
        assert history.cut is None
        assert len(history) == len(was) - 1
        build = Build(history)
        assert everything(build.device) == was[0]
        for one in was[1:]:
            build.step()
            assert everything(build.device) == one
        build.close()
        with history.disk() as disk:
            assert everything(disk) == now
        with pytest.raises(ValueError, match=r"point 99: this history has \d+"):
            history.disk(99)


@pytest.mark.parametrize("seed", range(4))
def test_survivors_are_those_of_check_crashes(seed: int, path: Path, long_run: bool) -> None:
    """By the bytes of every disk; a short run takes few seeds, a long one 200."""
    for number in range(50 * seed, 50 * seed + 50) if long_run else [seed]:
        recorded(str(path), number)
        expected: set[tuple[str, int]] = set()
        check_crashes(
            lambda device, ack, number=number: drawn(device, ack, number),
            lambda device, told, expected=expected: expected.add((everything(device), len(told))),
            **DISK,
        )
        with History(path) as history:
            states = States(history)
            found: dict[tuple[str, int], str] = {}
            for state in states:
                key = everything(state.device), len(state.acknowledged)
                assert key not in found, "equal disks were told apart"
                found[key] = state.id
            assert states.count() == len(found) + states.equal
            refused = {disk for disk, _ in expected} - {disk for disk, _ in found}
            assert not refused
            assert found.keys() <= expected
            some = [*found.items()][:: max(1, len(found) // 4)]
            for (disk, told), state_id in some:
                again = states.rebuild(state_id)
                with again.device as device:
                    assert (everything(device), len(again.acknowledged)) == (disk, told)


def test_an_independent_enumerator_agrees(path: Path) -> None:
    """Appends, overwrites and flushes, with survivors as plain dictionaries of blocks."""
    zone = 2 * ZONE
    with zoned.memory(**DISK) as device, zoned.crash.record(device, path):
        device.append(2, b"a" * BLOCK + b"b" * BLOCK)
        device.pwrite(b"c" * BLOCK, 0)
        device.flush()
        device.pwrite(b"d" * BLOCK, 0)
        device.pwrite(b"e" * BLOCK, BLOCK)
        device.append(2, b"f" * BLOCK + b"g" * BLOCK)
    script = [
        ("append", zone, "ab"), ("write", 0, "c"), ("flush", 0, ""),
        ("write", 0, "d"), ("write", BLOCK, "e"), ("append", zone + 2 * BLOCK, "fg"),
    ]  # fmt: skip
    expected: set[tuple[tuple[int, str], ...]] = set()
    for cut in range(len(script) + 1):
        durable: dict[int, str] = {}
        loose: list[tuple[int, str]] = []
        tail: list[tuple[int, str]] = []
        for kind, offset, letters in script[:cut]:
            if kind == "flush":
                durable |= dict(loose) | dict(tail)
                loose, tail = [], []
            else:
                blocks = [(offset + BLOCK * at, letter) for at, letter in enumerate(letters)]
                (tail if kind == "append" else loose).extend(blocks)
        for survived in itertools.product([False, True], repeat=len(loose)):
            kept = dict(itertools.compress(loose, survived))
            for length in range(len(tail) + 1):
                expected.add(tuple(sorted((durable | kept | dict(tail[:length])).items())))
    with History(path) as history:
        found = set()
        for state in States(history, "exhaustive"):
            blocks = [
                (at, state.device.pread(BLOCK, at)[:1].decode("latin-1"))
                for first, number in ((0, 2), (zone, 4))
                for at in range(first, first + number * BLOCK, BLOCK)
            ]
            found.add(tuple(pair for pair in blocks if pair[1] != "\0"))
    assert found == expected


# ---------------------------------------------------------------- everybody is heard


_OTHER = """
import sys, zoned
with zoned.open(sys.argv[1]) as device:
    device.append(2, b"o" * 65536)
    device.pwrite(b"p" * 3 * 4096, 4096)
    device.flush()
"""


def test_commands_of_other_processes_have_their_bytes(path: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with zoned.create(image, **DISK) as device, zoned.crash.record(device, path):
        subprocess.run([sys.executable, "-c", _OTHER, str(image)], check=True)
        device.trace.mark("done")
        now = everything(device)
    with History(path) as history, history.disk() as disk:
        assert everything(disk) == now
        assert [(mark.text, mark.after) for mark in history.marks] == [("done", 3)]


def test_a_write_longer_than_the_way_through_comes_whole(path: Path) -> None:
    data = os.urandom(3 << 20)
    with zoned.memory(size="32MiB", zone_size="4MiB") as device, zoned.crash.record(device, path):
        device.append(3, data)
    with History(path) as history, history.disk() as disk:
        assert disk.pread(len(data), 12 << 20) == data


_RECORDED = """
import sys, zoned
device = zoned.open(sys.argv[1])
print(flush=True)
while True:
    device.append(2, b"x" * 4096)
    if device.zones[2].wp is None:
        device.reset_zone(2)
"""
_RECORDER = """
import sys, time, zoned
device = zoned.open(sys.argv[1])
device.trace.start(sys.argv[2], data=True)
print(flush=True)
time.sleep(600)
"""


def written_in(device: zoned.Device, number: int) -> int:
    """Bytes of a sequential zone."""
    zone = device.zones[number]
    return ZONE if zone.wp is None else zone.wp - zone.start


@pytest.mark.parametrize("victim", ["recorded", "recorder"])
def test_a_killed_process_leaves_a_history_up_to_there(
    victim: str, path: Path, tmp_path: Path
) -> None:
    image = str(tmp_path / "disk.img")
    with zoned.create(image, **DISK) as device:
        if victim == "recorded":
            device.trace.start(path, data=True)
            other = [sys.executable, "-c", _RECORDED, image]
        else:
            other = [sys.executable, "-c", _RECORDER, image, str(path)]
        with subprocess.Popen(other, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                if victim == "recorded":
                    until(lambda: device.trace.records >= 50, "50 commands of the other process")
                else:
                    for _ in range(20):
                        device.pwrite(b"y" * BLOCK, 0)
            finally:
                process.send_signal(signal.SIGKILL)
        device.pwrite(b"z" * BLOCK, BLOCK)
        if victim == "recorded":
            device.trace.stop()
        now, written, front = everything(device), written_in(device, 2), device.pread(2 * ZONE, 0)
    with History(path) as history:
        assert (history.cut is None) == (victim == "recorded")
        with history.disk() as disk:
            if victim == "recorded" and everything(disk) != now:
                # Killed between what its last command did and the record of it: an append, or the reset of a full zone.
                assert disk.pread(2 * ZONE, 0) == front
                assert (written_in(disk, 2), written) in {(written - BLOCK, written), (ZONE, 0)}


# ---------------------------------------------------------------- the file


def test_each_shorter_file_is_a_history_up_to_there(
    path: Path, tmp_path: Path, long_run: bool
) -> None:
    recorded(str(path), seed=7)
    raw = path.read_bytes()
    with History(path) as whole:
        changes = whole.changes
        marks = whole.marks
    header = Trace(path).header.size
    short = tmp_path / "short"
    for length in range(header, len(raw), 1 if long_run else 331):
        short.write_bytes(raw[:length])
        with History(short) as history:
            assert history.cut is not None
            assert history.changes == changes[: len(history)]
            assert history.marks == marks[: len(history.marks)]
            if length % 5 == 0:
                history.disk().close()


def test_each_flipped_byte_is_met(path: Path, tmp_path: Path, long_run: bool) -> None:
    recorded(str(path), seed=8)
    raw = bytearray(path.read_bytes())
    with History(path) as whole:
        changes = whole.changes
    header = Trace(path).header.size
    bad = tmp_path / "bad"
    for at in range(header, len(raw), 1 if long_run else 337):
        raw[at] ^= 0x40
        bad.write_bytes(raw)
        raw[at] ^= 0x40
        with History(bad) as history:
            assert history.cut is not None
            told = any(text in history.cut for text in ("end mark", "damaged", "cut off"))
            assert len(history) < len(changes) or told
            assert history.changes == changes[: len(history)]


def test_a_compressed_history_is_read(path: Path, tmp_path: Path) -> None:
    recorded(str(path), seed=9)
    packed = tmp_path / "x.history.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with History(path) as plain, History(packed) as history:
        assert [state.id for state in States(plain)] == [state.id for state in States(history)]


def test_the_trace_commands_read_it_too(path: Path) -> None:
    recorded(str(path), seed=9)
    shown = [str(item) for item in zoned.Trace(path)]
    assert any("mark of 1 byte" in line for line in shown)


# ---------------------------------------------------------------- refusals


def test_a_trace_without_data_is_no_history(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**DISK) as device, device.trace.record(path):
        device.flush()
    with pytest.raises(HistoryError, match="is a trace without data"):
        History(path)


def test_a_disk_that_keeps_no_data_has_no_history(path: Path) -> None:
    with zoned.memory(**DISK, data="none") as device:
        with pytest.raises(OSError, match="keeps no data"):
            device.trace.start(path, data=True)
        assert not path.exists()


def test_a_mark_needs_a_recording_with_data(path: Path, tmp_path: Path) -> None:
    with zoned.memory(**DISK) as device:
        with pytest.raises(ValueError, match="nobody records this disk with its data"):
            device.trace.mark("x")
        with (
            device.trace.record(tmp_path / "plain"),
            pytest.raises(ValueError, match="nobody records"),
        ):
            device.trace.mark("x")
        with zoned.crash.record(device, path):
            with pytest.raises(ValueError, match="a mark of 5000 bytes"):
                device.trace.mark("x" * 5000)
            with pytest.raises(TypeError, match="a mark is a text"):
                device.trace.mark(b"x")  # type: ignore[arg-type]


def _cut_power(device: zoned.Device) -> None:
    device.power_cut()
    device.power_on()


def _go_back(device: zoned.Device) -> None:
    with device.snapshot() as snapshot:
        device.rollback(snapshot)


def _flip(device: zoned.Device) -> None:
    device.faults.add("flip-media")
    device.append(2, bytes(BLOCK))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (_flip, "a fault rule flipped a bit of what command 1 wrote"),
        (_cut_power, "the power was cut in command 1"),
        (_go_back, "the disk went back to a snapshot in command 1"),
    ],
)
def test_a_history_ends_where_no_disk_can_follow(
    what: Callable[[zoned.Device], None], told: str, path: Path
) -> None:
    with zoned.memory(**DISK) as device, zoned.crash.record(device, path):
        device.append(2, bytes(BLOCK))
        what(device)
        device.append(3, bytes(BLOCK))
    with History(path) as history:
        assert len(history) == 1
        assert history.cut is not None
        assert f"ends behind 1 change: {told}" in history.cut


@pytest.mark.parametrize("word", ["", "none", "every:0", "every:-1", "random:", "every:1.5", "ALL"])
def test_points_that_are_none(word: str, path: Path) -> None:
    recorded(str(path), seed=1)
    with History(path) as history, pytest.raises(ValueError, match="there are no points"):
        States(history, points=word)


def test_ids_that_are_none(path: Path) -> None:
    recorded(str(path), seed=1)
    with History(path) as history:
        states = States(history)
        for state_id, told in (
            ("", "is no id of a crash state"),
            ("12", "is no id of a crash state"),
            ("99:00", "is of point 99, and this history has"),
            ("1:zz", "hex digits"),
            ("1:0011223344556677", "damaged"),
        ):
            with pytest.raises(zoned.CrashIdError, match=told):
                states.rebuild(state_id)


# ---------------------------------------------------------------- in pytest


_SUITE = """
import subprocess, sys, pytest, zoned, zoned.crash

OTHER = "import sys, zoned; d = zoned.open(sys.argv[1]); d.append(2, b'x' * 4096)"

def test_of_a_process(zoned_image, zoned_run, zoned_crashes, tmp_path):
    with zoned.open(zoned_image) as device, zoned.crash.record(device, tmp_path / "x.history"):
        subprocess.run([sys.executable, "-c", OTHER, str(zoned_image)], check=True)
        device.trace.mark("x")
        device.flush()

    def verify(device, told):
        assert not told or device.zones[2].wp > device.zones[2].start, "it is lost"

    with pytest.raises(AssertionError, match="it is lost") as failed:
        zoned_crashes(tmp_path / "x.history", verify)
    assert "mark: x" in str(failed.value)
    with pytest.raises(AssertionError, match="it is lost"):
        zoned_crashes(tmp_path / "x.history", verify, replay=failed.value.replay)
    with zoned.crash.History(tmp_path / "x.history") as history:
        report = zoned_crashes(history, lambda device, told: None)
    assert report.states == 3 and report.commands == 2
"""


def test_histories_of_processes_in_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_SUITE)
    words = [sys.executable, "-m", "pytest", "-q", "test_it.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_command_that_is_missing_is_told(path: Path) -> None:
    """One whose process was killed before its record leaves none, and others may rest on it."""
    with zoned.memory(**DISK) as device, zoned.crash.record(device, path):
        device.append(5, bytes(BLOCK))
        device.append(5, bytes(BLOCK))
    with History(path) as history:
        del history.changes[0]
        with pytest.raises(HistoryError, match="killed amid a command had done of it is in no"):
            history.disk()
