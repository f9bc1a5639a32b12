"""RESERVE and RELEASE, and persistent reservations of each type."""

from __future__ import annotations

import pytest

from wire.door import CONFLICT, GOOD, Answer, Door, cdb10

BLOCK = 4096
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, ABORT, IGNORE = range(7)
TYPES = (1, 3, 5, 6, 7, 8)
PREEMPTED, RELEASED, UNREGISTERED = (0x6, 0x2A, 0x03), (0x6, 0x2A, 0x04), (0x6, 0x2A, 0x05)

pytestmark = pytest.mark.program


@pytest.fixture
def hosts(door: Door) -> Door:
    """Three initiators: 0, 1 and 2."""
    for nexus in (1, 2):
        door.login(nexus)
        door.send(bytes(6), nexus=nexus)
    return door


def out(
    door: Door, nexus: int, action: int, key: int = 0, other: int = 0, kind: int = 0, flags: int = 0
) -> Answer:
    listed = key.to_bytes(8, "big") + other.to_bytes(8, "big") + bytes([0, 0, 0, 0, flags, 0, 0, 0])
    return door.send(
        bytes([0x5F, action, kind, 0, 0]) + (24).to_bytes(4, "big") + b"\0", listed, nexus=nexus
    )


def told(door: Door, action: int, nexus: int = 0) -> bytes:
    return door.send(bytes([0x5E, action, 0, 0, 0, 0, 0, 2, 0, 0]), nexus=nexus).data


def keys(door: Door) -> list[int]:
    data = told(door, 0)[8:]
    return [int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data), 8)]


def holder(door: Door) -> tuple[int, int] | None:
    data = told(door, 1)
    return (int.from_bytes(data[8:16], "big"), data[21]) if len(data) > 8 else None


def can(door: Door, nexus: int) -> str:
    """What of reading and writing it may."""
    read = door.send(cdb10(0x28, 0, 1), room=BLOCK, nexus=nexus).status
    write = door.send(cdb10(0x2A, 0, 1), bytes(BLOCK), nexus=nexus).status
    assert {read, write} <= {GOOD, CONFLICT}
    return "r" * (read == GOOD) + "w" * (write == GOOD)


@pytest.mark.parametrize("ten", [0, 0x40])
def test_reserve_and_release(hosts: Door, ten: int) -> None:
    length = 10 if ten else 6
    reserve, release = (bytes([op + ten]) + bytes(length - 1) for op in (0x16, 0x17))
    assert hosts.send(reserve).status == GOOD
    assert hosts.send(reserve).status == GOOD
    assert hosts.send(reserve, nexus=1).status == CONFLICT
    assert [can(hosts, nexus) for nexus in range(3)] == ["rw", "", ""]
    assert hosts.send(bytes(6), nexus=1).status == CONFLICT
    assert hosts.send(bytes([0x12, 0, 0, 0, 36, 0]), nexus=1).status == GOOD
    assert out(hosts, 1, REGISTER, 0, 1).status == CONFLICT
    assert hosts.send(release, nexus=1).status == GOOD
    assert can(hosts, 1) == "", "released by another"
    assert hosts.send(release).status == GOOD
    assert can(hosts, 1) == "rw"


def test_reserve_ends_with_the_nexus_and_by_a_reset(hosts: Door) -> None:
    assert hosts.send(bytes([0x16]) + bytes(5), nexus=1).status == GOOD
    assert can(hosts, 0) == ""
    hosts.logout(1)
    assert can(hosts, 0) == "rw"
    assert hosts.send(bytes([0x16]) + bytes(5), nexus=2).status == GOOD
    assert hosts.reset(0) == 0
    hosts.send(bytes(6))
    assert can(hosts, 0) == "rw"


