"""What fio's options mean for a Job: one declaration for each, and the table of them all.

The options that matter for zoned work are taken with fio's meaning (man fio, 3.3x). An option that
is not supported is never ignored: the error names file, line and option. Those that can have no
effect in virtual time are listed in ``WITHOUT_EFFECT``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoned._core.native import lib
from zoned.bench.fiovalues import (
    Declared,
    Option,
    either,
    flag,
    natural,
    number,
    of_fields,
    per_direction,
    read_bool,
    read_by,
    read_float,
    read_int,
    read_size,
    read_time,
    read_word,
)
from zoned.bench.jobs import Job
from zoned.geometry import Geometry

PLACES = "a size, a percentage of the disk, or zones (8z)"


def _place(c: Section, o: Option) -> int:
    """A size, a percentage of the disk, or zones (``8z``)."""
    text = o.value.strip().lower()
    zones = natural(text[:-1]) if text.endswith("z") else None
    if zones is not None:
        return zones * c.geometry.zone_size
    if text.endswith("%"):
        percent = read_float(o, text[:-1], 0, 100)
        return int(c.geometry.size * percent / 100)
    return read_size(o, text, c.kb_base)


def _rounded_place(c: Section, o: Option) -> int:
    """A place; a percentage is rounded up to the next block, as fio does."""
    place = _place(c, o)
    if o.value.strip().endswith("%"):
        unit = min(c.job.bs_min)
        place = -(-place // unit) * unit
    return place


@dataclass
class Section:
    """What the options of one section are applied to."""

    job: Job
    geometry: Geometry
    options: dict[str, Option]
    notes: list[str]
    sections: Mapping[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By name, the jobs of those above it: the first, and how many."""
    numjobs: int = number(
        *("numjobs", "what", "so many jobs that do the same"), default=1, least=1, most=65536
    )
    offset_increment: int = read_by(
        _rounded_place,
        *("offset_increment", "where", "added to offset for each of numjobs"),
        values=PLACES,
    )
    stonewall: bool = flag(
        *("stonewall", "time", "waits until all jobs before it have ended"),
        bare=True,
        aliases=("wait_for_previous",),
    )
    new_group: bool = flag("new_group", "reports", "begins a new group of jobs", bare=True)
    kb_base: int = 1024
    seed: int | None = number(
        *("randseed", "random", "the seed of the run, before --seed"), default=None, most=2**63 - 1
    )
    verify: bool = False
    do_verify: bool = flag(
        "do_verify", "verify", "0: nothing is read back after all", default=True, bare=True
    )
    synchronous: bool = True
    offload: bool = either(
        *("io_submit_mode", "pace"),
        "offload: iodepth workers send, so that a synchronous engine has as many under way",
        *("inline", "offload"),
    )
    exitall: bool = flag("exitall", "time", "the jobs of exit_what end with this one", bare=True)
    exit_what: str = read_by(
        lambda _, o: read_word(o, "group", "all", "stonewall"),
        *("exit_what", "time"),
        "what exitall ends: group; all, also what has not begun; or stonewall, all that runs",
        default="group",
        values="group, all or stonewall",
    )
    exit_on_error: bool = flag(
        "exitall_on_error", "time", "so they do with one that ends by an error", bare=True
    )
    zone_sizes: dict[str, int] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    """By kind, how the names of the job's logs begin."""
    per_job_logs: bool = flag(
        "per_job_logs", "reports", "each job has logs of its own", default=True, bare=True
    )
    log_every: int = number(
        "log_avg_msec", "reports", "ms that a line of a log stands for; 0: each command has one"
    )
    log_most: bool = flag(
        "log_max_value",
        "reports",
        "with log_avg_msec: the greatest latency, not the mean",
        bare=True,
    )
    log_offset: bool = flag("log_offset", "reports", "logs tell where a command was", bare=True)
    log_priority: bool = flag("log_prio", "reports", "logs tell the priority in hex", bare=True)
    size: int | None = None
    io_percent: float | None = None


SYNCHRONOUS = ("sync", "psync", "vsync", "pvsync", "pvsync2", "sg", "libzbc")
ASYNCHRONOUS = (
    "libaio",
    "io_uring",
    "io_uring_cmd",
    "posixaio",
    "spdk",
    "xnvme",
    "solarisaio",
    "null",
)
RAW = ("io_uring_cmd", "spdk", "xnvme", "sg", "libzbc")
"""Engines that send commands themselves: no page cache is in their way, whatever direct says."""
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


