"""Builds the native modules: zoned._native (cffi, the C core), zoned._fast (the data calls),
zoned._preload (what `zonedctl run` puts in a program's way: no Python in it) and, where libfuse3 is
found, zonefs._fuse (the mount).

Everything else is in pyproject.toml. One wheel serves CPython 3.11 and later (abi3).
"""

import os
import runpy
import shlex
import sys
from glob import glob

from setuptools import Extension, setup

if sys.platform != "linux":
    raise SystemExit(f"zoned builds and works on Linux only (this is {sys.platform})")

LIMITED_API = "0x030b0000"

flags = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-pthread"]
if os.environ.get("ZONED_WERROR") == "1":
    flags += ["-Wall", "-Wextra", "-Werror"]
flags += shlex.split(os.environ.get("ZONED_CFLAGS", ""))

cffi_modules = ["native/python/build_native.py:ffibuilder"]
if runpy.run_path("native/python/build_fuse.py")["libfuse"]() is not None:
    cffi_modules.append("native/python/build_fuse.py:builder")
else:
    print("no libfuse3 found: building without zonefs.mount", file=sys.stderr)

setup(
    cffi_modules=cffi_modules,
    ext_modules=[
        Extension(
            "zoned._fast",
            sorted(glob("native/python/fast*.c")),
            include_dirs=["native", "native/python"],
            depends=glob("native/*.h") + glob("native/python/*.h"),
            define_macros=[("Py_LIMITED_API", LIMITED_API), ("_GNU_SOURCE", "1")],
            extra_compile_args=flags,
            py_limited_api=True,
        ),
        # A shared object for programs that know no Python; the core is compiled into it.
        Extension(
            "zoned._preload",
            sorted(
                path
                for room in ("base", "rules", "device", "wire", "preload")
                for path in glob(f"native/{room}/**/*.c", recursive=True)
            ),
            include_dirs=["native", "native/include"],
            depends=glob("native/**/*.h", recursive=True),
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=[*flags, "-ffp-contract=off"],
            extra_link_args=["-pthread"],
            py_limited_api=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
