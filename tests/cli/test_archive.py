"""Dumps: what comes back, what damage is called, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import children
import zoned
from cli.dumps import Dump, OldDump, Sample, as_old, gz, member, raw_gz
from cli.shell import ok, sentence, zonedctl
from waiting import PATIENCE
from zoned import archive, dumpfile
from zoned._core.looking import zone_written
from zoned.bench import html
from zoned.zone import Zone

KINDS: dict[str, dict[str, object]] = {
    "zbc": {"max_open": 6},
    "zns": {"dialect": "zns", "zone_capacity": "3MiB", "max_open": 4, "max_active": 9},
    "zns-tight": {"dialect": "zns", "max_open": 2, "max_active": 2, "seed": 7},
    "nullblk": {
        "dialect": "nullblk",
        "zone_capacity": "3MiB",
        "max_open": 5,
        "max_active": 8,
        "implicit_close": "round-robin",
    },
    "host-aware": {"model": "host-aware", "size": "126MiB"},
    "512e": {
        "size": "130MiB",
        "unrestricted_read": False,
        "logical_block": 512,
        "physical_block": 4096,
        "conventional": "0-1,31",
    },
    "no-data": {"data": "none"},
}


def use(device: zoned.Device) -> None:
    """Bring zones into as many states as the kind of disk and its limits allow."""
    rng = random.Random(1)
    geometry = device.geometry
    for zone in range(geometry.nr_zones):
        start, capacity = geometry.zone_start(zone), geometry.zone_capacity_of(zone)

        def write(count: int, at: int = 0, start: int = start) -> None:
            device.pwrite(rng.randbytes(count), start + at)

        if zone in geometry.conventional:
            if zone == 0:
                write(8192, 65536)
            elif zone == 1:
                write(4096)
                device.set_condition(zone, "read-only")
            continue
        try:
            match zone % 13:
                case 0:
                    write(8192)
                case 1:
                    device.open_zone(zone)
                case 2:
                    device.open_zone(zone)
                    write(12288)
                case 3:
                    write(capacity)
                case 4:
                    write(12288)
                    device.finish_zone(zone)
                case 5:
                    device.finish_zone(zone)
                case 6:
                    write(20480)
                    device.close_zone(zone)
                case 7:
                    write(4096)
                    device.reset_zone(zone)
                case 8:
                    write(16384)
                    device.set_condition(zone, "read-only")
                case 9:
                    write(4096)
                    device.set_condition(zone, "offline")
                case 10:
                    device.open_zone(zone)
                    device.close_zone(zone)
                case 11:  # a piece of zeros in the middle
                    write(4096)
                    device.pwrite(bytes(2 << 20), start + 4096)
                    write(4096, 4096 + (2 << 20))
                    device.close_zone(zone)
                case 12:
                    write(capacity)
                    device.set_condition(zone, "read-only")
            if geometry.model == "host-aware" and zone % 13 in (0, 2, 3, 4, 6):
                write(4096)
        except zoned.ZonedError:
            continue  # a limit is reached: fewer zones in this state


def zones(device: zoned.Device) -> list[Zone]:
    """The report; everything in a restored disk is durable."""
    return [dataclasses.replace(zone, durable_wp=None) for zone in device.report()]


def payload(device: zoned.Device) -> list[bytes]:
    """What can be read of every zone."""
    content = []
    for zone in device.report():
        if zone.condition is zoned.ZoneCondition.OFFLINE:
            content.append(b"")
            continue
        size = (
            zone.capacity if device.geometry.unrestricted_read else zone_written(device, zone.index)
        )
        content.append(device.pread(size, zone.start) if size else b"")
    return content


def packed(device: zoned.Device, **options: object) -> bytes:
    stream = io.BytesIO()
    archive.dump(device, stream, **options)
    return stream.getvalue()


@pytest.fixture(params=sorted(KINDS))
def used(request: pytest.FixtureRequest) -> Iterator[zoned.Device]:
    with zoned.memory(**({"size": "128MiB"} | KINDS[request.param])) as device:
        use(device)
        yield device


def test_restored_disk_is_the_same(used: zoned.Device, tmp_path: Path) -> None:
    """Geometry, conditions, write pointers, flags, payload, and what can be read behind write pointers."""
    before = (archive.describe(used), zones(used), payload(used))
    stream = io.BytesIO()
    summary = archive.dump(used, stream)
    assert (archive.describe(used), zones(used), payload(used)) == before
    stream.seek(0)
    path = tmp_path / "copy.img"
    assert archive.restore(stream, path) == summary
    with zoned.open(path, readonly=True) as copy:
        assert (archive.describe(copy), zones(copy), payload(copy)) == before
        assert copy.info().profile == used.info().profile
        if used.geometry.seed:
            assert copy.info().uuid == used.info().uuid
        else:
            assert copy.info().uuid != used.info().uuid
        for zone in copy.report():
            if zone.wp is not None:
                assert zone.durable_wp == zone.wp
        limits = used.limits
        assert copy.limits == limits
    assert [finding for finding in zoned.check(path) if finding.error] == []


def test_restored_disk_goes_on_working(used: zoned.Device) -> None:
    """Open and active zones of the copy count as those of the original: the same commands succeed."""
    with archive.load(io.BytesIO(packed(used))) as copy:
        for zone in range(used.geometry.nr_zones):
            for command in ("open_zone", "close_zone", "finish_zone", "reset_zone"):
                told = []
                for device in (used, copy):
                    try:
                        told.append(getattr(device, command)(zone))
                    except zoned.ZonedError as error:
                        told.append(str(error))
                assert told[0] == told[1]
        assert zones(copy) == zones(used)


def test_without_payload(used: zoned.Device) -> None:
    small = packed(used, data=False)
    assert len(small) < 4096
    with archive.load(io.BytesIO(small)) as copy:
        assert zones(copy) == zones(used)
        assert archive.describe(copy) == archive.describe(used)
        filler = b"\xff" if used.geometry.dialect == "nullblk" else b"\0"
        for content in payload(copy):
            assert content.strip(b"\0").strip(filler) == b""


def test_restore_without_keeping_payload(tmp_path: Path) -> None:
    with zoned.memory() as device:
        use(device)
        stream = io.BytesIO(packed(device))
        path = tmp_path / "copy.img"
        archive.restore(stream, path, data="none")
        with zoned.open(path, readonly=True) as copy:
            assert copy.geometry.data == "none"
            assert zones(copy) == zones(device)
            assert not any(any(content) for content in payload(copy))


def test_implicitly_open_zones_keep_their_order() -> None:
    """The zone that was opened first is the first victim of the copy, too."""
    order = [9, 4, 12, 7]
    with zoned.memory(max_open=4) as device:
        for zone in order:
            device.pwrite(bytes(4096), device.geometry.zone_start(zone))
        with archive.load(io.BytesIO(packed(device))) as copy:
            for turn, victim in enumerate(order):
                copy.open_zone(2 + turn if turn < 2 else 11 + turn)
                assert copy.zones[victim].condition is zoned.ZoneCondition.CLOSED
                assert copy.limits.implicit_open == 3 - turn


@pytest.mark.parametrize("condition", ["read-only", "offline"])
@pytest.mark.parametrize("data", ["store", "none"])
def test_a_zone_that_lost_all_and_kept_its_flag(condition: str, data: str) -> None:
    """A power cut took what was written out of order, and the zone could not become EMPTY."""
    with zoned.memory(model="host-aware", data=data) as device:
        start = device.zones[3].start
        for blocks in (2, 1):
            device.pwrite(bytes(blocks * 4096), start)
        device.set_condition(3, condition)
        device.power_cut(keep="durable")
        device.power_on()
        assert zone_written(device, 3) == 0 and device.zones[3].non_seq
        with archive.load(io.BytesIO(packed(device))) as copy:
            assert copy.zones[3] == device.zones[3]
            if condition == "read-only":
                assert copy.pread(8192, start) == device.pread(8192, start) == bytes(8192)


def test_clone_state_has_no_payload_and_the_same_zones(used: zoned.Device) -> None:
    with archive.clone_state(used) as copy:
        assert zones(copy) == zones(used)
        assert copy.geometry.data == "none"


def test_unwritten_space_is_not_in_the_dump() -> None:
    with zoned.memory(profile="hc680") as device:
        assert len(packed(device)) < 1024
        device.pwrite(b"x" * 4096, device.geometry.zone_start(5000))
        device.finish_zone(6000)
        device.pwrite(bytes(1 << 20), device.geometry.zone_start(7000))
        summary = archive.verify(io.BytesIO(packed(device)))
        assert (summary.zones, summary.data) == (3, 4096)


class Drip:
    """A pipe that gives and takes a few bytes at a time, and cannot seek."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.at = 0

    def read(self, size: int, /) -> bytes:
        part = bytes(self.data[self.at : self.at + min(size, 1009)])
        self.at += len(part)
        return part

    def write(self, data: bytes, /) -> int:
        taken = data[:4001]
        self.data += taken
        return len(taken)


