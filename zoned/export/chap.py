"""CHAP (RFC 1994, RFC 7143 12.1.3): who proves to whom that he knows a secret, without sending it.

A secret comes from a file or the environment, never from a command's arguments, and is shown by no
repr.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zoned.units import counted

SHORTEST, LONGEST = 12, 255
"""Bytes of a secret: fewer could be guessed from one login that was overheard (RFC 7143 9.2.1)."""
CHALLENGE = 32
"""Bytes of a challenge of ours."""
_MOST = 1024  # bytes of a challenge of theirs

ALGORITHMS = {5: "md5", 6: "sha1", 7: "sha256", 8: "sha3_256"}
"""CHAP_A -> hashlib's name (IANA's registry of PPP authentication algorithms)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and its secret. Raises ValueError for what cannot be one."""

    name: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.name or len(self.name.encode()) > 255 or not self.name.isprintable():
            raise ValueError(f"the CHAP name {self.name!r} must have 1 to 255 printable characters")
        if not SHORTEST <= len(self.secret) <= LONGEST:
            raise ValueError(
                f"the CHAP secret of {self.name!r} has {counted(len(self.secret), 'byte')}:"
                f" it must have {SHORTEST} to {LONGEST}"
            )


@dataclass(frozen=True, slots=True)
class Chap:
    """Who may log in, and what the target proves itself by (mutual CHAP), if initiators ask."""

    users: Mapping[str, bytes] = field(repr=False)
    mutual: Credentials | None = None

    def __post_init__(self) -> None:
        if not self.users:
            raise ValueError("CHAP needs at least one user with a secret")
        for name, secret in self.users.items():
            Credentials(name, secret)
        if self.mutual is not None and self.mutual.secret in self.users.values():
            raise ValueError("the target's own CHAP secret must not be that of an initiator")


def digest(algorithm: int, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """What proves the secret. Raises KeyError for an algorithm that there is not."""
    made = hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False)
    made.update(bytes([identifier]) + secret + challenge)
    return made.digest()


class Exchange:
    """The target's part of a login: a challenge, what the answer proves, an answer to theirs."""

    __slots__ = ("_chap", "_unknown", "algorithm", "challenge", "identifier")

    def __init__(self, chap: Chap, algorithm: int) -> None:
        self._chap = chap
        self.algorithm = algorithm
        self.identifier = secrets.randbelow(256)
        self.challenge = secrets.token_bytes(CHALLENGE)
        self._unknown = secrets.token_bytes(CHALLENGE)

    def proves(self, name: str, response: bytes) -> bool:
        """Whether the response is that of a user; it takes as long for a name that nobody has."""
        secret = self._chap.users.get(name, self._unknown)
        expected = digest(self.algorithm, self.identifier, secret, self.challenge)
        return hmac.compare_digest(expected, response) and name in self._chap.users

    def answer(self, identifier: int, challenge: bytes) -> tuple[str, bytes] | None:
        """Our name and proof for their challenge; None where there is none to give: we have no
        secret, or the challenge is empty, too long, or our own sent back.
        """
        mine = self._chap.mutual
        if mine is None or not 0 < len(challenge) <= _MOST or challenge == self.challenge:
            return None
        return mine.name, digest(self.algorithm, identifier, mine.secret, challenge)


def read_secret_lines(path: str | os.PathLike[str], take: Callable[[list[str]], None]) -> None:
    """Give ``take`` the words of each line of a file that only its owner may read; # begins a
    comment. What it raises as ValueError is told with the line. Raises OSError (PermissionError
    for a file that others may read).
    """
    name = os.fsdecode(path)
    with open(path, encoding="utf-8") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            raise PermissionError(
                13, f"others may read this file of secrets: chmod 600 {name} mends that", name
            )
        text = file.read(1 << 20)
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            take(words)
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from None


def read_chap_file(path: str | os.PathLike[str]) -> Chap:
    """CHAP users from a file that only its owner may read.

    A line each: ``NAME SECRET``; at most one ``mutual NAME SECRET`` is the target's own; # begins a
    comment. Raises OSError (PermissionError for a file that others may read), ValueError.
    """
    users: dict[str, bytes] = {}
    mutual: list[Credentials] = []

    def take(words: list[str]) -> None:
        if len(words) == 3 and words[0] == "mutual" and not mutual:
            mutual.append(Credentials(words[1], words[2].encode()))
        elif len(words) == 2 and words[0] not in users:
            users[words[0]] = Credentials(words[0], words[1].encode()).secret
        else:
            raise ValueError("a line is NAME SECRET, once each, or once: mutual NAME SECRET")

    read_secret_lines(path, take)
    if not users:
        raise ValueError(f"{os.fsdecode(path)}: it names no user: a line is NAME SECRET")
    return Chap(users, mutual[0] if mutual else None)


def from_environment() -> Chap | None:
    """Of ``ZONED_CHAP_USER`` and ``ZONED_CHAP_SECRET``, with ``ZONED_CHAP_MUTUAL_USER`` and
    ``ZONED_CHAP_MUTUAL_SECRET``; None without the first. Raises ValueError.
    """
    user = os.environ.get("ZONED_CHAP_USER")
    if not user:
        return None
    ours = os.environ.get("ZONED_CHAP_MUTUAL_USER")
    mutual = None
    if ours:
        mutual = Credentials(ours, os.environb.get(b"ZONED_CHAP_MUTUAL_SECRET", b""))
    return Chap({user: os.environb.get(b"ZONED_CHAP_SECRET", b"")}, mutual)
