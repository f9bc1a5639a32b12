"""CONTRIBUTING.md is a map: each file that it names is there, and has the names that the same line gives it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WALKS = {
    title: body.strip().splitlines()
    for title, body in re.findall(
        r"^## (Add [^\n]*)\n\n(.*?)(?=\n## |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
}
IS_PATH = re.compile(r"[a-z]+(?:/[\w.-]+)+|[A-Z]+\.md")


def test_there_is_a_walk_for_all_that_is_added_often() -> None:
    assert list(WALKS) == [
        f"Add {what}"
        for what in (
            "a command",
            "a SCSI command",
            "a fault",
            "a dialect",
            "an fio option",
            "a transport",
        )
    ]


@pytest.mark.parametrize("walk", list(WALKS))
def test_the_steps_of_a_walk_can_be_gone(walk: str) -> None:
    lines = WALKS[walk]
    assert [line.partition(".")[0] for line in lines] == [
        str(step) for step in range(1, len(lines) + 1)
    ]
    for line in lines:
        path = None
        for name in re.findall(r"`([^`]+)`", line):
            if IS_PATH.fullmatch(name):
                path = ROOT / name
                assert path.exists(), f"{walk}: there is no {name}"
            elif not name.startswith("make "):
                assert path is not None, f"{walk}: {name} stands before any file"
                word = name.removeprefix("enum ").removeprefix("struct ")
                text = path.read_text(encoding="utf-8")
                assert re.search(rf"\b{re.escape(word)}\b", text), (
                    f"{walk}: {name} is not in {path}"
                )


def test_every_other_path_on_the_map_is_there() -> None:
    for name in re.findall(r"`([^`\n]+)`", TEXT):
        if IS_PATH.fullmatch(name):
            assert (ROOT / name).exists(), name
