"""What faults, power cuts, snapshots and forks cost a disk that uses none of them: instructions per
4 KiB call, counted by valgrind, with them and in a build without them (-DZD_BARE).

    .venv/bin/python bench/instructions.py

Needs valgrind and gcc. Counts do not depend on what else the machine does. Exit status 1 if a
write costs more than 2 % more.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST = 2.0  # percent
SMALL, LARGE = 400, 1600
NAMES = {
    "pwrite": "pwrite, sequential zone",
    "pread": "pread, sequential zone",
    "overwrite": "first overwrite, conventional zone",
    "append": "append",
    "report": "row of a report",
    "mount": "write to a file of a zonefs",
}


def build(folder: Path, bare: bool) -> Path:
    program = folder / ("bare" if bare else "whole")
    core = [
        str(path)
        for room in ("base", "rules", "device", "fs")
        for path in sorted((ROOT / "native" / room).rglob("*.c"))
        if not path.name.startswith("fuse_")
    ]
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g"]
    flags += [f"-I{ROOT / 'native'}", f"-I{ROOT / 'native/include'}"]
    flags += ["-DZD_BARE"] if bare else []
    source = str(ROOT / "bench/instructions.c")
    subprocess.run(
        ["gcc", *flags, "-o", str(program), source, *core, "-lpthread", "-lm"], check=True
    )
    return program


def count(program: Path, what: str, calls: int) -> int:
    """Instructions in measured()."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += ["--toggle-collect=measured", str(program), what, str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


def per_call(program: Path, what: str) -> float:
    """The first calls of a kind do what later ones need not: only the difference counts."""
    return (count(program, what, LARGE) - count(program, what, SMALL)) / (LARGE - SMALL)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        bare, whole = build(Path(name), bare=True), build(Path(name), bare=False)
        rows = {what: (per_call(bare, what), per_call(whole, what)) for what in NAMES}
    print("instructions per 4 KiB call, no fault rule set")
    print(f"{'':34} {'without':>8} {'with':>8} {'more':>8}")
    for what, (without, with_all) in rows.items():
        more = (with_all / without - 1) * 100
        print(f"{NAMES[what]:34} {without:8.1f} {with_all:8.1f} {more:7.2f}%")
    without, with_all = rows["pwrite"]
    if (with_all / without - 1) * 100 > MOST:
        print(f"pwrite costs more than {MOST} % more", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
