"""Commands that wait, and how they end: events, ABORT, queues that are deleted, resets, power."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from waiting import until
from wire.nvme_door import EVERY, KIB, NVM, ZNS, Code, NvmeDoor, at, entry

pytestmark = pytest.mark.program

READ, WRITE, OPEN = 0, 1, 3
MEDIUM, READ_ONLY, HANG = 1, 7, 10
NOTICES = 1 << 8 | 1 << 27 | 1 << 2
ZONES, RELIABILITY, NAMESPACE, POWER = 0xBF_EF_02 | ZNS << 32, 0x02_00_01, 0x04_00_02, 0x01_04_00
SANITIZED = 0x81_01_06


@pytest.fixture
def told(drive: NvmeDoor) -> NvmeDoor:
    """A drive whose host wants to hear of everything."""
    assert drive.set_feature(0x0B, NOTICES).status == Code.SUCCESS
    return drive


def abort(drive: NvmeDoor, queue: int, cid: int) -> int:
    """Bit 0: it was not aborted."""
    answer = drive.admin(entry(0x08, d10=queue | cid << 16))
    assert answer.status == Code.SUCCESS
    return answer.result


def test_zones_that_die_are_told(told: NvmeDoor) -> None:
    """By an event, and by the list of changed zones, until it was read."""
    zone = told.zone_blocks
    first, second, third = (told.event(cid) for cid in range(3))
    told.condition(3, 0xD)
    told.condition(9, 0xF)
    assert not first.ended
    assert told.admin(entry(0x18)).status == Code.SUCCESS
    assert {first.answer.result, second.answer.result} == {ZONES, RELIABILITY}
    assert not third.ended, "one event of a kind, until its log page was read"
    kept = told.log(0xBF, 4096, ZNS, keep=True)
    told.condition(4, 0xD)
    told.library.nvme_look(told.handle, 0)
    assert not third.ended
    listed = told.log(0xBF, 4096, ZNS)
    assert (kept.number(0, 2), listed.number(0, 2)) == (2, 3)
    assert [listed.number(8 + 8 * i, 8) for i in range(4)] == [3 * zone, 9 * zone, 4 * zone, 0]
    assert not third.ended, "the page told it"
    assert told.log(0xBF, 4096, ZNS).data == bytes(4096)
    told.condition(4, 0x1)
    told.library.nvme_look(told.handle, 0)
    assert third.answer.result == ZONES
    assert told.log(0x02, 512).data[0] == 4


def test_more_zones_than_a_page_lists(connect: Callable[..., NvmeDoor]) -> None:
    drive = connect(size=600 << 20, nr_conv=0, max_open=0, max_active=0)
    for zone in range(520):
        drive.condition(zone, 0xD)
    assert drive.log(0xBF, 4096, ZNS).data == b"\xff\xff" + bytes(4094)
    assert drive.log(0xBF, 4096, ZNS).data == bytes(4096)


def test_what_a_host_does_itself_is_no_event(told: NvmeDoor) -> None:
    told.condition(3, 0xD)
    told.library.nvme_look(told.handle, 0)
    told.log(0xBF, 4096, ZNS)
    told.log(0x02, 512)
    event = told.event()
    assert told.zone(5, 3).status == Code.SUCCESS, "offline"
    assert told.zone(2, 4).status == Code.SUCCESS
    assert told.log(0xBF, 4096, ZNS).number(0, 2) == 0
    assert not event.ended


def test_a_fault_that_kills_a_zone(told: NvmeDoor) -> None:
    event = told.event()
    told.fault(READ_ONLY, WRITE, zone=4)
    assert told.write(0, 1).status == 0x1BA
    told.library.nvme_look(told.handle, 0)
    assert event.ended
    assert told.log(0xBF, 4096, ZNS).number(8, 8) == 0


def test_events_that_nobody_asked_for(drive: NvmeDoor) -> None:
    """Notices come only to who set the feature; the lists are kept all the same."""
    event = drive.event()
    drive.condition(3, 0xD)
    drive.library.nvme_look(drive.handle, 0)
    assert not event.ended
    assert drive.set_feature(0x0B, NOTICES).status == Code.SUCCESS
    assert event.ended


def test_every_host_is_told(told: NvmeDoor) -> None:
    told.connect(1)
    assert told.admin(entry(0x09, d10=0x0B, d11=1 << 27), host=1).status == Code.SUCCESS
    mine, other = told.event(), told.event(host=1)
    told.condition(3, 0xF)
    told.library.nvme_look(told.handle, 0)
    assert (mine.ended, other.ended) == (True, False), "its own transport looks"
    told.library.nvme_look(told.handle, 1)
    assert other.answer.result == ZONES


def test_power_and_rollback(told: NvmeDoor) -> None:
    one, two, three = (told.event(i) for i in range(3))
    told.power(False)
    dead = told.read(0, 1)
    assert (dead.status, dead.final) == (Code.INTERNAL, False)
    told.power(True)
    told.library.nvme_look(told.handle, 0)
    assert one.answer.result == POWER
    told.go_back()
    told.library.nvme_look(told.handle, 0)
    assert two.answer.result & EVERY == NAMESPACE
    assert told.log(0x04, 4096).data[:12] == bytes([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])
    assert told.log(0x04, 4096).data == bytes(4096)
    assert told.log(0x02, 512).number(112, 16) == 2, "power cycles"
    assert not three.ended
    assert told.admin(entry(0x84, d10=2)).status == Code.SUCCESS
    assert told.admin(entry(0x18)).status == Code.SUCCESS
    assert three.answer.result == SANITIZED


def test_too_many_event_requests(drive: NvmeDoor) -> None:
    waiting = [drive.event(i) for i in range(4)]
    fifth = drive.event(4)
    assert (fifth.answer.status, fifth.answer.final) == (0x105, True)
    assert [abort(drive, 0, cid) for cid in (2, 9)] == [0, 1]
    assert [event.ended for event in waiting] == [False, False, True, False]
    assert waiting[2].answer.raw == Code.ABORTED
    waiting[0].cancel()
    assert waiting[0].answer.raw == Code.ABORTED
    drive.library.nvme_reset(drive.handle, 0)
    assert {event.answer.status for event in (waiting[1], waiting[3])} == {Code.DELETED}
    assert not drive.event().ended, "the admin queue remains"


def test_abort(drive: NvmeDoor) -> None:
    """A command that hangs ends; others of its queue, and of other queues, go on."""
    assert drive.library.nvme_queue(drive.handle, 0, 2) == 0
    drive.fault(HANG, READ)
    reads = [drive.give(at(0x02, ZNS, 0, cid=cid), room=4 * KIB) for cid in (5, 6)]
    other = drive.give(at(0x02, ZNS, 0, cid=5), room=4 * KIB, queue=2)
    drive.hanging(3)
    assert drive.write(0, 1).status == Code.SUCCESS, "others are answered"
    assert [abort(drive, *aim) for aim in ((1, 7), (3, 5), (77, 5), (0, 5))] == [1, 1, 1, 1]
    assert abort(drive, 1, 5) == 0
    assert (reads[0].answer.raw, reads[0].answer.in_length) == (Code.ABORTED, 0)
    assert not reads[1].ended
    assert not other.ended
    assert abort(drive, 1, 5) == 1, "it is gone"
    assert drive.admin(entry(0x08, cid=3, d10=3 << 16)).result == 1, "not itself"
    drive.let_on()
    until(lambda: reads[1].ended and other.ended, "the others go on")
    assert (reads[1].answer.status, other.answer.status) == (Code.SUCCESS, Code.SUCCESS)


def test_a_queue_that_is_deleted(drive: NvmeDoor) -> None:
    drive.fault(HANG, READ)
    reads = [drive.give(at(0x02, ZNS, 0, cid=cid), room=4 * KIB) for cid in range(20)]
    drive.hanging(20)
    drive.library.nvme_queue_close(drive.handle, 0, 1)
    assert {(read.answer.status, read.answer.final) for read in reads} == {(Code.DELETED, True)}
    assert drive.library.nvme_queue(drive.handle, 0, 1) == 0
    drive.let_on()
    assert drive.read(0, 1).status == Code.SUCCESS


def test_a_reset_and_a_host_that_goes(drive: NvmeDoor) -> None:
    drive.connect(1)
    drive.fault(HANG, READ)
    mine = drive.give(at(0x02, ZNS, 0), room=4 * KIB)
    theirs = drive.give(at(0x02, ZNS, 0), room=4 * KIB, host=1)
    event = drive.event(host=1)
    drive.hanging(2)
    drive.library.nvme_reset(drive.handle, 0)
    assert (mine.answer.status, theirs.ended) == (Code.DELETED, False)
    drive.library.nvme_disconnect(drive.handle, 1)
    assert (theirs.answer.status, event.answer.status) == (Code.DELETED, Code.DELETED)


def test_what_hangs_for_too_long(drive: NvmeDoor) -> None:
    drive.fault(HANG, READ, ns=30_000_000)
    read = drive.give(at(0x02, ZNS, 0), room=4 * KIB)
    until(lambda: read.ended, "its time passes")
    assert (read.answer.status, read.answer.final) == (Code.ABORTED, False)


@pytest.mark.parametrize("nsid", [ZNS, NVM])
def test_a_medium_error(drive: NvmeDoor, nsid: int) -> None:
    """What lies before it was read, and the error log tells where it is."""
    start = 0 if nsid == NVM else 4 << 20
    first = drive.zone_blocks - 4 if nsid == NVM else 0
    bad = 5
    assert drive.write(first, 8, nsid=nsid).status == Code.SUCCESS
    here = start + (first + bad) * 4096
    drive.fault(MEDIUM, READ, here, here + 4096)
    got = drive.read(first, 8, nsid=nsid)
    assert (got.status, got.final, got.in_length) == (0x281, True, bad * 4096)
    assert drive.log(0x01, 64).number(16, 8) == first + bad
    assert drive.send(at(0x0C, nsid, first, 7)).status == 0x281
    assert drive.send(at(0x05, nsid, first, 7), b"\x5a" * 8 * 4096).status == 0x281
    assert drive.log(0x02, 512).number(160, 16) == 3
    drive.let_on()
    drive.fault(MEDIUM, WRITE)
    assert drive.write(first + 8 if nsid == ZNS else first, 1, nsid=nsid).status == 0x280
