"""``reset``, ``open``, ``close``, ``finish``, ``set-condition``: what they do, what a dry run foretells."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import zoned
from cli.shell import every_condition, inside, ok, refused, rows
from refusals import refusals


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    return path


def write(path: Path, *zones: int, count: int = 8192) -> None:
    with zoned.open(path) as device:
        for zone in zones:
            device.pwrite(bytes(count), device.geometry.zone_start(zone))


def conditions(path: Path) -> str:
    with zoned.open(path, readonly=True) as device:
        return " ".join(zone.condition.short for zone in device.zones)


def test_reset_by_list_range_and_sector(disk: Path) -> None:
    with zoned.open(disk) as device:
        for zone in range(2, 10):
            device.pwrite(bytes(4096), device.geometry.zone_start(zone))
            device.finish_zone(zone)
    ok("reset", disk, "--zones", "2,4-5")
    assert conditions(disk) == "nw nw em fu em em fu fu fu fu em em em em em em"
    ok("reset", disk, "-o", "0x6000", "-c", "1")
    ok("reset", disk, "-o", "0xc000", "-l", "0x4000")
    assert conditions(disk) == "nw nw em em em em em em fu fu em em em em em em"
    ok("reset", disk, "--all")
    assert conditions(disk) == "nw nw" + " em" * 14


def test_without_zones_the_whole_disk_as_blkzone(disk: Path) -> None:
    write(disk, 2, 3)
    ok("reset", disk)
    assert conditions(disk) == "nw nw" + " em" * 14
    for verb in ("open", "close", "finish"):
        told = refused(verb, disk)
        assert "zone 0" in told
        assert "conventional" in told
        assert told.endswith("--all passes over conventional zones")


def test_all_forms(disk: Path) -> None:
    write(disk, 2, 3)
    ok("open", disk, "--zones", "4")
    ok("close", disk, "--all")
    assert conditions(disk).split()[2:6] == ["cl", "cl", "em", "em"]
    ok("open", disk, "--all")
    assert conditions(disk).split()[2:6] == ["oe", "oe", "em", "em"]
    ok("finish", disk, "--all")
    assert conditions(disk).split()[2:6] == ["fu", "fu", "em", "em"]


def test_a_refusal_says_what_was_done_before(disk: Path) -> None:
    told = refused("open", disk, "--zones", "2-9")
    assert "zone 6" in told
    assert told.endswith("; 4 zones before it were opened")
    assert conditions(disk).split()[2:7] == ["oe", "oe", "oe", "oe", "em"]
    told = refused("reset", disk, "--zones", "0-3")
    assert "zone 0" in told
    assert "before it" not in told
    ok("set-condition", disk, "read-only", "--zones", "3")
    assert refused("reset", disk, "--zones", "2,3").endswith("; 1 zone before it was reset")


def test_verbose_goes_to_stderr(disk: Path) -> None:
    done = inside("finish", disk, "--zones", "3-5", "-v")
    assert (done.status, done.out) == (0, b"")
    assert done.err == f"{disk}: finished zones 3-5\n"


@refusals(
    {
        2: {
            "--zones 3 --all": "--all and --zones exclude each other",
            "--all -o 0": "--all and -o exclude each other",
            "--zones 3 -l 8192": "--zones and -l exclude each other",
            "-l 8192 -c 1": "exclude each other",
            "--zones 99999999999": "does not exist",
        },
        1: {
            "--zones 15-16": "zone 16 does not exist: the disk has zones 0 to 15",
            "-o 1": "offset 1 is not aligned to the zone size of 8192 sectors",
            "-o 0x4000 -l 8193": "length 8193 is not aligned to the zone size",
            "-o 131072": "offset 131072 is not on the disk",
        },
    }
)
@pytest.mark.parametrize("verb", ["reset", "open", "close", "finish"])
def test_bad_zones_change_nothing(
    disk: Path, verb: str, options: list[str], status: int, told: str
) -> None:
    write(disk, 2, 3, 4)
    before = rows(disk)
    assert told in refused(verb, disk, *options, status=status)
    assert rows(disk) == before


def test_set_condition_and_back(disk: Path) -> None:
    write(disk, 1, 2, 3)
    ok("set-condition", disk, "ro", "--zones", "1-2")
    ok("set-condition", disk, "offline", "-o", "0x6000", "-c", "1")
    assert conditions(disk).split()[:5] == ["nw", "ro", "ro", "of", "em"]
    assert "read-only" in refused("write", disk, "--zone", "2", stdin=bytes(4096))
    assert "offline" in refused("read", disk, "--zone", "3")
    ok("set-condition", disk, "empty", "--zones", "1-3")
    assert conditions(disk).split()[:5] == ["nw", "nw", "em", "em", "em"]


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["full", "--zones", "3"], 2, "one of read-only, offline, empty"),
        (["ro,of", "--zones", "3"], 2, "one of read-only, offline, empty"),
        (["good", "--zones", "3"], 2, "'good' is not a zone condition"),
        (["ro"], 2, "name the zones"),
        (["ro", "--zones", "16"], 1, "zone 16 does not exist"),
    ],
)
def test_set_condition_refuses(disk: Path, args: list[str], status: int, told: str) -> None:
    assert told in refused("set-condition", disk, *args, status=status)


# ------------------------------------------------------------------------------------------ dry run


def test_dry_run_tells_zone_by_zone(disk: Path) -> None:
    write(disk, 3, 5)
    with zoned.open(disk) as device:
        device.finish_zone(5)
        device.pwrite(bytes(4 << 20), device.geometry.zone_start(6))
    before = disk.read_bytes()
    assert ok("reset", disk, "--zones", "2-8", "--dry-run").lines == [
        "zone 2: empty, unchanged",
        "zone 3: implicit-open -> empty, 8192 bytes of data lost",
        "zone 4: empty, unchanged",
        "zone 5: full -> empty, 8192 bytes of data lost",
        "zone 6: full -> empty, 4194304 bytes of data lost",
        "zones 7-8: empty, unchanged",
        "4.0 MiB of data would be lost",
    ]
    assert ok("finish", disk, "--zones", "3,7-8", "--dry-run").lines == [
        "zone 3: implicit-open -> full",
        "zones 7-8: empty -> full",
        "no data would be lost",
    ]
    assert ok("set-condition", disk, "offline", "--zones", "3-4", "--dry-run").lines == [
        "zone 3: implicit-open -> offline, 8192 bytes of data lost",
        "zone 4: empty -> offline",
        "8.0 KiB of data would be lost",
    ]
    assert disk.read_bytes() == before


def test_dry_run_foretells_evictions_and_refusals(disk: Path) -> None:
    write(disk, 2, 3, 4, 5)
    assert ok("open", disk, "--zones", "8", "--dry-run").lines == [
        "zone 8: empty -> explicit-open",
        "1 zone more would change, to make room for open zones",
        "no data would be lost",
    ]
    done = inside("open", disk, "--zones", "8-13", "--dry-run")
    assert done.status == 1
    assert done.lines[0] == "zones 8-11: empty -> explicit-open"
    assert done.lines[1] == "zones 12-13: empty, unchanged"
    assert done.lines[2] == "4 zones more would change, to make room for open zones"
    assert "it would be refused: open of zone 12" in done.err
    assert "4 zones before it were opened" in done.err


COMMANDS = [
    ["reset", "--all"],
    ["reset"],
    ["open", "--all"],
    ["close", "--all"],
    ["finish", "--all"],
    ["reset", "--zones", "2-9"],
    ["open", "--zones", "2-9"],
    ["close", "--zones", "2-9"],
    ["finish", "--zones", "2-9"],
    ["set-condition", "empty", "--zones", "0-15"],
    ["set-condition", "offline", "--zones", "1-9"],
    ["set-condition", "read-only", "--zones", "1-9"],
]
DISKS: list[dict[str, object]] = [
    {"max_open": 5},
    {"dialect": "zns", "zone_capacity": "3MiB", "max_open": 5, "max_active": 7},
    {"dialect": "nullblk", "max_open": 5, "max_active": 7, "implicit_close": "lowest"},
    {"model": "host-aware"},
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("keywords", DISKS, ids=lambda keywords: str(keywords.get("dialect", "")))
def test_dry_run_comes_true(
    tmp_path: Path, keywords: dict[str, object], command: list[str]
) -> None:
    """What --dry-run says of each zone is what the command then does."""
    path = tmp_path / "disk.img"
    with zoned.create(path, **keywords) as device:
        every_condition(device, 2)
        device.set_condition(10, "ro")
    before = conditions(path).split()
    image = path.read_bytes()
    verb, *rest = command
    told = inside(verb, path, *rest, "--dry-run")
    assert path.read_bytes() == image
    done = inside(verb, path, *rest)
    assert told.status == done.status, (told, done)
    if done.status:
        assert told.err.replace("it would be refused: ", "") == done.err
    after = conditions(path).split()
    names = {
        condition.name.lower().replace("_", "-"): condition.short
        for condition in zoned.ZoneCondition
    }
    foretold = list(before)
    for line in told.lines:
        if not line.startswith("zone"):
            continue
        where, what = line.split(": ")
        first, _, last = where.split()[1].partition("-")
        for zone in range(int(first), int(last or first) + 1):
            state = what.split(",")[0].split(" -> ")
            assert names[state[0]] == before[zone]
            foretold[zone] = names[state[-1]]
    changed_elsewhere = sum(
        a != b
        for zone, (a, b) in enumerate(zip(foretold, after, strict=True))
        if before[zone] == foretold[zone]
    )
    more = [line for line in told.lines if "more would change" in line]
    assert changed_elsewhere == (int(more[0].split()[0]) if more else 0)
    if not more:
        assert foretold == after


def test_dry_run_of_a_whole_drive(tmp_path: Path) -> None:
    """104,312 zones, some of them used at random: what is foretold is counted right."""
    path = tmp_path / "disk.img"
    rng = random.Random(5)
    used = sorted(rng.sample(range(1043, 104312), 60))
    with zoned.create(path, profile="hc680", data="none") as device:
        for zone in used:
            device.pwrite(bytes(65536), device.geometry.zone_start(zone))
    lines = ok("reset", path, "--all", "--dry-run").lines
    lost = [line for line in lines if line.endswith("-> empty, 65536 bytes of data lost")]
    assert [int(line.split()[1].rstrip(":")) for line in lost] == used
    assert lines[-1] == "3.8 MiB of data would be lost"
