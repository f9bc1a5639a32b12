"""``report`` and ``capacity``: filters, json, csv, text, and reports of whole drives."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from cli.shell import COMMAND, environment, every_condition, inside, ok, refused
from refusals import refusals


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with zoned.create(path, max_open=6) as device:
        every_condition(device, 2)
        device.pwrite(bytes(4096), device.geometry.zone_start(10))
        device.set_condition(10, "read-only")
        device.set_condition(11, "offline")
    return path


def numbers(*args: object) -> list[int]:
    """The zones of a report, by its CSV."""
    return [
        int(row["zone"])
        for row in csv.DictReader(io.StringIO(ok("report", *args, "--format", "csv").text))
    ]


def test_text(disk: Path) -> None:
    lines = ok("report", disk).lines
    assert lines[0].split() == [
        "ZONE",
        "START",
        "LENGTH",
        "CAPACITY",
        "WRITTEN",
        "CONDITION",
        "TYPE",
    ]
    assert len(lines) == 17
    assert lines[1].split() == ["0", "0", "4", "MiB", "4", "MiB", "-", "not-wp", "conventional"]
    assert lines[5].split()[-3:] == ["12288", "explicit-open", "seq-write-required"]
    assert lines[7].split()[-3:] == ["4194304", "full", "seq-write-required"]
    assert lines[11].split()[-3:] == ["-", "read-only", "seq-write-required"]
    assert "\x1b" not in "".join(lines)


def test_json_is_versioned_one_object_a_line(disk: Path) -> None:
    head, *zones = [json.loads(line) for line in ok("report", disk, "--format", "jsonl").lines]
    with zoned.open(disk, readonly=True) as device:
        report = list(device.report())
        assert head == {
            "report": 1,
            "image": str(disk),
            "uuid": str(device.info().uuid),
            "size": 64 << 20,
            "zone_size": 4 << 20,
            "zones": 16,
        }
    assert len(zones) == 16
    for got, zone in zip(zones, report, strict=True):
        assert got == {
            "zone": zone.index,
            "start": zone.start,
            "length": zone.length,
            "capacity": zone.capacity,
            "wp": zone.wp,
            "durable_wp": zone.durable_wp,
            "type": zone.type.name.lower().replace("_", "-"),
            "condition": zone.condition.name.lower().replace("_", "-"),
            "non_seq": zone.non_seq,
            "reset_recommended": zone.reset_recommended,
        }


def test_csv(disk: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(ok("report", disk, "--format", "csv").text)))
    assert [row["zone"] for row in rows] == [str(zone) for zone in range(16)]
    assert rows[0]["wp"] == "" and rows[0]["type"] == "conventional"
    assert rows[4]["wp"] == str(16777216 + 12288) and rows[4]["condition"] == "explicit-open"
    assert rows[10]["condition"] == "read-only" and rows[11]["condition"] == "offline"


def test_host_aware_flags_in_every_format(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, model="host-aware", conventional=0) as device:
        device.pwrite(bytes(8192), 0)
        device.pwrite(bytes(4096), 0)
        device.pwrite(bytes(4 << 20), 4 << 20)
        device.pwrite(bytes(4096), 4 << 20)
    blkzone = ok("report", path, "--format", "blkzone").lines
    assert "reset:0 non-seq:1, zcond: 2(oi) [type: 3(SEQ_WRITE_PREFERRED)]" in blkzone[0]
    assert "reset:1 non-seq:1, zcond:14(fu) [type: 3(SEQ_WRITE_PREFERRED)]" in blkzone[1]
    zbd = ok("report", path, "--format", "zbd").lines
    assert zbd[1].startswith("00000, 3, ") and zbd[1].endswith("0x2, 1, 0")
    assert zbd[2].endswith("0xe, 1, 1")
    text = ok("report", path, "-c", "2").lines
    assert text[1].endswith("seq-write-preferred non-seq")
    assert text[2].endswith("seq-write-preferred non-seq reset-recommended")
    assert numbers(path, "--type", "swp") == list(range(16))
    assert numbers(path, "--type", "swr") == []


@pytest.mark.parametrize(
    ("options", "zones"),
    [
        (["--condition", "not-wp"], [0, 1]),
        (["--condition", "em"], [9, 12, 13, 14, 15]),
        (["--condition", "oi,oe"], [3, 4, 8]),
        (["--condition", "implicit-open", "--condition", "EXPLICIT_OPEN"], [3, 4, 8]),
        (["--condition", "closed"], [2]),
        (["--condition", "fu"], [5, 6, 7]),
        (["--condition", "ro,ol"], [10, 11]),
        (["--type", "cnv"], [0, 1]),
        (["--type", "seq-write-required", "--condition", "nw"], []),
        (["--zones", "12,3-5"], [3, 4, 5, 12]),
        (["-z", "0-15", "--condition", "cl,ro"], [2, 10]),
        (["-o", "0x4001", "-c", "2"], [2, 3]),
        (["--offset", "16384", "--length", "8193"], [2, 3]),
        (["-o", "120K"], [15]),
        (["-c", "0x3"], [0, 1, 2]),
    ],
)
def test_filters(disk: Path, options: list[str], zones: list[int]) -> None:
    assert numbers(disk, *options) == zones


@refusals(
    {
        1: {
            "--zones 16": "zone 16 does not exist: the disk has zones 0 to 15",
            "-o 0x20000": "offset 131072 is not on the disk, which has 131072 sectors",
        },
        2: {
            "--zones 7-3": "runs backwards",
            "--zones x": "write zones like 3-7,12",
            "--zones ''": "not a zone",
            "--condition foo": "'foo' is not a zone condition: use not-wp (nw), empty (em)",
            "--type em": "'em' is not a zone type",
            "-c 1 -l 1": "-l (--length) and -c (--count) exclude each other",
            "--zones 1 -c 1": "--zones and -c exclude each other",
            "-o 1e3": "is not a number of 512-byte sectors",
            "-o -1": "out of range",
            f"-o {2**64}": "out of range",
            f"-c {2**32}": "out of range",
            "-c 1.5": "is not a number of zones",
            "--format xml": "'xml' is not one of",
        },
    }
)
def test_bad_options(disk: Path, options: list[str], status: int, told: str) -> None:
    assert told in refused("report", disk, *options, status=status)


def test_huge_numbers_reach_the_end_and_no_further(disk: Path) -> None:
    largest = str(2**64 - 1)
    assert numbers(disk, "-o", "0x1e000", "-l", largest) == [15]
    assert numbers(disk, "-o", "0x1c000", "-c", str(2**32 - 1)) == [14, 15]
    assert "is not on the disk" in refused("report", disk, "-o", largest)


def test_capacity_of_short_and_uneven_zones(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(
        path, size="63MiB", zone_size="5MiB", zone_capacity="3MiB", conventional="0,12"
    ).close()
    total = 5 + 11 * 3 + 3  # zone 12 is conventional and has the last 3 MiB
    assert ok("capacity", path).lines == [f"0x{total << 11:09x}"]
    assert ok("capacity", path, "--zones", "0-1,12").lines == [f"0x{11 << 11:09x}"]
    assert ok("capacity", path, "-o", "1", "-c", "2").lines == [f"0x{8 << 11:09x}"]


#: Runs a command and says its peak memory; itself small, as a child's peak begins with its parent's.
MEASURE = (
    "import resource, subprocess, sys\n"
    "status = subprocess.run(sys.argv[1:], check=False).returncode\n"
    "print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
)


@pytest.mark.parametrize("form", ["blkzone", "zbd", "csv", "json", "jsonl", "text"])
def test_a_whole_drive_in_little_memory(tmp_path: Path, form: str) -> None:
    """104,312 zones: the report is complete, and the process stays below 100 MiB."""
    path = tmp_path / "disk.img"
    zoned.create(path, profile="hc680").close()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *COMMAND, "report", str(path), "--format", form],
        capture_output=True,
        env=environment(),
        check=True,
    )
    status, peak = map(int, done.stderr.split())
    assert status == 0
    assert done.stdout.count(b"\n") == 104312 + (form != "blkzone") + (form == "json")
    # AddressSanitizer's shadow and quarantine are no memory of the report's.
    limit = 1024 if os.environ.get("ZONED_SANITIZED") else 100
    assert peak < limit * 1024, f"{peak} KiB"


def test_a_disk_in_use_is_reported(disk: Path) -> None:
    """Another handle's changes show without a flush."""
    with zoned.open(disk) as device:
        device.pwrite(bytes(8192), device.geometry.zone_start(12))
        assert numbers(disk, "--condition", "oi") == [8, 12]
    assert inside("report", disk, "--zones", "12", "--format", "zbd").lines[1].split(", ")[
        5
    ] == str((12 << 22) + 8192).zfill(14)


