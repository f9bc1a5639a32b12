"""Programs that are a list of cases, under ASan and UBSan, each in a process of its own: commands as
objects (requests.c), and requests of ublk as commands with what a killed server left (ublk.c).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

HERE = Path(__file__).parent
CASES = {
    program: re.findall(
        r'(?m)^\t{ "([a-z-]+)", (?:\.\w+ = )?\w+ },$', (HERE / f"{program}.c").read_text("utf-8")
    )
    for program in ("requests", "ublk")
}


@pytest.mark.parametrize("program", list(CASES))
def test_the_list_is_whole(build: Callable[[str], Path], program: str) -> None:
    done = subprocess.run([build(program), "--list"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == CASES[program]
    assert len(CASES[program]) > 10


@pytest.mark.parametrize(
    ("program", "case"), [(program, case) for program, cases in CASES.items() for case in cases]
)
def test_case(
    build: Callable[[str], Path], clean_environment: dict[str, str], program: str, case: str
) -> None:
    done = subprocess.run(
        [build(program), case],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=clean_environment,
    )
    assert done.returncode == 0, done.stderr
