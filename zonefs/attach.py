"""Mount points: connect a directory to /dev/fuse, disconnect it, and find what a killed mount left.

Root uses mount(2) itself; anybody else goes through fusermount3, as every FUSE file system does.
Knows nothing of disks. Each failure is an OSError whose text is one sentence that says what to do.
"""

from __future__ import annotations

import contextlib
import errno as errnos
import os
import re
import stat as stats
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zoned._core.native import open_file, receive_file
from zoned.mounts import DEVICE, FS_TYPE, asked, dead, entries, target, top

if TYPE_CHECKING:
    import subprocess
    from io import FileIO

_PASSING = 1.0
"""Seconds that a mount may be busy without anybody having anything open in it."""
HELPER = "fusermount3"
HELPER_PATIENCE = 30.0
"""Seconds that the helper has, which may wait for the process of a mount."""


# ---------------------------------------------------------------- before mounting


def mount_point(path: str | os.PathLike[str], source: str, *, nonempty: bool = False) -> str:
    """The directory's real path, once it is fit to be mounted on.

    Mounts of zonefs whose process was killed are removed: one at this place, and those of this
    source anywhere.

    Raises FileNotFoundError, NotADirectoryError, PermissionError, OSError EBUSY where a zonefs is
    mounted already, ENOTEMPTY where the mount would hide something (unless nonempty).
    """
    if not os.fspath(path):
        raise FileNotFoundError(errnos.ENOENT, "the mount point has no name: give a directory")
    name = os.fsdecode(path)
    _remove_stale(source)
    try:
        mode = asked(lambda: os.stat(name), name).st_mode
    except OSError as error:
        if error.errno == errnos.ETIMEDOUT:
            raise
        if error.errno != errnos.ENOTCONN:
            raise _bad_point(error, name) from None
        where = os.path.realpath(name)
        entry = top(where)
        if entry is None or entry.fs_type != FS_TYPE:
            kind = "another file system" if entry is None else f"a {entry.fs_type}"
            raise OSError(
                errnos.EBUSY,
                f"{name} is the mount point of {kind} whose process has ended: unmount it first",
            ) from None
        detach(where, lazy=True)
        mode = os.stat(where).st_mode
    if not stats.S_ISDIR(mode):
        raise NotADirectoryError(
            errnos.ENOTDIR, f"{name} is not a directory: it cannot be mounted on"
        )
    where = os.path.realpath(name)
    entry = top(where)
    if entry is not None and entry.fs_type == FS_TYPE:
        raise OSError(
            errnos.EBUSY,
            f"{name} is in use: {entry.source} is mounted there; unmount that, or choose another"
            " directory",
        )
    if not nonempty:
        _refuse_full(where, name)
    return where


def _refuse_full(where: str, name: str) -> None:
    with contextlib.suppress(PermissionError), os.scandir(where) as inside:
        first = next(inside, None)
        if first is not None:
            raise OSError(
                errnos.ENOTEMPTY,
                f"the mount point {name} is not empty, and the mount would hide {first.name!r}:"
                " choose an empty directory, or use the option nonempty",
            )


def _bad_point(error: OSError, name: str) -> OSError:
    if error.errno == errnos.ENOENT:
        text = f"the mount point {name} does not exist: make the directory first"
    elif error.errno == errnos.ENOTDIR:
        text = f"the mount point {name} lies below something that is not a directory"
    else:
        text = f"the mount point {name} cannot be used: {error.strerror}"
    return OSError(error.errno, text)


def _remove_stale(source: str) -> None:
    """Unmount what killed processes left mounted of this source. What cannot be removed stays."""
    for entry in entries():
        if entry.fs_type != FS_TYPE or entry.source != source:
            continue
        if dead(entry.path) and top(entry.path) == entry:
            with contextlib.suppress(OSError):
                detach(entry.path, lazy=True)


# ---------------------------------------------------------------- mounting


