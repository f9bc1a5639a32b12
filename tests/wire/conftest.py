"""The SCSI executor as a shared object, built once, and disks behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from wire.door import Door, Library, Shape, built


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return built(tmp_path_factory.mktemp("wire"))


@pytest.fixture(params=["at once", "later"])
def attach(library: Library, request: pytest.FixtureRequest) -> Iterator[Callable[..., Door]]:
    """``attach(max_open=3)``: a disk of that shape, with one initiator that was told of the power.

    Each test is run with requests that end at once, and with such as end in another thread.
    """
    doors: list[Door] = []
    library.door_later(request.param == "later")

    def make(*, quiet: bool = True, **shape: int) -> Door:
        door = Door(library, Shape(**shape))
        doors.append(door)
        door.login(0)
        if quiet:
            assert door.send(bytes(6)).sense_key == 0x6
        return door

    yield make
    for door in doors:
        door.close()


@pytest.fixture
def door(attach: Callable[..., Door]) -> Door:
    return attach()
