"""Text keys of iSCSI (RFC 7143 6): ``Key=Value`` with a NUL behind each, and the negotiation of
those that login speaks of. No socket.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_KEY = 63
LONGEST_VALUE = 8192
MOST_TEXT = 16 << 10
"""Bytes of one request's text, over all its PDUs."""
MOST_KEYS = 128
SEGMENT = 262144
"""MaxRecvDataSegmentLength that this side declares; ZD_ISCSI_SEGMENT of the C header."""
LARGEST = 2**24 - 1

_KEY = re.compile(rb"[A-Z][A-Za-z0-9.+@_-]{0,62}|X[#-][A-Za-z0-9.+@_#-]{1,61}")


class TextError(ValueError):
    """Text that is none."""


def parse(text: bytes) -> dict[str, str]:
    """Keys and values, in their order. Raises TextError."""
    found: dict[str, str] = {}
    for item in text.split(b"\0"):
        if not item:
            continue
        key, equals, value = item.partition(b"=")
        if not equals or not _KEY.fullmatch(key):
            raise TextError(f"{item[:40]!r} is no Key=Value")
        if len(value) > LONGEST_VALUE:
            raise TextError(f"the value of {key.decode()} is too long")
        if key.decode() in found:
            raise TextError(f"{key.decode()} is given twice")
        if len(found) == MOST_KEYS:
            raise TextError(f"there are more than {MOST_KEYS} keys")
        try:
            found[key.decode()] = value.decode("utf-8")
        except UnicodeDecodeError:
            raise TextError(f"the value of {key.decode()} is no UTF-8") from None
    return found


def compose(pairs: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of keys and values."""
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)


def number(text: str) -> int:
    """A numerical value: decimal or 0x. Raises TextError."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", text):
        return int(text, 16)
    if re.fullmatch(r"[0-9]{1,20}", text):
        return int(text)
    raise TextError(f"{text[:40]!r} is no number")


def binary(text: str) -> bytes:
    """A binary value: 0x (hex) or 0b (base64). Raises TextError."""
    try:
        if text[:2] in ("0x", "0X"):
            digits = text[2:]
            return bytes.fromhex("0" * (len(digits) % 2) + digits)
        if text[:2] in ("0b", "0B"):
            return base64.b64decode(text[2:], validate=True)
    except (ValueError, binascii.Error):
        pass
    raise TextError(f"{text[:40]!r} is no binary value")


@dataclass(slots=True)
class Parameters:
    """What a connection works by. As long as nothing is negotiated: RFC 7143's defaults."""

    header_digest: bool = False
    data_digest: bool = False
    max_send: int = 8192
    """MaxRecvDataSegmentLength of the other side, bytes."""
    max_burst: int = 262144
    first_burst: int = 65536
    initial_r2t: bool = True
    immediate_data: bool = True


_FLAGS = {"Yes": True, "No": False}
_FIXED = {
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "IFMarker": "No",
    "OFMarker": "No",
}
_DECLARED = frozenset(
    {"InitiatorName", "InitiatorAlias", "TargetName", "SessionType", "TargetAlias"}
)
_IRRELEVANT_IN_DISCOVERY = frozenset(
    {"InitialR2T", "ImmediateData", "MaxBurstLength", "FirstBurstLength", "MaxOutstandingR2T"}
)


class Negotiation:
    """The operational keys of one login: each is answered once (RFC 7143 13)."""

    def __init__(self, *, discovery: bool) -> None:
        self.parameters = Parameters()
        self._discovery = discovery
        self._seen: set[str] = set()

    def answer(self, key: str, value: str) -> str | None:
        """What is to be said to a key; None: nothing. Raises TextError for one that came before,
        and for a declaration that cannot be.
        """
        if key in self._seen:
            raise TextError(f"{key} is negotiated twice")
        self._seen.add(key)
        if key in _DECLARED:
            return None
        if key == "MaxRecvDataSegmentLength":
            length = number(value)
            if not 512 <= length <= LARGEST:
                raise TextError(f"{key} is {length}: it must be 512 to {LARGEST}")
            self.parameters.max_send = length
            return None
        if self._discovery and key in _IRRELEVANT_IN_DISCOVERY:
            return "Irrelevant"
        try:
            return self._negotiate(key, value)
        except (TextError, KeyError):
            return "Reject"

    def _negotiate(self, key: str, value: str) -> str:
        found = self.parameters
        if key in ("HeaderDigest", "DataDigest"):
            on = self._digest(value)
            if key == "HeaderDigest":
                found.header_digest = on
            else:
                found.data_digest = on
            return "CRC32C" if on else "None"
        if key in ("InitialR2T", "ImmediateData"):
            # Yes if either wants the one, if both want the other: this side leaves both to theirs.
            setattr(
                found, "initial_r2t" if key == "InitialR2T" else "immediate_data", _FLAGS[value]
            )
            return value
        if key == "MaxBurstLength":
            found.max_burst = self._at_most(value, LARGEST)
            found.first_burst = min(found.first_burst, found.max_burst)
            return str(found.max_burst)
        if key == "FirstBurstLength":
            found.first_burst = min(self._at_most(value, SEGMENT), found.max_burst)
            return str(found.first_burst)
        if key in _FIXED:
            _FLAGS[value]
            return _FIXED[key]
        if key == "TaskReporting":
            if "RFC3720" not in value.split(","):
                raise TextError(value)
            return "RFC3720"
        return self._negotiate_number(key, value)

    @staticmethod
    def _negotiate_number(key: str, value: str) -> str:
        #: key -> (smallest, largest, ours, the function of the two)
        ranges = {
            "MaxConnections": (1, 65535, 1, min),
            "MaxOutstandingR2T": (1, 65535, 1, min),
            "ErrorRecoveryLevel": (0, 2, 0, min),
            "DefaultTime2Wait": (0, 3600, 2, max),
            "DefaultTime2Retain": (0, 3600, 0, min),
            "iSCSIProtocolLevel": (0, 31, 1, min),
        }
        if key not in ranges:
            return "Reject" if key in ("IFMarkInt", "OFMarkInt") else "NotUnderstood"
        smallest, largest, ours, function = ranges[key]
        theirs = number(value)
        if not smallest <= theirs <= largest:
            return "Reject"
        return str(function(theirs, ours))

    def _digest(self, value: str) -> bool:
        """The first of a list that this side has; discovery sessions have none."""
        for name in value.split(","):
            if name == "None":
                return False
            if name == "CRC32C" and not self._discovery:
                return True
        raise TextError(value)

    @staticmethod
    def _at_most(value: str, ours: int) -> int:
        length = number(value)
        if not 512 <= length <= LARGEST:
            raise TextError(value)
        return min(length, ours)


__all__ = [
    "LARGEST",
    "SEGMENT",
    "Negotiation",
    "Parameters",
    "TextError",
    "binary",
    "compose",
    "number",
    "parse",
]
