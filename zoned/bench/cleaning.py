"""The log-structured layer by itself: write amplification of a policy, and the closed forms.

Segments and blocks, no time and no drive; runs in C (native/sim/layer.c). A policy of one's own
is a Python function that picks the segment to clean; it sees the candidates in an order that is
kept up to date (sortedcontainers), not rebuilt for each choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sortedcontainers import SortedKeyList

from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import LOG, Owned
from zoned._core.raising import raise_error
from zoned.bench.jobs import DISTRIBUTIONS, POLICIES


@dataclass(frozen=True, slots=True)
class LogConfig:
    """A volume on segments. ``spare`` is Sf: the part of all room that the volume does not use."""

    nr_segments: int
    segment_blocks: int
    spare: float = 0.1
    policy: str = "greedy"
    """fifo, greedy, cost-benefit; "outside" for a Python function."""
    separate: bool = False
    """Cleaned blocks go to segments of their own."""
    distribution: str = "random"
    """random, zipf (a), pareto (a), normal (a), hotcold (a of the writes to b of the blocks)."""
    a: float = 0.0
    b: float = 0.0
    hot_segments: int = 0
    """hotcold only: hot and cold blocks have pools of their own, this many segments hot."""

    @property
    def nr_blocks(self) -> int:
        """Of the volume."""
        return int(self.nr_segments * self.segment_blocks * (1 - self.spare))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment that may be cleaned."""

    segment: int
    valid: int
    """Blocks that cleaning would have to move."""
    filled: int
    """The clock (blocks written so far) when it was filled."""


Policy = Callable[[SortedKeyList, int], int]
"""(candidates in the order of the policy's key, the clock now) -> the segment to clean."""


class Log:
    """A full volume that is being overwritten.

    ``policy`` with config.policy "outside": a function of the candidates and the clock. ``key``
    orders the candidates (default: fewest valid blocks first, then oldest).
    Raises GeometryError for a configuration that cannot be.
    """

    def __init__(
        self,
        config: LogConfig,
        seed: int = 0,
        policy: Policy | None = None,
        key: Callable[[Candidate], Any] | None = None,
    ) -> None:
        self.config = config
        raw = ffi.new("struct zd_log_config *")
        raw.nr_segments = config.nr_segments
        raw.segment_blocks = config.segment_blocks
        raw.nr_blocks = config.nr_blocks
        raw.policy = lib.ZD_SIM_OUTSIDE if policy is not None else POLICIES[config.policy]
        raw.separate = config.separate
        raw.pools = 2 if config.hot_segments else 1
        raw.hot_segments = config.hot_segments
        raw.reserve = 1
        raw.distribution = DISTRIBUTIONS[config.distribution]
        raw.a, raw.b = config.a, config.b
        raw.seed = seed & 0xFFFFFFFFFFFFFFFF
        self._owned = Owned(LOG)
        err = ffi.new("struct zd_error *")
        code = lib.zd_log_create(raw, self._owned.cell, err)
        if code < 0:
            raise_error(code, err, None, None)
        self._policy = policy
        if policy is not None:
            self._order = SortedKeyList(key=key or (lambda c: (c.valid, c.filled, c.segment)))
            self._known: dict[int, Candidate] = {}
            self._valid = self._call(lib.zd_log_valid)
            self._filled = self._call(lib.zd_log_filled)
            self._changed = ffi.new("uint32_t[]", config.nr_segments)
            self._in_vain = 0
            """Victims in a row that were full: cleaning them made no room."""

    def write(self, count: int, blocks: Sequence[int] | None = None) -> None:
        """Overwrite ``count`` blocks by the distribution, or these (modulo the volume's size)."""
        given = ffi.NULL if blocks is None else ffi.new("uint64_t[]", blocks)
        left = count if blocks is None else len(blocks)
        done = ffi.new("uint64_t *")
        while left:
            at = given if blocks is None else given + (len(blocks) - left)
            state = self._call(lib.zd_log_write, min(left, 10_000_000), at, done)
            left -= done[0]
            if state == lib.ZD_SIM_WANTS_VICTIM:
                self._clean_one()
            elif state < 0:
                raise OSError(-state, "the log has no segment to clean")

    def _clean_one(self) -> None:
        assert self._policy is not None
        self._refresh()
        victim = self._policy(self._order, self._call(lib.zd_log_clock))
        known = self._known.get(victim) if isinstance(victim, int) else None
        if known is None or self._call(lib.zd_log_clean, victim) < 0:
            raise ValueError(
                f"the policy chose segment {victim}, which is free, being written or not there"
            )
        self._in_vain = self._in_vain + 1 if known.valid == self.config.segment_blocks else 0
        if self._in_vain > 2 * self.config.nr_segments:
            raise ValueError(
                f"the policy chose {self._in_vain} segments in a row that are full of valid blocks "
                f"(the last was {victim}): cleaning them makes no room"
            )

    def _refresh(self) -> None:
        """Bring the candidates' order up to date with what was written since."""
        count = self._call(lib.zd_log_changed, self._changed, self.config.nr_segments)
        for segment in self._changed[0:count]:
            old = self._known.pop(segment, None)
            if old is not None:
                self._order.remove(old)
            if self._filled[segment]:
                new = Candidate(segment, self._valid[segment], self._filled[segment])
                self._known[segment] = new
                self._order.add(new)

    def count_from_here(self) -> None:
        """Forget what was counted: the end of the warm-up."""
        self._call(lib.zd_log_count_from_here)

    def _counts(self) -> Any:
        out = ffi.new("struct zd_log_counts *")
        self._call(lib.zd_log_counts, out)
        return out

    def _call(self, function: Callable[..., Any], *args: object) -> Any:
        with Guard(self._owned):
            return function(self._owned.raw, *args)

    @property
    def user(self) -> int:
        """Blocks that the user wrote."""
        return int(self._counts().user)

    @property
    def moved(self) -> int:
        """Blocks that cleaning moved."""
        return int(self._counts().moved)

    @property
    def cleaned(self) -> int:
        """Segments cleaned."""
        return int(self._counts().cleaned)

    @property
    def write_amplification(self) -> float:
        """Blocks written to segments for each block that the user wrote."""
        counts = self._counts()
        return float((counts.user + counts.moved) / counts.user) if counts.user else math.nan


