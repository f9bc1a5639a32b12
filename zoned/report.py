"""A report of zones: a lazy sequence that reads the disk in batches, so that 100,000 zones cost no
memory.

A Report is a live view, like the disk it shows: each iteration, ``len()`` of a filtered one, and
each index asks the core anew. ``rows()`` gives bare tuples where Zone objects would be too slow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from zoned.units import counted
from zoned.zone import Zone, ZoneCondition, ZoneType

NO_WP = 2**64 - 1
"""A write pointer that is not valid, in a row."""

BATCH = 1024
ROW = struct.Struct("=5QI4B")
"""struct zd_zone of zoned/zone.h: start, length, capacity, wp, durable_wp, index, type, cond,
non_seq, reset.
"""

Row = tuple[int, int, int, int, int, int, int, int, int, int]
Reader = Callable[[int, int], bytes]
"""(start, count) -> that many struct zd_zone, in bytes."""

Conditions = ZoneCondition | int | str | Iterable[ZoneCondition | int | str]

_TYPES = {member.value: member for member in ZoneType}
_CONDITIONS = {member.value: member for member in ZoneCondition}


def conditions_of(value: Conditions) -> frozenset[ZoneCondition]:
    """One condition or several, by member, number, name or short form (``em,cl`` too). Raises
    ValueError.
    """
    if isinstance(value, str):
        return frozenset(ZoneCondition.parse(part) for part in value.split(","))
    if isinstance(value, int):
        return frozenset((ZoneCondition.parse(value),))
    return frozenset(ZoneCondition.parse(part) for part in value)


def to_zone(row: Row) -> Zone:
    """A Zone from one row."""
    start, length, capacity, wp, durable, index, kind, condition, non_seq, reset = row
    return Zone(
        index,
        start,
        length,
        capacity,
        None if wp == NO_WP else wp,
        None if durable == NO_WP else durable,
        _TYPES[kind],
        _CONDITIONS[condition],
        non_seq != 0,
        reset != 0,
    )


class Report(Sequence[Zone]):
    """Zones start .. start+count-1, or those of them in certain conditions.

    Indices and slices work as in any sequence (a slice is a list of Zone objects). An index out of
    range raises IndexError.
    """

    __slots__ = ("_conditions", "_count", "_read", "_start")

    def __init__(
        self, read: Reader, start: int, count: int, conditions: frozenset[ZoneCondition] | None
    ) -> None:
        self._read = read
        self._start = start
        self._count = count
        self._conditions = conditions

    def rows(self) -> Iterator[Row]:
        """Bare tuples (start, length, capacity, wp, durable_wp, index, type, condition, non_seq,
        reset_recommended) of ints, bytes throughout; an invalid write pointer is NO_WP."""
        wanted = None if self._conditions is None else {int(item) for item in self._conditions}
        at, end = self._start, self._start + self._count
        while at < end:
            batch = ROW.iter_unpack(self._read(at, min(BATCH, end - at)))
            if wanted is None:
                yield from batch
            else:
                yield from (row for row in batch if row[7] in wanted)
            at += BATCH

    def __iter__(self) -> Iterator[Zone]:
        return map(to_zone, self.rows())

    def __len__(self) -> int:
        if self._conditions is None:
            return self._count
        return sum(1 for _ in self.rows())

    @overload
    def __getitem__(self, index: int) -> Zone: ...
    @overload
    def __getitem__(self, index: slice) -> list[Zone]: ...
    def __getitem__(self, index: int | slice) -> Zone | list[Zone]:
        if isinstance(index, slice):
            return self._slice(index)
        if not isinstance(index, int):
            raise TypeError(f"a zone's index is an integer or a slice, not {type(index).__name__}")
        if self._conditions is not None:
            return list(self)[index]
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            held = counted(self._count, "zone")
            raise IndexError(f"zone index {index} is out of range: the report holds {held}")
        return to_zone(ROW.unpack(self._read(self._start + at, 1)))

    def _slice(self, index: slice) -> list[Zone]:
        if self._conditions is not None:
            return list(self)[index]
        first, stop, step = index.indices(self._count)
        if step == 1:
            return list(Report(self._read, self._start + first, max(0, stop - first), None))
        return [self[at] for at in range(first, stop, step)]

    def __repr__(self) -> str:
        if self._conditions is None:
            what = ""
        else:
            what = " in condition " + ", ".join(sorted(item.name for item in self._conditions))
        if not self._count:
            return "<Report of no zones>"
        return f"<Report of zones {self._start} to {self._start + self._count - 1}{what}>"
