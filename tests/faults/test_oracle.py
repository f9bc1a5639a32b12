"""Power cuts by the ten thousand, with kills at any step and a host that runs full, held against a plain model.

The model and the life of the disk are in oracle.py, the processes that use it are tests/native/victim.c. That the
oracle looks where it matters is proven by mistakes put into the core, which it must find.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from core import Build, Change
from faults.oracle import ZONE_BLOCKS, ZONES, Disk, Keep, Manage, Order, Victim, WrongError

pytestmark = pytest.mark.program

CUTS, LONG_CUTS = 1_500, 100_000
CUTS_EACH = 25
"""Cuts in the life of one disk."""

WRAPPED = ["pwritev", "pwritev2", "fallocate", "memcpy"]

MISTAKES: dict[str, tuple[str, list[Change]]] = {
    "marks-behind-the-pointer-count": (
        "preimage.c",
        [
            (
                "	if (s.to > end)\n		s.to = end;\n	if (s.from > s.to)\n		s.from = s.to;\n	return s;",
                "	(void)end;\n	return s;",
            ),
            (
                "	if (likely(all.to <= end))\n		return 0;\n",
                "	if (all.to != end + 1000)\n		return 0;\n",
            ),
        ],
    ),
    "bytes-in-a-gap-stay": (
        "zone.c",
        [("	return r ? r : zd_slot_clear(dev, rt->slot - 1, written, rel);", "	return r;")],
    ),
    "marked-dirty-when-published": (
        "zone.c",
        [
            (
                "	zd_set_dirty(dev, zone);\n	if (zd_asked(zd_view_has(dev, zone)))",
                "	if (zd_asked(zd_view_has(dev, zone)))",
            )
        ],
    ),
    "durable-beyond-a-reset": (
        "rebuild.c",
        [
            (
                "		if (durable > written && !(rt->word & ZD_W_ZRWA))\n			atomic_compare_exchange_strong(&rt->durable, &durable, written);\n",
                "		(void)durable, (void)written;\n",
            )
        ],
    ),
    "killed-resets-are-written-over": (
        "slot.c",
        [
            (
                "	if (left_by_reset(dev, rt))\n		zd_slot_release(dev, zone, rt);\n",
                "	(void)dev;\n	(void)zone;\n	(void)rt;\n",
            )
        ],
    ),
    "stored-before-it-is-kept": (
        "preimage.c",
        [
            (
                "			r = keep_word(dev, zone, rt, pre, word, mask & ~pair[ZD_PRE_WRITTEN]);",
                "			r = 0;",
            )
        ],
    ),
    "gone-back-in-part": (
        "back.c",
        [("	atomic_fetch_or(&dev->head->gate, ZD_GATE_BACK);\n", "	(void)dev;\n")],
    ),
}


LEFT_BEHIND: dict[str, tuple[str, list[Change]]] = {
    "cuts": ("power.c", [("		r = zd_commit_stopped(dev, err);\n", "		(void)err;\n")]),
    "ways-back": (
        "back.c",
        [("		r = zd_commit_stopped(dev, NULL);\n", "		(void)dev;\n")],
    ),
    "openers": ("recover.c", [("		r = zd_commit_stopped(dev, err);\n", "")]),
}
"""Entries that still tell of what zones no longer hold; too seldom to be left to chance."""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("victim")
    return Build.with_counted_stores(folder, "victim", WRAPPED, flags=["-fno-builtin-memcpy"])


def live(program: Path, folder: Path, seed: int) -> Counter[str]:
    """One disk's life."""
    folder.mkdir()
    disk = Disk(program, folder, seed)
    try:
        disk.live(CUTS_EACH)
    finally:
        disk.close()
        shutil.rmtree(folder)
    return disk.counts


def live_many(program: Path, folder: Path, seeds: Iterable[int]) -> None:
    for seed in seeds:
        live(program, folder, seed)


def test_no_power_cut_loses_or_invents_a_byte(build: Build, shm: Path, long_run: bool) -> None:
    first, seen = random.SystemRandom().randrange(1 << 40), Counter[str]()
    wanted = LONG_CUTS if long_run else CUTS
    while seen["cuts"] < wanted:
        seen += live(build.program, shm / "life", first + seen["cuts"])
    print(f"first seed {first}: {dict(seen)}")
    # it has seen what it is for
    assert seen["gone back"] > wanted / 400 and seen["not gone back"] > wanted / 400
    assert seen["killed"] > wanted / 4 and seen["no room"] > wanted / 40
    assert seen["crashes"] > wanted / 4
    for keep in ("durable", "all", "random", "chosen"):
        assert seen[f"cut {keep}"] > wanted / 8


