"""The drive models against published measurements: a table of published, ours, difference.

    python bench/validate.py                 everything (about two minutes)
    python bench/validate.py --only zn540    one part: zn540, hc620, cleaning, drive-managed, speed
    python bench/validate.py --strict        exit 1 when a row is outside its tolerance
    python bench/validate.py --markdown FILE the table as a page
    python bench/validate.py --fit           the fitted parameters, to be written into the profiles

A row is *predicted*: the model was fitted to all figures but this one. It is an *input* where this
figure alone determines a parameter; then it says nothing about the model and does not count. Rows
without a tolerance are shown for information.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import published

from zoned.bench import Job, Model, Simulation
from zoned.bench.cleaning import Log, LogConfig, desnoyers
from zoned.bench.fit import Point, fit_hdd, fit_zns, leave_one_out
from zoned.bench.models import load_drive, null_model
from zoned.bench.simulation import Run
from zoned.geometry import Geometry

MIB = 2**20
SECOND = 10**9
SEED = 1


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

    @property
    def difference(self) -> float:
        """Relative to the published figure."""
        return self.ours / self.published - 1

    @property
    def verdict(self) -> str:
        """ok, outside, or empty where the row does not count."""
        if self.kind == "input" or not self.tolerance:
            return ""
        return "ok" if abs(self.difference) <= self.tolerance else "outside"


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


def predict_hdd(geometry: Geometry, model: Model, point: Point) -> float:
    """Simulate the fio command line of the source."""
    what = point.run
    sim = Simulation(geometry, model, SEED)
    if what.startswith("sequential"):
        if what.endswith("read") or point.x == 2:
            sim.fill(524, 4, 2**28)
        job = Job("seq", iodepth=8, offset=SEQUENTIAL, size=2**30, zbd=True)
        job.reads, job.writes = what.endswith("read"), what.endswith("write")
        sim.add(job.set_bs(2**18))
    elif what == "beyond":
        job = Job("beyond", iodepth=8, offset=SEQUENTIAL, size=2**30, zbd=True, reads=True)
        job.read_beyond_wp = True
        sim.add(job.set_bs(2**18))
    elif what == "streams":
        for index in range(4):
            job = Job(f"stream{index}", offset=SEQUENTIAL + index * 3714878275584)
            job.size, job.io_size = 3714878275584, 2**31
            job.writes = job.random = job.zbd = job.ignore_zone_limits = True
            job.sequence = 512
            sim.add(job.set_bs(2**19))
    else:
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
    run = sim.run()
    stats = run.total(0) if stats_reads(what) else run.total(1)
    if point.stat == "commands":
        return float(_first_half_second(run))
    return {"mib_s": stats.rate / MIB, "iops": stats.iops, "ms": stats.mean / 1e6}[point.stat]


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


def rows_hc620() -> Iterator[Row]:
    """Each figure predicted from all others of its kind, and the zones after random writes."""
    profile, model = load_drive("hc620")
    geometry = profile.geometry()
    known: dict[tuple[object, ...], float] = {}

    def predict(tried: Model, point: Point) -> float:
        key = (
            *(tried.get(f"hdd.{name}") for name in ("seek_one_ms", "cache_entries")),
            *(tried.get("hdd.zone_switch_ms"), point.what, point.x, point.stat),
        )
        if key not in known:
            known[key] = predict_hdd(geometry, tried, point)
        return known[key]

    points = published.hc620()
    for point, others in leave_one_out(points):
        fitted = fit_hdd(others, model, predict)
        ours = predict(fitted, point)
        kind = "input" if point.only else "predicted"
        yield Row("HC620", point.name, point.value, ours, point.tolerance, kind, point.source)
    yield from rows_hc620_zones(geometry, model)


def rows_hc620_zones(geometry: Geometry, model: Model) -> Iterator[Row]:
    """After random writes over 4,626 zones: 128 implicitly open, 4,498 closed, none full."""
    from zoned.report import ROW

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
    assert ROW.size
    for name, condition, count in (
        ("implicitly open", 2, 128),
        ("closed", 4, 4498),
    ):
        text = f"zones {name} after random writes over 4,626"
        yield Row("HC620", text, count, found.get(condition, 0), 1e-9, "predicted", published.FIO)
    full = Row("HC620", "zones full after them, and 1", 1, 1 + found.get(0xE, 0), 1e-9, "predicted",
               published.FIO)  # fmt: skip
    yield full


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
            wanted = desnoyers(config)
            yield Row("cleaning", name, wanted, _amplification(config), 0.005, "predicted",
                      DESNOYERS)  # fmt: skip
    config = LogConfig(128, 4096, spare=0.10, policy="fifo")
    yield Row("cleaning", "fifo, 128 segments of 4,096", desnoyers(config), _amplification(config),
              0.01, "predicted", DESNOYERS)  # fmt: skip
    for policy in ("fifo", "greedy"):
        config = LogConfig(
            4000, 128, spare=0.10, policy=policy, distribution="hotcold", a=0.9, b=0.1
        )
        yield Row("cleaning", f"{policy}, 0.9 of writes to 0.1, mixed", desnoyers(config),
                  _amplification(config), 0.015, "predicted", DESNOYERS)  # fmt: skip
    for policy in ("fifo", "greedy"):
        for hot in (500, 550, 600):
            config = LogConfig(4000, 128, spare=0.10, policy=policy, distribution="hotcold",
                               a=0.9, b=0.1, hot_segments=hot)  # fmt: skip
            yield Row("cleaning", f"{policy}, separated, {hot} segments hot", desnoyers(config),
                      _amplification(config), 0.015, "predicted", DESNOYERS)  # fmt: skip


def _amplification(config: LogConfig) -> float:
    log = Log(config, seed=SEED)
    log.write(5 * config.nr_blocks)
    log.count_from_here()
    log.write(10 * config.nr_blocks)
    return log.write_amplification


# ----------------------------------------------------------------------------- drive-managed


def rows_drive_managed() -> Iterator[Row]:
    """Fast until map or cache is full, then a fall; band traffic three times a band."""
    profile, model = load_drive("st8000as0002")
    geometry = profile.geometry()
    sim = Simulation(geometry, model, SEED)
    job = Job("w", iodepth=1, size=geometry.size, writes=True, random=True, norandommap=True)
    job.number_ios = 260_000
    sim.add(job)
    run = sim.run()
    full_at = run.drive_managed["full_at"]
    fast = 250_000 / (full_at / SECOND)
    slow = (run.drive_managed["into_cache"] - 250_000) / ((run.now - full_at) / SECOND)
    source = "Aghayev and Desnoyers, FAST 2015; shape only"
    yield Row("drive-managed", "map entries written before the fall", 250_000,
              run.drive_managed["full_entries"], 0.02,
              "predicted", source)  # fmt: skip
    yield Row("drive-managed", "fall is at least two orders of magnitude (1 if so)", 1,
              float(fast / slow >= 100), 1e-9, "predicted", source)  # fmt: skip
    yield Row("drive-managed", "IOPS before it", fast, fast, 0, "ours", source)
    yield Row(
        "drive-managed", "IOPS after it (1.5 to 3 derived)", 2.2, slow, 0, "predicted", source
    )
    traffic = run.drive_managed["cleaning_bytes"] / run.drive_managed["bands_cleaned"]
    yield Row("drive-managed", "traffic for a band, in bands", 3, traffic / (30 * MIB), 0.001,
              "input", "Aghayev et al., FAST 2017: 120 GiB dirty, 360 GiB")  # fmt: skip


# ------------------------------------------------------------------------------------- speed


def rows_speed() -> Iterator[Row]:
    """Simulated commands per second of processor time; the published column is the goal."""
    from zoned.bench.speed import bare_rates, commands_per_second, whole_drive

    null = commands_per_second("null")
    device, machine = bare_rates()
    for name, goal, ours in (
        ("4 KiB sequential without a model, M/s", 10, null / 1e6),
        ("the same in parts of a bare loop of zd_pwrite", 0.5, null / device),
        ("and of one over the simulator's own zone words", 0.5, null / machine),
        ("4 KiB sequential, HDD model, depth 1, M/s", 3, commands_per_second("hdd") / 1e6),
        ("28 TB once in 1 MiB commands, s", 15, whole_drive()),
    ):
        yield Row("speed", name, goal, ours, 0, "ours", "goal of the project")


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "zn540": rows_zn540,
    "hc620": rows_hc620,
    "cleaning": rows_cleaning,
    "drive-managed": rows_drive_managed,
    "speed": rows_speed,
}


def line(row: Row) -> str:
    """For the terminal."""
    tolerance = f"{row.tolerance:.1%}" if row.tolerance > 1e-6 else ""
    return (
        f"{row.part:<14} {row.name:<56} {row.published:>10.4g} {row.ours:>10.4g} "
        f"{row.difference:>+8.1%} {tolerance:>6}  {row.kind:<10}{row.verdict}"
    )


def markdown(rows: list[Row]) -> str:
    """The table as a page."""
    out = [
        "| part | figure | published | ours | difference | tolerance | row | source |",
        "|---|---|--:|--:|--:|--:|---|---|",
    ]
    for row in rows:
        tolerance = f"{row.tolerance:.1%}" if row.tolerance > 1e-6 else ""
        kind = f"{row.kind} {row.verdict}".strip()
        out.append(
            f"| {row.part} | {row.name} | {row.published:.4g} | {row.ours:.4g} "
            f"| {row.difference:+.1%} | {tolerance} | {kind} | {row.source} |"
        )
    return "\n".join(out) + "\n"


def show_fits() -> None:
    """Parameters fitted to all figures, for the profiles."""
    profile, model = load_drive("zn540")
    for key, value in fit_zns(published.zn540(), model).tables["zns"].items():
        if value != model.get(f"zns.{key}"):
            print(f"zn540 {key} = {value:.5g} (profile {model.get(f'zns.{key}')})")
    profile, model = load_drive("hc620")
    geometry = profile.geometry()
    fitted = fit_hdd(published.hc620(), model, lambda m, p: predict_hdd(geometry, m, p))
    for key, value in fitted.tables["hdd"].items():
        if value != model.get(f"hdd.{key}"):
            print(f"hc620 {key} = {value:.5g} (profile {model.get(f'hdd.{key}')})")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    if options.fit:
        show_fits()
        return 0
    rows: list[Row] = []
    print(f"{'part':<14} {'figure':<56} {'published':>10} {'ours':>10} {'diff':>8} {'tol':>6}  row")
    for part in options.only.split(","):
        if part not in PARTS:
            parser.error(f"there is no part {part!r}: use {', '.join(PARTS)}")
        begun = time.perf_counter()
        for row in PARTS[part]():
            rows.append(row)
            print(line(row), flush=True)
        print(f"-- {part}: {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    if options.markdown:
        Path(options.markdown).write_text(markdown(rows), encoding="utf-8")
    outside = [row for row in rows if row.verdict == "outside"]
    counted = [row for row in rows if row.verdict]
    print(f"{len(counted)} rows count, {len(outside)} of them outside their tolerance")
    return 1 if outside and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
