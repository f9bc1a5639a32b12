"""How to test a write-ahead log on zones: cut the power after every command, in every way.

The log keeps numbered records in two sequential zones, which take turns: when one is full, the live
records move to the other one and the first is reset. Two mistakes that pass every test without power
cuts are in it, each behind a switch: `flush=False` acknowledges what is not durable yet, and
`careful=False` resets the old zone before the copy in the new one is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

import zoned
from zoned.testing import CrashFailure, check_crashes

RECORD = struct.Struct("<4sQQI")  # magic, generation of the zone, key, CRC-32
MAGIC = b"WAL1"
DISK = {
    "size": "256KiB",
    "zone_size": "64KiB",
    "zone_capacity": "16KiB",
    "logical_block": 4096,
    "conventional": 0,
}


class Log:
    """A set of keys, kept in zones 0 and 1."""

    def __init__(self, dev: zoned.Device, flush: bool = True, careful: bool = True) -> None:
        self.dev, self.flush, self.careful = dev, flush, careful
        found = [self._read(zone) for zone in (0, 1)]
        # After a crash in the middle of moving, both zones hold records: all of them count.
        self.keys = {key for records in found for _, key in records}
        self.generation = max((gen for records in found for gen, _ in records), default=0)
        self.zone = 0 if (found[0] and found[0][-1][0] == self.generation) or not found[1] else 1

    def _read(self, zone: int) -> list[tuple[int, int]]:
        row, records = self.dev.zones[zone], []
        end = row.start + row.capacity if row.wp is None else row.wp
        for at in range(row.start, end, 4096):
            magic, generation, key, crc = RECORD.unpack_from(self.dev.pread(4096, at))
            if magic != MAGIC or crc != zlib.crc32(struct.pack("<QQ", generation, key)):
                break
            records.append((generation, key))
        return records

    def _write(self, key: int) -> None:
        crc = zlib.crc32(struct.pack("<QQ", self.generation, key))
        self.dev.append(self.zone, RECORD.pack(MAGIC, self.generation, key, crc).ljust(4096, b"\0"))

    def _turn(self) -> None:
        """Move what is live to the other zone."""
        old, self.zone, self.generation = self.zone, 1 - self.zone, self.generation + 1
        self.dev.reset_zone(self.zone)
        for key in sorted(self.keys):
            self._write(key)
        if self.careful:
            self.dev.flush()
        self.dev.reset_zone(old)

    def add(self, key: int) -> None:
        """On return the key survives a power cut."""
        if self.dev.zones[self.zone].condition is zoned.ZoneCondition.FULL:
            self._turn()
        self._write(key)
        self.keys.add(key)
        if self.flush:
            self.dev.flush()

    def remove(self, key: int) -> None:
        """It may come back after a power cut, until the zones take turns."""
        self.keys.discard(key)


def workload(**mistakes: bool) -> Callable:
    def run(dev: zoned.Device, ack: Callable[[int], None]) -> None:
        log = Log(dev, **mistakes)
        for key in range(8):
            log.add(key)
            ack(key)
            log.remove(key - 2)

    return run


def verify(dev: zoned.Device, acknowledged: list[int]) -> None:
    keys = Log(dev).keys
    missing = set(acknowledged[-2:]) - keys
    assert not missing, f"keys {sorted(missing)} were acknowledged and are gone"


def test_the_log_loses_nothing() -> None:
    report = check_crashes(workload(), verify, strategy="exhaustive", **DISK)
    print(report)
    assert report.cuts == report.commands + 1 > 20


@pytest.mark.parametrize("mistake", ["flush", "careful"])
def test_each_mistake_is_found_and_repeated(mistake: str) -> None:
    with pytest.raises(CrashFailure, match="were acknowledged and are gone") as caught:
        check_crashes(workload(**{mistake: False}), verify, strategy="exhaustive", **DISK)
    with pytest.raises(CrashFailure) as again:
        check_crashes(workload(**{mistake: False}), verify, replay=caught.value.replay, **DISK)
    assert str(again.value) == str(caught.value)
