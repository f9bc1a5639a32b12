"""Files and pipes that commands read from and write to, besides disk images.

An output file appears complete or not at all (zoned.wholefile). Whatever is no regular file (a
pipe, /dev/null) is written as it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from zoned.cli.app import Failure
from zoned.cli.ask import confirm_replace
from zoned.openers import refuse_used
from zoned.wholefile import refuse_image, replacing


@contextmanager
def output(path: str | None, force: bool, what: str, image: str) -> Iterator[BinaryIO]:
    """A binary stream to write to. None: stdout, unless it is a terminal; ``-``: stdout, whatever
    it is. Never the disk that the command reads: it would be gone for what was read from it."""
    if path is None and sys.stdout.isatty():
        raise Failure(
            f"standard output is a terminal, and {what} is not for eyes: redirect it,"
            " or name a file"
        )
    if path is None or path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    refuse_the_disk(path, image, what)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = 0
    if mode and not stat.S_ISREG(mode):
        with _named(path), open(path, "wb") as stream:
            yield stream
        return
    if mode:
        confirm_replace(path, force)
    with _named(path), replacing(path) as stream:
        yield stream


@contextmanager
def source(path: str) -> Iterator[BinaryIO]:
    """A binary stream to read from; ``-``: stdin."""
    if path == "-":
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as stream:
            yield stream


def refuse_the_disk(path: str, image: str, what: str) -> None:
    """Raises Failure if a file that a command reads or writes is the disk itself."""
    with contextlib.suppress(OSError):
        if os.path.samefile(path, image):
            raise Failure(f"{path} is the disk itself: {what} needs a file of its own")


def refuse_unwritable(*paths: str | None) -> None:
    """Raises OSError for files that could not be written behind a run: whoever waits for an hour
    hears it before. What only shows in writing, such as a full disk, is told then."""
    for path in paths:
        if path is None:
            continue
        real = os.path.realpath(path)
        number = 0
        if os.path.isdir(real):
            number = errno.EISDIR
        elif os.path.exists(real) and not os.path.isfile(real):
            number = 0 if os.access(real, os.W_OK) else errno.EACCES
        elif not os.path.isdir(os.path.dirname(real)):
            number = errno.ENOENT
        elif not os.access(os.path.dirname(real), os.W_OK | os.X_OK):
            number = errno.EACCES
        if number:
            raise OSError(number, os.strerror(number), path)
        refuse_image(path)


def refuse_existing(image: str, replace: bool) -> None:
    """Raises Failure where a new image would be in the way of what is there, ImageBusyError where
    somebody uses that."""
    if not os.path.lexists(image):
        return
    if os.path.exists(image) and not os.path.isfile(image):
        raise Failure(f"{image} exists and is no regular file: choose another name")
    if not replace:
        raise Failure(f"{image} exists; --replace replaces it")
    if os.path.exists(image):
        refuse_used(image)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """What goes wrong in writing to a file says to which."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if type(error).__str__ is OSError.__str__ and error.filename is None:
            error.filename = path
        raise


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
