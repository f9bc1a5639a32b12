"""fio's job files: sections, includes and variables; what a section says becomes a Job.

What single options mean lies in fiooptions.py; here is what only all of them together tell: ranges
on the disk, contradictions, limits. What cannot be had is an error with file, line and option.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoned.bench.fiooptions import ALIASES, OPTIONS, WITHOUT_EFFECT, Section, known, near
from zoned.bench.fiovalues import FioError, Option, natural
from zoned.bench.jobs import Job
from zoned.geometry import Geometry
from zoned.inputs import MOST_JOBS, InputError, as_text, read_bytes
from zoned.units import counted, format_size

__all__ = ["FioError", "Plan", "load", "parse", "read_sections"]

DEEPEST = 8
"""Job files that include each other."""
MOST_INCLUDED = 1000
"""Files that a job file may include, counted as often as they are."""
MOST_NAMED = 40
"""Options that are not supported and are named in one go."""
MOST_PLANNED = 65536
"""Jobs of all sections together: as many as a simulation takes."""


@dataclass
class Plan:
    """What a job file (or a named pattern) wants to run on a disk."""

    jobs: list[Job] = field(default_factory=list)
    fills: list[tuple[int, int, int, bool]] = field(default_factory=list)
    """Before the run, in no time: first zone, number of zones, bytes in each, whether to finish."""
    notes: list[str] = field(default_factory=list)
    global_options: dict[str, str] = field(default_factory=dict)
    """For the JSON: of [global], or a pattern's parameters."""
    name: str = ""
    seed: int | None = None


# -------------------------------------------------------------------------------------- file


@dataclass(frozen=True, slots=True)
class Line:
    """A line that says something."""

    text: str
    where: str
    """File and line, for messages."""
    foreign: bool
    """It stands in a file that another file named: a message never shows what is in it."""

    def fail(self, text: str, foreign: str = "") -> FioError:
        """The error for this line; ``foreign`` is what is said instead in an included file."""
        return FioError(f"{self.where}: {foreign if self.foreign and foreign else text}")


class _Reader:
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
            line = Line(said, f"{path}:{number}", bool(above))
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
        raise line.fail(f"cannot include {name}: {why}", f"a file cannot be included: {why}")


def _variables(text: str, line: Line) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise line.fail(
                f"the environment has no variable {match[1]}",
                "it names a variable that the environment does not have",
            )
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)


Written = tuple[str, dict[str, Option], dict[str, Option], str]
"""Name, what the [global] sections above it say, what it says itself, and where it stands."""


def read_sections(path: Path, text: str) -> list[Written]:
    """Sections of a job file in order. Raises FioError."""
    common: dict[str, Option] = {}
    sections: list[Written] = []
    current: dict[str, Option] | None = None
    unknown: list[
        _UnknownOptionError
    ] = []  # all are named in one go, so that a file is mended in one
    shared: dict[str, Option] | None = None  # common, as the sections since it last changed have it
    for line in _Reader().lines(path, text):
        if line.text.startswith("["):
            match = re.fullmatch(r"\[([^\]]+)\]", line.text)
            if match is None or not match[1].strip():
                raise line.fail("the line is not a section: write [name]")
            name = match[1].strip()
            if name.lower() == "global":
                current, shared = common, None
            else:
                current = {}
                shared = dict(common) if shared is None else shared
                sections.append((name, shared, current, line.where))
            continue
        if current is None:
            raise line.fail("the line stands before the first section, such as [global]")
        try:
            option = _option(line, 0 if current is common else 1)
        except _UnknownOptionError as error:
            unknown.append(error)
            continue
        current.pop(option.name, None)  # said again: its place in the order is the last
        current[option.name] = option
    if unknown:
        raise _all_unknown(unknown)
    if not sections:
        raise FioError(f"{path}: there is no job section")
    return sections


class _UnknownOptionError(FioError):
    """The line has an option that is not supported."""

    def __init__(self, message: str, brief: str = "") -> None:
        super().__init__(message)
        self.brief = brief
        """Its name and line, for a list of several."""


