"""The stock initiator of a real kernel attaches a disk by iSCSI, with digests and CHAP, and finds a host-managed drive."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import _cffi_backend
import humanize
import pytest

from kernel import lab

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.kernel

SERVE = """
import sys
sys.path.insert(0, "/job/packages")
import zoned
with zoned.memory(zones=16, zone_size="4MiB", conventional=2, max_open=6) as disk:
    with zoned.export.iscsi(
        disk, listen="127.0.0.1:3260", iqn="iqn.2026-01.test:disk", chap=("alice", "a secret of alice")
    ) as target:
        open("/job/serving", "w").close()
        target.wait()
"""

ATTACH = """
set -eu
ip link set lo up 2>/dev/null || ifconfig lo up
# What is built into the kernel is no module, and one of the checksums is for other processors.
for m in sd_mod sg crc32c_generic crc32c_intel iscsi_tcp; do modprobe $m || true; done
mkdir -p /run/lock/iscsi /etc/iscsi
echo InitiatorName=iqn.2026-01.test:kernel >/etc/iscsi/initiatorname.iscsi
"$PYTHON" /job/serve.py & server=$!
until [ -e /job/serving ]; do kill -0 $server; sleep 0.2; done
iscsid -f & sleep 1
set_to() { iscsiadm -m node -T iqn.2026-01.test:disk -p 127.0.0.1 -o update -n "$1" -v "$2"; }
iscsiadm -m discovery -t st -p 127.0.0.1
for name in HeaderDigest DataDigest; do set_to "node.conn[0].iscsi.$name" CRC32C; done
set_to node.session.auth.authmethod CHAP
set_to node.session.auth.username alice
set_to node.session.auth.password "a secret of alice"
iscsiadm -m node -T iqn.2026-01.test:disk -p 127.0.0.1 --login
disk=
until [ -n "$disk" ]; do sleep 0.5; disk=$(lsblk -dnro NAME,VENDOR | awk '/ZONED/ { print $1 }'); done
echo "zoned: $(cat /sys/block/$disk/queue/zoned) $(cat /sys/block/$disk/queue/nr_zones)"
head -c 262144 /dev/urandom >/tmp/data
dd if=/tmp/data of=/dev/$disk bs=64k seek=128 oflag=direct status=none
dd if=/dev/$disk bs=64k skip=128 count=4 iflag=direct status=none | cmp - /tmp/data && echo "the same data"
blkzone report -o 16384 -c 1 /dev/$disk
dd if=/tmp/data of=/dev/$disk bs=64k seek=195 count=1 oflag=direct status=none || echo refused
dmesg | grep 'Add. Sense' | tail -n 1
blkzone reset -o 16384 -c 1 /dev/$disk
blkzone report -o 16384 -c 1 /dev/$disk
iscsiadm -m node -u
kill $server
"""


def test_a_stock_kernel_attaches_a_disk(
    kernel: lab.Kernel, needs: Callable[[str, bool, str], None]
) -> None:
    there = all(
        shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") for name in ("iscsid", "blkzone")
    )
    needs("open-iscsi", there, "the kernel's initiator is driven by it")
    packages = kernel.share / "packages"
    packages.mkdir(exist_ok=True)
    # The guest's Python has no packages but its own.
    for folder in (ROOT / "zoned", ROOT / "zonefs", Path(humanize.__file__).parent):
        shutil.copytree(folder, packages / folder.name, dirs_exist_ok=True)
    shutil.copy(_cffi_backend.__file__, packages)
    (kernel.share / "serving").unlink(missing_ok=True)
    (kernel.share / "serve.py").write_text(SERVE)
    done = kernel.run(f"PYTHON={lab.python()}\n{ATTACH}", timeout=900)
    assert done.status == 0, done.output
    told = done.output
    assert "zoned: host-managed 16" in told
    assert "the same data" in told
    assert "wptr 0x000200" in told  # sectors
    assert "refused" in told
    assert "Add. Sense: Unaligned write command" in told
    assert told.rstrip().count("zcond: 1(em)") == 1
