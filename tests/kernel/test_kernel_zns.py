"""QEMU's emulated ZNS drive is the judge of ours: every condition of a zone under every command, by a table that was written by
hand and holds for both; and commands at random.

What differs on purpose is in zns_differences.KNOWN, from which docs/differences.md
tells it. READ_ONLY and OFFLINE are in no table here: a
host cannot bring QEMU's zones there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import pytest

from kernel import lab, zns, zns_differences
from wire import nvme_door
from wire.doors import Library
from wire.nvme_door import Code
from wire.test_nvme_zones import NEXT, TABLE

pytestmark = [pytest.mark.kernel, pytest.mark.long]
NAMES = ("empty", "implicit", "explicit", "closed", "full")
"""Columns of the table, in its order."""
INVALID_ZONE_OP = 0x1B6
RUNS, COMMANDS = 50, 200


@contextmanager
def guest(
    tmp_path_factory: pytest.TempPathFactory, *, areas: bool
) -> Iterator[tuple[lab.Kernel, Library]]:
    folder = tmp_path_factory.mktemp("zns")
    image = folder / "drive.img"
    image.touch()
    with image.open("r+b") as file:
        file.truncate(zns.SIZE)
    library = nvme_door.built(folder)
    library.disk_later(False)
    share = folder / "job"
    share.mkdir()
    with lab.Kernel(share, devices=zns.devices(image, areas=areas)) as kernel:
        yield kernel, library


@pytest.fixture(scope="module")
def drives(
    boots: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[lab.Kernel, Library]]:
    """A guest that has QEMU's drive, and what makes ours."""
    with guest(tmp_path_factory, areas=False) as both:
        yield both


@pytest.fixture(scope="module")
def drives_with_areas(
    boots: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[lab.Kernel, Library]]:
    """The same; zones may have random write areas."""
    with guest(tmp_path_factory, areas=True) as both:
        yield both


@pytest.fixture
def begin(request: pytest.FixtureRequest) -> Iterator[Callable[..., zns.Play]]:
    """A drive of ours as new; QEMU's becomes so by its first command."""
    doors = []
    areas = "drives_with_areas" in request.fixturenames
    library = request.getfixturevalue("drives_with_areas" if areas else "drives")[1]

    def make(*, follow: bool = True) -> zns.Play:
        doors.append(zns.ours(library, areas=areas))
        play = zns.Play(doors[-1], follow=follow)
        play.give(zns.RESET_ALL)
        return play

    yield make
    for door in doors:
        door.close()


def bring(name: str, slba: int) -> list[zns.Command]:
    """Commands that bring an EMPTY zone into a condition; but for EMPTY, two blocks are written then."""
    commands = [] if name == "empty" else [zns.write(slba, 2)]
    if name in ("explicit", "closed"):
        commands.append(zns.send(zns.OPEN, slba))
    if name == "closed":
        commands.append(zns.send(zns.CLOSE, slba))
    if name == "full":
        commands.append(zns.send(zns.FINISH, slba))
    return commands


def commands_of(written: int, slba: int, other: int) -> dict[str, zns.Command]:
    """The rows of the table that both drives have; `other`: a block that is written."""
    return {
        "read": zns.read(slba),
        "write": zns.write(slba + written),
        "append": zns.append(slba),
        "write zeroes": zns.plain("write zeroes", zns.ZEROES, slba + written),
        "copy": zns.copy(slba + written, other),
        "verify": zns.plain("verify", zns.VERIFY, slba),
        "open": zns.send(zns.OPEN, slba),
        "close": zns.send(zns.CLOSE, slba),
        "finish": zns.send(zns.FINISH, slba),
        "reset": zns.send(zns.RESET, slba),
        "offline": zns.send(zns.OFFLINE, slba),
    }


def judged(kernel: lab.Kernel, play: zns.Play) -> list[zns.Answer]:
    """What QEMU's drive gave; it differs in what is known alone."""
    theirs = play.theirs(kernel)
    unknown, _ = zns.differences(play.commands, theirs, play.answers)
    assert not unknown, "\n".join(unknown[:40])
    return theirs


