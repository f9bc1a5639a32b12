"""The superblock: what mkfs writes, byte by byte, and every check of what is read."""

from __future__ import annotations

import errno
import os
import struct
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import zoned
import zonefs
from zoned import ZoneCondition

UUID = uuid.UUID("01020304-0506-0708-090a-0b0c0d0e0f10")
HEAD = struct.Struct("<II64s16sQIII")

# The first 112 bytes of superblocks as zonefs-tools' mkzonefs writes them (the rest is zeros): without options,
# and with -L täst -o aggr_cnv,uid=1000,gid=7,perm=604.
MKZONEFS_PLAIN = bytes.fromhex(
    "53464f5aa6e5f36e"
    + "00" * 64
    + "0102030405060708090a0b0c0d0e0f10"
    + "00" * 16
    + "a001000000000000"
)
MKZONEFS_ALL = bytes.fromhex(
    "53464f5abff13ed974c3a47374" + "00" * 59 + "0102030405060708090a0b0c0d0e0f10"
    "0f00000000000000e8030000070000008401000000000000"
)


def packed(
    magic: int = 0x5A4F4653,
    crc: int | None = None,
    label: bytes = b"",
    features: int = 0,
    ids: tuple[int, int, int] = (0, 0, 0o640),
    reserved: tuple[int, int] | None = None,
) -> bytes:
    """A superblock made without the code under test."""
    block = bytearray(HEAD.pack(magic, 0, label, UUID.bytes, features, *ids).ljust(4096, b"\0"))
    if reserved is not None:
        block[reserved[0]] = reserved[1]
    # The kernel's crc32(~0, ...) leaves out zlib's last inversion.
    block[4:8] = struct.pack("<I", zlib.crc32(block) ^ 0xFFFFFFFF if crc is None else crc)
    return bytes(block)


def test_fixtures_have_the_right_checksum() -> None:
    assert packed() == MKZONEFS_PLAIN.ljust(4096, b"\0")
    wanted = packed(label="täst".encode(), features=15, ids=(1000, 7, 0o604))
    assert wanted == MKZONEFS_ALL.ljust(4096, b"\0")


def test_mkfs_writes_what_mkzonefs_writes(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    made = zonefs.mkfs(dev, uuid=UUID)
    assert dev.pread(4096, 0) == MKZONEFS_PLAIN.ljust(4096, b"\0")
    assert made == zonefs.read_superblock(dev)
    assert made == zonefs.Superblock("", UUID, zonefs.Features(0), 0, 0, 0o640)

    made = zonefs.mkfs(dev, "täst", True, 1000, 7, 0o604, uuid=UUID, force=True)
    assert dev.pread(4096, 0) == MKZONEFS_ALL.ljust(4096, b"\0")
    assert made.label == "täst"
    assert made.aggregate_conventional
    assert (made.uid, made.gid, made.perm) == (1000, 7, 0o604)
    assert zonefs.read_superblock(dev) == made


def test_every_mkfs_has_a_uuid_of_its_own(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    assert zonefs.mkfs(dev).uuid != zonefs.mkfs(dev, force=True).uuid


def test_a_disk_of_mkzonefs_mounts(disk: Callable[..., zoned.Device]) -> None:
    dev = disk(conventional=4)
    dev.pwrite(MKZONEFS_ALL.ljust(4096, b"\0"), 0)
    with zonefs.ZoneFS(dev) as fs:
        assert fs.listdir("cnv") == ["0"]
        stat = fs.stat("seq/3")
        assert (stat.st_uid, stat.st_gid, stat.st_mode) == (1000, 7, 0o100604)
        assert fs.superblock.label == "täst"


def test_mkfs_resets_and_finishes(disk: Callable[..., zoned.Device], block: bytes) -> None:
    dev = disk(conventional=0)
    dev.append(0, block)
    dev.append(3, block)
    dev.finish_zone(4)
    dev.open_zone(5)
    zonefs.mkfs(dev)
    conditions = [zone.condition for zone in dev.zones]
    assert conditions == [ZoneCondition.FULL] + [ZoneCondition.EMPTY] * 15
    with zonefs.ZoneFS(dev) as fs:
        assert fs.listdir() == ["seq"]
        assert len(fs.listdir("seq")) == 15


def test_mkfs_passes_over_dead_zones(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    dev.set_condition(3, ZoneCondition.READ_ONLY)
    dev.set_condition(4, ZoneCondition.OFFLINE)
    zonefs.mkfs(dev)
    with zonefs.ZoneFS(dev) as fs:
        assert [fs.stat(f"seq/{n}").st_mode & 0o777 for n in (0, 1, 2)] == [0o640, 0, 0]


def test_mkfs_on_a_dead_first_zone(disk: Callable[..., zoned.Device], fails: Any) -> None:
    dev = disk(conventional=0)
    dev.set_condition(0, ZoneCondition.OFFLINE)
    with fails(errno.EIO, "offline") as info:
        zonefs.mkfs(dev)
    assert isinstance(info.value.__cause__, zoned.ZoneOfflineError)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"label": "x" * 65}, "label is 65 bytes long: it must be at most 64"),
        ({"label": "ä" * 33}, "label is 66 bytes long"),
        ({"label": "a\0b"}, "NUL"),
        ({"uid": -1}, "uid is -1: it must be 0 to 4294967294"),
        ({"uid": 2**32 - 1}, "uid is 4294967295"),
        ({"gid": 2**32}, "gid is 4294967296"),
        ({"perm": 0o1000}, "perm is 0o1000: it must be 0 to 0o777"),
        ({"perm": -1}, "perm is"),
        ({"label": "\ud800"}, "label '.ud800' is no text: surrogates not allowed"),
        ({"uid": "0"}, "uid must be an integer, not str"),
    ],
)
def test_mkfs_refuses(
    disk: Callable[..., zoned.Device], keywords: dict[str, Any], message: str
) -> None:
    dev = disk()
    before = dev.pread(4096, 0)
    with pytest.raises((ValueError, TypeError), match=message):
        zonefs.mkfs(dev, **keywords)
    assert dev.pread(4096, 0) == before


