"""zonefs scenarios written by hand: every row of the errno table, every errors= mode, each mount option.

``scenarios()`` gives them all; the tests have one case for each by its name. Most are played on both of the
kernel's disks; what needs zones that die is played on null_blk, which alone can let them.
"""

from __future__ import annotations

import functools
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import zonefs
from kernel import emulator
from kernel.scenario import MIB, Disk, Scenario, Step

NULL_BLK = Disk("null_blk", size=12 * MIB)
SCSI_DEBUG = Disk("scsi_debug", size=12 * MIB)
BOTH = (NULL_BLK, SCSI_DEBUG)
UUID = uuid.UUID("6d6f6465-6c73-4d61-8b65-7a6f6e657321")
MODES = ("remount-ro", "zone-ro", "zone-offline", "repair")
READ, WRITE, UPDATE = "O_RDONLY", "O_WRONLY|O_DIRECT", "O_RDWR|O_DIRECT"


@functools.cache
def _superblock(disk: Disk, options: tuple[tuple[str, Any], ...]) -> bytes:
    device = emulator.device(disk)
    try:
        zonefs.mkfs(device, uuid=UUID, **dict(options))
        return device.pread(4096, 0)
    finally:
        device.close()


def superblock(disk: Disk, **options: Any) -> bytes:
    """What our mkfs writes to such a disk: it is what the kernel mounts."""
    return _superblock(disk, tuple(sorted(options.items())))


class Script:
    """Collects the steps of a scenario. Files by path, open files by a letter, places in blocks of the disk."""

    def __init__(
        self,
        disk: Disk,
        *,
        mkfs: dict[str, Any] | None = None,
        mount: bool = True,
        doors: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        self.disk = disk
        self.steps: list[Step] = []
        self.super = superblock(disk, **(mkfs or {}))
        self.mount_options = options if mount else None
        self.doors = doors
        self.first_seq = max(disk.conventional, 1)
        """Zone of seq/0."""

    def step(self, do: str, **arguments: Any) -> None:
        self.steps.append(Step(do, arguments))

    def scenario(self, name: str) -> Scenario:
        options: dict[str, Any] = {
            "super": self.super.rstrip(b"\0").hex(),
            "mount": self.mount_options,
        }
        if self.doors:
            options["doors"] = list(self.doors)
        return Scenario(name, self.disk, tuple(self.steps), options)

    @property
    def blocks(self) -> int:
        """Of a sequential zone."""
        return min(self.disk.zone_capacity, self.disk.zone_size) // self.disk.block

    def zone(self, path: str) -> int:
        group, number = path.split("/")
        return int(number) + (self.first_seq if group == "seq" else 1)

    # ------------------------------------------------------------ the steps

    def open(self, fd: str, path: str, flags: str = UPDATE) -> None:
        self.step("open", fd=fd, path=path, flags=flags)

    def close(self, *fds: str) -> None:
        for fd in fds:
            self.step("close", fd=fd)

    def pwrite(self, fd: str, block: int, count: int = 1) -> None:
        self.step("pwrite", fd=fd, at=block * self.disk.block, length=count * self.disk.block)

    def pread(self, fd: str, block: int, count: int = 1) -> None:
        self.step("pread", fd=fd, at=block * self.disk.block, length=count * self.disk.block)

    def truncate(self, path: str, blocks: int) -> None:
        self.step("truncate", path=path, size=blocks * self.disk.block)

    def fill(self, path: str, blocks: int, fd: str = "z") -> None:
        """By an open file of its own."""
        self.open(fd, path, WRITE)
        self.pwrite(fd, 0, blocks)
        self.close(fd)

    def below(self, command: str, path: str) -> None:
        """open, close, finish or reset: a zone command that the file system does not know of."""
        self.step(f"{command}_zone", zone=self.zone(path))

    def write_below(self, path: str, block: int, count: int = 1) -> None:
        at = self.disk.start(self.zone(path)) + block * self.disk.block
        self.step("write_zone", at=at, length=count * self.disk.block)

    def kill(self, path: str, to: str) -> None:
        """To read-only or offline; empty brings it back."""
        self.step("condition", zone=self.zone(path), to=to)

    def bad(self, path: str, block: int, count: int = 1) -> None:
        at = self.disk.start(self.zone(path)) + block * self.disk.block
        self.step("bad", at=at, length=count * self.disk.block)

    def all_good(self) -> None:
        self.step("bad", at=0, length=0)

    def cycle(self, **options: Any) -> None:
        self.step("umount")
        self.step("mount", **options)

    def use_open(self, fd: str) -> None:
        """Each thing that can be done with an open file."""
        block = self.disk.block
        self.step("pread", fd=fd, at=0, length=block)
        self.step("pwrite", fd=fd, at=2 * block, length=block)
        self.step("pwrite", fd=fd, at=0, length=block)
        self.step("fsync", fd=fd)
        self.step("fstat", fd=fd)
        self.step("ftruncate", fd=fd, size=block)
        self.step("ftruncate", fd=fd, size=0)

    def use(self, path: str, *, all_of_it: bool = True) -> None:
        """Each thing that can be done with a file by its name."""
        block = self.disk.block
        for flags in (READ, "O_RDONLY|O_DIRECT") if all_of_it else (READ,):
            self.open("r", path, flags)
            self.step("pread", fd="r", at=0, length=2 * block)
            self.step("lseek", fd="r", offset=0, whence="SEEK_END")
            self.step("fsync", fd="r")
            self.close("r")
        modes = (WRITE, "O_RDWR", "O_WRONLY|O_DIRECT|O_APPEND", "O_WRONLY|O_TRUNC")
        for flags in modes if all_of_it else (UPDATE,):
            self.open("w", path, flags)
            self.step("write", fd="w", length=block)
            self.close("w")
        for size in (block, self.blocks * block, 0) if all_of_it else (0,):
            self.step("truncate", path=path, size=size)
        self.step("chmod", path=path, mode=0o600)
        if all_of_it:
            self.step("chown", path=path, uid=7, gid=8)
            self.step("utime", path=path, atime=10**9, mtime=2 * 10**9)


Case = Callable[[Script], None]
_cases: list[tuple[str, Case, tuple[Disk, ...], dict[str, Any]]] = []


def case(*disks: Disk, name: str = "", **options: Any) -> Callable[[Case], Case]:
    """Registers a scenario for each disk. Options are those of Script."""

    def register(build: Case) -> Case:
        label = name or build.__name__.replace("_", "-")
        _cases.append((label, build, disks or BOTH, options))
        return build

    return register


def each(names: Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]) -> Callable[[Case], Case]:
    def register(build: Case) -> Case:
        for name, disks, options in names:
            case(*disks, name=name, **options)(build)
        return build

    return register


