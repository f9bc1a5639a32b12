"""Profiles: the built-in ones are the drives they name; a wrong file says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoned
from zoned.drives import profiles
from zoned.drives.profiles import ProfileError

MIB = 1 << 20
GOOD = 'description = "mine"\n[geometry]\nsize = "16MiB"\nzone_size = 1048576\n'


def test_builtin_names() -> None:
    assert profiles.builtin_names() == ("hc620", "hc680", "test", "zn540")


def test_the_test_profile_is_the_default() -> None:
    with zoned.memory() as dev:
        geometry = dev.geometry
    assert (geometry.size, geometry.zone_size) == (64 * MIB, 4 * MIB)
    assert (geometry.nr_zones, geometry.nr_conventional) == (16, 2)
    assert (geometry.max_open, geometry.max_active) == (4, 0)
    assert (geometry.logical_block, geometry.physical_block) == (4096, 4096)
    assert geometry.profile == "test"


def test_hc620() -> None:
    geometry = profiles.load("hc620").geometry()
    assert geometry.nr_zones == 55_880
    assert geometry.zone_size == 256 * MIB
    assert geometry.last_zone_size == 256 * MIB
    assert geometry.conventional.ranges() == ((0, 524),)
    limits = (geometry.max_open, geometry.logical_block, geometry.physical_block)
    assert (limits, geometry.linux_acceptable) == ((128, 4096, 4096), ())


def test_hc680() -> None:
    geometry = profiles.load("hc680").geometry()
    assert geometry.nr_zones == 104_312
    assert geometry.size // 10**12 == 28
    assert geometry.last_zone_size == geometry.zone_size == 256 * MIB
    assert geometry.nr_conventional == 1043
    limits = (geometry.max_open, geometry.logical_block, geometry.physical_block)
    assert (limits, geometry.linux_acceptable) == ((128, 512, 4096), ())


def test_zn540() -> None:
    geometry = profiles.load("zn540").geometry()
    assert geometry.nr_zones == 904
    assert (geometry.zone_size, geometry.zone_capacity) == (2048 * MIB, 1077 * MIB)
    assert (geometry.max_open, geometry.max_active) == (14, 14)
    assert geometry.dialect == "zns"
    assert geometry.nr_conventional == 0
    assert geometry.linux_acceptable == ()


@pytest.mark.parametrize("name", profiles.builtin_names())
def test_every_builtin_profile_makes_a_disk(name: str) -> None:
    with zoned.memory(profile=name) as dev:
        assert dev.geometry == profiles.load(name).geometry()
        assert dev.info().profile == name
        zone = dev.zones[-1]
        dev.append(zone.index, bytes(4096))
        assert dev.pread(4096, zone.start) == bytes(4096)


def test_own_profile_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    profile = profiles.load(path)
    assert (profile.name, profile.description, profile.source) == ("mine", "mine", str(path))
    for way in (path, str(path)):
        with zoned.memory(profile=way, max_open=2) as dev:
            assert dev.geometry.nr_zones == 16
            assert dev.geometry.max_open == 2
            assert dev.geometry.profile == "mine"


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"there is no profile 'hc62' \(did you mean hc620\?\)"):
        profiles.load("hc62")
    with pytest.raises(ProfileError, match="built in are hc620, hc680, test, zn540"):
        profiles.load("xyzzy")
    with pytest.raises(FileNotFoundError):
        profiles.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("size = 5", "unknown key size"),
        (
            GOOD.replace("zone_size", "zonesize"),
            "unknown key geometry.zonesize (did you mean zone_size?)",
        ),
        (GOOD + 'profile = "x"\n', "unknown key geometry.profile"),
        ("model = 3\n" + GOOD, "model must be a table, not a number"),
        (GOOD.replace("[geometry]", "[geometri]"), "unknown key geometri (did you mean geometry?)"),
        ('description = "x"\n', "it needs a table [geometry]"),
        ("geometry = 3\n", "it needs a table [geometry]"),
        (GOOD.replace('"mine"', "7"), "description must be a text, not a number"),
        (GOOD.replace('size = "16MiB"\n', "", 1), "geometry.size is missing"),
        (GOOD + 'max_open = "4"\n', "geometry.max_open must be a whole number, not a text"),
        (GOOD + "max_open = true\n", "geometry.max_open must be a whole number, not true/false"),
        (GOOD + "unrestricted_read = 1\n", "geometry.unrestricted_read must be true or false"),
        (GOOD + "zone_capacity = 1.5\n", "geometry.zone_capacity must be a size"),
        (GOOD + "conventional = {a = 1}\n", "geometry.conventional must be a number, a text"),
        (GOOD + "dialect = 1\n", "geometry.dialect must be a text, not a number"),
        (GOOD + 'dialect = "scsi"\n', "dialect is 'scsi': it must be one of"),
        (GOOD + "conventional = 17\n", "the disk has only the zones 0 to 15"),
        (GOOD + 'zone_capacity = "2MiB"\n', "must not be larger than zone_size"),
        ("[geometry\n", "not TOML"),
    ],
)
def test_wrong_profiles_say_why(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        profiles.load(path)
    assert str(caught.value).startswith(f"profile {path}: ")
    assert sentence in str(caught.value)


def test_a_profile_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="not UTF-8 text"):
        profiles.load(path)


def test_what_a_caller_does_to_a_profile_stays_with_it() -> None:
    """The built-in ones are read once, and handed out whole each time."""
    mine = profiles.load("hc620")
    size = mine.values["size"]
    assert isinstance(mine.values, dict)
    mine.values["size"] = "1MiB"
    assert profiles.load("hc620").values["size"] == size
