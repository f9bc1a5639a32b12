"""The drive models against published measurements: a table of published, ours, difference.

    python bench/validate.py                 everything (a minute on a free processor)
    python bench/validate.py --only zn540    one part: zn540, shared, hc620, cleaning,
                                             drive-managed, speed
    python bench/validate.py --strict        count the speed of this machine too
    python bench/validate.py --page          write docs/validation.md
    python bench/validate.py --fit           the fitted parameters, to be written into the profiles

A row is *predicted*: the model was fitted to all figures but this one and those of the same run. It
is an *input* where this figure alone determines a parameter; then it says nothing about the model
and does not count. Rows without a limit are shown for information. A *miss* is beyond its limit for
a reason that its line tells. Exits with 1 when a row that counts is beyond its limit without one;
rows of speed count with --strict only, because they measure the machine
as well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import published
import shared

from zoned.bench import Job, Model, Simulation
from zoned.bench.cleaning import Log, LogConfig, desnoyers
from zoned.bench.fit import Point, fit_hdd, fit_zns, leave_one_out
from zoned.bench.simulation import Run
from zoned.drives.models import load_drive, null_model
from zoned.geometry import Geometry

MIB = 2**20
SECOND = 10**9
SEED = 1
EXACT = 1e-9
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Row:
    """One line of the table."""

    part: str
    name: str
    published: float
    ours: float
    tolerance: float
    kind: str
    source: str
    bound: str = ""
    """"least" or "most": the figure is a bound, with no tolerance."""
    reason: str = ""
    """Why the row misses its limit, if it does: then it is told as a miss, and does not fail."""

    @property
    def difference(self) -> float:
        """Relative to the published figure; absolute where that is 0."""
        return self.ours / self.published - 1 if self.published else self.ours

    @property
    def limit(self) -> str:
        """In words."""
        if self.bound:
            return f"at {self.bound}"
        if self.tolerance == EXACT:
            return "exact"
        return f"{self.tolerance:.1%}" if self.tolerance else ""

    @property
    def verdict(self) -> str:
        """ok, outside, miss (outside for a known reason), or empty where the row does not count."""
        if self.bound:
            held = (
                self.ours >= self.published
                if self.bound == "least"
                else self.ours <= self.published
            )
        elif self.kind == "input" or not self.tolerance:
            return ""
        else:
            held = abs(self.difference) <= self.tolerance
        return "ok" if held else "miss" if self.reason else "outside"


# ------------------------------------------------------------------------------------- ZN540


def predict_zns(geometry: Geometry, model: Model, point: Point) -> float:
    """Simulate what the point measured."""
    what, x = point.what, point.x
    if what in ("write", "append", "write zones", "append depth"):
        return _zns_writes(geometry, model, point)
    if what == "read depth":
        sim = Simulation(geometry, model.but(host_us=0.01), SEED)
        sim.fill(0, 60, geometry.zone_capacity)
        job = Job("read", iodepth=int(x), size=60 * geometry.zone_size, reads=True, random=True)
        job.zbd = job.norandommap = job.time_based = True
        job.runtime = SECOND
        sim.add(job)
        return sim.run().total(0).iops / 1e3
    sim = Simulation(geometry, model, SEED)
    sim.add(
        Job("zones", kind="zones", size=geometry.size, zones_count=20, occupancy=x,
            zones_finish=what == "finish", zones_finished=what == "reset finished")
    )  # fmt: skip
    return sim.run().total(2).mean / 1e6


def _zns_writes(geometry: Geometry, model: Model, point: Point) -> float:
    """fio's spdk job of the source: time_based over full zones, so each zone is reset before."""
    what, x = point.what, point.x
    zones = int(x) if what == "write zones" else 1
    sim = Simulation(geometry, model, SEED)
    kib = x if what in ("write", "append") else 4
    sim.fill(0, 60 * zones, geometry.zone_capacity)
    for index in range(zones):
        job = Job(f"w{index}", offset=index * 60 * geometry.zone_size)
        job.size = 60 * geometry.zone_size
        job.writes = job.zbd = job.time_based = True
        job.append = what.startswith("append")
        job.iodepth = int(x) if what == "append depth" else 1
        # Whole zones, so that as many are reset as are filled.
        job.runtime = round((20 if point.stat == "mib_s" else 1) * SECOND)
        sim.add(job.set_bs(int(kib * 1024)))
    stats = sim.run().total(1)
    return {
        "mean_us": stats.mean / 1e3,
        "median_us": stats.percentile(50) / 1e3,
        "kiops": stats.iops / 1e3,
        "mib_s": stats.rate / MIB,
    }[point.stat]


