"""What only zoned's own modules ask of a disk: whole tables of the core, as bytes."""

from __future__ import annotations

from zoned._core.handle import Handle, call, zone_number
from zoned._core.native import ffi, lib
from zoned.report import ROW


def report_rows(handle: Handle, start: int, count: int) -> bytes:
    """An array of ``struct zd_zone`` (report.ROW each); shorter at the last zone, empty behind."""
    size = max(0, min(count, handle.geometry.nr_zones - start))
    zones = ffi.new("struct zd_zone[]", size)
    got = call(handle, lib.zd_report, start, size, zones)
    return bytes(ffi.buffer(zones)[: got * ROW.size])


def zone_written(handle: Handle, zone: int) -> int:
    """Bytes from the zone's start on behind which reads give filler; what a dump has to carry.

    A sequential zone: what was written, known even when FULL, READ_ONLY or OFFLINE. A conventional
    zone: its length once anything was stored in it, else 0.
    """
    return call(handle, lib.zd_zone_written, zone_number(handle, "zone", zone))


def zone_states(handle: Handle) -> bytes:
    """``struct zd_zone_state`` (archive.STATE) of each zone, by one reading: zones that hold open
    or active resources are as they were at one moment. A read-only handle raises BlockingIOError
    where they never hold still.
    """
    states = ffi.new("struct zd_zone_state[]", handle.geometry.nr_zones)
    call(handle, lib.zd_zone_states, states)
    return bytes(ffi.buffer(states))


def zone_state(handle: Handle, zone: int) -> bytes:
    """One zone as in zone_states(), now."""
    state = ffi.new("struct zd_zone_state *")
    call(handle, lib.zd_zone_state, zone_number(handle, "zone", zone), state)
    return bytes(ffi.buffer(state))


def others_write(handle: Handle) -> bool:
    """Whether another handle, in any process, has the disk open for writing."""
    return bool(call(handle, lib.zd_others_write))
