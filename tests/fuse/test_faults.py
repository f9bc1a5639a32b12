"""Fault rules and power cuts that act on a mount, and on ZoneFS: errno, errors= modes, and what fsync promised.

Expectations are Documentation/filesystems/zonefs.rst, "IO error handling", and the code behind it
(zonefs_handle_io_error()): a failed write always acts, whatever became of the zone; a failed read of a
zone that is as large as the file changes nothing.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

import zoned
import zonefs
from fuse.conftest import ZONE
from fuse.tools import aligned, direct_write, error_of, opened, serving, zonedctl
from waiting import PATIENCE

BLOCK = 4096
MODES = ("remount-ro", "zone-ro", "zone-offline", "repair")
FIRST = 2  # the zone of seq/0


class Door:
    """A file system as its user has it: strict rules, direct writes."""

    def __init__(self, write: Callable, read: Callable, stat: Callable, readonly: Callable) -> None:
        self.write, self.read, self.stat, self.readonly = write, read, stat, readonly

    def state(self, name: str) -> tuple[int, int]:
        now = self.stat(name)
        return now.st_size, now.st_mode & 0o777


def by_mount(disk: str, place: Path, errors: str, stack: ExitStack) -> Door:
    mount = stack.enter_context(zonefs.mount(disk, place, strict=True, errors=errors))

    def read(name: str, at: int) -> bytes:
        with opened(place / name, os.O_RDONLY | os.O_DIRECT) as fd:
            room = aligned(bytes(BLOCK))
            return room[: os.preadv(fd, [room], at)]

    def write(name: str, data: bytes, at: int) -> int:
        return direct_write(place / name, data, at)

    return Door(write, read, lambda name: os.stat(place / name), lambda: mount.options.readonly)


def by_zonefs(disk: str, place: Path, errors: str, stack: ExitStack) -> Door:
    fs = stack.enter_context(zonefs.ZoneFS(stack.enter_context(zoned.open(disk)), errors=errors))

    def read(name: str, at: int) -> bytes:
        with fs.open_raw(name, os.O_RDONLY | os.O_DIRECT) as file:
            return file.pread(BLOCK, at)

    def write(name: str, data: bytes, at: int) -> int:
        with fs.open_raw(name, os.O_WRONLY | os.O_DIRECT) as file:
            return file.pwrite(data, at)

    return Door(write, read, fs.stat, lambda: fs.options.readonly)


@pytest.fixture(params=[by_mount, by_zonefs], ids=["mount", "ZoneFS"])
def door(request, disk: str, place: Path) -> Iterator[Callable[[str], Door]]:
    with ExitStack() as stack:
        yield lambda errors: request.param(disk, place, errors, stack)


@pytest.fixture
def other(disk: str) -> Iterator[zoned.Device]:
    """Another handle on the same disk: faults live in what all openers share."""
    with zoned.open(disk) as device:
        yield device


# size and permissions of a file of two blocks afterwards, and whether the file system is read-only
WRITE_FAILED = {
    "remount-ro": (2 * BLOCK, 0o640, True),
    "zone-ro": (2 * BLOCK, 0o440, False),
    "zone-offline": (0, 0, False),
    "repair": (2 * BLOCK, 0o640, False),
}


@pytest.mark.parametrize("errors", MODES)
def test_a_medium_error_on_a_write(door, other, errors):
    at = door(errors)
    assert at.write("seq/0", b"a" * 2 * BLOCK, 0) == 2 * BLOCK
    with other.faults.add("medium", on="write", zones=FIRST) as fault:
        assert error_of(at.write, "seq/0", b"b" * BLOCK, 2 * BLOCK) == errno.EIO
        assert fault.matched == 1
    size, mode, readonly = WRITE_FAILED[errors]
    assert at.state("seq/0") == (size, mode)
    assert at.readonly() is readonly
    again = error_of(at.write, "seq/0", b"c" * BLOCK, 2 * BLOCK)
    assert again == {"remount-ro": errno.EROFS, "repair": None}.get(errors, errno.EPERM)
    # Nothing but the one file changes, unless all become read-only.
    assert error_of(at.write, "seq/1", b"d" * BLOCK, 0) == (errno.EROFS if readonly else None)
    if errors == "zone-offline":
        assert error_of(at.read, "seq/0", 0) == errno.EPERM
    else:
        assert at.read("seq/0", 0) == b"a" * BLOCK


@pytest.mark.parametrize("errors", MODES)
def test_a_write_that_is_torn(door, other, errors):
    """The zone's pointer moved although the write failed: only `repair` shows what landed."""
    at = door(errors)
    at.write("seq/0", b"a" * 2 * BLOCK, 0)
    blocks = BLOCK // other.geometry.logical_block
    with other.faults.add("torn", on="write", zones=FIRST, blocks=blocks):
        assert error_of(at.write, "seq/0", b"b" * 3 * BLOCK, 2 * BLOCK) == errno.EIO
    assert other.zones[FIRST].wp == other.zones[FIRST].start + 3 * BLOCK
    size, mode, readonly = WRITE_FAILED[errors]
    assert at.state("seq/0") == (3 * BLOCK if errors == "repair" else size, mode)
    assert at.readonly() is readonly
    if errors == "repair":
        assert at.read("seq/0", 2 * BLOCK) == b"b" * BLOCK
        assert at.write("seq/0", b"c" * BLOCK, 3 * BLOCK) == BLOCK


