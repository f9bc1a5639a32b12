"""C programs of this folder, built once for all tests that run them."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

import core

Build = Callable[[str], Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """``build("stress")``: the program, made by the Makefile here."""
    out = tmp_path_factory.mktemp("native")
    return functools.cache(lambda name: core.made(name, out))


@pytest.fixture
def on_x86_64(needs: Callable[[str, bool, str], None]) -> None:
    needs("x86-64", platform.machine() == "x86_64", "its instructions and numbers of system calls")
