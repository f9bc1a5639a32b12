"""Words that killed users left: each zone is judged by itself, and nothing is given up unsaid.

The words lie in the shared state, which is no part of the image format; where a zone's record lies is found by
what two neighbours say in it. Records are spoilt as no kill can do it: then opening for writing is refused, a
reader sees what there is, `check` tells what a repair would cost, and the repair costs that and nothing else.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from image import disks
from image.layout import Image
from zoned import Finding, FindingKind, ZoneCondition

BLOCK = disks.BLOCK
ZONES = range(2, 10)
WORD, DURABLE, SLOT, DISK_SLOT, ENTRY_SEQ, COMMIT_SLOT = 0, 8, 16, 24, 28, 124
RECORD = 128


def content(zone: int, blocks: int) -> bytes:
    return disks.fill(zone, blocks)


def left_behind(path: Path, work: Callable[[zoned.Device], None]) -> None:
    """Somebody opens it, works, and dies of SIGKILL with the disk open."""
    child = os.fork()
    if child == 0:
        try:
            work(zoned.open(path))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


class Left:
    """Each zone holds one synced block; the dead appended `zone` more to each, which only the words know."""

    def __init__(self, path: Path, **keywords: object) -> None:
        self.path = path
        with disks.create(path, max_open=0, max_active=0, **keywords) as device:
            device.pwrite(b"flushed conventional" + bytes(BLOCK - 20), 0)
            for zone in ZONES:
                device.append(zone, content(zone, 1))
                device.close_zone(zone)
            device.flush()

        def work(device: zoned.Device) -> None:
            for zone in ZONES:
                device.append(zone, content(zone, 1 + zone)[BLOCK:])
                device.close_zone(zone)
            device.append(12, content(12, 3))
            device.append(13, content(13, 2))

        left_behind(path, work)
        self.image = Image.read(path)
        self.whole = bytes(self.image.data)
        self.blocks = {zone: 1 + zone for zone in ZONES} | {12: 3, 13: 2}
        first, last = self.image.header("runtime_offset"), self.image.header("data_offset")
        words = struct.pack("<QQI", 4 | 4 * 8 << 16, BLOCK, self.image.entry(3, 0)[3])
        after = struct.pack("<QQI", 4 | 5 * 8 << 16, BLOCK, self.image.entry(4, 0)[3])
        (self.records,) = (
            at - 3 * RECORD
            for at in range(first, last - 2 * RECORD, 64)
            if self.whole[at : at + 20] == words and self.whole[at + RECORD :][:20] == after
        )

    def repaired_whole(self) -> None:
        """A repair takes nothing away, and leaves nothing to mend."""
        assert not [f for f in zoned.check(self.path, repair=True) if f.loses]
        with zoned.open(self.path) as device:
            assert self.differences(device) == []
        assert zoned.check(self.path) == []

    def restore(self) -> None:
        """In place: the shared state belongs to this file."""
        with self.path.open("r+b") as file:
            file.truncate(0)
            file.write(self.whole)

    def read(self, zone: int, field: int, code: str = "Q") -> int:
        at = self.records + zone * RECORD + field
        value: int = struct.unpack_from("<" + code, self.path.read_bytes(), at)[0]
        return value

    def poke(self, zone: int, field: int, value: int, code: str = "Q") -> None:
        with self.path.open("r+b") as file:
            file.seek(self.records + zone * RECORD + field)
            file.write(struct.pack("<" + code, value))

    def differences(self, device: zoned.Device, but: int | tuple[int, ...] = ()) -> list[str]:
        """What is not as the dead left it, zone by zone."""
        forgiven = (but,) if isinstance(but, int) else but
        found = []
        for zone, blocks in self.blocks.items():
            if zone in forgiven:
                continue
            here = device.zones[zone]
            if here.wp != here.start + blocks * BLOCK:
                found.append(f"zone {zone}: {here}")
            elif device.pread(blocks * BLOCK, here.start) != content(zone, blocks):
                found.append(f"zone {zone}: content")
        return found

    def refused(self, match: str) -> None:
        """For writing, and twice, as the first try may not have changed anything; a reader sees the rest."""
        for _ in range(2):
            with pytest.raises(zoned.ImageError, match=match):
                zoned.open(self.path)
        with zoned.open(self.path, readonly=True) as device:
            zones = [int(word) for word in match.replace("\\b", "").split() if word.isdigit()]
            assert self.differences(device, tuple(zones)) == []

    def repaired(self) -> list[Finding]:
        """What check told beforehand, twice alike, and what the repair then did: the same."""
        before = [f for f in zoned.check(self.path) if f.error]
        assert before == [f for f in zoned.check(self.path) if f.error]
        done = [f for f in zoned.check(self.path, repair=True) if f.error]
        assert all(f.mendable and not f.mended for f in before)
        assert all(f.mended for f in done)
        told = [(f.kind, f.zone, f.lost, f.becomes) for f in before]
        assert [(f.kind, f.zone, f.lost, f.becomes) for f in done] == told
        assert [f for f in zoned.check(self.path) if f.error] == []
        return done


@pytest.fixture
def left(shm: Path) -> Left:
    return Left(shm / "disk.img")


def test_sound_words_are_taken(left: Left) -> None:
    with zoned.open(left.path) as device:
        assert left.differences(device) == []
    assert zoned.check(left.path) == []


@pytest.mark.parametrize(
    ("wrong", "word", "lost"),
    [
        ("has bits set that are never stored", 1 | 4 * 8 << 16, 3 * BLOCK),
        ("has a random write area that its disk", 4 | 4 * 8 << 16 | 1 << 9, 3 * BLOCK),
        ("has a condition that its type cannot have", 7 | 4 * 8 << 16, 3 * BLOCK),
        ("is written beyond its capacity", 4 | 100_000 << 16, None),
        ("is written to no multiple of the block", 4 | (4 * 8 - 3) << 16, 3 * BLOCK - 1536),
        ("is EMPTY but written", 0 | 4 * 8 << 16, 3 * BLOCK),
        ("is FULL but neither written", 14 | 4 * 8 << 16, 3 * BLOCK),
    ],
)
def test_one_unsound_word_costs_its_zone_alone(
    left: Left, wrong: str, word: int, lost: int | None
) -> None:
    left.poke(3, WORD, word)
    left.refused(r"zone 3 \b")
    (finding,) = left.repaired()
    assert (finding.kind, finding.zone, finding.lost) == (FindingKind.ENTRY_VALUE, 3, lost)
    assert wrong in finding.text and finding.becomes is ZoneCondition.CLOSED
    much = "how much of it is lost cannot be told" if lost is None else f"{lost:,} bytes lost"
    assert f"zone 3: closed, {'and ' if lost is None else ''}{much}" in finding.text
    with zoned.open(left.path) as device:
        assert left.differences(device, but=3) == []
        zone = device.zones[3]
        assert (zone.condition, zone.wp) == (ZoneCondition.CLOSED, zone.start + BLOCK)
        assert device.pread(BLOCK, zone.start) == content(3, 1)
        device.append(3, b"goes on" + bytes(BLOCK - 7))


def test_a_zone_that_was_never_synced_goes_back_to_the_beginning(left: Left) -> None:
    left.poke(12, WORD, 9 | 3 * 8 << 16)
    left.refused(r"zone 12 \b")
    (finding,) = left.repaired()
    assert (finding.zone, finding.lost) == (12, 3 * BLOCK)
    assert "zone 12: empty, 12,288 bytes lost" in finding.text
    with zoned.open(left.path) as device:
        assert left.differences(device, but=12) == []
        assert device.zones[12].condition is ZoneCondition.EMPTY


def test_its_entry_cannot_be_either(left: Left) -> None:
    left.poke(3, WORD, 7 | 4 * 8 << 16)
    image = Image.read(left.path)
    with left.path.open("r+b") as file:
        for copy in (0, 1):
            file.seek(image.entry_at(3, copy) + 9)
            file.write(b"\xff")
    done = [f for f in zoned.check(left.path, repair=True) if f.error]
    assert [(f.zone, f.becomes, f.lost) for f in done if f.loses] == [
        (3, ZoneCondition.OFFLINE, 4 * BLOCK)
    ]
    with zoned.open(left.path) as device:
        assert left.differences(device, but=3) == []
        assert device.zones[3].condition is ZoneCondition.OFFLINE
    assert zoned.check(left.path) == []


def test_damaged_entries_of_sound_words_cost_nothing(left: Left) -> None:
    image = Image.read(left.path)
    with left.path.open("r+b") as file:
        for copy in (0, 1):
            file.seek(image.entry_at(3, copy) + 9)
            file.write(b"\xff")
    found = [f for f in zoned.check(left.path) if f.error]
    assert [(f.kind, f.zone, f.loses) for f in found] == [(FindingKind.ENTRY_LOST, 3, False)]
    left.repaired_whole()


@pytest.mark.parametrize("slot", [0, 0xFFFFFFF0, 60])
def test_a_slot_that_cannot_be(left: Left, slot: int) -> None:
    """None though written; beyond any table; beyond the file's end (then all of it was cut off)."""
    left.poke(3, SLOT, slot, "I")
    left.refused(r"zone 3\b")
    (finding,) = left.repaired()
    assert finding.zone == 3 and finding.loses
    with zoned.open(left.path) as device:
        assert left.differences(device, but=3) == []
        zone = device.zones[3]
        if zone.condition is not ZoneCondition.OFFLINE:
            assert device.pread(BLOCK, zone.start) == content(3, 1)


