"""What a disk in a file costs: making, opening, filling, making durable and checking it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

import zoned

MIB = 1024 * 1024


def test_create_28_tb(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """`create` and `close` of a disk of about 104,000 zones."""
    names = (tmp_path / f"{number}.img" for number in itertools.count())

    def work() -> None:
        zoned.create(next(names), profile="hc680").close()

    benchmark.pedantic(work, rounds=15, warmup_rounds=1)


def test_open_28_tb(benchmark: BenchmarkFixture, big_image: Path) -> None:
    """`open` and `close` of it by the first and only opener."""

    def work() -> None:
        zoned.open(big_image).close()

    benchmark(work)


def test_open_shared(benchmark: BenchmarkFixture, big_image: Path) -> None:
    """`open` and `close` while another handle has it open."""
    with zoned.open(big_image):

        def work() -> None:
            zoned.open(big_image).close()

        benchmark(work)


def test_first_fill(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """32 MiB in 256 KiB writes into a fresh image, creation and close included."""
    block = os.urandom(256 * 1024)
    names = (tmp_path / f"{number}.img" for number in itertools.count())

    def work() -> None:
        path = next(names)
        with zoned.create(
            path, size="32MiB", zone_size="4MiB", conventional=0, host_sync="never"
        ) as dev:
            for offset in range(0, 32 * MIB, len(block)):
                dev.pwrite(block, offset)
        path.unlink()

    benchmark.pedantic(work, rounds=10, warmup_rounds=1)


def test_write_and_flush(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """A 4 KiB append made durable on the host's disk each time."""
    block = os.urandom(4096)
    with zoned.create(
        tmp_path / "flush.img", size="64MiB", zone_size="64MiB", conventional=0
    ) as dev:

        def work() -> None:
            dev.append(0, block)
            dev.flush()

        benchmark.pedantic(work, rounds=200, warmup_rounds=5)


def test_check(benchmark: BenchmarkFixture, big_image: Path) -> None:
    """`check` of 104,000 zones."""
    benchmark(zoned.check, big_image)
