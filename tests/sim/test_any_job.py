"""Jobs made at random, on every model: each run ends, keeps the disk's rules, and comes out the same twice."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sim.helpers import KIB, MIB, disk
from zoned._core.native import ffi
from zoned.bench import Job, Model, Run, Simulation
from zoned.bench.limits import limiting
from zoned.bench.results import as_json
from zoned.bench.simulation import CHUNK
from zoned.drives.models import load_model, null_model
from zoned.geometry import Geometry, GeometryError
from zoned.report import ROW


def models(dice: random.Random) -> tuple[Geometry, Model]:
    """A small disk, and a model that fits it."""
    kind = dice.choice(("null", "hdd", "hdd without cache", "zns", "drive-managed"))
    limits: dict[str, Any] = {"max_open": dice.choice((0, 2, 5))}
    if kind == "drive-managed":
        model = load_model("st8000as0002").but(
            hdd__cache="256KiB",
            hdd__cache_entries=8,
            dm__media_cache="1MiB",
            dm__map_entries=40,
            dm__band="1MiB",
            dm__idle_ms=dice.choice((0, 20)),
        )
        return disk(conventional=16), model
    if kind == "zns":
        geometry = disk(
            size=dice.choice((64 * MIB, 62 * MIB + 512 * KIB)),
            dialect="zns",
            conventional=0,
            zone_capacity=dice.choice((3, 4)) * MIB,
            max_active=dice.choice((0, 6)),
            append_limit=dice.choice((0, 128 * KIB)),
            **limits,
        )
        return geometry, load_model("zn540")
    geometry = disk(
        dialect=dice.choice(("zbc", "nullblk")),
        implicit_close=dice.choice(("oldest", "lowest", "round-robin")),
        unrestricted_read=dice.random() < 0.7,
        size=dice.choice((64 * MIB, 61 * MIB)),
        **limits,
    )
    if kind == "null":
        return geometry, null_model(dice.choice((1, 7)))
    if kind == "hdd":
        return geometry, load_model("hc620").but(
            hdd__cache="1MiB",
            hdd__stream="512KiB",
            hdd__cache_entries=dice.choice((2, 16)),
            hdd__queue=4,
        )
    return geometry, load_model("hc620").but(
        hdd__cache=0, hdd__readahead=dice.choice((0, "128KiB"))
    )


def any_job(dice: random.Random, geometry: Geometry, number: int, append: bool) -> Job:
    conventional = geometry.nr_conventional == geometry.nr_zones
    first = dice.randrange(0 if conventional else geometry.nr_conventional, 12)
    count = dice.randrange(1, 16 - first + 1)
    offset = first * 4 * MIB
    job = Job(
        f"j{number}",
        iodepth=dice.choice((1, 1, 3, 16, 64)),
        offset=offset,
        size=min(count * 4 * MIB, geometry.size - offset),
    )
    mode = (
        dice.choice(
            ("read", "write", "write", "write", "trim")
            if append
            else ("read", "write", "write", "both", "trim", "trimwrite")
        )
        if not conventional
        else dice.choice(("read", "write", "both"))
    )
    job.reads, job.writes, job.trims = (
        mode in ("read", "both"),
        mode in ("write", "both", "trimwrite"),
        mode in ("trim", "trimwrite"),
    )
    job.trimwrite = mode == "trimwrite"
    job.zbd = not conventional
    if dice.random() < 0.05:
        return other_kind(dice, job, geometry, append)
    job.random = dice.random() < 0.6
    job.norandommap = dice.random() < 0.5
    job.append = append and mode == "write"
    job.sequence = dice.choice((0, 1, 5))
    job.identical = dice.random() < 0.1
    job.mix_read = dice.randrange(101)
    job.number_ios = dice.randrange(1, 400)
    job.io_size = dice.choice((0, 2**50, 3 * MIB))
    job.time_based = dice.random() < 0.2
    job.ignore_zone_limits = dice.random() < 0.2
    job.distribution, job.a, job.b = dice.choice(
        (
            ("random", 0.0, 0.0),
            ("zipf", 1.1, 0.0),
            ("pareto", 0.3, 0.0),
            ("normal", 20.0, 0.0),
            ("hotcold", 0.9, 0.1),
            ("zoned", 0.0, 0.0),
        )
    )
    if job.distribution == "zoned":
        job.ranges = [(60.0, 10.0), (0.0, 50.0), (40.0, 40.0)]
    job.sequence_add = dice.choice((0, 0, 0, 64 * KIB, -128 * KIB))
    job.ramp = dice.choice((0, 0, 100_000))
    job.loops = dice.choice((1, 1, 1, 3))
    job.thinktime_issue = dice.random() < 0.5
    job.read_beyond_wp = dice.random() < 0.4
    job.verify = job.writes and dice.random() < 0.2
    job.max_open_zones = dice.choice((0, 0, 1, 4))
    job.job_max_open_zones = dice.choice((0, 0, 2))
    job.reset_frequency, job.reset_threshold = dice.choice(((0.0, 0.0), (0.2, 0.3)))
    job.thinktime = dice.choice((0, 0, 5000, 40_000_000))
    job.thinktime_blocks = dice.choice((1, 7))
    job.rate = [0, dice.choice((0, 0, 50 * MIB)), 0]
    job.rate_iops = [dice.choice((0, 0, 3000)), 0, 0]
    job.startdelay = dice.choice((0, 1000))
    job.wait_for = dice.choice((0, 0, number))
    job.runtime = 200_000_000 if job.time_based else dice.choice((0, 0, 200_000_000))
    sizes = dice.choice(((4, 4), (4, 64), (64, 64), (192, 192), (12, 36)))
    if dice.random() < 0.1 and not job.append:
        job.split = [[(4 * KIB, 30), (24 * KIB, 70)] for _ in range(3)]
    most = geometry.append_limit if job.append and geometry.append_limit else 2**30
    job.bs_min = [min(sizes[0] * KIB, most)] * 3
    job.bs_max = [min(sizes[1] * KIB, most // job.bs_min[0] * job.bs_min[0])] * 3
    return job


def other_kind(dice: random.Random, job: Job, geometry: Geometry, append: bool) -> Job:
    """A job that is not fio's: it may meet zones that others use, and then ends with an error."""
    job.kind = dice.choice(("zones", "log", "trace", "outside zone mode"))
    job.number_ios = dice.randrange(1, 400)
    if job.kind == "zones":
        job.zones_count, job.occupancy = dice.randrange(1, 20), dice.choice((0.0, 0.3, 1.0))
        job.zones_finish, job.zones_finished = dice.random() < 0.5, dice.random() < 0.5
        if job.occupancy < 1 and not job.zones_finish and not job.zones_finished:
            job.zones_command = dice.choice((0, 1, 2))
    elif job.kind == "log":
        job.log_block, job.log_spare, job.log_warm = 64 * KIB, 0.4, dice.choice((0, 500))
        job.writes = True
        job.reads, job.mix_read = dice.random() < 0.3, 30
        job.log_policy = dice.choice(("fifo", "greedy", "cost-benefit"))
        job.log_separate, job.append = dice.random() < 0.3, append and dice.random() < 0.5
    elif job.kind == "outside zone mode":
        job.kind, job.zbd = "fio", False
        job.random = dice.random() < 0.3
        job.append = append
        job.writes, job.reads, job.trims = dice.choice(
            ((True, False, False), (False, True, False), (True, True, False), (False, False, True))
        )
        job.set_bs(dice.choice((4, 64)) * KIB)
    return job


