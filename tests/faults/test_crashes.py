"""Crash states and check_crashes: all survivors and no others, found bugs, replays that repeat them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import multiprocessing
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
import zonefs
from waiting import PATIENCE, until
from zoned.crash.choices import CrashIdError, CrashSpaceError
from zoned.faults import FaultRule
from zoned.snapshots import Snapshot
from zoned.testing import CrashFailure, WorkloadError, check_crashes, zone_lines

MIB = 1 << 20
BLOCK = 4096
DISK = {
    "size": "8MiB",
    "zone_size": "1MiB",
    "conventional": 1,
    "dialect": "zbc",
    "logical_block": 4096,
}


@pytest.fixture
def dev():
    with zoned.memory(**DISK) as device:
        yield device


def wps(device: zoned.Device) -> tuple[int, ...]:
    return tuple((z.wp - z.start) // BLOCK for z in device.report(1) if z.wp is not None)


def test_an_exhaustive_run_meets_every_survivor_once(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * BLOCK, 1 * MIB)
    dev.flush()
    dev.pwrite(b"b" * 2 * BLOCK, 1 * MIB + BLOCK)
    dev.pwrite(b"c" * 3 * BLOCK, 2 * MIB)
    dev.pwrite(b"d" * BLOCK, 3 * MIB)
    dev.finish_zone(3)
    states = dev.crash_states("exhaustive")
    found = [wps(device)[:2] for device in states]
    assert states.count == len(states) == states.total == 12
    assert sorted(found) == sorted(itertools.product((1, 2, 3), range(4)))
    states.close()


def test_conventional_blocks_survive_in_any_subset(dev: zoned.Device) -> None:
    dev.pwrite(b"o" * 3 * BLOCK, 0)
    dev.flush()
    dev.pwrite(b"n" * 2 * BLOCK, BLOCK)
    dev.pwrite(b"w" * BLOCK, 1 * MIB)
    states = dev.crash_states("exhaustive")
    found = {(dev.pread(3 * BLOCK, 0)[::BLOCK].decode(), *wps(dev)[:1]) for dev in states}
    assert found == {(f"o{a}{b}", wp) for a in "on" for b in "on" for wp in (0, 1)}
    assert states.total == 8
    states.close()


def all_ids(device: zoned.Device) -> list[str]:
    with device.crash_states("exhaustive", limit=100_000) as states:
        return [states.id_of(choice) for choice in states.choices()]


def digest(path: Path) -> str:
    """Of a file, without having all of it in memory: other tests here look at how much that is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seen_by_a_reader(path: Path) -> list[str]:
    """Through a handle that may only read, and changes nothing."""
    before = digest(path)
    with zoned.open(path, readonly=True) as reader:
        ids = all_ids(reader)
        with reader.crash_states() as states:
            with pytest.raises(ValueError, match="it can be looked at, not forked"):
                next(iter(states))
    assert digest(path) == before
    return ids


@pytest.mark.parametrize("model", ["host-managed", "host-aware"])
def test_a_read_only_handle_names_the_same_survivors(model: str, tmp_path: Path) -> None:
    """Beside a writer that rests, behind one that closed, and behind one that was killed."""
    path = tmp_path / "disk.img"
    code = (
        "import sys, os, zoned\n"
        "dev = zoned.open(sys.argv[1])\n"
        "dev.append(5, bytes(8192))\n"
        "dev.pwrite(b'k' * 4096, 12288)\n"
        "os._exit(0)\n"
    )
    with zoned.create(path, **(DISK | {"model": model})) as dev:
        assert len(all_ids(dev)) == 1 and seen_by_a_reader(path) == all_ids(dev)
        dev.append(2, bytes(BLOCK))
        dev.pwrite(b"a" * 2 * BLOCK, 0)
        assert len(all_ids(dev)) == 8 and seen_by_a_reader(path) == all_ids(dev)
        dev.flush()
        dev.open_zone(3)
        dev.append(4, b"b" * 3 * BLOCK)
        dev.pwrite(b"c" * BLOCK, BLOCK)
        dev.pwrite(b"a" * BLOCK, 0)  # what it holds already
        if model == "host-aware":
            dev.pwrite(b"d" * BLOCK, 4 * MIB)
            dev.pwrite(b"d" * BLOCK, 2 * MIB)
        with dev.faults.add("lost", on="write"):
            dev.pwrite(b"e" * BLOCK, 2 * BLOCK)
        assert len(all_ids(dev)) > 7 and seen_by_a_reader(path) == all_ids(dev)
    here = seen_by_a_reader(path)
    with zoned.open(path) as dev:
        assert all_ids(dev) == here
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    here = seen_by_a_reader(path)
    with zoned.open(path) as dev:
        assert all_ids(dev) == here


