"""Every exception of zoned, and the one function that turns a code of the native core into one.

A broken rule raises the class named after it; the message is one sentence with the numbers that
matter. Uses the native library only to ask how a rule is called and how each kind of host sees it.
"""

from __future__ import annotations

import errno as errnos
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from zoned._lib import ffi, lib
from zoned.geometry import Dialect, Geometry, GeometryError
from zoned.plaintext import printable
from zoned.units import counted
from zoned.zone import ZoneCondition

if TYPE_CHECKING:
    from zoned.info import Limits

__all__ = [
    "AppendLimitError",
    "BlockAlignmentError",
    "CommandTimeoutError",
    "ConventionalZoneError",
    "GapAccessError",
    "GeometryError",
    "ImageBusyError",
    "ImageCorruptError",
    "ImageError",
    "ImageFailedError",
    "ImageFeatureError",
    "ImageTruncatedError",
    "ImageVersionError",
    "InvalidReadError",
    "InvalidTransitionError",
    "MediumError",
    "NotAnImageError",
    "OutOfRangeError",
    "PowerLossError",
    "ReadBoundaryError",
    "TooManyActiveError",
    "TooManyOpenError",
    "UnalignedWriteError",
    "UnsupportedCommandError",
    "WriteBoundaryError",
    "ZoneFullError",
    "ZoneOfflineError",
    "ZoneReadOnlyError",
    "ZonedError",
    "bad_number",
    "broken_rule",
    "raise_error",
    "rule_name",
]

NONE = 2**64 - 1
NO_ZONE = 2**32 - 1


class ZonedError(OSError):
    """A rule of zoned devices was broken, or a fault was injected. str() is one sentence.

    ``errno`` is what Linux's block layer gives: EIO, but ETOOMANYREFS for the open limit, EOVERFLOW
    for the active limit, ENODATA for a medium error on read, EOPNOTSUPP for an unsupported command.
    """

    rule: str = ""
    """Name of the rule, such as "unaligned-write"."""

    def __init__(
        self,
        errno: int,
        message: str,
        *,
        zone: int | None = None,
        offset: int | None = None,
        length: int = 0,
        wp: int | None = None,
        bound: int | None = None,
        condition: ZoneCondition | None = None,
        sense: tuple[int, int, int] | None = None,
        nvme_status: int | None = None,
        injected: bool = False,
        fault: int | None = None,
        rule: str | None = None,
    ) -> None:
        super().__init__(errno, message)
        if rule is not None:
            self.rule = rule
        self.zone = zone
        """Index of the zone concerned, None if there is none."""
        self.offset = offset
        """Where the command began, bytes."""
        self.length = length
        """How long it was, bytes."""
        self.wp = wp
        """The zone's write pointer at that moment, absolute; None where invalid."""
        self.bound = bound
        """What was crossed or exceeded: the end of a zone, a capacity, the end of the disk, a
        limit.
        """
        self.condition = condition
        """The zone's condition at that moment."""
        self.sense = sense
        """SCSI sense key, ASC, ASCQ (dialect zbc), else None."""
        self.nvme_status = nvme_status
        """NVMe status, SCT << 8 | SC (dialect zns), else None."""
        self.injected = injected
        """Whether a fault rule made this happen."""
        self.fault = fault
        """Which one."""

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror), self.__dict__.copy()


class UnalignedWriteError(ZonedError):
    """A write that is not at the write pointer, or (512e) does not end on a physical block."""

    rule = "unaligned-write"


class WriteBoundaryError(ZonedError):
    """A write that crosses the zone's end, its capacity, or into zones of another type."""

    rule = "write-boundary"


class ReadBoundaryError(ZonedError):
    """A read that crosses zones where it may not.

    ``rule`` is "read-boundary", or "read-type-boundary" where the zones are of different types.
    """

    rule = "read-boundary"


class InvalidReadError(ZonedError):
    """A read that passes the write pointer of a disk with URSWRZ off."""

    rule = "invalid-read"