def test_mkfs_of_a_label_of_64_bytes(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    zonefs.mkfs(dev, "y" * 64)
    assert zonefs.read_superblock(dev).label == "y" * 64


def test_mkfs_of_a_label_that_is_no_utf8(disk: Callable[..., zoned.Device]) -> None:
    """mkzonefs takes any bytes; Python names them as it does in the names of files."""
    dev = disk()
    assert zonefs.mkfs(dev, os.fsdecode(b"\xff\xe9")).label == os.fsdecode(b"\xff\xe9")
    assert dev.pread(4096, 0)[8:72] == b"\xff\xe9".ljust(64, b"\0")


@pytest.mark.parametrize("use", [zonefs.mkfs, zonefs.ZoneFS, zonefs.read_superblock])
def test_a_path_is_no_disk(use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"dev must be a zoned.Device, not str; zoned.open\(path\)"):
        use("disk.img")


def test_mkfs_while_mounted(fs: zonefs.ZoneFS, fails: Any) -> None:
    with fails(errno.EBUSY, "mounted in this process"):
        zonefs.mkfs(fs.device)
    fs.close()
    zonefs.mkfs(fs.device, force=True)


def test_mkfs_read_only(tmp_path: Any, fails: Any) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, size="16MiB", zone_size="4MiB").close()
    with zoned.open(path, readonly=True) as dev, fails(errno.EROFS, "read-only"):
        zonefs.mkfs(dev)


def test_mkfs_without_room(fails: Any) -> None:
    with (
        zoned.memory(
            size="64KiB", zone_size=2048, logical_block=512, physical_block=512, conventional=0
        ) as dev,
        fails(errno.ENOSPC, "zone 0 holds 2048 bytes"),
    ):
        zonefs.mkfs(dev)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(4096), "not a zonefs: the magic number at 0 is 0x00000000, it must be 0x5a4f4653"),
        (packed(magic=0x53464F5A), "the magic number at 0 is 0x53464f5a"),
        (packed(crc=0x12345678), "the superblock's crc at 4 is 0x12345678, its content makes 0x"),
        (packed(features=16), "unknown features 0x10: only bits 0xf exist"),
        (packed(features=1 << 63 | 1), "unknown features 0x8000000000000000"),
        (packed(features=2, ids=(2**32 - 1, 0, 0)), "uid is 4294967295, which is no user"),
        (packed(features=4, ids=(0, 2**32 - 1, 0)), "gid is 4294967295, which is no group"),
        (packed(reserved=(108, 1)), "reserved byte at 108 is 0x01, it must be 0"),
        (packed(reserved=(4095, 255)), "reserved byte at 4095 is 0xff"),
    ],
)
def test_what_is_no_superblock(
    disk: Callable[..., zoned.Device], fails: Any, content: bytes, message: str
) -> None:
    dev = disk()
    dev.pwrite(content, 0)
    with fails(errno.EINVAL, message):
        zonefs.ZoneFS(dev)
    with fails(errno.EINVAL, message):
        zonefs.read_superblock(dev)


def test_checks_come_in_the_kernels_order(disk: Callable[..., zoned.Device], fails: Any) -> None:
    dev = disk()
    dev.pwrite(packed(magic=1, crc=1, features=1 << 40, reserved=(200, 1)), 0)
    with fails(errno.EINVAL, "magic"):
        zonefs.ZoneFS(dev)
    dev.pwrite(packed(crc=1, features=1 << 40, reserved=(200, 1)), 0)
    with fails(errno.EINVAL, "crc"):
        zonefs.ZoneFS(dev)
    dev.pwrite(packed(features=1 << 40, reserved=(200, 1)), 0)
    with fails(errno.EINVAL, "features"):
        zonefs.ZoneFS(dev)


def test_ids_count_with_their_feature_only(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    dev.pwrite(packed(ids=(5, 2**32 - 1, 0o777)), 0)
    with zonefs.ZoneFS(dev) as fs:
        stat = fs.stat("seq/0")
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (0, 0, 0o640)


def test_any_flipped_bit_is_found(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    zonefs.mkfs(dev, "bits", True, 1, 2, 0o600)
    good = dev.pread(4096, 0)
    for bit in [*range(8 * 112), 8 * 112, 8 * 4096 - 1]:
        block = bytearray(good)
        block[bit // 8] ^= 1 << (bit % 8)
        dev.pwrite(block, 0)
        with pytest.raises(OSError, match=r"magic|crc"):
            zonefs.read_superblock(dev)


def test_no_superblock_without_urswrz(disk: Callable[..., zoned.Device], fails: Any) -> None:
    dev = disk(conventional=0, unrestricted_read=False)
    with fails(errno.EIO, "not a zonefs"):
        zonefs.ZoneFS(dev)
    zonefs.mkfs(dev)
    zonefs.ZoneFS(dev).close()


def test_the_superblock_of_a_dead_zone(disk: Callable[..., zoned.Device], fails: Any) -> None:
    dev = disk(conventional=0)
    zonefs.mkfs(dev)
    dev.set_condition(0, ZoneCondition.OFFLINE)
    with fails(errno.EIO, "offline") as info:
        zonefs.ZoneFS(dev)
    assert isinstance(info.value.__cause__, zoned.ZoneOfflineError)
