"""What limited a run, in one sentence: the busiest part of drive or host, with its share."""

from __future__ import annotations

from zoned.bench.simulation import Run
from zoned.units import counted

FEW = 0.6
"""Below this share of the time no single part counts as the limit."""
MOST = 0.8
"""From this share on the drive is the limit, whatever the host waited for."""

Verdict = tuple[float, str]


def limiting(run: Run) -> str:
    """One sentence, and another where jobs were stopped by the open limit or had several stages."""
    if not run.now or not run.commands:
        return "Nothing was done: no job had a command to send."
    if run.real:
        return "This ran in real time: the emulator and its host set the pace."
    finders = {"hdd": _hdd, "drive-managed": _drive_managed, "zns": _zns}
    share, sentence = finders.get(run.model.kind, _null)(run)
    if share < MOST:
        sentence = _host(run) or sentence
    if any(job.log_moved for job in run.jobs):
        sentence = _cleaning(run, sentence)
    stopped = sum(job.stopped for job in run.jobs)
    if stopped:
        sentence += (
            f" {counted(stopped, 'job')} stopped early: no zone was left within the open limit."
        )
    stages = len({job.job.wait_for for job in run.jobs})
    if stages > 1:
        sentence += f" (Over all {stages} stages of the run.)"
    return sentence


def _cleaning(run: Run, sentence: str) -> str:
    """Leads where cleaning wrote more than the user did, and follows where it wrote less."""
    user = sum(job.log_user for job in run.jobs)
    moved = sum(job.log_moved for job in run.jobs)
    share = f"{moved / (user + moved):.0%} of all blocks written"
    if moved < user:
        return f"{sentence[:-1]}; cleaning moved {share}."
    return f"Cleaning, which moved {share}; below it {sentence[0].lower()}{sentence[1:]}"


def _share(run: Run, *parts: str) -> float:
    return sum(run.parts[part] for part in parts) / run.now


def _depth(run: Run) -> float:
    """Commands under way, on average."""
    waiting = sum(stats.total for job in run.jobs for stats in job.stats)
    return waiting / run.now


def _host(run: Run) -> str:
    active = sum((job.ended or run.now) - job.started for job in run.jobs)
    rest = sum(job.wait_rest for job in run.jobs)
    if active and rest / active > FEW:
        share = f"{rest / active:.0%}"
        return f"The jobs themselves: rate limits and think time took {share} of their time."
    waits = sum(job.wait_zone for job in run.jobs if job.job.kind != "log")
    latency = sum(stats.total for job in run.jobs for stats in job.stats)
    if latency and waits / latency > FEW:
        return (
            "The order within zones: writes to a zone go one at a time, and waiting for that was "
            f"{waits / latency:.0%} of all latency{_few_zones(run)}."
        )
    return ""


def _few_zones(run: Run) -> str:
    """Whether it was the jobs' own limit that left few zones to write to."""
    for name in ("max_open_zones", "job_max_open_zones"):
        values = [getattr(job.job, name) for job in run.jobs]
        if all(values):
            return f", with {name}={max(values)}"
    return ""


def _one_at_a_time(run: Run) -> Verdict:
    return 0.0, (
        f"The queue depth: {_depth(run):.1f} commands were under way on average, and no part of "
        "the drive was busy all the time."
    )


def _hdd(run: Run) -> Verdict:
    # What the head began may last longer than a short run: then these are parts of its own time.
    time = max(run.now, sum(run.parts[part] for part in ("seek", "rotate", "media", "switch")))
    seek, rotate, data, switches = (
        run.parts[part] / time for part in ("seek", "rotate", "media", "switch")
    )
    moving = seek + rotate
    interface, zones = _share(run, "interface"), _share(run, "zone command")
    busy = moving + data + switches
    if _absorbed(run):
        return 0.0, (
            f"The time of each command, with {_depth(run):.1f} under way on average: the drive's "
            "cache took the data as fast as it was sent."
        )
    if zones > max(busy, interface):
        return zones, f"Zone commands, which took {zones:.0%} of the time."
    if interface > max(busy, FEW):
        return interface, (
            f"The interface, busy {min(interface, 1):.0%} of the time: no media access was needed."
        )
    if busy < FEW:
        return _one_at_a_time(run)
    if moving > data:
        if seek >= rotate:
            return busy, (
                f"The head's way to the data: {seek:.0%} of the time went to seeks, {rotate:.0%} "
                f"to waiting for the platter, {data:.0%} to data."
            )
        return busy, (
            f"The platter's rotation: {rotate:.0%} of the time went to waiting for it, {seek:.0%} "
            f"to seeks, {data:.0%} to data."
        )
    return busy, f"The media's data rate: the head was passing data {data:.0%} of the time."


def _absorbed(run: Run) -> bool:
    """Writes only, and hardly any of them had to wait for room in the drive's cache: what the head
    did meanwhile held up nobody.
    """
    reads = sum(job.stats[0].count for job in run.jobs) or any(job.log_moved for job in run.jobs)
    return not reads and run.total(1).count > 0 and run.parts["buffer full"] < 0.2 * run.now


def _drive_managed(run: Run) -> Verdict:
    clean = _share(run, "clean")
    if clean > 0.3:
        full = run.drive_managed["full_at"] / 1e9
        return 1.0, (
            f"Cleaning of bands, {clean:.0%} of the time: the map or the media cache was full "
            f"after {full:,.1f} s."
        )
    return _hdd(run)


def _zns(run: Run) -> Verdict:
    dies = float(run.model.get("zns.dies"))
    candidates = (
        (_share(run, "flash"), "The flash's write rate: it was writing {:.0%} of the time."),
        (
            _share(run, "controller"),
            "The controller, busy with single commands {:.0%} of the time.",
        ),
        (_share(run, "die") / dies, "The flash dies, busy with reads {:.0%} of the time."),
        (_share(run, "zone command"), "Zone commands, which took {:.0%} of the time."),
    )
    share, text = max(candidates)
    return (share, text.format(min(share, 1.0))) if share > FEW else _one_at_a_time(run)


def _null(run: Run) -> Verdict:
    return 0.0, (
        "Nothing: the model null lets every command take the same time "
        f"({_depth(run):.1f} under way)."
    )
