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

COPY = 0x19
FULL, TRANSITION = 0x1B9, 0x1BF


@dataclass(frozen=True)
class Difference:
    name: str
    cause: str
    applies: Callable[[Command, Answer, Answer], bool]
    """Given the command, what QEMU's drive gave and what ours gave."""


def _nothing(command: Command, theirs: Answer, ours: Answer) -> bool:
    return False  # zns.Play brings ours to where QEMU's is


def _copies_to_full(command: Command, theirs: Answer, ours: Answer) -> bool:
    same = (theirs.result, theirs.data, theirs.zones) == (ours.result, ours.data, ours.zones)
    return same and command.sqe[0] == COPY and (theirs.status, ours.status) == (TRANSITION, FULL)


CLOSES_FIRST = Difference(
    "closes-before-the-active-limit",
    "A command that would open an EMPTY zone while as many zones are open and as many active as may be is refused "
    "(Too Many Active Zones). QEMU's drive has closed an implicitly open zone before it finds that; here a command "
    "that is refused changes nothing.",
    _nothing,
)
COPY_OPENS = Difference(
    "copy-opens-first",
    "A COPY writes as a write does. QEMU's drive opens the zone before it looks whether the blocks may be written "
    "there: so a COPY into a FULL zone is an Invalid Zone State Transition, not Zone Is Full, and one that is not at "
    "the write pointer is an Internal Error, not Zone Invalid Write, and leaves an EMPTY or CLOSED zone open.",
    _copies_to_full,
)
KNOWN = (CLOSES_FIRST, COPY_OPENS)
