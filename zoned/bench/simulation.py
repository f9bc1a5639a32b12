"""A run: a described disk, a drive's timing model, and jobs, in virtual time.

Everything happens in C; this module creates, feeds and asks. No disk image is touched, but in the
run against a real emulated disk (``on_device``), which measures the emulator in real time.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zoned._core.conversions import config_of
from zoned._core.handle import pointer
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import SIMULATION, Owned
from zoned._core.raising import raise_error
from zoned.bench.jobs import DIRECTIONS, Job
from zoned.bench.logs import RECORD, LogFiles
from zoned.device import Device
from zoned.drives.clock import PARTS
from zoned.drives.models import Model
from zoned.errors import ZonedError
from zoned.geometry import Geometry, GeometryError
from zoned.info import Limits
from zoned.report import ROW
from zoned.traces.records import ZoneRow
from zoned.zone import ZoneCondition

CHUNK = 1_000_000
"""Commands between two looks at Ctrl-C and the progress bar, at most."""
FIRST_CHUNK = 20_000
"""How many to begin with: a disk with seeks to plan takes its time over a million."""
STATE = struct.Struct("=4BI")
"""Of a bin of zones at a time: filled, open, closed, full (0 to 255 each), and zones reset."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Latencies and amounts of one direction of one job (or of several, added up); times in ns."""

    count: int = 0
    bytes: int = 0
    minimum: int = 0
    maximum: int = 0
    total: int = 0
    squares: float = 0.0
    first: int = 0
    last: int = 0
    errors: int = 0
    buckets: tuple[tuple[int, int], ...] = ()
    """Non-empty buckets of the histogram: index and number."""

    @property
    def mean(self) -> float:
        """Mean latency, ns; 0 without commands."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation of the latency, ns."""
        if self.count < 2:
            return 0.0
        variance = (self.squares - self.total * self.total / self.count) / (self.count - 1)
        return float(max(variance, 0.0) ** 0.5)

    @property
    def runtime(self) -> int:
        """From the first command's submission to the last one's completion, ns."""
        return self.last - self.first if self.count else 0

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes * 1e9 / self.runtime if self.runtime else 0.0

    @property
    def iops(self) -> float:
        """Commands per second."""
        return self.count * 1e9 / self.runtime if self.runtime else 0.0

    def percentile(self, percent: float) -> int:
        """Latency in ns that this share of commands did not exceed (a bucket's middle, as fio)."""
        if not self.count:
            return 0
        wanted = percent / 100 * self.count
        seen = 0
        for index, number in self.buckets:
            seen += number
            if seen >= wanted - 1e-9:
                low = int(lib.zd_sim_bucket(index))
                high = int(lib.zd_sim_bucket(index + 1))
                return min(max((low + high - 1) // 2, self.minimum), self.maximum)
        return self.maximum

    def __add__(self, other: Stats) -> Stats:
        if not self.count:
            return other if other.count else Stats(errors=self.errors + other.errors)
        if not other.count:
            return Stats(
                self.count, self.bytes, self.minimum, self.maximum, self.total, self.squares,
                self.first, self.last, self.errors + other.errors, self.buckets,
            )  # fmt: skip
        merged = dict(self.buckets)
        for index, number in other.buckets:
            merged[index] = merged.get(index, 0) + number
        return Stats(
            count=self.count + other.count,
            bytes=self.bytes + other.bytes,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            total=self.total + other.total,
            squares=self.squares + other.squares,
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            errors=self.errors + other.errors,
            buckets=tuple(sorted(merged.items())),
        )


@dataclass(frozen=True, slots=True)
class Steady:
    """How fio's steadystate came out, of the samples that were looked at last."""

    attained: bool
    criterion: float
    """What was compared with the limit; nan or 0: there were not samples enough."""
    bytes: int
    """Mean of the samples, a second."""
    iops: int
    latency: int
    """Ns."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What one job did; times in ns of virtual time."""

    job: Job
    stats: tuple[Stats, Stats, Stats]
    """Of reads, writes and trims."""
    started: int
    ended: int
    zone_resets: int
    depth: tuple[int, ...]
    wait_host: int
    wait_zone: int
    wait_rest: int
    error: str
    """Why it ended early, a sentence; empty if it did not."""
    rule: str
    stopped: bool
    log_user: int
    log_moved: int
    log_segments: int
    syncs: int = 0
    """Flushes that fsync asked for."""
    sync_times: tuple[int, int, int] = (0, 0, 0)
    """Of their latencies, ns: the sum, the least, the most."""
    depth_found: int = 0
    """What latency_target came to; 0: there was none."""
    steady: Steady | None = None
    """What became of steadystate; None: it was not asked for."""
    folded: int = 0
    """Commands of a trace that lay beyond the disk (or the log layer's volume)."""
    partial: int = 0
    """Trims of a trace of which not all was reset: a part of a zone, or a conventional one."""

    @property
    def write_amplification(self) -> float:
        """Blocks written to the log for each block that the user wrote; 0 if it has no log."""
        return (self.log_user + self.log_moved) / self.log_user if self.log_user else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One step of the time series: by direction."""

    bytes: tuple[int, ...]
    count: tuple[int, ...]
    latency: tuple[int, ...]
    """Sum of latencies, ns."""
    worst: tuple[int, ...]
    resets: int


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that a run gave."""

    geometry: Geometry
    model: Model
    seed: int
    jobs: tuple[JobResult, ...]
    now: int
    commands: int
    parts: dict[str, int]
    """Ns of the drive's time, by what it was spent on; parts may overlap."""
    counts: dict[str, int]
    seeks: tuple[int, ...]
    moved: int
    step: int
    series: tuple[Sample, ...]
    picture: tuple[tuple[int, ...], ...]
    """KiB written, by time and by bin of zones."""
    states: tuple[bytes, ...]
    """By time: an array of ``struct zd_sim_bin`` (STATE), how the zones of each bin stood."""
    first_zone: int
    zones_per_bin: int
    bins: int
    zones: bytes
    """An array of ``struct zd_zone`` (zoned.report.ROW): the zones at the end."""
    drive_managed: dict[str, int]
    real: bool = False

    def total(self, direction: int) -> Stats:
        """All jobs added up; 0 reads, 1 writes, 2 trims."""
        out = Stats()
        for job in self.jobs:
            out = out + job.stats[direction]
        return out


_ORDER = {
    ZoneCondition.FULL: 0,
    ZoneCondition.CLOSED: 1,
    ZoneCondition.EXPLICIT_OPEN: 2,
    ZoneCondition.IMPLICIT_OPEN: 3,
}
"""Which zones come first to their conditions, so that the limits on open and active ones hold."""


@dataclass(frozen=True, slots=True)
class _Then:
    """A disk at the moment when a command was refused: what the sentence about it goes by."""

    geometry: Geometry
    limits: Limits


class Simulation:
    """Make one, add jobs, run it, take the Run.

    Raises GeometryError where disk, model or job say what cannot be.
    """

    def __init__(
        self, geometry: Geometry, model: Model, seed: int = 0, *, device: Device | None = None
    ) -> None:
        self.geometry = geometry
        self.model = model
        self.seed = seed
        self.chunk = CHUNK
        self.jobs: list[Job] = []
        self.logs: LogFiles | None = None
        """Gets the commands of the jobs that are added behind it and log them."""
        self._feeds: dict[int, Iterator[tuple[Any, int]]] = {}
        self._keep: list[Any] = []
        config, keep = config_of(geometry)
        self._keep += [config, keep]
        c_model = model.to_c() if model.kind != "real" else _real_model()
        # With a device: a call on the simulation is one on it, too, and closing it waits for that.
        self.owned = Owned(SIMULATION, device)
        """The core's ``zd_sim``; used under a Guard."""
        err = ffi.new("struct zd_error *")
        number = seed & 0xFFFFFFFFFFFFFFFF
        code = lib.zd_sim_create(config, c_model, number, self.owned.cell, err)
        if code < 0:
            raise_error(code, err, self, None)

    @classmethod
    def on_device(cls, device: Device, seed: int = 0, longest: int = 2**20) -> Simulation:
        """Jobs on a disk, in real time: measures the emulator. ``longest``: command, bytes."""
        self = cls(device.geometry, Model("real", 0.0), seed, device=device)
        buffer = ffi.new("uint8_t[]", longest)
        self._keep.append(buffer)
        self._call(lib.zd_sim_attach, pointer(device), buffer, longest)
        return self

    def add(self, job: Job) -> int:
        """Add a job; its index."""
        try:
            described = job.to_c()
            described.log = self.logs is not None and self.logs.wants(len(self.jobs))
            index = self._call(lib.zd_sim_add_job, described)
        except GeometryError as error:
            raise GeometryError(f"job {job.name}: {error}") from None
        except OverflowError:
            raise GeometryError(f"job {job.name}: a number is negative or too large") from None
        self.jobs.append(job)
        return index

    def feed(self, job: int, records: Iterator[tuple[Any, int]]) -> None:
        """Where a trace job's commands come from: arrays of ``struct zd_sim_record``, lengths."""
        self._feeds[job] = records

    def fill(self, zone: int, count: int, size: int, finish: bool = False) -> None:
        """Write ``size`` bytes into each of these zones, in no time, before the run."""
        self._call(lib.zd_sim_fill, zone, count, size, finish)

    def begin_as(self, rows: Iterable[ZoneRow]) -> None:
        """Bring zones into the conditions of these rows, in no time, before the run. Zones that no
        command is for (read-only, offline, conventional) stay as they are.
        """
        for row in sorted(rows, key=lambda row: (_ORDER.get(row.condition, 0), row.opened)):
            if row.condition not in _ORDER:
                continue
            start = self.geometry.zone_start(row.zone)
            if row.condition is ZoneCondition.EXPLICIT_OPEN:
                self._call(lib.zd_sim_apply, lib.ZD_CMD_OPEN, start, 0)
            if row.written:
                self._call(lib.zd_sim_apply, lib.ZD_CMD_WRITE, start, row.written)
            if row.condition is ZoneCondition.CLOSED:
                self._call(lib.zd_sim_apply, lib.ZD_CMD_CLOSE, start, 0)
            elif row.finished:
                self._call(lib.zd_sim_apply, lib.ZD_CMD_FINISH, start, 0)

    def run(self, progress: Callable[[int, int], None] | None = None) -> Run:
        """Run to the end. ``progress`` gets the virtual time in ns and the commands done."""
        most = self.chunk if self.model.kind != "real" else FIRST_CHUNK
        limit = min(most, FIRST_CHUNK)
        while True:
            began = time.monotonic()
            state = self._call(lib.zd_sim_run, limit)
            took = time.monotonic() - began
            if took < 0.05:
                limit = min(4 * limit, most)
            elif took > 0.25:
                limit = max(limit // 2, min(most, 500))
            if self.logs is not None:
                self._log(self.logs)
            if state == lib.ZD_SIM_DONE:
                break
            if state == lib.ZD_SIM_WANTS_TRACE:
                self._feed()
            if progress is not None:
                summary = self._summary()
                progress(summary.now, summary.commands)
        return self._collect()

    def _log(self, logs: LogFiles) -> None:
        """Hands over what was done since the last time."""
        most = 8192
        records = ffi.new("struct zd_sim_done[]", most)
        for index in (at for at in range(len(self.jobs)) if logs.wants(at)):
            while count := self._take(index, records, most):
                logs.take(index, memoryview(ffi.buffer(records, count * RECORD.size)))

    def _take(self, index: int, records: Any, most: int) -> int:
        with Guard(self.owned):
            return int(lib.zd_sim_commands(self.owned.raw, index, records, most))

    def _feed(self) -> None:
        for index, records in self._feeds.items():
            array, count = next(records, (ffi.NULL, -1))
            last = count < 0
            self._call(lib.zd_sim_feed, index, array, max(count, 0), last)

    def _summary(self) -> Any:
        out = ffi.new("struct zd_sim_summary *")
        self._look(lib.zd_sim_summary, out)
        return out

    def zones(self) -> bytes:
        """The zones as they are, an array of ``struct zd_zone``."""
        number = self.geometry.nr_zones
        out = ffi.new("struct zd_zone[]", number)
        self._look(lib.zd_sim_report, 0, number, out)
        return bytes(ffi.buffer(out))

    def _call(self, function: Callable[..., int], *args: object) -> int:
        err = ffi.new("struct zd_error *")
        with Guard(self.owned):
            code = function(self.owned.raw, *args, err)
        if code < 0:
            raise_error(code, err, self, None)
        return code

    def _look(self, function: Callable[..., object], *args: object) -> None:
        with Guard(self.owned):
            function(self.owned.raw, *args)

    @property
    def limits(self) -> Limits:
        """Open and active zones, now."""
        found = dict.fromkeys(ZoneCondition, 0)
        for row in ROW.iter_unpack(self.zones()):
            found[ZoneCondition(row[7])] += 1
        return Limits(
            max_open=self.geometry.max_open,
            max_active=self.geometry.max_active,
            implicit_open=found[ZoneCondition.IMPLICIT_OPEN],
            explicit_open=found[ZoneCondition.EXPLICIT_OPEN],
            closed=found[ZoneCondition.CLOSED],
        )

    def _why(self, raw: Any) -> tuple[str, str]:
        """The sentence and the rule's name for what ended a job."""
        then = Limits(
            max_open=self.geometry.max_open,
            max_active=self.geometry.max_active,
            implicit_open=raw.implicit_open,
            explicit_open=raw.explicit_open,
            closed=raw.closed,
        )
        try:
            raise_error(raw.error, ffi.addressof(raw, "why"), _Then(self.geometry, then), None)
        except ZonedError as error:
            return str(error), error.rule
        except (OSError, ValueError, MemoryError) as error:
            return str(error), ""

    def _collect(self) -> Run:
        summary = self._summary()
        used = summary.series_used
        samples = ffi.new("struct zd_sim_sample[]", max(used, 1))
        self._look(lib.zd_sim_series, samples, used)
        bins = lib.ZD_SIM_ZONE_BINS
        states = ffi.new("struct zd_sim_bin[]", max(used, 1) * bins)
        self._look(lib.zd_sim_bins, states, used)
        picture = ffi.new("uint32_t[]", max(used, 1) * bins)
        self._look(lib.zd_sim_picture, picture, used)
        names = (*("opens", "closes", "finishes", "resets", "implicit_opens", "implicit_closes"),)
        return Run(
            geometry=self.geometry,
            model=self.model,
            seed=self.seed,
            jobs=tuple(self._job(index) for index in range(len(self.jobs))),
            now=summary.now,
            commands=summary.commands,
            parts={name: summary.parts[at] for at, name in enumerate(PARTS)},
            counts={name: getattr(summary, name) for name in names},
            seeks=tuple(summary.seeks),
            moved=summary.moved,
            step=summary.series_step,
            series=tuple(
                Sample(tuple(s.bytes), tuple(s.count), tuple(s.lat_sum), tuple(s.lat_max), s.resets)
                for s in samples[0:used]
            ),
            picture=tuple(
                tuple(picture[row * bins : row * bins + summary.bins]) for row in range(used)
            ),
            states=tuple(
                bytes(ffi.buffer(states + row * bins, summary.bins * STATE.size))
                for row in range(used)
            ),
            first_zone=summary.first_zone,
            zones_per_bin=summary.zones_per_bin,
            bins=summary.bins,
            zones=self.zones(),
            drive_managed={
                "into_cache": summary.dm_fast,
                "past_cache": summary.dm_direct,
                "bands_cleaned": summary.dm_cleaned,
                "cleaning_bytes": summary.dm_clean_bytes,
                "full_at": summary.dm_full_at,
                "full_entries": summary.dm_full_entries,
                "media_bytes": summary.media_bytes,
            },
            real=self.model.kind == "real",
        )

    def _job(self, index: int) -> JobResult:
        raw = ffi.new("struct zd_sim_result *")
        self._look(lib.zd_sim_result, index, raw)
        error, rule = "", ""
        if raw.error:
            error, rule = self._why(raw)
        return JobResult(
            job=self.jobs[index],
            stats=self._stats(index, raw),
            started=raw.started,
            ended=raw.ended,
            zone_resets=raw.zone_resets,
            depth=tuple(raw.depth),
            wait_host=raw.wait_host,
            wait_zone=raw.wait_zone,
            wait_rest=raw.wait_rest,
            error=error,
            rule=rule,
            stopped=bool(raw.stopped),
            log_user=raw.log_user,
            log_moved=raw.log_moved,
            log_segments=raw.log_segments,
            syncs=raw.syncs,
            sync_times=(raw.sync_sum, raw.sync_min, raw.sync_max),
            depth_found=raw.depth_found,
            steady=_steady(raw),
            folded=raw.folded,
            partial=raw.partial,
        )

    def _stats(self, index: int, raw: Any) -> tuple[Stats, Stats, Stats]:
        out = []
        for direction in range(len(DIRECTIONS)):
            s = raw.dir[direction]
            buckets: tuple[tuple[int, int], ...] = ()
            if s.count:
                histogram = ffi.new("uint64_t[]", lib.ZD_SIM_BUCKETS)
                self._look(lib.zd_sim_histogram, index, direction, histogram)
                numbers = memoryview(ffi.buffer(histogram)).cast("Q").tolist()
                buckets = tuple((at, n) for at, n in enumerate(numbers) if n)
            out.append(
                Stats(
                    s.count, s.bytes, s.min, s.max, s.sum, s.sum_squares, s.first, s.last,
                    s.errors, buckets,
                )
            )  # fmt: skip
        return out[0], out[1], out[2]


def _steady(raw: Any) -> Steady | None:
    if not raw.steady:
        return None
    return Steady(
        raw.steady == 2,
        raw.steady_criterion,
        raw.steady_bytes,
        raw.steady_iops,
        raw.steady_latency,
    )


def _real_model() -> Any:
    out = ffi.new("struct zd_sim_model *")
    out.kind = lib.ZD_SIM_REAL
    return out
