"""Every row of the kernel's errno table, in the kernel's order of checks (Linux 6.12 fs/zonefs/file.c)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

import zoned
import zonefs
from zoned import ZoneCondition

MIB = 1 << 20
DIRECT = os.O_WRONLY | os.O_DIRECT
BOTH = os.O_RDWR | os.O_DIRECT


# ------------------------------------------------------------ writing


def test_buffered_write_to_a_sequential_file(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", os.O_WRONLY) as file:
        for data in (block, b"x", b""):
            with fails(errno.EIO, "seq/0 is a sequential file: it takes direct writes"):
                file.write(data)
        with fails(errno.EFBIG):  # which is asked first
            file.pwrite(block, 4 * MIB)
    assert fs.stat("seq/0").st_size == 0
    assert not fs.options.readonly


def test_direct_write_not_aligned(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT) as file:
        for data, at in ((block[:512], 0), (block + b"x", 0), (block, 512), (b"x", 4095)):
            with fails(errno.EINVAL, "must be multiples of the block size, 4096"):
                file.pwrite(data, at)
        assert file.pwrite(b"", 5) == 0


def test_direct_write_elsewhere(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT) as file:
        with fails(errno.EINVAL, "write at 4096 in seq/0: a sequential file is written at its end"):
            file.pwrite(block, 4096)
        assert file.pwrite(block, 0) == 4096
        for at in (0, 8192, 4 * MIB - 4096):
            with fails(errno.EINVAL, "which is 4096"):
                file.pwrite(block, at)
    assert fs.stat("seq/0").st_size == 4096


def test_write_at_and_across_the_capacity(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT) as file:
        assert file.write(block * 1000) == 4096000
        assert file.write(block * 1000) == 4 * MIB - 4096000
        with fails(errno.EFBIG, "seq/0 is at its capacity of 4194304 bytes"):
            file.write(block)
        for at in (4 * MIB, 4 * MIB + 1, 2**62):
            for data in (block, b"", b"x"):
                with fails(errno.EFBIG):
                    file.pwrite(data, at)
        with fails(errno.EINVAL, "offset is -1: it must be 0 to 2**63 - 1"):
            file.pwrite(block, -1)
        with fails(errno.EINVAL, "offset is -4096"):
            file.pread(4096, -4096)
    assert fs.device.zones[2].condition is ZoneCondition.FULL


def test_short_write_with_a_clamp_that_is_not_aligned(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any
) -> None:
    fs = mounted(on={"logical_block": 512, "physical_block": 512, "zone_capacity": 3 * MIB + 512})
    with fs.open_raw("seq/0", DIRECT) as file:
        assert file.write(bytes(3 * MIB)) == 3 * MIB
        assert file.write(bytes(4096)) == 512


def test_append_to_a_sequential_file(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT | os.O_APPEND) as file:
        assert file.write(block) == 4096
        assert file.tell() == 4096
        assert file.pwrite(block, 100) == 4096  # pwrite(2) of Linux appends whatever the offset
        file.seek(0)
        assert file.write(block * 2) == 8192
        assert file.tell() == 16384
        with fails(errno.EINVAL, "multiples"):
            file.write(b"x")
        with fails(errno.EFBIG):  # the offset is looked at before the end is
            file.pwrite(block, 4 * MIB)
        assert file.write(bytes(8 * MIB)) == 4 * MIB - 16384
        file.seek(0)
        with fails(errno.EFBIG):
            file.write(block)


def test_append_to_a_conventional_file(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    for flags in (os.O_APPEND, os.O_APPEND | os.O_DIRECT):
        with fs.open_raw("cnv/0", os.O_WRONLY | flags) as file:
            with fails(errno.EINVAL, "no end to append to"):
                file.write(block)
            assert file.write(b"") == 0


def test_conventional_writes(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("cnv/0", os.O_RDWR) as file:
        assert file.pwrite(b"abc", 10) == 3
        assert file.pread(5, 9) == b"\0abc\0"
        assert file.pwrite(b"abcdef", 4 * MIB - 3) == 3
        with fails(errno.EFBIG, "cnv/0 is at its capacity of 4194304 bytes"):
            file.pwrite(b"abcdef", 4 * MIB)
        assert file.pread(10, 4 * MIB) == b""
    with fs.open_raw("cnv/0", BOTH) as file:
        assert file.pwrite(block, 4096) == 4096
        assert file.pwrite(block * 2, 4 * MIB - 4096) == 4096
        for data, at in ((block, 100), (block[:100], 0)):
            with fails(errno.EINVAL, "multiples"):
                file.pwrite(data, at)


def test_write_to_a_dead_zone(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    fs.remount(errors="zone-ro")
    with fs.open_raw("seq/0", BOTH) as file:
        file.write(block)
        fs.device.set_condition(2, ZoneCondition.READ_ONLY)
        with fails(errno.EIO):
            file.write(block)
        for data, at in ((block, 4096), (b"x", 1), (b"", 0), (block, 4 * MIB)):
            with fails(errno.EPERM, "seq/0 cannot be written: its zone is read-only"):
                file.pwrite(data, at)  # asked before anything else
        fs.remount(readonly=None)
        with fails(errno.EPERM):
            file.fsync()
        with fails(errno.EPERM):
            file.truncate(0)


def test_write_when_the_file_system_became_read_only(
    fs: zonefs.ZoneFS, fails: Any, block: bytes
) -> None:
    with fs.open_raw("seq/1", DIRECT) as file, fs.open_raw("seq/0", DIRECT) as bad:
        fs.device.finish_zone(2)
        with fails(errno.EREMOTEIO):
            bad.write(block)
        assert fs.options.readonly
        for data, at in ((block, 0), (b"x", 1), (b"", 0), (block, 4 * MIB)):
            with fails(errno.EROFS, "the file system is read-only"):
                file.pwrite(data, at)
        # ftruncate(2) asks nobody whether the mount is read-only; truncate(2) does.
        file.truncate(0)
        file.truncate(4 * MIB)
        assert fs.device.zones[3].condition is ZoneCondition.FULL
        with fails(errno.EROFS):
            fs.truncate("seq/1", 0)


# ------------------------------------------------------------ reading


def test_reads(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT) as file:
        file.write(block * 2)
        with fails(errno.EBADF, "not open for reading"):
            file.pread(4096, 0)
    with fs.open_raw("seq/0", os.O_RDONLY) as file:
        assert file.pread(100, 50) == block[50:150]
        assert file.pread(100, 8190) == block[-2:]
        for at in (8192, 9000, 4 * MIB, 2**62):
            assert file.pread(100, at) == b""
        with fails(errno.EBADF, "not open for writing"):
            file.write(block)
    with fs.open_raw("seq/0", os.O_RDONLY | os.O_DIRECT) as file:
        assert file.pread(16384, 0) == block * 2
        assert file.pread(5000, 4096) == block  # cut to the end first, and then aligned
        assert file.pread(100, 8192) == b""
        for length, at in ((4096, 512), (512, 0), (5000, 0)):
            with fails(errno.EINVAL, "multiples of the block size"):
                file.pread(length, at)


def test_read_of_an_offline_zone(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", BOTH) as file:
        file.write(block)
        fs.device.set_condition(2, ZoneCondition.OFFLINE)
        with fails(errno.EIO) as info:
            file.pread(4096, 0)
        assert isinstance(info.value.__cause__, zoned.ZoneOfflineError)
        for at in (0, 5, 4 * MIB):
            with fails(errno.EPERM, "seq/0 cannot be read: its zone is offline"):
                file.pread(4096, at)


# ------------------------------------------------------------ open, truncate, sync


@pytest.mark.parametrize(
    ("path", "flags", "code"),
    [
        ("seq/0", os.O_WRONLY | os.O_CREAT | os.O_EXCL, errno.EEXIST),
        ("seq/0", os.O_RDONLY | os.O_DIRECTORY, errno.ENOTDIR),
        ("seq", os.O_WRONLY, errno.EISDIR),
        ("seq", os.O_RDWR, errno.EISDIR),
        ("seq/99", os.O_WRONLY | os.O_CREAT, errno.ENOENT),
        ("seq/99", os.O_RDONLY, errno.ENOENT),
        ("cnv/0", os.O_RDWR | os.O_TRUNC, errno.EPERM),
        ("cnv/0", os.O_RDONLY | os.O_TRUNC, errno.EPERM),
    ],
)
def test_open(fs: zonefs.ZoneFS, fails: Any, path: str, flags: int, code: int) -> None:
    before = fs.counters
    with fails(code):
        fs.open_raw(path, flags)
    assert fs.counters == before


def test_open_truncates(fs: zonefs.ZoneFS, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT) as file:
        file.write(block)
    with fs.open_raw("seq/0", os.O_RDONLY | os.O_TRUNC) as file:
        assert fs.stat("seq/0").st_size == 0
        assert not file.writable()
    assert fs.device.zones[2].condition is ZoneCondition.EMPTY
    assert fs.device.counters.zone(2).resets == 1
    fs.open_raw("seq/0", os.O_WRONLY | os.O_TRUNC).close()
    assert fs.device.counters.zone(2).resets == 1  # no command when it is that size already


def test_truncate_of_a_sequential_file(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    dev = fs.device
    with fs.open_raw("seq/0", DIRECT) as file:
        file.write(block * 2)
        for size in (1, 4096, 8192, 12288, 4 * MIB - 4096):
            with fails(errno.EPERM, "can be truncated to 0"):
                fs.truncate("seq/0", size)
            with fails(errno.EPERM):
                file.truncate(size)
        for size in (4 * MIB + 1, 1 << 40, 2**63, 2**80):
            with fails(errno.EFBIG, "no file here is larger than 4194304"):
                fs.truncate("seq/0", size)
        with fails(errno.EINVAL, "negative"):
            fs.truncate("seq/0", -1)
        file.truncate(4 * MIB)
        assert fs.stat("seq/0").st_size == 4 * MIB
        assert dev.zones[2].condition is ZoneCondition.FULL
        fs.truncate("seq/0", 4 * MIB)
        assert dev.counters.zone(2).finishes == 1
        with fails(errno.EPERM):
            fs.truncate("seq/0", 8192)
        fs.truncate("seq/0", 0)
        fs.truncate("seq/0", 0)
        assert dev.counters.zone(2).resets == 1
        with fails(errno.EINVAL, "which is 0"):
            file.write(block)  # the position stayed
    with fs.open_raw("seq/0", os.O_RDONLY) as file, fails(errno.EINVAL, "not open for writing"):
        file.truncate(0)


def test_truncate_of_others(fs: zonefs.ZoneFS, fails: Any) -> None:
    for size in (0, 100, 4 * MIB):
        with fails(errno.EPERM, "cnv/0 is a conventional file: its size is fixed at 4194304"):
            fs.truncate("cnv/0", size)
    with fails(errno.EFBIG):
        fs.truncate("cnv/0", 4 * MIB + 1)
    for path in ("seq", ""):
        with fails(errno.EISDIR):
            fs.truncate(path, 0)


def test_largest_file_is_the_largest_aggregate(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any
) -> None:
    fs = mounted(on={"conventional": 4}, mkfs={"aggregate_conventional": True})
    with fails(errno.EPERM):
        fs.truncate("seq/0", 12 * MIB)
    with fails(errno.EFBIG):
        fs.truncate("seq/0", 12 * MIB + 1)


def test_a_read_only_mount(fs: zonefs.ZoneFS, fails: Any) -> None:
    with fs.open_raw("seq/2", os.O_WRONLY), fails(errno.EBUSY):
        fs.remount(readonly=True)
    assert not fs.options.readonly
    fs.remount(readonly=True)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_TRUNC):
        with fails(errno.EROFS, "read-only"):
            fs.open_raw("seq/1", flags)
    for change in (
        lambda: fs.chmod("seq/1", 0o600),
        lambda: fs.chown("seq/1", 1, 1),
        lambda: fs.utime("seq/1"),
        lambda: fs.truncate("seq/1", 0),
        lambda: fs.truncate("cnv/0", 0),
        lambda: fs.truncate("seq/1", 1 << 40),
    ):
        with fails(errno.EROFS):
            change()
    with fails(errno.EISDIR):
        fs.truncate("seq", 0)
    with fails(errno.EISDIR):
        fs.open_raw("seq", os.O_WRONLY)
    with fails(errno.EEXIST):
        fs.open_raw("seq/1", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    fs.fsync("seq/1")
    file = fs.open_raw("seq/1", os.O_RDONLY)
    file.close()
    assert fs.statvfs().f_flag == os.ST_RDONLY
    fs.remount(readonly=False)
    fs.truncate("seq/1", 0)


def test_a_read_only_disk(tmp_path: Any, fails: Any, block: bytes) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, size="32MiB", zone_size="4MiB", conventional=1) as dev:
        zonefs.mkfs(dev)
        with zonefs.ZoneFS(dev) as fs, fs.open("seq/0", "ab") as file:
            file.write(block)
        dev.open_zone(3)
    with zoned.open(path, readonly=True) as dev, zonefs.ZoneFS(dev) as fs:
        assert fs.options.readonly
        assert (fs / "seq" / "0").read_bytes() == block
        with fails(errno.EROFS):
            fs.open("seq/0", "ab")
        with fails(errno.EACCES):
            fs.remount(readonly=False)


def test_fsync(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open("seq/0", "ab", buffering=0) as file:
        file.write(block)
        assert fs.device.zones[2].durable_wp == 8 * MIB
        file.fsync()
        assert fs.device.zones[2].durable_wp == 8 * MIB + 4096
    with fails(errno.EINVAL, "directory"):
        fs.fsync("seq")


def test_o_dsync(fs: zonefs.ZoneFS, block: bytes) -> None:
    with fs.open_raw("seq/0", DIRECT | os.O_DSYNC) as file:
        file.write(block)
        assert fs.device.zones[2].durable_wp == 8 * MIB + 4096
    with fs.open_raw("cnv/0", os.O_WRONLY | os.O_SYNC) as file:
        flushes = fs.device.counters.flushes
        file.write(b"x")
        assert fs.device.counters.flushes == flushes + 1


# ------------------------------------------------------------ lseek


@pytest.mark.parametrize(
    ("offset", "whence", "result"),
    [
        (0, os.SEEK_SET, 0),
        (8192, os.SEEK_SET, 8192),
        (8193, os.SEEK_SET, errno.EINVAL),
        (-1, os.SEEK_SET, errno.EINVAL),
        (-1, os.SEEK_CUR, 99),
        (8092, os.SEEK_CUR, 8192),
        (8093, os.SEEK_CUR, errno.EINVAL),
        (-101, os.SEEK_CUR, errno.EINVAL),
        (0, os.SEEK_END, 8192),
        (-1, os.SEEK_END, 8191),
        (1, os.SEEK_END, errno.EINVAL),
        (0, os.SEEK_DATA, 0),
        (8191, os.SEEK_DATA, 8191),
        (8192, os.SEEK_DATA, errno.ENXIO),
        (0, os.SEEK_HOLE, 8192),
        (8192, os.SEEK_HOLE, errno.ENXIO),
    ],
)
def test_lseek(
    fs: zonefs.ZoneFS, fails: Any, block: bytes, offset: int, whence: int, result: int
) -> None:
    with fs.open("seq/0", "wb") as file:
        file.write(block * 2)
    with fs.open("seq/0", "rb", buffering=0) as file:
        file.seek(100)
        if result in (errno.EINVAL, errno.ENXIO):
            with fails(result):
                file.seek(offset, whence)
            assert file.tell() == 100
        else:
            assert file.seek(offset, whence) == result == file.tell()


# ------------------------------------------------------------ what the disk says


def test_the_disks_errno(mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes) -> None:
    fs = mounted(errors="repair", on={"max_active": 6})
    dev = fs.device
    for zone in (8, 9, 10, 11):
        dev.open_zone(zone)
    with fs.open_raw("seq/0", DIRECT) as file:
        with fails(errno.ETOOMANYREFS, "write of seq/0 failed: ") as info:
            file.write(block)
        assert isinstance(info.value.__cause__, zoned.TooManyOpenError)
        for zone in (8, 9, 10, 11):
            dev.append(zone, block)
        dev.close_all()
        dev.append(12, block)
        dev.append(13, block)
        with fails(errno.EOVERFLOW) as info:
            file.write(block)
        assert isinstance(info.value.__cause__, zoned.TooManyActiveError)
        dev.reset_all()
        assert file.write(block) == 4096


def test_truncate_that_the_disk_refuses(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    """A failed zone command is no I/O error: the file and the mount stay as they were."""
    with fs.open_raw("seq/0", DIRECT) as file:
        file.write(block)
        fs.device.set_condition(2, ZoneCondition.READ_ONLY)
        with fails(errno.EIO, "truncate of seq/0 failed"):
            fs.truncate("seq/0", 0)
    assert fs.stat("seq/0").st_size == 4096
    assert not fs.options.readonly
