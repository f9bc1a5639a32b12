"""``zonedctl create``: every keyword of `zoned.create` as an option."""

from __future__ import annotations

import os
from typing import Any

import click

from zoned.cli.app import example
from zoned.cli.ask import confirm_replace, say
from zoned.cli.files import refuse_existing
from zoned.cli.params import force_option, geometry_options, image_argument, verbose_option


@click.command(
    "create",
    epilog=example(
        "zonedctl create disk.img --size 64MiB --zone-size 4MiB --conventional 2 --max-open 4",
        "zonedctl create big.img --profile hc620",
        "zonedctl create slow.img --profile zn540 --zones 16 --pace real",
        "zonedctl create ns.img --dialect zns --zone-capacity 3MiB --max-active 6",
    ),
)
@image_argument
@geometry_options
@click.option(
    "--pace",
    type=click.Choice(["none", "real"]),
    default="none",
    help="real: commands take the time of the profile's drive, for all who open the disk.",
)
@click.option("--replace", is_flag=True, help="Replace the file if there is one.")
@force_option
@verbose_option
def create_command(
    image: str,
    pace: str,
    replace: bool,
    force: bool,
    verbose: bool,
    profile: str | None,
    **keywords: Any,
) -> None:
    """Make a new disk in the file IMAGE.

    Without a profile, what no option says is as in the profile "test": 64 MiB, zones of 4 MiB, 2 of
    them conventional, at most 4 open. An existing file is left alone unless --replace is given.
    """
    import zoned

    if os.path.lexists(image):
        refuse_existing(image, replace)
        confirm_replace(image, force)
    with zoned.create(
        image,
        profile=profile,
        pace=pace,
        replace=replace,
        **keywords,
    ) as device:
        say(verbose, f"created {image}: {device.geometry.describe()}")
        for remark in device.geometry.remarks:
            say(verbose, f"note: {remark}")
