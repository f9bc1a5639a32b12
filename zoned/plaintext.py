"""Text from files made fit for a terminal. Pure functions; no other module of zoned is used.

Names, labels and paths come from whoever made the file. Printed as they are, an escape sequence in
one moves the cursor, hides a line or types an answer, and a newline makes a second sentence.
"""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The text with everything that a terminal would obey written out: ``\\x1b``, ``\\n``,
    ``\\u202e``.

    What is shown stays as it is, blanks of any script included. Control characters, line
    separators, characters that turn the direction of writing or take no room, unassigned ones and
    bytes that are no text (surrogates, as os.fsdecode makes them) become escapes as in a Python
    string.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if _shown(one) else _escape(one) for one in text)


def _shown(one: str) -> bool:
    return one.isprintable() or unicodedata.category(one) == "Zs"


def _escape(one: str) -> str:
    number = ord(one)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")