def scenarios() -> Iterator[Scenario]:
    taken: dict[str, int] = {}
    for label, build, disks, options in _cases:
        for disk in disks:
            script = Script(disk, **options)
            build(script)
            name = label if len(disks) == 1 else f"{disk.kind}-{label}"
            taken[name] = taken.get(name, 0) + 1
            yield script.scenario(name if taken[name] == 1 else f"{name}-{taken[name]}")


def small(disk: Disk, **changes: Any) -> Disk:
    return replace(disk, **changes)


# ---------------------------------------------------------------- the tree


def _trees() -> Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]:
    for conventional in (0, 1, 2, 4):
        disks = tuple(small(disk, conventional=conventional) for disk in BOTH)
        yield f"tree-{conventional}-conventional", disks, {}
    disks = tuple(small(disk, conventional=4) for disk in BOTH)
    yield "tree-aggregated", disks, {"mkfs": {"aggregate_conventional": True}}
    owners = {"uid": 12, "gid": 345, "perm": 0o604, "label": "owned"}
    yield "tree-owned", BOTH, {"mkfs": owners}
    gaps = tuple(small(disk, size=24 * MIB, zone_size=2 * MIB) for disk in BOTH)
    yield "tree-capacity-below-size", gaps, {}
    yield "tree-512", tuple(small(disk, block=512) for disk in BOTH), {}
    uneven = tuple(
        small(disk, size=23 * MIB, zone_size=2 * MIB, zone_capacity=2 * MIB) for disk in BOTH
    )
    yield "tree-smaller-last-zone", uneven, {}


@each(_trees())
def _tree(script: Script) -> None:
    for path in ("", ".", "cnv", "seq", "cnv/0", "seq/0", "seq/..", "cnv/../seq/1"):
        script.step("stat", path=path)
    names = (
        "x",
        "seq/00",
        "seq/01",
        "seq/x",
        "seq/0x",
        "seq/-1",
        "seq/+1",
        "seq/99",
        "seq/0/x",
        "x/y",
    )
    long = ("1" * 16, "1" * 17, "1" * 300)
    for name in (*names, *(f"seq/{name}" for name in long), "y" * 17, "cnv/9"):
        script.step("stat", path=name)
    for path in ("", "cnv", "seq", "seq/0", "none"):
        script.step("readdir", path=path)
    script.step("statfs", path="")
    script.fill("seq/1", 3)
    script.fill("seq/2", script.blocks)
    last = 12 - script.first_seq - 1
    script.fill(f"seq/{last}", 2)
    script.truncate(f"seq/{last}", script.blocks)
    script.truncate("seq/3", script.blocks)
    script.step("statfs", path="")
    script.step("stat", path="seq/1")
    script.step("stat", path="seq/3")


@case()
def names_that_cannot_be(script: Script) -> None:
    for path in ("new", "seq/new", "seq/77", "cnv/x", "seq/0/x", "none/x", "seq/" + "9" * 17):
        script.step("create", path=path)
        script.step("create", path=path, flags="O_WRONLY|O_CREAT|O_EXCL")
        script.step("create", path=path, flags="O_RDONLY")
        script.step("mkdir", path=path)
        script.step("mknod", path=path)
        script.step("unlink", path=path)
        script.step("rmdir", path=path)
        script.step("link", path="seq/0", to=path)
        script.step("symlink", path="seq/0", to=path)
        script.step("rename", path="seq/0", to=path)
        script.step("rename", path=path, to="seq/0")
        script.step("truncate", path=path, size=0)
        script.step("chmod", path=path, mode=0o600)
    for path in ("seq/0", "cnv/0", "seq", "cnv"):
        for do in ("mkdir", "mknod", "unlink", "rmdir"):
            script.step(do, path=path)
        script.step("create", path=path, flags="O_WRONLY|O_CREAT|O_EXCL")
        for to in ("seq/0", "seq/1", "cnv/0", "seq"):
            script.step("rename", path=path, to=to)
            script.step("link", path=path, to=to)
            script.step("symlink", path=path, to=to)
    script.step("create", path="seq/0", flags="O_WRONLY|O_CREAT")
    script.step("create", path="seq/0", flags="O_WRONLY|O_DIRECTORY")
    script.step("create", path="seq", flags="O_WRONLY")
    script.step("create", path="seq", flags="O_RDWR|O_CREAT")
    script.step("create", path="seq", flags="O_RDONLY|O_DIRECTORY")
    script.step("truncate", path="seq", size=0)
    script.step("truncate", path="", size=4096)


@case(ro=True)
def names_on_a_mount_that_is_read_only(script: Script) -> None:
    for path in ("seq/new", "seq/0", "seq/0/x"):
        for do in ("create", "mkdir", "mknod", "unlink", "rmdir"):
            script.step(do, path=path)
        script.step("create", path=path, flags="O_WRONLY|O_CREAT|O_EXCL")
        for do in ("link", "symlink", "rename"):
            script.step(do, path="seq/1", to=path)
    script.use("seq/0")
    script.use("cnv/0")
    script.step("remount")
    script.use("seq/0", all_of_it=False)


# ---------------------------------------------------------------- writing


def _blocks() -> Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]:
    gap = {"size": 24 * MIB, "zone_size": 2 * MIB}
    for block in (512, 4096):
        yield f"writes-{block}", tuple(small(disk, block=block) for disk in BOTH), {}
        gaps = tuple(small(disk, block=block, **gap) for disk in BOTH)
        yield f"writes-{block}-gap", gaps, {}


