"""Disks behind an NVM subsystem of their own, and hosts that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import zoned
from exporting import export, protocol, target
from nvmetcp.host import Host
from zoned.export import Nvme


@pytest.fixture
def disk() -> Iterator[zoned.Device]:
    """20 sequential zones of 1 MiB (namespace 1) behind 4 conventional ones (namespace 2), blocks of 4 KiB."""
    with zoned.memory(
        zones=24,
        zone_size="1MiB",
        conventional=4,
        logical_block=4096,
        max_open=6,
        max_active=8,
        dialect="zns",
    ) as device:
        yield device


@pytest.fixture
def admin(target: Nvme) -> Iterator[Callable[..., Host]]:
    """``admin(digests=3)``: an admin queue of a host of `target`; ``.io()`` gives it others."""
    with ExitStack() as stack:

        def make(**how: Any) -> Host:
            return stack.enter_context(Host(target.address, target.nqn, **how))

        yield make


@pytest.fixture
def host(admin: Callable[..., Host]) -> Iterator[Host]:
    """An I/O queue."""
    with admin().io() as queue:
        yield queue


__all__ = ["export", "protocol", "target"]  # fixtures, by the disk above
