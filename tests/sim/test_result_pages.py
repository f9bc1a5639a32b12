"""What a result says of itself, and results beside each other: pages, comparisons, lists."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import zoned
from cli.shell import inside, ok, refused
from sim.helpers import disk, run, writer
from zoned.bench import compare, html, results, sweep, sweeppage
from zoned.bench.fiofile import parse
from zoned.bench.runner import execute
from zoned.drives.models import null_model

JOB = "[global]\ndirect=1\nzonemode=zbd\noffset=524z\n[fill <b>]\nrw=write ; from the <start>\nsize=1z\nbs=1m\n"


class Text(HTMLParser):
    """What a reader sees, and which elements stand open at the end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said = ""
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "line", "path", "rect", "circle", "polyline"):
            self.open.append(tag)
        if tag == "svg":
            self.pictures.append(dict(attrs)["aria-label"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data + "\n"


def test_a_page_says_what_was_run(tmp_path: Path) -> None:
    job, page = tmp_path / "my.fio", tmp_path / "r.html"
    job.write_text(JOB, encoding="utf-8")
    ok("bench", job, "--set", "bs=256k", "--seed", "7", "--quiet", "--html", page)
    text = Text(page.read_text(encoding="utf-8"))
    assert text.open == []
    for said in (
        JOB,
        f"zoned {zoned.__version__}",
        "job file my.fio",
        "bs=256k",
        "hc620",
        "seed\n7",
    ):
        assert said.strip() in text.said
    assert "hdd.rate_outer_mb_s\n257" in text.said
    assert str(tmp_path) not in text.said, "the page can be given away"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stream", "--set", "zones=1"), ("pattern stream", "zones=1", "depth=8")),
        (
            (
                *("--fio", "--", "--name=a b", "--rw=write", "--direct=1", "--zonemode=zbd"),
                *("--offset=524z", "--size=1z", "--bs=1m"),
            ),
            ("fio's command line", "fio '--name=a b' --rw=write"),
        ),
    ],
)
def test_patterns_and_command_lines_are_told_too(
    arguments: tuple[str, ...], said: tuple[str, ...], tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    ok("bench", "--quiet", "--html", page, *arguments)
    text = Text(page.read_text(encoding="utf-8")).said
    assert all(part in text for part in said)


def test_a_trace_is_told_by_its_file(tmp_path: Path) -> None:
    trace, page = tmp_path / "t.csv", tmp_path / "r.html"
    trace.write_text("".join(f"0,W,{i * 4096},4096,{i}\n" for i in range(100)), encoding="utf-8")
    ok("bench", "--trace", trace, "--set", "zones=32", "--quiet", "--html", page)
    assert "trace t.csv (alibaba)" in Text(page.read_text(encoding="utf-8")).said


def test_a_long_job_file_is_cut_on_the_page() -> None:
    text = "[a]\nrw=read\nsize=1m\n" + "; a note\n" * 20_000
    plan = parse(text, disk(), Path("long.fio"))
    page = html.page(execute(plan, disk(), null_model(), 1), "long", "test", plan=plan)
    assert f"... and {len(text) - html.MOST_SHOWN:,} characters more" in page


# ------------------------------------------------------------------------------------- comparing


def saved(folder: Path, name: str, **keywords: int) -> Path:
    path = folder / name
    model = null_model(keywords.pop("us", 10))
    path.write_text(results.as_json(run(writer(**keywords), model=model), "test"), encoding="utf-8")
    return path


def test_any_number_of_results_side_by_side(tmp_path: Path) -> None:
    paths = [saved(tmp_path, f"{us}.json", us=us) for us in (10, 20, 40)]
    lines = ok("bench", "compare", *paths).lines
    assert re.search(r"A +B +change +C +change$", lines[0])
    iops = next(line for line in lines if "IOPS" in line)
    assert re.findall(r"[-+]\d+\.\d%", iops) == ["-50.0%", "-75.0%"]
    assert lines[-1].endswith("40.json")
    told = json.loads(ok("bench", "compare", *paths, "--format", "json").text)
    assert [one["letter"] for one in told["results"]] == ["A", "B", "C"]
    figures = {one["figure"]: one for one in told["figures"]}
    assert figures["mean latency, us"]["values"] == [10, 20, 40]
    assert figures["mean latency, us"]["changes"] == [0, 1, 3]


def test_a_comparison_has_a_page(tmp_path: Path) -> None:
    paths = [saved(tmp_path, f"{us}.json", us=us) for us in (10, 11, 9)]
    page = tmp_path / "c.html"
    ok("bench", "compare", *paths, "--html", page, "--output", tmp_path / "c.txt")
    text = page.read_text(encoding="utf-8")
    assert Text(text).open == []
    assert "+10.0%" in text
    cells = re.findall(r'<td data-h="(.)" class="worse">', text)
    assert set(cells) == {"B"}, "C is better"


@pytest.mark.parametrize(
    ("us", "over", "status"),
    [(10, "0", 0), (11, "15%", 0), (11, "5%", 1), (11, "5", 1), (9, "5%", 0)],
)
def test_worse_by_more_than_was_said_is_the_exit_status(
    us: int, over: str, status: int, tmp_path: Path
) -> None:
    paths = [
        saved(tmp_path, "a.json"),
        saved(tmp_path, "same.json"),
        saved(tmp_path, "b.json", us=us),
    ]
    done = inside("bench", "compare", *paths, "--fail-over", over)
    assert done.status == status
    assert "mean latency" in done.text, "the table is there either way"
    if status:
        assert "w, write, IOPS: C is 9.1% worse than A, and 3 figures more" in done.err
    assert inside("bench", "compare", *paths).status == 0


def test_a_job_that_is_missing_is_worse(tmp_path: Path) -> None:
    both = tmp_path / "both.json"
    data = results.as_dict(run(writer(), writer(offset=8 << 20)), "test")
    data["jobs"][1]["jobname"] = "other"
    both.write_text(json.dumps(data), encoding="utf-8")
    one = saved(tmp_path, "one.json", us=1)
    assert "only in A: other" in ok("bench", "compare", both, one).text
    assert "job other: B does not have it" in refused(
        "bench", "compare", both, one, "--fail-over", "500%"
    )
    assert "only in B: other" in ok("bench", "compare", one, both).text


def test_what_is_wrong_with_a_comparison_is_said(tmp_path: Path) -> None:
    one = saved(tmp_path, "one.json")
    assert "'x%' is not a percentage" in refused(
        "bench", "compare", one, one, "--fail-over", "x%", status=2
    )
    assert "compare is text or json" in refused(
        "bench", "compare", one, one, "--format", "csv", status=2
    )
    assert "--fail-over is for" in refused("bench", "stream", "--fail-over", "5%", status=2)


def test_fios_notes_before_its_json_are_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.json")
    path.write_text("fio: a note\nanother {\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert compare.load(path)["jobs"]


def test_letters_go_on_behind_z() -> None:
    assert [compare.letter(at) for at in (0, 25, 26, 52)] == ["A", "Z", "AA", "BA"]


# ------------------------------------------------------------------------------------- lists, sweeps


def test_the_list_as_json() -> None:
    told = json.loads(ok("bench", "--list", "--format", "json").text)
    patterns = {one["name"]: one for one in told["patterns"]}
    assert patterns["stream"]["parameters"]["zones"] == 16
    drives = {one["name"]: one for one in told["drives"]}
    assert (drives["zn540"]["model"], drives["hc620"]["zone_size"]) == ("zns", 256 << 20)
    text = ok("bench", "--list").text
    assert all(name in text for name in (*patterns, *drives))
    assert "--list is text or json" in refused("bench", "--list", "--format", "csv", status=2)


GRID = """seeds = [1]
patterns = ["stream", "fill-random-zones"]
[parameters]
zones = [1]
depth = [1, 8]
[model]
"hdd.cache_entries" = [16, 128]
"""


def test_a_sweeps_page_has_pictures_of_each_parameter(tmp_path: Path) -> None:
    path, page = tmp_path / "grid.toml", tmp_path / "s.html"
    path.write_text(GRID, encoding="utf-8")
    ok("bench", "sweep", path, "--jobs", "1", "--quiet", "--html", page)
    text = Text(page.read_text(encoding="utf-8"))
    assert text.open == []
    assert text.pictures == [
        f"{unit} against {axis}"
        for axis in ("pattern", "depth", "hdd.cache_entries")
        for unit in ("MiB/s", "mean latency, ms")
    ]
    assert "8 points with 1 seed" in text.said
    assert GRID in text.said

    grid = sweep.load(path)
    measured = sweep.figures(grid)
    assert sweeppage.axes(grid)["depth"] == ["1", "8"]
    (line,) = sweeppage.lines(measured, "pattern", ["stream"], "bw_bytes")
    mine = [rows[0]["bw_bytes"] for point, rows in measured if point.what == "stream"]
    assert len(mine) == 4
    assert line.ends == ((min(mine), pytest.approx(sum(mine) / 4), max(mine)),)


def test_a_sweeps_page_says_what_failed(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GRID, encoding="utf-8")
    grid = sweep.load(path)
    grid.folder.mkdir()
    page = Text(sweeppage.page(grid))
    assert "8 points failed; see points.csv" in page.said
    assert page.pictures == []
