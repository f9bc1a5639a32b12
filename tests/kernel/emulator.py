"""Runs scenarios on our own emulated disk, through the Python API, and gives records like the guest's.

Where what the kernel's side does to its disk is more than one command, this side does the same commands;
each such place says what the kernel does. Nothing here changes a result.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable

import zoned
from kernel.guest import describe, payload, zone_text
from kernel.scenario import Disk, Record, Scenario, Step
from zoned import ZoneCondition


def device(disk: Disk, implicit_close: str | None = None) -> zoned.Device:
    """The same disk in memory."""
    null_blk = disk.kind == "null_blk"
    kernels = "round-robin" if null_blk else "lowest"
    return zoned.memory(
        size=disk.size,
        zone_size=disk.zone_size,
        zone_capacity=disk.zone_capacity,
        conventional=disk.conventional,
        logical_block=disk.block,
        physical_block=disk.block,
        max_open=disk.max_open,
        max_active=disk.max_active,
        dialect="nullblk" if null_blk else "zbc",
        model=disk.model,
        implicit_close=implicit_close or kernels,
        unrestricted_read=True,
    )


class Emulator:
    """One disk under a scenario."""

    def __init__(self, disk: Disk, *, implicit_close: str | None = None) -> None:
        self.disk = disk
        self.device = device(disk, implicit_close)
        self.steps = 0

    def close(self) -> None:
        self.device.close()

    def layout(self) -> list[list[int]]:
        return [
            [int(zone.type), zone.start, zone.length, zone.capacity] for zone in self.device.zones
        ]

    def report(self) -> list[str]:
        # scsi_debug never recommends a reset.
        recommends = self.disk.kind != "scsi_debug"
        return [
            zone_text(
                int(zone.condition),
                None if zone.wp is None else zone.wp - zone.start,
                non_seq=zone.non_seq,
                reset=zone.reset_recommended and recommends,
            )
            for zone in self.device.zones
        ]

    def first(self) -> Record:
        return {"layout": self.layout(), "zones": self.report()}

    def do(self, step: Step) -> Record:
        self.steps += 1
        record: Record = getattr(self, f"do_{step.do}")(**step.arguments)
        record["zones"] = self.report()
        return record

    def do_write(self, at: int, length: int) -> Record:
        data = payload(self.steps, at, length, self.disk.block)
        return self._try(lambda: self.device.pwrite(data, at))

    def do_read(self, at: int, length: int) -> Record:
        got = b""

        def call() -> int:
            nonlocal got
            got = self.device.pread(length, at)
            return len(got)

        record = self._try(call)
        if record["result"] is not None:
            record["data"] = describe(got, self.disk.block)
        return record

    def do_flush(self) -> Record:
        return self._try(self.device.flush)

    def do_open(self, zone: int) -> Record:
        return self._try(lambda: self.device.open_zone(zone))

    def do_close(self, zone: int) -> Record:
        return self._try(lambda: self.device.close_zone(zone))

    def do_finish(self, zone: int) -> Record:
        return self._try(lambda: self.device.finish_zone(zone))

    def do_reset(self, zone: int) -> Record:
        return self._try(lambda: self.device.reset_zone(zone))

    def do_open_all(self) -> Record:
        return self._try(self.device.open_all)

    def do_close_all(self) -> Record:
        return self._try(self.device.close_all)

    def do_finish_all(self) -> Record:
        return self._try(self.device.finish_all)

    def do_reset_all(self) -> Record:
        return self._try(self.device.reset_all)

    def do_condition(self, zone: int, to: str) -> Record:
        now = self.device.zones[zone].condition
        healthy = now not in (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE)
        if to == "empty" and healthy:
            return {"result": 0}
        if now is ZoneCondition.CLOSED:
            # null_set_zone_cond() finishes a healthy zone first, and goes on if there are too few resources for
            # that; a zone that was closed counts as closed for ever then. So both sides reset such a zone.
            self.device.reset_zone(zone)
        if healthy:
            # This FINISH may close another zone to make room.
            with contextlib.suppress(zoned.ZonedError):
                self.device.finish_zone(zone)
        record = self._try(lambda: self.device.set_condition(zone, to))
        if to == "empty":
            # The block layer, which tracks write pointers itself, learns of the new one by this only.
            self.device.reset_zone(zone)
        return record

    def _try(self, call: Callable[[], int | None]) -> Record:
        try:
            return {"result": call() or 0}
        except zoned.ZonedError as exc:
            if self.disk.kind == "null_blk":
                name = errno.errorcode[exc.errno or 0]
                return {"result": None, "error": name}
            key, asc, ascq = exc.sense or (0, 0, 0)
            return {"result": None, "error": f"{key:x}/{asc:02x}/{ascq:02x}"}


def run(scenario: Scenario) -> list[Record]:
    """First the layout, then a record for each step."""
    emulator = Emulator(scenario.disk)
    with contextlib.closing(emulator):
        return [emulator.first(), *(emulator.do(step) for step in scenario.steps)]
