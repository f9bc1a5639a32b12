"""What was done on a disk, counted by the core: totals, and per zone.

Counts begin when the disk is created, or when the host last booted (they are not part of the
image).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCounts:
    """Commands that succeeded, and bytes. The ALL forms count in each zone that they change."""

    reads: int
    writes: int
    appends: int
    bytes_read: int
    bytes_written: int
    finish_wasted: int
    """Capacity given up by FINISH, bytes."""
    opens: int
    closes: int
    finishes: int
    resets: int
    implicit_opens: int
    implicit_closes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneCounters(CommandCounts):
    """Counts of one zone."""

    errors: int
    """Commands that were refused or failed."""

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return dataclasses.asdict(self)


class ZoneCounterSource(Protocol):
    """Where counts of single zones come from: a Device."""

    def zone_counters(self, start: int, count: int | None) -> Iterator[ZoneCounters]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters(CommandCounts):
    """Totals of the disk at the moment of the look."""

    flushes: int
    errors: dict[str, int]
    """Refused or failed commands by rule name; every rule is there."""
    max_open_seen: int
    """Most zones open at once."""
    max_active_seen: int
    """Most zones active at once."""
    _source: ZoneCounterSource = field(repr=False, compare=False)

    def zone(self, zone: int) -> ZoneCounters:
        """Counts of one zone, as they are now. Raises OutOfRangeError."""
        return next(self._source.zone_counters(zone, 1))

    def zones(self, start: int = 0, count: int | None = None) -> Iterator[ZoneCounters]:
        """Counts of count zones from start on (all if None), streamed. Raises OutOfRangeError."""
        return self._source.zone_counters(start, count)

    @property
    def total_errors(self) -> int:
        """All errors together."""
        return sum(self.errors.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the totals."""
        return {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if not item.name.startswith("_")
        }
