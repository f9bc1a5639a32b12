"""What no initiator may do, does: the one is rejected, told by a sense code or dropped, the others are served on."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zoned
from connection import GoneError
from iscsi.initiator import NOBODY, Initiator
from scsi import cdb16, inquiry
from waiting import until
from zoned.export import Iscsi
from zoned.export.portal import Limits

Login = Callable[..., Initiator]
BLOCK = 4096


@pytest.fixture
def witness(login: Login) -> Iterator[Initiator]:
    """An initiator that does everything right, and is served to the end."""
    host = login(name="iqn.2026-01.test:witness", isid=b"\x80\0\0\0\0\xee")
    host.ready()
    yield host
    while host.do(bytes(6)).codes[0] == 6:  # others may have reset the unit
        pass
    assert host.do(cdb16(0x8A, 0, 1), data=b"w" * BLOCK).status == 0
    assert host.do(cdb16(0x88, 0, 1), read=BLOCK).data == b"w" * BLOCK


# ---------------------------------------------------------------- sequence numbers, task tags


def test_commands_outside_of_the_window_are_passed_over(witness: Initiator, login: Login) -> None:
    host = login()
    host.ready()
    for cmd_sn in (
        host.cmd_sn - 1,
        host.max_cmd_sn + 1,
        host.cmd_sn - 1000,
        host.cmd_sn + 2**31 - 1,
    ):
        data = b"!" * BLOCK
        host.command(cdb16(0x8A, 1, 1), data=data, cmd_sn=cmd_sn & NOBODY)
        assert host.nop() == b""  # and no other answer
    assert host.do(cdb16(0x88, 1, 1), read=BLOCK).data == bytes(BLOCK)


def test_a_missing_command_ends_the_session(witness: Initiator, login: Login) -> None:
    host = login()
    host.ready()
    host.command(bytes(6), cmd_sn=host.cmd_sn + 3)
    assert host.is_gone()


def test_sequence_numbers_go_round(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn, login=False) as host:
        host.cmd_sn = NOBODY - 2
        host.login({}, None, 5, None)
        host.ready()
        for _ in range(6):
            assert host.do(bytes(6)).status == 0
        assert host.cmd_sn < 100


def test_a_task_tag_in_use_is_rejected(witness: Initiator, login: Login) -> None:
    host = login(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    host.ready()
    data = bytes(2 * BLOCK)
    tag = host.command(cdb16(0x8A, 4, 2), data=data)
    asked = host.receive()
    host.command(cdb16(0x88, 0, 1), read=BLOCK, itt=tag)
    answer = host.receive()
    assert (answer.opcode, answer.raw[2]) == (0x3F, 0x07)
    assert answer.data[:2] == b"\x01\xc0"  # the header that was rejected
    host.data_out(tag, asked.ttt, data, 0, len(data))
    assert host.finish(tag).status == 0
    assert host.do(cdb16(0x88, 0, 1), read=BLOCK, itt=tag).status == 0  # free again


def test_too_many_immediate_commands_are_rejected(
    witness: Initiator, login: Login, disk: zoned.Device
) -> None:
    host = login()
    host.ready()
    disk.faults.add("hang", on="read", range=(8 * BLOCK, 9 * BLOCK))
    for _ in range(128):
        host.command(cdb16(0x88, 8, 1), read=BLOCK)
    for _ in range(8):
        host.command(cdb16(0x88, 8, 1), read=BLOCK, immediate=True)
    assert host.nop() == b""
    assert host.max_cmd_sn == host.exp_cmd_sn - 1 & NOBODY  # the window is closed
    host.command(bytes(6), immediate=True)
    answer = host.receive()
    assert (answer.opcode, answer.raw[2]) == (0x3F, 0x06)
    disk.faults.clear()
    assert sorted(host.receive().itt for _ in range(136)) == list(range(3, 139))


# ---------------------------------------------------------------- data


def solicited(host: Initiator, blocks: int = 4) -> tuple[int, int, bytes]:
    """A write that an R2T was sent for: its tag, the transfer tag, the data."""
    data = b"z" * blocks * BLOCK
    tag = host.command(cdb16(0x8A, 64, blocks), data=data)
    asked = host.receive()
    assert asked.opcode == 0x31
    return tag, asked.ttt, data


WRONG = {
    "data number": ({"sn": 3}, (0x0B, 0x4B, 0x05)),
    "offset": ({"begin": BLOCK}, (0x0B, 0x4B, 0x05)),
    "too short": ({"end": BLOCK}, (0x0B, 0x0C, 0x0D)),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_solicited_data_spoils_its_command(
    witness: Initiator, login: Login, what: str
) -> None:
    host = login(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    host.ready()
    how, codes = WRONG[what]
    tag, ttt, data = solicited(host)
    host.data_out(
        tag, ttt, data, how.get("begin", 0), how.get("end", len(data)), sn=how.get("sn", 0)
    )
    found = host.finish(tag)
    assert (found.status, found.codes) == (2, codes)
    assert host.do(cdb16(0x88, 64, 4), read=4 * BLOCK).data == bytes(4 * BLOCK)


def test_too_much_data(witness: Initiator, login: Login) -> None:
    host = login(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    host.ready()
    tag, ttt, data = solicited(host)
    host.data_out(tag, ttt, data * 2, 0, 2 * len(data))
    assert host.finish(tag).codes == (0x0B, 0x4B, 0x02)
    host = login(keys={"FirstBurstLength": "4096"}, isid=b"\x80\0\0\0\0\x55")
    host.ready()
    tag = host.command(cdb16(0x8A, 64, 4), data=data, immediate_data=0, unsolicited=3 * BLOCK)
    assert host.finish(tag).codes == (0x0B, 0x0C, 0x0C)


def test_data_that_nobody_asked_for(witness: Initiator, login: Login) -> None:
    host = login(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    host.ready()
    host.data_out(999, 5, bytes(BLOCK), 0, BLOCK)  # of no task: as if it had ended meanwhile
    tag, ttt, data = solicited(host)
    host.data_out(tag, ttt + 1, data, 0, BLOCK)
    assert host.receive().opcode == 0x3F
    host.data_out(tag, NOBODY, data, 0, BLOCK)
    assert host.receive().opcode == 0x3F
    host.data_out(tag, ttt, data, 0, len(data))
    assert host.finish(tag).status == 0


@pytest.mark.parametrize("keys", [{"InitialR2T": "Yes"}, {"ImmediateData": "No"}])
def test_data_that_was_not_agreed_on(
    witness: Initiator, login: Login, keys: dict[str, str]
) -> None:
    host = login(keys=keys)
    host.ready()
    host.agreed |= {"InitialR2T": "No", "ImmediateData": "Yes"}
    now = 0 if "InitialR2T" in keys else BLOCK
    data = bytes(2 * BLOCK)
    with contextlib.suppress(GoneError):  # it may be gone before all was sent
        host.command(cdb16(0x8A, 0, 2), data=data, immediate_data=now, unsolicited=BLOCK)
    assert host.is_gone()


def test_initiators_that_vanish_while_data_is_awaited(
    witness: Initiator, target: Iscsi, login: Login
) -> None:
    for at in range(6):
        host = login(keys={"InitialR2T": "Yes"}, isid=bytes([0x80, 0, 0, 0, 1, at]))
        host.ready()
        tag, ttt, data = solicited(host, 256)
        if at % 3 == 1:
            host.sock.shutdown(socket.SHUT_WR)
        elif at % 3 == 2:
            raw = host.header(0x05, 0, itt=tag, second=ttt)
            host.sock.sendall(host.pack(raw, data[:65536])[:5000])
        host.close()
    until(lambda: len(target.sessions) == 1, "their sessions end")


# ---------------------------------------------------------------- digests


def test_a_wrong_header_digest_ends_the_session(witness: Initiator, login: Login) -> None:
    host = login(keys={"HeaderDigest": "CRC32C"})
    host.ready()
    host.send(host.header(0x00, second=NOBODY, immediate=True), spoil_header=True)
    assert host.is_gone()


def test_a_wrong_data_digest_spoils_what_it_belongs_to(witness: Initiator, login: Login) -> None:
    host = login(keys={"DataDigest": "CRC32C"})
    host.ready()
    raw = host.header(0x01, 0xA0, second=BLOCK)
    raw[32:48] = cdb16(0x8A, 64, 1)
    host.send(raw, b"z" * BLOCK, spoil_data=True)
    rejected = host.receive()
    assert (rejected.opcode, rejected.raw[2]) == (0x3F, 0x02)
    answer = host.receive()
    assert (answer.opcode, answer.raw[3]) == (0x21, 2)
    assert answer.data[4] == 0x0B
    assert answer.data[14:16] == b"\x47\x05"
    assert host.do(cdb16(0x88, 64, 1), read=BLOCK).data == bytes(BLOCK)
    host.send(host.header(0x00, second=NOBODY, immediate=True), b"hello", spoil_data=True)
    assert host.receive().opcode == 0x3F
    host.send(host.header(0x04, second=NOBODY), b"SendTargets=\0", spoil_data=True)
    assert host.receive().opcode == 0x3F


# ---------------------------------------------------------------- PDUs that are none


@pytest.mark.parametrize("opcode", [0x03, 0x07, 0x10, 0x1C, 0x20, 0x25, 0x3F])
def test_opcodes_that_are_not_there(witness: Initiator, login: Login, opcode: int) -> None:
    host = login()
    host.ready()
    host.send(host.header(opcode, second=NOBODY, immediate=True), b"data")
    answer = host.receive()
    assert (answer.opcode, answer.raw[2]) == (0x3F, 0x03 if opcode == 0x10 else 0x05)
    assert answer.data[0] & 0x3F == opcode
    assert host.do(bytes(6)).status == 0


def test_a_segment_that_is_too_long_ends_the_session(witness: Initiator, login: Login) -> None:
    host = login()
    raw = host.header(0x00, second=NOBODY, immediate=True)
    raw[5:8] = b"\xff\xff\xff"
    host.sock.sendall(raw)
    answer = host.receive()
    assert (answer.opcode, answer.raw[2]) == (0x3F, 0x04)
    assert host.is_gone()


@pytest.mark.parametrize("size", [0, 1, 3, 4, 100, 251, 1016])
def test_additional_header_segments(witness: Initiator, login: Login, size: int) -> None:
    host = login()
    host.ready()
    rng = random.Random(size)
    for kind in range(8):
        raw = host.header(0x01, 0xC0, second=255)
        raw[32:38] = inquiry()
        more = struct.pack(">HBB", rng.choice([0, 1, size, size + 1, 0xFFFF]), kind, 0)
        more += rng.randbytes(size)
        host.send(raw, b"", (more + bytes(-len(more) % 4))[:1020])
        assert host.receive().opcode in (0x21, 0x25)


def test_text_that_is_none(witness: Initiator, login: Login) -> None:
    host = login()
    for text in (b"=\0", b"no equals\0", b"\xff" * 600 + b"=1\0", b"x" * 9000, b"a" * 64 + b"=\0"):
        host.send(host.header(0x04, second=NOBODY), text)
        assert host.receive().opcode == 0x3F
    for flags, ttt in ((0x00, NOBODY), (0x40, NOBODY), (0x80, 1), (0x80, 77)):
        host.send(host.header(0x04, flags, second=ttt), b"SendTargets=\0")
        assert host.receive().opcode == 0x3F
    host.send(host.header(0x04, second=NOBODY), b"")
    assert host.receive().data == b""


def test_a_flood_of_rejects_is_rate_limited_in_the_log(
    witness: Initiator, target: Iscsi, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    for at in range(40):
        host = login(isid=bytes([0x80, 0, 0, 0, 2, at]))
        host.command(bytes(6), cmd_sn=host.cmd_sn + 9)
        assert host.is_gone()
    until(lambda: len(target.sessions) == 1, "the others are gone")
    told = [record for record in caplog.records if "CmdSN" in record.getMessage()]
    assert told
    assert "iqn.2026-01.test:host" in told[0].getMessage()


# ---------------------------------------------------------------- stalls, floods, memory


def test_whoever_takes_no_answers_is_dropped(
    disk: zoned.Device, export: Callable[..., Iscsi]
) -> None:
    served = export(disk, limits=Limits(stall=0.3, idle=30))
    with Initiator(served.address, served.iqn) as host:
        host.ready()
        for _ in range(64):
            host.command(cdb16(0x88, 0, 256), read=256 * BLOCK)  # 64 MiB, read by nobody
        until(lambda: not served.sessions, "it is dropped")


def test_half_a_pdu_and_silence(disk: zoned.Device, export: Callable[..., Iscsi]) -> None:
    served = export(disk, limits=Limits(idle=0.1, stall=0.3))
    hosts = []
    for cut in (1, 47, 48, 60, 4000):
        host = Initiator(served.address, served.iqn, isid=bytes([0x80, 0, 0, 0, 0, len(hosts)]))
        hosts.append(host)
        raw = host.header(0x01, 0xA0, second=BLOCK)
        raw[32:48] = cdb16(0x8A, 0, 1)
        host.sock.sendall(host.pack(raw, bytes(BLOCK))[:cut])
    until(lambda: not served.sessions, "all of them are dropped")
    for host in hosts:
        host.close()


def test_memory_for_data_is_bounded(disk: zoned.Device, export: Callable[..., Iscsi]) -> None:
    """Beyond it commands end with TASK SET FULL, which initiators give again."""
    served = export(disk, limits=Limits(room=2 << 20))
    keys = {"InitialR2T": "Yes", "MaxBurstLength": "1048576"}
    with Initiator(served.address, served.iqn, keys=keys) as host:
        host.ready()
        data = bytes(1 << 20)
        tags = [host.command(cdb16(0x8A, 0, 256), data=data, immediate_data=0) for _ in range(4)]
        answers = [host.receive() for _ in tags]
        assert [pdu.opcode for pdu in answers] == [0x31, 0x31, 0x21, 0x21]
        assert [pdu.raw[3] for pdu in answers[2:]] == [0x28, 0x28]
        for tag, asked in zip(tags, answers[:2], strict=False):
            host.data_out(tag, asked.ttt, data, asked.word(40), asked.word(40) + asked.word(44))
            assert host.finish(tag, data).status == 0
        assert host.do(cdb16(0x8A, 0, 256), data=data).status == 0


def test_many_connections_come_and_go(witness: Initiator, target: Iscsi) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    running = threads()
    for at in range(100):
        host = Initiator(target.address, target.iqn, isid=bytes([0x80, 0, 0, 0, 3, at]))
        if at % 2:
            host.command(cdb16(0x88, 0, 16), read=16 * BLOCK)
        host.close()
    until(lambda: len(target.sessions) == 1, "their sessions end")
    until(lambda: threads() <= running, "their threads end")
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "their descriptors are closed")


# ---------------------------------------------------------------- anything


_anything = st.lists(
    st.tuples(
        st.sampled_from([0x00, 0x01, 0x01, 0x01, 0x02, 0x04, 0x05, 0x05, 0x06, 0x10, 0x3F]),
        st.sampled_from([0x80, 0x00, 0xA0, 0x20, 0xC0, 0xE0, 0x81, 0x85, 0xFF]),
        st.sampled_from([1, 2, 3, NOBODY]),
        st.sampled_from([0, 1, 2, 512, BLOCK, 1 << 20, NOBODY]),
        st.sampled_from(
            [
                bytes(6),
                inquiry(),
                cdb16(0x88, 0, 1),
                cdb16(0x8A, 0, 2),
                cdb16(0x8A, 2, 300),
                b"\xff",
            ]
        ),
        st.integers(0, 3),
        st.binary(max_size=40) | st.just(bytes(BLOCK)),
        st.integers(-1, 1),
    ),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(_anything, st.booleans(), st.integers(0, 100))
def test_any_pdus(
    witness: Initiator, target: Iscsi, pdus: list[tuple[int, ...]], digests: bool, cut: int
) -> None:
    kind = "CRC32C" if digests else "None"
    with Initiator(
        target.address, target.iqn, keys={"HeaderDigest": kind, "DataDigest": kind}
    ) as host:
        stream = b""
        for opcode, flags, itt, second, cdb, data_sn, data, ahead in pdus:
            raw = host.header(opcode, flags, itt=itt, second=second, immediate=data_sn == 3)
            raw[32 : 32 + len(cdb)] = cdb
            if opcode == 0x05:
                struct.pack_into(">II", raw, 36, data_sn, data_sn * 512)
            if ahead:
                struct.pack_into(">I", raw, 24, host.cmd_sn + ahead & NOBODY)
            stream += host.pack(raw, data)
        stream = stream[: len(stream) - cut * len(stream) // 400]
        try:
            host.sock.sendall(stream)
            host.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        assert host.is_gone()
