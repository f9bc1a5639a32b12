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

from collections.abc import Callable, Iterator

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

# case, what it is about, what comes before, the command, the sense data (None: it must be done), keywords
SENSE: list[tuple[str, str, list[Step], Step, Sense | None, dict[str, object]]] = [
    ("01.021", "OPEN, no open resource", FILL_LIMIT, ("open", TARGET), RESOURCES, {}),
    (
        "01.022",
        "OPEN ALL, too many closed zones",
        [s for z in range(3, 7) for s in (("write", z, 1), ("close", z))],
        ("open all",),
        RESOURCES,
        {},
    ),
    ("01.023", "OPEN of a conventional zone", EMPTY, ("open", 0), INVALID_FIELD, {}),
    ("own", "OPEN beyond the last zone", EMPTY, ("open", ZONES), OUT_OF_RANGE, {}),
    ("own", "CLOSE beyond the last zone", EMPTY, ("close", ZONES), OUT_OF_RANGE, {}),
    ("01.031", "CLOSE of a conventional zone", EMPTY, ("close", 1), INVALID_FIELD, {}),
    ("01.042", "FINISH beyond the last zone", EMPTY, ("finish", ZONES), OUT_OF_RANGE, {}),
    ("01.041", "FINISH of a conventional zone", EMPTY, ("finish", 1), INVALID_FIELD, {}),
    (
        "own",
        "FINISH of an empty zone at the open limit",
        FILL_LIMIT,
        ("finish", TARGET),
        None,
        {},
    ),
    (
        "own",
        "FINISH of a closed zone at the open limit",
        CLOSED + FILL_LIMIT,
        ("finish", TARGET),
        None,
        {},
    ),
    ("own", "RESET beyond the last zone", EMPTY, ("reset", ZONES), OUT_OF_RANGE, {}),
    ("01.051", "RESET of a conventional zone", EMPTY, ("reset", 1), INVALID_FIELD, {}),
    (
        "01.060",
        "READ over the write pointer, restricted",
        IOPEN,
        ("read", AT, 2),
        INVALID_DATA,
        {"unrestricted_read": False},
    ),
    ("01.060", "READ over the write pointer, URSWRZ", IOPEN, ("read", AT, 2), None, {}),
    (
        "01.061",
        "READ over the border of full zones, restricted",
        FULL,
        ("read", LAST, 2),
        READ_BOUNDARY,
        {"unrestricted_read": False},
    ),
    ("01.061", "READ over the border of zones, URSWRZ", FULL, ("read", LAST, 2), None, {}),
    (
        "01.063",
        "READ full to full, restricted",
        FULL_PAIR,
        ("read", LAST, 2),
        READ_BOUNDARY,
        {"unrestricted_read": False},
    ),
    ("01.063", "READ full to full, URSWRZ", FULL_PAIR, ("read", LAST, 2), None, {}),
    ("01.062", "READ over zone types", EMPTY, ("read", BORDER, 2), INVALID_DATA, {}),
    (
        "01.064",
        "READ from conventional into sequential",
        EMPTY,
        ("read", BORDER, 6),
        INVALID_DATA,
        {},
    ),
    (
        "01.067",
        "READ beyond the write pointer, restricted",
        IOPEN,
        ("read", AT + 2, 1),
        INVALID_DATA,
        {"unrestricted_read": False},
    ),
    ("01.067", "READ beyond the write pointer, URSWRZ", IOPEN, ("read", AT + 2, 1), None, {}),
    ("own", "READ beyond the end of the disk", EMPTY, ("read", ZONES * 4, 1), OUT_OF_RANGE, {}),
    ("01.070", "WRITE ahead of the write pointer", EMPTY, ("write at", AT + 1, 2), UNALIGNED, {}),
    (
        "01.071",
        "WRITE over the zone's end",
        [("write", TARGET, 3)],
        ("write at", LAST, 2),
        WRITE_BOUNDARY,
        {},
    ),
    ("01.072", "WRITE, no open resource", FILL_LIMIT, ("write", TARGET, 1), RESOURCES, {}),
    ("01.073", "WRITE to a full zone", FULL, ("write at", AT, 1), INVALID_FIELD, {}),
    (
        "01.074",
        "WRITE from conventional into sequential",
        EMPTY,
        ("write at", BORDER, 2),
        WRITE_BOUNDARY,
        {},
    ),
    (
        "01.075",
        "WRITE that ends below the write pointer",
        [("write", TARGET, 2)],
        ("write at", AT, 1),
        UNALIGNED,
        {},
    ),
    ("01.078", "WRITE over the write pointer", IOPEN, ("write at", AT, 2), UNALIGNED, {}),
    (
        "own",
        "WRITE beyond the end of the disk",
        EMPTY,
        ("write at", ZONES * 4, 1),
        OUT_OF_RANGE,
        {},
    ),
    (
        "own",
        "WRITE ahead, over the border into a full zone",
        [*IOPEN, ("finish", NEXT)],
        ("write at", LAST, 2),
        WRITE_BOUNDARY,
        {},
    ),
    (
        "own",
        "WRITE to a read-only zone",
        [("set", TARGET, Z.READ_ONLY)],
        ("write at", AT, 1),
        READ_ONLY,
        {},
    ),
    (
        "own",
        "WRITE to an offline zone",
        [("set", TARGET, Z.OFFLINE)],
        ("write at", AT, 1),
        OFFLINE,
        {},
    ),
    (
        "own",
        "READ of an offline zone",
        [("set", TARGET, Z.OFFLINE)],
        ("read", AT, 1),
        OFFLINE,
        {},
    ),
    (
        "own",
        "READ of a read-only zone",
        [*IOPEN, ("set", TARGET, Z.READ_ONLY)],
        ("read", AT, 1),
        None,
        {},
    ),
    ("01.065", "READ over the border of conventional zones", EMPTY, ("read", 3, 2), None, {}),
    (
        "01.080",
        "READ full to open, beyond the write pointer, restricted",
        FULL_THEN_OPEN,
        ("read", LAST, 3),
        READ_BOUNDARY,
        {"unrestricted_read": False},
    ),
    ("01.080", "READ full to open, URSWRZ", FULL_THEN_OPEN, ("read", LAST, 3), None, {}),
    ("01.090", "WRITE full to open", FULL_THEN_OPEN, ("write at", LAST, 3), WRITE_BOUNDARY, {}),
    (
        "01.091",
        "WRITE full to open, below",
        FULL_THEN_OPEN,
        ("write at", LAST, 2),
        WRITE_BOUNDARY,
        {},
    ),
    ("01.128", "WRITE to more zones than max open", IMPLICIT_LIMIT, ("write", 9, 1), None, {}),
    ("01.129", "OPEN, all open zones implicit", IMPLICIT_LIMIT, ("open", 9), None, {}),
    ("01.142", "FINISH, all open zones implicit", IMPLICIT_LIMIT, ("finish", 9), None, {}),
    (
        "own",
        "OPEN at the limit, one implicitly open",
        [("open", 6), ("open", 7), ("write", 8, 1)],
        ("open", TARGET),
        None,
        {},
    ),
    (
        "own",
        "WRITE at the limit, all implicitly open",
        [("write", 6, 1), ("write", 7, 1), ("write", 8, 1)],
        ("write", TARGET, 1),
        None,
        {},
    ),
    (
        "own",
        "FINISH ALL at the limit with a closed zone",
        CLOSED + FILL_LIMIT,
        ("finish all",),
        None,
        {},
    ),
    (
        "own",
        "WRITE that does not end on a physical block",
        EMPTY,
        ("write bytes", AT * BLOCK, 512),
        UNALIGNED,
        {"logical_block": 512},
    ),
]

