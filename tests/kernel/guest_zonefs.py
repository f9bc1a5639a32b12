"""Plays zonefs scenarios on the kernel's own zonefs; this file is what the guest executes.

``python -m kernel.guest_zonefs SCENARIOS RECORDS``, as ``kernel.guest``: a scenario gets a fresh disk, null_blk or
scsi_debug, both through the block layer here; on it the superblock that the scenario brings, and a mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from kernel.guest import (
    LONGEST,
    BlockDevice,
    NullBlk,
    Record,
    ScsiDebug,
    aligned_memory,
    command,
    open_disk,
    wait_for,
)
from kernel.zonefs_calls import COUNTERS, LIBC, MountedPlayer, play

ROOT = "/tmp/zonefs"
RDONLY, REMOUNT = 1, 32  # MS_, sys/mount.h


class ScsiBlock(BlockDevice):
    """A scsi_debug disk by its block device."""

    PARAMETERS = "/sys/module/scsi_debug/parameters"

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        if not os.path.isdir("/sys/module/sd_mod"):
            command("modprobe", "sd_mod")
        self.below = ScsiDebug(spec)
        folder = f"/sys/class/scsi_generic/{os.path.basename(self.below.path)}/device/block"
        wait_for("sd did not take the disk", lambda: os.path.isdir(folder) and os.listdir(folder))
        (name,) = os.listdir(folder)
        path = f"/dev/{name}"
        queue = f"/sys/block/{name}/queue"
        ready = (path, f"{queue}/max_hw_sectors_kb", f"{queue}/max_sectors_kb")
        wait_for(f"{path} did not appear", lambda: all(map(os.path.exists, ready)))
        wait_for(
            f"sd does not take the disk {spec}",
            lambda: (
                _number(f"/sys/block/{name}/size") == spec["size"] >> 9
                and _number(f"{queue}/nr_zones") == self.nr_zones
            ),
        )
        with (
            open(f"{queue}/max_hw_sectors_kb") as most,
            open(f"{queue}/max_sectors_kb", "w") as file,
        ):
            file.write(str(min(LONGEST >> 10, int(most.read()))))
        self.path = path
        self.fd = open_disk(path, os.O_RDWR | os.O_DIRECT)
        self.buffer, _ = aligned_memory()

    def close(self) -> None:
        self.do_bad(0, 0)
        os.close(self.fd)
        self.below.close()

    def do_bad(self, at: int, length: int) -> Record:
        """Reads of these blocks end with a medium error; of no others any more."""
        settings = {
            "medium_error_start": at // self.block,
            "medium_error_count": length // self.block,
        }
        for name, value in settings.items():
            with open(f"{self.PARAMETERS}/{name}", "w") as file:
                file.write(str(value))
        with open(f"{ScsiDebug.DRIVER}/opts", "w") as file:
            file.write("2" if length else "0")
        return {"result": 0}


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


class BadNullBlk(NullBlk):
    """With bad blocks."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.path = f"/dev/{os.path.basename(self.folder)}"
        self.bad = ""

    def do_bad(self, at: int, length: int) -> Record:
        """Reads and writes of these blocks fail; of no others any more."""
        if self.bad:
            self._set_text("-" + self.bad)
        self.bad = f"{at >> 9}-{(at + length >> 9) - 1}" if length else ""
        if self.bad:
            self._set_text("+" + self.bad)
        return {"result": 0}

    def _set_text(self, text: str) -> None:
        with open(f"{self.folder}/badblocks", "w") as file:
            file.write(text)


class Kernel(MountedPlayer):
    """The kernel's zonefs."""

    def __init__(self, scenario: dict[str, Any], device: Any) -> None:
        super().__init__(scenario, ROOT)
        self.device = device
        self.attributes: list[int] = []  # the counters of a mount
        self.sysfs = f"/sys/fs/zonefs/{os.path.basename(self.device.path)}"
        self.format(bytes.fromhex(self.options["super"]))

    def format(self, superblock: bytes) -> None:
        device = self.device
        device.buffer[:4096] = superblock.ljust(4096, b"\0")
        if os.pwritev(device.fd, [device.buffer[:4096]], 0) != 4096:
            raise ValueError("the superblock was not written")
        if self.disk["conventional"] == 0 and "error" in device.do_finish(0):
            raise ValueError("zone 0 was not finished")

    def close(self) -> None:
        self.device.close()

    def zones(self) -> list[str]:
        report: list[str] = self.device.report()
        return report

    def counters(self) -> list[int]:
        return [int(os.pread(file, 16, 0)) for file in self.attributes]

    def mount(self, options: dict[str, Any]) -> None:
        self._mount_call(self.device.path, b"zonefs", options, 0)
        self.attributes = [os.open(f"{self.sysfs}/{name}", os.O_RDONLY) for name in COUNTERS]

    def remount(self, options: dict[str, Any]) -> None:
        self._mount_call(None, None, options, REMOUNT)

    def umount(self) -> None:
        if LIBC.umount2(ROOT.encode(), 0):
            number = ctypes.get_errno()
            raise OSError(number, f"umount: {os.strerror(number)}")
        while self.attributes:
            os.close(self.attributes.pop())

    def raw(self, do: str, arguments: dict[str, Any], number: int) -> Record:
        if do == "write_zone":
            record: Record = self.device.do_write(fill=number, **arguments)
            return record
        return self.device.do({"do": do.removesuffix("_zone"), **arguments}, number)

    @staticmethod
    def _mount_call(
        source: str | None, kind: bytes | None, options: dict[str, Any], flags: int
    ) -> None:
        words = [f"errors={options.get('errors', 'remount-ro')}"]
        words += ["explicit-open"] if options.get("explicit_open") else []
        flags |= RDONLY if options.get("ro") else 0
        at = source.encode() if source else None
        if LIBC.mount(at, ROOT.encode(), kind, ctypes.c_ulong(flags), ",".join(words).encode()):
            number = ctypes.get_errno()
            raise OSError(number, f"mount: {os.strerror(number)}")


def run(scenario: dict[str, Any], device: Any) -> list[Record]:
    player = Kernel(scenario, device)
    with contextlib.closing(player):
        return list(play(player, scenario))


def devices(scenarios: list[dict[str, Any]]) -> Iterator[Any]:
    """Each scenario's disk. To make a null_blk is mostly to wait for the kernel: the next one is made meanwhile."""
    with ThreadPoolExecutor(1) as ahead:
        coming: Future[Any] | None = None
        for number, scenario in enumerate(scenarios):
            disk = scenario["disk"]
            now: Any = coming.result() if coming else None
            if now is None:
                now = (BadNullBlk if disk["kind"] == "null_blk" else ScsiBlock)(disk)
            after = scenarios[number + 1]["disk"] if number + 1 < len(scenarios) else {}
            coming = ahead.submit(BadNullBlk, after) if after.get("kind") == "null_blk" else None
            yield now


def main() -> None:
    os.makedirs(ROOT, exist_ok=True)
    command("modprobe", "zonefs")
    with open(sys.argv[1]) as lines, open(sys.argv[2], "w") as out:
        scenarios = [json.loads(line) for line in lines]
        pairs = zip(scenarios, devices(scenarios), strict=True)
        out.writelines(json.dumps(run(*pair)) + "\n" for pair in pairs)


if __name__ == "__main__":
    main()