def test_a_disk_that_does_not_hold_still_is_told_to_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.img"
    with (
        zoned.create(path, **(DISK | {"host_sync": "never"})) as dev,
        zoned.open(path, readonly=True) as reader,
    ):
        zones, moves = Snapshot.zones, itertools.count()

        def moved(self: Snapshot) -> list:
            if next(moves) < still:
                dev.append(1, bytes(BLOCK))
            return zones(self)

        monkeypatch.setattr(Snapshot, "zones", moved)
        still = 5
        assert len(all_ids(reader)) == 6
        still = 10**6
        with pytest.raises(BlockingIOError, match="faster than a read-only handle can look"):
            all_ids(reader)


def test_a_reader_counts_survivors_while_others_write(tmp_path: Path) -> None:
    """It gets an answer or a sentence, whatever is given up and taken anew under its eyes."""
    path = tmp_path / "disk.img"
    code = (
        "import sys, zoned\n"
        "with zoned.open(sys.argv[1]) as dev:\n"
        "    print('on', flush=True)\n"
        "    for n in range(10**9):\n"
        "        dev.pwrite(bytes([n % 256]) * 4096, n % 16 * 4096)\n"
        "        dev.append(1 + n % 3, bytes(4096 * (1 + n % 4)))\n"
        "        if n % 5 == 0: dev.flush()\n"
        "        if n % 40 == 0: dev.reset_all()\n"
    )
    zoned.create(path, **(DISK | {"host_sync": "never", "slot_cache": 0})).close()
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and writer.stdout.readline() == b"on\n"
        with zoned.open(path, readonly=True) as reader:
            for _ in range(50):
                with contextlib.suppress(BlockingIOError), reader.crash_states("log") as states:
                    assert states.count >= 1
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    assert [finding for finding in zoned.check(path) if finding.error] == []


@pytest.mark.parametrize("strategy", ["linear", "log", "exhaustive", "random"])
def test_ids_rebuild_exactly_that_survivor(dev: zoned.Device, strategy: str) -> None:
    dev.pwrite(os.urandom(9 * BLOCK), 1 * MIB)
    dev.pwrite(os.urandom(5 * BLOCK), 2 * MIB)
    states = dev.crash_states(strategy, limit=60, seed=3)
    found = {device.crash_id: (wps(device), device.pread(9 * BLOCK, MIB)) for device in states}
    assert (
        len(found)
        == states.count
        == {"linear": 16, "log": 11, "exhaustive": 60, "random": 60}[strategy]
    )
    for crash_id, seen in found.items():
        assert crash_id is not None
        with states.rebuild(crash_id) as again:
            assert (wps(again), again.pread(9 * BLOCK, MIB)) == seen
    states.close()


def test_bad_ids_and_spaces_are_told(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * 9 * BLOCK, 1 * MIB)
    dev.pwrite(b"a" * 9 * BLOCK, 2 * MIB)
    with pytest.raises(
        CrashSpaceError, match="there are 100 survivors, and the limit is 50: raise limit, or take"
    ) as caught:
        dev.crash_states("exhaustive", limit=50)
    assert caught.value.count == 100
    states = dev.crash_states()
    some = states.id_of((3, 4))
    for wrong, said in (
        ("no hex", "is no id of a crash state"),
        (some[:-1] + ("0" if some[-1] != "0" else "1"), "is damaged"),
        ("", "'' is no id of a crash state"),
    ):
        with pytest.raises(CrashIdError, match=said):
            states.rebuild(wrong)
    dev.pwrite(b"a" * BLOCK, 3 * MIB)
    later = dev.crash_states()
    with pytest.raises(CrashIdError, match="another disk or another history"):
        later.rebuild(some)
    with pytest.raises(ValueError, match="there is no strategy 'all'"):
        dev.crash_states("all")
    states.close()
    later.close()


