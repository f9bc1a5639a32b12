"""``zonedctl create``: every keyword of `zoned.create` as an option."""

from __future__ import annotations

import os

import click

from zoned.cli.app import Failure, example
from zoned.cli.ask import confirm_replace, say
from zoned.cli.params import NATURAL, SIZE, FilePath, ProfileName, force_option, verbose_option


@click.command(
    "create",
    epilog=example(
        "zonedctl create disk.img --size 64MiB --zone-size 4MiB --conventional 2 --max-open 4",
        "zonedctl create big.img --profile hc620",
        "zonedctl create ns.img --dialect zns --zone-capacity 3MiB --max-active 6",
    ),
)
@click.argument("image", type=FilePath())
@click.option(
    "--profile",
    type=ProfileName(),
    metavar="NAME|FILE",
    help="Start from a profile: test (the default), hc620, hc680, zn540, or a TOML file.",
)
@click.option("--size", type=SIZE, help="Size of the disk; the last zone may be smaller.")
@click.option("--zone-size", type=SIZE, help="Size of a zone: any multiple of the physical block.")
@click.option("--zone-capacity", type=SIZE, help="Writable part of a sequential zone.")
@click.option(
    "--conventional",
    metavar="N|LIST",
    help="Conventional zones: a number of them at the front (2), or by list (0-1,8-9).",
)
@click.option("--logical-block", type=SIZE, help="512 or 4096.")
@click.option("--physical-block", type=SIZE, help="512 or 4096, not below the logical block.")
@click.option("--max-open", type=NATURAL, metavar="N", help="Most open zones; 0: no limit.")
@click.option(
    "--max-active",
    type=NATURAL,
    metavar="N",
    help="Most open and closed zones; 0: no limit.",
)
@click.option(
    "--dialect",
    type=click.Choice(["zbc", "zns", "nullblk"]),
    help="Rule book: a SCSI or ATA disk, an NVMe drive, or Linux's null_blk.",
)
@click.option(
    "--model",
    type=click.Choice(["host-managed", "host-aware"]),
    help="Whether sequential writes are required or preferred.",
)
@click.option(
    "--implicit-close",
    type=click.Choice(["oldest", "lowest", "round-robin"]),
    help="Which implicitly open zone is closed when another needs its place.",
)
@click.option(
    "--unrestricted-read/--no-unrestricted-read",
    default=None,
    help="Whether reads may cross zones and pass write pointers (URSWRZ).",
)
@click.option(
    "--data",
    type=click.Choice(["store", "none"]),
    help="Whether payload is kept; none: for simulating whole drives.",
)
@click.option(
    "--host-sync",
    type=click.Choice(["flush", "command", "never"]),
    help="When the host's own disk is synced.",
)
@click.option("--append-limit", type=SIZE, help="Longest zone append; 0: the zone's capacity.")
@click.option("--slot-cache", type=SIZE, help="Bytes of freed zones kept ready for reuse.")
@click.option("--seed", type=NATURAL, metavar="N", help="Seed of everything random.")
@click.option("--replace", is_flag=True, help="Replace the file if there is one.")
@force_option
@verbose_option
def create_command(
    image: str,
    profile: str | None,
    size: int | None,
    zone_size: int | None,
    zone_capacity: int | None,
    conventional: str | None,
    logical_block: int | None,
    physical_block: int | None,
    max_open: int | None,
    max_active: int | None,
    dialect: str | None,
    model: str | None,
    implicit_close: str | None,
    unrestricted_read: bool | None,
    data: str | None,
    host_sync: str | None,
    append_limit: int | None,
    slot_cache: int | None,
    seed: int | None,
    replace: bool,
    force: bool,
    verbose: bool,
) -> None:
    """Make a new disk in the file IMAGE.

    Without a profile, what no option says is as in the profile "test": 64 MiB, zones of 4 MiB, 2 of
    them conventional, at most 4 open. An existing file is left alone unless --replace is given.
    """
    import zoned

    if os.path.lexists(image):
        if not replace:
            raise Failure(f"{image} exists; --replace replaces it")
        confirm_replace(image, force)
    with zoned.create(
        image,
        profile=profile,
        replace=replace,
        size=size,
        zone_size=zone_size,
        zone_capacity=zone_capacity,
        conventional=conventional,
        logical_block=logical_block,
        physical_block=physical_block,
        max_open=max_open,
        max_active=max_active,
        dialect=dialect,
        model=model,
        implicit_close=implicit_close,
        unrestricted_read=unrestricted_read,
        data=data,
        host_sync=host_sync,
        append_limit=append_limit,
        slot_cache=slot_cache,
        seed=seed,
    ) as device:
        say(verbose, f"created {image}: {device.geometry.describe()}")
        for remark in device.geometry.remarks:
            say(verbose, f"note: {remark}")
