"""What the commands of a ZNS SSD do to each other: all of it comes from the dies that they share."""

from __future__ import annotations

from typing import Any

import pytest

from sim.helpers import KIB, MIB, SECOND
from zoned.bench import Job, Model, Run, Simulation
from zoned.drives.models import load_drive
from zoned.geometry import Geometry


def zns(**changes: Any) -> tuple[Geometry, Model]:
    profile, model = load_drive("zn540")
    return profile.geometry(), model.but(
        **{f"zns__{name}": value for name, value in changes.items()}
    )


def writer(geometry: Geometry, first: int, *, kib: int = 128, rate: int = 0, **more: Any) -> Job:
    """Sequential writes from zone ``first`` on, for 0.3 s unless told otherwise."""
    values: dict[str, Any] = {"runtime": 3 * SECOND // 10, "time_based": True} | more
    job = Job("w", offset=first * geometry.zone_size, size=20 * geometry.zone_size, **values)
    job.writes = job.zbd = True
    job.rate = [0, rate * MIB, 0]
    return job.set_bs(kib * KIB)


def reader(geometry: Geometry, depth: int, **more: Any) -> Job:
    """Random 4 KiB reads of the first 20 zones."""
    values: dict[str, Any] = {"runtime": 3 * SECOND // 10, "random": True} | more
    job = Job("r", iodepth=depth, size=20 * geometry.zone_size, reads=True, **values)
    job.zbd = job.norandommap = job.time_based = True
    return job


def run(geometry: Geometry, model: Model, *jobs: Job) -> Run:
    sim = Simulation(geometry, model, 1)
    sim.fill(0, 20, geometry.zone_capacity)
    for job in jobs:
        sim.add(job)
    return sim.run()


def beside(depth: int, rate: int, **changes: Any) -> Run:
    geometry, model = zns(**changes)
    return run(geometry, model, reader(geometry, depth), writer(geometry, 40, rate=rate))


# --------------------------------------------------------------------------------- reads and writes


def test_the_more_is_written_the_slower_are_reads_and_the_other_way_round() -> None:
    by_rate = [beside(32, rate) for rate in (10, 250, 1000)]
    reads = [result.total(0).iops for result in by_rate]
    assert reads[0] > 1.5 * reads[1] > 1.5 * reads[2]
    written = [beside(depth, 1000).total(1).rate / MIB for depth in (1, 16, 64)]
    assert written[0] == pytest.approx(1000, rel=0.01)
    assert written[0] > 1.2 * written[1] > 1.1 * written[2]


def test_a_read_waits_for_a_pulse_of_the_program_that_it_stops() -> None:
    alone = beside(1, 1, suspend_us=270).total(0).percentile(50)
    for pulse in (100, 270):
        stats = beside(1, 1000, suspend_us=pulse).total(0)
        assert stats.percentile(95) < alone + pulse * 1000
        assert stats.mean > alone + pulse * 1000 / 4


def test_a_program_lets_so_many_reads_go_first_and_then_runs_to_its_end() -> None:
    """Nothing is stopped without; with one read at a time there is no difference between many and more."""
    program = 2.57e6
    never = beside(1, 500, suspend_reads=0).total(0)
    assert never.percentile(99) > program / 2
    assert beside(1, 500, suspend_reads=18).total(0).percentile(99) < program / 5
    few, many = (beside(32, 50, suspend_reads=n).total(0).percentile(99.9) for n in (4, 1000))
    assert few > program / 2 > many


def test_what_is_stopped_takes_longer() -> None:
    rates = [beside(32, 1000, resume_us=ns).total(1).rate for ns in (0, 200)]
    assert rates[0] > 1.2 * rates[1]


def test_large_writes_have_a_tail_because_programs_end_in_bunches() -> None:
    geometry, model = zns()
    stats = run(geometry, model, writer(geometry, 40, kib=64)).total(1)
    assert stats.percentile(50) == pytest.approx(37_600, rel=0.02)
    assert stats.percentile(99) > 5 * stats.mean
    geometry, even = zns(shot_spread=0, buffer="64MiB", write_mib_s=4000)
    assert run(geometry, even, writer(geometry, 40, kib=64)).total(1).percentile(99) < 38_500


# ----------------------------------------------------------------------------------- sequential reads


def test_sequential_reads_come_from_what_was_read_ahead() -> None:
    geometry, model = zns()
    for kib, micros in ((4, 7.6), (128, 53.5)):
        stream = run(geometry, model, reader(geometry, 1, random=False).set_bs(kib * KIB))
        assert stream.total(0).percentile(50) / 1e3 == pytest.approx(micros, rel=0.02)
    never = run(geometry, model.but(zns__ahead_us=0), reader(geometry, 1, random=False))
    assert never.total(0).mean > 24_000
    assert run(geometry, model, reader(geometry, 1)).total(0).minimum > 60_000


def test_two_streams_are_no_stream_but_find_pages_that_a_die_has_sensed() -> None:
    geometry, model = zns()

    def two(kib: int) -> Run:
        jobs = [reader(geometry, 1, random=False).set_bs(kib * KIB) for _ in range(2)]
        jobs[1].offset, jobs[1].size = 10 * geometry.zone_size, 10 * geometry.zone_size
        jobs[0].size = 10 * geometry.zone_size
        return run(geometry, model, *jobs)

    small, pages = two(4).total(0), two(16).total(0)
    assert small.percentile(50) == pytest.approx(24_600, rel=0.03), "three of four"
    assert small.percentile(90) > 70_000
    assert pages.minimum > 100_000, "a page each"


# --------------------------------------------------------------------------------------------- FINISH


def finishing(geometry: Geometry, count: int, first: int = 100) -> list[Job]:
    """One job for each: it finishes one zone that is half full."""
    return [
        Job("f", kind="zones", offset=(first + at) * geometry.zone_size, size=geometry.zone_size,
            zones_count=1, occupancy=0.5, zones_finish=True)
        for at in range(count)
    ]  # fmt: skip


def test_four_zones_finished_at_once_share_the_flash() -> None:
    geometry, model = zns()
    one = run(geometry, model, *finishing(geometry, 1)).total(2).mean
    four = run(geometry, model, *finishing(geometry, 4)).total(2)
    assert one / 1e6 == pytest.approx(456.7, rel=0.02)
    assert four.maximum == pytest.approx(4 * one, rel=0.02)
    padded = 4 * 0.5 * geometry.zone_capacity / MIB
    assert padded / (four.maximum / 1e9) < 1190 * 1.001


def test_finish_and_a_writer_slow_each_other() -> None:
    geometry, model = zns()
    jobs = [writer(geometry, 40, runtime=9 * SECOND // 10), *finishing(geometry, 1)]
    result = run(geometry, model, *jobs)
    assert result.total(2).mean / 1e6 == pytest.approx(2 * 456.7, rel=0.06)
    assert result.total(1).rate / MIB == pytest.approx(1166 / 2, rel=0.06)


# ---------------------------------------------------------------------------------------------- RESET


def resets(**more: Any) -> list[Job]:
    """Resets of full zones, one after the other, and something else beside them."""
    geometry, _ = zns()
    job = Job("z", kind="zones", offset=100 * geometry.zone_size, size=10 * geometry.zone_size)
    job.zones_count, job.occupancy = 10, 1.0
    return [job, *([writer(geometry, 40, **more)] if more else [])]


def test_a_reset_waits_for_writes_and_they_for_it() -> None:
    geometry, model = zns()
    alone = run(geometry, model, *resets()).total(2)
    assert alone.percentile(50) / 1e6 == pytest.approx(15.4, rel=0.01)
    both = run(geometry, model, *resets(kib=4))
    assert both.total(2).percentile(50) / 1e6 == pytest.approx(32.0, rel=0.06)
    assert 15e6 < both.total(1).maximum < 17e6
    assert both.total(1).percentile(99) < 20_000, "only those that come while the zone is erased"


def test_beside_appends_a_reset_waits_for_their_programs_only() -> None:
    geometry, model = zns()
    both = run(geometry, model, *resets(kib=4, append=True))
    assert 15.4e6 < both.total(2).percentile(50) < 18.1e6
    assert both.total(1).maximum > 14e6
    alone = run(geometry, model.but(zns__reset_slice_ms=0), *resets(kib=4)).total(2)
    assert alone.percentile(50) < 18.1e6, "without slices a write puts nothing off"


# ---------------------------------------------------------------------------------------------- flush


def test_a_flush_waits_until_what_was_written_is_programmed() -> None:
    geometry, model = zns()
    job = writer(geometry, 40, time_based=False, runtime=0, number_ios=50)
    times = {}
    for fsync in (0, 1):
        job.fsync = fsync
        times[fsync] = run(geometry, model, job).now
    assert times[1] > 25 * 2.3e6, "every second write of 128 KiB fills another program at least"
    assert times[0] < 50 * 80e3


def test_many_zone_commands_at_once_and_a_write_larger_than_the_buffer() -> None:
    """More than there are slots for at first; none is lost, whatever waits for what."""
    geometry, model = zns()
    jobs = [
        Job("z", kind="zones", offset=(100 + at) * geometry.zone_size, size=geometry.zone_size,
            zones_count=1, occupancy=0.9, zones_finish=bool(at % 2))
        for at in range(12)
    ]  # fmt: skip
    large = writer(geometry, 40, kib=4096, time_based=False, runtime=0, number_ios=20)
    result = run(geometry, model, *jobs, large)
    assert result.total(2).count == 12
    assert result.total(1).count == 20
    assert not any(job.error for job in result.jobs)
