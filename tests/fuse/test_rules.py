"""What a program meets on the mount: errno values in strict mode, attributes, and what default mode allows."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

import zoned
import zonefs
from fuse.conftest import ZONE, make_disk
from fuse.tools import aligned, direct_write, error_of, opened

BLOCK = 4096


@pytest.fixture
def strict(disk: str, place: Path):
    with zonefs.mount(disk, place, strict=True) as mount:
        yield mount


def fill(mount: zonefs.Mount, name: str, size: int) -> str:
    path = f"{mount.path}/{name}"
    assert direct_write(path, b"\xa5" * size, 0) == size
    return path


def test_writes_to_a_sequential_file(strict):
    path = fill(strict, "seq/0", 2 * BLOCK)
    with opened(path, os.O_WRONLY) as fd:
        assert error_of(os.pwrite, fd, bytes(BLOCK), 2 * BLOCK) == errno.EIO
        assert error_of(os.pwrite, fd, bytes(BLOCK), ZONE) == errno.EFBIG
    for data, offset, refused in [
        (BLOCK, 0, errno.EINVAL),
        (BLOCK, 3 * BLOCK, errno.EINVAL),
        (512, 2 * BLOCK, errno.EINVAL),
        (BLOCK, ZONE, errno.EFBIG),
        (BLOCK, 2 * BLOCK, None),
    ]:
        assert error_of(direct_write, path, bytes(data), offset) == refused
    assert "is at its capacity" in strict.last_error
    assert os.stat(path).st_size == 3 * BLOCK
    # A write that crosses the capacity is cut there.
    assert direct_write(path, bytes(ZONE), 3 * BLOCK) == ZONE - 3 * BLOCK
    assert error_of(direct_write, path, bytes(BLOCK), 0, os.O_APPEND) == errno.EFBIG


def test_appending(strict):
    path = f"{strict.path}/seq/1"
    for i in range(5):
        assert direct_write(path, bytes([i]) * BLOCK, 0, os.O_APPEND) == BLOCK
    data = Path(path).read_bytes()
    assert data == b"".join(bytes([i]) * BLOCK for i in range(5))
    assert (
        error_of(direct_write, f"{strict.path}/cnv/0", bytes(BLOCK), 0, os.O_APPEND) == errno.EINVAL
    )


def test_flags_changed_by_fcntl_count(strict):
    import fcntl

    with opened(f"{strict.path}/seq/0", os.O_WRONLY) as fd:
        assert error_of(os.write, fd, aligned(bytes(BLOCK))) == errno.EIO
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT | os.O_APPEND)
        assert os.write(fd, aligned(bytes(BLOCK))) == BLOCK
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
        assert error_of(os.write, fd, aligned(bytes(BLOCK))) == errno.EIO


def test_truncating(strict):
    path = fill(strict, "seq/0", 2 * BLOCK)
    for size, refused in [
        (BLOCK, errno.EPERM),
        (2 * BLOCK, errno.EPERM),
        (ZONE + 1, errno.EFBIG),
        (ZONE, None),
        (ZONE, None),
        (0, None),
    ]:
        assert error_of(os.truncate, path, size) == refused
    direct_write(path, bytes(BLOCK), 0)
    with opened(path, os.O_WRONLY | os.O_TRUNC) as fd:
        assert os.fstat(fd).st_size == 0
    cnv = f"{strict.path}/cnv/0"
    for size in (0, ZONE, 5):
        assert error_of(os.truncate, cnv, size) == errno.EPERM
    assert error_of(os.open, cnv, os.O_WRONLY | os.O_TRUNC) == errno.EPERM


def test_conventional_files(strict):
    with opened(f"{strict.path}/cnv/0", os.O_RDWR) as fd:
        assert os.pwrite(fd, b"x" * 100, 100) == 100
        assert os.pread(fd, 102, 99) == b"\0" + b"x" * 100 + b"\0"
        assert os.pwrite(fd, b"end" * 100, ZONE - 3) == 3
        assert error_of(os.pwrite, fd, b"x", ZONE) == errno.EFBIG
        assert os.pread(fd, 100, ZONE) == b""
        assert os.pread(fd, 100, ZONE - 3) == b"end"


def test_the_tree_cannot_change(strict):
    at = strict.path
    for call, refused in [
        ((os.mkdir, f"{at}/new"), errno.ENOENT),
        ((os.mkdir, f"{at}/seq"), errno.EEXIST),
        ((os.rmdir, f"{at}/seq"), errno.EPERM),
        ((os.unlink, f"{at}/seq/0"), errno.EPERM),
        ((os.unlink, f"{at}/seq/77"), errno.ENOENT),
        ((os.rename, f"{at}/seq/0", f"{at}/seq/new"), errno.ENOENT),
        ((os.rename, f"{at}/seq/0", f"{at}/seq/1"), errno.EPERM),
        ((os.link, f"{at}/seq/0", f"{at}/seq/new"), errno.ENOENT),
        ((os.symlink, "x", f"{at}/seq/new"), errno.ENOENT),
        ((os.mkfifo, f"{at}/seq/new"), errno.ENOENT),
        ((os.open, f"{at}/seq/new", os.O_CREAT | os.O_WRONLY), errno.ENOENT),
        ((os.open, f"{at}/seq/0", os.O_CREAT | os.O_EXCL | os.O_WRONLY), errno.EEXIST),
        ((os.stat, f"{at}/seq/00"), errno.ENOENT),
        ((os.stat, f"{at}/seq/{'1' * 17}"), errno.ENAMETOOLONG),
        ((os.chmod, f"{at}/seq", 0o755), errno.EPERM),
        ((os.setxattr, at, "user.x", b"1"), errno.EOPNOTSUPP),
    ]:
        assert error_of(*call) == refused, call


def test_modes_and_owners_live_until_unmount(disk, place):
    with zonefs.mount(disk, place, strict=True) as mount:
        path = f"{mount.path}/seq/0"
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (0, 0)
        os.chmod(path, 0o600)
        os.chown(path, 12, 34)
        os.utime(path, ns=(1_000_000_007, 2_000_000_009))
        now = os.stat(path)
        assert (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (0o600, 12, 34)
        assert (now.st_atime_ns, now.st_mtime_ns) == (1_000_000_007, 2_000_000_009)
    with zonefs.mount(disk, place, strict=True) as mount:
        now = os.stat(f"{mount.path}/seq/0")
        assert (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (0o640, 0, 0)


def test_owner_and_mode_options(disk, place):
    with zonefs.mount(disk, place, uid=5, gid=6, perm=0o604) as mount:
        now = os.stat(f"{mount.path}/seq/0")
        assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (5, 6, 0o604)


def test_superblock_owner_and_mode(shm, place):
    path = str(shm / "owned.img")
    with zoned.create(path, size=12 * ZONE, zone_size=ZONE, conventional=2) as device:
        zonefs.mkfs(device, uid=7, gid=8, perm=0o444)
    with zonefs.mount(path, place, strict=True) as mount:
        now = os.stat(f"{mount.path}/seq/0")
        assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (7, 8, 0o444)
    with zonefs.mount(path, place) as mount:  # the mounting user's
        now = os.stat(f"{mount.path}/seq/0")
        assert (now.st_uid, now.st_gid) == (os.geteuid(), os.getegid())


def test_read_only(disk, place):
    with zonefs.mount(disk, place, readonly=True) as mount:
        assert error_of(direct_write, f"{mount.path}/seq/0", bytes(BLOCK), 0) == errno.EROFS
        assert error_of(os.truncate, f"{mount.path}/seq/0", 0) == errno.EROFS
        assert error_of(os.chmod, f"{mount.path}/seq/0", 0) == errno.EROFS
        assert Path(f"{mount.path}/cnv/0").read_bytes() == bytes(ZONE)
        mounts = Path("/proc/mounts").read_text().splitlines()
        assert [" ro," in line for line in mounts if mount.path in line] == [True]


def test_counters_are_extended_attributes(shm, place):
    image = make_disk(shm, "limited.img", max_open=3)
    with zonefs.mount(image, place, strict=True, explicit_open=True) as mount:
        names = [f"user.zonefs.{name}" for name in mount.counters.__dataclass_fields__]
        assert sorted(os.listxattr(mount.path)) == sorted([*names, "user.zonefs.last_error"])

        def counters() -> list[int]:
            return [int(os.getxattr(mount.path, name)) for name in names]

        assert counters() == [3, 0, 0, 0]
        direct_write(f"{mount.path}/seq/0", bytes(BLOCK), 0)
        assert counters() == [3, 0, 0, 1]
        with opened(f"{mount.path}/seq/1", os.O_WRONLY), opened(f"{mount.path}/seq/2", os.O_RDWR):
            assert counters() == [3, 2, 0, 3]
            with opened(f"{mount.path}/seq/3", os.O_WRONLY):
                assert error_of(os.open, f"{mount.path}/seq/4", os.O_WRONLY) == errno.EBUSY
                assert b"seq/4" in os.getxattr(mount.path, "user.zonefs.last_error")
            assert (mount.counters.nr_wro_seq_files, mount.counters.max_wro_seq_files) == (2, 3)
        assert counters() == [3, 0, 0, 1]
        assert os.listxattr(f"{mount.path}/seq/0") == []
        missing = f"{mount.path}/seq/0", "user.zonefs.nr_wro_seq_files"
        assert error_of(os.getxattr, *missing) == errno.ENODATA
        assert xattr_with_little_room(mount.path, "user.zonefs.last_error") == errno.ERANGE


def xattr_with_little_room(path: str, name: str) -> int:
    """The errno of getxattr(2) into one byte."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(1)
    assert libc.getxattr(path.encode(), name.encode(), room, 1) == -1
    return ctypes.get_errno()


