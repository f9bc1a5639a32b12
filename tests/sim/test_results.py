"""What a run gives: fio's JSON names, CSV, the table, the page, and comparing."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sim.helpers import MIB, SECOND, disk, reader, run, writer
from zoned.bench import Simulation, compare, html, results, table
from zoned.bench.patterns import PATTERNS, find, listing
from zoned.bench.runner import execute
from zoned.bench.simulation import Run, Stats
from zoned.drives.models import load_drive, null_model


def pattern(name: str, **settings: str) -> Run:
    chosen = find(name)
    profile, model = load_drive(chosen.profile)
    geometry = profile.geometry()
    return execute(chosen.plan(geometry, settings), geometry, model, 1)


# -------------------------------------------------------------------------------------------- JSON


def keys(value: Any, prefix: str = "") -> set[str]:
    """Dotted names, percentiles and the like left out."""
    out: set[str] = set()
    if isinstance(value, dict):
        for name, inner in value.items():
            out.add(prefix + name)
            if name not in ("percentile", "job options", "global options", "bins"):
                out |= keys(inner, f"{prefix}{name}.")
    return out


def test_json_has_fios_names(needs: Any, tmp_path: Path) -> None:
    """Asked of the installed fio: what it reports of reads and writes has the same name here."""
    needs("fio", shutil.which("fio") is not None, "comparing with its JSON")
    theirs = subprocess.run(
        ["fio", "--name=j", "--ioengine=null", "--size=1m", "--rw=write", "--output-format=json"],
        stdout=subprocess.PIPE, text=True, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    fio = keys(json.loads(theirs[theirs.index("{") :])["jobs"][0])
    ours = keys(json.loads(results.as_json(run(writer()), "test"))["jobs"][0])
    for direction in ("read", "write", "trim"):
        wanted = {name for name in fio if name.startswith(direction + ".")}
        assert wanted - ours == set()
    # What else fio says of a job, but for what docs/bench.md lists as left out, and options of this job.
    left_out: tuple[str, ...] = (
        *("usr_cpu", "sys_cpu", "ctx", "majf", "minf", "sync", "iodepth_submit"),
        *("iodepth_complete", "latency_depth", "latency_target", "latency_percentile"),
        *("latency_window", "job options."),
    )
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in left_out[:9])
    missing = {name for name in fio - ours if not name.startswith(left_out)}
    assert missing == set()
    extra = {name for name in ours - fio if "percentile" not in name}
    assert extra == {"jobs", "zone_resets"}


def test_json_numbers() -> None:
    data = results.as_dict(run(writer(iodepth=4)), "test", ["a note"])
    job = data["jobs"][0]
    write = job["write"]
    assert write["total_ios"] == 896
    assert write["io_bytes"] == 56 * MIB
    assert write["iops"] == pytest.approx(896 / (write["runtime"] / 1e3), rel=0.6)
    assert write["clat_ns"]["N"] == 896
    assert set(write["clat_ns"]["percentile"]) == {f"{p:.6f}" for p in results.PERCENTILES}
    assert write["lat_ns"]["min"] <= write["lat_ns"]["mean"] <= write["lat_ns"]["max"]
    assert job["read"]["total_ios"] == 0
    assert sum(job["iodepth_level"].values()) == pytest.approx(100, abs=0.01)
    spread = {
        **job["latency_ns"],
        **{f"u{k}": v for k, v in job["latency_us"].items()},
        **{f"m{k}": v for k, v in job["latency_ms"].items()},
    }
    assert sum(spread.values()) == pytest.approx(100, abs=0.01)
    assert data["zoned"]["notes"] == ["a note"]
    assert data["zoned"]["zones"] == {"full": 14, "not-wp": 2}


def test_json_of_a_failed_job() -> None:
    data = results.as_dict(run(writer(zbd=False, random=True)), "test")
    assert data["jobs"][0]["error"] == 5
    assert "write pointer" in data["jobs"][0]["error text"]


def test_groups_are_added_up() -> None:
    jobs = [
        writer(offset=(2 + at) * 4 * MIB, size=4 * MIB, group_reporting=True) for at in range(3)
    ]
    data = results.as_dict(run(*jobs, writer(offset=20 * MIB, size=4 * MIB, group=1)), "test")
    assert [job["jobs"] for job in data["jobs"]] == [3, 1]
    assert data["jobs"][0]["write"]["total_ios"] == 3 * 64


def test_percentiles_are_within_a_bucket() -> None:
    stats = run(reader(read_beyond_wp=True, iodepth=3)).total(0)
    assert stats.percentile(50) == pytest.approx(1000, rel=1 / 64)
    assert Stats().percentile(50) == 0
    assert (Stats() + stats).count == stats.count


# --------------------------------------------------------------------------------------- CSV, table


def test_csv() -> None:
    text = results.as_csv([run(writer(), seed=1), run(writer(), seed=2)])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["seed"] for row in rows] == ["1", "2"]
    assert rows[0]["direction"] == "write"
    assert rows[0]["total_ios"] == "896"
    assert float(rows[0]["lat_p99_ns"]) == pytest.approx(1000, rel=1 / 64)


def test_table_looks_like_fios() -> None:
    text = table.as_text(run(writer(iodepth=2)), "test", ["hello"])
    assert re.search(r"^w: \(groupid=0, jobs=1\): err= 0$", text, re.MULTILINE)
    assert re.search(
        r"^  write: IOPS=\S+, BW=\S+/s \(\S+/s\)\(56\.0MiB/\d+msec\); 0 zone resets$",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^     \|  1\.00th=\[", text, re.MULTILINE)
    assert "Zones  14 full, 2 not-wp" in text
    assert text.endswith("Note   hello\n")


def test_table_of_several_seeds_shows_the_spread() -> None:
    runs = [pattern_with_seed("random-zones", seed) for seed in (1, 2, 3)]
    text = table.seeds_table(runs)
    assert "3 seeds (1, 2, 3)" in text
    line = next(line for line in text.splitlines() if line.startswith("random-zones"))
    spread = float(re.findall(r"([\d.]+)%", line)[0])
    assert 0 < spread < 10


def pattern_with_seed(name: str, seed: int) -> Run:
    chosen = find(name)
    profile, model = load_drive(chosen.profile)
    geometry = profile.geometry()
    return execute(chosen.plan(geometry, {"seconds": "5"}), geometry, model, seed)


def test_warm_up_is_stated() -> None:
    result = run(writer(ramp=100_000))
    assert "the first 100 us are warm-up" in table.as_text(result, "test")
    assert results.as_dict(result, "test")["zoned"]["warm_up_ns_left_out"] == 100_000


# -------------------------------------------------------------------------------------------- HTML


class Page(HTMLParser):
    """Tags that are opened and closed as they should, and what would be fetched from elsewhere."""

    VOID = frozenset(["meta", "br", "line", "path", "rect", "polyline", "i"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.seen: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.outside += [value for name, value in attrs if name in ("src", "href") and value]
        if tag != "meta" and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


SETTINGS = {
    "append-depth": {"depths": "1,8", "seconds": "0.02"}, "read-while-write": {"seconds": "0.01"},
    "log": {"zones": "24"}, "drive-managed": {"writes": "2000"}, "streams": {"streams": "1,2", "zones": "1"},
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_has_a_page(name: str) -> None:
    result = pattern(name, **SETTINGS.get(name, {}))
    text = html.page(result, f"<{name}>", "drive & more", ["a <note>"])
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.outside == [], "one file, nothing fetched"
    assert "script" not in page.seen
    assert "url(" not in text
    assert page.seen["svg"] >= 2
    assert "&lt;note&gt;" in text
    assert f"<title>&lt;{name}&gt;</title>" in text
    assert "prefers-color-scheme:dark" in text
    assert len(text) < 400_000
    for name in ("x", "y", "width", "height", "points", "d"):
        for value in re.findall(rf' {name}="([^"]*)"', text):
            assert not re.search("nan|inf|e[+-]?[0-9]", value), value


def test_a_page_of_nothing_is_a_page() -> None:
    text = html.page(run(reader()), "empty", "test")
    assert "Nothing was done" in text


def test_a_page_of_a_failed_job_says_why() -> None:
    assert "write pointer" in html.page(run(writer(zbd=False, random=True)), "bad", "test")


def test_write_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    html.write(path, "one")
    html.write(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_write_where_it_cannot_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        html.write(tmp_path / "no" / "r.html", "x")


def test_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: an error that names the file, and the old one stays."""
    path = tmp_path / "r.html"
    html.write(path, "old")
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from zoned.bench import html
try:
    html.write({str(path)!r}, "x" * 100_000)
