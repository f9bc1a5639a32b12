"""The trace file: documented bytes, any cut and any flipped byte told in a sentence, other forms."""

from __future__ import annotations

import gzip
import json
import re
import struct
from importlib.util import find_spec
from pathlib import Path

import pytest

import zoned
from image.layout import crc32c
from traces.workload import BLOCK, SHAPE, ZONE, every_command, refused
from zoned import Trace, TraceCutError, TraceError
from zoned.traces.forms import Iolog, json_lines, of_records, text_lines

DOCS = Path(__file__).resolve().parents[2] / "docs" / "trace-format.md"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace with every kind of item but a loss."""
    path = tmp_path_factory.mktemp("trace") / "small.trace"
    with zoned.memory(**SHAPE, seed=5) as dev:
        dev.append(9, bytes(BLOCK))
        with dev.trace.record(path):
            every_command(dev)
            refused(zoned.UnalignedWriteError, dev.pwrite, bytes(BLOCK), 9 * ZONE + BLOCK)
            with dev.faults.add("medium", on="read"):
                refused(zoned.MediumError, dev.pread, BLOCK, 0)
    return path


def whole(path: Path) -> list[zoned.TraceRecord]:
    return list(Trace(path, partial=True))


# ---------------------------------------------------------------- the documented bytes


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def _numbers(body: bytes, count: int, at: int = 0) -> tuple[list[int], int]:
    found = []
    for _ in range(count):
        value, at = _number(body, at)
        found.append(value)
    return found, at


def test_the_file_is_as_documented(small: Path) -> None:
    """Read by the tables of docs/trace-format.md alone, and compared with what the library reads."""
    text = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", text, re.MULTILINE)
    data = small.read_bytes()
    head = {
        name: int.from_bytes(data[int(at) : int(at) + int(size)], "little")
        for at, size, name in rows
    }
    trace = Trace(small)
    geometry = trace.geometry
    assert data[:8] == b"ZDTRACE\n"
    assert (head["version"], head["header_length"]) == (1, 184 + 8 + 4)
    for name in ("size", "zone_size", "zone_capacity", "seed", "logical_block", "physical_block"):
        assert head[name] == getattr(geometry, name), name
    assert (head["max_open"], head["nr_conv"]) == (3, 1)
    assert struct.unpack_from("<II", data, 184) == (0, 2)
    at = head["header_length"]
    crc = crc32c(data[: at - 4])
    assert crc == int.from_bytes(data[at - 4 : at], "little")
    names = dict(re.findall(r"^\| (\d) \| ([A-Z ]+) \|", text, re.MULTILINE))
    kinds = []
    bodies = []
    while at < len(data):
        kind, length = data[at], data[at + 1]
        crc = crc32c(data[at : at + 2 + length], crc)
        assert crc == int.from_bytes(data[at + 2 + length : at + 6 + length], "little")
        kinds.append(names[str(kind)])
        bodies.append(data[at + 2 : at + 2 + length])
        at += 6 + length
    records = list(trace)
    after = len(trace.after)
    expected = ["ZONE BEFORE", "BEGIN", *["COMMAND"] * len(records), *["ZONE AFTER"] * after, "END"]
    assert kinds == expected
    commands = [body for kind, body in zip(kinds, bodies, strict=True) if kind == "COMMAND"]
    bits = re.findall(r"^\| (\d+) \| ([a-z][^|]*) \|$", text.partition("| flag |")[2], re.MULTILINE)
    assert [int(bit) for bit, _ in bits] == [1, 2, 4, 8, 16, 32, 64, 128]
    start = head["monotonic"]
    virtual = pid = tid = 0
    for body, record in zip(commands, records, strict=True):
        flags = body[1]
        (delta, took), at = _numbers(body, 2, 2)
        start += delta >> 1 ^ -(delta & 1)
        assert (start, took) == (record.start_ns, record.duration_ns)
        if flags & 128:
            delta, at = _number(body, at)
            virtual += delta >> 1 ^ -(delta & 1)
        if flags & 64:
            (pid, tid), at = _numbers(body, 2, at)
        assert (virtual, pid, tid) == (record.virtual_ns, record.pid, record.tid)
        for flag, wanted in (
            (1, record.offset),
            (2, record.length),
            (4, record.zone),
            (8, record.offset),  # where it landed
        ):
            if flags & flag:
                found, at = _number(body, at)
                assert found == wanted
        if flags & 16:
            (code, done, wp, bound), at = _numbers(body, 4, at)
            assert (-code, done) == (record.code, record.done)
            assert (wp - 1 if wp else None) == record.wp
            assert (bound - 1 or None) == record.bound
            assert body[at] == record.condition
            at += 1
        if flags & 32:
            fault, at = _number(body, at)
            assert fault == record.fault
        assert at == len(body)
    assert _numbers(bodies[-1], 3)[0] == [after, len(records), 0]
    assert _numbers(bodies[1], 3)[0] == [1, 0, 0]


# ---------------------------------------------------------------- cut off and damaged


def test_cut_at_every_length(small: Path, tmp_path: Path) -> None:
    """Up to the last whole record, and one sentence that says where it ends."""
    data, path = small.read_bytes(), tmp_path / "cut.trace"
    records = whole(small)
    boundaries = 0
    header = Trace(small).header.size
    for length in range(len(data)):
        path.write_bytes(data[:length])
        if length < header:
            told = f"cut off in its header, at byte {length}$" if length else "the file is empty"
            with pytest.raises(TraceError, match=told):
                Trace(path)
            continue
        trace = Trace(path, partial=True)
        got = list(trace)
        assert got == records[: len(got)]
        assert trace.cut is not None
        were = "command before that was" if len(got) == 1 else "commands before that were"
        assert f"the {len(got)} {were} read" in trace.cut
        assert not trace.complete
        middle = "cut off in the middle of an item" in trace.cut
        boundaries += not middle
        assert middle or "without its end mark" in trace.cut
        found = []
        with pytest.raises(TraceCutError, match=re.escape(trace.cut)):
            found.extend(Trace(path))
        assert found == got
    trace = Trace(small)
    assert list(trace) == records
    items = len(trace.before) + 1 + len(records) + len(trace.after) + 1
    assert boundaries == items


def test_every_flipped_byte(small: Path, tmp_path: Path, long_run: bool) -> None:
    """Never a crash, never a wrong record: what is given is right, and the damage is told."""
    data, path = small.read_bytes(), tmp_path / "flipped.trace"
    records = whole(small)
    header = Trace(small).header.size
    refusals = 0
    for at in range(len(data)):
        for mask in [1 << bit for bit in range(8)] if long_run else [1 << at % 8]:
            flipped = bytearray(data)
            flipped[at] ^= mask
            path.write_bytes(flipped)
            try:
                trace = Trace(path, partial=True)
            except TraceError as error:
                refusals += str(error).startswith(f"{path}: ")
                continue
            got = list(trace)
            assert at >= header
            assert got == records[: len(got)]
            assert trace.cut is not None, (at, mask)
    assert refusals == header * (8 if long_run else 1)


def test_bytes_behind_the_end(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.trace"
    path.write_bytes(small.read_bytes() + b"x")
    trace = Trace(path, partial=True)
    assert len(list(trace)) == len(whole(small))
    assert trace.cut is not None
    assert "bytes follow its end mark" in trace.cut


def test_items_cannot_be_left_out_or_moved(small: Path, tmp_path: Path) -> None:
    """Each checksum covers everything before it, so whole items must stand where they stood."""
    data, path = small.read_bytes(), tmp_path / "moved.trace"
    begin = at = Trace(small).header.size
    items = []
    while at < len(data):
        items.append(data[at : at + 6 + data[at + 1]])
        at += len(items[-1])
    for wrong in (items[:5] + items[6:], [*items[:5], items[6], items[5], *items[7:]]):
        path.write_bytes(data[:begin] + b"".join(wrong))
        trace = Trace(path, partial=True)
        assert len(list(trace)) == 3
        assert trace.cut is not None
        assert "a checksum is wrong" in trace.cut


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (9, b"", "an item of an unknown kind"),
        (1, b"", "says what cannot be"),
        (1, b"\x63\x00\x00\x00", "says what cannot be"),  # no such command
        (1, b"\x0f\x00\x00\x00\x00", "says what cannot be"),  # a byte too many
        (1, b"\x0f\x00" + b"\xff" * 11, "says what cannot be"),  # a number without end
        (
            1,
            b"\x01\x14\x00\x00\x85\x80\x80\x80\x70" + b"\x01" * 6,
            "says what cannot be",
        ),  # zone > 32 bits
    ],
)
def test_items_with_right_checksums_that_cannot_be(
    small: Path, tmp_path: Path, kind: int, body: bytes, told: str
) -> None:
    data, path = small.read_bytes(), tmp_path / "crafted.trace"
    head = data[: Trace(small).header.size]
    item = bytes([kind, len(body)]) + body
    crc = crc32c(item, int.from_bytes(head[-4:], "little"))
    path.write_bytes(head + item + crc.to_bytes(4, "little"))
    trace = Trace(path, partial=True)
    assert list(trace) == []
    assert trace.cut is not None
    assert told in trace.cut


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (8, 2, "version 2, and this zoned knows version 1"),
        (12, 0, "says that it is 0 bytes long"),
        (56, 0, "describes a disk that cannot be"),
        (104, 77, "describes a disk that cannot be"),
    ],
)
def test_headers_that_cannot_be(
    small: Path, tmp_path: Path, at: int, value: int, told: str
) -> None:
    data, path = bytearray(small.read_bytes()), tmp_path / "head.trace"
    size = Trace(small).header.size
    width = 1 if at == 104 else 8 if at == 56 else 4
    data[at : at + width] = value.to_bytes(width, "little")
    data[size - 4 : size] = crc32c(bytes(data[: size - 4])).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(TraceError, match=told):
        Trace(path)


def test_other_files_are_no_traces(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    with pytest.raises(TraceError, match="the file is empty"):
        Trace(path)
    path.write_bytes(b"fio version 2 iolog\n")
    with pytest.raises(TraceError, match=r"not a trace of zoned$"):
        Trace(path)
    with pytest.raises(FileNotFoundError):
        Trace(tmp_path / "no")
    with pytest.raises(IsADirectoryError):
        Trace(tmp_path)


def test_compressed_traces(small: Path, tmp_path: Path) -> None:
    """Told by their first bytes, whatever the file is called; cut off, they give what is whole."""
    records = whole(small)
    packed = gzip.compress(small.read_bytes())
    path = tmp_path / "trace"
    path.write_bytes(packed)
    assert list(Trace(path)) == records
    path.write_bytes(packed[: len(packed) * 3 // 4])
    trace = Trace(path, partial=True)
    assert list(trace) == records[: len(list(trace))]
    assert trace.cut is not None
    assert "the compressed file is cut off" in trace.cut
    if find_spec("zstandard"):
        import zstandard

        path.write_bytes(zstandard.ZstdCompressor().compress(small.read_bytes()))
        assert list(Trace(path)) == records


# ---------------------------------------------------------------- other forms


def _fixed(path: Path) -> tuple[Trace, list[zoned.TraceRecord]]:
    """The records with times, processes and threads that are the same in every run."""
    trace = Trace(path)
    base = trace.header.monotonic_ns
    return trace, [
        item._replace(start_ns=base + 1_500_000 * item.number, duration_ns=2_300, pid=12, tid=13)
        for item in trace
    ]


def test_text(small: Path) -> None:
    trace, records = _fixed(small)
    lines = list(text_lines(records[3:6] + records[-2:], trace.header.monotonic_ns))
    assert lines == [
        "  number         time s    took us     pid  command",
        "       3       0.004500        2.3      12  append of 8192 bytes to zone 3, landed at 3145728: ok",
        "       4       0.006000        2.3      12  read of 512 bytes at 2097152 in zone 2: ok",
        "       5       0.007500        2.3      12  read of 4096 bytes at 0 in zone 0: ok",
        (
            "      23       0.034500        2.3      12  write of 4096 bytes at 9441280 in zone 9:"
            " unaligned-write (zone was EMPTY, wp 9437184)"
        ),
        (
            "      24       0.036000        2.3      12  read of 4096 bytes at 0 in zone 0: medium-error"
            " (zone was NOT_WP), by fault 1"
        ),
    ]


def test_json(small: Path) -> None:
    trace, records = _fixed(small)
    lines = [json.loads(line) for line in json_lines(trace, records)]
    head, end = lines[0], lines[-1]
    assert head["trace"] == 1
    assert head["uuid"] == str(trace.header.uuid)
    assert head["geometry"]["zone_size"] == ZONE
    assert head["geometry"]["conventional"] == [[0, 2]]
    assert [row["zone"] for row in head["zones"]] == [9]
    assert len(lines) == len(records) + 2
    assert lines[4] == {
        "number": 3,
        "command": "append",
        "zone": 3,
        "offset": 3145728,
        "length": 8192,
        "done": 8192,
        "result": "ok",
        "time": 4500000,
        "took": 2300,
        "pid": 12,
        "tid": 13,
    }
    assert lines[24]["result"] == "unaligned-write"
    assert (lines[24]["wp"], lines[24]["condition"]) == (9 * ZONE, "EMPTY")
    assert (lines[25]["fault"], lines[25]["done"]) == (1, 0)
    assert end["end"] is True
    assert end["cut"] is None


def test_iolog_text(small: Path) -> None:
    trace, records = _fixed(small)
    iolog = Iolog(name="/dev/sdx")
    assert list(iolog.lines(of_records(trace, records))) == [
        "fio version 2 iolog",
        "/dev/sdx add",
        "/dev/sdx open",
        "/dev/sdx write 2097152 4096",
        "/dev/sdx write 2101248 8192",
        "/dev/sdx write 512 512",
        "/dev/sdx write 3145728 8192",
        "/dev/sdx read 2097152 512",
        "/dev/sdx read 0 4096",
        "/dev/sdx sync 0 0",
        "/dev/sdx trim 3145728 1048576",
        "/dev/sdx close",
    ]
    assert iolog.left_out == len(records) - 8
    waits = list(Iolog(waits=True, trims=False).lines(of_records(trace, records[:2])))
    assert waits[3:6] == [
        "/dev/zoned write 2097152 4096",
        "/dev/zoned wait 1500 0",
        "/dev/zoned write 2101248 8192",
    ]
    third = list(Iolog(version=3).lines(of_records(trace, records[:3])))
    assert third == [
        "fio version 3 iolog",
        "0 /dev/zoned add",
        "0 /dev/zoned open",
        "0 /dev/zoned write 2097152 4096",
        "1 /dev/zoned write 2101248 8192",
        "3 /dev/zoned write 512 512",
        "3 /dev/zoned close",
    ]
