"""Run ``zonedctl`` as a shell does: as a process, with pipes, or on a terminal; and make disks for it."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

import zoned
from waiting import PATIENCE
from zoned.cli.app import cli

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
COMMAND = [sys.executable, "-m", "zoned"]


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: this source tree first, nothing that changes what is printed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "ZONEDCTL_TRACEBACK", "COLUMNS")
    }
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "LC_ALL": "C.UTF-8"} | more


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def zonedctl(*args: object, stdin: bytes | None = None, **env: str) -> Done:
    """Run a command to its end, without a terminal."""
    done = subprocess.run(
        [*COMMAND, *(str(arg) for arg in args)],
        input=stdin if stdin is not None else b"",
        capture_output=True,
        env=environment(**env),
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


def to_full(*args: object) -> Done:
    """Run a command whose standard output takes nothing."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *(str(arg) for arg in args)],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
    return Done(done.returncode, b"", done.stderr.decode())


def limited(blocks: int, *args: object, stdin: bytes) -> Done:
    """Run a command whose files the host lets grow to so many blocks of 512 bytes."""
    done = subprocess.run(
        ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *COMMAND, *(str(arg) for arg in args)],
        input=stdin,
        capture_output=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


def inside(*args: object, stdin: bytes | None = None) -> Done:
    """Run a command in this process: quicker, and the same but for signals and real descriptors."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args], input=stdin or b"")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout_bytes, result.stderr)


def ok(*args: object, stdin: bytes | None = None) -> Done:
    """Run a command that must succeed, quietly."""
    done = inside(*args, stdin=stdin)
    assert done.status == 0, done.err
    assert done.err == "" or "-v" in args, done.err
    return done


def refused(*args: object, status: int = 1, stdin: bytes | None = None) -> str:
    """Run a command that must fail with one clear sentence on stderr; returns the sentence."""
    return sentence(inside(*args, stdin=stdin), status)


def sentence(done: Done, status: int = 1) -> str:
    """The one sentence of a command that failed."""
    assert done.status == status, (done.status, done.err)
    assert done.err.startswith("zonedctl"), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n"), done.err
    assert "Traceback" not in done.err, done.err
    assert "[Errno" not in done.err, done.err
    return done.err.rstrip("\n").split(": ", 1)[1]


class Terminal:
    """A command whose stdin and stderr (and stdout, if ``all_three``) are one terminal."""

    def __init__(self, *args: object, all_three: bool = True, stdin: int | None = None, **env: str):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *(str(arg) for arg in args)],
            stdin=slave if stdin is None else stdin,
            stdout=slave if all_three else subprocess.PIPE,
            stderr=slave,
            env=environment(**env),
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""

    def until(self, text: str) -> str:
        """Read until a text was shown; what was shown so far."""
        end = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < end, f"{text!r} was never shown: {self.screen!r}"
            if not self._read():
                break
        assert text in self.screen, f"{text!r} was not shown: {self.screen!r}"
        return self.screen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> int:
        """Read to the end; the exit status."""
        end = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < end, f"no end: {self.screen!r}"
        status = self.process.wait(PATIENCE)
        os.close(self.master)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], PATIENCE)
        assert ready, f"nothing happens: {self.screen!r}"
        try:
            part = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.screen += part.decode()
        return bool(part)


def drained(pipe: object) -> bool:
    """Whether all that was put into a pipe has been taken out."""
    held = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, held)
    return held[0] == 0


def every_condition(device: zoned.Device, first: int) -> None:
    """What `state` in data/capture.sh does: zones from ``first`` on get every condition of a good disk."""
    geometry = device.geometry
    block = bytes(4096)

    def start(zone: int) -> int:
        return geometry.zone_start(first + zone)

    device.pwrite(block * 2, start(0))
    device.close_zone(first)
    device.open_zone(first + 1)
    device.open_zone(first + 2)
    device.pwrite(block * 3, start(2))
    device.pwrite(bytes(geometry.zone_capacity_of(first + 3)), start(3))
    device.pwrite(block * 3, start(4))
    device.finish_zone(first + 4)
    device.finish_zone(first + 5)
    device.pwrite(block * 5, start(6))
    device.pwrite(block, start(7))
    device.reset_zone(first + 7)


def rows(path: Path) -> list[tuple[int, ...]]:
    """The report of an image, without durable write pointers."""
    with zoned.open(path, readonly=True) as device:
        return [row[:4] + row[5:] for row in device.report().rows()]
