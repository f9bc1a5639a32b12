"""Commands as objects: the cases of requests.c, under ASan and UBSan, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

HERE = Path(__file__).parent
CASES = re.findall(r'(?m)^\t{ "([a-z-]+)", \w+ },$', (HERE / "requests.c").read_text("utf-8"))


@pytest.fixture(scope="module")
def program(build: Callable[[str], Path]) -> Path:
    return build("requests")


def test_the_list_is_whole(program: Path) -> None:
    done = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == CASES
    assert len(CASES) > 10


@pytest.mark.parametrize("case", CASES)
def test_case(program: Path, clean_environment: dict[str, str], case: str) -> None:
    done = subprocess.run(
        [program, case],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=clean_environment,
    )
    assert done.returncode == 0, done.stderr
