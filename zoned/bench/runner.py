"""From a Plan to a Run: the disk of a profile, filled as the plan wants, and its jobs.

The one function that the command, sweeps and tests go through, so that all of them give the same
bytes for the same plan and seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zoned.bench.fiofile import Plan
from zoned.bench.logs import LogFiles
from zoned.bench.simulation import Run, Simulation
from zoned.device import Device
from zoned.drives.models import Model
from zoned.geometry import Geometry

if TYPE_CHECKING:
    from zoned.traces.sources import Feed

Progress = Callable[[int, int], None]


def execute(
    plan: Plan,
    geometry: Geometry,
    model: Model,
    seed: int,
    *,
    progress: Progress | None = None,
    trace: Feed | None = None,
    logs: LogFiles | None = None,
) -> Run:
    """Run a plan in virtual time. ``trace`` feeds the plan's trace jobs, ``logs`` gets what the
    jobs log.

    Raises GeometryError where a job does not fit the disk, OSError from the trace's file.
    """
    sim = Simulation(geometry, model, plan.seed if plan.seed is not None else seed)
    for first, count, size, finish in plan.fills:
        sim.fill(first, count, size, finish)
    sim.logs = logs
    if trace is not None:
        sim.begin_as(trace.before)
    for job in plan.jobs:
        index = sim.add(job)
        if job.kind == "trace":
            if trace is None:
                raise ValueError(f"job {job.name} needs a trace")
            sim.feed(index, trace.records())
    return sim.run(progress)


def execute_real(
    plan: Plan,
    device: Device,
    seed: int,
    progress: Progress | None = None,
    logs: LogFiles | None = None,
) -> Run:
    """Run a plan on an emulated disk, in real time. Fills are written first, untimed."""
    longest = 2**20
    for job in plan.jobs:
        for at in range(3):
            sizes = [size for size, _ in job.split[at]] or [job.bs_max[at]]
            longest = max(longest, *sizes)
    for first, count, size, finish in plan.fills:
        block = bytes(size)
        for zone in range(first, first + count):
            device.reset_zone(zone)
            device.pwrite(block, device.zones[zone].start)
            if finish:
                device.finish_zone(zone)
    sim = Simulation.on_device(device, plan.seed if plan.seed is not None else seed, longest)
    sim.logs = logs
    for job in plan.jobs:
        if job.kind in ("log", "trace", "zones"):
            raise ValueError(
                f"job {job.name}: jobs of the kind {job.kind} run in virtual time only"
            )
        sim.add(job)
    return sim.run(progress)