class OneZone:
    """A new disk of sequential zones, and what becomes of its first one."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.image, self.ledger = folder / "disk.img", folder / "ledger"
        self.user = Victim(program, self.image, self.ledger)
        shape = (0, 0, 0, 0)  # host-managed, nothing kept warm, synced by FLUSH
        self.done(Order.CREATE, block=ZONE_BLOCKS, blocks=ZONES * ZONE_BLOCKS, shape=shape)

    def done(self, order: Order, **about: Any) -> None:
        answer = self.user.obey(order, **about)
        assert answer.done, answer.text

    def another(self) -> Victim:
        user = Victim(self.program, self.image, self.ledger)
        opened = user.obey(Order.OPEN)
        assert opened.done, opened.text
        return user

    @property
    def written(self) -> int:
        return Disk.shown(self.user.obey(Order.STATE))[0].written

    def behind_a_crash(self) -> list[int]:
        """What the host brings back now; the disk is no more."""
        copy, ledger = self.folder / "copy.img", self.folder / "copy.ledger"
        shutil.copyfile(self.image, copy)
        self.user.kill()
        later = Victim(self.program, copy, ledger)
        assert later.obey(Order.OPEN).done
        zone = Disk.shown(later.obey(Order.STATE))[0]
        later.kill()
        for path in (self.image, self.ledger, copy, ledger):
            path.unlink()
        return zone.blocks[: zone.written]


def begun_anew(program: Path, folder: Path, killed_at: int) -> bool:
    """A zone's data is flushed, a reset killed, the zone written from its pointer on, and the host crashes.

    Then a copy of the file shows what it shows: what was flushed, or some of what was written later, and
    never both. Whether the kill came in time.
    """
    disk = OneZone(program, folder)
    disk.done(Order.WRITE, block=0, blocks=4, tag=10)
    disk.done(Order.FLUSH)
    reset = disk.user.obey(Order.MANAGE, zone=0, command=Manage.RESET, die_at=killed_at)
    at = disk.written
    assert at in (0, 4)
    disk.done(Order.WRITE, block=at, blocks=2, tag=20)
    shown = disk.behind_a_crash()
    old, new = [10, 11, 12, 13], [20, 21]
    allowed = (old, old + new, old + new[:1]) if at else (old, new, new[:1], [])
    assert shown in allowed, f"killed at {killed_at}: {shown} behind a crash of the host"
    return reset.killed


def went_back(program: Path, folder: Path, killed_at: int, alone: bool) -> bool:
    """Four blocks are flushed, the disk goes back to a snapshot of two, and another process writes one more.

    It is the one that finishes the way back, in the same boot or, ``alone``, when all users are dead.
    """
    disk = OneZone(program, folder)
    disk.done(Order.WRITE, block=0, blocks=2, tag=10)
    disk.done(Order.SHOT)
    disk.done(Order.WRITE, block=2, blocks=2, tag=12)
    disk.done(Order.FLUSH)
    other = None if alone else disk.another()
    back = disk.user.obey(Order.BACK, die_at=killed_at)
    disk.user.kill()
    disk.user = other or disk.another()
    at = disk.written
    assert at in (2, 4)
    disk.done(Order.WRITE, block=at, blocks=1, tag=20)
    shown, old = disk.behind_a_crash(), [10, 11, 12, 13]
    allowed = (old, [*old, 20]) if at == 4 else (old, old[:2], [*old[:2], 20])
    assert shown in allowed, f"killed at {killed_at}: {shown} behind a crash of the host"
    return back.killed


def lost_power(program: Path, folder: Path, killed_at: int, alone: bool) -> bool:
    """As `went_back`, by a power cut that takes two blocks: they were not flushed, but an entry tells of them,
    as the disk was closed. Killed while the power comes back."""
    disk = OneZone(program, folder)
    disk.done(Order.WRITE, block=0, blocks=2, tag=10)
    disk.done(Order.FLUSH)
    disk.done(Order.WRITE, block=2, blocks=2, tag=12)
    disk.done(Order.CLOSE)
    disk.user.kill()
    disk.user = disk.another()
    assert disk.written == 4
    disk.done(Order.CUT, command=Keep.DURABLE)
    on = disk.user.obey(Order.POWER_ON, die_at=killed_at)
    if alone:
        disk.user.kill()
        disk.user = disk.another()
    if on.killed:
        disk.user.obey(Order.POWER_ON)
    assert disk.written == 2
    disk.done(Order.WRITE, block=2, blocks=1, tag=20)
    shown, old = disk.behind_a_crash(), [10, 11, 12, 13]
    assert shown in (old, old[:2], [*old[:2], 20]), f"killed at {killed_at}: {shown} behind a crash"
    return on.killed


def test_a_killed_reset_leaves_nothing_to_be_written_over(build: Build, shm: Path) -> None:
    """Killed at each store, with the zone begun anew by another process before the host crashes."""
    steps = itertools.takewhile(lambda at: begun_anew(build.program, shm, at), itertools.count(1))
    assert sum(1 for _ in steps) >= 10


@pytest.mark.parametrize("alone", [False, True], ids=["beside", "alone"])
@pytest.mark.parametrize("gone", [went_back, lost_power])
def test_what_a_zone_no_longer_holds_is_not_written_over(
    build: Build, shm: Path, gone: Callable[[Path, Path, int, bool], bool], alone: bool
) -> None:
    """Killed at each store; an entry that still told of it would show it behind what came in its place."""
    steps = itertools.takewhile(lambda at: gone(build.program, shm, at, alone), itertools.count(1))
    assert sum(1 for _ in steps) >= 10


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_in_the_core_is_found(
    build: Build, tmp_path: Path, shm: Path, mistake: str
) -> None:
    program = build.with_mistake(*MISTAKES[mistake], tmp_path)
    with pytest.raises(WrongError):
        live_many(program, shm / "life", range(600))


@pytest.mark.parametrize(
    ("mistake", "gone", "alone"),
    [("cuts", lost_power, False), ("ways-back", went_back, False), ("openers", went_back, True)],
)
def test_an_entry_left_behind_is_found(
    build: Build,
    tmp_path: Path,
    shm: Path,
    mistake: str,
    gone: Callable[[Path, Path, int, bool], bool],
    alone: bool,
) -> None:
    program = build.with_mistake(*LEFT_BEHIND[mistake], tmp_path)
    steps = (gone(program, shm, killed_at, alone) for killed_at in itertools.count(1))
    with pytest.raises(AssertionError, match="behind a crash"):
        all(steps)
