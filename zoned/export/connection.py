"""Who is connected to a target, as it tells of them, and who could not be."""

from __future__ import annotations

from datetime import datetime


class NotTakenError(Exception):
    """C does not take a connection; the sentence says why. ``busy``: it may a moment later."""

    def __init__(self, why: str, *, busy: bool) -> None:
        super().__init__(why)
        self.busy = busy


class Connection:
    """Who is connected, as it was when it was asked for: a dataclass with the time as ``since``."""

    __slots__: tuple[str, ...] = ()
    since: datetime

    def as_dict(self) -> dict[str, object]:
        """All fields; the time as ISO 8601."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "since": self.since.isoformat()
        }


__all__ = ["Connection", "NotTakenError"]
