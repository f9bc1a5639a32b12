"""COPY and WRITE UNCORRECTABLE: what they do, where they end, and what the host is told of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wire.nvme_door import NVM, ZNS, Code, NvmeDoor, at, entry

READ, WRITE = 0, 1
MEDIUM, TORN = 1, 2
UNREADABLE, WRITE_FAULT, SIZE_LIMIT, CAPACITY = 0x281, 0x280, 0x183, 0x81
RESET = 4


def numbered(blocks: int) -> bytes:
    """Each block says its number."""
    return b"".join(bytes([i + 1]) * 4096 for i in range(blocks))


def numbers(data: bytes) -> list[int]:
    """Which block each of them is."""
    found = [data[i] for i in range(0, len(data), 4096)]
    assert data == b"".join(bytes([i]) * 4096 for i in found)
    return found


def filled(drive: NvmeDoor, nsid: int, blocks: int = 8) -> NvmeDoor:
    sqe = at(0x01, nsid, 0, blocks - 1)
    assert drive.send(sqe, numbered(blocks)).status == Code.SUCCESS
    return drive


# ---------------------------------------------------------------- COPY


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("nsid", [ZNS, NVM])
def test_copy(drive: NvmeDoor, nsid: int, form: int) -> None:
    """The ranges one after the other, from anywhere, to the write pointer or to any block."""
    filled(drive, nsid)
    there = drive.zone_blocks
    got = drive.copy(there, (5, 3), (0, 1), (4, 2), nsid=nsid, form=form)
    assert (got.status, got.result) == (Code.SUCCESS, 0)
    assert numbers(drive.read(there, 6, nsid).data) == [6, 7, 8, 1, 5, 6]
    if nsid == ZNS:
        assert drive.zones(there).number(64 + 24, 8) == there + 6
        assert drive.copy(there, (0, 1)).status == Code.INVALID_WRITE
        assert drive.copy(there + 6, (there, 2), (0, 1)).status == Code.SUCCESS, "into its own zone"
        assert numbers(drive.read(there + 6, 3).data) == [6, 7, 1]
    else:
        assert drive.copy(1, (0, 7), nsid=NVM).status == Code.SUCCESS, "where they overlap"
        assert numbers(drive.read(0, 8, NVM).data) == [1, 1, 2, 3, 4, 5, 6, 7]


def test_copy_across_zones(connect: Callable[..., NvmeDoor]) -> None:
    """No range crosses a zone's end, and no copy; an ordinary namespace has no zones."""
    drive = connect(zone_capacity=1 << 20)
    end = drive.zone_blocks
    assert drive.write(0, end).status == Code.SUCCESS
    assert drive.write(end, 4).status == Code.SUCCESS
    assert drive.copy(2 * end, (end - 1, 2)).status == Code.BOUNDARY
    assert drive.write(2 * end, end - 1).status == Code.SUCCESS
    got = drive.copy(3 * end - 1, (0, 1), (4, 1))
    assert (got.status, got.result) == (Code.BOUNDARY, 0)
    assert drive.zones(2 * end).number(64 + 24, 8) == 3 * end - 1, "nothing was copied"
    assert drive.copy(3 * end - 1, (0, 1)).status == Code.SUCCESS
    assert drive.copy(3 * end - 1, (0, 1)).status == Code.FULL
    assert drive.send(at(0x01, NVM, end - 2, 3), numbered(4)).status == Code.SUCCESS
    assert drive.copy(2 * end - 2, (end - 2, 4), nsid=NVM).status == Code.SUCCESS
    assert numbers(drive.read(2 * end - 2, 4, NVM).data) == [1, 2, 3, 4]


def test_limits_of_copy(drive: NvmeDoor) -> None:
    """MSRC, MSSRL and MCL of IDENTIFY are kept and reached; nothing is copied beyond them."""
    told = drive.identify(0x00, NVM)
    most, ranges = told.number(76, 4), told.data[80] + 1
    assert told.number(74, 2) == most
    to = 2 * drive.zone_blocks
    assert drive.copy(to, (0, most), nsid=NVM).status == Code.SUCCESS
    assert drive.copy(to, (0, most + 1), nsid=NVM).status == SIZE_LIMIT
    assert drive.copy(to, (0, most), (0, 1), nsid=NVM).status == SIZE_LIMIT
    filled(drive, NVM)
    assert drive.copy(to, *[(3, 1)] * ranges, nsid=NVM).status == Code.SUCCESS
    assert numbers(drive.read(to, ranges, NVM).data) == [4] * ranges
    assert drive.copy(to, *[(0, 1)] * (ranges + 1), nsid=NVM).status == SIZE_LIMIT
    assert numbers(drive.read(to, 1, NVM).data) == [4]


