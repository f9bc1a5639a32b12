"""Named write patterns, for those without a job file: ``zonedctl bench --list`` shows them.

Each is a small function from a disk and parameters to a Plan. Where a pattern compares several
settings (numbers of streams, queue depths, occupancies), its jobs run one group after the other in
one run. Touches nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from zoned.bench.fiofile import MOST_PLANNED, Plan
from zoned.bench.jobs import POLICIES, Job
from zoned.geometry import Dialect, Geometry
from zoned.inputs import InputError
from zoned.units import LARGEST, SizeError, counted, parse_size

SECOND = 10**9
KIB = 1024
MOST_GROUPS = 1000
"""Settings that a pattern compares in one run."""


class PatternError(InputError):
    """A pattern or parameter that does not exist, or does not fit the disk."""


Value = int | float | str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern: what it shows, the drive it is meant for, and its parameters with defaults."""

    name: str
    text: str
    profile: str
    defaults: Mapping[str, Value]
    make: Callable[[Geometry, Mapping[str, Value]], Plan]

    def plan(self, geometry: Geometry, given: Mapping[str, str] | None = None) -> Plan:
        """The Plan for a disk. Raises PatternError."""
        values = dict(self.defaults)
        for key, text in (given or {}).items():
            if key not in values:
                near = difflib.get_close_matches(key, list(values), n=1, cutoff=0.5)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise PatternError(
                    f"the pattern {self.name} has no parameter {key}{hint}; "
                    f"it has {', '.join(values)}"
                )
            values[key] = _convert(self.name, key, text, values[key])
        plan = self.make(geometry, values)
        plan.name = self.name
        plan.global_options = {key: str(value) for key, value in values.items()}
        plan.origin, plan.settings = f"pattern {self.name}", dict(given or {})
        return plan


def _convert(pattern: str, key: str, text: str, like: Value) -> Value:
    where = f"pattern {pattern}: {key}={text}"
    try:
        if isinstance(like, str):
            return text
        if isinstance(like, float):
            return _part(text)
        return parse_size(text, key)
    except (ValueError, SizeError) as error:
        raise PatternError(f"{where}: {error}") from None


