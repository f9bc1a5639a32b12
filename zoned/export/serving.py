"""What exports have in common, whatever they speak: targets that C serves, the life of an export,
and what is told of it to others.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from zoned._core.handle import pointer
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import Kind, Living, Owned, Turn
from zoned._core.raising import raise_error
from zoned._core.waiting import in_slices
from zoned.device import Device
from zoned.export import registry
from zoned.export.connection import NotTakenError
from zoned.export.lasting import Lasting
from zoned.export.portal import Limits, Portal, RateLimited, is_local, join_address, split_address

GRACE = 3.0  # seconds that hosts have to leave at a clean stop

Image = str | os.PathLike[str] | Device
_BUSY = frozenset({-errno.EUSERS, -errno.ENOMEM, -errno.EAGAIN, -errno.EMFILE})
"""Codes of C that a connection may not meet again a moment later."""


class Served(ABC):
    """A target that C serves: its name, its disks by number, who uses it."""

    _KIND: ClassVar[Kind]
    _PREFIX: ClassVar[str]
    """Of its functions in C."""
    _LISTED: ClassVar[str]
    """The struct that C lists connections by."""

    def __init__(self, name: str, disks: Mapping[int, Device], limits: Limits) -> None:
        """The disks are the target's from here on; it serves them behind _make()."""
        self._name = name
        self._core = Owned(self._KIND)
        self._disks = dict(disks)
        self._limits = limits

    def _call(self, name: str, *arguments: Any) -> Any:
        """A function of C, of this target. Raises ValueError once it is closed."""
        with Guard(self._core):
            return getattr(lib, self._PREFIX + name)(self._core.raw, *arguments)

    def _make(self) -> None:
        """Make it in C, with its disks."""
        err = ffi.new("struct zd_error *")
        code = self._new(err)
        if code < 0:
            raise_error(code, err, None, None)
        for number, disk in self._disks.items():
            self._core.use(disk)
            with Guard(self._core, disk):
                code = self._add(number, disk, err)
            if code < 0:
                raise_error(code, err, None, disk.path)

    @abstractmethod
    def _new(self, err: Any) -> int:
        """Make it in C, without disks; what C says."""

    @abstractmethod
    def _add(self, number: int, disk: Device, err: Any) -> int:
        """Give it a disk under a number; what C says."""

    @property
    def images(self) -> dict[int, str | None]:
        """Path of the image of each of its numbers; None for a disk in RAM."""
        return {number: disk.path for number, disk in self._disks.items()}

    def _take(self, sock: socket.socket, how: Any) -> None:
        """Hand a connection to C; ``how``: its parameters. Raises NotTakenError; ValueError once
        it is closed.
        """
        number = ffi.new("uint64_t *")
        err = ffi.new("struct zd_error *")
        code = self._call("take", sock.fileno(), how, number, err)
        if code < 0:
            text = ffi.string(err.text).decode("utf-8", "replace") or os.strerror(-code)
            raise NotTakenError(text, busy=code in _BUSY)

    def _list(self) -> list[Any]:
        room = 64
        with contextlib.suppress(ValueError):
            while True:
                found = ffi.new(f"{self._LISTED}[]", room)
                count = self._call("list", found, room)
                if count <= room:
                    # Copies, since a struct of an array does not keep the array.
                    return [ffi.new(f"{self._LISTED} *", found[at]) for at in range(count)]
                room = 2 * count
        return []

    def _unavailable(self) -> str:
        for number, disk in self._disks.items():
            try:
                if not disk.powered:
                    return f"the disk of {self._called(number)} has no power"
            except (OSError, ValueError) as error:
                return str(error)
        return ""

    @abstractmethod
    def _called(self, number: int) -> str:
        """One of its numbers, in sentences."""

    def _event(self) -> int:
        return int(self._call("event"))

    def _said(self) -> list[str]:
        text = ffi.new("char[]", lib.ZD_ISCSI_TEXT)
        found: list[str] = []
        with contextlib.suppress(ValueError):
            with contextlib.suppress(BlockingIOError):
                os.read(self._event(), 8)
            while self._call("said", text) == 0:
                found.append(ffi.string(text).decode("utf-8", "replace"))
        return found

    @abstractmethod
    def _ask_to_leave(self, grace: float) -> None:
        """Tell all who use it that it ends in so many seconds, where its protocol can."""

    @abstractmethod
    def as_dict(self) -> dict[str, object]:
        """What it is and who uses it."""

    @property
    def closed(self) -> bool:
        """Whether it and all its disks are."""
        return self._core.closed and all(disk.closed for disk in self._disks.values())

    def close(self) -> None:
        """Drop all connections and close the disks, each of them, whatever fails. Once done, does
        nothing.
        """
        for disk in self._disks.values():
            with contextlib.suppress(ValueError), Guard(disk):
                lib.zd_end_hangs(pointer(disk))
        self._core.close()
        with contextlib.ExitStack() as stack:
            for disk in self._disks.values():
                stack.callback(disk.close)

    def __repr__(self) -> str:
        return f"<zoned.export.{type(self).__name__} {self._name}>"


