"""docs/scsi.md: what the disk answers as a SCSI logical unit, with the list of commands that the
executor itself has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoned._core.native import ffi, lib

HEAD = Path(__file__).with_name("scsi.head.md")
TAIL = Path(__file__).with_name("scsi.tail.md")


def commands() -> Iterator[Any]:
    """Every ``struct zd_scsi_command_info``, in the order of opcodes and service actions."""
    index = 0
    while True:
        info = ffi.new("struct zd_scsi_command_info *")
        if lib.zd_scsi_command_at(index, info):
            return
        yield info
        index += 1


def needs(info: Any) -> str:
    """What a command asks for, in words; empty: nothing."""
    words = {
        lib.ZD_SCSI_IF_CONVENTIONAL: "conventional zones",
        lib.ZD_SCSI_CHANGES_MEDIUM: "a unit that may be written",
        lib.ZD_SCSI_NEEDS_MEDIUM: "a unit that is started",
    }
    return ", ".join(word for flag, word in words.items() if info.flags & flag)


def row(info: Any) -> str:
    """One line of the table."""
    usage = bytes(info.usage)[: info.length].hex(" ")
    code = f"{info.opcode:02X}h" + (f"/{info.action:02X}h" if info.action >= 0 else "")
    name = ffi.string(info.name).decode()
    return f"| {code} | {name} | `{usage}` | {info.timeout} | {needs(info)} |"


def render() -> str:
    """The whole page."""
    lines = [
        HEAD.read_text(encoding="utf-8"),
        "| code | command | bits of the CDB that it looks at | timeout, s | needs |",
        "|---|---|---|---|---|",
        *(row(info) for info in commands()),
        "",
        TAIL.read_text(encoding="utf-8"),
    ]
    return "\n".join(lines)
