"""mkfs on a disk that holds something: what it recognises, and that nothing is overwritten unasked.

The magic numbers are the published ones; where the tools that write them are there, they judge.
"""

from __future__ import annotations

import errno
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoned
import zonefs
from zoned import ZoneCondition
from zonefs.signatures import found_on, recognise

Parts = dict[int, bytes]


def ext(compatible: int, incompatible: int) -> Parts:
    return {1080: b"\x53\xef", 1024 + 92: struct.pack("<II", compatible, incompatible)}


def mbr(*entries: tuple[int, int]) -> Parts:
    table = b"".join(bytes([boot, 0, 0, 0, kind]) + bytes(11) for boot, kind in entries)
    return {446: table, 510: b"\x55\xaa"}


KNOWN: list[tuple[str, Parts]] = [
    ("a zonefs", {0: struct.pack("<I", 0x5A4F4653)}),
    ("an ext2 file system", ext(0, 0x2)),
    ("an ext3 file system", ext(0x4, 0x2)),
    ("an ext3 file system", ext(0x4, 0x6)),
    ("an ext4 file system", ext(0x3C, 0x2C2)),
    ("an XFS file system", {0: b"XFSB"}),
    ("a btrfs file system", {65536 + 64: b"_BHRfS_M"}),
    ("a btrfs file system", {64: b"_BHRfS_M"}),
    ("a btrfs file system", {(4 << 20) + 64: b"_BHRfS_M"}),
    ("an f2fs file system", {1024: struct.pack("<I", 0xF2F52010)}),
    *(
        ("an LVM physical volume", {n * 512: b"LABELONE", n * 512 + 24: b"LVM2 001"})
        for n in range(4)
    ),
    ("a LUKS volume", {0: b"LUKS\xba\xbe"}),
    ("a LUKS volume", {0x4000: b"SKUL\xba\xbe"}),
    ("a LUKS volume", {0x400000: b"SKUL\xba\xbe"}),
    ("swap space", {4086: b"SWAPSPACE2"}),
    ("swap space", {65526: b"SWAPSPACE2"}),
    ("swap space", {4086: b"SWAP-SPACE"}),
    ("a GPT partition table", {512: b"EFI PART"} | mbr((0, 0xEE))),
    ("a GPT partition table", {4096: b"EFI PART"}),
    ("an MBR partition table", mbr((0, 0), (0x80, 0x83))),
    ("a dm-zoned device", {0: struct.pack("<I", int.from_bytes(b"DZBD", "big"))}),
    ("a FAT file system", {82: b"FAT32   ", 510: b"\x55\xaa"}),
    ("", mbr((0, 0))),  # an empty table
    ("", mbr((0x12, 0x83))),  # the code of a boot sector
    ("", {1081: b"\x53\xef"}),
    ("", {0: b"LABELONE"}),
    ("", {0: b"some text of somebody"}),
    ("", {}),
]