def test_explicit_open_opens_and_closes_zones(shm, place):
    image = make_disk(shm, "limited.img", max_open=3)
    with (
        zonefs.mount(image, place, strict=True, explicit_open=True) as mount,
        zoned.open(image) as disk,
    ):
        path = f"{mount.path}/seq/0"
        for _ in range(20):
            with opened(path, os.O_WRONLY):
                assert disk.zones[2].condition is zoned.ZoneCondition.EXPLICIT_OPEN
            # close(2) has returned: what hangs on it is to be seen by the next request
            assert os.stat(path).st_size == 0
            assert disk.zones[2].condition is zoned.ZoneCondition.EMPTY


# ---------------------------------------------------------------- the default mount


def test_others_changes_are_seen(disk, place):
    with zonefs.mount(disk, place) as mount, zoned.open(disk) as other:
        path = f"{mount.path}/seq/0"
        assert os.stat(path).st_size == 0
        other.append(2, b"a" * BLOCK)
        assert os.stat(path).st_size == BLOCK
        with open(path, "rb", buffering=0) as reader:
            assert reader.read() == b"a" * BLOCK
            other.reset_zone(2)
            other.append(2, b"b" * BLOCK)  # same size, other data: the page cache must go
            reader.seek(0)
            assert reader.read() == b"b" * BLOCK
        with open(f"{mount.path}/cnv/0", "rb", buffering=0) as reader:
            assert reader.read(4) == bytes(4)
            other.pwrite(b"new!" * 1024, ZONE)
            reader.seek(0)
            assert reader.read(4) == b"new!"


