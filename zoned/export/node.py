"""``zoned.export.ublk``: a disk as a block device of this machine, as long as a `with` lasts."""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoned._core.handle import pointer
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import UBLK_DEVICE, Living, Owned, Turn
from zoned._core.waiting import in_slices
from zoned.device import Device, another
from zoned.export import registry, ublkstate
from zoned.export.lasting import Lasting
from zoned.export.ublkstate import State

_PATIENCE = 30.0  # seconds for the kernel to be done with a server that was killed

Image = str | os.PathLike[str] | Device


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a device has done so far."""

    commands: int
    """Requests of the kernel's."""
    bytes_in: int
    """Data that was written."""
    bytes_out: int
    """Data that was read."""
    errors: int
    """Requests that failed."""
    repeated: int
    """Requests that a killed server had carried out, and that were only acknowledged here."""

    def as_dict(self) -> dict[str, int]:
        """All fields."""
        return {name: getattr(self, name) for name in self.__slots__}


def _traffic(core: Owned) -> Traffic:
    raw = ffi.new("struct zd_ublk_counters *")
    with contextlib.suppress(ValueError), Guard(core):
        lib.zd_serve_ublk_counters(core.raw, raw)
    return Traffic(raw.commands, raw.bytes_in, raw.bytes_out, raw.errors, raw.repeated)


class _Watch:
    """A thread that answers whoever asks an export for its state or its end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None
        self.closed = False

    def add(self, descriptor: int, what: Callable[[], object]) -> None:
        """Before start(): call ``what`` in the thread when a descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, what)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="zoned-ublk-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data()

    def stop(self, *, wait: bool = True) -> None:
        """End it; it looks at nothing any more."""
        if self.closed:
            return
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self.close()

    def close(self) -> None:
        """The descriptors; in a forked child, too."""
        self.closed = True
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


class Ublk(Lasting):
    """A disk that is a block device. Made by `ublk`; a context manager; ``close()`` ends it.

    It belongs to the process that made it: a forked child has no part in it.
    """

    def __init__(self, disk: Device) -> None:
        """Not for users: see `ublk`. It owns the disk, and what _serve() adds, from here on."""
        self._disk = disk
        self._core = Owned(UBLK_DEVICE)
        self._pid = os.getpid()
        self._turn = Turn("the ublk export")
        self._state: State | None = None
        self._watch = _Watch()
        self._stopped = threading.Event()
        self._id = -1
        self.resumed = False
        """Whether it goes on with a device whose server was killed."""
        # Neither the entry nor the watching thread holds the export itself: who drops it ends it.
        facts = functools.partial(_facts, self._pid, disk.path, self._core)
        self._entry = registry.Entry(facts, self._stopped.set)

    def _serve(self, options: dict[str, int | None], *, whole_zones: bool) -> None:
        with ublkstate.turn():
            self._look_and_serve(options, whole_zones=whole_zones)

    def _look_and_serve(self, options: dict[str, int | None], *, whole_zones: bool) -> None:
        ublkstate.clean()
        left = ublkstate.find(self._disk.path, self._disk.uuid)
        if left is not None:
            self._state = left
            if self._go_on(left):
                self._begun()
                return
            self._state = None
            left.remove()
        self._state = State.new()
        config = ffi.new("struct zd_ublk_config *")
        config.size = ffi.sizeof("struct zd_ublk_config")
        config.whole_zones = whole_zones
        for name, value in options.items():
            if value is not None:
                setattr(config, name, value)
        path = ffi.new("char[]", os.fsencode(self._disk.path or ""))
        config.path = path if self._disk.path is not None else ffi.NULL
        err = ffi.new("struct zd_error *")
        with Guard(self._disk):
            code = lib.zd_serve_ublk_new(
                pointer(self._disk), config, self._state.fd, self._core.cell, err
            )
        if code < 0:
            ublkstate.refuse(code, err)
        self._begun()

    def _go_on(self, left: State) -> bool:
        """With the device that a killed server left; False: there is none any more."""
        err = ffi.new("struct zd_error *")

        def again() -> int:
            with Guard(self._disk):
                return int(
                    lib.zd_serve_ublk_again(pointer(self._disk), left.fd, self._core.cell, err)
                )

        code = ublkstate.patiently(again, _PATIENCE)
        if code in (-errno.ENODEV, -errno.ESTALE):
            return False
        if code < 0:
            ublkstate.refuse(code, err)
        self.resumed = True
        return True

    def _begun(self) -> None:
        self._core.use(self._disk)
        with Guard(self._core):
            self._id = lib.zd_serve_ublk_id(self._core.raw)
            self._watch.add(lib.zd_serve_ublk_event(self._core.raw), self._stopped.set)
        if self._entry.open():
            self._watch.add(self._entry.fileno(), self._entry.serve)
        _live.add(self)
        self._watch.start()

    # ------------------------------------------------------------ looking

    @property
    def path(self) -> str:
        """The block device, ``/dev/ublkb0``."""
        return f"/dev/ublkb{self._id}"

    @property
    def image(self) -> str | None:
        """Path of the image; None for a disk in RAM."""
        return self._disk.path

    @property
    def traffic(self) -> Traffic:
        """What it has done so far; zeros once it is closed."""
        return _traffic(self._core)

    @property
    def closed(self) -> bool:
        """Whether it has ended, and nothing of it is left."""
        return (
            self._core.closed
            and self._disk.closed
            and self._state is None
            and self._entry.closed
            and self._watch.closed
        )

    def as_dict(self) -> dict[str, Any]:
        """What it is and what it has done, for ``zonedctl export list``."""
        return _facts(self._pid, self._disk.path, self._core)

    # ------------------------------------------------------------ the end

    def wait(self, timeout: float | None = None) -> bool:
        """Until somebody asks it to stop (``zonedctl export stop``) or deletes the device, or
        timeout seconds passed.

        Returns whether that was so; ``close()`` is still to be called.
        """
        return in_slices(self._stopped.wait, timeout)

    def close(self) -> None:
        """Delete the block device and end. Whoever uses it gets EIO from then on: unmount first.
        Once done, does nothing. Finished writes are safe in any case.
        """
        self._check_process()
        with Guard(self._turn):
            self._end()

    def _end(self, *, wait: bool = True) -> None:
        """All of it, whatever fails of it. Once an interrupt came amid it, it can be done again."""
        with contextlib.ExitStack() as stack:  # the last one first
            stack.callback(self._stopped.set)
            stack.callback(self._entry.hide)
            stack.callback(self._entry.close)
            stack.callback(self._disk.close)
            stack.callback(self._leave)
            stack.callback(self._watch.stop, wait=wait)

    def _leave(self) -> None:
        """The device first, and then what tells of it."""
        with contextlib.suppress(ValueError), Guard(self._disk):
            lib.zd_end_hangs(pointer(self._disk))
        self._core.close()
        if self._state is not None:
            state, self._state = self._state, None
            state.remove()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<zoned.export.Ublk {self.path} of {self._disk.path or 'a disk in RAM'}{state}>"