def put(dev: zoned.Device, parts: Parts) -> None:
    """Bytes to their places; sequential zones are filled up to them."""
    for zone in sorted({at // dev.geometry.zone_size for at in parts}):
        start = dev.geometry.zone_start(zone)
        here = {at - start: part for at, part in parts.items() if at // (4 << 20) == zone}
        content = bytearray(-(-max(at + len(part) for at, part in here.items()) // 4096) * 4096)
        for at, part in here.items():
            content[at : at + len(part)] = part
        dev.pwrite(content, start)


@pytest.mark.parametrize(("name", "parts"), KNOWN)
@pytest.mark.parametrize("conventional", [0, 2])
def test_what_is_recognised(name: str, parts: Parts, conventional: int) -> None:
    with zoned.memory(
        size="64MiB", zone_size="4MiB", conventional=conventional, unrestricted_read=False
    ) as dev:
        put(dev, parts)
        assert found_on(dev) == name


def test_small_zones_are_looked_at_one_by_one() -> None:
    """A zone that ends within a page, or before the place of a magic number."""
    with zoned.memory(
        size="256KiB", zone_size=6144, logical_block=512, physical_block=512, conventional=0
    ) as dev:
        dev.pwrite(bytes(6144), 0)
        page = bytearray(2048)
        page[8182 - 6144 - 10 :] = bytes(20)
        page[8182 - 6144 : 8192 - 6144] = b"SWAPSPACE2"
        assert found_on(dev) == ""
        dev.pwrite(page[:2048], 6144)
        assert found_on(dev) == "swap space"


def made(tool: list[str], tmp_path: Path) -> bytes:
    """The first 64 MiB that a tool writes to a file."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    with file.open("r+b") as handle:
        handle.truncate(64 << 20)
    subprocess.run([*tool, str(file)], check=True, capture_output=True)
    return file.read_bytes()


TOOLS = {
    "an ext2 file system": ["mke2fs", "-q", "-F", "-t", "ext2"],
    "an ext3 file system": ["mke2fs", "-q", "-F", "-t", "ext3"],
    "an ext4 file system": ["mke2fs", "-q", "-F", "-t", "ext4"],
    "swap space": ["mkswap"],
}


@pytest.mark.parametrize("name", TOOLS)
def test_what_the_tools_write(
    name: str, tmp_path: Path, needs: Callable[[str, bool, str], None]
) -> None:
    tool = TOOLS[name]
    needs(tool[0], shutil.which(tool[0]) is not None, "a judge of what is recognised")
    content = made(tool, tmp_path)
    assert (
        recognise(lambda at, length: content[at : at + length].ljust(length, b"\0"), 1 << 22)
        == name
    )


# ------------------------------------------------------------------------------------------- mkfs


@pytest.mark.parametrize("conventional", [0, 2])
def test_mkfs_takes_no_place_unasked(
    disk: Callable[..., zoned.Device], fails: Any, conventional: int
) -> None:
    dev = disk(conventional=conventional)
    zonefs.mkfs(dev, "first")
    dev.append(5, bytes(4096))
    with fails(errno.EEXIST, "the disk holds a zonefs: force=True makes a zonefs in its place"):
        zonefs.mkfs(dev, "second")
    assert zonefs.read_superblock(dev).label == "first"
    assert dev.zones[5].wp == dev.zones[5].start + 4096
    zonefs.mkfs(dev, "second", force=True)
    assert zonefs.read_superblock(dev).label == "second"
    assert dev.zones[5].condition is ZoneCondition.EMPTY
    with pytest.raises(TypeError, match="force must be True or False, not 'yes'"):
        zonefs.mkfs(dev, force="yes")


def test_mkfs_over_what_cannot_be_read(disk: Callable[..., zoned.Device], fails: Any) -> None:
    """Who cannot see what is there overwrites nothing."""
    dev = disk(conventional=2)
    dev.pwrite(b"x" * 4096, 0)
    dev.faults.add("medium", zones=0)
    with fails(errno.EIO, "what the disk holds cannot be seen"):
        zonefs.mkfs(dev)
    dev.faults.clear()
    assert dev.pread(4096, 0) == b"x" * 4096


@pytest.mark.parametrize("conventional", [0, 16, 1])
def test_mkfs_without_a_usable_zone(
    disk: Callable[..., zoned.Device], fails: Any, conventional: int
) -> None:
    """Refused before anything is written or reset."""
    dev = disk(conventional=conventional)
    dev.pwrite(b"x" * 4096, 0)
    for zone in range(1, 16):
        dev.set_condition(zone, ZoneCondition.OFFLINE if zone % 2 else ZoneCondition.READ_ONLY)
    for force in (False, True):
        with fails(errno.ENOSPC, "all others are read-only or offline"):
            zonefs.mkfs(dev, force=force)
    assert dev.pread(4096, 0) == b"x" * 4096
    dev.set_condition(7, ZoneCondition.EMPTY)
    zonefs.mkfs(dev)


def test_mkfs_of_one_zone(fails: Any) -> None:
    with (
        zoned.memory(size="4MiB", zone_size="4MiB", conventional=1) as dev,
        fails(errno.ENOSPC, "and there is no other"),
    ):
        zonefs.mkfs(dev)
