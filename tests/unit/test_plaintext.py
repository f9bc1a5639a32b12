"""Text from files: nothing that a terminal obeys gets through, and nothing that people write is spoilt."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoned.plaintext import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("disk 1.img", "disk 1.img"),
        ("Größe, 日本語, naïve", "Größe, 日本語, naïve"),
        ("no-break\u00a0blank", "no-break\u00a0blank"),
        ("back\\slash", "back\\slash"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
        ("\x7f\x00\x80\x9b31m", "\\x7f\\x00\\x80\\x9b31m"),
        ("line\u2028separator\u2029", "line\\u2028separator\\u2029"),
        ("img.\u202egnp", "img.\\u202egnp"),
        ("\ufeffmark", "\\ufeffmark"),
        (os.fsdecode(b"caf\xe9.img"), "caf\\xe9.img"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_only_characters_that_are_shown_come_out(text: str) -> None:
    shown = printable(text)
    assert all(one.isprintable() or unicodedata.category(one) == "Zs" for one in shown)
    assert printable(shown) == shown
    shown.encode("utf-8")
