"""Programs whose system calls go past libc find the disks all the same."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from run.programs import Needs, made, ok

ROOT = Path(__file__).parents[2]


def built(needs: Needs, folder: Path, *flags: str) -> Path:
    needs("cc", shutil.which("gcc") is not None, "compiling a program")
    program = folder / "rawcalls"
    source = ROOT / "tests/native/rawcalls.c"
    subprocess.run(
        ["gcc", "-O2", *flags, "-pthread", "-o", str(program), str(source)], check=True, cwd=folder
    )
    return program


EXPECTED = """opened 1
write 4096
read 4096 r
write 4096
read 4096 r
write 4096
read 4096 r
misaligned -22
own process 1
closed 0, then -9
"""


def test_raw_system_calls(shm: Path, needs: Needs) -> None:
    needs("x86-64", platform.machine() == "x86_64", "system calls by instruction")
    image = made(shm / "disk.img")
    assert ok([str(built(needs, shm)), "/dev/zoned0"], images=[image]) == EXPECTED
