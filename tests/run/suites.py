"""What suites of others told: how each of their cases ended."""

from __future__ import annotations

import re

LIBZBC = {"Passed": 142, "N/A": 2}
"""What libzbc 6.2.0 has for a host-managed disk of 24 MiB without zone domains, whose physical blocks are its logical
ones: no zone is sequential-or-before-required, and no write can end within a physical block."""


def plain(told: str) -> str:
    """What a suite told, without its colours and moves of the cursor."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", told).replace("\r", "\n")


def ends_of_libzbc(told: str) -> dict[str, str]:
    """Of each case its end: Passed, N/A, Failed (behind which the name of a log stands), what else it
    told in brackets; several, if it told several, and "no end".
    """
    ends: dict[str, str] = {}
    case = ""
    for number, end in re.findall(
        r"^ *(\d\d\.\d{3}): |^ *\[([^\s\]]+)", plain(told), flags=re.MULTILINE
    ):
        if number:
            case = number
            ends[case] = "twice" if case in ends else "no end"
        elif case:
            ends[case] = end if ends[case] == "no end" else f"{ends[case]}, {end}"
    return ends
