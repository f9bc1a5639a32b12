"""Relaxed mounts, through the C interface that the mount uses: writes of any length at the end of a file.

The last partial block is held back; fsync and the last close pad it with zeros.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoned
import zonefs
from zoned import ZoneCondition
from zoned._core.native import ffi, lib

MIB = 1 << 20


class Relaxed:
    """The calls of zoned/fs.h, with negative errnos as OSError."""

    def __init__(self, dev: zoned.Device) -> None:
        zonefs.mkfs(dev)
        options = ffi.new("struct zd_fs_options *")
        options.flags = lib.ZD_FS_RELAXED
        options.uid = options.gid = options.perm = 2**32 - 1
        out = ffi.new("zd_fs **")
        assert lib.zd_fs_mount(dev._handle, options, out, ffi.NULL) == 0
        self.dev = dev
        self.fs = out[0]

    def check(self, code: int) -> int:
        if code < 0:
            raise OSError(-code, os.strerror(-code))
        return code

    def open(self, ino: int, flags: int) -> Any:
        out = ffi.new("zd_fs_file **")
        self.check(lib.zd_fs_open(self.fs, ino, flags, out, ffi.NULL))
        return out[0]

    def close(self, file: Any) -> None:
        self.check(lib.zd_fs_close(file, ffi.NULL))

    def write(self, file: Any, data: bytes, at: int, flags: int = 0) -> int:
        return self.check(lib.zd_fs_write(file, data, len(data), at, flags, ffi.NULL, ffi.NULL))

    def read(self, file: Any, length: int, at: int) -> bytes:
        buffer = ffi.new("char[]", max(length, 1))
        got = self.check(lib.zd_fs_read(file, buffer, length, at, 0, ffi.NULL))
        return bytes(ffi.buffer(buffer)[:got])

    def map(self, file: Any, length: int, at: int, flags: int = 0) -> bytes | None:
        """Without a copy; None where that cannot be."""
        to = ffi.new("void **")
        got = lib.zd_fs_read_begin(file, length, at, flags, to, ffi.NULL)
        if got == -errno.EAGAIN:
            assert to[0] == ffi.NULL
            return None
        if self.check(got) == 0:
            return b""
        data = bytes(ffi.buffer(to[0], got))
        lib.zd_fs_read_end(file, at)
        return data

    def size(self, ino: int) -> int:
        stat = ffi.new("struct stat *")
        self.check(lib.zd_fs_getattr(self.fs, ino, stat))
        return int(stat.st_size)

    def truncate(self, ino: int, size: int) -> None:
        stat = ffi.new("struct stat *")
        stat.st_size = size
        self.check(lib.zd_fs_setattr(self.fs, ino, stat, lib.ZD_FS_SET_SIZE, ffi.NULL))

    def fsync(self, ino: int) -> None:
        self.check(lib.zd_fs_fsync(self.fs, ino, ffi.NULL))


@contextmanager
def relaxed_on(dev: zoned.Device) -> Iterator[Relaxed]:
    fs = Relaxed(dev)
    try:
        yield fs
    finally:
        lib.zd_fs_umount(fs.fs)


@pytest.fixture
def relaxed(disk: Callable[..., zoned.Device]) -> Iterator[Relaxed]:
    with relaxed_on(disk()) as fs:
        yield fs


def test_true_length_until_the_last_close(relaxed: Relaxed) -> None:
    one = relaxed.open(2, os.O_WRONLY)
    two = relaxed.open(2, os.O_RDWR)
    assert relaxed.write(one, b"abc", 0) == 3
    assert relaxed.size(2) == 3
    assert relaxed.write(two, b"defg", 3) == 4
    assert relaxed.read(two, 100, 1) == b"bcdefg"
    zone = relaxed.dev.zones[2]  # nothing is written, and the zone is kept for what is held back
    assert (zone.condition, zone.wp) == (ZoneCondition.EXPLICIT_OPEN, zone.start)
    relaxed.close(one)
    assert relaxed.size(2) == 7
    relaxed.close(two)
    assert relaxed.size(2) == 4096
    assert relaxed.dev.pread(4096, 8 * MIB) == b"abcdefg".ljust(4096, b"\0")


def test_fsync_pads(relaxed: Relaxed) -> None:
    file = relaxed.open(2, os.O_RDWR)
    relaxed.write(file, b"x" * 5000, 0)
    assert relaxed.size(2) == 5000
    relaxed.fsync(2)
    assert relaxed.size(2) == 8192
    assert relaxed.dev.zones[2].durable_wp == 8 * MIB + 8192
    assert relaxed.write(file, b"y", 0, os.O_APPEND) == 1  # behind the padding
    assert relaxed.read(file, 5, 8190) == b"\0\0y"
    relaxed.close(file)


def test_only_at_the_end(relaxed: Relaxed, fails: Any) -> None:
    file = relaxed.open(2, os.O_RDWR)
    relaxed.write(file, b"x" * 100, 0)
    for at in (0, 99, 101, 4096):
        with fails(errno.EINVAL):
            relaxed.write(file, b"y", at)
    with fails(errno.EFBIG):
        relaxed.write(file, b"y", 4 * MIB)
    with fails(errno.EINVAL):  # direct writes keep the kernel's rules
        relaxed.write(file, bytes(4096), 100, os.O_DIRECT)
    assert relaxed.write(file, bytes(4096), 0, os.O_DIRECT | os.O_APPEND) == 4096
    assert relaxed.size(2) == 8192
    relaxed.close(file)


def test_to_the_capacity(relaxed: Relaxed, fails: Any) -> None:
    file = relaxed.open(2, os.O_WRONLY)
    assert relaxed.write(file, b"x" * (4 * MIB - 10), 0) == 4 * MIB - 10
    assert relaxed.write(file, b"y" * 100, 4 * MIB - 10) == 10
    assert relaxed.size(2) == 4 * MIB
    assert relaxed.dev.zones[2].condition is ZoneCondition.FULL
    with fails(errno.EFBIG):
        relaxed.write(file, b"z", 4 * MIB)
    relaxed.close(file)
    assert relaxed.size(2) == 4 * MIB


def test_truncate(relaxed: Relaxed, fails: Any) -> None:
    file = relaxed.open(2, os.O_WRONLY)
    relaxed.write(file, b"x" * 100, 0)
    relaxed.truncate(2, 100)  # what dd does with seek=
    with fails(errno.EPERM):
        relaxed.truncate(2, 99)
    relaxed.truncate(2, 0)
    assert relaxed.size(2) == 0
    relaxed.write(file, b"y" * 5000, 0)
    relaxed.truncate(2, 4 * MIB)
    relaxed.close(file)
    assert relaxed.dev.pread(8192, 8 * MIB) == (b"y" * 5000).ljust(8192, b"\0")
    assert relaxed.dev.zones[2].condition is ZoneCondition.FULL


def test_o_sync(relaxed: Relaxed) -> None:
    file = relaxed.open(2, os.O_WRONLY)
    assert relaxed.write(file, b"abc", 0, os.O_SYNC) == 3
    assert relaxed.size(2) == 4096
    relaxed.close(file)


def test_a_zone_that_dies_takes_the_partial_block_along(relaxed: Relaxed, fails: Any) -> None:
    file = relaxed.open(2, os.O_RDWR)
    relaxed.write(file, b"x" * 5000, 0)
    relaxed.dev.set_condition(2, ZoneCondition.READ_ONLY)
    with fails(errno.EIO):
        relaxed.fsync(2)
    assert relaxed.size(2) == 4096
    assert relaxed.read(file, 9999, 0) == b"x" * 4096
    relaxed.close(file)


def test_umount_pads(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    with relaxed_on(dev) as fs:
        file = fs.open(2, os.O_WRONLY)
        fs.write(file, b"abc", 0)
    assert dev.zones[2].wp == 8 * MIB + 4096
    lib.zd_fs_close(file, ffi.NULL)


def test_a_change_behind_the_back(relaxed: Relaxed) -> None:
    file = relaxed.open(2, os.O_RDWR)
    relaxed.write(file, b"abc", 0)
    relaxed.dev.append(2, b"z" * 4096)
    assert lib.zd_fs_revalidate(relaxed.fs, 2) == 1
    assert relaxed.size(2) == 4096
    assert relaxed.read(file, 3, 0) == b"zzz"
    relaxed.close(file)


def test_reading_without_a_copy(relaxed: Relaxed, fails: Any) -> None:
    file = relaxed.open(2, os.O_RDWR)
    assert relaxed.map(file, 100, 0) == b""
    data = os.urandom(3 * 4096)
    relaxed.write(file, data, 0)
    assert relaxed.map(file, 8192, 4096) == data[4096:]
    assert relaxed.map(file, 99_999, 0) == data
    assert relaxed.map(file, 4096, 12288) == b""
    assert relaxed.map(file, 4096, 4 * MIB) == b""
    with fails(errno.EINVAL):
        relaxed.map(file, 100, 0, os.O_DIRECT)
    relaxed.write(file, b"tail", 12288)
    assert relaxed.map(file, 99_999, 0) is None  # part of it is held back
    assert relaxed.map(file, 4096, 100) is None
    relaxed.close(file)
    cnv = relaxed.open(1, os.O_RDWR)
    relaxed.write(cnv, b"conventional", 4096)
    assert (relaxed.map(cnv, 4096, 4096) or b"conventional")[:12] == b"conventional"
    relaxed.close(cnv)
    relaxed.truncate(2, 0)  # nothing is held any more


@given(st.lists(st.tuples(st.sampled_from("wwwfrcm"), st.integers(0, 9000)), max_size=30))
def test_any_pieces(steps: list[tuple[str, int]]) -> None:
    """Against a plain bytearray: pieces of any length, with syncs and closes between them."""
    with (
        zoned.memory(size="8MiB", zone_size="2MiB", conventional=1, max_open=2) as dev,
        relaxed_on(dev) as fs,
    ):
        model = bytearray()

        def pad() -> None:
            model.extend(bytes(-len(model) % 4096))

        file = fs.open(1, os.O_RDWR)
        for number, (what, amount) in enumerate(steps):
            if what == "w":
                data = bytes([number + 1]) * amount
                assert fs.write(file, data, len(model)) == amount
                model += data
            elif what == "f":
                fs.fsync(1)
                pad()
            elif what == "r":
                assert fs.read(file, 5000, amount) == bytes(model[amount : amount + 5000])
            elif what == "m":
                mapped = fs.map(file, 5000, amount)
                assert mapped in (None, bytes(model[amount : amount + 5000]))
            else:
                fs.close(file)
                pad()
                file = fs.open(1, os.O_RDWR)
            assert fs.size(1) == len(model)
        fs.close(file)
        pad()
        assert fs.size(1) == len(model)
        assert dev.pread(len(model), 2 * MIB) == bytes(model)
