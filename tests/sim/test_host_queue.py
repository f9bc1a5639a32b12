"""Queues on the host's side: fio's own lock of a zone, and a scheduler that merges what waits for one."""

from __future__ import annotations

from typing import Any

import pytest

from sim.helpers import KIB, MIB, SECOND
from zoned.bench import Job, Run, Simulation
from zoned.bench.fiofile import parse
from zoned.drives.models import load_drive

ZBD = "direct=1\nzonemode=zbd\nruntime=200ms\ntime_based\n"


def of_text(text: str, profile: str = "zn540", **changes: Any) -> Run:
    loaded, model = load_drive(profile)
    geometry = loaded.geometry()
    sim = Simulation(geometry, model.but(**changes), 1)
    for job in parse("[a]\n" + text + ZBD, geometry).jobs:
        sim.add(job)
    return sim.run()


def under_way(run: Run) -> float:
    """Little's law: commands per second and how long each took."""
    stats = run.total(1)
    return stats.iops * stats.mean / 1e9


# --------------------------------------------------------------------------------- fio's lock of a zone


@pytest.mark.parametrize("profile", ["zn540", "hc620"])
def test_the_wait_for_fios_lock_is_no_latency(profile: str) -> None:
    """8 synchronous jobs on 4 zones: the 4 that have one are under way; an engine that queues has all 8."""
    first = 0 if profile == "zn540" else 524
    text = f"rw=randwrite\nbs=64k\nnumjobs=8\noffset={first}z\nsize=4z\nnorandommap\n"
    locked = of_text(text + "ioengine=psync\n", profile)
    queued = of_text(text + "ioengine=libaio\n", profile, merge=0)
    assert under_way(locked) == pytest.approx(3.2, rel=0.12)
    assert under_way(queued) == pytest.approx(8, rel=0.05)
    assert locked.total(1).iops == pytest.approx(queued.total(1).iops, rel=0.1), "no one waits less"
    assert sum(job.wait_zone for job in locked.jobs) > 0


def test_one_job_per_zone_never_waits_for_a_lock() -> None:
    text = "rw=write\nbs=4k\nnumjobs=4\nsize=1z\noffset_increment=1z\n"
    assert of_text(text + "ioengine=psync\n").total(1) == of_text(text + "ioengine=sync\n").total(1)
    same = [of_text(text + f"ioengine={name}\n", merge=0).total(1) for name in ("psync", "libaio")]
    assert same[0] == same[1]


# ----------------------------------------------------------------------------------------------- merging


def one_zone(depth: int, kib: int = 4, append: bool = False, **changes: Any) -> Run:
    loaded, model = load_drive("zn540")
    geometry = loaded.geometry()
    sim = Simulation(geometry, model.but(**changes), 1)
    job = Job("w", iodepth=depth, size=4 * geometry.zone_size, writes=True, zbd=True, append=append)
    job.runtime, job.time_based = SECOND // 5, True
    sim.add(job.set_bs(kib * KIB))
    return sim.run()


def test_writes_that_wait_for_their_zone_go_as_one() -> None:
    """4 KiB at depth 32: the flash's rate instead of the time of one command after the other."""
    alone, merged = one_zone(32, merge=0).total(1), one_zone(32).total(1)
    assert alone.iops == pytest.approx(90_600, rel=0.01)
    assert merged.iops == pytest.approx(293_000, rel=0.03)
    assert merged.bytes == merged.count * 4 * KIB, "each is counted as itself"
    assert 27 < merged.mean * merged.iops / 1e9 <= 32, "the host has some in its hands"


def test_at_depth_one_and_two_there_is_nothing_to_merge() -> None:
    for depth in (1, 2):
        assert one_zone(depth).total(1) == one_zone(depth, merge=0).total(1)


def test_no_more_is_merged_than_the_drive_takes_at_once() -> None:
    rates = [
        one_zone(32, merge=limit).total(1).iops for limit in ("4KiB", "8KiB", "16KiB", "64KiB")
    ]
    assert rates[0] == one_zone(32, merge=0).total(1).iops
    assert rates[0] < rates[1] < rates[2] < rates[3]
    assert one_zone(8, kib=128).total(1) == one_zone(8, kib=128, merge=0).total(1)


def test_appends_and_random_zones_are_not_merged_with_others() -> None:
    assert one_zone(16, append=True).total(1) == one_zone(16, append=True, merge=0).total(1)
    text = "rw=randwrite\nbs=4k\niodepth=64\nioengine=libaio\nsize=8z\nnorandommap\n"
    run = of_text(text)
    assert not any(job.error for job in run.jobs)
    assert run.total(1).bytes == run.total(1).count * 4 * KIB


def test_what_two_jobs_write_to_one_zone_is_merged_and_belongs_to_each() -> None:
    text = "rw=randwrite\nbs=16k\niodepth=8\nioengine=libaio\nnumjobs=2\nsize=1z\nnorandommap\n"
    run = of_text(text)
    counts = [job.stats[1].count for job in run.jobs]
    assert min(counts) > 0.9 * max(counts)
    written = sum(job.stats[1].bytes for job in run.jobs)
    assert written / MIB / 0.2 == pytest.approx(1166, rel=0.06)


def test_a_hard_disk_gets_what_the_kernel_made_of_it() -> None:
    """Eight writes of 256 KiB under way: five go as one of 1,280 KiB, so the cache has fewer to hold."""
    text = "rw=write\nbs=256k\niodepth=8\nioengine=libaio\noffset=524z\nsize=4z\n"
    merged, alone = of_text(text, "hc620").total(1), of_text(text, "hc620", merge=0).total(1)
    assert merged.rate == pytest.approx(alone.rate, rel=0.02)
    assert merged.bytes == merged.count * 256 * KIB


def test_a_size_that_is_none_is_refused() -> None:
    from zoned.drives.profiles import ProfileError

    model = load_drive("zn540")[1]
    with pytest.raises(ProfileError, match=r"model\.merge must be a size"):
        model.but(merge=1.5)