def test_through_a_pipe_that_drips() -> None:
    with zoned.memory() as device:
        use(device)
        pipe = Drip()
        archive.dump(device, pipe)
        assert bytes(pipe.data) == packed(device)
        with archive.load(Drip(bytes(pipe.data))) as copy:
            assert payload(copy) == payload(device)


def test_levels() -> None:
    with zoned.memory() as device:
        device.pwrite(b"abcdefgh" * 65536, device.geometry.zone_start(3))
        sizes = [len(packed(device, level=level)) for level in (0, 1, 9)]
        assert sizes[0] > 524288 > 8192 > sizes[1] >= sizes[2]
        for level in (0, 9):
            with archive.load(io.BytesIO(packed(device, level=level))) as copy:
                assert payload(copy) == payload(device)


def test_progress_reaches_the_end() -> None:
    with zoned.memory() as device:
        use(device)
        seen: list[tuple[int, int]] = []
        data = io.BytesIO()
        archive.dump(device, data, progress=lambda done, total: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1] > 0
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# ------------------------------------------------------------------------------------------- damage


def chunky() -> zoned.Device:
    """A small disk whose dump has several chunks of each kind."""
    device = zoned.memory(size="16MiB", zone_size="1MiB", conventional=1, max_open=4)
    rng = random.Random(2)
    for zone in (0, 2, 4, 5):
        device.pwrite(rng.randbytes(512) * 16, device.geometry.zone_start(zone))
    device.finish_zone(4)
    device.set_condition(7, "offline")
    return device


@pytest.fixture(scope="module", params=["archive", "version-1"])
def sample(request: pytest.FixtureRequest) -> Sample:
    """A dump of it."""
    with chunky() as device:
        new = Dump(packed(device))
    return new if request.param == "archive" else as_old(new)


def some(length: int, every: bool) -> range:
    """Places in a dump: all in the long run, else every seventh."""
    return range(0, length, 1 if every else 7)


