"""What happens to the disk by others, and by itself, and how each initiator is told of it."""

from __future__ import annotations

import pytest

from scsi import cdb10
from wire.door import CHECK, CONFLICT, GOOD, Door
from wire.doors import KIB

pytestmark = pytest.mark.program

pytestmark = pytest.mark.program

BLOCK = 4 * KIB
SEQUENTIAL = 4 * 256
POWER_ON, PARAMETERS, MEDIUM = (0x6, 0x29, 0x00), (0x6, 0x2A, 0x00), (0x6, 0x28, 0x00)
READY = bytes(6)
RESERVE = bytes([0x16, 0, 0, 0, 0, 0])
EMPTY, READ_ONLY, OFFLINE = 1, 0xD, 0xF


@pytest.fixture
def two(door: Door) -> Door:
    """Two initiators that know of the power."""
    door.login(1)
    assert door.send(READY, nexus=1).codes == POWER_ON
    return door


def told(door: Door, *codes: tuple[int, int, int]) -> None:
    """Each initiator hears these, in this order, once."""
    for nexus in (0, 1):
        assert [door.send(READY, nexus=nexus).codes for _ in codes] == list(codes)
        assert door.send(READY, nexus=nexus).status == GOOD


def cut(door: Door) -> None:
    door.power(False)
    for nexus in (0, 1):
        assert door.send(READY, nexus=nexus).codes == (0x2, 0x04, 0x00)


def on(door: Door) -> None:
    door.power(True)


def registered(door: Door, nexus: int, key: int) -> int:
    """PERSISTENT RESERVE OUT REGISTER of a key where none was."""
    cdb = bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0])
    return door.send(cdb, bytes(8) + key.to_bytes(8, "big") + bytes(8), nexus=nexus).status


def test_power_that_comes_back(two: Door) -> None:
    cut(two)
    on(two)
    told(two, POWER_ON)


def test_power_that_was_never_away_is_no_news(two: Door) -> None:
    on(two)
    told(two)


def test_a_power_cycle(two: Door) -> None:
    assert two.library.door_cycle(two.handle) == 0
    told(two, POWER_ON)


def test_an_old_look_tells_nothing_again(two: Door) -> None:
    """A thread's look may be older than another's, which has told by then: it goes by, and so does the next one."""
    assert two.library.door_keep_news(two.handle) == 0
    assert two.library.door_cycle(two.handle) == 0
    two.set_condition(5, OFFLINE)
    two.go_back()
    told(two, POWER_ON, MEDIUM, PARAMETERS)
    assert two.send(RESERVE).status == GOOD
    two.library.door_old_looks(1)
    try:
        assert two.send(READY).status == GOOD
    finally:
        two.library.door_old_looks(0)
    assert two.send(READY).status == GOOD
    assert two.send(READY, nexus=1).status == CONFLICT, "the reservation is still there"


def test_without_power_nothing_is_kept(two: Door) -> None:
    """Reservations, registrations, mode pages and a stopped unit are as at first."""
    assert registered(two, 0, 0xABC) == GOOD
    reserve = bytes([0x5F, 1, 1, 0, 0, 0, 0, 0, 24, 0])
    assert two.send(reserve, (0xABC).to_bytes(8, "big") + bytes(16)).status == GOOD
    assert two.send(cdb10(0x2A, 0, 1), bytes(BLOCK), nexus=1).status == CONFLICT
    mode = bytes(4) + bytes.fromhex("0a0a04100040000000000000")
    assert two.send(bytes([0x15, 0x10, 0, 0, 16, 0]), mode).status == GOOD
    assert two.send(bytes([0x1B, 0, 0, 0, 0, 0])).status == GOOD
    two.power(False)
    on(two)
    told(two, POWER_ON)
    assert two.send(cdb10(0x2A, 0, 1), bytes(BLOCK), nexus=1).status == GOOD
    assert two.send(bytes([0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0])).data == bytes(8)
    assert two.send(bytes([0x1A, 8, 0x0A, 0, 255, 0])).data[6] == 0
    assert two.send(bytes([0xFF])).sense[0] == 0x70, "fixed sense again"
    assert two.send(RESERVE).status == GOOD
    assert two.send(READY, nexus=1).status == CONFLICT
    assert two.library.door_cycle(two.handle) == 0
    assert two.send(RESERVE, nexus=1).codes == POWER_ON
    assert two.send(RESERVE, nexus=1).status == GOOD


@pytest.mark.parametrize("condition", [READ_ONLY, OFFLINE])
def test_zones_that_die(two: Door, condition: int) -> None:
    for zone, now in ((5, condition), (5, EMPTY), (0, condition)):
        two.set_condition(zone, now)
        told(two, PARAMETERS)
    two.set_condition(6, condition)
    two.set_condition(7, condition)
    told(two, PARAMETERS)
    assert two.zones(6 * 256).data[65] >> 4 == condition


@pytest.mark.parametrize("offline", [0, 1])
def test_a_zone_that_dies_under_a_command(two: Door, offline: int) -> None:
    """The command says what it met, and whoever comes next what has happened."""
    assert two.library.door_kill_zone(two.handle, 1, 5, offline) == 0
    died = (0x7, 0x2C, 0x0E) if offline else (0x7, 0x27, 0x08)
    assert two.send(cdb10(0x2A, 5 * 256, 1), bytes(BLOCK)).codes == died
    told(two, PARAMETERS)
    assert two.send(cdb10(0x2A, 5 * 256, 1), bytes(BLOCK)).codes == died


def test_going_back_to_a_snapshot(two: Door) -> None:
    two.go_back()
    told(two, MEDIUM)


def test_all_at_once_in_their_order(two: Door) -> None:
    """Power first: what else a host must look at, it looks at then."""
    two.set_condition(5, OFFLINE)
    two.go_back()
    assert two.library.door_cycle(two.handle) == 0
    told(two, POWER_ON, MEDIUM, PARAMETERS)


def test_request_sense_tells_it_too(two: Door) -> None:
    two.set_condition(5, OFFLINE)
    data = two.send(bytes([0x03, 0, 0, 0, 252, 0])).data
    assert (data[2] & 15, data[12], data[13]) == PARAMETERS
    assert two.send(READY).status == GOOD
    assert two.send(READY, nexus=1).status == CHECK


def test_plain_commands_of_others_are_no_news(two: Door) -> None:
    assert two.write(SEQUENTIAL, 3).status == GOOD
    assert two.zone(4, SEQUENTIAL).status == GOOD
    assert two.zone(2, SEQUENTIAL).status == GOOD
    assert two.send(READY, nexus=1).status == GOOD
