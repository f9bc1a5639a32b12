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
#include "zoned/nvme.h"
#include "zoned/scsi.h"
#include "zoned/serve.h"
#include "zoned/sim.h"
#include "zoned/ublk.h"
#include "zoned/zoned.h"

static uint32_t zd_native_build(void) { return ZD_BUILD; }
"""
OWNED = {
    "snapshot": "zd_snapshot_free(p)",
    "clock": "zd_clock_free(p)",
    "sim": "zd_sim_free(p)",
    "log": "zd_log_free(p)",
    "findings": "zd_findings_free(p)",
    "fs": "zd_fs_umount(p)",
    "fs_detached": "zd_fs_detach(p)",
    "left": "(void)p",
    "iscsi": "zd_serve_iscsi_free(p)",
    "forgotten_iscsi": "zd_serve_iscsi_forget(p)",
    "ublk": "zd_serve_ublk_free(p)",
    "forgotten_ublk": "zd_serve_ublk_forget(p)",
    "nvmetcp": "zd_serve_nvmetcp_free(p)",
    "forgotten_nvmetcp": "zd_serve_nvmetcp_forget(p)",
}
"""What zoned._fast.Owner gives things back by: zd_own_NAME(p) does this."""

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
    building["WARNINGS"]
    + PREAMBLE
    + "".join(f"static void zd_own_{name}(void *p) {{ {end}; }}\n" for name, end in OWNED.items()),
    extra_compile_args=building["compile_flags"](),
    extra_link_args=[
        "-pthread",
        "-lm",
        "-Wl,-Bsymbolic-functions",
        f"-Wl,-soname,{building['SONAME']}",
    ],
    **building["arguments"](building["sources"]() + sorted(HERE.glob("fast*.c"))),
)
