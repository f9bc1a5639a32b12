"""Commands that are sent, waited for and judged by many: fio's iodepth_batch and kin, rate_min, steadystate."""

from __future__ import annotations

import json

import pytest

from sim.helpers import SECOND, disk
from zoned.bench import Job, Run
from zoned.bench.fiofile import FioError, parse
from zoned.bench.results import as_json
from zoned.bench.runner import execute
from zoned.bench.table import as_text
from zoned.drives.models import null_model

GLOBAL = "[global]\ndirect=1\nioengine=libaio\nzonemode=zbd\noffset=2z\nrw=read\nread_beyond_wp=1\nbs=4k\n"


def go(text: str, us: float = 1) -> Run:
    geometry = disk()
    return execute(parse(GLOBAL + text, geometry), geometry, null_model(us), 1)


def only(text: str) -> Job:
    return parse(GLOBAL + text, disk()).jobs[0]


# ------------------------------------------------------------------------------------- batches


def test_a_host_waits_for_as_many_as_it_says() -> None:
    """Of 4 under way on a drive that does one after the other in 1 us, all count when the last is done."""
    alone = (
        go("[a]\niodepth=4\nnumber_ios=400\nthinktime=1s\nthinktime_blocks=4\n").jobs[0].stats[0]
    )
    told = go("[a]\niodepth=4\niodepth_batch_complete_min=4\nnumber_ios=400\n").jobs[0]
    assert told.stats[0].count == 400
    assert told.stats[0].minimum >= alone.minimum
    assert told.depth[2] == 100, (
        "each fourth was sent while 4 were under way, and never one alone behind it"
    )
    assert told.depth[:2] == (100, 200)


def test_a_low_water_mark_lets_the_queue_run_dry() -> None:
    job = go("[a]\niodepth=8\niodepth_low=2\nnumber_ios=806\n").jobs[0]
    assert job.stats[0].count == 806
    # 8 at first, then whenever 2 are left 6 more: sent while 3 to 8 were under way.
    assert job.depth[0] == 1
    assert job.depth[1] == 2 + 133
    assert job.depth[3] == 1 + 133


@pytest.mark.parametrize("engine", ["psync", "libaio"])
@pytest.mark.parametrize("mode", ["write", "randwrite", "randrw", "trim"])
def test_nothing_is_lost_in_batches(mode: str, engine: str) -> None:
    """Whatever stands between commands: resets, rates, limits, rests, the end."""
    geometry = disk(max_open=3)
    text = GLOBAL.replace("rw=read", f"rw={mode}") + "offset=2z\nsize=4z\nbs=64k,64k,4m\n"
    more = "[b]\nnumjobs=2\n[c]\nrate_iops=2000\n[d]\nthinktime=50\n[e]\nnumber_ios=5\n[f]\nzone_reset_frequency=.1\n"
    text = text.replace("libaio", engine)
    batches = "iodepth=9\niodepth_batch=0\niodepth_batch_complete=5\niodepth_low=3\n"
    run = execute(parse(text + batches + more, geometry), geometry, null_model(3), 1)
    assert [job.error for job in run.jobs] == [""] * len(run.jobs)
    assert all(job.ended for job in run.jobs)
    assert sum(stats.count for stats in run.jobs[4].stats) == (4 if mode == "trim" else 5)


def test_batches_as_fio_bounds_them() -> None:
    assert only("[a]\niodepth=4\niodepth_batch_complete=16\n").batch_complete == 4
    plan = parse(GLOBAL + "[a]\niodepth_batch_submit=8\niodepth_batch_complete_max=8\n", disk())
    (note,) = plan.notes
    assert note.endswith("iodepth_batch_complete_max, iodepth_batch_submit")


# ------------------------------------------------------------------------------- rate_min


def test_a_job_that_is_too_slow_ends_with_an_error() -> None:
    """4 KiB in 1 ms each are 4,096,000 bytes a second; fio looks from the third second on."""
    run = go(
        "[a]\ntime_based\nruntime=9\nrate_min=4097000\n[b]\ntime_based\nruntime=9\nrate_min=4000000\n",
        1000,
    )
    slow, quick = run.jobs
    assert "4096000 bytes a second" in slow.error
    assert 3 * SECOND <= slow.ended < 3.01 * SECOND
    assert quick.error == ""
    assert quick.ended == pytest.approx(9 * SECOND, rel=0.01)


