"""``zonedctl reset``, ``open``, ``close``, ``finish`` and ``set-condition``: commands that change
zones.

What they act on when no zone is named is decided as in blkzone: the whole disk, ``reset`` as one
RESET ALL, the others zone after zone. ``--all`` is the ALL form of the command, which passes over
zones it does not concern.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from zoned._core.looking import zone_written
from zoned.cli import disk
from zoned.cli.app import Failure, echo, example, stopped
from zoned.cli.ask import confirm, on_terminal
from zoned.cli.params import (
    NATURAL,
    SETTABLE,
    SIZE,
    F,
    dry_run_option,
    force_option,
    image_argument,
    range_options,
    verbose_option,
)
from zoned.cli.select import Asked, Runs, show, to_manage
from zoned.reportformats import CONDITION_NAMES, ZONE
from zoned.units import counted, human_size, were

if TYPE_CHECKING:
    from zoned import Device

_EMPTY, _READ_ONLY, _FULL, _OFFLINE = 0x1, 0xD, 0xE, 0xF
_DEAD = (_READ_ONLY, _OFFLINE)
_CONVENTIONAL = 1
_COUNTERS = {"reset": "resets", "open": "opens", "close": "closes", "finish": "finishes"}


@dataclass(frozen=True)
class Job:
    """One command on some zones of a disk."""

    image: str
    verb: str
    done: str
    """The verb's past: what was done to zones."""
    runs: Runs
    act: Callable[[Device, int, int], object]
    act_all: Callable[[Device], object] | None = None
    """The ALL form, used instead of one call per run."""
    whole: bool = False
    """No zone was named: the whole disk is meant."""
    condition: int | None = None
    """The condition that set-condition makes."""
    tally: Callable[[Device], int] = lambda _: 0
    """A number that grows by one with each zone that the command was done to."""

    def run(self, device: Device) -> None:
        """Do it. A refusal names the zone, and what was done before it stays done."""
        from zoned import ConventionalZoneError, ZonedError

        if self.act_all is not None:
            self.act_all(device)
            return
        before = 0
        for first, count in self.runs:
            try:
                self.act(device, first, count)
            except ZonedError as error:
                if error.zone is not None and first <= error.zone < first + count:
                    before += error.zone - first
                text = str(error)
                if before:
                    zones = f"{counted(before, 'zone')} before it {were(before)}"
                    text += f"; {zones} {self.done}"
                if self.whole and isinstance(error, ConventionalZoneError):
                    text += "; --all passes over conventional zones"
                raise Failure(text) from error
            before += count

    def run_and_tell(self, device: Device) -> None:
        """As `run`; what interrupts it says how far it got."""
        before = self.tally(device)
        try:
            self.run(device)
        except KeyboardInterrupt as error:
            raise stopped(error, self._got_to(device, before)) from error

    def _got_to(self, device: Device, before: int) -> str:
        done = self.tally(device) - before
        if self.act_all is not None:  # how many it concerns is known to nobody beforehand
            return f"{counted(done, 'zone')} {were(done)} {self.done}"
        number = sum(count for _, count in self.runs)
        return f"{done} of {counted(number, 'zone')} {were(done)} {self.done}"

    def loses(self, kind: int, before: int, written: int) -> int:
        """Bytes of data that a zone of a type, in a condition, with that much written, would
        lose."""
        if self.verb == "reset":
            passed = kind == _CONVENTIONAL or before in _DEAD
            return 0 if passed else written
        if self.condition == _OFFLINE:
            return 0 if before == _OFFLINE else written
        if self.condition == _EMPTY:
            kept = kind == _CONVENTIONAL and before != _OFFLINE
            return 0 if kept else written
        return 0


def _measure(job: Job, device: Device) -> tuple[int, int]:
    """Bytes of data that would go, and in how many zones."""
    lost = zones = 0
    for batch in disk.batches(device, job.runs):
        for zone in ZONE.iter_unpack(batch):
            if zone[7] == _EMPTY:
                continue
            here = job.loses(zone[6], zone[7], zone_written(device, zone[5]))
            lost += here
            zones += here > 0
    return lost, zones


def _ask(job: Job, device: Device, whole: bool, force: bool) -> None:
    """The question before data goes, or before a command meets the whole disk."""
    if force or not on_terminal():
        return
    lost, zones = _measure(job, device)
    number = sum(count for _, count in job.runs)
    if not lost and not whole and job.condition is None:
        return
    what = (
        f"{job.verb.capitalize()} {'all ' if whole else ''}{counted(number, 'zone')} of {job.image}"
    )
    if job.condition is not None:
        what = f"Make {counted(number, 'zone')} of {job.image} {CONDITION_NAMES[job.condition]}"
    loss = f" {human_size(lost)} of data in {counted(zones, 'zone')} will be lost." if lost else ""
    others = [opener for opener in device.openers if opener.pid != os.getpid()]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        loss += f" Process {others[0].pid} ({others[0].command}){more} has it open."
    confirm(f"{what}?{loss}", force)


