"""``zonedctl mount`` with each mistake that a user can make: one line, what is wrong, where, what would be right."""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from pathlib import Path

import pytest

import zoned
import zoned.export
import zonefs
from fuse.tools import serving, zonedctl
from refusals import refusals
from waiting import PATIENCE
from zoned.archive import copy
from zoned.mounts import entries
from zonefs.attach import detach


def packed(
    crc: int | None = None,
    features: int = 0,
    ids: tuple[int, int, int] = (0, 0, 0o640),
    reserved: tuple[int, int] | None = None,
) -> bytes:
    """A superblock (zonefs.h, struct zonefs_super) made without the code under test."""
    head = struct.pack("<II64s16sQIII", 0x5A4F4653, 0, b"", bytes(16), features, *ids)
    block = bytearray(head.ljust(4096, b"\0"))
    if reserved is not None:
        block[reserved[0]] = reserved[1]
    # The kernel's crc32(~0, ...) leaves out zlib's last inversion.
    block[4:8] = struct.pack("<I", zlib.crc32(block) ^ 0xFFFFFFFF if crc is None else crc)
    return bytes(block)


def refused(*arguments, code: int = 1, **keywords) -> str:
    """The one line that the command says."""
    done = zonedctl("mount", *arguments, **keywords)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert not [entry for entry in entries() if entry.path == str(arguments[-1])]
    return line


@pytest.mark.parametrize("how", [[], ["-f"]], ids=["background", "foreground"])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (bytes(4096), "not a zonefs: the magic number at 0 is 0x00000000, it must be 0x5a4f4653"),
        (packed(crc=0x12345678), "the superblock's crc at 4 is 0x12345678, its content makes 0x"),
        (packed(features=16), "unknown features 0x10: only bits 0xf exist"),
        (packed(features=2, ids=(2**32 - 1, 0, 0)), "uid is 4294967295, which is no user"),
        (packed(features=4, ids=(0, 2**32 - 1, 0)), "gid is 4294967295, which is no group"),
        (packed(reserved=(108, 1)), "the superblock's reserved byte at 108 is 0x01, it must be 0"),
    ],
    ids=["magic", "crc", "features", "uid", "gid", "reserved"],
)
def test_no_zonefs(disk, place, how, content, text):
    with zoned.open(disk) as device:
        device.pwrite(content, 0)
    line = refused(*how, disk, place)
    assert line.startswith(f"zonedctl: {disk}: ")
    assert text in line


def test_the_first_thing_a_beginner_forgets(shm, place):
    zoned.create(shm / "bare.img").close()
    assert refused(shm / "bare.img", place).endswith("it must be 0x5a4f4653; mkfs makes one")


def test_mount_points(disk, place, tmp_path):
    (tmp_path / "file").touch()
    (place / "hidden").touch()
    missing = tmp_path / "missing"
    assert refused(disk, missing) == (
        f"zonedctl: the mount point {missing} does not exist: make the directory first"
    )
    assert refused(disk, tmp_path / "file") == (
        f"zonedctl: {tmp_path}/file is not a directory: it cannot be mounted on"
    )
    assert refused(disk, place) == (
        f"zonedctl: the mount point {place} is not empty, and the mount would hide 'hidden':"
        " choose an empty directory, or use the option nonempty"
    )
    (place / "hidden").unlink()
    assert zonedctl("mount", disk, place).returncode == 0
    try:
        again = zonedctl("mount", disk, place)
        assert again.returncode == 1
        assert again.stderr == (
            f"zonedctl: {place} is in use: {disk} is mounted there; unmount that, or choose"
            " another directory\n"
        )
        # An image that is mounted already may be mounted once more.
        second = tmp_path / "second"
        second.mkdir()
        assert zonedctl("mount", disk, second).returncode == 0
        (second / "seq/0").write_bytes(b"shared")
        assert (place / "seq/0").read_bytes() == b"shared".ljust(4096, b"\0")
    finally:
        for where in (place, tmp_path / "second"):
            assert os.system(f"fusermount3 -u {where}") == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.touch(), r'no zoned disk image: it does not begin with "ZDIMAGE"'),
        (lambda path: path.write_bytes(os.urandom(99_999)), "no zoned disk image"),
    ],
    ids=["missing", "directory", "empty", "noise"],
)
def test_no_image(tmp_path, place, make, text):
    make(tmp_path / "image")
    line = refused(tmp_path / "image", place)
    assert line.startswith(f"zonedctl: {tmp_path}/image: ")
    assert re.search(text, line)


