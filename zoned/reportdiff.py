"""Compare two zone reports: which zones differ, and how.

A report is a stream of `ReportZone` in ascending order: of an open `Device` (`of_device()`), or
read back from text that ``zonedctl report --format json|csv|zbd|blkzone`` saved, or that the real
``zbd report -csv`` and ``blkzone report`` printed for a drive (`parse()`). `compare()` walks two of
them side by side and yields one `Difference` per zone that differs; memory does not grow with the
number of zones.

Reads what it is given and nothing else. Whatever a text format cannot say (blkzone does not number
the zones) is not compared. Durable write pointers are not either: they speak of what a power cut
would keep, not of the zone's state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from zoned._core.looking import report_rows
from zoned.inputs import InputError, parse_json
from zoned.reportformats import (
    CONDITION_NAMES,
    CSV_HEADER,
    JSON_VERSION,
    JSONL_VERSION,
    NO_WP,
    TYPE_NAMES,
    ZBD_HEADER,
    ZONE,
)

if TYPE_CHECKING:
    from zoned import Device

_CONDITION_NUMBERS = {name: number for number, name in CONDITION_NAMES.items()}
_TYPE_NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
#: Conditions in which a write pointer is valid (ZBC-2 4.5.3).
_HAS_WP = frozenset({0x1, 0x2, 0x3, 0x4})
_BATCH = 4096


class ReportZone(NamedTuple):
    """One zone of a report; bytes, ``wp`` absolute and None where it is not valid."""

    number: int | None
    """None: the report does not tell, as blkzone's of one zone alone, which may be a smaller last
    one.
    """
    start: int
    length: int
    capacity: int
    wp: int | None
    type: int
    condition: int
    non_seq: bool
    reset_recommended: bool


class ReportFormatError(InputError):
    """A saved report that is none: the message names the line and what was expected."""


@dataclass(frozen=True)
class Difference:
    """One zone that differs.

    ``fields`` maps a name of `ReportZone` to its value on the left and on the right; it is empty
    when only one of the reports has the zone (then the other of ``left`` and ``right`` is None).
    """

    index: int | None
    """None where neither report tells it."""
    start: int
    left: ReportZone | None
    right: ReportZone | None
    fields: Mapping[str, tuple[object, object]]

    def to_json(self) -> dict[str, object]:
        """A plain dict, conditions and types by name, as ``zonedctl diff --format json`` prints
        it."""
        only = "left" if self.right is None else "right" if self.left is None else None
        return {
            "zone": self.index,
            "start": self.start,
            "only": only,
            "fields": {
                name: [readable(name, a), readable(name, b)] for name, (a, b) in self.fields.items()
            },
        }

    def to_text(self) -> str:
        """One line: ``zone 3: condition empty -> closed, wp 12582912 -> 12591104``."""
        zone = "zone" if self.index is None else f"zone {self.index}"
        if self.right is None:
            return f"{zone} (start {self.start}): only in the first report"
        if self.left is None:
            return f"{zone} (start {self.start}): only in the second report"
        parts = [
            f"{name} {_show(readable(name, a))} -> {_show(readable(name, b))}"
            for name, (a, b) in self.fields.items()
        ]
        if self.index is None:
            zone += f" (start {self.start})"
        return f"{zone}: {', '.join(parts)}"


def readable(name: str, value: object) -> object:
    """A field's value with type and condition by name."""
    if name == "condition" and isinstance(value, int):
        return CONDITION_NAMES[value]
    if name == "type" and isinstance(value, int):
        return TYPE_NAMES[value]
    return value


