"""What zonefs costs in process: its rules and its files, without a mount, over a RAM disk."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import zoned
import zonefs

MIB = 1024 * 1024
SIZES = [4096, 65536, MIB]
SIZE_NAMES = ["4k", "64k", "1m"]


@pytest.fixture
def fs() -> Iterator[zonefs.ZoneFS]:
    """64 sequential files of 1 MiB, each filled once and emptied."""
    with zoned.memory(size=65 * MIB, zone_size=MIB, conventional=1, max_open=0) as dev:
        zonefs.mkfs(dev)
        with zonefs.ZoneFS(dev) as found:
            block = os.urandom(MIB)
            for number in range(64):
                with found.open(f"seq/{number}", "ab", buffering=0) as file:
                    file.write(block)
            empty(found)
            yield found


def empty(fs: zonefs.ZoneFS) -> None:
    """Every sequential file to nothing."""
    for number in range(64):
        fs.truncate(f"seq/{number}", 0)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_file_append(benchmark: BenchmarkFixture, fs: zonefs.ZoneFS, size: int) -> None:
    """16 MiB to 16 files through unbuffered files, opening and closing included."""
    block = os.urandom(size)

    def work() -> None:
        for number in range(16):
            with fs.open(f"seq/{number}", "ab", buffering=0) as file:
                for _ in range(MIB // size):
                    file.write(block)

    benchmark.extra_info["bytes"] = 16 * MIB
    benchmark.pedantic(work, setup=lambda: empty(fs), rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_file_read(benchmark: BenchmarkFixture, fs: zonefs.ZoneFS, size: int) -> None:
    """16 MiB of 16 full files into one buffer."""
    for number in range(16):
        with fs.open(f"seq/{number}", "ab", buffering=0) as file:
            file.write(os.urandom(MIB))
    buffer = bytearray(size)

    def work() -> None:
        for number in range(16):
            with fs.open(f"seq/{number}", "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    benchmark.extra_info["bytes"] = 16 * MIB
    benchmark(work)


def test_file_small_writes_through_the_buffer(
    benchmark: BenchmarkFixture, fs: zonefs.ZoneFS
) -> None:
    """1,000 KiB in writes of 100 bytes, gathered into blocks by the buffered file."""
    line = os.urandom(100)

    def work() -> None:
        with fs.open("seq/0", "ab") as file:
            for _ in range(10_240):
                file.write(line)

    benchmark.pedantic(work, setup=lambda: fs.truncate("seq/0", 0), rounds=20, warmup_rounds=2)


def test_file_open_and_close(benchmark: BenchmarkFixture, fs: zonefs.ZoneFS) -> None:
    """Of one file for reading."""
    benchmark(lambda: fs.open("seq/5", "rb", buffering=0).close())


def test_file_stat(benchmark: BenchmarkFixture, fs: zonefs.ZoneFS) -> None:
    """Of one file."""
    benchmark(fs.stat, "seq/5")


def test_listdir_of_64(benchmark: BenchmarkFixture, fs: zonefs.ZoneFS) -> None:
    """64 names."""
    assert len(benchmark(fs.listdir, "seq")) == 64


def test_file_truncate_to_nothing_and_to_the_end(
    benchmark: BenchmarkFixture, fs: zonefs.ZoneFS
) -> None:
    """RESET and FINISH as files have them."""

    def work() -> None:
        fs.truncate("seq/7", MIB)
        fs.truncate("seq/7", 0)

    benchmark(work)


def test_file_refused_write(benchmark: BenchmarkFixture, fs: zonefs.ZoneFS) -> None:
    """A write beside the end of a sequential file: EINVAL, with its sentence."""
    block = bytes(4096)
    with fs.open("seq/9", "r+b", buffering=0) as file:

        def work() -> None:
            try:
                file.pwrite(block, 8192)
            except OSError:
                return
            raise AssertionError("the write was not refused")

        benchmark(work)
