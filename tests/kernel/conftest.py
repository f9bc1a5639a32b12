"""The kernel that the tests in this folder ask: booted once, and again only if a test has killed it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from random import SystemRandom

import pytest

from conftest import LONG
from kernel import emulator, lab
from kernel.attaching import Attached, attached
from kernel.judge import Judge
from kernel.zonefs_differences import KNOWN as ZONEFS_KNOWN
from kernel.zonefs_doors import DOORS
from zonefs.mounting import available

Attach = Callable[..., Attached]
SERIAL = count(1)
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


@pytest.fixture
def tools(needs: Callable[[str, bool, str], None]) -> Callable[..., None]:
    """``tools("blkzone", package="util-linux")``: programs that the guest is to run, each of them."""

    return partial(needed, needs=needs)


def needed(*names: str, package: str, needs: Callable[[str, bool, str], None]) -> None:
    """Skips, or fails where the package is required, without one of these programs."""
    there = all(shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") for name in names)
    needs(package, there, f"the kernel's disk is looked at by {', '.join(names)}")


def need(needs: Callable[[str, bool, str], None], door: str) -> None:
    """Programs of a door."""
    if door == "iscsi":
        needed("iscsid", "iscsiadm", package="open-iscsi", needs=needs)
    if door == "nvme":
        needed("nvme", package="nvme-cli", needs=needs)


@pytest.fixture
def attach(kernel: lab.Kernel, tools: Callable[..., None]) -> Iterator[Attach]:
    """``attach(disk={"zones": 16, ...})``: an exported disk in the kernel, until the test ends."""
    tools("iscsid", "iscsiadm", package="open-iscsi")
    with contextlib.ExitStack() as stack:
        yield lambda **how: stack.enter_context(attached(kernel, f"disk{next(SERIAL)}", **how))


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
    """What boots a kernel runs when it is asked for by name, -m kernel, and what takes long there in the long run."""

    def leave_out(marks: set[str], how: str) -> None:
        left_out = [item for item in items if marks <= {mark.name for mark in item.iter_markers()}]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
            text = f"{len(left_out)} tests left out: {how}"
            config.stash.setdefault(NOTES, []).append(text)

    if "kernel" not in config.option.markexpr:
        leave_out({"kernel"}, "make test-kernel, or pytest -m kernel")
    if not LONG:
        leave_out({"kernel", "long"}, "make test-kernel-long, or ZONED_LONG=1 pytest -m kernel")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for text in config.stash.get(NOTES, []):
        terminalreporter.write_line(f"kernel: {text}")
