"""An export's life: what it serves as what."""

from __future__ import annotations

from collections.abc import Callable

import zoned
from iscsi.initiator import Initiator, cdb16
from zoned.export import Iscsi

BLOCK = 4096
Export = Callable[..., Iscsi]


def test_a_disk_in_ram_is_served_readonly(disk: zoned.Device, export: Export) -> None:
    served = export(disk, readonly=True)
    with Initiator(served.address, served.iqn) as host:
        host.ready()
        mode = host.do(bytes([0x1A, 0, 0x3F, 0, 192, 0]), read=192).data
        assert mode[2] & 0x80  # WP
        assert host.do(cdb16(0x8A, 0, 1), data=b"x" * BLOCK).codes == (7, 0x27, 0)
    assert disk.pread(BLOCK, 0) == bytes(BLOCK)
    disk.pwrite(bytes(BLOCK), 0)  # the handle that was given is as it was
