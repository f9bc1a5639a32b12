"""The keywords that say what disk is made, and the geometry that they mean over a profile."""

from __future__ import annotations

import os
from typing import TypedDict, cast

from zoned.geometry import Conventional, DataMode, Dialect, Geometry, HostSync, ImplicitClose, Model

__all__ = ["GeometryKeywords", "resolve_keywords"]


class GeometryKeywords(TypedDict, total=False):
    """Keywords of ``create`` and ``memory``; what is absent or None comes from the profile."""

    size: int | str | None
    """Of the disk. Sizes are bytes or text such as "64MiB"; the last zone may be smaller."""
    zones: int | None
    """How many of them, 1 to 2^24, instead of a size."""
    zone_size: int | str | None
    """Any multiple of the physical block."""
    zone_capacity: int | str | None
    """Writable bytes of a sequential zone; 0: zone_size."""
    conventional: Conventional | None
    """A number of zones at the front, zones by text ("0-1,8"), or (first, count) pairs and ranges.
    """
    logical_block: int | str | None
    """512 or 4096."""
    physical_block: int | str | None
    """512 or 4096, not below logical_block (512e: 512 and 4096)."""
    max_open: int | None
    """0: no limit."""
    max_active: int | None
    """0: no limit."""
    append_limit: int | str | None
    """Longest append; 0: the zone's capacity."""
    zone_extension: int | str | None
    """Bytes of a zone's descriptor extension, a multiple of 64 up to 16320; zns only. 0: none."""
    zrwa_size: int | str | None
    """Bytes of a zone's random write area (ZRWA), 1 to 254 times zrwa_granularity; zns only. 0:
    none.
    """
    zrwa_granularity: int | str | None
    """Write pointers of zones with such an area move by multiples of it; 0: the physical block."""
    zrwa_count: int | None
    """How many zones may have one at a time; 0: as many as may be active."""
    dialect: Dialect | str | None
    """"zbc", "zns" or "nullblk"."""
    model: Model | str | None
    """"host-managed" or "host-aware"."""
    implicit_close: ImplicitClose | str | None
    """"oldest", "lowest" or "round-robin"."""
    unrestricted_read: bool | None
    """URSWRZ; in zns: read across zone boundaries."""
    data: DataMode | str | None
    """"store" or "none"."""
    host_sync: HostSync | str | None
    """"flush", "command" or "never"."""
    seed: int | None
    """Of everything random about the disk."""
    slot_cache: int | str | None
    """Bytes of freed zones kept filled for reuse."""


def resolve_keywords(
    profile: str | os.PathLike[str] | None, keywords: GeometryKeywords
) -> Geometry:
    """The disk that keywords over a profile mean. Raises GeometryError, ProfileError."""
    from zoned.drives import profiles  # who opens a disk reads none
    from zoned.resolving import resolve

    chosen = profiles.load(profiles.DEFAULT if profile is None else profile)
    given = cast("dict[str, object]", keywords)
    return resolve(chosen.values, given, profile=chosen.name, implied=profile is None)
