"""A process dies at each of its operations on the host's file in turn (at_operation.py)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from waiting import PATIENCE


@pytest.fixture(scope="module")
def killat(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str, bool, str], None]
) -> Path:
    needs("cc", shutil.which("cc") is not None, "a compiler for the preloaded library")
    library = tmp_path_factory.mktemp("killat") / "killat.so"
    source = Path(__file__).parent.parent / "native" / "killat.c"
    command = ["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    environment = {n: v for n, v in os.environ.items() if n != "LD_PRELOAD"}
    subprocess.run(command, check=True, env=environment)
    return library


def at_each_operation(script: str, killat: Path, folder: Path) -> str:
    """What a script says that was run with the library preloaded."""
    preload = ":".join(p for p in (os.environ.get("LD_PRELOAD"), str(killat)) if p)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), str(folder)],
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
        env=os.environ
        | {"LD_PRELOAD": preload, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_while_a_file_is_replaced(killat: Path, shm: Path) -> None:
    """`dump -f`, `create --replace`, `restore --replace`: the old file or the new, whole; done is done."""
    said = at_each_operation("at_replacing.py", killat, shm)
    places = {name: int(number) for number, name in map(str.split, said.splitlines())}
    assert set(places) == {"dump", "create", "restore"}
    assert min(places.values()) >= 3, said


def test_killed_at_each_operation(killat: Path, shm: Path, long_run: bool) -> None:
    said = at_each_operation("at_operation.py", killat, shm)
    places = [int(line.split()[0]) for line in said.splitlines()]
    assert len(places) == (24 if long_run else 20) and min(places) >= 1, said
    assert sum(places) > (350 if long_run else 250), said


def test_killed_while_it_snapshots_or_records(killat: Path, shm: Path) -> None:
    """Beside another opener, who sees all of a rollback or nothing, goes on, and records."""
    said = at_each_operation("at_watching.py", killat, shm)
    places = {name: int(number) for number, name in map(str.split, said.splitlines())}
    assert set(places) == {"snapshots", "recording"}
    assert min(places.values()) >= 15, said
