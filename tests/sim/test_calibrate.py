"""``bench fit``: jobs that measure a drive, and a profile made of what fio reported of them.

The drives are the emulator's own models with other numbers in them, which the fit does not know and must find.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cli.shell import ok, refused
from sim.fitting import measured, only, recovered, with_numbers
from sim.helpers import MIB
from zoned.bench import calibrate, fiofile, fitjobs, fitresults
from zoned.bench.fitresults import FitError
from zoned.bench.runner import execute
from zoned.drives.models import load_drive

# Mostly Python; sanitizers see the engine in tests/sim/test_any_job.py.
pytestmark = pytest.mark.plain


@pytest.fixture(autouse=True)
def _drive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVE", "/dev/nowhere")


SSD = {
    "zns.write_base_us": 13.9, "zns.write_unit_us": 3.1, "zns.write_service_us": 6.2, "zns.reset_base_ms": 1.9,
    "zns.reset_full_ms": 11.0, "zns.append_extra_us": 4.4, "zns.append_unit_us": 3.2,
}  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that gives up some accuracy for time."""
    monkeypatch.setattr(calibrate, "ENOUGH", 3000)
    monkeypatch.setattr(calibrate, "ROUNDS", 8)


@pytest.mark.usefixtures("quick")
def test_a_ssd_is_recovered(tmp_path: Path) -> None:
    profile, model = load_drive("zn540")
    files = fitjobs.job_files("zns", profile.geometry())
    chosen = only(
        files["zns.fio"],
        *(
            "zns-write-4k",
            "zns-write-16k",
            "zns-write-32k",
            "zns-write-zones",
            "prepare-reset-zones",
        ),
        *("prepare-full", "prepare-half", "prepare-one", "zns-reset-half", "zns-reset-one"),
        "zns-reset-full",
    )
    appends = only(files["zns-append.fio"], "zns-append-4k", "zns-append-16k", "zns-append-32k")
    hidden = with_numbers(model, SSD)
    paths = [
        measured(tmp_path, profile, hidden, text.replace("=20000", "=1000"), name)
        for name, text in (("a.json", chosen), ("b.json", appends))
    ]
    found = calibrate.fit(
        fitresults.read(paths), *calibrate.begin_with(fitresults.read(paths), None)
    )
    off = recovered(found, SSD)
    assert set(off) == set(SSD)
    assert max(off.values()) < 0.02
    others = {one.name: one for one in found.parameters if one.name.startswith("zns.read")}
    assert others, "nothing was read:"
    assert not any(one.determined or one.after != one.before for one in others.values())
    # Left out, a write is what the others say of it; the zones alone show the controller's service.
    rows = dict(zip((row.name for row in found.rows), found.alone, strict=True))
    assert rows["zns-write-zones"] == ("zns.write_service_us",)
    for at, row in enumerate(found.rows):
        for _, _, _, error, alone in found.errors(at):
            assert abs(error) < 0.02
            assert abs(alone) < 0.02 or found.alone[at], row
    text = calibrate.as_text(found)
    assert "not determined: kept, as no job shows it" in text
    assert "zns.finish_base_ms, zns.finish_mib_s" in text
    assert "fio sends no such command" in text
    assert "* no other job shows" in text
    told = json.loads(calibrate.as_json(found))
    assert {one["name"] for one in told["parameters"] if one["why"]} >= set(others)
    assert {"zns.unit", "zns.open_us"} <= {name for one in told["kept"] for name in one["names"]}


def test_the_model_does_as_much_of_a_job_as_was_measured(tmp_path: Path) -> None:
    """The first commands find the drive at rest, or busy with the job before: of fewer the mean is another one."""
    profile, model = load_drive("zn540")
    text = fitjobs.job_files("zns", profile.geometry())["zns.fio"]
    found = fitresults.read([measured(tmp_path, profile, model, text)])
    search = calibrate._Search(found, profile.geometry(), model)
    for row, figures in zip(search.rows, search.predict(model), strict=True):
        off = [ours / real - 1 for ours, real in zip(figures, row.figures, strict=True)]
        assert max(map(abs, off)) < 0.012, (row.name, off)


def test_a_slow_flash_does_not_hide_what_a_write_takes(tmp_path: Path) -> None:
    """Where it is the limit of all writes but the smallest, they are measured while it rests."""
    profile, model = load_drive("zn540")
    numbers = {"zns.list_us": 1.6, "zns.write_unit_us": 2.9, "zns.write_base_us": 9.8}
    hidden = with_numbers(model, {**numbers, "zns.write_mib_s": 600.0})
    text = fitjobs.job_files("zns", profile.geometry())["zns.fio"]
    text = only(text, "zns-write-4k", "zns-write-16k", "zns-write-32k", "zns-write-128k")
    found = fitresults.read([measured(tmp_path, profile, hidden, text)])
    off = recovered(calibrate.fit(found, *calibrate.begin_with(found, None)), numbers)
    assert set(off) == set(numbers)
    assert max(off.values()) < 0.005, off


