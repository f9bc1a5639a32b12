"""A drive-managed disk: reads in its queue, streams past its media cache, and its map."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sim.helpers import KIB, MIB, SECOND
from zoned.bench import Job, Run, Simulation
from zoned.drives.models import load_drive

GIB = 1024 * MIB


def run(*jobs: Job, **changes: Any) -> Run:
    profile, model = load_drive("st8000as0002")
    sim = Simulation(
        profile.geometry(),
        model.but(**{k if "__" in k else f"dm__{k}": v for k, v in changes.items()}),
        1,
    )
    for job in jobs:
        sim.add(job)
    return sim.run()


def job(kib: int, **keywords: Any) -> Job:
    return Job("j", **({"io_size": 2**60, "norandommap": True} | keywords)).set_bs(kib * KIB)


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_sequential_reads_lose_no_turn_at_any_depth(depth: int) -> None:
    stats = run(job(128, reads=True, iodepth=depth, size=64 * GIB, number_ios=4000)).total(0)
    assert stats.rate / 1e6 == pytest.approx(190, rel=0.02)
    never = run(
        job(128, reads=True, iodepth=1, size=64 * GIB, number_ios=100), hdd__readahead=0
    ).total(0)
    assert never.rate / 1e6 < 15, "a turn for each"


def test_random_reads_are_served_by_position() -> None:
    size = 8 * 10**12
    rates = [
        run(job(4, reads=True, random=True, iodepth=depth, size=size, number_ios=800)).total(0).iops
        for depth in (1, 4, 32)
    ]
    assert 1.2 * rates[0] < rates[1] < rates[2] / 1.3


def streams(count: int, **changes: Any) -> Run:
    jobs = [
        job(1024, writes=True, offset=at * 128 * GIB, size=128 * GIB, runtime=8 * SECOND)
        for at in range(count)
    ]
    return run(*jobs, **changes)


def test_more_streams_are_never_faster_than_fewer() -> None:
    rates = [streams(count).total(1).rate for count in (1, 2, 4, 8, 16)]
    assert all(more <= 1.03 * fewer for fewer, more in itertools.pairwise(rates))
    assert rates[-1] > 0.5 * rates[0]


def test_the_drive_follows_so_many_streams_past_its_cache() -> None:
    followed = [streams(4, streams=count).drive_managed for count in (1, 4)]
    assert followed[0]["into_cache"] > followed[0]["past_cache"]
    assert followed[1]["past_cache"] > 10 * followed[1]["into_cache"]


def test_what_is_written_over_needs_one_entry_of_the_map() -> None:
    place = run(job(4, writes=True, random=True, size=4 * KIB, number_ios=5000), map_entries=1000)
    assert place.drive_managed["into_cache"] > 4500
    assert place.drive_managed["full_at"] == place.drive_managed["bands_cleaned"] == 0
    few = run(job(4, writes=True, random=True, size=2 * MIB, number_ios=5000), map_entries=1000)
    assert few.drive_managed["bands_cleaned"] == 0, "512 places"
    many = run(
        job(4, writes=True, random=True, size=2 * GIB, number_ios=5000), map_entries=1000, idle_ms=0
    )
    assert many.drive_managed["full_entries"] == 1000


def test_writes_across_old_ones_take_their_place_in_the_map() -> None:
    """Sizes and places that cut each other: the map holds no more than fits the span."""
    mixed = job(4, writes=True, random=True, size=8 * MIB, number_ios=20_000)
    mixed.split[1] = [(4 * KIB, 50), (12 * KIB, 30), (64 * KIB, 20)]
    done = run(mixed, map_entries=2049, idle_ms=0, hdd__cache_entries=16).drive_managed
    assert done["into_cache"] > 19_000
    assert done["bands_cleaned"] == 0, "2,048 blocks of 4 KiB at most, and never that many"


def test_a_stream_over_cached_data_takes_it_out_of_the_map() -> None:
    first = job(4, writes=True, random=True, size=30 * MIB, number_ios=500)
    over = job(1024, writes=True, size=30 * MIB, io_size=30 * MIB, wait_for=1)
    later = job(4, writes=True, random=True, offset=60 * MIB, size=30 * MIB, number_ios=500)
    later.wait_for = 2
    first.end_fsync = over.end_fsync = later.end_fsync = True
    done = run(first, over, later, map_entries=700, idle_ms=0).drive_managed
    assert done["past_cache"] == 30
    assert done["bands_cleaned"] == 0
