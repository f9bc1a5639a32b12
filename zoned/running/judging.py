"""Judging a program before it is started: whether the library can stand in its way, and how."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Sequence

from zoned.running.session import RunError

_INTERPRETER = 3  # PT_INTERP: it is linked dynamically
_BY_SHELL = ("/bin/sh", "-c", 'exec "$0" "$@"')
"""A shell, whose exec() comes by the library: that gives a program without libc what it needs."""


def beginning(command: Sequence[str | os.PathLike[str]], path: str | None = None) -> list[str]:
    """The words to start for this command. ``path`` is searched (PATH if None).

    Raises RunError for what cannot find the disks: a set-uid program, one of 32 bits or of musl.
    Of a set-uid one that the command starts in turn (``env``, ``sh -c``) the library tells when
    it begins.
    """
    words = [os.fsdecode(word) for word in command]
    found = shutil.which(words[0], path=path) if words else None
    if found is None:
        return words  # whoever starts it says why it cannot be
    _refuse_privileged(found)
    _refuse_foreign(found)
    return [*_BY_SHELL, *words] if is_static(found) else words


def _is_privileged(program: str) -> bool:
    """Whether the kernel starts it with privileges of its own, as native/preload/static.c asks."""
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        return False
    found = os.stat(program)
    by_user = found.st_mode & stat.S_ISUID and found.st_uid != os.getuid()
    by_group = found.st_mode & stat.S_ISGID and found.st_mode & stat.S_IXGRP
    if by_user or (by_group and found.st_gid != os.getgid()):
        return True
    try:
        return os.getuid() != 0 and bool(os.getxattr(program, "security.capability"))
    except OSError:
        return False


def _refuse_privileged(program: str) -> None:
    if _is_privileged(program):
        raise RunError(
            f"{program} is a set-uid program or has capabilities: the host lets no library stand"
            f" before it; start zonedctl run behind it ({os.path.basename(program)} zonedctl run"
            " ...)"
        )


def _refuse_foreign(program: str) -> None:
    head = _head(program)
    if head[:5] == b"\x7fELF\x01":
        raise RunError(
            f"{program} is a program of 32 bits, which find no disks here: take one of 64"
        )
    if head[:4] == b"\x7fELF" and b"/ld-musl-" in head:
        raise RunError(
            f"{program} uses the libc musl, before which no library of glibc's can stand: take one"
            " that is linked with glibc, or statically"
        )


def _head(program: str) -> bytes:
    try:
        with open(program, "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def is_static(program: str) -> bool:
    """Whether it is an executable without an interpreter: no dynamic linker, no library."""
    head = _head(program)
    if head[:6] != b"\x7fELF\x02\x01":
        return False
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    kinds = [
        struct.unpack_from("<I", head, table + at * size)[0]
        for at in range(count)
        if table + at * size + 4 <= len(head)
    ]
    return bool(kinds) and _INTERPRETER not in kinds
