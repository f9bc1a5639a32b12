"""Commands as objects: the cases of requests.c, under ASan and UBSan, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.sanitizer

HERE = Path(__file__).parent
CASES = re.findall(r'(?m)^\t{ "([a-z-]+)", \w+ },$', (HERE / "requests.c").read_text("utf-8"))


def environment() -> dict[str, str]:
    """Without what a suite under ASan has for itself."""
    ours = ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "MAKEFLAGS", "CFLAGS")
    return {name: value for name, value in os.environ.items() if name not in ours}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("requests")
    command = ["make", "-s", "-C", str(HERE), f"OUT={out}", f"{out}/requests"]
    subprocess.run(command, check=True, timeout=600, env=environment())
    return out / "requests"


def test_the_list_is_whole(program: Path) -> None:
    done = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == CASES
    assert len(CASES) > 10


@pytest.mark.parametrize("case", CASES)
def test_case(program: Path, case: str) -> None:
    done = subprocess.run(
        [program, case], capture_output=True, text=True, timeout=300, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