except OSError as error:
    print(error.errno, error.filename)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    number, name = done.stdout.split()
    assert int(number) == 27
    assert name == str(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    assert resource.RLIMIT_FSIZE is not None


# ----------------------------------------------------------------------------------------- compare


def test_compare(tmp_path: Path) -> None:
    paths = []
    for name, depth in (("a.json", "1"), ("b.json", "4")):
        path = tmp_path / name
        path.write_text(
            results.as_json(pattern("append-depth", depths=depth, seconds="0.05"), "zn540").replace(
                f"append-{depth}", "append"
            ),
            encoding="utf-8",
        )
        paths.append(path)
    before, after = (compare.load(path) for path in paths)
    found = {c.figure: c for c in compare.changes(before, after)}
    assert found["IOPS"].change == pytest.approx(0.97, abs=0.1)
    assert found["mean latency, us"].change > 0.5
    text = compare.as_text(before, after)
    assert "append" in text
    assert "limit of B: The controller" in text


def test_compare_reads_fios_own_json(needs: Any, tmp_path: Path) -> None:
    needs("fio", shutil.which("fio") is not None, "comparing with its JSON")
    out = tmp_path / "fio.json"
    subprocess.run(
        ["fio", "--name=w", "--ioengine=null", "--size=1m", "--rw=write", "--output-format=json", f"--output={out}"],
        check=True, cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    ours = json.loads(results.as_json(run(writer()), "test"))
    assert any(c.figure == "IOPS" for c in compare.changes(compare.load(out), ours))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "no list of jobs"), ('{"jobs": 5}', "no list of jobs")],
)
def test_compare_refuses_what_is_no_result(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(compare.CompareError, match=message):
        compare.load(path)


def test_compare_without_a_common_job() -> None:
    a, b = (
        results.as_dict(run(writer()), "test"),
        results.as_dict(run(reader(read_beyond_wp=True)), "test"),
    )
    with pytest.raises(compare.CompareError, match="no job in common"):
        list(compare.changes(a, b))


# ---------------------------------------------------------------------------------------- patterns


def test_listing_names_every_pattern() -> None:
    assert [name for name, *_ in listing()] == list(PATTERNS)
    assert all(text and parameters for _, text, _, parameters in listing())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("stream", {"zonse": "3"}, r"no parameter zonse \(did you mean zones\?\)"),
        ("stream", {"zones": "0"}, "zones is 0"),
        ("stream", {"zones": "60000"}, "needs 60000 sequential zones, and the disk has 55356"),
        ("stream", {"bs": "1000"}, "must be a multiple of 4096"),
        ("streams", {"streams": "1,x"}, "write numbers such as"),
        ("log", {"policy": "best"}, "must be one of fifo"),
        ("log", {"spare": "2"}, "must lie between 0 and 1"),
        ("log", {"hot": "0.9"}, "write r/f"),
        ("log", {"volumes": "nan"}, "volumes=nan: it must be a number from 0"),
        ("log", {"warm": "-1"}, "warm=-1: it must be a number from 0"),
        ("log", {"warm": ""}, "warm=: it must be a number from 0"),
        ("log", {"separate": "5"}, "separate is 5: it must be 0 or 1"),
        ("append-depth", {}, "has no zone append"),
        ("zone-commands", {"occupancies": "0.5,2"}, "must lie in 0 to 1"),
        ("drive-managed", {}, "not a drive-managed one"),
    ],
)
def test_wrong_parameters_are_told(name: str, settings: dict[str, str], message: str) -> None:
    from zoned.bench.patterns import PatternError

    geometry = load_drive("hc620")[0].geometry()
    with pytest.raises(PatternError, match=message):
        find(name).plan(geometry, settings)


