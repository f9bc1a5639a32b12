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


def test_command_lines(kernel: lab.Kernel, shm: Path) -> None:
    theirs, mine = both(kernel, shm, "lines.py")
    assert sum(line.startswith("$ ") for line in mine) > 130
    assert mine == theirs


def test_random_steps(
    kernel: lab.Kernel, shm: Path, seed: int, long_run: bool, note: Callable[[str], None]
) -> None:
    steps = 5000 if long_run else 600
    theirs, mine = both(kernel, shm, "steps.py", str(seed), str(steps))
    note(f"{steps} random steps of a program compared")
    assert len(mine) == steps + 1
    assert mine == theirs


DRIVE = """-drive file={image},if=none,format=raw,id=z -device nvme,serial=z,id=n
-device nvme-ns,drive=z,bus=n,zoned=true,zoned.zone_size=4M,zoned.max_open=4,zoned.max_active=6,logical_block_size=4096,physical_block_size=4096"""


@pytest.mark.long
def test_nvme_calls(boots: object, tmp_path: Path, shm: Path) -> None:
    """In a guest of its own, which has QEMU's ZNS drive."""
    shutil.copy(RUN / "nvmecalls.py", tmp_path)
    with open(shm / "drive", "wb") as drive:
        drive.truncate(64 << 20)
    with lab.Kernel(tmp_path, devices=DRIVE.format(image=shm / "drive").split()) as kernel:
        told = kernel.run(
            "modprobe nvme; until [ -e /dev/nvme0n1 ]; do sleep 0.2; done; python3 /job/nvmecalls.py /dev/nvme0n1 /dev/nvme0 2>&1"
        )
    image = made(shm / "disk.img", dialect="zns", conventional=0, max_active=6)
    mine = ok(
        [sys.executable, str(RUN / "nvmecalls.py"), "/dev/zoned0", "/dev/zng0"], images=[image]
    ).splitlines()
    assert len(mine) > 200
    assert mine == told.output.splitlines()
