"""``zonedctl info``: everything a disk tells about itself."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from zoned.cli import disk
from zoned.cli.app import example
from zoned.cli.documents import dumps
from zoned.cli.params import format_option, image_argument
from zoned.plaintext import for_terminal
from zoned.reportformats import CONDITION_NAMES
from zoned.units import both_sizes, counted, human_size

if TYPE_CHECKING:
    from zoned import Device, DiskInfo, Geometry, ZoneSet

JSON_VERSION = 1
#: So many ranges of zones are listed in text; JSON has all.
_SHOWN = 8

Rows = Iterator[tuple[str, str]]

_HOLDERS = {0x2: "implicit_open", 0x3: "explicit_open", 0x4: "closed"}


@click.command(
    "info",
    epilog=example(
        "zonedctl info disk.img",
        "zonedctl info disk.img --json | jq .resources",
        "zonedctl info disk.img --zone-counters",
    ),
)
@image_argument
@format_option("text", "json")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--zone-counters", is_flag=True, help="Add the counters of every zone that was ever used."
)
def info_command(image: str, form: str, as_json: bool, zone_counters: bool) -> None:
    """Tell what the disk IMAGE is: identity, geometry, limits, space, openers, counters.

    Limits come with the zones that hold the open and active resources. Counters count since the
    disk was made or the host last booted.
    """
    with disk.to_look(image) as device:
        facts = device.info()
        conditions, holders = _look(device)
        if as_json or form == "json":
            click.echo(dumps(_as_json(device, facts, conditions, holders, zone_counters), indent=2))
            return
        for name, text in _lines(device, facts, conditions, holders):
            sys.stdout.write(f"{name:13} {for_terminal(text)}\n")
        if zone_counters:
            _print_zone_counters(device)


def _look(device: Device) -> tuple[Counter[int], dict[int, list[int]]]:
    """How many zones are in each condition, and which hold resources. Nothing without power."""
    conditions: Counter[int] = Counter()
    holders: dict[int, list[int]] = {number: [] for number in _HOLDERS}
    if not device.powered:
        return conditions, holders
    for row in device.report().rows():
        conditions[row[7]] += 1
        if row[7] in holders:
            holders[row[7]].append(row[5])
    return conditions, holders


def _openers(device: Device) -> tuple[list[dict[str, Any]], bool]:
    openers = device.openers
    others = [opener for opener in openers if opener.pid != os.getpid()]
    listed = [
        {
            "pid": opener.pid,
            "command": opener.command,
            "mode": opener.mode,
            "handles": opener.handles,
        }
        for opener in others
    ]
    return listed, openers.complete


def _as_json(
    device: Device,
    facts: DiskInfo,
    conditions: Counter[int],
    holders: dict[int, list[int]],
    zone_counters: bool,
) -> dict[str, Any]:
    openers, complete = _openers(device)
    document: dict[str, Any] = {"info": JSON_VERSION} | facts.as_dict()
    document["conditions"] = {CONDITION_NAMES[c]: n for c, n in sorted(conditions.items())}
    document["resources"] = {
        "open": sorted(holders[0x2] + holders[0x3]),
        "active": sorted(holders[0x2] + holders[0x3] + holders[0x4]),
    } | {name: holders[number] for number, name in _HOLDERS.items()}
    if device.geometry.zrwa_size:
        document["write_areas"] = disk.write_areas(device)
    document["power"] = device.powered
    document["power_tracking"] = device.power_tracking
    document["faults"] = len(device.faults)
    document["openers"] = openers
    document["openers_complete"] = complete
    document["exports"] = _exports(device)
    document["counters"] = device.counters.as_dict()
    if zone_counters:
        document["zone_counters"] = [{"zone": zone} | counts for zone, counts in _used(device)]
    return document


def _exports(device: Device) -> list[dict[str, Any]]:
    """Exports of this user that serve the disk: see zoned.export.registry."""
    if device.path is None:
        return []
    from zoned.export import registry

    return [one for one in registry.running() if registry.uses(one, device.path)]


def _export_lines(device: Device) -> Rows:
    for one in _exports(device):
        from zoned.cli.export import describe_session
        from zoned.export import registry

        if one["kind"] == "ublk":
            from zoned.cli.exportublk import describe_traffic

            yield "exported", f"as {one['path']} by pid {one['pid']}"
            yield "", describe_traffic(one)
            continue
        yield "exported", f"{one['kind']} at {', '.join(one['addresses'])} by pid {one['pid']}"
        for target in one["targets"]:
            numbers = registry.numbers(target, str(device.path))
            if not numbers:  # of other disks
                continue
            word, _ = registry.places(target)
            yield "", f"{word} {', '.join(numbers)} of {registry.name(target)}"
            for session in target["sessions"]:
                yield "", describe_session(session)


def _used(device: Device) -> Iterator[tuple[int, dict[str, int]]]:
    """(zone, counters) of every zone with a counter that is not 0."""
    for zone, counters in enumerate(device.counters.zones()):
        counts = counters.as_dict()
        if any(counts.values()):
            yield zone, counts


def _zones(zones: ZoneSet) -> str:
    text = str(zones)
    parts = text.split(",")
    if len(parts) > _SHOWN:
        text = (
            ",".join(parts[:_SHOWN]) + f",... ({len(parts) - _SHOWN} more ranges; --json has all)"
        )
    return f"zone {text}" if len(zones) == 1 else f"zones {text}"


def _held(kinds: dict[int, list[int]], limit: int) -> str:
    from zoned import ZoneSet

    count = sum(len(zones) for zones in kinds.values())
    parts = [
        f"{_HOLDERS[number].replace('_', '-')} {_zones(ZoneSet.of(zones))}"
        for number, zones in kinds.items()
        if zones
    ]
    text = f"{count} of at most {limit}" if limit else f"{count}, no limit"
    return text + (f": {'; '.join(parts)}" if parts else "")


def _lines(
    device: Device, facts: DiskInfo, conditions: Counter[int], holders: dict[int, list[int]]
) -> Rows:
    """Name and text, a line each."""
    from zoned import ZoneSet

    geometry = facts.geometry
    yield "image", f"{facts.path}, format version {facts.version}"
    yield "uuid", str(facts.uuid)
    yield "created", f"{facts.created:%Y-%m-%d %H:%M:%S} UTC, profile {facts.profile}"
    if facts.pace != "none":
        yield "pace", f"{facts.pace}: commands take the time of {facts.profile}"
    yield from _geometry_lines(geometry)
    listed = ", ".join(f"{n} {CONDITION_NAMES[c]}" for c, n in sorted(conditions.items()))
    yield "conditions", listed or "not to be seen without power"
    opened = {number: holders[number] for number in (0x3, 0x2)}
    closing = f"; implicit close: {geometry.implicit_close}" if geometry.max_open else ""
    yield "open", _held(opened, facts.limits.max_open) + closing
    yield "active", _held(opened | {0x4: holders[0x4]}, facts.limits.max_active)
    if geometry.zrwa_size:
        areas = disk.write_areas(device)
        where = f": {_zones(ZoneSet.of(areas))}" if areas else ""
        yield "write areas", f"{len(areas)} of at most {geometry.zrwa_count}{where}"
    taken, length = human_size(facts.file_blocks), human_size(facts.file_size)
    yield "space", f"{taken} on the host (length of the file {length})"
    slots = f"{facts.slots_used} in use, {facts.slots_free} free, {facts.slots_pending} waiting"
    yield "slots", f"{slots} for a sync; of {human_size(facts.slot_size)} each"
    yield "host sync", str(geometry.host_sync)
    yield "state", _state(facts)
    yield "power", "on" if device.powered else "cut: zonedctl power on gives it back"
    rules = len(device.faults)
    yield "faults", f"{counted(rules, 'rule')} set" if rules else "none set"
    openers, complete = _openers(device)
    for opener in openers:
        yield "opened by", f"pid {opener['pid']} ({opener['mode']}): {opener['command']}"
    if not openers:
        yield "opened by", "nobody else" if complete else "nobody that this user can see"
    elif not complete:
        yield "opened by", "perhaps others: not all processes can be seen by this user"
    yield from _export_lines(device)
    yield from _counter_lines(device)


def _geometry_lines(geometry: Geometry) -> Rows:
    payload = "kept" if geometry.data == "store" else "not kept"
    yield "kind", f"{geometry.dialect} {geometry.model}, payload {payload}"
    yield "size", f"{both_sizes(geometry.size)}, {counted(geometry.size >> 9, 'sector')} of 512"
    zones = f"{geometry.nr_zones} of {both_sizes(geometry.zone_size)}"
    if geometry.zone_capacity != geometry.zone_size:
        zones += f", capacity {both_sizes(geometry.zone_capacity)}"
    if geometry.last_zone_size != geometry.zone_size:
        zones += f", the last one {both_sizes(geometry.last_zone_size)}"
    yield "zones", zones
    if geometry.nr_conventional:
        yield "conventional", f"{geometry.nr_conventional}: {_zones(geometry.conventional)}"
    else:
        yield "conventional", "none"
    yield "blocks", f"{geometry.logical_block} logical, {geometry.physical_block} physical"
    may = "may" if geometry.unrestricted_read else "must not"
    yield "reads", f"{may} cross zones and pass write pointers"
    yield "append limit", both_sizes(geometry.append_limit)
    if geometry.zone_extension:
        yield "extension", f"{both_sizes(geometry.zone_extension)}, with each zone's descriptor"
    if geometry.zrwa_size:
        granule = both_sizes(geometry.zrwa_granularity)
        yield "write area", f"{both_sizes(geometry.zrwa_size)}, committed by {granule} (ZRWA)"
    reasons = "; ".join(geometry.linux_acceptable)
    accepted = f"would refuse this layout: {reasons}" if reasons else "would accept this layout"
    yield "Linux", accepted
    for remark in geometry.remarks:
        yield "note", remark


def _state(facts: DiskInfo) -> str:
    if facts.failed:
        return "a sync to the host's disk failed: run zonedctl check"
    return "clean" if facts.clean else "not closed cleanly"


def _counter_lines(device: Device) -> Rows:
    counters = device.counters
    read, written = human_size(counters.bytes_read), human_size(counters.bytes_written)
    moved = (
        f"{counted(counters.reads, 'read')} ({read}),"
        f" {counted(counters.writes, 'write')} and {counted(counters.appends, 'append')}"
    )
    yield "counters", f"{moved} ({written}), {counted(counters.flushes, 'flush', 'flushes')}"
    managed = (
        counted(counters.opens, "open"),
        counted(counters.closes, "close"),
        counted(counters.resets, "reset"),
    )
    yield "", ", ".join(managed)
    wasted = human_size(counters.finish_wasted)
    finishes = counted(counters.finishes, "finish", "finishes")
    yield "", f"{finishes} ({wasted} of capacity given up)"
    implicit = counted(counters.implicit_opens, "implicit open")
    yield "", f"{implicit}, {counted(counters.implicit_closes, 'implicit close')}"
    most = f"{counted(counters.max_open_seen, 'zone')} open, {counters.max_active_seen} active"
    yield "", f"at most {most} at once"
    errors = {rule: number for rule, number in counters.errors.items() if number}
    if errors:
        yield "errors", ", ".join(f"{number} {rule}" for rule, number in errors.items())


def _print_zone_counters(device: Device) -> None:
    columns = None
    for zone, counts in _used(device):
        if columns is None:
            columns = list(counts)
            sys.stdout.write(f"\n{'zone':>7} {' '.join(f'{name:>15}' for name in columns)}\n")
        sys.stdout.write(f"{zone:7} {' '.join(f'{counts[name]:15}' for name in columns)}\n")
    if columns is None:
        sys.stdout.write("\nno zone was ever used\n")
