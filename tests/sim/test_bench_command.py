"""``zonedctl bench`` from the shell: what it prints, where, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli.shell import ok, refused, zonedctl
from waiting import PATIENCE

# Mostly Python; sanitizers see the engine in tests/sim/test_any_job.py.
pytestmark = pytest.mark.plain

JOB = """[global]
ioengine=libaio
direct=1
zonemode=zbd
bs=256k
offset=524z
[fill]
rw=write
size=2z
iodepth=8
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.fio"
    path.write_text(JOB, encoding="utf-8")
    return path


def test_list() -> None:
    text = ok("bench", "--list").text
    assert "random-zones" in text
    assert "hc680" in text
    assert "st8000as0002" in text


def test_a_job_file_prints_fios_table(job: Path) -> None:
    text = ok("bench", job, "--quiet").text
    assert "fill: (groupid=0, jobs=1): err= 0" in text
    assert "write: IOPS=" in text
    assert "Limit  The media's data rate" in text


def test_json_csv_html_and_output(job: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    assert (
        ok("bench", job, "--format", "json", "--output", out, "--html", page, "--quiet").text == ""
    )
    data = json.loads(out.read_text(encoding="utf-8"))
    assert data["jobs"][0]["write"]["io_bytes"] == 2 * 2**28
    assert data["zoned"]["profile"] == "hc620"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    rows = list(csv.DictReader(io.StringIO(ok("bench", job, "--format", "csv", "--quiet").text)))
    assert rows[0]["jobname"] == "fill"


def test_the_same_command_gives_the_same_bytes() -> None:
    command = (
        "bench",
        "random-zones",
        "--set",
        "seconds=3",
        "--seed",
        "7",
        "--format",
        "json",
        "--quiet",
    )
    assert ok(*command).out == ok(*command).out


def test_settings_and_profiles(job: Path) -> None:
    done = ok(
        "bench",
        job,
        "--set",
        "bs=4k",
        "--set",
        "size=1z",
        "--profile",
        "hc680",
        "--set",
        "offset=1043z",
        "--quiet",
        "--format",
        "csv",
    )
    slow = done.text
    assert next(csv.DictReader(io.StringIO(slow)))["total_ios"] == "65536"


def test_several_seeds_show_a_spread() -> None:
    text = ok("bench", "random-zones", "--set", "seconds=3", "--seed", "1-3", "--quiet").text
    assert "3 seeds (1, 2, 3)" in text
    data = json.loads(
        ok(
            "bench",
            "random-zones",
            "--set",
            "seconds=1",
            "--seed",
            "1,5",
            "--format",
            "json",
            "--quiet",
        ).text
    )
    assert [run["zoned"]["seed"] for run in data] == [1, 5]


def test_compare(tmp_path: Path) -> None:
    for name, zones in (("a", "2"), ("b", "3")):
        ok(
            "bench",
            "stream",
            "--set",
            f"zones={zones}",
            "--format",
            "json",
            "--output",
            tmp_path / name,
            "--quiet",
        )
    text = ok("bench", "compare", tmp_path / "a", tmp_path / "b").text
    assert "stream" in text
    assert "change" in text
    assert "A.json B.json" in refused("bench", "compare", tmp_path / "a", status=2)


def test_sweep(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text('patterns = ["stream"]\n[parameters]\nzones = [1, 2]\n', encoding="utf-8")
    text = ok("bench", "sweep", path, "--jobs", "1", "--quiet").text
    assert "2 points" in text
    assert (tmp_path / "grid" / "summary.csv").exists()


def test_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "".join(f"0,W,{i * 7919 % 65536 * 4096},4096,{i}\n" for i in range(3000)) + "junk\n",
        encoding="utf-8",
    )
    text = ok("bench", "--trace", path, "--set", "zones=32", "--quiet").text
    assert "log: write amplification" in text
    assert "left out: 1 malformed line; the first is line 3001: 'junk'" in text
    refusal = refused("bench", "--trace", path, "--straight", "--profile", "zn540", "--quiet")
    assert "write pointer" in refusal
    text = ok("bench", "--trace", path, "--straight", "--profile", "st8000as0002", "--quiet").text
    assert "3000 commands in 3001 lines of alibaba" in text


def test_real_clock(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    ok("create", disk, "--size", "64MiB", "--zone-size", "4MiB")
    job = tmp_path / "w.fio"
    job.write_text(
        "[w]\nrw=write\nzonemode=zbd\ndirect=1\noffset=2z\nsize=4z\nbs=64k\n", encoding="utf-8"
    )
    text = ok("bench", job, "--clock", "real", "--disk", disk, "--quiet").text
    assert "real time" in text
    report = json.loads(ok("info", disk, "--format", "json").text)
    assert report["counters"]["writes"] == 256
    assert "needs --disk" in refused("bench", job, "--clock", "real", status=2)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "name one job file, one pattern (see --list) or one --trace"),
        (("stream", "log"), 2, "not 2"),
        (("strem",), 1, "did you mean stream?"),
        (("nowhere.fio",), 1, "nowhere.fio: No such file"),
        (("stream", "--set", "zones"), 2, "write NAME=VALUE"),
        (("stream", "--set", "zonse=1"), 1, "did you mean zones?"),
        (("stream", "--seed", "x"), 2, "write 7, 1-5 or 1,4,9"),
        (("stream", "--seed", "5-1"), 2, "the range must rise"),
        (("stream", "--profile", "hc62"), 1, "there is no profile"),
        (("stream", "--disk", "x.img"), 2, "--disk is for --clock real"),
        (("append-depth", "--profile", "hc620"), 1, "no zone append"),
        (("stream", "--html", "/nowhere/r.html"), 1, "/nowhere"),
        (("compare", "only-one"), 2, "compare needs two results"),
        (("sweep",), 2, "sweep needs one file"),
        (("--trace", "nowhere.csv"), 1, "nowhere.csv: No such file"),
        (("--list", "--html", "x"), 2, "--html means nothing for --list"),
        (("compare", "a", "b", "--seed", "2"), 2, "--seed means nothing for compare"),
        (("sweep", "g.toml", "--set", "bs=4k"), 2, "--set means nothing for sweep"),
        (("stream", "--dask", "x"), 2, "--dask and --jobs are for zonedctl bench sweep"),
        (("stream", "--straight"), 2, "say how to read a --trace"),
        (("--trace", "t", "--clock", "real"), 2, "a trace is replayed in virtual time only"),
        (("stream", "--clock", "real", "--profile", "hc620"), 2, "--profile is a drive's model"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    arguments: tuple[str, ...], status: int, message: str
) -> None:
    text = refused("bench", *arguments, "--quiet", status=status)
    assert message in text
    assert "Traceback" not in text


def test_a_job_file_with_a_mistake_names_the_line(job: Path) -> None:
    job.write_text(JOB + "zonemod=zbd\n", encoding="utf-8")
    assert (
        "job.fio:11: the option zonemod is unknown or not supported here (did you mean zonemode?)"
        in refused("bench", job)
    )


def test_a_refused_command_ends_with_status_1(job: Path) -> None:
    job.write_text("[w]\nrw=randwrite\noffset=524z\nsize=2z\n", encoding="utf-8")
    done = zonedctl("bench", job, "--quiet")
    assert done.status == 1
    assert "err= 1: " in done.text
    assert "write pointer" in done.err


def test_a_user_profile_without_a_parameter(tmp_path: Path, job: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[geometry]\nsize="1GiB"\nzone_size="1MiB"\n[model]\nkind="null"\n[model.null]\n',
        encoding="utf-8",
    )
    assert "model.null.command_us is missing: the model null needs it" in refused(
        "bench", "stream", "--profile", path
    )


# --------------------------------------------------------------------------------- at a terminal


def at_a_terminal(*arguments: str, interrupt: bool = False) -> tuple[str, int]:
    """Runs `zonedctl bench` with stderr on a terminal; Ctrl-C once it shows how far it is."""
    master, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zoned", "bench", *arguments],
        stdin=terminal, stdout=subprocess.DEVNULL, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # a terminal that nobody has open any more gives EIO
        while piece := os.read(master, 4096):
            shown += piece
            if interrupt and b"commands" in shown:
                process.send_signal(signal.SIGINT)
                interrupt = False
    os.close(master)
    return shown.decode(), process.wait(timeout=PATIENCE)


def test_a_live_progress_bar_on_a_terminal_only() -> None:
    shown, status = at_a_terminal("append-depth", "--set", "seconds=30")
    assert status == 0
    parts = [int(part) for part in re.findall(r"(\d+)%", shown)]
    assert len(parts) >= 2
    assert parts == sorted(parts)
    assert " s virtual  " in shown
    assert shown.endswith("\r"), "the line is cleared at the end"
    quiet, _ = at_a_terminal("append-depth", "--set", "seconds=1", "--quiet")
    assert quiet == ""
    assert ok("bench", "append-depth", "--set", "seconds=1").err == ""


def test_ctrl_c_ends_it_and_leaves_no_file(tmp_path: Path) -> None:
    out, page = tmp_path / "a.json", tmp_path / "a.html"
    shown, status = at_a_terminal(
        "append-depth", "--set", "seconds=10000", "--format", "json", "--output", str(out),
        "--html", str(page), interrupt=True,
    )  # fmt: skip
    assert status == 130
    assert "zonedctl: interrupted" in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    text = zonedctl("bench", "stream", "-q", "--format", "csv", "--output", "/dev/stdout").text
    assert text.startswith("jobname,")
    assert "/dev/full: No space left on device" in refused(
        "bench", "stream", "--quiet", "--html", "/dev/full"
    )
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    (tmp_path / "real.html").write_text("old", encoding="utf-8")
    (tmp_path / "link.html").symlink_to("real.html")
    ok("bench", "stream", "--quiet", "--html", tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_fios_own_command_line() -> None:
    """As `fio` takes it: values behind = or as the next argument, jobs from --name on, the rest for all."""
    text = ok(
        *(
            "bench",
            "--profile",
            "hc620",
            "--quiet",
            "--format",
            "json",
            "--fio",
            "--",
            "--direct=1",
        ),
        *("--bs=64k", "--ioengine", "libaio", "--name=w", "--zonemode=zbd", "--rw=randwrite"),
        *(
            "--offset=524z",
            "--size=2z",
            "--io_size=1m",
            "--name=r",
            "--stonewall",
            "--rw=read",
            "--size=1m",
        ),
    ).text
    write, read = json.loads(text)["jobs"]
    assert (write["jobname"], write["write"]["total_ios"]) == ("w", 16)
    assert (read["jobname"], read["read"]["total_ios"]) == ("r", 16)


def test_fios_command_line_in_its_other_forms(tmp_path: Path) -> None:
    """One dash, a value as the next argument also of options that need none, and fio's own report."""
    jobs = (
        "-name",
        "w",
        "--rw=write",
        "-direct",
        "1",
        "--zonemode=zbd",
        "--size=1z",
        "--number_ios=3",
    )
    out = tmp_path / "out.json"
    text = ok(
        *("bench", "--profile", "test", "--quiet", "--fio", "--", *jobs, "--stonewall", "1"),
        *("--output-format=json", "--output", str(out)),
    ).text
    assert text == ""
    assert json.loads(out.read_text())["jobs"][0]["write"]["total_ios"] == 3
    told = refused("bench", "--fio", "--", *jobs, "--output-format=terse")
    assert "output-format=terse: it must be normal, json, json+" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--name=x", "--rw=randwrites"),
            "command line, argument 2: rw=randwrites: there is no such",
        ),
        (
            ("--name=x", "--fdp=1", "--rw=read", "--num_range=2"),
            "argument 2: the option fdp .*; so is num_range at",
        ),
        (("--rw=read",), "command line: there is no job section"),
        (("--name=x", "job.fio"), "argument 2: 'job.fio' is no option of fio's"),
        (("--name", "--rw=read"), "argument 1: --name needs the name of a job"),
        (("--name=x", "--bs"), "argument 2: the option bs needs a value"),
    ],
)
def test_fios_command_line_is_refused_by_argument(arguments: tuple[str, ...], told: str) -> None:
    assert re.search(told, refused("bench", "--fio", "--", *arguments))
    assert "means nothing for --fio" in refused(
        "bench", "--fio", "--set", "a=b", "--", "--name=x", status=2
    )
