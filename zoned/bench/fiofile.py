"""fio's job files: what a section says becomes a Job.

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

from zoned.bench.fiolines import Reader, variables
from zoned.bench.fiooptions import (
    ALIASES,
    LAYERED,
    OPTIONS,
    PLAIN,
    RAW,
    WITHOUT_EFFECT,
    Section,
    known,
    near,
)
from zoned.bench.fiovalues import COMMAND_LINE, Declared, FioError, Line, Option, natural
from zoned.bench.jobs import Job
from zoned.bench.logs import Logs
from zoned.geometry import Geometry
from zoned.inputs import MOST_JOBS, read_bytes
from zoned.units import counted

__all__ = ["FioError", "Plan", "load", "parse", "plan_of", "read_sections"]

MOST_NAMED = 40
"""Options that are not supported and are named in one go."""
MOST_TOLD = 10
"""Values that are not supported and are told in one go, in a sentence each."""
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
    origin: str = ""
    """What it was made from, in words: a job file, a pattern, a command line."""
    text: str = ""
    """The job file or the command line itself."""
    settings: dict[str, str] = field(default_factory=dict)
    """What was said beside that, and won over it."""


# -------------------------------------------------------------------------------------- file


Written = tuple[str, dict[str, Option], dict[str, Option], str]
"""Name, what the [global] sections above it say, what it says itself, and where it stands."""


def read_sections(path: Path, text: str) -> list[Written]:
    """Sections of a job file in order. Raises FioError."""
    unknown = _Unknown()
    sections = _sections(Reader().lines(path, text), str(path), unknown)
    unknown.check()
    return sections


def _sections(lines: Iterator[Line], told: str, unknown: _Unknown) -> list[Written]:
    """Sections in order; ``unknown`` gets the options that are not supported."""
    common: dict[str, Option] = {}
    sections: list[Written] = []
    current: dict[str, Option] | None = None
    shared: dict[str, Option] | None = None  # common, as the sections since it last changed have it
    for line in lines:
        if line.text.startswith("["):
            match = re.fullmatch(r"\[([^\]]+)\]", line.text)
            if match is None or not match[1].strip():
                raise line.place.fail("the line is not a section: write [name]")
            name = match[1].strip()
            if name.lower() == "global":
                current, shared = common, None
            else:
                current = {}
                shared = dict(common) if shared is None else shared
                sections.append((name, shared, current, line.place.name))
            continue
        if current is None:
            raise line.place.fail("the line stands before the first section, such as [global]")
        option = _option(line, 0 if current is common else 1, unknown)
        if option is None:
            continue
        current.pop(option.name, None)  # said again: its place in the order is the last
        current[option.name] = option
    if not sections and not unknown.count:
        raise FioError(f"{told}: there is no job section")
    return sections


class _Unknown:
    """Options of a file, and values of options, that are not supported. All are told in one error,
    so that the file is mended in one go; those behind the first MOST_NAMED are only counted, as a
    file may have very many.
    """

    def __init__(self) -> None:
        self.count = 0
        self.values: dict[str, None] = {}
        """Sentences about values, each once, in order."""
        self._first = ""
        """The sentence about the first."""
        self._others: list[str] = []
        """Names and lines of those behind it that are named."""

    def add(self, line: Line, key: str) -> None:
        """One more: ``key``, as it is written in a line."""
        self.count += 1
        if self.count > MOST_NAMED:
            return
        close = difflib.get_close_matches(key.lower(), near(), n=1, cutoff=0.75)
        hint = f" (did you mean {close[0]}?)" if close else ""
        if self.count > 1:
            at = line.place
            brief = f"one at {at.name}" if at.foreign else f"{key} at {at.name}{hint}"
            self._others.append(brief)
            return
        told = f"the option {key} is unknown or not supported here{hint}"
        foreign = "it names an option that is unknown or not supported here"
        self._first = str(line.place.fail(told, foreign))

    def check(self) -> None:
        """Raises FioError where there are some: it names them all."""
        values = list(self.values)
        more = len(values) - MOST_TOLD
        if more > 0:
            values = [*values[:MOST_TOLD], f"and {counted(more, 'value')} more"]
        told = [self._options()] if self.count else []
        if told or values:
            raise FioError("; ".join([*told, *values]))

    def _options(self) -> str:
        """The first in a sentence, the others behind it."""
        others = self._others
        if self.count > MOST_NAMED:
            others = [*others, f"and {counted(self.count - MOST_NAMED, 'option')} more"]
        rest = f"; so {'are' if self.count > 2 else 'is'} {', '.join(others)}" if others else ""
        return f"{self._first}{rest}"


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
"""What could be an option's name, of this or a later fio. Anything else is not shown."""