def test_cut_at_any_length(sample: Sample, tmp_path: Path, long_run: bool) -> None:
    path = tmp_path / "copy.img"
    for length in some(len(sample), long_run):
        with pytest.raises(dumpfile.DumpError) as caught:
            archive.verify(io.BytesIO(sample[:length]), name="d")
        told = str(caught.value)
        if length == 0:
            assert told == "d is empty"
        else:
            assert f"ends at byte {length}" in told
        if length % 61 == 0:
            with pytest.raises(dumpfile.DumpError):
                archive.restore(io.BytesIO(sample[:length]), path)
            assert os.listdir(tmp_path) == []


def test_any_flipped_byte(sample: Sample, tmp_path: Path, long_run: bool) -> None:
    path = tmp_path / "copy.img"
    for at in some(len(sample), long_run):
        bad = bytearray(sample)
        bad[at] ^= 0x21
        with pytest.raises(dumpfile.DumpError) as caught:
            archive.verify(io.BytesIO(bytes(bad)), name="d")
        assert "byte" in str(caught.value) or at < 8 or "version" in str(caught.value)
        if at % 61 == 0:
            with pytest.raises(dumpfile.DumpError):
                archive.restore(io.BytesIO(bytes(bad)), path)
            assert os.listdir(tmp_path) == []


def disk_body(sample: Sample) -> dict[str, object]:
    return json.loads(sample.bodies()[0][1])


def test_chunks_lost_doubled_and_swapped(sample: Sample) -> None:
    parts = sample.chunks()
    assert b"".join(parts) == sample
    assert len(parts) >= 8
    for at in range(1, len(parts)):
        for other in (
            parts[:at] + parts[at + 1 :],
            parts[: at + 1] + parts[at:],
            [*parts[: at - 1], parts[at], parts[at - 1], *parts[at + 1 :]],
        ):
            if b"".join(other) != sample:  # an archive has no header to be swapped with
                with pytest.raises(dumpfile.DumpError):
                    archive.verify(io.BytesIO(b"".join(other)))


HEADER = OldDump.header
NEWER = b"\x89ZDMP\r\n\x1a" + struct.pack("<HH", 2, 0)
NEWER += struct.pack("<I", zlib.crc32(NEWER))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "d is empty"),
        (b"hello world, this is text", "d is not a dump made by zonedctl dump"),
        (b"ZDIMAGE\n" + bytes(4096), "d is not a dump made by zonedctl dump"),
        (b"\x1f\x8b\x08" + bytes(40), "d is not a dump made by zonedctl dump"),
        (b"\x89ZDMP\n\x1a" + bytes(40), "was damaged by a transfer in text mode"),
        (NEWER, "d has version 2, and this program reads version 1: use a newer one"),
        (HEADER[:12] + b"abcd", "the checksum of its header is wrong"),
        (HEADER, "d is cut short: it ends at byte 16, within the head of chunk 0"),
        (HEADER + OldDump.chunk(b"ZONE", 0, b""), "it does not begin with the disk's description"),
        (HEADER + OldDump.chunk(b"WHAT", 0, b""), "has a chunk of the kind 'WHAT' at byte 16"),
        (HEADER + OldDump.chunk(b"DISK", 0, b"{"), "a description is no JSON"),
        (HEADER + OldDump.chunk(b"DISK", 0, b"{}"), "a description lacks one of geometry, profile"),
        (HEADER + OldDump.chunk(b"DISK", 0, b"x", raw=2 << 20), "the head of chunk 0"),
        (
            HEADER + OldDump.chunk(b"DISK", 0, b"x" * 9, raw=100),
            "chunk 0 (the disk's description) does not unpack",
        ),
        (
            HEADER + OldDump.chunk(b"DISK", 0, zlib.compress(bytes(1 << 20)), raw=1 << 19),
            "does not unpack to the 524288 bytes",
        ),
    ],
)
def test_what_is_no_dump(data: bytes, told: str) -> None:
    with pytest.raises(dumpfile.DumpError) as caught:
        archive.verify(io.BytesIO(data), name="d")
    assert told in str(caught.value)


def test_any_tar_opens_a_dump(tmp_path: Path) -> None:
    """GNU tar and Python's tarfile list it and unpack it; what comes out is readable JSON and the bytes."""
    with zoned.memory(size="16MiB", zone_size="1MiB", conventional=1) as device:
        device.pwrite(b"conventional" * 1024, 0)
        device.append(3, b"sequential" * 4096)
        sample = packed(device)
    dump = tmp_path / "d"
    dump.write_bytes(sample)
    listed = subprocess.run(["tar", "tf", dump], check=True, capture_output=True, text=True)
    assert listed.stderr == ""
    names = listed.stdout.split()
    assert names[:2] == ["0000000000.disk.json", "0000000001.zones.json"]
    assert names[2] == f"0000000002.data.{0:020}"
    assert names[-1] == f"{len(names) - 1:010}.end.json"
    with tarfile.open(dump) as opened:
        assert opened.getnames() == names
        assert all(one.isreg() and one.mode == 0o644 for one in opened)
    subprocess.run(["tar", "xf", dump, "-C", tmp_path], check=True)
    assert json.loads((tmp_path / names[0]).read_text())["geometry"]["size"] == 16 << 20
    with archive.load(io.BytesIO(sample)) as copy:
        assert (tmp_path / names[2]).read_bytes() == copy.pread(1 << 20, 0)
    piped = subprocess.run(["tar", "tzf", "-"], input=sample, check=True, capture_output=True)
    assert piped.stdout.decode().split() == names


def test_a_dump_of_version_1_comes_back(tmp_path: Path) -> None:
    """A file that the program wrote before dumps were archives."""
    path = Path(__file__).with_name("version1.zdump")
    ok("restore", path, tmp_path / "copy.img")
    with chunky() as like, zoned.open(tmp_path / "copy.img") as copy:
        assert zones(copy) == zones(like)
        assert payload(copy) == payload(like)
    assert path.read_bytes()[:10] == b"\x89ZDMP\r\n\x1a\x01\x00"