class ZoneFullError(ZonedError):
    """A write to a full zone."""

    rule = "zone-full"


class ZoneReadOnlyError(ZonedError):
    """A write or a zone command to a zone in condition READ_ONLY."""

    rule = "zone-read-only"


class ZoneOfflineError(ZonedError):
    """Any access to a zone in condition OFFLINE."""

    rule = "zone-offline"


class TooManyOpenError(ZonedError):
    """No open resource is left, and no implicitly open zone can be closed."""

    rule = "too-many-open"


class TooManyActiveError(ZonedError):
    """No active resource is left."""

    rule = "too-many-active"


class InvalidTransitionError(ZonedError):
    """The zone's condition does not allow this command."""

    rule = "invalid-transition"


class ConventionalZoneError(InvalidTransitionError):
    """A zone command or an append to a conventional zone."""

    rule = "conventional-zone"


class GapAccessError(ZonedError):
    """A command that starts between a zone's capacity and its end."""

    rule = "gap"


class OutOfRangeError(ZonedError, ValueError):
    """Beyond the end of the disk, or no such zone."""

    rule = "out-of-range"


class BlockAlignmentError(ZonedError, ValueError):
    """An offset or length that is no multiple of the logical block."""

    rule = "block-alignment"


class AppendLimitError(ZonedError):
    """An append longer than the append limit."""

    rule = "append-limit"


class UnsupportedCommandError(ZonedError):
    """The dialect has no such command."""

    rule = "unsupported-command"


class MediumError(ZonedError):
    """The medium fails to give or take the data."""

    rule = "medium-error"


class PowerLossError(ZonedError):
    """The emulated disk has no power."""

    rule = "power-loss"


class CommandTimeoutError(ZonedError, TimeoutError):
    """The command hung and timed out; only a fault makes that happen."""

    rule = "command-timeout"


class ImageError(OSError):
    """Something is wrong with an image file; ``filename`` says which."""

    def __str__(self) -> str:
        where = f"{self.filename}: " if self.filename is not None else ""
        return f"{where}{self.strerror}"


class NotAnImageError(ImageError):
    """The file is no disk image of zoned."""


class ImageVersionError(ImageError):
    """The image has a format version that this zoned does not know."""


class ImageFeatureError(ImageError):
    """The image uses a feature that this zoned does not know."""


class ImageTruncatedError(ImageError):
    """The file ends before the image does."""


class ImageCorruptError(ImageError):
    """The image contradicts itself where no copy can help."""


class ImageFailedError(ImageError):
    """An earlier sync to the host's disk failed; the image needs ``zonedctl check --repair``."""


class ImageBusyError(ImageError):
    """The operation needs the disk to itself, and others have it open."""


_RULES: dict[int, type[ZonedError]] = {
    lib.ZD_E_UNALIGNED_WRITE: UnalignedWriteError,
    lib.ZD_E_WRITE_BOUNDARY: WriteBoundaryError,
    lib.ZD_E_READ_BOUNDARY: ReadBoundaryError,
    lib.ZD_E_READ_TYPE: ReadBoundaryError,
    lib.ZD_E_INVALID_READ: InvalidReadError,
    lib.ZD_E_ZONE_FULL: ZoneFullError,
    lib.ZD_E_ZONE_READ_ONLY: ZoneReadOnlyError,
    lib.ZD_E_ZONE_OFFLINE: ZoneOfflineError,
    lib.ZD_E_TOO_MANY_OPEN: TooManyOpenError,
    lib.ZD_E_TOO_MANY_ACTIVE: TooManyActiveError,
    lib.ZD_E_INVALID_TRANSITION: InvalidTransitionError,
    lib.ZD_E_CONVENTIONAL: ConventionalZoneError,
    lib.ZD_E_GAP: GapAccessError,
    lib.ZD_E_OUT_OF_RANGE: OutOfRangeError,
    lib.ZD_E_BLOCK_ALIGNMENT: BlockAlignmentError,
    lib.ZD_E_APPEND_LIMIT: AppendLimitError,
    lib.ZD_E_UNSUPPORTED: UnsupportedCommandError,
    lib.ZD_E_MEDIUM_READ: MediumError,
    lib.ZD_E_MEDIUM_WRITE: MediumError,
    lib.ZD_E_POWER_LOSS: PowerLossError,
    lib.ZD_E_TIMEOUT: CommandTimeoutError,
}

