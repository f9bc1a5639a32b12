"""What limited a run, in a sentence: cases whose answer is known beforehand."""

from __future__ import annotations

import re

import pytest

from zoned.bench.fiofile import parse
from zoned.bench.limits import limiting
from zoned.bench.patterns import find
from zoned.bench.runner import execute
from zoned.drives.models import load_drive

ZBD = "ioengine=libaio\ndirect=1\nzonemode=zbd\nnorandommap\n"
HDD = ZBD + "offset=524z\n"
TIMED = "runtime=2\ntime_based\n"


def sentence(text: str, profile: str, filled: int = 0, **changes: float) -> str:
    """Of a job file; ``filled``: zones that are full before; ``changes``: of the model."""
    drive, model = load_drive(profile)
    model = model.but(**changes)
    geometry = drive.geometry()
    plan = parse("[j]\n" + text, geometry)
    if filled:
        plan.fills = [(geometry.nr_conventional, filled, geometry.zone_capacity, False)]
    return limiting(execute(plan, geometry, model, 1))


@pytest.mark.parametrize(
    ("text", "filled", "begin"),
    [
        (f"rw=randread\nbs=4k\n{TIMED}", 50000, "The head's way to the data: 6"),
        (f"rw=randread\nbs=4k\niodepth=32\n{TIMED}", 50000, "The head's way to the data: 5"),
        (f"rw=randread\nbs=4k\nsize=1z\n{TIMED}", 1, "The platter's rotation: 8"),
        ("rw=read\nbs=1m\niodepth=8\nsize=2z\n", 2, "The media's data rate: "),
        ("rw=write\nbs=1m\niodepth=8\nsize=2z\n", 0, "The media's data rate: "),
        ("rw=write\nbs=4k\nsize=1z\nnumber_ios=9000\n", 0, "The time of each command, with 0."),
        ("rw=write\nbs=1m\nrate=10m\nsize=1z\n", 0, "The jobs themselves: rate limits and think"),
        ("rw=write\nbs=1m\nthinktime=50000\nsize=1z\n", 0, "The jobs themselves: rate limits"),
        ("rw=randtrim\nbs=256m\nsize=50z\n", 50, "Zone commands, which took "),
        (
            f"rw=randread\nbs=1m\niodepth=4\nread_beyond_wp=1\n{TIMED}",
            0,
            "The interface, busy 100% of the time",
        ),
    ],
)
def test_hard_disk(text: str, filled: int, begin: str) -> None:
    assert sentence(text + HDD, "hc620", filled).startswith(begin)


@pytest.mark.parametrize(
    ("text", "filled", "begin"),
    [
        ("rw=write\nbs=4k\nsize=1z\n", 0, "The queue depth: 1.0 commands were under way"),
        ("rw=randread\nbs=4k\nsize=8z\n", 8, "The queue depth: 1.0 commands were under way"),
        ("rw=randread\nbs=4k\nsize=8z\niodepth=256\n", 8, "The flash dies, busy with reads 9"),
        ("rw=write\nbs=128k\niodepth=8\nsize=4z\n", 0, "The flash's write rate: "),
        ("rw=write\nbs=4k\niodepth=32\nsize=4z\n", 0, "The flash's write rate: "),
        (
            "rw=write\nbs=4k\nsize=1z\nnumjobs=8\noffset_increment=1z\n",
            0,
            "The controller, busy with single commands ",
        ),
        ("rw=write\nbs=4k\niodepth=8\nsize=4z\nzone_append\n", 0, "The controller, busy with "),
    ],
)
def test_zns(text: str, filled: int, begin: str) -> None:
    short = TIMED.replace("2", "200ms")
    assert sentence(text + short + ZBD, "zn540", filled).startswith(begin)


def test_the_order_within_zones_limits_where_nothing_is_merged() -> None:
    text = "rw=write\nbs=4k\niodepth=8\nsize=4z\n" + TIMED.replace("2", "200ms") + ZBD
    assert sentence(text, "zn540", merge=0).startswith("The order within zones: ")


def test_no_share_of_a_short_run_is_more_than_all_of_it() -> None:
    """Ten commands into the cache and beside it: the head's first way takes longer than the run."""
    said = sentence("rw=randrw\nrwmixread=70\nnumber_ios=10\n" + HDD, "hc620")
    assert said.startswith("The head's way to the data: ")
    assert all(int(share) <= 100 for share in re.findall(r"(\d+)%", said)), said


def test_the_open_limit_is_named() -> None:
    """16 streams where 14 zones may be open; and 16 commands kept to one zone."""
    text = "rw=write\nbs=128k\nnumjobs=16\noffset_increment=1z\nsize=1z\nruntime=100ms\n" + ZBD
    assert sentence(text, "zn540").endswith(
        " 2 jobs stopped early: no zone was left within the open limit."
    )
    text = "rw=randwrite\nbs=4k\niodepth=16\nmax_open_zones=1\nsize=40z\nruntime=100ms\n" + ZBD
    assert sentence(text, "zn540", merge=0).endswith(" of all latency, with max_open_zones=1.")


@pytest.mark.parametrize(
    ("pattern", "settings", "begin", "inside"),
    [
        ("log", {}, "Cleaning, which moved 8", "below it the media's data rate"),
        ("log", {"spare": "0.5"}, "The media's data rate", "; cleaning moved "),
        ("drive-managed", {}, "Cleaning of bands, 9", "was full after 16.9 s"),
        ("drive-managed", {"writes": "5000"}, "The time of each command", "as fast as it was sent"),
        (
            "streams",
            {"streams": "64,128", "zones": "1"},
            "The platter's rotation: 3",
            "(Over all 2 stages",
        ),
    ],
)
def test_patterns(pattern: str, settings: dict[str, str], begin: str, inside: str) -> None:
    found = find(pattern)
    drive, model = load_drive(found.profile)
    geometry = drive.geometry()
    said = limiting(execute(found.plan(geometry, settings), geometry, model, 1))
    assert said.startswith(begin), said
    assert inside in said, said


@pytest.mark.parametrize(
    "more",
    ["iodepth=16\n", "iodepth=16\nruntime=2\n", "iodepth=8\nnumjobs=3\nflow=1\nflow_sleep=900\n"],
)
def test_no_job_rests_longer_than_it_runs(more: str) -> None:
    """A command that ends while its job waits for its rate does not make the wait count again."""
    profile, model = load_drive("hc620")
    text = f"[a]\nioengine=libaio\nrw=randread\nbs=64k\nrate_iops=40\nnorandommap\nnumber_ios=100\n{more}"
    geometry = profile.geometry()
    run = execute(parse(f"{text}direct=1\n", geometry), geometry, model, 1)
    assert all(0 < job.wait_rest <= job.ended - job.started for job in run.jobs)
