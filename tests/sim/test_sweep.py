"""Sweeps: the grid, any number of workers, going on after a stop, lost workers, a Dask cluster."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from waiting import until
from zoned.bench import sweep
from zoned.bench.fiofile import FioError

pytestmark = pytest.mark.plain

GRID = """
seeds = [1, 2]
patterns = ["random-zones"]
[parameters]
bs = ["64KiB", "256KiB"]
seconds = [2]
[model]
"hdd.cache_entries" = [16, 128]
"""


def grid(tmp_path: Path, text: str = GRID) -> sweep.Grid:
    path = tmp_path / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return sweep.load(path)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_points_are_the_product(tmp_path: Path) -> None:
    found = grid(tmp_path)
    assert len(found.points) == 2 * 2 * 2
    assert len({point.key for point in found.points}) == 8
    assert found.points[0].label == "random-zones hc620 bs=64KiB seconds=2 hdd.cache_entries=16"


def test_run_resume_and_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    one = grid(tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path)
    two = grid(tmp_path / "b" if (tmp_path / "b").mkdir() is None else tmp_path)
    assert sweep.run(one, workers=1) == 0
    assert sweep.run(two, workers=2) == 0
    assert content(one.folder) == content(two.folder)
    with (one.folder / "points.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    with (one.folder / "summary.csv").open(encoding="utf-8") as file:
        summary = {row["point"]: row for row in csv.DictReader(file)}
    assert len(summary) == 4
    small, large = (
        float(summary[f"random-zones hc620 bs=256KiB seconds=2 hdd.cache_entries={n}"]["iops_mean"])
        for n in (16, 128)
    )
    assert large > small, "a larger cache has more to choose from"
    assert all(float(row["iops_stddev"]) > 0 for row in summary.values())
    assert {row["warm_up_ns"] for row in rows} == {"0"}
    # One point lost: only that one runs again, and the tables come out the same.
    before = content(one.folder)
    gone = one.folder / f"{one.points[3].key}.json"
    told: list[int] = []
    for damage in (gone.unlink, lambda: gone.write_bytes(b""), lambda: os.truncate(gone, 300)):
        damage()
        told.clear()
        assert sweep.run(one, workers=1, told=lambda done, total, text: told.append(done)) == 0
        assert told == [7, 8]
        assert content(one.folder) == before


def test_job_files(tmp_path: Path) -> None:
    (tmp_path / "w.fio").write_text(
        "[w]\nrw=write\nzonemode=zbd\ndirect=1\noffset=524z\nsize=1z\nbs=1m\n", encoding="utf-8"
    )
    found = grid(
        tmp_path,
        'jobs = ["w.fio"]\nprofiles = ["hc620", "hc680"]\n[parameters]\nbs = ["1m", "4m"]\noffset = ["1043z"]\n',
    )
    assert len(found.points) == 4
    assert sweep.run(found, workers=1) == 0
    with (found.folder / "points.csv").open(encoding="utf-8") as file:
        assert {row["io_bytes"] for row in csv.DictReader(file)} == {str(2**28)}


KILLER = """
import os, pathlib, sys
from zoned.bench import sweep
real = sweep.run_point
def run_point(point):
    if point.seed == 666:
        os.kill(os.getpid(), 9)
    mark = pathlib.Path(os.environ["KILLED_ONCE"])
    if point.seed == 13 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return real(point)
