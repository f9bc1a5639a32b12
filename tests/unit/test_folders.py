"""Folders in memory: of those that are held none goes, of those that are left none stays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from children import environment
from zoned._core.folders import Held, sweep


@contextmanager
def swept(where: Path) -> Iterator[None]:
    """Somebody cleans up all the time."""
    over = threading.Event()

    def clean() -> None:
        while not over.is_set():
            sweep("it-", str(where))

    threads = [threading.Thread(target=clean) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_none_that_is_held_goes(tmp_path: Path) -> None:
    """Between its name and its lock it is as one that was left: whoever cleans up may take it then."""
    with swept(tmp_path):
        for _ in range(500):
            held = Held()
            path = held.make("it-", str(tmp_path))
            Path(path, "x").touch()
            assert Path(path, "x").exists()
            held.close()
            assert not os.path.exists(path)
            held.close()


def test_one_of_a_killed_owner_goes(tmp_path: Path) -> None:
    script = "import os, signal; from zoned._core.folders import Held; h = Held(); "
    script += f"p = h.make('it-', {str(tmp_path)!r}); open(p + '/x', 'w'); print(p, flush=True); "
    script += "os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    (path,) = killed.stdout.split()
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "it-a-link").symlink_to(other)
    assert Path(path, "x").exists()
    seen: list[Path] = []
    sweep("it-", str(tmp_path), seen.append)
    assert seen == [Path(path)]
    assert {entry.name for entry in tmp_path.iterdir()} == {"other", "it-a-link"}


def test_where_none_can_be_made(tmp_path: Path) -> None:
    held = Held()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        held.make("it-", str(tmp_path / "nowhere"))
    held.close()
