"""ZoneFS: a zonefs in this process, without a mount.

Every zone of a disk is a file, by the rules of Linux 6.12's zonefs. The rules are C
(zoned/fs.h); this file finds names, makes Python's file objects, and turns attributes into the
types of ``os``. It acts as root does: permission bits are kept and shown, not enforced.
"""

from __future__ import annotations

import atexit
import errno as errnos
import io
import os
import stat as stats
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, NoReturn, Self, TypeVar

from zoned import Device, ZoneType
from zoned._core.handle import pointer
from zoned._core.looking import zone_written
from zoned._core.native import File, Guard, ffi, lib
from zoned._core.owning import FILE_SYSTEM, Living, Owned
from zonefs.errors import raise_os_error
from zonefs.files import ZoneFile, buffered
from zonefs.options import (
    ERRORS_NUMBERS,
    Errors,
    MountOptions,
    SeqFileCounters,
    changed_options,
    counters_of,
    options_of,
)
from zonefs.paths import ZonePath
from zonefs.stream import StreamFile
from zonefs.superblock import Superblock, checked_device, superblock_of

_T = TypeVar("_T")
Name = str | bytes | PurePosixPath | ZonePath
_DEFAULT = 2**32 - 1  # uid, gid, perm: as the superblock says
_MODES = {
    "r": (os.O_RDONLY, os.O_RDWR),
    "w": (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDWR | os.O_CREAT | os.O_TRUNC),
    "a": (os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_CREAT | os.O_APPEND),
    "x": (os.O_WRONLY | os.O_CREAT | os.O_EXCL, os.O_RDWR | os.O_CREAT | os.O_EXCL),
}
_KEPT_FLAGS = os.O_DIRECT | os.O_APPEND | os.O_DSYNC
_mounted: Living[ZoneFS] = Living()


def mounted_here(dev: Device) -> bool:
    """Whether a ZoneFS of this process uses the device."""
    return any(fs.device is dev and not fs.closed for fs in _mounted.all())