def rows_zn540() -> Iterator[Row]:
    """Each figure predicted from all others."""
    profile, model = load_drive("zn540")
    geometry = profile.geometry()
    for point, others in leave_one_out(published.zn540()):
        fitted = fit_zns(others, model)
        ours = predict_zns(geometry, fitted, point)
        kind = "input" if point.only else "predicted"
        yield Row("ZN540", point.name, point.value, ours, point.tolerance, kind, point.source)


# ------------------------------------------------------------------------------------- HC620

SEQUENTIAL = 524 * 2**28  # where the sequential zones begin


def _written_zones(count: int) -> list[int]:
    """Zones that a random write touched: spread evenly with a prime stride."""
    return sorted({524 + index * 7919 % 55356 for index in range(count)})


def rows_zn540_shared(points: Sequence[Point] | None = None) -> Iterator[Row]:
    """Several things at once: reads beside writes, mixed loads, queues, resets beside others.

    ``points``: only these figures.
    """
    profile, model = load_drive("zn540")
    geometry = profile.geometry()
    part = "ZN540 shared"
    given = published.zn540_shared() if points is None else points
    for point, ours in shared.predicted(geometry, model, given):
        kind = "input" if point.only else "predicted"
        row = Row(part, point.name, point.value, ours, point.tolerance, kind, point.source)
        row.reason = published.reason(point.name)
        yield row
    if points is not None:
        return
    yield Row(
        "ZN540 shared", "4 zones FINISHed at once from 50 %, MiB/s of padding", 1189,
        shared.finishing(geometry, model, 4), 0.02, "predicted",
        "no more than one: the slope of FINISH in the same raw data",
    )  # fmt: skip


def predict_hdd(geometry: Geometry, model: Model, point: Point) -> float:
    """Simulate the fio command line of the source."""
    what = point.run
    sim = Simulation(geometry, model.but(hdd__cache=0) if what == "uncached" else model, SEED)
    if what.startswith(("sequential", "beyond")):
        _sequential(sim, point)
    elif what in ("streams", "locked", "zone", "uncached"):
        _synchronous(sim, what)
    else:
        _random(sim, geometry, point)
    run = sim.run()
    stats = run.total(0) if stats_reads(what) else run.total(1)
    if point.stat == "commands":
        return float(_first_half_second(run))
    return {
        "mib_s": stats.rate / MIB,
        "iops": stats.iops,
        "ms": stats.mean / 1e6,
        "mean_ms": stats.mean / 1e6,
        "under way": stats.iops * stats.mean / 1e9,
        "median_ms": stats.percentile(50) / 1e6,
    }[point.stat]


def _sequential(sim: Simulation, point: Point) -> None:
    what = point.run
    if what.endswith("read") or point.x == 2:
        sim.fill(524, 4, 2**28)
    job = Job("seq", iodepth=8, offset=SEQUENTIAL, size=2**30, zbd=True)
    job.reads, job.writes = stats_reads(what), not stats_reads(what)
    job.read_beyond_wp = what == "beyond"
    sim.add(job.set_bs(2**18))


def _synchronous(sim: Simulation, what: str) -> None:
    """One command of each job at a time; psync and sg wait for their zone at fio's lock."""
    for index in range({"streams": 4, "locked": 8}.get(what, 1)):
        job = Job(f"job{index}", offset=SEQUENTIAL, size=2**30, zbd=True, zone_lock=True)
        job.writes, job.random = True, what in ("streams", "locked")
        if what == "streams":
            job.offset += index * 3714878275584
            job.size, job.io_size, job.sequence = 3714878275584, 2**31, 512
            job.ignore_zone_limits = True
        elif what != "locked":
            job.size, job.number_ios = 2**28, 200 if what == "uncached" else 0
        sim.add(job.set_bs(2**16 if what in ("locked", "uncached") else 2**19))


