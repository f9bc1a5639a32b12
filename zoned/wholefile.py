"""Files that appear complete or not at all, and are as private as what they replace.

A new file is written under a temporary name in the folder of its place, which the host makes up and
nobody else has (mkstemp), and which only its owner may open until it is done.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_LONGEST = 200  # bytes of a name that go into a temporary one; names may have 255


def temporary_name(path: str, what: str) -> tuple[int, str]:
    """A descriptor of a new, empty file beside ``path`` and its name, which has ``what`` in it.

    Raises OSError that names ``path``.
    """
    folder, base = os.path.split(path)
    start = os.fsdecode(os.fsencode(base)[:_LONGEST])
    try:
        return tempfile.mkstemp(prefix=f".{start}.{what}.", dir=folder or os.curdir)
    except OSError as error:
        error.filename = path
        raise


@contextmanager
def replacing(path: str | os.PathLike[str], *, follow: bool = True) -> Iterator[BinaryIO]:
    """A binary stream to a file that takes the place of ``path`` when the block ends without an
    exception; what was there stays whole until then. A symbolic link stays, its target is replaced;
    with ``follow`` False it is replaced itself, and its target left alone.

    The new file has the permissions of the old one, else those that the umask leaves. Raises
    OSError; one of making the file names ``path``.
    """
    real = os.path.realpath(path) if follow else os.path.abspath(path)
    number, temporary = temporary_name(real, "writing")
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
            stream.flush()
            _take_mode(number, real)
            os.fsync(number)
        os.rename(temporary, real)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = os.fspath(path)
            error.filename2 = None
        raise


def _take_mode(number: int, path: str) -> None:
    """As take_mode() of native/device/whole/create.c: who might open the old file may open the
    new one.
    """
    try:
        old = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        old = None
    if old is None or not stat.S_ISREG(old.st_mode):
        os.fchmod(number, 0o666 & ~_umask())
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    now = os.fstat(number)
    if now.st_gid != old.st_gid:
        try:
            os.fchown(number, -1, old.st_gid)
        except OSError:  # another group gets no more than everybody may
            mode &= ~0o070 | (mode & 0o007) << 3
    if now.st_uid != old.st_uid:
        with contextlib.suppress(OSError):
            os.fchown(number, old.st_uid, -1)
    os.fchmod(number, mode)


def _umask() -> int:
    """Of this process. Asking umask(2) would change it for a moment, for all threads."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="utf-8") as status:
        found = re.search(r"^Umask:\s*([0-7]+)$", status.read(), re.MULTILINE)
        if found:
            return int(found[1], 8)
    return 0o077
