"""What programs and hosts may do to a crash test: each is a sentence, and nothing hangs or stays."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import zoned
from waiting import PATIENCE, until
from zoned.cli.app import cli
from zoned.crash import History
from zoned.crashtest import CrashTest, CrashTestError, Settings, keeper, marks, places, scratch
from zoned.crashtest.children import Keepers
from zoned.crashtest.places import Door, Place

LOOKS = "test $ZONED_MARKS = 0 || grep -q noted {disk}"


def record(folder: Path, word: bytes) -> None:
    """The history of a workload that sets a mark behind each of three blocks, which begin with the word."""
    with (
        zoned.memory(profile="test") as device,
        device.trace.record(folder / "history", data=True),
    ):
        for number in range(3):
            device.append(2, (word + b" %d" % number).ljust(4096, b"\0"))
            device.flush()
            device.trace.mark(f"noted {number}")
        device.append(2, bytes([1]) * 4096)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a test whose workload was recorded, and that nobody has gone on with."""
    folder = tmp_path_factory.mktemp("recorded") / "state"
    folder.mkdir()
    record(folder, b"noted")
    return folder


@pytest.fixture
def state(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "state"))


def crash_test(*words: object) -> Result:
    return CliRunner().invoke(cli, ["crash-test", *map(str, words)])


def of(state: Path, verify: str, **more: object) -> AbstractContextManager[CrashTest]:
    return CrashTest(Settings(["sh", "-c", verify], **more), state)  # type: ignore[arg-type]


