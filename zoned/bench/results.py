"""A Run as data for others: fio's JSON names, and CSV. The same run gives the same bytes.

No clock, host name or path of this machine gets in. ``zoned`` in the JSON holds what fio does not
have: zones, the drive's time by its parts, write amplification, what limited the run.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import zoned
from zoned.bench.jobs import DIRECTIONS, Job
from zoned.bench.limits import limiting
from zoned.bench.simulation import JobResult, Run, Stats
from zoned.plaintext import csv_cell, printable_json
from zoned.report import ROW
from zoned.zone import ZoneCondition

PERCENTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
STEPS = (2, 4, 10, 20, 50, 100, 250, 500, 750, 1000)


def groups(run: Run) -> list[list[JobResult]]:
    """Jobs that are reported together: those of a section with group_reporting, else each alone."""
    out: list[list[JobResult]] = []
    for job in run.jobs:
        last = out[-1][0].job if out else job.job
        together = job.job.group_reporting and last.group_reporting
        if out and together and last.group == job.job.group:
            out[-1].append(job)
        else:
            out.append([job])
    return out


def added(members: Sequence[JobResult], direction: int) -> Stats:
    """One direction of several jobs."""
    total = Stats()
    for member in members:
        total = total + member.stats[direction]
    return total


def _round(value: float) -> float:
    return round(value, 6)


def _latency(stats: Stats, percentiles: Sequence[float]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "min": stats.minimum,
        "max": stats.maximum,
        "mean": _round(stats.mean),
        "stddev": _round(stats.deviation),
        "N": stats.count,
    }
    if percentiles and stats.count:
        out["percentile"] = {f"{p:.6f}": stats.percentile(p) for p in percentiles}
    return out


def _samples(run: Run, direction: int, alone: bool) -> dict[str, Any]:
    """fio's bw_* and iops_*: of whole steps of the time series, where the run has one job only."""
    whole = run.series[: run.now // run.step] if alone else ()
    rates = [sample.bytes[direction] / 1024 * 1e9 / run.step for sample in whole]
    counts = [sample.count[direction] * 1e9 / run.step for sample in whole]
    if not any(counts):
        rates = counts = []
    out: dict[str, Any] = {}
    for name, values in (("bw", rates), ("iops", counts)):
        number = len(values)
        mean = sum(values) / number if number else 0.0
        spread = sum((v - mean) ** 2 for v in values) / (number - 1) if number > 1 else 0.0
        out[f"{name}_min"] = int(min(values, default=0))
        out[f"{name}_max"] = int(max(values, default=0))
        if name == "bw":
            out["bw_agg"] = 100.0 if values else 0.0
        out[f"{name}_mean"] = _round(mean)
        out["bw_dev" if name == "bw" else "iops_stddev"] = _round(spread**0.5)
        out[f"{name}_samples"] = number
    return out


def _direction(run: Run, members: Sequence[JobResult], direction: int) -> dict[str, Any]:
    stats = added(members, direction)
    job = members[0].job
    shown = job.percentiles or PERCENTILES
    return {
        "io_bytes": stats.bytes,
        "io_kbytes": stats.bytes // 1024,
        "bw_bytes": int(stats.rate),
        "bw": int(stats.rate / 1024),
        "iops": _round(stats.iops),
        "runtime": round(stats.runtime / 1e6),
        "total_ios": stats.count,
        "short_ios": 0,
        "drop_ios": 0,
        "slat_ns": _latency(Stats(), ()),
        "clat_ns": _latency(stats, shown if job.clat_percentiles else ()),
        "lat_ns": _latency(stats, shown if job.lat_percentiles else ()),
        **_samples(run, direction, len(run.jobs) == 1),
    }


def _spread(members: Sequence[JobResult]) -> dict[str, dict[str, float]]:
    """fio's latency_ns, latency_us and latency_ms: percent of commands in each class."""
    from zoned._core.native import lib

    count = 0
    classes: dict[str, dict[str, float]] = {
        "latency_ns": dict.fromkeys((str(s) for s in STEPS), 0.0),
        "latency_us": dict.fromkeys((str(s) for s in STEPS), 0.0),
        "latency_ms": dict.fromkeys([*(str(s) for s in STEPS), "2000", ">=2000"], 0.0),
    }
    edges = [("latency_ns", s, s) for s in STEPS]
    edges += [("latency_us", s, s * 1000) for s in STEPS]
    edges += [("latency_ms", s, s * 1_000_000) for s in (*STEPS, 2000)]
    for member in members:
        for stats in member.stats:
            for index, number in stats.buckets:
                value = int(lib.zd_sim_bucket(index))
                count += number
                for table, step, edge in edges:
                    if value < edge:
                        classes[table][str(step)] += number
                        break
                else:
                    classes["latency_ms"][">=2000"] += number
    return {
        table: {key: _round(100 * n / count) if count else 0.0 for key, n in found.items()}
        for table, found in classes.items()
    }


def _job(run: Run, members: Sequence[JobResult]) -> dict[str, Any]:
    first = members[0]
    depth = [sum(member.depth[at] for member in members) for at in range(7)]
    sent = sum(depth)
    failed = next((member for member in members if member.error), None)
    out: dict[str, Any] = {
        "jobname": first.job.name,
        "groupid": first.job.group,
        "jobs": len(members),
        "error": 5 if failed else 0,
        "eta": 0,
        "elapsed": round((max(m.ended for m in members) - min(m.started for m in members)) / 1e9),
        "job options": first.job.options,
    }
    if failed:
        out["error text"] = failed.error
    for at, name in enumerate(DIRECTIONS):
        out[name] = _direction(run, members, at)
    out |= _flushes(members) | _depth_found(members) | _steady(members)
    out["zone_resets"] = sum(member.zone_resets for member in members)
    out["job_runtime"] = round(sum(m.ended - m.started for m in members) / 1e6)
    labels = ("1", "2", "4", "8", "16", "32", ">=64")
    out["iodepth_level"] = {
        label: _round(100 * depth[at] / sent) if sent else 0.0 for at, label in enumerate(labels)
    }
    out |= _spread(members)
    if first.log_user:
        user = sum(member.log_user for member in members)
        moved = sum(member.log_moved for member in members)
        out["write_amplification"] = _round((user + moved) / user)
        out["segments_cleaned"] = sum(member.log_segments for member in members)
    return out


def _flushes(members: Sequence[JobResult]) -> dict[str, Any]:
    """fio's ``sync``, for jobs that flushed: how often, and how long that took."""
    done = [member for member in members if member.syncs]
    count = sum(member.syncs for member in done)
    if not count:
        return {}
    latency = {
        "min": min(member.sync_times[1] for member in done),
        "max": max(member.sync_times[2] for member in done),
        "mean": _round(sum(member.sync_times[0] for member in done) / count),
        "N": count,
    }
    return {"sync": {"total_ios": count, "lat_ns": latency}}


def _depth_found(members: Sequence[JobResult]) -> dict[str, Any]:
    """fio's ``latency_depth`` and its kin, for jobs that looked for the depth of a latency."""
    job = members[0].job
    if not job.latency_target:
        return {}
    return {
        "latency_depth": max(member.depth_found for member in members),
        "latency_target": job.latency_target,
        "latency_percentile": job.latency_percentile,
        "latency_window": job.latency_window // 1000,
    }


def steady_as_written(job: Job) -> str:
    """What was to be steady, as fio writes it."""
    slope, percent = "_slope" if job.steady_slope else "", "%" if job.steady_percent else ""
    return f"{job.steady}{slope}:{job.steady_limit:g}{percent}"


def _steady(members: Sequence[JobResult]) -> dict[str, Any]:
    """fio's ``steadystate``, for jobs that were to end when something is steady."""
    job, found = members[0].job, members[0].steady
    if found is None:
        return {}
    percent = "%" if job.steady_percent else ""
    return {
        "steadystate": {
            "ss": steady_as_written(job),
            "duration": round(job.steady_duration / 1e9),
            "attained": int(found.attained),
            "criterion": f"{found.criterion:f}{percent}",
            "data": {
                "bw_mean": found.bytes,
                "iops_mean": found.iops,
                "lat_mean": found.latency,
            },
        }
    }


def conditions(run: Run) -> dict[str, int]:
    """How many zones are in which condition at the end."""
    out: dict[str, int] = {}
    for row in ROW.iter_unpack(run.zones):
        name = ZoneCondition(row[7]).name.lower().replace("_", "-")
        out[name] = out.get(name, 0) + 1
    return dict(sorted(out.items()))


def as_dict(
    run: Run,
    profile: str,
    notes: Sequence[str] = (),
    global_options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The run under fio's names; ``global_options``: those of the job file's [global]."""
    ramp = max((job.job.ramp for job in run.jobs), default=0)
    return {
        "fio version": f"zoned-{zoned.__version__}",
        **({"global options": dict(global_options)} if global_options else {}),
        "jobs": [_job(run, members) for members in groups(run)],
        "zoned": {
            "profile": profile,
            "model": run.model.kind,
            "seed": run.seed,
            "clock": "real" if run.real else "virtual",
            "virtual_ns": run.now,
            "commands": run.commands,
            "warm_up_ns_left_out": ramp,
            "limit": limiting(run),
            "notes": list(notes),
            "drive_ns": {name: ns for name, ns in run.parts.items() if ns},
            "zone_events": run.counts,
            "zones": conditions(run),
            "seeks": {"count": run.moved, "by_power_of_two": list(run.seeks)},
            "drive_managed": run.drive_managed if run.model.kind == "drive-managed" else {},
            "series": {
                "step_ns": run.step,
                "bytes": [list(sample.bytes) for sample in run.series],
                "commands": [list(sample.count) for sample in run.series],
                "resets": [sample.resets for sample in run.series],
            },
        },
    }


def as_json(
    run: Run,
    profile: str,
    notes: Sequence[str] = (),
    global_options: Mapping[str, str] | None = None,
) -> str:
    """One JSON text, ending in a newline."""
    data = as_dict(run, profile, notes, global_options)
    return printable_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"


CSV_COLUMNS = (
    *("jobname", "groupid", "jobs", "direction", "seed", "total_ios", "io_bytes", "runtime_ms"),
    *("iops", "bw_bytes", "lat_min_ns", "lat_mean_ns", "lat_stddev_ns", "lat_p50_ns"),
    *("lat_p90_ns", "lat_p99_ns", "lat_p99.9_ns", "lat_max_ns", "zone_resets"),
    *("write_amplification", "warm_up_ns", "warm_up_blocks", "error"),
)


def csv_rows(run: Run) -> list[list[object]]:
    """A row for each reported job and direction that did anything."""
    rows: list[list[object]] = []
    for members in groups(run):
        user = sum(member.log_user for member in members)
        moved = sum(member.log_moved for member in members)
        for at, name in enumerate(DIRECTIONS):
            s = added(members, at)
            failed = next((member.error for member in members if member.error), "")
            if not s.count and not (failed and at == 1):
                continue
            rows.append(
                [
                    *(members[0].job.name, members[0].job.group, len(members), name, run.seed),
                    *(s.count, s.bytes, _round(s.runtime / 1e6), _round(s.iops), int(s.rate)),
                    *(s.minimum, _round(s.mean), _round(s.deviation)),
                    *(s.percentile(p) for p in (50, 90, 99, 99.9)),
                    *(s.maximum, sum(member.zone_resets for member in members)),
                    _round((user + moved) / user) if user else "",
                    *(members[0].job.ramp, members[0].job.log_warm, failed),
                ]
            )
    return rows


def as_csv(runs: Sequence[Run]) -> str:
    """Runs (of several seeds) as one CSV text with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for run in runs:
        writer.writerows(map(csv_cell, row) for row in csv_rows(run))
    return out.getvalue()