def attach(lib: Any, path: str, source: str, *, readonly: bool, allow_other: bool) -> FileIO:
    """Mount, and return the descriptor through which the kernel asks.

    ``lib`` is that of zonefs._fuse, ``path`` comes from `mount_point`.

    Raises FileNotFoundError without /dev/fuse, PermissionError where neither mount(2) nor
    fusermount3 may, OSError with what either said.
    """
    file = _open_device()
    if file is None:
        return _by_helper(path, source, readonly=readonly, allow_other=allow_other)
    fd = file.fileno()
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    options += ",default_permissions" + (",allow_other" if allow_other else "")
    code = lib.zd_fuse_sys_mount(
        os.fsencode(source), os.fsencode(path), FS_TYPE.encode(), readonly, options.encode()
    )
    if code == 0:
        return file
    file.close()
    if code == -errnos.EPERM:
        return _by_helper(path, source, readonly=readonly, allow_other=allow_other)
    if code == -errnos.ENODEV:
        raise OSError(errnos.ENODEV, "this kernel has no FUSE: load its module (modprobe fuse)")
    raise OSError(-code, f"{path} cannot be mounted on: {os.strerror(-code)}")


# ---------------------------------------------------------------- changing a mount


def remount_request(
    ffi: Any, lib: Any, errors: str | None, explicit_open: bool | None, readonly: bool | None
) -> Any:
    """A ``struct zd_fuse_remount *``; what is None stays. ffi and lib are those of zonefs._fuse."""
    from zonefs.options import ERRORS_NUMBERS, Errors

    how = ffi.new("struct zd_fuse_remount *")
    if errors is not None:
        how.set |= lib.ZD_FUSE_SET_ERRORS
        how.errors = ERRORS_NUMBERS[Errors.parse(errors)]
    for bit, wanted in (
        (lib.ZD_FUSE_SET_EXPLICIT_OPEN, explicit_open),
        (lib.ZD_FUSE_SET_READONLY, readonly),
    ):
        if wanted is not None:
            how.set |= bit
            how.flags |= bit if wanted else 0
    return how


def check_remount(ffi: Any, how: Any, path: str) -> None:
    """Raise OSError for what became of a remount."""
    if how.code < 0:
        why = ffi.string(how.text).decode("utf-8", "replace") or os.strerror(-how.code)
        raise OSError(-how.code, f"{path} cannot be remounted: {why}")


def remount(
    path: str | os.PathLike[str],
    errors: str | None = None,
    explicit_open: bool | None = None,
    readonly: bool | None = None,
) -> None:
    """Change a mount that any process serves. As `Mount.remount`.

    Raises OSError EINVAL where no zonefs of ours is mounted, ETIMEDOUT if its process does not
    answer, PermissionError for who neither mounted it nor is root, and what `Mount.remount` raises.
    """
    import fcntl

    from zonefs._fuse import ffi, lib

    name = os.path.abspath(os.fsdecode(path))
    how = remount_request(ffi, lib, errors, explicit_open, readonly)
    raw = bytearray(ffi.buffer(how))
    entry = top(asked(lambda: os.path.realpath(name), name))
    if entry is None or entry.fs_type != FS_TYPE:
        raise OSError(errnos.EINVAL, f"{name} is not the mount point of a zonefs of zonedctl")

    def ask() -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, lib.zd_fuse_remount_ioctl(), raw)
        finally:
            os.close(fd)

    try:
        asked(ask, name, entry.source)
    except PermissionError:
        who = "only root and the user who mounted it may remount it"
        raise PermissionError(errnos.EPERM, f"{name} cannot be remounted: {who}") from None
    ffi.memmove(how, bytes(raw), len(raw))
    check_remount(ffi, how, name)


def missing() -> str:
    """What of FUSE this machine lacks, as a sentence; "" if nothing does."""
    try:
        file = _open_device()
    except OSError as error:
        return str(error.strerror)
    if file is not None:
        file.close()
    return ""


def _open_device() -> FileIO | None:
    """A descriptor; None where only fusermount3 may have one."""
    try:
        return open_file(DEVICE, os.O_RDWR)
    except OSError as error:
        if error.errno in (errnos.ENOENT, errnos.ENODEV, errnos.ENXIO):
            text = (
                f"there is no {DEVICE}: load the kernel's module (modprobe fuse), or give it to the"
                " container (--device /dev/fuse --cap-add SYS_ADMIN)"
            )
        elif error.errno in (errnos.EACCES, errnos.EPERM) and os.geteuid() != 0:
            return None
        else:
            text = f"{DEVICE} cannot be opened: {error.strerror}"
        raise OSError(error.errno, text) from None


