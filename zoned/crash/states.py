"""What a power cut may leave behind: counted, enumerated, and rebuilt from an id.

A required zone keeps some length between its durable and its live write pointer; in conventional
and preferred zones any subset of the blocks written since the last flush survives (a preferred
zone's write pointer stands behind the last of them). Every combination is a possible survivor.
Strategies choose among them:

linear      all durable, all written, and each zone by itself at every length (and each
            overwritten block by itself), the others durable
log         as linear, with the lengths 1, 2, 4, 8, ... blocks beyond the durable pointer
exhaustive  every combination; more than ``limit`` of them are refused
random      ``limit`` of all combinations, drawn from the seed, no two alike

An id says which of the combinations a survivor is, and carries a finger print of the zones' state,
so it means the same for a run of the same commands, on any machine.

Builds survivors with zoned.snapshots; touches no disk but those that it makes.
"""

from __future__ import annotations

import errno
import itertools
import math
import random
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from zoned.snapshots import Snapshot, UnflushedBlock, ZoneState
from zoned.units import counted
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from zoned.device import Device
    from zoned.geometry import Geometry

__tracebackhide__ = True  # as in zoned.crash.checker

_VERSION = 2
_LOOKS = 100


class CrashSpaceError(ValueError):
    """More survivors than the limit; ``count`` says how many."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.count), self.__dict__


class CrashIdError(ValueError):
    """An id that is damaged, or of another disk, history or version."""


class Strategy(StrEnum):
    """Which survivors to look at."""

    LINEAR = "linear"
    LOG = "log"
    EXHAUSTIVE = "exhaustive"
    RANDOM = "random"


def strategy_of(name: Strategy | str) -> Strategy:
    """The strategy of this name. Raises ValueError."""
    try:
        return Strategy(name)
    except ValueError:
        names = ", ".join(Strategy)
        raise ValueError(f"there is no strategy {name!r}: there are {names}") from None


@dataclass(frozen=True, slots=True)
class _Zone:
    """The lengths that a zone may keep: low, low + step, ..., high."""

    zone: int
    low: int
    high: int
    step: int

    @property
    def count(self) -> int:
        return -(-(self.high - self.low) // self.step) + 1

    def length(self, choice: int) -> int:
        return min(self.low + choice * self.step, self.high)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of a conventional or preferred zone that may have survived (choice 1) or not (0)."""

    zone: int
    offset: int
    """On the disk."""
    end: int
    """Behind it, from the zone's start; what a preferred zone keeps at least if it survives. 0 in a
    conventional zone.
    """

    @property
    def count(self) -> int:
        return 2


_Part = _Zone | _Block
Choice = tuple[int, ...]
"""One number per part; all 0 is the least survivor."""


