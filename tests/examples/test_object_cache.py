"""How to test a circular cache of objects on zones: a limit of open zones, and a write pointer that lies.

The cache writes each object behind the last one, hot objects and cold ones in zones of their own. The
oldest zone is emptied when room is needed. After a restart it reads its index back from the zones. Two
mistakes, each behind a switch: `close=False` forgets that a drive has few open zones, and `check=False`
believes that everything below a write pointer is an object that was written whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

import zoned
from zoned.faults import FaultRule
from zoned.testing import CrashFailure, check_crashes

HEAD = struct.Struct(
    "<4sQIQI"
)  # magic, key, length, sequence number of the zone, CRC-32 of the data
BLOCK = 4096
DISK = {
    "size": "512KiB", "zone_size": "64KiB", "zone_capacity": "32KiB", "logical_block": 4096,
    "conventional": 0, "dialect": "zns", "max_open": 2, "max_active": 3,
}  # fmt: skip


class Cache:
    """key -> object; the newest copy counts. Any object may be gone, none may be wrong."""

    def __init__(self, dev: zoned.Device, close: bool = True, check: bool = True) -> None:
        self.dev, self.close, self.check = dev, close, check
        self.index: dict[int, tuple[int, int, int]] = {}  # key -> sequence, offset, length
        self.sequence = 0
        self.writing: dict[bool, int] = {}
        for row in dev.zones:
            at, end = row.start, row.start + row.capacity if row.wp is None else row.wp
            while at < end:
                magic, key, length, sequence, crc = HEAD.unpack_from(dev.pread(BLOCK, at))
                size = -(-(HEAD.size + length) // BLOCK) * BLOCK
                if magic != b"OBJ1" or (
                    check and (at + size > end or zlib.crc32(self._data(at, length)) != crc)
                ):
                    break
                if sequence >= self.index.get(key, (-1,))[0]:
                    self.index[key] = sequence, at, length
                self.sequence = max(self.sequence, sequence)
                at += size

    def _data(self, at: int, length: int) -> bytes:
        size = -(-(HEAD.size + length) // BLOCK) * BLOCK
        return self.dev.pread(size, at)[HEAD.size : HEAD.size + length]

    def get(self, key: int) -> bytes | None:
        if key not in self.index:
            return None
        _, at, length = self.index[key]
        return self._data(at, length)

    def put(self, key: int, data: bytes, hot: bool = False) -> None:
        self.sequence += 1
        head = HEAD.pack(b"OBJ1", key, len(data), self.sequence, zlib.crc32(data))
        framed = (head + data).ljust(-(-(HEAD.size + len(data)) // BLOCK) * BLOCK, b"\0")
        zone = self._zone(hot, len(framed))
        self.index[key] = self.sequence, self.dev.append(zone, framed), len(data)

    def _zone(self, hot: bool, size: int) -> int:
        """The zone that objects of this kind go to now."""
        zone = self.writing.get(hot)
        if zone is not None:
            row = self.dev.zones[zone]
            if row.wp is not None and row.wp + size <= row.start + row.capacity:
                return zone
            if self.close and row.wp is not None:
                self.dev.finish_zone(zone)  # gives its open resource back
        busy = set(self.writing.values())
        free = [z.index for z in self.dev.zones if z.condition is zoned.ZoneCondition.EMPTY]
        zone = free[0] if free else self._evict(busy)
        self.dev.open_zone(zone)
        self.writing[hot] = zone
        return zone

    def _evict(self, busy: set[int]) -> int:
        held = {z.index: 0 for z in self.dev.zones if z.index not in busy}
        for sequence, at, _ in self.index.values():
            zone = self.dev.geometry.zone_of(at)
            if zone in held:
                held[zone] = max(held[zone], sequence)
        zone = min(held, key=lambda z: held[z])
        self.index = {
            k: v for k, v in self.index.items() if self.dev.geometry.zone_of(v[1]) != zone
        }
        self.dev.reset_zone(zone)
        return zone


def content(key: int) -> bytes:
    return bytes([key + 1]) * (9000 + 700 * key)


def workload(**mistakes: bool) -> Callable:
    def run(dev: zoned.Device, ack: Callable[[int], None]) -> None:
        cache = Cache(dev, **mistakes)
        for key in range(24):
            cache.put(key % 9, content(key % 9), hot=key % 3 == 0)
            assert cache.get(key % 9) == content(key % 9)

    return run


def verify(**mistakes: bool) -> Callable:
    def run(dev: zoned.Device, acknowledged: list[int]) -> None:
        cache = Cache(dev, **mistakes)
        for key in range(9):
            found = cache.get(key)
            assert found in (None, content(key)), f"object {key} is wrong"

    return run


def test_the_cache_never_serves_what_it_was_not_given() -> None:
    print(check_crashes(workload(), verify(), strategy="exhaustive", **DISK))


def test_a_torn_object_is_found() -> None:
    with pytest.raises(CrashFailure, match="is wrong") as caught:
        check_crashes(workload(), verify(check=False), strategy="linear", **DISK)
    with pytest.raises(CrashFailure, match="is wrong"):
        check_crashes(workload(), verify(check=False), replay=caught.value.replay, **DISK)


def test_the_forgotten_limit_of_open_zones_is_found() -> None:
    """The drive says it while the workload runs; nothing has to be cut."""
    with pytest.raises(zoned.TooManyOpenError, match="close, finish or reset") as caught:
        check_crashes(workload(close=False), verify(), **DISK)
    assert caught.value.__notes__ == ["check_crashes: the workload raised this after 7 commands"]


def test_a_bit_that_flips_on_the_way_is_not_on_the_media() -> None:
    with zoned.memory(**DISK) as dev:
        cache = Cache(dev)
        cache.put(3, content(3))
        dev.faults.set(FaultRule("flip-read", seed=5))
        wrong = cache.get(3)
        assert wrong != content(3)
        dev.faults.clear()
        assert Cache(dev).get(3) == content(3)
