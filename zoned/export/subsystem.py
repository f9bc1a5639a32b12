"""``zoned.export.nvme``: disks as an NVM subsystem by NVMe/TCP, as long as a `with` lasts."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from zoned._core.handle import pointer
from zoned._core.native import ffi, lib
from zoned._core.owning import NVMETCP_TARGET
from zoned.device import Device, another
from zoned.export.connection import Connection, NotTakenError
from zoned.export.dhchap import DhChap, DhSecret
from zoned.export.discovery import DISCOVERY_NQN
from zoned.export.fabrics import Connected, ConnectError, Hello, Offer, Status, is_nqn
from zoned.export.portal import Limits, Portal, split_address
from zoned.export.serving import Export, Image, Served, begin, separate_names, where_to_listen

PREFIX = "nqn.2014-08.org.nvmexpress:uuid"
_MOST_NAMESPACES = 256
_LAST_CONTROLLER = 0xFFEF

Secrets = DhChap | Mapping[str, str | tuple[str, str]] | str | tuple[str, str]
"""A secret (DHHC-1:...) of all hosts, or by their NQNs; with the controller's, if it has one."""


@dataclass(frozen=True, slots=True)
class Controller(Connection):
    """A host that is connected, as it was when it was asked for; counts are those of all its
    queues.
    """

    subsystem: str
    """NQN."""
    host: str
    """NQN."""
    host_id: str
    """Hex."""
    address: str
    """Where its admin queue comes from, HOST:PORT."""
    controller: int
    queues: int
    """For I/O."""
    keep_alive: float
    """Seconds; 0: none."""
    since: datetime
    commands: int
    bytes_in: int
    """Data that it sent."""
    bytes_out: int
    """Data that it got."""
    errors: int
    """Commands that ended with another status than SUCCESS."""
    under_way: int
    """Commands without an answer yet, those that wait for an event included."""
    header_digest: bool
    data_digest: bool


