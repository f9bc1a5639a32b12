"""The stock initiator of a real kernel attaches a disk by iSCSI, with digests and CHAP, and finds a host-managed drive."""

from __future__ import annotations

import pytest

from kernel.conftest import Attach

pytestmark = pytest.mark.kernel

USE = """
echo "zoned: $(cat $sys/queue/zoned) $(cat $sys/queue/nr_zones)"
head -c 262144 /dev/urandom >/tmp/data
dd if=/tmp/data of=$disk bs=64k seek=128 oflag=direct status=none
dd if=$disk bs=64k skip=128 count=4 iflag=direct status=none | cmp - /tmp/data && echo "the same data"
blkzone report -o 16384 -c 1 $disk
dd if=/tmp/data of=$disk bs=64k seek=195 count=1 oflag=direct status=none || echo refused
dmesg | grep 'Add. Sense' | tail -n 1
blkzone reset -o 16384 -c 1 $disk
blkzone report -o 16384 -c 1 $disk
"""


def test_a_stock_kernel_attaches_a_disk(attach: Attach) -> None:
    disk = attach(
        disk={"zones": 16, "zone_size": "4MiB", "conventional": 2, "max_open": 6},
        export={"chap": ("alice", "a secret of alice")},
        settings={
            "node.conn[0].iscsi.HeaderDigest": "CRC32C",
            "node.conn[0].iscsi.DataDigest": "CRC32C",
            "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": "alice",
            "node.session.auth.password": "a secret of alice",
        },
    )
    told = disk.run(USE)
    assert "zoned: host-managed 16" in told
    assert "the same data" in told
    assert "wptr 0x000200" in told  # sectors
    assert "refused" in told
    assert "Add. Sense: Unaligned write command" in told
    assert told.rstrip().count("zcond: 1(em)") == 1
