"""The one file that imports the native library.

``zoned._native`` (cffi) and ``zoned._fast`` (the calls that must be quick) lie in one file and
share the C library in it, so both are loaded from there: a file may hold several modules (PEP 489),
but a name has to be said for each. Wherever the library cannot be loaded, ImportError says so
here.

No policy: codes become exceptions in ``zoned._core.raising``, handles become objects in
``zoned._core.handle``.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

try:
    from zoned import _native
    from zoned._native import ffi, lib

    if "zoned._fast" not in sys.modules:
        _loader = ExtensionFileLoader("zoned._fast", _native.__file__)
        _spec = spec_from_file_location("zoned._fast", _native.__file__, loader=_loader)
        assert _spec is not None
        _module = sys.modules["zoned._fast"] = module_from_spec(_spec)
        _loader.exec_module(_module)
        sys.modules["zoned"].__dict__["_fast"] = _module  # as an import does
    from zoned._fast import Core, File, Guard, Owner, after_fork, dup_file, open_file, receive_file
except ImportError as exc:
    raise ImportError(
        f"the native part of zoned cannot be loaded ({exc}); build it with `pip install .`"
    ) from exc

os.register_at_fork(after_in_child=after_fork)


def sized(struct: str) -> Any:
    """A new struct (its C name) that begins with its size, as the library asks of some; the rest is
    zero.
    """
    return ffi.new(f"{struct} *", {"struct_size": ffi.sizeof(struct)})


__all__ = [
    "Core",
    "File",
    "Guard",
    "Owner",
    "dup_file",
    "ffi",
    "lib",
    "open_file",
    "receive_file",
    "sized",
]
