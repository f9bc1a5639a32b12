"""Marks: what a workload may rely on from a moment on, told by itself.

It sets one by ``zonedctl mark TEXT``, by a line in its output that begins with ``zoned-mark: ``, or
in any language by the socket that $ZONED_MARK_SOCKET names: connect, send a line, read a line. Only
the first and the last are in their place among the commands: they return when the mark stands in
the history. A line of output is heard a little later, which makes a test miss something, but accuse
nobody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Self

from zoned.units import counted

if TYPE_CHECKING:
    from zoned.device import Device

VARIABLE = "ZONED_MARK_SOCKET"
PREFIX = b"zoned-mark: "
_LONGEST = 4096
_ANSWER = 30.0
MOST_MARKS = 100_000
"""Of one workload: each verifier is told all of them."""


class MarkError(RuntimeError):
    """A mark that could not be set."""


class Marks:
    """Hears marks, and puts them into the recording of a device, as long as it is open."""

    def __init__(self, device: Device, folder: str) -> None:
        self._device = device
        self.path = os.path.join(folder, "marks")
        self._lock = threading.Lock()
        self.count = 0
        self.refused = ""
        """Why the first mark that could not be set was not."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(self.path)
            self._socket.listen(64)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def set(self, text: bytes) -> str:
        """Set one; "" or why it was not."""
        try:
            with self._lock:
                if self.count == MOST_MARKS:
                    raise ValueError(f"it has set {MOST_MARKS:,} marks, the most that there may be")
                self._device.trace.mark(text.decode("utf-8", "surrogateescape"))
                self.count += 1
        except (OSError, ValueError) as error:
            self.refused = self.refused or str(error)
            return str(error)
        return ""

    def line(self, line: bytes) -> None:
        """A line of the workload's output, which may be one."""
        if line.startswith(PREFIX):
            self.set(line.removeprefix(PREFIX).rstrip(b"\r"))

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError), caller.makefile("rwb") as file:
            for line in iter(lambda: file.readline(_LONGEST + 2), b""):
                said = self.set(line.rstrip(b"\n"))
                file.write(b"ok\n" if not said else f"{said}\n".encode())
                file.flush()


def set_mark(text: str) -> None:
    """Set a mark from within a workload. Raises MarkError."""
    path = os.environ.get(VARIABLE)
    raw = text.encode("utf-8", "surrogateescape")
    if not path:
        raise MarkError(
            "nobody listens for marks: this works within the workload of zonedctl crash-test"
        )
    if b"\n" in raw or len(raw) > _LONGEST:
        raise MarkError(f"a mark is one line of up to {counted(_LONGEST, 'byte')}")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.settimeout(_ANSWER)
            caller.connect(path)
            with caller.makefile("rwb") as file:
                file.write(raw + b"\n")
                file.flush()
                answer = file.readline().decode("utf-8", "replace").strip()
    except OSError as error:
        raise MarkError(f"the mark was not heard: {error.strerror or error}") from error
    if answer != "ok":
        raise MarkError(answer or "the mark was not heard: the crash test has ended")
