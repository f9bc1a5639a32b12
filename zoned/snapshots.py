"""Snapshots of a disk: to go back to, and to make forks and crash survivors from.

Made by ``dev.snapshot()``. No data is copied: the core pins what is in use (native/zd.h). A
snapshot keeps its disk open, so close it, or use it as a context manager.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from zoned._lib import ffi, lib
from zoned.errors import raise_error
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from uuid import UUID

    from zoned.device import Device
    from zoned.geometry import Geometry


@dataclass(frozen=True, slots=True)
class ZoneState:
    """A zone in a snapshot, where it is not as new. Bytes count from the zone's start."""

    index: int
    type: ZoneType
    condition: ZoneCondition
    written: int
    durable: int
    finished: bool
    """FULL by FINISH, not by writing."""
    lost_from: int | None
    """Where a write begins that a fault rule marked lost: a power cut keeps no more than that."""


@dataclass(frozen=True, slots=True)
class UnflushedBlock:
    """A block of a conventional or preferred zone that was written since the last flush, and does
    not hold what it held then.
    """

    zone: int
    offset: int
    """Its first byte on the disk."""
    lost: bool
    """Written by a write that a fault rule marked lost: no power cut keeps it."""


def cut_of(kept: Mapping[int, int], undone: Iterable[int]) -> tuple[Any, Any]:
    """``struct zd_cut *``, and what must live as long as it."""
    zones = ffi.new("struct zd_survivor[]", [(z, 0, size) for z, size in sorted(kept.items())])
    blocks = ffi.new("uint64_t[]", sorted(undone))
    cut = ffi.new("struct zd_cut *")
    cut.kept, cut.nr_kept = zones, len(zones)
    cut.undone, cut.nr_undone = blocks, len(blocks)
    return cut, (zones, blocks)


class Snapshot:
    """A disk at one moment."""

    __slots__ = ("__weakref__", "_finalizer", "_geometry", "_handle", "_path", "_uuid")

    def __init__(self, handle: Any, device: Device) -> None:
        """Not for users: ``dev.snapshot()``."""
        self._handle = handle
        self._geometry = device.geometry
        self._uuid = device._uuid
        self._path = device.path
        self._finalizer = weakref.finalize(self, lib.zd_snapshot_free, handle)

    @classmethod
    def _take(cls, device: Device) -> Self:
        out = ffi.new("zd_snapshot **")
        device._call(lib.zd_snapshot_take, out)
        return cls(out[0], device)

    @property
    def geometry(self) -> Geometry:
        """Of the disk."""
        return self._geometry

    @property
    def uuid(self) -> UUID:
        """Of the disk."""
        return self._uuid

    @property
    def closed(self) -> bool:
        """Whether it was given up."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Give it up: what it alone kept is freed. Forks made from it live on."""
        self._finalizer()

    def fork(self) -> Device:
        """A disk of its own in RAM that begins as the snapshot."""
        return self._fork(None)

    def survivor(
        self, kept: Mapping[int, int] | None = None, undone: Iterable[int] | None = None
    ) -> Device:
        """A disk of its own in RAM, as the disk would be after a power cut at the snapshot.

        ``kept`` says for sequential zones how many bytes from their start survive (whole blocks, at
        most what was written); zones that it does not name keep what is durable. ``undone`` names
        blocks of unflushed() by their offsets: these show what they held at the last flush. None:
        all of them. Raises ValueError.
        """
        if undone is None:
            undone = [block.offset for block in self.unflushed()]
        return self._fork({} if kept is None else kept, undone)

    def unflushed(self) -> list[UnflushedBlock]:
        """The blocks of conventional and preferred zones whose newer content a power cut may take,
        ascending. None are known where ``dev.power_tracking`` is off.
        """
        err = ffi.new("struct zd_error *")
        room = 256
        while True:
            blocks = ffi.new("struct zd_snapshot_block[]", room)
            count = lib.zd_snapshot_unflushed(self._alive(), blocks, room, err)
            if count < 0:
                raise_error(count, err, None, self._path)
            if count <= room:
                break
            room = count
        return [UnflushedBlock(b.zone, b.offset, bool(b.lost)) for b in blocks[0:count]]

    def zones(self) -> list[ZoneState]:
        """The zones that are not as new, ascending."""
        count = lib.zd_snapshot_rows(self._alive(), ffi.NULL, 0)
        rows = ffi.new("struct zd_snapshot_zone[]", max(1, count))
        lib.zd_snapshot_rows(self._alive(), rows, count)
        return [
            ZoneState(
                row.zone,
                ZoneType(row.type),
                ZoneCondition(row.cond),
                row.written,
                row.durable,
                bool(row.finished),
                None if row.lost_from == 2**64 - 1 else row.lost_from,
            )
            for row in (rows[i] for i in range(count))
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot belongs to its process and cannot be copied or pickled")

    def __repr__(self) -> str:
        name = "in RAM" if self._path is None else repr(self._path)
        return f"<zoned.Snapshot of {name}{', closed' if self.closed else ''}>"

    def _alive(self) -> Any:
        if self.closed:
            raise ValueError("the snapshot is closed")
        return self._handle

    def _rollback(self, device: Device) -> None:
        handle = self._alive()
        err = ffi.new("struct zd_error *")
        code = device._native(lib.zd_rollback, handle, err)
        if code == -errno.EINVAL:
            raise ValueError(ffi.string(err.text).decode())
        if code < 0:
            raise_error(code, err, device, device.path)

    def _share(self) -> Snapshot:
        """The same snapshot, to be closed by itself."""
        other = object.__new__(Snapshot)
        other._handle = lib.zd_snapshot_share(self._alive())
        other._geometry, other._uuid, other._path = self._geometry, self._uuid, self._path
        other._finalizer = weakref.finalize(other, lib.zd_snapshot_free, other._handle)
        return other

    def _fork(
        self,
        kept: Mapping[int, int] | None,
        undone: Iterable[int] = (),
        kind: type[Device] | None = None,
    ) -> Device:
        from zoned.device import _forked

        handle = self._alive()
        cut, _keep = (ffi.NULL, None) if kept is None else cut_of(kept, undone)

        def make(out: Any, err: Any) -> int:
            code = int(lib.zd_fork(handle, cut, out, err))
            if code == -errno.EINVAL:
                raise ValueError(ffi.string(err.text).decode())
            return code

        return _forked(self, make, kind)