_IMAGE: dict[int, tuple[type[ImageError], int]] = {
    lib.ZD_E_NOT_IMAGE: (NotAnImageError, errnos.EINVAL),
    lib.ZD_E_VERSION: (ImageVersionError, errnos.EOPNOTSUPP),
    lib.ZD_E_FEATURE: (ImageFeatureError, errnos.EOPNOTSUPP),
    lib.ZD_E_TRUNCATED: (ImageTruncatedError, errnos.EUCLEAN),
    lib.ZD_E_CORRUPT: (ImageCorruptError, errnos.EUCLEAN),
    lib.ZD_E_FAILED: (ImageFailedError, errnos.EIO),
    lib.ZD_E_BUSY: (ImageBusyError, errnos.EBUSY),
}

DIALECT_NUMBERS: dict[Dialect, int] = {
    Dialect.ZBC: lib.ZD_ZBC,
    Dialect.ZNS: lib.ZD_ZNS,
    Dialect.NULLBLK: lib.ZD_NULLBLK,
}

_VERBS: dict[int, str] = {
    lib.ZD_CMD_READ: "read",
    lib.ZD_CMD_WRITE: "write",
    lib.ZD_CMD_APPEND: "append",
    lib.ZD_CMD_OPEN: "open",
    lib.ZD_CMD_CLOSE: "close",
    lib.ZD_CMD_FINISH: "finish",
    lib.ZD_CMD_RESET: "reset",
    lib.ZD_CMD_OPEN_ALL: "open",
    lib.ZD_CMD_CLOSE_ALL: "close",
    lib.ZD_CMD_FINISH_ALL: "finish",
    lib.ZD_CMD_RESET_ALL: "reset",
    lib.ZD_CMD_POWER_CYCLE: "power cycle",
    lib.ZD_CMD_SET_EMPTY: "set_condition EMPTY",
    lib.ZD_CMD_SET_READ_ONLY: "set_condition READ_ONLY",
    lib.ZD_CMD_SET_OFFLINE: "set_condition OFFLINE",
    lib.ZD_CMD_FLUSH: "flush",
}
_ALL_FORMS = (
    lib.ZD_CMD_OPEN_ALL,
    lib.ZD_CMD_CLOSE_ALL,
    lib.ZD_CMD_FINISH_ALL,
    lib.ZD_CMD_RESET_ALL,
)


class Disk(Protocol):
    """What a message needs to know of the disk: a Device, to this module."""

    @property
    def geometry(self) -> Geometry: ...
    @property
    def limits(self) -> Limits: ...


def raise_error(code: int, err: Any, disk: Disk | None, path: str | None) -> NoReturn:
    """Raise what a negative code of the native core means.

    ``err`` is the ``struct zd_error *`` that the call filled. ``disk`` is None before there is one.
    """
    text = ffi.string(err.text).decode("utf-8", "replace") if code == err.code else ""
    if code in _RULES:
        if disk is None:
            raise RuntimeError(f"the core refused with {rule_name(code)} before there was a disk")
        raise broken_rule(code, err, disk)
    if code == lib.ZD_E_GEOMETRY:
        raise GeometryError(text)
    if code in _IMAGE:
        kind, errno = _IMAGE[code]
        raise kind(errno, text or rule_name(code), path)
    if code == lib.ZD_E_READONLY_HANDLE:
        verb = _VERBS.get(err.cmd, "this command")
        raise io.UnsupportedOperation(f"{verb} is refused: the disk was opened read-only")
    if code == lib.ZD_E_CLOSED:
        raise ValueError("the device is closed")
    reason = os.strerror(-code)
    raise OSError(-code, f"{reason} ({text})" if text else reason, path)


