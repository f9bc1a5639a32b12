"""``zonedctl faults``: rules from the shell act on whoever uses the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zoned
from cli.shell import inside, ok, refused, sentence

BLOCK = 4096
ZONE = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, size="8MiB", zone_size="1MiB", conventional=1).close()
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