def test_a_disk_with_limits_never_has_too_many_active_zones() -> None:
    with zoned.memory(
        size="8MiB",
        zone_size="1MiB",
        zone_capacity="16KiB",
        dialect="zns",
        max_open=2,
        max_active=2,
    ) as dev:
        for zone in range(3):
            dev.append(zone, b"a" * 4 * BLOCK)
        dev.append(4, b"b" * 2 * BLOCK)
        states = dev.crash_states("exhaustive")
        assert all(device.limits.active <= 2 for device in states)
        states.close()


# ---------------------------------------------------------------- a log, right and wrong


def record(number: int) -> bytes:
    return f"record {number}".encode().ljust(BLOCK, b".")


def log_workload(flush: bool) -> Callable:
    def workload(dev: zoned.Device, ack: Callable) -> None:
        for number in range(4):
            dev.append(1 + number % 2, record(number))
            if flush:
                dev.flush()
            ack(number)

    return workload


def log_verify(dev: zoned.Device, acknowledged: list[int]) -> None:
    found = []
    for zone in dev.report(1, 2):
        data = dev.pread(zone.wp - zone.start, zone.start)
        found += [
            int(data[at : at + BLOCK].split(b".")[0].split()[1])
            for at in range(0, len(data), BLOCK)
        ]
    assert set(acknowledged) <= set(found), f"lost {sorted(set(acknowledged) - set(found))}"


def test_a_right_log_passes() -> None:
    report = check_crashes(log_workload(flush=True), log_verify, strategy="exhaustive", **DISK)
    assert report.commands == 8 and report.cuts == 9
    assert report.states == 1 + 4 * 2 + 4 * 1
    assert "crash states of 9 cuts in 8 commands passed" in str(report)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_missing_flush_is_found_told_and_repeated(jobs: int) -> None:
    with pytest.raises(CrashFailure) as caught:
        check_crashes(log_workload(flush=False), log_verify, jobs=jobs, **DISK)
    said = str(caught.value)
    assert "lost [0]" in said
    assert (
        "The power was cut after 1 command, 1 thing acknowledged:\n  1. append(1, 4096 bytes)\n"
        in said
    )
    assert "zone 1: IMPLICIT_OPEN, wp +4096, durable +0" in said
    assert "Zones after it:\n  all zones are empty" in said
    replay = caught.value.replay
    assert f"To repeat it: check_crashes(..., replay={replay!r})" in said
    with pytest.raises(CrashFailure, match=r"lost \[0\]") as again:
        check_crashes(log_workload(flush=False), log_verify, replay=replay, **DISK)
    assert str(again.value) == said
    with pytest.raises(CrashIdError):
        check_crashes(log_workload(flush=True), log_verify, replay="77:00", **DISK)


def test_a_disk_that_lies_is_found() -> None:
    lie = FaultRule("lost", on="append", nth=3)
    with pytest.raises(CrashFailure, match=r"lost \[2\]"):
        check_crashes(log_workload(flush=True), log_verify, faults=[lie], **DISK)


