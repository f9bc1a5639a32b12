"""fio's logs of commands (``write_bw_log`` and its kin), as files of the form that fio's have.

A line is "time in ms, value, direction, block size, priority": of each command, or of each
direction in each ``log_avg_msec``. Values are kB/s (averaged: KiB/s), ns and commands a second, as
fio has them. Files appear when the run is over, whole or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

from zoned.bench.fiovalues import FioError
from zoned.wholefile import replacing

MOST_FILES = 256
"""Logs of one run: each is open until the run is over."""
RECORD = struct.Struct("=4Q2I")
"""``struct zd_sim_done``: when, latency, offset, length, direction."""
FILES = {"bw": ("bw",), "lat": ("slat", "clat", "lat"), "iops": ("iops",)}
"""The files that each kind of log makes. There is no submission latency: its file stays empty."""
MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Logs:
    """What a job's options ask for."""

    names: dict[str, str]
    """By kind (bw, lat, iops): how the files' names begin."""
    per_job: bool = True
    every: int = 0
    """ms that a line stands for; 0: one command."""
    most: bool = False
    """Of these, the greatest latency, not the mean."""
    offset: bool = False
    priority: bool = False

    def paths(self, number: int) -> dict[str, str]:
        """File names by what is in them, of the job with this number (from 1)."""
        tail = f".{number}.log" if self.per_job else ".log"
        return {
            what: f"{name}_{what}{tail}"
            for kind, name in self.names.items()
            for what in FILES[kind]
        }


@dataclass
class _Window:
    """What was done of one direction since the last line."""

    count: int = 0
    bytes: int = 0
    sum: int = 0
    most: int = 0


@dataclass
class _Job:
    """How far one job's logs are."""

    logs: Logs
    files: dict[str, BinaryIO]
    window: int = 0
    now: int = 0
    so_far: list[_Window] = field(default_factory=lambda: [_Window() for _ in range(3)])

    def take(self, records: memoryview) -> None:
        """Commands, in the order in which they were done."""
        lines: dict[str, list[str]] = {what: [] for what in self.files}
        every = self.logs.every * MS
        for time, latency, offset, length, direction, _ in RECORD.iter_unpack(records):
            if not every:
                self._command(lines, time, latency, offset, length, direction)
                continue
            if time // every != self.window:
                self._close(lines, (self.window + 1) * self.logs.every, every)
                self.window = time // every
            self.now = time
            window = self.so_far[direction]
            window.count += 1
            window.bytes += length
            window.sum += latency
            window.most = max(window.most, latency)
        self._put(lines)

    def end(self) -> None:
        """The job is over: what is left makes a line of its own."""
        lines: dict[str, list[str]] = {what: [] for what in self.files}
        begun = self.window * self.logs.every * MS
        if self.logs.every and self.now > begun:
            self._close(lines, -(-self.now // MS), self.now - begun)
        self._put(lines)

    def _command(
        self,
        lines: dict[str, list[str]],
        time: int,
        latency: int,
        offset: int,
        length: int,
        to: int,
    ) -> None:
        rest = self._rest(length, offset)
        for what, value in (
            ("bw", length * MS // latency if latency else 0),
            ("clat", latency),
            ("lat", latency),
            ("iops", 1),
        ):
            if what in lines:
                lines[what].append(f"{time // MS}, {value}, {to}, {rest}\n")

    def _close(self, lines: dict[str, list[str]], ms: int, span: int) -> None:
        """The lines of a window that ends at ``ms`` and is ``span`` ns long."""
        rest = self._rest(0, 0)
        for to, window in enumerate(self.so_far):
            if not window.count:
                continue
            latency = window.most if self.logs.most else round(window.sum / window.count)
            for what, value in (
                ("bw", window.bytes * 10**9 // span // 1024),
                ("clat", latency),
                ("lat", latency),
                ("iops", window.count * 10**9 // span),
            ):
                if what in lines:
                    lines[what].append(f"{ms}, {value}, {to}, {rest}\n")
            self.so_far[to] = _Window()

    def _rest(self, length: int, offset: int) -> str:
        place = f"{offset}, " if self.logs.offset else ""
        return f"{length}, {place}{'0x0000' if self.logs.priority else '0'}"

    def _put(self, lines: dict[str, list[str]]) -> None:
        for what, some in lines.items():
            self.files[what].write("".join(some).encode())


class LogFiles:
    """The logs that the jobs of a run ask for, by the jobs' places. A ``with`` block: the files
    appear when it ends, and not where it ends by an exception.

    Raises FioError where they are too many, OSError that names a file.
    """

    def __init__(self, wanted: Sequence[Logs | None]) -> None:
        self._wanted = wanted
        self._stack = ExitStack()
        self._jobs: dict[int, _Job] = {}
        self.paths: list[str] = []
        """The files, in the order of the jobs."""
        for _, _, path in self._each():
            if path not in self.paths:
                self.paths.append(path)
        if len(self.paths) > MOST_FILES:
            raise FioError(
                f"the jobs write {len(self.paths)} logs: at most {MOST_FILES} can be had"
            )

    def _each(self) -> Iterator[tuple[int, str, str]]:
        for index, logs in enumerate(self._wanted):
            if logs is not None:
                for what, path in logs.paths(index + 1).items():
                    yield index, what, path

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            files = {path: opened.enter_context(replacing(path)) for path in self.paths}
            for index, what, path in self._each():
                logs = self._wanted[index]
                assert logs is not None
                self._jobs.setdefault(index, _Job(logs, {})).files[what] = files[path]
            self._stack = opened.pop_all()
        return self

    def wants(self, job: int) -> bool:
        """Whether this one's commands are logged."""
        return job in self._jobs

    def take(self, job: int, records: memoryview) -> None:
        """Commands that a job has done: an array of ``struct zd_sim_done``."""
        self._jobs[job].take(records)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                for job in self._jobs.values():
                    job.end()
        except BaseException as failed:
            self._stack.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)
