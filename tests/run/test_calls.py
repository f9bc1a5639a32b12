"""Every call that calls.py makes, and every command line of lines.py, gives under ``zonedctl run`` what Linux 6.12 gave on null_blk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from run.programs import Needs, found, made, ok

HERE = Path(__file__).parent


def compared(shm: Path, program: str, captured: str) -> list[str]:
    """What the program gives here, which is what it gave there."""
    image = made(shm / "disk.img", dialect="nullblk", max_active=6, implicit_close="round-robin")
    given = ok([sys.executable, str(HERE / program), "/dev/zoned0"], images=[image]).splitlines()
    assert given == (HERE / "data" / captured).read_text(encoding="utf-8").splitlines()
    return given


def test_calls_give_what_the_kernel_gives(shm: Path) -> None:
    assert len(compared(shm, "calls.py", "nullblk-calls.txt")) > 300


@pytest.mark.program
def test_command_lines_give_what_the_kernel_gives(shm: Path, needs: Needs) -> None:
    release = Path("/etc/debian_version")
    debian = release.exists() and release.read_text(encoding="ascii").startswith("12")
    needs("debian12", debian, "the words of its programs")
    found(needs, "blkzone", "zbd", "lsblk", "blkid", "sg_inq", "flock")
    lines = compared(shm, "lines.py", "nullblk-lines.txt")
    assert sum(line.startswith("$ ") for line in lines) > 130
