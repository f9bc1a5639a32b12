"""``read`` and ``write``: files, pipes, several zones, blocks, and what cannot be."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

import zoned
from cli.shell import COMMAND, Done, environment, inside, ok, refused, rows, sentence
from zoned._core.looking import zone_written

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    return path


def test_write_and_read_one_zone(disk: Path, tmp_path: Path) -> None:
    first, second = noise(3 * MIB + 4096), noise(8192, 2)
    file = tmp_path / "file"
    file.write_bytes(first)
    ok("write", disk, file, "--zone", "3")
    ok("write", disk, "--zone", "3", stdin=second)
    assert ok("read", disk, "--zone", "3").out == first + second
    assert ok("read", disk, "--zone", "3", "--length", "5000").out == first[:5000]


def test_conventional_zone_is_written_from_its_start(disk: Path) -> None:
    ok("write", disk, "--zone", "1", stdin=noise(8192))
    ok("write", disk, "--zone", "1", stdin=noise(4096, 2))
    assert (
        ok("read", disk, "--zone", "1", "--length", "8192").out
        == noise(4096, 2) + noise(8192)[4096:]
    )
    assert len(ok("read", disk, "--zone", "1").out) == 4 * MIB


@pytest.mark.parametrize(
    ("keywords", "where"),
    [
        ({}, ["--zone", "3", "--follow"]),
        ({}, ["--zones", "3-9"]),
        ({}, ["--zones", "9,3,5-7"]),
        ({}, ["--zone", "3", "--count", "5"]),
        ({"zone_capacity": "3MiB", "dialect": "zns"}, ["--zone", "0", "--follow"]),
        ({"zone_capacity": "3MiB", "unrestricted_read": False}, ["--zone", "2", "--follow"]),
        ({"logical_block": 512, "physical_block": 4096}, ["--zone", "15", "--count", "1"]),
        ({"model": "host-aware", "logical_block": 512, "physical_block": 512}, ["--zones", "4-8"]),
    ],
)
@pytest.mark.parametrize("append", [False, True])
def test_a_stream_over_several_zones(
    tmp_path: Path, keywords: dict[str, object], where: list[str], append: bool
) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, **keywords).close()
    data = noise((3 if "15" in where else 11) * MIB + 1234)
    done = ok("write", path, *where, "--pad", *(["--append"] if append else []), stdin=data)
    assert ok("read", path, *where, "--length", len(data)).out == data
    with zoned.open(path, readonly=True) as device:
        held = sum(
            zone_written(device, zone) for zone in range(2 if "dialect" not in keywords else 0, 16)
        )
        block = device.geometry.physical_block
    assert held == -(-len(data) // block) * block
    if append:
        assert sum(int(line.split()[1]) for line in done.lines) == held
    else:
        assert done.out == b""


def test_append_tells_where_the_data_landed(disk: Path) -> None:
    assert ok("write", disk, "--zone", "5", "--append", stdin=bytes(8192)).lines == [
        "20971520 8192"
    ]
    assert ok("write", disk, "--zone", "5", "--append", stdin=bytes(4096)).lines == [
        "20979712 4096"
    ]


def test_append_keeps_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, append_limit="16KiB").close()
    data = noise(100 * 1024)
    assert ok("write", path, "--zone", "2", "--append", stdin=data).lines == [
        f"{8 * MIB} {len(data)}"
    ]
    assert ok("read", path, "--zone", "2").out == data
    with zoned.open(path) as device:
        assert device.counters.appends == 7


def test_going_on_in_the_first_zone_that_is_not_full(disk: Path) -> None:
    """A log over several zones: each call goes on where the last one ended."""
    data = b""
    for turn in range(4):
        part = noise(3 * MIB, turn)
        ok("write", disk, "--zones", "2-6", stdin=part)
        data += part
    assert ok("read", disk, "--zones", "2-6").out == data
    assert ok("read", disk, "--zone", "2", "--follow", "--length", len(data)).out == data


def test_pipes_give_short_reads(disk: Path) -> None:
    """A pipe that drips still makes whole blocks."""
    data = noise(70_000)
    child = subprocess.Popen(
        [*COMMAND, "write", str(disk), "--zone", "4", "--pad"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdin is not None
    for at in range(0, len(data), 777):
        child.stdin.write(data[at : at + 777])
        child.stdin.flush()
    _, err = child.communicate()
    assert (child.returncode, err) == (0, b"")
    assert ok("read", disk, "--zone", "4", "--length", len(data)).out == data
    with zoned.open(disk, readonly=True) as device:
        assert device.zones[4].written == 73728


def piped(data: bytes, *args: object) -> Done:
    """Run a command with a pipe, whose length nobody knows, as its input."""
    done = subprocess.run(
        [*COMMAND, *(str(arg) for arg in args)],
        input=data,
        capture_output=True,
        env=environment(),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


def test_a_partial_block(disk: Path, tmp_path: Path) -> None:
    """Refused with nothing written if that can be known, with whole blocks written if not."""
    file = tmp_path / "file"
    file.write_bytes(bytes(5000))
    before = rows(disk)
    told = refused("write", disk, file, "--zone", "3")
    assert told == (
        "the input ends with 904 bytes of a block of 4096: --pad fills it with zeros; nothing was written"
    )
    assert rows(disk) == before
    told = sentence(piped(bytes(5000), "write", disk, "--zone", "3"))
    assert told.endswith("; 4096 bytes were written")
    with zoned.open(disk, readonly=True) as device:
        assert device.zones[3].written == 4096
    ok("write", disk, file, "--zone", "3", "--pad")
    with zoned.open(disk, readonly=True) as device:
        assert device.zones[3].written == 4096 + 8192


def test_512e_needs_whole_physical_blocks(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, logical_block=512, physical_block=4096).close()
    assert "512 bytes of a block of 4096" in refused("write", path, "--zone", "3", stdin=bytes(512))
    ok("write", path, "--zone", "1", stdin=bytes(512))


def test_what_does_not_fit(disk: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(9 * MIB))
    before = rows(disk)
    told = refused("write", disk, file, "--zones", "3-4")
    assert told == (
        f"the input has {9 * MIB} bytes, and zones 3-4 of {disk} have room for {8 * MIB}; nothing was written"
    )
    assert "zones 14-15" in refused("write", disk, file, "--zone", "14", "--follow")
    assert rows(disk) == before
    told = sentence(piped(bytes(9 * MIB), "write", disk, "--zones", "3-4"))
    assert (
        told == f"the input goes on, and zones 3-4 can take no more; {8 * MIB} bytes were written"
    )
    told = refused("write", disk, file, "--zones", "3-4")
    assert "have room for 0" in told
    assert "full" in refused("write", disk, "--zone", "3", stdin=bytes(4096))


def test_the_next_zone_must_be_empty(disk: Path) -> None:
    ok("write", disk, "--zone", "5", stdin=bytes(4096))
    told = sentence(piped(bytes(9 * MIB), "write", disk, "--zone", "3", "--follow"))
    assert told == f"zone 5 is implicit-open, not empty; {8 * MIB} bytes were written"
    told = sentence(piped(bytes(9 * MIB), "write", disk, "--zone", "0", "--follow"))
    assert "zone 1 is conventional" in told


def test_write_at_an_offset(disk: Path) -> None:
    start = 12 * MIB
    ok("write", disk, "--offset", start, stdin=noise(8192))
    ok("write", disk, "--offset", hex(start + 8192), stdin=noise(4096, 2))
    assert ok("read", disk, "--zone", "3").out == noise(8192) + noise(4096, 2)
    told = refused("write", disk, "--offset", start, stdin=bytes(4096))
    assert "not at its write pointer" in told or "is refused" in told
    assert str(start) in told
    assert "is not on the disk" in refused("write", disk, "--offset", "64MiB", stdin=bytes(4096))
    assert "multiple" in refused("write", disk, "--offset", "100", stdin=bytes(4096))
    ok("write", disk, "--offset", "4KiB", "--length", "4096", stdin=noise(8192, 3))
    assert ok("read", disk, "--offset", "4KiB", "--length", "8192").out == noise(8192, 3)[
        :4096
    ] + bytes(4096)


def test_an_offset_goes_on_over_zones(disk: Path) -> None:
    data = noise(6 * MIB)
    ok("write", disk, "--offset", "8MiB", stdin=data)
    assert ok("read", disk, "--offset", "8MiB", "--length", "6MiB").out == data


def test_read_does_not_invent_data(disk: Path) -> None:
    ok("write", disk, "--zone", "3", stdin=bytes(8192))
    told = refused("read", disk, "--zone", "3", "--length", "8193")
    assert told == (
        f"zone 3 of {disk} holds 8192 bytes up to the write pointer, not 8193; --offset reads beyond it"
    )
    assert ok("read", disk, "--offset", 12 * MIB, "--length", "8193").out == bytes(8193)
    assert ok("read", disk, "--zone", "4").out == b""


def test_read_of_full_read_only_and_offline_zones(disk: Path) -> None:
    for zone in (3, 4, 5):
        ok("write", disk, "--zone", zone, stdin=noise(8192, zone))
    ok("finish", disk, "--zones", "3")
    ok("set-condition", disk, "ro", "--zones", "4")
    ok("set-condition", disk, "of", "--zones", "5")
    assert ok("read", disk, "--zone", "3").out == noise(8192, 3) + bytes(4 * MIB - 8192)
    assert ok("read", disk, "--zone", "4").out == noise(8192, 4)
    assert "offline" in refused("read", disk, "--zone", "5")


def test_output_file_is_whole_or_untouched(disk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ok("write", disk, "--zones", "3-4", stdin=noise(6 * MIB))
    ok("read", disk, "--zones", "3-4", "--output", out)
    assert out.read_bytes() == noise(6 * MIB)
    out.write_bytes(b"precious")
    out.chmod(0o600)
    ok("set-condition", disk, "of", "--zones", "4")
    assert "offline" in refused("read", disk, "--zones", "3-4", "-O", out)
    assert out.read_bytes() == b"precious"
    ok("read", disk, "--zone", "3", "-O", out)
    assert len(out.read_bytes()) == 4 * MIB
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["disk.img", "out"]


def test_output_to_a_folder_that_is_not_there(disk: Path, tmp_path: Path) -> None:
    told = refused("read", disk, "--zone", "0", "-O", tmp_path / "no" / "out")
    assert told == f"{tmp_path / 'no' / 'out'}: No such file or directory"
    ok("read", disk, "--zone", "0", "-O", "/dev/null")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "say where: --zone N, --zones LIST or --offset BYTES"),
        (["--zone", "3", "--zones", "4"], "--zone and --zones exclude each other"),
        (["--zone", "3", "--offset", "0"], "--zone and --offset exclude each other"),
        (["--zones", "3", "--count", "2"], "--count goes with --zone"),
        (["--zones", "3", "--follow"], "--follow goes with --zone or --offset"),
        (["--zone", "3-4"], "'3-4' is not the number of a zone; --zones takes several"),
        (["--zone", "-1"], "'-1' is not the number of a zone"),
        (["--zone", "3", "--length", "-1"], "must not be negative"),
        (["--zone", "3", "--length", "1Q"], "unit"),
        (["--offset", "1.3", "--length", "1"], "whole number of bytes"),
        (["--offset", str(2**63)], "at most"),
    ],
)
@pytest.mark.parametrize("command", ["read", "write"])
def test_usage(disk: Path, command: str, args: list[str], told: str) -> None:
    assert told in refused(command, disk, *args, status=2)


def test_zone_that_is_not_there(disk: Path) -> None:
    for command in ("read", "write"):
        told = refused(command, disk, "--zone", "16")
        assert told.endswith("zone 16 does not exist: the disk has zones 0 to 15")
        assert "zone 99 does not exist" in refused(command, disk, "--zones", "3,99")


def test_input_that_is_not_there(disk: Path, tmp_path: Path) -> None:
    assert refused("write", disk, tmp_path / "no", "--zone", "3").endswith(
        "No such file or directory"
    )
    assert "Is a directory" in refused("write", disk, tmp_path, "--zone", "3")


def test_limits_speak_in_sentences(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, max_open=1).close()
    ok("open", path, "--zones", "2")
    told = refused("write", path, "--zone", "3", stdin=bytes(4096))
    assert "zone 3" in told
    assert "open" in told


def test_written_data_is_durable(disk: Path) -> None:
    ok("write", disk, "--zone", "3", stdin=bytes(8192))
    with zoned.open(disk, readonly=True) as device:
        assert device.zones[3].durable_wp == device.zones[3].wp == 12 * MIB + 8192


def test_nothing_to_write_is_done_quietly(disk: Path) -> None:
    before = rows(disk)
    ok("write", disk, "--zone", "3", stdin=b"")
    assert inside("write", disk, "--zone", "3", "--length", "0", stdin=bytes(4096)).status == 0
    assert rows(disk) == before


def test_any_bytes_can_be_read(disk: Path) -> None:
    """The disk gives whole blocks, the command what was asked for."""
    data = noise(3 * MIB)
    ok("write", disk, "--zone", "3", stdin=data)
    start = 12 * MIB
    for at, size in ((1, 3), (4095, 2), (MIB - 1, MIB + 2), (4096, 1), (5000, 3 * MIB - 5000)):
        got = ok("read", disk, "--offset", start + at, "--length", size).out
        assert got == data[at : at + size], (at, size)


def test_a_refused_read_speaks_of_what_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, unrestricted_read=False).close()
    told = refused("read", path, "--offset", 20971521, "--length", 3)
    assert told.endswith("reads only what was written (asked for: 3 bytes from 20971521 on)")
    told = refused("read", path, "--offset", 20971520, "--length", 4096)
    assert "asked for" not in told
    ok("write", path, "--zone", "5", stdin=bytes(4096))
    assert ok("read", path, "--offset", 20971521, "--length", 3).out == bytes(3)


def test_a_write_amid_a_block_names_the_offset(disk: Path) -> None:
    told = refused("write", disk, "--offset", 20971521, "--pad", stdin=b"abc")
    assert told == "offset 20971521 lies within a block: it must be a multiple of 4096"
