"""check(): a sound image gives nothing, a damaged copy is found, named and mended."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoned
from zoned import FindingKind


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with zoned.create(path) as dev:
        dev.append(3, b"kept" * 1024)
    return path


def test_a_sound_image(image: Path) -> None:
    assert zoned.check(image) == []
    assert zoned.check(str(image), repair=True) == []
    with zoned.open(image):
        assert [finding for finding in zoned.check(image) if finding.error] == []


def test_a_damaged_header_copy_is_mended(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    findings = zoned.check(image)
    assert [finding.kind for finding in findings] == [FindingKind.HEADER]
    finding = findings[0]
    assert finding.error
    assert finding.mendable
    assert not finding.mended
    assert finding.zone is None
    assert finding.offset == 0
    assert str(finding) == f"error: {finding.text}"
    (mended,) = zoned.check(image, repair=True)
    assert mended.mended
    assert str(mended).startswith("mended: ")
    assert zoned.check(image) == []
    with zoned.open(image) as dev:
        assert dev.pread(4096, dev.zones[3].start) == b"kept" * 1024


def test_repair_needs_the_disk_to_itself(image: Path) -> None:
    with zoned.open(image), pytest.raises(zoned.ImageBusyError) as caught:
        zoned.check(image, repair=True)
    assert caught.value.filename == str(image)


def test_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no image at all")
    with pytest.raises((zoned.NotAnImageError, zoned.ImageTruncatedError)):
        zoned.check(path)
    with pytest.raises(FileNotFoundError):
        zoned.check(tmp_path / "none")
