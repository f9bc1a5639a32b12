"""libzbc's published cases, as far as they ask for what a host-managed disk must do.

The table holds names, numbers and expectations (facts) of the sections 01 (sense data) and 02 (state machine) of
libzbc's test list; the scripts themselves are not used. Each case brings a zone into a condition, gives one
command and demands a sense code or a condition. Where libzbc accepts two answers, ours is one of them.

Left out, as the emulator offers no way to ask: REPORT ZONES options, addresses that are no zone's start (a zone
is named by its index), zone domains and realms, and WRITE of zero blocks (02.049, 02.071, 02.074, 02.077, 02.080),
which the emulator documents to do nothing. Cases marked "own" have no number there that we know of: their sense data
are those of ZBC-2 table 12. Some numbers moved between versions of libzbc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

import zoned
from zoned import ZoneCondition as Z

BLOCK = 4096
ZONE = 4 * BLOCK
CONVENTIONAL, MAX_OPEN, ZONES = 2, 3, 12
TARGET, NEXT = 4, 5

Step = tuple[object, ...]
Sense = tuple[int, int, int]

ILLEGAL, PROTECTED = 5, 7
INVALID_FIELD: Sense = (ILLEGAL, 0x24, 0x00)
OUT_OF_RANGE: Sense = (ILLEGAL, 0x21, 0x00)
UNALIGNED: Sense = (ILLEGAL, 0x21, 0x04)
WRITE_BOUNDARY: Sense = (ILLEGAL, 0x21, 0x05)
INVALID_DATA: Sense = (ILLEGAL, 0x21, 0x06)
READ_BOUNDARY: Sense = (ILLEGAL, 0x21, 0x07)
RESOURCES: Sense = (PROTECTED, 0x55, 0x0E)
READ_ONLY: Sense = (PROTECTED, 0x27, 0x08)
OFFLINE: Sense = (PROTECTED, 0x2C, 0x0E)

# Ways into a condition, as steps of the little language that `perform` speaks.
EMPTY: list[Step] = []
IOPEN: list[Step] = [("write", TARGET, 1)]
EOPEN: list[Step] = [("open", TARGET)]
EOPEN_WRITTEN: list[Step] = [("write", TARGET, 1), ("open", TARGET)]
CLOSED: list[Step] = [("write", TARGET, 1), ("close", TARGET)]
FULL: list[Step] = [("finish", TARGET)]
FILL_LIMIT: list[Step] = [("open", 6), ("open", 7), ("open", 8)]
FULL_THEN_OPEN: list[Step] = [("write", TARGET, 4), ("write", NEXT, 1)]
IMPLICIT_LIMIT: list[Step] = [("write", 6, 1), ("write", 7, 1), ("write", 8, 1)]
FULL_PAIR: list[Step] = [("write", TARGET, 4), ("write", NEXT, 4)]


def perform(disk: zoned.Device, steps: list[Step]) -> None:
    for verb, *rest in steps:
        if verb == "write":  # at the write pointer
            zone, blocks = rest
            here = disk.zones[zone]
            disk.pwrite(b"d" * BLOCK * blocks, here.start if here.wp is None else here.wp)
        elif verb == "write at":
            block, blocks = rest
            disk.pwrite(b"d" * BLOCK * blocks, block * BLOCK)
        elif verb == "write bytes":
            offset, length = rest
            disk.pwrite(b"d" * length, offset)
        elif verb == "read":
            block, blocks = rest
            disk.pread(BLOCK * blocks, block * BLOCK)
        elif verb == "set":
            zone, condition = rest
            disk.set_condition(zone, condition)
        elif verb in ("open", "close", "finish", "reset"):
            getattr(disk, f"{verb}_zone")(*rest)
        else:
            getattr(disk, str(verb).replace(" ", "_"))()


AT = TARGET * 4  # the target zone's first block
LAST = AT + 3  # and its last
BORDER = CONVENTIONAL * 4 - 1  # last block of the conventional zones


class Case(NamedTuple):
    before: list[Step]
    command: Step
    sense: Sense | None
    """None: it must be done."""
    keywords: Mapping[str, object] = MappingProxyType({})


def restricted(before: list[Step], command: Step, sense: Sense) -> Case:
    """On a disk with URSWRZ off."""
    return Case(before, command, sense, {"unrestricted_read": False})


# by case, and what it is about
SENSE = {
    "01.021 OPEN, no open resource": Case(FILL_LIMIT, ("open", TARGET), RESOURCES),
    "01.022 OPEN ALL, too many closed zones": Case(
        [s for z in range(3, 7) for s in (("write", z, 1), ("close", z))], ("open all",), RESOURCES
    ),
    "01.023 OPEN of a conventional zone": Case(EMPTY, ("open", 0), INVALID_FIELD),
    "own OPEN beyond the last zone": Case(EMPTY, ("open", ZONES), OUT_OF_RANGE),
    "own CLOSE beyond the last zone": Case(EMPTY, ("close", ZONES), OUT_OF_RANGE),
    "01.031 CLOSE of a conventional zone": Case(EMPTY, ("close", 1), INVALID_FIELD),
    "01.042 FINISH beyond the last zone": Case(EMPTY, ("finish", ZONES), OUT_OF_RANGE),
    "01.041 FINISH of a conventional zone": Case(EMPTY, ("finish", 1), INVALID_FIELD),
    "own FINISH of an empty zone at the open limit": Case(FILL_LIMIT, ("finish", TARGET), None),
    "own FINISH of a closed zone at the open limit": Case(
        CLOSED + FILL_LIMIT, ("finish", TARGET), None
    ),
    "own RESET beyond the last zone": Case(EMPTY, ("reset", ZONES), OUT_OF_RANGE),
    "01.051 RESET of a conventional zone": Case(EMPTY, ("reset", 1), INVALID_FIELD),
    "01.060 READ over the write pointer, restricted": restricted(
        IOPEN, ("read", AT, 2), INVALID_DATA
    ),
    "01.060 READ over the write pointer, URSWRZ": Case(IOPEN, ("read", AT, 2), None),
    "01.061 READ over the border of full zones, restricted": restricted(
        FULL, ("read", LAST, 2), READ_BOUNDARY
    ),
    "01.061 READ over the border of zones, URSWRZ": Case(FULL, ("read", LAST, 2), None),
    "01.063 READ full to full, restricted": restricted(FULL_PAIR, ("read", LAST, 2), READ_BOUNDARY),
    "01.063 READ full to full, URSWRZ": Case(FULL_PAIR, ("read", LAST, 2), None),
    "01.062 READ over zone types": Case(EMPTY, ("read", BORDER, 2), INVALID_DATA),
    "01.064 READ from conventional into sequential": Case(EMPTY, ("read", BORDER, 6), INVALID_DATA),
    "01.067 READ beyond the write pointer, restricted": restricted(
        IOPEN, ("read", AT + 2, 1), INVALID_DATA
    ),
    "01.067 READ beyond the write pointer, URSWRZ": Case(IOPEN, ("read", AT + 2, 1), None),
    "own READ beyond the end of the disk": Case(EMPTY, ("read", ZONES * 4, 1), OUT_OF_RANGE),
    "01.070 WRITE ahead of the write pointer": Case(EMPTY, ("write at", AT + 1, 2), UNALIGNED),
    "01.071 WRITE over the zone's end": Case(
        [("write", TARGET, 3)], ("write at", LAST, 2), WRITE_BOUNDARY
    ),
    "01.072 WRITE, no open resource": Case(FILL_LIMIT, ("write", TARGET, 1), RESOURCES),
    "01.073 WRITE to a full zone": Case(FULL, ("write at", AT, 1), INVALID_FIELD),
    "01.074 WRITE from conventional into sequential": Case(
        EMPTY, ("write at", BORDER, 2), WRITE_BOUNDARY
    ),
    "01.075 WRITE that ends below the write pointer": Case(
        [("write", TARGET, 2)], ("write at", AT, 1), UNALIGNED
    ),
    "01.078 WRITE over the write pointer": Case(IOPEN, ("write at", AT, 2), UNALIGNED),
    "own WRITE beyond the end of the disk": Case(EMPTY, ("write at", ZONES * 4, 1), OUT_OF_RANGE),
    "own WRITE ahead, over the border into a full zone": Case(
        [*IOPEN, ("finish", NEXT)], ("write at", LAST, 2), WRITE_BOUNDARY
    ),
    "own WRITE to a read-only zone": Case(
        [("set", TARGET, Z.READ_ONLY)], ("write at", AT, 1), READ_ONLY
    ),
    "own WRITE to an offline zone": Case(
        [("set", TARGET, Z.OFFLINE)], ("write at", AT, 1), OFFLINE
    ),
    "own READ of an offline zone": Case([("set", TARGET, Z.OFFLINE)], ("read", AT, 1), OFFLINE),
    "own READ of a read-only zone": Case(
        [*IOPEN, ("set", TARGET, Z.READ_ONLY)], ("read", AT, 1), None
    ),
    "01.065 READ over the border of conventional zones": Case(EMPTY, ("read", 3, 2), None),
    "01.080 READ full to open, beyond the write pointer, restricted": restricted(
        FULL_THEN_OPEN, ("read", LAST, 3), READ_BOUNDARY
    ),
    "01.080 READ full to open, URSWRZ": Case(FULL_THEN_OPEN, ("read", LAST, 3), None),
    "01.090 WRITE full to open": Case(FULL_THEN_OPEN, ("write at", LAST, 3), WRITE_BOUNDARY),
    "01.091 WRITE full to open, below": Case(FULL_THEN_OPEN, ("write at", LAST, 2), WRITE_BOUNDARY),
    "01.128 WRITE to more zones than max open": Case(IMPLICIT_LIMIT, ("write", 9, 1), None),
    "01.129 OPEN, all open zones implicit": Case(IMPLICIT_LIMIT, ("open", 9), None),
    "01.142 FINISH, all open zones implicit": Case(IMPLICIT_LIMIT, ("finish", 9), None),
    "own OPEN at the limit, one implicitly open": Case(
        [("open", 6), ("open", 7), ("write", 8, 1)], ("open", TARGET), None
    ),
    "own WRITE at the limit, all implicitly open": Case(
        [("write", 6, 1), ("write", 7, 1), ("write", 8, 1)], ("write", TARGET, 1), None
    ),
    "own FINISH ALL at the limit with a closed zone": Case(
        CLOSED + FILL_LIMIT, ("finish all",), None
    ),
    "own WRITE that does not end on a physical block": Case(
        EMPTY, ("write bytes", AT * BLOCK, 512), UNALIGNED, {"logical_block": 512}
    ),
}

TO_EOPEN, TO_CLOSED, TO_EMPTY, TO_FULL, TO_IOPEN = (
    Z.EXPLICIT_OPEN,
    Z.CLOSED,
    Z.EMPTY,
    Z.FULL,
    Z.IMPLICIT_OPEN,
)

# Where the zone comes from: the first case of four, and where OPEN, CLOSE, FINISH and RESET lead; then the
# same of the commands for all zones.
Leads = tuple[Z, Z, Z, Z]
STATES: dict[str, tuple[list[Step], int, Leads, int, Leads]] = {
    "empty": (
        *(EMPTY, 1, (TO_EOPEN, TO_EMPTY, TO_FULL, TO_EMPTY)),
        *(25, (TO_EMPTY, TO_EMPTY, TO_EMPTY, TO_EMPTY)),
    ),
    "implicitly open": (
        *(IOPEN, 5, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
        *(29, (TO_IOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    ),
    **{
        what: (way, first, leads, first + 24, leads)  # the same either way
        for what, way, first, leads in (
            ("explicitly open, empty", EOPEN, 9, (TO_EOPEN, TO_EMPTY, TO_FULL, TO_EMPTY)),
            (
                "explicitly open, written",
                EOPEN_WRITTEN,
                13,
                (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY),
            ),
            ("closed", CLOSED, 17, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
            ("full", FULL, 21, (TO_FULL, TO_FULL, TO_FULL, TO_EMPTY)),
        )
    },
}
WRITES: list[tuple[str, str, list[Step], Step, Z]] = [
    ("02.070", "empty", EMPTY, ("write", TARGET, 1), TO_IOPEN),
    ("02.073", "implicitly open", IOPEN, ("write", TARGET, 1), TO_IOPEN),
    ("02.076", "closed", CLOSED, ("write", TARGET, 1), TO_IOPEN),
    ("02.078", "closed, filled", CLOSED, ("write", TARGET, 3), TO_FULL),
    ("own", "explicitly open", EOPEN, ("write", TARGET, 1), TO_EOPEN),
    ("own", "implicitly open, filled", IOPEN, ("write", TARGET, 3), TO_FULL),
    ("own", "explicitly open, filled", EOPEN, ("write", TARGET, 4), TO_FULL),
    ("own", "empty, filled at once", EMPTY, ("write", TARGET, 4), TO_FULL),
]
COMMANDS = ("open", "close", "finish", "reset")


@pytest.fixture
def make() -> Iterator[Callable[..., zoned.Device]]:
    made: list[zoned.Device] = []

    def host_managed(**keywords: object) -> zoned.Device:
        settings: dict[str, object] = {
            "size": ZONES * ZONE,
            "zone_size": ZONE,
            "conventional": CONVENTIONAL,
            "max_open": MAX_OPEN,
            "logical_block": BLOCK,
            "physical_block": BLOCK,
            "dialect": "zbc",
            "implicit_close": "lowest",
            **keywords,
        }
        made.append(zoned.memory(**settings))
        return made[-1]

    yield host_managed
    for disk in made:
        disk.close()


@pytest.mark.parametrize(
    ("before", "command", "sense", "keywords"),
    [pytest.param(*case, id=name) for name, case in SENSE.items()],
)
def test_sense(
    make: Callable[..., zoned.Device],
    before: list[Step],
    command: Step,
    sense: Sense | None,
    keywords: Mapping[str, object],
) -> None:
    disk = make(**keywords)
    perform(disk, before)
    states = list(disk.report())
    if sense is None:
        perform(disk, [command])
        return
    with pytest.raises(zoned.ZonedError) as caught:
        perform(disk, [command])
    assert caught.value.sense == sense
    assert list(disk.report()) == states, "a refused command changed a zone"


@pytest.mark.parametrize(
    ("before", "command", "condition"),
    [
        pytest.param(way, (name, TARGET), to, id=f"02.{first + n:03} {name} {what}")
        for what, (way, first, leads, _, _) in STATES.items()
        for n, (name, to) in enumerate(zip(COMMANDS, leads, strict=True))
    ]
    + [
        pytest.param(way, (f"{name} all",), to, id=f"02.{first + n:03} {name} all {what}")
        for what, (way, _, _, first, leads) in STATES.items()
        for n, (name, to) in enumerate(zip(COMMANDS, leads, strict=True))
    ]
    + [
        pytest.param(way, command, to, id=f"{case} write {what}")
        for case, what, way, command, to in WRITES
    ],
)
def test_state(
    make: Callable[..., zoned.Device], before: list[Step], command: Step, condition: Z
) -> None:
    disk = make()
    perform(disk, before)
    perform(disk, [command])
    assert disk.zones[TARGET].condition is condition


def test_all_forms_pass_over_conventional_zones(make: Callable[..., zoned.Device]) -> None:
    disk = make()
    perform(disk, [("write", 0, 2), *IOPEN])
    for name in COMMANDS:
        perform(disk, [(f"{name} all",)])
    assert [disk.zones[zone].condition for zone in range(CONVENTIONAL)] == [Z.NOT_WP] * 2
    assert disk.pread(BLOCK, 0) == b"d" * BLOCK