def test_what_is_known_to_differ_still_does(
    drives: tuple[lab.Kernel, Library], begin: Callable[..., zns.Play]
) -> None:
    play = begin(follow=False)
    for zone in (0, 1):
        play.give(zns.write(zone * zns.ZONE), zns.send(zns.CLOSE, zone * zns.ZONE))
    for zone in (2, 3, 4):
        assert play.give(zns.write(zone * zns.ZONE)).status == 0
    limit = play.give(zns.write(5 * zns.ZONE))
    closes = len(play.commands) - 1
    play.give(zns.RESET_ALL, zns.write(0), zns.copy(6 * zns.ZONE + 1, 0))
    opens = len(play.commands) - 1
    play.give(zns.RESET_ALL, zns.write(0), zns.send(zns.FINISH, 7 * zns.ZONE))
    full = play.give(zns.copy(7 * zns.ZONE, 0))
    theirs = play.theirs(drives[0])
    assert limit.status == theirs[closes].status == Code.TOO_MANY_ACTIVE
    assert limit.zones[2].cond == zns.IMPLICIT
    assert theirs[closes].zones[2].cond == zns.CLOSED
    assert (play.answers[opens].status, theirs[opens].status) == (Code.INVALID_WRITE, Code.INTERNAL)
    assert play.answers[opens].zones[6].cond == zns.EMPTY
    assert theirs[opens].zones[6].cond == zns.IMPLICIT
    assert (full.status, theirs[-1].status) == (Code.FULL, Code.TRANSITION)
    assert zns.differences(play.commands[-1:], theirs[-1:], play.answers[-1:]) == (
        [],
        {zns_differences.COPY_OPENS.name},
    )


def test_every_condition_under_every_command(
    drives: tuple[lab.Kernel, Library], begin: Callable[[], zns.Play]
) -> None:
    play, slba, other = begin(), 3 * zns.ZONE, 7 * zns.ZONE
    expected: dict[int, tuple[str, int, int]] = {}
    rows = commands_of(0, 0, 0)
    assert set(TABLE) - set(rows) == {"write uncorrectable"}  # which QEMU's drive lacks
    for command, (column, name) in product(rows, enumerate(NAMES)):
        play.give(zns.RESET_ALL, zns.write(other), zns.send(zns.FINISH, other))
        commands = bring(name, slba)
        for one in commands:
            assert play.give(one).status == 0
        play.give(commands_of(2 if commands else 0, slba, other)[command])
        place = len(play.commands) - 1
        expected[place] = (f"{command}, {name}", TABLE[command][column], NEXT[command][column])
    theirs = judged(drives[0], play)
    assert len(expected) == len(rows) * len(NAMES)
    for place, (what, status, cond) in expected.items():
        known = (Code.TRANSITION,) if what == "copy, full" else ()  # zns_differences.COPY_OPENS
        assert play.answers[place].status == status, what
        assert theirs[place].status in (known or (status,)), what
        for answer in (theirs[place], play.answers[place]):
            assert answer.zones[3].cond == cond, what


@pytest.mark.parametrize("seed", range(RUNS))
def test_commands_at_random(
    drives: tuple[lab.Kernel, Library], begin: Callable[[], zns.Play], seed: int
) -> None:
    play, rng = begin(), random.Random(seed)
    for _ in range(COMMANDS):
        play.give(zns.draw(play, rng))
    judged(drives[0], play)