def test_the_same_disk_mounted_twice(disk, place, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    with zonefs.mount(disk, place) as one, zonefs.mount(disk, second) as two:
        Path(f"{one.path}/seq/0").write_bytes(b"x" * BLOCK)
        assert Path(f"{two.path}/seq/0").read_bytes() == b"x" * BLOCK
        with open(f"{two.path}/seq/0", "ab") as file:
            file.write(b"y" * BLOCK)
        assert Path(f"{one.path}/seq/0").read_bytes() == b"x" * BLOCK + b"y" * BLOCK


def test_reading_while_writing(disk, place):
    with zonefs.mount(disk, place) as mount:
        path = f"{mount.path}/seq/0"
        with open(path, "ab", buffering=0) as writer, open(path, "rb", buffering=0) as reader:
            for i in range(300):
                writer.write(b"%05d" % i)
                assert reader.read(100) == b"%05d" % i


def test_writing_back_is_refused_by_default_too(disk, place):
    with zonefs.mount(disk, place) as mount, opened(f"{mount.path}/seq/0", os.O_RDWR) as fd:
        assert os.pwrite(fd, b"abc", 0) == 3
        assert error_of(os.pwrite, fd, b"x", 0) == errno.EINVAL
        assert error_of(os.pwrite, fd, b"x", 4) == errno.EINVAL
        assert "written at its end only" in mount.last_error
        assert os.pwrite(fd, b"def", 3) == 3
        assert os.pread(fd, 100, 0) == b"abcdef"


def test_a_duplicate_that_is_closed_pads_nothing(disk, place):
    with zonefs.mount(disk, place) as mount:
        path = f"{mount.path}/seq/0"
        with opened(path, os.O_WRONLY) as fd:
            for i in range(3):
                os.write(fd, b"abc")
                os.close(os.dup(fd))
                assert os.stat(path).st_size == 3 * (i + 1)
        assert os.stat(path).st_size == BLOCK


def test_a_ram_disk_can_be_mounted(place):
    with zoned.memory(size=12 * ZONE, zone_size=ZONE, conventional=2) as device:
        zonefs.mkfs(device)
        with zonefs.mount(device, place) as mount:
            Path(f"{mount.path}/seq/0").write_bytes(b"hello")
            assert mount.image is None
        assert device.pread(BLOCK, 2 * ZONE)[:5] == b"hello"


def test_aggregated_conventional_zones(shm, place):
    path = str(shm / "aggregated.img")
    with zoned.create(path, size=12 * ZONE, zone_size=ZONE, conventional=4) as device:
        zonefs.mkfs(device, aggregate_conventional=True)
    with zonefs.mount(path, place, strict=True) as mount:
        assert os.listdir(f"{mount.path}/cnv") == ["0"]
        with opened(f"{mount.path}/cnv/0", os.O_RDWR) as fd:
            assert os.fstat(fd).st_size == 3 * ZONE
            data = os.urandom(2 * ZONE)
            assert os.pwrite(fd, data, ZONE // 2 + 77) == len(data)
            os.fsync(fd)
            assert os.pread(fd, len(data), ZONE // 2 + 77) == data
