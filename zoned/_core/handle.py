"""A handle on a disk: the lowest part of a Device, which zoned.device completes.

``call`` and ``ask`` are how every other module of zoned gives the core a command on a handle:
under a Guard, so that close() waits for it, and with the exceptions of zoned._core.raising.
"""

from __future__ import annotations

import atexit
import operator
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, SupportsIndex, TypeVar, cast
from uuid import UUID

from zoned._core.conversions import geometry_of, limits_of
from zoned._core.native import Core, Guard, ffi, lib, sized
from zoned._core.owning import Living
from zoned._core.raising import bad_number, raise_error
from zoned._core.waiting import patiently
from zoned.geometry import Geometry
from zoned.info import Limits

_MOST = 2**32 - 1
_D = TypeVar("_D", bound="Handle")


class OfDisk:
    """What a handle on a disk and a snapshot know of the disk."""

    __slots__ = ()
    _path: str | None
    _uuid: UUID
    _geometry: Geometry

    @property
    def path(self) -> str | None:
        """Absolute path of the image; None for a disk in RAM."""
        return self._path

    @property
    def uuid(self) -> UUID:
        """Identity of the disk; copies of an image share it."""
        return self._uuid

    @property
    def geometry(self) -> Geometry:
        """Layout and behaviour; never changes."""
        return self._geometry


class Handle(OfDisk, Core):
    """A handle on an emulated disk, made by ``adopt``."""

    __slots__ = (
        "__weakref__",
        "_crash_id",
        "_geometry",
        "_given",
        "_handle",
        "_origin",
        "_paced",
        "_path",
        "_readonly",
        "_uuid",
    )

    def __init__(self) -> None:
        """Not for users: the owner of a handle that is yet to be made, see adopt."""
        self._path = None
        self._origin: object | None = None
        self._crash_id: str | None = None
        self._prepare(_on_error, _on_range)

    def _take_over(self, path: str | None) -> None:
        """The core has made the handle."""
        handle = ffi.cast("zd_dev *", self._address)
        info = sized("struct zd_info")
        err = ffi.new("struct zd_error *")
        code = lib.zd_info(handle, info, err)
        if code < 0:
            raise_error(code, err, None, path)
        self._handle = handle
        self._path = path
        self._given = path
        """As the caller named it; errors do so too."""
        self._readonly = bool(info.readonly)
        self._paced = info.pace == lib.ZD_PACE_REAL
        """Whether the disk was made so that its openers' commands take a drive's time."""
        self._uuid = UUID(bytes=bytes(info.uuid))
        self._geometry = geometry_of(handle, info)
        self._begin(info.size)
        living.add(self)
        tests = sys.modules.get("zoned.pytest_plugin")
        if tests is not None:
            tests.made(self)

    @property
    def readonly(self) -> bool:
        """Whether this handle may only read."""
        return self._readonly

    @property
    def limits(self) -> Limits:
        """Open and active resources, now."""
        return limits_of(self._info())

    # ------------------------------------------------------------ inside

    def _call(self, function: Callable[..., int], *args: object, path: str | None = None) -> int:
        """A function of the core on this handle; raises what its negative code means."""
        err = ffi.new("struct zd_error *")
        with Guard(self):
            code = function(self._handle, *args, err)
        if code < 0:
            raise_error(code, err, self, path or self._given)
        return code

    def _native(self, function: Callable[..., int], *args: object) -> int:
        """A function of the core on this handle; its code is the caller's to understand."""
        with Guard(self):
            return function(self._handle, *args)

    def _number(self, name: str, value: SupportsIndex, end: int = _MOST) -> int:
        """A zone index or count of 32 bits, or another number below ``end``; the core checks it
        against the disk.
        """
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
        if not 0 <= number < end:
            raise bad_number(self, name, number)
        return number

    def _info(self) -> Any:
        raw = sized("struct zd_info")
        self._call(lib.zd_info, raw)
        return raw

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if not self.closed and hasattr(self, "_geometry"):  # else nobody ever had it
            _warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()


def call(
    handle: Handle, function: Callable[..., int], *args: object, path: str | None = None
) -> int:
    """A function of the core on a handle; raises what its negative code means, of ``path`` if not
    of the disk.
    """
    return handle._call(function, *args, path=path)


def zone_number(handle: Handle, name: str, value: SupportsIndex) -> int:
    """A zone index or count of 32 bits; the core checks it against the disk."""
    return handle._number(name, value)


def ask(handle: Handle, function: Callable[..., int], *args: object) -> int:
    """A function of the core on a handle; its code is the caller's to understand."""
    return handle._native(function, *args)


def pointer(handle: Handle) -> Any:
    """Its ``zd_dev *``; valid under a Guard."""
    return handle._handle


def adopt(path: str | None, make: Callable[[Any, Any], int], kind: type[_D]) -> _D:
    """The handle that a call makes, as an object of this kind. The object comes first: no exception
    leaks what the core made.
    """
    device = kind()
    err = ffi.new("struct zd_error *")
    try:
        code = make(ffi.cast("zd_dev **", device._cell), err)
        if code < 0:
            raise_error(code, err, None, path)
        device._take_over(None if path is None else os.path.abspath(path))
    except BaseException:
        # At once, not only when the last traceback with this frame in it has gone.
        Core.close(device)
        raise
    return device


def opened(name: bytes, readonly: bool, out: Any, err: Any) -> int:
    """For adopt(): opens an image. It waits up to 30 s for a stopped process that has its turn."""
    flags = lib.ZD_OPEN_BRIEFLY | (lib.ZD_OPEN_READONLY if readonly else 0)
    return patiently(lambda: lib.zd_open(name, flags, out, err))


def forked(
    origin: object, make: Callable[[Any, Any], int], kind: type[_D], crash_id: str | None = None
) -> _D:
    """A handle on a disk that reads what another one had, which ``origin`` keeps for it."""
    device = adopt(None, make, kind)
    device._origin, device._crash_id = origin, crash_id
    return device


# ---------------------------------------------------------------- called by the C type


def _on_error(core: Core, code: int, raw: bytes) -> NoReturn:
    device = cast("Handle", core)
    raise_error(code, ffi.from_buffer("struct zd_error *", raw), device, device._given)


def _on_range(core: Core, name: str, value: int) -> NoReturn:
    raise bad_number(cast("Handle", core), name, value)


# ---------------------------------------------------------------- the end of the process, and forks

living: Living[Handle] = Living()
"""Every handle of this process that was not given up."""


def _close_all() -> None:
    """At exit: disks left open are closed cleanly; calls of daemon threads are cut short."""
    for device in living.all():
        device._cancel()
    failed: OSError | None = None
    for device in living.all():
        try:
            device.close()
        except OSError as exc:
            failed = exc
    if failed is not None:
        raise failed


atexit.register(_close_all)