def test_register(hosts: Door) -> None:
    assert out(hosts, 0, REGISTER, 5, 7).status == CONFLICT, "it has no key yet"
    assert out(hosts, 0, REGISTER, 0, 7).status == GOOD
    assert out(hosts, 1, IGNORE, 99, 8).status == GOOD
    assert out(hosts, 0, REGISTER, 0, 9).status == CONFLICT
    assert out(hosts, 0, REGISTER, 7, 9).status == GOOD
    assert keys(hosts) == [9, 8]
    assert told(hosts, 0)[:4] == (3).to_bytes(4, "big")
    assert out(hosts, 0, REGISTER, 9, 0).status == GOOD
    assert out(hosts, 2, IGNORE, 0, 0).status == GOOD
    assert keys(hosts) == [8]
    assert hosts.send(bytes([0x16]) + bytes(5)).status == CONFLICT


@pytest.mark.parametrize("kind", TYPES)
def test_each_type(hosts: Door, kind: int) -> None:
    """0 holds it, 1 is registered, 2 is a stranger."""
    for nexus in (0, 1):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    assert out(hosts, 2, RESERVE, 0, 0, kind).status == CONFLICT
    assert out(hosts, 0, RESERVE, 1, 0, kind).status == GOOD
    assert out(hosts, 0, RESERVE, 1, 0, kind).status == GOOD
    assert holder(hosts) == (0 if kind >= 7 else 1, kind)
    stranger = "r" if kind in (1, 5, 7) else ""
    assert [can(hosts, nexus) for nexus in range(3)] == [
        "rw",
        "rw" if kind >= 5 else stranger,
        stranger,
    ]
    assert hosts.send(bytes(6), nexus=2).status == GOOD
    assert hosts.send(bytes([0x1A, 8, 8, 0, 255, 0]), nexus=2).status == CONFLICT
    assert hosts.send(bytes([0x95]) + bytes(15), nexus=2).status == (GOOD if stranger else CONFLICT)
    assert hosts.zone(4, 1024).status == GOOD
    another = out(hosts, 1, RESERVE, 2, 0, kind).status
    assert another == (GOOD if kind >= 7 else CONFLICT)
    wrong = out(hosts, 0, RELEASE, 1, 0, 3 if kind != 3 else 1)
    assert wrong.codes == (0x5, 0x26, 0x04)
    assert out(hosts, 0, RELEASE, 1, 0, kind).status == GOOD
    assert holder(hosts) is None
    assert hosts.send(bytes(6), nexus=1).codes == (RELEASED if kind >= 5 else (0, 0, 0))
    assert can(hosts, 2) == "rw"


def test_a_registration_outlives_its_nexus(hosts: Door) -> None:
    out(hosts, 1, REGISTER, 0, 5)
    out(hosts, 1, RESERVE, 5, 0, 3)
    hosts.logout(1)
    assert can(hosts, 0) == ""
    assert hosts.reset(0) == 0
    hosts.send(bytes(6))
    assert can(hosts, 0) == ""
    hosts.login(1)
    hosts.send(bytes(6), nexus=1)
    assert can(hosts, 1) == "rw"


def test_the_holder_goes_and_the_reservation_with_him(hosts: Door) -> None:
    for nexus in (0, 1):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    out(hosts, 0, RESERVE, 1, 0, 5)
    assert out(hosts, 0, REGISTER, 1, 0).status == GOOD
    assert holder(hosts) is None
    assert hosts.send(bytes(6), nexus=1).codes == RELEASED


def test_of_all_registrants_it_goes_with_the_last(hosts: Door) -> None:
    for nexus in (0, 1):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    out(hosts, 0, RESERVE, 1, 0, 8)
    assert out(hosts, 0, REGISTER, 1, 0).status == GOOD
    assert (holder(hosts), can(hosts, 0), can(hosts, 1)) == ((0, 8), "", "rw")
    assert out(hosts, 1, REGISTER, 2, 0).status == GOOD
    assert (holder(hosts), can(hosts, 0)) == (None, "rw")


