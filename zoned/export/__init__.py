"""Disks for initiators elsewhere: a zoned disk as an iSCSI target that any kernel, virtual machine
or program with libiscsi can attach. No root, no kernel module.

::

    import zoned, zoned.export

    with zoned.memory(zones=16, zone_size="1MiB") as disk, zoned.export.iscsi(disk) as target:
        print(target.url, target.sessions)

Listening, login, discovery and authentication are Python and see every byte of whoever has not
logged in; a connection in full feature phase is served in C (native/include/zoned/serve.h), by a
thread of its own that calls no Python.
"""

from __future__ import annotations

from zoned.export.chap import Chap, Credentials, read_chap_file
from zoned.export.portal import Limits
from zoned.export.target import Iscsi, Session, Target, iscsi

__all__ = ["Chap", "Credentials", "Iscsi", "Limits", "Session", "Target", "iscsi", "read_chap_file"]
