"""The benchmark suites in bench/: one for each layer, each runs, and a run compares with a saved one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "state_machine": "zoned.memory",
    "data_path": "disk.pwrite",
    "image": "zoned.create",
    "zonefs": "zonefs.ZoneFS(",
    "mount": "zonefs.mount(",
    "engine": "Simulation(",
}


def benchmarks(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_has_its_suite(layer: str) -> None:
    text = (ROOT / "bench" / f"test_{layer}.py").read_text(encoding="utf-8")
    assert LAYERS[layer] in text
    assert text.count("def test_") >= 6


def test_benchmarks_run(long_run: bool) -> None:
    """Each once, without measuring; some of each suite where time is short."""
    some = () if long_run else ("-k", "stat or open or bare_loop or one_zone or pwritev")
    out = benchmarks("bench", "--benchmark-disable", *some)
    assert " passed" in out
    assert "failed" not in out


def test_a_run_is_saved_and_the_next_compares_with_it(tmp_path: Path) -> None:
    common = (
        "bench/test_state_machine.py", "-k", "reset_of_an_empty or refused", "--benchmark-only",
        f"--benchmark-storage=file://{tmp_path}", "--benchmark-max-time=0.05",
    )  # fmt: skip
    benchmarks(*common, "--benchmark-autosave")
    (saved,) = tmp_path.glob("*/0001_*.json")
    found = json.loads(saved.read_text(encoding="utf-8"))["benchmarks"]
    assert sorted(entry["name"] for entry in found) == [
        "test_refused_write",
        "test_reset_of_an_empty_zone",
    ]
    assert all(entry["stats"]["median"] > 0 for entry in found)
    out = benchmarks(*common, "--benchmark-compare")
    assert "Comparing against benchmarks from" in out
    assert out.count("(NOW)") == 2
