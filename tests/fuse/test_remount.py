"""``zonedctl remount``, and a disk that can only be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import zoned
import zonefs
from fuse.tools import direct_write, error_of, opened, run, zonedctl

BLOCK = 4096


def test_another_process_makes_it_writable_again(disk, place):
    with zonefs.mount(disk, place) as mount, zoned.open(disk) as other:
        with other.faults.add("medium", on="write", zones=2):
            assert error_of(direct_write, place / "seq/0", bytes(BLOCK), 0) == errno.EIO
        assert error_of(os.open, place / "seq/1", os.O_WRONLY) == errno.EROFS
        assert zonedctl("remount", place).returncode == 0
        assert not mount.options.readonly
        assert direct_write(place / "seq/0", bytes(BLOCK), 0) == BLOCK
        done = zonedctl("remount", "-o", "ro,errors=repair", "-o", "explicit-open", place)
        assert (done.returncode, done.stderr) == (0, "")
        assert mount.options == zonefs.MountOptions("repair", True, True)
        assert error_of(os.open, place / "seq/1", os.O_WRONLY) == errno.EROFS
        assert zonedctl("remount", "-o", "rw,noexplicit-open", place).returncode == 0
        assert mount.options == zonefs.MountOptions("repair", False, False)


def test_what_remount_refuses(disk, place, tmp_path):
    with zonefs.mount(disk, place):
        with opened(place / "seq/0", os.O_WRONLY):
            done = zonedctl("remount", "-o", "ro", place)
            assert (done.returncode, "files are open for writing" in done.stderr) == (1, True)
        done = zonedctl("remount", "-o", "uid=3", place)
        assert done.returncode == 2
        assert "'uid=3' cannot be changed by a remount" in done.stderr
        done = zonedctl("remount", tmp_path)
        assert done.returncode == 1
        assert "is not the mount point of a zonefs" in done.stderr


def test_an_image_that_may_only_be_read_is_mounted_read_only(disk, place, tmp_path, needs):
    needs("root", os.geteuid() == 0, "a read-only file system")
    media = tmp_path / "media"
    media.mkdir()
    run("mount", "--bind", os.path.dirname(disk), media)
    try:
        run("mount", "-o", "remount,bind,ro", media)
        image = media / Path(disk).name
        done = zonedctl("mount", "-o", "rw", image, place)
        assert done.returncode == 1
        done = zonedctl("mount", image, place)
        assert done.returncode == 0, done.stderr
        assert f"{image} is write-protected: mounted read-only" in done.stderr
        assert error_of(os.open, place / "seq/0", os.O_WRONLY) == errno.EROFS
        assert os.stat(place / "seq/0").st_size == 0
        run("umount", place)
    finally:
        with_users = run("umount", media, check=False)
        if with_users.returncode:
            run("umount", "-l", media)
