"""What a mount holds back of a sequential file (bytes that make no whole block yet), and who is told when it fails.

What can be known when write(2) is called has to fail the write: a shell asks no close for its result. What only the
disk can tell fails the close, or the fsync, of whoever wrote.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
import zonefs
from fuse.conftest import ZONE, make_disk
from fuse.tools import aligned, direct_write, error_of, opened, run, serving, zonedctl
from waiting import PATIENCE, until
from zoned import ZoneCondition

BLOCK = 4096
FIRST = 2  # the zone of seq/0
LAST_ERROR = "user.zonefs.last_error"


def last_error(place: Path) -> str:
    return os.getxattr(place, LAST_ERROR).decode()


def shell(text: str) -> subprocess.CompletedProcess[str]:
    return run("bash", "-c", text, check=False)


def limited(shm: Path, **limits) -> str:
    return make_disk(shm, "limited.img", **({"max_open": 2} | limits))


# ---------------------------------------------------------------- limits


def test_a_zone_too_many_fails_the_write(shm, place):
    image = limited(shm, dialect="zns", max_active=2)
    with zonefs.mount(image, place, errors="repair") as mount:
        for i in range(2):
            direct_write(place / f"seq/{i}", bytes(BLOCK), 0)
        done = shell(f"echo x > {place}/seq/3")
        assert done.returncode == 1
        assert "write error" in done.stderr
        assert "too-many-active" in last_error(place) == mount.last_error
        with opened(place / "seq/3", os.O_WRONLY) as fd:
            assert error_of(os.write, fd, b"x") == errno.EOVERFLOW
            assert os.fstat(fd).st_size == 0
        os.truncate(place / "seq/0", 0)
        assert shell(f"echo x > {place}/seq/3").returncode == 0
        assert (place / "seq/3").read_bytes() == b"x\n".ljust(BLOCK, b"\0")


def test_zones_that_others_hold_open_fail_the_write(shm, place):
    image = limited(shm)
    with zonefs.mount(image, place, errors="repair"), zoned.open(image) as disk:
        disk.open_zone(FIRST, count=2)
        with opened(place / "seq/3", os.O_WRONLY) as fd:
            assert error_of(os.write, fd, b"x") == errno.ETOOMANYREFS
        assert "too-many-open" in last_error(place)
        disk.close_zone(FIRST)
        assert shell(f"echo x > {place}/seq/3").returncode == 0


def test_nobody_takes_the_zone_away_meanwhile(shm, place):
    """From the first byte that is held back to the close the zone is open: no limit can fail the close."""
    image = limited(shm)
    with zonefs.mount(image, place), zoned.open(image) as disk:
        with opened(place / "seq/0", os.O_WRONLY) as fd:
            os.write(fd, b"x")
            assert disk.zones[FIRST].condition is ZoneCondition.EXPLICIT_OPEN
            disk.open_zone(FIRST + 5)
            with pytest.raises(zoned.TooManyOpenError):
                disk.open_zone(FIRST + 6)
        assert disk.zones[FIRST].condition is ZoneCondition.CLOSED
        assert disk.zones[FIRST].wp == FIRST * ZONE + BLOCK


@pytest.mark.parametrize("dialect", ["zbc", "zns", "nullblk"])
def test_more_files_than_may_be_open_are_written_at_once(shm, place, dialect):
    """What is held back uses up no more than what writing it would: files of one mount lend each other their zones."""
    image = limited(shm, dialect=dialect)
    with zonefs.mount(image, place), zoned.open(image) as disk:
        fds = [os.open(place / f"seq/{i}", os.O_WRONLY) for i in range(5)]
        for _ in range(700):
            for fd in fds:
                assert os.write(fd, b"0123456789") == 10
        direct_write(place / "seq/9", bytes(BLOCK), 0)
        for fd in fds:
            os.close(fd)
        for i in range(5):
            assert (place / f"seq/{i}").read_bytes() == (b"0123456789" * 700).ljust(
                2 * BLOCK, b"\0"
            )
        info = disk.zones
        assert not [z for z in info if z.condition is ZoneCondition.EXPLICIT_OPEN]


@pytest.mark.parametrize("dialect", ["zbc", "zns", "nullblk"])
def test_what_is_truncated_away_leaves_nothing_open(shm, place, dialect):
    limits = {} if dialect == "zbc" else {"max_active": 2}
    image = limited(shm, dialect=dialect, **limits)
    with zonefs.mount(image, place) as mount, zoned.open(image) as disk:
        with (
            opened(place / "seq/0", os.O_WRONLY) as fd,
            opened(place / "seq/1", os.O_WRONLY) as other,
        ):
            for one in (fd, other):
                os.write(one, b"x")
            assert mount.counters.nr_active_seq_files == 2
            for one in (fd, other):
                os.ftruncate(one, 0)
        for zone in (FIRST, FIRST + 1):
            assert disk.zones[zone].condition is ZoneCondition.EMPTY
        assert mount.counters.nr_active_seq_files == 0
        for i in range(2):
            assert shell(f"echo x > {place}/seq/{i}").returncode == 0


def test_a_zone_that_was_filled_behind_the_mount(disk, place):
    with zonefs.mount(disk, place, errors="repair"), zoned.open(disk) as other:
        with opened(place / "seq/0", os.O_WRONLY) as fd:
            other.finish_zone(FIRST)
            assert error_of(os.pwrite, fd, b"x", 0) is not None
            assert os.stat(place / "seq/0").st_size == ZONE


# ---------------------------------------------------------------- the host


@pytest.mark.parametrize("small", ["4m"], indirect=True)
def test_a_host_without_room_fails_the_write(place, small):
    image = make_disk(small, data="store")
    with zonefs.mount(image, place, errors="repair") as mount:
        with open(place / "seq/9", "wb", buffering=0) as held:
            assert held.write(b"held before the host was full") == 29
            (small / "rest").write_bytes(b"")
            with open(small / "rest", "wb", buffering=0) as rest:
                while error_of(rest.write, bytes(BLOCK)) is None:
                    pass
            done = shell(f"echo x > {place}/seq/3")
            assert done.returncode == 1
            assert "No space left" in done.stderr
            assert "could not store" in mount.last_error
            assert os.stat(place / "seq/3").st_size == 0
            with opened(place / "seq/4", os.O_WRONLY) as fd:
                assert error_of(os.write, fd, b"x") == errno.ENOSPC
        # Its place on the host was taken with its first byte.
        assert (place / "seq/9").read_bytes() == b"held before the host was full".ljust(
            BLOCK, b"\0"
        )
        (small / "rest").unlink()
        assert shell(f"echo x > {place}/seq/3").returncode == 0
    assert zonedctl("check", image).returncode == 0


# ---------------------------------------------------------------- the medium


def close_of(path: Path, data: bytes, flags: int = 0) -> int | None:
    fd = os.open(path, os.O_WRONLY | flags)
    assert os.write(fd, data) == len(data)
    return error_of(os.close, fd)


@pytest.mark.parametrize("errors", ["remount-ro", "zone-ro", "zone-offline", "repair"])
def test_a_medium_error_is_what_close_says(disk, place, errors):
    with zonefs.mount(disk, place, errors=errors) as mount, zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST)
        assert close_of(place / "seq/0", b"x") == errno.EIO
        assert "medium" in last_error(place) == mount.last_error
        assert mount.options.readonly == (errors == "remount-ro")
        assert other.zones[FIRST].wp == FIRST * ZONE
        assert os.stat(place / "seq/0").st_size == 0


def test_cp_says_it(disk, place, tmp_path):
    (tmp_path / "small").write_bytes(b"a few bytes")
    with zonefs.mount(disk, place), zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST)
        done = run("cp", tmp_path / "small", place / "seq/0", check=False)
        assert done.returncode == 1
        assert "Input/output error" in done.stderr


def test_what_failed_once_is_not_written_later(disk, place):
    """Who was told that bytes are lost may write them anew: they must not come twice."""
    with zonefs.mount(disk, place, errors="repair") as mount, zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST, times=1)
        with opened(place / "seq/0", os.O_WRONLY | os.O_APPEND) as fd:
            os.write(fd, b"lost")
            assert error_of(os.fsync, fd) == errno.EIO
            assert os.fstat(fd).st_size == 0
            os.write(fd, b"kept")
        assert (place / "seq/0").read_bytes() == b"kept".ljust(BLOCK, b"\0")
        assert mount.counters.nr_active_seq_files == 1


def test_each_that_wrote_is_told_once(disk, place):
    with zonefs.mount(disk, place, errors="repair"), zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST, times=1)
        one, two, three = (os.open(place / "seq/0", os.O_WRONLY | os.O_APPEND) for _ in range(3))
        os.write(one, b"abc")
        os.write(two, b"def")
        assert error_of(os.close, one) == errno.EIO
        assert error_of(os.fsync, two) == errno.EIO
        assert error_of(os.fsync, two) is None
        os.write(two, b"again")
        assert error_of(os.close, two) is None
        assert error_of(os.close, three) is None
        assert (place / "seq/0").read_bytes() == b"again".ljust(BLOCK, b"\0")


def test_bytes_that_another_user_of_the_disk_swept_away(disk, place):
    with zonefs.mount(disk, place) as mount, zoned.open(disk) as other:
        fd = os.open(place / "seq/0", os.O_WRONLY)
        os.write(fd, b"abc")
        other.append(FIRST, bytes(BLOCK))
        assert os.stat(place / "seq/0").st_size == BLOCK
        assert "3 bytes at the end of seq/0" in mount.last_error
        assert "another user of the disk" in mount.last_error
        assert error_of(os.close, fd) == errno.EIO


def test_a_zone_that_dies_with_bytes_held_back(disk, place):
    with zonefs.mount(disk, place, errors="zone-ro"), zoned.open(disk) as other:
        one, two = (os.open(place / "seq/0", os.O_RDWR | os.O_APPEND) for _ in range(2))
        os.write(one, b"abc")
        other.set_condition(FIRST, ZoneCondition.READ_ONLY)
        assert error_of(os.write, two, bytes(2 * BLOCK)) == errno.EIO
        assert error_of(os.close, two) is None
        assert error_of(os.close, one) == errno.EIO


def test_fsync_and_o_sync_say_it_at_once(disk, place):
    with zonefs.mount(disk, place, errors="repair"), zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST)
        with opened(place / "seq/0", os.O_WRONLY | os.O_SYNC) as fd:
            assert error_of(os.write, fd, b"x") == errno.EIO
        with opened(place / "seq/0", os.O_WRONLY) as fd:
            os.write(fd, b"x")
            assert error_of(os.fsync, fd) == errno.EIO


def test_a_direct_write_behind_what_is_held_back_says_it(disk, place):
    with zonefs.mount(disk, place, errors="repair"), zoned.open(disk) as other:
        fd = os.open(place / "seq/0", os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x")
        other.faults.add("medium", on="write", zones=FIRST, times=1)
        assert error_of(direct_write, place / "seq/0", bytes(BLOCK), 0, os.O_APPEND) == errno.EIO
        assert error_of(os.close, fd) == errno.EIO


def test_pages_of_a_conventional_file_that_are_written_back(disk, place):
    with zonefs.mount(disk, place) as mount, zoned.open(disk) as other:
        with opened(place / "cnv/0", os.O_RDWR) as fd, mmap.mmap(fd, BLOCK) as memory:
            other.faults.add("medium", on="write", zones=1)
            memory[:3] = b"abc"
            assert error_of(memory.flush) == errno.EIO
            assert "medium" in mount.last_error


# ---------------------------------------------------------------- whose close it is


def test_duplicates_and_children_pad_nothing_until_the_last(disk, place):
    with zonefs.mount(disk, place):
        path = place / "seq/0"
        shell(f"{{ printf a; (printf b); /bin/echo c; sleep 0 & wait; printf d; }} >> {path}")
        assert path.read_bytes() == b"abc\nd".ljust(BLOCK, b"\0")
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=fd)
        os.write(fd, b"parent")
        os.close(fd)  # the child has it
        assert os.stat(path).st_size == BLOCK + 6
        child.communicate(b" child", PATIENCE)
        assert path.read_bytes()[BLOCK:] == b"parent child".ljust(BLOCK, b"\0")


def test_a_duplicate_beside_another_description(disk, place):
    with zonefs.mount(disk, place):
        path = place / "seq/0"
        one, two = (os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(2))
        again = os.dup(one)
        os.write(one, b"abc")
        os.close(one)
        assert os.stat(path).st_size == 3
        os.close(again)  # the last of those that wrote
        assert os.stat(path).st_size == BLOCK
        os.write(two, b"d")
        os.close(two)
        assert os.stat(path).st_size == 2 * BLOCK


def test_the_last_close_in_a_child_says_it(disk, place):
    script = (
        "import os, sys, time\n"
        "fd = int(sys.argv[1]); sys.stdin.read()\n"
        "os.write(fd, b'child')\n"
        "try:\n    os.close(fd)\nexcept OSError as error:\n    sys.exit(error.errno)\n"
    )
    with zonefs.mount(disk, place), zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST)
        fd = os.open(place / "seq/0", os.O_WRONLY)
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(fd)], stdin=subprocess.PIPE, pass_fds=[fd]
        )
        os.write(fd, b"parent")
        os.close(fd)
        child.communicate(b"", PATIENCE)
        assert child.returncode == errno.EIO


def test_names_do_not_move_what_is_held_back(disk, place):
    with zonefs.mount(disk, place), opened(place / "seq/0", os.O_WRONLY) as fd:
        os.write(fd, b"abc")
        assert error_of(os.rename, place / "seq/0", place / "seq/1") == errno.EPERM
        assert (place / "seq/0").read_bytes() == b"abc"


def test_an_unmount_by_force_keeps_what_is_held_back(disk, place):
    with zonefs.mount(disk, place) as mount:
        fd = os.open(place / "seq/0", os.O_WRONLY)
        os.write(fd, b"abc")
        mount.unmount(force=True)
        assert error_of(os.close, fd) in (errno.ENOTCONN, None)
    with zoned.open(disk) as device:
        assert device.pread(BLOCK, FIRST * ZONE) == b"abc".ljust(BLOCK, b"\0")


# ---------------------------------------------------------------- a mount that turns read-only


def mounts_line(place: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return next(line for line in lines if f" {place} " in line).split()[3].split(",")


def test_a_mount_says_that_it_is_read_only_and_why(disk, place, needs):
    child = serving(disk, place)
    with zoned.open(disk) as other:
        other.faults.add("medium", on="write", zones=FIRST)
        with opened(place / "seq/1", os.O_WRONLY):
            assert close_of(place / "seq/0", b"x") == errno.EIO
            line = child.stderr.readline()
            assert line.startswith(f"zonefs: {place}: the file system is read-only from now on")
            assert "seq/0 (zone 2)" in line
            assert "medium-error" in line
            assert "rw" in mounts_line(place)  # a file is open for writing
        if os.geteuid() == 0:
            until(lambda: "ro" in mounts_line(place), "the kernel knows that it is read-only")
    run("umount", place)
    assert "unmounted" in child.communicate(timeout=PATIENCE)[1]


def test_in_the_background_syslog_is_told(disk, place, needs):
    needs("root", os.geteuid() == 0, "a socket in /dev")
    needs("no-syslog", not os.path.exists("/dev/log"), "the place of syslog's socket is taken")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        log.settimeout(PATIENCE)

        def about_this() -> str:
            """The next message, but for those about other mounts of this machine."""
            texts = iter(lambda: log.recv(4096).decode(), "")
            return next(text for text in texts if str(place) in text)

        try:
            assert zonedctl("mount", disk, place).returncode == 0
            with zoned.open(disk) as other:
                other.faults.add("medium", on="write", zones=FIRST)
                assert close_of(place / "seq/0", b"x") == errno.EIO
            said = about_this()
            assert f"{place}: the file system is read-only from now on" in said
            assert "zonedctl[" in said
            run("umount", place)
            assert any("unmounted" in said for said in iter(about_this, ""))
        finally:
            os.unlink("/dev/log")


def test_a_mount_that_is_read_only_again_writable(disk, place, needs):
    needs("root", os.geteuid() == 0, "only root's mount shows it in /proc/mounts")
    with zonefs.mount(disk, place) as mount, zoned.open(disk) as other:
        for _ in range(3):
            with other.faults.add("medium", on="write", zones=FIRST):
                assert error_of(direct_write, place / "seq/0", bytes(BLOCK), 0) == errno.EIO
            until(lambda: "ro" in mounts_line(place), "the kernel knows that it is read-only")
            assert error_of(os.open, place / "seq/0", os.O_WRONLY) == errno.EROFS
            mount.remount(readonly=False)
            assert "rw" in mounts_line(place)
        assert direct_write(place / "seq/0", aligned(bytes(BLOCK)), 0) == BLOCK
