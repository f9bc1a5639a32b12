"""Small disks and workloads that every test of histories uses."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import zoned
from zoned import Device, ZoneCondition, ZonedError

BLOCK, ZONE = 4096, 65536
DISK = {"size": 8 * ZONE, "zone_size": ZONE, "conventional": [(0, 2)]}


def everything(device: Device) -> str:
    """Of all that a host can see of a disk, read from it."""
    seen = hashlib.blake2b(digest_size=16)
    for zone in device.zones:
        row = (zone.index, int(zone.condition), zone.wp, zone.non_seq, zone.reset_recommended)
        seen.update(repr(row).encode())
        if zone.condition is not ZoneCondition.OFFLINE:
            seen.update(device.pread(ZONE, zone.start))
    return seen.hexdigest()


def drawn(device: Device, done: Callable[[int], object], seed: int, commands: int = 14) -> None:
    """Commands of every kind, drawn from a seed; some are refused."""
    draw = random.Random(seed)

    def data(most: int) -> bytes:
        return (
            draw.randbytes(BLOCK * draw.randrange(1, most))
            if draw.random() < 0.85
            else bytes(BLOCK)
        )

    def block() -> int:
        return BLOCK * draw.randrange(6)

    def zone() -> int:
        return draw.randrange(2, 5)

    kinds = {
        lambda: device.append(zone(), data(4)): 30,
        lambda: device.pwrite(data(3), block()): 25,
        device.flush: 7,
        lambda: device.reset_zone(zone()): 6,
        lambda: device.finish_zone(zone()): 6,
        lambda: device.append_fua(zone(), data(2)): 6,
        lambda: device.pwrite_fua(data(2), block()): 3,
        lambda: device.write_zeroes(block(), BLOCK): 5,
        lambda: device.flush_range(ZONE * zone(), BLOCK): 5,
        lambda: device.open_zone(zone()): 5,
        lambda: device.close_zone(zone()): 2,
        device.reset_all: 1,
        lambda: device.set_condition(5, "READ_ONLY"): 1,
        lambda: device.set_condition(4, "OFFLINE"): 1,
    }
    chosen = draw.choices([*kinds], [*kinds.values()], k=commands)
    for number, command in enumerate(chosen):
        try:
            command()
        except ZonedError:
            continue
        done(number)


def recorded(path: str, seed: int, **geometry: object) -> None:
    """A history of drawn commands on a new disk in RAM, with a mark behind each."""
    with zoned.memory(**(DISK | geometry)) as device, zoned.crash.record(device, path):
        drawn(device, lambda number: device.trace.mark(str(number)), seed)
