"""docs/errors.md: every rule and exception with its codes, and a message that a real disk gave for
it.

Each rule is broken here for real, on a disk made for the purpose; the page fails to build if one is
not.
"""

from __future__ import annotations

import errno
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import zoned
from zoned import Dialect, ZoneCondition, rules
from zoned._core.native import lib

MIB = 1 << 20
BLOCK = bytes(4096)

HEAD = Path(__file__).with_name("errors.head.md")
TAIL = Path(__file__).with_name("errors.tail.md")


BREAKS: list[Callable[[], None]] = []
"""What raises the errors, in the order of the page; and, given a folder, those of images."""
IMAGE_BREAKS: list[Callable[[Path], None]] = []


def breaks(how: Callable[[], None]) -> Callable[[], None]:
    """It raises an error of the page."""
    BREAKS.append(how)
    return how


def breaks_an_image(how: Callable[[Path], None]) -> Callable[[Path], None]:
    """It raises an error of an image, made in a folder."""
    IMAGE_BREAKS.append(how)
    return how


def small(**keywords: object) -> zoned.Device:
    """A RAM disk of the profile `test`, with changes: 16 zones of 4 MiB, 2 conventional."""
    return zoned.memory(**keywords)  # type: ignore[arg-type]


@breaks
def unaligned_write() -> None:
    """A write ahead of the write pointer."""
    with small() as dev:
        start = dev.zones[7].start
        dev.pwrite(bytes(8192), start)
        dev.pwrite(BLOCK, start + 12288)


@breaks
def write_boundary() -> None:
    """A write that is longer than the room left."""
    with small() as dev:
        dev.finish_zone(3)
        dev.reset_zone(3)
        dev.pwrite(bytes(4 * MIB + 4096), dev.zones[3].start)


@breaks
def read_boundary() -> None:
    """A read over two zones of a disk with restricted reads."""
    with small(unrestricted_read=False) as dev:
        start = dev.zones[3].start
        dev.pwrite(bytes(4 * MIB), start)
        dev.pwrite(BLOCK, start + 4 * MIB)
        dev.pread(8192, start + 4 * MIB - 4096)


@breaks
def read_type_boundary() -> None:
    """A read that begins in a conventional zone and ends in a sequential one."""
    with small() as dev:
        dev.pread(8192, dev.zones[2].start - 4096)


@breaks
def invalid_read() -> None:
    """A read past the write pointer of a disk with restricted reads."""
    with small(unrestricted_read=False) as dev:
        start = dev.zones[3].start
        dev.pwrite(BLOCK, start)
        dev.pread(8192, start)


@breaks
def zone_full() -> None:
    """A write into a full zone."""
    with small() as dev:
        dev.finish_zone(3)
        dev.pwrite(BLOCK, dev.zones[3].start)


@breaks
def zone_read_only() -> None:
    """A write into a zone whose head can only read."""
    with small() as dev:
        dev.set_condition(3, ZoneCondition.READ_ONLY)
        dev.pwrite(BLOCK, dev.zones[3].start)


@breaks
def zone_offline() -> None:
    """A read of a dead zone."""
    with small() as dev:
        dev.set_condition(3, ZoneCondition.OFFLINE)
        dev.pread(4096, dev.zones[3].start)


@breaks
def too_many_open() -> None:
    """An open zone more than the disk has resources for."""
    with small() as dev:
        dev.open_zone(2, count=4)
        dev.open_zone(6)


@breaks
def too_many_active() -> None:
    """An active zone more than the drive has resources for."""
    with small(dialect="zns", max_open=2, max_active=2) as dev:
        for zone in (0, 1, 2):
            dev.append(zone, BLOCK)


@breaks
def invalid_transition() -> None:
    """A command that the zone's condition does not allow."""
    with small(dialect="zns") as dev:
        dev.close_zone(3)


@breaks
def conventional_zone() -> None:
    """A zone command to a conventional zone."""
    with small() as dev:
        dev.reset_zone(1)


@breaks
def gap() -> None:
    """A read behind the capacity of a zone."""
    with small(zone_capacity="3MiB") as dev:
        dev.pread(4096, dev.zones[3].start + 3 * MIB)


@breaks
def out_of_range() -> None:
    """A read behind the end of the disk."""
    with small() as dev:
        dev.pread(4096, dev.geometry.size)


