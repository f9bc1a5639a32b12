"""Small value types of zonefs: what an error does, the counters, the mount's options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from zoned._core.native import ffi, lib


class Errors(StrEnum):
    """The mount option ``errors=``: what a failed write, or a read that shows a fault, does.

    (Documentation/filesystems/zonefs.rst, "IO error handling".)
    """

    REMOUNT_RO = "remount-ro"
    """The whole file system becomes read-only. The default."""
    ZONE_RO = "zone-ro"
    """The file keeps its size and loses its write permissions until umount."""
    ZONE_OFFLINE = "zone-offline"
    """The file is treated as if its zone were offline, until umount."""
    REPAIR = "repair"
    """The file takes the size that its zone really has, and goes on."""

    @classmethod
    def parse(cls, value: Errors | str) -> Errors:
        """A member, or its name in the mount option. Raises ValueError that lists the names."""
        try:
            return cls(value)
        except ValueError:
            names = ", ".join(cls)
            raise ValueError(f"errors is {value!r}: it must be one of {names}") from None


ERRORS_NUMBERS: dict[Errors, int] = {
    Errors.REMOUNT_RO: lib.ZD_FS_REMOUNT_RO,
    Errors.ZONE_RO: lib.ZD_FS_ZONE_RO,
    Errors.ZONE_OFFLINE: lib.ZD_FS_ZONE_OFFLINE,
    Errors.REPAIR: lib.ZD_FS_REPAIR,
}


@dataclass(frozen=True, slots=True)
class SeqFileCounters:
    """The attributes of /sys/fs/zonefs/<dev>/ (Linux fs/zonefs/sysfs.c).

    0 is no limit, or one that is no smaller than the number of sequential zones: Linux forgets
    those (disk_update_zone_resources() in block/blk-zoned.c).
    """

    max_wro_seq_files: int
    """How many sequential files may be open for writing: the disk's open limit."""
    nr_wro_seq_files: int
    """How many are. Without explicit_open this may exceed the limit."""
    max_active_seq_files: int
    """How many may be active: the disk's active limit."""
    nr_active_seq_files: int
    """How many are: partly written, or explicitly open."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How a file system is mounted, now."""

    errors: Errors
    explicit_open: bool
    """Opening a sequential file for writing opens its zone explicitly."""
    readonly: bool
    """True also once an error made it so."""


_ERRORS = {number: name for name, number in ERRORS_NUMBERS.items()}


def counters_of(handle: Any) -> SeqFileCounters:
    """Of a ``zd_fs *``."""
    raw = ffi.new("struct zd_fs_counters *")
    lib.zd_fs_get_counters(handle, raw)
    return SeqFileCounters(
        max_wro_seq_files=raw.max_wro_seq_files,
        nr_wro_seq_files=raw.nr_wro_seq_files,
        max_active_seq_files=raw.max_active_seq_files,
        nr_active_seq_files=raw.nr_active_seq_files,
    )


def options_of(handle: Any) -> MountOptions:
    """Of a ``zd_fs *``."""
    raw = ffi.new("struct zd_fs_options *")
    lib.zd_fs_get_options(handle, raw)
    return MountOptions(
        errors=_ERRORS[raw.errors],
        explicit_open=bool(raw.flags & lib.ZD_FS_EXPLICIT_OPEN),
        readonly=bool(raw.flags & lib.ZD_FS_READONLY),
    )


def changed_options(
    handle: Any, errors: Errors | str | None, explicit_open: bool | None, readonly: bool | None
) -> Any:
    """The ``struct zd_fs_options *`` for a remount: what is None stays."""
    raw = ffi.new("struct zd_fs_options *")
    lib.zd_fs_get_options(handle, raw)
    if errors is not None:
        raw.errors = ERRORS_NUMBERS[Errors.parse(errors)]
    for flag, value in ((lib.ZD_FS_EXPLICIT_OPEN, explicit_open), (lib.ZD_FS_READONLY, readonly)):
        if value is not None:
            raw.flags = raw.flags | flag if value else raw.flags & ~flag
    return raw
