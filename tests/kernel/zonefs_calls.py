"""System calls on a mounted zonefs, and what can be seen of it after each: one code for the kernel's mount and ours.

Standard library only: the guest executes this, too (``kernel.guest_zonefs``). ``Calls`` has a method for each
kind of step that a program could do; ``Player`` plays a scenario, and leaves the disk and the mounting to its
subclasses. A record holds what the call gave, and then the disk's zones, every file that the scenario names,
the free blocks, whether the file system is read-only, and the four counters of sysfs; after a mount, all files.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import pickle
import resource
import stat
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from kernel.guest import Record, aligned_memory, describe, payload

MAGIC = 0x5A4F4653
COUNTERS = (
    "max_wro_seq_files",
    "nr_wro_seq_files",
    "max_active_seq_files",
    "nr_active_seq_files",
)
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
LIBC.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
for _name in ("pread", "pwrite"):
    getattr(LIBC, _name).restype = ctypes.c_ssize_t
    getattr(LIBC, _name).argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)
LIBC.read.restype = ctypes.c_ssize_t
LIBC.read.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
LIBC.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
LIBC.syscall.restype = ctypes.c_long
_SYSCALLS = {"io_setup": 206, "io_destroy": 207, "io_getevents": 208, "io_submit": 209}  # x86-64
_IOCB = struct.Struct("<QIiHhIQQqQII")


def name_of(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))


def failed(error: OSError) -> Record:
    return {"result": None, "error": name_of(error.errno)}


def attempt(call: Callable[[], Any]) -> Record:
    try:
        done = call()
    except OSError as error:
        return failed(error)
    return {"result": 0 if done is None else done}


def flags_of(names: str) -> int:
    """``O_RDWR|O_DIRECT``."""
    value = 0
    for name in names.split("|"):
        value |= getattr(os, name)
    return value


def file_text(status: os.stat_result) -> str:
    """``8192 640 0:0``: size, mode, owners."""
    owner = f"{status.st_uid}:{status.st_gid}"
    return f"{status.st_size} {stat.S_IMODE(status.st_mode):o} {owner}"


def full_text(status: os.stat_result) -> str:
    mode = stat.filemode(status.st_mode)
    more = (
        f"ino={status.st_ino} nlink={status.st_nlink} size={status.st_size} "
        f"blocks={status.st_blocks} blksize={status.st_blksize}"
    )
    return f"{mode} {status.st_uid}:{status.st_gid} {more}"


def times_text(status: os.stat_result) -> list[Any]:
    """Access and change of data; whatever was not set by a scenario is ``now``."""
    times = (status.st_atime_ns, status.st_mtime_ns)
    return ["now" if time > 10**18 else time for time in times]


class Calls:
    """What a program does with the files below ``root``. Open files go by names that a scenario gives them."""

    def __init__(self, root: str, block: int) -> None:
        self.root = root
        self.block = block
        self.open: dict[str, int] = {}

    def do(self, step: dict[str, Any], number: int) -> Record:
        arguments = {name: value for name, value in step.items() if name != "do"}
        if "fd" in arguments and step["do"] != "open" and arguments["fd"] not in self.open:
            return {"result": None, "error": "no such open file"}
        return self.play(step["do"], arguments, number)

    def play(self, do: str, arguments: dict[str, Any], number: int) -> Record:
        user, limit = arguments.pop("user", None), arguments.pop("file_limit", None)
        method = getattr(self, f"do_{do}")
        if do in ("pwrite", "write", "writev", "rwf", "aio", "mmap"):
            arguments["fill"] = number
        if user is None and limit is None:
            done = method(**arguments)
        else:
            done = self._elsewhere(lambda: method(**arguments), user, limit)
        return done if isinstance(done, dict) else {"result": done}

    def close_all(self) -> None:
        while self.open:
            os.close(self.open.popitem()[1])

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @staticmethod
    def _elsewhere(call: Callable[[], Record], user: int | None, limit: int | None) -> Record:
        """In a child: as another user without groups, or with a limit on file sizes."""
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            try:
                if limit is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                if user is not None:
                    os.setgroups([])
                    os.setresgid(user, user, user)
                    os.setresuid(user, user, user)
                answer = pickle.dumps((call(), ""))
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                answer = pickle.dumps((None, repr(error)))
            with contextlib.suppress(OSError):
                os.write(theirs, answer)
            os._exit(0)
        os.close(theirs)
        with open(ours, "rb") as answers:
            data = answers.read()
        _, status = os.waitpid(child, 0)
        done: Record | None
        done, error = pickle.loads(data) if data else (None, f"no answer, {status=}")
        if done is None:
            raise RuntimeError(f"in the child: {error}")
        return done

    # ------------------------------------------------------------ open files

    def do_open(self, fd: str, path: str, flags: str) -> Record:
        if fd in self.open:
            return {"result": None, "error": "open already"}

        def call() -> None:
            self.open[fd] = os.open(self.path(path), flags_of(flags))

        return attempt(call)

    def do_close(self, fd: str) -> Record:
        return attempt(lambda: os.close(self.open.pop(fd)))

    def do_pwrite(self, fd: str, at: int, length: int, fill: int, skew: int = 0) -> Record:
        """``skew``: the memory begins so many bytes behind an aligned address."""
        view = self._filled(fill, at, length, skew)
        return attempt(lambda: os.pwrite(self.open[fd], view, at))

    def do_write(self, fd: str, length: int, fill: int) -> Record:
        view = self._filled(fill, 0, length, 0)
        return attempt(lambda: os.write(self.open[fd], view))

    def do_writev(self, fd: str, at: int, lengths: list[int], fill: int) -> Record:
        view = self._filled(fill, at, sum(lengths), 0)
        return attempt(lambda: os.pwritev(self.open[fd], self._cut(view, lengths), at))

    def do_rwf(self, fd: str, at: int, length: int, flags: str, fill: int) -> Record:
        """pwritev2() with RWF_ flags."""
        view = self._filled(fill, at, length, 0)
        return attempt(lambda: os.pwritev(self.open[fd], [view], at, flags_of(flags)))

    def do_aio(self, fd: str, at: int, length: int, nowait: bool, fill: int) -> Record:
        """A write through io_submit()."""
        self._filled(fill, at, length, 0)
        context = ctypes.c_ulong(0)
        if LIBC.syscall(_SYSCALLS["io_setup"], 1, ctypes.byref(context)):
            raise OSError(ctypes.get_errno(), "io_setup")
        try:
            address = aligned_memory()[1]
            raw = _IOCB.pack(
                0, 0, 8 if nowait else 0, 1, 0, self.open[fd], address, length, at, 0, 0, 0
            )
            block = ctypes.create_string_buffer(raw, len(raw))
            pointer = ctypes.c_void_p(ctypes.addressof(block))
            sent = LIBC.syscall(_SYSCALLS["io_submit"], context, 1, ctypes.byref(pointer))
            if sent != 1:
                return {"result": None, "error": name_of(ctypes.get_errno())}
            event = ctypes.create_string_buffer(32)
            got = LIBC.syscall(_SYSCALLS["io_getevents"], context, 1, 1, event, None)
            if got != 1:
                raise OSError(ctypes.get_errno(), "io_getevents")
            result = struct.unpack_from("<q", event.raw, 16)[0]
        finally:
            LIBC.syscall(_SYSCALLS["io_destroy"], context)
        if result < 0:
            return {"result": None, "error": name_of(-result)}
        return {"result": result}

    def do_pread(self, fd: str, at: int, length: int, skew: int = 0) -> Record:
        view, address = aligned_memory()
        return self._read(
            lambda: self._counted(LIBC.pread(self.open[fd], address + skew, length, at)),
            view[skew : skew + length],
        )

    def do_read(self, fd: str, length: int) -> Record:
        view, address = aligned_memory()
        return self._read(
            lambda: self._counted(LIBC.read(self.open[fd], address, length)), view[:length]
        )

    def do_readv(self, fd: str, at: int, lengths: list[int]) -> Record:
        view = aligned_memory()[0][: sum(lengths)]
        return self._read(lambda: os.preadv(self.open[fd], self._cut(view, lengths), at), view)

    def do_lseek(self, fd: str, offset: int, whence: str = "SEEK_SET") -> Record:
        return attempt(lambda: os.lseek(self.open[fd], offset, getattr(os, whence)))

    def do_ftruncate(self, fd: str, size: int) -> Record:
        return attempt(lambda: os.ftruncate(self.open[fd], size))

    def do_fsync(self, fd: str) -> Record:
        return attempt(lambda: os.fsync(self.open[fd]))

    def do_fdatasync(self, fd: str) -> Record:
        return attempt(lambda: os.fdatasync(self.open[fd]))

    def do_fallocate(self, fd: str, mode: int, at: int, length: int) -> Record:
        def call() -> None:
            if LIBC.fallocate(self.open[fd], mode, at, length):
                raise OSError(ctypes.get_errno(), "fallocate")

        return attempt(call)

    def do_fstat(self, fd: str) -> Record:
        return attempt(lambda: full_text(os.fstat(self.open[fd])))

    def do_setfl(self, fd: str, flags: str) -> Record:
        """fcntl(F_SETFL): O_DIRECT and O_APPEND on and off while a file is open."""
        value = flags_of(flags) if flags else 0
        return attempt(lambda: fcntl.fcntl(self.open[fd], fcntl.F_SETFL, value))

    def do_mmap(
        self,
        fd: str,
        kind: str,
        prot: str,
        at: int,
        length: int,
        fill: int,
        store: tuple[int, int] | None = None,
    ) -> Record:
        """Map, look at all of it, and store ``store`` (offset and length) if asked to. A file of memory moves the
        bytes, so that what would be SIGBUS is EFAULT.
        """
        protection = {"r": 1, "w": 2, "rw": 3}[prot]
        sharing = {"shared": 1, "private": 2, "validate": 3}[kind]
        address = LIBC.mmap(None, length, protection, sharing, self.open[fd], at)
        if address == ctypes.c_void_p(-1).value:
            return {"result": None, "error": name_of(ctypes.get_errno())}
        other = os.memfd_create("seen")
        try:
            record: Record = {"result": 0}
            if "r" in prot:
                record["result"] = self._moved(LIBC.pwrite(other, address, length, 0))
                seen = os.pread(other, length, 0)
                record["data"] = describe(seen, self.block)
            if store is not None:
                offset, count = store
                os.pwrite(other, payload(fill, at + offset, count, self.block), 0)
                record["stored"] = self._moved(LIBC.pread(other, address + offset, count, 0))
                record["synced"] = self._moved(LIBC.msync(address, length, 4))
            return record
        finally:
            os.close(other)
            LIBC.munmap(address, length)

    @staticmethod
    def _moved(result: int) -> int | str:
        return result if result >= 0 else name_of(ctypes.get_errno())

    # ------------------------------------------------------------ names

    def do_truncate(self, path: str, size: int) -> Record:
        return attempt(lambda: os.truncate(self.path(path), size))

    def do_stat(self, path: str) -> Record:
        return attempt(lambda: full_text(os.stat(self.path(path))))

    def do_readdir(self, path: str) -> Record:
        def call() -> list[str]:
            with os.scandir(self.path(path)) as entries:
                return [
                    f"{entry.name} {'dir' if entry.is_dir() else 'file'} {entry.inode()}"
                    for entry in entries
                ]

        return attempt(call)

    def do_chmod(self, path: str, mode: int) -> Record:
        return attempt(lambda: os.chmod(self.path(path), mode))

    def do_chown(self, path: str, uid: int, gid: int) -> Record:
        return attempt(lambda: os.chown(self.path(path), uid, gid))

    def do_utime(self, path: str, atime: int, mtime: int) -> Record:
        def call() -> list[Any]:
            os.utime(self.path(path), ns=(atime, mtime))
            return times_text(os.stat(self.path(path)))

        return attempt(call)

    def do_statfs(self, path: str = "") -> Record:
        """All of struct statfs but the mount's flags."""
        raw = ctypes.create_string_buffer(256)
        if LIBC.statfs(self.path(path).encode(), raw):
            return {"result": None, "error": name_of(ctypes.get_errno())}
        kind, *counts = struct.unpack_from("<qqqqqqq", raw.raw)
        names = ("bsize", "blocks", "bfree", "bavail", "files", "ffree")
        numbers = dict(zip(names, counts, strict=True))
        fsid, length, fragment = struct.unpack_from("<Qqq", raw.raw, 56)
        numbers |= {"namelen": length, "frsize": fragment}
        return {"result": 0, "statfs": numbers, "type": f"{kind:#x}", "fsid": f"{fsid:#x}"}

    def do_flags(self) -> Record:
        """Whether statvfs and /proc/mounts call it read-only."""
        with open("/proc/self/mounts") as lines:
            mounts = [line.split(" ") for line in lines]
        options = [fields[3].split(",") for fields in mounts if fields[1] == self.root][-1]
        flag = bool(os.statvfs(self.root).f_flag & os.ST_RDONLY)
        return {"result": 0, "statvfs": flag, "mounts": options[0]}

    def do_create(self, path: str, flags: str = "O_WRONLY|O_CREAT") -> Record:
        """Open what may not be there, and close it."""
        return attempt(lambda: os.close(os.open(self.path(path), flags_of(flags), 0o644)))

    def do_mkdir(self, path: str) -> Record:
        return attempt(lambda: os.mkdir(self.path(path)))

    def do_mknod(self, path: str) -> Record:
        return attempt(lambda: os.mknod(self.path(path), stat.S_IFIFO | 0o644))

    def do_unlink(self, path: str) -> Record:
        return attempt(lambda: os.unlink(self.path(path)))

    def do_rmdir(self, path: str) -> Record:
        return attempt(lambda: os.rmdir(self.path(path)))

    def do_rename(self, path: str, to: str) -> Record:
        return attempt(lambda: os.rename(self.path(path), self.path(to)))

    def do_link(self, path: str, to: str) -> Record:
        return attempt(lambda: os.link(self.path(path), self.path(to)))

    def do_symlink(self, path: str, to: str) -> Record:
        return attempt(lambda: os.symlink(path, self.path(to)))

    # ------------------------------------------------------------ inside

    def _filled(self, fill: int, at: int, length: int, skew: int) -> memoryview:
        view = aligned_memory()[0][skew : skew + length]
        view[:] = payload(fill, max(at, 0), length, self.block)
        return view

    @staticmethod
    def _counted(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    @staticmethod
    def _cut(view: memoryview, lengths: list[int]) -> list[memoryview]:
        at, pieces = 0, []
        for length in lengths:
            pieces.append(view[at : at + length])
            at += length
        return pieces

    def _read(self, call: Callable[[], int], view: memoryview) -> Record:
        record = attempt(call)
        if record["result"] is not None:
            record["data"] = describe(bytes(view[: record["result"]]), self.block)
        return record


class Player(ABC):
    """Plays a scenario: makes the disk, formats it, mounts it, and does the steps."""

    RAW = ("open_zone", "close_zone", "finish_zone", "reset_zone", "write_zone", "condition", "bad")

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.disk: dict[str, Any] = scenario["disk"]
        self.options: dict[str, Any] = scenario["options"]
        self.mounted = False
        named = [step.get(name) for step in scenario["steps"] for name in ("path", "to")]
        zones = [step["zone"] for step in scenario["steps"] if "zone" in step]
        zones += [
            step["at"] // self.disk["zone_size"]
            for step in scenario["steps"]
            if step["do"] in self.RAW and "at" in step
        ]
        self.watched = {*named, *zones}
        """Files, and zones whose files, are looked at after each step."""

    # what subclasses do

    @abstractmethod
    def mount(self, options: dict[str, Any]) -> None:
        """errors, explicit_open, ro. Raises OSError."""

    @abstractmethod
    def umount(self) -> None:
        """Raises OSError."""

    @abstractmethod
    def remount(self, options: dict[str, Any]) -> None:
        """As mount()."""

    @abstractmethod
    def raw(self, do: str, arguments: dict[str, Any], number: int) -> Record:
        """A step of RAW: on the disk below the file system."""

    @abstractmethod
    def call(self, step: dict[str, Any], number: int) -> Record:
        """A step of Calls."""

    @abstractmethod
    def close_files(self) -> None:
        """All that the scenario left open."""

    @abstractmethod
    def zones(self) -> list[str]:
        """The disk's report, as Disk.report()."""

    @abstractmethod
    def counters(self) -> list[int]:
        """The values of COUNTERS."""

    def watch(self, names: list[str], numbers: list[int]) -> list[str]:
        """Of all files, by name and inode number, those to be looked at."""
        pairs = zip(names, numbers, strict=True)
        return [name for name, number in pairs if {name, number} & self.watched]

    @abstractmethod
    def seen(self) -> tuple[bool, int, list[str]]:
        """Whether it is read-only, the free blocks, and file_text() of each watched file."""

    @abstractmethod
    def tree(self) -> list[str]:
        """Every directory and file with full_text()."""

    # what all do

    def first(self) -> Record:
        if self.options.get("mount") is None:
            return self.state()
        return self._mount(self.options["mount"])

    def do(self, step: dict[str, Any], number: int) -> Record:
        do = step["do"]
        arguments = {name: value for name, value in step.items() if name != "do"}
        if do in self.RAW:
            record = self.raw(do, arguments, number)
        elif do == "mount":
            return (
                {"result": None, "error": "mounted", **self.state()}
                if self.mounted
                else self._mount(arguments)
            )
        elif not self.mounted:
            record = {"result": None, "error": "not mounted"}
        elif do == "umount":
            record = self._umount(**arguments)
        elif do == "remount":
            record = attempt(lambda: self.remount(arguments))
        else:
            record = self.call(step, number)
        return record | self.state()

    def _mount(self, options: dict[str, Any]) -> Record:
        record = attempt(lambda: self.mount(options))
        self.mounted = record["result"] is not None
        if self.mounted:
            record["tree"] = self.tree()
        return record | self.state()

    def _umount(self, busy: bool = False) -> Record:
        """``busy``: without closing the files first."""
        if not busy:
            self.close_files()
        record = attempt(self.umount)
        self.mounted = record["result"] is None
        return record

    def state(self) -> Record:
        if not self.mounted:
            return {"zones": self.zones()}
        counters = self.counters()  # first: over FUSE they wait for closes that are under way
        readonly, free, files = self.seen()
        zones = self.zones()
        return {"zones": zones, "files": files, "free": free, "ro": readonly, "counters": counters}

    def end(self) -> None:
        if self.mounted:
            self.close_files()
            self.umount()
            self.mounted = False


def file_names(root: str) -> list[str]:
    return [
        f"{group}/{name}"
        for group in ("cnv", "seq")
        if os.path.isdir(f"{root}/{group}")
        for name in sorted(os.listdir(f"{root}/{group}"), key=int)
    ]


class MountedPlayer(Player):
    """One that has a real mount at ``root``."""

    def __init__(self, scenario: dict[str, Any], root: str) -> None:
        super().__init__(scenario)
        self.root = root
        self.calls = Calls(root, self.disk["block"])
        self.names: list[str] = []

    def call(self, step: dict[str, Any], number: int) -> Record:
        return self.calls.do(step, number)

    def close_files(self) -> None:
        self.calls.close_all()

    def tree(self) -> list[str]:
        names = file_names(self.root)
        folders = ["", *(name for name in ("cnv", "seq") if os.path.isdir(f"{self.root}/{name}"))]
        every = {name: os.stat(f"{self.root}/{name}") for name in folders + names}
        self.names = self.watch(names, [every[name].st_ino for name in names])
        return [f"{name or '/'} {full_text(status)}" for name, status in every.items()]

    def seen(self) -> tuple[bool, int, list[str]]:
        status = os.statvfs(self.root)
        files = [file_text(os.stat(f"{self.root}/{name}")) for name in self.names]
        return bool(status.f_flag & os.ST_RDONLY), status.f_bfree, files


def play(player: Player, scenario: dict[str, Any]) -> Iterator[Record]:
    """First the mount, then a record for each step."""
    try:
        yield player.first()
        for number, step in enumerate(scenario["steps"], 1):
            try:
                yield player.do(step, number)
            except Exception as exc:
                where = f"{scenario['name']}, step {number} {step}"
                raise RuntimeError(f"the interpreter fails at {where}: {exc!r}") from exc
    finally:
        player.end()
