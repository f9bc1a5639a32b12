"""The SCSI executor against scsi_debug of a real kernel: random CDBs, other ones each run.

``ZONED_KERNEL_SEED`` repeats a run, ``ZONED_KERNEL_SCSI_STEPS`` sets how many commands each disk gets.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel import lab, scsi_commands
from wire.door import Library, built

HERE = Path(__file__).parent
STEPS = int(os.environ.get("ZONED_KERNEL_SCSI_STEPS") or 300)
pytestmark = pytest.mark.kernel


def where(ours: str, kernels: str) -> str:
    """The first 64 bytes that differ, which of a report is a zone."""
    for at in range(0, max(len(ours), len(kernels)), 128):
        if ours[at : at + 128] != kernels[at : at + 128]:
            return f"byte {at // 2}: {ours[at : at + 128]}, not {kernels[at : at + 128]}"
    return "the data is the same"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return built(tmp_path_factory.mktemp("wire"))


@pytest.mark.parametrize("name", scsi_commands.DISKS)
def test_random_commands(
    kernel: lab.Kernel, library: Library, seed: int, note: Callable[[str], None], name: str
) -> None:
    """Status, sense codes, data and every zone after every command, as scsi_debug has them."""
    asked, ours = scsi_commands.run(library, name, seed, STEPS)
    package = kernel.share / "kernel"
    package.mkdir(exist_ok=True)
    for module in ("guest.py", "guest_scsi.py"):
        shutil.copy(HERE / module, package / module)
    (kernel.share / "commands").write_text(json.dumps(asked) + "\n")
    done = kernel.run(
        [lab.python(), "-m", "kernel.guest_scsi", "/job/commands", "/job/answers"], timeout=3600
    )
    assert done.status == 0, done.output
    theirs = json.loads((kernel.share / "answers").read_text())
    note(f"SCSI, {name}: {len(ours):,} commands compared")
    assert len(theirs) == len(ours) == 2 * STEPS
    for at, (command, mine, kernels) in enumerate(
        zip(asked["commands"], ours, theirs, strict=True)
    ):
        drawn = [before["cdb"] for before in asked["commands"][: at + 1 : 2]]
        assert mine == kernels, (
            f"command {at} of {name} (ZONED_KERNEL_SEED={seed}): {command['cdb']}, "
            f"the last ones were {drawn[-6:]}; {where(mine[2], kernels[2])}"
        )


def test_a_difference_is_seen(library: Library) -> None:
    """Another limit of open zones, and the answers are other ones."""
    _, ours = scsi_commands.run(library, "plain", 1, 200)
    again = scsi_commands.run(library, "plain", 1, 200)
    assert again[1] == ours
    assert {answer[0] for answer in ours} == {0, 2}
    assert len({answer[1] for answer in ours}) > 6