_T = TypeVar("_T", bound=Served)


class Export(Lasting, Generic[_T]):
    """Targets that are being served; a context manager; ``close()`` ends it.

    It belongs to the process that made it: a forked child has no part in it.
    """

    _KIND: ClassVar[str]
    """For ``zonedctl export list``, and in sentences."""
    _ASKS_TO_LEAVE: ClassVar[bool] = True
    """Whether hosts can be asked to leave, and be waited for."""

    def __init__(self, targets: list[_T], user: str | None) -> None:
        """Not for users. It owns the targets, and what _serve() adds, from here on."""
        self.targets = targets
        """All of them; most exports have one."""
        self._user = user
        self._pid = os.getpid()
        self._turn = Turn("the export")
        self._portal: Portal[Any] | None = None
        self._addresses: list[str] = []
        self._stopped = threading.Event()
        # Neither the entry nor the portal's thread holds the export itself: who drops it ends it.
        facts = functools.partial(
            _facts, self._KIND, self._pid, self._addresses, user, targets, self._url
        )
        self._entry = registry.Entry(facts, self._stopped.set)

    @staticmethod
    @abstractmethod
    def _url(address: str, user: str | None, target: Any) -> str:
        """A target's address in the form that its protocol's programs know."""

    def _serve(self, portal: Portal[Any]) -> None:
        self._portal = portal
        self._addresses += [join_address(host, port) for host, port in portal.addresses]
        say = RateLimited()

        def listen_to(target: Served) -> Callable[[], None]:
            def tell() -> None:
                for text in target._said():
                    say(text)

            return tell

        for target in self.targets:
            target._make()
            self._prepare(target)
            portal.watch(target._event(), listen_to(target))
        if self._entry.open():
            portal.watch(self._entry.fileno(), self._entry.serve)
        _live.add(self)
        portal.start()

    def _prepare(self, target: _T) -> None:
        """Before a target serves: what it needs to know of the export."""

    # ------------------------------------------------------------ looking

    @property
    def kind(self) -> str:
        """Its protocol, as ``zonedctl export list`` tells it."""
        return self._KIND

    @property
    def name(self) -> str:
        """Of the (first) target."""
        return self.targets[0]._name

    @property
    def address(self) -> str:
        """Where it listens, HOST:PORT; the first if there are several."""
        return self._addresses[0]

    @property
    def addresses(self) -> list[str]:
        """All places where it listens."""
        return list(self._addresses)

    @property
    def url(self) -> str:
        """`url_of` the (first) target."""
        return self.url_of(self.targets[0])

    def url_of(self, target: _T) -> str:
        """The address of a target in the form that its protocol's programs know; with the (first)
        user's name, where there is one, never with a secret.
        """
        return self._url(self.address, self._user, target)

    @property
    def closed(self) -> bool:
        """Whether it has ended, and nothing of it is left."""
        return (
            (self._portal is None or self._portal.closed)
            and all(target.closed for target in self.targets)
            and self._entry.closed
            and self._stopped.is_set()
        )

    def as_dict(self) -> dict[str, object]:
        """What it is and who uses it, for ``zonedctl export list``."""
        return _facts(self._KIND, self._pid, self._addresses, self._user, self.targets, self._url)

    # ------------------------------------------------------------ the end

    def wait(self, timeout: float | None = None) -> bool:
        """Until somebody asks it to stop (``zonedctl export stop``), or timeout seconds passed.

        Returns whether it was asked; ``close()`` is still to be called.
        """
        return in_slices(self._stopped.wait, timeout)

    def close(self, *, grace: float = GRACE) -> None:
        """Ask the hosts to leave, where the protocol can, wait up to ``grace`` seconds for it, and
        end, also where
        an exception (KeyboardInterrupt) ends the waiting. Once done, does nothing. Finished writes
        are safe in any case.
        """
        self._check_process()
        with Guard(self._turn):
            if self.closed:
                return
            try:
                self._leave(grace)
            finally:
                self._end()

    def _end(self, *, wait: bool = True) -> None:
        """All of it, whatever fails of it. Once an interrupt came amid it, it can be done again."""
        with contextlib.ExitStack() as stack:  # the last one first
            stack.callback(self._stopped.set)
            stack.callback(self._entry.hide)
            for target in reversed(self.targets):
                stack.callback(target.close)
            stack.callback(self._entry.close)
            if self._portal is not None:
                stack.callback(self._portal.stop, wait=wait)

    def _leave(self, grace: float) -> None:
        for target in self.targets:
            target._ask_to_leave(grace)
        until = time.monotonic() + grace
        while (
            self._ASKS_TO_LEAVE
            and time.monotonic() < until
            and any(target._list() for target in self.targets)
        ):
            time.sleep(0.01)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        where = ", ".join(self._addresses)
        return f"<zoned.export.{type(self).__name__} {self.targets[0]._name} at {where}{state}>"