def test_clear(hosts: Door) -> None:
    for nexus in (0, 1):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    out(hosts, 1, RESERVE, 2, 0, 3)
    assert out(hosts, 0, CLEAR, 1).status == GOOD
    assert (keys(hosts), holder(hosts)) == ([], None)
    assert hosts.send(bytes(6), nexus=1).codes == PREEMPTED
    assert hosts.send(bytes(6)).status == GOOD


@pytest.mark.parametrize("action", [PREEMPT, ABORT])
def test_preempt(hosts: Door, action: int) -> None:
    for nexus in range(3):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    out(hosts, 1, RESERVE, 2, 0, 5)
    assert out(hosts, 0, action, 1, 77, 3).status == CONFLICT
    assert out(hosts, 0, action, 1, 0, 3).codes == (0x5, 0x26, 0x00)
    assert out(hosts, 0, action, 1, 3, 3).status == GOOD
    assert (keys(hosts), holder(hosts)) == ([1, 2], (2, 5)), "a key that holds nothing"
    assert hosts.send(bytes(6), nexus=2).codes == UNREGISTERED
    out(hosts, 2, REGISTER, 0, 3)
    assert out(hosts, 0, action, 1, 2, 3).status == GOOD
    assert (keys(hosts), holder(hosts)) == ([1, 3], (1, 3))
    assert hosts.send(bytes(6), nexus=1).codes == UNREGISTERED
    assert hosts.send(bytes(6), nexus=2).codes == RELEASED
    assert [can(hosts, nexus) for nexus in range(3)] == ["rw", "", ""]


def test_preempt_all_registrants(hosts: Door) -> None:
    for nexus in range(3):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    out(hosts, 1, RESERVE, 2, 0, 7)
    assert out(hosts, 0, PREEMPT, 1, 0, 1).status == GOOD
    assert (keys(hosts), holder(hosts)) == ([1], (1, 1))
    assert hosts.send(bytes(6), nexus=2).codes == UNREGISTERED


def test_full_status(hosts: Door) -> None:
    for nexus in (0, 1):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    out(hosts, 1, RESERVE, 2, 0, 1)
    data = told(hosts, 3)
    assert int.from_bytes(data[4:8], "big") == len(data) - 8
    rows, data = [], data[8:]
    while data:
        length = int.from_bytes(data[20:24], "big")
        rows.append((data[7], data[12], data[13], data[19], data[24 : 24 + length]))
        data = data[24 + length :]
    assert rows == [
        (1, 0, 0, 1, b"iqn.2026-01.test:host0"),
        (2, 1, 1, 1, b"iqn.2026-01.test:host1"),
    ]
    assert told(hosts, 2).hex() == "000800" + "80" + "ea01" + "0000"


def test_what_is_refused(hosts: Door) -> None:
    assert out(hosts, 0, REGISTER, 0, 1, flags=1).codes == (0x5, 0x26, 0x00)
    assert out(hosts, 0, REGISTER, 0, 1, flags=8).codes == (0x5, 0x26, 0x00)
    assert out(hosts, 0, RESERVE, 0, 0, 2).field == (2, 3)
    assert out(hosts, 0, RESERVE, 0, 0, 0x11).field == (2, 7)
    assert hosts.send(bytes([0x5F, 0]) + bytes(8)).codes == (0x5, 0x1A, 0x00)
    assert hosts.send(bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0]), bytes(23)).codes == (0x5, 0x1A, 0)
    assert hosts.send(bytes([0x5F, 7]) + bytes(8)).codes == (0x5, 0x24, 0x00)
    assert keys(hosts) == []


def test_so_many_and_no_more(door: Door) -> None:
    for host in range(257):
        door.login(1, f"iqn.2026-01.test:many{host}")
        door.send(bytes(6), nexus=1)
        codes = out(door, 1, REGISTER, 0, host + 1).codes
        door.logout(1)
        assert codes == ((0, 0, 0) if host < 256 else (0x5, 0x55, 0x04))
    assert len(keys(door)) == (512 - 8) // 8
