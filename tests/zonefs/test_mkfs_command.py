"""``zonedctl mkfs``: mkzonefs's options, what it says and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import zoned
import zonefs
from cli.shell import Terminal
from refusals import refusals
from zoned._core.looking import zone_written


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, size="64MiB", zone_size="4MiB", conventional=4).close()
    return path


def zonedctl(*arguments: object) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "zoned", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(zoned.__file__).parents[1],
    )
    return done.returncode, done.stdout, done.stderr


def test_defaults(image: Path) -> None:
    assert zonedctl("mkfs", image) == (0, "", "")
    with zoned.open(image, readonly=True) as dev:
        made = zonefs.read_superblock(dev)
    assert (made.label, made.features, made.perm) == ("", zonefs.Features(0), 0o640)


def test_everything(image: Path) -> None:
    code, out, err = zonedctl(
        "mkfs", image, "-L", "hi", "-o", "aggr_cnv,uid=5", "--perm", "600", "-v"
    )
    assert (code, out) == (0, "")
    assert "zonefs 'hi'" in err
    with zoned.open(image, readonly=True) as dev, zonefs.ZoneFS(dev) as fs:
        assert fs.superblock.label == "hi"
        assert fs.listdir("cnv") == ["0"]
        assert fs.stat("seq/0").st_uid == 5
        assert fs.stat("seq/0").st_mode == 0o100600


def test_dry_run(image: Path) -> None:
    with zoned.open(image) as dev:
        dev.append(5, bytes(8192))
        before = dev.pread(4096, 0)
    assert zonedctl("mkfs", image, "--dry-run") == (
        0,
        "8.0 KiB of data in 1 zone would be lost\n",
        "",
    )
    with zoned.open(image) as dev:
        assert dev.pread(4096, 0) == before
        assert dev.zones[5].wp == dev.zones[5].start + 8192


@refusals(
    {
        2: {
            "-o foo": "-o knows aggr_cnv, uid=N, gid=N and perm=MODE, not 'foo'",
            "-o uid=x": "-o uid is 'x': it must be a number",
            "-o perm=9": "-o perm is '9': it must be an octal number",
            "--perm 999": "'999' is not permission bits",
        },
        1: {
            "--uid -3": "uid is -3: it must be 0 to 4294967294",
            f"-L {'x' * 65}": "label is 65 bytes long",
        },
    }
)
def test_refusals(image: Path, options: list[str], status: int, told: str) -> None:
    code, out, err = zonedctl("mkfs", image, *options)
    assert (code, out) == (status, "")
    assert told in err
    assert err.count("\n") == 1


def test_no_such_image(tmp_path: Path) -> None:
    code, _, err = zonedctl("mkfs", tmp_path / "none.img")
    assert code == 1
    assert "none.img" in err


def test_data_in_a_conventional_zone_0_is_told(image: Path) -> None:
    """What it held was to be overwritten, and "no data would be lost"; other such zones keep theirs."""
    with zoned.open(image) as dev:
        dev.pwrite(bytes(4096), 0)
        dev.pwrite(b"x" * 8192, dev.geometry.zone_start(1))
    assert zonedctl("mkfs", image, "--dry-run") == (0, "no data would be lost\n", "")
    with zoned.open(image) as dev:
        dev.pwrite(b"precious".ljust(4096, b"\0"), 1 << 20)
    told = "4.0 KiB of data in 1 zone would be lost\n"
    assert zonedctl("mkfs", image, "--dry-run") == (0, told, "")
    terminal = Terminal("mkfs", image)
    question = f"Make a zonefs on {image}? 4.0 KiB of data in 1 zone will be lost."
    assert question in terminal.until("[y/N]: ")
    terminal.type("n\n")
    assert terminal.finish() == 1
    with zoned.open(image) as dev:
        assert dev.pread(4096, 1 << 20).rstrip(b"\0") == b"precious"
        assert not any(dev.pread(4096, 0))
    assert zonedctl("mkfs", image)[0] == 0
    with zoned.open(image) as dev:
        assert dev.pread(8192, dev.geometry.zone_start(1)) == b"x" * 8192


def test_dead_zones_are_not_reset_and_not_told(image: Path) -> None:
    with zoned.open(image) as dev:
        dev.append(5, bytes(8192))
        dev.set_condition(5, "read-only")
    assert zonedctl("mkfs", image, "--dry-run") == (0, "no data would be lost\n", "")
    assert zonedctl("mkfs", image) == (0, "", "")
    with zoned.open(image) as dev:
        assert zone_written(dev, 5) == 8192


def test_a_file_system_needs_force(image: Path) -> None:
    with zoned.open(image) as dev:
        superblock = bytearray(4096)
        superblock[1080:1082] = b"\x53\xef"
        dev.pwrite(superblock, 0)
        dev.append(5, bytes(8192))
    told = f"zonedctl: {image} holds an ext2 file system: -f makes a zonefs in its place\n"
    assert zonedctl("mkfs", image) == (1, "", told)
    assert zonedctl("mkfs", image, "--dry-run") == (
        0,
        "an ext2 file system and 8.0 KiB of data in 1 zone would be lost; it takes -f\n",
        "",
    )
    with zoned.open(image) as dev:
        assert dev.pread(4096, 0) == superblock
        assert zone_written(dev, 5) == 8192
    assert zonedctl("mkfs", image, "-f") == (0, "", "")
    told = f"zonedctl: {image} holds a zonefs: -f makes a zonefs in its place\n"
    assert zonedctl("mkfs", image) == (1, "", told)
    told = "a zonefs would be lost; it takes -f\n"
    assert zonedctl("mkfs", image, "--dry-run", "-f") == (0, told, "")


def test_no_usable_zone(image: Path) -> None:
    with zoned.open(image) as dev:
        for zone in range(1, 16):
            dev.set_condition(zone, "offline")
    for options in ((), ("-f",), ("--dry-run",)):
        code, out, err = zonedctl("mkfs", image, *options)
        assert (code, out) == (1, "")
        assert "no zone would be a file that can be written" in err
