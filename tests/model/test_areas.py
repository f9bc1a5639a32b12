"""Random write areas against the reference model: what test_machine.py does too, on disks and by commands
that meet them at every step. Nothing may differ: results, reports, areas, payload.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from model import reference as ref
from model.test_machine import expected, keywords, outcome, pattern, reported

BLOCK = 4096
ZONES = 5


def config(draw: random.Random) -> ref.Config:
    granule = draw.choice((1, 1, 2, 3))
    capacity = granule * draw.randint(1, 6)
    physical = draw.choice((BLOCK, BLOCK, 512))
    max_active = draw.choice((0, 2, 3))
    zone_blocks = capacity + draw.choice((0, 0, granule))
    return ref.Config(
        size=ZONES * zone_blocks * physical,
        zone_size=zone_blocks * physical,
        zone_capacity=capacity * physical,
        conventional=draw.choice(((), (), (0,))),
        logical_block=512 if physical == 512 else draw.choice((BLOCK, BLOCK, 512)),
        physical_block=physical,
        max_open=draw.choice((0, 1, 2)),
        max_active=max_active,
        dialect="zns",
        implicit_close=draw.choice(("oldest", "lowest", "round-robin")),
        unrestricted_read=draw.choice((True, False)),
        data=draw.choice(("store", "store", "store", "none")),
        zrwa_size=draw.randint(1, min(3, capacity // granule)) * granule * physical,
        zrwa_granularity=granule * physical,
        zrwa_count=draw.randint(1, max_active or 3),
    )


class Life:
    """A disk, its model, and random commands for both."""

    def __init__(self, draw: random.Random, path: Path | None) -> None:
        self.draw, self.path, self.step = draw, path, 0
        self.done: Counter[str] = Counter()
        self.config = config(draw)
        words = keywords(self.config)
        self.device = zoned.create(path, **words, replace=True) if path else zoned.memory(**words)
        self.model = ref.Disk(self.config)

    def both(
        self, name: str, device: Callable[[zoned.Device], object], model: Callable[[], object]
    ) -> None:
        got = outcome(lambda: device(self.device))
        wanted = outcome(lambda: self.model.run(model))
        assert got == wanted, f"{name} on the disk: {got}, on the model: {wanted}, {self.config}"
        self.done[f"{name} {got[1] if got[0] == 'refused' else 'done'}"] += 1

    def go(self) -> None:
        draw, zones = self.draw, self.model.zones
        areas = [zone for zone in zones if zone.area]
        zone = draw.choice(areas) if areas and draw.random() < 0.7 else draw.choice(zones)
        unit = self.config.logical_block if draw.random() < 0.3 else self.config.physical_block
        command = draw.choices(
            ("write", "commit", "area", "append", "command", "all", "flush", "power", "set"),
            (40, 12, 14, 4, 14, 3, 4, 2, 2),
        )[0]
        index = zone.index
        if command == "write":
            self.step += 1
            data = pattern(self.step, draw.randint(1, 4) * unit)
            offset = max(0, zone.pointer + draw.randint(-1, 9) * unit)
            self.both(
                "write", lambda d: d.pwrite(data, offset), lambda: self.model.write(data, offset)
            )
        elif command == "commit":
            end = max(0, zone.pointer + draw.randint(-1, 7) * unit)
            self.both(
                "commit", lambda d: d.commit_zone(index, end), lambda: self.model.commit(index, end)
            )
        elif command == "area":
            self.both(
                "area", lambda d: d.open_zone_zrwa(index), lambda: self.model.open_zrwa(index)
            )
        elif command == "append":
            data = bytes(unit)
            self.both(
                "append", lambda d: d.append(index, data), lambda: self.model.append(index, data)
            )
        elif command in ("command", "all"):
            verb = draw.choice(("open", "close", "close", "finish", "reset"))
            if command == "all":
                self.both(
                    f"{verb} all",
                    lambda d: getattr(d, f"{verb}_all")(),
                    lambda: self.model.all_command(verb),
                )
            else:
                self.both(
                    verb,
                    lambda d: getattr(d, f"{verb}_zone")(index),
                    lambda: self.model.zone_command(verb, index),
                )
        elif command == "flush":
            self.both("flush", lambda d: d.flush(), self.model.flush)
        elif command == "power":
            self.both("power", lambda d: d.power_cycle(), self.model.power_cycle)
        else:
            to = draw.choice((ref.EMPTY, ref.EMPTY, ref.READ_ONLY, ref.OFFLINE))
            self.both(
                "set",
                lambda d: d.set_condition(index, zoned.ZoneCondition(to)),
                lambda: self.model.set_condition(index, to),
            )
        self.compare()
        if self.path and draw.random() < 0.05:
            self.device.close()
            assert zoned.check(self.path) == []
            self.device = zoned.open(self.path)
            self.compare()

    def compare(self) -> None:
        zones = self.model.zones
        assert list(map(reported, self.device.zones)) == list(map(expected, zones)), self.config
        for zone in zones:
            area = range(zone.pointer, zone.top) if zone.area else None
            assert self.device.write_area(zone.index) == area, self.config
            if zone.condition != ref.OFFLINE:
                shown = self.device.pread(zone.length, zone.start)
                assert shown == self.model.read(zone.length, zone.start), self.config


@pytest.mark.parametrize("in_file", [False, True])
def test_the_disk_and_the_model_agree(in_file: bool, shm: Path, long_run: bool) -> None:
    draw, done = random.Random(1706 + in_file), Counter[str]()
    for _ in range(400 if long_run else 40):
        life = Life(draw, shm / "disk.img" if in_file else None)
        for _ in range(80):
            life.go()
        life.device.close()
        done += life.done
    for wanted in (
        *(
            "write done",
            "write outside-zrwa",
            "write write-boundary",
            "append invalid-zone-operation",
        ),
        *("commit done", "commit write-boundary", "commit invalid-commit", "area done"),
        *("area zrwa-unavailable", "area invalid-transition", "area too-many-open", "reset done"),
        *("finish done", "close done", "power done", "set done"),
    ):
        assert done[wanted] >= 5, (wanted, done)
