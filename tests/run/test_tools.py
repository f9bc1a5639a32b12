"""Zone tools from Debian, unmodified, on emulated disks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import zoned
from run.programs import Needs, found, made, shell, started
from zoned.zone import ZoneCondition

ZONE = 4 << 20


@pytest.fixture
def image(shm: Path) -> Path:
    return made(shm / "disk.img")


def conditions(image: Path) -> list[ZoneCondition]:
    with zoned.open(image) as device:
        return [zone.condition for zone in device.zones]


def own(image: Path, *arguments: str) -> str:
    """What ``zonedctl report`` prints."""
    command = [sys.executable, "-m", "zoned", "report", str(image), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_blkzone_and_zbd_report_what_zonedctl_reports(image: Path, needs: Needs) -> None:
    found(needs, "blkzone", "zbd")
    with zoned.open(image) as device:
        device.pwrite(bytes(8192), device.geometry.zone_start(3))
        device.open_zone(4)
        device.finish_zone(5)
    assert shell("blkzone report /dev/zoned0", image) == own(image, "--format", "blkzone")
    assert shell("zbd report -csv /dev/zoned0", image) == own(image, "--format", "zbd")


def test_blkzone_commands(image: Path, needs: Needs) -> None:
    found(needs, "blkzone")
    at = 4 * 8192
    shell(f"blkzone open -o {at} -c 1 /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.EXPLICIT_OPEN
    shell(
        f"dd if=/dev/zero of=/dev/zoned0 bs=4k count=1 seek={4 * 1024} oflag=direct status=none",
        image,
    )
    shell(f"blkzone close -o {at} -c 1 /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.CLOSED
    shell(f"blkzone finish -o {at} -c 2 /dev/zoned0", image)
    assert conditions(image)[4:6] == [ZoneCondition.FULL] * 2
    shell("blkzone reset /dev/zoned0", image)
    assert conditions(image)[2:] == [ZoneCondition.EMPTY] * 14
    assert shell("blkzone capacity /dev/zoned0", image) == "0x000020000\n"


def test_zbd_commands(image: Path, shm: Path, needs: Needs) -> None:
    found(needs, "zbd", "cmp")
    at = f"-ofst {4 * ZONE} -len {ZONE}"
    shell(f"zbd open {at} /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.EXPLICIT_OPEN
    with zoned.open(image) as device:
        device.pwrite(bytes(range(256)) * 32, 4 * ZONE)
    shell(f"zbd close {at} /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.CLOSED
    shell(f"zbd dump -d {shm} -f saved /dev/zoned0", image)
    shell("zbd reset /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.EMPTY
    shell(f"zbd restore -d {shm} -f saved /dev/zoned0", image)
    with zoned.open(image) as device:
        assert device.pread(8192, 4 * ZONE) == bytes(range(256)) * 32
    shell(f"zbd finish {at} /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.FULL


def test_too_many_open_zones_is_what_blkzone_says(image: Path, needs: Needs) -> None:
    found(needs, "blkzone")
    done = started(
        ["blkzone", "open", "-o", "16384", "-c", "5", "/dev/zoned0"], "--report", images=[image]
    )
    assert done.returncode == 1
    assert "Too many references" in done.stderr
    assert "too-many-open" in done.stderr


def test_sizes_as_util_linux_tells_them(image: Path, needs: Needs) -> None:
    found(needs, "blockdev", "lsblk", "blkid")
    told = shell("blockdev --getsize64 --getss --getpbsz --getro /dev/zoned0", image)
    assert told.split() == ["67108864", "4096", "4096", "0"]
    told = shell("lsblk -bno NAME,SIZE,ZONED,ZONE-SZ,ZONE-NR,ZONE-OMAX /dev/zoned0", image)
    assert told.split() == ["zoned0", "67108864", "host-managed", "4194304", "16", "4"]
    assert "zoned0" in shell("lsblk", image)
    assert (
        started(["blkid", "-p", "/dev/zoned0"], images=[image]).returncode == 2
    )  # it holds nothing


def test_bytes_through_dd_cat_and_cmp(image: Path, shm: Path, needs: Needs) -> None:
    found(needs, "dd", "cat", "cmp")
    data = bytes(range(256)) * 4096 * 5  # more than a zone, and whole blocks
    (shm / "data").write_bytes(data[:-100])
    where = 2 * 1024
    shell(f"dd if={shm}/data of=/dev/zoned0 bs=4k seek={where} status=none", image)
    shell(f"cmp -n {len(data) - 100} -i 0:{where * 4096} {shm}/data /dev/zoned0", image)
    assert shell("cat /dev/zoned0 | wc -c", image).strip() == str(64 << 20)
    with zoned.open(image) as device:
        assert device.pread(len(data), where * 4096) == data[:-100] + bytes(100)


@pytest.mark.program  # dd asks for buffers that ASan has not
def test_buffered_writes_in_pieces_of_any_length(image: Path, shm: Path, needs: Needs) -> None:
    found(needs, "dd", "cat")
    data = bytes(range(251)) * 1000
    (shm / "data").write_bytes(data)
    pieces = f"dd if={shm}/data bs=777 status=none | (dd of=/dev/zoned0 bs=333 seek=0 status=none)"
    shell(pieces, image)
    shell(f"cat {shm}/data > /dev/zoned0", image)
    assert (
        shell(f"head -c {len(data)} /dev/zoned0 | cmp - {shm}/data && echo same", image) == "same\n"
    )


def test_a_write_that_breaks_a_rule(image: Path, needs: Needs) -> None:
    found(needs, "dd")
    command = [
        "dd",
        "if=/dev/zero",
        "of=/dev/zoned0",
        "bs=4k",
        "count=1",
        "seek=2050",
        "oflag=direct",
    ]
    done = started(command, "--report", "--explain", images=[image])
    assert done.returncode == 1
    assert "Input/output error" in done.stderr
    sentence = "write at 8396800 in zone 2 is not at its write pointer 8388608"
    assert f"/dev/zoned0: {sentence}\n" in done.stderr
    assert f"the program broke rules of a zoned disk 1 time, first: {sentence}\n" in done.stderr


def test_sg3_utils(image: Path, needs: Needs) -> None:
    found(
        needs,
        "sg_inq",
        "sg_vpd",
        "sg_rep_zones",
        "sg_reset_wp",
        "sg_zone",
        "sg_opcodes",
        "sg_readcap",
    )
    assert "host managed zoned block" in shell("sg_inq /dev/zsg0", image)
    assert "Zoned block device characteristics" in shell("sg_vpd /dev/zsg0", image)
    shell("sg_zone --open --zone=0x1000 /dev/zsg0", image)
    assert conditions(image)[4] is ZoneCondition.EXPLICIT_OPEN
    assert "Zone condition: Explicitly opened" in shell(
        "sg_rep_zones --start=0x1000 /dev/zsg0", image
    )
    shell("sg_reset_wp --zone=0x1000 /dev/zoned0", image)
    assert conditions(image)[4] is ZoneCondition.EMPTY
    assert "Report zones" in shell("sg_opcodes /dev/zsg0", image)
    assert "Logical block length=4096 bytes" in shell("sg_readcap --16 /dev/zsg0", image)


def test_btrfs(shm: Path, needs: Needs) -> None:
    found(needs, "mkfs.btrfs", "btrfs", "blkid")
    image = made(shm / "disk.img", size="2GiB", zone_size="16MiB", conventional=0, max_open=0)
    script = """mkfs.btrfs -q -O zoned -d single -m single /dev/zoned0 2>/dev/null
        btrfs check /dev/zoned0 2>/dev/null && blkid -po value -s TYPE /dev/zoned0"""
    assert shell(script, image).splitlines()[-1] == "btrfs"


def test_btrfs_with_data(shm: Path, needs: Needs) -> None:
    """Files put in by --rootdir, where these btrfs-progs do that on zoned disks; 6.2 refuses it by name, on any disk."""
    found(needs, "mkfs.btrfs", "btrfs")
    image = made(shm / "disk.img", size="2GiB", zone_size="16MiB", conventional=0, max_open=0)
    (shm / "root").mkdir()
    (shm / "root/file").write_bytes(bytes(range(256)) * 1000)
    make = "mkfs.btrfs -q -O zoned -d single -m single --rootdir"
    done = started(["sh", "-c", f"{make} {shm}/root /dev/zoned0"], images=[image])
    if "the option -r and zoned mode are incompatible" in done.stderr:
        with zoned.open(image) as device:
            assert device.counters.writes == 0
        return
    assert done.returncode == 0, done.stderr
    script = f"""btrfs check --check-data-csum /dev/zoned0; mkdir {shm}/out; btrfs restore /dev/zoned0 {shm}/out
        cmp {shm}/root/file {shm}/out/file && echo same"""
    assert shell(script, image).splitlines()[-1] == "same"


def test_f2fs(shm: Path, needs: Needs) -> None:
    """f2fs-tools 1.15 miscounts the free segments of so small a file system, on null_blk of Linux 6.12 as here."""
    found(needs, "mkfs.f2fs", "fsck.f2fs")
    image = made(shm / "disk.img", size="512MiB", zone_size="2MiB", conventional=64, max_open=0)
    told = shell(
        "mkfs.f2fs -m /dev/zoned0 >/dev/null; fsck.f2fs /dev/zoned0 </dev/null || true", image
    )
    assert "Write pointers consistency                     [Ok..]" in told
    wrong = [line for line in told.splitlines() if "[Fail]" in line]
    assert all("free segment_count" in line for line in wrong)
    assert told.count("[Ok..]") >= 10


ENGINES = ["psync", "pvsync2", "sync", "vsync", "libaio", "posixaio", "io_uring"]


@pytest.mark.parametrize("engine", ENGINES)
def test_fio(image: Path, needs: Needs, engine: str) -> None:
    found(needs, "fio")
    job = f"""fio --name=a --filename=/dev/zoned0 --direct=1 --zonemode=zbd --ioengine={engine} --rw=randwrite
        --iodepth=8 --bs=16k --size=56m --offset=8m --io_size=20m --max_open_zones=4 --verify=crc32c --verify_fatal=1 --output-format=terse"""
    fields = shell(job.replace("\n", " "), image).split(";")
    assert fields[4] == "0", "the error that fio saw"


def test_fio_cannot_map_a_disk(image: Path, needs: Needs) -> None:
    """Refused by name, instead of memory that shows something else."""
    found(needs, "fio")
    with zoned.open(image) as device:
        device.pwrite(bytes(ZONE), 2 * ZONE)  # of an empty zone, fio reads nothing
    job = ["--name=a", "--filename=/dev/zoned0", "--ioengine=mmap", "--rw=read", "--bs=4k"]
    done = started(["fio", *job, "--zonemode=zbd", "--size=4m", "--offset=8m"], images=[image])
    assert done.returncode == 1
    assert "func=mmap, error=No such device" in done.stdout + done.stderr
    assert "  zoned0: ios=" in done.stdout, "fio found the disk in sysfs by its number"


def test_files_are_copied_to_a_disk(image: Path, shm: Path) -> None:
    """Programs that open their target as a folder first, to truncate it, to clone it; and those that would take its place."""
    (shm / "file").write_bytes(bytes(range(250)) * 40)
    script = f"""cd {shm}
        for how in "cp" "cp --reflink=auto" "cp --sparse=always" "cp -p" "cat"; do
            case $how in cat) cat file >/dev/zoned0;; *) $how file /dev/zoned0 || true;; esac
            cmp -n 10000 file /dev/zoned0; dd if=/dev/zero of=/dev/zoned0 bs=12k count=1 status=none
        done
        for how in "rm" "mv file" "install file" "ln -s file" "ln file" "mkdir"; do $how /dev/zoned0 2>&1 && exit 9; done
        touch -d 2001-02-03 /dev/zoned0; stat -c %y /dev/zoned0; test -b /dev/zoned0; test -e file"""
    told = shell(script, image).splitlines()
    assert [line.rpartition(": ")[2] for line in told] == [
        *["Operation not permitted"] * 3,
        *["File exists"] * 3,
        "2001-02-03 00:00:00.000000000 +0000",
    ]


def test_sg_of_fio(image: Path, needs: Needs) -> None:
    """Which looks for the SCSI device behind a disk, as fio's own tests do."""
    found(needs, "fio")
    told = shell(
        f"""for device in /sys/class/scsi_device/*/device/block/zoned0; do test -e $device && echo $device; done
        fio --name=x --filename=/dev/zoned0 --ioengine=sg --direct=1 --zonemode=zbd --rw=randwrite --bs=16k --size={4 * ZONE} \
            --offset={2 * ZONE} --verify=md5 --do_verify=1 --max_open_zones=4 >/dev/null
        blkzone report -o 16384 -c 4 /dev/zoned0 | grep -c 'zcond:14(fu)'""",
        image,
    ).splitlines()
    assert told[0].endswith(":0:0:0/device/block/zoned0")
    assert told[1:] == ["4"]
