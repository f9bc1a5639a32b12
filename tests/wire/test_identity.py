"""Who a unit is, what it can do and how it is set: byte for byte, at every allocation length."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scsi import cdb10, cdb16, inquiry
from wire.door import CHECK, GOOD, LUN0, Door, Library, Shape

Attach = Callable[..., Door]
ILLEGAL = 0x5
INVALID_OPCODE = (ILLEGAL, 0x20, 0x00)
INVALID_FIELD = (ILLEGAL, 0x24, 0x00)
MODE_CHANGED = (0x6, 0x2A, 0x01)

pytestmark = pytest.mark.program


def opcodes(option: int, opcode: int = 0, action: int = 0, *, timeouts: bool = False) -> bytes:
    return (
        bytes([0xA3, 0x0C, timeouts << 7 | option, opcode])
        + action.to_bytes(2, "big")
        + (1 << 16).to_bytes(4, "big")
        + bytes(2)
    )


def listed(door: Door) -> list[tuple[int, int | None, int]]:
    """Opcode, service action and CDB length of everything that the unit says it has."""
    data = door.send(opcodes(0)).data
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    rows = [data[at : at + 8] for at in range(4, len(data), 8)]
    return [
        (row[0], int.from_bytes(row[2:4], "big") if row[5] & 1 else None, row[7]) for row in rows
    ]


def test_standard_inquiry(door: Door) -> None:
    data = door.send(inquiry()).data
    assert len(data) == 96
    assert data[:8] == bytes.fromhex("14 00 07 12 5b 00 00 02")
    assert data[8:36] == b"ZONED   HOST-MANAGED SMR0001"
    assert data[58:70] == bytes.fromhex("00a0 05c0 0600 04c0 0620 0960")


def test_host_aware_inquiry(attach: Attach) -> None:
    door = attach(model=1)
    assert door.send(inquiry()).data[0] == 0x00
    assert door.send(inquiry(0xB1)).data[8] == 0x10
    assert door.send(inquiry(0xB6)).data[4] & 1


def test_pages(door: Door) -> None:
    page = {code: door.send(inquiry(code)).data for code in door.send(inquiry(0)).data[4:]}
    assert list(page) == [0x00, 0x80, 0x83, 0x86, 0x87, 0xB0, 0xB1, 0xB2, 0xB6]
    for code, data in page.items():
        assert data[:2] == bytes([0x14, code])
        assert int.from_bytes(data[2:4], "big") == len(data) - 4
    assert len(page[0x80]) == 36
    most = (32 << 20) // 4096
    assert page[0xB0][4:12] == bytes.fromhex("01ff0001") + most.to_bytes(4, "big")
    assert page[0xB0][36:44] == most.to_bytes(8, "big")
    assert page[0xB0][44:64] == bytes([0, 0, 0, 1]) + bytes(16), "one block is written atomically"
    assert page[0xB1][4:9] == bytes.fromhex("1c20 00 52 00")
    assert page[0xB2][4:] == bytes.fromhex("00e40200")
    assert page[0xB6][4:24] == bytes.fromhex("01000000 ffffffff ffffffff 00000006 00000000")


def test_designators_stand_one_behind_the_other(door: Door) -> None:
    data = door.send(inquiry(0x83)).data[4:]
    kinds = []
    while data:
        kinds.append((data[0] & 15, data[1] & 0x3F))
        data = data[4 + data[3] :]
    assert kinds == [(2, 0x01), (1, 0x03), (1, 0x0A), (1, 0x14), (3, 0x18)]


def test_capacity_below_size_is_said_in_page_b6(attach: Attach) -> None:
    door = attach(zone_capacity=768 * 1024, unrestricted_read=0)
    data = door.send(inquiry(0xB6)).data
    assert data[4] == 0
    assert data[23:32] == b"\x08" + (256).to_bytes(8, "big")


def test_a_disk_without_conventional_zones_has_no_unmap(attach: Attach) -> None:
    door = attach(nr_conv=0)
    assert door.send(inquiry(0xB2)).data[4:] == bytes(4)
    assert (
        door.send(cdb16(0x9E, 0, 0, 0x10)[:10] + (32).to_bytes(4, "big") + bytes(2)).data[14] == 0
    )
    assert door.send(bytes([0x42]) + bytes(9)).codes == INVALID_OPCODE
    assert (0x42, None, 10) not in listed(door)


def test_inquiry_refuses(door: Door) -> None:
    assert door.send(inquiry(0xB7)).codes == INVALID_FIELD
    assert door.send(bytes([0x12, 0, 0x80, 0, 64, 0])).field == (2, 7)
    assert door.send(bytes([0x12, 2, 0, 0, 64, 0])).field == (1, 1)


@pytest.mark.parametrize("lun", [b"\0\1" + bytes(6), b"\x40\x09" + bytes(6), b"\xc1\1" + bytes(6)])
def test_a_unit_that_is_not_there(door: Door, lun: bytes) -> None:
    assert door.send(inquiry(), lun=lun).data[0] == 0x7F
    assert door.send(bytes(6), lun=lun).codes == (ILLEGAL, 0x25, 0x00)
    sense = door.send(bytes([3, 0, 0, 0, 18, 0]), lun=lun)
    assert sense.status == GOOD
    assert (sense.data[2], sense.data[12]) == (ILLEGAL, 0x25)
    luns = door.send(bytes([0xA0, 0, 0, 0, 0, 0]) + (64).to_bytes(4, "big") + bytes(2), lun=lun)
    assert luns.data == (8).to_bytes(4, "big") + bytes(4) + LUN0


def test_flat_addresses_are_known(door: Door) -> None:
    assert door.send(bytes(6), lun=b"\x40" + bytes(7)).status == GOOD


def test_capacity(door: Door, attach: Attach) -> None:
    assert door.send(bytes([0x25]) + bytes(9)).data == (6143).to_bytes(4, "big") + (4096).to_bytes(
        4, "big"
    )
    cdb = bytes([0x9E, 0x10]) + bytes(8) + (64).to_bytes(4, "big") + bytes(2)
    data = door.send(cdb).data
    assert data == (6143).to_bytes(8, "big") + (4096).to_bytes(4, "big") + bytes.fromhex(
        "1000c0"
    ) + bytes(17)
    small = attach(logical_block=512).send(cdb).data
    assert int.from_bytes(small[:8], "big") == 6144 * 8 - 1
    assert small[13] == 3


ALLOCATED = {
    "INQUIRY": lambda n: inquiry(None, n),
    "VPD 83": lambda n: inquiry(0x83, n),
    "VPD B0": lambda n: inquiry(0xB0, n),
    "REQUEST SENSE": lambda n: bytes([3, 0, 0, 0, min(n, 255), 0]),
    "MODE SENSE(6)": lambda n: bytes([0x1A, 0, 0x3F, 0, min(n, 255), 0]),
    "MODE SENSE(10)": lambda n: (
        bytes([0x5A, 0x10, 0x3F, 0, 0, 0, 0]) + n.to_bytes(2, "big") + b"\0"
    ),
    "LOG SENSE": lambda n: bytes([0x4D, 0, 0x54, 1, 0, 0, 0]) + n.to_bytes(2, "big") + b"\0",
    "READ CAPACITY(16)": lambda n: bytes([0x9E, 0x10]) + bytes(8) + n.to_bytes(4, "big") + bytes(2),
    "GET LBA STATUS": lambda n: bytes([0x9E, 0x12]) + bytes(8) + n.to_bytes(4, "big") + bytes(2),
    "DEFECTS(10)": lambda n: bytes([0x37, 0, 0x18, 0, 0, 0, 0]) + n.to_bytes(2, "big") + b"\0",
    "DEFECTS(12)": lambda n: bytes([0xB7, 0x18]) + bytes(4) + n.to_bytes(4, "big") + bytes(2),
    "OPCODES": lambda n: opcodes(0)[:6] + n.to_bytes(4, "big") + bytes(2),
    "READ KEYS": lambda n: bytes([0x5E, 0, 0, 0, 0, 0, 0]) + n.to_bytes(2, "big") + b"\0",
}


@pytest.mark.parametrize("what", ALLOCATED)
def test_every_allocation_length(door: Door, what: str) -> None:
    """No more than was asked for, no more than there is room, and always the same beginning."""
    whole = door.send(ALLOCATED[what](0xFF if "6)" in what or "REQ" in what else 0xFFFF)).data
    for asked in (*range(40), len(whole) - 1, len(whole), len(whole) + 1):
        answer = door.send(ALLOCATED[what](asked))
        expected = min(asked, len(whole))
        assert answer.status == GOOD
        assert answer.data[4:] == whole[4:expected] or what == "REQUEST SENSE"
        assert (len(answer.data), answer.residual_in) == (expected, expected - door.room)
        tight = door.send(ALLOCATED[what](asked), room=7)
        assert len(tight.data) == min(7, expected)
        assert tight.residual_in == expected - 7


def test_opcodes_one_by_one(door: Door) -> None:
    """What the list names can be asked for; its mask is what the check of reserved bits goes by."""
    for opcode, action, length in listed(door):
        timed = door.send(
            opcodes(1 if action is None else 2, opcode, action or 0, timeouts=True)
        ).data
        data = door.send(opcodes(3, opcode, action or 0)).data
        assert data[:4] == bytes([0, 3, 0, length])
        assert timed == bytes([0, 0x83]) + data[2:] + timed[-12:]
        assert timed[-12:-10] == b"\0\x0a"
        assert int.from_bytes(timed[-4:], "big") >= 30
        usage = data[4:]
        assert usage[0] == opcode
        if action is not None:
            assert usage[1] & 0x1F == action
        for byte in range(1, length):
            for bit in range(8):
                known = usage[byte] >> bit & 1 or (byte == 1 and action is not None and bit < 5)
                if known:
                    continue
                cdb = bytearray(length)
                cdb[0], cdb[1] = opcode, action or 0
                cdb[byte] |= 1 << bit
                refused = door.send(bytes(cdb))
                assert (refused.status, refused.codes) == (CHECK, INVALID_FIELD), cdb.hex()
                assert refused.field == (byte, bit), cdb.hex()


def test_opcodes_that_are_not_there(door: Door) -> None:
    there = {opcode for opcode, _, _ in listed(door)}
    for opcode in range(256):
        if opcode in there:
            continue
        assert door.send(bytes([opcode]) + bytes(15)).codes == INVALID_OPCODE
        assert door.send(opcodes(3, opcode)).data == b"\0\1\0\0"
    assert door.send(bytes([0x9E, 0x1F]) + bytes(14)).codes == INVALID_FIELD
    assert door.send(b"").codes == INVALID_OPCODE


def test_service_actions_are_asked_for_as_such(door: Door) -> None:
    assert door.send(opcodes(1, 0x94)).codes == INVALID_FIELD
    assert door.send(opcodes(2, 0x28)).codes == INVALID_FIELD
    assert door.send(opcodes(2, 0x94, 9)).data == b"\0\1\0\0"
    assert door.send(opcodes(4)).codes == INVALID_FIELD


def test_cdbs_cut_short(door: Door) -> None:
    """Where the CDB ends is the field that is wrong; nothing behind it is looked at."""
    for opcode, action, length in listed(door):
        whole = bytes([opcode, action or 0]) + bytes(length - 2)
        for size in range(2 if action is not None else 1, length):
            answer = door.send(whole[:size])
            assert (answer.codes, answer.field) == (INVALID_FIELD, (size, -1)), whole[:size].hex()


def test_task_management_functions(door: Door) -> None:
    cdb = bytes([0xA3, 0x0D, 0, 0, 0, 0]) + (64).to_bytes(4, "big") + bytes(2)
    assert door.send(cdb).data == b"\xda\0\0\0"
    assert len(door.send(cdb[:2] + b"\x80" + cdb[3:]).data) == 16


# ------------------------------------------------------------------ mode pages

PAGES = {
    "now": "010ac00000000000000000000812040000000000000000000000000000000000"
    "0a0a00100040000000000000",
    "changeable": "010a000000000000000000000812040000000000000000000000000000000000"
    "0a0a04000800000000000000",
}


def test_mode_pages(door: Door) -> None:
    for which, name in ((0, "now"), (1, "changeable"), (2, "now")):
        data = door.send(bytes([0x1A, 8, which << 6 | 0x3F, 0, 255, 0])).data
        assert data[:4] == bytes([len(data) - 1, 0, 0x10, 0])
        assert data[4:].hex() == PAGES[name]
    assert door.send(bytes([0x1A, 0, 0xFF, 0, 255, 0])).codes == (ILLEGAL, 0x39, 0x00)
    assert door.send(bytes([0x1A, 0, 0x02, 0, 255, 0])).field == (2, 5)
    assert door.send(bytes([0x1A, 0, 0x08, 1, 255, 0])).field == (3, 7)


def test_block_descriptors(door: Door) -> None:
    short = door.send(bytes([0x1A, 0, 0x08, 0, 255, 0])).data
    assert short[3] == 8
    assert short[4:12] == (6144).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    wide = door.send(bytes([0x5A, 0x10, 0x08, 0, 0, 0, 0, 0, 255, 0])).data
    assert wide[4] & 1 and wide[7] == 16
    assert wide[8:24] == (6144).to_bytes(8, "big") + bytes(4) + (4096).to_bytes(4, "big")


def select(door: Door, pages: str, **more: int) -> tuple[int, int, int]:
    out = bytes(4) + bytes.fromhex(pages)
    return door.send(bytes([0x15, 0x10, 0, 0, len(out), 0]), out, **more).codes


def test_mode_select_changes_what_may_be_changed(door: Door) -> None:
    door.login(1)
    door.send(bytes(6), nexus=1)
    assert select(door, "0a0a0410004000000000000000"[:24]) == (0, 0, 0)
    assert door.send(bytes(6)).status == GOOD, "who changed it is not told"
    told = door.send(bytes(6), nexus=1)
    assert told.codes == MODE_CHANGED
    assert told.sense[0] == 0x72, "descriptor sense from now on"
    assert select(door, "0812000000000000000000000000000000000000") == (0, 0, 0)
    assert door.send(bytes([0x1A, 8, 8, 0, 255, 0])).data[6] == 0
    assert door.reset(0) == 0
    assert door.send(bytes(6)).codes == (0x6, 0x29, 0x03)
    assert door.send(bytes([0x1A, 8, 8, 0, 255, 0])).data[6] == 4


def test_software_write_protection(door: Door) -> None:
    assert select(door, "0a0a00100840000000000000") == (0, 0, 0)
    assert door.write(0, 1).codes == (0x7, 0x27, 0x02)
    assert door.zone(4, 4 * door.zone_blocks).codes == (0x7, 0x27, 0x02)
    assert door.read(0, 1).status == GOOD
    assert door.send(bytes([0x1A, 8, 8, 0, 255, 0])).data[2] == 0x90


@pytest.mark.parametrize(
    ("pages", "codes"),
    [
        ("0a0a00000000000000000000", (ILLEGAL, 0x26, 0x00)),  # queue algorithm is fixed
        ("0a0900100000000000000000", (ILLEGAL, 0x26, 0x00)),
        ("0a0a0010", (ILLEGAL, 0x1A, 0x00)),
        ("0b0a00100000000000000000", (ILLEGAL, 0x26, 0x00)),
        ("08", (ILLEGAL, 0x1A, 0x00)),
    ],
)
def test_mode_select_refuses(door: Door, pages: str, codes: tuple[int, int, int]) -> None:
    assert select(door, "0812000000000000000000000000000000000000" + pages) == codes
    assert door.send(bytes([0x1A, 8, 8, 0, 255, 0])).data[6] == 4, "and changed nothing"


def test_mode_select_takes_the_block_descriptor_as_it_is(door: Door) -> None:
    for blocks, size, codes in (
        (6144, 4096, (0, 0, 0)),
        (0, 0, (0, 0, 0)),
        (6143, 4096, (ILLEGAL, 0x26, 0x00)),
        (6144, 512, (ILLEGAL, 0x26, 0x00)),
    ):
        out = b"\0\0\0\x08" + blocks.to_bytes(4, "big") + size.to_bytes(4, "big")
        assert door.send(bytes([0x15, 0x10, 0, 0, 12, 0]), out).codes == codes


# ------------------------------------------------------------------ log pages, start and stop, attentions


def log(door: Door, code: int, sub: int = 0) -> bytes:
    return door.send(bytes([0x4D, 0, 0x40 | code, sub, 0, 0, 0, 2, 0, 0])).data


def test_log_pages(door: Door) -> None:
    assert log(door, 0).hex() == "00000004000d0e14"
    assert log(door, 0, 0xFF).hex() == "40ff000a" + "000000ff0d000e001401"
    assert log(door, 0x0D).hex() == "0d00000c00000302001e00010302003c"
    assert door.send(bytes([0x4D, 0, 0x4F, 0, 0, 0, 0, 2, 0, 0])).codes == INVALID_FIELD
    assert door.send(bytes([0x4D, 0, 0x0D, 0, 0, 0, 0, 2, 0, 0])).field == (2, 7)


def test_zone_statistics_are_the_disks_counters(door: Door) -> None:
    start = 4 * door.zone_blocks
    door.write(start, 1)
    door.write(start + 5, 1)
    door.zone(4, start)
    data = log(door, 0x14, 1)[4:]
    values = {
        int.from_bytes(data[at : at + 2], "big"): int.from_bytes(data[at + 4 : at + 12], "big")
        for at in range(0, len(data), 12)
    }
    assert values == {0: 1, 4: 0, 5: 1, 6: 0, 7: 0, 8: 0, 9: 0, 10: 1, 11: 0}


def test_opens_that_fail_are_counted(attach: Attach) -> None:
    door = attach(max_open=2)
    for zone in range(4, 9):
        door.zone(3, zone * door.zone_blocks)
    door.write(9 * door.zone_blocks, 1)
    data = log(door, 0x14, 1)
    assert data[4 + 5 * 12 :][:12] == bytes([0, 8, 3, 8]) + (3).to_bytes(8, "big")


def test_a_host_aware_disk_counts_no_nothing(attach: Attach) -> None:
    """What would have to be counted and is not is left out, and is not 0."""
    data = log(attach(model=1), 0x14, 1)[4:]
    assert [data[at + 1] for at in range(0, len(data), 12)] == [0, 5, 8, 9, 10, 11]


def test_stop_and_start(door: Door) -> None:
    assert door.send(bytes([0x1B, 0, 0, 0, 0, 0])).status == GOOD
    for cdb in (bytes(6), cdb10(0x28, 0, 1), bytes([0x95]) + bytes(15)):
        assert door.send(cdb).codes == (0x2, 0x04, 0x02)
    assert door.send(inquiry()).status == GOOD
    assert door.send(bytes([3, 0, 0, 0, 18, 0])).data[2] == 2
    assert door.send(bytes([0x1B, 0, 0, 0, 1, 0])).status == GOOD
    assert door.send(bytes(6)).status == GOOD
    assert log(door, 0x0E).endswith((2).to_bytes(4, "big"))
    assert door.send(bytes([0x1B, 0, 0, 0, 0x10, 0])).field == (4, 7)


def test_attentions_come_in_their_order_and_once(attach: Attach) -> None:
    door = attach(quiet=False)
    door.login(1)
    assert door.send(inquiry()).status == GOOD, "INQUIRY neither tells nor loses it"
    assert door.send(bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0])).status == GOOD
    assert select(door, "0a0a00100040000000000000") == (0x6, 0x29, 0x00)
    assert select(door, "0812000000000000000000000000000000000000") == (0, 0, 0)
    door.reset(0)
    assert [door.send(bytes(6), nexus=1).codes for _ in range(4)] == [
        (0x6, 0x29, 0x00),
        (0x6, 0x29, 0x03),
        MODE_CHANGED,
        (0, 0, 0),
    ]
    sense = door.send(bytes([3, 0, 0, 0, 18, 0]))
    assert (sense.status, sense.data[2], sense.data[12:14]) == (GOOD, 0x6, b"\x29\x03")
    assert door.send(bytes(6)).status == GOOD
    assert door.reset(0, b"\0\7" + bytes(6)) == -6


def test_another_dialect_is_refused(attach: Attach, library: Library) -> None:
    refused = Door(library, Shape(dialect=1, nr_conv=0))
    assert refused.code == -2101
    assert not refused.handle
