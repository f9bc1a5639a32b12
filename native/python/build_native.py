"""The cffi builder of ``zoned._native``: the C library, compiled once, and every public function.

setup.py names this file in ``cffi_modules``. The declarations come from native/include/zoned/, so
that the headers stay the only place where the interface is written. The same file holds
``zoned._fast`` (native/python/fast*.c), so both modules use the one library in it; zonefs._fuse
is linked to it. ``zoned._core.native`` loads them.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
building = runpy.run_path(str(HERE / "building.py"))

PREAMBLE = """
#include <stdint.h>
#include <sys/stat.h>
#include "zoned/fs.h"
#include "zoned/scsi.h"
#include "zoned/serve.h"
#include "zoned/sim.h"
#include "zoned/zoned.h"

static uint32_t zd_native_build(void) { return ZD_BUILD; }

/* What zoned._fast.Owner gives things back by. */
static void zd_own_snapshot(void *p) { zd_snapshot_free(p); }
static void zd_own_clock(void *p) { zd_clock_free(p); }
static void zd_own_sim(void *p) { zd_sim_free(p); }
static void zd_own_log(void *p) { zd_log_free(p); }
static void zd_own_findings(void *p) { zd_findings_free(p); }
static void zd_own_fs(void *p) { zd_fs_umount(p); }
static void zd_own_fs_detached(void *p) { zd_fs_detach(p); }
static void zd_own_left(void *p) { (void)p; }
static void zd_own_iscsi(void *p) { zd_serve_iscsi_free(p); }
static void zd_own_forgotten_iscsi(void *p) { zd_serve_iscsi_forget(p); }
"""
OWNED = (
    *("snapshot", "clock", "sim", "log", "findings", "fs", "fs_detached", "left"),
    *("iscsi", "forgotten_iscsi"),
)

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
OWN = (
    "\nuint32_t zd_native_build(void);\n"
    + "".join(f"void zd_own_{name}(void *);\n" for name in OWNED)
    + 'extern "Python" void zd_python_watch(void *, int, uint64_t, uint64_t, int64_t);\n'
)

ffibuilder = FFI()
ffibuilder.cdef(SYSTEM_TYPES + building["public_declarations"]() + OWN)
ffibuilder.set_source(
    "zoned._native",
    building["WARNINGS"] + PREAMBLE,
    extra_compile_args=building["compile_flags"](),
    extra_link_args=[
        "-pthread",
        "-lm",
        "-Wl,-Bsymbolic-functions",
        f"-Wl,-soname,{building['SONAME']}",
    ],
    **building["arguments"](building["sources"]() + sorted(HERE.glob("fast*.c"))),
)
