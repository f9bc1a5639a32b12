"""A drive's profile from fio's results: the jobs of the results run on the model, and its
parameters move until both agree.

What fio reported (fitresults.py) has the options of its jobs: they run again in virtual time, and
what both say of them is compared. Parameters are searched by least squares of the relative
differences, each by what it may be off (NumPy, which the extra ``fit`` brings). A parameter that
the results do not determine keeps the value of the profile that the search begins with. How good
the profile is, is told by each job left out: what a fit to all other jobs says of it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoned.bench import fiofile
from zoned.bench.fitjobs import DRIVES, PREFIXES
from zoned.bench.fitparameters import KEPT, MOST, PARAMETERS, WHOLE
from zoned.bench.fitresults import FIGURES, Experiment, FitError, Row
from zoned.bench.jobs import DIRECTIONS
from zoned.bench.results import added, groups
from zoned.bench.runner import execute
from zoned.drives.models import KINDS, Model, load_drive
from zoned.drives.profiles import Profile
from zoned.geometry import Geometry
from zoned.plaintext import printable, printable_json, printable_lines
from zoned.units import counted

FAR = 8.0
"""Times of what it may be off, from which on a figure counts less."""
LOOSE = 0.1
"""A parameter whose own uncertainty is larger than this part of it counts as not determined."""
SHOWN = 1e-4
"""Of what a figure may be off, how far it must move with a parameter to depend on it."""
FACTOR = 6.0
"""How far from the first profile's value a parameter is searched, up and down."""
BOLD = 0.5
"""Most that the logarithm of a parameter moves in one step of the search."""
STEP = 0.03
"""Relative change of a parameter for the slope of what it does."""
ENOUGH = 20000
"""Commands of a job of an SSD that the model does, and five times as many with a queue: as many as
the jobs of bench fit --jobs have, as the first ones fill the drive's buffer and are quicker than
the rest. (One of them has more, whose commands all take the same time.)"""
ROUNDS = 12
"""Steps of the search at most."""
SETTLE = 8
"""Seeds of which the end of the search is the mean."""
LONGEST = {"hdd": 60.0, "zns": 2.0, "drive-managed": 60.0}
"""Seconds of virtual time that a job with time_based is run at most: it is in its stride then."""
SEED = 1
Told = Callable[[str], None] | None


@dataclass(frozen=True, slots=True)
class Found:
    """One parameter, before and after."""

    name: str
    before: float
    after: float
    deviation: float
    """Its uncertainty, as a part of it; NaN: the results do not determine it."""
    shown: bool
    """Whether any job's figures depend on it."""

    @property
    def determined(self) -> bool:
        """Whether the results say anything about it."""
        return not math.isnan(self.deviation)

    @property
    def told(self) -> str:
        """How sure it is, or why it stayed what it was."""
        if self.determined:
            return f"{self.deviation:.1%}"
        why = "the jobs do not tell it from others" if self.shown else "no job shows it"
        return f"not determined: kept, as {why}"


@dataclass(frozen=True, slots=True)
class Fit:
    """What came out."""

    profile: Profile
    before: Model
    model: Model
    parameters: tuple[Found, ...]
    rows: tuple[Row, ...]
    fitted: tuple[tuple[float, ...], ...]
    """The model's figures of each row."""
    left_out: tuple[tuple[float, ...], ...]
    """What a fit to the other jobs says of each row."""
    alone: tuple[tuple[str, ...], ...]
    """By row: parameters that no other job shows, so that the others cannot say much of it."""

    @property
    def kept(self) -> dict[str, tuple[str, ...]]:
        """By reason, the model's parameters that are never fitted, or not from this profile."""
        names = {one.name for one in self.parameters}
        none = tuple(name for name in PARAMETERS[self.model.kind] if name not in names)
        zero = {"it is 0 in the profile that the search begins with": none} if none else {}
        return {**KEPT[self.model.kind], **zero}

    def errors(self, at: int) -> Iterator[tuple[str, float, float, float, float]]:
        """Of a row: the figure's name, measured, the fit's, and both errors as parts."""
        row = self.rows[at]
        for name, real, ours, alone in zip(
            row.kinds, row.figures, self.fitted[at], self.left_out[at], strict=True
        ):
            yield name, real, ours, ours / real - 1, alone / real - 1


