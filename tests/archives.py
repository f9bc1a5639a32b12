"""A disk that went through a dump, for tests of what of it a dump carries."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import zoned
from zoned import archive


def carried(dev: zoned.Device, folder: Path, *, zones: int) -> tuple[Path, Path]:
    """Its dump, which lists so many zones, restored with its data and without."""
    packed = BytesIO()
    archive.dump(dev, packed)
    packed.seek(0)
    assert archive.verify(packed).zones == zones
    whole, without = folder / "whole.img", folder / "without.img"
    for path, data in ((whole, None), (without, "none")):
        packed.seek(0)
        archive.restore(packed, path, data=data)
    return whole, without
