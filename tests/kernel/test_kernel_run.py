"""Programs under ``zonedctl run`` see what programs see on null_blk of a real kernel: the same calls, the same random steps."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel import lab
from run.programs import made, ok

RUN = Path(__file__).parents[1] / "run"
pytestmark = pytest.mark.kernel
SETUP = """modprobe null_blk nr_devices=0; d=/sys/kernel/config/nullb/nullb0; mkdir $d
echo 1 >$d/zoned; echo 4 >$d/zone_size; echo 64 >$d/size; echo 2 >$d/zone_nr_conv; echo 4096 >$d/blocksize
echo 1 >$d/memory_backed; echo 4 >$d/zone_max_open; echo 6 >$d/zone_max_active; echo 1 >$d/power
"""
TEARDOWN = "\nrmdir $d; rmmod null_blk"


def both(
    kernel: lab.Kernel, folder: Path, program: str, *arguments: str
) -> tuple[list[str], list[str]]:
    """The output on null_blk, and on an emulated disk."""
    shutil.copy(RUN / program, kernel.share)
    words = " ".join(arguments)
    told = kernel.run(f"{SETUP}python3 /job/{program} /dev/nullb0 {words} 2>&1{TEARDOWN}")
    image = made(folder / "disk.img", dialect="nullblk", max_active=6, implicit_close="round-robin")
    mine = ok([sys.executable, str(RUN / program), "/dev/zoned0", *arguments], images=[image])
    return told.output.splitlines(), mine.splitlines()


def test_calls(kernel: lab.Kernel, shm: Path) -> None:
    theirs, mine = both(kernel, shm, "calls.py")
    assert len(mine) > 200
    assert mine == theirs


def test_random_steps(
    kernel: lab.Kernel, shm: Path, seed: int, long_run: bool, note: Callable[[str], None]
) -> None:
    steps = 5000 if long_run else 600
    theirs, mine = both(kernel, shm, "steps.py", str(seed), str(steps))
    note(f"{steps} random steps of a program compared")
    assert len(mine) == steps + 1
    assert mine == theirs
