"""A writer on a mounted zonefs: a journal of lines in one sequential file, each followed by its commit. With FORGETS set
it acknowledges a line before the file is synced.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys

BLOCK = 4096
LINES = 5


def block(number: int) -> bytes:
    body = f"line {number}: ".encode() + b"x" * 100
    return (hashlib.sha256(body).digest() + body).ljust(BLOCK, b"\0")


def acknowledge(text: str) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(os.environ["ZONED_MARK_SOCKET"])
        caller.sendall(text.encode() + b"\n")
        caller.recv(64)


def put(path: str, forgets: bool) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    for number in range(LINES):
        os.write(file, block(number))
        if not forgets:
            os.fsync(file)
        acknowledge(f"line {number}")
    os.fsync(file)
    os.close(file)


def check(path: str, told: int) -> int:
    with open(path, "rb") as file:
        held = file.read()
    found = 0
    while found < LINES and held[found * BLOCK : (found + 1) * BLOCK] == block(found):
        found += 1
    print(f"{found} lines, {told} were acknowledged")
    return int(found < told)


if __name__ == "__main__":
    where = os.path.join(sys.argv[2], "seq", "0")
    if sys.argv[1] == "check":
        sys.exit(check(where, int(os.environ["ZONED_MARKS"])))
    put(where, forgets=sys.argv[1] == "forget")