class ZoneFS:
    """The file system on a disk, mounted for this object. A context manager; close() unmounts.

    ``errors`` says what a failed write does (see Errors), ``explicit_open`` that opening a
    sequential file for writing opens its zone; ``readonly`` mounts read-only, as a disk that is
    open read-only always is. Several ZoneFS, mounts and processes may use one disk at once; each
    keeps its own idea of file sizes, as kernel mounts would (see ``revalidate``).

    Any number of threads may use it. A forked child goes on with a copy of its own.

    Raises OSError EINVAL if the disk holds no zonefs (the sentence names the failed check).
    """

    def __init__(
        self,
        dev: Device,
        errors: Errors | str = "remount-ro",
        explicit_open: bool = False,
        readonly: bool = False,
    ) -> None:
        checked_device(dev)
        self._device = dev
        self._pid = os.getpid()
        self._open_files: Living[Any] = Living()
        self._known: dict[str, int] = {}
        options = _options(Errors.parse(errors), explicit_open, readonly or dev.readonly)
        err = ffi.new("struct zd_error *")
        raw = ffi.new("struct zd_fs_format *")
        rules = Owned(FILE_SYSTEM, dev)
        try:
            with Guard(dev):
                code = lib.zd_fs_mount(pointer(dev), options, rules.cell, err)
                if code == 0:
                    lib.zd_fs_read_super(pointer(dev), raw, err)
            if code < 0:
                raise_os_error(dev, "mount", dev.path, code, err)
            self._superblock = superblock_of(raw)
            with Guard(rules):
                self._root = int(lib.zd_fs_root(rules.raw))
            self._block = dev.geometry.physical_block
            self._rules = rules
            """``zd_fs *``; a call on it is one on the device, too."""
            _mounted.add(self)
        except BaseException:
            rules.close()
            raise

    # ------------------------------------------------------------ files

    def open(
        self,
        path: Name,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        pad: bool = False,
    ) -> IO[Any]:
        """As the builtin open: a raw file (buffering=0), a buffered one, or text.

        A sequential file is written in whole blocks at its end: mode "a" appends, "w" resets the
        zone first (a conventional file cannot be truncated: overwrite it with "r+b"). The buffered
        files pass on whole blocks only; a last block that is not whole makes flush and close fail
        with EINVAL, or is filled up with zeros if ``pad``. For byte streams of any length, which
        must come back exactly, use ``open_stream``.

        Raises OSError with the kernel's errno: ENOENT, EISDIR, EPERM (dead zone; "w" on a
        conventional file), EROFS, EBUSY (explicit_open, too many files), and what the disk says.
        """
        flags, text = _parse_mode(mode, buffering, encoding, errors, newline)
        name = _name_of(path)
        ino = self._lookup(path)
        sequential = self._is_sequential(ino)
        kept = flags & os.O_APPEND
        if sequential:
            kept |= os.O_DIRECT  # a sequential file takes nothing else
        raw = self._open_ino(ino, name, flags, 0, kept)
        if flags & os.O_APPEND:
            raw.seek(0, os.SEEK_END)
        file: Any = raw
        if buffering == 0:
            return self._remember(file)
        try:
            block = self._block if sequential else 0
            file = buffered(raw, -1 if buffering == 1 else buffering, block, pad)
            if text:
                file = io.TextIOWrapper(file, encoding, errors, newline, buffering == 1)
                file.mode = mode
        except BaseException:
            raw.close()
            raise
        return self._remember(file)

    def open_raw(self, path: Name, flags: int) -> ZoneFile:
        """As os.open, with O_* flags and the kernel's distinction of direct and buffered I/O.

        Without O_DIRECT a sequential file refuses writes (EIO), with it reads and writes must be
        block-aligned. O_APPEND, O_TRUNC, O_EXCL, O_SYNC and O_DSYNC mean what they mean to open(2).
        """
        name = _name_of(path)
        kept = flags & _KEPT_FLAGS
        return self._remember(self._open_ino(self._lookup(path), name, flags, kept, kept))

    def open_stream(
        self,
        path: Name,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        recover: bool = False,
    ) -> IO[Any]:
        """A sequential file as an ordinary file: any number of bytes, exactly as they were written.

        Modes and wrappers as the builtin open; "r+" and "a+" can seek and overwrite, which appends
        to the zone what is new. See zonefs.stream for how the true length is kept. Each flush takes
        at least one block of the zone. ``recover`` takes a stream whose writer died before it
        closed, up to its last flush.

        Raises what ``open`` raises, StreamError if the file is no stream, EFBIG when the zone is
        full, EINVAL for a conventional file.
        """
        flags, text = _parse_mode(mode, buffering, encoding, errors, newline)
        name = _name_of(path)
        ino = self._lookup(path)
        if ino < self._root and not self._is_sequential(ino):
            why = (
                f"{name} is a conventional file, whose size is fixed: streams need sequential ones"
            )
            raise OSError(errnos.EINVAL, why, name)
        if flags & os.O_ACCMODE == os.O_WRONLY:
            flags = (flags & ~os.O_WRONLY) | os.O_RDWR  # a writer reads where the stream ends
        raw = self._open_ino(ino, name, flags & ~os.O_APPEND, 0, os.O_DIRECT)
        try:
            size = self.size_of(ino, name)
            end = min(size, zone_written(self._device, ino))
            limit = self._device.geometry.zone_capacity_of(ino) if end == size else end
            stream = StreamFile(raw, mode, self._block, limit, end, recover)
            file: Any = stream if buffering == 0 else stream.buffered(buffering)
            if text:
                file = io.TextIOWrapper(file, encoding, errors, newline, buffering == 1)
                file.mode = mode
        except BaseException:
            raw.close()
            raise
        return self._remember(file)

    def truncate(self, path: Name, size: int) -> None:
        """As os.truncate: 0 resets a sequential file's zone, its capacity finishes it.

        Raises OSError EPERM for any other size and for conventional files, EFBIG beyond the largest
        file, EISDIR, EROFS.
        """
        if size < 0:
            raise OSError(errnos.EINVAL, "a size cannot be negative", _name_of(path))
        to = ffi.new("struct stat *")
        to.st_size = min(size, 2**63 - 1)
        self._setattr("truncate", path, to, lib.ZD_FS_SET_SIZE)

    def fsync(self, path: Name) -> None:
        """Make what was written to the disk durable, as os.fsync on the file.

        Raises OSError EPERM if the zone is dead, EINVAL for a directory, and what the disk says.
        """
        ino = self._lookup(path)
        self._call(f"fsync of {_name_of(path)}", path, lib.zd_fs_fsync, ino)

    # ------------------------------------------------------------ the tree

    def listdir(self, path: Name = "/") -> list[str]:
        """The names in a directory, in zonefs's order: cnv, seq; 0, 1, 2, ..."""
        return [name for name, _ in self._entries(path)]

    def walk(self, top: Name = "/") -> Iterator[tuple[str, list[str], list[str]]]:
        """As os.walk, from the top down; the root's name is "". Entries of ``dirnames`` that are
        removed are not visited."""
        folders: list[str] = []
        files: list[str] = []
        for name, is_folder in self._entries(top):
            (folders if is_folder else files).append(name)
        base = _name_of(top).strip("/")
        yield base, folders, files
        for folder in folders:
            yield from self.walk(f"{base}/{folder}" if base else folder)

    def stat(self, path: Name) -> os.stat_result:
        """As os.stat. st_dev is 0; st_blocks counts the zone's capacity, written or not."""
        return self._stat_ino(self._lookup(path), path)

    def exists(self, path: Name) -> bool:
        """Whether there is such a file or directory."""
        try:
            self._lookup(path)
        except OSError as error:
            if error.errno in (errnos.ENOENT, errnos.ENOTDIR, errnos.ENAMETOOLONG):
                return False
            raise
        return True

    def is_file(self, path: Name) -> bool:
        """Whether it is a zone's file."""
        return self.exists(path) and stats.S_ISREG(self.stat(path).st_mode)

    def is_dir(self, path: Name) -> bool:
        """Whether it is a directory."""
        return self.exists(path) and stats.S_ISDIR(self.stat(path).st_mode)

    def is_sequential(self, path: Name) -> bool:
        """Whether it is the file of a sequential zone."""
        return self._is_sequential(self._lookup(path))

    def zone_of(self, path: Name) -> int:
        """The index of the zone behind a file (of the first one, where they are aggregated)."""
        ino = self._lookup(path)
        if ino >= self._root:
            raise OSError(errnos.EISDIR, "a directory has no zone", _name_of(path))
        return ino

    def statvfs(self) -> os.statvfs_result:
        """As os.statvfs on the mount point."""
        raw = ffi.new("struct zd_fs_statfs *")
        self._call("statvfs", None, _without_error(lib.zd_fs_statfs), raw)
        free = raw.bfree
        flag = os.ST_RDONLY if self.options.readonly else 0
        row = (raw.bsize, raw.bsize, raw.blocks, free, free, raw.files, 0, 0, flag, raw.namelen)
        return os.statvfs_result((*row, raw.fsid))

    # ------------------------------------------------------------ attributes

    def chmod(self, path: Name, mode: int) -> None:
        """As os.chmod; lasts until umount. EPERM for a dead zone, and for a directory made
        writable."""
        to = ffi.new("struct stat *")
        to.st_mode = mode & 0o7777
        self._setattr("chmod", path, to, lib.ZD_FS_SET_MODE)

    def chown(self, path: Name, uid: int, gid: int) -> None:
        """As os.chown, -1 leaves a number alone; lasts until umount."""
        to = ffi.new("struct stat *")
        what = 0
        if uid != -1:
            to.st_uid = uid
            what |= lib.ZD_FS_SET_UID
        if gid != -1:
            to.st_gid = gid
            what |= lib.ZD_FS_SET_GID
        self._setattr("chown", path, to, what)

    def utime(
        self,
        path: Name,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
    ) -> None:
        """As os.utime: seconds, or nanoseconds by ``ns``, or now."""
        import time

        if times is not None and ns is not None:
            raise ValueError("utime: give times or ns, not both")
        if ns is None:
            now = time.time_ns()
            ns = (now, now) if times is None else (_to_ns(times[0]), _to_ns(times[1]))
        to = ffi.new("struct stat *")
        to.st_atim.tv_sec, to.st_atim.tv_nsec = divmod(ns[0], 10**9)
        to.st_mtim.tv_sec, to.st_mtim.tv_nsec = divmod(ns[1], 10**9)
        self._setattr("utime", path, to, lib.ZD_FS_SET_ATIME | lib.ZD_FS_SET_MTIME)

    # ------------------------------------------------------------ the mount

    @property
    def device(self) -> Device:
        """The disk. It stays open when the ZoneFS is closed."""
        return self._device

    @property
    def options(self) -> MountOptions:
        """The mount's options, now."""
        with Guard(self._rules):
            return options_of(self._rules.raw)

    @property
    def superblock(self) -> Superblock:
        """Label, uuid, features and owners, as mkfs set them."""
        return self._superblock

    @property
    def counters(self) -> SeqFileCounters:
        """What /sys/fs/zonefs/<dev>/ shows."""
        with Guard(self._rules):
            return counters_of(self._rules.raw)

    @property
    def block_size(self) -> int:
        """The unit of writing: the disk's physical block, bytes."""
        return self._block

    def remount(
        self,
        errors: Errors | str | None = None,
        explicit_open: bool | None = None,
        readonly: bool | None = None,
    ) -> None:
        """As mount -o remount: what is None stays. readonly=False ends a read-only state that an
        error caused.

        Raises OSError EBUSY if made read-only while files are open for writing, EACCES if the disk
        is open read-only.
        """
        with Guard(self._rules):
            options = changed_options(self._rules.raw, errors, explicit_open, readonly)
        self._call("remount", None, _without_error(lib.zd_fs_remount), options)

    def revalidate(self, path: Name) -> bool:
        """Take a file's size from its zone, if another user of the disk changed it since it was
        last looked at. Returns whether that was so. (The kernel never does: errors tell it.)
        """
        ino = self._lookup(path)
        return self._call("revalidate", path, _without_error(lib.zd_fs_revalidate), ino) == 1

    @property
    def closed(self) -> bool:
        """True once close() was called."""
        return self._rules.closed

    def close(self) -> None:
        """Flush and close files that are still open, then unmount. The disk stays open.

        Raises the first error of closing a file, once everything is closed.
        """
        first: OSError | None = None
        if not self._device.closed:
            with Guard(self._device):  # refused in a signal handler inside a call on this disk
                pass
        for file in self._open_files.all():
            try:
                file.close()
            except ValueError:
                # An interrupt amid its own close() took its buffer, which was passed on or told of
                # then. It is closed now; Python only says that there was nothing to flush.
                pass
            except OSError as error:
                first = first or error
        self._rules.close()
        _mounted.discard(self)
        if first is not None:
            raise first

    def __enter__(self) -> Self:
        if self.closed:
            raise ValueError("the file system is closed")
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if hasattr(self, "_rules") and not self.closed:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ZoneFS cannot be copied or pickled: make another on its device")

    def __truediv__(self, part: str | PurePosixPath) -> ZonePath:
        """``fs / "seq" / "0"``."""
        return ZonePath(self, part)

    def __repr__(self) -> str:
        label = f" {self._superblock.label!r}" if self._superblock.label else ""
        return f"<zonefs.ZoneFS{label} on {self._device!r}{', closed' if self.closed else ''}>"

    # ------------------------------------------------------------ inside

    def _after_fork(self) -> None:
        """In the child, where no thread is that was inside a call: whatever it held is free."""
        if not self.closed and not self._device.closed:
            lib.zd_fs_forked(self._rules.raw)

    def _call(
        self, what: str, path: Name | None, function: Callable[..., int], *args: object
    ) -> int:
        err = ffi.new("struct zd_error *")
        with Guard(self._rules):
            code = function(self._rules.raw, *args, err)
        if code < 0:
            name = None if path is None else _name_of(path)
            raise_os_error(self._device, what, name, code, err)
        return code

    def _lookup(self, path: Name) -> int:
        """The inode number behind a path, component by component."""
        if isinstance(path, ZonePath) and path.fs is not self:
            raise ValueError(f"{path!r} belongs to another ZoneFS")
        if self.closed:
            raise ValueError("the file system is closed")
        name = _name_of(path)
        known = self._known.get(name)
        if known is not None:
            return known
        ino = self._root
        out = ffi.new("uint64_t *")
        code = 0
        with Guard(self._rules):
            for part in name.split("/"):
                raw = os.fsencode(part)
                if b"\0" in raw:
                    raise ValueError("embedded null character in a path")
                if not part and ino == self._root:
                    continue
                # Within a path "" is what "." is; behind a file neither is anything.
                code = lib.zd_fs_lookup(self._rules.raw, ino, raw or b".", out)
                if code < 0:
                    break
                ino = int(out[0])
        if code < 0:
            raise OSError(-code, os.strerror(-code), name)
        if len(self._known) < 4 * self._root:  # names never change, but "./././seq" has no end
            self._known[name] = ino
        return ino

    def _is_sequential(self, ino: int) -> bool:
        geometry = self._device.geometry
        return ino < self._root and geometry.zone_type(ino) != ZoneType.CONVENTIONAL

    def _open_ino(
        self, ino: int, name: str, flags: int, read_flags: int, write_flags: int
    ) -> ZoneFile:
        file = File()
        report = _Report(self._device)
        file._prepare(self._device, report, name, read_flags, write_flags, 0)
        try:
            out = ffi.cast("zd_fs_file **", file._cell)
            self._call(f"open of {name}", name, _opening(ino, flags, out))
            return ZoneFile(self, file, name, flags, ino)
        except BaseException:
            file.close()
            raise

    def _entries(self, path: Name) -> Iterator[tuple[str, bool]]:
        """Names in a directory, but for "." and "..", and whether each is a directory."""
        folder = self._lookup(path)
        index = ffi.new("uint64_t *", 2)
        ino = ffi.new("uint64_t *")
        kind = ffi.new("mode_t *")
        name = ffi.new("char[17]")
        found: list[tuple[str, bool]] = []
        with Guard(self._rules):
            while True:
                code = lib.zd_fs_readdir(self._rules.raw, folder, index, ino, kind, name)
                if code != 1:
                    break
                found.append((ffi.string(name).decode("ascii"), stats.S_ISDIR(kind[0])))
        if code < 0:
            raise OSError(-code, os.strerror(-code), _name_of(path))
        return iter(found)

    def _setattr(self, verb: str, path: Name, to: Any, what: int) -> None:
        ino = self._lookup(path)
        self._call(f"{verb} of {_name_of(path)}", path, lib.zd_fs_setattr, ino, to, what)

    def _stat_ino(self, ino: int, path: Name) -> os.stat_result:
        raw = ffi.new("struct stat *")
        self._call("stat", path, _without_error(lib.zd_fs_getattr), ino, raw)
        times = [at.tv_sec * 10**9 + at.tv_nsec for at in (raw.st_atim, raw.st_mtim, raw.st_ctim)]
        row = (raw.st_mode, raw.st_ino, 0, raw.st_nlink, raw.st_uid, raw.st_gid, raw.st_size)
        more: dict[str, float] = {"st_blksize": raw.st_blksize, "st_blocks": raw.st_blocks}
        for name, ns in zip(("atime", "mtime", "ctime"), times, strict=True):
            more[f"st_{name}"] = ns / 10**9
            more[f"st_{name}_ns"] = ns
        return os.stat_result((*row, *(ns // 10**9 for ns in times)), more)

    def size_of(self, ino: int, path: Name) -> int:
        raw = ffi.new("struct stat *")
        self._call("stat", path, _without_error(lib.zd_fs_getattr), ino, raw)
        return int(raw.st_size)

    def _remember(self, file: _T) -> _T:
        """So that close() can close it."""
        self._open_files.add(file)
        return file


class _Report:
    """What a File calls when the file system or the disk refuses."""

    __slots__ = ("_device",)

    def __init__(self, device: Device) -> None:
        self._device = device

    def __call__(self, name: str, verb: str, code: int, raw: bytes) -> None:
        err = ffi.new("struct zd_error *")
        ffi.memmove(err, raw, len(raw))
        raise_os_error(self._device, f"{verb} of {name}", name, code, err)


def _opening(ino: int, flags: int, out: Any) -> Callable[[Any, Any], int]:
    def function(handle: Any, err: Any) -> int:
        return int(lib.zd_fs_open(handle, ino, flags, out, err))

    return function


def _without_error(function: Callable[..., int]) -> Callable[..., int]:
    """A function of the library that takes no ``struct zd_error *``, in the shape of one that
    does."""

    def call(*args: Any) -> int:
        return function(*args[:-1])

    return call


def _options(errors: Errors, explicit_open: bool, readonly: bool) -> Any:
    raw = ffi.new("struct zd_fs_options *")
    raw.errors = ERRORS_NUMBERS[errors]
    raw.flags = (lib.ZD_FS_EXPLICIT_OPEN if explicit_open else 0) | (
        lib.ZD_FS_READONLY if readonly else 0
    )
    raw.uid = raw.gid = raw.perm = _DEFAULT
    return raw


def _name_of(path: Name) -> str:
    if isinstance(path, bytes):
        return os.fsdecode(path)
    if isinstance(path, (str, PurePosixPath, ZonePath)):
        return str(path)
    raise TypeError(f"path must be str, bytes or a path object, not {type(path).__name__}")


def _to_ns(seconds: float) -> int:
    return seconds * 10**9 if isinstance(seconds, int) else round(seconds * 1e9)


def _parse_mode(
    mode: str, buffering: int, encoding: str | None, errors: str | None, newline: str | None
) -> tuple[int, bool]:
    """open(2)'s flags and whether it is text; refuses what the builtin open refuses."""
    letters = set(mode)
    kinds = letters & set("rwax")
    if len(letters) != len(mode) or letters - set("rwaxbt+") or len(kinds) != 1:
        raise ValueError(f"invalid mode: {mode!r}")
    if letters >= {"b", "t"}:
        raise ValueError("can't have text and binary mode at once")
    text = "b" not in letters
    if not text:
        for what, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
            if value is not None:
                raise ValueError(f"binary mode doesn't take an {what!r} argument")
    elif buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if not text and buffering == 1:
        raise ValueError("line buffering is for text only: give a size, or leave buffering out")
    return _MODES[kinds.pop()]["+" in letters], text


def _after_fork() -> None:
    for fs in _mounted.all():
        fs._after_fork()


def _close_all() -> None:
    """At exit, before the disks: what files hold back is written, as that of Python's own files.

    Not in a forked child, where it is the parent's; and not while daemon threads run, which may be
    inside calls that never end.
    """
    failed: BaseException | None = None
    for fs in _mounted.all():
        if fs._pid != os.getpid() or threading.active_count() > 1:
            continue
        what = repr(fs)
        try:
            fs.close()
        except (OSError, ValueError) as error:
            failed = error
        warnings.warn(f"unclosed {what}", ResourceWarning, source=fs, stacklevel=1)
    if failed is not None:
        raise failed


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