TO_EOPEN, TO_CLOSED, TO_EMPTY, TO_FULL, TO_IOPEN = (
    Z.EXPLICIT_OPEN,
    Z.CLOSED,
    Z.EMPTY,
    Z.FULL,
    Z.IMPLICIT_OPEN,
)

# First case of four: OPEN, CLOSE, FINISH, RESET; where the zone comes from; where each leads.
STATES: list[tuple[int, str, list[Step], tuple[Z, Z, Z, Z]]] = [
    (1, "empty", EMPTY, (TO_EOPEN, TO_EMPTY, TO_FULL, TO_EMPTY)),
    (5, "implicitly open", IOPEN, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    (9, "explicitly open, empty", EOPEN, (TO_EOPEN, TO_EMPTY, TO_FULL, TO_EMPTY)),
    (13, "explicitly open, written", EOPEN_WRITTEN, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    (17, "closed", CLOSED, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    (21, "full", FULL, (TO_FULL, TO_FULL, TO_FULL, TO_EMPTY)),
]
ALL_STATES: list[tuple[int, str, list[Step], tuple[Z, Z, Z, Z]]] = [
    (25, "empty", EMPTY, (TO_EMPTY, TO_EMPTY, TO_EMPTY, TO_EMPTY)),
    (29, "implicitly open", IOPEN, (TO_IOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    (33, "explicitly open, empty", EOPEN, (TO_EOPEN, TO_EMPTY, TO_FULL, TO_EMPTY)),
    (37, "explicitly open, written", EOPEN_WRITTEN, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    (41, "closed", CLOSED, (TO_EOPEN, TO_CLOSED, TO_FULL, TO_EMPTY)),
    (45, "full", FULL, (TO_FULL, TO_FULL, TO_FULL, TO_EMPTY)),
]
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
    [pytest.param(*case[2:], id=f"{case[0]} {case[1]}") for case in SENSE],
)
def test_sense(
    make: Callable[..., zoned.Device],
    before: list[Step],
    command: Step,
    sense: Sense | None,
    keywords: dict[str, object],
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
        for first, what, way, leads in STATES
        for n, (name, to) in enumerate(zip(COMMANDS, leads, strict=True))
    ]
    + [
        pytest.param(way, (f"{name} all",), to, id=f"02.{first + n:03} {name} all {what}")
        for first, what, way, leads in ALL_STATES
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