# ------------------------------------------------------------------------------ closed forms


def _lambert_w0(x: float) -> float:
    """The principal branch, -1/e <= x: Halley's iteration."""
    w = math.log1p(x) if x > -0.25 else -1 + math.sqrt(max(0.0, 2 * (1 + math.e * x)))
    for _ in range(60):
        e = math.exp(w)
        step = (w * e - x) / (e * (w + 1) - (w + 2) * (w * e - x) / (2 * w + 2) + 1e-300)
        w -= step
        if abs(step) < 1e-15 * max(1.0, abs(w)):
            break
    return w


def lru(alpha: float) -> float:
    """Desnoyers, Eq. 4: FIFO (LRU) cleaning under uniform writes; alpha = physical / logical."""
    return alpha / (alpha + _lambert_w0(-alpha * math.exp(-alpha)))


def greedy(alpha: float, segment_blocks: int) -> float:
    """Eq. 12: greedy cleaning under uniform writes."""
    k = 1 + 1 / (2 * segment_blocks)
    return lru(k * alpha) / k


def mixed(alpha: float, r: float, f: float) -> float:
    """Eq. 14: FIFO, r of the writes to f of the blocks, all in one log."""

    def function(x: float) -> float:
        return (
            1
            + r / math.expm1(r / f * alpha / x)
            + (1 - r) / math.expm1((1 - r) / (1 - f) * alpha / x)
            - x
        )

    low, high = 1.0 + 1e-9, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        if function(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def desnoyers(config: LogConfig, finite: bool = True) -> float:
    """The closed form for a configuration. ``finite``: alpha as (T-1)/U, because one segment of a
    pool is always being written or free; otherwise T/U, the paper's own form, for many segments.
    Raises ValueError where there is none.
    """
    volume = config.nr_blocks / config.segment_blocks
    away = 1 if finite else 0
    alpha = (config.nr_segments - away) / volume
    size = config.segment_blocks
    if config.policy not in ("fifo", "greedy") or config.separate:
        raise ValueError(f"there is no closed form for {config.policy}")
    if config.distribution == "random":
        return lru(alpha) if config.policy == "fifo" else greedy(alpha, size)
    if config.distribution != "hotcold":
        raise ValueError(f"there is no closed form for the distribution {config.distribution}")
    if not config.hot_segments:
        if config.policy == "fifo":
            return mixed(alpha, config.a, config.b)
        k = 1 + 1 / (2 * size)
        return mixed(k * alpha, config.a, config.b) / k
    hot_volume = round(config.b * config.nr_blocks) / size
    hot = (config.hot_segments - away) / hot_volume
    cold = (config.nr_segments - config.hot_segments - away) / (volume - hot_volume)
    one: Callable[[float], float] = (
        lru if config.policy == "fifo" else (lambda alpha: greedy(alpha, size))
    )
    return config.a * one(hot) + (1 - config.a) * one(cold)


def sweep_spare(
    config: LogConfig, spares: Sequence[float], seed: int = 0
) -> Iterator[tuple[float, float]]:
    """Write amplification over the spare part: (Sf, measured), after five volumes of warm-up."""
    from dataclasses import replace

    for spare in spares:
        log = Log(replace(config, spare=spare), seed)
        log.write(5 * log.config.nr_blocks)
        log.count_from_here()
        log.write(5 * log.config.nr_blocks)
        yield spare, log.write_amplification
