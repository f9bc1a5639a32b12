"""What fio does with a job file and what the same file does here: commands, bytes, zone resets.

The figures are fio 3.33's own (``--output-format=json,normal``) on Linux 6.12's null_blk with 16 zones of
4 MiB, 3 MiB of them usable, 2 conventional, at most 4 open. Every file is run in virtual time, and those
without a clock in them on an emulated disk in real time too.
"""

from __future__ import annotations

import tomllib
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
    name: Recorded(kept["text"], tuple(map(tuple, kept["jobs"])), kept.get("resets"))
    for name, kept in tomllib.loads(Path(__file__).with_name("as_fio.toml").read_text()).items()
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