def records(dice: random.Random) -> Iterator[tuple[Any, int]]:
    """A trace, in pieces."""
    at = 0
    for _ in range(dice.randrange(3)):
        array = ffi.new("struct zd_sim_record[]", 50)
        for record in array:
            at += dice.randrange(2_000_000)
            record.time, record.dir = at, dice.choice((0, 0, 1, 2, 3))
            record.offset, record.length = (
                dice.randrange(2**30),
                dice.choice((0, 512, 70_000, 9 * MIB)),
            )
        yield array, 50


def conditions(result: Run) -> list[int]:
    return [row[7] for row in ROW.iter_unpack(result.zones)]


@pytest.mark.parametrize("seed", range(250))
def test_any_jobs_end_and_keep_the_rules(seed: int, long_run: bool) -> None:
    for turn in range(100 if long_run else 2):
        check(random.Random(f"{seed} {turn}"), seed)


@pytest.mark.parametrize(
    "drawn", ["52 24", "78 77", "244 98"], ids=["by another job", "by a trim", "by itself"]
)
def test_what_a_reset_took_is_not_read_back(drawn: str) -> None:
    """A job that verifies, whose zone was reset since: the long form met them."""
    check(random.Random(drawn), int(drawn.split(maxsplit=1)[0]))


def added(sim: Simulation, job: Job, trace: float) -> bool:
    """Whether the job could be had at all: a log needs empty zones, and enough of them."""
    job = replace(job, wait_for=min(job.wait_for, len(sim.jobs)))
    try:
        index = sim.add(job)
    except GeometryError as error:
        if not re.search(
            "log|segments|leave it out of the range|hot part|ranges of random", str(error)
        ):
            raise
        return False
    if job.kind == "trace":
        sim.feed(index, records(random.Random(trace)))
    return True


