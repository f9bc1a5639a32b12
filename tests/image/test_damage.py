"""Images cut, flipped and copied: the right state, or a clear error; `check` names what is wrong.

All metadata lies twice in an image, so one wrong byte may cost nothing at all: the disk must open as it
was closed. What is cut off must be missed by name. Everything runs in a child process: the death of one
by SIGBUS or SIGSEGV fails the test.
"""

from __future__ import annotations

import os
import random
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned
from image import disks
from image.isolation import in_child
from image.layout import ENTRY_SIZE, HEADERS, STATUS_SIZE, STATUSES, TABLE, Image

Case = tuple[int, int]  # place, what to XOR it with


class Patient:
    """An image that is damaged and made whole again in place, so that its inode stays the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = disks.make(path)
        self.whole = path.read_bytes()
        self.image = Image(bytearray(self.whole))

    def restore(self) -> None:
        with self.path.open("r+b") as file:
            file.truncate(0)
            file.write(self.whole)

    def flip(self, place: int, mask: int) -> None:
        self.restore()
        with self.path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([self.whole[place] ^ mask]))

    def cut(self, length: int) -> None:
        self.restore()
        os.truncate(self.path, length)


@pytest.fixture
def patient(shm: Path) -> Patient:
    return Patient(shm / "disk.img")


def flips(patient: Patient, every: bool) -> Iterator[Case]:
    """All bytes that mean something; of the others (reserved, beyond the last zone) a sample."""
    image, dice = patient.image, random.Random(5)
    used = [range(at, at + 512 + 8 * image.header("nr_conv")) for at in HEADERS]
    used += [range(at + 4092, at + 4096) for at in HEADERS]
    used += [range(at, at + STATUS_SIZE) for at in STATUSES]
    used += [range(at, at + ENTRY_SIZE * disks.ZONES) for at in (TABLE, image.header("table_b"))]
    places = [place for part in used for place in part]
    reserved = sorted(set(range(image.header("runtime_offset"))) - set(places))
    places += reserved if every else dice.sample(reserved, 300)
    masks = (0xFF, 0x01, 0x80) if every else (0xFF,)
    for place in places:
        for mask in masks:
            yield place, mask
        if not every:
            yield place, 1 << dice.randrange(8)


def covered(patient: Patient, place: int) -> bool:
    """Whether a checksum covers this byte, so that `check` must see that it changed."""
    image = patient.image
    parts = [range(at, at + 4096) for at in HEADERS]
    parts += [range(at, at + STATUS_SIZE) for at in STATUSES]
    parts += [range(at, at + ENTRY_SIZE * disks.ZONES) for at in (TABLE, image.header("table_b"))]
    return any(place in part for part in parts)


def test_one_flipped_byte_costs_nothing(patient: Patient, long_run: bool) -> None:
    def work() -> tuple[int, list[str]]:
        wrong, count = [], 0
        for place, mask in flips(patient, long_run):
            count += 1
            patient.flip(place, mask)
            where = f"byte {place} ^ {mask:#x}"
            try:
                named = [f for f in zoned.check(patient.path) if f.error]
                if covered(patient, place) and not named:
                    wrong.append(f"{where}: check finds nothing")
                with zoned.open(patient.path, readonly=True) as device:
                    wrong += [f"{where}: {d}" for d in disks.differences(device, patient.held)]
                with zoned.open(patient.path) as device:
                    wrong += [f"{where}: {d}" for d in disks.differences(device, patient.held)]
            except Exception as error:  # noqa: BLE001 - any is a finding
                wrong.append(f"{where}: {error!r}")
        return count, wrong

    count, wrong = in_child(work, seconds=3600 if long_run else 900)
    assert count > 2000
    assert not wrong, f"{len(wrong)} of {count}: " + "; ".join(wrong[:10])


def test_repair_mends_one_flipped_byte(patient: Patient, long_run: bool) -> None:
    def work() -> tuple[int, list[str]]:
        wrong, count = [], 0
        cases = [case for case in flips(patient, long_run) if covered(patient, case[0])]
        for place, mask in cases if long_run else cases[::7]:
            count += 1
            patient.flip(place, mask)
            where = f"byte {place} ^ {mask:#x}"
            found = [f for f in zoned.check(patient.path, repair=True) if f.error]
            if not found or not all(f.mended for f in found):
                wrong.append(f"{where}: repair did not mend it: {found}")
            if left := [f for f in zoned.check(patient.path) if f.error]:
                wrong.append(f"{where}: repair left {left}")
            with zoned.open(patient.path) as device:
                wrong += [f"{where}: {d}" for d in disks.differences(device, patient.held)]
        return count, wrong

    count, wrong = in_child(work, seconds=3600 if long_run else 900)
    assert count > 300
    assert not wrong, f"{len(wrong)} of {count}: " + "; ".join(wrong[:10])


def test_flipped_byte_in_the_shared_state_of_a_closed_image(
    patient: Patient, long_run: bool
) -> None:
    """It is no part of the format: whatever lies there when an image is opened means nothing."""

    def work() -> list[str]:
        dice, wrong = random.Random(9), []
        first, last = patient.image.header("runtime_offset"), patient.image.header("data_offset")
        used = [at for at in range(first, last) if patient.whole[at]]
        places = used if long_run else dice.sample(used, min(len(used), 400))
        places += [dice.randrange(first, last) for _ in range(5000 if long_run else 300)]
        for place in places:
            patient.flip(place, 1 << dice.randrange(8))
            try:
                with zoned.open(patient.path) as device:
                    wrong += [f"byte {place}: {d}" for d in disks.differences(device, patient.held)]
                    device.reset_all()
                wrong += [f"byte {place}: {f.text}" for f in zoned.check(patient.path) if f.error]
            except Exception as error:  # noqa: BLE001 - any is a finding
                wrong.append(f"byte {place}: {error!r}")
        return wrong

    wrong = in_child(work)
    assert not wrong, f"{len(wrong)}: " + "; ".join(wrong[:10])


@pytest.mark.parametrize(
    "record",
    [
        pytest.param((0, 0, 0, 0, 0, 1 << 35), id="no slots but a range"),
        pytest.param((0, 0, 0, 0, 1 << 35, 1 << 36), id="a range behind the zone"),
        pytest.param((0, 0, 0, 0, 7, 3), id="a range that ends before it begins"),
        pytest.param((0, 0, 0xFFFF, 0, 0, 0), id="flags that do not exist"),
        pytest.param((0, 3, 0, 0, 0, 1), id="no data"),
    ],
)
def test_a_record_of_pre_images_that_cannot_be(
    shm: Path, record: tuple[int, int, int, int, int, int]
) -> None:
    """Of a disk closed in this boot: it is forgotten, and asks for no memory."""
    path = shm / "disk.img"
    zoned.create(path, size="1MiB", zone_size="64KiB", conventional=4).close()
    with zoned.open(path) as device:
        device.pwrite(b"a" * 4096, 65536)
    # the record of zone 1: a slot for the data, one for the map, and one block; that of zone 0 before it
    image, whole = Image.read(path), path.read_bytes()
    (second,) = (
        at
        for at in range(image.header("runtime_offset"), image.header("data_offset"), 32)
        if struct.unpack_from("<4I2Q", whole, at) == (2, 1, 0, 0, 0, 1)
    )
    first = second - 32
    assert whole[first:second] == bytes(32)
    with path.open("r+b") as file:
        file.seek(first)
        file.write(struct.pack("<4I2Q", *record))

    def work() -> list[int]:
        if "ZONED_SANITIZED" not in os.environ:  # a sanitizer's shadow alone is larger
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        with zoned.open(path) as device:
            with device.snapshot() as snapshot:
                found = [block.offset for block in snapshot.unflushed()]
            device.flush()
            device.power_cut()
            device.power_on()
        return found

    assert in_child(work) == [65536]
    assert path.read_bytes()[first:second] == bytes(32)


def test_nonsense_in_the_shared_state_of_an_open_image(patient: Patient) -> None:
    """Another user's process may say anything about zones: a reader and `check` end with an error, or without."""

    def work() -> int:
        image, refused = patient.image, 0
        with zoned.open(patient.path) as writer, zoned.open(patient.path, readonly=True) as reader:
            shared = patient.path.read_bytes()
            (at,) = (
                at  # the state of zone 9, and behind it that of zone 10
                for at in range(image.header("runtime_offset"), image.header("data_offset"), 128)
                if struct.unpack_from("<Q120xQ", shared, at)
                == (image.entry(9, 0)[1], image.entry(10, 0)[1])
            )
            nonsense = {
                "<Q": [5, 7, 0xC, (1 << 63) | 2, (1 << 64) - 1, (1 << 64) - 2],  # word
                "<16xI": [100, 10**6, 1 << 31, (1 << 32) - 1],  # slot + 1
                "<40xI": [
                    100,
                    1 << 24,
                    (1 << 32) - 1,
                    10,
                ],  # the next implicitly open zone + 1: zone 9 itself
            }
            for code, values in nonsense.items():
                for value in values:
                    with patient.path.open("r+b") as file:
                        file.seek(at + struct.calcsize(code) - struct.calcsize(code[-1]))
                        file.write(struct.pack("<" + code[-1], value))
                    for call in (
                        lambda: reader.pread(disks.CAPACITY, 9 * disks.ZONE_SIZE),
                        lambda: zoned.check(patient.path),
                    ):
                        try:
                            call()
                        except (OSError, ValueError):
                            refused += 1
                    with patient.path.open("r+b") as file:
                        file.seek(at)
                        file.write(shared[at : at + 128])
            assert disks.differences(reader, patient.held) == []
            assert [f for f in zoned.check(patient.path) if f.error] == []
            assert writer.limits.implicit_open == 1
        return refused

    assert in_child(work) > 5


