"""fio's options as they are declared and as their values are written.

An option is declared once, where what it sets lives: a field of ``Job`` (jobs.py) or of ``Section``
(fiooptions.py) made by one of the functions at the end of this module, or, if it says more than one
value, a function under ``@said`` (fiooptions.py). What is declared gives the parser its names,
aliases, values and defaults, and docs/fio-options.md its rows.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoned._core.native import lib
from zoned.inputs import InputError


class FioError(InputError):
    """A job file that cannot be read or asks for what there is not. Names file, line and option."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was said."""

    name: str
    """File and line, for messages."""
    foreign: bool = False
    """In a file that another file named: a message never shows what is in it."""

    def fail(self, text: str, foreign: str = "") -> FioError:
        """The error for what stands here; ``foreign`` is what is said instead in such a file."""
        return FioError(f"{self.name}: {foreign if self.foreign and foreign else text}")


COMMAND_LINE = Place("command line")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that says something."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was written."""

    name: str
    value: str
    place: Place
    rank: int = 1
    """0: said in [global], 1: in the job's own section, 2: on the command line."""

    def fail(self, text: str, part: str | None = None) -> FioError:
        """The error for this option. ``part`` of its value stands before the text."""
        told = text if part is None else f"{part!r} {text}"
        foreign = text if part is None else f"a part of its value {text}"
        return self.place.fail(f"{self.name}={self.value}: {told}", f"{self.name}: {foreign}")


TIME_UNITS = {
    "d": 86400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3,
    "msec": 10**6, "usec": 10**3, "sec": 10**9, "min": 60 * 10**9,
}  # fmt: skip


# ------------------------------------------------------------------------------------ values


def read_size(option: Option, text: str, base: int = 1024) -> int:
    """Bytes. As fio with kb_base=1024: k and kb are 1024, ki and kib 1000; else the reverse."""
    match = re.fullmatch(
        r"(0x[0-9a-f]{1,16}|[0-9]{1,19})\s*(?:([kmgtp])(i?)b?|b)?", text.strip().lower()
    )
    if match is None:
        raise option.fail("is not a size: write a number with k, m, g or t", text)
    number = int(match[1], 16 if match[1].startswith("0x") else 10)
    power = "kmgtp".find(match[2]) + 1 if match[2] else 0
    unit = 1024 if (base == 1024) != bool(match[3]) else 1000
    return int(number * unit**power)


def read_int(option: Option, least: int = 0, most: int = 2**31 - 1) -> int:
    text = option.value.strip()
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise option.fail("not a whole number")
    value = int(text)
    if not least <= value <= most:
        raise option.fail(f"it must be {least} to {most}")
    return value


def natural(text: str) -> int | None:
    """A number written in digits only; None: it is none, or one of more than 19 digits."""
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def read_bool(option: Option) -> bool:
    text = option.value.strip().lower()
    if text in ("", "1", "true"):
        return True
    if text in ("0", "false"):
        return False
    raise option.fail("it must be 0 or 1")


