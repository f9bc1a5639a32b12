"""Zones by NVMe: every condition under every command, reports, limits, and an ordinary namespace beside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wire.nvme_door import EVERY, KIB, NVM, ZNS, Answer, Code, NvmeDoor, at, entry

pytestmark = pytest.mark.program

CLOSE, FINISH, OPEN, RESET, TO_OFFLINE, COMMIT = 1, 2, 3, 4, 5, 0x11
INVALID_ZONE_OP = 0x1B6
CONDITIONS = {"empty": 1, "implicit": 2, "explicit": 3, "closed": 4, "full": 0xE, "read-only": 0xD}
CONDITIONS["offline"] = 0xF
ALL_GOOD = (Code.SUCCESS,) * 5
TABLE = {
    # empty, implicitly open, explicitly open, closed, full, read-only, offline
    "read": (*ALL_GOOD, Code.SUCCESS, Code.OFFLINE),
    "write": (*ALL_GOOD[:4], Code.FULL, Code.READ_ONLY, Code.OFFLINE),
    "append": (*ALL_GOOD[:4], Code.FULL, Code.READ_ONLY, Code.OFFLINE),
    "write zeroes": (*ALL_GOOD[:4], Code.FULL, Code.READ_ONLY, Code.OFFLINE),
    "write uncorrectable": (*ALL_GOOD[:4], Code.FULL, Code.READ_ONLY, Code.OFFLINE),
    "copy": (*ALL_GOOD[:4], Code.FULL, Code.READ_ONLY, Code.OFFLINE),
    "verify": (*ALL_GOOD, Code.SUCCESS, Code.OFFLINE),
    "open": (*ALL_GOOD[:4], Code.TRANSITION, Code.TRANSITION, Code.TRANSITION),
    "close": (Code.TRANSITION, *(Code.SUCCESS,) * 3, *(Code.TRANSITION,) * 3),
    "finish": (*ALL_GOOD, Code.TRANSITION, Code.TRANSITION),
    "reset": (*ALL_GOOD, Code.TRANSITION, Code.TRANSITION),
    "offline": (*(Code.TRANSITION,) * 5, Code.SUCCESS, Code.SUCCESS),
}
READS = ("read", "verify")
WRITES = ("write", "append", "write zeroes", "write uncorrectable", "copy")
NEXT = {
    **dict.fromkeys(READS, (1, 2, 3, 4, 0xE, 0xD, 0xF)),
    **dict.fromkeys(WRITES, (2, 2, 3, 2, 0xE, 0xD, 0xF)),
    "open": (3, 3, 3, 3, 0xE, 0xD, 0xF),
    "close": (1, 4, 4, 4, 0xE, 0xD, 0xF),
    "finish": (0xE, 0xE, 0xE, 0xE, 0xE, 0xD, 0xF),
    "reset": (1, 1, 1, 1, 1, 0xD, 0xF),
    "offline": (1, 2, 3, 4, 0xE, 0xF, 0xF),
}


def bring(drive: NvmeDoor, zone: int, name: str) -> int:
    """Bring a zone into a condition; returns the blocks that are written in it."""
    slba = zone * drive.zone_blocks
    written = 0 if name == "empty" else 2
    if written:
        assert drive.write(slba, 2).status == Code.SUCCESS
    if name in ("explicit", "closed"):
        assert drive.zone(OPEN, zone).status == Code.SUCCESS
    if name == "closed":
        assert drive.zone(CLOSE, zone).status == Code.SUCCESS
    if name == "full":
        assert drive.zone(FINISH, zone).status == Code.SUCCESS
    if name in ("read-only", "offline"):
        drive.condition(zone, CONDITIONS[name])
    assert drive.conditions()[zone] == CONDITIONS[name]
    return written


def do(drive: NvmeDoor, command: str, zone: int, written: int) -> int:
    slba = zone * drive.zone_blocks
    if command == "read":
        return drive.read(slba, 1).status
    if command == "verify":
        return drive.send(at(0x0C, ZNS, slba)).status
    if command == "write":
        return drive.write(slba + written, 1).status
    if command == "write zeroes":
        return drive.send(at(0x08, ZNS, slba + written)).status
    if command == "write uncorrectable":
        return drive.send(at(0x04, ZNS, slba + written)).status
    if command == "copy":
        here = 19 * drive.zone_blocks
        return drive.copy(slba + written, (here, 1)).status
    if command == "append":
        return drive.append(slba, 1).status
    actions = {
        "close": CLOSE,
        "finish": FINISH,
        "open": OPEN,
        "reset": RESET,
        "offline": TO_OFFLINE,
    }
    return drive.zone(actions[command], zone).status


@pytest.mark.parametrize("command", TABLE)
def test_every_condition_under_every_command(drive: NvmeDoor, command: str) -> None:
    """The tables are those of ZNS 1.1, written by hand; QEMU's drive keeps them too."""
    for i, name in enumerate(CONDITIONS):
        zone = 2 * i
        written = bring(drive, zone, name)
        assert (name, do(drive, command, zone, written)) == (name, TABLE[command][i])
        assert (name, drive.conditions()[zone]) == (name, NEXT[command][i])
        drive.zone(RESET, every=True)


