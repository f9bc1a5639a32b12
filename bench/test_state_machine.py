"""What zone commands cost: the state machine, its locks and its accounting, without data."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import zoned

MIB = 1024 * 1024


@pytest.mark.parametrize(("there", "back"), [("open", "close"), ("finish", "reset")])
def test_there_and_back(
    benchmark: BenchmarkFixture, disk: zoned.Device, there: str, back: str
) -> None:
    """OPEN and CLOSE, or FINISH and RESET, of an empty zone, which ends EMPTY again."""
    do, undo = getattr(disk, f"{there}_zone"), getattr(disk, f"{back}_zone")

    def work() -> None:
        do(5)
        undo(5)

    benchmark(work)


def test_reset_of_an_empty_zone(benchmark: BenchmarkFixture, disk: zoned.Device) -> None:
    """RESET that has nothing to do."""
    benchmark(disk.reset_zone, 5)


def test_write_and_reset(benchmark: BenchmarkFixture, disk: zoned.Device) -> None:
    """One block written, which opens the zone and gives it a slot, and RESET, which takes both
    away.
    """
    block = bytes(4096)

    def work() -> None:
        disk.pwrite(block, 5 * MIB)
        disk.reset_zone(5)

    benchmark(work)


def test_range_of_64_zones(benchmark: BenchmarkFixture, disk: zoned.Device) -> None:
    """OPEN and RESET with a zone count."""

    def work() -> None:
        disk.open_zone(0, 64)
        disk.reset_zone(0, 64)

    benchmark(work)


def test_implicit_close(benchmark: BenchmarkFixture) -> None:
    """A write that finds the open limit reached, so that another zone is closed for it."""
    with zoned.memory(size="64MiB", zone_size="1MiB", conventional=0, max_open=2) as dev:
        block = bytes(4096)

        def work() -> None:
            for zone in range(8):
                dev.pwrite(block, zone * MIB)
            dev.reset_all()

        benchmark(work)


def test_refused_write(benchmark: BenchmarkFixture, disk: zoned.Device) -> None:
    """A broken rule: exception, message and fields included."""
    block = bytes(4096)

    def work() -> None:
        try:
            disk.pwrite(block, 5 * MIB + 4096)
        except zoned.UnalignedWriteError:
            return
        raise AssertionError("the write was not refused")

    benchmark(work)
