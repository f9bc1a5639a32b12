"""What the tests of the simulation share: small disks and one-line runs."""

from __future__ import annotations

from typing import Any

from zoned.bench import Job, Model, Run, Simulation
from zoned.drives.models import null_model
from zoned.geometry import Geometry
from zoned.resolving import resolve

KIB = 1024
MIB = 1 << 20
SECOND = 10**9


def disk(**keywords: Any) -> Geometry:
    """16 zones of 4 MiB, two of them conventional, unless told otherwise."""
    values: dict[str, Any] = {
        "size": 64 * MIB,
        "zone_size": 4 * MIB,
        "conventional": 2,
        "max_open": 0,
    }
    return resolve({}, values | keywords, profile="sim")


def run(
    *jobs: Job, geometry: Geometry | None = None, model: Model | None = None, seed: int = 1
) -> Run:
    sim = Simulation(geometry or disk(), model or null_model(), seed)
    for job in jobs:
        sim.add(job)
    return sim.run()


def writer(**keywords: Any) -> Job:
    """Sequential zone-mode writes over zones 2 to 15 of `disk()`, 64 KiB each."""
    bs = keywords.pop("bs", 64 * KIB)
    values: dict[str, Any] = {"offset": 8 * MIB, "size": 56 * MIB, "writes": True, "zbd": True}
    return Job("w", **(values | keywords)).set_bs(bs)


def reader(**keywords: Any) -> Job:
    bs = keywords.pop("bs", 64 * KIB)
    values: dict[str, Any] = {"offset": 8 * MIB, "size": 56 * MIB, "reads": True, "zbd": True}
    return Job("r", **(values | keywords)).set_bs(bs)
