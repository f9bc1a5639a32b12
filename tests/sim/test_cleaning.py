"""The log-structured layer: against Desnoyers's closed forms, and policies in Python."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import zoned
from zoned.bench.cleaning import (
    Candidate,
    Log,
    LogConfig,
    desnoyers,
    greedy,
    lru,
    mixed,
    sweep_spare,
)


def measured(config: LogConfig, seed: int, **keywords: Any) -> float:
    """After four volumes of warm-up, over eight more."""
    log = Log(config, seed, **keywords)
    log.write(4 * config.nr_blocks)
    log.count_from_here()
    log.write(8 * config.nr_blocks)
    assert log.user == 8 * config.nr_blocks
    return log.write_amplification


@pytest.mark.parametrize(
    ("spare", "fifo", "greedy_128", "greedy_16"),
    [(0.07, 7.318, 6.940, 5.111), (0.10, 5.179, 4.990, 3.986), (0.20, 2.693, 2.645, 2.353)],
)
def test_closed_forms(spare: float, fifo: float, greedy_128: float, greedy_16: float) -> None:
    """Equations 4 and 12 of the paper, in the values of its own port."""
    alpha = 1 / (1 - spare)
    assert lru(alpha) == pytest.approx(fifo, abs=0.001)
    assert greedy(alpha, 128) == pytest.approx(greedy_128, abs=0.001)
    assert greedy(alpha, 16) == pytest.approx(greedy_16, abs=0.001)


def test_closed_form_for_two_classes() -> None:
    """Equation 14: 0.9 of the writes to 0.1 of the blocks, Sf 0.10; and uniform as its special case."""
    assert mixed(1 / 0.9, 0.9, 0.1) == pytest.approx(6.168, abs=0.002)
    assert mixed(1 / 0.8, 0.5, 0.5) == pytest.approx(lru(1 / 0.8), rel=1e-6)


@pytest.mark.parametrize("policy", ["fifo", "greedy"])
@pytest.mark.parametrize("spare", [0.07, 0.10, 0.20])
def test_uniform_writes(policy: str, spare: float) -> None:
    """4,000 segments of 128 blocks, within half a percent."""
    config = LogConfig(4000, 128, spare=spare, policy=policy)
    assert measured(config, seed=1) == pytest.approx(desnoyers(config), rel=0.005)


def test_few_large_segments_need_the_finite_form() -> None:
    config = LogConfig(128, 4096, spare=0.10, policy="fifo")
    found = measured(config, seed=2)
    assert found == pytest.approx(desnoyers(config), rel=0.01)
    assert found > 1.06 * lru(1 / 0.9)


@pytest.mark.parametrize("policy", ["fifo", "greedy"])
def test_hot_and_cold_mixed(policy: str, long_run: bool) -> None:
    segments = 4000 if long_run else 2000
    config = LogConfig(
        segments, 128, spare=0.10, policy=policy, distribution="hotcold", a=0.9, b=0.1
    )
    assert measured(config, seed=1) == pytest.approx(desnoyers(config), rel=0.015)


@pytest.mark.parametrize("hot", [500, 560, 600])
def test_hot_and_cold_separated(hot: int) -> None:
    config = LogConfig(
        4000, 128, spare=0.10, policy="fifo", distribution="hotcold", a=0.9, b=0.1, hot_segments=hot
    )
    found = measured(config, seed=1)
    assert found == pytest.approx(desnoyers(config), rel=0.015)
    assert found < 2.6, "less than half of what mixing costs"


def test_cost_benefit_with_separation_beats_greedy_under_skew() -> None:
    skew = LogConfig(1000, 64, spare=0.10, distribution="hotcold", a=0.9, b=0.1)
    plain = measured(replace(skew, policy="greedy"), seed=1)
    split = measured(replace(skew, policy="greedy", separate=True), seed=1)
    both = measured(replace(skew, policy="cost-benefit", separate=True), seed=1)
    assert both < 0.75 * plain
    assert both < split < plain


def test_zipf_writes_clean_cheaper_the_more_they_are_skewed(long_run: bool) -> None:
    """With cost-benefit and separation, cold data settles: less is moved than under uniform writes."""
    plain = LogConfig(
        1000 if long_run else 400, 64, spare=0.10, policy="cost-benefit", separate=True
    )
    uniform = measured(plain, seed=1)
    found = [
        measured(replace(plain, distribution="zipf", a=theta), seed=1) for theta in (0.5, 0.9, 1.2)
    ]
    assert uniform > found[0] > found[1] > found[2] > 1
    assert found[1] < 0.85 * uniform


def test_cleaning_cost_is_what_a_segment_still_held() -> None:
    """Blocks moved for each segment cleaned, and write amplification: the same figure twice."""
    log = Log(LogConfig(1000, 64, spare=0.1, policy="fifo"), 1)
    log.write(3 * log.config.nr_blocks)
    log.count_from_here()
    log.write(log.config.nr_blocks)
    used = log.moved / log.cleaned / 64
    assert log.write_amplification == pytest.approx(1 / (1 - used), rel=0.01)


def test_seeds_agree_closely() -> None:
    config = LogConfig(1000, 64, spare=0.1)
    found = [measured(config, seed) for seed in range(4)]
    assert max(found) / min(found) < 1.02
    assert len(set(found)) == 4
    assert measured(config, 2) == found[2]


def test_sweep_over_the_spare_part() -> None:
    points = list(sweep_spare(LogConfig(500, 64, policy="greedy"), [0.05, 0.1, 0.2, 0.3]))
    assert [spare for spare, _ in points] == [0.05, 0.1, 0.2, 0.3]
    values = [amplification for _, amplification in points]
    assert values == sorted(values, reverse=True)


# ------------------------------------------------------------------------------- policies in Python


def test_a_python_policy_that_is_greedy_equals_greedy() -> None:
    """The candidates come in the policy's order: taking the first is greedy, to the block."""
    config = LogConfig(200, 32, spare=0.15)
    ours = measured(config, 3, policy=lambda order, clock: order[0].segment)
    assert ours == pytest.approx(measured(replace(config, policy="greedy"), 3), rel=0.01)


