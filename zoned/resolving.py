"""A Geometry from a profile and the keywords of ``zoned.create``: each impossible one is refused
with a sentence that names the field. The C core checks once more what an image says.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from zoned.geometry import (
    KEYWORDS,
    MOST_RANGES,
    DataMode,
    Dialect,
    Geometry,
    GeometryError,
    HostSync,
    ImplicitClose,
    Model,
)
from zoned.units import SizeError, counted, parse_size
from zoned.zonelist import MOST_ZONES, ZoneListError, ZoneSet

__all__ = ["conventional_zones", "resolve"]

BLOCK_SIZES = (512, 4096)
DEFAULT_SLOT_CACHE = 256 << 20
MOST_BYTES = 2**60
MOST_EXTENSION = 255 * 64
MOST_GRANULES = 254

_Choice = TypeVar("_Choice", bound=StrEnum)

_DEFAULTS: dict[str, object] = {
    "zone_capacity": 0,
    "conventional": 0,
    "logical_block": 4096,
    "physical_block": 4096,
    "max_open": 0,
    "max_active": 0,
    "append_limit": 0,
    "zone_extension": 0,
    "zrwa_size": 0,
    "zrwa_granularity": 0,
    "zrwa_count": 0,
    "dialect": Dialect.ZBC,
    "model": Model.HOST_MANAGED,
    "implicit_close": ImplicitClose.OLDEST,
    "unrestricted_read": True,
    "data": DataMode.STORE,
    "host_sync": HostSync.FLUSH,
    "seed": 0,
    "slot_cache": DEFAULT_SLOT_CACHE,
}


def resolve(
    inherited: Mapping[str, object],
    given: Mapping[str, object],
    *,
    profile: str,
    implied: bool = False,
) -> Geometry:
    """A checked Geometry from a profile's values and the keywords that the caller gave.

    ``zones``, a number, takes the place of ``size``; whoever gives either takes an inherited other
    away. With ``implied`` (no profile was asked for) inherited values that no longer fit beside the
    given ones give way; given ones never do. Raises GeometryError, which names the field; TypeError
    for a value of the wrong kind.
    """
    for key in given:
        if key not in KEYWORDS:
            near = difflib.get_close_matches(key, KEYWORDS, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise TypeError(f"there is no keyword {key}{hint}")
    explicit = {key: value for key, value in given.items() if value is not None}
    values = _DEFAULTS | _over(inherited, explicit)
    for needed in ("size", "zone_size"):
        if needed not in values and not (needed == "size" and "zones" in values):
            raise GeometryError(f"{needed} is missing: neither the profile nor a keyword gives it")
    if implied:
        values |= _given_way(values, explicit)
    zone_size = _size("zone_size", values["zone_size"])
    size = _size("size", values["size"]) if "size" in values else _zones(values) * zone_size
    logical = _block("logical_block", values["logical_block"])
    physical = _block("physical_block", values["physical_block"])
    capacity = _size("zone_capacity", values["zone_capacity"]) or zone_size
    max_open = _count("max_open", values["max_open"])
    max_active = _count("max_active", values["max_active"])
    append_limit = _size("append_limit", values["append_limit"])
    dialect = _choice(Dialect, "dialect", values["dialect"])
    model = _choice(Model, "model", values["model"])
    _check_sizes(size, zone_size, capacity, logical, physical)
    if append_limit % logical:
        raise GeometryError(
            f"append_limit is {append_limit}: it must be a multiple of the logical block, {logical}"
        )
    if model is Model.HOST_AWARE and dialect is not Dialect.ZBC:
        raise GeometryError(
            f"model is host-aware and dialect is {dialect}: write-preferred zones exist in zbc only"
        )
    if max_active and max_open > max_active:
        raise GeometryError(
            f"max_open is {max_open} and max_active is {max_active}: "
            "an open zone is active too, so max_open must not be larger"
        )
    return Geometry(
        size=size,
        zone_size=zone_size,
        zone_capacity=capacity,
        conventional=_conventional(values, explicit, size, zone_size, dialect, implied, profile),
        logical_block=logical,
        physical_block=physical,
        max_open=max_open,
        max_active=max_active,
        append_limit=append_limit or capacity,
        dialect=dialect,
        model=model,
        implicit_close=_choice(ImplicitClose, "implicit_close", values["implicit_close"]),
        unrestricted_read=_flag("unrestricted_read", values["unrestricted_read"]),
        data=_choice(DataMode, "data", values["data"]),
        host_sync=_choice(HostSync, "host_sync", values["host_sync"]),
        seed=_seed(values["seed"]),
        slot_cache=_slot_cache(values["slot_cache"]),
        profile=profile,
        zone_extension=_extension(values["zone_extension"], dialect, values["data"]),
        **_write_areas(values, dialect, size, capacity, logical, physical, max_active, zone_size),
    )


def _over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Keywords, and others that go before them. Raises GeometryError."""
    found: dict[str, object] = {}
    for keywords in (below, above):
        both = [name for name in ("size", "zones") if name in keywords]
        if len(both) == 2:
            raise GeometryError("size and zones exclude each other: give one of them")
        if both:
            found.pop("zones" if both == ["size"] else "size", None)
        found |= keywords
    return found


