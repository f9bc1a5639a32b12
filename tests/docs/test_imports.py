"""How the Python rooms stand to each other: arrows run downwards, in no circle, and nobody reaches into another's
private names.

Imports within functions count as those at the top do; what only a type checker reads does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import zoned

ROOT = Path(__file__).resolve().parents[2]
# From the bottom up; a name is a module or all of a package, the longest that fits counts. Within a storey modules may
# use each other, in no circle.
STOREYS = (
    # values and their words: no native library
    """zoned.plaintext zoned.units zoned.listed zoned.zone zoned.zonelist zoned.geometry zoned.resolving zoned.inputs
    zoned.wholefile zoned.info zoned.counters zoned.report zoned.reportformats zoned.dumpfile zoned.errors zoned.mounts""",
    # the native library, handles, conversions
    "zoned._core zoned._cffi zoned._native zoned._fast",
    # what is done with a disk
    """zoned zoned.device zoned.faults zoned.snapshots zoned.checking zoned.openers zoned.rules zoned.crash
    zoned.traces zoned.drives zoned.archive zoned.reportdiff zoned.hostcommands zoned.zonecommands
    zoned.keywords""",
    "zonefs zoned.export",
    # who uses all that
    "zoned.bench zoned.testing zoned.running zoned.crashtest",
    "zoned.cli zoned.pytest_plugin zoned.__main__",
)
LIBRARY = {"zoned._native": "zoned._core.native", "zoned._fast": "zoned._core.native"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the two packages by its name, native ones by their stubs."""
    found = {}
    for package in ("zoned", "zonefs"):
        for path in sorted((ROOT / package).rglob("*.py*")):
            if path.suffix in (".py", ".pyi"):
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below that runs: without what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from running(other)
            continue
        yield child
        yield from running(child)


@cache
def imports(module: str) -> frozenset[str]:
    """The modules that it imports, at any time."""
    found = set()
    for node in running(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if node.module == "zoned" and alias.name in zoned._WHERE:
                    inner = f"zoned.{zoned._WHERE[alias.name]}"  # a public name comes from where it lives
                found.add(inner if inner in modules() else str(node.module))
    return frozenset(found & modules().keys() - {module})


def storey(module: str) -> int:
    fits = [
        (len(name), at)
        for at, names in enumerate(STOREYS)
        for name in names.split()
        if module == name or (module.startswith(f"{name}.") and name != "zoned")
    ]
    assert fits, f"{module} stands on no storey: give it one"
    return max(fits)[1]


def test_nothing_imports_upwards() -> None:
    assert [
        f"{module} -> {other}"
        for module in modules()
        for other in imports(module)
        if storey(other) > storey(module)
    ] == []


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in sorted(imports(module)):
                walk(other, (*path, module))
            done.add(module)

    for module in sorted(modules()):
        walk(module, ())


def test_one_file_imports_the_native_library() -> None:
    """A stub may borrow another one's types: it imports nothing."""
    assert [
        f"{module} -> {native}"
        for module, path in modules().items()
        for native, only in LIBRARY.items()
        if native in imports(module) and module != only and path.suffix != ".pyi"
    ] == []


def names_of(module: str) -> set[str]:
    """Private names that a module gives to something: its own."""
    own: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                own.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # __slots__
            own.add(node.value)
    return own


STANDARD = {"_replace", "_asdict", "_getframe", "_fields"}  # public in spite of their names
NATIVE_MADE = {
    "_cell",
    "_cancel",
    "_prepare",
    "_use",
}  # methods of the C types, which a base class of ours would have


def reaching(module: str) -> Iterator[str]:
    own = names_of(module)
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("zoned", "zonefs")):
            for alias in node.names:
                if (
                    alias.name.startswith("_")
                    and not alias.name.startswith("__")
                    and f"{node.module}.{alias.name}" not in modules()
                ):
                    yield f"{module}:{node.lineno}: {alias.name} of {node.module}"
        if (
            not isinstance(node, ast.Attribute)
            or not node.attr.startswith("_")
            or node.attr.startswith("__")
        ):
            continue
        who = node.value
        if isinstance(who, ast.Name) and who.id in ("self", "cls"):
            continue
        if isinstance(who, ast.Call) and isinstance(who.func, ast.Name) and who.func.id == "super":
            continue
        if node.attr not in own | STANDARD | NATIVE_MADE:
            yield f"{module}:{node.lineno}: {ast.unparse(node)}"


def test_nobody_reaches_into_another_modules_private_names() -> None:
    assert [
        line
        for module, path in modules().items()
        if path.suffix == ".py"
        for line in reaching(module)
    ] == []
