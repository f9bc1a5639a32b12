"""Whatever goes wrong outside of the disk ends in one sentence and the right exit status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import zoned
import zoned.archive
from cli.dumps import Dump
from cli.shell import (
    COMMAND,
    Done,
    drained,
    environment,
    inside,
    limited,
    refused,
    sentence,
    to_full,
    zonedctl,
)
from waiting import PATIENCE, until
from zoned._core.looking import zone_written
from zoned.cli.app import COMMANDS

TAKE_IMAGE = {
    "info": [],
    "report": [],
    "capacity": [],
    "reset": ["--all"],
    "open": ["--zones", "3"],
    "close": ["--all"],
    "finish": ["--zones", "3"],
    "flush-zone": ["--zone", "3"],
    "set-condition": ["ro", "--zones", "3"],
    "read": ["--zone", "3"],
    "write": ["--zone", "3"],
    "check": [],
    "dump": ["-"],
    "mkfs": [],
    "mount": ["/no/such/place", "-f"],
}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    return path


def test_every_command_that_takes_an_image_is_covered() -> None:
    # tests/faults/test_cli.py has faults and power, tests/traces/test_command.py trace, tests/sim bench, tests/iscsi
    # export, tests/run run and shell, tests/crashtest crash-test and mark.
    others = {
        "create",
        "restore",
        "diff",
        "completion",
        "faults",
        "power",
        "trace",
        "bench",
        "remount",
        "export",
        "run",
        "shell",
        "crash-test",
        "mark",
    }
    assert {*TAKE_IMAGE} | others == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(TAKE_IMAGE))
def test_images_that_are_none(command: str, tmp_path: Path, disk: Path) -> None:
    rest = TAKE_IMAGE[command]
    assert "No such file or directory" in refused(command, tmp_path / "no", *rest)
    told = refused(command, tmp_path, *rest)
    assert "Is a directory" in told or "no regular file" in told
    text = tmp_path / "text"
    text.write_text("this is no disk image\n" * 500)
    assert "no zoned disk image" in refused(command, text, *rest)
    text.write_bytes(b"")
    refused(command, text, *rest)
    cut = tmp_path / "cut.img"
    cut.write_bytes(disk.read_bytes()[:5000])
    if command == "check":  # can tell more about it than that it is no image
        assert inside(command, cut).status == 4
    else:
        assert "ends at byte 5000" in refused(command, cut, *rest)
    newer = tmp_path / "newer.img"
    newer.write_bytes(disk.read_bytes())
    with newer.open("r+b") as image:
        for copy in (0, 4096):
            image.seek(copy + 8)
            image.write(b"\x63")
    told = refused(command, newer, *rest)
    assert str(newer) in told


@contextmanager
def nobody_special() -> Iterator[None]:
    """Root may do everything: for a while be somebody else."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("command", sorted(TAKE_IMAGE))
def test_no_permission(command: str, disk: Path) -> None:
    rest = TAKE_IMAGE[command]
    inside(
        command, disk.with_name("no"), *rest
    )  # loads what it needs, which may lie in root's home
    disk.chmod(0)
    with nobody_special():
        assert "Permission denied" in refused(command, disk, *rest)


def test_argument_with_a_nul_or_no_text(tmp_path: Path) -> None:
    for name, status in (("", 2), ("x" * 5000, 1)):
        done = inside("report", tmp_path / name if name else "")
        assert done.status == status
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["frobnicate"], "there is no command 'frobnicate'; there are create, info,"),
        (["repot"], "there is no command 'repot'; did you mean 'report'?"),
        (
            ["unmount", "mnt"],
            "there is no command 'unmount'; fusermount3 -u DIR unmounts, or as root umount DIR",
        ),
        (["report"], "missing argument 'IMAGE' (see zonedctl report --help)"),
        (["report", "a", "b"], "got unexpected extra argument (b)"),
        (["report", "a", "--frmat", "csv"], "--format"),
        (["--nonsense"], "--nonsense"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["reset", "a", "--zones"], "requires an argument"),
    ],
)
def test_usage(args: list[str], told: str) -> None:
    assert told in sentence(inside(*args), 2)


