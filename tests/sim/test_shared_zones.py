"""Several jobs on the same zones: what the host believes of a zone stays true, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

import zoned
from sim.helpers import KIB, MIB, disk, reader, run, writer
from zoned.bench import Job, Model, Simulation
from zoned.drives.models import load_model, null_model
from zoned.report import ROW

SLOW = Model("null", 0.0, {"null": {"command_us": 100}})


def written(zones: bytes) -> list[int]:
    return [row[3] - row[0] for row in ROW.iter_unpack(zones)]


def resetter(**keywords: object) -> Job:
    """Resets zone 2 some time after the others began."""
    return Job(
        "t", offset=8 * MIB, size=4 * MIB, trims=True, zbd=True, startdelay=150_000, **keywords
    )


def test_a_reset_that_waits_behind_a_write_is_not_forgotten() -> None:
    """The host counts the reset when it sends it. The writes before it, on their way, must not undo that."""
    deep = writer(size=4 * MIB, iodepth=4, number_ios=8)
    late = replace(writer(size=4 * MIB, number_ios=3), startdelay=160_000)
    result = run(deep, resetter(), late, model=SLOW)
    assert [job.error for job in result.jobs] == ["", "", ""]
    # Five writes lie before the reset and are gone; three are sent after it by the first job, three by the last.
    assert result.counts["resets"] == 1
    assert written(result.zones)[2] == 6 * 64 * KIB


def test_appends_wait_for_a_reset_that_is_under_way() -> None:
    geometry = disk(dialect="zns", conventional=0)
    job = replace(writer(offset=8 * MIB, size=4 * MIB, iodepth=8, number_ios=24), append=True)
    second = replace(resetter(), startdelay=150_000)
    third = replace(resetter(), startdelay=151_000)
    result = run(job, second, third, geometry=geometry, model=SLOW)
    assert [job.error for job in result.jobs] == ["", "", ""]
    # 16 were sent before; the other 8, sent while the first reset ran, lie behind the second.
    assert written(result.zones)[2] == 8 * 64 * KIB
    assert result.jobs[0].wait_zone > 0


def test_what_waits_behind_a_refused_write_fails_for_the_same_reason() -> None:
    geometry = disk(dialect="zns", conventional=0, max_open=0, max_active=2)
    sim = Simulation(geometry, SLOW)
    sim.fill(0, 1, MIB)
    first, second = (
        Job(name, offset=at * 4 * MIB, size=4 * MIB, writes=True, zbd=True)
        for name, at in (("a", 2), ("b", 3))
    )
    sim.add(first)
    sim.add(second)
    sim.add(replace(second, name="c", iodepth=4))
    result = sim.run()
    assert [job.rule for job in result.jobs] == ["", "too-many-active", "too-many-active"]
    assert result.jobs[2].error == result.jobs[1].error
    assert written(result.zones)[3] == 0


def test_a_zone_whose_last_write_was_refused_does_not_hold_up_the_others() -> None:
    """The job that waits for room within max_open_zones goes on when the write it waits for has failed."""
    geometry = disk(
        dialect="zns", conventional=0, zone_capacity=256 * KIB, max_open=0, max_active=1
    )
    sim = Simulation(geometry, SLOW)
    sim.fill(0, 1, 64 * KIB)  # the one active zone
    jobs = [
        Job(f"j{at}", offset=8 * MIB, size=8 * MIB, writes=True, zbd=True, random=True, max_open_zones=1, norandommap=True)
        for at in range(3)
    ]  # fmt: skip
    for job in jobs:
        sim.add(job.set_bs(256 * KIB))
    result = sim.run()
    # Zones that are full at once need no resource that lasts, but opening them does.
    assert {job.rule for job in result.jobs} <= {"", "too-many-active"}
    assert all(job.ended < 10**9 for job in result.jobs)


def test_waiting_for_an_open_zone_takes_no_longer_than_the_write_it_waits_for() -> None:
    """Two deep jobs, one zone allowed: there is always a write or a reset under way."""
    job = writer(random=True, norandommap=True, iodepth=64, number_ios=512, io_size=2**60)
    result = run(job, job, geometry=disk(max_open=1))
    assert [found.error for found in result.jobs] == ["", ""]
    assert result.total(1).count == 1024
    assert result.now <= (1024 + result.counts["resets"]) * 1000
    assert not any(found.stopped for found in result.jobs)


@pytest.mark.parametrize("random", [False, True])
def test_a_rest_too_small_for_a_block_is_finished_under_an_open_limit_too(random: bool) -> None:
    job = writer(bs=192 * KIB, iodepth=4, random=random, number_ios=294)
    result = run(job, geometry=disk(max_open=4))
    assert result.total(1).count == 294
    assert result.counts["finishes"] >= 10


def test_resetting_what_fills_the_cache_lets_waiting_writes_in() -> None:
    """A disk's cache is full of one zone's data, and that zone is reset while the head reads elsewhere."""
    model = load_model("hc620").but(
        hdd__cache="1MiB", hdd__stream="1MiB", hdd__cache_entries=64, hdd__reset_ms=0
    )
    sim = Simulation(disk(), model)
    sim.fill(5, 11, 4 * MIB)
    sim.add(
        reader(
            offset=20 * MIB, size=44 * MIB, random=True, iodepth=8, number_ios=400, norandommap=True
        )
    )
    sim.add(writer(offset=8 * MIB, size=4 * MIB, iodepth=1, number_ios=16))
    sim.add(
        replace(
            writer(offset=12 * MIB, size=4 * MIB, iodepth=8, number_ios=40), startdelay=30_000_000
        )
    )
    sim.add(Job("t", offset=8 * MIB, size=4 * MIB, trims=True, zbd=True, startdelay=30_001_000))
    result = sim.run()
    assert [job.error for job in result.jobs] == [""] * 4
    assert written(result.zones)[3] == 40 * 64 * KIB


def test_a_drive_managed_write_larger_than_the_media_cache_goes_past_it() -> None:
    model = load_model("st8000as0002").but(
        hdd__cache="256KiB", hdd__cache_entries=8, dm__media_cache="1MiB", dm__map_entries=40, dm__band="1MiB", dm__idle_ms=0
    )  # fmt: skip
    sim = Simulation(disk(conventional=16), model)
    sim.add(
        Job(
            "w",
            offset=64 * KIB,
            size=60 * MIB,
            writes=True,
            random=True,
            number_ios=5,
            norandommap=True,
        ).set_bs(4 * MIB)
    )
    result = sim.run()
    assert result.total(1).count == 5
    # The last one may still be in the volatile cache.
    assert result.drive_managed["past_cache"] >= 4
    assert result.drive_managed["into_cache"] == 0


def test_time_based_reading_starts_again_behind_the_last_data() -> None:
    sim = Simulation(disk(), null_model())
    sim.fill(3, 2, MIB)
    sim.add(reader(time_based=True, runtime=10_000_000))
    result = sim.run()
    assert result.jobs[0].ended == 10_000_000
    assert result.total(0).count == 10_000


def test_a_last_zone_smaller_than_a_block_is_named() -> None:
    geometry = disk(size=60 * MIB + 64 * KIB)
    with pytest.raises(
        zoned.GeometryError,
        match="zone 15 has room for 65536 bytes, less than the block size of 131072",
    ):
        run(writer(size=52 * MIB + 64 * KIB, bs=128 * KIB), geometry=geometry)
    assert run(writer(size=52 * MIB, bs=128 * KIB), geometry=geometry).total(1).bytes == 52 * MIB


def test_a_job_waits_for_earlier_jobs_only() -> None:
    with pytest.raises(zoned.GeometryError, match="it waits for job 0 and is itself number 0"):
        run(writer(wait_for=1))


def test_a_hot_part_of_too_few_blocks_is_named() -> None:
    with pytest.raises(zoned.GeometryError, match=r"a hot part of 0\.1 of it leaves none hot"):
        run(writer(random=True, size=4 * MIB, bs=2 * MIB, distribution="hotcold", a=0.9, b=0.1))


def test_reads_of_what_is_on_its_way_keep_to_the_drive_where_it_is_strict() -> None:
    """A disk that refuses reads behind write pointers: a host in zone mode sends none, whatever is being written."""
    job = writer(
        reads=True,
        random=True,
        mix_read=50,
        iodepth=16,
        number_ios=2000,
        norandommap=True,
        io_size=2**60,
    )
    result = run(job, geometry=disk(unrestricted_read=False), model=SLOW)
    assert result.jobs[0].error == ""
    assert result.total(0).count > 500
