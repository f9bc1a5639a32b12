"""What the disks of a history cost: each one behind its neighbour, and many of a small workload.

    python bench/crash_test_speed.py            the figures
    python bench/crash_test_speed.py --strict   exit 1 if one is missed

The first is the time of a step from a disk behind N commands of a history to that behind N + 1, and
of the survivor that is made there, over a history of 10,000 commands; at most 1 ms. The second is
what a survivor of a small workload costs in all, its hash and its being told apart from those
before included, with a verifier that does nothing; the time of 100,000 follows from it, on one
processor, and is at most 600 s. Figures are of the processor's time: the clock's is others', too.

A benchmark is no test: without --strict the exit code is 0 whatever the figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import zoned
from zoned.crash import History, States, record
from zoned.crash.survivors import Content

BLOCK, ZONE = 4096, 1 << 20
COMMANDS, TRIED, ALL = 10_000, 4_000, 100_000
STEP, SECONDS = 1.0, 600.0  # ms; s


def recorded(path: Path, commands: int, flush: int) -> None:
    """Appends and overwrites in turn, with a flush now and then."""
    with (
        zoned.memory(size=64 * ZONE, zone_size=ZONE, conventional=1, max_open=0) as device,
        record(device, path),
    ):
        for number in range(commands):
            data = number.to_bytes(8, "little") * (BLOCK // 8)
            if number % flush == flush - 1:
                device.flush()
            elif number % 4 == 3:
                device.pwrite(data, number % 256 * BLOCK)
            else:
                device.append(1 + number // 200 % 63, data)


def steps(path: Path) -> float:
    """Milliseconds of a step, with one survivor."""
    with History(path) as history, Content(history) as content:
        states = States(history, "random", limit=1)
        begin = time.process_time()
        while content.point < len(history):
            content.step()
            with states.space(content, states.strategy, 1) as space:
                space.build(next(space.choices())).close()
        return (time.process_time() - begin) / len(history) * 1000


def survivors(path: Path) -> float:
    """Milliseconds of a survivor of a small workload."""
    with History(path) as history:
        count = 0
        begin = time.process_time()
        for state in States(history, "random", limit=100):
            count += state.device.zones[1].index
            if count == TRIED:
                break
        return (time.process_time() - begin) / count * 1000


def main() -> int:
    """The figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit 1 if a figure is missed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "history")
        recorded(path, COMMANDS, 50)
        step = steps(path)
        print(f"{COMMANDS} commands: {step:.3f} ms a step with a survivor (at most {STEP} ms)")
        recorded(path, 200, 40)
        each = survivors(path)
    seconds = each * ALL / 1000
    print(f"{ALL} survivors: {seconds:.0f} s, {each:.3f} ms each (at most {SECONDS:.0f} s)")
    return int(asked.strict and (step > STEP or seconds > SECONDS))


if __name__ == "__main__":
    sys.exit(main())
