"""Disks for others: a zoned disk as an iSCSI target that any kernel, virtual machine or program
with libiscsi can attach, or as a ZNS drive by NVMe/TCP, without root or a kernel module; or as a
block device of this machine.

::

    import zoned, zoned.export

    with zoned.memory(zones=16, zone_size="1MiB") as disk, zoned.export.iscsi(disk) as target:
        print(target.url, target.sessions)

    with zoned.memory(zones=16, zone_size="1MiB", dialect="zns") as disk:
        with zoned.export.nvme(disk) as target:
            print(target.nqn, target.address, target.controllers)

``zoned.export.ublk("disk.img")`` is a block device of this machine, for root (Linux 6.6 and later).

Listening, login, discovery and authentication are Python and see every byte of whoever has not
been let in; a connection behind that is served in C (native/include/zoned/serve.h), by a thread of
its own that calls no Python.
"""

from zoned._core.lazy import find

TYPE_CHECKING = False  # as mypy knows it; typing would delay the start of zonedctl
if TYPE_CHECKING:
    from zoned.export.chap import Chap, Credentials, read_chap_file
    from zoned.export.dhchap import DhChap, DhSecret, read_dhchap_file
    from zoned.export.node import Ublk, ublk
    from zoned.export.portal import Limits
    from zoned.export.subsystem import Controller, Nvme, Subsystem, nvme
    from zoned.export.target import Iscsi, Session, Target, iscsi

# Who only looks which exports there are (zoned.export.registry) needs none of it.
_WHERE = {
    "Chap": "chap",
    "Controller": "subsystem",
    "Credentials": "chap",
    "DhChap": "dhchap",
    "DhSecret": "dhchap",
    "Iscsi": "target",
    "Limits": "portal",
    "Nvme": "subsystem",
    "Session": "target",
    "Subsystem": "subsystem",
    "Target": "target",
    "Ublk": "node",
    "iscsi": "target",
    "nvme": "subsystem",
    "read_chap_file": "chap",
    "ublk": "node",
    "read_dhchap_file": "dhchap",
}


def __getattr__(name: str) -> object:
    """The public name, from its module."""
    return find(__name__, _WHERE, name)


def __dir__() -> list[str]:
    """The public names, before they are first used, too."""
    return sorted({*__all__, *globals()})


__all__ = [
    "Chap",
    "Controller",
    "Credentials",
    "DhChap",
    "DhSecret",
    "Iscsi",
    "Limits",
    "Nvme",
    "Session",
    "Subsystem",
    "Target",
    "Ublk",
    "iscsi",
    "nvme",
    "read_chap_file",
    "read_dhchap_file",
    "ublk",
]
