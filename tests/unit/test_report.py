"""Reports: lazy sequences of zones, filtered or not, that agree with each other however they are
read.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import zoned
from zoned import report
from zoned._core.native import ffi, lib
from zoned.zone import Zone, ZoneCondition, ZoneType

MIB = 1 << 20


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    """16 zones: 0-1 conventional, 3 full, 4 implicitly open, 5 explicitly, 6 closed, 7 RO, 8
    offline.
    """
    with zoned.memory() as device:
        device.finish_zone(3)
        device.append(4, bytes(4096))
        device.open_zone(5)
        device.append(6, bytes(4096))
        device.close_zone(6)
        device.set_condition(7, "read-only")
        device.set_condition(8, "offline")
        yield device


def test_numbers_are_those_of_the_kernel() -> None:
    assert {kind.name: kind.value for kind in ZoneType} == {
        "CONVENTIONAL": lib.ZD_CONVENTIONAL,
        "SEQ_WRITE_REQUIRED": lib.ZD_SEQ_WRITE_REQUIRED,
        "SEQ_WRITE_PREFERRED": lib.ZD_SEQ_WRITE_PREFERRED,
    }
    for condition in ZoneCondition:
        assert getattr(lib, f"ZD_{condition.name}") == condition.value
    assert [condition.short for condition in ZoneCondition] == (
        ["nw", "em", "oi", "oe", "cl", "ro", "fu", "of"]
    )
    assert [kind.short for kind in ZoneType] == ["cnv", "swr", "swp"]


def test_the_row_is_the_struct() -> None:
    assert ffi.sizeof("struct zd_zone") == report.ROW.size
    names = ["start", "length", "capacity", "wp", "durable_wp", "index", "type", "cond", "non_seq"]
    offsets = [ffi.offsetof("struct zd_zone", name) for name in [*names, "reset_recommended"]]
    assert offsets == [0, 8, 16, 24, 32, 40, 44, 45, 46, 47]


@pytest.mark.parametrize("text", ["read-only", "READ_ONLY", "Read_Only", "ro", "0xd", "13", " ro "])
def test_conditions_by_text(text: str) -> None:
    assert ZoneCondition.parse(text) is ZoneCondition.READ_ONLY


def test_types_by_text() -> None:
    assert ZoneType.parse("swp") is ZoneType.SEQ_WRITE_PREFERRED
    assert ZoneType.parse("conventional") is ZoneType.CONVENTIONAL
    assert ZoneType.parse(2) is ZoneType.SEQ_WRITE_REQUIRED
    with pytest.raises(ValueError, match="'x' is not a zone type: use one of conventional"):
        ZoneType.parse("x")


def test_a_zone_is_immutable_and_slotted(dev: zoned.Device) -> None:
    zone = dev.zones[4]
    assert zone == Zone(
        index=4,
        start=16 * MIB,
        length=4 * MIB,
        capacity=4 * MIB,
        wp=16 * MIB + 4096,
        durable_wp=16 * MIB,
        type=ZoneType.SEQ_WRITE_REQUIRED,
        condition=ZoneCondition.IMPLICIT_OPEN,
        non_seq=False,
        reset_recommended=False,
    )
    assert zone.end == 20 * MIB
    with pytest.raises(AttributeError):
        zone.wp = 3  # type: ignore[misc]
    assert not hasattr(zone, "__dict__")


def test_write_pointers_are_none_where_invalid(dev: zoned.Device) -> None:
    wps = [zone.wp is None for zone in dev.zones]
    assert wps == [True, True, False, True, False, False, False, True, True] + [False] * 7
    durable = [zone.durable_wp is None for zone in dev.zones]
    assert durable == [True, True] + [False] * 14
    assert dev.zones[3].durable_wp == 16 * MIB
    assert dev.zones[3].written == 4 * MIB


def test_it_is_a_sequence(dev: zoned.Device) -> None:
    zones = dev.zones
    assert len(zones) == 16
    everything = list(zones)
    assert [zone.index for zone in everything] == list(range(16))
    assert zones[0] == everything[0]
    assert zones[-1] == everything[-1]
    assert zones[-16] == everything[0]
    for slc in (
        slice(2, 5),
        slice(None),
        slice(-3, None),
        slice(10, 2, -3),
        slice(5, 2),
        slice(0, 99, 7),
    ):
        assert zones[slc] == everything[slc]
    for wrong in (16, -17):
        with pytest.raises(
            IndexError, match=f"zone index {wrong} is out of range: the report holds 16"
        ):
            zones[wrong]
    assert everything[5] in zones
    assert zones.index(everything[5]) == 5
    assert list(reversed(zones)) == everything[::-1]


def test_start_and_count(dev: zoned.Device) -> None:
    assert [zone.index for zone in dev.report(start=14)] == [14, 15]
    assert [zone.index for zone in dev.report(2, 3)] == [2, 3, 4]
    assert [zone.index for zone in dev.report(14, 100)] == [14, 15]
    assert list(dev.report(16)) == []
    assert list(dev.report(3, 0)) == []
    part = dev.report(2, 3)
    assert (len(part), part[0].index, part[-1].index) == (3, 2, 4)
    with pytest.raises(IndexError):
        part[3]


@pytest.mark.parametrize(
    ("condition", "zones"),
    [
        (ZoneCondition.FULL, [3]),
        ("full", [3]),
        ("fu", [3]),
        (0xE, [3]),
        ("oi,oe", [4, 5]),
        (["oi", ZoneCondition.EXPLICIT_OPEN, 4], [4, 5, 6]),
        ("nw", [0, 1]),
        ("read-only, of", [7, 8]),
        ([], []),
    ],
)
def test_filters(dev: zoned.Device, condition: object, zones: list[int]) -> None:
    found = dev.report(condition=condition)  # type: ignore[arg-type]
    assert [zone.index for zone in found] == zones
    assert len(found) == len(zones)
    assert [zone.index for zone in found[:]] == zones
    if zones:
        assert found[-1].index == zones[-1]
    with pytest.raises(IndexError):
        found[len(zones)]


def test_filter_with_start_and_count(dev: zoned.Device) -> None:
    assert [zone.index for zone in dev.report(2, 12, "em")] == [2, 9, 10, 11, 12, 13]
    with pytest.raises(ValueError, match="'emty' is not a zone condition"):
        dev.report(condition="emty")


def test_a_report_is_a_live_view(dev: zoned.Device) -> None:
    zones, empty = dev.zones, dev.report(condition="empty")
    before = len(empty)
    dev.append(9, bytes(4096))
    assert zones[9].written == 4096
    assert len(empty) == before - 1


def test_rows_say_the_same(dev: zoned.Device) -> None:
    assert [report.to_zone(row) for row in dev.zones.rows()] == list(dev.zones)
    assert next(iter(dev.zones.rows()))[3] == report.NO_WP


def test_a_large_disk_streams() -> None:
    with zoned.memory(profile="hc680") as dev:
        dev.finish_zone(104_311)
        zones = iter(dev.zones)
        assert next(zones).index == 0
        assert sum(1 for _ in zones) == 104_311
        assert [zone.index for zone in dev.report(condition="full")] == [104_311]
        assert len(dev.report(condition="nw")) == 1043


def test_repr(dev: zoned.Device) -> None:
    assert repr(dev.zones) == "<Report of zones 0 to 15>"
    assert repr(dev.report(2, 3, "em,fu")) == "<Report of zones 2 to 4 in condition EMPTY, FULL>"
    assert repr(dev.report(16)) == "<Report of no zones>"
