"""The house around the code: what the repository promises about itself, and that it keeps to it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [
    *("help", "demo", "test", "test-asan", "test-long", "test-kernel", "lint", "format"),
    *("bench", "bench-compare", "test-packaging", "docs", "fuzz", "tsan", "clean", "dist"),
]
NOT_OURS = {".git", ".venv", "build", "dist", "demo", "__pycache__", "corpus"}
TEXT = {".py", ".pyi", ".c", ".h", ".md", ".toml", ".sh", ".in", ".txt", ".cfg", ".svg", ""}


def sources() -> Iterator[Path]:
    """Every text file of the project itself."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(
            name
            for name in folders
            if name not in NOT_OURS
            and not name.endswith((".egg-info", "_cache"))
            and name not in (".hypothesis", ".benchmarks")
        )
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix in TEXT and name not in NOT_OURS and path.is_file():
                yield path


PYTHON = [path for path in sources() if path.suffix == ".py"]
NATIVE = [path for path in sources() if path.suffix in (".c", ".h")]


def test_make_help_lists_every_target() -> None:
    """`make help` is complete: each target that is meant to be called has its line."""
    help_text = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    listed = re.findall(r"^  make (\S+)\s+\S", help_text, re.MULTILINE)
    assert [target for target in TARGETS if target not in listed] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    real = re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)
    assert [target for target in listed if target not in real] == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w.])/work/",
        r"/root/\.",
        r"/home/\w",
        r"/tmp/venv",
        r"\bissue #?\d",
        "TO" + "DO",
        "FIX" + "ME",
        "X" * 3,
    ],
)
def test_nothing_names_a_machine_or_is_left_undone(pattern: str) -> None:
    """No path of a developer's machine, no note to self."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_one_version() -> None:
    """The version is written once, and everything that tells it tells that one."""
    literal = re.compile(r"""^__version__\s*(?::\s*\w+\s*)?=\s*["']([^"']+)["']""", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT)): literal.findall(path.read_text(encoding="utf-8"))
        for path in PYTHON
        if not path.is_relative_to(ROOT / "tests")
    }
    written = {name: versions for name, versions in found.items() if versions}
    assert written == {"zoned/__init__.py": [zoned.__version__]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project.get("dynamic", []), (
        "pyproject.toml must take the version from zoned"
    )
    newest = re.search(r"^## \[?(\d[^\]\s]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == zoned.__version__


def test_every_public_name_has_a_docstring() -> None:
    """help() has an answer for every public name and for every public method and property of a
    class.
    """
    bare = []
    for name in zoned.__all__:
        thing = getattr(zoned, name)
        if not (inspect.isclass(thing) or callable(thing) or inspect.ismodule(thing)):
            continue
        if not (inspect.getdoc(thing) or "").strip():
            bare.append(name)
        if inspect.isclass(thing) and thing.__module__.startswith("zoned"):
            for member, value in vars(thing).items():
                public = not member.startswith("_")
                described = callable(value) or isinstance(
                    value, property | classmethod | staticmethod
                )
                if public and described and not (inspect.getdoc(value) or "").strip():
                    bare.append(f"{name}.{member}")
    assert bare == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_file_says_what_it_is_for(path: Path) -> None:
    """A module begins with a docstring that tells a newcomer what it is for."""
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and not text.strip():
        return
    # Not by ast.parse(): Python 3.11 counts its depth once per interpreter, so that it ends with a SystemError
    # where a garbage collection in the middle of it lets anyone else parse (printing a traceback does).
    doc = re.match(r'(?:\s|#[^\n]*\n)*[rR]?"""(.*?)"""', text, re.DOTALL)
    assert doc is not None
    assert len(doc[1].strip()) >= 30, doc[1]


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: str(path.relative_to(ROOT)))
def test_native_file_says_what_it_is_for(path: Path) -> None:
    """A C file begins with its licence and a comment on what it is for."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "/* SPDX-License-Identifier: Apache-2.0 */"
    assert lines[1].startswith("/*"), f"{path.name}: no comment on what the file is for"


def test_shell_scripts_are_strict_and_runnable() -> None:
    """Every bash script stops at its first failure, and can be started as it is."""
    scripts = [
        path
        for path in sources()
        if path.suffix in ("", ".sh")
        and path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash")
    ]
    assert ROOT / ".ci" / "run" in scripts
    for path in scripts:
        assert "set -euo pipefail" in path.read_text(encoding="utf-8"), path
        assert os.access(path, os.X_OK), path


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of README.md and docs/ names a file that is there."""
    broken = []
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        links += re.findall(r'src(?:set)?="([^"]+)"', text)
        broken += [
            f"{page.name}: {link}"
            for link in links
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists()
        ]
    assert broken == []


def test_the_benchmarks_can_still_be_collected() -> None:
    """They are no tests, so nothing else would notice that one imports what is gone."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "bench", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
    assert "test_engine.py" in found.stdout


NUMBERED = re.compile(
    r"\{(?P<number>[^{}]*)\} (?:zones|commands|bytes|processes|records|rules|lines|blocks|files|jobs|points"
    r"|errors|sectors|survivors|cuts|states|openers|ranges|writes|reads|times|threads|differences)\b"
)
NEVER_ONE = (
    r"(?i)largest|most|least|limit|sector_count",  # constants
    r"geometry\.size|self\.size|_capacity|^zone$|len\(name\)|zone_size|nr_zones",  # never so small
    r"\.1f|:g",  # fractions
    r"_thousands|len\(batch\)|zones_per_bin|item\.length",  # as blkzone prints it; many by their meaning
    r"geometry\['size'\]",
)


def test_numbers_of_things_are_told_by_one_function() -> None:
    """ "1 zones" is nowhere: what is counted goes through units.counted()."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in PYTHON
        if path.relative_to(ROOT).parts[0] in ("zoned", "zonefs")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in NUMBERED.finditer(line)
        if not any(re.search(never, match["number"]) for never in NEVER_ONE)
    ]
    assert found == []
    assert NUMBERED.search('f"{count} zones"') and not NUMBERED.search("{counted(n, 'zone')} of")


def test_files_are_read_by_a_codec_that_is_there() -> None:
    """Others than UTF-8 are loaded by their first use. Ctrl-C in that moment leaves Python without them for good."""
    others = re.compile(r"""(?:encoding=|read_text\()["'](?!utf-8)""")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("zoned", "zonefs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if others.search(line)
    ]
    assert found == []