def _zones(values: Mapping[str, object]) -> int:
    zones = _whole("zones", values["zones"])
    if zones < 1:
        raise GeometryError(f"zones is {zones}: it must be a number of zones, 1 or more")
    if zones > MOST_ZONES:
        raise GeometryError(f"zones is {zones}: at most {MOST_ZONES} are possible")
    return zones


def _given_way(values: Mapping[str, object], explicit: Mapping[str, object]) -> dict[str, object]:
    """The inherited values that do not fit beside the explicit ones, made to fit."""
    changed: dict[str, object] = {}
    zone_size = _size("zone_size", values["zone_size"])
    if (
        "zone_capacity" not in explicit
        and _size("zone_capacity", values["zone_capacity"]) > zone_size
    ):
        changed["zone_capacity"] = 0
    logical = _block("logical_block", values["logical_block"])
    physical = _block("physical_block", values["physical_block"])
    if "physical_block" not in explicit and "logical_block" in explicit:
        physical = max(physical, logical)
    if "logical_block" not in explicit:
        logical = min(logical, physical)
    changed |= {"logical_block": logical, "physical_block": physical}
    max_open = _count("max_open", values["max_open"])
    max_active = _count("max_active", values["max_active"])
    if max_active and max_open > max_active:
        if "max_open" not in explicit:
            changed["max_open"] = max_active
        elif "max_active" not in explicit:
            changed["max_active"] = max_open
    return changed


