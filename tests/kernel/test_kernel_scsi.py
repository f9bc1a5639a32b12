"""The SCSI executor against scsi_debug of a real kernel: random CDBs, other ones each run.

``ZONED_KERNEL_SEED`` repeats a run, ``ZONED_KERNEL_SCSI_STEPS`` sets how many commands each disk gets.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from conftest import LONG
from kernel import lab, scsi_commands
from kernel.conftest import Attach
from kernel.scsi_commands import FINISH, OPEN, RESET, Given, memory, unrecommended
from scsi import cdb16, report_zones
from wire.door import Library, built

HERE = Path(__file__).parent
GIVEN = int(os.environ.get("ZONED_KERNEL_SCSI_STEPS") or (5000 if LONG else 0))
STEPS = GIVEN or 300
THROUGH = GIVEN or 150
"""Through the initiator: an emulated one takes its time."""
pytestmark = pytest.mark.kernel


def read(lba: int, blocks: int = 1) -> Given:
    return Given(cdb16(0x88, lba, blocks).hex(), room=blocks * 4096)


def write(lba: int, blocks: int = 1) -> Given:
    return Given(cdb16(0x8A, lba, blocks).hex(), "5a" * 4096, times=blocks)


def zone(action: int, number: int, beside: int = 0) -> Given:
    """A command for a zone of the plain disk, or for an address so many blocks behind its start."""
    return Given(cdb16(0x94, number * 256 + beside, 0, action).hex())


def where(ours: str, kernels: str) -> str:
    """The first 64 bytes that differ, which of a report is a zone."""
    for at in range(0, max(len(ours), len(kernels)), 128):
        if ours[at : at + 128] != kernels[at : at + 128]:
            return f"byte {at // 2}: {ours[at : at + 128]}, not {kernels[at : at + 128]}"
    return "the data is the same"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return built(tmp_path_factory.mktemp("wire"))


Asked = dict[str, Any]
Answers = list[list[Any]]


def asked_of(kernel: lab.Kernel, asked: Asked, node: str = "") -> Answers:
    """What scsi_debug answers to commands, or the disk behind a node of sg."""
    package = kernel.share / "kernel"
    package.mkdir(exist_ok=True)
    for module in ("guest.py", "guest_scsi.py"):
        shutil.copy(HERE / module, package / module)
    shutil.copy(HERE.parent / "scsi.py", kernel.share / "scsi.py")
    (kernel.share / "commands").write_text(json.dumps(asked) + "\n")
    words = [lab.python(), "-m", "kernel.guest_scsi", "/job/commands", "/job/answers"]
    done = kernel.run([*words, node] if node else words, timeout=3600)
    assert done.status == 0, done.output
    (answers,) = map(json.loads, (kernel.share / "answers").read_text().splitlines())
    return list(answers)


def compare(name: str, seed: int, asked: Asked, ours: Answers, theirs: Answers) -> None:
    """Status, sense codes, data and every zone after every command."""
    assert len(theirs) == len(ours) == len(asked["commands"])
    for at, (command, mine, other) in enumerate(zip(asked["commands"], ours, theirs, strict=True)):
        drawn = [before["cdb"] for before in asked["commands"][: at + 1 : 2]]
        assert mine == other, (
            f"command {at} of {name} (ZONED_KERNEL_SEED={seed}): {command['cdb']}, "
            f"the last ones were {drawn[-6:]}; {where(mine[2], other[2])}"
        )


@pytest.mark.parametrize("name", scsi_commands.DISKS)
def test_random_commands(
    kernel: lab.Kernel, library: Library, seed: int, note: Callable[[str], None], name: str
) -> None:
    """The executor, called directly, answers as scsi_debug does."""
    asked, ours = scsi_commands.run(library, name, seed, STEPS)
    compare(name, seed, asked, ours, asked_of(kernel, asked))
    note(f"SCSI, {name}: {len(ours):,} commands compared")


@pytest.mark.parametrize("name", scsi_commands.DISKS if LONG else ["plain"])
def test_random_commands_through_the_initiator(
    kernel: lab.Kernel,
    attach: Attach,
    library: Library,
    seed: int,
    note: Callable[[str], None],
    name: str,
) -> None:
    """An exported disk in the kernel and scsi_debug answer the same to SG_IO, and the executor did so, too."""
    asked, ours = scsi_commands.run(library, name, seed, THROUGH)
    shape = scsi_commands.DISKS[name]
    disk = attach(disk=memory(shape), block=shape.model == "host-managed")
    attached = asked_of(kernel, asked, disk.sg)
    for command, answer in zip(asked["commands"], attached, strict=True):
        if command["cdb"].startswith("95"):
            answer[2] = unrecommended(bytes.fromhex(answer[2])).hex()
    compare(f"{name}, attached", seed, asked, ours, attached)
    compare(f"{name}, attached, and scsi_debug", seed, asked, attached, asked_of(kernel, asked))
    note(f"SCSI, {name}, through the initiator: {len(ours):,} commands compared")


ZONE = 256
"""Blocks of a zone of the plain disk, whose zones 0 to 3 are conventional and of which 6 may be open."""
BROKEN: dict[str, tuple[list[Given], str]] = {
    "an unaligned write": ([write(4 * ZONE + 1)], "5/21/04"),
    "a write behind the write pointer": ([write(4 * ZONE), write(4 * ZONE)], "5/21/04"),
    "a write over a zone's end": ([write(4 * ZONE, ZONE - 1), write(5 * ZONE - 1, 2)], "5/21/05"),
    "a write to a full zone": ([zone(FINISH, 4), write(5 * ZONE - 1)], "5/24/00"),
    "a write from a conventional zone into a sequential one": ([write(4 * ZONE - 1, 2)], "5/21/05"),
    "a write over the disk's end": ([write(24 * ZONE - 1, 2)], "5/21/00"),
    "a read over the disk's end": ([read(24 * ZONE - 1, 2)], "5/21/00"),
    "a read at the disk's end": ([read(24 * ZONE)], "5/21/00"),
    "a read from a zone into another kind": ([read(4 * ZONE - 1, 2)], "5/21/06"),
    "one zone too many": ([zone(OPEN, at) for at in range(4, 11)], "7/55/0e"),
    "a write where all are open": (
        [*(zone(OPEN, at) for at in range(4, 10)), write(10 * ZONE)],
        "7/55/0e",
    ),
    "an open of a conventional zone": ([zone(OPEN, 3)], "5/24/00"),
    "a finish of a conventional zone": ([zone(FINISH, 3)], "5/24/00"),
    "a reset of a conventional zone": ([zone(RESET, 3)], "5/24/00"),
    "an open amid a zone": ([zone(OPEN, 4, 1)], "5/24/00"),
    "a reset amid a zone": ([zone(RESET, 4, 1)], "5/24/00"),
    "an open beyond the disk": ([zone(OPEN, 24)], "5/21/00"),
    "a report beyond the disk": (
        [Given(report_zones(24 * ZONE, 4096).hex(), room=4096)],
        "5/21/00",
    ),
    "an unknown reporting option": (
        [Given(report_zones(0, 4096, 0x3A).hex(), room=4096)],
        "5/24/00",
    ),
    "no such action": ([zone(0x1F, 4)], "5/24/00"),
    "no such command": ([Given("c0" + "00" * 9)], "5/20/00"),
}


def test_each_broken_rule_gives_scsi_debugs_sense(kernel: lab.Kernel, attach: Attach) -> None:
    """One after the other, with all zones reset between them."""
    plain = scsi_commands.PLAIN
    every = Given("9404" + "00" * 12 + "0100")
    commands = [given for rule in BROKEN.values() for given in [*rule[0], every]]
    asked = {"disk": asdict(plain), "commands": [asdict(given) for given in commands]}
    attached = asked_of(kernel, asked, attach(disk=memory(plain)).sg)
    found = iter(zip(attached, asked_of(kernel, asked), strict=True))
    for rule, (steps, codes) in BROKEN.items():
        *before, (ours, theirs), after = [next(found) for _ in [*steps, every]]
        assert all(mine[:2] == other[:2] == [0, ""] for mine, other in [*before, after]), rule
        assert ours[:2] == theirs[:2] == [2, codes], rule


def test_a_difference_is_seen(library: Library) -> None:
    """Another limit of open zones, and the answers are other ones."""
    _, ours = scsi_commands.run(library, "plain", 1, 200)
    again = scsi_commands.run(library, "plain", 1, 200)
    assert again[1] == ours
    assert {answer[0] for answer in ours} == {0, 2}
    assert len({answer[1] for answer in ours}) > 6