class CrashStates:
    """The survivors of a power cut at a snapshot; iterating closes each before the next."""

    def __init__(
        self,
        snapshot: Snapshot,
        strategy: Strategy | str = Strategy.LINEAR,
        *,
        limit: int = 10_000,
        seed: int = 0,
        kind: type[Device] | None = None,
    ) -> None:
        """Raises CrashSpaceError if there are more than ``limit`` (random never has more),
        ValueError for an unknown strategy.
        """
        self._strategy = strategy_of(strategy)
        if not isinstance(limit, int):
            raise TypeError(f"limit must be an integer, not {type(limit).__name__}")
        if limit < 1:
            raise ValueError(f"limit is {limit}: it must be 1 or more")
        self._limit, self._seed, self._kind = limit, seed, kind
        snapshot = self._own = snapshot.share()
        states, blocks = snapshot.zones(), snapshot.unflushed()
        self.fingerprint = _fingerprint(states, blocks, snapshot.geometry)
        self._least = {
            state.index: state.durable
            for state in states
            if state.type is ZoneType.SEQ_WRITE_PREFERRED
        }
        self._crowded = _crowded(states, snapshot.geometry)
        self._lost = tuple(block.offset for block in blocks if block.lost)
        self._parts: tuple[_Part, ...] = (
            *_zones(states, self._crowded, blocks, snapshot.geometry),
            *_blocks(states, blocks, snapshot.geometry),
        )
        count = self.count
        if count > limit:
            raise CrashSpaceError(
                f"there are {counted(count, 'survivor')}, and the limit is {limit}: raise "
                f"limit, or take the "
                "strategy random, log or linear"
                if self._strategy is Strategy.EXHAUSTIVE
                else f"there are {counted(count, 'survivor')}, and the limit is {limit}: "
                f"raise limit, or take "
                "the strategy random",
                count,
            )

    @classmethod
    def seen_by(
        cls, device: Device, strategy: Strategy | str, *, limit: int, seed: int
    ) -> CrashStates:
        """What a read-only handle sees: to be counted and named. Each look takes no lock, so two
        must tell the same. Raises BlockingIOError where they do not, OSError of the host.
        """
        failed: OSError = BlockingIOError(
            errno.EAGAIN,
            "the disk is written faster than a read-only handle can look at it; look while nobody "
            "writes, or by a handle that may write",
        )
        for _ in range(_LOOKS):
            try:
                with Snapshot.look(device, type(device)) as look:
                    seen = look.zones(), look.unflushed()
                with Snapshot.look(device, type(device)) as look:
                    if (look.zones(), look.unflushed()) != seen:
                        continue
                    states = cls(look, strategy, limit=limit, seed=seed)
            except OSError as error:
                if error.errno != errno.EIO:  # a slot that was given up meanwhile is one, too
                    raise
                failed = error
                continue
            if states.fingerprint == _fingerprint(*seen, device.geometry):
                return states
            states.close()
        raise failed

    @property
    def total(self) -> int:
        """How many survivors there are at all."""
        return math.prod(part.count for part in self._parts)

    @property
    def count(self) -> int:
        """How many the strategy looks at; told without making any."""
        if self._strategy is Strategy.EXHAUSTIVE:
            return self.total
        if self._strategy is Strategy.RANDOM:
            return min(self.total, self._limit)
        return sum(1 for _ in self.choices())

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Device]:
        for choice in self.choices():
            with self.build(choice) as device:
                yield device

    def choices(self) -> Iterator[Choice]:
        """The survivors as numbers, in order, least first."""
        if self._strategy is Strategy.EXHAUSTIVE:
            return itertools.product(*(range(part.count) for part in self._parts))
        if self._strategy is Strategy.RANDOM:
            return self._random()
        return self._one_by_one()

    def build(self, choice: Choice) -> Device:
        """One survivor. It lives until it is closed."""
        kept, undone = self._cut(choice)
        return self._own.forked(kept, undone, self._kind, self.id_of(choice))

    def _cut(self, choice: Choice) -> tuple[dict[int, int], list[int]]:
        """What zones keep, and which blocks are undone."""
        kept = dict(self._crowded)
        undone = list(self._lost)
        for part, number in zip(self._parts, choice, strict=True):
            if isinstance(part, _Zone):
                kept[part.zone] = part.length(number)
            elif number == 0:
                undone.append(part.offset)
            elif part.end > self._least.get(part.zone, part.end):
                kept[part.zone] = max(kept.get(part.zone, 0), part.end)
        return kept, undone

    def cut_of(self, crash_id: str) -> tuple[dict[int, int], list[int]]:
        """What a power cut must keep of zones, and which blocks it must undo, to leave the survivor
        with an id. Raises CrashIdError.
        """
        return self._cut(self._choice_of(crash_id))

    def rebuild(self, crash_id: str) -> Device:
        """The survivor with an id, whatever the strategy. Raises CrashIdError."""
        return self.build(self._choice_of(crash_id))

    def id_of(self, choice: Choice) -> str:
        """The id of a survivor: hex digits, with a check sum."""
        body = bytes([_VERSION]) + self.fingerprint + bytes(_packed(choice))
        return (body + zlib.crc32(body).to_bytes(4, "big")).hex()

    def close(self) -> None:
        """Give up what is kept for making survivors."""
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "CrashStates belong to their process and cannot be copied or pickled; ids can"
        )

    def __repr__(self) -> str:
        if self._own.closed:
            return "<zoned.CrashStates, closed>"
        return f"<zoned.CrashStates {self._strategy}: {self.count} of {self.total}>"

    def _choice_of(self, crash_id: str) -> Choice:
        if not isinstance(crash_id, str):
            raise TypeError(f"the id of a crash state is a text, not {type(crash_id).__name__}")
        try:
            raw = bytes.fromhex(crash_id)
        except ValueError:
            raise CrashIdError(f"{crash_id!r} is no id of a crash state: hex digits") from None
        body, check = raw[:-4], raw[-4:]
        if len(raw) < 9 or zlib.crc32(body).to_bytes(4, "big") != check:
            raise CrashIdError(f"the id {crash_id} is damaged: its check sum is wrong")
        if body[0] != _VERSION:
            raise CrashIdError(f"the id {crash_id} has version {body[0]}: this is {_VERSION}")
        if body[1:5] != self.fingerprint:
            raise CrashIdError(f"the id {crash_id} is of another disk or another history")
        choice = _unpacked(body[5:], len(self._parts))
        if choice is None or any(n >= p.count for n, p in zip(choice, self._parts, strict=True)):
            raise CrashIdError(f"the id {crash_id} names a survivor that cannot be")
        return choice

    def _one_by_one(self) -> Iterator[Choice]:
        least = tuple(0 for _ in self._parts)
        most = tuple(part.count - 1 for part in self._parts)
        yield least
        for at, part in enumerate(self._parts):
            for number in self._steps(part):
                choice = (*least[:at], number, *least[at + 1 :])
                if choice != most:
                    yield choice
        if most != least:
            yield most

    def _steps(self, part: _Part) -> Iterator[int]:
        if self._strategy is Strategy.LINEAR:
            yield from range(1, part.count)
            return
        number = 1
        while number < part.count - 1:
            yield number
            number *= 2
        if part.count > 1:
            yield part.count - 1

    def _random(self) -> Iterator[Choice]:
        if self.total <= self._limit:
            yield from itertools.product(*(range(part.count) for part in self._parts))
            return
        draw = random.Random(self._seed)  # noqa: S311 - to be repeated, not to be secret
        seen: set[Choice] = set()
        while len(seen) < self._limit:
            choice = tuple(draw.randrange(part.count) for part in self._parts)
            if choice not in seen:
                seen.add(choice)
                yield choice


