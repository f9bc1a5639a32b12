"""Direct writes from Python, running programs, and fio with the flags that zonefs needs."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from contextlib import contextmanager

from waiting import PATIENCE

FIO = (
    "fio",
    "--create_on_open=0",
    "--allow_file_create=0",
    "--unlink=0",
    "--fallocate=none",
    "--verify_state_save=0",
    "--output-format=json",
)


def run(*command, check=True, **keywords) -> subprocess.CompletedProcess[str]:
    if command[0] == "dd":
        # Under AddressSanitizer, which is preloaded, dd's own allocations are refused.
        keywords.setdefault("env", {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        **keywords,
    )
    if check:
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def fio(*arguments) -> list[dict]:
    """The jobs of fio's report; an error of any of them fails."""
    done = run(*FIO, *arguments)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert all(job["error"] == 0 for job in report["jobs"]), done.stdout
    return report["jobs"]


def aligned(data: bytes) -> mmap.mmap:
    """The bytes in memory that O_DIRECT takes."""
    room = mmap.mmap(-1, max(len(data), 1))
    room.write(data)
    return room


@contextmanager
def opened(path, flags: int):
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def direct_write(path, data: bytes, offset: int, flags: int = 0) -> int:
    with opened(path, os.O_WRONLY | os.O_DIRECT | flags) as fd:
        return os.pwrite(fd, aligned(data), offset)


def error_of(function, *arguments) -> int | None:
    """The errno that a call ends with; None if it succeeds."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return None


def zonedctl(*arguments, **keywords) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "zoned", *arguments, check=False, **keywords)


def serving(image, place, *options) -> subprocess.Popen[str]:
    """A mount in a process of its own, in the foreground; ready when this returns."""
    child = subprocess.Popen(
        [sys.executable, "-m", "zoned", "mount", "-f", *options, str(image), str(place)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    line = child.stderr.readline()
    assert line.startswith("mounted "), line + child.stderr.read()
    return child
