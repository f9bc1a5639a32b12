"""Ctrl-C and SIGTERM: while zonedctl starts and ends, and in the middle of a write."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import zoned
from cli.shell import COMMAND, ROOT, environment, limited, zonedctl
from waiting import PATIENCE, until
from zoned.cli.app import cli

MIB = 1 << 20

#: Raises a signal at the nth event of its start: an import, or the opening of a file. Nothing is counted
#: before main() was called, as until then there is no code of ours that could answer.
HOOK = """
import os, signal, sys
from zoned.cli import main
wanted, number, seen = int(sys.argv[1]), int(sys.argv[2]), 0
sys.argv[1:3] = []
def hook(event, args):
    global seen
    if event in ("import", "open"):
        seen += 1
        if seen == wanted:
            signal.raise_signal(number)
if wanted:
    sys.addaudithook(hook)
    main()
else:
    sys.addaudithook(hook)
    import atexit
    atexit.register(lambda: os.write(2, str(seen).encode()))
    main()
"""


def started(at: int, number: int, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HOOK, str(at), str(number), *map(str, args)],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.plain
@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_at_any_moment_of_the_start(tmp_path: Path, number: int, told: str) -> None:
    """The process is killed by it, or says one line: never a traceback."""
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    command = ("report", path, "--zones", "3")
    events = int(started(0, number, *command).stderr)
    assert events > 100
    ends = set()
    for at in [*range(1, 30, 4), *range(30, events + 1, max(1, events // 30))]:
        done = started(at, number, *command)
        ends.add(done.returncode)
        if done.returncode == -number:
            assert done.stderr == "", at
        else:
            assert (done.returncode, done.stderr) == (128 + number, f"zonedctl: {told}\n"), at
    assert -number in ends


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As in a job that a script put into the background."""
    line = 'trap "" INT TERM; exec "$@"'
    command = [sys.executable, "-c", HOOK, "40", str(int(signal.SIGINT)), "create", tmp_path / "a"]
    done = subprocess.run(
        ["sh", "-c", line, "sh", *map(str, command)],
        capture_output=True,
        env=environment(),
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a").exists()


# ---------------------------------------------------------------- amid a write


def interrupted_write(
    path: Path, args: list[str], size: int, written: int, number: int = signal.SIGINT
) -> tuple[int, str, str]:
    """Send so many bytes, wait until the disk has so many, interrupt: status, output, line."""
    with zoned.open(path, readonly=True) as device:
        hanging, before = len(device.faults) > 0, device.counters.bytes_written
    child = subprocess.Popen(
        [*COMMAND, "write", str(path), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=False,
        env=environment(),
    )
    assert child.stdin is not None
    child.stdin.write(bytes(size))
    child.stdin.flush()

    def arrived() -> bool:
        with zoned.open(path, readonly=True) as device:
            counters = device.counters
            hangs = any(fault.waiting for fault in device.faults)
        return counters.bytes_written - before >= written and (hangs or not hanging)

    until(arrived, "the input is on the disk")
    child.send_signal(number)
    out, err = child.communicate(timeout=PATIENCE)
    return child.returncode, out.decode(), err.decode()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, size="64MiB", zone_size="8MiB", conventional=1).close()
    return path


def test_an_interrupted_write_says_how_far_it_got(disk: Path) -> None:
    for number, told in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")):
        status, out, err = interrupted_write(disk, ["--zone", "3"], 2 * MIB + 5000, 2 * MIB, number)
        assert (status, out) == (128 + number, "")
        assert err == f"zonedctl: {told}; {2 * MIB} bytes were written\n"
        with zoned.open(disk) as device:
            assert device.zones[3].written == 2 * MIB
            device.reset_zone(3)
    assert zonedctl("check", disk).status == 0


def test_a_write_interrupted_amid_a_command_says_what_the_write_pointer_says(disk: Path) -> None:
    with zoned.open(disk) as device:
        device.faults.add("hang", on="write", nth=3)
    _, _, err = interrupted_write(disk, ["--zone", "3"], 3 * MIB, 2 * MIB)
    assert err == f"zonedctl: interrupted; {2 * MIB} bytes were written\n"


def test_a_write_without_a_write_pointer_says_what_is_certain(disk: Path) -> None:
    with zoned.open(disk) as device:
        device.faults.add("hang", on="write", nth=2)
    _, _, err = interrupted_write(disk, ["--offset", "0"], 2 * MIB, MIB)
    assert err == (
        f"zonedctl: interrupted; {MIB} bytes were written, and perhaps {MIB} bytes more at {MIB}\n"
    )


def test_an_interrupted_append_prints_where_the_data_landed(disk: Path) -> None:
    status, out, err = interrupted_write(disk, ["--zone", "3", "--append"], 2 * MIB, 2 * MIB)
    assert (status, out) == (130, f"{24 * MIB} {2 * MIB}\n")
    assert err == f"zonedctl: interrupted; {2 * MIB} bytes were written\n"


def test_a_write_that_the_host_ends_says_how_far_it_got(disk: Path) -> None:
    done = limited(30000, "write", disk, "--zones", "2-7", stdin=bytes(20 * MIB))
    told = re.search(r"File too large.*; (\d+) bytes were written\n$", done.err)
    assert done.status == 1 and told, done.err
    with zoned.open(disk, readonly=True) as device:
        assert sum(zone.written or 0 for zone in device.report(2)) == int(told[1]) > 0


def test_signals_of_a_library_user_are_left_alone() -> None:
    code = (
        "import signal, zoned.cli, zoned.cli.app; "
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), cwd=ROOT)


