"""``zonedctl dump`` and ``zonedctl restore``: a disk as one portable file. The format:
`zoned.dumpfile`."""

from __future__ import annotations

import os
from contextlib import ExitStack

import click

from zoned.cli import disk
from zoned.cli.app import echo, example
from zoned.cli.ask import confirm_replace, say
from zoned.cli.files import output, refuse_existing, refuse_the_disk, remaining, source
from zoned.cli.params import FilePath, force_option, image_argument, verbose_option
from zoned.cli.progress import Meter
from zoned.units import counted, human_size


@click.command(
    "dump",
    epilog=example(
        "zonedctl dump disk.img disk.zdump",
        "zonedctl dump disk.img - --no-data | ssh host zonedctl restore - copy.img",
    ),
)
@image_argument
@click.argument("file", type=FilePath(dash=True))
@click.option(
    "--no-data", is_flag=True, help="Leave the payload out: geometry and zone states only."
)
@click.option(
    "--level",
    type=click.IntRange(0, 9),
    default=3,
    show_default=True,
    help="How hard to compress: 0 not at all, 9 hardest.",
)
@force_option
@verbose_option
def dump_command(
    image: str, file: str, no_data: bool, level: int, force: bool, verbose: bool
) -> None:
    """Pack the disk IMAGE into FILE, or to standard output with -.

    One compressed archive with checksums in every part, which tar lists and unpacks too; unwritten
    space is not in it. Of a disk that others write to it is one moment. Who may only read the image
    gets each zone as of a moment of its own, and an error if one is reset or overwritten while it
    is read.
    """
    from zoned.archive import dump

    with ExitStack() as stack:
        device = stack.enter_context(disk.to_copy(image))
        stream = stack.enter_context(output(None if file == "-" else file, force, "a dump", image))
        with Meter("dump") as meter:
            summary = dump(device, stream, data=not no_data, level=level, progress=meter.at)
        say(
            verbose,
            f"dumped {counted(summary.zones, 'zone')} in use, {human_size(summary.data)} of payload"
            + ("" if summary.payload else " (left out)"),
        )


@click.command(
    "restore",
    epilog=example(
        "zonedctl restore disk.zdump copy.img",
        "zonedctl restore disk.zdump --dry-run",
        "ssh host zonedctl dump disk.img - | zonedctl restore - copy.img",
    ),
)
@click.argument("file", type=FilePath(dash=True))
@click.argument("image", type=FilePath(), required=False)
@click.option("--replace", is_flag=True, help="Replace the image if there is one.")
@click.option(
    "--data",
    type=click.Choice(["store", "none"]),
    help="Make a disk that keeps payload or not, whatever the dumped one did.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Read and check the whole dump, say what is in it, make nothing.",
)
@force_option
@verbose_option
def restore_command(
    file: str,
    image: str | None,
    replace: bool,
    data: str | None,
    dry_run: bool,
    force: bool,
    verbose: bool,
) -> None:
    """Make the disk IMAGE from the dump FILE, or from standard input with -.

    The disk has the geometry, zone states and payload of the dumped one. It appears complete or not
    at all; an existing image is left alone unless --replace is given.
    """
    from zoned.archive import restore, verify

    if image is None and not dry_run:
        raise click.UsageError("name the IMAGE to make, or use --dry-run to check the dump")
    if image is not None and not dry_run and os.path.lexists(image):
        refuse_existing(image, replace)
        if file != "-":
            refuse_the_disk(file, image, "a dump")
            confirm_replace(image, force)
    name = "the dump on standard input" if file == "-" else file
    with ExitStack() as stack:
        stream = stack.enter_context(source(file))
        with Meter("restore", remaining(stream) or 0) as meter:

            def progress(done: int, _: int) -> None:
                meter.at(done)

            if dry_run or image is None:
                summary = verify(stream, name=name, progress=progress)
            else:
                summary = restore(
                    stream, image, replace=replace, data=data, name=name, progress=progress
                )
        if dry_run:
            geometry = summary.geometry
            echo(
                f"{name} is good: disk {summary.uuid}, {geometry['size']} bytes in zones of"
                f" {geometry['zone_size']}, {counted(summary.zones, 'zone')} in use,"
                f" {counted(summary.data, 'byte')} of "
                f"payload{'' if summary.payload else ' (left out)'}"
            )
        else:
            say(
                verbose,
                f"restored {image}: {counted(summary.zones, 'zone')} in use,"
                f" {human_size(summary.data)} of payload",
            )
