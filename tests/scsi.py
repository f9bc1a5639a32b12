"""CDBs by name, and what sense data says: for every initiator of the tests. The guest of the kernel's tests imports it too."""

from __future__ import annotations


def cdb10(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return (
        bytes([opcode, flags]) + lba.to_bytes(4, "big") + b"\0" + blocks.to_bytes(2, "big") + b"\0"
    )


def cdb12(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([opcode, flags]) + lba.to_bytes(4, "big") + blocks.to_bytes(4, "big") + bytes(2)


def cdb16(opcode: int, lba: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([opcode, flags]) + lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)


def inquiry(page: int | None = None, allocation: int = 512) -> bytes:
    return bytes([0x12, page is not None, page or 0]) + allocation.to_bytes(2, "big") + b"\0"


def report_zones(
    lba: int = 0, allocation: int = 1 << 16, option: int = 0, *, partial: bool = False
) -> bytes:
    """``lba``: whose zone is the first; ``allocation``: bytes of the answer."""
    return cdb16(0x95, lba, allocation)[:14] + bytes([partial << 7 | option, 0])


def sense_codes(sense: bytes) -> tuple[int, int, int]:
    """Sense key, ASC, ASCQ of either format; zeros without sense data."""
    if not sense:
        return (0, 0, 0)
    key, asc, ascq = (1, 2, 3) if sense[0] & 0x7F >= 0x72 else (2, 12, 13)
    return (sense[key] & 15, sense[asc], sense[ascq])