def _crowded(states: list[ZoneState], geometry: Geometry) -> dict[int, int]:
    """Zones that stay full, as no active resource is left for them to fall back to; what is written
    in each.
    """
    active = sum(
        state.condition
        in (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN, ZoneCondition.CLOSED)
        for state in states
    )
    filled = [s for s in states if s.condition is ZoneCondition.FULL and not s.finished]
    if not 0 < geometry.max_active < active + len(filled):
        return {}
    return {state.index: state.written for state in filled}


def _zones(
    states: list[ZoneState],
    crowded: Mapping[int, int],
    blocks: list[UnflushedBlock],
    geometry: Geometry,
) -> Iterator[_Zone]:
    by_block = {block.zone for block in blocks}
    for state in states:
        if state.type is ZoneType.CONVENTIONAL or state.index in crowded or state.index in by_block:
            continue
        most = state.written if state.lost_from is None else min(state.written, state.lost_from)
        least = min(state.durable, most)
        required = state.type is ZoneType.SEQ_WRITE_REQUIRED
        step = geometry.physical_block if required else geometry.logical_block
        if most != least or least != state.durable:
            yield _Zone(state.index, least, most, step)


def _blocks(
    states: list[ZoneState], blocks: list[UnflushedBlock], geometry: Geometry
) -> Iterator[_Block]:
    preferred = {s.index for s in states if s.type is ZoneType.SEQ_WRITE_PREFERRED}
    for block in blocks:
        if block.lost:
            continue
        end = block.offset - geometry.zone_start(block.zone) + geometry.logical_block
        yield _Block(block.zone, block.offset, end if block.zone in preferred else 0)


def _fingerprint(
    states: list[ZoneState], blocks: list[UnflushedBlock], geometry: Geometry
) -> bytes:
    """Of geometry and zones, not of the uuid: a repeated run makes the same."""
    told = repr((geometry.size, geometry.zone_size, geometry.zone_capacity, str(geometry.dialect)))
    told += repr([(s.index, int(s.condition), s.written, s.durable, s.lost_from) for s in states])
    told += repr([(b.offset, b.lost) for b in blocks])
    return zlib.crc32(told.encode()).to_bytes(4, "big")


def _packed(choice: Choice) -> Iterator[int]:
    """Runs of equal numbers: length, number; each in groups of 7 bits, lowest first."""
    for number, run in itertools.groupby(choice):
        for value in (len(list(run)), number):
            rest = value
            while rest > 0x7F:
                yield rest & 0x7F | 0x80
                rest >>= 7
            yield rest


def _unpacked(data: bytes, length: int) -> Choice | None:
    values: list[int] = []
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            values.append(value)
            value = shift = 0
    if shift or len(values) % 2 or sum(values[::2]) != length:
        return None
    runs = zip(values[::2], values[1::2], strict=True)
    return tuple(number for run, number in runs for _ in range(run))
