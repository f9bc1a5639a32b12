"""Builds the native modules: zoned._native (cffi, the C library) with zoned._fast (the data calls)
in the same file, zoned._preload (what `zonedctl run` puts in a program's way: no Python in it) and,
where libfuse3 is found, zonefs._fuse (the mount), which is linked to zoned._native; and beside the
first and the last their stubs.

Everything else is in pyproject.toml. One wheel serves CPython 3.11 and later (abi3).
"""

import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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


ORDER = ["zoned._native", "zoned._preload", "zonefs._fuse"]


class Build(build_ext):
    """Compiles files side by side, and what two modules have in common once, as all have the same
    flags. zoned._native comes first: zonefs._fuse is linked to it.
    """

    def run(self) -> None:
        """What type checkers are told of a module is written beside it, from the module itself."""
        super().run()
        if "-fsanitize" in os.environ.get("ZONED_CFLAGS", ""):
            return  # only programs that begin with the sanitizers' own library can load such a one
        native = Path(self.get_ext_fullpath("zoned._native"))
        fuse = native.parent.parent / "zonefs" / native.name.replace("_native", "_fuse")
        subprocess.run([sys.executable, "native/python/stubs.py", native, fuse], check=True)

    def build_extensions(self) -> None:
        self.extensions.sort(key=lambda ext: ORDER.index(ext.name))
        compile_some = self.compiler.compile
        made: dict[str, str] = {}

        def side_by_side(sources: list[str], **how: Any) -> list[str]:
            todo = [source for source in sources if source not in made]
            with ThreadPoolExecutor(os.cpu_count()) as workers:
                found = workers.map(lambda source: compile_some([source], **how), todo)
                made.update((source, one) for source, (one,) in zip(todo, found, strict=True))
            return [made[source] for source in sources]

        self.compiler.compile = side_by_side
        super().build_extensions()

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
            extra_compile_args=building["compile_flags"](),
            extra_link_args=["-pthread"],
            **building["arguments"](
                sorted(
                    path
                    for room in ("base", "rules", "sim", "device", "wire", "preload")
                    for path in Path("native", room).rglob("*.c")
                )
            ),
        ),
    ],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
