"""Files that somebody else made: every reader ends soon, within its limits, in an error of its own."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoned
from sim.helpers import disk
from traces.workload import SHAPE, every_command
from zoned import inputs, reportdiff
from zoned._core.looking import report_rows
from zoned.bench import compare, fiofile, sweep
from zoned.bench.fiofile import FioError
from zoned.bench.patterns import PatternError, find
from zoned.drives import models, profiles
from zoned.drives.profiles import ProfileError
from zoned.faults import FaultError, parse_plan, read_plan
from zoned.geometry import GeometryError
from zoned.inputs import InputError
from zoned.plaintext import csv_cell, printable, printable_json
from zoned.traces.foreign import FORMATS, BlockTrace
from zoned.traces.linting import lint
from zoned.traces.packed import TraceError
from zoned.traces.replaying import replay

if TYPE_CHECKING:
    from zoned.bench import Job

SOON = 60.0
"""Seconds. What hung here would have run for minutes to centuries; the slowest takes about three."""

SECRET = "root:$6$saltsalt$0123456789:19000:0:99999:7:::"

PROFILE = b'description = "mine"\n[geometry]\nsize = "16MiB"\nzone_size = "1MiB"\nmax_open = 4\nconventional = [[0, 1]]\n'
MODEL = PROFILE + b'[model]\nkind = "null"\n[model.null]\ncommand_us = 3\n'
PLAN = (
    b'[[fault]]\nkind = "torn"\non = "write,append"\nzones = "3-7"\nblocks = 1\nprobability = 0.5\n'
    b'[[fault]]\nkind = "latency"\nlatency = "50ms"\nrange = [0, 4096]\nlabel = "slow"\n'
)
SWEEP = (
    b'folder = "results"\nseeds = [1, 2]\npatterns = ["random-zones"]\nprofiles = ["hc620"]\n'
    b'[parameters]\nbs = ["64KiB", "256KiB"]\nseconds = [2]\n[model]\n"hdd.cache_entries" = [16, 128]\n'
)
JOBS = b"[global]\nzonemode=zbd\ndirect=1\nbs=64k\n[a]\nrw=randrw:4\nsize=8z\nnumjobs=2\nrate=1m,2m\n[b]\nstonewall\nrw=read\nruntime=3s\n"
RESULT = json.dumps(
    {
        "jobs": [
            {
                "jobname": "a",
                "write": {
                    "total_ios": 3,
                    "iops": 3.5,
                    "bw_bytes": 4096,
                    "clat_ns": {"mean": 3.0, "percentile": {"99.000000": 5}},
                },
                "write_amplification": 1.5,
            }
        ],
        "zoned": {"limit": "the host"},
    }
).encode()


@contextlib.contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


def load_grid(path: Path) -> object:
    return sweep.load(path)


READERS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "profile": (profiles.load, PROFILE),
    "drive": (models.load_drive, MODEL),
    "plan": (read_plan, PLAN),
    "sweep": (load_grid, SWEEP),
    "job file": (lambda path: fiofile.load(path, disk()), JOBS),
    "result": (compare.load, RESULT),
    "block trace": (
        lambda path: list(BlockTrace(path).records()),
        b"fio version 2 iolog\n/d write 0 4096\n",
    ),
    "trace": (lambda path: list(zoned.Trace(path)), b""),
    "lint": (lambda path: lint(path, disk()), b"fio version 2 iolog\n/d write 0 4096\n"),
}


# ------------------------------------------------------------------------------------- kinds of file


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["fifo", "zero", "link to a fifo", "folder", "nothing", "huge"])
def test_only_regular_files_of_a_known_size_are_read(name: str, kind: str, tmp_path: Path) -> None:
    """A FIFO that nobody writes to would have been waited for, and /dev/zero read for ever."""
    read = READERS[name][0]
    path = tmp_path / "x.toml"
    if "fifo" in kind:
        target = tmp_path / "pipe" if "link" in kind else path
        os.mkfifo(target)
        if target != path:
            path.symlink_to(target)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    error = {"folder": IsADirectoryError, "nothing": FileNotFoundError}.get(kind, InputError)
    with soon(), pytest.raises(error) as caught:
        read(path)
    if kind in ("fifo", "zero"):
        assert (
            f"it is {'a pipe' if kind == 'fifo' else 'a device'}, and must be a regular file"
            in str(caught.value)
        )
    if error is InputError:
        assert path.name in str(caught.value)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(ProfileError, match="no file can have such a name"):
        profiles.load("a\0b.toml")


def test_a_file_may_be_as_large_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    fill = b"#" * (inputs.MOST_TOML - len(PROFILE) - 1) + b"\n"
    path.write_bytes(fill + PROFILE)
    assert profiles.load(path).description == "mine"
    path.write_bytes(fill + PROFILE + b"\n")
    with pytest.raises(ProfileError, match="larger than 1 MiB, the most that is read"):
        profiles.load(path)


# ------------------------------------------------------------------------------------------ nesting

DEEP = {
    "dotted key": b"a" + b".a" * 50_000 + b" = 1\n",
    "dotted table": b"[a" + b".a" * 50_000 + b"]\n",
    "arrays": b"a = " + b"[" * 50_000,
    "inline tables": b"a = " + b"{a = " * 50_000,
    "behind a string": b'a = """x""""\nb = """"\\""""\n' + b"c = " + b"[" * 50_000,
    "behind a literal": b"a = '''x'''''\nb = 'it\"' # \"\"\"\nc" + b".a" * 50_000 + b" = 1\n",
    "number": b"a = " + b"9" * 500_000 + b"\n",
    "hex": b"a = 0x" + b"f" * 500_000 + b"\n",
    "quotes without end": b'"""\\' * 250_000,
}


