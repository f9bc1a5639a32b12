"""Writes the stubs of the cffi modules beside them, ``zoned/_native.pyi`` and ``zonefs/_fuse.pyi``,
from what cffi has read in the headers: `python native/python/stubs.py FILE...`. Every build does it
(setup.py), so they are never stale, and git ignores them like the modules.

Numbers are int, pointers are objects of a class of their own; a pointer to a struct has its
fields, and ``ffi.new("struct zd_info *")`` gives one. Where a pointer to bytes is wanted, bytes
will do. Of a module that was not built the stub says that it may have anything.
"""

from __future__ import annotations

import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from keyword import iskeyword
from pathlib import Path
from typing import Any

HEAD = '''"""Types of the cffi module {name}.

Made by native/python/stubs.py from {what}, which is its manual.
"""

{imports}
'''
MANUALS = {"zoned._native": "native/include/zoned", "zonefs._fuse": "native/fs/fuse.h"}
NOT_BUILT = """
ffi: Any
lib: Any
"""
IMPORTS = """from typing import Any, Literal, overload

from zoned._cffi import _Base, _CData, _CType, _Library"""
FFI = """
class _FFI(_Base):
{new}"""
FIRST = "zoned._native"
MORE = """from zoned._cffi import _CData, _Library
from zoned._native import _FFI"""
END = """
ffi: _FFI
lib: _Lib
"""
PLAIN = ("int", "float", "bytes", "None")


def class_name(struct: str) -> str:
    """struct zd_trace_record: _ZdTraceRecord."""
    return "_" + "".join(part.capitalize() for part in struct.split()[1].split("_"))


def load(name: str, path: Path) -> Any:
    """A module alone, without the package that it is part of."""
    spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stub:
    """The stub of one module."""

    def __init__(self, module: str, loaded: Any) -> None:
        self._name = module
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
        struct = kind.item if kind.kind == "pointer" else kind
        known = self._name == FIRST and struct.cname in self._fields
        return class_name(struct.cname) if known else "_CData"

    def _field(self, kind: Any) -> str:
        if kind.kind == "array":
            return "Any"  # reads as a pointer, and takes bytes or a list
        value = self._value(kind)
        return value if value in PLAIN else "Any"

    def _argument(self, kind: Any) -> str:
        """What a parameter of a C type takes."""
        if kind.kind in ("pointer", "array") and kind.item.cname in (
            "char",
            "unsigned char",
            "void",
        ):
            return "_CData | bytes"
        value = self._value(kind)
        return value if value in PLAIN else "_CData"

    def _structs(self) -> list[str]:
        lines = []
        for name, fields in self._fields.items():
            lines.append(f"\nclass {class_name(name)}(_CData):")
            lines += [
                f"    {field}: {self._field(of.type)}"
                for field, of in fields
                if not iskeyword(field)  # such a one is only for getattr() and setattr()
            ]
        return lines

    def _functions(self) -> list[str]:
        lines = ["\nclass _Lib(_Library):"]
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
            literal, gives = f'Literal["{name} *"]', class_name(name)
            lines.append(f"    def new(self, cdecl: {literal}, init: object = ...) -> {gives}: ...")
        plain = "    def new(self, cdecl: str | _CType, init: object = ...) -> _CData: ..."
        return "\n".join([*lines, "    @overload", plain])

    def text(self) -> str:
        """All but the first use what that one defines."""
        first = self._name == FIRST
        structs = self._structs() if first else []
        new = [FFI.format(new=self._new())] if first else []
        lines = [head(self._name, IMPORTS if first else MORE), *structs, *self._functions(), *new]
        return "\n".join([*lines, END])


def head(name: str, imports: str) -> str:
    """What the stub of a module begins with."""
    return HEAD.format(name=name, what=MANUALS[name], imports=imports)


def main(files: list[str]) -> None:
    """Write the stub of each, the first of which the others are linked to."""
    for path in map(Path, files):
        stem = path.name.split(".")[0]
        name = f"{path.parent.name}.{stem}"
        if path.exists():
            text = Stub(name, load(name, path.resolve())).text()
        else:
            text = head(name, "from typing import Any") + NOT_BUILT
        path.with_name(f"{stem}.pyi").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
