"""Tasks that fault rules hold up: they end later, or by task management, and others are answered meanwhile."""

from __future__ import annotations

import errno

import pytest

from scsi import cdb10, cdb16
from waiting import until
from wire.door import ABORTED, GOOD, Door
from wire.doors import KIB

pytestmark = pytest.mark.program

pytestmark = pytest.mark.program

BLOCK = 4 * KIB
READ, WRITE = 0, 1
ABORT_TASK, ABORT_TASK_SET, CLEAR_TASK_SET, LUN_RESET, WARM_RESET, COLD_RESET = 1, 2, 4, 5, 6, 7
NOWHERE = b"\0\5" + bytes(6)
RESET = (0x6, 0x29, 0x03)


def reading(lba: int = 0) -> bytes:
    return cdb10(0x28, lba, 1)


@pytest.fixture
def held(door: Door) -> Door:
    """Two initiators; reads hang."""
    door.login(1)
    assert door.send(bytes(6), nexus=1).sense_key == 6
    door.hold(READ)
    return door


def test_a_task_that_is_late_ends_by_itself(door: Door) -> None:
    """Many are held up at once, in any number of threads, and each ends once with what it read."""
    fills = [bytes([i]) * BLOCK for i in range(1, 101)]
    for lba, fill in enumerate(fills):
        assert door.send(cdb10(0x2A, lba, 1), fill).status == GOOD
    door.hold(READ, late=True, ns=100_000_000)
    tasks = [door.give(reading(lba), room=BLOCK, tag=lba) for lba in range(len(fills))]
    assert door.send(bytes(6)).status == GOOD, "others are answered"
    assert door.send(cdb10(0x2A, 200, 1), fills[0]).status == GOOD
    until(lambda: all(task.ended for task in tasks), "each of them ends")
    for task, fill in zip(tasks, fills, strict=True):
        assert (task.answer.status, task.answer.unanswered) == (GOOD, 0)
        assert task.answer.data == fill


def test_a_task_of_many_steps_is_late_at_each(door: Door) -> None:
    door.hold(READ, late=True, ns=20_000_000)
    door.hold(WRITE, late=True, ns=20_000_000)
    swap = door.give(
        bytes([0x89, 0]) + bytes(7) + b"\7" + bytes(3) + b"\1\0\0", bytes(BLOCK) + b"n" * BLOCK
    )
    until(lambda: swap.ended, "it compares and writes")
    assert swap.answer.status == GOOD
    assert door.read(7, 1).data == b"n" * BLOCK


def test_what_hangs_for_too_long_is_told(door: Door) -> None:
    door.hold(READ, ns=50_000_000)
    task = door.give(reading(), room=BLOCK)
    until(lambda: task.ended, "its time passes")
    assert task.answer.codes == (0xB, 0x2E, 0x02)
    assert task.answer.in_length == 0


def test_abort_task(held: Door) -> None:
    one, two = held.give(reading(1), room=BLOCK, tag=11), held.give(reading(2), room=BLOCK, tag=12)
    other = held.give(reading(3), room=BLOCK, tag=11, nexus=1)
    held.hanging(3)
    assert held.manage(ABORT_TASK, 13) == -errno.ENOENT
    assert held.manage(ABORT_TASK, 12, nexus=1) == -errno.ENOENT
    assert held.manage(ABORT_TASK, 11, lun=NOWHERE) == -errno.ENXIO
    assert held.manage(ABORT_TASK, 11) == 0
    assert (one.answer.status, one.answer.unanswered, one.answer.sense) == (ABORTED, 1, b"")
    assert held.manage(ABORT_TASK, 11) == -errno.ENOENT, "it is gone"
    held.hanging(2)
    held.let_on()
    until(lambda: two.ended and other.ended, "the others go on")
    assert (two.answer.status, two.answer.unanswered) == (GOOD, 0)
    assert (other.answer.status, other.answer.unanswered) == (GOOD, 0)


def test_abort_task_set(held: Door) -> None:
    mine = [held.give(reading(lba), room=BLOCK, tag=lba) for lba in range(20)]
    other = held.give(reading(3), room=BLOCK, nexus=1)
    held.hanging(21)
    assert held.manage(ABORT_TASK_SET) == 0
    assert {(task.answer.status, task.answer.unanswered) for task in mine} == {(ABORTED, 1)}
    held.hanging(1)
    assert not other.ended
    assert held.manage(ABORT_TASK_SET) == 0, "there is nothing left to abort"
    held.let_on()
    until(lambda: other.ended, "another initiator's goes on")


def test_clear_task_set(held: Door) -> None:
    """Others hear that their tasks were aborted, by the status alone."""
    mine, other = held.give(reading(), room=BLOCK), held.give(reading(), room=BLOCK, nexus=1)
    held.hanging(2)
    assert held.manage(CLEAR_TASK_SET) == 0
    assert (mine.answer.status, mine.answer.unanswered) == (ABORTED, 1)
    assert (other.answer.status, other.answer.unanswered) == (ABORTED, 0)
    assert held.send(bytes(6), nexus=1).status == GOOD


@pytest.mark.parametrize("function", [LUN_RESET, WARM_RESET, COLD_RESET])
def test_resets(held: Door, function: int) -> None:
    mine, other = held.give(reading(), room=BLOCK), held.give(reading(), room=BLOCK, nexus=1)
    assert held.send(bytes([0x16, 0, 0, 0, 0, 0])).status == GOOD
    held.hanging(2)
    assert held.manage(function) == 0
    assert (mine.answer.status, mine.answer.unanswered) == (ABORTED, 1)
    assert (other.answer.status, other.answer.unanswered) == (ABORTED, 0)
    for nexus in (0, 1):
        assert held.send(bytes(6), nexus=nexus).codes == RESET
        assert held.send(bytes(6), nexus=nexus).status == GOOD
    assert held.send(bytes([0x16, 0, 0, 0, 0, 0]), nexus=1).status == GOOD, "nobody has it"


def test_unknown_functions(door: Door) -> None:
    for function in (-1, 0, 3, 8, 9, 14, 255, 1 << 30):
        assert door.manage(function) == -errno.EOPNOTSUPP
    assert door.manage(LUN_RESET, lun=NOWHERE) == -errno.ENXIO


def test_who_logs_out_leaves_no_task(held: Door) -> None:
    gone, other = held.give(reading(), room=BLOCK, nexus=1), held.give(reading(), room=BLOCK)
    held.hanging(2)
    held.logout(1)
    assert (gone.answer.status, gone.answer.unanswered) == (ABORTED, 1)
    held.hanging(1)
    assert not other.ended
    held.let_on()
    until(lambda: other.ended, "another initiator's goes on")


def test_an_aborted_write_was_not_done(door: Door) -> None:
    door.hold(WRITE)
    task = door.give(cdb16(0x8A, 5 * 256, 1), b"w" * BLOCK, tag=3)
    door.hanging(1)
    assert door.manage(ABORT_TASK, 3) == 0
    assert task.answer.status == ABORTED
    door.let_on()
    assert door.zones(5 * 256).data[65] >> 4 == 1, "the zone is empty"


def test_power_ends_what_hangs(held: Door) -> None:
    task = held.give(reading(), room=BLOCK)
    held.hanging(1)
    held.power(False)
    until(lambda: task.ended, "there is no power")
    assert task.answer.codes == (0x2, 0x04, 0x00)
    held.power(True)