"""


def test_a_lost_worker_costs_its_point_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of a worker breaks the pool of processes: all others still finish. A point that kills
    each of its workers (666) is lost; one whose worker was killed once (13) is not.
    """
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "killed"))
    (tmp_path / "killer_points.py").write_text(KILLER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    import killer_points

    monkeypatch.setattr(sweep, "run_point", killer_points.run_point)
    found = grid(
        tmp_path,
        GRID.replace("[1, 2]", "[1, 666, 2, 13]")
        .replace("[16, 128]", "[16]")
        .replace('"64KiB", "256KiB"', '"64KiB"'),
    )
    assert sweep.run(found, workers=2) == 1
    with (found.folder / "points.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (tmp_path / "killed").exists()
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert rows[1]["error"] == "its worker died, alone with it, twice"


def test_a_point_that_cannot_be_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = grid(
        tmp_path,
        'patterns = ["log"]\n[parameters]\nzones = [24]\nspare = [0.1, 0.2]\nbs = ["4MiB"]\nvolumes = [0.05]\n',
    )
    bad = sweep.PointSpec(
        "bad",
        "log",
        "",
        "hc620",
        found.points[0].geometry,
        found.points[0].model,
        {"zones": "8", "bs": "128MiB", "spare": "0.01"},
        1,
    )
    found.points.insert(1, bad)
    assert sweep.run(found, workers=1) == 1
    with (found.folder / "points.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "do not fit" in next(row["error"] for row in rows if row["point"] == "bad")
    assert sum(not row["error"] for row in rows) == 2


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("seeds = [1", sweep.SweepError, "not TOML"),
        ("patern = ['log']", sweep.SweepError, r"unknown key patern \(did you mean patterns\?\)"),
        ("seeds = [1]", sweep.SweepError, "patterns or jobs must name"),
        (
            "patterns = ['log']\nseeds = ['x']",
            sweep.SweepError,
            "grid.toml:2: seeds must be a list of whole numbers",
        ),
        (
            "patterns = ['log']\nseeds = []",
            sweep.SweepError,
            "grid.toml:2: seeds must be a list of whole numbers",
        ),
        ("patterns = ['log']\nfolder = 3", sweep.SweepError, "folder must be a text"),
        (
            "patterns = ['log']\n[parameters]\nzoens = [1]",
            sweep.SweepError,
            "grid.toml:3: no pattern of this sweep has a parameter zoens",
        ),
        (
            "patterns = ['log']\n[parameters]\nzones = 5",
            sweep.SweepError,
            "parameters.zones must be a list",
        ),
        (
            "patterns = ['log']\n[parameters]\nzones = [[5]]",
            sweep.SweepError,
            "neither a number nor a text",
        ),
        ("patterns = ['logg']", sweep.SweepError, "grid.toml:1: .*did you mean log"),
        ("patterns = ['log']\nprofiles = ['hc62']", sweep.SweepError, "grid.toml:2: .*hc62"),
        (
            "patterns = ['log']\n[model]\n'hdd.rpms' = [1]",
            sweep.SweepError,
            "grid.toml:3: .*has no parameter hdd.rpms",
        ),
        (
            "patterns = ['log']\n[parameters]\nbs = ['1MiB']\nzones = [1]",
            sweep.SweepError,
            "grid.toml:4: zones is 1: it must be at least 8",
        ),
        (
            "patterns = ['log']\nseeds = [3, 4, 3]",
            sweep.SweepError,
            "grid.toml:2: seeds has 3 twice",
        ),
        (
            "patterns = ['log', 'append-depth']\nprofiles = ['hc620']",
            sweep.SweepError,
            "grid.toml: append-depth hc620: the disk has no zone append",
        ),
        ("jobs = ['nowhere.fio']", FileNotFoundError, "nowhere"),
    ],
)
def test_wrong_files_are_told_before_anything_runs(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        grid(tmp_path, text)
    assert [p.name for p in tmp_path.iterdir()] == ["grid.toml"]


def test_a_bad_job_file_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "w.fio").write_text("[w]\nrw=writ\n", encoding="utf-8")
    with pytest.raises(FioError, match="rw=writ"):
        grid(tmp_path, "jobs = ['w.fio']")


# -------------------------------------------------------------------------------------------- Dask


@pytest.fixture
def cluster(
    tmp_path: Path,
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A real scheduler and two workers, each a process of its own."""
    assert find_spec("distributed"), "it is in the extra `test`: without it, --dask is untested"
    environment = os.environ | {
        "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",
    }
    place = tmp_path / "scheduler.json"
    options = ["--scheduler-file", str(place)]
    processes: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "dask.log"

    def start(program: str, *more: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *options, "--no-dashboard"]
        with open(log, "ab") as out:
            processes.append(
                subprocess.Popen(
                    [*command, *more], stdout=out, stderr=out, env=environment, cwd=tmp_path
                )
            )

    try:
        start("dask_scheduler", "--port", "0", "--host", "127.0.0.1")
        until(
            lambda: place.exists() and place.read_text(encoding="utf-8").rstrip().endswith("}"),
            f"the scheduler is up; its words: {log}",
        )
        for _ in range(2):
            start("dask_worker", "--nthreads", "1", "--no-nanny")
        yield json.loads(place.read_text(encoding="utf-8"))["address"], processes
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_bytes(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here, there = grid(tmp_path / "here"), grid(tmp_path / "there")
    assert sweep.run(here, workers=1) == 0
    assert sweep.run(there, dask=cluster[0]) == 0
    assert content(here.folder) == content(there.folder)


@pytest.mark.filterwarnings("ignore")
def test_a_lost_dask_worker_costs_nothing(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    """One of two workers dies in the middle: the other takes its points."""
    found = grid(
        tmp_path,
        GRID.replace("[1, 2]", "[1, 2, 3, 4, 5]").replace("seconds = [2]", "seconds = [300]"),
    )

    def told(done: int, total: int, text: str) -> None:
        if done == 4:
            cluster[1][-1].kill()

    assert sweep.run(found, dask=cluster[0], told=told) == 0
    assert len(list(found.folder.glob("*.json"))) == len(found.points)


def test_without_dask_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(sweep.SweepError, match=r"pip install 'zoned\[dask\]'"):
        sweep.run(grid(tmp_path), dask="tcp://127.0.0.1:1")


def test_no_scheduler_is_told(tmp_path: Path) -> None:
    with pytest.raises(sweep.SweepError, match="no Dask scheduler answers at"):
        sweep.run(grid(tmp_path), dask="tcp://127.0.0.1:1")
