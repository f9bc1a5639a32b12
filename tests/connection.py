"""A blocking connection to a server under test: every wait on it ends after PATIENCE."""

from __future__ import annotations

import socket
from typing import Self

from waiting import PATIENCE


class GoneError(Exception):
    """The other side closed the connection."""


class Connection:
    """To ``HOST:PORT``; it is closed with the ``with`` block."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host.strip("[]"), int(port)), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def _receive(self, length: int) -> bytes:
        found = b""
        while len(found) < length:
            try:
                piece = self.sock.recv(length - len(found))
            except ConnectionError:
                piece = b""
            if not piece:
                raise GoneError
            found += piece
        return found
