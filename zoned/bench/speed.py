"""How fast the simulation itself is: commands per second of one processor, beside bare loops."""

from __future__ import annotations

import time

from zoned import memory
from zoned._core.handle import pointer
from zoned._core.native import Guard, ffi, lib
from zoned.bench.jobs import Job
from zoned.bench.simulation import Simulation
from zoned.drives.models import load_drive, null_model
from zoned.geometry import Geometry
from zoned.resolving import resolve

ZONE = 2**28


def empty_disk(size: int) -> Geometry:
    """Sequential zones of 256 MiB without limits."""
    return resolve({}, {"size": size, "zone_size": ZONE, "conventional": 0}, profile="speed")


def writer(size: int, block: int) -> Job:
    """Writes that much in order, one command at a time."""
    return Job("w", size=size, writes=True, zbd=True).set_bs(block)


def commands_per_second(model: str, jobs: int = 1, size: int = 32 * 2**30) -> float:
    """4 KiB sequential writes, depth 1, with the model "null" or "hdd". One job alone on the model
    null runs in bursts; with two jobs every command goes through the queue of events.
    """
    chosen = null_model() if model == "null" else load_drive("hc620")[1]
    sim = Simulation(empty_disk(size), chosen)
    for number in range(jobs):
        job = writer(size // jobs, 4096)
        job.offset = number * (size // jobs)
        sim.add(job)
    begun = time.process_time()
    run = sim.run()
    return run.commands / (time.process_time() - begun)


def bare_rates(size: int = 32 * 2**30) -> tuple[float, float]:
    """Writes per second in a bare C loop: through zd_pwrite() on a disk without data, and through
    the simulator's own zone words.
    """
    count = size // 4096
    sim = Simulation(empty_disk(size), null_model())
    with memory(size=size, zone_size=ZONE, conventional=0, data="none", max_open=0) as device:
        buffer = ffi.new("uint8_t[]", 4096)
        begun = time.process_time()
        with Guard(device):
            done = lib.zd_sim_bare_device(pointer(device), 0, 4096, count, buffer)
        through_device = done / (time.process_time() - begun)
    begun = time.process_time()
    with Guard(sim.owned):
        done += lib.zd_sim_bare(sim.owned.raw, 0, 4096, count)
    own = (done - count) / (time.process_time() - begun)
    assert done == 2 * count
    return through_device, own


def whole_drive() -> float:
    """Seconds of processor time for writing a 28 TB drive once in 1 MiB commands, HDD model."""
    profile, model = load_drive("hc680")
    geometry = profile.geometry()
    sim = Simulation(geometry, model)
    first = 1043 * geometry.zone_size
    job = writer(geometry.size - first, 2**20)
    job.offset = first
    sim.add(job)
    begun = time.process_time()
    run = sim.run()
    assert run.total(1).bytes == geometry.size - first
    return time.process_time() - begun
