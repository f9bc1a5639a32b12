"""Programs whose system calls go past libc find the disks all the same."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from run.programs import Needs, made, ok, started
from waiting import until

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


@pytest.mark.parametrize("begun", ["at once", "by a shell", "by posix_spawn"])
def test_a_static_program(shm: Path, needs: Needs, begun: str) -> None:
    needs("x86-64", platform.machine() == "x86_64", "answers for programs without libc")
    program = str(built(needs, shm, "-static"))
    image = made(shm / "disk.img")
    spawn = f"import os, sys; os.waitpid(os.posix_spawn('{program}', ['x', '/dev/zoned0'], os.environ), 0)"
    command = {
        "at once": [program, "/dev/zoned0"],
        "by a shell": ["sh", "-c", f"{program} /dev/zoned0"],
        "by posix_spawn": [sys.executable, "-c", spawn],
    }
    assert ok(command[begun], images=[image]) == EXPECTED


def test_what_a_static_program_breaks_is_told(shm: Path, needs: Needs) -> None:
    program = str(built(needs, shm, "-static"))
    image = made(shm / "disk.img", conventional=0)
    done = started([program, "/dev/zoned0"], "--report", images=[image])
    assert "write -5" not in done.stdout.splitlines()[1], "the first write is at the write pointer"
    done = started([program, "/dev/zoned0"], "--report", images=[image])
    assert done.stdout.splitlines()[1] == "write -5"
    assert (
        "rawcalls on /dev/zoned0: write at 0 in zone 0 is not at its write pointer 12288"
        in done.stderr
    )


def test_nobody_answers_for_longer_than_the_program_lives(shm: Path, needs: Needs) -> None:
    program = str(built(needs, shm, "-static"))
    ok([program, "/dev/zoned0"], images=[made(shm / "disk.img")])

    def left() -> list[str]:
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if str(shm).encode() in Path(f"/proc/{pid}/maps").read_bytes():
                    found.append(pid)
        return found

    until(lambda: not left(), "the process that answered has ended")


def test_raw_system_calls(shm: Path, needs: Needs) -> None:
    needs("x86-64", platform.machine() == "x86_64", "system calls by instruction")
    image = made(shm / "disk.img")
    assert ok([str(built(needs, shm)), "/dev/zoned0"], images=[image]) == EXPECTED


def test_raw_calls_that_programs_try_before_they_read_and_write(shm: Path, needs: Needs) -> None:
    """Go's io.Copy reads and writes where copy_file_range is EINVAL, and gives up where it is EBADF."""
    needs("x86-64", platform.machine() == "x86_64", "numbers of system calls")
    code = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
disk = os.open("/dev/zoned0", os.O_RDWR)
file = os.open("/tmp", os.O_RDWR | os.O_TMPFILE, 0o600)
reader, writer = os.pipe()
for number, *words in ((326, disk, 0, file, 0, 4096, 0), (275, disk, 0, writer, 0, 4096, 0), (40, writer, disk, 0, 4096)):
    ctypes.set_errno(0)
    print(libc.syscall(number, *words), errno.errorcode.get(ctypes.get_errno()))
"""
    told = ok([sys.executable, "-c", code], images=[made(shm / "disk.img")])
    assert told.splitlines() == ["-1 EINVAL", "-1 EINVAL", "4096 None"]
