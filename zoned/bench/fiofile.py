"""fio's job files: what a section says becomes a Job; what cannot be had is an error with its line.

The options that matter for zoned work are taken with fio's meaning (man fio, 3.3x). An option that
is not supported is never ignored: the error names file, line and option. The few options that can
have no effect in a simulation (thread, filename, ...) are listed in ``WITHOUT_EFFECT``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoned.bench.jobs import Job
from zoned.geometry import Geometry


class FioError(ValueError):
    """A job file that cannot be read or asks for what there is not. Names file, line and option."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was written."""

    name: str
    value: str
    where: str
    """File and line."""

    def fail(self, text: str) -> FioError:
        """The error for this option."""
        return FioError(f"{self.where}: {self.name}={self.value}: {text}")


@dataclass
class Plan:
    """What a job file (or a named pattern) wants to run on a disk."""

    jobs: list[Job] = field(default_factory=list)
    fills: list[tuple[int, int, int, bool]] = field(default_factory=list)
    """Before the run, in no time: first zone, number of zones, bytes in each, whether to finish."""
    notes: list[str] = field(default_factory=list)
    global_options: dict[str, str] = field(default_factory=dict)
    name: str = ""
    seed: int | None = None


@dataclass
class Context:
    """What the options of one section are applied to."""

    job: Job
    geometry: Geometry
    options: dict[str, Option]
    notes: list[str]
    numjobs: int = 1
    offset_increment: int = 0
    stonewall: bool = False
    new_group: bool = False
    group_reporting: bool = False
    kb_base: int = 1024
    seed: int | None = None
    loops: int = 1
    verify: bool = False
    do_verify: bool = True
    synchronous: bool = True
    size: int | None = None


ALIASES = {
    "blocksize": "bs",
    "io_limit": "io_size",
    "timeout": "runtime",
    "wait_for_previous": "stonewall",
    "blockalign": "ba",
    "ba": "ba",
    "readwrite": "rw",
    "start_delay": "startdelay",
    "iodepth_batch": "iodepth_batch_submit",
}
WITHOUT_EFFECT = frozenset(
    [
        *("description", "filename", "thread", "invalidate", "refill_buffers", "scramble_buffers"),
        *("zero_buffers", "randrepeat", "allrandrepeat", "cpus_allowed", "numa_cpu_nodes"),
        *("numa_mem_policy", "hipri", "fixedbufs", "registerfiles", "sqthread_poll", "nonvectored"),
        *("percentile_list", "clat_percentiles", "lat_percentiles", "exitall"),
        *("random_generator", "stats", "eta", "disable_slat", "gtod_reduce"),
        *("create_on_open", "allow_file_create", "file_append", "unlink"),
    ]
)
"""Accepted because they change nothing here: there is no payload, no file and no real processor."""

SYNCHRONOUS = ("sync", "psync", "vsync", "pvsync", "pvsync2", "sg", "libzbc")
ASYNCHRONOUS = ("libaio", "io_uring", "io_uring_cmd", "posixaio", "spdk", "xnvme", "solarisaio")
MODES = {
    # name: reads, writes, trims, random
    "read": (1, 0, 0, 0),
    "write": (0, 1, 0, 0),
    "trim": (0, 0, 1, 0),
    "randread": (1, 0, 0, 1),
    "randwrite": (0, 1, 0, 1),
    "randtrim": (0, 0, 1, 1),
    "rw": (1, 1, 0, 0),
    "readwrite": (1, 1, 0, 0),
    "randrw": (1, 1, 0, 1),
    "trimwrite": (0, 1, 1, 0),
    "randtrimwrite": (0, 1, 1, 1),
}
VERIFY = (
    *(
        "md5",
        "crc16",
        "crc32",
        "crc32c",
        "crc32c-intel",
        "crc64",
        "crc7",
        "xxhash",
        "sha1",
        "sha256",
    ),
    *("sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512", "meta", "pattern", "null"),
)
TIME_UNITS = {
    "d": 86400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3,
    "msec": 10**6, "usec": 10**3, "sec": 10**9, "min": 60 * 10**9,
}  # fmt: skip


