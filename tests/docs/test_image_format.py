"""docs/image-format.md against the C structures and against a real image, read by nothing but the
page's tables.
"""

from __future__ import annotations

import re
import struct
import uuid
from pathlib import Path

import pytest

import zoned

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "image-format.md").read_text(encoding="utf-8")
FORMAT_H = (ROOT / "native" / "device" / "area" / "format.h").read_text(encoding="utf-8")
C_SIZES = {"char": 1, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}
UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
STRUCTS = {"Header": "zd_header", "Status": "zd_status", "Zone entry": "zd_entry"}

PAYLOAD = bytes(range(256)) * 32
ZONE_SIZE = 4 << 20

Field = tuple[int, int]  # offset, size


def documented(title: str) -> dict[str, Field]:
    """The fields of the structure in one section of the page."""
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
    return {name: (int(offset), int(size)) for offset, size, name in rows}


def declared(name: str) -> dict[str, Field]:
    """The fields of a structure in format.h, laid out as the compiler does it for packed-by-hand
    structures.
    """
    text = re.sub(r"/\*.*?\*/", "", FORMAT_H, flags=re.DOTALL)
    body = re.search(rf"struct {name} \{{(.*?)^\}};", text, re.DOTALL | re.MULTILINE)
    assert body is not None
    # the one nested structure: conv
    flat = re.sub(
        r"struct \{\s*uint32_t first, count;\s*\} conv\[(\d+)\];",
        lambda match: f"char conv[{int(match[1]) * 8}];",
        body[1],
    )
    fields: dict[str, Field] = {}
    offset = 0
    for kind, field, count in re.findall(r"(\w+) (\w+)(?:\[(\d+)\])?;", flat):
        size = C_SIZES[kind]
        assert offset % size == 0, f"{field} is not aligned: the compiler would pad"
        size *= int(count or 1)
        fields[field] = (offset, size)
        offset += size
    return fields


def read(data: bytes, fields: dict[str, Field]) -> dict[str, int | bytes]:
    """The fields of a structure at the start of `data`."""
    values: dict[str, int | bytes] = {}
    for name, (offset, size) in fields.items():
        raw = data[offset : offset + size]
        values[name] = struct.unpack(UNSIGNED[size], raw)[0] if size in UNSIGNED else raw
    return values


def crc32c(data: bytes) -> int:
    """CRC-32C by its definition, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("title", STRUCTS)
def test_page_and_header_file_agree(title: str) -> None:
    """Every field of the C structure stands on the page at its offset, and none besides."""
    assert documented(title) == declared(STRUCTS[title])


@pytest.mark.parametrize("title", STRUCTS)
def test_tables_have_no_gaps(title: str) -> None:
    """The fields of a table follow each other without a hole."""
    end = 0
    for offset, size in documented(title).values():
        assert offset == end
        end += size
    assert end == {"Header": 4096, "Status": 64, "Zone entry": 32}[title]


def test_constants_of_the_page() -> None:
    """The places and numbers in the prose are those of format.h."""
    for name, value in (
        ("ZD_HEADER_A", 0),
        ("ZD_HEADER_B", 4096),
        ("ZD_STATUS_A", 8192),
        ("ZD_STATUS_B", 12288),
        ("ZD_TABLE", 16384),
        ("ZD_ALIGN", 65536),
    ):
        assert re.search(rf"#define {name} {value}u\b", FORMAT_H), name
        assert re.search(rf"\b{value}\b", PAGE), name
    assert "#define ZD_FEATURE_EXTENSION 1ull" in FORMAT_H
    assert "#define ZD_FEATURE_ZRWA 2ull" in FORMAT_H
    assert "#define ZD_FEATURES_KNOWN (ZD_FEATURE_EXTENSION | ZD_FEATURE_ZRWA)" in FORMAT_H
    assert crc32c(b"123456789") == 0xE3069283


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[zoned.Zone], uuid.UUID]:
    """The bytes of a closed image with zones in many conditions, its report, and its uuid."""
    path = tmp_path_factory.mktemp("image") / "disk.img"
    with zoned.create(
        path,
        size="66MiB",
        zone_size="4MiB",
        zone_capacity="3MiB",
        conventional=[(0, 2), (5, 1)],
        logical_block=512,
        physical_block=4096,
        max_open=4,
        max_active=6,
        implicit_close="lowest",
        seed=77,
    ) as dev:
        dev.pwrite(PAYLOAD, 3 * ZONE_SIZE)
        dev.open_zone(4)
        dev.pwrite(PAYLOAD, 1 * ZONE_SIZE + 4096)
        dev.finish_zone(7)
        dev.set_condition(9, zoned.ZoneCondition.OFFLINE)
        dev.flush()
        dev.append(3, PAYLOAD[:4096])
        zones = list(dev.report())
        name = dev.info().uuid
    return path.read_bytes(), zones, name


Made = tuple[bytes, list[zoned.Zone], uuid.UUID]


def number(structure: dict[str, int | bytes], name: str) -> int:
    """A field that is a number."""
    value = structure[name]
    assert isinstance(value, int)
    return value


def newest_entry(
    image: bytes, header: dict[str, int | bytes], index: int
) -> dict[str, int | bytes]:
    """The valid entry of a zone with the higher seq."""
    entries = []
    for table in (16384, number(header, "table_b")):
        raw = image[table + 32 * index : table + 32 * index + 32]
        entry = read(raw, documented("Zone entry"))
        assert not any(raw) or entry["crc"] == crc32c(raw[4:] + struct.pack("<I", index))
        entries.append(entry)
    return max(entries, key=lambda entry: number(entry, "seq"))


def test_header_of_a_real_image(made: Made) -> None:
    """The header's fields are what the image was made with."""
    image, zones, name = made
    header = read(image, documented("Header"))
    assert header["magic"] == int.from_bytes(b"ZDIMAGE\n", "little")
    assert header["crc"] == crc32c(image[:4092])
    assert image[:4096] == image[4096:8192]
    assert (header["version"], header["features"], header["nr_zones"]) == (1, 0, 17)
    assert len(zones) == 17
    assert (header["size"], header["zone_size"]) == (66 << 20, ZONE_SIZE)
    assert header["zone_capacity"] == 3 << 20
    assert (header["logical_block"], header["physical_block"]) == (512, 4096)
    assert (header["max_open"], header["max_active"]) == (4, 6)
    assert (header["dialect"], header["model"], header["implicit_close"]) == (0, 0, 1)
    assert (header["data"], header["host_sync"], header["unrestricted_read"]) == (0, 0, 1)
    assert (header["seed"], header["nr_conv"]) == (77, 2)
    assert header["conv"] == struct.pack("<4I", 0, 2, 5, 1) + bytes(3504)
    assert (header["zero1"], header["zone_extension"]) == (0, 0)
    assert (header["zero3"], header["zero4"]) == (bytes(276), bytes(60))
    assert (header["zrwa_size"], header["zrwa_granularity"], header["zrwa_count"]) == (0, 0, 0)
    assert header["uuid"] == name.bytes
    assert number(header, "data_offset") % 65536 == 0
    assert number(header, "runtime_offset") % 65536 == 0
    assert number(header, "slot_size") % 65536 == 0
    assert number(header, "slot_size") >= 3 << 20


