"""Block traces of other programs: their formats, and their commands as a stream of C records.
(zoned's own traces: zoned.traces.own.)

Files are parsed in C (native/sim/parse.c) in pieces and never held in memory as a whole. Malformed
lines are counted and the first is shown; a file without one good line is an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoned._core.figures import Figure
from zoned._core.native import ffi, lib
from zoned.inputs import LONGEST_LINE, line_too_long
from zoned.traces.packed import TraceError, head_of, open_input, read_piece
from zoned.units import counted

FORMATS = {
    "msr": lib.ZD_TRACE_MSR,
    "alibaba": lib.ZD_TRACE_ALIBABA,
    "tencent": lib.ZD_TRACE_TENCENT,
    "iolog2": lib.ZD_TRACE_IOLOG2,
    "iolog3": lib.ZD_TRACE_IOLOG3,
    "blkparse": lib.ZD_TRACE_BLKPARSE,
}
BATCH = 65536


_COUNTS = {"records_read": "records", "lines": "line"}
"""Which of the parser's counts bears another name."""


def _counted(trace: BlockTrace, name: str) -> int:
    return int(getattr(trace._parser, _COUNTS.get(name, name)))


class BlockTrace:
    """A trace file. After reading, ``records_read``, ``bad``, ``ignored`` and ``first_bad`` tell.

    ``action``: of blkparse's lines, those to take (D: issued to the drive; Q: queued by the host).
    ``iolog_ns``: times of an iolog version 3 are nanoseconds (newer versions of fio), not
    milliseconds. ``zones``: blkparse's zone commands are commands too (directions from
    ZD_TRACE_DIR_RESET on), not ignored. ``files``: an iolog's files are devices of their own
    (file_number()), not one.
    Raises TraceError for a format that cannot be told from the file's beginning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        form: str | None = None,
        *,
        action: str = "D",
        iolog_ns: bool = False,
        zones: bool = False,
        files: bool = False,
    ) -> None:
        self.path = Path(path)
        if form is not None and form not in FORMATS:
            raise TraceError(f"there is no trace format {form!r}: use {', '.join(FORMATS)}")
        head = head_of(self.path)
        if not head:
            raise TraceError(f"{self.path}: the file is empty")
        self.format = form or guess(head, str(self.path))
        self.action = action
        self.iolog_ns = iolog_ns
        self.zones = zones
        self.files = files
        self._parser = self._new_parser()
        """Of the last reading: what was counted. Each reading has one of its own."""

    def _new_parser(self) -> Any:
        parser = ffi.new("struct zd_trace_parser *")
        parser.format = FORMATS[self.format]
        parser.iolog_ns = self.iolog_ns
        parser.zones = self.zones
        parser.files = self.files
        parser.action = ord(self.action)
        return parser

    records_read = Figure(_counted, "Commands so far.")
    lines = Figure(_counted, "Lines so far.")
    bad = Figure(_counted, "Malformed lines so far.")
    ignored = Figure(_counted, "Well-formed lines that are no commands (headers, other events).")

    @property
    def first_bad(self) -> str:
        """The first malformed line, with its number; empty if there is none."""
        if not self._parser.bad:
            return ""
        text = ffi.string(self._parser.bad_text).decode("utf-8", "replace")
        return f"line {self._parser.bad_line}: {text!r}"

    def records(self) -> Iterator[tuple[Any, int]]:
        """Arrays of ``struct zd_sim_record`` and how many of each are filled.

        Raises TraceError for a file that is cut off or has no command in it; OSError.
        """
        parser = self._parser = self._new_parser()
        out = ffi.new("struct zd_sim_record[]", BATCH)
        used = ffi.new("uint64_t *")
        with open_input(self.path) as file:
            rest = b""
            last = False
            while not last:
                piece = read_piece(file, self.path)
                last = not piece
                text = rest + piece
                at = 0
                view = ffi.from_buffer(text)
                while True:
                    count = lib.zd_trace_parse(
                        parser, view + at, len(text) - at, last, out, BATCH, used
                    )
                    at += used[0]
                    if count:
                        yield out, count
                    if count < BATCH:
                        break
                rest = text[at:]
                if len(rest) > LONGEST_LINE:
                    raise TraceError(line_too_long(self.path, int(parser.line) + 1))
        if not parser.records:
            # Not what it says: a file of another kind is nobody's to show.
            hint = f"; first malformed line {parser.bad_line}" if parser.bad else ""
            raise TraceError(
                f"{self.path}: no command in {counted(self.lines, 'line')} read as "
                f"{self.format}{hint}"
            )


def file_number(name: str) -> int:
    """The device number of a file of an iolog: FNV-1a, as native/sim/parse.c has it."""
    number = 2166136261
    for byte in name.encode("utf-8", "surrogateescape"):
        number = (number ^ byte) * 16777619 & 0xFFFFFFFF
    return number


def guess(head: bytes, name: str) -> str:
    """The format, from the first lines. Raises TraceError."""
    text = head.decode("utf-8", "replace")
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if lines and lines[0].startswith("fio version 2 iolog"):
        return "iolog2"
    if lines and lines[0].startswith("fio version 3 iolog"):
        return "iolog3"
    if lines and lines[0].startswith("fio version 1"):
        raise TraceError(f"{name}: fio iolog version 1 is not supported, only 2 and 3")
    for form in ("msr", "alibaba", "tencent", "blkparse"):
        parser = ffi.new("struct zd_trace_parser *")
        parser.format = FORMATS[form]
        parser.action = ord("D")
        records = ffi.new("struct zd_sim_record[]", 32)
        used = ffi.new("uint64_t *")
        sample = "\n".join(lines).encode() + b"\n"
        count = lib.zd_trace_parse(parser, sample, len(sample), 1, records, 32, used)
        if parser.bad * 2 < len(lines) and (count or (form == "blkparse" and parser.ignored)):
            return form
    raise TraceError(f"{name}: not a trace of a known format ({', '.join(FORMATS)})")
