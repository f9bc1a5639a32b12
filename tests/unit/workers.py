"""What worker processes of the tests run: importable by name, because a spawned worker imports it anew."""

from __future__ import annotations

import zoned


def append_some(dev: zoned.Device, zone: int, count: int) -> list[int]:
    """Append blocks that carry the zone's number; the offsets where they landed."""
    return [dev.append(zone, bytes([zone]) * 4096) for _ in range(count)]
