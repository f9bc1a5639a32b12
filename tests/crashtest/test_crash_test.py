"""zonedctl crash-test: the bug of each example is found, its replay repeats it, the mended one passes; and whatever
else a user meets on the way.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import zoned
from waiting import PATIENCE, until
from zoned.cli.app import cli
from zonefs.mounting import available

Needs = Callable[[str, bool, str], None]
HERE = Path(__file__).resolve().parent
JOURNAL = shlex.join([sys.executable, str(HERE / "journal.py")])


def zonedctl(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zoned", *words]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def replayed(told: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command that a failure names, as it stands there."""
    found = re.search(r"^To repeat it: zonedctl (.*)$", told, re.MULTILINE)
    assert found, told
    return zonedctl(*shlex.split(found[1]), cwd=cwd)


def compiled(source: str, program: Path, env: dict[str, str], *more: str) -> str:
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", str(HERE / source), *more]
    subprocess.run([*command, "-o", str(program)], check=True, env=env)
    return str(program)


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str], needs: Needs
) -> dict[str, str]:
    """The log-structured store in C, as it should be and with its bug."""
    needs("cc", shutil.which("cc") is not None, "an example in C")
    folder = tmp_path_factory.mktemp("stores")
    made = {}
    for name, flags in (("right", []), ("wrong", ["-DFORGETS_FLUSH"])):
        made[name] = compiled("store.c", folder / name, clean_environment, *flags)
    return made


# ---------------------------------------------------------------- the examples


def run_store(store: str, cwd: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return zonedctl(
        *("crash-test", "--fresh", "test", "--door", "run", *more),
        *("--workload", f"{store} put {{disk}}", "--verify", f"{store} check {{disk}}"),
        cwd=cwd,
    )


def test_a_store_that_forgets_its_flush_is_found(stores: dict[str, str], tmp_path: Path) -> None:
    page, kept = tmp_path / "x.html", tmp_path / "kept.img"
    found = run_store(stores["wrong"], tmp_path, "--html", str(page), "--keep", str(kept))
    assert found.returncode == 1, found.stderr
    assert "The power was cut behind 1 change, 1 thing acknowledged:" in found.stdout
    assert "mark: put 0" in found.stdout
    assert "zone 2: IMPLICIT_OPEN, wp +4096, durable +0" in found.stdout
    assert "0 records, 1 were acknowledged" in found.stdout
    again = replayed(found.stdout, tmp_path)
    assert again.returncode == 1
    assert "0 records, 1 were acknowledged" in again.stdout
    with zoned.open(kept) as device:
        assert device.pread(4096, 8 << 20) == bytes(4096)
    text = page.read_text()
    assert "The story" in text
    assert "put 0" in text
    assert "http" not in text


def test_the_mended_store_passes(stores: dict[str, str], tmp_path: Path) -> None:
    passed = run_store(stores["right"], tmp_path)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert passed.stdout.startswith("no failure: ")


@pytest.mark.parametrize(("word", "status"), [("forget", 1), ("put", 0)])
def test_a_journal_on_a_mounted_zonefs(
    word: str, status: int, tmp_path: Path, needs: Needs
) -> None:
    needs("fuse", available() == "", available())
    found = zonedctl(
        *("crash-test", "--fresh", "test", "--door", "mount", "--jobs", "1"),
        *("--workload", f"{JOURNAL} {word} {{disk}}", "--verify", f"{JOURNAL} check {{disk}}"),
        cwd=tmp_path,
    )
    assert found.returncode == status, found.stdout + found.stderr
    if status:
        assert "0 lines, 1 were acknowledged" in found.stdout
        assert replayed(found.stdout, tmp_path).returncode == 1


@pytest.fixture(scope="module")
def databases(
    tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str], needs: Needs
) -> dict[str, str]:
    """SQLite on the conventional zones, as it should be and with two bugs."""
    there = shutil.which("cc") is not None and os.path.exists("/usr/include/sqlite3.h")
    needs("sqlite", there, "an example in C with SQLite's header")
    folder = tmp_path_factory.mktemp("databases")
    made = {}
    for name, flag in (
        ("right", "-DRIGHT"),
        ("unsynced", "-DFORGETS_SYNC"),
        ("full", '-DSYNCHRONOUS="FULL"'),
    ):
        made[name] = compiled("region.c", folder / name, clean_environment, flag, "-lsqlite3")
    return made


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("right", 0, "no failure"),
        ("unsynced", 1, "The verifier said:"),
        ("full", 1, "The verifier said:"),
    ],
)
def test_sqlite_in_conventional_zones(
    name: str, status: int, told: str, databases: dict[str, str], tmp_path: Path, long_run: bool
) -> None:
    """PRAGMA synchronous=FULL does not make the end of the journal durable: a row that was told may be taken back, or a
    journal of two transactions be played into the database.
    """
    program = databases[name]
    found = zonedctl(
        *("crash-test", "--fresh", "test", "--door", "run"),
        *("--workload", f"{program} put {{disk}}", "--verify", f"{program} check {{disk}}"),
        *(() if long_run or status else ("--points", "every:7")),
        cwd=tmp_path,
    )
    assert found.returncode == status, found.stdout + found.stderr
    assert told in found.stdout
    if name == "full":
        assert re.search("were acknowledged|is malformed|in one table", found.stdout)
    if status:
        assert replayed(found.stdout, tmp_path).returncode == 1


