"""The one function that turns a code of the native core into an exception, and the sentences.

Uses the native library only to ask how a rule is called and how each kind of host sees it.
"""

from __future__ import annotations

import errno as errnos
import io
import os
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from zoned import errors
from zoned._core.native import ffi, lib
from zoned.geometry import Dialect, Geometry
from zoned.plaintext import printable
from zoned.zone import ZoneCondition

if TYPE_CHECKING:
    from zoned.info import Limits

NONE = 2**64 - 1
NO_ZONE = 2**32 - 1

RULES: dict[int, type[errors.ZonedError]] = {
    lib.ZD_E_UNALIGNED_WRITE: errors.UnalignedWriteError,
    lib.ZD_E_WRITE_BOUNDARY: errors.WriteBoundaryError,
    lib.ZD_E_READ_BOUNDARY: errors.ReadBoundaryError,
    lib.ZD_E_READ_TYPE: errors.ReadBoundaryError,
    lib.ZD_E_INVALID_READ: errors.InvalidReadError,
    lib.ZD_E_ZONE_FULL: errors.ZoneFullError,
    lib.ZD_E_ZONE_READ_ONLY: errors.ZoneReadOnlyError,
    lib.ZD_E_ZONE_OFFLINE: errors.ZoneOfflineError,
    lib.ZD_E_TOO_MANY_OPEN: errors.TooManyOpenError,
    lib.ZD_E_TOO_MANY_ACTIVE: errors.TooManyActiveError,
    lib.ZD_E_INVALID_TRANSITION: errors.InvalidTransitionError,
    lib.ZD_E_CONVENTIONAL: errors.ConventionalZoneError,
    lib.ZD_E_GAP: errors.GapAccessError,
    lib.ZD_E_OUT_OF_RANGE: errors.OutOfRangeError,
    lib.ZD_E_BLOCK_ALIGNMENT: errors.BlockAlignmentError,
    lib.ZD_E_APPEND_LIMIT: errors.AppendLimitError,
    lib.ZD_E_UNSUPPORTED: errors.UnsupportedCommandError,
    lib.ZD_E_MEDIUM_READ: errors.MediumError,
    lib.ZD_E_MEDIUM_WRITE: errors.MediumError,
    lib.ZD_E_POWER_LOSS: errors.PowerLossError,
    lib.ZD_E_TIMEOUT: errors.CommandTimeoutError,
    lib.ZD_E_MISCOMPARE: errors.MiscompareError,
    lib.ZD_E_SEQUENTIAL: errors.SequentialZoneError,
    lib.ZD_E_ZRWA_UNAVAILABLE: errors.WriteAreaUnavailableError,
    lib.ZD_E_ZONE_OPERATION: errors.ZoneOperationError,
    lib.ZD_E_OUTSIDE_ZRWA: errors.OutsideWriteAreaError,
    lib.ZD_E_COMMIT: errors.CommitError,
}

_IMAGE: dict[int, tuple[type[errors.ImageError], int]] = {
    lib.ZD_E_NOT_IMAGE: (errors.NotAnImageError, errnos.EINVAL),
    lib.ZD_E_VERSION: (errors.ImageVersionError, errnos.EOPNOTSUPP),
    lib.ZD_E_FEATURE: (errors.ImageFeatureError, errnos.EOPNOTSUPP),
    lib.ZD_E_TRUNCATED: (errors.ImageTruncatedError, errnos.EUCLEAN),
    lib.ZD_E_CORRUPT: (errors.ImageCorruptError, errnos.EUCLEAN),
    lib.ZD_E_FAILED: (errors.ImageFailedError, errnos.EIO),
    lib.ZD_E_BUSY: (errors.ImageBusyError, errnos.EBUSY),
}

DIALECT_NUMBERS: dict[Dialect, int] = {
    Dialect.ZBC: lib.ZD_ZBC,
    Dialect.ZNS: lib.ZD_ZNS,
    Dialect.NULLBLK: lib.ZD_NULLBLK,
}


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
    if code in RULES:
        if disk is None:
            raise RuntimeError(f"the core refused with {rule_name(code)} before there was a disk")
        raise broken_rule(code, err, disk)
    if code == lib.ZD_E_GEOMETRY:
        raise errors.GeometryError(text)
    if code in _IMAGE:
        kind, errno = _IMAGE[code]
        raise kind(errno, text or rule_name(code), path)
    if code == lib.ZD_E_READONLY_HANDLE:
        name = lib.zd_cmd_name(err.cmd)
        verb = "this command" if name == ffi.NULL else ffi.string(name).decode("ascii")
        raise io.UnsupportedOperation(f"{verb} is refused: the disk was opened read-only")
    if code == lib.ZD_E_CLOSED:
        raise ValueError("the device is closed")
    reason = os.strerror(-code)
    raise OSError(-code, f"{reason} ({text})" if text else reason, path)


def broken_rule(code: int, err: Any, disk: Disk) -> errors.ZonedError:
    """The exception for a broken rule (a code from -2001 down)."""
    dialect = disk.geometry.dialect
    info = lib.zd_rule_info(code, DIALECT_NUMBERS[dialect])
    names_no_zone = code == lib.ZD_E_OUT_OF_RANGE and err.cmd not in _DATA
    return RULES[code](
        info.err,
        _sentence(err, disk),
        # A zone that does not exist: the core has its number in the place of the offset.
        zone=int(err.offset) if names_no_zone else _none(err.zone, NO_ZONE),
        offset=None if names_no_zone else _none(err.offset, NONE),
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


def bad_number(disk: Disk, name: str, value: int) -> errors.OutOfRangeError:
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
    return errors.OutOfRangeError(
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
_LIMITS = (lib.ZD_E_TOO_MANY_OPEN, lib.ZD_E_TOO_MANY_ACTIVE)


def _sentence(err: Any, disk: Disk) -> str:
    """The rule book's words for a broken rule."""
    geometry = disk.geometry
    said = ffi.new("struct zd_said_disk *")
    said.size, said.zone_size, said.append_limit = (
        geometry.size,
        geometry.zone_size,
        geometry.append_limit,
    )
    said.nr_zones = geometry.nr_zones
    said.logical_block, said.physical_block = geometry.logical_block, geometry.physical_block
    said.dialect = DIALECT_NUMBERS[geometry.dialect]
    if err.zone != NO_ZONE:
        said.zone_start = geometry.zone_start(err.zone)
        said.zone_length = geometry.zone_length(err.zone)
        said.zone_capacity = geometry.zone_capacity_of(err.zone)
    if err.code in _LIMITS and not err.injected:
        now = disk.limits
        said.max_open, said.max_active = now.max_open, now.max_active
        said.nr_implicit, said.nr_explicit = now.implicit_open, now.explicit_open
        said.nr_closed = now.closed
    text = ffi.new("char[]", 512)
    lib.zd_rule_sentence(err, said, text, len(text))
    return printable(ffi.string(text).decode("utf-8", "replace"))
