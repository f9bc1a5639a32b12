"""What a stock kernel and its tools make of one disk at each of its doors: sysfs, blkzone, zbd, sg3-utils, fio and four
file systems.

The disk is attached once for all of a door; each test begins with a reset of all zones, or formats it. By NVMe the
conventional zones are a disk of their own.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from kernel import lab
from kernel.attaching import DOORS, Attached, attached
from kernel.conftest import Boots, need

MIB = 1 << 20
ZONE, ZONES, CONVENTIONAL, MAX_OPEN, MAX_ACTIVE = 4 * MIB, 128, 16, 12, 14
pytestmark = [pytest.mark.kernel, pytest.mark.long]


@dataclass(frozen=True)
class Facts:
    """Where the doors differ."""

    conventional: int
    """Of the zoned block device."""
    queue: dict[str, str]
    """Its limits in sysfs that are not those of every door."""
    beyond: str
    """What is told of a zone too many."""
    closed_unwritten: str = "em"
    """ZBC: a zone of no data that is closed is empty. ZNS: it is closed."""


FACTS = {
    "iscsi": Facts(
        CONVENTIONAL, {"max_active_zones": "0", "rotational": "1"}, "Insufficient zone resources"
    ),
    "ublk": Facts(
        CONVENTIONAL, {"max_active_zones": "0", "rotational": "1"}, "Too many references"
    ),
    "nvme": Facts(
        0, {"max_active_zones": str(MAX_ACTIVE), "rotational": "0"}, "Too many references", "cl"
    ),
}


@dataclass(frozen=True)
class Drive(Attached):
    """The disk of these tests."""

    @property
    def facts(self) -> Facts:
        return FACTS[self.door]

    @property
    def start(self) -> int:
        """Of the first sequential zone, in bytes."""
        return self.facts.conventional * ZONE

    @property
    def first(self) -> int:
        """The same in sectors."""
        return self.start >> 9


def shape(door: str, zones: int, conventional: int) -> dict[str, int]:
    active = {"max_active": MAX_ACTIVE} if door == "nvme" else {}
    return {
        "zones": zones,
        "zone_size": ZONE,
        "conventional": conventional,
        "max_open": MAX_OPEN,
        **active,
    }


@pytest.fixture(scope="module", params=DOORS)
def drive(
    boots: Boots, needs: Callable[[str, bool, str], None], request: pytest.FixtureRequest
) -> Iterator[Drive]:
    door = request.param
    need(needs, door)
    with attached(
        boots.kernel(), f"tools-{door}", door=door, disk=shape(door, ZONES, CONVENTIONAL)
    ) as disk:
        yield Drive(**vars(disk))


@pytest.fixture
def fresh(drive: Drive) -> Drive:
    drive.run(f"blkzone reset -o {drive.first} $disk")
    return drive


def test_limits(drive: Drive) -> None:
    """What the kernel learned from the disk."""
    same = {
        "zoned": "host-managed",
        "nr_zones": str(ZONES - CONVENTIONAL + drive.facts.conventional),
        "chunk_sectors": str(ZONE >> 9),
        "max_open_zones": str(MAX_OPEN),
        "logical_block_size": "4096",
        "physical_block_size": "4096",
        "zone_write_granularity": "4096",
        "write_cache": "write back",
    }
    expected = same | drive.facts.queue
    told = drive.run(f"cd $sys; cat size; cd queue; head -qn 1 {' '.join(expected)}")
    size, *values = told.split("\n")[:-1]
    assert int(size) == int(expected["nr_zones"]) * ZONE >> 9
    assert dict(zip(expected, values, strict=True)) == expected


@pytest.mark.parametrize("drive", ["iscsi"], indirect=True)
def test_type(drive: Drive) -> None:
    """Of a host-managed drive."""
    assert drive.run("cat $sys/device/type") == "20\n"


def conditions(told: str) -> list[str]:
    return re.findall(r"zcond: ?\d+\((\w+)\)", told)


def test_blkzone(fresh: Drive, tools: Callable[..., None]) -> None:
    tools("blkzone", package="util-linux")
    told = fresh.run(
        f"""
        look() {{ blkzone report -o {fresh.first} -c 3 $disk; }}
        look; blkzone open -o {fresh.first} -c 2 $disk; look; blkzone close -o {fresh.first} -c 1 $disk; look
        dd if=/dev/zero of=$disk bs=64k seek={fresh.first >> 7} count=1 oflag=direct status=none; look
        blkzone close -o {fresh.first} -c 2 $disk; look
        blkzone finish -o {fresh.first} -c 1 $disk; look; blkzone reset -o {fresh.first} -c 3 $disk; look
        blkzone report -c 1 $disk
        """
    )
    found = conditions(told)
    assert found.pop() == ("nw" if fresh.facts.conventional else "em")
    unwritten = fresh.facts.closed_unwritten
    states = [tuple(found[at : at + 3]) for at in range(0, len(found), 3)]
    assert states == [
        ("em", "em", "em"),
        ("oe", "oe", "em"),
        (unwritten, "oe", "em"),
        ("oi", "oe", "em"),
        ("cl", unwritten, "em"),
        ("fu", unwritten, "em"),
        ("em", "em", "em"),
    ]


def test_blkzone_beyond_the_limit(fresh: Drive) -> None:
    """A thirteenth zone is not opened, and the kernel says why."""
    said = fresh.run(
        f"""
        dmesg -C; blkzone open -o {fresh.first} -c {MAX_OPEN} $disk
        ! blkzone open -o {fresh.first + MAX_OPEN * (ZONE >> 9)} -c 1 $disk 2>&1
        dmesg; blkzone reset -o {fresh.first} $disk
        """
    )
    assert fresh.facts.beyond in said, said


def test_zbd(fresh: Drive, tools: Callable[..., None]) -> None:
    tools("zbd", package="zbd-utils")
    start = fresh.start
    told = fresh.run(
        f"""
        zbd report -n $disk
        zbd open -ofst {start} -len {ZONE} $disk; zbd report -csv -ofst {start} -len {ZONE} $disk
        zbd close -ofst {start} -len {ZONE} $disk; zbd finish -ofst {start} -len {ZONE} $disk
        zbd report -csv -ofst {start} -len {ZONE} $disk
        zbd reset -ofst {start} -len {ZONE} $disk; zbd report -csv -ofst {start} -len {ZONE} $disk
        """
    )
    assert str(ZONES - CONVENTIONAL + fresh.facts.conventional) in told.splitlines()[0], told
    rows = [line.split(",") for line in told.splitlines() if re.match(r"\s*\d+,", line)]
    assert len(rows) == 3, told
    assert [int(row[2]) for row in rows] == [start] * 3, told
    assert [int(row[6], 16) for row in rows] == [0x3, 0xE, 0x1], told


@pytest.mark.parametrize("drive", ["iscsi"], indirect=True)
def test_sg3_utils(fresh: Drive, tools: Callable[..., None]) -> None:
    names = ("inq", "vpd", "rep_zones", "reset_wp", "zone", "opcodes", "logs", "modes", "readcap")
    tools(*(f"sg_{name}" for name in names), package="sg3-utils")
    lba = CONVENTIONAL * ZONE // 4096
    told = fresh.run(
        f"""
        sg_inq $sg
        for page in sv sn di ei mpp bl bdc lbpv zbdch; do echo "== $page"; sg_vpd -p $page $sg; done
        sg_readcap -l $sg
        sg_opcodes $sg; sg_opcodes -t $sg
        sg_logs $sg; for page in 0xd 0xe 0x14,0x1; do sg_logs -p $page $sg; done
        sg_modes -a $sg
        echo "== zones"
        sg_zone --open --zone={lba} $sg; sg_rep_zones -s {lba} -m 128 $sg
        sg_zone --finish --zone={lba} $sg; sg_rep_zones -s {lba} -m 128 $sg
        sg_reset_wp --zone={lba} $sg; sg_rep_zones -s {lba} -m 128 $sg
        sg_zone --open --zone={lba} $sg; sg_zone --close --zone={lba} $sg; sg_rep_zones -s {lba} -m 128 $sg
        """
    )
    assert "host managed zoned block" in told, told
    assert "Host-managed" in told or "host managed" in told.lower()
    page = told.split("== zbdch")[1]
    assert re.search(rf"[Mm]aximum number of open.*: {MAX_OPEN}\b", page), page
    assert re.search(r"URSWRZ.*1|Unrestricted read.*: 1", page), page
    for command in ("Report zones", "Reset write pointer", "Open zone", "Write(16)", "Unmap"):
        assert command.lower() in told.lower(), command
    assert not re.search("malformed|truncated", told.split("== zones")[0]), told
    seen = re.findall(r"[Cc]ondition: (.*?)\s*$", told.split("== zones")[1], re.MULTILINE)
    assert [re.sub(r"[^a-z]", "", one.lower()) for one in seen] == [
        "explicitlyopened",
        "full",
        "empty",
        "empty",
    ], told


@pytest.mark.parametrize("ways", ["--rw=write", "--rw=randwrite"])
def test_fio(fresh: Drive, tools: Callable[..., None], ways: str) -> None:
    """Sequential zones, several of them open at once, each byte read back and compared."""
    tools("fio", package="fio")
    told = fresh.run(
        f"""
        fio --name=it --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --zonemode=zbd {ways} --bs=64k \
            --offset={fresh.start} --size={4 * ZONE} --max_open_zones=4 --verify=crc32c --do_verify=1 \
            --verify_fatal=1
        """
    )
    assert "err= 0" in told, told
    assert re.search(r"READ: .*io=\d", told), told


DATA = """
head -c 4194304 /dev/urandom >/tmp/data
sum() { sha256sum <"$1" | cut -c1-64; }
"""


def test_btrfs(fresh: Drive, tools: Callable[..., None]) -> None:
    """Written, scrubbed, remounted, checked."""
    tools("mkfs.btrfs", "btrfs", package="btrfs-progs")
    told = fresh.run(
        f"""{DATA}
        modprobe btrfs; mkdir -p /mnt/btrfs
        mkfs.btrfs -q -f -O zoned -d single -m single $disk
        mount -t btrfs $disk /mnt/btrfs
        for i in 1 2 3 4; do cp /tmp/data /mnt/btrfs/f$i; done; sync; rm /mnt/btrfs/f2; sync
        btrfs scrub start -B /mnt/btrfs
        umount /mnt/btrfs; mount -t btrfs $disk /mnt/btrfs
        for i in 1 3 4; do cmp /mnt/btrfs/f$i /tmp/data; done; ls /mnt/btrfs
        umount /mnt/btrfs; btrfs check $disk && echo "checked"
        """,
        timeout=1800,
    )
    assert "no errors found" in told.lower(), told
    assert "checked" in told, told
    assert "f1\nf3\nf4\n" in told, told


def test_f2fs(fresh: Drive, tools: Callable[..., None]) -> None:
    """Its metadata in the conventional zones, or on the disk that these are."""
    tools("mkfs.f2fs", "fsck.f2fs", package="f2fs-tools")
    told = fresh.run(
        f"""{DATA}
        modprobe f2fs; mkdir -p /mnt/f2fs
        mkfs.f2fs -m -f ${{plain:+-c $disk}} ${{plain:-$disk}} >/dev/null
        mount -t f2fs ${{plain:-$disk}} /mnt/f2fs
        for i in 1 2 3 4; do cp /tmp/data /mnt/f2fs/f$i; done; sync; rm /mnt/f2fs/f2; sync
        umount /mnt/f2fs; mount -t f2fs ${{plain:-$disk}} /mnt/f2fs
        for i in 1 3 4; do cmp /mnt/f2fs/f$i /tmp/data; done; ls /mnt/f2fs
        umount /mnt/f2fs; fsck.f2fs --dry-run ${{plain:-$disk}} && echo "checked"
        """,
        timeout=1800,
    )
    assert "checked" in told, told
    assert "[Fail]" not in told, told
    assert "f1\nf3\nf4\n" in told, told


@pytest.mark.parametrize("door", DOORS)
def test_zonefs(kernel: lab.Kernel, needs: Callable[[str, bool, str], None], door: str) -> None:
    """Which our own mkfs made, before the disk was attached. By NVMe it has the sequential zones alone."""
    need(needs, door)
    conventional = 0 if door == "nvme" else 2
    disk_shape = shape(door, 14 + max(1, conventional), conventional)
    plain = "cnv/0" if conventional else ""
    with attached(kernel, f"zonefs-{door}", door=door, disk=disk_shape, zonefs=True) as disk:
        told = disk.run(
            f"""{DATA}
            modprobe zonefs; mkdir -p /mnt/zonefs; mount -t zonefs $disk /mnt/zonefs
            ls /mnt/zonefs/seq | wc -l
            for file in seq/0 seq/13 {plain}; do dd if=/tmp/data of=/mnt/zonefs/$file bs=64k oflag=direct conv=notrunc status=none; done
            dd if=/tmp/data of=/mnt/zonefs/seq/5 bs=64k count=3 oflag=direct conv=notrunc status=none
            ! dd if=/tmp/data of=/mnt/zonefs/seq/5 bs=64k count=1 seek=9 oflag=direct conv=notrunc
            umount /mnt/zonefs; mount -t zonefs $disk /mnt/zonefs
            stat -c '%n %s' /mnt/zonefs/seq/5 /mnt/zonefs/seq/13
            for file in seq/0 seq/13; do cmp /tmp/data /mnt/zonefs/$file; done
            cmp -n 196608 /tmp/data /mnt/zonefs/seq/5; for file in {plain}; do cmp -n 4194304 /tmp/data /mnt/zonefs/$file; done
            truncate -s 0 /mnt/zonefs/seq/13; umount /mnt/zonefs
            blkzone report $disk | tail -n 1
            """
        )
    assert told.startswith("14\n"), told
    assert f"seq/13 {ZONE}\n" in told, told
    assert "seq/5 196608\n" in told, told
    assert conditions(told)[-1] == "em", told


BLOCK = 4096
UNMAPPED = b"\xff" * 8


def dm_zoned(reserved: int = 4) -> tuple[bytes, int]:
    """Both sets of dm-zoned's metadata (version 1) for an empty target, to be written at 0, and the offset of the second.

    Debian has no dmzadm. A set is a superblock, the chunks' map and a bitmap of valid blocks for each zone.
    """
    per_zone = ZONE // BLOCK
    bitmaps = ZONES * max(1, per_zone // 8 // BLOCK)
    chunks = ZONES - 2 - reserved
    maps = -(-chunks // (BLOCK // 8))
    blocks = 1 + maps + bitmaps
    assert blocks <= per_zone  # a zone for each set

    def one(at: int) -> bytes:
        head = struct.pack(
            "<IIQQIIIII", 0x445A4244, 1, 1, at, blocks, reserved, chunks, maps, bitmaps
        )
        empty = (head + bytes(4)).ljust(BLOCK, b"\0")
        # The kernel's crc32_le begins with the generation and inverts nothing.
        crc = zlib.crc32(empty, 1 ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        sector = (head + struct.pack("<I", crc)).ljust(BLOCK, b"\0")
        return sector + UNMAPPED * (BLOCK // 8 * maps) + bytes(BLOCK * bitmaps)

    return one(0).ljust(ZONE, b"\0") + one(per_zone), chunks


@pytest.mark.parametrize("drive", ["iscsi", "ublk"], indirect=True)
def test_dm_zoned(fresh: Drive, tools: Callable[..., None]) -> None:
    """A disk of plain overwrites on it: its conventional zones buffer, its sequential ones are reclaimed into."""
    tools("dmsetup", package="dmsetup")
    metadata, chunks = dm_zoned()
    (fresh.kernel.share / "metadata").write_bytes(metadata)
    told = fresh.run(
        f"""{DATA}
        modprobe dm-zoned
        dd if=/job/metadata of=$disk bs=1M oflag=direct status=none
        echo "0 {chunks * ZONE >> 9} zoned $disk" | dmsetup create plain; dmsetup mknodes
        trap 'dmsetup remove plain' EXIT
        for at in 0 3 40 41 90; do
            dd if=/tmp/data of=/dev/mapper/plain bs=64k seek=$((at * {ZONE >> 16} + 5)) count=40 oflag=direct status=none
            dd if=/tmp/data of=/dev/mapper/plain bs=64k seek=$((at * {ZONE >> 16} + 7)) skip=1 count=3 oflag=direct status=none
        done
        sync; dmsetup message plain 0 reclaim
        for at in 0 3 40 41 90; do
            dd if=/dev/mapper/plain bs=64k skip=$((at * {ZONE >> 16} + 7)) count=3 iflag=direct status=none >/tmp/read
            dd if=/tmp/data bs=64k skip=1 count=3 status=none | cmp - /tmp/read
            dd if=/dev/mapper/plain bs=64k skip=$((at * {ZONE >> 16} + 10)) count=30 iflag=direct status=none >/tmp/read
            dd if=/tmp/data bs=64k skip=5 count=30 status=none | cmp - /tmp/read
        done
        dmsetup status plain
        """,
        timeout=1800,
    )
    assert re.search(rf"zoned {ZONES} zones", told), told
