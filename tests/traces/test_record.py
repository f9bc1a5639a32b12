"""Recording: every command of every opener is in the file once, with what became of it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import zoned
from traces.workload import BLOCK, SHAPE, ZONE, every_command, refused
from waiting import PATIENCE, until
from zoned import Trace, TraceCommand


def recorded(path: Path) -> list[zoned.TraceRecord]:
    return list(Trace(path))


def test_every_command(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        before = time.monotonic_ns()
        with dev.trace.record(path):
            told = every_command(dev)
        after = time.monotonic_ns()
    trace = Trace(path)
    records = list(trace)
    assert [str(item) for item in records] == told
    assert [item.number for item in records] == list(range(len(told)))
    assert {item.command for item in records} == set(TraceCommand) - {
        TraceCommand.ROLLBACK,
        TraceCommand.MARK,
        TraceCommand.SET_EXTENSION,  # no zone of this disk has any
        TraceCommand.OPEN_ZRWA,  # nor an area
        TraceCommand.COMMIT_ZRWA,
    }
    assert {(item.pid, item.tid) for item in records} == {(os.getpid(), threading.get_native_id())}
    assert [item.start_ns for item in records] == sorted(item.start_ns for item in records)
    assert all(
        before < item.start_ns <= item.start_ns + item.duration_ns < after for item in records
    )
    cut = next(item for item in records if item.command is TraceCommand.POWER_CUT)
    assert (cut.offset, cut.length) == (7, 2)
    assert trace.complete and trace.lost == 0 and trace.cut is None


def _breakers(dev: zoned.Device) -> list[tuple[str, Callable[[], object]]]:
    """A rule each, and a call that breaks it on a disk of SHAPE; in an order that works."""
    start = dev.geometry.zone_start
    return [
        ("unaligned-write", lambda: dev.pwrite(bytes(BLOCK), start(2) + BLOCK)),
        ("write-boundary", lambda: dev.pwrite(bytes(ZONE), start(2))),
        ("read-type-boundary", lambda: dev.pread(2 * BLOCK, start(2) - BLOCK)),
        ("gap", lambda: dev.pread(BLOCK, start(3) - BLOCK)),
        ("out-of-range", lambda: dev.pread(BLOCK, 16 * ZONE)),
        ("out-of-range", lambda: dev.reset_zone(15, 2)),
        ("out-of-range", lambda: dev.append(16, bytes(BLOCK))),
        ("block-alignment", lambda: dev.pread(100, 0)),
        ("conventional-zone", lambda: dev.reset_zone(1)),
        ("zone-full", lambda: (dev.finish_zone(2), dev.pwrite(bytes(BLOCK), start(2)))),
        (
            "zone-read-only",
            lambda: (dev.set_condition(3, "read-only"), dev.pwrite(bytes(BLOCK), start(3))),
        ),
        ("zone-offline", lambda: (dev.set_condition(4, "offline"), dev.pread(BLOCK, start(4)))),
        ("too-many-open", lambda: dev.open_zone(5, 4)),
        ("append-limit", lambda: dev.append(9, bytes(2 * BLOCK))),
    ]


def test_every_rule(tmp_path: Path) -> None:
    """Each rule that a disk can refuse by: the record has its name, the zone, its condition and pointer."""
    path = tmp_path / "x.trace"
    told: list[tuple[str, zoned.ZonedError]] = []

    def broken(rule: str, call: Callable[[], object]) -> None:
        with pytest.raises(zoned.ZonedError) as caught:
            call()
        assert caught.value.rule == rule
        told.append((rule, caught.value))

    seen: list[zoned.TraceRecord] = []
    with zoned.memory(**(SHAPE | {"append_limit": BLOCK})) as dev, dev.trace.record(path):
        for rule, call in _breakers(dev):
            broken(rule, call)
        with dev.faults.add("medium", on="read", zones=0):
            broken("medium-error", lambda: dev.pread(BLOCK, 0))
        with dev.faults.add("medium", on="write", zones=0):
            broken("medium-error", lambda: dev.pwrite(bytes(BLOCK), 0))
        dev.reset_all()  # what the rules refuse anyway meets no false limit
        with dev.faults.add("limit", on="write", zones=9, active=True):
            broken("too-many-active", lambda: dev.pwrite(bytes(BLOCK), 9 * ZONE))
        with dev.faults.add("hang", on="flush", timeout="1ms"):
            broken("command-timeout", dev.flush)
        broken("miscompare", lambda: dev.compare(b"x" * BLOCK, 0))
        broken("sequential-zone", lambda: dev.write_zeroes(9 * ZONE, BLOCK))
        dev.power_cut()
        broken("power-loss", dev.flush)
    seen += [item for item in Trace(path) if not item.ok]
    with zoned.memory(**(SHAPE | {"unrestricted_read": False})) as dev, dev.trace.record(path):
        dev.pwrite(bytes(BLOCK), 2 * ZONE)
        broken("invalid-read", lambda: dev.pread(2 * BLOCK, 2 * ZONE))
        broken("read-boundary", lambda: dev.pread(ZONE + 512, 2 * ZONE))
    seen += [item for item in Trace(path) if not item.ok]
    zns = {"size": 8 * ZONE, "zone_size": ZONE, "dialect": "zns", "max_active": 2, "max_open": 2}
    with zoned.memory(**zns) as dev, dev.trace.record(path):
        broken("invalid-transition", lambda: dev.close_zone(1))
        dev.open_zone(0, 2)
        broken("too-many-active", lambda: dev.open_zone(2))
    seen += [item for item in Trace(path) if not item.ok]
    with zoned.memory(size=8 * ZONE, zone_size=ZONE, dialect="nullblk") as dev:
        with dev.trace.record(path):
            broken("unsupported-command", dev.open_all)
    seen += [item for item in Trace(path) if not item.ok]

    areas = {"zrwa_size": 2 * BLOCK, "zrwa_granularity": 2 * BLOCK, "zrwa_count": 1}
    with zoned.memory(**zns, **areas) as dev, dev.trace.record(path):
        dev.open_zone_zrwa(1)
        broken("zrwa-unavailable", lambda: dev.open_zone_zrwa(2))
        broken("invalid-zone-operation", lambda: dev.append(1, bytes(BLOCK)))
        broken("outside-zrwa", lambda: dev.pwrite(bytes(BLOCK), ZONE + 8 * BLOCK))
        broken("invalid-commit", lambda: dev.commit_zone(1, ZONE + BLOCK))
    seen += [item for item in Trace(path) if not item.ok]

    assert {rule for rule, _ in told} == {rule.name for rule in zoned.rules.rules("zbc")}
    assert [item.rule for item in seen] == [rule for rule, _ in told]
    for item, (rule, error) in zip(seen, told, strict=True):
        if rule == "power-loss":
            continue  # by then the zone has no say
        assert item.zone == error.zone, item
        assert (item.wp, item.injected, item.fault) == (error.wp, error.injected, error.fault), item
        assert item.condition is error.condition or error.condition is None, item


def test_what_a_fault_does_to_a_zone_is_in_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        with dev.faults.add("offline", on="write", zones=3, after=True):
            dev.pwrite(bytes(BLOCK), 3 * ZONE)
        with dev.faults.add("torn", on="write", zones=4, blocks=8):
            refused(zoned.MediumError, dev.pwrite, bytes(4 * BLOCK), 4 * ZONE)
        with dev.faults.add("power-cut", on="flush"):
            refused(zoned.PowerLossError, dev.flush)
    assert [str(item).partition(" (")[0] for item in recorded(path)] == [
        "write of 4096 bytes at 3145728 in zone 3: ok",
        "set-offline of zone 3: ok, by fault 1",
        "write of 16384 bytes at 4194304 in zone 4: medium-error",
        "power-cut: ok, by fault 3",
        "flush: power-loss, by fault 3",
    ]
    assert recorded(path)[2].done == BLOCK


def test_virtual_latency_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.flush()
        with dev.faults.add("latency", on="flush", virtual_latency="2ms"):
            dev.flush()
            dev.flush()
    assert [item.virtual_ns for item in recorded(path)] == [0, 2_000_000, 4_000_000]


def test_a_rollback_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.snapshot() as snapshot, dev.trace.record(path):
        dev.pwrite(bytes(BLOCK), 2 * ZONE)
        dev.rollback(snapshot)
        dev.pwrite(bytes(BLOCK), 2 * ZONE)
    assert [item.command for item in recorded(path)] == ["write", "rollback", "write"]


def test_zones_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.append(2, bytes(2 * BLOCK))
        dev.flush()
        dev.append(2, bytes(BLOCK))
        dev.append(5, bytes(BLOCK))
        dev.finish_zone(4)
        with dev.trace.record(path):
            dev.reset_zone(2)
            dev.close_zone(5)
    trace = Trace(path)
    list(trace)
    names = [(row.zone, row.condition.name, row.written, row.durable) for row in trace.before]
    assert names == [
        (2, "IMPLICIT_OPEN", 3 * BLOCK, 2 * BLOCK),
        (4, "FULL", 0, 0),
        (5, "IMPLICIT_OPEN", BLOCK, 0),
    ]
    assert trace.before[0].opened < trace.before[2].opened
    assert trace.before[1].finished
    assert [(row.zone, row.condition.name) for row in trace.after] == [(4, "FULL"), (5, "CLOSED")]


# ---------------------------------------------------------------- many openers


WORKER = """
import sys, zoned
path, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with zoned.open(path) as dev:
    for step in range(count):
        zone = 2 + (number + step) % 4      # all workers append to the same four zones
        try:
            dev.append(zone, bytes(4096))
        except zoned.ZoneFullError:
            dev.reset_zone(zone)
        except zoned.WriteBoundaryError:
            dev.reset_zone(zone)
