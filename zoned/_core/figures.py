"""Properties that are whole numbers, by a function of their owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, overload


class Figure:
    """``now = Figure(look, "What it is.")``: ``owner.now`` is ``look(owner, "now")``."""

    def __init__(self, look: Callable[[Any, str], int], about: str) -> None:
        self._look = look
        self._name = ""
        self.__doc__ = about

    def __set_name__(self, kind: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: object, kind: type) -> int: ...
    def __get__(self, owner: object, kind: type) -> Self | int:
        return self if owner is None else self._look(owner, self._name)

    def __set__(self, owner: object, value: object) -> None:
        raise AttributeError(f"{self._name} of a {type(owner).__name__} cannot be set")