def test_status_of_a_real_image(made: Made) -> None:
    """The newer status says that the image was closed."""
    image, _, _ = made
    fields = documented("Status")
    at = max((8192, 12288), key=lambda start: number(read(image[start:], fields), "seq"))
    status = read(image[at:], fields)
    assert status["magic"] == int.from_bytes(b"ZDSTATE\n", "little")
    assert status["crc"] == crc32c(image[at : at + 60])
    assert (status["clean"], status["failed"]) == (1, 0)
    assert not any(image[at + 64 : at + 4096])


def test_entries_of_a_real_image(made: Made) -> None:
    """Condition, write pointer and flags of every zone, read from its entry."""
    image, zones, _ = made
    header = read(image, documented("Header"))
    for zone in zones:
        entry = newest_entry(image, header, zone.index)
        word = number(entry, "word")
        initial = 0 if zone.type is zoned.ZoneType.CONVENTIONAL else 1
        assert (word & 15 or initial) == zone.condition
        if zone.wp is not None:
            assert (word >> 16) * 512 == zone.wp - zone.start
        assert bool(word & 64) == (zone.index == 7)
    conditions = {zone.condition for zone in zones}
    assert conditions >= {
        zoned.ZoneCondition.NOT_WP,
        zoned.ZoneCondition.EMPTY,
        zoned.ZoneCondition.IMPLICIT_OPEN,
        zoned.ZoneCondition.EXPLICIT_OPEN,
        zoned.ZoneCondition.FULL,
        zoned.ZoneCondition.OFFLINE,
    }


def test_data_of_a_real_image(made: Made) -> None:
    """Zone data lies where the entries' slots say, and is durable as the report shows."""
    image, zones, _ = made
    header = read(image, documented("Header"))
    entries = {zone.index: newest_entry(image, header, zone.index) for zone in zones}
    slots = {index: number(entry, "slot") for index, entry in entries.items() if entry["slot"]}
    assert sorted(slots) == [1, 3]
    assert len(set(slots.values())) == 2
    begin = {
        index: number(header, "data_offset") + (slot - 1) * number(header, "slot_size")
        for index, slot in slots.items()
    }
    assert image[begin[1] + 4096 :][: len(PAYLOAD)] == PAYLOAD
    assert image[begin[3] :][: len(PAYLOAD) + 4096] == PAYLOAD + PAYLOAD[:4096]
    assert zones[3].durable_wp == 3 * ZONE_SIZE + len(PAYLOAD)
    assert entries[3]["durable"] == len(PAYLOAD)