def _random(sim: Simulation, geometry: Geometry, point: Point) -> None:
    what = point.run
    if what == "random read" and point.x == 0:
        for zone in _written_zones(4626):
            sim.fill(zone, 1, 2**18)
    for index in range(4):
        job = Job(f"job{index}", iodepth=4, runtime=30 * SECOND, zbd=True, random=True)
        job.reads, job.writes = what == "random read", what == "random write"
        job.ignore_zone_limits = job.norandommap = True
        near = what == "random read" and point.x == 1
        job.offset = 0 if near else SEQUENTIAL
        job.size = SEQUENTIAL if near else geometry.size - SEQUENTIAL
        sim.add(job.set_bs(2**18))


def stats_reads(what: str) -> bool:
    """Whether the experiment reads."""
    return what in ("sequential read", "random read", "beyond")


def _first_half_second(run: Run) -> float:
    done, at = 0.0, 0
    for sample in run.series:
        part = min(1.0, max(0.0, (SECOND / 2 - at) / run.step))
        done += part * sum(sample.count)
        at += run.step
    return done


HDD_FITTED = ("rate_outer_mb_s", "seek_margin_ms", "cache_entries", "zone_switch_ms")


def rows_hc620() -> Iterator[Row]:
    """Each figure predicted from all others of its kind, and the zones after random writes."""
    profile, model = load_drive("hc620")
    geometry = profile.geometry()
    known: dict[tuple[object, ...], float] = {}

    def predict(tried: Model, point: Point) -> float:
        key = (
            *(tried.get(f"hdd.{name}") for name in HDD_FITTED),
            *(point.what, point.x, point.stat),
        )
        if key not in known:
            known[key] = predict_hdd(geometry, tried, point)
        return known[key]

    points = published.hc620()
    for point, others in leave_one_out(points):
        fitted = fit_hdd(others, model, predict, point.run)
        ours = predict(fitted, point)
        kind = "input" if point.only else "predicted"
        row = Row("HC620", point.name, point.value, ours, point.tolerance, kind, point.source)
        row.reason = published.reason(point.name)
        yield row
    yield from rows_hc620_zones(geometry, model)


def rows_hc620_zones(geometry: Geometry, model: Model) -> Iterator[Row]:
    """After random writes over 4,626 zones: 128 implicitly open, 4,498 closed, none full."""
    low, high = 4626, 8000
    found: dict[int, int] = {}
    while low < high:  # the number of writes that touch exactly as many zones
        middle = (low + high) // 2
        found = _conditions(geometry, model, middle)
        if found.get(2, 0) + found.get(4, 0) + found.get(0xE, 0) < 4626:
            low = middle + 1
        else:
            high = middle
    found = _conditions(geometry, model, low)
    for name, condition, count in (
        ("implicitly open", 2, 128),
        ("closed", 4, 4498),
        ("full", 0xE, 0),
    ):
        text = f"zones {name} after random writes over 4,626"
        yield Row(
            "HC620", text, count, found.get(condition, 0), EXACT, "predicted", published.UNLIMITED
        )


def _conditions(geometry: Geometry, model: Model, writes: int) -> dict[int, int]:
    from zoned.report import ROW

    sim = Simulation(geometry, null_model(), SEED)
    job = Job("w", offset=SEQUENTIAL, size=geometry.size - SEQUENTIAL, number_ios=writes)
    job.writes = job.random = job.zbd = job.ignore_zone_limits = job.norandommap = True
    sim.add(job.set_bs(2**18))
    out: dict[int, int] = {}
    for row in ROW.iter_unpack(sim.run().zones):
        out[row[7]] = out.get(row[7], 0) + 1
    assert model.kind == "hdd"
    return out


# ---------------------------------------------------------------------------------- cleaning

DESNOYERS = "Desnoyers, SYSTOR 2012, closed form"


