"""Streams: bytes of any number in a sequential file come back exactly, whatever wrote them."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoned
import zonefs
from zonefs.stream import RECORD, Extents, Segment

MIB = 1 << 20


@pytest.mark.parametrize(
    "size", [0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8128, 100_000, 1_000_001]
)
def test_any_length(fs: zonefs.ZoneFS, size: int) -> None:
    data = os.urandom(size)
    with fs.open_stream("seq/0", "wb") as file:
        assert file.write(data) == size
    with fs.open_stream("seq/0", "rb") as file:
        assert file.read() == data
        assert file.seek(0, os.SEEK_END) == size
        if size:
            file.seek(size // 2)
            assert file.read(10) == data[size // 2 :][:10]
    assert fs.stat("seq/0").st_size == (-(-(size + 64) // 4096) * 4096 if size else 0)


def test_appended_later(fs: zonefs.ZoneFS) -> None:
    whole = b""
    for turn in range(20):
        piece = os.urandom(turn * 777)
        with fs.open_stream("seq/0", "ab") as file:
            assert file.tell() == len(whole)
            file.write(piece)
        whole += piece
        with fs.open_stream("seq/0", "rb") as file:
            assert file.read() == whole
    with fs.open_stream("seq/0", "wb") as file:
        file.write(b"new")
    with fs.open_stream("seq/0", "rb") as file:
        assert file.read() == b"new"


def test_the_standard_library(fs: zonefs.ZoneFS, tmp_path: Any) -> None:
    value = {"zones": list(range(1000)), "name": "täst", "none": None}
    with fs.open_stream("seq/0", "w", encoding="utf-8") as text:
        json.dump(value, text)
    with fs.open_stream("seq/0", encoding="utf-8") as text:
        assert json.load(text) == value

    with fs.open_stream("seq/1", "wb") as file:
        pickle.dump(value, file)
        pickle.dump(42, file)
    with fs.open_stream("seq/1", "rb") as file:
        assert (pickle.load(file), pickle.load(file)) == (value, 42)

    rows = [[str(n), "x" * n, 'quote"d, and\nbroken'] for n in range(50)]
    with fs.open_stream("seq/2", "w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows(rows)
    with fs.open_stream("seq/2", newline="", encoding="utf-8") as text:
        assert list(csv.reader(text)) == rows

    data = os.urandom(1_234_567)
    with fs.open_stream("seq/3", "wb") as file:
        shutil.copyfileobj(io.BytesIO(data), file)
    to = io.BytesIO()
    with fs.open_stream("seq/3", "rb") as file:
        shutil.copyfileobj(file, to)
    assert to.getvalue() == data

    with fs.open_stream("seq/4", "w", buffering=1) as text:
        print("one", file=text)
        print("two", file=text, flush=True)
    with fs.open_stream("seq/4") as text:
        assert list(text) == ["one\n", "two\n"]


def test_tarfile(fs: zonefs.ZoneFS, tmp_path: Any) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * 5000)
    with fs.open_stream("seq/0", "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(tmp_path / "a", "a")
    for name in ("b", "c"):  # which overwrites the end of the archive
        with fs.open_stream("seq/0", "r+b") as file, tarfile.open(fileobj=file, mode="a") as tar:
            tar.add(tmp_path / name, name)
    with fs.open_stream("seq/0", "rb") as file, tarfile.open(fileobj=file) as tar:
        assert tar.getnames() == ["a", "b", "c"]
        assert [tar.extractfile(n).read() for n in "abc"] == [  # type: ignore[union-attr]
            n.encode() * 5000 for n in "abc"
        ]
    with fs.open_stream("seq/1", "wb") as file, tarfile.open(fileobj=file, mode="w|gz") as tar:
        tar.add(tmp_path / "a", "a")
    with fs.open_stream("seq/1", "rb") as file, tarfile.open(fileobj=file, mode="r|gz") as tar:
        assert [member.name for member in tar] == ["a"]


def test_zipfile(fs: zonefs.ZoneFS) -> None:
    with fs.open_stream("seq/0", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", "hello")
        archive.writestr("b", b"x" * 100_000, zipfile.ZIP_DEFLATED)
    for name in ("c", "d"):  # which overwrites the central directory
        with fs.open_stream("seq/0", "r+b") as file, zipfile.ZipFile(file, "a") as archive:
            archive.writestr(name, name * 5000)
    with fs.open_stream("seq/0", "rb") as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["a", "b", "c", "d"]
        assert archive.testzip() is None
        assert archive.read("d") == b"d" * 5000


def claim_goes_on_behind(fs: zonefs.ZoneFS, left: bytes, more: bytes) -> None:
    """A stream without its end is taken up to what it still has, and appended to."""
    with fs.open_stream("seq/0", "rb", recover=True) as file:
        assert file.read() == left
    with fs.open_stream("seq/0", "ab", recover=True) as file:
        file.write(more)
    with fs.open_stream("seq/0", "rb") as file:
        assert file.read() == left + more


def test_flush_is_a_point_of_no_return(fs: zonefs.ZoneFS, fails: Any) -> None:
    """A writer that dies: what was flushed is there, with recover=True, and can be appended to."""
    with zonefs.ZoneFS(fs.device) as mine:
        raw = mine.open_stream("seq/0", "wb", buffering=0)
        raw.write(b"flushed")
        raw.flush()
        raw.write(b"lost" * 5000)
        fs.revalidate("seq/0")
        for mode in ("rb", "ab"):
            with fails(errno.EUCLEAN, "recover=True takes it up to its last flush") as info:
                fs.open_stream("seq/0", mode)
            assert info.type is zonefs.StreamError
        claim_goes_on_behind(fs, b"flushed", b", and more")
        with fails(errno.EIO):  # the dead writer's mount notices that somebody else went on
            raw.write(b"x" * 5000)
        with fails(errno.EROFS):
            raw.close()
        assert raw.closed


def test_two_writers(fs: zonefs.ZoneFS, fails: Any) -> None:
    """The second one to write is refused, and nothing of the first one is lost."""
    one = fs.open_stream("seq/0", "ab", buffering=0)
    two = fs.open_stream("seq/0", "ab", buffering=0)
    one.write(b"one")
    one.flush()
    two.write(b"two")
    with fails(errno.EINVAL, "a sequential file is written at its end only"):
        two.flush()
    one.close()
    with fails(errno.EINVAL):
        two.close()
    with fs.open_stream("seq/0", "rb") as file:
        assert file.read() == b"one"


def test_what_is_no_stream(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open("seq/0", "wb") as file:
        file.write(block * 3)
    with fails(errno.EUCLEAN, "ends without a stream's record"):
        fs.open_stream("seq/0")
    claim_goes_on_behind(fs, b"", b"behind it")
    with fails(errno.EINVAL, "conventional"):
        fs.open_stream("cnv/0", "wb")
    with fails(errno.EISDIR):
        fs.open_stream("seq")


def test_a_full_zone(fs: zonefs.ZoneFS, fails: Any) -> None:
    raw = fs.open_stream("seq/0", "wb", buffering=0)
    data = os.urandom(5 * MIB)
    assert raw.room == 4 * MIB - 64
    assert raw.write(data) == 4 * MIB - 64
    with fails(errno.EFBIG, "seq/0 is full"):
        raw.write(b"x")
    raw.close()
    with fs.open_stream("seq/0", "rb") as file:
        assert file.read() == data[: 4 * MIB - 64]
    raw = fs.open_stream("seq/0", "ab", buffering=0)
    with fails(errno.EFBIG):
        raw.write(b"x")
    raw.close()


def test_a_finished_zone(fs: zonefs.ZoneFS, fails: Any) -> None:
    with fs.open_stream("seq/0", "wb") as file:
        file.write(b"sealed")
    fs.truncate("seq/0", 4 * MIB)
    with fs.open_stream("seq/0", "rb") as file:
        assert file.read() == b"sealed"
    raw = fs.open_stream("seq/0", "ab", buffering=0)
    with fails(errno.EFBIG):
        raw.write(b"x")
    raw.close()


def test_another_mount_reads_it(fs: zonefs.ZoneFS) -> None:
    with fs.open_stream("seq/5", "wb") as file:
        file.write(b"abc" * 1000)
    with zonefs.ZoneFS(fs.device) as other, other.open_stream("seq/5", "rb") as file:
        assert file.read() == b"abc" * 1000


def test_the_record_as_documented(fs: zonefs.ZoneFS) -> None:
    with fs.open_stream("seq/0", "wb") as file:
        file.write(b"abc")
    raw = (fs / "seq" / "0").read_bytes()
    assert raw[:3] == b"abc"
    assert not any(raw[3 : 4096 - 64])
    assert RECORD.size == 64
    segment = Segment.unpacked(raw[-64:], 4096, 4096)
    assert segment is not None
    assert (segment.start, segment.length, segment.offset) == (0, 3, 0)
    assert (segment.size, segment.previous) == (3, None)
    assert segment.packed() == raw[-64:]
    for bit in range(512):
        bad = bytearray(raw[-64:])
        bad[bit // 8] ^= 1 << (bit % 8)
        assert Segment.unpacked(bytes(bad), 4096, 4096) is None


def test_a_damaged_chain(fs: zonefs.ZoneFS, fails: Any) -> None:
    with fs.open_stream("seq/0", "wb") as file:
        file.write(b"one")
    first = (fs / "seq" / "0").read_bytes()
    with fs.open_stream("seq/0", "ab") as file:
        file.write(b"two")
    second = (fs / "seq" / "0").read_bytes()[4096:]
    with fs.open("seq/1", "wb") as file:
        file.write(bytes(4096) + second)
    with fails(errno.EUCLEAN, "record that ends at 4096 is gone"):
        fs.open_stream("seq/1")
    with fs.open("seq/2", "wb") as file:
        file.write(first + second)
    with fs.open_stream("seq/2") as file:
        assert file.read() == "onetwo"


def test_modes(fs: zonefs.ZoneFS) -> None:
    with fs.open_stream("seq/0", "wb") as file, pytest.raises(io.UnsupportedOperation):
        file.read(1)
    with fs.open_stream("seq/0", "rb") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with fs.open_stream("seq/0", "w+b") as file:
        file.write(b"hello world")
        file.seek(6)
        file.write(b"there")
        file.seek(0)
        assert file.read() == b"hello there"
        file.seek(20)
        file.write(b"!")
        file.seek(0)
        assert file.read() == b"hello there" + bytes(9) + b"!"
        file.truncate(5)
        file.seek(0)
        assert file.read() == b"hello"
    with fs.open_stream("seq/0", "a+b") as file:
        file.seek(0)
        file.write(b", you")
        file.seek(0)
        assert file.read() == b"hello, you"


PIECES = st.tuples(
    st.sampled_from(["write", "read", "seek", "truncate", "flush", "reopen"]),
    st.integers(0, 20_000),
)


@given(st.lists(PIECES, max_size=25), st.sampled_from([512, 4096]))
def test_as_an_ordinary_file(steps: list[tuple[str, int]], block: int) -> None:
    """The same steps on a stream and on BytesIO give the same bytes, positions and sizes."""
    with zoned.memory(
        size="32MiB", zone_size="16MiB", conventional=1, logical_block=block, physical_block=block
    ) as dev:
        zonefs.mkfs(dev)
        with zonefs.ZoneFS(dev) as fs:
            model = io.BytesIO()
            file: Any = fs.open_stream("seq/0", "w+b", buffering=3000)
            for number, (what, amount) in enumerate(steps):
                if what == "write":
                    data = bytes([number + 1]) * amount
                    assert file.write(data) == model.write(data)
                elif what == "read":
                    assert file.read(amount) == model.read(amount)
                elif what == "seek":
                    assert file.seek(amount) == model.seek(amount)
                elif what == "truncate":
                    file.truncate(amount)
                    # BytesIO cannot be lengthened: a byte at the end and its removal do that.
                    if amount > len(model.getvalue()):
                        at = model.tell()
                        model.seek(amount - 1)
                        model.write(b"\0")
                        model.seek(at)
                    else:
                        model.truncate(amount)
                elif what == "flush":
                    file.flush()
                else:
                    file.close()
                    file = fs.open_stream("seq/0", "r+b", buffering=0 if amount % 2 else -1)
                    file.seek(model.tell())
                assert file.tell() == model.tell()
            file.seek(0)
            assert file.read() == model.getvalue()
            file.close()
            with fs.open_stream("seq/0", "rb") as again:
                assert again.read() == model.getvalue()


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.booleans()), max_size=30))
def test_extents(steps: list[tuple[int, int, bool]]) -> None:
    """Where each byte lies, against a plain list."""
    extents, model = Extents(), [None] * 200
    for number, (offset, length, cut) in enumerate(steps):
        if cut:
            extents.truncate(offset)
            model[offset:] = [None] * (200 - offset)
        else:
            extents.put(offset, length, number * 1000)
            model[offset : offset + length] = [number * 1000 + i for i in range(length)]
    found: list[int | None] = []
    for length, place in extents.find(0, 200):
        found += [None if place is None else place + i for i in range(length)]
    assert found == model
