"""A process that is stopped (SIGSTOP, a debugger) while it holds a lock of the disk, whichever: all others end by
Ctrl-C and say for whom they waited, lose nothing, and go on once it goes on.

The holder is a C program of the core's own parts (holder.c), so that it stops exactly there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import zoned
from waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
WAITS = {"futex": 202, "nanosleep": 35, "clock_nanosleep": 230}
"""System calls in which a call of the core waits for others, by their number on x86-64."""

COMMON = """
import sys, threading, zoned
path, block = sys.argv[1], bytes(4096)
def wait_for(call):
    print("go", flush=True)
    try:
        call()
    except KeyboardInterrupt as error:
        print("interrupted:", *getattr(error, "__notes__", ()), flush=True)
    else:
        print("not interrupted", flush=True)
def setup_done():
    print("ready", flush=True)
    sys.stdin.readline()
"""
"""The process that waits: it prepares (ready), then, once somebody holds the lock, calls."""


def prepared(what: str = "pass") -> str:
    return f"dev = zoned.open(path)\n{what}\nsetup_done()\n"


OPENED = prepared()
RECORDING = prepared("dev.trace.start(path + '.trace')")
CASES = {
    # the lock that is held: who waits, and the code
    "gate": {
        "open": "setup_done(); wait_for(lambda: zoned.open(path))",
        "open-readonly": "setup_done(); wait_for(lambda: zoned.open(path, readonly=True))",
        "close": OPENED + "wait_for(dev.close)",
        "check": "setup_done(); wait_for(lambda: zoned.check(path))",
    },
    "commit": {
        "check-of-a-living-disk": "setup_done(); wait_for(lambda: zoned.check(path))",
        "flush": OPENED + "wait_for(dev.flush)",
        "snapshot": OPENED + "wait_for(dev.snapshot)",
    },
    "stripe": {
        "append": OPENED + "wait_for(lambda: dev.append(3, block))",
        "reset-all": OPENED + "wait_for(dev.reset_all)",
        "trace-stop": RECORDING + "wait_for(dev.trace.stop)",
        "close-while-recording": RECORDING + "wait_for(dev.close)",
    },
    "resource": {
        "open-zone": OPENED + "wait_for(lambda: dev.open_zone(3))",
        "first-append": OPENED + "wait_for(lambda: dev.append(4, block))",
        "pre-image": OPENED + "wait_for(lambda: dev.pwrite(block, 0))",
        "power-cut": OPENED + "wait_for(dev.power_cut)",
    },
    "faults": {
        "fault-add": OPENED + "wait_for(lambda: dev.faults.add('medium'))",
        "command-with-faults": prepared("dev.faults.add('lost', zones=3)")
        + "wait_for(lambda: dev.append(3, block))",
    },
    "trace": {
        "recorded-command": prepared("dev.trace.keep()") + "wait_for(lambda: dev.append(3, block))",
        "keep": OPENED + "wait_for(dev.trace.keep)",
        "recording": OPENED + "wait_for(lambda: dev.trace.start(path + '.trace'))",
    },
    "recorder": {
        "full-ring": OPENED + "wait_for(lambda: [dev.pread(4096, 0) for _ in range(2000)])",
    },
}


@pytest.fixture(scope="module")
def holder(build: Callable[[str], Path]) -> Path:
    return build("holder")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with zoned.create(path, size="16MiB", zone_size="1MiB", conventional=2, max_open=4) as dev:
        dev.append(3, b"a" * 4096)
        dev.open_zone(5)
        dev.flush()
    return path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Processes, started; those that are left are killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*command: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stopped(process: subprocess.Popen[str]) -> None:
    """Wait till it holds what it is to hold, and is stopped."""
    assert line(process) == "held"
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def waits(process: subprocess.Popen[str]) -> bool:
    """Whether its main thread is in a wait that lasts: what it runs meanwhile is looks at signals."""
    number = Path(f"/proc/{process.pid}/syscall").read_text(encoding="ascii").split()[0]
    return number in {str(value) for value in WAITS.values()}


@pytest.mark.usefixtures("on_x86_64")
@pytest.mark.parametrize(
    ("lock", "who"), [(lock, who) for lock, cases in CASES.items() for who in cases]
)
def test_ctrl_c_ends_whoever_waits_for_a_stopped_process(
    holder: Path, image: Path, start: Callable[..., subprocess.Popen[str]], lock: str, who: str
) -> None:
    waiter = start(sys.executable, "-X", "dev", "-c", COMMON + CASES[lock][who], image)
    assert line(waiter) == "ready"
    holds = start(holder, image, lock)
    stopped(holds)
    assert waiter.stdin is not None
    waiter.stdin.write("\n")
    waiter.stdin.flush()
    assert line(waiter) == "go"
    until(lambda: waits(waiter), "the call waits")
    waiter.send_signal(signal.SIGINT)
    said = f"it waited for process {holds.pid} (holder), which is stopped"
    try:
        out, _ = waiter.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{who} does not end by Ctrl-C while {lock} is held")
    assert out.splitlines() == [f"interrupted: {said}"]
    os.kill(holds.pid, signal.SIGCONT)
    assert holds.wait(timeout=PATIENCE) == 0
    with zoned.open(image) as dev:
        assert dev.powered or who == "power-cut"
        if who == "power-cut":
            dev.power_on()
        if who != "reset-all":
            assert dev.pread(4096, dev.zones[3].start) == b"a" * 4096
        dev.faults.clear()
        dev.append(7, bytes(4096))
        dev.flush()
    assert [str(finding) for finding in zoned.check(image)] == []


def test_zonedctl_says_for_whom_it_waited(
    holder: Path, image: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holds = start(holder, image, "gate")
    stopped(holds)
    waiter = subprocess.Popen(
        [sys.executable, "-m", "zoned", "info", str(image)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )

    def opened() -> bool:
        return any(
            link.resolve() == image.resolve() for link in Path(f"/proc/{waiter.pid}/fd").iterdir()
        )

    until(opened, "zonedctl has the image open")
    waiter.send_signal(signal.SIGINT)
    _, said = waiter.communicate(timeout=PATIENCE)
    assert said == (
        f"zonedctl: interrupted; it waited for process {holds.pid} (holder), which is stopped\n"
    )
    assert waiter.returncode == 130


@pytest.mark.parametrize("lock", ["gate", "commit", "stripe", "resource", "faults", "trace"])
def test_who_is_killed_while_stopped_holds_up_nobody(
    holder: Path, image: Path, start: Callable[..., subprocess.Popen[str]], lock: str
) -> None:
    with zoned.open(image) as dev:
        dev.trace.keep()
        holds = start(holder, image, lock)
        stopped(holds)
        holds.kill()
        holds.wait()
        dev.faults.add("latency", virtual_latency=1.0)
        dev.append(3, b"b" * 4096)
        dev.reset_zone(5)
        dev.open_zone(6)
        dev.flush()
        with zoned.open(image) as other:
            assert other.pread(4096, other.zones[3].start + 4096) == b"b" * 4096
        dev.snapshot().close()
    assert zoned.check(image) == []


def test_what_was_refused_a_moment_ago_stores_its_bytes(
    holder: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """An extension that too many active zones forbid when it is asked for, and nothing any more once its turn comes."""
    path, set_late, bytes_of_it = tmp_path / "disk.img", 0, b"e" * 64
    shape = {"zones": 4, "zone_size": "1MiB", "dialect": "zns", "max_open": 1, "max_active": 1}
    with zoned.create(path, zone_extension=64, **shape) as dev:
        for _ in range(40):
            dev.reset_all()
            dev.open_zone(0)
            holds = start(holder, path, "resource")
            stopped(holds)
            with ThreadPoolExecutor() as pool:
                extends = pool.submit(dev.set_zone_extension, 1, bytes_of_it)
                time.sleep(0.05)
                resets = pool.submit(dev.reset_zone, 0)
                time.sleep(0.05)
                holds.send_signal(signal.SIGCONT)
                resets.result(PATIENCE)
                with contextlib.suppress(zoned.TooManyActiveError):
                    extends.result(PATIENCE)
                    assert dev.zone_extension(1) == bytes_of_it
                    set_late += 1
            assert holds.wait(PATIENCE) == 0
            if set_late == 2:
                break
        assert set_late
        dev.flush()
        assert zoned.check(path) == []


def test_a_recording_that_could_not_be_ended_leaves_nothing_to_the_next(
    holder: Path, tmp_path: Path, image: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Whoever is stopped with the lock of recordings keeps a recorder from saying that it is over."""
    with zoned.open(image) as dev:
        dev.trace.start(tmp_path / "history", data=True)
        holds = start(holder, image, "trace")
        stopped(holds)
        with ThreadPoolExecutor() as pool:
            ends = pool.submit(dev.trace.stop)
            try:
                ends.result(PATIENCE)
            finally:
                holds.send_signal(signal.SIGCONT)
        assert holds.wait(PATIENCE) == 0
        with dev.trace.record(tmp_path / "trace"):
            dev.append(3, b"c" * 4096)
            with pytest.raises(ValueError, match="nobody records this disk with its data"):
                dev.trace.mark("text")
            dev.append(3, b"d" * 4096)
    commands = [record.command for record in zoned.Trace(tmp_path / "trace")]
    assert commands == [zoned.TraceCommand.APPEND] * 2