def rows_cleaning() -> Iterator[Row]:
    """Write amplification against the closed forms: 4,000 segments of 128 blocks."""
    for policy in ("fifo", "greedy"):
        for spare in (0.07, 0.10, 0.20):
            config = LogConfig(4000, 128, spare=spare, policy=policy)
            name = f"{policy}, uniform, Sf {spare:.2f}"
            wanted = desnoyers(config, finite=False)
            yield Row("cleaning", name, wanted, _amplification(config), 0.005, "predicted",
                      DESNOYERS)  # fmt: skip
    config = LogConfig(128, 4096, spare=0.10, policy="fifo")
    yield Row("cleaning", "fifo, 128 segments of 4,096, finite form", desnoyers(config),
              _amplification(config), 0.01, "predicted", DESNOYERS)  # fmt: skip
    for policy in ("fifo", "greedy"):
        config = LogConfig(
            4000, 128, spare=0.10, policy=policy, distribution="hotcold", a=0.9, b=0.1
        )
        yield Row("cleaning", f"{policy}, 0.9 of writes to 0.1, mixed",
                  desnoyers(config, finite=False), _amplification(config), 0.015, "predicted",
                  DESNOYERS)  # fmt: skip
    for policy in ("fifo", "greedy"):
        for hot in (500, 550, 600):
            config = LogConfig(4000, 128, spare=0.10, policy=policy, distribution="hotcold",
                               a=0.9, b=0.1, hot_segments=hot)  # fmt: skip
            yield Row("cleaning", f"{policy}, separated, {hot} segments hot",
                      desnoyers(config, finite=False), _amplification(config), 0.015, "predicted",
                      DESNOYERS)  # fmt: skip


def _amplification(config: LogConfig) -> float:
    log = Log(config, seed=SEED)
    log.write(5 * config.nr_blocks)
    log.count_from_here()
    log.write(10 * config.nr_blocks)
    return log.write_amplification


# ----------------------------------------------------------------------------- drive-managed


SKYLIGHT = "Aghayev and Desnoyers, FAST 2015; shape only"
LAZY = "Aghayev et al., FAST 2017: 120 GiB dirty gave 360 GiB of traffic"


def drive_managed(span: int, block: int, writes: int) -> tuple[float, float, Run]:
    """Random writes over the first ``span`` bytes: IOPS before and after the fall, and the run."""
    profile, model = load_drive("st8000as0002")
    sim = Simulation(profile.geometry(), model, SEED)
    job = Job("w", iodepth=1, size=span, writes=True, random=True, norandommap=True)
    job.number_ios = writes
    job.io_size = 2**60
    sim.add(job.set_bs(block))
    run = sim.run()
    full_at, entries = run.drive_managed["full_at"], run.drive_managed["full_entries"]
    fast = entries / (full_at / SECOND)
    slow = (run.drive_managed["into_cache"] - entries) / ((run.now - full_at) / SECOND)
    return fast, slow, run


SHEET = "data sheet: 190 MB/s sustained"
KIND = "what such a drive does; shape only"


def _managed(*jobs: Job) -> Run:
    profile, model = load_drive("st8000as0002")
    sim = Simulation(profile.geometry(), model, SEED)
    for job in jobs:
        sim.add(job)
    return sim.run()


