"""What the simulation costs: its engine with each model, beside bare C loops; logs and traces.

Wall-clock time of simulating, never virtual time. ``extra_info`` holds the commands of a round.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sortedcontainers import SortedKeyList

import zoned
from zoned._core.native import ffi, lib
from zoned.bench import Job, Simulation
from zoned.bench.cleaning import Candidate, Log, LogConfig
from zoned.bench.patterns import find
from zoned.bench.runner import execute
from zoned.bench.speed import ZONE, empty_disk, writer
from zoned.drives.models import load_drive, null_model
from zoned.traces.foreign import BlockTrace

SIZE = 8 * 2**30
COMMANDS = SIZE // 4096


def engine(model: str, jobs: int = 1) -> int:
    """4 KiB sequential writes to 8 GiB; the commands done."""
    sim = Simulation(empty_disk(SIZE), null_model() if model == "null" else load_drive(model)[1])
    for number in range(jobs):
        job = writer(SIZE // jobs, 4096)
        job.offset = number * (SIZE // jobs)
        sim.add(job)
    return sim.run().commands


def test_bare_loop_over_zone_words(benchmark: BenchmarkFixture) -> None:
    """The least it could cost: the simulator's own state machine in a bare C loop."""

    def work() -> None:
        sim = Simulation(empty_disk(SIZE), null_model())
        assert lib.zd_sim_bare(sim.owned.raw, 0, 4096, COMMANDS) == COMMANDS

    benchmark.extra_info["commands"] = COMMANDS
    benchmark.pedantic(work, rounds=5, warmup_rounds=1)


def test_bare_loop_of_pwrite(benchmark: BenchmarkFixture) -> None:
    """The device's: zd_pwrite() on a disk that keeps no data, in a bare C loop."""
    buffer = ffi.new("uint8_t[]", 4096)
    with zoned.memory(size=SIZE, zone_size=ZONE, conventional=0, data="none", max_open=0) as dev:

        def work() -> None:
            assert lib.zd_sim_bare_device(dev._handle, 0, 4096, COMMANDS, buffer) == COMMANDS

        benchmark.extra_info["commands"] = COMMANDS
        benchmark.pedantic(work, setup=dev.reset_all, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("model", ["null", "hc620"])
def test_sequential(benchmark: BenchmarkFixture, model: str, jobs: int) -> None:
    """One job alone on the model null runs in bursts; two go through the queue of events."""
    benchmark.extra_info["commands"] = COMMANDS
    assert benchmark.pedantic(engine, args=(model, jobs), rounds=5, warmup_rounds=1) == COMMANDS


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("random-zones", {"seconds": "60"}),
        ("append-depth", {"depths": "1,4,64", "seconds": "0.2"}),
        ("read-while-write", {"seconds": "0.2"}),
        ("log", {"zones": "48", "volumes": "1"}),
        ("drive-managed", {"writes": "252000"}),
    ],
)
def test_pattern(benchmark: BenchmarkFixture, name: str, settings: dict[str, str]) -> None:
    """Named patterns as `zonedctl bench` runs them, results collected."""
    pattern = find(name)
    profile, model = load_drive(pattern.profile)
    geometry = profile.geometry()

    def work() -> int:
        return execute(pattern.plan(geometry, settings), geometry, model, 1).commands

    benchmark.extra_info["commands"] = benchmark.pedantic(work, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("policy", ["fifo", "greedy", "cost-benefit"])
def test_cleaning(benchmark: BenchmarkFixture, policy: str) -> None:
    """A million overwrites of a full volume, cleaning included."""
    log = Log(LogConfig(1000, 128, spare=0.1, policy=policy), 1)
    benchmark.extra_info["blocks"] = 1_000_000
    benchmark.pedantic(log.write, args=(1_000_000,), rounds=5, warmup_rounds=1)


def test_cleaning_by_a_python_policy(benchmark: BenchmarkFixture) -> None:
    """100,000 overwrites, the victim chosen in Python from candidates kept in order."""

    def by_age(candidate: Candidate) -> tuple[int, int]:
        return candidate.filled, candidate.segment

    def oldest(order: SortedKeyList, _clock: int) -> int:
        return int(order[0].segment)

    log = Log(LogConfig(1000, 128, spare=0.1), 1, policy=oldest, key=by_age)
    benchmark.extra_info["blocks"] = 100_000
    benchmark.pedantic(log.write, args=(100_000,), rounds=3, warmup_rounds=1)


def test_parsing_a_trace(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """200,000 lines of Alibaba's format, from a file into C records."""
    path = tmp_path / "trace.csv"
    lines = (
        f"0,{'RW'[at % 3 == 0]},{at * 4096},4096,{1577808000000000 + at}\n" for at in range(200_000)
    )
    path.write_text("".join(lines), encoding="utf-8")

    def work() -> int:
        return sum(count for _, count in BlockTrace(path).records())

    assert benchmark.pedantic(work, rounds=5, warmup_rounds=1) == 200_000


def test_making_a_simulation_of_28_tb(benchmark: BenchmarkFixture) -> None:
    """104,312 zones, made and let go."""
    profile, model = load_drive("hc680")
    geometry = profile.geometry()
    benchmark(lambda: Simulation(geometry, model))


def test_fio_job_depth_32_random_reads(benchmark: BenchmarkFixture) -> None:
    """The disk model's choice by position: 20,000 random reads at depth 32."""
    profile, model = load_drive("hc620")
    geometry = profile.geometry()

    def work() -> int:
        sim = Simulation(geometry, model, 1)
        job = Job("r", iodepth=32, size=geometry.zone_size * 500, reads=True, random=True)
        job.norandommap = True
        job.number_ios = 20_000
        sim.add(job)
        return sim.run().commands

    assert benchmark.pedantic(work, rounds=5, warmup_rounds=1) == 20_000
