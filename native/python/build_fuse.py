"""The cffi builder of ``zonefs._fuse``: the FUSE server (native/fs/fuse*.c) over libfuse3.

setup.py names this file in ``cffi_modules`` only where `libfuse` finds the library, so that the
package builds without it; ``zonefs.mount`` then says what is missing. The declarations come from
native/fs/fuse.h. The module holds no copy of the core: it calls zoned._native through a table.
"""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
from pathlib import Path

from cffi import FFI

NATIVE = Path(__file__).resolve().parent.parent
OLDEST = "3.10"
OWNED = """
/* What zoned._fast.Owner gives a server back by, and a forked child its copy. */
static void zd_own_fuse(void *p) { zd_fuse_stop(p); }
static void zd_own_forgotten_fuse(void *p) { zd_fuse_forget(p); }
"""


def libfuse() -> tuple[list[str], list[str]] | None:
    """Compiler and linker flags of libfuse3, or None where pkg-config does not find it."""
    tool = os.environ.get("PKG_CONFIG", "pkg-config")
    try:
        subprocess.run([tool, f"--atleast-version={OLDEST}", "fuse3"], check=True)
        cflags, libs = (
            shlex.split(subprocess.check_output([tool, what, "fuse3"], text=True))
            for what in ("--cflags", "--libs")
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return cflags, libs


def builder() -> FFI:
    """The module, ready to be compiled. Raises SystemExit without libfuse3."""
    found = libfuse()
    if found is None:
        raise SystemExit(f"pkg-config finds no fuse3 of version {OLDEST} or later")
    cflags, libs = found
    shared = runpy.run_path(str(NATIVE / "python" / "build_native.py"))
    ffi = FFI()
    ffi.cdef(shared["declarations"]((NATIVE / "fs" / "fuse.h").read_text(encoding="utf-8")))
    ffi.cdef("void zd_own_fuse(void *);\nvoid zd_own_forgotten_fuse(void *);\n")
    ffi.set_source(
        "zonefs._fuse",
        shared["WARNINGS"] + '#include "fs/fuse.h"\n' + OWNED,
        sources=[os.path.relpath(path) for path in sorted((NATIVE / "fs").glob("fuse*.c"))],
        include_dirs=[os.path.relpath(NATIVE)],
        depends=[os.path.relpath(path) for path in sorted(NATIVE.rglob("*.h"))],
        define_macros=[("Py_LIMITED_API", shared["LIMITED_API"]), ("_GNU_SOURCE", "1")],
        extra_compile_args=[*shared["compile_flags"](), *cflags],
        extra_link_args=["-pthread", *libs],
        py_limited_api=True,
    )
    return ffi
