"""The tree: names, numbers, sizes, attributes, listings and statfs, as the kernel shows them."""

from __future__ import annotations

import errno
import os
import stat as stats
import time
from collections.abc import Callable
from typing import Any

import pytest

import zoned
import zonefs
from zoned import ZoneCondition

MIB = 1 << 20


def row(fs: zonefs.ZoneFS, path: str) -> tuple[object, ...]:
    stat = fs.stat(path)
    return (
        *(stat.st_size, stat.st_blocks, stat.st_blksize, oct(stat.st_mode)),
        *(stat.st_ino, stat.st_nlink, stat.st_uid, stat.st_gid),
    )


def test_stat_as_the_kernel(fs: zonefs.ZoneFS) -> None:
    """Linux 6.12 on scsi_debug: 64 MiB, zones of 4 MiB, 2 of them conventional, blocks of 4096."""
    assert row(fs, "") == (4, 0, 4096, "0o40555", 16, 4, 0, 0)
    assert row(fs, "cnv") == (1, 0, 4096, "0o40555", 17, 2, 0, 0)
    assert row(fs, "seq") == (14, 0, 4096, "0o40555", 18, 2, 0, 0)
    assert row(fs, "cnv/0") == (4 * MIB, 8192, 4096, "0o100640", 1, 1, 0, 0)
    assert row(fs, "seq/0") == (0, 8192, 4096, "0o100640", 2, 1, 0, 0)
    assert row(fs, "seq/13") == (0, 8192, 4096, "0o100640", 15, 1, 0, 0)


def test_listings(fs: zonefs.ZoneFS) -> None:
    assert fs.listdir() == fs.listdir("/") == ["cnv", "seq"]
    assert fs.listdir("cnv") == ["0"]
    assert fs.listdir("seq") == [str(n) for n in range(14)]
    numbers = [str(n) for n in range(14)]
    assert list(fs.walk()) == [("", ["cnv", "seq"], []), ("cnv", [], ["0"]), ("seq", [], numbers)]
    assert list(fs.walk("seq")) == [("seq", [], numbers)]


def test_walk_can_be_cut(fs: zonefs.ZoneFS) -> None:
    seen = []
    for name, folders, _ in fs.walk():
        seen.append(name)
        folders[:] = [folder for folder in folders if folder != "cnv"]
    assert seen == ["", "seq"]


def test_listing_a_file(fs: zonefs.ZoneFS, fails: Any) -> None:
    with fails(errno.ENOTDIR):
        fs.listdir("seq/0")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nope", errno.ENOENT),
        ("s", errno.ENOENT),
        ("seqq", errno.ENOENT),
        ("seq/00", errno.ENOENT),
        ("seq/01", errno.ENOENT),
        ("seq/14", errno.ENOENT),
        ("seq/-1", errno.ENOENT),
        ("seq/+1", errno.ENOENT),
        ("seq/0x0", errno.ENOENT),
        ("seq/1 ", errno.ENOENT),
        ("seq/9999999999999999", errno.ENOENT),
        ("seq/12345678901234567", errno.ENAMETOOLONG),
        ("x" * 16, errno.ENOENT),
        ("x" * 17, errno.ENAMETOOLONG),
        ("x" * 300, errno.ENAMETOOLONG),
        ("seq/0/", errno.ENOTDIR),
        ("seq/0/.", errno.ENOTDIR),
        ("seq/0/x", errno.ENOTDIR),
        ("nope/0", errno.ENOENT),
    ],
)
def test_names_that_are_none(fs: zonefs.ZoneFS, fails: Any, path: str, code: int) -> None:
    with fails(code) as info:
        fs.stat(path)
    assert info.value.filename == path
    assert not fs.exists(path)
    assert not fs.is_file(path)
    assert not fs.is_dir(path)


@pytest.mark.parametrize(
    "path",
    ["seq/0", "/seq/0", "//seq//0", "seq/./0", "./seq/0", "seq/../seq/0", "../seq/0", b"seq/0"],
)
def test_ways_to_say_a_name(fs: zonefs.ZoneFS, path: str) -> None:
    assert fs.stat(path).st_ino == 2
    assert fs.is_file(path)
    assert fs.zone_of(path) == 2


