"""``zonefs.mount``: show a disk's zonefs to every program, through FUSE.

The server is C (native/fs/fuse.h) in threads of this process; this file opens the disk, mounts,
and sees to it that nothing stays mounted: at the end of a `with`, at exit, on SIGTERM and SIGHUP
where nobody else handles them. After a kill -9 the next mount cleans up.
"""

from __future__ import annotations

import atexit
import contextlib
import errno as errnos
import os
import signal
import threading
import time
import warnings
from types import FrameType
from typing import Any, NoReturn, Self

from zoned import Device, mounts
from zoned._core.handle import pointer
from zoned._core.native import Guard, dup_file, ffi, lib
from zoned._core.owning import SERVED_FILE_SYSTEM, Kind, Living, Owned, Turn
from zoned._core.waiting import in_slices, readable
from zoned.device import another
from zonefs import attach
from zonefs.errors import raise_os_error
from zonefs.options import (
    ERRORS_NUMBERS,
    Errors,
    MountOptions,
    SeqFileCounters,
    counters_of,
    options_of,
)
from zonefs.superblock import MAX_ID, check_number

__all__ = ["Mount", "available", "mount"]

_NO_ID = 2**32 - 1
_PATIENCE = 1.0  # seconds that the end of a `with` waits for users to go


def _server() -> tuple[Any, Any]:
    """(ffi, lib) of the server. Raises OSError where the package was built without libfuse3."""
    try:
        from zonefs import _fuse
    except ImportError as error:
        why = str(error) if "libfuse3.so" in str(error) else "zoned was built without libfuse3"
        raise OSError(
            errnos.EOPNOTSUPP,
            f"mounting is not possible: {why}; install it (Debian, Ubuntu: apt install fuse3"
            " libfuse3-dev pkg-config; Fedora: dnf install fuse3 fuse3-devel) and then build zoned"
            " anew (pip install --force-reinstall --no-cache-dir --no-binary zoned zoned)",
        ) from None
    if _fuse.lib.zd_fuse_build() != lib.zd_native_build():
        raise ImportError(
            "zonefs._fuse and zoned._native come from different builds: install zoned again"
        )
    return _fuse.ffi, _fuse.lib


def available() -> str:
    """A sentence about what is missing for a mount; "" if nothing is."""
    try:
        _server()
    except OSError as error:
        return str(error.strerror)
    return attach.missing()


