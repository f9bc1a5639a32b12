"""``zonedctl mkfs``: zonefs.mkfs from the shell, with mkzonefs's options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zoned._core.looking import zone_written
from zoned.cli import disk
from zoned.cli.app import Failure, example
from zoned.cli.ask import confirm, on_terminal, say
from zoned.cli.params import dry_run_option, image_argument, verbose_option
from zoned.reportformats import ZONE
from zoned.units import counted, human_size

if TYPE_CHECKING:
    from zoned import Device

_CONVENTIONAL = 1
_DEAD = (0xD, 0xF)
_NUMBERS = {"uid": 10, "gid": 10, "perm": 8}  # and their base


class Octal(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Permission bits, as chmod takes them."""

    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            bits = value if isinstance(value, int) else int(value, 8)
        except ValueError:
            bits = -1
        if not 0 <= bits <= 0o777:
            self.fail(f"{value!r} is not permission bits: write 640", param, ctx)
        return bits


def _features(text: str) -> dict[str, Any]:
    """``aggr_cnv,uid=1000,perm=660``, mkzonefs's features, as keywords of zonefs.mkfs."""
    keywords: dict[str, Any] = {}
    for word in filter(None, text.split(",")):
        name, equals, argument = word.partition("=")
        if word == "aggr_cnv":
            keywords["aggregate_conventional"] = True
        elif name in _NUMBERS and equals:
            try:
                keywords[name] = int(argument, _NUMBERS[name])
            except ValueError:
                kind = "an octal number" if name == "perm" else "a number"
                raise click.UsageError(f"-o {name} is {argument!r}: it must be {kind}") from None
        else:
            raise click.UsageError(f"-o knows aggr_cnv, uid=N, gid=N and perm=MODE, not {word!r}")
    return keywords


def _at_stake(device: Device, superseded: bool) -> tuple[int, int]:
    """Bytes of data that would go, and in how many zones.

    Sequential zones are reset, dead ones excepted. Conventional zones keep what is in them, but
    zone 0, where the superblock goes and which no file shows; with ``superseded`` what is in zone 0
    is told by its name and not counted.
    """
    from zonefs.signatures import data_in

    lost = zones = 0
    for batch in disk.batches(device, [(0, device.geometry.nr_zones)]):
        for zone in ZONE.iter_unpack(batch):
            number, kind, condition = zone[5:8]
            if condition in _DEAD or (kind == _CONVENTIONAL and number):
                continue
            if number:
                here = zone_written(device, number)
            else:
                here = 0 if superseded else data_in(device, 0)
            lost += here
            zones += here > 0
    return lost, zones


@click.command(
    "mkfs",
    epilog=example(
        "zonedctl mkfs disk.img",
        "zonedctl mkfs disk.img -L archive --aggregate-conventional --perm 600",
        "zonedctl mkfs disk.img -o aggr_cnv,uid=1000,gid=1000",
    ),
)
@image_argument
@click.option("-L", "--label", default="", help="Name of the file system, at most 64 bytes.")
@click.option(
    "--aggregate-conventional",
    is_flag=True,
    help="Neighbouring conventional zones make one file (mkzonefs: -o aggr_cnv).",
)
@click.option("--uid", type=int, default=None, help="Owner of the files. Default: 0.")
@click.option("--gid", type=int, default=None, help="Group of the files. Default: 0.")
@click.option("--perm", type=Octal(), default=None, help="Permissions of the files. Default: 640.")
@click.option("-o", "features", default="", help="Features in mkzonefs's words, with commas.")
@dry_run_option
@click.option(
    *("-f", "--force"),
    is_flag=True,
    help="Replace a file system that is on the disk, and do not ask on a terminal.",
)
@verbose_option
def mkfs_command(
    image: str,
    label: str,
    aggregate_conventional: bool,
    uid: int | None,
    gid: int | None,
    perm: int | None,
    features: str,
    dry_run: bool,
    force: bool,
    verbose: bool,
) -> int:
    """Make a zonefs on the disk IMAGE: every zone but the first becomes a file.

    Resets all sequential zones and writes the superblock to zone 0, as mkzonefs does; Linux mounts
    what it makes. On a terminal it asks before data is lost. A disk that holds a zonefs, another
    file system, a volume or a partition table needs -f. A mounted disk is refused.
    """
    import zonefs
    from zonefs.formatting import refuse_mounted, refuse_unfit
    from zonefs.signatures import found_on

    given = {"uid": uid, "gid": gid, "perm": perm}
    keywords = _features(features) | {name: n for name, n in given.items() if n is not None}
    if aggregate_conventional:
        keywords["aggregate_conventional"] = True
    with disk.to_look(image) if dry_run else disk.to_change(image) as device:
        refuse_mounted(device)
        refuse_unfit(device)
        found = "" if force and not dry_run else found_on(device)
        if found and not force and not dry_run:
            raise Failure(f"{image} holds {found}: -f makes a zonefs in its place")
        if dry_run or (not force and on_terminal()):
            lost, zones = _at_stake(device, bool(found))
            loss = f"{human_size(lost)} of data in {counted(zones, 'zone')}" if lost else ""
            if dry_run:
                gone = " and ".join(filter(None, (found, loss))) or "no data"
                click.echo(f"{gone} would be lost{'; it takes -f' if found else ''}")
                return 0
            if lost:
                confirm(f"Make a zonefs on {image}? {loss} will be lost.", force)
        made = zonefs.mkfs(device, label, force=True, **keywords)
        named = f" {label!r}" if label else ""
        say(
            verbose,
            f"{image}: zonefs{named} {made.uuid}, block size {device.geometry.physical_block}",
        )
    return 0
