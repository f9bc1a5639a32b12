"""``zonedctl faults``: set, list and clear the fault rules of a disk, in use or not."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from zoned.cli import disk
from zoned.cli.app import Failure, echo, example
from zoned.cli.documents import dumps
from zoned.cli.params import (
    FilePath,
    OneOf,
    SomeOf,
    fault_commands,
    fault_kinds,
    format_option,
    image_argument,
    keeps,
    verbose_option,
)

if TYPE_CHECKING:
    from zoned.faults import FaultRule

_HELP = """Rules that make a disk fail on purpose: medium errors, torn, lost and flipped writes,
dead zones, latency, hangs, power cuts.

They act on every process that has the disk open, a running mount included, and stay until they are
cleared or the host boots anew."""


@click.group(
    "faults",
    help=_HELP,
    epilog=example(
        "zonedctl faults add disk.img medium --on write --zones 3",
        "zonedctl faults list disk.img",
    ),
)
def faults_command() -> None:
    """The group; its help is above."""


@faults_command.command(
    "add",
    epilog=example(
        "zonedctl faults add disk.img medium --on write --zones 3",
        "zonedctl faults add disk.img latency --latency 50ms --every 10",
        "zonedctl faults add disk.img --plan plan.toml",
    ),
)
@image_argument
@click.argument("kind", required=False, type=OneOf(fault_kinds))
@click.option("--plan", type=FilePath(), metavar="FILE", help="Set the rules of this TOML file.")
@click.option(
    "--on",
    type=SomeOf(fault_commands),
    metavar="COMMANDS",
    help="Such as write,append. Default: all that can.",
)
@click.option("--zones", "-z", metavar="ZONES", help="One range of zones, such as 3-7.")
@click.option("--range", "span", metavar="FROM:TO", help="Bytes of the disk, in whole blocks.")
@click.option("--block", metavar="BYTE", help="The block that begins there, instead of a range.")
@click.option(
    "--nth", type=click.IntRange(min=1), metavar="N", help="Only the nth command that it meets."
)
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Every nth command.")
@click.option("--probability", type=float, metavar="P", help="By chance, 0 to 1.")
@click.option("--once", is_flag=True, help="A single time.")
@click.option("--times", type=click.IntRange(min=1), metavar="N", help="At most so often.")
@click.option("--order", type=int, metavar="N", help="Of rules that meet, the lower acts.")
@click.option("--seed", type=int, metavar="N", help="Of everything random about it.")
@click.option("--blocks", type=int, metavar="N", help="torn: logical blocks that land.")
@click.option("--bit", type=int, metavar="N", help="flip-read, flip-media: which bit.")
@click.option("--after", is_flag=True, help="read-only, offline, power-cut: after the command.")
@click.option("--latency", metavar="TIME", help="latency: real time, such as 50ms.")
@click.option("--virtual-latency", metavar="TIME", help="latency: virtual time.")
@click.option("--timeout", metavar="TIME", help="hang: for so long at most.")
@click.option("--active", is_flag=True, help="limit: of active zones, not of open ones.")
@click.option(
    "--keep", type=OneOf(keeps), metavar="WHAT", help="power-cut: durable, all or random survives."
)
@click.option("--label", metavar="TEXT", help="Shown in the errors that it makes.")
@verbose_option
def add_command(
    image: str, kind: str | None, plan: str | None, span: str | None, verbose: bool, **given: Any
) -> int:
    """Set a rule of a KIND on the disk IMAGE, or all rules of a plan, and print their numbers.

    Kinds: medium, torn, lost, flush-error, flip-read, flip-media, read-only, offline, latency,
    hang, limit, power-cut.
    """
    from zoned.faults import FaultRule, read_plan

    asked = {key: value for key, value in given.items() if value not in (None, False)}
    if span is not None:
        first, colon, end = span.partition(":")
        if not colon:
            raise click.UsageError(f"--range is {span!r}: write FROM:TO, such as 4MiB:8MiB")
        asked["range"] = (first, end)
    if (kind is None) == (plan is None):
        raise click.UsageError("give a kind of fault, or --plan FILE")
    rules: list[FaultRule]
    if plan is not None:
        if asked:
            raise click.UsageError("a plan says all about its rules: no other option goes with it")
        rules = read_plan(plan)
    else:
        rules = [FaultRule(str(kind), **asked)]
    with disk.to_change(image) as device:
        where = "" if plan is None else f"plan {plan}"
        for fault in device.faults.set_all(rules, where=where):
            echo(str(fault if verbose else fault.id))
    return 0


@faults_command.command("list", epilog=example("zonedctl faults list disk.img --format json"))
@image_argument
@format_option("text", "json")
def list_command(image: str, form: str) -> int:
    """List the rules of the disk IMAGE in the order in which they act, and how often they did."""
    with disk.to_look(image) as device:
        faults = list(device.faults)
        spoiled = device.faults.spoiled()
        powered = device.powered
    if form == "json":
        listed = [
            asdict(replace(fault.rule, kind=str(fault.rule.kind), keep=str(fault.rule.keep)))
            | dict(zip(("id", "seen", "matched", "waiting"), (fault.id, *fault.last), strict=True))
            for fault in faults
        ]
        click.echo(
            dumps(
                {
                    "faults": 1,
                    "image": image,
                    "power": powered,
                    "rules": listed,
                    "spoiled": spoiled,
                },
                indent=2,
            )
        )
        return 0
    for fault in faults:
        echo(fault.told(*fault.last))
    if spoiled:
        are = "block is" if len(spoiled) == 1 else "blocks are"
        echo(f"{len(spoiled)} {are} spoiled and cannot be read, the first at byte {spoiled[0]}")
    if not powered:
        echo(f"{image}: the emulated disk has no power", err=True)
    return 0


@faults_command.command(
    "clear",
    epilog=example("zonedctl faults clear disk.img", "zonedctl faults clear disk.img --id 3"),
)
@image_argument
@click.option("--id", "number", type=int, metavar="N", help="This rule only.")
@click.option("--power-on", is_flag=True, help="Also give the disk its power back.")
def clear_command(image: str, number: int | None, power_on: bool) -> int:
    """Clear the rules of the disk IMAGE; what hangs by them goes on."""
    from zoned.faults import FaultError

    with disk.to_change(image) as device:
        try:
            device.faults.clear(number)
        except FaultError as error:
            raise Failure(f"{image}: {error}") from error
        if power_on:
            device.power_on()
    return 0


@faults_command.command("release", epilog=example("zonedctl faults release disk.img"))
@image_argument
@click.option("--id", "number", type=int, metavar="N", help="Those that hang by this rule only.")
def release_command(image: str, number: int | None) -> int:
    """Let go the commands that hang by the rules of the disk IMAGE; the rules stay."""
    with disk.to_change(image) as device:
        device.faults.release(number)
    return 0
