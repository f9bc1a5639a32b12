"""``dev.clock``: what a program's commands would take on a modelled drive, in virtual time.

The commands are the real ones of this handle (a ZoneFS or a mount on it included); a drive's model
(the [model] of a profile) says how long each would have taken, one after the other. Nothing slows
down by it, nobody's wall clock is read: the same commands give the same time on any machine.
Workloads that are only described, not run, are ``zonedctl bench``'s.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zoned._lib import ffi, lib
from zoned.errors import raise_error

if TYPE_CHECKING:
    from zoned.device import Device

_PARTS = (
    *("seek", "rotate", "media", "switch", "interface", "zone command", "controller"),
    *("buffer full", "flash", "die", "clean", "move"),
)
