"""What a trace holds: the commands of a disk, one record each, and rows of zones.

The bytes are ``struct zd_trace_record`` (zoned/trace.h); the file around them is that of
zoned.traces.own.
"""

from __future__ import annotations

import errno
import struct
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from zoned._core.native import lib
from zoned._core.raising import rule_name
from zoned.traces.packed import TraceError
from zoned.units import counted
from zoned.zone import ZoneCondition

if TYPE_CHECKING:
    from zoned.dumpfile import ZoneRecord

ROW = struct.Struct("=10QiIIII6B6xQ8x")
NO_PLACE = 2**64 - 1
NO_ZONE = 2**32 - 1


class TraceCommand(StrEnum):
    """What a record is about: the commands of a disk, and what else happens to one."""

    READ = "read"
    WRITE = "write"
    APPEND = "append"
    OPEN = "open"
    CLOSE = "close"
    FINISH = "finish"
    RESET = "reset"
    OPEN_ALL = "open-all"
    CLOSE_ALL = "close-all"
    FINISH_ALL = "finish-all"
    RESET_ALL = "reset-all"
    POWER_CYCLE = "power-cycle"
    SET_EMPTY = "set-empty"
    SET_READ_ONLY = "set-read-only"
    SET_OFFLINE = "set-offline"
    FLUSH = "flush"
    SET_EXTENSION = "set-extension"
    OPEN_ZRWA = "open-zrwa"
    COMMIT_ZRWA = "commit-zrwa"
    POWER_CUT = "power-cut"
    POWER_ON = "power-on"
    ROLLBACK = "rollback"
    MARK = "mark"


_EVENTS = (
    TraceCommand.POWER_CUT,
    TraceCommand.POWER_ON,
    TraceCommand.ROLLBACK,
    TraceCommand.MARK,
)
NUMBERS: dict[TraceCommand, int] = {
    command: getattr(
        lib, f"ZD_TRACE_{command.name}" if command in _EVENTS else f"ZD_CMD_{command.name}"
    )
    for command in TraceCommand
}
_COMMANDS = {number: command for command, number in NUMBERS.items()}
DATA = (TraceCommand.READ, TraceCommand.WRITE, TraceCommand.APPEND)
"""Commands that carry data."""


class TraceRecord(NamedTuple):
    """One command. Bytes, absolute on the disk; nanoseconds of CLOCK_MONOTONIC."""

    number: int
    """From 0 on; of ``dev.trace.last()``: of all that the disk ever kept."""
    command: TraceCommand
    zone: int | None
    """read, write: where it began, or where it failed. None: no zone, or no such offset."""
    offset: int | None
    """read, write: as given; append: where it landed; else None."""
    length: int
    """read, write, append: bytes asked for. Zone commands: 0, or how many zones where the disk has
    not so many.
    """
    done: int
    """Bytes transferred, whether it failed or not. Of a command for all zones that failed: how many
    zones it changed before.
    """
    code: int = 0
    """0, or the negative code of zoned/trace.h that it failed with."""
    wp: int | None = None
    """Failed: the zone's write pointer before it. None where invalid."""
    bound: int | None = None
    """Failed: what was crossed or exceeded, as ZonedError.bound."""
    condition: ZoneCondition | None = None
    """Failed: the zone's condition before it."""
    injected: bool = False
    """Whether a fault rule made it fail, or happen."""
    fault: int | None = None
    """Which one."""
    start_ns: int = 0
    """When it came."""
    duration_ns: int = 0
    """Till it had taken effect: waiting for locks and latency of fault rules included."""
    virtual_ns: int = 0
    """Virtual time that latency rules had added to the disk by its end."""
    pid: int = 0
    tid: int = 0
    """The process and thread that gave it."""
    data: int | None = None
    """Of a recording with data: which of it the command wrote."""
    fua: bool = False
    """What it wrote was durable when it ended. (Told by a recording with data, as the next 3.)"""
    zeroes: bool = False
    """It wrote zeros, without any data."""
    loses: bool = False
    """A fault rule marked what it wrote lost."""
    flips: bool = False
    """A fault rule made the disk store another bit than it was given."""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def rule(self) -> str | None:
        """Name of the rule that it broke, such as "unaligned-write"; None if it broke none."""
        return rule_name(self.code) if self.code <= lib.ZD_E_FIRST_RULE else None

    @property
    def result(self) -> str:
        """ "ok", the rule that it broke, or the host's error by its name, such as "ENOSPC"."""
        if self.code == 0:
            return "ok"
        return self.rule or errno.errorcode.get(-self.code, str(self.code))

    def __str__(self) -> str:
        """ "write of 4096 bytes at 8192 in zone 0: ok"."""
        where = f" in zone {self.zone}" if self.zone is not None else ""
        if self.command is TraceCommand.APPEND:
            landed = "" if self.offset is None else f", landed at {self.offset}"
            text = f"append of {counted(self.length, 'byte')} to zone {self.zone}{landed}"
        elif self.command in DATA:
            text = f"{self.command} of {counted(self.length, 'byte')} at {self.offset}{where}"
        elif self.command is TraceCommand.MARK:
            text = f"mark of {counted(self.length, 'byte')}"
        elif self.command is TraceCommand.COMMIT_ZRWA:
            text = f"{self.command} of zone {self.zone} to {self.offset}"
        elif self.zone is not None:
            more = f" and {self.length - 1} more" if self.length > 1 else ""
            text = f"{self.command} of zone {self.zone}{more}"
        else:
            text = str(self.command)
        told = self.result
        if not self.ok and self.condition is not None:
            wp = "" if self.wp is None else f", wp {self.wp}"
            told += f" (zone was {self.condition.name}{wp})"
        if self.done and self.command not in DATA:
            told += f", behind {counted(self.done, 'zone')}"
        if self.injected:
            told += f", by fault {self.fault}"
        return f"{text}: {told}"