# ------------------------------------------------------------------------------------ values


def _size(option: Option, text: str, base: int = 1024) -> int:
    """Bytes. As fio with kb_base=1024: k and kb are 1024, ki and kib 1000; else the reverse."""
    match = re.fullmatch(r"(0x[0-9a-f]+|\d+)\s*(?:([kmgtp])(i?)b?|b)?", text.strip().lower())
    if match is None:
        raise option.fail(f"{text!r} is not a size: write a number with k, m, g or t")
    number = int(match[1], 0)
    power = "kmgtp".find(match[2]) + 1 if match[2] else 0
    unit = 1024 if (base == 1024) != bool(match[3]) else 1000
    return int(number * unit**power)


def _int(option: Option, least: int = 0, most: int = 2**31 - 1) -> int:
    text = option.value.strip()
    if not re.fullmatch(r"-?\d+", text):
        raise option.fail("not a whole number")
    value = int(text)
    if not least <= value <= most:
        raise option.fail(f"it must be {least} to {most}")
    return value


def _bool(option: Option) -> bool:
    text = option.value.strip().lower()
    if text in ("", "1", "true"):
        return True
    if text in ("0", "false"):
        return False
    raise option.fail("it must be 0 or 1")


def _float(option: Option, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise option.fail(f"{text!r} is not a number") from None
    if not least <= value <= most:
        raise option.fail(f"it must be {least:g} to {most:g}")
    return value


def _time(option: Option, default: str) -> int:
    """Nanoseconds."""
    match = re.fullmatch(r"(\d+)\s*([a-z]*)", option.value.strip().lower())
    unit = (match[2] or default) if match else ""
    if match is None or unit not in TIME_UNITS:
        raise option.fail("not a time: write a number with d, h, m, s, ms or us")
    return int(match[1]) * TIME_UNITS[unit]


def _per_direction(text: str) -> list[str]:
    """``a``, ``a,b`` or ``a,b,c`` for reads, writes, trims; what is missing is the one before."""
    parts = [part.strip() for part in text.split(",")]
    out: list[str] = []
    for at in range(3):
        part = parts[at] if at < len(parts) else ""
        out.append(part or (out[-1] if out else ""))
    return out


# ----------------------------------------------------------------------------------- options


def _rw(c: Context, o: Option) -> None:
    name, _, extra = o.value.strip().lower().partition(":")
    if name not in MODES:
        raise o.fail(f"there is no such mode; there are {', '.join(MODES)}")
    reads, writes, trims, random = (bool(flag) for flag in MODES[name])
    c.job.reads, c.job.writes, c.job.random = reads, writes, random
    c.job.trimwrite = name.endswith("trimwrite")
    c.job.trims = trims
    if extra and random:
        if not extra.isdigit() or int(extra) < 1:
            raise o.fail(f"{extra!r} is not a number of commands")
        c.job.sequence = int(extra)
    elif extra:
        sign = -1 if extra.startswith("-") else 1
        c.job.sequence_add = sign * _size(o, extra.lstrip("+-"), c.kb_base)


def _bs(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o.value)):
        size = _size(o, text or "4k", c.kb_base)
        if not size:
            raise o.fail("a block size must be above 0")
        c.job.bs_min[at] = c.job.bs_max[at] = size


def _bsrange(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o.value)):
        low, dash, high = text.partition("-")
        if not dash:
            raise o.fail("write a range such as 4k-64k")
        c.job.bs_min[at], c.job.bs_max[at] = _size(o, low, c.kb_base), _size(o, high, c.kb_base)
        if not 0 < c.job.bs_min[at] <= c.job.bs_max[at]:
            raise o.fail("the range must rise, from above 0")