# ---------------------------------------------------------------- what it tells


def test_a_verifier_that_never_looks_is_told_apart(stores: dict[str, str], tmp_path: Path) -> None:
    run = zonedctl(
        *(
            "crash-test",
            "--fresh",
            "test",
            "--door",
            "run",
            "--workload",
            f"{stores['right']} put {{disk}}",
        ),
        *("--verify", "true"),
        cwd=tmp_path,
    )
    assert run.returncode == 1
    assert "passes on the disk as it was before the workload too" in run.stdout
    assert "6 acknowledged things" in run.stdout


_ONE_LINE = "import sys, zoned\nwith zoned.open(sys.argv[1]) as d: d.pwrite_fua(b'x' * 4096, 0)"


def workload(tmp_path: Path, text: str) -> str:
    (tmp_path / "work.py").write_text(text)
    return shlex.join([sys.executable, "work.py", "{disk}"])


def fresh(tmp_path: Path, text: str, *more: str) -> tuple[str, ...]:
    """A test of a workload on a disk of its own."""
    return "crash-test", "--fresh", "test", "--workload", workload(tmp_path, text), *more


def test_a_test_in_which_nothing_is_lost_says_so(tmp_path: Path) -> None:
    run = zonedctl(*fresh(tmp_path, _ONE_LINE, "--verify", "true"), cwd=tmp_path)
    assert run.returncode == 1
    assert run.stdout.startswith("No survivor differs from the acknowledged state")


_MARKS = """
import subprocess, sys, zoned
with zoned.open(sys.argv[1]) as disk:
    for number in range(3):
        disk.append(2, bytes([number + 1]) * 4096)
        disk.flush()
        if number:
            print(f"zoned-mark: {number}", flush=True)
        else:
            subprocess.run([sys.executable, "-m", "zoned", "mark", "by command"], check=True)
"""
_CHECK = """
import json, os, sys, zoned
told = json.load(open(os.environ["ZONED_ACKNOWLEDGED"]))
assert told["id"] == os.environ["ZONED_CRASH_ID"]
assert len(told["acknowledged"]) == int(os.environ["ZONED_MARKS"])
with zoned.open(sys.argv[1]) as disk:
    held = (disk.zones[2].wp - disk.zones[2].start) // 4096
assert held >= len(told["acknowledged"]), (held, told)
"""


