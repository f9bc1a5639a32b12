"""A Run for people at a terminal: fio's block for each job, and what fio does not tell.

Also the table over several seeds, with its spread. Returns text; prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from zoned.bench.jobs import DIRECTIONS, Job
from zoned.bench.limits import limiting
from zoned.bench.results import PERCENTILES, added, conditions, groups, steady_as_written
from zoned.bench.simulation import JobResult, Run, Stats
from zoned.plaintext import printable_lines
from zoned.units import counted, format_size


def number(value: float) -> str:
    """As fio: 938, 66.4k, 1.2M."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= factor:
            shown = value / (1e3 if suffix == "k" else factor)
            return f"{shown:.1f}{suffix}" if shown < 100 else f"{shown:.0f}{suffix}"
    return f"{value:.1f}" if 0 < value < 10 else f"{value:.0f}"


def _bytes(value: float, unit: int = 1024) -> str:
    names = ("B", "KiB", "MiB", "GiB", "TiB") if unit == 1024 else ("B", "kB", "MB", "GB", "TB")
    at = 0
    while value >= unit * 9.995 and at < 4:
        value /= unit
        at += 1
    return f"{value:.1f}{names[at]}" if value < 99.95 and at else f"{value:.0f}{names[at]}"


def duration(ns: float) -> str:
    """A time for people."""
    for factor, unit in ((3600e9, "h"), (60e9, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor * (2 if unit in ("h", "min") else 1):
            return f"{ns / factor:.4g} {unit}"
    return f"{ns:.0f} ns"


def _unit(stats: Stats) -> tuple[str, float]:
    if stats.maximum >= 10_000_000_000 or stats.mean >= 20_000_000:
        return "msec", 1e6
    return ("usec", 1e3) if stats.mean >= 2000 else ("nsec", 1.0)


def called(job: Job, direction: str) -> str:
    """A direction's name for people: jobs of zone commands count them as trims."""
    if job.kind == "zones":
        return "finish" if job.zones_finish else "reset"
    return direction


def _short(value: float) -> str:
    """Four figures, and never an exponent."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _direction(
    name: str, stats: Stats, resets: int, percentiles: Sequence[float] = PERCENTILES
) -> list[str]:
    unit, scale = _unit(stats)
    head = (
        f"  {name}: IOPS={number(stats.iops)}, BW={_bytes(stats.rate)}/s "
        f"({_bytes(stats.rate, 1000)}/s)({_bytes(stats.bytes)}/{stats.runtime / 1e6:.0f}msec)"
    )
    if not stats.bytes:  # zone commands
        took = f"{counted(stats.count, 'zone')}/{stats.runtime / 1e6:.1f}msec"
        head = f"  {name}: IOPS={number(stats.iops)} ({took})"
    if name == "write":
        head += f"; {counted(resets, 'zone reset')}"
    ends = f"min={_short(stats.minimum / scale)}, max={_short(stats.maximum / scale)}"
    middle = f"avg={stats.mean / scale:.2f}, stdev={stats.deviation / scale:.2f}"
    lines = [
        head,
        f"    lat ({unit}): {ends}, {middle}",
        f"    lat percentiles ({unit}):",
    ]
    shown = [f"{p:5.2f}th=[{_short(stats.percentile(p) / scale):>6}]" for p in percentiles]
    for at in range(0, len(shown), 4):
        comma = "," if at + 4 < len(shown) else ""
        lines.append("     | " + ", ".join(shown[at : at + 4]) + comma)
    return lines


def _flushes(members: Sequence[JobResult]) -> list[str]:
    """How often the job had the drive's cache written to the medium, and how long that took."""
    done = [member for member in members if member.syncs]
    if not done:
        return []
    count = sum(member.syncs for member in done)
    mean = sum(member.sync_times[0] for member in done) / count
    least = min(member.sync_times[1] for member in done)
    most = max(member.sync_times[2] for member in done)
    told = f"min={duration(least)}, max={duration(most)}, avg={duration(mean)}"
    return [f"  fsync/fdatasync: {counted(count, 'flush', 'flushes')}, {told}"]


def _job(members: Sequence[JobResult]) -> list[str]:
    first = members[0]
    failed = next((member.error for member in members if member.error), "")
    which = f"(groupid={first.job.group}, jobs={len(members)})"
    lines = [f"{first.job.name}: {which}: err= {'1: ' + failed if failed else 0}"]
    resets = sum(member.zone_resets for member in members)
    for at, name in enumerate(DIRECTIONS):
        stats = added(members, at)
        if stats.count:
            shown = first.job.percentiles or PERCENTILES
            lines += _direction(called(first.job, name), stats, resets, shown)
    if len(lines) == 1:
        lines.append("  no command was done")
    lines += _flushes(members)
    if first.job.latency_target:
        found = max(member.depth_found for member in members)
        lines.append(
            f"  latency: target={duration(first.job.latency_target)}, "
            f"window={duration(first.job.latency_window)}, "
            f"percentile={first.job.latency_percentile:.2f}%, depth={found or 'none'}"
        )
    steady = first.steady
    if steady is not None:
        lines.append(
            f"  steadystate: {steady_as_written(first.job)}, "
            f"attained={'yes' if steady.attained else 'no'}, bw={_bytes(steady.bytes)}/s, "
            f"iops={steady.iops}, lat={duration(steady.latency)}"
        )
    stopped = sum(member.stopped for member in members)
    if stopped:
        lines.append(
            f"  {stopped} of {counted(len(members), 'job')} stopped: all zones that may be "
            f"open are taken"
        )
    user = sum(member.log_user for member in members)
    if user:
        moved = sum(member.log_moved for member in members)
        cleaned = sum(member.log_segments for member in members)
        lines.append(
            f"  log: write amplification {(user + moved) / user:.3f} "
            f"({counted(user, 'block')} written, {moved} moved, {counted(cleaned, 'zone')} cleaned)"
        )
    ramp = first.job.ramp
    if ramp:
        lines.append(f"  the first {duration(ramp)} are warm-up and not counted")
    return lines


def as_text(run: Run, profile: str, notes: Sequence[str] = ()) -> str:
    """The whole report."""
    lines: list[str] = []
    for members in groups(run):
        lines += _job(members)
        lines.append("")
    kind = "real time" if run.real else f"virtual time, model {run.model.kind}"
    lines.append(f"Disk {profile}: {run.geometry.describe()}")
    given = counted(run.commands, "command")
    lines.append(f"Run  {duration(run.now)} of {kind}, {given}, seed {run.seed}")
    lines.append("Zones  " + ", ".join(f"{n} {name}" for name, n in conditions(run).items()))
    events = [f"{count} {name.replace('_', ' ')}" for name, count in run.counts.items() if count]
    if events:
        lines.append("       " + ", ".join(events))
    if run.model.kind == "drive-managed":
        done = run.drive_managed
        lines.append(
            f"Cache  {counted(done['into_cache'], 'write')} into it, {done['past_cache']} past it, "
            f"{counted(done['bands_cleaned'], 'band')} cleaned "
            f"({format_size(done['cleaning_bytes'])} of traffic)"
        )
    lines.append(f"Limit  {limiting(run)}")
    lines += [f"Note   {note}" for note in notes]
    return printable_lines("\n".join(lines) + "\n")


def seeds_table(runs: Sequence[Run]) -> str:
    """Mean and spread over several seeds, for each job and direction."""
    head = f"{'job':<24} {'':<6} {'IOPS':>12} {'+-':>7} {'MiB/s':>10}"
    lines = [f"{head} {'mean lat':>11} {'+-':>7} {'p99':>11}"]
    reports = [groups(run) for run in runs]
    for at, members in enumerate(reports[0]):
        for direction, name in enumerate(DIRECTIONS):
            stats = [added(report[at], direction) for report in reports]
            if not any(s.count for s in stats):
                continue
            iops, latency = [s.iops for s in stats], [s.mean for s in stats]
            p99 = sum(s.percentile(99) for s in stats) / len(stats)
            rate = sum(s.rate for s in stats) / len(stats) / 2**20
            lines.append(
                f"{members[0].job.name:<24} {name:<6} {_mean(iops):>12.2f} {_spread(iops):>7.2%} "
                f"{rate:>10.2f} {duration(_mean(latency)):>11} {_spread(latency):>7.2%} "
                f"{duration(p99):>11}"
            )
        amplification = [_amplification(report[at]) for report in reports]
        if all(amplification):
            lines.append(
                f"{members[0].job.name:<24} write amplification {_mean(amplification):.4f} "
                f"+- {_spread(amplification):.2%}"
            )
    names = ", ".join(str(run.seed) for run in runs)
    lines.append(f"{len(runs)} seeds ({names}); +- is the standard deviation over them")
    return printable_lines("\n".join(lines) + "\n")


def _amplification(members: Sequence[JobResult]) -> float:
    user = sum(member.log_user for member in members)
    return (user + sum(member.log_moved for member in members)) / user if user else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(values: Sequence[float]) -> float:
    """Standard deviation as a part of the mean."""
    mean = _mean(values)
    if len(values) < 2 or not mean:
        return 0.0
    return float((sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5 / mean)
