"""What the zonefs functions of the native library return, turned into OSError.

The errno is the kernel's; the text is one sentence; ``__cause__`` is the ZonedError where the disk
itself refused. Everything else in this package raises through here.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from zoned import Device
from zoned._core.native import ffi, lib
from zoned._core.raising import raise_error

_FIRST_RULE: int = lib.ZD_E_FIRST_RULE


def raise_os_error(device: Device, what: str, path: str | None, code: int, err: Any) -> NoReturn:
    """Raise OSError for a negative errno of the native library.

    ``what`` says what was tried ("write to seq/0"). ``err`` is the ``struct zd_error *`` of the
    call: the disk's refusal, or the file system's own sentence, or nothing.
    """
    inner = int(err.code)
    if inner < _FIRST_RULE + 1:  # a rule of the disk, or an image that fails
        try:
            raise_error(inner, err, device, device.path)
        except (OSError, ValueError) as cause:
            raise OSError(-code, f"{what} failed: {cause}", path) from cause
    text = ffi.string(err.text).decode("utf-8", "replace") if inner else ""
    reason = os.strerror(-code)
    if err.host_errno:
        text = f"{what} failed: {reason} ({text})"
    raise OSError(-code, text or f"{what} failed: {reason}", path)
