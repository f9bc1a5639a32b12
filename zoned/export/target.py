"""``zoned.export.iscsi``: disks as an iSCSI target, as long as a `with` lasts."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from zoned._core.conversions import named
from zoned._core.handle import pointer
from zoned._core.native import ffi, lib
from zoned._core.owning import ISCSI_TARGET
from zoned._core.raising import raise_error
from zoned.device import Device, another
from zoned.export.chap import Chap, Credentials
from zoned.export.connection import Connection, NotTakenError
from zoned.export.keys import compose
from zoned.export.login import LoggedIn, Login, LoginError, Offer, Refusal, is_name
from zoned.export.portal import Limits, Portal
from zoned.export.serving import Export, Image, Served, begin, separate_names, where_to_listen

PREFIX = "iqn.2026-01.org.zoned"
_MOST_LUNS = 256


@dataclass(frozen=True, slots=True)
class Session(Connection):
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


class Target(Served):
    """One target: its name, its disks by LUN, who is logged in. Made by `iscsi`."""

    _KIND = ISCSI_TARGET
    _PREFIX = "zd_serve_iscsi_"
    _LISTED = "struct zd_iscsi_session"

    def __init__(self, name: str, disks: Mapping[int, Device], limits: Limits) -> None:
        """Not for users: see `iscsi`."""
        super().__init__(name, disks, limits)
        self.iqn = name
        self.portal_group = 1
        self._tsih = secrets.randbelow(65535)

    def _new(self, err: Any) -> int:
        limits = self._limits
        how = ffi.new("struct zd_iscsi_limits *")
        how.room, how.sessions = int(limits.room), int(limits.sessions)
        how.idle_ms, how.stall_ms = int(limits.idle * 1000) or 1, int(limits.stall * 1000) or 1
        return int(
            lib.zd_serve_iscsi_new(self.iqn.encode(), self.portal_group, how, self._core.cell, err)
        )

    def _add(self, number: int, disk: Device, err: Any) -> int:
        return int(lib.zd_serve_iscsi_unit(self._core.raw, number, pointer(disk), err))

    def _called(self, number: int) -> str:
        return f"LUN {number}"

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
                **named(raw, "commands bytes_in bytes_out errors rejects under_way"),
                header_digest=bool(raw.digests & 1),
                data_digest=bool(raw.digests & 2),
            )
            for raw in self._list()
        ]

    def _offer(self, chap: Chap | None, initiators: tuple[str, ...] | None) -> Offer:
        return Offer(self.iqn, self.portal_group, chap, initiators, self._unavailable)

    def _tell_addresses(self, addresses: Sequence[str]) -> None:
        pairs = [("TargetName", self.iqn)]
        pairs += [("TargetAddress", f"{address},{self.portal_group}") for address in addresses]
        text = compose(pairs)
        err = ffi.new("struct zd_error *")
        code = self._call("targets", text, len(text), err)
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
                self._call("drop", raw.id)
                return False
        used = {raw.tsih for raw in sessions}
        self._tsih = self._tsih % 65535 + 1
        while self._tsih in used:
            self._tsih = self._tsih % 65535 + 1
        how = self._parameters(found, address, login)
        try:
            self._take(sock, how)
        except NotTakenError as error:
            raise LoginError(
                Refusal.OUT_OF_RESOURCES if error.busy else Refusal.UNAVAILABLE, str(error)
            ) from None
        except ValueError:
            raise LoginError(Refusal.UNAVAILABLE, "the target is stopping") from None
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

    def _ask_to_leave(self, grace: float) -> None:
        with contextlib.suppress(ValueError):
            self._call("stop", int(grace * 1000))

    def as_dict(self) -> dict[str, object]:
        """What it is and who is logged in."""
        return {
            "iqn": self.iqn,
            "luns": {str(lun): path for lun, path in self.images.items()},
            "sessions": [session.as_dict() for session in self.sessions],
        }


class Iscsi(Export[Target]):
    """Targets that are being served. Made by `iscsi`; a context manager; ``close()`` ends it.

    It belongs to the process that made it: a forked child has no part in it.
    """

    _KIND = "iscsi"

    @staticmethod
    def _url(address: str, user: str | None, target: Target) -> str:
        """As libiscsi's programs and QEMU take it, of a target's first LUN."""
        name = f"{quote(user)}@" if user is not None else ""
        return f"iscsi://{name}{address}/{target.iqn}/{min(target.images)}"

    def _prepare(self, target: Target) -> None:
        target._tell_addresses(self._addresses)

    @property
    def iqn(self) -> str:
        """Name of the (first) target."""
        return self.targets[0].iqn

    @property
    def sessions(self) -> list[Session]:
        """Who is logged in, at any target."""
        return [session for target in self.targets for session in target.sessions]


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
    guarded = found is not None or no_auth
    where = where_to_listen(images, listen, guarded=guarded, how="chap")
    if len(images) > _MOST_LUNS:
        raise ValueError(f"there are {len(images)} disks: a target has {_MOST_LUNS} LUNs at most")
    if discovery_auth and found is None:
        raise ValueError("discovery_auth needs chap: what initiators prove themselves by")
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
        export = Iscsi(targets, next(iter(found.users)) if found is not None else None)
        stack.pop_all()  # the disks are the export's from here on
    begin(
        export,
        lambda: _portal(where, bounds, targets, found, names, discovery_auth=discovery_auth),
    )
    return export


def _portal(
    listen: Sequence[str],
    limits: Limits,
    targets: Sequence[Target],
    chap: Chap | None,
    initiators: tuple[str, ...] | None,
    *,
    discovery_auth: bool,
) -> Portal[Login]:
    offers = {target.iqn.lower(): target._offer(chap, initiators) for target in targets}
    by_name = {target.iqn: target for target in targets}

    def greet(addresses: Callable[[], Sequence[str]]) -> Login:
        return Login(offers, addresses, chap if discovery_auth else None)

    def hand_on(login: Login, sock: socket.socket, address: str) -> bool:
        assert login.result is not None
        return by_name[login.result.offer.name]._begin(login, sock, address)

    return Portal(listen, limits, greet, hand_on)


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
    if not separate:
        if len(set(numbers)) < len(numbers):
            raise ValueError("two disks have one LUN")
        return [(iqn or f"{PREFIX}:{disks[0].uuid}", dict(zip(numbers, disks, strict=True)))]
    names = separate_names(disks, PREFIX, iqn, "targets by iqn")
    return [
        (name, {number: disk}) for name, number, disk in zip(names, numbers, disks, strict=True)
    ]


__all__ = ["Iscsi", "Session", "Target", "iscsi"]
