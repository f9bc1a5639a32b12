"""What the tests of the mount share: a disk with a zonefs, a directory, and nothing left mounted behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zoned
import zonefs
from zoned import mounts
from zonefs import attach
from zonefs.mounting import available

ZONE = 8 << 20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.fuse)


@pytest.fixture(autouse=True)
def fuse(needs: Callable[[str, bool, str], None]) -> None:
    needs("fuse", available() == "", available())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory; when the test ends nothing may be mounted there."""
    where = tmp_path / "mount"
    where.mkdir()
    yield where
    left = [entry for entry in mounts.entries() if entry.path.startswith(str(tmp_path))]
    for entry in reversed(left):
        attach.detach(entry.path, lazy=True)
    assert not left, f"still mounted: {left}"


@pytest.fixture
def disk(shm: Path) -> str:
    """Path of an image with a zonefs: cnv/0, and seq/0 to seq/9 of 8 MiB."""
    return make_disk(shm)


def make_disk(folder: Path, name: str = "disk.img", **keywords) -> str:
    path = str(folder / name)
    options = {"size": 12 * ZONE, "zone_size": ZONE, "conventional": 2, "max_open": 0}
    with zoned.create(path, **(options | keywords)) as device:
        zonefs.mkfs(device)
    return path


@pytest.fixture
def small(request, tmp_path: Path, needs: Callable[[str, bool, str], None]) -> Iterator[Path]:
    """A host's file system of this size."""
    needs("root", os.geteuid() == 0, "a small tmpfs")
    folder = tmp_path / "small"
    folder.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={request.param}", "tmpfs")
    subprocess.run(["mount", *options, str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["default", "strict"])
def mounted(request, disk: str, place: Path) -> Iterator[zonefs.Mount]:
    with zonefs.mount(disk, place, strict=request.param == "strict") as mount:
        yield mount