@pytest.mark.parametrize("zone", [1, 2, 3, 5, 9])
def test_both_copies_of_an_entry_lost(patient: Patient, zone: int) -> None:
    """The zone's state is unknown: nothing opens until repair took the zone offline; no other suffers."""
    image = Image.read(patient.path)
    for copy in (0, 1):
        image.data[image.entry_at(zone, copy) + 9] ^= 0x55
    image.write(patient.path)
    for readonly in (True, False):
        with pytest.raises(zoned.ImageCorruptError, match=rf"zone {zone}\b") as caught:
            zoned.open(patient.path, readonly=readonly)
        assert str(patient.path) in str(caught.value)
    found = [f for f in zoned.check(patient.path) if f.error]
    assert [(f.zone, f.kind) for f in found] == [(zone, zoned.FindingKind.ENTRY_LOST)]
    assert all(f.mended for f in zoned.check(patient.path, repair=True) if f.error)
    assert [f for f in zoned.check(patient.path) if f.error] == []
    with zoned.open(patient.path) as device:
        assert device.zones[zone].condition is zoned.ZoneCondition.OFFLINE
        device.set_condition(zone, zoned.ZoneCondition.EMPTY)
        assert disks.differences(device, patient.held, forgiven=[zone]) == []
    assert zoned.check(patient.path) == []


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("a condition that does not exist", 7 | 8 << 16),
        ("EMPTY, which is never stored", 1),
        ("a write pointer beyond the capacity", 2 | 100_000 << 16),
        ("a write pointer that is no block", 4 | 3 << 16),
        ("EMPTY with something written", 0 | 8 << 16),
        ("reserved bits", 4 | 8 << 16 | 1 << 9),
    ],
)
def test_entry_that_says_what_cannot_be(patient: Patient, what: str, word: int) -> None:
    """Both copies agree and their checksums are right, but no zone can be so."""
    zone = 3
    image = Image.read(patient.path)
    seq, _, durable, slot = image.entry(zone, 0)
    for copy in (0, 1):
        image.set_entry(zone, copy, seq, word, min(durable, word >> 16 << 9), slot)
    image.write(patient.path)
    found = [f for f in zoned.check(patient.path) if f.error]
    assert [f.zone for f in found] == [zone], what
    assert found[0].kind is zoned.FindingKind.ENTRY_VALUE
    for readonly in (True, False):
        with pytest.raises(zoned.ImageCorruptError, match=rf"zone {zone}\b"):
            zoned.open(patient.path, readonly=readonly)
    zoned.check(patient.path, repair=True)
    assert [f for f in zoned.check(patient.path) if f.error] == []
    with zoned.open(patient.path) as device:
        assert disks.differences(device, patient.held, forgiven=[zone]) == []


