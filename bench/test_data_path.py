"""What moving data costs, in RAM: each call at three sizes, over memory that was touched before."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import zoned

MIB = 1024 * 1024
SIZES = [4096, 65536, MIB]
SIZE_NAMES = ["4k", "64k", "1m"]
REGION = 64 * MIB


def reads(benchmark: BenchmarkFixture, work: Callable[[], None]) -> None:
    """16 MiB a round, and nothing to set up between rounds."""
    benchmark.extra_info["bytes"] = 16 * MIB
    benchmark(work)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_pwrite(benchmark: BenchmarkFixture, disk: zoned.Device, size: int) -> None:
    """16 MiB of sequential writes; resets between rounds are not counted."""
    block = os.urandom(size)
    offsets = range(0, 16 * MIB, size)

    def work() -> None:
        for offset in offsets:
            disk.pwrite(block, offset)

    benchmark.extra_info["bytes"] = 16 * MIB
    benchmark.pedantic(work, setup=disk.reset_all, rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_append(benchmark: BenchmarkFixture, disk: zoned.Device, size: int) -> None:
    """16 MiB of appends, zone after zone."""
    block = os.urandom(size)
    per_zone = MIB // size

    def work() -> None:
        for zone in range(16):
            for _ in range(per_zone):
                disk.append(zone, block)

    benchmark.extra_info["bytes"] = 16 * MIB
    benchmark.pedantic(work, setup=disk.reset_all, rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_pread(benchmark: BenchmarkFixture, disk: zoned.Device, size: int) -> None:
    """16 MiB of reads, each into new bytes."""
    for zone in range(16):
        disk.pwrite(os.urandom(MIB), zone * MIB)
    offsets = range(0, 16 * MIB, size)

    def work() -> None:
        for offset in offsets:
            disk.pread(size, offset)

    reads(benchmark, work)


@pytest.mark.parametrize("size", SIZES, ids=SIZE_NAMES)
def test_preadinto(benchmark: BenchmarkFixture, disk: zoned.Device, size: int) -> None:
    """16 MiB of reads into one buffer."""
    for zone in range(16):
        disk.pwrite(os.urandom(MIB), zone * MIB)
    buffer = bytearray(size)
    offsets = range(0, 16 * MIB, size)

    def work() -> None:
        for offset in offsets:
            disk.preadinto(buffer, offset)

    reads(benchmark, work)


def test_pwritev(benchmark: BenchmarkFixture, disk: zoned.Device) -> None:
    """16 MiB in vectors of sixteen 4 KiB buffers."""
    buffers = [os.urandom(4096) for _ in range(16)]

    def work() -> None:
        for offset in range(0, 16 * MIB, 65536):
            disk.pwritev(buffers, offset)

    benchmark.extra_info["bytes"] = 16 * MIB
    benchmark.pedantic(work, setup=disk.reset_all, rounds=20, warmup_rounds=2)


def test_read_past_the_write_pointer(benchmark: BenchmarkFixture, disk: zoned.Device) -> None:
    """Zeros, which never come from the store."""
    buffer = bytearray(MIB)
    benchmark(disk.preadinto, buffer, 32 * MIB)