def test_what_is_known_to_differ_with_areas(
    boots: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a guest of its own: what QEMU's drive counts wrong stays so."""
    with guest(tmp_path_factory, areas=True) as (kernel, library):
        door = zns.ours(library, areas=True)
        play = zns.Play(door)
        play.give(zns.RESET_ALL, zns.send(zns.OPEN, 0, option=True))
        for blocks in (zns.AREA + 1, zns.AREA + 2, zns.AREA + zns.GRANULE):
            assert play.give(zns.send(zns.COMMIT, blocks - 1)).status == Code.BOUNDARY
        refused = len(play.commands)
        other = 7 * zns.ZONE
        play.give(zns.write(other), zns.copy(1, other))
        copied = len(play.commands) - 1
        again = [zns.send(zns.OPEN, zone * zns.ZONE, option=True) for zone in (1, 1, 2)]
        play.give(zns.RESET_ALL, *again[:2], zns.RESET_ALL)
        asked = len(play.commands)
        assert [play.give(one).status for one in (again[0], again[2])] == [Code.SUCCESS] * 2
        last = zns.ZONE + zns.CAPACITY
        play.give(zns.RESET_ALL, zns.send(zns.OPEN, zns.ZONE, option=True))
        for end in range(zns.ZONE + zns.AREA, last, zns.AREA):
            play.give(zns.write(end - zns.AREA, zns.AREA), zns.send(zns.COMMIT, end - 1))
        play.give(zns.send(zns.COMMIT, last - zns.GRANULE - 1))
        beyond = play.give(zns.send(zns.COMMIT, last + zns.GRANULE - 1))
        theirs = play.theirs(kernel)
        door.close()
    assert [one.status for one in theirs[refused - 3 : refused]] == [
        Code.INVALID_FIELD,
        Code.BOUNDARY,
        Code.BOUNDARY,
    ]
    assert zns.differences(play.commands[:refused], theirs[:refused], play.answers[:refused]) == (
        [],
        {zns_differences.COMMITS_TOO_MANY.name},
    )
    assert (theirs[copied].zones[0].written, play.answers[copied].zones[0].written) == (1, 0)
    assert [one.status for one in theirs[asked : asked + 2]] == [Code.SUCCESS, zns.NO_AREA]
    assert (beyond.status, beyond.zones[1].written) == (Code.BOUNDARY, zns.CAPACITY - zns.GRANULE)
    assert (theirs[-1].status, theirs[-1].zones[1].written) == (
        Code.SUCCESS,
        zns.CAPACITY + zns.GRANULE,
    )


GOOD, OUTSIDE, NO_FIELD, BEYOND = (
    (Code.SUCCESS,) * 3,
    (Code.INVALID_WRITE,) * 3,
    (Code.INVALID_FIELD,) * 3,
    (Code.BOUNDARY,) * 3,
)
AREA_NAMES = ("explicit", "closed", "implicit")
"""Conditions of a zone with an area: one granule is committed, and its area's first block is written."""
WITH_AREA = {
    # statuses, then the conditions behind the command, then whether the zone still has its area
    "read": (GOOD, (3, 4, 2), True),
    "verify": (GOOD, (3, 4, 2), True),
    "write in": (GOOD, (3, 2, 2), True),
    "write again": (GOOD, (3, 2, 2), True),
    "write behind": (GOOD, (3, 2, 2), True),
    "write to the last": (GOOD, (3, 2, 2), True),
    "write too far": (OUTSIDE, (3, 4, 2), True),
    "write before": (OUTSIDE, (3, 4, 2), True),
    "append": ((INVALID_ZONE_OP,) * 3, (3, 4, 2), True),
    "write zeroes": (GOOD, (3, 2, 2), True),
    "commit": (GOOD, (3, 2, 2), True),
    "commit all": (GOOD, (3, 2, 2), True),
    "commit odd": (NO_FIELD, (3, 4, 2), True),
    "commit too much": (BEYOND, (3, 4, 2), True),
    "commit again": (BEYOND, (3, 4, 2), True),
    "open": (GOOD, (3, 3, 3), True),
    "close": (GOOD, (4, 4, 4), True),
    "finish": (GOOD, (0xE, 0xE, 0xE), False),
    "reset": (GOOD, (1, 1, 1), False),
    "offline": ((Code.TRANSITION,) * 3, (3, 4, 2), True),
}
WITHOUT = {
    # as in TABLE: zones without an area in each condition; where they are written, two blocks, which are half a granule
    "open with area": (Code.SUCCESS, *(zns.NO_AREA,) * 3, Code.TRANSITION),
    "commit": (Code.INVALID_FIELD,) * 5,
}


def with_area(name: str, slba: int) -> list[zns.Command]:
    """Commands that bring an EMPTY zone into a condition of AREA_NAMES."""
    first = slba + zns.GRANULE
    commands = [
        zns.send(zns.OPEN, slba, option=True),
        zns.write(slba, zns.GRANULE),
        zns.send(zns.COMMIT, first - 1),
        zns.write(first),
    ]
    if name != "explicit":
        commands.append(zns.send(zns.CLOSE, slba))
    if name == "implicit":
        commands.append(zns.write(first))
    return commands


def area_commands(slba: int, other: int) -> dict[str, zns.Command]:
    """The rows of WITH_AREA; not those where QEMU's drive is wrong: COPY_COMMITS, AREA_TWICE."""
    first, last = slba + zns.GRANULE, slba + zns.GRANULE + zns.AREA - 1
    return {
        **commands_of(0, slba, other),
        "read": zns.read(slba, zns.GRANULE + 2),
        "write in": zns.write(first + 3, 2),
        "write again": zns.write(first, byte=0xA5),
        "write behind": zns.write(last, 2),
        "write to the last": zns.write(last + zns.AREA),
        "write too far": zns.write(last + zns.AREA, 2),
        "write before": zns.write(first - 1),
        "write zeroes": zns.plain("write zeroes", zns.ZEROES, first + 1),
        "commit": zns.send(zns.COMMIT, first + zns.GRANULE - 1),
        "commit all": zns.send(zns.COMMIT, last),
        "commit odd": zns.send(zns.COMMIT, first),
        "commit too much": zns.send(zns.COMMIT, last + zns.GRANULE),
        "commit again": zns.send(zns.COMMIT, first - 1),
    }


def test_every_condition_with_an_area_under_every_command(
    drives_with_areas: tuple[lab.Kernel, Library], begin: Callable[[], zns.Play]
) -> None:
    play, slba, other = begin(), 3 * zns.ZONE, 7 * zns.ZONE
    expected: dict[int, tuple[str, int, int | None, bool]] = {}

    def prepare(commands: list[zns.Command]) -> None:
        play.give(zns.RESET_ALL, zns.write(other), zns.send(zns.FINISH, other))
        for one in commands:
            assert play.give(one).status == 0, one.name

    for row, (statuses, conditions, keeps) in WITH_AREA.items():
        for name, status, cond in zip(AREA_NAMES, statuses, conditions, strict=True):
            prepare(with_area(name, slba))
            play.give(area_commands(slba, other)[row])
            expected[len(play.commands) - 1] = (f"{row}, {name}", status, cond, keeps)
    for row, without in WITHOUT.items():
        for name, status in zip(NAMES, without, strict=True):
            prepare(bring(name, slba))
            had = play.zones[3].cond
            command = {
                "open with area": zns.send(zns.OPEN, slba, option=True),
                "commit": zns.send(zns.COMMIT, slba + 2 * zns.GRANULE - 1),
            }[row]
            play.give(command)
            good = status == Code.SUCCESS
            expected[len(play.commands) - 1] = (
                f"{row}, {name} without one",
                status,
                zns.EXPLICIT if good else had,
                good,
            )
    theirs = judged(drives_with_areas[0], play)
    assert len(expected) == len(WITH_AREA) * len(AREA_NAMES) + len(WITHOUT) * len(NAMES)
    for place, (what, status, cond, keeps) in expected.items():
        known = (
            (zns.NO_AREA,) if what == "open with area, full without one" else ()
        )  # FULL_WITH_AREA
        assert play.answers[place].status == status, what
        assert theirs[place].status in (known or (status,)), what
        for answer in (theirs[place], play.answers[place]):
            assert answer.zones[3].cond == cond, what
            assert bool(answer.zones[3].attributes & zns.ZRWAV) == keeps, what


def test_how_many_areas_there_are(
    drives_with_areas: tuple[lab.Kernel, Library], begin: Callable[[], zns.Play]
) -> None:
    play = begin()
    statuses = [
        play.give(zns.send(zns.OPEN, zone * zns.ZONE, option=True)).status
        for zone in range(zns.AREAS + 1)
    ]
    assert statuses == [Code.SUCCESS] * zns.AREAS + [zns.NO_AREA]
    play.give(zns.send(zns.FINISH, 0))
    assert play.give(zns.send(zns.OPEN, zns.AREAS * zns.ZONE, option=True)).status == Code.SUCCESS
    judged(drives_with_areas[0], play)


@pytest.mark.parametrize("seed", range(RUNS))
def test_areas_at_random(
    drives_with_areas: tuple[lab.Kernel, Library], begin: Callable[[], zns.Play], seed: int
) -> None:
    play, rng = begin(), random.Random(seed)
    for _ in range(COMMANDS):
        play.give(zns.draw(play, rng, areas=True))
    judged(drives_with_areas[0], play)
