"""The cffi builder of ``zoned._native``: the C core, compiled once, and all of its headers.

setup.py names this file in ``cffi_modules``. The declarations come from native/zd.h itself, so that
the header stays the only place where the interface is written. Reads native/, touches nothing else.

Environment: ``ZONED_CFLAGS`` adds compiler flags, ``ZONED_WERROR=1`` turns on ``-Wall -Wextra
-Werror`` for the sources of this project (not for the wrapper that cffi writes).
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent.parent
NATIVE = ROOT / "native"
LIMITED_API = "0x030b0000"

WARNINGS = """
/* The wrapper below is written by cffi: its warnings are not ours to mend. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wcast-function-type"
"""

PREAMBLE = """
#include <stdint.h>
#include <sys/stat.h>
#include "fast_table.h"
#include "fs/fuse_table.h"
#include "zd_sim.h"
#include "zoned/request.h"
#include "zoned/scsi.h"

static const struct zd_fast_table fast_table = {
    sizeof(struct zd_fast_table), sizeof(struct zd_error), zd_pread, zd_pwrite, zd_pwritev,
    zd_append, zd_close, zd_set_interrupt, zd_waited_for, zd_end_hangs,
};

static uintptr_t zd_fast_table_address(void) { return (uintptr_t)&fast_table; }

static const struct zd_fast_fs_table fast_fs_table = {
    sizeof(struct zd_fast_fs_table), sizeof(struct zd_error), zd_fs_read, zd_fs_write,
    zd_fs_ftruncate, zd_fs_close, zd_fs_drop,
};

static uintptr_t zd_fast_fs_table_address(void) { return (uintptr_t)&fast_fs_table; }

static const struct zd_fuse_table fuse_table = ZD_FUSE_TABLE_INIT;

static uintptr_t zd_fuse_table_address(void) { return (uintptr_t)&fuse_table; }

/* What zoned._fast.Owner gives things back by. */
static void zd_own_snapshot(void *p) { zd_snapshot_free(p); }
static void zd_own_clock(void *p) { zd_clock_free(p); }
static void zd_own_sim(void *p) { zd_sim_free(p); }
static void zd_own_log(void *p) { zd_log_free(p); }
static void zd_own_findings(void *p) { zd_findings_free(p); }
static void zd_own_fs(void *p) { zd_fs_umount(p); }
static void zd_own_fs_detached(void *p) { zd_fs_detach(p); }
static void zd_own_left(void *p) { (void)p; }
"""
OWNED = ("snapshot", "clock", "sim", "log", "findings", "fs", "fs_detached", "left")


def declarations(header: str) -> str:
    """The text of a C header as ``FFI.cdef`` takes it.

    Comments, includes, guards and the C++ part go. ``#define NAME 19`` stays (cffi compares it with
    what the compiler sees); any other ``#define NAME value`` becomes ``#define NAME ...``, filled
    in by the compiler.
    """
    text = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            lines.append(line)
            continue
        define = re.match(r"#define\s+(\w+)\s+(\S+)", line)
        if define:
            value = define[2] if re.fullmatch(r"[1-9]\d*", define[2]) else "..."
            lines.append(f"#define {define[1]} {value}")
    return "\n".join(lines)


def sources() -> list[str]:
    """The C files of the core, of the wire protocols, of the zonefs rules and of the simulation.

    Relative to the working folder, as setuptools wants them. The FUSE server (native/fs/fuse*) is a
    module of its own.
    """
    found: list[Path] = []
    for folder in ("base", "rules", "device", "wire", "fs", "sim"):
        here = sorted(path for path in (NATIVE / folder).rglob("*.c") if not path.match("fuse*"))
        if not here:
            raise SystemExit(f"no C source in {NATIVE / folder}: the source tree is incomplete")
        found += here
    return [os.path.relpath(path) for path in found]


def compile_flags() -> list[str]:
    """Flags for each C file of the project. -ffp-contract=off: same results everywhere."""
    flags = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-ffp-contract=off", "-pthread"]
    if os.environ.get("ZONED_WERROR") == "1":
        flags += ["-Wall", "-Wextra", "-Werror"]
    return flags + shlex.split(os.environ.get("ZONED_CFLAGS", ""))


ffibuilder = FFI()
SYSTEM_TYPES = """
struct iovec { void *iov_base; size_t iov_len; };
struct timespec { long tv_sec; long tv_nsec; };
typedef int... mode_t;
struct stat {
    uint64_t st_ino; mode_t st_mode; uint64_t st_nlink; uint32_t st_uid, st_gid;
    int64_t st_size, st_blksize, st_blocks;
    struct timespec st_atim, st_mtim, st_ctim;
    ...;
};
"""

ffibuilder.cdef(
    SYSTEM_TYPES
    + declarations((NATIVE / "zd.h").read_text(encoding="utf-8"))
    + declarations((NATIVE / "include/zoned/request.h").read_text(encoding="utf-8"))
    + declarations((NATIVE / "include/zoned/scsi.h").read_text(encoding="utf-8"))
    + declarations((NATIVE / "zd_fs.h").read_text(encoding="utf-8"))
    + declarations((NATIVE / "zd_sim.h").read_text(encoding="utf-8"))
    + "\nuintptr_t zd_fast_table_address(void);\nuintptr_t zd_fast_fs_table_address(void);\n"
    + "uintptr_t zd_fuse_table_address(void);\n"
    + "".join(f"void zd_own_{name}(void *);\n" for name in OWNED)
    + 'extern "Python" void zd_python_watch(void *, int, uint64_t, uint64_t, int64_t);\n'
)
ffibuilder.set_source(
    "zoned._native",
    WARNINGS + PREAMBLE,
    sources=sources(),
    include_dirs=[os.path.relpath(NATIVE / folder) for folder in (".", "include", "python")],
    depends=[os.path.relpath(path) for path in sorted(NATIVE.rglob("*.h"))],
    define_macros=[("Py_LIMITED_API", LIMITED_API), ("_GNU_SOURCE", "1")],
    extra_compile_args=compile_flags(),
    extra_link_args=["-pthread", "-lm"],
    py_limited_api=True,
)