def test_a_slot_that_is_another_zones(left: Left) -> None:
    """The entries tell whose it is: that zone keeps all, the other goes back to its own."""
    left.poke(3, SLOT, left.read(4, SLOT, "I"), "I")
    left.refused(r"zones 3 and 4 \b")
    (finding,) = left.repaired()
    assert (finding.kind, finding.zone) == (FindingKind.SLOT_SHARED, 3)
    assert (finding.lost, finding.becomes) == (3 * BLOCK, ZoneCondition.CLOSED)
    with zoned.open(left.path) as device:
        assert left.differences(device, but=3) == []
        assert device.pread(BLOCK, device.zones[3].start) == content(3, 1)


def test_a_slot_that_no_entry_gives_to_either(left: Left) -> None:
    left.poke(12, SLOT, left.read(13, SLOT, "I"), "I")
    left.refused(r"zones 12 and 13 \b")
    found = left.repaired()
    assert [(f.zone, f.lost) for f in found] == [(12, 3 * BLOCK), (13, 2 * BLOCK)]
    with zoned.open(left.path) as device:
        assert left.differences(device, but=(12, 13)) == []
        assert {device.zones[z].condition for z in (12, 13)} == {ZoneCondition.EMPTY}


def test_durable_beyond_written_is_what_a_kill_leaves(left: Left) -> None:
    """Where a word was made less and its durable bytes not yet: no error, and nothing to lose."""
    left.poke(3, DURABLE, 9 * BLOCK)
    left.poke(12, DURABLE, (1 << 64) - 512)
    assert [f for f in zoned.check(left.path) if f.error] == []
    with zoned.open(left.path) as device:
        assert left.differences(device) == []
        assert [f for f in zoned.check(left.path) if f.error] == []
        device.power_cut("durable")
        device.power_on()
        assert device.zones[3].wp == device.zones[3].start + 4 * BLOCK
        assert device.zones[5].wp == device.zones[5].start + BLOCK
    assert zoned.check(left.path) == []


