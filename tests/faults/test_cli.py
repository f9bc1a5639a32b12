"""``zonedctl faults``: rules from the shell act on whoever uses the disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

import zoned
from cli.shell import inside, ok, refused, sentence
from cli.test_failures import nobody_special

BLOCK = 4096
ZONE = 1 << 20
DISK = {"size": "8MiB", "zone_size": "1MiB", "conventional": 1}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, **DISK).close()
    return path


def test_a_rule_from_the_shell_acts_on_a_disk_in_use(image: Path) -> None:
    with zoned.open(image) as dev:
        assert (
            ok(
                "faults",
                "add",
                image,
                "medium",
                "--on",
                "write",
                "--zones",
                "3",
                "--once",
                "--label",
                "scratch",
            ).text
            == "1\n"
        )
        with pytest.raises(zoned.MediumError, match="injected by fault 1: scratch"):
            dev.pwrite(b"a" * BLOCK, 3 * ZONE)
        assert ok("faults", "list", image).text == (
            "1 'scratch': medium on write, zones=3, times=1; met 1, acted on 1\n"
        )
        ok("faults", "clear", image, "--id", 1)
        assert ok("faults", "list", image).text == ""
        dev.pwrite(b"a" * BLOCK, 3 * ZONE)


def test_plans_json_and_power(image: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("[[fault]]\nkind = 'power-cut'\non = 'flush'\nkeep = 'all'\n")
    assert ok("faults", "add", image, "--plan", plan).text == "1\n"
    with zoned.open(image) as dev, pytest.raises(zoned.PowerLossError):
        dev.flush()
    listed = json.loads(ok("faults", "list", image, "--format", "json").text)
    assert listed["power"] is False
    assert [(rule["kind"], rule["keep"], rule["matched"]) for rule in listed["rules"]] == [
        ("power-cut", "all", 1)
    ]
    assert "no power" in inside("faults", "list", image).err
    assert "no power" in refused("report", image)
    ok("faults", "clear", image, "--power-on")
    ok("report", image)


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["medum"], "there is no kind of fault 'medum'", 1),
        (["medium", "--zones", "99"], "zone 99 does not exist", 1),
        ([], "give a kind of fault, or --plan FILE", 2),
        (["medium", "--range", "5"], "write FROM:TO", 2),
        (["medium", "--plan", "x"], "give a kind of fault, or --plan FILE", 2),
        (["--plan", "/nowhere.toml"], "/nowhere.toml", 1),
    ],
)
def test_bad_rules(image: Path, arguments: list[str], said: str, status: int) -> None:
    assert said in sentence(inside("faults", "add", image, *arguments), status)
    assert ok("faults", "list", image).text == ""


def test_clearing_what_is_not_there(image: Path) -> None:
    assert "there is no fault 7" in refused("faults", "clear", image, "--id", 7)


# ---------------------------------------------------------------- power


def test_the_power_is_cut_and_given_back_under_a_disk_in_use(image: Path) -> None:
    with zoned.open(image) as dev:
        dev.pwrite(b"o" * BLOCK, 0)
        dev.append(3, b"o" * BLOCK)
        dev.flush()
        dev.pwrite(b"n" * BLOCK, 0)
        dev.append(3, b"n" * BLOCK)
        ok("power", "cut", image)
        with pytest.raises(zoned.PowerLossError):
            dev.pread(BLOCK, 0)
        said = ok("info", image).text
        assert "power         cut: zonedctl power on gives it back" in said
        assert "conditions    not to be seen without power" in said
        assert json.loads(ok("info", image, "--json").text)["power"] is False
        assert "no power" in refused("report", image)
        ok("power", "on", image)
        assert dev.pread(BLOCK, 0) == b"o" * BLOCK
        assert dev.zones[3].wp == dev.zones[3].start + BLOCK
        assert "power         on" in ok("info", image).text


def test_a_survivor_is_chosen_by_its_id(image: Path) -> None:
    with zoned.open(image) as dev:
        dev.pwrite(b"n" * 2 * BLOCK, 0)
        dev.append(3, b"n" * BLOCK)
    ids = ok("power", "states", image, "--strategy", "exhaustive").text.split()
    assert len(ids) == len(set(ids)) == 8
    ok("power", "cut", image, "--choice", ids[-2])
    ok("power", "on", image)
    with zoned.open(image) as dev:
        assert dev.zones[3].wp == dev.zones[3].start + BLOCK
        assert dev.pread(2 * BLOCK, 0) == b"n" * BLOCK + bytes(BLOCK)
    assert "another disk or another history" in refused("power", "cut", image, "--choice", ids[1])
    for more in (("--keep", "all"), ("--seed", "3")):
        said = refused("power", "cut", image, "--choice", ids[0], *more, status=2)
        assert "--choice says all about what survives" in said
    assert "is no id of a crash state" in refused("power", "cut", image, "--choice", "no hex")
    assert "there is no choice of survivors 'most'" in refused(
        "power", "cut", image, "--keep", "most"
    )
    assert "there is no strategy 'all'" in refused("power", "states", image, "--strategy", "all")


def test_a_crash_space_beyond_the_limit_is_counted(image: Path) -> None:
    with zoned.open(image) as dev:
        dev.pwrite(b"n" * 14 * BLOCK, 0)
    told = refused("power", "states", image, "--strategy", "exhaustive")
    assert "there are 16384 survivors, and the limit is 10000: raise limit" in told


def test_tracking_is_switched_from_the_shell(image: Path) -> None:
    ok("power", "track", image, "off")
    assert json.loads(ok("info", image, "--json").text)["power_tracking"] is False
    with zoned.open(image) as dev:
        dev.pwrite(b"n" * BLOCK, 0)
        dev.power_cut()
        dev.power_on()
        assert dev.pread(BLOCK, 0) == b"n" * BLOCK
    ok("power", "track", image, "on")
    assert json.loads(ok("info", image, "--json").text)["power_tracking"] is True


def test_info_counts_the_rules(image: Path) -> None:
    assert "faults        none set" in ok("info", image).text
    ok("faults", "add", image, "medium", "--zones", "3")
    assert "faults        1 rule set" in ok("info", image).text
    assert json.loads(ok("info", image, "--json").text)["faults"] == 1


def test_states_need_no_right_to_write() -> None:
    """Beside a writer: the ids are those by which it can cut the power."""
    with (
        tempfile.TemporaryDirectory() as folder,  # not pytest's, which is root's alone
        zoned.create(image := Path(folder, "disk.img"), **DISK) as dev,
    ):
        dev.append(4, bytes(2 * BLOCK))
        dev.pwrite(b"x" * BLOCK, 0)
        before = image.stat().st_mtime_ns
        image.chmod(0o444)
        image.parent.chmod(0o755)
        inside("power", "states", image)  # loads what it needs, which may lie in root's home
        with nobody_special():
            done = inside("power", "states", image, "--strategy", "exhaustive")
        assert done.status == 0, done.err
        assert len(done.lines) == 6 and image.stat().st_mtime_ns == before
        image.chmod(0o644)
        ok("power", "cut", image, "--choice", done.lines[-1])
        dev.power_on()
        assert dev.zones[4].wp == 4 * ZONE + 2 * BLOCK and dev.pread(BLOCK, 0) == b"x" * BLOCK