def test_writes_are_at_the_write_pointer(drive: NvmeDoor) -> None:
    assert drive.write(1, 1).status == Code.INVALID_WRITE
    assert drive.write(0, 4).status == Code.SUCCESS
    again = drive.write(0, 1)
    assert (again.status, again.final, again.more) == (Code.INVALID_WRITE, True, True)
    assert drive.write(drive.capacity - 1, 2).status == Code.INVALID_WRITE
    assert drive.write(4, drive.capacity - 4).status == Code.SUCCESS
    assert drive.conditions()[0] == 0xE
    assert drive.write(drive.zone_blocks, drive.capacity + 1).status == Code.BOUNDARY
    assert drive.write(20 * drive.zone_blocks, 1).status == Code.LBA_RANGE
    assert drive.write((1 << 52) - 1, 1).status == Code.LBA_RANGE
    assert drive.write((1 << 64) - 1, 1).status == Code.LBA_RANGE


def test_an_append_tells_where_it_landed(drive: NvmeDoor) -> None:
    start = 3 * drive.zone_blocks
    assert drive.append(start, 2).result == start
    assert drive.append(start, 1).result == start + 2
    assert drive.append(start, 1, d12=1 << 30).result == start + 3
    assert drive.append(start + 1, 1).status == Code.INVALID_FIELD
    assert drive.append(20 * drive.zone_blocks, 1).status == Code.LBA_RANGE
    assert drive.append(start, 32).status == Code.SUCCESS
    assert drive.append(start, 33).status == Code.INVALID_FIELD, "ZASL is 128 KiB"
    assert drive.append(0, 1, nsid=NVM).status == Code.INVALID_OPCODE
    assert drive.read(start, 4).data == b"a" * 4 * drive.block


@pytest.mark.parametrize(
    ("limit", "zasl"), [(128 * KIB, 5), (100 * KIB, 4), (4 * KIB, 0), (0, 0), (64 << 20, 0)]
)
def test_zasl(connect: Callable[..., NvmeDoor], limit: int, zasl: int) -> None:
    """A limit that is no power of two is told as the next lower one; 0: as MDTS."""
    drive = connect(append_limit=limit, zone_capacity=0, zone_size=16 << 20, size=128 << 20)
    blocks = (limit if zasl == 0 and limit == 4 * KIB else 4096 << zasl) // drive.block
    assert drive.identify(0x06, csi=2).data[0] == zasl
    assert drive.append(0, blocks).status == Code.SUCCESS
    if zasl or limit == 4 * KIB:
        assert drive.append(0, blocks + 1).status == Code.INVALID_FIELD


