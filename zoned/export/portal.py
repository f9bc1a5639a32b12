"""Where initiators come in: listening sockets, and the connections that have not logged in yet or
are of discovery sessions, all in one thread. What has logged in is handed to C.

Whatever comes before that costs no thread and a bounded amount of memory: `Limits` says how much,
and how long.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zoned.export.greeting import Greeting, RefusedError, State
from zoned.plaintext import printable

log = logging.getLogger("zoned.export")
_LOG_A_SECOND = 8
_PIECE = 16 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Of connections and sessions; seconds, bytes."""

    logins: int = 256
    """Connections that have not logged in; beyond it the oldest of them is dropped."""
    login_time: float = 15.0
    """A login takes no longer."""
    discovery_time: float = 60.0
    """Nor does a discovery session."""
    sessions: int = 256
    """Of each target."""
    queues: int = 1024
    """Connections of NVMe hosts, of each subsystem."""
    room: int = 1 << 30
    """Data of all commands under way, of each target."""
    idle: float = 15.0
    """An initiator that was silent so long is asked for a sign of life."""
    stall: float = 30.0
    """One that gives none for so long, or takes no answers, is dropped."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 < getattr(self, name) < 2**40:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be more than 0")


def split_address(text: str) -> tuple[str, int]:
    """HOST:PORT or [HOST]:PORT or PORT, as host and port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = "127.0.0.1", text
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdecimal() and int(port) < 65536) or (
        ":" in host and "[" not in text
    ):
        raise ValueError(
            f"{text!r} is no address to listen on: write HOST:PORT, such as 127.0.0.1:3260"
        )
    return host or "0.0.0.0", int(port)  # noqa: S104 - asked for, and refused without a secret


