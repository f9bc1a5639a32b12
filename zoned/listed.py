"""A sequence that was made once and does not change, for classes that say more of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, overload

_T = TypeVar("_T")


class Listed(Sequence[_T]):
    """Some things, in their order; a slice is a tuple."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[_T]) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_T, ...]: ...
    def __getitem__(self, index: int | slice) -> _T | tuple[_T, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)
