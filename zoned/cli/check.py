"""``zonedctl check``: what is wrong with an image, and mending it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import click

from zoned.cli.app import echo, example
from zoned.cli.documents import dumps
from zoned.cli.params import format_option, image_argument
from zoned.units import counted

if TYPE_CHECKING:
    from zoned.checking import Finding

DATA_LOST, ERRORS_STAY = 3, 4


@click.command(
    "check",
    epilog=example("zonedctl check disk.img", "zonedctl check disk.img --repair"),
)
@image_argument
@click.option(
    "--repair",
    is_flag=True,
    help="Mend what can be mended without inventing data; nobody may use it.",
)
@format_option("text", "json")
def check_command(image: str, repair: bool, form: str) -> int:
    """Check the disk image IMAGE, in use or not, and name every inconsistency.

    What a repair costs is told for each zone, with --repair and, beforehand, without.

    Exit status: 0 no errors (or all of them mended), 3 all of them mended but data was lost, 4
    errors stay, 1 it could not be checked.
    """
    import zoned

    findings = zoned.check(image, repair)
    left = [finding for finding in findings if finding.error and not finding.mended]
    lost = [finding for finding in findings if finding.loses and finding.mended]
    if form == "json":
        click.echo(dumps(_document(image, findings), indent=2))
    else:
        for finding in findings:
            hint = " (--repair can mend it)" if finding.mendable and not finding.mended else ""
            echo(f"{finding}{hint}")
        echo(f"{image}: {_summary(findings)}", err=True)
    return ERRORS_STAY if left else DATA_LOST if lost else 0


def _document(image: str, findings: list[Finding]) -> dict[str, object]:
    """All of it for programs. ``lost``: bytes that mending it cost, or would; null: unknown."""
    return {
        "check": 1,
        "image": image,
        "errors": sum(finding.error and not finding.mended for finding in findings),
        "findings": [
            {
                "kind": _name(finding.kind),
                "zone": finding.zone,
                "offset": finding.offset,
                "error": finding.error,
                "mendable": finding.mendable,
                "mended": finding.mended,
                "lost": finding.lost,
                "becomes": None if finding.becomes is None else _name(finding.becomes),
                "text": finding.text,
            }
            for finding in findings
        ],
    }


def _name(member: IntEnum) -> str:
    return member.name.lower().replace("_", "-")


def _summary(findings: list[Finding]) -> str:
    left = sum(finding.error and not finding.mended for finding in findings)
    mended = sum(finding.mended for finding in findings)
    parts = [counted(left, "error") if left else "no errors"]
    if mended:
        parts.append(f"{mended} mended")
    for done, what in ((True, "lost"), (False, "would be lost by a repair")):
        losing = [finding for finding in findings if finding.loses and finding.mended is done]
        if losing:
            known = sum(finding.lost or 0 for finding in losing)
            unknown = any(finding.lost is None for finding in losing)
            much = counted(known, "byte", form=",") if known else "data"
            zones = len({finding.zone for finding in losing})
            more = " and more" if known and unknown else ""
            parts.append(f"{much}{more} of {counted(zones, 'zone')} {what}")
    return ", ".join(parts)