def test_marks_and_json(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(_CHECK)
    words = (
        *fresh(tmp_path, _MARKS, "--format", "json"),
        *("--verify", shlex.join([sys.executable, "check.py", "{disk}"])),
    )
    run = zonedctl(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(run.stdout)
    assert told["ok"]
    assert told["complete"]
    assert told["marks"] == 3
    assert told["changes"] == 6
    with zoned.crash.History(tmp_path / "zoned-crash" / "history") as history:
        assert [mark.text for mark in history.marks] == ["by command", "1", "2"]
        assert history.marks[0].after == 2
    states = told["states"]
    # What was tried is not tried again; another test does not go on in this folder.
    told = json.loads(zonedctl("crash-test", "--format", "json", cwd=tmp_path).stdout)
    assert told["states"] == told["resumed"] == states
    count = zonedctl("crash-test", "--count", cwd=tmp_path)
    assert int(count.stdout) == states + told["equal"]
    other = zonedctl("crash-test", "--points", "flush", cwd=tmp_path)
    assert other.returncode == 1
    assert "was begun with another points: give the same, or another folder" in other.stderr


_RECOVERS = """
import os, sys, zoned
with zoned.open(sys.argv[1]) as disk:
    zone = disk.zones[2]
    if int(os.environ["ZONED_MARKS"]):
        first, second = disk.pread(4096, zone.start)[:1], disk.pread(4096, 3 * disk.geometry.zone_size)[:1]
        assert b"a" in (first, second), "neither the log nor its copy is there"
        if first == b"a":
            if disk.zones[3].wp == disk.zones[3].start:
                disk.append(3, disk.pread(4096, zone.start))
            disk.reset_zone(2)  # and the copy is not durable yet
"""
_ONE = """
import sys, zoned
with zoned.open(sys.argv[1]) as disk:
    disk.append_fua(2, b"a" * 4096)
    print("zoned-mark: one", flush=True)
"""


def test_a_bug_in_the_recovery_takes_a_second_cut(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(_RECOVERS)
    words = (
        *fresh(tmp_path, _ONE, "--points", "marks"),
        *("--verify", shlex.join([sys.executable, "check.py", "{disk}"]), "--jobs", "1"),
    )
    deep = zonedctl(*words, "--depth", "2", cwd=tmp_path)
    assert deep.returncode == 1
    assert "neither the log nor its copy is there" in deep.stdout
    assert "Then it was cut during the verifier's own work." in deep.stdout
    assert replayed(deep.stdout, tmp_path).returncode == 1


def test_a_verifier_that_hangs_is_ended(tmp_path: Path) -> None:
    run = zonedctl(
        *fresh(tmp_path, _ONE_LINE, "--timeout", "1.5"),
        *("--verify", "sh -c 'sleep 1000 & sleep 1000'"),
        cwd=tmp_path,
    )
    assert run.returncode == 1
    assert "the time it may take" in run.stdout


def test_a_killed_test_goes_on(tmp_path: Path) -> None:
    words = (
        *fresh(tmp_path, _MARKS, "--jobs", "1"),
        *("--verify", "true", "--all"),
    )
    verdicts = tmp_path / "zoned-crash" / "verdicts"
    with subprocess.Popen([sys.executable, "-m", "zoned", *words], cwd=tmp_path) as process:
        until(lambda: verdicts.exists() and verdicts.stat().st_size > 0, "a verdict")
        process.send_signal(signal.SIGKILL)
    run = zonedctl("crash-test", "--format", "json", "--all", cwd=tmp_path)
    told = json.loads(run.stdout)
    assert 0 < told["resumed"] <= told["states"]
    assert told["complete"]


# ---------------------------------------------------------------- what it refuses


FRESH = "--fresh test --workload true --verify true"
REFUSED = """
    2 |                                            | there is no verifier: give --verify COMMAND
    1 | --verify true                              | holds no history: give --workload first
    2 | --verify nothing-of-this-name              | there is no such program
    2 | --verify "'"                               | No closing quotation
    2 | --verify ''                                | there is no command in it
    2 | --verify true --workload true              | give the workload a disk: an IMAGE, or --fresh PROFILE
    2 | --verify true --fresh test                 | a disk is for a workload: give --workload too, or neither
    2 | FRESH disk.img                             | give the workload a disk: an IMAGE, or --fresh PROFILE
    1 | --workload true --verify true none.img     | none.img
    1 | --fresh none --workload true --verify true | none
    2 | FRESH --points each                        | there are no points 'each'
    2 | FRESH --strategy best                      | 'best' is not one of
    2 | FRESH --door window                        | 'window' is not one of
    2 | FRESH --limit 0                            | limit is 0: it must be 1 or more
    2 | FRESH --jobs 0                             | jobs is 0: it must be 1 to 1024
    2 | FRESH --depth 3                            | depth is 3: it must be 1 to 2
    2 | FRESH --timeout 0                          | timeout is 0.0: it must be a number of seconds above 0
    2 | FRESH --timeout nan                        | timeout is nan: it must be a number of seconds above 0
    2 | FRESH --seed x                             | 'x' is not a valid integer
    1 | FRESH --keep /dev/null                     | it exists already, and --keep replaces nothing
    1 | FRESH --replay nonsense                    | is no id of a crash state
    1 | FRESH --replay 0:00                        | is damaged
    1 | FRESH --state /dev/null/x                  | /dev/null
    1 | --fresh test --workload "sh -c 'echo so; exit 3'" --verify true | the workload ended with status 3: so (zoned-crash/workload.log has all)
"""
"""Status, words (FRESH: those above), and what is told."""


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_what_cannot_be_is_a_sentence(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, words, told = map(str.strip, line.split("|"))
    run = CliRunner().invoke(cli, ["crash-test", *shlex.split(words.replace("FRESH", FRESH))])
    assert run.exit_code == int(status), run.stderr
    assert told in run.stderr


def test_a_mark_outside_of_a_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZONED_MARK_SOCKET", raising=False)
    run = zonedctl("mark", "x", cwd=tmp_path)
    assert run.returncode == 1
    assert "nobody listens for marks" in run.stderr


def test_recording_is_refused_by_name_on_a_full_host(tmp_path: Path) -> None:
    full = "/dev/full"
    if not os.path.exists(full):
        pytest.fail("this host has no /dev/full")
    with zoned.memory(profile="test") as device:
        with pytest.raises(OSError, match=r"No space left|cannot write the trace"):
            device.trace.start(full, data=True)
        device.append(2, bytes(4096))  # and the disk goes on
