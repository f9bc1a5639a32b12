"""A disk that fails under a mount: the program sees the kernel's errno, and the mount stays alive."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from pathlib import Path

import pytest

import zoned
import zonefs
from fuse.conftest import ZONE, make_disk
from fuse.tools import aligned, direct_write, error_of, opened, zonedctl
from zoned import ZoneCondition

BLOCK = 4096
READ_ONLY, OFFLINE = ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE


def size_and_mode(path) -> tuple[int, int]:
    now = os.stat(path)
    return now.st_size, now.st_mode & 0o777


@pytest.mark.parametrize(
    ("errors", "condition", "size", "mode", "readonly"),
    [
        ("remount-ro", READ_ONLY, 2 * BLOCK, 0o440, True),
        ("remount-ro", OFFLINE, 0, 0, True),
        ("zone-ro", READ_ONLY, 2 * BLOCK, 0o440, False),
        ("zone-ro", OFFLINE, 0, 0, False),
        ("zone-offline", READ_ONLY, 0, 0, False),
        ("zone-offline", OFFLINE, 0, 0, False),
        ("repair", READ_ONLY, 2 * BLOCK, 0o440, False),
        ("repair", OFFLINE, 0, 0, False),
    ],
)
def test_a_zone_that_dies_under_a_writer(disk, place, errors, condition, size, mode, readonly):
    with zonefs.mount(disk, place, strict=True, errors=errors) as mount, zoned.open(disk) as device:
        path = f"{mount.path}/seq/0"
        assert direct_write(path, bytes(2 * BLOCK), 0) == 2 * BLOCK
        with opened(path, os.O_WRONLY | os.O_DIRECT) as fd:
            device.set_condition(2, condition)
            assert error_of(os.pwrite, fd, aligned(bytes(BLOCK)), 2 * BLOCK) == errno.EIO
        assert size_and_mode(path) == (size, mode)
        assert mount.options.readonly is readonly
        other = error_of(direct_write, f"{mount.path}/seq/1", bytes(BLOCK), 0)
        assert other == (errno.EROFS if readonly else None)
        # Dead zones are immutable, and a zone that can be read still is.
        refused = errno.EROFS if readonly else errno.EPERM
        assert error_of(direct_write, path, bytes(BLOCK), 0) == refused
        with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
            got = error_of(os.preadv, fd, [aligned(bytes(BLOCK))], 0)
        assert got == (None if size else errno.EPERM)


@pytest.mark.parametrize(
    ("errors", "size", "mode"),
    [
        ("remount-ro", 0, 0o640),
        ("zone-ro", 2 * BLOCK, 0o440),
        ("zone-offline", 0, 0),
        ("repair", 0, 0o640),
    ],
)
def test_a_zone_that_is_reset_behind_a_strict_mount(disk, place, errors, size, mode):
    with zonefs.mount(disk, place, strict=True, errors=errors) as mount, zoned.open(disk) as device:
        path = f"{mount.path}/seq/0"
        direct_write(path, bytes(2 * BLOCK), 0)
        device.reset_zone(2)
        assert os.stat(path).st_size == 2 * BLOCK  # as the kernel, it cannot know
        assert error_of(direct_write, path, bytes(BLOCK), 2 * BLOCK) == errno.EREMOTEIO
        assert size_and_mode(path) == (size, mode)
        if errors == "repair":
            assert direct_write(path, bytes(BLOCK), 0) == BLOCK


def test_a_zone_that_is_reset_behind_the_default_mount(disk, place):
    with zonefs.mount(disk, place) as mount, open(f"{mount.path}/seq/0", "ab", buffering=0) as file:
        file.write(b"x" * 3 * BLOCK)
        assert zonedctl("reset", disk, "--zones", "2").returncode == 0
        assert os.stat(file.name).st_size == 0
        file.write(b"again")
        assert Path(file.name).read_bytes() == b"again"
        assert not mount.options.readonly


def test_reading_a_zone_that_went_offline(disk, place):
    with (
        zonefs.mount(disk, place, strict=True, errors="repair") as mount,
        zoned.open(disk) as device,
    ):
        path = f"{mount.path}/seq/0"
        direct_write(path, b"x" * BLOCK, 0)
        device.set_condition(2, OFFLINE)
        with opened(path, os.O_RDONLY) as fd:
            assert error_of(os.pread, fd, BLOCK, 0) == errno.EIO
        assert size_and_mode(path) == (0, 0)
        assert error_of(os.open, path, os.O_WRONLY) == errno.EPERM


def test_the_file_of_a_dead_zone_is_read_by_the_rules(disk, place):
    """A buffered read gives EPERM, not the end of the file."""
    with zoned.open(disk) as device:
        device.set_condition(2, OFFLINE)
    with (
        zonefs.mount(disk, place, strict=True) as mount,
        opened(f"{mount.path}/seq/0", os.O_RDONLY) as fd,
    ):
        assert error_of(os.pread, fd, BLOCK, 0) == errno.EPERM
        assert error_of(os.read, fd, 1) == errno.EPERM
        assert error_of(os.fsync, fd) == errno.EPERM


def test_fallocate_is_refused_by_the_rules(disk, place):
    """There is none; posix_fallocate would write to the file instead, so fallocate(2) itself is asked."""
    libc = ctypes.CDLL(None, use_errno=True)

    def fallocate(fd: int) -> int:
        assert libc.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(BLOCK)) == -1
        return ctypes.get_errno()

    with (
        zonefs.mount(disk, place, strict=True, errors="zone-ro") as mount,
        zoned.open(disk) as device,
        opened(f"{mount.path}/seq/0", os.O_RDWR | os.O_DIRECT) as fd,
    ):
        assert fallocate(fd) == errno.EOPNOTSUPP
        device.set_condition(2, READ_ONLY)
        assert error_of(os.pwrite, fd, aligned(bytes(BLOCK)), 0) == errno.EIO
        assert fallocate(fd) == errno.EPERM


def test_names_cannot_go_once_an_error_made_it_read_only(disk, place):
    with zonefs.mount(disk, place, strict=True) as mount, zoned.open(disk) as device:
        path = f"{mount.path}/seq/0"
        assert error_of(os.unlink, path) == errno.EPERM
        direct_write(path, bytes(BLOCK), 0)
        device.reset_zone(2)
        assert error_of(direct_write, path, bytes(BLOCK), BLOCK) == errno.EREMOTEIO
        assert mount.options.readonly
        for call in (
            (os.unlink, path),
            (os.rmdir, f"{mount.path}/seq"),
            (os.rename, path, f"{mount.path}/seq/1"),
            (os.rename, path, f"{mount.path}/seq/new"),
        ):
            assert error_of(*call) == errno.EROFS, call
        mount.remount(readonly=False)
        assert error_of(os.unlink, path) == errno.EPERM
        assert direct_write(path, bytes(BLOCK), 0) == BLOCK


def test_remount(place):
    """Options that are not named stay; what is open for writing keeps a mount from becoming read-only."""
    with zoned.memory(size="32MiB", zone_size="4MiB", conventional=1, max_open=1) as device:
        zonefs.mkfs(device)
        with zonefs.mount(device, place, strict=True, errors="zone-ro", readonly=True) as mount:
            path = f"{mount.path}/seq/0"
            assert error_of(os.open, path, os.O_WRONLY) == errno.EROFS
            mount.remount(readonly=False, explicit_open=True)
            assert mount.options == zonefs.MountOptions("zone-ro", True, False)
            with opened(path, os.O_WRONLY | os.O_DIRECT):
                assert error_of(os.open, f"{mount.path}/seq/1", os.O_WRONLY) == errno.EBUSY
                with pytest.raises(OSError, match="files are open for writing") as caught:
                    mount.remount(readonly=True)
                assert caught.value.errno == errno.EBUSY
            mount.remount(readonly=True, errors="repair")
            assert mount.options == zonefs.MountOptions("repair", True, True)
            assert error_of(direct_write, path, bytes(BLOCK), 0) == errno.EROFS
            mount.remount(readonly=False)
            assert direct_write(path, bytes(BLOCK), 0) == BLOCK


def test_remount_of_an_image_that_is_open_read_only(disk, place):
    with zonefs.mount(disk, place, readonly=True) as mount:
        with pytest.raises(OSError, match="open read-only: unmount it and mount it anew") as caught:
            mount.remount(readonly=False)
        assert caught.value.errno == errno.EACCES
        assert mount.options.readonly


def test_zones_that_were_dead_before(disk, place):
    with zoned.open(disk) as device:
        for zone, condition in ((2, READ_ONLY), (3, OFFLINE)):
            device.append(zone, b"x" * BLOCK)
            device.set_condition(zone, condition)
    with zonefs.mount(disk, place, strict=True) as mount:
        for name in ("seq/0", "seq/1"):
            assert size_and_mode(f"{mount.path}/{name}") == (0, 0)
            assert error_of(os.open, f"{mount.path}/{name}", os.O_WRONLY) == errno.EPERM


def test_too_many_open_zones(shm, place):
    image = make_disk(shm, "limited.img", dialect="zns", conventional=2, max_open=2, max_active=2)
    with zonefs.mount(image, place, strict=True, errors="repair") as mount:
        for i in range(2):
            direct_write(f"{mount.path}/seq/{i}", bytes(BLOCK), 0)
        assert error_of(direct_write, f"{mount.path}/seq/2", bytes(BLOCK), 0) == errno.EOVERFLOW
        assert "too-many-active" in mount.last_error
        os.truncate(f"{mount.path}/seq/0", 0)
        assert direct_write(f"{mount.path}/seq/2", bytes(BLOCK), 0) == BLOCK


@pytest.mark.parametrize("small", ["6m"], indirect=True)
def test_a_host_without_room(place, small):
    image = make_disk(small, data="store")
    with zonefs.mount(image, place, strict=True, errors="repair") as mount:
        path = f"{mount.path}/seq/0"
        written = 0
        while (refused := error_of(direct_write, path, b"x" * (1 << 18), written)) is None:
            written += 1 << 18
            assert written < ZONE
        assert refused == errno.ENOSPC
        assert os.stat(path).st_size == written
        assert Path(path).read_bytes() == b"x" * written
        with open(f"{mount.path}/cnv/0", "r+b", buffering=0) as file:
            assert file.read(4) == bytes(4)
        os.truncate(path, 0)
        assert direct_write(path, b"y" * (1 << 18), 0) == 1 << 18


def test_the_mount_outlives_a_program_that_is_killed_in_a_write(disk, place):
    with zonefs.mount(disk, place, strict=True) as mount:
        path = f"{mount.path}/seq/0"
        command = [
            "dd",
            "if=/dev/zero",
            f"of={path}",
            "bs=4k",
            "oflag=direct,append",
            "conv=notrunc",
        ]
        for _ in range(5):
            child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while os.stat(path).st_size < 50 * BLOCK:
                assert child.poll() is None or os.stat(path).st_size == ZONE
            child.kill()
            child.wait()
            at = os.stat(path).st_size
            assert at % BLOCK == 0
            if at < ZONE:
                assert direct_write(path, bytes(BLOCK), at) == BLOCK
            os.truncate(path, 0)
        assert mount.mounted