"""


@pytest.mark.parametrize(("host_sync", "each"), [("never", 3000), ("command", 100)])
@pytest.mark.parametrize("slow", [False, True])
def test_processes_that_work_at_once(tmp_path: Path, host_sync: str, each: int, slow: bool) -> None:
    """No record is missing or double, and each zone's records stand in the order in which they took effect."""
    if slow:
        each //= 10
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    with zoned.create(image, **(SHAPE | {"max_open": 0, "host_sync": host_sync})) as dev:
        if slow:
            dev.faults.add("latency", latency="50us")
        with dev.trace.record(path):
            workers = [
                subprocess.Popen([sys.executable, "-c", WORKER, str(image), str(number), str(each)])
                for number in range(3)
            ]
            assert [worker.wait(PATIENCE) for worker in workers] == [0, 0, 0]
        totals = dev.counters
        disk = {zone.index: zone.wp for zone in dev.zones}
    records = recorded(path)
    counts = Counter((item.command, item.ok) for item in records)
    assert counts[TraceCommand.APPEND, True] == totals.appends
    assert counts[TraceCommand.RESET, True] == totals.resets
    assert sum(counts.values()) == 3 * each + totals.resets
    assert {item.pid for item in records} == {worker.pid for worker in workers}
    pointers = {zone: zone * ZONE for zone in range(2, 6)}
    for item in records:
        assert item.zone is not None
        if item.command is TraceCommand.RESET:
            pointers[item.zone] = item.zone * ZONE
        elif item.ok:
            assert item.offset == pointers[item.zone], item
            pointers[item.zone] += BLOCK
    assert {
        zone: disk[zone] or zone * ZONE + SHAPE["zone_capacity"] for zone in pointers
    } == pointers
    with zoned.memory(**(SHAPE | {"max_open": 0})) as other:
        report = zoned.replay(Trace(path), other)
        assert report.same, report.differences


