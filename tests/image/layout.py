"""The image format from the outside: where each metadata byte lies, read and written by struct alone.

A second writing of docs/image-format.md, so that a change of the format that the page does not tell
shows here. Imports nothing of the emulator.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
HEADERS = (0, 4096)
STATUSES = (8192, 12288)
TABLE = 16384
ENTRY_SIZE, STATUS_SIZE = 32, 64

# name: (offset in the header, struct code)
HEADER_FIELDS = {
    "version": (8, "I"),
    "nr_zones": (12, "I"),
    "features": (16, "Q"),
    "size": (48, "Q"),
    "zone_size": (56, "Q"),
    "zone_capacity": (64, "Q"),
    "append_limit": (72, "Q"),
    "seed": (80, "Q"),
    "slot_size": (88, "Q"),
    "slot_cache": (96, "Q"),
    "table_b": (104, "Q"),
    "runtime_offset": (112, "Q"),
    "data_offset": (120, "Q"),
    "logical_block": (128, "I"),
    "physical_block": (132, "I"),
    "max_open": (136, "I"),
    "max_active": (140, "I"),
    "dialect": (144, "B"),
    "nr_conv": (152, "I"),
    "zone_extension": (156, "I"),
    "zrwa_size": (224, "I"),
    "zrwa_granularity": (228, "I"),
    "zrwa_count": (232, "I"),
}


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
        table.append(rest)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (Castagnoli, reflected)."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@dataclass
class Image:
    """The bytes of an image, with setters that put the checksums right again."""

    data: bytearray

    @classmethod
    def read(cls, path: Path) -> Image:
        return cls(bytearray(path.read_bytes()))

    def write(self, path: Path) -> None:
        path.write_bytes(self.data)

    def header(self, field: str, copy: int = 0) -> int:
        at, code = HEADER_FIELDS[field]
        value: int = struct.unpack_from("<" + code, self.data, HEADERS[copy] + at)[0]
        return value

    def set_header(self, field: str, value: int, copies: tuple[int, ...] = (0, 1)) -> None:
        at, code = HEADER_FIELDS[field]
        for copy in copies:
            struct.pack_into("<" + code, self.data, HEADERS[copy] + at, value)
            self.seal_header(copy)

    def seal_header(self, copy: int) -> None:
        at = HEADERS[copy]
        struct.pack_into("<I", self.data, at + 4092, crc32c(self.data[at : at + 4092]))

    def header_is_valid(self, copy: int) -> bool:
        at = HEADERS[copy]
        (crc,) = struct.unpack_from("<I", self.data, at + 4092)
        return self.data[at : at + 8] == b"ZDIMAGE\n" and crc == crc32c(self.data[at : at + 4092])

    def status(self, copy: int) -> tuple[int, int, int]:
        """Sequence number, clean, failed."""
        values: tuple[int, int, int] = struct.unpack_from("<QII", self.data, STATUSES[copy] + 8)
        return values

    def set_status(self, copy: int, seq: int, clean: int, failed: int) -> None:
        at = STATUSES[copy]
        struct.pack_into("<8sQII", self.data, at, b"ZDSTATE\n", seq, clean, failed)
        struct.pack_into("<I", self.data, at + 60, crc32c(self.data[at : at + 60]))

    def entry_at(self, zone: int, copy: int) -> int:
        return (TABLE, self.header("table_b"))[copy] + ENTRY_SIZE * zone

    def entry(self, zone: int, copy: int) -> tuple[int, int, int, int]:
        """Sequence number, word, durable bytes, slot + 1."""
        _, seq, word, durable, slot, _ = struct.unpack_from(
            "<IIQQII", self.data, self.entry_at(zone, copy)
        )
        return seq, word, durable, slot

    def set_entry(self, zone: int, copy: int, seq: int, word: int, durable: int, slot: int) -> None:
        rest = struct.pack("<IQQII", seq, word, durable, slot, 0)
        crc = crc32c(struct.pack("<I", zone), crc32c(rest))
        struct.pack_into("<I28s", self.data, self.entry_at(zone, copy), crc, rest)

    def entry_is_valid(self, zone: int, copy: int) -> bool:
        at = self.entry_at(zone, copy)
        entry = bytes(self.data[at : at + ENTRY_SIZE])
        if not any(entry):
            return True
        return struct.unpack_from("<I", entry)[0] == crc32c(
            struct.pack("<I", zone), crc32c(entry[4:])
        )


def change_header(path: Path, field: str, value: int, copies: tuple[int, ...] = (0, 1)) -> None:
    """In a file: one field, with a right check sum."""
    image = Image.read(path)
    image.set_header(field, value, copies)
    image.write(path)
