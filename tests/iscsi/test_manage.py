"""Task management, NOP, logout, text: also while commands hang, are on their way or wait for data."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import zoned
from iscsi.initiator import NOBODY, Initiator, cdb16
from waiting import until
from zoned.export import Iscsi

Login = Callable[..., Initiator]
BLOCK = 4096
SYNC = bytes([0x35]) + bytes(9)


@pytest.fixture
def hung(login: Login, disk: zoned.Device, target: Iscsi) -> tuple[Initiator, list[int]]:
    """An initiator with three reads that hang: one in zone 0, two in zone 1."""
    host = login()
    host.ready()
    disk.faults.add("hang", on="read")
    tags = [host.command(cdb16(0x88, lba, 1), read=BLOCK) for lba in (0, 256, 257)]
    until(lambda: target.sessions[0].under_way == 3, "three commands hang")
    return host, tags


def test_others_are_answered_while_a_command_hangs(hung: tuple[Initiator, list[int]]) -> None:
    host, _ = hung
    assert host.nop(b"still there") == b"still there"
    assert host.do(cdb16(0x8A, 0, 1), data=bytes(BLOCK)).status == 0
    assert host.do(SYNC).status == 0


def test_a_command_that_hangs_is_aborted(
    hung: tuple[Initiator, list[int]], target: Iscsi, disk: zoned.Device
) -> None:
    host, (first, second, third) = hung
    assert host.manage(1, itt=second) == 0
    assert host.manage(1, itt=second) == 1  # it is gone
    until(lambda: target.sessions[0].under_way == 2, "the aborted one is gone")
    disk.faults.clear()
    results = {host.receive().itt for _ in range(2)}
    assert results == {first, third}


@pytest.mark.parametrize("function", [2, 4, 5, 6], ids=["task set", "clear", "lun", "warm"])
def test_all_tasks_are_ended(
    hung: tuple[Initiator, list[int]], target: Iscsi, disk: zoned.Device, function: int
) -> None:
    host, _ = hung
    assert host.manage(function) == 0
    assert target.sessions[0].under_way == 0
    disk.faults.clear()
    codes = host.do(bytes(6)).codes
    assert codes[:2] == ((6, 0x29) if function >= 5 else (0, 0))
    assert host.do(cdb16(0x88, 0, 1), read=BLOCK).status == 0
    assert host.max_cmd_sn - host.exp_cmd_sn + 1 == 128


def test_a_reset_ends_the_tasks_of_others(
    hung: tuple[Initiator, list[int]], login: Login, target: Iscsi, disk: zoned.Device
) -> None:
    host, _ = hung
    other = login(name="iqn.2026-01.test:other")
    other.ready()
    assert other.manage(5) == 0
    until(
        lambda: all(not one.under_way for one in target.sessions), "the tasks of the first one end"
    )
    disk.faults.clear()
    assert {host.receive().raw[3] for _ in range(3)} == {0x40}  # TASK ABORTED: TAS is set
    assert host.do(bytes(6)).codes[:2] == (6, 0x29)


def test_a_reset_ends_what_waits_for_data(login: Login) -> None:
    host, other = login(keys={"InitialR2T": "Yes"}), login(name="iqn.2026-01.test:other")
    host.ready()
    data = bytes(4 * BLOCK)
    tag = host.command(cdb16(0x8A, 0, 4), data=data, immediate_data=0)
    asked = host.receive()
    assert asked.opcode == 0x31
    assert other.manage(5) == 0
    answer = host.receive()
    assert (answer.opcode, answer.itt, answer.raw[3]) == (0x21, tag, 0x40)
    host.data_out(tag, asked.ttt, data, 0, len(data))  # it crossed the answer: dropped
    assert host.nop() == b""


def test_a_cold_reset_ends_all_connections(login: Login) -> None:
    one, two = login(name="iqn.2026-01.test:one"), login(name="iqn.2026-01.test:two")
    one.ready()
    assert one.manage(7) == 0
    assert one.is_gone()
    assert two.is_gone()
    login().ready()


def test_functions_that_are_not_there(login: Login) -> None:
    host = login()
    host.ready()
    assert host.manage(3) == 255  # CLEAR ACA
    assert host.manage(8) == 4  # TASK REASSIGN
    assert host.manage(0x55) == 5
    assert host.manage(5, lun=9) == 2  # no such unit
    assert host.manage(1, itt=12345) == 1
    assert host.manage(2, immediate=False) == 0


def test_a_write_that_waits_for_data_is_aborted(login: Login, target: Iscsi) -> None:
    host = login(keys={"InitialR2T": "Yes"})
    host.ready()
    data = bytes(4 * BLOCK)
    tag = host.command(cdb16(0x8A, 0, 4), data=data)
    asked = host.receive()
    assert asked.opcode == 0x31
    assert host.manage(1, itt=tag) == 0
    assert target.sessions[0].under_way == 0
    host.data_out(tag, asked.ttt, data, asked.word(40), len(data))  # it crossed the answer: dropped
    assert host.do(cdb16(0x88, 0, 1), read=BLOCK).status == 0


def test_the_end_of_a_session_ends_what_hangs(
    hung: tuple[Initiator, list[int]], target: Iscsi
) -> None:
    host, _ = hung
    assert host.logout() == 0
    assert host.is_gone()
    until(lambda: not target.sessions, "the session ends")


def test_an_initiator_that_vanishes(
    hung: tuple[Initiator, list[int]], target: Iscsi, login: Login
) -> None:
    host, _ = hung
    host.close()
    until(lambda: not target.sessions, "the session ends")
    login().ready()


def test_a_stop_ends_what_hangs(hung: tuple[Initiator, list[int]], target: Iscsi) -> None:
    target.close(grace=0)
    assert hung[0].is_gone()


def test_logout_for_reasons_that_are_not_there(login: Login) -> None:
    host = login()
    assert host.logout(2) == 2  # recovery of a connection
    host.send(host.header(0x06, 0x81, second=99 << 16, immediate=True))
    assert host.receive().raw[2] == 1  # no such connection
    assert host.logout(1) == 0
    assert host.is_gone()


def test_long_text_is_told_in_parts(disk: zoned.Device, export: Callable[..., Iscsi]) -> None:
    iqn = "iqn.2026-01.test:" + "x" * 200
    served = export(disk, iqn=iqn, listen=["127.0.0.1:0"] * 12)
    with Initiator(served.address, iqn, keys={"MaxRecvDataSegmentLength": "512"}) as host:
        found = host.send_targets("")
        assert found[0] == ("TargetName", iqn)
        assert len(found) == 13
        host.send(host.header(0x04, second=NOBODY), b"What=Ever\0")
        assert host.receive().data == b"What=NotUnderstood\0"


def test_a_silent_initiator_is_asked_and_dropped(
    disk: zoned.Device, export: Callable[..., Iscsi]
) -> None:
    from zoned.export.portal import Limits

    served = export(disk, limits=Limits(idle=0.05, stall=0.5))
    with Initiator(served.address, served.iqn) as host:
        ping = host.receive()
        assert ping.opcode == 0x20
        assert ping.itt == NOBODY
        host.send(host.header(0x00, itt=NOBODY, second=ping.ttt, immediate=True))
        again = host.receive()
        assert again.ttt == ping.ttt + 1
        assert host.is_gone()
    until(lambda: not served.sessions, "the session ends")
