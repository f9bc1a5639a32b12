"""``create``, ``info`` and ``check``."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path

import pytest

import zoned
from cli.shell import every_condition, inside, ok, refused, zonedctl
from refusals import refusals
from zoned.cli.create import create_command
from zoned.geometry import KEYWORDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


# ------------------------------------------------------------------------------------------- create


def test_every_keyword_is_an_option() -> None:
    options = {param.name for param in create_command.params}
    assert {*KEYWORDS, "profile", "replace"} <= options
    assert {"profile", "replace"} <= set(inspect.signature(zoned.create).parameters)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"size": 64 << 20, "zone_size": 4 << 20, "max_open": 4, "profile": "test"}),
        (["--size", "1G", "--zone-size", "16MiB"], {"size": 1 << 30, "zone_size": 16 << 20}),
        (["--size", "64000KB", "--zone-size", "0x40000"], {"size": 64000000, "zone_size": 0x40000}),
        (["--zones", "5", "--zone-size", "1M"], {"size": 5 << 20}),
        (["--zones", "0x20", "--profile", "zn540"], {"size": 32 << 31}),
        (["--zone-capacity", "3M"], {"zone_capacity": 3 << 20}),
        (["--conventional", "3"], {"conventional": zoned.ZoneSet.parse("0-2")}),
        (["--conventional", "0-1,8-9"], {"conventional": zoned.ZoneSet.parse("0-1,8-9")}),
        (["--conventional", "0"], {"conventional": zoned.ZoneSet()}),
        (["--logical-block", "512"], {"logical_block": 512, "physical_block": 4096}),
        (["--logical-block", "512", "--physical-block", "512"], {"physical_block": 512}),
        (["--max-open", "3", "--max-active", "5"], {"max_open": 3, "max_active": 5}),
        (["--dialect", "zns"], {"dialect": "zns", "conventional": zoned.ZoneSet()}),
        (["--model", "host-aware"], {"model": "host-aware"}),
        (["--implicit-close", "round-robin"], {"implicit_close": "round-robin"}),
        (["--no-unrestricted-read"], {"unrestricted_read": False}),
        (["--unrestricted-read"], {"unrestricted_read": True}),
        (["--data", "none"], {"data": "none"}),
        (["--host-sync", "never"], {"host_sync": "never"}),
        (["--seed", "42"], {"seed": 42}),
        (["--slot-cache", "1GiB"], {"slot_cache": 1 << 30}),
        (["--append-limit", "64K"], {"append_limit": 65536}),
        (
            ["--profile", "zn540", "--max-open", "7"],
            {"profile": "zn540", "max_open": 7, "max_active": 14},
        ),
    ],
)
def test_options_make_the_disk(path: Path, options: list[str], expected: dict[str, object]) -> None:
    ok("create", path, *options)
    with zoned.open(path, readonly=True) as device:
        assert {name: getattr(device.geometry, name) for name in expected} == expected


def test_own_profile(path: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('[geometry]\nsize = "32MiB"\nzone_size = "1MiB"\n')
    ok("create", path, "--profile", profile)
    with zoned.open(path, readonly=True) as device:
        assert device.geometry.nr_zones == 32
    profile.write_text('[geometry]\nsize = "32MiB"\nzone_sice = "1MiB"\n')
    told = refused("create", tmp_path / "other.img", "--profile", profile)
    assert "unknown key geometry.zone_sice (did you mean zone_size?)" in told


@refusals(
    {
        1: {
            "--size 0": "size is 0",
            "--size 100": "size is 100",
            "--zone-size 5000": "zone_size is 5000",
            "--zone-capacity 5MiB": "zone_capacity is 5242880",
            "--zone-capacity 1000": "zone_capacity is 1000",
            "--logical-block 1024": "logical_block is 1024: it must be 512 or 4096",
            "--logical-block 4096 --physical-block 512": "physical_block is 512",
            "--conventional 17": "conventional",
            "--conventional 3-1": "runs backwards",
            "--conventional 2,x": "'x'",
            "--max-open 5 --max-active 3": "max_open is 5 and max_active is 3",
            f"--max-open {2**32}": "max_open",
            "--dialect zns --model host-aware": "host-aware",
            f"--seed {2**64}": "seed",
            "--profile hc62": "did you mean hc620?",
            "--profile no/such.toml": "no/such.toml: No such file or directory",
            "--size 1E --zone-size 4096": "zones",
        },
        2: {
            "--size -1": "must not be negative",
            "--size 1.3": "whole number of bytes",
            "--size '4 elephants'": "unit 'elephants' is unknown",
            "--size 99999999999999999999": "at most",
            "--max-open -1": "-1",
            "--dialect scsi": "'scsi' is not one of",
            "--zonesize 1M": "--zone-size",
        },
    }
)
def test_impossible_disks(path: Path, options: list[str], status: int, told: str) -> None:
    assert told in refused("create", path, *options, status=status)
    assert not path.exists()


def test_existing_and_impossible_files(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"precious")
    assert refused("create", path) == f"{path} exists; --replace replaces it"
    assert path.read_bytes() == b"precious"
    ok("create", path, "--replace")
    assert inside("check", path).out == b""
    assert "No such file" in refused("create", tmp_path / "no" / "disk.img")
    assert refused("create", tmp_path, "--replace") != ""
    assert sorted(os.listdir(tmp_path)) == ["disk.img"]


# --------------------------------------------------------------------------------------------- info


def test_info_says_what_there_is(path: Path) -> None:
    with zoned.create(path, max_open=6, max_active=9, seed=5) as device:
        every_condition(device, 2)
        uuid = str(device.info().uuid)
    lines = ok("info", path).lines
    told = {line[:14].strip(): line[14:] for line in lines if line[:14].strip()}
    assert told["image"] == f"{path}, format version 1"
    assert told["uuid"] == uuid
    assert told["kind"] == "zbc host-managed, payload kept"
    assert told["size"] == "64 MiB (67108864 bytes), 131072 sectors of 512"
    assert told["zones"] == "16 of 4 MiB (4194304 bytes)"
    assert told["conventional"] == "2: zones 0-1"
    assert told["Linux"] == "would accept this layout"
    assert told["note"] == "ZBC knows no limit of active zones, only one of open zones"
    assert told["conditions"] == (
        "2 not-wp, 7 empty, 1 implicit-open, 2 explicit-open, 1 closed, 3 full"
    )
    assert told["open"] == (
        "3 of at most 6: explicit-open zones 3-4; implicit-open zone 8; implicit close: oldest"
    )
    assert told["active"] == (
        "4 of at most 9: explicit-open zones 3-4; implicit-open zone 8; closed zone 2"
    )
    assert told["state"] == "clean"
    assert re.fullmatch(
        r"\d+ reads \(.*\), 6 writes and 0 appends \(4.1 MiB\), \d+ flushes", told["counters"]
    )


def test_info_json_is_complete(path: Path) -> None:
    with zoned.create(path, max_open=6, zone_capacity="3MiB", size="62MiB") as device:
        every_condition(device, 2)
        with pytest.raises(zoned.UnalignedWriteError):
            device.pwrite(bytes(4096), device.geometry.zone_start(9) + 8192)
        facts = json.loads(ok("info", path, "--json", "--zone-counters").text)
        assert facts == json.loads(ok("info", path, "--format", "json", "--zone-counters").text)
    assert facts["info"] == 1
    assert facts["path"] == str(path)
    assert facts["geometry"]["zone_capacity"] == 3 << 20
    assert facts["geometry"]["nr_zones"] == 16
    assert facts["geometry"]["conventional"] == [[0, 2]]
    assert facts["geometry"]["linux_acceptable"] == []
    assert facts["limits"]["max_open"] == 6 and facts["limits"]["open"] == 3
    assert facts["resources"] == {
        "open": [3, 4, 8],
        "active": [2, 3, 4, 8],
        "implicit_open": [8],
        "explicit_open": [3, 4],
        "closed": [2],
    }
    assert facts["conditions"]["full"] == 3
    assert facts["counters"]["writes"] == 6
    assert facts["counters"]["errors"]["unaligned-write"] == 1
    assert facts["counters"]["finishes"] == 2
    assert facts["counters"]["max_open_seen"] >= 3
    zones = {item["zone"]: item for item in facts["zone_counters"]}
    assert sorted(zones) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert zones[9]["errors"] == 1 and zones[9]["resets"] == 1
    assert zones[7]["finish_wasted"] == 3 << 20
    assert facts["space_used"] == facts["slots_used"] * facts["slot_size"]


def test_counters_outlive_the_last_opener(path: Path) -> None:
    """info comes when nobody has the disk open any more; what was counted since the boot is still there."""
    ok("create", path)
    ok("write", path, "--zone", "3", stdin=bytes(8192))
    facts = json.loads(ok("info", path, "--json").text)
    assert facts["counters"]["writes"] == 1
    assert facts["counters"]["bytes_written"] == 8192


def test_info_zone_counters_in_text(path: Path) -> None:
    ok("create", path)
    with zoned.open(path) as device:
        assert ok("info", path, "--zone-counters").lines[-1] == "no zone was ever used"
        device.pwrite(bytes(8192), device.geometry.zone_start(3))
        lines = ok("info", path, "--zone-counters").lines
        assert lines[-2].split()[:3] == ["zone", "reads", "writes"]
        assert lines[-1].split()[:3] == ["3", "0", "1"]


def test_info_names_who_has_it_open(path: Path) -> None:
    with zoned.create(path):
        done = zonedctl("info", path)
        assert re.search(rf"^opened by +pid {os.getpid()} \(rw\): ", done.text, re.MULTILINE)
        facts = json.loads(zonedctl("info", path, "--json").text)
        assert [opener["pid"] for opener in facts["openers"]] == [os.getpid()]
        assert facts["openers"][0]["mode"] == "rw"
    done = zonedctl("info", path)
    assert "pid" not in done.text
    assert re.search(r"^opened by +nobody", done.text, re.MULTILINE)


def test_info_of_a_disk_that_linux_would_refuse(path: Path) -> None:
    ok("create", path, "--zone-size", "5MiB", "--model", "host-aware", "--data", "none")
    text = ok("info", path).text
    assert "would refuse this layout: the zone size, 5242880 bytes, is not a power of two; " in text
    assert "payload not kept" in text


def test_info_lists_sensibly(path: Path) -> None:
    with zoned.create(path, size="1GiB", zone_size="1MiB", max_open=0) as device:
        for zone in range(2, 200, 2):
            device.open_zone(zone)
    (line,) = [line for line in ok("info", path).lines if line.startswith("open ")]
    assert line.endswith(
        "99, no limit: explicit-open zones 2,4,6,8,10,12,14,16,... (91 more ranges; --json has all)"
    )
    facts = json.loads(ok("info", path, "--json").text)
    assert facts["resources"]["open"] == list(range(2, 200, 2))


# -------------------------------------------------------------------------------------------- check


def test_check_of_a_good_image(path: Path) -> None:
    ok("create", path)
    done = inside("check", path)
    assert (done.status, done.out, done.err) == (0, b"", f"{path}: no errors\n")
    facts = json.loads(inside("check", path, "--format", "json").text)
    assert facts == {"check": 1, "image": str(path), "errors": 0, "findings": []}


def test_check_names_and_mends(path: Path) -> None:
    ok("create", path)
    ok("write", path, "--zone", "3", stdin=bytes(8192))
    with path.open("r+b") as image:  # the second copy of the header
        image.seek(4096 + 30)
        image.write(b"\xff")
    done = inside("check", path)
    assert done.status == 4
    assert done.lines and all("(--repair can mend it)" in line for line in done.lines)
    assert done.lines[0].startswith("error: ")
    assert done.err == f"{path}: {len(done.lines)} error{'s' if len(done.lines) > 1 else ''}\n"
    facts = json.loads(inside("check", path, "--format", "json").text)
    assert facts["errors"] == len(done.lines)
    assert facts["findings"][0]["kind"] == "header"
    assert facts["findings"][0]["mendable"] is True
    done = inside("check", path, "--repair")
    assert done.status == 0
    assert done.lines[0].startswith("mended: ")
    assert done.err.endswith(": no errors, 1 mended\n")
    assert inside("check", path).out == b""


def test_check_leaves_what_cannot_be_mended(path: Path) -> None:
    """Both copies of a zone's entry: what was in it is not invented."""
    ok("create", path)
    ok("write", path, "--zone", "3", stdin=bytes(8192))
    with zoned.open(path, readonly=True) as device:
        table = device.info().table_offset
    size = path.stat().st_size
    with path.open("r+b") as image:
        for copy in (table, _second_copy(path)):
            assert copy < size
            image.seek(copy + 3 * 32 + 9)
            image.write(b"\xff\xff")
    done = inside("check", path)
    assert done.status == 4
    assert any("zone 3" in line for line in done.lines)
    refused("report", path)


def _second_copy(path: Path) -> int:
    with path.open("rb") as image:
        image.seek(104)  # table_b of the header, docs/image-format.md
        return int.from_bytes(image.read(8), "little")


def test_check_of_what_is_no_image(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100000))
    assert "no zoned disk image" in refused("check", file)
    file.write_bytes(b"")
    refused("check", file)
    assert "No such file" in refused("check", tmp_path / "no")
    assert "no regular file" in refused("check", tmp_path)


def test_repair_needs_the_disk_for_itself(path: Path) -> None:
    with zoned.create(path):
        assert inside("check", path).status == 0
        told = refused("check", path, "--repair")
        assert "open" in told


def test_info_counts_as_people_do(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path) as device:
        device.pwrite(bytes(4096), device.zones[3].start)
        device.flush()
        device.finish_zone(3)
    text = ok("info", path).text
    assert "0 reads (0 B), 1 write and 0 appends (4.0 KiB), 1 flush\n" in text
    assert "1 finish (4.0 MiB of capacity given up)\n" in text
    assert "1 implicit open, 0 implicit closes\n" in text
    assert "at most 1 zone open, 1 active at once\n" in text
