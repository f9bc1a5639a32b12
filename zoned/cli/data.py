"""``zonedctl read`` and ``zonedctl write``: payload from and to files and pipes.

A stream that is larger than a zone goes over several: ``--zones 3-9``, ``--count`` or ``--follow``.
It is written zone after zone, each from its write pointer on, and read back in the same order, each
up to its write pointer, so that what ``write`` took is what ``read`` gives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from zoned._core.looking import zone_written
from zoned.cli import disk
from zoned.cli.app import Failure, example, sentence, stopped
from zoned.cli.ask import say
from zoned.cli.files import fill, output, refuse_the_disk, remaining, source
from zoned.cli.params import (
    COUNT,
    SIZE,
    ZONE,
    ZONES,
    FilePath,
    force_option,
    image_argument,
    verbose_option,
)
from zoned.cli.progress import Meter
from zoned.cli.select import show
from zoned.reportformats import CONDITION_NAMES
from zoned.units import counted, were

if TYPE_CHECKING:
    from zoned import Device, Zone

_CHUNK = 1 << 20
_REQUIRED = 2


@dataclass(frozen=True)
class Place:
    """Where a command reads or writes: zones in order, or an offset."""

    zone: int | None
    zones: str | None
    offset: int | None
    count: int | None
    follow: bool

    def __post_init__(self) -> None:
        ways = [
            name
            for name, value in (
                ("--zone", self.zone),
                ("--zones", self.zones),
                ("--offset", self.offset),
            )
            if value is not None
        ]
        if not ways:
            raise click.UsageError("say where: --zone N, --zones LIST or --offset BYTES")
        if len(ways) > 1:
            raise click.UsageError(f"{ways[0]} and {ways[1]} exclude each other")
        if self.count is not None and self.zone is None:
            raise click.UsageError("--count goes with --zone")
        if self.follow and (self.zones is not None or self.count is not None):
            raise click.UsageError("--follow goes with --zone or --offset, without --count")

    def indices(self, device: Device, image: str) -> list[int]:
        """The zones, in order. Not for --offset."""
        from zoned import ZoneListError, ZoneSet

        nr_zones = device.geometry.nr_zones
        if self.zones is not None:
            try:
                return list(ZoneSet.parse(self.zones, nr_zones))
            except ZoneListError as error:
                raise Failure(f"{image}: {error}") from error
        assert self.zone is not None
        if self.zone >= nr_zones:
            raise Failure(
                f"{image}: zone {self.zone} does not exist: the disk has zones 0 to {nr_zones - 1}"
            )
        last = nr_zones if self.follow else self.zone + (self.count or 1)
        return list(range(self.zone, min(last, nr_zones)))


def _name(indices: list[int]) -> str:
    if len(indices) == 1:
        return show([(indices[0], 1)])
    if indices == list(range(indices[0], indices[-1] + 1)):
        return show([(indices[0], len(indices))])
    return show([(index, 1) for index in indices])


def _limit(zone: Zone) -> int:
    return zone.start + zone.capacity


# -------------------------------------------------------------------------------------------
# writing


@click.command(
    "write",
    epilog=example(
        "zonedctl write disk.img --zone 3 < file",
        "tar c src | zonedctl write disk.img --zone 3 --follow --pad",
        "zonedctl write disk.img block.bin --offset 8MiB",
        "zonedctl write disk.img log --zone 5 --append",
    ),
)
@image_argument
@click.argument("file", type=FilePath(dash=True), default="-")
@click.option("--zone", type=ZONE, metavar="N", help="Begin at this zone's write pointer.")
@click.option(
    "--zones", type=ZONES, metavar="LIST", help="Fill these zones in ascending order, such as 3-9."
)
@click.option(
    *("-c", "--count"),
    type=COUNT,
    metavar="ZONES",
    help="With --zone: fill at most this many zones.",
)
@click.option("--follow", is_flag=True, help="Go on in the next zones when one is full.")
@click.option(
    "--offset", type=SIZE, metavar="BYTES", help="Write at this byte of the disk, exactly."
)
@click.option("--length", type=SIZE, metavar="BYTES", help="Write at most this much of the input.")
@click.option(
    "--append",
    is_flag=True,
    help="Use zone append, and print where the data landed: offset and length in bytes.",
)
@click.option(
    "--pad", is_flag=True, help="Fill the last block with zeros if the input ends within it."
)
@verbose_option
def write_command(
    image: str,
    file: str,
    length: int | None,
    append: bool,
    pad: bool,
    verbose: bool,
    **where: Any,
) -> None:
    """Write FILE (standard input by default) to the disk IMAGE.

    A sequential zone is written from its write pointer on, a conventional one from its start. With
    several zones the first that is not full is where it begins, and each one after that must be
    empty. A file that does not fit is refused before anything is written.
    """
    place = Place(**where)
    if append and place.offset is not None:
        raise click.UsageError("--append and --offset exclude each other")
    if file == "-" and sys.stdin.isatty():
        say(verbose, "reading from the terminal; Ctrl-D ends the input")
    if file != "-":
        refuse_the_disk(file, image, "the input")
    with ExitStack() as stack:
        stream = stack.enter_context(source(file))
        device = stack.enter_context(disk.to_change(image))
        expected = remaining(stream)
        if expected is not None and length is not None:
            expected = min(expected, length)
        writer = _Write(device, image, place, append, pad)
        if expected is not None:
            writer.check(expected)
        with _telling(writer), Meter("write", expected or 0) as meter:
            try:
                writer.run(stream, length, meter)
            finally:
                device.flush()
        say(verbose, f"wrote {meter.rate()} to {writer.where()}")


@contextmanager
def _telling(writer: _Write) -> Iterator[None]:
    """Prints where appended data landed, and whatever ends a write early says how far it got."""
    from zoned import MediumError, PowerLossError, ZonedError

    try:
        yield
    except KeyboardInterrupt as error:
        raise stopped(error, writer.got_to()) from error
    except OSError as error:
        if isinstance(error, ZonedError) and not isinstance(error, MediumError | PowerLossError):
            writer.under_way = None  # refused whole
        told = writer.got_to()
        if not writer.done:
            raise
        raise Failure(f"{sentence(error)}; {told}") from error
    finally:
        for landed, size in writer.landed:
            click.echo(f"{landed} {size}")


@dataclass(frozen=True)
class _Stretch:
    """A part of the disk to fill: offsets in bytes; what is written must end on a block."""

    zone: int
    begin: int
    end: int
    block: int


class _Write:
    """One write command."""

    def __init__(self, device: Device, image: str, place: Place, append: bool, pad: bool) -> None:
        self.device = device
        self.image = image
        self.place = place
        self.append = append
        self.pad = pad
        self.done = 0
        self.under_way: tuple[_Stretch, int, int] | None = None
        """A command that may or may not have ended: where, from which byte of the disk on, and how
        many bytes of the input it takes."""
        self.touched: list[int] = []
        self.landed: list[tuple[int, int]] = []

    def where(self) -> str:
        return _name(self.touched) if self.touched else "no zone"

    def stretches(self) -> Iterator[_Stretch]:
        """What is to be filled, in order; looks at each zone when its turn comes."""
        place, device = self.place, self.device
        if place.offset is not None:
            yield from self._from_offset(place.offset)
            return
        indices = place.indices(device, self.image)
        several = len(indices) > 1
        begun = False
        for index in indices:
            zone = device.zones[index]
            if several and not begun and zone.condition == 0xE:
                continue
            if begun and zone.condition not in (0x0, 0x1):
                raise Failure(
                    f"zone {index} is {CONDITION_NAMES[zone.condition]}, not empty;"
                    f" {self._so_far()}"
                )
            if begun and place.follow and zone.condition == 0x0:
                raise Failure(
                    f"zone {index} is conventional, and --follow goes on in empty sequential zones;"
                    f" {self._so_far()}"
                )
            begun = True
            begin = zone.start if zone.wp is None else zone.wp
            yield _Stretch(index, begin, _limit(zone), self._block(zone))

    def _from_offset(self, offset: int) -> Iterator[_Stretch]:
        geometry = self.device.geometry
        if offset >= geometry.size:
            raise Failure(f"offset {offset} is not on the disk, which has {geometry.size} bytes")
        if offset % geometry.logical_block:
            raise Failure(
                f"offset {offset} lies within a block: it must be a multiple of"
                f" {geometry.logical_block}"
            )
        for index in range(offset // geometry.zone_size, geometry.nr_zones):
            zone = self.device.zones[index]
            begin = max(offset, zone.start)
            end = _limit(zone) if begin < _limit(zone) else zone.end
            yield _Stretch(index, begin, end, self._block(zone))
            if not self.place.follow and end < zone.end:
                yield _Stretch(index, end, zone.end, self._block(zone))

    def _block(self, zone: Zone) -> int:
        geometry = self.device.geometry
        return geometry.physical_block if zone.type == _REQUIRED else geometry.logical_block

    def _so_far(self) -> str:
        if not self.done:
            return "nothing was written"
        return f"{counted(self.done, 'byte')} {were(self.done)} written"

    def got_to(self) -> str:
        """How far a write came that was interrupted or failed, amid a command too.

        A sequential zone's write pointer tells it to the byte. A conventional zone has none, others
        may append, and a preferred zone may be overwritten: there it is known to a command.
        """
        from zoned import ZonedError

        if self.under_way is None:
            return self._so_far()
        stretch, position, size = self.under_way
        start = self.device.geometry.zone_start(stretch.zone)
        if self.device.geometry.zone_type(stretch.zone) == _REQUIRED and not self.append:
            with suppress(ZonedError):  # a disk without power tells nothing
                landed = zone_written(self.device, stretch.zone) - (position - start)
                self.done += max(0, min(landed, size))
                self.under_way = None
                return self._so_far()
        where = f"in zone {stretch.zone}" if self.append else f"at {position}"
        return (
            f"{self._so_far()}, and perhaps {counted(size, 'byte')} more {where}"
            if self.done
            else f"at most {counted(size, 'byte')} {were(size)} written, {where}"
        )

    def check(self, expected: int) -> None:
        """Refuse what cannot work before anything is written; the input's length is known."""
        room = 0
        last: _Stretch | None = None
        looked = []
        for last in self.stretches():
            looked.append(last.zone)
            room += last.end - last.begin
            if room >= expected:
                break
        # One that takes nothing at all is the disk's to refuse: it names the rule.
        if room < expected and self.place.offset is None and (room or len(looked) != 1):
            names = _name(looked) if looked else "these zones"
            raise Failure(
                f"the input has {counted(expected, 'byte')}, and {names} of {self.image}"
                f" {'have' if len(looked) != 1 else 'has'} room for {room}; nothing was written"
            )
        if last is not None and expected % last.block and not self.pad:
            raise Failure(self._partial(expected % last.block, last.block, "nothing was written"))

    def _partial(self, rest: int, block: int, done: str) -> str:
        return (
            f"the input ends with {counted(rest, 'byte')} of a block of {block}: --pad "
            f"fills it with zeros;"
            f" {done}"
        )

    def run(self, stream: BinaryIO, length: int | None, meter: Meter) -> None:
        """Copy the stream."""
        buffer = memoryview(bytearray(_CHUNK))
        for stretch in self.stretches():
            position = stretch.begin
            while position < stretch.end:
                want = min(_CHUNK, stretch.end - position)
                if self.append:
                    want = min(want, self.device.geometry.append_limit)
                if length is not None:
                    want = min(want, length - self.done)
                got = fill(stream, buffer[:want])
                ends = got < want or want == 0 or (length is not None and self.done + got == length)
                rest = got % stretch.block
                whole = got - rest
                if rest and self.pad:
                    whole = got + stretch.block - rest
                    buffer[got:whole] = bytes(whole - got)
                if whole:
                    self.under_way = stretch, position, min(got, whole)
                    self._put(stretch, buffer[:whole], position)
                    self.done, self.under_way = self.done + min(got, whole), None
                    position += whole
                    meter.add(min(got, whole))
                if rest and not self.pad:
                    raise Failure(self._partial(rest, stretch.block, self._so_far()))
                if ends:
                    return
        if (length is None or self.done < length) and stream.read(1):
            raise Failure(
                f"the input goes on, and {self.where()} can take no more; {self._so_far()}"
            )

    def _put(self, stretch: _Stretch, data: memoryview, position: int) -> None:
        if not self.touched or self.touched[-1] != stretch.zone:
            self.touched.append(stretch.zone)
        if not self.append:
            self.device.pwrite(data, position)
            return
        landed = self.device.append(stretch.zone, data)
        if self.landed and sum(self.landed[-1]) == landed:
            self.landed[-1] = (self.landed[-1][0], self.landed[-1][1] + len(data))
        else:
            self.landed.append((landed, len(data)))


