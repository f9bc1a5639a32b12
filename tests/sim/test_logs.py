"""fio's logs of commands, flushes and depths as results tell them: the files' form is fio's own, asked of the installed one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import zoned
from cli.shell import ok, refused
from sim.helpers import MIB, disk
from zoned.bench import Run, results
from zoned.bench.fiofile import FioError, parse
from zoned.bench.logs import LogFiles
from zoned.bench.runner import execute, execute_real
from zoned.drives.models import Model, null_model

HEAD = "[global]\ndirect=1\nbs=64k\nsize=2m\n"


def logged(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, us: float = 100) -> Run:
    monkeypatch.chdir(folder)
    plan = parse(HEAD + text, disk(), Path("my.fio"))
    with LogFiles([job.logs for job in plan.jobs]) as logs:
        return execute(plan, disk(), null_model(us), 1, logs=logs)


def lines(path: Path) -> list[list[int]]:
    return [[int(cell, 0) for cell in line.split(",")] for line in path.read_text().splitlines()]


def test_a_line_for_each_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = logged(
        "write_bw_log\nwrite_lat_log=x\nwrite_iops_log=y\nlog_offset=1\n[a]\nrw=write\n[b]\nrw=randrw\nstonewall\n",
        tmp_path,
        monkeypatch,
    )
    names = {f"{name}.{n}.log" for n in (1, 2) for name in ("x_lat", "x_clat", "x_slat", "y_iops")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"a_bw.1.log", "b_bw.2.log"}
    block = 64 << 10
    # 100 us each: 64 KiB in them are 655,360 kB/s; the time is that of completion, in ms.
    assert lines(tmp_path / "a_bw.1.log") == [
        [(at + 1) // 10, block * 10, 1, block, at * block, 0] for at in range(32)
    ]
    assert {row[1] for row in lines(tmp_path / "x_lat.1.log")} == {100_000}
    assert {row[1] for row in lines(tmp_path / "y_iops.2.log")} == {1}
    assert (tmp_path / "x_slat.2.log").read_bytes() == b""
    mixed = lines(tmp_path / "x_clat.2.log")
    assert Counter(row[2] for row in mixed) == {at: done.jobs[1].stats[at].count for at in (0, 1)}
    assert sorted(row[4] for row in mixed) == [at * block for at in range(32)]


def test_lines_of_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = logged(
        "log_avg_msec=1\nlog_prio=1\nwrite_bw_log=x\nwrite_lat_log=x\nwrite_iops_log=x\n[a]\nrw=write\nbsrange=4k-64k\n",
        tmp_path,
        monkeypatch,
    )
    bandwidth, rates = lines(tmp_path / "x_bw.1.log"), lines(tmp_path / "x_iops.1.log")
    assert [row[0] for row in bandwidth] == list(range(1, len(bandwidth) + 1))
    # 100 us each: nine end before the first ms is over, ten in each other.
    assert [row[1] for row in rates[:-1]] == [9000] + [10_000] * (len(rates) - 2)
    assert sum(row[1] * 1024 for row in bandwidth[:-1]) / 1000 < 2 * MIB
    assert [row[1] for row in lines(tmp_path / "x_lat.1.log")] == [100_000] * len(rates)
    assert all(
        line.endswith(", 0x0000") for line in (tmp_path / "x_bw.1.log").read_text().splitlines()
    )
    left = done.total(1).count - sum(row[1] for row in rates[:-1]) // 1000
    assert rates[-1] == [6, left * 10_000 // 7, 1, 0, 0], "the last one stands for 0.7 ms"


def test_the_greatest_of_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs share a zone's order, so that latencies differ; one file for both."""
    text = "per_job_logs=0\nlog_avg_msec=2\nioengine=libaio\n{}write_lat_log=x\n[a]\nzonemode=zbd\noffset=2z\nsize=1z\nio_size=2m\nrw=write\nnumjobs=2\n"
    found = []
    for more in ("", "log_max_value=1\n"):
        logged(text.format(more), tmp_path, monkeypatch)
        assert {path.name for path in tmp_path.iterdir()} == {
            "x_lat.log",
            "x_clat.log",
            "x_slat.log",
        }
        found.append([row[1] for row in lines(tmp_path / "x_lat.log")])
    assert len(found[0]) == len(found[1])
    assert all(mean <= most for mean, most in zip(*found, strict=True))
    assert sum(found[0]) < sum(found[1])


