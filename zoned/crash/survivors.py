"""The disks that a power cut could leave in a history: counted, made one after the other, rebuilt
by an id.

A survivor is a point of the history (the power goes behind so many changes) and a choice of what
is left of that which was not durable there; zoned.crash.choices makes the choices, by the core's
rules. Many of them are equal, of one point and of neighbours: those are told apart by a hash of all
that a host can see, and each disk is given once for each set of marks that were acknowledged.

Makes disks in RAM; asks and changes no other.
"""

from __future__ import annotations

import hashlib
import random
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from zoned.crash.choices import Choice, CrashIdError, CrashSpaceError, CrashStates, Strategy
from zoned.crash.choices import strategy_of as _strategy_of
from zoned.crash.recorded import Build, History
from zoned.geometry import Model
from zoned.traces.records import TraceCommand, TraceRecord
from zoned.units import counted
from zoned.zone import ZoneCondition

if TYPE_CHECKING:
    from zoned.device import Device
    from zoned.snapshots import Fates

_ROW = struct.Struct("<IBBQ")
_PIECE = 1 << 20
_POINTS = re.compile(r"all|flush|marks|(?:every|random):([1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Points:
    """Where in a history the power goes: "all" (behind each change, and before the first), "flush"
    (behind each that makes data durable, and before it), "marks" (where something was just
    acknowledged), "every:N" (behind each Nth), "random:N" (N of all, by the seed). The end of the
    history is always one of them.
    """

    word: str = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.word, str) or not _POINTS.fullmatch(self.word):
            raise ValueError(
                f"there are no points {self.word!r}: say all, flush, marks, every:N or random:N, "
                "N a number from 1 on"
            )

    def of(self, history: History, seed: int = 0) -> list[int]:
        """Ascending."""
        end = len(history)
        word, _, number = self.word.partition(":")
        if word == "all":
            found = set(range(end + 1))
        elif word == "every":
            found = set(range(0, end + 1, int(number)))
        elif word == "random":
            draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
            found = set(draw.sample(range(end + 1), min(int(number), end + 1)))
        elif word == "marks":
            found = {mark.after for mark in history.marks}
        else:
            flushes = [at for at, item in enumerate(history.changes) if _makes_durable(item)]
            found = {point for at in flushes for point in (at, at + 1)}
        return sorted(found | {end})


def _makes_durable(item: TraceRecord) -> bool:
    return item.fua or item.command in (TraceCommand.FLUSH, TraceCommand.POWER_CYCLE)


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a history, with the disk as it was then."""

    number: int
    """Behind so many changes."""
    acknowledged: tuple[str, ...]
    space: CrashStates
    """Its survivors."""


@dataclass(frozen=True, slots=True)
class State:
    """One disk that the power cut could leave. Close its device, or the next one closes it."""

    id: str
    """Rebuilds exactly this one of the same history."""
    point: int
    """The power went behind so many changes."""
    acknowledged: tuple[str, ...]
    """The marks that the workload had set, oldest first."""
    digest: bytes
    """Of all that a host can see of the disk."""
    kept: bool
    """Whether it is the disk as it was, of which nothing was lost but open zones."""
    device: Device
    choice: Choice = ()


class States:
    """The survivors of a history, by a strategy, at points. Iterating makes each disk once.

    ``seen`` is what it has made, ``equal`` how many more it met that were as one of those, and
    ``lossy`` how many of all had lost something.
    """

    def __init__(
        self,
        history: History,
        strategy: Strategy | str = Strategy.LINEAR,
        *,
        points: Points | str = "all",
        limit: int = 10_000,
        seed: int = 0,
    ) -> None:
        """``limit`` survivors of one point at most. Raises ValueError, TypeError."""
        self.history = history
        self.strategy = _strategy_of(strategy)
        self.points = points if isinstance(points, Points) else Points(points)
        for name, value, least in (("limit", limit, 1), ("seed", seed, None)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is {value!r}: it must be a whole number")
            if least is not None and value < least:
                raise ValueError(f"{name} is {value}: it must be {least} or more")
        self.limit, self.seed = limit, seed
        self.equal = self.lossy = 0
        self.seen: set[tuple[bytes, int]] = set()

    def count(self) -> int:
        """How many choices there are at all points, equal ones included; makes no survivor. Raises
        CrashSpaceError where a point has more than the limit, HistoryError.
        """
        return sum(point.space.count for point, _ in self._points())

    def __iter__(self) -> Iterator[State]:
        for state in self.each():
            with state.device:
                yield state

    def each(self) -> Iterator[State]:
        """The same, with devices that are the caller's to close."""
        self.seen, self.equal, self.lossy = set(), 0, 0
        for point, content in self._points():
            for choice in point.space.choices():
                device = point.space.build(choice)
                try:
                    state = self.state(point, content, choice, device)
                    key = state.digest, len(state.acknowledged)
                    new = key not in self.seen
                except BaseException:
                    device.close()
                    raise
                self.lossy += not state.kept
                if new:
                    self.seen.add(key)
                    yield state
                else:
                    self.equal += 1
                    device.close()

    def rebuild(self, state_id: str) -> State:
        """The survivor with an id, whatever strategy and points; its device is the caller's to
        close. Raises CrashIdError, HistoryError.
        """
        number, choice_id = self._split(state_id)
        with Content(self.history) as content:
            content.go(number)
            with self.space(content, Strategy.RANDOM, 1) as space:
                choice = space.choice_of(choice_id)
                point = Point(number, tuple(self.history.acknowledged(number)), space)
                device = space.build(choice)
                try:
                    return self.state(point, content, choice, device)
                except BaseException:
                    device.close()
                    raise

    def at(self, number: int) -> PointStates:
        """The survivors of one point, any of which can be made by its choice. Close it."""
        return PointStates(self, number)

    def _split(self, state_id: str) -> tuple[int, str]:
        if not isinstance(state_id, str):
            raise TypeError(f"the id of a crash state is a text, not {type(state_id).__name__}")
        number, colon, choice_id = state_id.partition(":")
        if not colon or not number.isdecimal() or not number.isascii() or len(number) > 18:
            raise CrashIdError(f"{state_id!r} is no id of a crash state: POINT:HEX, as in a report")
        if int(number) > len(self.history):
            raise CrashIdError(
                f"{state_id!r} is of point {number}, and this history has "
                f"{counted(len(self.history), 'change')}"
            )
        return int(number), choice_id

    def _points(self) -> Iterator[tuple[Point, Content]]:
        with Content(self.history) as content:
            for number in self.points.of(self.history, self.seed):
                content.go(number)
                try:
                    space = self.space(content, self.strategy, self.limit)
                except CrashSpaceError as error:
                    error.add_note(f"at point {number}, behind {counted(number, 'change')}")
                    raise
                with space:
                    yield Point(number, tuple(self.history.acknowledged(number)), space), content

    def space(self, content: Build, strategy: Strategy, limit: int) -> CrashStates:
        """The survivors of a disk that goes through the history, where it is now."""
        with content.device.snapshot() as snapshot:
            return CrashStates(snapshot, strategy, limit=limit, seed=self.seed)

    def state(self, point: Point, content: Content, choice: Choice, device: Device) -> State:
        """A survivor with all that is to be known of it."""
        digest = content.digest(device, point.space.fates, choice)
        return State(
            f"{point.number}:{point.space.id_of(choice)}",
            point.number,
            point.acknowledged,
            digest,
            all(n + 1 == most for n, most in zip(choice, point.space.fates.choices, strict=True)),
            device,
            choice,
        )


