"""Builds the native modules: zoned._native (cffi, the C library) with zoned._fast (the data calls)
in the same file, zoned._preload (what `zonedctl run` puts in a program's way: no Python in it) and,
where libfuse3 is found, zonefs._fuse (the mount), which is linked to zoned._native.

Everything else is in pyproject.toml. One wheel serves CPython 3.11 and later (abi3).
"""

import os
import runpy
import sys
from glob import glob

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.extension import Extension

if sys.platform != "linux":
    raise SystemExit(f"zoned builds and works on Linux only (this is {sys.platform})")

building = runpy.run_path("native/python/building.py")
cffi_modules = ["native/python/build_native.py:ffibuilder"]
if runpy.run_path("native/python/build_fuse.py")["libfuse"]() is not None:
    cffi_modules.append("native/python/build_fuse.py:builder")
else:
    print("no libfuse3 found: building without zonefs.mount", file=sys.stderr)


class Build(build_ext):
    """Links zonefs._fuse to the library in zoned._native, which is built before it."""

    def build_extension(self, ext: Extension) -> None:
        if ext.name == "zonefs._fuse":
            folder, file = os.path.split(self.get_ext_fullpath("zoned._native"))
            ext.extra_link_args += [f"-L{folder}", "-Wl,--no-as-needed", f"-l:{file}"]
        super().build_extension(ext)


setup(
    cffi_modules=cffi_modules,
    ext_modules=[
        # A shared object for programs that know no Python; the core is compiled into it.
        Extension(
            "zoned._preload",
            sorted(
                path
                for room in ("base", "rules", "sim", "device", "wire", "preload")
                for path in glob(f"native/{room}/**/*.c", recursive=True)
            ),
            include_dirs=["native", "native/include"],
            depends=glob("native/**/*.h", recursive=True),
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=building["compile_flags"](),
            extra_link_args=["-pthread"],
            py_limited_api=True,
        ),
    ],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