def test_limits(drive: NvmeDoor) -> None:
    for zone in range(3):
        assert drive.zone(OPEN, zone).status == Code.SUCCESS
    assert drive.zone(OPEN, 3).status == Code.TOO_MANY_OPEN
    assert drive.write(3 * drive.zone_blocks, 1).status == Code.TOO_MANY_OPEN
    for zone in range(3):
        assert drive.write(zone * drive.zone_blocks, 1).status == Code.SUCCESS
        assert drive.zone(CLOSE, zone).status == Code.SUCCESS
    for zone in (3, 4):
        assert drive.write(zone * drive.zone_blocks, 1).status == Code.SUCCESS
    assert drive.append(5 * drive.zone_blocks, 1).status == Code.TOO_MANY_ACTIVE
    assert drive.append(5 * drive.zone_blocks, 1).final


def test_all_zones_at_once(drive: NvmeDoor) -> None:
    for zone in range(3):
        assert drive.write(zone * drive.zone_blocks, 1).status == Code.SUCCESS
    assert drive.zone(CLOSE, every=True).status == Code.SUCCESS
    assert drive.conditions()[:4] == [4, 4, 4, 1]
    assert drive.zone(OPEN, every=True).status == Code.SUCCESS
    assert drive.conditions()[:4] == [3, 3, 3, 1]
    assert drive.zone(FINISH, every=True).status == Code.SUCCESS
    assert drive.conditions()[:4] == [0xE, 0xE, 0xE, 1]
    drive.condition(1, 0xD)
    drive.condition(7, 0xD)
    assert drive.zone(TO_OFFLINE, every=True).status == Code.SUCCESS
    assert [i for i, condition in enumerate(drive.conditions()) if condition == 0xF] == [1, 7]
    assert drive.zone(RESET, every=True).status == Code.SUCCESS
    assert set(drive.conditions()) == {1, 0xF}


@pytest.mark.parametrize("action", [0, 6, 0x10, 0x12, 0xFF])
def test_actions_that_no_zone_has(drive: NvmeDoor, action: int) -> None:
    """Descriptor extensions, as of a drive without these, and numbers that mean nothing."""
    assert drive.zone(action).status == Code.INVALID_FIELD
    assert drive.zone(action, every=True).status == Code.INVALID_FIELD


def test_random_write_areas_are_there_none(drive: NvmeDoor) -> None:
    """As QEMU's drive without them says it: neither a zone can be opened with one nor one flushed."""
    assert drive.identify(5, ZNS, 2).number(2, 2) & 2 == 0
    for zone in (0, 3):
        sqe = at(0x79, ZNS, zone * drive.zone_blocks, d13=OPEN | 1 << 9)
        assert drive.send(sqe).status == INVALID_ZONE_OP
        assert drive.zone(COMMIT, zone).status == INVALID_ZONE_OP
    assert drive.send(at(0x79, ZNS, 5, d13=COMMIT)).status == INVALID_ZONE_OP
    assert drive.send(at(0x79, ZNS, 20 * drive.zone_blocks, d13=COMMIT)).status == Code.LBA_RANGE
    assert drive.zone(COMMIT, every=True).status == Code.INVALID_FIELD
    assert drive.send(at(0x79, ZNS, 0, d13=CLOSE | 1 << 9)).status == Code.INVALID_FIELD
    assert set(drive.conditions()) == {1}


def test_places_of_zone_commands(drive: NvmeDoor) -> None:
    assert drive.send(at(0x79, ZNS, 1, d13=OPEN)).status == Code.INVALID_FIELD
    assert drive.send(at(0x79, ZNS, 20 * drive.zone_blocks, d13=OPEN)).status == Code.LBA_RANGE
    assert drive.send(at(0x79, ZNS, 1 << 63, d13=RESET)).status == Code.LBA_RANGE
    assert drive.send(at(0x79, ZNS, 1 << 63, d13=RESET | 1 << 8)).status == Code.SUCCESS
    assert drive.zone(OPEN, nsid=NVM).status == Code.INVALID_OPCODE
    assert drive.zone(OPEN, nsid=3).status == Code.NO_NAMESPACE


