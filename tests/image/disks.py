"""A disk with something of everything in it, and what it must hold: shared by the tests of bad images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import zoned
from zoned import ZoneCondition

BLOCK = 4096
ZONES, ZONE_SIZE, CAPACITY = 14, 80 * 1024, 72 * 1024


def fill(zone: int, blocks: int) -> bytes:
    return b"".join(bytes([zone + 1, block + 1]) * (BLOCK // 2) for block in range(blocks))


@dataclass(frozen=True)
class Expected:
    """What a zone of the disk holds when it was closed."""

    condition: ZoneCondition
    data: bytes


def create(path: Path, **keywords: object) -> zoned.Device:
    """The disk, empty; keywords override what it is."""
    return zoned.create(
        path,
        **{
            "size": ZONES * ZONE_SIZE,
            "zone_size": ZONE_SIZE,
            "zone_capacity": CAPACITY,
            "conventional": 2,
            "max_open": 4,
            "max_active": 8,
            **keywords,
        },
    )


def make(path: Path, **keywords: object) -> dict[int, Expected]:
    """Create the disk, use it, close it cleanly."""
    with create(path, **keywords) as device:
        return use(device)


def use(device: zoned.Device) -> dict[int, Expected]:
    held: dict[int, Expected] = {}

    def write(zone: int, blocks: int) -> bytes:
        data = fill(zone, blocks)
        device.pwrite(data, zone * ZONE_SIZE)
        return data

    held[1] = Expected(ZoneCondition.NOT_WP, write(1, 3))
    held[2] = Expected(ZoneCondition.EMPTY, b"")
    held[3] = Expected(ZoneCondition.CLOSED, write(3, 3))
    device.close_zone(3)
    held[4] = Expected(ZoneCondition.FULL, write(4, 18))
    held[5] = Expected(ZoneCondition.FULL, write(5, 2))
    device.finish_zone(5)
    held[6] = Expected(ZoneCondition.READ_ONLY, write(6, 4))
    device.set_condition(6, ZoneCondition.READ_ONLY)
    write(7, 1)
    device.set_condition(7, ZoneCondition.OFFLINE)
    held[7] = Expected(ZoneCondition.OFFLINE, b"")
    write(8, 5)
    device.reset_zone(8)
    held[8] = Expected(ZoneCondition.EMPTY, b"")
    write(9, 6)
    device.reset_zone(9)
    held[9] = Expected(ZoneCondition.IMPLICIT_OPEN, write(9, 2))
    device.open_zone(10)
    held[10] = Expected(ZoneCondition.EXPLICIT_OPEN, write(10, 1))
    device.open_zone(11)
    held[11] = Expected(ZoneCondition.EXPLICIT_OPEN, b"")
    return held


def differences(
    device: zoned.Device, held: dict[int, Expected], forgiven: Iterable[int] = ()
) -> list[str]:
    """What is not as it was; zones that are `forgiven` may differ."""
    found = []
    for index, expected in held.items():
        if index in forgiven:
            continue
        zone = device.zones[index]
        if zone.condition is not expected.condition:
            found.append(f"zone {index} is {zone.condition.name}, was {expected.condition.name}")
        if zone.wp is not None and zone.wp != zone.start + len(expected.data):
            found.append(f"zone {index}: write pointer {zone.wp}")
        if expected.data and device.pread(len(expected.data), zone.start) != expected.data:
            found.append(f"zone {index}: content")
    return found
