"""The superblock of a zonefs: making one (``mkfs``) and reading it.

The format is the kernel's own: a disk formatted here and copied to a real one mounts there, and the
other way round (Linux fs/zonefs/zonefs.h; zonefs-tools, mkzonefs).
"""

from __future__ import annotations

import errno
import uuid as uuids
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from zoned import Device
from zoned._lib import Guard, ffi, lib
from zonefs.errors import raise_os_error
from zonefs.signatures import found_on

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


def mkfs(
    dev: Device,
    label: str = "",
    aggregate_conventional: bool = False,
    uid: int = 0,
    gid: int = 0,
    perm: int = 0o640,
    *,
    uuid: uuids.UUID | None = None,
    force: bool = False,
) -> Superblock:
    """Make a zonefs on a disk, as mkzonefs does. All data in sequential zones is gone.

    Resets every sequential zone that is not dead, writes the superblock to zone 0 and finishes that
    zone if it is sequential; zone 0 is never a file. ``label`` is at most 64 bytes of UTF-8,
    ``perm`` 0 to 0o777, ``uid`` and ``gid`` 0 to 2^32 - 2, ``uuid`` random if not given. ``force``
    takes the place of a file system, volume or partition table that is on the disk.

    Raises ValueError for an argument out of range; FileExistsError, without ``force``, where the
    disk holds a zonefs or anything else that is known; OSError EBUSY while the disk is mounted,
    EROFS for a disk that is open read-only, ENOSPC if zone 0 is too small or no other zone can be
    written, and what the disk refuses.
    """
    checked_device(dev)
    if aggregate_conventional not in (True, False):
        raise TypeError(
            f"aggregate_conventional must be True or False, not {aggregate_conventional!r}"
        )
    if force not in (True, False):
        raise TypeError(f"force must be True or False, not {force!r}")
    name = _checked_label(label)
    check_number("uid", uid, MAX_ID)
    check_number("gid", gid, MAX_ID)
    check_number("perm", perm, 0o777)
    refuse_mounted(dev)
    if not force and not dev.readonly and (found := found_on(dev)):
        text = f"the disk holds {found}: force=True makes a zonefs in its place"
        raise FileExistsError(errno.EEXIST, text, dev.path)
    features = (
        (Features.AGGREGATE_CONVENTIONAL if aggregate_conventional else Features(0))
        | (Features.UID if uid != 0 else Features(0))
        | (Features.GID if gid != 0 else Features(0))
        | (Features.PERM if perm != 0o640 else Features(0))
    )
    raw = ffi.new("struct zd_fs_format *")
    raw.features = int(features)
    raw.uid, raw.gid, raw.perm = uid, gid, perm
    ffi.memmove(raw.label, name, len(name))
    ffi.memmove(raw.uuid, (uuid or uuids.uuid4()).bytes, 16)
    err = ffi.new("struct zd_error *")
    with Guard(dev):
        code = lib.zd_fs_mkfs(dev._handle, raw, err)
    if code < 0:
        raise_os_error(dev, "mkfs", dev.path, code, err)
    return superblock_of(raw)


def refuse_unfit(dev: Device) -> None:
    """Raises OSError ENOSPC where no zonefs fits on the disk, as mkfs does."""
    err = ffi.new("struct zd_error *")
    with Guard(dev):
        code = lib.zd_fs_fits(dev._handle, err)
    if code < 0:
        raise_os_error(dev, "mkfs", dev.path, code, err)


def read_superblock(dev: Device) -> Superblock:
    """The superblock of a disk. Raises OSError EINVAL with the check that failed if it has none."""
    checked_device(dev)
    raw = ffi.new("struct zd_fs_format *")
    err = ffi.new("struct zd_error *")
    with Guard(dev):
        code = lib.zd_fs_read_super(dev._handle, raw, err)
    if code < 0:
        raise_os_error(dev, "reading the superblock", dev.path, code, err)
    return superblock_of(raw)


def refuse_mounted(dev: Device) -> None:
    """Raises OSError EBUSY while the disk is mounted, as mkzonefs does: its files may be open."""
    from zonefs.filesystem import mounted_here
    from zonefs.mounting import mount_points

    if mounted_here(dev):
        text = "the disk is mounted in this process: close its ZoneFS first"
        raise OSError(errno.EBUSY, text, dev.path)
    for path in mount_points(dev):
        raise OSError(errno.EBUSY, f"the disk is mounted at {path}: unmount it first", dev.path)


def checked_device(dev: object) -> None:
    """A path in place of a disk is an easy mistake, and told as one."""
    if not isinstance(dev, Device):
        raise TypeError(
            f"dev must be a zoned.Device, not {type(dev).__name__}; zoned.open(path) gives one"
        )


def _checked_label(label: str) -> bytes:
    if not isinstance(label, str):
        raise TypeError(f"label must be a text, not {type(label).__name__}")
    try:
        name = label.encode("utf-8", "surrogateescape")  # any bytes, as superblock_of() gives them
    except UnicodeEncodeError as error:
        raise ValueError(f"label {label!r} is no text: {error.reason}") from None
    if len(name) > LABEL_LENGTH:
        raise ValueError(f"label is {len(name)} bytes long: it must be at most {LABEL_LENGTH}")
    if b"\0" in name:
        raise ValueError("label contains a NUL character, which ends a label")
    return name


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
