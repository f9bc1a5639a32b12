"""Text from files: nothing that a terminal obeys gets through, and nothing that people write is spoilt."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoned.plaintext import for_terminal, printable


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("disk \u00ef.img", "disk \u00ef.img"),
        (os.fsdecode(b"d\xffsk"), os.fsdecode(b"d\xffsk")),
        ("d\udcc3\udcafsk", "d\u00efsk"),  # as an ASCII locale has it
        ("\udce2\udc80\udcae", "\\u202e"),
        ("\udcc2\udc9b31m", "\\x9b31m"),
        ("\udc9b31m", "\\x9b31m"),  # CSI of a terminal of 8 bits
        ("one\ntwo\x1b[2J", "one\\ntwo\\x1b[2J"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_gets(text: str, shown: str) -> None:
    assert for_terminal(text) == shown
    assert for_terminal(shown) == shown


@given(st.binary())
def test_no_byte_of_a_name_moves_the_cursor(name: bytes) -> None:
    """Whatever the name: no control character of 7 bits, nor one of 8 that stands alone."""
    told = os.fsencode(for_terminal(os.fsdecode(name)))
    assert not any(byte < 32 or byte == 127 for byte in told)
    decoded = told.decode("utf-8", "surrogateescape")
    assert not any(0x80 <= ord(one) <= 0x9F or 0xDC80 <= ord(one) <= 0xDC9F for one in decoded)
