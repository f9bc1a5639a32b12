"""``zonedctl run`` and ``zoned.run``: statuses, names, throw-away disks, what is refused before a program starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from run.programs import made, ok, started
from waiting import until


def folders() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("zoned-run-")}


def test_the_status_is_the_programs(shm: Path) -> None:
    image = made(shm / "disk.img")
    assert started(["sh", "-c", "exit 5"], images=[image]).returncode == 5
    assert started(["sh", "-c", "kill -KILL $$"], images=[image]).returncode == 137
    done = started(["no-such-program"], images=[image])
    assert (done.returncode, done.stderr) == (
        127,
        "zonedctl: no-such-program: there is no such program\n",
    )


def test_disks_by_name_and_fresh(shm: Path) -> None:
    image = made(shm / "disk.img")
    script = "blockdev --getsize64 /dev/sdz /dev/zoned0 /dev/zoned1; readlink -f /sys/block/sdz"
    names = ["--disk", f"sdz={image}", "--fresh", "test", "--fresh", "test"]
    told = ok(["sh", "-c", script], *names).split()
    assert told == ["67108864"] * 3 + ["/sys/devices/virtual/block/sdz"]


def test_nothing_is_left_behind(shm: Path) -> None:
    before = folders()
    ok(["true"], "--fresh", "test")
    assert folders() <= before
    program = [
        sys.executable,
        "-m",
        "zoned",
        "run",
        "--fresh",
        "test",
        "--",
        "sh",
        "-c",
        "echo here; sleep 600",
    ]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "here\n"
        mine = folders() - before
        assert len(mine) >= 1
        os.killpg(run.pid, 9)
    ok(["true"], "--fresh", "test")  # takes away what the killed one left
    until(lambda: not (mine & folders()), "the folder of a killed run is taken away by the next")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "a run has 1 to 16 disks"),
        (["--disk", "zoned0"], "must be NAME=IMAGE"),
        (["--disk", "a/b=disk.img"], "cannot be a disk's name"),
        (["--disk", "null=disk.img"], "/dev/null is there already"),
        (["--disk", "a=x", "--disk", "a=y"], "is given twice"),
    ],
)
def test_what_cannot_be_is_a_sentence(arguments: list[str], sentence: str) -> None:
    done = started(["true"], *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_disk_that_linux_would_not_take_has_no_block_node(shm: Path) -> None:
    image = made(shm / "disk.img", zone_size="3MiB", size="60MiB")
    done = started(["sh", "-c", "test ! -e /dev/zoned0 && test -c /dev/zsg0"], images=[image])
    assert done.returncode == 0
    assert (
        "there is no /dev/zoned0, as on Linux: the zone size, 3145728 bytes, is not a power of two"
        in done.stderr
    )


def test_run_in_python(shm: Path) -> None:
    image = made(shm / "disk.img")
    code = "import os; d = os.open('/dev/zoned0', os.O_RDWR); os.pwrite(d, bytes(4096), 8 << 20); os.pwrite(d, b'x' * 4096, 8 << 20)"
    done = zoned.run([sys.executable, "-c", code], disks={"zoned0": image}, stderr=subprocess.PIPE)
    assert done.returncode == 1
    report: zoned.RunReport = done.report
    assert [one.rule for one in report.refused] == ["unaligned-write"]
    assert report.disks[0].commands["writes"] == 1
    assert report.disks[0].errors == {"unaligned-write": 1}
    with zoned.open(image) as device:
        assert device.zones[2].wp == (8 << 20) + 4096
