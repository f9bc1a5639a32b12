"""A job alone on the model null is taken many commands at a time: nothing of that shows in its results."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest

from sim.helpers import KIB, MIB, disk, writer
from zoned.bench import Job, Model, Run, Simulation
from zoned.bench.results import as_csv, as_json


def text(run: Run) -> str:
    return (
        as_json(run, "any") + as_csv([run]) + repr((run.series, run.picture, run.states, run.zones))
    )


def alone(job: Job, chunk: int, dice: random.Random) -> str:
    geometry = disk(
        dialect=dice.choice(("zbc", "nullblk", "zns")),
        conventional=dice.choice((0, 2)),
        zone_capacity=dice.choice((3, 4)) * MIB,
        max_open=dice.choice((0, 1, 3)),
        size=dice.choice((64 * MIB, 63 * MIB + 12 * KIB)),
    )  # fmt: skip
    model = Model(
        "null", dice.choice((0.0, 3.7)), {"null": {"command_us": dice.choice((0.05, 5, 90_000))}}
    )
    sim = Simulation(geometry, model, 3)
    sim.chunk = chunk
    job.size = min(job.size, geometry.size - job.offset)
    if dice.random() < 0.5:
        sim.fill(4, 1, 64 * KIB)
    sim.add(job)
    return text(sim.run())


@pytest.mark.parametrize("seed", range(120))
def test_bursts_do_not_show(seed: int) -> None:
    texts = []
    for chunk in (1_000_000, 3, 1000):
        dice = random.Random(seed)
        keywords: dict[str, Any] = {
            "zbd": dice.random() < 0.8,
            "verify": dice.random() < 0.2,
            "ramp": dice.choice((0, 0, 700_000)),
            "io_size": dice.choice((0, 0, 5 * MIB + 4 * KIB, 200 * MIB)),
            "number_ios": dice.choice((0, 0, 1000)),
            "max_open_zones": dice.choice((0, 0, 2)),
            "job_max_open_zones": dice.choice((0, 0, 1)),
            "ignore_zone_limits": dice.random() < 0.2,
            "startdelay": dice.choice((0, 12345)),
            "runtime": dice.choice((0, 0, 9_000_000)),
            "offset": 8 * MIB + dice.choice((0, 4)) * MIB,
        }
        keywords["time_based"] = bool(keywords["runtime"]) and dice.random() < 0.5
        if (
            not keywords["number_ios"]
            and not keywords["runtime"]
            and keywords["io_size"] > 100 * MIB
        ):
            keywords["io_size"] = 100 * MIB
        bs = dice.choice((4, 8, 12, 60)) * KIB
        texts.append(alone(writer(bs=bs, size=52 * MIB, **keywords), chunk, dice))
    assert texts[0] == texts[1] == texts[2]


def test_a_whole_drive_in_small_commands_adds_up() -> None:
    """28 TB in 64 KiB commands: every command counted, every zone full."""
    from zoned.drives.models import load_drive, null_model
    from zoned.report import ROW

    geometry = load_drive("hc680")[0].geometry()
    sim = Simulation(geometry, null_model(), 1)
    first = geometry.nr_conventional * geometry.zone_size
    sim.add(writer(offset=first, size=geometry.size - first))
    result = sim.run()
    assert result.total(1).count == (geometry.size - first) // (64 * KIB)
    assert result.now == result.total(1).count * 1000
    assert (
        sum(row[7] == 0xE for row in ROW.iter_unpack(result.zones))
        == geometry.nr_zones - geometry.nr_conventional
    )


def looks(took: float, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands lay between two looks at the progress, if each stretch took so many seconds."""
    clock = itertools.count()
    time = SimpleNamespace(monotonic=lambda: next(clock) * took)
    monkeypatch.setattr("zoned.bench.simulation.time", time)
    sim = Simulation(disk(size=64 * MIB), Model("null", 0.0, {"null": {"command_us": 0.05}}), 1)
    sim.add(writer(bs=4 * KIB, io_size=800 * MIB))
    done = [0]
    sim.run(lambda _, commands: done.append(commands))
    return [after - before for before, after in itertools.pairwise(done)]


def test_a_slow_run_looks_up_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million commands of an HDD took ten seconds, in which neither Ctrl-C nor the bar was looked at."""
    slow, quick = looks(1.0, monkeypatch), looks(0.001, monkeypatch)
    assert slow[0] <= 21_000
    assert slow[5] <= 1_000
    assert quick[1] >= 70_000
    assert len(quick) < 6