def test_an_image_that_was_cut(disk, place):
    os.truncate(disk, 2 << 20)
    assert re.search(r"the image ends at byte 2097152, but ", refused(disk, place))


@refusals(
    {
        2: {
            "explicitopen": "there is no option 'explicitopen'; did you mean 'explicit-open'?",
            "errors=": "errors=: it must be one of remount-ro, zone-ro, zone-offline, repair",
            "strict=1": "option strict takes no value",
            "uid=x": "'uid=x': uid must be a number",
            "perm=9": "'perm=9': perm must be an octal number",
        },
        1: {
            "uid=-1": "uid is -1: it must be 0 to 4294967294",
            "perm=7777": "perm is 0o7777: it must be 0 to 0o777",
        },
    }
)
def test_options(disk, place, options, status, told):
    assert told in refused("-o", *options, disk, place, code=status)


def test_an_empty_name_is_not_the_folder_one_is_in(disk, place):
    """As a variable of the shell that is not set would give it."""
    assert "the mount point has no name: give a directory" in refused(disk, "", cwd=place)
    assert not os.path.ismount(place)


def test_mkfs_of_a_disk_that_is_mounted(disk, place):
    """By whatever process and name of the image; once it is unmounted, or its process killed, it goes."""
    link = f"{disk}.link"
    os.symlink(disk, link)
    text = f"the disk is mounted at {place}: unmount it first"
    server = serving(disk, place)
    try:
        (place / "seq/0").write_bytes(b"x")
        for name in (disk, link):
            done = zonedctl("mkfs", "-f", name)
            assert done.returncode == 1
            assert done.stderr == f"zonedctl: {name}: {text}\n"
        assert (place / "seq/0").read_bytes().rstrip(b"\0") == b"x"
    finally:
        server.kill()
        server.wait(PATIENCE)
        server.stderr.close()
    assert zonedctl("mkfs", "-f", link).returncode == 0
    with zonefs.mount(disk, place):
        assert os.stat(place / "seq/0").st_size == 0


def test_mkfs_of_a_disk_in_memory_that_is_mounted(place):
    with zoned.memory(size="64MiB", zone_size="4MiB") as device, device.fork() as fork:
        zonefs.mkfs(device)
        with zonefs.mount(device, place):
            with pytest.raises(OSError, match=f"the disk is mounted at {place}") as caught:
                zonefs.mkfs(device)
            assert caught.value.errno == errno.EBUSY
            zonefs.mkfs(fork, force=True)
        zonefs.mkfs(device, force=True)


def test_a_fork_has_no_second_handle(place):
    with zoned.memory(size="64MiB", zone_size="4MiB") as device, device.fork() as fork:
        for door in (zonefs.mount, zoned.export.iscsi):
            with pytest.raises(TypeError, match=r"give a copy of it \(zoned.archive.copy\)"):
                door(fork, *([place] if door is zonefs.mount else []))
        zonefs.mkfs(fork)
        with copy(fork, None) as whole, zonefs.mount(whole, place):
            assert os.stat(place / "seq/0").st_size == 0


def test_a_disk_without_power(disk, place):
    with zoned.open(disk) as device:
        device.power_cut()
        line = refused(disk, place)
        device.power_on()
    assert "no power" in line
    assert zonedctl("mount", disk, place).returncode == 0
    assert os.system(f"fusermount3 -u {place}") == 0


def test_nothing_is_left_of_a_mount_that_failed(disk, place: Path):
    with zoned.open(disk) as device:
        device.pwrite(bytes(4096), 0)
        refused(disk, place)
        assert len(device.openers) == 1


def test_mkfs_under_a_mount(disk, place):
    """A new superblock and empty zones under files that programs have open; told before anything is asked."""
    assert zonedctl("mount", disk, place).returncode == 0
    try:
        (place / "seq" / "0").write_bytes(bytes(4096))
        for options in ((), ("-f",), ("--dry-run",)):
            done = zonedctl("mkfs", *options, disk)
            assert (done.returncode, done.stdout) == (1, "")
            text = f"{disk}: the disk is mounted at {place}: unmount it first"
            assert done.stderr == f"zonedctl: {text}\n"
        assert (place / "seq" / "0").stat().st_size == 4096
        with zoned.open(disk, readonly=True) as device:
            (server,) = [one.command for one in device.openers if "mount" in one.command]
        assert server == f"zonedctl mount -- {disk} {place}"
    finally:
        detach(str(place), lazy=False)
    assert zonedctl("mkfs", "-f", disk).returncode == 0
