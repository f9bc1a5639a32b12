"""What a failed write or read does to a file, under each errors= mode, and explicit-open's accounting.

The expected rows were observed on Linux 6.12 over null_blk, whose zones can be made read-only and offline.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import zoned
import zonefs
from zoned import ZoneCondition

MIB = 1 << 20
BOTH = os.O_RDWR | os.O_DIRECT
WRITE = os.O_WRONLY | os.O_DIRECT
MODES = ("remount-ro", "zone-ro", "zone-offline", "repair")


def state(fs: zonefs.ZoneFS, path: str = "seq/0") -> tuple[int, str, bool]:
    stat = fs.stat(path)
    return stat.st_size, oct(stat.st_mode & 0o777), fs.options.readonly


def break_zone(dev: zoned.Device, how: str) -> None:
    """Zone 2 holds two blocks; after this the next write at 8192 fails."""
    if how == "read-only":
        dev.set_condition(2, ZoneCondition.READ_ONLY)
    elif how == "offline":
        dev.set_condition(2, ZoneCondition.OFFLINE)
    elif how == "reset":
        dev.reset_zone(2)
    elif how == "grown":
        dev.append(2, bytes(4096))
    elif how == "finished":
        dev.finish_zone(2)
    else:
        assert how == "limit"
        dev.close_zone(2)
        for zone in (8, 9, 10, 11):
            dev.open_zone(zone)


KEPT, NOT_WRITABLE, GONE = (8192, "0o640"), (8192, "0o440"), (0, "0o0")


def after(
    remount: tuple[int, str], repair: tuple[int, str], zone_ro: tuple[int, str] = NOT_WRITABLE
) -> dict[str, tuple[int, str, bool]]:
    """(size, mode, file system read-only) for each mode; zone-offline is the same for all."""
    return {
        "remount-ro": (*remount, True),
        "zone-ro": (*zone_ro, False),
        "zone-offline": (*GONE, False),
        "repair": (*repair, False),
    }


# after a failed write
AFTER_WRITE = {
    "read-only": after(NOT_WRITABLE, NOT_WRITABLE),
    "offline": after(GONE, GONE, zone_ro=GONE),
    "reset": after((0, "0o640"), (0, "0o640")),  # smaller than the file
    # larger: remount-ro shows nothing that was not acknowledged
    "grown": after(KEPT, (12288, "0o640")),
    "finished": after(KEPT, (4 * MIB, "0o640")),
    "limit": after(KEPT, KEPT),
}


@pytest.mark.parametrize("explicit_open", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", list(AFTER_WRITE))
def test_a_failed_write(
    mounted: Callable[..., zonefs.ZoneFS],
    fails: Any,
    block: bytes,
    how: str,
    mode: str,
    explicit_open: bool,
) -> None:
    fs = mounted(errors=mode, explicit_open=explicit_open)
    codes = {"limit": errno.ETOOMANYREFS, "reset": errno.EREMOTEIO, "finished": errno.EREMOTEIO}
    code = codes.get(how, errno.EIO)
    with fs.open_raw("seq/0", BOTH) as file:
        file.write(block * 2)
        break_zone(fs.device, how)
        with fails(code, "write of seq/0 failed: ") as info:
            file.write(block)
        assert isinstance(info.value.__cause__, zoned.ZonedError)
        assert state(fs) == AFTER_WRITE[how][mode]
        size, permissions, readonly = AFTER_WRITE[how][mode]
        used = size // 4096
        assert fs.statvfs().f_bfree == 14336 - used
        active = int(permissions == "0o640" and 0 < size < 4 * MIB)
        if explicit_open and permissions == "0o640" and size < 4 * MIB:
            active = 1  # still explicitly open
        assert fs.counters.nr_active_seq_files == active
        assert fs.counters.nr_wro_seq_files == 1
        again = errno.EPERM if permissions != "0o640" else errno.EROFS if readonly else None
        if again is not None:
            with fails(again):
                file.pwrite(block, size)
        elif how != "limit" and size < 4 * MIB:
            assert file.pwrite(block, size) == 4096
    if permissions == "0o640":
        fs.remount(readonly=False)
        fs.chmod("seq/0", 0o600)
    else:
        expected = errno.EROFS if readonly else errno.EPERM
        with fails(expected):
            fs.chmod("seq/0", 0o600)


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_read(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes, mode: str
) -> None:
    """A read of an offline zone fails, and is handled as a failed write is."""
    for direct in (0, os.O_DIRECT):
        fs = mounted(errors=mode)
        with fs.open_raw("seq/0", WRITE) as file:
            file.write(block)
        with fs.open_raw("seq/0", os.O_RDONLY | direct) as file:
            fs.device.set_condition(2, ZoneCondition.OFFLINE)
            with fails(errno.EIO):
                file.pread(4096, 0)
        assert state(fs) == (0, "0o0", mode == "remount-ro")


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_read_of_a_good_zone_changes_nothing(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes, mode: str
) -> None:
    """On a disk that reads only what was written: the zone is as large as the file, so nothing is done."""
    fs = mounted(errors=mode, on={"conventional": 0, "unrestricted_read": False})
    with fs.open_raw("seq/0", BOTH) as file:
        file.write(block * 2)
        fs.device.reset_zone(1)
        with fails(errno.EIO):
            file.pread(4096, 0)
        # The zone was reset behind the file's back: that is an inconsistency, and is handled.
        expected = {
            "remount-ro": (0, "0o640", True),
            "zone-ro": (8192, "0o440", False),
            "zone-offline": (0, "0o0", False),
            "repair": (0, "0o640", False),
        }
        assert state(fs) == expected[mode]


def test_a_read_only_zone_can_still_be_read(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", BOTH) as file:
        file.write(block)
        fs.device.set_condition(2, ZoneCondition.READ_ONLY)
        assert file.pread(4096, 0) == block
        assert state(fs) == (4096, "0o640", False)  # nothing failed, so nobody looked
        with fails(errno.EIO):
            file.write(block)
        assert file.pread(4096, 0) == block


@pytest.mark.parametrize("dialect", ["zbc", "zns", "nullblk"])
@pytest.mark.parametrize("how", ["grown", "reset", "finished"])
def test_a_misplaced_write_has_the_errno_that_linux_gives(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes, dialect: str, how: str
) -> None:
    """Where Linux keeps a write pointer it refuses by itself; else a SCSI disk does, by ILLEGAL REQUEST."""
    fs = mounted(
        errors="repair", on={"dialect": dialect, "conventional": 0 if dialect == "zns" else 2}
    )
    zone = fs.zone_of("seq/0")
    with fs.open_raw("seq/0", BOTH) as file:
        file.write(block * 2)
        if how == "grown":
            fs.device.append(zone, block)
        elif how == "reset":
            fs.device.reset_zone(zone)
        else:
            fs.device.finish_zone(zone)
        scsi = dialect == "zbc" and how != "grown"
        with fails(errno.EREMOTEIO if scsi else errno.EIO):
            file.write(block)


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_direct_write_to_a_conventional_file_changes_nothing(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes, mode: str
) -> None:
    """Observed on Linux 6.12 with bad blocks of null_blk; a buffered one is dealt with as the mode says."""
    fs = mounted(errors=mode)
    at = fs.device.zones[1].start + 8192
    with fs.open_raw("cnv/0", BOTH) as file:
        file.pwrite(block * 4, 0)
        with fs.device.faults.add("medium", on="write", range=(at, at + 4096)):
            with fails(errno.EIO):
                file.pwrite(block, 8192)
        assert state(fs, "cnv/0") == (4 * MIB, "0o640", False)
        file.pwrite(block, 8192)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("condition", [ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE])
def test_conventional_files_are_taken_for_good(
    mounted: Callable[..., zonefs.ZoneFS],
    fails: Any,
    block: bytes,
    mode: str,
    condition: ZoneCondition,
) -> None:
    """The kernel fakes their report (__zonefs_io_error()), so that only the mode counts."""
    expected = {
        "remount-ro": (4 * MIB, "0o640", True),
        "zone-ro": (4 * MIB, "0o440", False),
        "zone-offline": (0, "0o0", False),
        "repair": (4 * MIB, "0o640", False),
    }[mode]
    fs = mounted(errors=mode)
    fs.device.set_condition(1, condition)
    with fs.open_raw("cnv/0", BOTH) as file:
        with fails(errno.EIO):
            file.pwrite(block, 0)
    assert state(fs, "cnv/0") == (4 * MIB, "0o640", False)
    with fs.open_raw("cnv/0", os.O_RDWR) as file:
        with fails(errno.EIO):
            file.pwrite(block, 0)
    assert state(fs, "cnv/0") == expected
    assert fs.counters.nr_active_seq_files == 0


@pytest.mark.parametrize("condition", [ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE])
@pytest.mark.parametrize("path", ["seq/0", "cnv/0"])
def test_dead_before_the_mount(
    disk: Callable[..., zoned.Device],
    fails: Any,
    block: bytes,
    path: str,
    condition: ZoneCondition,
) -> None:
    """A zone found read-only is treated as offline, since its write pointer is not valid."""
    dev = disk()
    zonefs.mkfs(dev)
    dev.append(2, block)
    dev.set_condition(2 if path == "seq/0" else 1, condition)
    with zonefs.ZoneFS(dev) as fs:
        kept = path == "cnv/0" and condition is ZoneCondition.READ_ONLY
        assert state(fs, path) == (4 * MIB if kept else 0, "0o0", False)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            with fails(errno.EPERM, f"{path} cannot be opened for writing: its zone is"):
                fs.open_raw(path, flags)
        with fs.open_raw(path, os.O_RDONLY) as file:
            with fails(errno.EPERM, f"{path} cannot be read: its zone is"):
                file.pread(100, 0)
            with fails(errno.EPERM):
                file.fsync()
        for change in (
            lambda: fs.chmod(path, 0o777),
            lambda: fs.chown(path, 1, 1),
            lambda: fs.utime(path),
            lambda: fs.truncate(path, 0),
            lambda: fs.truncate(path, 1 << 40),
        ):
            with fails(errno.EPERM, "cannot be changed"):
                change()
        assert not fs.options.readonly
        assert fs.counters.nr_active_seq_files == (0 if path == "seq/0" else 1)


def test_remount_changes_what_errors_do(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    assert fs.options == zonefs.MountOptions(zonefs.Errors.REMOUNT_RO, False, False)
    fs.remount(errors="repair")
    with fs.open_raw("seq/0", BOTH) as file:
        fs.device.append(2, block)
        with fails(errno.EIO):
            file.write(block)
        assert state(fs) == (4096, "0o640", False)
        fs.remount(errors=zonefs.Errors.ZONE_RO)
        fs.device.append(2, block)
        with fails(errno.EIO):
            file.pwrite(block, 4096)
        assert state(fs) == (4096, "0o440", False)
    assert fs.options.errors is zonefs.Errors.ZONE_RO
    with pytest.raises(
        ValueError, match="errors is 'panic': it must be one of remount-ro, zone-ro"
    ):
        fs.remount(errors="panic")
    with pytest.raises(ValueError, match="errors is 'panic'"):
        zonefs.ZoneFS(fs.device, errors="panic")


def test_a_read_only_state_ends_with_remount(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open_raw("seq/0", BOTH) as file:
        fs.device.append(2, block)
        with fails(errno.EIO):
            file.write(block)
        with fails(errno.EROFS):
            file.write(block)
        fs.remount(errors="repair", readonly=False)
        with fails(errno.EIO):
            file.write(block)
        assert file.pwrite(block, 4096) == 4096


# ------------------------------------------------------------ explicit-open and the counters


@contextmanager
def open_many(fs: zonefs.ZoneFS, numbers: Iterator[int] | range) -> Iterator[list[zonefs.ZoneFile]]:
    files = [fs.open_raw(f"seq/{n}", WRITE) for n in numbers]
    try:
        yield files
    finally:
        for file in files:
            file.close()


def shorts(fs: zonefs.ZoneFS, count: int = 4) -> str:
    return " ".join(zone.condition.short for zone in fs.device.report(2, count))


def counts(fs: zonefs.ZoneFS) -> tuple[int, int]:
    counters = fs.counters
    return counters.nr_wro_seq_files, counters.nr_active_seq_files


def test_explicit_open(mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes) -> None:
    """The scenario and its numbers as Linux 6.12 shows them over null_blk."""
    fs = mounted(explicit_open=True, on={"dialect": "nullblk", "max_active": 6})
    assert fs.options.explicit_open
    assert fs.counters == zonefs.SeqFileCounters(4, 0, 6, 0)
    with open_many(fs, range(4)) as files:
        assert counts(fs) == (4, 4)
        assert shorts(fs) == "oe oe oe oe"
        for path in ("seq/4", "seq/5"):
            with fails(errno.EBUSY, "4 sequential files are, and at most 4 may be"):
                fs.open_raw(path, WRITE)
            assert counts(fs) == (4, 4)
        files[0].write(block)
        files[0].truncate(0)  # reset, and opened again
        assert counts(fs) == (4, 4)
        assert shorts(fs) == "oe oe oe oe"
        files[1].write(block)
        files[2].truncate(4 * MIB)
        assert counts(fs) == (4, 3)
        files[3].write(block * 1024)
        assert counts(fs) == (4, 2)
        assert shorts(fs) == "oe oe fu fu"
        fs.open_raw("seq/0", WRITE).close()  # not the last one
        assert shorts(fs) == "oe oe fu fu"
        with fails(errno.EBUSY):  # full files count too
            fs.open_raw("seq/5", WRITE)
        fs.open_raw("seq/5", os.O_RDONLY).close()
        fs.open_raw("cnv/0", os.O_WRONLY).close()
    assert counts(fs) == (0, 1)
    assert shorts(fs) == "em cl fu fu"
    with fs.open_raw("seq/2", WRITE) as file:
        assert counts(fs) == (1, 1)
        file.truncate(0)  # a full zone was not opened, so it is not opened again
        assert counts(fs) == (1, 1)
        assert shorts(fs) == "em cl em fu"
        file.write(block)
        assert shorts(fs) == "em cl oi fu"
    assert counts(fs) == (0, 2)
    assert shorts(fs) == "em cl oi fu"


def test_close_of_an_empty_zone_resets_it(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    """A ZNS zone that is closed unwritten would stay active."""
    fs = mounted(explicit_open=True, on={"dialect": "zns", "max_active": 4})
    for _ in range(3):
        with open_many(fs, range(4)):
            assert fs.device.limits.active == 4
        assert fs.device.limits.active == 0
    assert fs.device.counters.zone(2).resets == 3
    assert fs.device.counters.zone(2).closes == 0


def test_explicit_open_without_limits_is_ignored(mounted: Callable[..., zonefs.ZoneFS]) -> None:
    fs = mounted(explicit_open=True, on={"max_open": 0})
    assert not fs.options.explicit_open
    with open_many(fs, range(14)):
        assert counts(fs) == (14, 0)
        assert shorts(fs) == "em em em em"


def test_without_explicit_open_writers_are_only_counted(fs: zonefs.ZoneFS) -> None:
    with open_many(fs, range(6)):
        assert counts(fs) == (6, 0)
        assert fs.counters.max_wro_seq_files == 4
        with open_many(fs, range(6)):
            assert counts(fs) == (6, 0)
        assert counts(fs) == (6, 0)
    assert counts(fs) == (0, 0)


def test_open_that_the_disk_refuses(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes
) -> None:
    fs = mounted(explicit_open=True)
    for zone in (8, 9, 10, 11):
        fs.device.open_zone(zone)
    with fails(errno.ETOOMANYREFS, "open of seq/0 failed"):
        fs.open_raw("seq/0", WRITE)
    assert counts(fs) == (0, 0)
    assert not fs.options.readonly
    fs.device.close_all()
    with fs.open_raw("seq/0", WRITE) as file:
        file.write(block)


def test_open_with_trunc_that_fails_closes_again(
    mounted: Callable[..., zonefs.ZoneFS], fails: Any, block: bytes
) -> None:
    fs = mounted(explicit_open=True)
    with fs.open_raw("seq/0", WRITE) as file:
        file.write(block)
    fs.device.set_condition(2, ZoneCondition.READ_ONLY)
    with fails(errno.EIO):
        fs.open_raw("seq/0", WRITE | os.O_TRUNC)
    assert counts(fs) == (0, 1)


@pytest.mark.parametrize("condition", [ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE])
@pytest.mark.parametrize("noticed", [False, True])
def test_close_of_a_zone_that_died(
    mounted: Callable[..., zonefs.ZoneFS],
    fails: Any,
    block: bytes,
    condition: ZoneCondition,
    noticed: bool,
) -> None:
    """close() never fails. If CLOSE ZONE finds out about the death, it is handled as a failed read is, and the
    kernel leaves the file counted."""
    fs = mounted(explicit_open=True, errors="repair")
    file = fs.open_raw("seq/0", WRITE)
    file.write(block)
    fs.device.set_condition(2, condition)
    if noticed:
        with fails(errno.EIO):
            file.write(block)
    file.close()
    dead = condition is ZoneCondition.OFFLINE
    assert state(fs) == (0 if dead else 4096, "0o0" if dead else "0o440", False)
    assert counts(fs) == (0 if noticed else 1, 0)


def test_umount_closes_what_is_open(disk: Callable[..., zoned.Device], block: bytes) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    fs = zonefs.ZoneFS(dev, explicit_open=True)
    file = fs.open_raw("seq/0", WRITE)
    file.write(block)
    empty = fs.open_raw("seq/1", WRITE)
    assert [zone.condition.short for zone in dev.report(2, 2)] == ["oe", "oe"]
    fs.close()
    assert file.closed
    assert empty.closed
    assert [zone.condition.short for zone in dev.report(2, 2)] == ["cl", "em"]
