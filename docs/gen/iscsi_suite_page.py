"""docs/iscsi-suite.md: what libiscsi's own test suite says of an exported disk, and why.

The lists are those of tests/iscsi/suite_findings.py, by which a test goes that runs the suite.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
HEAD = Path(__file__).with_name("iscsi-suite.head.md")


def render() -> str:
    """The whole page."""
    sys.path.insert(0, str(TESTS))
    findings = importlib.import_module("iscsi.suite_findings")
    disks = list(findings.DISKS)
    lines = [HEAD.read_text(encoding="utf-8").rstrip("\n"), "", "## What fails", ""]
    lines += ["| test | on | why |", "|---|---|---|"]
    for failure in findings.FAILURES:
        where = "all" if list(failure.disks) == disks else ", ".join(failure.disks)
        lines.append(f"| {failure.test} | {where} | {failure.cause} |")
    lines += ["", "## What is skipped", "", "By what the suite says, with the number of tests:", ""]
    lines += ["| it says | " + " | ".join(disks) + " | why |", "|---" * (len(disks) + 2) + "|"]
    for skip in findings.SKIPS:
        numbers = " | ".join(str(skip.tests.get(disk, "")) for disk in disks)
        lines.append(f"| {skip.says} | {numbers} | {skip.cause} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")
