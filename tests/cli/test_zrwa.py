"""Disks with random write areas by ``zonedctl``: made, opened, committed, told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zoned
from cli.shell import ok, refused

KIB = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    shape = ("--size", "4MiB", "--zone-size", "256K", "--dialect", "zns", "--max-active", "4")
    ok(
        "create",
        path,
        *shape,
        "--zrwa-size",
        "32K",
        "--zrwa-granularity",
        "8K",
        "--zrwa-count",
        "2",
    )
    return path


def test_from_making_to_committing(disk: Path) -> None:
    ok("open", disk, "--zones", "3", "--zrwa")
    with zoned.open(disk) as device:
        device.pwrite(bytes(12 * KIB), 3 * 256 * KIB)
    assert "seq-write-required write-area" in ok("report", disk, "--zones", "3").text
    assert "write-area" not in ok("report", disk, "--zones", "4").text
    told = ok("flush-zone", disk, "--zone", "3", "-v").err
    assert "committed 16384 bytes of zone 3" in told
    ok("flush-zone", disk, "--zone", "3", "--size", "8K")
    with zoned.open(disk, readonly=True) as device:
        assert device.zones[3].wp == (3 * 256 + 24) * KIB
    facts = ok("info", disk).text
    assert "32 KiB (32768 bytes), committed by 8 KiB (8192 bytes) (ZRWA)" in facts
    assert "1 of at most 2: zone 3" in facts
    document = json.loads(ok("info", disk, "--json").text)
    assert document["write_areas"] == [3]
    assert document["geometry"]["zrwa_size"] == 32 * KIB


def test_a_dry_run_knows_areas(disk: Path) -> None:
    ok("open", disk, "--zones", "1-2", "--zrwa")
    assert "zone 5" not in ok("open", disk, "--zones", "3", "--dry-run").text
    assert "2 zones have one already" in refused(
        "open", disk, "--zones", "3", "--zrwa", "--dry-run"
    )
    assert "explicit-open -> full" in ok("finish", disk, "--zones", "1", "--dry-run").text


def test_what_is_refused(disk: Path, tmp_path: Path) -> None:
    assert "zone 4 is refused: the zone has no random write area" in refused(
        "flush-zone", disk, "--zone", "4"
    )
    ok("open", disk, "--zones", "3", "--zrwa")
    assert "nothing was written in the random write area" in refused(
        "flush-zone", disk, "--zone", "3"
    )
    assert "multiple of 8192 bytes" in refused("flush-zone", disk, "--zone", "3", "--size", "4K")
    assert "zone 99 does not exist" in refused("flush-zone", disk, "--zone", "99")
    plain = tmp_path / "plain.img"
    ok("create", plain, "--size", "4MiB", "--zone-size", "256K", "--dialect", "zns")
    assert "zrwa_size of 0" in refused("open", plain, "--zones", "3", "--zrwa")
    assert "zrwa_size of 0" in refused("flush-zone", plain, "--zone", "3")
    assert "only the zones of zns" in refused("create", tmp_path / "x", "--zrwa-size", "32K")