def test_two_zones_with_one_slot(patient: Patient) -> None:
    image = Image.read(patient.path)
    stolen = image.entry(4, 0)[3]
    seq, word, durable, _ = image.entry(3, 0)
    for copy in (0, 1):
        image.set_entry(3, copy, seq, word, durable, stolen)
    image.write(patient.path)
    found = [f for f in zoned.check(patient.path) if f.error]
    assert {f.kind for f in found} == {zoned.FindingKind.SLOT_SHARED}
    assert {f.zone for f in found} <= {3, 4}
    with pytest.raises(zoned.ImageCorruptError, match=r"zones 3 and 4\b"):
        zoned.open(patient.path)
    zoned.check(patient.path, repair=True)
    assert [f for f in zoned.check(patient.path) if f.error] == []
    with zoned.open(patient.path) as device:
        assert disks.differences(device, patient.held, forgiven=[3, 4]) == []
        for index in (3, 4):
            zone = device.zones[index]
            if zone.condition is not zoned.ZoneCondition.OFFLINE:
                got = device.pread(len(patient.held[index].data), zone.start)
                assert got == patient.held[index].data, "one zone's data shows in another"


def test_slot_beyond_any_file(patient: Patient) -> None:
    image = Image.read(patient.path)
    seq, word, durable, _ = image.entry(3, 0)
    for copy in (0, 1):
        image.set_entry(3, copy, seq, word, durable, 0xFFFFFFF0)
    image.write(patient.path)

    def work() -> None:
        assert [f.zone for f in zoned.check(patient.path) if f.error] == [3]
        for readonly in (True, False):
            with pytest.raises(zoned.ImageError, match=r"zone 3\b"):
                zoned.open(patient.path, readonly=readonly)
        zoned.check(patient.path, repair=True)
        with zoned.open(patient.path) as device:
            assert disks.differences(device, patient.held, forgiven=[3]) == []

    in_child(work)


