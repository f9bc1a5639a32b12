"""``zoned.export.iscsi``: disks as an iSCSI target, as long as a `with` lasts."""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote

from zoned._core.handle import pointer
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import ISCSI_TARGET, Living, Owned, Turn
from zoned._core.raising import raise_error
from zoned.device import Device, another
from zoned.export import registry
from zoned.export.chap import Chap, Credentials
from zoned.export.keys import compose
from zoned.export.login import LoggedIn, Login, LoginError, Offer, Refusal, is_name
from zoned.export.portal import Limits, Portal, RateLimited, is_local, join_address, split_address

PREFIX = "iqn.2026-01.org.zoned"
_GRACE = 3.0  # seconds that initiators have to log out at a clean stop
_MOST_LUNS = 256

Image = str | os.PathLike[str] | Device


@dataclass(frozen=True, slots=True)
class Session:
    """An initiator that is logged in, as it was when it was asked for."""

    target: str
    """Name of the target."""
    initiator: str
    """Its name."""
    address: str
    """Where it comes from, HOST:PORT."""
    isid: str
    """Which of its ports, hex."""
    tsih: int
    since: datetime
    commands: int
    """SCSI commands so far."""
    bytes_in: int
    """Data that it sent."""
    bytes_out: int
    """Data that it got."""
    errors: int
    """Commands that ended with another status than GOOD."""
    rejects: int
    """PDUs that were rejected."""
    under_way: int
    """Commands without an answer yet."""
    header_digest: bool
    data_digest: bool

    def as_dict(self) -> dict[str, object]:
        """All fields; the time as ISO 8601."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "since": self.since.isoformat()
        }


class Target:
    """One target: its name, its disks by LUN, who is logged in. Made by `iscsi`."""

    def __init__(self, name: str, disks: Mapping[int, Device], limits: Limits) -> None:
        """Not for users: see `iscsi`. The disks are the target's from here on; it serves them
        behind _make().
        """
        self.iqn = name
        self.portal_group = 1
        self._core = Owned(ISCSI_TARGET)
        self._disks = dict(disks)
        self._limits = limits
        self._tsih = secrets.randbelow(65535)

    def _make(self) -> None:
        limits = self._limits
        err = ffi.new("struct zd_error *")
        how = ffi.new("struct zd_iscsi_limits *")
        how.room, how.sessions = int(limits.room), int(limits.sessions)
        how.idle_ms, how.stall_ms = int(limits.idle * 1000) or 1, int(limits.stall * 1000) or 1
        code = lib.zd_serve_iscsi_new(
            self.iqn.encode(), self.portal_group, how, self._core.cell, err
        )
        if code < 0:
            raise_error(code, err, None, None)
        for lun, disk in self._disks.items():
            self._core.use(disk)
            with Guard(self._core, disk):
                code = lib.zd_serve_iscsi_unit(self._core.raw, lun, pointer(disk), err)
            if code < 0:
                raise_error(code, err, None, disk.path)

    @property
    def images(self) -> dict[int, str | None]:
        """Path of the image of each LUN; None for a disk in RAM."""
        return {lun: disk.path for lun, disk in self._disks.items()}

    @property
    def sessions(self) -> list[Session]:
        """Who is logged in, the newest first; [] once it is closed."""
        return [
            Session(
                target=self.iqn,
                initiator=ffi.string(raw.initiator).decode("utf-8", "replace"),
                address=ffi.string(raw.address).decode("ascii", "replace"),
                isid=bytes(raw.isid).hex(),
                tsih=raw.tsih,
                since=datetime.fromtimestamp(raw.since / 1e9, UTC),
                commands=raw.commands,
                bytes_in=raw.bytes_in,
                bytes_out=raw.bytes_out,
                errors=raw.errors,
                rejects=raw.rejects,
                under_way=raw.under_way,
                header_digest=bool(raw.digests & 1),
                data_digest=bool(raw.digests & 2),
            )
            for raw in self._list()
        ]

    def _list(self) -> list[Any]:
        room = 64
        with contextlib.suppress(ValueError), Guard(self._core):
            while True:
                found = ffi.new("struct zd_iscsi_session[]", room)
                count = lib.zd_serve_iscsi_list(self._core.raw, found, room)
                if count <= room:
                    # Copies, since a struct of an array does not keep the array.
                    kind = "struct zd_iscsi_session *"
                    return [ffi.new(kind, found[at]) for at in range(count)]
                room = 2 * count
        return []

    def _unavailable(self) -> str:
        for lun, disk in self._disks.items():
            try:
                if not disk.powered:
                    return f"the disk of LUN {lun} has no power"
            except (OSError, ValueError) as error:
                return str(error)
        return ""

    def _offer(self, chap: Chap | None, initiators: tuple[str, ...] | None) -> Offer:
        return Offer(self.iqn, self.portal_group, chap, initiators, self._unavailable)

    def _tell_addresses(self, addresses: Sequence[str]) -> None:
        pairs = [("TargetName", self.iqn)]
        pairs += [("TargetAddress", f"{address},{self.portal_group}") for address in addresses]
        text = compose(pairs)
        err = ffi.new("struct zd_error *")
        with Guard(self._core):
            code = lib.zd_serve_iscsi_targets(self._core.raw, text, len(text), err)
        if code < 0:
            raise_error(code, err, None, None)

    def _begin(self, login: Login, sock: socket.socket, address: str) -> bool:
        """Hand a connection to C; False: an older session of the same port has to end first."""
        found = login.result
        assert found is not None
        if login.is_early:
            raise LoginError(
                Refusal.INVALID_REQUEST, "something came before the login was over: it has to wait"
            )
        sessions = self._list()
        for raw in sessions:
            same = ffi.string(raw.initiator).lower() == found.initiator.lower().encode()
            if same and bytes(raw.isid) == found.isid:
                with Guard(self._core):
                    lib.zd_serve_iscsi_drop(self._core.raw, raw.id)
                return False
        used = {raw.tsih for raw in sessions}
        self._tsih = self._tsih % 65535 + 1
        while self._tsih in used:
            self._tsih = self._tsih % 65535 + 1
        how = self._parameters(found, address, login)
        number = ffi.new("uint64_t *")
        err = ffi.new("struct zd_error *")
        try:
            with Guard(self._core):
                code = lib.zd_serve_iscsi_take(self._core.raw, sock.fileno(), how, number, err)
        except ValueError:
            raise LoginError(Refusal.UNAVAILABLE, "the target is stopping") from None
        if code < 0:
            busy = code in (-errno.EUSERS, -errno.ENOMEM, -errno.EAGAIN, -errno.EMFILE)
            text = ffi.string(err.text).decode("utf-8", "replace") or os.strerror(-code)
            raise LoginError(Refusal.OUT_OF_RESOURCES if busy else Refusal.UNAVAILABLE, text)
        login.accept(self._tsih)
        return True

    def _parameters(self, found: LoggedIn, address: str, login: Login) -> Any:
        how = ffi.new("struct zd_iscsi_login *")
        how.initiator = found.initiator.encode()
        how.address = address.encode()[:63]
        how.isid = list(found.isid)
        how.tsih, how.cid, how.cmd_sn = self._tsih, found.cid, found.cmd_sn
        how.stat_sn = login.stat_sn + 1 & 0xFFFFFFFF  # behind the last answer
        agreed = found.parameters
        how.max_send = agreed.max_send
        how.max_burst, how.first_burst = agreed.max_burst, agreed.first_burst
        how.header_digest, how.data_digest = agreed.header_digest, agreed.data_digest
        how.immediate_data, how.initial_r2t = agreed.immediate_data, agreed.initial_r2t
        return how

    def _event(self) -> int:
        with Guard(self._core):
            return int(lib.zd_serve_iscsi_event(self._core.raw))

    def _said(self) -> list[str]:
        text = ffi.new("char[]", lib.ZD_ISCSI_TEXT)
        found: list[str] = []
        with contextlib.suppress(ValueError), Guard(self._core):
            with contextlib.suppress(BlockingIOError):
                os.read(lib.zd_serve_iscsi_event(self._core.raw), 8)
            while lib.zd_serve_iscsi_said(self._core.raw, text) == 0:
                found.append(ffi.string(text).decode("utf-8", "replace"))
        return found

    def _ask_to_leave(self, grace: float) -> None:
        with contextlib.suppress(ValueError), Guard(self._core):
            lib.zd_serve_iscsi_stop(self._core.raw, int(grace * 1000))

    @property
    def closed(self) -> bool:
        """Whether it and all its disks are."""
        return self._core.closed and all(disk.closed for disk in self._disks.values())

    def close(self) -> None:
        """Drop all sessions and close the disks, each of them, whatever fails. Once done, does
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
        return f"<zoned.export.Target {self.iqn}>"


