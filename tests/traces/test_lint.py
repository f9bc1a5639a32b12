"""Lint: what a host-managed disk would refuse, told by the disk itself; own and foreign traces."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from traces.workload import BLOCK, SHAPE, ZONE, refused
from waiting import PATIENCE
from zoned import TraceError, lint
from zoned.keywords import resolve_keywords
from zoned.traces.forms import Iolog, of_records
from zoned.traces.linting import zones_in_order

GEOMETRY = resolve_keywords(None, SHAPE)

IOLOG = """fio version 2 iolog
/dev/sdb add
/dev/sdb open
/dev/sdb write 2097152 8192
/dev/sdb write 2097152 4096
/dev/sdb write 3145728 4096
/dev/sdb write 3158016 4096
/dev/sdb sync 0 0
/dev/sdb trim 2097152 1048576
/dev/sdb write 2097152 4096
/dev/sdb trim 2097152 4096
/dev/sdb read 99999744 4096
/dev/sdb close
"""


def blk(number: int, time: str, rwbs: str, sector: int, count: int, device: str = "8,0") -> str:
    return f"  {device}    1 {number:>8}     {time}   697  D {rwbs:>3} {sector} + {count} [dd]\n"


BLKPARSE = (
    "  8,0    3        1     0.000000000   697  Q   W 4096 + 8 [dd]\n"
    + blk(2, "0.000000100", "W", 4096, 8)
    + blk(3, "0.000000200", "WS", 4112, 8)
    + blk(4, "0.000000300", "ZR", 4096, 2048)
    + blk(5, "0.000000400", "W", 4096, 8)
    + blk(6, "0.000000500", "ZO", 6144, 2048)
    + blk(7, "0.000000600", "ZF", 0, 2048)
    + blk(8, "0.000000700", "ZA", 8192, 8)
    + blk(9, "0.000000800", "ZRA", 0, 0)
    + "CPU0 (sda):\n Reads Queued:           1,        8KiB\n"
)


def found(report: zoned.LintReport) -> dict[str, tuple[int, int, list[tuple[int | None, int]]]]:
    return {
        item.rule: (item.count, item.first, zones_in_order(item))
        for item in report.refused.values()
    }


def test_iolog(tmp_path: Path) -> None:
    path = tmp_path / "x.iolog"
    path.write_text(IOLOG)
    report = lint(path, GEOMETRY)
    assert report.format == "iolog2"
    assert (report.commands, report.skipped, report.refusals) == (8, 1, 3)
    assert found(report) == {
        "unaligned-write": (2, 1, [(2, 1), (3, 1)]),
        "out-of-range": (1, 8, [(None, 1)]),
    }
    assert report.refused["unaligned-write"].sentence == (
        "write at 2097152 in zone 2 is not at its write pointer 2105344"
    )
    assert "1 trims or zone commands are not of one whole zone" in report.notes[0]
    assert not report.clean


@pytest.mark.parametrize("pack", ["plain", "gz", "name"])
def test_blkparse(tmp_path: Path, pack: str) -> None:
    path = tmp_path / ("x.gz" if pack == "name" else "x")
    path.write_bytes(BLKPARSE.encode() if pack == "plain" else gzip.compress(BLKPARSE.encode()))
    report = lint(path, GEOMETRY)
    assert report.format == "blkparse"
    assert report.commands == 8
    assert found(report) == {
        "unaligned-write": (1, 1, [(2, 1)]),
        "conventional-zone": (1, 5, [(0, 1)]),
    }


def test_blkparse_of_several_devices(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(BLKPARSE + blk(10, "0.1", "W", 4096, 8, device="8,16"))
    with pytest.raises(TraceError, match="several devices, such as 8,0 and 8,16: choose one"):
        lint(path, GEOMETRY)
    assert lint(path, GEOMETRY, device="8,16").commands == 1
    assert lint(path, GEOMETRY, device="8,0").commands == 8
    with pytest.raises(
        TraceError, match="'sda' is not what a blkparse trace calls one: write 8,16"
    ):
        lint(path, GEOMETRY, device="sda")
    with pytest.raises(TraceError, match=r"no command of the device asked for; .* of 8,0, 8,16$"):
        lint(path, GEOMETRY, device="8,32")
    assert lint(path, GEOMETRY, device="8,0", action="Q").commands == 1


@pytest.mark.parametrize("version", [2, 3])
def test_an_iolog_of_several_files(tmp_path: Path, version: int) -> None:
    """Each is a disk of its own: what two of them write at one place is no rewriting."""
    path = tmp_path / "x"
    lines = ["/dev/sdb add", "/dev/sdc add"]
    lines += [f"{name} write {2 * ZONE} 4096" for name in ("/dev/sdb", "/dev/sdc", "/dev/sdc")]
    times = "" if version == 2 else "7 "
    path.write_text(f"fio version {version} iolog\n" + "".join(f"{times}{x}\n" for x in lines))
    with pytest.raises(TraceError, match="such as /dev/sdb and /dev/sdc: choose one"):
        lint(path, GEOMETRY)
    assert lint(path, GEOMETRY, device="/dev/sdb").clean
    assert lint(path, GEOMETRY, device="/dev/sdc").refusals == 1
    with pytest.raises(
        TraceError, match=r"device asked for; there are some of /dev/sdb, /dev/sdc$"
    ):
        lint(path, GEOMETRY, device="sdb")


def test_an_own_trace_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        refused(zoned.UnalignedWriteError, dev.pwrite, bytes(BLOCK), 3 * ZONE + BLOCK)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(zoned.TraceCutError, match="cut off"):
        lint(path)
    report = lint(path, partial=True)
    assert report.refusals == 1 and report.cut is not None and "cut off" in report.cut


def test_an_own_trace_on_another_disk(tmp_path: Path) -> None:
    """What would be, if the disk had had fewer open zones or another rule book."""
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev:
        dev.append(9, bytes(BLOCK))
        with dev.trace.record(path):
            dev.open_zone(2, 2)
            dev.append(9, bytes(BLOCK))
            refused(zoned.ConventionalZoneError, dev.reset_zone, 0)
    assert found(lint(path)) == {"conventional-zone": (1, 3, [(0, 1)])}
    fewer = resolve_keywords(None, SHAPE | {"max_open": 1})
    assert found(lint(path, fewer))["too-many-open"] == (2, 1, [(3, 1), (9, 1)])
    smaller = resolve_keywords(None, SHAPE | {"size": 8 * ZONE})
    report = lint(path, smaller)
    assert found(report)["out-of-range"] == (1, 2, [(None, 1)])
    assert "here all begin empty" in report.notes[0]
    zns = resolve_keywords(
        None, SHAPE | {"dialect": "zns", "conventional": 0, "physical_block": 512}
    )
    assert lint(path, zns).clean


def test_as_json(tmp_path: Path) -> None:
    path = tmp_path / "x.iolog"
    path.write_text(IOLOG)
    told = json.loads(json.dumps(lint(path, GEOMETRY).as_json()))
    assert (told["lint"], told["format"], told["refused"]) == (1, "iolog2", 3)
    assert told["rules"][0]["zones"] == [{"zone": 2, "refused": 1}, {"zone": 3, "refused": 1}]


def test_what_cannot_be_judged(tmp_path: Path) -> None:
    path = tmp_path / "x.iolog"
    path.write_text(IOLOG)
    with pytest.raises(TraceError, match="does not tell which disk it is for"):
        lint(path)
    with pytest.raises(TraceError, match="there is no trace format 'vscsi'"):
        lint(path, GEOMETRY, form="vscsi")
    with pytest.raises(TraceError, match="not a trace of zoned"):
        lint(path, form="zoned")
    path.write_text("hello\nworld\n")
    with pytest.raises(TraceError, match="not a trace of a known format"):
        lint(path, GEOMETRY)
    path.write_text("")
    with pytest.raises(TraceError, match="the file is empty"):
        lint(path, GEOMETRY)


# ---------------------------------------------------------------- with the real fio


@pytest.fixture
def fio(needs: Callable[[str, bool, str], None]) -> str:
    program = shutil.which("fio")
    needs("fio", program is not None, "fio is not installed")
    assert program is not None
    return program


def run_fio(program: str, *arguments: object) -> dict[str, dict[str, int]]:
    """The one job of fio's report."""
    done = subprocess.run(
        [program, *map(str, arguments), "--output-format=json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    job: dict[str, dict[str, int]] = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    assert job["error"] == 0
    return job


@pytest.mark.parametrize("version", [2, 3])
def test_fio_replays_our_iolog(tmp_path: Path, fio: str, version: int) -> None:
    """Every read, write and sync of the trace, with its bytes."""
    trace, file, log = tmp_path / "x.trace", tmp_path / "raw", tmp_path / "x.iolog"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(trace):
        for zone in range(2, 5):
            dev.append(zone, bytes(16 * BLOCK))
            dev.pread(BLOCK, zone * ZONE)
        refused(zoned.UnalignedWriteError, dev.pwrite, bytes(BLOCK), 2 * ZONE)
        dev.flush()
        dev.reset_zone(2)
        dev.pwrite(bytes(BLOCK), 2 * ZONE)
    file.write_bytes(bytes(16 * ZONE))
    source = zoned.Trace(trace)
    iolog = Iolog(version, str(file), waits=True, trims=False)
    log.write_text("\n".join(iolog.lines(of_records(source, source))) + "\n")
    job = run_fio(fio, "--name=r", f"--read_iolog={log}", "--ioengine=psync")
    assert (job["write"]["total_ios"], job["write"]["io_bytes"]) == (4, 3 * 16 * BLOCK + BLOCK)
    assert (job["read"]["total_ios"], job["read"]["io_bytes"]) == (3, 3 * BLOCK)
    assert job["sync"]["total_ios"] == 1
    assert iolog.left_out == 2


def test_lint_of_what_fio_wrote(tmp_path: Path, fio: str) -> None:
    """Sequential writes pass; random ones are refused but where they happen to be at a write pointer."""
    for pattern, clean in (("write", True), ("randwrite", False)):
        log = tmp_path / f"{pattern}.iolog"
        run_fio(
            fio,
            *("--name=w", f"--filename={tmp_path / 'raw'}", "--size=3M", f"--rw={pattern}"),
            *("--bs=64k", f"--write_iolog={log}", "--ioengine=psync", "--randseed=1"),
        )
        shape = SHAPE | {"conventional": 0, "zone_capacity": ZONE}
        report = lint(log, resolve_keywords(None, shape))
        assert report.format == "iolog3"
        assert report.commands == 48
        assert report.clean is clean
        assert set(report.refused) <= {"unaligned-write"}
