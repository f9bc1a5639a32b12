"""How to test a table store (an LSM tree) on zones: recovery is cut too.

Keys gather in memory; `spill` writes them as a sorted table, `compact` merges all tables into one and
resets the zones of the old ones. A manifest in zone 0 or 1 names the tables that count: the last whole
entry holds. Two mistakes, each behind a switch: `order=False` writes the manifest before the table is
durable, and `trust=True` believes the last block below the write pointer to be a whole manifest entry.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import zoned
from zoned.testing import CrashFailure, check_crashes

BLOCK = 4096
DISK = {
    "size": "512KiB",
    "zone_size": "64KiB",
    "zone_capacity": "32KiB",
    "logical_block": 4096,
    "conventional": 0,
}


def framed(value: Any, blocks: int) -> bytes:
    body = json.dumps(value).encode().ljust(blocks * BLOCK - 16, b" ")
    return f"{len(body):08d}{zlib.crc32(body):08x}".encode() + body


def parsed(data: bytes) -> Any:
    """What was framed; None if it is not whole."""
    try:
        length, crc = int(data[:8]), int(data[8:16], 16)
    except ValueError:
        return None
    body = data[16 : 16 + length]
    return json.loads(body) if zlib.crc32(body) == crc else None


class Store:
    """A dictionary of small values."""

    def __init__(self, dev: zoned.Device, order: bool = True, trust: bool = False) -> None:
        self.dev, self.order = dev, order
        self.memory: dict[str, int] = {}
        self.tables: list[int] = []
        self.version = 0
        for zone in (0, 1):
            data = self._zone(zone)
            entries = [parsed(data[at : at + 2 * BLOCK]) for at in range(0, len(data), 2 * BLOCK)]
            if trust and entries and entries[-1] is None:
                raise ValueError(f"the manifest in zone {zone} is damaged")
            for entry in entries:
                if entry is not None and entry["version"] > self.version:
                    self.version, self.tables = entry["version"], entry["tables"]
            if None in entries and zone == self.version // 4 % 2:
                self.version = (self.version // 4 + 1) * 4 - 1  # no entry fits behind a torn one
        for row in dev.report(2):
            if row.index not in self.tables and row.condition is not zoned.ZoneCondition.EMPTY:
                dev.reset_zone(row.index)  # a table that no manifest came to name

    def _zone(self, zone: int) -> bytes:
        row = self.dev.zones[zone]
        return self.dev.pread(
            (row.start + row.capacity if row.wp is None else row.wp) - row.start, row.start
        )

    def items(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for zone in self.tables:
            table = parsed(self._zone(zone))
            if table is None:
                raise ValueError(f"the table in zone {zone} is damaged")
            found |= table
        return found | self.memory

    def put(self, key: str, value: int) -> None:
        self.memory[key] = value

    def spill(self) -> None:
        """On return everything survives a power cut."""
        self._replace([*self.tables, self._table(dict(sorted(self.memory.items())))])
        self.memory.clear()

    def compact(self) -> None:
        old = self.tables
        self._replace([self._table(dict(sorted(self.items().items())))])
        for zone in old:
            self.dev.reset_zone(zone)

    def _table(self, items: dict[str, int]) -> int:
        zone = next(z.index for z in self.dev.report(2) if z.condition is zoned.ZoneCondition.EMPTY)
        self.dev.append(zone, framed(items, 2))
        if self.order:
            self.dev.flush()
        return zone

    def _replace(self, tables: list[int]) -> None:
        self.version += 1
        here = self.version // 4 % 2  # four entries fill a manifest zone
        if self.version % 4 == 0:
            self.dev.reset_zone(here)
        self.dev.append(here, framed({"version": self.version, "tables": tables}, 2))
        self.dev.flush()
        self.tables = tables


def workload(**mistakes: bool) -> Callable:
    def run(dev: zoned.Device, ack: Callable[[dict], None]) -> None:
        store = Store(dev, **mistakes)
        for turn in range(5):
            store.put(f"key{turn % 3}", turn)
            store.put("last", turn)
            store.spill()
            ack(store.items())
            if turn % 2:
                store.compact()

    return run


def verify(**mistakes: bool) -> Callable:
    def run(dev: zoned.Device, acknowledged: list[dict]) -> None:
        store = Store(dev, **mistakes)
        found = store.items()
        store.put("after", len(acknowledged))
        store.spill()
        assert Store(dev).items() == found | {"after": len(acknowledged)}
        if acknowledged:
            assert found.get("last", -1) >= acknowledged[-1]["last"], (
                f"{found} is older than what was acknowledged"
            )

    return run


def test_the_store_survives_cuts_and_cuts_of_its_recovery() -> None:
    print(check_crashes(workload(), verify(), strategy="exhaustive", depth=2, **DISK))


@pytest.mark.parametrize(
    ("writing", "reading", "said"),
    [
        ({"order": False}, {}, "the table in zone . is damaged"),
        ({}, {"trust": True}, "the manifest in zone . is damaged"),
    ],
)
def test_each_mistake_is_found_and_repeated(writing: dict, reading: dict, said: str) -> None:
    with pytest.raises(CrashFailure, match=said) as caught:
        check_crashes(workload(**writing), verify(**reading), strategy="exhaustive", **DISK)
    with pytest.raises(CrashFailure, match=said):
        check_crashes(workload(**writing), verify(**reading), replay=caught.value.replay, **DISK)
