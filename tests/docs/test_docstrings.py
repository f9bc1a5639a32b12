"""The examples in docstrings are run, so that none of them can become untrue.

An example is the indented text behind a `::`. It is run as Python, unless it is of the one language
that LANGUAGES names; what it takes for granted, its module's line in GIVEN makes first.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import zoned
from zoned.drives import profiles
from zoned.testing import CrashFailure

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for package in ("zoned", "zonefs")
    for path in (ROOT / package).rglob("*.py*")
    if path.suffix in (".py", ".pyi")
)

DISK = "import zoned\ndev = zoned.memory(zones=8)\n"
PLAN = "[[fault]]\nkind = 'medium'\non = 'write'\n"
GIVEN = {
    "zoned/faults.py": f"{DISK}import pathlib\npathlib.Path('plan.toml').write_text({PLAN!r})",
    "zoned/_core/owning.py": (
        f"{DISK}from zoned._core.native import Guard, ffi, lib\nfrom zoned._core.owning import SNAPSHOT, Owned\n"
        "from zoned._core.handle import pointer\n"
        "handle, err = pointer(dev), ffi.new('struct zd_error *')\n"
        "rows, count = ffi.new('struct zd_snapshot_zone[]', 8), 8"
    ),
    "zoned/crash/__init__.py": f"import zoned.crash\n{DISK}",
    "zoned/testing.py": "from zoned.testing import check_crashes",
    "zoned/traces/recording.py": DISK,
}
LANGUAGES: dict[str, Callable[[str], object]] = {
    "zoned/drives/profiles.py": lambda text: profiles.parse(
        text.encode(), name="example", source="the docstring"
    ).geometry(),
}


@dataclass
class Example:
    """A literal block of a docstring."""

    file: str
    line: int
    """Of its docstring."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def literal_blocks(doc: str) -> Iterator[str]:
    """What stands indented behind each line that ends in `::`."""
    lines = doc.splitlines()
    for at, line in enumerate(lines):
        if not line.rstrip().endswith("::"):
            continue
        depth = len(line) - len(line.lstrip())
        block = []
        for behind in lines[at + 1 :]:
            if behind.strip() and len(behind) - len(behind.lstrip()) <= depth:
                break
            block.append(behind)
        yield textwrap.dedent("\n".join(block)).strip("\n") + "\n"


TEXTS = re.compile(r'(?:^(?P<indent>[ \t]*)[rR]?)?"""(?P<text>.*?)"""', re.MULTILINE | re.DOTALL)


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Those of a module, its classes, functions, and what is told below a variable."""
    source = path.read_text(encoding="utf-8")
    # Not by ast.parse(), as in test_house.
    for match in TEXTS.finditer(source):
        if match["indent"] is not None:
            line = source.count("\n", 0, match.start()) + 1
            yield line, textwrap.dedent(match["indent"] + match["text"])


EXAMPLES = [
    Example(str(path.relative_to(ROOT)), line, block)
    for path in FILES
    for line, doc in docstrings(path)
    for block in literal_blocks(doc)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does what it says, or at least runs."""
    monkeypatch.chdir(tmp_path)
    if example.file in LANGUAGES:
        LANGUAGES[example.file](example.text)
        return
    names: dict[str, Any] = {"__name__": "example"}
    exec(GIVEN.get(example.file, ""), names)
    try:
        exec(compile(example.text, str(example), "exec"), names)
    finally:
        for value in names.values():
            if isinstance(value, zoned.Device):
                value.close()


def test_the_examples_are_found() -> None:
    """No line of the tables above is for nothing, and no docstring has examples in another form."""
    assert {*GIVEN, *LANGUAGES} <= {example.file for example in EXAMPLES}
    assert all(example.text.strip() for example in EXAMPLES)
    assert [path for path in FILES for _, doc in docstrings(path) if ">>>" in doc] == []
    assert list(literal_blocks("a\n\nb::\n\n    c\n\n        d\nend")) == ["c\n\n    d\n"]


def test_the_example_of_crash_tests_finds_a_missing_flush() -> None:
    """It would be no example if it passed whatever its workload did."""
    (example,) = [item for item in EXAMPLES if item.file == "zoned/testing.py"]
    wrong = example.text.replace("dev.flush()", "pass")
    assert wrong != example.text
    with pytest.raises(CrashFailure):
        exec(GIVEN[example.file] + "\n" + wrong, {})
