"""A zone that cannot be begun, as too many are open or active: ETOOMANYREFS and EOVERFLOW, as Linux's block layer tells, by every way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from run.programs import Needs, found, made, ok, started

HERE = Path(__file__).parent
WRITES = ["pwrite", "pwritev2", "buffered", "libaio", "BLKZEROOUT", "BLKOPENZONE"]
KINDS: dict[str, dict[str, object]] = {
    "nullblk": {"dialect": "nullblk", "implicit_close": "round-robin"},
    "zns": {"dialect": "zns"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "error"), [("open", "ETOOMANYREFS"), ("active", "EOVERFLOW")])
def test_every_way_tells_which_limit_it_is(shm: Path, kind: str, limit: str, error: str) -> None:
    image = made(shm / "disk.img", max_active=6, **KINDS[kind])
    told = ok([sys.executable, str(HERE / "limitcalls.py"), "/dev/zoned0", limit], images=[image])
    # null_blk wants room for a zone that is finished while empty; a drive finishes it at once.
    finish = error if kind == "nullblk" else "0"
    expected = [f"{way}: {error}" for way in WRITES]
    assert told.splitlines() == [*expected, f"BLKFINISHZONE: {finish}", "with one less: 4096"]


def test_a_drive_without_a_limit_of_active_zones(shm: Path) -> None:
    image = made(shm / "disk.img")
    program = [sys.executable, str(HERE / "limitcalls.py"), "/dev/zoned0"]
    assert ok([*program, "open"], images=[image]).splitlines()[:6] == [
        f"{way}: ETOOMANYREFS" for way in WRITES
    ]
    assert ok([*program, "active"], images=[image]).splitlines()[:2] == [
        "pwrite: 4096",
        "pwritev2: 4096",
    ]


@pytest.mark.program
@pytest.mark.parametrize("engine", ["psync", "libaio", "posixaio", "io_uring"])
def test_fio_is_told_by_its_engines(shm: Path, needs: Needs, engine: str) -> None:
    found(needs, "fio", "blkzone")
    image = made(shm / "disk.img", max_active=6, **KINDS["nullblk"])
    begin = (
        "for zone in 2 3 4 5 6 7; do"
        " dd if=/dev/zero of=/dev/zoned0 bs=4k count=1 seek=$((zone * 1024)) oflag=direct status=none;"
        " blkzone close -o $((zone * 8192)) -c 1 /dev/zoned0; done;"
        f" fio --name=x --filename=/dev/zoned0 --ioengine={engine} --direct=1 --rw=write --bs=4k"
        " --offset=36M --size=4k"
    )
    done = started(["sh", "-ec", begin], images=[image])
    assert done.returncode != 0
    assert "Value too large for defined data type" in done.stdout + done.stderr