def _all_unknown(found: Sequence[_UnknownOptionError]) -> FioError:
    """One error that names them all: the first in a sentence, the others behind it."""
    others = [error.brief for error in found[1:MOST_NAMED]]
    if len(found) > MOST_NAMED:
        others.append(f"and {counted(len(found) - MOST_NAMED, 'option')} more")
    rest = f"; so {'are' if len(found) > 2 else 'is'} {', '.join(others)}" if others else ""
    return FioError(f"{found[0]}{rest}")


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
"""What could be an option's name, of this or a later fio. Anything else is not shown."""


def _option(line: Line, rank: int) -> Option:
    key, equals, value = line.text.partition("=")
    key = key.strip()
    name = ALIASES.get(key.lower(), key.lower())
    if not known(name):
        close = difflib.get_close_matches(name[:100], near(), n=1, cutoff=0.75)
        hint = f" (did you mean {close[0]}?)" if close else ""
        unknown = "it names an option that is unknown or not supported here"
        if _NAME.fullmatch(key) is None:
            raise line.fail("the line is neither a section nor an option")
        told = f"the option {key} is unknown or not supported here{hint}"
        brief = f"one at {line.where}" if line.foreign else f"{key} at {line.where}{hint}"
        raise _UnknownOptionError(str(line.fail(told, unknown)), brief)
    if not equals and name not in WITHOUT_EFFECT and not OPTIONS[name].bare:
        raise line.fail(f"the option {name} needs a value")
    given = _variables(value.strip(), line) if equals else ""
    option = Option(name, given, line.where, rank, line.foreign)
    if equals and name not in WITHOUT_EFFECT and not option.value.strip(" ,"):
        raise line.fail(f"the option {name} needs a value behind its =")
    return option


def load(
    path: str | os.PathLike[str], geometry: Geometry, overrides: Mapping[str, str] | None = None
) -> Plan:
    """A Plan from a job file for a disk. ``overrides`` win over what the file says.

    Raises FioError, OSError.
    """
    file = Path(path)
    content = read_bytes(file, MOST_JOBS, FioError)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FioError(f"{path}: not a text file (byte {error.start})") from None
    return parse(text, geometry, file, overrides)


def parse(
    text: str,
    geometry: Geometry,
    path: Path = Path("job"),
    overrides: Mapping[str, str] | None = None,
) -> Plan:
    """A Plan from the text of a job file. Raises FioError."""
    plan = Plan(name=path.stem)
    group = -1
    sections = read_sections(path, text)
    said = _given(overrides or {})
    notes: dict[str, None] = {}  # each once, in order
    limits: dict[int, Job] = {}
    wait = 0  # for the jobs before the last stonewall: those behind it begin together
    for name, common, own, where in sections:
        options = {**common, **own, **said}
        context = Section(Job(name), geometry, options, [])
        _apply(context, (common, own, said))
        _finish(context, name, where)
        walled = context.stonewall and bool(plan.jobs)
        wait = len(plan.jobs) if walled else wait
        if walled or context.new_group or group < 0:
            group += 1
        if context.seed is not None:
            plan.seed = context.seed
        if len(plan.jobs) + context.numjobs > MOST_PLANNED:
            raise FioError(
                f"{where}: job {name}: more than {MOST_PLANNED} jobs with those before it"
            )
        mine = {o.name: o.value or "1" for o in options.values() if o.rank}
        for index in range(context.numjobs):
            job = replace(context.job)
            job.group = group
            job.wait_for = wait
            job.offset += index * context.offset_increment
            job.group_reporting = context.group_reporting
            job.options = mine
            _range(context, job, name, where)
            _zone_limits(limits, context, job)
            if job.max_open_zones:
                limits.setdefault(job.max_open_zones, job)
            plan.jobs.append(job)
            notes |= dict.fromkeys(context.notes)
            context.notes.clear()
    plan.notes = [*notes, *_idle(sections, said)]
    plan.global_options = {o.name: o.value or "1" for o in sections[-1][1].values()}
    _limits(plan, geometry)
    return plan


def _idle(sections: Sequence[Written], said: Mapping[str, Option]) -> list[str]:
    """One note for all options that were given and have no effect."""
    given = {name for _, common, own, _ in sections for name in (*common, *own)} | set(said)
    idle = sorted(given & WITHOUT_EFFECT)
    return [f"without effect in virtual time: {', '.join(idle)}"] if idle else []


