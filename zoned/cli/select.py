"""From the zone options to zones: ``--zones``, ``--all``, and blkzone's ``-o``, ``-l``, ``-c``.

What the sector options mean is read off util-linux 2.38.1 sys-utils/blkzone.c, rounding and
refusals included; tests/cli/data/*.transcript hold the answers of the real one.
"""

from __future__ import annotations

from dataclasses import dataclass

import click

from zoned.cli.app import Failure
from zoned.units import counted
from zoned.zonelist import ZoneListError, ZoneSet

Runs = list[tuple[int, int]]


@dataclass(frozen=True)
class Asked:
    """The zone options of one call. Wrong combinations are usage errors."""

    offset: int | None = None
    length: int | None = None
    count: int | None = None
    zones: str | None = None
    all_zones: bool = False

    def __post_init__(self) -> None:
        by_sector = [
            name
            for name, value in (("-o", self.offset), ("-l", self.length), ("-c", self.count))
            if value is not None
        ]
        if self.length is not None and self.count is not None:
            raise click.UsageError("-l (--length) and -c (--count) exclude each other")
        if self.zones is not None and by_sector:
            raise click.UsageError(f"--zones and {by_sector[0]} exclude each other")
        if self.all_zones and (by_sector or self.zones is not None):
            raise click.UsageError(f"--all and {(by_sector or ['--zones'])[0]} exclude each other")

    @property
    def nothing(self) -> bool:
        """Whether no zone was named at all: the whole disk is meant."""
        return (
            self.zones is None
            and not self.all_zones
            and self.offset is None
            and not self.length
            and not self.count
        )


@dataclass(frozen=True)
class Layout:
    """What selecting needs to know of a disk, in bytes."""

    path: str
    size: int
    zone_size: int
    nr_zones: int


def by_list(asked: Asked, disk: Layout) -> Runs | None:
    """The zones of ``--zones``, ascending and merged; None when the option was not given."""
    if asked.zones is None:
        return None
    try:
        return list(ZoneSet.parse(asked.zones, disk.nr_zones).ranges())
    except ZoneListError as error:
        raise Failure(f"{disk.path}: {error}") from error


def to_report(asked: Asked, disk: Layout) -> Runs:
    """Zones that ``report`` and ``capacity`` show: rounded outwards to whole zones, as blkzone
    does."""
    named = by_list(asked, disk)
    if named is not None:
        return named
    offset = (asked.offset or 0) << 9
    if offset >= disk.size:
        raise Failure(
            f"{disk.path}: offset {asked.offset} is not on the disk, which has"
            f" {counted(disk.size >> 9, 'sector')} of 512 bytes"
        )
    first = offset // disk.zone_size
    if asked.count:
        number = asked.count
    elif asked.length:
        number = -(-(asked.length << 9) // disk.zone_size)
    else:
        number = disk.nr_zones
    return [(first, min(number, disk.nr_zones - first))]


def to_manage(asked: Asked, disk: Layout) -> Runs:
    """Zones that a command changes: the sectors must be whole zones, but for the disk's end."""
    named = by_list(asked, disk)
    if named is not None:
        return named
    sectors = disk.size >> 9
    zone_sectors = disk.zone_size >> 9
    offset = asked.offset or 0
    if offset % zone_sectors:
        raise Failure(
            f"{disk.path}: offset {offset} is not aligned to the zone size of"
            f" {counted(zone_sectors, 'sector')}"
        )
    if offset >= sectors:
        raise Failure(
            f"{disk.path}: offset {offset} is not on the disk, which has"
            f" {counted(sectors, 'sector')} of 512 bytes"
        )
    if asked.count:
        wanted = asked.count * zone_sectors
    elif asked.length:
        wanted = asked.length
    else:
        wanted = sectors
    wanted = min(wanted, sectors - offset)
    if asked.length and wanted % zone_sectors and offset + wanted != sectors:
        raise Failure(
            f"{disk.path}: length {asked.length} is not aligned to the zone size of"
            f" {counted(zone_sectors, 'sector')}"
        )
    return [(offset // zone_sectors, -(-wanted // zone_sectors))]


def show(runs: Runs) -> str:
    """``zone 3``, ``zones 3-7,12``: for sentences."""
    if len(runs) == 1 and runs[0][1] == 1:
        return f"zone {runs[0][0]}"
    text = ",".join(str(f) if n == 1 else f"{f}-{f + n - 1}" for f, n in runs[:8])
    return f"zones {text}{',...' if len(runs) > 8 else ''}"
