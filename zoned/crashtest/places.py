"""Where a program finds a disk: the doors. Starting it there, and ending it in time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from zoned.crashtest.children import Keepers
from zoned.units import counted

MOST_OUTPUT = 65536
"""Bytes that are kept of what a program says: the last ones."""
_BEHIND = 1 << 20
"""A pipe holds no more of what a program said before it ended."""
HOLDER = "{disk}"
"""In a command: where the disk is, as $ZONED_DISK tells too."""


class Door(StrEnum):
    """How a program comes to the disk."""

    IMAGE = "image"
    """By the path of its image."""
    RUN = "run"
    """As a block device, /dev/zoned0, as zonedctl run makes it."""
    MOUNT = "mount"
    """In the directory where its zonefs is mounted."""
    UBLK = "ublk"
    """As a block device of the kernel's own, for root."""
    ISCSI = "iscsi"
    """By the URL of an iSCSI target on this machine."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    status: int
    """Its exit status; negative: the signal that killed it."""
    output: str
    """What it said, both its outputs; the last of it."""
    seconds: float
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0, in time."""
        return self.status == 0 and not self.timed_out

    @property
    def told(self) -> str:
        """How it ended, in words."""
        if self.timed_out:
            return f"was ended after {self.seconds:.1f} s, the time it may take"
        if self.status < 0:
            return f"was killed by {_signal(-self.status)}"
        return f"ended with status {self.status}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for programs' own use, between the first and the last
        return f"signal {number}"


class Stopped(Exception):  # noqa: N818 - it is no error of the program's
    """The test ends: the program was ended, and said nothing."""


class Stop:
    """Ends all programs of a test at once, whichever thread waits for them."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC)

    def set(self) -> None:
        """From now on every run() raises Stopped."""
        os.eventfd_write(self._event, 1)

    def check(self) -> None:
        """Raises Stopped if it is set."""
        if select.select([self], [], [], 0)[0]:
            raise Stopped

    def fileno(self) -> int:
        """Readable once it is set."""
        return self._event

    def close(self) -> None:
        """No run() is left."""
        os.close(self._event)


@dataclass(frozen=True, slots=True)
class Place:
    """A disk where programs find it."""

    disk: str
    """Path, directory or URL."""
    environment: Mapping[str, str]
    settle: Callable[[], None]
    """To be called behind a program that was killed."""


@contextlib.contextmanager
def placed(door: Door, image: str, scratch: str | None = None) -> Iterator[Place]:
    """Put an image behind a door; what that needs lies in the folder. Raises what the door raises:
    OSError, ValueError, RunError.
    """
    environment = dict(os.environ)
    if door is Door.RUN:
        from zoned.running import Session
        from zoned.running.programs import settle

        with Session({"zoned0": image}) as session:
            yield Place("/dev/zoned0", session.environment(), lambda: settle(session))
    elif door is Door.MOUNT:
        import zonefs

        with (
            tempfile.TemporaryDirectory(prefix="mount-", dir=scratch) as folder,
            zonefs.mount(image, folder),
        ):
            yield Place(folder, environment, _nothing)
    elif door is Door.UBLK:
        import zoned.export

        with zoned.export.ublk(image) as node:
            yield Place(node.path, environment, _nothing)
    elif door is Door.ISCSI:
        import zoned.export

        with zoned.export.iscsi(image) as target:
            yield Place(target.url, environment, _nothing)
    else:
        yield Place(image, environment, _nothing)


def _nothing() -> None:
    """No door but run has something to settle."""


def words_at(place: Place, command: Sequence[str]) -> list[str]:
    """A command with the disk's place in it."""
    return [word.replace(HOLDER, place.disk) for word in command]


def run(
    keepers: Keepers,
    place: Place,
    command: Sequence[str],
    more: Mapping[str, str],
    timeout: float,
    line: Callable[[bytes], None] | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Run a command to its end, or until its time is over; then whatever it left running is killed.
    ``line`` is called with each line that it says. Raises OSError where it cannot be started,
    Stopped, GoneError.
    """
    environment = {**place.environment, **more, "ZONED_DISK": place.disk}
    begin = time.monotonic()
    with keepers.one() as keeper:
        reader, writer = os.pipe()
        try:
            try:
                process = keeper.start(words_at(place, command), environment, writer)
            finally:
                os.close(writer)
            output, late = _hear(process, reader, begin + timeout, line, stop)
            status = keeper.end()
        finally:
            os.close(reader)
    if status < 0:
        place.settle()
    seconds = time.monotonic() - begin
    said = output.decode("utf-8", "replace")
    if len(output) == MOST_OUTPUT:
        said = f"... (the last {counted(MOST_OUTPUT, 'byte')})\n{said}"
    return Outcome(status, said, seconds, late)


def _hear(
    process: int,
    file: int,
    end: float,
    line: Callable[[bytes], None] | None,
    stop: Stop | None,
) -> tuple[bytes, bool]:
    """What it says until it has ended or its time is over, which is told. Raises Stopped."""
    kept, rest = b"", b""
    behind = 0  # what others say in its name once it has ended
    ends = os.pidfd_open(process)
    watched: list[int | Stop] = [file, ends, *([stop] if stop else [])]
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return kept, not select.select([ends], [], [], 0)[0]
            ready, _, _ = select.select(watched, [], [], left)
            if stop in ready:
                raise Stopped
            if file in ready:
                piece = os.read(file, 65536)
                behind += len(piece) if ends in ready else 0
                if behind > _BEHIND:
                    return kept, False
                if piece:
                    kept = (kept + piece)[-MOST_OUTPUT:]
                    if line is not None:
                        *lines, rest = (rest + piece).split(b"\n")
                        rest = rest[:MOST_OUTPUT]
                        for one in lines:
                            line(one)
                    continue
                watched.remove(file)  # it says no more
            elif ends in ready:
                return kept, False
    finally:
        os.close(ends)
