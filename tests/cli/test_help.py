"""Help, reference, completion and start-up: complete, true and quick to come."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import zoned
from cli.shell import ROOT, environment, inside, ok, zonedctl
from waiting import PATIENCE
from zoned.cli import reference
from zoned.cli.app import COMMANDS

pytestmark = pytest.mark.plain  # Python that starts, most of the time

ALL = reference.commands()
BY_NAME = dict(ALL)
Needs = Callable[[str, bool, str], None]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = BY_NAME[name]
    assert command.name == name
    assert command.help and len(command.help) > 40
    examples = reference.example_lines(command)
    assert examples
    assert all(f"zonedctl {name}" in line for line in examples)
    text = ok(name, "--help").text
    assert text.startswith(f"Usage: zonedctl {name} ")
    for line in examples:
        assert line in text


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_has_help(name: str) -> None:
    for param in BY_NAME[name].params:
        if isinstance(param, click.Option):
            assert param.help, f"{name} {param.opts}"
            assert param.help.endswith("."), f"{name} {param.opts}"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_list_says_what_the_command_says(name: str) -> None:
    """The table of commands is there so that none needs importing; it must not drift away."""
    text = COMMANDS[name][1]
    assert text.endswith(".")
    assert re.search(rf"^  {name} +{re.escape(text)}$", ok("--help").text, re.MULTILINE)


def test_short_and_long_help_and_version() -> None:
    assert ok("-h").out == ok("--help").out
    assert ok("report", "-h").out == ok("report", "--help").out
    assert ok("--version").text == ok("-V").text == f"zonedctl {zoned.__version__}\n"


# bench: tests/sim runs job files, traces and sweeps of its own; mount and remount: tests/fuse; export: tests/iscsi;
# crash-test and mark: tests/crashtest
NOT_RUN = (
    "zonedctl mount",
    "zonedctl remount",
    "zonedctl export",
    "zonedctl bench",
    "zonedctl crash-test",
    "zonedctl mark",
    "jq",
    "ssh",
    "/dev/sdb",
    "eval",
    "hexdump",
    "~/.config",
    "...",
)


def examples() -> list[tuple[str, str]]:
    return [
        (name, line)
        for name, command in ALL
        for line in reference.example_lines(command)
        if not any(word in line for word in NOT_RUN)
    ]


def test_enough_examples_are_run() -> None:
    assert len(examples()) >= 28
    assert {name for name, _ in examples()} == set(COMMANDS) - {
        "completion",
        "mount",
        "remount",
        "export",
        "bench",
        "crash-test",
        "mark",
    }


@pytest.mark.parametrize(("name", "line"), examples(), ids=lambda value: str(value)[:40])
def test_examples_work(name: str, line: str, tmp_path: Path) -> None:
    """Each line of the help, typed into a shell beside a disk."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "zonedctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoned "$@"\n')
    program.chmod(0o755)
    if name == "flush-zone" or "--zrwa" in line:
        with zoned.create(
            tmp_path / "disk.img", dialect="zns", zrwa_size="64KiB", zrwa_granularity="16KiB"
        ) as device:
            if name == "flush-zone":
                device.open_zone_zrwa(3)
                device.pwrite(bytes(64 << 10), device.geometry.zone_start(3))
    elif name != "create":
        with zoned.create(tmp_path / "disk.img", conventional=2) as device:
            for zone in range(2, 6):
                if name != "write":
                    device.pwrite(bytes(4 << 20), device.geometry.zone_start(zone))
    (tmp_path / "file").write_bytes(bytes(8192))
    (tmp_path / "log").write_bytes(bytes(4096))
    (tmp_path / "block.bin").write_bytes(bytes(4096))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "file").write_bytes(bytes(5 << 20))
    if name == "diff":
        shutil.copy(tmp_path / "disk.img", tmp_path / "copy.img")
    if name == "restore":
        assert inside("dump", tmp_path / "disk.img", tmp_path / "disk.zdump").status == 0
    path = f"{folder}:{environment()['PATH']}"
    if name == "read" and "tar" in line:
        line = line.replace("| tar t", "> /dev/null")
    done = subprocess.run(
        ["sh", "-ec", line],
        cwd=tmp_path,
        env=environment(PATH=path),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (line, done)
    assert done.stderr in (b"", b"disk.img: no errors\n"), line


def test_reference_is_whole_and_documented() -> None:
    text = reference.render_markdown()
    for name, command in ALL:
        assert f"\n## {name}\n" in text
        for param in command.params:
            for option in param.opts if isinstance(param, click.Option) else ():
                assert option in text
    assert "\b" not in text
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, needs: Needs) -> None:
    text = ok("completion", shell).text
    assert "_ZONEDCTL_COMPLETE" in text
    assert "zonedctl" in text
    needs(shell, shutil.which(shell) is not None, "the script's syntax, judged by the shell itself")
    subprocess.run([shell, "-n"], input=text.encode(), check=True, timeout=PATIENCE)


