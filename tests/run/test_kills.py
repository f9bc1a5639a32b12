"""Programs that are killed at any moment: what the disk had taken is there, and nothing of them stays."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import zoned
from run.programs import Needs, made
from zoned.running import Session

ROOT = Path(__file__).parents[2]
ZONE = 4 << 20


def built(needs: Needs, folder: Path) -> Path:
    needs("cc", shutil.which("gcc") is not None, "compiling a program")
    program = folder / "runwriter"
    source = ROOT / "tests/native/runwriter.c"
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", str(program), str(source)], check=True)
    return program


def written(device: zoned.Device, zone: int) -> int:
    """Bytes of a zone that hold what a writer puts there: up to the write pointer, all of them."""
    start = device.geometry.zone_start(zone)
    found = device.zones[zone].wp
    end = start + ZONE if found is None else found
    data = device.pread(end - start, start)
    for at in range(0, len(data), 4096):
        numbers = struct.unpack_from("<512Q", data, at)
        assert numbers == tuple(range(start + at, start + at + 512))
    return end


def test_killed_programs(shm: Path, needs: Needs, long_run: bool) -> None:
    program = built(needs, shm)
    image = made(shm / "disk.img", max_open=0)
    drawn = random.Random(12)
    with Session({"zoned0": image}) as session:
        (device,) = session.devices.values()
        for number in range(1000 if long_run else 20):
            zone = 2 + number % 14
            if device.zones[zone].condition is zoned.ZoneCondition.FULL:
                device.reset_zone(zone)
            command = [str(program), "/dev/zoned0", str(zone * ZONE)]
            with subprocess.Popen(
                command, env=session.environment(), stdout=subprocess.PIPE
            ) as running:
                assert running.stdout is not None
                told = os.read(running.stdout.fileno(), 8)
                time.sleep(drawn.random() * 0.01)  # any moment will do
                running.kill()
                told += running.stdout.read()
            acknowledged = (
                struct.unpack_from("<Q", told, len(told) // 8 * 8 - 8)[0] if len(told) >= 8 else 0
            )
            end = (running.returncode, acknowledged)
            assert running.returncode == -9 or end == (0, (zone + 1) * ZONE)
            assert written(device, zone) >= acknowledged
        assert device.limits.explicit_open == 0
        assert not session.refused()
    assert zoned.check(image) == [] or not any(finding.error for finding in zoned.check(image))
    folders = [name for name in os.listdir("/dev/shm") if name == Path(session.folder).name]
    assert folders == []