def test_a_descriptor(drive: NvmeDoor) -> None:
    zone = drive.zone_blocks
    assert drive.write(2 * zone, 5).status == Code.SUCCESS
    assert drive.zone(FINISH, 3).status == Code.SUCCESS
    report = drive.zones(room=64 * 21)
    assert report.number(0, 8) == 20
    assert report.data[8:64] == bytes(56)
    for i in range(20):
        at_byte = 64 + 64 * i
        assert report.data[at_byte] == 2
        assert report.number(at_byte + 8, 8) == drive.capacity
        assert report.number(at_byte + 16, 8) == i * zone
        pointer = {2: 2 * zone + 5, 3: (1 << 64) - 1}.get(i, i * zone)
        assert report.number(at_byte + 24, 8) == pointer
        assert report.data[at_byte + 32 : at_byte + 64] == bytes(32)
    assert [report.data[64 + 64 * i + 1] >> 4 for i in range(5)] == [1, 1, 2, 0xE, 1]


def test_reports(drive: NvmeDoor) -> None:
    zone = drive.zone_blocks
    for i in (2, 5, 9):
        assert drive.zone(FINISH, i).status == Code.SUCCESS
    assert drive.zones(option=5).number(0, 8) == 3
    assert drive.zones(option=5).number(64 + 16, 8) == 2 * zone
    assert drive.zones(2 * zone + 1, option=5).number(0, 8) == 3, "it lies in the zone"
    assert drive.zones(3 * zone, option=5).number(0, 8) == 2
    short = drive.zones(option=5, room=128)
    assert (short.number(0, 8), len(short.data)) == (3, 128)
    assert drive.zones(option=5, room=128, partial=True).number(0, 8) == 1
    assert drive.zones(room=64).number(0, 8) == 20
    assert drive.zones(room=64, partial=True).number(0, 8) == 0
    assert drive.zones(room=124, partial=True).number(0, 8) == 0
    assert drive.zones(room=4096, partial=True).number(0, 8) == 20
    assert drive.zones(option=7).number(0, 8) == 0
    assert drive.zones(option=8).status == Code.INVALID_FIELD
    assert drive.zones(room=60).status == Code.INVALID_FIELD
    assert drive.zones(20 * zone).status == Code.LBA_RANGE
    assert drive.send(at(0x7A, ZNS, 0, 1023, 1), room=4096).status == Code.INVALID_FIELD, "extended"
    assert drive.send(at(0x7A, ZNS, 0, 1023, 2), room=4096).status == Code.INVALID_FIELD
    assert drive.send(at(0x7A, NVM, 0, 1023), room=4096).status == Code.INVALID_OPCODE
    assert drive.send(at(0x7A, ZNS, 0, 1023), room=4092).status == Code.LENGTH
    assert drive.send(at(0x7A, ZNS, 0, EVERY), room=4096).status == Code.INVALID_FIELD, (
        "beyond MDTS"
    )


def test_many_zones_are_reported(connect: Callable[..., NvmeDoor]) -> None:
    drive = connect(size=1000 << 20, nr_conv=0, max_open=0, max_active=0)
    for i in range(0, 1000, 3):
        assert drive.zone(FINISH, i).status == Code.SUCCESS
    report = drive.zones(room=64 * 1001)
    assert report.number(0, 8) == 1000
    starts = [report.number(64 + 64 * i + 16, 8) for i in range(1000)]
    assert starts == [i * drive.zone_blocks for i in range(1000)]
    full = drive.zones(option=5, room=64 * 201)
    assert full.number(0, 8) == 334
    assert [full.number(64 + 64 * i + 16, 8) for i in range(200)] == starts[0:600:3]
    assert drive.zones(option=5, room=64 * 201, partial=True).number(0, 8) == 200


