"""What no host may do, does: a command ends with a status, or the connection with a C2HTermReq; the others are served on."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zoned
from nvmetcp.host import (
    BLOCK,
    CAPSULE,
    DISCOVERY,
    READ,
    TRANSPORT,
    WRITE,
    GoneError,
    Host,
    Proof,
    TerminatedError,
    secret,
)
from waiting import until
from wire.nvme_door import at, entry
from zoned.export import Limits, Nvme

Admin = Callable[..., Host]


@pytest.fixture(autouse=True)
def witness(target: Nvme) -> Iterator[Host]:
    """A host that does everything right, and is served to the end."""
    with Host(target.address, target.nqn, name="nqn.2026-01.test:witness") as admin:
        with admin.io() as queue:
            yield queue
            assert queue.write(2, 1000, b"w" * BLOCK).raw == 0
            assert queue.read(2, 1000).data == b"w" * BLOCK
        assert admin.is_served()


def ended_by(host: Host) -> tuple[int, int]:
    """Status and information of the C2HTermReq that comes."""
    while True:
        try:
            host.receive()
        except TerminatedError as told:
            assert host.is_gone()
            return told.status, told.information


# ---------------------------------------------------------------- headers

HEADERS = {
    "a type that is not there": (struct.pack("<BBBBI", 0x08, 0, 24, 0, 24), (1, 0)),
    "a controller's type": (struct.pack("<BBBBI", 0x05, 0, 24, 0, 24), (1, 0)),
    "a second ICReq": (struct.pack("<BBBBI", 0x00, 0, 128, 0, 128), (2, 0)),
    "a header that is too short": (struct.pack("<BBBBI", 0x04, 0, 64, 0, 64), (1, 2)),
    "a PDU that is shorter than its header": (struct.pack("<BBBBI", 0x04, 0, 72, 0, 71), (1, 4)),
    "a header digest": (struct.pack("<BBBBI", 0x04, 1, 72, 0, 76), (1, 1)),
    "a data digest": (struct.pack("<BBBBI", 0x04, 2, 72, 72, 4096), (1, 1)),
    "data within the header": (struct.pack("<BBBBI", 0x04, 0, 72, 68, 4096), (1, 3)),
    "data at an odd place": (struct.pack("<BBBBI", 0x04, 0, 72, 73, 4096), (1, 3)),
    "data behind the end": (struct.pack("<BBBBI", 0x04, 0, 72, 80, 80), (1, 3)),
    "more data than is told": (struct.pack("<BBBBI", 0x04, 0, 72, 72, 72 + 16385), (5, 4)),
    "most data that can be": (struct.pack("<BBBBI", 0x04, 0, 72, 72, 0xFFFFFFFF), (5, 4)),
    "data without data": (struct.pack("<BBBBI", 0x06, 0, 24, 0, 24), (1, 3)),
    "a huge segment": (struct.pack("<BBBBI", 0x06, 0, 24, 24, 24 + (1 << 20) + 1), (5, 4)),
    "an end that is too long": (struct.pack("<BBBBI", 0x02, 0, 24, 0, 153), (1, 4)),
}


@pytest.mark.parametrize("what", HEADERS)
def test_headers_that_cannot_be(host: Host, what: str) -> None:
    raw, expected = HEADERS[what]
    host.sock.sendall(raw.ljust(72, b"\0"))
    assert ended_by(host) == expected


def test_an_admin_capsule_has_less_room(admin: Admin) -> None:
    host = admin()
    host.give(entry(0x09, d10=0x0E), bytes(8196), in_capsule=True)
    assert ended_by(host) == (5, 4)


def test_a_host_that_ends_the_connection(
    host: Host, target: Nvme, caplog: pytest.LogCaptureFixture
) -> None:
    host.sock.sendall(host.pack(0x02, struct.pack("<HI10x", 3, 9)) + b"\0" * 8)
    assert host.is_gone()
    until(lambda: "H2CTermReq: fatal error status 03h" in caplog.text, "it is told")


def test_wrong_digests(admin: Admin) -> None:
    host = admin(digests=3)
    with host.io(digests=3) as queue:
        data = os.urandom(BLOCK)
        found = queue.do(at(WRITE, 2, 0), data, spoil_data=True)
        assert (found.status, found.final) == (0x22, False)  # to be given again
        cid = queue.give(at(WRITE, 2, 0), data, in_capsule=False)
        asked = queue.receive()
        queue.send_data(cid, asked.half(10), data, 0, 2048, last=False, spoil_data=True)
        queue.send_data(cid, asked.half(10), data, 2048, BLOCK, last=True)
        assert queue.finish(cid).status == 0x22
        assert queue.read(2, 0).data == bytes(BLOCK)
        queue.give(at(READ, 2, 0), room=BLOCK, spoil_header=True)
        status, _ = ended_by(queue)
        assert status == 3
    assert host.is_served()
    with Host(f"{host.sock.getpeername()[0]}:{host.sock.getpeername()[1]}", None) as other:
        other.begin(3)
        other.nqn = host.nqn
        other.give(entry(0x7F, 1), other.connect_data(), spoil_header=True)
        assert ended_by(other)[0] == 3


# ---------------------------------------------------------------- SGLs and lengths

SGLS = {
    "another type": (WRITE, (0, BLOCK, 0x00), 0, 0x11),
    "another subtype": (READ, (0, BLOCK, 0x5B), 0, 0x11),
    "a read into the capsule": (READ, (0, BLOCK, CAPSULE), 0, 0x11),
    "too short for a write": (WRITE, (0, BLOCK - 4, TRANSPORT), 0, 0x0F),
    "too short for a read": (READ, (0, BLOCK - 4, TRANSPORT), 0, 0x0F),
    "nothing": (WRITE, (0, 0, TRANSPORT), 0, 0x0F),
    "a capsule without data": (WRITE, (0, BLOCK, CAPSULE), 0, 0x0F),
    "more than the capsule has": (WRITE, (0, BLOCK, CAPSULE), BLOCK - 4, 0x0F),
    "most that can be": (WRITE, (0, 0xFFFFFFFF, CAPSULE), BLOCK, 0x0F),
    "an offset behind the capsule": (WRITE, (BLOCK + 4, BLOCK, CAPSULE), BLOCK, 0x16),
    "the last offset": (WRITE, (2**64 - 4, 8, CAPSULE), BLOCK, 0x16),
    "an offset that leaves too little": (WRITE, (4, BLOCK, CAPSULE), BLOCK, 0x0F),
}


@pytest.mark.parametrize("what", SGLS)
def test_sgls_that_lie(host: Host, what: str) -> None:
    opcode, sgl, length, status = SGLS[what]
    sqe = bytearray(at(opcode, 2, 0))
    sqe[24:40] = struct.pack("<QI3xB", *sgl)
    found = host.do(bytes(sqe), b"!" * length, in_capsule=True)
    assert (found.status, found.final) == (status, True)
    assert host.read(2, 0).data == bytes(BLOCK)


def test_no_sgl_at_all(host: Host) -> None:
    sqe = bytearray(at(READ, 2, 0, cid=7))
    host.sock.sendall(host.pack(0x04, bytes(sqe)))
    assert host.finish(7).status == 2


def test_data_that_nobody_wants(host: Host) -> None:
    """It is read, so that what follows is found."""
    assert host.do(entry(0x00, 2), b"?" * 500, in_capsule=True).raw == 0
    assert host.do(entry(0xEE, 2), b"?" * 500, in_capsule=True).status == 1
    assert host.do(at(READ, 2, 0), b"?" * BLOCK, in_capsule=True).status == 0x11
    assert host.read(2, 0).data == bytes(BLOCK)


def test_longer_buffers_than_a_command_has(host: Host) -> None:
    data = os.urandom(2 * BLOCK)
    assert host.do(at(WRITE, 2, 0), data, in_capsule=True).raw == 0
    cid = host.give(at(WRITE, 2, 1), data, in_capsule=False)
    asked = host.receive()
    assert asked.word(16) == BLOCK  # what it takes of them
    host.send_data(cid, asked.half(10), data, 0, BLOCK, last=True)
    assert host.finish(cid).raw == 0
    assert host.do(at(READ, 2, 0, 1), room=10 * BLOCK).data == data[:BLOCK] * 2


# ---------------------------------------------------------------- data for an R2T


DATA: dict[str, tuple[Callable[[Host, int, int, bytes], None], tuple[int, int]]] = {
    "another tag": (lambda h, c, t, d: h.send_data(c, t + 1, d, 0, BLOCK, last=True), (1, 10)),
    "another command": (lambda h, c, t, d: h.send_data(c + 1, t, d, 0, BLOCK, last=True), (1, 8)),
    "a gap": (lambda h, c, t, d: h.send_data(c, t, d, 4, BLOCK, last=True), (4, 12)),
    "too much": (lambda h, c, t, d: h.send_data(c, t, d * 2, 0, 2 * BLOCK, last=True), (4, 12)),
    "an early end": (lambda h, c, t, d: h.send_data(c, t, d, 0, 2048, last=True), (1, 1)),
    "no end": (lambda h, c, t, d: h.send_data(c, t, d, 0, BLOCK, last=False), (1, 1)),
    "a lying length": (
        lambda h, c, t, d: h.sock.sendall(
            h.pack(0x06, struct.pack("<HHIII", c, t, 0, BLOCK, 0), d[:100], flags=4)
        ),
        (1, 16),
    ),
}


@pytest.mark.parametrize("what", DATA)
def test_data_that_nobody_asked_for(host: Host, disk: zoned.Device, what: str) -> None:
    data = b"!" * BLOCK
    cid = host.give(at(WRITE, 2, 0), data, in_capsule=False)
    asked = host.receive()
    send, expected = DATA[what]
    send(host, cid, asked.half(10), data)
    assert ended_by(host) == expected
    assert disk.pread(BLOCK, 0) == bytes(BLOCK)


def test_a_cid_in_use(host: Host) -> None:
    cid = host.give(at(WRITE, 2, 0), bytes(BLOCK), in_capsule=False)
    asked = host.receive()
    assert host.do(at(READ, 2, 0, cid=cid), room=BLOCK).status == 3
    host.send_data(cid, asked.half(10), bytes(BLOCK), 0, BLOCK, last=True)
    assert host.finish(cid).raw == 0


def test_more_commands_than_entries(admin: Admin) -> None:
    with admin().io(entries=4) as host:
        for where in range(5):
            host.give(at(WRITE, 2, where), bytes(BLOCK), in_capsule=False)
        assert ended_by(host) == (2, 0)


# ---------------------------------------------------------------- hosts that go


def test_hosts_that_vanish_at_each_step(admin: Admin, disk: zoned.Device, target: Nvme) -> None:
    disk.faults.add("hang", on="read", range=(0, BLOCK))
    raw = b""
    with admin() as host, host.io() as queue:
        sqe = bytearray(at(WRITE, 2, 5, 7, cid=1))
        sqe[1] = 0x40
        sqe[24:40] = struct.pack("<QI3xB", 0, 8 * BLOCK, TRANSPORT)
        raw = queue.pack(0x04, bytes(sqe))
        raw += queue.pack(0x06, struct.pack("<HHIII", 1, 0, 0, BLOCK, 0), bytes(BLOCK))
    for step, cut in enumerate((0, 1, 8, 40, 72, 80, 100, 2000, len(raw))):
        with admin() as host, host.io() as queue:
            queue.give(at(READ, 2, 0), room=BLOCK)
            queue.sock.sendall(raw[:cut])
            if step % 3 == 0:
                queue.sock.shutdown(socket.SHUT_WR)
            if step % 3 == 1:
                host.close()  # the admin queue first
                assert queue.comes_to_an_end()
    until(lambda: len(target.controllers) == 1, "all that was theirs ends")
    disk.faults.clear()


def test_half_a_pdu_and_silence(disk: zoned.Device, export: Callable[..., Nvme]) -> None:
    served = export(disk, limits=Limits(stall=0.3))
    with Host(served.address, served.nqn) as host, host.io() as queue:
        queue.sock.sendall(struct.pack("<BBBBI", 4, 0, 72, 0, 72))
        assert queue.is_gone()
        assert host.is_served()


def test_whoever_takes_no_answers_is_dropped(
    disk: zoned.Device, export: Callable[..., Nvme]
) -> None:
    served = export(disk, limits=Limits(stall=0.3))
    with Host(served.address, served.nqn) as host, host.io() as queue:
        for _ in range(31):
            queue.give(at(READ, 2, 0, 255), room=256 * BLOCK)  # 31 MiB, read by nobody
        until(lambda: served.controllers[0].queues == 0, "it is dropped")
        assert host.is_served()


def test_resets_while_commands_run(admin: Admin, disk: zoned.Device, target: Nvme) -> None:
    disk.faults.add("hang", on="read", range=(0, BLOCK))
    host = admin()
    for _ in range(5):
        with host.io() as queue:
            for where in range(8):
                queue.give(at(READ, 2, where % 2), room=BLOCK)
            queue.give(at(WRITE, 2, 3), bytes(BLOCK), in_capsule=False)
            host.give(entry(0x0C))
            assert host.set(0x14, 0x460060) == 0
            assert queue.comes_to_an_end()
        until(lambda: not host.get(0x1C) & 1, "the reset is over")
        host.enable()
    assert host.is_served()
    disk.faults.clear()


def test_aborts_of_everything(admin: Admin, disk: zoned.Device, target: Nvme) -> None:
    disk.faults.add("hang", on="read", range=(0, BLOCK))
    host = admin()

    def under_way() -> int:
        return sum(one.under_way for one in target.controllers)

    with host.io() as queue:
        cids = {queue.give(at(READ, 2, 0), room=BLOCK) for _ in range(8)}
        until(lambda: under_way() == 8, "all of them have come")

        def abort_all() -> bool:
            for number in (0, 1, 2, 127, 0xFFFF):
                for cid in (*cids, 0, 99, 0xFFFF):
                    assert host.do(entry(0x08, d10=number | cid << 16)).raw == 0
            return under_way() == 0

        until(abort_all, "all of them are aborted")
        for _ in range(8):
            pdu = queue.receive()
            cids.remove(pdu.half(20))
            assert pdu.half(22) >> 1 & 0x7FF == 7
    assert not cids
    disk.faults.clear()


# ---------------------------------------------------------------- anything


def send_and_look(host: Host, stream: bytes) -> None:
    """All of it, and whole PDUs back, to the end."""
    with contextlib.suppress(OSError):
        host.sock.sendall(stream)
        host.sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(GoneError, OSError):
        while True:
            host.receive()


_first = st.lists(
    st.tuples(
        st.sampled_from([0x00, 0x02, 0x04, 0x04, 0x04, 0x06]),
        st.sampled_from([0, 1, 4, 5, 6, 8]),
        st.sampled_from([0, 0x40]),
        st.sampled_from([b"", bytes(1024), bytes(16)]) | st.binary(max_size=80),
        st.sampled_from([(0, 1024, CAPSULE), (0, 16, TRANSPORT), (0, 2**32 - 1, CAPSULE)]),
    ),
    max_size=6,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(_first, st.booleans(), st.integers(0, 3), st.integers(0, 100))
def test_any_beginning(
    target: Nvme,
    pdus: list[tuple[int, int, int, bytes, tuple[int, int, int]]],
    begun: bool,
    digests: int,
    cut: int,
) -> None:
    with Host(target.address, None) as host:
        host.nqn = random.choice([target.nqn, DISCOVERY])
        if begun:
            host.begin(digests)
        stream = b""
        for kind, fabrics, flags, data, sgl in pdus:
            sqe = bytearray(entry(0x7F, fabrics, cid=3, flags=flags))
            sqe[24:40] = struct.pack("<QI3xB", *sgl)
            sqe[40:52] = struct.pack("<HHHBxI", 0, 0, 31, 4, 0)
            if len(data) == 1024:
                data = host.connect_data()  # noqa: PLW2901
            body = bytes(sqe) if kind == 0x04 else bytes(16 if kind else 120)
            stream += host.pack(kind, body, data)
        send_and_look(host, stream[: len(stream) - cut * len(stream) // 400])


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(0, 2), st.data())
def test_any_proof(guarded: Nvme, messages: list[bytes], right: int, data: Any) -> None:
    proof = Proof(b"k" * 32, groups=b"\0")
    with (
        contextlib.suppress(GoneError, OSError),
        Host(guarded.address, guarded.nqn, enable=False) as host,
    ):
        if right:
            challenge = host.negotiate(proof)
        if right == 2:
            reply = bytearray(host.reply(proof, challenge)[0])
            # Of what is looked at.
            reply[data.draw(st.sampled_from([0, 1, 4, 5, 6]) | st.integers(16, 79))] ^= data.draw(
                st.integers(1, 255)
            )
            host.auth_send(bytes(reply))
        for message in messages:
            host.auth_send(message or b"\0")
        host.fabrics(0x06, struct.pack("<BBBBI", 0, 1, 1, 0xE9, 4096), room=4096)
    assert guarded.controllers == []


@pytest.fixture
def guarded(disk: zoned.Device, export: Callable[..., Nvme]) -> Nvme:
    return export(disk, dhchap=secret(b"k" * 32))


NUMBERS = cycle(range(1, 128))
"""Of queues: that of the example before may be about to end."""
_behind = st.lists(
    st.tuples(
        st.sampled_from([0x04, 0x04, 0x04, 0x06, 0x06, 0x02, 0x00]),
        st.sampled_from(
            [
                at(READ, 2, 0),
                at(WRITE, 2, 1, 2),
                at(WRITE, 1, 300),
                at(0x7D, 1, 0),
                at(0x7A, 1, 0, 1023),
                at(0x79, 1, 256, d13=2),
                entry(0x00, 2),
                entry(0x09, 2, d11=4),
                entry(0x7F, 8),
                entry(0xFF, 0xFFFFFFFF),
            ]
        ),
        st.integers(1, 4),
        st.sampled_from([CAPSULE, TRANSPORT, 0x00]),
        st.sampled_from([0, 4, BLOCK, 3 * BLOCK, 2**32 - 1]),
        st.sampled_from([0, 0, 0, 4, BLOCK, 2**63]),
        st.binary(max_size=40) | st.just(bytes(BLOCK)),
        st.integers(0, 7),
        st.sampled_from([0, 0, 0, 4, 20]),
    ),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(_behind, st.integers(0, 3), st.integers(0, 100))
def test_any_pdus(admin_of_all: Host, pdus: list[tuple[Any, ...]], digests: int, cut: int) -> None:
    with admin_of_all.io(next(NUMBERS), digests=digests) as host:
        stream = b""
        for kind, base, cid, sgl, length, offset, data, flags, gap in pdus:
            sqe = bytearray(base)
            sqe[1], sqe[2] = 0x40, cid
            sqe[24:40] = struct.pack("<QI3xB", offset, length, sgl)
            body = bytes(sqe)
            if kind != 0x04:
                body = struct.pack("<HHIII", cid, flags & 1, offset % 2**32, len(data), 0)
                if kind == 0x00:
                    body = body.ljust(120, b"\0")
            how = {"flags": flags & 4} if kind == 0x06 else {}
            stream += host.pack(kind, body, data, gap=gap, spoil_data=flags == 7, **how)
        send_and_look(host, stream[: len(stream) - cut * len(stream) // 400])


@pytest.fixture
def admin_of_all(admin: Admin) -> Host:
    return admin()


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_any_bytes(target: Nvme, data: bytes, begun: bool, connected: bool) -> None:
    with Host(target.address, target.nqn if connected else None) as host:
        if begun and not connected:
            host.begin()
        send_and_look(host, data)
