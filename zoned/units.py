"""Sizes as people write them, to bytes and back. Pure functions; no other module of zoned is used.

``256MiB``, ``256M``, ``0x10000``, ``1.5 GiB``, ``64KB``: letters alone and ``KiB`` count in 1024,
``KB`` in 1000, as blkzone and the rest of util-linux do.
"""

from __future__ import annotations

import re
from fractions import Fraction

import humanize

LARGEST = 2**63 - 1
PREFIXES = "KMGTPE"
_LONGEST = 100
"""Characters of a text that can be a size; Python refuses to read a number of 4,301 digits."""

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_HEX = re.compile(r"0x[0-9a-f]+", re.IGNORECASE)


class SizeError(ValueError):
    """A text that is no size, or a size out of range."""


def _factor(unit: str, text: str) -> int:
    """Bytes in one unit: ``""`` and ``B`` 1, ``K`` and ``KiB`` 1024, ``KB`` 1000, and so on."""
    name = unit.upper()
    if name in ("", "B"):
        return 1
    power = PREFIXES.find(name[0]) + 1
    if power and name[1:] in ("", "IB"):
        return int(1024**power)
    if power and name[1:] == "B":
        return int(1000**power)
    raise SizeError(
        f"{text!r} is not a size: the unit {unit!r} is unknown; "
        "use K, M, G, T, P or KiB, MiB, ... (1024) or KB, MB, ... (1000)"
    )


def parse_size(value: int | str, name: str = "size") -> int:
    """Bytes, from an int or a text, 0 to 2^63-1.

    ``name`` is what the message calls the value. Raises SizeError for a text that is no size, for a
    decimal that makes no whole number of bytes, and for what is negative or too large; TypeError
    for anything but int and str (bool included).
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(
            f"{name} must be a number of bytes or a text like '256MiB', not {type(value).__name__}"
        )
    result = value if isinstance(value, int) else _parse_text(value)
    if result < 0:
        raise SizeError(f"{name} is {_told(value)}: it must not be negative")
    if result > LARGEST:
        raise SizeError(f"{name} is {_told(value)}: at most {LARGEST} bytes can be addressed")
    return result


def _told(value: int | str) -> str:
    """A number as a message can hold it: Python refuses to write one of more than 4,300 digits."""
    return hex(value) if isinstance(value, int) and abs(value) >> 256 else str(value)


def _parse_text(text: str) -> int:
    stripped = text.strip()
    if len(stripped) > _LONGEST:
        raise SizeError(
            f"{stripped[:20] + '...'!r} is not a size: it has {len(stripped)} characters"
        )
    if _HEX.fullmatch(stripped):
        return int(stripped, 16)
    match = _SIZE.fullmatch(stripped)
    if match is None:
        if re.fullmatch(r"-\s*\d.*", stripped):
            raise SizeError(f"{text!r} is not a size: it must not be negative")
        raise SizeError(
            f"{text!r} is not a size: write a number and a unit, "
            "such as 4096, 64K, 256MiB or 0x1000"
        )
    exact = Fraction(match["number"]) * _factor(match["unit"], text)
    if exact.denominator != 1:
        raise SizeError(f"{text!r} is not a whole number of bytes")
    return exact.numerator


def counted(number: int, what: str, several: str | None = None, *, form: str = "") -> str:
    """A number and its noun: ``1 zone``, ``3 zones``; ``several`` where an s does not make it.

    ``form`` is how the number is written, as in ``format()``: ``,`` for ``12,345 zones``.
    """
    return f"{number:{form}} {what if number == 1 else several or what + 's'}"


def were(number: int) -> str:
    """The verb that goes with a number of things: ``was`` or ``were``."""
    return "was" if number == 1 else "were"


def format_size(count: int) -> str:
    """A size for people: exact with a binary unit where that is short (``256 MiB``), else rounded
    (``13.6 TiB``).
    """
    power = 0
    whole = count
    while whole and whole % 1024 == 0 and power < len(PREFIXES):
        whole //= 1024
        power += 1
    if whole < 10_000:
        return f"{whole} {PREFIXES[power - 1]}iB" if power else counted(whole, "byte")
    return humanize.naturalsize(count, binary=True)


def exact_size(size: int) -> str:
    """``4 MiB`` where the unit divides the size, else the bytes: never a rounded number."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and not size & ((1 << shift) - 1):
            return f"{size >> shift} {unit}"
    return f"{size} B"


def human_size(size: float) -> str:
    """``3.4 GiB``: rounded, for eyes."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1023.95 or unit == "TiB":
            break
    return f"{size:.1f} {unit}"


def both_sizes(size: int) -> str:
    """``25.5 TiB (28000000000000 bytes)``: for eyes, and exact."""
    exact = exact_size(size)
    shown = exact if not exact.endswith(" B") and len(exact) <= 8 else human_size(size)
    exactly = counted(size, "byte")
    return f"{shown} ({exactly})" if size >= 1024 else exactly