@each(_blocks())
def _writes(script: Script) -> None:
    block, end = script.disk.block, script.blocks
    script.open("b", "seq/0", "O_WRONLY")
    script.open("d", "seq/0", WRITE)
    script.open("a", "seq/0", "O_WRONLY|O_DIRECT|O_APPEND")
    script.open("r", "seq/0", "O_RDONLY|O_DIRECT")
    for fd in ("b", "d", "a", "r"):
        script.step("pwrite", fd=fd, at=0, length=0)
        script.step("pwrite", fd=fd, at=0, length=block)
        script.step("pwrite", fd=fd, at=block, length=block)
        script.step("pwrite", fd=fd, at=2 * block, length=2 * block)
        script.step("pwrite", fd=fd, at=9 * block, length=block)
        script.step("pwrite", fd=fd, at=4 * block, length=block // 2)
        script.step("pwrite", fd=fd, at=4 * block + 1, length=block)
        script.step("pwrite", fd=fd, at=4 * block + block // 2, length=block)
        script.step("pwrite", fd=fd, at=0, length=3)
        script.step("pwrite", fd=fd, at=end * block - 1, length=block)
        if fd != "a":
            script.step("pwrite", fd=fd, at=end * block, length=block)
            script.step("pwrite", fd=fd, at=end * block, length=0)
            script.step("pwrite", fd=fd, at=end * block + 5, length=1)
            script.step("pwrite", fd=fd, at=2 * end * block, length=block)
            script.step("pwrite", fd=fd, at=1 << 62, length=block)
        script.step("pwrite", fd=fd, at=-1, length=block)
        script.step("pwrite", fd=fd, at=-block, length=0)
    for fd in ("d", "a"):
        script.step("write", fd=fd, length=block)
        script.step("write", fd=fd, length=block)
    script.step("lseek", fd="d", offset=0, whence="SEEK_END")
    script.step("write", fd="d", length=2 * block)
    script.step("writev", fd="d", at=11 * block, lengths=[block, 2 * block, block])
    script.step("pread", fd="r", at=0, length=32 * block)
    # crossing the capacity: cut there
    script.open("e", "seq/1", WRITE)
    script.pwrite("e", 0, end - 2)
    script.step("pwrite", fd="e", at=(end - 2) * block, length=5 * block)
    script.step("pwrite", fd="e", at=end * block, length=block)
    script.step("write", fd="e", length=block)
    script.open("f", "seq/1", "O_WRONLY|O_DIRECT|O_APPEND")
    script.step("write", fd="f", length=block)
    script.step("write", fd="f", length=0)
    script.open("g", "seq/1", "O_WRONLY")
    script.step("write", fd="g", length=block)
    script.step("pwrite", fd="g", at=end * block, length=block)
    script.open("h", "seq/2", WRITE)
    script.step("pwrite", fd="h", at=0, length=2 * MIB + 8 * block)
    script.open("i", "seq/3", "O_WRONLY|O_DIRECT|O_APPEND")
    script.step("write", fd="i", length=end * block - block)
    script.step("write", fd="i", length=3 * block)
    script.step("write", fd="i", length=3 * block)


@case()
def writes_to_conventional_files(script: Script) -> None:
    block, end = script.disk.block, script.blocks * script.disk.block
    script.open("b", "cnv/0", "O_RDWR")
    script.open("d", "cnv/0", UPDATE)
    script.open("a", "cnv/0", "O_WRONLY|O_APPEND")
    script.open("x", "cnv/0", "O_WRONLY|O_APPEND|O_DIRECT")
    script.open("s", "cnv/0", "O_WRONLY|O_SYNC")
    for fd in ("b", "d", "a", "x", "s"):
        for at, length in (
            *((0, block), (100, 3), (3 * block - 1, 2 * block), (block, block // 2)),
            *((end - block, 2 * block), (end - 3, 9), (-1, 1), (5 * block, 0)),
            *((end, 1), (end, 0), (end + block, block), (1 << 62, 1)),
        ):
            if fd not in "ax" or at < end:
                script.step("pwrite", fd=fd, at=at, length=length)
        script.step("write", fd=fd, length=block)
        if fd not in "dx":
            script.step("writev", fd=fd, at=7 * block, lengths=[5, block - 5, block])
        script.step("writev", fd=fd, at=7 * block, lengths=[block, 2 * block])
        script.step("fsync", fd=fd)
    script.step("pread", fd="b", at=0, length=9 * block)
    script.step("pread", fd="d", at=0, length=9 * block)
    script.step("pread", fd="b", at=end - 2 * block, length=9 * block)
    script.step("pread", fd="d", at=end - 2 * block, length=9 * block)
    script.step("pread", fd="d", at=3, length=block)
    script.step("pread", fd="b", at=3, length=block)
    script.step("stat", path="cnv/0")
    script.step("umount")
    script.step("mount")
    script.open("b", "cnv/0", "O_RDONLY")
    script.step("pread", fd="b", at=0, length=9 * block)


@case(*(small(disk, size=24 * MIB, zone_size=2 * MIB, zone_capacity=2 * MIB) for disk in BOTH))
def more_than_a_mib(script: Script) -> None:
    script.open("a", "seq/0", UPDATE)
    script.step("pwrite", fd="a", at=0, length=2 * MIB - 4096)
    script.step("pread", fd="a", at=0, length=2 * MIB)
    script.step("pwrite", fd="a", at=2 * MIB - 4096, length=2 * MIB)
    script.open("b", "seq/1", UPDATE)
    script.step("pwrite", fd="b", at=0, length=2 * MIB - 3)


@case()
def appends_asked_for_past_the_capacity(script: Script) -> None:
    script.open("c", "cnv/0", "O_WRONLY|O_APPEND")
    script.step("pwrite", fd="c", at=MIB - 4096, length=4096)
    script.open("a", "seq/0", "O_WRONLY|O_DIRECT|O_APPEND")
    script.step("pwrite", fd="a", at=MIB - 4096, length=4096)
    script.step("pwrite", fd="a", at=MIB, length=4096)


def at_the_end_of_a_full_file(script: Script, flags: str) -> None:
    script.step("truncate", path="seq/0", size=MIB)
    script.open("a", "seq/0", flags)
    script.step("lseek", fd="a", offset=MIB, whence="SEEK_SET")


@case()
def an_append_where_the_file_ended_before(script: Script) -> None:
    at_the_end_of_a_full_file(script, "O_WRONLY|O_DIRECT|O_APPEND")
    script.step("truncate", path="seq/0", size=0)
    script.step("write", fd="a", length=4096)


@case()
def a_buffered_append_behind_a_full_file(script: Script) -> None:
    at_the_end_of_a_full_file(script, "O_WRONLY|O_APPEND")
    script.step("write", fd="a", length=4096)


@case(*(small(disk, conventional=5) for disk in BOTH), mkfs={"aggregate_conventional": True})
def writes_to_an_aggregated_file(script: Script) -> None:
    block, zone = script.disk.block, script.disk.zone_size
    script.open("b", "cnv/0", "O_RDWR")
    script.open("d", "cnv/0", UPDATE)
    for fd in ("b", "d"):
        for at, length in (
            *((zone - block, 3 * block), (2 * zone - 4 * block, 8 * block), (0, 2 * zone + block)),
            *((4 * zone - block, 2 * block), (4 * zone, block), (zone - 5, 11)),
        ):
            script.step("pwrite", fd=fd, at=at, length=length)
        script.step("pread", fd=fd, at=zone - 2 * block, length=6 * block)
        script.step("pread", fd=fd, at=4 * zone - 2 * block, length=6 * block)
    script.step("truncate", path="cnv/0", size=zone)
    script.step("stat", path="cnv/1")
    script.step("stat", path="cnv/0")


@case(doors=("mount",))
def flags_that_change(script: Script) -> None:
    script.open("a", "seq/0", "O_WRONLY")
    script.step("write", fd="a", length=4096)
    script.step("setfl", fd="a", flags="O_DIRECT")
    script.step("write", fd="a", length=4096)
    script.step("setfl", fd="a", flags="O_DIRECT|O_APPEND")
    script.step("pwrite", fd="a", at=0, length=4096)
    script.step("setfl", fd="a", flags="O_APPEND")
    script.step("write", fd="a", length=4096)
    script.step("setfl", fd="a", flags="O_DIRECT")
    script.step("pwrite", fd="a", at=0, length=4096)
    script.open("c", "cnv/0", "O_RDWR")
    script.step("setfl", fd="c", flags="O_APPEND")
    script.step("pwrite", fd="c", at=0, length=4096)
    script.step("setfl", fd="c", flags="O_DIRECT")
    script.step("pwrite", fd="c", at=1, length=4096)


@case()
def synchronous_writes(script: Script) -> None:
    for fd, flag in (("a", "O_SYNC"), ("b", "O_DSYNC")):
        for path in ("seq/0", "cnv/0"):
            script.open(fd, path, f"O_RDWR|O_DIRECT|{flag}")
            script.pwrite(fd, 0)
            script.pwrite(fd, 1, 3)
            script.step("fdatasync", fd=fd)
            script.pread(fd, 0, 8)
            script.close(fd)
        script.truncate("seq/0", 0)


@case(doors=("mount",))
def not_waiting(script: Script) -> None:
    """RWF_ flags, asynchronous I/O, a limit on file sizes."""
    script.fill("seq/0", 2)
    for path in ("seq/0", "cnv/0"):
        for fd, flags in (("a", UPDATE), ("b", "O_RDWR")):
            script.open(fd, path, flags)
            for rwf in ("RWF_NOWAIT", "RWF_DSYNC", "RWF_SYNC", "RWF_HIPRI"):
                script.step("rwf", fd=fd, at=2 * 4096, length=4096, flags=rwf)
            for nowait in (True, False):
                script.step("aio", fd=fd, at=5 * 4096, length=4096, nowait=nowait)
            script.step("pread", fd=fd, at=0, length=10 * 4096)
            script.close(fd)
    script.step("stat", path="seq/0")


@case(doors=("mount",))
def asked_to_append_once(script: Script) -> None:
    """RWF_APPEND."""
    script.fill("seq/0", 2)
    for path in ("seq/0", "cnv/0"):
        for flags in (UPDATE, "O_RDWR"):
            script.open("a", path, flags)
            script.step("rwf", fd="a", at=0, length=4096, flags="RWF_APPEND")
            script.close("a")


@case(doors=("mount",))
def file_size_limits(script: Script) -> None:
    script.open("a", "seq/0", WRITE)
    script.open("c", "cnv/0", "O_WRONLY")
    for fd in ("a", "c"):
        script.step("pwrite", fd=fd, at=0, length=8192, file_limit=8192)
        script.step("pwrite", fd=fd, at=8192, length=4096, file_limit=8192)
        script.step("pwrite", fd=fd, at=8192, length=8192, file_limit=12288)
        script.step("pwrite", fd=fd, at=12288, length=8192, file_limit=1 << 30)
    script.step("truncate", path="seq/0", size=MIB, file_limit=8192)
    script.step("truncate", path="seq/1", size=0, file_limit=8192)


@case()
def memory_that_is_not_aligned(script: Script) -> None:
    script.open("a", "seq/0", UPDATE)
    script.step("pwrite", fd="a", at=0, length=4096, skew=1)


@case()
def pieces_of_memory_that_are_not_aligned(script: Script) -> None:
    script.fill("seq/0", 3)
    script.open("a", "seq/0", UPDATE)
    script.step("readv", fd="a", at=0, lengths=[4096, 4096])
    script.step("readv", fd="a", at=0, lengths=[5, 4091])


# ---------------------------------------------------------------- reading, positions, mappings


def _reads_blocks() -> Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]:
    for block in (512, 4096):
        yield f"reads-{block}", tuple(small(disk, block=block) for disk in BOTH), {}


@each(_reads_blocks())
def _reads(script: Script) -> None:
    block, end = script.disk.block, script.blocks * script.disk.block
    script.fill("seq/0", 7)
    script.fill("seq/1", script.blocks)
    script.fill("seq/2", 3)
    script.truncate("seq/2", script.blocks)
    for path in ("seq/0", "seq/1", "seq/2", "seq/3", "cnv/0"):
        script.open("b", path, "O_RDONLY")
        script.open("d", path, "O_RDONLY|O_DIRECT")
        script.open("w", path, WRITE)
        for fd in ("b", "d", "w"):
            for at, length in (
                *((0, block), (0, 7 * block), (block, 64 * block), (6 * block, block)),
                *((7 * block, block), (8 * block, block), (3, 5), (0, block // 2)),
                *((block // 2, block), (6 * block, block // 2), (7 * block - 1, 10), (0, 0)),
                *((end - block, 4 * block), (end, block), (end + block, block), (1 << 62, block)),
                *((-block, block), (7 * block + 5, 3), (7 * block + 5, 0)),
            ):
                script.step("pread", fd=fd, at=at, length=length)
            script.step("readv", fd=fd, at=block, lengths=[block, 2 * block])
            if fd == "b":
                script.step("readv", fd=fd, at=0, lengths=[5, block - 5, block])
            script.step("read", fd=fd, length=2 * block)
            script.step("read", fd=fd, length=64 * block)
            script.step("lseek", fd=fd, offset=0, whence="SEEK_CUR")
        script.close("b", "d", "w")


@case()
def positions(script: Script) -> None:
    script.fill("seq/0", 3)
    for path in ("seq/0", "cnv/0"):
        script.open("a", path, "O_RDONLY")
        for offset, whence in (
            *((0, "SEEK_SET"), (4096, "SEEK_SET"), (3 * 4096, "SEEK_SET"), (-1, "SEEK_SET")),
            *((0, "SEEK_END"), (-4096, "SEEK_END"), (-1 << 40, "SEEK_END"), (0, "SEEK_CUR")),
            *((-1, "SEEK_CUR"), (0, "SEEK_DATA"), (4096, "SEEK_DATA"), (0, "SEEK_HOLE")),
            *((1 << 40, "SEEK_DATA"), (1 << 40, "SEEK_HOLE"), (-5, "SEEK_DATA"), (0, "SEEK_SET")),
        ):
            script.step("lseek", fd="a", offset=offset, whence=whence)
        script.step("read", fd="a", length=100)
        script.step("lseek", fd="a", offset=0, whence="SEEK_CUR")
        script.close("a")


@case(NULL_BLK)
def positions_past_the_end(script: Script) -> None:
    script.fill("seq/0", 3)
    script.open("a", "seq/0", "O_RDONLY")
    script.step("lseek", fd="a", offset=3 * 4096 + 1, whence="SEEK_SET")
    script.step("lseek", fd="a", offset=0, whence="SEEK_SET")
    script.step("lseek", fd="a", offset=1, whence="SEEK_END")


@case(doors=("mount",))
def mappings(script: Script) -> None:
    script.fill("seq/0", 5)
    for fd, path, flags in (
        *(("a", "seq/0", "O_RDONLY"), ("c", "seq/0", "O_RDONLY|O_DIRECT")),
        *(("e", "seq/1", "O_RDONLY"), ("f", "cnv/0", "O_RDONLY"), ("g", "cnv/0", "O_RDWR")),
        *(("h", "cnv/0", UPDATE), ("w", "seq/0", "O_WRONLY"), ("x", "cnv/0", "O_WRONLY")),
    ):
        script.open(fd, path, flags)
        for kind in ("shared", "private", "validate"):
            for prot in ("r", "rw"):
                script.step("mmap", fd=fd, kind=kind, prot=prot, at=0, length=8 * 4096)
                script.step("mmap", fd=fd, kind=kind, prot=prot, at=4 * 4096, length=4096)
    script.open("b", "seq/0", "O_RDWR")
    for prot in ("r", "rw"):
        script.step("mmap", fd="b", kind="private", prot=prot, at=0, length=4096)
    for kind in ("shared", "private"):
        store = {"kind": kind, "prot": "rw", "at": 0, "length": 16384, "store": (4096, 5000)}
        script.step("mmap", fd="g", **store)
        script.step("pread", fd="g", at=0, length=16384)
        script.step("pread", fd="h", at=0, length=16384)
    script.step("mmap", fd="f", kind="shared", prot="r", at=MIB - 4096, length=8192)
    script.step("mmap", fd="g", kind="shared", prot="rw", at=MIB, length=4096, store=(0, 8))
    script.step("mmap", fd="a", kind="private", prot="rw", at=0, length=8192, store=(0, 100))
    script.step("pread", fd="a", at=0, length=8192)


@case(doors=("mount",))
def shared_mappings_of_what_can_be_written(script: Script) -> None:
    script.fill("seq/0", 2)
    for flags in ("O_RDWR", UPDATE):
        script.open("b", "seq/0", flags)
        for kind in ("shared", "validate"):
            for prot in ("r", "rw"):
                script.step("mmap", fd="b", kind=kind, prot=prot, at=0, length=8192)
        script.close("b")


# ---------------------------------------------------------------- truncating


@case(*BOTH, *(small(disk, size=24 * MIB, zone_size=2 * MIB) for disk in BOTH), name="truncating")
def _truncating(script: Script) -> None:
    end = script.blocks
    for number, filled in enumerate((0, 1, 5, end)):
        path = f"seq/{number}"
        if filled:
            script.fill(path, filled)
        script.open("a", path, WRITE)
        for blocks in (1, 5, filled, end - 1, end + 1, 2 * end, 4 * end, end, end, 1, 0, 0, end, 0):
            script.truncate(path, blocks)
            script.step("ftruncate", fd="a", size=blocks * script.disk.block)
        for size in (-1, 1 << 62, (1 << 63) - 1):
            script.step("truncate", path=path, size=size)
            script.step("ftruncate", fd="a", size=size)
        script.pwrite("a", 0, 2)
        script.open("t", path, "O_WRONLY|O_TRUNC")
        script.pwrite("a", 0, 2)
        script.open("u", path, "O_RDONLY|O_TRUNC")
        script.step("ftruncate", fd="u", size=0)
        script.close("t", "u")
        script.open("v", path, "O_RDWR|O_TRUNC|O_CREAT|O_DIRECT")
        script.pwrite("v", 0, 1)
        script.close("a", "v")
    for blocks in (0, 1, end, end + 1, 2 * end):
        script.truncate("cnv/0", blocks)
    script.open("c", "cnv/0", "O_RDWR")
    for blocks in (0, 1, end, end + 1):
        script.step("ftruncate", fd="c", size=blocks * script.disk.block)
    script.step("ftruncate", fd="c", size=-1)
    script.open("d", "cnv/0", "O_RDWR|O_TRUNC")
    script.open("e", "cnv/0", "O_RDONLY|O_TRUNC")
    for path in ("seq", "cnv", ""):
        script.step("truncate", path=path, size=0)


@case()
def syncing_and_space(script: Script) -> None:
    script.fill("seq/0", 2)
    for path, flags in (("seq/0", "O_RDWR"), ("seq/0", "O_RDONLY"), ("cnv/0", "O_RDWR")):
        script.open("a", path, flags)
        script.step("fsync", fd="a")
        script.step("fdatasync", fd="a")
        for mode in (0, 1, 3, 16):
            script.step("fallocate", fd="a", mode=mode, at=0, length=4096)
        script.step("fstat", fd="a")
        script.close("a")


@case(doors=("mount",))
def directories_that_are_open(script: Script) -> None:
    for path in ("", "seq"):
        script.open("a", path, "O_RDONLY")
        script.step("fsync", fd="a")
        script.step("fdatasync", fd="a")
        script.step("pread", fd="a", at=0, length=10)
        script.step("fstat", fd="a")
        script.step("ftruncate", fd="a", size=0)
        script.close("a")
        script.open("b", path, "O_RDONLY|O_DIRECTORY")
        script.close("b")


# ---------------------------------------------------------------- attributes and permissions


@case()
def modes_and_owners(script: Script) -> None:
    for path in ("seq/0", "cnv/0", "seq", ""):
        for mode in (0o600, 0o777, 0o4755, 0o2755, 0o1777, 0, 0o555, 0o111, 0o700):
            script.step("chmod", path=path, mode=mode)
            script.step("stat", path=path)
        script.step("chmod", path=path, mode=0o4755)
        for uid, gid in ((1, 2), (-1, 5), (6, -1), (-1, -1), (0, 0)):
            script.step("chown", path=path, uid=uid, gid=gid)
            script.step("stat", path=path)
        script.step("chmod", path=path, mode=0o6755)
        script.step("chown", path=path, uid=3, gid=3)
        script.step("stat", path=path)
        script.step("utime", path=path, atime=5, mtime=7)
        script.step("utime", path=path, atime=10**9 + 1, mtime=10**17)
    script.step("readdir", path="")
    script.open("a", "seq/0", WRITE)
    script.pwrite("a", 0)
    script.cycle()
    script.step("stat", path="seq/0")


def _users() -> Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]:
    mkfs = {"uid": 1000, "gid": 1000, "perm": 0o640}
    yield "another-user", (NULL_BLK,), {"doors": ("mount",)}
    yield "the-owner", (NULL_BLK,), {"doors": ("mount",), "mkfs": mkfs}


@each(_users())
def _other_users(script: Script) -> None:
    who = {"user": 1000}
    script.step("stat", path="seq/0", **who)
    script.step("readdir", path="seq", **who)
    script.step("create", path="seq/0", flags="O_RDONLY", **who)
    script.step("create", path="seq/0", flags="O_WRONLY", **who)
    script.step("create", path="cnv/0", flags="O_RDWR", **who)
    script.step("create", path="seq/0", flags="O_WRONLY|O_TRUNC", **who)
    script.step("truncate", path="seq/0", size=0, **who)
    script.step("chmod", path="seq/0", mode=0o666, **who)
    script.step("chown", path="seq/0", uid=1001, gid=1001, **who)
    script.step("chown", path="seq/0", uid=-1, gid=1000, **who)
    script.step("utime", path="seq/0", atime=1, mtime=2, **who)
    script.step("chmod", path="seq", mode=0o777, **who)
    script.step("chmod", path="seq", mode=0o555, **who)
    script.step("statfs", path="", **who)
    script.step("chmod", path="seq/1", mode=0o604)
    script.step("create", path="seq/1", flags="O_RDONLY", **who)
    script.step("create", path="seq/1", flags="O_WRONLY", **who)


@case(NULL_BLK, doors=("mount",))
def another_user_and_names(script: Script) -> None:
    who = {"user": 1000}
    for path in ("seq/new", "seq/0"):
        script.step("create", path=path, flags="O_WRONLY|O_CREAT|O_EXCL", **who)
        script.step("mkdir", path=path, **who)
        script.step("mknod", path=path, **who)
        script.step("unlink", path=path, **who)
        script.step("rename", path="seq/1", to=path, **who)
        script.step("symlink", path="x", to=path, **who)
    script.step("rmdir", path="seq", **who)
    script.step("link", path="seq/0", to="seq/new", **who)


# ---------------------------------------------------------------- limits and explicit-open


def _limits() -> Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]:
    for explicit in (False, True):
        how = "explicit" if explicit else "implicit"
        for most in (1, 2, 3):
            disks = tuple(small(disk, max_open=most) for disk in BOTH)
            yield f"open-{most}-{how}", disks, {"explicit_open": explicit}
        limits = ((2, 3), (3, 3), (0, 2), (1, 4))
        for most, active in limits:
            disk = small(NULL_BLK, max_open=most, max_active=active)
            yield f"open-{most}-active-{active}-{how}", (disk,), {"explicit_open": explicit}
        yield f"open-unlimited-{how}", BOTH, {"explicit_open": explicit}


@each(_limits())
def _limit(script: Script) -> None:
    files = ("seq/4", "seq/2", "seq/0", "seq/3")
    for fd, path in zip("abcd", files, strict=True):
        script.open(fd, path, WRITE)
    for fd in "abcdab":
        script.step("write", fd=fd, length=8192)
    script.open("r", "seq/1", "O_RDONLY")
    script.open("e", "seq/4", WRITE)
    script.step("lseek", fd="e", offset=0, whence="SEEK_END")
    script.step("write", fd="e", length=4096)
    script.close("a")
    script.step("write", fd="e", length=4096)
    script.close("e")
    script.open("f", "seq/1", WRITE)
    script.close("f")
    script.open("f", "seq/1", WRITE)
    script.step("write", fd="f", length=4096)
    script.truncate("seq/1", 0)
    script.step("ftruncate", fd="f", size=MIB)
    script.step("ftruncate", fd="f", size=0)
    script.step("write", fd="b", length=MIB)
    script.close("b", "c", "d", "f")
    script.open("a", "seq/5", "O_RDWR|O_DIRECT|O_TRUNC")
    script.step("write", fd="a", length=MIB)
    script.step("ftruncate", fd="a", size=0)
    script.close("a")
    script.open("a", "seq/2", WRITE)
    script.cycle(**(script.mount_options or {}))


@case(
    *(small(disk, max_open=3) for disk in BOTH),
    small(NULL_BLK, max_open=2, max_active=3),
    name="explicit-open-below",
    explicit_open=True,
)
def _explicit_below(script: Script) -> None:
    """Commands on the disk while files are open explicitly, and resources that others took."""
    script.open("a", "seq/0", WRITE)
    script.below("close", "seq/0")
    script.pwrite("a", 0)
    script.below("reset", "seq/0")
    script.close("a")
    script.step("remount", errors="repair", explicit_open=True)
    script.open("a", "seq/1", WRITE)
    script.below("finish", "seq/1")
    script.close("a")
    script.below("open", "seq/3")
    script.below("open", "seq/4")
    script.below("open", "seq/5")
    script.open("a", "seq/6", WRITE)
    script.open("b", "seq/7", WRITE)
    script.below("reset", "seq/3")
    script.open("a", "seq/6", WRITE)
    script.below("close", "seq/6")
    script.below("open", "seq/3")
    script.pwrite("a", 0)
    script.close("a")
    script.truncate("seq/4", script.blocks)
    script.truncate("seq/4", 0)


@case(*(small(disk, max_open=2) for disk in BOTH), name="mounting-closes-zones")
def _mounting(script: Script) -> None:
    for explicit in (False, True):
        script.step("umount")
        for zone in range(6):
            script.below("reset", f"seq/{zone}")
        script.write_below("seq/0", 0, 2)
        script.below("open", "seq/1")
        script.write_below("seq/2", 0, 1)
        script.below("close", "seq/2")
        script.below("open", "seq/3")
        script.write_below("seq/4", 0, script.blocks)
        script.below("finish", "seq/5")
        script.step("mount", explicit_open=explicit, errors="zone-ro")
        script.cycle(explicit_open=explicit, ro=True)


# ---------------------------------------------------------------- remount


@case(*(small(disk, max_open=2) for disk in BOTH))
def remounting(script: Script) -> None:
    script.open("a", "seq/0", WRITE)
    script.pwrite("a", 0)
    script.step("remount", ro=True)
    script.close("a")
    script.open("c", "cnv/0", "O_WRONLY")
    script.step("remount", ro=True)
    script.close("c")
    script.open("r", "seq/0", "O_RDONLY")
    script.step("remount", ro=True, errors="repair")
    script.use("seq/0")
    script.use("cnv/0")
    for do in ("unlink", "mkdir", "create"):
        script.step(do, path="seq/0")
        script.step(do, path="seq/new")
    script.step("rename", path="seq/1", to="seq/1")
    script.step("chmod", path="seq", mode=0o777)
    script.step("remount", errors="repair")
    script.open("a", "seq/0", WRITE)
    script.below("reset", "seq/0")
    script.pwrite("a", 1)
    script.pwrite("a", 0)
    script.step("remount", errors="zone-ro")
    script.below("reset", "seq/0")
    script.pwrite("a", 1)
    script.close("a")
    script.step("remount", errors="zone-offline", explicit_open=True)
    script.open("a", "seq/1", WRITE)
    script.pwrite("a", 0)
    script.open("b", "seq/2", WRITE)
    script.open("d", "seq/3", WRITE)
    script.step("remount", explicit_open=False)
    script.close("a", "b")
    script.open("d", "seq/3", WRITE)
    script.step("remount", explicit_open=True)
    script.pwrite("d", 0)
    script.close("d")
    script.step("remount", ro=True)
    script.step("remount", ro=True)
    script.cycle(ro=True)
    script.open("a", "seq/1", WRITE)
    script.open("a", "seq/1", "O_RDONLY")
    script.pread("a", 0, 2)
    script.step("remount")
    script.open("b", "seq/1", WRITE)
    script.pwrite("b", 1)


@case(NULL_BLK, SCSI_DEBUG, name="remount-explicit-open-without-limits")
def _remount_without_limits(script: Script) -> None:
    script.step("remount", explicit_open=True)
    script.open("a", "seq/0", WRITE)
    script.open("b", "seq/1", WRITE)
    script.pwrite("b", 0)
    script.close("a", "b")


@case(
    *(small(SCSI_DEBUG, conventional=conventional, max_open=4) for conventional in (7, 8, 9)),
    small(NULL_BLK, conventional=8, max_open=3),
    small(NULL_BLK, conventional=8, max_open=2, max_active=3),
    name="limits-that-cannot-be-reached",
    explicit_open=True,
)
def _idle_limits(script: Script) -> None:
    """As many as there are sequential zones, or more: for Linux there is no limit, and so no explicit open."""
    for number in range(3):
        script.open("abc"[number], f"seq/{number}", WRITE)
        script.pwrite("abc"[number], 0)
    script.step("remount", explicit_open=True)
    script.close("a", "b", "c")


@case(doors=("mount",))
def busy(script: Script) -> None:
    script.open("a", "seq/0", WRITE)
    script.step("umount", busy=True)
    script.pwrite("a", 0)
    script.close("a")
    script.step("umount", busy=True)


# ---------------------------------------------------------------- errors


HOWS = ("read-only", "offline", "reset", "grown", "finished", "limit", "bad")


def _break(script: Script, how: str, path: str) -> None:
    """The file holds two blocks; the next write behind them fails, or what is read."""
    if how in ("read-only", "offline"):
        script.kill(path, how)
    elif how == "reset":
        script.below("reset", path)
    elif how == "grown":
        script.write_below(path, 2)
    elif how == "finished":
        script.below("finish", path)
    elif how == "bad":
        script.bad(path, 2)
    elif how == "limit":
        script.below("close", path)
        for other in ("seq/6", "seq/7"):
            script.below("open", other)


def _failed_writes() -> Iterator[tuple[str, tuple[Disk, ...], dict[str, Any]]]:
    for mode in MODES:
        for explicit in (False, True):
            how = "explicit" if explicit else "implicit"
            disks = tuple(small(disk, max_open=2) for disk in BOTH)
            yield f"{mode}-{how}", disks, {"errors": mode, "explicit_open": explicit}


def _register_failed_writes() -> None:
    for label, disks, options in _failed_writes():
        for how in HOWS:
            for disk in disks:
                if disk.kind == "scsi_debug" and how in ("read-only", "offline", "bad"):
                    continue

                def build(script: Script, how: str = how, disk: Disk = disk) -> None:
                    options = script.mount_options or {}
                    script.open("a", "seq/0", UPDATE)
                    script.pwrite("a", 0, 2)
                    _break(script, how, "seq/0")
                    script.pwrite("a", 2)
                    if how == "bad":
                        script.all_good()
                    script.pwrite("a", 2)
                    script.pwrite("a", 3)
                    script.use_open("a")
                    script.close("a")
                    script.open("b", "seq/1", WRITE)
                    script.pwrite("b", 0)
                    script.close("b")
                    script.use("seq/0", all_of_it=disk.kind == "null_blk")
                    script.step("remount", **options)
                    script.use("seq/0", all_of_it=False)
                    script.cycle(**options)
                    script.use("seq/0", all_of_it=False)
                    if how in ("read-only", "offline"):
                        script.kill("seq/0", "empty")
                        script.cycle(**options)
                        script.use("seq/0", all_of_it=False)

                case(disk, name=f"write-fails-{how}-{label}-{disk.kind}", **options)(build)


def _register_failed_reads() -> None:
    for mode in MODES:
        for how in ("read-only", "offline", "reset", "finished", "bad"):
            for direct in (False, True):
                # null_blk calls a bad block an I/O error, scsi_debug a medium error, as disks do.
                disk = SCSI_DEBUG if how == "bad" else NULL_BLK

                def build(script: Script, how: str = how, direct: bool = direct) -> None:
                    script.fill("seq/0", 6)
                    script.open("a", "seq/0", "O_RDONLY|O_DIRECT" if direct else "O_RDONLY")
                    script.open("w", "seq/0", UPDATE)
                    _break(script, how, "seq/0")
                    script.pread("a", 0, 1)
                    script.pread("a", 0, 1)
                    script.pread("a", 2, 1)
                    script.pread("a", 5, 1)
                    script.pread("a", 1, 4)
                    script.all_good()
                    script.pread("a", 2, 1)
                    script.step("lseek", fd="a", offset=0, whence="SEEK_END")
                    script.use_open("w")
                    script.use("seq/0", all_of_it=False)

                kind = "direct" if direct else "buffered"
                case(disk, name=f"read-fails-{how}-{kind}-{mode}", errors=mode)(build)


@case(errors="zone-ro")
def nobody_may_read_a_file_that_became_read_only(script: Script) -> None:
    """Its data is there; to zonefs a dead zone's file without a permission bit is an offline one's."""
    for path in ("seq/0", "seq/1"):
        script.fill(path, 4)
        for fd, flags in (("b", "O_RDONLY"), ("d", "O_RDONLY|O_DIRECT"), ("w", UPDATE)):
            script.open(fd + path[-1], path, flags)
        script.pread("b" + path[-1], 0, 2)
    script.step("chmod", path="seq/0", mode=0)
    for number in "01":
        script.below("finish", f"seq/{number}")
        script.pwrite("w" + number, 4)
    script.step("chmod", path="seq/1", mode=0)
    for number in "01":
        for fd in "bdw":
            script.pread(fd + number, 0)
            script.pread(fd + number, 3, 4)
            script.step("pread", fd=fd + number, at=77, length=1000)


def _register_more_errors() -> None:
    for mode in MODES:
        for how in ("read-only", "offline"):

            def dead_at_mount(script: Script, how: str = how, mode: str = mode) -> None:
                """One empty zone, one with data, one full."""
                script.fill("seq/1", 3)
                script.fill("seq/2", script.blocks)
                script.step("umount")
                for path in ("seq/0", "seq/1", "seq/2"):
                    script.kill(path, how)
                script.step("mount", errors=mode)
                script.use("seq/0", all_of_it=False)
                script.use("seq/1")
                script.use("seq/2", all_of_it=False)
                script.step("statfs", path="")
                script.use("seq/3", all_of_it=False)
                script.kill("seq/1", "empty")
                script.use("seq/1", all_of_it=False)
                script.cycle(errors=mode)
                script.use("seq/1", all_of_it=False)

            case(NULL_BLK, name=f"dead-at-mount-{how}-{mode}")(dead_at_mount)

            def mapped(script: Script, how: str = how, mode: str = mode) -> None:
                """A dead zone's file can be mapped; behind its size is SIGBUS."""
                script.fill("seq/1", 8)
                script.open("a", "seq/1", READ)
                script.step("mmap", fd="a", kind="shared", prot="r", at=0, length=8192)
                for path in ("seq/0", "seq/1"):
                    script.kill(path, how)
                script.step("mmap", fd="a", kind="private", prot="rw", at=MIB, length=4096)
                script.close("a")
                script.cycle(errors=mode)
                for path in ("seq/0", "seq/1"):
                    for flags in (READ, "O_RDONLY|O_DIRECT"):
                        script.open("a", path, flags)
                        for kind in ("shared", "private"):
                            for at in (0, MIB):
                                script.step("mmap", fd="a", kind=kind, prot="r", at=at, length=4096)
                        script.step("pread", fd="a", at=0, length=4096)
                        script.close("a")

            case(NULL_BLK, name=f"mapped-when-dead-{how}-{mode}", doors=("mount",))(mapped)

            def idle(script: Script, how: str = how) -> None:
                """It dies while nobody looks, and is met by each other call than a write."""
                for do in range(7):
                    path = f"seq/{do}"
                    script.fill(path, 3 if do % 2 else script.blocks)
                    if do < 5:
                        script.open("a", path, UPDATE)
                    script.kill(path, how)
                    if do == 0:
                        script.step("ftruncate", fd="a", size=0)
                    elif do == 1:
                        script.step("ftruncate", fd="a", size=MIB)
                    elif do == 2:
                        script.step("fsync", fd="a")
                    elif do == 3:
                        script.step("chmod", path=path, mode=0o600)
                    elif do == 4:
                        script.pread("a", 2)
                    elif do == 5:
                        script.truncate(path, 0)
                    else:
                        script.open("a", path, "O_WRONLY|O_TRUNC")
                    script.step("fstat", fd="a")
                    script.close("a")
                    script.step("stat", path=path)

            case(NULL_BLK, name=f"dies-idle-{how}-{mode}", errors=mode)(idle)

            def explicit(script: Script, how: str = how) -> None:
                """It dies while open explicitly; closing it is what meets it."""
                script.open("a", "seq/0", WRITE)
                script.kill("seq/0", how)
                script.close("a")
                script.open("a", "seq/1", WRITE)
                script.pwrite("a", 0)
                script.kill("seq/1", how)
                script.close("a")
                script.open("a", "seq/2", WRITE)
                script.open("b", "seq/3", WRITE)
                script.pwrite("a", 0)
                script.open("a", "seq/4", WRITE)
                script.kill("seq/4", how)
                script.truncate("seq/4", 0)
                script.open("c", "seq/1", WRITE)
                script.kill("seq/5", how)
                script.open("c", "seq/5", WRITE)
                script.kill("seq/1", "empty")
                script.close("a", "b")
                script.open("c", "seq/1", WRITE)

            case(
                small(NULL_BLK, max_open=3),
                name=f"dies-open-{how}-{mode}",
                errors=mode,
                explicit_open=True,
            )(explicit)


_register_failed_writes()
_register_failed_reads()
_register_more_errors()


@case(*BOTH, name="remount-ro-is-seen", errors="remount-ro", doors=("mount",))
def _flags(script: Script) -> None:
    script.step("flags")
    script.open("a", "seq/0", WRITE)
    script.pwrite("a", 0, 2)
    script.below("reset", "seq/0")
    script.pwrite("a", 2)
    script.step("flags")


@case(NULL_BLK, name="conventional-write-fails")
def _conventional_fails(script: Script) -> None:
    """Direct writes and reads of bad blocks in a conventional file."""
    script.open("a", "cnv/0", UPDATE)
    script.pwrite("a", 0, 4)
    script.bad("cnv/0", 2)
    script.pwrite("a", 0, 1)
    script.pwrite("a", 2, 1)
    script.pwrite("a", 0, 1)
    script.all_good()
    script.step("remount", errors="zone-ro")
    script.bad("cnv/0", 2)
    script.pwrite("a", 2, 1)
    script.pwrite("a", 0, 1)
    script.all_good()
    script.use_open("a")
    script.use("cnv/0")


@case(NULL_BLK, name="conventional-buffered-write-fails")
def _conventional_buffered_fails(script: Script) -> None:
    script.open("a", "cnv/0", "O_RDWR")
    script.bad("cnv/0", 2)
    script.pwrite("a", 2, 1)
    script.step("fsync", fd="a")


# ---------------------------------------------------------------- superblocks


def _patched(block: bytes, at: int, data: bytes, *, crc: bool = True) -> bytes:
    """With the checksum made right again."""
    raw = bytearray(block)
    raw[at : at + len(data)] = data
    if crc:
        raw[4:8] = bytes(4)
        raw[4:8] = struct.pack("<I", zlib.crc32(raw) ^ 0xFFFFFFFF)
    return bytes(raw)


_SUPERS: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda block: bytes(4096),
    "magic": lambda block: _patched(block, 0, b"SFOz"),
    "crc": lambda block: _patched(block, 4, b"\1\2\3\4", crc=False),
    "label": lambda block: _patched(block, 8, b"another"),
    "label-without-crc": lambda block: _patched(block, 8, b"another", crc=False),
    "feature": lambda block: _patched(block, 88, struct.pack("<Q", 16)),
    "feature-high": lambda block: _patched(block, 88, struct.pack("<Q", 1 << 63)),
    "uid": lambda block: _patched(block, 88, struct.pack("<QI", 2, 2**32 - 1)),
    "gid": lambda block: _patched(block, 88, struct.pack("<QII", 4, 0, 2**32 - 1)),
    "ids-unused": lambda block: _patched(block, 88, struct.pack("<QII", 0, 2**32 - 1, 2**32 - 1)),
    "ids-used": lambda block: _patched(block, 88, struct.pack("<QIII", 14, 1, 2, 0o777)),
    "perm-odd": lambda block: _patched(block, 88, struct.pack("<QIII", 8, 0, 0, 0o7777)),
    "perm-huge": lambda block: _patched(block, 88, struct.pack("<QIII", 8, 0, 0, 0o1777777)),
    "perm-none": lambda block: _patched(block, 88, struct.pack("<QIII", 8, 0, 0, 0)),
    "reserved-first": lambda block: _patched(block, 108, b"\1"),
    "reserved-last": lambda block: _patched(block, 4095, b"\1"),
    "aggregated": lambda block: _patched(block, 88, struct.pack("<Q", 1)),
}


def _register_superblocks() -> None:
    for label, change in _SUPERS.items():

        def build(script: Script, change: Callable[[bytes], bytes] = change) -> None:
            script.super = change(script.super)
            script.step("stat", path="")
            script.step("stat", path="cnv/0")
            script.step("stat", path="seq/0")
            script.step("statfs", path="")

        case(small(NULL_BLK, conventional=3), name=f"superblock-{label}")(build)


_register_superblocks()
