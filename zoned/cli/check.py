"""``zonedctl check``: what is wrong with an image, and mending it."""

from __future__ import annotations

import click

from zoned.cli.app import example
from zoned.cli.documents import dumps
from zoned.cli.params import format_option, image_argument
from zoned.units import counted

ERRORS_STAY = 4


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

    Exit status: 0 no errors (or all of them mended), 4 errors stay, 1 it could not be checked.
    """
    import zoned

    findings = zoned.check(image, repair)
    left = [finding for finding in findings if finding.error and not finding.mended]
    if form == "json":
        listed = [
            {
                "kind": finding.kind.name.lower().replace("_", "-"),
                "zone": finding.zone,
                "offset": finding.offset,
                "error": finding.error,
                "mendable": finding.mendable,
                "mended": finding.mended,
                "text": finding.text,
            }
            for finding in findings
        ]
        click.echo(
            dumps({"check": 1, "image": image, "errors": len(left), "findings": listed}, indent=2)
        )
    else:
        for finding in findings:
            hint = " (--repair can mend it)" if finding.mendable and not finding.mended else ""
            click.echo(f"{finding}{hint}")
        mended = sum(finding.mended for finding in findings)
        what = counted(len(left), "error") if left else "no errors"
        click.echo(f"{image}: {what}{f', {mended} mended' if mended else ''}", err=True)
    return ERRORS_STAY if left else 0