def test_reads_across_zones(connect: Callable[..., NvmeDoor]) -> None:
    drive = connect()
    assert drive.read(drive.zone_blocks - 1, 2).status == Code.BOUNDARY
    assert drive.identify(0x05, ZNS, csi=2).number(2, 2) == 0
    free = connect(unrestricted_read=1)
    assert free.read(free.zone_blocks - 1, 2).status == Code.SUCCESS
    assert free.identify(0x05, ZNS, csi=2).number(2, 2) == 1


# ---------------------------------------------------------------- the ordinary namespace


def test_an_ordinary_namespace_has_no_zones(drive: NvmeDoor) -> None:
    """What crosses zones that its host does not know of is one command."""
    zone = drive.zone_blocks
    data = bytes(range(256)) * (16 * 300)
    assert drive.send(at(0x01, NVM, zone - 100, 299), data).status == Code.SUCCESS
    for cut in (1 << 40, 5000, 100 * 4096):
        got = drive.read(zone - 100, 300, nsid=NVM, cut=cut)
        assert (got.status, got.data == data) == (Code.SUCCESS, True)
        assert drive.send(at(0x05, NVM, zone - 100, 299), data, cut=cut).status == Code.SUCCESS
    assert drive.send(at(0x0C, NVM, zone - 100, 299)).status == Code.SUCCESS
    wrong = bytearray(data)
    wrong[150 * 4096] ^= 1
    miscompare = drive.send(at(0x05, NVM, zone - 100, 299), bytes(wrong))
    assert (miscompare.status, miscompare.final) == (0x285, True)
    assert drive.log(0x01, 64).number(16, 8) == zone + 50, "the first block that differs"
    assert drive.send(at(0x08, NVM, zone - 100, 99)).status == Code.SUCCESS
    assert (
        drive.read(zone - 100, 101, nsid=NVM).data
        == bytes(100 * 4096) + data[100 * 4096 : 101 * 4096]
    )
    assert drive.read(4 * zone, 1, nsid=NVM).status == Code.LBA_RANGE
    assert drive.read(4 * zone - 1, 1, nsid=NVM).status == Code.SUCCESS
    assert drive.conditions() == [1] * 20


def ranges(*extents: tuple[int, int]) -> bytes:
    return b"".join(
        bytes(4) + blocks.to_bytes(4, "little") + slba.to_bytes(8, "little")
        for slba, blocks in extents
    )


def test_deallocate(drive: NvmeDoor) -> None:
    deallocate = entry(0x09, NVM, d10=2, d11=4)
    assert drive.write(0, 16, nsid=NVM).status == Code.SUCCESS
    listed = ranges((1, 2), (7, 0), (8, 3))
    assert drive.send(deallocate, listed[:47]).status == Code.LENGTH
    beyond = ranges((0, 1), (2, 1), (4 * drive.zone_blocks, 1))
    assert drive.send(deallocate, beyond).status == Code.LBA_RANGE
    assert drive.read(0, 16, nsid=NVM).data == b"\x5a" * 16 * 4096, "all or nothing"
    assert drive.send(entry(0x09, NVM, d10=2, d11=0), listed).status == Code.SUCCESS
    assert drive.read(0, 16, nsid=NVM).data == b"\x5a" * 16 * 4096, "a hint"
    assert drive.send(deallocate, listed).status == Code.SUCCESS
    got = drive.read(0, 16, nsid=NVM).data
    gone = {1, 2, 8, 9, 10}
    assert [got[i * 4096] for i in range(16)] == [0 if i in gone else 0x5A for i in range(16)]
    assert drive.write(0, 16).status == Code.SUCCESS
    assert drive.send(entry(0x09, ZNS, d10=0, d11=4), ranges((0, 16))).status == Code.SUCCESS
    assert drive.read(0, 16).data == b"\x5a" * 16 * 4096, "a reset gives them back"


