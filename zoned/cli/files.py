"""Files and pipes that commands read from and write to, besides disk images.

An output file appears complete or not at all: it is written under a temporary name in its folder
and renamed at the end. Whatever is no regular file (a pipe, /dev/null) is written as it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from zoned.cli.app import Failure
from zoned.cli.ask import confirm_replace


@contextmanager
def output(path: str | None, force: bool, what: str) -> Iterator[BinaryIO]:
    """A binary stream to write to. None: stdout, unless it is a terminal; ``-``: stdout, whatever
    it is."""
    if path is None and sys.stdout.isatty():
        raise Failure(
            f"standard output is a terminal, and {what} is not for eyes: redirect it,"
            " or name a file"
        )
    if path is None or path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = 0
    if mode and not stat.S_ISREG(mode):
        with open(path, "wb") as stream:
            yield stream
        return
    if mode:
        confirm_replace(path, force)
    real = os.path.realpath(path)
    folder, base = os.path.split(real)
    temporary = os.path.join(folder, f".{base}.writing.{os.getpid()}")
    try:
        with open(temporary, "xb") as stream:
            yield stream
        if mode:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.rename(temporary, real)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path
        raise


@contextmanager
def source(path: str) -> Iterator[BinaryIO]:
    """A binary stream to read from; ``-``: stdin."""
    if path == "-":
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as stream:
            yield stream


def remaining(stream: BinaryIO) -> int | None:
    """Bytes from here to the end of a regular file; None for a pipe or terminal."""
    try:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode):
            return None
        return max(facts.st_size - stream.tell(), 0)
    except OSError:
        return None


def fill(stream: BinaryIO, view: memoryview) -> int:
    """Read until the buffer is full or the input ends: a pipe gives what it has, not what is asked
    for."""
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            break
        done += int(count)
    return done