DISK_NAME = "0000000000.disk.json"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (dumpfile.GZIP, "d is cut short: it ends at byte 16, within chunk 0"),
        (gz(b""), "chunk 0 is too short for a file of an archive"),
        (gz(bytes(1024)), "the header of chunk 0 is not as dumps have it"),
        (gz(bytes(3 << 20)), "chunk 0 unpacks to more than the most that a piece may hold"),
        (gz(bytes(64 << 20)), "chunk 0 unpacks to more"),
        (gz(b"x" * 512), "is no plain file, as all of a dump are"),
        (gz(b"x" * 512)[:-8] + bytes(8), "the checksum of chunk 0 is wrong"),
        (dumpfile.GZIP + b"\xff" * 40, "chunk 0 is longer than the most that a piece may be"),
        (raw_gz(b"\xff" * 40), "chunk 0 does not unpack"),
        (raw_gz(zlib.compress(bytes(600), wbits=-15)[:-3]), "chunk 0 is not as long as it says"),
        (raw_gz(zlib.compress(bytes(600), wbits=-15) + b"x"), "chunk 0 is not as long as it says"),
        (member(DISK_NAME, b"{"), "a description is no JSON"),
        (member(DISK_NAME, b"{}"), "a description lacks one of geometry, profile"),
        (member("0000000000.end.json", b"{}", bytes(1024)), "it does not begin with the disk's"),
        (member("0000000001.disk.json", b"{}"), "file 1 stands where file 0 belongs"),
        (member("../../etc/passwd", b"x"), "'../../etc/passwd' is no file of a dump"),
        (member("/etc/passwd", b"x"), "'/etc/passwd' is no file of a dump"),
        (member("0000000000.disk.json/../x", b"x"), "is no file of a dump"),
        (member("0000000000.data", b"x"), "'0000000000.data' is no file of a dump"),
        (member("n" * 100, b""), "nnn...' is no file of a dump"),
        (member("\u00e4", b""), "the header of chunk 0 is not as dumps have it"),
        (member(DISK_NAME, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.LNKTYPE, linkname=DISK_NAME), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.DIRTYPE), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.CHRTYPE), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.FIFOTYPE), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.GNUTYPE_SPARSE), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.GNUTYPE_LONGNAME), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.XHDTYPE), "is no plain file"),
        (member(DISK_NAME, b"", type=tarfile.XGLTYPE), "is no plain file"),
        (member(DISK_NAME, b"{}", uid=7), "the header of chunk 0 is not as dumps have it"),
        (member(DISK_NAME, b"{}", mtime=7), "the header of chunk 0 is not as dumps have it"),
        (
            gz(dumpfile.tar_header(DISK_NAME, 0o77777777777)),
            "chunk 0 (the disk's description) is not as long",
        ),
        (gz(dumpfile.tar_header(DISK_NAME, 600) + bytes(512)), "is not as long as it says"),
        (gz(dumpfile.tar_header(DISK_NAME, 2) + b"{}" + b"x" * 510), "has bytes behind it"),
        (gz(dumpfile.tar_header(DISK_NAME, 2) + b"{}" + bytes(510 + 512)), "is not as long as it"),
    ],
    ids=range(36),
)
def test_archives_that_are_no_dump(data: bytes, told: str, tmp_path: Path) -> None:
    """One sentence each; nothing is made, and nothing is unpacked that is not asked for."""
    for reader in (archive.verify, archive.load, partial(archive.restore, path=tmp_path / "i")):
        with pytest.raises(dumpfile.DumpError) as caught:
            reader(io.BytesIO(data), name="d")
        assert told in str(caught.value)
        assert len(str(caught.value)) < 300
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("version", [None, "2", True, 1, 3])
def test_other_versions(version: object) -> None:
    with zoned.memory() as device:
        new = Dump(packed(device))
    body = disk_body(new) | {"version": version}
    told = (
        f"has version {version}, and this program reads version 2: use a newer one"
        if type(version) is int
        else "the disk's description tells no version"
    )
    with pytest.raises(dumpfile.DumpError, match=told):
        archive.verify(io.BytesIO(member(DISK_NAME, json.dumps(body).encode())))


@pytest.mark.parametrize(
    "rows", ["[[1]]", "[5]", "[[1, 2, 3, 4.0]]", "[[-1, 4, 0, 0]]", "[[4294967296, 4, 0, 0]]", '["x"]',
             "[[2, 256, 0, 0]]", "[[2, 4, 0, 18446744073709551616]]", "[[true, 4, 0, 0]]",
             "[" + "[2, 4, 0, 0], " * 4096 + "[2, 4, 0, 0]]"],
)  # fmt: skip
def test_zones_that_no_dump_has(rows: str) -> None:
    with zoned.memory() as device:
        first = Dump(packed(device)).chunks()[1]
    data = first + member("0000000001.zones.json", f'{{"zones": {rows}}}'.encode())
    with pytest.raises(dumpfile.DumpError, match="zone"):
        archive.verify(io.BytesIO(data))