def test_write_zeroes_moves_a_write_pointer(drive: NvmeDoor) -> None:
    assert drive.send(at(0x08, ZNS, 0, drive.capacity - 1)).status == Code.SUCCESS
    assert drive.conditions()[0] == 0xE
    assert drive.send(at(0x08, ZNS, drive.zone_blocks + 1)).status == Code.INVALID_WRITE
    assert drive.send(at(0x08, ZNS, drive.zone_blocks, 0xFFFF)).status == Code.LBA_RANGE


def test_format_and_sanitize(drive: NvmeDoor) -> None:
    def fill() -> None:
        assert drive.write(0, 4).status == Code.SUCCESS
        assert drive.write(0, 4, nsid=NVM).status == Code.SUCCESS

    fill()
    assert drive.admin(entry(0x80, ZNS)).status == Code.SUCCESS
    assert drive.conditions()[0] == 1
    assert drive.read(0, 1, nsid=NVM).data == b"\x5a" * 4096, "the other namespace stays"
    assert drive.admin(entry(0x80, NVM, d10=1 << 9)).status == Code.SUCCESS
    assert drive.read(0, 1, nsid=NVM).data == bytes(4096)
    fill()
    assert drive.admin(entry(0x80, EVERY)).status == Code.SUCCESS
    assert (drive.conditions()[0], drive.read(0, 4, nsid=NVM).data) == (1, bytes(4 * 4096))
    assert drive.admin(entry(0x80, 9)).status == Code.NO_NAMESPACE
    assert drive.admin(entry(0x80, ZNS, d10=1)).status == 0x10A
    assert drive.admin(entry(0x80, ZNS, d10=1 << 5)).status == 0x10A
    for action in (2, 4):
        fill()
        assert drive.admin(entry(0x84, d10=action)).status == Code.SUCCESS
        assert (drive.conditions()[0], drive.read(0, 4, nsid=NVM).data) == (1, bytes(4 * 4096))
        assert drive.log(0x81, 512).number(0, 8) == 0xFFFF | 1 << 16 | action << 32
    assert drive.admin(entry(0x84, d10=1)).status == Code.SUCCESS
    assert drive.admin(entry(0x84, d10=3)).status == Code.INVALID_FIELD


def test_flush(drive: NvmeDoor) -> None:
    """What was flushed, or written through, survives a power cut."""
    assert drive.write(0, 2).status == Code.SUCCESS
    assert drive.send(entry(0x00, ZNS)).status == Code.SUCCESS
    assert drive.write(2, 2).status == Code.SUCCESS
    zone = drive.zone_blocks
    assert drive.send(at(0x01, ZNS, zone, 1 | 1 << 30), bytes(8192)).status == Code.SUCCESS
    assert drive.set_feature(0x06, 0).status == Code.SUCCESS
    assert drive.write(2 * zone, 3).status == Code.SUCCESS
    for on in (False, True):
        drive.power(on)
    report = drive.zones(room=64 * 5)
    assert [report.number(64 + 64 * i + 24, 8) for i in range(3)] == [2, zone + 2, 2 * zone + 3]
    assert drive.get_feature(0x06).result == 1, "the cache is on again"
    assert drive.send(entry(0x00, EVERY)).status == Code.SUCCESS
    assert drive.send(entry(0x00, 0)).status == Code.NO_NAMESPACE


# ---------------------------------------------------------------- geometry that NVMe cannot tell


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"dialect": 0}, "made for zbc"),
        ({"dialect": 2}, "made for nullblk"),
        ({"first_conv": 3}, "must lie at the disk's front"),
        ({"size": (24 << 20) - 64 * KIB}, "multiple of 1048576 bytes"),
        ({"append_limit": 512, "logical_block": 512}, "append limit below 4096 bytes"),
        ({"nr_conv": 24}, "no sequential zone"),
    ],
)
def test_what_nvme_cannot_tell_is_refused(
    connect: Callable[..., NvmeDoor], shape: dict[str, int], sentence: str
) -> None:
    drive = connect(**shape)
    assert drive.code == -2101
    assert sentence in drive.text


