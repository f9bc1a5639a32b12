"""The oracle of power cuts: a model of what may survive one, and a random life of a disk to hold against it.

The model (`Model`) knows nothing of how zoned works. It is told what was asked of the disk and how that ended, and
says what the disk may show: now, and after a cut of its power.

- A sequential zone keeps a prefix, between what is durable and what is written, in blocks.
- In conventional and preferred zones any subset of the blocks written since the last flush is as new, the others are
  as at that flush. A preferred zone is written up to the last of them that survived, or to what is durable.
- A command that failed or whose process was killed is done or not, block by block where it overwrites. Nothing of it
  shows behind a write pointer that it did not raise, ever.

The disk (`Disk`) is an image with several users, each a process of its own (tests/native/victim.c), that run one command
after the other. Any of them may be killed at any step of one, the host may run full, all may be killed at once.
"""

from __future__ import annotations

import contextlib
import mmap
import random
import shutil
import signal
import struct
import subprocess
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path

import zoned
from zoned import ZoneCondition

ZONE_BLOCKS = 16
ZONES = 6
TORN = (1 << 64) - 1
CRASHES = 0.1
"""How often a host's crash is looked at, between two things of a disk's life."""


class Type(Enum):
    CONVENTIONAL = "conventional"
    REQUIRED = "required"
    PREFERRED = "preferred"


class Order(IntEnum):
    """What a victim can do, as in enum what of victim.c."""

    STATE = 0
    WRITE = 1
    APPEND = 2
    FLUSH = 3
    MANAGE = 4
    CUT = 5
    CUT_TO = 6
    POWER_ON = 7
    CREATE = 8
    OPEN = 9
    CLOSE = 10
    SHOT = 11
    BACK = 12
    FORK = 13
    DROP = 14


class Manage(IntEnum):
    """Zone commands, as in enum zd_cmd of zoned/zone.h."""

    OPEN = 3
    CLOSE = 4
    FINISH = 5
    RESET = 6
    CLOSE_ALL = 8
    RESET_ALL = 10


class Keep(IntEnum):
    """What survives a cut; CHOSEN: a survivor that was picked among all that can be."""

    DURABLE = 0
    ALL = 1
    RANDOM = 2
    CHOSEN = 3


class WrongError(AssertionError):
    """The disk shows what it must not."""


# ---------------------------------------------------------------- the model


@dataclass
class Zone:
    """What one zone holds; blocks are counted from its start, contents are numbers (0: zeros)."""

    number: int
    type: Type
    now: list[int] = field(default_factory=lambda: [0] * ZONE_BLOCKS)
    # Of the blocks written since the last flush: what they may fall back to. Where a flush may or may not have
    # come in between, what they hold now is one of it.
    old: dict[int, set[int]] = field(default_factory=dict)
    # Blocks that a command which failed or was killed may have begun to overwrite, though they show no change.
    begun: set[int] = field(default_factory=set)
    written: int = 0
    durable: int = 0
    finished: bool = False

    @property
    def overwritten(self) -> bool:
        return self.type is not Type.REQUIRED

    def note(self, block: int) -> None:
        """A block is about to change: what it may fall back to is what it held at the last flush."""
        self.old.setdefault(block, {self.now[block]})

    def write(self, block: int, tags: list[int]) -> None:
        for at, tag in enumerate(tags, block):
            if self.overwritten:
                self.note(at)
            self.now[at] = tag
            self.begun.discard(at)
        if self.type is not Type.CONVENTIONAL:
            self.written = max(self.written, block + len(tags))

    def flush(self) -> None:
        self.old.clear()
        self.begun.clear()
        self.durable = self.written

    def reset(self) -> None:
        self.now = [0] * ZONE_BLOCKS
        self.written = 0
        self.finished = False
        self.flush()

    @property
    def holds(self) -> list[int]:
        """Up to the write pointer."""
        return self.now[: self.written]

    @property
    def is_full(self) -> bool:
        return self.finished or self.written == ZONE_BLOCKS


@dataclass(frozen=True)
class Shown:
    """What the disk shows of a zone."""

    condition: int
    written: int
    durable: int
    blocks: list[int]


