"""docs/zonedctl.svg: a short session with zonedctl, run for real in a folder of its own, and
drawn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from picture import terminal

COMMANDS = [
    "zonedctl create disk.img --size 64MiB --zone-size 4MiB --conventional 2 --max-open 4",
    "head -c 3MiB /dev/zero | zonedctl write disk.img --zone 3",
    "zonedctl open disk.img --zones 7",
    "zonedctl report disk.img --zones 1-4,7",
    "head -c 8KiB /dev/zero | zonedctl write disk.img --offset 0x1c03000",
    "zonedctl reset disk.img --zones 0",
]
DESCRIPTION = "zonedctl makes a disk, writes to a zone, reports zones, and names two broken rules"


def run(command: str, folder: Path) -> list[tuple[str, str]]:
    """A command's lines for the picture: itself, its output, its complaints."""
    env = dict(os.environ, NO_COLOR="1", COLUMNS="100", LC_ALL="C.UTF-8")
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    lines = [("command", command)]
    lines += [("output", line.rstrip()) for line in done.stdout.splitlines()]
    lines += [("error", line.rstrip()) for line in done.stderr.splitlines()]
    return lines


def render() -> str:
    """The picture."""
    lines: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            lines += run(command, Path(folder))
    return terminal("zonedctl", lines, DESCRIPTION)


if __name__ == "__main__":
    print(render(), end="")
