"""Random zonefs scenarios from a seed: disks and mounts of many kinds, and steps that look where the limits are.

A ZoneFS in process runs along, so that writes are mostly at the end of a file and files of every kind come
up; the steps themselves are plain data afterwards. What is known to differ, and would part the two sides, is
left to the scenarios written by hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from random import Random
from typing import Any

from kernel import generate
from kernel.scenario import Disk, Scenario, Step
from kernel.zonefs_differences import REQUEST
from kernel.zonefs_doors import InProcess
from kernel.zonefs_handwritten import MODES, superblock

OPENS = (
    *(("O_WRONLY|O_DIRECT",) * 5),
    *(("O_RDWR|O_DIRECT",) * 5),
    *(("O_RDONLY",) * 3),
    *(("O_RDONLY|O_DIRECT",) * 2),
    *(("O_WRONLY|O_DIRECT|O_APPEND",) * 2),
    *(
        "O_RDWR",
        "O_WRONLY",
        "O_WRONLY|O_APPEND",
        "O_RDWR|O_DIRECT|O_SYNC",
        "O_RDWR|O_DIRECT|O_CREAT",
    ),
    *("O_WRONLY|O_TRUNC", "O_RDWR|O_DIRECT|O_TRUNC", "O_RDONLY|O_TRUNC", "O_WRONLY|O_CREAT|O_EXCL"),
)
FDS = "abcdefgh"


def disk(random: Random, kind: str) -> Disk:
    shape = generate.disk(random, kind)
    size = shape.size
    if shape.zone_capacity < shape.zone_size:
        size -= size % shape.zone_size  # with gaps, sd takes no disk whose last zone is smaller
    return dataclasses.replace(shape, size=size, model="host-managed")


def mount_options(random: Random) -> dict[str, Any]:
    options: dict[str, Any] = {"errors": random.choice(MODES)}
    if random.random() < 0.45:
        options["explicit_open"] = True
    if random.random() < 0.05:
        options["ro"] = True
    return options


class _Steps:
    def __init__(self, random: Random, player: InProcess, disk: Disk) -> None:
        self.random = random
        self.player = player
        self.disk = disk
        self.flags: dict[str, tuple[str, str]] = {}  # of open files: path and flags
        self.below: set[int] = (
            set()
        )  # zones changed behind the file system, until it is mounted anew
        self.stack: list[Step] = []
        self.every = [
            f"{folder}/{name}"
            for folder in player.fs.listdir()
            for name in player.fs.listdir(folder)
        ]
        count = min(len(self.every), random.randint(2, 7))
        self.hot = random.sample(self.every, k=count)

    # ------------------------------------------------------------ what there is

    def path(self) -> str:
        return self.random.choice(self.hot if self.random.random() < 0.9 else self.every)

    def seq(self) -> str:
        wanted = [name for name in self.hot if name.startswith("seq/")]
        return self.random.choice(
            wanted or [name for name in self.every if name.startswith("seq/")]
        )

    def zone(self, path: str) -> int:
        return self.player.fs.zone_of(path)

    def size(self, path: str) -> int:
        return self.player.fs.stat(path).st_size

    def capacity(self, path: str) -> int:
        return self.player.fs.stat(path).st_blocks * 512

    def touched(self, path: str) -> bool:
        return self.zone(path) in self.below

    def open_files(self) -> list[str]:
        return [fd for fd in self.player.open if fd in self.flags]

    # ------------------------------------------------------------ a step

    def next(self) -> Step:
        if self.stack:
            return self.stack.pop()
        step = None
        while step is None:
            step = self.some()
        return step

    def some(self) -> Step | None:
        roll = self.random.random()
        if not self.player.open or roll < 0.11:
            return self.opening()
        if roll < 0.17:
            return Step("close", {"fd": self.random.choice(list(self.player.open))})
        for share, act in (
            *((0.47, self.write), (0.60, self.read), (0.68, self.truncate)),
            *((0.78, self.smaller), (0.83, self.names), (0.93, self.raw)),
        ):
            if roll < share:
                return act()
        if roll < 0.96:
            return Step("remount", mount_options(self.random))
        if roll < 0.98:
            self.stack.append(Step("mount", mount_options(self.random)))
            return Step("umount")
        return self.opening()

    def opening(self) -> Step:
        free = [fd for fd in FDS if fd not in self.player.open]
        if not free:
            return Step("close", {"fd": self.random.choice(list(self.player.open))})
        path, flags = self.path(), self.random.choice(OPENS)
        self.flags[free[0]] = (path, flags)
        return Step("open", {"fd": free[0], "path": path, "flags": flags})

    def write(self) -> Step | None:
        files = [fd for fd in self.open_files() if not self.flags[fd][1].startswith("O_RDONLY")]
        if self.random.random() < 0.03:
            files = self.open_files()
        if not files:
            return self.opening()
        fd = self.random.choice(files)
        path, flags = self.flags[fd]
        block, size, capacity = self.disk.block, self.size(path), self.capacity(path)
        at = size if path.startswith("seq/") else self.random.randrange(capacity // block) * block
        roll = self.random.random()
        if roll < 0.06:
            at = max(0, at + self.random.choice((-1, 1)) * block)
        elif roll < 0.10:
            at = self.random.choice((0, capacity - block, capacity, capacity + block, capacity - 3))
        elif roll < 0.13:
            at = max(0, at + self.random.choice((1, -1, block // 2, 77)))
        length = self.length(max(1, (capacity - at) // block)) * block
        if self.random.random() < 0.06:
            length += self.random.choice((1, block // 2, -3, -length))
        if length > REQUEST:
            length -= length % block  # or FUSE would do a part of it
        append = "O_APPEND" in flags
        if append and at >= capacity:
            at = capacity - block
        kind = self.random.random()
        if kind < 0.15:
            step = Step("write", {"fd": fd, "length": length})
            if append:  # not from behind the capacity, where the descriptor may be left
                self.stack.append(step)
                return Step("lseek", {"fd": fd, "offset": 0, "whence": "SEEK_SET"})
            return step
        if kind < 0.22:
            lengths = [block, max(block, length // block * block)]
            return Step("writev", {"fd": fd, "at": at, "lengths": lengths})
        return Step("pwrite", {"fd": fd, "at": at, "length": length})

    def length(self, room: int) -> int:
        kind = self.random.random()
        if kind < 0.65:
            return self.random.randint(1, 8)
        if kind < 0.8:
            return room
        if kind < 0.88:
            return max(1, room + self.random.choice((-1, 1, 2)))
        return self.random.randint(1, room)

    def read(self) -> Step | None:
        files = self.open_files()
        if self.random.random() < 0.95:
            files = [fd for fd in files if not self.flags[fd][1].startswith("O_WRONLY")]
        # What is in the page cache of a file whose zone was changed below is another matter.
        files = [
            fd
            for fd in files
            if "O_DIRECT" in self.flags[fd][1] or not self.touched(self.flags[fd][0])
        ]
        if not files:
            return None
        fd = self.random.choice(files)
        path, _ = self.flags[fd]
        block, size, capacity = self.disk.block, self.size(path), self.capacity(path)
        roll = self.random.random()
        if roll < 0.5:
            at = max(0, size - self.random.randint(0, 8) * block)
        elif roll < 0.8:
            at = self.random.randrange(max(1, size // block)) * block
        else:
            at = max(0, capacity - self.random.randint(-2, 4) * block)
        length = self.random.choice((1, 2, 4, 16, self.random.randint(1, 256))) * block
        if self.random.random() < 0.1:
            at += self.random.choice((1, block // 2))
        if self.random.random() < 0.1 and length < REQUEST:
            length += self.random.choice((1, block // 2))
        kind = self.random.random()
        if kind < 0.1:
            return Step("read", {"fd": fd, "length": length})
        if kind < 0.2:
            lengths = [block, max(block, length // block * block)]
            return Step("readv", {"fd": fd, "at": at, "lengths": lengths})
        if kind < 0.3 and self.flags[fd][1] == "O_RDONLY":
            where = {"at": at // 4096 * 4096, "length": length}
            sort = self.random.choice(("private", "shared"))
            return Step("mmap", {"fd": fd, "kind": sort, "prot": "r", **where})
        return Step("pread", {"fd": fd, "at": at, "length": length})

    def truncate(self) -> Step:
        files = self.open_files()
        if files and self.random.random() < 0.5:
            fd = self.random.choice(files)
            path, do, what = self.flags[fd][0], "ftruncate", {"fd": fd}
        else:
            path = self.path()
            do, what = "truncate", {"path": path}
        size, capacity, block = self.size(path), self.capacity(path), self.disk.block
        sizes = (0, 0, 0, capacity, capacity, size, size + block, capacity + block, block, 1 << 40)
        return Step(do, {**what, "size": self.random.choice(sizes)})

    def smaller(self) -> Step:
        path, roll = self.path(), self.random.randrange(12)
        files = self.open_files()
        if roll < 6 and files:
            fd = self.random.choice(files)
            path = self.flags[fd][0]
            if roll < 3:
                return Step(self.random.choice(("fsync", "fdatasync", "fstat")), {"fd": fd})
            if roll < 5:
                size = self.size(path)
                offset = self.random.choice((0, size, size // 2, -1))
                return Step("lseek", {"fd": fd, "offset": offset, "whence": "SEEK_SET"})
            mode = self.random.choice((0, 1, 3))
            return Step("fallocate", {"fd": fd, "mode": mode, "at": 0, "length": 4096})
        if roll < 7:
            return Step("stat", {"path": self.random.choice((path, "seq", "cnv", "", "seq/99"))})
        if roll < 8:
            return Step("readdir", {"path": self.random.choice(("", "seq", "cnv"))})
        if roll < 10:
            mode = self.random.choice((0o600, 0o640, 0o444, 0, 0o777, 0o555))
            where = self.random.choice((path, path, path, "seq", ""))
            return Step("chmod", {"path": where, "mode": mode})
        if roll < 11:
            uid, gid = self.random.choice(((5, 6), (-1, 7), (0, 0)))
            return Step("chown", {"path": path, "uid": uid, "gid": gid})
        return Step("statfs", {"path": ""})

    def names(self) -> Step:
        """Names that cannot be made or taken away, and times."""
        path, other = self.path(), self.random.choice((self.path(), "seq/new", "new", "cnv/x"))
        do = self.random.choice(("unlink", "mkdir", "rename", "link", "symlink", "create", "utime"))
        if do in ("unlink", "mkdir"):
            return Step(do, {"path": self.random.choice((path, other))})
        if do == "create":
            return Step(do, {"path": other, "flags": "O_WRONLY|O_CREAT|O_EXCL"})
        if do == "utime":
            times = {"atime": self.random.randrange(10**9), "mtime": self.random.randrange(10**9)}
            return Step(do, {"path": path, **times})
        return Step(do, {"path": path, "to": other})

    def raw(self) -> Step:
        path = self.seq()
        zone = self.zone(path)
        self.below.add(zone)
        roll = self.random.random()
        if self.disk.kind == "null_blk" and roll < 0.3:
            to = self.random.choice(("read-only", "offline", "empty", "empty"))
            return Step("condition", {"zone": zone, "to": to})
        if roll < 0.5:
            state = self.player.below.device.zones[zone]
            if state.wp is not None:
                return Step("write_zone", {"at": state.wp, "length": self.disk.block})
        command = self.random.choice(("open", "close", "finish", "reset", "reset"))
        return Step(f"{command}_zone", {"zone": zone})


def scenario(seed: int, kind: str, steps: int) -> Scenario:
    """The same seed gives the same scenario, as long as ZoneFS behaves the same."""
    random = Random(f"zonefs {seed} {kind}")
    shape = disk(random, kind)
    mkfs: dict[str, Any] = {"aggregate_conventional": random.random() < 0.25}
    if random.random() < 0.2:
        mkfs |= {"uid": 3, "gid": 4, "perm": random.choice((0o600, 0o444, 0o777))}
    first = mount_options(random)
    options = {"super": superblock(shape, **mkfs).rstrip(b"\0").hex(), "mount": first}
    empty = Scenario(f"random-{kind}-{seed}", shape, (), options)
    player = InProcess(empty)
    done: list[Step] = []
    with contextlib.closing(player):
        try:
            player.first()
            choose = _Steps(random, player, shape)
            for number in range(1, steps + 1):
                step = choose.next()
                done.append(step)
                player.do(step.as_json(), number)
                if step.do == "mount":
                    choose.below.clear()
            if choose.stack:  # never end without the mount
                done += choose.stack
        finally:
            player.end()
    return empty.with_steps(done)


SHARES = {"null_blk": 125, "scsi_debug": 210}


def scenarios(seed: int, steps: int) -> Iterator[Scenario]:
    """At least so many steps in all, half of them on each kind of disk."""
    for kind, length in SHARES.items():
        for number in range(-(-steps // 2 // length)):
            yield scenario(seed + number, kind, length)
