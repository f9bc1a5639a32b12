"""What fio does with a job file and what the same file does here: commands, bytes, zone resets.

The figures are fio 3.33's own (``--output-format=json,normal``) on Linux 6.12's null_blk with 16 zones of
4 MiB, 3 MiB of them usable, 2 conventional, at most 4 open. Every file is run in virtual time, and those
without a clock in them on an emulated disk in real time too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import zoned
from sim.helpers import KIB, disk
from zoned.bench.fiofile import parse
from zoned.bench.results import groups
from zoned.bench.runner import execute, execute_real
from zoned.bench.simulation import Run
from zoned.drives.models import null_model

GLOBAL = "ioengine=libaio\ndirect=1\nzonemode=zbd\nbs=64k\niodepth=4\n"
LAYOUT = {"zone_capacity": "3MiB", "max_open": 4, "dialect": "nullblk"}


@dataclass(frozen=True)
class Recorded:
    """One job file and fio's figures."""

    text: str
    """What follows GLOBAL."""
    jobs: tuple[tuple[int, int, int, int, int], ...]
    """By job: reads, KiB read, writes, KiB written, trims."""
    resets: int | None = None
    """Of all jobs; None: depends on fio's random numbers."""


FIO = {
    "a zone left open counts for the next job": Recorded(
        "max_open_zones=2\n[a]\nrw=randwrite\noffset=2z\nsize=4z\nio_size=1m\n"
        "[b]\nstonewall\nrw=randwrite\noffset=8z\nsize=4z\nio_size=2m\n",
        ((0, 0, 16, 1024, 0), (0, 0, 0, 0, 0)),
        0,
    ),
    "a full zone does not": Recorded(
        "max_open_zones=2\n[a]\nrw=write\noffset=2z\nsize=2z\nnumber_ios=48\n"
        "[b]\nstonewall\nrw=randwrite\noffset=6z\nsize=4z\n",
        ((0, 0, 48, 3072, 0), (0, 0, 256, 16384, 0)),
        None,
    ),
    "io_size makes a job go on": Recorded(
        "[a]\nrw=write\noffset=2z\nsize=4z\nio_size=15m\n",
        ((0, 0, 240, 15360, 0),),
        1,
    ),
    "in a zone for all": Recorded(
        "offset=2z\nsize=1z\n[a]\nrw=write\nnumjobs=4\nio_size=4m\ngroup_reporting\n",
        ((0, 0, 256, 16384, 0),),
        None,
    ),
    "backwards from the start": Recorded(
        "offset=2z\nsize=4z\n[a]\nrw=write\n[b]\nstonewall\nrw=read:-128k\nio_size=2m\n",
        ((0, 0, 192, 12288, 0), (32, 2048, 0, 0, 0)),
        0,
    ),
    "random reads begin at a zone": Recorded(
        "[f]\nrw=write\noffset=2z\nsize=4z\n[a]\nstonewall\nrw=randread\noffset=9m\nsize=7m\n",
        ((0, 0, 192, 12288, 0), (64, 4096, 0, 0, 0)),
        0,
    ),
    "each block of the map once": Recorded(
        "[f]\nrw=write\noffset=2z\nsize=4z\n[a]\nstonewall\nrw=randread\noffset=2z\nsize=4z\nbs=80k\n",
        ((0, 0, 192, 12288, 0), (204, 16320, 0, 0, 0)),
        0,
    ),
    "conventional zones at any offset": Recorded(
        "[a]\nrw=randwrite\noffset=1m\nsize=3m\n",
        ((0, 0, 48, 3072, 0),),
        0,
    ),
    "seqwrite": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\n",
        ((0, 0, 672, 43008, 0),),
        0,
    ),
    "seqwrite2x": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nio_size=84m\n",
        ((0, 0, 1344, 86016, 0),),
        14,
    ),
    "randwrite": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nmax_open_zones=3\n",
        ((0, 0, 896, 57344, 0),),
        None,
    ),
    "reset": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nzone_reset_threshold=0.3\nzone_reset_frequency=0.1\nio_size=60m\n",
        ((0, 0, 960, 61440, 0),),
        None,
    ),
    "writeread": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=5z\n[r]\nstonewall\nrw=read\n",
        ((0, 0, 240, 15360, 0), (240, 15360, 0, 0, 0)),
        0,
    ),
    "writerandread": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=5z\n[r]\nstonewall\nrw=randread\n",
        ((0, 0, 240, 15360, 0), (896, 57344, 0, 0, 0)),
        0,
    ),
    "beyond": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=5z\n[r]\nstonewall\nrw=read\nread_beyond_wp=1\n",
        ((0, 0, 240, 15360, 0), (896, 57344, 0, 0, 0)),
        0,
    ),
    "numjobs": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nnumjobs=3\nsize=2z\noffset_increment=2z\ngroup_reporting\n",
        ((0, 0, 288, 18432, 0),),
        0,
    ),
    "trim": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=5z\n[t]\nstonewall\nrw=trim\nbs=4m\n",
        ((0, 0, 240, 15360, 0), (0, 0, 0, 0, 14)),
        0,
    ),
    "randtrim": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=5z\n[t]\nstonewall\nrw=randtrim\nbs=4m\n",
        ((0, 0, 240, 15360, 0), (0, 0, 0, 0, 5)),
        0,
    ),
    "numberios": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nnumber_ios=100\n",
        ((0, 0, 100, 6400, 0),),
        0,
    ),
    "loops in order": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=3z\nloops=3\n",
        ((0, 0, 432, 27648, 0),),
        6,
    ),
    "randseq": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite:8\n",
        ((0, 0, 896, 57344, 0),),
        None,
    ),
    "skip": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write:64k\nsize=3z\n",
        ((0, 0, 144, 9216, 0),),
        0,
    ),
    "readskip": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=5z\n[r]\nstonewall\nrw=read:64k\nsize=5z\n",
        ((0, 0, 240, 15360, 0), (120, 7680, 0, 0, 0)),
        0,
    ),
    "verify": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nverify=crc32c\nsize=3z\n",
        ((144, 9216, 144, 9216, 0),),
        0,
    ),
    "verifyrand": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nverify=crc32c\nsize=3z\n",
        ((144, 9216, 144, 9216, 0),),
        0,
    ),
    "ignore": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nignore_zone_limits=1\n",
        ((0, 0, 896, 57344, 0),),
        14,
    ),
    "zipf": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nrandom_distribution=zipf:1.1\n",
        ((0, 0, 896, 57344, 0),),
        None,
    ),
    "ramp": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=4z\ntime_based\nruntime=2\nramp_time=1\nrate_iops=50\n",
        ((0, 0, 100, 6400, 0),),
        0,
    ),
    "zrfnothr": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nzone_reset_frequency=0.1\nio_size=60m\n",
        ((0, 0, 960, 61440, 0),),
        None,
    ),
    "randnorandom": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=randwrite\nnorandommap\n",
        ((0, 0, 896, 57344, 0),),
        None,
    ),
    "pct": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nsize=2z\nio_size=50%\n",
        ((0, 0, 64, 4096, 0),),
        0,
    ),
    "iolimit": Recorded(
        "offset=2z\nsize=14z\n[w]\nrw=write\nio_size=3z\n",
        ((0, 0, 192, 12288, 0),),
        0,
    ),
    "percent": Recorded(
        "[w]\nrw=write\noffset=25%\nsize=50%\n",
        ((0, 0, 384, 24576, 0),),
        0,
    ),
    "conv": Recorded(
        "[w]\nrw=randwrite\nsize=4z\n",
        ((0, 0, 256, 16384, 0),),
        2,
    ),
    "convread": Recorded(
        "[w]\nrw=randread\nsize=4z\n",
        ((256, 16384, 0, 0, 0),),
        0,
    ),
    "unaligned": Recorded(
        "[w]\nrw=write\noffset=9m\nsize=21m\n",
        ((0, 0, 192, 12288, 0),),
        0,
    ),
    "loops": Recorded(
        "[w]\nrw=randwrite\noffset=2z\nsize=3z\nloops=2\n",
        ((0, 0, 384, 24576, 0),),
        6,
    ),
    "loopsverify": Recorded(
        "[w]\nrw=write\noffset=2z\nsize=3z\nloops=2\nverify=crc32c\n",
        ((288, 18432, 288, 18432, 0),),
        3,
    ),
    "loopsread": Recorded(
        "[w]\nrw=write\noffset=2z\nsize=3z\n[r]\nstonewall\nrw=read\noffset=2z\nsize=5z\nloops=3\n",
        ((0, 0, 144, 9216, 0), (432, 27648, 0, 0, 0)),
        0,
    ),
    "whole": Recorded(
        "[w]\nrw=write\n",
        ((0, 0, 800, 51200, 0),),
        0,
    ),
    "wholeread": Recorded(
        "[w]\nrw=write\noffset=2z\nsize=2z\n[r]\nstonewall\nrw=read\n",
        ((0, 0, 96, 6144, 0), (224, 14336, 0, 0, 0)),
        0,
    ),
    "zoned": Recorded(
        "[w]\nrw=randwrite\noffset=2z\nsize=14z\nrandom_distribution=zoned:60/10:30/20:8/30:2/40\n",
        ((0, 0, 896, 57344, 0),),
        None,
    ),
    "numios": Recorded(
        "[w]\nrw=write\noffset=2z\nsize=3z\nnumber_ios=10\nloops=2\n",
        ((0, 0, 20, 1280, 0),),
        0,
    ),
    "offpct": Recorded(
        "[w]\nrw=read\noffset=7%\nsize=13%\n",
        ((56, 3584, 0, 0, 0),),
        0,
    ),
    "seqrw": Recorded(
        "[w]\nrw=rw\nrwmixread=80\noffset=2z\nsize=4z\n",
        ((1, 64, 1, 64, 0),),
        0,
    ),
    "readback": Recorded(
        "[w]\nrw=read:-128k\nsize=2z\n",
        ((128, 8192, 0, 0, 0),),
        0,
    ),
    "rateboth": Recorded(
        "[w]\nrw=randrw\nrate=1m,512k\noffset=2z\nsize=1z\nio_size=2m\n",
        ((21, 1344, 11, 704, 0),),
        0,
    ),
    "verifyfull": Recorded(
        "[a]\nrw=write\noffset=2z\nsize=3z\n[w]\nstonewall\nrw=write\noffset=2z\nsize=3z\nverify=crc32c\n",
        ((0, 0, 144, 9216, 0), (144, 9216, 144, 9216, 0)),
        3,
    ),
    "zrf": Recorded(
        "[w]\nrw=randwrite\noffset=2z\nsize=14z\nzone_reset_threshold=.5\nzone_reset_frequency=0.5\nio_size=100m\nmax_open_zones=1\n",
        ((0, 0, 1600, 102400, 0),),
        None,
    ),
}
TIMED = {"ramp", "rateboth"}


