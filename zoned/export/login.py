"""The login phase of iSCSI, and discovery sessions, as a machine of bytes: `Login.feed` takes what
came, `Login.output` is what is to be sent. No socket and no clock in it; whatever comes, it answers
or refuses.
"""

from __future__ import annotations

import fnmatch
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from zoned.export.chap import ALGORITHMS, Chap, Exchange
from zoned.export.greeting import Greeting, RefusedError, State
from zoned.export.keys import (
    MOST_TEXT,
    SEGMENT,
    Negotiation,
    Parameters,
    TextError,
    binary,
    compose,
    number,
    parse,
)

BHS = 48
_MOST_PDU = 8192
"""Bytes of a login PDU's data segment: the default before anything is negotiated."""
_MOST_STEPS = 64
"""PDUs of one login: nobody needs a quarter of them."""
_NOBODY = 0xFFFFFFFF
_SECURITY, _OPERATIONAL, _FULL = 0, 1, 3


class Refusal(Enum):
    """Status of a login that fails (RFC 7143 11.13.5): class and detail."""

    INITIATOR_ERROR = 0x0200
    AUTHENTICATION = 0x0201
    NOT_ALLOWED = 0x0202
    NOT_FOUND = 0x0203
    VERSION = 0x0205
    MISSING_PARAMETER = 0x0207
    SESSION_TYPE = 0x0209
    NO_SESSION = 0x020A
    INVALID_REQUEST = 0x020B
    UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class LoginError(RefusedError):
    """It is refused, by a `Refusal`."""