def broken_rule(code: int, err: Any, disk: Disk) -> ZonedError:
    """The exception for a broken rule (a code from -2001 down)."""
    dialect = disk.geometry.dialect
    info = lib.zd_rule_info(code, DIALECT_NUMBERS[dialect])
    case = _Case(err, disk.geometry, disk)
    message = _SENTENCES[code](case)
    if err.injected:
        label = printable(ffi.string(err.text).decode("utf-8", "replace"))
        message += f" (injected by fault {err.fault}{f': {label}' if label else ''})"
    return _RULES[code](
        info.err,
        message,
        zone=case.zone,
        # A zone that does not exist: the core has its number in the place of the offset.
        offset=None if case.names_no_zone else _none(err.offset, NONE),
        length=err.length,
        wp=_none(err.wp, NONE),
        bound=err.bound or None,
        condition=None if err.cond == 0xFF else ZoneCondition(err.cond),
        sense=(info.sense_key, info.asc, info.ascq) if dialect is Dialect.ZBC else None,
        nvme_status=info.nvme_status if dialect is Dialect.ZNS else None,
        injected=bool(err.injected),
        fault=err.fault if err.injected else None,
        rule=rule_name(code),
    )


def bad_number(disk: Disk, name: str, value: int) -> OutOfRangeError:
    """For an offset, length or zone index that no disk can have: negative, or 2^63 and more."""
    geometry = disk.geometry
    info = lib.zd_rule_info(lib.ZD_E_OUT_OF_RANGE, DIALECT_NUMBERS[geometry.dialect])
    if name == "zone":
        message = _no_zone(value, geometry)
    elif name == "count":
        message = f"count is {value}: it must be 1 to {geometry.nr_zones}, the zones of the disk"
    elif value < 0:
        message = f"{name} is {value}: it must not be negative"
    else:
        message = f"{name} is {value}: the disk ends at {geometry.size}"
    return OutOfRangeError(
        info.err,
        message,
        zone=value if name == "zone" else None,
        offset=value if name == "offset" else None,
        length=value if name == "length" else 0,
        bound=geometry.nr_zones if name in ("zone", "count") else geometry.size,
        sense=(info.sense_key, info.asc, info.ascq) if geometry.dialect is Dialect.ZBC else None,
        nvme_status=info.nvme_status if geometry.dialect is Dialect.ZNS else None,
    )


def rule_name(code: int) -> str:
    """What the core calls a code; its number where it has no name."""
    name = lib.zd_rule_name(code)
    return str(code) if name == ffi.NULL else ffi.string(name).decode("ascii")


def _none(value: int, invalid: int) -> int | None:
    return None if value == invalid else value


def _no_zone(zone: int, geometry: Geometry) -> str:
    return f"zone {zone} does not exist: the disk has zones 0 to {geometry.nr_zones - 1}"


_DATA = (lib.ZD_CMD_READ, lib.ZD_CMD_WRITE)


