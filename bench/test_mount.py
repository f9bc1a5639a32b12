"""What the FUSE mount costs a program: its system calls on a mounted RAM-backed image.

Needs FUSE (root, or fusermount3): without it these are skipped, and say why. bench/fuse_ratios.py
compares the mount with libfuse's own example.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import zoned
import zonefs
from zonefs.mounting import available

MIB = 1024 * 1024
SIZES = [4096, 65536, MIB]
SIZE_NAMES = ["4k", "64k", "1m"]
FILES = 8
FILE = 4 * MIB

pytestmark = pytest.mark.skipif(available() != "", reason=available() or "FUSE is there")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """8 sequential files of 4 MiB on an image in memory, each filled once and emptied."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="zoned-bench-", dir=memory) as folder:
        image = Path(folder) / "disk.img"
        with zoned.create(
            image, size=(FILES + 1) * FILE, zone_size=FILE, conventional=1, max_open=0
        ) as dev:
            zonefs.mkfs(dev)
        place = tmp_path / "mount"
        place.mkdir()
        with zonefs.mount(image, place):
            for number in range(FILES):
                (place / "seq" / str(number)).write_bytes(bytes(FILE))
            empty(place)
            yield place


def empty(place: Path) -> None:
    """Every sequential file to nothing."""
    for number in range(FILES):
        os.truncate(place / "seq" / str(number), 0)


def aligned(size: int) -> mmap.mmap:
    """A page-aligned buffer with content, for direct I/O."""
    buffer = mmap.mmap(-1, size)
    buffer.write(os.urandom(size))
    return buffer


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_mounted_direct_append(benchmark: BenchmarkFixture, mounted: Path, size: int) -> None:
    """8 MiB of O_DIRECT writes to the ends of two files."""
    block = aligned(size)

    def work() -> None:
        for number in range(2):
            fd = os.open(mounted / "seq" / str(number), os.O_WRONLY | os.O_APPEND | os.O_DIRECT)
            for _ in range(FILE // size):
                os.write(fd, block)
            os.close(fd)

    benchmark.extra_info["bytes"] = 2 * FILE
    benchmark.pedantic(work, setup=lambda: empty(mounted), rounds=8, warmup_rounds=1)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_mounted_direct_read(benchmark: BenchmarkFixture, mounted: Path, size: int) -> None:
    """8 MiB of O_DIRECT reads of two full files."""
    block = aligned(size)
    for number in range(2):
        (mounted / "seq" / str(number)).write_bytes(os.urandom(FILE))

    def work() -> None:
        for number in range(2):
            fd = os.open(mounted / "seq" / str(number), os.O_RDONLY | os.O_DIRECT)
            while os.readv(fd, [block]):
                pass
            os.close(fd)

    benchmark.extra_info["bytes"] = 2 * FILE
    benchmark.pedantic(work, rounds=8, warmup_rounds=1)


def test_mounted_stat(benchmark: BenchmarkFixture, mounted: Path) -> None:
    """Of one file: the kernel keeps no attributes, so each asks the server."""
    path = str(mounted / "seq" / "3")
    benchmark(os.stat, path)


def test_mounted_listdir(benchmark: BenchmarkFixture, mounted: Path) -> None:
    """8 names."""
    path = str(mounted / "seq")
    assert len(benchmark(os.listdir, path)) == FILES


def test_mounted_truncate_to_nothing_and_to_the_end(
    benchmark: BenchmarkFixture, mounted: Path
) -> None:
    """RESET and FINISH, each a system call."""
    path = str(mounted / "seq" / "7")

    def work() -> None:
        os.truncate(path, FILE)
        os.truncate(path, 0)

    benchmark(work)


def test_mount_and_unmount(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Of a small disk, until the first file can be listed and until nothing is mounted."""
    image, place = tmp_path / "small.img", tmp_path / "small"
    place.mkdir()
    with zoned.create(image, size="16MiB", zone_size="4MiB", conventional=1) as dev:
        zonefs.mkfs(dev)

    def work() -> None:
        with zonefs.mount(image, place):
            assert os.listdir(place)

    benchmark.pedantic(work, rounds=8, warmup_rounds=1)
