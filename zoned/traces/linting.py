"""Which commands of a trace a host-managed disk would refuse, why, how often, and in which zones.

The judge is the disk itself: every command is given to one in RAM that keeps no data, with the
geometry asked for. There is no second book of rules. Reads every kind of trace
that zoned.traces.sources knows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zoned._core.native import lib
from zoned.geometry import DataMode, Geometry, HostSync
from zoned.traces.packed import TraceError
from zoned.traces.records import DATA, TraceRecord
from zoned.traces.replaying import Notes, Performer, prepare_zones
from zoned.traces.sources import Source, open_source

if TYPE_CHECKING:
    from zoned.device import Device


@dataclass(slots=True)
class Refusals:
    """One rule that commands would break."""

    rule: str
    first: int
    """Number of the first command that breaks it, from 0 on."""
    sentence: str
    """Why that one is refused."""
    count: int = 0
    zones: Counter[int | None] = field(default_factory=Counter)
    """How often in which zone; None: beyond the disk."""


@dataclass(slots=True)
class LintReport:
    """What ``lint`` found."""

    format: str
    geometry: Geometry
    commands: int = 0
    """Commands that were judged."""
    skipped: int = 0
    """Commands that could not be: made to fail by a fault rule or the host, or trims of a part of a
    zone.
    """
    refused: dict[str, Refusals] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    cut: str | None = None
    """Where the trace ends too early, in a sentence; None if it does not."""

    @property
    def refusals(self) -> int:
        """Commands that would be refused."""
        return sum(item.count for item in self.refused.values())

    @property
    def clean(self) -> bool:
        """Whether none would be."""
        return not self.refused

    def as_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "lint": 1,
            "format": self.format,
            "commands": self.commands,
            "skipped": self.skipped,
            "refused": self.refusals,
            "rules": [
                {
                    "rule": item.rule,
                    "refused": item.count,
                    "first": item.first,
                    "why": item.sentence,
                    "zones": [
                        {"zone": zone, "refused": count} for zone, count in zones_in_order(item)
                    ],
                }
                for item in self.refused.values()
            ],
            "notes": self.notes,
            "cut": self.cut,
        }


def zones_in_order(item: Refusals) -> list[tuple[int | None, int]]:
    """Zones ascending, with how often; what lies beyond the disk last."""
    return sorted(item.zones.items(), key=lambda pair: (pair[0] is None, pair[0] or 0))


def lint(
    path: str | os.PathLike[str],
    geometry: Geometry | None = None,
    *,
    form: str | None = None,
    device: str | None = None,
    action: str = "D",
    partial: bool = False,
) -> LintReport:
    """Judge a trace by the rules of a disk of this geometry.

    ``geometry``: None takes that of the recorded disk, which only zoned's own traces tell.
    ``form``: one of ALL_FORMATS; None: told by the content. ``device``: of a trace with several the
    one: "8,16" in blkparse's, the file's name in an iolog, else the number of a volume. ``action``:
    of blkparse's lines, those to take (D: issued to the drive; Q: queued). ``partial``: a trace of
    zoned's own that is cut off is judged up to there, and ``cut`` of the report says it.

    Raises TraceError for a trace that cannot be read, or a geometry that is not told; TraceCutError
    for one of zoned's own that is cut off.
    """
    return judge(open_source(path, form, action=action, device=device, partial=partial), geometry)


def judge(source: Source, geometry: Geometry | None = None) -> LintReport:
    """As lint, of a trace that is open."""
    from zoned.device import create_from

    wanted = geometry or source.geometry
    if wanted is None:
        raise TraceError(
            f"{source.path}: a trace of format {source.format} does not tell which disk it is for: "
            "name a profile or a geometry"
        )
    disk = create_from(
        None,
        replace(wanted, data=DataMode.NONE, host_sync=HostSync.NEVER),
        replace=False,
    )
    with disk:
        report = LintReport(source.format, disk.geometry)
        same = geometry is None or _alike(geometry, source.geometry)
        if same:
            prepare_zones(disk, source.before)
        elif source.before:
            report.notes.append(
                "the recording began with zones in use, on another kind of disk: here all begin "
                "empty"
            )
        _judge(disk, source.commands(disk.geometry), report)
        report.notes.close()
        report.notes += source.notes
        report.skipped += source.skipped
    report.cut = source.cut
    return report


def _alike(one: Geometry, other: Geometry | None) -> bool:
    names = ("size", "zone_size", "zone_capacity", "conventional", "model")
    return other is not None and all(getattr(one, name) == getattr(other, name) for name in names)


def _judge(disk: Device, commands: Iterable[TraceRecord], report: LintReport) -> None:
    performer = Performer(disk)
    for item in commands:
        why = performer.leave_out(item)
        if why is not None:
            report.skipped += 1
            report.notes.add([why] if why else [])
            continue
        report.commands += 1
        outcome = performer.give(item)
        report.notes.add(performer.doubt(item))
        if outcome.code == 0:
            continue
        if outcome.code > lib.ZD_E_FIRST_RULE:
            raise TraceError(
                f"command {item.number}: the host failed while it was judged ({outcome.result})"
            )
        rule = outcome.result
        zone = outcome.zone if item.zone is None or item.command in DATA else item.zone
        known = report.refused.get(rule)
        if known is None:
            known = Refusals(rule, item.number, performer.sentence(outcome.code))
            report.refused[rule] = known
        known.count += 1
        known.zones[zone if zone is None or zone < disk.geometry.nr_zones else None] += 1