def _by_helper(path: str, source: str, *, readonly: bool, allow_other: bool) -> FileIO:
    """fusermount3 mounts, and sends the descriptor over a socket (its manual: fusermount3(1))."""
    import socket

    name = source.replace("\\", "\\\\").replace(",", "\\,")
    options = f"{'ro' if readonly else 'rw'},nosuid,nodev,default_permissions"
    options += f"{',allow_other' if allow_other else ''},fsname={name},subtype=zonefs"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = _run_helper(["-o", options, "--", path], theirs.fileno())
        if done.returncode:
            raise _helper_failed(done, f"{path} cannot be mounted on")
        theirs.close()
        file = receive_file(ours.fileno())
    if file is None:
        raise OSError(errnos.EIO, f"{HELPER} mounted {path}, but gave no descriptor for it")
    return file


def _run_helper(
    args: list[str], command_socket: int | None = None
) -> subprocess.CompletedProcess[str]:
    import shutil
    import subprocess

    program = shutil.which(HELPER)
    if program is None:
        raise PermissionError(
            errnos.EPERM,
            f"mounting needs root or {HELPER}, which is not there: install it (Debian, Ubuntu:"
            " apt install fuse3)",
        )
    environment = dict(os.environ, LC_ALL="C")
    keep: tuple[int, ...] = ()
    if command_socket is not None:
        keep = (command_socket,)
        environment["_FUSE_COMMFD"] = str(keep[0])
    try:
        return subprocess.run(
            [program, *args],
            env=environment,
            pass_fds=keep,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            timeout=HELPER_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise OSError(
            errnos.ETIMEDOUT,
            f"{args[-1]}: {HELPER} did not end within {HELPER_PATIENCE:.0f} s and was killed; what"
            " is mounted there, or the disk below it, may not answer",
        ) from None


def _helper_failed(done: subprocess.CompletedProcess[str], what: str) -> OSError:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = re.sub(rf"^\S*{HELPER}: ", "", lines[-1]) if lines else f"status {done.returncode}"
    errno = errnos.EBUSY if "busy" in said.lower() else errnos.EPERM
    return OSError(errno, f"{what}: {said}")


# ---------------------------------------------------------------- unmounting


def detach(path: str, *, lazy: bool) -> None:
    """Unmount the topmost mount at path. lazy: it vanishes now, and ends with its last user.

    Raises OSError EBUSY with who uses it, PermissionError.
    """
    until = time.monotonic() + _PASSING
    while (code := _umount(path, lazy)) == -errnos.EBUSY:
        users = ", ".join(sorted(set(_users(path))))
        # Nobody has it open: somebody only looked (a walk over all mounts), and is gone soon.
        if users or time.monotonic() > until:
            raise OSError(errnos.EBUSY, f"{path} is in use by {users or 'some process'}")
        time.sleep(0.003)
    if code < 0:
        raise OSError(-code, f"{path} cannot be unmounted: {os.strerror(-code)}")


def _umount(path: str, lazy: bool) -> int:
    """0 or a negative errno. Raises what fusermount3 said where that is not EBUSY."""
    from zonefs._fuse import lib

    code = int(lib.zd_fuse_sys_umount(os.fsencode(path), lazy))
    if code != -errnos.EPERM:
        return code
    done = _run_helper(["-u", *(["-z"] if lazy else []), "--", path])
    if done.returncode == 0:
        return 0
    failure = _helper_failed(done, f"{path} cannot be unmounted")
    if failure.errno != errnos.EBUSY:
        raise failure
    return -errnos.EBUSY


def _users(path: str) -> Iterator[str]:
    """Processes with something open below path, as far as they can be seen."""
    inside = path.rstrip("/") + "/"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root"]
        try:
            links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                name = comm.read().strip()
        except OSError:
            continue
        if any((target(link) + "/").startswith(inside) for link in links):
            yield f"process {pid} ({name})"