class Model:
    """All zones, and what may be true of them."""

    def __init__(self, types: list[Type]) -> None:
        self.zones = [Zone(number, type_) for number, type_ in enumerate(types)]

    # ------------------------------------------------ after commands that were done

    def agrees(self, shown: list[Shown]) -> None:
        """The disk shows exactly this; nothing is under way."""
        for zone, now in zip(self.zones, shown, strict=True):
            if now.blocks != zone.now or now.written != zone.written:
                raise WrongError(f"{zone} shows {now}")
            if zone.type is Type.CONVENTIONAL:
                continue
            if (now.condition == ZoneCondition.FULL) != zone.is_full:
                raise WrongError(f"{zone} has the condition {now.condition}")
            if now.durable != zone.durable:
                raise WrongError(f"{zone} says that {now.durable} blocks are durable")

    # ------------------------------------------------ after commands that were cut short

    def settle_write(self, zone: Zone, block: int, tags: list[int], now: Shown) -> None:
        """A write that failed or was cut short, as far as it fell into that zone."""
        before = zone.written
        ends = (before, max(before, block + len(tags)))
        partly = zone.type is Type.REQUIRED and before <= now.written <= block + len(tags)
        if now.written not in ends and not partly:
            raise WrongError(
                f"{zone} is written to {now.written} after a write of {tags} at {block}"
            )
        for at, tag in enumerate(tags, block):
            if zone.type is not Type.CONVENTIONAL and at >= before:
                if at < now.written:
                    zone.write(at, [tag])
            elif now.blocks[at] == tag:
                zone.write(at, [tag])
            else:
                zone.begun.add(at)

    def settle_reset(self, zone: Zone, now: Shown) -> None:
        if now.condition == ZoneCondition.EMPTY and (zone.written or zone.finished):
            zone.reset()

    def settle_finish(self, zone: Zone, now: Shown) -> None:
        if now.condition == ZoneCondition.FULL and not zone.is_full:
            zone.finished = True
            zone.durable = zone.written
        self.settle_flush([zone], [now])

    def settle_flush(self, zones: list[Zone], shown: list[Shown]) -> None:
        """Of each zone, and of each block, it was done or not."""
        for zone, now in zip(zones, shown, strict=True):
            if zone.type is not Type.CONVENTIONAL and now.durable == zone.written:
                zone.durable = zone.written
            for block in zone.old:
                zone.old[block].add(zone.now[block])

    # ------------------------------------------------ cuts

    def after_cut(
        self,
        keep: Keep,
        shown: list[Shown],
        kept: dict[int, int],
        undone: set[int],
        whole: bool,
    ) -> None:
        """Judge what a cut left, and go on from there. ``whole``: nobody was killed in it."""
        for zone, now in zip(self.zones, shown, strict=True):
            self._after_cut(zone, keep if whole else Keep.RANDOM, now, kept, undone)
            zone.now = list(now.blocks)
            zone.written = zone.durable = now.written
            zone.old.clear()
            zone.begun.clear()
            if zone.type is Type.CONVENTIONAL:
                continue
            if now.durable != now.written:
                raise WrongError(f"{zone}: {now} has something unflushed behind a cut")
            wanted = (
                ZoneCondition.FULL
                if zone.is_full
                else ZoneCondition.CLOSED
                if now.written
                else ZoneCondition.EMPTY
            )
            if now.condition != wanted:
                raise WrongError(f"{zone}: {now} should have the condition {wanted}")

    def _after_cut(
        self, zone: Zone, keep: Keep, now: Shown, kept: dict[int, int], undone: set[int]
    ) -> None:
        first = zone.number * ZONE_BLOCKS
        top = ZONE_BLOCKS if zone.type is Type.CONVENTIONAL else now.written
        if zone.type is not Type.CONVENTIONAL:
            self._judge_pointer(zone, keep, now, kept)
        for block, shows in enumerate(now.blocks):
            new = zone.now[block]
            if block >= top:
                may = {0}
            elif not zone.overwritten or block not in zone.old or keep is Keep.ALL:
                may = {new}
            elif keep is Keep.DURABLE or (keep is Keep.CHOSEN and first + block in undone):
                may = zone.old[block]
            elif keep is Keep.CHOSEN:
                may = {new}
            else:
                may = zone.old[block] | {new}
            if shows not in may:
                raise WrongError(
                    f"block {block} of {zone} shows {shows} after a cut ({keep.name}): {now}"
                )

    def _judge_pointer(self, zone: Zone, keep: Keep, now: Shown, kept: dict[int, int]) -> None:
        least, most = zone.durable, zone.written
        if keep is Keep.ALL:
            fits = now.written == most
        elif keep is Keep.DURABLE:
            fits = now.written == least
        elif zone.type is Type.REQUIRED:
            exactly = kept.get(zone.number, least)
            fits = least <= now.written <= most and (keep is Keep.RANDOM or now.written == exactly)
        else:
            # up to a block that survived, so it was written
            last = now.written - 1
            fits = now.written == least or (
                least < now.written <= most
                and (
                    last in zone.begun or (last in zone.old and now.blocks[last] == zone.now[last])
                )
            )
        if not fits:
            raise WrongError(f"{zone} is written to {now.written} after a cut ({keep.name}): {now}")


