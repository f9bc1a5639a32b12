"""What IDENTIFY, the features and the log pages say, field by field at the standards' offsets, and how entries are refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from wire.nvme_door import EVERY, KIB, NVM, ZNS, Code, NvmeDoor, at, entry

pytestmark = pytest.mark.program

CONTROLLER = """
    76    1   0x02       CMIC
    77    1   11         MDTS
    80    4   0x00020000 VER
    92    4   0x08000100 OAES
    96    4   0x01       CTRATT
    111   1   0x01       CNTRLTYPE
    256   2   0x02       OACS
    258   1   0x03       ACL
    259   1   0x03       AERL
    260   1   0x03       FRMW
    261   1   0x26       LPA
    262   1   63         ELPE
    266   2   343        WCTEMP
    268   2   353        CCTEMP
    280   16  25165824   TNVMCAP
    320   2   10         KAS
    328   4   0x03       SANICAP
    512   1   0x66       SQES
    513   1   0x44       CQES
    514   2   128        MAXCMD
    516   4   256        NN
    520   2   0x1df      ONCS
    525   1   0x07       VWC
    534   2   0x03       OCFS
    536   4   0x00100001 SGLS
    540   4   256        MNAN
    1792  4   516        IOCCSZ
    1796  4   0x01       IORCSZ
    1803  1   0x01       MSDBD
    2048  2   900        PSD0 MP
