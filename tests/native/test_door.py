"""Openers who are killed at the image's door, at any instruction, keep nobody out and cost nobody anything."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from waiting import PATIENCE

pytestmark = pytest.mark.program

STRIDE = 61
"""Instructions between two deaths; a prime, so that in loops all of them get their turn."""


@pytest.mark.usefixtures("on_x86_64")
def test_killed_at_any_instruction_of_the_door(
    build: Callable[[str], Path], clean_environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [build("doorkill"), tmp_path / "disk.img", str(STRIDE)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=clean_environment,
    )
    assert done.returncode == 0, done.stderr
    died = [int(line) for line in done.stdout.splitlines()]
    assert len(died) == 4 and min(died) > 10  # alone, beside a writer, a reader, without a mutex