def _bssplit(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o.value)):
        split: list[tuple[int, int | None]] = []
        for part in text.split(":"):
            size, _, percent_text = part.partition("/")
            if percent_text and not percent_text.strip().isdigit():
                raise o.fail(f"{percent_text!r} is not a percentage")
            share = int(percent_text) if percent_text.strip() else None
            split.append((_size(o, size, c.kb_base), share))
        given = sum(share for _, share in split if share is not None)
        open_ones = [size for size, share in split if share is None]
        if given > 100 or (given < 100 and not open_ones):
            raise o.fail(f"the shares add up to {given}, not to 100")
        rest = (100 - given) // len(open_ones) if open_ones else 0
        c.job.split[at] = [(size, rest if share is None else share) for size, share in split]
        short = 100 - sum(percent for _, percent in c.job.split[at])
        if short:  # what does not divide evenly
            last, percent = c.job.split[at][-1]
            c.job.split[at][-1] = (last, percent + short)
        if len(split) > 16:
            raise o.fail("at most 16 block sizes are supported")


def _place(c: Context, o: Option, what: str) -> int:
    """A size, a percentage of the disk, or zones (``8z``)."""
    text = o.value.strip().lower()
    if text.endswith("z") and text[:-1].isdigit():
        return int(text[:-1]) * c.geometry.zone_size
    if text.endswith("%"):
        percent = _float(o, text[:-1], 0, 100)
        exact = int(c.geometry.size * percent / 100)
        return exact // c.geometry.zone_size * c.geometry.zone_size if what != "io_size" else exact
    return _size(o, text, c.kb_base)


def _set_size(c: Context, o: Option) -> None:
    c.size = _place(c, o, "size")
    if not c.size:
        raise o.fail("it must be above 0")


def _zonemode(c: Context, o: Option) -> None:
    if o.value not in ("zbd", "none"):
        raise o.fail("only zbd and none are supported")
    c.job.zbd = o.value == "zbd"


def _zonesize(c: Context, o: Option) -> None:
    size = _size(o, o.value, c.kb_base)
    if size not in (0, c.geometry.zone_size):
        raise o.fail(f"it must be 0 or the disk's zone size, {c.geometry.zone_size}")


def _zonecapacity(c: Context, o: Option) -> None:
    size = _size(o, o.value, c.kb_base)
    if size not in (0, c.geometry.zone_capacity):
        raise o.fail(
            "only for disks without zones; a zoned one has its own capacity "
            f"({c.geometry.zone_capacity})"
        )


def _ioengine(c: Context, o: Option) -> None:
    if o.value not in SYNCHRONOUS + ASYNCHRONOUS:
        raise o.fail(f"supported are {', '.join(SYNCHRONOUS + ASYNCHRONOUS)}")
    c.synchronous = o.value in SYNCHRONOUS


def _direct(_: Context, o: Option) -> None:
    if not _bool(o):
        raise o.fail("buffered I/O is not simulated: there is no page cache, so direct must be 1")


def _distribution(c: Context, o: Option) -> None:
    kind, _, rest = o.value.strip().lower().partition(":")
    if kind == "random":
        c.job.distribution = "random"
    elif kind == "zipf":
        c.job.a = _float(o, rest or "1.1", 0.01, 9.99)
        if c.job.a == 1:
            raise o.fail("a zipf theta of exactly 1 has no sum; write 0.999 or 1.001")
        c.job.distribution = "zipf"
    elif kind == "pareto":
        c.job.distribution, c.job.a = "pareto", _float(o, rest or "0.2", 0.001, 0.999)
    elif kind in ("normal", "gauss"):
        c.job.distribution, c.job.a = "normal", _float(o, rest or "10", 0.001, 100)
    elif kind == "zoned":
        parts = [part.split("/") for part in rest.split(":")]
        if len(parts) != 2 or any(len(part) != 2 for part in parts):
            raise o.fail("two ranges are supported, such as zoned:90/10:10/90 (accesses/space)")
        numbers = [[_float(o, text, 0, 100) for text in part] for part in parts]
        if (
            abs(sum(n[0] for n in numbers) - 100) > 1e-6
            or abs(sum(n[1] for n in numbers) - 100) > 1e-6
        ):
            raise o.fail("accesses and space must each add up to 100")
        c.job.distribution = "hotcold"
        c.job.a, c.job.b = numbers[0][0] / 100, numbers[0][1] / 100
        if not (0 < c.job.a < 1 and 0 < c.job.b < 1):
            raise o.fail("both ranges must have accesses and space")
    else:
        raise o.fail("supported are random, zipf, pareto, normal and zoned with two ranges")


