"""Our side of zonefs scenarios: the strict mount (system calls, as the guest makes them) and ZoneFS in process.

Both stand on the emulator's disk in RAM, set as the kernel's disk is. Nothing here changes a result; where
the in-process door has no call for a step, its record says so.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import zonefs
from kernel.emulator import Emulator
from kernel.guest import SKIPPED, describe, payload
from kernel.scenario import Record, Scenario
from kernel.zonefs_calls import (
    MAGIC,
    MountedPlayer,
    Player,
    attempt,
    failed,
    file_text,
    flags_of,
    full_text,
    name_of,
    play,
    times_text,
)
from zoned import ZonedError
from zoned.faults import Fault


class Below(Emulator):
    """The disk: its commands answer with errno values, as ioctls do."""

    fault: Fault | None = None

    def format(self, superblock: bytes) -> None:
        self.device.pwrite(superblock.ljust(4096, b"\0"), 0)
        if self.disk.conventional == 0:
            self.device.finish_zone(0)

    def do_bad(self, at: int, length: int) -> Record:
        if self.fault is not None:
            self.fault.clear()
            self.fault = None
        if length:
            on = "read,write" if self.disk.kind == "null_blk" else "read"
            self.fault = self.device.faults.add("medium", on=on, range=(at, at + length))
        return {"result": 0}

    def raw(self, do: str, arguments: dict[str, Any], number: int) -> Record:
        self.steps = number
        name = "write" if do == "write_zone" else do.removesuffix("_zone")
        record: Record = getattr(self, f"do_{name}")(**arguments)
        return record

    def _try(self, call: Callable[[], int | None]) -> Record:
        try:
            return {"result": call() or 0}
        except ZonedError as exc:
            return {"result": None, "error": name_of(exc.errno)}


def _counters(counters: zonefs.SeqFileCounters) -> list[int]:
    return [
        counters.max_wro_seq_files,
        counters.nr_wro_seq_files,
        counters.max_active_seq_files,
        counters.nr_active_seq_files,
    ]


def _keywords(options: dict[str, Any]) -> dict[str, Any]:
    """A step's mount options as both our doors take them."""
    return {
        "errors": options.get("errors", "remount-ro"),
        "explicit_open": options.get("explicit_open", False),
        "readonly": options.get("ro", False),
    }


class OverEmulator(Player):
    """A file system of ours on an emulated disk."""

    fs: zonefs.Mount | zonefs.ZoneFS

    def begin(self, scenario: Scenario) -> None:
        self.below = Below(scenario.disk)
        self.below.format(bytes.fromhex(self.options["super"]))

    def close(self) -> None:
        self.below.close()

    def zones(self) -> list[str]:
        return self.below.report()

    def counters(self) -> list[int]:
        return _counters(self.fs.counters)

    def remount(self, options: dict[str, Any]) -> None:
        self.fs.remount(**_keywords(options))

    def raw(self, do: str, arguments: dict[str, Any], number: int) -> Record:
        return self.below.raw(do, arguments, number)


class Mounted(OverEmulator, MountedPlayer):
    """Through FUSE."""

    fs: zonefs.Mount

    def __init__(self, scenario: Scenario, root: str) -> None:
        super().__init__(scenario.as_json(), root)
        self.begin(scenario)

    def seen(self) -> tuple[bool, int, list[str]]:
        _, free, files = super().seen()
        return self.fs.options.readonly, free, files

    def mount(self, options: dict[str, Any]) -> None:
        self.fs = zonefs.mount(
            self.below.device, self.root, strict=True, allow_other=True, **_keywords(options)
        )

    def umount(self) -> None:
        """Somebody on this machine who looks at all mounts may have it in hand for a moment."""
        until = time.monotonic() + 30
        while True:
            try:
                return self.fs.unmount()
            except OSError:
                if self.calls.open or time.monotonic() > until:
                    raise
            time.sleep(0.01)