def running(word: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in words.split(b"\0"):
            found.append(folder.name)
    return found


# ---------------------------------------------------------------- verifiers


def test_a_daemon_of_the_verifier_goes_with_it(state: Path) -> None:
    """One in a session of its own, whose parent has ended, and that says things for ever."""
    word = f"0.5{os.getpid()}"
    loop = f"while sleep {word}; do echo said; done"
    daemon = f"(setsid sh -c {shlex.quote(loop)} & yes $ZONED_DISK & :) ; :"
    begin = time.monotonic()
    with of(state, f"{daemon}; {LOOKS}", timeout=PATIENCE, jobs=2, every=True) as test:
        result = test.run()
    assert not result.failures, result.failures[0].outcome
    assert not running(word)
    assert time.monotonic() - begin < PATIENCE


def children() -> set[int]:
    """This process's, ended ones too."""
    return {
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text("ascii").split()
    }


@pytest.mark.parametrize(
    "left",
    [
        "(setsid true & true & :); sleep 0.02",
        "(env -i sleep 1000 & setsid env -i sleep 1000 & :)",
        "(sh -c 'setsid sh -c \"sleep 0.01\" &' &)",
    ],
    ids=["ended", "in-another-environment", "about-to-end"],
)
def test_nothing_of_a_verifier_stays(state: Path, left: str) -> None:
    """No process, and none that ended and that nobody has buried."""
    before = children()
    with of(state, f"{left}; {LOOKS}", jobs=2, every=True) as test:
        assert test.run().states > 2
        keepers = children() - before
        assert len(keepers) <= 2
        for keeper in keepers:
            assert Path(f"/proc/{keeper}/task/{keeper}/children").read_text("ascii") == ""
    assert children() <= before


def test_daemons_of_others_stay(state: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        with of(state, LOOKS) as test:
            assert test.run().ok
        assert sleeper.poll() is None
        sleeper.kill()


def test_a_verifier_that_kills_what_looks_after_it(state: Path) -> None:
    word = f"0.7{os.getpid()}"
    run = crash_test("--state", state, "--verify", f"sh -c 'kill -9 $PPID; sleep {word}'")
    assert run.exit_code == 1
    assert "the program has killed process" in run.stderr
    until(lambda: not running(word), "it has ended by itself")


@pytest.mark.parametrize("sent", [0, 1, 4, 9])
def test_a_test_that_ends_amid_an_order_leaves_no_process(sent: int) -> None:
    """Killed while it said what is to be run: four bytes of length, and as many of the order itself."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
        )
    with ours, open(os.devnull, "wb") as output:
        if sent:
            order = (100).to_bytes(4, "big") + b'{"words": '
            socket.send_fds(ours, [order[:sent]], [output.fileno()])
    try:
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


def is_left(folder: Path) -> bool:
    """Whether nobody holds it."""
    try:
        held = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def test_a_verifier_that_kills_the_test_leaves_nothing_for_long(
    state: Path, tmp_path: Path
) -> None:
    word = f"1000.{os.getpid()}"
    words = [sys.executable, "-m", "zoned", "crash-test", "--state", str(state), "--jobs", "1"]
    kills = f"kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); setsid sleep {word} & sleep {word}"
    killed = subprocess.run(
        [*words, "--verify", shlex.join(["sh", "-c", kills])], check=False, timeout=PATIENCE
    )
    until(lambda: not running(word), "what it has started ends with it")
    assert killed.returncode == -signal.SIGKILL
    left = [folder for folder in Path("/dev/shm").glob("zoned-crash-*") if is_left(folder)]
    assert left
    with scratch.scratch() as mine:
        assert os.path.isdir(mine)
        assert not [folder for folder in left if folder.exists()]
    assert not os.path.exists(mine)


def test_a_folder_in_use_is_not_swept() -> None:
    with scratch.scratch() as one:
        Path(one, "disk.img").write_bytes(b"x")
        with scratch.scratch():
            assert Path(one, "disk.img").exists()


def test_what_is_said_obeys_no_terminal_and_fills_no_folder(state: Path) -> None:
    said = "printf '\\001\\377\\033[31mred'; head -c 3000000 /dev/zero | tr '\\0' x; exit 7"
    run = crash_test("--state", state, "--verify", shlex.join(["sh", "-c", said]))
    assert run.exit_code == 1
    assert "ended with status 7" in run.stdout
    assert "\x1b" not in run.stdout
    with of(state, said.replace("exit 7", "exit 0"), jobs=1, every=True) as test:
        (state / "settings.json").unlink()
        result = test.run()
    assert result.blind
    verdicts = (state / "verdicts").read_bytes()
    assert len(verdicts) < 4000 * result.states


def test_interrupted_in_the_midst_of_many_verifiers(state: Path) -> None:
    word = f"1000.{os.getpid()}"
    words = [sys.executable, "-m", "zoned", "crash-test", "--state", str(state), "--jobs", "3"]
    with subprocess.Popen(
        [*words, "--verify", f"sleep {word}"], stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: len(running(word)) > 1, "two verifiers at once")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert told.strip() == "zonedctl: interrupted"
    assert not running(word)


# ---------------------------------------------------------------- workloads


def worked(tmp_path: Path, text: str, **more: object) -> CrashTest:
    with of(tmp_path / "state", "true", **more) as test:
        test.record(["sh", "-c", text], fresh="test")
        return test


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kill -35 $$", "the workload was killed by signal 35"),
        pytest.param(
            "kill -SEGV $$",
            "the workload was killed by SIGSEGV",
            marks=pytest.mark.program,  # which a sanitizer takes for a finding
        ),
        (
            f"echo zoned-mark: {'x' * 5000}",
            "the workload set a mark in vain: a mark of 5000 bytes: at most 4096",
        ),
        (
            "for i in 1 2 3 4 5 6 7 8 9; do echo zoned-mark: $i; done",
            "the workload set a mark in vain: it has set 5 marks, the most that there may be",
        ),
    ],
)
def test_workloads_that_end_with_a_sentence(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "MOST_MARKS", 5)
    with pytest.raises(CrashTestError) as failed:
        worked(tmp_path, text)
    assert str(failed.value).startswith(told)
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["workload.log"]


def test_a_workload_that_never_touches_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = crash_test("--fresh", "test", "--workload", "true", "--verify", "true")
    assert run.exit_code == 1
    assert "No survivor differs from the acknowledged state" in run.stdout


def test_a_line_without_end_is_not_kept() -> None:
    """As far as a mark may be long, and more, but not for ever."""
    lines: list[bytes] = []
    place = Place("x", os.environ, lambda: None)
    command = ["sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x; echo; echo behind"]
    with Keepers() as keepers:
        outcome = places.run(keepers, place, command, {}, PATIENCE, lines.append)
    assert outcome.ok
    assert lines[-1] == b"behind"
    assert max(map(len, lines)) <= 4 * places.MOST_OUTPUT


# ---------------------------------------------------------------- folders and files


def test_a_history_that_was_cut_or_flipped_is_a_sentence(state: Path, long_run: bool) -> None:
    raw = (state / "history").read_bytes()
    header = 184 + 8 + 4
    places_of = [*range(0, header, 1 if long_run else 9), *range(header, len(raw), 997)]
    for at in places_of:
        for bad in (raw[:at], raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]):
            (state / "history").write_bytes(bad)
            run = crash_test("--state", state, "--verify", "true", "--count")
            assert run.exception is None or isinstance(run.exception, SystemExit), at
            assert run.exit_code in (0, 1)
            assert run.exit_code == 0 or run.stderr.startswith("zonedctl: "), run.stderr


def test_verdicts_are_of_one_history(state: Path) -> None:
    """Ids tell where and what survives, not what was written: another history may have the same."""
    with of(state, LOOKS) as test:
        assert test.run().ok
    record(state, b"another")
    with of(state, LOOKS) as test, pytest.raises(CrashTestError, match="with another history"):
        test.run()
    with of(state, "false") as test, pytest.raises(CrashTestError, match="another verify and hist"):
        test.run()


def test_two_at_one_folder(state: Path) -> None:
    with scratch.alone(state):
        run = crash_test("--state", state, "--verify", "true")
        assert run.exit_code == 1
        assert "another crash test is at work there" in run.stderr
        assert crash_test("--state", state, "--verify", "true", "--count").exit_code == 0
        run = crash_test(
            *("--state", state, "--fresh", "test", "--workload", "true", "--verify", "true")
        )
        assert "another crash test is at work there" in run.stderr
    with History(state / "history") as history:
        assert len(history) == 7


def test_two_at_one_image(state: Path, tmp_path: Path) -> None:
    """Each takes a copy, while a third one writes."""
    image = tmp_path / "disk.img"
    with zoned.create(image, profile="test", host_sync="never") as device:
        for name in ("one", "two"):
            with of(tmp_path / name, "true") as test:
                test.record(["true"], image=str(image))
            device.append(2, bytes(4096))
    with zoned.open(image) as device:
        assert device.zones[2].wp == device.zones[2].start + 8192


@pytest.mark.parametrize("option", ["--keep", "--html"])
def test_a_file_that_cannot_be_written_is_told_first(option: str, state: Path) -> None:
    run = crash_test("--state", state, "--verify", "true", option, state / "none" / "x")
    assert run.exit_code == 1
    assert f"{option} can write nothing in its folder" in run.stderr
    assert not (state / "verdicts").exists()


def test_keep_replaces_nothing(state: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.img"
    made = f"touch {kept}; false"  # behind the look that comes first
    run = crash_test("--state", state, "--verify", shlex.join(["sh", "-c", made]), "--keep", kept)
    assert run.exit_code == 1
    assert "kept.img" in run.stderr
    assert kept.stat().st_size == 0


@pytest.mark.parametrize("door", [Door.IMAGE, Door.MOUNT])
def test_a_full_host_is_no_verdict(
    door: Door, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it a file system that cannot be mounted."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(places, "placed", full)
    with of(state, LOOKS, door=door, jobs=3) as test, pytest.raises(OSError, match="No space left"):
        test.run()
    assert (state / "verdicts").read_bytes() == b""


# ---------------------------------------------------------------- the doors


_URL = """
import socket, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
assert url.scheme == "iscsi" and url.path.startswith("/iqn.")
socket.create_connection((url.hostname, url.port)).close()
"""


def test_the_door_of_iscsi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "look.py").write_text(_URL)
    look = shlex.join([sys.executable, "look.py", "{disk}"])
    run = crash_test(
        *("--fresh", "test", "--door", "iscsi", "--workload", look, "--verify", look),
        *("--format", "json"),
    )
    told = json.loads(run.stdout)
    assert told["states"] == 1
    assert not told["failures"]
    assert told["settings"]["door"] == "iscsi"


def test_the_door_of_ublk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block device of the kernel's, where there is one; else a sentence, and nothing stays."""
    monkeypatch.chdir(tmp_path)
    look = "sh -c 'test -b {disk}'"
    run = crash_test(
        "--fresh",
        "test",
        "--door",
        "ublk",
        "--workload",
        look,
        "--verify",
        look,
        "--format",
        "json",
    )
    if os.path.exists("/dev/ublk-control") and os.geteuid() == 0:
        assert not json.loads(run.stdout)["failures"]
    else:
        assert run.exit_code == 1
        told = "needs root" if os.geteuid() else "there is no /dev/ublk-control"
        assert told in run.stderr
        assert not [*(tmp_path / "zoned-crash").iterdir()]