@pytest.mark.parametrize("errors", MODES)
def test_a_medium_error_on_a_read(door, other, errors):
    """The kernel says ENODATA for a direct read; the zone is good, so no mode does anything."""
    at = door(errors)
    at.write("seq/0", b"a" * 4 * BLOCK, 0)
    bad = other.zones[FIRST].start + 2 * BLOCK
    with other.faults.add("medium", on="read", range=(bad, bad + BLOCK)) as fault:
        assert error_of(at.read, "seq/0", 2 * BLOCK) == errno.ENODATA
        assert at.read("seq/0", BLOCK) == b"a" * BLOCK
        assert fault.matched >= 1
    assert at.state("seq/0") == (4 * BLOCK, 0o640)
    assert at.readonly() is False
    assert at.read("seq/0", 2 * BLOCK) == b"a" * BLOCK
    assert at.write("seq/0", b"b" * BLOCK, 4 * BLOCK) == BLOCK


@pytest.mark.parametrize("errors", MODES)
@pytest.mark.parametrize("kind", ["read-only", "offline"])
def test_a_zone_that_a_rule_kills(door, other, errors, kind):
    at = door(errors)
    at.write("seq/0", b"a" * 2 * BLOCK, 0)
    with other.faults.add(kind, on="write", zones=FIRST):
        assert error_of(at.write, "seq/0", b"b" * BLOCK, 2 * BLOCK) == errno.EIO
    dead = kind == "offline" or errors == "zone-offline"
    assert at.state("seq/0") == ((0, 0) if dead else (2 * BLOCK, 0o440))
    assert at.readonly() is (errors == "remount-ro")


@pytest.mark.parametrize("errors", MODES)
def test_a_medium_error_in_a_conventional_file(door, other, errors):
    """A direct write that fails tells its caller, and acts on nothing else."""
    at = door(errors)
    with other.faults.add("medium", on="write", zones=1):
        assert error_of(at.write, "cnv/0", b"b" * BLOCK, 0) == errno.EIO
    assert at.state("cnv/0") == (ZONE, 0o640)
    assert at.readonly() is False
    assert at.write("cnv/0", b"b" * BLOCK, 0) == BLOCK


def test_a_flush_that_fails(disk, place, other):
    with zonefs.mount(disk, place, strict=True, errors="repair") as mount:
        with opened(place / "seq/0", os.O_WRONLY | os.O_DIRECT) as fd:
            os.pwrite(fd, aligned(b"a" * BLOCK), 0)
            with other.faults.add("flush-error", on="write"):
                os.pwrite(fd, aligned(b"b" * BLOCK), BLOCK)
                assert error_of(os.fsync, fd) == errno.EIO
            os.fsync(fd)
        assert mount.mounted


def test_a_buffered_read_gives_what_lies_before_the_bad_block(disk, place, other):
    with zonefs.mount(disk, place, strict=True, errors="repair"):
        direct_write(place / "seq/0", b"a" * 4 * BLOCK, 0)
        bad = other.zones[FIRST].start + 2 * BLOCK
        with (
            other.faults.add("medium", on="read", range=(bad, bad + BLOCK)),
            open(place / "seq/0", "rb", buffering=0) as file,
        ):
            assert file.read(4 * BLOCK) == b"a" * 2 * BLOCK
            assert error_of(file.read, BLOCK) == errno.EIO
            file.seek(3 * BLOCK)
            assert file.read(BLOCK) == b"a" * BLOCK
        assert (place / "seq/0").read_bytes() == b"a" * 4 * BLOCK