def test_zones_of_any_size(connect: Callable[..., NvmeDoor]) -> None:
    """That zones are a power of two is asked by some hosts, not by the standard."""
    drive = connect(zone_size=3 << 20, zone_capacity=0, size=24 << 20, nr_conv=2)
    assert drive.identify(0x05, ZNS, csi=2).number(2816, 8) == 768
    assert drive.write(768, 700).status == Code.SUCCESS
    assert drive.zone(OPEN, 2).status == Code.SUCCESS
    assert drive.conditions() == [1, 2, 3, 1, 1, 1]


# ---------------------------------------------------------------- descriptor extensions

SET_EXTENSION, EXTENDED, VALID = 0x10, 1, 0x80
EXTENSION = bytes(range(64, 192))


def extend(drive: NvmeDoor, zone: int, data: bytes = EXTENSION, *, every: bool = False) -> int:
    sqe = at(0x79, ZNS, zone * drive.zone_blocks, d13=SET_EXTENSION | every << 8)
    return drive.send(sqe, data).status


def attributes(drive: NvmeDoor) -> list[int]:
    """Of the zones of the zoned namespace."""
    report = drive.zones(room=64 * 64)
    return [report.data[66 + 64 * i] for i in range(report.number(0, 8))]


def extended(drive: NvmeDoor, zone: int, room: int = 8192) -> Answer:
    """An extended report from a zone on."""
    slba = zone * drive.zone_blocks
    return drive.send(at(0x7A, ZNS, slba, room // 4 - 1, EXTENDED), room=room)


@pytest.fixture
def extending(connect: Callable[..., NvmeDoor]) -> NvmeDoor:
    return connect(zone_extension=len(EXTENSION))


def test_namespaces_tell_how_long_extensions_are(
    connect: Callable[..., NvmeDoor], extending: NvmeDoor
) -> None:
    assert extending.identify(0x05, ZNS, csi=2).data[2816 + 8] == 2
    assert connect().identify(0x05, ZNS, csi=2).data[2816 + 8] == 0
    assert connect(zone_extension=16320).identify(0x05, ZNS, csi=2).data[2816 + 8] == 255
    send = at(0x79, ZNS, 0, d13=SET_EXTENSION)
    assert extending.transfer(send) == (128, 0)
    assert extending.transfer(at(0x79, ZNS, 0, d13=OPEN)) == (0, 0)


def test_without_extensions_both_actions_are_no_fields(drive: NvmeDoor) -> None:
    assert extend(drive, 0) == Code.INVALID_FIELD
    assert extended(drive, 0).status == Code.INVALID_FIELD
    assert drive.conditions()[0] == 1


@pytest.mark.parametrize("name", CONDITIONS)
def test_set_extension_in_every_condition(extending: NvmeDoor, name: str) -> None:
    bring(extending, 2, name)
    wanted = Code.SUCCESS if name == "empty" else Code.TRANSITION
    assert extend(extending, 2) == wanted
    assert extending.conditions()[2] == (4 if name == "empty" else CONDITIONS[name])
    assert attributes(extending)[2] == (VALID if name == "empty" else 0)
    assert extended(extending, 2).data[128:256] == (EXTENSION if name == "empty" else bytes(128))


def test_an_extension_stays_till_the_reset(extending: NvmeDoor) -> None:
    drive = extending
    zone = 3 * drive.zone_blocks
    assert extend(drive, 3) == Code.SUCCESS
    for step in ("write", "open", "close", "append", "power", "finish"):
        if step == "write":
            assert drive.write(zone, 2).status == Code.SUCCESS
        elif step == "append":
            assert drive.append(zone, 1).status == Code.SUCCESS
        elif step == "power":
            for on in (False, True):
                drive.power(on)
            assert drive.conditions()[3] == 4, "closed, though nothing that was written is left"
        else:
            assert drive.zone({"open": OPEN, "close": CLOSE, "finish": FINISH}[step], 3).status == 0
        assert attributes(drive)[3] == VALID, step
        assert extended(drive, 3).data[128:256] == EXTENSION, step
    drive.condition(3, 0xD)
    assert (attributes(drive)[3], extended(drive, 3).data[128:256]) == (VALID, EXTENSION)
    assert drive.zone(TO_OFFLINE, 3).status == Code.SUCCESS
    assert (attributes(drive)[3], extended(drive, 3).data[128:256]) == (0, bytes(128))
    other = EXTENSION[::-1]
    assert extend(drive, 4) == Code.SUCCESS
    assert drive.zone(RESET, 4).status == Code.SUCCESS
    assert (attributes(drive)[4], extended(drive, 4).data[128:256]) == (0, bytes(128))
    assert extend(drive, 4, other) == Code.SUCCESS
    assert extended(drive, 4).data[128:256] == other


def test_set_extension_takes_an_active_resource(extending: NvmeDoor) -> None:
    for zone in range(5):
        assert extend(extending, zone, bytes([zone]) * 128) == Code.SUCCESS
    assert extend(extending, 5) == Code.TOO_MANY_ACTIVE
    assert (extending.conditions()[5], attributes(extending)[5]) == (1, 0)
    assert extending.write(5 * extending.zone_blocks, 1).status == Code.TOO_MANY_ACTIVE
    assert extending.zone(RESET, 1).status == Code.SUCCESS
    assert extend(extending, 5) == Code.SUCCESS


def test_what_set_extension_refuses(extending: NvmeDoor) -> None:
    drive = extending
    assert extend(drive, 0, EXTENSION[:-1]) == Code.LENGTH
    assert extend(drive, 0, every=True) == Code.INVALID_FIELD
    assert extend(drive, 20) == Code.LBA_RANGE
    assert drive.send(at(0x79, ZNS, 1, d13=SET_EXTENSION), EXTENSION).status == Code.INVALID_FIELD
    assert drive.send(at(0x79, NVM, 0, d13=SET_EXTENSION), EXTENSION).status == Code.INVALID_OPCODE
    assert drive.conditions() == [1] * 20
    for cut in (1, 64, 100):
        sqe = at(0x79, ZNS, 0, d13=SET_EXTENSION)
        assert drive.send(sqe, EXTENSION, cut=cut).status == Code.SUCCESS
        assert extended(drive, 0).data[128:256] == EXTENSION, "from several buffers"
        assert drive.zone(RESET, 0).status == Code.SUCCESS


def test_extended_reports(extending: NvmeDoor) -> None:
    drive = extending
    for zone in (1, 2, 4):
        assert extend(drive, zone, bytes([zone]) * 128) == Code.SUCCESS
    report = extended(drive, 0)
    assert (report.number(0, 8), report.in_length) == (20, 64 + 20 * 192)
    for zone in range(20):
        entry_ = report.data[64 + 192 * zone :][:192]
        has = zone in (1, 2, 4)
        assert (entry_[1] >> 4, entry_[2]) == ((4, VALID) if has else (1, 0))
        assert entry_[64:] == (bytes([zone]) * 128 if has else bytes(128))
    room = 64 + 2 * 192 + 188
    for partial, matches in ((False, 3), (True, 2)):
        sqe = at(0x7A, ZNS, 0, room // 4 - 1, EXTENDED | 4 << 8 | partial << 16)
        report = drive.send(sqe, room=room)
        assert (report.status, report.number(0, 8), report.in_length) == (0, matches, 64 + 2 * 192)
        assert report.data[64 + 64 : 64 + 192] + report.data[64 + 256 : 64 + 384] == (
            b"\1" * 128 + b"\2" * 128
        )


def test_a_fault_rule_meets_set_extension(extending: NvmeDoor) -> None:
    extending.fault(1, 16)
    assert extend(extending, 0) == 0x280
    assert (extending.conditions()[0], attributes(extending)[0]) == (1, 0)
