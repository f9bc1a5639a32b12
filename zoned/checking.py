"""Checking an image, and mending what can be without inventing data. The work is the core's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from zoned._core.conversions import path_bytes
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import FINDINGS, Owned
from zoned._core.raising import NO_ZONE, NONE, raise_error
from zoned._core.waiting import patiently
from zoned.zone import ZoneCondition


class FindingKind(IntEnum):
    """What a finding is about. Numbers as enum zd_finding_kind."""

    HEADER = 1
    """A header copy is damaged."""
    STATUS = 2
    """A status copy is damaged."""
    ENTRY = 3
    """One copy of a zone's entry is damaged or stale."""
    ENTRY_LOST = 4
    """Both copies are."""
    ENTRY_VALUE = 5
    """An entry says what cannot be (condition, write pointer, slot)."""
    SLOT_SHARED = 6
    """Two zones claim one slot."""
    SHORT = 7
    """The file ends before a slot in use does."""
    LIMIT = 8
    """More zones are open or active than the limits allow."""
    COUNT = 9
    """A derived count differs from a recount."""
    UNCLEAN = 10
    """Not closed cleanly: what was not flushed may be lost (a note)."""
    FAILED = 11
    """A host sync failed: what was written after the last good one may be lost."""
    RESERVED = 12
    """Bytes that must be zero are not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that check() found."""

    kind: FindingKind
    zone: int | None
    offset: int | None
    """Where in the file; None if it has no single place."""
    error: bool
    """False: a note."""
    mendable: bool
    """Repair can mend it."""
    mended: bool
    """Repair did."""
    text: str
    lost: int | None = 0
    """Bytes of the zone that mending it costs, or would; None: some, and nobody knows how many."""
    becomes: ZoneCondition | None = None
    """If that is not 0: the condition that the zone has afterwards."""

    @property
    def loses(self) -> bool:
        """Whether mending it costs data, or may."""
        return self.lost != 0

    def __str__(self) -> str:
        done = "lost" if self.loses else "mended"
        state = done if self.mended else "error" if self.error else "note"
        return f"{state}: {self.text}"


def check(path: str | os.PathLike[str], repair: bool = False) -> list[Finding]:
    """Every inconsistency of an image, in use or not. An empty list: all is well.

    With ``repair``, what can be mended without inventing data is mended; nobody else may have the
    disk open then (ImageBusyError). Where that costs data (a zone that was cut off, or whose state
    is lost), ``Finding.lost`` tells how much, and did so without ``repair``. A file that is no
    image at all, or whose both headers are damaged, raises what ``zoned.open`` raises.
    """
    name = os.fspath(path)
    found = Owned(FINDINGS)
    count = ffi.new("size_t *")
    err = ffi.new("struct zd_error *")
    flags = lib.ZD_CHECK_BRIEFLY | (lib.ZD_CHECK_REPAIR if repair else 0)
    code = patiently(lambda: lib.zd_check(path_bytes(name), flags, found.cell, count, err))
    if code < 0:
        raise_error(code, err, None, name)
    if not count[0]:
        return []
    with Guard(found):
        return [_finding(found.raw[i]) for i in range(count[0])]


def _finding(raw: Any) -> Finding:
    item = ffi.addressof(raw)
    return Finding(
        kind=FindingKind(item.kind),
        zone=None if item.zone == NO_ZONE else item.zone,
        offset=None if item.offset == NONE else item.offset,
        error=bool(item.error),
        mendable=bool(item.mendable),
        mended=bool(item.mended),
        text=ffi.string(item.text).decode("utf-8", "replace"),
        lost=None if item.lost == NONE else item.lost,
        becomes=ZoneCondition(item.becomes) if item.loses else None,
    )
