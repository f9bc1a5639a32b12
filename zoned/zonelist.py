"""Sets of zones: parsed from ``3-7,12``, kept as merged ranges in a sorted book, looked up by
bisection.

Used for the conventional zones of a geometry and for the zone lists of commands. Uses no other
module of zoned. A set over 100,000 zones costs as much as its ranges, not as its zones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from sortedcontainers import SortedDict

from zoned.units import counted

MOST_ZONES = 2**24

_ITEM = re.compile(r"(\d{1,20})(?:\s*-\s*(\d{1,20}))?")


class ZoneListError(ValueError):
    """A text that is no zone list, or one that names zones the disk does not have."""


class ZoneSet(AbstractSet[int]):
    """An immutable set of zone indices, held as ranges that neither touch nor overlap."""

    __slots__ = ("_book", "_count")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """From (first, count) pairs in any order; overlapping and touching ones are merged.

        Raises ZoneListError for a negative first zone, a count below 1, or zones beyond 2^24.
        """
        # A book of first -> end (exclusive). Inserting one range swallows those that it touches.
        book: SortedDict[int, int] = SortedDict()
        for low, count in ranges:
            first = low
            if first < 0:
                raise ZoneListError(f"zone {first} does not exist: zones count from 0")
            if count < 1:
                raise ZoneListError(
                    f"a range of {counted(count, 'zone')} from zone {first}: it must hold 1 or more"
                )
            end = first + count
            if end > MOST_ZONES:
                raise ZoneListError(
                    f"zone {end - 1} does not exist: a disk has at most {MOST_ZONES} zones"
                )
            at = book.bisect_right(first) - 1
            if at >= 0 and book.peekitem(at)[1] >= first:
                first, before = book.popitem(at)
                end = max(end, before)
            at = book.bisect_left(first)
            while at < len(book) and book.peekitem(at)[0] <= end:
                end = max(end, book.popitem(at)[1])
            book[first] = end
        self._book = book
        self._count: int = sum(end - first for first, end in book.items())

    @classmethod
    def parse(cls, text: str, nr_zones: int | None = None) -> ZoneSet:
        """From text such as ``3-7,12``. With ``nr_zones``, every zone must be below it.

        Raises ZoneListError, which names the part of the text that is wrong.
        """
        ranges: list[tuple[int, int]] = []
        for part in text.split(","):
            item = part.strip()
            match = _ITEM.fullmatch(item)
            if match is None:
                what = f"{item!r} in {text!r}" if item != text else repr(text)
                raise ZoneListError(f"{what} is not a zone or a range: write zones like 3-7,12")
            first = int(match[1])
            last = int(match[2]) if match[2] else first
            if last < first:
                raise ZoneListError(f"the range {item} runs backwards: write {last}-{first}")
            if nr_zones is not None and last >= nr_zones:
                raise ZoneListError(
                    f"zone {last} does not exist: the disk has zones 0 to {nr_zones - 1}"
                )
            ranges.append((first, last - first + 1))
        return cls(ranges)

    @classmethod
    def of(cls, zones: Iterable[int]) -> ZoneSet:
        """From single zone indices."""
        return cls((zone, 1) for zone in zones)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:  # what `&`, `|` and `-` build with
        return cls.of(it)

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """(first, count) pairs, ascending, merged."""
        return tuple((first, end - first) for first, end in self._book.items())

    def runs(self, nr_zones: int) -> Iterator[tuple[int, int, bool]]:
        """(first, count, is in the set) over zones 0 .. nr_zones-1, without a gap."""
        at = 0
        for first, end in self._book.items():
            if first >= nr_zones:
                break
            if first > at:
                yield at, first - at, False
            yield first, min(end, nr_zones) - first, True
            at = end
        if at < nr_zones:
            yield at, nr_zones - at, False

    @property
    def last(self) -> int:
        """The highest zone; -1 when the set is empty."""
        return int(self._book.peekitem(-1)[1]) - 1 if self._book else -1

    def __contains__(self, zone: object) -> bool:
        if not isinstance(zone, int):
            return False
        at = self._book.bisect_right(zone) - 1
        return at >= 0 and zone < int(self._book.peekitem(at)[1])

    def __iter__(self) -> Iterator[int]:
        for first, end in self._book.items():
            yield from range(first, end)

    def __len__(self) -> int:
        return self._count

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ZoneSet):
            return bool(self._book == other._book)
        return super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash()  # as frozenset's, because a ZoneSet equals a set of the same zones

    def __str__(self) -> str:
        return ",".join(
            str(first) if end == first + 1 else f"{first}-{end - 1}"
            for first, end in self._book.items()
        )

    def __repr__(self) -> str:
        return f"ZoneSet.parse({str(self)!r})" if self else "ZoneSet()"
