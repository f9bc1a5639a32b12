"""Snapshots of a disk: to go back to, and to make forks and crash survivors from.

Made by ``dev.snapshot()``. No data is copied: the core pins what is in use (zoned/snapshot.h). A
snapshot keeps its disk open, so close it, or use it as a context manager. Any number of threads may
use one; close() waits for them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from zoned._core.handle import Handle, OfDisk, call, forked, pointer
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import SNAPSHOT, Owned
from zoned._core.raising import raise_error
from zoned.zone import ZoneCondition, ZoneType

if TYPE_CHECKING:
    from zoned.device import Device


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


PowerCut = tuple[Any, Any]
"""``struct zd_cut *``, and what must live as long as it."""


def _cut_of(kept: Mapping[int, int], undone: Iterable[int]) -> PowerCut:
    """What zones keep, by their bytes, and which blocks are undone, by their offsets."""
    zones = ffi.new("struct zd_survivor[]", [(z, 0, size) for z, size in sorted(kept.items())])
    blocks = ffi.new("uint64_t[]", sorted(undone))
    cut = ffi.new("struct zd_cut *")
    cut.kept, cut.nr_kept = zones, len(zones)
    cut.undone, cut.nr_undone = blocks, len(blocks)
    return cut, (zones, blocks)


class Fates:
    """What a power cut at a snapshot may leave of each thing that is not durable: the core's
    ``struct zd_fate`` (zoned/snapshot.h). One choice for each is a survivor.
    """

    __slots__ = ("_count", "_raw", "choices")

    def __init__(self, fates: Any, count: int, free: int) -> None:
        """``free``: the first so many of them have choices."""
        self._raw, self._count = fates, count
        self.choices: tuple[int, ...] = tuple(fate.choices for fate in fates[0:free])
        """How many each has."""

    def cut(self, choice: Sequence[int]) -> PowerCut:
        """What leaves the survivor of these choices. Raises ValueError for one that cannot be."""
        if len(choice) != len(self.choices):
            raise ValueError(f"a survivor has {len(self.choices)} choices, not {len(choice)}")
        cut = ffi.new("struct zd_cut *")
        chosen = ffi.new("uint64_t[]", list(choice))
        kept = ffi.new("struct zd_survivor[]", max(1, self._count))
        undone = ffi.new("uint64_t[]", max(1, self._count))
        count = self._count
        if lib.zd_fates_cut(self._raw, count, chosen, len(choice), kept, undone, cut) < 0:
            raise ValueError("there is no such survivor")
        return cut, (kept, undone)

    def taken_back(self, choice: Sequence[int]) -> list[int]:
        """Offsets of the blocks that show what they held at the last flush. Raises ValueError."""
        cut, (_kept, undone) = self.cut(choice)
        return list(undone[0 : cut.nr_undone])


class Snapshot(OfDisk, Owned):
    """A disk at one moment."""

    __slots__ = ("__weakref__", "_forks_as", "_geometry", "_path", "_uuid")

    def __init__(self, of: Handle | Snapshot, forks_as: type[Device]) -> None:
        """Not for users: ``dev.snapshot()``. ``forks_as`` is what its forks are."""
        super().__init__(SNAPSHOT)
        self._forks_as = forks_as
        self._geometry = of.geometry
        self._uuid = of.uuid
        self._path = of.path

    @classmethod
    def take(cls, device: Handle, forks_as: type[Device]) -> Self:
        """Of the disk now."""
        return cls._made(lib.zd_snapshot_take, device, forks_as)

    @classmethod
    def look(cls, device: Handle, forks_as: type[Device]) -> Self:
        """By a handle that may only read: for zones() and unflushed(), which are of one moment
        where two looks tell the same.
        """
        return cls._made(lib.zd_snapshot_look, device, forks_as)

    @classmethod
    def _made(cls, make: Callable[..., int], device: Handle, forks_as: type[Device]) -> Self:
        self = cls(device, forks_as)
        try:
            call(device, make, self.cell)
        except BaseException:
            self.close()
            raise
        return self

    def fork(self) -> Device:
        """A disk of its own in RAM that begins as the snapshot."""
        return self.forked(None)

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
        return self.forked(_cut_of({} if kept is None else kept, undone))

    def unflushed(self) -> list[UnflushedBlock]:
        """The blocks of conventional and preferred zones whose newer content a power cut may take,
        ascending. None are known where ``dev.power_tracking`` is off.
        """
        err = ffi.new("struct zd_error *")
        room = 256
        while True:
            blocks = ffi.new("struct zd_snapshot_block[]", room)
            with Guard(self):
                count = lib.zd_snapshot_unflushed(self.raw, blocks, room, err)
            if count < 0:
                raise_error(count, err, None, self._path)
            if count <= room:
                break
            room = count
        return [UnflushedBlock(b.zone, b.offset, bool(b.lost)) for b in blocks[0:count]]

    def zones(self) -> list[ZoneState]:
        """The zones that are not as new, ascending."""
        with Guard(self):
            count = lib.zd_snapshot_rows(self.raw, ffi.NULL, 0)
            rows = ffi.new("struct zd_snapshot_zone[]", max(1, count))
            lib.zd_snapshot_rows(self.raw, rows, count)
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

    def fates(self, blocks: Sequence[UnflushedBlock]) -> Fates:
        """What a power cut may leave of zones and blocks; ``blocks`` is what unflushed() gave."""
        raw = ffi.new("struct zd_snapshot_block[]", [(b.zone, b.lost, b.offset) for b in blocks])
        free = ffi.new("uint64_t *")
        with Guard(self):
            room = lib.zd_snapshot_rows(self.raw, ffi.NULL, 0) + len(blocks)
            fates = ffi.new("struct zd_fate[]", max(1, room))
            count = lib.zd_snapshot_fates(self.raw, raw, len(blocks), fates, free)
        return Fates(fates, count, free[0])

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Snapshot belongs to its process and cannot be copied or pickled")

    def __repr__(self) -> str:
        name = "in RAM" if self._path is None else repr(self._path)
        return f"<zoned.Snapshot of {name}{', closed' if self.closed else ''}>"

    def put_back(self, device: Handle) -> None:
        """What ``dev.rollback(snapshot)`` does."""
        err = ffi.new("struct zd_error *")
        with Guard(device, self):
            code = lib.zd_rollback(pointer(device), self.raw, err)
        if code == -errno.EINVAL:
            raise ValueError(ffi.string(err.text).decode())
        if code < 0:
            raise_error(code, err, device, device.path)

    def share(self) -> Snapshot:
        """The same snapshot, to be closed by itself."""
        other = Snapshot(self, self._forks_as)
        with Guard(self):
            lib.zd_snapshot_share(self.raw, other.cell)
        return other

    def forked(
        self,
        by: PowerCut | None,
        kind: type[Device] | None = None,
        crash_id: str | None = None,
    ) -> Device:
        """A fork (``by`` None), or what a power cut leaves, with an id; ``kind``: of a class of its
        own.
        """
        cut, _keep = (ffi.NULL, None) if by is None else by

        def make(out: Any, err: Any) -> int:
            with Guard(self):
                code = int(lib.zd_fork(self.raw, cut, out, err))
            if code == -errno.EINVAL:
                raise ValueError(ffi.string(err.text).decode())
            return code

        return forked(self, make, kind or self._forks_as, crash_id)