def _facts(pid: int, image: str | None, core: Owned) -> dict[str, Any]:
    number = -1
    with contextlib.suppress(ValueError), Guard(core):
        number = lib.zd_serve_ublk_id(core.raw)
    return {
        "kind": "ublk",
        "pid": pid,
        "path": f"/dev/ublkb{number}",
        "image": image,
        "waits": False,
        **_traffic(core).as_dict(),
    }


def ublk(
    image: Image,
    *,
    device: int | None = None,
    queues: int | None = None,
    depth: int | None = None,
    max_io: int | None = None,
    whole_zones: bool = False,
    readonly: bool = False,
) -> Ublk:
    """Make a disk a host-managed zoned block device of this machine: ``/dev/ublkbN``.

    ``image`` is a disk's image, or a Device, whose disk is then opened once more. Needs root and
    Linux 6.6 or later with its module ublk_drv; what lacks is said in one sentence (OSError,
    PermissionError).

    If a server of this disk was killed, its device waits: this one goes on with it, and what was
    under way is neither lost nor done twice. The numbers below are then those that it has.

    ``device`` is N, which the kernel chooses otherwise; ``queues`` (1 to 64) and ``depth`` (1 to
    1024) say how many requests can be under way, ``max_io`` (4 KiB to 4 MiB, bytes) how large one
    can be. ``whole_zones`` leaves out a last zone that is smaller than the others, which such a
    device cannot have.

    Raises GeometryError for a disk that Linux takes for no such device, ValueError for a number out
    of range, FileExistsError if the disk is served by ublk already, and OSError from the host.
    """
    if device is not None and not 0 <= device < 1 << 20:
        raise ValueError(f"device is {device}: the number of a ublk device is 0 to {(1 << 20) - 1}")
    for name, value, least, most in (
        ("queues", queues, 1, 64),
        ("depth", depth, 1, 1024),
        ("max_io", max_io, 4 << 10, 4 << 20),
    ):
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} is {value}: it must be from {least} to {most}")
    if max_io is not None and max_io % (4 << 10):
        raise ValueError(f"max_io is {max_io}: it must be a multiple of 4096")
    options = {
        "id": None if device is None else device + 1,
        "queues": queues,
        "depth": depth,
        "max_io": max_io,
    }
    with contextlib.ExitStack() as stack:
        export = Ublk(stack.enter_context(another(image, readonly=readonly)))
        stack.pop_all()  # the disk is the export's from here on
    try:
        export._serve(options, whole_zones=whole_zones)
    except BaseException:
        export.close()
        raise
    return export


# ---------------------------------------------------------------- the end of the process, and forks

_live: Living[Ublk] = Living()


def _close_all() -> None:
    for export in _live.all():
        if export._pid == os.getpid():
            export.close()


def _after_fork() -> None:
    for export in _live.all():
        if export._state is not None:
            export._state.close()  # the lock is its server's alone
        export._watch.close()
        export._entry.close()
    _live.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)

__all__ = ["Traffic", "Ublk", "ublk"]