def kind_of(experiments: Sequence[Experiment]) -> str:
    """Which kind of drive the jobs of ``bench fit --jobs`` were run on; empty: they are others."""
    found = {
        kind
        for experiment in experiments
        for row in experiment.rows
        for prefix, kind in PREFIXES.items()
        if row.name.startswith(prefix)
    }
    if len(found) > 1:
        raise FitError(f"the results are of several kinds of drives: {', '.join(sorted(found))}")
    return found.pop() if found else ""


def begin_with(experiments: Sequence[Experiment], profile: str | None) -> tuple[Profile, Model]:
    """The profile that the search begins with. Raises FitError, ProfileError, OSError."""
    kind = kind_of(experiments)
    if profile is None and not kind:
        raise FitError(
            "the results are not those of the jobs of bench fit --jobs: name the profile of a "
            "drive of the same kind with --profile"
        )
    loaded, model = load_drive(profile or DRIVES[kind])
    if kind and model.kind != kind:
        raise FitError(
            f"the results are of a drive of the kind {kind}, and the profile {loaded.name} has a "
            f"model of the kind {model.kind}"
        )
    if model.kind not in PARAMETERS:
        raise FitError(f"the model {model.kind} of {loaded.name} has nothing to be fitted")
    return loaded, model


# ----------------------------------------------------------------------------------- the search


