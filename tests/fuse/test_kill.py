"""kill -9 of the mount's process at random under fio: every direct write that returned is there afterwards.

fio fills each block with its own offset and logs the offset of each write that returned; the mount dies in
the middle; after the next mount, each file must hold all that the log tells. A process's death is no power cut.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import zoned
import zonefs
from fuse.conftest import make_disk
from fuse.tools import FIO, serving
from waiting import PATIENCE

BLOCK = 4096
JOBS = 4


def start_fio(folder: Path, logs: Path) -> subprocess.Popen[str]:
    command = [
        *FIO,
        "--ioengine=psync",
        "--direct=1",
        "--rw=write",
        f"--bs={BLOCK}",
        "--size=60m",
        "--file_append=1",
        "--verify=pattern",
        "--verify_pattern=%o",
        "--do_verify=0",
        "--log_offset=1",
    ]
    for i in range(JOBS):
        command += [f"--name=j{i}", f"--filename={folder}/seq/{i}", f"--write_lat_log={logs}/{i}"]
    return subprocess.Popen(
        command, cwd=logs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def acknowledged(logs: Path, job: int) -> int:
    """Bytes from the file's start that fio was told are written."""
    (log,) = logs.glob(f"{job}_clat.*.log")
    offsets = [int(line.split(",")[4]) for line in log.read_text().splitlines()]
    assert offsets == list(range(0, len(offsets) * BLOCK, BLOCK))
    return len(offsets) * BLOCK


def test_no_acknowledged_write_is_lost(shm: Path, place: Path, long_run: bool):
    seed = int(os.environ.get("ZONED_KILL_SEED", time.time_ns() % 1_000_000))
    print(f"ZONED_KILL_SEED={seed}")
    chance = random.Random(seed)
    image = make_disk(shm, "killed.img", size=10 << 26, zone_size=1 << 26)
    rounds = lost_nothing = 0
    for number in range(50 if long_run else 5):
        with zoned.open(image) as device:
            for zone in range(2, 2 + JOBS):
                device.reset_zone(zone)
        logs = shm / f"logs{number}"
        logs.mkdir()
        server = serving(image, place, "-o", chance.choice(["strict", "errors=repair"]))
        fio = start_fio(place, logs)
        first = place / "seq/0"
        while os.stat(first).st_size == 0:
            assert fio.poll() is None, fio.stdout.read()
        time.sleep(chance.random() * 0.15)
        server.kill()
        server.wait()
        server.stderr.close()
        said = fio.communicate(timeout=PATIENCE)[0]
        with zonefs.mount(image, place, strict=True):
            for job in range(JOBS):
                known = acknowledged(logs, job)
                data = (place / f"seq/{job}").read_bytes()
                assert len(data) >= known, (seed, number, job, said)
                assert len(data) % BLOCK == 0
                for at in range(0, known, BLOCK):
                    pattern = at.to_bytes(8, "little") * (BLOCK // 8)
                    assert data[at : at + BLOCK] == pattern, (seed, number, job, at)
                lost_nothing += known > 0
        rounds += 1
        shutil.rmtree(logs)
    assert rounds == (50 if long_run else 5)
    assert lost_nothing >= rounds  # fio did get to write before most of the kills


def test_the_disk_is_sound_after_the_kill(disk: str, place: Path):
    for _ in range(3):
        server = serving(disk, place)
        with open(place / "seq/0", "ab", buffering=0) as file:
            file.write(b"x" * 10_000)  # the last, partial block dies with the process
        before = os.stat(place / "seq/0").st_size
        server.kill()
        server.wait()
        server.stderr.close()
        findings = [finding for finding in zoned.check(disk) if finding.error]
        assert findings == []
        with zonefs.mount(disk, place):
            assert os.stat(place / "seq/0").st_size == before


@pytest.fixture(autouse=True)
def fio_is_there(needs):
    needs("fio", shutil.which("fio") is not None, "writes with verification (apt install fio)")
