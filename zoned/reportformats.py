"""Zone reports as text: the five formats of ``zonedctl report``, made in batches.

A batch is what ``Device._report_raw()`` gives: an array of ``struct zd_zone`` (zoned/zone.h), 48
bytes a zone. Each formatter turns one batch into one string, so that a report of 104,000 zones
costs one join and one write per few thousand zones and never holds more than a batch. Knows no
device and prints nothing.

``blkzone`` and ``zbd`` are byte for byte what util-linux 2.38.1 ``blkzone report`` and libzbd 2.0.4
``zbd report -csv`` print for a disk in the same state (tests/cli/data holds the captures). Where a
write pointer is not valid they print what the kernel hands them, and so does this module:

- FULL: the end of the zone, as the kernel's SCSI and NVMe drivers report every full zone;
- READ_ONLY and OFFLINE: all ones in 512-byte sectors, as null_blk does;
- conventional: 0 for blkzone, the end of the zone for zbd, as null_blk does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping

from zoned.units import exact_size

#: struct zd_zone: start, length, capacity, wp, durable_wp, index, type, condition, non_seq, reset.
ZONE = struct.Struct("=5QI4B")
#: A write pointer that is not valid.
NO_WP = 2**64 - 1
#: The version of the JSON report, one document; it grows when a field changes its meaning or goes.
JSON_VERSION = 2
#: That of the report as JSON lines, of which the first is the head.
JSONL_VERSION = 1

CONDITION_NAMES: Mapping[int, str] = {
    0x0: "not-wp",
    0x1: "empty",
    0x2: "implicit-open",
    0x3: "explicit-open",
    0x4: "closed",
    0xD: "read-only",
    0xE: "full",
    0xF: "offline",
}
#: Short forms: those of blkzone, and zbd's where it differs (``ol`` for offline).
CONDITION_SHORT: Mapping[str, int] = {
    "nw": 0x0,
    "em": 0x1,
    "oi": 0x2,
    "oe": 0x3,
    "cl": 0x4,
    "ro": 0xD,
    "fu": 0xE,
    "of": 0xF,
    "ol": 0xF,
}
TYPE_NAMES: Mapping[int, str] = {
    1: "conventional",
    2: "seq-write-required",
    3: "seq-write-preferred",
}
TYPE_SHORT: Mapping[str, int] = {"cnv": 1, "swr": 2, "swp": 3}

_BLKZONE_COND = {0: "nw", 1: "em", 2: "oi", 3: "oe", 4: "cl", 0xD: "ro", 0xE: "fu", 0xF: "of"}
_BLKZONE_TYPE = {1: "CONVENTIONAL", 2: "SEQ_WRITE_REQUIRED", 3: "SEQ_WRITE_PREFERRED"}
_BLKZONE_LINE = "  start: 0x%09x, len 0x%06x, cap 0x%06x, wptr 0x%06x%s"
_BLKZONE_TAIL = " reset:%u non-seq:%u, zcond:%2u(%s) [type: %u(%s)]\n"
_ZBD_LINE = "%05d, %d, %014d, %014d, %014d, %014d, 0x%x, %d, %d\n"
_JSON_LINE = (
    '{"zone": %d, "start": %d, "length": %d, "capacity": %d, "wp": %s, "durable_wp": %s, '
    '"type": "%s", "condition": "%s", "non_seq": %s, "reset_recommended": %s}\n'
)
_ALL_ONES_SECTORS = 2**64 - 1
_ALL_ONES_BYTES = (_ALL_ONES_SECTORS << 9) & (2**64 - 1)

CSV_HEADER = "zone,start,length,capacity,wp,type,condition,non_seq,reset_recommended\n"
ZBD_HEADER = "zone num, type, ofst, len, cap, wp, cond, non_seq, reset\n"

Formatter = Callable[[bytes], str]


def blkzone(batch: bytes) -> str:
    """Lines of ``blkzone report``: 512-byte sectors in hex, the write pointer relative to its
    zone."""
    tails: dict[tuple[int, int, int, int], str] = {}
    lines: list[str] = []
    add = lines.append
    for start, length, capacity, wp, _, _, kind, cond, non_seq, reset in ZONE.iter_unpack(batch):
        key = (reset, non_seq, cond, kind)
        tail = tails.get(key)
        if tail is None:
            tail = tails[key] = _BLKZONE_TAIL % (
                *(reset, non_seq, cond, _BLKZONE_COND[cond]),
                *(kind, _BLKZONE_TYPE[kind]),
            )
        if wp != NO_WP:
            wptr = (wp - start) >> 9
        elif kind == 1:
            wptr = 0
        elif cond == 0xE:
            wptr = length >> 9
        else:
            wptr = _ALL_ONES_SECTORS - (start >> 9)
        add(_BLKZONE_LINE % (start >> 9, length >> 9, capacity >> 9, wptr, tail))
    return "".join(lines)


def zbd(batch: bytes) -> str:
    """Lines of ``zbd report -csv``: bytes, the write pointer absolute."""
    lines: list[str] = []
    add = lines.append
    for start, length, capacity, wp, _, index, kind, cond, non_seq, reset in ZONE.iter_unpack(
        batch
    ):
        if wp != NO_WP:
            at = wp
        else:
            at = start + length if cond == 0xE or kind == 1 else _ALL_ONES_BYTES
        add(_ZBD_LINE % (index, kind, start, length, capacity, at, cond, non_seq, reset))
    return "".join(lines)


def csv(batch: bytes) -> str:
    """Lines of ``--format csv``: bytes and names; the write pointer is empty where it is not
    valid."""
    lines: list[str] = []
    add = lines.append
    for start, length, capacity, wp, _, index, kind, cond, non_seq, reset in ZONE.iter_unpack(
        batch
    ):
        add(
            f"{index},{start},{length},{capacity},{'' if wp == NO_WP else wp},"
            f"{TYPE_NAMES[kind]},{CONDITION_NAMES[cond]},{non_seq},{reset}\n"
        )
    return "".join(lines)


def jsonl(batch: bytes) -> str:
    """Lines of ``--format json`` and ``jsonl``: one object a zone, bytes, null where a pointer is
    not valid.
    """
    lines: list[str] = []
    add = lines.append
    truth = ("false", "true")
    for zone in ZONE.iter_unpack(batch):
        start, length, capacity, wp, durable, index, kind, cond, non_seq, reset = zone
        add(
            _JSON_LINE
            % (
                *(index, start, length, capacity),
                "null" if wp == NO_WP else wp,
                "null" if durable == NO_WP else durable,
                *(TYPE_NAMES[kind], CONDITION_NAMES[cond], truth[non_seq], truth[reset]),
            )
        )
    return "".join(lines)


#: Colours by condition (SGR): what needs a look stands out.
_COLOURS = {0x2: "36", 0x3: "36;1", 0x4: "33", 0xE: "2", 0xD: "31", 0xF: "31;1"}
_TEXT_LINE = "%7d %18d %10s %10s %14s  %s  %s%s\n"
TEXT_HEADER = (
    f"{'ZONE':>7} {'START':>18} {'LENGTH':>10} {'CAPACITY':>10} {'WRITTEN':>14}"
    f"  {'CONDITION':13}  TYPE\n"
)


def text(batch: bytes, colour: bool = False, areas: Collection[int] = ()) -> str:
    """Lines of ``--format text``, for eyes: start and written bytes exact, sizes in binary units.
    ``areas``: zones that have a random write area.
    """
    sizes: dict[int, str] = {}
    lines: list[str] = []
    add = lines.append
    for start, length, capacity, wp, _, index, kind, cond, non_seq, reset in ZONE.iter_unpack(
        batch
    ):
        for size in (length, capacity):
            if size not in sizes:
                sizes[size] = exact_size(size)
        if wp != NO_WP:
            written = str(wp - start)
        else:
            written = str(capacity) if cond == 0xE else "-"
        name = f"{CONDITION_NAMES[cond]:13}"
        if colour and cond in _COLOURS:
            name = f"\x1b[{_COLOURS[cond]}m{name}\x1b[0m"
        flags = (" non-seq" if non_seq else "") + (" reset-recommended" if reset else "")
        flags += " write-area" if index in areas else ""
        add(
            _TEXT_LINE
            % (
                *(index, start, sizes[length], sizes[capacity], written),
                *(name, TYPE_NAMES[kind], flags),
            )
        )
    return "".join(lines)


def keep(batch: bytes, conditions: Collection[int], types: Collection[int]) -> bytes:
    """Only those zones of a batch that have one of the conditions and one of the types (empty:
    any)."""
    if not conditions and not types:
        return batch
    step = ZONE.size
    return b"".join(
        batch[at : at + step]
        for at in range(0, len(batch), step)
        if (not types or batch[at + 44] in types)
        and (not conditions or batch[at + 45] in conditions)
    )
