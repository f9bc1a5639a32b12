"""A small NVMe/TCP host of our own: it can do what a good one does, and whatever a bad one would.

Blocking, a connection each; every wait ends after PATIENCE. It knows the transport and DH-HMAC-CHAP from the other
side and shares no code with the target but the hash functions of the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from connection import Connection, GoneError
from image.layout import crc32c
from wire.nvme_door import Status, at, entry

HOST = "nqn.2026-01.test:host"
HOST_ID = bytes(range(16))
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
READ, WRITE, FLUSH, APPEND, IDENTIFY = 0x02, 0x01, 0x00, 0x7D, 0x06
FABRICS = 0x7F
TRANSPORT, CAPSULE = 0x5A, 0x01
BLOCK = 4096


class TerminatedError(GoneError):
    """It did, and said why before: a C2HTermReq."""

    def __init__(self, status: int, information: int) -> None:
        super().__init__(f"status {status:02x}h, information {information}")
        self.status, self.information = status, information


class RefusedError(Exception):
    """A command of the beginning was refused."""

    def __init__(self, status: int, result: int) -> None:
        super().__init__(f"status {status:03x}h, result {result:x}h")
        self.status, self.result = status, result


@dataclass
class Pdu:
    """One that came."""

    head: bytes
    data: bytes

    @property
    def kind(self) -> int:
        return self.head[0]

    @property
    def flags(self) -> int:
        return self.head[1]

    def half(self, where: int) -> int:
        return int(struct.unpack_from("<H", self.head, where)[0])

    def word(self, where: int) -> int:
        return int(struct.unpack_from("<I", self.head, where)[0])


@dataclass
class Result(Status):
    """What became of a command."""

    raw: int
    """Status, without the phase."""
    result: int = 0
    sqhd: int = 0
    data: bytes = b""
    pdus: list[Pdu] = field(default_factory=list)


def secret(key: bytes, hash_id: int = 0) -> str:
    """As nvme gen-dhchap-key writes one."""
    raw = key + struct.pack("<I", zlib.crc32(key))
    return f"DHHC-1:{hash_id:02}:{base64.b64encode(raw).decode()}:"


@dataclass
class Proof:
    """What a host proves itself by, and how."""

    key: bytes
    key_hash: int = 0
    hashes: bytes = b"\1\2\3"
    groups: bytes = b"\0\1\2\3\4\5"
    controller: bytes | None = None
    """The controller's key; None: it need not prove anything."""
    exponent: int = 0x1234567890ABCDEF1234567890ABCDEF