def test_entries_of_copy(drive: NvmeDoor) -> None:
    filled(drive, NVM)
    last = 4 * drive.zone_blocks
    assert drive.copy(0, (last, 1), nsid=NVM).status == Code.LBA_RANGE
    assert drive.copy(0, (0, 1), (last - 1, 2), nsid=NVM).status == Code.LBA_RANGE
    assert drive.log(0x01, 64).number(16, 8) == last - 1
    assert drive.copy(last - 1, (0, 1), (1, 1), nsid=NVM).status == Code.LBA_RANGE
    assert drive.copy(1 << 60, (0, 1), nsid=NVM).status == Code.LBA_RANGE
    assert drive.copy(0, (1 << 63, 1), nsid=NVM).status == Code.LBA_RANGE
    for form in range(2, 16):
        assert drive.copy(100, (0, 1), nsid=NVM, form=form).status == Code.INVALID_FIELD
    assert drive.copy(100, (0, 1), nsid=NVM, d12=1 << 20).status == Code.INVALID_FIELD, (
        "a directive"
    )
    assert drive.send(at(0x19, NVM, 100, 1), bytes(63)).status == Code.LENGTH
    assert drive.transfer(at(0x19, NVM, 100, 1)) == (64, 0)
    assert drive.transfer(at(0x19, ZNS, 100, 0xFF | 1 << 8)) == (256 * 40, 0)
    assert drive.transfer(at(0x19, ZNS, 100, 5 << 8)) == (0, 0)
    assert numbers(drive.read(0, 8, NVM).data) == list(range(1, 9))


@pytest.mark.parametrize("nsid", [ZNS, NVM])
def test_a_range_that_cannot_be_read(drive: NvmeDoor, nsid: int) -> None:
    """Nothing is copied, and the error log says which block it is."""
    filled(drive, nsid)
    base = (4 << 20) if nsid == ZNS else 0
    drive.fault(MEDIUM, READ, base + 6 * 4096, base + 7 * 4096)
    got = drive.copy(100 if nsid == NVM else 8, (0, 2), (4, 4), nsid=nsid)
    assert (got.status, got.result, got.final) == (UNREADABLE, 0, True)
    assert drive.log(0x01, 64).number(16, 8) == 6
    if nsid == ZNS:
        assert drive.zones().number(64 + 24, 8) == 8
    drive.let_on()
    assert drive.copy(100 if nsid == NVM else 8, (0, 2), (4, 4), nsid=nsid).status == Code.SUCCESS


def test_a_copy_that_lands_in_part(drive: NvmeDoor) -> None:
    """Dword 0 names the first range that is not there as a whole."""
    filled(drive, ZNS)
    start = (4 << 20) + (8 + 5) * 4096
    drive.fault(MEDIUM, WRITE, start, start + 4096)
    got = drive.copy(8, (0, 2), (2, 2), (4, 2), (6, 1))
    assert (got.status, got.result) == (WRITE_FAULT, 2)
    assert drive.zones().number(64 + 24, 8) == 8 + 5
    drive.let_on()
    assert numbers(drive.read(8, 5).data) == [1, 2, 3, 4, 5]


def test_a_durable_copy(drive: NvmeDoor) -> None:
    filled(drive, ZNS, 4)
    assert drive.copy(4, (0, 4), d12=1 << 30).status == Code.SUCCESS
    assert drive.copy(8, (0, 4)).status == Code.SUCCESS
    drive.power(False)
    drive.power(True)
    assert drive.zones().number(64 + 24, 8) == 8, "the first, with FUA, and what it copied"
    assert numbers(drive.read(0, 8).data) == [1, 2, 3, 4] * 2


# ---------------------------------------------------------------- WRITE UNCORRECTABLE


@pytest.mark.parametrize("nsid", [ZNS, NVM])
def test_blocks_that_cannot_be_read(drive: NvmeDoor, nsid: int) -> None:
    """What lies before them is read; no command that needs them succeeds."""
    filled(drive, nsid)
    slba = 8 if nsid == ZNS else 5
    assert drive.spoil(slba, 3, nsid).status == Code.SUCCESS
    assert drive.write(11, 1, nsid=nsid).status == Code.SUCCESS
    got = drive.read(2, 9, nsid)
    assert (got.status, got.final) == (UNREADABLE, True)
    assert numbers(got.data) == list(range(3, slba + 1))
    assert drive.log(0x01, 64).number(16, 8) == slba
    for block in range(slba, slba + 3):
        assert drive.read(block, 1, nsid).status == UNREADABLE
        assert drive.send(at(0x05, nsid, block), bytes(4096)).status == UNREADABLE
        assert drive.send(at(0x0C, nsid, block)).status == UNREADABLE
        assert drive.copy(12, (block, 1), nsid=nsid).status == UNREADABLE
    assert drive.read(0, slba, nsid).status == Code.SUCCESS
    assert drive.read(11, 1, nsid).status == Code.SUCCESS
    assert drive.log(0x02, 512).number(160, 16) == 13, "media errors"


