"""The beginning of an NVMe/TCP connection, as a machine of bytes: ICReq, CONNECT, authentication,
and the discovery controller. `Hello.feed` takes what came, `Hello.output` is what is to be sent. No
socket and no clock in it; whatever comes, it answers or refuses.
"""

from __future__ import annotations

import fnmatch
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from zoned._core.native import lib
from zoned.export.dhchap import DhChap, DhExchange, Outcome
from zoned.export.discovery import DISCOVERY_NQN, Discovery, Record
from zoned.export.greeting import Greeting, RefusedError, State
from zoned.units import counted

IN_CAPSULE = 8192
"""Bytes of data behind a command here: of Fabrics commands, and of admin queues."""
SEGMENT = 1 << 20
"""MAXH2CDATA that this side tells; ZD_NVMETCP_SEGMENT of the C header."""
MOST_ENTRIES = 128
MOST_QUEUES = 128
_MOST_STEPS = 256
"""Commands before a connection is handed on: nobody needs a tenth of them."""
_IC, _TERMINATE, _CAPSULE, _HOST_DATA = 0x00, 0x02, 0x04, 0x06
_HEADERS = {_IC: 128, _TERMINATE: 24, _CAPSULE: 72, _HOST_DATA: 24}
_FABRICS = 0x7F
_CONNECT, _AUTH_SEND, _AUTH_RECEIVE = 0x01, 0x05, 0x06
_AUTHENTICATION_REQUIRED = 1 << 17


class Status(IntEnum):
    """How commands end: SCT << 8 | SC."""

    SUCCESS = 0x000
    INVALID_FIELD = 0x002
    SEQUENCE = 0x00C
    DATA_LENGTH = 0x00F
    BAD_SGL = 0x011
    TRANSPORT = 0x022
    FORMAT = 0x180
    BUSY = 0x181
    PARAMETERS = 0x182
    HOST = 0x184
    AUTHENTICATION = 0x191


class Fatal(IntEnum):
    """Why a connection is ended by a C2HTermReq."""

    HEADER = 0x01
    SEQUENCE = 0x02
    HEADER_DIGEST = 0x03
    RANGE = 0x04
    LIMIT = 0x05
    UNSUPPORTED = 0x06


class ConnectError(RefusedError):
    """CONNECT, or what follows it, is refused. ``at``: offset of the wrong parameter, of the
    command or of its data.
    """

    def __init__(self, status: Status, why: str, *, at: int = 0, in_data: bool = False) -> None:
        super().__init__(status, why)
        self.result = at | in_data << 16


class _DisturbedError(Exception):
    """Nobody can say where the next PDU begins, or there cannot be any."""

    def __init__(self, fatal: Fatal, information: int, why: str) -> None:
        super().__init__(why)
        self.fatal = fatal
        self.information = information


@dataclass(frozen=True)
class Offer:
    """A subsystem, as CONNECT needs to know it."""

    nqn: str
    dhchap: DhChap | None
    """None: nobody proves anything."""
    hosts: tuple[str, ...] | None
    """NQNs, with * and ?, that may connect; None: all."""
    available: Callable[[], str]
    """Why nobody can use it now, as a sentence; "" if everybody can."""
    new_controller: Callable[[], int]
    """A number for another controller."""
    may_join: Callable[[str, bytes, int, int], str]
    """Why a host (NQN, identifier) cannot connect a queue of a controller; "" if it can."""

    def allows(self, host: str) -> bool:
        """Whether a host of that NQN may use it."""
        return self.hosts is None or any(
            fnmatch.fnmatchcase(host, pattern) for pattern in self.hosts
        )


@dataclass(frozen=True, slots=True)
class Connected:
    """What came of it: a queue of this subsystem is to be served."""

    offer: Offer
    host: str
    host_id: bytes
    controller: int
    queue: int
    depth: int
    keep_alive: int
    """ms; 0: none."""
    no_flow_control: bool
    align: int
    header_digest: bool
    data_digest: bool


@dataclass(slots=True)
class _Pending:
    """A command whose data is still to come."""

    sqe: bytes
    expect: int
    data: bytearray


def crc32c(data: bytes) -> int:
    """As digests are."""
    return int(lib.zd_crc32c(0, data, len(data)))


