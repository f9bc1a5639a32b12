"""One zone as a report shows it, and the names of its type and condition. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Self, TypeVar

_Enum = TypeVar("_Enum", bound=IntEnum)


class ZoneType(IntEnum):
    """Numbers as in struct blk_zone (linux/blkzoned.h) and ZBC-2 REPORT ZONES."""

    CONVENTIONAL = 1
    SEQ_WRITE_REQUIRED = 2
    SEQ_WRITE_PREFERRED = 3

    @property
    def short(self) -> str:
        """cnv, swr, swp: as libzbd has it."""
        return _TYPE_SHORT[self]

    @classmethod
    def parse(cls, value: int | str) -> Self:
        """From a member, its number, its name in any case, or its short form. Raises ValueError."""
        return _parse(cls, value, {short: kind for kind, short in _TYPE_SHORT.items()}, "zone type")


class ZoneCondition(IntEnum):
    """Numbers as in struct blk_zone (linux/blkzoned.h) and ZBC-2 REPORT ZONES."""

    NOT_WP = 0
    EMPTY = 1
    IMPLICIT_OPEN = 2
    EXPLICIT_OPEN = 3
    CLOSED = 4
    READ_ONLY = 0xD
    FULL = 0xE
    OFFLINE = 0xF

    @property
    def short(self) -> str:
        """Two letters, as blkzone report prints them."""
        return _CONDITION_SHORT[self]

    @property
    def is_open(self) -> bool:
        """Whether a zone in this condition holds an open resource."""
        return self in (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN)

    @property
    def is_active(self) -> bool:
        """Whether a zone in this condition holds an active resource (open or closed)."""
        return self.is_open or self is ZoneCondition.CLOSED

    @classmethod
    def parse(cls, value: int | str) -> Self:
        """From a member, its number, its name in any case (``read-only``), or its short form.
        Raises ValueError.
        """
        shorts = {short: kind for kind, short in _CONDITION_SHORT.items()}
        return _parse(cls, value, shorts | {"ol": ZoneCondition.OFFLINE}, "zone condition")


_TYPE_SHORT = {
    ZoneType.CONVENTIONAL: "cnv",
    ZoneType.SEQ_WRITE_REQUIRED: "swr",
    ZoneType.SEQ_WRITE_PREFERRED: "swp",
}

# `of` is what blkzone 2.38 prints for offline; its manual and zbd say `ol`; parse() takes both.
_CONDITION_SHORT = {
    ZoneCondition.NOT_WP: "nw",
    ZoneCondition.EMPTY: "em",
    ZoneCondition.IMPLICIT_OPEN: "oi",
    ZoneCondition.EXPLICIT_OPEN: "oe",
    ZoneCondition.CLOSED: "cl",
    ZoneCondition.READ_ONLY: "ro",
    ZoneCondition.FULL: "fu",
    ZoneCondition.OFFLINE: "of",
}


def _parse(kind: type[_Enum], value: int | str, shorts: Mapping[str, IntEnum], what: str) -> _Enum:
    if isinstance(value, str):
        text = value.strip()
        short = shorts.get(text.lower())
        if short is not None:
            return kind(short)
        name = text.upper().replace("-", "_")
        if name in kind.__members__:
            return kind[name]
        try:
            value = int(text, 0)
        except ValueError:
            names = ", ".join(member.name.lower().replace("_", "-") for member in kind)
            raise ValueError(f"{text!r} is not a {what}: use one of {names}") from None
    try:
        return kind(value)
    except ValueError:
        numbers = ", ".join(f"{member.value:#x}" for member in kind)
        raise ValueError(f"{value} is not a {what}: the numbers are {numbers}") from None


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone at the moment of the report. Sizes and positions are bytes, positions absolute on the
    disk.
    """

    index: int
    start: int
    length: int
    capacity: int
    """Writable bytes; less than length where the geometry says so."""
    wp: int | None
    """Write pointer; None where it is invalid (ZBC-2 4.5.3): conventional, FULL, READ_ONLY,
    OFFLINE.
    """
    durable_wp: int | None
    """What a power cut keeps at least; None for conventional zones."""
    type: ZoneType
    condition: ZoneCondition
    non_seq: bool
    """Sequential write preferred: written away from its write pointer since the last reset."""
    reset_recommended: bool

    @property
    def end(self) -> int:
        """First byte behind the zone."""
        return self.start + self.length

    @property
    def written(self) -> int | None:
        """Bytes below the write pointer (the capacity when FULL); None where no one can say."""
        if self.condition is ZoneCondition.FULL:
            return self.capacity
        return None if self.wp is None else self.wp - self.start