def _part(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e9:
        raise ValueError("it must be a number from 0 to 1e9")
    return value


def _int(values: Mapping[str, Value], key: str, least: int = 1, most: int = LARGEST) -> int:
    value = int(values[key])
    if value < least:
        raise PatternError(f"{key} is {value}: it must be at least {least}")
    if value > most:
        raise PatternError(f"{key} is {value}: it must be at most {most}")
    return value


def _parts(values: Mapping[str, Value], key: str) -> list[str]:
    """The parts of a list by commas; each makes a group of jobs."""
    parts = str(values[key]).split(",")
    if len(parts) > MOST_GROUPS:
        raise PatternError(f"{key} has {len(parts)} parts: at most {MOST_GROUPS} can be had")
    return parts


def _numbers(values: Mapping[str, Value], key: str) -> list[int]:
    parts = _parts(values, key)
    try:
        out = [int(part) for part in parts]
    except ValueError:
        raise PatternError(f"{key} is {values[key]!r}: write numbers such as 1,2,4,8") from None
    if not out or min(out) < 1:
        raise PatternError(f"{key} is {values[key]!r}: each number must be at least 1")
    return out


def _sequential(geometry: Geometry) -> int:
    """The first zone of the longest run of sequential zones at the disk's end."""
    first = 0
    for start, count in geometry.conventional.ranges():
        first = max(first, start + count)
    if first >= geometry.nr_zones:
        raise PatternError("the disk has no sequential zones")
    return first


def _room(geometry: Geometry, zones: int) -> tuple[int, int]:
    """First sequential zone, and how many there are; at least ``zones``."""
    first = _sequential(geometry)
    have = geometry.nr_zones - first - (geometry.last_zone_size != geometry.zone_size)
    if have < zones:
        raise PatternError(
            f"the pattern needs {zones} sequential zones, and the disk has {have}:"
            " take fewer zones, or a larger disk"
        )
    return first, have


def _limit(geometry: Geometry) -> int:
    return min(x for x in (geometry.max_open or 2**31, geometry.max_active or 2**31))


def _block(geometry: Geometry, values: Mapping[str, Value], key: str = "bs") -> int:
    size = _int(values, key)
    if size % geometry.logical_block or size > geometry.zone_capacity:
        raise PatternError(
            f"{key} is {size}: it must be a multiple of {geometry.logical_block}, and at most a "
            f"zone's capacity ({geometry.zone_capacity})"
        )
    return size


def _stream(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    zones = _int(values, "zones")
    first, _ = _room(geometry, zones)
    job = Job("stream", iodepth=_int(values, "depth"), writes=True, zbd=True)
    job.offset, job.size = first * geometry.zone_size, zones * geometry.zone_size
    return Plan([job.set_bs(_block(geometry, values))])


def _streams(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """Groups of 1, 2, 4, ... jobs, each on zones of its own, interleaved at the drive. Whole zones:
    one left open would count for the next group, as it does in fio.
    """
    numbers = [n for n in _numbers(values, "streams") if n <= _limit(geometry)]
    zones = _int(values, "zones")
    if not numbers:
        raise PatternError(
            f"streams is {values['streams']}: the disk has {_limit(geometry)} at most"
        )
    if sum(numbers) > MOST_PLANNED:
        raise PatternError(
            f"streams makes {counted(sum(numbers), 'job')}: at most {MOST_PLANNED} can be had"
        )
    first, have = _room(geometry, max(numbers) * zones)
    plan = Plan()
    if len(numbers) < len(_numbers(values, "streams")):
        plan.notes.append(f"more than {_limit(geometry)} streams are left out: the open limit")
    at = 0
    for group, number in enumerate(numbers):
        wait = len(plan.jobs)
        for _ in range(number):
            if at + zones > have:
                at = 0
            job = Job(f"{number}-streams", group=group, wait_for=wait, writes=True, zbd=True)
            job.iodepth = _int(values, "depth")
            job.offset = (first + at) * geometry.zone_size
            job.size = zones * geometry.zone_size
            job.group_reporting = True
            plan.jobs.append(job.set_bs(_block(geometry, values)))
            at += zones
    return plan


def _random_zones(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    zones = int(values["zones"])
    first, have = _room(geometry, max(zones, 1))
    zones = zones or have
    plan = Plan()
    for _ in range(_int(values, "jobs", most=MOST_PLANNED)):
        job = Job("random-zones", iodepth=_int(values, "depth"), writes=True, random=True, zbd=True)
        job.offset, job.size = first * geometry.zone_size, zones * geometry.zone_size
        job.ignore_zone_limits = job.norandommap = job.time_based = True
        job.runtime = round(float(values["seconds"]) * SECOND)
        job.group_reporting = True
        plan.jobs.append(job.set_bs(_block(geometry, values)))
    if geometry.max_active:  # an active zone can only be given back by finishing or filling it
        for job in plan.jobs:
            job.ignore_zone_limits = False
        plan.notes.append(
            f"at most {counted(geometry.max_active, 'zone')} at a time: the active limit"
        )
    return plan


def _fill_random(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """fio's idiom: fill a random zone in order, then choose another."""
    first, have = _room(geometry, 1)
    size = _block(geometry, values)
    job = Job(
        "fill-random-zones", iodepth=_int(values, "depth"), writes=True, random=True, zbd=True
    )
    job.offset, job.size = first * geometry.zone_size, have * geometry.zone_size
    job.sequence = geometry.zone_capacity // size
    job.io_size = _int(values, "zones") * geometry.zone_capacity
    return Plan([job.set_bs(size)])


def _append_depth(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    if geometry.dialect is Dialect.ZBC:
        raise PatternError("the disk has no zone append: it is a property of ZNS drives")
    first, _ = _room(geometry, 4)
    plan = Plan()
    for group, depth in enumerate(_numbers(values, "depths")):
        job = Job(f"append-{depth}", group=group, wait_for=len(plan.jobs), writes=True, zbd=True)
        job.append = job.time_based = True
        job.iodepth = depth
        job.job_max_open_zones = 1
        job.offset, job.size = first * geometry.zone_size, 4 * geometry.zone_size
        job.runtime = round(float(values["seconds"]) * SECOND)
        plan.jobs.append(job.set_bs(_block(geometry, values)))
    return plan


def _zone_commands(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """RESET and FINISH of zones filled to different parts."""
    first, have = _room(geometry, 1)
    plan = Plan()
    if _int(values, "zones") > have:
        plan.notes.append(f"the disk has only {have} sequential zones")
    for command, finish, finished in (
        ("finish", True, False),
        ("reset", False, False),
        ("reset-finished", False, True),
    ):
        for text in _parts(values, "occupancies"):
            try:
                occupancy = float(text)
            except ValueError:
                raise PatternError(f"occupancies: {text!r} is not a number") from None
            if not 0 <= occupancy <= 1:
                raise PatternError(f"occupancies: {text} must lie in 0 to 1")
            job = Job(f"{command}-{occupancy:g}", kind="zones", wait_for=len(plan.jobs))
            job.group = len(plan.jobs)
            job.offset, job.size = first * geometry.zone_size, have * geometry.zone_size
            job.zones_count = min(_int(values, "zones"), have)
            job.zones_finish, job.zones_finished, job.occupancy = finish, finished, occupancy
            plan.jobs.append(job)
    return plan


def _log(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """Overwrites of a volume through a log-structured layer that cleans its zones."""
    zones = _int(values, "zones", 8)
    first, _ = _room(geometry, zones)
    policy = str(values["policy"])
    if policy not in POLICIES:
        raise PatternError(f"policy is {policy!r}: it must be one of {', '.join(POLICIES)}")
    spare, hot = float(values["spare"]), str(values["hot"])
    if not 0 < spare < 1:
        raise PatternError(f"spare is {spare}: it must lie between 0 and 1")
    job = Job("log", kind="log", iodepth=_int(values, "depth"), writes=True)
    job.offset, job.size = first * geometry.zone_size, zones * geometry.zone_size
    job.log_block, job.log_spare, job.log_policy = _block(geometry, values), spare, policy
    if values["separate"] not in (0, 1):
        raise PatternError(f"separate is {values['separate']}: it must be 0 or 1")
    job.log_separate = bool(values["separate"])
    blocks = int(zones * (geometry.zone_capacity // job.log_block) * (1 - spare))
    job.log_warm = round(float(values["warm"]) * blocks)
    job.number_ios = max(1, round(float(values["volumes"]) * blocks))
    if hot:
        try:
            r, f = (float(part) for part in hot.split("/"))
        except ValueError:
            raise PatternError(f"hot is {hot!r}: write r/f, such as 0.9/0.1") from None
        job.distribution, job.a, job.b = "hotcold", r, f
    elif float(values["zipf"]):
        job.distribution, job.a = "zipf", float(values["zipf"])
    plan = Plan([job])
    plan.notes.append(
        f"warm-up: the volume was filled and then overwritten {float(values['warm']):g} times "
        "before time and counting began"
    )
    return plan


def _read_while_write(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """Random reads of written zones beside a writer, alone first, then at several rates."""
    zones = _int(values, "zones")
    first, _ = _room(geometry, 2 * zones)
    plan = Plan(fills=[(first, zones, geometry.zone_capacity, False)])
    rates = [part.strip() for part in _parts(values, "rates")]
    for group, text in enumerate(rates):
        wait = len(plan.jobs)
        try:
            rate = parse_size(text, "rates") if text != "full" else 0
        except SizeError as error:
            raise PatternError(f"rates: {error}") from None
        reader = Job(f"read-beside-{text}", group=2 * group, wait_for=wait, reads=True, random=True)
        reader.zbd = reader.norandommap = reader.time_based = True
        reader.iodepth = _int(values, "depth")
        reader.offset, reader.size = first * geometry.zone_size, zones * geometry.zone_size
        reader.runtime = round(float(values["seconds"]) * SECOND)
        plan.jobs.append(reader.set_bs(_block(geometry, values, "read_bs")))
        if text == "0":
            continue
        writer = Job(f"write-at-{text}", group=2 * group + 1, wait_for=wait, writes=True, zbd=True)
        writer.time_based, writer.runtime = True, reader.runtime
        writer.iodepth = 8
        writer.offset = (first + zones) * geometry.zone_size
        writer.size = zones * geometry.zone_size
        writer.rate = [0, rate, 0]
        plan.jobs.append(writer.set_bs(_block(geometry, values)))
    return plan


def _mixed(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """One job that reads and writes at random, 30 reads in 100 commands."""
    zones = _int(values, "zones")
    first, _ = _room(geometry, zones)
    job = Job(
        "mixed", iodepth=_int(values, "depth"), reads=True, writes=True, random=True, zbd=True
    )
    job.mix_read = int(values["reads"])
    job.offset, job.size = first * geometry.zone_size, zones * geometry.zone_size
    job.norandommap = job.time_based = True
    job.runtime = round(float(values["seconds"]) * SECOND)
    filled = geometry.zone_capacity
    if not geometry.max_active:  # half full ones would be active, and writes could open no other
        filled = filled // 2 // geometry.physical_block * geometry.physical_block
    fills = [(first, min(zones, _limit(geometry)), filled, False)]
    return Plan([job.set_bs(_block(geometry, values))], fills)


def _drive_managed(geometry: Geometry, values: Mapping[str, Value]) -> Plan:
    """Random writes on a drive that hides its zones: fast, until its cache or map is full."""
    if geometry.nr_conventional != geometry.nr_zones:
        raise PatternError("the disk is not a drive-managed one: use --profile st8000as0002")
    job = Job("drive-managed", iodepth=_int(values, "depth"), writes=True, random=True)
    span = int(values["span"])
    if span > geometry.size:
        raise PatternError(f"span is {span}: the disk has {geometry.size} bytes")
    job.size = (span or geometry.size) // geometry.physical_block * geometry.physical_block
    job.norandommap = True
    job.number_ios = _int(values, "writes")
    job.io_size = 2**62
    return Plan([job.set_bs(_block(geometry, values))])


PATTERNS = {
    pattern.name: pattern
    for pattern in (
        Pattern("stream", "one sequential stream over some zones", "hc620",
                {"zones": 16, "bs": 256 * KIB, "depth": 8}, _stream),
        Pattern("streams", "1, 2, 4, ... interleaved streams, each on zones of its own", "hc620",
                {"streams": "1,2,4,8,16,32,64,128", "zones": 4, "bs": 256 * KIB, "depth": 1},
                _streams),
        Pattern("random-zones", "writes to zones chosen at random, over the whole disk", "hc620",
                {"zones": 0, "bs": 256 * KIB, "jobs": 4, "depth": 4, "seconds": 30.0},
                _random_zones),
        Pattern("fill-random-zones", "fill a random zone in order, then choose another", "hc620",
                {"zones": 16, "bs": 256 * KIB, "depth": 8}, _fill_random),
        Pattern("append-depth", "zone append against queue depth 1 to 256", "zn540",
                {"depths": "1,2,4,8,16,32,64,128,256", "bs": 4 * KIB, "seconds": 1.0},
                _append_depth),
        Pattern("zone-commands", "reset and finish against occupancy", "zn540",
                {"occupancies": "0,0.0625,0.125,0.25,0.5,1", "zones": 16}, _zone_commands),
        Pattern("log", "log-structured overwrite with cleaning", "hc620",
                {"zones": 64, "bs": 1024 * KIB, "depth": 8, "spare": 0.1, "policy": "greedy",
                 "separate": 0, "hot": "", "zipf": 0.0, "warm": 3.0, "volumes": 0.2}, _log),
        Pattern("read-while-write", "random reads beside a writer at several rates", "zn540",
                {"zones": 8, "read_bs": 4 * KIB, "bs": 128 * KIB, "depth": 32,
                 "rates": "0,100MiB,500MiB,full", "seconds": 5.0}, _read_while_write),
        Pattern("mixed", "random reads and writes, 30 to 70", "hc620",
                {"zones": 128, "bs": 64 * KIB, "depth": 16, "reads": 30, "seconds": 60.0}, _mixed),
        Pattern("drive-managed", "random writes on a drive-managed disk: the collapse",
                "st8000as0002",
                {"writes": 255_000, "bs": 4 * KIB, "depth": 1, "span": 0}, _drive_managed),
    )
}  # fmt: skip


def find(name: str) -> Pattern:
    """A pattern by name. Raises PatternError."""
    if name not in PATTERNS:
        near = difflib.get_close_matches(name, list(PATTERNS), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(PATTERNS)}"
        raise PatternError(f"there is no pattern {name!r}{hint}")
    return PATTERNS[name]


def _shown(value: Value) -> str:
    """As it would be typed: 256KiB, not 262144."""
    if isinstance(value, int) and value >= KIB and value % KIB == 0:
        return f"{value // KIB}KiB"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def listing() -> Iterator[tuple[str, str, str, str]]:
    """Name, what it shows, its drive and its parameters, for ``--list``."""
    for pattern in PATTERNS.values():
        parameters = " ".join(f"{key}={_shown(value)}" for key, value in pattern.defaults.items())
        yield pattern.name, pattern.text, pattern.profile, parameters