def test_a_log_changes_nothing_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, commands alike are done in bursts."""
    text = "[a]\nrw=write\nsize=16m\nbs=4k\nramp_time=1\n"
    plain = execute(parse(HEAD + text, disk(), Path("my.fio")), disk(), null_model(500), 1)
    kept = logged(text + "write_lat_log=x\n", tmp_path, monkeypatch, us=500)
    assert kept.jobs[0].stats == plain.jobs[0].stats
    assert (kept.now, kept.series, kept.states) == (plain.now, plain.series, plain.states)
    assert len(lines(tmp_path / "x_lat.1.log")) == plain.total(1).count < 4096, "no warm-up in it"


def test_logs_of_the_real_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zoned.memory(size="64MiB", zone_size="4MiB", conventional=2) as device:
        plan = parse(HEAD + "[a]\nrw=write\nwrite_lat_log=x\n", device.geometry)
        with LogFiles([job.logs for job in plan.jobs]) as logs:
            done = execute_real(plan, device, 1, logs=logs)
    found = [row[1] for row in lines(tmp_path / "x_lat.1.log")]
    assert (len(found), sum(found)) == (32, done.total(1).total)


def test_logs_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = parse(HEAD + f"[a]\nrw=write\nwrite_bw_log={tmp_path}/x\n", disk())

    def begin() -> None:
        with LogFiles([plan.jobs[0].logs]) as logs:
            execute(plan, disk(), null_model(), 1, logs=logs)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert list(tmp_path.iterdir()) == []
    plan.jobs[0].logs = parse(HEAD + "[a]\nrw=write\nwrite_bw_log=no/where\n", disk()).jobs[0].logs
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no/where_bw"), LogFiles([plan.jobs[0].logs]):
        raise AssertionError
    with pytest.raises(FioError, match="300 logs: at most 256"):
        LogFiles([plan.jobs[0].logs] * 300)
    execute(plan, disk(), null_model(), 1)  # without files nothing is kept
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_them_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.fio").write_text(HEAD + "[a]\nrw=write\nwrite_bw_log=x\n", encoding="utf-8")
    text = ok("bench", "my.fio", "--profile", "st8000as0002", "--quiet", "--seed", "1-2").text
    assert "2 seeds" in text
    assert len(lines(Path("x_bw.1.log"))) == 32, "the first seed's"
    assert (
        "Note   logs: x_bw.1.log"
        in ok("bench", "my.fio", "--profile", "st8000as0002", "--quiet").text
    )
    assert "no/x_bw.1.log: No such file" in refused(
        *("bench", "my.fio", "--profile", "st8000as0002", "--quiet", "--set", "write_bw_log=no/x")
    )


SAME = "ioengine=psync\nrw=write\nbs=16k\nsize=256k\nwrite_bw_log=l\nwrite_lat_log=l\nwrite_iops_log=l\nlog_offset=1\n"


def test_the_files_are_those_of_fio(
    tmp_path: Path, needs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("fio", shutil.which("fio") is not None, "comparing with its logs")
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    text = f"[global]\nnumjobs=2\n{SAME}[a]\nfilename=f\n"
    (theirs / "my.fio").write_text(text, encoding="utf-8")
    subprocess.run(["fio", "my.fio"], cwd=theirs, check=True, stdout=subprocess.DEVNULL)
    logged(text, ours, monkeypatch)
    names = {path.name for path in ours.iterdir()}
    assert names == {path.name for path in theirs.glob("*.log")}
    for name in names:
        shapes = [
            # Times and values are another machine's: all else is the same.
            [re.sub(r"^\d+, \d+,", "", line) for line in (folder / name).read_text().splitlines()]
            for folder in (theirs, ours)
        ]
        assert shapes[0] == shapes[1], name


# -------------------------------------------------------------------------- flushes, and depths found


def told(text: str, model: Model | None = None) -> tuple[dict[str, Any], str]:
    plan = parse(HEAD + text, disk(), Path("my.fio"))
    done = execute(plan, disk(), model or null_model(100), 1)
    from zoned.bench import table

    job: dict[str, Any] = results.as_dict(done, "test")["jobs"][0]
    return job, table.as_text(done, "test")


def test_flushes_are_told() -> None:
    job, text = told("[a]\nrw=write\nfsync=4\nnumjobs=2\ngroup_reporting\n")
    assert job["sync"]["total_ios"] == job["sync"]["lat_ns"]["N"] == 14
    assert re.search(r"fsync/fdatasync: 14 flushes, min=\S+ \w+, max=\S+ \w+, avg=", text)
    job, text = told("[a]\nrw=write\n")
    assert "sync" not in job
    assert "fsync" not in text


def test_the_depth_that_keeps_a_latency_is_told() -> None:
    job, text = told(
        "[a]\nrw=randread\nioengine=libaio\niodepth=8\ntime_based\nruntime=1\nlatency_target=1ms\nlatency_window=10ms\n"
        "latency_percentile=95\nnorandommap\n"
    )
    assert job["latency_depth"] == 8
    assert (job["latency_target"], job["latency_percentile"]) == (1_000_000, 95)
    assert job["latency_window"] == 10_000
    assert "latency: target=1 ms, window=10 ms, percentile=95.00%, depth=8" in text


def test_names_of_flushes_are_fios(tmp_path: Path, needs: Any) -> None:
    needs("fio", shutil.which("fio") is not None, "comparing with its JSON")
    out = subprocess.run(
        ["fio", "--name=a", "--filename=f", "--size=1m", "--bs=16k", "--rw=write", "--fsync=4", "--output-format=json"],
        cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    theirs = json.loads(out[out.index("{\n") :])["jobs"][0]["sync"]
    ours, _ = told("[a]\nrw=write\nfsync=4\n")
    assert set(ours["sync"]) <= set(theirs)
    assert set(ours["sync"]["lat_ns"]) <= set(theirs["lat_ns"])