@pytest.mark.parametrize("field", [DISK_SLOT, ENTRY_SEQ, COMMIT_SLOT])
@pytest.mark.parametrize("value", [0, 5, 0x80000000, 0xFFFFFFFF])
def test_what_the_entries_say_need_not_be_believed(left: Left, field: int, value: int) -> None:
    """It is taken from the entries; and what is flushed from then on survives the host's crash."""
    for zone in (3, 4, 12):
        left.poke(zone, field, value, "I")
    assert [f for f in zoned.check(left.path) if f.error] == []
    old = Image.read(left.path)
    with zoned.open(left.path) as device:
        assert left.differences(device) == []
        device.flush()
        crashed = Image.read(left.path)
    for zone in (3, 4, 12):  # of the second copies nothing reached the disk
        at = crashed.entry_at(zone, 1)
        crashed.data[at : at + 32] = old.data[at : at + 32]
    copy = left.path.with_name("crashed.img")
    crashed.write(copy)
    with zoned.open(copy) as device:
        assert left.differences(device) == []


def test_the_file_was_cut_under_it(left: Left) -> None:
    """READ_ONLY with what is left, where anything is; zones that lost nothing are not named."""
    at = left.image.header("data_offset")
    slots = {zone: left.read(zone, SLOT, "I") - 1 for zone in left.blocks}
    first = slots[7]
    os.truncate(left.path, at + first * left.image.header("slot_size") + 3 * BLOCK)
    cut = {zone for zone, slot in slots.items() if slot >= first}
    with pytest.raises(zoned.ImageTruncatedError, match=r"zone \d+"):
        zoned.open(left.path)
    found = left.repaired()
    assert {f.zone for f in found} == cut
    lost = {f.zone: f.lost for f in found}
    assert lost == {z: (left.blocks[z] - (3 if z == 7 else 0)) * BLOCK for z in cut}
    with zoned.open(left.path) as device:
        assert left.differences(device, but=tuple(cut)) == []
        assert device.zones[7].condition is ZoneCondition.READ_ONLY
        assert device.pread(3 * BLOCK, device.zones[7].start) == content(7, 3)
        assert {device.zones[z].condition for z in cut - {7}} == {ZoneCondition.OFFLINE}


