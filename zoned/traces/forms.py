"""Traces in other forms: lines for people, JSON lines, fio's iolog. Pure text; touches no disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zoned.archive import describe_geometry
from zoned.plaintext import printable
from zoned.traces.own import Trace
from zoned.traces.records import DATA, TraceCommand, TraceRecord, ZoneRow
from zoned.traces.sources import Listed

HEAD = f"{'number':>8} {'time s':>14} {'took us':>10} {'pid':>7}  command"


def text_lines(records: Iterable[TraceRecord], start_ns: int) -> Iterator[str]:
    """A table, a line for each command; times count from ``start_ns``."""
    yield HEAD
    for item in records:
        time, took = (item.start_ns - start_ns) / 1e9, item.duration_ns / 1e3
        yield f"{item.number:>8} {time:>14.6f} {took:>10.1f} {item.pid:>7}  {item}"


def as_json(item: TraceRecord, start_ns: int) -> dict[str, Any]:
    """A record as JSON can hold it. Bytes; nanoseconds since the trace began."""
    found: dict[str, Any] = {"number": item.number, "command": str(item.command)}
    found |= {
        name: getattr(item, name) for name in ("zone", "offset") if getattr(item, name) is not None
    }
    if item.command in DATA:
        found |= {"length": item.length, "done": item.done}
    elif item.command is TraceCommand.POWER_CUT:
        found |= {"keep": item.length}
    elif item.length:
        found |= {"zones": item.length}
    elif item.done:
        found |= {"done": item.done}
    found["result"] = item.result
    if not item.ok:
        found["wp"] = item.wp
        found["bound"] = item.bound
        found["condition"] = item.condition.name if item.condition is not None else None
    if item.injected:
        found["fault"] = item.fault
    found["time"] = item.start_ns - start_ns
    found["took"] = item.duration_ns
    if item.virtual_ns:
        found["virtual"] = item.virtual_ns
    return found | {"pid": item.pid, "tid": item.tid}


def json_lines(trace: Trace, records: Iterable[TraceRecord]) -> Iterator[str]:
    """An object in each line: the disk, its commands, and how the trace ended."""
    head = trace.header
    yield json.dumps(
        {
            "trace": 1,
            "uuid": str(head.uuid),
            "started": head.started.isoformat(),
            "profile": head.geometry.profile,
            "geometry": describe_geometry(head.geometry),
            "zones": [_row_json(row) for row in trace.before],
        }
    )
    for item in records:
        yield json.dumps(as_json(item, head.monotonic_ns))
    yield json.dumps(
        {
            "end": trace.complete,
            "lost": trace.lost,
            "cut": trace.cut,
            "zones": [_row_json(row) for row in trace.after],
        }
    )


def _row_json(row: ZoneRow) -> dict[str, Any]:
    return row._asdict() | {"condition": row.condition.name}


LISTED = f"{'number':>8} {'time s':>14} {'device':>12}  command"


def listed_lines(commands: Iterable[Listed]) -> Iterator[str]:
    """A foreign trace as a table, a line for each command."""
    yield LISTED
    for item in commands:
        device = printable(item.device)
        yield f"{item.number:>8} {item.time / 1e9:>14.6f} {device:>12}  {item}"


def listed_json(form: str, commands: Iterable[Listed]) -> Iterator[str]:
    """A foreign trace, an object in each line: its format, then its commands."""
    yield json.dumps({"trace": 1, "format": form})
    for item in commands:
        found: dict[str, Any] = {"number": item.number, "command": item.word}
        if item.offset is not None:
            found |= {"offset": item.offset, "length": item.length}
        yield json.dumps(found | {"time": item.time, "device": item.device})


# ---------------------------------------------------------------- fio's iolog

Line = tuple[int, str | None]
"""Nanoseconds since the trace began, and what an iolog says of a command; None: it cannot."""


def of_records(trace: Trace, records: Iterable[TraceRecord]) -> Iterator[Line]:
    """A reset becomes the trim of its zone, an append the write where it landed. Commands that the
    disk refused are none.
    """
    for item in records:
        time = item.start_ns - trace.header.monotonic_ns
        if not item.ok:
            yield time, None
        elif item.command is TraceCommand.FLUSH:
            yield time, "sync 0 0"
        elif item.command in DATA and item.offset is not None and item.length:
            word = "read" if item.command is TraceCommand.READ else "write"
            yield time, f"{word} {item.offset} {item.length}"
        elif item.command is TraceCommand.RESET and item.zone is not None:
            disk = trace.geometry
            yield time, f"trim {disk.zone_start(item.zone)} {disk.zone_length(item.zone)}"
        else:
            yield time, None


def of_listed(commands: Iterable[Listed]) -> Iterator[Line]:
    """As of_records, of a foreign trace: what is no read, write, trim or sync is left out."""
    for item in commands:
        if item.word == TraceCommand.FLUSH:
            yield item.time, "sync 0 0"
        elif item.word in ("read", "write", "trim") and item.length:
            yield item.time, f"{item.word} {item.offset} {item.length}"
        else:
            yield item.time, None


@dataclass(slots=True)
class Iolog:
    """A trace as fio's iolog; after ``lines``, ``left_out`` tells what it cannot hold.

    fio's format knows reads, writes, trims and syncs. Version 2 with ``waits`` keeps the times, in
    microseconds between commands; version 3 always has times, in milliseconds as fio 3.33 reads
    them. fio drops waits below 100 us.
    """

    version: int = 2
    name: str = "/dev/zoned"
    waits: bool = False
    trims: bool = True
    left_out: int = 0

    def lines(self, commands: Iterable[Line]) -> Iterator[str]:
        """The lines of the file, without line ends."""
        yield f"fio version {self.version} iolog"
        yield self._line(0, "add")
        yield self._line(0, "open")
        self.left_out = before = last = 0
        for time, action in commands:
            if action is None or (not self.trims and action.startswith("trim")):
                self.left_out += 1
                continue
            if self.version == 2 and self.waits and time - before >= 100_000:
                yield self._line(0, f"wait {(time - before) // 1000} 0")
                before = time
            last = max(last, time // 1_000_000)
            yield self._line(last, action)
        yield self._line(last, "close")

    def _line(self, milliseconds: int, action: str) -> str:
        line = f"{self.name} {action}"
        return f"{milliseconds} {line}" if self.version == 3 else line