def _do(job: Job, *, whole: bool, dry_run: bool, force: bool, verbose: bool) -> int:
    if dry_run:
        with disk.to_look(job.image) as device:
            return _pretend(job, device)
    with disk.to_change(job.image) as device:
        _ask(job, device, whole, force)
        job.run_and_tell(device)
    if verbose:
        echo(f"{job.image}: {job.done} {show(job.runs)}", err=True)
    return 0


def _pretend(job: Job, device: Device) -> int:
    """Try the command on a copy of the disk's state, and tell what came of it."""
    from zoned import ZonedError
    from zoned.archive import clone_state

    refusal: Exception | None = None
    with clone_state(device) as copy:
        try:
            job.run(copy)
        except (ZonedError, Failure) as error:
            refusal = error
        lost = _tell(job, device, copy)
        others = _others(job, device, copy)
    if others:
        click.echo(f"{counted(others, 'zone')} more would change, to make room for open zones")
    if refusal is not None:
        message = refusal.message if isinstance(refusal, Failure) else str(refusal)
        raise Failure(f"it would be refused: {message}")
    click.echo(f"{human_size(lost)} of data would be lost" if lost else "no data would be lost")
    return 0


def _tell(job: Job, device: Device, copy: Device) -> int:
    """One line per zone, equal neighbours without data on one line; bytes of data that would go."""
    total = 0

    def outcomes() -> Any:
        for old, new in zip(
            disk.batches(device, job.runs), disk.batches(copy, job.runs), strict=True
        ):
            for a, b in zip(ZONE.iter_unpack(old), ZONE.iter_unpack(new), strict=True):
                written = 0 if a[7] == _EMPTY else zone_written(device, a[5])
                same = a[3] == b[3] and a[6:] == b[6:]
                lost = 0 if same else job.loses(a[6], a[7], written)
                # Zones that lose data stand alone; the others are merged with neighbours like them.
                yield a[5], (a[7], b[7], same, lost, a[5] if lost else -1)

    for (before, after, same, lost, _), group in groupby(outcomes(), key=lambda item: item[1]):
        zones = [index for index, _ in group]
        name = f"zone {zones[0]}" if len(zones) == 1 else f"zones {zones[0]}-{zones[-1]}"
        what = (
            f"{CONDITION_NAMES[before]}, unchanged"
            if same
            else f"{CONDITION_NAMES[before]} -> {CONDITION_NAMES[after]}"
        )
        loss = f", {counted(lost, 'byte')} of data lost" if lost else ""
        sys.stdout.write(f"{name}: {what}{loss}\n")
        total += lost
    return total


def _others(job: Job, device: Device, copy: Device) -> int:
    """How many zones beyond the named ones would change (implicitly open ones that are closed)."""
    if job.verb != "open":
        return 0
    named = {zone for first, count in job.runs for zone in range(first, first + count)}
    everything = [(0, device.geometry.nr_zones)]
    changed = 0
    for old, new in zip(
        disk.batches(device, everything), disk.batches(copy, everything), strict=True
    ):
        if old == new:
            continue
        for a, b in zip(ZONE.iter_unpack(old), ZONE.iter_unpack(new), strict=True):
            changed += a[7] != b[7] and a[5] not in named
    return changed


def _all_option(verb: str) -> Callable[[F], F]:
    return click.option(
        "--all",
        "all_zones",
        is_flag=True,
        help=f"{verb.upper()} ALL: every zone that the command concerns, the others passed over.",
    )


def _zrwa_option(verb: str) -> Callable[[F], F]:
    if verb != "open":
        return lambda command: command
    return click.option(
        "--zrwa", is_flag=True, help="Each zone gets a random write area (zns); name the zones."
    )


def _command(verb: str, done: str, text: str, examples: tuple[str, ...]) -> click.Command:
    @click.command(verb, help=text, epilog=example(*examples))
    @image_argument
    @range_options
    @_all_option(verb)
    @_zrwa_option(verb)
    @dry_run_option
    @force_option
    @verbose_option
    def command(
        image: str,
        offset: int | None,
        length: int | None,
        count: int | None,
        zones: str | None,
        all_zones: bool,
        dry_run: bool,
        force: bool,
        verbose: bool,
        zrwa: bool = False,
    ) -> int:
        asked = Asked(offset, length, count, zones, all_zones)
        if zrwa and (asked.nothing or all_zones):
            raise click.UsageError("--zrwa is for named zones: --zones, or -o, -l and -c")
        with disk.to_look(image) as device:
            at = disk.layout(device, image)
        runs = [(0, at.nr_zones)] if all_zones else to_manage(asked, at)
        # As the kernel: a reset of the whole disk by sectors is one RESET ALL.
        everything = verb == "reset" and zones is None and runs == [(0, at.nr_zones)]
        act_all: Callable[[Device], object] | None = None
        if all_zones or everything:

            def act_all(device: Device) -> object:
                return getattr(device, f"{verb}_all")()

        def act(device: Device, first: int, number: int) -> object:
            if not zrwa:
                return getattr(device, f"{verb}_zone")(first, number)
            for zone in range(first, first + number):
                device.open_zone_zrwa(zone)
            return None

        def tally(device: Device) -> int:
            return int(getattr(device.counters, _COUNTERS[verb]))

        job = Job(image, verb, done, runs, act, act_all, asked.nothing, tally=tally)
        whole = all_zones or asked.nothing
        return _do(job, whole=whole, dry_run=dry_run, force=force, verbose=verbose)

    return command