def _given(overrides: Mapping[str, str]) -> dict[str, Option]:
    """Options from the command line (or a sweep's parameters)."""
    out = {}
    for key, value in overrides.items():
        name = ALIASES.get(key, key)
        if not known(name):
            raise FioError(f"command line: the option {key} is unknown or not supported")
        out[name] = Option(name, value, "command line", 2)
    return out


def _apply(c: Section, layers: Sequence[Mapping[str, Option]]) -> None:
    """Sets what the options say, those of the last layer last."""
    if "kb_base" in c.options:
        OPTIONS["kb_base"].apply(c, c.options["kb_base"])
    for layer in layers:
        if "bsrange" in layer and ("bs" in layer or "bssplit" in layer):
            other = "bs" if "bs" in layer else "bssplit"
            raise layer["bsrange"].fail(f"it contradicts {other} ({layer[other].where})")
        mix = [layer[name] for name in ("rwmixread", "rwmixwrite") if name in layer]
        if len(mix) == 2 and sum(natural(o.value) or 0 for o in mix) != 100:
            raise mix[1].fail(f"with {mix[0].name} ({mix[0].where}) it does not add up to 100")
        for name, one in OPTIONS.items():
            if one.layered and name in layer:
                one.apply(c, layer[name])
    for name, one in OPTIONS.items():
        if not one.layered and name in c.options:
            one.apply(c, c.options[name])


def _finish(c: Section, name: str, where: str) -> None:
    """What only all options together tell."""
    job = c.job
    if "rw" not in c.options:
        job.reads = True
    if c.synchronous and job.iodepth > 1:
        engine = c.options.get("ioengine")
        which = f"ioengine={engine.value}" if engine else "the ioengine (none is named: psync)"
        c.notes.append(f"job {name}: {which} is synchronous, so iodepth is 1")
        job.iodepth = 1
    if job.zbd and job.writes and "direct" not in c.options:
        raise FioError(f"{where}: job {name}: zonemode=zbd with writes needs direct=1")
    if job.append and not job.zbd:
        raise c.options["zone_append"].fail("zone appends need zonemode=zbd")
    if job.time_based and not job.runtime:
        raise c.options["time_based"].fail("it needs runtime")
    if job.reset_frequency > 0 and not job.reset_threshold:
        c.notes.append(f"job {name}: zone_reset_threshold is 0, so resets begin at once")
    _finish_blocks(c, where)
    if job.trims:
        _finish_trims(c)
    job.verify = c.verify and c.do_verify and job.writes
    if job.verify:
        _finish_verify(c)
    if job.runtime and job.ramp:
        job.runtime += job.ramp  # fio: ramp_time comes on top
    job.loops = c.loops


def _finish_blocks(c: Section, where: str) -> None:
    """Block sizes against the disk's blocks and its zones."""
    job, geometry = c.job, c.geometry
    said = next((c.options[n] for n in ("bssplit", "bsrange", "bs") if n in c.options), None)
    for at, used in enumerate((job.reads, job.writes)):
        for size in [size for size, _ in job.split[at]] or [job.bs_min[at], job.bs_max[at]]:
            if not used:
                continue
            text = ""
            if size % geometry.logical_block:
                text = f"it is no multiple of the disk's block, {geometry.logical_block}"
            elif size > geometry.zone_capacity:
                text = f"it is larger than a zone's capacity, {geometry.zone_capacity}"
            if text and said:
                raise said.fail(f"{size}: {text}")
            if text:
                raise FioError(f"{where}: job {job.name}: the block size is {size}: {text}")


def _finish_trims(c: Section) -> None:
    job, zone = c.job, c.geometry.zone_size
    if not job.zbd:
        raise c.options["rw"].fail("trims are zone resets here, and need zonemode=zbd")
    if job.split[2] or {job.bs_min[2], job.bs_max[2]} != {zone}:
        said = next((c.options[n] for n in ("bssplit", "bsrange", "bs") if n in c.options), None)
        raise (said or c.options["rw"]).fail(
            f"a trim resets a zone, so its block size must be the zone size, {zone} (as fio asks): "
            f"bs=,,{zone}"
        )


