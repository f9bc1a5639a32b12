"""Writes the stubs of the cffi modules, ``zoned/_native.pyi`` and ``zonefs/_fuse.pyi``, from what
cffi has read in the headers: `make docs`, or `python native/python/stubs.py`.

Numbers are int, pointers are objects of a class of their own; a pointer to a struct has its
fields, and ``ffi.new("struct zd_info *")`` gives one. Where a pointer to bytes is wanted, bytes
will do. `--check` writes nothing and exits with 1 if a stub is stale; a test does the same.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from keyword import iskeyword
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
HEAD = '''"""Types of the cffi module {name}.

Made by native/python/stubs.py from {what}, which is its manual.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, TypeVar, overload

from cffi import FFI
from typing_extensions import Buffer

_F = TypeVar("_F", bound=Callable[..., object])
_CType: TypeAlias = FFI.CType

class _CData:
    """A pointer, an array or a struct."""

    def __getitem__(self, index: int | slice) -> Any: ...
    def __setitem__(self, index: int | slice, value: object) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def __int__(self) -> int: ...
    def __call__(self, *args: object) -> Any: ...
    def __add__(self, other: int) -> _CData: ...
'''
FFI = """
class _FFI:
    NULL: _CData
    errno: int
{new}
    def cast(self, cdecl: str | _CType, value: _CData | float) -> _CData: ...
    def string(self, cdata: _CData, maxlen: int = -1) -> bytes: ...
    def buffer(self, cdata: _CData, size: int = -1) -> memoryview: ...
    def from_buffer(
        self, cdecl: str | Buffer, buffer: Buffer = ..., require_writable: bool = False
    ) -> _CData: ...
    def release(self, cdata: _CData) -> None: ...
    def memmove(self, dest: _CData | Buffer, src: _CData | Buffer, n: int) -> None: ...
    def sizeof(self, cdecl: str | _CType | _CData) -> int: ...
    def offsetof(self, cdecl: str | _CType, *fields: str | int) -> int: ...
    def typeof(self, cdecl: str | _CData) -> _CType: ...
    def addressof(self, cdata: _CData | _Lib, *fields: str | int) -> Any: ...
    def new_handle(self, value: object) -> _CData: ...
    def from_handle(self, handle: _CData) -> Any: ...
    def gc(self, cdata: _CData, destructor: Callable[[Any], object] | None) -> _CData: ...
    def def_extern(self, name: str = ...) -> Callable[[_F], _F]: ...
    def callback(self, cdecl: str, function: Callable[..., object]) -> _CData: ...

ffi: _FFI
lib: _Lib
"""

FIRST = "zoned._native"
MORE = '''"""Types of the cffi module {name}.

Made by native/python/stubs.py from {what}, which is its manual.
"""

from zoned._native import _FFI, _CData
'''
END = """
ffi: _FFI
lib: _Lib
"""


def class_name(struct: str) -> str:
    """zd_trace_record: _ZdTraceRecord."""
    return "_" + "".join(part.capitalize() for part in struct.split("_"))


class Stub:
    """The stub of one module, which must be built."""

    def __init__(self, module: str, what: str) -> None:
        self._name, self._what = module, what
        loaded = importlib.import_module(module)
        self._ffi, self._lib = loaded.ffi, loaded.lib
        self._fields: dict[str, Any] = {}
        for name in (f"struct {name}" for name in self._ffi.list_types()[1]):
            try:
                self._ffi.sizeof(name)  # cffi knows the fields from here on
            except self._ffi.error:
                continue  # one that is only ever pointed to
            self._fields[name] = self._ffi.typeof(name).fields

    def _value(self, kind: Any) -> str:
        """What reading a value of a C type gives."""
        if kind.kind == "primitive":
            if kind.cname in ("float", "double"):
                return "float"
            return "bytes" if kind.cname == "char" else "int"
        if kind.kind == "enum":
            return "int"
        if kind.kind == "void":
            return "None"
        if kind.kind == "struct" or (kind.kind == "pointer" and kind.item.kind == "struct"):
            name = kind.cname if kind.kind == "struct" else kind.item.cname
            known = self._name == FIRST and name in self._fields
            return class_name(name.split()[1]) if known else "_CData"
        return "_CData"

    def _field(self, kind: Any) -> str:
        if kind.kind == "array":
            return "Any"  # reads as a pointer, and takes bytes or a list
        value = self._value(kind)
        return "Any" if value.startswith("_") else value

    def _argument(self, kind: Any) -> str:
        """What a parameter of a C type takes."""
        if kind.kind in ("pointer", "array") and kind.item.cname in (
            "char",
            "unsigned char",
            "void",
        ):
            return "_CData | bytes"
        value = self._value(kind)
        return "_CData" if value.startswith("_") else value

    def _structs(self) -> list[str]:
        lines = []
        for name, fields in self._fields.items():
            lines.append(f"\nclass {class_name(name.split()[1])}(_CData):")
            lines += [
                f"    {field}: {self._field(of.type)}"
                for field, of in fields
                if not iskeyword(field)  # such a one is only for getattr() and setattr()
            ]
        return lines

    def _functions(self) -> list[str]:
        lines = ["\nclass _Lib:"]
        for name in dir(self._lib):
            value = getattr(self._lib, name)
            if isinstance(value, int):
                lines.append(f"    {name}: int")
                continue
            kind = self._ffi.typeof(value)
            if isinstance(value, self._ffi.CData):  # extern "Python": a pointer to it
                lines.append(f"    {name}: _CData")
                continue
            wanted = "".join(f", a{at}: {self._argument(arg)}" for at, arg in enumerate(kind.args))
            end = ", /" if wanted else ""
            lines.append(f"    def {name}(self{wanted}{end}) -> {self._value(kind.result)}: ...")
        return lines

    def _new(self) -> str:
        lines = []
        for name in self._fields:
            lines.append("    @overload")
            literal, gives = f'Literal["{name} *"]', class_name(name.split()[1])
            lines.append(f"    def new(self, cdecl: {literal}, init: object = ...) -> {gives}: ...")
        plain = "    def new(self, cdecl: str | _CType, init: object = ...) -> _CData: ..."
        return "\n".join([*lines, "    @overload", plain])

    def text(self) -> str:
        """As ruff lays it out. All but the first use what that one defines."""
        head, structs = (HEAD, self._structs()) if self._name == FIRST else (MORE, [])
        end = FFI.format(new=self._new()) if self._name == FIRST else END
        parts = [head.format(name=self._name, what=self._what), *structs, *self._functions(), end]
        text = "\n".join(parts)
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--stdin-filename", "native.pyi", "-"],
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=ROOT,
        )
        return done.stdout


def stubs() -> dict[Path, Stub]:
    """The stubs of the modules that are built here, by their files."""
    found = {ROOT / "zoned/_native.pyi": Stub("zoned._native", "native/include/zoned")}
    try:
        found[ROOT / "zonefs/_fuse.pyi"] = Stub("zonefs._fuse", "native/fs/fuse.h")
    except ImportError:
        print("zonefs._fuse is not built here: its stub stays as it is", file=sys.stderr)
    return found


def main() -> int:
    """Write the stubs, or compare them."""
    parser = argparse.ArgumentParser(description="Write the stubs of the cffi modules.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if one is stale")
    options = parser.parse_args()
    stale = 0
    for path, stub in stubs().items():
        text = stub.text()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale = 1
        if options.check:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} written")
    return stale if options.check else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import zoned._core.native  # the library that zonefs._fuse is linked to

    assert zoned._core.native.lib
    sys.exit(main())
