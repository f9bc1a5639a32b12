"""On a terminal: questions before data goes, progress, colours, Ctrl-C. Without one: none of it."""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from pathlib import Path

import pytest

import zoned
from cli.shell import Terminal, drained, rows, zonedctl

pytestmark = pytest.mark.plain  # Python that starts, most of the time

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with zoned.create(path) as device:
        device.pwrite(bytes(8192), device.geometry.zone_start(3))
        device.pwrite(bytes(MIB), device.geometry.zone_start(4))
    return path


@pytest.mark.parametrize(
    ("args", "question"),
    [
        (["reset", "--zones", "3"], "Reset 1 zone of {}? 8.0 KiB of data in 1 zone will be lost."),
        (
            ["reset", "--zones", "2-9"],
            "Reset 8 zones of {}? 1.0 MiB of data in 2 zones will be lost.",
        ),
        (["reset"], "Reset all 16 zones of {}? 1.0 MiB of data in 2 zones will be lost."),
        (["reset", "--all"], "Reset all 16 zones of {}?"),
        (["finish", "--all"], "Finish all 16 zones of {}?"),
        (["close"], "Close all 16 zones of {}?"),
        (["open", "--all"], "Open all 16 zones of {}?"),
        (
            ["set-condition", "offline", "--zones", "3"],
            "Make 1 zone of {} offline? 8.0 KiB of data",
        ),
        (["set-condition", "ro", "--zones", "3-5"], "Make 3 zones of {} read-only?"),
    ],
)
def test_asks_and_takes_no(disk: Path, args: list[str], question: str) -> None:
    before = rows(disk)
    verb, *rest = args
    terminal = Terminal(verb, disk, *rest)
    assert question.format(disk) in terminal.until("[y/N]: ")
    terminal.type("n\n")
    assert terminal.finish() == 1
    assert terminal.screen.splitlines()[-1] == "zonedctl: nothing was done"
    assert rows(disk) == before


def test_asks_and_takes_yes(disk: Path) -> None:
    terminal = Terminal("reset", disk, "--zones", "3")
    terminal.until("[y/N]: ")
    terminal.type("y\n")
    assert terminal.finish() == 0
    with zoned.open(disk, readonly=True) as device:
        assert device.zones[3].condition is zoned.ZoneCondition.EMPTY
        assert device.zones[4].written == MIB


@pytest.mark.parametrize(
    "args",
    [
        ["reset", "--zones", "3", "-f"],
        ["reset", "--force"],
        ["set-condition", "of", "--zones", "3", "-f"],
        ["finish", "--all", "-f"],
    ],
)
def test_force_does_not_ask(disk: Path, args: list[str]) -> None:
    before = rows(disk)
    verb, *rest = args
    terminal = Terminal(verb, disk, *rest)
    assert terminal.finish() == 0
    assert terminal.screen == ""
    assert rows(disk) != before


@pytest.mark.parametrize(
    "args", [["reset", "--zones", "7-9"], ["finish", "--zones", "3"], ["open", "--zones", "5"]]
)
def test_does_not_ask_when_nothing_is_lost(disk: Path, args: list[str]) -> None:
    verb, *rest = args
    terminal = Terminal(verb, disk, *rest)
    assert terminal.finish() == 0
    assert "[y/N]" not in terminal.screen


def test_without_a_terminal_no_question(disk: Path) -> None:
    done = zonedctl("reset", disk)
    assert (done.status, done.out, done.err) == (0, b"", "")


def test_the_question_names_who_else_has_it_open(disk: Path) -> None:
    with zoned.open(disk):
        terminal = Terminal("reset", disk, "--zones", "3")
        shown = terminal.until("[y/N]: ")
        assert f"Process {os.getpid()} (" in shown
        terminal.type("\n")
        assert terminal.finish() == 1


def content(path: Path) -> bytes:
    """What a file says; of an image all but the shared state of its openers, which whoever asks about them touches."""
    data = path.read_bytes()
    if not data.startswith(b"ZDIMAGE"):
        return data
    runtime, start = struct.unpack_from("<QQ", data, 112)
    return data[:runtime] + data[start:]


def test_replacing_asks(disk: Path, tmp_path: Path) -> None:
    dump, out = tmp_path / "dump", tmp_path / "out"
    out.write_bytes(b"precious")
    assert zonedctl("dump", disk, dump).status == 0
    for args in (
        ["create", disk, "--replace"],
        ["restore", dump, disk, "--replace"],
        ["dump", disk, dump],
        ["read", disk, "--zone", "3", "-O", out],
    ):
        target = out if out in args else dump if args[0] == "dump" else disk
        before = content(target)
        terminal = Terminal(*args)
        assert f"Replace {target} (" in terminal.until("[y/N]: ")
        terminal.type("n\n")
        assert terminal.finish() == 1
        assert content(target) == before
        terminal = Terminal(*args, "-f")
        assert terminal.finish() == 0
        assert "[y/N]" not in terminal.screen


