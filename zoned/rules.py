"""The rule books as data: what a command does to a zone, and how each broken rule is called.

This is the core's own table (``zd_cell`` of zoned/zone.h, ``zd_rule_info`` of error.h), typed: the
documentation and the exhaustive test are made from it. Pure; no disk is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from zoned._core.native import ffi, lib
from zoned._core.raising import DIALECT_NUMBERS, RULES, rule_name
from zoned.errors import ZonedError
from zoned.geometry import Dialect
from zoned.zone import ZoneCondition, ZoneType


class Command(IntEnum):
    """Commands with a row in the state table. Numbers as enum zd_cmd."""

    READ = 0
    WRITE = 1
    APPEND = 2
    OPEN = 3
    CLOSE = 4
    FINISH = 5
    RESET = 6
    OPEN_ALL = 7
    CLOSE_ALL = 8
    FINISH_ALL = 9
    RESET_ALL = 10
    POWER_CYCLE = 11
    SET_EMPTY = 12
    SET_READ_ONLY = 13
    SET_OFFLINE = 14
    FLUSH = 15
    SET_EXTENSION = 16
    OPEN_ZRWA = 17
    COMMIT_ZRWA = 18


class Next(IntEnum):
    """What becomes of the zone's condition. Numbers as enum zd_next."""

    SAME = 0
    EMPTY = 1
    IMPLICIT_OPEN = 2
    """Or FULL when a write reaches the capacity."""
    EXPLICIT_OPEN = 3
    """Or FULL when a write reaches the capacity."""
    CLOSED = 4
    CLOSED_OR_EMPTY = 5
    """EMPTY if nothing is written, else CLOSED."""
    FULL = 6
    READ_ONLY = 7
    OFFLINE = 8
    INITIAL = 9
    """NOT_WP for conventional zones, EMPTY for others."""
    ERROR = 10


class Effect(IntFlag):
    """What else happens. Bits as enum zd_effect."""

    OPEN = 1
    """Takes an open resource: may close an implicitly open zone, or fail."""
    ACTIVE = 2
    """Takes an active resource, or fails."""
    WP_START = 4
    """The write pointer goes to the start, data is gone."""
    WP_END = 8
    """The zone counts as written to its capacity."""
    ADVANCE = 16
    """The write pointer advances by what was written."""
    DURABLE = 32
    """What was written becomes durable."""
    NON_SEQ = 64
    """non_seq is set if the write is not at the write pointer."""
    CHECK = 128
    """Needs the resources (may fail, may close another zone) but does not keep them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of the table."""

    next: Next
    effects: Effect
    error: str | None
    """Name of the rule that refuses the command, when next is ERROR."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a drive, as a dialect reports it when it is broken."""

    name: str
    exception: type[ZonedError]
    errno: int
    sense: tuple[int, int, int] | None
    """Sense key, ASC, ASCQ in zbc, else None."""
    nvme_status: int | None
    """SCT << 8 | SC in zns, else None."""


def cell(
    dialect: Dialect | str, kind: ZoneType, condition: ZoneCondition, command: Command
) -> Cell | None:
    """What ``command`` does to a zone of type ``kind`` in ``condition``; None where that cannot
    occur.

    The ALL forms tell what happens to each zone that they meet (SAME where it is passed over).
    """
    raw = lib.zd_cell(DIALECT_NUMBERS[Dialect(dialect)], int(kind), int(condition), int(command))
    if raw == ffi.NULL:
        return None
    return Cell(Next(raw.next), Effect(raw.effects), rule_name(raw.error) if raw.error else None)


def rules(dialect: Dialect | str) -> tuple[Rule, ...]:
    """Every rule of a drive, in the order of zoned/error.h."""
    book = Dialect(dialect)
    result: list[Rule] = []
    for code in range(lib.ZD_E_FIRST_RULE, lib.ZD_E_FIRST_RULE - lib.ZD_NR_RULES, -1):
        info = lib.zd_rule_info(code, DIALECT_NUMBERS[book])
        result.append(
            Rule(
                ffi.string(info.name).decode("ascii"),
                RULES[code],
                info.err,
                (info.sense_key, info.asc, info.ascq) if book is Dialect.ZBC else None,
                info.nvme_status if book is Dialect.ZNS else None,
            )
        )
    return tuple(result)
