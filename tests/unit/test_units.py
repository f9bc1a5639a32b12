"""Sizes: what people write becomes exactly the bytes they mean, or an error that quotes the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoned.units import LARGEST, SizeError, counted, format_size, parse_size, were


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512B", 512),
        ("1K", 1024),
        ("1k", 1024),
        ("1KiB", 1024),
        ("1KB", 1000),
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        ("64mib", 64 << 20),
        ("64MB", 64_000_000),
        ("2G", 2 << 30),
        ("28TB", 28 * 10**12),
        ("1P", 1 << 50),
        ("1PiB", 1 << 50),
        ("0x1000", 4096),
        ("0XfF", 255),
        ("1.5GiB", 3 << 29),
        ("0.5K", 512),
        (".5K", 512),
        ("1.001KB", 1001),
        ("  64 MiB\t", 64 << 20),
        (4096, 4096),
        (LARGEST, LARGEST),
    ],
)
def test_sizes_that_are_right(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "'' is not a size: write a number"),
        ("MiB", "'MiB' is not a size: write a number"),
        ("12 34", "'12 34' is not a size"),
        ("1.2.3K", "'1.2.3K' is not a size"),
        ("64Q", "the unit 'Q' is unknown"),
        ("64Mib2", "'64Mib2' is not a size"),
        ("64MBB", "the unit 'MBB' is unknown"),
        ("1.5", "'1.5' is not a whole number of bytes"),
        ("0.3K", "'0.3K' is not a whole number of bytes"),
        ("-4K", "'-4K' is not a size: it must not be negative"),
        ("- 4K", "must not be negative"),
        ("0x", "'0x' is not a size"),
        ("0x10K", "'0x10K' is not a size"),
        ("9E", "size is 9E: at most 9223372036854775807 bytes"),
        (-1, "size is -1: it must not be negative"),
        (2**63, "at most 9223372036854775807 bytes"),
        ("1_000", "'1_000' is not a size"),
        ("\u0663K\u0663", "is not a size"),
    ],
)
def test_sizes_that_are_wrong_say_why(text: int | str, part: str) -> None:
    with pytest.raises(SizeError) as caught:
        parse_size(text)
    assert part in str(caught.value)


@pytest.mark.parametrize("value", [True, 1.5, None, b"64K"])
def test_other_kinds_are_type_errors(value: object) -> None:
    with pytest.raises(TypeError, match="zone_size must be a number of bytes or a text"):
        parse_size(value, "zone_size")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (4096, "4 KiB"),
        (64 << 20, "64 MiB"),
        (1077 << 20, "1077 MiB"),
        (15000173281280, "13.6 TiB"),
        (2**60, "1 EiB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_size(count) == text


@given(st.integers(0, 8191), st.sampled_from(["", "K", "M", "G", "T", "P"]))
def test_exact_sizes_come_back(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(format_size(size).replace("bytes", "B").replace("byte", "B")) == size


def test_a_number_and_its_noun() -> None:
    assert [counted(number, "zone") for number in (0, 1, 2)] == ["0 zones", "1 zone", "2 zones"]
    assert [counted(number, "flush", "flushes") for number in (1, 3)] == ["1 flush", "3 flushes"]
    assert counted(12345, "zone", form=",") == "12,345 zones"
    assert [were(number) for number in (0, 1, 2)] == ["were", "was", "were"]
