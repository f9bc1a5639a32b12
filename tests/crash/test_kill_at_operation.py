"""A process dies at each of its operations on the host's file in turn (at_operation.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from children import said
from waiting import PATIENCE

AtEach = Callable[[str], str]


@pytest.fixture
def at_each_operation(preloaded: Callable[[str], dict[str, str]], shm: Path) -> AtEach:
    """What a script says that is run with killat.c preloaded."""

    def run(script: str) -> str:
        path = Path(__file__).with_name(script)
        return said(path, shm, env=preloaded("killat"), timeout=5 * PATIENCE)

    return run


def test_killed_while_a_file_is_replaced(at_each_operation: AtEach) -> None:
    """`dump -f`, `create --replace`, `restore --replace`: the old file or the new, whole; done is done."""
    told = at_each_operation("at_replacing.py")
    places = {name: int(number) for number, name in map(str.split, told.splitlines())}
    assert set(places) == {"dump", "create", "restore"}
    assert min(places.values()) >= 3, told


def test_killed_at_each_operation(at_each_operation: AtEach, long_run: bool) -> None:
    told = at_each_operation("at_operation.py")
    places = [int(line.split()[0]) for line in told.splitlines()]
    assert len(places) == (40 if long_run else 28) and min(places) >= 1, told
    assert sum(places) > (700 if long_run else 450), told


def test_killed_while_it_snapshots_or_records(at_each_operation: AtEach) -> None:
    """Beside another opener, who sees all of a rollback or nothing, goes on, and records."""
    told = at_each_operation("at_watching.py")
    places = {name: int(number) for number, name in map(str.split, told.splitlines())}
    assert set(places) == {"snapshots", "recording"}
    assert min(places.values()) >= 15, told
