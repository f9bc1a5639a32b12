"""``dev.clock``: how long a program's commands would take on a modelled drive, in virtual time.

The commands are real ones, those of this handle, a ZoneFS on it included (a mount has a handle of
its own). The model of a drive, the [model] of a profile, says how long each would have taken, one
after the other. Nothing is slowed down and no wall clock is read: the same commands in the same
order give the same time on any machine. Workloads that are described instead of run, with a queue
depth, are ``zonedctl bench``'s.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from zoned._core.conversions import config_of
from zoned._core.figures import Figure
from zoned._core.handle import Handle, call, pointer
from zoned._core.native import Guard, ffi, lib
from zoned._core.owning import CLOCK, Owned, Turn
from zoned._core.raising import raise_error

if TYPE_CHECKING:
    from zoned.drives.models import Model
    from zoned.geometry import Geometry

PARTS = (
    *("seek", "rotate", "media", "switch", "interface", "zone command", "controller"),
    *("buffer full", "flash", "die", "clean", "move"),
)
"""What a drive's time goes to, in the order of ``enum zd_sim_part``."""
_MOST_IDLE = 10.0**9


class State:
    """What a handle remembers of its clock."""

    __slots__ = ("model", "raw", "turn")

    def __init__(self) -> None:
        self.model = "null"
        self.raw: Owned | None = None
        """The last one that was started, attached or no longer."""
        self.turn = Turn("the clock")


def _figure(clock: Clock, name: str) -> int:
    raw = clock._state.raw
    return 0 if raw is None else int(getattr(_look(raw), name))


class Clock:
    """The virtual clock of one handle; off until ``start``. Times are whole nanoseconds. Any number
    of threads may use it.

    ``with dev.clock.start("hc620") as clock:`` runs it for the block; ``clock.now`` stays readable
    afterwards. A forked child's commands do not move it.
    """

    __slots__ = ("_device", "_state")

    def __init__(self, device: Handle, state: State) -> None:
        """Not for users: ``dev.clock``."""
        self._device = device
        self._state = state

    def start(
        self, profile: str | os.PathLike[str] | None = None, *, seed: int | None = None
    ) -> Self:
        """From now on each command takes its time; ``now`` begins at 0 again.

        ``profile`` names the drive: built in ("hc620", "zn540", ...), or a ``.toml`` file with a
        [model]; without it, the disk's own profile. Only the model is taken from it: sizes are the
        disk's. ``seed`` is of what is random in a model; without it, the disk's.

        Raises ProfileError (unknown, or it has no model), GeometryError (the model does not fit the
        disk: a drive-managed one wants conventional zones only), RuntimeError if it runs already,
        io.UnsupportedOperation on a handle opened read-only.
        """
        from zoned.drives.models import load_model
        from zoned.drives.profiles import ProfileError

        state = self._state
        geometry = self._device.geometry
        name = geometry.profile if profile is None else str(os.fspath(profile))
        with Guard(state.turn):
            if self.running:
                raise RuntimeError(f"the clock runs already, as {state.model}: stop it first")
            if not name:
                raise ProfileError(
                    "the disk was made without a profile: name the drive to be timed as"
                )
            model = load_model(name, needed=True)
            raw = made(model, geometry, geometry.seed if seed is None else seed)
            # The handle remembers it first: one that runs is always one that can be stopped.
            before = state.raw, state.model
            try:
                state.raw, state.model = raw, name
                call(self._device, _attach(raw))
            except BaseException:
                if not _runs(raw):
                    state.raw, state.model = before
                raise
        return self

    def stop(self) -> None:
        """Commands take no more time; ``now`` stays. Nothing happens if it does not run."""
        state = self._state
        with Guard(state.turn):
            if state.raw is not None and self.running:
                with Guard(self._device, state.raw):
                    lib.zd_clock_detach(state.raw.raw, pointer(self._device))

    def idle(self, seconds: float) -> None:
        """Let time pass in which nothing is asked of the drive: it may empty its cache, or clean.

        Raises ValueError for a negative or endless time, RuntimeError while the clock is off.
        """
        if not 0 <= seconds <= _MOST_IDLE:
            raise ValueError(f"idle for {seconds} s: it must be 0 to {_MOST_IDLE:g} seconds")
        raw = self._state.raw
        if raw is None or not _runs(raw):
            raise RuntimeError("the clock is off: start it first")
        with Guard(raw):
            lib.zd_clock_idle(raw.raw, round(seconds * 1e9))

    @property
    def model(self) -> str:
        """The profile that time is taken from; "null" while there was none: no time passes."""
        return self._state.model

    @property
    def running(self) -> bool:
        """Whether commands take time now."""
        raw = self._state.raw
        return raw is not None and not self._device.closed and _runs(raw)

    now = Figure(_figure, "Nanoseconds since ``start``, idle ones included; 0 before.")
    busy = Figure(_figure, "Nanoseconds that commands took: ``now`` without the idle ones.")
    last = Figure(_figure, "Nanoseconds that the last command took.")
    commands = Figure(_figure, "How many commands took their time.")

    @property
    def parts(self) -> dict[str, int]:
        """What the drive's time went to, in nanoseconds: seek, rotate, media, ... Only what is not
        0. A drive works on while the program does not wait for it, so the sum may exceed ``busy``.
        """
        raw = self._state.raw
        if raw is None:
            return {}
        parts = _look(raw).parts
        return {name: int(parts[i]) for i, name in enumerate(PARTS) if parts[i]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "off"
        return f"<Clock {self._state.model}, {state}, now {self.now} ns>"


def made(model: Model, geometry: Geometry, seed: int) -> Owned:
    """A clock of this drive on a disk of this geometry, not attached. Raises GeometryError."""
    config, _keep = config_of(geometry)
    raw = Owned(CLOCK)
    err = ffi.new("struct zd_error *")
    code = lib.zd_clock_create(config, model.to_c(), seed % 2**64, raw.cell, err)
    if code < 0:
        raise_error(code, err, None, None)
    return raw


def _attach(raw: Owned) -> Any:
    return lambda handle, err: lib.zd_clock_attach(raw.raw, handle, err)


def _runs(raw: Owned) -> bool:
    with Guard(raw):
        return bool(lib.zd_clock_runs(raw.raw))


def _look(raw: Owned) -> Any:
    out = ffi.new("struct zd_clock_state *")
    with Guard(raw):
        lib.zd_clock_look(raw.raw, out)
    if out.failed:
        raise MemoryError("the clock ran out of memory, and its time is too short since")
    return out