def record(index: int, condition: int, written: int, flags: int = 0) -> bytes:
    return struct.pack("<IBBHQ", index, condition, flags, 0, written)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([(b"ZONE", record(16, 0xE, 0), 0)], "it names zone 16, and the disk has zones 0 to 15"),
        ([(b"ZONE", record(2, 0x7, 0), 0)], "zone 2 has a condition or flag that does not exist"),
        ([(b"ZONE", record(2, 0x1, 0, flags=4), 0)], "zone 2 has a condition or flag"),
        ([(b"ZONE", b"12345", 0)], "the list of zones ends within a zone"),
        (
            [(b"ZONE", record(2, 0x4, 2 << 20), 0)],
            "2097152 bytes are written in zone 2, more than fit",
        ),
        ([(b"DATA", bytes(4096), 2 << 20)], "comes before the zone it belongs to"),
        (
            [(b"ZONE", record(2, 0x4, 4096), 0), (b"DATA", b"x" * 4096, 4 << 20)],
            "does not belong to zone 2",
        ),
        (
            [(b"ZONE", record(2, 0x4, 4096), 0), (b"DATA", b"x" * 8192, 2 << 20)],
            "does not belong to zone 2",
        ),
        ([(b"ZONE", record(2, 0x0, 0), 0)], "zone 2 should be not-wp"),
        ([(b"ZONE", record(0, 0x4, 0), 0)], "zone 0"),
        ([(b"ZONE", record(2, 0x4, 4096, flags=1), 0)], "zone 2"),
    ],
)
def test_dumps_that_cannot_be(
    sample: Sample, parts: list[tuple[bytes, bytes, int]], told: str, tmp_path: Path
) -> None:
    """Every checksum is right, and still no disk has such zones."""
    data = sample.chunks()[0] + sample.chunks()[1]
    number = 1
    for kind, body, offset in parts:
        data += sample.chunk(kind, number, body, offset)
        number += 1
    held = sum(len(body) for kind, body, _ in parts if kind == b"DATA")
    done = json.dumps({"zones": 1, "data": held}).encode()
    data += sample.chunk(b"DONE", number, done)
    with pytest.raises(OSError) as caught:
        archive.restore(io.BytesIO(data), tmp_path / "copy.img")
    assert told in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_an_open_zone_in_which_nothing_is_written(sample: Sample) -> None:
    """A write that was killed leaves one, and dumps had it once: the disk comes back without it."""
    data = sample.chunks()[0] + sample.chunks()[1] + sample.chunk(b"ZONE", 1, record(2, 0x2, 0))
    data += sample.chunk(b"DONE", 2, json.dumps({"zones": 1, "data": 0}).encode())
    with archive.load(io.BytesIO(data)) as copy:
        assert copy.zones[2].condition is zoned.ZoneCondition.EMPTY
        assert copy.limits.open == 0


def test_counts_at_the_end(sample: Sample) -> None:
    parts = sample.chunks()
    wrong = json.dumps({"zones": 99, "data": 0}).encode()
    data = b"".join(parts[:-1]) + sample.chunk(b"DONE", len(parts) - 2, wrong)
    with pytest.raises(dumpfile.DumpError, match="should hold 99 zones and 0 bytes"):
        archive.verify(io.BytesIO(data))


def test_bytes_behind_the_end(sample: Sample) -> None:
    with pytest.raises(dumpfile.DumpError, match=f"goes on behind its end at byte {len(sample)}"):
        archive.verify(io.BytesIO(sample + b"\0"))


def test_a_description_no_disk_can_have(sample: Sample, tmp_path: Path) -> None:
    for change, told in (
        ({"zone_size": 1000}, "zone_size is 1000"),
        ({"dialect": "floppy"}, "dialect is 'floppy'"),
        ({"colour": "red"}, "colour"),
        ({"conventional": [[1, 99]]}, "conventional"),
        ({"max_open": "many"}, "max_open"),
        ({"conventional": "all"}, "conventional"),
    ):
        body = disk_body(sample)
        geometry = body["geometry"]
        assert isinstance(geometry, dict)
        geometry |= change
        data = sample.chunks()[0] + sample.chunk(b"DISK", 0, json.dumps(body).encode())
        with pytest.raises(dumpfile.DumpError) as caught:
            archive.restore(io.BytesIO(data), tmp_path / "copy.img", name="d")
        assert told in str(caught.value), change
        assert os.listdir(tmp_path) == []