def test_json_is_one_document(disk: Path) -> None:
    lines = [json.loads(line) for line in ok("report", disk, "--format", "jsonl").lines]
    document = json.loads(ok("report", disk, "--format", "json").text)
    assert document["report"] == 2 and document["nr_zones"] == lines[0]["zones"] == 16
    assert document["zones"] == lines[1:]
    assert document["uuid"] == lines[0]["uuid"]
    nothing = json.loads(ok("report", disk, "--type", "swp", "--format", "json").text)
    assert nothing["zones"] == []


@pytest.mark.parametrize("form", ["blkzone", "zbd", "csv", "json", "jsonl", "text"])
def test_ten_million_zones_show_their_first_lines_in_little_memory(
    tmp_path: Path, form: str
) -> None:
    """The reader goes away after some lines: neither the zones before them nor the others cost memory."""
    path = tmp_path / "disk.img"
    size = 10_000_000 * 65536
    zoned.create(path, size=size, zone_size="64KiB", conventional=0, host_sync="never").close()
    child = subprocess.Popen(
        [sys.executable, "-c", MEASURE, *COMMAND, "report", str(path), "--format", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdout is not None and child.stderr is not None
    first = child.stdout.readline()
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    child.wait()
    status, peak = map(int, said.split())
    assert first and status == 141
    limit = 1024 if os.environ.get("ZONED_SANITIZED") else 100
    assert peak < limit * 1024, f"{peak} KiB"
