"""Job files of the shapes that fio's examples have, through fio itself on a file and through us on a disk of that size.

fio runs them for real, on a file that is written through its page cache or past it: what is compared is how many
commands and bytes each job did in each direction and how many flushes it asked for, which are no matter of time.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim.helpers import MIB, disk
from zoned.bench.fioarguments import parse_arguments
from zoned.bench.fiofile import FioError, Plan, parse
from zoned.bench.runner import execute
from zoned.drives.models import null_model

Needs = Callable[[str, bool, str], None]
SIZE = 8 * MIB
FILE = disk(size=SIZE, conventional=SIZE // (4 * MIB))
"""A disk that can be written anywhere, as large as fio's file."""


@dataclass(frozen=True)
class Shape:
    """A job file, and what of its counts is drawn, so that only their sum is the same."""

    text: str
    mixed: bool = False
    """Reads and writes are drawn: their sum is compared."""


SHAPES = {
    "reads at random, deep (aio-read)": Shape(
        "[global]\nioengine=libaio\nbuffered=0\nrw=randread\nbs=128k\nsize=4m\ndirectory=.\n"
        "[file1]\niodepth=4\n[file2]\niodepth=32\n[file3]\niodepth=8\n"
    ),
    "backwards (backwards-read)": Shape("[backwards]\nbs=4k\nrw=read:-8k\nsize=1m\n"),
    "written, then read back (basic-verify)": Shape(
        "[v]\nrw=randwrite\nbs=4k\nioengine=libaio\niodepth=16\nverify=crc32c\nverify_state_save=0\nsize=1m\n"
    ),
    "read back in between (cross-stripe-verify)": Shape(
        "[v]\nrw=write\nbs=64k\nioengine=libaio\niodepth=4\nverify=crc32c\nverify_backlog=8\nverify_state_save=0\nsize=2m\n"
    ),
    "zones of the old kind (disk-zone-profile)": Shape(
        "[p]\nrw=read\nbs=64k\nzonemode=strided\nzonesize=256k\nzoneskip=1m\nsize=8m\nio_size=2m\n"
    ),
    "within ranges (zonerange)": Shape(
        "[p]\nrw=randread\nbs=16k\nzonemode=strided\nzonesize=128k\nzonerange=1m\nzoneskip=1m\nio_size=1m\n"
    ),
    "four kinds at a rate, sent by workers (fixed-rate-submission)": Shape(
        "[global]\nrw=randread\nbs=4k\nsize=256k\nrate_iops=2000\nio_submit_mode=offload\n"
        "[slow]\n[fast]\nrate_iops=4000\n"
    ),
    "a Poisson process (poisson-rate-submission)": Shape(
        "[p]\nrw=randread\nbs=4k\nnumber_ios=50\nrate_iops=1000\nrate_process=poisson\n"
    ),
    "several sizes (iometer-file-access-server)": Shape(
        "[global]\nbssplit=4k/60:8k/40\nrw=randrw\nrwmixread=80\nsize=8m\nnumber_ios=200\n[iometer]\nioengine=libaio\niodepth=64\n",
        mixed=True,
    ),
    "places with a distance (jesd219)": Shape(
        "[j]\nrw=randwrite\nbs=4k\nblockalign=64k\nsize=4m\nnumber_ios=100\n"
    ),
    "nothing at all (null)": Shape(
        "[null]\nioengine=null\nsize=8m\nrw=randrw\nbs=4k\nnorandommap\nnumber_ios=1000\n",
        mixed=True,
    ),
    "zipf (zipf)": Shape(
        "[zipf]\nioengine=null\nsize=4m\nrw=randread\nbs=4k\nnorandommap\nrandom_distribution=zipf:0.5\n"
    ),
    "hot and cold (rand-zones)": Shape(
        "[z]\nrw=randread\nbs=4k\nsize=4m\nnorandommap\nrandom_distribution=zoned:50/5:30/15:20/\nnumber_ios=100\n"
    ),
    "one by one (ssd-test)": Shape(
        "[global]\nbs=4k\nioengine=libaio\niodepth=4\nsize=4m\nruntime=60\n[seq-read]\nrw=read\nstonewall\n"
        "[rand-read]\nrw=randread\nstonewall\n[seq-write]\nrw=write\nstonewall\n[rand-write]\nrw=randwrite\nstonewall\n"
    ),
    "four threads (tiobench-example)": Shape(
        "[global]\nsize=2m\nnumjobs=4\nbs=4k\n[write]\nrw=write\nstonewall\n[randread]\nrw=randread\nstonewall\n"
    ),
    "one waits for the other (waitfor)": Shape(
        "[global]\nsize=1m\nbs=16k\n[writers]\nrw=write\nnumjobs=2\n[readers]\nrw=randread\nwait_for=writers\n"
        "[last]\nrw=read\nwait_for=readers\n"
    ),
    "sized by the file (exitwhat, waitfor)": Shape(
        "[global]\nthreads=1\nfilesize=1m\nbs=64k\n[writers]\nrw=write\n[readers]\nrw=randread\n"
        "wait_for=writers\n[some]\nrw=read\nsize=512k\nwait_for=readers\n"
    ),
    "flushed (fsync)": Shape("[f]\nrw=write\nbs=64k\nsize=4m\nfsync=4\n"),
    "flushed, deep": Shape(
        "[f]\nrw=randwrite\nbs=64k\nsize=4m\nfsync=7\nioengine=libaio\niodepth=8\n"
    ),
    "each write on the medium (sync)": Shape(
        "[f]\nrw=write\nbs=64k\nsize=1m\nsync=1\nend_fsync=1\n"
    ),
    "with notes for people (numa, dedupe-global)": Shape(
        "[global]\nthread\nnuma_cpu_nodes=0\ndedupe_percentage=30\nbuffer_compress_percentage=10\nsize=2m\nbs=64k\n"
        "gtod_reduce=1\ndisable_lat=1\n[n]\ndescription=for people\nrw=write\n"
    ),
    "round and round (loops)": Shape("[l]\nrw=write\nbs=64k\nsize=1m\nloops=3\n"),
    "trims it has none of (fsx)": Shape(
        "[fsx]\nioengine=libaio\niodepth=1\nsize=1m\nbs=4k\nnorandommap\nrw=randrw\nloops=2\nrwmixwrite=60\nsoftrandommap=1\n",
        mixed=True,
    ),
}
Counts = tuple[int, int, int, int, int]
"""Reads, bytes read, writes, bytes written, flushes."""