def rows_drive_managed_queues() -> Iterator[Row]:
    """Reads by depth, streams by number, and one place written over."""
    part = "drive-managed"
    for depth in (1, 2, 4):
        job = Job("r", iodepth=depth, size=2**36, number_ios=4000, reads=True)
        job.io_size = 2**60
        rate = _managed(job.set_bs(2**17)).total(0).rate / 1e6
        yield Row(part, f"sequential read 128 KiB, depth {depth}, MB/s", 190, rate, 0.03,
                  "predicted", SHEET)  # fmt: skip
    iops = {}
    for depth in (1, 4, 32):
        job = Job("r", iodepth=depth, size=8 * 10**12, number_ios=1000, reads=True, random=True)
        job.norandommap, job.io_size = True, 2**60
        iops[depth] = _managed(job).total(0).iops
    yield Row(part, "random reads at depth 4 beside depth 1, times", 1.2, iops[4] / iops[1], 0,
              "predicted", KIND, "least")  # fmt: skip
    yield Row(part, "random reads at depth 32 beside depth 4, times", 1.2, iops[32] / iops[4], 0,
              "predicted", KIND, "least")  # fmt: skip
    rates = {}
    for count in (1, 2, 4, 8, 16):
        jobs = [
            Job("s", offset=at * 2**37, size=2**37, writes=True, runtime=10 * SECOND)
            for at in range(count)
        ]
        rates[count] = _managed(*(job.set_bs(MIB) for job in jobs)).total(1).rate
        if count > 1:
            yield Row(part, f"{count} streams beside {count // 2}, times", 1.03,
                      rates[count] / rates[count // 2], 0, "predicted", KIND, "most")  # fmt: skip
    job = Job("w", size=4096, writes=True, random=True, norandommap=True, number_ios=300_000)
    job.io_size = 2**60
    found = _managed(job).drive_managed
    yield Row(part, "bands cleaned while one block is written 300,000 times", 0,
              found["bands_cleaned"], EXACT, "predicted", KIND)  # fmt: skip


def rows_drive_managed() -> Iterator[Row]:
    """Fast until map or cache is full, then a fall; band traffic three times a band."""
    geometry = load_drive("st8000as0002")[0].geometry()
    part = "drive-managed"
    fast, slow, run = drive_managed(geometry.size, 4096, 260_000)
    found = run.drive_managed
    yield Row(part, "map entries when it is full, 4 KiB random writes", 250_000,
              found["full_entries"], 0.02, "input", SKYLIGHT)  # fmt: skip
    yield Row(part, "fall on the full span when the map is full, times", 100, fast / slow, 0,
              "predicted", SKYLIGHT, "least")  # fmt: skip
    yield Row(part, "IOPS after it, full span (1.5 to 3 derived)", 2.2, slow, 0, "predicted",
              SKYLIGHT)  # fmt: skip
    traffic = found["cleaning_bytes"] / found["bands_cleaned"] / (30 * MIB)
    yield Row(part, "traffic for a band, in bands", 3, traffic, 0.001, "input", LAZY)
    for span, iops in ((10**12, 13.0), (10**11, 117.0)):
        slow = drive_managed(span, 4096, 280_000)[1]
        yield Row(part, f"IOPS after it, first {span // 10**9:,} GB (derived)", iops, slow, 0,
                  "predicted", SKYLIGHT)  # fmt: skip
    fast, slow, run = drive_managed(geometry.size, 2**18, 104_000)
    yield Row(part, "GiB in the media cache when it is full, 256 KiB writes", 25,
              run.drive_managed["full_entries"] / 4096, 0.02, "input", SKYLIGHT)  # fmt: skip
    yield Row(part, "fall on the full span when the media cache is full, times", 100, fast / slow,
              0, "predicted", SKYLIGHT, "least")  # fmt: skip
    yield from rows_drive_managed_queues()


# ------------------------------------------------------------------------------------- speed


def rows_speed() -> Iterator[Row]:
    """Simulated commands per second of processor time; the published column is the goal."""
    from zoned.bench.speed import bare_rates, commands_per_second, whole_drive

    null = commands_per_second("null")
    device, machine = bare_rates()
    for name, goal, ours, bound in (
        ("4 KiB sequential without a model, M/s", 10, null / 1e6, "least"),
        ("the same by two jobs: no bursts, M/s", 10, commands_per_second("null", 2) / 1e6, "least"),
        ("one job beside a bare C loop over the same zone words", 0.5, null / machine, "least"),
        ("one job beside a bare C loop of zd_pwrite() without data", 0.5, null / device, "least"),
        ("4 KiB sequential, HDD model, depth 1, M/s", 3, commands_per_second("hdd") / 1e6, "least"),
        ("28 TB once in 1 MiB commands, s", 15, whole_drive(), "most"),
    ):
        yield Row("speed", name, goal, ours, 0, "measured", "goal of the project", bound)


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "zn540": rows_zn540,
    "shared": rows_zn540_shared,
    "hc620": rows_hc620,
    "cleaning": rows_cleaning,
    "drive-managed": rows_drive_managed,
    "speed": rows_speed,
}


def line(row: Row) -> str:
    """For the terminal."""
    return (
        f"{row.part:<14} {row.name:<60} {row.published:>10.4g} {row.ours:>10.4g} "
        f"{row.difference:>+9.1%} {row.limit:>8}  {row.kind:<10}{row.verdict}"
    )


def markdown_line(row: Row) -> str:
    """One line of the page's table."""
    told = f"miss: {row.reason}" if row.verdict == "miss" else row.verdict
    return (
        f"| {row.name} | {row.published:.4g} | {row.ours:.4g} | {row.difference:+.1%} "
        f"| {row.limit} | {row.kind} | {told} | {row.source} |"
    )


def page(rows: list[Row]) -> str:
    """docs/validation.md."""
    out = [(ROOT / "docs" / "gen" / "validation.head.md").read_text(encoding="utf-8")]
    for part in dict.fromkeys(row.part for row in rows):
        out.append(f"\n## {TITLES[part]}\n")
        out.append("| figure | published | ours | difference | limit | row | verdict | source |")
        out.append("|---|--:|--:|--:|--:|---|---|---|")
        out += [markdown_line(row) for row in rows if row.part == part]
    return "\n".join(out) + "\n"


TITLES = {
    "ZN540": "ZNS SSD: WD Ultrastar DC ZN540, 1 TB",
    "ZN540 shared": "The same SSD, several things at once",
    "HC620": "Host-managed hard disk: WD Ultrastar DC HC620, 15 TB",
    "cleaning": "Write amplification: Desnoyers's closed forms",
    "drive-managed": "Drive-managed hard disk: Seagate ST8000AS0002, 8 TB",
}
PAGE = ROOT / "docs" / "validation.md"


def show_fits() -> None:
    """Parameters fitted to all figures, for the profiles."""
    profile, model = load_drive("zn540")
    for key, value in fit_zns(published.zn540(), model).tables["zns"].items():
        if value != model.get(f"zns.{key}"):
            print(f"zn540 {key} = {value:.5g} (profile {model.get(f'zns.{key}')})")
    geometry = profile.geometry()
    for which in (0, 1):
        fitted = shared.fit_half(geometry, model, published.zn540_shared(), which)
        found = {name: fitted.get(f"zns.{name}") for name in shared.FITTED[which]}
        print(f"zn540 without half {which} of the runs beside each other: {found}")
    profile, model = load_drive("hc620")
    geometry = profile.geometry()
    fitted = fit_hdd(published.hc620(), model, lambda m, p: predict_hdd(geometry, m, p))
    for key, value in fitted.tables["hdd"].items():
        if value != model.get(f"hdd.{key}"):
            print(f"hc620 {key} = {value:.5g} (profile {model.get(f'hdd.{key}')})")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", help="parts, separated by commas")
    parser.add_argument("--strict", action="store_true", help="rows of speed count too")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--fit", action="store_true", help="show the fitted parameters, no table")
    options = parser.parse_args()
    if options.fit:
        show_fits()
        return 0
    if options.page and options.only:
        parser.error("--page writes all parts: leave out --only")
    parts = options.only.split(",") if options.only else list(PARTS)
    for part in parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}: use {', '.join(PARTS)}")
    if options.page:
        parts.remove("speed")
    rows: list[Row] = []
    print(
        f"{'part':<14} {'figure':<60} {'published':>10} {'ours':>10} {'diff':>9} {'limit':>8}  row"
    )
    for part in parts:
        begun = time.perf_counter()
        for row in PARTS[part]():
            rows.append(row)
            print(line(row), flush=True)
        print(f"-- {part}: {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    if options.page:
        PAGE.write_text(page(rows), encoding="utf-8")
    counted = [row for row in rows if row.verdict and (options.strict or row.part != "speed")]
    outside = [row for row in counted if row.verdict == "outside"]
    misses = sum(row.verdict == "miss" for row in counted)
    print(
        f"{len(counted)} rows count, {len(outside)} of them beyond their limit, "
        f"and {misses} more that are explained"
    )
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
