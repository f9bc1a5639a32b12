"""A small iSCSI initiator of our own: it can do what a good one does, and whatever a bad one would.

Blocking, one connection; every wait ends after PATIENCE. It knows RFC 7143 from the other side and shares
no code with the target but the hash functions of the standard library.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from connection import Connection, GoneError
from image.layout import crc32c
from scsi import sense_codes

NOBODY = 0xFFFFFFFF
NAME = "iqn.2026-01.test:host"


def digest(data: bytes) -> bytes:
    """CRC32C as it stands on the wire."""
    return struct.pack("<I", crc32c(data))


@dataclass
class Pdu:
    """One that came."""

    raw: bytes
    data: bytes

    @property
    def opcode(self) -> int:
        return self.raw[0] & 0x3F

    @property
    def flags(self) -> int:
        return self.raw[1]

    def word(self, at: int) -> int:
        return int(struct.unpack_from(">I", self.raw, at)[0])

    @property
    def itt(self) -> int:
        return self.word(16)

    @property
    def ttt(self) -> int:
        return self.word(20)


@dataclass
class Result:
    """What became of a command."""

    status: int
    sense: bytes = b""
    data: bytes = b""
    residual: int = 0
    """Above 0 an overflow, below an underflow."""
    r2ts: list[tuple[int, int]] = field(default_factory=list)
    pdus: list[Pdu] = field(default_factory=list)

    @property
    def codes(self) -> tuple[int, int, int]:
        """Sense key, ASC, ASCQ; zeros without sense."""
        return sense_codes(self.sense)


def chap_response(algorithm: int, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    made = {5: hashlib.md5, 6: hashlib.sha1, 7: hashlib.sha256, 8: hashlib.sha3_256}[algorithm]
    return made(bytes([identifier]) + secret + challenge).digest()


class Initiator(Connection):
    """A connection. ``keys`` are offered in the operational stage, beside usual ones."""

    def __init__(
        self,
        address: str,
        target: str | None,
        *,
        name: str = NAME,
        isid: bytes = b"\x80\0\0\0\0\1",
        chap: tuple[str, bytes] | None = None,
        algorithm: int = 5,
        mutual: tuple[str, bytes] | None = None,
        keys: dict[str, str] | None = None,
        login: bool = True,
    ) -> None:
        super().__init__(address)
        self.target = target
        self.name = name
        self.isid = isid
        self.cmd_sn = 100
        self.exp_stat_sn = 0
        self.max_cmd_sn = 0
        self.exp_cmd_sn = 0
        self.next_itt = 1
        self.header_digest = self.data_digest = False
        self.agreed: dict[str, str] = {}
        self.tsih = 0
        if login:
            try:
                self.login(keys or {}, chap, algorithm, mutual)
            except BaseException:
                self.close()
                raise

    # ------------------------------------------------------------ PDUs

    def receive(self) -> Pdu:
        raw = self._receive(48)
        assert raw[4] == 0
        if self.header_digest:
            assert self._receive(4) == digest(raw)
        length = int.from_bytes(raw[5:8], "big")
        data = self._receive((length + 3) // 4 * 4)
        assert not any(data[length:])
        if length and self.data_digest:
            assert self._receive(4) == digest(data)
        pdu = Pdu(raw, data[:length])
        if pdu.opcode != 0x31 and not (pdu.opcode == 0x25 and not pdu.flags & 1):
            self.exp_stat_sn = pdu.word(24) + 1 & NOBODY
        self.exp_cmd_sn, self.max_cmd_sn = pdu.word(28), pdu.word(32)
        return pdu

    def pack(
        self,
        raw: bytes | bytearray,
        data: bytes = b"",
        more: bytes = b"",
        *,
        spoil_header: bool = False,
        spoil_data: bool = False,
    ) -> bytes:
        made = bytearray(raw)
        made[4] = len(more) // 4
        made[5:8] = len(data).to_bytes(3, "big")
        made += more
        if self.header_digest:
            made += digest(bytes(made)) if not spoil_header else b"\0\1\2\3"
        if data:
            padded = data + bytes(-len(data) % 4)
            made += padded
            if self.data_digest:
                made += digest(padded) if not spoil_data else b"\0\1\2\3"
        return bytes(made)

    def send(
        self, raw: bytes | bytearray, data: bytes = b"", more: bytes = b"", **spoil: bool
    ) -> None:
        try:
            self.sock.sendall(self.pack(raw, data, more, **spoil))
        except (ConnectionResetError, BrokenPipeError):
            raise GoneError from None

    def header(
        self,
        opcode: int,
        flags: int = 0x80,
        *,
        itt: int | None = None,
        second: int = 0,
        immediate: bool = False,
        cmd_sn: int | None = None,
        lun: int = 0,
    ) -> bytearray:
        raw = bytearray(48)
        raw[0] = opcode | (0x40 if immediate else 0)
        raw[1] = flags
        raw[9] = lun
        if itt is None:
            itt = self.next_itt
            self.next_itt += 1
        struct.pack_into(">II", raw, 16, itt, second)
        if cmd_sn is None:
            cmd_sn = self.cmd_sn
            if not immediate and opcode != 0x05:
                self.cmd_sn = self.cmd_sn + 1 & NOBODY
        struct.pack_into(">II", raw, 24, cmd_sn, self.exp_stat_sn)
        return raw

    # ------------------------------------------------------------ login

    def login_pdu(self, flags: int, pairs: dict[str, str], tsih: int = 0) -> Pdu:
        self.send_login(flags, pairs, tsih)
        return self.receive()

    def send_login(self, flags: int, pairs: dict[str, str], tsih: int = 0) -> None:
        raw = bytearray(48)
        raw[0], raw[1] = 0x43, flags
        raw[8:14] = self.isid
        struct.pack_into(">HIH", raw, 14, tsih, 7, 1)
        struct.pack_into(">II", raw, 24, self.cmd_sn, self.exp_stat_sn)
        self.send(raw, b"".join(f"{k}={v}\0".encode() for k, v in pairs.items()))

    def text(self, pdu: Pdu) -> dict[str, str]:
        pairs = (item.decode().partition("=") for item in pdu.data.split(b"\0") if item)
        return {key: value for key, _, value in pairs}

    def first_keys(self) -> dict[str, str]:
        keys = {"InitiatorName": self.name}
        if self.target is None:
            return keys | {"SessionType": "Discovery"}
        return keys | {"TargetName": self.target, "SessionType": "Normal"}

    def login(
        self,
        keys: dict[str, str],
        chap: tuple[str, bytes] | None,
        algorithm: int,
        mutual: tuple[str, bytes] | None,
    ) -> None:
        method = {"AuthMethod": "CHAP" if chap else "None"}
        if chap is None:
            self.expect(self.login_pdu(0x81, self.first_keys() | method), 0x81)
        else:
            self.expect(self.login_pdu(0x00, self.first_keys() | method), 0x00)
            self.prove(chap, algorithm, mutual)
        offered = {
            "HeaderDigest": "None",
            "DataDigest": "None",
            "InitialR2T": "No",
            "ImmediateData": "Yes",
            "MaxRecvDataSegmentLength": "262144",
            "MaxBurstLength": "262144",
            "FirstBurstLength": "65536",
        } | keys
        last = self.login_pdu(0x87, offered)
        self.expect(last, 0x87)
        self.agreed = self.text(last)
        self.header_digest = self.agreed.get("HeaderDigest") == "CRC32C"
        self.data_digest = self.agreed.get("DataDigest") == "CRC32C"
        self.tsih = int.from_bytes(last.raw[14:16], "big")

    def prove(
        self, chap: tuple[str, bytes], algorithm: int, mutual: tuple[str, bytes] | None
    ) -> None:
        found = self.text(self.login_pdu(0x00, {"CHAP_A": str(algorithm)}))
        assert found["CHAP_A"] == str(algorithm)
        challenge = bytes.fromhex(found["CHAP_C"][2:])
        response = chap_response(algorithm, int(found["CHAP_I"]), chap[1], challenge)
        mine = os.urandom(24)
        keys = {"CHAP_N": chap[0], "CHAP_R": "0x" + response.hex()}
        if mutual:
            keys |= {"CHAP_I": "77", "CHAP_C": "0x" + mine.hex()}
        answer = self.login_pdu(0x81, keys)
        self.expect(answer, 0x81)
        if mutual:
            proof = self.text(answer)
            assert proof["CHAP_N"] == mutual[0]
            assert bytes.fromhex(proof["CHAP_R"][2:]) == chap_response(
                algorithm, 77, mutual[1], mine
            )

    def expect(self, pdu: Pdu, flags: int) -> None:
        status = int.from_bytes(pdu.raw[36:38], "big")
        if status:
            raise PermissionError(status, f"login status {status:04x}h")
        assert pdu.opcode == 0x23
        assert pdu.flags == flags, hex(pdu.flags)

    # ------------------------------------------------------------ commands

    def command(
        self,
        cdb: bytes,
        *,
        read: int = 0,
        write: int | None = None,
        data: bytes = b"",
        immediate_data: int | None = None,
        unsolicited: int | None = None,
        itt: int | None = None,
        immediate: bool = False,
        lun: int = 0,
        cmd_sn: int | None = None,
    ) -> int:
        """Send one, with its immediate data and its unsolicited Data-Outs; its task tag."""
        first = int(self.agreed.get("FirstBurstLength", "65536"))
        length = len(data) if write is None else write
        now = 0
        if data and self.agreed.get("ImmediateData") == "Yes":
            now = min(len(data), first, 8192) if immediate_data is None else immediate_data
        burst = now
        if data and self.agreed.get("InitialR2T") == "No":
            burst = max(now, min(len(data), first) if unsolicited is None else unsolicited)
        flags = (0x80 if burst == now else 0) | (0x40 if read else 0) | (0x20 if length else 0)
        raw = self.header(
            0x01,
            flags,
            second=read or length,
            itt=itt,
            immediate=immediate,
            lun=lun,
            cmd_sn=cmd_sn,
        )
        tag = struct.unpack_from(">I", raw, 16)[0]
        raw[32:48] = cdb[:16].ljust(16, b"\0")
        more = b""
        if len(cdb) > 16:
            rest = cdb[16:] + bytes(-len(cdb[16:]) % 4)
            more = struct.pack(">HBB", 1 + len(cdb[16:]), 1, 0) + rest
        self.send(raw, data[:now], more)
        if burst > now:
            self.data_out(tag, NOBODY, data, now, burst)
        return int(tag)

    def data_out(
        self, itt: int, ttt: int, data: bytes, begin: int, end: int, *, sn: int = 0
    ) -> None:
        while begin < end:
            part = min(65536, end - begin)
            raw = self.header(0x05, 0x80 if begin + part == end else 0, itt=itt, second=ttt)
            struct.pack_into(">II", raw, 36, sn, begin)
            self.send(raw, data[begin : begin + part])
            begin += part
            sn += 1

    def finish(self, itt: int, data: bytes = b"") -> Result:
        """Answer R2Ts and take data until the status is there; PDUs of others are an error."""
        result = Result(-1)
        got = bytearray()
        while True:
            pdu = self.receive()
            result.pdus.append(pdu)
            assert pdu.itt == itt or pdu.opcode == 0x3F, (pdu.opcode, pdu.itt, itt)
            if pdu.opcode == 0x31:
                assert pdu.word(36) == len(result.r2ts)
                result.r2ts.append((pdu.word(40), pdu.word(44)))
                self.data_out(itt, pdu.ttt, data, pdu.word(40), pdu.word(40) + pdu.word(44))
            elif pdu.opcode == 0x25:
                assert pdu.word(40) == len(got)
                got += pdu.data
                if pdu.flags & 1:
                    result.status = pdu.raw[3]
            elif pdu.opcode == 0x21:
                assert pdu.raw[2] == 0
                result.status = pdu.raw[3]
                result.sense = pdu.data[2:]
            elif pdu.opcode == 0x3F:
                continue
            if result.status >= 0:
                sign = 1 if pdu.flags & 4 else -1 if pdu.flags & 2 else 0
                result.residual = sign * pdu.word(44)
                result.data = bytes(got)
                return result

    def do(self, cdb: bytes, *, read: int = 0, data: bytes = b"", **how: Any) -> Result:
        itt = self.command(cdb, read=read, data=data, **how)
        return self.finish(itt, data)

    def ready(self) -> None:
        """The unit attention of a new session is told and gone."""
        assert self.do(bytes(6)).codes[0] == 6
        assert self.do(bytes(6)).status == 0

    def manage(
        self, function: int, *, itt: int = NOBODY, lun: int = 0, immediate: bool = True
    ) -> int:
        """A task management function; its response."""
        raw = self.header(0x02, 0x80 | function, second=itt, lun=lun, immediate=immediate)
        self.send(raw)
        pdu = self.receive()
        assert pdu.opcode == 0x22
        return pdu.raw[2]

    def nop(self, data: bytes = b"") -> bytes:
        self.send(self.header(0x00, second=NOBODY, immediate=True), data)
        pdu = self.receive()
        assert pdu.opcode == 0x20
        return pdu.data

    def logout(self, reason: int = 0) -> int:
        self.send(self.header(0x06, 0x80 | reason, second=1 << 16, immediate=True))
        pdu = self.receive()
        assert pdu.opcode == 0x26
        return pdu.raw[2]

    def send_targets(self, value: str) -> list[tuple[str, str]]:
        self.send(self.header(0x04, second=NOBODY), f"SendTargets={value}\0".encode())
        found = b""
        while True:
            pdu = self.receive()
            assert pdu.opcode == 0x24
            found += pdu.data
            if pdu.flags & 0x80:
                break
            raw = self.header(0x04, itt=pdu.itt, second=pdu.ttt)
            self.send(raw)
        pairs = (item.decode().partition("=") for item in found.split(b"\0") if item)
        return [(key, value) for key, _, value in pairs]

    def is_gone(self) -> bool:
        """Whether the target closes the connection, whatever it says before."""
        try:
            while True:
                self.receive()
        except GoneError:
            return True
