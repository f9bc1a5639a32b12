"""docs/scsi.md: what the disk answers as a SCSI logical unit, with the list of commands that the
executor itself has.
"""

from __future__ import annotations

from typing import Any

from wire_page import flagged, page
from zoned._core.native import ffi, lib

NEEDS = {
    lib.ZD_SCSI_IF_CONVENTIONAL: "conventional zones",
    lib.ZD_SCSI_CHANGES_MEDIUM: "a unit that may be written",
    lib.ZD_SCSI_NEEDS_MEDIUM: "a unit that is started",
}
"""What a command asks for."""


def row(info: Any) -> list[str]:
    """One line of the table."""
    usage = bytes(info.usage)[: info.length].hex(" ")
    code = f"{info.opcode:02X}h" + (f"/{info.action:02X}h" if info.action >= 0 else "")
    name = ffi.string(info.name).decode()
    return [code, name, f"`{usage}`", str(info.timeout), flagged(info, NEEDS)]


def render() -> str:
    """The whole page."""
    columns = ["code", "command", "bits of the CDB that it looks at", "timeout, s", "needs"]
    return page("scsi", columns, row)