def crafted(sample: Sample, **change: object) -> bytes:
    """A whole dump without zones, its geometry changed, every checksum right."""
    body = disk_body(sample)
    geometry = body["geometry"]
    assert isinstance(geometry, dict)
    geometry |= change
    data = sample.chunks()[0] + sample.chunk(b"DISK", 0, json.dumps(body).encode())
    return data + sample.chunk(b"DONE", 1, json.dumps({"zones": 0, "data": 0}).encode())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"profile": "SECRET"}, "has 'profile', which no disk has"),
        ({"path": "x"}, "has 'path', which no disk has"),
        ({"replace": True}, "has 'replace', which no disk has"),
        ({"x" * 5000: 1}, "xxx...', which no disk has"),
        ({"size": "64MiB"}, "size in the disk's description is no whole number"),
        ({"size": True}, "size in the disk's description is no whole number"),
        ({"max_open": 1.5}, "max_open in the disk's description is no whole number"),
        ({"unrestricted_read": 1}, "unrestricted_read in the disk's description is no true or"),
        ({"dialect": ["zbc"]}, "dialect in the disk's description is no word"),
        ({"dialect": "z" * 65}, "dialect in the disk's description is no word"),
        ({"size": None}, "size in the disk's description is no whole number"),
        ({"conventional": {"a": 1}}, "conventional in the disk's description is no list"),
        ({"conventional": [5]}, "conventional in the disk's description must be pairs"),
        ({"conventional": [[1]]}, "conventional in the disk's description must be pairs"),
        ({"conventional": [[1, "2"]]}, "conventional in the disk's description must be pairs"),
        ({"conventional": [[[], 2]]}, "conventional in the disk's description must be pairs"),
        ({"conventional": [[2 * n, 1] for n in range(5000)]}, "at most 440"),
        ({"conventional": [[-1, 2]]}, "conventional"),
        ({"conventional": [[0, 10**30]]}, "conventional"),
        ({"size": 10**30}, "size"),
        ({"size": -4096}, "size"),
        ({"seed": 10**30}, "seed"),
        ({"zone_size": 1000}, "zone_size is 1000"),
        ({"model": "huge"}, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_crafted_description_chooses_nothing_but_a_disk(
    sample: Sample, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    """One sentence from whatever reads it; no file is opened for it, a FIFO least of all."""
    secret = tmp_path / "secret.toml"
    os.mkfifo(secret)
    data = crafted(sample, **{k: str(secret) if v == "SECRET" else v for k, v in change.items()})
    path = tmp_path / "copy.img"
    for reader in (archive.verify, archive.load, partial(archive.restore, path=path)):
        with pytest.raises(dumpfile.DumpError) as caught:
            reader(io.BytesIO(data), name="d")
        assert told in str(caught.value)
        assert len(str(caught.value)) < 500
    assert os.listdir(tmp_path) == ["secret.toml"]
    dump = tmp_path / "d"
    dump.write_bytes(data)
    for rest in (["--dry-run"], [path]):
        assert told in sentence(zonedctl("restore", dump, *rest))


@pytest.mark.parametrize("name", ["size", "zone_size", "conventional"])
def test_a_description_without_what_a_disk_needs(sample: Sample, name: str) -> None:
    body = disk_body(sample)
    geometry = body["geometry"]
    assert isinstance(geometry, dict)
    del geometry[name]
    data = sample.chunks()[0] + sample.chunk(b"DISK", 0, json.dumps(body).encode())
    for reader in (archive.verify, archive.load):
        with pytest.raises(dumpfile.DumpError, match=f"the disk's description has no {name}"):
            reader(io.BytesIO(data), name="d")


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 100_000, b"1" * 50_000, b"\xff\xfe", b"NaN"]
)
def test_descriptions_that_no_parser_takes(sample: Sample, body: bytes) -> None:
    for data in (
        sample.header + sample.chunk(b"DISK", 0, body),
        sample.chunks()[0] + sample.chunks()[1] + sample.chunk(b"DONE", 1, body),
    ):
        with pytest.raises(dumpfile.DumpError, match="a description "):
            archive.verify(io.BytesIO(data), name="d")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([record(2, 0x4, 4096), record(2, 0x4, 4096)], "it names zone 2 twice"),
        ([record(2, 0x4, 4097)], "no disk can be in such a state"),
        ([record(0, 0x0, 4096), (b"x" * 100, 0)], "no disk can be in such a state"),
        ([record(n, 0x3, 0) for n in range(2, 9)], "no disk can be in such a state"),
        ([record(0, 0x4, 0)], "no disk can be in such a state"),
        ([record(2, 0x1, 4096)], "zone 2 should be empty"),
        ([record(2, 0xE, 4096, flags=3)], "zone 2"),
        ([record(2, 0x4, 8192), (b"y" * 4096, 2 << 20), (b"y" * 4096, 2 << 20)], "does not belong"),
    ],
)
def test_a_dry_run_refuses_what_restoring_refuses(
    sample: Sample, parts: list[bytes | tuple[bytes, int]], told: str
) -> None:
    data = sample.chunks()[0] + sample.chunks()[1]
    for number, part in enumerate(parts, 1):
        data += (
            sample.chunk(b"DATA", number, *part)
            if isinstance(part, tuple)
            else sample.chunk(b"ZONE", number, part)
        )
    zones = sum(isinstance(part, bytes) for part in parts)
    held = sum(len(part[0]) for part in parts if isinstance(part, tuple))
    data += sample.chunk(
        b"DONE", len(parts) + 1, json.dumps({"zones": zones, "data": held}).encode()
    )
    for reader in (archive.verify, archive.load):
        with pytest.raises(dumpfile.DumpError) as caught:
            reader(io.BytesIO(data), name="d")
        assert told in str(caught.value)


def test_a_few_bytes_that_stand_for_an_exbibyte(sample: Sample) -> None:
    """Zeros are not in a dump: what they may come to is limited, and a petabyte of them takes no time."""
    huge = {"size": 1 << 60, "zone_size": 1 << 56, "zone_capacity": 1 << 56, "conventional": []}
    for written, told in ((1 << 55, "more than 1 PiB"), (1 << 38, "")):
        body = disk_body(sample)
        geometry = body["geometry"]
        assert isinstance(geometry, dict)
        geometry |= huge | {"append_limit": 0, "max_open": 0}
        data = sample.chunks()[0] + sample.chunk(b"DISK", 0, json.dumps(body).encode())
        data += sample.chunk(b"ZONE", 1, record(2, 0x4, written))
        data += sample.chunk(b"DONE", 2, json.dumps({"zones": 1, "data": 0}).encode())
        if told:
            with pytest.raises(dumpfile.DumpError, match=told):
                archive.verify(io.BytesIO(data))
        else:
            assert archive.verify(io.BytesIO(data)).zones == 1


def test_zeros_that_the_host_cannot_hold_are_refused_at_once(
    sample: Sample, tmp_path: Path
) -> None:
    """In RAM and in an image: before the first of them is written."""
    body = disk_body(sample)
    geometry = body["geometry"]
    assert isinstance(geometry, dict)
    geometry |= {"size": 1 << 52, "zone_size": 1 << 46, "zone_capacity": 1 << 46}
    geometry |= {"conventional": [], "append_limit": 0, "max_open": 0}
    data = sample.chunks()[0] + sample.chunk(b"DISK", 0, json.dumps(body).encode())
    data += sample.chunk(b"ZONE", 1, record(2, 0x4, 1 << 45))
    data += sample.chunk(b"DONE", 2, json.dumps({"zones": 1, "data": 0}).encode())
    begun = time.monotonic()
    for restored in (
        lambda: archive.load(io.BytesIO(data)),
        lambda: archive.restore(io.BytesIO(data), tmp_path / "disk.img"),
    ):
        with pytest.raises(
            dumpfile.DumpError, match=r"stands for 35184372088832 bytes .* room for"
        ):
            restored()
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - begun < PATIENCE