class Mount:
    """A mounted file system. Made by `mount`; a context manager; ``unmount()`` ends it.

    It belongs to the process that made it: a forked child that uses it gets RuntimeError.
    """

    def __init__(
        self,
        image: str | os.PathLike[str] | Device,
        path: str | os.PathLike[str],
        *,
        errors: Errors | str,
        explicit_open: bool,
        strict: bool,
        uid: int | None,
        gid: int | None,
        perm: int | None,
        allow_other: bool,
        nonempty: bool,
        readonly: bool,
        workers: int,
    ) -> None:
        """Not for users: see `mount`."""
        self._closed = True
        self._pid = os.getpid()
        self._turn = Turn("the mount")
        self._fuse_ffi, self._fuse = _server()
        self._strict = strict
        self._readonly = readonly
        check_number("workers", workers, int(self._fuse.ZD_FUSE_MAX_WORKERS) // 2)
        options = _options(errors, explicit_open, strict, readonly, uid=uid, gid=gid, perm=perm)
        attaching = False
        # A RAM disk's read-only mount may become writable, by root: see remount().
        in_ram = isinstance(image, Device) and image.path is None
        self._device = another(image, readonly=readonly and not in_ram)
        try:
            self._source = self._device.path or "ram"
            if self._device.path is not None:
                self._source = os.path.realpath(self._source)
            self._path = attach.mount_point(path, self._source, nonempty=nonempty)
            self._rules = Owned(SERVED_FILE_SYSTEM, self._device)
            """``zd_fs *``; a call on it is one on the device, too."""
            self._server = Owned(self._kind(), self._rules)
            self._mount_rules(options)
            attaching = True
            with attach.attach(
                self._fuse, self._path, self._source, readonly=readonly, allow_other=allow_other
            ) as file:
                self._start(file.fileno(), workers)
            # Answered by the server: it is up.
            number = mounts.asked(lambda: os.stat(self._path).st_dev, self._path, self._source)
            self._number = f"{os.major(number)}:{os.minor(number)}"
            with Guard(self._server):
                told = self._fuse.zd_fuse_mounted(self._server.raw, os.fsencode(self._path), number)
            if told < 0:
                raise MemoryError
            self._closed = False
            _live.add(self)
            _catch_signals()
        except BaseException:
            if attaching:
                self._detach_ours()
            self._end()
            raise

    def _kind(self) -> Kind:
        """How a server is owned: a forked child has none of its threads."""
        free, forget = (
            int(self._fuse_ffi.cast("uintptr_t", self._fuse_ffi.addressof(self._fuse, name)))
            for name in ("zd_own_fuse", "zd_own_forgotten_fuse")
        )
        return Kind("the mount", "zd_fuse *", free, forget=forget, ffi=self._fuse_ffi)

    def _mount_rules(self, options: Any) -> None:
        err = ffi.new("struct zd_error *")
        with Guard(self._device):
            code = lib.zd_fs_mount(pointer(self._device), options, self._rules.cell, err)
        if code < 0:
            raise_os_error(self._device, "mount", self._device.path, code, err)

    def _start(self, fd: int, workers: int) -> None:
        options = self._fuse_ffi.new("struct zd_fuse_options *")
        options.flags = self._fuse.ZD_FUSE_STRICT if self._strict else 0
        options.flags |= self._fuse.ZD_FUSE_READONLY if self._readonly else 0
        options.workers = workers
        with Guard(self._rules):
            code = self._fuse.zd_fuse_start(
                int(ffi.cast("uintptr_t", pointer(self._device))),
                int(ffi.cast("uintptr_t", self._rules.raw)),
                fd,
                options,
                self._server.cell,
            )
        if code < 0:
            raise OSError(-code, f"the file system cannot be served: {os.strerror(-code)}")

    def _detach_ours(self) -> None:
        """Making it ended early: unmount what may have been mounted."""
        with contextlib.suppress(OSError):
            entry = mounts.top(self._path)
            if entry and entry.fs_type == mounts.FS_TYPE and entry.source == self._source:
                attach.detach(self._path, lazy=True)

    def _end(self) -> None:
        """The server first, then what it uses. What is closed already stays so."""
        for owner in (getattr(self, "_server", None), getattr(self, "_rules", None), self._device):
            if owner is not None:
                owner.close()
        self._closed = True
        _live.discard(self)

    # ------------------------------------------------------------ looking

    @property
    def path(self) -> str:
        """The mount point, absolute."""
        return self._path

    @property
    def image(self) -> str | None:
        """Path of the disk's image; None for a disk in RAM."""
        return self._device.path

    @property
    def strict(self) -> bool:
        """Whether it keeps the kernel's rules to the letter."""
        return self._strict

    @property
    def mounted(self) -> bool:
        """Whether it is: False after unmount(), and once somebody else unmounted it."""
        self._check_process()
        try:
            with Guard(self._server):
                return not self._fuse.zd_fuse_ended(self._server.raw)
        except ValueError:  # it was unmounted
            return False

    @property
    def counters(self) -> SeqFileCounters:
        """What the kernel shows in /sys/fs/zonefs; also extended attributes of the mount point:
        ``user.zonefs.nr_wro_seq_files`` and so on.

        Raises OSError ETIMEDOUT while a file is being closed that waits for its disk.
        """
        self._check_open()

        def look() -> SeqFileCounters:
            self._await_closes()
            with Guard(self._rules):
                return counters_of(self._rules.raw)

        return mounts.asked(look, self._path, self._source)

    @property
    def options(self) -> MountOptions:
        """How it is mounted, now: an error may have made it read-only."""
        self._check_open()
        with Guard(self._rules):
            return options_of(self._rules.raw)

    @property
    def last_error(self) -> str:
        """Why a program was last refused something, as a sentence; "" if none was.

        Also the extended attribute ``user.zonefs.last_error`` of the mount point.
        """
        self._check_open()
        text = self._fuse_ffi.new("char[]", int(self._fuse.ZD_FUSE_TEXT))
        with Guard(self._server):
            self._fuse.zd_fuse_last_error(self._server.raw, text)
        return str(self._fuse_ffi.string(text).decode("utf-8", "replace"))

    # ------------------------------------------------------------ changing

    def remount(
        self,
        errors: Errors | str | None = None,
        explicit_open: bool | None = None,
        readonly: bool | None = None,
    ) -> None:
        """As ZoneFS.remount, for all programs that use the mount.

        Raises OSError EBUSY if made read-only while files are open for writing, EACCES to make
        writable what was mounted from an image with readonly=True (its disk is open read-only),
        PermissionError to make a RAM disk's read-only mount writable without root, ETIMEDOUT while
        a file is being closed that waits for its disk: it may be remounted yet, once that is over.
        """
        how = attach.remount_request(self._fuse_ffi, self._fuse, errors, explicit_open, readonly)
        with Guard(self._turn):
            self._check_open()

            def change() -> None:
                self._await_closes()
                with Guard(self._server):
                    self._fuse.zd_fuse_remount(self._server.raw, how)

            mounts.asked(change, self._path, self._source)
        attach.check_remount(self._fuse_ffi, how, self._path)

    def log_to_syslog(self) -> None:
        """From now on syslog, instead of standard error, is told what no program is: that an error
        made the mount read-only, and why; that bytes were lost behind a close.
        """
        with Guard(self._turn):
            self._check_open()
            with Guard(self._server):
                self._fuse.zd_fuse_use_syslog(self._server.raw)

    # ------------------------------------------------------------ the end

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is unmounted by somebody (`fusermount3 -u`), or timeout seconds have passed.

        Returns whether it has ended; ``unmount()`` is still to be called, as it frees the disk.
        """
        self._check_process()
        try:
            with Guard(self._server):
                event = dup_file(self._fuse.zd_fuse_event(self._server.raw))
        except ValueError:  # it was unmounted
            return True
        with event:
            return in_slices(readable(event.fileno()), timeout)

    def unmount(self, *, force: bool = False) -> None:
        """Unmount, end the server and close the disk. Once done, does nothing.

        Raises OSError EBUSY, naming the processes, while files are open or somebody's working
        directory is inside; nothing has changed then. ``force`` cuts them off: whatever they do
        there next fails with ENOTCONN. Finished writes are safe in any case.
        """
        self._check_process()
        with Guard(self._turn):
            if self._closed:
                return
            self._detach(force)
            self._end()
        _release_signals()

    def _cut_off(self) -> None:
        """At the end of the process, whatever is under way: unmount, and serve no longer."""
        with contextlib.suppress(OSError):
            self._detach(True)  # noqa: FBT003 - force
        with contextlib.suppress(OSError):
            self._end()

    def _detach(self, force: bool) -> None:
        there = [entry for entry in mounts.entries() if entry.device == self._number]
        ended = not self.mounted
        for entry in there:
            # The number may be another file system's by now, if ours was unmounted.
            if entry.fs_type != mounts.FS_TYPE or entry.source != self._source:
                continue
            if mounts.top(entry.path) != entry:
                raise OSError(
                    errnos.EBUSY, f"{entry.path} is covered by another mount: unmount that first"
                )
            try:
                attach.detach(entry.path, lazy=bool(ended))
            except OSError as error:
                if not force or error.errno != errnos.EBUSY:
                    raise
                attach.detach(entry.path, lazy=True)

    def _leave(self, *, patience: float) -> str:
        """Unmount, by force after a while; what had to be cut off."""
        until = time.monotonic() + patience
        while True:
            try:
                self.unmount()
            except OSError as error:
                if error.errno != errnos.EBUSY:
                    raise
                if time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                self.unmount(force=True)
                return str(error.strerror)
            return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        cut_off = self._leave(patience=_PATIENCE)
        if cut_off and raised[0] is None:
            warnings.warn(f"{cut_off}; it was cut off", ResourceWarning, stacklevel=2)

    def __del__(self) -> None:
        if not self._closed and self._pid == os.getpid():
            warnings.warn(f"{self!r} was not unmounted", ResourceWarning, source=self, stacklevel=2)
            self._leave(patience=0)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Mount belongs to its process and cannot be copied or pickled")

    def __repr__(self) -> str:
        state = ", unmounted" if self._closed else ", strict" if self._strict else ""
        return f"<zonefs.Mount of {self._source} at {self._path}{state}>"

    # ------------------------------------------------------------ inside

    def _await_closes(self) -> None:
        """Until the server knows of each close(2) that has returned."""
        with contextlib.suppress(OSError):
            os.getxattr(self._path, "user.zonefs.nr_wro_seq_files")

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(
                f"the mount at {self._path} belongs to process {self._pid}: a forked child cannot"
                " use it"
            )

    def _check_open(self) -> None:
        self._check_process()
        if self._closed:
            raise ValueError(f"{self._path} was unmounted")


def mount(
    image: str | os.PathLike[str] | Device,
    path: str | os.PathLike[str],
    *,
    errors: Errors | str = "remount-ro",
    explicit_open: bool = False,
    strict: bool = False,
    uid: int | None = None,
    gid: int | None = None,
    perm: int | None = None,
    allow_other: bool = False,
    nonempty: bool = False,
    readonly: bool = False,
    workers: int = 0,
) -> Mount:
    """Mount the zonefs on a disk at the directory ``path``; any program can use it then.

    ``image`` is a disk's image, or a Device, whose disk is then opened once more: a RAM disk can be
    mounted, and the Device still be used. One disk may be mounted, and open, many times at once.

    ``errors`` says what a failed write does (see Errors); ``explicit_open`` that opening a
    sequential file for writing opens its zone. ``strict`` gives Linux's rules to the letter;
    without it sequential files also take buffered writes of any length at their end, so that cp,
    dd, tar and >> work: the last block is padded with zeros by fsync and by the last close.
    ``uid``, ``gid``, ``perm`` (0o640) are those of the files; without them the files belong to the
    mounting user, or, if strict, to whom the superblock says. ``allow_other`` lets other users in.
    ``nonempty`` allows a directory that holds something, which is hidden while it is mounted.
    ``workers`` is the number of threads that wait for requests (0: what is best here).

    Raises FileNotFoundError, NotADirectoryError, PermissionError and OSError with a sentence about
    the mount point, /dev/fuse, fusermount3 or libfuse3 (EOPNOTSUPP: built without it), what
    `zoned.open` raises, and OSError EINVAL if the disk holds no zonefs.
    """
    return Mount(
        image,
        path,
        errors=errors,
        explicit_open=explicit_open,
        strict=strict,
        uid=uid,
        gid=gid,
        perm=perm,
        allow_other=allow_other,
        nonempty=nonempty,
        readonly=readonly,
        workers=workers,
    )


def mount_points(device: Device) -> list[str]:
    """Where a disk's zonefs is mounted, as far as that can be seen: by any process if it has an
    image, by this one if it is in RAM."""
    if device.path is not None:
        return mounts.mounts_of(os.path.realpath(device.path))
    with Guard(device):
        disk = os.fstat(lib.zd_fd(pointer(device)))
    found = []
    for one in _live.all():
        with contextlib.suppress(ValueError), Guard(one._device):  # it may be unmounted meanwhile
            if os.path.samestat(disk, os.fstat(lib.zd_fd(pointer(one._device)))):
                found.append(one.path)
    return found


def _options(
    errors: Errors | str, explicit_open: bool, strict: bool, readonly: bool, **ids: int | None
) -> Any:
    """``ids``: uid, gid and perm of all files; None: those of the superblock, or of whom it is."""
    for name, value in ids.items():
        if value is not None:
            check_number(name, value, 0o777 if name == "perm" else MAX_ID)
    if not strict:
        mine = {"uid": os.geteuid(), "gid": os.getegid()}
        ids |= {name: own for name, own in mine.items() if ids[name] is None}
    options = ffi.new("struct zd_fs_options *")
    options.errors = ERRORS_NUMBERS[Errors.parse(errors)]
    options.flags = lib.ZD_FS_EXPLICIT_OPEN if explicit_open else 0
    options.flags |= lib.ZD_FS_READONLY if readonly else 0
    options.flags |= 0 if strict else lib.ZD_FS_RELAXED
    for name, value in ids.items():
        setattr(options, name, _NO_ID if value is None else value)
    return options


# ---------------------------------------------------------------- the end of the process, and forks

_live: Living[Mount] = Living()
_CAUGHT = (signal.SIGTERM, signal.SIGHUP)


def _unmount_all() -> None:
    for one in _live.all():
        if one._pid == os.getpid():
            try:
                one._leave(patience=0)
            except (OSError, RuntimeError):  # RuntimeError: a signal came amid a call on it
                one._cut_off()


def _on_signal(number: int, _: FrameType | None) -> None:
    """Nobody else handles it, so the process ends by it; unmounted."""
    _unmount_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _catch_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _CAUGHT:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)


def _release_signals() -> None:
    if not _live and threading.current_thread() is threading.main_thread():
        for number in _CAUGHT:
            if signal.getsignal(number) is _on_signal:
                signal.signal(number, signal.SIG_DFL)


def _after_fork() -> None:
    _live.clear()  # their descriptors are closed already, so that a mount ends with its process
    _release_signals()


atexit.register(_unmount_all)
os.register_at_fork(after_in_child=_after_fork)
