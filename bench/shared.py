"""Several things at once on a ZN540: each figure simulated, and a fit for reads and writes.

What reads and writes do to each other has three parameters: when a program stops for a read, what
that costs it, and how many reads it lets go first. They are fitted to the rate-limited runs
(``BESIDE``); every second of these (a chessboard over rate and depth) is predicted with parameters
that were fitted to the other half. ``python bench/validate.py --fit`` makes the fits anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from zoned.bench import Job, Model, Simulation
from zoned.bench.fit import Point, minimum
from zoned.bench.simulation import Run
from zoned.geometry import Geometry

MIB = 2**20
SECOND = 10**9
SEED = 1

FITTED = {
    0: {"suspend_us": 283.0, "resume_us": 144.0, "suspend_reads": 20.0},
    1: {"suspend_us": 283.0, "resume_us": 136.0, "suspend_reads": 18.0},
}
"""By half of the chessboard: fitted to the runs of the other half."""

RATES = (10, 50, 100, 250, 500, 1000)
DEPTHS = (1, 8, 16, 32, 64)


def half(point: Point) -> int:
    """Of the chessboard, for runs of ``BESIDE``."""
    return (RATES.index(int(point.what.split()[1])) + DEPTHS.index(int(point.x))) % 2


def fit_half(geometry: Geometry, model: Model, points: Sequence[Point], which: int) -> Model:
    """The three parameters from the runs that are not of this half."""
    mine = [p for p in points if p.what.startswith("beside") and half(p) != which]

    def error(**changes: float) -> float:
        tried = model.but(**{f"zns__{name}": value for name, value in changes.items()})
        runs: dict[tuple[str, float], Run] = {}
        total = 0.0
        for point in mine:
            key = (point.what, point.x)
            if key not in runs:
                runs[key] = simulate(geometry, tried, point, short=True)
            off = figure(runs[key], point) / point.value - 1
            total += off * off / (30 if point.stat == "p99" else 1)
        return total

    at = {"suspend_us": 270.0, "resume_us": 130.0, "suspend_reads": 18.0}

    def along(name: str) -> Callable[[float], float]:
        whole = name == "suspend_reads"
        return lambda value: error(**(at | {name: round(value) if whole else value}))

    for name, low, high in (
        ("resume_us", 20.0, 260.0),
        ("suspend_reads", 8.0, 32.0),
        ("suspend_us", 180.0, 360.0),
    ) * 2:
        at[name] = float(round(minimum(along(name), low, high, 5)))
    return model.but(**{f"zns__{name}": value for name, value in at.items()})


def simulate(geometry: Geometry, model: Model, point: Point, short: bool = False) -> Run:
    """The point's run, for a part of a second where the source took minutes."""
    kind, *rest = point.what.split()
    sim = Simulation(geometry, model, SEED)
    jobs: list[Job] = []
    depth = int(point.x)
    seconds, ramp = (0.25 if short else 0.6), 0.0
    if kind == "beside":
        sim.fill(0, 400, geometry.zone_capacity)
        jobs = [_reads(geometry, depth, 4, 400), _writes(geometry, 128, 400)]
        jobs[1].rate = [0, int(rest[0]) * MIB, 0]
    elif kind == "mixed":
        sim.fill(0, 899, geometry.zone_capacity)
        job = _reads(geometry, depth, 4, 904)
        job.writes = job.append = True
        job.mix_read, job.max_open_zones = int(rest[0]), 14
        # Behind the resets of the zones that it opens.
        seconds, ramp, jobs = 1.2, 0.7, [job]
    elif kind in ("write", "append"):
        for at in range(int(rest[1])):
            jobs.append(_writes(geometry, int(rest[0]), 100 * at, depth))
            jobs[at].append = kind == "append"
    elif kind == "random":
        sim.fill(0, 60, geometry.zone_capacity)
        jobs = [_reads(geometry, depth, int(rest[0]), 60)]
        seconds = 0.3
    elif kind == "stream":
        sim.fill(0, 400, geometry.zone_capacity)
        for at in range(int(rest[1])):
            jobs.append(_reads(geometry, depth, int(rest[0]), 100, 100 * at))
            jobs[at].random = False
        seconds = 0.3
    elif kind == "merged":
        jobs = [_writes(geometry, int(rest[0]), 0, depth)]
        seconds = 0.3
    else:
        sim.fill(0, 20, geometry.zone_capacity)
        jobs = [_reads(geometry, 1, 4, 20) if depth == 2 else _writes(geometry, 4, 40)]
        jobs[0].append = depth == 1
        job = Job("z", kind="zones", offset=100 * geometry.zone_size, size=20 * geometry.zone_size)
        job.zones_count, job.occupancy = 20, 1.0
        sim.add(job)
    for job in jobs:
        job.runtime, job.ramp, job.time_based = round(seconds * SECOND), round(ramp * SECOND), True
        sim.add(job)
    return sim.run()


def finishing(geometry: Geometry, model: Model, count: int) -> float:
    """MiB/s that the drive pads when so many half-written zones are finished at once."""
    sim = Simulation(geometry, model, SEED)
    for at in range(count):
        job = Job("f", kind="zones", offset=at * geometry.zone_size, size=geometry.zone_size)
        job.zones_count, job.occupancy, job.zones_finish = 1, 0.5, True
        sim.add(job)
    padded = count * 0.5 * geometry.zone_capacity / MIB
    return padded / (sim.run().total(2).maximum / 1e9)


def _reads(geometry: Geometry, depth: int, kib: int, zones: int, first: int = 0) -> Job:
    job = Job(
        "r", iodepth=depth, offset=first * geometry.zone_size, size=zones * geometry.zone_size
    )
    job.reads = job.random = job.zbd = job.norandommap = True
    return job.set_bs(kib * 1024)


def _writes(geometry: Geometry, kib: int, first: int, depth: int = 1) -> Job:
    job = Job("w", iodepth=depth, offset=first * geometry.zone_size, size=60 * geometry.zone_size)
    job.writes = job.zbd = True
    return job.set_bs(kib * 1024)


def figure(run: Run, point: Point) -> float:
    """What the point measured."""
    if point.stat == "ms":
        return run.total(2).percentile(50) / 1e6
    written = point.what.split()[0] in ("write", "append", "merged")
    stats = run.total(int(written or point.stat in ("append", "mib_s", "p99w")))
    return {
        "kiops": stats.iops / 1e3,
        "p99": stats.percentile(99) / 1e3,
        "p99w": stats.percentile(99) / 1e3,
        "mean": stats.mean / 1e3,
        "append": stats.mean / 1e3,
        "mib_s": stats.rate / MIB,
    }[point.stat]


def predicted(
    geometry: Geometry, model: Model, points: Sequence[Point]
) -> Iterator[tuple[Point, float]]:
    """Each figure with ours: of BESIDE, by the parameters that the other half gives."""
    runs: dict[tuple[str, float], Run] = {}
    for point in points:
        tried = model
        if point.what.startswith("beside"):
            tried = model.but(**{f"zns__{k}": v for k, v in FITTED[half(point)].items()})
        key = (point.what, point.x)
        if key not in runs:
            runs[key] = simulate(geometry, tried, point)
        yield point, figure(runs[key], point)