def test_the_border_of_zones_is_told_from_the_rate(tmp_path: Path) -> None:
    """A stream loses a twentieth of its time there: only a job of borders shows how much."""
    profile, model = load_drive("hc620")
    numbers = {"hdd.zone_switch_ms": 71.0, "hdd.rate_outer_mb_s": 205.0}
    text = fitjobs.job_files("hdd", profile.geometry())["hdd.fio"]
    text = only(text, "hdd-write-outer", "hdd-read-outer", "hdd-read-borders")
    found = fitresults.read([measured(tmp_path, profile, with_numbers(model, numbers), text)])
    assert [row.kinds for row in found[0].rows if row.name == "hdd-read-borders"] == [("spread",)]
    fit = calibrate.fit(found, *calibrate.begin_with(found, None))
    off = recovered(fit, numbers)
    assert set(off) == set(numbers)
    assert max(off.values()) < 0.01, off
    assert "hdd-read-borders             read   spread" in calibrate.as_text(fit)
    table = tomllib.loads(calibrate.as_toml(fit, ["result.json"]))
    assert table["model"]["merge"] == 1280 * 1024, "what is the host's stays"


def test_the_margin_of_a_queue_is_recovered(tmp_path: Path) -> None:
    """With what a drive keeps its queue in order shows where all places lie near together."""
    profile, model = load_drive("hc620")
    numbers = {"hdd.seek_margin_ms": 1.85}
    text = fitjobs.job_files("hdd", profile.geometry())["hdd.fio"]
    text = only(text, "hdd-write-outer", "hdd-read-near")
    path = measured(tmp_path, profile, with_numbers(model, numbers), text)
    experiments = fitresults.read([path])
    found = calibrate.fit(experiments, *calibrate.begin_with(experiments, None))
    off = recovered(found, numbers)
    assert off["hdd.seek_margin_ms"] < 0.02


def test_the_command_writes_jobs_and_a_profile(tmp_path: Path) -> None:
    """From the jobs to a profile that bench takes; of the drive-managed kind, with few commands."""
    folder, mine = tmp_path / "jobs", tmp_path / "mine.toml"
    text = ok("bench", "fit", "--jobs", folder).text
    assert "hdd.fio, zns.fio, zns-append.fio, managed.fio, README" in text
    readme = (folder / "README").read_text(encoding="utf-8")
    assert "THEY WRITE TO THE DRIVE" in readme
    text = (folder / "managed.fio").read_text(encoding="utf-8")
    jobs = tmp_path / "some.fio"
    jobs.write_text(
        only(text, "managed-read-outer", "managed-read-inner", "managed-write-random"),
        encoding="utf-8",
    )
    slow = tmp_path / "slow.toml"
    base = (Path(calibrate.__file__).parents[1] / "drives/managed/st8000as0002.toml").read_text(
        encoding="utf-8"
    )
    slow.write_text(
        base.replace("rate_outer_mb_s = 190", "rate_outer_mb_s = 170")
        .replace("overhead_us = 50", "overhead_us = 66")
        .replace("host_us = 10", 'host_us = 10\nmerge = "4KiB"'),
        encoding="utf-8",
    )
    result = tmp_path / "result.json"
    ok("bench", jobs, "--profile", slow, "--format", "json", "-o", result, "--quiet")
    text = ok("bench", "fit", result, "-o", mine, "--quiet").text
    assert "managed-read-outer" in text
    assert ok("bench", "fit", result, "--format", "json", "--quiet").text.startswith("{")
    table = tomllib.loads(mine.read_text(encoding="utf-8"))
    hdd = table["model"]["hdd"]
    assert hdd["rate_outer_mb_s"] == pytest.approx(170, rel=0.02)
    assert hdd["overhead_us"] == pytest.approx(66, rel=0.02)
    assert "fitted, uncertain by" in mine.read_text(encoding="utf-8")
    profile, model = load_drive(mine)
    assert model.kind == "drive-managed"
    assert profile.geometry().describe() == load_drive("st8000as0002")[0].geometry().describe()


@pytest.mark.parametrize("kind", fitjobs.DRIVES)
def test_all_jobs_run_on_their_drive(kind: str) -> None:
    """Each does something and none is refused; with numbers made small."""
    profile, model = load_drive(fitjobs.DRIVES[kind])
    for name, text in fitjobs.job_files(kind, profile.geometry()).items():
        few = text.replace("number_ios=", "number_ios=2\nnumber_ios=")
        plan = fiofile.parse(few, profile.geometry(), Path(name))
        for job in plan.jobs:
            job.number_ios, job.ramp = min(job.number_ios, 20), 0
            if job.name.startswith("prepare") and job.writes:
                job.io_size = job.io_size or 8 * MIB
        run = execute(plan, profile.geometry(), model, 1)
        for done in run.jobs:
            assert done.error == "", done.job.name
            assert any(stats.count for stats in done.stats), done.job.name


