"""The one place that imports the native library. Everything else takes ``ffi`` and ``lib`` from
here.

No policy: codes become exceptions in ``zoned._core.raising``, handles become objects in
``zoned._core.handle``.
"""

from __future__ import annotations

import os

try:
    from zoned._fast import Core, File, Guard, Owner, after_fork, dup_file, open_file, receive_file
    from zoned._native import ffi, lib
except ImportError as exc:
    raise ImportError(
        f"the native part of zoned cannot be loaded ({exc}); build it with `pip install .`"
    ) from exc

FAST_TABLE: int = lib.zd_fast_table_address()
FAST_FS_TABLE: int = lib.zd_fast_fs_table_address()
os.register_at_fork(after_in_child=after_fork)

__all__ = [
    "FAST_FS_TABLE",
    "FAST_TABLE",
    "Core",
    "File",
    "Guard",
    "Owner",
    "dup_file",
    "ffi",
    "lib",
    "open_file",
    "receive_file",
]