def complete(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    done = zonedctl(
        _ZONEDCTL_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(["zonedctl", *words]),
        COMP_CWORD=str(len(words)),
    )
    assert done.status == 0, done.err
    return done.lines


def test_completion_offers() -> None:
    assert "plain,report" in complete("re")
    assert "plain,reset" in complete("re")
    assert "plain,create" not in complete("re")
    assert "plain,--zone-size" in complete("create", "--zone")
    assert complete("report", "--format", "b") == ["plain,blkzone"]
    assert complete("report", "--condition", "im") == ["plain,implicit-open"]
    assert complete("report", "--condition", "empty,cl") == ["plain,empty,closed"]
    assert "plain,hc620" in complete("create", "--profile", "h")
    assert complete("report", "disk") == ["file,disk"]
    assert complete("create", "--profile", "./x") == ["file,./x"]
    assert complete("faults", "add", "disk.img", "fli") == ["plain,flip-read", "plain,flip-media"]
    assert complete("faults", "add", "disk.img", "power-cut", "--keep", "r") == ["plain,random"]
    assert complete("power", "cut", "disk.img", "--keep", "") == [
        f"plain,{keep}" for keep in ("durable", "all", "random")
    ]
    assert complete("set-condition", "disk.img", "") == [
        f"plain,{condition}" for condition in ("empty", "read-only", "offline")
    ]
    assert complete("set-condition", "disk.img", "empty,") == [""]
    assert complete("faults", "add", "disk.img", "lost", "--on", "wr") == ["plain,write"]
    assert "plain,write,append" in complete("faults", "add", "disk.img", "--on", "write,")
    assert "plain,write,write" not in complete("faults", "add", "disk.img", "--on", "write,")
    assert complete("power", "states", "disk.img", "--strategy", "l") == [
        "plain,linear",
        "plain,log",
    ]
    assert complete("trace", "lint", "--from", "i") == ["plain,iolog2", "plain,iolog3"]
    assert complete("trace", "lint", "--from", "z") == ["plain,zoned"]
    assert complete("bench", "str") == ["plain,stream", "plain,streams", "file,str"]
    assert complete("bench", "--profile", "st8") == ["plain,st8000as0002"]
    assert complete("bench", "--profile", "h") == ["plain,hc620", "plain,hc680"]


def test_bash_completes_for_real(tmp_path: Path, needs: Needs) -> None:
    """The printed script in a real bash."""
    bash = shutil.which("bash")
    needs("bash", bash is not None, "completing in a real shell")
    assert bash is not None
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "zonedctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoned "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(zonedctl completion bash)"\n'
        "COMP_WORDS=(zonedctl rep) COMP_CWORD=1\n"
        '_zonedctl_completion zonedctl rep zonedctl; echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [bash, "-c", script],
        env=environment(PATH=f"{folder}:{environment()['PATH']}"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("report\n", "")


def test_help_imports_no_command() -> None:
    """What zonedctl --help and completion load: no command, nothing of the heavy part of the library."""
    code = (
        "import sys\n"
        "from zoned.cli.app import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('loaded', *sorted(name for name in sys.modules if name.startswith('zoned')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    assert loaded & {f"zoned.cli.{module}" for module, _ in COMMANDS.values()} == set()
    assert "zoned.archive" not in loaded
    assert "zoned.reportdiff" not in loaded
