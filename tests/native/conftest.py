"""C programs of this folder, built once for all tests that run them."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import core

HERE = Path(__file__).parent
Build = Callable[[str], Path]


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    return core.clean_environment()


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Build:
    """``build("stress")``: the program, made by the Makefile here."""
    out = tmp_path_factory.mktemp("native")

    def make(name: str) -> Path:
        done = subprocess.run(
            ["make", "-s", "-C", str(HERE), f"OUT={out}", f"{out}/{name}"],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            env=clean_environment,
        )
        assert done.returncode == 0, done.stderr
        return out / name

    return make


@pytest.fixture
def on_x86_64(needs: Callable[[str, bool, str], None]) -> None:
    needs("x86-64", platform.machine() == "x86_64", "its instructions and numbers of system calls")
