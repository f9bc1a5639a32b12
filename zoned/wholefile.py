"""Files that appear complete or not at all, and are as private as what they replace.

A new file is written under a temporary name in the folder of its place, of random numbers of the
kernel's, which nobody else has, and which only its owner may open until it is done.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_LONGEST = 200  # bytes of a name that go into a temporary one; names may have 255

_IMAGE = b"ZDIMAGE"  # what a disk image begins with


def refuse_image(path: str) -> None:
    """Raises FileExistsError where a disk image has that name: a page or a trace would take all of
    the disk's data with it, and no terminal might be there to ask at."""
    found = b""
    with contextlib.suppress(OSError):  # whoever may not look at it is told why by writing
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                found = file.read(len(_IMAGE))
    if found == _IMAGE:
        raise FileExistsError(
            errno.EEXIST, "a disk image is there: name another file, or remove it first", path
        )


class Temporary:
    """A new file beside ``path`` whose name, which has ``what`` in it, nobody else has.

    It is made by ``make``, within a block that ends with ``remove``: the name is there before the
    file, so that no interrupt leaves one behind. Errors call ``path`` what is ``said``.
    """

    def __init__(self, path: str, what: str, said: str | None = None) -> None:
        self._path, self._what = path, what
        self._said = path if said is None else said
        self.name = ""
        """Empty: there is none yet."""

    def make(self) -> BinaryIO:
        """The file, empty, for its owner alone. Raises OSError."""
        folder, base = os.path.split(self._path)
        start = os.fsdecode(os.fsencode(base)[:_LONGEST])
        while True:
            name = f".{start}.{self._what}.{os.urandom(8).hex()}"
            self.name = os.path.join(folder or os.curdir, name)
            try:
                return open(self.name, "xb", opener=_private)
            except FileExistsError:
                self.name = ""
            except OSError as error:
                error.filename = self._said
                raise

    def remove(self) -> None:
        """It is gone, unless it was renamed, or never made."""
        if self.name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.name)


#: Of functions in C alone: between two instructions of Python an interrupt could lose a descriptor.
_private = functools.partial(os.open, mode=0o600)


@contextmanager
def replacing(path: str | os.PathLike[str], *, follow: bool = True) -> Iterator[BinaryIO]:
    """A binary stream to a file that takes the place of ``path`` when the block ends without an
    exception; what was there stays whole until then. A symbolic link stays, its target is replaced;
    with ``follow`` False it is replaced itself, and its target left alone.

    The new file has the permissions of the old one, else those that the umask leaves. Raises
    OSError; one of making the file names ``path``. A disk image is not replaced (FileExistsError).
    """
    real = os.path.realpath(path) if follow else os.path.abspath(path)
    if follow or not os.path.islink(path):
        refuse_image(os.fsdecode(path))
    temporary = Temporary(real, "writing", os.fsdecode(path))
    try:
        with temporary.make() as stream:
            yield stream
            stream.flush()
            _take_mode(stream.fileno(), real)
            os.fsync(stream.fileno())
        os.rename(temporary.name, real)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.remove()
        if isinstance(error, OSError) and error.filename == temporary.name:
            error.filename = os.fspath(path)
            error.filename2 = None
        raise


def _take_mode(number: int, path: str) -> None:
    """As take_mode() of whole/create.c in C: who might open the old file may open the new one."""
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
