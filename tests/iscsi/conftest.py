"""Disks behind an iSCSI target of their own, and initiators that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import zoned
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
def export() -> Iterator[Callable[..., Iscsi]]:
    with ExitStack() as stack:

        def make(*images: Any, **how: Any) -> Iscsi:
            served = zoned.export.iscsi(*images, **how)
            stack.callback(served.close, grace=0)
            return served

        yield make


@pytest.fixture
def target(disk: zoned.Device, export: Callable[..., Iscsi]) -> Iscsi:
    return export(disk)


@pytest.fixture
def login(target: Iscsi) -> Iterator[Callable[..., Initiator]]:
    """``login(keys={...})``: an initiator that is logged in to `target`."""
    with ExitStack() as stack:

        def make(**how: Any) -> Initiator:
            how.setdefault("isid", bytes([0x80, 0, 0, 0, 0, len(made)]))
            made.append(stack.enter_context(Initiator(target.address, target.iqn, **how)))
            return made[-1]

        made: list[Initiator] = []
        yield make
