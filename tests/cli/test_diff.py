"""``diff`` and `zoned.reportdiff`: images and saved reports side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import zoned
from cli.shell import DATA, every_condition, inside, ok, refused
from zoned import reportdiff

FORMATS = ["json", "jsonl", "csv", "zbd", "blkzone"]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with zoned.create(path, max_open=6) as device:
        every_condition(device, 2)
        device.set_condition(12, "ro")
        device.set_condition(13, "of")
    return path


def test_the_same(disk: Path, tmp_path: Path) -> None:
    assert ok("diff", disk, disk).out == b""
    for form in FORMATS:
        saved = tmp_path / form
        saved.write_bytes(ok("report", disk, "--format", form).out)
        assert ok("diff", saved, disk).out == b""
        assert ok("diff", disk, "-", stdin=saved.read_bytes()).out == b""
        for other in FORMATS:
            assert (
                ok("diff", saved, "-", stdin=ok("report", disk, "--format", other).out).out == b""
            )


@pytest.mark.parametrize("form", [*FORMATS, "image"])
def test_what_differs(disk: Path, tmp_path: Path, form: str) -> None:
    before = tmp_path / "before"
    if form == "image":
        before.write_bytes(disk.read_bytes())
    else:
        before.write_bytes(ok("report", disk, "--format", form).out)
    with zoned.open(disk) as device:
        device.reset_zone(4)
        device.pwrite(bytes(4096), device.geometry.zone_start(9))
        device.finish_zone(10)
        device.set_condition(13, "em")
    done = inside("diff", before, disk)
    assert (done.status, done.err) == (1, "")
    assert done.lines == [
        "zone 4: wp 16789504 -> 16777216, condition explicit-open -> empty",
        "zone 9: wp 37748736 -> 37752832, condition empty -> implicit-open",
        "zone 10: wp 41943040 -> none, condition empty -> full",
        "zone 13: wp none -> 54525952, condition offline -> empty",
    ]
    head, *objects = [
        json.loads(line) for line in inside("diff", before, disk, "--format", "jsonl").lines
    ]
    assert head == {"diff": 1, "first": str(before), "second": str(disk)}
    assert objects[2] == {
        "zone": 10,
        "start": 41943040,
        "only": None,
        "fields": {"wp": [41943040, None], "condition": ["empty", "full"]},
    }
    done = inside("diff", before, disk, "-q")
    assert (done.status, done.out, done.err) == (1, b"", "")


def test_zones_on_one_side_only(disk: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(ok("report", disk, "--zones", "1-14", "--format", "csv").out)
    done = inside("diff", part, disk)
    assert done.status == 1
    assert done.lines == [
        "zone 0 (start 0): only in the second report",
        "zone 15 (start 62914560): only in the second report",
    ]
    done = inside("diff", disk, part, "--format", "jsonl")
    assert [json.loads(line).get("only") for line in done.lines] == [None, "left", "left"]


def test_other_geometry_differs_in_length_and_capacity(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    zoned.create(other, zone_capacity="3MiB", size="60MiB").close()
    lines = inside("diff", disk, other).lines
    assert "zone 11: capacity 4194304 -> 3145728" in lines
    assert "zone 15 (start 62914560): only in the first report" in lines


@pytest.mark.parametrize("name", ["nullblk", "nullblk-capacity", "nullblk-last", "scsi-debug"])
def test_real_tools_reports_of_one_disk_are_the_same(name: str) -> None:
    """What blkzone and what zbd printed for one real kernel's disk."""
    done = inside("diff", DATA / f"{name}.blkzone", DATA / f"{name}.zbd")
    assert (done.status, done.out, done.err) == (0, b"", "")


