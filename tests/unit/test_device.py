"""The Device: what a user does with a disk in RAM and in a file, in plain order."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import zoned
from zoned.zone import ZoneCondition, ZoneType

MIB = 1 << 20


def block(text: str) -> bytes:
    return text.encode().ljust(4096, b".")


def test_write_read_reset_in_memory() -> None:
    with zoned.memory() as dev:
        zone = dev.zones[5]
        assert dev.pwrite(block("one"), zone.start) == 4096
        assert dev.append(5, block("two")) == zone.start + 4096
        assert dev.pwritev([b"three".ljust(2048), bytearray(2048)], zone.start + 8192) == 4096
        assert dev.pread(8192, zone.start) == block("one") + block("two")
        assert dev.pread(4096, zone.start + 8192) == b"three".ljust(2048) + bytes(2048)
        assert dev.zones[5].wp == zone.start + 12288
        assert dev.zones[5].written == 12288
        assert dev.zones[5].durable_wp == zone.start
        dev.flush()
        assert dev.zones[5].durable_wp == zone.start + 12288
        dev.reset_zone(5)
        assert dev.zones[5] == zone
        assert dev.pread(8192, zone.start) == bytes(8192)


def test_a_conventional_zone_takes_any_write() -> None:
    with zoned.memory() as dev:
        dev.pwrite(block("b"), 8192)
        dev.pwrite(block("a"), 4096)
        dev.pwrite(block("c"), 8192)
        assert dev.pread(16384, 0) == bytes(4096) + block("a") + block("c") + bytes(4096)
        zone = dev.zones[0]
        assert (zone.type, zone.condition) == (ZoneType.CONVENTIONAL, ZoneCondition.NOT_WP)
        assert (zone.wp, zone.durable_wp, zone.written) == (None, None, None)


def test_zone_commands_and_ranges() -> None:
    with zoned.memory(max_open=0) as dev:

        def conditions() -> str:
            return " ".join(zone.condition.short for zone in dev.zones[2:8])

        dev.open_zone(2, 3)
        assert conditions() == "oe oe oe em em em"
        dev.close_zone(zone=2, count=2)
        assert conditions() == "em em oe em em em"
        dev.append(3, block("x"))
        dev.append(5, block("x"))
        dev.close_zone(3, 3)
        assert conditions() == "em cl em cl em em"
        dev.open_all()
        assert conditions() == "em oe em oe em em"
        dev.close_all()
        assert conditions() == "em cl em cl em em"
        dev.finish_all()
        assert conditions() == "em fu em fu em em"
        dev.finish_zone(6)
        assert conditions() == "em fu em fu fu em"
        dev.reset_zone(5, 2)
        assert conditions() == "em fu em em em em"
        dev.reset_all()
        assert conditions() == "em em em em em em"


def test_a_range_ends_at_the_first_zone_that_fails() -> None:
    with zoned.memory(max_open=2) as dev:
        with pytest.raises(zoned.TooManyOpenError) as caught:
            dev.open_zone(4, 4)
        assert caught.value.zone == 6
        assert [zone.condition.short for zone in dev.zones[4:8]] == ["oe", "oe", "em", "em"]


def test_limits_count_what_is_open() -> None:
    with zoned.memory(dialect="zns", max_open=3, max_active=4) as dev:
        dev.open_zone(1)
        for zone in (2, 3, 4):
            dev.append(zone, block("x"))
        limits = dev.limits
        assert (limits.max_open, limits.max_active) == (3, 4)
        assert (limits.explicit_open, limits.implicit_open, limits.closed) == (1, 2, 1)
        assert (limits.open, limits.active) == (3, 4)
        assert limits.as_dict() == {
            "max_open": 3,
            "max_active": 4,
            "implicit_open": 2,
            "explicit_open": 1,
            "closed": 1,
            "open": 3,
            "active": 4,
        }
        assert dev.zones[2].condition is ZoneCondition.CLOSED


def test_power_cycle() -> None:
    with zoned.memory() as dev:
        dev.open_zone(3)
        dev.append(4, block("x"))
        dev.power_cycle()
        assert [zone.condition.short for zone in dev.zones[3:5]] == ["em", "cl"]
        assert dev.zones[4].durable_wp == dev.zones[4].wp


def test_set_condition() -> None:
    with zoned.memory() as dev:
        dev.append(3, block("x"))
        dev.set_condition(3, ZoneCondition.READ_ONLY)
        assert dev.pread(4096, dev.zones[3].start) == block("x")
        dev.set_condition(3, "offline")
        assert dev.zones[3].condition is ZoneCondition.OFFLINE
        dev.set_condition(3, 1)
        assert dev.zones[3].condition is ZoneCondition.EMPTY
        dev.set_condition(0, "offline")
        dev.set_condition(0, ZoneCondition.NOT_WP)
        assert dev.zones[0].condition is ZoneCondition.NOT_WP
        with pytest.raises(
            ValueError, match="condition is FULL: it must be READ_ONLY, OFFLINE or EMPTY"
        ):
            dev.set_condition(3, ZoneCondition.FULL)
        with pytest.raises(ValueError, match="'dead' is not a zone condition: use one of not-wp"):
            dev.set_condition(3, "dead")
        with pytest.raises(ValueError, match="9 is not a zone condition: the numbers are 0x0"):
            dev.set_condition(3, 9)


def test_keywords_and_signatures() -> None:
    with zoned.memory() as dev:
        start = dev.zones[3].start
        assert dev.pwrite(data=block("x"), offset=start) == 4096
        assert dev.pwrite(block("y"), offset=start + 4096) == 4096
        assert dev.pwritev(buffers=[block("z")], offset=start + 8192) == 4096
        assert dev.append(zone=3, data=block("w")) == start + 12288
        assert dev.pread(length=4096, offset=start) == block("x")
        assert dev.pread(offset=start, length=4096) == block("x")
        assert dev.preadinto(offset=start, buffer=bytearray(4096)) == 4096
    for name, arguments in {
        "pread": ["length", "offset"],
        "preadinto": ["buffer", "offset"],
        "pwrite": ["data", "offset"],
        "pwritev": ["buffers", "offset"],
        "append": ["zone", "data"],
        "close": [],
    }.items():
        signature = inspect.signature(getattr(zoned.Device, name))
        assert list(signature.parameters)[1:] == arguments, name


@pytest.mark.parametrize(
    ("arguments", "keywords", "sentence"),
    [
        ((), {}, "pread() needs the argument 'length'"),
        ((1,), {}, "pread() needs the argument 'offset'"),
        ((1, 2, 3), {}, "pread() takes 2 arguments (3 given)"),
        ((1, 2), {"offset": 2}, "pread() got two values for 'offset'"),
        ((1,), {"ofset": 2}, "pread() has no argument named 'ofset'"),
        (("1", 2), {}, "length must be an integer, not str"),
        ((1, 2.0), {}, "offset must be an integer, not float"),
        ((None, 2), {}, "length must be an integer, not NoneType"),
    ],
)
def test_wrong_calls(
    arguments: tuple[object, ...], keywords: dict[str, object], sentence: str
) -> None:
    with zoned.memory() as dev, pytest.raises(TypeError) as caught:
        dev.pread(*arguments, **keywords)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_numbers_of_other_kinds() -> None:
    class Index:
        def __init__(self, value: int) -> None:
            self.value = value

        def __index__(self) -> int:
            return self.value

    class Broken:
        def __index__(self) -> int:
            raise RuntimeError("no number today")

    with zoned.memory(logical_block=512) as dev:
        assert dev.pread(Index(512), Index(0)) == bytes(512)
        assert dev.pread(bool(0), True * 512) == b""
        dev.reset_zone(Index(3), Index(1))
        with pytest.raises(RuntimeError, match="no number today"):
            dev.pread(512, Broken())
        with pytest.raises(TypeError, match="zone must be an integer, not str"):
            dev.reset_zone("3")  # type: ignore[arg-type]


def test_length_zero() -> None:
    with zoned.memory() as dev:
        assert dev.pread(0, 0) == b""
        assert dev.pread(0, dev.geometry.size) == b""
        assert dev.pwrite(b"", dev.zones[3].start) == 0
        assert dev.pwritev([], dev.zones[3].start) == 0
        assert dev.preadinto(bytearray(), 0) == 0
        assert dev.zones[3].condition is ZoneCondition.EMPTY
        with pytest.raises(zoned.OutOfRangeError):
            dev.pread(0, dev.geometry.size + 4096)


def test_a_file_keeps_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, profile="zn540", size="32GiB", max_open=3, seed=7) as dev:
        dev.append(2, block("kept"))
        dev.finish_zone(3)
        identity = dev.info().uuid
        geometry = dev.geometry
        assert dev.path == str(path)
    with zoned.open(path) as dev:
        assert dev.geometry == geometry
        info = dev.info()
        assert info.uuid == identity
        assert (info.clean, info.failed, info.in_ram, info.readonly) == (True, False, False, False)
        assert dev.pread(4096, dev.zones[2].start) == block("kept")
        assert [zone.condition.short for zone in dev.zones[2:5]] == ["oi", "fu", "em"]
    assert zoned.check(path) == []


def test_a_seed_names_the_same_disk(tmp_path: Path) -> None:
    with zoned.create(tmp_path / "a", seed=5) as a, zoned.create(tmp_path / "b", seed=5) as b:
        assert a.info().uuid == b.info().uuid
    with zoned.memory() as c, zoned.memory() as d:
        assert c.info().uuid != d.info().uuid


def test_create_does_not_overwrite_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path) as dev:
        dev.append(3, block("old"))
    with pytest.raises(FileExistsError):
        zoned.create(path, size="8MiB")
    with zoned.create(path, size="8MiB", replace=True) as dev:
        assert dev.geometry.nr_zones == 2
        assert dev.zones[1].condition is ZoneCondition.EMPTY
    assert os.listdir(tmp_path) == ["disk.img"]


def test_a_relative_path_survives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dev = zoned.create("disk.img")
    assert dev.path == str(tmp_path / "disk.img")
    monkeypatch.chdir("/")
    with dev, zoned.open(os.fsencode(tmp_path / "disk.img")) as other:  # type: ignore[arg-type]
        dev.append(3, block("x"))
        assert other.zones[3].wp == dev.zones[3].wp


def test_two_handles_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with (
        zoned.create(path) as one,
        zoned.open(path) as two,
        zoned.open(path, readonly=True) as three,
    ):
        for turn, dev in enumerate((one, two, one, two)):
            assert dev.append(3, block(str(turn))) == 3 * 4 * MIB + turn * 4096
        assert three.pread(4 * 4096, 3 * 4 * MIB) == b"".join(block(str(turn)) for turn in range(4))
        assert three.zones[3].wp == 3 * 4 * MIB + 4 * 4096


def test_info(tmp_path: Path) -> None:
    with zoned.create(tmp_path / "disk.img") as dev:
        before = dev.info()
        dev.append(3, bytes(MIB))
        info = dev.info()
        assert before.slots_used == 0
        assert (info.slots_used, info.space_used) == (1, info.slot_size)
        assert info.slot_size == 4 * MIB
        assert info.profile == "test"
        assert info.version == 1
        assert info.path == str(tmp_path / "disk.img")
        assert info.file_blocks > before.file_blocks
        assert info.limits.implicit_open == 1
        document = info.as_dict()
        assert uuid.UUID(str(document["uuid"])) == info.uuid
        assert document["geometry"]["conventional"] == [[0, 2]]  # type: ignore[index]
        assert document["limits"]["open"] == 1  # type: ignore[index]


def test_no_payload() -> None:
    with zoned.memory(profile="hc680", data="none") as dev:
        zone = dev.zones[104_000]
        dev.pwrite(b"x" * MIB, zone.start)
        assert dev.zones[104_000].wp == zone.start + MIB
        assert dev.pread(4096, zone.start) == bytes(4096)
        assert dev.info().slots_used == 0


def test_repr(tmp_path: Path) -> None:
    dev = zoned.create(tmp_path / "disk.img")
    text = (
        f"<zoned.Device {str(tmp_path / 'disk.img')!r}, 64 MiB, 16 zones of 4 MiB, 2 conventional"
    )
    assert repr(dev).startswith(text)
    with zoned.open(tmp_path / "disk.img", readonly=True) as other:
        assert repr(other).endswith("zbc host-managed, read-only>")
    dev.close()
    assert repr(dev) == f"<zoned.Device {str(tmp_path / 'disk.img')!r}, closed>"
    with zoned.memory() as ram:
        assert repr(ram).startswith("<zoned.Device in RAM, 64 MiB")


def test_a_device_has_no_other_attributes() -> None:
    with zoned.memory() as dev, pytest.raises(AttributeError):
        dev.sise = 3  # type: ignore[attr-defined]


def test_python_dash_m(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    done = subprocess.run(
        [sys.executable, "-m", "zoned", "report", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 16


def test_it_says_that_it_needs_linux() -> None:
    code = "import sys; sys.platform = 'darwin'; import zoned"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: zoned works on Linux only (this is darwin)" in done.stderr