def check(recorded: Recorded, run: Run) -> None:
    found = []
    for members in groups(run):
        reads, writes, trims = ([m.stats[at] for m in members] for at in range(3))
        found.append(
            (
                *(sum(s.count for s in reads), sum(s.bytes for s in reads) // KIB),
                *(sum(s.count for s in writes), sum(s.bytes for s in writes) // KIB),
                sum(s.count for s in trims),
            )
        )
    assert [m.error for m in run.jobs] == [""] * len(run.jobs)
    assert tuple(found) == recorded.jobs
    if recorded.resets is not None:
        assert sum(m.zone_resets for m in run.jobs) == recorded.resets


@pytest.mark.parametrize("name", FIO)
def test_in_virtual_time(name: str) -> None:
    geometry = disk(**LAYOUT)
    plan = parse("[global]\n" + GLOBAL + FIO[name].text, geometry, Path(f"{name}.fio"))
    check(FIO[name], execute(plan, geometry, null_model(), 1))


@pytest.mark.parametrize("name", [name for name in FIO if name not in TIMED])
def test_on_an_emulated_disk(name: str) -> None:
    with zoned.memory(size="64MiB", zone_size="4MiB", conventional=2, **LAYOUT) as device:
        plan = parse("[global]\n" + GLOBAL + FIO[name].text, device.geometry, Path(f"{name}.fio"))
        run = execute_real(plan, device, 1)
        check(FIO[name], run)
        written = sum(m.stats[1].bytes for m in run.jobs)
        assert device.counters.bytes_written == written, "the disk counted the same"


def test_resets_by_frequency_come_as_often_as_fios() -> None:
    """46 and 95 resets were fio's, with its random numbers; the frequency is 1 in 10 writes."""
    for threshold, most in ((0.3, 70), (0.0, 110)):
        geometry = disk(**LAYOUT)
        text = GLOBAL + "offset=2z\nsize=14z\nio_size=60m\n[w]\nrw=randwrite\n"
        text += f"zone_reset_frequency=0.1\nzone_reset_threshold={threshold}\n"
        run = execute(parse("[global]\n" + text, geometry), geometry, null_model(), 1)
        assert 0.6 * most < run.jobs[0].zone_resets < most