def test_more_zones_open_than_the_limit(patient: Patient) -> None:
    """Five zones that say EXPLICIT_OPEN where four may be: named, and mended or refused."""
    image = Image.read(patient.path)
    for zone in (2, 3, 8):
        seq, word, durable, slot = image.entry(zone, 0)
        for copy in (0, 1):
            image.set_entry(zone, copy, seq, word & ~0xF | 3, durable, slot)
    image.write(patient.path)
    assert zoned.FindingKind.LIMIT in {f.kind for f in zoned.check(patient.path) if f.error}
    zoned.check(patient.path, repair=True)
    assert [f for f in zoned.check(patient.path) if f.error] == []
    with zoned.open(patient.path) as device:
        assert device.limits.open <= device.limits.max_open
        for index in (3, 4, 5, 9, 10):
            data = patient.held[index].data
            assert device.pread(len(data), device.zones[index].start) == data


def test_both_headers_damaged(patient: Patient) -> None:
    image = Image.read(patient.path)
    for at in HEADERS:
        image.data[at + 60] ^= 1
    image.write(patient.path)
    before = patient.path.read_bytes()
    for call in (
        lambda: zoned.open(patient.path),
        lambda: zoned.open(patient.path, readonly=True),
        lambda: zoned.check(patient.path),
        lambda: zoned.check(patient.path, repair=True),
    ):
        with pytest.raises(zoned.ImageCorruptError) as caught:
            call()
        assert str(patient.path) in str(caught.value) and "header" in str(caught.value)
    assert patient.path.read_bytes() == before


def cuts(patient: Patient, every: bool) -> list[int]:
    image, dice = patient.image, random.Random(6)
    size, slot = len(patient.whole), image.header("slot_size")
    edges = {0, 512, 4096, 8192, 8256, 12288, TABLE, size}
    edges |= {image.header(f) for f in ("table_b", "runtime_offset", "data_offset")}
    edges |= {image.entry_at(zone, copy) for zone in (0, 3, disks.ZONES) for copy in (0, 1)}
    edges |= set(range(image.header("data_offset"), size, slot))
    lengths = {edge + by for edge in edges for by in (-4096, -1, 0, 1, 512)}
    lengths |= set(range(0, size, 512)) if every else {dice.randrange(size) for _ in range(150)}
    return sorted(length for length in lengths if 0 <= length < size)


def test_cut_at_any_length(patient: Patient, long_run: bool) -> None:
    """Either everything is there nevertheless, or the cut is what the error speaks of."""

    def work() -> tuple[int, int, list[str]]:
        wrong, refused = [], 0
        lengths = cuts(patient, long_run)
        for length in lengths:
            for readonly in (True, False):
                patient.cut(length)
                try:
                    with zoned.open(patient.path, readonly=readonly) as device:
                        found = disks.differences(device, patient.held)
                        wrong += [f"cut at {length}: {d}" for d in found]
                except zoned.ImageError as error:
                    refused += 1
                    kinds = (zoned.ImageTruncatedError, zoned.NotAnImageError)
                    if length >= 4096 and not isinstance(
                        error, kinds
                    ):  # no whole header is left below
                        wrong.append(f"cut at {length}: {error!r}")
                    if str(patient.path) not in str(error):
                        wrong.append(f"cut at {length}: {error} does not name the file")
                except Exception as error:  # noqa: BLE001 - any is a finding
                    wrong.append(f"cut at {length}: {error!r}")
            patient.cut(length)
            for repair in (False, True):
                try:
                    zoned.check(patient.path, repair=repair)
                except zoned.ImageError:
                    pass
                except Exception as error:  # noqa: BLE001 - any is a finding
                    wrong.append(f"check of a cut at {length}: {error!r}")
        return len(lengths), refused, wrong

    count, refused, wrong = in_child(work)
    assert count > 150 and refused > count
    assert not wrong, f"{len(wrong)}: " + "; ".join(wrong[:10])


