"""``pace``: commands that take a modelled drive's time for real, so that any program feels it.

A paced handle's commands take effect as ever and return when the drive would have been done with
them: they queue in its model, a flush waits for its cache, and no thread or lock is held up for
another's command. The pace is of a handle; an image only remembers that its openers are to have
one. Two handles are two drives that do not wait for each other.
"""

from __future__ import annotations

import os
import struct

from zoned._core.conversions import config_of
from zoned._core.handle import Handle, call
from zoned._core.native import ffi, lib
from zoned.drives.clock import made
from zoned.drives.models import Model, load_model
from zoned.drives.profiles import ProfileError, builtin_names
from zoned.geometry import Geometry
from zoned.info import Pace

Drive = tuple[str, Model]
"""A drive whose time commands take: its name, and what says how long they take."""


def drive_of(profile: str | os.PathLike[str] | None, geometry: Geometry, *, kept: bool) -> Drive:
    """The drive of a disk that is to be made with pace="real"; ``kept``: in an image, which has the
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
    made(model, geometry, 0)  # it is refused before there is a disk
    return geometry.profile, model


def begin(handle: Handle, drive: Drive) -> None:
    """From now on the handle's commands take the time of this drive, until it is closed.

    Raises GeometryError (the model does not fit the disk), MemoryError.
    """
    config, _keep = config_of(handle.geometry)
    call(handle, lib.zd_pace_as, config, drive[1].to_c(), handle.geometry.seed % 2**64)


def packed(geometry: Geometry, model: Model) -> bytes:
    """A drive for programs of a run, which pace themselves: as native/preload/pace.c reads it.

    Raises GeometryError (the model does not fit the disk).
    """
    made(model, geometry, 0)
    config, _keep = config_of(geometry)
    shape = model.to_c()
    ranges = bytes(ffi.buffer(config.conv, config.nr_conv * ffi.sizeof("struct zd_range")))
    config.conv = ffi.NULL
    sizes = [ffi.sizeof(f"struct {name}") for name in ("zd_config", "zd_sim_model", "zd_range")]
    head = struct.pack("<8s4IQ", b"zdpace1", *sizes, 0, geometry.seed % 2**64)
    return head + bytes(ffi.buffer(config)) + bytes(ffi.buffer(shape)) + ranges


def drive_named(handle: Handle, pace: str | os.PathLike[str]) -> Drive:
    """The drive that ``pace`` of an opened disk names: "real" that of the disk's profile.

    Raises ProfileError, OSError.
    """
    wanted = os.fspath(pace)
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
