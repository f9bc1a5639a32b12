"""Runs scenarios on the kernel's own emulated disks; this file is what the guest executes.

Standard library only, and root in the guest: ``python -m kernel.guest SCENARIOS RECORDS`` reads scenarios as
JSON lines (kernel.scenario) and writes one JSON line of records for each. A scenario gets a fresh disk:
null_blk through configfs, driven by the block layer's ioctls and O_DIRECT reads and writes; scsi_debug
driven by SG_IO, so that no block layer stands between and the sense data is seen.

The other side imports ``payload``, ``describe`` and ``zone_text`` from here: both sides must agree on them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import json
import mmap
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

CONDITIONS = {0: "nw", 1: "em", 2: "oi", 3: "oe", 4: "cl", 0xD: "ro", 0xE: "fu", 0xF: "of"}
WP_VALID = {1, 2, 3, 4}
LONGEST = 4 << 20  # bytes of one read or write
Record = dict[str, Any]
SKIPPED = "not done here"
"""The error of a step that one of our sides has no call for: what the step left is compared, not what it gave."""


# ---------------------------------------------------------------- what both sides share


def payload(fill: int, at: int, length: int, block: int) -> bytes:
    """What step number ``fill`` writes: each block repeats its number and the step's, so that a read tells
    which write it sees.
    """
    first = at // block
    blocks = range(first, first - (-length // block))
    return b"".join(
        struct.pack("<II", number & 0xFFFFFFFF, fill) * (block // 8) for number in blocks
    )[:length]


def describe(data: bytes, block: int) -> str:
    """Data in short: ``zeros*3 ones*2 fill7@40*2``, per block; what nobody wrote as a checksum."""
    runs: list[list[Any]] = []  # [kind, value, count]
    for at in range(0, len(data), block):
        piece = data[at : at + block]
        word = piece[:8]
        if word * (len(piece) // 8) != piece:
            kind, value = "other", zlib.crc32(piece)
        elif word == bytes(8):
            kind, value = "zeros", 0
        elif word == b"\xff" * 8:
            kind, value = "ones", 0
        else:
            number, fill = struct.unpack("<II", word)
            kind, value = f"fill{fill}", number
        if runs and runs[-1][0] == kind:
            follows = runs[-1][1] + runs[-1][2] if kind.startswith("fill") else runs[-1][1]
            if value == follows:
                runs[-1][2] += 1
                continue
        runs.append([kind, value, 1])
    return " ".join(
        f"{kind}*{count}"
        if kind in ("zeros", "ones")
        else f"{kind}:{value:08x}*{count}"
        if kind == "other"
        else f"{kind}@{value}*{count}"
        for kind, value, count in runs
    )


def zone_text(condition: int, wp: int | None, *, non_seq: bool, reset: bool) -> str:
    """``oi:8192``: condition and write pointer in bytes from the zone's start, where it has one."""
    text = CONDITIONS.get(condition, f"{condition:#x}")
    if condition in WP_VALID:
        text += f":{wp}"
    return text + ("+non_seq" if non_seq else "") + ("+reset" if reset else "")


# ---------------------------------------------------------------- disks

Zone = tuple[int, int, int, int, int, int, bool, bool]
"""start, length, capacity, wp (bytes, absolute), type, condition, non_seq, reset."""


