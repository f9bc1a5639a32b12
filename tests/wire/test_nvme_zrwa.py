"""Random write areas (ZRWA) by NVMe: what IDENTIFY tells, and the status of everything that asks for one or meets one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wire.nvme_door import ZNS, Code, NvmeDoor, at

pytestmark = pytest.mark.program

CLOSE, FINISH, OPEN, RESET, COMMIT = 1, 2, 3, 4, 0x11
WITH_AREA = 1 << 9
ZRWAV = 1 << 3
INVALID_ZONE_OP, UNAVAILABLE = 0x1B6, 0x1B7
AREA, GRANULE = 8, 2
"""Blocks."""


@pytest.fixture
def drive(connect: Callable[..., NvmeDoor]) -> NvmeDoor:
    return connect(zrwa_size=AREA * 4096, zrwa_granularity=GRANULE * 4096, zrwa_count=2)


def start(drive: NvmeDoor, zone: int) -> int:
    return zone * drive.zone_blocks


def open_with(drive: NvmeDoor, zone: int, action: int = OPEN) -> int:
    return drive.send(at(0x79, ZNS, start(drive, zone), d13=action | WITH_AREA)).status


def commit(drive: NvmeDoor, zone: int, blocks: int) -> int:
    """So many of the zone's blocks are committed."""
    return drive.send(at(0x79, ZNS, start(drive, zone) + blocks - 1, d13=COMMIT)).status


def zone(drive: NvmeDoor, index: int) -> tuple[int, int, int]:
    """Condition, attributes, and the write pointer from the zone's start on."""
    data = drive.zones(start(drive, index)).data[64:128]
    return data[1] >> 4, data[2], int.from_bytes(data[24:32], "little") - start(drive, index)


def write(drive: NvmeDoor, zone: int, block: int, blocks: int = 1, fill: int = 0x5A) -> int:
    return drive.write(start(drive, zone) + block, blocks, fill).status


def blocks(drive: NvmeDoor, zone: int, count: int) -> bytes:
    """The first byte of each."""
    return drive.read(start(drive, zone), count).data[: count * drive.block : drive.block]


def test_the_namespace_tells_of_them(drive: NvmeDoor, connect: Callable[..., NvmeDoor]) -> None:
    told = drive.identify(5, ZNS, 2)
    assert told.number(2, 2) & 2 == 2
    assert (told.number(44, 4), told.number(48, 2), told.number(50, 2), told.data[52]) == (
        *(2, GRANULE, AREA, 1),
    )
    without = connect().identify(5, ZNS, 2)
    assert without.number(2, 2) & 2 == 0
    assert without.data[44:53] == bytes(9)


def test_an_area_is_written_anywhere_and_committed(drive: NvmeDoor) -> None:
    assert open_with(drive, 2) == Code.SUCCESS
    assert zone(drive, 2) == (3, ZRWAV, 0)
    assert write(drive, 2, 3, fill=1) == Code.SUCCESS
    assert write(drive, 2, 0, fill=2) == Code.SUCCESS
    assert write(drive, 2, 3, fill=3) == Code.SUCCESS
    assert zone(drive, 2) == (3, ZRWAV, 0)
    assert blocks(drive, 2, 5) == bytes([2, 0, 0, 3, 0])
    assert commit(drive, 2, 2) == Code.SUCCESS
    assert zone(drive, 2) == (3, ZRWAV, 2)
    assert write(drive, 2, 1) == Code.INVALID_WRITE
    # An implicit commit: the write's end lies in the area again, in whole granules.
    assert write(drive, 2, AREA + 2) == Code.SUCCESS
    assert zone(drive, 2) == (3, ZRWAV, 4)
    assert write(drive, 2, 3) == Code.INVALID_WRITE
    assert write(drive, 2, 4 + 2 * AREA) == Code.INVALID_WRITE
    assert write(drive, 2, 4 + 2 * AREA - 1) == Code.SUCCESS
    assert zone(drive, 2) == (3, ZRWAV, 4 + AREA)


