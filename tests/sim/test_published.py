"""The drive models against published measurements, each figure predicted without its own run."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zoned.bench.fioarguments import parse_arguments
from zoned.bench.fit import FitError, Point, least_absolute, least_squares, leave_one_out, minimum
from zoned.bench.runner import execute
from zoned.drives.models import load_drive

pytestmark = pytest.mark.plain

BENCH = Path(__file__).resolve().parents[2] / "bench"


def bench(name: str) -> ModuleType:
    """A file of bench/, which is no package."""
    if f"bench_{name}" in sys.modules:
        return sys.modules[f"bench_{name}"]
    spec = importlib.util.spec_from_file_location(
        name if name in ("published", "shared") else f"bench_{name}", BENCH / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def validate() -> Iterator[ModuleType]:
    before = list(sys.path)
    yield bench("validate")
    sys.path[:] = before


PAGE = (BENCH.parent / "docs" / "validation.md").read_text(encoding="utf-8")


def judge(rows: list[Any], module: ModuleType, counted: int) -> None:
    """Every row that counts is within its limit, and the page in docs/ shows these very figures."""
    outside = [
        f"{row.name}: {row.published:g}, ours {row.ours:g}"
        for row in rows
        if row.verdict == "outside"
    ]
    assert outside == []
    assert sum(row.verdict in ("ok", "miss") for row in rows) == counted
    assert all(row.source for row in rows)
    stale = [row.name for row in rows if module.markdown_line(row) not in PAGE]
    assert stale == [], "run `make docs-validation`"


def limits(rows: list[Any]) -> dict[str, set[str]]:
    """By what a row measures (its name without sizes and numbers): the limits it has."""
    out: dict[str, set[str]] = {}
    for row in rows:
        if row.verdict:
            out.setdefault(re.sub(r" ?[0-9.]+( KiB| %| block)?", "", row.name), set()).add(
                row.limit
            )
    return out


def test_zn540(validate: ModuleType) -> None:
    """Latency by size, ceilings, finish and reset by occupancy."""
    rows = list(validate.rows_zn540())
    judge(rows, validate, 39)
    inputs = [row.name for row in rows if row.kind == "input"]
    assert inputs == ["finish, nothing written, ms", "finish, all but 1 block written, ms"]
    assert limits(rows) == {
        "write, mean latency, us": {"5.0%"},
        "append, mean latency, us": {"5.0%"},
        "write, bandwidth, MiB/s": {"2.0%"},
        "append, bandwidth, MiB/s": {"2.0%"},
        "write, zones, K/s": {"5.0%"},
        "append, depth, K/s": {"5.0%"},
        "finish, written, ms": {"4.0%"},
        "reset finished, nothing written, ms": {"4.0%"},
        "reset finished, written, ms": {"4.0%"},
        "reset finished, all written, ms": {"4.0%"},
        "reset, nothing written, ms": {"4.0%"},
        "reset, written, ms": {"4.0%"},
        "reset, all written, ms": {"4.0%"},
    }


def several(validate: ModuleType, wanted: Callable[[Point], bool]) -> list[Any]:
    points = [point for point in bench("published").zn540_shared() if wanted(point)]
    return list(validate.rows_zn540_shared(points))


def test_zn540_shared(validate: ModuleType) -> None:
    """Reads and writes at once, mixed loads and queues: at one depth each; the rest has a long form."""
    short = (
        ("beside 250", 32),
        ("beside 1000", 32),
        ("mixed 50", 16),
        ("merged 4", 32),
        ("reset", 2),
    )
    rows = several(validate, lambda point: (point.what, point.x) in short)
    judge(rows, validate, 10)
    rates = [row for row in rows if row.name.endswith(("K/s", "MiB/s"))]
    assert len(rates) == 5
    assert [row.name for row in rates if row.verdict == "miss"] == []


@pytest.mark.long
def test_zn540_shared_all(validate: ModuleType) -> None:
    """What is beyond its limit is told with a reason, and the reasons are of tails and small times."""
    rows = list(validate.rows_zn540_shared())
    judge(rows, validate, len([row for row in rows if row.kind == "predicted"]))
    missed = [row for row in rows if row.verdict == "miss"]
    assert all(len(row.reason) > 20 for row in missed)
    assert len(missed) < 0.3 * len(rows)
    mixed = [row for row in rows if "rest appends" in row.name and row.name.endswith("K/s")]
    assert len(mixed) == 15
    assert all(row.verdict == "ok" for row in mixed)


def test_hc620(validate: ModuleType) -> None:
    """Sequential and random rates and latencies, and the zones after random writes."""
    rows = list(validate.rows_hc620())
    judge(rows, validate, 18)
    assert [row.name for row in rows if row.verdict == "miss"] == [
        "8 jobs on 4 zones, 64 KiB, IOPS",
        "mean latency of the 8, ms",
    ]
    assert [row.name for row in rows if row.kind == "input"] == [
        "read beyond the write pointer, IOPS"
    ]
    counting = [row for row in rows if row.verdict]
    assert [(round(row.published, 1), row.limit) for row in counting] == [
        (234.6, "3.0%"), (237.3, "3.0%"), (237.9, "3.0%"), (118.6, "10.0%"), (133.9, "15.0%"),
        (160.9, "10.0%"), (98.9, "15.0%"), (142.8, "10.0%"), (12.7, "10.0%"), (3.9, "10.0%"),
        (3.2, "10.0%"), (2007, "10.0%"), (1.6, "10.0%"), (236.5, "10.0%"), (8.7, "10.0%"),
        (128, "exact"), (4498, "exact"), (0, "exact"),
    ]  # fmt: skip


COMMANDS = {
    "sequential write, depth 8, MiB/s": "--size=1G --ioengine=libaio --iodepth=8 --rw=write --bs=256K",
    "random write, 4 jobs of depth 4, IOPS": (
        "--numjobs=4 --group_reporting=1 --runtime=30 --ioengine=libaio --iodepth=4 --rw=randwrite --bs=256K"
    ),
    "4 streams of 512 KiB, MiB/s": (
        "--size=3714878275584 --offset_increment=3714878275584 --numjobs=4 --group_reporting=1 "
        "--ioengine=psync --rw=randwrite:512 --bs=512K --io_size=2G"
    ),
}
"""How fio was called for these figures, behind the words that all of the calls share."""
SHARED = "--name=zbc --filename=/dev/sdd --direct=1 --zonemode=zbd --offset=140660178944"


@pytest.mark.parametrize("figure", COMMANDS)
def test_a_pages_own_command_line_gives_its_figure(figure: str) -> None:
    """With the options that its row names, where the fio of that time did otherwise."""
    (point,) = [one for one in bench("published").hc620() if one.name == figure]
    drive, model = load_drive("hc620")
    geometry = drive.geometry()
    older = re.findall(r"\b\w+=1\b", point.source)
    arguments = [*f"{SHARED} {COMMANDS[figure]}".split(), *(f"--{option}" for option in older)]
    writes = execute(parse_arguments(arguments, geometry), geometry, model, 1).total(1)
    found = writes.iops if point.stat == "iops" else writes.rate / 2**20
    assert found == pytest.approx(point.value, rel=0.1)


def test_drive_managed(validate: ModuleType) -> None:
    """What a parameter says outright is an input; the fall is predicted."""
    rows = list(validate.rows_drive_managed())
    judge(rows, validate, 12)
    assert all(row.ours > 100 for row in rows if row.name.startswith("fall "))
    assert sum(row.kind == "input" for row in rows) == 3


@pytest.mark.long
def test_cleaning(validate: ModuleType) -> None:
    """The long form of what test_cleaning.py checks with fewer writes."""
    judge(list(validate.rows_cleaning()), validate, 15)


def test_a_figure_beyond_its_limit_fails_the_command(
    validate: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = validate.Row("ZN540", "a latency, us", 100.0, 106.0, 0.05, "predicted", "somewhere")
    assert validate.markdown_line(replace(row, reason="it rained")).count("miss: it rained") == 1
    assert validate.markdown_line(replace(row, ours=100, reason="it rained")).count("| ok |") == 1
    near = replace(row, ours=104.0)
    slow = replace(row, part="speed", tolerance=0, bound="least", published=10, ours=9)
    monkeypatch.setattr(sys, "argv", ["validate.py"])
    for rows, code in (
        ([row], 1),
        ([near], 0),
        ([near, slow], 0),
        ([replace(row, kind="input")], 0),
        ([replace(row, reason="it rained")], 0),
    ):
        monkeypatch.setattr(validate, "PARTS", {"zn540": lambda rows=rows: iter(rows)})
        assert validate.main() == code
    assert "outside" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["validate.py", "--strict"])
    monkeypatch.setattr(validate, "PARTS", {"speed": lambda: iter([slow])})
    assert validate.main() == 1


def test_a_point_is_left_out_with_its_whole_run() -> None:
    published = bench("published")
    for point, others in leave_one_out(published.zn540()):
        if not point.only:
            assert not [other for other in others if other.run == point.run and other.x == point.x]


def test_published_figures_are_no_table_of_the_model() -> None:
    """What is fitted has far fewer numbers than there are figures that it must meet."""
    from zoned.bench.fit import fit_zns
    from zoned.drives.models import load_model

    model = load_model("zn540")
    points = bench("published").zn540()
    fitted = fit_zns(points, model.but(**{f"zns__{name}": 77 for name in FITTED}))
    assert all(fitted.get(f"zns.{name}") != 77 for name in FITTED)
    assert len([p for p in points if p.tolerance and not p.only]) > 2 * len(FITTED)
    for name in FITTED:
        assert float(fitted.get(f"zns.{name}")) == pytest.approx(
            float(model.get(f"zns.{name}")), rel=0.01
        ), name


FITTED = (
    *(
        "write_base_us",
        "write_unit_us",
        "list_us",
        "append_extra_us",
        "append_unit_us",
        "write_service_us",
    ),
    *(
        "append_service_us",
        "write_mib_s",
        "finish_mib_s",
        "reset_base_ms",
        "reset_full_ms",
        "reset_data_ms",
    ),
    *("reset_unfinished_ms", "reset_open_ms"),
)
"""What bench/validate.py --fit gives is what the profile holds."""


# ------------------------------------------------------------------------------------ the fit itself


def test_least_squares_finds_a_line() -> None:
    rows = [[1.0, float(x)] for x in range(6)]
    assert least_squares(rows, [3 + 2 * x for x in range(6)], [1.0] * 6) == pytest.approx([3, 2])


def test_least_absolute_is_not_pulled_by_one_odd_figure() -> None:
    rows = [[1.0, float(x)] for x in range(1, 12)]
    targets = [10 + 2.0 * x for x in range(1, 12)]
    targets[4] *= 3
    assert least_absolute(rows, targets) == pytest.approx([10, 2], rel=1e-3)
    assert least_squares(rows, targets, [1 / t for t in targets]) != pytest.approx(
        [10, 2], rel=1e-2
    )


def test_what_is_not_determined_is_an_error() -> None:
    with pytest.raises(FitError, match="do not determine"):
        least_squares([[1.0, 1.0], [2.0, 2.0]], [1.0, 2.0], [1.0, 1.0])


@pytest.mark.parametrize(
    ("function", "least"), [(lambda x: (x - 3) ** 2, 3.0), (lambda x: abs(x - 7.5), 7.5)]
)
def test_minimum(function: Callable[[float], float], least: float) -> None:
    assert minimum(function, 0, 10, 40) == pytest.approx(least, abs=1e-3)


def test_a_model_is_found_again_from_its_own_figures() -> None:
    """Figures made with known parameters give these parameters back."""
    from zoned.bench.fit import fit_zns
    from zoned.drives.models import load_model

    truth = load_model("zn540")
    base, unit, extra = (
        float(truth.get(f"zns.{name}"))
        for name in ("write_base_us", "write_unit_us", "append_extra_us")
    )
    points = []
    for kib in (4, 8, 16, 32, 64):
        units = max(0, -(-kib // 8) - 1)
        more = float(truth.get("zns.list_us")) if kib > 8 else 0.0
        write = base + units * unit + more
        append = base + extra + units * float(truth.get("zns.append_unit_us")) + more
        points += [
            Point("write", kib, "median_us", write, "w"),
            Point("append", kib, "median_us", append, "a"),
        ]
    wrong = truth.but(zns__write_base_us=99, zns__write_unit_us=99, zns__append_extra_us=99)
    found = fit_zns(points, wrong)
    assert float(found.get("zns.write_base_us")) == pytest.approx(base, rel=1e-3)
    assert float(found.get("zns.write_unit_us")) == pytest.approx(unit, rel=1e-3)
    assert float(found.get("zns.append_extra_us")) == pytest.approx(extra, rel=1e-3)


def test_what_the_figures_do_not_say_stays_as_it_was() -> None:
    """Writes of two sizes only: base and the time per unit; lists and appends keep the model's values."""
    from zoned.bench.fit import fit_zns
    from zoned.drives.models import load_model

    model = load_model("zn540")
    points = [
        Point("write", 4, "median_us", 20.0, "a"),
        Point("write", 32, "median_us", 33.31, "b"),
    ]
    points.append(Point("reset finished", 0.5, "ms", 10.0, "c"))
    found = fit_zns(points, model)
    changed = {
        key for key, value in found.tables["zns"].items() if value != model.get(f"zns.{key}")
    }
    assert changed == {"write_base_us", "write_unit_us", "reset_base_ms"}
    assert float(found.get("zns.write_base_us")) == pytest.approx(20)
    # Three units more, and the list that its 1.31 us are taken for.
    assert float(found.get("zns.write_unit_us")) == pytest.approx(4)
    full, data = (float(model.get(f"zns.reset_{name}_ms")) for name in ("full", "data"))
    assert float(found.get("zns.reset_base_ms")) == pytest.approx(10 - full / 2 - data)
    half = fit_zns(
        [Point("finish", x, "ms", 2.57 + (1 - x) * 1000, "f") for x in (0.2, 0.7)], model, 500
    )
    assert float(half.get("zns.finish_mib_s")) == pytest.approx(500)


def test_the_page_about_models_names_every_parameter() -> None:
    from zoned.drives.models import TABLES

    text = (BENCH.parent / "docs" / "models.md").read_text(encoding="utf-8")
    missing = [p.name for table in TABLES.values() for p in table if f"`{p.name}`" not in text]
    assert missing == []
