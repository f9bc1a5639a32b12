"""DH-HMAC-CHAP (NVMe base 2.0, 8.13.5): hosts prove that they know a secret, and controllers, if
hosts ask, that they know theirs. No socket.

A secret comes from a file or the environment, never from a command's arguments, and is shown by no
repr.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import functools
import hashlib
import hmac
import os
import secrets
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from zoned.export.chap import read_secret_lines
from zoned.export.greeting import RefusedError

HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
GROUPS = {0: "null", 1: "ffdhe2048", 2: "ffdhe3072", 3: "ffdhe4096", 4: "ffdhe6144", 5: "ffdhe8192"}
_SIZES = {32, 48, 64}  # bytes of a key
_NEGOTIATE, _CHALLENGE, _REPLY, _SUCCESS1, _SUCCESS2 = 0x00, 0x01, 0x02, 0x03, 0x04
_FAILURE1, _FAILURE2 = 0xF0, 0xF1
_COMMON, _DHCHAP = 0x00, 0x01  # type of a message

#: bits of a prime -> what RFC 7919 adds to it, bits of an exponent that are enough
_PRIMES = {
    2048: (560316, 256),
    3072: (2625351, 288),
    4096: (5736041, 336),
    6144: (15705020, 384),
    8192: (10965728, 416),
}


@functools.cache
def prime(bits: int) -> int:
    """Of the group ffdhe<bits>, by the formula of RFC 7919, appendix A."""
    guard = 64
    term = total = 1 << bits - 130 + guard
    divisor = 1
    while term:
        term //= divisor
        total += term
        divisor += 1
    middle = (total >> guard) + _PRIMES[bits][0]
    return (1 << bits) - (1 << bits - 64) + (middle << 64) - 1


def hmac_of(hash_id: int, key: bytes, data: bytes) -> bytes:
    """HMAC by the hash of that number."""
    return hmac.digest(key, data, HASHES[hash_id])


@dataclass(frozen=True, slots=True)
class DhSecret:
    """A secret of one party."""

    key: bytes = field(repr=False)
    hash_id: int = 0
    """By which it is transformed for the party's name; 0: it is used as it is."""

    @classmethod
    def parse(cls, text: str) -> DhSecret:
        """As ``nvme gen-dhchap-key`` writes it: ``DHHC-1:HASH:BASE64:``. Raises ValueError."""
        words = text.strip().split(":")
        what = "a DH-HMAC-CHAP secret is written DHHC-1:HASH:BASE64:, as nvme gen-dhchap-key does"
        if len(words) != 4 or words[0] != "DHHC-1" or words[3]:
            raise ValueError(what)
        try:
            number = int(words[1], 16)
            raw = base64.b64decode(words[2], validate=True)
        except (ValueError, binascii.Error):
            raise ValueError(what) from None
        if len(raw) - 4 not in _SIZES or number not in (0, *HASHES):
            raise ValueError("a DH-HMAC-CHAP secret has 32, 48 or 64 bytes, and a hash of 00 to 03")
        key = raw[:-4]
        if zlib.crc32(key) != int.from_bytes(raw[-4:], "little"):
            raise ValueError("the check sum of a DH-HMAC-CHAP secret is wrong: it was changed")
        return cls(key, number)

    def of(self, name: str) -> bytes:
        """The secret of the party of that name (NQN)."""
        if not self.hash_id:
            return self.key
        return hmac_of(self.hash_id, self.key, name.encode() + b"NVMe-over-Fabrics")


@dataclass(frozen=True, slots=True)
class DhChap:
    """Who may connect, and what the controller proves itself by to hosts that ask."""

    hosts: Mapping[str, tuple[DhSecret, DhSecret | None]] = field(repr=False)
    """By the host's NQN, or a pattern with * and ?: its secret and, if there is one, the
    controller's towards it. The first that fits counts.
    """
    hashes: tuple[str, ...] = ("sha512", "sha384", "sha256")
    """That are used, the most wanted first."""
    groups: tuple[str, ...] = (
        "ffdhe2048",
        "ffdhe3072",
        "ffdhe4096",
        "ffdhe6144",
        "ffdhe8192",
        "null",
    )
    """The same for the Diffie-Hellman exchange; "null": none, the challenge alone counts."""

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("DH-HMAC-CHAP needs at least one host with a secret")
        for name, known in (("hash", HASHES), ("group", GROUPS)):
            found = self.hashes if name == "hash" else self.groups
            if not found or not set(found) <= set(known.values()):
                raise ValueError(
                    f"DH-HMAC-CHAP has the {name} {', '.join(known.values())}, not {found!r}"
                )
        for host, (secret, own) in self.hosts.items():
            if own is not None and own.key == secret.key:
                raise ValueError(f"the controller's secret towards {host} must not be the host's")

    def of(self, host: str) -> tuple[DhSecret, DhSecret | None] | None:
        """The secrets for a host; None: it has none."""
        for pattern, found in self.hosts.items():
            if fnmatch.fnmatchcase(host, pattern):
                return found
        return None


