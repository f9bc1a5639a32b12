"""Processes of Python that tests start, which find the same modules as the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from waiting import PATIENCE


def environment(**more: str) -> dict[str, str]:
    """This process's, with its path of modules, and more."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)} | more


def said(*args: object, env: Mapping[str, str] | None = None, timeout: float = PATIENCE) -> str:
    """What ``python ARGS`` prints; anything but a good end fails."""
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment() if env is None else env,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout
