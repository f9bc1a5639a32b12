"""``dev.trace``: every command that a disk gets, with its result and times, into a file or as the
last few.

::

    with dev.trace.record("boot.trace"):
        ...                               # commands of every process that has the disk open
    for record in zoned.Trace("boot.trace"):
        print(record.number, record)

What a recording holds, and what it costs, is told in zoned/trace.h.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from zoned._core.handle import Handle, ask, call, pointer
from zoned._core.native import Guard, ffi, lib, open_file, sized
from zoned._core.owning import Turn
from zoned._core.raising import raise_error
from zoned.traces.records import ROW, TraceRecord, record_of

if TYPE_CHECKING:
    from io import FileIO


class Recorded(NamedTuple):
    """What ``stop`` tells of a recording."""

    records: int
    lost: int
    """Commands that are missing from the file: zoned/trace.h tells when that can be."""
    waits: int
    """Commands that had to wait for the recorder."""
    size: int
    """Of the file, bytes."""


class Recording:
    """One recording of a handle, from before it begins."""

    __slots__ = ("made", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: bool | None = None
        """Whether its file was not there before; None: not known yet."""


class State:
    """What a handle remembers of its recording."""

    __slots__ = ("now", "turn")

    def __init__(self) -> None:
        self.now: Recording | None = None
        self.turn = Turn("the recording of a device")


class DeviceTrace:
    """``dev.trace``: record the commands of everybody who has the disk open."""

    __slots__ = ("_device", "_state")

    def __init__(self, device: Handle, state: State) -> None:
        """Not for users: ``dev.trace``."""
        self._device = device
        self._state = state

    def __repr__(self) -> str:
        mine = self._state.now
        with suppress(ValueError, RuntimeError):  # a closed device records nothing
            if mine is not None and self._status().mine:
                return f"<dev.trace, recording to {mine.name!r}>"
        return "<dev.trace, this handle records nothing>"

    def start(self, path: str | os.PathLike[str]) -> None:
        """Record to a file, from now on until stop() or close(). An existing file is replaced.

        One recording at a time: raises OSError (EBUSY, EALREADY) where the disk is being recorded,
        io.UnsupportedOperation on a read-only handle, OSError where the file cannot be made.
        """
        self._start(Recording(os.fsdecode(path)))

    def _start(self, new: Recording) -> None:
        device = self._device
        with Guard(self._state.turn):
            before = self._status().mine
            free = not os.path.lexists(new.name)
            try:
                with _open_new(new, device) as file:
                    self._call(lib.zd_trace_start, new.name, file.fileno())
                    self._state.now = new
            except BaseException:
                if not before:
                    self._undo_start()
                if free and new.made is not False:
                    with suppress(OSError):
                        os.unlink(new.name)
                raise

    def _undo_start(self) -> None:
        """Something came amid start(): the recording may have begun."""
        with suppress(ValueError):  # the device was closed, which ended it
            if self._status().mine:
                ask(self._device, lib.zd_trace_stop, ffi.NULL, ffi.NULL)
        self._state.now = None

    def stop(self) -> Recorded:
        """End the recording: all commands that took effect before this are in the file.

        Raises OSError where the file could not be written to its end (it is readable up to there),
        ValueError where this handle records nothing.
        """
        device = self._device
        raw = sized("struct zd_trace_status")
        err = ffi.new("struct zd_error *")
        with Guard(self._state.turn):
            mine = self._state.now
            code = ask(device, lib.zd_trace_stop, raw, err)
            self._state.now = None
        if code == -errno.ENOENT:
            raise ValueError("this handle records nothing: dev.trace.start() begins")
        if code < 0:
            raise_error(code, err, device, mine.name if mine else None)
        return Recorded(raw.records, raw.lost, raw.waits, raw.bytes)

    @contextmanager
    def record(self, path: str | os.PathLike[str]) -> Iterator[None]:
        """start() and stop() around a block."""
        device, process = self._device, os.getpid()
        new = Recording(os.path.abspath(os.fsdecode(path)))
        try:
            self._start(new)
            yield
        finally:
            # Closing ended it, or another thread did; a forked child has none.
            if self._state.now is new and not device.closed and os.getpid() == process:
                self.stop()

    @property
    def recorder(self) -> int | None:
        """Process that records the disk to a file; None if nobody does."""
        return int(self._status().recorder) or None

    @property
    def records(self) -> int:
        """Commands that this handle's recording has met so far; 0 if it records nothing."""
        raw = self._status()
        return int(raw.records) if raw.mine else 0

    @property
    def failure(self) -> OSError | None:
        """Why this handle's recording ended by itself, such as a full disk; None if it did not."""
        number = int(self._status().error)
        mine = self._state.now
        name = mine.name if mine else None
        return OSError(number, os.strerror(number), name) if number else None

    @property
    def keeps(self) -> bool:
        """Whether the disk keeps its last commands for last()."""
        return bool(self._status().keeps)

    def keep(self, on: bool = True) -> None:
        """Keep the last 1,023 commands of all openers with the disk, for last(); or no longer.

        It stays so through close and open, until the host boots anew. Costs each command a fraction
        of a microsecond. Raises io.UnsupportedOperation on a read-only handle.
        """
        self._call(lib.zd_trace_keep, None, on)

    def last(self, count: int = lib.ZD_TRACE_LAST) -> list[TraceRecord]:
        """The last commands that were kept or recorded, oldest first; at most 1,023.

        Works on what an earlier opener left, and without power.
        """
        if not isinstance(count, int):
            raise TypeError(f"count must be an integer, not {type(count).__name__}")
        if count < 0:
            raise ValueError(f"count is {count}: it must not be negative")
        most = min(count, lib.ZD_TRACE_LAST)
        raw = ffi.new("struct zd_trace_record[]", most)
        got = self._call(lib.zd_trace_last, None, raw, most)
        geometry = self._device.geometry
        rows = ROW.iter_unpack(ffi.buffer(raw, got * ROW.size))
        return [record_of(row, geometry.zone_size, geometry.nr_zones) for row in rows]

    def _status(self) -> Any:
        raw = sized("struct zd_trace_status")
        self._call(lib.zd_trace_status, None, raw)
        return raw

    def _call(self, function: Any, path: str | None, *args: object) -> int:
        return call(self._device, function, *args, path=path)


def _open_new(new: Recording, device: Handle) -> FileIO:
    """The file to write the trace to; tells whether it was not there before."""
    try:
        file = open_file(new.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        new.made = True
    except FileExistsError:
        new.made = False
    else:
        return file
    file = open_file(new.name, os.O_WRONLY)
    status = os.fstat(file.fileno())
    with Guard(device):
        disk = os.fstat(lib.zd_fd(pointer(device)))
    if stat.S_ISREG(status.st_mode) and os.path.samestat(status, disk):
        file.close()
        raise ValueError(f"{new.name} is the disk itself: a trace needs a file of its own")
    return file
