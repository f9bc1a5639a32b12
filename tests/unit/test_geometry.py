"""Geometry: every impossible disk is refused with a sentence, every possible one is described
rightly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import zoned
from zoned.archive import describe
from zoned.geometry import Geometry, GeometryError
from zoned.resolving import resolve
from zoned.testing import check_crashes
from zoned.zone import ZoneType
from zoned.zonelist import ZoneSet

MIB = 1 << 20
SMALL: dict[str, object] = {"size": "64MiB", "zone_size": "4MiB"}


def make(
    implied: bool = False, inherited: dict[str, object] | None = None, **given: Any
) -> Geometry:
    return resolve(inherited or SMALL, given, profile="p", implied=implied)


def test_defaults() -> None:
    geometry = make()
    assert geometry.nr_zones == 16
    assert geometry.zone_capacity == 4 * MIB
    assert geometry.conventional == ZoneSet()
    assert (geometry.logical_block, geometry.physical_block) == (4096, 4096)
    assert (geometry.max_open, geometry.max_active) == (0, 0)
    assert geometry.append_limit == 4 * MIB
    assert geometry.dialect is zoned.Dialect.ZBC
    assert geometry.model is zoned.Model.HOST_MANAGED
    assert geometry.implicit_close is zoned.ImplicitClose.OLDEST
    assert geometry.data is zoned.DataMode.STORE
    assert geometry.host_sync is zoned.HostSync.FLUSH
    assert geometry.unrestricted_read is True
    assert geometry.slot_cache == 256 * MIB


def test_zones_of_a_disk_with_a_smaller_last_one() -> None:
    geometry = make(size=10 * MIB, zone_size="4MiB", zone_capacity="3MiB", conventional="0,2")
    assert geometry.nr_zones == 3
    assert [geometry.zone_start(i) for i in range(3)] == [0, 4 * MIB, 8 * MIB]
    assert [geometry.zone_length(i) for i in range(3)] == [4 * MIB, 4 * MIB, 2 * MIB]
    assert [geometry.zone_capacity_of(i) for i in range(3)] == [4 * MIB, 3 * MIB, 2 * MIB]
    assert [geometry.zone_type(i) for i in range(3)] == [
        ZoneType.CONVENTIONAL,
        ZoneType.SEQ_WRITE_REQUIRED,
        ZoneType.CONVENTIONAL,
    ]
    assert [geometry.zone_of(offset) for offset in (0, 4 * MIB - 1, 4 * MIB, 10 * MIB - 1)] == [
        *(0, 0, 1, 2)
    ]
    for wrong in (-1, 10 * MIB):
        with pytest.raises(IndexError, match="is not on the disk"):
            geometry.zone_of(wrong)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match="the disk has zones 0 to 2"):
            geometry.zone_type(wrong)


def test_host_aware_zones_are_write_preferred() -> None:
    geometry = make(model="host-aware", conventional=1)
    assert geometry.zone_type(0) is ZoneType.CONVENTIONAL
    assert geometry.zone_type(1) is ZoneType.SEQ_WRITE_PREFERRED


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"size": 0}, "size is 0: it must be a positive multiple of the physical block, 4096"),
        (
            {"size": 4097},
            "size is 4097: it must be a positive multiple of the physical block, 4096",
        ),
        ({"size": -1}, "size is -1: it must not be negative"),
        ({"size": "4Q"}, "size: '4Q' is not a size"),
        ({"size": 2**61}, "size is 2305843009213693952: at most"),
        ({"zone_size": 0}, "zone_size is 0: it must be a positive multiple"),
        ({"zones": 0}, "zones is 0: it must be a number of zones, 1 or more"),
        ({"zones": -1}, "zones is -1: it must be a number of zones, 1 or more"),
        ({"zones": 2**24 + 1}, "zones is 16777217: at most 16777216 are possible"),
        ({"zones": 4, "size": "16MiB"}, "size and zones exclude each other: give one of them"),
        ({"zones": 4, "zone_size": 6144}, "zone_size is 6144: it must be a positive multiple"),
        ({"zones": 2**24, "zone_size": 2**40}, "size is 18446744073709551616: at most"),
        ({"zone_size": 6144}, "zone_size is 6144: it must be a positive multiple"),
        (
            {"zone_capacity": "8MiB"},
            "zone_capacity is 8388608: it must not be larger than zone_size, 4194304",
        ),
        ({"zone_capacity": 512}, "zone_capacity is 512: it must be a positive multiple"),
        (
            {"size": "1TiB", "zone_size": 4096},
            "makes 268435456 zones: at most 16777216 are possible",
        ),
        ({"logical_block": 1024}, "logical_block is 1024: it must be 512 or 4096"),
        ({"physical_block": 0}, "physical_block is 0: it must be 512 or 4096"),
        (
            {"logical_block": 4096, "physical_block": 512},
            "physical_block is 512 and logical_block is 4096",
        ),
        ({"max_open": -1}, "max_open is -1: it must be 0 (no limit) to 4294967295"),
        ({"max_active": 2**32}, "max_active is 4294967296"),
        ({"max_open": 5, "max_active": 4}, "max_open is 5 and max_active is 4"),
        (
            {"append_limit": 1000},
            "append_limit is 1000: it must be a multiple of the logical block",
        ),
        (
            {"dialect": "zns", "zone_extension": 100},
            "zone_extension is 100: it must be a multiple of 64 bytes, at most 16320",
        ),
        ({"dialect": "zns", "zone_extension": 16384}, "zone_extension is 16384: it must be a"),
        ({"zone_extension": 64}, "zone_extension is 64 and dialect is zbc"),
        (
            {"dialect": "zns", "zone_extension": 64, "data": "none"},
            "zone_extension is 64 and data is none",
        ),
        ({"zrwa_size": 4096}, "zrwa_size is 4096 and dialect is zbc"),
        ({"dialect": "zns", "zrwa_count": 3}, "zrwa_count is 3, and without a zrwa_size"),
        (
            {"dialect": "zns", "zrwa_size": 8192, "zrwa_granularity": 2048},
            "zrwa_granularity is 2048: it must be a multiple of the physical block, 4096",
        ),
        (
            {"dialect": "zns", "zrwa_size": 12288, "zrwa_granularity": 8192},
            "zrwa_size is 12288: it must be 1 to 254 times the zrwa_granularity, 8192",
        ),
        (
            {"dialect": "zns", "zrwa_size": "1MiB"},
            "zrwa_size is 1048576: it must be 1 to 254 times",
        ),
        (
            {"dialect": "zns", "zrwa_size": "8MiB", "zrwa_granularity": "4MiB"},
            "zrwa_size is 8388608: it must be at most zone_capacity, 4194304",
        ),
        (
            {"dialect": "zns", "zrwa_size": 4096, "zrwa_count": 9, "max_active": 8},
            "zrwa_count is 9 and max_active is 8",
        ),
        ({"dialect": "sata"}, "dialect is 'sata': it must be one of zbc, zns, nullblk"),
        ({"model": "drive-managed"}, "model is 'drive-managed': it must be one of host-managed"),
        ({"implicit_close": "random"}, "it must be one of oldest, lowest, round-robin"),
        ({"data": "some"}, "data is 'some': it must be one of store, none"),
        ({"host_sync": "always"}, "it must be one of flush, command, never"),
        ({"dialect": "zns", "model": "host-aware"}, "model is host-aware and dialect is zns"),
        ({"conventional": 17}, "conventional is 0-16: the disk has only the zones 0 to 15"),
        ({"conventional": "3-16"}, "conventional is 3-16: the disk has only the zones 0 to 15"),
        ({"conventional": -1}, "conventional is -1: it must not be negative"),
        ({"conventional": "1,x"}, "conventional: 'x' in '1,x' is not a zone"),
        ({"conventional": [(0, 0)]}, "conventional: a range of 0 zones from zone 0"),
        ({"conventional": [range(0, 8, 2)]}, "conventional: range(0, 8, 2) has a step"),
        ({"seed": -1}, "seed is -1: it must be 0 to 2^64-1"),
        ({"slot_cache": 2**62 + 1}, "slot_cache is 4611686018427387905: it must be at most 2^62"),
    ],
)
def test_impossible_geometries_are_named(keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GeometryError) as caught:
        make(**keywords)
    assert sentence in str(caught.value)
    with pytest.raises(zoned.GeometryError):
        zoned.memory(**({"size": "64MiB", "zone_size": "4MiB", "conventional": 0} | keywords))


def test_too_many_conventional_ranges() -> None:
    every_other = [(2 * i, 1) for i in range(441)]
    with pytest.raises(GeometryError, match="conventional has 441 ranges: an image holds at most"):
        make(size="8MiB", zone_size=4096, conventional=every_other)
    geometry = make(size="8MiB", zone_size=4096, conventional=every_other[:440])
    with zoned.memory(size="8MiB", zone_size=4096, conventional=every_other[:440]) as dev:
        assert dev.geometry.conventional == geometry.conventional


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"size": 1.5}, "size must be a number of bytes"),
        ({"size": True}, "size must be a number of bytes"),
        ({"zones": "4"}, "zones must be a whole number, not str"),
        ({"max_open": "4"}, "max_open must be a whole number, not str"),
        ({"max_open": True}, "max_open must be a whole number, not bool"),
        ({"unrestricted_read": 1}, "unrestricted_read must be true or false, not 1"),
        ({"dialect": 0}, "dialect must be a text, not int"),
        ({"conventional": 1.0}, "conventional must be a number of zones"),
        ({"conventional": True}, "conventional must be a number of zones"),
        ({"conventional": [1, 2]}, "conventional: 1 is neither a (first, count) pair nor a range"),
        ({"zonesize": 4096}, "there is no keyword zonesize (did you mean zone_size?)"),
        ({"colour": 4096}, "there is no keyword colour"),
    ],
)
def test_wrong_kinds(keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**keywords)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("value", "zones"),
    [
        (0, ""),
        (2, "0-1"),
        ("2", "0-1"),
        ("2-2", "2"),
        ("0-1,8", "0-1,8"),
        ([(0, 2), (8, 1)], "0-1,8"),
        ([[0, 2], [8, 1]], "0-1,8"),
        ([range(2), range(8, 9)], "0-1,8"),
        (ZoneSet.parse("0-1,8"), "0-1,8"),
    ],
)
def test_ways_to_name_conventional_zones(value: Any, zones: str) -> None:
    assert str(make(conventional=value).conventional) == zones


TEST = {"size": "64MiB", "zone_size": "4MiB", "conventional": 2, "max_open": 4}


@pytest.mark.parametrize(
    ("keywords", "field", "value"),
    [
        ({"size": "4MiB"}, "nr_conventional", 0),
        ({"size": "8MiB"}, "nr_conventional", 1),
        ({"size": "12MiB"}, "nr_conventional", 2),
        ({"dialect": "zns"}, "nr_conventional", 0),
        ({"dialect": "zns", "conventional": 1}, "nr_conventional", 1),
        ({"max_active": 2}, "max_open", 2),
        ({"max_active": 9}, "max_open", 4),
        ({"physical_block": 512}, "logical_block", 512),
        ({"logical_block": 512}, "physical_block", 4096),
    ],
)
def test_what_is_implied_gives_way(keywords: dict[str, Any], field: str, value: object) -> None:
    geometry = make(implied=True, inherited=TEST, **keywords)
    assert getattr(geometry, field) == value


def test_a_number_of_zones_takes_the_place_of_a_size() -> None:
    """Whoever gives the one takes an inherited other away."""
    assert make(zones=5).size == 20 * MIB
    assert make(zones=5, zone_size="1MiB").size == 5 * MIB
    assert make(zones=5, size=None).nr_zones == 5
    assert make(zones=None).nr_zones == 16
    profile: dict[str, object] = {"zones": 8, "zone_size": "2MiB"}
    assert make(inherited=profile).size == 16 * MIB
    assert make(inherited=profile, zone_size="1MiB").size == 8 * MIB
    assert make(inherited=profile, size="6MiB").nr_zones == 3
    assert make(inherited=profile, zones=2).size == 4 * MIB


def test_zones_wherever_a_disk_is_made(tmp_path: Path) -> None:
    """A disk in RAM and in a file, the check of crashes, a profile, a dump and the command line."""
    with zoned.memory(zones=6) as dev:
        assert (len(dev.zones), dev.geometry.size) == (6, 24 * MIB)
        assert "zones" not in describe(dev)
    with zoned.create(tmp_path / "a.img", profile="zn540", zones=3) as dev:
        assert (len(dev.zones), dev.geometry.zone_size) == (3, 2048 * MIB)
    seen = []
    check_crashes(
        lambda dev, ack: dev.flush(), lambda dev, told: seen.append(len(dev.zones)), zones=7
    )
    assert set(seen) == {7}
    own = tmp_path / "own.toml"
    own.write_text('[geometry]\nzones = 9\nzone_size = "1MiB"\n')
    with zoned.memory(profile=own) as dev:
        assert len(dev.zones) == 9
    with pytest.raises(zoned.GeometryError, match="size and zones exclude each other"):
        zoned.memory(zones=3, size="12MiB")
    own.write_text('[geometry]\nzones = 9\nsize = "9MiB"\nzone_size = "1MiB"\n')
    with pytest.raises(ValueError, match=r"own.toml: size and zones exclude each other"):
        zoned.memory(profile=own)


def test_an_inherited_capacity_gives_way() -> None:
    inherited = TEST | {"zone_capacity": "3MiB"}
    assert make(implied=True, inherited=inherited, zone_size="2MiB").zone_capacity == 2 * MIB
    assert make(implied=True, inherited=inherited, zone_size="8MiB").zone_capacity == 3 * MIB


def test_what_a_named_profile_says_does_not_give_way() -> None:
    with pytest.raises(GeometryError, match=r"conventional is 0-1 \(from profile p\)"):
        make(inherited=TEST, size="4MiB")
    with pytest.raises(GeometryError, match=r"conventional is 0-523 \(from profile hc620\)"):
        zoned.memory(profile="hc620", size="10GiB")


@pytest.mark.parametrize(
    ("keywords", "reasons"),
    [
        ({}, []),
        ({"size": 10 * MIB}, []),
        ({"zone_capacity": "3MiB", "size": 10 * MIB}, []),
        ({"conventional": "0,5-7,15"}, []),
        ({"zone_size": "3MiB"}, ["the zone size, 3145728 bytes, is not a power of two"]),
        ({"unrestricted_read": False}, ["URSWRZ is off"]),
        ({"unrestricted_read": False, "dialect": "zns"}, []),
        ({"model": "host-aware"}, ["treat a host-aware disk as one without zones"]),
        ({"size": 2**43, "zone_size": 2**41}, ["is 2^32 sectors or more"]),
    ],
)
def test_what_linux_would_refuse(keywords: dict[str, Any], reasons: list[str]) -> None:
    found = make(**keywords).linux_acceptable
    assert len(found) == len(reasons)
    assert all(part in reason for part, reason in zip(reasons, found, strict=True))


def test_remarks_and_description() -> None:
    assert make().remarks == ()
    assert "no ZNS drive has conventional zones" in make(dialect="zns", conventional=1).remarks
    assert len(make(max_active=4).remarks) == 1
    text = make(
        size=10 * MIB, zone_capacity="3MiB", conventional=1, logical_block=512, physical_block=4096
    ).describe()
    assert text == (
        "10 MiB, 3 zones of 4 MiB, capacity 3 MiB, last zone 2 MiB, 1 conventional (0), "
        "blocks 512/4096, max open unlimited, zbc host-managed"
    )


def test_a_geometry_is_what_the_disk_says() -> None:
    keywords: dict[str, Any] = {
        "size": 10 * MIB + 4096,
        "zone_size": "1MiB",
        "zone_capacity": "768KiB",
        "conventional": "0,3-4",
        "logical_block": 512,
        "physical_block": 4096,
        "max_open": 3,
        "max_active": 5,
        "append_limit": "64KiB",
        "dialect": "zns",
        "implicit_close": "round-robin",
        "unrestricted_read": False,
        "data": "none",
        "host_sync": "command",
        "seed": 2**64 - 1,
        "slot_cache": "1MiB",
    }
    with zoned.memory(**keywords) as dev:
        assert dev.geometry == resolve({}, keywords, profile="test")
    keywords |= {"data": "store", "zone_extension": 16320}
    with zoned.memory(**keywords) as dev:
        assert dev.geometry == resolve({}, keywords, profile="test")
        assert dev.geometry.zone_extension == 16320
    keywords |= {"zrwa_size": "64KiB", "zrwa_granularity": 4096, "zrwa_count": 2}
    with zoned.memory(**keywords) as dev:
        assert dev.geometry == resolve({}, keywords, profile="test")
        assert dev.geometry.zrwa_size == 65536