def test_names_of_directories(fs: zonefs.ZoneFS, fails: Any) -> None:
    for path in ("", "/", ".", "seq", "seq/", "seq/.", "seq/..", "cnv/../seq"):
        assert fs.is_dir(path), path
    with fails(errno.EISDIR):
        fs.zone_of("seq")


def test_names_that_cannot_be(fs: zonefs.ZoneFS) -> None:
    with pytest.raises(ValueError, match="null"):
        fs.stat("seq\0")
    with pytest.raises(TypeError, match="int"):
        fs.stat(3)  # type: ignore[arg-type]


def test_zone_0_is_never_a_file(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(on={"conventional": 1})
    assert fs.listdir() == ["seq"]
    assert fs.stat("seq/0").st_ino == 1
    assert fs.stat("seq").st_ino == 18
    assert row(fs, "")[0] == 3
    fs = mounted(on={"conventional": 0})
    assert fs.listdir("seq") == [str(n) for n in range(15)]


def test_an_only_conventional_disk(mounted: Callable[..., zonefs.ZoneFS], fails: Any) -> None:
    fs = mounted(on={"conventional": 16, "max_open": 0})
    assert fs.listdir() == ["cnv"]
    assert len(fs.listdir("cnv")) == 15
    with fails(errno.ENOENT):
        fs.stat("seq")
    assert fs.statvfs().f_bfree == 0


def test_a_disk_of_one_zone(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    """The superblock takes it, and nothing would be left for a file: mkfs says so."""
    with pytest.raises(OSError, match="no zone would be a file that can be written") as caught:
        mounted(on={"size": "4MiB", "conventional": 0, "max_open": 0})
    assert caught.value.errno == errno.ENOSPC


def test_conventional_zones_anywhere(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(on={"conventional": "0-1,4,8-10"})
    assert [fs.stat(f"cnv/{n}").st_ino for n in range(5)] == [1, 4, 8, 9, 10]
    assert [fs.stat(f"seq/{n}").st_ino for n in range(3)] == [2, 3, 5]


def test_aggregated(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(on={"conventional": "0-3,6,8-10"}, mkfs={"aggregate_conventional": True})
    assert fs.listdir("cnv") == ["0", "1", "2"]
    sizes = [fs.stat(f"cnv/{n}").st_size for n in range(3)]
    assert sizes == [12 * MIB, 4 * MIB, 12 * MIB]
    assert [fs.stat(f"cnv/{n}").st_ino for n in range(3)] == [1, 6, 8]
    assert fs.stat("cnv/0").st_blocks == 3 * 8192
    with fs.open("cnv/0", "r+b", buffering=0) as file:
        data = bytes(range(251)) * 100
        for at in (0, 4 * MIB - 1234, 8 * MIB - 1, 12 * MIB - len(data)):
            assert file.pwrite(data, at) == len(data)
            assert file.pread(len(data), at) == data
    assert fs.device.pread(8192, 8 * MIB - 4096)[4096 - 1234 :][: len(data)] == data[:5330]


@pytest.mark.parametrize("condition", [ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE])
def test_one_dead_zone_marks_the_aggregate(
    disk: Callable[..., zoned.Device], condition: ZoneCondition
) -> None:
    dev = disk(conventional=4)
    zonefs.mkfs(dev, aggregate_conventional=True)
    dev.set_condition(2, condition)
    with zonefs.ZoneFS(dev) as fs:
        stat = fs.stat("cnv/0")
        assert stat.st_mode & 0o777 == 0
        assert stat.st_size == (12 * MIB if condition is ZoneCondition.READ_ONLY else 0)


def test_capacity_below_size(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(on={"zone_capacity": "3MiB"})
    assert fs.stat("seq/0").st_blocks == 6144
    assert fs.stat("cnv/0").st_size == 4 * MIB
    assert fs.statvfs().f_blocks == (4 + 14 * 3) * 256


def test_a_smaller_last_zone(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(on={"size": 62 * MIB})
    assert fs.stat("seq/13").st_blocks == 4096
    fs.truncate("seq/13", 2 * MIB)
    assert fs.stat("seq/13").st_size == 2 * MIB


def test_zones_of_any_size(mounted: Callable[..., zonefs.ZoneFS], block: bytes) -> None:
    fs = mounted(on={"size": "36MiB", "zone_size": "3MiB"})
    assert fs.listdir("seq") == [str(n) for n in range(10)]
    with fs.open("seq/9", "ab") as file:
        file.write(block)
    assert fs.stat("seq/9").st_ino == 11
    assert fs.device.pread(4096, 33 * MIB) == block


def test_512e_writes_by_physical_blocks(mounted: Callable[..., zonefs.ZoneFS], fails: Any) -> None:
    fs = mounted(on={"logical_block": 512, "physical_block": 4096})
    assert fs.stat("seq/0").st_blksize == fs.block_size == 4096
    with fs.open("seq/0", "ab", buffering=0) as file:
        with fails(errno.EINVAL, "multiples of the block size, 4096"):
            file.write(bytes(512))
        assert file.write(bytes(4096)) == 4096


def test_host_aware_zones_are_in_seq(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(on={"model": "host-aware", "max_open": 0})
    assert len(fs.listdir("seq")) == 14


def test_statvfs(fs: zonefs.ZoneFS, block: bytes) -> None:
    vfs = fs.statvfs()
    assert (vfs.f_bsize, vfs.f_frsize, vfs.f_blocks, vfs.f_bfree) == (4096, 4096, 15360, 14336)
    assert (vfs.f_bavail, vfs.f_files, vfs.f_ffree, vfs.f_namemax) == (14336, 17, 0, 16)
    assert vfs.f_flag == 0
    with fs.open("seq/0", "ab") as file:
        file.write(block * 3)
    assert fs.statvfs().f_bfree == 14333
    fs.truncate("seq/0", 4 * MIB)
    assert fs.statvfs().f_bfree == 14336 - 1024
    fs.truncate("seq/0", 0)
    assert fs.statvfs().f_bfree == 14336
    half = [int.from_bytes(fs.superblock.uuid.bytes[at : at + 8], "little") for at in (0, 8)]
    assert vfs.f_fsid == half[0] ^ half[1]


def test_sizes_are_taken_from_the_zones(disk: Callable[..., zoned.Device], block: bytes) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    dev.append(3, block * 2)
    dev.finish_zone(4)
    dev.append(5, block)
    dev.finish_zone(5)
    with zonefs.ZoneFS(dev) as fs:
        assert [fs.stat(f"seq/{n}").st_size for n in range(4)] == [0, 8192, 4 * MIB, 4 * MIB]
        assert fs.statvfs().f_bfree == 14336 - 2 - 2048


def test_a_mount_closes_open_zones(disk: Callable[..., zoned.Device], block: bytes) -> None:
    """Open zones are closed, and reset where nothing is written (zonefs_init_zgroup())."""
    dev = disk(dialect="zns", max_active=8)
    zonefs.mkfs(dev)
    dev.open_zone(2)
    dev.open_zone(3)
    dev.append(3, block)
    dev.append(4, block)
    with zonefs.ZoneFS(dev) as fs:
        short = [zone.condition.short for zone in dev.report(2, 3)]
        assert short == ["em", "cl", "cl"]
        assert fs.counters == zonefs.SeqFileCounters(4, 0, 8, 2)


def test_times(fs: zonefs.ZoneFS, block: bytes) -> None:
    """zonefs changes no time on writes; truncate by descriptor and O_TRUNC do (as observed on 6.12)."""

    def times() -> tuple[int, int, int]:
        stat = fs.stat("seq/0")
        return stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns

    start = times()
    assert abs(start[0] - time.time_ns()) < 60 * 10**9
    assert start[0] == start[1] == start[2] == fs.stat("").st_mtime_ns
    time.sleep(0.02)
    with fs.open("seq/0", "ab", buffering=0) as file:
        file.write(block)
        assert times() == start
        file.truncate(4 * MIB)
    after = times()
    assert after[0] == start[0]
    assert after[1] == after[2] > start[1]
    fs.truncate("seq/0", 0)
    assert times() == after
    fs.utime("seq/0", ns=(1_500_000_001, 2 * 10**18 + 7))
    assert times()[:2] == (1_500_000_001, 2 * 10**18 + 7)
    fs.utime("seq/0", (-1.5, 3))
    assert times()[:2] == (-1_500_000_000, 3 * 10**9)
    fs.utime("seq/0")
    assert abs(times()[0] - time.time_ns()) < 60 * 10**9
    with pytest.raises(ValueError, match="not both"):
        fs.utime("seq/0", (1, 1), ns=(1, 1))


def test_reading_moves_atime_once(fs: zonefs.ZoneFS, block: bytes) -> None:
    """relatime: the first read behind a change counts, the next do not."""
    with fs.open("seq/0", "ab") as file:
        file.write(block)
    first = fs.stat("seq/0").st_atime_ns
    time.sleep(0.02)
    with fs.open("seq/0", "rb", buffering=0) as file:
        file.read(1)
        second = fs.stat("seq/0").st_atime_ns
        time.sleep(0.02)
        file.read(1)
    assert second > first
    assert fs.stat("seq/0").st_atime_ns == second


def test_chmod_and_chown_live_until_umount(disk: Callable[..., zoned.Device], fails: Any) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    with zonefs.ZoneFS(dev) as fs:
        fs.chmod("seq/0", 0o6755)
        assert row(fs, "seq/0")[3] == "0o106755"
        fs.chown("seq/0", 7, 8)  # which takes setuid, and setgid where the group may execute
        assert row(fs, "seq/0")[3:] == ("0o100755", 2, 1, 7, 8)
        fs.chmod("seq/0", 0o2644)
        fs.chown("seq/0", -1, 9)
        assert row(fs, "seq/0")[3:] == ("0o102644", 2, 1, 7, 9)
        fs.chown("seq/0", -1, -1)
        assert row(fs, "seq/0")[6:] == (7, 9)
        with fails(errno.EPERM, "directory"):
            fs.chmod("seq", 0o755)
        fs.chmod("seq", 0o511)
        fs.chown("", 3, 4)
        assert row(fs, "seq")[3] == "0o40511"
        assert row(fs, "")[6:] == (3, 4)
    with zonefs.ZoneFS(dev) as fs:
        assert row(fs, "seq/0")[3:] == ("0o100640", 2, 1, 0, 0)
        assert row(fs, "seq")[3] == "0o40555"


def test_modes_are_types_too(fs: zonefs.ZoneFS) -> None:
    assert stats.S_ISDIR(fs.stat("cnv").st_mode)
    assert stats.S_ISREG(fs.stat("cnv/0").st_mode)
    assert isinstance(fs.stat("seq/0"), os.stat_result)
    assert isinstance(fs.statvfs(), os.statvfs_result)


def test_changes_behind_the_back(fs: zonefs.ZoneFS, block: bytes) -> None:
    """As two mounts of one disk: sizes are kept until asked for anew."""
    with zonefs.ZoneFS(fs.device) as other:
        with other.open("seq/0", "ab") as file:
            file.write(block)
        assert fs.stat("seq/0").st_size == 0
        assert fs.revalidate("seq/0")
        assert fs.stat("seq/0").st_size == 4096
        assert not fs.revalidate("seq/0")
        assert fs.counters.nr_active_seq_files == 1
        # The same size again, but other data: seen all the same.
        before = fs.stat("seq/0").st_mtime_ns
        other.truncate("seq/0", 0)
        with other.open("seq/0", "ab") as file:
            file.write(block)
        assert fs.revalidate("seq/0")
        assert fs.stat("seq/0").st_mtime_ns > before
        with other.open("cnv/0", "r+b") as file:
            file.write(b"x")
        assert fs.revalidate("cnv/0")
        assert not fs.revalidate("cnv/0")
        with fs.open("cnv/0", "r+b") as file:
            file.write(b"y" * 5000)
        assert not fs.revalidate("cnv/0")
        with fs.open("seq/1", "wb") as file:
            file.write(block)
        fs.truncate("seq/1", 0)
        assert not fs.revalidate("seq/1")
        assert not fs.revalidate("seq")
