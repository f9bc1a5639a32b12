"""``zonedctl run`` and ``zoned.run``: statuses, names, throw-away disks, what is refused before a program starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from run.programs import made, ok, started
from waiting import until
from zoned.running import session


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


@pytest.mark.parametrize("folder", ["Jane Doe", "a:b", "$ORIGIN"])
def test_the_package_may_lie_under_any_name(
    shm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """LD_PRELOAD is split at blanks and colons: programs ran without the disks, as if there were none."""
    image = made(shm / "disk.img")
    place = tmp_path / folder
    place.mkdir()
    library = shutil.copy(session.library(), place)
    monkeypatch.setattr(session, "library", lambda: str(library))
    script = "sh -c 'dd if=/dev/zoned0 of=/dev/null bs=4k count=1 status=none'"
    done = zoned.run(["sh", "-c", script], disks={"zoned0": image}, stderr=-1, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_library_that_no_name_can_be_given_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a b"
    place.mkdir()
    library = shutil.copy(session.library(), place)
    monkeypatch.setattr(session, "library", lambda: str(library))
    monkeypatch.setattr(session.folders, "home", lambda: str(place))
    with pytest.raises(zoned.RunError, match="set TMPDIR to a folder without"):
        zoned.run(["true"], fresh={"zoned0": "test"})
    assert sorted(os.listdir(place)) == [os.path.basename(library)]


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


DRIVE_NS = 9 * 2_000_000
"""At least: nine reads in places of a spinning disk that lie far from each other."""


def spinning(path: Path, **keywords: str) -> Path:
    """A disk of a profile, with data all over it."""
    zoned.create(path, profile="hc620", zones=64, conventional=2, data="none", **keywords).close()
    with zoned.open(path, pace="none") as device:
        for zone in range(4, 64, 6):
            device.pwrite(bytes(1 << 20), device.geometry.zone_start(zone))
            device.finish_zone(zone)
    return path


def nanoseconds(image: Path, *options: str) -> int:
    """Of reading in nine places."""
    code = """
import os, time
fd = os.open("/dev/zoned0", os.O_RDONLY)
places = [zone * (256 << 20) for zone in (4, 58, 10, 52, 16, 46, 22, 40, 28)]
began = time.monotonic_ns()
for place in places:
    assert len(os.pread(fd, 4096, place)) == 4096
print(time.monotonic_ns() - began)
"""
    return int(ok([sys.executable, "-c", code], *options, images=[image]))


def test_pace_of_a_drive(shm: Path) -> None:
    image = spinning(shm / "disk.img")
    assert nanoseconds(image, "--pace", "real") > DRIVE_NS
    assert nanoseconds(image, "--pace", "hc680") > DRIVE_NS


def test_pace_that_the_image_remembers(shm: Path) -> None:
    image = spinning(shm / "disk.img", pace="real")
    assert nanoseconds(image) > DRIVE_NS
    assert zoned.run(["true"], disks={"zoned0": image}, pace="none").returncode == 0


def test_pace_that_cannot_be(shm: Path) -> None:
    done = started(["true"], "--pace", "real", images=[made(shm / "disk.img")])
    assert done.returncode == 1
    assert "profile test is no drive whose time commands could take" in done.stderr
    assert done.stderr.count("\n") == 1


def test_write_amplification(shm: Path) -> None:
    """FINISH gives up the rest of a zone, which is what a byte written then costs."""
    image = made(shm / "disk.img")
    script = "dd if=/dev/zero of=/dev/zoned0 bs=1M count=3 seek=8 oflag=direct status=none"
    done = zoned.run(["sh", "-ec", script], disks={"zoned0": image})
    assert done.report.disks[0].write_amplification == 1.0
    with zoned.open(image) as device:
        at = device.geometry.zone_start(2)
    finish = f"import fcntl, os, struct; fcntl.ioctl(os.open('/dev/zoned0', os.O_RDWR), 0x40101288, struct.pack('<QQ', {at // 512}, 8192))"
    done = zoned.run(["sh", "-ec", f'{sys.executable} -c "{finish}"'], disks={"zoned0": image})
    assert done.report.disks[0].write_amplification is None
    script = f"blkzone reset -o {at // 512} -c 1 /dev/zoned0; {script}"
    done = zoned.run(
        ["sh", "-ec", f'{script}; {sys.executable} -c "{finish}"'], disks={"zoned0": image}
    )
    assert done.report.disks[0].write_amplification == pytest.approx(4 / 3)
    assert "write amplification 1.33" in "\n".join(done.report.lines())


def test_the_scsi_device_in_sysfs(shm: Path) -> None:
    script = """cat /sys/block/zoned0/device/model /sys/class/scsi_generic/zsg0/device/type
        ls /sys/class/scsi_generic/zsg0/device/block
        ls /sys/block/zoned0/device/scsi_generic
        ls -l /sys/block/zoned0/device/ >/dev/null; sg_inq /dev/$(ls /sys/block/zoned0/device/scsi_generic) | grep -c SMR"""
    told = ok(["sh", "-ec", script], images=[made(shm / "disk.img")]).splitlines()
    assert [line.strip() for line in told if line and not line.startswith("/")] == [
        "HOST-MANAGED SMR",
        "20",
        "zoned0",
        "zsg0",
        "1",
    ]