class Hello(Greeting[Offer, Connected]):
    """One connection, from its first byte until it is a queue of a subsystem, or, if it is the
    discovery controller's, to its end.
    """

    def __init__(
        self, offers: Mapping[str, Offer], addresses: Callable[[], Sequence[tuple[str, int]]]
    ) -> None:
        """``offers`` by NQN; ``addresses``: host and port that the discovery log tells."""
        super().__init__(offers)
        self.host = ""
        self.taken = 0
        """Commands that came."""
        self._addresses = addresses
        self._begun = False  # ICReq came
        self._align = 0
        self._header_digest = self._data_digest = False
        self._pending: _Pending | None = None
        self._connect: Connected | None = None
        self._exchange: DhExchange | None = None
        self._discovery: Discovery | None = None
        self._last: tuple[bytes, int, bytes] = b"", 0, b""
        """Command, result and data of the answer with which it is handed on."""

    def feed(self, data: bytes) -> None:
        """Take what came, and do what it asks. Never raises."""
        self._input += data
        head = b""
        try:
            while self.state in (State.LOGIN, State.DISCOVERY) and len(self._input) >= 8:
                head = bytes(self._input[:8])
                size = self._measure(head)
                if len(self._input) < size:
                    return
                pdu = bytes(self._input[:size])
                head = pdu[: head[2]]
                del self._input[:size]
                self._take(pdu)
        except _DisturbedError as error:
            self._terminate(error, head)

    # ------------------------------------------------------------ PDUs

    def _measure(self, head: bytes) -> int:
        """How long the PDU is, whose common header that is."""
        kind, header, size = head[0], head[2], int.from_bytes(head[4:8], "little")
        if kind not in _HEADERS:
            raise _DisturbedError(
                Fatal.HEADER, 0, f"there is no PDU of type {kind:02x}h from hosts"
            )
        if (kind == _IC) == self._begun and kind != _TERMINATE:
            raise _DisturbedError(Fatal.SEQUENCE, 0, "a connection begins with one ICReq")
        if header != _HEADERS[kind]:
            raise _DisturbedError(Fatal.HEADER, 2, "a PDU has a header of a length that none has")
        most = {_IC: 128, _TERMINATE: 152, _CAPSULE: 72 + 4 + 252 + IN_CAPSULE + 4}.get(
            kind, 24 + 4 + 252 + SEGMENT + 4
        )
        if size < header or size > most or (kind == _IC and size != header):
            raise _DisturbedError(
                Fatal.HEADER, 4, f"a PDU of type {kind:02x}h has {counted(size, 'byte')}"
            )
        return size

    def _take(self, pdu: bytes) -> None:
        kind = pdu[0]
        if kind == _TERMINATE:
            self.why = "its host ended the connection, by an H2CTermReq"
            self.state = State.ENDED
        elif kind == _IC:
            self._begin(pdu)
        else:
            data, intact = self._look_at(pdu)
            if kind == _HOST_DATA:
                self._take_data(pdu, data, intact=intact)
            else:
                self._take_command(pdu[8:72], data, intact=intact)

    def _begin(self, pdu: bytes) -> None:
        version, align, digests = struct.unpack_from("<HBB", pdu, 8)
        if version:
            raise _DisturbedError(
                Fatal.UNSUPPORTED, 8, f"the host asks for version {version} of the PDUs"
            )
        if align > 31:
            raise _DisturbedError(Fatal.HEADER, 10, f"the host wants data aligned by {align}")
        self._begun = True
        self._align = align
        self._header_digest, self._data_digest = bool(digests & 1), bool(digests & 2)
        answer = bytearray(128)
        struct.pack_into("<BBBBI", answer, 0, 0x01, 0, 128, 0, 128)
        struct.pack_into("<HBBI", answer, 8, 0, 0, digests & 3, SEGMENT)
        self.output += answer

    def _look_at(self, pdu: bytes) -> tuple[bytes, bool]:
        """The data of a PDU, and whether its digest is right."""
        flags, header, offset = pdu[1], pdu[2], pdu[3]
        if bool(flags & 1) != self._header_digest:
            raise _DisturbedError(
                Fatal.HEADER, 1, "a PDU has a header digest, or none, against what was agreed on"
            )
        begin = header
        if self._header_digest:
            begin += 4
            (came,) = struct.unpack_from("<I", pdu.ljust(begin, b"\0"), header)
            if len(pdu) < begin or came != crc32c(pdu[:header]):
                raise _DisturbedError(Fatal.HEADER_DIGEST, came, "a header digest is wrong")
        if len(pdu) == begin and pdu[0] == _CAPSULE:
            return b"", True
        behind = 4 if self._data_digest else 0
        if offset < begin or offset % 4 or len(pdu) <= offset + behind:
            raise _DisturbedError(Fatal.HEADER, 3, "the data of a PDU lies where none can lie")
        if bool(flags & 2) != self._data_digest:
            raise _DisturbedError(
                Fatal.HEADER, 1, "a PDU has a data digest, or none, against what was agreed on"
            )
        data = pdu[offset : len(pdu) - behind]
        if pdu[0] == _CAPSULE and len(data) > IN_CAPSULE:
            raise _DisturbedError(
                Fatal.LIMIT, 4, "a capsule brings more data than the host was told it may"
            )
        if not behind:
            return data, True
        return data, crc32c(data) == int.from_bytes(pdu[-4:], "little")

    def _terminate(self, error: _DisturbedError, head: bytes) -> None:
        self.output += struct.pack(
            "<BBBBIHI10x", 0x03, 0, 24, 0, 24 + len(head), error.fatal, error.information
        )
        self.output += head
        self.why = str(error)
        self.state = State.ENDED

    def _send(self, kind: int, flags: int, body: bytes, data: bytes = b"") -> None:
        offset = 24 + (4 if self._header_digest else 0)
        digests = int(self._header_digest)
        behind = b""
        if data:
            align = 4 * (self._align + 1)
            offset = -(-offset // align) * align
            if self._data_digest:
                digests |= 2
                behind = crc32c(data).to_bytes(4, "little")
        size = offset + len(data) + len(behind)
        head = struct.pack("<BBBBI", kind, flags | digests, 24, offset if data else 0, size) + body
        if self._header_digest:
            head += crc32c(head).to_bytes(4, "little")
        self.output += head.ljust(offset, b"\0") + data + behind

    def _respond(self, sqe: bytes, status: int, result: int = 0, data: bytes = b"") -> None:
        """End a command; what is wrong with it need not be given again."""
        cid = sqe[2:4]
        if data:
            self._send(0x07, 0x04, cid + struct.pack("<2xII4x", 0, len(data)), data)
        no_retry = 0 if status in (Status.SUCCESS, Status.TRANSPORT, Status.BUSY) else 1 << 14
        head = self._connect.depth if self._connect else 0
        flow = self._connect is not None and not self._connect.no_flow_control
        sqhd = self.taken % head if flow else 0xFFFF if sqe[0] == _FABRICS else 0
        self._send(
            0x05,
            0,
            struct.pack("<QHH", result, sqhd, 0)
            + cid
            + struct.pack("<H", (status | no_retry) << 1),
        )

    # ------------------------------------------------------------ commands

    def _take_command(self, sqe: bytes, data: bytes, *, intact: bool) -> None:
        self.taken += 1
        if self._pending is not None or (
            self.taken > _MOST_STEPS and self.state is not State.DISCOVERY
        ):
            raise _DisturbedError(Fatal.SEQUENCE, 0, "the beginning does not come to an end")
        if not intact:
            self._respond(sqe, Status.TRANSPORT)
            return
        if sqe[1] & 0xC3 != 0x40:
            self._reject(sqe, ConnectError(Status.INVALID_FIELD, "a command has no SGL"))
            return
        if sqe[0] != _FABRICS or sqe[4] not in (_CONNECT, _AUTH_SEND):
            self._do(sqe, b"")
            return
        address, length, kind = struct.unpack_from("<QI3xB", sqe, 24)
        if kind == 0x01 and address + length <= len(data):
            self._do(sqe, data[address : address + length])
        elif kind == 0x5A and 0 < length <= IN_CAPSULE and not data:
            self._pending = _Pending(sqe, length, bytearray())
            self._send(0x09, 0, sqe[2:4] + struct.pack("<HII4x", 0, 0, length))
        else:
            status = Status.DATA_LENGTH if kind in (0x01, 0x5A) else Status.BAD_SGL
            self._reject(sqe, ConnectError(status, "a command brings data that it cannot have"))

    def _reject(self, sqe: bytes, error: ConnectError) -> None:
        """What goes wrong before anybody is connected ends the connection."""
        self._respond(sqe, error.code, error.result)
        if self.state is not State.DISCOVERY:
            self.why = str(error)
            self.state = State.ENDED

    def _take_data(self, pdu: bytes, data: bytes, *, intact: bool) -> None:
        found = self._pending
        cid, tag, offset, length = struct.unpack_from("<HHII", pdu, 8)
        if found is None or cid.to_bytes(2, "little") != found.sqe[2:4] or tag:
            raise _DisturbedError(Fatal.HEADER, 8, "data came for a command that asked for none")
        if length != len(data):
            raise _DisturbedError(Fatal.HEADER, 16, "a PDU has another length of data than it says")
        if offset != len(found.data) or offset + length > found.expect:
            raise _DisturbedError(Fatal.RANGE, 12, "data came from beyond what was asked for")
        found.data += data
        last = len(found.data) == found.expect
        if last != bool(pdu[1] & 4):
            raise _DisturbedError(Fatal.HEADER, 1, "the last data of a command is not marked so")
        if not intact:
            found.data[:] = bytes(len(found.data))
        if last:
            self._pending = None
            self._do(found.sqe, bytes(found.data))

    def _do(self, sqe: bytes, data: bytes) -> None:
        if self._discovery is not None:
            self._discover(sqe)
            return
        try:
            if sqe[0] != _FABRICS or (sqe[4] == _CONNECT) != (self._connect is None):
                raise ConnectError(Status.SEQUENCE, "a command came before the host had connected")
            if sqe[4] == _CONNECT:
                self._join(sqe, data)
            elif sqe[4] == _AUTH_SEND:
                self._prove(sqe, data)
            elif sqe[4] == _AUTH_RECEIVE:
                self._answer_proof(sqe)
            else:
                raise ConnectError(Status.AUTHENTICATION, "the host must prove itself first")
        except ConnectError as error:
            self._reject(sqe, error)

    # ------------------------------------------------------------ CONNECT

    def _join(self, sqe: bytes, data: bytes) -> None:
        recfmt, queue, entries, attributes, keep_alive = struct.unpack_from("<HHHBxI", sqe, 40)
        if recfmt:
            raise ConnectError(Status.FORMAT, f"the host connects in format {recfmt}", at=40)
        if len(data) != 1024:
            raise ConnectError(Status.PARAMETERS, "CONNECT brings 1,024 bytes of data", at=32)
        host_id, controller = data[:16], int.from_bytes(data[16:18], "little")
        nqn, self.host = _name(data[256:512]), _name(data[512:768])
        if not is_nqn(self.host):
            raise ConnectError(
                Status.HOST, f"{self.host[:60]!r} is no NQN of a host", at=512, in_data=True
            )
        if not 0 < entries < MOST_ENTRIES:
            raise ConnectError(
                Status.PARAMETERS,
                f"a queue has 2 to {MOST_ENTRIES} entries, not {entries + 1}",
                at=44,
            )
        if nqn == DISCOVERY_NQN:
            self._begin_discovery(sqe, queue, controller, keep_alive)
            return
        offer = self._offers.get(nqn)
        if offer is None:
            raise ConnectError(
                Status.PARAMETERS, f"there is no subsystem {nqn[:100]!r}", at=256, in_data=True
            )
        if not offer.allows(self.host):
            raise ConnectError(Status.HOST, f"{self.host} may not use {nqn}", at=512, in_data=True)
        number = self._number(offer, queue, controller, host_id)
        self._connect = Connected(
            *(offer, self.host, host_id, number, queue, entries + 1, 0 if queue else keep_alive),
            *(bool(attributes & 4), self._align, self._header_digest, self._data_digest),
        )
        if offer.dhchap is None:
            self._is_ready(sqe, number)
        else:
            self._exchange = DhExchange(offer.dhchap, self.host, nqn)
            self._respond(sqe, Status.SUCCESS, number | _AUTHENTICATION_REQUIRED)

    def _number(self, offer: Offer, queue: int, controller: int, host_id: bytes) -> int:
        """Of the controller that the queue is of."""
        if queue >= MOST_QUEUES:
            raise ConnectError(
                Status.PARAMETERS, f"there is no queue {queue}: up to {MOST_QUEUES - 1}", at=42
            )
        if queue:
            why = offer.may_join(self.host, host_id, controller, queue)
            if why:
                raise ConnectError(Status.PARAMETERS, why, at=16, in_data=True)
            return controller
        if controller != 0xFFFF:
            raise ConnectError(
                Status.PARAMETERS,
                f"controllers are made for hosts: a host asks for FFFFh, not {controller:04x}h",
                at=16,
                in_data=True,
            )
        why = offer.available()
        if why:
            raise ConnectError(Status.BUSY, why)
        return offer.new_controller()

    def _is_ready(self, sqe: bytes, result: int = 0, data: bytes = b"") -> None:
        self.result = self._connect
        self._last = sqe, result, data
        self.state = State.READY

    def accept(self) -> None:
        """The queue is served: the last answer."""
        assert self.state is State.READY
        sqe, result, data = self._last
        self._respond(sqe, Status.SUCCESS, result, data)
        self.state = State.DONE

    def refuse(self, error: ConnectError) -> None:
        """It cannot be served after all."""
        self._reject(self._last[0], error)

    # ------------------------------------------------------------ authentication

    def _prove(self, sqe: bytes, data: bytes) -> None:
        exchange = self._exchange_of(sqe)
        exchange.send(data)
        if exchange.outcome is Outcome.PROVED:
            self._is_ready(sqe)
            return
        self._respond(sqe, Status.SUCCESS)
        if exchange.outcome is Outcome.FAILED:
            self.why, self.state = exchange.why, State.ENDED

    def _answer_proof(self, sqe: bytes) -> None:
        exchange = self._exchange_of(sqe)
        length = struct.unpack_from("<I", sqe, 44)[0]
        answer = exchange.receive()
        room, kind = struct.unpack_from("<I3xB", sqe, 32)
        if not answer:
            raise ConnectError(Status.SEQUENCE, "the host receives before it has sent")
        if kind != 0x5A or len(answer) > min(length, room):
            raise ConnectError(Status.INVALID_FIELD, "the host has no room for what it asks for")
        if exchange.outcome is Outcome.PROVED:
            self._is_ready(sqe, 0, answer)
            return
        self._respond(sqe, Status.SUCCESS, 0, answer)
        if exchange.outcome is Outcome.FAILED:
            self.why, self.state = exchange.why, State.ENDED

    def _exchange_of(self, sqe: bytes) -> DhExchange:
        protocol, specific = sqe[43], sqe[41:43]
        if self._exchange is None or protocol != 0xE9 or specific != b"\1\1":
            raise ConnectError(Status.INVALID_FIELD, "the host proves itself by another protocol")
        return self._exchange

    # ------------------------------------------------------------ discovery

    def _begin_discovery(self, sqe: bytes, queue: int, controller: int, keep_alive: int) -> None:
        if queue:
            raise ConnectError(Status.PARAMETERS, "the discovery controller has one queue", at=42)
        if controller != 0xFFFF:
            raise ConnectError(Status.PARAMETERS, "it must ask for any", at=16, in_data=True)

        def records() -> list[Record]:
            return [
                Record(offer.nqn, host, port)
                for offer in self._offers.values()
                if offer.allows(self.host)
                for host, port in self._addresses()
            ]

        self._discovery = Discovery(records)
        self.state = State.DISCOVERY
        self.lease = keep_alive / 1000 + 1 if keep_alive else None
        self._respond(sqe, Status.SUCCESS, 1)

    def _discover(self, sqe: bytes) -> None:
        assert self._discovery is not None
        answer = self._discovery.answer(sqe)
        if answer is None:  # it waits for an event, which never comes
            return
        status, result, data = answer
        room, kind = struct.unpack_from("<I3xB", sqe, 32)
        if data and (kind != 0x5A or room < len(data)):
            self._respond(sqe, Status.DATA_LENGTH if kind == 0x5A else Status.BAD_SGL)
            return
        self._respond(sqe, status, result, data)


def _name(raw: bytes) -> str:
    """A name in its field, up to the first NUL; what is no UTF-8 is no name."""
    try:
        return raw.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        return ""


def is_nqn(text: str) -> bool:
    """Whether it can be a name of a host or a subsystem (NVMe base 2.0, 4.5)."""
    return (
        len(text.encode()) <= 223
        and text.isprintable()
        and not any(char.isspace() for char in text)
        and text.startswith("nqn.")
        and len(text) > 4
    )


__all__ = ["ConnectError", "Connected", "Hello", "Offer", "Status", "is_nqn"]
