"""docs/iscsi.md's recipe for a QEMU guest: the disk is attached by QEMU itself, without root and without an initiator in the guest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from kernel import lab

MANUAL = (Path(__file__).parents[2] / "docs" / "iscsi.md").read_text()
pytestmark = [pytest.mark.kernel, pytest.mark.long]

USE = """
set -eu
modprobe virtio_scsi; modprobe sd_mod; modprobe sg; modprobe btrfs
until [ -e /dev/sda ] && [ "$(cat /sys/block/sda/queue/nr_zones)" != 0 ]; do sleep 0.2; done
echo "zoned: $(cat /sys/block/sda/queue/zoned) $(cat /sys/block/sda/queue/nr_zones)"
mkfs.btrfs -q -f -O zoned -d single -m single /dev/sda
mkdir -p /mnt/btrfs; mount -t btrfs /dev/sda /mnt/btrfs
head -c 4194304 /dev/urandom >/tmp/data; cp /tmp/data /mnt/btrfs/file; sync
btrfs scrub start -B /mnt/btrfs
umount /mnt/btrfs; mount -t btrfs /dev/sda /mnt/btrfs; cmp /tmp/data /mnt/btrfs/file; umount /mnt/btrfs
dmesg -C; ! dd if=/tmp/data of=/dev/sda bs=64k seek=4095 count=1 oflag=direct status=none
dmesg
"""


def arguments(url: str) -> list[str]:
    """What the manual says that QEMU is given."""
    (recipe,) = re.findall(r"`(-drive file=iscsi://.*?)`", MANUAL)
    return str(re.sub(r"iscsi://[^,]*", url, recipe)).split()


def test_a_guest_has_the_disk_of_its_qemu(
    boots: object,
    tools: Callable[..., None],
    tmp_path: Path,
    needs: Callable[[str, bool, str], None],
) -> None:
    """mkfs.btrfs, mount and scrub, and the sense data of a broken rule."""
    tools("mkfs.btrfs", "btrfs", package="btrfs-progs")
    drivers = list(Path("/usr/lib").glob("*/qemu/block-iscsi.so"))
    needs("qemu-block-extra", bool(drivers), "QEMU attaches the disk by it")
    with (
        zoned.memory(zones=64, zone_size="4MiB", conventional=4) as disk,
        zoned.export.iscsi(disk) as target,
        lab.Kernel(tmp_path, devices=arguments(target.url)) as kernel,
    ):
        done = kernel.run(USE, timeout=1800)
        assert done.status == 0, done.output
        assert "zoned: host-managed 64" in done.output
        assert "no errors found" in done.output.lower(), done.output
        assert "Unaligned write command" in done.output, done.output
