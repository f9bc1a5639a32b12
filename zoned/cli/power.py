"""``zonedctl power``: take the power of a disk away and give it back, in use or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoned.cli import disk
from zoned.cli.app import Failure, example
from zoned.cli.params import OneOf, image_argument, keeps, shown, strategies

if TYPE_CHECKING:
    from collections.abc import Iterator

_HELP = """Emulated power cuts. They act on every process that has the disk open, a running mount
included: all its commands fail until the power is on again."""


@click.group(
    "power",
    help=_HELP,
    epilog=example("zonedctl power cut disk.img --keep random", "zonedctl power on disk.img"),
)
def power_command() -> None:
    """The group; its help is above."""


@power_command.command(
    "cut",
    epilog=example(
        "zonedctl power cut disk.img",
        "zonedctl power cut disk.img --keep random --seed 7",
    ),
)
@image_argument
@click.option(
    "--keep",
    **shown(OneOf(keeps), "durable", "WHAT"),
    help="What survives of the data that was not flushed: durable (nothing), all, or random.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Of a random survivor.")
@click.option("--choice", metavar="ID", help="Exactly the survivor with this id (power states).")
def cut_command(image: str, keep: str, seed: int, choice: str | None) -> int:
    """Take the power of the disk IMAGE away, for all who have it open."""
    from zoned.crash.choices import CrashIdError
    from zoned.faults import FaultError

    if choice is not None and (keep != "durable" or seed):
        raise click.UsageError("--choice says all about what survives: no --keep, no --seed")
    with disk.to_change(image) as device:
        try:
            device.power_cut(keep, seed, choice=choice)
        except (CrashIdError, FaultError) as error:
            raise Failure(f"{image}: {error}") from error
    return 0


@power_command.command("on", epilog=example("zonedctl power on disk.img"))
@image_argument
def on_command(image: str) -> int:
    """Give the disk IMAGE its power back. Nothing happens if it has it."""
    with disk.to_change(image) as device:
        device.power_on()
    return 0


@power_command.command(
    "states",
    epilog=example(
        "zonedctl power states disk.img --strategy exhaustive",
        "zonedctl power cut disk.img --choice $(zonedctl power states disk.img | head -n 1)",
    ),
)
@image_argument
@click.option(
    "--strategy",
    **shown(OneOf(strategies), "linear", "NAME"),
    help="linear, log, exhaustive or random.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=10_000,
    show_default=True,
    help="More are refused.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="Of the strategy random.")
def states_command(image: str, strategy: str, limit: int, seed: int) -> int:
    """List what a power cut now could leave of the disk IMAGE.

    One id a line, the least survivor first.
    """
    for line in _states(image, strategy, limit, seed):
        click.echo(line)
    return 0


def _states(image: str, strategy: str, limit: int, seed: int) -> Iterator[str]:
    with disk.to_look(image) as device:
        try:
            states = device.crash_states(strategy, limit=limit, seed=seed)
        except ValueError as error:
            raise Failure(f"{image}: {error}") from error
        with states:
            yield from (states.id_of(choice) for choice in states.choices())


@power_command.command(
    "track", epilog=example("zonedctl power track disk.img off", "zonedctl power track disk.img on")
)
@image_argument
@click.argument("state", type=click.Choice(["on", "off"]))
def track_command(image: str, state: str) -> int:
    """Whether the disk IMAGE remembers what overwritten blocks of conventional and preferred zones
    held at the last flush, so that a power cut can take the newer ones away. Off, all of them
    survive, and writing costs less.
    """
    with disk.to_change(image) as device:
        device.power_tracking = state == "on"
    return 0