@breaks
def block_alignment() -> None:
    """A write of something that is not whole blocks."""
    with small() as dev:
        dev.pwrite(b"hello", dev.zones[3].start)


@breaks
def append_limit() -> None:
    """An append that is too long for the drive."""
    with small(append_limit="64KiB") as dev:
        dev.append(3, bytes(128 * 1024))


@breaks
def unsupported_command() -> None:
    """A command that null_blk has only for single zones."""
    with small(dialect="nullblk") as dev:
        dev.open_all()


@breaks
def medium_error() -> None:
    """A block that cannot be read."""
    with small() as dev:
        start = dev.zones[7].start
        dev.pwrite(bytes(8192), start)
        with dev.faults.add("medium", on="read", block=start + 4096):
            dev.pread(8192, start)


@breaks
def power_loss() -> None:
    """A command to a disk without power."""
    with small() as dev:
        dev.power_cut()
        dev.pread(4096, 0)


@breaks
def command_timeout() -> None:
    """A command that hangs."""
    with small() as dev, dev.faults.add("hang", on="write", zones=7, timeout=0.01):
        dev.pwrite(BLOCK, dev.zones[7].start)


@breaks
def miscompare() -> None:
    """A compare with other data."""
    with small() as dev:
        start = dev.zones[7].start
        dev.pwrite(BLOCK, start)
        dev.compare(bytes(len(BLOCK) - 1) + b"x", start)


@breaks
def sequential_zone() -> None:
    """A sequential zone cannot be zeroed in its midst."""
    with small() as dev:
        dev.deallocate(dev.zones[7].start, 4096)


def with_areas() -> zoned.Device:
    """A RAM disk whose zones can have random write areas of 64 KiB."""
    return small(dialect="zns", zrwa_size="64KiB", zrwa_granularity="16KiB", zrwa_count=1)


@breaks
def zrwa_unavailable() -> None:
    """A second zone wants a random write area, and there is one."""
    with with_areas() as dev:
        dev.open_zone_zrwa(3)
        dev.open_zone_zrwa(4)


@breaks
def invalid_zone_operation() -> None:
    """An append to a zone that has a random write area."""
    with with_areas() as dev:
        dev.open_zone_zrwa(3)
        dev.append(3, BLOCK)


@breaks
def outside_zrwa() -> None:
    """A write too far behind the area."""
    with with_areas() as dev:
        dev.open_zone_zrwa(3)
        dev.pwrite(BLOCK, dev.zones[3].start + (1 << 20))


@breaks
def invalid_commit() -> None:
    """A commit of less than a granule."""
    with with_areas() as dev:
        dev.open_zone_zrwa(3)
        dev.commit_zone(3, dev.zones[3].start + 4096)


@breaks_an_image
def not_an_image(folder: Path) -> None:
    """Some other file."""
    path = folder / "notes.txt"
    path.write_bytes(b"not a disk\n" * 10_000)
    zoned.open(path)


@breaks_an_image
def image_version(folder: Path) -> None:
    """An image of a later version."""
    open_patched(folder, HEADERS, lambda header: renumber(header, 8, b"\x02\0\0\0"))


@breaks_an_image
def image_feature(folder: Path) -> None:
    """An image with a feature of a later version."""
    open_patched(folder, HEADERS, lambda header: renumber(header, 16, b"\x80" + bytes(7)))


@breaks_an_image
def image_truncated(folder: Path) -> None:
    """A copy that was cut short."""
    path = made(folder)
    os.truncate(path, 20_000)
    zoned.open(path)


@breaks_an_image
def image_corrupt(folder: Path) -> None:
    """Both copies of the header damaged."""
    open_patched(folder, HEADERS, lambda header: header.__setitem__(50, 0xFF))


@breaks_an_image
def image_failed(folder: Path) -> None:
    """An image whose status says that the host could not sync."""
    open_patched(folder, STATUSES, lambda status: renumber(status, 20, b"\x01"))


@breaks_an_image
def image_busy(folder: Path) -> None:
    """A repair while somebody uses the disk."""
    path = made(folder)
    with zoned.open(path):
        zoned.check(path, repair=True)