def _facts(
    kind: str,
    pid: int,
    addresses: Sequence[str],
    user: str | None,
    targets: Sequence[Served],
    url: Callable[[str, str | None, Any], str],
) -> dict[str, object]:
    return {
        "kind": kind,
        "pid": pid,
        "addresses": list(addresses),
        "url": url(addresses[0], user, targets[0]),
        "targets": [target.as_dict() for target in targets],
    }


def begin(export: Export[Any], portal: Callable[[], Portal[Any]]) -> None:
    """Serve, at the portal that is made by this; where that fails, nothing is left."""
    try:
        export._serve(portal())
    except BaseException:
        export.close(grace=0)
        raise


def where_to_listen(
    images: Sequence[Image], listen: str | Sequence[str], *, guarded: bool, how: str
) -> list[str]:
    """The addresses, once they and the disks can be; ``how`` others than this machine are kept
    out, if ``guarded`` says that nobody is. Raises ValueError.
    """
    found = [listen] if isinstance(listen, str) else list(listen)
    if not images:
        raise ValueError("there is no disk to be exported")
    if not found:
        raise ValueError("there is no address to listen on")
    for address in found:
        host, _ = split_address(address)
        if not guarded and host != "localhost" and not is_local(host):
            raise ValueError(
                f"others than this machine reach {address}: give {how}, or no_auth to serve anybody"
            )
    return found


def separate_names(
    disks: Sequence[Device], prefix: str, given: str | None, which: str
) -> list[str]:
    """Names of targets of one disk each: made of the one that was given, or of the disks' uuids.
    Raises ValueError that tells to name ``which``.
    """
    if given is None:
        names = [f"{prefix}:{disk.uuid}" for disk in disks]
    else:
        names = [given if len(disks) == 1 else f"{given}-{at}" for at in range(len(disks))]
    if len(set(names)) < len(names):
        raise ValueError(f"one disk is exported twice by the same name: name the {which}")
    return names


# ---------------------------------------------------------------- the end of the process, and forks

_live: Living[Export[Any]] = Living()


def _close_all() -> None:
    for export in _live.all():
        if export._pid == os.getpid():
            export.close(grace=0)


def _after_fork() -> None:
    for export in _live.all():
        if export._portal is not None:
            export._portal.close_sockets()
        export._entry.close()
    _live.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)

__all__ = ["GRACE", "Export", "Image", "Served", "begin", "separate_names", "where_to_listen"]
