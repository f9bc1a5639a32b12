"""What the benchmark suites share: disks of the size that each measures.

Run by `make bench` (pytest-benchmark); `make bench-compare` sets a run against the last saved one.
`bench/ratios.py` holds the figures that are compared with other software.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned

MIB = 1024 * 1024


@pytest.fixture
def disk() -> Iterator[zoned.Device]:
    """A RAM disk of 64 sequential zones of 1 MiB, no limits, filled once: no page is fresh."""
    with zoned.memory(size=64 * MIB, zone_size=MIB, conventional=0, max_open=0) as dev:
        block = bytes(MIB)
        for zone in range(64):
            dev.pwrite(block, zone * MIB)
        dev.reset_all()
        yield dev


@pytest.fixture
def big_image(tmp_path: Path) -> Path:
    """An untouched 28 TB disk of about 104,000 zones, as a file."""
    path = tmp_path / "big.img"
    zoned.create(path, profile="hc680").close()
    return path
