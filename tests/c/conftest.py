"""libzoned as its users get it: built and installed once for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def clean() -> dict[str, str]:
    """What a suite under sanitizers sets must reach neither the compiler nor the programs."""
    mine = ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "MAKEFLAGS", "CFLAGS")
    return {name: value for name, value in os.environ.items() if name not in mine}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, clean: dict[str, str]) -> Path:
    """The prefix of an installed libzoned."""
    folder = tmp_path_factory.mktemp("libzoned")
    prefix = folder / "prefix"
    command = ["make", "-s", "-C", str(ROOT / "native"), "install"]
    command += [f"OUT={folder / 'out'}", f"PREFIX={prefix}", "CFLAGS=-O1"]
    subprocess.run(command, check=True, timeout=900, env=clean)
    return prefix
