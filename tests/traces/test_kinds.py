"""``trace show``, ``replay``, ``lint`` and ``bench --trace`` take the same kinds of trace."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import zoned
from cli.shell import inside, ok, refused
from traces.workload import BLOCK, SHAPE, ZONE
from zoned.bench.fiofile import Plan
from zoned.bench.jobs import Job
from zoned.bench.runner import execute
from zoned.drives.models import drives, null_model
from zoned.traces.sources import ALL_FORMATS, ForeignSource, open_source

# Each asks for the same, but that some have no zone commands and CSV knows of no flush: 16 KiB into
# zone 2 and a read of the first 4 KiB of them.
AT = 2 * ZONE
KINDS = {
    "iolog2": f"fio version 2 iolog\n/d add\n/d open\n/d write {AT} 16384\n/d read {AT} 4096\n/d close\n",
    "iolog3": f"fio version 3 iolog\n0 /d add\n0 /d open\n0 /d write {AT} 16384\n1 /d read {AT} 4096\n1 /d close\n",
    "blkparse": (
        f"  8,0    1        1     0.000000100   697  D   W {AT // 512} + 32 [dd]\n"
        f"  8,0    1        2     0.000100000   697  D   R {AT // 512} + 8 [dd]\n"
    ),
    "msr": (
        f"128166372003061629,hm,1,Write,{AT},16384,413\n128166372016382155,hm,1,Read,{AT},4096,1082\n"
    ),
    "alibaba": f"0,W,{AT},16384,1577808000000046\n0,R,{AT},4096,1577808000000151\n",
    "tencent": f"1538323200,{AT // 512},32,1,1063\n1538323201,{AT // 512},8,0,1063\n",
}
GEOMETRY = ["--size", "16MiB", "--zone-size", "1MiB", "--conventional", "2"]


@pytest.fixture(params=["zoned", *KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def trace(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / f"x.{kind}"
    if kind == "zoned":
        return recorded(path)
    path.write_text(KINDS[kind])
    return path


def recorded(path: Path) -> Path:
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.pwrite(bytes(4 * BLOCK), AT)
        dev.pread(BLOCK, AT)
    return path


def test_every_kind_is_tried() -> None:
    assert {"zoned", *KINDS} == set(ALL_FORMATS)


@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_the_file_tells_its_kind(kind: str, trace: Path, pack: str) -> None:
    if pack == "gzip":
        trace.write_bytes(gzip.compress(trace.read_bytes()))
    assert open_source(trace).format == kind
    assert open_source(trace, kind).format == kind


def test_show(kind: str, trace: Path, tmp_path: Path) -> None:
    lines = ok("trace", "show", trace).lines
    assert len(lines) == 3
    assert f"write of 16384 bytes at {AT}" in lines[1]
    assert f"read of 4096 bytes at {AT}" in lines[2]
    assert ("in zone 2: ok" in lines[1]) == (kind == "zoned"), "others tell no zones and no results"
    parsed = [json.loads(line) for line in ok("trace", "show", trace, "--format", "json").lines]
    assert [one.get("command") for one in parsed[1:3]] == ["write", "read"]
    assert [one.get("length") for one in parsed[1:3]] == [16384, 4096]
    assert ok("trace", "show", trace, "--from", kind).lines == lines
    summary = ok("trace", "show", trace, "--summary").lines
    assert "  write: 1, 16384 bytes" in summary
    counts = json.loads(ok("trace", "show", trace, "--summary", "--format", "json").text)
    assert counts["commands"] == {"write": 1, "read": 1}
    assert counts["bytes"] == {"write": 16384, "read": 4096}
    again = tmp_path / "again.iolog"
    again.write_text("\n".join(ok("trace", "show", trace, "--format", "iolog").lines) + "\n")
    written = open_source(again)
    assert isinstance(written, ForeignSource)
    assert [str(one) for one in written.listed()] == [
        f"write of 16384 bytes at {AT}",
        f"read of 4096 bytes at {AT}",
    ]


def test_show_of_what_others_do_not_tell(kind: str, trace: Path) -> None:
    if kind == "zoned":
        assert ok("trace", "show", trace, "--errors", "--zones", "2").lines[1:] == []
        return
    assert f"a trace of format {kind} does not tell which commands failed" in refused(
        "trace", "show", trace, "--errors", status=2
    )
    assert f"a trace of format {kind} does not tell which zones there are" in refused(
        "trace", "show", trace, "--zones", "2", status=2
    )


def test_replay(kind: str, trace: Path, tmp_path: Path) -> None:
    """The commands are given one by one, to a disk in RAM or to an image."""
    shape = [] if kind == "zoned" else GEOMETRY
    done = ok("trace", "replay", trace, "--memory", "-v", *shape)
    assert "2 commands given, 0 of them refused" in done.text + done.err
    image = tmp_path / "disk.img"
    zoned.create(image, **SHAPE).close()
    ok("trace", "replay", trace, image, "-f")
    with zoned.open(image) as dev:
        assert dev.zones[2].wp == AT + 16384
        assert dev.pread(BLOCK, AT) != bytes(BLOCK), "a pattern"
        dev.finish_zone(2)
    again = inside("trace", "replay", trace, image, "-f", "-v")
    if kind == "zoned":
        assert "not in the state in which the recording began" in again.err
    else:
        assert "1 of them refused" in again.text + again.err, "the disk is taken as it is"


def test_a_dry_replay_changes_nothing(trace: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    zoned.create(image, **SHAPE).close()
    ok("trace", "replay", trace, image, "--dry-run")
    with zoned.open(image) as dev:
        assert dev.zones[2].wp == AT


def test_compare(kind: str, trace: Path) -> None:
    if kind == "zoned":
        assert "no difference" in ok("trace", "replay", trace, "--memory", "--compare").text
        return
    said = refused("trace", "replay", trace, "--memory", "--compare", *GEOMETRY, status=2)
    assert f"a trace of format {kind} tells no results" in said
    with zoned.memory(**SHAPE) as dev, pytest.raises(ValueError, match="tells no results"):
        zoned.replay(open_source(trace), dev)


def test_a_geometry_must_come_from_somewhere(kind: str, trace: Path) -> None:
    if kind == "zoned":
        return
    for command in (["replay", trace, "--memory"], ["lint", trace]):
        assert "does not tell which disk it is for" in refused("trace", *command, status=2)


def test_lint(kind: str, trace: Path) -> None:
    shape = [] if kind == "zoned" else GEOMETRY
    assert "0 of 2 commands would be refused" in ok("trace", "lint", trace, *shape).lines[0]


@pytest.mark.parametrize(
    "command", [["show"], ["replay", "--memory"], ["lint"]], ids=lambda c: c[0]
)
def test_kinds_that_there_are_not(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(KINDS["msr"])
    said = refused("trace", *command, path, "--from", "vscsi", status=2)
    assert f"--from is 'vscsi': it must be one of {', '.join(ALL_FORMATS)}" in said
    assert "a trace of zoned is of one disk" in refused(
        "trace", *command, recorded(tmp_path / "y"), "--device", "8,0"
    )
    both = tmp_path / "both"
    both.write_text(KINDS["blkparse"] + KINDS["blkparse"].replace("8,0", "8,16"))
    if command != ["show"]:
        assert "commands of several devices, such as 8,0 and 8,16: choose one" in refused(
            "trace", *command, both, *GEOMETRY
        )
        command = [*command, *GEOMETRY]
    assert ok("trace", *command, both, "--device", "8,16").status == 0


@pytest.mark.parametrize("straight", [[], ["--straight"]], ids=["log", "straight"])
def test_bench(kind: str, trace: Path, straight: list[str]) -> None:
    words = ["bench", "--trace", trace, "--trace-format", kind, "--quiet", "--format", "json"]
    if not straight:
        words += ["--set", "zones=32", "--set", "bs=4KiB"]
    elif kind != "zoned":  # AT is the start of no zone there: a drive that takes any write
        words += ["--straight", "--profile", drives()[0]]
    else:
        words += straight
    job = json.loads(ok(*words).text)["jobs"][0]
    assert (job["write"]["io_kbytes"], job["read"]["io_kbytes"]) == (16, 4)


def run(path: Path, straight: bool = True, **keywords: object) -> dict[str, Any]:
    words = ["bench", "--trace", path, "--format", "json", *(["--straight"] if straight else [])]
    for name, value in keywords.items():
        words += [f"--{name}", str(value)]
    return json.loads(ok(*words, "--quiet").text)["jobs"][0]


def test_bench_of_every_command_of_a_recording(tmp_path: Path) -> None:
    """Straight, appends and zone commands go to the zones that they were of, which the disk's own
    rules would refuse in another order or place; what the disk refused is left out.
    """
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.pwrite(bytes(8 * BLOCK), 3 * ZONE)  # before: the drive must begin so
        dev.open_zone(5)
        dev.finish_zone(6)
        dev.pwrite(bytes(BLOCK), 7 * ZONE)
        dev.close_zone(7)
        with dev.trace.record(path):
            dev.pwrite(bytes(BLOCK), 3 * ZONE + 8 * BLOCK)
            dev.append(7, bytes(2 * BLOCK))
            with pytest.raises(zoned.ZoneFullError):
                dev.append(6, bytes(BLOCK))
            dev.reset_zone(6)
            dev.append(6, bytes(2 * BLOCK))
            dev.close_zone(5)
            dev.open_zone(8)
            dev.close_all()
            dev.finish_zone(3)
            dev.flush()
            dev.reset_all()
            dev.pwrite(bytes(BLOCK), 3 * ZONE)
            dev.power_cycle()
    job = run(path)
    assert job["write"]["total_ios"] == 4
    assert job["write"]["io_kbytes"] == 4 * 6
    # reset, close, open, finish; close_all of 6, 7 and 8 (8 has nothing in it: it is open), reset_all of 3, 6 and 7
    assert job["trim"]["total_ios"] == 4 + 3 + 3
    notes = ok("bench", "--trace", path, "--straight").text
    assert "trace: 11 commands of a recording of zoned's own" in notes
    assert "left out: 1 command refused or failed" in notes
    assert "left out: 1 command of no drive's time, such as a power cut" in notes
    through = run(path, straight=False, set="zones=32")
    assert (through["write"]["total_ios"], through["trim"]["total_ios"]) == (4, 0)


def test_bench_of_a_recording_obeys_the_rules(tmp_path: Path) -> None:
    """The zones begin as they did: a write at no write pointer stays one."""
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.pwrite(bytes(8 * BLOCK), 3 * ZONE)
        with dev.trace.record(path):
            dev.pwrite(bytes(BLOCK), 3 * ZONE + 8 * BLOCK)
    told = open_source(path).feed(True)
    geometry = zoned.Trace(path).geometry
    plan = Plan([Job("t", kind="trace", size=geometry.size)])
    assert execute(plan, geometry, null_model(), 1, trace=told).jobs[0].rule == ""
    told.before = ()
    assert execute(plan, geometry, null_model(), 1, trace=told).jobs[0].rule == "unaligned-write"


def test_bench_of_a_recording_that_was_cut_off(tmp_path: Path) -> None:
    path = recorded(tmp_path / "x.trace")
    path.write_bytes(path.read_bytes()[:-5])
    done = inside("bench", "--trace", path, "--straight")
    assert done.status == 1
    assert "cut off in the middle of an item" in done.err
    assert "Write" in done.text or "write" in done.text, "what was there was replayed"


def test_bench_of_zone_commands_that_linux_traced(tmp_path: Path) -> None:
    """blkparse's zone commands, too: without the reset the second write would be refused."""
    lines = [("W", 0, 8), ("ZR", 0, 2048), ("W", 0, 8), ("ZRA", 0, 0), ("W", 0, 8), ("ZA", 0, 8)]
    text = "".join(
        f"  8,0    1 {at + 1:>8}     0.{at:09}   697  D {name:>3} {4096 + sector} + {count} [dd]\n"
        for at, (name, sector, count) in enumerate(lines)
    )
    path = tmp_path / "x"
    path.write_text(text)
    geometry = zoned.memory(**SHAPE)
    with geometry as dev:
        plan = Plan([Job("t", kind="trace", size=dev.geometry.size)])
        result = execute(plan, dev.geometry, null_model(), 1, trace=open_source(path).feed(True))
    assert result.jobs[0].rule == ""
    assert (result.total(1).count, result.total(2).count) == (4, 2)
