"""Drives that the emulator makes up, and what fio would report of the jobs of ``bench fit`` on them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from zoned.bench import calibrate, fiofile, fitjobs, results
from zoned.bench.fitparameters import MOST, PARAMETERS, WHOLE
from zoned.bench.runner import execute
from zoned.drives.models import Model, load_drive
from zoned.drives.profiles import Profile


def measured(
    folder: Path, profile: Profile, model: Model, text: str, name: str = "result.json"
) -> Path:
    """What fio would report of the jobs on this drive; the seed is not one of the fit's.

    fio counts the commands a second from whole milliseconds.
    """
    plan = fiofile.parse(text, profile.geometry(), Path("jobs.fio"))
    run = execute(plan, profile.geometry(), model, 77)
    assert [job.error for job in run.jobs] == [""] * len(run.jobs)
    data = json.loads(results.as_json(run, "own", (), plan.global_options))
    for job in data["jobs"]:
        for what in ("read", "write", "trim"):
            if job[what]["runtime"]:
                job[what]["iops"] = job[what]["total_ios"] * 1000 / job[what]["runtime"]
    path = folder / name
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def only(text: str, *names: str) -> str:
    """These sections of a job file."""
    head, *sections = text.split("\n\n[")
    return "\n\n[".join([head, *(one for one in sections if one.split("]")[0] in names)])


def with_numbers(model: Model, numbers: dict[str, float]) -> Model:
    return model.but(**{name.replace(".", "__"): value for name, value in numbers.items()})


def drawn(kind: str, dice: random.Random) -> dict[str, float]:
    """Numbers of a drive for all that a fit may set, up to a quarter from the built-in ones."""
    model = load_drive(fitjobs.DRIVES[kind])[1]
    out = {}
    for name in PARAMETERS[kind]:
        first = model.host_us if name == "host_us" else model.get(name)
        value = float(first) * math.exp(dice.uniform(-0.25, 0.25))
        value = min(value, MOST.get(name, value))
        out[name] = round(value) if name in WHOLE else value
    return out


def recovered(fit: calibrate.Fit, hidden: dict[str, float]) -> dict[str, float]:
    """How far each parameter that was determined is from the hidden one."""
    return {
        one.name: abs(one.after / hidden[one.name] - 1)
        for one in fit.parameters
        if one.determined and one.name in hidden
    }