def test_rules_from_the_shell_act_on_a_running_mount(disk, place):
    server = serving(disk, place, "-o", "strict,errors=repair")
    try:
        path = place / "seq/0"
        assert direct_write(path, b"a" * BLOCK, 0) == BLOCK
        added = zonedctl("faults", "add", disk, "medium", "--on", "write", "--zones", FIRST)
        assert added.returncode == 0, added.stderr
        assert error_of(direct_write, path, b"b" * BLOCK, BLOCK) == errno.EIO
        listed = json.loads(zonedctl("faults", "list", disk, "--format", "json").stdout)
        assert [rule["matched"] for rule in listed["rules"]] == [1]
        assert zonedctl("faults", "clear", disk).returncode == 0
        assert direct_write(path, b"b" * BLOCK, BLOCK) == BLOCK
    finally:
        server.terminate()
        assert server.wait(PATIENCE) == 0
        server.stderr.close()


def test_a_write_that_hangs_leaves_the_mount_to_others(disk, place, other):
    """One that waits must not keep others waiting, however many wait."""
    from threading import Thread

    with zonefs.mount(disk, place, strict=True, errors="repair") as mount:
        with other.faults.add("hang", on="write", zones=(FIRST, FIRST + 4)) as fault:
            done: list[int] = []
            threads = [
                Thread(
                    target=lambda i=i: done.append(
                        direct_write(place / f"seq/{i}", bytes(BLOCK), 0)
                    )
                )
                for i in range(4)
            ]
            for thread in threads:
                thread.start()
            while fault.waiting < 4:
                pass
            assert direct_write(place / "seq/9", b"x" * BLOCK, 0) == BLOCK
            assert os.stat(place / "seq/9").st_size == BLOCK
            assert done == []
            fault.release()
            for thread in threads:
                thread.join()
            assert done == [BLOCK] * 4
        assert mount.mounted


def test_who_waits_behind_a_write_that_hangs_can_be_killed(disk, place, other):
    """And who only looks does not wait: Linux's stat takes no lock of the file."""
    from threading import Thread

    path = place / "seq/0"
    with zonefs.mount(disk, place, strict=True):
        direct_write(path, b"a" * BLOCK, 0)
        with other.faults.add("hang", on="write", zones=FIRST) as fault:
            writer = Thread(target=lambda: direct_write(path, b"b" * BLOCK, BLOCK))
            writer.start()
            while fault.waiting < 1:
                pass
            assert os.stat(path).st_size == BLOCK
            waiting = [
                Popen(["dd", "if=/dev/zero", f"of={path}", "bs=4k", "count=1", *more], stderr=PIPE)
                for more in (["oflag=direct", "seek=1", "conv=notrunc"], ["conv=notrunc"], [])
            ]
            waiting.append(Popen(["dd", f"if={path}", "of=/dev/null", "iflag=direct"], stderr=PIPE))
            time.sleep(0.3)  # until they wait
            for one in waiting:
                one.kill()
            for one in waiting:
                one.communicate(timeout=PATIENCE)
            assert [one.returncode for one in waiting] == [-signal.SIGKILL] * 4
            fault.release()
            writer.join()
        assert os.stat(path).st_size == 2 * BLOCK


def test_a_mount_whose_disk_hangs_ends_all_the_same(disk, place, other):
    """With the last block of one file held back, and a write of another that never returns."""
    server = serving(disk, place)
    held = os.open(place / "seq/1", os.O_WRONLY | os.O_APPEND)
    os.write(held, b"held back")
    with other.faults.add("hang", on="write") as fault:
        program = Popen(
            ["dd", "if=/dev/zero", f"of={place}/seq/0", "bs=4k", "count=1"], stderr=PIPE
        )
        while fault.waiting < 1:
            pass
        server.terminate()
        assert server.wait(PATIENCE) == 0
        assert not os.path.ismount(place)
        program.communicate(timeout=PATIENCE)
        assert program.returncode == 1
    assert error_of(os.close, held) == errno.ENOTCONN
    server.stderr.close()
    assert [zone.wp - zone.start for zone in other.report(FIRST, 2)] == [0, 0]


# ---------------------------------------------------------------- power


