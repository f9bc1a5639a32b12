"""The cffi builder of ``zonefs._fuse``: the FUSE server (native/fs/fuse*.c) over libfuse3.

setup.py names this file in ``cffi_modules`` only where `libfuse` finds the library, so that the
package builds without it; ``zonefs.mount`` then says what is missing. The declarations come from
native/fs/fuse.h. The module holds no copy of the library: it is linked to the one in zoned._native
(setup.py says where that is), which must be loaded first.
"""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent
OLDEST = "3.10"
OWNED = """
/* What zoned._fast.Owner gives a server back by, and a forked child its copy. */
static void zd_own_fuse(void *p) { zd_fuse_stop(p); }
static void zd_own_forgotten_fuse(void *p) { zd_fuse_forget(p); }
"""


OWN = "\nvoid zd_own_fuse(void *);\nvoid zd_own_forgotten_fuse(void *);\n"


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
    building = runpy.run_path(str(HERE / "building.py"))
    ffi = FFI()
    header = (NATIVE / "fs" / "fuse.h").read_text(encoding="utf-8")
    ffi.cdef(building["declarations"](header) + OWN)
    ffi.set_source(
        "zonefs._fuse",
        building["WARNINGS"] + '#include "fs/fuse.h"\n' + OWNED,
        extra_compile_args=[*building["compile_flags"](), *cflags],
        extra_link_args=["-pthread", *libs],
        **building["arguments"](sorted((NATIVE / "fs").glob("fuse*.c"))),
    )
    return ffi