def read_float(option: Option, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise option.fail("is not a number", text) from None
    if not least <= value <= most:
        raise option.fail(f"it must be {least:g} to {most:g}")
    return value


def read_time(option: Option, default: str) -> int:
    """Nanoseconds."""
    match = re.fullmatch(r"([0-9]{1,19})\s*([a-z]*)", option.value.strip().lower())
    unit = (match[2] or default) if match else ""
    if match is None or unit not in TIME_UNITS:
        raise option.fail("not a time: write a number with d, h, m, s, ms or us")
    time = int(match[1]) * TIME_UNITS[unit]
    if time > lib.ZD_SIM_MOST_TIME:
        raise option.fail("it must be at most 146 years")
    return time


def read_word(option: Option, *words: str) -> str:
    if option.value not in words:
        raise option.fail(f"only {' and '.join(words)} can be had here")
    return option.value


def per_direction(o: Option) -> list[str]:
    """``a``, ``a,b`` or ``a,b,c`` for reads, writes, trims. ``a`` is for all, ``a,b``: trims as
    writes; an empty part ("") leaves what was set before, as fio does.
    """
    parts = [part.strip() for part in o.value.split(",")]
    if len(parts) > 3:
        raise o.fail("at most three values: for reads, writes and trims")
    if len(parts) == 1:
        parts *= 3
    elif len(parts) == 2:
        parts.append(parts[1])
    return parts


# ------------------------------------------------------------------------------- declaring them

ROOMS = {
    "what": "What a job does",
    "where": "Where",
    "blocks": "Block sizes",
    "random": "Random places",
    "pace": "Queue and pace",
    "time": "Time and order",
    "zones": "Zones",
    "verify": "Reading back",
    "reports": "Reports",
}
"""The headings under which options are told of, in their order."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One option that has an effect."""

    name: str
    room: str
    """A key of ROOMS."""
    about: str
    """What it does, in a line."""
    values: str
    """How its values are written."""
    apply: Callable[[Any, Option], None]
    """Takes the section (fiooptions.Section), whose job it may change, and the option."""
    aliases: tuple[str, ...] = ()
    bare: bool = False
    """May stand without a value."""
    layered: bool = False
    """Overrides its kin where it stands nearer to the job: [global], section, command line."""
    default: str = ""


@dataclass(frozen=True, slots=True)
class _OfField:
    """A declaration whose place is a field: `apply` sets that."""

    name: str
    room: str
    about: str
    values: str
    read: Callable[[Any, Option], object]
    extra: dict[str, Any]


def _declare(
    unset: object,
    name: str,
    room: str,
    about: str,
    values: str,
    read: Callable[[Any, Option], object],
    **extra: Any,
) -> Any:
    shown = f"{unset:d}" if isinstance(unset, int) else unset if isinstance(unset, str) else ""
    extra.setdefault("default", shown)
    metadata = {"fio": _OfField(name, room, about, values, read, extra)}
    return dataclasses.field(default=unset, metadata=metadata)


def number(
    name: str,
    room: str,
    about: str,
    *,
    default: int | None = 0,
    least: int = 0,
    most: int = 2**31 - 1,
    **extra: Any,
) -> Any:
    """A field that an option sets to a whole number from ``least`` to ``most``."""
    values = f"{least} to {most}" if most < 2**31 - 1 else f"a number from {least}"
    return _declare(
        default, name, room, about, values, lambda _, o: read_int(o, least, most), **extra
    )


def flag(name: str, room: str, about: str, *, default: bool = False, **extra: Any) -> Any:
    """A field that an option switches on or off."""
    return _declare(default, name, room, about, "0 or 1", lambda _, o: read_bool(o), **extra)


def either(name: str, room: str, about: str, usual: str, other: str) -> Any:
    """A field that an option sets by one of two words: whether it is the ``other``."""
    return _declare(
        *(False, name, room, about, f"{usual} or {other}"),
        lambda _, o: read_word(o, usual, other) == other,
        default=usual,
    )


def part(name: str, room: str, about: str, **extra: Any) -> Any:
    """A field that an option sets to a number from 0 to 1."""
    return _declare(
        0.0, name, room, about, "0 to 1", lambda _, o: read_float(o, o.value, 0, 1), **extra
    )


def duration(name: str, room: str, about: str, unit: str, **extra: Any) -> Any:
    """A field that an option sets to a time, kept in ns; ``unit``: of a number without any."""
    values = f"a time: a number ({unit}), or one with d, h, m, s, ms or us"
    return _declare(0, name, room, about, values, lambda _, o: read_time(o, unit), **extra)


def read_by(
    read: Callable[[Any, Option], object],
    name: str,
    room: str,
    about: str,
    *,
    default: Any = 0,
    values: str,
    **extra: Any,
) -> Any:
    """A field that an option sets to what ``read`` (section, option) makes of its value."""
    return _declare(default, name, room, about, values, read, **extra)


def of_fields(cls: type, of_job: bool) -> list[Declared]:
    """What the fields of a dataclass declare. ``of_job``: of the section's job, not of itself."""
    return [
        _of_field(one.name, one.metadata["fio"], of_job)
        for one in dataclasses.fields(cls)
        if "fio" in one.metadata
    ]


def _of_field(field: str, said: _OfField, of_job: bool) -> Declared:
    def apply(section: Any, option: Option) -> None:
        setattr(section.job if of_job else section, field, said.read(section, option))

    return Declared(said.name, said.room, said.about, said.values, apply, **said.extra)
