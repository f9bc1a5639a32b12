"""Whoever may only read an image holds up nobody who may write it, whatever locks he takes on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zoned

ROOT = Path(__file__).parents[2]
BLOCK = b"b" * 4096

READER = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
if os.getuid() == 0:
    os.setuid(65534)
if sys.argv[2] == "posix":
    fcntl.lockf(fd, fcntl.LOCK_SH)
else:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
print("held", flush=True)
sys.stdin.read()
"""
"""All bytes of the file, those behind its end too, as somebody who has it open for reading only."""

WRITER = """
import sys, zoned
dev = zoned.open(sys.argv[1])
for zone in sys.argv[2:]:
    dev.append(int(zone), b"b" * 4096)
print("written", flush=True)
sys.stdin.read()
dev.close()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Processes that said their first word; at the end they are killed."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *[str(arg) for arg in args]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() in ("held", "written")
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, size="16MiB", zone_size="1MiB", conventional=2).close()
    return path


def texts(path: Path, repair: bool = False) -> list[str]:
    return [str(finding) for finding in zoned.check(path, repair=repair)]


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("kind", ["posix", "ofd"])
def test_writers_do_not_wait_for_a_reader(
    image: Path, start: Callable[..., subprocess.Popen[str]], kind: str
) -> None:
    start(READER, image, kind)
    with zoned.open(image) as dev:
        dev.append(3, BLOCK)
        with zoned.open(image) as other, zoned.open(image, readonly=True) as looking:
            other.append(3, BLOCK)
            assert looking.pread(8192, looking.zones[3].start) == BLOCK * 2
            with pytest.raises(zoned.ImageBusyError):
                zoned.check(image, repair=True)
        dev.flush()
        assert texts(image) == []
    assert texts(image) == []  # the last one left it clean
    assert texts(image, repair=True) == []
    with zoned.open(image) as dev:
        assert dev.pread(8192, dev.zones[3].start) == BLOCK * 2


@pytest.mark.parametrize("kind", ["posix", "ofd"])
def test_who_was_killed_leaves_all_he_wrote_beside_a_reader(
    image: Path, start: Callable[..., subprocess.Popen[str]], kind: str
) -> None:
    """The reader can be taken for the dead one, and nobody loses or waits by that."""
    reader = start(READER, image, kind)
    kill(start(WRITER, image, 3, 4))
    with zoned.open(image) as dev:
        assert dev.pread(4096, dev.zones[4].start) == BLOCK
        dev.append(3, BLOCK)
        kill(start(WRITER, image, 3))
        dev.append(3, BLOCK)
    with zoned.open(image) as dev:
        assert dev.pread(16384, dev.zones[3].start) == BLOCK * 4
    kill(reader)
    zoned.open(image).close()
    assert texts(image) == []
    with zoned.open(image) as dev:
        assert dev.pread(16384, dev.zones[3].start) == BLOCK * 4


def test_the_last_of_several_writers_leaves_the_image_clean(
    image: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Also where some were killed while others lived."""
    dev = zoned.open(image)
    kill(start(WRITER, image, 3))
    left = start(WRITER, image, 4)
    kill(start(WRITER, image, 5))
    dev.close()
    assert texts(image) == []  # one is at work
    left.communicate("")
    with zoned.open(image, readonly=True) as looking:
        assert [zone.wp - zone.start for zone in looking.report(3, 3)] == [4096] * 3
    assert texts(image) == []
    assert texts(image, repair=True) == []


def test_an_inherited_handle_counts_once_it_is_used(image: Path) -> None:
    dev = zoned.open(image)
    for used in (False, True):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if used:
                    dev.append(3, BLOCK)
                os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(status)
        os.waitpid(child, 0)
    dev.close()
    assert texts(image) == []
    with zoned.open(image) as dev:
        assert dev.pread(4096, dev.zones[3].start) == BLOCK


def test_a_copy_beside_its_original_has_a_door_of_its_own(image: Path, tmp_path: Path) -> None:
    with zoned.open(image) as dev:
        dev.append(3, BLOCK)
        dev.flush()
        copy = tmp_path / "copy.img"
        copy.write_bytes(image.read_bytes())
        with zoned.open(copy) as other:
            assert other.pread(4096, other.zones[3].start) == BLOCK
            other.append(4, BLOCK)
        assert texts(copy) == []
        assert dev.zones[4].wp == dev.zones[4].start
    assert texts(image) == []
