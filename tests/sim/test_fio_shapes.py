"""Job files as fio's users write them: the shapes of all its example files, and of the jobs of its own zoned tests.

Each is either had, and then what is read of it and what it does is what fio 3.33 makes of the same file; or it is
refused by the names of the options that cannot be had, all in one go, with their lines. What depends on a clock or on
fio's random numbers is run with few commands, and only must not fail.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim.helpers import KIB, MIB, disk
from zoned.bench.fioarguments import parse_arguments
from zoned.bench.fiofile import FioError, Plan, parse
from zoned.bench.fiooptions import SYNCHRONOUS
from zoned.bench.jobs import Job
from zoned.bench.runner import execute
from zoned.drives.models import null_model
from zoned.geometry import Geometry

FEW = 300
"""Commands of a job that goes by a clock."""


@dataclass(frozen=True)
class Shape:
    """A job file, and what is to come of it."""

    text: str
    parsed: tuple[str, ...] = ()
    """By section: its name, group, mode, block sizes of reads, writes and trims, depth; as fio tells them."""
    done: tuple[tuple[int, ...], ...] = ()
    """By job: reads, KiB read, writes, KiB written."""
    refused: tuple[str, ...] = ()
    """Options that are not supported."""
    value: str = ""
    """The option whose value cannot be had."""

    @property
    def geometry(self) -> Geometry:
        """fio's files were 64 MiB, of any blocks; the zoned ones need zones."""
        zoned = "zonemode=zbd" in self.text
        return disk(conventional=2 if zoned else 16, logical_block=512, physical_block=512)


def _shapes() -> dict[str, Shape]:
    kept = tomllib.loads(Path(__file__).with_name("fio_shapes.toml").read_text("utf-8"))
    return {
        name: Shape(
            one["text"],
            tuple(one.get("parsed", ())),
            tuple(map(tuple, one.get("done", ()))),
            tuple(one.get("refused", ())),
            one.get("value", ""),
        )
        for name, one in kept.items()
    }


SHAPES = _shapes()


def test_there_is_one_for_each_example() -> None:
    assert len(SHAPES) == 107
    had = [shape for shape in SHAPES.values() if not shape.refused and not shape.value]
    assert len(had) >= 43
    assert sum(bool(shape.done) for shape in had) >= 14


@pytest.mark.parametrize("name", [name for name, one in SHAPES.items() if one.refused or one.value])
def test_what_cannot_be_had_is_named(name: str) -> None:
    shape = SHAPES[name]
    with pytest.raises(FioError) as caught:
        parse(shape.text, shape.geometry, Path("job"))
    told = str(caught.value)
    lines = shape.text.splitlines()
    for option in shape.refused:
        for number, line in enumerate(lines, 1):
            if line.partition("=")[0].strip() == option:
                assert re.search(
                    rf"job:{number}: the option {option} |{option} at job:{number}\b", told
                )
    if shape.value:
        (where,) = re.findall(r"^job:(\d+): ", told)
        assert lines[int(where) - 1].startswith(shape.value)


def size_of(text: str) -> float:
    """Bytes, as fio prints them: 4096B, 64.0KiB."""
    found = re.fullmatch(r"([0-9.]+)([KMG]i)?B", text)
    assert found is not None
    return float(found[1]) * 1024 ** " KMG".index((found[2] or " ")[0])


def mode_of(job: Job) -> str:
    kind = {
        (True, False, False): "read", (False, True, False): "write", (False, False, True): "trim",
        (True, True, False): "rw", (False, True, True): "trimwrite",
    }[job.reads, job.writes, job.trims]  # fmt: skip
    return ("rand" if job.random else "") + kind


def check_parsed(shape: Shape, plan: Plan) -> None:
    first = {job.name: job for job in reversed(plan.jobs)}
    for told in shape.parsed:
        name, group, mode, *sizes, depth = told.split()
        job = first[name]
        assert (job.group, mode_of(job)) == (int(group), mode.replace("readwrite", "rw"))
        for at, used in enumerate((job.reads, job.writes, job.trims)):
            low, high = map(size_of, sizes[at].split("-"))
            ours = [size for size, _ in job.split[at]] or [job.bs_min[at], job.bs_max[at]]
            if used:
                assert (min(ours), max(ours)) == pytest.approx((low, high), rel=0.001)
        engine = re.search(r"(?m)^ioengine=(\w+)", shape.text)
        alone = (engine[1] if engine else "psync") in SYNCHRONOUS
        assert job.iodepth == int(depth) or (alone and job.iodepth == 1)


