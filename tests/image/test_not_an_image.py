"""Files that are no image, or one of another kind: a clear error that names the file, never a crash."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from children import said
from image import disks
from image.layout import Image, change_header

FOREIGN = {
    "empty": b"",
    "one byte": b"Z",
    "text": b"# a perfectly ordinary text file\n" * 2000,
    "zeros": bytes(1 << 20),
    "ones": b"\xff" * 70000,
    "random": bytes((i * 2654435761 >> 13) & 0xFF for i in range(200_000)),
    "only the magic": b"ZDIMAGE\n",
    "magic and zeros": b"ZDIMAGE\n" + bytes(1 << 20),
    "magic and ones": b"ZDIMAGE\n" + b"\xff" * (1 << 20),
    "gzip": b"\x1f\x8b\x08" + bytes(5000),
    "zip": b"PK\x03\x04" + bytes(5000),
    "ext4": bytes(1080) + struct.pack("<H", 0xEF53) + bytes(60000),
    "zonefs": struct.pack("<I", 0x5A4F4653) + bytes(60000),
    "qcow2": b"QFI\xfb\x00\x00\x00\x03" + bytes(60000),
    "sqlite": b"SQLite format 3\0" + bytes(60000),
}

EVERY_WAY: dict[str, Callable[[Path], object]] = {
    "open": zoned.open,
    "open readonly": lambda path: zoned.open(path, readonly=True),
    "check": zoned.check,
    "repair": lambda path: zoned.check(path, repair=True),
}


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_file(tmp_path: Path, kind: str, way: str) -> None:
    path = tmp_path / "foreign.bin"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(zoned.ImageError) as caught:
        EVERY_WAY[way](path)
    assert str(path) in str(caught.value)
    magic = FOREIGN[kind].startswith(b"ZDIMAGE\n")
    assert isinstance(caught.value, zoned.NotAnImageError) or magic
    assert path.read_bytes() == FOREIGN[kind], "a file that is no image was changed"


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("length", [100, 4095, 4096 + 100])
def test_cut_off_in_its_headers(tmp_path: Path, length: int, way: str) -> None:
    """What is gone is not called damaged, while the file tells by its length what happened."""
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    os.truncate(path, length)
    if length > 4096 and "open" not in way:
        assert zoned.check(path), "a finding, as the header is whole"
    else:
        with pytest.raises(zoned.ImageTruncatedError, match=f"at byte {length}"):
            EVERY_WAY[way](path)
    assert path.stat().st_size == length


@pytest.mark.parametrize("way", EVERY_WAY)
def test_no_such_file(tmp_path: Path, way: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        EVERY_WAY[way](tmp_path / "nowhere.img")
    assert caught.value.filename == str(tmp_path / "nowhere.img")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", EVERY_WAY)
def test_folder(tmp_path: Path, way: str) -> None:
    with pytest.raises((IsADirectoryError, zoned.ImageError)):
        EVERY_WAY[way](tmp_path)


@pytest.mark.parametrize("way", EVERY_WAY)
def test_device_file_and_pipe(tmp_path: Path, way: str) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    for path in (Path("/dev/null"), Path("/dev/zero"), fifo):
        script = f"""
import sys, zoned
from pathlib import Path
from image.test_not_an_image import EVERY_WAY
try:
    EVERY_WAY[{way!r}](Path({str(path)!r}))
except OSError as error:
    print(type(error).__name__)
"""
        assert said("-c", script).strip(), f"{path} was taken for an image"


@pytest.mark.parametrize("copies", [(0,), (0, 1)])
@pytest.mark.parametrize("version", [0, 2, 77, 0xFFFFFFFF])
def test_unknown_version(tmp_path: Path, version: int, copies: tuple[int, ...]) -> None:
    """The newer program's image is refused by its version's number; so is one copy that says so."""
    path = tmp_path / "disk.img"
    disks.make(path)
    change_header(path, "version", version, copies)
    for way in ("open", "open readonly", "check"):
        with pytest.raises(zoned.ImageVersionError, match=rf"\b{version}\b") as caught:
            EVERY_WAY[way](path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("bit", [7, 40, 63])
def test_unknown_feature_is_named(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "disk.img"
    disks.make(path)
    change_header(path, "features", 1 << bit)
    for way in ("open", "open readonly", "check"):
        with pytest.raises(zoned.ImageFeatureError) as caught:
            EVERY_WAY[way](path)
        text = str(caught.value)
        assert str(path) in text
        assert f"{1 << bit:#x}" in text or f"bit {bit}" in text, text


def test_layout_is_as_documented(tmp_path: Path) -> None:
    """The independent reading of the format: both copies valid, sizes and the tables where they belong."""
    path = tmp_path / "disk.img"
    disks.make(path)
    image = Image.read(path)
    assert image.header_is_valid(0) and image.header_is_valid(1)
    assert image.header("version") == 1
    assert image.header("nr_zones") == disks.ZONES
    assert image.header("zone_size") == disks.ZONE_SIZE
    assert image.header("zone_capacity") == disks.CAPACITY
    assert image.header("table_b") >= 16384 + disks.ZONES * 32
    assert image.header("table_b") // 4096 != 16384 // 4096
    assert image.header("data_offset") % 65536 == 0
    assert max(image.status(0), image.status(1))[1:] == (1, 0), "closed, so clean and not failed"
    for zone in range(disks.ZONES):
        assert image.entry_is_valid(zone, 0) and image.entry_is_valid(zone, 1)
        assert image.entry(zone, 0) == image.entry(zone, 1)
    conditions = {zone: image.entry(zone, 0)[1] & 0xF for zone in (3, 4, 5, 6, 7, 9, 10)}
    assert conditions == {3: 4, 4: 14, 5: 14, 6: 13, 7: 15, 9: 2, 10: 3}
    assert image.entry(3, 0)[1] >> 16 == 3 * disks.BLOCK // 512