def _finish_verify(c: Section) -> None:
    job, zone = c.job, c.geometry.zone_size
    if job.time_based:
        raise c.options["verify"].fail("reading back after a time_based run is not supported")
    for size in [size for size, _ in job.split[1]] or [job.bs_min[1]]:
        if job.zbd and zone % size:
            raise c.options["verify"].fail(
                f"the block size {size} is no divisor of the zone size, {zone}, as verify needs"
            )


def _range(c: Section, job: Job, name: str, where: str) -> None:
    """Offset and size on the disk, as fio rounds them in zone mode."""
    whole = _whole_zones(c, job)
    size = _offset(c, job, name, where, whole)
    left = c.geometry.size - job.offset
    if size is None:
        size = left
    elif c.options["size"].value.strip().endswith("%"):
        size = min(size, left)  # a percentage is of the whole disk; fio cuts it so
    if size > left:
        raise c.options["size"].fail(
            f"from offset {job.offset} on the disk has {counted(left, 'byte')} left"
        )
    zone = c.geometry.zone_size
    if whole and size % zone and size != left:
        rounded = max(size, 0) // zone * zone
        if not rounded:
            raise c.options["size"].fail(f"in zone mode it must hold a zone ({zone} bytes)")
        c.notes.append(f"job {name}: size {size} rounded down to whole zones, {rounded}")
        size = rounded
    job.size = size
    if c.io_percent is not None:
        job.io_size = max(1, int(size * c.io_percent / 100))


def _offset(c: Section, job: Job, name: str, where: str, whole: bool) -> int | None:
    """Checks and rounds the offset; the size left (fio keeps the end), or None."""
    geometry, size = c.geometry, c.size
    placed = c.options.get("offset_increment") or c.options.get("offset")
    if job.offset >= geometry.size:
        text = f"offset {job.offset} is beyond the disk, which has {geometry.size} bytes"
        raise placed.fail(text) if placed else FioError(f"{where}: job {name}: {text}")
    if whole and placed and job.offset % geometry.zone_size:
        rounded = -(-job.offset // geometry.zone_size) * geometry.zone_size
        if rounded >= geometry.size:
            raise placed.fail("no whole zone lies behind it on the disk")
        c.notes.append(f"job {name}: offset {job.offset} rounded up to the zone at {rounded}")
        if size is not None and "%" not in c.options["size"].value:
            size -= rounded - job.offset
        job.offset = rounded
    return size


def _whole_zones(c: Section, job: Job) -> bool:
    """Whether the range must be whole zones: fio asks for it in zone mode, but for rw=read and
    where all zones are conventional.
    """
    zone, disk = c.geometry.zone_size, c.geometry.size
    end = min(job.offset + (c.size or disk), disk)
    for first, count in c.geometry.conventional.ranges():
        if first * zone <= job.offset and end <= (first + count) * zone:
            return False
    return job.zbd and (job.writes or job.trims or job.random)


def _zone_limits(limits: Mapping[int, Job], c: Section, job: Job) -> None:
    """max_open_zones is one number for a disk, as in fio, and no more than the disk has.

    ``limits``: the first job with each number that jobs before this one have.
    """
    option = c.options.get("max_open_zones")
    if option is None or not job.max_open_zones or not job.zbd:
        return
    most = c.geometry.max_open
    if most and job.max_open_zones > most and not job.ignore_zone_limits:
        raise option.fail(f"the disk has {most} open zones at most (ignore_zone_limits=1 lifts it)")
    for number, other in limits.items():
        if number != job.max_open_zones:
            raise option.fail(f"job {other.name} says {number}, and it is one limit for the disk")


def _limits(plan: Plan, geometry: Geometry) -> None:
    """fio's silent trap, said aloud: more writing jobs than zones that may be open."""
    writers = [job for job in plan.jobs if job.zbd and job.writes]
    ranges: dict[int, set[tuple[int, int]]] = {}
    for job in writers:
        ranges.setdefault(job.wait_for, set()).add((job.offset, job.size))
    for job in writers:
        limit = job.max_open_zones or (0 if job.ignore_zone_limits else geometry.max_open)
        apart = len(ranges[job.wait_for])
        if limit and apart > limit:
            plan.notes.append(
                f"{counted(apart, 'job')} write to ranges of their own, and only {limit} "
                f"zones may be open: "
                "jobs beyond the limit stop without writing (fio's do so silently)"
            )
            return