class Iscsi:
    """Targets that are being served. Made by `iscsi`; a context manager; ``close()`` ends it.

    It belongs to the process that made it: a forked child has no part in it.
    """

    def __init__(self, targets: list[Target], chap: Chap | None) -> None:
        """Not for users: see `iscsi`. It owns the targets, and what _serve() adds, from here on."""
        self.targets = targets
        """All of them; most exports have one."""
        self._user = next(iter(chap.users)) if chap is not None else None
        self._pid = os.getpid()
        self._turn = Turn("the iSCSI export")
        self._portal: Portal | None = None
        self._addresses: list[str] = []
        self._stopped = threading.Event()
        # Neither the entry nor the portal's thread holds the export itself: who drops it ends it.
        facts = functools.partial(_facts, self._pid, self._addresses, self._user, targets)
        self._entry = registry.Entry(facts, self._stopped.set)

    def _serve(self, portal: Portal) -> None:
        self._portal = portal
        self._addresses += [join_address(host, port) for host, port in portal.addresses]
        say = RateLimited()

        def listen_to(target: Target) -> Callable[[], None]:
            def tell() -> None:
                for text in target._said():
                    say(text)

            return tell

        for target in self.targets:
            target._make()
            target._tell_addresses(self._addresses)
            portal.watch(target._event(), listen_to(target))
        if self._entry.open():
            portal.watch(self._entry.fileno(), self._entry.serve)
        _live.add(self)
        portal.start()

    # ------------------------------------------------------------ looking

    @property
    def iqn(self) -> str:
        """Name of the (first) target."""
        return self.targets[0].iqn

    @property
    def address(self) -> str:
        """Where it listens, HOST:PORT; the first if there are several."""
        return self._addresses[0]

    @property
    def url(self) -> str:
        """`url_of` the (first) target."""
        return self.url_of(self.targets[0])

    def url_of(self, target: Target) -> str:
        """As libiscsi's programs and QEMU take it, of a target's first LUN; with the (first) user's
        name, where CHAP is asked for, never with a secret.
        """
        return _url(self.address, self._user, target)

    @property
    def sessions(self) -> list[Session]:
        """Who is logged in, at any target."""
        return [session for target in self.targets for session in target.sessions]

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
        return _facts(self._pid, self._addresses, self._user, self.targets)

    # ------------------------------------------------------------ the end

    def wait(self, timeout: float | None = None) -> bool:
        """Until somebody asks it to stop (``zonedctl export stop``), or timeout seconds passed.

        Returns whether it was asked; ``close()`` is still to be called.
        """
        return self._stopped.wait(timeout)

    def close(self, *, grace: float = _GRACE) -> None:
        """Ask the initiators to log out, wait up to ``grace`` seconds for it, and end, also where
        an exception (KeyboardInterrupt) ends the waiting. Once done, does nothing. Finished writes
        are safe in any case.
        """
        if self._pid != os.getpid():
            raise RuntimeError(
                f"the export belongs to process {self._pid}: a forked child cannot use it"
            )
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
        while time.monotonic() < until and any(target._list() for target in self.targets):
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_entry") and self._pid == os.getpid() and not self.closed:
            try:
                warnings.warn(
                    f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2
                )
            finally:  # where warnings are errors, too
                # Not waiting: the portal may wait for this thread, wherever the collector came by.
                self._end(wait=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an export belongs to its process and cannot be copied or pickled")

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<zoned.export.Iscsi {self.iqn} at {', '.join(self._addresses)}{state}>"


def _url(address: str, user: str | None, target: Target) -> str:
    name = f"{quote(user)}@" if user is not None else ""
    return f"iscsi://{name}{address}/{target.iqn}/{min(target.images)}"


def _facts(
    pid: int, addresses: Sequence[str], user: str | None, targets: Sequence[Target]
) -> dict[str, object]:
    return {
        "kind": "iscsi",
        "pid": pid,
        "addresses": list(addresses),
        "url": _url(addresses[0], user, targets[0]),
        "targets": [
            {
                "iqn": target.iqn,
                "luns": {str(lun): path for lun, path in target.images.items()},
                "sessions": [session.as_dict() for session in target.sessions],
            }
            for target in targets
        ],
    }


def iscsi(
    *images: Image,
    listen: str | Sequence[str] = "127.0.0.1:0",
    chap: Chap | tuple[str, str | bytes] | None = None,
    mutual: tuple[str, str | bytes] | None = None,
    initiators: Sequence[str] | None = None,
    iqn: str | None = None,
    luns: Sequence[int] | None = None,
    separate: bool = False,
    readonly: bool = False,
    no_auth: bool = False,
    discovery_auth: bool = False,
    limits: Limits | None = None,
) -> Iscsi:
    """Serve disks as an iSCSI target: HM-SMR (or host-aware) SCSI disks for any initiator.

    Each of ``images`` is a disk's image, or a Device, whose disk is then opened once more; they are
    LUNs 0, 1, ... (or ``luns``) of one target, or with ``separate`` LUN 0 of a target each. ``iqn``
    is the target's name; without it, it is made of the (first) disk's uuid, so that it stays.

    ``listen`` is HOST:PORT, or several; port 0 takes a free one. An address that others than this
    machine reach needs ``chap``, or ``no_auth=True`` said aloud. ``chap`` is (user, secret), or a
    Chap with several users; ``mutual`` what the target proves itself by to initiators that ask.
    ``initiators`` names those that may log in, with * and ?. Discovery needs no CHAP unless
    ``discovery_auth``.

    Raises GeometryError for a disk of another dialect than zbc, ValueError for settings that cannot
    be, and OSError from the host (address in use, FileNotFoundError, ...).
    """
    found = _chap_of(chap, mutual)
    where = [listen] if isinstance(listen, str) else list(listen)
    _check(images, where, found, no_auth=no_auth, discovery_auth=discovery_auth)
    if iqn is not None and not is_name(iqn):
        raise ValueError(f"{iqn!r} is no iSCSI name: write one such as {PREFIX}:disk1")
    for pattern in initiators or ():
        if not pattern or len(pattern) > 223:
            raise ValueError(f"{pattern!r} is no name of an initiator")
    bounds = limits or Limits()
    names = tuple(initiators) if initiators is not None else None
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(another(image, readonly=readonly)) for image in images]
        targets = [
            Target(name, some, bounds)
            for name, some in _arrange(disks, iqn, luns, separate=separate)
        ]
        export = Iscsi(targets, found)
        stack.pop_all()  # the disks are the export's from here on
    try:
        export._serve(_portal(where, bounds, targets, found, names, discovery_auth=discovery_auth))
    except BaseException:
        export.close(grace=0)
        raise
    return export