@dataclass(frozen=True)
class Offer:
    """A target, as the login needs to know it."""

    name: str
    portal_group: int
    chap: Chap | None
    """None: nobody proves anything."""
    initiators: tuple[str, ...] | None
    """Names, with * and ?, that may log in; None: all."""
    available: Callable[[], str]
    """Why nobody can use it now, as a sentence; "" if everybody can."""

    def allows(self, initiator: str) -> bool:
        """Whether an initiator of that name may use it. Names are compared without case."""
        return self.initiators is None or any(
            fnmatch.fnmatchcase(initiator.lower(), pattern.lower()) for pattern in self.initiators
        )


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What came of it: a session of this target may begin."""

    offer: Offer
    initiator: str
    isid: bytes
    cid: int
    cmd_sn: int
    parameters: Parameters


class _Header(NamedTuple):
    opcode: int
    immediate: bool
    flags: int
    versions: tuple[int, int]
    isid: bytes
    tsih: int
    itt: int
    cid: int
    cmd_sn: int
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> _Header:
        tsih, itt, cid, _, cmd_sn = struct.unpack_from(">HIHHI", raw, 14)
        return cls(
            raw[0] & 0x3F,
            bool(raw[0] & 0x40),
            raw[1],
            (raw[2], raw[3]),
            raw[8:14],
            tsih,
            itt,
            cid,
            cmd_sn,
            raw,
        )


class Login(Greeting[Offer, LoggedIn]):
    """One connection, from its first byte to the end of the login, or of its discovery session."""

    def __init__(
        self,
        offers: Mapping[str, Offer],
        addresses: Callable[[], Sequence[str]],
        discovery_chap: Chap | None = None,
    ) -> None:
        """``offers`` by name in small letters; ``addresses``: what SendTargets tells, HOST:PORT."""
        super().__init__(offers)
        self.initiator = ""
        self.stat_sn = 1
        self._addresses = addresses
        self._discovery_chap = discovery_chap
        self._text = bytearray()
        self._steps = 0
        self._first: _Header | None = None
        self._stage = -1
        self._offer: Offer | None = None
        self._discovery = False
        self._negotiation = Negotiation(discovery=False)
        self._exchange: Exchange | None = None
        self._authenticated = False
        self._method = ""
        self._declared = False  # TargetPortalGroupTag
        self._told_length = False
        self._named = False
        self._last: _Header | None = None
        self._exp_cmd_sn = 0
        self._rest = b""
        self._rest_itt = _NOBODY

    def feed(self, data: bytes) -> None:
        """Take what came, and do what it asks. Never raises."""
        self._input += data
        while self.state in (State.LOGIN, State.DISCOVERY) and len(self._input) >= BHS:
            length = int.from_bytes(self._input[5:8], "big")
            begin = BHS + 4 * self._input[4]
            if length > _MOST_PDU:
                self._fail(
                    _Header.of(bytes(self._input[:BHS])),
                    LoginError(
                        Refusal.INITIATOR_ERROR,
                        f"the data segment of a PDU is {length} long: {_MOST_PDU} at most",
                    ),
                )
                return
            end = begin + (length + 3) // 4 * 4
            if len(self._input) < end:
                return
            header = _Header.of(bytes(self._input[:BHS]))
            segment = bytes(self._input[begin : begin + length])
            del self._input[:end]
            self._take(header, segment)

    def _take(self, header: _Header, segment: bytes) -> None:
        if self.state is State.DISCOVERY:
            self._discover(header, segment)
            return
        try:
            self._login(header, segment)
        except LoginError as error:
            self._fail(header, error)
        except TextError as error:
            self._fail(header, LoginError(Refusal.INITIATOR_ERROR, str(error)))

    # ------------------------------------------------------------ answers

    def _reply(self, header: _Header, text: bytes, *, go_on: bool, tsih: int = 0) -> None:
        csg, nsg = header.flags >> 2 & 3, header.flags & 3
        raw = bytearray(BHS)
        raw[0] = 0x23
        raw[1] = (0x80 | nsg if go_on else 0) | csg << 2
        raw[5:8] = len(text).to_bytes(3, "big")
        raw[8:14] = header.isid
        struct.pack_into(">HI", raw, 14, tsih, header.itt)
        struct.pack_into(
            ">III", raw, 24, self.stat_sn, self._exp_cmd_sn, self._exp_cmd_sn + 1 & _NOBODY
        )
        self._send(raw, text)

    def _send(self, raw: bytes | bytearray, text: bytes) -> None:
        self.stat_sn = self.stat_sn + 1 & _NOBODY
        self.output += raw + text + bytes(-len(text) % 4)

    def _fail(self, header: _Header, error: LoginError) -> None:
        raw = bytearray(BHS)
        raw[0] = 0x23
        raw[1] = header.flags & 0x0C
        raw[8:14] = header.isid
        struct.pack_into(">HI", raw, 14, header.tsih, header.itt)
        struct.pack_into(">III", raw, 24, self.stat_sn, self._exp_cmd_sn, self._exp_cmd_sn)
        raw[36:38] = error.code.value.to_bytes(2, "big")
        self._send(raw, b"")
        self.why = str(error)
        self.state = State.ENDED

    def accept(self, tsih: int) -> None:
        """The session begins: the last answer."""
        assert self.state is State.READY
        assert self._last is not None
        self._reply(self._last, self._rest, go_on=True, tsih=tsih)
        self.state = State.DONE

    def refuse(self, error: LoginError) -> None:
        """The session cannot begin after all."""
        assert self._last is not None
        self._fail(self._last, error)

    # ------------------------------------------------------------ login

    def _login(self, header: _Header, segment: bytes) -> None:
        self._steps += 1
        self._check(header)
        if len(self._text) + len(segment) > MOST_TEXT:
            raise LoginError(Refusal.INITIATOR_ERROR, f"a request has more than {MOST_TEXT} bytes")
        self._text += segment
        if header.flags & 0x40:  # it goes on in the next PDU
            self._reply(header, b"", go_on=False)
            return
        pairs = parse(bytes(self._text))
        self._text.clear()
        if not self._named:
            self._name(header, pairs)
        transit = bool(header.flags & 0x80)
        answers: list[tuple[str, str]] = []
        if self._stage == _SECURITY:
            self._authenticate(pairs, answers)
            transit = transit and self._is_secure()
        else:
            self._operate(pairs, answers)
        if not self._declared and not self._discovery and self._offer is not None:
            answers.insert(0, ("TargetPortalGroupTag", str(self._offer.portal_group)))
            self._declared = True
        text = compose(answers)
        if len(text) > _MOST_PDU:
            raise LoginError(Refusal.INITIATOR_ERROR, "the answers to all these keys are too long")
        self._go_on(header, text, transit)

    def _check(self, header: _Header) -> None:
        csg, nsg = header.flags >> 2 & 3, header.flags & 3
        if header.opcode != 0x03:
            raise LoginError(
                Refusal.INVALID_REQUEST,
                f"a PDU of opcode {header.opcode:02x}h came during the login",
            )
        if self._steps > _MOST_STEPS:
            raise LoginError(Refusal.INITIATOR_ERROR, "the login does not come to an end")
        if header.raw[4]:
            raise LoginError(Refusal.INITIATOR_ERROR, "a login PDU has additional header segments")
        if header.versions[1] > 0:
            raise LoginError(
                Refusal.VERSION, f"the initiator asks for version {header.versions[1]}"
            )
        if csg not in (_SECURITY, _OPERATIONAL):
            raise LoginError(Refusal.INITIATOR_ERROR, f"there is no stage {csg} of a login")
        if header.flags & 0x80 and (nsg <= csg or nsg == 2 or header.flags & 0x40):
            raise LoginError(Refusal.INITIATOR_ERROR, f"stage {nsg} does not follow stage {csg}")
        if self._first is None:
            self._first = header
            self._stage = csg
            self._exp_cmd_sn = header.cmd_sn
        elif (header.isid, header.tsih, header.cid) != (
            self._first.isid,
            self._first.tsih,
            self._first.cid,
        ):
            raise LoginError(Refusal.INITIATOR_ERROR, "ISID, TSIH or CID change during the login")
        elif csg != self._stage:
            raise LoginError(
                Refusal.INITIATOR_ERROR, f"the login is in stage {self._stage}, not {csg}"
            )

    def _name(self, header: _Header, pairs: Mapping[str, str]) -> None:
        """Who wants what: of the first request."""
        self._named = True
        kind = pairs.get("SessionType", "Normal")
        self.initiator = pairs.get("InitiatorName", "")
        if not self.initiator:
            raise LoginError(Refusal.MISSING_PARAMETER, "the initiator does not give its name")
        if not is_name(self.initiator):
            raise LoginError(Refusal.INITIATOR_ERROR, f"{self.initiator[:60]!r} is no iSCSI name")
        if kind not in ("Normal", "Discovery"):
            raise LoginError(Refusal.SESSION_TYPE, f"there is no session of type {kind[:40]!r}")
        self._discovery = kind == "Discovery"
        self._negotiation = Negotiation(discovery=self._discovery)
        if not self._discovery:
            wanted = pairs.get("TargetName", "")
            if not wanted:
                raise LoginError(Refusal.MISSING_PARAMETER, "the initiator names no target")
            self._offer = self._offers.get(wanted.lower())
            if self._offer is None:
                raise LoginError(Refusal.NOT_FOUND, f"there is no target {wanted[:100]!r}")
        if header.tsih:
            raise LoginError(
                Refusal.NO_SESSION, "a session has one connection, and this is a second"
            )
        if self._chap is not None and self._stage != _SECURITY:
            raise LoginError(Refusal.AUTHENTICATION, "it must prove itself by CHAP, and does not")

    @property
    def _chap(self) -> Chap | None:
        if self._discovery:
            return self._discovery_chap
        return self._offer.chap if self._offer is not None else None

    def _is_secure(self) -> bool:
        return self._authenticated or (self._chap is None and self._exchange is None)

    def _negotiate(self, pairs: Mapping[str, str], answers: list[tuple[str, str]]) -> None:
        for key, value in pairs.items():
            said = self._negotiation.answer(key, value)
            if said is not None:
                answers.append((key, said))

    def _operate(self, pairs: Mapping[str, str], answers: list[tuple[str, str]]) -> None:
        self._negotiate(pairs, answers)
        if not self._told_length:
            answers.append(
                ("MaxRecvDataSegmentLength", str(_MOST_PDU if self._discovery else SEGMENT))
            )
            self._told_length = True

    def _go_on(self, header: _Header, text: bytes, transit: bool) -> None:
        nsg = header.flags & 3
        if not transit:
            self._reply(header, text, go_on=False)
            return
        if nsg == _OPERATIONAL:
            self._stage = _OPERATIONAL
            self._reply(header, text, go_on=True)
            return
        self._last = header
        if self._discovery:
            self.state = State.DISCOVERY
            self._exp_cmd_sn = header.cmd_sn
            self._reply(header, text, go_on=True, tsih=1)
            return
        offer = self._offer
        assert offer is not None
        if not offer.allows(self.initiator):
            raise LoginError(Refusal.NOT_ALLOWED, f"{self.initiator} may not use {offer.name}")
        reason = offer.available()
        if reason:
            raise LoginError(Refusal.UNAVAILABLE, reason)
        self._rest = text
        self.state = State.READY
        self.result = LoggedIn(
            offer,
            self.initiator,
            header.isid,
            header.cid,
            header.cmd_sn,
            self._negotiation.parameters,
        )

    # ------------------------------------------------------------ security

    def _authenticate(self, pairs: Mapping[str, str], answers: list[tuple[str, str]]) -> None:
        rest = {key: value for key, value in pairs.items() if not key.startswith("CHAP_")}
        theirs = {key: value for key, value in pairs.items() if key.startswith("CHAP_")}
        methods = rest.pop("AuthMethod", None)
        self._negotiate(rest, answers)
        if methods is not None:
            self._choose_method(methods.split(","), answers)
        elif self._chap is not None and not self._method:
            raise LoginError(Refusal.AUTHENTICATION, "it must prove itself by CHAP, and does not")
        if theirs and self._method != "CHAP":
            raise LoginError(Refusal.AUTHENTICATION, "CHAP was not agreed on")
        if "CHAP_A" in theirs:
            self._challenge(theirs, answers)
        elif theirs:
            self._judge(theirs, answers)

    def _choose_method(self, offered: Sequence[str], answers: list[tuple[str, str]]) -> None:
        if self._method:
            raise LoginError(Refusal.INITIATOR_ERROR, "AuthMethod is negotiated twice")
        wanted = "None" if self._chap is None else "CHAP"
        if wanted not in offered:
            raise LoginError(
                Refusal.AUTHENTICATION,
                f"it offers {','.join(offered)[:60]!r} to prove itself, not {wanted}",
            )
        self._method = wanted
        answers.append(("AuthMethod", wanted))

    def _challenge(self, theirs: Mapping[str, str], answers: list[tuple[str, str]]) -> None:
        if self._exchange is not None or self._chap is None or len(theirs) != 1:
            raise LoginError(Refusal.AUTHENTICATION, "CHAP_A comes once, and alone")
        for text in theirs["CHAP_A"].split(","):
            if text.isascii() and text.isdecimal() and len(text) < 4 and int(text) in ALGORITHMS:
                self._exchange = Exchange(self._chap, int(text))
                answers += [
                    ("CHAP_A", text),
                    ("CHAP_I", str(self._exchange.identifier)),
                    ("CHAP_C", "0x" + self._exchange.challenge.hex()),
                ]
                return
        raise LoginError(Refusal.AUTHENTICATION, "it has none of the algorithms 5, 6, 7, 8 of CHAP")

    def _judge(self, theirs: Mapping[str, str], answers: list[tuple[str, str]]) -> None:
        if self._exchange is None or self._authenticated:
            raise LoginError(Refusal.AUTHENTICATION, "CHAP keys came out of their order")
        extra = set(theirs) - {"CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"}
        if (
            extra
            or not {"CHAP_N", "CHAP_R"} <= set(theirs)
            or ("CHAP_I" in theirs) != ("CHAP_C" in theirs)
        ):
            raise LoginError(
                Refusal.AUTHENTICATION,
                "CHAP takes CHAP_N and CHAP_R, or with these CHAP_I and CHAP_C",
            )
        if not self._exchange.proves(theirs["CHAP_N"], binary(theirs["CHAP_R"])):
            raise LoginError(Refusal.AUTHENTICATION, "the CHAP name or secret is wrong")
        self._authenticated = True
        if "CHAP_C" not in theirs:
            return
        identifier = number(theirs["CHAP_I"])
        mine = (
            self._exchange.answer(identifier, binary(theirs["CHAP_C"]))
            if identifier < 256
            else None
        )
        if mine is None:
            raise LoginError(
                Refusal.AUTHENTICATION,
                "the target shall prove itself: it has no secret, or got its own challenge",
            )
        answers += [("CHAP_N", mine[0]), ("CHAP_R", "0x" + mine[1].hex())]

    # ------------------------------------------------------------ discovery

    def _discover(self, header: _Header, segment: bytes) -> None:
        if not header.immediate:
            if header.cmd_sn != self._exp_cmd_sn:
                return
            self._exp_cmd_sn = self._exp_cmd_sn + 1 & _NOBODY
        self._steps += 1
        ttt = struct.unpack_from(">I", header.raw, 20)[0]
        if self._steps > 4 * _MOST_STEPS:
            self.state = State.ENDED
        elif header.opcode == 0x06:
            self._respond(0x26, header, 0x80, b"")
            self.state = State.ENDED
        elif header.opcode == 0x00:
            if header.itt != _NOBODY:
                self._respond(0x20, header, 0x80, segment[: self._negotiation.parameters.max_send])
        elif (
            header.opcode == 0x04 and ttt != _NOBODY and self._rest and header.itt == self._rest_itt
        ):
            self._tell(header)
        elif header.opcode == 0x04 and header.flags & 0xC0 == 0x80 and ttt == _NOBODY:
            self._send_targets(header, segment)
        else:
            self._respond(0x3F, header, 0x80, header.raw)
            self.state = State.ENDED

    def _send_targets(self, header: _Header, segment: bytes) -> None:
        try:
            pairs = parse(segment)
        except TextError:
            self._respond(0x3F, header, 0x80, header.raw)
            self.state = State.ENDED
            return
        answers: list[tuple[str, str]] = []
        for key, value in pairs.items():
            if key != "SendTargets":
                answers.append((key, "NotUnderstood"))
                continue
            for name, offer in self._offers.items():
                asked = value in ("All", "") or value.lower() == name
                if asked and offer.allows(self.initiator):
                    answers.append(("TargetName", offer.name))
                    answers += [
                        ("TargetAddress", f"{address},{offer.portal_group}")
                        for address in self._addresses()
                    ]
        self._rest = compose(answers)
        self._rest_itt = header.itt
        self._tell(header)

    def _tell(self, header: _Header) -> None:
        """As much of the answer as the initiator takes at once."""
        most = self._negotiation.parameters.max_send
        part, self._rest = self._rest[:most], self._rest[most:]
        self._respond(0x24, header, 0x40 if self._rest else 0x80, part)

    def _respond(self, opcode: int, header: _Header, flags: int, data: bytes) -> None:
        raw = bytearray(BHS)
        raw[0] = opcode
        raw[1] = flags
        if opcode == 0x3F:
            raw[2] = 0x05 if header.opcode != 0x04 else 0x09
        raw[5:8] = len(data).to_bytes(3, "big")
        itt = _NOBODY if opcode == 0x3F else header.itt
        more = opcode == 0x24 and flags == 0x40
        struct.pack_into(">II", raw, 16, itt, 1 if more else 0 if opcode == 0x26 else _NOBODY)
        struct.pack_into(
            ">III", raw, 24, self.stat_sn, self._exp_cmd_sn, self._exp_cmd_sn + 1 & _NOBODY
        )
        self._send(raw, data)


def is_name(text: str) -> bool:
    """Whether it can be an iSCSI name (RFC 7143 4.2.7): at most 223 bytes, of a known kind."""
    return (
        len(text.encode()) <= 223
        and text.isprintable()
        and not any(char.isspace() for char in text)
        and text.lower().startswith(("iqn.", "eui.", "naa."))
    )


__all__ = ["LoggedIn", "Login", "LoginError", "Offer", "Refusal", "State", "is_name"]