def test_what_took_effect_before_a_power_cut_stands_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    stop = threading.Event()
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):

        def work(zone: int) -> None:
            while not stop.is_set():
                with contextlib.suppress(zoned.PowerLossError):
                    dev.append(zone, bytes(BLOCK))
                    dev.flush()
                    dev.reset_zone(zone)

        workers = [threading.Thread(target=work, args=(zone,)) for zone in (2, 3, 4)]
        for worker in workers:
            worker.start()
        for _ in range(100):
            time.sleep(0.001)
            dev.power_cut()
            time.sleep(0.0002)
            dev.power_on()
        stop.set()
        for worker in workers:
            worker.join()
    powered, done = True, Counter[TraceCommand]()
    for item in recorded(path):
        if item.command in (TraceCommand.POWER_CUT, TraceCommand.POWER_ON):
            powered = item.command is TraceCommand.POWER_ON
        else:
            assert item.ok == powered or (item.result == "power-loss" and powered), item
            done[item.command] += item.ok
    assert done[TraceCommand.FLUSH] > 100 and done[TraceCommand.RESET] > 100, done


def test_threads_forked_children_and_readers(tmp_path: Path) -> None:
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    with zoned.create(image, **SHAPE) as dev:
        with dev.trace.record(path):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    dev.append(2, bytes(BLOCK))
                    refused(ValueError, dev.trace.stop)  # the recording is its parent's
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            thread = threading.Thread(target=dev.append, args=(3, bytes(BLOCK)))
            thread.start()
            thread.join()
            with zoned.open(image, readonly=True) as reader:
                reader.pread(BLOCK, 0)
                refused(io.UnsupportedOperation, reader.reset_all)
            dev.fork().close()
    records = recorded(path)
    assert [item.command for item in records] == ["append", "append", "read"]
    assert records[0].pid == child
    assert records[1].pid == records[2].pid == os.getpid()
    assert records[1].tid != records[2].tid


