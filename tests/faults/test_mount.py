"""Fault rules and power cuts set from outside act on a running mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zoned
import zonefs
from waiting import PATIENCE, until

BLOCK = 4096


@pytest.fixture
def image(tmp_path: Path, needs: Callable[[str, bool, str], None]) -> Path:
    needs("fuse", os.access("/dev/fuse", os.R_OK | os.W_OK), "mounting")
    path = tmp_path / "disk.img"
    with zoned.create(path, size="4MiB", zone_size="512KiB", conventional=2) as dev:
        zonefs.mkfs(dev)
    return path


@pytest.fixture
def folder(image: Path, tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "mount"
    point.mkdir()
    with zonefs.mount(image, point):
        yield point


@pytest.fixture
def dev(folder: Path, image: Path) -> Iterator[zoned.Device]:
    """Another opener of the mounted disk."""
    with zoned.open(image) as device:
        yield device


def test_a_write_through_the_mount_fails_by_a_rule(folder: Path, dev: zoned.Device) -> None:
    zone = dev.geometry.nr_conventional  # seq/0
    with dev.faults.add("medium", on="write", zones=zone, nth=2, label="scratch") as fault:
        file = os.open(folder / "seq/0", os.O_WRONLY | os.O_APPEND)
        try:
            assert os.write(file, b"a" * BLOCK) == BLOCK
            with pytest.raises(OSError, match="Input/output error") as caught:
                os.write(file, b"b" * BLOCK)
            assert caught.value.errno == errno.EIO
        finally:
            os.close(file)
        assert fault.matched == 1
    assert dev.zones[zone].wp == dev.zones[zone].start + BLOCK


def test_a_bit_flips_under_a_reader_of_the_mount(folder: Path, dev: zoned.Device) -> None:
    (folder / "seq/1").write_bytes(b"a" * BLOCK)
    zone = dev.geometry.nr_conventional + 1
    with dev.faults.add("flip-read", zones=zone, bit=8):
        assert (folder / "seq/1").read_bytes()[:3] == b"a`a"


_READ = "import sys; print('up', flush=True); open(sys.argv[1], 'rb').read(); print('read')"


@pytest.mark.parametrize("how", ["release", "clear"])
def test_what_hangs_in_the_mount_holds_nobody_else_up(
    folder: Path, dev: zoned.Device, how: str
) -> None:
    (folder / "seq/0").write_bytes(b"a" * BLOCK)
    (folder / "seq/1").write_bytes(b"b" * BLOCK)
    zone = dev.geometry.nr_conventional
    with dev.faults.add("hang", on="read", zones=zone) as fault:
        reader = subprocess.Popen(
            [sys.executable, "-c", _READ, str(folder / "seq/0")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        until(lambda: fault.waiting == 1, "the reader hangs")
        assert (folder / "seq/1").read_bytes() == b"b" * BLOCK
        (folder / "seq/2").write_bytes(b"c" * BLOCK)
        getattr(fault, how)()
        said, _ = reader.communicate(timeout=PATIENCE)
        assert "read" in said
        assert reader.returncode == 0
        assert fault.waiting == 0


_WRITE = """
import mmap, os, sys
data = mmap.mmap(-1, 4096)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
print("up", flush=True)
os.pwrite(fd, data, 0)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_program_that_hangs_in_the_mount(
    folder: Path, dev: zoned.Device, number: int
) -> None:
    """Ctrl-C and the others end the program, and with it the command: nothing is written, nobody waits."""
    zone = dev.geometry.nr_conventional + 3
    with dev.faults.add("hang", on="write", zones=zone) as fault:
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITE, str(folder / "seq/3")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: fault.waiting == 1, "the writer hangs")
            writer.send_signal(number)
            assert writer.wait(PATIENCE) != 0
            until(lambda: fault.waiting == 0, "the command is given up")
        finally:
            writer.kill()
            writer.communicate()
    assert dev.zones[zone].wp == dev.zones[zone].start
    (folder / "seq/3").write_bytes(b"a" * BLOCK)
    assert (folder / "seq/3").read_bytes() == b"a" * BLOCK


def test_a_power_cut_under_the_mount(folder: Path, dev: zoned.Device, image: Path) -> None:
    """What a program wrote and fsynced stays; what it only wrote is taken, block by block."""
    file = os.open(folder / "cnv/0", os.O_RDWR)
    try:
        os.pwrite(file, b"o" * 2 * BLOCK, 0)
        os.fsync(file)
        log = os.open(folder / "seq/0", os.O_WRONLY | os.O_APPEND)
        os.write(log, b"l" * BLOCK)
        os.fsync(log)
        os.write(log, b"m" * BLOCK)
        os.pwrite(file, b"n" * 2 * BLOCK, 0)
        os.sync()
        dev.power_cut()
        with pytest.raises(OSError, match=r"Input/output error|Read-only"):
            os.write(log, b"x" * BLOCK)
        os.close(log)
    finally:
        os.close(file)
    dev.power_on()
    with zonefs.ZoneFS(dev) as fs:
        with fs.open("cnv/0", "rb") as kept:
            seen = kept.read(2 * BLOCK)
        assert fs.stat("seq/0").st_size == BLOCK
    assert seen in (b"o" * 2 * BLOCK, b"n" * 2 * BLOCK)  # os.sync() may have flushed