def _portal(
    listen: Sequence[str],
    limits: Limits,
    targets: Sequence[Target],
    chap: Chap | None,
    initiators: tuple[str, ...] | None,
    *,
    discovery_auth: bool,
) -> Portal:
    offers = {target.iqn.lower(): target._offer(chap, initiators) for target in targets}
    by_name = {target.iqn: target for target in targets}

    def greet(addresses: Callable[[], Sequence[str]]) -> Login:
        return Login(offers, addresses, chap if discovery_auth else None)

    def begin(login: Login, sock: socket.socket, address: str) -> bool:
        assert login.result is not None
        return by_name[login.result.offer.name]._begin(login, sock, address)

    return Portal(listen, limits, greet, begin)


def _chap_of(
    chap: Chap | tuple[str, str | bytes] | None, mutual: tuple[str, str | bytes] | None
) -> Chap | None:
    def credentials(pair: tuple[str, str | bytes]) -> Credentials:
        name, secret = pair
        return Credentials(name, secret.encode() if isinstance(secret, str) else secret)

    if chap is None:
        if mutual is not None:
            raise ValueError("mutual CHAP needs chap: what initiators prove themselves by")
        return None
    if isinstance(chap, Chap):
        found = chap
    else:
        user = credentials(chap)
        found = Chap({user.name: user.secret})
    return Chap(found.users, credentials(mutual)) if mutual is not None else found