# ---------------------------------------------------------------- amid zone commands


@pytest.mark.parametrize(
    ("words", "on", "told"),
    [
        (["reset", "--zones", "1-6"], "reset", "3 of 6 zones were reset"),
        (["finish", "--zones", "1,3-5,7"], "finish", "2 of 5 zones were finished"),
        (["open", "--zones", "3-5"], "open", "1 of 3 zones was opened"),
        (["close", "--zones", "1-6"], "close", "3 of 6 zones were closed"),
        (["reset", "--all"], "reset-all", "0 zones were reset"),
    ],
)
def test_an_interrupted_zone_command_says_how_far_it_got(
    disk: Path, words: list[str], on: str, told: str
) -> None:
    """It hangs at zone 4, or before it has begun with all of them."""
    with zoned.open(disk) as device:
        for zone in range(1, 7):
            device.append(zone, bytes(4096))
        device.faults.add("hang", on=on, zones=None if on == "reset-all" else 4)
    for number, word in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")):
        child = subprocess.Popen(
            [*COMMAND, words[0], str(disk), *words[1:], "-f"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

        def hangs() -> bool:
            with zoned.open(disk, readonly=True) as device:
                return any(fault.waiting for fault in device.faults)

        until(hangs, "the command hangs")
        child.send_signal(number)
        err = child.communicate(timeout=PATIENCE)[1]
        assert child.returncode == 128 + number
        assert err.startswith(f"zonedctl: {word}") and err.endswith(f"; {told}\n"), err
    assert zonedctl("check", disk).status == 0


def test_an_interrupted_set_condition_says_how_far_it_got(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = zoned.Device.set_condition

    def interrupted(device: zoned.Device, zone: int, condition: zoned.ZoneCondition) -> None:
        if zone == 4:
            raise KeyboardInterrupt
        real(device, zone, condition)

    monkeypatch.setattr(zoned.Device, "set_condition", interrupted)
    done = CliRunner().invoke(cli, ["set-condition", str(disk), "offline", "--zones", "2-6"])
    assert (done.exit_code, done.stderr) == (
        130,
        "zonedctl: interrupted; 2 of 5 zones were made offline\n",
    )


#: As `HOOK`, while CPython itself is at work inside of a command, in what it does where a module is imported.
AMID = """
import signal, sys, time
from zoned.cli import main
import zoned.openers
class Field:
    def __set_name__(self, owner, name):
        signal.raise_signal(NUMBER)
def refuse_used(path):
    WORK
zoned.openers.refuse_used = refuse_used
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
@pytest.mark.parametrize(
    "work",
    [
        pytest.param('exec("signal.raise_signal(NUMBER)")', id="text"),
        pytest.param('type("Owner", (), {"field": Field()})', id="class"),
        pytest.param(
            "signal.signal(signal.SIGALRM, lambda _, frame: signal.getsignal(NUMBER)(NUMBER, frame)); "
            "signal.setitimer(signal.ITIMER_REAL, 0.01); "
            "compile('a = 2**60\\n' * 100000, 'text', 'exec'); time.sleep(1)",
            id="compiler",
        ),
    ],
)
def test_a_signal_amid_an_import_is_answered_as_any_other(
    tmp_path: Path, work: str, number: signal.Signals, told: str
) -> None:
    """Amid the text of a dataclass's function CPython marks it as unhandled, and would end a ``python -m``
    by the signal; of what comes while a class is made 3.11 makes a RuntimeError; and its compiler drops
    all but a KeyboardInterrupt while it works out a power.
    """
    text = AMID.replace("WORK", work).replace("NUMBER", str(int(number)))
    (tmp_path / "amid.py").write_text(text)
    disk = tmp_path / "disk.img"
    zoned.create(disk).close()
    dump = tmp_path / "disk.zdump"
    assert zonedctl("dump", disk, dump).status == 0
    done = subprocess.run(
        [sys.executable, "-m", "amid", "restore", "--replace", str(dump), str(disk)],
        capture_output=True,
        env=environment(PYTHONPATH=f"{ROOT}:{tmp_path}"),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (128 + number, f"zonedctl: {told}\n".encode())