"""
"""Offset, bytes, value and name: NVM Express base 2.0, Identify Controller data structure."""


def listed(table: str) -> dict[int, tuple[int, int, str]]:
    rows = (line.split(maxsplit=3) for line in table.strip().splitlines())
    return {int(at): (int(size), int(value, 0), name) for at, size, value, name in rows}


def check(data: bytes, fields: dict[int, tuple[int, int, str]], texts: dict[int, bytes]) -> None:
    """Every field is as listed, and every byte that is not listed is 0."""
    left = bytearray(data)
    for start, (size, value, name) in fields.items():
        assert (name, int.from_bytes(data[start : start + size], "little")) == (name, value)
        left[start : start + size] = bytes(size)
    for start, text in texts.items():
        assert data[start : start + len(text)] == text
        left[start : start + len(text)] = bytes(len(text))
    assert [i for i, byte in enumerate(left) if byte] == []


def test_the_controller(drive: NvmeDoor) -> None:
    got = drive.identify(0x01)
    assert len(got.data) == 4096
    number = drive.library.nvme_id(drive.handle, 0)
    assert got.data[4:24].isalnum(), "the serial number is the disk's uuid"
    check(
        got.data,
        listed(CONTROLLER) | {78: (2, number, "CNTLID")},
        {
            4: got.data[4:24],
            24: b"ZONED ZNS DRIVE".ljust(40),
            64: b"0001    ",
            768: b"nqn.2026-01.test:disk".ljust(256, b"\0"),
        },
    )


@pytest.mark.parametrize(("logical", "physical"), [(4096, 4096), (512, 4096), (512, 512)])
def test_a_namespace(connect: Callable[..., NvmeDoor], logical: int, physical: int) -> None:
    drive = connect(logical_block=logical, physical_block=physical)
    per_zone, shift = (1 << 20) // logical, logical.bit_length() - 1
    for nsid, blocks, capacity in (
        (ZNS, 20 * per_zone, 20 * (768 * KIB // logical)),
        (NVM, 4 * per_zone, 4 * per_zone),
    ):
        check(
            drive.identify(0x00, nsid).data,
            {
                0: (8, blocks, "NSZE"),
                8: (8, capacity, "NCAP"),
                16: (8, capacity, "NUSE"),
                24: (1, 0x10, "NSFEAT"),
                30: (1, 1, "NMIC"),
                33: (1, 0x09, "DLFEAT"),
                48: (16, blocks * logical, "NVMCAP"),
                64: (2, physical // logical - 1, "NPWG"),
                66: (2, physical // logical - 1, "NPWA"),
                74: (2, (1 << 20) // logical, "MSSRL"),
                76: (4, (1 << 20) // logical, "MCL"),
                80: (1, 127, "MSRC"),
                130: (1, shift, "LBADS"),
            },
            {},
        )
        check(drive.identify(0x08, nsid).data, {1: (1, 1, "NMIC"), 14: (1, 1, "NSTAT")}, {})
    check(
        drive.identify(0x05, ZNS, csi=2).data,
        {4: (4, 4, "MAR"), 8: (4, 2, "MOR"), 2816: (8, per_zone, "LBAFE0 ZSZE")},
        {},
    )
    assert drive.identify(0x05, NVM, csi=0).data == bytes(4096)
    assert drive.identify(0x05, NVM, csi=2).status == Code.INVALID_FIELD
    assert drive.identify(0x05, ZNS, csi=0).status == Code.INVALID_FIELD


def test_no_limits(connect: Callable[..., NvmeDoor]) -> None:
    drive = connect(max_open=0, max_active=0)
    assert drive.identify(0x05, ZNS, csi=2).number(4, 8) == (1 << 64) - 1


def test_descriptors(drive: NvmeDoor) -> None:
    """uuid and command set; the two namespaces of a disk have not the same uuid."""
    zns, nvm = drive.identify(0x03, ZNS).data, drive.identify(0x03, NVM).data
    assert zns[:4] == nvm[:4] == bytes([3, 16, 0, 0])
    assert zns[4:20] != nvm[4:20]
    assert (zns[20:25], nvm[20:25]) == (bytes([4, 1, 0, 0, 2]), bytes([4, 1, 0, 0, 0]))
    assert zns[25:] == nvm[25:] == bytes(4096 - 25)


def test_lists(drive: NvmeDoor) -> None:
    def numbers(cns: int, nsid: int = 0, csi: int = 0) -> list[int]:
        data = drive.identify(cns, nsid, csi).data
        found = [int.from_bytes(data[i : i + 4], "little") for i in range(0, 4096, 4)]
        return [number for number in found if number]

    assert numbers(0x02) == [1, 2]
    assert numbers(0x02, 1) == [2]
    assert numbers(0x02, EVERY - 2) == []
    assert (numbers(0x07, csi=2), numbers(0x07, csi=0)) == ([ZNS], [NVM])
    assert drive.identify(0x02, EVERY).status == Code.NO_NAMESPACE
    drive.connect(1)
    ids = sorted(drive.library.nvme_id(drive.handle, host) for host in (0, 1))
    assert len(set(ids)) == 2
    for cns, nsid in ((0x13, 0), (0x12, ZNS)):
        data = drive.identify(cns, nsid).data
        assert data[:6] == b"".join(i.to_bytes(2, "little") for i in (2, *ids))
        rest = drive.identify(cns, nsid, control=ids[1]).data
        assert rest[:4] == b"".join(i.to_bytes(2, "little") for i in (1, ids[1]))
    assert drive.identify(0x1C, control=0xFFFF).data == b"\x05" + bytes(4095)


def test_namespaces_that_are_not_there(drive: NvmeDoor) -> None:
    for cns in (0x00, 0x08):
        assert drive.identify(cns, 3).data == bytes(4096), "inactive"
        assert drive.identify(cns, 257).status == Code.NO_NAMESPACE
        assert drive.identify(cns, EVERY).status == Code.NO_NAMESPACE
        assert drive.identify(cns, 0).status == Code.NO_NAMESPACE
    assert drive.identify(0x03, 3).status == Code.NO_NAMESPACE
    assert drive.identify(0x05, ZNS, csi=1).status == 0x12C
    assert drive.identify(0x04, ZNS).status == Code.INVALID_FIELD
    assert drive.identify(0x06, csi=2).data == bytes([5]) + bytes(4095), "ZASL alone"
    assert drive.identify(0x06, csi=0).data == bytes([0, 0, 8]) + bytes(4093), "WUSL alone"


# ---------------------------------------------------------------- log pages


def test_supported_pages_are_there(drive: NvmeDoor) -> None:
    data = drive.log(0x00, 1024).data
    pages = [i for i in range(256) if data[4 * i] & 1]
    assert pages == [0, 1, 2, 3, 4, 5, 0x12, 0x13, 0x81, 0xBF]
    for page in range(256):
        answer = drive.log(page, 512, ZNS)
        assert answer.status == (Code.SUCCESS if page in pages else 0x109), page


def test_effects(drive: NvmeDoor) -> None:
    """Linux writes to a zoned namespace only if ZONE APPEND is listed."""
    for csi, more in ((0, {}), (2, {0x79: 3, 0x7A: 1, 0x7D: 3})):
        data = drive.log(0x05, 4096, csi=csi).data
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, 2048, 4)]
        admin = {i: word for i, word in enumerate(words[:256]) if word}
        io = {i: word for i, word in enumerate(words[256:]) if word}
        assert admin == {
            **dict.fromkeys((0x02, 0x06, 0x08, 0x09, 0x0A, 0x0C, 0x18), 1),
            **dict.fromkeys((0x80, 0x84), 0x10003),
        }
        both = dict.fromkeys((0x01, 0x04, 0x08, 0x09, 0x19), 3)
        assert io == {**both, 0x00: 1, 0x02: 1, 0x05: 1, 0x0C: 1, **more}
        assert data[2048:] == bytes(2048)
    assert drive.log(0x05, 4096, csi=1).status == 0x12C


def test_the_error_log(drive: NvmeDoor) -> None:
    assert drive.log(0x01, 4096).data == bytes(4096)
    wrong = drive.send(at(0x01, ZNS, 7, cid=0x1234), bytes(4096))
    assert (wrong.status, wrong.more) == (0x1BC, True)
    assert drive.admin(entry(0x06, d10=0x55, cid=9), room=4096).status == Code.INVALID_FIELD
    data = drive.log(0x01, 4096).data
    newest, older = data[:64], data[64:128]
    assert data[128:] == bytes(4096 - 128)
    assert [int.from_bytes(part[:8], "little") for part in (newest, older)] == [2, 1]
    assert older[8:14] == (
        (1).to_bytes(2, "little")
        + (0x1234).to_bytes(2, "little")
        + (wrong.raw << 1).to_bytes(2, "little")
    )
    assert older[14:28] == b"\xff\xff" + (7).to_bytes(8, "little") + (ZNS).to_bytes(4, "little")
    assert newest[14:16] == bytes([40, 0]), "byte 40, bit 0 of the entry"
    for _ in range(70):
        assert drive.send(entry(0x55)).status == Code.INVALID_OPCODE
    full = drive.log(0x01, 4096)
    assert [full.number(64 * i, 8) for i in range(64)] == list(range(72, 8, -1))


def test_health(drive: NvmeDoor) -> None:
    assert drive.write(0, 25).status == Code.SUCCESS
    assert drive.read(0, 25).status == Code.SUCCESS
    got = drive.log(0x02, 512)
    assert (got.data[0], got.number(1, 2), got.data[3], got.data[4]) == (0, 313, 100, 10)
    assert [got.number(i, 16) for i in (32, 48, 64, 80)] == [1, 1, 1, 1]
    drive.condition(1, 0xF)
    assert drive.log(0x02, 512).data[0] == 4, "reliability is degraded"


def test_parts_of_pages(drive: NvmeDoor) -> None:
    whole = drive.log(0x02, 512).data
    assert drive.log(0x02, 64, offset=0).data == whole[:64]
    assert drive.log(0x02, 64, offset=32).data == whole[32:96]
    assert drive.log(0x02, 64, offset=500).data == whole[500:]
    assert drive.log(0x02, 64, offset=512).data == b""
    for offset in (2, 516, 1 << 40):
        assert drive.log(0x02, 64, offset=offset).status == Code.INVALID_FIELD
    assert drive.log(0x03, 512).data == b"\1" + bytes(7) + b"0001    " + bytes(496)
    assert drive.log(0xBF, 4096, NVM).status == Code.INVALID_FIELD
    assert drive.log(0xBF, 4096).status == Code.NO_NAMESPACE
    assert drive.log(0x02, 512, 77).status == Code.NO_NAMESPACE
    assert drive.admin(entry(0x02, EVERY, d10=2 | 127 << 16), room=508).status == Code.LENGTH


# ---------------------------------------------------------------- features


def test_features(drive: NvmeDoor) -> None:
    for feature, word, stays in (
        (0x01, 0x03020107, 0x03020107),
        (0x02, 0, 0),
        (0x04, 300, 300),
        (0x06, 0, 0),
        (0x0B, 0x0800_01FF, 0x0800_01FF),
        (0x0F, 5000, 5000),
        (0x19, 0, 0),
    ):
        assert drive.set_feature(feature, word).status == Code.SUCCESS
        assert drive.get_feature(feature).result == stays
        assert drive.get_feature(feature, 3).result & 4, "it can be changed"
        assert drive.admin(entry(0x09, d10=feature | 1 << 31, d11=word)).status == 0x10D
    assert drive.library.nvme_keep_alive(drive.handle, 0) == 5000
    drive.library.nvme_reset(drive.handle, 0)
    assert [drive.get_feature(feature).result for feature in (1, 4, 6, 0x0B)] == [0, 343, 1, 0]
    assert drive.set_feature(0x02, 1).status == Code.INVALID_FIELD
    assert drive.set_feature(0x55).status == Code.INVALID_FIELD
    assert drive.get_feature(0x55).status == Code.INVALID_FIELD
    assert drive.get_feature(0x01, 4).status == Code.INVALID_FIELD


def test_features_with_data(drive: NvmeDoor) -> None:
    stamp = (1_700_000_000_000).to_bytes(6, "little") + bytes(2)
    assert drive.set_feature(0x0E, out=stamp[:4]).status == Code.LENGTH
    assert drive.set_feature(0x0E, out=stamp).status == Code.SUCCESS
    now = drive.get_feature(0x0E, room=8)
    assert 0 <= now.number(0, 6) - 1_700_000_000_000 < 600_000
    assert now.data[6] == 2
    assert drive.get_feature(0x0E, room=4).status == Code.LENGTH
    assert drive.set_feature(0x16, out=b"\1" + bytes(511)).status == Code.SUCCESS
    assert drive.get_feature(0x16, room=512).data == b"\1" + bytes(511)
    assert drive.get_feature(0x81, room=16).data == b"0123456789abcdef"
    assert drive.set_feature(0x81, out=bytes(16)).status == 0x10E
    assert drive.set_feature(0x05, 70, nsid=ZNS).status == Code.SUCCESS
    assert [drive.get_feature(0x05, nsid=nsid).result for nsid in (ZNS, NVM)] == [70, 0]
    assert drive.get_feature(0x05).status == Code.NO_NAMESPACE
    assert drive.set_feature(0x05, 70, nsid=9).status == Code.NO_NAMESPACE
    assert drive.set_feature(0x05, 1 << 16, nsid=ZNS).status == Code.INVALID_FIELD


def test_how_many_queues(drive: NvmeDoor) -> None:
    assert drive.set_feature(0x07, 3 << 16 | 3).status == Code.SEQUENCE, "one is open"
    drive.library.nvme_queue_close(drive.handle, 0, 1)
    assert drive.set_feature(0x07, 3 << 16 | 5).result == 3 << 16 | 3
    assert drive.get_feature(0x07).result == 3 << 16 | 3
    assert drive.set_feature(0x07, 999 << 16 | 999).result == 126 << 16 | 126
    assert drive.set_feature(0x07, 0xFFFF).status == Code.INVALID_FIELD
    assert drive.library.nvme_queue(drive.handle, 0, 1) == 0
    assert drive.library.nvme_queue(drive.handle, 0, 128) == -22
    assert drive.admin(entry(0x18)).status == Code.SUCCESS


# ---------------------------------------------------------------- bad input


def test_opcodes_and_namespaces(drive: NvmeDoor) -> None:
    admin = {0x02, 0x06, 0x08, 0x09, 0x0A, 0x18, 0x80, 0x84}
    for opcode in range(256):
        if opcode in (0x0C, 0x80, 0x84):
            continue
        status = drive.admin(entry(opcode, ZNS), out=bytes(4096), room=4096).status
        assert (status == Code.INVALID_OPCODE) == (opcode not in admin), hex(opcode)
    io = {0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0C, 0x19, 0x79, 0x7A, 0x7D}
    for opcode in range(256):
        status = drive.send(entry(opcode, ZNS), out=bytes(4096), room=4096).status
        assert (status == Code.INVALID_OPCODE) == (opcode not in io), hex(opcode)
        for nsid in (0, 3, 257, EVERY):
            status = drive.send(entry(opcode, nsid), out=bytes(4096), room=4096).status
            if opcode in io - {0}:
                assert status == Code.NO_NAMESPACE
    for fuse in (1, 2, 3):
        assert drive.send(entry(0x02, ZNS, flags=fuse), room=4096).status == Code.INVALID_FIELD
    assert drive.send(entry(0x02, ZNS, flags=0x40), room=4096).status == Code.SUCCESS, "an SGL"


def test_lengths(drive: NvmeDoor) -> None:
    """A command moves what its entry says: shorter buffers are refused, what is too much stays as it is."""
    assert drive.send(at(0x01, ZNS, 0, 1), bytes(8191)).status == Code.LENGTH
    assert drive.send(at(0x01, ZNS, 0, 1)).status == Code.LENGTH
    assert drive.send(at(0x01, ZNS, 0, 1), b"x" * 20000).status == Code.SUCCESS
    assert drive.send(at(0x02, ZNS, 0, 1), room=8191).status == Code.LENGTH
    for cut in (1 << 40, 4096, 100, 5000):
        got = drive.send(at(0x02, ZNS, 0, 1), room=20000, cut=cut)
        assert (got.in_length, got.data) == (8192, b"x" * 8192)
    assert drive.send(at(0x02, ZNS, 0, 2048), room=9 << 20).status == Code.INVALID_FIELD, "MDTS"
    assert (
        drive.send(at(0x01, ZNS, 2, 0, 0)[:50] + b"\x10\0" + bytes(12), bytes(4096)).status
        == Code.INVALID_FIELD
    )
    assert drive.transfer(at(0x02, ZNS, 0, 1)) == (0, 8192)
    assert drive.transfer(at(0x7D, ZNS, 0, 1)) == (8192, 0)
    assert drive.transfer(at(0x7D, NVM, 0, 1)) == (0, 0)
    assert drive.transfer(at(0x02, 9, 0, 1)) == (0, 0)
    assert drive.transfer(at(0x08, ZNS, 0, 1)) == (0, 0)
    assert drive.transfer(entry(0x06), queue=0) == (0, 4096)
    assert drive.transfer(entry(0x09, d10=0x0E), queue=0) == (8, 0)


def test_any_bytes(drive: NvmeDoor) -> None:
    """Random entries end, with a status, and leave a disk that answers."""
    rng = random.Random(20260101)
    known = [0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0C, 0x19, 0x79, 0x7A, 0x7D]
    for _ in range(600):
        sqe = bytearray(rng.randbytes(64))
        if rng.random() < 0.8:
            sqe[0], sqe[1], sqe[4:8] = rng.choice(known), 0, rng.randrange(4).to_bytes(4, "little")
            sqe[42:48] = bytes(6)
            sqe[49] = 0
        queue = int(rng.random() < 0.7)
        if queue == 0 and sqe[0] == 0x0C:
            continue
        answer = drive.send(
            bytes(sqe), rng.randbytes(rng.choice((0, 512, 70000))), 70000, queue=queue
        )
        assert not answer.raw & ~0x67FF
    assert len(drive.conditions()) == 20
