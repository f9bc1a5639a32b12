"""``zonedctl diff``: two reports, from images or saved text, side by side."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from zoned.cli import disk
from zoned.cli.app import Failure, example
from zoned.cli.params import FilePath, format_option

if TYPE_CHECKING:
    from zoned.reportdiff import ReportZone


@click.command(
    "diff",
    epilog=example(
        "zonedctl diff disk.img copy.img",
        "zonedctl report disk.img --format json > before; ...; zonedctl diff before disk.img",
        "blkzone report /dev/sdb | zonedctl diff - disk.img",
    ),
)
@click.argument("first", type=FilePath(dash=True))
@click.argument("second", type=FilePath(dash=True))
@format_option("text", "json")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit status tells.")
def diff_command(first: str, second: str, form: str, quiet: bool) -> int:
    """Compare the zone reports FIRST and SECOND: which zones differ, and how.

    Each is a disk image, or a file that zonedctl report --format json, csv, zbd or blkzone saved
    (the real blkzone report and zbd report -csv do too), or - for standard input. Write pointers
    count only where they are valid. Exit status: 0 they are the same, 1 they differ, 2 trouble.
    """
    from zoned.reportdiff import ReportFormatError, compare

    if first == second == "-":
        raise click.UsageError("only one of the two reports can come from standard input")
    number = 0
    try:
        with ExitStack() as stack:
            left, right = _zones(first, stack), _zones(second, stack)
            for difference in compare(left, right):
                number += 1
                if quiet:
                    return 1
                if form == "json":
                    if number == 1:
                        click.echo(json.dumps({"diff": 1, "first": first, "second": second}))
                    sys.stdout.write(json.dumps(difference.to_json()) + "\n")
                else:
                    sys.stdout.write(difference.to_text() + "\n")
    except BrokenPipeError:
        raise
    except (ReportFormatError, OSError) as error:
        from zoned.cli.app import sentence

        raise Failure(sentence(error), 2) from error
    if form == "json" and not number and not quiet:
        click.echo(json.dumps({"diff": 1, "first": first, "second": second}))
    return 1 if number else 0


def _zones(path: str, stack: ExitStack) -> Iterator[ReportZone]:
    from zoned.inputs import read_lines
    from zoned.reportdiff import ReportFormatError, of_device, parse

    if path == "-":
        name = "standard input"
        return parse(read_lines(sys.stdin.buffer, ReportFormatError, name), name)
    facts = os.stat(path)
    if stat.S_ISREG(facts.st_mode):
        with open(path, "rb") as peek:
            magic = peek.read(7)
        if magic == b"ZDIMAGE" or b"\0" in magic:
            return of_device(stack.enter_context(disk.to_look(path)))
    # A pipe too, such as <(zonedctl report ...): it was named to be waited for.
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115 - the stack closes it
    return parse(read_lines(file, ReportFormatError, path), path)
