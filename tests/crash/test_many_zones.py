"""One command over 104,000 zones, and its process killed or stopped half-way.

A killed RESET ALL or FINISH leaves each zone either as it was or as it shall be, no lock held, and every
count right. A process stopped with a lock in its hands makes others wait, but never deaf to Ctrl-C.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned
from crash.judge import bounded
from waiting import PATIENCE
from zoned import ZoneCondition, ZoneType

pytestmark = pytest.mark.plain

HERE = Path(__file__).parent


@pytest.fixture
def big_image(shm: Path) -> Path:
    path = shm / "big.img"
    zoned.create(path, profile="hc680", host_sync="never").close()
    return path


@pytest.fixture
def run(big_image: Path) -> Iterator[Starter]:
    starter = Starter(big_image)
    yield starter
    for process in starter.processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Starter:
    def __init__(self, path: Path) -> None:
        self.path, self.processes = path, list[subprocess.Popen[bytes]]()

    def __call__(self, script: str, *arguments: object) -> subprocess.Popen[bytes]:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), str(self.path), *map(str, arguments)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.processes.append(process)
        return process


def hear(process: subprocess.Popen[bytes], timeout: float = PATIENCE) -> str | None:
    """The next line, or None if none comes in time."""
    assert process.stdout is not None
    descriptor, line = process.stdout.fileno(), b""
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], timeout)[0]:
            assert not line, "half a line"
            return None
        piece = os.read(descriptor, 1)
        assert piece, f"the process ended: {process.wait()}"
        line += piece
    return line.decode().strip()


def is_blocked(process: subprocess.Popen[bytes]) -> bool:
    """Whether it sleeps, which it does for a lock alone; if not, it says "done". However slow it is, working is no sleep."""
    asleep = 0
    while (said := hear(process, 0.05)) is None:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        asleep += stat.rpartition(") ")[2].startswith("S")
        if asleep == 5:
            return True
    assert said == "done"
    return False


def sequential_range(path: Path) -> tuple[int, int]:
    with zoned.open(path, readonly=True) as device:
        first = next(z.index for z in device.zones if z.type is not ZoneType.CONVENTIONAL)
        return first, len(device.zones) - first


def test_kill_half_way(big_image: Path, run: Starter, long_run: bool) -> None:
    first, count = sequential_range(big_image)
    assert first + count > 100_000
    dice = random.Random(7)
    half_way = 0
    for round_number in range(50 if long_run else 8):
        process = run("long_command.py", first, count, "finish")
        wanted = "finish" if round_number % 2 else "reset"
        started = time.monotonic()
        while hear(process) != wanted:
            started = time.monotonic()
        assert hear(process) == {"finish": "finished", "reset": "reset done"}[wanted]
        duration = time.monotonic() - started
        while hear(process) != wanted:
            pass
        time.sleep(dice.uniform(0, duration))
        process.kill()
        process.wait()
        with bounded("recovery and a command over all zones"), zoned.open(big_image) as device:
            conditions = [zone.condition for zone in device.report(first)]
            left = {condition: conditions.count(condition) for condition in set(conditions)}
            assert set(left) <= {ZoneCondition.EMPTY, ZoneCondition.FULL}, left
            half_way += len(left) == 2
            limits = device.limits
            assert (limits.implicit_open, limits.explicit_open, limits.closed) == (0, 0, 0)
            assert [f for f in zoned.check(big_image) if f.error] == []
            device.pwrite(bytes(4096), device.zones[first].start) if left.get(
                ZoneCondition.EMPTY
            ) and conditions[0] is ZoneCondition.EMPTY else None
            device.reset_all()
            assert all(z.condition is ZoneCondition.EMPTY for z in device.report(first))
        assert zoned.check(big_image) == []
    assert half_way > 0, "no kill hit a command half-way"


def test_kill_while_counts_change(big_image: Path, run: Starter, long_run: bool) -> None:
    """Killed between a zone's change and the counting of it: whoever comes next counts anew."""
    zoned.create(big_image, profile="hc680", max_open=0, host_sync="never", replace=True).close()
    first, count = sequential_range(big_image)
    dice = random.Random(13)
    with zoned.open(big_image) as device:
        for _ in range(60 if long_run else 15):
            process = run("long_command.py", first, count, "open")
            while hear(process) != "open":
                pass
            time.sleep(dice.uniform(0.001, 0.06))
            process.kill()
            process.wait()
            with bounded("a command behind a killed one"):
                device.close_zone(first)
                conditions = [row[7] for row in device.report(first).rows()]
                limits = device.limits
                assert limits.explicit_open == conditions.count(ZoneCondition.EXPLICIT_OPEN)
                assert (limits.implicit_open, limits.closed) == (0, 0)
                assert [f for f in zoned.check(big_image) if f.error] == []
                device.close_all()
                assert device.limits.open == 0
    assert zoned.check(big_image) == []


def test_ctrl_c_behind_a_stopped_process(big_image: Path, run: Starter) -> None:
    """Stop a process while it holds locks, see another wait for them, and interrupt that one."""
    first, count = sequential_range(big_image)
    holder = run("long_command.py", first, count, "finish")
    while hear(holder) != "reset done":
        pass
    dice = random.Random(11)
    for _ in range(200):
        time.sleep(dice.uniform(0.001, 0.03))
        holder.send_signal(signal.SIGSTOP)
        waiter = run("one_command.py", "reset_all")
        assert hear(waiter) == "begin"
        if is_blocked(waiter):
            break
        holder.send_signal(signal.SIGCONT)
    else:
        pytest.fail("the process was never stopped with a lock in its hands")
    waiter.send_signal(signal.SIGINT)
    assert hear(waiter) == "interrupted"
    holder.send_signal(signal.SIGCONT)
    # the interrupted one ended orderly, the stopped one goes on, and a third is served
    assert waiter.wait(timeout=PATIENCE) == 0
    # what the stopped one said before lies in the pipe: hear its next full round
    for wanted in ("finish", "finished", "reset", "reset done"):
        while hear(holder) != wanted:
            pass
    third = run("one_command.py", "open_zone", first)
    assert (hear(third), hear(third)) == ("begin", "done")