@dataclass(frozen=True, slots=True)
class _Case:
    """A broken rule, as the sentences below look at it."""

    err: Any
    geometry: Geometry
    disk: Disk

    @property
    def names_no_zone(self) -> bool:
        """Whether a zone was named that the disk does not have."""
        err = self.err
        return err.code == lib.ZD_E_OUT_OF_RANGE and err.cmd not in _DATA

    @property
    def zone(self) -> int | None:
        """The zone concerned."""
        if self.names_no_zone:
            return int(self.err.offset)
        return _none(self.err.zone, NO_ZONE)

    @property
    def what(self) -> str:
        """The command: "write at 8192 in zone 3", "reset of zone 3", "open of all zones"."""
        return self._command("")

    @property
    def how_much(self) -> str:
        """The command with its length: "write of 4096 bytes at 8192 in zone 3"."""
        return self._command(f" of {counted(self.err.length, 'byte')}" if self.err.length else "")

    @property
    def the_zone(self) -> str:
        """ "the zone", or its number where a read began in another one."""
        err = self.err
        if err.cmd in _DATA and self.zone is not None and self.zone != self._begins:
            return f"zone {self.zone}"
        return "the zone"

    @property
    def _begins(self) -> int | None:
        offset = self.err.offset
        return self.geometry.zone_of(offset) if offset < self.geometry.size else None

    def _command(self, size: str) -> str:
        err = self.err
        verb = _VERBS.get(err.cmd, "command")
        if err.cmd == lib.ZD_CMD_APPEND:
            return f"append{size} to zone {self.zone}"
        if err.cmd in _DATA:
            where = "" if self._begins is None else f" in zone {self._begins}"
            return f"{verb}{size} at {err.offset}{where}"
        if err.cmd in _ALL_FORMS:
            return f"{verb} of all zones"
        return verb if self.zone is None else f"{verb} of zone {self.zone}"

    def ends(self) -> tuple[int, int]:
        """Where the zone's capacity ends, and where the zone does."""
        geometry, zone = self.geometry, self.zone
        if zone is None:
            return geometry.size, geometry.size
        start = geometry.zone_start(zone)
        return start + geometry.zone_capacity_of(zone), start + geometry.zone_length(zone)


def _unaligned_write(case: _Case) -> str:
    if case.err.wp not in (NONE, case.err.offset):
        return f"{case.what} is not at its write pointer {case.err.wp}"
    return (
        f"{case.how_much} does not end on a physical block: length must be a multiple of "
        f"{case.geometry.physical_block}"
    )


def _write_boundary(case: _Case) -> str:
    err = case.err
    capacity_end, end = case.ends()
    start = err.wp if err.cmd == lib.ZD_CMD_APPEND and err.wp != NONE else err.offset
    if start != NONE and capacity_end < end and start + err.length > capacity_end:
        return f"{case.how_much} passes the zone's capacity, which ends at {capacity_end}"
    return f"{case.how_much} crosses the end of the zone at {end}"


def _read_boundary(case: _Case) -> str:
    return (
        f"{case.how_much} crosses the end of the zone at {case.ends()[1]}, "
        "and this disk does not read across zones"
    )


def _read_type_boundary(case: _Case) -> str:
    return (
        f"{case.how_much} crosses {case.err.bound}, where another type of zone or a gap begins, "
        "and a host-managed disk does not read across that"
    )


def _invalid_read(case: _Case) -> str:
    whose = "its" if case.the_zone == "the zone" else f"{case.the_zone}'s"
    return (
        f"{case.how_much} passes {whose} write pointer {case.err.bound}, "
        "and this disk reads only what was written"
    )


def _zone_full(case: _Case) -> str:
    return f"{case.what} is refused: {case.the_zone} is full; reset it before writing to it again"


def _zone_read_only(case: _Case) -> str:
    return f"{case.what} is refused: {case.the_zone} is read-only"


def _zone_offline(case: _Case) -> str:
    return f"{case.what} is refused: {case.the_zone} is offline, its data is lost"


def _too_many_open(case: _Case) -> str:
    if case.err.injected:  # the numbers would say that there is room
        return f"{case.what} needs one more open zone, and none is left"
    now = case.disk.limits
    return (
        f"{case.what} needs one more open zone: {now.open} are open "
        f"({now.implicit_open} implicitly, {now.explicit_open} explicitly) and at most "
        f"{now.max_open} may be; close, finish or reset one of them"
    )


def _too_many_active(case: _Case) -> str:
    if case.err.injected:
        return f"{case.what} needs one more active zone, and none is left"
    now = case.disk.limits
    return (
        f"{case.what} needs one more active zone: {now.active} are active "
        f"({now.open} open, {now.closed} closed) and at most {now.max_active} may be; "
        "finish or reset one of them"
    )


