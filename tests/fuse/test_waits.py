"""Mounts whose process was stopped: whoever would have to ask them gives up, and says whom it waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from fuse.tools import serving, zonedctl
from waiting import PATIENCE, until


@pytest.fixture
def stopped(disk: str, place: Path) -> Iterator[Popen[str]]:
    child = serving(disk, place)
    child.send_signal(signal.SIGSTOP)
    until(
        lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T",
        "the mount's process is stopped",
    )
    yield child
    child.send_signal(signal.SIGCONT)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=PATIENCE)


def test_the_image_is_mounted_again_all_the_same(stopped, disk, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    child = serving(disk, second)
    (second / "seq/0").write_bytes(b"x")
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=PATIENCE)


def test_a_signal_just_as_it_goes_on_ends_it(disk: str, place: Path, long_run: bool) -> None:
    """It may come between Python's last look for signals and the wait for the end."""
    for _ in range(200 if long_run else 3):
        child = serving(disk, place)
        child.send_signal(signal.SIGSTOP)
        child.send_signal(signal.SIGTERM)
        child.send_signal(signal.SIGCONT)
        child.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    "command", [["mount", "disk", "place"], ["mount", "-f", "disk", "place"], ["remount", "place"]]
)
def test_who_needs_its_answer_says_whom_it_waited_for(stopped, disk, place, command):
    words = [{"disk": disk, "place": place}.get(word, word) for word in command]
    done = zonedctl(*words)
    assert done.returncode == 1
    assert f"{place} does not answer: process {stopped.pid} (" in done.stderr
    assert f"kill -CONT {stopped.pid}" in done.stderr


def test_mkfs_of_its_disk_is_refused(stopped, disk, place):
    done = zonedctl("mkfs", disk)
    assert done.returncode == 1
    assert f"is mounted at {place}" in done.stderr
    assert os.path.exists(disk)
