"""Commands to the zones of a disk: opening, closing, finishing, resetting, conditions, descriptor
extensions and random write areas.

Each is a call of the core. `Device` has them all.
"""

from __future__ import annotations

import operator
from typing import SupportsIndex

from zoned._core.handle import zone_number
from zoned._core.native import ffi, lib
from zoned._core.raising import bad_number
from zoned.hostcommands import HostCommands
from zoned.units import counted
from zoned.zone import ZoneCondition

__all__ = ["ZoneCommands"]


class ZoneCommands(HostCommands):
    """What Device has of them, beside the commands that hosts have for caches and blocks."""

    __slots__ = ()

    def flush(self) -> None:
        """Make everything written before the call durable. Raises OSError when the host cannot
        sync.
        """
        self._call(lib.zd_flush)

    def open_zone(self, zone: SupportsIndex, count: SupportsIndex = 1) -> None:
        """Explicitly open zones zone .. zone+count-1, one after the other; ends at the first that
        fails.

        Raises TooManyOpenError, TooManyActiveError, InvalidTransitionError, ConventionalZoneError,
        ZoneReadOnlyError, ZoneOfflineError, OutOfRangeError (ZBC-2 5.4 OPEN ZONE; ZNS 1.1 Zone
        Send).
        """
        self._zones_command(lib.ZD_CMD_OPEN, zone, count)

    def close_zone(self, zone: SupportsIndex, count: SupportsIndex = 1) -> None:
        """Close open zones (ZBC-2 5.2 CLOSE ZONE). Range and errors as open_zone."""
        self._zones_command(lib.ZD_CMD_CLOSE, zone, count)

    def finish_zone(self, zone: SupportsIndex, count: SupportsIndex = 1) -> None:
        """Make zones FULL, written or not; their data becomes durable (ZBC-2 5.3 FINISH ZONE)."""
        self._zones_command(lib.ZD_CMD_FINISH, zone, count)

    def reset_zone(self, zone: SupportsIndex, count: SupportsIndex = 1) -> None:
        """Make zones EMPTY; their data is gone (ZBC-2 5.8 RESET WRITE POINTER)."""
        self._zones_command(lib.ZD_CMD_RESET, zone, count)

    def open_all(self) -> None:
        """Open every closed zone; zbc opens all of them or, when too many, none."""
        self._call(lib.zd_zone_mgmt, lib.ZD_CMD_OPEN_ALL, 0, 0)

    def close_all(self) -> None:
        """Close every open zone."""
        self._call(lib.zd_zone_mgmt, lib.ZD_CMD_CLOSE_ALL, 0, 0)

    def finish_all(self) -> None:
        """Finish every open and closed zone; empty ones stay empty."""
        self._call(lib.zd_zone_mgmt, lib.ZD_CMD_FINISH_ALL, 0, 0)

    def reset_all(self) -> None:
        """Reset every sequential zone that is neither READ_ONLY nor OFFLINE."""
        self._call(lib.zd_zone_mgmt, lib.ZD_CMD_RESET_ALL, 0, 0)

    def set_condition(self, zone: SupportsIndex, condition: ZoneCondition | int | str) -> None:
        """What a dying head does to a zone: READ_ONLY or OFFLINE; EMPTY brings it back, without its
        data.

        Raises OutOfRangeError, ValueError for any other condition.
        """
        wanted = ZoneCondition.parse(condition)
        if wanted is ZoneCondition.NOT_WP:
            wanted = ZoneCondition.EMPTY  # what a conventional zone comes back to
        if wanted not in (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE, ZoneCondition.EMPTY):
            raise ValueError(f"condition is {wanted.name}: it must be READ_ONLY, OFFLINE or EMPTY")
        self._call(lib.zd_set_condition, self._number("zone", zone), int(wanted))

    def set_zone_extension(self, zone: SupportsIndex, data: bytes) -> None:
        """Give an EMPTY zone a descriptor extension, which stays with it until its reset.

        ``data`` has ``geometry.zone_extension`` bytes. The zone becomes CLOSED, with nothing
        written, and takes an active resource. A power cut takes no extension away.

        Raises UnsupportedCommandError (the zones of this disk have none), InvalidTransitionError,
        ConventionalZoneError, TooManyActiveError, OutOfRangeError, ValueError for another length
        (ZNS 1.1 Set Zone Descriptor Extension).
        """
        size = self._geometry.zone_extension
        if size and len(data) != size:
            told = counted(len(data), "byte")
            raise ValueError(f"data has {told}: a zone's descriptor extension has {size} here")
        index = zone_number(self, "zone", zone)
        self._call(lib.zd_zone_set_extension, index, bytes(data), len(data))

    def zone_extension(self, zone: SupportsIndex) -> bytes | None:
        """The zone's descriptor extension; None where it has none. An OFFLINE zone shows none.

        Raises OutOfRangeError, PowerLossError.
        """
        room = bytearray(max(1, self._geometry.zone_extension))
        has = self._call(
            lib.zd_zone_extension, zone_number(self, "zone", zone), ffi.from_buffer(room)
        )
        return bytes(room) if has else None

    def open_zone_zrwa(self, zone: SupportsIndex) -> None:
        """Explicitly open a zone, which has a random write area (ZRWA) from then on.

        From the zone's write pointer on it may be written anywhere, again and again, up to twice
        ``geometry.zrwa_size``; a write that ends beyond the area moves the write pointer, by
        multiples of ``zrwa_granularity``, until it ends inside (implicit commit). Appends are
        refused. What the zone holds becomes durable. A zone that has an area keeps it, until it is
        reset, finished, full, READ_ONLY or OFFLINE; see write_area for what a power cut leaves.

        Raises what open_zone raises, WriteAreaUnavailableError (no area is left, or the write
        pointer is on no multiple of the granularity), ZoneOperationError (the disk has none; ZNS
        1.1 Zone Send, ZRWAA).
        """
        self._call(lib.zd_zone_open_zrwa, zone_number(self, "zone", zone))

    def commit_zone(self, zone: SupportsIndex, end: SupportsIndex) -> None:
        """Move the write pointer of a zone with a random write area to ``end`` (an offset on the
        disk), behind it or at the area's end at most: an explicit commit. What is committed is
        durable; blocks that were never written are zeros. A closed zone opens implicitly; one that
        is committed to its capacity is FULL.

        Raises CommitError (the zone has no area; not on a multiple of the granularity),
        WriteBoundaryError (not within the area), TooManyOpenError, ZoneOperationError (the disk has
        none), ConventionalZoneError, OutOfRangeError (ZNS 1.1 Zone Send, Flush Explicit ZRWA
        Range).
        """
        index, to = zone_number(self, "zone", zone), operator.index(end)
        if not 0 <= to < 2**64:
            raise bad_number(self, "end", to)
        self._call(lib.zd_zone_commit_zrwa, index, to)

    def power_cycle(self) -> None:
        """An orderly power cycle: flush, then open zones become CLOSED, or EMPTY where nothing is
        written.
        """
        self._call(lib.zd_power_cycle)

    def _zones_command(self, command: int, zone: SupportsIndex, count: SupportsIndex) -> None:
        first = self._number("zone", zone)
        self._call(lib.zd_zone_mgmt, command, first, self._number("count", count))