class PointStates:
    """The survivors of one point: what shrinking a failure asks for."""

    def __init__(self, states: States, number: int) -> None:
        self._states = states
        self._content = Content(states.history)
        try:
            self._content.go(number)
            self._space = states.space(self._content, Strategy.RANDOM, 1)
        except BaseException:
            self._content.close()
            raise
        self.point = Point(number, tuple(states.history.acknowledged(number)), self._space)
        self.choices = self._space.fates.choices
        """How many choices each thing that is not durable has."""

    def make(self, choice: Choice) -> State:
        """One of them; its device is the caller's to close."""
        device = self._space.build(choice)
        return self._states.state(self.point, self._content, choice, device)

    def choice_of(self, choice_id: str) -> Choice:
        """The choice in a state's id, behind its point. Raises CrashIdError."""
        return self._space.choice_of(choice_id)

    @property
    def device(self) -> Device:
        """The disk before the power went."""
        return self._content.device

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._space.close()
        self._content.close()


states = States
"""As loops call it: ``for state in states(history)``."""


class Content(Build):
    """A disk that goes through a history, and knows the hash of what each block holds.

    The hash of a disk is made of its blocks' (a sum, in which blocks of zeros are nothing, so that
    one that was never written is as one that was zeroed) and of its zones' conditions and write
    pointers. What a survivor holds differs from what the disk holds in the tail of sequential zones
    and in blocks that were taken back: the first is left out, the others are read from it.
    """

    def __init__(self, history: History) -> None:
        self._block = history.geometry.logical_block
        self._tails: dict[int, list[int]] = {}
        """Of a sequential zone: the sum of the hashes of its first 0, 1, 2, ... blocks."""
        self._blocks: dict[int, dict[int, int]] = {}
        """Of other zones: the hash of each block that holds anything but zeros."""
        self._sums: dict[int, int] = {}
        """Of other zones: the sum of all."""
        self._zeros = bytes(self._block)
        self._touched = {row.zone for row in history.before}
        super().__init__(history)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def step(self) -> TraceRecord:
        item = super().step()
        if item.command in (TraceCommand.WRITE, TraceCommand.APPEND, TraceCommand.FLUSH):
            return item
        if item.zone is None:
            zones = [*self._touched] if item.command is not TraceCommand.OPEN_ALL else []
        else:
            zones = [item.zone]
            self._touched.add(item.zone)
        for zone in zones:
            if zone in self._tails:
                row = self.device.zones[zone]
                if row.condition is ZoneCondition.EMPTY:
                    del self._tails[zone]
            if zone in self._blocks and item.command in _CLEARING:
                row = self.device.zones[zone]
                if row.condition in (ZoneCondition.EMPTY, ZoneCondition.NOT_WP):
                    self._blocks[zone], self._sums[zone] = self._reread(zone)
        return item

    def _reread(self, zone: int) -> tuple[dict[int, int], int]:
        found = {}
        for offset in self._blocks[zone]:
            number = self._number(offset, self.device.pread(self._block, offset))
            if number:
                found[offset] = number
        return found, sum(found.values())

    def wrote(self, offset: int, data: bytes) -> None:
        geometry = self.device.geometry
        if geometry.zrwa_size:
            return  # blocks come and go in random write areas: survivors are read
        view = memoryview(data)
        while view:
            zone = offset // geometry.zone_size
            length = min(len(view), (zone + 1) * geometry.zone_size - offset)
            self._touched.add(zone)
            if zone in geometry.conventional or geometry.model is Model.HOST_AWARE:
                self._over(zone, offset, view[:length])
            else:
                self._behind(zone, offset, view[:length])
            view = view[length:]
            offset += length

    def _behind(self, zone: int, offset: int, view: memoryview) -> None:
        tail = self._tails.setdefault(zone, [0])
        for at in range(0, len(view), self._block):
            number = self._number(offset + at, view[at : at + self._block])
            tail.append(tail[-1] + number)

    def _over(self, zone: int, offset: int, view: memoryview) -> None:
        blocks = self._blocks.setdefault(zone, {})
        total = self._sums.get(zone, 0)
        for at in range(0, len(view), self._block):
            number = self._number(offset + at, view[at : at + self._block])
            total += number - blocks.pop(offset + at, 0)
            if number:
                blocks[offset + at] = number
        self._sums[zone] = total

    def _number(self, offset: int, block: Any) -> int:
        """The hash of a block in its place; 0 for zeros."""
        if block == self._zeros:
            return 0
        digest = hashlib.blake2b(block, digest_size=16, salt=offset.to_bytes(8, "little")).digest()
        return int.from_bytes(digest, "little")

    def digest(self, device: Device, fates: Fates, choice: Choice) -> bytes:
        """Of one survivor of the disk as it is now."""
        geometry = device.geometry
        total = 0
        taken: dict[int, list[int]] = {}
        for offset in fates.taken_back(choice):
            taken.setdefault(offset // geometry.zone_size, []).append(offset)
        rows = bytearray()
        for index in sorted(self._touched):
            zone = device.zones[index]
            start = zone.start
            written = 0 if zone.wp is None else zone.wp - start
            flags = zone.non_seq | zone.reset_recommended << 1
            rows += _ROW.pack(index, int(zone.condition), flags, written)
            if zone.condition is ZoneCondition.OFFLINE:
                continue
            if geometry.zone_extension:
                rows += device.zone_extension(index) or b""
            if geometry.zrwa_size:
                area = device.write_area(index)
                rows += b"" if area is None else area.stop.to_bytes(8, "little")
                rows += self._of_all(device, index)
            elif index in self._tails:
                total += self._of_tail(device, index, zone.wp)
            elif index in self._blocks:
                sequential = index not in geometry.conventional
                total += self._of_blocks(device, index, taken.get(index, []), sequential)
        rows += total.to_bytes(32, "little")
        return hashlib.blake2b(rows, digest_size=16).digest()

    def _of_all(self, device: Device, zone: int) -> bytes:
        """Of all that a zone shows."""
        told, start = hashlib.blake2b(digest_size=16), device.geometry.zone_start(zone)
        for at in range(start, start + device.geometry.zone_capacity_of(zone), _PIECE):
            length = min(_PIECE, start + device.geometry.zone_capacity_of(zone) - at)
            told.update(device.pread(length, at))
        return told.digest()

    def _of_tail(self, device: Device, zone: int, wp: int | None) -> int:
        """Of a zone whose write pointer says how much it holds; a READ_ONLY one is read."""
        tail = self._tails[zone]
        start = zone * device.geometry.zone_size
        if wp is not None:
            return tail[min((wp - start) // self._block, len(tail) - 1)]
        if device.zones[zone].condition is ZoneCondition.FULL:
            return tail[-1]
        places = range(start, start + (len(tail) - 1) * self._block, self._block)
        return sum(self._number(at, device.pread(self._block, at)) for at in places)

    def _of_blocks(self, device: Device, zone: int, taken: list[int], sequential: bool) -> int:
        blocks = self._blocks[zone]
        total = self._sums[zone]
        for offset in taken:
            now = self._number(offset, device.pread(self._block, offset))
            total += now - blocks.get(offset, 0)
        wp = device.zones[zone].wp if sequential else None
        if wp is not None:  # what lies behind it means nothing
            gone = set(taken)
            for offset, number in blocks.items():
                if offset >= wp and offset not in gone:
                    total -= number
        return total


_CLEARING = (TraceCommand.RESET, TraceCommand.RESET_ALL, TraceCommand.SET_EMPTY)