class Subsystem(Served):
    """One subsystem: its NQN, its namespaces, who is connected. Made by `nvme`."""

    _KIND = NVMETCP_TARGET
    _PREFIX = "zd_serve_nvmetcp_"
    _LISTED = "struct zd_nvmetcp_queue"

    def __init__(self, nqn: str, disks: Sequence[Device], limits: Limits) -> None:
        """Not for users: see `nvme`."""
        found: dict[int, Device] = {}
        self._parts: dict[int, int] = {}
        for disk in disks:
            front = disk.geometry.nr_conventional
            for part in (lib.ZD_NVME_SEQUENTIAL, lib.ZD_NVME_CONVENTIONAL):
                # A disk that cannot be one is refused by C, with its reason.
                if part == lib.ZD_NVME_SEQUENTIAL or front:
                    found[len(found) + 1] = disk
                    self._parts[len(found)] = part
        if len(found) > _MOST_NAMESPACES:
            raise ValueError(f"a subsystem has {_MOST_NAMESPACES} namespaces at most")
        super().__init__(nqn, found, limits)
        self.nqn = nqn
        self._last = int.from_bytes(os.urandom(2), "little") % _LAST_CONTROLLER

    def _new(self, err: Any) -> int:
        limits = self._limits
        how = ffi.new("struct zd_nvmetcp_limits *")
        how.room, how.queues = int(limits.room), int(limits.queues)
        how.stall_ms = int(limits.stall * 1000) or 1
        return int(lib.zd_serve_nvmetcp_new(self.nqn.encode(), how, self._core.cell, err))

    def _add(self, number: int, disk: Device, err: Any) -> int:
        return int(
            lib.zd_serve_nvmetcp_namespace(
                self._core.raw, number, pointer(disk), self._parts[number], err
            )
        )

    def _called(self, number: int) -> str:
        return f"namespace {number}"

    def _ask_to_leave(self, grace: float) -> None:  # noqa: ARG002 - nobody can be asked
        with contextlib.suppress(ValueError):
            self._call("stop")

    @property
    def namespaces(self) -> dict[int, str | None]:
        """Path of the image of each namespace; None for a disk in RAM. One disk with conventional
        zones is two: they are an ordinary namespace behind the zoned one.
        """
        return self.images

    @property
    def controllers(self) -> list[Controller]:
        """Who is connected, by number; [] once it is closed."""
        queues: dict[int, list[Any]] = {}
        for raw in self._list():
            queues.setdefault(raw.controller, []).append(raw)
        found = []
        for number, some in sorted(queues.items()):
            some.sort(key=lambda raw: int(raw.queue))
            first = some[0]
            if first.queue:  # the admin queue has ended, and the others are about to
                continue
            found.append(
                Controller(
                    subsystem=self.nqn,
                    host=ffi.string(first.host).decode("utf-8", "replace"),
                    host_id=bytes(first.host_id).hex(),
                    address=ffi.string(first.address).decode("ascii", "replace"),
                    controller=number,
                    queues=len(some) - 1,
                    keep_alive=first.keep_alive / 1000,
                    since=datetime.fromtimestamp(first.since / 1e9, UTC),
                    header_digest=bool(first.digests & 1),
                    data_digest=bool(first.digests & 2),
                    **{
                        name: sum(getattr(raw, name) for raw in some)
                        for name in ("commands", "bytes_in", "bytes_out", "errors", "under_way")
                    },
                )
            )
        return found

    def as_dict(self) -> dict[str, object]:
        """What it is and who is connected."""
        return {
            "nqn": self.nqn,
            "namespaces": {str(number): path for number, path in self.images.items()},
            "sessions": [controller.as_dict() for controller in self.controllers],
        }

    # ------------------------------------------------------------ connecting

    def _offer(self, dhchap: DhChap | None, hosts: tuple[str, ...] | None) -> Offer:
        return Offer(
            self.nqn, dhchap, hosts, self._unavailable, self._new_controller, self._may_join
        )

    def _new_controller(self) -> int:
        used = {raw.controller for raw in self._list()}
        self._last = self._last % _LAST_CONTROLLER + 1
        while self._last in used:
            self._last = self._last % _LAST_CONTROLLER + 1
        return self._last

    def _may_join(self, host: str, host_id: bytes, controller: int, queue: int) -> str:
        queues = [raw for raw in self._list() if raw.controller == controller]
        for raw in queues:
            same = ffi.string(raw.host) == host.encode() and bytes(raw.host_id) == host_id
            if raw.queue == 0 and same:
                if any(other.queue == queue for other in queues):
                    return f"queue {queue} of controller {controller} is connected already"
                return ""
        return f"there is no controller {controller} of this host"

    def _begin(self, hello: Hello, sock: socket.socket, address: str) -> bool:
        """Hand a connection to C."""
        found = hello.result
        assert found is not None
        if hello.is_early:
            raise ConnectError(
                Status.SEQUENCE, "something came before the host was connected: it has to wait"
            )
        try:
            self._take(sock, self._parameters(found, address, hello.taken))
        except NotTakenError as error:
            status = Status.BUSY if error.busy else Status.PARAMETERS
            raise ConnectError(status, str(error), at=16, in_data=True) from None
        except ValueError:
            raise ConnectError(Status.BUSY, "the subsystem is stopping") from None
        hello.accept()
        return True

    @staticmethod
    def _parameters(found: Connected, address: str, taken: int) -> Any:
        how = ffi.new("struct zd_nvmetcp_connect *")
        how.host = found.host.encode()
        how.address = address.encode()[:63]
        how.host_id = list(found.host_id)
        how.controller, how.queue, how.depth = found.controller, found.queue, found.depth
        how.taken, how.keep_alive = taken, found.keep_alive
        how.align = found.align
        how.header_digest, how.data_digest = found.header_digest, found.data_digest
        how.no_flow_control = found.no_flow_control
        return how


class Nvme(Export[Subsystem]):
    """Subsystems that are being served. Made by `nvme`; a context manager; ``close()`` ends it.

    It belongs to the process that made it: a forked child has no part in it.
    """

    _KIND = "nvme"
    _ASKS_TO_LEAVE = False

    @staticmethod
    def _url(address: str, user: str | None, target: Subsystem) -> str:  # noqa: ARG004
        return f"nvme+tcp://{address}/{target.nqn}"

    @property
    def nqn(self) -> str:
        """Name of the (first) subsystem."""
        return self.targets[0].nqn

    @property
    def port(self) -> str:
        """Of `address`, as ``nvme connect --trsvcid`` takes it."""
        return str(split_address(self.address)[1])

    @property
    def controllers(self) -> list[Controller]:
        """Who is connected, to any subsystem."""
        return [one for target in self.targets for one in target.controllers]