@pytest.mark.parametrize("keep", ["durable", "random"])
@pytest.mark.parametrize("options", [{"strict": True}, {}], ids=["strict", "default"])
def test_what_fsync_acknowledged_survives_a_power_cut(disk, place, other, options, keep):
    synced, unsynced = b"s" * 5 * BLOCK, b"u" * 7 * BLOCK
    with zonefs.mount(disk, place, **options) as mount:
        held = []
        for i in range(3):
            held.append(os.open(place / f"seq/{i}", os.O_WRONLY | os.O_DIRECT))
            os.pwrite(held[i], aligned(synced), 0)
            os.fsync(held[i])
        cnv = os.open(place / "cnv/0", os.O_RDWR)
        os.pwrite(cnv, b"conventional", 100)
        os.fsync(cnv)  # which flushes the whole disk: what follows is not acknowledged
        for fd in held:
            os.pwrite(fd, aligned(unsynced), len(synced))
        os.pwrite(cnv, b"overwritten!", 100)

        other.power_cut(keep=keep, seed=7)
        # What the kernel's zonefs gives when each command to its disk fails: errors=remount-ro.
        seen = [error_of(os.pwrite, fd, aligned(bytes(BLOCK)), 12 * BLOCK) for fd in held]
        assert seen == [errno.EIO, errno.EROFS, errno.EROFS]
        with opened(place / "seq/4", os.O_RDONLY | os.O_DIRECT) as fd:
            assert os.preadv(fd, [aligned(bytes(BLOCK))], 0) == 0  # empty: the disk is not asked
        assert error_of(direct_write, place / "seq/4", bytes(BLOCK), 0) == errno.EROFS
        assert error_of(os.truncate, place / "seq/5", ZONE) == errno.EROFS
        assert mount.mounted
        assert sorted(os.listdir(place)) == ["cnv", "seq"]
        assert len(os.listdir(place / "seq")) == 10
        for fd in (*held, cnv):
            os.close(fd)
    assert not os.path.ismount(place)

    refused = error_of(lambda: zonefs.mount(disk, place).unmount())
    assert refused == errno.EIO
    other.power_on()
    with zonefs.mount(disk, place, **options):
        for i in range(3):
            data = (place / f"seq/{i}").read_bytes()
            assert data[: len(synced)] == synced
            assert (synced + unsynced).startswith(data)
            if keep == "durable":
                assert data == synced
            assert direct_write(place / f"seq/{i}", b"n" * BLOCK, len(data)) == BLOCK
        with open(place / "cnv/0", "rb") as file:
            file.seek(100)
            # Overwritten without an fsync: a disk may have written it or not.
            assert file.read(12) in (b"conventional", b"overwritten!")


def test_power_goes_in_the_middle_of_fio(disk, place, other):
    """Whatever fio was told by its last fsync is there; fio itself sees EIO."""
    import subprocess

    from fuse.tools import FIO

    with zonefs.mount(disk, place, strict=True, errors="repair") as mount:
        command = [*FIO, "--ioengine=psync", "--direct=1", "--rw=write", "--bs=4k", "--size=8m"]
        command += ["--file_append=1", "--fsync=16", "--verify=pattern", "--verify_pattern=%o"]
        command += ["--do_verify=0", "--name=j", f"--filename={place}/seq/0"]
        with other.faults.add("power-cut", on="write", nth=500, keep="durable"):
            child = subprocess.run(
                command, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        assert child.returncode != 0
        assert "Input/output error" in child.stdout + child.stderr
        assert mount.mounted
        assert not other.powered
    other.power_on()
    with zonefs.mount(disk, place, strict=True):
        data = (place / "seq/0").read_bytes()
        assert len(data) == 499 // 16 * 16 * BLOCK  # the last fsync before the cut
        for at in range(0, len(data), BLOCK):
            assert data[at : at + BLOCK] == at.to_bytes(8, "little") * (BLOCK // 8)


def test_the_disks_file_is_gone(disk, place):
    """The image is unlinked under the mount: its blocks stay until the mount ends, as those of any file do."""
    with zonefs.mount(disk, place, strict=True) as mount:
        direct_write(place / "seq/0", b"a" * BLOCK, 0)
        os.unlink(disk)
        assert direct_write(place / "seq/0", b"b" * BLOCK, BLOCK) == BLOCK
        assert (place / "seq/0").read_bytes() == b"a" * BLOCK + b"b" * BLOCK
        assert mount.mounted
    assert not os.path.ismount(place)
    assert error_of(lambda: zonefs.mount(disk, place).unmount()) == errno.ENOENT
