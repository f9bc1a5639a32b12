"""RESERVE and RELEASE, and persistent reservations of each type."""

from __future__ import annotations

import pytest

from waiting import until
from wire.door import ABORTED, CONFLICT, GOOD, Answer, Door, cdb10

BLOCK = 4096
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, ABORT, IGNORE, MOVE = range(8)
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


def test_preempt_and_abort_ends_what_they_had_under_way(hosts: Door) -> None:
    """All tasks of who loses his registration, and no one else's."""
    for nexus in range(3):
        out(hosts, nexus, REGISTER, 0, 2 if nexus else 1)
    hosts.hold(0)
    tasks = [
        hosts.give(cdb10(0x28, lba, 1), room=BLOCK, nexus=lba % 3, tag=lba) for lba in range(9)
    ]
    hosts.hanging(9)
    assert out(hosts, 0, PREEMPT, 1, 77, 5).status == CONFLICT
    assert out(hosts, 0, ABORT, 1, 77, 5).status == CONFLICT
    hosts.hanging(9)
    assert out(hosts, 0, ABORT, 1, 2, 5).status == GOOD
    for task in (task for lba, task in enumerate(tasks) if lba % 3):
        assert (task.answer.status, task.answer.unanswered) == (ABORTED, 0)
    hosts.hanging(3)
    assert [hosts.send(bytes(6), nexus=nexus).codes for nexus in (1, 2)] == [UNREGISTERED] * 2
    hosts.let_on()
    until(lambda: all(task.ended for task in tasks), "its own go on")
    assert {task.answer.status for task in tasks[::3]} == {GOOD}


def test_preempt_alone_aborts_nothing(hosts: Door) -> None:
    for nexus in (0, 1):
        out(hosts, nexus, REGISTER, 0, nexus + 1)
    hosts.hold(0)
    task = hosts.give(cdb10(0x28, 0, 1), room=BLOCK, nexus=1)
    hosts.hanging(1)
    assert out(hosts, 0, PREEMPT, 1, 2, 5).status == GOOD
    hosts.hanging(1)
    hosts.let_on()
    until(lambda: task.ended, "it goes on")
    assert task.answer.status == GOOD


IDS = [f"EqN.2026-01.test:host{host}" for host in range(3)]
"""Names that begin as an iSCSI TransportID does: the protocol in the low half of the first byte."""


def move(
    door: Door,
    key: int,
    other: int,
    to: str,
    *,
    nexus: int = 0,
    flags: int = 0,
    port: int = 1,
    claims: int | None = None,
) -> Answer:
    name = to.encode()
    listed = key.to_bytes(8, "big") + other.to_bytes(8, "big") + bytes([0, flags])
    listed += port.to_bytes(2, "big")
    listed += (len(name) if claims is None else claims).to_bytes(4, "big") + name
    cdb = bytes([0x5F, MOVE, 0, 0, 0]) + len(listed).to_bytes(4, "big") + b"\0"
    return door.send(cdb, listed, nexus=nexus)


@pytest.fixture
def movers(door: Door) -> Door:
    """Initiators 0, 1 and 2 with such names; 0 is registered with key 1 and holds what type 3 gives."""
    door.logout(0)
    for nexus in range(3):
        door.login(nexus, IDS[nexus])
        door.send(bytes(6), nexus=nexus)
    assert out(door, 0, REGISTER, 0, 1).status == GOOD
    return door


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("leaves", [False, True])
def test_register_and_move(movers: Door, known: bool, leaves: bool) -> None:
    if known:
        assert out(movers, 1, REGISTER, 0, 5).status == GOOD
    assert out(movers, 0, RESERVE, 1, 0, 3).status == GOOD
    assert move(movers, 1, 7, IDS[1], flags=2 * leaves).status == GOOD
    assert (keys(movers), holder(movers)) == (([7] if leaves else [1, 7]), (7, 3))
    assert told(movers, 0)[:4] == (3 if known else 2).to_bytes(4, "big")
    assert [can(movers, nexus) for nexus in range(3)] == ["", "rw", ""]
    assert movers.send(bytes(6), nexus=1).status == GOOD, "nobody is told"
    assert out(movers, 1, RELEASE, 7, 0, 3).status == GOOD
    assert can(movers, 2) == "rw"


def test_it_moves_to_one_who_is_not_there(movers: Door) -> None:
    movers.logout(1)
    out(movers, 0, RESERVE, 1, 0, 3)
    assert move(movers, 1, 7, IDS[1], flags=2).status == GOOD
    movers.login(1, IDS[1])
    movers.send(bytes(6), nexus=1)
    assert [can(movers, nexus) for nexus in range(3)] == ["", "rw", ""]


def test_what_cannot_be_moved(movers: Door) -> None:
    parameter = (0x5, 0x26, 0x00)
    assert move(movers, 1, 7, IDS[1]).codes == (0x5, 0x24, 0x00), "nothing is reserved"
    out(movers, 2, REGISTER, 0, 3)
    out(movers, 0, RESERVE, 1, 0, 3)
    assert move(movers, 9, 7, IDS[1]).status == CONFLICT
    assert move(movers, 9, 7, IDS[1], nexus=1).status == CONFLICT
    assert move(movers, 3, 7, IDS[1], nexus=2).status == CONFLICT, "he does not hold it"
    assert move(movers, 1, 0, IDS[1]).codes == parameter
    assert move(movers, 1, 7, IDS[0]).codes == parameter
    assert move(movers, 1, 7, IDS[1], port=2).codes == parameter
    assert move(movers, 1, 7, IDS[1], flags=1).codes == parameter
    assert move(movers, 1, 7, IDS[1], claims=3).codes == parameter
    assert move(movers, 1, 7, IDS[1], claims=1 << 31).codes == parameter
    assert move(movers, 1, 7, "iqn.of-no-protocol").codes == parameter
    assert move(movers, 1, 7, "").codes == (0x5, 0x1A, 0x00)
    assert move(movers, 1, 7, "E" * 229).codes == (0x5, 0x1A, 0x00)
    assert (keys(movers), holder(movers)) == ([1, 3], (1, 3))
    assert move(movers, 1, 7, "E" * 228).status == GOOD
    assert holder(movers) == (7, 3)


def test_of_all_registrants_nothing_moves(movers: Door) -> None:
    out(movers, 0, RESERVE, 1, 0, 7)
    assert move(movers, 1, 7, IDS[1]).status == CONFLICT


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
    assert hosts.send(bytes([0x5F, 8]) + bytes(8)).codes == (0x5, 0x24, 0x00)
    assert keys(hosts) == []


def test_so_many_and_no_more(door: Door) -> None:
    for host in range(257):
        door.login(1, f"iqn.2026-01.test:many{host}")
        door.send(bytes(6), nexus=1)
        codes = out(door, 1, REGISTER, 0, host + 1).codes
        door.logout(1)
        assert codes == ((0, 0, 0) if host < 256 else (0x5, 0x55, 0x04))
    assert len(keys(door)) == (512 - 8) // 8