def _check(
    images: Sequence[Image],
    listen: Sequence[str],
    chap: Chap | None,
    *,
    no_auth: bool,
    discovery_auth: bool,
) -> None:
    if not images:
        raise ValueError("there is no disk to be exported")
    if not listen:
        raise ValueError("there is no address to listen on")
    if len(images) > _MOST_LUNS:
        raise ValueError(f"there are {len(images)} disks: a target has {_MOST_LUNS} LUNs at most")
    if discovery_auth and chap is None:
        raise ValueError("discovery_auth needs chap: what initiators prove themselves by")
    for address in listen:
        host, _ = split_address(address)
        if chap is None and not no_auth and host != "localhost" and not is_local(host):
            raise ValueError(
                f"others than this machine reach {address}: give chap, or no_auth to serve anybody"
            )


def _arrange(
    disks: Sequence[Device], iqn: str | None, luns: Sequence[int] | None, *, separate: bool
) -> list[tuple[str, dict[int, Device]]]:
    """Targets, by name, and their disks, by LUN."""
    numbers = (
        list(luns)
        if luns is not None
        else ([0] * len(disks) if separate else list(range(len(disks))))
    )
    if len(numbers) != len(disks):
        raise ValueError(f"there are {len(numbers)} LUNs for {len(disks)} disks: give one each")
    if any(not 0 <= number < _MOST_LUNS for number in numbers):
        raise ValueError(f"a LUN is a number from 0 to {_MOST_LUNS - 1}")
    names = [f"{PREFIX}:{disk.uuid}" for disk in disks]
    if not separate:
        if len(set(numbers)) < len(numbers):
            raise ValueError("two disks have one LUN")
        return [(iqn or names[0], dict(zip(numbers, disks, strict=True)))]
    if iqn is not None:
        names = [iqn if len(disks) == 1 else f"{iqn}-{at}" for at in range(len(disks))]
    if len(set(names)) < len(names):
        raise ValueError("one disk is exported twice by the same name: name the targets by iqn")
    return [
        (name, {number: disk}) for name, number, disk in zip(names, numbers, disks, strict=True)
    ]


# ---------------------------------------------------------------- the end of the process, and forks

_live: Living[Iscsi] = Living()


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

__all__ = ["Iscsi", "Session", "Target", "iscsi"]
