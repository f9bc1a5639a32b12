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
from zoned.units import counted
from zoned.wholefile import refuse_image

if TYPE_CHECKING:
    from io import FileIO


_TRIES = 50
"""To begin a recording with data while others give commands."""


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

    def start(self, path: str | os.PathLike[str], *, data: bool = False) -> None:
        """Record to a file, from now on until stop() or close(). An existing file is replaced,
        unless it is a disk image (FileExistsError).

        ``data``: also what each command writes, and what the disk holds now (it is flushed first):
        a history for zoned.crash. OSError (EOPNOTSUPP) for a disk that keeps no data, or (EAGAIN)
        where others write without a pause.

        One recording at a time: raises OSError (EBUSY, EALREADY) where the disk is being recorded,
        io.UnsupportedOperation on a read-only handle, OSError where the file cannot be made.
        """
        self._start(Recording(os.fsdecode(path)), data)

    def _start(self, new: Recording, data: bool) -> None:
        device = self._device
        with Guard(self._state.turn):
            before = self._status().mine
            free = not os.path.lexists(new.name)
            try:
                with _open_new(new, device) as file:
                    begin = lib.zd_trace_start_data if data else lib.zd_trace_start
                    self._begin(begin, new, file)
                    self._state.now = new
            except BaseException:
                if not before:
                    self._undo_start()
                if free and new.made is not False:
                    with suppress(OSError):
                        os.unlink(new.name)
                raise

    def _begin(self, begin: Any, new: Recording, file: FileIO) -> None:
        """Again a few times where somebody gives a command just then."""
        for left in reversed(range(_TRIES)):
            try:
                self._call(begin, new.name, file.fileno())
            except BlockingIOError as error:
                if not left or error.errno != errno.EAGAIN:  # EALREADY is another one's recording
                    raise
                file.seek(0)
                file.truncate()
            else:
                return

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
    def record(self, path: str | os.PathLike[str], *, data: bool = False) -> Iterator[None]:
        """start() and stop() around a block."""
        device, process = self._device, os.getpid()
        new = Recording(os.path.abspath(os.fsdecode(path)))
        try:
            self._start(new, data)
            yield
        finally:
            # Closing ended it, or another thread did; a forked child has none.
            if self._state.now is new and not device.closed and os.getpid() == process:
                self.stop()

    def mark(self, text: str) -> None:
        """Put a text into the recording with data, behind all commands that have ended: what a
        workload relies on from here on. Works for recordings of others, too.

        Raises ValueError where the disk is not recorded with data, or for more than 4,096 bytes.
        """
        if not isinstance(text, str):
            raise TypeError(f"a mark is a text, not {type(text).__name__}")
        raw = text.encode("utf-8", "surrogateescape")
        if len(raw) > lib.ZD_TRACE_LONGEST_MARK:
            raise ValueError(
                f"a mark of {counted(len(raw), 'byte')}: at most {lib.ZD_TRACE_LONGEST_MARK}"
            )
        try:
            self._call(lib.zd_trace_mark, None, raw, len(raw))
        except FileNotFoundError:
            raise ValueError(
                "nobody records this disk with its data: dev.trace.start(path, data=True) does"
            ) from None

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
    try:
        refuse_image(new.name)
    except BaseException:
        file.close()
        raise
    return file
