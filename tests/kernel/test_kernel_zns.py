"""QEMU's emulated ZNS drive is the judge of ours: every condition of a zone under every command, by a table that was written by
hand and holds for both; and commands at random.

What differs on purpose is in zns_differences.KNOWN, from which docs/differences.md
tells it. READ_ONLY and OFFLINE are in no table here: a
host cannot bring QEMU's zones there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from kernel import lab, zns, zns_differences
from wire import nvme_door
from wire.doors import Library
from wire.nvme_door import FULL, INTERNAL, INVALID_WRITE, TOO_MANY_ACTIVE, TRANSITION
from wire.test_nvme_zones import NEXT, TABLE

pytestmark = [pytest.mark.kernel, pytest.mark.long]
NAMES = ("empty", "implicit", "explicit", "closed", "full")
"""Columns of the table, in its order."""
RUNS, COMMANDS = 50, 200


@pytest.fixture(scope="module")
def drives(
    boots: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[lab.Kernel, Library]]:
    """A guest that has QEMU's drive, and what makes ours."""
    folder = tmp_path_factory.mktemp("zns")
    image = folder / "drive.img"
    image.touch()
    with image.open("r+b") as file:
        file.truncate(zns.SIZE)
    library = nvme_door.built(folder)
    library.disk_later(False)
    share = folder / "job"
    share.mkdir()
    with lab.Kernel(share, devices=zns.devices(image)) as kernel:
        yield kernel, library


@pytest.fixture
def begin(drives: tuple[lab.Kernel, Library]) -> Iterator[Callable[..., zns.Play]]:
    """A drive of ours as new; QEMU's becomes so by its first command."""
    doors = []

    def make(*, follow: bool = True) -> zns.Play:
        doors.append(zns.ours(drives[1]))
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
    assert limit.status == theirs[closes].status == TOO_MANY_ACTIVE
    assert limit.zones[2].cond == zns.IMPLICIT
    assert theirs[closes].zones[2].cond == zns.CLOSED
    assert (play.answers[opens].status, theirs[opens].status) == (INVALID_WRITE, INTERNAL)
    assert play.answers[opens].zones[6].cond == zns.EMPTY
    assert theirs[opens].zones[6].cond == zns.IMPLICIT
    assert (full.status, theirs[-1].status) == (FULL, TRANSITION)
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
        known = (TRANSITION,) if what == "copy, full" else ()  # zns_differences.COPY_OPENS
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
