"""The discovery controller of NVMe over Fabrics: which subsystems there are, and where. It has an
admin queue, and the few commands that the standard wants of it. No socket.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
_MOST_EVENTS = 4
_VERSION = 0x00020000
_INVALID_OPCODE, _INVALID_FIELD, _SEQUENCE = 0x001, 0x002, 0x00C
_TOO_MANY_EVENTS, _INVALID_PAGE = 0x105, 0x109

Answer = tuple[int, int, bytes]
"""Status, result (dwords 0 and 1), data."""


@dataclass(frozen=True, slots=True)
class Record:
    """A subsystem, and where it is to be had."""

    nqn: str
    host: str
    port: int

    def pack(self) -> bytes:
        """Its 1,024 bytes of the log page."""
        bare = self.host.partition("%")[0]
        family = 2 if ipaddress.ip_address(bare).version == 6 else 1
        return struct.pack(
            "<BBBBHHHH20x32s192x256s256s256x",
            *(3, family, 2, 1 << 2),  # TCP; an NVM subsystem; flow control can be off
            *(1, 0xFFFF, 128, 0),  # port, any controller, entries of an admin queue
            *(str(self.port).encode(), self.nqn.encode(), bare.encode()),
        )


class Discovery:
    """One controller."""

    def __init__(self, records: Callable[[], Sequence[Record]]) -> None:
        self._records = records
        self._configuration = 0
        self._events = 0
        self._keep_alive = 0

    def answer(self, sqe: bytes) -> Answer | None:
        """What a command ends with; None: it does not."""
        opcode = sqe[0]
        if opcode == 0x7F:
            return self._property(sqe)
        if not self._configuration & 1:
            return _SEQUENCE, 0, b""
        if opcode == 0x0C:
            if self._events == _MOST_EVENTS:
                return _TOO_MANY_EVENTS, 0, b""
            self._events += 1
            return None
        known = {0x02: self._log, 0x06: self._identify, 0x09: self._feature, 0x0A: self._feature}
        if opcode in known:
            return known[opcode](sqe)
        return (0 if opcode == 0x18 else _INVALID_OPCODE), 0, b""

    def _property(self, sqe: bytes) -> Answer:
        kind, wide = sqe[4], sqe[40] & 7
        offset, value = struct.unpack_from("<II", sqe, 44)
        if kind == 0x00 and offset == 0x14 and not wide:
            self._configuration = value
            return 0, 0, b""
        capabilities = 127 | 1 << 16 | 30 << 24 | 1 << 37
        ready = self._configuration & 1 | (2 << 2 if self._configuration >> 14 & 3 else 0)
        found = {0x00: capabilities, 0x08: _VERSION, 0x14: self._configuration, 0x1C: ready}
        if kind == 0x04 and offset in found and wide == (offset == 0):
            return 0, found[offset], b""
        return (_INVALID_FIELD if kind in (0x00, 0x04) else _SEQUENCE), 0, b""

    @staticmethod
    def _identify(sqe: bytes) -> Answer:
        if sqe[40] != 0x01:
            return _INVALID_FIELD, 0, b""
        page = bytearray(4096)
        struct.pack_into("<20s40s8s", page, 4, b" " * 20, b"ZONED DISCOVERY".ljust(40), b"0001    ")
        page[77] = 5  # MDTS: 128 KiB
        struct.pack_into("<HI", page, 78, 1, _VERSION)
        page[111] = 2  # a discovery controller
        page[259] = _MOST_EVENTS - 1
        page[261] = 1 << 2  # offsets in log pages
        struct.pack_into("<H", page, 320, 10)
        struct.pack_into("<H", page, 514, 128)
        struct.pack_into("<I", page, 536, 1 << 0 | 1 << 20)
        page[768 : 768 + len(DISCOVERY_NQN)] = DISCOVERY_NQN.encode()
        struct.pack_into("<IIHBB", page, 1792, (64 + 8192) // 16, 1, 0, 0, 1)
        return 0, 0, bytes(page)

    def _log(self, sqe: bytes) -> Answer:
        low, high = struct.unpack_from("<HH", sqe, 42)
        (offset,) = struct.unpack_from("<Q", sqe, 48)
        length = ((high << 16 | low) + 1) * 4
        if sqe[40] != 0x70:
            return _INVALID_PAGE, 0, b""
        if length > 128 << 10 or offset % 4:
            return _INVALID_FIELD, 0, b""
        records = [record.pack() for record in self._records()]
        page = struct.pack("<QQH1006x", 1, len(records), 0) + b"".join(records)
        if offset > len(page):
            return _INVALID_FIELD, 0, b""
        return 0, 0, page[offset : offset + length].ljust(length, b"\0")

    def _feature(self, sqe: bytes) -> Answer:
        """Events and keep alive: nothing changes here, so no event comes."""
        if sqe[40] not in (0x0B, 0x0F):
            return _INVALID_FIELD, 0, b""
        return 0, 0, b""


__all__ = ["DISCOVERY_NQN", "Discovery", "Record"]
