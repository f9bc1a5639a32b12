"""``zonedctl trace``: record, show, replay and lint from the shell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from cli.shell import COMMAND, ROOT, environment, inside, ok, refused, zonedctl
from traces.workload import BLOCK, SHAPE, ZONE
from waiting import PATIENCE, until


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, **SHAPE).close()
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "x.trace"
    with zoned.memory(**SHAPE) as dev, dev.trace.record(path):
        dev.append(2, bytes(4 * BLOCK))
        dev.pread(BLOCK, 2 * ZONE)
        try:
            dev.pwrite(bytes(BLOCK), 3 * ZONE + BLOCK)
        except zoned.UnalignedWriteError:
            dev.reset_zone(2)
    return path


def test_record_while_a_command_runs(image: Path, tmp_path: Path) -> None:
    """Its status is the recording's; what it did to the disk is in the file, reads by a reader too."""
    path = tmp_path / "x.trace"
    script = f"{sys.executable} -m zoned reset {image} --zones 3-4; {sys.executable} -m zoned read {image} --offset 0 --length 4096 > /dev/null; exit 7"
    done = zonedctl("trace", "record", "-v", image, path, "--", "sh", "-c", script)
    assert done.status == 7
    assert done.out == b""
    assert done.err == f"{path}: 3 commands in {path.stat().st_size} bytes\n"
    assert [str(item).partition(" of ")[0] for item in zoned.Trace(path)] == [
        "reset",
        "reset",
        "read",
    ]
    assert (
        zonedctl("trace", "record", image, path, "true").status == 0
    )  # without --, and over the old file
    assert list(zoned.Trace(path)) == []
    assert "no-such-program: no such command" in refused(
        "trace", "record", image, path, "no-such-program", status=127
    )
    assert f"{image}: it cannot be run" in refused(
        "trace", "record", image, path, image, status=126
    )
    broken = tmp_path / "broken"
    broken.write_bytes(b"no program")
    broken.chmod(0o700)
    assert f"{broken}: it cannot be run: Exec format error" in refused(
        "trace", "record", image, path, broken, status=126
    )
    assert "No such file" in refused("trace", "record", tmp_path / "no", path, "true")
    assert "the disk itself" in refused("trace", "record", image, image, "true")