def test_more_zones_open_than_the_limit(shm: Path) -> None:
    """No zone of it is wrong by itself: nothing is lost, and repair closes the surplus."""
    left = Left(shm / "disk.img")
    for copy in (0, 1):
        left.image.set_header("max_open", 2, copies=(copy,))
    left.whole = bytes(left.image.data)
    left.restore()
    for zone in (3, 4, 5):
        left.poke(zone, WORD, left.read(zone, WORD) & ~15 | 3)
    found = [f for f in zoned.check(left.path) if f.error]
    assert [(f.kind, f.loses) for f in found] == [(FindingKind.LIMIT, False)]
    assert [f.kind for f in zoned.check(left.path, repair=True) if f.error] == [FindingKind.LIMIT]
    assert zoned.check(left.path) == []
    with zoned.open(left.path) as device:
        assert left.differences(device) == []
        assert device.limits.open <= 2


def test_what_a_failed_sync_gives_up_is_told(left: Left) -> None:
    """The words are worthless then; a reader still sees what they say, so `check` tells what goes."""
    image = Image.read(left.path)
    for copy in (0, 1):
        image.set_status(copy, image.status(copy)[0] + 1, 0, 1)
    left.whole = bytes(image.data)
    left.restore()
    with zoned.open(left.path, readonly=True) as device:
        assert left.differences(device) == []
    found = left.repaired()
    assert {f.kind for f in found} == {FindingKind.FAILED}
    lost = {f.zone: f.lost for f in found if f.loses}
    assert lost == {zone: zone * BLOCK for zone in ZONES} | {12: 3 * BLOCK, 13: 2 * BLOCK}
    with zoned.open(left.path) as device:
        for zone in ZONES:
            assert device.zones[zone].wp == device.zones[zone].start + BLOCK
            assert device.pread(BLOCK, device.zones[zone].start) == content(zone, 1)


def test_both_statuses_damaged_cost_nothing(left: Left) -> None:
    with left.path.open("r+b") as file:
        for at in (8192, 12288):
            file.seek(at + 9)
            file.write(b"\xff")
    with pytest.raises(zoned.ImageCorruptError):
        zoned.open(left.path)
    left.repaired_whole()


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x10])
def test_any_byte_of_a_zones_record(left: Left, mask: int) -> None:
    """Whatever it says: all others keep everything; if it is refused, repair mends it and tells so."""
    refused = 0
    for place in range(RECORD):
        left.restore()
        at = left.records + 3 * RECORD + place
        with left.path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([left.whole[at] ^ mask]))
        try:
            with zoned.open(left.path) as device:
                assert left.differences(device, but=(3, 4)) == [], place
        except zoned.ImageError:
            refused += 1
            found = left.repaired()
            assert {f.zone for f in found} <= {3, 4} and any(f.loses for f in found), place
        with zoned.open(left.path) as device:
            assert left.differences(device, but=(3,)) == [], place
        assert zoned.check(left.path) == []
    assert refused >= 3


def test_all_words_unsound_at_once(left: Left) -> None:
    for zone in left.blocks:
        left.poke(zone, WORD, left.read(zone, WORD) | 1 << 8)
    found = left.repaired()
    assert {f.zone: f.lost for f in found} == {z: z * BLOCK for z in ZONES} | {
        12: 3 * BLOCK,
        13: 2 * BLOCK,
    }
    with zoned.open(left.path) as device:
        for zone in ZONES:
            assert device.pread(BLOCK, device.zones[zone].start) == content(zone, 1)
