"""libzoned as its users get it: built and installed once for the tests of this folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Path:
    """The prefix of an installed libzoned."""
    folder = tmp_path_factory.mktemp("libzoned")
    prefix = folder / "prefix"
    command = ["make", "-s", "-C", str(ROOT / "native"), "install"]
    command += [f"OUT={folder / 'out'}", f"PREFIX={prefix}", "CFLAGS=-O1"]
    subprocess.run(command, check=True, timeout=900, env=clean_environment)
    return prefix
