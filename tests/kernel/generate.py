"""Random scenarios from a seed: disks of many shapes, and steps that look where a disk's limits are.

An emulated disk runs along, so that writes are mostly at the write pointer and zones of every condition
come up; the steps themselves are plain data afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random

from kernel.differences import diverges
from kernel.emulator import Emulator
from kernel.scenario import MIB, Disk, Scenario, Step

COMMANDS = ("open", "close", "finish", "reset")


def disk(random: Random, kind: str) -> Disk:
    """Eight to sixteen zones of 1 or 2 MiB, with limits that bind, in every combination."""
    zone_size = random.choice((1, 1, 2))
    nr_zones = random.randint(8, 12 if zone_size == 2 else 16)
    capacity = 1 if zone_size == 2 and random.random() < 0.6 else zone_size
    size = nr_zones * zone_size
    # A smaller last zone; null_blk refuses one where capacity is below size.
    if zone_size == 2 and random.random() < 0.4 and (kind == "scsi_debug" or capacity == 2):
        size -= 1
    conventional = random.choice((0, 1, 2, 3))
    max_open = random.choice((0, 1, 2, 3, 4))
    max_active = 0
    model = "host-managed"
    if kind == "null_blk":
        if random.random() < 0.6:
            max_active = random.randint(max(1, max_open), nr_zones - conventional - 1)
            max_active = min(max_active, max(max_open, 1) + random.randint(0, 3))
    elif random.random() < 0.2:
        model, max_open = "host-aware", 0
    return Disk(
        kind=kind,
        size=size * MIB,
        zone_size=zone_size * MIB,
        zone_capacity=capacity * MIB,
        conventional=conventional,
        block=random.choice((512, 4096)),
        max_open=max_open,
        max_active=max_active,
        model=model,
    )


class _Steps:
    def __init__(self, random: Random, emulator: Emulator) -> None:
        self.random = random
        self.disk = emulator.disk
        self.emulator = emulator
        nr_zones = self.disk.nr_zones
        # Some zones are met more often than others, so that they get somewhere.
        self.hot = random.sample(range(nr_zones), k=random.randint(3, nr_zones))

    def zone(self) -> int:
        if self.random.random() < 0.8:
            return self.random.choice(self.hot)
        return self.random.randrange(self.disk.nr_zones)

    def next(self) -> Step:
        roll = self.random.random()
        if roll < 0.42:
            return self.write()
        if roll < 0.58:
            return self.read()
        if roll < 0.90:
            names = ("open",) * 3 + ("close",) * 2 + ("finish",) + ("reset",) * 2
            return Step.zone_command(self.random.choice(names), self.zone())
        if roll < 0.91:
            return Step.flush()
        if self.disk.kind == "scsi_debug":
            return Step.all_command(self.random.choice(COMMANDS))
        if roll < 0.93:
            return Step.all_command("reset")
        return self.condition()

    def length(self, room: int) -> int:
        """In blocks, of ``room`` that are left."""
        kind = self.random.random()
        if kind < 0.6:
            return self.random.randint(1, 8)
        if kind < 0.8:
            return max(1, room)
        if kind < 0.9:
            return max(1, room + self.random.choice((-1, 1, 2)))
        return self.random.randint(1, max(1, room))

    def place(self) -> tuple[int, int, int, int]:
        """A zone, where it starts, what it takes, and its write pointer: its start if it has none."""
        zone = self.zone()
        start, state = self.disk.start(zone), self.emulator.device.zones[zone]
        return zone, start, self.disk.capacity(zone), start if state.wp is None else state.wp

    def write(self) -> Step:
        zone, start, capacity, at = self.place()
        block, roll = self.disk.block, self.random.random()
        if zone < self.disk.conventional or roll < 0.12:
            at = start + self.random.randrange(capacity // block) * block
        elif roll < 0.2:
            at = max(start, at + self.random.choice((-1, 1)) * block)
        elif roll < 0.25:
            at = start + self.random.choice((0, capacity - block, capacity, capacity + block))
        return self.fit(at, self.length((start + capacity - at) // block) * block)

    def fit(self, at: int, length: int) -> Step:
        """On null_blk a write stays in its zone: the block layer splits it at a zone's end, and the parts fare
        each on its own.
        """
        disk = self.disk
        if disk.kind == "null_blk":
            at = min(at, disk.size - disk.block)
            zone = at // disk.zone_size
            length = min(length, disk.start(zone) + disk.zone_size - at, disk.size - at)
        return Step.write(at, length)

    def read(self) -> Step:
        _, start, capacity, wp = self.place()
        block, roll = self.disk.block, self.random.random()
        if roll < 0.5:
            at = wp - self.random.randint(0, 8) * block
        elif roll < 0.8:
            at = start + self.random.randrange(capacity // block) * block
        else:
            at = start + capacity - self.random.randint(-2, 4) * block
        at = max(0, at)
        length = self.random.choice((1, 2, 4, 16, 64, self.random.randint(1, 256))) * block
        if self.disk.kind == "null_blk":
            # What lies beyond the end is the block layer's matter: a short read.
            at = min(at, self.disk.size - block)
            length = min(length, self.disk.size - at)
        return Step.read(at, length)

    def condition(self) -> Step:
        zone = max(
            self.zone(), self.disk.conventional
        )  # null_blk refuses it for conventional zones
        to = self.random.choice(("read-only", "offline", "empty", "empty"))
        return Step.condition(zone, to)


def scenario(seed: int, kind: str, steps: int) -> Scenario:
    """The same seed gives the same scenario, as long as the emulator behaves the same."""
    random = Random(f"{seed} {kind}")
    shape = disk(random, kind)
    emulator = Emulator(shape)
    done = []
    with contextlib.closing(emulator):
        choose = _Steps(random, emulator)
        for _ in range(steps):
            step = choose.next()
            while diverges(shape, step, emulator.report()):
                step = choose.next()
            done.append(step)
            emulator.do(step)
    return Scenario(f"random-{kind}-{seed}", shape, tuple(done))


# A null_blk disk is made in no time; to change the shape of scsi_debug is to load it anew. So many short
# scenarios on the one, fewer and longer ones on the other.
SHARES = {"null_blk": 110, "scsi_debug": 250}


def scenarios(seed: int, steps: int) -> Iterator[Scenario]:
    """At least so many steps in all, half of them on each kind of disk."""
    for kind, length in SHARES.items():
        for number in range(-(-steps // 2 // length)):
            yield scenario(seed + number, kind, length)