class Disk(ABC):
    """A fresh disk of the kernel. Each method is a kind of step; its result becomes the record."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.block: int = spec["block"]
        self.zone_size: int = spec["zone_size"]

    @abstractmethod
    def close(self) -> None:
        """The disk goes away."""

    @abstractmethod
    def zones(self) -> list[Zone]:
        """The whole report."""

    def layout(self) -> list[list[int]]:
        return [[kind, start, length, cap] for start, length, cap, _, kind, _, _, _ in self.zones()]

    def report(self) -> list[str]:
        return [
            zone_text(condition, wp - start, non_seq=non_seq, reset=reset)
            for start, _, _, wp, _, condition, non_seq, reset in self.zones()
        ]

    def do(self, step: dict[str, Any], number: int) -> Record:
        arguments = {name: value for name, value in step.items() if name != "do"}
        if step["do"] == "write":
            arguments["fill"] = number
        done = getattr(self, f"do_{step['do']}")(**arguments)
        return done if isinstance(done, dict) else {"result": done}


def _mib(value: int) -> int:
    if value % (1 << 20):
        raise ValueError(f"{value} bytes are no whole number of MiB, in which the kernel counts")
    return value >> 20


class ZoneCommands(Disk):
    """A disk with a call for all of them."""

    @abstractmethod
    def _zones(self, command: str, zone: int) -> Record: ...

    def do_open(self, zone: int) -> Record:
        return self._zones("open", zone)

    def do_close(self, zone: int) -> Record:
        return self._zones("close", zone)

    def do_finish(self, zone: int) -> Record:
        return self._zones("finish", zone)

    def do_reset(self, zone: int) -> Record:
        return self._zones("reset", zone)


class BlockDevice(ZoneCommands):
    """A disk through the block layer: ``fd`` is open for O_DIRECT, ``buffer`` has room for LONGEST bytes."""

    ZONE = struct.Struct("<QQQBBBB4xQ24x")  # struct blk_zone, in 512-byte sectors
    IOCTLS = {"reset": 131, "open": 134, "close": 135, "finish": 136}
    fd: int
    buffer: memoryview

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.nr_zones = -(-spec["size"] // spec["zone_size"])

    def zones(self) -> list[Zone]:
        # struct blk_zone_report; the report also makes the kernel look anew at write pointers it lost
        # track of after a failed write.
        buffer = bytearray(16 + 64 * self.nr_zones)
        struct.pack_into("<QII", buffer, 0, 0, self.nr_zones, 0)
        fcntl.ioctl(self.fd, 0xC0101282, buffer)
        _, count, _ = struct.unpack_from("<QII", buffer)
        return [
            (start << 9, length << 9, cap << 9, wp << 9, kind, cond, bool(non_seq), bool(reset))
            for start, length, wp, kind, cond, non_seq, reset, cap in self.ZONE.iter_unpack(
                bytes(buffer[16 : 16 + 64 * count])
            )
        ]

    def do_write(self, at: int, length: int, fill: int) -> Record:
        self.buffer[:length] = payload(fill, at, length, self.block)
        return self._try(lambda: os.pwritev(self.fd, [self.buffer[:length]], at))

    def do_read(self, at: int, length: int) -> Record:
        record = self._try(lambda: os.preadv(self.fd, [self.buffer[:length]], at))
        if record["result"] is not None:
            record["data"] = describe(bytes(self.buffer[: record["result"]]), self.block)
        return record

    def do_flush(self) -> Record:
        return self._try(lambda: os.fsync(self.fd))

    def _zones(self, command: str, zone: int, count: int = 1) -> Record:
        start = zone * self.zone_size
        end = min(start + count * self.zone_size, self.spec["size"])
        sectors = struct.pack("<QQ", start >> 9, (end - start) >> 9)
        request = 0x40101200 | self.IOCTLS[command]
        return self._try(lambda: (fcntl.ioctl(self.fd, request, sectors), 0)[1])

    def do_reset_all(self) -> Record:
        return self._zones("reset", 0, self.nr_zones)

    @staticmethod
    def _try(call: Any) -> Record:
        try:
            return {"result": call() or 0}
        except OSError as exc:
            return {"result": None, "error": errno.errorcode.get(exc.errno or 0, str(exc.errno))}


class NullBlk(BlockDevice):
    """null_blk, made through configfs."""

    BASE = "/sys/kernel/config/nullb"
    serial = 0

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        if not os.path.isdir(self.BASE):
            command("modprobe", "null_blk", "nr_devices=0")
        NullBlk.serial += 1
        name = f"judge{NullBlk.serial}"
        self.folder = f"{self.BASE}/{name}"
        os.mkdir(self.folder)
        settings = {
            "zoned": 1,
            "memory_backed": 1,
            "blocksize": self.block,
            "max_sectors": LONGEST >> 9,
            "size": _mib(spec["size"]),
            "zone_size": _mib(spec["zone_size"]),
            "zone_capacity": _mib(spec["zone_capacity"]),
            "zone_nr_conv": spec["conventional"],
            "zone_max_open": spec["max_open"],
            "zone_max_active": spec["max_active"],
            "power": 1,
        }
        for key, value in settings.items():
            try:
                self._set(key, value)
            except OSError as exc:
                os.rmdir(self.folder)
                raise ValueError(
                    f"null_blk refuses {key}={value} of {spec}: {exc.strerror}"
                ) from exc
        for key in ("zone_max_open", "zone_max_active", "zone_nr_conv"):
            # null_blk quietly changes limits that it cannot enforce.
            with open(f"{self.folder}/{key}") as file:
                got = int(file.read())
            if got != settings[key]:
                raise ValueError(f"null_blk made {key} {got} of {settings[key]}")
        path = f"/dev/{name}"
        wait_for(f"{path} did not appear", lambda: os.path.exists(path))
        with open(f"/sys/block/{name}/queue/max_sectors_kb", "w") as file:
            file.write(str(LONGEST >> 10))
        self.fd = open_disk(path, os.O_RDWR | os.O_DIRECT)
        self.buffer, _ = aligned_memory()

    def close(self) -> None:
        """The kernel takes its time to remove a disk; the next scenario need not wait for that."""
        os.close(self.fd)
        threading.Thread(target=os.rmdir, args=(self.folder,)).start()

    def _set(self, key: str, value: int) -> None:
        with open(f"{self.folder}/{key}", "w") as file:
            file.write(f"{value}\n")

    def do_condition(self, zone: int, to: str) -> Record:
        """See kernel.emulator for the two resets."""
        now = CONDITIONS[self.zones()[zone][5]]
        dead = {"ro": "read-only", "of": "offline"}
        if to == dead.get(now) or (to == "empty" and now not in dead):
            return {"result": 0}
        if to == "empty":
            to = dead[now]  # asking again for the condition that a zone has brings it back
        if now == "cl":
            self._zones("reset", zone)
        key = {"read-only": "zone_readonly", "offline": "zone_offline"}[to]
        record = self._try(lambda: self._set(key, zone * self.zone_size >> 9))
        if to == dead.get(now):
            self._zones("reset", zone)
        return record


class SgHeader(ctypes.Structure):
    """struct sg_io_hdr (scsi/sg.h)."""

    _fields_ = [
        ("interface_id", ctypes.c_int),
        ("dxfer_direction", ctypes.c_int),
        ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte),
        ("iovec_count", ctypes.c_ushort),
        ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p),
        ("cmdp", ctypes.c_void_p),
        ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p),
        ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte),
        ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort),
        ("resid", ctypes.c_int),
        ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    ]


class Generic:
    """A node of the kernel's sg driver, which takes any CDB. ``buffer`` is for the data, ``address`` where it lies."""

    NONE, TO_DEVICE, FROM_DEVICE = -1, -2, -3

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = open_disk(path, os.O_RDWR)
        self.buffer, self.address = aligned_memory()
        for _ in range(10):  # a new disk has unit attentions to report
            header, _ = self.send(bytes(6), self.NONE, 0)
            if not header.status:
                break

    def close(self) -> None:
        os.close(self.fd)

    def send(self, cdb: bytes, direction: int, length: int) -> tuple[SgHeader, bytes]:
        """What SG_IO said of a command whose data is in the buffer, and sense data (96 bytes)."""
        command = ctypes.create_string_buffer(cdb, len(cdb))
        sense = ctypes.create_string_buffer(96)
        header = SgHeader(
            interface_id=ord("S"),
            dxfer_direction=direction,
            cmd_len=len(cdb),
            mx_sb_len=len(sense),
            dxfer_len=length,
            dxferp=self.address if length else None,
            cmdp=ctypes.addressof(command),
            sbp=ctypes.addressof(sense),
            timeout=60000,
        )
        fcntl.ioctl(self.fd, 0x2285, header)
        return header, sense.raw


