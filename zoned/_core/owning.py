"""How Python holds what the C core made: one owner for each thing, made before it.

::

    thing = Owned(SNAPSHOT)                      # owns nothing yet
    code = lib.zd_snapshot_take(handle, thing.cell, err)
    with Guard(thing):                           # close() in another thread waits for this
        lib.zd_snapshot_rows(thing.raw, rows, count)

The core writes its pointer into the owner itself, so that no exception, KeyboardInterrupt between
any two instructions included, leaves a thing without an owner; and an owner that goes gives its
thing back in C, where no signal cuts it short. Whoever uses a thing does so under a Guard: after
close() that is a ValueError, never memory that was freed. (native/python/fast_owner.c)
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zoned._core.native import Guard, Owner, ffi, lib

_T = TypeVar("_T")


def _address(name: str) -> int:
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that the core makes."""

    name: str
    """In sentences: "the snapshot is closed"."""
    pointer: str
    """Its C type."""
    free: int
    """Address of the function that gives it back."""
    drop: int = 0
    """The same once what it uses (its parent) is closed."""
    alone: bool = False
    """Calls for it must not overlap: another thread waits, a signal handler gets RuntimeError."""
    forget: int = 0
    """The same in a forked child that must have no part in it."""
    ffi: Any = ffi
    """That knows the type."""


SNAPSHOT = Kind("the snapshot", "zd_snapshot *", _address("zd_own_snapshot"))
CLOCK = Kind("the clock", "zd_clock *", _address("zd_own_clock"))
SIMULATION = Kind(
    "the simulation", "zd_sim *", _address("zd_own_sim"), _address("zd_own_sim"), alone=True
)
LOG = Kind("the log", "zd_log *", _address("zd_own_log"), alone=True)
FINDINGS = Kind("what was found", "struct zd_finding *", _address("zd_own_findings"))
FILE_SYSTEM = Kind(
    "the file system", "zd_fs *", _address("zd_own_fs"), _address("zd_own_fs_detached")
)
SERVED_FILE_SYSTEM = Kind(
    "the mount", "zd_fs *", _address("zd_own_fs"), forget=_address("zd_own_left")
)
"""Of a mount, whose threads a forked child does not have."""
ISCSI_TARGET = Kind(
    "the iSCSI target",
    "zd_iscsi *",
    _address("zd_own_iscsi"),
    forget=_address("zd_own_forgotten_iscsi"),
)
UBLK_DEVICE = Kind(
    "the ublk device",
    "zd_ublk *",
    _address("zd_own_ublk"),
    forget=_address("zd_own_forgotten_ublk"),
)
NVMETCP_TARGET = Kind(
    "the NVMe/TCP target",
    "zd_nvmetcp *",
    _address("zd_own_nvmetcp"),
    forget=_address("zd_own_forgotten_nvmetcp"),
)


class Owned(Owner):
    """One thing of a kind, or nothing yet, or nothing more. Usable under a Guard."""

    __slots__ = ("_ffi", "_pointer")

    def __init__(self, kind: Kind, parent: Owner | None = None) -> None:
        """``parent`` is what the thing uses: a call on it is one on the parent, too."""
        self._ffi, self._pointer = kind.ffi, kind.pointer
        self._own(kind.name, kind.free, kind.drop, parent, kind.alone, kind.forget)

    @property
    def cell(self) -> Any:
        """Where the core puts it: a pointer to its pointer."""
        return self._ffi.cast(f"{self._pointer}*", self._cell)

    def use(self, other: Owner) -> None:
        """What this owns is about to use what ``other`` owns, with threads of its own, until it is
        given back: that is a call on ``other``, whose ``close()`` closes this first.
        """
        self._use(other)

    @property
    def raw(self) -> Any:
        """Its pointer; valid under a Guard. Raises ValueError once it is closed."""
        return self._ffi.cast(self._pointer, self._address)


class Turn(Owner):
    """A lock: ``with Guard(turn):`` is for one thread at a time, and no thread within itself
    (RuntimeError).

    Unlike a threading.Lock it cannot stay locked behind an exception, wherever that came.
    """

    __slots__ = ()

    def __init__(self, name: str) -> None:
        """``name`` is who is at work, in the RuntimeError: "the clock"."""
        self._own(name, 0, 0, None, True)  # noqa: FBT003 - positional only
        ffi.cast("uintptr_t *", self._cell)[0] = 1  # any number: there is nothing to own


class Living(Generic[_T]):
    """The objects of a kind that live, for the end of the process and for forks. Threads may add
    while others look.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: set[weakref.ref[_T]] = set()

    def add(self, item: _T) -> None:
        """From here on, until it goes."""
        self._found.add(weakref.ref(item, self._found.discard))

    def discard(self, item: _T) -> None:
        """No longer."""
        self._found.discard(weakref.ref(item))

    def clear(self) -> None:
        """None of them any more."""
        self._found.clear()

    def all(self) -> list[_T]:
        """Those that live now."""
        # A list of a set is made in one step; a WeakSet is walked through, and others may add.
        return [item for ref in list(self._found) if (item := ref()) is not None]

    def __iter__(self) -> Any:
        return iter(self.all())

    def __bool__(self) -> bool:
        return bool(self.all())


__all__ = [
    "CLOCK",
    "FILE_SYSTEM",
    "FINDINGS",
    "ISCSI_TARGET",
    "LOG",
    "NVMETCP_TARGET",
    "SERVED_FILE_SYSTEM",
    "SIMULATION",
    "SNAPSHOT",
    "UBLK_DEVICE",
    "Guard",
    "Kind",
    "Living",
    "Owned",
    "Turn",
]