def test_one_recorder_at_a_time(tmp_path: Path) -> None:
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    with zoned.create(image, **SHAPE) as dev, zoned.open(image) as other:
        assert dev.trace.recorder is None
        with dev.trace.record(path):
            assert dev.trace.recorder == other.trace.recorder == os.getpid()
            size = path.stat().st_size
            with pytest.raises(OSError, match="recorded already") as caught:
                other.trace.start(tmp_path / "y.trace")
            assert caught.value.errno == errno.EBUSY
            with pytest.raises(OSError, match="already") as caught:
                dev.trace.start(path)
            assert caught.value.errno == errno.EALREADY
            assert path.stat().st_size == size
        assert not (tmp_path / "y.trace").exists()
        with other.trace.record(path):
            dev.flush()
        assert len(recorded(path)) == 1
        with pytest.raises(ValueError, match="records nothing"):
            dev.trace.stop()


def test_close_ends_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.trace.start(path)
        dev.append(2, bytes(BLOCK))
    trace = Trace(path)
    assert len(list(trace)) == 1
    assert trace.complete


@pytest.mark.parametrize("victim", ["recorder", "recorded"])
def test_kill_9(tmp_path: Path, victim: str) -> None:
    """The file stays readable, the disk usable, and the next recording begins as if nothing had been."""
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    zoned.create(image, **(SHAPE | {"host_sync": "never"})).close()
    code = (
        "import sys, time, zoned\nwith zoned.open(sys.argv[1]) as dev:\n"
        "  if sys.argv[2]: dev.trace.start(sys.argv[2])\n"
        "  print('up', flush=True)\n"
        "  while True:\n    dev.append(2, bytes(4096)); dev.reset_zone(2)\n"
    )

    def run(trace: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(image), str(trace)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    with zoned.open(image) as dev:
        if victim == "recorded":
            dev.trace.start(path)
        process = run(path if victim == "recorder" else "")
        until(lambda: dev.counters.appends > 500 and path.stat().st_size > 2000, "a trace grows")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for _ in range(
            3000
        ):  # more than the ring holds: whoever waited for a dead recorder would hang
            dev.append(3, bytes(BLOCK))
            dev.reset_zone(3)
        if victim == "recorded":
            dev.trace.stop()
        trace = Trace(path, partial=True)
        records = list(trace)
        assert len(records) > 100
        if victim == "recorder":
            assert trace.cut is not None
            assert "without its end mark" in trace.cut
        else:
            assert trace.cut is None
            assert sum(item.pid == os.getpid() for item in records) == 6000
        assert dev.trace.recorder is None
        with dev.trace.record(tmp_path / "again.trace"):
            dev.flush()
        assert len(recorded(tmp_path / "again.trace")) == 1


STOPPED = """
import os, signal, sys, zoned
with zoned.open(sys.argv[1]) as dev:
    with dev.trace.record(sys.argv[2]):
        print("up", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        sys.stdin.read()
    print(dev.trace.recorder, flush=True)
"""


def _stopped_recorder(image: Path, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(image), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    return process


def _go_on(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=PATIENCE)[0] == "None\n"
    assert process.returncode == 0


def test_commands_wait_for_a_slow_recorder(tmp_path: Path) -> None:
    """A recorder that stands still loses nothing: commands wait."""
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    with zoned.create(image, **(SHAPE | {"host_sync": "never"})) as dev:
        process = _stopped_recorder(image, path)
        thread = threading.Thread(target=lambda: [dev.pread(512, 0) for _ in range(2000)])
        thread.start()
        until(lambda: dev.counters.reads >= 768, "the room for commands is full")
        time.sleep(0.1)
        assert dev.counters.reads == 768
        assert thread.is_alive()
        _go_on(process)
        thread.join(PATIENCE)
        assert dev.counters.reads == 2000
    trace = Trace(path)
    assert 768 <= len(list(trace)) <= 2000
    assert trace.lost == 0


def test_ctrl_c_ends_waiting_for_a_recorder(tmp_path: Path) -> None:
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    code = (
        "import sys, zoned\n"
        "with zoned.open(sys.argv[1]) as dev:\n"
        "  try:\n"
        "    for n in range(2000): dev.pread(512, 0)\n"
        "  except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    with zoned.create(image, **(SHAPE | {"host_sync": "never"})) as dev:
        process = _stopped_recorder(image, path)
        reader = subprocess.Popen(
            [sys.executable, "-c", code, str(image)], stdout=subprocess.PIPE, text=True
        )
        until(lambda: dev.counters.reads >= 768, "the room for commands is full")
        time.sleep(0.1)
        reader.send_signal(signal.SIGINT)
        assert reader.communicate(timeout=PATIENCE)[0] == "interrupted\n"
        assert dev.counters.reads == 768
        _go_on(process)
    records = recorded(path)
    assert len(records) == 768  # the one that was given up had not begun


def test_a_mark_goes_into_no_other_recording(tmp_path: Path) -> None:
    """One that comes as its recording ends: the next may have no data, and then what it says could not be."""
    path, over = tmp_path / "trace", threading.Event()
    with zoned.memory(**SHAPE) as dev:

        def marks() -> None:
            while not over.is_set():
                with contextlib.suppress(ValueError):
                    dev.trace.mark("")

        with ThreadPoolExecutor() as pool:
            marking = [pool.submit(marks) for _ in range(2)]
            end = time.monotonic() + 3
            try:
                while time.monotonic() < end:
                    for data in (True, False):
                        with dev.trace.record(path, data=data):
                            pass
                        commands = {record.command for record in Trace(path)}
                        assert commands <= ({TraceCommand.MARK} if data else set())
                        path.unlink()
            finally:
                over.set()
            for each in marking:
                each.result()


def test_what_is_lost_is_counted(tmp_path: Path) -> None:
    """More commands under way than there is room for, behind a recorder that stands still."""
    image, path = tmp_path / "disk.img", tmp_path / "x.trace"
    with zoned.create(image, **(SHAPE | {"host_sync": "never"})) as dev:
        process = _stopped_recorder(image, path)
        for _ in range(700):
            dev.pread(512, 0)
        with dev.faults.add("hang", on="read", zones=1) as fault:
            threads = [threading.Thread(target=dev.pread, args=(512, ZONE)) for _ in range(400)]
            for thread in threads:
                thread.start()
            until(lambda: fault.waiting == 400, "all reads hang")
            fault.release()
            for thread in threads:
                thread.join(PATIENCE)
        assert dev.counters.reads == 1100
        _go_on(process)
    trace = Trace(path)
    assert len(list(trace)) == 1024
    assert trace.lost == 1100 - 1024


def test_a_recording_that_the_host_refuses(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.create(tmp_path / "disk.img", **SHAPE) as dev:
        with pytest.raises(FileNotFoundError, match=r"no/x\.trace"):
            dev.trace.start(tmp_path / "no" / "x.trace")
        with pytest.raises(IsADirectoryError):
            dev.trace.start(tmp_path)
        with pytest.raises(ValueError, match="the disk itself"):
            dev.trace.start(tmp_path / "disk.img")
        with pytest.raises(OSError, match="/dev/full") as caught:
            dev.trace.start("/dev/full")
        assert caught.value.errno == errno.ENOSPC
        assert dev.trace.recorder is None
        dev.trace.start(path)
        assert dev.trace.failure is None
        dev.trace.stop()
    with zoned.open(tmp_path / "disk.img", readonly=True) as reader:
        refused(io.UnsupportedOperation, reader.trace.start, path)
        refused(io.UnsupportedOperation, reader.trace.keep)
    assert Trace(path).geometry.size == 16 * ZONE


def test_a_trace_that_fills_the_host(tmp_path: Path) -> None:
    """The disk goes on without; stop() says what was wrong, and the file is readable up to there."""
    import resource

    path = tmp_path / "x.trace"
    code = f"""
import resource, signal, zoned
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with zoned.memory(size="16MiB", zone_size="1MiB") as dev:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    dev.trace.start({str(path)!r})
    for _ in range(20000):
        dev.pread(4096, 0)
    print(dev.trace.failure)
    try:
        dev.trace.stop()
    except OSError as error:
        print(error)
    print(dev.trace.recorder)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"[Errno 27] File too large: '{path}'"
    assert lines[1].startswith("[Errno 27] File too large (cannot write the trace)")
    assert lines[2] == "None"
    trace = Trace(path, partial=True)
    assert len(list(trace)) > 1000
    assert trace.cut is not None


# ---------------------------------------------------------------- the last commands


def test_last_commands(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with zoned.create(image, **SHAPE) as dev:
        dev.flush()
        assert dev.trace.last() == []
        assert not dev.trace.keeps
        dev.trace.keep()
        dev.append(2, bytes(BLOCK))
        refused(zoned.UnalignedWriteError, dev.pwrite, bytes(BLOCK), 2 * ZONE)
        assert [item.result for item in dev.trace.last()] == ["ok", "unaligned-write"]
        assert [item.command for item in dev.trace.last(1)] == ["write"]
        for _ in range(3000):
            dev.pread(512, 0)
        last = dev.trace.last()
        assert len(last) == 1023
        assert [item.number for item in last] == list(range(3002 - 1023, 3002))
        assert dev.trace.last(0) == []
        with pytest.raises(ValueError, match="negative"):
            dev.trace.last(-1)
    with zoned.open(image, readonly=True) as dev:  # what the last user left
        assert [item.number for item in dev.trace.last(2)] == [3000, 3001]
    with zoned.open(image) as dev:
        assert dev.trace.keeps
        dev.flush()
        assert str(dev.trace.last(1)[0]) == "flush: ok"
        dev.trace.keep(False)
        dev.reset_all()
        assert str(dev.trace.last(1)[0]) == "flush: ok"


def test_keeping_goes_on_behind_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.trace.keep()
        dev.flush()
        with dev.trace.record(path):
            dev.close_all()
        dev.reset_all()
        assert [item.command for item in dev.trace.last()] == ["flush", "close-all", "reset-all"]
    assert [item.command for item in recorded(path)] == ["close-all"]


def test_a_fork_of_the_disk_records_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.trace.keep()
        dev.append(2, bytes(BLOCK))
        for _ in range(2):  # the second one is the first's memory again
            with dev.fork() as other:
                assert not other.trace.keeps
                assert other.trace.last() == []
                with other.trace.record(path):
                    other.append(2, bytes(BLOCK))
                other.trace.keep()
            assert [item.command for item in recorded(path)] == ["append"]
        assert len(dev.trace.last()) == 1


def test_a_mount_is_recorded(tmp_path: Path, needs: Callable[[str, bool, str], None]) -> None:
    """dd on a mounted zonefs, recorded from outside: the writes are those of the mount's server."""
    import zonefs
    from zonefs.mounting import available

    needs("fuse", available() == "", available())
    image, place, path = tmp_path / "disk.img", tmp_path / "mnt", tmp_path / "x.trace"
    place.mkdir()
    options: dict[str, Any] = {"size": 16 * ZONE, "zone_size": ZONE, "conventional": 2}
    with zoned.create(image, **options) as dev:
        zonefs.mkfs(dev)
    quiet = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    with zonefs.mount(image, place) as mount, zoned.open(image) as dev:
        with dev.trace.record(path):
            subprocess.run(
                ["dd", "if=/dev/zero", f"of={place}/seq/3", "bs=64K", "count=4", "oflag=direct"],
                check=True,
                capture_output=True,
                env=quiet,
            )
            os.truncate(place / "seq" / "3", 0)
        assert mount is not None
    records = recorded(path)
    writes = [item for item in records if item.command is TraceCommand.WRITE]
    zone = writes[0].zone
    assert zone is not None
    assert sum(item.done for item in writes) == 256 << 10
    assert {item.zone for item in writes} == {zone}
    assert [item.zone for item in records if item.command is TraceCommand.RESET] == [zone]