@pytest.mark.parametrize(
    "name", [name for name, one in SHAPES.items() if not one.refused and not one.value]
)
def test_what_can_be_had_is_done_as_fio_does_it(name: str) -> None:
    shape = SHAPES[name]
    plan = parse(shape.text, shape.geometry, Path("job"))
    check_parsed(shape, plan)
    for job in plan.jobs:
        if not shape.done:
            job.number_ios, job.loops = min(job.number_ios or FEW, FEW), min(job.loops, 2)
    run = execute(plan, shape.geometry, null_model(20), 1)
    assert [job.error for job in run.jobs] == [""] * len(run.jobs)
    assert run.commands > 0
    found = tuple(
        (
            *(job.stats[0].count, job.stats[0].bytes // KIB),
            *(job.stats[1].count, job.stats[1].bytes // KIB),
        )
        for job in run.jobs
    )
    if shape.done:
        assert found == shape.done


# ------------------------------------------------------------------------ fio's own zoned tests

ON_ZONES = (
    "--filename=/dev/x",
    "--direct=1",
    "--thread=1",
    "--zonemode=zbd",
    "--zonesize=4m",
    "--offset=2z",
    "--bs=64k",
)
"""What they say of each job, of a disk of 16 zones of 4 MiB of which 2 are conventional and 4 may be open."""
OUTCOMES = """
    0 64 0        --name=j --ioengine=psync --rw=write --size=1z --debug=zbd --aux-path=/x
    128 128 0     --name=j --ioengine=psync --rw=write --size=2z --do_verify=1 --verify=md5
    1024 1024 0   --name=j --ioengine=libaio --iodepth=64 --rw=randwrite --bs=16K --size=4z --do_verify=1 --verify=md5
    256 256 0     --name=j --ioengine=libaio --rw=randwrite --size=4z --verify=md5 --experimental_verify=1
    77 77 0       --name=j --rw=randwrite --bsrange=4k-64k --size=1z --number_ios=77 --verify=md5
    64 64 0       --name=j --rw=write --size=1z --verify=crc32c --verify_backlog=2
    0 0 0         --name=j --rw=read --size=4z
    0 0 0         --name=j --rw=randread --size=4z
    64 0 0        --name=j --rw=read --size=1z --read_beyond_wp=1
    0 0 1         --name=j --rw=trim --bs=4m --size=4z --io_size=1z
    0 192 0       --name=j --rw=write --size=1z --io_size=3z
    0 384 0       --name=j --rw=write --size=2z --loops=3 --randseed=7
    0 85 0        --name=j --rw=write --size=2z --bs=96k --write_zone_remainder=1
    0 42 0        --name=j --rw=write --size=1z --bs=96k --io_size=4032k
    0 2048 0      --name=j --rw=randwrite --size=4z --numjob=8 --group_reporting=1
    0 1024 0      --name=j --rw=randwrite --size=4z --numjobs=4 --job_max_open_zones=1
    0 512 0       --name=j --rw=randwrite --size=8z --max_open_zones=2 --iodepth=8 --ioengine=libaio
    0 256 0       --name=j --rw=randwrite --size=4z --max_open_zones=12 --ignore_zone_limits=1
    0 256 0       --name=j --rw=randwrite --size=4z --norandommap=1 --softrandommap=1 --random_generator=lfsr
    0 64 0        --name=j --rw=write --size=1z --gtod_reduce=1 --disable_lat=1 --allow_file_create=0
    64 64 0       --name=a --rw=write --size=1z --name=b --rw=read --wait_for=a --size=1z
    0 64 0        --name=j --zonemod=none --rw=write --size=1z
    0 256 0       --name=j --rw=randwrite --size=4z --zone_reset_threshold=.1 --zone_reset_frequency=1.0
    64 0 0        --name=j --zonemode=strided --zonesize=1m --zonerange=4m --zoneskip=4m --rw=read --size=4m
    -             --name=j --rw=randrw --size=4z --ioengine=libaio --iodepth=8
    -             --name=j --rw=randrw --rwmixwrite=0 --size=4z
    -             --name=j --rw=randwrite --size=4z --time_based --runtime=3 --flow=1
    -             --name=a --rw=randwrite --size=2z --flow=8 --name=b --rw=randtrim --bs=4m --size=2z --flow=1
"""
"""Reads, writes and trims of a command line behind these; -: by fio's random numbers, or a clock."""
REFUSED = {
    "--name=j --rw=write --zone_reset_threshold=-1": ["zone_reset_threshold"],
    "--name=j --rw=write --zone_reset_threshold=2": ["zone_reset_threshold"],
    "--name=j --rw=write --zone_reset_frequency=.4:.6": ["zone_reset_frequency"],
    "--name=j --rw=write --zoneskip=1": ["zoneskip"],
    "--name=j --rw=write --zonesize=8m": ["zonesize"],
    "--name=j --rw=write --direct=0": ["direct"],
    "--name=j --rw=write --max_open_zones=12": ["max_open_zones"],
    "--name=j --rw=write --continue_on_error=1": ["continue_on_error"],
    "--name=j --rw=write --recover_zbd_write_error=1": ["recover_zbd_write_error"],
    "--name=j --ignore_error=,EIO --rw=write --sprandom=1": ["ignore_error", "sprandom"],
    "--name=j --rw=write --zone": ["zone"],
}


@pytest.mark.parametrize("line", OUTCOMES.strip().splitlines())
def test_zoned_jobs_do_what_fios_do(line: str) -> None:
    counts, name, rest = line.partition("--name")
    said = name + rest
    geometry = disk(max_open=4)
    arguments = said.replace("--name", "|--name").split("|")[1:]
    plan = parse_arguments(
        [*ON_ZONES, *(one for job in arguments for one in job.split())], geometry
    )
    for job in plan.jobs:
        job.number_ios = min(job.number_ios, FEW) or (FEW if job.time_based else 0)
    run = execute(plan, geometry, null_model(20), 1)
    assert [job.error for job in run.jobs] == [""] * len(run.jobs)
    found = tuple(run.total(at).count for at in range(3))
    if counts.strip() == "-":
        assert sum(found) > 0
    else:
        assert found == tuple(map(int, counts.split()))


NOT_ON_A_FILE = {
    "write_zone_remainder": "newer than fio 3.33",
    "zonemod=": "fio wants no zonesize with it",
    "job_max_open_zones": "fio's jobs that find no zone of their own end, by chance more or fewer",
    "experimental_verify": "fio reads nothing back of zones that it made up on a file",
}
"""What fio 3.33 on a file cannot be asked, by what is said in the job."""


def told_by_fio(arguments: list[str], folder: Path) -> tuple[int, int, int]:
    """Reads, writes and trims of all jobs: fio makes up the zones of a file by itself."""
    place = folder / "disk"
    with place.open("wb") as file:
        file.truncate(64 * MIB)
    told = subprocess.run(
        ["fio", "--output-format=json", f"--filename={place}", *arguments], cwd=folder, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    ).stdout  # fmt: skip
    jobs = json.loads(told[told.index("{\n") :])["jobs"]
    assert not any(job["error"] for job in jobs)
    reads, writes, trims = (
        sum(job[way]["total_ios"] for job in jobs) for way in ("read", "write", "trim")
    )
    return reads, writes, trims


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in OUTCOMES.strip().splitlines()
        if line.split()[0] != "-" and not any(word in line for word in NOT_ON_A_FILE)
    ],
)
def test_fio_itself_does_the_same_in_zones_of_a_file(
    line: str, tmp_path: Path, needs: Callable[[str, bool, str], None]
) -> None:
    needs("fio", shutil.which("fio") is not None, "running its zoned jobs on a file")
    *counts, first = line.replace("--debug=zbd --aux-path=/x", "").split(maxsplit=3)
    found = told_by_fio([*ON_ZONES[1:], "--max_open_zones=4", *first.split()], tmp_path)
    assert found == tuple(map(int, counts))


@pytest.mark.parametrize("said", REFUSED)
def test_zoned_jobs_are_refused_by_name(said: str) -> None:
    with pytest.raises(FioError) as caught:
        parse_arguments([*ON_ZONES, *said.split()], disk(max_open=4))
    for name in REFUSED[said]:
        assert re.search(rf"\b{name}\b", str(caught.value))


def test_words_for_numbers_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[a]\nrw=read\nbs=$pagesize\nnumjobs=$ncpus\n"
    plan = parse(text, disk(conventional=16))
    assert plan.jobs[0].bs_min[0] in (4096, 16384, 65536)
    assert len(plan.jobs) >= 1
