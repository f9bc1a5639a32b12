"""Kinds of values that options take, and the options that several commands share.

The zone options mean exactly what blkzone's mean; what they select is worked out in
`zoned.cli.select`. Touches no disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from zoned.reportformats import CONDITION_NAMES, CONDITION_SHORT, TYPE_NAMES, TYPE_SHORT
from zoned.units import SizeError, parse_size

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    IntType = click.ParamType[int]
    TextType = click.ParamType[str]
    NumbersType = click.ParamType[frozenset[int]]
    FloatType = click.ParamType[float]
else:  # generic in newer versions of click only
    IntType = TextType = NumbersType = FloatType = click.ParamType

#: blkzone takes sector numbers as 64-bit and zone counts as 32-bit numbers.
LARGEST_SECTOR = 2**64 - 1
LARGEST_COUNT = 2**32 - 1


def completes(
    complete: Callable[[Any, str], list[CompletionItem]],
) -> Callable[[Any, click.Context, click.Parameter, str], list[CompletionItem]]:
    """A ``shell_complete`` that looks at nothing but what was typed."""
    return lambda self, _ctx, _param, incomplete: complete(self, incomplete)


class Size(IntType):
    """Bytes: a number with an optional unit, or hex."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value, "the size")
        except SizeError as error:
            self.fail(str(error), param, ctx)


class Sectors(IntType):
    """A number of 512-byte sectors, with blkzone's suffixes (16K is 16384 sectors) or in hex."""

    name = "sectors"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            sectors = value if isinstance(value, int) else int(value.strip(), 10)
        except ValueError:
            try:
                sectors = parse_size(value, "the sector number")
            except SizeError:
                self.fail(
                    f"{value!r} is not a number of 512-byte sectors: write 16384, 16K or 0x4000",
                    param,
                    ctx,
                )
        if not 0 <= sectors <= LARGEST_SECTOR:
            self.fail(f"{value} is out of range: 0 to {LARGEST_SECTOR} sectors", param, ctx)
        return sectors


class Count(IntType):
    """A number of zones."""

    name = "zones"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", text):
            self.fail(f"{value!r} is not a number of zones: write 16 or 0x10", param, ctx)
        count = int(text, 16 if text.startswith("0x") else 10)
        if not 0 <= count <= LARGEST_COUNT:
            self.fail(f"{value} is out of range: 0 to {LARGEST_COUNT} zones", param, ctx)
        return count


class Natural(IntType):
    """A whole number from 0 up."""

    name = "number"
    told = "is not a whole number from 0 up"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"[0-9]+|0x[0-9a-fA-F]+", text):
            self.fail(f"{value!r} {self.told}", param, ctx)
        return int(text, 16 if text.startswith("0x") else 10)


class ZoneNumber(Natural):
    """One zone, by index."""

    name = "zone"
    told = "is not the number of a zone; --zones takes several"


class Names(NumbersType):
    """One or more names of a fixed set, full or short, separated by commas."""

    def __init__(self, what: str, names: dict[str, int], shorts: dict[str, int]) -> None:
        self.name = what
        self.names = names
        self.shorts = shorts

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[int]:
        if isinstance(value, frozenset):
            return value
        found = set()
        for part in value.split(","):
            name = part.strip().lower().replace("_", "-")
            number = self.names.get(name, self.shorts.get(name))
            if number is None:
                listed = ", ".join(
                    f"{full} ({'/'.join(s for s, n in self.shorts.items() if n == number)})"
                    for full, number in self.names.items()
                )
                self.fail(f"{part.strip()!r} is not a zone {self.name}: use {listed}", param, ctx)
            found.add(number)
        return frozenset(found)

    @completes
    def shell_complete(self, incomplete: str) -> list[CompletionItem]:
        done, comma, last = incomplete.rpartition(",")
        return [CompletionItem(done + comma + n) for n in self.names if n.startswith(last.lower())]


class OneOfNames(Names):
    """As Names, for a command that takes one, and not all: only those are offered."""

    def __init__(
        self, what: str, names: dict[str, int], shorts: dict[str, int], offered: Iterable[int]
    ) -> None:
        super().__init__(what, names, shorts)
        self.offered = frozenset(offered)

    @completes
    def shell_complete(self, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(name)
            for name, number in self.names.items()
            if number in self.offered and name.startswith(incomplete.lower())
        ]


