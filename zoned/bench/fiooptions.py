"""What fio's options mean for a Job: one small function for each, and the values they take.

The options that matter for zoned work are taken with fio's meaning (man fio, 3.3x). An option that
is not supported is never ignored: the error names file, line and option. The few options that can
have no effect in a simulation (thread, invalidate, ...) are listed in ``WITHOUT_EFFECT``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from zoned._core.native import lib
from zoned.bench.jobs import Job
from zoned.geometry import Geometry
from zoned.inputs import InputError


class FioError(InputError):
    """A job file that cannot be read or asks for what there is not. Names file, line and option."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was written."""

    name: str
    value: str
    where: str
    """File and line."""
    rank: int = 1
    """0: said in [global], 1: in the job's own section, 2: on the command line."""
    foreign: bool = False
    """It stands in a file that another file named: a message never shows what is in it."""

    def fail(self, text: str, part: str | None = None) -> FioError:
        """The error for this option. ``part`` of its value stands before the text."""
        if self.foreign:
            told = text if part is None else f"a part of its value {text}"
            return FioError(f"{self.where}: {self.name}: {told}")
        told = text if part is None else f"{part!r} {text}"
        return FioError(f"{self.where}: {self.name}={self.value}: {told}")


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
    io_percent: float | None = None


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
        *("description", "thread", "invalidate", "refill_buffers", "scramble_buffers"),
        *("zero_buffers", "randrepeat", "allrandrepeat", "cpus_allowed", "numa_cpu_nodes"),
        *("numa_mem_policy", "hipri", "fixedbufs", "registerfiles", "sqthread_poll", "nonvectored"),
        *("random_generator", "eta", "disable_slat"),
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
    match = re.fullmatch(
        r"(0x[0-9a-f]{1,16}|[0-9]{1,19})\s*(?:([kmgtp])(i?)b?|b)?", text.strip().lower()
    )
    if match is None:
        raise option.fail("is not a size: write a number with k, m, g or t", text)
    number = int(match[1], 16 if match[1].startswith("0x") else 10)
    power = "kmgtp".find(match[2]) + 1 if match[2] else 0
    unit = 1024 if (base == 1024) != bool(match[3]) else 1000
    return int(number * unit**power)


def _int(option: Option, least: int = 0, most: int = 2**31 - 1) -> int:
    text = option.value.strip()
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise option.fail("not a whole number")
    value = int(text)
    if not least <= value <= most:
        raise option.fail(f"it must be {least} to {most}")
    return value


def natural(text: str) -> int | None:
    """A number written in digits only; None: it is none, or one of more than 19 digits."""
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


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
        raise option.fail("is not a number", text) from None
    if not least <= value <= most:
        raise option.fail(f"it must be {least:g} to {most:g}")
    return value


def _time(option: Option, default: str) -> int:
    """Nanoseconds."""
    match = re.fullmatch(r"([0-9]{1,19})\s*([a-z]*)", option.value.strip().lower())
    unit = (match[2] or default) if match else ""
    if match is None or unit not in TIME_UNITS:
        raise option.fail("not a time: write a number with d, h, m, s, ms or us")
    return int(match[1]) * TIME_UNITS[unit]


def _per_direction(o: Option) -> list[str]:
    """``a``, ``a,b`` or ``a,b,c`` for reads, writes, trims. ``a`` is for all, ``a,b``: trims as
    writes; an empty part ("") leaves what was set before, as fio does.
    """
    parts = [part.strip() for part in o.value.split(",")]
    if len(parts) > 3:
        raise o.fail("at most three values: for reads, writes and trims")
    if len(parts) == 1:
        parts *= 3
    elif len(parts) == 2:
        parts.append(parts[1])
    return parts


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
        sequence = natural(extra)
        if not sequence:
            raise o.fail("is not a number of commands", extra)
        c.job.sequence = sequence
    elif extra:
        sign = -1 if extra.startswith("-") else 1
        c.job.sequence_add = sign * _size(o, extra.lstrip("+-"), c.kb_base)


def _bs(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o)):
        if not text:
            continue
        size = _size(o, text, c.kb_base)
        if not size:
            raise o.fail("a block size must be above 0")
        c.job.bs_min[at] = c.job.bs_max[at] = size
        c.job.split[at] = []


def _bsrange(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o)):
        if not text:
            continue
        low, dash, high = text.partition("-")
        if not dash:
            raise o.fail("write a range such as 4k-64k")
        c.job.bs_min[at], c.job.bs_max[at] = _size(o, low, c.kb_base), _size(o, high, c.kb_base)
        if not 0 < c.job.bs_min[at] <= c.job.bs_max[at]:
            raise o.fail("the range must rise, from above 0")
        c.job.split[at] = []


def _bssplit(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o)):
        if not text:
            continue
        split: list[tuple[int, int | None]] = []
        for part in text.split(":"):
            size, _, percent_text = part.partition("/")
            share = natural(percent_text.strip())
            if percent_text and share is None:
                raise o.fail("is not a percentage", percent_text)
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


