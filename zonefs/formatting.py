"""Making a zonefs on a disk: ``mkfs``."""

from __future__ import annotations

import errno
import uuid as uuids

from zoned import Device
from zoned._core.native import ffi, lib
from zonefs.filesystem import mounted_here
from zonefs.mounting import mount_points
from zonefs.signatures import found_on
from zonefs.superblock import (
    LABEL_LENGTH,
    MAX_ID,
    Features,
    Superblock,
    asked,
    check_number,
    checked_device,
    superblock_of,
)


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
    asked(dev, "mkfs", lib.zd_fs_mkfs, raw)
    return superblock_of(raw)


def refuse_unfit(dev: Device) -> None:
    """Raises OSError ENOSPC where no zonefs fits on the disk, as mkfs does."""
    asked(dev, "mkfs", lib.zd_fs_fits)


def refuse_mounted(dev: Device) -> None:
    """Raises OSError EBUSY while the disk is mounted, as mkzonefs does: its files may be open."""
    if mounted_here(dev):
        text = "the disk is mounted in this process: close its ZoneFS first"
        raise OSError(errno.EBUSY, text, dev.path)
    for path in mount_points(dev):
        raise OSError(errno.EBUSY, f"the disk is mounted at {path}: unmount it first", dev.path)


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