class FilePath(click.Path):
    """A path that is handed to the library as it is; completes to files."""

    def __init__(self, dash: bool = False) -> None:
        # Whether it may be read is for the library to find, and to say in its own words.
        super().__init__(path_type=str, allow_dash=dash, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of a file is empty", param, ctx)
        return super().convert(value, param, ctx)

    @completes
    def shell_complete(self, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class ZoneList(TextType):
    """Zones by number; parsed once the disk and its number of zones are known."""

    name = "zones"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from zoned.zonelist import ZoneListError, ZoneSet

        try:
            ZoneSet.parse(value)
        except ZoneListError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Word(TextType):
    """A word that is taken as it is: which is right, the library says in its own words."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        return str(value)


class OneOf(Word):
    """A word that completes to those that there are. ``names`` gives them, so that nothing is
    imported before it is needed.
    """

    name = "name"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self.names = names

    @completes
    def shell_complete(self, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]


class SomeOf(OneOf):
    """As OneOf, for several words with commas between them."""

    @completes
    def shell_complete(self, incomplete: str) -> list[CompletionItem]:
        done, comma, last = incomplete.rpartition(",")
        before = done.split(",")
        return [
            CompletionItem(done + comma + name)
            for name in self.names()
            if name.startswith(last) and name not in before
        ]


def fault_kinds() -> Iterable[str]:
    """What ``faults add`` takes as a kind."""
    from zoned.faults import FaultKind

    return (str(kind) for kind in FaultKind)


def keeps() -> Iterable[str]:
    """What a power cut may keep."""
    from zoned.faults import Keep

    return (str(keep) for keep in Keep)


def fault_commands() -> Iterable[str]:
    """What a rule may act on."""
    from zoned.faults import COMMANDS

    return COMMANDS


def strategies() -> Iterable[str]:
    """Which survivors of a power cut to look at."""
    from zoned.crash.choices import Strategy

    return (str(strategy) for strategy in Strategy)


def trace_formats() -> Iterable[str]:
    """The formats of traces that are read."""
    from zoned.traces.sources import ALL_FORMATS

    return ALL_FORMATS


class Percent(FloatType):
    """A percentage, with or without its sign, as a part: ``5%`` is 0.05."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            percent = float(str(value).strip().removesuffix("%"))
        except ValueError:
            percent = -1.0
        if not 0 <= percent < 1e6:
            self.fail(f"{value!r} is not a percentage such as 5%", param, ctx)
        return percent / 100


class PatternOrFile(FilePath):
    """A job file, or a named pattern of ``bench``."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from zoned.bench.patterns import PATTERNS

        names = ("compare", "sweep", "fit", *PATTERNS)
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*found, *super().shell_complete(ctx, param, incomplete)]


class ProfileName(Word):
    """A profile's name, or the path of a TOML file."""

    name = "profile"

    @completes
    def shell_complete(self, incomplete: str) -> list[CompletionItem]:
        from zoned.drives.profiles import builtin_names

        if os.sep in incomplete:
            return [CompletionItem(incomplete, type="file")]
        found = [CompletionItem(name) for name in builtin_names() if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


class DriveName(ProfileName):
    """A profile, or a drive that exists for benchmarks only."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from zoned.drives.models import drives

        found = super().shell_complete(ctx, param, incomplete)
        more = [CompletionItem(name) for name in drives() if name.startswith(incomplete)]
        return [item for item in found if item.type != "file" or not more] + more


SIZE = Size()
SECTORS = Sectors()
COUNT = Count()
NATURAL = Natural()
ZONE = ZoneNumber()
ZONES = ZoneList()
CONDITIONS = Names(
    "condition",
    {name: number for number, name in CONDITION_NAMES.items()},
    dict(CONDITION_SHORT),
)
SETTABLE = OneOfNames(
    "condition",
    {name: number for number, name in CONDITION_NAMES.items()},
    dict(CONDITION_SHORT),
    (0x1, 0xD, 0xF),  # empty, read-only, offline
)
TYPES = Names("type", {name: number for number, name in TYPE_NAMES.items()}, dict(TYPE_SHORT))

image_argument = click.argument("image", type=FilePath())


def _limit(kind: click.ParamType[Any], metavar: str, what: str) -> dict[str, Any]:
    return {"type": kind, "metavar": metavar, "help": f"At most this many {what}."}


def range_options(command: F) -> F:
    """``-o``, ``-l``, ``-c`` and ``--zones``, for commands that work on zones as blkzone does."""
    for option in (
        click.option(
            "--zones", "-z", type=ZONES, metavar="LIST", help="These zones, such as 3-7,12."
        ),
        click.option(*("-c", "--count"), **_limit(COUNT, "ZONES", "zones; not with -l")),
        click.option(
            *("-l", "--length"), **_limit(SECTORS, "SECTORS", "512-byte sectors; not with -c")
        ),
        click.option(
            *("-o", "--offset"),
            type=SECTORS,
            metavar="SECTOR",
            help="Begin at this 512-byte sector (of the disk).",
        ),
    ):
        command = option(command)
    return command


_URSWRZ = "--unrestricted-read/--no-unrestricted-read"
_GEOMETRY = {
    "--profile": "Start from a profile: test (the default), hc620, hc680, zn540, or a TOML file.",
    "--size": "Size of the disk; the last zone may be smaller.",
    "--zones": "Number of zones; instead of --size.",
    "--zone-size": "Size of a zone: any multiple of the physical block.",
    "--zone-capacity": "Writable part of a sequential zone; 0: all of it.",
    "--conventional": "Conventional zones: a number of them at the front (2), or by list "
    "(0-1,8-9).",
    "--logical-block": "512 or 4096.",
    "--physical-block": "512 or 4096, not below the logical block.",
    "--max-open": "Most open zones; 0: no limit.",
    "--max-active": "Most open and closed zones; 0: no limit.",
    "--dialect": "Rule book: a SCSI or ATA disk, an NVMe drive, or Linux's null_blk.",
    "--model": "Whether sequential writes are required or preferred.",
    "--implicit-close": "Which implicitly open zone is closed when another needs its place.",
    _URSWRZ: "Whether reads may cross zones and pass write pointers (URSWRZ).",
    "--data": "Whether payload is kept; none: for simulating whole drives.",
    "--host-sync": "When the host's own disk is synced.",
    "--append-limit": "Longest zone append; 0: the zone's capacity.",
    "--zone-extension": "Bytes of a zone's descriptor extension (zns), a multiple of 64.",
    "--zrwa-size": "Bytes of a zone's random write area (zns); 0: zones have none.",
    "--zrwa-granularity": "Write pointers of such zones move by multiples of it; 0: a block.",
    "--zrwa-count": "Zones that may have one at once; 0: as many as may be active.",
    "--slot-cache": "Bytes of freed zones kept ready for reuse.",
    "--seed": "Seed of everything random.",
}
"""Options for keywords of ``zoned.create``, in the order of the help: what each means."""
_NOT_SIZES: dict[str, dict[str, Any]] = {
    "--profile": {"type": ProfileName(), "metavar": "NAME|FILE"},
    "--zones": {"type": COUNT, "metavar": "N"},
    "--conventional": {"metavar": "N|LIST"},
    "--max-open": {"type": NATURAL, "metavar": "N"},
    "--max-active": {"type": NATURAL, "metavar": "N"},
    "--dialect": {"type": click.Choice(["zbc", "zns", "nullblk"])},
    "--model": {"type": click.Choice(["host-managed", "host-aware"])},
    "--implicit-close": {"type": click.Choice(["oldest", "lowest", "round-robin"])},
    _URSWRZ: {"default": None},
    "--data": {"type": click.Choice(["store", "none"])},
    "--host-sync": {"type": click.Choice(["flush", "command", "never"])},
    "--seed": {"type": NATURAL, "metavar": "N"},
}
"""What those take that are no sizes."""


def geometry_options(command: F) -> F:
    """A profile, and every keyword of ``zoned.create`` that describes a disk."""
    for name, text in reversed(_GEOMETRY.items()):
        kind = _NOT_SIZES.get(name, {"type": SIZE})
        command = click.option(name, **kind, help=text)(command)
    return command


def shown(kind: click.ParamType[Any], default: str, metavar: str | None = None) -> dict[str, Any]:
    """Of an option whose default its help tells."""
    more = {} if metavar is None else {"metavar": metavar}
    return {"type": kind, "default": default, "show_default": True, **more}


def format_option(*formats: str, default: str = "text") -> Callable[[F], F]:
    """``--format`` for commands that can print more than text."""
    return click.option(
        *("--format", "form"),
        **shown(click.Choice(formats), default),
        help="What to print.",
    )


force_option = click.option("-f", "--force", is_flag=True, help="Do not ask on a terminal.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Say more about what was done, on stderr."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say zone by zone what would happen; change nothing."
)
