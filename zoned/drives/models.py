"""The timing model of a drive: its parameters, read from the [model] table of a profile.

Each parameter has one name, one unit (in the name) and one place in ``struct zd_sim_model``
(zoned/sim.h tells what it means). Nothing has a default: a number that a profile does not give
is an error that names it, because a guessed parameter gives a wrong benchmark.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zoned._core.native import ffi, lib
from zoned.drives import profiles
from zoned.drives.profiles import ProfileError
from zoned.units import SizeError, parse_size

US = 1e3
MS = 1e6
_DRIVES = Path(__file__).parent / "managed"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of a model: its name in TOML, its field in C, and the factor between their units.

    ``scale`` 0 marks a size ("256MiB" or bytes). ``whole``: an integer in C.
    """

    name: str
    field: str
    scale: float = 1
    whole: bool = True
    least: float = 0

    def value(self, given: object, where: str) -> int | float:
        """The number for C. Raises ProfileError."""
        if self.scale == 0:
            if not isinstance(given, int | str) or isinstance(given, bool):
                raise ProfileError(f"{where} must be a size such as '512MiB', not {given!r}")
            try:
                return parse_size(given, where)
            except SizeError as error:
                raise ProfileError(str(error)) from None
        if not isinstance(given, int | float) or isinstance(given, bool):
            raise ProfileError(f"{where} must be a number, not {given!r}")
        if not self.least <= given < 1e15:
            raise ProfileError(f"{where} is {given}: it must be at least {self.least:g}")
        scaled = given * self.scale
        return round(scaled) if self.whole else float(scaled)


def _rate(name: str, c_field: str, least: float = 0.001) -> Parameter:
    return Parameter(
        name, c_field, 1e6 if name.endswith("_mb_s") else 2**20, whole=False, least=least
    )


def _times(names: str, ending: str = "") -> list[Parameter]:
    """Times whose names tell their unit; the fields have ``ending`` in its place."""
    return [
        Parameter(name, name[:-3] + ending, MS if name.endswith("_ms") else US)
        for name in names.split()
    ]


HDD = (
    Parameter("rpm", "rpm", least=1000),
    Parameter("heads", "heads", least=1),
    _rate("rate_outer_mb_s", "rate_outer"),
    _rate("rate_inner_mb_s", "rate_inner"),
    *_times("seek_one_ms seek_avg_ms seek_full_ms seek_margin_ms"),
    *_times("head_switch_ms write_settle_ms overhead_us"),
    _rate("interface_mb_s", "interface_rate"),
    _rate("fill_mb_s", "fill_rate"),
    Parameter("cache", "cache_bytes", 0),
    Parameter("cache_entries", "cache_entries"),
    Parameter("stream", "stream_bytes", 0),
    Parameter("readahead", "readahead", 0),
    Parameter("queue", "queue", least=1),
    Parameter("piece", "piece", 0),
    *_times("zone_switch_ms reset_ms finish_ms open_ms close_ms"),
)
ZNS = (
    Parameter("write_base_us", "write_base", US),
    Parameter("append_extra_us", "append_extra", US),
    Parameter("append_other_us", "append_other", US),
    Parameter("unit", "unit", 0),
    Parameter("write_unit_us", "write_unit_ns", US, whole=False),
    Parameter("append_unit_us", "append_unit_ns", US, whole=False),
    Parameter("list_us", "list_ns", US),
    *_times("write_service_us append_service_us read_service_us"),
    _rate("write_mib_s", "write_rate"),
    Parameter("buffer", "buffer_bytes", 0),
    Parameter("shot", "shot_bytes", 0),
    Parameter("shot_spread", "shot_spread", whole=False),
    Parameter("suspend_us", "suspend_ns", US),
    Parameter("resume_us", "resume_ns", US),
    Parameter("suspend_reads", "suspend_reads"),
    Parameter("dies", "dies", least=1),
    Parameter("stripe", "stripe_bytes", 0),
    Parameter("read_base_us", "read_base", US),
    Parameter("read_kib_us", "read_kib_ns", US, whole=False),
    Parameter("die_share", "die_share", whole=False, least=0.001),
    _rate("read_mib_s", "read_rate", least=0),
    Parameter("page", "page_bytes", 0),
    Parameter("sense_us", "sense_ns", US),
    Parameter("ahead_us", "ahead_base", US),
    Parameter("ahead_kib_us", "ahead_kib_ns", US, whole=False),
    Parameter("ahead_service_us", "ahead_service", US),
    _rate("ahead_mib_s", "ahead_rate", least=0),
    Parameter("finish_base_ms", "finish_base", MS),
    _rate("finish_mib_s", "finish_rate"),
    *_times("finish_empty_us reset_base_ms reset_full_ms reset_data_ms reset_unfinished_ms"),
    Parameter("reset_open_ms", "reset_open_base", MS),
    Parameter("reset_slice_ms", "reset_slice", MS),
    *_times("open_us close_us first_write_us first_append_us", "_ns"),
)
DM = (
    Parameter("media_cache", "cache_bytes", 0),
    Parameter("map_entries", "map_entries", least=1),
    Parameter("band", "band_bytes", 0),
    Parameter("band_passes", "band_passes", least=1),
    Parameter("streams", "streams", least=1),
    Parameter("idle_ms", "idle_ns", MS),
)
NULL = (Parameter("command_us", "null_ns", US, least=0.001),)

KINDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "null": (lib.ZD_SIM_NULL, ("null",)),
    "hdd": (lib.ZD_SIM_HDD, ("hdd",)),
    "zns": (lib.ZD_SIM_ZNS, ("zns",)),
    "drive-managed": (lib.ZD_SIM_DM, ("hdd", "dm")),
}
"""By name: the number in C, and the tables that it needs."""
TABLES: dict[str, tuple[Parameter, ...]] = {"null": NULL, "hdd": HDD, "zns": ZNS, "dm": DM}


@dataclass(frozen=True, slots=True)
class Model:
    """A checked timing model. ``tables`` holds the numbers under the names that TOML uses."""

    kind: str
    host_us: float
    tables: Mapping[str, Mapping[str, int | float | str]] = field(default_factory=dict)
    source: str = ""
    merge: int = 0
    """Bytes of waiting sequential writes that the host sends as one command; 0: none."""

    def get(self, name: str) -> int | float | str:
        """A parameter by its dotted name, such as ``hdd.rpm``."""
        table, _, key = name.partition(".")
        return self.tables[table][key]

    def but(self, **changes: float | str) -> Model:
        """The same model, but ``model.but(hdd__rpm=5400)``; ``host_us`` and ``merge`` too."""
        tables = {name: dict(values) for name, values in self.tables.items()}
        host, merge = self.host_us, self.merge
        for name, value in changes.items():
            if name == "host_us":
                host = _host(value, "")
                continue
            if name == "merge":
                merge = _merge(value, "")
                continue
            table, _, key = name.partition("__")
            if key not in tables.get(table, {}):
                raise ProfileError(f"the model {self.kind} has no parameter {table}.{key}")
            tables[table][key] = value
        return replace(self, tables=tables, host_us=host, merge=merge)

    def to_c(self) -> Any:
        """``struct zd_sim_model *``. Raises ProfileError for values out of range."""
        out = ffi.new("struct zd_sim_model *")
        out.kind = KINDS[self.kind][0]
        out.host_ns = round(self.host_us * US)
        out.merge_bytes = self.merge
        for table in KINDS[self.kind][1]:
            target = out if table == "null" else getattr(out, table)
            for parameter in TABLES[table]:
                where = f"{self.source}model.{table}.{parameter.name}"
                value = parameter.value(self.tables[table][parameter.name], where)
                try:
                    setattr(target, parameter.field, value)
                except OverflowError:
                    raise ProfileError(f"{where} is {value}: too large") from None
        return out


def parse_model(table: Mapping[str, object], source: str) -> Model:
    """A Model from a [model] table. Raises ProfileError naming what is missing or unknown."""
    where = f"profile {source}: "
    kind, host, merge = _head(table, where)
    tables = {name: _table(table.get(name), name, kind, where) for name in KINDS[kind][1]}
    model = Model(kind, host, tables, where, merge)
    model.to_c()
    return model


def _head(table: Mapping[str, object], where: str) -> tuple[str, float, int]:
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ProfileError(
            f"{where}model.kind is {kind!r}: it must be one of {', '.join(sorted(KINDS))}"
        )
    wanted = KINDS[kind][1]
    for key in table:
        if key not in ("kind", "host_us", "merge", *wanted):
            known = ["host_us", "merge", *wanted]
            raise ProfileError(f"{where}unknown key model.{key}{_near(key, known)}")
    return kind, _host(table.get("host_us", 0), where), _merge(table.get("merge", 0), where)


def _merge(size: object, where: str) -> int:
    return int(Parameter("merge", "merge_bytes", 0).value(size, f"{where}model.merge"))


def _host(host: object, where: str) -> float:
    if not isinstance(host, int | float) or isinstance(host, bool) or not 0 <= host < 1e9:
        raise ProfileError(f"{where}model.host_us is {host!r}: it must be a number of microseconds")
    return float(host)


def _table(given: object, name: str, kind: str, where: str) -> dict[str, int | float | str]:
    if not isinstance(given, dict):
        raise ProfileError(f"{where}the model {kind} needs a table [model.{name}]")
    names = [parameter.name for parameter in TABLES[name]]
    for key in given:
        if key not in names:
            raise ProfileError(f"{where}unknown key model.{name}.{key}{_near(key, names)}")
    for key in names:
        if key not in given:
            raise ProfileError(f"{where}model.{name}.{key} is missing: the model {kind} needs it")
    return dict(given)


def null_model(command_us: float = 1) -> Model:
    """Every command takes the same short time: for looking at the zones and at the engine."""
    return Model("null", 0.0, {"null": {"command_us": command_us}})


def drives() -> tuple[str, ...]:
    """Drives that exist for benchmarks only (drive-managed ones), by name."""
    return tuple(sorted(path.stem for path in _DRIVES.glob("*.toml")))


def load_drive(profile: str | os.PathLike[str]) -> tuple[profiles.Profile, Model]:
    """A profile and its model: built in, for benchmarks only, or the user's own ``.toml``.

    A profile without a [model] gives the model null. Raises ProfileError, OSError.
    """
    name = os.fspath(profile)
    if isinstance(profile, str) and name in drives():
        loaded = profiles.parse((_DRIVES / f"{name}.toml").read_bytes(), name=name, source=name)
    else:
        loaded = profiles.load(profile)
    model = parse_model(loaded.model, loaded.name) if loaded.model else null_model()
    return loaded, model


def load_model(profile: str | os.PathLike[str], *, needed: bool = False) -> Model:
    """The model of a profile. Raises OSError, ProfileError; also where it has none, if needed."""
    loaded, model = load_drive(profile)
    if needed and not loaded.model:
        raise ProfileError(
            f"profile {loaded.name} has no [model]: how long its commands take is not known"
        )
    return model


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
