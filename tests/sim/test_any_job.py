"""Jobs made at random, on every model: each run ends, keeps the disk's rules, and comes out the same twice."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sim.helpers import KIB, MIB, disk
from zoned.bench import Job, Model, Run, Simulation
from zoned.bench.limits import limiting
from zoned.bench.models import load_model, null_model
from zoned.bench.results import as_json
from zoned.geometry import Geometry
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


def any_job(dice: random.Random, geometry: Geometry, number: int, model: Model) -> Job:
    conventional = geometry.nr_conventional == geometry.nr_zones
    first = dice.randrange(0 if conventional else geometry.nr_conventional, 12)
    count = dice.randrange(1, 16 - first + 1)
    job = Job(
        f"j{number}",
        iodepth=dice.choice((1, 1, 3, 16)),
        offset=first * 4 * MIB,
        size=count * 4 * MIB,
    )
    mode = (
        dice.choice(("read", "write", "write", "write", "both", "trim", "trimwrite"))
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
    job.random = dice.random() < 0.6
    job.norandommap = dice.random() < 0.5
    job.append = (
        job.writes and mode == "write" and geometry.dialect == "zns" and dice.random() < 0.4
    )
    job.sequence = dice.choice((0, 1, 5))
    job.identical = dice.random() < 0.1
    job.mix_read = dice.randrange(101)
    job.number_ios = dice.randrange(1, 400)
    job.io_size = dice.choice((0, 2**50, 3 * MIB))
    job.read_beyond_wp = dice.random() < 0.4
    job.verify = job.writes and dice.random() < 0.2
    job.max_open_zones = dice.choice((0, 0, 1, 4))
    job.job_max_open_zones = dice.choice((0, 0, 2))
    job.reset_frequency, job.reset_threshold = dice.choice(((0.0, 0.0), (0.2, 0.3)))
    job.thinktime = dice.choice((0, 0, 5000, 40_000_000))
    job.thinktime_blocks = dice.choice((1, 7))
    job.rate = [0, dice.choice((0, 0, 50 * MIB)), 0]
    job.startdelay = dice.choice((0, 1000))
    job.wait_for = dice.choice((0, 0, number))
    job.runtime = dice.choice((0, 0, 200_000_000))
    sizes = dice.choice(((4, 4), (4, 64), (64, 64), (192, 192), (12, 36)))
    most = geometry.append_limit if job.append and geometry.append_limit else 2**30
    job.bs_min = [min(sizes[0] * KIB, most)] * 3
    job.bs_max = [min(sizes[1] * KIB, most // job.bs_min[0] * job.bs_min[0])] * 3
    assert model is not None
    return job


def conditions(result: Run) -> list[int]:
    return [row[7] for row in ROW.iter_unpack(result.zones)]


@pytest.mark.parametrize("seed", range(250))
def test_any_jobs_end_and_keep_the_rules(seed: int, long_run: bool) -> None:
    for turn in range(20 if long_run else 1):
        check(random.Random(f"{seed} {turn}"), seed)


def check(dice: random.Random, seed: int) -> None:
    geometry, model = models(dice)
    jobs = [any_job(dice, geometry, number, model) for number in range(dice.choice((1, 1, 2, 4)))]
    fills = [
        (zone, dice.choice((64 * KIB, MIB)))
        for zone in range(12, 16)
        if dice.random() < 0.5 and geometry.nr_conventional < 16
    ]
    limit = min(n for n in (geometry.max_open or 99, geometry.max_active or 99))
    runs = []
    for _ in range(2):
        sim = Simulation(geometry, model, seed)
        for zone, size in fills[:limit]:
            sim.fill(zone, 1, size)
        for job in jobs:
            sim.add(job)
        runs.append(sim.run())
    result = runs[0]
    assert as_json(result, "any") == as_json(runs[1], "any")
    assert limiting(result)
    for job in result.jobs:
        # Zone mode keeps to write pointers; only the drive's active limit can still be in the way.
        assert job.rule in ("", "too-many-active"), (job.job, job.error)
        assert job.ended >= job.started
        assert sum(s.count for s in job.stats) + 0 <= 4 * 400 + 20_000
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
        if row[7] in (2, 3, 4):
            assert 0 < row[3] - row[0] < row[2]