def nvme(
    *images: Image,
    listen: str | Sequence[str] = "127.0.0.1:0",
    dhchap: Secrets | None = None,
    hosts: Sequence[str] | None = None,
    nqn: str | None = None,
    separate: bool = False,
    readonly: bool = False,
    no_auth: bool = False,
    limits: Limits | None = None,
) -> Nvme:
    """Serve disks by NVMe/TCP: ZNS namespaces for any host.

    Each of ``images`` is a disk's image, or a Device, whose disk is then opened once more; they are
    namespaces 1, 2, ... of one subsystem, or with ``separate`` of a subsystem each. Conventional
    zones are an ordinary namespace behind the zoned one of their disk. ``nqn`` is the subsystem's
    name; without it, it is made of the (first) disk's uuid, so that it stays.

    ``listen`` is HOST:PORT, or several; port 0 takes a free one. A discovery controller is at the
    same address. An address that others than this machine reach needs ``dhchap``, or
    ``no_auth=True`` said aloud. ``dhchap`` is a secret as ``nvme gen-dhchap-key`` makes it, a pair
    of the hosts' and the controller's, either by the NQNs of hosts, or a DhChap. ``hosts`` names
    those that may connect, with * and ?.

    Raises GeometryError for a disk of another dialect than zns, ValueError for settings that cannot
    be, and OSError from the host (address in use, FileNotFoundError, ...).
    """
    found = _dhchap_of(dhchap)
    guarded = found is not None or no_auth
    where = where_to_listen(images, listen, guarded=guarded, how="dhchap")
    if nqn is not None and (not is_nqn(nqn) or nqn == DISCOVERY_NQN):
        raise ValueError(f"{nqn!r} is no NQN: write one such as nqn.2026-01.org.example:disk1")
    for pattern in hosts or ():
        if not pattern or len(pattern) > 223:
            raise ValueError(f"{pattern!r} is no NQN of a host")
    bounds = limits or Limits()
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(another(image, readonly=readonly)) for image in images]
        targets = [Subsystem(name, some, bounds) for name, some in _arrange(disks, nqn, separate)]
        export = Nvme(targets, None)
        stack.pop_all()  # the disks are the export's from here on
    names = tuple(hosts) if hosts is not None else None
    begin(export, lambda: _portal(where, bounds, targets, found, names))
    return export


def _portal(
    listen: Sequence[str],
    limits: Limits,
    targets: Sequence[Subsystem],
    dhchap: DhChap | None,
    hosts: tuple[str, ...] | None,
) -> Portal[Hello]:
    offers = {target.nqn: target._offer(dhchap, hosts) for target in targets}
    by_name = {target.nqn: target for target in targets}

    def greet(addresses: Callable[[], Sequence[str]]) -> Hello:
        return Hello(offers, lambda: [split_address(one) for one in addresses()])

    def hand_on(hello: Hello, sock: socket.socket, address: str) -> bool:
        assert hello.result is not None
        return by_name[hello.result.offer.nqn]._begin(hello, sock, address)

    return Portal(listen, limits, greet, hand_on)


def _dhchap_of(secrets: Secrets | None) -> DhChap | None:
    if secrets is None or isinstance(secrets, DhChap):
        return secrets
    by_host = secrets if isinstance(secrets, Mapping) else {"*": secrets}

    def parse(one: str | tuple[str, str]) -> tuple[DhSecret, DhSecret | None]:
        if isinstance(one, str):
            return DhSecret.parse(one), None
        return DhSecret.parse(one[0]), DhSecret.parse(one[1])

    return DhChap({host: parse(one) for host, one in by_host.items()})


def _arrange(
    disks: Sequence[Device], nqn: str | None, separate: bool
) -> list[tuple[str, list[Device]]]:
    """Subsystems, by name, and their disks."""
    if not separate:
        return [(nqn or f"{PREFIX}:{disks[0].uuid}", list(disks))]
    names = separate_names(disks, PREFIX, nqn, "subsystems by nqn")
    return [(name, [disk]) for name, disk in zip(names, disks, strict=True)]


__all__ = ["Controller", "Nvme", "Subsystem", "nvme"]