def test_an_unknown_pattern_is_told() -> None:
    from zoned.bench.patterns import PatternError

    with pytest.raises(PatternError, match=r"no pattern 'strem'; did you mean stream\?"):
        find("strem")


# --------------------------------------------------------------------------------------- real time


def test_the_same_jobs_on_an_emulated_disk() -> None:
    import zoned
    from zoned.bench.fiofile import Plan
    from zoned.bench.runner import execute_real

    with zoned.memory(size="64MiB", zone_size="4MiB", conventional=2, max_open=0) as device:
        result = execute_real(Plan([writer()]), device, 1)
        assert result.real
        assert result.total(1).bytes == 56 * MIB
        assert device.counters.writes == 896
        assert [zone.condition.name for zone in device.zones][2:] == ["FULL"] * 14
        again = execute_real(
            Plan([writer(random=True, norandommap=True, number_ios=100)]), device, 1
        )
        assert again.jobs[0].zone_resets > 0
        assert device.counters.resets == again.jobs[0].zone_resets
        read = execute_real(Plan([reader(random=True, norandommap=True, number_ios=50)]), device, 1)
        assert read.total(0).count == 50
        assert "real time" in table.as_text(read, "ram")


def test_real_time_refusals_name_the_rule() -> None:
    import zoned
    from zoned.bench.fiofile import Plan
    from zoned.bench.runner import execute_real

    with zoned.memory(size="64MiB", zone_size="4MiB", conventional=2) as device:
        result = execute_real(Plan([writer(zbd=False, random=True)]), device, 1)
        assert result.jobs[0].rule == "unaligned-write"
        with pytest.raises(ValueError, match="run in virtual time only"):
            execute_real(find("log").plan(load_drive("hc620")[0].geometry()), device, 1)


def test_a_simulation_can_wait_for_a_trace_only_if_it_gets_one() -> None:
    from zoned.bench import Job
    from zoned.bench.fiofile import Plan

    with pytest.raises(ValueError, match="needs a trace"):
        execute(Plan([Job("t", kind="trace", size=MIB)]), disk(), null_model(), 1)
    assert Simulation is not None
    assert SECOND
