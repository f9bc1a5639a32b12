"""The SCSI executor as a shared object, built once, and disks behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wire import nvme_door
from wire.door import Door, Shape, built
from wire.doors import DiskDoor, Library
from wire.nvme_door import NvmeDoor


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return built(tmp_path_factory.mktemp("wire"))


@pytest.fixture
def doors() -> Iterator[list[DiskDoor[Any]]]:
    """Doors that are closed behind the test."""
    opened: list[DiskDoor[Any]] = []
    yield opened
    for door in opened:
        door.close()


@pytest.fixture(params=["at once", "later"])
def attach(
    library: Library, doors: list[DiskDoor[Any]], request: pytest.FixtureRequest
) -> Callable[..., Door]:
    """``attach(max_open=3)``: a disk of that shape, with one initiator that was told of the power.

    Each test is run with requests that end at once, and with such as end in another thread.
    """
    library.disk_later(request.param == "later")

    def make(*, quiet: bool = True, **shape: int) -> Door:
        door = Door(library, Shape(**shape))
        doors.append(door)
        door.login(0)
        if quiet:
            assert door.send(bytes(6)).sense_key == 0x6
        return door

    return make


@pytest.fixture
def door(attach: Callable[..., Door]) -> Door:
    return attach()


@pytest.fixture(scope="session")
def nvme_library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return nvme_door.built(tmp_path_factory.mktemp("nvme"))


@pytest.fixture(params=["at once", "later"])
def connect(
    nvme_library: Library, doors: list[DiskDoor[Any]], request: pytest.FixtureRequest
) -> Callable[..., NvmeDoor]:
    """``connect(max_open=3)``: a disk of that shape, to which one host is connected; as `attach`."""
    nvme_library.disk_later(request.param == "later")

    def make(**shape: int) -> NvmeDoor:
        door = NvmeDoor(nvme_library, nvme_door.Shape(**shape))
        doors.append(door)
        if door.code == 0:
            door.connect(0)
        return door

    return make


@pytest.fixture
def drive(connect: Callable[..., NvmeDoor]) -> NvmeDoor:
    return connect()