def test_a_dry_run_takes_what_restoring_takes(used: zoned.Device) -> None:
    for options in ({}, {"data": False}):
        data = packed(used, **options)
        with archive.load(io.BytesIO(data)):
            assert archive.verify(io.BytesIO(data)).zones > 0


# ------------------------------------------------------------------------------------------ the host


def test_existing_files(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "copy.img"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        archive.restore(io.BytesIO(sample), path)
    assert path.read_bytes() == b"precious"
    with pytest.raises(dumpfile.DumpError):
        archive.restore(io.BytesIO(sample[:-9]), path, replace=True)
    assert path.read_bytes() == b"precious"
    path.chmod(0o640)
    archive.restore(io.BytesIO(sample), path, replace=True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [finding for finding in zoned.check(path) if finding.error] == []
    with pytest.raises(IsADirectoryError):
        archive.restore(io.BytesIO(sample), tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        archive.restore(io.BytesIO(sample), tmp_path / "no" / "copy.img")
    assert caught.value.filename == str(tmp_path / "no" / "copy.img")
    assert os.listdir(tmp_path) == ["copy.img"]


def test_a_file_that_appears_meanwhile_is_kept(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "copy.img"

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            path.write_bytes(b"precious")
            return super().read(size)

    with pytest.raises(FileExistsError):
        archive.restore(Stream(sample), path)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["copy.img"]


@pytest.mark.parametrize(
    ("during", "command", "fails"),
    [
        (0, "overwrite", True),
        (3, "reset", True),
        (3, "reset and write again", True),
        (3, "append", False),
        (3, "reset another", False),
    ],
)
def test_a_disk_that_changes_under_the_dump(
    tmp_path: Path, during: int, command: str, fails: bool
) -> None:
    """A reset or an overwrite of what is being read ends the dump; appended data does not."""
    path = tmp_path / "disk.img"
    noise = random.Random(3).randbytes(2 << 20)
    with zoned.create(path) as device, zoned.open(path, readonly=True) as reader:
        for zone in (0, 3, 5):
            device.pwrite(noise, device.geometry.zone_start(zone))
        begin = device.geometry.zone_start(during)

        class Stream(io.BytesIO):
            def write(self, data: bytes, /) -> int:  # type: ignore[override]
                if f".data.{begin:020}".encode() in data:  # noise is stored as it is
                    match command:
                        case "overwrite":
                            device.pwrite(bytes(4096), begin)
                        case "append":
                            device.append(during, bytes(4096))
                        case "reset another":
                            device.reset_zone(5)
                        case _:
                            device.reset_zone(during)
                            if "write" in command:
                                device.pwrite(noise, begin)
                return super().write(data)

        stream = Stream()
        if fails:
            with pytest.raises(archive.DumpChangedError, match=f"zone {during} was changed"):
                archive.dump(reader, stream)
        elif command == "append":
            archive.dump(reader, stream)
            with archive.load(io.BytesIO(stream.getvalue())) as copy:
                assert copy.zones[3].written == 2 << 20
                assert copy.pread(2 << 20, begin) == noise
        else:
            with pytest.raises(archive.DumpChangedError, match="zone 5 was changed"):
                archive.dump(reader, stream)


CHURN = """
import struct, sys
import zoned

device = zoned.open(sys.argv[1])
zones, size = range(1, device.geometry.nr_zones), device.geometry.zone_size
turn = 0
print("ready", flush=True)
while True:
    turn += 1
    for zone in zones:
        device.reset_zone(zone)
        for part in range(8):
            device.append(zone, struct.pack("<QQ", zone, turn) * 256)
        if zone % 3 == 0:
            device.finish_zone(zone)
    device.pwrite(struct.pack("<QQ", 0, turn) * 4096, 0)
"""


@pytest.fixture
def churned(tmp_path: Path) -> Iterator[Path]:
    """An image that another process resets and writes anew without end, with few open zones."""
    path = tmp_path / "disk.img"
    zoned.create(
        path, size="8MiB", zone_size="64KiB", conventional=1, max_open=3, max_active=0
    ).close()
    with subprocess.Popen(
        [sys.executable, "-c", CHURN, str(path)], stdout=subprocess.PIPE, env=children.environment()
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            yield path
            assert writer.poll() is None, "the writer ended by itself"
        finally:
            writer.kill()


def turns(copy: zoned.Device) -> list[set[int]]:
    """In which turns of the writer the blocks of each zone that holds any were written."""
    found = []
    for zone in copy.report():
        content = copy.pread(zone_written(copy, zone.index), zone.start)
        tags = set(struct.iter_unpack("<QQ", content))
        assert all(index == zone.index or (index, turn) == (0, 0) for index, turn in tags)
        if content:
            found.append({turn for _, turn in tags})
    return found


def test_beside_a_writer_a_dump_is_one_moment(churned: Path) -> None:
    """Never refused, always restorable; the zones are those of one turn, and from some zone on of the last."""
    with zoned.open(churned) as device:
        for _ in range(40):
            copy = archive.load(io.BytesIO(packed(device)))
            with copy:
                conventional, *sequential = (
                    turns(copy) if zone_written(copy, 0) else [{0}, *turns(copy)]
                )
                assert all(len(tags) == 1 for tags in [conventional, *sequential])
                order = [tags.pop() for tags in sequential]
                assert order == sorted(order, reverse=True)
                assert not order or order[0] - order[-1] <= 1
                assert not order or order[0] - conventional.pop() in (0, 1)


def test_beside_a_writer_a_dump_by_a_reader_is_refused_or_right(churned: Path) -> None:
    """Without a snapshot each zone is of one moment and all can be open together, or the dump says that it is not."""
    done = changed = 0
    with zoned.open(churned, readonly=True) as device:
        while done + changed < 150:
            try:
                dump = packed(device)
            except archive.DumpChangedError:
                changed += 1
                continue
            done += 1
            with archive.load(io.BytesIO(dump)) as copy:
                _, *sequential = turns(copy) if zone_written(copy, 0) else [{0}, *turns(copy)]
                assert all(len(tags) == 1 for tags in sequential)


def test_states_beside_a_writer_can_be_made_again(churned: Path) -> None:
    """What a dry run works on: which zones are open and closed is of one moment, for a writer's handle and a reader's."""
    looked = 0
    with zoned.open(churned) as device, zoned.open(churned, readonly=True) as reader:
        for handle in (device, reader) * 60:
            try:
                archive.clone_state(handle).close()
                looked += 1
            except archive.DumpChangedError:
                assert handle is reader
    assert looked >= 60


def test_the_shell_dumps_a_disk_in_use_from_a_snapshot(churned: Path, tmp_path: Path) -> None:
    """Nobody has to stop for it, and the disk of the dump has only zones of two turns."""
    for _ in range(4):
        ok("dump", churned, tmp_path / "disk.zdump", "-f")
        ok("restore", tmp_path / "disk.zdump", tmp_path / "copy.img", "--replace", "-f")
        with zoned.open(tmp_path / "copy.img", readonly=True) as copy:
            seen = set().union(*turns(copy))
            assert len(seen - {0}) <= 2


def test_a_dump_of_a_writer_changes_nothing_and_needs_power() -> None:
    with zoned.memory() as device:
        use(device)
        before = device.counters.as_dict()
        packed(device)
        assert device.counters.as_dict() == before
        device.power_cut()
        with pytest.raises(zoned.PowerLossError):
            packed(device)


# ------------------------------------------------------------------------------------------ replacing


@pytest.mark.parametrize("way", ["create", "restore"])
def test_an_image_in_use_is_not_replaced(sample: Sample, tmp_path: Path, way: str) -> None:
    """Its users would go on in a file without a name; from the API and the shell the error says who they are."""
    path, dump = tmp_path / "disk.img", tmp_path / "disk.zdump"
    dump.write_bytes(sample)
    with zoned.create(path) as device:
        device.pwrite(b"x" * 4096, device.geometry.zone_start(3))
        inode = path.stat().st_ino
        replace = zoned.create if way == "create" else partial(archive.restore, io.BytesIO(sample))
        with pytest.raises(zoned.ImageBusyError) as caught:
            replace(path, replace=True)
        assert "this process has the image open" in str(caught.value)
        words = ["create", path] if way == "create" else ["restore", dump, path]
        done = zonedctl(*words, "--replace", "-f")
        assert f"process {os.getpid()} (" in sentence(done)
        assert path.stat().st_ino == inode
    assert sorted(os.listdir(tmp_path)) == ["disk.img", "disk.zdump"]
    assert zonedctl(*words, "--replace", "-f").status == 0
    assert path.stat().st_ino != inode


def test_an_image_opened_while_the_dump_is_read_is_not_replaced(
    sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    opened: list[zoned.Device] = []

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not opened:
                opened.append(zoned.open(path))
            return super().read(size)

    with pytest.raises(zoned.ImageBusyError):
        archive.restore(Stream(sample), path, replace=True)
    opened[0].close()
    assert os.listdir(tmp_path) == ["disk.img"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_what_is_replaced_keeps_its_permissions(sample: Sample, tmp_path: Path, mode: int) -> None:
    path, out = tmp_path / "disk.img", tmp_path / "disk.zdump"
    zoned.create(path).close()
    out.write_bytes(b"old")
    for file in (path, out):
        file.chmod(mode)
    zoned.create(path, replace=True).close()
    assert path.stat().st_mode & 0o777 == mode
    archive.restore(io.BytesIO(sample), path, replace=True)
    assert path.stat().st_mode & 0o777 == mode
    ok("dump", path, out, "-f")
    assert out.stat().st_mode & 0o777 == mode


def test_what_is_new_has_what_the_umask_leaves(sample: Sample, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        archive.restore(io.BytesIO(sample), tmp_path / "restored")
        zoned.create(tmp_path / "created").close()
        zoned.create(tmp_path / "replaced", replace=True).close()
        ok("dump", tmp_path / "created", tmp_path / "dumped")
        html.write(tmp_path / "page", "text")
    finally:
        os.umask(before)
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o640, file


def test_an_unfinished_restore_is_private_and_unlinks_nothing_of_others(
    sample: Sample, tmp_path: Path
) -> None:
    path = tmp_path / "copy.img"
    theirs = tmp_path / f".copy.img.restoring.{os.getpid()}"
    theirs.write_bytes(b"precious")
    seen: set[int] = set()

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            for file in tmp_path.iterdir():
                if file != theirs:
                    seen.add(file.stat().st_mode & 0o777)
            return super().read(size)

    archive.restore(Stream(sample), path)
    assert seen == {0o600}
    assert theirs.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == [theirs.name, "copy.img"]