class InProcess(OverEmulator, Player):
    """Through ZoneFS and open_raw()."""

    fs: zonefs.ZoneFS

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario.as_json())
        self.begin(scenario)
        self.open: dict[str, Any] = {}
        self.names: list[str] = []

    def seen(self) -> tuple[bool, int, list[str]]:
        files = [file_text(self.fs.stat(name)) for name in self.names]
        return self.fs.options.readonly, self.fs.statvfs().f_bfree, files

    def tree(self) -> list[str]:
        names = [
            f"{folder}/{name}" for folder in self.fs.listdir() for name in self.fs.listdir(folder)
        ]
        every = {name: self.fs.stat(name or "/") for name in ["", *self.fs.listdir(), *names]}
        self.names = self.watch(names, [every[name].st_ino for name in names])
        return [f"{name or '/'} {full_text(status)}" for name, status in every.items()]

    def mount(self, options: dict[str, Any]) -> None:
        self.fs = zonefs.ZoneFS(self.below.device, **_keywords(options))

    def umount(self) -> None:
        self.fs.close()

    def close_files(self) -> None:
        while self.open:
            self.open.popitem()[1].close()

    def call(self, step: dict[str, Any], number: int) -> Record:
        arguments = {name: value for name, value in step.items() if name != "do"}
        if "fd" in arguments and step["do"] != "open" and arguments["fd"] not in self.open:
            return {"result": None, "error": "no such open file"}
        method = getattr(self, f"do_{step['do']}", None)
        if method is None or "user" in arguments or "file_limit" in arguments:
            return {"result": None, "error": SKIPPED}
        if step["do"] in ("pwrite", "write", "writev"):
            arguments["fill"] = number
        record: Record = method(**arguments)
        return record

    # ------------------------------------------------------------ the steps of Calls, as far as there are calls

    def _data(self, fill: int, at: int, length: int) -> bytes:
        return payload(fill, max(at, 0), length, self.disk["block"])

    def do_open(self, fd: str, path: str, flags: str) -> Record:
        if fd in self.open:
            return {"result": None, "error": "open already"}

        def call() -> None:
            self.open[fd] = self.fs.open_raw(path, flags_of(flags))

        return attempt(call)

    def do_close(self, fd: str) -> Record:
        return attempt(lambda: self.open.pop(fd).close())

    def do_pwrite(self, fd: str, at: int, length: int, fill: int, skew: int = 0) -> Record:
        return attempt(lambda: self.open[fd].pwrite(self._data(fill, at, length), at))

    def do_write(self, fd: str, length: int, fill: int) -> Record:
        return attempt(lambda: self.open[fd].write(self._data(fill, 0, length)))

    def do_writev(self, fd: str, at: int, lengths: list[int], fill: int) -> Record:
        """The kernel makes one write of the pieces."""
        return self.do_pwrite(fd, at, sum(lengths), fill)

    def do_pread(self, fd: str, at: int, length: int, skew: int = 0) -> Record:
        return self._read(lambda: self.open[fd].pread(length, at))

    def do_read(self, fd: str, length: int) -> Record:
        room = bytearray(length)
        return self._read(lambda: bytes(room[: self.open[fd].readinto(room)]))

    def do_readv(self, fd: str, at: int, lengths: list[int]) -> Record:
        return self.do_pread(fd, at, sum(lengths))

    def _read(self, call: Callable[[], bytes]) -> Record:
        try:
            data = call()
        except OSError as error:
            return failed(error)
        return {"result": len(data), "data": describe(data, self.disk["block"])}

    def do_lseek(self, fd: str, offset: int, whence: str = "SEEK_SET") -> Record:
        return attempt(lambda: self.open[fd].seek(offset, getattr(os, whence)))

    def do_ftruncate(self, fd: str, size: int) -> Record:
        return attempt(lambda: (self.open[fd].truncate(size), None)[1])

    def do_fsync(self, fd: str) -> Record:
        return attempt(self.open[fd].fsync)

    do_fdatasync = do_fsync

    def do_fstat(self, fd: str) -> Record:
        return self.do_stat(self.open[fd].name)

    def do_truncate(self, path: str, size: int) -> Record:
        return attempt(lambda: self.fs.truncate(path, size))

    def do_stat(self, path: str) -> Record:
        return attempt(lambda: full_text(self.fs.stat(path or "/")))

    def do_readdir(self, path: str) -> Record:
        def call() -> list[str]:
            base = path.strip("/")
            found = []
            for name in self.fs.listdir(path or "/"):
                child = f"{base}/{name}" if base else name
                kind = "dir" if self.fs.is_dir(child) else "file"
                found.append(f"{name} {kind} {self.fs.stat(child).st_ino}")
            return found

        return attempt(call)

    def do_chmod(self, path: str, mode: int) -> Record:
        return attempt(lambda: self.fs.chmod(path or "/", mode))

    def do_chown(self, path: str, uid: int, gid: int) -> Record:
        return attempt(lambda: self.fs.chown(path or "/", uid, gid))

    def do_utime(self, path: str, atime: int, mtime: int) -> Record:
        def call() -> list[Any]:
            self.fs.utime(path or "/", ns=(atime, mtime))
            return times_text(self.fs.stat(path or "/"))

        return attempt(call)

    def do_create(self, path: str, flags: str = "O_WRONLY|O_CREAT") -> Record:
        return attempt(lambda: self.fs.open_raw(path, flags_of(flags)).close())

    def do_statfs(self, path: str = "") -> Record:
        status = self.fs.statvfs()
        numbers = {
            name: getattr(status, f"f_{name}")
            for name in ("bsize", "blocks", "bfree", "bavail", "files", "ffree", "frsize")
        }
        numbers["namelen"] = status.f_namemax
        # statvfs() has no room for the type.
        return {
            "result": 0,
            "statfs": numbers,
            "type": f"{MAGIC:#x}",
            "fsid": f"{status.f_fsid:#x}",
        }


def mounted(scenario: Scenario) -> list[Record]:
    """The mount's records. Mount point and disk are gone afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="zonefs-judge-") as root:
        player = Mounted(scenario, os.path.realpath(root))
        with contextlib.closing(player):
            return list(play(player, scenario.as_json()))


def in_process(scenario: Scenario) -> list[Record]:
    """ZoneFS's records."""
    player = InProcess(scenario)
    with contextlib.closing(player):
        return list(play(player, scenario.as_json()))


DOORS: dict[str, Callable[[Scenario], list[Record]]] = {
    "mount": mounted,
    "process": in_process,
}