@pytest.mark.parametrize(
    "words",
    [
        ["-v", "{image}", "{path}", "--", "sh", "-c", "exit 7", "-v"],
        ["{image}", "-v", "{path}", "sh", "-c", "exit 7"],
        ["{image}", "{path}", "-v", "--", "sh", "-c", "exit 7"],
        ["{image}", "{path}", "-f", "--verbose", "sh", "-c", "exit 7", "--", "-f"],
    ],
)
def test_options_of_record_stand_before_the_command(
    image: Path, tmp_path: Path, words: list[str]
) -> None:
    path = tmp_path / "x.trace"
    done = zonedctl("trace", "record", *(word.format(image=image, path=path) for word in words))
    assert done.status == 7
    assert done.err == f"{path}: 0 commands in {path.stat().st_size} bytes\n"
    assert "no such option" in refused("trace", "record", image, path, "--what", "true", status=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_record_until_it_is_ended(image: Path, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "x.trace"
    process = subprocess.Popen(
        [*COMMAND, "trace", "record", "-v", str(image), str(path)],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    with zoned.open(image) as dev:
        until(lambda: dev.trace.recorder == process.pid, "the recorder is at work")
        dev.append(3, bytes(BLOCK))
        assert process.stderr is not None
        assert process.stderr.readline() == "recording; Ctrl-C ends it\n"
        process.send_signal(number)
        assert (
            process.communicate(timeout=PATIENCE)[1]
            == f"{path}: 1 command in {path.stat().st_size} bytes\n"
        )
        assert process.returncode == 0
        assert zonedctl("trace", "record", image, path, "false").status == 1
        with dev.trace.record(tmp_path / "y.trace"):
            assert "recorded already" in refused("trace", "record", image, path, "true")


def test_show(trace: Path) -> None:
    lines = ok("trace", "show", trace).lines
    assert len(lines) == 5
    assert lines[3].endswith(
        "write of 4096 bytes at 3149824 in zone 3: unaligned-write (zone was EMPTY, wp 3145728)"
    )
    assert len(ok("trace", "show", trace, "--zones", "2").lines) == 4
    assert len(ok("trace", "show", trace, "--errors").lines) == 2
    assert len(ok("trace", "show", trace, "--format", "json").lines) == 6
    done = inside("trace", "show", trace, "--format", "iolog", "--iolog-name", "/dev/x")
    assert done.status == 0
    assert done.lines == [
        "fio version 2 iolog",
        "/dev/x add",
        "/dev/x open",
        "/dev/x write 2097152 16384",
        "/dev/x read 2097152 4096",
        "/dev/x trim 2097152 1048576",
        "/dev/x close",
    ]
    assert done.err == f"{trace}: 1 command left out, which an iolog has no place for\n"
    assert "zone 77" in refused("trace", "show", trace, "--zones", "77")
    assert "no summary" in refused(
        "trace", "show", trace, "--format", "iolog", "--summary", status=2
    )
    assert "one word" in refused("trace", "show", trace, "--iolog-name", "a b", status=2)


def test_summary(trace: Path) -> None:
    lines = ok("trace", "show", trace, "--summary").lines
    assert lines[0].startswith("disk: 16 MiB, 16 zones of 1 MiB")
    assert lines[1].startswith("4 commands of 1 process in 0.")
    assert lines[2:] == [
        "  append: 1, 16384 bytes",
        "  read: 1, 4096 bytes",
        "  write: 1, 0 bytes",
        "  reset: 1",
        "  write failed with unaligned-write: 1",
    ]
    told = json.loads(ok("trace", "show", trace, "--summary", "--format", "json").text)
    assert told["commands"] == {"append": 1, "read": 1, "write": 1, "reset": 1}
    assert told["failed"] == [{"command": "write", "result": "unaligned-write", "count": 1}]


def test_a_cut_trace_is_shown_up_to_the_cut(trace: Path) -> None:
    trace.write_bytes(trace.read_bytes()[:-50])
    for command in (["show"], ["replay", "--memory", "--compare"]):
        done = zonedctl("trace", command[0], trace, *command[1:])
        assert done.status == 1
        assert "cut off in the middle of an item" in done.err
        assert done.out
    assert "cut off in the middle" in refused("trace", "lint", trace)
    trace.write_bytes(b"ZDTRACE\n")
    assert "cut off in its header" in refused("trace", "show", trace)


def test_replay(trace: Path, image: Path, tmp_path: Path) -> None:
    assert ok("trace", "replay", trace, "--memory", "--compare").text == (
        "4 commands given, 1 of them refused; no difference\n"
    )
    text = ok("trace", "replay", trace, image, "--dry-run", "--compare").text
    assert text.endswith("no difference\n")
    with zoned.open(image, readonly=True) as dev:
        assert dev.counters.appends == 0
    assert inside("trace", "replay", trace, image).text == ""
    with zoned.open(image, readonly=True) as dev:
        assert dev.counters.appends == 1
    other = tmp_path / "other.img"
    with zoned.create(other, **SHAPE) as dev:
        dev.append(3, bytes(2 * BLOCK))
    assert "not in the state in which the recording began" in refused(
        "trace", "replay", trace, other
    )
    done = zonedctl("trace", "replay", trace, other, "--as-is", "--compare")
    assert done.status == 1
    assert done.lines == [
        "command 2, write of 4096 bytes at 3149824 in zone 3: wp was 3145728, and is 3153920",
        "command 2, write of 4096 bytes at 3149824 in zone 3: condition was EMPTY, and is IMPLICIT_OPEN",
        "at the end, zone 3: zone was as new, and is IMPLICIT_OPEN with wp +8192",
        "4 commands given, 1 of them refused; differences: wp 1, condition 1, zone 1",
    ]
    done = zonedctl("trace", "replay", trace, "--memory", "--compare", "--conventional", "3")
    assert done.status == 1
    assert "append of 16384 bytes to zone 2" in done.text
    assert "IMAGE or --memory" in refused("trace", "replay", trace, status=2)
    assert "go with --memory" in refused(
        "trace", "replay", trace, image, "--max-open", "3", status=2
    )


def test_lint(trace: Path, tmp_path: Path) -> None:
    done = zonedctl("trace", "lint", trace)
    assert done.status == 1
    assert done.lines[1:] == [
        "unaligned-write: 1 refused, first command 2: write at 3149824 in zone 3 is not at its write pointer 3145728",
        "  zone 3: 1",
    ]
    told = inside("trace", "lint", trace, "--format", "json")
    assert told.status == 1
    assert json.loads(told.text)["rules"][0]["rule"] == "unaligned-write"
    log = tmp_path / "x.iolog"
    log.write_text(
        "fio version 2 iolog\n/dev/x add\n/dev/x open\n/dev/x write 0 4096\n/dev/x close\n"
    )
    assert "give --profile, or --size" in refused("trace", "lint", log, status=2)
    assert (
        ok("trace", "lint", log, "--profile", "test")
        .lines[0]
        .startswith(f"{log}: 0 of 1 command would be refused")
    )
    assert ok("trace", "lint", "-", "--profile", "test", stdin=log.read_bytes()).status == 0
    assert (
        ok(
            "trace", "lint", log, "--from", "iolog2", "--size", "64MiB", "--zone-size", "4MiB"
        ).status
        == 0
    )
    assert "--from is 'x'" in refused("trace", "lint", log, "--from", "x", status=2)
    cut = tmp_path / "cut.trace"
    cut.write_bytes(trace.read_bytes()[:-1])
    partly = zonedctl("trace", "lint", cut)
    assert (partly.status, partly.lines[1:]) == (1, done.lines[1:])
    assert "cut off in the middle of an item" in partly.err
    cut.write_bytes(b"")
    assert "the file is empty" in refused("trace", "lint", cut)
    assert "the file is empty" in refused("trace", "show", cut)
    cut.write_bytes(b"ZDT")
    assert "cut off in its header, at byte 3" in refused("trace", "show", cut)
    zns = inside("trace", "lint", trace, "--max-open", "0")
    assert zns.status == 1
