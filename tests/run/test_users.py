"""An ordinary user's run: no privilege is needed, and the image's mode says who may write."""

from __future__ import annotations

import encodings.ascii
import json
import os
import shutil
from pathlib import Path

import pytest

import zoned
from run.programs import Needs, made
from zoned.running import session

assert encodings.ascii  # loaded while it may be read

NOBODY = 65534


def as_nobody(image: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Status and errors of programs that a child of this process, which is root no longer, runs."""
    library = image.with_name("library.so")  # the tree itself may be one that only root may read
    shutil.copy(session.library(), library)
    run = zoned.run
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir("/")
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            session.library = lambda: str(library)
            done = [
                run(command, disks={"zoned0": image}, stderr=-1, text=True) for command in commands
            ]
            os.write(writer, json.dumps([(one.returncode, one.stderr) for one in done]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return [tuple(one) for one in json.loads(told)]


@pytest.fixture
def image(shm: Path, needs: Needs) -> Path:
    needs("root", os.geteuid() == 0, "being another user")
    shm.chmod(0o755)
    return made(shm / "disk.img")


WRITE = ["dd", "if=/dev/zero", "of=/dev/zoned0", "bs=4k", "count=1", "oflag=direct"]
MAY_WRITE = ["test", "-w", "/dev/zoned0"]


def test_who_may_write_the_image_may_write_the_disk(image: Path) -> None:
    os.chown(image, NOBODY, NOBODY)
    (status, said), (may, _) = as_nobody(image, WRITE, MAY_WRITE)
    assert (status, may) == (0, 0), said


def test_who_may_only_read_it(image: Path) -> None:
    image.chmod(0o644)
    read = ["dd", "if=/dev/zoned0", "of=/dev/null", "bs=4k", "count=1"]
    is_readonly = ["grep", "-q", "1", "/sys/block/zoned0/ro"]
    found = as_nobody(image, read, WRITE, MAY_WRITE, is_readonly)
    assert [status for status, _ in found] == [0, 1, 1, 0]
    assert "Permission denied" in found[1][1]