class ZoneRow(NamedTuple):
    """A zone that is not as new when a recording begins or ends. Bytes from its start."""

    zone: int
    condition: ZoneCondition
    written: int
    durable: int
    non_seq: bool
    reset_recommended: bool
    finished: bool
    """Whether it became FULL by a finish."""
    opened: int
    """Implicitly open zones: a number that is larger for zones opened later."""
    extended: bool = False
    """Whether it had a descriptor extension."""
    area: int = 0
    """0: it had no random write area. Else one more than the granules of it that its write pointer
    was before the end of what was written.
    """

    def record(self) -> ZoneRecord:
        """What brings a zone of a new disk to this."""
        from zoned.dumpfile import NON_SEQ, RESET, ZoneRecord

        flags = (NON_SEQ if self.non_seq else 0) | (RESET if self.reset_recommended else 0)
        return ZoneRecord(self.zone, self.condition, flags, self.written, self.extended, self.area)


def zone_row(row: tuple[int, ...]) -> ZoneRow:
    flags = row[19]
    try:
        condition = ZoneCondition(row[17])
    except ValueError:
        raise TraceError(
            f"zone {row[11]} of the trace is in condition {row[17]}, which there is not"
        ) from None
    return ZoneRow(
        row[11],
        condition,
        row[6],
        row[5],
        bool(flags & 1),
        bool(flags & 2),
        bool(flags & 4),
        row[4],
        bool(flags & 8),
        row[8] if flags & 16 else 0,
    )


_CONDITIONS: dict[int, ZoneCondition] = {int(condition): condition for condition in ZoneCondition}


def record_of(row: tuple[int, ...], zone_size: int, nr_zones: int) -> TraceRecord:
    (number, start, duration, virtual, offset, length, done, landed, wp, bound, code) = row[:11]
    zone: int | None = row[11] if row[11] != NO_ZONE else None
    where: int | None = None
    if offset != NO_PLACE:
        where = offset
        if zone is None and offset < zone_size * nr_zones and row[16] <= 1:
            zone = offset // zone_size
    elif landed != NO_PLACE:
        where = landed
    failed = code < 0
    return TraceRecord(
        number,
        _COMMANDS[row[16]],
        zone,
        where,
        length,
        done,
        code,
        None if wp == NO_PLACE or not failed else wp,
        None if not failed or bound in (0, NO_PLACE) else bound,
        _CONDITIONS.get(row[17]) if failed else None,
        bool(row[18]),
        row[14] if row[18] else None,
        start,
        duration,
        virtual,
        row[12],
        row[13],
        row[21] or None,
        bool(row[20] & lib.ZD_TRACE_FUA),
        bool(row[20] & lib.ZD_TRACE_ZEROES),
        bool(row[20] & lib.ZD_TRACE_LOSES),
        bool(row[20] & lib.ZD_TRACE_FLIPS),
    )
