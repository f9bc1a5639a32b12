"""What a program did to the disks of a run: commands, refusals with their reasons, changed zones.

The first line answers the first question of everybody who is new to zoned storage: would this
program work on an SMR disk?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from zoned.counters import Counters
from zoned.device import Device
from zoned.units import counted, format_size

_SHOWN = 20
_NOT_ITS_OWN = ("medium-error", "power-loss", "command-timeout")
"""What no program does: the disk fails, because a fault rule says so."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that a disk refused."""

    disk: str
    rule: str
    """Name of the rule, such as "unaligned-write"; "host" where the host failed."""
    pid: int
    program: str
    sentence: str


@dataclass(frozen=True, slots=True)
class DiskReport:
    """One disk of a run. Counts are those of the run's time, of all openers of the disk."""

    name: str
    commands: Mapping[str, int]
    """Commands that succeeded by name: reads, writes, opens, ..."""
    bytes_read: int
    bytes_written: int
    finish_wasted: int
    errors: Mapping[str, int]
    """Refused commands by rule; only those that occurred."""
    before: Mapping[str, int]
    """Zones by condition when the run began."""
    after: Mapping[str, int]

    @property
    def write_amplification(self) -> float | None:
        """What the medium takes for each byte written: above 1 where zones were finished, whose
        rest is given up or filled; a zoned disk moves no data by itself. None: nothing was written.
        """
        if not self.bytes_written:
            return None
        return (self.bytes_written + self.finish_wasted) / self.bytes_written

    def lines(self) -> Iterator[str]:
        """The report's lines of this disk."""
        done = ", ".join(
            counted(number, _COMMANDS[name], name)
            for name, number in self.commands.items()
            if number
        )
        yield f"/dev/{self.name}: {done or 'no commands'}"
        yield (
            f"  read {format_size(self.bytes_read)}, written {format_size(self.bytes_written)}"
            + (
                f", given up by FINISH {format_size(self.finish_wasted)}"
                if self.finish_wasted
                else ""
            )
            + (
                ""
                if self.write_amplification is None
                else f", write amplification {self.write_amplification:.2f}"
            )
        )
        for rule, number in self.errors.items():
            yield f"  refused: {rule}, {counted(number, 'time')}"
        changed = [
            f"{name} {self.before.get(name, 0)} -> {self.after.get(name, 0)}"
            for name in dict.fromkeys([*self.before, *self.after])
            if self.before.get(name, 0) != self.after.get(name, 0)
        ]
        yield f"  zones: {', '.join(changed) or 'in the conditions that they were in'}"


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a program did."""

    disks: tuple[DiskReport, ...]
    refused: tuple[Refusal, ...]
    """In the order in which they came; the first 2,000."""

    @property
    def keeps_the_rules(self) -> bool:
        """Whether no disk refused anything."""
        return not self.refused and not any(disk.errors for disk in self.disks)

    @property
    def verdict(self) -> str:
        """One line: would it work on an SMR disk?"""
        faults = sum(disk.errors.get(rule, 0) for disk in self.disks for rule in _NOT_ITS_OWN)
        used = any(any(disk.commands.values()) for disk in self.disks)
        total = max(sum(sum(disk.errors.values()) for disk in self.disks), len(self.refused))
        if not used and not total:
            return "the program did nothing to the disk"
        total -= faults
        if total <= 0:
            met = f", and met {counted(faults, 'failure')} of the disk" if faults else ""
            return f"the program kept every rule of a zoned disk{met}"
        first = next((one.sentence for one in self.refused if one.rule not in _NOT_ITS_OWN), "")
        return f"the program broke rules of a zoned disk {counted(total, 'time')}" + (
            f", first: {first}" if first else ""
        )

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield self.verdict
        for disk in self.disks:
            yield from disk.lines()
        reasons = Counter((one.disk, one.program, one.sentence) for one in self.refused)
        for (name, program, text), number in list(reasons.items())[:_SHOWN]:
            yield f"  {program} on /dev/{name}: {text}" + (
                f" ({counted(number, 'time')})" if number > 1 else ""
            )
        if len(reasons) > _SHOWN:
            yield f"  and {counted(len(reasons) - _SHOWN, 'other reason')}"


@dataclass(frozen=True, slots=True)
class Look:
    """A disk at one moment."""

    counters: Counters
    conditions: Mapping[str, int]

    @classmethod
    def at(cls, device: Device) -> Look:
        """As it is now."""
        counts = Counter(zone.condition.name for zone in device.zones)
        return cls(device.counters, dict(sorted(counts.items())))


_COMMANDS = {
    "reads": "read",
    "writes": "write",
    "appends": "append",
    "opens": "open",
    "closes": "close",
    "finishes": "finish",
    "resets": "reset",
    "flushes": "flush",
}
"""Names of counts, and one of each."""


def compared(name: str, before: Look, after: Look) -> DiskReport:
    """What happened to a disk between two looks."""

    def more(field: str) -> int:
        return int(getattr(after.counters, field)) - int(getattr(before.counters, field))

    errors = {
        rule: number - before.counters.errors.get(rule, 0)
        for rule, number in after.counters.errors.items()
        if number > before.counters.errors.get(rule, 0)
    }
    return DiskReport(
        name=name,
        commands={field: more(field) for field in _COMMANDS},
        bytes_read=more("bytes_read"),
        bytes_written=more("bytes_written"),
        finish_wasted=more("finish_wasted"),
        errors=errors,
        before=before.conditions,
        after=after.conditions,
    )