@pytest.mark.parametrize("what", DEEP)
@pytest.mark.parametrize("name", ["profile", "plan", "sweep"])
def test_toml_that_nests_deeply_or_counts_far(what: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(DEEP[what])
    with soon(), pytest.raises((ProfileError, FaultError, sweep.SweepError)) as caught:
        READERS[name][0](path)
    assert len(str(caught.value)) < 3000


def test_toml_that_people_write_is_not_too_deep() -> None:
    lines = (
        b'a.b."c.d.e.f".g = [[[1.5, 2.5], [{x = {y = "[[[["}}]], []]',
        b'k = ["' + b"[" * 99 + b"\", '{{{{'] # [[[[ a.a.a.a",
        b'm = """\n[[[[\n.....""""\n',
    )
    text = b"\n".join(lines)
    table = inputs.parse_toml(text, InputError, "it")
    assert table["m"] == '[[[[\n....."'


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"jobs":' * 100_000, b'{"jobs": [' + b"9" * 100_000 + b"]}"],
    ids=["arrays", "objects", "number"],
)
def test_json_that_nests_deeply_or_counts_far(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with soon(), pytest.raises(compare.CompareError, match=r"a\.json: not JSON"):
        compare.load(path)
    line = '{"report": 1}\n' + text.decode()[:60_000]
    with soon(), pytest.raises(reportdiff.ReportFormatError, match="line 2: not a line of a JSON"):
        list(reportdiff.parse(line.split("\n"), "it"))


@pytest.mark.parametrize(
    "damage",
    [
        {"jobs": [{"jobname": [], "write": []}]},
        {"jobs": [{"write": {"total_ios": 1, "clat_ns": 3, "iops": "x", "bw_bytes": None}}]},
        {"jobs": [{"write": {"total_ios": 1, "iops": 10**400, "clat_ns": {"percentile": []}}}]},
        {"jobs": [{"write": {"total_ios": 1, "iops": float("nan")}}], "zoned": []},
    ],
)
def test_results_of_odd_types_have_nothing_in_common(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(damage))
    data = compare.load(path)
    with pytest.raises(compare.CompareError, match="no job in common"):
        compare.as_text(data, data)


# ----------------------------------------------------------------------------------------- job files


def test_includes_that_go_round_are_named(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / f"{name}.fio").write_text(f"include {other}.fio\n")
    with pytest.raises(
        FioError, match=r"c\.fio:1: .*each other: \S*b\.fio -> \S*c\.fio -> \S*b\.fio"
    ):
        fiofile.load(tmp_path / "a.fio", disk())


def test_includes_are_limited_in_sum(tmp_path: Path) -> None:
    """Ten includes at each of nine levels would be a billion files."""
    for level in range(9):
        (tmp_path / f"{level}.fio").write_text(f"include {level + 1}.fio\n" * 10)
    (tmp_path / "9.fio").write_text("")
    with soon(), pytest.raises(FioError, match=r"which are the most|more than 8 deep"):
        fiofile.load(tmp_path / "0.fio", disk())
    (tmp_path / "1.fio").write_text("# " + "x" * 400_000)
    (tmp_path / "0.fio").write_text("include 1.fio\n" * 11)
    with (
        soon(),
        pytest.raises(FioError, match=r"0\.fio: it is larger than 4 MiB with what it includes"),
    ):
        fiofile.load(tmp_path / "0.fio", disk())


@pytest.mark.parametrize(
    "foreign",
    [
        SECRET,
        f"[x]\nsize={SECRET}",
        f"bs={SECRET}",
        "hunter2",
        "[secret",
        "${SECRET}",
        "rw=${SECRET}",
    ],
)
def test_no_line_of_an_included_file_is_shown(foreign: str, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text(foreign + "\n")
    path = tmp_path / "a.fio"
    path.write_text("[j]\nrw=read\ninclude shadow\n")
    with pytest.raises(FioError) as caught:
        fiofile.load(path, disk())
    said = str(caught.value).replace(str(tmp_path), "")
    assert "shadow:" in said
    for secret in ("root", "salt", "hunter2", "secret", "SECRET", "19000"):
        assert secret not in said


@pytest.mark.parametrize("name", READERS)
def test_no_line_of_a_file_of_another_kind_is_shown(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(f"{SECRET}\n{SECRET}\n")
    with pytest.raises(InputError) as caught:
        READERS[name][0](path)
    said = str(caught.value).replace(str(tmp_path), "")
    assert "root" not in said and "salt" not in said


@pytest.mark.parametrize("form", FORMATS)
def test_no_line_is_shown_of_what_is_no_trace_of_its_format(form: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(f"{SECRET}\n")
    with pytest.raises(TraceError, match=r"no command in 1 line .*malformed line 1$") as caught:
        list(BlockTrace(path, form).records())
    assert "root" not in str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "nothing"])
def test_an_include_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    name = kind if kind.startswith("/") else str(tmp_path / "other")
    if kind == "fifo":
        os.mkfifo(name)
    path = tmp_path / "a.fio"
    path.write_text(f"include {name}\n[j]\nrw=read\n")
    with soon(), pytest.raises(FioError, match=rf"a\.fio:1: cannot include {name}: "):
        fiofile.load(path, disk())


@pytest.mark.parametrize("more", ["", "stonewall\n", "max_open_zones=3\n"])
def test_many_sections_take_as_long_as_they_are(more: str) -> None:
    """The lines of Python that run are counted: eight times as many sections, eight times as many lines."""

    def lines(number: int) -> int:
        text = "[global]\nzonemode=zbd\ndirect=1\nrw=write\nsize=1z\n" + "".join(
            f"[j{at}]\n{more}offset={2 + at % 14}z\n" for at in range(number)
        )
        count = 0

        def traced(frame: object, event: str, arg: object) -> Callable[..., object]:
            nonlocal count
            count += event == "line"
            return traced

        before = sys.gettrace()
        sys.settrace(traced)
        try:
            jobs = fiofile.parse(text, disk()).jobs
        finally:
            sys.settrace(before)
        assert len(jobs) == number
        return count

    few = lines(150)
    assert few > 150 * 10
    assert lines(1200) < 9 * few


def test_many_stages_end_one_after_the_other() -> None:
    """Each end of a job looked at all jobs, and at all before each: 10^11 looks."""
    from zoned.bench.runner import execute
    from zoned.drives.models import null_model

    text = "[global]\nrw=read\nbs=4k\nnumber_ios=1\nstonewall\n" + "".join(
        f"[j{at}]\n" for at in range(8000)
    )
    with soon():
        run = execute(fiofile.parse(text, disk()), disk(), null_model(), 1)
    assert run.commands == 8000
    starts = [job.started for job in run.jobs]
    assert starts == sorted(starts) and len(set(starts)) == 8000


def test_jobs_are_limited_in_sum() -> None:
    text = "".join(f"[j{at}]\nrw=read\nnumjobs=40000\n" for at in range(2))
    with soon(), pytest.raises(FioError, match="job:4: job j1: more than 65536 jobs"):
        fiofile.parse(text, disk())


@pytest.mark.parametrize(
    ("pattern", "values", "told"),
    [
        ("random-zones", {"jobs": "1e12"}, "not a size"),
        ("random-zones", {"jobs": "1000000000000"}, "at most 65536"),
        ("streams", {"streams": ",".join(["1"] * 5000)}, "5000 parts: at most 1000"),
        ("streams", {"streams": "999"}, "the disk has 128 at most"),
        ("zone-commands", {"occupancies": ",".join(["0"] * 5000)}, "at most 1000"),
        ("read-while-write", {"rates": "x"}, "rates: 'x' is not a size"),
        ("log", {"zones": "9" * 5000}, "5000 characters"),
    ],
)
def test_patterns_are_limited(pattern: str, values: dict[str, str], told: str) -> None:
    drive = models.load_drive(
        "zn540" if pattern in ("zone-commands", "read-while-write") else "hc620"
    )
    with soon(), pytest.raises(PatternError, match=told):
        find(pattern).plan(drive[0].geometry(), values)


# -------------------------------------------------------------------------------------------- sweeps


@pytest.mark.parametrize(
    "folder", ["../out", "/tmp/out", "a/../../out", "link", "link/x", "a\\u0000b"]
)
def test_results_of_a_sweep_stay_beside_its_file(folder: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path)
    path = home / "grid.toml"
    path.write_text(f'folder = "{folder}"\npatterns = ["log"]\n')
    with pytest.raises(sweep.SweepError, match=r"grid\.toml:1: folder is .* must lie beside"):
        sweep.load(path)
    path.write_text('folder = "a/b/../c"\npatterns = ["log"]\n')
    assert sweep.load(path).folder == home / "a/b/../c"


def test_what_lies_in_the_folder_leads_nowhere(tmp_path: Path) -> None:
    """A link or a pipe where a result goes is replaced; what it leads to keeps its content."""
    path = tmp_path / "grid.toml"
    path.write_text('patterns = ["stream"]\nprofiles = ["test"]\n[parameters]\nzones = [1]\n')
    mine = tmp_path / "mine"
    mine.write_text("kept")
    grid = sweep.load(path)
    grid.folder.mkdir()
    (grid.folder / "points.csv").symlink_to(mine)
    os.mkfifo(grid.folder / "summary.csv")
    os.mkfifo(grid.folder / f"{grid.points[0].key}.json")
    with soon():
        assert sweep.run(grid, workers=1) == 0
    assert mine.read_text() == "kept"
    for name in ("points.csv", "summary.csv"):
        assert (grid.folder / name).is_file() and not (grid.folder / name).is_symlink()
    result = grid.folder / f"{grid.points[0].key}.json"
    before = result.read_bytes()
    for rows in ([[]], [["a"] * 24], [[None] * 24], {"a": 1}, "x" * 24):
        damaged = json.loads(before)
        damaged["point"]["rows"] = rows
        result.write_text(json.dumps(damaged))
        assert sweep._rows(grid, grid.points[0]) is None, "it is run again"
    for text in ("[" * 100_000, "9" * 9999, '{"point": []}'):
        result.write_text(text)
        assert sweep._rows(grid, grid.points[0]) is None


def test_points_of_a_sweep_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    axes = "".join(f"{key} = {list(range(1, 200))}\n" for key in ("zones", "bs", "depth", "spare"))
    path.write_text(f'patterns = ["log"]\n[parameters]\n{axes}')
    with soon(), pytest.raises(sweep.SweepError, match="more than 100000 points"):
        sweep.load(path)
    path.write_text(f'patterns = ["log"]\nseeds = {list(range(100_001))}\n')
    with soon(), pytest.raises(sweep.SweepError, match="more than 100000 points"):
        sweep.load(path)


# -------------------------------------------------------------------------------------------- traces

ABSURD = {
    "msr": [
        f"128166372003061629,hm,1,Write,0,{2**63},413",
        f"128166372003061629,hm,1,Write,{2**63},4096,413",
        f"{2**64 - 1},hm,1,Write,0,4096,413",
        f"128166372003061629,hm,1,Read,0,{2**32},413",
    ],
    "alibaba": [f"0,W,0,{2**64 - 1},1577808000000046", f"0,W,0,4096,{2**64 - 1}"],
    "tencent": [f"1538323200,0,{2**32 - 1},1,1063", "4611686020,0,8,1,1063"],
    "iolog2": [f"/d write 0 {2**63}", f"/d read {2**63} 4096"],
    "iolog3": [f"{2**63} /d write 0 4096"],
    "blkparse": [
        f"  8,0 3 5 0.1 697 D W 8 + {2**32 - 1} [x]",
        "  8,0 3 5 4611686019.0 697 D W 8 + 8 [x]",
    ],
}
GOOD = {
    "msr": "128166372003061629,hm,1,Write,8192,4096,413",
    "alibaba": "0,W,8192,4096,1577808000000046",
    "tencent": "1,16,8,1,1063",
    "iolog2": "fio version 2 iolog\n/d write 8192 4096",
    "iolog3": "fio version 3 iolog\n1 /d write 8192 4096",
    "blkparse": "  8,0 3 1 0.000000001 697 D W 16 + 8 [x]",
}


def of_trace(log: bool) -> Job:
    """A job that replays a trace on a disk of 64 MiB, behind a log or not."""
    from zoned.bench import Job

    job = Job("t", kind="trace", iodepth=4, size=64 << 20)
    if log:
        job.offset, job.size, job.log_block, job.log_spare = 8 << 20, 56 << 20, 4096, 0.3
    return job


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("log", [False, True])
def test_an_absurd_number_in_a_trace_is_a_malformed_line(
    form: str, log: bool, tmp_path: Path
) -> None:
    """One such line would have kept a replay busy for a few thousand years."""
    from zoned.bench import Simulation
    from zoned.drives.models import null_model

    path = tmp_path / "t"
    for line in ABSURD[form]:
        path.write_text(f"{GOOD[form]}\n{line}\n")
        trace = BlockTrace(path, form)
        job = of_trace(log)
        sim = Simulation(disk(conventional=2 if log else 16), null_model())
        sim.feed(sim.add(job), trace.records())
        with soon():
            run = sim.run()
        assert (trace.records_read, trace.bad) == (1, 1), line
        assert run.total(1).count == 1


@pytest.mark.parametrize("log", [False, True])
def test_a_command_longer_than_the_disk_is_bounded_by_it(log: bool, tmp_path: Path) -> None:
    from zoned.bench import Simulation
    from zoned.drives.models import null_model

    path = tmp_path / "t"
    path.write_text(f"0,W,4096,{2**32 - 1},1\n" * 20)
    job = of_trace(log)
    sim = Simulation(disk(conventional=2 if log else 16), null_model())
    sim.feed(sim.add(job), BlockTrace(path, "alibaba").records())
    run = sim.run()
    assert not run.jobs[0].error
    assert 20 * (30 << 20) < run.total(1).bytes <= 20 * (64 << 20)


def test_the_engine_refuses_what_cannot_be() -> None:
    from zoned._core.native import ffi
    from zoned.bench import Job, Simulation
    from zoned.drives.models import null_model

    for field, value in (("length", 2**32), ("time", 2**62 + 1)):
        records = ffi.new("struct zd_sim_record[]", 1)
        setattr(records[0], field, value)
        sim = Simulation(disk(conventional=16), null_model())
        sim.feed(sim.add(Job("t", kind="trace", size=64 << 20)), iter([(records, 1)]))
        with pytest.raises(OSError, match="cannot be: at most"):
            sim.run()


def peak() -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_line_without_end(tmp_path: Path) -> None:
    """40 GB of one line in 40 MB: neither unpacked nor kept."""
    path = tmp_path / "t.gz"
    block = gzip.compress(b"a" * (1 << 24))
    path.write_bytes(
        (GOOD["alibaba"] + "\n").encode()
        and b"" + gzip.compress((GOOD["alibaba"] + "\n").encode()) + block * 2500
    )
    before = peak()
    with soon(), pytest.raises(TraceError, match="line 2: it is longer than 65536 bytes"):
        list(BlockTrace(path, "alibaba").records())
    assert peak() - before < 200 << 10
    with pytest.raises(reportdiff.ReportFormatError, match="line 1: it is longer"):
        list(inputs.read_lines(io.BytesIO(b"a" * 70_000), reportdiff.ReportFormatError, "it"))


def test_a_file_that_unpacks_without_end(
    tmp_path: Path, needs: Callable[[str, bool, str], None]
) -> None:
    needs("zstandard", find_spec("zstandard") is not None, "reading .zst")
    import zstandard

    head = (GOOD["alibaba"] + "\n").encode()
    lines = b"\n" * (128 << 20)
    path = tmp_path / "t.zst"
    bomb = zstandard.ZstdCompressor().compress(lines)
    assert len(lines) > 5000 * len(bomb)
    path.write_bytes(zstandard.ZstdCompressor().compress(head) + bomb * 10)
    before = peak()
    with soon(), pytest.raises(TraceError, match="unpacks to more than 1100 times its size"):
        list(BlockTrace(path, "alibaba").records())
    assert peak() - before < 300 << 10


def own_trace(path: Path) -> bytes:
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        every_command(dev)
    return path.read_bytes()


def crafted(data: bytes, header: dict[int, tuple[str, int]], items: list[bytes]) -> bytes:
    """A trace with fields of its header changed and other items, all checksums right."""
    from zoned._core.native import lib

    size = struct.unpack_from("<I", data, 12)[0]
    head = bytearray(data[: size - 4])
    for at, (kind, value) in header.items():
        struct.pack_into("<" + kind, head, at, value)
    crc = lib.zd_crc32c(0, bytes(head), len(head))
    out = bytes(head) + struct.pack("<I", crc)
    for item in items:
        crc = lib.zd_crc32c(crc, item, len(item))
        out += item + struct.pack("<I", crc)
    return out


def number(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_crafted_records_are_no_commands(tmp_path: Path) -> None:
    """A write without a place, zones and amounts that no command has: left out, with a note."""
    from zoned._core.native import lib

    data = own_trace(tmp_path / "x")

    def item(cmd: int, flags: int, *values: int) -> bytes:
        body = bytes([cmd, flags]) + number(0) + number(0) + b"".join(map(number, values))
        return bytes([lib.ZD_TRACE_COMMAND, len(body)]) + body

    offset, length, failed = lib_flag("OFFSET"), lib_flag("LENGTH"), lib_flag("FAILED")
    items = [
        item(lib.ZD_CMD_WRITE, length, 4096),
        item(lib.ZD_CMD_READ, length, 4096),
        item(lib.ZD_TRACE_POWER_CUT, length, 2**64 - 1),
        item(lib.ZD_CMD_OPEN, length, 2**63),
        item(lib.ZD_CMD_WRITE, offset | length, 2**64 - 1, 2**64 - 1),
        item(lib.ZD_CMD_APPEND, length, 2**64 - 1),
        # -EIO behind 2^62 bytes of 4096 done
        item(lib.ZD_CMD_WRITE, offset | length | failed, 0, 4096, 5, 2**62, 0, 0) + b"",
    ]
    items[-1] = bytes([items[-1][0], items[-1][1] + 1]) + items[-1][2:] + bytes([1])
    path = tmp_path / "crafted"
    path.write_bytes(crafted(data, {}, items))
    trace = zoned.Trace(path, partial=True)
    assert len(list(trace)) == len(items), trace.cut
    with zoned.memory(**SHAPE) as dev, soon():
        report = replay(trace, dev)
    assert report.skipped >= 4
    assert "says what no command can" in report.notes[0]
    lint(path, partial=True)


def lib_flag(name: str) -> int:
    """Of native/device/hooks/hooks.h, which is no part of the interface."""
    text = (Path(zoned.__file__).parents[1] / "native/device/hooks/hooks.h").read_text()
    import re

    found = re.search(rf"\bZD_TF_{name}\s*=?\s*(?:1u? << (\d+)|(0x[0-9a-fA-F]+|\d+))", text)
    assert found is not None, name
    return 1 << int(found[1]) if found[1] else int(found[2], 0)


def test_a_crafted_trace_has_no_more_rows_than_zones(tmp_path: Path) -> None:
    from zoned._core.native import lib

    data = own_trace(tmp_path / "x")
    path = tmp_path / "crafted"
    body = number(3) + bytes([2, 0]) + number(0) * 3
    row = bytes([lib.ZD_TRACE_ZONE_BEFORE, len(body)]) + body
    path.write_bytes(crafted(data, {}, [row] * 3))
    with pytest.raises(TraceError, match="a row of zone 3 comes after one of zone 3"):
        zoned.Trace(path)


# ------------------------------------------------------------------------------------------ terminals

ESCAPE = "\x1b[0x\x07\x9b31m\u202e"


def test_control_characters_reach_no_message(tmp_path: Path) -> None:
    folder = tmp_path / f"a{ESCAPE}\nb"
    folder.mkdir()
    path = folder / "x.toml"
    for name, (read, _) in READERS.items():
        path.write_text(f"{ESCAPE} = '{ESCAPE}'\n")
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value) == printable(str(caught.value)), name
    plan = f'[[fault]]\nkind = "{json.dumps(ESCAPE)[1:-1]}"\n'.encode()
    with pytest.raises(FaultError) as caught:
        parse_plan(plan, "p")
    assert str(caught.value) == printable(str(caught.value))


def test_names_in_results_are_shown_and_are_no_formulas() -> None:
    from zoned.bench import html, results, table
    from zoned.bench.runner import execute
    from zoned.drives.models import null_model

    plan = fiofile.parse(f"[=cmd|{ESCAPE}]\nrw=read\nbs=4k\nnumber_ios=1\n", disk())
    run = execute(plan, disk(), null_model(), 1)
    notes = [f"note {ESCAPE}"]
    for text in (
        table.as_text(run, f"p{ESCAPE}", notes),
        table.seeds_table([run, run]),
        results.as_json(run, f"p{ESCAPE}", notes),
        results.as_csv([run]),
        html.page(run, f"t{ESCAPE}", f"p{ESCAPE}", notes),
    ):
        assert [line for line in text.split("\n") if line != printable(line)] == []
        assert "cmd|" in text
    rows = list(csv.DictReader(io.StringIO(results.as_csv([run]))))
    assert rows[0]["jobname"].startswith("'=cmd|")
    again = json.loads(results.as_json(run, f"p{ESCAPE}", notes))
    assert again["zoned"]["profile"] == f"p{ESCAPE}", "the same when it is read"
    data = {"jobs": again["jobs"], "zoned": {"limit": ESCAPE}}
    text = compare.as_text(data, data)
    assert [line for line in text.split("\n") if line != printable(line)] == []


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_cells(begin: str) -> None:
    assert csv_cell(f"{begin}1+1") == f"'{printable(begin)}1+1"
    assert csv_cell(-5) == -5 and csv_cell("a=1") == "a=1" and csv_cell("") == ""


@given(st.text(st.characters(codec=None)))
def test_json_means_the_same(text: str) -> None:
    shown = printable_json(json.dumps([text], ensure_ascii=False, indent=1))
    assert (
        json.loads(shown) == [text]
        or "\ud800" <= max(text) <= "\udfff"
        or any("\ud800" <= one <= "\udfff" for one in text)
    )
    assert all(line == printable(line) for line in shown.split("\n"))


def test_a_label_is_shown_in_errors_as_text() -> None:
    with zoned.memory(**SHAPE) as dev:
        with dev.faults.add("medium", on="write", label=ESCAPE) as fault:
            with pytest.raises(zoned.MediumError) as caught:
                dev.append(3, bytes(4096)) if False else dev.pwrite(bytes(4096), 3 << 20)
            assert str(caught.value) == printable(str(caught.value))
            assert str(fault) == printable(str(fault))
            assert fault.rule.describe() == printable(fault.rule.describe())
        with pytest.raises(FaultError, match="label"):
            dev.faults.add("medium", label="\udcff")


# ------------------------------------------------------------------------------------------- anything

ALLOWED = (InputError, GeometryError, OSError)
SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
WORDS = (
    b"[ ] { } = . , \" ' \"\"\" ' ' ' # \\ -1 0x 1e999 nan inf 999999999999999999999999 1979-05-27 true "
    b"\x00 \xff \xe2\x80\xae [[fault]] kind [geometry] [model] [parameters] size ${X} null"
)
TOKENS = st.sampled_from([*WORDS.split(), b"'' '".replace(b" ", b""), b"\n", b"\ninclude x\n"])


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with pieces cut out, doubled, replaced and put in; or any bytes at all."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=200) | st.lists(TOKENS, max_size=40).map(b"".join))
    data = good
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        put = draw(TOKENS | st.binary(max_size=4) | st.just(data[at:end] * 2))
        end = draw(st.sampled_from([at, end, min(at + 1, len(data))]))
        data = data[:at] + put + data[end:]
    return data


def examples(number: int) -> Any:
    """Short in the suite; ZONED_LONG makes it long."""
    return settings(
        max_examples=number * (20 if os.environ.get("ZONED_LONG", "") not in ("", "0") else 1)
    )


@pytest.mark.parametrize("name", ["profile", "drive", "plan", "sweep", "job file", "result"])
def test_any_text_is_read_or_refused(name: str, tmp_path: Path) -> None:
    read, good = READERS[name]
    path = SCRATCH / f"zoned-test-{os.getpid()}-{name.replace(' ', '-')}.toml"

    @examples(100)
    @given(mutated(good))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        began = time.monotonic()
        said = [""]
        try:
            found = read(path)
            if name == "result":
                assert isinstance(found, dict)
                compare.as_text(found, compare.load(path))
            if name == "plan":
                with zoned.memory(**SHAPE) as dev:
                    dev.faults.load(path)
        except ALLOWED as error:
            said.append(str(error))
        assert "\n" not in said[-1]
        assert time.monotonic() - began < SOON

    try:
        check()
    finally:
        path.unlink()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("pack", ["plain", "gz", "zst"])
def test_any_block_trace_is_read_or_refused(form: str, pack: str, tmp_path: Path) -> None:
    good = "\n".join([GOOD[form], *ABSURD[form], GOOD[form].split("\n")[-1]]).encode()
    if pack == "gz":
        good = gzip.compress(good)
    elif pack == "zst":
        zstandard = pytest.importorskip("zstandard") if find_spec("zstandard") else None
        if zstandard is None:
            return
        good = zstandard.ZstdCompressor().compress(good)
    path = SCRATCH / f"zoned-test-{os.getpid()}-{form}-{pack}"

    @examples(25)
    @given(mutated(good))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        for given_form in (None, form):
            with contextlib.suppress(*ALLOWED):
                list(BlockTrace(path, given_form, zones=True, files=True).records())
            with contextlib.suppress(*ALLOWED):
                lint(path, disk(), form=given_form)

    try:
        check()
    finally:
        path.unlink()


def test_any_own_trace_is_read_or_refused(tmp_path: Path) -> None:
    """Right checksums over anything: what a checksum cannot tell."""
    data = own_trace(tmp_path / "x")
    path = SCRATCH / f"zoned-test-{os.getpid()}-own"
    size = struct.unpack_from("<I", data, 12)[0]
    fields = st.dictionaries(
        st.integers(16, 103), st.tuples(st.just("B"), st.integers(0, 255)), max_size=4
    )
    item = st.tuples(
        st.sampled_from([0, 1, 1, 1, 1, 2, 3, 4, 5, 6]), st.binary(min_size=6, max_size=40)
    ).map(lambda pair: bytes([pair[0], len(pair[1])]) + pair[1])

    @examples(150)
    @given(fields, st.lists(item, max_size=5), st.booleans())
    def check(header: dict[int, tuple[str, int]], items: list[bytes], keep: bool) -> None:
        path.write_bytes(
            crafted(data, header, items) if keep else data[: size + 7] + b"".join(items)
        )
        with contextlib.suppress(*ALLOWED):
            trace = zoned.Trace(path, partial=True)
            if trace.geometry.nr_zones > 1000:
                return  # a report of millions of zones takes its time, and is no fault
            list(map(str, trace))
            lint(path, partial=True)
            with zoned.memory(**SHAPE) as dev:
                replay(trace, dev, prepare=False)

    try:
        check()
    finally:
        path.unlink(missing_ok=True)


def test_any_report_is_read_or_refused() -> None:
    with zoned.memory(**SHAPE) as dev:
        raw = report_rows(dev, 0, 16)
    from zoned import reportformats

    texts = [
        '{"report": 2, "zones": [\n'
        + reportformats.jsonl(raw).replace("}\n", "},\n")[:-2]
        + "\n]}\n",
        '{"report": 1}\n' + reportformats.jsonl(raw),
        reportformats.CSV_HEADER + reportformats.csv(raw),
        reportformats.ZBD_HEADER + reportformats.zbd(raw),
        reportformats.blkzone(raw),
    ]

    @examples(100)
    @given(st.sampled_from(texts).flatmap(lambda text: mutated(text.encode())))
    def check(data: bytes) -> None:
        with contextlib.suppress(reportdiff.ReportFormatError):
            lines = inputs.read_lines(io.BytesIO(data), reportdiff.ReportFormatError, "it")
            good = texts[0].splitlines()
            for difference in reportdiff.compare(reportdiff.parse(lines), reportdiff.parse(good)):
                difference.to_text()
                json.dumps(difference.to_json())

    check()
