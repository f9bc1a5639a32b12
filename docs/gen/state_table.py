"""docs/state-table.md: the rule books as tables, printed from zoned.rules (which asks the C core's
own table).
"""

from __future__ import annotations

from pathlib import Path

from zoned import Dialect, ZoneCondition, ZoneType, rules
from zoned.rules import Cell, Command, Effect, Next

COMMANDS = [command for command in Command if command is not Command.FLUSH]

NAMES = {
    Command.READ: "read",
    Command.WRITE: "write",
    Command.APPEND: "append",
    Command.OPEN: "OPEN",
    Command.CLOSE: "CLOSE",
    Command.FINISH: "FINISH",
    Command.RESET: "RESET",
    Command.OPEN_ALL: "OPEN, ALL",
    Command.CLOSE_ALL: "CLOSE, ALL",
    Command.FINISH_ALL: "FINISH, ALL",
    Command.RESET_ALL: "RESET, ALL",
    Command.POWER_CYCLE: "power cycle",
    Command.SET_EMPTY: "set empty",
    Command.SET_READ_ONLY: "set read-only",
    Command.SET_OFFLINE: "set offline",
    Command.SET_EXTENSION: "SET EXTENSION",
    Command.OPEN_ZRWA: "OPEN, ZRWA",
    Command.COMMIT_ZRWA: "COMMIT",
}

CONDITIONS = {
    ZoneCondition.NOT_WP: "not wp",
    ZoneCondition.EMPTY: "empty",
    ZoneCondition.IMPLICIT_OPEN: "implicitly open",
    ZoneCondition.EXPLICIT_OPEN: "explicitly open",
    ZoneCondition.CLOSED: "closed",
    ZoneCondition.FULL: "full",
    ZoneCondition.READ_ONLY: "read-only",
    ZoneCondition.OFFLINE: "offline",
}

NEXT = {
    Next.SAME: "stays",
    Next.EMPTY: "empty",
    Next.IMPLICIT_OPEN: "implicitly open",
    Next.EXPLICIT_OPEN: "explicitly open",
    Next.CLOSED: "closed",
    Next.CLOSED_OR_EMPTY: "closed¹",
    Next.FULL: "full",
    Next.READ_ONLY: "read-only",
    Next.OFFLINE: "offline",
}

LETTERS = {
    Effect.OPEN: "O",
    Effect.ACTIVE: "A",
    Effect.CHECK: "C",
    Effect.ADVANCE: "W",
    Effect.WP_START: "S",
    Effect.WP_END: "E",
    Effect.DURABLE: "D",
    Effect.NON_SEQ: "N",
}

TYPES = {
    ZoneType.CONVENTIONAL: "Conventional zones",
    ZoneType.SEQ_WRITE_REQUIRED: "Sequential-write-required zones",
    ZoneType.SEQ_WRITE_PREFERRED: "Sequential-write-preferred zones",
}

DIALECTS = {
    Dialect.ZBC: "zbc: a SCSI or ATA disk",
    Dialect.ZNS: "zns: an NVMe drive",
    Dialect.NULLBLK: "nullblk: Linux's null_blk",
}

HEAD = Path(__file__).with_name("state-table.head.md")


def field(cell: Cell | None) -> str:
    """One field of a table."""
    if cell is None:
        return ""
    if cell.next is Next.ERROR:
        return f"`{cell.error}`"
    if cell.next is Next.INITIAL:
        text = "initial²"
    else:
        text = NEXT[cell.next]
    letters = "".join(letter for effect, letter in LETTERS.items() if cell.effects & effect)
    return f"{text} {letters}".strip()


def table(dialect: Dialect, kind: ZoneType) -> list[str]:
    """The table of one type of zone under one rule book; empty if the book has no such zones."""
    columns = [
        condition
        for condition in CONDITIONS
        if any(rules.cell(dialect, kind, condition, command) for command in COMMANDS)
    ]
    if not columns:
        return []
    lines = [
        "| command | " + " | ".join(CONDITIONS[condition] for condition in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for command in COMMANDS:
        fields = [field(rules.cell(dialect, kind, condition, command)) for condition in columns]
        lines.append(f"| **{NAMES[command]}** | " + " | ".join(fields) + " |")
    return lines


def render() -> str:
    """The whole page."""
    lines = [HEAD.read_text(encoding="utf-8")]
    for dialect, title in DIALECTS.items():
        lines += [f"## {title}", ""]
        for kind, heading in TYPES.items():
            rows = table(dialect, kind)
            if rows:
                lines += [f"### {heading} ({dialect})", "", *rows, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    print(render(), end="")
