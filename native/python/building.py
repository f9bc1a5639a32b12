"""What the two cffi modules are built from: headers, their declarations, sources and flags.

build_native.py and build_fuse.py run this file. Reads native/, touches nothing else.

Environment: ``ZONED_CFLAGS`` adds compiler flags, ``ZONED_WERROR=1`` turns on ``-Wall -Wextra
-Werror`` for the sources of this project (not for the wrapper that cffi writes).
"""

from __future__ import annotations

import os
import re
import shlex
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NATIVE = ROOT / "native"
PUBLIC = NATIVE / "include/zoned"
LIMITED_API = "0x030b0000"
SONAME = "zoned-native.so"
"""By which zonefs._fuse finds the library in zoned._native, which is loaded before it."""

WARNINGS = """
/* The wrapper below is written by cffi: its warnings are not ours to mend. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wcast-function-type"
"""


def headers() -> list[Path]:
    """The public headers, each behind those that it includes; the one that includes all is not
    among them.
    """
    found: list[Path] = []

    def add(path: Path) -> None:
        for name in re.findall(r'(?m)^#include "zoned/(\w+\.h)"', path.read_text(encoding="utf-8")):
            if PUBLIC / name not in found:
                add(PUBLIC / name)
        if path not in found and path.name != "zoned.h":
            found.append(path)

    for path in sorted(PUBLIC.glob("*.h")):
        add(path)
    return found


def declarations(header: str) -> str:
    """The text of a C header as ``FFI.cdef`` takes it.

    Comments, includes, guards, and what only a compiler wants go. ``#define NAME 19`` stays (cffi
    compares it with what the compiler sees); any other ``#define NAME value`` becomes ``#define
    NAME ...``, filled in by the compiler.
    """
    text = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            if line.strip() not in {"ZD_BEGIN", "ZD_END", "struct zd_error;"}:
                lines.append(line)
            continue
        define = re.match(r"#define\s+(\w+)\s+(\S+)", line)
        if define:
            value = define[2] if re.fullmatch(r"[1-9]\d*", define[2]) else "..."
            lines.append(f"#define {define[1]} {value}")
    return "\n".join(lines)


def public_declarations() -> str:
    """All that the public headers declare."""
    return "".join(declarations(path.read_text(encoding="utf-8")) for path in headers())


def build_number() -> int:
    """A check sum of all headers: modules in which it differs do not fit together."""
    number = 0
    for path in sorted(NATIVE.rglob("*.h")):
        number = zlib.crc32(path.read_bytes(), number)
    return number


def sources() -> list[Path]:
    """The C files of the core, of the zonefs rules, of the simulation, wires and servers.

    The FUSE server (native/fs/fuse*) is a module of its own.
    """
    found: list[Path] = []
    for folder in ("base", "rules", "device", "wire", "serve", "fs", "sim"):
        here = sorted(path for path in (NATIVE / folder).rglob("*.c") if not path.match("fuse*"))
        if not here:
            raise SystemExit(f"no C source in {NATIVE / folder}: the source tree is incomplete")
        found += here
    return found


def compile_flags() -> list[str]:
    """Flags for each C file of the project. -ffp-contract=off: same results everywhere.

    The headers make public functions visible and nothing else is; calls of them within the module
    are as direct as all others.
    """
    flags = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-fno-semantic-interposition"]
    flags += ["-ffp-contract=off", "-pthread"]
    if os.environ.get("ZONED_WERROR") == "1":
        flags += ["-Wall", "-Wextra", "-Werror"]
    return flags + shlex.split(os.environ.get("ZONED_CFLAGS", ""))


def arguments(files: list[Path]) -> dict[str, object]:
    """What setuptools wants of each module: paths relative to the working folder, and flags."""
    folders = (NATIVE, NATIVE / "include", NATIVE / "python")
    return {
        "sources": [os.path.relpath(path) for path in files],
        "include_dirs": [os.path.relpath(path) for path in folders],
        "depends": [os.path.relpath(path) for path in sorted(NATIVE.rglob("*.h"))],
        "define_macros": [
            ("Py_LIMITED_API", LIMITED_API),
            ("_GNU_SOURCE", "1"),
            ("ZD_BUILD", f"{build_number():#x}u"),
        ],
        "py_limited_api": True,
    }
