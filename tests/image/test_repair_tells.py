"""What a repair costs is told by zone and byte: beforehand, when it is done, as text, as JSON, by the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from image import disks
from image.layout import Image
from waiting import PATIENCE
from zoned import FindingKind, ZoneCondition

BLOCK = disks.BLOCK
MENDED, DATA_LOST, ERRORS_STAY = 0, 3, 4


def check(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoned", "check", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def cut(path: Path, zone: int, left: int) -> None:
    """The file ends `left` bytes behind the beginning of the zone's slot."""
    image = Image.read(path)
    slot = image.entry(zone, 0)[3] - 1
    os.truncate(path, image.header("data_offset") + slot * image.header("slot_size") + left)


@pytest.fixture
def path(shm: Path) -> Path:
    """Slots in the order of writing: 8 blocks in zone 3, 122 in zone 5, 16 in zone 4; one in zone 0."""
    path = shm / "disk.img"
    with zoned.create(path, size="16MiB", zone_size="1MiB", conventional=1) as device:
        device.append(3, bytes([3]) * BLOCK * 8)
        device.append(5, bytes([5]) * BLOCK * 122)
        device.append(4, bytes([4]) * BLOCK * 16)
        device.pwrite(bytes([1]) * BLOCK, 0)
    return path


def test_all_of_a_zone_is_lost(path: Path) -> None:
    cut(path, 5, 0)
    texts = [
        "zone 0: offline, 1,048,576 bytes lost",
        "zone 4: offline, 65,536 bytes lost",
        "zone 5: offline, 499,712 bytes lost",
    ]
    before = check(path)
    lines = before.stdout.splitlines()
    assert before.returncode == ERRORS_STAY and len(lines) == 3
    for line, text in zip(lines, texts, strict=True):
        assert line.startswith("error: ") and f"; repair leaves {text}" in line
        assert line.endswith("(--repair can mend it)")
    much = "1,613,824 bytes of 3 zones"
    assert before.stderr == f"{path}: 3 errors, {much} would be lost by a repair\n"
    facts = json.loads(check(path, "--format", "json").stdout)
    assert facts["errors"] == 3
    told = [(f["zone"], f["becomes"], f["lost"], f["mended"]) for f in facts["findings"]]
    assert told == [
        (0, "offline", 1048576, False),
        (4, "offline", 65536, False),
        (5, "offline", 499712, False),
    ]
    after = check(path, "--repair")
    assert after.returncode == DATA_LOST
    for line, text in zip(after.stdout.splitlines(), texts, strict=True):
        assert line.startswith("lost: ") and line.endswith(f"; {text}")
    assert after.stderr == f"{path}: no errors, 3 mended, {much} lost\n"
    assert (check(path).returncode, check(path).stdout) == (0, "")
    with zoned.open(path) as device:
        assert device.pread(8 * BLOCK, device.zones[3].start) == bytes([3]) * BLOCK * 8


def test_a_part_of_a_zone_is_lost(path: Path) -> None:
    cut(path, 5, 100 * BLOCK + 5)
    assert check(path).returncode == ERRORS_STAY
    done = check(path, "--repair", "--format", "json")
    assert done.returncode == DATA_LOST
    facts = json.loads(done.stdout)
    assert facts["errors"] == 0
    told = {f["zone"]: (f["becomes"], f["lost"], f["mended"]) for f in facts["findings"]}
    assert told[5] == ("read-only", 22 * BLOCK, True)
    assert "zone 5: read-only, 90,112 bytes lost" in [
        f["text"].rpartition("; ")[2] for f in facts["findings"]
    ]
    with zoned.open(path) as device:
        assert device.zones[5].condition is ZoneCondition.READ_ONLY
        assert device.pread(100 * BLOCK, device.zones[5].start) == bytes([5]) * BLOCK * 100


def test_nothing_is_lost_and_no_zone_named(shm: Path) -> None:
    """Only room that nobody wrote to is missing."""
    path = shm / "room.img"
    with zoned.create(path, size="16MiB", zone_size="1MiB", conventional=1) as device:
        device.append(4, bytes([4]) * BLOCK * 16)
    cut(path, 4, 16 * BLOCK)
    (finding,) = zoned.check(path)
    assert (finding.kind, finding.lost, finding.becomes) == (FindingKind.SHORT, 0, None)
    assert "no data is missing" in finding.text and "zone 4" not in finding.text
    done = check(path, "--repair")
    assert done.returncode == MENDED and done.stderr == f"{path}: no errors, 1 mended\n"
    with zoned.open(path) as device:
        assert device.pread(16 * BLOCK, device.zones[4].start) == bytes([4]) * BLOCK * 16
    assert zoned.check(path) == []