@pytest.mark.parametrize(
    ("cycle", "ends"), [("", 3.0), ("rate_cycle=2000\n", 4.0), ("ratecycle=500\n", 2.5)]
)
def test_the_cycle_of_a_rate(cycle: str, ends: float) -> None:
    run = go(f"[a]\ntime_based\nruntime=9\nrate_iops_min=1001\n{cycle}", 1000)
    assert run.jobs[0].ended == pytest.approx(ends * SECOND, abs=5e6)


def test_others_end_with_a_job_that_failed_if_it_says_so() -> None:
    text = "[a]\ntime_based\nruntime=9\nrate_iops_min=1001\n{}[b]\ntime_based\nruntime=9\n"
    assert go(text.format(""), 1000).jobs[1].ended > 8 * SECOND
    assert go(text.format("exitall_on_error\n"), 1000).jobs[1].ended < 3.1 * SECOND
    fine = "[a]\nnumber_ios=10\nexitall_on_error\n[b]\ntime_based\nruntime=9\n"
    assert go(fine, 1000).jobs[1].ended > 8 * SECOND, "no error ended the first"


# ------------------------------------------------------------------------------- steadystate

LONG = "[a]\ntime_based\nruntime=60\n"


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ("steadystate=iops:1%\nss_dur=5\n", 5),
        ("ss=bw:1%\nsteadystate_duration=5\nsteadystate_ramp_time=3\n", 8),
        ("ss=lat_slope:0.1%\nss_dur=6\nss_interval=2\n", 6),
        ("ss=iops_slope:0.5\nss_dur=4\n", 4),
        ("ss=lat:1us\nss_dur=4\n", 4),
    ],
)
def test_a_job_ends_when_it_is_steady(said: str, ends: int) -> None:
    run = go(LONG + said, 1000)
    (job,) = run.jobs
    assert job.ended == pytest.approx(ends * SECOND, abs=5e6)
    assert job.steady is not None
    assert job.steady.attained
    assert (job.steady.iops, job.steady.latency) == (1000, 1_000_000)
    assert "attained=yes" in as_text(run, "test")
    told = json.loads(as_json(run, "test"))["jobs"][0]["steadystate"]
    assert told["attained"] == 1
    assert told["data"]["bw_mean"] == 4_096_000


def test_what_swings_is_not_steady() -> None:
    """Two seconds of work and two of rest: no mean holds."""
    swing = "[a]\ntime_based\nruntime=20\nthinktime=2s\nthinktime_blocks=2000\nss_dur=4\nss=iops:"
    assert not steady(go(swing + "50%\n", 1000))
    assert steady(go(swing + "101%\n", 1000))
    assert go(swing + "50%\n", 1000).jobs[0].ended >= 19 * SECOND


def steady(run: Run) -> bool:
    found = run.jobs[0].steady
    assert found is not None
    return found.attained


def test_jobs_that_are_reported_together_are_steady_together() -> None:
    text = "group_reporting={}\n[a]\ntime_based\nruntime=30\nss=iops:1%\nss_dur=4\nnumjobs=3\n"
    apart, together = go(text.format(0), 1000), go(text.format(1), 1000)
    assert [job.steady.iops for job in apart.jobs if job.steady] == [1000] * 3
    assert [job.steady.iops for job in together.jobs if job.steady] == [3000] * 3
    assert all(job.ended < 4.1 * SECOND for job in (*apart.jobs, *together.jobs))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ss=iops\nss_dur=4\n", "write iops, bw or lat"),
        ("ss=speed:1%\nss_dur=4\n", "write iops, bw or lat"),
        ("ss=iops:0%\nss_dur=4\n", "the limit must be above 0"),
        ("ss=iops:1%\nss_dur=5\nss_interval=2\n", "steadystate_duration=5: it must be a multiple"),
        ("ss=iops:1%\nss_dur=5\nss_interval=500ms\n", "it must be at least 1s"),
        ("rate_iops_min=fast\n", "not a number of commands"),
    ],
)
def test_what_cannot_be_is_told(said: str, told: str) -> None:
    with pytest.raises(FioError, match=rf"job:\d+: .*{told}"):
        only("[a]\ntime_based\nruntime=9\n" + said)


def test_without_a_duration_nothing_is_looked_for() -> None:
    plan = parse(GLOBAL + "[a]\nss=iops:1%\n", disk())
    assert plan.notes == ["job a: without steadystate_duration nothing is to be steady"]
    assert plan.jobs[0].steady == "no"
