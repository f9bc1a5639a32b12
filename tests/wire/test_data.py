"""Blocks in and out: each length of CDB, residuals, places, broken rules and their sense."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from scsi import cdb10, cdb12, cdb16
from wire.door import ABORTED, BUSY, CHECK, GOOD, Answer, Door

Attach = Callable[..., Door]
BLOCK = 4096
OUT_OF_RANGE = (0x5, 0x21, 0x00)
INVALID_FIELD = (0x5, 0x24, 0x00)
MISCOMPARE = (0xE, 0x1D, 0x00)
UNALIGNED = (0x5, 0x21, 0x04)
ZONE = 256
SEQUENTIAL = 4 * ZONE

pytestmark = pytest.mark.program


def data(blocks: int, seed: int = 1) -> bytes:
    return b"".join(
        (seed * 1000 + block).to_bytes(4, "big") * (BLOCK // 4) for block in range(blocks)
    )


FORMS = {
    6: (0x08, 0x0A, lambda op, lba, n: bytes([op]) + lba.to_bytes(3, "big") + bytes([n & 255, 0])),
    10: (0x28, 0x2A, cdb10),
    12: (0xA8, 0xAA, cdb12),
    16: (0x88, 0x8A, cdb16),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1 << 40, 0, 1, BLOCK, BLOCK + 3])
def test_what_is_written_is_read(door: Door, form: int, cut: int) -> None:
    reads, writes, cdb = FORMS[form]
    written = data(3)
    answer = door.send(cdb(writes, 7, 3), written, cut=cut)
    assert (answer.status, answer.residual_out) == (GOOD, 0)
    back = door.send(cdb(reads, 7, 3), room=3 * BLOCK, cut=cut)
    assert (back.status, back.data, back.residual_in) == (GOOD, written, 0)
    assert door.transfer(cdb(reads, 7, 3)) == (0, 3 * BLOCK)
    assert door.transfer(cdb(writes, 7, 3)) == (3 * BLOCK, 0)


def test_six_bytes_say_256_by_0(door: Door) -> None:
    written = data(256)
    assert door.send(bytes([0x0A, 0, 0, 0, 0, 0]), written).status == GOOD
    assert door.send(bytes([0x08, 0, 0, 0, 0, 0]), room=256 * BLOCK).data == written


@pytest.mark.parametrize("form", [10, 12, 16])
def test_nothing_is_moved_by_0_blocks(door: Door, form: int) -> None:
    reads, writes, cdb = FORMS[form]
    for lba in (0, door.blocks):
        assert door.send(cdb(reads, lba, 0), room=BLOCK).residual_in == -BLOCK
        assert door.send(cdb(writes, lba, 0)).status == GOOD
        assert door.read(0, 1).data == bytes(BLOCK)
    assert door.send(cdb(reads, door.blocks + 1, 0)).codes == OUT_OF_RANGE


@pytest.mark.parametrize(
    ("lba", "blocks"),
    [(6144, 1), (6143, 2), (0, 6145), (1 << 63, 1), ((1 << 64) - 1, 1), ((1 << 64) - 1, 2)],
)
def test_beyond_the_end(door: Door, lba: int, blocks: int) -> None:
    for opcode in (0x88, 0x8A, 0x8E, 0x8F, 0x90, 0x91, 0x93):
        answer = door.send(cdb16(opcode, lba, blocks), bytes(BLOCK))
        assert (answer.status, answer.codes) == (CHECK, OUT_OF_RANGE), hex(opcode)
    if lba < 1 << 32 and blocks < 1 << 16:
        assert door.send(cdb10(0x28, lba, blocks)).codes == OUT_OF_RANGE


def test_the_longest_transfer(attach: Attach) -> None:
    door = attach(size=48 << 20, nr_conv=48)
    most = (32 << 20) // BLOCK
    assert door.send(cdb16(0x88, 0, most), room=0).residual_in == 32 << 20
    for opcode in (0x88, 0x8A, 0x93):
        assert door.send(cdb16(opcode, 0, most + 1), bytes(BLOCK)).field == (10, 7)


@pytest.mark.parametrize("room", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
def test_residuals_of_reads(door: Door, room: int) -> None:
    door.send(cdb10(0x2A, 0, 3), data(3))
    answer = door.send(cdb10(0x28, 0, 3), room=room, cut=BLOCK // 2)
    assert (answer.status, answer.residual_in) == (GOOD, 3 * BLOCK - room)
    assert answer.data == data(3)[:room]


@pytest.mark.parametrize("sent", [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5, 5 * BLOCK])
def test_residuals_of_writes(door: Door, sent: int) -> None:
    """Whole blocks that came are written; what came too much is not."""
    answer = door.send(cdb10(0x2A, 0, 3), data(5)[:sent], room=0, cut=BLOCK + 7)
    assert (answer.status, answer.residual_out) == (GOOD, 3 * BLOCK - sent)
    whole = min(sent // BLOCK, 3) * BLOCK
    assert door.read(0, 5).data == data(5)[:whole] + bytes(5 * BLOCK - whole)


def test_a_write_with_room_instead_of_data(door: Door) -> None:
    assert door.send(cdb10(0x2A, 0, 1), room=BLOCK).codes == INVALID_FIELD


def test_fua_makes_durable(door: Door) -> None:
    """Without it a power cut is allowed to take the data; WCE off is FUA for all."""
    for flags in (0x08, 0x18, 0x10):
        assert door.send(cdb10(0x2A, 0, 1, flags), data(1)).status == GOOD
    assert door.send(cdb10(0x28, 0, 1, 0x18), room=BLOCK).data == data(1)


def atomic(lba: int, blocks: int, flags: int = 0) -> bytes:
    return cdb16(0x9C, lba, blocks, flags)


def test_one_block_is_written_atomically(door: Door) -> None:
    """A power cut takes or keeps it; of two it could take one."""
    for flags in (0, 0x08, 0x18):
        assert door.send(atomic(7, 1, flags), data(1, flags)).status == GOOD
        assert door.read(6, 3).data == bytes(BLOCK) + data(1, flags) + bytes(BLOCK)
    assert door.send(atomic(SEQUENTIAL, 1), data(1)).status == GOOD
    assert door.send(atomic(SEQUENTIAL, 1), data(1)).codes == UNALIGNED
    assert door.read(SEQUENTIAL, 1).data == data(1)
    assert door.send(atomic(0, 2), data(2)).field == (12, 7)
    assert door.read(0, 2).data == bytes(2 * BLOCK)
    assert door.send(atomic(0, 0)).status == GOOD
    for lba, blocks in ((6144, 1), (6143, 2), (6000, 0xFFFF), (1 << 63, 0), ((1 << 64) - 1, 1)):
        assert door.send(atomic(lba, blocks), bytes(BLOCK)).codes == OUT_OF_RANGE
    assert door.transfer(atomic(7, 1)) == (BLOCK, 0)
    boundary = bytearray(atomic(7, 1))
    boundary[10] = 1
    assert door.send(bytes(boundary), data(1)).field == (10, 0)
    assert door.send(atomic(7, 1), data(1)[:-1], room=0).residual_out == 1
    assert door.read(7, 1).data == data(1, 0x18), "nothing of it"


@pytest.mark.parametrize("opcode", [0x35, 0x91])
def test_synchronize_and_prefetch(door: Door, opcode: int) -> None:
    cdb, fetch = (cdb10, 0x34) if opcode == 0x35 else (cdb16, 0x90)
    # (5, 6139) crosses from conventional to sequential zones, which a read may not; neither of these reads.
    for lba, blocks in ((0, 0), (0, 10), (6000, 0), (6144, 0), (5, 6139)):
        assert door.send(cdb(opcode, lba, blocks, 2)).status == GOOD
        assert door.send(cdb(fetch, lba, blocks)).status == GOOD
    assert door.send(cdb(opcode, 6000, 145)).codes == OUT_OF_RANGE


# ------------------------------------------------------------------ broken rules


def test_rules_of_writing(door: Door) -> None:
    start = SEQUENTIAL
    door.write(start, 2)
    cases = {
        (start, 1): UNALIGNED,
        (start + 3, 1): UNALIGNED,
        (start + 2, ZONE): (0x5, 0x21, 0x05),
        (start - 1, 2): (0x5, 0x21, 0x05),
    }
    for (lba, blocks), codes in cases.items():
        answer = door.write(lba, blocks)
        assert (answer.status, answer.codes) == (CHECK, codes)
        assert answer.information is None
    door.zone(2, start)
    assert door.write(start, 1).codes == INVALID_FIELD


def test_physical_blocks_of_512e(attach: Attach) -> None:
    door = attach(logical_block=512)
    start = 4 * door.zone_blocks
    assert door.send(cdb16(0x8A, start, 1), bytes(512)).codes == UNALIGNED
    assert door.send(cdb16(0x8A, start, 8), bytes(BLOCK)).status == GOOD


def test_open_zones_run_out(door: Door) -> None:
    for i in range(6):
        assert door.zone(3, SEQUENTIAL + i * ZONE).status == GOOD
    assert door.write(SEQUENTIAL + 6 * ZONE, 1).codes == (0x7, 0x55, 0x0E)
    assert door.zone(3, SEQUENTIAL + 6 * ZONE).codes == (0x7, 0x55, 0x0E)


def test_rules_of_reading(attach: Attach) -> None:
    door = attach(unrestricted_read=0)
    door.write(SEQUENTIAL, 4)
    assert door.read(SEQUENTIAL, 4).status == GOOD
    assert door.read(SEQUENTIAL + 2, 4).codes == (0x5, 0x21, 0x06)
    assert door.read(SEQUENTIAL + ZONE - 1, 2).codes == (0x5, 0x21, 0x07)
    assert door.read(SEQUENTIAL - 1, 2).codes == (0x5, 0x21, 0x06)


def test_dead_zones(door: Door) -> None:
    door.condition(4, 0xD)
    door.condition(5, 0xF)
    assert door.write(SEQUENTIAL, 1).codes == (0x7, 0x27, 0x08)
    assert door.read(SEQUENTIAL + ZONE, 1).codes == (0x7, 0x2C, 0x0E)


def test_gap_zones(attach: Attach) -> None:
    door = attach(zone_capacity=768 * 1024)
    assert door.write(SEQUENTIAL + 192, 1).codes == (0x5, 0x21, 0x09)
    assert door.read(SEQUENTIAL + 200, 1).codes == (0x5, 0x21, 0x09)


def test_no_power(door: Door) -> None:
    door.power(False)
    for cdb in (bytes(6), cdb10(0x28, 0, 1), bytes([0x95]) + bytes(15)):
        assert door.send(cdb).sense_key == 0x2
    assert door.send(bytes([0x12, 0, 0, 0, 36, 0])).status == GOOD
    door.power(True)
    assert door.send(bytes(6)).codes == (0x6, 0x29, 0x00)
    assert door.send(bytes(6)).status == GOOD


def test_medium_errors_name_the_block(door: Door) -> None:
    door.send(cdb10(0x2A, 0, 8), data(8))
    door.bad_block(5)
    answer = door.read(2, 6)
    assert (answer.codes, answer.information) == ((0x3, 0x11, 0x00), 5)
    assert answer.data == data(8)[2 * BLOCK : 5 * BLOCK]
    short = door.send(cdb10(0x28, 2, 6), room=100)
    assert (short.codes, short.information, len(short.data)) == ((0x3, 0x11, 0x00), 5, 100)
    door.bad_block(9, writes=True)
    wrong = door.write(8, 3)
    assert (wrong.codes, wrong.information) == ((0x3, 0x0C, 0x00), 9)


def test_descriptor_sense_holds_any_address(attach: Attach) -> None:
    door = attach(size=5 << 42, zone_size=1 << 30, logical_block=512, nr_conv=5 << 12)
    lba = (1 << 33) + 8
    door.bad_block(lba)
    assert door.read(lba, 1).information is None, "too large for four bytes"
    out = bytes(4) + bytes.fromhex("0a0a04100040000000000000")
    assert door.send(bytes([0x15, 0x10, 0, 0, 16, 0]), out).status == GOOD
    assert (
        door.read(lba, 1).sense.hex()
        == "72031100" + "0000000c" + "000a8000" + lba.to_bytes(8, "big").hex()
    )
    assert door.send(bytes([0x12, 0, 1, 0, 36, 0])).sense.hex() == (
        "7205240000000008" + "02060000" + "cf000200"
    )


# ------------------------------------------------------------------ compare and verify


@pytest.mark.parametrize("form", [10, 12, 16])
def test_verify(door: Door, form: int) -> None:
    opcode, cdb = {10: (0x2F, cdb10), 12: (0xAF, cdb12), 16: (0x8F, cdb16)}[form]
    door.send(cdb10(0x2A, 0, 3), data(3))
    assert door.send(cdb(opcode, 0, 3)).status == GOOD
    assert door.send(cdb(opcode, 0, 4 * ZONE)).status == GOOD
    assert door.send(cdb(opcode, 0, 3, 2), data(3), cut=777).status == GOOD
    wrong = bytearray(data(3))
    wrong[BLOCK + 10] ^= 1
    answer = door.send(cdb(opcode, 0, 3, 2), bytes(wrong))
    assert (answer.codes, answer.information) == (MISCOMPARE, BLOCK + 10)
    assert door.send(cdb(opcode, 0, 3, 4)).field == (1, 2)
    door.send(cdb10(0x2A, 0, 3), data(1) * 3)
    assert door.send(cdb(opcode, 0, 3, 6), data(1)).status == GOOD
    door.send(cdb10(0x2A, 2, 1), b"\0\0\3\xe9" + data(1)[4:])
    answer = door.send(cdb(opcode, 0, 3, 6), data(1))
    assert (answer.codes, answer.information) == (MISCOMPARE, 3)
    assert door.send(cdb10(0x41, 0, 60), data(1)).status == GOOD
    assert door.send(cdb(opcode, 0, 60, 6), data(1), cut=9).status == GOOD
    door.send(cdb10(0x2A, 59, 1), data(1)[:-1] + b"\xff")
    answer = door.send(cdb(opcode, 0, 60, 6), data(1))
    assert (answer.codes, answer.information) == (MISCOMPARE, BLOCK - 1)
    assert door.transfer(cdb(opcode, 0, 3, 6)) == (BLOCK, 0)
    assert door.transfer(cdb(opcode, 0, 3, 2)) == (3 * BLOCK, 0)
    assert door.transfer(cdb(opcode, 0, 3)) == (0, 0)


def test_verify_meets_a_bad_block(door: Door) -> None:
    door.bad_block(100)
    answer = door.send(cdb16(0x8F, 90, 50))
    assert (answer.codes, answer.information) == ((0x3, 0x11, 0x00), 100)


@pytest.mark.parametrize("form", [10, 12, 16])
def test_write_and_verify(door: Door, form: int) -> None:
    opcode, cdb = {10: (0x2E, cdb10), 12: (0xAE, cdb12), 16: (0x8E, cdb16)}[form]
    for flags in (0, 2):
        start = SEQUENTIAL + (flags != 0) * 3
        assert door.send(cdb(opcode, start, 3, flags), data(3), cut=5).status == GOOD
        assert door.read(start, 3).data == data(3)
        assert door.send(cdb(opcode, start, 3, flags), data(3)).codes == UNALIGNED
    assert door.send(cdb(opcode, 0, 3, 6), data(3)).field == (1, 2)
    short = door.send(cdb(opcode, 0, 3, 2), data(2), room=0)
    assert (short.status, short.residual_out) == (GOOD, BLOCK)


def swap(
    door: Door, lba: int, old: bytes, new: bytes, blocks: int = 1, cut: int = 1 << 40
) -> tuple[int, int, int]:
    cdb = bytes([0x89, 0]) + lba.to_bytes(8, "big") + bytes(3) + bytes([blocks, 0, 0])
    return door.send(cdb, old + new, cut=cut).codes


def test_compare_and_write(door: Door) -> None:
    assert swap(door, 7, bytes(BLOCK), data(1)) == (0, 0, 0)
    assert door.read(7, 1).data == data(1)
    assert swap(door, 7, bytes(BLOCK), data(1, 2)) == MISCOMPARE
    assert door.read(7, 1).data == data(1)
    assert swap(door, 7, data(1), data(1, 2)) == (0, 0, 0)
    assert swap(door, 0, b"", b"", 0) == (0, 0, 0)
    assert swap(door, 0, bytes(BLOCK), b"") == INVALID_FIELD
    assert swap(door, 6143, bytes(BLOCK) * 2, bytes(BLOCK) * 2, 2) == OUT_OF_RANGE
    door.write(SEQUENTIAL, 1, 0)
    assert swap(door, SEQUENTIAL, bytes(BLOCK), data(1)) == UNALIGNED


@pytest.mark.parametrize(
    "cut", [0, 7, BLOCK, 3 * BLOCK // 2, 2 * BLOCK, 2 * BLOCK + 9, 3 * BLOCK, 4 * BLOCK]
)
def test_compare_and_write_of_cut_buffers(door: Door, cut: int) -> None:
    """Where the two halves of the data meet is anywhere in the buffers."""
    old, new = data(2, 3), data(2, 4)
    assert door.send(cdb10(0x2A, 7, 2), old).status == GOOD
    assert swap(door, 7, old, new, 2, cut) == (0, 0, 0)
    assert door.read(6, 4).data == bytes(BLOCK) + new + bytes(BLOCK)
    assert swap(door, 7, old, new, 2, cut) == MISCOMPARE


def test_nobody_comes_between_compare_and_write(door: Door) -> None:
    """While it hangs in its write, the same blocks are BUSY for others; elsewhere they go on."""
    door.login(1)
    door.send(bytes(6), nexus=1)
    door.hang(1)
    thread = threading.Thread(target=swap, args=(door, 7, bytes(BLOCK), data(1)))
    thread.start()
    try:
        door.hanging(1)
        assert door.send(cdb10(0x2A, 7, 1), data(1), nexus=1).status == BUSY
        assert door.send(cdb10(0x2A, 5, 3), data(3), nexus=1).status == BUSY
        assert door.send(cdb10(0x41, 0, 9), data(1), nexus=1).status == BUSY
        for ranges in (((7, 1),), ((0, 1), (5, 9)), ((20, 4), (7, 1))):
            assert unmapping(door, *ranges, nexus=1).status == BUSY
        assert unmapping(door, (0, 7), (7, 0), (8, 100), nexus=1).status == GOOD
        for cdb, out in ERASERS.values():
            assert door.send(cdb, out, nexus=1).status == BUSY
        assert door.send(cdb10(0x28, 7, 1), nexus=1, room=BLOCK).status == GOOD
        assert door.send(cdb10(0x2A, 8, 1), data(1), nexus=1).status == GOOD
    finally:
        door.library.door_let_go(door.handle)
        thread.join()
    assert door.send(cdb10(0x2A, 7, 1), data(1), nexus=1).status == GOOD


def test_no_reset_comes_between_compare_and_write(attach: Attach) -> None:
    """A host-aware disk writes anywhere in a zone, an emptied one included."""
    door = attach(model=1)
    door.login(1)
    door.send(bytes(6), nexus=1)
    assert door.write(SEQUENTIAL, 8).status == GOOD
    door.hang(1)
    old = bytes([0x5A]) * BLOCK
    with ThreadPoolExecutor(1) as thread:
        task = thread.submit(swap, door, SEQUENTIAL + 4, old, data(1))
        try:
            door.hanging(1)
            assert door.zone(4, SEQUENTIAL, nexus=1).status == BUSY
            assert door.zone(4, SEQUENTIAL - ZONE, count=2, nexus=1).status == BUSY
            assert door.zone(4, 0, every=True, nexus=1).status == BUSY
            assert door.zone(4, SEQUENTIAL + ZONE, nexus=1).status == GOOD
            assert door.zone(2, SEQUENTIAL, nexus=1).status == GOOD, "its data stay"
        finally:
            door.library.door_let_go(door.handle)
        assert task.result() == (0, 0, 0)
    assert door.read(SEQUENTIAL + 3, 3).data == old + data(1) + old


def test_a_cancelled_task_begins_nothing_more(door: Door) -> None:
    """It hangs while it compares; once cancelled it does not write, and lets the blocks go."""
    door.hang(0)
    given = bytes([0x89, 0]) + bytes(7) + b"\7" + bytes(3) + b"\1\0\0"
    with ThreadPoolExecutor(1) as thread:
        task = thread.submit(door.send, given, bytes(BLOCK) + data(1))
        try:
            door.hanging(1)
            door.library.door_cancel(door.handle)
        finally:
            door.library.door_let_go(door.handle)
        answer = task.result()
    assert (answer.status, answer.sense) == (ABORTED, b"")
    assert door.read(7, 1).data == bytes(BLOCK)
    assert swap(door, 7, bytes(BLOCK), data(1)) == (0, 0, 0)


def test_compare_and_write_takes_exactly_its_data(door: Door) -> None:
    """Where initiator and disk do not agree on its length, the halves would meet elsewhere."""
    for blocks in (1, 2, 3):
        cdb = bytes([0x89, 0]) + bytes(7) + b"\7" + bytes(3) + bytes([blocks, 0, 0])
        length = 2 * blocks * BLOCK
        for sent in {0, 1, BLOCK, 2 * BLOCK, length - 1, length + 1, 8 * BLOCK} - {length}:
            answer = door.send(cdb, (bytes(4 * BLOCK) + data(4))[:sent], room=0)
            assert (answer.status, answer.field) == (CHECK, (13, 7)), (blocks, sent)
    assert door.read(0, 16).data == bytes(16 * BLOCK)


def test_256_blocks_are_not_0(door: Door) -> None:
    """A program that counts to 256 in a byte."""
    assert swap(door, 0, bytes(256 * BLOCK), data(256), 0) == INVALID_FIELD
    assert door.read(0, 1).data == bytes(BLOCK)


# ------------------------------------------------------------------ or


@pytest.mark.parametrize("cut", [1 << 40, 7, BLOCK + 9, 2 * BLOCK])
def test_or_write(door: Door, cut: int) -> None:
    old, new = data(3, 0x1234), data(3, 0x4321)
    assert door.send(cdb16(0x8B, 7, 3), old, cut=cut).status == GOOD
    assert door.read(7, 3).data == old
    assert door.send(cdb16(0x8B, 7, 3, 0x18), new, cut=cut).status == GOOD
    both = bytes(a | b for a, b in zip(old, new, strict=True))
    assert door.read(6, 5).data == bytes(BLOCK) + both + bytes(BLOCK)
    assert door.transfer(cdb16(0x8B, 7, 3)) == (3 * BLOCK, 0)
    assert door.send(cdb16(0x8B, 7, 0)).status == GOOD
    short = door.send(cdb16(0x8B, 20, 3), old[: BLOCK + 5], room=0)
    assert (short.status, short.residual_out) == (GOOD, 2 * BLOCK - 5)
    assert door.read(20, 2).data == old[:BLOCK] + bytes(BLOCK), "whole blocks that came"
    assert door.send(cdb16(0x8B, 0, 1), room=BLOCK).codes == INVALID_FIELD
    assert door.send(cdb16(0x8B, 6143, 2), data(2)).codes == OUT_OF_RANGE


def test_or_write_goes_by_the_rules_of_its_zone(attach: Attach) -> None:
    door = attach()
    assert door.send(cdb16(0x8B, SEQUENTIAL, 2), data(2)).status == GOOD
    assert door.read(SEQUENTIAL, 3).data == data(2) + bytes(BLOCK)
    assert door.send(cdb16(0x8B, SEQUENTIAL, 2), data(2)).codes == UNALIGNED
    assert door.send(cdb16(0x8B, SEQUENTIAL + 3, 1), data(1)).codes == UNALIGNED
    assert attach(unrestricted_read=0).send(cdb16(0x8B, SEQUENTIAL, 1), data(1)).status == CHECK


def test_or_write_meets_bad_blocks(door: Door) -> None:
    door.bad_block(100)
    answer = door.send(cdb16(0x8B, 90, 50), data(50))
    assert (answer.codes, answer.information) == ((0x3, 0x11, 0x00), 100)
    assert door.read(90, 10).data == bytes(10 * BLOCK), "nothing of it"
    door.bad_block(203, writes=True)
    answer = door.send(cdb16(0x8B, 200, 5), data(5))
    assert (answer.codes, answer.information) == ((0x3, 0x0C, 0x00), 203)


@pytest.mark.parametrize("command", [0, 1])
def test_nobody_comes_between_the_read_and_the_write_of_or_write(door: Door, command: int) -> None:
    door.login(1)
    door.send(bytes(6), nexus=1)
    door.hang(command)
    with ThreadPoolExecutor(1) as thread:
        task = thread.submit(door.send, cdb16(0x8B, 7, 2), data(2))
        try:
            door.hanging(1)
            assert door.send(cdb10(0x2A, 8, 1), data(1), nexus=1).status == BUSY
            assert door.send(cdb16(0x8B, 8, 1), data(1), nexus=1).status == BUSY
            assert door.send(atomic(8, 1), data(1), nexus=1).status == BUSY
            assert door.send(cdb16(0x8B, 9, 1), data(1), nexus=1).status == GOOD
        finally:
            door.library.door_let_go(door.handle)
        assert task.result().status == GOOD
    assert door.read(7, 3).data == data(2) + data(1)
    assert door.send(cdb16(0x8B, 8, 1), data(1), nexus=1).status == GOOD


# ------------------------------------------------------------------ write same, unmap


@pytest.mark.parametrize("opcode", [0x41, 0x93])
def test_write_same(door: Door, opcode: int) -> None:
    cdb = cdb10 if opcode == 0x41 else cdb16
    for lba, blocks in ((0, 1), (3, 40), (SEQUENTIAL, 40), (SEQUENTIAL + 40, ZONE - 40)):
        assert door.send(cdb(opcode, lba, blocks), data(1)).status == GOOD
        assert door.read(lba, blocks).data == data(1) * blocks
    assert door.send(cdb(opcode, SEQUENTIAL + ZONE, ZONE + 1), data(1)).codes == (0x5, 0x21, 0x05)
    assert door.zones(SEQUENTIAL + ZONE).data[65] == 0x10, "none of it was written"
    assert door.send(cdb(opcode, 0, 0), data(1)).codes == INVALID_FIELD
    assert door.send(cdb(opcode, 0, 1, 0x10), data(1)).field == (1, 4)
    for sent in (data(1)[:100], data(2), data(1) + b"\0"):
        assert door.send(cdb(opcode, 0, 2), sent).codes == INVALID_FIELD
    for block, zone in ((bytes(BLOCK), 0), (data(1), 1), (bytes(BLOCK), SEQUENTIAL + 2 * ZONE)):
        assert door.send(cdb(opcode, zone, 5, 8), block).status == GOOD
        assert door.read(zone, 5).data == block * 5


def test_write_same_without_data(door: Door) -> None:
    door.write(0, 9)
    assert door.send(cdb16(0x93, 1, 3, 1)).status == GOOD
    assert door.send(cdb16(0x93, 5, 3, 9)).status == GOOD
    back = door.read(0, 9).data
    assert [back[at] for at in range(0, 9 * BLOCK, BLOCK)] == [90, 0, 0, 0, 90, 0, 0, 0, 90]
    assert door.transfer(cdb16(0x93, 5, 3, 9)) == (0, 0)
    door.write(100, 42)
    assert door.send(cdb16(0x93, 101, 40, 1)).status == GOOD
    assert door.read(100, 42).data == b"Z" * BLOCK + bytes(40 * BLOCK) + b"Z" * BLOCK


def unmapping(
    door: Door, *ranges: tuple[int, int], length: int | None = None, nexus: int = 0
) -> Answer:
    listed = b"".join(
        lba.to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(4) for lba, blocks in ranges
    )
    out = (len(listed) + 6).to_bytes(2, "big") + len(listed).to_bytes(2, "big") + bytes(4) + listed
    length = len(out) if length is None else length
    cdb = bytes([0x42]) + bytes(6) + length.to_bytes(2, "big") + b"\0"
    return door.send(cdb, out, nexus=nexus)


def unmap(door: Door, *ranges: tuple[int, int], length: int | None = None) -> tuple[int, int, int]:
    return unmapping(door, *ranges, length=length).codes


def test_unmap(door: Door) -> None:
    door.write(0, 9)
    assert unmap(door, (1, 3), (7, 0), (5, 3)) == (0, 0, 0)
    back = door.read(0, 9).data
    assert [back[at] for at in range(0, 9 * BLOCK, BLOCK)] == [90, 0, 0, 0, 90, 0, 0, 0, 90]
    assert unmap(door, length=0) == (0, 0, 0)
    assert unmap(door, length=7) == (0x5, 0x1A, 0x00)
    assert unmap(door, (0, 1), length=8) == (0, 0, 0), "a descriptor that is not there"
    assert door.read(0, 1).data != bytes(BLOCK)
    assert unmap(door, (0, 1), (6143, 2)) == OUT_OF_RANGE
    assert door.read(0, 1).data != bytes(BLOCK), "none of it"
    assert unmap(door, ((1 << 64) - 1, 1)) == OUT_OF_RANGE
    assert unmap(door, *((0, 1),) * 257) == (0x5, 0x26, 0x00)
    door.write(SEQUENTIAL, 1)
    assert unmap(door, (SEQUENTIAL, 1)) == INVALID_FIELD


# ------------------------------------------------------------------ everything gone

ERASERS = {
    "FORMAT UNIT": (b"\4" + bytes(5), b""),
    "FORMAT UNIT with a list": (bytes([0x04, 0x10, 0, 0, 0, 0]), bytes(4)),
    "FORMAT UNIT with a long list": (bytes([0x04, 0x30, 0, 0, 0, 0]), bytes(8)),
    "OVERWRITE": (bytes([0x48, 1]) + bytes(6) + b"\4\0", b"\1\0\0\0"),
    "BLOCK ERASE": (bytes([0x48, 0x82]) + bytes(8), b""),
    "CRYPTOGRAPHIC ERASE": (bytes([0x48, 3]) + bytes(8), b""),
}


@pytest.mark.parametrize("what", ERASERS)
def test_a_reset_of_all(door: Door, what: str) -> None:
    cdb, out = ERASERS[what]
    assert door.transfer(cdb) == (len(out), 0), "a transport knows how much it takes"
    door.write(3, 5)
    door.write(SEQUENTIAL, 5)
    door.zone(2, SEQUENTIAL + ZONE)
    assert door.send(cdb, out).status == GOOD
    assert door.read(0, ZONE).data == bytes(ZONE * BLOCK)
    zones = door.zones(SEQUENTIAL).data[64:]
    assert {zones[at + 1] for at in range(0, len(zones), 64)} == {0x10}


def test_erasing_refuses(door: Door) -> None:
    assert door.send(bytes([0x04, 0x17, 0, 0, 0, 0]), bytes(4)).codes == INVALID_FIELD
    assert door.send(bytes([0x04, 0x10, 0, 0, 0, 0]), b"\0\0\0\1").codes == (0x5, 0x26, 0x00)
    assert door.send(bytes([0x04, 0x10, 0, 0, 0, 0]), b"\0").codes == (0x5, 0x1A, 0x00)
    assert door.send(bytes([0x48, 2]) + bytes(6) + b"\4\0", bytes(4)).field == (7, 7)
    assert door.send(bytes([0x48, 1]) + bytes(6) + b"\4\0", bytes(4)).codes == (0x5, 0x26, 0x00)
    assert door.send(bytes([0x48, 0x1F]) + bytes(8)).status == GOOD
    door.write(SEQUENTIAL, 1)
    for action in (1, 2, 3):
        assert door.send(bytes([0x48, 0x40 | action]) + bytes(8)).field == (1, 6), "ZNR"
    assert door.write(SEQUENTIAL, 1).codes == UNALIGNED, "no zone was reset"
