"""What the public C headers declare, and which errors they list for each function."""

from __future__ import annotations

import re
from pathlib import Path

PUBLIC = Path(__file__).parents[1] / "native/include/zoned"
HEADERS = sorted(
    path for path in PUBLIC.glob("*.h") if path.name not in ("sim.h", "serve.h", "ublk.h")
)
"""Those of libzoned: the simulation and the servers are not part of it."""
_FUNCTION = re.compile(
    r"/\*(?P<told>(?:(?!\*/).)*)\*/\n"
    r"(?P<said>[a-z][^;{}#/]*?\b\(?\*?(?P<name>zd_\w+)\([^;{}]*\);)",
    re.DOTALL,
)


def declared() -> dict[str, str]:
    """Every public function with its declaration."""
    texts = (re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL) for path in HEADERS)
    text = re.sub(r"(?m)^(#.*|typedef .*)$", "", "\n".join(texts))
    said = re.findall(r"(?m)^(?=[a-z])(.*?\b\(?\*?(zd_[a-z0-9_]+)\([^;]*;)", text)
    return {name: whole for whole, name in said}


def errors() -> dict[str, list[str]]:
    """The codes behind "Errors:" in the comment above each function that has such a list."""
    found = {}
    for path in HEADERS:
        for match in _FUNCTION.finditer(path.read_text("utf-8")):
            _, colon, listed = match["told"].partition("Errors:")
            if colon:
                codes = re.findall(r"(?<![\w-])(ZD_E_[A-Z_]+|-E[A-Z0-9]+)\b", listed)
                found[match["name"]] = codes
    return found


def codes() -> dict[str, int]:
    """The numbers of all ZD_E_ codes."""
    text = (PUBLIC / "error.h").read_text("utf-8")
    return {name: int(number) for name, number in re.findall(r"(ZD_E_\w+) = (-\d+)", text)}