def test_written_again_they_can_be_read(drive: NvmeDoor) -> None:
    """Block by block, by whatever writes them; those between stay as they are."""
    assert drive.spoil(0, 16, NVM).status == Code.SUCCESS
    assert drive.write(4, 2, nsid=NVM).status == Code.SUCCESS
    assert drive.send(at(0x08, NVM, 8)).status == Code.SUCCESS
    deallocate = bytes(4) + (1).to_bytes(4, "little") + (10).to_bytes(8, "little")
    assert drive.send(entry(0x09, NVM, d10=0, d11=4), deallocate).status == Code.SUCCESS
    assert drive.copy(12, (4, 1), nsid=NVM).status == Code.SUCCESS
    good = [b for b in range(16) if drive.read(b, 1, NVM).status == Code.SUCCESS]
    assert good == [4, 5, 8, 10, 12]
    drive.power(False)
    drive.power(True)
    good = [b for b in range(16) if drive.read(b, 1, NVM).status == Code.SUCCESS]
    assert good == [4, 5, 8, 10, 12], "the power heals no medium"
    assert drive.admin(entry(0x80, NVM)).status == Code.SUCCESS
    assert drive.read(0, 16, NVM).status == Code.SUCCESS


def test_a_reset_helps_a_zone(drive: NvmeDoor) -> None:
    second = drive.zone_blocks
    for slba in (0, second):
        assert drive.spoil(slba, 4).status == Code.SUCCESS
        assert drive.zones(slba).number(64 + 24, 8) == slba + 4
        assert drive.read(slba, 4).status == UNREADABLE
    assert drive.zone(RESET, 0).status == Code.SUCCESS
    assert drive.write(0, 4).status == Code.SUCCESS
    assert drive.read(0, 4).status == Code.SUCCESS
    assert drive.read(second, 4).status == UNREADABLE
    assert drive.zone(RESET, every=True).status == Code.SUCCESS
    assert drive.append(second, 4).status == Code.SUCCESS
    assert drive.read(second, 4).status == Code.SUCCESS


def test_behind_a_write_pointer_there_is_none(drive: NvmeDoor) -> None:
    """A power cut took the write pointer back: what is appended there can be read."""
    assert drive.write(0, 2).status == Code.SUCCESS
    assert drive.send(entry(0x00, ZNS)).status == Code.SUCCESS
    assert drive.spoil(2, 2).status == Code.SUCCESS
    drive.power(False)
    drive.power(True)
    assert drive.zones().number(64 + 24, 8) == 2
    assert drive.read(0, 4).status == Code.SUCCESS
    assert drive.append(0, 2).status == Code.SUCCESS
    assert drive.read(0, 4).status == Code.SUCCESS


def test_places_that_cannot_be_spoiled(connect: Callable[..., NvmeDoor]) -> None:
    """Refused as a write is; up to WUSL at a time, and up to 2,048 blocks of a disk."""
    drive = connect(logical_block=512, physical_block=512)
    most = 4096 << drive.identify(0x06, csi=0).data[2]
    assert most == 1 << 20
    assert drive.spoil(1, 1).status == Code.INVALID_WRITE
    assert drive.read(1, 1).status == Code.SUCCESS
    assert drive.spoil(0, most // 512 + 1, NVM).status == Code.INVALID_FIELD
    assert drive.spoil(4 * drive.zone_blocks, 1, NVM).status == Code.LBA_RANGE
    assert drive.spoil(0, most // 512, NVM).status == Code.SUCCESS, "2,048 blocks"
    assert drive.spoil(5, 100, NVM).status == Code.SUCCESS, "which they are already"
    assert drive.spoil(0, 1).status == CAPACITY
    assert drive.write(7, 1, nsid=NVM).status == Code.SUCCESS
    assert drive.spoil(1, 1).status == Code.SUCCESS, "there is room again"
    assert drive.read(0, 1).status == Code.SUCCESS
    assert drive.read(1, 1).status == UNREADABLE
