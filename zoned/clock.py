"""``dev.clock``: how long a program's commands would take on a modelled drive, in virtual time.

The commands are real ones, those of this handle, a ZoneFS on it included (a mount has a handle of
its own). The model of a drive, the [model] of a profile, says how long each would have taken, one
after the other. Nothing is slowed down and no wall clock is read: the same commands in the same
order give the same time on any machine. Workloads that are described instead of run, with a queue
depth, are ``zonedctl bench``'s.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zoned._lib import ffi, lib
from zoned.errors import raise_error

if TYPE_CHECKING:
    from zoned.device import Device

PARTS = (
    *("seek", "rotate", "media", "switch", "interface", "zone command", "controller"),
    *("buffer full", "flash", "die", "clean", "move"),
)
"""What a drive's time goes to, in the order of ``enum zd_sim_part``."""
_MOST_IDLE = 10.0**9


class State:
    """What a handle remembers of its clock."""

    __slots__ = ("model", "raw", "running")

    def __init__(self) -> None:
        self.model = "null"
        self.raw: Any = None
        self.running = False


class Clock:
    """The virtual clock of one handle; off until ``start``. Times are whole nanoseconds.

    ``with dev.clock.start("hc620") as clock:`` runs it for the block; ``clock.now`` stays readable
    afterwards. A forked child's commands do not move it.
    """

    __slots__ = ("_device", "_state")

    def __init__(self, device: Device, state: State) -> None:
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
        state = self._state
        if self.running:
            raise RuntimeError(f"the clock runs already, as {state.model}: stop it first")
        from zoned.bench.models import load_model
        from zoned.device import _config_of
        from zoned.profiles import ProfileError

        geometry = self._device.geometry
        name = geometry.profile if profile is None else str(os.fspath(profile))
        if not name:
            raise ProfileError("the disk was made without a profile: name the drive to be timed as")
        model = load_model(name, needed=True)
        config, _keep = _config_of(geometry)
        out = ffi.new("zd_clock **")
        err = ffi.new("struct zd_error *")
        number = geometry.seed if seed is None else seed
        code = lib.zd_clock_create(config, model.to_c(), number % 2**64, out, err)
        if code < 0:
            raise_error(code, err, None, None)
        raw = ffi.gc(out[0], lib.zd_clock_free)
        self._device._call(_attach(raw))
        state.raw, state.model, state.running = raw, name, True
        return self

    def stop(self) -> None:
        """Commands take no more time; ``now`` stays. Nothing happens if it does not run."""
        if self._state.running:
            self._state.running = False
            if not self._device.closed:
                self._device._call(_detach(self._state.raw))

    def idle(self, seconds: float) -> None:
        """Let time pass in which nothing is asked of the drive: it may empty its cache, or clean.

        Raises ValueError for a negative or endless time, RuntimeError while the clock is off.
        """
        if not 0 <= seconds <= _MOST_IDLE:
            raise ValueError(f"idle for {seconds} s: it must be 0 to {_MOST_IDLE:g} seconds")
        if not self._state.running:
            raise RuntimeError("the clock is off: start it first")
        lib.zd_clock_idle(self._state.raw, round(seconds * 1e9))

    @property
    def model(self) -> str:
        """The profile that time is taken from; "null" while there was none: no time passes."""
        return self._state.model

    @property
    def running(self) -> bool:
        """Whether commands take time now."""
        return self._state.running and not self._device.closed

    @property
    def now(self) -> int:
        """Nanoseconds since ``start``, idle ones included; 0 before."""
        return int(self._look().now) if self._state.raw else 0

    @property
    def busy(self) -> int:
        """Nanoseconds that commands took: ``now`` without the idle ones."""
        return int(self._look().busy) if self._state.raw else 0

    @property
    def last(self) -> int:
        """Nanoseconds that the last command took."""
        return int(self._look().last) if self._state.raw else 0

    @property
    def commands(self) -> int:
        """How many commands took their time."""
        return int(self._look().commands) if self._state.raw else 0

    @property
    def parts(self) -> dict[str, int]:
        """What the drive's time went to, in nanoseconds: seek, rotate, media, ... Only what is not
        0. A drive works on while the program does not wait for it, so the sum may exceed ``busy``.
        """
        if not self._state.raw:
            return {}
        parts = self._look().parts
        return {name: int(parts[i]) for i, name in enumerate(PARTS) if parts[i]}

    def _look(self) -> Any:
        out = ffi.new("struct zd_clock_state *")
        lib.zd_clock_look(self._state.raw, out)
        if out.failed:
            raise MemoryError("the clock ran out of memory, and its time is too short since")
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "off"
        return f"<Clock {self._state.model}, {state}, now {self.now} ns>"


def _attach(raw: Any) -> Any:
    return lambda handle, err: lib.zd_clock_attach(raw, handle, err)


def _detach(raw: Any) -> Any:
    return lambda handle, err: lib.zd_clock_detach(raw, handle, err)
