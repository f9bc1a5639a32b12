"""One job of a run, as Python sees it; ``struct zd_sim_job`` (zoned/sim.h) as C does.

A Job is plain data: the fio parser, the named patterns and sweeps all make them. Sizes are bytes,
times nanoseconds. Checks that need the disk are made in C when the job is added to a simulation.
A field that one option of fio's sets declares that option. ``to_c`` gives each to the field of
``struct zd_sim_job`` that has its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

from zoned._core.native import ffi, lib
from zoned.bench.fiovalues import duration, either, flag, number, part
from zoned.bench.logs import Logs

KINDS = {
    "fio": lib.ZD_SIM_JOB_FIO,
    "log": lib.ZD_SIM_JOB_LOG,
    "trace": lib.ZD_SIM_JOB_TRACE,
    "zones": lib.ZD_SIM_JOB_ZONES,
}
POLICIES = {
    "fifo": lib.ZD_SIM_FIFO,
    "greedy": lib.ZD_SIM_GREEDY,
    "cost-benefit": lib.ZD_SIM_COST_BENEFIT,
}
DISTRIBUTIONS = {
    "random": lib.ZD_SIM_UNIFORM,
    "zipf": lib.ZD_SIM_ZIPF,
    "pareto": lib.ZD_SIM_PARETO,
    "normal": lib.ZD_SIM_NORMAL,
    "hotcold": lib.ZD_SIM_HOTCOLD,
    "zoned": lib.ZD_SIM_ZONED,
}
EXITS = {
    "no": lib.ZD_SIM_EXIT_NO,
    "group": lib.ZD_SIM_EXIT_GROUP,
    "all": lib.ZD_SIM_EXIT_ALL,
    "stonewall": lib.ZD_SIM_EXIT_STONEWALL,
}
STEADY = {
    "no": lib.ZD_SIM_STEADY_NO,
    "iops": lib.ZD_SIM_STEADY_IOPS,
    "bw": lib.ZD_SIM_STEADY_BYTES,
    "lat": lib.ZD_SIM_STEADY_LATENCY,
}
DIRECTIONS = ("read", "write", "trim")

Split = list[tuple[int, int]]
"""Block sizes and their shares in percent."""


@dataclass
class Job:
    """What one job does. The names are those of ``struct zd_sim_job`` and of fio."""

    name: str
    kind: str = field(default="fio", metadata={"codes": KINDS})
    group: int = 0
    """Jobs of one group are reported together."""
    iodepth: int = number(
        *("iodepth", "pace", "commands under way at once; a synchronous engine makes it 1"),
        default=1,
        least=1,
        most=65536,
    )
    offset: int = 0
    size: int = 0
    io_size: int = 0
    number_ios: int = number("number_ios", "where", "commands at most; 0: no limit")
    reads: bool = False
    writes: bool = False
    trims: bool = False
    random: bool = False
    zbd: bool = False
    append: bool = flag("zone_append", "zones", "writes are zone appends", bare=True)
    identical: bool = either(
        *("rw_sequencer", "what"),
        "what a random job does between two random places, with rw=...:N",
        *("sequential", "identical"),
    )
    norandommap: bool = flag(
        "norandommap", "random", "places may repeat before all were used", bare=True
    )
    read_beyond_wp: bool = flag(
        "read_beyond_wp", "zones", "reads go where nothing is written, too", bare=True
    )
    ignore_zone_limits: bool = flag(
        "ignore_zone_limits", "zones", "max_open_zones may exceed the disk's", bare=True
    )
    time_based: bool = flag(
        "time_based", "time", "goes on for all of runtime, from the start again", bare=True
    )
    verify: bool = False
    trimwrite: bool = False
    fsync: int = number("fsync", "pace", "a flush after each so many writes; 0: none")
    end_fsync: bool = flag(
        "end_fsync", "pace", "a flush when the job is done", bare=True, aliases=("fsync_on_close",)
    )
    durable: bool = False
    diskless: bool = False
    zone_lock: bool = False
    """Writes wait for their zone at fio's own lock (a synchronous engine): no part of latency."""
    write_remainder: bool = flag(
        *("write_zone_remainder", "zones"),
        "what is left of a zone is written in a shorter block; 0: the zone is finished",
        bare=True,
    )
    exitall: str = field(default="no", metadata={"codes": EXITS})
    poisson: bool = either(
        *("rate_process", "pace", "how commands of a rate are spaced"), *("linear", "poisson")
    )
    strided: bool = False
    align: list[int] = field(default_factory=lambda: [0, 0, 0])
    exit_on_error: str = field(default="no", metadata={"codes": EXITS})
    named_first: int = 0
    named_count: int = 0
    flow: int = number(
        "flow", "pace", "share of the commands of all jobs with its flow_id; 0: as it comes"
    )
    flow_id: int = number("flow_id", "pace", "which jobs share")
    flow_sleep: int = duration(
        "flow_sleep", "pace", "rest when ahead of the share; 0: until the others caught up", "us"
    )
    zone_bytes: int = 0
    zone_range: int = 0
    zone_skip: int = 0
    verify_backlog: int = number(
        "verify_backlog", "verify", "read back after so many writes; 0: at the end"
    )
    verify_batch: int = number(
        *("verify_backlog_batch", "verify", "so many of them at a time; 0: verify_backlog"),
        aliases=("verify_batch",),
    )
    latency_target: int = duration(
        "latency_target", "pace", "the depth up to iodepth that keeps it is looked for", "us"
    )
    latency_window: int = duration("latency_window", "pace", "for so long a depth is tried", "us")
    latency_percentile: float = 100.0
    latency_run: bool = flag("latency_run", "pace", "goes on when the depth was found", bare=True)
    log: bool = False
    """Its commands are kept, for ``logs``."""
    logs: Logs | None = None
    sequence: int = 0
    sequence_add: int = 0
    mix_read: int = number(
        *("rwmixread", "what", "percent of the commands that are reads, where both are given"),
        default=50,
        most=100,
        layered=True,
    )
    distribution: str = field(default="random", metadata={"codes": DISTRIBUTIONS})
    a: float = 0.0
    b: float = 0.0
    ranges: list[tuple[float, float]] = field(default_factory=list)
    """zoned: percent of the accesses, percent of the space."""
    loops: int = number("loops", "what", "how often the whole is done", default=1, least=1)
    split: list[Split] = field(default_factory=lambda: [[], [], []])
    bs_min: list[int] = field(default_factory=lambda: [4096, 4096, 4096])
    bs_max: list[int] = field(default_factory=lambda: [4096, 4096, 4096])
    rate: list[int] = field(default_factory=lambda: [0, 0, 0])
    rate_iops: list[int] = field(default_factory=lambda: [0, 0, 0])
    rate_min: list[int] = field(default_factory=lambda: [0, 0, 0])
    rate_iops_min: list[int] = field(default_factory=lambda: [0, 0, 0])
    rate_cycle: int = duration(
        "rate_cycle", "pace", "for so long a rate is too low; 0: 1s", "ms", aliases=("ratecycle",)
    )
    batch_complete: int = number(
        *("iodepth_batch_complete_min", "pace"),
        "done commands that are waited for, once iodepth is reached",
        default=1,
        most=65536,
        aliases=("iodepth_batch_complete",),
    )
    depth_low: int = number(
        *("iodepth_low", "pace", "once iodepth was reached, nothing is sent above it; 0: iodepth"),
        most=65536,
    )
    steady: str = field(default="no", metadata={"codes": STEADY})
    steady_slope: bool = False
    steady_percent: bool = False
    steady_group: bool = False
    """Of all jobs of its group together."""
    steady_limit: float = 0.0
    steady_duration: int = duration(
        *("steadystate_duration", "time", "that steadystate looks at; 0: at none", "s"),
        aliases=("ss_dur",),
    )
    steady_ramp: int = duration(
        *("steadystate_ramp_time", "time", "that steadystate does not look at, at the start", "s"),
        aliases=("ss_ramp",),
    )
    steady_interval: int = duration(
        *("steadystate_check_interval", "time", "between two samples of steadystate; 0: 1s", "s"),
        aliases=("ss_interval",),
    )
    thinktime: int = duration(
        "thinktime", "pace", "rest after each thinktime_blocks commands", "us"
    )
    thinktime_blocks: int = number(
        "thinktime_blocks", "pace", "commands between two rests", default=1, least=1
    )
    thinktime_issue: bool = either(
        *("thinktime_blocks_type", "pace", "what thinktime_blocks counts"), *("complete", "issue")
    )
    runtime: int = duration(
        "runtime", "time", "ends the job, in virtual time", "s", aliases=("timeout",)
    )
    ramp: int = duration("ramp_time", "time", "warm-up before the run: it does not count", "s")
    startdelay: int = duration(
        "startdelay", "time", "before the job begins", "s", aliases=("start_delay",)
    )
    wait_for: int = 0
    max_open_zones: int = number(
        "max_open_zones", "zones", "zones that all jobs together write at once; 0: the disk's limit"
    )
    job_max_open_zones: int = number(
        "job_max_open_zones", "zones", "zones that this job writes at once; 0: no limit", most=4096
    )
    reset_threshold: float = part(
        "zone_reset_threshold", "zones", "share of the range that is written before zones are reset"
    )
    reset_frequency: float = part(
        "zone_reset_frequency", "zones", "how often a zone is reset before a write, above that"
    )
    log_policy: str = field(default="greedy", metadata={"codes": POLICIES})
    log_separate: bool = False
    log_block: int = 0
    log_spare: float = 0.1
    log_warm: int = 0
    zones_finish: bool = False
    zones_finished: bool = False
    zones_command: int = 0
    """ZONES: 0 RESET or FINISH (``zones_finish``), 1 OPEN, 2 CLOSE."""
    zones_count: int = 0
    occupancy: float = 0.0
    seed: int = 0
    trace: str = ""
    """TRACE: the file, for reports; and its format."""
    trace_format: str = ""
    group_reporting: bool = flag(
        "group_reporting", "reports", "jobs of a group are told of together", bare=True
    )
    percentiles: tuple[float, ...] = ()
    """To be reported; none: fio's own."""
    clat_percentiles: bool = flag(
        "clat_percentiles", "reports", "percentiles of completion latencies", default=True
    )
    lat_percentiles: bool = flag("lat_percentiles", "reports", "percentiles of whole latencies")
    options: dict[str, str] = field(default_factory=dict)
    """fio's options of the job's own section as they were written, for its JSON."""

    def set_bs(self, size: int) -> Job:
        """One block size for all directions."""
        self.bs_min = [size] * 3
        self.bs_max = [size] * 3
        return self

    def to_c(self) -> Any:
        """``struct zd_sim_job *``."""
        out = ffi.new("struct zd_sim_job *")
        for name, codes in _SHARED.items():
            value = getattr(self, name)
            setattr(out, name, value if codes is None else codes[value])
        most = lib.ZD_SIM_MAX_SPLIT
        out.nr_ranges = len(self.ranges)
        out.ranges = self.ranges[:most]
        for at, split in enumerate(self.split):
            out.nr_split[at] = len(split)
            out.split[at] = split[:most]
            if split:
                out.bs_min[at] = min(size for size, _ in split)
                out.bs_max[at] = max(size for size, _ in split)
        return out


def _shared() -> dict[str, dict[str, int] | None]:
    """The fields that a Job has as C has them, and how names become its numbers."""
    codes = {one.name: one.metadata.get("codes") for one in fields(Job)}
    apart = re.compile(r"reserved\d*|nr_\w+|ranges|split")
    return {
        name: codes[name]
        for name, _ in ffi.typeof("struct zd_sim_job").fields
        if not apart.fullmatch(name)
    }


_SHARED = _shared()