def test_recovery_is_cut_too() -> None:
    """Recovery moves a record from zone 1 to 2. Resetting 1 before 2 is durable loses it only in a second crash."""

    def workload(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(7))
        dev.flush()
        ack(7)

    def recover(flush: bool) -> Callable:
        def verify(dev: zoned.Device, acknowledged: list[int]) -> None:
            log_verify(dev, acknowledged)
            if dev.zones[1].wp > MIB and dev.zones[2].wp == 2 * MIB:
                dev.append(2, dev.pread(BLOCK, MIB))
                if flush:
                    dev.flush()
                dev.reset_zone(1)

        return verify

    check_crashes(workload, recover(flush=False), **DISK)
    report = check_crashes(workload, recover(flush=True), depth=2, strategy="exhaustive", **DISK)
    assert report.states > 3
    with pytest.raises(CrashFailure, match=r"lost \[7\]") as caught:
        check_crashes(workload, recover(flush=False), depth=2, **DISK)
    assert caught.value.replay.count("/") == 1
    told = (
        "The power was cut after 2 commands, 1 thing acknowledged:\n"
        "  1. append(1, 4096 bytes)\n  2. flush()\n"
        "Then verify was cut after 2 commands of its own:\n"
        "  1. append(2, 4096 bytes)\n  2. reset_zone(1)\nZones before the cut:\n  zone 2: "
    )
    assert told in str(caught.value)
    with pytest.raises(CrashFailure, match=r"lost \[7\]") as again:
        check_crashes(workload, recover(flush=False), replay=caught.value.replay, **DISK)
    assert again.value.replay == caught.value.replay
    assert str(again.value) == str(caught.value)


