"""The kernel that the tests in this folder ask: booted once, and again only if a test has killed it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom

import pytest

from kernel import emulator, lab
from kernel.judge import Judge
from kernel.zonefs_differences import KNOWN as ZONEFS_KNOWN
from kernel.zonefs_doors import DOORS
from zonefs.mounting import available

NOTES = pytest.StashKey[list[str]]()


class Boots:
    """Gives a kernel that is alive."""

    def __init__(self, share: Path) -> None:
        self._share = share
        self._kernel: lab.Kernel | None = None

    def kernel(self) -> lab.Kernel:
        if self._kernel is None or not self._kernel.alive:
            self.close()
            self._kernel = lab.Kernel(self._share)
        return self._kernel

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None


@pytest.fixture(scope="session")
def boots(
    needs: Callable[[str, bool, str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Boots]:
    """Skips, or fails under ZONED_REQUIRE=kernel, where there is no kernel to be had."""
    try:
        lab.prepare()
    except lab.UnavailableError as exc:
        needs("kernel", False, str(exc))
    with contextlib.closing(Boots(tmp_path_factory.mktemp("job"))) as boots:
        yield boots


@pytest.fixture
def kernel(boots: Boots) -> lab.Kernel:
    return boots.kernel()


@pytest.fixture(scope="session")
def judge(boots: Boots) -> Judge:
    """Emulator against kernel, on the commands of the disk itself."""
    return Judge(boots.kernel(), emulator.run)


@pytest.fixture(scope="module")
def zonefs_judge(boots: Boots, needs: Callable[[str, bool, str], None]) -> Judge:
    """Our zonefs, at both its doors, against the kernel's."""
    needs("fuse", available() == "", available())
    needs("root", os.geteuid() == 0, "files of other users, and mounting for them")
    return Judge(
        boots.kernel(),
        DOORS,
        interpreter="guest_zonefs.py",
        libraries=("guest.py", "zonefs_calls.py"),
        known=ZONEFS_KNOWN,
    )


@pytest.fixture(scope="session")
def seed(note: Callable[[str], None]) -> int:
    """Fresh for each run; ZONED_KERNEL_SEED gives an earlier one."""
    chosen = int(os.environ.get("ZONED_KERNEL_SEED") or SystemRandom().randrange(10**9))
    note(f"random scenarios from ZONED_KERNEL_SEED={chosen}")
    return chosen


@pytest.fixture(scope="session")
def note(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Text for the end of the run, passed or failed."""
    return pytestconfig.stash.setdefault(NOTES, []).append


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What boots a kernel runs when it is asked for by name: -m kernel."""
    if "kernel" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("kernel")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("kernel")]
        text = f"{len(left_out)} tests left out: make test-kernel, or pytest -m kernel"
        config.stash.setdefault(NOTES, []).append(text)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for text in config.stash.get(NOTES, []):
        terminalreporter.write_line(f"kernel: {text}")
