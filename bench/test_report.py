"""What looking at 104,000 zones costs, from Python and in each format of the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import zoned


def test_report_as_objects(benchmark: BenchmarkFixture, big_image: Path) -> None:
    """Every zone as a Zone."""
    with zoned.open(big_image, readonly=True) as dev:
        count = dev.geometry.nr_zones
        assert benchmark(lambda: sum(1 for _ in dev.report())) == count


def test_one_zone(benchmark: BenchmarkFixture, big_image: Path) -> None:
    """A single zone by its number."""
    with zoned.open(big_image, readonly=True) as dev:
        assert benchmark(lambda: dev.zones[99_000]).index == 99_000


@pytest.mark.parametrize("style", ["text", "json", "csv", "blkzone", "zbd"])
def test_report_from_the_shell(benchmark: BenchmarkFixture, big_image: Path, style: str) -> None:
    """`zonedctl report`, start of the interpreter included."""
    command = [sys.executable, "-m", "zoned", "report", str(big_image), "--format", style]
    with open(os.devnull, "wb") as null:
        benchmark.pedantic(
            subprocess.run, args=(command,), kwargs={"stdout": null, "check": True}, rounds=5
        )