def _option(line: Line, rank: int, unknown: _Unknown) -> Option | None:
    """What a line says; None: an option that is not supported, which ``unknown`` has then."""
    key, equals, value = line.text.partition("=")
    key = key.strip()
    name = ALIASES.get(key.lower(), key.lower())
    if not known(name):
        if _NAME.fullmatch(key) is None:
            raise line.place.fail("the line is neither a section nor an option")
        unknown.add(line, key)
        return None
    if not equals and name not in WITHOUT_EFFECT and not OPTIONS[name].bare:
        raise line.place.fail(f"the option {name} needs a value")
    given = variables(value.strip(), line.place) if equals else ""
    option = Option(name, given, line.place, rank)
    if equals and name not in WITHOUT_EFFECT and not option.value.strip(" ,"):
        raise line.place.fail(f"the option {name} needs a value behind its =")
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
    lines = Reader().lines(path, text)
    plan = plan_of(lines, str(path), geometry, path.stem, overrides or {})
    plan.origin, plan.text, plan.settings = f"job file {path.name}", text, dict(overrides or {})
    return plan


def plan_of(
    lines: Iterator[Line],
    told: str,
    geometry: Geometry,
    title: str,
    overrides: Mapping[str, str],
) -> Plan:
    """A Plan from lines; ``told`` is where they stand. Raises FioError."""
    unknown = _Unknown()
    sections = _sections(lines, told, unknown)
    return _plan(sections, geometry, title, overrides, unknown)


def _plan(
    sections: Sequence[Written],
    geometry: Geometry,
    title: str,
    overrides: Mapping[str, str],
    unknown: _Unknown,
) -> Plan:
    plan = Plan(name=title)
    group = -1
    said = _given(overrides)
    notes: dict[str, None] = {}  # each once, in order
    limits: dict[int, Job] = {}
    named: dict[str, list[tuple[int, int]]] = {}
    wait = 0  # for the jobs before the last stonewall: those behind it begin together
    for name, common, own, where in sections:
        options = {**common, **own, **said}
        context = Section(Job(name), geometry, options, [], named)
        _apply(context, (common, own, said), unknown.values)
        if unknown.count or unknown.values:  # only to be told: nothing comes of it
            named.setdefault(name, []).append((0, 0))
            continue
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
        named.setdefault(name, []).append((len(plan.jobs), context.numjobs))
        mine = {o.name: o.value or "1" for o in options.values() if o.rank}
        for index in range(context.numjobs):
            job = replace(context.job)
            job.group = group
            job.wait_for = wait
            job.offset += index * context.offset_increment
            job.options = mine
            _range(context, job, name, where)
            _zone_limits(limits, context, job)
            if job.max_open_zones:
                limits.setdefault(job.max_open_zones, job)
            plan.jobs.append(job)
            notes |= dict.fromkeys(context.notes)
            context.notes.clear()
    unknown.check()
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
        out[name] = Option(name, value, COMMAND_LINE, 2)
    return out


def _apply(c: Section, layers: Sequence[Mapping[str, Option]], refused: dict[str, None]) -> None:
    """Sets what the options say, those of the last layer last; ``refused`` gets what cannot be."""
    if "kb_base" in c.options:
        _set(c, OPTIONS["kb_base"], c.options["kb_base"], refused)
    for layer in layers:
        if "bsrange" in layer and ("bs" in layer or "bssplit" in layer):
            other = "bs" if "bs" in layer else "bssplit"
            raise layer["bsrange"].fail(f"it contradicts {other} ({layer[other].place.name})")
        mix = [layer[name] for name in ("rwmixread", "rwmixwrite") if name in layer]
        if len(mix) == 2 and sum(natural(o.value) or 0 for o in mix) != 100:
            raise mix[1].fail(f"with {mix[0].name} ({mix[0].place.name}) it does not add up to 100")
        for one in LAYERED:
            if one.name in layer:
                _set(c, one, layer[one.name], refused)
    for one in PLAIN:
        if one.name in c.options:
            _set(c, one, c.options[one.name], refused)


def _set(c: Section, one: Declared, option: Option, refused: dict[str, None]) -> None:
    try:
        one.apply(c, option)
    except FioError as error:
        refused[str(error)] = None