def _check_sizes(size: int, zone_size: int, capacity: int, logical: int, physical: int) -> None:
    if physical < logical:
        raise GeometryError(
            f"physical_block is {physical} and logical_block is {logical}: "
            "the physical block must not be the smaller one"
        )
    for name, value in (("zone_size", zone_size), ("size", size), ("zone_capacity", capacity)):
        if value <= 0 or value % physical:
            raise GeometryError(
                f"{name} is {value}: it must be a positive multiple of the physical block, "
                f"{physical}"
            )
        if value > MOST_BYTES:
            raise GeometryError(
                f"{name} is {value}: at most {MOST_BYTES} bytes (1 EiB) are possible"
            )
    if capacity > zone_size:
        raise GeometryError(
            f"zone_capacity is {capacity}: it must not be larger than zone_size, {zone_size}"
        )
    count = -(-size // zone_size)
    if count > MOST_ZONES:
        raise GeometryError(
            f"size {size} in zones of {zone_size} makes {counted(count, 'zone')}: "
            f"at most {MOST_ZONES} are possible"
        )


def _conventional(
    values: Mapping[str, object],
    explicit: Mapping[str, object],
    size: int,
    zone_size: int,
    dialect: Dialect,
    implied: bool,
    profile: str,
) -> ZoneSet:
    nr_zones = -(-size // zone_size)
    value = values["conventional"]
    inherited = "conventional" not in explicit
    if inherited and "dialect" in explicit and dialect is Dialect.ZNS:
        return ZoneSet()  # no ZNS drive has any: they must be asked for
    zones = conventional_zones(value)
    if zones.last >= nr_zones:
        if not (inherited and implied):
            origin = f" (from profile {profile})" if inherited else ""
            raise GeometryError(
                f"conventional is {zones}{origin}: the disk has only the zones 0 to {nr_zones - 1}"
            )
        fitting = range(max(0, nr_zones - 1))  # leave one sequential zone
        zones = ZoneSet.of(zone for zone in zones if zone in fitting)
    elif inherited and implied and len(zones) == nr_zones:
        zones = ZoneSet.of(zone for zone in zones if zone < nr_zones - 1)
    if len(zones.ranges()) > MOST_RANGES:
        raise GeometryError(
            f"conventional has {counted(len(zones.ranges()), 'range')}: an image holds at "
            f"most {MOST_RANGES}"
        )
    return zones


def conventional_zones(value: object) -> ZoneSet:
    """The value of the keyword ``conventional`` as a set of zones.

    A number, or a text of digits only: that many at the front. Other text: zones (``0-1,8``). Else
    an iterable of (first, count) pairs and range objects. Raises GeometryError, TypeError.
    """
    if isinstance(value, ZoneSet):
        return value
    if isinstance(value, str):
        text = value.strip()
        if not text.isdecimal():
            try:
                return ZoneSet.parse(text)
            except ZoneListError as exc:
                raise GeometryError(f"conventional: {exc}") from None
        if len(text) > 20:
            raise GeometryError(
                f"conventional: a number of {len(text)} digits is no number of zones"
            )
        value = int(text)
    if isinstance(value, bool) or not isinstance(value, int | Iterable):
        raise TypeError(
            "conventional must be a number of zones, a text like '0-1,8' or (first, count) pairs, "
            f"not {type(value).__name__}"
        )
    if isinstance(value, int):
        if value < 0:
            raise GeometryError(f"conventional is {value}: it must not be negative")
        pairs = [(0, value)] if value else []
    else:
        pairs = [_range_pair(item) for item in value]
    try:
        return ZoneSet(pairs)
    except ZoneListError as exc:
        raise GeometryError(f"conventional: {exc}") from None


def _range_pair(item: object) -> tuple[int, int]:
    if isinstance(item, range):
        if item.step != 1:
            raise GeometryError(f"conventional: {item} has a step; a range of zones must not")
        return item.start, len(item)
    if isinstance(item, list | tuple) and len(item) == 2:
        first, count = item
        if isinstance(first, int) and isinstance(count, int):
            return first, count
    raise TypeError(f"conventional: {item!r} is neither a (first, count) pair nor a range")


def _size(name: str, value: object) -> int:
    if not isinstance(value, int | str):
        raise TypeError(
            f"{name} must be a number of bytes or a text like '256MiB', not {type(value).__name__}"
        )
    try:
        return parse_size(value, name)
    except SizeError as exc:
        text = str(exc)
        raise GeometryError(text if text.startswith(name) else f"{name}: {text}") from None


def _block(name: str, value: object) -> int:
    block = _size(name, value)
    if block not in BLOCK_SIZES:
        raise GeometryError(f"{name} is {block}: it must be 512 or 4096")
    return block


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    return value


def _count(name: str, value: object) -> int:
    count = _whole(name, value)
    if not 0 <= count < 2**32:
        raise GeometryError(f"{name} is {count}: it must be 0 (no limit) to {2**32 - 1}")
    return count


def _seed(value: object) -> int:
    seed = _whole("seed", value)
    if not 0 <= seed < 2**64:
        raise GeometryError(f"seed is {seed}: it must be 0 to 2^64-1")
    return seed


def _extension(value: object, dialect: Dialect, data: object) -> int:
    size = _size("zone_extension", value)
    if size % 64 or size > MOST_EXTENSION:
        raise GeometryError(
            f"zone_extension is {size}: it must be a multiple of 64 bytes, at most {MOST_EXTENSION}"
        )
    if size and dialect is not Dialect.ZNS:
        raise GeometryError(
            f"zone_extension is {size} and dialect is {dialect}: "
            "only the zones of zns have descriptor extensions"
        )
    if size and data == DataMode.NONE:
        raise GeometryError(f"zone_extension is {size} and data is none: none would be kept")
    return size


def _write_areas(
    values: Mapping[str, object],
    dialect: Dialect,
    size: int,
    capacity: int,
    logical: int,
    physical: int,
    max_active: int,
    zone_size: int,
) -> dict[str, int]:
    """The fields of random write areas, by name."""
    area = _size("zrwa_size", values["zrwa_size"])
    granule = _size("zrwa_granularity", values["zrwa_granularity"])
    count = _count("zrwa_count", values["zrwa_count"])
    if not area:
        for name, value in (("zrwa_granularity", granule), ("zrwa_count", count)):
            if value:
                raise GeometryError(f"{name} is {value}, and without a zrwa_size no zone has one")
        return {}
    if dialect is not Dialect.ZNS:
        raise GeometryError(
            f"zrwa_size is {area} and dialect is {dialect}: "
            "only the zones of zns have random write areas"
        )
    granule = granule or physical
    if granule % physical or capacity % granule or size % granule:
        raise GeometryError(
            f"zrwa_granularity is {granule}: it must be a multiple of the physical block, "
            f"{physical}, and zone_capacity {capacity} and size {size} multiples of it"
        )
    if area % granule or area // granule > MOST_GRANULES:
        raise GeometryError(
            f"zrwa_size is {area}: it must be 1 to {MOST_GRANULES} times the zrwa_granularity, "
            f"{granule}"
        )
    if area > capacity or area // logical >= 2**16:
        raise GeometryError(
            f"zrwa_size is {area}: it must be at most zone_capacity, {capacity}, and 65535 blocks"
        )
    if max_active and count > max_active:
        raise GeometryError(
            f"zrwa_count is {count} and max_active is {max_active}: "
            "a zone with a random write area is active, so zrwa_count must not be larger"
        )
    count = count or max_active or -(-size // zone_size)
    return {"zrwa_size": area, "zrwa_granularity": granule, "zrwa_count": count}


def _slot_cache(value: object) -> int:
    cache = _size("slot_cache", value)
    if cache > 2**62:
        raise GeometryError(f"slot_cache is {cache}: it must be at most 2^62, {2**62}")
    return cache


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not {value!r}")
    return value


def _choice(kind: type[_Choice], name: str, value: object) -> _Choice:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {type(value).__name__}")
    try:
        return kind(value)
    except ValueError:
        raise GeometryError(f"{name} is {value!r}: it must be one of {', '.join(kind)}") from None