def _rate(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o.value)):
        c.job.rate[at] = _size(o, text, c.kb_base) if text else 0


def _rate_iops(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o.value)):
        if text and not text.isdigit():
            raise o.fail(f"{text!r} is not a number of commands a second")
        c.job.rate_iops[at] = int(text or 0)


def _verify(c: Context, o: Option) -> None:
    if o.value == "0":
        return
    if o.value not in VERIFY:
        raise o.fail(f"supported are {', '.join(VERIFY)}")
    c.verify = True


def _only(*values: str) -> Callable[[Context, Option], None]:
    def check(_: Context, o: Option) -> None:
        if o.value not in values:
            raise o.fail(f"only {' and '.join(values)} can be had here")

    return check


def _number(name: str, least: int = 0, most: int = 2**31 - 1) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c.job, name, _int(o, least, most))

    return apply


def _flag(name: str) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c.job, name, _bool(o))

    return apply


def _flag_of_section(name: str) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c, name, _bool(o))

    return apply


def _number_of_section(name: str, least: int, most: int) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c, name, _int(o, least, most))

    return apply


def _time_of(name: str, default: str) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c.job, name, _time(o, default))

    return apply


def _place_of(name: str) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        target = c if name == "offset_increment" else c.job
        setattr(target, name, _place(c, o, name))

    return apply


def _part_of(name: str) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c.job, name, _float(o, o.value, 0, 1))

    return apply


def _sequencer(c: Context, o: Option) -> None:
    _only("sequential", "identical")(c, o)
    c.job.identical = o.value == "identical"


def _mix_write(c: Context, o: Option) -> None:
    c.job.mix_read = 100 - _int(o, 0, 100)


OPTIONS: dict[str, Callable[[Context, Option], None]] = {
    "kb_base": _number_of_section("kb_base", 1000, 1024),
    "rw": _rw,
    "rw_sequencer": _sequencer,
    "bs": _bs,
    "bsrange": _bsrange,
    "bssplit": _bssplit,
    "size": _set_size,
    "offset": _place_of("offset"),
    "offset_increment": _place_of("offset_increment"),
    "io_size": _place_of("io_size"),
    "number_ios": _number("number_ios", 0),
    "iodepth": _number("iodepth", 1, 65536),
    "numjobs": _number_of_section("numjobs", 1, 65536),
    "rwmixread": _number("mix_read", 0, 100),
    "rwmixwrite": _mix_write,
    "random_distribution": _distribution,
    "norandommap": _flag("norandommap"),
    "rate": _rate,
    "rate_iops": _rate_iops,
    "rate_process": _only("linear"),
    "runtime": _time_of("runtime", "s"),
    "time_based": _flag("time_based"),
    "ramp_time": _time_of("ramp", "s"),
    "startdelay": _time_of("startdelay", "s"),
    "thinktime": _time_of("thinktime", "us"),
    "thinktime_blocks": _number("thinktime_blocks", 1),
    "loops": _number_of_section("loops", 1, 2**31 - 1),
    "stonewall": _flag_of_section("stonewall"),
    "new_group": _flag_of_section("new_group"),
    "group_reporting": _flag_of_section("group_reporting"),
    "zonemode": _zonemode,
    "zonesize": _zonesize,
    "zonecapacity": _zonecapacity,
    "zone_append": _flag("append"),
    "max_open_zones": _number("max_open_zones", 0),
    "job_max_open_zones": _number("job_max_open_zones", 0, 4096),
    "ignore_zone_limits": _flag("ignore_zone_limits"),
    "zone_reset_threshold": _part_of("reset_threshold"),
    "zone_reset_frequency": _part_of("reset_frequency"),
    "read_beyond_wp": _flag("read_beyond_wp"),
    "verify": _verify,
    "do_verify": _flag_of_section("do_verify"),
    "ioengine": _ioengine,
    "direct": _direct,
    "randseed": _number_of_section("seed", 0, 2**63 - 1),
    "percentage_random": _only("100"),
    "continue_on_error": _only("none", "0"),
}
"""What each option does; kb_base first, because sizes depend on it."""


