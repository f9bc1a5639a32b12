"""The C core compiled together with a program of the tests, whole or with a mistake put into it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("base", "rules", "device")
INCLUDES = (f"-I{ROOT / 'native'}", f"-I{ROOT / 'native/include'}")
Change = tuple[str, str]
"""What stands once in a file, and what takes its place."""


def clean_environment() -> dict[str, str]:
    """What a suite under sanitizers sets must reach neither the compiler nor the programs."""
    mine = ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "MAKEFLAGS", "CFLAGS")
    return {name: value for name, value in os.environ.items() if name not in mine}


def made(name: str, out: Path) -> Path:
    """What the Makefile of ``tests/native`` makes under that name, in a folder."""
    done = subprocess.run(
        ["make", "-s", "-C", str(ROOT / "tests/native"), f"OUT={out}", f"{out}/{name}"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=clean_environment(),
    )
    wrong = next((line for line in done.stderr.splitlines() if "error:" in line), "")
    assert done.returncode == 0, f"{name} does not compile: {wrong}\n{done.stderr}"
    return out / name


def sources() -> list[Path]:
    """All C files of the core."""
    native = ROOT / "native"
    return [path for room in ROOMS for path in sorted((native / room).rglob("*.c"))]


class Build:
    """The core and ``tests/native/{program}.c``, compiled once.

    `flags` are for all files, `core_flags` for those of the core alone, `link_flags` for the linker.
    """

    def __init__(
        self,
        folder: Path,
        program: str,
        *,
        flags: Sequence[str] = (),
        core_flags: Sequence[str] = (),
        link_flags: Sequence[str] = (),
    ) -> None:
        self._gcc = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-g", *INCLUDES, *flags]
        self._core_flags, self._link_flags = list(core_flags), list(link_flags)
        self._name = program
        self._core = {path.name: path for path in sources()}
        own = ROOT / "tests/native" / f"{program}.c"
        command = [*self._gcc, *core_flags, "-c", *map(str, self._core.values())]
        subprocess.run(command, check=True, cwd=folder)
        command = [*self._gcc, "-Wall", "-Wextra", "-Werror", "-c", str(own)]
        subprocess.run(command, check=True, cwd=folder)
        self._objects = {
            path.name: folder / f"{path.stem}.o" for path in [*self._core.values(), own]
        }
        self.program = self._link(self._objects.values(), folder)

    @classmethod
    def with_counted_stores(
        cls, folder: Path, program: str, wrapped: Iterable[str], *, flags: Sequence[str] = ()
    ) -> Build:
        """A program that comes to know of each store of the core: as a call of what ThreadSanitizer's runtime would
        have, and as one of the functions that are `wrapped`, for which it has its own. `flags` are for the core.
        """
        return cls(
            folder,
            program,
            flags=["-O1"],
            core_flags=["-w", "-fsanitize=thread", "-U__SANITIZE_THREAD__", *flags],
            link_flags=["-lm", *(f"-Wl,--wrap={name}" for name in wrapped)],
        )

    def _link(self, objects: Iterable[Path], folder: Path) -> Path:
        program = folder / self._name
        command = ["gcc", "-o", str(program), *map(str, objects), "-lpthread", *self._link_flags]
        subprocess.run(command, check=True)
        return program

    def with_mistake(self, name: str, changes: Iterable[Change], folder: Path) -> Path:
        """The program with a core in whose file `name` all `changes` were made, built in `folder`."""
        path = self._core[name]
        (folder / name).write_text(changed(path, changes), encoding="utf-8")
        wrong = (folder / name).with_suffix(".o")
        command = [*self._gcc, *self._core_flags, "-w", f"-I{path.parent}"]
        subprocess.run([*command, "-c", "-o", str(wrong), str(folder / name)], check=True)
        return self._link((self._objects | {name: wrong}).values(), folder)


def changed(path: Path, changes: Iterable[Change]) -> str:
    """A file's text with all these changes made."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{path.name} has no such place any more: {old}"
        text = text.replace(old, new)
    return text


def preload_with_mistake(name: str, changes: Iterable[Change], folder: Path) -> Path:
    """What ``zonedctl run`` puts before a program, with a core in whose file `name` all `changes` were
    made, built in `folder`: half a minute.
    """
    native = ROOT / "native"
    rooms = (*ROOMS, "wire", "sim", "preload")
    paths = [path for room in rooms for path in sorted((native / room).rglob("*.c"))]
    (wrong,) = (path for path in paths if path.name == name and path.parent.name != "preload")
    (folder / name).write_text(changed(wrong, changes), encoding="utf-8")
    made = folder / "preload.so"
    command = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-w", "-fPIC", "-shared", *INCLUDES]
    command += ["-fvisibility=hidden", f"-I{wrong.parent}", "-o", str(made), str(folder / name)]
    command += [str(path) for path in paths if path != wrong]
    subprocess.run([*command, "-pthread", "-lm"], check=True, env=clean_environment())
    return made
