"""Disks behind an iSCSI target of their own, and initiators that end with the test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import zoned
from exporting import export, protocol, target
from iscsi.initiator import Initiator
from zoned.export import Iscsi


@pytest.fixture
def disk() -> Iterator[zoned.Device]:
    """24 zones of 1 MiB, 4 of them conventional, blocks of 4 KiB."""
    with zoned.memory(
        zones=24, zone_size="1MiB", conventional=4, logical_block=4096, max_open=6
    ) as device:
        yield device


@pytest.fixture
def login(target: Iscsi) -> Iterator[Callable[..., Initiator]]:
    """``login(keys={...})``: an initiator that is logged in to `target`."""
    with ExitStack() as stack:
        numbers = itertools.count()

        def make(**how: Any) -> Initiator:
            how.setdefault("isid", bytes([0x80, 0, 0, 0, 0, next(numbers)]))
            return stack.enter_context(Initiator(target.address, target.iqn, **how))

        yield make


__all__ = ["export", "protocol", "target"]  # fixtures, by the disk above
