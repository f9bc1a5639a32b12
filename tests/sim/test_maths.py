"""Random numbers and the simulation's own log, exp and pow: right, and the same bits on every machine."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import pytest

from sim.helpers import KIB, MIB, disk, run, writer
from zoned._core.native import lib
from zoned.bench import Job
from zoned.bench.cleaning import Log, LogConfig


def bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]


@pytest.mark.parametrize(
    "x", [1e-300, 1e-9, 0.1, 0.5, 0.9999, 1.0, 1.0001, math.e, 10.0, 12345.678, 1e18, 1e300]
)
def test_log(x: float) -> None:
    assert lib.zd_sim_log(x) == pytest.approx(math.log(x), rel=4e-16, abs=3e-16)


@pytest.mark.parametrize("x", [-700.0, -20.5, -1.0, -1e-8, 0.0, 1e-12, 0.3, 1.0, 2.5, 33.3, 700.0])
def test_exp(x: float) -> None:
    assert lib.zd_sim_exp(x) == pytest.approx(math.exp(x), rel=2e-15)


@pytest.mark.parametrize(
    ("x", "y"), [(2.0, 10.0), (0.5, 3.3), (1e6, -0.99), (7.0, 0.0), (1.5, 40.0)]
)
def test_pow(x: float, y: float) -> None:
    assert lib.zd_sim_pow(x, y) == pytest.approx(x**y, rel=2e-14)


def test_borders() -> None:
    assert lib.zd_sim_log(0.0) == -math.inf
    assert math.isnan(lib.zd_sim_log(-1.0))
    assert lib.zd_sim_exp(1000.0) == math.inf
    assert lib.zd_sim_exp(-1000.0) == 0.0
    assert lib.zd_sim_pow(0.0, 2.0) == 0.0


def test_same_bits_everywhere() -> None:
    """Pinned: another machine, compiler or libm must not change a bit of these."""
    assert bits(lib.zd_sim_log(3.0)) == 0x3FF193EA7AAD030A
    assert bits(lib.zd_sim_log(0.1)) == 0xC0026BB1BBB55515
    assert bits(lib.zd_sim_exp(1.0)) == PINNED_EXP_1
    assert bits(lib.zd_sim_pow(3.0, 0.7)) == PINNED_POW


PINNED_EXP_1 = 0x4005BF0A8B145768
PINNED_POW = 0x400142E81C889912


def offsets(job: Job, count: int = 4000) -> list[int]:
    """Where random reads of a conventional range went, by bin of the picture: 16 zones of 4 MiB."""
    job.number_ios = count
    job.io_size = 2**62
    result = run(job, geometry=disk(conventional=16))
    out = [0] * 16
    for row in result.picture:
        for at, kib in enumerate(row):
            out[at] += kib // 64
    return out


def random_writer(**keywords: object) -> Job:
    job = Job("w", size=64 * MIB, writes=True, random=True).set_bs(64 * KIB)
    for name, value in keywords.items():
        setattr(job, name, value)
    return job


def test_uniform() -> None:
    seen = offsets(random_writer(norandommap=True))
    assert sum(seen) == 4000
    assert max(seen) < 330
    assert min(seen) > 175


def test_random_map_uses_every_block_once() -> None:
    """Without norandommap each of the 1,024 blocks has its turn before any comes again."""
    job = random_writer()
    result = run(job, geometry=disk(conventional=16))
    assert result.total(1).count == 1024
    assert [sum(row[at] for row in result.picture) for at in range(16)] == [4096] * 16


def test_hot_and_cold() -> None:
    seen = offsets(random_writer(distribution="hotcold", a=0.9, b=0.125))
    assert sum(seen[:2]) / 4000 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("kind", "a"), [("zipf", 1.2), ("pareto", 0.2), ("normal", 10.0)])
def test_skewed(kind: str, a: float) -> None:
    """Skewed distributions are: the busiest zone has clearly more than a sixteenth."""
    seen = offsets(random_writer(distribution=kind, a=a))
    assert sum(seen) == 4000
    assert max(seen) > 500


def test_zipf_follows_its_law() -> None:
    """Through the log layer's own counts: with theta 0.99 over 1,000 blocks WA stays far below uniform's."""
    skewed = Log(
        LogConfig(64, 64, spare=0.2, policy="greedy", separate=True, distribution="zipf", a=1.3),
        seed=1,
    )
    even = Log(LogConfig(64, 64, spare=0.2, policy="greedy", separate=True), seed=1)
    for log in (skewed, even):
        log.write(20_000)
        log.count_from_here()
        log.write(40_000)
    assert skewed.write_amplification < 0.95 * even.write_amplification


def test_sequential_jobs_do_not_draw() -> None:
    """A sequential job is the same under every seed."""
    assert run(writer(), seed=1).series == run(writer(), seed=99).series


def test_no_function_of_libm_but_the_square_root() -> None:
    """The C library's log, exp and pow differ between machines in their last bits; sqrt() does not."""
    folder = Path(__file__).resolve().parents[2] / "native" / "sim"
    used = set()
    for path in folder.rglob("*.c"):
        used |= set(re.findall(r"(?<![\w.>])([a-z][a-z0-9]*)\(", path.read_text(encoding="utf-8")))
    names = "sqrt cbrt pow exp exp2 expm1 log log2 log10 log1p sin cos tan atan fmod floor ceil round trunc rint fma ldexp hypot"
    assert used & {name + suffix for name in names.split() for suffix in ("", "f", "l")} == {"sqrt"}
    flags = (folder.parents[1] / "native" / "python" / "building.py").read_text(encoding="utf-8")
    assert "-ffp-contract=off" in flags
