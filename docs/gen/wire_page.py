"""What docs/scsi.md and docs/nvme.md share: a table of the commands that an executor has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zoned._core.native import ffi, lib


def commands(protocol: str) -> Iterator[Any]:
    """Every ``struct zd_PROTOCOL_command_info``, in the executor's order."""
    index = 0
    while True:
        info = ffi.new(f"struct zd_{protocol}_command_info *")
        if getattr(lib, f"zd_{protocol}_command_at")(index, info):
            return
        yield info
        index += 1


def flagged(info: Any, words: dict[int, str]) -> str:
    """Those of a command's flags that there are words for."""
    return ", ".join(word for flag, word in words.items() if info.flags & flag)


def page(protocol: str, columns: list[str], row: Callable[[Any], list[str]]) -> str:
    """The whole page: its head, the table, its tail."""
    head, tail = (Path(__file__).with_name(f"{protocol}.{end}.md") for end in ("head", "tail"))
    rows = [columns, *(row(info) for info in commands(protocol))]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    lines.insert(1, "|" + "---|" * len(columns))
    return "\n".join(
        [head.read_text(encoding="utf-8"), *lines, "", tail.read_text(encoding="utf-8")]
    )