class Host(Connection):
    """A connection, begun and connected unless told otherwise; the admin queue is enabled."""

    def __init__(
        self,
        address: str,
        nqn: str | None,
        *,
        queue: int = 0,
        controller: int = 0xFFFF,
        entries: int = 32,
        name: str = HOST,
        host_id: bytes = HOST_ID,
        keep_alive: int = 0,
        flow_control: bool = False,
        digests: int = 0,
        align: int = 0,
        proof: Proof | None = None,
        by_r2t: bool = False,
        enable: bool = True,
    ) -> None:
        """``nqn`` None: nothing is sent. ``digests``: 1 header, 2 data. ``keep_alive``: ms."""
        super().__init__(address)
        self.nqn, self.name, self.host_id = nqn, name, host_id
        self.queue, self.entries = queue, entries
        self.digests, self.align = 0, align
        self.next_cid = 1
        self.controller = controller
        self.segment = 0
        self.by_r2t = by_r2t
        if nqn is None:
            return
        try:
            self.begin(digests)
            self.connect(keep_alive, flow_control=flow_control, proof=proof)
            if enable and not queue:
                self.enable()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------ PDUs

    def receive(self) -> Pdu:
        """The next PDU, with its digests looked at."""
        head = self._receive(8)
        kind, flags, header, offset, size = struct.unpack("<BBBBI", head)
        rest = self._receive(size - 8)
        head += rest[: header - 8]
        if kind == 0x03:
            raise TerminatedError(*struct.unpack_from("<HI", head, 8))
        behind = header
        if self.digests & 1 and kind != 0x01:
            assert flags & 1
            assert struct.unpack_from("<I", rest, header - 8)[0] == crc32c(head)
            behind += 4
        if size == behind:
            return Pdu(head, b"")
        assert kind == 0x07
        assert offset % (4 * (self.align + 1)) == 0
        assert offset >= behind
        data = rest[offset - 8 :]
        if self.digests & 2:
            assert flags & 2
            data, digest = data[:-4], data[-4:]
            assert struct.unpack("<I", digest)[0] == crc32c(data)
        return Pdu(head, data)

    def pack(
        self,
        kind: int,
        body: bytes,
        data: bytes = b"",
        *,
        flags: int = 0,
        spoil_header: bool = False,
        spoil_data: bool = False,
        gap: int = 0,
    ) -> bytes:
        """A PDU's bytes. ``gap``: bytes between header and data."""
        header = 8 + len(body)
        offset = header + (4 if self.digests & 1 else 0) + gap
        behind = b""
        if self.digests & 1:
            flags |= 1
        if data and self.digests & 2:
            flags |= 2
            behind = struct.pack("<I", crc32c(data) ^ spoil_data)
        size = offset + len(data) + len(behind)
        head = struct.pack("<BBBBI", kind, flags, header, offset if data else 0, size) + body
        if self.digests & 1:
            head += struct.pack("<I", crc32c(head) ^ spoil_header)
        return head.ljust(offset, b"\0") + data + behind

    def begin(self, digests: int = 0) -> None:
        """ICReq and its answer."""
        body = struct.pack("<HBBI", 0, self.align, digests, 0).ljust(120, b"\0")
        self.sock.sendall(struct.pack("<BBBBI", 0, 0, 128, 0, 128) + body)
        answer = self.receive()
        assert (answer.kind, len(answer.head)) == (0x01, 128)
        assert answer.half(8) == 0
        assert answer.head[11] == digests
        self.digests = digests
        self.segment = answer.word(12)
        assert self.segment >= 4096

    # ------------------------------------------------------------ commands

    def give(
        self,
        sqe: bytes,
        data: bytes = b"",
        *,
        room: int = 0,
        in_capsule: bool | None = None,
        length: int | None = None,
        **how: Any,
    ) -> int:
        """Send a command; its CID. ``length``: what its SGL says, if that shall lie."""
        found = bytearray(sqe)
        if not found[2] and not found[3]:
            found[2:4] = self.next_cid.to_bytes(2, "little")
            self.next_cid = self.next_cid % 0xFFFF + 1
        found[1] |= 0x40
        inside = bool(data) and (len(data) <= 8192 if in_capsule is None else in_capsule)
        size = length if length is not None else len(data) or room
        kind = CAPSULE if inside else TRANSPORT
        if not any(found[24:40]):
            found[24:40] = struct.pack("<QI3xB", 0, size, kind)
        self.sock.sendall(self.pack(0x04, bytes(found), data if inside else b"", **how))
        return int.from_bytes(found[2:4], "little")

    def send_data(
        self, cid: int, tag: int, data: bytes, begin: int, end: int, *, last: bool, **how: Any
    ) -> None:
        body = struct.pack("<HHIII", cid, tag, begin, end - begin, 0)
        self.sock.sendall(self.pack(0x06, body, data[begin:end], flags=4 if last else 0, **how))

    def finish(self, cid: int, data: bytes = b"", segment: int | None = None) -> Result:
        """What becomes of a command, whose data is sent as it is asked for."""
        found = Result(0)
        while True:
            pdu = self.receive()
            found.pdus.append(pdu)
            if pdu.kind == 0x09:
                assert pdu.half(8) == cid
                begin = pdu.word(12)
                end = begin + pdu.word(16)
                step = segment or self.segment
                for where in range(begin, end, step):
                    until = min(end, where + step)
                    self.send_data(cid, pdu.half(10), data, where, until, last=until == end)
            elif pdu.kind == 0x07:
                assert pdu.half(8) == cid
                assert pdu.word(12) == len(found.data)
                assert pdu.word(16) == len(pdu.data)
                found.data += pdu.data
                if pdu.flags & 8:
                    assert pdu.flags & 4
                    return found
            else:
                assert pdu.kind == 0x05
                assert pdu.half(20) == cid
                found.result, found.sqhd = struct.unpack_from("<QH", pdu.head, 8)
                found.raw = pdu.half(22) >> 1
                return found

    def do(self, sqe: bytes, data: bytes = b"", **how: Any) -> Result:
        """Carry a command out."""
        return self.finish(self.give(sqe, data, **how), data)

    def write(self, nsid: int, block: int, data: bytes, **how: Any) -> Result:
        return self.do(at(WRITE, nsid, block, len(data) // BLOCK - 1), data, **how)

    def read(self, nsid: int, block: int, blocks: int = 1) -> Result:
        return self.do(at(READ, nsid, block, blocks - 1), room=blocks * BLOCK)

    def identify(self, cns: int, nsid: int = 0, csi: int = 0) -> Result:
        return self.do(entry(IDENTIFY, nsid, d10=cns, d11=csi << 24), room=4096)

    def is_served(self) -> bool:
        """Whether it is answered: by KEEP ALIVE, or a FLUSH."""
        sqe = entry(0x18) if not self.queue else entry(FLUSH, 1)
        return self.do(sqe).status == 0

    # ------------------------------------------------------------ Fabrics

    def fabrics(self, kind: int, body: bytes, data: bytes = b"", **how: Any) -> Result:
        """``body``: from byte 40 on."""
        sqe = bytearray(64)
        sqe[0], sqe[4] = FABRICS, kind
        sqe[40 : 40 + len(body)] = body
        if data and self.by_r2t:
            how.setdefault("in_capsule", False)
        return self.do(bytes(sqe), data, **how)

    def connect_data(self) -> bytes:
        data = self.host_id + struct.pack("<H", self.controller).ljust(240, b"\0")
        assert self.nqn is not None
        return data + self.nqn.encode().ljust(256, b"\0") + self.name.encode().ljust(512, b"\0")

    def connect(
        self, keep_alive: int = 0, *, flow_control: bool = False, proof: Proof | None = None
    ) -> Result:
        """CONNECT, and the proof if that is asked for. Raises RefusedError."""
        body = struct.pack(
            "<HHHBxI", 0, self.queue, self.entries - 1, 0 if flow_control else 4, keep_alive
        )
        answer = self.fabrics(0x01, body, self.connect_data())
        if answer.raw:
            raise RefusedError(answer.status, answer.result)
        self.controller = answer.result & 0xFFFF
        if answer.result >> 16:
            assert answer.result >> 16 == 2  # ATR
            if proof is not None:
                self.prove(proof)
        return answer

    def get(self, offset: int) -> int:
        found = self.fabrics(0x04, struct.pack("<B3xI", offset == 0, offset))
        if found.raw:
            raise RefusedError(found.status, found.result)
        return found.result

    def set(self, offset: int, value: int) -> int:
        return self.fabrics(0x00, struct.pack("<B3xIQ", 0, offset, value)).status

    def enable(self) -> None:
        sets = 6 if self.get(0) >> 43 & 1 else 0
        assert self.set(0x14, 0x460001 | sets << 4) == 0
        assert self.get(0x1C) & 1

    def io(self, queue: int = 1, **how: Any) -> Host:
        """Another queue of the controller."""
        host, port = self.sock.getpeername()[:2]
        return Host(
            f"{host}:{port}",
            self.nqn,
            queue=queue,
            controller=how.pop("controller", self.controller),
            name=how.pop("name", self.name),
            host_id=how.pop("host_id", self.host_id),
            **how,
        )

    def is_gone(self) -> bool:
        """Whether the target ends the connection; False if something else comes."""
        try:
            self.receive()
        except GoneError:
            return True
        return False

    def comes_to_an_end(self) -> bool:
        """Whether it is ended, whatever is said before."""
        while not self.is_gone():
            pass
        return True

    # ------------------------------------------------------------ DH-HMAC-CHAP

    def auth_send(self, message: bytes) -> Result:
        return self.fabrics(0x05, struct.pack("<BBBBI", 0, 1, 1, 0xE9, len(message)), message)

    def auth_receive(self, room: int = 4096) -> bytes:
        answer = self.fabrics(0x06, struct.pack("<BBBBI", 0, 1, 1, 0xE9, room), room=room)
        if answer.raw:
            raise RefusedError(answer.status, answer.result)
        return answer.data

    def negotiate(self, proof: Proof, transaction: int = 77, channel: int = 0) -> bytes:
        """The first message's answer."""
        lists = proof.hashes.ljust(30, b"\0") + proof.groups.ljust(30, b"\0")
        sizes = bytes([1, 0, len(proof.hashes), len(proof.groups)])
        head = struct.pack("<BBHHBB", 0, 0, 0, transaction, channel, 1)
        assert self.auth_send(head + sizes + lists).raw == 0
        return self.auth_receive()

    def reply(self, proof: Proof, challenge: bytes) -> tuple[bytes, bytes]:
        """The answer to a challenge, and what the controller has to prove itself by."""
        kind, number, transaction, size, hash_id, group, public_size, sequence = struct.unpack_from(
            "<BB2xHBxBBHI", challenge
        )
        assert (kind, number) == (1, 1)
        name = {1: "sha256", 2: "sha384", 3: "sha512"}[hash_id]
        value = challenge[16 : 16 + size]
        public = challenge[16 + size :]
        assert len(public) == public_size
        mine, session = b"", b""
        if group:
            modulus = MODULI[group]
            mine = pow(2, proof.exponent, modulus).to_bytes(public_size, "big")
            session = pow(int.from_bytes(public, "big"), proof.exponent, modulus).to_bytes(
                public_size, "big"
            )

        def response(
            key: bytes, of: str, value: bytes, number: int, role: str, *names: str
        ) -> bytes:
            if proof.key_hash:
                how = {1: "sha256", 2: "sha384", 3: "sha512"}[proof.key_hash]
                key = hmac.digest(key, of.encode() + b"NVMe-over-Fabrics", how)
            if session:
                value = hmac.digest(hashlib.new(name, session).digest(), value, name)
            text = value + struct.pack("<IHB", number, transaction, 0) + role.encode()
            return hmac.digest(key, text + names[0].encode() + b"\0" + names[1].encode(), name)

        assert self.nqn is not None
        ours = os.urandom(size) if proof.controller is not None else bytes(size)
        asks = proof.controller is not None
        rval = response(proof.key, self.name, value, sequence, "HostHost", self.name, self.nqn)
        message = struct.pack(
            "<BBHHBBBBHI", 1, 2, 0, transaction, size, 0, asks, 0, len(mine), 5 if asks else 0
        )
        expected = b""
        if proof.controller is not None:
            expected = response(
                proof.controller, self.nqn, ours, 5, "Controller", self.nqn, self.name
            )
        return message + rval + ours + mine, expected

    def prove(self, proof: Proof) -> None:
        """All of it. Raises RefusedError with 0 and the explanation where the controller refuses."""
        challenge = self.negotiate(proof)
        self.is_failure(challenge)
        message, expected = self.reply(proof, challenge)
        assert self.auth_send(message).raw == 0
        success = self.auth_receive()
        self.is_failure(success)
        kind, number, transaction, size, valid = struct.unpack_from("<BB2xHBxB", success)
        assert (kind, number, transaction) == (1, 3, 77)
        assert valid == bool(expected)
        if expected:
            assert success[16 : 16 + size] == expected
            assert self.auth_send(struct.pack("<BBHH10x", 1, 4, 0, transaction)).raw == 0

    @staticmethod
    def is_failure(message: bytes) -> None:
        if message[:2] == b"\0\xf0":
            assert message[6] == 1
            raise RefusedError(0, message[7])


def _e(bits: int) -> int:
    """The first bits of e, by its continued series, in another way than the target has it."""
    from decimal import Decimal, getcontext

    getcontext().prec = bits // 3 + 60
    return int(Decimal(1).exp() * Decimal(2) ** bits)


class _Moduli(dict[int, int]):
    """RFC 7919's, made when they are first used."""

    def __missing__(self, group: int) -> int:
        bits, more = {
            1: (2048, 560316),
            2: (3072, 2625351),
            3: (4096, 5736041),
            4: (6144, 15705020),
            5: (8192, 10965728),
        }[group]
        self[group] = 2**bits - 2 ** (bits - 64) + (_e(bits - 130) + more) * 2**64 - 1
        return self[group]


MODULI = _Moduli()