# --------------------------------------------------------------------------- published measurements

COMMON = {
    "rw": "write", "direct": "1", "group_reporting": "1", "thread": "1", "time_based": "1", "ramp_time": "10s",
    "runtime": "3m", "numa_cpu_nodes": "1", "numa_mem_policy": "bind:1", "size": "100z", "zonemode": "zbd",
    "max_open_zones": "14", "ioengine": "spdk", "filename": "trtype=PCIe traddr=0000.88.00.0 ns=2",
}  # fmt: skip
"""The options of the raw data of Doekemeijer et al., CLUSTER 2023 (spdk/zns-a/lbaf2)."""


def published() -> dict[str, Any]:
    """Mean latencies in us of a WD ZN540 at depth 1, as a result of fio's has them."""
    jobs = []
    for what, means in (
        ("write", {4: 11.357, 8: 11.243, 16: 16.251, 32: 26.417, 64: 53.230}),
        ("append", {4: 14.834, 8: 14.018, 16: 20.113, 32: 27.912, 64: 53.123}),
    ):
        for kib, mean in means.items():
            options = {
                "iodepth": "1", "numjobs": "1", "bs": str(kib * 1024), "offset": "100z", "job_max_open_zones": "1",
                "zone_append": "1" if what == "append" else "0", "stonewall": "",
            }  # fmt: skip
            figures = {
                "total_ios": 10**6,
                "iops": 1e6 / (mean + 0.35),
                "lat_ns": {"mean": mean * 1e3},
            }
            jobs.append(
                {"jobname": f"{what}-{kib}k", "error": 0, "job options": options, "write": figures}
            )
    return {"global options": COMMON, "jobs": jobs}


@pytest.mark.usefixtures("quick")
def test_published_figures_of_a_drive_are_predicted_without_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(calibrate.LONGEST, "zns", 0.05)
    path = tmp_path / "public.json"
    path.write_text(json.dumps(published()), encoding="utf-8")
    experiments = fitresults.read([path])
    with pytest.raises(FitError, match="--profile"):
        calibrate.begin_with(experiments, None)
    profile, model = calibrate.begin_with(experiments, "zn540")
    strange = with_numbers(model, {"zns.write_base_us": 20.0, "zns.append_extra_us": 2.0})
    found = calibrate.fit(experiments, profile, strange)
    numbers = {one.name: one.after for one in found.parameters}
    assert numbers["zns.write_base_us"] == pytest.approx(11.2, rel=0.05)
    assert numbers["zns.append_extra_us"] == pytest.approx(3.3, rel=0.2)
    for at in range(len(found.rows)):
        for _, _, _, error, alone in found.errors(at):
            assert abs(error) < 0.06
            assert abs(alone) < 0.1


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["jobs"][0].update({"error": 5}), "job write-4k failed there"),
        (lambda d: d["jobs"][0].update({"jobname": 3}), "its job number 1 has no name"),
        (lambda d: d["jobs"][0].update({"job options": [1]}), "do not say which options"),
        (lambda d: d["jobs"][0]["write"].update({"lat_ns": {}}), "it has no latencies"),
        (lambda d: d.update({"jobs": []}), "none of its jobs did anything"),
        (lambda d: d["global options"].update({"fdp": "1"}), "cannot be run here: .*option fdp"),
        (lambda d: d["global options"].update({"a\nb": "1"}), "is not one of a job file"),
        (lambda d: d["jobs"][0].update({"jobname": "zns-a"}) or d["jobs"][1].update({"jobname": "hdd-a"}),
         "of several kinds of drives: hdd, zns"),
        (lambda d: [j.update({"jobname": "hdd-a"}) for j in d["jobs"]], "of a drive of the kind hdd"),
    ],
)  # fmt: skip
def test_results_that_cannot_be_used_are_told(change: Any, told: str, tmp_path: Path) -> None:
    data = json.loads(json.dumps(published()))
    change(data)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(FitError, match=told):
        calibrate.fit(
            fitresults.read([path]), *calibrate.begin_with(fitresults.read([path]), "zn540")
        )


def test_mistakes_of_the_command(tmp_path: Path) -> None:
    assert "fit needs results" in refused("bench", "fit", status=2)
    assert "fit --jobs writes job files" in refused("bench", "fit", "a", "--jobs", "b", status=2)
    assert "has nothing to be measured" in refused(
        "bench", "fit", "--jobs", tmp_path / "j", "--profile", "test"
    )
    assert "a number of worker processes" in refused("bench", "sweep", "x", "--jobs", "y", status=2)
    assert "--seed means nothing for fit" in refused("bench", "fit", "a", "--seed", "2", status=2)
