"""docs/differences.md: where a real kernel and zoned differ, from the lists that its tests go by.

tests/kernel/differences.py (disks), zns_differences.py (QEMU's ZNS drive) and
zonefs_differences.py (zonefs) are data: a test fails when a real kernel shows a difference that is
not in them, or no longer shows one that is.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
HEAD = Path(__file__).with_name("differences.head.md")
TAIL = Path(__file__).with_name("differences.tail.md")
DOORS = {("mount",): "mount", ("process",): "in process", ("mount", "process"): "both"}


def render() -> str:
    """The page."""
    sys.path.insert(0, str(TESTS))
    differences = importlib.import_module("kernel.differences")
    zns_differences = importlib.import_module("kernel.zns_differences")
    zonefs_differences = importlib.import_module("kernel.zonefs_differences")
    lines = [HEAD.read_text(encoding="utf-8").rstrip("\n"), "", "## zonefs", ""]
    lines += ["| where | what differs | why |", "|---|---|---|"]
    for known in zonefs_differences.KNOWN:
        lines.append(f"| {DOORS[known.doors]} | {known.title} | {known.cause} |")
    lines += [
        "",
        "## Disks",
        "",
        "| disk of the kernel | name | what differs, and why |",
        "|---|---|---|",
    ]
    for disk in differences.KNOWN:
        lines.append(f"| {disk.kind} | `{disk.name}` | {disk.cause} |")
    for drive in zns_differences.KNOWN:
        lines.append(f"| QEMU's ZNS drive | `{drive.name}` | {drive.cause} |")
    lines += ["", TAIL.read_text(encoding="utf-8").rstrip("\n")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")