def made(folder: Path) -> Path:
    """A disk image of the profile `test`."""
    path = folder / "disk.img"
    zoned.create(path, replace=True).close()
    return path


def crc32c(data: bytes) -> int:
    """CRC-32C, as docs/image-format.md defines it."""
    return int(lib.zd_crc32c(0, data, len(data)))


HEADERS = ((0, 4096), (4096, 4096))
STATUSES = ((8192, 64), (12288, 64))
"""Where the copies lie in an image, and how long they are; the last four bytes are their CRC."""


def open_patched(
    folder: Path, copies: tuple[tuple[int, int], ...], change: Callable[[bytearray], None]
) -> None:
    """Open an image in which something was done to each of the copies."""
    with open(made(folder), "r+b") as file:
        for at, length in copies:
            file.seek(at)
            copy = bytearray(file.read(length))
            change(copy)
            file.seek(at)
            file.write(copy)
    zoned.open(folder / "disk.img")


def renumber(copy: bytearray, at: int, value: bytes) -> None:
    """Change a field, and make the CRC right again."""
    copy[at : at + len(value)] = value
    copy[-4:] = crc32c(bytes(copy[:-4])).to_bytes(4, "little")


def first_line(thing: object) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def errno_name(number: int | None) -> str:
    """EIO for 5."""
    name = errno.errorcode[number or 0]
    return "EOPNOTSUPP" if name == "ENOTSUP" else name  # one number, two names


def messages() -> dict[str, zoned.ZonedError]:
    """Each rule that can be broken, with the exception that this gave."""
    caught: dict[str, zoned.ZonedError] = {}
    for act in BREAKS:
        try:
            act()
        except zoned.ZonedError as error:
            caught[error.rule] = error
            expected = act.__name__.replace("_", "-")
            if error.rule != expected:
                raise SystemExit(f"breaking {expected} gave {error.rule}: {error}") from error
        else:
            raise SystemExit(f"{act.__name__} was not refused")
    return caught


def sense_text(sense: tuple[int, int, int] | None) -> str:
    """Key / ASC ASCQ, in hex as the standards print it."""
    return "" if sense is None else f"{sense[0]:X} / {sense[1]:02X} {sense[2]:02X}"


def rule_rows() -> list[str]:
    """The table of rules."""
    caught = messages()
    nvme = [rule.nvme_status for rule in rules.rules(Dialect.ZNS)]
    lines = ["| rule | exception | errno | sense (zbc) | NVMe (zns) |", "|---|---|---|---|---|"]
    for rule, status in zip(rules.rules(Dialect.ZBC), nvme, strict=True):
        code = "" if status is None else f"0x{status:03X}"
        lines.append(
            f"| `{rule.name}` | `{rule.exception.__name__}` | {errno_name(rule.errno)} "
            f"| {sense_text(rule.sense)} | {code} |"
        )
        if rule.name not in caught:
            raise SystemExit(f"nothing breaks the rule {rule.name}")
    lines += ["", "## What they say", ""]
    for name, error in caught.items():
        lines += [f"**`{name}`**: {first_line(type(error))}", "", f"> {error}", ""]
    return lines


def image_rows() -> list[str]:
    """The part about images."""
    lines = [
        "## Images",
        "",
        "What can be wrong with an image file. All of them are `zoned.ImageError`, an `OSError`",
        "with `filename` set.",
        "",
        "| exception | errno | meaning | message |",
        "|---|---|---|---|",
    ]
    shown = set()
    for act in IMAGE_BREAKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                act(Path(folder))
            except zoned.ImageError as error:
                shown.add(type(error))
                text = str(error).replace(f"{folder}/", "")
                lines.append(
                    f"| `{type(error).__name__}` | {errno_name(error.errno)} "
                    f"| {first_line(type(error))} | {text} |"
                )
            else:
                raise SystemExit(f"{act.__name__} was not refused")
    for kind in zoned.ImageError.__subclasses__():
        if kind not in shown:
            raise SystemExit(f"nothing shows {kind.__name__}")
    return lines


def render() -> str:
    """The whole page."""
    head, tail = HEAD.read_text(encoding="utf-8"), TAIL.read_text(encoding="utf-8")
    return "\n".join([head, "## Rules", "", *rule_rows(), *image_rows()]) + "\n" + tail


if __name__ == "__main__":
    print(render(), end="")
