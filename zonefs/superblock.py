"""The superblock of a zonefs: making one (``mkfs``) and reading it.

The format is the kernel's own: a disk formatted here and copied to a real one mounts there, and the
other way round (Linux fs/zonefs/zonefs.h; zonefs-tools, mkzonefs).
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from zoned import Device
from zoned._core.handle import pointer
from zoned._core.native import Guard, ffi, lib
from zonefs.errors import raise_os_error

LABEL_LENGTH = 64
MAX_ID = 2**32 - 2
"""The largest user or group number; 2^32 - 1 means "none" to the kernel."""


class Features(IntFlag):
    """The superblock's feature bits."""

    AGGREGATE_CONVENTIONAL = lib.ZD_FS_F_AGGRCNV
    UID = lib.ZD_FS_F_UID
    GID = lib.ZD_FS_F_GID
    PERM = lib.ZD_FS_F_PERM


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a zonefs says about itself. uid, gid and perm count where their feature is set."""

    label: str
    uuid: uuids.UUID
    features: Features
    uid: int
    gid: int
    perm: int

    @property
    def aggregate_conventional(self) -> bool:
        """Whether neighbouring conventional zones make one file."""
        return Features.AGGREGATE_CONVENTIONAL in self.features


def read_superblock(dev: Device) -> Superblock:
    """The superblock of a disk. Raises OSError EINVAL with the check that failed if it has none."""
    checked_device(dev)
    raw = ffi.new("struct zd_fs_format *")
    asked(dev, "reading the superblock", lib.zd_fs_read_super, raw)
    return superblock_of(raw)


def asked(dev: Device, what: str, call: Callable[..., int], *args: object) -> None:
    """A call on a disk without a mount; ``what`` it is, for errors. Raises OSError."""
    err = ffi.new("struct zd_error *")
    with Guard(dev):
        code = call(pointer(dev), *args, err)
    if code < 0:
        raise_os_error(dev, what, dev.path, code, err)


def checked_device(dev: object) -> None:
    """A path in place of a disk is an easy mistake, and told as one."""
    if not isinstance(dev, Device):
        raise TypeError(
            f"dev must be a zoned.Device, not {type(dev).__name__}; zoned.open(path) gives one"
        )


def check_number(what: str, number: int, largest: int) -> None:
    """Raise ValueError for one out of range, TypeError for what is none."""
    if not isinstance(number, int):
        raise TypeError(f"{what} must be an integer, not {type(number).__name__}")
    if not 0 <= number <= largest:
        show = oct if what == "perm" else str
        raise ValueError(f"{what} is {show(number)}: it must be 0 to {show(largest)}")


def superblock_of(raw: Any) -> Superblock:
    """A ``struct zd_fs_format *`` as a value."""
    label = bytes(ffi.buffer(raw.label)).split(b"\0", 1)[0]
    return Superblock(
        label=label.decode("utf-8", "surrogateescape"),
        uuid=uuids.UUID(bytes=bytes(ffi.buffer(raw.uuid))),
        features=Features(raw.features),
        uid=raw.uid,
        gid=raw.gid,
        perm=raw.perm,
    )
