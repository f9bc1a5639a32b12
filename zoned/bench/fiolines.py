"""The lines of fio's job files, with the files that they include, and the variables in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from zoned.bench.fiovalues import FioError, Line, Place
from zoned.inputs import MOST_JOBS, InputError, as_text, read_bytes
from zoned.units import format_size

DEEPEST = 8
"""Job files that include each other."""
MOST_INCLUDED = 1000
"""Files that a job file may include, counted as often as they are."""


class Reader:
    """Follows ``include`` from one job file on, within the limits of zoned.inputs."""

    def __init__(self) -> None:
        self._left = MOST_JOBS
        self._included = 0

    def lines(self, path: Path, text: str, above: tuple[Path, ...] = ()) -> Iterator[Line]:
        """The lines of a file and of those that it includes. ``above``: the files that led here."""
        self._left -= len(text)
        if self._left < 0:
            raise FioError(
                f"{(*above, path)[0]}: it is larger than {format_size(MOST_JOBS)} with what it "
                "includes, the most that is read"
            )
        for number, raw in enumerate(text.splitlines(), 1):
            said = re.split("[;#]", raw, maxsplit=1)[0].strip()  # fio cuts comments in a line too
            if not said:
                continue
            line = Line(said, Place(f"{path}:{number}", bool(above)))
            if said.split(maxsplit=1)[0] == "include":
                yield from self._include(line, path, (*above, path))
            else:
                yield line

    def _include(self, line: Line, path: Path, above: tuple[Path, ...]) -> Iterator[Line]:
        name = line.text[len("include") :].strip()
        other = path.parent / name
        try:
            if not name:
                raise FioError("no file is named")
            self._included += 1
            if self._included > MOST_INCLUDED:
                raise FioError(f"{MOST_INCLUDED} files were included before, which are the most")
            real = os.path.realpath(other)
            circle = [os.path.realpath(file) for file in above]
            if real in circle:
                names = [str(file) for file in above[circle.index(real) :]]
                raise FioError(f"the files include each other: {' -> '.join([*names, names[0]])}")
            if len(above) > DEEPEST:
                raise FioError(f"files include each other more than {DEEPEST} deep")
            content = read_bytes(other, MOST_JOBS, FioError, "the file")
            text = as_text(content, FioError, "the file")
        except OSError as error:
            why = error.strerror or "it cannot be read"
        except (InputError, ValueError) as error:  # ValueError: a name that no file can have
            why = str(error)
        else:
            yield from self.lines(other, text, above)
            return
        raise line.place.fail(f"cannot include {name}: {why}", f"a file cannot be included: {why}")


KEYWORDS: dict[str, Callable[[], int]] = {
    "pagesize": lambda: os.sysconf("SC_PAGE_SIZE"),
    "mb_memory": lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    "ncpus": lambda: os.sysconf("SC_NPROCESSORS_ONLN"),
}
"""Words that stand for numbers of this machine behind a $, as in fio."""


def variables(text: str, place: Place) -> str:
    """A value with what its variables stand for. Raises FioError."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise place.fail(
                f"the environment has no variable {match[1]}",
                "it names a variable that the environment does not have",
            )
        return os.environ[match[1]]

    text = re.sub(r"\$\{(\w+)\}", value, text)
    return re.sub(r"\$(pagesize|mb_memory|ncpus)\b", lambda match: str(KEYWORDS[match[1]]()), text)
