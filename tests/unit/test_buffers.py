"""Buffers: whatever has the buffer protocol is read and written in place; what cannot be is named."""

from __future__ import annotations

import array
import ctypes
import mmap
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import zoned

SIZE = 16384
DATA = random.Random(1).randbytes(SIZE)


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    with zoned.memory() as device:
        yield device


def as_mmap(data: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


SOURCES: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of bytearray": lambda data: memoryview(bytearray(data)),
    "cast memoryview": lambda data: memoryview(data).cast("Q").cast("B", (4, SIZE // 4)),
    "mmap": as_mmap,
    "array": lambda data: array.array("I", data),
    "ctypes": lambda data: (ctypes.c_ubyte * len(data)).from_buffer_copy(data),
    "numpy": lambda data: np.frombuffer(data, dtype=np.uint32),
    "numpy 2-d": lambda data: np.frombuffer(data, dtype=np.float64).reshape(64, -1),
    "numpy view": lambda data: np.frombuffer(b"12345678" + data, dtype=np.uint8)[8:],
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source(dev: zoned.Device, kind: str) -> None:
    source = SOURCES[kind](DATA)
    start = dev.zones[3].start
    assert dev.pwrite(source, start) == SIZE  # type: ignore[arg-type]
    assert dev.append(3, source) == start + SIZE  # type: ignore[arg-type]
    assert dev.pwritev([source, DATA], start + 2 * SIZE) == 2 * SIZE  # type: ignore[list-item]
    assert dev.pread(4 * SIZE, start) == DATA * 4


@pytest.mark.parametrize("kind", [name for name in SOURCES if name not in ("bytes", "memoryview")])
def test_every_kind_of_target(dev: zoned.Device, kind: str) -> None:
    make = SOURCES[kind]
    if kind in ("cast memoryview", "numpy", "numpy 2-d", "numpy view"):
        target = make(bytearray(SIZE)) if "view" not in kind or "cast" in kind else None
        target = np.zeros(SIZE, dtype=np.uint8) if target is None else target
    else:
        target = make(bytes(SIZE))
    start = dev.zones[3].start
    dev.pwrite(DATA, start)
    assert dev.preadinto(target, start) == SIZE  # type: ignore[arg-type]
    assert bytes(target) == DATA if not isinstance(target, np.ndarray) else target.tobytes() == DATA


def test_a_slice_of_a_larger_buffer(dev: zoned.Device) -> None:
    start = dev.zones[3].start
    dev.pwrite(DATA, start)
    target = bytearray(b"\xee" * 3 * 4096)
    dev.preadinto(memoryview(target)[4096:8192], start + 4096)
    assert target == b"\xee" * 4096 + DATA[4096:8192] + b"\xee" * 4096


NOT_CONTIGUOUS = "is not contiguous in memory: give one contiguous block"


@pytest.mark.parametrize(
    "source",
    [
        memoryview(bytes(8192))[::2],
        memoryview(bytearray(8192))[::-2],
        np.zeros((64, 128), dtype=np.uint8)[:, ::2],
        np.zeros((64, 64), dtype=np.uint8).T[:, 1:],
        np.asfortranarray(np.zeros((64, 64), dtype=np.uint8)),
    ],
    ids=["strided", "backwards", "columns", "transposed", "fortran"],
)
def test_non_contiguous_memory_is_refused(dev: zoned.Device, source: memoryview) -> None:
    start = dev.zones[3].start
    for call in (
        lambda: dev.pwrite(source, start),
        lambda: dev.append(3, source),
        lambda: dev.pwritev([source], start),
        lambda: dev.preadinto(source, start),
    ):
        with pytest.raises(BufferError) as caught:
            call()
        text = str(caught.value)
        assert NOT_CONTIGUOUS in text or "read-only memoryview" in text
    assert dev.zones[3].wp == start


def test_pwritev_names_the_buffer(dev: zoned.Device) -> None:
    start = dev.zones[3].start
    with pytest.raises(BufferError, match=r"buffers\[1\] is a memoryview that is not contiguous"):
        dev.pwritev([bytes(4096), memoryview(bytes(8192))[::2]], start)
    with pytest.raises(
        TypeError, match=r"buffers\[0\] must be bytes or another object with the buffer"
    ):
        dev.pwritev([3], start)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="for one buffer use pwrite"):
        dev.pwritev(bytes(4096), start)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not iterable"):
        dev.pwritev(3, start)  # type: ignore[arg-type]


def test_pwritev_joins_odd_pieces(dev: zoned.Device) -> None:
    start = dev.zones[3].start
    pieces = [DATA[:1], DATA[1:5000], b"", DATA[5000:]]
    assert dev.pwritev((piece for piece in pieces), start) == SIZE
    assert dev.pread(SIZE, start) == DATA
    with pytest.raises(zoned.BlockAlignmentError):
        dev.pwritev([b"abc"], start + SIZE)
    many = [DATA[i : i + 4] for i in range(0, SIZE, 4)]
    assert dev.pwritev(many, start + SIZE) == SIZE
    assert dev.pread(SIZE, start + SIZE) == DATA


@pytest.mark.parametrize(
    "target", [bytes(4096), memoryview(bytes(4096)), np.frombuffer(bytes(4096), dtype=np.uint8)]
)
def test_read_only_targets_are_refused(dev: zoned.Device, target: bytes) -> None:
    with pytest.raises(BufferError, match=r"buffer is a read-only .*such as a bytearray"):
        dev.preadinto(target, 0)


@pytest.mark.parametrize("thing", ["text", 3, None, [1, 2], object()])
def test_things_that_are_no_buffers(dev: zoned.Device, thing: object) -> None:
    with pytest.raises(TypeError, match="data must be bytes or another object with the buffer"):
        dev.pwrite(thing, 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="buffer must be bytes or another object"):
        dev.preadinto(thing, 0)  # type: ignore[arg-type]


def test_released_and_closed_memory(dev: zoned.Device) -> None:
    view = memoryview(bytearray(4096))
    view.release()
    with pytest.raises(ValueError, match="released or closed"):
        dev.pwrite(view, 0)
    memory = mmap.mmap(-1, 4096)
    memory.close()
    with pytest.raises(ValueError, match="released or closed"):
        dev.preadinto(memory, 0)


def test_no_buffer_stays_exported(dev: zoned.Device) -> None:
    """After a call, refused or not, a bytearray can be resized and a mapping closed."""
    start = dev.zones[3].start
    buffer = bytearray(4096)
    dev.pwrite(buffer, start)
    dev.preadinto(buffer, start)
    dev.pwritev([buffer, buffer], start + 4096)
    dev.append(3, buffer)
    for call in (
        lambda: dev.pwrite(buffer, start),
        lambda: dev.preadinto(buffer, 1),
        lambda: dev.append(1, buffer),
        lambda: dev.pwritev([buffer, "x"], start),  # type: ignore[list-item]
        lambda: dev.pwritev([buffer], start),
    ):
        with pytest.raises((zoned.ZonedError, TypeError)):
            call()
    dev.close()
    with pytest.raises(ValueError, match="closed"):
        dev.pwrite(buffer, start)
    buffer.extend(b"grown")
    assert len(buffer) == 4101


def test_a_huge_length_allocates_nothing(dev: zoned.Device) -> None:
    for length in (2**62, 2**62 - 4096, 2**63 - 4096):
        with pytest.raises(zoned.OutOfRangeError, match="passes the end of the disk"):
            dev.pread(length, 0)
    with pytest.raises(zoned.OutOfRangeError):
        dev.pread(4096, 2**63 - 4096)


@pytest.mark.parametrize("empty", [1, 16, 40])
def test_empty_buffers_stand_anywhere(dev: zoned.Device, empty: int) -> None:
    """Before, between and behind others, into new blocks and into blocks that are there."""
    none = [b""] * empty
    start = dev.geometry.zone_start(dev.geometry.nr_conventional)
    pieces = [*none, bytes([1]) * 512, *none, bytes([2]) * 3584, *none]
    for _ in range(2):
        assert dev.pwritev(pieces, start) == 4096
        assert dev.pread(4096, start) == bytes([1]) * 512 + bytes([2]) * 3584
        dev.reset_zone(dev.geometry.nr_conventional)
    assert dev.pwritev(none, start) == 0