def test_repair_of_a_cut(patient: Patient) -> None:
    """What lay beyond the cut is missed by name; the zone keeps what is left, and takes no more."""
    slot, data = patient.image.header("slot_size"), patient.image.header("data_offset")
    slots = {
        patient.image.entry(z, 0)[3] - 1: z for z in patient.held if patient.image.entry(z, 0)[3]
    }
    for number, zone in sorted(slots.items()):
        held = patient.held[zone].data
        if not held or zone == 1:
            continue
        for left in (0, 4096, len(held) - 1):
            patient.cut(data + number * slot + left)
            cut = {z for n, z in slots.items() if n >= number}
            lost = cut - {zone} if left >= len(held) else cut
            found = [f for f in zoned.check(patient.path) if f.error]
            assert {f.kind for f in found} == {zoned.FindingKind.SHORT}, found
            assert cut >= {f.zone for f in found} >= {zone}, (zone, left, found)
            zoned.check(patient.path, repair=True)
            assert [f for f in zoned.check(patient.path) if f.error] == []

            def work(gone: set[int] = lost, at: int = zone, have: int = left) -> list[str]:
                with zoned.open(patient.path) as device:
                    got = device.pread(have // 4096 * 4096, device.zones[at].start)
                    assert got == patient.held[at].data[: len(got)]
                    assert at not in gone or not device.zones[at].condition.is_active
                    return disks.differences(device, patient.held, forgiven=gone)

            assert in_child(work) == [], (zone, left)


def test_copy_of_an_image_in_use(shm: Path) -> None:
    """A copy has no owner of its locks: it opens at once, and holds at least what was flushed."""
    path, copy = shm / "disk.img", shm / "copy.img"
    disks.create(path).close()
    with zoned.open(path) as device:
        held = disks.use(device)
        device.flush()
        device.pwrite(disks.fill(3, 1), device.zones[3].wp)
        copy.write_bytes(path.read_bytes())

        def work() -> None:
            notes = zoned.check(copy)
            assert [f.kind for f in notes] == [zoned.FindingKind.UNCLEAN]
            assert not notes[0].error
            for readonly in (True, False):
                with zoned.open(copy, readonly=readonly) as twin:
                    # zone 3 was written to after the flush: its pointer may or may not have moved
                    assert disks.differences(twin, held, forgiven=[3]) == []
                    zone = twin.zones[3]
                    assert zone.wp in (zone.start + 12288, zone.start + 16384)
                    assert twin.pread(12288, zone.start) == disks.fill(3, 3)
                    if not readonly:
                        twin.reset_all()
            assert zoned.check(copy) == []

        in_child(work)


def test_copies_taken_while_writers_run(shm: Path, long_run: bool) -> None:
    """Copied page by page under way: an image, whatever it holds; never a crash, a hang or a held lock."""
    from crash.judge import Ledger, Process, bounded
    from crash.test_kill import CONVENTIONAL, ZONES_EACH, make_image

    path, copy = shm / "disk.img", shm / "copy.img"
    make_image(path, "flush", "host-managed")
    ledger = Ledger()
    writer = Process(path, 0, CONVENTIONAL, ZONES_EACH, seed=1)
    try:
        writer.wait_for("ready", ledger)
        for _ in range(200 if long_run else 25):
            writer.hear(ledger, 0.01)
            copy.unlink(missing_ok=True)
            copy.write_bytes(path.read_bytes())

            def work() -> None:
                with bounded("an image that was copied while in use"):
                    assert [f.text for f in zoned.check(copy) if f.error and not f.mendable] == []
                    with zoned.open(copy) as device:
                        for zone in device.zones:
                            device.pread(zone.capacity, zone.start)
                        device.reset_all()
                    assert zoned.check(copy) == []

            in_child(work)
    finally:
        writer.kill(ledger)