def test_no_command_shows_the_help() -> None:
    done = inside()
    assert done.status == 2
    assert done.err.startswith("Usage: zonedctl [OPTIONS] COMMAND")


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """zonedctl report | head: quiet, and the status that a program killed by SIGPIPE has."""
    path = tmp_path / "disk.img"
    zoned.create(path, profile="hc620").close()
    for args in (
        ["report", path],
        ["report", path, "--format", "json"],
        ["info", path, "--json", "--zone-counters"],
        ["read", path, "--zone", "0"],
        ["reset", path, "--dry-run"],
        ["report", path, "--format", "blkzone", "-c", "1"],
    ):
        reader, writer = os.pipe()
        child = subprocess.Popen(
            [*COMMAND, *map(str, args)], stdout=writer, stderr=subprocess.PIPE, env=environment()
        )
        os.close(writer)
        if args[-1] != "1":
            os.read(reader, 10)
        os.close(reader)
        _, err = child.communicate(timeout=PATIENCE)
        assert err == b"", args
        assert child.returncode in (0, 141), args
        if args[0] == "report":
            assert child.returncode == 141, args


@pytest.mark.parametrize(
    "args",
    [["report"], ["info"], ["capacity"], ["dump", "-"], ["reset", "--dry-run"]],
    ids=" ".join,
)
def test_a_full_output(disk: Path, args: list[str]) -> None:
    done = to_full(args[0], disk, *args[1:])
    assert done.status == 1
    assert "No space left on device" in done.err
    assert done.err.count("\n") == 1


