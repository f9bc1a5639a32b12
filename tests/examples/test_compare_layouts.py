"""For benchmarkers: two ways to lay out the same data, compared by what the disk had to do for
each.

The device counts bytes, resets and wasted capacity, per zone and in all. What it cannot tell yet is
how long a real drive would have taken: the counters are exact, the clock on the wall is the
emulator's own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import zoned

BLOCK = 64 * 1024
OBJECTS = 24
UPDATES = 3000


@dataclass
class Store:
    """Objects of one block each, rewritten again and again: new copies go to a write zone, and
    when room runs out, the zone with the fewest live objects is emptied by copying those
    elsewhere. With two streams, the few objects that change all the time get a write zone of
    their own.
    """

    dev: zoned.Device
    streams: int
    where: dict[int, int] = field(default_factory=dict)
    heads: dict[int, int] = field(default_factory=dict)

    def put(self, name: int) -> None:
        """Write a new copy of an object."""
        hot = name < OBJECTS // 8
        self._write(name, 1 if hot and self.streams == 2 else 0)

    def _write(self, name: int, stream: int) -> None:
        zone = self.heads.get(stream)
        if zone is None or self.dev.zones[zone].condition is zoned.ZoneCondition.FULL:
            zone = self.heads[stream] = self._empty_zone()
        self.where[name] = self.dev.append(zone, bytes([name]) * BLOCK)

    def _live(self, zone: int) -> list[int]:
        size = self.dev.geometry.zone_size
        return [name for name, offset in self.where.items() if offset // size == zone]

    def _empty_zone(self) -> int:
        empty = [zone.index for zone in self.dev.report(condition=zoned.ZoneCondition.EMPTY)]
        if len(empty) > 1:
            return empty[0]
        full = [zone.index for zone in self.dev.report(condition=zoned.ZoneCondition.FULL)]
        victim = min(full, key=lambda zone: (len(self._live(zone)), zone))
        target = empty[0]
        for name in self._live(victim):
            data = self.dev.pread(BLOCK, self.where[name])
            self.where[name] = self.dev.append(target, data)
        self.dev.reset_zone(victim)
        return target


def run(streams: int) -> tuple[float, int]:
    """Write amplification and resets of one layout under the same updates, nine in ten to an
    eighth of the objects.
    """
    chance = random.Random(1)
    with zoned.memory(size="4MiB", zone_size="512KiB", conventional=0, max_open=4) as dev:
        store = Store(dev, streams)
        for name in range(OBJECTS):
            store.put(name)
        for _ in range(UPDATES):
            hot = chance.random() < 0.9
            store.put(chance.randrange(OBJECTS // 8) if hot else chance.randrange(OBJECTS))
        for name, offset in store.where.items():
            assert dev.pread(BLOCK, offset) == bytes([name]) * BLOCK
        counted = dev.counters
        return counted.bytes_written / ((OBJECTS + UPDATES) * BLOCK), counted.resets


def test_streams_by_lifetime_save_copies() -> None:
    """Keeping what dies young apart means less copying and fewer resets."""
    one_stream, one_resets = run(1)
    two_streams, two_resets = run(2)
    assert one_stream > 1.0
    assert two_streams > 1.0
    assert two_streams < one_stream
    assert two_resets < one_resets


def test_the_same_run_counts_the_same() -> None:
    """Nothing in the emulator depends on the clock or the machine."""
    assert run(2) == run(2)
