"""What the tests of all exports ask: the command line with a registry of its own, and what an end leaves behind."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import zoned
from unit.gaps import Before, in_every_gap
from waiting import PATIENCE
from zoned.export import Iscsi, Nvme, registry

ENTRY = [sys.executable, "-m", "zoned"]
Run = Callable[..., subprocess.CompletedProcess[str]]
Served = Iscsi | Nvme


@pytest.fixture
def protocol(disk: zoned.Device) -> Callable[..., Served]:
    """What serves such a disk."""
    return zoned.export.nvme if disk.geometry.dialect == "zns" else zoned.export.iscsi


@pytest.fixture
def export(protocol: Callable[..., Served]) -> Iterator[Callable[..., Served]]:
    """``export(disk, ...)``: as the protocol's function; it ends with the test."""
    with ExitStack() as stack:

        def make(*images: Any, **how: Any) -> Served:
            served = protocol(*images, **how)
            stack.callback(served.close, grace=0)
            return served

        yield make


@pytest.fixture
def target(disk: zoned.Device, export: Callable[..., Served]) -> Served:
    return export(disk)


@contextlib.contextmanager
def commands(folder: Path) -> Iterator[Run]:
    """``run("export", "list")`` in a folder, with a registry of its own; what it leaves is killed."""
    env = os.environ | {"XDG_RUNTIME_DIR": str(folder / "run")}
    (folder / "run").mkdir(mode=0o700)

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ENTRY, *words],
            env=env | more,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    yield run
    for path in (folder / "run").glob("zoned/*.sock"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.name.split("-")[0]), signal.SIGKILL)


def listed(run: Run) -> list[dict[str, Any]]:
    """The exports that ``zonedctl export list`` knows."""
    found = json.loads(run("export", "list", "--format", "json").stdout)["exports"]
    assert isinstance(found, list)
    return found


def sockets() -> set[str]:
    """Of exports of this process, in the folder where others look for them."""
    return {path.name for path in registry.folder().glob(f"{os.getpid()}-*")}


def test_an_interrupt_in_any_gap_leaves_nothing(
    disk: zoned.Device, protocol: Callable[..., Served]
) -> None:
    """Interrupted making, serving and closing leave no thread, no descriptor and no name."""
    before, names = Before(), sockets()

    def call() -> None:
        with protocol(disk, listen=["127.0.0.1:0"] * 2):
            pass

    def afterwards(where: str) -> None:
        gc.collect()
        before.check(where)
        assert sockets() == names, where
        disk.pwrite(bytes(4096), 0)

    assert in_every_gap(call, afterwards) >= 500


def is_closed_or_closable_in_any_gap(
    serve: Callable[[ExitStack], Served], least: int, **close: float
) -> None:
    """An interrupted close() can be called again, and what says that it is closed, is.

    ``serve`` makes an export that somebody uses and leaves on the stack what ends with it.
    """
    before = Before()
    with ExitStack() as stack:

        def call() -> None:
            current[0].close(**close)

        def afterwards(where: str) -> None:
            if not current[0].closed:
                assert where, "a close that nothing interrupts, closes"
                current[0].close(grace=0)
            assert current[0].closed, where
            assert current[0].wait(0), where
            stack.close()
            before.check(where)
            current[0] = serve(stack)

        current = [serve(stack)]
        assert in_every_gap(call, afterwards) >= least
    before.check("")


def ends_when_let_go(holder: list[Served]) -> None:
    """The export in ``holder``, which nothing else names, warns and ends as soon as that lets it go."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        holder.clear()
        gc.collect()
    assert [one.category for one in told] == [ResourceWarning]
    assert "was not closed" in str(told[0].message)