class Reason(Enum):
    """Why it fails, as the other side is told."""

    FAILED = 0x01
    NOT_USABLE = 0x02
    CONCATENATION = 0x03
    HASH = 0x04
    GROUP = 0x05
    PAYLOAD = 0x06
    MESSAGE = 0x07


class _FailedError(RefusedError):
    """By a `Reason`."""


class Outcome(Enum):
    """How far it is."""

    UNDER_WAY = "under way"
    PROVED = "proved"
    """The host has proved itself, and the controller, if that was asked for."""
    FAILED = "failed"


class DhExchange:
    """The controller's part: `send` takes a message of the host, `receive` gives it ours."""

    def __init__(self, chap: DhChap, host: str, subsystem: str) -> None:
        self.outcome = Outcome.UNDER_WAY
        self.why = ""
        """Why it failed."""
        self._chap = chap
        self._host, self._subsystem = host, subsystem
        found = chap.of(host)
        # Who has no secret is judged by one that nobody knows, which takes as long.
        self._secret = found[0] if found else DhSecret(secrets.token_bytes(32))
        self._known = found is not None
        self._own = found[1] if found else None
        self._awaits = _NEGOTIATE
        self._answer = b""
        self._ends = Outcome.UNDER_WAY
        self._transaction = 0
        self._hash = self._group = 0
        self._challenge = b""
        self._sequence = 0
        self._exponent = 0

    def send(self, message: bytes) -> None:
        """What the host says. What is wrong with it, it is told by `receive`."""
        try:
            self._take(message)
        except _FailedError as error:
            self.why = str(error)
            self._answer = struct.pack(
                "<BBHHBB8x",
                *(_COMMON, _FAILURE1, 0, self._transaction, 0x01, error.code.value),
            )
            self._ends = Outcome.FAILED

    def receive(self) -> bytes:
        """What there is to be said; b"" if it is the host's turn."""
        answer, self._answer = self._answer, b""
        if answer:
            self.outcome = self._ends
        return answer

    def _take(self, message: bytes) -> None:
        if self._answer:
            raise _FailedError(Reason.MESSAGE, "the host sends before it has received")
        if len(message) < 8:
            raise _FailedError(Reason.PAYLOAD, "a message of the host is too short")
        kind, number, _, transaction = struct.unpack_from("<BBHH", message)
        if (kind, number) == (_COMMON, _FAILURE2):
            self.why, self.outcome = "the host does not trust the controller", Outcome.FAILED
            return
        expected = (_COMMON if self._awaits == _NEGOTIATE else _DHCHAP, self._awaits)
        if (kind, number) != expected:
            raise _FailedError(Reason.MESSAGE, "a message of the host came out of its order")
        if self._awaits == _NEGOTIATE:
            self._transaction = transaction
            self._negotiate(message)
        elif transaction != self._transaction:
            raise _FailedError(Reason.PAYLOAD, "a message is of another transaction")
        elif self._awaits == _REPLY:
            self._judge(message)
        else:
            self.outcome = Outcome.PROVED

    def _negotiate(self, message: bytes) -> None:
        if message[6]:
            raise _FailedError(
                Reason.CONCATENATION, "the host wants a secure channel by this, which there is not"
            )
        for at in range(8, min(8 + 64 * message[7], len(message) - 63), 64):
            protocol, _, hashes, groups = message[at : at + 4]
            if protocol != 0x01:
                continue
            if hashes > 30 or groups > 30:
                raise _FailedError(Reason.PAYLOAD, "a list of the host is too long")
            listed = message[at + 4 : at + 64]
            self._hash = self._first(self._chap.hashes, HASHES, listed[:hashes], Reason.HASH)
            self._group = self._first(
                self._chap.groups, GROUPS, listed[30 : 30 + groups], Reason.GROUP
            )
            self._make_challenge()
            return
        raise _FailedError(Reason.NOT_USABLE, "the host does not offer DH-HMAC-CHAP")

    @staticmethod
    def _first(
        wanted: tuple[str, ...], known: Mapping[int, str], offered: bytes, reason: Reason
    ) -> int:
        for name in wanted:
            for number in offered:
                if known.get(number) == name:
                    return number
        raise _FailedError(reason, f"the host offers none of {', '.join(wanted)}")

    @property
    def _bits(self) -> int:
        return int(GROUPS[self._group][5:]) if self._group else 0

    def _make_challenge(self) -> None:
        size = hashlib.new(HASHES[self._hash]).digest_size
        self._challenge = secrets.token_bytes(size)
        self._sequence = 1 + secrets.randbelow(2**32 - 1)
        public = b""
        if self._bits:
            self._exponent = secrets.randbits(_PRIMES[self._bits][1]) | 1
            public = pow(2, self._exponent, prime(self._bits)).to_bytes(self._bits // 8, "big")
        self._answer = (
            struct.pack(
                "<BBHHBBBBHI",
                *(_DHCHAP, _CHALLENGE, 0, self._transaction, size, 0, self._hash, self._group),
                *(len(public), self._sequence),
            )
            + self._challenge
            + public
        )
        self._awaits = _REPLY

    def _judge(self, message: bytes) -> None:
        size = len(self._challenge)
        if len(message) < 16 + 2 * size:
            raise _FailedError(Reason.PAYLOAD, "the host's reply is too short")
        length, wants, public_size, sequence = struct.unpack_from("<BxBxHI", message, 6)
        response = message[16 : 16 + size]
        theirs = message[16 + size : 16 + 2 * size]
        public = message[16 + 2 * size : 16 + 2 * size + public_size]
        if length != size or len(public) != public_size or public_size != self._bits // 8:
            raise _FailedError(Reason.PAYLOAD, "the host's reply has lengths that it cannot have")
        session = self._session_key(public)
        expected = self._response(
            self._secret.of(self._host),
            *(session, self._challenge, self._sequence, b"HostHost", self._host, self._subsystem),
        )
        if not hmac.compare_digest(expected, response) or not self._known:
            raise _FailedError(Reason.FAILED, "the host's name or secret is wrong")
        own = b""
        if wants & 1:
            if self._own is None or theirs == self._challenge:
                raise _FailedError(
                    Reason.FAILED,
                    "the controller shall prove itself: it has no secret, or got its own challenge",
                )
            own = self._response(
                self._own.of(self._subsystem),
                *(session, theirs, sequence, b"Controller", self._subsystem, self._host),
            )
        self._answer = struct.pack(
            "<BBHHBBB7x",
            *(_DHCHAP, _SUCCESS1, 0, self._transaction, size, 0, 1 if own else 0),
        ) + (own or bytes(size))
        if own:
            self._awaits = _SUCCESS2
        else:
            self._ends = Outcome.PROVED

    def _session_key(self, public: bytes) -> bytes:
        if not self._bits:
            return b""
        modulus, number = prime(self._bits), int.from_bytes(public, "big")
        if not 1 < number < modulus - 1:
            raise _FailedError(Reason.PAYLOAD, "the host's public value can be none")
        return pow(number, self._exponent, modulus).to_bytes(self._bits // 8, "big")

    def _response(
        self,
        key: bytes,
        session: bytes,
        challenge: bytes,
        sequence: int,
        role: bytes,
        first: str,
        second: str,
    ) -> bytes:
        if session:
            hashed = hashlib.new(HASHES[self._hash], session).digest()
            challenge = hmac_of(self._hash, hashed, challenge)
        data = challenge + struct.pack("<IHB", sequence, self._transaction, 0)
        return hmac_of(self._hash, key, data + role + first.encode() + b"\0" + second.encode())


def read_dhchap_file(path: str | os.PathLike[str]) -> DhChap:
    """Hosts and secrets from a file that only its owner may read.

    A line each: ``HOST-NQN SECRET``, or ``HOST-NQN SECRET CONTROLLER-SECRET``; the NQN may have *
    and ?; # begins a comment. Raises OSError (PermissionError for a file that others may read),
    ValueError.
    """
    hosts: dict[str, tuple[DhSecret, DhSecret | None]] = {}

    def take(words: list[str]) -> None:
        if not 2 <= len(words) <= 3 or words[0] in hosts:
            raise ValueError("a line is HOST-NQN SECRET [CONTROLLER-SECRET], once for each host")
        own = DhSecret.parse(words[2]) if len(words) == 3 else None
        hosts[words[0]] = DhSecret.parse(words[1]), own

    read_secret_lines(path, take)
    if not hosts:
        raise ValueError(f"{os.fsdecode(path)}: it names no host: a line is HOST-NQN SECRET")
    return DhChap(hosts)


def from_environment() -> DhChap | None:
    """Of ``ZONED_DHCHAP_SECRET`` and ``ZONED_DHCHAP_CTRL_SECRET``, for any host; None without the
    first. Raises ValueError.
    """
    secret = os.environ.get("ZONED_DHCHAP_SECRET")
    if not secret:
        return None
    own = os.environ.get("ZONED_DHCHAP_CTRL_SECRET")
    return DhChap({"*": (DhSecret.parse(secret), DhSecret.parse(own) if own else None)})


__all__ = [
    "GROUPS",
    "HASHES",
    "DhChap",
    "DhExchange",
    "DhSecret",
    "Outcome",
    "from_environment",
    "prime",
    "read_dhchap_file",
]
