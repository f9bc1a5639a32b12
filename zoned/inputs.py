"""Reading files that somebody else may have made: profiles, fault plans, job files, sweeps, traces,
saved results and reports.

All readers go through here, so that none waits for a FIFO, opens a device, fills the memory, runs
without end over a crafted text, or ends in an exception that is not its own. What a file may have
at most is told here and in docs/errors.md. Opens what it is asked to, for reading; writes nothing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

from zoned.plaintext import printable
from zoned.units import counted, format_size

MOST_TOML = 1 << 20
"""Bytes of a profile, a fault plan or a sweep."""
MOST_JOBS = 4 << 20
"""Bytes of a job file and all files that it includes, together."""
MOST_RESULT = 64 << 20
"""Bytes of a saved result (JSON)."""
LONGEST_LINE = 64 << 10
"""Bytes of a line of a block trace or a saved report."""
DEEPEST = 32
"""Tables and arrays of a TOML file within each other, and parts of a dotted key."""
FREELY_UNPACKED = 64 << 20
"""Bytes that a compressed file may unpack to, however small it is; and"""
MOST_UNPACKED = 1100
"""how many times its own size beyond that. gzip itself cannot do more than 1,032."""

_LONGEST_MESSAGE = 2000

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


class InputError(ValueError):
    """A file that cannot be read as what it should be.

    The message is one line that a terminal can show, whatever the file holds: control characters
    are written out, and the middle of a very long one is left out.
    """

    def __init__(self, message: str) -> None:
        text = printable(message)
        if len(text) > _LONGEST_MESSAGE:
            half = _LONGEST_MESSAGE // 2
            text = f"{text[:half]} ... {text[-half:]}"
        super().__init__(text)


# ------------------------------------------------------------ files


def open_regular(
    path: str | os.PathLike[str], error: type[InputError] = InputError, name: str = ""
) -> BinaryIO:
    """A regular file, opened for reading. ``name``: how messages call it; its path if empty.

    Never waits: a FIFO without a writer, or a device, is refused before it is opened. Raises
    ``error`` for what is no regular file, IsADirectoryError, OSError.
    """
    name = name or os.fsdecode(path)
    try:
        _only_regular(os.stat(path).st_mode, path, error, name)
    except InputError:
        raise
    except ValueError:
        raise error(f"{name}: no file can have such a name") from None
    # It may have become something else in the meantime.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    number = os.open(path, flags)
    try:
        _only_regular(os.fstat(number).st_mode, path, error, name)
        os.set_blocking(number, True)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _only_regular(
    mode: int, path: str | os.PathLike[str], error: type[InputError], name: str
) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))
    kind = next((told for test, told in _KINDS if test(mode)), "something else")
    raise error(f"{name}: it is {kind}, and must be a regular file")


def read_bytes(
    path: str | os.PathLike[str],
    most: int,
    error: type[InputError] = InputError,
    name: str = "",
) -> bytes:
    """The content of a regular file of at most ``most`` bytes. ``name`` as for open_regular().

    Raises ``error`` for a file that is larger or no regular one, OSError.
    """
    name = name or os.fsdecode(path)
    with closing(open_regular(path, error, name)) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise error(f"{name}: it is larger than {format_size(most)}, the most that is read")
    return content


def as_text(content: bytes, error: type[InputError], name: str) -> str:
    """UTF-8 text. Raises ``error``."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise error(f"{name}: not UTF-8 text ({exc.reason} at byte {exc.start})") from None


def read_lines(file: BinaryIO, error: type[InputError], name: str) -> Iterator[str]:
    """Lines of a stream as text, without the one at the end of each. Raises ``error`` for a line
    that is too long, OSError.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise error(line_too_long(name, number))
        yield line.decode("utf-8", "replace")


def line_too_long(name: str | os.PathLike[str], number: int) -> str:
    """What is said of a line that is longer than LONGEST_LINE."""
    return f"{os.fsdecode(name)}, line {number}: it is longer than {counted(LONGEST_LINE, 'byte')}"


# ------------------------------------------------------------ TOML


def read_toml(
    path: str | os.PathLike[str], error: type[InputError], name: str = ""
) -> dict[str, Any]:
    """The table in a TOML file. Raises ``error``, OSError."""
    name = name or os.fsdecode(path)
    return parse_toml(read_bytes(path, MOST_TOML, error, name), error, name)


def parse_toml(content: bytes, error: type[InputError], name: str) -> dict[str, Any]:
    """The table in the bytes of a TOML file. Raises ``error``."""
    import tomllib  # who opens a disk reads none

    if len(content) > MOST_TOML:
        raise error(f"{name}: it is larger than {format_size(MOST_TOML)}, the most that is read")
    text = as_text(content, error, name).replace("\r\n", "\n")
    line = _too_deep(text)
    if line:
        raise error(
            f"{name}: line {line}: more than {DEEPEST} tables, arrays or parts of a key within "
            "each other"
        )
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise error(f"{name}: not TOML: {exc}") from None
    except (ValueError, OverflowError, RecursionError) as exc:  # an endless number, an odd date
        raise error(f"{name}: not TOML that can be read: {exc}") from None
    if _too_large(table):
        raise error(f"{name}: it has a whole number of more than 64 bits")
    return table


_TOKEN = re.compile(r"""\"{3}|'{3}|["'#\[\]{}.=,\n]""")
_ENDS = {
    '"""': re.compile(r'(?:[^"\\]++|\\.|"(?!""))*+"{3,5}', re.DOTALL),
    "'''": re.compile(r"(?:[^']++|'(?!''))*+'{3,5}"),
    '"': re.compile(r'(?:[^"\\\n]++|\\[^\n])*+"'),
    "'": re.compile(r"[^'\n]*+'"),
    "#": re.compile(r"[^\n]*+"),
}
"""The rest of a string or a comment, by what it begins with."""


def _too_deep(text: str) -> int:
    """The line where a TOML text nests too deeply, before a parser sees it: time and stack that
    tomllib takes grow with the square of it, or with the depth. 0: nowhere.
    """
    at = depth = parts = 0
    while found := _TOKEN.search(text, at):
        mark, at = found[0], found.end()
        if mark in _ENDS:
            end = _ENDS[mark].match(text, at)
            if end is None:
                return 0  # it has no end: no TOML, and no parser gets further than here
            at = end.end()
        elif mark == ".":
            parts += 1
        else:
            parts = 0
            depth += mark in "[{"
            depth -= mark in "]}"
        if parts >= DEEPEST or depth > DEEPEST:
            return text.count("\n", 0, at) + 1
    return 0


def _too_large(table: dict[str, Any]) -> bool:
    left: list[Any] = [table]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            return True
    return False


# ------------------------------------------------------------ JSON


def parse_json(text: str | bytes, error: type[InputError], name: str) -> Any:
    """What a JSON text holds. Raises ``error``."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        raise error(f"{name}: not JSON: {exc}") from None
    except RecursionError:
        raise error(f"{name}: not JSON that can be read: it nests too deeply") from None
    except ValueError as exc:  # an endless number; bytes that are no text
        raise error(f"{name}: not JSON that can be read: {exc}") from None