def test_statuses_of_an_open(drive: NvmeDoor) -> None:
    assert open_with(drive, 1) == Code.SUCCESS
    assert open_with(drive, 1) == Code.SUCCESS, "it has one, and keeps it"
    assert open_with(drive, 2) == Code.SUCCESS
    assert open_with(drive, 3) == UNAVAILABLE
    assert zone(drive, 3) == (1, 0, 0)
    assert drive.zone(RESET, 2).status == Code.SUCCESS
    assert write(drive, 3, 0) == Code.SUCCESS
    assert open_with(drive, 3) == UNAVAILABLE, "not on a granule"
    assert write(drive, 3, 1) == Code.SUCCESS
    assert open_with(drive, 3) == Code.SUCCESS
    assert zone(drive, 3) == (3, ZRWAV, 2)
    assert drive.zone(FINISH, 4).status == Code.SUCCESS
    assert open_with(drive, 4) == Code.TRANSITION
    assert open_with(drive, 0, CLOSE) == Code.INVALID_FIELD
    assert drive.send(at(0x79, ZNS, 0, d13=OPEN | WITH_AREA | 1 << 8)).status == Code.INVALID_FIELD
    assert drive.send(at(0x79, ZNS, 1, d13=OPEN | WITH_AREA)).status == Code.INVALID_FIELD


@pytest.mark.parametrize(
    ("limit", "status"), [("max_active", Code.TOO_MANY_ACTIVE), ("max_open", Code.TOO_MANY_OPEN)]
)
def test_limits_of_zones_come_first(
    connect: Callable[..., NvmeDoor], limit: str, status: int
) -> None:
    limits = (
        {"max_open": 1, "max_active": 3}
        if limit == "max_open"
        else {"max_open": 1, "max_active": 1}
    )
    drive = connect(zrwa_size=AREA * 4096, zrwa_granularity=GRANULE * 4096, zrwa_count=1, **limits)
    assert open_with(drive, 1) == Code.SUCCESS
    assert open_with(drive, 2) == status


def test_statuses_of_a_commit(drive: NvmeDoor) -> None:
    assert commit(drive, 1, GRANULE) == Code.INVALID_FIELD, "no area"
    assert open_with(drive, 1) == Code.SUCCESS
    assert write(drive, 1, 0, 3) == Code.SUCCESS
    assert commit(drive, 1, 1) == Code.INVALID_FIELD, "no granule"
    assert commit(drive, 1, AREA + GRANULE) == Code.BOUNDARY
    assert commit(drive, 1, AREA) == Code.SUCCESS
    assert commit(drive, 1, AREA) == Code.BOUNDARY, "nothing is left to be committed"
    assert zone(drive, 1) == (3, ZRWAV, AREA)
    assert blocks(drive, 1, AREA) == bytes([0x5A] * 3 + [0] * (AREA - 3))
    assert drive.zone(CLOSE, 1).status == Code.SUCCESS
    assert zone(drive, 1) == (4, ZRWAV, AREA)
    assert commit(drive, 1, 2 * AREA) == Code.SUCCESS
    assert zone(drive, 1) == (2, ZRWAV, 2 * AREA)
    assert drive.send(at(0x79, ZNS, 1 << 40, d13=COMMIT)).status == Code.LBA_RANGE
    assert drive.send(at(0x79, ZNS, 0, d13=COMMIT | 1 << 8)).status == Code.INVALID_FIELD


def test_what_meets_an_area(drive: NvmeDoor) -> None:
    assert open_with(drive, 1) == Code.SUCCESS
    assert drive.append(start(drive, 1), 1).status == INVALID_ZONE_OP
    assert drive.send(at(0x08, ZNS, start(drive, 1) + 2, 0)).status == Code.SUCCESS  # WRITE ZEROES
    assert drive.spoil(start(drive, 1) + 3, 1).status == Code.SUCCESS
    assert drive.read(start(drive, 1) + 3, 1).status == 0x281
    assert write(drive, 1, 3, fill=7) == Code.SUCCESS
    assert drive.copy(start(drive, 1) + 5, (start(drive, 1) + 3, 1)).status == Code.SUCCESS
    assert blocks(drive, 1, 7) == bytes([0, 0, 0, 7, 0, 7, 0])


@pytest.mark.parametrize("end", ["reset", "finish", "commit"])
def test_an_area_is_given_back(drive: NvmeDoor, end: str) -> None:
    assert open_with(drive, 1) == Code.SUCCESS
    assert open_with(drive, 2) == Code.SUCCESS
    if end == "commit":
        for upto in range(AREA, drive.capacity + 1, AREA):
            assert commit(drive, 1, upto) == Code.SUCCESS
    else:
        assert drive.zone({"reset": RESET, "finish": FINISH}[end], 1).status == Code.SUCCESS
    condition, attributes, _ = zone(drive, 1)
    assert (condition, attributes) == (1 if end == "reset" else 0xE, 0)
    assert open_with(drive, 3) == Code.SUCCESS
    if end != "reset":
        assert write(drive, 1, 0) == Code.FULL
