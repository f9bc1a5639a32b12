"""fio's own command line, such as ``--name=x --rw=randwrite --direct=1``, read as a job file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from zoned.bench.fiofile import FioError, Plan, plan_of
from zoned.bench.fiooptions import ALIASES, OPTIONS, WITHOUT_EFFECT, whole_name
from zoned.bench.fiovalues import COMMAND_LINE, Line, Place
from zoned.geometry import Geometry

FORMATS = {"normal": "text", "json": "json", "json+": "json"}
"""fio's --output-format, and what this is here."""
REPORT = ("output", "output-format")
"""Options of fio as a program that say where its report goes, and how it is written."""


def parse_arguments(arguments: Sequence[str], geometry: Geometry) -> Plan:
    """A Plan from fio's own command line. Raises FioError."""
    plan = plan_of(_lines(arguments), "command line", geometry, "fio", {})
    plan.origin, plan.text = "fio's command line", f"fio {shlex.join(arguments)}"
    return plan


def report_of(arguments: Sequence[str]) -> dict[str, str]:
    """What fio's command line says of its report: ``output``, a file, and ``format``, which is text
    or json. Raises FioError.
    """
    out = {}
    for where, name, value in _options(arguments):
        if name == "output":
            out["output"] = value or ""
        elif name == "output-format":
            if value not in FORMATS:
                raise FioError(f"{where}: {name}={value}: it must be {', '.join(FORMATS)}")
            out["format"] = FORMATS[value]
    if not out.get("output", "-"):
        raise FioError("command line: --output needs the name of a file")
    return out


def _lines(arguments: Sequence[str]) -> Iterator[Line]:
    """The lines of a job file: each --name begins a job, what stands before is for all."""
    yield Line("[global]", COMMAND_LINE)
    for where, name, value in _options(arguments):
        if name in REPORT:
            continue
        if name == "name":
            if not (value or "").strip() or set(value or "") & set("[]\n"):
                raise FioError(f"{where}: --name needs the name of a job")
            yield Line(f"[{(value or '').strip()}]", Place(where))
        elif "\n" in (value or ""):
            raise FioError(f"{where}: {name}: a value is one line")
        else:
            yield Line(name if value is None else f"{name}={value}", Place(where))


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Where each stands, its name, and its value: behind an =, or the next argument."""
    rest = iter(enumerate(arguments, 1))
    for number, argument in rest:
        where = f"command line, argument {number}"
        found = re.fullmatch(r"--?([A-Za-z][^=]*)(?:=(.*))?", argument, re.DOTALL)
        if found is None:
            raise FioError(f"{where}: {argument!r} is no option of fio's: write --NAME=VALUE")
        name, value = whole_name(found[1].lower()), found[2]
        key = ALIASES.get(name, name)
        if value is None and (key in OPTIONS or key in WITHOUT_EFFECT or key in REPORT):
            following = arguments[number] if number < len(arguments) else "--"
            bare = key in OPTIONS and OPTIONS[key].bare
            if re.fullmatch(r"\d+", following) if bare else not re.match("--|-[A-Za-z]", following):
                value = following
                next(rest)
        yield where, name, value