# -------------------------------------------------------------------------------------- file


def _lines(path: Path, text: str, depth: int = 0) -> list[tuple[str, str]]:
    """Lines that say something, with where they stand; ``include`` is followed."""
    out: list[tuple[str, str]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        where = f"{path}:{number}"
        if not line or line[0] in ";#":
            continue
        if line.split(maxsplit=1)[0] == "include":
            if depth == 8:
                raise FioError(f"{where}: files include each other more than 8 deep")
            name = line[len("include") :].strip()
            other = path.parent / name
            try:
                content = other.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise FioError(f"{where}: cannot include {name}: {error}") from None
            out += _lines(other, content, depth + 1)
            continue
        out.append((line, where))
    return out


def _variables(text: str, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise FioError(f"{where}: the environment has no variable {match[1]}")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)


def read_sections(path: Path, text: str) -> list[tuple[str, dict[str, Option], str]]:
    """Sections of a job file in order: name, options (those of [global] above included), place.

    Raises FioError.
    """
    common: dict[str, Option] = {}
    sections: list[tuple[str, dict[str, Option], str]] = []
    current: dict[str, Option] | None = None
    for line, where in _lines(path, text):
        if line.startswith("["):
            match = re.fullmatch(r"\[([^\]]+)\]\s*", line)
            if match is None:
                raise FioError(f"{where}: {line!r} is not a section: write [name]")
            name = match[1].strip()
            if name.lower() == "global":
                current = common
            else:
                current = dict(common)
                sections.append((name, current, where))
            continue
        if current is None:
            raise FioError(f"{where}: {line!r} stands before the first section, such as [global]")
        key, equals, value = line.partition("=")
        name = key.strip().lower()
        option = Option(name, _variables(value.strip(), where) if equals else "", where)
        name = ALIASES.get(name, name)
        if name not in OPTIONS and name not in WITHOUT_EFFECT:
            near = difflib.get_close_matches(name, [*OPTIONS, *WITHOUT_EFFECT], n=1, cutoff=0.75)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise FioError(
                f"{where}: the option {key.strip()} is unknown or not supported here{hint}"
            )
        if not equals and name in OPTIONS and name not in _BARE:
            raise FioError(f"{where}: the option {name} needs a value")
        current[name] = replace(option, name=name)
    if not sections:
        raise FioError(f"{path}: there is no job section")
    return sections


_BARE = frozenset(
    [
        *("stonewall", "group_reporting", "time_based", "norandommap", "new_group", "zone_append"),
        *("read_beyond_wp", "ignore_zone_limits", "do_verify", "direct"),
    ]
)


def load(
    path: str | os.PathLike[str], geometry: Geometry, overrides: Mapping[str, str] | None = None
) -> Plan:
    """A Plan from a job file for a disk. ``overrides`` win over what the file says.

    Raises FioError, OSError.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
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
    for name, options, where in read_sections(path, text):
        for key, value in (overrides or {}).items():
            option = ALIASES.get(key, key)
            if option not in OPTIONS:
                raise FioError(f"command line: the option {key} is unknown or not supported")
            options[option] = Option(option, value, "command line")
        context = Context(Job(name), geometry, options, plan.notes)
        for option, apply in OPTIONS.items():
            if option in options:
                apply(context, options[option])
        _finish(context, name, where)
        wait = len(plan.jobs) if context.stonewall and plan.jobs else 0
        if wait or context.new_group or group < 0:
            group += 1
        if context.seed is not None:
            plan.seed = context.seed
        for index in range(context.numjobs):
            job = replace(context.job)
            job.group = group
            job.wait_for = wait
            job.offset += index * context.offset_increment
            job.options = {key: option.value for key, option in options.items()}
            if context.group_reporting:
                job.options["group_reporting"] = "1"
            _range(context, job, name, where)
            plan.jobs.append(job)
    _limits(plan, geometry)
    return plan


def _finish(c: Context, name: str, where: str) -> None:
    """What only all options together tell."""
    job = c.job
    if "rw" not in c.options:
        job.reads = True
    if c.synchronous and job.iodepth > 1:
        if "ioengine" in c.options:
            c.notes.append(
                f"job {name}: ioengine={c.options['ioengine'].value} is synchronous, "
                "so iodepth is 1"
            )
        else:
            c.notes.append(f"job {name}: without ioengine, fio's psync makes iodepth 1")
        job.iodepth = 1
    if job.zbd and job.writes and "direct" not in c.options:
        raise FioError(f"{where}: job {name}: zonemode=zbd with writes needs direct=1")
    if job.append and not job.zbd:
        raise c.options["zone_append"].fail("zone appends need zonemode=zbd")
    if (job.trims or job.trimwrite) and not job.zbd:
        raise c.options["rw"].fail("trims are zone resets here, and need zonemode=zbd")
    if job.time_based and not job.runtime:
        raise c.options["time_based"].fail("it needs runtime")
    if job.reset_frequency > 0 and not job.reset_threshold:
        c.notes.append(f"job {name}: zone_reset_threshold is 0, so resets begin at once")
    job.verify = c.verify and c.do_verify and job.writes
    if job.verify and job.time_based:
        raise c.options["verify"].fail("reading back after a time_based run is not supported")


def _range(c: Context, job: Job, name: str, where: str) -> None:
    """Offset and size on the disk, as fio rounds them in zone mode."""
    geometry = c.geometry
    if job.offset >= geometry.size:
        option = c.options.get("offset") or c.options.get("offset_increment")
        text = f"offset {job.offset} is beyond the disk, which has {geometry.size} bytes"
        raise option.fail(text) if option else FioError(f"{where}: job {name}: {text}")
    if job.zbd and job.offset % geometry.zone_size:
        rounded = -(-job.offset // geometry.zone_size) * geometry.zone_size
        c.notes.append(f"job {name}: offset {job.offset} rounded up to the zone at {rounded}")
        job.offset = rounded
    size = geometry.size - job.offset if c.size is None else c.size
    if size > geometry.size - job.offset:
        raise c.options["size"].fail(
            f"from offset {job.offset} on the disk has {geometry.size - job.offset} bytes left"
        )
    if job.zbd and size % geometry.zone_size and job.offset + size != geometry.size:
        rounded = size // geometry.zone_size * geometry.zone_size
        if not rounded:
            raise c.options["size"].fail(
                f"in zone mode it must hold a zone ({geometry.zone_size} bytes)"
            )
        c.notes.append(f"job {name}: size {size} rounded down to whole zones, {rounded}")
        size = rounded
    job.size = size
    if c.loops > 1:
        job.io_size = (job.io_size or size) * c.loops


def _limits(plan: Plan, geometry: Geometry) -> None:
    """fio's silent trap, said aloud: more writing jobs than zones that may be open."""
    for job in plan.jobs:
        if not (job.zbd and job.writes):
            continue
        limit = job.max_open_zones or (0 if job.ignore_zone_limits else geometry.max_open)
        writers = [j for j in plan.jobs if j.group == job.group and j.zbd and j.writes]
        apart = len({(j.offset, j.size) for j in writers})
        if limit and apart > limit:
            plan.notes.append(
                f"{apart} jobs write to ranges of their own, and only {limit} zones may be open: "
                "those beyond the limit will stop without writing, as fio's do silently"
            )
            return