# ---------------------------------------------------------------- crashes of the host


class Lives:
    """What sequential zones held since the last flush, from one reset, cut or way back to the next.

    A crash of the host brings back what the file tells of a zone, without what its users share: the
    beginning of one of those lives, never parts of two, and of what was flushed nothing is missing unless the
    zone went on to another life.
    """

    def __init__(self, model: Model) -> None:
        self._of: dict[int, list[list[int]]] = {
            zone.number: [[]] for zone in model.zones if zone.type is Type.REQUIRED
        }
        self._floor = dict.fromkeys(self._of, 0)

    def look(self, model: Model) -> None:
        """Behind each thing that was done."""
        for number, lives in self._of.items():
            holds = model.zones[number].holds
            if holds[: len(lives[-1])] == lives[-1]:
                lives[-1] = holds
            else:
                lives.append(holds)

    def flush(self, model: Model) -> None:
        """It was done for all zones."""
        for number, lives in self._of.items():
            lives[:] = [model.zones[number].holds]
            self._floor[number] = len(lives[0])

    def judge(self, shown: list[Shown]) -> None:
        for number, lives in self._of.items():
            holds = shown[number].blocks[: shown[number].written]
            floor = self._floor[number]
            fits = [life for life in lives if life[: len(holds)] == holds]
            if not fits or (fits == lives[:1] and len(holds) < floor):
                raise WrongError(
                    f"zone {number} shows {holds} behind a crash of the host; it held {lives}, and of the "
                    f"first {floor} blocks were flushed"
                )


# ---------------------------------------------------------------- the disk

_ORDER = struct.Struct("<4I4Q4I")
_HEAD = struct.Struct("<q6I192s")


@dataclass(frozen=True)
class Answer:
    """How an order ended."""

    result: int
    killed: bool
    steps: int
    nr_kept: int
    nr_undone: int
    powered: bool
    text: str
    more: tuple[int, ...]

    @property
    def done(self) -> bool:
        return not self.killed and self.result >= 0


