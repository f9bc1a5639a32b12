"""What a disk holds before a file system is made on it, by the magic numbers at its start.

Offsets and values are the published ones, those that libblkid looks for. Reads what somebody wrote
and nothing else; writes nothing.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from zoned import Device, ZoneCondition
from zoned._core.looking import zone_written
from zoned.errors import PowerLossError, ZonedError

Read = Callable[[int, int], bytes]
"""Bytes at an offset of the disk, as many as asked for; zeros where nobody wrote."""

_BTRFS = b"_BHRfS_M"
_FIXED: tuple[tuple[str, int, bytes], ...] = (
    ("a zonefs", 0, b"SFOZ"),
    ("an XFS file system", 0, b"XFSB"),
    ("a btrfs file system", 65536 + 64, _BTRFS),
    ("a btrfs file system", 64, _BTRFS),  # on a zoned disk: at the start of zone 0, or zone 1
    ("an f2fs file system", 1024, b"\x10\x20\xf5\xf2"),
    ("a dm-zoned device", 0, b"DBZD"),
    ("an ISO 9660 file system", 32769, b"CD001"),
    ("a member of a RAID array", 0, b"\xfc\x4e\x2b\xa9"),
    ("a member of a RAID array", 4096, b"\xfc\x4e\x2b\xa9"),
    ("an exFAT file system", 3, b"EXFAT   "),
    ("an NTFS file system", 3, b"NTFS    "),
    ("a FAT file system", 54, b"FAT12   "),
    ("a FAT file system", 54, b"FAT16   "),
    ("a FAT file system", 82, b"FAT32   "),
    ("a LUKS volume", 0, b"LUKS\xba\xbe"),
    *(("a LUKS volume", 0x4000 << n, b"SKUL\xba\xbe") for n in range(9)),  # the second header
    *(
        ("swap space", page - 10, magic)
        for page in (4096, 8192, 16384, 32768, 65536)
        for magic in (b"SWAPSPACE2", b"SWAP-SPACE")
    ),
)
"""Name, offset, magic."""

_EXT_MAGIC = struct.pack("<H", 0xEF53)
_EXT_JOURNAL = 0x4
_EXT3_INCOMPAT = 0x2 | 0x4 | 0x10
"""The incompatible features that ext3 knows; with any other it is ext4."""


def recognise(read: Read, zone_size: int) -> str:
    """What it is, with its article ("an ext4 file system"), or "" for nothing known."""
    for name, offset, magic in _FIXED:
        if read(offset, len(magic)) == magic:
            return name
    if read(zone_size + 64, len(_BTRFS)) == _BTRFS:
        return "a btrfs file system"
    return _ext(read) or _volume(read) or _partitions(read)


def _ext(read: Read) -> str:
    if read(1024 + 56, 2) != _EXT_MAGIC:
        return ""
    compatible, incompatible, _ = struct.unpack("<III", read(1024 + 92, 12))
    if incompatible & ~_EXT3_INCOMPAT:
        return "an ext4 file system"
    return f"an ext{3 if compatible & _EXT_JOURNAL else 2} file system"


def _volume(read: Read) -> str:
    """LVM puts the label of a physical volume in one of the first four sectors."""
    for sector in range(0, 2048, 512):
        if read(sector, 8) == b"LABELONE" and read(sector + 24, 8) == b"LVM2 001":
            return "an LVM physical volume"
    return ""


def _partitions(read: Read) -> str:
    """A GPT has its header in the second block; the MBR before it is there for old programs only.

    A boot sector of anything else has the signature of an MBR, but no table that can be one.
    """
    if b"EFI PART" in (read(512, 8), read(4096, 8)):
        return "a GPT partition table"
    if read(510, 2) != b"\x55\xaa":
        return ""
    entries = [read(446 + 16 * n, 16) for n in range(4)]
    if all(entry[0] in (0, 0x80) for entry in entries) and any(entry[4] for entry in entries):
        return "an MBR partition table"
    return ""


def found_on(device: Device) -> str:
    """What file system or other known content a disk has, as recognise() says it; "" for none.

    Raises OSError EIO where its start cannot be read; without power there is nothing to see.
    """
    pages: dict[int, bytes] = {}

    def read(offset: int, length: int) -> bytes:
        first, end = offset // _PAGE, -(-(offset + length) // _PAGE)
        content = b""
        for number in range(first, end):
            if number not in pages:
                pages[number] = _page(device, number * _PAGE)
            content += pages[number]
        return content[offset - first * _PAGE :][:length]

    try:
        return recognise(read, device.geometry.zone_size)
    except PowerLossError:
        return ""
    except ZonedError as error:
        text = f"what the disk holds cannot be seen: {error}"
        raise OSError(errno.EIO, text, device.path) from error


_PAGE = 4096


def _page(device: Device, offset: int) -> bytes:
    """A page of what was written; zeros elsewhere. A zone can be smaller than a page."""
    page = bytearray(_PAGE)
    at, end = offset, min(offset + _PAGE, device.geometry.size)
    while at < end:
        zone = device.geometry.zone_of(at)
        start = device.geometry.zone_start(zone)
        stop = min(end, start + device.geometry.zone_length(zone))
        length = min(stop, start + zone_written(device, zone)) - at
        if length > 0 and device.zones[zone].condition is not ZoneCondition.OFFLINE:
            page[at - offset : at - offset + length] = device.pread(length, at)
        at = stop
    return bytes(page)


def data_in(device: Device, zone: int) -> int:
    """Bytes of a zone in blocks that are not all zeros; what cannot be read counts as data."""
    geometry = device.geometry
    start, written, block = (
        geometry.zone_start(zone),
        zone_written(device, zone),
        geometry.physical_block,
    )
    found = 0
    for offset in range(start, start + written, _PIECE):
        length = min(_PIECE, start + written - offset)
        try:
            piece = device.pread(length, offset)
        except ZonedError:
            found += length
            continue
        if any(piece):
            found += sum(any(piece[at : at + block]) for at in range(0, length, block)) * block
    return found


_PIECE = 1 << 20
