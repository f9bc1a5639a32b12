"""``pace``: commands that take a modelled drive's time for real, so that any program feels it.

A paced handle's commands take effect as ever and return when the drive would have been done with
them: they queue in its model, a flush waits for its cache, and no thread or lock is held up for
another's command. The pace is of a handle; an image only remembers that its openers are to have
one. Two handles are two drives that do not wait for each other.
"""

from __future__ import annotations

import os
import struct
from enum import StrEnum

from zoned._core.conversions import config_of
from zoned._core.handle import Handle, call
from zoned._core.native import ffi, lib
from zoned._core.owning import CLOCK, Owned
from zoned._core.raising import raise_error
from zoned.drives.models import Model, load_model
from zoned.drives.profiles import ProfileError, builtin_names
from zoned.geometry import Geometry


class Pace(StrEnum):
    """How long a disk's commands take."""

    NONE = "none"
    """As long as the host needs."""
    REAL = "real"
    """As long as the drive of the disk's profile would take."""


def chosen(pace: Pace | str) -> Pace:
    """What the keyword ``pace`` of ``create`` and ``memory`` means. Raises ValueError."""
    try:
        return Pace(pace)
    except ValueError:
        raise ValueError(f"pace={pace!r}: it must be 'none' or 'real'") from None


def drive_of(profile: str | os.PathLike[str] | None, geometry: Geometry, *, kept: bool) -> Model:
    """The model of a disk that is to be made with pace="real"; ``kept``: in an image, which has the
    name of its profile only.

    Raises ProfileError (no profile, or one without a [model]; with ``kept`` one that is a file),
    GeometryError (the model does not fit the disk).
    """
    if profile is None:
        raise ProfileError(
            "pace='real' takes the time of the profile's drive, and no profile is given: name one "
            f"({', '.join(_timed())})"
        )
    name = os.fspath(profile)
    if kept and name not in builtin_names():
        raise ProfileError(
            f"pace='real' is kept in an image by the name of a built-in drive, and {name} is a "
            f"file: make the disk without it, and open it with pace={name!r}"
        )
    model = _timing(name)
    _check(model, geometry)
    return model


def begin(handle: Handle, model: Model) -> None:
    """From now on the handle's commands take the time of this drive, until it is closed.

    Raises GeometryError (the model does not fit the disk), MemoryError.
    """
    config, _keep = config_of(handle.geometry)
    call(handle, lib.zd_pace_as, config, model.to_c(), handle.geometry.seed % 2**64)


def packed(geometry: Geometry, model: Model) -> bytes:
    """A drive for programs of a run, which pace themselves: as native/preload/pace.c reads it.

    Raises GeometryError (the model does not fit the disk).
    """
    _check(model, geometry)
    config, _keep = config_of(geometry)
    shape = model.to_c()
    ranges = bytes(ffi.buffer(config.conv, config.nr_conv * ffi.sizeof("struct zd_range")))
    config.conv = ffi.NULL
    sizes = [ffi.sizeof(f"struct {name}") for name in ("zd_config", "zd_sim_model", "zd_range")]
    head = struct.pack("<8s4IQ", b"zdpace1", *sizes, 0, geometry.seed % 2**64)
    return head + bytes(ffi.buffer(config)) + bytes(ffi.buffer(shape)) + ranges


def of_opened(
    handle: Handle, pace: Pace | str | os.PathLike[str] | None, *, remembered: bool
) -> tuple[str, Model] | None:
    """The drive, by name and model, of a disk that was opened with ``pace``; None: none.

    ``remembered``: the disk was made with pace="real". Raises ProfileError, OSError.
    """
    wanted = (Pace.REAL if remembered else Pace.NONE) if pace is None else os.fspath(pace)
    if wanted == Pace.NONE:
        return None
    name = handle.geometry.profile if wanted == Pace.REAL else str(wanted)
    if not name:
        raise ProfileError(
            "the disk was made without a profile: name the drive whose time its commands take "
            f"({', '.join(_timed())}, or a .toml file)"
        )
    return name, _timing(name)


def _timing(profile: str) -> Model:
    """The model of a drive. Raises ProfileError where there is none to be timed as, OSError."""
    model = load_model(profile, needed=True)
    if model.kind == "null":
        raise ProfileError(
            f"profile {profile} is no drive whose time commands could take: name one "
            f"({', '.join(_timed())})"
        )
    return model


def _timed() -> list[str]:
    """Built-in profiles of drives."""
    return [name for name in builtin_names() if load_model(name).kind != "null"]


def _check(model: Model, geometry: Geometry) -> None:
    """Whether the model can be had on this disk, before there is one. Raises GeometryError."""
    config, _keep = config_of(geometry)
    trial = Owned(CLOCK)
    err = ffi.new("struct zd_error *")
    code = lib.zd_clock_create(config, model.to_c(), 0, trial.cell, err)
    if code < 0:
        raise_error(code, err, None, None)