class _Search:
    """Results, and a model whose parameters move."""

    def __init__(self, experiments: Sequence[Experiment], geometry: Geometry, model: Model) -> None:
        self.experiments = experiments
        self.geometry = geometry
        self.model = model
        self.rows = tuple(row for experiment in experiments for row in experiment.rows)
        self.plans = [self._plan(experiment) for experiment in experiments]
        self.names = [name for name in PARAMETERS[model.kind] if _value(model, name) > 0]
        self.start = {name: _value(model, name) for name in self.names}

    def _plan(self, experiment: Experiment) -> fiofile.Plan:
        try:
            plan = fiofile.parse(experiment.text, self.geometry, Path(experiment.name))
        except fiofile.FioError as error:
            raise FitError(f"{experiment.name}: its jobs cannot be run here: {error}") from None
        longest = round(LONGEST[self.model.kind] * 10**9)
        for job in plan.jobs:
            if job.time_based and job.runtime:
                ramp = min(job.ramp, longest // 4)
                job.runtime = ramp + min(job.runtime - job.ramp, longest)
                job.ramp = ramp
            if self.model.kind == "zns" and not job.name.startswith("prepare"):
                most = ENOUGH * (5 if job.iodepth >= 32 else 1)
                job.number_ios = min(job.number_ios, most) if job.number_ios else 0
        return plan

    def predict(self, model: Model, seed: int = SEED) -> list[tuple[float, ...]]:
        """The figures of all rows on a model. Raises FitError."""
        out: list[tuple[float, ...]] = []
        for experiment, plan in zip(self.experiments, self.plans, strict=True):
            run = execute(plan, self.geometry, model, seed)
            members = groups(run)
            for row in experiment.rows:
                if row.job >= len(members) or members[row.job][0].job.name != row.name:
                    raise FitError(f"{experiment.name}: its jobs are not those of its options")
                mine = members[row.job]
                failed = next((one.error for one in mine if one.error), "")
                stats = added(mine, row.direction)
                if failed or not stats.count:
                    raise FitError(
                        f"job {row.name} did nothing on the model: {failed or 'no time'}"
                    )
                known = dict(zip(FIGURES, (stats.mean, stats.iops, stats.deviation), strict=True))
                out.append(tuple(known[kind] for kind in row.kinds))
        return out

    def at(self, values: Mapping[str, float]) -> Model:
        """The model with these parameters."""
        changes: dict[str, float | str] = {}
        for name, value in values.items():
            most = min(value, MOST.get(name, value))
            changes[name.replace(".", "__")] = round(most) if name in WHOLE else most
        found = self.model.but(**changes)
        if "hdd" in found.tables:  # no disk is faster inside
            outer, inner = (_value(found, f"hdd.rate_{end}_mb_s") for end in ("outer", "inner"))
            found = found.but(hdd__rate_inner_mb_s=min(inner, outer))
        return found

    def residuals(self, values: Mapping[str, float], seed: int = SEED) -> list[float]:
        """Logarithms of the model's figures over the measured ones, by what they may be off."""
        out: list[float] = []
        for row, figures in zip(self.rows, self.predict(self.at(values), seed), strict=True):
            off = [
                math.log(max(ours, 1e-9) / real)
                for ours, real in zip(figures, row.figures, strict=True)
            ]
            if len(off) > 1:
                off[1] += off[0]
            out += [one / noise for one, noise in zip(off, row.noise, strict=True)]
        return out

    def slopes(self, names: Sequence[str], at: Mapping[str, float]) -> Any:
        """How the residuals change with the logarithm of each parameter: a column for each."""
        import numpy as np

        here = self.residuals(at)
        columns = []
        for name in names:
            step = STEP
            if name in MOST and at[name] * math.exp(step) > MOST[name]:
                step = -STEP
            there = self.residuals({**at, name: at[name] * math.exp(step)})
            columns.append([(a - b) / step for a, b in zip(there, here, strict=True)])
        return np.array(columns).T

    def best(self, names: Sequence[str], at: Mapping[str, float], rounds: int) -> dict[str, float]:
        """These parameters where the residuals are least, from ``at`` on; the others as there.

        Gauss and Newton's steps, each at most BOLD, with rows that are far off counting less. What
        a disk's rotation does to a figure is no smooth function, so a step that makes things worse
        is halved and taken all the same, and the best of all places is the result.
        """
        import numpy as np

        values, here = dict(at), np.array(self.residuals(at))
        best, least = values, _cost(here, np)
        for _ in range(rounds):
            slope = self.slopes(names, values)
            weight = 1 / np.sqrt(np.sqrt(1 + (here / FAR) ** 2))
            step = np.linalg.lstsq(slope * weight[:, None], -here * weight, rcond=1e-6)[0]
            step *= min(1.0, BOLD / max(float(np.abs(step).max()), 1e-12))
            for part in (1.0, 0.5):
                moved = {
                    **values,
                    **{n: self._within(n, values[n] * math.exp(part * float(by)))
                       for n, by in zip(names, step, strict=True)},
                }  # fmt: skip
                there = np.array(self.residuals(moved))
                if _cost(there, np) < _cost(here, np):
                    break
            gained = least - _cost(there, np)
            values, here = moved, there
            if gained > 0:
                best, least = values, least - gained
            if float(np.abs(step).max()) < 1e-3 or (gained < 1e-4 * least and gained >= 0):
                break
        return best

    def settled(
        self, names: Sequence[str], at: Mapping[str, float], slope: Any
    ) -> dict[str, float]:
        """The mean of where a step of least squares leads from runs with other seeds.

        What a run owes to chance, or to where the platter stood, is another thing each time, so it
        does not decide where the search ends. The k-th step is taken to a k-th part, which makes
        the last place the mean of all. Without a gain in the end it stays where it began.
        """
        import numpy as np

        values = dict(at)
        seeds = range(SEED + 1, SEED + 1 + SETTLE)
        for k, seed in enumerate(seeds, 1):
            here = np.array(self.residuals(values, seed))
            weight = 1 / np.sqrt(np.sqrt(1 + (here / FAR) ** 2))
            step = np.linalg.lstsq(slope * weight[:, None], -here * weight, rcond=1e-6)[0]
            step *= min(1.0, STEP / max(float(np.abs(step).max()), 1e-12)) / k
            for name, by in zip(names, step, strict=True):
                values[name] = self._within(name, values[name] * math.exp(float(by)))
        cost = [
            sum(_cost(np.array(self.residuals(place, seed)), np) for seed in seeds)
            for place in (at, values)
        ]
        return values if cost[1] < cost[0] else dict(at)

    def _within(self, name: str, value: float) -> float:
        """Not further from where the search began than FACTOR."""
        first = self.start[name]
        return min(max(value, first / FACTOR), first * FACTOR, MOST.get(name, math.inf))


def _cost(residuals: Any, np: Any) -> float:
    """Squares, of large ones only the size: one odd figure does not pull the rest along."""
    return float(np.sum(np.sqrt(1 + (residuals / FAR) ** 2) - 1))


def _value(model: Model, name: str) -> float:
    value = model.host_us if name == "host_us" else model.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def fit(
    experiments: Sequence[Experiment], profile: Profile, model: Model, told: Told = None
) -> Fit:
    """A model whose jobs take the time that the results say. ``told`` gets lines of progress.

    Raises FitError, also where NumPy is missing; GeometryError where a job does not fit the disk.
    """
    try:
        import numpy as np
    except ImportError:
        raise FitError("bench fit needs the package numpy: pip install 'zoned[fit]'") from None
    say = told or (lambda _: None)
    search = _Search(experiments, profile.geometry(), model)
    start = search.start
    active = _determined(search.names, search.slopes(search.names, start), np)
    if not active:
        raise FitError("the results determine none of the model's parameters")
    say(f"{counted(len(active), 'parameter')} of {len(search.names)}")
    values = search.best(active, start, ROUNDS)
    # Further from home other parameters may show, or no longer do.
    slope = search.slopes(search.names, values)
    shown = {name for at, name in enumerate(search.names) if np.abs(slope[:, at]).max() > SHOWN}
    then = _determined(search.names, slope, np)
    if then != active:
        active = then
        values = search.best(active, {**start, **{name: values[name] for name in active}}, ROUNDS)
    slope = search.slopes(active, values)
    values = search.settled(active, values, slope)
    deviations = dict(zip(active, _deviations(slope, np), strict=True))
    found = search.at(values)
    left_out = []
    for row in search.rows:
        say(f"without {row.what}")
        left_out.append(_without(search, row, active, values, slope, np))
    return Fit(
        profile=profile,
        before=model,
        model=found,
        parameters=tuple(
            Found(
                name,
                start[name],
                _value(found, name),
                deviations.get(name, math.nan),
                name in shown,
            )
            for name in search.names
        ),
        rows=search.rows,
        fitted=tuple(search.predict(found)),
        left_out=tuple(figures for figures, _ in left_out),
        alone=tuple(names for _, names in left_out),
    )


def _deviations(slope: Any, np: Any) -> list[float]:
    """How uncertain each parameter is when each figure is off by what it may be."""
    spread = np.linalg.pinv(slope.T @ slope, rcond=1e-12)
    return [math.sqrt(max(float(v), 0.0)) for v in np.diag(spread)]


def _determined(names: Sequence[str], slope: Any, np: Any) -> list[str]:
    """Those that the figures determine: the least certain is left out until all that stay are."""
    kept = [at for at in range(len(names)) if np.abs(slope[:, at]).max() > SHOWN]
    while kept:
        some = slope[:, kept]
        # A direction that nothing shows counts as very uncertain, not as none.
        spread = np.linalg.inv(some.T @ some + 1e-4 * np.eye(len(kept)))
        unsure = [math.sqrt(float(v)) for v in np.diag(spread)]
        worst = max(range(len(kept)), key=lambda at: unsure[at])
        if unsure[worst] <= LOOSE:
            break
        kept.pop(worst)
    return [names[at] for at in kept]


def _without(
    search: _Search,
    row: Row,
    names: Sequence[str],
    values: Mapping[str, float],
    slope: Any,
    np: Any,
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """The figures of a row on the model that all other jobs give: from where all together put it, a
    step of least squares without that job, and what nothing else determines as it was at first. And
    the names of what nothing else determines.
    """
    keep = [
        not (other.result == row.result and other.job == row.job)
        for other in search.rows
        for _ in other.figures
    ]
    some = slope[keep]
    sure = _determined(names, some, np) if any(keep) else []
    start = {name: _value(search.model, name) for name in names}
    moved = dict(values)
    # What only this job showed goes back to where the search began; then the others fit again.
    moved.update({name: start[name] for name in names if name not in sure})
    if sure:
        columns = [list(names).index(name) for name in sure]
        off = np.array(search.residuals(moved))[keep]
        step = np.linalg.lstsq(some[:, columns], -off, rcond=None)[0]
        reach = math.log(FACTOR)
        for name, by in zip(sure, step, strict=True):
            moved[name] *= math.exp(min(max(float(by), -reach), reach))
    at = next(i for i, other in enumerate(search.rows) if other == row)
    lost = tuple(name for name in names if name not in sure)
    return search.predict(search.at(moved))[at], lost


# -------------------------------------------------------------------------------------- telling


def as_text(found: Fit) -> str:
    """Parameters and rows for people."""
    lines = [f"{'parameter':<24} {found.profile.name:>12} {'fitted':>12}   uncertain by"]
    lines += [
        f"{one.name:<24} {one.before:>12.5g} {one.after:>12.5g}   {one.told}"
        for one in found.parameters
    ]
    lines.append("not fitted, and as the profile has it:")
    lines += [f"  {', '.join(names)}: {why}" for why, names in found.kept.items()]
    head = f"{'job':<28} {'':<6} {'figure':<13} {'measured':>12} {'fitted':>12}"
    lines += ["", f"{head} {'error':>8} {'left out':>9}"]
    for at, row in enumerate(found.rows):
        for name, real, ours, error, alone in found.errors(at):
            measured, model = (
                (f"{real / 1e3:,.2f} us", f"{ours / 1e3:,.2f} us")
                if name != FIGURES[1]
                else (f"{real:,.1f}", f"{ours:,.1f}")
            )
            lines.append(
                f"{row.name:<28} {DIRECTIONS[row.direction]:<6} {name:<13} {measured:>12} "
                f"{model:>12} {error:>+8.1%} {alone:>+9.1%}{' *' if found.alone[at] else ''}"
            )
    lines.append("left out: what a fit to all other jobs says of it")
    if any(found.alone):
        lines.append("* no other job shows one of its parameters: " + "; ".join(_alone(found)))
    return printable_lines("\n".join(lines) + "\n")


def _alone(found: Fit) -> Iterator[str]:
    for row, names in zip(found.rows, found.alone, strict=True):
        if names:
            yield f"{row.name}: {', '.join(names)}"


def as_json(found: Fit) -> str:
    """One JSON text, ending in a newline."""
    data = {
        "profile": found.profile.name,
        "model": found.model.kind,
        "parameters": [
            {"name": one.name, "before": one.before, "fitted": one.after,
             "uncertain": round(one.deviation, 6) if one.determined else None,
             "why": None if one.determined else one.told}
            for one in found.parameters
        ],
        "kept": [{"why": why, "names": list(names)} for why, names in found.kept.items()],
        "rows": [
            {"job": row.name, "direction": DIRECTIONS[row.direction], "figure": name,
             "measured": real, "fitted": ours, "error": round(error, 6),
             "left_out": round(alone, 6), "alone": list(found.alone[at])}
            for at, row in enumerate(found.rows)
            for name, real, ours, error, alone in found.errors(at)
        ],
    }  # fmt: skip
    return printable_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"


def as_toml(found: Fit, results: Sequence[str]) -> str:
    """The profile: its geometry as it was, and the model with where each number comes from."""
    certain = {one.name: one for one in found.parameters if one.determined}
    base = found.profile.name
    names = ", ".join(os.path.basename(name) for name in results)
    lines = [
        f"# Fitted by zonedctl bench fit to {printable(names)}; the rest is of the profile {base}.",
        f"description = {_toml(f'fitted, from {found.profile.description or base}')}",
        "",
        "[geometry]",
        *(f"{key} = {_toml(value)}" for key, value in found.profile.values.items()),
        "",
        "[model]",
        f"kind = {_toml(found.model.kind)}",
        _line("host_us", found.model.host_us, certain.get("host_us")),
        _line("merge", found.model.merge, None),
    ]
    for table in KINDS[found.model.kind][1]:
        lines += ["", f"[model.{table}]"]
        lines += [
            _line(name, value, certain.get(f"{table}.{name}"))
            for name, value in found.model.tables[table].items()
        ]
    return "\n".join(lines) + "\n"


def _line(name: str, value: object, one: Found | None) -> str:
    told = f"  # fitted, uncertain by {one.deviation:.1%}" if one is not None else ""
    shown = float(f"{value:.6g}") if isinstance(value, float) else value
    return f"{name} = {_toml(shown)}{told}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    # A TOML string has JSON's escapes, but for DEL, which must be written out.
    return json.dumps(str(value)).replace("\x7f", "\\u007f")
