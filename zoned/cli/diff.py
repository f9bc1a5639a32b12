"""``zonedctl diff``: two reports, from images or saved text, side by side."""

from __future__ import annotations

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
    from zoned.reportdiff import Difference, ReportZone


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
@format_option("text", "json", "jsonl")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit status tells.")
def diff_command(first: str, second: str, form: str, quiet: bool) -> int:
    """Compare the zone reports FIRST and SECOND: which zones differ, and how.

    Each is a disk image, or a file that zonedctl report --format json, jsonl, csv, zbd or blkzone
    saved (the real blkzone report and zbd report -csv do too), or - for standard input. Write
    pointers count only where they are valid. json is one document, jsonl an object a line. Exit
    status: 0 they are the same, 1 they differ, 2 trouble.
    """
    from zoned.reportdiff import ReportFormatError, compare

    if first == second == "-":
        raise click.UsageError("only one of the two reports can come from standard input")
    try:
        with ExitStack() as stack:
            differences = compare(_zones(first, stack), _zones(second, stack))
            if quiet:
                return 1 if next(differences, None) is not None else 0
            counted = _Counted(differences)
            for piece in _pieces(counted, form, {"first": first, "second": second}):
                sys.stdout.write(piece)
    except BrokenPipeError:
        raise
    except (ReportFormatError, OSError) as error:
        from zoned.cli.app import sentence

        raise Failure(sentence(error), 2) from error
    return 1 if counted.number else 0


class _Counted:
    """Differences, and how many there were by now."""

    def __init__(self, differences: Iterator[Difference]) -> None:
        self.differences = differences
        self.number = 0

    def __iter__(self) -> Iterator[Difference]:
        for difference in self.differences:
            self.number += 1
            yield difference


def _pieces(differences: _Counted, form: str, names: dict[str, object]) -> Iterator[str]:
    """What is printed, as it is found."""
    from zoned.cli.documents import dumps, listing

    if form == "text":
        yield from (difference.to_text() + "\n" for difference in differences)
        return
    lines = (dumps(difference.to_json()) + "\n" for difference in differences)
    if form == "json":
        yield from listing({"diff": 2} | names, "differences", lines)
        return
    yield dumps({"diff": 1} | names) + "\n"
    yield from lines


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
