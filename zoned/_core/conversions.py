"""Values of Python as structures of the core, and back."""

from __future__ import annotations

import os
from typing import Any

from zoned._core.native import ffi, lib, sized
from zoned._core.raising import DIALECT_NUMBERS
from zoned.geometry import DataMode, Geometry, HostSync, ImplicitClose, Model
from zoned.info import Limits
from zoned.zonelist import ZoneSet

DIALECTS = {number: dialect for dialect, number in DIALECT_NUMBERS.items()}
MODELS = {lib.ZD_HOST_MANAGED: Model.HOST_MANAGED, lib.ZD_HOST_AWARE: Model.HOST_AWARE}
IMPLICIT_CLOSES = {
    lib.ZD_OLDEST: ImplicitClose.OLDEST,
    lib.ZD_LOWEST: ImplicitClose.LOWEST,
    lib.ZD_ROUND_ROBIN: ImplicitClose.ROUND_ROBIN,
}
DATA_MODES = {lib.ZD_STORE: DataMode.STORE, lib.ZD_NO_DATA: DataMode.NONE}
HOST_SYNCS = {
    lib.ZD_SYNC_FLUSH: HostSync.FLUSH,
    lib.ZD_SYNC_COMMAND: HostSync.COMMAND,
    lib.ZD_SYNC_NEVER: HostSync.NEVER,
}


def config_of(geometry: Geometry, *, paced: bool = False) -> tuple[Any, Any]:
    """``struct zd_config *`` for a geometry, and what must live as long as it.

    ``paced``: openers of the disk are to have its commands take a drive's time.
    """
    ranges = geometry.conventional.ranges()
    conv = ffi.new("struct zd_range[]", ranges)
    config = sized("struct zd_config")
    config.size = geometry.size
    config.zone_size = geometry.zone_size
    config.zone_capacity = geometry.zone_capacity
    config.logical_block = geometry.logical_block
    config.physical_block = geometry.physical_block
    config.max_open = geometry.max_open
    config.max_active = geometry.max_active
    config.append_limit = geometry.append_limit
    config.zone_extension = geometry.zone_extension
    config.zrwa_size = geometry.zrwa_size
    config.zrwa_granularity = geometry.zrwa_granularity
    config.zrwa_count = geometry.zrwa_count
    config.seed = geometry.seed
    config.slot_cache = geometry.slot_cache
    config.dialect = DIALECT_NUMBERS[geometry.dialect]
    config.model = _number_of(MODELS, geometry.model)
    config.implicit_close = _number_of(IMPLICIT_CLOSES, geometry.implicit_close)
    config.data = _number_of(DATA_MODES, geometry.data)
    config.host_sync = _number_of(HOST_SYNCS, geometry.host_sync)
    config.unrestricted_read = geometry.unrestricted_read
    config.pace = lib.ZD_PACE_REAL if paced else lib.ZD_PACE_NONE
    config.nr_conv = len(ranges)
    config.conv = conv
    config.profile = geometry.profile.encode("utf-8")[:63]
    return config, conv


def _number_of(names: dict[int, Any], wanted: object) -> int:
    return next(number for number, name in names.items() if name is wanted)


def geometry_of(handle: Any, info: Any) -> Geometry:
    conv = ffi.new("struct zd_range[]", max(1, info.nr_conv_ranges))
    count = lib.zd_conv_ranges(handle, conv, info.nr_conv_ranges)
    return Geometry(
        size=info.size,
        zone_size=info.zone_size,
        zone_capacity=info.zone_capacity,
        conventional=ZoneSet((conv[i].first, conv[i].count) for i in range(count)),
        logical_block=info.logical_block,
        physical_block=info.physical_block,
        max_open=info.max_open,
        max_active=info.max_active,
        append_limit=info.append_limit or info.zone_capacity,
        zone_extension=info.zone_extension,
        zrwa_size=info.zrwa_size,
        zrwa_granularity=info.zrwa_granularity,
        zrwa_count=info.zrwa_count,
        dialect=DIALECTS[info.dialect],
        model=MODELS[info.model],
        implicit_close=IMPLICIT_CLOSES[info.implicit_close],
        unrestricted_read=bool(info.unrestricted_read),
        data=DATA_MODES[info.data],
        host_sync=HOST_SYNCS[info.host_sync],
        seed=info.seed,
        slot_cache=info.slot_cache,
        profile=ffi.string(info.profile).decode("utf-8", "replace"),
    )


def limits_of(info: Any) -> Limits:
    return Limits(
        max_open=info.max_open,
        max_active=info.max_active,
        implicit_open=info.nr_implicit_open,
        explicit_open=info.nr_explicit_open,
        closed=info.nr_closed,
    )


def named(raw: Any, names: str) -> dict[str, Any]:
    """Fields of a struct by name (blanks between), for a dataclass that calls them the same."""
    return {name: getattr(raw, name) for name in names.split()}


def path_bytes(path: str | bytes) -> bytes:
    """A path for the core. Raises ValueError for one with a NUL byte."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"{path!r} is not a path: it has a NUL byte in it")
    return name