_SAID: list[Declared] = []
"""What ``said`` has declared."""


def said(
    name: str, room: str, about: str, *, values: str, **extra: Any
) -> Callable[[Callable[[Section, Option], None]], Callable[[Section, Option], None]]:
    """Declares an option whose value is taken by the function below it."""

    def taken(apply: Callable[[Section, Option], None]) -> Callable[[Section, Option], None]:
        _SAID.append(Declared(name, room, about, values, apply, **extra))
        return apply

    return taken


def _fixed(name: str, room: str, about: str, *values: str) -> None:
    """Declares an option that may only say what is so anyway."""

    @said(name, room, about, values=" or ".join(values), default=values[0])
    def _check(_: Section, o: Option) -> None:
        read_word(o, *values)


# ----------------------------------------------------------------------------------- options


@said(
    *("rw", "what", "directions, and whether at random; :N is of rw_sequencer, or bytes left out"),
    values=" ".join(MODES),
    aliases=("readwrite",),
    default="read",
)
def _rw(c: Section, o: Option) -> None:
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
        c.job.sequence_add = sign * read_size(o, extra.lstrip("+-"), c.kb_base)


@said(
    "bs",
    "blocks",
    "for reads, writes and trims, by commas",
    values="sizes",
    aliases=("blocksize",),
    layered=True,
    default="4k",
)
def _bs(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        if not text:
            continue
        size = read_size(o, text, c.kb_base)
        if not size:
            raise o.fail("a block size must be above 0")
        c.job.bs_min[at] = c.job.bs_max[at] = size
        c.job.split[at] = []


@said(
    "bsrange",
    "blocks",
    "sizes in steps of the smallest",
    values="ranges such as 4k-64k, by commas",
    aliases=("blocksize_range",),
    layered=True,
)
def _bsrange(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        if not text:
            continue
        low, dash, high = text.partition("-")
        if not dash:
            raise o.fail("write a range such as 4k-64k")
        c.job.bs_min[at], c.job.bs_max[at] = (
            read_size(o, low, c.kb_base),
            read_size(o, high, c.kb_base),
        )
        if not 0 < c.job.bs_min[at] <= c.job.bs_max[at]:
            raise o.fail("the range must rise, from above 0")
        c.job.split[at] = []


@said(
    "bssplit",
    "blocks",
    "several sizes with their shares in percent",
    values="size/percent:size/percent, by commas",
    layered=True,
)
def _bssplit(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        if not text:
            continue
        split: list[tuple[int, int | None]] = []
        for part in text.split(":"):
            size, _, percent_text = part.partition("/")
            share = natural(percent_text.strip())
            if percent_text and share is None:
                raise o.fail("is not a percentage", percent_text)
            split.append((read_size(o, size, c.kb_base), share))
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


@said(
    "size",
    "where",
    "of the range that the job works on",
    values=PLACES,
    default="the rest of the disk",
)
def _set_size(c: Section, o: Option) -> None:
    c.size = _place(c, o)
    if not c.size:
        raise o.fail("it must be above 0")


@said(
    "filesize",
    "where",
    "of the range, where size does not say it: there is one file, the disk",
    values=PLACES,
)
def _set_filesize(c: Section, o: Option) -> None:
    place = _place(c, o)
    if not place:
        raise o.fail("it must be above 0")
    if "size" not in c.options:
        c.size = place


@said("offset", "where", "where the range begins", values=PLACES, default="0")
def _set_offset(c: Section, o: Option) -> None:
    c.job.offset = _rounded_place(c, o)


@said(
    "io_size",
    "where",
    "bytes to move",
    values="a size, a percentage of size, or zones",
    aliases=("io_limit",),
    default="size",
)
def _set_io_size(c: Section, o: Option) -> None:
    if o.value.strip().endswith("%"):  # of size, which is not known yet
        c.io_percent = read_float(o, o.value.strip()[:-1], 0, 100)
        c.job.io_size = 0
    else:
        c.io_percent, c.job.io_size = None, _place(c, o)


@said(
    "zonemode",
    "zones",
    "zbd: writes go to write pointers, reads to what is written",
    values="none, zbd or strided",
    default="none; with zonesize, strided",
)
def _zonemode(c: Section, o: Option) -> None:
    if o.value not in ("zbd", "none", "strided"):
        raise o.fail("there are none, zbd and strided")
    c.job.zbd = o.value == "zbd"


@said(
    "zonesize",
    "zones",
    "zbd: must be that of the disk; strided: bytes of a zone",
    values="0 or the zone size; strided: a size",
)
def _zonesize(c: Section, o: Option) -> None:
    c.zone_sizes["zonesize"] = read_size(o, o.value, c.kb_base)


@said(
    "zonerange", "zones", "strided: bytes that lie in a zone", values="a size", default="zonesize"
)
def _zonerange(c: Section, o: Option) -> None:
    c.zone_sizes["zonerange"] = read_size(o, o.value, c.kb_base)


@said("zoneskip", "zones", "strided: bytes between two zones", values="a size, or zones (8z)")
def _zoneskip(c: Section, o: Option) -> None:
    c.zone_sizes["zoneskip"] = _place(c, o)


@said("zonecapacity", "zones", "must be that of the disk", values="0 or the zone capacity")
def _zonecapacity(c: Section, o: Option) -> None:
    size = read_size(o, o.value, c.kb_base)
    if size not in (0, c.geometry.zone_capacity):
        raise o.fail(
            "only for disks without zones; a zoned one has its own capacity "
            f"({c.geometry.zone_capacity})"
        )


@said(
    "ioengine",
    "pace",
    "which calls the commands are: a synchronous engine has one under way",
    values="the name of an engine",
    default="psync",
)
def _ioengine(c: Section, o: Option) -> None:
    if o.value not in SYNCHRONOUS + ASYNCHRONOUS:
        raise o.fail(f"supported are {', '.join(SYNCHRONOUS + ASYNCHRONOUS)}")
    c.synchronous = o.value in SYNCHRONOUS
    c.job.diskless = o.value == "null"


@said("direct", "pace", "must be 1: there is no page cache", values="1", bare=True)
def _direct(_: Section, o: Option) -> None:
    if not read_bool(o):
        raise o.fail("buffered I/O is not simulated: there is no page cache, so direct must be 1")


@said(
    "random_distribution",
    "random",
    "how often places are drawn",
    values="random, zipf[:theta], pareto[:power], normal[:percent], zoned:accesses/space:...",
    default="random",
)
def _distribution(c: Section, o: Option) -> None:
    kind, _, rest = o.value.strip().lower().partition(":")
    if kind == "random":
        c.job.distribution = "random"
    elif kind == "zipf":
        c.job.a = read_float(o, rest or "1.1", 0.01, 9.99)
        if c.job.a == 1:
            raise o.fail("a zipf theta of exactly 1 has no sum; write 0.999 or 1.001")
        c.job.distribution = "zipf"
    elif kind == "pareto":
        c.job.distribution, c.job.a = "pareto", read_float(o, rest or "0.2", 0.001, 0.999)
    elif kind in ("normal", "gauss"):
        c.job.distribution, c.job.a = "normal", read_float(o, rest or "10", 0.001, 100)
    elif kind == "zoned":
        parts = [part.split("/") for part in rest.split(":")]
        if any(len(part) != 2 for part in parts) or len(parts) > lib.ZD_SIM_MAX_SPLIT:
            raise o.fail(
                f"write accesses/space in percent, such as zoned:90/10:10/90, at most "
                f"{lib.ZD_SIM_MAX_SPLIT} of them, the same for reads and writes"
            )
        ranges = list(
            zip(
                _shares(o, [a for a, _ in parts], 0),
                _shares(o, [s for _, s in parts], 0.001),
                strict=True,
            )
        )
        for at, what in enumerate(("accesses", "space")):
            total = sum(one[at] for one in ranges)
            if abs(total - 100) > 1e-6:
                raise o.fail(f"the {what} add up to {total:g}, not to 100")
        c.job.distribution, c.job.ranges = "zoned", ranges
    else:
        raise o.fail("supported are random, zipf, pareto, normal and zoned")


def _shares(o: Option, texts: Sequence[str], least: float) -> list[float]:
    """Percentages; those not given have equal parts of what the others leave, as in fio."""
    given = [read_float(o, text, least, 100) if text.strip() else None for text in texts]
    left = 100 - sum(share for share in given if share is not None)
    empty = given.count(None)
    return [left / empty if share is None else share for share in given]


@said(
    "rate", "pace", "bytes a second at most, for reads, writes and trims", values="sizes, by commas"
)
def _rate(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        if text:
            c.job.rate[at] = read_size(o, text, c.kb_base)


@said(
    "rate_iops",
    "pace",
    "commands a second at most, for reads, writes and trims",
    values="numbers, by commas",
)
def _rate_iops(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        rate = natural(text)
        if text and rate is None:
            raise o.fail("is not a number of commands a second", text)
        if rate is not None:
            c.job.rate_iops[at] = rate


@said(
    *("rate_min", "pace"),
    "bytes a second that a job must come to, from its third second on, or it ends with an error",
    values="sizes, by commas",
    aliases=("ratemin",),
)
def _rate_min(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        if text:
            c.job.rate_min[at] = read_size(o, text, c.kb_base)


@said(
    *("rate_iops_min", "pace", "the same in commands, where rate_min does not say it"),
    values="numbers, by commas",
)
def _rate_iops_min(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        rate = natural(text)
        if text and (rate is None or rate >= 2**32):
            raise o.fail("is not a number of commands a second", text)
        if rate is not None:
            c.job.rate_iops_min[at] = rate


@said(
    *("steadystate", "time", "the job ends when this is steady: it keeps to its mean, or its line"),
    values="iops, bw, lat, iops_slope, bw_slope or lat_slope, :limit or :limit%",
    aliases=("ss",),
)
def _steadystate(c: Section, o: Option) -> None:
    what, colon, limit = o.value.strip().lower().partition(":")
    kind, slope = what.removesuffix("_slope"), what.endswith("_slope")
    if kind not in ("iops", "bw", "lat") or not colon:
        raise o.fail("write iops, bw or lat, or one with _slope, and a limit, such as iops:2%")
    job = c.job
    job.steady, job.steady_slope, job.steady_percent = kind, slope, limit.endswith("%")
    if kind == "bw" and not job.steady_percent:
        job.steady_limit = float(read_size(o, limit, c.kb_base))
    elif kind == "lat" and not job.steady_percent:
        job.steady_limit = float(read_time(replace(o, value=limit), "us"))
    else:
        job.steady_limit = read_float(o, limit.removesuffix("%"), 0, 1e18)
    if not job.steady_limit > 0:
        raise o.fail("the limit must be above 0")


@said("writefua", "pace", "each write is on the medium before it counts as done", values="0 or 1")
def _writefua(c: Section, o: Option) -> None:
    c.job.durable = read_bool(o) or c.job.durable


@said(
    "verify",
    "verify",
    "what was written is read back, and takes its time; there is no payload to compare",
    values="the name of a checksum, or 0",
    default="0",
)
def _verify(c: Section, o: Option) -> None:
    if o.value == "0":
        return
    if o.value not in VERIFY:
        raise o.fail(f"supported are {', '.join(VERIFY)}")
    c.verify = True


@said("thinktime_spin", "pace", "a part of thinktime", values="a time (us)")
def _spin(c: Section, o: Option) -> None:
    read_time(o, "us")
    if "thinktime" not in c.options:
        raise o.fail("it is a part of thinktime, which is not given")


@said(
    "filename",
    "where",
    "names a device that need not exist: the disk is that of the profile",
    values="one name",
)
def _filename(_: Section, o: Option) -> None:
    if ":" in o.value.replace("\\:", ""):
        raise o.fail("one disk at a time: a list of files cannot be had here")


@said(
    "percentile_list", "reports", "the percentiles to be told", values="up to 20 numbers, by colons"
)
def _percentiles(c: Section, o: Option) -> None:
    parts = [read_float(o, part.strip(), 0.0001, 100) for part in o.value.split(":")]
    if len(parts) > 20:
        raise o.fail("at most 20 percentiles, as in fio")
    c.job.percentiles = tuple(sorted(parts))


@said(
    "rwmixwrite",
    "what",
    "percent of the commands that are writes, where both are given",
    values="0 to 100",
    layered=True,
    default="50",
)
def _mix_write(c: Section, o: Option) -> None:
    c.job.mix_read = 100 - read_int(o, 0, 100)


@said(
    "kb_base",
    "blocks",
    "1024: k is 1024 and ki 1000, as fio has it; 1000: the reverse",
    values="1000 or 1024",
    default="1024",
)
def _kb_base(c: Section, o: Option) -> None:
    if o.value not in ("1000", "1024"):
        raise o.fail("it must be 1000 or 1024")
    c.kb_base = int(o.value)


@said(
    "fdatasync",
    "pace",
    "as fsync",
    values="a number from 0",
    default="0",
)
def _fdatasync(c: Section, o: Option) -> None:
    c.job.fsync = read_int(o) or c.job.fsync


@said(
    "sync",
    "pace",
    "each write is on the medium before it counts as done",
    values="none, sync, dsync, 0 or 1",
    bare=True,
    default="none",
)
def _sync(c: Section, o: Option) -> None:
    if o.value not in ("", "none", "sync", "dsync", "0", "1"):
        raise o.fail("there are none, sync, dsync, 0 and 1")
    c.job.durable = o.value not in ("none", "0")


@said(
    "ba",
    "blocks",
    "random places are multiples of it",
    values="sizes, by commas",
    aliases=("blockalign",),
    default="the smallest block",
)
def _blockalign(c: Section, o: Option) -> None:
    for at, text in enumerate(per_direction(o)):
        if text:
            c.job.align[at] = read_size(o, text, c.kb_base)
            if not c.job.align[at] or c.job.align[at] % c.geometry.logical_block:
                raise o.fail(
                    f"it must be a multiple of the disk's block, {c.geometry.logical_block}"
                )


@said(
    "write_mode",
    "zones",
    "zone_append: writes are zone appends",
    values="write or zone_append",
    default="write",
)
def _write_mode(c: Section, o: Option) -> None:
    word = read_word(o, "write", "zone_append")
    c.job.append = c.job.append or word == "zone_append"


@said(
    "latency_percentile",
    "pace",
    "percent of the commands that must keep latency_target",
    values="0 to 100",
    default="100",
)
def _latency_percentile(c: Section, o: Option) -> None:
    c.job.latency_percentile = read_float(o, o.value, 0.0001, 100)


@said(
    "wait_for", "time", "waits until the jobs of that section have ended", values="a section above"
)
def _wait_for(c: Section, o: Option) -> None:
    if o.value == c.job.name:
        raise o.fail("a job cannot wait for itself")
    found = c.sections.get(o.value, [])
    if not found:
        raise o.fail("no job above it has this name")
    if len(found) > 1:
        raise o.fail(f"{len(found)} sections above it have this name: which one is meant?")
    c.job.named_first, c.job.named_count = found[0]


def _log(kind: str, what: str) -> None:
    """Declares write_..._log."""

    @said(
        *(f"write_{kind}_log", "reports", f"{what}, to files of this name with _{kind}.N.log"),
        values="how their names begin",
        bare=True,
        default="no log; alone, the job's name",
    )
    def _taken(c: Section, o: Option) -> None:
        if "\0" in o.value:
            raise o.fail("no file can have this name")
        c.logs[kind] = o.value.strip() or c.job.name


_log("bw", "bandwidth of each command")
_log("lat", "latency of each command")
_log("iops", "each command")


_fixed("percentage_random", "random", "percent of the commands at random places", "100")
_fixed("continue_on_error", "what", "a job ends at its first error", "none", "0")
_fixed("stats", "reports", "the job is reported", "1")
_fixed("readfua", "pace", "reads may come from the drive's buffer", "0")
_fixed("sg_write_mode", "what", "which command a write is", "write")
_fixed("recover_zbd_write_error", "zones", "a refused write ends the job", "0")


# ------------------------------------------------------------------------------------- the table

NO_EFFECT = {
    "a note for people": ("description", "name"),
    "there is no payload": (
        *("refill_buffers", "scramble_buffers", "zero_buffers", "buffer_pattern"),
        *("buffer_compress_percentage", "buffer_compress_chunk", "dedupe_percentage"),
        *("dedupe_mode", "dedupe_working_set_percentage", "dedupe_global", "write_hint"),
        *("verify_fatal", "verify_dump", "verify_pattern", "verify_interval", "verify_offset"),
        *("verify_state_save", "verify_write_sequence"),
        "experimental_verify",
    ),
    "there is no file, and no page cache": (
        *("invalidate", "create_on_open", "allow_file_create", "file_append", "unlink"),
        *("unlink_each_loop", "directory", "filename_format", "unique_filename", "opendir"),
        *("fallocate", "fadvise_hint", "create_serialize", "create_fsync", "overwrite"),
        *("buffered", "lockfile", "allow_mounted_write", "nrfiles", "nr_files", "openfiles"),
        *("file_service_type", "fill_device", "sync_file_range"),
        *("pre_read", "ioscheduler"),
    ),
    "there is no real processor, memory or process": (
        *("thread", "threads", "cpus_allowed", "cpus_allowed_policy", "cpumask", "numa_cpu_nodes"),
        *("numa_mem_policy", "hipri", "fixedbufs", "registerfiles", "sqthread_poll"),
        *("sqthread_poll_cpu", "nonvectored", "cmd_type", "mem", "lockmem", "hugepage-size"),
        *("nice", "prio", "prioclass", "uid", "gid", "cgroup", "cgroup_nodelete", "cgroup_weight"),
        *("gtod_cpu", "clocksource", "verify_async"),
    ),
    "the drives know no priorities, and keep nothing beside the data": (
        *("cmdprio", "cmdprio_class", "cmdprio_hint", "cmdprio_percentage"),
        *("cmdprio_bssplit", "md_per_io_size", "pi_act", "pi_chk", "apptag"),
        "apptag_mask",
    ),
    "to send commands, or to take up more that are done, costs no call": (
        *("iodepth_batch", "iodepth_batch_submit", "iodepth_batch_complete_max"),
    ),
    "the numbers are drawn by another generator, from --seed": (
        *("randrepeat", "allrandrepeat", "random_generator", "softrandommap"),
    ),
    "the report has it, or has it not, anyway": (
        *("eta", "disable_lat", "disable_clat", "disable_slat", "disable_bw_measurement"),
        *("gtod_reduce", "slat_percentiles", "significant_figures", "unit_base", "disk_util"),
        *("error_dump", "bwavgtime", "iopsavgtime"),
    ),
    "fio as a program": (
        *("debug", "aux-path", "alloc-size", "max-jobs", "status-interval", "eta-interval"),
        *("eta-newline", "warnings-fatal"),
    ),
    "logs are kept otherwise, and have no histograms": (
        *("write_hist_log", "log_hist_msec", "log_hist_coarseness", "log_entries"),
        *("log_compression", "log_compression_cpus", "log_store_compressed", "log_unix_epoch"),
    ),
}
"""What changes nothing in virtual time, by the reason; a run says once which it was given."""
WITHOUT_EFFECT = frozenset(name for names in NO_EFFECT.values() for name in names)


def _table() -> dict[str, Declared]:
    """All options, in the order in which they are applied: sizes depend on kb_base, places in
    percent on block sizes.
    """
    found = [*of_fields(Job, of_job=True), *of_fields(Section, of_job=False), *_SAID]
    found.sort(key=lambda one: (one.name != "kb_base", not one.layered, one.name == "zonesize"))
    return {one.name: one for one in found}


OPTIONS = _table()
LAYERED = tuple(one for one in OPTIONS.values() if one.layered)
"""Options that override their kin where they stand nearer to the job."""
PLAIN = tuple(one for one in OPTIONS.values() if not one.layered)
ALIASES = {alias: one.name for one in OPTIONS.values() for alias in one.aliases}
"""Other names of options, as in fio."""


def known(name: str) -> bool:
    """Whether an option of this name (no alias) can be had."""
    return name in OPTIONS or name in WITHOUT_EFFECT


def whole_name(name: str) -> str:
    """The option that a name on fio's command line is the beginning of, if there is one only."""
    if known(ALIASES.get(name, name)):
        return name
    of = {ALIASES.get(one, one) for one in (*near(), *ALIASES) if one.startswith(name)}
    return of.pop() if len(of) == 1 and len(name) > 1 else name


def near() -> Iterable[str]:
    """All names, for what may have been meant."""
    return [*OPTIONS, *WITHOUT_EFFECT]
