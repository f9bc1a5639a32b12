"""Every call at once, with signals, stops and kills: a short run of the program beside this file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from waiting import PATIENCE


@pytest.mark.parametrize("seed", [7])
def test_all_calls_at_once(shm: Path, long_run: bool, seed: int) -> None:
    seconds = 600 if long_run else 15
    program = Path(__file__).parent / "mixed.py"
    done = subprocess.run(
        [sys.executable, str(program), str(seconds), str(seed), str(shm)],
        env=os.environ | {"PYTHONPATH": str(Path(zoned.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 4 * PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-4000:]
    assert int(done.stdout.split()[0]) > 0
