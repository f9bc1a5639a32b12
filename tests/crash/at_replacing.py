"""What takes the place of a file, killed at each of its operations on the host: the old one is whole, or the new one.

python at_replacing.py FOLDER, with killat.so preloaded. `zonedctl dump -f`, `create --replace` and `restore --replace`
run in a child that is killed at its first, second, ... operation, until one kill comes too late.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import os
import signal
import sys
from pathlib import Path

import zoned
from zoned import archive
from zoned.cli.app import cli

BLOCK = 4096
OLD, NEW, NOTHING = b"o" * BLOCK, b"n" * BLOCK, bytes(BLOCK)
SHAPE = ("--size", "1MiB", "--zone-size", "64KiB", "--conventional", "0")
library = ctypes.CDLL(None)


def make(path: Path, content: bytes) -> bytes:
    """A disk with one block in zone 3, and its dump."""
    stream = io.BytesIO()
    with zoned.create(path, size="1MiB", zone_size="64KiB", conventional=0, replace=True) as dev:
        dev.append(3, content)
        archive.dump(dev, stream)
    return stream.getvalue()


def content(path: Path, is_dump: bool) -> bytes:
    """The block; every check there is must find the file whole."""
    if is_dump:
        data = path.read_bytes()
        assert archive.verify(io.BytesIO(data)).zones == 1
        with archive.load(io.BytesIO(data)) as dev:
            return dev.pread(BLOCK, dev.geometry.zone_start(3))
    assert [found for found in zoned.check(path) if found.error] == []
    with zoned.open(path, readonly=True) as dev:
        return dev.pread(BLOCK, dev.geometry.zone_start(3))


def killed(words: list[str], at: int) -> bool:
    """Whether the command was killed at its operation of that number; if not, it has said that it is done."""
    child = os.fork()
    if not child:
        library.kill_at(at)
        try:
            cli.main(words)
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 1)
        os._exit(3)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return True
    assert os.waitstatus_to_exitcode(status) == 0, (words, at, status)
    return False


def main(folder: Path) -> None:
    disk, dump, place = folder / "new.img", folder / "new.zdump", folder / "place"
    new = make(disk, NEW)
    dump.write_bytes(new)
    old = make(folder / "old.img", OLD)
    ways: dict[str, tuple[list[str], bytes]] = {
        "dump": (["dump", str(disk), str(place), "-f"], NEW),
        "create": (["create", str(place), "--replace", "-f", *SHAPE], NOTHING),
        "restore": (["restore", str(dump), str(place), "--replace", "-f"], NEW),
    }
    for name, (words, wanted) in ways.items():
        seen = set()
        for at in itertools.count(1):
            place.unlink(missing_ok=True)
            if name == "dump":
                place.write_bytes(old)
            else:
                make(place, OLD)
            done = not killed(words, at)
            found = content(place, name == "dump")
            assert found in ((wanted,) if done else (OLD, wanted)), (name, at, found[:1], done)
            seen.add(found)
            for file in folder.glob(".place.*"):
                assert file.stat().st_mode & 0o777 in (0o600, place.stat().st_mode & 0o777)
                file.unlink()
            if done:
                break
        assert seen == {OLD, wanted}
        print(at - 1, name)


main(Path(sys.argv[1]))