def _invalid_transition(case: _Case) -> str:
    cond = case.err.cond
    state = "in this condition" if cond == 0xFF else f"in condition {ZoneCondition(cond).name}"
    return f"{case.what} is refused: dialect {case.geometry.dialect} does not allow it {state}"


def _conventional_zone(case: _Case) -> str:
    return f"{case.what} is refused: {case.the_zone} is conventional and has no write pointer"


def _gap_access(case: _Case) -> str:
    capacity_end, end = case.ends()
    return (
        f"{case.what} starts in the gap between the zone's capacity, which ends at {capacity_end}, "
        f"and its end at {end}"
    )


def _out_of_range(case: _Case) -> str:
    err, geometry = case.err, case.geometry
    if not case.names_no_zone:
        return f"{case.how_much} passes the end of the disk at {geometry.size}"
    if err.offset >= geometry.nr_zones:
        return _no_zone(err.offset, geometry)
    if err.length == 0:
        return f"count is 0: it must be at least 1 ({case.what})"
    return f"{counted(err.length, 'zone')} from zone {err.offset} on: " + _no_zone(
        err.offset + err.length - 1, geometry
    )


def _block_alignment(case: _Case) -> str:
    return (
        f"{case.how_much} is not in whole blocks: offset and length must be multiples of "
        f"the logical block, {case.geometry.logical_block}"
    )


def _append_limit(case: _Case) -> str:
    return f"{case.how_much} is longer than the append limit, {case.geometry.append_limit}"


def _unsupported_command(case: _Case) -> str:
    return f"{case.what} is refused: dialect {case.geometry.dialect} has no such command"


def _medium_error(case: _Case) -> str:
    err = case.err
    if not err.length or err.bound < err.offset:
        return f"{case.how_much} failed: medium error"
    if err.bound == err.offset:
        return f"{case.how_much} failed: medium error at {err.bound}, nothing was transferred"
    done = "read" if err.cmd == lib.ZD_CMD_READ else "written"
    return f"{case.how_much} failed: medium error at {err.bound}, what lies before it was {done}"


def _command_timeout(case: _Case) -> str:
    return f"{case.what} hung and timed out; it was not done"


def _power_loss(case: _Case) -> str:
    return f"{case.what} failed: the emulated disk has no power"


_SENTENCES: dict[int, Callable[[_Case], str]] = {
    lib.ZD_E_UNALIGNED_WRITE: _unaligned_write,
    lib.ZD_E_WRITE_BOUNDARY: _write_boundary,
    lib.ZD_E_READ_BOUNDARY: _read_boundary,
    lib.ZD_E_READ_TYPE: _read_type_boundary,
    lib.ZD_E_INVALID_READ: _invalid_read,
    lib.ZD_E_ZONE_FULL: _zone_full,
    lib.ZD_E_ZONE_READ_ONLY: _zone_read_only,
    lib.ZD_E_ZONE_OFFLINE: _zone_offline,
    lib.ZD_E_TOO_MANY_OPEN: _too_many_open,
    lib.ZD_E_TOO_MANY_ACTIVE: _too_many_active,
    lib.ZD_E_INVALID_TRANSITION: _invalid_transition,
    lib.ZD_E_CONVENTIONAL: _conventional_zone,
    lib.ZD_E_GAP: _gap_access,
    lib.ZD_E_OUT_OF_RANGE: _out_of_range,
    lib.ZD_E_BLOCK_ALIGNMENT: _block_alignment,
    lib.ZD_E_APPEND_LIMIT: _append_limit,
    lib.ZD_E_UNSUPPORTED: _unsupported_command,
    lib.ZD_E_MEDIUM_READ: _medium_error,
    lib.ZD_E_MEDIUM_WRITE: _medium_error,
    lib.ZD_E_POWER_LOSS: _power_loss,
    lib.ZD_E_TIMEOUT: _command_timeout,
}
