"""The differences between QEMU's emulated ZNS drive and ours that are meant to be, as data.

Each entry tolerates one thing exactly: for which command, what QEMU's drive answers and what ours. docs/differences.md is written
from this list, and a test fails when an entry no longer shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.zns import Answer, Command

SEND, APPEND, COPY = 0x79, 0x7D, 0x19
OPEN, COMMIT = 0x03, 0x11
WITH_AREA = 1 << 1
INVALID_ZONE_OP, NO_AREA = 0x1B6, 0x1B7
INVALID_FIELD, BOUNDARY, FULL, TRANSITION = 0x002, 0x1B8, 0x1B9, 0x1BF

Applies = Callable[["Command", "Answer", "Answer"], bool]


@dataclass(frozen=True)
class Difference:
    name: str
    cause: str
    applies: Applies
    """Given the command, what QEMU's drive gave and what ours gave."""


def _nothing(command: Command, theirs: Answer, ours: Answer) -> bool:
    return False  # zns.Play brings ours to where QEMU's is


def _by_status(opcode: int, theirs: int, ours: int, word: bytes = b"") -> Applies:
    """One command, by its opcode and the first bytes of its dword 13, that differs in nothing but its status."""

    def applies(command: Command, they: Answer, we: Answer) -> bool:
        same = (they.result, they.data, they.zones) == (we.result, we.data, we.zones)
        meant = command.sqe[0] == opcode and command.sqe[52:].startswith(word)
        return same and meant and (they.status, we.status) == (theirs, ours)

    return applies


CLOSES_FIRST = Difference(
    "closes-before-the-active-limit",
    "A command that would open an EMPTY zone while as many zones are open and as many active as may be is refused "
    "(Too Many Active Zones), as is one that would open a zone with a random write area when none is left (No Zone Random Write "
    "Area). QEMU's drive has closed an implicitly open zone before it finds that; here a command that is refused "
    "changes nothing.",
    _nothing,
)
COPY_OPENS = Difference(
    "copy-opens-first",
    "A COPY writes as a write does. QEMU's drive opens the zone before it looks whether the blocks may be written "
    "there: so a COPY into a FULL zone is an Invalid Zone State Transition, not Zone Is Full, and one that is not at "
    "the write pointer is an Internal Error, not Zone Invalid Write, and leaves an EMPTY or CLOSED zone open.",
    _by_status(COPY, TRANSITION, FULL),
)
COMMITS_TOO_MANY = Difference(
    "commit-of-an-area-and-a-block",
    "A commit up to the first block behind a random write area is a Zone Boundary Error, as one farther behind it. QEMU's "
    "drive counts that block in, and then finds an Invalid Field, as the blocks are not whole granules.",
    _by_status(SEND, INVALID_FIELD, BOUNDARY, bytes([COMMIT])),
)
FULL_WITH_AREA = Difference(
    "area-of-a-full-zone",
    "To open a FULL zone is an Invalid Zone State Transition, with a random write area, too. QEMU's drive looks first "
    "whether the blocks that were written before a FINISH are whole granules: No Zone Random Write Area.",
    _by_status(SEND, NO_AREA, TRANSITION, bytes([OPEN, WITH_AREA])),
)
APPEND_TOO_LONG = Difference(
    "append-limit-first",
    "An append of more than the limit is an Invalid Field, to whatever zone; QEMU's drive looks first whether the zone has a "
    "random write area, which takes no appends: Invalid Zone Operation.",
    _by_status(APPEND, INVALID_ZONE_OP, INVALID_FIELD),
)
COPY_COMMITS = Difference(
    "copy-into-an-area",
    "A COPY into a random write area leaves the write pointer where it is, as a write does. On QEMU's drive it moves the "
    "pointer by what was copied.",
    _nothing,  # no table and no draw copies there
)
AREA_TWICE = Difference(
    "area-asked-for-twice",
    "A zone that has a random write area keeps it when it is opened with one again. QEMU's drive counts another area for "
    "it, which nothing gives back.",
    _nothing,  # nor opens it so
)
COMMITS_BEYOND = Difference(
    "commit-beyond-the-capacity",
    "Near a zone's end its random write area ends with the zone's capacity, and a commit beyond it is a Zone Boundary Error. "
    "QEMU's drive takes it, and the write pointer lies behind the capacity.",
    _nothing,  # nor commits there
)
KNOWN = (
    *(CLOSES_FIRST, COPY_OPENS, COMMITS_TOO_MANY, FULL_WITH_AREA, APPEND_TOO_LONG),
    *(COPY_COMMITS, AREA_TWICE, COMMITS_BEYOND),
)
