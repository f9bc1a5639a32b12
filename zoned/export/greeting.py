"""What is said before a connection is handed to C, whatever the protocol: a machine of bytes that
the portal feeds. No socket and no clock in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Any, Generic, TypeVar

_Offer = TypeVar("_Offer")
_Result = TypeVar("_Result")


class State(Enum):
    """Where a connection is."""

    LOGIN = "login"
    READY = "ready"
    """Let in, but for the last answer: see `Greeting.refuse`."""
    DISCOVERY = "discovery"
    DONE = "done"
    """Handed on: `output` has the last answer."""
    ENDED = "ended"
    """To be closed once `output` is sent."""


class RefusedError(Exception):
    """A connection is refused; the sentence says why, ``code`` the same to the other side: a member
    of its protocol's enumeration.
    """

    def __init__(self, code: Any, why: str) -> None:
        super().__init__(why)
        self.code = code


class Greeting(ABC, Generic[_Offer, _Result]):
    """One connection, from its first byte until it is handed on, or to its end."""

    def __init__(self, offers: Mapping[str, _Offer]) -> None:
        """``offers``: what there is, by name."""
        self._offers = offers
        self.state = State.LOGIN
        self.result: _Result | None = None
        """What came of it, once it is `State.READY`."""
        self.output = bytearray()
        """What is to be sent."""
        self.why = ""
        """Why it was refused; "" if it was not."""
        self.lease: float | None = None
        """Seconds that a connection in `State.DISCOVERY` has from the last that came; None: as long
        as the portal lets it.
        """
        self._input = bytearray()

    @property
    def is_early(self) -> bool:
        """Whether more came than was looked at: before the last answer, for which the other side
        has to wait, there is nothing to be said.
        """
        return bool(self._input)

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take what came, and do what it asks. Never raises."""

    @abstractmethod
    def refuse(self, error: Any) -> None:
        """It is `State.READY`, but cannot be handed on after all: a RefusedError of its kind."""


__all__ = ["Greeting", "RefusedError", "State"]
