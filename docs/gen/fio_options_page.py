"""docs/fio-options.md: the options of fio's that are understood, from where they are declared."""

from __future__ import annotations

from pathlib import Path

from zoned.bench.fiooptions import NO_EFFECT, OPTIONS
from zoned.bench.fiovalues import ROOMS, Declared

HEAD = Path(__file__).with_name("fio-options.head.md")


def _row(one: Declared) -> str:
    names = ", ".join(f"`{name}`" for name in (one.name, *one.aliases))
    values = one.values + (", or alone" if one.bare else "")
    default = f"`{one.default}`" if one.default else ""
    return f"| {names} | {values} | {default} | {one.about} |"


def render() -> str:
    """The page."""
    lines = [HEAD.read_text(encoding="utf-8").rstrip("\n")]
    for room, title in ROOMS.items():
        lines += ["", f"## {title}", "", "| option | value | default | |", "|---|---|---|---|"]
        lines += [_row(one) for one in OPTIONS.values() if one.room == room]
    lines += ["", "## Taken, and without effect", "", "| because | options |", "|---|---|"]
    for why, names in NO_EFFECT.items():
        lines.append(f"| {why} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")
