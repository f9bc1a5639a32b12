"""What the trace tests record: every command, every broken rule, and random workloads."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import zoned

ZONE = 1 << 20
BLOCK = 4096

SHAPE: dict[str, Any] = {
    "size": 16 * ZONE,
    "zone_size": ZONE,
    "zone_capacity": 768 << 10,
    "conventional": 2,
    "max_open": 3,
    "logical_block": 512,
    "physical_block": 4096,
}


def refused(error: type[BaseException], call: Callable[..., object], *arguments: object) -> None:
    """The call must be refused so, and with nothing else."""
    try:
        call(*arguments)
    except error:
        return
    raise AssertionError(f"{call} was not refused")


def every_command(dev: zoned.Device) -> list[str]:
    """Give each command once or more; returns what the trace must say, line by line."""
    start = dev.geometry.zone_start
    dev.pwrite(bytes(BLOCK), start(2))
    dev.pwritev([bytes(BLOCK), bytes(BLOCK)], start(2) + BLOCK)
    dev.pwrite(bytes(512), 512)
    dev.append(3, bytes(2 * BLOCK))
    dev.pread(512, start(2))
    dev.preadinto(bytearray(BLOCK), 0)
    dev.flush()
    dev.open_zone(4, 2)
    dev.close_zone(4)
    dev.finish_zone(5)
    dev.reset_zone(3)
    dev.open_all()
    dev.close_all()
    dev.finish_all()
    dev.reset_all()
    dev.set_condition(6, "read-only")
    dev.set_condition(7, "offline")
    dev.set_condition(7, "empty")
    dev.power_cycle()
    dev.power_cut("random", seed=7)
    dev.power_on()
    dev.pwrite(b"", start(2))
    return [
        f"write of 4096 bytes at {start(2)} in zone 2: ok",
        f"write of 8192 bytes at {start(2) + BLOCK} in zone 2: ok",
        "write of 512 bytes at 512 in zone 0: ok",
        f"append of 8192 bytes to zone 3, landed at {start(3)}: ok",
        f"read of 512 bytes at {start(2)} in zone 2: ok",
        "read of 4096 bytes at 0 in zone 0: ok",
        "flush: ok",
        "open of zone 4: ok",
        "open of zone 5: ok",
        "close of zone 4: ok",
        "finish of zone 5: ok",
        "reset of zone 3: ok",
        "open-all: ok",
        "close-all: ok",
        "finish-all: ok",
        "reset-all: ok",
        "set-read-only of zone 6: ok",
        "set-offline of zone 7: ok",
        "set-empty of zone 7: ok",
        "power-cycle: ok",
        "power-cut: ok",
        "power-on: ok",
        f"write of 0 bytes at {start(2)} in zone 2: ok",
    ]


def random_step(dev: zoned.Device, draw: random.Random, cuts: bool = True) -> None:
    """One command, right or wrong."""
    geometry = dev.geometry
    zone = draw.randrange(geometry.nr_zones + 1)
    near = dev.zones[zone % geometry.nr_zones]
    offset = draw.randrange(0, geometry.size + ZONE, 512 if draw.random() < 0.9 else 100)
    size = draw.randrange(20) * draw.choice([512, 4096, 4096])
    whole = [dev.flush, dev.flush, dev.power_cycle, dev.open_all, dev.close_all, dev.finish_all]
    calls: list[Callable[[], object]] = [
        lambda: dev.pwrite(bytes(size), near.wp if near.wp is not None else offset),
        lambda: dev.pwrite(bytes(size), near.wp if near.wp is not None else offset),
        lambda: dev.pwrite(bytes(4096), near.wp if near.wp is not None else near.start),
        lambda: dev.pwrite(bytes(size), offset),
        lambda: dev.pread(size, offset),
        lambda: dev.append(zone, bytes(size)),
        lambda: dev.open_zone(zone, draw.randrange(3)),
        lambda: dev.close_zone(zone),
        lambda: dev.finish_zone(zone),
        lambda: dev.reset_zone(zone, draw.randrange(1, 3)),
        draw.choice([*whole, dev.reset_all]),
        lambda: dev.set_condition(zone, draw.choice(["read-only", "offline", "empty", "empty"])),
    ]
    if cuts:
        calls.append(lambda: _cut(dev, draw))
    with suppress(zoned.ZonedError):
        draw.choice(calls)()


def _cut(dev: zoned.Device, draw: random.Random) -> None:
    if draw.random() < 0.5:
        return
    dev.power_cut(draw.choice(["durable", "all", "random"]), seed=draw.randrange(2**64))
    refused(zoned.PowerLossError, dev.flush)
    dev.power_on()