FAULT_OF_THE_JOB = {
    "unaligned-write", "write-boundary", "gap", "zone-full", "invalid-read", "read-boundary", "append-limit",
    "block-alignment", "unsupported", "read-type", "invalid-transition",
}  # fmt: skip
"""What a job outside zone mode can run into, and a read behind write pointers."""


def check(dice: random.Random, seed: int) -> None:
    geometry, model = models(dice)
    # Writes and appends to one zone at once would be the jobs' own fault: appends move its write pointer.
    append = geometry.dialect == "zns" and dice.random() < 0.4
    jobs = [any_job(dice, geometry, number, append) for number in range(dice.choice((1, 1, 2, 4)))]
    fills = [
        (zone, dice.choice((64 * KIB, MIB)))
        for zone in range(12, 15)
        if dice.random() < 0.5 and geometry.nr_conventional < 16
    ]
    limit = min(n for n in (geometry.max_open or 99, geometry.max_active or 99))
    trace = dice.random()
    runs = []
    for chunk in (CHUNK, 7):  # in pieces too small for bursts: every command by the queue of events
        sim = Simulation(geometry, model, seed)
        sim.chunk = chunk
        for zone, size in fills[:limit]:
            sim.fill(zone, 1, size)
        taken = [job for job in jobs if added(sim, job, trace)]
        runs.append(sim.run())
    result = runs[0]
    assert as_json(result, "any") == as_json(runs[1], "any")
    assert limiting(result)
    # Zone mode keeps to write pointers, so that only the drive's active limit can be in the way - of it and of what
    # waits behind it in its zone - unless another job writes as it likes.
    allowed = {"", "too-many-active"}
    strangers = any(job.kind != "fio" or not job.zbd for job in taken)
    if strangers and geometry.nr_conventional < 16:
        allowed |= FAULT_OF_THE_JOB | {"too-many-open", "geometry"}
    if not geometry.unrestricted_read and any(job.read_beyond_wp for job in taken):
        allowed.add("invalid-read")
    for job in result.jobs:
        assert job.rule in allowed, (job.job, job.error)
        assert job.ended >= job.started
        most = (800 if job.job.trimwrite else 400) * max(1, job.job.loops)
        if job.job.kind == "fio" and not job.job.verify:
            assert sum(stats.count for stats in job.stats) <= most
        for stats in job.stats:
            if stats.count:
                assert 0 < stats.minimum <= stats.mean <= stats.maximum
                assert stats.last <= result.now
                assert sum(n for _, n in stats.buckets) == stats.count
    found = conditions(result)
    if geometry.max_open:
        assert found.count(2) + found.count(3) <= geometry.max_open
    if geometry.max_active:
        assert found.count(2) + found.count(3) + found.count(4) <= geometry.max_active
    for row in ROW.iter_unpack(result.zones):
        if row[7] in (2, 4):
            assert 0 < row[3] - row[0] < row[2]