def _finish(c: Section, name: str, where: str) -> None:
    """What only all options together tell."""
    job = c.job
    if "rw" not in c.options:
        job.reads = True
    _finish_engine(c)
    _finish_strides(c)
    job.exitall = c.exit_what if c.exitall else "no"
    job.exit_on_error = c.exit_what if c.exit_on_error else "no"
    _finish_steady(c)
    engine = c.options.get("ioengine")
    raw = engine is not None and engine.value in RAW
    if job.zbd and job.writes and "direct" not in c.options and not raw:
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
    _finish_logs(c)
    if job.runtime and job.ramp:
        job.runtime += job.ramp  # fio: ramp_time comes on top


def _finish_logs(c: Section) -> None:
    if c.logs:
        c.job.log = True
        c.job.logs = Logs(
            c.logs, c.per_job_logs, c.log_every, c.log_most, c.log_offset, c.log_priority
        )


def _finish_engine(c: Section) -> None:
    """What kind of engine it is, and so how many commands are under way."""
    job = c.job
    if job.diskless and job.zbd:
        raise c.options["ioengine"].fail("the engine null has no zones: zonemode must be none")
    if c.synchronous and job.iodepth > 1 and not c.offload:
        engine = c.options.get("ioengine")
        which = f"ioengine={engine.value}" if engine else "the ioengine (none is named: psync)"
        c.notes.append(f"job {job.name}: {which} is synchronous, so iodepth is 1")
        job.iodepth = 1
    job.zone_lock = c.synchronous and job.zbd
    job.batch_complete = min(job.batch_complete, job.iodepth)


def _finish_steady(c: Section) -> None:
    """What is to be steady, and in which samples."""
    job = c.job
    said = c.options.get("steadystate")
    if said is None or not job.steady_duration:
        if said is not None:
            c.notes.append(f"job {job.name}: without steadystate_duration nothing is to be steady")
        job.steady, job.steady_duration, job.steady_ramp, job.steady_interval = "no", 0, 0, 0
        return
    interval = c.options.get("steadystate_check_interval", said)
    job.steady_interval = job.steady_interval or 10**9
    if job.steady_interval < 10**9:
        raise interval.fail("it must be at least 1s")
    if job.steady_duration % job.steady_interval or job.steady_duration == job.steady_interval:
        raise c.options["steadystate_duration"].fail(
            "it must be a multiple of steadystate_check_interval, from 2 of them on"
        )
    job.steady_group = job.group_reporting


def _finish_strides(c: Section) -> None:
    """zonesize and its kin: of the disk's zones, or fio's older zones, which any disk can have."""
    job, sizes = c.job, c.zone_sizes
    mode, size = c.options.get("zonemode"), sizes.get("zonesize", 0)
    job.strided = mode.value == "strided" if mode else bool(size) and size != c.geometry.zone_size
    if job.strided:
        if not size:
            raise c.options["zonemode"].fail("it needs zonesize")
        if job.trims:
            raise c.options["rw"].fail("trims are zone resets here, and need zonemode=zbd")
        job.zone_bytes, job.zone_range = size, sizes.get("zonerange", 0) or size
        job.zone_skip = sizes.get("zoneskip", 0)
        for name, value in sizes.items():
            if value % c.geometry.logical_block:
                raise c.options[name].fail(
                    f"it is no multiple of the disk's block, {c.geometry.logical_block}"
                )
            if value > c.geometry.size:
                raise c.options[name].fail(f"the disk has only {c.geometry.size} bytes")
        return
    if size not in (0, c.geometry.zone_size):
        raise c.options["zonesize"].fail(
            f"it must be 0 or the disk's zone size, {c.geometry.zone_size}"
        )
    for name in ("zonerange", "zoneskip"):
        if sizes.get(name):
            raise c.options[name].fail("it is of zonemode=strided")


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


def _sized(c: Section) -> Option:
    """What says how large the range is."""
    return c.options["size"] if "size" in c.options else c.options["filesize"]


def _range(c: Section, job: Job, name: str, where: str) -> None:
    """Offset and size on the disk, as fio rounds them in zone mode."""
    whole = _whole_zones(c, job)
    size = _offset(c, job, name, where, whole)
    left = c.geometry.size - job.offset
    if size is None:
        size = left
    elif _sized(c).value.strip().endswith("%"):
        size = min(size, left)  # a percentage is of the whole disk; fio cuts it so
    if size > left:
        raise _sized(c).fail(
            f"from offset {job.offset} on the disk has {counted(left, 'byte')} left"
        )
    zone = c.geometry.zone_size
    if whole and size % zone and size != left:
        rounded = max(size, 0) // zone * zone
        if not rounded:
            raise _sized(c).fail(f"in zone mode it must hold a zone ({zone} bytes)")
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
        if size is not None and "%" not in _sized(c).value:
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