def test_newer_blkzone_and_its_verbose_output() -> None:
    """wptr N/A as later versions print it, and the lines of blkzone -v."""
    old = (DATA / "nullblk.blkzone").read_text().splitlines(keepends=True)
    new = ["Found 16 zones from 0x0\n"]
    for line in old:
        valid = not any(short in line for short in ("(nw)", "(fu)", "(ro)", "(of)"))
        new.append(line if valid else re.sub(r"wptr 0x[0-9a-f]+", "wptr N/A", line))
    assert len(list(reportdiff.parse(new))) == 16
    assert list(reportdiff.compare(reportdiff.parse(old), reportdiff.parse(new))) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello\n", "standard input is neither a disk image nor a saved report"),
        ('{"report": 2}\n', "line 1: not a line of a JSON report (it has version 2"),
        ("{}\n", "standard input, line 1: 'report' is missing or unknown"),
        ('{"report": 1}\n{"zone": 1}\n', "line 2: 'start' is missing or unknown"),
        ('{"report": 1}\n[1]\n', "line 2: not a line of a JSON report"),
        ('{"report": 1}\n{"zone": 1,\n', "line 2: not a line of a JSON report"),
        (
            "zone,start,length,capacity,wp,type,condition,non_seq,reset_recommended\n1,2,3\n",
            "line 2: not a line of a CSV report",
        ),
        (
            "zone,start,length,capacity,wp,type,condition,non_seq,reset_recommended\n0,0,1,1,,swr,x,0,0\n",
            "line 2: 'swr' is unknown",
        ),
        (
            "zone num, type, ofst, len, cap, wp, cond, non_seq, reset\n0, 9, 0, 1, 1, 0, 0x0, 0, 0\n",
            "line 2: not a line of zbd's report (zone type 9 is unknown)",
        ),
        ("  start: 0x000000000, len 0x00\n", "is neither a disk image nor a saved report"),
        (
            (DATA / "nullblk.blkzone").read_text()[:200],
            "standard input, line 2: not a line of blkzone's report",
        ),
        (
            (DATA / "nullblk.blkzone").read_text() * 2,
            "zone 0 at 0 comes after one at 62914560; zones must ascend",
        ),
    ],
)
def test_damaged_reports(disk: Path, text: str, told: str) -> None:
    done = inside("diff", disk, "-", stdin=text.encode())
    assert done.status == 2
    assert told in done.err
    assert done.err.count("\n") == 1


def test_trouble(disk: Path, tmp_path: Path) -> None:
    assert "No such file" in refused("diff", disk, tmp_path / "no", status=2)
    assert "only one of the two" in refused("diff", "-", "-", status=2)
    damaged = tmp_path / "damaged.img"
    damaged.write_bytes(disk.read_bytes()[:6000])
    assert str(damaged) in refused("diff", disk, damaged, status=2)
    assert "Is a directory" in refused("diff", disk, tmp_path, status=2)


def test_library_is_lazy() -> None:
    """Reports are walked side by side, never held."""

    def endless(wp: int) -> object:
        at = 0
        while True:
            yield reportdiff.ReportZone(at, at << 20, 1 << 20, 1 << 20, wp, 2, 4, False, False)
            at += 1

    differences = reportdiff.compare(endless(1), endless(2))
    for number in range(1000):
        assert next(differences).index == number


def test_a_smaller_last_zone_saved_alone(tmp_path: Path) -> None:
    """blkzone does not number zones, and the length of this one is not that of the others."""
    path, saved, later = tmp_path / "disk.img", tmp_path / "saved", tmp_path / "later"
    with zoned.create(path, size="62MiB", zone_size="4MiB", conventional=0) as device:
        assert device.geometry.nr_zones == 16
    form = ("--zones", "15", "--format", "blkzone")
    saved.write_bytes(ok("report", path, *form).out)
    with zoned.open(path) as device:
        device.pwrite(bytes(4096), device.geometry.zone_start(15))
    only = [f"zone {at} (start {at * 4 << 20}): only in the second report" for at in range(15)]
    told = "wp 62914560 -> 62918656, condition empty -> implicit-open"
    assert inside("diff", saved, path).lines == [*only, f"zone 15: {told}"]
    assert inside("diff", path, saved).lines[15].startswith("zone 15: wp")
    later.write_bytes(ok("report", path, *form).out)
    assert inside("diff", saved, later).lines == [f"zone (start 62914560): {told}"]
    objects = inside("diff", saved, later, "--format", "jsonl").lines
    assert json.loads(objects[1])["zone"] is None
    two = tmp_path / "two"
    two.write_bytes(ok("report", path, "--zones", "13,15", "--format", "blkzone").out)
    assert inside("diff", saved, two).lines[1] == f"zone 15: {told}"
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert inside("diff", two, empty).lines == [
        f"zone {at} (start {at * 4 << 20}): only in the first report" for at in (13, 15)
    ]


def test_json_is_one_document(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(disk.read_bytes())
    with zoned.open(other) as device:
        device.reset_zone(4)
    done = inside("diff", disk, other, "--format", "json")
    document = json.loads(done.text)
    assert (done.status, document["diff"], document["second"]) == (1, 2, str(other))
    assert [item["zone"] for item in document["differences"]] == [4]
    assert json.loads(ok("diff", disk, disk, "--format", "json").text)["differences"] == []


def test_a_document_that_is_cut_off_or_goes_on_is_refused(disk: Path) -> None:
    text = ok("report", disk, "--format", "json").text
    cut = text.removesuffix("]}\n").encode()
    told = refused("diff", disk, "-", stdin=cut, status=2)
    assert "line 17: the JSON report is cut off here" in told
    told = refused("diff", disk, "-", stdin=text.encode() + b"{}\n", status=2)
    assert "the document has ended before" in told