def _show(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# ------------------------------------------------------------------------------------------ reports


def of_device(device: Device) -> Iterator[ReportZone]:
    """The report of an open disk, in batches; the zones of one batch are from one moment."""
    at = 0
    while batch := report_rows(device, at, _BATCH):
        for zone in ZONE.iter_unpack(batch):
            start, length, capacity, wp, _, number, kind, condition, non_seq, reset = zone
            yield _zone(
                number, start, length, capacity, wp, kind, condition, bool(non_seq), bool(reset)
            )
        at += len(batch) // ZONE.size


def parse(lines: Iterable[str], name: str = "the report") -> Iterator[ReportZone]:
    """A saved report; its format is told by its first line. ``name`` is for error messages.

    Raises `ReportFormatError` for text that is no report of a known format and version, for damaged
    lines, and for zones that are not in ascending order.
    """
    numbered: Iterator[tuple[int, str]] = enumerate(lines, 1)
    first = next(numbered, None)
    if first is None:
        return  # blkzone prints nothing for no zones
    text = first[1]
    numbered = chain([first], numbered)
    if text.startswith("{"):
        zones = _parse_json(numbered, name)
    elif text.rstrip("\n") == CSV_HEADER.rstrip("\n"):
        zones = _parse_csv(numbered, name)
    elif text.rstrip("\n") == ZBD_HEADER.rstrip("\n"):
        zones = _parse_zbd(numbered, name)
    elif _BLKZONE.match(text) or text.startswith("Found "):
        zones = _parse_blkzone(numbered, name)
    else:
        raise ReportFormatError(
            f"{name} is neither a disk image nor a saved report: its first line is none of the"
            " formats json, csv, zbd and blkzone"
        )
    last = -1
    for zone in zones:
        if zone.start <= last:
            raise ReportFormatError(
                f"{name}: zone {zone.number} at {zone.start} comes after one at {last};"
                " zones must ascend"
            )
        last = zone.start
        yield zone


def _zone(
    index: int | None,
    start: int,
    length: int,
    capacity: int,
    wp: int | None,
    kind: int,
    condition: int,
    non_seq: bool,
    reset: bool,
) -> ReportZone:
    if kind not in TYPE_NAMES:
        raise ValueError(f"zone type {kind} is unknown")
    if condition not in CONDITION_NAMES:
        raise ValueError(f"zone condition {condition:#x} is unknown")
    if wp == NO_WP or condition not in _HAS_WP:
        wp = None
    return ReportZone(index, start, length, capacity, wp, kind, condition, non_seq, reset)


Numbered = Iterable[tuple[int, str]]


def _damaged(name: str, number: int, what: object) -> ReportFormatError:
    return ReportFormatError(f"{name}, line {number}: {what}")


def _parse_json(lines: Numbered, name: str) -> Iterator[ReportZone]:
    """The document, a zone a line as report writes it, or JSON lines."""
    whole = ended = False
    number = 0
    for number, line in lines:
        text = line.strip()
        try:
            if number == 1:
                whole = text.endswith("[")
                head = parse_json(text + "]}" if whole else text, ReportFormatError, "the line")
                version, wanted = head["report"], JSON_VERSION if whole else JSONL_VERSION
                if version != wanted:
                    raise ValueError(f"it has version {version!r}, and this program reads {wanted}")
                continue
            if ended:
                raise ValueError("the document has ended before")
            if whole and text == "]}":
                ended = True
                continue
            fields = parse_json(
                text.removesuffix(",") if whole else text, ReportFormatError, "the line"
            )
            yield _zone(
                int(fields["zone"]),
                int(fields["start"]),
                int(fields["length"]),
                int(fields["capacity"]),
                None if fields["wp"] is None else int(fields["wp"]),
                _TYPE_NUMBERS[fields["type"]],
                _CONDITION_NUMBERS[fields["condition"]],
                bool(fields["non_seq"]),
                bool(fields["reset_recommended"]),
            )
        except KeyError as error:
            raise _damaged(name, number, f"{error} is missing or unknown") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise _damaged(name, number, f"not a line of a JSON report ({error})") from error
    if whole and not ended:
        raise _damaged(name, number, "the JSON report is cut off here")


def _parse_csv(lines: Numbered, name: str) -> Iterator[ReportZone]:
    for number, line in lines:
        if number == 1:
            continue
        try:
            index, start, length, capacity, wp, kind, condition, non_seq, reset = line.rstrip(
                "\n"
            ).split(",")
            yield _zone(
                *(int(index), int(start), int(length), int(capacity), int(wp) if wp else None),
                *(_TYPE_NUMBERS[kind], _CONDITION_NUMBERS[condition]),
                *(non_seq == "1", reset == "1"),
            )
        except KeyError as error:
            raise _damaged(name, number, f"{error} is unknown") from error
        except ValueError as error:
            raise _damaged(name, number, f"not a line of a CSV report ({error})") from error


def _parse_zbd(lines: Numbered, name: str) -> Iterator[ReportZone]:
    for number, line in lines:
        if number == 1:
            continue
        try:
            index, kind, start, length, capacity, wp, condition, non_seq, reset = line.split(",")
            yield _zone(
                *(int(index), int(start), int(length), int(capacity), int(wp)),
                *(int(kind), int(condition, 16), int(non_seq) != 0, int(reset) != 0),
            )
        except ValueError as error:
            raise _damaged(name, number, f"not a line of zbd's report ({error})") from error


_BLKZONE = re.compile(
    r"  start: 0x([0-9a-f]+), len 0x([0-9a-f]+), (?:cap 0x([0-9a-f]+), )?wptr (?:0x([0-9a-f]+)|N/A)"
    r" reset:([01]) non-seq:([01]), zcond: ?(\d+)\(..\) \[type: (\d+)\([A-Z_]+\)\]"
)


def _parse_blkzone(lines: Numbered, name: str) -> Iterator[ReportZone]:
    zone_size = 0  # known once a second zone follows: only the last of a disk may be smaller
    held: ReportZone | None = None
    for number, line in lines:
        if line.startswith("Found "):  # blkzone -v
            continue
        match = _BLKZONE.match(line)
        if not match:
            raise _damaged(name, number, "not a line of blkzone's report")
        start, length = int(match[1], 16) << 9, int(match[2], 16) << 9
        capacity = int(match[3], 16) << 9 if match[3] else length
        wp = start + (int(match[4], 16) << 9) if match[4] else None
        try:
            zone = _zone(
                *(None, start, length, capacity, wp),
                *(int(match[8]), int(match[7]), match[6] == "1", match[5] == "1"),
            )
            if not length:
                raise ValueError("a zone has a length")
        except ValueError as error:
            raise _damaged(name, number, f"not a line of blkzone's report ({error})") from error
        if held is not None:
            zone_size = zone_size or held.length
            yield held._replace(number=held.start // zone_size)
        held = zone
    if held is not None:
        yield held._replace(number=held.start // zone_size) if zone_size else held


# ---------------------------------------------------------------------------------------- comparing

_COMPARED = ReportZone._fields[2:]


def compare(left: Iterable[ReportZone], right: Iterable[ReportZone]) -> Iterator[Difference]:
    """What differs between two reports, zone by zone; zones are matched by where they start."""
    ours, theirs = iter(left), iter(right)
    a, b = next(ours, None), next(theirs, None)
    size = 0  # of a zone, as far as the reports tell it

    def number(zone: ReportZone) -> int | None:
        if zone.number is not None:
            return zone.number
        return zone.start // size if size else None

    while a is not None or b is not None:
        for zone in (a, b):
            if zone is not None and zone.number:
                size = zone.start // zone.number
        if a is None or (b is not None and b.start < a.start):
            assert b is not None
            yield Difference(number(b), b.start, None, b, {})
            b = next(theirs, None)
        elif b is None or a.start < b.start:
            yield Difference(number(a), a.start, a, None, {})
            a = next(ours, None)
        else:
            if a[2:] != b[2:]:
                fields = {
                    name: (x, y)
                    for name, x, y in zip(_COMPARED, a[2:], b[2:], strict=True)
                    if x != y
                }
                yield Difference(number(a), a.start, a, b, fields)
            a, b = next(ours, None), next(theirs, None)
