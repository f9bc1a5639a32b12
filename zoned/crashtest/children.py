"""Programs that a crash test runs, each below a process that ends what it leaves: keeper.py."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_PROGRAM = Path(__file__).with_name("keeper.py")
_PATIENCE = 10.0


class CrashTestError(RuntimeError):
    """A crash test that cannot be made, or not as it was asked for."""


class GoneError(CrashTestError):
    """The program has killed the process above it, so that nobody knows what it left."""


class Keeper:
    """One such process. Not for two threads at once."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                start_new_session=True,
            )

    def start(self, words: Sequence[str], environment: Mapping[str, str], output: int) -> int:
        """Run a program that says all it does to a descriptor; its process id, which stays its own
        until `end`. Raises OSError where it cannot be started, ValueError for words that none can
        have, GoneError.
        """
        order = {"words": list(words), "environment": dict(environment)}
        text = json.dumps(order).encode()
        with self._there():
            socket.send_fds(self._socket, [len(text).to_bytes(4, "big")], [output])
            self._socket.sendall(text)
        answer = self._answer()
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), words[0])
        if "refused" in answer:
            raise ValueError(f"{words[0]}: it cannot be run: {answer['refused']}")
        return int(answer["process"])

    def end(self) -> int:
        """Kill what is left of it; its exit status, or minus the signal that ended it. Raises
        GoneError."""
        with self._there():
            self._socket.sendall(b".")
        return os.waitstatus_to_exitcode(self._answer()["status"])

    def close(self) -> None:
        """What is left running ends; then so does the process."""
        self._socket.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # the kernel holds what it is to end
            self._process.kill()

    def _answer(self) -> dict[str, Any]:
        line = b""
        with self._there():
            while not line.endswith(b"\n"):
                piece = self._socket.recv(4096)
                if not piece:
                    raise ConnectionResetError
                line += piece
        answer: dict[str, Any] = json.loads(line)
        return answer

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError:
            raise GoneError(
                f"the program has killed process {self._process.pid}, which ends what it leaves "
                "running"
            ) from None


class Keepers:
    """As many as there are programs at once. A context manager; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Keeper] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for keeper in self._idle:
            keeper.close()

    @contextlib.contextmanager
    def one(self) -> Iterator[Keeper]:
        """For one program from its start to its end."""
        with self._lock:
            keeper = self._idle.pop() if self._idle else None
        keeper = keeper or Keeper()
        try:
            yield keeper
        except BaseException:
            keeper.close()  # it may be in the midst of anything
            raise
        with self._lock:
            self._idle.append(keeper)
