"""Openers who are killed at the image's door, at any instruction, keep nobody out and cost nobody anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from waiting import PATIENCE

ROOT = Path(__file__).parents[2]
STRIDE = 61
"""Instructions between two deaths; a prime, so that in loops all of them get their turn."""


@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="single steps over atomic pairs of instructions"
)
def test_killed_at_any_instruction_of_the_door(tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if n not in ("LD_PRELOAD", "MAKEFLAGS")}
    subprocess.run(
        ["make", "-s", "-C", str(ROOT / "tests/native"), f"OUT={tmp_path}", f"{tmp_path}/doorkill"],
        check=True,
        timeout=600,
        env=environment,
    )
    done = subprocess.run(
        [tmp_path / "doorkill", tmp_path / "disk.img", str(STRIDE)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    died = [int(line) for line in done.stdout.splitlines()]
    assert len(died) == 4 and min(died) > 10  # alone, beside a writer, a reader, without a mutex