def _place(c: Context, o: Option) -> int:
    """A size, a percentage of the disk, or zones (``8z``)."""
    text = o.value.strip().lower()
    zones = natural(text[:-1]) if text.endswith("z") else None
    if zones is not None:
        return zones * c.geometry.zone_size
    if text.endswith("%"):
        percent = _float(o, text[:-1], 0, 100)
        return int(c.geometry.size * percent / 100)
    return _size(o, text, c.kb_base)


def _set_size(c: Context, o: Option) -> None:
    c.size = _place(c, o)
    if not c.size:
        raise o.fail("it must be above 0")


def _set_io_size(c: Context, o: Option) -> None:
    if o.value.strip().endswith("%"):  # of size, which is not known yet
        c.io_percent = _float(o, o.value.strip()[:-1], 0, 100)
        c.job.io_size = 0
    else:
        c.io_percent, c.job.io_size = None, _place(c, o)


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
        if any(len(part) != 2 for part in parts) or len(parts) > lib.ZD_SIM_MAX_SPLIT:
            raise o.fail(
                f"write accesses/space in percent, such as zoned:90/10:10/90, at most "
                f"{lib.ZD_SIM_MAX_SPLIT} of them, the same for reads and writes"
            )
        ranges = [(_float(o, a, 0, 100), _float(o, s, 0.001, 100)) for a, s in parts]
        for at, what in enumerate(("accesses", "space")):
            total = sum(one[at] for one in ranges)
            if abs(total - 100) > 1e-6:
                raise o.fail(f"the {what} add up to {total:g}, not to 100")
        c.job.distribution, c.job.ranges = "zoned", ranges
    else:
        raise o.fail("supported are random, zipf, pareto, normal and zoned")


def _rate(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o)):
        if text:
            c.job.rate[at] = _size(o, text, c.kb_base)


def _rate_iops(c: Context, o: Option) -> None:
    for at, text in enumerate(_per_direction(o)):
        rate = natural(text)
        if text and rate is None:
            raise o.fail("is not a number of commands a second", text)
        if rate is not None:
            c.job.rate_iops[at] = rate


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
        place = _place(c, o)
        if o.value.strip().endswith("%"):  # up to the next block, as fio
            unit = min(c.job.bs_min)
            place = -(-place // unit) * unit
        setattr(target, name, place)

    return apply


def _part_of(name: str) -> Callable[[Context, Option], None]:
    def apply(c: Context, o: Option) -> None:
        setattr(c.job, name, _float(o, o.value, 0, 1))

    return apply


def _spin(_: Context, o: Option) -> None:
    _time(o, "us")
    if "thinktime" not in _.options:
        raise o.fail("it is a part of thinktime, which is not given")


def _blocks_type(c: Context, o: Option) -> None:
    _only("complete", "issue")(c, o)
    c.job.thinktime_issue = o.value == "issue"


def _filename(_: Context, o: Option) -> None:
    if ":" in o.value.replace("\\:", ""):
        raise o.fail("one disk at a time: a list of files cannot be had here")


def _percentiles(c: Context, o: Option) -> None:
    parts = [_float(o, part.strip(), 0.0001, 100) for part in o.value.split(":")]
    if len(parts) > 20:
        raise o.fail("at most 20 percentiles, as in fio")
    c.job.percentiles = tuple(sorted(parts))


def _sequencer(c: Context, o: Option) -> None:
    _only("sequential", "identical")(c, o)
    c.job.identical = o.value == "identical"


def _mix_write(c: Context, o: Option) -> None:
    c.job.mix_read = 100 - _int(o, 0, 100)


def _kb_base(c: Context, o: Option) -> None:
    if o.value not in ("1000", "1024"):
        raise o.fail("it must be 1000 or 1024")
    c.kb_base = int(o.value)


OPTIONS: dict[str, Callable[[Context, Option], None]] = {
    "kb_base": _kb_base,
    "rw": _rw,
    "rw_sequencer": _sequencer,
    "size": _set_size,
    "offset": _place_of("offset"),
    "offset_increment": _place_of("offset_increment"),
    "io_size": _set_io_size,
    "number_ios": _number("number_ios", 0),
    "iodepth": _number("iodepth", 1, 65536),
    "numjobs": _number_of_section("numjobs", 1, 65536),
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
    "thinktime_blocks_type": _blocks_type,
    "thinktime_spin": _spin,
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
    "filename": _filename,
    "percentile_list": _percentiles,
    "clat_percentiles": _flag("clat_percentiles"),
    "lat_percentiles": _flag("lat_percentiles"),
    "gtod_reduce": _only("0"),
    "stats": _only("1"),
}
"""What each option does; kb_base first, because sizes depend on it. Before these: LAYERED."""
LAYERED: dict[str, Callable[[Context, Option], None]] = {
    "bs": _bs,
    "bsrange": _bsrange,
    "bssplit": _bssplit,
    "rwmixread": _number("mix_read", 0, 100),
    "rwmixwrite": _mix_write,
}
"""Each overrides the others where it stands nearer to the job: [global], section, command line."""

BARE = frozenset(
    [
        *("stonewall", "group_reporting", "time_based", "norandommap", "new_group", "zone_append"),
        *("read_beyond_wp", "ignore_zone_limits", "do_verify", "direct"),
    ]
)
"""May stand without a value."""