_WHOLE = """

    Without zones it acts on the whole disk, as blkzone does, and on a terminal asks first.
    -o, -l and -c mean what they mean to blkzone: whole zones, 512-byte sectors."""

reset_command = _command(
    "reset",
    "reset",
    "Reset zones of the disk IMAGE: they are empty again and their data is gone." + _WHOLE,
    (
        "zonedctl reset disk.img --zones 3-7,12",
        "zonedctl reset disk.img --zones 3 --dry-run",
        "zonedctl reset disk.img -o 0x4000 -c 2",
    ),
)
open_command = _command(
    "open",
    "opened",
    "Open zones of the disk IMAGE explicitly: they stay open until they are closed or full."
    + _WHOLE,
    (
        "zonedctl open disk.img --zones 3,5",
        "zonedctl open disk.img -o 0x4000 -c 1",
        "zonedctl open disk.img --zones 3 --zrwa",
    ),
)
close_command = _command(
    "close",
    "closed",
    "Close open zones of the disk IMAGE: they give back their open resource." + _WHOLE,
    ("zonedctl close disk.img --all", "zonedctl close disk.img --zones 3"),
)
finish_command = _command(
    "finish",
    "finished",
    "Finish zones of the disk IMAGE: they are full, and what was not written of them stays unused"
    " until a reset." + _WHOLE,
    ("zonedctl finish disk.img --zones 3", "zonedctl finish disk.img --all --dry-run"),
)


@click.command(
    "set-condition",
    epilog=example(
        "zonedctl set-condition disk.img read-only --zones 7",
        "zonedctl set-condition disk.img offline --zones 8-9",
        "zonedctl set-condition disk.img empty --zones 7-9",
    ),
)
@image_argument
@click.argument("condition", type=SETTABLE)
@range_options
@dry_run_option
@force_option
@verbose_option
def set_condition_command(
    image: str,
    condition: frozenset[int],
    offset: int | None,
    length: int | None,
    count: int | None,
    zones: str | None,
    dry_run: bool,
    force: bool,
    verbose: bool,
) -> int:
    """Make zones of the disk IMAGE read-only or offline, as a dying head does, or good again.

    CONDITION is read-only (ro), offline (of, ol), or empty (em), which brings a zone back without
    its data. A conventional zone comes back as it was before it went read-only. The zones must be
    named.
    """
    from zoned import ZoneCondition

    if len(condition) != 1 or not condition <= SETTABLE.offered:
        raise click.UsageError("the condition must be one of read-only, offline, empty")
    asked = Asked(offset, length, count, zones)
    if asked.nothing:
        raise click.UsageError("name the zones, with --zones or with -o, -l and -c")
    (wanted,) = condition
    with disk.to_look(image) as device:
        runs = to_manage(asked, disk.layout(device, image))

    made = 0

    def act(device: Device, first: int, number: int) -> None:
        nonlocal made
        for zone in range(first, first + number):
            device.set_condition(zone, ZoneCondition(wanted))
            made += 1

    done = f"made {CONDITION_NAMES[wanted]}"
    job = Job(image, "set-condition", done, runs, act, condition=wanted, tally=lambda _: made)
    return _do(job, whole=False, dry_run=dry_run, force=force, verbose=verbose)


@click.command(
    "flush-zone",
    epilog=example(
        "zonedctl flush-zone disk.img --zone 3", "zonedctl flush-zone disk.img --zone 3 --size 64K"
    ),
)
@image_argument
@click.option("--zone", type=NATURAL, required=True, metavar="N", help="The zone.")
@click.option(
    "--size",
    type=SIZE,
    metavar="SIZE",
    help="Bytes from its write pointer on, in whole granules; without: all that was written.",
)
@verbose_option
def flush_zone_command(image: str, zone: int, size: int | None, verbose: bool) -> int:
    """Commit the beginning of a zone's random write area: its write pointer moves behind it, and
    what is committed is durable (Flush Explicit ZRWA Range of ZNS; an explicit commit).
    """
    with disk.to_change(image) as device:
        area = device.write_area(zone)
        granule = device.geometry.zrwa_granularity
        start = 0 if area is None else area.start
        wanted = -(-len(area or ()) // (granule or 1)) * granule if size is None else size
        if area is not None and not wanted:
            raise Failure(f"nothing was written in the random write area of zone {zone}")
        device.commit_zone(zone, start + wanted)
    if verbose:
        echo(f"{image}: committed {counted(wanted, 'byte')} of zone {zone}", err=True)
    return 0
