"""REPORT ZONES with each option and length, and the commands that change zones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from wire.door import GOOD, Answer, Door

Attach = Callable[..., Door]
ZONE = 256
SEQUENTIAL = 4 * ZONE
INVALID_FIELD = (0x5, 0x24, 0x00)
OUT_OF_RANGE = (0x5, 0x21, 0x00)
CLOSE, FINISH, OPEN, RESET = 1, 2, 3, 4
NO_WP = (1 << 64) - 1

pytestmark = pytest.mark.program


@dataclass(frozen=True)
class Zone:
    start: int
    type: int
    cond: int
    length: int
    wp: int


def zones(answer: Answer) -> Iterator[Zone]:
    data = answer.data[64:]
    for at in range(0, len(data), 64):
        row = data[at : at + 64]
        assert row[2:8] == bytes(6)
        assert row[32:] == bytes(32)
        length, start, wp = (int.from_bytes(row[n : n + 8], "big") for n in (8, 16, 24))
        yield Zone(start, row[0], row[1] >> 4, length, wp)


def starts(answer: Answer) -> list[int]:
    return [zone.start for zone in zones(answer)]


def test_a_new_disk(door: Door) -> None:
    answer = door.zones()
    assert answer.data[:64] == (24 * 64).to_bytes(4, "big") + bytes(4) + (6143).to_bytes(
        8, "big"
    ) + bytes(48)
    assert list(zones(answer)) == [
        Zone(n * ZONE, 1 if n < 4 else 2, 0 if n < 4 else 1, ZONE, NO_WP if n < 4 else n * ZONE)
        for n in range(24)
    ]


def conditions(door: Door) -> None:
    """Zone 4 implicitly open, 5 explicitly, 6 closed, 7 full, 8 read-only, 9 offline, others as new."""
    for zone in (4, 6):
        assert door.write(zone * ZONE, 3).status == GOOD
    for zone, action in ((5, OPEN), (6, CLOSE), (7, FINISH)):
        assert door.zone(action, zone * ZONE).status == GOOD
    door.condition(8, 0xD)
    door.condition(9, 0xF)


OPTIONS = {
    0x00: list(range(24)),
    0x01: list(range(10, 24)),
    0x02: [4],
    0x03: [5],
    0x04: [6],
    0x05: [7],
    0x06: [8],
    0x07: [9],
    0x10: [],
    0x11: [],
    0x3E: list(range(24)),
    0x3F: [0, 1, 2, 3],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option(door: Door, option: int) -> None:
    conditions(door)
    expected = [zone * ZONE for zone in OPTIONS[option]]
    assert starts(door.zones(option=option)) == expected
    assert starts(door.zones(2 * ZONE + 5, option)) == [at for at in expected if at >= 2 * ZONE]
    for room in range(4):
        answer = door.zones(option=option, allocation=64 + 64 * room + 63)
        assert starts(answer) == expected[:room]
        assert int.from_bytes(answer.data[:4], "big") == 64 * len(expected)
        partial = door.zones(option=option, allocation=64 + 64 * room + 63, partial=True)
        assert starts(partial) == expected[:room]
        assert int.from_bytes(partial.data[:4], "big") == 64 * len(expected[:room])


def test_other_options(door: Door) -> None:
    for option in set(range(64)) - set(OPTIONS):
        answer = door.zones(option=option)
        assert (answer.codes, answer.field) == (INVALID_FIELD, (14, 5))


def test_write_pointers(door: Door) -> None:
    conditions(door)
    rows = {zone.start // ZONE: zone for zone in zones(door.zones())}
    assert rows[4].wp == 4 * ZONE + 3
    assert rows[5].wp == 5 * ZONE
    assert rows[6].wp == 6 * ZONE + 3
    assert rows[7].wp == 8 * ZONE
    assert rows[8].wp == rows[9].wp == NO_WP


@pytest.mark.parametrize("allocation", [0, 1, 63, 64, 65, 127, 128, 129, 1 << 31, (1 << 32) - 1])
def test_lengths(door: Door, allocation: int) -> None:
    whole = door.zones().data
    answer = door.zones(allocation=allocation)
    rows = min(24, max(0, allocation - 64) // 64)
    expected = 64 + 64 * rows if allocation >= 64 else allocation
    assert answer.data == whole[:expected]
    assert answer.residual_in == expected - door.room


def test_less_room_than_was_asked_for(door: Door) -> None:
    whole = door.zones().data
    for room in (0, 1, 63, 64, 100, 128, 200):
        cdb = bytes([0x95, 0]) + bytes(8) + (1 << 15).to_bytes(4, "big") + bytes(2)
        answer = door.send(cdb, room=room, cut=70)
        assert (answer.data, answer.residual_in) == (whole[:room], len(whole) - room)


@pytest.mark.parametrize("lba", [6144, 1 << 32, 1 << 63, (1 << 64) - 1])
def test_beyond_the_end(door: Door, lba: int) -> None:
    assert door.zones(lba).codes == OUT_OF_RANGE
    for action in (CLOSE, FINISH, OPEN, RESET):
        assert door.zone(action, lba).codes == OUT_OF_RANGE
        assert door.zone(action, lba, every=True).status == GOOD


def test_capacity_below_size_is_a_gap_zone(attach: Attach) -> None:
    door = attach(zone_capacity=768 * 1024)
    answer = door.zones()
    assert int.from_bytes(answer.data[16:24], "big") == ZONE
    rows = list(zones(answer))
    assert len(rows) == 4 + 2 * 20
    assert rows[3] == Zone(3 * ZONE, 1, 0, ZONE, NO_WP)
    assert rows[4:6] == [
        Zone(SEQUENTIAL, 2, 1, 192, SEQUENTIAL),
        Zone(SEQUENTIAL + 192, 5, 0, 64, NO_WP),
    ]
    assert [row.start + row.length for row in rows[:-1]] == [row.start for row in rows[1:]]
    assert starts(door.zones(SEQUENTIAL + 192))[0] == SEQUENTIAL + 192
    assert {row.type for row in zones(door.zones(option=0x3E))} == {1, 2}
    assert len(starts(door.zones(option=0x3F))) == 24
    assert door.write(SEQUENTIAL, 192).status == GOOD
    assert next(zones(door.zones(SEQUENTIAL))).wp == SEQUENTIAL + 192
    for action in (CLOSE, FINISH, OPEN, RESET):
        assert door.zone(action, SEQUENTIAL + 192).codes == INVALID_FIELD
    assert door.zone(RESET, SEQUENTIAL).status == GOOD


def test_a_smaller_last_zone(attach: Attach) -> None:
    door = attach(size=(24 << 20) - (300 << 10))
    assert list(zones(door.zones()))[-1] == Zone(23 * ZONE, 2, 1, ZONE - 75, 23 * ZONE)


def test_zone_commands(door: Door) -> None:
    def cond() -> int:
        return next(zones(door.zones(SEQUENTIAL))).cond

    for action, expected in ((OPEN, 3), (CLOSE, 1), (FINISH, 14), (RESET, 1)):
        assert door.zone(action, SEQUENTIAL).status == GOOD
        assert cond() == expected
        assert door.zone(action, SEQUENTIAL + 1).field == (2, 7)
        assert door.zone(action, 0).codes == INVALID_FIELD, "conventional"


def test_all_zones(door: Door) -> None:
    conditions(door)
    assert door.zone(CLOSE, 77, every=True).status == GOOD
    assert starts(door.zones(option=4)) == [SEQUENTIAL, 6 * ZONE]
    assert door.zone(OPEN, 0, every=True).status == GOOD
    assert starts(door.zones(option=3)) == [SEQUENTIAL, 6 * ZONE]
    assert door.zone(FINISH, 0, every=True).status == GOOD
    assert starts(door.zones(option=5)) == [SEQUENTIAL, 6 * ZONE, 7 * ZONE]
    assert door.zone(RESET, 0, every=True).status == GOOD
    assert starts(door.zones(option=5)) == []


def test_a_number_of_zones(door: Door) -> None:
    assert door.zone(FINISH, SEQUENTIAL, count=3).status == GOOD
    assert starts(door.zones(option=5)) == [SEQUENTIAL, 5 * ZONE, 6 * ZONE]
    assert door.zone(RESET, 5 * ZONE, count=1).status == GOOD
    assert door.zone(RESET, 6 * ZONE, count=18).status == GOOD
    assert starts(door.zones(option=5)) == [SEQUENTIAL]
    assert door.zone(RESET, SEQUENTIAL, count=21).field == (12, 7)
    assert door.zone(RESET, 3 * ZONE, count=2).codes == INVALID_FIELD
    assert starts(door.zones(option=5)) == [SEQUENTIAL]


def test_many_zones(attach: Attach) -> None:
    """More than one look at the disk gives, all counted."""
    door = attach(size=1000 << 20, nr_conv=1, max_open=0)
    door.room = 1 << 17
    answer = door.zones(allocation=1 << 17)
    assert starts(answer) == [zone * ZONE for zone in range(1000)]
    assert int.from_bytes(door.zones(700 * ZONE, 1, allocation=64).data[:4], "big") == 300 * 64