def test_closed_descriptors(disk: Path) -> None:
    """Started without stdin, stdout or stderr, as a badly written daemon does."""
    for redirection in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        line = f'"$@" {redirection}'
        done = subprocess.run(
            ["sh", "-c", line, "sh", *COMMAND, "finish", str(disk), "--zones", "3"],
            capture_output=True,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (redirection, done)
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "terminated")],
)
def test_signals_end_with_one_line(disk: Path, number: signal.Signals, told: str) -> None:
    child = subprocess.Popen(
        [*COMMAND, "write", str(disk), "--zone", "3"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert child.stdin is not None
    child.stdin.write(bytes(65536))
    child.stdin.flush()

    def has_it_open() -> bool:
        with zoned.open(disk, readonly=True) as device:
            return child.pid in [opener.pid for opener in device.openers]

    until(has_it_open, "the child opens the disk")
    until(lambda: drained(child.stdin), "the child reads its input")
    child.send_signal(number)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 128 + number
    assert err.decode() == f"zonedctl: {told}; nothing was written\n"
    assert zonedctl("check", disk).status == 0


def test_traceback_on_request(tmp_path: Path) -> None:
    assert "Traceback" not in zonedctl("report", tmp_path / "no").err
    assert "Traceback" in zonedctl("report", tmp_path / "no", ZONEDCTL_TRACEBACK="1").err


def test_a_host_that_takes_no_more(disk: Path) -> None:
    """A file size limit of the host: the sentence says so, what was written stays, the image stays good."""
    done = limited(12000, "write", disk, "--zones", "2-9", stdin=bytes(20 << 20))
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "File too large" in done.err
    assert inside("check", disk).status == 0
    with zoned.open(disk, readonly=True) as device:
        written = sum(zone_written(device, zone) for zone in range(2, 10))
    assert 0 < written < 12000 * 512
    assert inside("write", disk, "--zone", "9", stdin=bytes(4096)).status == 0


def test_two_creates_at_once(tmp_path: Path) -> None:
    """One wins; the other says that the file exists, and leaves nothing."""
    path = tmp_path / "disk.img"
    children = [
        subprocess.Popen([*COMMAND, "create", str(path)], stderr=subprocess.PIPE, env=environment())
        for _ in range(4)
    ]
    errors = [child.communicate(timeout=PATIENCE)[1].decode() for child in children]
    assert sorted(child.returncode for child in children) == [0, 1, 1, 1]
    for child, err in zip(children, errors, strict=True):
        assert ("exists" in err) == (child.returncode == 1)
        assert err.count("\n") == child.returncode
    assert os.listdir(tmp_path) == ["disk.img"]
    assert inside("check", path).status == 0


def test_flipped_bytes_of_the_metadata_end_in_sentences(disk: Path) -> None:
    """Whatever byte is wrong, each command works or says one sentence; check always knows."""
    assert inside("write", disk, "--zone", "3", stdin=bytes(8192)).status == 0
    good = disk.read_bytes()
    bad = disk.with_name("bad.img")
    for at in [*range(64), *range(64, 4096, 211), *range(4096, 16384 + 1024, 173)]:
        data = bytearray(good)
        data[at] ^= 0x55
        bad.write_bytes(data)
        for command in ("info", "report", "check"):  # there is a second copy of everything
            assert inside(command, bad).status in (0, 4), (command, at)
        if at < 4096:
            data[4096 + at] ^= 0x55
            bad.write_bytes(data)
            for command in ("info", "report", "check"):
                assert str(bad) in refused(command, bad)


def test_a_read_only_image_can_be_looked_at(disk: Path) -> None:
    inside("write", disk, "--zone", "3", stdin=bytes(4096))
    for command in ("info", "report", "capacity", "check"):
        inside(command, disk)  # loads what it needs, which may lie in root's home
    inside("reset", disk, "--all", "--dry-run")
    disk.chmod(0o444)
    folder = disk.parent
    folder.chmod(0o755)
    with nobody_special():
        for command in ("info", "report", "capacity", "check"):
            assert inside(command, disk).status == 0, command
        assert "Permission denied" in refused("reset", disk, "--all")
        assert inside("reset", disk, "--all", "--dry-run").status == 0


@pytest.mark.parametrize("name", ["dir", "e", "a"])
def test_a_name_that_is_part_of_the_message_is_named(
    disk: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "dir" is found in "Is a directory", and yet that does not name it."""
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for command in (
        ("write", disk, name, "--zone", "3"),
        ("restore", name, "copy.img"),
        ("read", disk, "--zone", "3", "-O", name),
        ("trace", "show", name),
        ("faults", "add", disk, "--plan", name),
    ):
        assert refused(*command) == f"{name}: Is a directory", command


def test_an_empty_name_is_refused(disk: Path) -> None:
    for command in (
        ("report", ""),
        ("check", ""),
        ("create", ""),
        ("read", disk, "--zone", "3", "-O", ""),
    ):
        done = zonedctl(*command)
        assert done.status == 2
        assert "the name of a file is empty" in done.err


def test_the_disk_itself_is_no_file_to_write_or_read(disk: Path, tmp_path: Path) -> None:
    """zonedctl read disk.img -O disk.img would leave the zone's data where the disk was."""
    before = disk.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(disk)
    hard = tmp_path / "hard"
    os.link(disk, hard)
    for name in (disk, link, hard):
        for command, what in (
            (("read", disk, "--zone", "1", "-O", name, "-f"), "payload"),
            (("dump", disk, name, "-f"), "a dump"),
            (("write", disk, name, "--zone", "3"), "the input"),
            (("restore", disk, name, "--replace", "-f"), "a dump"),
        ):
            assert (
                refused(*command)
                == f"{name if command[0] != 'restore' else disk} is the disk itself: {what} needs a file of its own"
            )
    assert disk.read_bytes()[:8192] == before[:8192]
    with zoned.open(disk) as device:
        assert device.zones[3].wp == device.zones[3].start


def test_another_disk_is_no_file_to_write_either(disk: Path, tmp_path: Path) -> None:
    """One mistyped name, and a page of a benchmark lay where a disk was."""
    other = tmp_path / "other.img"
    with zoned.create(other) as device:
        device.append(5, b"kept" * 1024)
    link = tmp_path / "link"
    link.symlink_to(other)
    before = other.read_bytes()
    run = ("bench", "random-zones", "--set", "seconds=0.01", "--quiet")
    for name in (other, link):
        for command in (
            ("read", disk, "--zone", "1", "-O", name, "-f"),
            ("dump", disk, name, "-f"),
            ("trace", "record", disk, name, "-f", "--", "true"),
            (*run, "--html", name),
        ):
            assert (
                refused(*command)
                == f"{name}: a disk image is there: name another file, or remove it first"
            )
    assert other.read_bytes() == before


def test_a_file_that_cannot_be_made_is_called_as_it_was_given(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("dump", disk, "no/x.zdump") == "no/x.zdump: No such file or directory"


@pytest.mark.parametrize("name", ["dir", "image", "the", "open"])
def test_a_file_that_is_called_as_a_word_of_the_sentence_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An image called "image" that is not there was told of as "No such file or directory"."""
    monkeypatch.chdir(tmp_path)
    told = "No such file or directory (cannot open the image)"
    assert refused("info", name) == f"{name}: {told}"
    os.mkdir(name)
    assert refused("info", name) == f"{name}: Is a directory (cannot open the image)"


def test_a_bench_is_not_run_for_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    """It was told behind the run, which may have taken an hour."""
    run = ("bench", "random-zones", "--set", "seconds=0.01", "--html")
    missing = tmp_path / "no" / "page.html"
    for name, wrong in ((missing, "No such file or directory"), (tmp_path, "Is a directory")):
        done = inside(*run, name)
        assert sentence(done) == f"{name}: {wrong}"
        assert not done.out


def test_what_is_no_regular_file_is_not_offered_for_replacing(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    dump = tmp_path / "dump"
    with zoned.create(tmp_path / "disk.img"):
        pass
    zonedctl("dump", tmp_path / "disk.img", dump)
    for name in (fifo, tmp_path, Path("/dev/null")):
        for command in (
            ("create", name),
            ("create", name, "--replace"),
            ("restore", dump, name, "--replace"),
        ):
            assert refused(*command) == f"{name} exists and is no regular file: choose another name"


@pytest.mark.parametrize(
    "args", [("--help",), ("--version",), ("report", "--help"), ("bench", "--list")]
)
def test_full_standard_output_is_told(args: tuple[str, ...]) -> None:
    done = to_full(*args)
    assert done.status == 1
    assert done.err == "zonedctl: cannot write to standard output: No space left on device\n"


def test_a_full_disk_under_an_output_file_names_the_file(disk: Path) -> None:
    assert refused("dump", disk, "/dev/full") == "/dev/full: No space left on device"
    assert (
        refused("read", disk, "--zone", "1", "-O", "/dev/full")
        == "/dev/full: No space left on device"
    )


@pytest.mark.parametrize("group", ["power", "faults", "trace"])
def test_a_group_without_a_command_shows_its_help(group: str) -> None:
    done = zonedctl(group)
    assert (done.status, done.out) == (2, b"")
    assert done.err.startswith(f"Usage: zonedctl {group} [OPTIONS] COMMAND")
    assert "zonedctl:" not in done.err


def test_numbers_that_mean_nothing_are_refused(disk: Path, tmp_path: Path) -> None:
    for args in (
        ("faults", "add", disk, "medium", "--nth", "0"),
        ("faults", "add", disk, "medium", "--every", "-1"),
        ("faults", "add", disk, "medium", "--times", "0"),
        ("power", "states", disk, "--limit", "0"),
        ("trace", "replay", tmp_path / "x", "--memory", "--show", "-1"),
    ):
        done = zonedctl(*args)
        assert done.status == 2
        assert "is not in the range" in done.err


ODD = ("d\u00efsk.img", os.fsdecode(b"d\xffsk.img"))
LOCALES = (
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
)


@pytest.mark.parametrize("env", LOCALES, ids="-".join)
def test_names_come_out_as_the_host_has_them(tmp_path: Path, env: dict[str, str]) -> None:
    """Whatever the locale: to the byte, in output and in sentences."""
    for name in ODD:
        path = tmp_path / name
        zoned.create(path).close()
        for args in (["info", path], ["check", path], ["report", f"{path}.no"]):
            done = subprocess.run(
                [*COMMAND, *args],
                capture_output=True,
                env=environment(**env),
                timeout=PATIENCE,
                check=False,
            )
            assert os.fsencode(path) in done.stdout + done.stderr, (args, done)
            assert done.returncode == (args[0] == "report")


def test_paths_in_messages_are_as_given(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(disk.parent)
    for command in ("report", "check", "info", "dump"):
        rest = ["-"] if command == "dump" else []
        assert refused(command, "no.img", *rest).startswith("no.img: No such file"), command
    assert refused("create", "no/disk.img").startswith("no/disk.img: No such file")
    assert refused("trace", "record", disk.name, "no/x.trace", "--", "true").startswith(
        "no/x.trace:"
    )


EVIL = "a\nzonedctl: all is well\x1b[2J\u202e.img"
ESCAPED = "a\\nzonedctl: all is well\\x1b[2J\\u202e.img"


def harmless(done: Done) -> str:
    """All that a command said, in which nothing is left for a terminal to obey."""
    told = done.out.decode() + done.err
    assert not set(told) & {"\x1b", "\u202e", "\x9b"}, told
    assert "\nzonedctl: all is well" not in told
    return told


def test_names_do_not_move_the_cursor(tmp_path: Path) -> None:
    """A newline in a path makes no second sentence, an escape sequence clears no screen."""
    path = tmp_path / EVIL
    for args in (["report", path], ["restore", path, tmp_path / "x"], ["frobnicate\x1b[2J"]):
        done = zonedctl(*args)
        assert sentence(done, 2 if len(args) == 1 else 1)
        harmless(done)
    zoned.create(path).close()
    dump = tmp_path / f"{EVIL}.zdump"
    for args in (
        ["info", path],
        ["check", path],
        ["create", path],
        ["dump", path, dump, "-v"],
        ["restore", dump, "--dry-run"],
        ["restore", dump, path, "--replace", "-v"],
        ["restore", path, tmp_path / "x"],
        ["write", path, path, "--zone", "3"],
        ["reset", path, "--all", "-v"],
        ["mkfs", path, "-v", "-L", "\x1b[2J"],
        ["mkfs", path],
        ["trace", "show", path],
        ["faults", "add", path, "--plan", path],
        ["diff", path, tmp_path / "none"],
    ):
        told = harmless(zonedctl(*args))
        if args[0] in ("info", "check", "create", "restore"):
            assert ESCAPED in told, args


def test_command_lines_of_others_do_not_move_the_cursor(disk: Path) -> None:
    """Anybody may give a process any arguments."""
    holder = "import sys, zoned; zoned_device = zoned.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [COMMAND[0], "-c", holder, str(disk), EVIL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        told = harmless(zonedctl("info", disk))
        assert f"pid {other.pid}" in told
        assert ESCAPED in told
        told = harmless(zonedctl("create", disk, "--replace", "-f"))
        assert ESCAPED in told
        with zoned.open(disk, readonly=True) as device:
            assert ESCAPED in str(device.openers)
        other.communicate(timeout=PATIENCE)


def test_a_dump_says_nothing_to_the_terminal(disk: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zoned.open(disk, readonly=True) as device:
        zoned.archive.dump(device, stream)
    whole = Dump(stream.getvalue())
    described = json.loads(whole.bodies()[0][1])
    described["uuid"] = described["profile"] = EVIL
    parts = whole.chunks()
    parts[1] = Dump.chunk(b"DISK", 0, json.dumps(described).encode())
    dump = tmp_path / "dump"
    dump.write_bytes(b"".join(parts))
    assert ESCAPED in harmless(zonedctl("restore", dump, "--dry-run"))
    copy = tmp_path / "copy.img"
    assert zonedctl("restore", dump, copy).status == 0
    harmless(zonedctl("info", copy))


def test_what_is_not_exported_is_named(tmp_path: Path) -> None:
    rest = "zonedctl export list tells which there are"
    name = tmp_path / "no.img"
    assert refused("export", "stop", name) == f"there is no export of {name}: {rest}"
    assert refused("export", "stop", "--pid", 1) == f"there is no export in process 1: {rest}"
