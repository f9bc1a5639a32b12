"""Named sets of geometry keywords: the built-in drives, and the user's own files.

A profile is a TOML file::

    description = "one line for people"
    [geometry]
    size = "64MiB"        # any keyword of zoned.create that makes a geometry
    zone_size = "4MiB"
    [model]               # optional: the drive's timing, for benchmarks (zoned.drives.models)
    kind = "hdd"

Reads TOML files, writes nothing. Unknown keys are errors that name the nearest known one, so that a
typo never passes as a default.
"""

from __future__ import annotations

import copy
import difflib
import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zoned.geometry import KEYWORDS, Geometry, GeometryError
from zoned.inputs import MOST_TOML, InputError, parse_toml, read_bytes
from zoned.resolving import resolve

DEFAULT = "test"

_TOP_KEYS = ("description", "geometry", "model")
_TEXT_OR_INT = ("a size: a number of bytes or a text like '256MiB'", (int, str))
_NUMBER = ("a whole number", (int,))
_TEXT = ("a text", (str,))
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "size": _TEXT_OR_INT,
    "zone_size": _TEXT_OR_INT,
    "zone_capacity": _TEXT_OR_INT,
    "conventional": ("a number, a text like '0-1,8' or a list of [first, count]", (int, str, list)),
    "logical_block": _TEXT_OR_INT,
    "physical_block": _TEXT_OR_INT,
    "max_open": _NUMBER,
    "max_active": _NUMBER,
    "append_limit": _TEXT_OR_INT,
    "zone_extension": _TEXT_OR_INT,
    "zrwa_size": _TEXT_OR_INT,
    "zrwa_granularity": _TEXT_OR_INT,
    "zrwa_count": _NUMBER,
    "dialect": _TEXT,
    "model": _TEXT,
    "implicit_close": _TEXT,
    "unrestricted_read": ("true or false", (bool,)),
    "data": _TEXT,
    "host_sync": _TEXT,
    "seed": _NUMBER,
    "slot_cache": _TEXT_OR_INT,
    "zones": _NUMBER,
}


class ProfileError(InputError):
    """A profile that is unknown, unreadable as TOML, or says something it may not."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Geometry keywords under a name."""

    name: str
    description: str
    source: str
    """Where it was read from: a path, or "built in"."""
    values: Mapping[str, object]
    """Keywords of zoned.create, as the file has them."""
    model: Mapping[str, object] = field(default_factory=dict)
    """The table [model] as the file has it; zoned.drives.models checks it."""

    def geometry(self) -> Geometry:
        """The disk that the profile describes when nothing is overridden. Raises GeometryError,
        TypeError.
        """
        return resolve({}, self.values, profile=self.name)


@functools.cache
def builtin_names() -> tuple[str, ...]:
    """Names of the profiles that come with zoned, sorted."""
    return tuple(sorted(entry.stem for entry in _folder().glob("*.toml")))


def load(profile: str | os.PathLike[str]) -> Profile:
    """A built-in profile by name, or the user's own by path (a name with a slash, or ending in
    ``.toml``).

    Raises ProfileError, which names the file, the key and what would be right; OSError when the
    file cannot be read.
    """
    text = os.fspath(profile)
    if isinstance(profile, os.PathLike) or "/" in text or text.endswith(".toml"):
        path = Path(text)
        content = read_bytes(path, MOST_TOML, ProfileError, f"profile {path}")
        return parse(content, name=path.stem, source=str(path))
    known = builtin_names()
    if text not in known:
        near = _nearest(text, known)
        raise ProfileError(
            f"there is no profile {text!r}{near}; built in are {', '.join(known)}, "
            "and a path that ends in .toml names your own"
        )
    return copy.deepcopy(_builtin(text))  # the next caller's is whole, whatever this one does to it


@functools.cache
def _builtin(name: str) -> Profile:
    return parse((_folder() / f"{name}.toml").read_bytes(), name=name, source="built in")


def parse(content: bytes, *, name: str, source: str) -> Profile:
    """A profile from the bytes of a TOML file. Raises ProfileError."""
    table = parse_toml(content, ProfileError, f"profile {source}")
    _known_keys(table, _TOP_KEYS, source, "")
    description = table.get("description", "")
    if not isinstance(description, str):
        raise ProfileError(
            f"profile {source}: description must be a text, not {_kind(description)}"
        )
    values = table.get("geometry")
    if not isinstance(values, dict):
        raise ProfileError(f"profile {source}: it needs a table [geometry]")
    _known_keys(values, KEYWORDS, source, "geometry.")
    for key, value in values.items():
        wanted, types = _KINDS[key]
        # bool is an int to Python, but `max_open = true` is a mistake.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ProfileError(
                f"profile {source}: geometry.{key} must be {wanted}, not {_kind(value)}"
            )
    for needed in ("size", "zone_size"):
        if needed not in values and not (needed == "size" and "zones" in values):
            raise ProfileError(f"profile {source}: geometry.{needed} is missing")
    model = table.get("model", {})
    if not isinstance(model, dict):
        raise ProfileError(f"profile {source}: model must be a table, not {_kind(model)}")
    profile = Profile(name, description, source, values, model)
    try:
        profile.geometry()
    except (GeometryError, TypeError) as exc:
        raise ProfileError(f"profile {source}: {exc}") from None
    return profile


def _folder() -> Path:
    return Path(__file__).parents[1] / "profiles"


def _known_keys(
    table: Mapping[str, object], known: Iterable[str], source: str, prefix: str
) -> None:
    for key in table:
        if key not in known:
            near = _nearest(key, known)
            raise ProfileError(f"profile {source}: unknown key {prefix}{key}{near}")


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _kind(value: object) -> str:
    names = {
        bool: "true/false",
        int: "a number",
        float: "a decimal number",
        str: "a text",
        list: "a list",
    }
    return names.get(type(value), "a table" if isinstance(value, dict) else type(value).__name__)
