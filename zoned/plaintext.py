"""Text from files made fit for a terminal. Pure functions; no other module of zoned is used.

Names, labels and paths come from whoever made the file. Printed as they are, an escape sequence in
one moves the cursor, hides a line or types an answer, and a newline makes a second sentence.
"""

from __future__ import annotations

import re
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


def for_terminal(text: str) -> str:
    """As printable(), but bytes of a name that are no text stay what they are on the host, so that
    the name can be copied from what is said. Those that an 8-bit terminal takes for control
    characters (0x80 to 0x9f) do not.
    """
    if text.isascii() and text.isprintable():
        return text
    whole = _NO_TEXT.sub(_as_text, text)
    return "".join(one if "\udca0" <= one <= "\udcff" else printable(one) for one in whole)


_NO_TEXT = re.compile("[\udc80-\udcff]+")


def _as_text(found: re.Match[str]) -> str:
    """What Python, in an ASCII locale, has as bytes is text where it is UTF-8."""
    return found[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def printable_lines(text: str) -> str:
    """Each line of a text by itself: newlines stay, and nothing else that a terminal would obey."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_json(text: str) -> str:
    """A JSON text that means the same, with such characters in its strings as ``\\u`` escapes."""
    if text.isascii():  # json.dumps() has escaped what there was
        return text.replace("\x7f", "\\u007f")
    return re.sub(r"[^\x20-\x7e\n]", lambda found: _in_json(found[0]), text)


def csv_cell(value: object) -> object:
    """A cell of a CSV file. Text that a spreadsheet would take for a formula (it begins with =, +,
    -, @, or a control character) gets an apostrophe before it; a number stays one.
    """
    if not isinstance(value, str):
        return value
    return ("'" if value[:1] in _FORMULA else "") + printable(value)


_FORMULA = frozenset("=+-@\t\r\n")


def _in_json(one: str) -> str:
    if _shown(one):
        return one
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