def test_a_python_policy_that_is_fifo_equals_fifo_exactly() -> None:
    config = LogConfig(200, 32, spare=0.15, policy="fifo")
    ours = measured(
        config, 3, policy=lambda order, clock: order[0].segment, key=lambda c: (c.filled, c.segment)
    )
    assert ours == measured(config, 3)


def test_a_policy_sees_current_candidates() -> None:
    seen: list[int] = []

    def policy(order: Any, clock: int) -> int:
        first: Candidate = order[0]
        assert all(0 <= c.valid <= 32 and 0 < c.filled <= clock for c in order)
        assert [c.valid for c in order] == sorted(c.valid for c in order)
        seen.append(first.valid)
        return first.segment

    log = Log(LogConfig(64, 32, spare=0.2), 1, policy=policy)
    log.write(5000)
    assert len(seen) == log.cleaned > 50
    assert log.moved == sum(seen)


def test_a_policy_that_chooses_nonsense_is_told() -> None:
    log = Log(LogConfig(64, 32, spare=0.2), 1, policy=lambda order, clock: 9999)
    with pytest.raises(
        ValueError, match="chose segment 9999, which is free, being written or not there"
    ):
        log.write(5000)


@pytest.mark.parametrize("choice", [None, "x", 1.5, [3]])
def test_a_policy_that_returns_no_segment_is_told(choice: Any) -> None:
    log = Log(LogConfig(64, 32, spare=0.2), 1, policy=lambda order, clock: choice)
    with pytest.raises(ValueError, match="the policy chose segment"):
        log.write(5000)


def test_a_policy_that_never_makes_room_does_not_hang() -> None:
    """The fullest segment again and again: what is moved out of one fills the next."""
    fullest = Log(LogConfig(64, 32, spare=0.2), 1, policy=lambda order, clock: order[-1].segment)
    with pytest.raises(ValueError, match="129 segments in a row that are full of valid blocks"):
        fullest.write(5000)


def test_blocks_of_a_trace() -> None:
    """Given blocks instead of a distribution: rewriting the same few costs nothing but their own."""
    log = Log(LogConfig(64, 32, spare=0.2), 1)
    log.write(0, [index % 64 for index in range(20_000)])
    log.count_from_here()
    log.write(0, [index % 64 for index in range(20_000)])
    assert log.user == 20_000
    assert log.write_amplification < 1.01


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"spare": 0.01}, "do not fit"),
        ({"nr_segments": 2}, "do not fit"),
        ({"distribution": "hotcold", "a": 1.5, "b": 0.1}, "parameters of the distribution"),
        ({"hot_segments": 10}, "two pools need the hot/cold distribution"),
        ({"distribution": "hotcold", "a": 0.9, "b": 0.1, "hot_segments": 3}, "a pool is too small"),
    ],
)
def test_impossible_logs_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(zoned.GeometryError, match=text):
        Log(LogConfig(**({"nr_segments": 64, "segment_blocks": 32} | change)))


def test_no_closed_form_is_said() -> None:
    with pytest.raises(ValueError, match="no closed form for cost-benefit"):
        desnoyers(LogConfig(64, 32, policy="cost-benefit"))


def test_write_amplification_on_a_drive_is_that_of_the_layer() -> None:
    """The log pattern, through zones of a simulated disk with time: the layer's own figure."""
    from sim.helpers import MIB, disk, run
    from zoned.bench import Job

    geometry = disk(size=256 * MIB, zone_size=MIB, conventional=0)
    job = Job(
        "log", kind="log", iodepth=4, size=256 * MIB, writes=True, log_block=16384, log_spare=0.15
    )
    job.log_warm = 40_000
    job.number_ios = 40_000
    result = run(job, geometry=geometry)
    config = LogConfig(256, 64, spare=0.15, policy="greedy")
    assert result.jobs[0].write_amplification == pytest.approx(desnoyers(config), rel=0.03)
    assert result.jobs[0].log_user == 40_000
    assert result.counts["resets"] == result.jobs[0].log_segments
    assert not result.jobs[0].error