# -------------------------------------------------------------------------------------------
# reading


@click.command(
    "read",
    epilog=example(
        "zonedctl read disk.img --zone 3 > file",
        "zonedctl read disk.img --zone 3 --follow --length 10485760 | tar t",
        "zonedctl read disk.img --offset 8MiB --length 4KiB | hexdump -C",
    ),
)
@image_argument
@click.option("--zone", type=ZONE, metavar="N", help="Read this zone, up to its write pointer.")
@click.option(
    "--zones", type=ZONES, metavar="LIST", help="Read these zones in ascending order, such as 3-9."
)
@click.option(*("-c", "--count"), type=COUNT, metavar="ZONES", help="With --zone: this many zones.")
@click.option(
    "--follow", is_flag=True, help="With --length: go on in the next zones until it is read."
)
@click.option("--offset", type=SIZE, metavar="BYTES", help="Read from this byte of the disk on.")
@click.option("--length", type=SIZE, metavar="BYTES", help="Read exactly this much.")
@click.option(
    *("-O", "--output", "output_path"),
    type=FilePath(dash=True),
    metavar="FILE",
    help="Write to this file, whole or not at all, instead of standard output.",
)
@force_option
@verbose_option
def read_command(
    image: str,
    length: int | None,
    output_path: str | None,
    force: bool,
    verbose: bool,
    **where: Any,
) -> None:
    """Read data of the disk IMAGE to standard output or a file.

    Of a sequential zone comes what lies below its write pointer (all of its capacity when it is
    full), of a conventional zone all of it. With --offset, --length bytes come from there on, or
    all up to the end of the zone.
    """
    place = Place(**where)
    if place.follow and length is None:
        raise click.UsageError("--follow needs --length: how much to read")
    with ExitStack() as stack:
        device = stack.enter_context(disk.to_look(image))
        pieces = _pieces(device, image, place, length)
        total = sum(size for _, size in pieces)
        stream = stack.enter_context(output(output_path, force, "payload", image))
        with Meter("read", total) as meter:
            for begin, size in pieces:
                _copy(device, begin, size, stream, meter)
        say(verbose, f"read {meter.rate()}")


