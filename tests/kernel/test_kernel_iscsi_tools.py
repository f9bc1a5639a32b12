"""What a stock kernel and its tools make of one exported disk: sysfs, blkzone, zbd, sg3-utils, fio and four file systems.

The disk is attached once for all of them; each begins with a reset of all zones, or formats it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest

from kernel import lab
from kernel.attaching import Attached, attached
from kernel.conftest import Boots

MIB = 1 << 20
ZONE, ZONES, CONVENTIONAL, MAX_OPEN = 4 * MIB, 128, 16, 12
FIRST = CONVENTIONAL * ZONE >> 9
"""The first sequential zone, in sectors."""
pytestmark = [pytest.mark.kernel, pytest.mark.long]


@pytest.fixture(scope="module")
def drive(boots: Boots) -> Iterator[Attached]:
    shape = {"zones": ZONES, "zone_size": ZONE, "conventional": CONVENTIONAL, "max_open": MAX_OPEN}
    with attached(boots.kernel(), "tools", disk=shape) as disk:
        yield disk


@pytest.fixture
def fresh(drive: Attached) -> Attached:
    drive.run(f"blkzone reset -o {FIRST} $disk")
    return drive


def test_limits(drive: Attached) -> None:
    """What the kernel learned from INQUIRY, its pages, READ CAPACITY and REPORT ZONES."""
    names = (
        *("zoned", "nr_zones", "chunk_sectors", "max_open_zones", "max_active_zones"),
        *("logical_block_size", "physical_block_size", "zone_write_granularity", "write_cache"),
        "rotational",
    )
    told = drive.run(
        f"cd $sys; head -qn 1 size device/type; cd queue; head -qn 1 {' '.join(names)}"
    )
    size, kind, *values = told.split("\n")[:-1]
    assert (int(size), kind) == (ZONES * ZONE >> 9, "20")
    assert dict(zip(names, values, strict=True)) == {
        "zoned": "host-managed",
        "nr_zones": str(ZONES),
        "chunk_sectors": str(ZONE >> 9),
        "max_open_zones": str(MAX_OPEN),
        "max_active_zones": "0",
        "logical_block_size": "4096",
        "physical_block_size": "4096",
        "zone_write_granularity": "4096",
        "write_cache": "write back",
        "rotational": "1",
    }


def conditions(told: str) -> list[str]:
    return re.findall(r"zcond: ?\d+\((\w+)\)", told)


def test_blkzone(fresh: Attached, tools: Callable[..., None]) -> None:
    tools("blkzone", package="util-linux")
    told = fresh.run(
        f"""
        look() {{ blkzone report -o {FIRST} -c 3 $disk; }}
        look; blkzone open -o {FIRST} -c 2 $disk; look; blkzone close -o {FIRST} -c 1 $disk; look
        dd if=/dev/zero of=$disk bs=64k seek={FIRST >> 7} count=1 oflag=direct status=none; look
        blkzone close -o {FIRST} -c 2 $disk; look
        blkzone finish -o {FIRST} -c 1 $disk; look; blkzone reset -o {FIRST} -c 3 $disk; look
        blkzone report -c 1 $disk
        """
    )
    found = conditions(told)
    assert found.pop() == "nw"
    # A zone of no data that is closed is empty.
    states = [tuple(found[at : at + 3]) for at in range(0, len(found), 3)]
    assert states == [
        ("em", "em", "em"),
        ("oe", "oe", "em"),
        ("em", "oe", "em"),
        ("oi", "oe", "em"),
        ("cl", "em", "em"),
        ("fu", "em", "em"),
        ("em", "em", "em"),
    ]


def test_blkzone_beyond_the_limit(fresh: Attached) -> None:
    """A thirteenth zone is not opened, and the kernel says why."""
    said = fresh.run(
        f"""
        dmesg -C; blkzone open -o {FIRST} -c {MAX_OPEN} $disk
        ! blkzone open -o {FIRST + MAX_OPEN * (ZONE >> 9)} -c 1 $disk
        dmesg; blkzone reset -o {FIRST} $disk
        """
    )
    assert "Insufficient zone resources" in said, said


def test_zbd(fresh: Attached, tools: Callable[..., None]) -> None:
    tools("zbd", package="zbd-utils")
    start = CONVENTIONAL * ZONE
    told = fresh.run(
        f"""
        zbd report -n $disk
        zbd open -ofst {start} -len {ZONE} $disk; zbd report -csv -ofst {start} -len {ZONE} $disk
        zbd close -ofst {start} -len {ZONE} $disk; zbd finish -ofst {start} -len {ZONE} $disk
        zbd report -csv -ofst {start} -len {ZONE} $disk
        zbd reset -ofst {start} -len {ZONE} $disk; zbd report -csv -ofst {start} -len {ZONE} $disk
        """
    )
    assert str(ZONES) in told.splitlines()[0], told
    rows = [line.split(",") for line in told.splitlines() if re.match(r"\s*\d+,", line)]
    assert len(rows) == 3, told
    assert [int(row[2]) for row in rows] == [start] * 3, told
    assert [int(row[6], 16) for row in rows] == [0x3, 0xE, 0x1], told


def test_sg3_utils(fresh: Attached, tools: Callable[..., None]) -> None:
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
def test_fio(fresh: Attached, tools: Callable[..., None], ways: str) -> None:
    """Sequential zones, several of them open at once, each byte read back and compared."""
    tools("fio", package="fio")
    told = fresh.run(
        f"""
        fio --name=it --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --zonemode=zbd {ways} --bs=64k \
            --offset={CONVENTIONAL * ZONE} --size={4 * ZONE} --max_open_zones=4 --verify=crc32c --do_verify=1 \
            --verify_fatal=1
        """
    )
    assert "err= 0" in told, told
    assert re.search(r"READ: .*io=\d", told), told


DATA = """
head -c 4194304 /dev/urandom >/tmp/data
sum() { sha256sum <"$1" | cut -c1-64; }
"""


def test_btrfs(fresh: Attached, tools: Callable[..., None]) -> None:
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


def test_f2fs(fresh: Attached, tools: Callable[..., None]) -> None:
    """Its metadata in the conventional zones."""
    tools("mkfs.f2fs", "fsck.f2fs", package="f2fs-tools")
    told = fresh.run(
        f"""{DATA}
        modprobe f2fs; mkdir -p /mnt/f2fs
        mkfs.f2fs -m -f $disk >/dev/null
        mount -t f2fs $disk /mnt/f2fs
        for i in 1 2 3 4; do cp /tmp/data /mnt/f2fs/f$i; done; sync; rm /mnt/f2fs/f2; sync
        umount /mnt/f2fs; mount -t f2fs $disk /mnt/f2fs
        for i in 1 3 4; do cmp /mnt/f2fs/f$i /tmp/data; done; ls /mnt/f2fs
        umount /mnt/f2fs; fsck.f2fs --dry-run $disk && echo "checked"
        """,
        timeout=1800,
    )
    assert "checked" in told, told
    assert "[Fail]" not in told, told
    assert "f1\nf3\nf4\n" in told, told


def test_zonefs(kernel: lab.Kernel) -> None:
    """Which our own mkfs made, before the disk was attached."""
    shape = {"zones": 16, "zone_size": ZONE, "conventional": 2, "max_open": MAX_OPEN}
    with attached(kernel, "zonefs", disk=shape, zonefs=True) as disk:
        told = disk.run(
            f"""{DATA}
            modprobe zonefs; mkdir -p /mnt/zonefs; mount -t zonefs $disk /mnt/zonefs
            ls /mnt/zonefs/seq | wc -l
            for file in seq/0 seq/13 cnv/0; do dd if=/tmp/data of=/mnt/zonefs/$file bs=64k oflag=direct conv=notrunc status=none; done
            dd if=/tmp/data of=/mnt/zonefs/seq/5 bs=64k count=3 oflag=direct conv=notrunc status=none
            ! dd if=/tmp/data of=/mnt/zonefs/seq/5 bs=64k count=1 seek=9 oflag=direct conv=notrunc
            umount /mnt/zonefs; mount -t zonefs $disk /mnt/zonefs
            stat -c '%n %s' /mnt/zonefs/seq/5 /mnt/zonefs/seq/13
            for file in seq/0 seq/13; do cmp /tmp/data /mnt/zonefs/$file; done
            cmp -n 196608 /tmp/data /mnt/zonefs/seq/5; cmp -n 4194304 /tmp/data /mnt/zonefs/cnv/0
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


def test_dm_zoned(fresh: Attached, tools: Callable[..., None]) -> None:
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
