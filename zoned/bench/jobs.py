"""One job of a run, as Python sees it; ``struct zd_sim_job`` (native/zd_sim.h) as C does.

A Job is plain data: the fio parser, the named patterns and sweeps all make them. Sizes are bytes,
times nanoseconds. Checks that need the disk are made in C when the job is added to a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zoned._core.native import ffi, lib

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
DIRECTIONS = ("read", "write", "trim")

Split = list[tuple[int, int]]
"""Block sizes and their shares in percent."""


@dataclass
class Job:
    """What one job does. The names are those of ``struct zd_sim_job`` and of fio."""

    name: str
    kind: str = "fio"
    group: int = 0
    """Jobs of one group are reported together."""
    iodepth: int = 1
    offset: int = 0
    size: int = 0
    io_size: int = 0
    number_ios: int = 0
    reads: bool = False
    writes: bool = False
    trims: bool = False
    random: bool = False
    zbd: bool = False
    append: bool = False
    identical: bool = False
    norandommap: bool = False
    read_beyond_wp: bool = False
    ignore_zone_limits: bool = False
    time_based: bool = False
    verify: bool = False
    trimwrite: bool = False
    sequence: int = 0
    sequence_add: int = 0
    mix_read: int = 50
    distribution: str = "random"
    a: float = 0.0
    b: float = 0.0
    ranges: list[tuple[float, float]] = field(default_factory=list)
    """zoned: percent of the accesses, percent of the space."""
    loops: int = 1
    split: list[Split] = field(default_factory=lambda: [[], [], []])
    bs_min: list[int] = field(default_factory=lambda: [4096, 4096, 4096])
    bs_max: list[int] = field(default_factory=lambda: [4096, 4096, 4096])
    rate: list[int] = field(default_factory=lambda: [0, 0, 0])
    rate_iops: list[int] = field(default_factory=lambda: [0, 0, 0])
    thinktime: int = 0
    thinktime_blocks: int = 1
    thinktime_issue: bool = False
    runtime: int = 0
    ramp: int = 0
    startdelay: int = 0
    wait_for: int = 0
    max_open_zones: int = 0
    job_max_open_zones: int = 0
    reset_threshold: float = 0.0
    reset_frequency: float = 0.0
    log_policy: str = "greedy"
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
    group_reporting: bool = False
    percentiles: tuple[float, ...] = ()
    """To be reported; none: fio's own."""
    clat_percentiles: bool = True
    lat_percentiles: bool = False
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
        for name in _PLAIN:
            setattr(out, name, getattr(self, name))
        out.kind = KINDS[self.kind]
        out.distribution = DISTRIBUTIONS[self.distribution]
        out.log_policy = POLICIES[self.log_policy]
        out.nr_ranges = len(self.ranges)
        for at, (access, space) in enumerate(self.ranges[: lib.ZD_SIM_MAX_SPLIT]):
            out.ranges[at].access, out.ranges[at].space = access, space
        for at in range(3):
            split = self.split[at]
            out.nr_split[at] = len(split)
            for index, (size, percent) in enumerate(split[: lib.ZD_SIM_MAX_SPLIT]):
                out.split[at][index].bytes = size
                out.split[at][index].percent = percent
            out.bs_min[at] = min((size for size, _ in split), default=self.bs_min[at])
            out.bs_max[at] = max((size for size, _ in split), default=self.bs_max[at])
            out.rate[at] = self.rate[at]
            out.rate_iops[at] = self.rate_iops[at]
        return out


_PLAIN = (
    *("iodepth", "offset", "size", "io_size", "number_ios", "reads", "writes", "trims", "random"),
    *("zbd", "append", "identical", "norandommap", "read_beyond_wp", "ignore_zone_limits"),
    *("time_based", "verify", "trimwrite", "sequence", "sequence_add", "mix_read", "a", "b"),
    *(
        "loops",
        "thinktime",
        "thinktime_blocks",
        "thinktime_issue",
        "runtime",
        "ramp",
        "startdelay",
        "wait_for",
    ),
    *("max_open_zones", "job_max_open_zones", "reset_threshold", "reset_frequency"),
    *(
        "log_separate",
        "log_block",
        "log_spare",
        "log_warm",
        "zones_finish",
        "zones_finished",
        "zones_command",
    ),
    *("zones_count", "occupancy", "seed"),
)
