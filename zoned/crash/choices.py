"""What a power cut may leave behind: counted, enumerated, and rebuilt from an id.

What may become of each zone and block the core tells (``Snapshot.fates``): a required zone keeps
some length between its durable and its live write pointer; in conventional and preferred zones any
subset of the blocks written since the last flush survives. Every combination is a possible
survivor. Strategies choose among them:

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
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, Self

from zoned.snapshots import PowerCut, Snapshot, UnflushedBlock, ZoneState
from zoned.units import counted
from zoned.zone import ZoneCondition

if TYPE_CHECKING:
    from zoned.device import Device
    from zoned.geometry import Geometry

__tracebackhide__ = True  # as in zoned.crash.checker

_VERSION = 2
_LOOKS = 100


class CrashIdError(ValueError):
    """An id that is damaged, or of another disk, history or version."""


class CrashSpaceError(ValueError):
    """More survivors than the limit; ``count`` says how many."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.count), self.__dict__


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


Choice = tuple[int, ...]
"""One number for each fate that has choices; all 0 is the least survivor."""


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
        self.fates = snapshot.fates(blocks)
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
        return math.prod(self.fates.choices)

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
            return itertools.product(*map(range, self.fates.choices))
        if self._strategy is Strategy.RANDOM:
            return self._random()
        return self._one_by_one()

    def build(self, choice: Choice) -> Device:
        """One survivor. It lives until it is closed."""
        return self._own.forked(self.fates.cut(choice), self._kind, self.id_of(choice))

    def cut_of(self, crash_id: str) -> PowerCut:
        """What leaves the survivor with an id. Raises CrashIdError."""
        return self.fates.cut(self.choice_of(crash_id))

    def rebuild(self, crash_id: str) -> Device:
        """The survivor with an id, whatever the strategy. Raises CrashIdError."""
        return self.build(self.choice_of(crash_id))

    def id_of(self, choice: Choice) -> str:
        """The id of a survivor: hex digits, with a check sum."""
        body = bytes([_VERSION]) + self.fingerprint + bytes(_packed(choice))
        return (body + zlib.crc32(body).to_bytes(4, "big")).hex()

    def close(self) -> None:
        """Give up what is kept for making survivors."""
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "CrashStates belong to their process and cannot be copied or pickled; ids can"
        )

    def __repr__(self) -> str:
        if self._own.closed:
            return "<zoned.CrashStates, closed>"
        return f"<zoned.CrashStates {self._strategy}: {self.count} of {self.total}>"

    def choice_of(self, crash_id: str) -> Choice:
        """The choice that an id stands for. Raises CrashIdError."""
        if not isinstance(crash_id, str):
            raise TypeError(f"the id of a crash state is a text, not {type(crash_id).__name__}")
        try:
            raw = bytes.fromhex(crash_id)
        except ValueError:
            raw = b""
        if not raw:
            raise CrashIdError(f"{crash_id!r} is no id of a crash state: hex digits")
        body, check = raw[:-4], raw[-4:]
        if len(raw) < 9 or zlib.crc32(body).to_bytes(4, "big") != check:
            raise CrashIdError(f"the id {crash_id} is damaged: its check sum is wrong")
        if body[0] != _VERSION:
            raise CrashIdError(f"the id {crash_id} has version {body[0]}: this is {_VERSION}")
        if body[1:5] != self.fingerprint:
            raise CrashIdError(f"the id {crash_id} is of another disk or another history")
        counts = self.fates.choices
        choice = _unpacked(body[5:], len(counts))
        if choice is None or any(n >= count for n, count in zip(choice, counts, strict=True)):
            raise CrashIdError(f"the id {crash_id} names a survivor that cannot be")
        return choice

    def _one_by_one(self) -> Iterator[Choice]:
        counts = self.fates.choices
        least = (0,) * len(counts)
        most = tuple(count - 1 for count in counts)
        yield least
        for at, count in enumerate(counts):
            for number in self._steps(count):
                choice = (*least[:at], number, *least[at + 1 :])
                if choice != most:
                    yield choice
        if most != least:
            yield most

    def _steps(self, count: int) -> Iterator[int]:
        if self._strategy is Strategy.LINEAR:
            yield from range(1, count)
            return
        number = 1
        while number < count - 1:
            yield number
            number *= 2
        if count > 1:
            yield count - 1

    def _random(self) -> Iterator[Choice]:
        if self.total <= self._limit:
            yield from itertools.product(*map(range, self.fates.choices))
            return
        draw = random.Random(self._seed)  # noqa: S311 - to be repeated, not to be secret
        seen: set[Choice] = set()
        while len(seen) < self._limit:
            choice = tuple(map(draw.randrange, self.fates.choices))
            if choice not in seen:
                seen.add(choice)
                yield choice


def _fingerprint(
    states: list[ZoneState], blocks: list[UnflushedBlock], geometry: Geometry
) -> bytes:
    """Of geometry and zones, not of the uuid: a repeated run makes the same. Nor of the room on the
    host that an empty zone may have or not.
    """
    new = (ZoneCondition.NOT_WP, ZoneCondition.EMPTY)
    states = [
        s
        for s in states
        if s.condition not in new or s.written or s.durable or s.lost_from is not None
    ]
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
