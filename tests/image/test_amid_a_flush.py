"""What others do to a disk while its flush waits for the host: the entries that are written then name no bytes of theirs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from waiting import PATIENCE, until

ZONE = 64 * 1024
FLUSH = """
import sys, zoned
with zoned.open(sys.argv[1]) as device:
    device.flush()
"""


@pytest.mark.parametrize("conventional", [0, 4])
def test_a_slot_that_is_being_written_down_is_nobody_elses(
    preloaded: Callable[[str], dict[str, str]], shm: Path, conventional: int
) -> None:
    """A zone is reset amid a flush, and another written: were its slot free at once, the entry on its way would name the
    other zone's bytes, and a crash of the host make them the first one's.
    """
    path, hold = shm / "disk.img", shm / "hold"
    first, second = 4 * ZONE, 5 * ZONE
    with zoned.create(
        path, size=16 * ZONE, zone_size=ZONE, conventional=conventional, max_open=0
    ) as device:
        device.pwrite(b"z" * 4096, 6 * ZONE)
        device.flush()  # the image is marked as being changed from here on
        device.pwrite(b"a" * 4096, first)
        hold.touch()
        flushing = subprocess.Popen(
            [sys.executable, "-c", FLUSH, str(path)],
            env=preloaded("holdsync") | {"ZONED_TEST_HOLD": str(hold)},
        )
        try:
            until(hold.with_name("hold.held").exists, "the flush waits for the host")
            device.reset_zone(first // ZONE)
            device.pwrite(b"b" * 4096, second)
        finally:
            hold.unlink()
            assert flushing.wait(PATIENCE) == 0
        copy = shm / "crashed.img"
        shutil.copy(path, copy)  # what the host has of it now
        assert device.pread(4096, second) == b"b" * 4096
    with zoned.open(copy) as device:
        zone = device.zones[first // ZONE]
        assert zone.wp == first + 4096, "its reset was not flushed"
        assert device.pread(4096, first) == b"a" * 4096
    assert zoned.check(copy) == []
    assert zoned.check(path) == []
