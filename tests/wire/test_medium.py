"""What is said of the medium: GET LBA STATUS and READ DEFECT DATA."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scsi import cdb16
from wire.door import CHECK, GOOD, Answer, Door

Attach = Callable[..., Door]
BLOCK = 4096
ZONE = 256
SEQUENTIAL = 4 * ZONE
MAPPED, DEALLOCATED = 0, 1
END = 24 * ZONE

pytestmark = pytest.mark.program


def ask(door: Door, lba: int, allocation: int = 1 << 16) -> Answer:
    return door.send(bytes([0x9E, 0x12]) + cdb16(0, lba, allocation)[2:])


def status(door: Door, lba: int = 0, allocation: int = 1 << 16) -> list[tuple[int, int, int]]:
    """First block, number of blocks, provisioning status of each extent."""
    answer = ask(door, lba, allocation)
    assert answer.status == GOOD
    data = answer.data
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[4:8] == bytes(4)
    extents = [data[at : at + 16] for at in range(8, len(data), 16)]
    assert all(extent[13:] == bytes(3) for extent in extents)
    return [
        (int.from_bytes(extent[:8], "big"), int.from_bytes(extent[8:12], "big"), extent[12])
        for extent in extents
    ]


@pytest.mark.parametrize("model", [0, 1])
def test_what_is_stored_is_mapped(attach: Attach, model: int) -> None:
    door = attach(model=model)
    assert status(door) == [(0, END, DEALLOCATED)]
    door.write(SEQUENTIAL, 10)
    door.write(SEQUENTIAL + ZONE, ZONE)
    door.write(SEQUENTIAL + 2 * ZONE, 1)
    written = [
        (SEQUENTIAL, 10, MAPPED),
        (SEQUENTIAL + 10, ZONE - 10, DEALLOCATED),
        (SEQUENTIAL + ZONE, ZONE + 1, MAPPED),
        (SEQUENTIAL + 2 * ZONE + 1, END - SEQUENTIAL - 2 * ZONE - 1, DEALLOCATED),
    ]
    assert status(door) == [(0, SEQUENTIAL, DEALLOCATED), *written]
    door.write(ZONE + 7, 1)
    assert status(door) == [
        (0, ZONE, DEALLOCATED),
        (ZONE, ZONE, MAPPED),
        (2 * ZONE, 2 * ZONE, DEALLOCATED),
        *written,
    ]
    assert status(door, SEQUENTIAL + 3) == [(SEQUENTIAL + 3, 7, MAPPED), *written[1:]]
    assert status(door, SEQUENTIAL + 20)[0] == (SEQUENTIAL + 20, ZONE - 20, DEALLOCATED)
    door.zone(4, SEQUENTIAL)
    assert status(door, SEQUENTIAL)[0] == (SEQUENTIAL, ZONE, DEALLOCATED)


def test_finished_zones_tell_what_was_written(door: Door) -> None:
    door.write(SEQUENTIAL, 10)
    door.zone(2, SEQUENTIAL)
    assert status(door, SEQUENTIAL)[0] == (SEQUENTIAL, 10, MAPPED)
    for start, blocks, kind in status(door):
        for lba in {start, start + blocks - 1} if kind == DEALLOCATED else ():
            assert door.read(lba, 1).data == bytes(BLOCK), "as page B2h says"


def test_a_disk_without_conventional_zones_is_fully_provisioned(attach: Attach) -> None:
    door = attach(nr_conv=0)
    assert status(door) == [(0, END, MAPPED)]
    assert status(door, END - 1) == [(END - 1, 1, MAPPED)]


def test_extents_that_count_further_than_32_bits(attach: Attach) -> None:
    for nr_conv in (0, 1):
        door = attach(size=4 << 40, zone_size=1 << 38, logical_block=512, nr_conv=nr_conv)
        kind = DEALLOCATED if nr_conv else MAPPED
        most = (1 << 32) - 1
        assert status(door) == [(0, most, kind), (most, most, kind), (2 * most, 2, kind)]
        assert status(door, 0, 8 + 16) == [(0, most, kind)]


def test_as_many_extents_as_there_is_room(door: Door) -> None:
    door.write(SEQUENTIAL, 1)
    for extents in (1, 2, 3):
        assert len(status(door, 0, 8 + 16 * extents)) == extents
    assert len(status(door, 0, 8 + 16 * 3 + 15)) == 3
    assert status(door, 0, 0xFFFFFFFF) == status(door)
    for allocation in (0, 1, 8, 23):
        assert ask(door, 0, allocation).data == ask(door, 0, 24).data[:allocation]


def test_status_beyond_the_end(door: Door) -> None:
    for lba in (END, END + 1, 1 << 63, (1 << 64) - 1):
        answer = ask(door, lba)
        assert (answer.status, answer.codes) == (CHECK, (0x5, 0x21, 0x00))


def test_status_without_power(door: Door) -> None:
    door.power(False)
    assert ask(door, 0).sense_key == 0x2


def test_no_block_is_defective(door: Door) -> None:
    """Neither in the primary list nor in the grown one, in each format."""
    for asked in range(0x20):
        ten = door.send(bytes([0x37, 0, asked, 0, 0, 0, 0, 1, 0, 0]))
        twelve = door.send(bytes([0xB7, asked]) + bytes(7) + bytes([255, 0, 0]))
        if asked & 7 < 6:
            assert (ten.status, ten.data) == (GOOD, bytes([0, asked, 0, 0]))
            assert (twelve.status, twelve.data) == (GOOD, bytes([0, asked]) + bytes(6))
        else:
            assert (ten.field, twelve.field) == ((2, 2), (1, 2)), "there is no such format"