def by_fio(text: str, folder: Path) -> list[Counts]:
    path = folder / "job.fio"
    path.write_text(
        f"[global]\nfilename={folder / 'disk'}\nfilesize={SIZE}\n{text}", encoding="utf-8"
    )
    return counts_of_fio([str(path)], folder)


def counts_of_fio(arguments: list[str], folder: Path) -> list[Counts]:
    told = subprocess.run(
        ["fio", "--output-format=json", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ).stdout  # fmt: skip
    jobs = json.loads(told[told.index("{\n") :])["jobs"]
    assert not any(job["error"] for job in jobs)
    return [
        (
            *(job["read"]["total_ios"], job["read"]["io_bytes"]),
            *(job["write"]["total_ios"], job["write"]["io_bytes"]),
            job["sync"]["total_ios"],
        )
        for job in jobs
    ]


def by_us(text: str) -> list[Counts]:
    return counts_of_run(parse(text, FILE, Path("job.fio")))


def counts_of_run(plan: Plan) -> list[Counts]:
    run = execute(plan, FILE, null_model(), 1)
    assert [job.error for job in run.jobs] == [""] * len(run.jobs)
    return [
        (job.stats[0].count, job.stats[0].bytes, job.stats[1].count, job.stats[1].bytes, job.syncs)
        for job in run.jobs
    ]


def sums(counts: list[Counts]) -> list[int]:
    return [reads + writes for reads, _, writes, _, _ in counts]


@pytest.mark.parametrize("name", SHAPES)
def test_counts_are_fios(name: str, tmp_path: Path, needs: Needs) -> None:
    needs("fio", shutil.which("fio") is not None, "running its jobs on a file")
    shape = SHAPES[name]
    theirs, ours = by_fio(shape.text, tmp_path), by_us(shape.text)
    if shape.mixed:
        assert sums(ours) == sums(theirs)
    else:
        assert ours == theirs


REFUSED = {
    "cpuio": ("[burn]\nioengine=cpuio\ncpuload=85\n", "cpuload"),
    "netio": ("[net]\nioengine=net\nport=8888\n", "port"),
    "sprandom": ("[s]\nrw=write\nsize=1m\nsprandom=1\n", "sprandom"),
    "enospc-pressure": ("[e]\nrw=write\nsize=1m\nignore_error=,ENOSPC\n", "ignore_error"),
    "uring-cmd-fdp": ("[f]\nrw=write\nsize=1m\nfdp=1\n", "fdp"),
    "mtd": ("[m]\nrw=write\nsize=1m\nskip_bad=1\n", "skip_bad"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_had_is_refused_by_name(name: str) -> None:
    text, option = REFUSED[name]
    with pytest.raises(
        FioError, match=re.escape(f"the option {option} is unknown or not supported")
    ):
        parse(text, disk(), Path("job.fio"))


def test_engines_that_send_commands_themselves_need_no_direct() -> None:
    """fio's uring-cmd-zoned says none, and writes to zones."""
    text = "[global]\nioengine={}\nzonemode=zbd\nbs=64k\nsize=2z\noffset=2z\n[w]\nrw=randwrite\nnorandommap\nnumber_ios=10\n"
    plan = parse(text.format("io_uring_cmd\ncmd_type=nvme"), disk())
    run = execute(plan, disk(), null_model(), 1)
    assert (run.jobs[0].error, run.total(1).count) == ("", 10)
    with pytest.raises(FioError, match="zonemode=zbd with writes needs direct=1"):
        parse(text.format("libaio"), disk())


@pytest.mark.parametrize(
    ("value", "told"),
    [("0", "filesize=0: it must be above 0"), ("1t", "filesize=1t: from offset 0 the disk has")],
)
def test_a_files_size_that_cannot_be_is_named(value: str, told: str) -> None:
    with pytest.raises(FioError, match=re.escape(told.replace("the disk has", "on the disk has"))):
        parse(f"[a]\nrw=read\nfilesize={value}\n", disk())


def test_fios_command_line_gives_fios_counts(tmp_path: Path, needs: Needs) -> None:
    needs("fio", shutil.which("fio") is not None, "running its jobs on a file")
    jobs = [
        "--bs=64k",
        "--size=1m",
        "--name=a",
        "--rw=write",
        "--fsync=4",
        "--name=b",
        "--rw",
        "randread",
        "--stonewall",
    ]
    place = [f"--filename={tmp_path / 'disk'}", f"--filesize={SIZE}"]
    theirs = counts_of_fio([*place, *jobs], tmp_path)
    assert counts_of_run(parse_arguments(jobs, FILE)) == theirs