def test_a_workload_that_raises_is_told() -> None:
    def workload(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(1))
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops") as caught:
        check_crashes(workload, log_verify, **DISK)
    assert caught.value.__notes__ == ["check_crashes: the workload raised this after 1 command"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_workload_that_is_not_deterministic_is_called_that(jobs: int, tmp_path: Path) -> None:
    """The first difference is shown: another command, one more or less, another acknowledgement."""
    flag = tmp_path / "ran"

    def once() -> bool:
        """To one of all processes, which run at the same time."""
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def check(workload: Callable) -> str:
        flag.unlink(missing_ok=True)
        with pytest.raises(WorkloadError, match=r"^the workload is not deterministic: ") as caught:
            check_crashes(workload, lambda dev, told: None, jobs=jobs, **DISK)
        return str(caught.value)

    def other_command(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(1))
        dev.append(2 if once() else 3, record(2))

    said = check(other_command)
    assert "of two runs on equal disks, command 2 was not the same\n" in said
    told = {"append(2, 4096 bytes)", "append(3, 4096 bytes)"}
    assert {line.split(": ")[1].strip() for line in said.splitlines() if " run: " in line} == told

    def fewer(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(1))
        if once():
            dev.flush()

    said = check(fewer)
    assert "command 2 was not the same\n" in said
    assert re.search(r" run: +none any more\n", said)  # whichever process came to it last

    def other_result(dev: zoned.Device, ack: Callable) -> None:
        with contextlib.suppress(zoned.ZonedError):
            dev.pwrite(record(1), MIB if once() else MIB + BLOCK)

    assert "command 1 was not the same" in check(other_result)

    def acknowledges(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(1))
        if once():
            ack(1)

    said = check(acknowledges)
    assert "behind command 1, append(1, 4096 bytes), other numbers of things were acknowled" in said
    assert {line.split(": ")[1].strip() for line in said.splitlines() if " run: " in line} == {
        "1 thing",
        "0 things",
    }


def test_processes_whose_workloads_differ_are_told(tmp_path: Path) -> None:
    """Each process runs the workload: that two runs in the first were alike proves nothing of them."""
    first = os.getpid()

    def workload(dev: zoned.Device, ack: Callable) -> None:
        mine = tmp_path / f"{os.getpid()}"
        mine.touch()
        until(lambda: len(list(tmp_path.iterdir())) == 2, "the other process")
        assert os.getpid() != first
        least = min(int(path.name) for path in tmp_path.iterdir())
        dev.append(1 if int(mine.name) == least else 2, record(1))

    with pytest.raises(WorkloadError, match="command 1 was not the same"):
        check_crashes(workload, lambda dev, told: None, jobs=2, **DISK)


def test_other_data_is_told_with_a_failure_only() -> None:
    """Records with a time or an id in them are common, and each run of them is whole in itself."""
    count = itertools.count()

    def workload(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(0))
        dev.pwritev([record(next(count))], dev.zones[1].wp)
        ack(next(count))

    check_crashes(workload, lambda dev, told: None, **DISK)
    with pytest.raises(CrashFailure) as caught:
        check_crashes(workload, lambda dev, told: 1 / 0 if told else None, **DISK)
    assert str(caught.value).endswith(
        "The workload is not deterministic: command 2, pwritev(4096 bytes in 1 buffer, 1052672), "
        "wrote other data when it was run again, so a repetition may do other things."
    )
    with pytest.raises(CrashFailure) as caught:
        check_crashes(log_workload(flush=False), log_verify, **DISK)
    assert "deterministic" not in str(caught.value)


def test_a_workload_that_raises_in_its_second_run_is_told() -> None:
    count = itertools.count()

    def workload(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, record(1))
        if next(count) == 1:
            raise KeyError("once")

    with pytest.raises(KeyError, match="once") as caught:
        check_crashes(workload, log_verify, **DISK)
    (note,) = caught.value.__notes__
    assert note == (
        "check_crashes: the workload raised this when it was run a second time, after 1 command: "
        "it is not deterministic"
    )


def test_sampled_cuts_and_bad_numbers() -> None:
    report = check_crashes(log_workload(flush=True), log_verify, cuts=3, seed=5, **DISK)
    assert 3 <= report.cuts <= 4
    with pytest.raises(ValueError, match="depth is 0: it must be 1 or more"):
        check_crashes(log_workload(flush=True), log_verify, depth=0, **DISK)


def test_conventional_zones_are_cut_block_by_block() -> None:
    """Two blocks that belong together, written at once in a conventional zone, may be torn apart."""

    def workload(dev: zoned.Device, ack: Callable) -> None:
        for version in (b"1", b"2"):
            dev.pwrite(version * 2 * BLOCK, 0)
            dev.flush()
            ack(version)

    def verify(dev: zoned.Device, acknowledged: list[bytes]) -> None:
        first, second = dev.pread(BLOCK, 0)[:1], dev.pread(BLOCK, BLOCK)[:1]
        assert first == second, f"torn: {first!r} and {second!r}"

    with pytest.raises(CrashFailure, match="torn"):
        check_crashes(workload, verify, **DISK)


# ---------------------------------------------------------------- zonefs on the recorded disk


def zonefs_workload(fsync: bool) -> Callable:
    def workload(dev: zoned.Device, ack: Callable) -> None:
        zonefs.mkfs(dev)
        with zonefs.ZoneFS(dev) as fs, fs.open("seq/0", "ab", buffering=0) as file:
            for number in range(3):
                file.write(record(number))
                if fsync:
                    file.fsync()
                ack(number)

    return workload


def zonefs_verify(dev: zoned.Device, acknowledged: list[int]) -> None:
    if not acknowledged:
        return
    with zonefs.ZoneFS(dev) as fs, fs.open("seq/0", "rb") as file:
        kept = len(file.read()) // BLOCK
    assert kept >= len(acknowledged), f"{len(acknowledged)} records were promised, {kept} are there"


def test_a_workload_on_zonefs_is_cut_behind_each_command_of_its_files() -> None:
    report = check_crashes(zonefs_workload(True), zonefs_verify, strategy="exhaustive", **DISK)
    assert report.commands == 2 + 3 * 2  # the superblock and its flush, three writes and fsyncs
    with pytest.raises(CrashFailure, match="1 records were promised, 0 are there") as caught:
        check_crashes(zonefs_workload(False), zonefs_verify, **DISK)
    assert f"  3. pwrite(4096 bytes, {MIB})\nZones before" in str(caught.value)
    with pytest.raises(CrashFailure) as again:
        check_crashes(zonefs_workload(False), zonefs_verify, replay=caught.value.replay, **DISK)
    assert str(again.value) == str(caught.value)


# ---------------------------------------------------------------- what people see

_WITH_TERMINAL = """
from zoned.testing import check_crashes

def workload(dev, ack):
    for number in range(6):
        dev.append(1, bytes(4096))

check_crashes(workload, lambda dev, acknowledged: None, size="8MiB", zone_size="1MiB", conventional=0)
"""


def run_on_a_terminal(script: str) -> str:
    """What a Python script prints whose standard error is a terminal."""
    here, there = pty.openpty()
    try:
        done = subprocess.Popen([sys.executable, "-c", script], stderr=there, stdout=there)
        os.close(there)
        said = b""
        with contextlib.suppress(OSError):  # EIO: the last writer is gone
            while piece := os.read(here, 4096):
                said += piece
        assert done.wait(PATIENCE) == 0, said
    finally:
        os.close(here)
    return said.decode()


def test_a_terminal_sees_progress_and_nobody_else_does(capfd: pytest.CaptureFixture[str]) -> None:
    said = run_on_a_terminal(_WITH_TERMINAL)
    bars = re.findall(r"\rcrashes: \[(#*)(\.*)\] (\d)/7 cuts", said)
    assert [int(done) for _, _, done in bars] == [1, 2, 3, 4, 5, 6, 7]
    assert all(len(full) + len(rest) == 30 for full, rest, _ in bars)
    assert bars[-1][1] == ""
    assert re.search(
        r"\r\d+ crash states of 7 cuts in 6 commands passed: [\d.]+ s, \d+ states", said
    )
    check_crashes(log_workload(flush=True), log_verify, **DISK)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_space_beyond_the_limit_names_the_cut(jobs: int) -> None:
    def workload(dev: zoned.Device, ack: Callable) -> None:
        dev.append(1, bytes(9 * BLOCK))
        dev.append(2, bytes(9 * BLOCK))

    with pytest.raises(
        CrashSpaceError, match="there are 100 survivors, and the limit is 20"
    ) as caught:
        check_crashes(
            workload,
            lambda dev, acknowledged: None,
            strategy="exhaustive",
            limit=20,
            jobs=jobs,
            **DISK,
        )
    assert caught.value.__notes__ == [
        "check_crashes: at the cut behind command 2, append(2, 36864 bytes)"
    ]
    assert caught.value.count == 100


def test_verify_may_raise_anything_and_the_cause_is_kept() -> None:
    def verify(dev: zoned.Device, acknowledged: list[int]) -> None:
        raise ZeroDivisionError("recovery fell over")

    with pytest.raises(CrashFailure, match="ZeroDivisionError: recovery fell over") as caught:
        check_crashes(log_workload(flush=True), verify, **DISK)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(CrashFailure) as caught:
        check_crashes(log_workload(flush=True), verify, jobs=2, **DISK)
    assert "recovery fell over" in caught.value.__notes__[0]


class _TwofoldError(Exception):
    """Pickle writes it, and cannot read it."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def test_what_no_other_process_can_raise_is_told_by_name() -> None:
    def workload(dev: zoned.Device, ack: Callable) -> None:
        raise _TwofoldError("this", "that")

    with pytest.raises(RuntimeError, match="_TwofoldError: this and that") as caught:
        check_crashes(workload, log_verify, jobs=2, **DISK)
    assert 'raise _TwofoldError("this", "that")' in caught.value.__notes__[0]
    assert multiprocessing.active_children() == []


def _fail() -> None:
    pytest.fail("no good")


def _miss() -> None:
    with pytest.raises(OSError):
        pass


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("refuse", "told"),
    [
        (_fail, "Failed: no good"),
        (_miss, "Failed: DID NOT RAISE"),
        (lambda: sys.exit(3), "SystemExit: 3"),
    ],
)
def test_whatever_verify_fails_by_is_told_with_its_replay(
    refuse: Callable[[], None], told: str, jobs: int
) -> None:
    def verify(dev: zoned.Device, acknowledged: list[int]) -> None:
        if acknowledged:
            refuse()

    with pytest.raises(CrashFailure, match=told) as caught:
        check_crashes(log_workload(flush=True), verify, jobs=jobs, **DISK)
    with pytest.raises(CrashFailure, match=told) as again:
        check_crashes(log_workload(flush=True), verify, replay=caught.value.replay, **DISK)
    assert str(again.value) == str(caught.value)


def test_verify_may_skip_its_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="not here"):
        check_crashes(log_workload(flush=True), lambda *_: pytest.skip("not here"), **DISK)


def test_a_process_that_ends_takes_the_others_with_it() -> None:
    def verify(dev: zoned.Device, acknowledged: list[int]) -> None:
        if not acknowledged:
            os._exit(3)
        time.sleep(600)

    with pytest.raises(RuntimeError, match="a process of check_crashes ended with status 3"):
        check_crashes(log_workload(flush=True), verify, jobs=2, **DISK)
    assert multiprocessing.active_children() == []


def test_ctrl_c_ends_all_processes() -> None:
    code = (
        "import multiprocessing, os, signal, time\n"
        "from zoned.testing import check_crashes\n"
        "def verify(dev, told):\n"
        "    if not told: os.kill(os.getppid(), signal.SIGINT)\n"
        "    time.sleep(600)\n"
        "def work(dev, ack): dev.flush(); ack(1); dev.flush()\n"
        "try:\n"
        "    check_crashes(work, verify, size='8MiB', zone_size='1MiB', jobs=2)\n"
        "except KeyboardInterrupt:\n"
        "    print(multiprocessing.active_children())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_behind_the_first_failure_nobody_looks_on() -> None:
    """The second process fails at cut 1; the first one, at cut 0 till then, goes no further."""
    seen = multiprocessing.get_context("fork").Value("i", 0)

    def verify(dev: zoned.Device, acknowledged: list[int]) -> None:
        if dev.zones[1].condition is zoned.ZoneCondition.EMPTY:
            until(lambda: seen.value, "the other process fails")
            time.sleep(1)  # for the other to tell
            return
        with seen.get_lock():
            seen.value += 1
        raise AssertionError("bad")

    with pytest.raises(CrashFailure, match="bad") as caught:
        check_crashes(finish_zones, verify, jobs=2, **DISK)
    assert caught.value.replay.startswith("1:")
    assert seen.value == 1


def finish_zones(dev: zoned.Device, ack: Callable) -> None:
    for zone in range(1, 8):
        dev.finish_zone(zone)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"jobs": "2"}, "jobs is '2': it must be a whole number"),
        ({"cuts": 1.5}, "cuts is 1.5: it must be a whole number"),
        ({"seed": None}, "seed is None: it must be a whole number"),
        ({"limit": 0}, "limit is 0: it must be 1 or more"),
        ({"replay": 1}, "replay is 1: it must be the text that a failure printed"),
        ({"faults": [{"kind": "lost"}]}, "faults must be a list of FaultRule, and .* a dict"),
        ({"faults": FaultRule("lost")}, "faults must be a list of FaultRule, and .* a FaultRule"),
        ({"strategy": "lniear"}, "there is no strategy 'lniear'"),
        ({"verify": None}, "verify is None: it must be a function"),
        ({"zone_sizes": 1}, "there is no keyword zone_sizes"),
    ],
)
def test_wrong_arguments_are_told_before_anything_runs(keywords: dict, sentence: str) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it ran")

    with pytest.raises((TypeError, ValueError), match=sentence):
        check_crashes(**{"workload": never, "verify": never} | DISK | keywords)


def test_zones_are_shown_with_the_pointers_that_they_have() -> None:
    with zoned.memory(**DISK, unrestricted_read=True) as dev:
        dev.pwrite(bytes(MIB), 1 * MIB)
        dev.pwrite(bytes(BLOCK), 2 * MIB)
        dev.finish_zone(3)
        dev.set_condition(0, "read-only")
        dev.set_condition(4, "offline")
        assert zone_lines(dev).splitlines() == [
            "  zone 0: READ_ONLY",
            "  zone 1: FULL, durable +0",
            "  zone 2: IMPLICIT_OPEN, wp +4096, durable +0",
            "  zone 3: FULL, durable +1048576",
            "  zone 4: OFFLINE, durable +0",
        ]
