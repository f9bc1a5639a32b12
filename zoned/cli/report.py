"""``zonedctl report`` and ``zonedctl capacity``."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import click

from zoned._core.looking import zone_written
from zoned.cli import disk
from zoned.cli.app import example
from zoned.cli.ask import colours
from zoned.cli.documents import dumps, listing
from zoned.cli.params import CONDITIONS, TYPES, format_option, image_argument, range_options
from zoned.cli.select import Asked, Runs, to_report
from zoned.reportformats import (
    CSV_HEADER,
    JSON_VERSION,
    JSONL_VERSION,
    TEXT_HEADER,
    ZBD_HEADER,
    ZONE,
    Formatter,
    blkzone,
    csv,
    jsonl,
    keep,
    text,
    zbd,
)

if TYPE_CHECKING:
    from zoned import Device

_FULL = 0xE
_BATCH_FORMATS: dict[str, Formatter] = {
    "text": text,
    "json": jsonl,
    "jsonl": jsonl,
    "csv": csv,
    "blkzone": blkzone,
    "zbd": zbd,
}
_HEADERS = {"text": TEXT_HEADER, "csv": CSV_HEADER, "zbd": ZBD_HEADER}


@click.command(
    "report",
    epilog=example(
        "zonedctl report disk.img --condition oi,oe,cl",
        "zonedctl report disk.img -o 0x4000 -c 2 --format blkzone",
        "zonedctl report disk.img --format json | jq -c '.zones[] | select(.condition==\"full\")'",
        "zonedctl report disk.img --format jsonl | head -n 3",
    ),
)
@image_argument
@range_options
@click.option(
    "--condition",
    type=CONDITIONS,
    multiple=True,
    metavar="NAMES",
    help="Only zones in these conditions, full or short names: empty, em, oi,oe,cl.",
)
@click.option(
    "--type",
    "kinds",
    type=TYPES,
    multiple=True,
    metavar="NAMES",
    help="Only zones of these types: conventional (cnv), swr, swp.",
)
@format_option("text", "json", "jsonl", "csv", "blkzone", "zbd")
@click.option(
    *("-v", "--verbose"),
    is_flag=True,
    help="With --format blkzone: say how many zones each request found, as blkzone -v.",
)
def report_command(
    image: str,
    offset: int | None,
    length: int | None,
    count: int | None,
    zones: str | None,
    condition: tuple[frozenset[int], ...],
    kinds: tuple[frozenset[int], ...],
    form: str,
    verbose: bool,
) -> None:
    """Report the zones of the disk IMAGE.

    In text, START and WRITTEN are bytes. json is one document; jsonl is one object a line, the
    first one about the disk. blkzone and zbd are byte for byte what util-linux 2.38.1 and libzbd
    2.0.4 print. -o, -l and -c mean what they mean to blkzone: an offset within a zone begins with
    that zone, a length is rounded up to whole zones.
    """
    asked = Asked(offset, length, count, zones)
    conditions = frozenset[int]().union(*condition)
    types = frozenset[int]().union(*kinds)
    with disk.to_look(image) as device:
        runs = to_report(asked, disk.layout(device, image))
        if form == "json":
            pieces = listing(
                {"report": JSON_VERSION} | _about(device, image, "nr_zones"),
                "zones",
                _batches(device, runs, form, conditions, types),
            )
        else:
            sector = (asked.offset or 0) if zones is None else None
            pieces = chain(
                [_head(device, image, form)],
                _batches(device, runs, form, conditions, types, verbose, sector),
            )
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()


def _about(device: Device, image: str, count: str) -> dict[str, object]:
    """What a JSON report tells of the disk; ``count`` is what it calls the number of zones."""
    geometry = device.geometry
    return {
        "image": image,
        "uuid": str(device.info().uuid),
        "size": geometry.size,
        "zone_size": geometry.zone_size,
        count: geometry.nr_zones,
    }


def _head(device: Device, image: str, form: str) -> str:
    """What stands before the zones."""
    if form == "jsonl":
        return dumps({"report": JSONL_VERSION} | _about(device, image, "zones")) + "\n"
    return _HEADERS.get(form, "")


def _batches(
    device: Device,
    runs: Runs,
    form: str,
    conditions: frozenset[int],
    types: frozenset[int],
    verbose: bool = False,
    sector: int | None = None,
) -> Iterator[str]:
    """The zones as text, a batch at a time; ``sector`` is where blkzone's requests begin."""
    make = _BATCH_FORMATS[form]
    if form == "text":
        make = partial(text, colour=colours(), areas=disk.write_areas(device))
    # null_blk tells a zone filled by writes (wp at its capacity) from a finished one (wp at its
    # end).
    as_null_blk = form in ("blkzone", "zbd") and device.geometry.dialect == "nullblk"
    for batch in disk.batches(device, runs):
        if verbose and form == "blkzone":
            sector = write_found(batch, sector)
        kept = keep(batch, conditions, types)
        yield make(_filled(device, kept) if as_null_blk else kept)


def _filled(device: Device, batch: bytes) -> bytes:
    """The batch with a write pointer in zones that are full because they were written to their
    capacity."""
    changed = bytearray(batch)
    for number, row in enumerate(ZONE.iter_unpack(batch)):
        start, length, capacity, index, condition = *row[:3], row[5], row[7]
        if condition == _FULL and capacity < length and zone_written(device, index) == capacity:
            struct.pack_into("=Q", changed, number * ZONE.size + 24, start + capacity)
    return bytes(changed)


def write_found(batch: bytes, sector: int | None) -> int:
    """blkzone's line about one request, which begins at ``sector`` (None: at its first zone)."""
    if sector is None:
        sector = int(ZONE.unpack_from(batch)[0]) >> 9
    sys.stdout.write(f"Found {len(batch) // ZONE.size} zones from {sector:#x}\n")
    last = ZONE.unpack_from(batch, len(batch) - ZONE.size)
    return int(last[0] + last[1]) >> 9


@click.command(
    "capacity",
    epilog=example("zonedctl capacity disk.img", "zonedctl capacity disk.img -o 0x4000 -c 8"),
)
@image_argument
@range_options
@click.option(
    *("-v", "--verbose"), is_flag=True, help="Say how many zones each request found, as blkzone -v."
)
def capacity_command(
    image: str,
    offset: int | None,
    length: int | None,
    count: int | None,
    zones: str | None,
    verbose: bool,
) -> None:
    """Print the sum of the zones' capacities of the disk IMAGE, as blkzone capacity does.

    The sum is in 512-byte sectors, in hex.
    """
    asked = Asked(offset, length, count, zones)
    with disk.to_look(image) as device:
        sector = (asked.offset or 0) if zones is None else None
        total = 0
        for batch in disk.batches(device, to_report(asked, disk.layout(device, image))):
            if verbose:
                sector = write_found(batch, sector)
            total += sum(zone[2] for zone in ZONE.iter_unpack(batch))
    click.echo(f"0x{total >> 9:09x}")
