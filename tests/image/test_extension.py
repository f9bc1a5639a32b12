"""Zone descriptor extensions in the image: where they lie, who reads them, and what damage costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from image.layout import Image, change_header
from zoned import ZoneCondition

BLOCK = 4096
ZONE = 256 * 1024
SIZE = 16320
EXTENSION = bytes(i * 7 % 251 for i in range(SIZE))


def create(path: Path) -> zoned.Device:
    return zoned.create(
        path, size=8 * ZONE, zone_size=ZONE, dialect="zns", max_active=4, zone_extension=SIZE
    )


@pytest.fixture
def made(shm: Path) -> Path:
    """Closed cleanly: zone 1 has an extension and is filled, zone 2 has one and nothing in it."""
    path = shm / "disk.img"
    with create(path) as device:
        device.set_zone_extension(1, EXTENSION)
        device.append(1, b"x" * ZONE)
        device.set_zone_extension(2, EXTENSION[::-1])
    return path


def test_it_lies_at_the_end_of_the_slot(made: Path) -> None:
    image = Image.read(made)
    assert (image.header("features"), image.header("zone_extension")) == (1, SIZE)
    assert image.header("slot_size") == ZONE + 65536
    for zone, wanted in ((1, EXTENSION), (2, EXTENSION[::-1])):
        word, slot = image.entry(zone, 0)[1], image.entry(zone, 0)[3]
        assert word & 0xFF80 == 0x80
        end = image.header("data_offset") + slot * image.header("slot_size")
        assert image.data[end - SIZE : end] == wanted
    with zoned.open(made, readonly=True) as device:
        assert device.zone_extension(1) == EXTENSION
        assert device.zone_extension(2) == EXTENSION[::-1]
        assert device.zone_extension(3) is None
    assert zoned.check(made) == []


def test_an_image_without_is_as_it_was(shm: Path) -> None:
    with zoned.create(shm / "disk.img", size=8 * ZONE, zone_size=ZONE, dialect="zns"):
        pass
    image = Image.read(shm / "disk.img")
    assert (image.header("features"), image.header("zone_extension")) == (0, 0)
    assert image.header("slot_size") == ZONE


@pytest.mark.parametrize(
    ("field", "value"), [("features", 0), ("zone_extension", 0), ("zone_extension", 100)]
)
def test_a_header_that_contradicts_itself_is_refused(made: Path, field: str, value: int) -> None:
    change_header(made, field, value)
    with pytest.raises(zoned.ImageError, match="zone_extension"):
        zoned.open(made)


def test_a_word_that_cannot_be_is_found(made: Path) -> None:
    """An EMPTY zone has none, nor has one without a slot."""
    for zone, condition, kept in ((2, 0, True), (2, 4, False)):
        image = Image.read(made)
        seq, word, durable, slot = image.entry(zone, 0)
        for copy in (0, 1):
            bad = word & ~0xF | condition
            image.set_entry(zone, copy, seq, bad, durable, slot if kept else 0)
        path = made.with_name("bad.img")
        image.write(path)
        found = zoned.check(path)
        assert [f.zone for f in found if f.error] == [zone]
        assert "descriptor extension" in str(found[0])


def test_a_file_cut_off_before_it_loses_it_by_name(made: Path) -> None:
    image = Image.read(made)
    slot = image.entry(2, 0)[3]
    end = image.header("data_offset") + slot * image.header("slot_size")
    os.truncate(made, end - 100)
    with pytest.raises(zoned.ImageError, match="zone 2"):
        zoned.open(made)
    lost = [(f.zone, f.lost) for f in zoned.check(made, repair=True) if f.loses]
    assert lost == [(2, SIZE)]
    with zoned.open(made) as device:
        assert device.zone_extension(1) == EXTENSION
        assert device.zone_extension(2) is None
        assert device.zones[2].condition is ZoneCondition.CLOSED
    assert zoned.check(made) == []


def test_a_killed_process_leaves_it(shm: Path) -> None:
    """Acknowledged is acknowledged, flushed or not."""
    path = shm / "disk.img"
    create(path).close()
    code = f"""
import os, signal, sys, zoned
device = zoned.open({str(path)!r})
device.set_zone_extension(1, bytes(i * 7 % 251 for i in range({SIZE})))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with zoned.open(path) as device:
        assert device.zone_extension(1) == EXTENSION
        assert device.zones[1].condition is ZoneCondition.CLOSED


def test_a_crash_of_the_host_brings_back_the_one_that_was_flushed(shm: Path) -> None:
    """A copy of the file is what such a crash leaves: its shared state is worthless."""
    path, copy = shm / "disk.img", shm / "copy.img"
    with create(path) as device:
        device.set_zone_extension(1, EXTENSION)
        device.set_zone_extension(2, EXTENSION)
        device.flush()
        device.reset_zone(1)
        device.set_zone_extension(1, EXTENSION[::-1])
        for _ in range(3):  # slots come and go: the one that the entry names is none of them
            device.set_zone_extension(3, bytes(SIZE))
            device.reset_zone(3)
        copy.write_bytes(path.read_bytes())
        with zoned.open(copy) as left:
            assert left.zone_extension(1) == EXTENSION
            assert left.zone_extension(2) == EXTENSION
            assert left.zone_extension(3) is None
        device.flush()
        copy.write_bytes(path.read_bytes())
        with zoned.open(copy) as left:
            assert left.zone_extension(1) == EXTENSION[::-1]


def test_a_flushed_one_is_never_taken_for_one_of_a_reset(shm: Path) -> None:
    """A zone that moved to another slot, and holds nothing durable, looks as if it had been reset."""
    path, copy = shm / "disk.img", shm / "copy.img"
    with zoned.create(
        path, size=8 * ZONE, zone_size=ZONE, dialect="zns", zone_extension=SIZE, slot_cache=0
    ) as device:
        device.set_zone_extension(1, EXTENSION)
        device.flush()
        device.append(1, b"x" * 2 * BLOCK)
        with device.snapshot():
            device.power_cut(keep="durable")
            device.power_on()
            device.append(1, b"y" * BLOCK)
            device.open_zone(3)  # a command behind which slots that wait are looked at
            copy.write_bytes(path.read_bytes())
    with zoned.open(copy) as left:
        assert left.zone_extension(1) == EXTENSION