class ScsiDebug(ZoneCommands, Generic):
    """scsi_debug with zones, through SG_IO. One module load serves all disks of one shape: each is a host
    of its own, with a store of its own, added and removed.
    """

    DRIVER = "/sys/bus/pseudo/drivers/scsi_debug"
    ACTIONS = {"close": 1, "finish": 2, "open": 3, "reset": 4}
    GAP = 5
    loaded: list[str] | None = None

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        options = [
            f"zbc={spec['model'].removeprefix('host-')}",
            f"dev_size_mb={_mib(spec['size'])}",
            f"zone_size_mb={_mib(spec['zone_size'])}",
            f"zone_nr_conv={spec['conventional']}",
            f"zone_max_open={spec['max_open']}",
            f"sector_size={self.block}",
            "per_host_store=1",
            "delay=0",
            "add_host=0",
        ]
        if spec["zone_capacity"] != spec["zone_size"]:
            options.append(f"zone_cap_mb={_mib(spec['zone_capacity'])}")
        if spec["max_active"]:
            raise ValueError("scsi_debug has no limit of active zones")
        if ScsiDebug.loaded != options:
            command("modprobe", "sg")
            if os.path.isdir("/sys/module/scsi_debug"):  # of an earlier job, too
                command("rmmod", "scsi_debug")
            command("modprobe", "scsi_debug", *options)
            ScsiDebug.loaded = options
        before = set(_sg_nodes())
        self._hosts(1)
        wait_for("scsi_debug's disk did not appear", lambda: set(_sg_nodes()) - before)
        (path,) = set(_sg_nodes()) - before
        Generic.__init__(self, path)
        self._scrub()

    def close(self) -> None:
        Generic.close(self)
        self._hosts(-1)
        wait_for(f"{self.path} did not go away", lambda: not os.path.exists(self.path))

    def _scrub(self) -> None:
        """The store is one that an earlier host has left, with its data."""
        for start, length, _, _, kind, _, _, _ in self.zones():
            if kind == 1:
                self.buffer[:length] = bytes(length)
                done = [self._transfer(0x8A, start, length, self.TO_DEVICE)]
            else:
                zone = start // self.zone_size
                done = [self.do_finish(zone), self.do_reset(zone)]
            if any("error" in record for record in done):
                raise ValueError(f"the zone at {start} could not be cleared: {done}")

    def _hosts(self, by: int) -> None:
        with open(f"{self.DRIVER}/add_host", "w") as file:
            file.write(str(by))

    def _command(self, cdb: bytes, direction: int, length: int) -> Record:
        header, sense = self.send(cdb, direction, length)
        if header.sb_len_wr and header.status:
            return {"result": None, "error": _sense(sense)}
        if header.status or header.host_status or header.driver_status:
            status = (header.status, header.host_status, header.driver_status)
            return {"result": None, "error": "status {:x} host {:x} driver {:x}".format(*status)}
        return {"result": length - header.resid}

    def zones(self) -> list[Zone]:
        length = 64 * (2 * -(-self.spec["size"] // self.zone_size) + 2)
        cdb = struct.pack(">BBQIBB", 0x95, 0, 0, length, 0, 0)
        done = self._command(cdb, self.FROM_DEVICE, length)
        if done["result"] is None:
            raise ValueError(f"REPORT ZONES: {done['error']}")
        data = bytes(self.buffer[:length])
        listed = struct.unpack_from(">I", data)[0]
        if listed > length - 64:
            raise ValueError(
                f"REPORT ZONES lists {listed // 64} zones, and {self.spec} has not so many"
            )
        zones: list[Zone] = []
        for at in range(64, 64 + listed, 64):
            kind, bits, size, start, wp = struct.unpack_from(">BB6xQQQ", data, at)
            first, bytes_ = start * self.block, size * self.block
            if kind & 15 == self.GAP:
                # Capacity below size: scsi_debug shows the rest of the zone as a zone of type GAP.
                start0, length0, cap, *rest = zones.pop()
                zones.append((start0, length0 + bytes_, cap, *rest))
                continue
            flags = (bool(bits & 2), bool(bits & 1))
            zones.append((first, bytes_, bytes_, wp * self.block, kind & 15, bits >> 4, *flags))
        return zones

    def _transfer(self, opcode: int, at: int, length: int, direction: int) -> Record:
        cdb = struct.pack(">BBQIBB", opcode, 0, at // self.block, length // self.block, 0, 0)
        return self._command(cdb, direction, length)

    def do_write(self, at: int, length: int, fill: int) -> Record:
        self.buffer[:length] = payload(fill, at, length, self.block)
        return self._transfer(0x8A, at, length, self.TO_DEVICE if length else self.NONE)

    def do_read(self, at: int, length: int) -> Record:
        record = self._transfer(0x88, at, length, self.FROM_DEVICE if length else self.NONE)
        if record["result"] is not None:
            record["data"] = describe(bytes(self.buffer[: record["result"]]), self.block)
        return record

    def do_flush(self) -> Record:
        return self._command(struct.pack(">BBQIBB", 0x91, 0, 0, 0, 0, 0), self.NONE, 0)

    def _zone(self, action: str, lba: int, all_: bool) -> Record:
        cdb = struct.pack(">BBQIBB", 0x94, self.ACTIONS[action], lba, 0, int(all_), 0)
        return self._command(cdb, self.NONE, 0)

    def _zones(self, action: str, zone: int) -> Record:
        return self._zone(action, zone * self.zone_size // self.block, False)

    def do_open_all(self) -> Record:
        return self._zone("open", 0, True)

    def do_close_all(self) -> Record:
        return self._zone("close", 0, True)

    def do_finish_all(self) -> Record:
        return self._zone("finish", 0, True)

    def do_reset_all(self) -> Record:
        return self._zone("reset", 0, True)


def _sense(data: bytes) -> str:
    """``5/21/04``: key, ASC, ASCQ of fixed or descriptor format."""
    if data[0] & 0x7F in (0x72, 0x73):
        key, asc, ascq = data[1], data[2], data[3]
    else:
        key, asc, ascq = data[2], data[12], data[13]
    return f"{key & 15:x}/{asc:02x}/{ascq:02x}"


def _sg_nodes() -> list[str]:
    return [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("sg")]


def wait_for(otherwise: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.005)


def open_disk(path: str, flags: int) -> int:
    """A disk's node stands there a moment before the disk behind it does (ENXIO until then), and a node that has just
    been seen may have been the last disk's (ENOENT).
    """
    opened: list[int] = []

    def answers() -> bool:
        try:
            opened.append(os.open(path, flags))
        except OSError as exc:
            if exc.errno not in (errno.ENXIO, errno.ENOENT):
                raise
        return bool(opened)

    wait_for(f"{path} has no disk behind it", answers)
    return opened[0]


@functools.cache
def aligned_memory() -> tuple[memoryview, int]:
    """LONGEST bytes for data, in large pages: the block layer splits a request that lies in many pieces of memory,
    and then a part of a write that fails may be done. Also its address. All disks use the same.
    """
    huge = 2 << 20
    memory = mmap.mmap(-1, LONGEST + huge, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    skip = -address % huge
    view = memoryview(memory)[skip : skip + LONGEST]
    view[:] = bytes(LONGEST)
    return view, address + skip


def command(*argv: str) -> None:
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout.strip()}")


# ---------------------------------------------------------------- running

DISKS = {"null_blk": NullBlk, "scsi_debug": ScsiDebug}


def run(scenario: dict[str, Any]) -> Iterator[Record]:
    """First the layout, then a record for each step."""
    disk = DISKS[scenario["disk"]["kind"]](scenario["disk"])
    with contextlib.closing(disk):
        yield {"layout": disk.layout(), "zones": disk.report()}
        for number, step in enumerate(scenario["steps"], 1):
            try:
                record = disk.do(step, number)
                record["zones"] = disk.report()
            except Exception as exc:
                where = f"{scenario['name']}, step {number} {step}"
                raise RuntimeError(f"the interpreter fails at {where}: {exc!r}") from exc
            yield record


def main() -> None:
    with open(sys.argv[1]) as scenarios, open(sys.argv[2], "w") as out:
        out.writelines(json.dumps(list(run(json.loads(line)))) + "\n" for line in scenarios)


if __name__ == "__main__":
    main()
