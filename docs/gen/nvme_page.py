"""docs/nvme.md: what the disk answers as NVMe namespaces, with the list of commands that the
executor itself has.
"""

from __future__ import annotations

from typing import Any

from wire_page import flagged, page
from zoned._core.native import ffi, lib

WHERE = {
    lib.ZD_NVME_ADMIN: "admin queue",
    lib.ZD_NVME_NVM: "ordinary",
    lib.ZD_NVME_ZONED: "zoned",
    lib.ZD_NVME_ALL: "all at once",
    lib.ZD_NVME_WRITES: "not write-protected",
}
"""On which queue and in which namespaces a command may be given."""


def usage(info: Any) -> str:
    """The bits of dwords 10 to 15 that it looks at."""
    bits = [f"{10 + i}: {word:08X}h" for i, word in enumerate(info.usage) if word]
    return ", ".join(bits)


def row(info: Any) -> list[str]:
    """One line of the table."""
    name = ffi.string(info.name).decode()
    codes = [f"{info.opcode:02X}h", f"{info.effects:08X}h"]
    return [codes[0], name, flagged(info, WHERE), usage(info), codes[1]]


def render() -> str:
    """The whole page."""
    columns = ["opcode", "command", "where", "bits of dwords that it looks at", "effects"]
    return page("nvme", columns, row)