def _pieces(device: Device, image: str, place: Place, length: int | None) -> list[tuple[int, int]]:
    """(offset, bytes) to read, none across the end of a zone."""
    if place.offset is not None:
        return _from(device, place.offset, length, place.follow)
    pieces: list[tuple[int, int]] = []
    left = length
    indices = place.indices(device, image)
    for index in indices:
        zone = device.zones[index]
        held = zone_written(device, index) if zone.condition == 0xD else zone.written
        size = zone.capacity if held is None else held
        if left is not None:
            size = min(size, left)
            left -= size
        if size:
            pieces.append((zone.start, size))
        if left == 0:
            break
    if left:
        assert length is not None
        held_all = length - left
        raise Failure(
            f"{_name(indices)} of {image} {'holds' if len(indices) == 1 else 'hold'}"
            f" {counted(held_all, 'byte')} up to the write pointer, not {length}; --offset "
            f"reads beyond it"
        )
    return pieces


def _from(device: Device, offset: int, length: int | None, follow: bool) -> list[tuple[int, int]]:
    geometry = device.geometry
    if offset >= geometry.size:
        raise Failure(f"offset {offset} is not on the disk, which has {geometry.size} bytes")
    if length is None:
        index = offset // geometry.zone_size
        limit = geometry.zone_start(index) + geometry.zone_capacity_of(index)
        end = limit if offset < limit else geometry.zone_start(index) + geometry.zone_length(index)
        return [(offset, end - offset)]
    if offset + length > geometry.size and not follow:
        raise Failure(
            f"{counted(length, 'byte')} from {offset} on pass the end of the disk, which has"
            f" {geometry.size} bytes"
        )
    pieces: list[tuple[int, int]] = []
    while length and offset < geometry.size:
        index = offset // geometry.zone_size
        limit = geometry.zone_start(index) + geometry.zone_capacity_of(index)
        end = geometry.zone_start(index) + geometry.zone_length(index)
        if follow and offset >= limit:
            offset = end
            continue
        size = min(length, (limit if offset < limit else end) - offset)
        pieces.append((offset, size))
        length -= size
        offset += size
    if length:
        raise Failure(f"the disk ends {counted(length, 'byte')} too early")
    return pieces


def _copy(device: Device, begin: int, size: int, stream: BinaryIO, meter: Meter) -> None:
    """One piece; the disk reads whole blocks, of which what was not asked for is dropped."""
    from zoned import ZonedError

    block = device.geometry.logical_block
    at = begin - begin % block
    end = begin + size
    buffer = memoryview(bytearray(min(_CHUNK, -(-(end - at) // block) * block)))
    while at < end:
        whole = min(len(buffer), -(-(end - at) // block) * block)
        try:
            device.preadinto(buffer[:whole], at)
        except ZonedError as error:
            if (at, at + whole) == (begin, end):
                raise
            wanted = f"{counted(size, 'byte')} from {begin} on"
            raise Failure(f"{error} (asked for: {wanted})") from error
        first = max(begin - at, 0)
        stream.write(buffer[first : min(whole, end - at)])
        meter.add(min(whole, end - at) - first)
        at += whole
