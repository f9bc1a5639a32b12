"""The examples in README.md and docs/ are run, so that none of them can become untrue.

A ```python block runs as it stands; the blocks of one page share their names and an empty folder,
in the order of the page. In a ```console block each line behind `$ ` is a command for bash in that
folder, and what follows it is its output, to the letter; a line `...` stands for any lines. A block
that is only to be looked at is marked ```text or ```sh instead.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.plain  # Python that starts, most of the time

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A fenced block of a page: its language, its text and the line it begins on."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in FENCE.finditer(text)
    ]


def expected_pattern(expected: str) -> re.Pattern[str]:
    """A pattern for the output of a command, in which a line `...` matches any lines."""
    parts = [
        "(?:.*\n)*?" if line == "..." else re.escape(line + "\n") for line in expected.splitlines()
    ]
    return re.compile("".join(parts))


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block with the output that each is to give."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (found[-1][0] + "\n" + line.removeprefix("> "), "")
        else:
            command, output = found[-1]
            found[-1] = (command, output + line + "\n")
    return found


def runnable(page: Path) -> list[Block]:
    """Those blocks of a page that are run."""
    return [block for block in blocks(page) if block.language in ("python", "console")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every python and console block of the page does what the page says."""
    monkeypatch.chdir(tmp_path)
    shell_env = dict(os.environ, NO_COLOR="1", COLUMNS="100", LC_ALL="C.UTF-8")
    shell_env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names: dict[str, object] = {"__name__": "example"}
    for block in runnable(page):
        place = f"{page.name}:{block.line}"
        if block.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, place, "exec"), names)
            shown = re.findall(r"# prints (.*)", block.text)
            if shown:
                assert printed.getvalue().splitlines() == shown, place
            continue
        for command, expected in commands(block):
            done = subprocess.run(
                ["bash", "-c", command],
                env=shell_env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert expected_pattern(expected).fullmatch(done.stdout), (
                f"{place}: `{command}` printed\n{done.stdout}\nthe page says\n{expected}"
            )


def test_the_readme_has_examples() -> None:
    """The README shows both doors, the library and the shell (so that the runs above prove
    something).
    """
    languages = [block.language for block in runnable(ROOT / "README.md")]
    assert languages.count("python") >= 2
    assert languages.count("console") >= 2


def test_output_patterns() -> None:
    """The comparison itself: `...` stands for any lines, everything else for itself."""
    pattern = expected_pattern("a.b\n...\nend\n")
    assert pattern.fullmatch("a.b\nend\n")
    assert pattern.fullmatch("a.b\none\ntwo\nend\n")
    assert not pattern.fullmatch("axb\nend\n")
    assert not pattern.fullmatch("a.b\nend\nmore\n")