class Victim:
    """One process that uses the image."""

    def __init__(self, program: Path, image: Path, ledger: Path) -> None:
        self.process = subprocess.Popen(
            [str(program), str(image), str(ledger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def obey(
        self,
        order: Order,
        zone: int = 0,
        command: int = 0,
        die_at: int = 0,
        block: int = 0,
        blocks: int = 0,
        tag: int = 0,
        seed: int = 0,
        shape: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Answer:
        pipes = self.process
        assert pipes.stdin is not None and pipes.stdout is not None
        pipes.stdin.write(
            _ORDER.pack(order, zone, command, die_at, block, blocks, tag, seed, *shape)
        )
        pipes.stdin.flush()
        head = pipes.stdout.read(_HEAD.size)
        if not head and die_at and order >= Order.SHOT and pipes.wait() == -signal.SIGKILL:
            return Answer(0, True, die_at, 0, 0, True, "", ())
        if len(head) < _HEAD.size:
            raise WrongError(f"a user of the disk ended by itself: {pipes.wait()}")
        result, killed, steps, kept, undone, powered, _, text = _HEAD.unpack(head)
        count = result if order in (Order.STATE, Order.FORK) and result > 0 else 2 * kept + undone
        more = struct.unpack(f"<{count}Q", pipes.stdout.read(8 * count))
        told = text.partition(b"\0")[0].decode()
        return Answer(result, bool(killed), steps, kept, undone, bool(powered), told, more)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


ENOSPC = -28


class Disk:
    """An image, its users, the host's free space, and the model of it all."""

    USERS = 3

    def __init__(self, program: Path, folder: Path, seed: int) -> None:
        self.program, self.seed = program, seed
        self.random = random.Random(seed)
        self.image, ledger = folder / "disk.img", folder / "ledger"
        self.ledger_path = ledger
        self.tag = 1
        self.pinned = False
        self.shots: dict[int, Model] = {}
        """What the disk was at the snapshot that a user has."""
        self.counts: Counter[str] = Counter()
        self.steps: dict[str, int] = {}
        self.story: list[str] = []
        draw = self.random
        self.aware = draw.random() < 0.6
        conventional = draw.choice([0, 1, 2]) if self.aware else 2
        rest = Type.PREFERRED if self.aware else Type.REQUIRED
        self.model = Model([Type.CONVENTIONAL] * conventional + [rest] * (ZONES - conventional))
        self.lives = Lives(self.model)
        self.users = [self._start()]
        made = self.users[0].obey(
            Order.CREATE,
            command=draw.choice([0, 3]),  # how many zones may be open
            block=ZONE_BLOCKS,
            blocks=ZONES * ZONE_BLOCKS,
            shape=(
                conventional,
                int(self.aware),
                draw.choice([0, 65536, 1 << 20]),
                draw.randrange(3),
            ),
        )
        assert made.done, made.text
        with ledger.open("r+b") as file:
            self.ledger = mmap.mmap(file.fileno(), 0)
        while len(self.users) < self.USERS:
            self.users.append(self._start())
            self._open(self.users[-1])

    def _start(self) -> Victim:
        return Victim(self.program, self.image, self.ledger_path)

    def _open(self, user: Victim) -> None:
        opened = user.obey(Order.OPEN)
        if not opened.done:
            raise WrongError(f"the image cannot be opened: {opened.text}")

    def close(self) -> None:
        for user in self.users:
            user.kill()
        self.ledger.close()

    # ------------------------------------------------ the host

    def fill_host(self, pages: int) -> None:
        self.ledger[:16] = struct.pack("<2Q", 1, pages)

    def empty_host(self) -> None:
        self.ledger[:16] = bytes(16)

    @property
    def refused(self) -> int:
        """How often the host had no room."""
        return int(struct.unpack_from("<Q", self.ledger, 16)[0])

    # ------------------------------------------------ looking

    def look(self) -> list[Shown]:
        living = [user for user in self.users if user.process.poll() is None]
        return self.shown(self.random.choice(living).obey(Order.STATE))

    @staticmethod
    def shown(answer: Answer) -> list[Shown]:
        """Zones and blocks, as a user saw them."""
        if not answer.done:
            raise WrongError(f"the disk cannot be looked at: {answer.text}")
        assert answer.powered
        zones, blocks = answer.more[: 3 * ZONES], answer.more[3 * ZONES :]
        if TORN in blocks:
            raise WrongError(f"block {blocks.index(TORN)} holds parts of two writes")
        return [
            Shown(*zones[3 * z : 3 * z + 3], list(blocks[z * ZONE_BLOCKS : (z + 1) * ZONE_BLOCKS]))
            for z in range(ZONES)
        ]

    # ------------------------------------------------ commands

    def order(
        self, what: str, order: Order, mortal: float, number: int | None = None, **about: int
    ) -> Answer:
        """By one of the users, or a given one, who may be killed in it."""
        draw, die_at = self.random, 0
        if number is None:
            number = draw.randrange(len(self.users))
        if draw.random() < mortal:
            die_at = draw.randint(1, self.steps.get(what, 60))
        answer = self.users[number].obey(order, die_at=die_at, **about)
        if die_at:
            self.counts["killed" if answer.killed else "survived"] += 1
        if die_at and not answer.killed:
            self.steps[what] = max(12, answer.steps)
        elif answer.killed:
            self.steps[what] = max(self.steps.get(what, 60), die_at + 8)
        end = f"killed at {die_at}" if answer.killed else answer.text or "done"
        self.story.append(f"user {number}: {what} {about}: {end}")
        if not answer.killed and answer.result == ENOSPC:
            self.counts["no room"] += 1
        return answer

    def write(self, mortal: float) -> None:
        draw = self.random
        zone = draw.choice(self.model.zones)
        count, tag = draw.choice([1, 1, 2, 3, 7]), self.tag
        append = zone.type is not Type.CONVENTIONAL and draw.random() < 0.3
        at = draw.randrange(ZONE_BLOCKS)
        if append or zone.type is Type.REQUIRED or (self.aware and draw.random() < 0.3):
            at = zone.written if zone.type is not Type.CONVENTIONAL else at
        if at == ZONE_BLOCKS or (zone.is_full and (append or zone.type is Type.REQUIRED)):
            self.reset(mortal, zone)
            return
        crosses = zone.overwritten and not append and zone.number + 1 < ZONES
        crosses = crosses and self.model.zones[zone.number + 1].type is zone.type
        count = min(count, ZONE_BLOCKS - at + (count if crosses else 0))
        self.tag += count
        tags = list(range(tag, tag + count))
        if append:
            what = Order.APPEND
            answer = self.order("append", what, mortal, zone=zone.number, blocks=count, tag=tag)
        else:
            place = zone.number * ZONE_BLOCKS + at
            answer = self.order("write", Order.WRITE, mortal, block=place, blocks=count, tag=tag)
        here = ZONE_BLOCKS - at
        parts = [(zone, at, tags[:here])]
        if tags[here:]:
            parts.append((self.model.zones[zone.number + 1], 0, tags[here:]))
        shown = [] if answer.done else self.look()
        for part, block, some in parts:
            if answer.done:
                part.write(block, some)
            else:
                self.model.settle_write(part, block, some, shown[part.number])

    def reset(self, mortal: float, zone: Zone) -> None:
        if zone.type is Type.CONVENTIONAL:
            return
        answer = self.order("reset", Order.MANAGE, mortal, zone=zone.number, command=Manage.RESET)
        if answer.done:
            zone.reset()
        else:
            self.model.settle_reset(zone, self.look()[zone.number])

    def manage(self, mortal: float) -> None:
        """OPEN, CLOSE, FINISH, RESET and the ALL forms."""
        draw = self.random
        zone, command = draw.choice(self.model.zones), draw.choice(list(Manage))
        if command is Manage.RESET:
            self.reset(mortal, zone)
            return
        if zone.type is Type.CONVENTIONAL:
            return
        answer = self.order(
            command.name.lower(), Order.MANAGE, mortal, zone=zone.number, command=command
        )
        shown = [] if answer.done else self.look()
        if command is Manage.FINISH and answer.done:
            zone.finished = zone.finished or zone.written < ZONE_BLOCKS
            zone.flush()
        elif command is Manage.FINISH:
            self.model.settle_finish(zone, shown[zone.number])
        elif command is Manage.RESET_ALL:
            for each in self.model.zones:
                if each.type is Type.CONVENTIONAL:
                    continue
                if answer.done:
                    each.reset()
                else:
                    self.model.settle_reset(each, shown[each.number])

    def flush(self, mortal: float) -> None:
        if self.order("flush", Order.FLUSH, mortal).done:
            for zone in self.model.zones:
                zone.flush()
            self.lives.flush(self.model)
        else:
            self.model.settle_flush(self.model.zones, self.look())

    def snapshots(self, mortal: float) -> None:
        """A user takes a snapshot, forks it, goes back to it or lets it go; killed in it, he is gone with it."""
        draw = self.random
        number = draw.randrange(len(self.users))
        what = Order.SHOT
        if number in self.shots:
            what = draw.choice([Order.BACK, Order.BACK, Order.FORK, Order.DROP])
        zone = draw.randrange(ZONES)
        answer = self.order(
            what.name.lower(), what, mortal, number, zone=zone, seed=draw.randrange(1 << 32)
        )
        self.pinned = True
        if what is Order.SHOT and answer.done:
            self.shots[number] = deepcopy(self.model)
        elif what is Order.DROP and answer.done:
            del self.shots[number]
        elif what is Order.FORK and answer.done:
            self.shots[number].agrees(self.shown(answer))
        elif what is Order.BACK and answer.done:
            self.model = deepcopy(self.shots[number])
        if answer.killed:
            self.counts[f"killed in {what.name.lower()}"] += 1
            gone, then = self.users[number], self.shots.pop(number, None)
            gone.kill()
            if draw.random() < 0.4:
                self.all_die()
            if what is Order.BACK and then is not None:
                self._settle_back(then)
            if gone in self.users:
                self.users[number] = self._start()
                self._open(self.users[number])
        elif not answer.done and answer.result != ENOSPC:
            raise WrongError(f"{what.name}: {answer.text}")

    def _settle_back(self, then: Model) -> None:
        """Killed while the disk went back: all of it did, or nothing."""
        shown = self.look()
        # What the snapshot knew to be unflushed may count as flushed.
        flushed = [zone for zone in then.zones if zone.overwritten]
        then.settle_flush(flushed, [shown[zone.number] for zone in flushed])
        try:
            then.agrees(shown)
        except WrongError:
            self.model.agrees(shown)
            self.counts["not gone back"] += 1
            return
        self.counts["gone back"] += 1
        try:
            self.model.agrees(shown)
        except WrongError:
            self.model = then
            return
        # Nothing tells the two apart, but what a cut may take.
        for zone, other in zip(self.model.zones, then.zones, strict=True):
            for block, old in other.old.items():
                zone.old.setdefault(block, {zone.now[block]}).update(old)
            for block, old in zone.old.items():
                old.update(other.old.get(block, {other.now[block]}))
            zone.begun |= other.begun

    def all_die(self) -> None:
        """Every user is killed; the next one finds the image as they left it."""
        self.story.append("all are killed")
        for user in self.users:
            user.kill()
        self._begin_anew()

    def all_close(self) -> None:
        self.story.append("all close")
        for user in self.users:
            closed = user.obey(Order.CLOSE)
            if not closed.done and closed.result != ENOSPC:
                raise WrongError(f"the image cannot be closed: {closed.text}")
            user.kill()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.empty_host()  # an opener may need room for its own
        self.pinned = False
        self.shots.clear()
        self.users.clear()
        while len(self.users) < self.USERS:
            self.users.append(self._start())
            self._open(self.users[-1])

    def cut(self, mortal: float) -> None:
        """A power cut, and what it left held against the model."""
        keep = self.random.choice(list(Keep))
        seed = self.random.randrange(1 << 32)
        name = f"cut {keep.name.lower()}"
        if self.pinned:
            self.empty_host()  # what a killed user's snapshot pins is copied before blocks of it come back
        if keep is Keep.CHOSEN:
            answer = self.order(name, Order.CUT_TO, mortal, seed=seed)
        else:
            answer = self.order(name, Order.CUT, mortal, command=keep, seed=seed)
        if not answer.killed and not answer.done:
            raise WrongError(f"a power cut failed: {answer.result}, {answer.text}")
        self.pinned = self.pinned or (keep is Keep.CHOSEN and answer.killed)
        if answer.killed and self.random.choice(self.users).obey(Order.STATE).powered:
            return  # it had not begun; what it looked at first is as it was
        while not (on := self.order("power on", Order.POWER_ON, mortal)).done:
            if not on.killed:
                raise WrongError(f"the power does not come back: {on.text}")
        numbers = answer.more
        kept = dict(
            zip(numbers[: 2 * answer.nr_kept : 2], numbers[1 : 2 * answer.nr_kept : 2], strict=True)
        )
        undone = set(numbers[2 * answer.nr_kept :])
        self.counts[name] += 1
        self.counts["cuts"] += 1
        self.model.after_cut(keep, self.look(), kept, undone, answer.done)

    def crash(self) -> None:
        """As a crash of the host would leave the disk now: a copy of its file has nothing of what users share."""
        copy, ledger = self.image.with_name("copy.img"), self.image.with_name("copy.ledger")
        shutil.copyfile(self.image, copy)
        user = Victim(self.program, copy, ledger)
        try:
            self._open(user)
            self.lives.judge(self.shown(user.obey(Order.STATE)))
        finally:
            user.kill()
            copy.unlink()
            ledger.unlink()
        self.counts["crashes"] += 1

    def step(self) -> None:
        """One thing of a disk's life."""
        draw = self.random
        chance, mortal = draw.random(), 0.25
        if chance < 0.52:
            self.write(mortal)
        elif chance < 0.66:
            self.manage(mortal)
        elif chance < 0.74:
            self.flush(mortal)
        elif chance < 0.78:
            self.fill_host(draw.choice([0, 0, 1, 2, 5, 20]))
            self.story.append("the host is full")
        elif chance < 0.81:
            self.empty_host()
            self.story.append("the host has room")
        elif chance < 0.815:
            self.all_die()
        elif chance < 0.82:
            self.all_close()
        elif chance < 0.88:
            self.snapshots(0.3)
        else:
            self.cut(mortal)
        self.model.agrees(self.look())
        self.lives.look(self.model)
        if draw.random() < CRASHES:
            self.crash()

    def live(self, cuts: int) -> None:
        """Until so many cuts are over; then the image must be sound."""
        try:
            while self.counts["cuts"] < cuts:
                self.step()
            self.counts["no room at all"] += self.refused
            for user in self.users:
                user.kill()
            findings = [str(found) for found in zoned.check(self.image) if found.error]
            if findings:
                raise WrongError(f"check finds {findings}")
        except WrongError as wrong:
            told = "\n".join(self.story[-40:])
            raise WrongError(f"seed {self.seed}: {wrong}\n{told}") from wrong
