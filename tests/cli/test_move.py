"""``dump`` and ``restore`` from the shell."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import zoned
from cli.shell import (
    COMMAND,
    environment,
    every_condition,
    inside,
    ok,
    refused,
    rows,
    sentence,
    zonedctl,
)
from waiting import PATIENCE, until


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with zoned.create(path, max_open=6) as device:
        every_condition(device, 2)
        device.pwrite(b"payload!" * 512, 0)
    return path


def test_through_a_file(disk: Path, tmp_path: Path) -> None:
    dump, copy = tmp_path / "disk.zdump", tmp_path / "copy.img"
    ok("dump", disk, dump)
    assert dump.stat().st_size < 8192
    ok("restore", dump, copy)
    assert rows(copy) == rows(disk)
    assert ok("read", copy, "--zone", "0").out == ok("read", disk, "--zone", "0").out
    done = inside("diff", disk, copy)
    assert (done.status, done.out) == (0, b"")


def test_through_a_pipe(disk: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.img"
    taker = subprocess.Popen(
        [*COMMAND, "restore", "-", str(copy)], stdin=subprocess.PIPE, env=environment()
    )
    giver = subprocess.run(
        [*COMMAND, "dump", str(disk), "-"], stdout=taker.stdin, env=environment(), check=False
    )
    assert taker.stdin is not None
    taker.stdin.close()
    assert (giver.returncode, taker.wait(PATIENCE)) == (0, 0)
    assert rows(copy) == rows(disk)


def test_without_data(disk: Path, tmp_path: Path) -> None:
    dump, copy = tmp_path / "disk.zdump", tmp_path / "copy.img"
    ok("dump", disk, dump, "--no-data")
    assert b"payload!" not in dump.read_bytes()
    ok("restore", dump, copy)
    assert rows(copy) == rows(disk)
    assert not any(ok("read", copy, "--zone", "0").out)
    ok("restore", dump, copy, "--replace", "--data", "none")
    with zoned.open(copy, readonly=True) as device:
        assert device.geometry.data == "none"


def test_dry_run_checks_all_and_makes_nothing(disk: Path, tmp_path: Path) -> None:
    dump = tmp_path / "disk.zdump"
    ok("dump", disk, dump)
    (line,) = ok("restore", dump, "--dry-run").lines
    with zoned.open(disk, readonly=True) as device:
        uuid = device.info().uuid
    assert line.startswith(
        f"{dump} is good: disk {uuid}, 67108864 bytes in zones of 4194304, 8 zones"
    )
    ok("restore", dump, tmp_path / "copy.img", "--dry-run")
    assert sorted(os.listdir(tmp_path)) == ["disk.img", "disk.zdump"]
    data = bytearray(dump.read_bytes())
    data[-40] ^= 1
    dump.write_bytes(data)
    assert f"{dump} is damaged at byte " in refused("restore", dump, "--dry-run")


def test_damage_and_cuts_are_named(disk: Path, tmp_path: Path) -> None:
    dump, copy = tmp_path / "disk.zdump", tmp_path / "copy.img"
    ok("dump", disk, dump)
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-10])
    told = refused("restore", dump, copy)
    assert told.startswith(f"{dump} is cut short: it ends at byte {len(whole) - 10}, within chunk")
    told = refused("restore", "-", copy, stdin=whole[:100])
    assert told.startswith("the dump on standard input is cut short: it ends at byte 100, within")
    assert refused("restore", "-", copy) == "the dump on standard input is empty"
    assert refused("restore", disk, copy) == f"{disk} is not a dump made by zonedctl dump"
    assert "No such file" in refused("restore", tmp_path / "no", copy)
    assert not copy.exists()


def test_existing_files(disk: Path, tmp_path: Path) -> None:
    dump = tmp_path / "disk.zdump"
    ok("dump", disk, dump)
    before = disk.read_bytes()
    assert refused("restore", dump, disk) == f"{disk} exists; --replace replaces it"
    assert disk.read_bytes() == before
    ok("restore", dump, disk, "--replace")
    assert "name the IMAGE" in refused("restore", dump, status=2)
    assert "not in the range" in refused("dump", disk, dump, "--level", "10", status=2)
    told = refused("dump", disk, tmp_path / "no" / "dump")
    assert told == f"{tmp_path / 'no' / 'dump'}: No such file or directory"


def test_a_failed_dump_leaves_the_old_one(disk: Path, tmp_path: Path) -> None:
    """An image that cannot be read to its end must not cost the dump of yesterday."""
    dump = tmp_path / "disk.zdump"
    dump.write_bytes(b"yesterday")
    os.truncate(disk, disk.stat().st_size // 2)
    refused("dump", disk, dump)
    assert dump.read_bytes() == b"yesterday"
    assert sorted(os.listdir(tmp_path)) == ["disk.img", "disk.zdump"]


def test_a_full_host_leaves_nothing(disk: Path, tmp_path: Path) -> None:
    done = zonedctl("dump", disk, "/dev/full")
    assert "No space left on device" in sentence(done)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing(
    disk: Path, tmp_path: Path, number: signal.Signals
) -> None:
    copy = tmp_path / "copy.img"
    data = zonedctl("dump", disk, "-").out
    child = subprocess.Popen(
        [*COMMAND, "restore", "-", str(copy)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdin is not None
    child.stdin.write(data[:-8])
    child.stdin.flush()
    until(lambda: any("restoring" in name for name in os.listdir(tmp_path)), "the restore begins")
    child.send_signal(number)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 128 + number
    assert err in (b"zonedctl: interrupted\n", b"zonedctl: terminated\n")
    assert os.listdir(tmp_path) == ["disk.img"]
