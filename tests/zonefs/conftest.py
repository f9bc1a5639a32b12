"""What the tests of zonefs share: disks with a file system on them, and one way to expect an errno."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import zoned
import zonefs

MIB = 1 << 20
BLOCK = 4096
DISK = {
    "size": 64 * MIB,
    "zone_size": 4 * MIB,
    "conventional": 2,
    "logical_block": 4096,
    "physical_block": 4096,
    "max_open": 4,
}


@pytest.fixture
def block() -> bytes:
    """One block that is not zero."""
    return bytes(range(256)) * 16


@pytest.fixture
def disk() -> Iterator[Callable[..., zoned.Device]]:
    """``disk(**keywords)``: a disk in RAM of 16 zones of 4 MiB, two of them conventional, no file system."""
    with ExitStack() as stack:

        def make(**keywords: Any) -> zoned.Device:
            return stack.enter_context(zoned.memory(**(DISK | keywords)))

        yield make


@pytest.fixture
def mounted(disk: Callable[..., zoned.Device]) -> Iterator[Callable[..., zonefs.ZoneFS]]:
    """``mounted(**keywords)``: a ZoneFS on a new disk. Keywords of ZoneFS, ``mkfs={}``, ``disk={}``."""
    with ExitStack() as stack:

        def make(
            *, mkfs: dict[str, Any] | None = None, on: dict[str, Any] | None = None, **keywords: Any
        ) -> zonefs.ZoneFS:
            dev = disk(**(on or {}))
            zonefs.mkfs(dev, **(mkfs or {}))
            return stack.enter_context(zonefs.ZoneFS(dev, **keywords))

        yield make


@pytest.fixture
def fs(mounted: Callable[..., zonefs.ZoneFS]) -> zonefs.ZoneFS:
    """A ZoneFS with the defaults: cnv/0, seq/0 .. seq/13."""
    return mounted()


@pytest.fixture
def fails() -> Callable[..., Any]:
    """``with fails(errno.EPERM, "text"):`` an OSError of that number, and a sentence with that text."""

    @contextmanager
    def check(code: int, text: str = "") -> Iterator[pytest.ExceptionInfo[OSError]]:
        with pytest.raises(OSError) as info:
            yield info
        got = errno.errorcode.get(info.value.errno or 0)
        assert got == errno.errorcode[code], f"{got}: {info.value}"
        assert text in str(info.value)
        assert info.value.strerror
        assert info.value.strerror[-1] not in ".\n"

    return check