def test_end_of_input_at_a_question_is_no(disk: Path) -> None:
    before = rows(disk)
    terminal = Terminal("reset", disk)
    terminal.until("[y/N]: ")
    terminal.type("\x04")
    assert terminal.finish() != 0
    assert rows(disk) == before


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_at_a_question(disk: Path, number: signal.Signals, told: str) -> None:
    before = rows(disk)
    terminal = Terminal("reset", disk)
    terminal.until("[y/N]: ")
    while not _waiting(terminal.master):  # Python's input() misses a signal just before it waits
        terminal.process.send_signal(number)
        time.sleep(0.1)
    assert terminal.finish() == 128 + number
    assert terminal.screen.splitlines()[-1] == f"zonedctl: {told}"
    assert rows(disk) == before


def test_control_c_while_writing(tmp_path: Path) -> None:
    """One line, status 130, and what was written stays."""
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    reader, writer = os.pipe()
    terminal = Terminal("write", path, "--zone", "3", stdin=reader)
    os.close(reader)
    os.write(writer, bytes(65536))
    terminal.process.poll()
    deadline = time.monotonic() + 60
    while True:  # until it waits in the pipe
        with open(f"/proc/{terminal.process.pid}/wchan", encoding="ascii") as state:
            where = state.read()
        with open(f"/proc/{terminal.process.pid}/cmdline", "rb") as command:
            started = b"zoned" in command.read()
        if started and "pipe" in where:
            break
        if started and drained(writer):
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    terminal.interrupt()
    assert terminal.finish() == 130
    os.close(writer)
    last = re.sub(r"\r[^\n]*\r", "", terminal.screen).splitlines()[-1]
    assert last == "zonedctl: interrupted; nothing was written"
    assert zonedctl("check", path).status == 0


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, size="1GiB", zone_size="64MiB", conventional=0).close()
    reader, writer = os.pipe()
    terminal = Terminal("write", path, "--zone", "3", "--follow", stdin=reader)
    os.close(reader)
    chunk = bytes(MIB)
    deadline = time.monotonic() + 60
    while "/s" not in terminal.screen:
        os.write(writer, chunk)
        time.sleep(0.02)
        assert time.monotonic() < deadline
        if _waiting(terminal.master):
            terminal._read()
    os.close(writer)
    assert terminal.finish() == 0
    assert re.search(r"\rwrite [\d.]+ [KM]iB +[\d.]+ [KMG]iB/s", terminal.screen)
    last = terminal.screen.splitlines()[-1]
    assert re.search(r"wrote [\d.]+ MiB in [\d.]+ s \([\d.]+ [KMG]iB/s\) to zones? 3", last)
    done = zonedctl("write", path, "--zone", "9", stdin=chunk * 32)
    assert (done.status, done.err) == (0, "")
    done = zonedctl("write", path, "--zone", "10", "-v", stdin=chunk)
    assert re.fullmatch(r"wrote 1.0 MiB in [\d.]+ s \(.*/s\) to zone 10\n", done.err)


def _waiting(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 0)[0])


def test_progress_of_a_file_shows_its_share(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, size="2GiB", zone_size="256MiB", conventional=0) as device:
        device.finish_zone(0, 8)
    terminal = Terminal("read", path, "--zones", "0-7", "-O", "/dev/null")
    assert terminal.finish() == 0
    shown = re.findall(r"read \[([# ]{24})\] +(\d+)%  [\d.]+ [MG]iB of 2.0 GiB", terminal.screen)
    for bar, share in shown:
        assert abs(bar.count("#") - int(share) * 24 / 100) <= 1
    assert "read 2.0 GiB in" in terminal.screen.splitlines()[-1]


def test_colours_only_on_a_terminal_that_wants_them(disk: Path) -> None:
    terminal = Terminal("report", disk)
    assert terminal.finish() == 0
    assert "\x1b[36mimplicit-open" in terminal.screen
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        terminal = Terminal("report", disk, **env)
        assert terminal.finish() == 0
        assert "\x1b" not in terminal.screen
    assert "\x1b" not in zonedctl("report", disk).text


def test_payload_is_not_printed_on_a_terminal(disk: Path) -> None:
    for args in (["read", disk, "--zone", "3"], ["dump", disk, "-"]):
        terminal = Terminal(*args)
        assert terminal.finish() == 1
        assert "standard output is a terminal" in terminal.screen
    terminal = Terminal("read", disk, "--zone", "5", "-O", "-")
    assert terminal.finish() == 0


def test_remarks_on_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal("create", tmp_path / "disk.img", "--dialect", "zns", "--conventional", "1")
    assert terminal.finish() == 0
    lines = terminal.screen.splitlines()
    assert lines[0].startswith(f"created {tmp_path / 'disk.img'}: 64 MiB, 16 zones of 4 MiB")
    assert lines[1] == "note: no ZNS drive has conventional zones"
    done = zonedctl("create", tmp_path / "other.img")
    assert (done.out, done.err) == (b"", "")
