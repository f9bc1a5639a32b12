"""Builds the native modules: zoned._native (cffi, the C library) with zoned._fast (the data calls)
in the same file, zoned._preload (what `zonedctl run` puts in a program's way: no Python in it) and,
where libfuse3 is found, zonefs._fuse (the mount), which is linked to zoned._native.

Everything else is in pyproject.toml. One wheel serves CPython 3.11 and later (abi3).
"""

import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from glob import glob
from pathlib import Path

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


# The core and the simulation: in both shared objects, but compiled once.
SHARED = {
    path
    for room in ("base", "rules", "sim", "device", "wire")
    for path in glob(f"native/{room}/**/*.c", recursive=True)
}
ORDER = ["zoned._native", "zoned._preload", "zonefs._fuse"]


class Build(build_ext):
    """Compiles files side by side. zoned._native comes first: the others are made of it."""

    def build_extensions(self) -> None:
        self.extensions.sort(key=lambda ext: ORDER.index(ext.name))
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        if ext.name == "zonefs._fuse":
            folder, file = os.path.split(self.get_ext_fullpath("zoned._native"))
            ext.extra_link_args += [f"-L{folder}", "-Wl,--no-as-needed", f"-l:{file}"]
        made = dict(zip(ext.sources, self._objects(ext.sources), strict=True))
        if ext.name == "zoned._preload":
            todo = [path for path in made if path not in SHARED or not os.path.exists(made[path])]
        else:
            todo = list(made)
        for path in made.values():
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with ThreadPoolExecutor(self.parallel or os.cpu_count()) as workers:
            for _ in workers.map(partial(self._compile, ext), todo):
                pass
        ext.extra_objects, ext.sources = list(made.values()), []
        super().build_extension(ext)

    def _objects(self, sources: list[str]) -> list[str]:
        return self.compiler.object_filenames(sources, output_dir=self.build_temp)

    def _compile(self, ext: Extension, path: str) -> None:
        self.compiler.compile(
            [path],
            output_dir=self.build_temp,
            macros=ext.define_macros,
            include_dirs=ext.include_dirs,
            extra_postargs=ext.extra_compile_args,
        )


setup(
    cffi_modules=cffi_modules,
    ext_modules=[
        # A shared object for programs that know no Python; the core is compiled into it.
        Extension(
            "zoned._preload",
            extra_compile_args=building["compile_flags"](),
            extra_link_args=["-pthread"],
            **building["arguments"](
                sorted(map(Path, SHARED | set(glob("native/preload/**/*.c", recursive=True))))
            ),
        ),
    ],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