def is_local(host: str) -> bool:
    """Whether nobody from outside this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def join_address(host: str, port: int) -> str:
    """Host and port as URLs and text keys have them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class RateLimited:
    """A log that a flood cannot fill: so many sentences a second, then how many were left out."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def __call__(self, text: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._count > _LOG_A_SECOND:
                log.warning(
                    "%d more sentences about connections were left out", self._count - _LOG_A_SECOND
                )
            self._second, self._count = second, 0
        self._count += 1
        if self._count <= _LOG_A_SECOND:
            log.warning("%s", printable(text))


_G = TypeVar("_G", bound=Greeting[Any, Any])


class _Guest(Generic[_G]):
    """A connection in login or discovery."""

    __slots__ = ("address", "deadline", "login", "sock", "waits")

    def __init__(self, sock: socket.socket, address: str, login: _G, deadline: float) -> None:
        self.sock = sock
        self.address = address
        self.login = login
        self.deadline = deadline
        self.waits = False
        """For an older session of the same initiator to end."""


class Portal(Generic[_G]):
    """The listening sockets of an export and its thread."""

    def __init__(
        self,
        listen: Sequence[str],
        limits: Limits,
        greet: Callable[[Callable[[], Sequence[str]]], _G],
        begin: Callable[[_G, socket.socket, str], bool],
    ) -> None:
        """``greet`` makes a Greeting; ``begin`` hands a ready one on: False where it must wait for
        an older session to end, RefusedError where it cannot be. Raises OSError, ValueError.
        """
        self._limits = limits
        self._greet = greet
        self._begin = begin
        self._say = RateLimited()
        self._selector = selectors.DefaultSelector()
        self._guests: dict[int, _Guest[_G]] = {}
        self._listeners: list[socket.socket] = []
        self._others: dict[int, Callable[[], None]] = {}
        self.closed = False
        """Whether it has nothing open any more."""
        self._ending = False
        self._rest_until = 0.0
        self._thread: threading.Thread | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        try:
            for address in listen:
                self._listen(address)
        except BaseException:
            self.close_sockets()
            raise
        self._wake_out.settimeout(0)
        self._selector.register(self._wake_out, selectors.EVENT_READ)

    def _listen(self, address: str) -> None:
        host, port = split_address(address)
        try:
            family, kind, proto, _, where = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except socket.gaierror as error:
            raise OSError(errno.EADDRNOTAVAIL, f"{address}: {error.strerror}") from None
        sock = socket.socket(family, kind, proto)
        self._listeners.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(where)
            sock.listen(128)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from None
        sock.settimeout(0)
        self._selector.register(sock, selectors.EVENT_READ)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        return [sock.getsockname()[:2] for sock in self._listeners]

    def watch(self, descriptor: int, what: Callable[[], None]) -> None:
        """Before start(): call ``what`` in the portal's thread when a descriptor is readable."""
        self._others[descriptor] = what
        self._selector.register(descriptor, selectors.EVENT_READ)

    def start(self) -> None:
        """Begin to take connections."""
        self._thread = threading.Thread(target=self._run, name="zoned-portal", daemon=True)
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Take no connection any more, drop those that have not logged in, and end the thread;
        ``wait`` for that, unless it is this one. Once it has ended, does nothing.
        """
        self._ending = True
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")
        if self._thread is None or not self._thread.is_alive():
            self.close_sockets()
        elif wait and self._thread is not threading.current_thread():
            self._thread.join()

    def close_sockets(self) -> None:
        """All that it has open: at the end of its thread, and in a forked child, which has no part
        in it.
        """
        for guest in self._guests.values():
            guest.sock.close()
        self._guests.clear()
        for sock in (*self._listeners, self._wake_in, self._wake_out):
            sock.close()
        self._selector.close()
        self.closed = True

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while not self._ending:
                for key, _ in self._selector.select(self._patience()):
                    if not self._ending:
                        self._attend(key.fd)
                self._look_after()
        finally:
            self.close_sockets()

    def _attend(self, fd: int) -> None:
        try:
            self._serve(fd)
        except OSError as error:
            self._say(f"a connection: {error}")
        except Exception:  # one connection must not end the others
            log.exception("a connection ended by a fault of this program")
            self._drop(fd)

    def _patience(self) -> float | None:
        if self._rest_until:
            return 0.05
        if not self._guests:
            return None
        return (
            max(0.0, min(guest.deadline for guest in self._guests.values()) - time.monotonic())
            + 0.01
        )

    def _serve(self, fd: int) -> None:
        if fd in self._guests:
            self._read(self._guests[fd])
        elif fd in self._others:
            self._others[fd]()
        elif fd == self._wake_out.fileno():
            self._wake_out.recv(64)
        else:
            for sock in self._listeners:
                if sock.fileno() == fd:
                    self._accept(sock)

    def _look_after(self) -> None:
        """What takes too long ends; what waits is tried again: the end of a session wakes the
        thread, by the target's descriptor.
        """
        now = time.monotonic()
        if self._rest_until and now >= self._rest_until:
            self._rest_until = 0.0
            for sock in self._listeners:
                self._selector.register(sock, selectors.EVENT_READ)
        for guest in list(self._guests.values()):
            if now >= guest.deadline:
                self._say(f"{guest.address}: it did not finish its login in time")
                self._drop(guest.sock.fileno())
            elif guest.waits:
                self._hand_on(guest)

    def _accept(self, listener: socket.socket) -> None:
        if self._rest_until:
            return  # since this call of select(), by another of the listeners
        try:
            sock, where = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors, most likely: a pause, instead of a busy loop
            self._say(f"no connection can be taken: {error.strerror}")
            for each in self._listeners:
                self._selector.unregister(each)
            self._rest_until = time.monotonic() + 0.5
            return
        address = join_address(where[0], where[1])
        if len(self._guests) >= self._limits.logins:
            oldest = next(iter(self._guests.values()))
            self._say(f"{oldest.address}: dropped before it logged in, there are too many such")
            self._drop(oldest.sock.fileno())
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = sock.getsockname()[:2]
        login = self._greet(lambda: [join_address(host, port)])
        deadline = time.monotonic() + self._limits.login_time
        self._guests[sock.fileno()] = _Guest(sock, address, login, deadline)
        self._selector.register(sock, selectors.EVENT_READ)

    def _drop(self, fd: int) -> None:
        guest = self._guests.pop(fd, None)
        if guest is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
            guest.sock.close()

    def _read(self, guest: _Guest[_G]) -> None:
        fd = guest.sock.fileno()
        if guest.waits:
            self._peek(guest)
            return
        try:
            data = guest.sock.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        login = guest.login
        before = login.state
        login.feed(data)
        if login.state is State.DISCOVERY:
            self._let_discover(guest, begins=before is State.LOGIN)
        if not self._send(guest):
            return
        if login.state is State.READY:
            self._hand_on(guest)
        elif login.state is State.ENDED:
            if login.why:
                self._say(f"{guest.address}: login refused: {login.why}")
            self._leave(guest)

    def _let_discover(self, guest: _Guest[_G], *, begins: bool) -> None:
        if guest.login.lease is not None:
            guest.deadline = time.monotonic() + guest.login.lease
        elif begins:
            guest.deadline = time.monotonic() + self._limits.discovery_time

    def _peek(self, guest: _Guest[_G]) -> None:
        """Of one that waits: nothing is to come before the answer, only an end is looked for."""
        fd = guest.sock.fileno()
        try:
            gone = not guest.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            gone = True
        if gone:
            self._drop(fd)
        else:
            self._selector.unregister(fd)

    def _send(self, guest: _Guest[_G]) -> bool:
        """A few hundred bytes, which any socket has room for: who takes no answers is dropped."""
        output = guest.login.output
        try:
            while output:
                del output[: guest.sock.send(output)]
        except OSError:
            self._drop(guest.sock.fileno())
            return False
        return True

    def _leave(self, guest: _Guest[_G]) -> None:
        """Close, once what was said is out: unread bytes would take it back."""
        with contextlib.suppress(OSError):
            guest.sock.shutdown(socket.SHUT_WR)
            guest.sock.recv(_PIECE)
        self._drop(guest.sock.fileno())

    def _hand_on(self, guest: _Guest[_G]) -> None:
        try:
            begun = self._begin(guest.login, guest.sock, guest.address)
        except RefusedError as error:
            guest.login.refuse(error)
            self._say(f"{guest.address}: login refused: {error}")
            if self._send(guest):
                self._leave(guest)
            return
        guest.waits = not begun
        if begun and self._send(guest):
            fd = guest.sock.fileno()
            del self._guests[fd]
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
            guest.sock.close()  # C has its own descriptor of it


__all__ = ["Limits", "Portal", "RateLimited", "is_local", "join_address", "split_address"]
