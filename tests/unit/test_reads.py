"""Reads over random ranges of a half-written disk, against what the rule books say, for every
setting.

Expectations come from the written rules, not from the core: ZBC-2 4.5.3.2 (URSWRZ), ZNS 1.1 (reads
across zones), null_blk (0xFF past the write pointer).
"""

from __future__ import annotations

import random
from typing import Any

import pytest

import zoned

BLOCK = 4096
ZONE = 16 * BLOCK
NR_ZONES = 8
CONVENTIONAL = (0, 1)


class Expected:
    """The content of the disk in plain Python, and what a read of a range must give."""

    def __init__(self, dialect: str, model: str, unrestricted: bool) -> None:
        self.dialect = dialect
        self.model = model
        self.unrestricted = unrestricted
        self.conventional = () if dialect == "zns" else CONVENTIONAL
        past = b"\xff" if dialect == "nullblk" else b"\0"
        self.content = bytearray(
            b"".join((b"\0" if z in self.conventional else past) * ZONE for z in range(NR_ZONES))
        )
        self.wp = {z: z * ZONE for z in range(NR_ZONES) if z not in self.conventional}
        self.full: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data
        zone = offset // ZONE
        if zone in self.wp:
            self.wp[zone] = offset + len(data)
            if self.wp[zone] == (zone + 1) * ZONE:
                self.full.add(zone)

    def finish(self, zone: int) -> None:
        """FULL: null_blk's write pointer is at the end now, so there is no pattern, but zeros."""
        end = (zone + 1) * ZONE
        self.content[self.wp[zone] : end] = bytes(end - self.wp[zone])
        self.full.add(zone)

    def read(self, length: int, offset: int) -> bytes | str:
        """Bytes, or the name of the rule that refuses."""
        if length == 0:
            return b""
        first, last = offset // ZONE, (offset + length - 1) // ZONE
        if self.dialect == "zbc" and self.model == "host-managed":
            if (first in self.conventional) != (last in self.conventional):
                return "read-type-boundary"
            if not self.unrestricted and first not in self.conventional:
                if first != last:
                    return "read-boundary"
                if first not in self.full and offset + length > self.wp[first]:
                    return "invalid-read"
        if self.dialect == "zns" and not self.unrestricted and first != last:
            return "read-boundary"
        return bytes(self.content[offset : offset + length])


@pytest.mark.parametrize("unrestricted", [True, False], ids=["URSWRZ", "restricted"])
@pytest.mark.parametrize(
    ("dialect", "model"),
    [
        ("zbc", "host-managed"),
        ("zbc", "host-aware"),
        ("zns", "host-managed"),
        ("nullblk", "host-managed"),
    ],
)
def test_random_ranges(dialect: str, model: str, unrestricted: bool) -> None:
    rng = random.Random(f"{dialect} {model} {unrestricted}")
    expected = Expected(dialect, model, unrestricted)
    keywords: Any = {
        "size": NR_ZONES * ZONE,
        "zone_size": ZONE,
        "conventional": len(expected.conventional),
        "dialect": dialect,
        "model": model,
        "unrestricted_read": unrestricted,
        "max_open": 0,
    }
    with zoned.memory(**keywords) as dev:

        def write(offset: int, blocks: int) -> None:
            data = rng.randbytes(blocks * BLOCK)
            dev.pwrite(data, offset)
            expected.write(offset, data)

        for zone in expected.conventional:
            for _ in range(3):
                write(zone * ZONE + rng.randrange(12) * BLOCK, rng.randint(1, 4))
        for zone in (2, 3, 5, 6):
            write(zone * ZONE, rng.randint(1, 15))
        write(expected.wp[2], ((3 * ZONE) - expected.wp[2]) // BLOCK)
        dev.finish_zone(5)
        expected.finish(5)

        outcomes: dict[str, int] = {}
        buffer = bytearray(NR_ZONES * ZONE)
        for _ in range(1500):
            first = rng.randrange(NR_ZONES * 16 + 1)
            count = min(rng.choice((0, 1, 2, 5, 16, 40)), NR_ZONES * 16 - first)
            offset, length = first * BLOCK, count * BLOCK
            want = expected.read(length, offset)
            try:
                got: bytes | str = dev.pread(length, offset)
                view = memoryview(buffer)[:length]
                assert dev.preadinto(view, offset) == length
                assert view == got
            except zoned.ZonedError as exc:
                got = exc.rule
            assert got == want, (offset, length)
            name = want if isinstance(want, str) else "data"
            outcomes[name] = outcomes.get(name, 0) + 1
        refusals = set(outcomes) - {"data"}
        if dialect == "zbc" and model == "host-managed":
            more = set() if unrestricted else {"read-boundary", "invalid-read"}
            assert refusals == {"read-type-boundary"} | more
        elif dialect == "zns" and not unrestricted:
            assert refusals == {"read-boundary"}
        else:
            assert refusals == set()
        assert outcomes["data"] > 100
